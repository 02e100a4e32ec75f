//! What kind of private key it is that cannot be used, for the message that says so; and which other containers may hold
//! keys.

use rustls::pki_types::PrivateKeyDer;
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, UintRef};
use x509_cert::der::{Decode, Reader, Result, SliceReader, Tag, TagNumber, Tagged};

use super::{RSA_ENCRYPTION, RSA_LENGTHS, length_of};
use crate::tls::provider::{TAKES_COMPRESSED_POINTS, TAKES_P_521};

/// In a few words: `an RSA key of 1024 bits`. `None` if it is of a kind that can be used, or cannot be told: it is damaged.
pub(in crate::tls) fn unsupported_kind(key: &PrivateKeyDer<'_>) -> Option<String> {
    let kind = match key {
        PrivateKeyDer::Pkcs1(key) => of_rsa(key.secret_pkcs1_der()),
        PrivateKeyDer::Pkcs8(key) => of_pkcs8(key.secret_pkcs8_der()),
        PrivateKeyDer::Sec1(key) => of_sec1(key.secret_sec1_der()),
        _ => return None,
    };
    kind.ok()?
}

/// What a file in DER may be that holds keys or certificates, and not as they are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// A private key under a passphrase (RFC 5958 section 3).
    Encrypted,
    /// PKCS #7 (RFC 2315 section 7).
    Pkcs7,
    /// PKCS #12 (RFC 7292 section 4).
    Pkcs12,
}

/// What this file is, if it is one of these.
pub fn container(file: &[u8]) -> Option<Container> {
    let first = inside(file).ok()?.decode::<AnyRef<'_>>().ok()?;
    match first.tag() {
        Tag::Integer if first.value() == [3] => Some(Container::Pkcs12),
        Tag::ObjectIdentifier => Some(Container::Pkcs7),
        Tag::Sequence if identifier(first.value()).is_ok_and(is_encryption) => Some(Container::Encrypted),
        _ => None,
    }
}

/// RFC 5958 section 2.
fn of_pkcs8(key: &[u8]) -> Result<Option<String>> {
    let mut fields = inside(key)?;
    let _version: AnyRef<'_> = fields.decode()?;
    let algorithm: AnyRef<'_> = fields.decode()?;
    let secret: AnyRef<'_> = fields.decode()?;
    let oid = identifier(algorithm.value())?;
    match KINDS.iter().find(|(known, _)| *known == oid) {
        _ if algorithm.value().starts_with(RSA_ENCRYPTION) => of_rsa(secret.value()),
        _ if oid == EC => {
            let mut parameters = SliceReader::new(algorithm.value())?;
            let _oid: AnyRef<'_> = parameters.decode()?;
            Ok(of_curve(parameters.decode().ok())?.or_else(|| of_point(secret.value())))
        }
        _ if oid == ED25519 => Ok(None),
        Some((_, name)) => Ok(Some((*name).into())),
        None => Ok(Some(format!("a key of the kind {oid}"))),
    }
}

/// RFC 8017 appendix A.1.2.
fn of_rsa(key: &[u8]) -> Result<Option<String>> {
    let mut fields = inside(key)?;
    let _version: AnyRef<'_> = fields.decode()?;
    let modulus: UintRef<'_> = fields.decode()?;
    let length = length_of(&modulus);
    Ok((!RSA_LENGTHS.contains(&length)).then(|| format!("an RSA key of {length} bits")))
}

/// RFC 5915 section 3.
fn of_sec1(key: &[u8]) -> Result<Option<String>> {
    let mut fields = inside(key)?;
    let _version: AnyRef<'_> = fields.decode()?;
    let _secret: AnyRef<'_> = fields.decode()?;
    let next: Option<AnyRef<'_>> = fields.decode().ok();
    let parameters = next.filter(|next| matches!(next.tag(), Tag::ContextSpecific { number: TagNumber::N0, .. }));
    Ok(of_curve(parameters.and_then(|parameters| AnyRef::from_der(parameters.value()).ok()))?.or_else(|| of_point(key)))
}

