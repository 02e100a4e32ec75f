//! argv and environment become a [`Config`]. Here and below is the only door to lexopt.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;
use starttls_protocols::Protocol;

use crate::address::Address;
use crate::keys::Files;
use crate::message::Error;
use crate::names::{Level, Names};
use crate::proxy::Version;
use crate::sandbox::Demand;
use crate::tls::{ClientAuth, Lowest, Pin};

mod config;
mod environment;
mod help;
mod values;
mod version;

pub use config::{Backend, BackendTls, Config, Inside, Proxy};
pub use environment::{is_own_variable, is_tls_fact, is_tls_variable};
pub use help::{HELP, SYNOPSIS};
use values::{backend_tls, demand, lowest, milliseconds, number, path, pins, protocol, proxy_version, text, usage};
pub use version::version;

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// `--help`.
    Help,
    /// `--version`.
    Version,
    /// A session.
    Run(Box<Config>),
    /// `--check`: would there be one?
    Check(Box<Config>),
}

/// Reads the command line (without the program's name) and the environment.
///
/// # Errors
/// [`Error::Usage`] for the command line, [`Error::Environment`] for a variable.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Invocation, Error> {
    let mut options = Options::default();
    let mut parser = lexopt::Parser::from_args(args);
    let mut operands = Vec::new();
    while let Some(argument) = parser.next().map_err(usage)? {
        let option = match argument {
            Long("help") => return Ok(Invocation::Help),
            Long("version") => return Ok(Invocation::Version),
            Long(name) => format!("--{name}"),
            Short(letter) => format!("-{letter}"),
            Value(first) => {
                operands.push(first);
                operands.extend(parser.raw_args().map_err(usage)?);
                break;
            }
        };
        options.take(&option, &mut parser)?;
    }
    let check = options.check;
    let config = options.finish(operands, env).map(Box::new)?;
    Ok(if check { Invocation::Check(config) } else { Invocation::Run(config) })
}

/// The options as they come.
#[derive(Default)]
struct Options {
    protocol: Option<Protocol>,
    require_tls: bool,
    tls_deadline: Option<Duration>,
    respawn: bool,
    implicit: bool,
    ucspi_tls: bool,
    backend_tls: BackendTls,
    backend_names: Vec<String>,
    backend_ca: Option<PathBuf>,
    backend_pins: Vec<Pin>,
    backend_cert: Option<PathBuf>,
    backend_key: Option<PathBuf>,
    connect: Option<Address>,
    proxy_protocol: Option<Version>,
    proxy_inside: bool,
    accept_proxy: bool,
    no_replay: bool,
    no_advertise: bool,
    handshake_timeout: Option<Duration>,
    tls_min: Lowest,
    level: Level,
    client_auth: ClientAuth,
    no_close_notify: bool,
    cut_is_error: bool,
    keep_environment: bool,
    sandbox: Demand,
    check: bool,
    verbosity: Option<u8>,
}

impl Options {
    fn take(&mut self, option: &str, parser: &mut lexopt::Parser) -> Result<(), Error> {
        match option {
            "-r" | "--require-tls" => self.require_tls = true,
            "--tls-deadline" => self.tls_deadline = Some(milliseconds(option, parser)?),
            "-p" | "--protocol" => self.protocol = protocol(&text(option, parser)?)?,
            "--respawn" => self.respawn = true,
            "--ucspi-tls" => self.ucspi_tls = true,
            "--implicit" => self.implicit = true,
            "--backend-tls" => self.backend_tls = backend_tls(&text(option, parser)?)?,
            "--backend-name" => self.backend_names.push(text(option, parser)?),
            "--backend-ca" => self.backend_ca = Some(path(parser)?),
            "--backend-pin" => self.backend_pins.extend(pins(&text(option, parser)?)?),
            "--backend-cert" => self.backend_cert = Some(path(parser)?),
            "--backend-key" => self.backend_key = Some(path(parser)?),
            "--connect" => self.connect = Some(Address::from_argument(&parser.value().map_err(usage)?)?),
            "--proxy-protocol" => self.proxy_protocol = Some(proxy_version(&text(option, parser)?)?),
            "--proxy-inside" => self.proxy_inside = true,
            "--accept-proxy" => self.accept_proxy = true,
            "--no-replay" => self.no_replay = true,
            "--no-advertise" => self.no_advertise = true,
            "-K" => self.handshake_timeout = Some(milliseconds(option, parser)?),
            "--tls-min" => self.tls_min = lowest(&text(option, parser)?)?,
            "-k" => self.level = Level::from_number(number(option, parser)?),
            "-Y" => self.client_auth = ClientAuth::Asked,
            "-y" => self.client_auth = ClientAuth::Demanded,
            "-S" => self.no_close_notify = false,
            "-s" => self.no_close_notify = true,
            "-J" => self.cut_is_error = true,
            "-j" => self.cut_is_error = false,
            "--sandbox" => self.sandbox = demand(&text(option, parser)?)?,
            "--check" => self.check = true,
            "-Z" => self.keep_environment = true,
            "-z" => self.keep_environment = false,
            "-v" => self.verbosity = Some(number(option, parser)?),
            _ => return Err(Error::Usage(format!("unknown option {option}: {SYNOPSIS}"))),
        }
        Ok(())
    }

