//! What stands in a certificate, whoever judges it. The only door to x509-cert.
//!
//! webpki judges certificates, and takes none of version 1, with an extension it does not know, or with a serial number
//! that is too long. What is here reads them all the same: whether one will do is the peer's affair, or a pin's.

use std::ops::RangeInclusive;
use std::time::SystemTime;

use x509_cert::der::asn1::{AnyRef, BitStringRef, UintRef};
use x509_cert::der::{self, Decode, Reader, SliceReader};
use x509_cert::time;

mod dn;
mod key;

pub use dn::DistinguishedNames;
pub(super) use dn::{alternative_names, hex};
pub(super) use key::unsupported_kind;
pub use key::{Container, container};

/// When a certificate is valid.
#[derive(Clone, Debug)]
pub struct Validity {
    from: SystemTime,
    end: SystemTime,
    /// The beginning as text, `2026-02-01T00:00:00Z`.
    pub since: String,
    /// The end likewise.
    pub until: String,
}

impl Validity {
    /// Of this certificate in DER; `None` if it cannot be read.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let validity = time::Validity::from_der(Fields::of(certificate)?.validity).ok()?;
        Some(Self {
            from: SystemTime::UNIX_EPOCH + validity.not_before.to_unix_duration(),
            end: SystemTime::UNIX_EPOCH + validity.not_after.to_unix_duration(),
            since: validity.not_before.to_date_time().to_string(),
            until: validity.not_after.to_date_time().to_string(),
        })
    }

    /// Whether it is valid at this time.
    ///
    /// # Errors
    /// Why it is not, and what to do.
    pub fn holds_at(&self, time: SystemTime) -> Result<(), String> {
        match time {
            _ if time < self.from => Err("it is not valid yet: check the clock".into()),
            _ if time > self.end => Err(format!("it expired at {}: renew it", self.until)),
            _ => Ok(()),
        }
    }
}

/// A public key, as certificates have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PublicKey<'a> {
    /// The SubjectPublicKeyInfo in DER (RFC 5280 section 4.1.2.7).
    pub(super) info: &'a [u8],
    /// What kind of key it is: what its AlgorithmIdentifier holds.
    pub(super) algorithm: &'a [u8],
    /// The key itself.
    pub(super) bits: &'a [u8],
}

impl<'a> PublicKey<'a> {
    /// Of this certificate in DER; `None` if there is none.
    pub(super) fn of(certificate: &'a [u8]) -> Option<Self> {
        Self::read(Fields::of(certificate)?.public_key)
    }

    /// Reads a SubjectPublicKeyInfo.
    pub(super) fn read(info: &'a [u8]) -> Option<Self> {
        let mut fields = SliceReader::new(AnyRef::from_der(info).ok()?.value()).ok()?;
        let algorithm = fields.decode::<AnyRef<'a>>().ok()?.value();
        let bits = fields.decode::<BitStringRef<'a>>().ok()?.as_bytes()?;
        Some(Self { info, algorithm, bits })
    }

    /// The length of an RSA key's modulus in bits; `None` if it is no RSA key.
    pub(super) fn rsa_length(&self) -> Option<u32> {
        if !self.algorithm.starts_with(RSA_ENCRYPTION) {
            return None;
        }
        let mut fields = SliceReader::new(AnyRef::from_der(self.bits).ok()?.value()).ok()?;
        Some(length_of(&fields.decode().ok()?))
    }

    /// Whether both are one key, though this one has its point compressed (SEC 1 section 2.3.3).
    pub(super) fn is(&self, other: &PublicKey<'_>) -> bool {
        self.bits == other.bits || other.compressed().is_some_and(|bits| bits == self.bits)
    }

    fn compressed(&self) -> Option<Vec<u8>> {
        let [UNCOMPRESSED, point @ ..] = self.bits else { return None };
        let (x, y) = point.split_at(point.len() / 2);
        Some([&[EVEN + (y.last()? & 1)], x].concat())
    }
}

/// The length of a number in bits.
fn length_of(number: &UintRef<'_>) -> u32 {
    let bytes = number.as_bytes();
    bytes.len() as u32 * u8::BITS - bytes.first().map_or(0, |first| first.leading_zeros())
}

/// The fields of a certificate that are read here, each in DER (RFC 5280 section 4.1).
struct Fields<'a> {
    issuer: &'a [u8],
    validity: &'a [u8],
    subject: &'a [u8],
    public_key: &'a [u8],
}

impl<'a> Fields<'a> {
    fn of(certificate: &'a [u8]) -> Option<Self> {
        Self::read(certificate).ok()
    }

    fn read(certificate: &'a [u8]) -> der::Result<Self> {
        let to_be_signed: AnyRef<'a> = SliceReader::new(AnyRef::from_der(certificate)?.value())?.decode()?;
        let mut fields = SliceReader::new(to_be_signed.value())?;
        // Version 1 has no field that says so.
        if fields.peek_tag()?.is_context_specific() {
            fields.tlv_bytes()?;
        }
        let _serial_number = fields.tlv_bytes()?;
        let _signature_algorithm = fields.tlv_bytes()?;
        Ok(Self {
            issuer: fields.tlv_bytes()?,
            validity: fields.tlv_bytes()?,
            subject: fields.tlv_bytes()?,
            public_key: fields.tlv_bytes()?,
        })
    }
}

/// The lengths of RSA keys that aws-lc and graviola sign with and verify, in bits.
pub(super) const RSA_LENGTHS: RangeInclusive<u32> = 2048..=8192;

/// How a point begins, with both coordinates or with one of an even other.
const UNCOMPRESSED: u8 = 4;
const EVEN: u8 = 2;

/// The object identifier of RSA keys in DER (RFC 8017 appendix A.1).
const RSA_ENCRYPTION: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, PublicKeyData};

    use super::*;

    #[test]
    fn a_key_is_found_in_a_certificate() {
        for (algorithm, length) in [(&rcgen::PKCS_ECDSA_P256_SHA256, None), (&PKCS_RSA_SHA256, Some(2048))] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let certificate = CertificateParams::new([]).unwrap().self_signed(&key).unwrap();
            let found = PublicKey::of(certificate.der()).unwrap();
            assert_eq!((found.info, found.bits), (&key.subject_public_key_info()[..], key.der_bytes()));
            assert_eq!(found.rsa_length(), length);
        }
    }

    #[test]
    fn there_is_no_key_in_what_is_cut_short_or_too_long() {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([]).unwrap().self_signed(&key).unwrap().der().to_vec();
        for length in 0..certificate.len() {
            assert_eq!(PublicKey::of(&certificate[..length]), None, "{length}");
        }
        assert_eq!(PublicKey::of(&[&certificate[..], b"\0"].concat()), None);
        assert_eq!(PublicKey::of(b"\x30\x03\x02\x01\x01"), None);
    }
}
