//! IMAP (RFC 9051, RFC 3501) with STARTTLS (RFC 9051 section 6.2.1, RFC 2595 section 3).

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::line::{after_command, after_word, is_blank, text, without_end, word};
use crate::literal::{Literal, announced};
use crate::tail::GreetingTail;
use crate::{
    Class, Effect, First, Greeting, Offer, Policy, Protocol, Reply, Sentence, Snooper, Verdict, starttls_verdict,
};

/// The row of IMAP.
pub(crate) const IMAP: Protocol = Protocol {
    name: "imap",
    first: First::Server(greets),
    alpn: &[b"imap"],
    way_to_tls: &[b"1 STARTTLS\r\n"],
    visit: VISIT,
    snooper,
};

/// A server that takes a PROXY header of version 1 for a command answers it with the first of these tags.
const VISIT: &[&[u8]] = &[b"PROXY NOOP\r\n", b"1 LOGOUT\r\n"];

/// What the dialogue has shown of one server.
struct Imap {
    policy: Policy,
    server_offers: bool,
    tail: GreetingTail,
    /// The client has said something.
    begun: bool,
    /// The tag of the command last seen; empty if it had none that is legal.
    tag: Vec<u8>,
    /// Where in the server's response the next line stands.
    literal: Literal,
}

impl Snooper for Imap {
    fn greeting(&mut self, line: &[u8], out: &mut Vec<u8>) -> Greeting {
        let greeting = match (says(line, b"OK"), says(line, b"PREAUTH")) {
            (true, _) => Greeting::Open,
            // There is no STARTTLS behind it (RFC 9051 section 7.1.4).
            (_, true) => Greeting::TlsImpossible,
            _ => Greeting::Refuses,
        };
        if greeting != Greeting::Open {
            self.policy.offer = Offer::Remove;
        }
        self.edit(line, out);
        greeting
    }

    fn command(&mut self, line: &[u8]) -> Verdict {
        self.begun = true;
        self.tag.clear();
        let Some(text) = text(line) else { return Verdict::Doubtful };
        let (tag, command) = word(text);
        if is_tag(tag) {
            self.tag.extend_from_slice(tag);
        }
        // Some servers look for a literal before trailing blanks, too.
        if announced(text.trim_ascii_end()).is_some() {
            return Verdict::Doubtful;
        }
        if self.tag.is_empty() {
            return Verdict::Unknown;
        }
        if let Some(verdict) = starttls_verdict(command, b"STARTTLS", self.policy) {
            return verdict;
        }
        let opens = OPENING.iter().any(|word| after_command(command, word).is_some());
        if opens { Verdict::Forward(Effect::None) } else { Verdict::Unknown }
    }

    fn reply(&mut self, line: &[u8], out: &mut Vec<u8>) -> Reply {
        let begins = !self.literal.is_open();
        self.hear(line, out);
        let completion = line.strip_prefix(self.tag.as_slice()).and_then(|rest| rest.strip_prefix(b" "));
        match completion {
            Some([status, ..]) if begins => Reply::Done(Class(status.to_ascii_uppercase())),
            _ => Reply::More,
        }
    }

    /// A server may list its capabilities whenever it likes (RFC 9051 section 7.2.2). What a fresh one lists before it is
    /// asked goes with the greeting that the client does not hear.
    fn unasked(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let swallowed = self.policy.fresh && !self.begun && !self.literal.is_open() && is_list(line);
        if !swallowed {
            self.hear(line, out);
        }
    }

    fn greet(&self, name: &str, out: &mut Vec<u8>) {
        out.extend([b"* OK ", name.as_bytes(), b"\r\n"].concat());
    }

    fn say(&self, sentence: Sentence, out: &mut Vec<u8>) {
        let (status, text): (&[u8], &[u8]) = match sentence {
            Sentence::GoAhead => (b"OK", b"Begin TLS negotiation now"),
            Sentence::NotAvailable => (b"NO", b"[UNAVAILABLE] TLS not available"),
            Sentence::Argument => (b"BAD", b"STARTTLS takes no argument"),
            Sentence::TooEarly => (b"BAD", b"STARTTLS comes too early"),
            Sentence::AlreadyActive => (b"BAD", b"TLS already active"),
            Sentence::Refused => (b"NO", b"[PRIVACYREQUIRED] Use STARTTLS first"),
            Sentence::LineTooLong => (b"BYE", b"Line too long"),
            Sentence::ServerFailed => (b"BYE", b"[UNAVAILABLE] Service not available, closing connection"),
            Sentence::Goodbye => (b"BYE", b"[PRIVACYREQUIRED] STARTTLS required, closing connection"),
        };
        // What cannot be tied to a command is an untagged BAD (RFC 9051 section 7.1.3); BYE never has a tag.
        let (tag, status) = match (status, self.tag.as_slice()) {
            (b"BYE", _) => (&b"*"[..], status),
            (_, []) => (&b"*"[..], &b"BAD"[..]),
            (_, tag) => (tag, status),
        };
        out.extend_from_slice(&[tag, b" ", status, b" ", text, b"\r\n"].concat());
    }

