//! The backend's leg: this program is the TLS client, and verifies whom it speaks to.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientConnection, ResolvesClientCert, Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::leg::Leg;
use super::pin::Pin;
use super::reason::NOT_PINNED;
use super::shown::Shown;
use super::x509::PublicKey;
use super::{MinVersion, reason, remote, signature};
use crate::message::Error;
use crate::window::{Chain, Peer, Window};

/// The pin of this certificate's key, if it can be read.
pub fn pin_of(certificate: &CertificateDer<'_>) -> Option<Pin> {
    PublicKey::of(certificate).map(|key| super::sha256(key.info))
}

/// Whom the backend must prove to be.
pub struct BackendLegConfig<'a> {
    /// Reference identities, any of which will do (RFC 9525 section 6); the first one is the SNI.
    pub names: &'a [String],
    /// The trust anchors in DER; `None` leaves the proof to the pins, and names then prove nothing.
    pub anchors: Option<Vec<Vec<u8>>>,
    /// Keys, one of which must be the backend's; none if empty.
    pub pins: &'a [Pin],
    /// The name asked for (SNI); `None` asks for none.
    pub sni: Option<&'a str>,
    /// The ALPN names that are offered; none if empty.
    pub alpn: &'a [&'a [u8]],
    /// The lowest version allowed.
    pub min_version: MinVersion,
    /// No key exchange but one that a quantum computer does not undo.
    pub hybrid: bool,
    /// This program's last word is close_notify.
    pub close_notify: bool,
    /// The certificate to show to a backend that asks for one; its key is the keeper's.
    pub client_cert: Option<(Arc<Window>, Chain)>,
}

impl BackendLegConfig<'_> {
    /// The leg, ready to send the ClientHello.
    ///
    /// # Errors
    /// [`Error::TlsConfig`] if a name cannot be a certificate's, [`Error::TlsEngine`] if rustls cannot be set up.
    pub fn leg(self) -> Result<Leg, Error> {
        let engine = |why: rustls::Error| Error::TlsEngine(format!("unable to set up TLS for the backend: {why}"));
        let names: Vec<_> = self.names.iter().map(|name| server_name(name)).collect::<Result<_, _>>()?;
        let sni = match self.sni {
            Some(name) => server_name(name)?,
            None => names.first().cloned().ok_or_else(|| Error::TlsConfig("the backend has no name".into()))?,
        };
        let provider = if self.hybrid { super::hybrid_provider() } else { super::provider() };
        let shown = Arc::new(Shown::default());
        let verifier = Verifier {
            shown: Arc::clone(&shown),
            roots: self.anchors.map(super::roots),
            names,
            pins: self.pins.to_vec(),
            algorithms: provider.signature_verification_algorithms,
        };
        // Only in TLS 1.3 the keeper can tell what it is made to sign, and only there is a hybrid group.
        let min_version = if self.client_cert.is_some() || self.hybrid { MinVersion::V1_3 } else { self.min_version };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&min_version.versions())
            .map_err(engine)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match self.client_cert {
            Some((window, chain)) => {
                let own = OwnCertificate(remote::certified(&window, Peer::Backend, chain));
                builder.with_client_cert_resolver(Arc::new(own))
            }
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        config.enable_sni = self.sni.is_some();
        config.alpn_protocols = self.alpn.iter().map(|name| name.to_vec()).collect();
        super::log_keys(&mut config.key_log);
        let connection = ClientConnection::new(Arc::new(config), sni).map_err(engine)?;
        Ok(Leg::for_backend(connection.into(), shown, self.close_notify))
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| Error::TlsConfig(format!("{name} is no name a certificate could have")))
}

/// The proof: a chain to an anchor with one of the names in it, one of the pinned keys, or both.
#[derive(Debug)]
struct Verifier {
    shown: Arc<Shown>,
    roots: Option<RootCertStore>,
    names: Vec<ServerName<'static>>,
    pins: Vec<Pin>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn verify_chain(
        &self,
        roots: &RootCertStore,
        certificate: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(certificate, roots, intermediates, now, algorithms)?;
        let mut outcome = Err(CertificateError::NotValidForName.into());
        for name in &self.names {
            outcome = verify_server_name(certificate, name);
            if outcome.is_ok() {
                let _ = self.shown.name.set(name.to_str().into_owned());
                break;
            }
        }
        outcome
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _sni: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let _ = self.shown.certificate.set(end_entity.to_vec());
        let pin = pin_of(end_entity).ok_or(CertificateError::BadEncoding)?;
        let _ = self.shown.pin.set(pin);
        let mut proved = self.pins.contains(&pin);
        // Without anchors a pin alone is the proof: nothing in the certificate is looked at but the key.
        if let Some(roots) = &self.roots {
            self.verify_chain(roots, &ParsedCertificate::try_from(end_entity)?, intermediates, now)?;
            proved |= self.pins.is_empty();
        }
        if proved { Ok(ServerCertVerified::assertion()) } else { Err(reason::error(NOT_PINNED)) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        signature::verify_tls12(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        signature::verify_tls13(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The certificate this program shows.
#[derive(Debug)]
struct OwnCertificate(Arc<CertifiedKey>);

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _authorities: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
