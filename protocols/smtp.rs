//! SMTP (RFC 5321) and LMTP (RFC 2033) with STARTTLS (RFC 3207).

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::line::{after_word, client_unit, is_blank, text, without_end, word};
use crate::tail::GreetingTail;
use crate::unit::Unit;
use crate::{
    Class, Effect, First, Greeting, Offer, Policy, Protocol, Reply, Sentence, Snooper, Verdict, starttls_verdict,
};

/// The row of SMTP. Its greeting is LMTP's as well, and the words of both are understood.
pub(crate) const SMTP: Protocol = Protocol {
    name: "smtp",
    first: First::Server(greets),
    alpn: &[b"smtp", b"esmtp", b"submission"],
    way_to_tls: &[b"EHLO localhost\r\n", b"STARTTLS\r\n"],
    visit: &[b"EHLO localhost\r\n", b"QUIT\r\n"],
    snooper,
};

/// The row of LMTP, for those who name it.
pub(crate) const LMTP: Protocol = Protocol {
    name: "lmtp",
    first: First::Server(|_| false),
    alpn: &[b"lmtp", b"smtp", b"esmtp"],
    way_to_tls: &[b"LHLO localhost\r\n", b"STARTTLS\r\n"],
    visit: &[b"LHLO localhost\r\n", b"QUIT\r\n"],
    snooper,
};

/// What the dialogue has shown of one server.
struct Smtp {
    policy: Policy,
    /// EHLO or LHLO was answered with 250; before that STARTTLS is out of sequence (RFC 3207 section 4).
    introduced: bool,
    server_offers: bool,
    tail: GreetingTail,
    reply: Expected,
    /// The line of the EHLO reply that is not yet known to be the last.
    held: Vec<u8>,
    /// How many of its lines the client hears, the one held back among them.
    kept: usize,
    /// The offer stands in it already.
    offered: bool,
}

/// The reply that is owed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Plain,
    /// The first line of the reply to EHLO or LHLO: the server's name.
    Name,
    /// Its further lines: one capability each (RFC 5321 section 4.1.1.1).
    Capability,
}

impl Snooper for Smtp {
    fn greeting(&mut self, line: &[u8], out: &mut Vec<u8>) -> Greeting {
        out.extend_from_slice(line);
        match (goes_on(line) || line.trim_ascii().is_empty(), line.first()) {
            (true, _) => Greeting::More,
            (false, Some(b'2')) => Greeting::Open,
            (false, _) => Greeting::Refuses,
        }
    }

    fn command(&mut self, line: &[u8]) -> Verdict {
        let Some(text) = text(line) else { return Verdict::Doubtful };
        if let Some(verdict) = starttls_verdict(text, b"STARTTLS", self.policy) {
            let too_early = verdict == Verdict::StartTls && !self.introduced;
            return if too_early { Verdict::Answer(Sentence::TooEarly) } else { verdict };
        }
        let verb = word(text).0;
        let is = |wanted: &[&[u8]]| wanted.iter().any(|one| verb.eq_ignore_ascii_case(one));
        self.reply = if is(&[b"EHLO", b"LHLO"]) { Expected::Name } else { Expected::Plain };
        (self.kept, self.offered) = (0, false);
        if is(&[b"EHLO", b"LHLO"]) || (is(&[b"HELO"]) && !self.policy.strict) {
            Verdict::Forward(Effect::SetsState)
        } else if is(&[b"NOOP", b"QUIT"]) || (is(OPENING_IF_LENIENT) && !self.policy.strict) {
            Verdict::Forward(Effect::None)
        } else {
            Verdict::Unknown
        }
    }

    fn reply(&mut self, line: &[u8], out: &mut Vec<u8>) -> Reply {
        // Behind a line that is held back it keeps its place.
        let place = if self.held.is_empty() { &mut *out } else { &mut self.held };
        if self.tail.take(line, place) {
            return Reply::More;
        }
        match (self.reply, line.starts_with(b"250")) {
            (Expected::Plain, _) | (_, false) => {
                out.append(&mut self.held);
                out.extend_from_slice(line);
            }
            (Expected::Name, true) => self.hold(line, out),
            (Expected::Capability, true) => self.capability(line, out),
        }
        if goes_on(line) {
            if self.reply == Expected::Name {
                self.reply = Expected::Capability;
            }
            return Reply::More;
        }
        if self.reply != Expected::Plain && line.starts_with(b"250") {
            self.introduced = true;
            self.finish_capabilities(out);
        }
        Reply::Done(Class(line.first().copied().unwrap_or_default()))
    }

    fn client_unit(&self, bytes: &[u8]) -> Unit {
        client_unit(bytes, self.policy, MAX_SMTP_LINE)
    }

    fn unasked(&mut self, line: &[u8], out: &mut Vec<u8>) {
        self.tail.pass(line, out);
    }

