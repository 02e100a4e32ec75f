//! The keeper's half of a handshake: a key that signs, and what it may be made to sign.

use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;

use super::provider::{LEFT_BY_RSA, LEFT_ON_THE_STACK};
use super::x509::{self, PublicKey};
use crate::memory::with_stack_wiped;
use crate::window::Peer;

/// The keys of one server name, or of the client this program is to a backend, each with the chain that vouches for
/// it. Dropping it wipes the keys.
#[derive(Debug)]
pub struct Identity {
    /// ECDSA first: it is the smaller and faster one, and who cannot do it says so. Never empty.
    pairs: Vec<Pair>,
}

#[derive(Debug)]
struct Pair {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<dyn SigningKey>,
}

/// Why keys and certificates cannot serve together. Each is told by its place among those that were given.
#[derive(Debug, PartialEq, Eq)]
pub enum Misfit {
    /// A key that cannot be used: what it is, unless it is damaged.
    Key(usize, Option<String>),
    /// No certificate belongs to any of the keys.
    Foreign,
    /// The certificate of a key, behind others that belong to none.
    Behind(usize),
    /// A key without a certificate.
    Alone(usize),
    /// A chain of so many bytes.
    TooLong(usize),
}

impl Identity {
    /// Finds the chain of each key. A chain begins with its key's certificate and ends before the next key's. Who judges
    /// a certificate is the peer: it is not looked at but for its key.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(chain: &[CertificateDer<'static>], keys: &[PrivateKeyDer<'static>]) -> Result<Self, Misfit> {
        let keys = if keys.iter().any(|key| key.secret_der().len() > ELLIPTIC) {
            with_stack_wiped::<LEFT_BY_RSA, _>(|| load(keys))?
        } else {
            with_stack_wiped::<LEFT_ON_THE_STACK, _>(|| load(keys))?
        };
        let mut pairs: Vec<Pair> = Vec::new();
        for (place, certificate) in chain.iter().enumerate() {
            let is_new = |key: &&Key| !pairs.iter().any(|pair| Arc::ptr_eq(&pair.key, &key.key));
            match (keys.iter().filter(|key| key.owns(certificate)).find(is_new), pairs.last_mut()) {
                (Some(_), None) if place > 0 => return Err(Misfit::Behind(place)),
                (Some(key), _) => pairs.push(Pair { chain: vec![certificate.clone()], key: Arc::clone(&key.key) }),
                (None, Some(pair)) if pair.chain.contains(certificate) => {}
                (None, Some(pair)) => pair.chain.push(certificate.clone()),
                (None, None) => {}
            }
        }
        if pairs.is_empty() {
            return Err(Misfit::Foreign);
        }
        let alone = keys.iter().find(|key| !pairs.iter().any(|pair| Arc::ptr_eq(&pair.key, &key.key)));
        if let Some(key) = alone {
            return Err(Misfit::Alone(key.place));
        }
        if let Some(length) = pairs.iter().map(Pair::length).find(|length| *length > MAX_CHAIN) {
            return Err(Misfit::TooLong(length));
        }
        pairs.sort_by_key(Pair::rank);
        Ok(Self { pairs })
    }

    /// Keeps the first key that can sign with one of these schemes, and forgets the others. If none can, the first
    /// key stays, and the handshake will fail with the right alert.
    pub fn keep_key_for(&mut self, offered: &[u16]) {
        let fits = |pair: &Pair| pair.schemes().iter().any(|scheme| offered.contains(scheme));
        let chosen = self.pairs.iter().position(fits).unwrap_or_default();
        self.pairs.drain(..chosen);
        self.pairs.truncate(1);
    }

    /// The chain, the own certificate first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        self.pairs.first().map_or(&[], |pair| &pair.chain)
    }

    /// The chain of each key.
    pub fn chains(&self) -> impl Iterator<Item = &[CertificateDer<'static>]> {
        self.pairs.iter().map(|pair| &*pair.chain)
    }

    /// The signature schemes this key can do, most wanted first.
    pub fn schemes(&self) -> Vec<u16> {
        self.pairs.first().map_or_else(Vec::new, Pair::schemes)
    }

    /// Signs, if the key can do the scheme and the message is one that TLS signs on this leg.
    pub fn sign(&self, peer: Peer, scheme: u16, message: &[u8]) -> Option<Vec<u8>> {
        if !may_be_signed(peer, message) {
            return None;
        }
        let signer = self.pairs.first()?.key.choose_scheme(&[scheme.into()])?;
        with_stack_wiped::<LEFT_ON_THE_STACK, _>(|| signer.sign(message)).ok()
    }
}

impl Pair {
    /// What it is long in a Certificate message (RFC 8446 section 4.4.2).
    fn length(&self) -> usize {
        self.chain.iter().map(|certificate| certificate.len() + AROUND_A_CERTIFICATE).sum()
    }

    fn schemes(&self) -> Vec<u16> {
        let can = |scheme: &SignatureScheme| self.key.choose_scheme(&[*scheme]).is_some();
        SCHEMES.iter().copied().filter(can).map(u16::from).collect()
    }

