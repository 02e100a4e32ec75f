//! Keys, chains and anchors, from the files an administrator names. Used by the keeper alone, whose freed memory
//! is wiped (`src/main.rs`): the file, its base64 and what was decoded leave nothing behind.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustls_pemfile::Item;

use crate::message::{Error, Log, Reason};
use crate::tls::{self, CertificateDer, Identity, PrivateKeyDer};

mod file;
mod kind;
mod pem;

pub use file::MAX_FILE;
use file::{read, unable};
use pem::{Block, Damaged};

/// The most bytes of trust anchors. The systems' bundles have a fifth of a million.
pub const MAX_ANCHORS: usize = 16 * 1024 * 1024;

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
        certificates(&read(&self.chain, CERTIFICATE)?.bytes, &self.chain, CERTIFICATE)
    }

    /// Reads both. A key that everybody may read is a warning.
    ///
    /// # Errors
    /// [`Error::TlsConfig`] if a file cannot be read, holds nothing usable, or the key is another certificate's.
    pub fn load(&self, log: &Log) -> Result<Identity, Error> {
        let key = read(&self.key, KEY)?;
        // One file for both is read once, so that it can be replaced as one.
        let chain = if self.chain == self.key { None } else { Some(read(&self.chain, CERTIFICATE)?) };
        let chain = certificates(&chain.as_ref().unwrap_or(&key).bytes, &self.chain, CERTIFICATE)?;
        let keys = private_keys(&key.bytes, &self.key)?;
        if key.is_open_to_all {
            let path = self.key.display();
            log.warning(format_args!("everybody on this machine may read key {path}: chmod o-r {path}"));
        }
        Identity::new(chain, keys).map_err(|why| unable("use", KEY, &self.key, why))
    }
}

