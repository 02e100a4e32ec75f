//! PEM (RFC 7468) as it is found in the field. The only door to rustls-pemfile, which does the base64 and knows the labels.
//!
//! A block begins at its `-----BEGIN`, wherever that stands, and is read whole or not at all: files are glued together
//! without a newline between them, begin with a byte order mark, have text around the blocks, or a Macintosh's line ends.
//! No block is passed over because its form is unexpected; whoever cannot be read is named by its line.

use memchr::memmem;
pub(super) use rustls_pemfile::Item;
use rustls_pemfile::read_one_from_slice;

/// What is between two markers.
pub(super) struct Block<'a> {
    /// What its markers call it.
    pub(super) label: &'a str,
    /// Where it begins, counted from 1.
    pub(super) line: usize,
    body: &'a [u8],
}

/// What is wrong with a file, and in which line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damaged {
    pub(super) line: usize,
    pub(super) why: &'static str,
}

/// All blocks; none if this is no PEM.
pub(super) fn blocks(bytes: &[u8]) -> Result<Vec<Block<'_>>, Damaged> {
    let mut blocks = Vec::new();
    let (mut rest, mut line, mut counted) = (bytes, 1, 0);
    loop {
        let (between, block) = rest.split_at(memmem::find(rest, BEGIN).unwrap_or(rest.len()));
        let begin = bytes.len() - block.len();
        check_between(between).map_err(|at| damaged(bytes, begin - between.len() + at, "a marker is damaged"))?;
        if block.is_empty() {
            return Ok(blocks);
        }
        let (label, after) = label(block).ok_or_else(|| damaged(bytes, begin, "a marker is damaged"))?;
        let end = [END, label.as_bytes(), DASHES].concat();
        let length = memmem::find(after, &end).ok_or_else(|| damaged(bytes, begin, "the block has no end"))?;
        let (body, tail) = after.split_at(length);
        if memmem::find(body, DASHES).is_some() {
            return Err(damaged(bytes, begin, "the block has no end"));
        }
        line += line_ends(bytes, counted, begin);
        counted = begin;
        blocks.push(Block { label, line, body });
        rest = tail.get(end.len()..).unwrap_or_default();
    }
}

/// Whether this is PEM as some shells write it.
pub(super) fn is_utf16(bytes: &[u8]) -> bool {
    // In either order of the bytes.
    matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) || memmem::find(bytes, b"-\0B\0E\0G\0I\0N").is_some()
}

impl Block<'_> {
    /// Whether it is encrypted in the old way: by headers before the base64 (RFC 1421 section 4.6.1.1).
    pub(super) fn is_encrypted(&self) -> bool {
        memmem::find(self.parts().0, b"ENCRYPTED").is_some()
    }

    /// What is in it, under a label that rustls-pemfile knows.
    pub(super) fn decode(&self, label: &str) -> Result<Item, Damaged> {
        let whole =
            [BEGIN, label.as_bytes(), DASHES, b"\n", &self.base64(), b"\n", END, label.as_bytes(), DASHES, b"\n"];
        match read_one_from_slice(&whole.concat()) {
            Ok(Some((item, _))) => Ok(item),
            _ => Err(Damaged { line: self.line, why: "the block cannot be read: its base64 is damaged" }),
        }
    }

    /// The base64 without anything between.
    fn base64(&self) -> Vec<u8> {
        self.parts().1.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect()
    }

    /// Headers, if there are any, and what comes behind them: an empty line is between (RFC 1421 section 4.4).
    fn parts(&self) -> (&[u8], &[u8]) {
        let body = self.body.trim_ascii_start();
        if memchr::memchr(b':', body).is_none() {
            return (&[], body);
        }
        let ends = [&b"\n\n"[..], b"\n\r\n", b"\r\r"].map(|end| memmem::find(body, end));
        ends.into_iter().flatten().min().and_then(|end| body.split_at_checked(end)).unwrap_or((body, body))
    }
}

/// The label in a first marker, and what follows the marker.
fn label(block: &[u8]) -> Option<(&str, &[u8])> {
    let rest = block.get(BEGIN.len()..)?;
    let (label, rest) = rest.split_at_checked(memmem::find(rest, DASHES)?)?;
    let plain = label.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    Some((str::from_utf8(label).ok().filter(|_| plain)?, rest.get(DASHES.len()..)?))
}

/// Between blocks anything may stand but what was meant to be a marker: a block's lost half, one that has lost a dash,
/// or whose dashes a word processor has joined.
fn check_between(text: &[u8]) -> Result<(), usize> {
    let lower = text.to_ascii_lowercase();
    let is_marker = |at: &usize| {
        let before = lower.get(..*at).unwrap_or_default().trim_ascii_end();
        before.ends_with(b"--") || JOINED_DASHES.iter().any(|dash| before.ends_with(dash.as_bytes()))
    };
    let mut markers = [&b"begin "[..], b"end "].into_iter().flat_map(|word| memmem::find_iter(&lower, word));
    markers.find(is_marker).map_or(Ok(()), Err)
}

