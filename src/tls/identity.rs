//! The keeper's half of a handshake: a key that signs, and what it may be made to sign.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{InconsistentKeys, SignatureScheme};

/// A key and the chain that vouches for it. Dropping it wipes the key.
#[derive(Debug)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<dyn SigningKey>,
}

impl Identity {
    /// Makes sure that the key is usable and belongs to the first certificate of the chain.
    ///
    /// # Errors
    /// A reason, to be put behind the file's name.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, String> {
        let key = super::provider().key_provider.load_private_key(key).map_err(|why| why.to_string())?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(_) => return Err("it does not belong to the certificate".into()),
        }
        Ok(Self { chain: certified.cert, key: certified.key })
    }

    /// The chain, the server's own certificate first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The signature schemes this key can do, most wanted first.
    pub fn schemes(&self) -> Vec<u16> {
        let can = |scheme: &SignatureScheme| self.key.choose_scheme(&[*scheme]).is_some();
        SCHEMES.iter().copied().filter(can).map(u16::from).collect()
    }

    /// Signs, if the key can do the scheme and the message is one that TLS signs.
    pub fn sign(&self, scheme: u16, message: &[u8]) -> Option<Vec<u8>> {
        if !may_be_signed(message) {
            return None;
        }
        self.key.choose_scheme(&[scheme.into()])?.sign(message).ok()
    }
}

/// Whether this is what a TLS server signs in a handshake, and nothing else: a session taken over by an attacker
/// gets no signature that is of use anywhere but in this handshake.
pub fn may_be_signed(message: &[u8]) -> bool {
    is_certificate_verify(message) || is_server_key_exchange(message)
}

/// TLS 1.3, RFC 8446 section 4.4.3: 64 spaces, the server's context string, a zero byte, the transcript's hash.
fn is_certificate_verify(message: &[u8]) -> bool {
    let Some(rest) = message.strip_prefix(&[b' '; 64]) else { return false };
    let Some(hash) = rest.strip_prefix(b"TLS 1.3, server CertificateVerify\0") else { return false };
    matches!(hash.len(), 32 | 48)
}

/// TLS 1.2, RFC 8422 section 5.4: both randoms of 32 bytes, then the ECDHE parameters: named_curve, the group, the
/// length of the point, the point.
fn is_server_key_exchange(message: &[u8]) -> bool {
    let Some((_randoms, parameters)) = message.split_at_checked(64) else { return false };
    let [NAMED_CURVE, high, low, length, point @ ..] = parameters else { return false };
    let expected = match u16::from_be_bytes([*high, *low]) {
        SECP256R1 => 65,
        SECP384R1 => 97,
        X25519 => 32,
        _ => return false,
    };
    point.len() == expected && usize::from(*length) == expected
}

const NAMED_CURVE: u8 = 3;
const SECP256R1: u16 = 0x0017;
const SECP384R1: u16 = 0x0018;
const X25519: u16 = 0x001d;

/// Every scheme a server's key may do in TLS 1.2 and 1.3 (RFC 8446 section 4.2.3), most wanted first.
const SCHEMES: &[SignatureScheme] = &[
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_verify_of_a_server_may_be_signed_and_no_other() {
        let verify = |context: &[u8], hash: usize| [&[b' '; 64], context, &vec![0xab; hash]].concat();
        let server = b"TLS 1.3, server CertificateVerify\0";
        assert!(may_be_signed(&verify(server, 32)));
        assert!(may_be_signed(&verify(server, 48)));
        assert!(!may_be_signed(&verify(server, 31)));
        assert!(!may_be_signed(&verify(server, 49)));
        assert!(!may_be_signed(&verify(b"TLS 1.3, client CertificateVerify\0", 32)));
        assert!(!may_be_signed(&verify(b"TLS 1.3, server CertificateVerify ", 32)));
        assert!(!may_be_signed(&verify(server, 32)[1..]));
    }

    #[test]
    fn an_ecdhe_server_key_exchange_may_be_signed_and_no_other() {
        let exchange = |curve: u8, group: u16, length: usize, point: usize| {
            [&[7; 64][..], &[curve], &group.to_be_bytes(), &[length as u8], &vec![4; point]].concat()
        };
        assert!(may_be_signed(&exchange(3, SECP256R1, 65, 65)));
        assert!(may_be_signed(&exchange(3, SECP384R1, 97, 97)));
        assert!(may_be_signed(&exchange(3, X25519, 32, 32)));
        assert!(!may_be_signed(&exchange(1, X25519, 32, 32)), "explicit prime");
        assert!(!may_be_signed(&exchange(3, 0x0019, 32, 32)), "a group rustls does not have");
        assert!(!may_be_signed(&exchange(3, X25519, 32, 33)), "a byte more");
        assert!(!may_be_signed(&exchange(3, X25519, 33, 33)), "a point too long");
        assert!(!may_be_signed(b"an arbitrary message"));
    }
}