/// The trust anchors: of this file, or the system's.
///
/// # Errors
/// [`Error::TlsConfig`] if there is none.
pub fn anchors(file: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, Error> {
    if let Some(file) = file {
        return anchors_in(file).and_then(|found| bounded(found, file));
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
        if found.is_empty() {
            return Err(unable("use", ANCHORS, path, "no certificate in it can be one"));
        }
        bounded(found, path)
    }

    fn in_directory(directory: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
        let mut found = Vec::new();
        for entry in directory.read_dir().map_err(|why| unable("open", ANCHORS, directory, Reason(&why)))? {
            let entry = entry.map_err(|why| unable("read", ANCHORS, directory, Reason(&why)))?;
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

/// All of them, unless they are more than a session reads.
fn bounded(found: Vec<CertificateDer<'static>>, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    // Each travels behind its length.
    let bytes: usize = found.iter().map(|one| one.len() + size_of::<u32>()).sum();
    if bytes > MAX_ANCHORS {
        return Err(unable("use", ANCHORS, path, format_args!("they are more than {} MiB", MAX_ANCHORS >> 20)));
    }
    Ok(found)
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

fn private_keys(bytes: &[u8], path: &Path) -> Result<Vec<PrivateKeyDer<'static>>, Error> {
    let mut keys = Vec::new();
    for block in blocks(bytes, path, KEY)? {
        keys.extend(private_key(&block, path)?);
    }
    if keys.is_empty() {
        if kind::is_encrypted(bytes) {
            return Err(encrypted(path));
        }
        // s6-tlsd takes DER as well as PEM; so do we.
        keys.extend(PrivateKeyDer::try_from(bytes).iter().map(PrivateKeyDer::clone_key));
    }
    if let Some(why) = keys.iter().find_map(kind::unsupported) {
        return Err(unable("use", KEY, path, why));
    }
    if keys.is_empty() { Err(unable("read", KEY, path, nothing_in(bytes, "private key"))) } else { Ok(keys) }
}

/// The key in this block, unless it holds something else.
fn private_key(block: &Block<'_>, path: &Path) -> Result<Option<PrivateKeyDer<'static>>, Error> {
    let item = match block.label {
        "ENCRYPTED PRIVATE KEY" => return Err(encrypted(path)),
        "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" if block.is_encrypted() => return Err(encrypted(path)),
        label @ ("PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY") => block.decode(label),
        label if label.ends_with("PRIVATE KEY") => {
            let what = format!("line {}: {label} is no form that TLS knows: write it as PKCS#8", block.line);
            return Err(unable("use", KEY, path, what));
        }
        _ => return Ok(None),
    };
    Ok(match item.map_err(|why| in_line(path, KEY, &why))? {
        Item::Pkcs8Key(key) => Some(key.into()),
        Item::Sec1Key(key) => Some(key.into()),
        Item::Pkcs1Key(key) => Some(key.into()),
        _ => None,
    })
}

fn anchors_in(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    certificates(&read(path, ANCHORS)?.bytes, path, ANCHORS)
}

fn certificates(bytes: &[u8], path: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let blocks = blocks(bytes, path, what)?;
    let mut found = Vec::new();
    for block in &blocks {
        found.extend(certificate(block, path, what)?);
    }
    if blocks.is_empty() && bytes.first() == Some(&DER_SEQUENCE) {
        found.push(CertificateDer::from(bytes.to_vec()));
    }
    if found.is_empty() { Err(unable("read", what, path, nothing_in(bytes, "certificate"))) } else { Ok(found) }
}

/// The certificate in this block, unless it holds something else.
fn certificate(block: &Block<'_>, path: &Path, what: &str) -> Result<Option<CertificateDer<'static>>, Error> {
    let other_form = |form: &str, command: &str| {
        let why = format!("line {}: {form}: write it as CERTIFICATE, by openssl {command}", block.line);
        Err(unable("read", what, path, why))
    };
    let item = match block.label {
        // The second one is what OpenSSL wrote once (PEM_STRING_X509_OLD).
        "CERTIFICATE" | "X509 CERTIFICATE" => block.decode("CERTIFICATE").map_err(|why| in_line(path, what, &why))?,
        "TRUSTED CERTIFICATE" => return other_form("a TRUSTED CERTIFICATE of OpenSSL's own form", "x509"),
        "PKCS7" | "CMS" | "PKCS #7 SIGNED DATA" => return other_form("PKCS#7", "pkcs7 -print_certs"),
        _ => return Ok(None),
    };
    Ok(if let Item::X509Certificate(certificate) = item { Some(certificate) } else { None })
}

fn blocks<'a>(bytes: &'a [u8], path: &Path, what: &str) -> Result<Vec<Block<'a>>, Error> {
    pem::blocks(bytes).map_err(|why| in_line(path, what, &why))
}

fn in_line(path: &Path, what: &str, Damaged { line, why }: &Damaged) -> Error {
    unable("read", what, path, format_args!("line {line}: {why}"))
}

fn encrypted(path: &Path) -> Error {
    let why =
        format!("it is encrypted: write it without a passphrase, by openssl pkey -in {} -out FILE", path.display());
    unable("use", KEY, path, why)
}

/// Why nothing was found.
fn nothing_in(bytes: &[u8], wanted: &str) -> String {
    match bytes {
        [] => "the file is empty".into(),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "it is UTF-16: save it as plain text".into(),
        _ => format!("no {wanted} in it, neither PEM nor DER"),
    }
}

/// What the files are called in messages.
const KEY: &str = "key";
const CERTIFICATE: &str = "certificate";
const ANCHORS: &str = "trust anchors";

/// How every certificate in DER begins.
const DER_SEQUENCE: u8 = 0x30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_may_be_as_many_as_the_limit_and_no_more() {
        for (bytes, fits) in [(MAX_ANCHORS - 1, true), (MAX_ANCHORS, true), (MAX_ANCHORS + 1, false)] {
            let two = [1000, bytes - 1000].map(|whole| CertificateDer::from(vec![0; whole - size_of::<u32>()]));
            assert_eq!(bounded(two.to_vec(), Path::new("x")).is_ok(), fits, "{bytes} bytes");
        }
    }

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
