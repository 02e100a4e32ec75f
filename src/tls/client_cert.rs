//! The client's certificate, if one is asked for (`-Y`, `-y`): how it is verified, and what came of it.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::x509::{DistinguishedNames, hex};
use super::{reason, signature};
use crate::facts::{Certificate, Verified};

/// Whether a client certificate is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// No.
    #[default]
    None,
    /// `-Y`: a client may have none, or one that does not verify.
    Asked,
    /// `-y`: without one that verifies the handshake fails.
    Demanded,
}

/// What came of verifying the client's certificate; empty while none was shown.
pub(super) type Verification = Arc<OnceLock<Result<(), &'static str>>>;

/// The client's certificate, as the handshake left it.
pub(super) fn certificate(verification: &Verification, certificates: Option<&[CertificateDer<'_>]>) -> Certificate {
    match (verification.get(), certificates.and_then(<[_]>::first)) {
        (Some(Ok(())), Some(certificate)) => Certificate::Verified(verified(certificate)),
        (Some(Err(why)), _) => Certificate::Failed((*why).into()),
        _ => Certificate::None,
    }
}

/// Its names are left out if they cannot be read.
fn verified(certificate: &[u8]) -> Verified {
    let hash = Some(format!("SHA256:{}", hex(&super::sha256(certificate))));
    let Some(names) = DistinguishedNames::of(certificate) else { return Verified { hash, ..Verified::default() } };
    let DistinguishedNames { subject, issuer, short_subject, common_name } = names;
    let (subject, issuer, short_subject) = (Some(subject), Some(issuer), Some(short_subject));
    Verified { hash, subject, issuer, short_subject, common_name }
}

/// rustls's own verifier, with its verdict recorded; with `-Y` a verdict turns nobody away.
#[derive(Debug)]
pub(super) struct RecordingVerifier {
    webpki: Arc<dyn ClientCertVerifier>,
    algorithms: WebPkiSupportedAlgorithms,
    demanded: bool,
    verification: Verification,
}

impl RecordingVerifier {
    pub(super) fn new(anchors: Vec<Vec<u8>>, demanded: bool, verification: Verification) -> Result<Self, String> {
        let roots = super::roots(anchors);
        let names: usize = roots.subjects().iter().map(|name| name.as_ref().len() + LENGTH_OF_NAME).sum();
        let provider = super::provider();
        let algorithms = provider.signature_verification_algorithms;
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        if names > MAX_AUTHORITY_NAMES {
            builder = builder.clear_root_hint_subjects();
        }
        let webpki = builder.build().map_err(|why| why.to_string())?;
        Ok(Self { webpki, algorithms, demanded, verification })
    }

    /// Whether a client that signed so may go on. A certificate that does not verify is let in and told of as failed,
    /// whatever is wrong with it, and so is a key that nothing here can verify a signature with. But who can be seen not
    /// to hold the key is sent away, as RFC 8446 section 4.4.3 and OpenSSL have it.
    fn judge_signature(
        &self,
        signed: Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        // If the certificate has failed, that stands there already.
        let _ = self.verification.set(signed.as_ref().map(|_| ()).map_err(reason::of));
        match signed {
            Err(Error::InvalidCertificate(CertificateError::BadSignature)) => signed,
            Err(_) if !self.demanded => Ok(HandshakeSignatureValid::assertion()),
            signed => signed,
        }
    }
}

impl ClientCertVerifier for RecordingVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.demanded
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.webpki.verify_client_cert(end_entity, intermediates, now) {
            Err(why) if !self.demanded => {
                let _ = self.verification.set(Err(reason::of(&why)));
                Ok(ClientCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge_signature(signature::verify_tls12(message, certificate, signed, &self.algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge_signature(signature::verify_tls13(message, certificate, signed, &self.algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// What stands before each name (RFC 8446 section 4.2.4, RFC 5246 section 7.4.4).
const LENGTH_OF_NAME: usize = 2;

/// The most bytes of authorities' names in a CertificateRequest. TLS has room for 65535 there, but some clients, rustls
/// among them, keep no more of a whole flight. If there are more the list is left out: that asks for any certificate,
/// where half a list would ask for one of those.
pub const MAX_AUTHORITY_NAMES: usize = 32 * 1024;
