//! What the session wants done, and how it ends.

use alloc::vec::Vec;

use crate::note::Note;

/// What the driver of the session is to do, in this order.
#[derive(Debug)]
pub enum Order {
    /// Send the client these bytes.
    ToClient(Vec<u8>),
    /// Send the server these bytes.
    ToServer(Vec<u8>),
    /// Tell the server that the client will say no more. What it owes is still awaited.
    EndToServer,
    /// Find out whether TLS can be had: key and certificate, and without `--respawn` the backend. Then call
    /// [`prepared`](super::Session::prepared).
    Prepare,
    /// Let go of the backend; it does not serve.
    DropBackend,
    /// Once the client has got everything: drop the plaintext server, put the backend in its place, and begin TLS.
    Upgrade(Surplus),
    /// Start prog again; TLS stands. Then come its bytes, or [`server_failed`](super::Session::server_failed).
    Respawn,
    /// Forward everything from here on: first these bytes, then whatever comes.
    PassThrough {
        /// What the client said and the server did not hear yet.
        to_server: Vec<u8>,
        /// What the server said and the client did not hear yet.
        to_client: Vec<u8>,
    },
    /// Once the client has got everything: close.
    Close(Outcome),
    /// Tell the administrator.
    Note(Note),
}

/// What came behind the STARTTLS line. It belongs to the TLS engine and to nothing else (law 1): it cannot be
/// cloned, and only taking it apart by value yields its bytes.
#[derive(Debug)]
pub struct Surplus(pub(super) Vec<u8>);

impl Surplus {
    /// Nothing came before TLS, as with TLS from the first byte.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// The bytes, for the TLS engine.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Why the session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server ended it.
    ServerClosed,
    /// `--require-tls`: too many refusals, a doubtful or overlong line, or TLS that is not available. Else: STARTTLS too
    /// often.
    Refused,
    /// `--tls-deadline` passed.
    Deadline,
    /// There was no server, or the one inside TLS failed, or did not answer in time.
    ServerFailed,
}

/// What became of the recorded prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// There was nothing to replay, or no time to.
    None,
    /// The client opened the session again.
    Dropped,
    /// The server heard it.
    Replayed,
}
