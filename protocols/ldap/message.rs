//! The envelope of everything in LDAP (RFC 4511 section 4.1.1), and the wrapper's own responses.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use crate::ber::{Element, element, elements, split};

/// One message.
pub(super) struct Message<'a> {
    /// The number of the request it is, or belongs to.
    pub(super) number: u32,
    /// What is asked, or answered.
    pub(super) op: Element<'a>,
    /// The element of the number.
    head: &'a [u8],
    /// The controls behind the operation, if there are any.
    tail: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads it; `None` if it is none.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (message, rest) = split(bytes)?;
        let (number, parts) = split(message.contents)?;
        let (op, tail) = split(parts)?;
        let is_message = (message.tag, number.tag) == (SEQUENCE, INTEGER) && rest.is_empty();
        let head = number.whole;
        let number = natural(number.contents).filter(|_| is_message)?;
        Some(Self { number, op, head, tail })
    }

    /// The same message with another operation of its kind.
    pub(super) fn with(&self, contents: &[u8]) -> Vec<u8> {
        element(SEQUENCE, &[self.head, &element(self.op.tag, contents), self.tail].concat())
    }

    /// The result of a response.
    pub(super) fn result(&self) -> Option<u8> {
        let (code, _) = split(self.op.contents).filter(|(code, _)| code.tag == ENUMERATED)?;
        natural(code.contents).and_then(|code| u8::try_from(code).ok())
    }

    /// Whether a control came with it that may not be ignored (RFC 4511 section 4.1.11).
    pub(super) fn has_critical_control(&self) -> bool {
        let Some((controls, _)) = split(self.tail) else { return !self.tail.is_empty() };
        let is_critical = |control: &Element<'_>| {
            let parts = elements(control.contents);
            parts.is_none_or(|parts| parts.iter().any(|part| part.tag == BOOLEAN && part.contents != [0]))
        };
        elements(controls.contents).is_none_or(|controls| controls.iter().any(is_critical))
    }

    /// What a transcript shows: its name, and of a response the result and the text for people.
    pub(super) fn transcript(&self) -> Vec<u8> {
        let name = OPERATIONS.iter().find(|(_, tag, _)| *tag == self.op.tag).map_or("unknown", |(name, ..)| name);
        let mut shown = String::from(name);
        if let Some(code) = self.result() {
            // Writing to a string does not fail.
            let _ = write!(shown, " resultCode={code}");
        }
        let mut shown = shown.into_bytes();
        if let (Some(_), Some([_, _, text, ..])) = (self.result(), elements(self.op.contents).as_deref()) {
            shown.push(b' ');
            shown.extend_from_slice(text.contents);
        }
        shown
    }
}

/// A response of the wrapper's own. Only an extended one has a name.
pub(super) fn response(number: u32, tag: u8, code: u8, text: &str, name: &[u8]) -> Vec<u8> {
    let mut parts = element(ENUMERATED, &[code]);
    parts.extend(element(OCTET_STRING, b""));
    parts.extend(element(OCTET_STRING, text.as_bytes()));
    if !name.is_empty() {
        parts.extend(element(tag::RESPONSE_NAME, name));
    }
    element(SEQUENCE, &[integer(number), element(tag, &parts)].concat())
}

/// The tag of the response to a request, if it has one.
pub(super) fn response_to(request: u8) -> Option<u8> {
    OPERATIONS.iter().find(|(_, tag, _)| *tag == request).and_then(|(.., response)| *response)
}

/// A number from 0 to 2^31 - 1 (maxInt, RFC 4511 section 4.1.1).
fn natural(contents: &[u8]) -> Option<u32> {
    let fits = matches!(contents, [0..0x80] | [0..0x80, _] | [0..0x80, _, _] | [0..0x80, _, _, _]);
    fits.then(|| contents.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

fn integer(number: u32) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    // Without the bytes that say nothing; the first bit is the sign.
    let said = bytes.windows(2).take_while(|pair| matches!(pair, [0, 0..0x80])).count();
    element(INTEGER, bytes.get(said..).unwrap_or_default())
}

/// The operations (RFC 4511, appendix B): the name, the tag, and of a request the tag of its response.
const OPERATIONS: &[(&str, u8, Option<u8>)] = &[
    ("BindRequest", 0x60, Some(0x61)),
    ("BindResponse", 0x61, None),
    ("UnbindRequest", tag::UNBIND_REQUEST, None),
    ("SearchRequest", tag::SEARCH_REQUEST, Some(0x65)),
    ("SearchResultEntry", tag::SEARCH_ENTRY, None),
    ("SearchResultDone", 0x65, None),
    ("SearchResultReference", tag::SEARCH_REFERENCE, None),
    ("ModifyRequest", 0x66, Some(0x67)),
    ("ModifyResponse", 0x67, None),
    ("AddRequest", 0x68, Some(0x69)),
    ("AddResponse", 0x69, None),
    ("DelRequest", 0x4a, Some(0x6b)),
    ("DelResponse", 0x6b, None),
    ("ModifyDNRequest", 0x6c, Some(0x6d)),
    ("ModifyDNResponse", 0x6d, None),
    ("CompareRequest", 0x6e, Some(0x6f)),
    ("CompareResponse", 0x6f, None),
    ("AbandonRequest", tag::ABANDON_REQUEST, None),
    ("ExtendedRequest", tag::EXTENDED_REQUEST, Some(tag::EXTENDED_RESPONSE)),
    ("ExtendedResponse", tag::EXTENDED_RESPONSE, None),
    ("IntermediateResponse", tag::INTERMEDIATE_RESPONSE, None),
];

/// The tags that mean something here.
pub(super) mod tag {
    pub(in crate::ldap) const UNBIND_REQUEST: u8 = 0x42;
    pub(in crate::ldap) const SEARCH_REQUEST: u8 = 0x63;
    pub(in crate::ldap) const SEARCH_ENTRY: u8 = 0x64;
    pub(in crate::ldap) const SEARCH_REFERENCE: u8 = 0x73;
    pub(in crate::ldap) const ABANDON_REQUEST: u8 = 0x50;
    pub(in crate::ldap) const EXTENDED_REQUEST: u8 = 0x77;
    pub(in crate::ldap) const EXTENDED_RESPONSE: u8 = 0x78;
    pub(in crate::ldap) const INTERMEDIATE_RESPONSE: u8 = 0x79;
    /// In a request and a response.
    pub(in crate::ldap) const REQUEST_NAME: u8 = 0x80;
    pub(in crate::ldap) const RESPONSE_NAME: u8 = 0x8a;
}

/// Universal tags.
const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const SEQUENCE: u8 = 0x30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_as_short_as_may_be_and_read_again() {
        for (number, written) in [
            (0, &b"\x02\x01\0"[..]),
            (1, b"\x02\x01\x01"),
            (0x7f, b"\x02\x01\x7f"),
            (0x80, b"\x02\x02\0\x80"),
            (0x7fff, b"\x02\x02\x7f\xff"),
            (0x8000, b"\x02\x03\0\x80\0"),
            (0x7fff_ffff, b"\x02\x04\x7f\xff\xff\xff"),
        ] {
            assert_eq!(integer(number), written);
            assert_eq!(natural(&written[2..]), Some(number));
        }
        for beyond in [&b""[..], b"\x80", b"\x80\0\0\0", b"\0\x80\0\0\0", b"\xff\xff\xff\xff"] {
            assert_eq!(natural(beyond), None, "{beyond:?}");
        }
    }
}
