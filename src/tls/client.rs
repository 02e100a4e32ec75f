//! The client's leg: this program is the TLS server. Key and chain are the keeper's; what is here asks for them
//! through the window.

use std::sync::{Arc, OnceLock};

use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConnection, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use super::client_cert::{RecordingVerifier, Verification};
use super::leg::{Leg, MISSING_EXTENSION, NO_APPLICATION_PROTOCOL, OwnAlert, UNRECOGNIZED_NAME};
use super::{MinVersion, remote};
use crate::message::Error;
use crate::window::{Ask, Chain, Peer, Window};

/// How a client is received.
pub struct ClientLegConfig<'a> {
    /// The way to the keeper.
    pub window: Arc<Window>,
    /// The lowest version allowed.
    pub min_version: MinVersion,
    /// The protocol's ALPN names; a client that offers ALPN must offer one of them (RFC 7301 section 3.2, RFC 9325
    /// section 3.7).
    pub alpn: &'a [&'a [u8]],
    /// Whether a client must offer ALPN.
    pub alpn_demanded: bool,
    /// Who may vouch for the client, in DER; `None` asks it for no certificate.
    pub authorities: Option<Vec<Vec<u8>>>,
    /// `-y`: without a certificate that verifies the handshake fails.
    pub demanded: bool,
    /// `-S`: this program's last word is close_notify.
    pub close_notify: bool,
}

impl ClientLegConfig<'_> {
    /// The leg, ready for the client's first byte.
    ///
    /// # Errors
    /// [`Error::TlsEngine`] if rustls cannot be set up.
    pub fn leg(self) -> Result<Leg, Error> {
        let engine = |why: rustls::Error| Error::TlsEngine(format!("unable to set up TLS for the client: {why}"));
        let (own_alert, verification) = (OwnAlert::default(), Verification::default());
        let resolver = KeeperResolver {
            window: self.window,
            alpn_demanded: self.alpn_demanded,
            own_alert: Arc::clone(&own_alert),
            granted: OnceLock::new(),
        };
        let verifier = match self.authorities {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(anchors) => Arc::new(
                RecordingVerifier::new(anchors, self.demanded, Arc::clone(&verification))
                    .map_err(|why| Error::TlsConfig(format!("unable to use the clients' trust anchors: {why}")))?,
            ),
        };
        let mut config = ServerConfig::builder_with_provider(super::provider())
            .with_protocol_versions(&self.min_version.versions())
            .map_err(engine)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = self.alpn.iter().map(|name| name.to_vec()).collect();
        // A process per connection has nothing to resume, so it hands out no ticket.
        config.send_tls13_tickets = 0;
        // rustls's own has nothing in it, and is not freed: what is freed is wiped (law 9), and its 28 KiB were never touched.
        std::mem::forget(std::mem::replace(&mut config.session_storage, Arc::new(NoServerSessionStorage {})));
        super::log_keys(&mut config.key_log);
        let connection = ServerConnection::new(Arc::new(config)).map_err(engine)?;
        Ok(Leg::for_client(connection.into(), own_alert, verification, self.close_notify))
    }
}

/// Where rustls expects the certificates: it asks the keeper for them.
#[derive(Debug)]
struct KeeperResolver {
    window: Arc<Window>,
    alpn_demanded: bool,
    own_alert: OwnAlert,
    /// What the keeper granted. rustls asks for every ClientHello, and behind a HelloRetryRequest there is a second one
    /// (RFC 8446 section 4.1.4); the keeper grants one chain.
    granted: OnceLock<Option<Arc<CertifiedKey>>>,
}

impl ResolvesServerCert for KeeperResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // A second hello with another name does not come here: rustls refuses it, as section 4.1.2 does.
        self.granted.get_or_init(|| self.ask(&hello)).clone()
    }
}

impl KeeperResolver {
    fn ask(&self, hello: &ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if self.alpn_demanded && hello.alpn().is_none() {
            let _ = self.own_alert.set(NO_APPLICATION_PROTOCOL);
            return None;
        }
        let name = hello.server_name().map(str::to_owned);
        let alert = if name.is_some() { UNRECOGNIZED_NAME } else { MISSING_EXTENSION };
        let schemes = hello.signature_schemes().iter().map(|scheme| (*scheme).into()).collect();
        let Some(answer) = self.window.ask(&Ask::Chain(name, schemes)).ok()? else {
            let _ = self.own_alert.set(alert);
            return None;
        };
        Some(remote::certified(&self.window, Peer::Client, Chain::decode(&answer.bytes)?))
    }
}
