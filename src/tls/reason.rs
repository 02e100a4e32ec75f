//! Why a certificate does not do, in words an administrator knows. rustls tells it as its own type's debug text.

use std::fmt::{self, Debug, Display};
use std::io;
use std::sync::Arc;

use rustls::{CertificateError, Error, OtherError};

/// None of the pins is the backend's key.
pub(super) const NOT_PINNED: &str = "its key is not a pinned one";

/// Nothing here verifies what such a key has signed.
pub(super) const KEY_NOT_KNOWN: &str = "its key is of a kind or a length that is not supported";

/// The reason inside an error of [`Leg::receive`](super::Leg::receive), if it is about a certificate.
pub fn about_certificate(error: &io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref()? {
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

/// This program's own reason, as an error of rustls.
pub(super) fn error(reason: &'static str) -> Error {
    CertificateError::Other(OtherError(Arc::new(Own(reason)))).into()
}

/// The reason in a few words.
pub(super) fn of(why: &Error) -> &'static str {
    let Error::InvalidCertificate(why) = why else { return NOT_ACCEPTABLE };
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
        CertificateError::UnsupportedSignatureAlgorithmContext { .. } => "it is signed in a way that is not supported",
        CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => KEY_NOT_KNOWN,
        CertificateError::Other(OtherError(why)) => of_another(why.as_ref()),
        _ => NOT_ACCEPTABLE,
    }
}

/// rustls wraps what it has no word for in an error of any kind.
fn of_another(why: &(dyn std::error::Error + 'static)) -> &'static str {
    if let Some(Own(reason)) = why.downcast_ref() {
        return reason;
    }
    let why = format!("{why:?}");
    WORDS_OF_WEBPKI.iter().find(|(word, _)| why.contains(word)).map_or(NOT_ACCEPTABLE, |(_, reason)| reason)
}

const WORDS_OF_WEBPKI: &[(&str, &str)] = &[
    ("CaUsedAsEndEntity", "certificate is an authority's"),
    ("UnsupportedCertVersion", "certificate is not of X.509 version 3"),
    ("UnsupportedCriticalExtension", "certificate has a critical extension that is not supported"),
];

const NOT_ACCEPTABLE: &str = "certificate is not acceptable";

/// A reason of this program's own. rustls puts its debug text into a sentence.
struct Own(&'static str);

impl Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Own {}
