//! A session of this very program is tried; where it fails, again with another PROXY header or none, to see whether that is
//! the reason.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::visitor::{Visit, VisitError, visit};
use crate::config::{BackendTls, Config, Proxy};
use crate::message::{self, Error};
use crate::proxy::Version;

/// How long the tried session may be silent: longer than a backend is waited for.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Tries a session, and says how far it came.
///
/// # Errors
/// [`Error::TlsConfig`] with what is wrong, and where a PROXY header makes the difference with what to do.
pub(super) fn try_session(config: &Config, arguments: &[OsString]) -> Result<Option<String>, Error> {
    let (visit, told) = attempt(config, arguments, config.proxy)?;
    if let Ok(Visit::Served(protocol)) = visit {
        let granted = if config.implicit { "" } else { "granted, " };
        return Ok(Some(format!("{granted}{}, and served inside TLS", protocol.name)));
    }
    for proxy in other_headers(config, &visit) {
        if let Ok(Visit::Served(_)) = attempt(config, arguments, proxy)?.0 {
            return Err(Error::TlsConfig(advice(config.proxy, proxy)));
        }
    }
    match visit {
        Ok(Visit::Served(protocol) | Visit::Granted(protocol) | Visit::Unanswered(protocol)) => {
            Ok(Some(format!("granted, {}", protocol.name)))
        }
        Err(wrong) if told.is_empty() => Err(Error::TlsConfig(wrong.to_string())),
        Err(wrong) => {
            message::pass_on(&told);
            Err(Error::TlsConfig(format!("{wrong}; standard error says why")))
        }
    }
}

/// Runs this program once more, with a client. The second value is what it told the administrator.
fn attempt(
    config: &Config,
    arguments: &[OsString],
    proxy: Option<Proxy>,
) -> Result<(Result<Visit, VisitError>, Vec<u8>), Error> {
    let unable = || Error::system("try a session");
    let (client, wrapper) = UnixStream::pair().map_err(unable())?;
    client.set_read_timeout(Some(TRIAL_TIMEOUT)).map_err(unable())?;
    let input = OwnedFd::from(wrapper.try_clone().map_err(unable())?);
    let program = std::env::current_exe().map_err(unable())?;
    let mut command = Command::new(program);
    command.args(header_options(proxy)).args(arguments);
    command.stdin(input).stdout(OwnedFd::from(wrapper)).stderr(Stdio::piped());
    let session = command.spawn().map_err(unable())?;
    drop(command);
    let visit = visit(config, client);
    if is_silent(&visit) {
        // A server that does not speak may not hear either that its client is gone.
        kill_process(Pid::from_child(&session), Signal::TERM).map_err(|why| unable()(why.into()))?;
    }
    let told = session.wait_with_output().map_err(unable())?.stderr;
    Ok((visit, told))
}

/// Whether the server owes an answer, before TLS or inside.
fn is_silent(visit: &Result<Visit, VisitError>) -> bool {
    match visit {
        Err(VisitError::Inside(wrong)) => matches!(**wrong, VisitError::Silent),
        Err(wrong) => matches!(wrong, VisitError::Silent),
        Ok(visit) => matches!(visit, Visit::Unanswered(_)),
    }
}

/// The options that ask for this header.
fn header_options(proxy: Option<Proxy>) -> Vec<&'static str> {
    let Some(Proxy { version, inside }) = proxy else { return Vec::new() };
    let version = match version {
        Version::V1 => "v1",
        Version::V2 => "v2",
    };
    ["--proxy-protocol", version].into_iter().chain(inside.then_some("--proxy-inside")).collect()
}

/// The headers, and the lack of one, that may be what the server behind wants in place of what it got.
fn other_headers(config: &Config, visit: &Result<Visit, VisitError>) -> Vec<Option<Proxy>> {
    let header = |version, inside| Some(Proxy { version, inside });
    let all = [None, header(Version::V2, true), header(Version::V2, false), header(Version::V1, false)];
    let backend = config.inside.backend();
    let tls = backend.is_some_and(|backend| backend.tls != BackendTls::None);
    let hears = config.connect.is_some() || backend.is_some();
    let fits = |proxy: &Option<Proxy>| *proxy != config.proxy && (tls || !proxy.is_some_and(|proxy| proxy.inside));
    match visit {
        Err(_) if hears => all.into_iter().filter(fits).collect(),
        Ok(Visit::Unanswered(_)) if config.proxy.is_some() => vec![None],
        _ => Vec::new(),
    }
}

/// What to do where the server serves with another header, and not with the given one.
fn advice(given: Option<Proxy>, proxy: Option<Proxy>) -> String {
    let options = header_options(proxy).join(" ");
    match (given, proxy) {
        (_, None) => "the server takes no PROXY header, it serves without: have it read the header, or put proxy-env \
                      before it; or leave out --proxy-protocol, and it takes every client for this machine"
            .into(),
        (None, _) => format!("the server waits for a PROXY header: give {options}"),
        (Some(_), _) => format!("the server wants another PROXY header: give {options}"),
    }
}
