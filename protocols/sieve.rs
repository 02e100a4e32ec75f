//! ManageSieve (RFC 5804) with its STARTTLS (RFC 5804 section 2.2).

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::line::{after_command, after_word, text, without_end};
use crate::literal::{Literal, announced};
use crate::tail::GreetingTail;
use crate::{
    Class, Effect, First, Greeting, Offer, Policy, Protocol, Reply, Sentence, Snooper, Verdict, starttls_verdict,
};

/// The row of ManageSieve.
pub(crate) const SIEVE: Protocol = Protocol {
    name: "sieve",
    first: First::Server(greets),
    alpn: &[b"managesieve"],
    way_to_tls: &[b"STARTTLS\r\n"],
    visit: &[b"LOGOUT\r\n"],
    snooper,
};

/// What the dialogue has shown of one server.
struct Sieve {
    policy: Policy,
    server_offers: bool,
    tail: GreetingTail,
    /// The client has said something.
    begun: bool,
    /// A response is coming that nobody has asked for.
    unasked: bool,
    /// The client does not hear it.
    swallows: bool,
    response: Response,
}

/// A response that is coming: the greeting, a reply, or what the server says unasked.
#[derive(Default)]
struct Response {
    /// Where in it the next line stands.
    literal: Literal,
    /// The first letter of OK, NO or BYE, once that has come. A literal in it may still be open.
    outcome: Option<u8>,
    /// How many capabilities the client hears, one a line, before the OK (RFC 5804 section 1.7).
    capabilities: usize,
    /// The first of them, held back until it is known whether there is a second.
    held: Vec<u8>,
    /// The offer stands there.
    offered: bool,
    /// It has any capabilities, whether or not the client hears of them.
    lists: bool,
    /// The client does not hear the line that is coming.
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
        self.begun = true;
        let Some(text) = text(line) else { return Verdict::Doubtful };
        // Some servers look for a literal before trailing blanks, too.
        if announced(text.trim_ascii_end()).is_some() {
            return Verdict::Doubtful;
        }
        if let Some(verdict) = starttls_verdict(text, b"STARTTLS", self.policy) {
            return verdict;
        }
        let opens = OPENING.iter().any(|word| after_command(text, word).is_some());
        if opens { Verdict::Forward(Effect::None) } else { Verdict::Unknown }
    }

    fn reply(&mut self, line: &[u8], out: &mut Vec<u8>) -> Reply {
        if self.unasked {
            self.unasked(line, out);
            return Reply::More;
        }
        if self.is_empty(line, out) {
            return Reply::More;
        }
        self.hear(line, out).map_or(Reply::More, |outcome| Reply::Done(Class(outcome)))
    }

    /// A list of capabilities, up to its OK, as servers begin a session with; a fresh one's goes with the greeting that
    /// was heard. Any other word is for the client.
    fn unasked(&mut self, line: &[u8], out: &mut Vec<u8>) {
        if self.is_empty(line, out) {
            return;
        }
        if !self.unasked {
            self.swallows = self.policy.fresh && !self.begun;
        }
        let mut heard = Vec::new();
        let outcome = self.hear(line, &mut heard);
        self.unasked = outcome.is_none() && self.response.lists;
        if !(self.swallows && self.response.lists) || matches!(outcome, Some(b'N' | b'B')) {
            out.append(&mut heard);
        }
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
            Sentence::ServerFailed => b"BYE (TRYLATER) \"Service not available, closing connection\"\r\n",
            Sentence::Goodbye => b"BYE (ENCRYPT-NEEDED) \"STARTTLS required, closing connection\"\r\n",
        });
    }

    fn take_held(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.response.held)
    }

    fn server_offers(&self) -> bool {
        self.server_offers
    }

    fn greets_again(&self) -> bool {
        true
    }
}

impl Sieve {
    /// An empty line answers nothing, but in a literal it is text. Behind what is held back it keeps its place.
    fn is_empty(&mut self, line: &[u8], out: &mut Vec<u8>) -> bool {
        let place = if self.response.held.is_empty() { out } else { &mut self.response.held };
        !self.response.literal.is_open() && self.tail.take(line, place)
    }

    /// Takes one line of a response; the first letter of its outcome once it is over. What stands in a literal is
    /// neither edited nor taken for an outcome.
    fn hear(&mut self, line: &[u8], out: &mut Vec<u8>) -> Option<u8> {
        if self.response.is_over() {
            self.response = Response::default();
        }
        if !self.response.literal.is_open() {
            self.begin(line, out);
        } else if !self.response.dropping {
            self.tell(line, out);
        }
        self.response.literal.take(line);
        self.response.outcome.filter(|_| self.response.is_over())
    }

    /// Takes a line that does not begin within a literal: a capability, or the outcome.
    fn begin(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let capability = line.starts_with(b"\"");
        let instead = if capability { self.instead_of(line) } else { None };
        let heard = instead.unwrap_or(line);
        self.response.outcome = outcome(without_end(line));
        self.response.lists |= capability;
        self.response.dropping = instead.is_some();
        self.response.capabilities += usize::from(capability && !heard.is_empty());
        if self.policy.offer == Offer::Add && self.response.lists {
            self.offer(out);
        }
        self.tell(heard, out);
    }

    /// Copies what the client hears, but for the first of its capabilities, which must wait for the second.
    fn tell(&mut self, heard: &[u8], out: &mut Vec<u8>) {
        let Response { capabilities, outcome, held, .. } = &mut self.response;
        let holds = self.policy.offer == Offer::Add && *capabilities == 1 && outcome.is_none();
        if holds { held } else { out }.extend_from_slice(heard);
    }

    /// What the client hears instead of this capability; `None` if it hears it as it is. An empty list of mechanisms
    /// means that STARTTLS comes first (RFC 5804 section 1.7).
    fn instead_of(&mut self, line: &[u8]) -> Option<&'static [u8]> {
        let is = |name: &[u8]| line.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name));
        let (is_starttls, is_mechanisms) = (is(b"\"STARTTLS\""), is(b"\"SASL\""));
        self.server_offers |= is_starttls;
        let instead: &[u8] = if is_mechanisms { b"\"SASL\" \"\"\r\n" } else { b"" };
        self.policy.drops(is_starttls, is_mechanisms).then_some(instead)
    }

    /// The offer stands behind the first capability, which clients and monitors expect there, but not last, where one
    /// client overlooks it: before the only one.
    fn offer(&mut self, out: &mut Vec<u8>) {
        match (self.response.capabilities, self.response.outcome) {
            (2.., None) if !self.response.offered => {
                out.append(&mut self.response.held);
                out.extend_from_slice(STARTTLS);
                self.response.offered = true;
            }
            (0 | 1, Some(outcome)) => {
                out.extend_from_slice(if outcome == b'O' { STARTTLS } else { b"" });
                out.append(&mut self.response.held);
            }
            _ => {}
        }
    }
}

impl Response {
    fn is_over(&self) -> bool {
        self.outcome.is_some() && !self.literal.is_open()
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
    let (tail, response) = (GreetingTail::new(policy), Response::default());
    Box::new(Sieve { policy, server_offers: false, tail, begun: false, unasked: false, swallows: false, response })
}

/// The opening words.
const OPENING: &[&[u8]] = &[b"CAPABILITY", b"NOOP", b"LOGOUT"];

/// The offer.
const STARTTLS: &[u8] = b"\"STARTTLS\"\r\n";
