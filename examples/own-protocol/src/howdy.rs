//! HOWDY, a made-up protocol. A server greets with `HOWDY`, says `YEP` or `NOPE` to each line, lists what it can do in its
//! answer to `WHATSUP`, and knows no TLS; `GOTLS` is the word for the switch.

use starttls_protocols::line::{after_word, is_blank, text, without_end};
use starttls_protocols::{Class, Effect, First, Greeting, Offer, Policy, Protocol, Reply, Sentence, Snooper, Verdict};

/// The row.
pub(crate) const HOWDY: Protocol = Protocol {
    name: "howdy",
    first: First::Server(|line| line.starts_with(b"HOWDY")),
    alpn: &[b"howdy"],
    way_to_tls: &[b"GOTLS\r\n"],
    visit: &[b"WHATSUP\r\n"],
    snooper: |policy| Box::new(Howdy(policy)),
};

/// One server, of which there is nothing to remember.
struct Howdy(Policy);

impl Snooper for Howdy {
    fn greeting(&mut self, line: &[u8], out: &mut Vec<u8>) -> Greeting {
        out.extend_from_slice(line);
        if line.starts_with(b"HOWDY") { Greeting::Open } else { Greeting::Refuses }
    }

    fn command(&mut self, line: &[u8]) -> Verdict {
        let Some(text) = text(line) else { return Verdict::Doubtful };
        match after_word(text, b"GOTLS") {
            Some(_) if self.0.inside => Verdict::Answer(Sentence::AlreadyActive),
            Some(tail) if tail.iter().all(|byte| is_blank(*byte)) => Verdict::StartTls,
            Some(_) => Verdict::Answer(Sentence::Argument),
            None if after_word(text, b"WHATSUP").is_some() => Verdict::Forward(Effect::None),
            None => Verdict::Unknown,
        }
    }

    fn reply(&mut self, line: &[u8], out: &mut Vec<u8>) -> Reply {
        let said = without_end(line);
        let listed = said.strip_suffix(b" GOTLS").unwrap_or(said);
        let yes = said.starts_with(b"YEP");
        match self.0.offer {
            Offer::Add if yes => out.extend_from_slice(&[listed, b" GOTLS\r\n"].concat()),
            Offer::Remove if yes => out.extend_from_slice(&[listed, b"\r\n"].concat()),
            _ => out.extend_from_slice(line),
        }
        Reply::Done(Class(if yes { b'+' } else { b'-' }))
    }

    fn say(&self, sentence: Sentence, out: &mut Vec<u8>) {
        out.extend_from_slice(match sentence {
            Sentence::GoAhead => b"YEP get going\r\n",
            Sentence::NotAvailable => b"NOPE not now\r\n",
            Sentence::Refused => b"NOPE say GOTLS first\r\n",
            Sentence::Goodbye | Sentence::ServerFailed | Sentence::LineTooLong => b"NOPE so long\r\n",
            Sentence::Argument | Sentence::TooEarly | Sentence::AlreadyActive => b"NOPE just no\r\n",
        });
    }

    fn server_offers(&self) -> bool {
        false
    }
}