    fn rank(&self) -> Option<usize> {
        SCHEMES.iter().position(|scheme| self.key.choose_scheme(&[*scheme]).is_some())
    }
}

/// A key that can be used, and its place among those that were given.
struct Key {
    place: usize,
    key: Arc<dyn SigningKey>,
    public: Vec<u8>,
}

impl Key {
    fn owns(&self, certificate: &CertificateDer<'_>) -> bool {
        let own = PublicKey::read(&self.public);
        PublicKey::of(certificate).is_some_and(|shown| own.is_some_and(|own| shown.is(&own)))
    }
}

/// Each key once, though it be given twice.
fn load(given: &[PrivateKeyDer<'static>]) -> Result<Vec<Key>, Misfit> {
    let provider = super::provider();
    let mut keys: Vec<Key> = Vec::new();
    for (place, der) in given.iter().enumerate() {
        let loaded = provider.key_provider.load_private_key(der.clone_key());
        let key = loaded.map_err(|_| Misfit::Key(place, x509::unsupported_kind(der)))?;
        let public = key.public_key().map(|public| public.to_vec()).unwrap_or_default();
        if !keys.iter().any(|other| other.public == public) {
            keys.push(Key { place, key, public });
        }
    }
    Ok(keys)
}

/// Whether this is what TLS signs in a handshake on this leg, and nothing else: a session taken over by an attacker
/// gets no signature that is of use anywhere but in this handshake.
///
/// To a client this program is the server; to a backend it is the client, and signs in TLS 1.3 only: in TLS 1.2 a
/// client signs the handshake itself (RFC 5246 section 7.4.8), which could be anything.
pub fn may_be_signed(peer: Peer, message: &[u8]) -> bool {
    match peer {
        Peer::Client => is_certificate_verify(b"server", message) || is_server_key_exchange(message),
        Peer::Backend => is_certificate_verify(b"client", message),
    }
}

/// TLS 1.3, RFC 8446 section 4.4.3: 64 spaces, the role's context string, a zero byte, the transcript's hash.
fn is_certificate_verify(role: &[u8], message: &[u8]) -> bool {
    let hash = message
        .strip_prefix(&[b' '; 64])
        .and_then(|rest| rest.strip_prefix(b"TLS 1.3, "))
        .and_then(|rest| rest.strip_prefix(role))
        .and_then(|rest| rest.strip_prefix(b" CertificateVerify\0"));
    hash.is_some_and(|hash| matches!(hash.len(), 32 | 48))
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

/// The longest chain in bytes. The window has room for little more, and clients have: rustls for 65535 of a message,
/// OpenSSL for 102400.
pub const MAX_CHAIN: usize = 60 * 1024;

/// Its length before it and that of its extensions behind it, of which there are none.
const AROUND_A_CERTIFICATE: usize = 3 + 2;

/// No elliptic key is longer in DER, with its public key and its curve's name; no RSA key is shorter.
const ELLIPTIC: usize = 512;

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
    fn a_certificate_verify_may_be_signed_on_its_own_leg() {
        let verify = |context: &[u8], hash: usize| [&[b' '; 64], context, &vec![0xab; hash]].concat();
        let server = &b"TLS 1.3, server CertificateVerify\0"[..];
        let client = &b"TLS 1.3, client CertificateVerify\0"[..];
        for (peer, own, other) in [(Peer::Client, server, client), (Peer::Backend, client, server)] {
            assert!(may_be_signed(peer, &verify(own, 32)));
            assert!(may_be_signed(peer, &verify(own, 48)));
            assert!(!may_be_signed(peer, &verify(own, 31)));
            assert!(!may_be_signed(peer, &verify(own, 49)));
            assert!(!may_be_signed(peer, &verify(other, 32)), "the other leg's context string");
            assert!(!may_be_signed(peer, &verify(&own[..own.len() - 1], 33)), "no zero byte");
            assert!(!may_be_signed(peer, &verify(own, 32)[1..]));
        }
    }

    #[test]
    fn an_ecdhe_server_key_exchange_may_be_signed_for_a_client_and_no_other() {
        let exchange = |curve: u8, group: u16, length: usize, point: usize| {
            [&[7; 64][..], &[curve], &group.to_be_bytes(), &[length as u8], &vec![4; point]].concat()
        };
        assert!(may_be_signed(Peer::Client, &exchange(3, SECP256R1, 65, 65)));
        assert!(may_be_signed(Peer::Client, &exchange(3, SECP384R1, 97, 97)));
        assert!(may_be_signed(Peer::Client, &exchange(3, X25519, 32, 32)));
        assert!(!may_be_signed(Peer::Client, &exchange(1, X25519, 32, 32)), "explicit prime");
        assert!(!may_be_signed(Peer::Client, &exchange(3, 0x0019, 32, 32)), "a group rustls does not have");
        assert!(!may_be_signed(Peer::Client, &exchange(3, X25519, 32, 33)), "a byte more");
        assert!(!may_be_signed(Peer::Client, &exchange(3, X25519, 33, 33)), "a point too long");
        assert!(!may_be_signed(Peer::Backend, &exchange(3, X25519, 32, 32)), "a backend gets none");
        assert!(!may_be_signed(Peer::Client, b"an arbitrary message"));
    }
}
