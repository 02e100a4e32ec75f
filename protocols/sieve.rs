//! ManageSieve (RFC 5804) with its STARTTLS (RFC 5804 section 2.2).

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::line::{after_word, text, without_end};
use crate::literal::{Literal, announced};
use crate::{Class, Effect, Greeting, Offer, Policy, Protocol, Reply, Sentence, Snooper, Verdict, switch};

/// The row of ManageSieve.
pub(crate) const SIEVE: Protocol =
    Protocol { name: "sieve", greets, alpn: &[b"managesieve"], way_to_tls: &[b"STARTTLS\r\n"], snooper };

/// What the dialogue has shown of one server.
struct Sieve {
    policy: Policy,
    server_offers: bool,
    /// The greeting or the reply to CAPABILITY is awaited: one capability a line, then OK (RFC 5804 section 1.7).
    lists: bool,
    /// Where in the server's response the next line stands.
    literal: Literal,
    /// The first letter of OK, NO or BYE, once that has come. A literal in it may still be open.
    outcome: Option<u8>,
    /// The client does not hear the response that is coming.
    dropping: bool,
}

impl Snooper for Sieve {
    fn greeting(&mut self, line: &[u8], out: &mut Vec<u8>) -> Greeting {
        match self.hear(line, out) {
            None => Greeting::More,
            Some(b'O') => Greeting::Open,
            Some(_) => Greeting::Refuses,
        }
    }

    fn command(&mut self, line: &[u8]) -> Verdict {
        let Some(text) = text(line) else { return Verdict::Doubtful };
        // Some servers look for a literal before trailing blanks, too.
        if announced(text.trim_ascii_end()).is_some() {
            return Verdict::Doubtful;
        }
        if let Some(verdict) = switch(text, b"STARTTLS", self.policy) {
            return verdict;
        }
        let is = |word| after_word(text, word).is_some();
        self.lists = is(b"CAPABILITY");
        if self.lists || is(b"NOOP") || is(b"LOGOUT") { Verdict::Forward(Effect::None) } else { Verdict::Unknown }
    }

    fn reply(&mut self, line: &[u8], out: &mut Vec<u8>) -> Reply {
        self.hear(line, out).map_or(Reply::More, |outcome| Reply::Done(Class(outcome)))
    }

    fn say(&self, sentence: Sentence, out: &mut Vec<u8>) {
        out.extend_from_slice(match sentence {
            Sentence::GoAhead => b"OK \"Begin TLS negotiation now.\"\r\n",
            Sentence::NotAvailable => b"NO (TRYLATER) \"TLS not available\"\r\n",
            Sentence::Argument => b"NO \"STARTTLS takes no argument\"\r\n",
            Sentence::TooEarly => b"NO \"STARTTLS comes too early\"\r\n",
            Sentence::AlreadyActive => b"NO \"TLS already active\"\r\n",
            Sentence::Refused => b"NO (ENCRYPT-NEEDED) \"Use STARTTLS first\"\r\n",
            Sentence::LineTooLong => b"BYE \"Line too long\"\r\n",
            Sentence::Failed => b"BYE (TRYLATER) \"Service not available, closing connection\"\r\n",
            Sentence::Goodbye => b"BYE (ENCRYPT-NEEDED) \"STARTTLS required, closing connection\"\r\n",
        });
    }

    fn server_offers(&self) -> bool {
        self.server_offers
    }

    fn greets_again(&self) -> bool {
        true
    }
}

impl Sieve {
    /// Takes one line of the greeting or of a reply; the first letter of its outcome once it is over. What stands in
    /// a literal is neither edited nor taken for an outcome.
    fn hear(&mut self, line: &[u8], out: &mut Vec<u8>) -> Option<u8> {
        if !self.literal.is_open() {
            self.begin(line, out);
        }
        if !self.dropping {
            out.extend_from_slice(line);
        }
        self.literal.take(line);
        if self.literal.is_open() { None } else { self.outcome.take() }
    }

    fn begin(&mut self, line: &[u8], out: &mut Vec<u8>) {
        self.outcome = outcome(without_end(line));
        self.dropping = self.lists && self.drops(line, out);
        if self.lists && self.outcome == Some(b'O') && self.policy.offer == Offer::Add {
            out.extend_from_slice(b"\"STARTTLS\"\r\n");
        }
    }

    /// Whether the client shall not hear this capability as it is. What it hears instead goes to `out`: an empty list
    /// of mechanisms means that STARTTLS comes first (RFC 5804 section 1.7).
    fn drops(&mut self, line: &[u8], out: &mut Vec<u8>) -> bool {
        let is = |name: &[u8]| line.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name));
        let offers = is(b"\"STARTTLS\"");
        self.server_offers |= offers;
        let mechanisms = self.policy.strict && is(b"\"SASL\"");
        if mechanisms {
            out.extend_from_slice(b"\"SASL\" \"\"\r\n");
        }
        mechanisms || (offers && self.policy.offer != Offer::Leave)
    }
}

/// The first letter of OK, NO or BYE, if the response is one of these (RFC 5804 section 1.3).
fn outcome(response: &[u8]) -> Option<u8> {
    let words = [(b'O', &b"OK"[..]), (b'N', b"NO"), (b'B', b"BYE")];
    words.iter().find(|(_, word)| after_word(response, word).is_some()).map(|(letter, _)| *letter)
}

fn greets(first_line: &[u8]) -> bool {
    first_line.starts_with(b"\"") || outcome(without_end(first_line)) == Some(b'B')
}

fn snooper(policy: Policy) -> Box<dyn Snooper> {
    let literal = Literal::default();
    Box::new(Sieve { policy, server_offers: false, lists: true, literal, outcome: None, dropping: false })
}
