//! A made-up protocol: one file and one row, and it is snooped.

use starttls_protocols::line::{after_word, text, without_end};
use starttls_protocols::{Class, Effect, First, Greeting, Offer, Policy, Protocol, Reply, Sentence, Snooper, Verdict};

/// The row.
pub(crate) const HOWDY: Protocol = Protocol {
    name: "howdy",
    first: First::Server(|line| line.starts_with(b"HOWDY")),
    alpn: &[b"howdy"],
    way_to_tls: &[],
    visit: &[],
    snooper: |policy| Box::new(Howdy(policy)),
};

struct Howdy(Policy);

impl Snooper for Howdy {
    fn greeting(&mut self, line: &[u8], out: &mut Vec<u8>) -> Greeting {
        out.extend_from_slice(line);
        Greeting::Open
    }

    fn command(&mut self, line: &[u8]) -> Verdict {
        match text(line) {
            None => Verdict::Doubtful,
            Some(text) if after_word(text, b"GOTLS").is_some() => Verdict::StartTls,
            Some(text) if after_word(text, b"WHATSUP").is_some() => Verdict::Forward(Effect::None),
            Some(_) => Verdict::Unknown,
        }
    }

    fn reply(&mut self, line: &[u8], out: &mut Vec<u8>) -> Reply {
        let said = without_end(line);
        out.extend_from_slice(said.strip_suffix(b" GOTLS").unwrap_or(said));
        out.extend_from_slice(if self.0.offer == Offer::Add { b" GOTLS\r\n" } else { b"\r\n" });
        Reply::Done(Class(b'Y'))
    }

    fn say(&self, sentence: Sentence, out: &mut Vec<u8>) {
        out.extend_from_slice(if sentence == Sentence::GoAhead { b"YEP get going\r\n" } else { b"NOPE\r\n" });
    }

    fn server_offers(&self) -> bool {
        false
    }
}
