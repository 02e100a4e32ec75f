//! What the session tells the administrator. How it is said is the program's affair.

use alloc::vec::Vec;

/// Something an administrator should know of a session that goes on.
#[derive(Debug)]
pub enum Note {
    /// The server made an offer of its own; the wrapper's stands in its place.
    ServerOffers,
    /// `--require-tls`, and the greeting is of no protocol this program speaks.
    UnknownGreeting(Vec<u8>),
    /// The backend's greeting says that it will not serve.
    BackendRefuses,
    /// The server inside TLS answered the replayed prefix otherwise than the plaintext server had.
    ReplayRefused(Vec<u8>),
    /// A line of the dialogue (`-v 3`).
    Line(Speaker, Vec<u8>),
}

/// Who says a line of the transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The client.
    Client,
    /// The server.
    Server,
    /// The wrapper itself, to the client.
    Wrapper,
}

impl Note {
    /// A line for the transcript. Of a line that is no opening word only the first word is kept: what follows
    /// may be a secret.
    pub fn line(speaker: Speaker, line: &[u8], whole: bool) -> Self {
        let shown = if whole { line } else { line.split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default() };
        Self::Line(speaker, shown.trim_ascii_end().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_line_shows_its_verb_and_no_secret() {
        let note = Note::line(Speaker::Client, b"AUTH PLAIN AGEAYg==\r\n", false);
        assert!(matches!(note, Note::Line(Speaker::Client, shown) if shown == b"AUTH"));
    }
}