    fn server_offers(&self) -> bool {
        self.server_offers
    }
}

impl Imap {
    /// Takes one line of a response.
    fn hear(&mut self, line: &[u8], out: &mut Vec<u8>) {
        if self.literal.is_open() {
            self.literal.take(line);
            return out.extend_from_slice(line);
        }
        if self.tail.take(line, out) {
            return;
        }
        self.edit(line, out);
        if untagged(line).is_some_and(|response| !is_status(response)) {
            self.literal.take(line);
        }
    }

    /// Copies the first line of a response. Where it lists capabilities, be it as `* CAPABILITY` or as the code of a
    /// status (RFC 9051 section 7.1), the list is edited.
    fn edit(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let Some((before, list, after)) = capabilities(line) else { return out.extend_from_slice(line) };
        out.extend_from_slice(before);
        self.edit_list(list, out);
        out.extend_from_slice(after);
    }

    /// Each capability has its blank before it. A tab is none by RFC 9051, but a client may take it for one.
    fn edit_list(&mut self, list: &[u8], out: &mut Vec<u8>) {
        let (mut bars_login, mut rest) = (false, list);
        while let Some((blank, tail)) = rest.split_first() {
            let length = tail.iter().position(|byte| is_blank(*byte)).unwrap_or(tail.len());
            let (capability, others) = tail.split_at(length);
            rest = others;
            bars_login |= capability.eq_ignore_ascii_case(LOGINDISABLED);
            if !self.drops(capability) {
                out.push(*blank);
                out.extend_from_slice(capability);
            }
        }
        if self.policy.offer == Offer::Add {
            append(STARTTLS, out);
        }
        if self.policy.strict && !bars_login {
            append(LOGINDISABLED, out);
        }
    }

    fn drops(&mut self, capability: &[u8]) -> bool {
        let is_starttls = capability.eq_ignore_ascii_case(STARTTLS);
        self.server_offers |= is_starttls;
        let is_login = capability.get(..5).is_some_and(|head| head.eq_ignore_ascii_case(b"AUTH="));
        self.policy.drops(is_starttls, is_login)
    }
}

/// The response behind `* `.
fn untagged(line: &[u8]) -> Option<&[u8]> {
    without_end(line).strip_prefix(b"* ")
}

/// Whether this is an untagged response with this name.
fn says(line: &[u8], name: &[u8]) -> bool {
    untagged(line).is_some_and(|response| after_word(response, name).is_some())
}

/// Whether what follows is text for people, in which braces mean nothing (RFC 9051 section 7.1).
fn is_status(response: &[u8]) -> bool {
    [&b"OK"[..], b"NO", b"BAD", b"BYE", b"PREAUTH"].iter().any(|status| after_word(response, status).is_some())
}

/// Whether this is nothing but a list of capabilities.
fn is_list(line: &[u8]) -> bool {
    capabilities(line).is_some() && (says(line, b"CAPABILITY") || says(line, b"OK"))
}

/// Finds the list of capabilities in a response: what stands before it, the list with the space it begins with, and
/// what stands behind it.
fn capabilities(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let text = without_end(line);
    let response = word(text).1;
    let (tail, length) = match after_word(response, b"CAPABILITY") {
        // No capability has a literal (RFC 9051 section 9).
        Some(list) if announced(list).is_some() => return None,
        Some(list) => (list, list.len()),
        None => {
            let code = after_word(word(response).1.strip_prefix(b"[")?, b"CAPABILITY")?;
            (code, memchr::memchr(b']', code)?)
        }
    };
    let (before, rest) = line.split_at_checked(text.len() - tail.len())?;
    let (list, after) = rest.split_at_checked(length)?;
    Some((before, list, after))
}

/// Appends one capability to a list.
fn append(capability: &[u8], out: &mut Vec<u8>) {
    while out.last().is_some_and(|byte| is_blank(*byte)) {
        out.pop();
    }
    out.push(b' ');
    out.extend_from_slice(capability);
}

/// A tag: one or more ASTRING-CHAR, but no `+` (RFC 9051 section 9).
fn is_tag(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(|byte| byte.is_ascii_graphic() && !br#"(){%*"\+"#.contains(byte))
}

fn greets(first_line: &[u8]) -> bool {
    first_line.starts_with(b"* ")
}

fn snooper(policy: Policy) -> Box<dyn Snooper> {
    let (tail, tag, literal) = (GreetingTail::new(policy), Vec::new(), Literal::default());
    Box::new(Imap { policy, server_offers: false, tail, begun: false, tag, literal })
}

/// The opening words.
const OPENING: &[&[u8]] = &[b"CAPABILITY", b"NOOP", b"ID", b"LOGOUT"];

/// The offer.
const STARTTLS: &[u8] = b"STARTTLS";

/// The warning that no password may be sent now (RFC 9051 section 6.2.3, RFC 2595 section 3.2).
const LOGINDISABLED: &[u8] = b"LOGINDISABLED";
