//! What is found in a file of keys or certificates: all of it, or why not.

use std::path::Path;

use super::file::unable;
use super::pem::{self, Block, Damaged, Item};
use super::{CERTIFICATE, KEY};
use crate::message::Error;
use crate::tls::{self, CertificateDer, Container, PrivateKeyDer};

/// What was found, and where.
pub(super) struct Found<T> {
    pub(super) items: Vec<T>,
    /// In PEM the line of each.
    lines: Vec<usize>,
}

impl<T> Found<T> {
    /// Where the item at this place stands, for the beginning of a sentence.
    pub(super) fn line(&self, place: usize) -> String {
        self.lines.get(place).map_or_else(String::new, |line| format!("line {line}: "))
    }
}

pub(super) fn private_keys(bytes: &[u8], path: &Path) -> Result<Found<PrivateKeyDer<'static>>, Error> {
    // s6-tlsd takes DER as well as PEM; so do we.
    let der = || PrivateKeyDer::try_from(bytes).ok().map(|key| key.clone_key());
    found(bytes, (path, KEY, "private key"), |block| private_key(block, path), der)
}

pub(super) fn certificates(bytes: &[u8], path: &Path, what: &str) -> Result<Found<CertificateDer<'static>>, Error> {
    let der = || tls::is_certificate(bytes).then(|| CertificateDer::from(bytes.to_vec()));
    found(bytes, (path, what, CERTIFICATE), |block| certificate(block, path, what), der)
}

/// All items of a file. In PEM each block holds one, or something else; in DER it is the file.
fn found<T>(
    bytes: &[u8],
    (path, what, wanted): (&Path, &str, &str),
    in_block: impl Fn(&Block<'_>) -> Result<Option<T>, Error>,
    in_der: impl FnOnce() -> Option<T>,
) -> Result<Found<T>, Error> {
    let blocks = pem::blocks(bytes).map_err(|why| in_line(path, what, &why))?;
    let mut found = Found { items: Vec::new(), lines: Vec::new() };
    for block in &blocks {
        if let Some(item) = in_block(block)? {
            found.items.push(item);
            found.lines.push(block.line);
        }
    }
    // Some of what holds keys begins like a key.
    if blocks.is_empty() && tls::container(bytes).is_none() {
        found.items.extend(in_der());
    }
    if found.items.is_empty() { Err(nothing_in(bytes, path, what, wanted)) } else { Ok(found) }
}

/// The key in this block, unless it holds something else.
fn private_key(block: &Block<'_>, path: &Path) -> Result<Option<PrivateKeyDer<'static>>, Error> {
    let item = match block.label {
        "ENCRYPTED PRIVATE KEY" => return Err(encrypted(path)),
        "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" if block.is_encrypted() => return Err(encrypted(path)),
        label @ ("PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY") => block.decode(label),
        label if is_key(label) => {
            let why = format!("line {}: {label} is no form that TLS knows: write it as PKCS#8", block.line);
            return Err(unable("use", KEY, path, why));
        }
        label if is_certificate(label) || OTHERS.contains(&label) => return Ok(None),
        _ => return Err(unknown(block, path, KEY)),
    };
    let labelled: PrivateKeyDer<'static> = match item.map_err(|why| in_line(path, KEY, &why))? {
        Item::Pkcs8Key(key) => key.into(),
        Item::Sec1Key(key) => key.into(),
        Item::Pkcs1Key(key) => key.into(),
        _ => return Ok(None),
    };
    if matches!(tls::container(labelled.secret_der()), Some(Container::Encrypted)) {
        return Err(encrypted(path));
    }
    Ok(Some(as_it_is(labelled)))
}

/// The key by what it is and not by what its label says: programs that write keys mistake one for another, and OpenSSL
/// does not mind.
fn as_it_is(labelled: PrivateKeyDer<'static>) -> PrivateKeyDer<'static> {
    PrivateKeyDer::try_from(labelled.secret_der()).map(|key| key.clone_key()).unwrap_or(labelled)
}

/// The certificate in this block, unless it holds something else.
fn certificate(block: &Block<'_>, path: &Path, what: &str) -> Result<Option<CertificateDer<'static>>, Error> {
    let refused = |why: String| Err(unable("read", what, path, format_args!("line {}: {why}", block.line)));
    let item = match block.label {
        // The second one is what OpenSSL wrote once (PEM_STRING_X509_OLD).
        "CERTIFICATE" | "X509 CERTIFICATE" => block.decode("CERTIFICATE").map_err(|why| in_line(path, what, &why))?,
        "TRUSTED CERTIFICATE" => return refused(other_form("a TRUSTED CERTIFICATE of OpenSSL's own form", "x509")),
        label if is_certificate(label) => return refused(other_form("PKCS#7", "pkcs7 -print_certs")),
        label if is_key(label) || OTHERS.contains(&label) => return Ok(None),
        _ => return Err(unknown(block, path, what)),
    };
    match item {
        Item::X509Certificate(certificate) if tls::is_certificate(&certificate) => Ok(Some(certificate)),
        _ => refused("it is no certificate".into()),
    }
}

fn other_form(form: &str, command: &str) -> String {
    format!("{form}: write it as CERTIFICATE, by openssl {command}")
}

fn is_key(label: &str) -> bool {
    label.ends_with("PRIVATE KEY")
}

fn is_certificate(label: &str) -> bool {
    matches!(
        label,
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" | "PKCS7" | "CMS" | "PKCS #7 SIGNED DATA"
    )
}

/// A misspelled label would take its block along.
fn unknown(block: &Block<'_>, path: &Path, what: &str) -> Error {
    unable("read", what, path, format_args!("line {}: {} is no block of a known kind", block.line, block.label))
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
fn nothing_in(bytes: &[u8], path: &Path, what: &str, wanted: &str) -> Error {
    let why = match (bytes, tls::container(bytes)) {
        (_, Some(Container::Encrypted)) if what == KEY => return encrypted(path),
        (_, Some(Container::Pkcs7)) => other_form("PKCS#7", "pkcs7 -print_certs"),
        (_, Some(Container::Pkcs12)) => "PKCS#12: write it as PEM, by openssl pkcs12 -nodes".into(),
        ([], _) => "the file is empty".into(),
        _ if pem::is_utf16(bytes) => "it is UTF-16: save it as plain text".into(),
        _ => format!("no {wanted} in it, neither PEM nor DER"),
    };
    unable("read", what, path, why)
}

/// Blocks that stand beside keys and certificates and are neither.
const OTHERS: &[&str] = &[
    "ATTRIBUTE CERTIFICATE",
    "CERTIFICATE REQUEST",
    "DH PARAMETERS",
    "DSA PARAMETERS",
    "EC PARAMETERS",
    "ECHCONFIG",
    "NEW CERTIFICATE REQUEST",
    "PUBLIC KEY",
    "RSA PUBLIC KEY",
    "SSL SESSION PARAMETERS",
    "X509 CRL",
    "X9.42 DH PARAMETERS",
];
