//! POP3 (RFC 1939) with CAPA (RFC 2449), AUTH (RFC 5034), STLS (RFC 2595 section 4) and LANG (RFC 6856).

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::line::{after_command, after_word, client_unit, text, without_end};
use crate::tail::GreetingTail;
use crate::unit::Unit;
use crate::{
    Class, Effect, First, Greeting, Offer, Policy, Protocol, Reply, Sentence, Snooper, Verdict, starttls_verdict,
};

/// The row of POP3.
pub(crate) const POP3: Protocol = Protocol {
    name: "pop3",
    first: First::Server(greets),
    alpn: &[b"pop3"],
    way_to_tls: &[b"STLS\r\n"],
    visit: &[b"QUIT\r\n"],
    snooper,
};

/// What the dialogue has shown of one server.
struct Pop3 {
    policy: Policy,
    server_offers: bool,
    tail: GreetingTail,
    reply: Expected,
    /// The first line of a list has come, its dot has not.
    in_list: bool,
}

/// The reply that is owed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// One line.
    Line,
    /// A list, unless the first line is -ERR (RFC 1939 section 3).
    List,
    /// A list of capabilities, likewise.
    Capabilities,
    /// A list of mechanisms, likewise.
    Mechanisms,
}

impl Snooper for Pop3 {
    fn greeting(&mut self, line: &[u8], out: &mut Vec<u8>) -> Greeting {
        let start = out.len();
        out.extend_from_slice(line);
        if !line.starts_with(b"+OK") {
            return Greeting::Refuses;
        }
        // Who says APOP with it does so before TLS, or inside: to a fresh server, which has another.
        if self.policy.strict || self.policy.offer == Offer::Add {
            while remove_timestamp(out, start) {}
        }
        Greeting::Open
    }

    fn command(&mut self, line: &[u8]) -> Verdict {
        let Some(text) = text(line) else { return Verdict::Doubtful };
        if let Some(verdict) = starttls_verdict(text, b"STLS", self.policy) {
            return verdict;
        }
        let is = |word: &[u8]| after_command(text, word).is_some();
        let (reply, effect) = match after_command(text, b"LANG") {
            Some([]) => (Expected::List, Effect::None),
            // Whether a server sees an argument in blanks alone, and so how long its reply is, cannot be known.
            Some(argument) if argument.trim_ascii().is_empty() => return Verdict::Unknown,
            Some(_) => (Expected::Line, Effect::SetsState),
            None if is(b"CAPA") => (Expected::Capabilities, Effect::None),
            None if is_bare_auth(text) => (Expected::Mechanisms, Effect::None),
            None if is(b"NOOP") || is(b"QUIT") => (Expected::Line, Effect::None),
            None => return Verdict::Unknown,
        };
        self.reply = reply;
        Verdict::Forward(effect)
    }

    fn reply(&mut self, line: &[u8], out: &mut Vec<u8>) -> Reply {
        if self.in_list {
            return self.list(line, out);
        }
        if self.tail.take(line, out) {
            return Reply::More;
        }
        let class = line.first().copied().unwrap_or_default();
        self.in_list = self.reply != Expected::Line && is_ok(line);
        let makes_list = self.policy.offer == Offer::Add || self.policy.inside;
        if self.reply == Expected::Capabilities && !self.in_list && makes_list {
            self.make_list(out);
        } else {
            out.extend_from_slice(line);
        }
        if self.in_list { Reply::More } else { Reply::Done(Class(class)) }
    }

    fn client_unit(&self, bytes: &[u8]) -> Unit {
        client_unit(bytes, self.policy, MAX_POP3_LINE)
    }

    fn unasked(&mut self, line: &[u8], out: &mut Vec<u8>) {
        self.tail.pass(line, out);
    }

    fn greet(&self, name: &str, out: &mut Vec<u8>) {
        out.extend([b"+OK ", name.as_bytes(), b"\r\n"].concat());
    }

    fn say(&self, sentence: Sentence, out: &mut Vec<u8>) {
        out.extend_from_slice(match sentence {
            Sentence::GoAhead => b"+OK Begin TLS negotiation\r\n",
            Sentence::NotAvailable => b"-ERR [SYS/TEMP] TLS not available\r\n",
            Sentence::Argument => b"-ERR STLS takes no argument\r\n",
            Sentence::TooEarly => b"-ERR STLS comes too early\r\n",
            Sentence::AlreadyActive => b"-ERR Command not permitted when TLS active\r\n",
            Sentence::Refused => b"-ERR Must issue STLS first\r\n",
            Sentence::LineTooLong => b"-ERR Line too long\r\n",
            Sentence::ServerFailed => b"-ERR [SYS/TEMP] Service not available, closing connection\r\n",
            Sentence::Goodbye => b"-ERR STLS required, closing connection\r\n",
        });
    }

