//! Key, chain and anchors, from the files an administrator names. The only door to rustls-pemfile, and used by the
//! keeper alone.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::message::Error;
use crate::tls::{CertificateDer, Identity, PrivateKeyDer};

/// The two files of one identity, as `KEYFILE` and `CERTFILE` name them.
#[derive(Clone, Debug)]
pub struct Files {
    /// The private key, in PEM or DER: PKCS#8, SEC1 or PKCS#1.
    pub key: PathBuf,
    /// The certificate chain in PEM, the server's own certificate first; or one certificate in DER.
    pub chain: PathBuf,
}

impl Files {
    /// Whether both can be opened. Nothing is read.
    ///
    /// # Errors
    /// [`Error::TlsConfig`] names the file and the reason.
    pub fn check(&self) -> Result<(), Error> {
        open(&self.key, "key")?;
        open(&self.chain, "certificate")?;
        Ok(())
    }

    /// Reads both.
    ///
    /// # Errors
    /// [`Error::TlsConfig`] if a file cannot be read, holds nothing usable, or the key is another certificate's.
    pub fn load(&self) -> Result<Identity, Error> {
        let chain = certificates(&self.chain, "certificate")?;
        let key = private_key(&self.key)?;
        Identity::new(chain, key).map_err(|why| unable("use", "key", &self.key, why))
    }
}

/// The trust anchors: of this file, or the system's.
///
/// # Errors
/// [`Error::TlsConfig`] if there is none.
pub fn anchors(file: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, Error> {
    if let Some(file) = file {
        return certificates(file, "trust anchors");
    }
    let found = rustls_native_certs::load_native_certs().certs;
    if found.is_empty() {
        let what = "unable to find the system's trust anchors: install them, or name some with --backend-ca";
        return Err(Error::TlsConfig(what.into()));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let bytes = read(path, "key")?;
    let key = if is_pem(&bytes) {
        rustls_pemfile::private_key(&mut &bytes[..]).map_err(|why| unable("read", "key", path, why))?
    } else {
        PrivateKeyDer::try_from(bytes.as_slice()).ok().map(|key| key.clone_key())
    };
    key.ok_or_else(|| unable("read", "key", path, "no unencrypted private key in it"))
}

fn certificates(path: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = read(path, what)?;
    let found = if is_pem(&bytes) {
        let found: Result<Vec<_>, _> = rustls_pemfile::certs(&mut &bytes[..]).collect();
        found.map_err(|why| unable("read", what, path, why))?
    } else {
        vec![CertificateDer::from(bytes.to_vec())]
    };
    if found.is_empty() { Err(unable("read", what, path, "no certificate in it")) } else { Ok(found) }
}

/// s6-tlsd takes DER as well as PEM; so do we.
fn is_pem(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, b"-----BEGIN ").is_some()
}

/// The whole file, in memory that is wiped when it is dropped: it may be the key's.
fn read(path: &Path, what: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut file = open(path, what)?;
    // The right size at once: a Vec that grows leaves copies of the key behind.
    let size = file.metadata().map_or(0, |about| about.len());
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1));
    file.read_to_end(&mut bytes).map_err(|why| unable("read", what, path, why))?;
    Ok(bytes)
}

fn open(path: &Path, what: &str) -> Result<File, Error> {
    File::open(path).map_err(|why| unable("open", what, path, why))
}

fn unable(verb: &str, what: &str, path: &Path, why: impl std::fmt::Display) -> Error {
    let why = why.to_string().to_lowercase();
    let why = why.split(" (os error").next().unwrap_or(&why);
    Error::TlsConfig(format!("unable to {verb} {what} {}: {why}", path.display()))
}
