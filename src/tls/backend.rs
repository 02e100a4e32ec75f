//! The backend's leg: this program is the TLS client, and verifies whom it speaks to.

use std::sync::Arc;

use rustls::client::{ClientConnection, Resumption};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::Lowest;
use super::leg::Leg;
use crate::message::Error;

/// Whom the backend must prove to be.
pub struct Trust<'a> {
    /// SNI and reference identity (RFC 9525 section 6).
    pub name: &'a str,
    /// The trust anchors in DER.
    pub anchors: Vec<Vec<u8>>,
    /// The lowest version allowed.
    pub lowest: Lowest,
}

impl Trust<'_> {
    /// The leg, ready to send the ClientHello.
    ///
    /// # Errors
    /// [`Error::TlsConfig`] if the name cannot be a certificate's, [`Error::TlsEngine`] if rustls cannot be set up.
    pub fn leg(self) -> Result<Leg, Error> {
        let engine = |why: rustls::Error| Error::TlsEngine(format!("unable to set up TLS for the backend: {why}"));
        let name = ServerName::try_from(self.name.to_owned())
            .map_err(|_| Error::TlsConfig(format!("{} is no name a certificate could have", self.name)))?;
        let mut roots = RootCertStore::empty();
        // Some systems ship anchors that webpki does not take; the others must do.
        roots.add_parsable_certificates(self.anchors.into_iter().map(CertificateDer::from));
        let mut config = ClientConfig::builder_with_provider(super::provider())
            .with_protocol_versions(&self.lowest.versions())
            .map_err(engine)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Leg::new(ClientConnection::new(Arc::new(config), name).map_err(engine)?.into()))
    }
}
