//! The Basic Encoding Rules as LDAP restricts them (RFC 4511 section 5.1): definite lengths, and here tags of one byte,
//! as LDAP has no others.

use alloc::vec::Vec;

use crate::unit::Unit;

/// A tag and what it holds.
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) contents: &'a [u8],
    /// Tag and length as well.
    pub(crate) whole: &'a [u8],
}

/// How far the element goes that some bytes begin with, if it may have so many bytes. No byte behind it has room.
pub(crate) fn unit(bytes: &[u8], limit: usize) -> Unit {
    let (header, length) = match header(bytes) {
        Ok(found) => found,
        Err(why) => return why,
    };
    let length = length.saturating_add(header);
    match length.checked_sub(bytes.len()) {
        _ if length > limit => Unit::TooLong,
        None | Some(0) => Unit::Whole(length),
        Some(missing) => Unit::Partial(missing),
    }
}

/// The first element, and what follows it.
pub(crate) fn split(bytes: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (header, length) = header(bytes).ok()?;
    let (whole, rest) = bytes.split_at_checked(length.checked_add(header)?)?;
    let (tag, contents) = (*whole.first()?, whole.get(header..)?);
    Some((Element { tag, contents, whole }, rest))
}

/// All the elements; `None` if there is anything else among them.
pub(crate) fn elements(mut bytes: &[u8]) -> Option<Vec<Element<'_>>> {
    let mut elements = Vec::new();
    while !bytes.is_empty() {
        let element;
        (element, bytes) = split(bytes)?;
        elements.push(element);
    }
    Some(elements)
}

/// One element, its length in the shortest form.
pub(crate) fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len().to_be_bytes();
    let digits = length.iter().position(|byte| *byte != 0).and_then(|first| length.get(first..)).unwrap_or(&[0]);
    let mut element = Vec::from([tag]);
    match digits {
        [short @ ..0x80] => element.push(*short),
        long => {
            element.push(LONG | long.len() as u8);
            element.extend_from_slice(long);
        }
    }
    element.extend_from_slice(contents);
    element
}

/// How many bytes stand before the contents, and how many contents there are. What is missing, or that nobody can tell:
/// the indefinite form, and lengths of more bytes than anybody needs.
fn header(bytes: &[u8]) -> Result<(usize, usize), Unit> {
    let (first, rest) = match bytes {
        // One by one, so that nothing is read behind a byte that cannot be.
        [] => return Err(Unit::Partial(1)),
        [tag, ..] if tag & HIGH_TAG == HIGH_TAG => return Err(Unit::TooLong),
        [_] => return Err(Unit::Partial(1)),
        [_, first, rest @ ..] => (*first, rest),
    };
    let count = usize::from(first & !LONG);
    if first & LONG == 0 {
        return Ok((2, count));
    }
    if count == 0 || count > MAX_LENGTH {
        return Err(Unit::TooLong);
    }
    let digits = rest.get(..count).ok_or(Unit::Partial(count.saturating_sub(rest.len())))?;
    Ok((2 + count, digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit))))
}

/// The bits of a tag that goes on in the next byte.
const HIGH_TAG: u8 = 0x1f;

/// The bit of a length that goes on in so many bytes; alone it is the indefinite form.
const LONG: u8 = 0x80;

/// The most bytes of a length. Some clients always write these four.
const MAX_LENGTH: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000] {
            let written = element(0x30, &vec![b'x'; length]);
            let (read, rest) = split(&written).unwrap();
            assert_eq!((read.tag, read.contents.len(), read.whole.len()), (0x30, length, written.len()));
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn an_element_may_be_as_long_as_the_limit_and_no_longer() {
        for (length, unit_is) in [(9, Unit::Whole(9)), (10, Unit::Whole(10)), (11, Unit::TooLong)] {
            let sent = element(0x30, &vec![b'x'; length - 2]);
            assert_eq!(unit(&sent, 10), unit_is, "{length} bytes");
            assert_eq!(unit(&[&sent[..], b"0"].concat(), 10), unit_is, "{length} bytes and more");
        }
    }

    #[test]
    fn no_byte_behind_an_element_is_asked_for() {
        for sent in [&b"\x30\x03abc"[..], b"\x30\x84\0\0\0\x03abc", b"\x30\x81\x03abc", b"\x30\0"] {
            let mut seen = 0;
            while let Unit::Partial(room) = unit(&sent[..seen], 100) {
                assert!(room > 0 && seen + room <= sent.len(), "{sent:?}: {seen} and {room}");
                seen += 1;
            }
            assert_eq!((seen, unit(sent, 100)), (sent.len(), Unit::Whole(sent.len())));
        }
    }

    #[test]
    fn what_has_no_length_is_too_long() {
        for sent in [&b"\x30\x80"[..], b"\x30\x85", b"\x30\xff", b"\x3f", b"\x30\x84\xff\xff\xff\xff"] {
            assert_eq!(unit(sent, 100), Unit::TooLong, "{sent:?}");
            assert!(split(sent).is_none(), "{sent:?}");
        }
    }
}