    fn greet(&self, name: &str, out: &mut Vec<u8>) {
        out.extend([b"220 ", name.as_bytes(), b" ESMTP\r\n"].concat());
    }

    fn say(&self, sentence: Sentence, out: &mut Vec<u8>) {
        out.extend_from_slice(match sentence {
            Sentence::GoAhead => b"220 2.0.0 Ready to start TLS\r\n",
            Sentence::NotAvailable => b"454 4.7.0 TLS not available due to temporary reason\r\n",
            Sentence::Argument => b"501 5.5.4 Syntax error (no parameters allowed)\r\n",
            Sentence::TooEarly => b"503 5.5.1 EHLO first\r\n",
            Sentence::AlreadyActive => b"503 5.5.1 TLS already active\r\n",
            Sentence::Refused => b"530 5.7.0 Must issue a STARTTLS command first\r\n",
            Sentence::LineTooLong => b"500 5.5.2 Line too long\r\n",
            Sentence::ServerFailed => b"421 4.3.0 Service not available, closing transmission channel\r\n",
            Sentence::Goodbye => b"421 4.7.0 STARTTLS required, closing transmission channel\r\n",
        });
    }

    fn take_held(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.held)
    }

    fn server_offers(&self) -> bool {
        self.server_offers
    }
}

impl Smtp {
    fn capability(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let keyword = without_end(line).get(4..).unwrap_or_default().trim_ascii_start();
        if !self.drops(keyword) {
            self.hold(line, out);
        }
    }

    /// Whether the client shall not hear of this capability. An offer of the server's own keeps its place, once.
    fn drops(&mut self, keyword: &[u8]) -> bool {
        let is_starttls = after_word(keyword, b"STARTTLS").is_some();
        self.server_offers |= is_starttls;
        if is_starttls && self.policy.offer == Offer::Add {
            return core::mem::replace(&mut self.offered, true);
        }
        self.policy.drops(is_starttls, offers_auth(keyword))
    }

    /// Keeps this line until it is known whether another follows, and lets go of the one before.
    fn hold(&mut self, line: &[u8], out: &mut Vec<u8>) {
        self.release(b'-', out);
        self.held.extend_from_slice(line);
        self.kept += 1;
    }

    fn release(&mut self, separator: u8, out: &mut Vec<u8>) {
        if let (Some(code), Some(rest)) = (self.held.get(..3), self.held.get(3..)) {
            out.extend_from_slice(code);
            let text = rest.strip_prefix(b"-").or_else(|| rest.strip_prefix(b" ")).unwrap_or(rest);
            // A last line may be the bare code (RFC 5321 section 4.2); as such it needs no separator.
            if separator == b'-' || text.len() < rest.len() {
                out.push(separator);
            }
            out.extend_from_slice(text);
        }
        self.held.clear();
    }

    /// The offer stands before the last line: monitors and small clients look for the dash behind its code. Only the
    /// server's name cannot stand behind it (RFC 5321 section 4.1.1.1).
    fn finish_capabilities(&mut self, out: &mut Vec<u8>) {
        let offers = self.policy.offer == Offer::Add && !self.offered;
        if offers && self.kept == 1 {
            self.release(b'-', out);
            out.extend_from_slice(b"250 STARTTLS\r\n");
            return;
        }
        out.extend_from_slice(if offers { b"250-STARTTLS\r\n" } else { b"" });
        self.release(b' ', out);
    }
}

fn greets(first_line: &[u8]) -> bool {
    [b"220", b"421", b"554"].iter().any(|code| first_line.starts_with(*code))
}

fn snooper(policy: Policy) -> Box<dyn Snooper> {
    let (tail, reply, held) = (GreetingTail::new(policy), Expected::Plain, Vec::new());
    Box::new(Smtp { policy, introduced: false, server_offers: false, tail, reply, held, kept: 0, offered: false })
}

/// Whether further lines of the same reply follow (RFC 5321 section 4.2.1).
fn goes_on(line: &[u8]) -> bool {
    line.get(3) == Some(&b'-')
}

/// `AUTH` as in RFC 4954, or `AUTH=` as old clients want it.
fn offers_auth(keyword: &[u8]) -> bool {
    let Some((head, tail)) = keyword.split_at_checked(4) else { return false };
    head.eq_ignore_ascii_case(b"AUTH") && tail.first().is_none_or(|byte| is_blank(*byte) || *byte == b'=')
}

/// Opening words besides EHLO, HELO, LHLO, NOOP and QUIT; not under `--require-tls` (RFC 3207 section 4).
const OPENING_IF_LENIENT: &[&[u8]] = &[b"RSET", b"HELP", b"VRFY", b"EXPN"];

/// The longest command line of SMTP, its CRLF included (RFC 5321 section 4.5.3.1.4).
const MAX_SMTP_LINE: usize = 512;
