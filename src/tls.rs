//! TLS as byte pipes: [`Leg`] for either side, [`Identity`] for the keeper's half. The only door to rustls.
//!
//! Nothing here knows a protocol or a descriptor.

use std::sync::Arc;

use rustls::{KeyLog, ProtocolVersion, RootCertStore, SupportedProtocolVersion};

mod backend;
mod client;
mod client_cert;
mod facts;
mod identity;
mod leg;
pub mod pin;
mod provider;
mod reason;
mod remote;
mod shown;
mod signature;
mod x509;

pub use backend::{BackendLegConfig, pin_of};
pub use client::ClientLegConfig;
pub use client_cert::{ClientAuth, MAX_AUTHORITY_NAMES};
pub use identity::{Identity, MAX_CHAIN, Misfit, may_be_signed};
pub use leg::{Heard, Leg, is_not_tls};
pub use pin::Pin;
pub use provider::{LIBRARY, check_processor, groups};
use provider::{hybrid_provider, provider, sha256};
pub use reason::{about_certificate, alert};
pub use rustls::pki_types::{CertificateDer, PrivateKeyDer};
pub use shown::Shown;
pub use x509::{Container, DistinguishedNames, Validity, container};

/// The lowest TLS version allowed (`--tls-min`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2 (RFC 5246); what came before is forbidden by RFC 8996.
    #[default]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

impl MinVersion {
    fn versions(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::V1_2 => vec![&rustls::version::TLS13, &rustls::version::TLS12],
            Self::V1_3 => vec![&rustls::version::TLS13],
        }
    }
}

/// Whether this is one certificate, with a key in it.
pub fn is_certificate(der: &[u8]) -> bool {
    x509::PublicKey::of(der).is_some()
}

/// Whether this certificate can be a trust anchor.
pub fn is_anchor(certificate: &CertificateDer<'_>) -> bool {
    RootCertStore::empty().add(certificate.clone().into_owned()).is_ok()
}

/// Some systems ship anchors that webpki does not take; the others must do.
fn roots(anchors: Vec<Vec<u8>>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(anchors.into_iter().map(CertificateDer::from));
    roots
}

/// Opens the file that SSLKEYLOGFILE names, while this process may still open any.
#[cfg(feature = "keylog")]
pub fn open_key_log() {
    std::sync::LazyLock::force(&KEY_LOG);
}

#[cfg(feature = "keylog")]
static KEY_LOG: std::sync::LazyLock<Arc<rustls::KeyLogFile>> =
    std::sync::LazyLock::new(|| Arc::new(rustls::KeyLogFile::new()));

#[cfg(feature = "keylog")]
fn log_keys(log: &mut Arc<dyn KeyLog>) {
    *log = KEY_LOG.clone();
}

#[cfg(not(feature = "keylog"))]
fn log_keys(_: &mut Arc<dyn KeyLog>) {}

/// The version as OpenSSL, s6-tlsd and mod_ssl spell it.
fn version_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        _ => "TLSv1.3",
    }
}
