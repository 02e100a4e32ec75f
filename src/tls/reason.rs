//! Why a certificate does not do, in words an administrator knows. rustls tells it as its own type's debug text.

use std::io;

use rustls::{CertificateError, Error};

/// The reason inside an error of [`Leg::receive`](super::Leg::receive), if it is about a certificate.
pub fn about_certificate(error: &io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref()? {
        Error::InvalidCertificate(CertificateError::Other(why)) if format!("{why:?}").contains(AUTHORITY) => {
            Some("certificate is an authority's, not a server's".into())
        }
        Error::InvalidCertificate(CertificateError::Other(why)) => Some(why.to_string()),
        why @ Error::InvalidCertificate(_) => Some(of(why).into()),
        _ => None,
    }
}

/// The alert's name (RFC 8446 section 6) in this reason for the end of TLS, if the peer sent one.
pub fn alert(reason: &str) -> Option<String> {
    let name = reason.strip_prefix("received fatal alert: ")?;
    let letters = name.char_indices().flat_map(|(place, letter)| {
        let divides = letter.is_ascii_uppercase() && place > 0;
        divides.then_some('_').into_iter().chain([letter.to_ascii_lowercase()])
    });
    Some(letters.collect())
}

/// The reason in a few words.
pub(super) fn of(why: &Error) -> &'static str {
    let Error::InvalidCertificate(why) = why else { return "certificate is not acceptable" };
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "certificate has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "certificate is not yet valid",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "certificate is for another name"
        }
        CertificateError::UnknownIssuer => "issuer is unknown",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "certificate is not for this purpose"
        }
        CertificateError::BadEncoding => "certificate is malformed",
        CertificateError::BadSignature => "signature is wrong",
        _ => "certificate is not acceptable",
    }
}

/// webpki's word, which rustls wraps in an error of any kind.
const AUTHORITY: &str = "CaUsedAsEndEntity";
