//! `--check`: whether a configuration would serve, without a client. One line for each thing that can be wrong.
//!
//! What can be read is read; whether prog runs, greets and is granted TLS is found out by a real session of this very
//! program, with a client that asks for TLS, looks in, and leaves. That includes the TLS server at host and port.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::time::SystemTime;

use crate::config::{Config, Inside};
use crate::keys::{self, Files};
use crate::message::{Error, Log};
use crate::sandbox::{Sandbox, SandboxMode};
use crate::tls::{CertificateDer, DistinguishedNames, Validity};

mod call;
mod trial;
mod visitor;

pub use call::check_call;
use trial::try_session;
use visitor::enters_tls;

/// Checks everything and says so on standard output; a session is tried with these arguments. Returns the exit status:
/// zero, or that of the first failure.
///
/// # Errors
/// None of what is checked; only that standard output cannot be written to.
pub fn check(config: &Config, arguments: &[OsString], log: &Log) -> Result<u8, Error> {
    let mut list = Checklist::default();
    list.report("options and environment", Ok::<_, Error>(None))?;
    list.report("key and certificate", config.names.check().map(|()| None))?;
    for (name, files) in config.names.all() {
        let what = match &files {
            Ok(Files { key, chain }) => {
                format!("key {} and certificate {} for {name}", key.display(), chain.display())
            }
            Err(_) => name,
        };
        list.report(&what, files.and_then(|files| check_identity(&files, log)))?;
    }
    if let Some(authorities) = &config.authorities {
        list.report("trust anchors for clients", authorities.load().map(count))?;
    }
    if let Inside::Backend(backend) = &config.inside {
        if let Some(own) = &backend.client_cert {
            list.report("certificate for the backend", check_identity(own, log))?;
        }
        if backend.needs_chain() {
            list.report("trust anchors for the backend", keys::anchors(backend.anchors.as_deref()).map(count))?;
        }
    }
    if !config.implicit || enters_tls(config) {
        list.report("a session that asks for TLS", try_session(config, arguments))?;
    }
    // The last thing, as it cannot be undone.
    let sandbox = Sandbox { mode: SandboxMode::Require, ..config.sandbox };
    list.report("sandbox", sandbox.confine_session(log).map(|()| None))?;
    Ok(list.status)
}

/// What was printed so far.
#[derive(Default)]
struct Checklist {
    status: u8,
}

impl Checklist {
    fn report(&mut self, what: &str, found: Result<Option<String>, Error>) -> Result<(), Error> {
        match found {
            Ok(None) => say(format_args!("ok: {what}")),
            Ok(Some(detail)) => say(format_args!("ok: {what}: {detail}")),
            Err(why) => {
                self.status = if self.status == 0 { why.exit_code() } else { self.status };
                say(format_args!("failed: {what}: {why}"))
            }
        }
    }
}

fn say(line: impl Display) -> Result<(), Error> {
    writeln!(io::stdout(), "{line}").map_err(Error::system("write to standard output"))
}

fn count(anchors: Vec<CertificateDer<'static>>) -> Option<String> {
    Some(format!("{} of them", anchors.len()))
}

/// Reads keys and chains, and looks at what no handshake shows: the order of each chain, and its dates. Returns when the
/// first of them ends.
fn check_identity(files: &Files, log: &Log) -> Result<Option<String>, Error> {
    let identity = files.load(|warning| log.warning(warning))?;
    let mut ends = Vec::new();
    for chain in identity.chains() {
        let end = check_chain(chain)
            .map_err(|why| Error::TlsConfig(format!("certificate {}: {why}", files.chain.display())))?;
        ends.extend(end);
    }
    Ok(ends.into_iter().min().map(|end| format!("until {end}")))
}

/// When this chain's first certificate ends; or what is wrong with the chain.
fn check_chain(chain: &[CertificateDer<'_>]) -> Result<Option<String>, String> {
    let unreadable = || "it cannot be read".to_owned();
    let mut ends = Vec::new();
    for certificate in chain {
        let validity = Validity::of(certificate).ok_or_else(unreadable)?;
        validity.holds_at(SystemTime::now())?;
        ends.push(validity.until);
    }
    let names: Option<Vec<_>> = chain.iter().map(|certificate| DistinguishedNames::of(certificate)).collect();
    let names = names.ok_or_else(unreadable)?;
    for pair in names.windows(2) {
        if let [subject, issuer] = pair
            && subject.issuer != issuer.subject
        {
            let (subject, next) = (&subject.subject, &issuer.subject);
            return Err(format!("{subject} is not followed by its issuer, but by {next}: mend the order"));
        }
    }
    Ok(ends.into_iter().next())
}