    fn server_offers(&self) -> bool {
        self.server_offers
    }
}

impl Pop3 {
    /// Takes a line of a list. Its end is a line with nothing but a dot; a dot of the list itself is doubled
    /// (RFC 1939 section 3).
    fn list(&mut self, line: &[u8], out: &mut Vec<u8>) -> Reply {
        self.in_list = without_end(line) != b".";
        if self.in_list {
            if !self.drops(without_end(line)) {
                out.extend_from_slice(line);
            }
            return Reply::More;
        }
        if self.reply == Expected::Capabilities && self.policy.offer == Offer::Add {
            out.extend_from_slice(b"STLS\r\n");
        }
        out.extend_from_slice(line);
        Reply::Done(Class(b'+'))
    }

    fn drops(&mut self, entry: &[u8]) -> bool {
        match self.reply {
            Expected::Capabilities => self.drops_capability(entry),
            Expected::Mechanisms => self.policy.drops(false, true),
            Expected::List | Expected::Line => false,
        }
    }

    fn drops_capability(&mut self, capability: &[u8]) -> bool {
        let is = |word: &[u8]| after_word(capability, word).is_some();
        let is_starttls = is(b"STLS");
        self.server_offers |= is_starttls;
        self.policy.drops(is_starttls, is(b"USER") || is(b"SASL"))
    }

    /// The list of a server that knows no CAPA. Such a server is asked for USER by every client; a list that does not
    /// name it would keep them from logging in (RFC 2449 section 6.2). Inside TLS it is made as well: a client that has
    /// seen a list asks for it again there, and may give up where there is none (fetchmail does).
    fn make_list(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"+OK Capability list follows\r\n");
        out.extend_from_slice(if self.policy.strict { b"" } else { b"USER\r\n" });
        out.extend_from_slice(if self.policy.offer == Offer::Add { b"STLS\r\n.\r\n" } else { b".\r\n" });
    }
}

/// An `AUTH` that names no mechanism asks which there are, as clients older than CAPA do. Where blanks follow, a server
/// may see a mechanism without a name: it answers -ERR, which is as long as any.
fn is_bare_auth(text: &[u8]) -> bool {
    after_command(text, b"AUTH").is_some_and(|argument| argument.trim_ascii().is_empty())
}

/// Anything else that begins with `+` is a challenge (RFC 5034 section 4).
fn is_ok(line: &[u8]) -> bool {
    line.get(..3).is_some_and(|sign| sign.eq_ignore_ascii_case(b"+OK"))
}

/// Takes one APOP timestamp, `<...>` (RFC 1939 section 7), and the space before it out of the greeting. False if there
/// is none.
fn remove_timestamp(out: &mut Vec<u8>, from: usize) -> bool {
    let greeting = out.get(from..).unwrap_or_default();
    let Some(open) = memchr::memchr(b'<', greeting) else { return false };
    let Some(length) = greeting.get(open..).and_then(|rest| memchr::memchr(b'>', rest)) else { return false };
    let blank = open.checked_sub(1).filter(|before| greeting.get(*before) == Some(&b' '));
    out.drain(from + blank.unwrap_or(open)..=from + open + length);
    true
}

fn greets(first_line: &[u8]) -> bool {
    [b"+OK", b"-ER"].iter().any(|sign| first_line.starts_with(*sign))
}

fn snooper(policy: Policy) -> Box<dyn Snooper> {
    let tail = GreetingTail::new(policy);
    Box::new(Pop3 { policy, server_offers: false, tail, reply: Expected::Line, in_list: false })
}

/// The longest command line of POP3, its CRLF included (RFC 2449 section 4).
const MAX_POP3_LINE: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_timestamp_is_taken_out_of_the_greeting_and_nothing_else() {
        for (said, heard) in [
            (&b"+OK ready <1.2@mx> go\r\n"[..], &b"+OK ready go\r\n"[..]),
            (b"+OK <1.2@mx>\r\n", b"+OK\r\n"),
            (b"+OK<a><b> <c@d>\r\n", b"+OK\r\n"),
            (b"+OK 2 > 1\r\n", b"+OK 2 > 1\r\n"),
            (b"+OK 1 < 2\r\n", b"+OK 1 < 2\r\n"),
            (b"+OK > <\r\n", b"+OK > <\r\n"),
        ] {
            let mut out = b"-".to_vec();
            let mut snooper = snooper(Policy { offer: Offer::Add, strict: true, inside: false, fresh: false });
            assert_eq!(snooper.greeting(said, &mut out), Greeting::Open);
            assert_eq!(out.strip_prefix(b"-"), Some(heard));
        }
    }
}