/// RFC 5915 section 3: the public key may stand behind the private one, and have one coordinate (SEC 1 section 2.3.3).
fn of_point(key: &[u8]) -> Option<String> {
    let point = || {
        let mut fields = inside(key)?;
        loop {
            let field: AnyRef<'_> = fields.decode()?;
            if matches!(field.tag(), Tag::ContextSpecific { number: TagNumber::N1, .. }) {
                return AnyRef::from_der(field.value());
            }
        }
    };
    let is_compressed = point().is_ok_and(|bits| matches!(bits.value(), [0, 2 | 3, ..]));
    (is_compressed && !TAKES_COMPRESSED_POINTS).then(|| {
        "an EC key with a compressed point (a build with aws-lc takes it, or openssl ec -conv_form uncompressed)".into()
    })
}

fn of_curve(parameters: Option<AnyRef<'_>>) -> Result<Option<String>> {
    let Some(parameters) = parameters else { return Ok(Some("an EC key that does not name its curve".into())) };
    if parameters.tag() == Tag::Sequence {
        return Ok(Some(
            "an EC key that has parameters in place of its curve's name (openssl ec -param_enc named_curve)".into(),
        ));
    }
    let oid: ObjectIdentifier = parameters.try_into()?;
    let name = CURVES.iter().find(|(known, _)| *known == oid).map(|(_, name)| *name);
    let other = || format!("an EC key on {}", name.map_or_else(|| format!("the curve {oid}"), str::to_owned));
    if oid == P_521 && !TAKES_P_521 {
        return Ok(Some("an EC key on P-521 (a build with aws-lc takes it)".into()));
    }
    Ok((!USED_CURVES.contains(&oid)).then(other))
}

/// What a sequence holds.
fn inside(sequence: &[u8]) -> Result<SliceReader<'_>> {
    SliceReader::new(AnyRef::from_der(sequence)?.value())
}

fn identifier(algorithm: &[u8]) -> Result<ObjectIdentifier> {
    SliceReader::new(algorithm)?.decode()
}

/// PKCS #5, and what PKCS #12 has of its own.
fn is_encryption(oid: ObjectIdentifier) -> bool {
    [&b"\x2a\x86\x48\x86\xf7\x0d\x01\x05"[..], b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01"]
        .iter()
        .any(|scheme| oid.as_bytes().starts_with(scheme))
}

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

const P_521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

/// P-256, P-384 and P-521.
const USED_CURVES: [ObjectIdentifier; 3] =
    [ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"), ObjectIdentifier::new_unwrap("1.3.132.0.34"), P_521];

const KINDS: &[(ObjectIdentifier, &str)] = &[
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10"), "an RSA-PSS key"),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.3.1"), "a DH key"),
    (ObjectIdentifier::new_unwrap("1.2.840.10040.4.1"), "a DSA key"),
    (ObjectIdentifier::new_unwrap("1.3.101.110"), "an X25519 key (it signs nothing)"),
    (ObjectIdentifier::new_unwrap("1.3.101.111"), "an X448 key (it signs nothing)"),
    (ObjectIdentifier::new_unwrap("1.3.101.113"), "an Ed448 key"),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17"), "an ML-DSA-44 key"),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18"), "an ML-DSA-65 key"),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19"), "an ML-DSA-87 key"),
];

const CURVES: &[(ObjectIdentifier, &str)] = &[
    (ObjectIdentifier::new_unwrap("1.3.132.0.33"), "P-224"),
    (ObjectIdentifier::new_unwrap("1.3.132.0.10"), "secp256k1"),
    (ObjectIdentifier::new_unwrap("1.3.36.3.3.2.8.1.1.7"), "brainpoolP256r1"),
    (ObjectIdentifier::new_unwrap("1.3.36.3.3.2.8.1.1.11"), "brainpoolP384r1"),
    (ObjectIdentifier::new_unwrap("1.3.36.3.3.2.8.1.1.13"), "brainpoolP512r1"),
    (ObjectIdentifier::new_unwrap("1.2.156.10197.1.301"), "SM2"),
];
