//! LDAP (RFC 4511) with StartTLS (RFC 4511 section 4.14, RFC 4513 section 3.1.1).
//!
//! The client speaks first. What either side says is a message in BER; each request has a number, and a response has
//! that of its request.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::ber::{self, elements, split};
use crate::dialogue::MAX_BYTES;
use crate::unit::Unit;
use crate::{Class, Effect, First, Policy, Protocol, Reply, Sentence, Snooper, Verdict};

mod message;
mod offer;

use message::{ENUMERATED, Message, OCTET_STRING, tag};

/// The row of LDAP.
pub(crate) const LDAP: Protocol = Protocol {
    name: "ldap",
    first: First::Client,
    alpn: &[b"ldap"],
    way_to_tls: &[b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"],
    visit: &[],
    snooper,
};

/// What the dialogue has shown of one server.
struct Ldap {
    policy: Policy,
    /// The number and the tag of the request last seen; none if it had none that is legal.
    request: Option<(u32, u8)>,
    /// That request came with a control it cannot do without (RFC 4511 section 4.1.11).
    critical: bool,
    server_offers: bool,
}

impl Snooper for Ldap {
    fn command(&mut self, message: &[u8]) -> Verdict {
        // Number 0 is the server's (RFC 4511 section 4.1.1.1).
        let message = Message::read(message).filter(|message| message.number != UNSOLICITED);
        self.request = message.as_ref().map(|message| (message.number, message.op.tag));
        let Some(message) = message else { return Verdict::Doubtful };
        match message.op.tag {
            tag::UNBIND_REQUEST | tag::ABANDON_REQUEST => Verdict::Forward(Effect::NoReply),
            tag::SEARCH_REQUEST if is_for_root(message.op.contents) => Verdict::Forward(Effect::None),
            tag::EXTENDED_REQUEST => self.extended(&message),
            request if message::response_to(request).is_some() => Verdict::Unknown,
            _ => Verdict::Doubtful,
        }
    }

    /// A search has any number of entries and references before its result.
    fn reply(&mut self, unit: &[u8], out: &mut Vec<u8>) -> Reply {
        self.unasked(unit, out);
        match Message::read(unit).filter(|message| self.is_awaited(message.number)) {
            None => Reply::More,
            Some(message) if BEFORE_THE_RESULT.contains(&message.op.tag) => Reply::More,
            Some(message) => Reply::Done(Class(if message.result() == Some(SUCCESS) { b'O' } else { b'N' })),
        }
    }

    fn unasked(&mut self, unit: &[u8], out: &mut Vec<u8>) {
        let message = Message::read(unit);
        let edited = message.and_then(|message| offer::edit(&message, self.policy.offer, &mut self.server_offers));
        out.extend_from_slice(edited.as_deref().unwrap_or(unit));
    }

    fn client_unit(&self, bytes: &[u8]) -> Unit {
        unit(bytes)
    }

    fn server_unit(&self, bytes: &[u8]) -> Unit {
        unit(bytes)
    }

    fn transcript(&self, message: &[u8], _opening: bool) -> Vec<u8> {
        Message::read(message).map_or_else(|| b"no message of LDAP".to_vec(), |message| message.transcript())
    }

    fn say(&self, sentence: Sentence, out: &mut Vec<u8>) {
        let (code, text) = match sentence {
            Sentence::GoAhead => (SUCCESS, ""),
            Sentence::NotAvailable => (UNAVAILABLE, "TLS not available"),
            Sentence::Argument if self.critical => (UNAVAILABLE_CRITICAL_EXTENSION, "StartTLS takes no control"),
            Sentence::Argument => (PROTOCOL_ERROR, "StartTLS takes no value"),
            Sentence::TooEarly => (OPERATIONS_ERROR, "StartTLS comes too early"),
            Sentence::AlreadyActive => (OPERATIONS_ERROR, "TLS already active"),
            Sentence::Refused if self.response().is_none() => (PROTOCOL_ERROR, "not a request of LDAP"),
            Sentence::Refused => (CONFIDENTIALITY_REQUIRED, "use StartTLS first"),
            Sentence::LineTooLong => (PROTOCOL_ERROR, "message too long"),
            Sentence::ServerFailed => (UNAVAILABLE, "service not available, closing connection"),
            Sentence::Goodbye => (CONFIDENTIALITY_REQUIRED, "StartTLS required, closing connection"),
        };
        let is_last = matches!(sentence, Sentence::LineTooLong | Sentence::ServerFailed | Sentence::Goodbye);
        out.extend(match self.response().filter(|_| !is_last) {
            // The response to StartTLS names it (RFC 4511 section 4.14.2).
            Some((number, tag)) if sentence != Sentence::Refused => {
                message::response(number, tag, code, text, STARTTLS)
            }
            Some((number, tag)) => message::response(number, tag, code, text, b""),
            None => message::response(UNSOLICITED, tag::EXTENDED_RESPONSE, code, text, NOTICE_OF_DISCONNECTION),
        });
    }

    fn server_offers(&self) -> bool {
        self.server_offers
    }
}

impl Ldap {
    fn extended(&mut self, message: &Message<'_>) -> Verdict {
        let Some(parts) = elements(message.op.contents) else { return Verdict::Doubtful };
        self.critical = message.has_critical_control();
        match &parts[..] {
            [name, ..] if name.tag == tag::REQUEST_NAME && name.contents == STARTTLS => match parts.len() {
                _ if self.policy.inside => Verdict::Answer(Sentence::AlreadyActive),
                1 if !self.critical => Verdict::StartTls,
                _ => Verdict::Answer(Sentence::Argument),
            },
            _ => Verdict::Unknown,
        }
    }

    fn is_awaited(&self, number: u32) -> bool {
        self.request.is_some_and(|(awaited, _)| awaited == number)
    }

    /// The number and the tag of the response to the request last seen, if it has one.
    fn response(&self) -> Option<(u32, u8)> {
        self.request.and_then(|(number, request)| Some((number, message::response_to(request)?)))
    }
}

fn unit(bytes: &[u8]) -> Unit {
    match bytes.first() {
        Some(first) if *first != message::SEQUENCE => Unit::TooLong,
        _ => ber::unit(bytes, MAX_BYTES),
    }
}

/// Whether a search is for the root DSE: nothing but the entry without a name (RFC 4512 section 5.1).
fn is_for_root(search: &[u8]) -> bool {
    let Some((base, rest)) = split(search) else { return false };
    let scope = split(rest).map(|(scope, _)| (scope.tag, scope.contents));
    (base.tag, base.contents) == (OCTET_STRING, b"") && scope == Some((ENUMERATED, &[BASE_OBJECT]))
}

fn snooper(policy: Policy) -> Box<dyn Snooper> {
    Box::new(Ldap { policy, request: None, critical: false, server_offers: false })
}

/// What is said before the result of a request.
const BEFORE_THE_RESULT: [u8; 3] = [tag::SEARCH_ENTRY, tag::SEARCH_REFERENCE, tag::INTERMEDIATE_RESPONSE];

/// RFC 4511 section 4.14.1.
const STARTTLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

/// RFC 4511 section 4.4.1.
const NOTICE_OF_DISCONNECTION: &[u8] = b"1.3.6.1.4.1.1466.20036";

/// The number of what no request has asked for.
const UNSOLICITED: u32 = 0;

/// RFC 4511 section 4.5.1.2.
const BASE_OBJECT: u8 = 0;

/// Result codes (RFC 4511 section 4.1.9).
const SUCCESS: u8 = 0;
const OPERATIONS_ERROR: u8 = 1;
const PROTOCOL_ERROR: u8 = 2;
const UNAVAILABLE_CRITICAL_EXTENSION: u8 = 12;
const CONFIDENTIALITY_REQUIRED: u8 = 13;
const UNAVAILABLE: u8 = 52;
