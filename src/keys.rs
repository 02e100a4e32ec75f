//! Keys, chains and anchors, from the files an administrator names. Used by the keeper alone, whose freed memory
//! is wiped (`src/main.rs`): the file, its base64 and what was decoded leave nothing behind.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustls_pemfile::Item;

use crate::message::Error;
use crate::tls::{self, CertificateDer, Identity, PrivateKeyDer};

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
        let key = read(&self.key, "key")?;
        // One file for both is read once, so that it can be replaced as one.
        let chain = if self.chain == self.key { None } else { Some(read(&self.chain, "certificate")?) };
        let chain = certificates(chain.as_ref().unwrap_or(&key), &self.chain, "certificate")?;
        let keys = private_keys(&key, &self.key)?;
        Identity::new(chain, keys).map_err(|why| unable("use", "key", &self.key, why))
    }
}

/// The trust anchors: of this file, or the system's.
///
/// # Errors
/// [`Error::TlsConfig`] if there is none.
pub fn anchors(file: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, Error> {
    if let Some(file) = file {
        return anchors_in(file);
    }
    let found = rustls_native_certs::load_native_certs().certs;
    if found.is_empty() {
        let what = "unable to find the system's trust anchors: install them, or name others in a file";
        return Err(Error::TlsConfig(what.into()));
    }
    Ok(found)
}

/// Who may vouch for a client.
#[derive(Clone, Debug)]
pub enum Authorities {
    /// `CADIR`: in each file one anchor, or more.
    Directory(PathBuf),
    /// `CAFILE`.
    File(PathBuf),
}

impl Authorities {
    /// Reads them all.
    ///
    /// # Errors
    /// [`Error::TlsConfig`] if there is none.
    pub fn load(&self) -> Result<Vec<CertificateDer<'static>>, Error> {
        let (path, mut found) = match self {
            Self::File(file) => (file, anchors_in(file)?),
            Self::Directory(directory) => (directory, Self::in_directory(directory)?),
        };
        found.retain(tls::is_anchor);
        if found.is_empty() { Err(unable("use", ANCHORS, path, "no certificate in it can be one")) } else { Ok(found) }
    }

    fn in_directory(directory: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
        let mut found = Vec::new();
        for entry in directory.read_dir().map_err(|why| unable("open", ANCHORS, directory, why))? {
            let entry = entry.map_err(|why| unable("read", ANCHORS, directory, why))?;
            if is_hash(&entry.file_name()) {
                found.extend(anchors_in(&entry.path())?);
            }
        }
        if found.is_empty() {
            return Err(unable("find", ANCHORS, directory, "no file is named by hash: run openssl rehash"));
        }
        Ok(found)
    }
}

/// The names `openssl rehash` gives, as `2e5ac55d.0`; s6-tlsd and OpenSSL read no other, so that an authority put
/// aside under another name stays aside.
fn is_hash(name: &OsStr) -> bool {
    let Some((hash, number)) = name.to_str().and_then(|name| name.split_once('.')) else { return false };
    hash.len() == 8
        && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn private_keys(mut bytes: &[u8], path: &Path) -> Result<Vec<PrivateKeyDer<'static>>, Error> {
    let keys: Vec<_> = if is_pem(bytes) {
        let found: Result<Vec<_>, _> = rustls_pemfile::read_all(&mut bytes).collect();
        found.map_err(|why| unable("read", "key", path, why))?.into_iter().filter_map(key_of).collect()
    } else {
        PrivateKeyDer::try_from(bytes).iter().map(PrivateKeyDer::clone_key).collect()
    };
    if keys.is_empty() { Err(unable("read", "key", path, "no unencrypted private key in it")) } else { Ok(keys) }
}

fn anchors_in(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    certificates(&read(path, ANCHORS)?, path, ANCHORS)
}

fn certificates(mut bytes: &[u8], path: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found = if is_pem(bytes) {
        let found: Result<Vec<_>, _> = rustls_pemfile::certs(&mut bytes).collect();
        found.map_err(|why| unable("read", what, path, why))?
    } else {
        vec![CertificateDer::from(bytes.to_vec())]
    };
    if found.is_empty() { Err(unable("read", what, path, "no certificate in it")) } else { Ok(found) }
}

fn key_of(item: Item) -> Option<PrivateKeyDer<'static>> {
    match item {
        Item::Pkcs8Key(key) => Some(key.into()),
        Item::Sec1Key(key) => Some(key.into()),
        Item::Pkcs1Key(key) => Some(key.into()),
        _ => None,
    }
}

/// s6-tlsd takes DER as well as PEM; so do we.
fn is_pem(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, b"-----BEGIN ").is_some()
}

/// The whole file.
fn read(path: &Path, what: &str) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    open(path, what)?.read_to_end(&mut bytes).map_err(|why| unable("read", what, path, why))?;
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

/// What anchors are called in messages.
const ANCHORS: &str = "trust anchors";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_named_by_hash_hold_anchors() {
        for name in ["2e5ac55d.0", "2E5AC55D.12"] {
            assert!(is_hash(name.as_ref()), "{name}");
        }
        for name in ["2e5ac55d", "2e5ac55d.", "2e5ac55d.r0", "2e5ac55.0", "2e5ac55dd.0", "2e5ac55g.0", "ca.pem", ".0"] {
            assert!(!is_hash(name.as_ref()), "{name}");
        }
    }
}
