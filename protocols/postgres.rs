//! PostgreSQL (protocol 3, "Message Flow" and "SSL Session Encryption" of its manual): SSLRequest and direct TLS.
//!
//! The client speaks first, in packets that begin with their length. What follows its StartupMessage has another form
//! and is never read here.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::dialogue::MAX_BYTES;
use crate::unit::Unit;
use crate::{Class, Effect, First, Policy, Protocol, Reply, Sentence, Snooper, Verdict};

/// The row of PostgreSQL.
pub(crate) const POSTGRES: Protocol = Protocol {
    name: "postgres",
    first: First::ClientOrTls,
    alpn: &[b"postgresql"],
    way_to_tls: &[b"\0\0\0\x08\x04\xd2\x16\x2f"],
    visit: &[],
    snooper,
};

/// What the dialogue has shown of one server.
struct Postgres {
    policy: Policy,
    /// The client has said something.
    begun: bool,
    /// TLS was asked for. The answer is a byte, and no packet.
    tls_asked: bool,
}

impl Snooper for Postgres {
    fn command(&mut self, packet: &[u8]) -> Verdict {
        self.begun = true;
        let verdict = match (code(packet), packet.len()) {
            (Some(SSL_REQUEST), REQUEST_LENGTH) if self.policy.inside => Verdict::Answer(Sentence::AlreadyActive),
            (Some(SSL_REQUEST), REQUEST_LENGTH) => Verdict::StartTls,
            // The client may go on to ask for TLS.
            (Some(GSSENC_REQUEST), REQUEST_LENGTH) => Verdict::Answer(Sentence::NotAvailable),
            (Some(CANCEL_REQUEST), CANCEL_LENGTH..) => Verdict::Forward(Effect::None),
            // A StartupMessage, or what nobody knows: from here on the packets may be others.
            _ => Verdict::Doubtful,
        };
        self.tls_asked = verdict == Verdict::StartTls;
        verdict
    }

    /// A CancelRequest has no reply but the end of the connection.
    fn reply(&mut self, packet: &[u8], out: &mut Vec<u8>) -> Reply {
        out.extend_from_slice(packet);
        if self.tls_asked { Reply::Done(Class(packet.first().copied().unwrap_or_default())) } else { Reply::More }
    }

    fn client_unit(&self, bytes: &[u8]) -> Unit {
        if !self.begun && !self.policy.inside && bytes.first() == Some(&TLS_HANDSHAKE) {
            return Unit::Tls;
        }
        match length(bytes) {
            None => Unit::Partial(REQUEST_LENGTH - bytes.len()),
            Some(length) => unit(bytes, length, REQUEST_LENGTH, MAX_PACKET),
        }
    }

    fn server_unit(&self, bytes: &[u8]) -> Unit {
        match bytes {
            [] => Unit::Partial(1),
            [b'S' | b'N', ..] if self.tls_asked => Unit::Whole(1),
            [_, rest @ ..] => match length(rest) {
                None => Unit::Partial(5 - bytes.len()),
                Some(length) => unit(bytes, length.saturating_add(1), 5, MAX_BYTES),
            },
        }
    }

    fn transcript(&self, packet: &[u8], _opening: bool) -> Vec<u8> {
        let name: &[u8] = match (packet, code(packet)) {
            ([b'S' | b'N'], _) => packet,
            ([b'E', ..], _) => b"ErrorResponse",
            (_, Some(SSL_REQUEST)) => b"SSLRequest",
            (_, Some(GSSENC_REQUEST)) => b"GSSENCRequest",
            (_, Some(CANCEL_REQUEST)) => b"CancelRequest",
            _ => b"StartupMessage",
        };
        name.to_vec()
    }

    fn say(&self, sentence: Sentence, out: &mut Vec<u8>) {
        let (code, text) = match sentence {
            Sentence::GoAhead => return out.push(b'S'),
            Sentence::NotAvailable | Sentence::AlreadyActive => return out.push(b'N'),
            Sentence::Refused => ("28000", "TLS is required here: connect with sslmode=require or better"),
            Sentence::Argument | Sentence::TooEarly | Sentence::LineTooLong => ("08P01", "invalid startup packet"),
            Sentence::ServerFailed => ("57P03", "the server is not available now"),
            Sentence::Goodbye => ("57P03", "TLS is required here, closing the connection"),
        };
        error_response(code, text, out);
    }

    fn server_offers(&self) -> bool {
        false
    }
}

/// The length that stands at the beginning of a packet, itself included.
fn length(bytes: &[u8]) -> Option<usize> {
    bytes.first_chunk().and_then(|length| usize::try_from(u32::from_be_bytes(*length)).ok())
}

/// What stands where a StartupMessage has its version.
fn code(packet: &[u8]) -> Option<u32> {
    packet.get(4..).and_then(|rest| rest.first_chunk()).map(|code| u32::from_be_bytes(*code))
}

fn unit(bytes: &[u8], length: usize, least: usize, most: usize) -> Unit {
    match length.checked_sub(bytes.len()) {
        _ if length < least || length > most => Unit::TooLong,
        None | Some(0) => Unit::Whole(length),
        Some(missing) => Unit::Partial(missing),
    }
}

/// A fatal error, its severity in both fields that tell it: `S` may be translated, `V` (since 9.6) is not.
fn error_response(code: &str, text: &str, out: &mut Vec<u8>) {
    let fields = [("S", "FATAL"), ("V", "FATAL"), ("C", code), ("M", text)].map(|(field, value)| [field, value, "\0"]);
    let fields = fields.concat().concat();
    // Its own four bytes, and the NUL behind the last field.
    let length = u32::try_from(fields.len() + 5).unwrap_or_default();
    out.push(b'E');
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(fields.as_bytes());
    out.push(0);
}

fn snooper(policy: Policy) -> Box<dyn Snooper> {
    Box::new(Postgres { policy, begun: false, tls_asked: false })
}

/// The longest packet of a client that has not begun, as servers have it (MAX_STARTUP_PACKET_LENGTH).
const MAX_PACKET: usize = 10_000;

const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// How long a request is that has nothing but its code. No packet of a client is shorter.
const REQUEST_LENGTH: usize = 8;

/// How long a CancelRequest is at least; keys have grown since (protocol 3.2).
const CANCEL_LENGTH: usize = 16;

/// The first byte of a ClientHello's record (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;
