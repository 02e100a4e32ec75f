//! Bytes in, bounded lines out.
//!
//! A line ends at every LF, as the wrapped servers take it: 21 of 22 measured servers end a command at a bare LF.
//! What a line means is none of this file's business.

use alloc::vec::Vec;

/// The longest line, its LF included, in bytes. RFC 2683 section 3.2.1.5 asks IMAP servers for 8,000 and more;
/// SMTP (RFC 5321 section 4.5.3.1.4), POP3 (RFC 2449 section 4) and NNTP (RFC 3977 section 3.1) ask for 512 at most.
pub const MAX_LINE: usize = 8192;

/// Bytes that wait to become lines.
#[derive(Default)]
pub struct Lines {
    bytes: Vec<u8>,
    /// Before this nothing is needed any more.
    start: usize,
    /// Before this there is no LF.
    scanned: usize,
}

/// The line exceeds [`MAX_LINE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl Lines {
    /// How many bytes may be [pushed](Self::push) now. Zero while a whole line, or one too long, waits.
    pub fn room(&self) -> usize {
        if self.has_line() { 0 } else { MAX_LINE.saturating_sub(self.len()) }
    }

    /// Appends bytes as they came from the network.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes the next whole line, its line end included; `None` if there is no whole line yet.
    ///
    /// # Errors
    /// [`TooLong`] once more than [`MAX_LINE`] bytes came without an LF among them; the bytes stay where they are.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, TooLong> {
        match self.find_end() {
            Some(end) if end - self.start > MAX_LINE => Err(TooLong),
            Some(end) => {
                let start = core::mem::replace(&mut self.start, end);
                self.scanned = end;
                Ok(self.bytes.get(start..end))
            }
            None if self.len() >= MAX_LINE => Err(TooLong),
            None => Ok(None),
        }
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether no byte waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives up the lines and returns the bytes that were not taken.
    pub fn into_rest(mut self) -> Vec<u8> {
        self.bytes.drain(..self.start);
        self.bytes
    }

    fn has_line(&self) -> bool {
        self.bytes.get(self.scanned..).is_some_and(|rest| memchr::memchr(b'\n', rest).is_some())
    }

    fn find_end(&mut self) -> Option<usize> {
        let found = memchr::memchr(b'\n', self.bytes.get(self.scanned..)?);
        let end = found.map(|at| self.scanned + at + 1);
        if end.is_none() {
            self.scanned = self.bytes.len();
        }
        end
    }
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

/// Space or tab.
pub fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn lines_that_come_together_are_as_long_as_alone() {
        let mut lines = Lines::default();
        let [first, second] = [5000, MAX_LINE - 5000].map(|length| [&vec![b'x'; length - 1][..], b"\n"].concat());
        lines.push(&[&first[..], &second].concat());
        assert_eq!(lines.next_line(), Ok(Some(&first[..])));
        assert_eq!(lines.next_line(), Ok(Some(&second[..])));
        assert_eq!(lines.next_line(), Ok(None));
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
        for (length, fits) in [(MAX_LINE - 1, true), (MAX_LINE, true), (MAX_LINE + 1, false)] {
            let mut lines = Lines::default();
            let mut sent = vec![b'x'; length - 1];
            sent.push(b'\n');
            lines.push(&sent);
            assert_eq!(lines.next_line().is_ok(), fits, "{length} bytes");
            assert_eq!(lines.into_rest().is_empty(), fits, "{length} bytes");
        }
    }

    #[test]
    fn no_room_is_left_while_a_line_waits() {
        let mut lines = Lines::default();
        assert_eq!(lines.room(), MAX_LINE);
        lines.push(b"NOOP\r\nNO");
        assert_eq!(lines.room(), 0);
        assert_eq!(lines.next_line(), Ok(Some(&b"NOOP\r\n"[..])));
        assert_eq!(lines.room(), MAX_LINE - 2);
        assert_eq!(lines.next_line(), Ok(None));
        lines.push(b"OP\n");
        assert_eq!(lines.next_line(), Ok(Some(&b"NOOP\n"[..])));
    }

    #[test]
    fn a_line_without_end_fills_the_room() {
        let mut lines = Lines::default();
        lines.push(&vec![b'x'; MAX_LINE - 1]);
        assert_eq!((lines.room(), lines.next_line()), (1, Ok(None)));
        lines.push(b"x");
        assert_eq!((lines.room(), lines.next_line()), (0, Err(TooLong)));
        assert_eq!(lines.len(), MAX_LINE);
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
}
