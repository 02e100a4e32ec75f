//! Keys, chains and anchors, from the files an administrator names. Used by the keeper alone, whose freed memory is wiped
//! ([`memory`](crate::memory)): the file, its base64 and what was decoded leave nothing behind.

use std::path::PathBuf;

use crate::message::Error;
use crate::tls::{CertificateDer, Identity, MAX_CHAIN, Misfit, PrivateKeyDer};

mod authorities;
mod file;
mod found;
mod pem;

pub use authorities::{Authorities, MAX_ANCHORS, anchors};
pub use file::MAX_FILE;
use file::{read, unable};
use found::{Found, certificates, private_keys};

/// The two files of one identity, as `KEYFILE` and `CERTFILE` name them.
#[derive(Clone, Debug)]
pub struct Files {
    /// The private key, in PEM or DER: PKCS#8, SEC1 or PKCS#1. In PEM there may be several, as one may want an
    /// ECDSA key and an RSA key for who needs it.
    pub key: PathBuf,
    /// The certificate chain in PEM, the server's own certificate first; or one certificate in DER. With several
    /// keys, one chain after another, in any order.
    pub chain: PathBuf,
}

impl Files {
    /// Whether both are files that can be opened. Nothing is read.
    ///
    /// # Errors
    /// [`Error::TlsConfig`] names the file and the reason.
    pub fn check(&self) -> Result<(), Error> {
        file::check(&self.key, KEY)?;
        file::check(&self.chain, CERTIFICATE)
    }

    /// Reads the certificates alone.
    ///
    /// # Errors
    /// [`Error::TlsConfig`] if they cannot be read.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        Ok(certificates(&read(&self.chain, CERTIFICATE)?.bytes, &self.chain, CERTIFICATE)?.items)
    }

    /// Reads both. A key that everybody may read is a warning, for the caller to tell.
    ///
    /// # Errors
    /// [`Error::TlsConfig`] if a file cannot be read, holds nothing usable, or the key is another certificate's.
    pub fn load(&self, warn: impl FnOnce(String)) -> Result<Identity, Error> {
        let key = read(&self.key, KEY)?;
        // One file for both is read once, so that it can be replaced as one.
        let chain = if self.chain == self.key { None } else { Some(read(&self.chain, CERTIFICATE)?) };
        let chain = certificates(&chain.as_ref().unwrap_or(&key).bytes, &self.chain, CERTIFICATE)?;
        let keys = private_keys(&key.bytes, &self.key)?;
        if key.is_open_to_all {
            let path = self.key.display();
            warn(format!("everybody on this machine may read key {path}: chmod o-r {path}"));
        }
        Identity::new(&chain.items, &keys.items).map_err(|misfit| self.explain(&misfit, &keys, &chain))
    }

    fn explain(
        &self,
        misfit: &Misfit,
        keys: &Found<PrivateKeyDer<'static>>,
        chain: &Found<CertificateDer<'static>>,
    ) -> Error {
        let key = |place: &usize, why: &str| unable("use", KEY, &self.key, keys.line(*place) + why);
        let certificate = |why: String| unable("use", CERTIFICATE, &self.chain, why);
        match misfit {
            Misfit::Key(place, Some(kind)) => {
                key(place, &format!("{kind} is not supported: take a key of P-256, or of RSA with 2048 to 8192 bits"))
            }
            Misfit::Key(place, None) => key(place, "it is damaged"),
            Misfit::Alone(place) => key(place, "there is no certificate for it"),
            Misfit::Foreign => unable("use", KEY, &self.key, "it does not belong to the certificate"),
            Misfit::Behind(place) => {
                certificate(chain.line(*place) + "the key's own certificate stands behind another: put it first")
            }
            Misfit::TooLong(length) => certificate(format!(
                "its chain has {length} bytes, and no more than {MAX_CHAIN} are sent: leave out what clients do not need"
            )),
        }
    }
}

/// What the files are called in messages.
const KEY: &str = "key";
const CERTIFICATE: &str = "certificate";
