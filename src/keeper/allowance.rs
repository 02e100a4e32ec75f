//! What a session may still ask for, which depends on the mode. How it is granted is not known here.

use starttls_protocols::session::MAX_STARTTLS_TRIES;

use super::not_allowed;
use crate::config::{Config, Inside};
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
    /// Each connection to the backend brings one, and one signature.
    pub(super) backend_chain: bool,
    pub(super) backend_signature: bool,
}

/// What may fail and be tried again, but not for ever.
pub(super) struct Tries(u8);

impl Allowance {
    /// What a session may ask for when it begins.
    pub(super) fn of(config: &Config) -> Self {
        // A TLS server that is told of the client's TLS is reached once more after the handshake; each way of beginning
        // TLS that may be tried wants a connection of its own.
        let called = matches!(config.inside, Inside::Called(_));
        let connections = if called { 1 } else { MAX_STARTTLS_TRIES + u8::from(config.server_learns_of_tls()) };
        let ways = config.inside.backend().map_or(1, |backend| backend.tls.ways());
        Self {
            client: config.accept_proxy,
            plaintext_prog: !config.implicit && !called,
            tls_prog: matches!(config.inside, Inside::Respawn) || (called && !config.prog.is_empty()),
            preparation: Tries(if called { 0 } else { MAX_STARTTLS_TRIES }),
            connection: Tries(ways * connections),
            anchors: Tries(connections),
            chain: !called,
            signature: !called,
            backend_chain: false,
            backend_signature: false,
        }
    }
}

impl Tries {
    pub(super) fn take(&mut self) -> Result<(), Error> {
        self.0 = self.0.checked_sub(1).ok_or_else(not_allowed)?;
        Ok(())
    }
}
