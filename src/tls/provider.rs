//! What the cryptography of TLS is done with: aws-lc or graviola, as the build was told (Cargo.toml, features). The only
//! door to either.
//!
//! Knows no connection and no key; what differs between the two is said here, and nowhere else.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

use crate::message::Error;

#[cfg(feature = "aws-lc")]
use self::aws_lc as chosen;
#[cfg(all(feature = "graviola", not(feature = "aws-lc")))]
use self::graviola as chosen;

#[cfg(not(any(feature = "aws-lc", feature = "graviola")))]
compile_error!("TLS is done with nothing: leave the default features, or add `--features graviola`");
#[cfg(all(feature = "aws-lc", feature = "graviola"))]
compile_error!("TLS is done with one library, not two: add `--no-default-features` to `--features graviola`");

/// The same of a function that loaded an RSA key.
pub(super) use chosen::LEFT_BY_RSA;
/// How far down a stack the library may leave what it knows of a key that it loaded or signed with, in bytes.
pub(super) use chosen::LEFT_ON_THE_STACK;
pub use chosen::LIBRARY;
/// Whether elliptic keys are taken that have one coordinate of their public key beside them.
pub(super) use chosen::TAKES_COMPRESSED_POINTS;
/// Whether keys on the curve P-521 are taken.
pub(super) use chosen::TAKES_P_521;

/// The groups of a key exchange, in the order they are offered.
pub fn groups() -> Vec<String> {
    provider().kx_groups.iter().map(|group| format!("{:?}", group.name())).collect()
}

/// The provider, with X25519MLKEM768 first among its groups.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(chosen::default_provider())
}

/// The same with the groups alone that a quantum computer does not undo.
pub(super) fn hybrid_provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        kx_groups: chosen::HYBRID.iter().map(|group| **group).collect(),
        ..chosen::default_provider()
    })
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = chosen::TLS13_AES_128_GCM_SHA256.tls13().map(|suite| suite.common.hash_provider.hash(bytes));
    digest.and_then(|digest| digest.as_ref().try_into().ok()).unwrap_or_default()
}

/// Whether this processor can do TLS with this build. The library would end the process in the middle of a handshake.
///
/// # Errors
/// [`Error::TlsEngine`] names what the processor lacks.
pub fn check_processor() -> Result<(), Error> {
    chosen::needed().into_iter().find(|(_, is_there)| !is_there).map_or(Ok(()), |(lacked, _)| {
        Err(Error::TlsEngine(format!(
            "unable to do TLS: this processor has no {lacked}, which a build with graviola needs: take one with aws-lc"
        )))
    })
}

#[cfg(feature = "aws-lc")]
mod aws_lc {
    use rustls::crypto::SupportedKxGroup;
    pub(super) use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    pub(super) use rustls::crypto::aws_lc_rs::default_provider;
    use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1MLKEM768, X25519MLKEM768};

    /// As `--version` names it. rustls does not tell its version; Cargo.lock does.
    pub const LIBRARY: &str = "rustls with aws-lc-rs";
    pub(super) static HYBRID: [&&dyn SupportedKxGroup; 2] = [&X25519MLKEM768, &SECP256R1MLKEM768];
    pub(in crate::tls) const TAKES_COMPRESSED_POINTS: bool = true;
    pub(in crate::tls) const TAKES_P_521: bool = true;
    /// It wipes what it had.
    pub(in crate::tls) const LEFT_ON_THE_STACK: usize = 0;
    pub(in crate::tls) const LEFT_BY_RSA: usize = 0;

    /// It does without what is not there.
    pub(super) fn needed() -> [(&'static str, bool); 0] {
        []
    }
}

#[cfg(all(feature = "graviola", not(feature = "aws-lc")))]
mod graviola {
    use rustls::crypto::{CryptoProvider, SupportedKxGroup};
    use rustls_graviola::kx::X25519MLKEM768;
    use rustls_graviola::suites;
    pub(super) use rustls_graviola::suites::TLS13_AES_128_GCM_SHA256;

    /// As `--version` names it. rustls does not tell its version; Cargo.lock does.
    pub const LIBRARY: &str = "rustls with graviola";
    pub(super) static HYBRID: [&&dyn SupportedKxGroup; 1] = [&X25519MLKEM768];
    pub(in crate::tls) const TAKES_COMPRESSED_POINTS: bool = false;
    pub(in crate::tls) const TAKES_P_521: bool = false;
    /// Its suites in the order of aws-lc's, so that a peer and either build agree upon the same one.
    pub(super) fn default_provider() -> CryptoProvider {
        CryptoProvider {
            cipher_suites: vec![
                suites::TLS13_AES_256_GCM_SHA384,
                TLS13_AES_128_GCM_SHA256,
                suites::TLS13_CHACHA20_POLY1305_SHA256,
                suites::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
                suites::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
                suites::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
                suites::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
                suites::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
                suites::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
            ],
            ..rustls_graviola::default_provider()
        }
    }

    /// It wipes what a key lies in, and not where it lay while it was moved there. Loading an elliptic key uses 28 KiB of
    /// the stack, an RSA key 69, signing 28 at most; 46, 123 and 41 where code is not optimized.
    pub(in crate::tls) const LEFT_ON_THE_STACK: usize = if cfg!(debug_assertions) { 64 * 1024 } else { 36 * 1024 };
    pub(in crate::tls) const LEFT_BY_RSA: usize = if cfg!(debug_assertions) { 160 * 1024 } else { 96 * 1024 };

    /// As its own assertion has them (graviola 0.4, src/low/x86_64/cpu.rs).
    #[cfg(target_arch = "x86_64")]
    pub(super) fn needed() -> [(&'static str, bool); 6] {
        [
            ("aes", is_x86_feature_detected!("aes")),
            ("pclmulqdq", is_x86_feature_detected!("pclmulqdq")),
            ("bmi1", is_x86_feature_detected!("bmi1")),
            ("adx", is_x86_feature_detected!("adx")),
            ("avx", is_x86_feature_detected!("avx")),
            ("avx2", is_x86_feature_detected!("avx2")),
        ]
    }

    /// As its own assertion has them (graviola 0.4, src/low/aarch64/cpu.rs).
    #[cfg(target_arch = "aarch64")]
    pub(super) fn needed() -> [(&'static str, bool); 4] {
        use std::arch::is_aarch64_feature_detected as detected;
        [
            ("neon", detected!("neon")),
            ("aes", detected!("aes")),
            ("pmull", detected!("pmull")),
            ("sha2", detected!("sha2")),
        ]
    }
}
