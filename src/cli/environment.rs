//! What is read from the environment.

use std::ffi::OsString;

use crate::config::{Config, DESCRIPTOR_VARIABLES, DescriptorNumbers};
use crate::keys::Authorities;
use crate::message::Error;
use crate::proxy::UcspiEnds;
use crate::tls::ClientAuth;

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

pub(super) fn ucspi(env: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<DescriptorNumbers>, Error> {
    let values = DESCRIPTOR_VARIABLES.map(env);
    DescriptorNumbers::of(values.each_ref().map(|value| value.as_ref().map(|value| value.to_str().unwrap_or_default())))
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

/// Reads who the client is, as far as the super-server says.
pub(super) fn read_client(config: &mut Config, env: &dyn Fn(&str) -> Option<OsString>) {
    config.proto = env("PROTO").map_or("TCP".into(), |proto| proto.to_string_lossy().into_owned());
    config.remote = remote(&config.proto, env);
    config.ucspi_ends = UcspiEnds::read(&config.proto, env);
}

/// The client's address for messages, as the super-server tells it.
pub fn remote(proto: &str, env: &dyn Fn(&str) -> Option<OsString>) -> Option<String> {
    let ip = env(&format!("{proto}REMOTEIP"))?.into_string().ok()?;
    let port = env(&format!("{proto}REMOTEPORT")).and_then(|port| port.into_string().ok());
    let ip = if ip.contains(':') { format!("[{ip}]") } else { ip };
    Some(port.map_or_else(|| ip.clone(), |port| format!("{ip}:{port}")))
}
