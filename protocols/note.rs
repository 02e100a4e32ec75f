//! What the session tells the administrator. How it is said is the program's affair.

use alloc::vec::Vec;

/// Something an administrator should know of a session that goes on.
#[derive(Debug)]
pub enum Note {
    /// The server made an offer of its own; the wrapper keeps it in the server's place.
    ServerOffers,
    /// `--require-tls`, and the greeting is of no protocol this program speaks.
    UnknownGreeting(Vec<u8>),
    /// The backend's greeting says that it will not serve.
    BackendRefuses,
    /// The server inside TLS answered the replayed prefix otherwise than the plaintext server had.
    ReplayRefused(Vec<u8>),
    /// What a transcript shows of something that was said (`-v 3`).
    Said(Speaker, Vec<u8>),
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
