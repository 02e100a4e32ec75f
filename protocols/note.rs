//! What the session tells the administrator. How it is said is the program's affair.

use alloc::vec::Vec;

/// Something an administrator should know of a session that goes on.
#[derive(Debug)]
pub enum Note {
    /// The server made an offer of its own; the wrapper keeps it in the server's place.
    ServerOffers,
    /// `--require-tls`, and the greeting is of no protocol this program speaks.
    UnknownGreeting(Vec<u8>),
    /// The backend's greeting says that it will not serve; its last line.
    BackendRefuses(Vec<u8>),
    /// The server inside TLS was there and cannot serve.
    FreshServerFailed(FreshServerFailure),
    /// The server inside TLS answered the replayed prefix otherwise than the plaintext server had.
    ReplayRefused(Vec<u8>),
    /// What a transcript shows of something that was said (`-v 3`).
    Transcript(Speaker, Vec<u8>),
    /// Where the transcript ends (`-v 3`): the bytes go by unwatched from here, for this reason.
    Unwatched(Unwatched),
}

/// Why a fresh server was given up. The client hears only that there is no service.
#[derive(Debug)]
pub enum FreshServerFailure {
    /// Its greeting says that it will not serve; the last line.
    Refuses(Vec<u8>),
    /// It said its last word in place of its greeting.
    EndedBeforeGreeting,
    /// The same, in place of its reply to the replayed prefix.
    EndedInReplay,
    /// Its limit passed.
    TookTooLong,
    /// It sent a line that is longer than its protocol allows.
    LineTooLong,
}

/// Why the rest of a session goes by unwatched (law 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwatched {
    /// The greeting is of no protocol this program speaks.
    UnknownGreeting,
    /// The greeting says that the server will not serve.
    RefusingGreeting,
    /// The client's command is no opening word.
    Command,
    /// A line of the client, or of the server, is longer than its protocol allows.
    LineTooLong(Speaker),
    /// More was said before TLS than is recorded.
    PrefixTooLong,
    /// The client's last word was heard.
    ClientClosed,
}

/// Who says something in the transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The client.
    Client,
    /// The server.
    Server,
    /// The wrapper itself, to the client.
    Wrapper,
}
