//! TLS as byte pipes: [`Leg`] for either side, [`Identity`] for the keeper's half. The only door to rustls.
//!
//! Nothing here knows a protocol or a descriptor.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ProtocolVersion, SupportedProtocolVersion};

mod backend;
mod client;
mod identity;
mod leg;

pub use backend::Trust;
pub use client::{Facts, Welcome};
pub use identity::{Identity, may_be_signed};
pub use leg::{Heard, Leg, is_no_tls};
pub use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The lowest TLS version allowed (`--tls-min`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lowest {
    /// TLS 1.2 (RFC 5246); what came before is forbidden by RFC 8996.
    #[default]
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

impl Lowest {
    fn versions(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::V1_2 => vec![&rustls::version::TLS13, &rustls::version::TLS12],
            Self::V1_3 => vec![&rustls::version::TLS13],
        }
    }
}

/// The provider, with X25519MLKEM768 first among its groups.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The version as OpenSSL, s6-tlsd and mod_ssl spell it.
fn version_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        _ => "TLSv1.3",
    }
}
