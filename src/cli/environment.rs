//! What the environment says, and which of it is prog's business.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;

use crate::keys::Authorities;
use crate::message::Error;
use crate::proxy::Ends;
use crate::tls::ClientAuth;
use crate::ucspi::{self, Numbers};

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

/// As in s6-tlsd, the directory wins.
pub(super) fn authorities(
    auth: ClientAuth,
    env: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Option<Authorities>, Error> {
    if auth == ClientAuth::None {
        return Ok(None);
    }
    let directory = env("CADIR").map(|path| Authorities::Directory(path.into()));
    let found = directory.or_else(|| env("CAFILE").map(|path| Authorities::File(path.into())));
    let missing = "-Y and -y want the clients' trust anchors: set CADIR or CAFILE";
    found.map(Some).ok_or_else(|| Error::Environment(missing.into()))
}

pub(super) fn ucspi(env: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<Numbers>, Error> {
    let values = ucspi::VARIABLES.map(env);
    Numbers::of(values.each_ref().map(|value| value.as_ref().map(|value| value.to_str().unwrap_or_default())))
}

pub(super) fn ids(env: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<(u32, u32)>, Error> {
    let id = |name: &str| {
        let Some(value) = env(name) else { return Ok(None) };
        let id = value.to_str().and_then(|text| text.parse::<u32>().ok()).filter(|id| *id != u32::MAX);
        id.map(Some).ok_or_else(|| Error::Environment(format!("{name} must be a numeric id, not {}", value.display())))
    };
    match (id("TLS_UID")?, id("TLS_GID")?) {
        (Some(uid), Some(gid)) => Ok(Some((uid, gid))),
        (None, None) => Ok(None),
        _ => Err(Error::Environment("TLS_UID and TLS_GID belong together: set both or neither".into())),
    }
}

pub(super) fn remote(proto: &str, env: &dyn Fn(&str) -> Option<OsString>) -> Option<String> {
    let ip = env(&format!("{proto}REMOTEIP"))?.into_string().ok()?;
    let port = env(&format!("{proto}REMOTEPORT")).and_then(|port| port.into_string().ok());
    let ip = if ip.contains(':') { format!("[{ip}]") } else { ip };
    Some(port.map_or_else(|| ip.clone(), |port| format!("{ip}:{port}")))
}

pub(super) fn ends(proto: &str, env: &dyn Fn(&str) -> Option<OsString>) -> Option<Ends> {
    let end = |side: &str| {
        let ip = env(&format!("{proto}{side}IP"))?.to_str()?.parse().ok()?;
        let port = env(&format!("{proto}{side}PORT"))?.to_str()?.parse().ok()?;
        Some(SocketAddr::new(ip, port))
    };
    Some(Ends { client: end("REMOTE")?, server: end("LOCAL")? })
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
];
