//! Distinguished names as text that is safe in an environment variable.
//!
//! Whatever is in a certificate, what comes out is printable ASCII: no NUL, no newline, and no value that could be
//! taken for another attribute.

use std::fmt::Write;
use std::net::IpAddr;

use x509_cert::Certificate;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::{Ia5StringRef, ObjectIdentifier, PrintableStringRef, TeletexStringRef, Utf8StringRef};
use x509_cert::der::{Decode, Encode, Tag, Tagged};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

use super::Fields;

/// The names in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistinguishedNames {
    /// The subject as in RFC 4514, the last attribute first: `CN=alice,O=Example`. So has mod_ssl it.
    pub subject: String,
    /// The issuer likewise.
    pub issuer: String,
    /// The subject as s6-tlsd writes it: `O=Example, CN=alice`, no attributes but C, ST, L, O, OU and CN.
    pub short_subject: String,
    /// The subject's common name as it stands there, for a PROXY header; `None` if a control character is in it.
    pub common_name: Option<String>,
}

impl DistinguishedNames {
    /// Of this certificate in DER; `None` if it cannot be read.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let Fields { issuer, subject, .. } = Fields::of(certificate)?;
        let (issuer, subject) = (Name::from_der(issuer).ok()?, Name::from_der(subject).ok()?);
        Some(Self {
            subject: rfc4514(&subject),
            issuer: rfc4514(&issuer),
            short_subject: short(&subject),
            common_name: common_name(&subject),
        })
    }
}

/// The names a certificate is for (RFC 5280 section 4.2.1.6), as OpenSSL writes them: `DNS:a.example,IP:192.0.2.1`.
/// `None` if there are none.
pub(in crate::tls) fn alternative_names(certificate: &[u8]) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?.tbs_certificate;
    let (_, SubjectAltName(names)) = certificate.get().ok()??;
    let names: Vec<_> = names.iter().filter_map(alternative_name).collect();
    (!names.is_empty()).then(|| names.join(","))
}

fn alternative_name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(format!("DNS:{}", escaped(name.as_str()))),
        GeneralName::IpAddress(address) => {
            let bytes = address.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
            Some(format!("IP:{}", v4.or_else(|_| v6()).ok()?))
        }
        _ => None,
    }
}

fn rfc4514(name: &Name) -> String {
    let relative = name.0.iter().rev().map(|set| set.0.iter().map(attribute).collect::<Vec<_>>().join("+"));
    relative.collect::<Vec<_>>().join(",")
}

fn short(name: &Name) -> String {
    let all = || name.0.iter().flat_map(|set| set.0.iter());
    let wanted = KEYWORDS.iter().take(SHORT).filter_map(|(_, oid)| all().find(|attribute| attribute.oid == *oid));
    wanted.map(attribute).collect::<Vec<_>>().join(", ")
}

fn common_name(name: &Name) -> Option<String> {
    let oid = KEYWORDS.iter().find(|(keyword, _)| *keyword == "CN").map(|(_, oid)| *oid)?;
    let found = name.0.iter().flat_map(|set| set.0.iter()).find(|attribute| attribute.oid == oid)?;
    text(found).filter(|text| !text.chars().any(char::is_control)).map(str::to_owned)
}

fn attribute(attribute: &AttributeTypeAndValue) -> String {
    let keyword = KEYWORDS.iter().find(|(_, oid)| *oid == attribute.oid).map(|(keyword, _)| *keyword);
    match (keyword, text(attribute)) {
        (Some(keyword), Some(text)) => format!("{keyword}={}", escaped(text)),
        // RFC 4514 section 2.4: the DER in hexadecimal.
        _ => format!("{}=#{}", attribute.oid, hex(&attribute.value.to_der().unwrap_or_default())),
    }
}

fn text(attribute: &AttributeTypeAndValue) -> Option<&str> {
    let value = &attribute.value;
    Some(match value.tag() {
        Tag::PrintableString => PrintableStringRef::try_from(value).ok()?.as_str(),
        Tag::Utf8String => Utf8StringRef::try_from(value).ok()?.as_str(),
        Tag::Ia5String => Ia5StringRef::try_from(value).ok()?.as_str(),
        Tag::TeletexString => TeletexStringRef::try_from(value).ok()?.as_str(),
        _ => return None,
    })
}

/// RFC 4514 section 2.4, and `=` as s6-tlsd does; what is not printable ASCII in hexadecimal.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    let last = text.len().saturating_sub(1);
    for (place, byte) in text.bytes().enumerate() {
        let special = match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'=' | b'\\' => true,
            b' ' => place == 0 || place == last,
            b'#' => place == 0,
            _ => false,
        };
        match byte {
            _ if special => out.extend(['\\', char::from(byte)]),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "\\{byte:02X}");
            }
        }
    }
    out
}

/// Bytes in lower case hexadecimal.
pub(in crate::tls) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The attributes with a keyword (RFC 4514 section 3, and what OpenSSL adds). The first ones are those of s6-tlsd,
/// in its order.
const KEYWORDS: &[(&str, ObjectIdentifier)] = &[
    ("C", ObjectIdentifier::new_unwrap("2.5.4.6")),
    ("ST", ObjectIdentifier::new_unwrap("2.5.4.8")),
    ("L", ObjectIdentifier::new_unwrap("2.5.4.7")),
    ("O", ObjectIdentifier::new_unwrap("2.5.4.10")),
    ("OU", ObjectIdentifier::new_unwrap("2.5.4.11")),
    ("CN", ObjectIdentifier::new_unwrap("2.5.4.3")),
    ("STREET", ObjectIdentifier::new_unwrap("2.5.4.9")),
    ("DC", ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.25")),
    ("UID", ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1")),
    ("emailAddress", ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1")),
    ("serialNumber", ObjectIdentifier::new_unwrap("2.5.4.5")),
];

/// How many of them s6-tlsd knows.
const SHORT: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_escaped_is_one_value_of_printable_ascii() {
        for (text, expected) in [
            ("alice", "alice"),
            ("a,O=b", "a\\,O\\=b"),
            ("a\nSSL_CLIENT_VERIFY=SUCCESS", "a\\0ASSL_CLIENT_VERIFY\\=SUCCESS"),
            ("a\0b\x7f", "a\\00b\\7F"),
            (" a b ", "\\ a b\\ "),
            ("#a#", "\\#a#"),
            ("\\\"+;<>", "\\\\\\\"\\+\\;\\<\\>"),
            ("Jos\u{e9}", "Jos\\C3\\A9"),
            (" ", "\\ "),
            ("", ""),
        ] {
            assert_eq!(escaped(text), expected);
        }
    }

    #[test]
    fn names_are_in_both_orders_and_an_unknown_attribute_is_in_hexadecimal() {
        use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in [
            (DnType::OrganizationName, "Ex, Inc"),
            (DnType::CommonName, "alice"),
            (DnType::CountryName, "DE"),
            (DnType::CustomDnType(vec![2, 5, 4, 65]), "x"),
        ] {
            params.distinguished_name.push(kind, value);
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let names = DistinguishedNames::of(certificate.der()).unwrap();
        assert_eq!(names.subject, "2.5.4.65=#0c0178,C=DE,CN=alice,O=Ex\\, Inc");
        assert_eq!(names.issuer, names.subject);
        assert_eq!(names.short_subject, "C=DE, O=Ex\\, Inc, CN=alice");
    }

    #[test]
    fn what_is_no_certificate_has_no_names() {
        assert_eq!(DistinguishedNames::of(b"\x30\x03\x02\x01\x01"), None);
    }
}
