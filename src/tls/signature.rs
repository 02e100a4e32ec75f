//! A signature over a handshake, verified with the key of a certificate, whatever else stands in that.
//!
//! rustls's own functions want a certificate that webpki takes. A pin, and a client that may be let in without one that
//! verifies, want no more than a key.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerMisbehaved};

use super::reason::{self, KEY_NOT_KNOWN};
use super::x509::{PublicKey, RSA_LENGTHS};

/// In TLS 1.2 the scheme tells the hash, and the key which curve (RFC 5246 section 7.4.1.4.1).
pub(super) fn verify_tls12(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let key = key_of(certificate)?;
    let (_, candidates) = algorithms
        .mapping
        .iter()
        .find(|(scheme, _)| *scheme == signed.scheme)
        .ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
    let algorithm = candidates
        .iter()
        .find(|candidate| candidate.public_key_alg_id().as_ref() == key.algorithm)
        .ok_or_else(|| reason::error(KEY_NOT_KNOWN))?;
    match algorithm.verify_signature(key.bits, message, signed.signature()) {
        Ok(()) => Ok(HandshakeSignatureValid::assertion()),
        Err(_) => Err(CertificateError::BadSignature.into()),
    }
}

/// In TLS 1.3 the scheme tells both (RFC 8446 section 4.2.3).
pub(super) fn verify_tls13(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let info = SubjectPublicKeyInfoDer::from(key_of(certificate)?.info);
    verify_tls13_signature_with_raw_key(message, &info, signed, algorithms)
}

/// The key, if signatures of its kind can be verified: the library says of a key that is too short that the signature is wrong.
fn key_of<'a>(certificate: &'a CertificateDer<'_>) -> Result<PublicKey<'a>, Error> {
    let key = PublicKey::of(certificate).ok_or(CertificateError::BadEncoding)?;
    match key.rsa_length() {
        Some(length) if !RSA_LENGTHS.contains(&length) => Err(reason::error(KEY_NOT_KNOWN)),
        _ => Ok(key),
    }
}
