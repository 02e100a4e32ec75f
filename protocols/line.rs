//! The unit of most protocols: the line.
//!
//! A line ends at every LF, as the wrapped servers take it: 21 of 22 measured servers end a command at a bare LF.
//! What a line means is none of this file's business.

use crate::Policy;
use crate::unit::Unit;

/// The longest line, its LF included, in bytes. RFC 2683 section 3.2.1.5 asks IMAP servers for 8,000 and more; the other
/// protocols ask for less, but many servers take more.
pub const MAX_LINE: usize = 8192;

/// How far the line goes that some bytes begin with, if it may have so many bytes, its LF included.
pub fn unit(bytes: &[u8], limit: usize) -> Unit {
    match memchr::memchr(b'\n', bytes) {
        Some(at) if at < limit => Unit::Whole(at + 1),
        None if bytes.len() < limit => Unit::Partial(limit - bytes.len()),
        _ => Unit::TooLong,
    }
}

/// The same for a line of the client, where the protocol allows so many bytes and `--require-tls` no more.
pub(crate) fn client_unit(bytes: &[u8], policy: Policy, allowed: usize) -> Unit {
    unit(bytes, if policy.strict { allowed } else { MAX_LINE })
}

/// The line without its LF or CRLF; `None` if it holds a NUL, or a CR elsewhere: servers differ in what they see
/// behind those, so no word in such a line can be trusted.
pub fn text(line: &[u8]) -> Option<&[u8]> {
    let text = without_end(line);
    memchr::memchr2(b'\0', b'\r', text).is_none().then_some(text)
}

/// The line without its LF or CRLF.
pub fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// What a transcript shows of a line: the whole, or only its first word.
pub fn transcript(line: &[u8], whole: bool) -> &[u8] {
    let word = line.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
    if whole { line.trim_ascii_end() } else { word }
}

/// Splits at the first space: the word, and what follows the space.
pub fn word(text: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b' ', text) {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default()),
        None => (text, &[]),
    }
}

/// What follows the word (of any case) the text begins with; `None` if it begins with another word.
pub fn after_word<'a>(text: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let (head, tail) = text.split_at_checked(wanted.len())?;
    let ends = tail.first().is_none_or(|byte| is_blank(*byte));
    (ends && head.eq_ignore_ascii_case(wanted)).then_some(tail)
}

/// The same for a word that goes on to the server: only a space ends it. Behind a tab it would be the same word for a
/// server that splits at blanks, and another for one that splits at spaces.
pub fn after_command<'a>(text: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    after_word(text, wanted).filter(|tail| tail.first() != Some(&b'\t'))
}

/// Space or tab.
pub fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
        for (length, unit_is) in [(9, Unit::Whole(9)), (10, Unit::Whole(10)), (11, Unit::TooLong)] {
            let mut sent = vec![b'x'; length - 1];
            assert_eq!(unit(&sent, 10), if length > 10 { Unit::TooLong } else { Unit::Partial(11 - length) });
            sent.push(b'\n');
            assert_eq!(unit(&sent, 10), unit_is, "{length} bytes");
            sent.extend_from_slice(b"NOOP\r\n");
            assert_eq!(unit(&sent, 10), unit_is, "{length} bytes and another line");
        }
    }

    #[test]
    fn every_lf_ends_a_line() {
        assert_eq!(unit(b"", 10), Unit::Partial(10));
        assert_eq!(unit(b"\n", 10), Unit::Whole(1));
        assert_eq!(unit(b"a\r\nb\r\n", 10), Unit::Whole(3));
        assert_eq!(unit(b"a\nb\r\n", 10), Unit::Whole(2));
    }

    #[test]
    fn a_nul_or_a_stray_cr_makes_a_line_doubtful() {
        assert_eq!(text(b"NOOP\r\n"), Some(&b"NOOP"[..]));
        assert_eq!(text(b"NOOP\n"), Some(&b"NOOP"[..]));
        for line in [&b"NOOP\r\r\n"[..], b"NO\rOP\r\n", b"NOOP\0\r\n", b"\0\n"] {
            assert_eq!(text(line), None, "{line:?}");
        }
    }

    #[test]
    fn a_longer_word_is_another_word() {
        assert_eq!(after_word(b"starttls", b"STARTTLS"), Some(&b""[..]));
        assert_eq!(after_word(b"STARTTLS \t", b"STARTTLS"), Some(&b" \t"[..]));
        assert_eq!(after_word(b"STARTTLSX", b"STARTTLS"), None);
        assert_eq!(after_word(b"START", b"STARTTLS"), None);
    }

    #[test]
    fn a_tab_belongs_to_a_command_word() {
        assert_eq!(after_command(b"noop", b"NOOP"), Some(&b""[..]));
        assert_eq!(after_command(b"NOOP \tx", b"NOOP"), Some(&b" \tx"[..]));
        assert_eq!(after_command(b"NOOP\tx", b"NOOP"), None);
        assert_eq!(after_command(b"NOOPX", b"NOOP"), None);
    }

    #[test]
    fn a_refused_line_shows_its_verb_and_no_secret() {
        assert_eq!(transcript(b"AUTH PLAIN AGEAYg==\r\n", false), b"AUTH");
        assert_eq!(transcript(b"EHLO mx.example \r\n", true), b"EHLO mx.example");
    }
}
