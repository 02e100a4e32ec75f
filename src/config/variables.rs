//! The names of variables: which are this program's own, which tell of TLS, and so which are prog's business.

use std::ffi::OsStr;

/// The variables of UCSPI-TLS with the numbers of descriptors: of the control socket, of the pipe to read from, of the
/// pipe to write to.
pub const DESCRIPTOR_VARIABLES: [&str; 3] = ["SSLCTLFD", "SSLREADFD", "SSLWRITEFD"];

/// Whether a variable is the wrapper's own, and so hidden from prog unless `-Z` is given.
pub fn is_own_variable(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    OWN_VARIABLES.iter().any(|own| own.as_bytes() == name)
        || [&b"KEYFILE:"[..], b"CERTFILE:"].iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a variable tells of a TLS session. Only this program may tell prog of one, so what it inherited is
/// removed always.
pub fn is_tls_fact(name: &OsStr) -> bool {
    TLS_FACTS.iter().any(|fact| *fact == name)
}

/// Whether a variable has the name of one that tells of TLS, be it this program's or another's. Those of OpenSSL that
/// say what is trusted tell nothing.
pub fn is_tls_variable(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"SSL_")
        && !["SSL_CERT_FILE", "SSL_CERT_DIR"].iter().any(|other| *other == name)
}

/// Read from the environment; names and paths are no business of prog's.
const OWN_VARIABLES: &[&str] = &["KEYFILE", "CERTFILE", "CAFILE", "CADIR", "TLS_UID", "TLS_GID"];

/// Written into the environment of the prog inside TLS.
const TLS_FACTS: &[&str] = &[
    "SSL_PROTOCOL",
    "SSL_CIPHER",
    "SSL_VERSION_INTERFACE",
    "SSL_TLS_SNI_SERVERNAME",
    "SSL_CLIENT_VERIFY",
    "SSL_CLIENT_S_DN",
    "SSL_CLIENT_I_DN",
    "SSL_PEER_CERT_HASH",
    "SSL_PEER_CERT_SUBJECT",
    "SSL_GROUP",
    "SSL_ALPN",
    "SSL_SERVER_VERIFY",
    "SSL_SERVER_S_DN",
    "SSL_SERVER_I_DN",
    "SSL_SERVER_SAN",
    "SSL_SERVER_CERT_HASH",
    "SSL_SERVER_SPKI_PIN",
    "SSL_SERVER_V_START",
    "SSL_SERVER_V_END",
];
