//! NNTP (RFC 3977) with STARTTLS (RFC 4642).

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::line::{after_word, client_unit, text, without_end};
use crate::tail::GreetingTail;
use crate::unit::Unit;
use crate::{
    Class, Effect, First, Greeting, Offer, Policy, Protocol, Reply, Sentence, Snooper, Verdict, starttls_verdict,
};

/// The row of NNTP.
pub(crate) const NNTP: Protocol = Protocol {
    name: "nntp",
    first: First::Server(greets),
    alpn: &[b"nntp"],
    way_to_tls: &[b"STARTTLS\r\n"],
    visit: &[b"QUIT\r\n"],
    snooper,
};

/// What the dialogue has shown of one server.
struct Nntp {
    policy: Policy,
    server_offers: bool,
    tail: GreetingTail,
    /// The server takes articles (200, not 201).
    posts: bool,
    /// It was asked to be a server for readers, and is.
    reader: bool,
    reply: Expected,
    /// The first line of a list has come, its dot has not.
    in_list: bool,
}

/// The reply that is owed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// One line.
    Line,
    /// One line, which says whether the server serves readers.
    ModeReader,
    /// A list of capabilities, unless the first line is a refusal (RFC 3977 section 5.2).
    Capabilities,
    /// A text, likewise (RFC 3977 section 7.2).
    Help,
}

impl Snooper for Nntp {
    fn greeting(&mut self, line: &[u8], out: &mut Vec<u8>) -> Greeting {
        out.extend_from_slice(line);
        self.posts = line.starts_with(b"200");
        // 200: posting allowed, 201: posting prohibited; 400 and 502 refuse (RFC 3977 section 5.1).
        if line.starts_with(b"20") { Greeting::Open } else { Greeting::Refuses }
    }

    fn command(&mut self, line: &[u8]) -> Verdict {
        let Some(text) = text(line) else { return Verdict::Doubtful };
        if let Some(verdict) = starttls_verdict(text, b"STARTTLS", self.policy) {
            return verdict;
        }
        let is = |word: &[u8]| after_word(text, word).is_some();
        let (reply, effect) = match () {
            () if is(b"CAPABILITIES") => (Expected::Capabilities, Effect::None),
            () if is(b"HELP") => (Expected::Help, Effect::None),
            () if is(b"DATE") || is(b"QUIT") => (Expected::Line, Effect::None),
            () if is_mode_reader(text) => (Expected::ModeReader, Effect::SetsState),
            () => return Verdict::Unknown,
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
        self.in_list = match self.reply {
            Expected::Capabilities => line.starts_with(b"101"),
            Expected::Help => line.starts_with(b"100"),
            Expected::ModeReader | Expected::Line => false,
        };
        if self.reply == Expected::ModeReader && class == b'2' {
            (self.reader, self.posts) = (true, line.starts_with(b"200"));
        }
        let makes_list = self.policy.offer == Offer::Add || self.policy.inside;
        if self.reply == Expected::Capabilities && has_no_list(line) && makes_list {
            self.make_list(out);
        } else {
            out.extend_from_slice(line);
        }
        if self.in_list { Reply::More } else { Reply::Done(Class(class)) }
    }

    fn client_unit(&self, bytes: &[u8]) -> Unit {
        client_unit(bytes, self.policy, MAX_NNTP_LINE)
    }

    fn unasked(&mut self, line: &[u8], out: &mut Vec<u8>) {
        self.tail.pass(line, out);
    }

    fn greet(&self, name: &str, out: &mut Vec<u8>) {
        out.extend([b"200 ", name.as_bytes(), b"\r\n"].concat());
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
            Sentence::ServerFailed => b"400 Service not available, closing connection\r\n",
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
        let capabilities = self.reply == Expected::Capabilities;
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
        let is_starttls = after_word(capability, b"STARTTLS").is_some();
        self.server_offers |= is_starttls;
        self.policy.drops(is_starttls, after_word(capability, b"AUTHINFO").is_some())
    }

    /// The list of a server that has none: what every old server can do, and the offer. It tells clients to say MODE
    /// READER first, as they always did to such a server, which may need it (RFC 3977 sections 3.4.2 and 5.2.2).
    fn make_list(&self, out: &mut Vec<u8>) {
        let line = |says: bool, line: &'static [u8]| if says { line } else { b"" };
        out.extend_from_slice(b"101 Capability list follows\r\nVERSION 2\r\n");
        out.extend_from_slice(line(!self.reader, b"MODE-READER\r\n"));
        out.extend_from_slice(line(self.reader, b"READER\r\nLIST ACTIVE NEWSGROUPS\r\n"));
        out.extend_from_slice(line(self.reader && self.posts, b"POST\r\n"));
        out.extend_from_slice(line(self.policy.offer == Offer::Add, b"STARTTLS\r\n"));
        out.extend_from_slice(b".\r\n");
    }
}

/// The server knows no CAPABILITIES, or nothing before a password (RFC 3977 section 3.2.1).
fn has_no_list(line: &[u8]) -> bool {
    [&b"5"[..], b"480"].iter().any(|code| line.starts_with(code))
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
    let (tail, reply) = (GreetingTail::new(policy), Expected::Line);
    Box::new(Nntp { policy, server_offers: false, tail, posts: false, reader: false, reply, in_list: false })
}

/// The longest command line of NNTP, its CRLF included (RFC 3977 section 3.1).
const MAX_NNTP_LINE: usize = 512;
