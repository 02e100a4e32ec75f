//! NNTP (RFC 3977) with STARTTLS (RFC 4642).

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::line::{after_word, text, without_end};
use crate::tail::Tail;
use crate::{Class, Effect, Greeting, Offer, Policy, Protocol, Reply, Sentence, Snooper, Verdict, switch};

/// The row of NNTP.
pub(crate) const NNTP: Protocol =
    Protocol { name: "nntp", greets, alpn: &[b"nntp"], way_to_tls: &[b"STARTTLS\r\n"], snooper };

/// What the dialogue has shown of one server.
struct Nntp {
    policy: Policy,
    server_offers: bool,
    tail: Tail,
    /// The code after which the reply goes on, up to a line with a dot.
    list_code: Option<&'static [u8]>,
    /// The first line of a list has come, its dot has not.
    in_list: bool,
}

impl Snooper for Nntp {
    fn greeting(&mut self, line: &[u8], out: &mut Vec<u8>) -> Greeting {
        out.extend_from_slice(line);
        // 200: posting allowed, 201: posting prohibited; 400 and 502 refuse (RFC 3977 section 5.1).
        if line.starts_with(b"20") { Greeting::Open } else { Greeting::Refuses }
    }

    fn command(&mut self, line: &[u8]) -> Verdict {
        let Some(text) = text(line) else { return Verdict::Doubtful };
        if let Some(verdict) = switch(text, b"STARTTLS", self.policy) {
            return verdict;
        }
        let is = |word: &[u8]| after_word(text, word).is_some();
        self.list_code = None;
        if is(b"CAPABILITIES") {
            self.list_code = Some(CAPABILITIES);
        } else if is(b"HELP") {
            self.list_code = Some(HELP);
        } else if is_mode_reader(text) {
            return Verdict::Forward(Effect::SetsState);
        } else if !is(b"DATE") && !is(b"QUIT") {
            return Verdict::Unknown;
        }
        Verdict::Forward(Effect::None)
    }

    fn reply(&mut self, line: &[u8], out: &mut Vec<u8>) -> Reply {
        if self.in_list {
            return self.list(line, out);
        }
        if self.tail.take(line, out) {
            return Reply::More;
        }
        let class = line.first().copied().unwrap_or_default();
        self.in_list = self.list_code.is_some_and(|code| line.starts_with(code));
        out.extend_from_slice(line);
        if self.in_list { Reply::More } else { Reply::Done(Class(class)) }
    }

    fn unasked(&mut self, line: &[u8], out: &mut Vec<u8>) {
        if !self.tail.take(line, out) {
            out.extend_from_slice(line);
        }
    }

    fn say(&self, sentence: Sentence, out: &mut Vec<u8>) {
        out.extend_from_slice(match sentence {
            Sentence::GoAhead => b"382 Continue with TLS negotiation\r\n",
            Sentence::NotAvailable => b"580 Can not initiate TLS negotiation\r\n",
            Sentence::Argument => b"501 Syntax error\r\n",
            Sentence::TooEarly => b"502 STARTTLS comes too early\r\n",
            // RFC 4642 section 2.2.2
            Sentence::AlreadyActive => b"502 TLS already active\r\n",
            Sentence::Refused => b"483 Encryption required\r\n",
            Sentence::LineTooLong => b"501 Line too long\r\n",
            Sentence::Failed => b"400 Service not available, closing connection\r\n",
            Sentence::Goodbye => b"400 STARTTLS required, closing connection\r\n",
        });
    }

    fn server_offers(&self) -> bool {
        self.server_offers
    }
}

impl Nntp {
    /// Takes a line of a list. Its end is a line with nothing but a dot; a dot of the list itself is doubled
    /// (RFC 3977 section 3.1.1).
    fn list(&mut self, line: &[u8], out: &mut Vec<u8>) -> Reply {
        let capabilities = self.list_code == Some(CAPABILITIES);
        self.in_list = without_end(line) != b".";
        if self.in_list && capabilities && self.drops(without_end(line)) {
            return Reply::More;
        }
        if !self.in_list && capabilities && self.policy.offer == Offer::Add {
            out.extend_from_slice(b"STARTTLS\r\n");
        }
        out.extend_from_slice(line);
        if self.in_list { Reply::More } else { Reply::Done(Class(b'1')) }
    }

    fn drops(&mut self, capability: &[u8]) -> bool {
        let offers = after_word(capability, b"STARTTLS").is_some();
        self.server_offers |= offers;
        if offers {
            self.policy.offer != Offer::Leave
        } else {
            self.policy.strict && after_word(capability, b"AUTHINFO").is_some()
        }
    }
}

/// `MODE READER`, with any blanks between and behind (RFC 3977 section 3.1).
fn is_mode_reader(text: &[u8]) -> bool {
    let rest = after_word(text, b"MODE").map(<[u8]>::trim_ascii);
    rest.is_some_and(|rest| rest.eq_ignore_ascii_case(b"READER"))
}

fn greets(first_line: &[u8]) -> bool {
    [b"200", b"201", b"400", b"502"].iter().any(|code| first_line.starts_with(*code))
}

fn snooper(policy: Policy) -> Box<dyn Snooper> {
    Box::new(Nntp { policy, server_offers: false, tail: Tail::new(policy), list_code: None, in_list: false })
}

/// A list of capabilities follows (RFC 3977 section 5.2).
const CAPABILITIES: &[u8] = b"101";

/// A help text follows (RFC 3977 section 7.2).
const HELP: &[u8] = b"100";
