//! How long a session waits for a peer where no option says it. A value, so that a test need not wait as long.

use std::time::Duration;

/// How long a peer may stand still.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// While bytes wait for it.
    pub write_stall: Duration,
    /// When nothing more comes but what waits for it.
    pub last_words: Duration,
    /// When nothing more comes, and the server still listens.
    pub half_closed: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { write_stall: WRITE_STALL, last_words: LAST_WORDS, half_closed: HALF_CLOSED }
    }
}

/// How long a peer may take nothing of what it is told. Keepalive does not notice: a window of zero is acknowledged as
/// long as the peer lives. Whoever reads a little, however slowly, has as long again.
pub const WRITE_STALL: Duration = Duration::from_secs(300);

/// How long a client may take to read the last words. From prog's end on, a session lasts no longer at all.
pub const LAST_WORDS: Duration = Duration::from_secs(30);

/// How long a half-closed connection may be idle after the server's last word, while the server still listens.
pub const HALF_CLOSED: Duration = Duration::from_secs(60);