    fn finish(self, operands: Vec<OsString>, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Config, Error> {
        let (inside, prog) = self.inside(operands)?;
        if self.connect.is_none() && prog.is_empty() {
            return Err(Error::Usage(format!("no prog to run: {SYNOPSIS}")));
        }
        if self.connect.is_some() && !prog.is_empty() {
            return Err(Error::Usage(format!("--connect takes the place of prog: {SYNOPSIS}")));
        }
        let proxy = self.proxy(&inside)?;
        let proto = env("PROTO").map_or_else(|| "TCP".into(), |proto| proto.to_string_lossy().into_owned());
        Ok(Config {
            inside,
            prog,
            connect: self.connect,
            protocol: self.protocol,
            implicit: self.implicit,
            require_tls: self.require_tls,
            tls_deadline: self.tls_deadline.unwrap_or(TLS_DEADLINE),
            replay: !self.no_replay && !self.require_tls,
            advertise: !self.no_advertise,
            handshake_timeout: self.handshake_timeout.unwrap_or(HANDSHAKE_TIMEOUT),
            tls_min: self.tls_min,
            keep_environment: self.keep_environment,
            verbosity: self.verbosity.unwrap_or(1),
            names: Names::gather(self.level, std::env::vars_os()),
            authorities: environment::authorities(self.client_auth, env)?,
            client_auth: self.client_auth,
            close_notify: !self.no_close_notify,
            cut_is_error: self.cut_is_error,
            ids: environment::ids(env)?,
            sandbox: self.sandbox,
            remote: environment::remote(&proto, env),
            ends: environment::ends(&proto, env),
            proto,
            proxy,
            accept_proxy: self.accept_proxy,
            ucspi: if self.ucspi_tls { None } else { environment::ucspi(env)? },
        })
    }

    /// Whether an option was given that means nothing to a prog with UCSPI-TLS.
    fn watches_dialogue(&self) -> bool {
        let inside = self.respawn || self.implicit || self.names_backend() || self.backend_tls != BackendTls::default();
        let proxy = self.connect.is_some() || self.proxy_protocol.is_some() || self.accept_proxy;
        inside || proxy || self.require_tls || self.tls_deadline.is_some() || self.no_replay || self.no_advertise
    }

    fn proxy(&self, inside: &Inside) -> Result<Option<Proxy>, Error> {
        let no_tls = match inside {
            Inside::Backend(backend) => backend.tls == BackendTls::None,
            Inside::Respawn | Inside::Itself => true,
        };
        match self.proxy_protocol {
            None if self.proxy_inside => Err(Error::Usage("--proxy-inside needs --proxy-protocol".into())),
            Some(_) if self.proxy_inside && no_tls => {
                Err(Error::Usage("--proxy-inside needs TLS with the backend".into()))
            }
            Some(_) if matches!(inside, Inside::Respawn) && self.connect.is_none() => {
                Err(Error::Usage("--proxy-protocol needs host and port, or --connect: prog has its environment".into()))
            }
            version => Ok(version.map(|version| Proxy { version, inside: self.proxy_inside })),
        }
    }

    fn inside(&self, mut operands: Vec<OsString>) -> Result<(Inside, Vec<OsString>), Error> {
        if self.ucspi_tls {
            if self.watches_dialogue() {
                let what = "--ucspi-tls leaves the dialogue to prog: with it go TLS options, --protocol and -v only";
                return Err(Error::Usage(what.into()));
            }
            return Ok((Inside::Itself, operands));
        }
        if self.respawn || self.implicit {
            if self.names_backend() {
                let what = "--respawn and --implicit have no backend: leave out --backend-*";
                return Err(Error::Usage(what.into()));
            }
            return Ok((Inside::Respawn, operands));
        }
        if operands.len() < if self.connect.is_some() { 2 } else { 3 } {
            return Err(Error::Usage(format!("host, port and prog are needed: {SYNOPSIS}")));
        }
        let prog = operands.split_off(2);
        let port = operands.pop().unwrap_or_default();
        let address = Address::from_operands(&operands.pop().unwrap_or_default(), &port)?;
        let mut names = self.backend_names.clone();
        if names.is_empty() {
            names.extend(address.host().map(str::to_owned));
        }
        if names.is_empty() && self.backend_tls != BackendTls::None {
            return Err(Error::Usage(format!("{address} has no name to verify: give --backend-name")));
        }
        let (anchors, pins) = (self.backend_ca.clone(), self.backend_pins.clone());
        let backend = Backend { address, tls: self.backend_tls, names, anchors, pins, own: self.own()? };
        Ok((Inside::Backend(backend), prog))
    }

    fn names_backend(&self) -> bool {
        let Self { backend_names, backend_ca, backend_pins, backend_cert, backend_key, .. } = self;
        let files = [backend_ca, backend_cert, backend_key];
        !backend_names.is_empty() || !backend_pins.is_empty() || files.iter().any(|file| file.is_some())
    }

    fn own(&self) -> Result<Option<Files>, Error> {
        match (&self.backend_cert, &self.backend_key) {
            (Some(chain), Some(key)) => Ok(Some(Files { key: key.clone(), chain: chain.clone() })),
            (None, None) => Ok(None),
            _ => Err(Error::Usage("--backend-cert and --backend-key belong together: give both or neither".into())),
        }
    }
}

/// Long enough for a person at a keyboard, short enough that idlers do not fill the super-server.
const TLS_DEADLINE: Duration = Duration::from_secs(60);

/// As tlswrapper has it; nginx's stream module waits 60 s.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