fn damaged(bytes: &[u8], at: usize, why: &'static str) -> Damaged {
    Damaged { line: 1 + line_ends(bytes, 0, at), why }
}

/// How many lines end here, in LF, CRLF or CR.
fn line_ends(bytes: &[u8], from: usize, to: usize) -> usize {
    let part = bytes.get(from..to).unwrap_or_default();
    let lone = |at: &usize| bytes.get(from + at + 1) != Some(&b'\n');
    memchr::memchr_iter(b'\n', part).count() + memchr::memchr_iter(b'\r', part).filter(lone).count()
}

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
const JOINED_DASHES: &[&str] = &["\u{2010}", "\u{2011}", "\u{2012}", "\u{2013}", "\u{2014}", "\u{2015}", "\u{2212}"];

#[cfg(test)]
mod tests {
    use super::*;

    /// The labels with their lines.
    fn found(text: &str) -> Result<Vec<(String, usize)>, Damaged> {
        let all = blocks(text.as_bytes())?;
        Ok(all.iter().map(|block| (block.label.to_owned(), block.line)).collect())
    }

    fn block(label: &str) -> String {
        format!("-----BEGIN {label}-----\nAAEC\nAwQF\n-----END {label}-----\n")
    }

    #[test]
    fn a_block_is_found_wherever_it_stands() {
        let (one, other) = (block("CERTIFICATE"), block("PRIVATE KEY"));
        let both =
            |lines: [usize; 2]| Ok(vec![("CERTIFICATE".to_owned(), lines[0]), ("PRIVATE KEY".to_owned(), lines[1])]);
        for (text, lines) in [
            (format!("{one}{other}"), [1, 5]),
            (format!("{}{other}", one.trim_end()), [1, 4]),
            (format!("\u{feff}{one}text\n{other}behind"), [1, 6]),
            (format!("{one}{other}").replace('\n', "\r\n"), [1, 5]),
            (format!("{one}{other}").replace('\n', "\r"), [1, 5]),
            (format!("Bag Attributes\n  friendlyName: x\nsubject=CN = x\n\n  {one}  {other}"), [5, 9]),
        ] {
            assert_eq!(found(&text), both(lines), "{text:?}");
        }
        let words = "# END of it -- the end-entity CERTIFICATE\n# BEGIN CERTIFICATE of the mail server\n";
        assert_eq!(found(&format!("{words}{one}{words}{other}{words}")), both([3, 9]));
        assert_eq!(found("no PEM, \u{0} at all"), Ok(vec![]));
    }

    #[test]
    fn what_is_in_a_block_does_not_depend_on_its_lines() {
        for body in
            ["AAEC\nAwQF\n", "AAECAwQF", "\r\n AAEC \r\n\tAwQF\r\n\r\n", "AA\nEC\nAw\nQF", "Comment: x\n\nAAECAwQF\n"]
        {
            let text = format!("-----BEGIN CERTIFICATE-----{body}-----END CERTIFICATE-----");
            let item = blocks(text.as_bytes()).unwrap().first().unwrap().decode("CERTIFICATE").unwrap();
            let Item::X509Certificate(certificate) = item else { panic!("{item:?}") };
            assert_eq!(certificate.as_ref(), [0, 1, 2, 3, 4, 5], "{body:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_by_its_line() {
        let one = block("CERTIFICATE");
        let cut = "-----BEGIN CERTIFICATE-----\nAAEC\n";
        for (text, line, why) in [
            (format!("{one}{cut}"), 5, "the block has no end"),
            (format!("{cut}{one}"), 1, "the block has no end"),
            (format!("{cut}-----END PRIVATE KEY-----\n"), 1, "the block has no end"),
            (format!("{one}-----BEGIN CERTIFICATE\nAAEC"), 5, "a marker is damaged"),
            (format!("{one}----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n"), 5, "a marker is damaged"),
            (format!("{one}\u{2013}BEGIN CERTIFICATE\u{2013}\nAAEC\n"), 5, "a marker is damaged"),
            (format!("AAEC\n-----END CERTIFICATE-----\n{one}"), 2, "a marker is damaged"),
            (format!("{one}{}", one.replace("-----", "----")), 5, "a marker is damaged"),
            (format!("{one}{}", one.to_lowercase()), 5, "a marker is damaged"),
        ] {
            assert_eq!(found(&text), Err(Damaged { line, why }), "{text:?}");
        }
        let text = one.replace("AAEC", "A*EC");
        let why = blocks(text.as_bytes()).unwrap().first().unwrap().decode("CERTIFICATE").unwrap_err();
        assert_eq!(why.line, 1);
    }
}
