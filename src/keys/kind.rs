//! What kind of private key a file holds, where it is one that cannot be used: by the object identifiers in it, which are
//! looked for and not parsed. It names what the provider would only refuse.

use memchr::memmem;

use crate::tls::PrivateKeyDer;

/// The kind of a key that no provider takes, and what to do; `None` of any other.
pub(super) fn unsupported(key: &PrivateKeyDer<'_>) -> Option<String> {
    let der = key.secret_der();
    // In PKCS#8 the algorithm stands at the beginning, in SEC1 the curve at the end; what lies between is random.
    let (head, tail) = (der.get(..HEAD.min(der.len())).unwrap_or_default(), der.get(der.len().saturating_sub(TAIL)..));
    let has = |oid: &[u8]| [Some(head), tail].into_iter().flatten().any(|part| memmem::find(part, oid).is_some());
    if let Some((kind, _)) = KINDS.iter().find(|(_, oid)| has(oid)) {
        return Some(format!("{kind} is not supported: take a key of P-256, or of RSA with 2048 bits or more"));
    }
    let is_rsa = matches!(key, PrivateKeyDer::Pkcs1(_)) || has(RSA);
    (is_rsa && der.len() < SHORTEST_RSA_2048)
        .then(|| "RSA below 2048 bits is not supported: take 2048 or more, or a key of P-256".into())
}

/// Whether this is a private key under a passphrase, in DER (RFC 5958 section 3, with an algorithm of PKCS#5).
pub(super) fn is_encrypted(der: &[u8]) -> bool {
    memmem::find(der.get(..HEAD.min(der.len())).unwrap_or_default(), PKCS5).is_some()
}

/// Names, and identifiers with their tag and length.
const KINDS: &[(&str, &[u8])] = &[
    ("Ed448", b"\x06\x03\x2b\x65\x71"),
    ("X25519, which signs nothing,", b"\x06\x03\x2b\x65\x6e"),
    ("X448, which signs nothing,", b"\x06\x03\x2b\x65\x6f"),
    ("a key for RSA-PSS alone", b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a"),
    ("DSA", b"\x06\x07\x2a\x86\x48\xce\x38\x04\x01"),
    ("the curve secp256k1", b"\x06\x05\x2b\x81\x04\x00\x0a"),
    ("the curve P-224", b"\x06\x05\x2b\x81\x04\x00\x21"),
    ("the curve P-192", b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x01"),
    ("a Brainpool curve", b"\x06\x09\x2b\x24\x03\x03\x02\x08\x01\x01"),
    ("the curve SM2", b"\x06\x08\x2a\x81\x1c\xcf\x55\x01\x82\x2d"),
];

/// rsaEncryption (RFC 8017 appendix C).
const RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";

/// What the identifiers of PKCS#5 begin with (RFC 8018 appendix C).
const PKCS5: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x05";

/// Where an algorithm's identifier stands in PKCS#8, a curve's in it, and a curve's in SEC1.
const HEAD: usize = 48;
const TAIL: usize = 160;

/// A key of 2048 bits has eight numbers of 128 and 256 bytes: 1,152 at least.
const SHORTEST_RSA_2048: usize = 1100;
