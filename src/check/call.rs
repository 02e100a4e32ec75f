//! `tlsify --check`: whether there would be a session, without anything said in it.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use super::{List, count, identity};
use crate::config::{Config, Inside};
use crate::keys;
use crate::message::{self, Error, Log};
use crate::sandbox::{Demand, Walls};

/// Checks everything and says so on standard output; what can be read is read, then the server is called with these
/// arguments. Returns the exit status: zero, or that of the first failure.
///
/// # Errors
/// None of what is checked; only that standard output cannot be written to.
pub fn check_call(config: &Config, arguments: &[OsString], log: &Log) -> Result<u8, Error> {
    let mut list = List::default();
    list.tell("options and environment", Ok::<_, Error>(None))?;
    if let Inside::Called(server) = &config.inside {
        if let Some(own) = &server.own {
            list.tell("certificate to show", identity(own, log))?;
        }
        if server.needs_chain() {
            list.tell("trust anchors", keys::anchors(server.anchors.as_deref()).map(count))?;
        }
        list.tell(&format!("a TLS session with {}", server.address), try_call(arguments))?;
    }
    // The last thing, as it cannot be undone.
    let walls = Walls { demand: Demand::Require, ..config.walls };
    list.tell("sandbox", walls.confine_session(log).map(|()| None))?;
    Ok(list.status)
}

/// Runs this program once more, for a prog that says nothing and leaves. It has limits of its own.
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
