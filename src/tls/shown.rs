//! The certificate a server showed, whether it was accepted or not, in words for variables and messages.

use std::sync::OnceLock;

use super::pin::{self, Pin};
use super::x509::{DistinguishedNames, Validity, alternative_names, hex};
use crate::message::Quoted;

/// What the server's handshake left behind.
#[derive(Debug, Default)]
pub struct Shown {
    /// The server's own certificate in DER.
    pub(super) certificate: OnceLock<Vec<u8>>,
    /// The SHA-256 of its key.
    pub(super) pin: OnceLock<Pin>,
    /// The reference identity it has proved to be.
    pub(super) name: OnceLock<String>,
}

impl Shown {
    /// The name the server has proved to have. A pin alone proves a key and no name.
    pub fn name(&self) -> Option<&str> {
        self.name.get().map(String::as_str)
    }

    /// What it has proved, for the session line: a name, or a key alone.
    pub fn word(&self) -> &'static str {
        if self.name().is_some() { "verified" } else { "pinned" }
    }

    /// The pin of its key, as `--pin` and curl take it.
    pub fn pin(&self) -> Option<String> {
        self.pin.get().map(pin::write)
    }

    /// Whose certificate it is, for a message: subject, issuer, names, end, and the pin.
    pub fn description(&self) -> Option<String> {
        let certificate = self.certificate.get()?;
        let (names, validity) = (DistinguishedNames::of(certificate)?, Validity::of(certificate)?);
        let short = |text: &str| Quoted(if text.is_empty() { "none" } else { text }.as_bytes()).to_string();
        let others = alternative_names(certificate).unwrap_or_default();
        let (subject, issuer, others) = (short(&names.subject), short(&names.issuer), short(&others));
        let (until, pin) = (validity.until, self.pin().unwrap_or_default());
        Some(format!(
            "its subject is {subject}, its issuer {issuer}, its names {others}, its end {until}; --pin {pin} would trust its key"
        ))
    }

    /// The variables that tell of it, with the names of mod_ssl; each `NAME=VALUE`.
    pub fn variables(&self) -> Vec<String> {
        let Some(certificate) = self.certificate.get() else { return Vec::new() };
        let verified = if self.name().is_some() { "SUCCESS" } else { "PINNED" };
        let mut variables = vec![
            format!("SSL_SERVER_VERIFY={verified}"),
            format!("SSL_SERVER_CERT_HASH=SHA256:{}", hex(&super::sha256(certificate))),
        ];
        variables.extend(self.pin().map(|pin| format!("SSL_SERVER_SPKI_PIN={pin}")));
        if let Some(DistinguishedNames { subject, issuer, .. }) = DistinguishedNames::of(certificate) {
            variables.push(format!("SSL_SERVER_S_DN={subject}"));
            variables.push(format!("SSL_SERVER_I_DN={issuer}"));
        }
        variables.extend(alternative_names(certificate).map(|names| format!("SSL_SERVER_SAN={names}")));
        if let Some(validity) = Validity::of(certificate) {
            variables.push(format!("SSL_SERVER_V_START={}", validity.since));
            variables.push(format!("SSL_SERVER_V_END={}", validity.until));
        }
        variables
    }
}
