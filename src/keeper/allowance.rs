//! What a session may still ask for. It knows what each mode needs, and nothing of how it is had.

use starttls_protocols::session::MAX_TRIES;

use super::refused;
use crate::config::{BackendTls, Config, Inside};
use crate::message::Error;

/// What the session may still ask for. Each is given once.
pub(super) struct Allowance {
    pub(super) client: bool,
    pub(super) plaintext_prog: bool,
    pub(super) tls_prog: bool,
    pub(super) preparation: Tries,
    pub(super) connection: Tries,
    pub(super) anchors: Tries,
    pub(super) chain: bool,
    pub(super) signature: bool,
    /// One for each connection.
    pub(super) own_chain: bool,
    pub(super) own_signature: bool,
}

/// What may fail and be tried again, but not for ever.
pub(super) struct Tries(u8);

impl Allowance {
    /// What a session has coming at its beginning.
    pub(super) fn of(config: &Config) -> Self {
        // A TLS server that is told of TLS is reached once more then; one that may be spoken to in plaintext is called
        // again for it.
        let approaches = MAX_TRIES + u8::from(config.server_learns_of_tls());
        let opportunistic =
            matches!(&config.inside, Inside::Backend(backend) if backend.tls == BackendTls::Opportunistic);
        Self {
            client: config.accept_proxy,
            plaintext_prog: !config.implicit,
            tls_prog: matches!(config.inside, Inside::Respawn),
            preparation: Tries(MAX_TRIES),
            connection: Tries(if opportunistic { 2 * approaches } else { approaches }),
            anchors: Tries(approaches),
            chain: true,
            signature: true,
            own_chain: false,
            own_signature: false,
        }
    }
}

impl Tries {
    pub(super) fn take(&mut self) -> Result<(), Error> {
        self.0 = self.0.checked_sub(1).ok_or_else(refused)?;
        Ok(())
    }
}
