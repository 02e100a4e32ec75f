//! The names of variables that are this program's own, and so no business of prog's.

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

/// Read from the environment; names and paths are no business of prog's.
const OWN_VARIABLES: &[&str] = &["KEYFILE", "CERTFILE", "CAFILE", "CADIR", "TLS_UID", "TLS_GID"];
