//! The literals of IMAP (RFC 9051 section 4.3) and ManageSieve (RFC 5804 section 4): a line that ends in `{n}` goes on
//! behind its end with n bytes of anything, then with the rest of the line.

/// Where in a response the next line stands.
#[derive(Default)]
pub(crate) struct Literal {
    /// So many bytes of a literal are still to come; `None` where a response begins.
    left: Option<usize>,
}

impl Literal {
    /// Whether the next line belongs to a response that has begun.
    pub(crate) fn is_open(&self) -> bool {
        self.left.is_some()
    }

    /// Takes the next line, which may hold the end of a literal, or nothing else than a piece of one.
    pub(crate) fn take(&mut self, line: &[u8]) {
        let left = self.left.unwrap_or_default();
        self.left = match line.get(left..) {
            // The literal ended where this line did; what follows it is on the next one.
            Some([]) | None => Some(left.saturating_sub(line.len())),
            Some(rest) => announced(crate::line::without_end(rest)),
        };
    }
}

/// The size of the literal that a text ends in: `{n}`, `{n+}` (RFC 7888), `~{n}` (RFC 9051 section 9).
pub(crate) fn announced(text: &[u8]) -> Option<usize> {
    let inner = text.strip_suffix(b"}")?;
    let inner = inner.strip_suffix(b"+").unwrap_or(inner);
    let digits = inner.get(memchr::memrchr(b'{', inner)? + 1..)?;
    digits.iter().try_fold(0_usize, |size, digit| {
        let digit = usize::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
        Some(size.saturating_mul(10).saturating_add(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_literal_is_seen() {
        for (text, size) in [
            (&b"a LOGIN {5}"[..], Some(5)),
            (b"a LOGIN {12+}", Some(12)),
            (b"a APPEND x ~{3}", Some(3)),
            (b"{0}", Some(0)),
            (b"{}", Some(0)),
            (b"{99999999999999999999999999}", Some(usize::MAX)),
            (b"a {x}", None),
            (b"a {1:}", None),
            (b"a 5}", None),
            (b"a {5} b", None),
            (b"a {5", None),
        ] {
            assert_eq!(announced(text), size, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_response_is_over_only_behind_its_last_literal() {
        for (lines, open) in [
            (&[&b"* OK\r\n"[..]][..], &[false][..]),
            (&[b"x {3}\r\n", b"abc\r\n"], &[true, false]),
            (&[b"x {5}\r\n", b"abc\r\n", b"\r\n"], &[true, true, false]),
            (&[b"x {0}\r\n", b"\r\n"], &[true, false]),
            (&[b"x {3}\r\n", b"a\r\n", b" {2}\r\n", b"\r\n", b"\r\n"], &[true, true, true, true, false]),
        ] {
            let mut literal = Literal::default();
            let seen: alloc::vec::Vec<_> = lines.iter().map(|line| (literal.take(line), literal.is_open()).1).collect();
            assert_eq!(seen, open, "{lines:?}");
        }
    }
}
