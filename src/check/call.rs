//! `tlsify --check`: whether there would be a session. The server is connected to and verified, and nothing is said to it.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use super::{Checklist, check_identity, count};
use crate::config::{Config, Inside};
use crate::keys;
use crate::message::{self, Error, Log};
use crate::sandbox::{Sandbox, SandboxMode};

/// Checks everything and says so on standard output; what can be read is read, then the server is called with these
/// arguments. Returns the exit status: zero, or that of the first failure.
///
/// # Errors
/// None of what is checked; only that standard output cannot be written to.
pub fn check_call(config: &Config, arguments: &[OsString], log: &Log) -> Result<u8, Error> {
    let mut list = Checklist::default();
    list.report("options and environment", Ok::<_, Error>(None))?;
    if let Inside::Called(server) = &config.inside {
        if let Some(own) = &server.client_cert {
            list.report("certificate to show", check_identity(own, log))?;
        }
        if server.needs_chain() {
            list.report("trust anchors", keys::anchors(server.anchors.as_deref()).map(count))?;
        }
        list.report(&format!("a TLS session with {}", server.address), try_call(arguments))?;
    }
    // The last thing, as it cannot be undone.
    let sandbox = Sandbox { mode: SandboxMode::Require, ..config.sandbox };
    list.report("sandbox", sandbox.confine_session(log).map(|()| None))?;
    Ok(list.status)
}

/// Runs this program once more, with a prog that says nothing and leaves (itself, with `--version`).
fn try_call(arguments: &[OsString]) -> Result<Option<String>, Error> {
    let attempt = || Error::system("try a session");
    let program = std::env::current_exe().map_err(attempt())?;
    let mut command = Command::new(&program);
    command.args(arguments).arg(&program).arg("--version").stdin(Stdio::null()).stdout(Stdio::null());
    let tried = command.stderr(Stdio::piped()).output().map_err(attempt())?;
    if tried.status.success() {
        return Ok(None);
    }
    message::pass_on(&tried.stderr);
    Err(Error::TlsConfig("it fails; standard error says why".into()))
}
