//! Trust anchors: who may vouch for a client, or for a TLS server.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::file::{self, read, unable};
use super::found::{Found, certificates};
use crate::message::{Error, SystemReason};
use crate::tls::{self, CertificateDer};

/// The most bytes of trust anchors. The systems' bundles have a fifth of a million.
pub const MAX_ANCHORS: usize = 16 * 1024 * 1024;

/// The trust anchors: of this file, or the system's.
///
/// # Errors
/// [`Error::TlsConfig`] if there is none.
pub fn anchors(file: Option<&Path>) -> Result<Vec<CertificateDer<'static>>, Error> {
    if let Some(file) = file {
        return anchors_in(file).and_then(|found| bounded(found, file));
    }
    // The system's may be named here, as a pipe even, which nothing there would notice.
    if let Some(file) = std::env::var_os(CERT_FILE).filter(|file| Path::new(file).exists()) {
        file::check(Path::new(&file), ANCHORS)?;
    }
    let found = rustls_native_certs::load_native_certs().certs;
    if found.is_empty() {
        return Err(Error::TlsConfig(none_of_the_system()));
    }
    Ok(found)
}

/// Why there is none of the system's: somebody may have said that they are elsewhere.
fn none_of_the_system() -> String {
    let file = std::env::var_os(CERT_FILE);
    let directories = std::env::var_os(CERT_DIR).filter(|list| !list.is_empty());
    let said = [(CERT_FILE, file), (CERT_DIR, directories)].into_iter();
    let elsewhere: Vec<_> = said.filter_map(|(name, path)| Some(format!("{name} is {}", path?.display()))).collect();
    if elsewhere.is_empty() {
        return "unable to find the system's trust anchors: install them, or name others in a file".into();
    }
    format!(
        "unable to find trust anchors: {}, where there are none: correct that, or unset it",
        elsewhere.join(" and ")
    )
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
        match self {
            Self::File(file) => bounded(anchors_in(file)?, file),
            Self::Directory(directory) => bounded(Self::in_directory(directory)?, directory),
        }
    }

    fn in_directory(directory: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
        let mut found = Vec::new();
        for entry in directory.read_dir().map_err(|why| unable("open", ANCHORS, directory, SystemReason(&why)))? {
            let entry = entry.map_err(|why| unable("read", ANCHORS, directory, SystemReason(&why)))?;
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

/// Those in this file. Each can be one, or none is taken: nobody would know why one is missing.
fn anchors_in(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Found<_> = certificates(&read(path, ANCHORS)?.bytes, path, ANCHORS)?;
    match found.items.iter().position(|certificate| !tls::is_anchor(certificate)) {
        None => Ok(found.items),
        Some(place) => Err(unable("use", ANCHORS, path, found.line(place) + "it cannot be one")),
    }
}

/// Where OpenSSL and whoever follows it look for the system's, if they are set: a file, and directories.
const CERT_FILE: &str = "SSL_CERT_FILE";
const CERT_DIR: &str = "SSL_CERT_DIR";

/// What they are called in messages.
const ANCHORS: &str = "trust anchors";

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
