//! argv and environment become a [`Config`]. Here and below is the only door to lexopt.

use std::ffi::OsString;
use std::path::PathBuf;

use starttls_protocols::Protocol;

use crate::address::Address;
use crate::config::{Backend, BackendTls, Config, Inside, Proxy};
use crate::keys::Files;
use crate::message::Error;
use crate::names::{Names, SniLevel};
use crate::proxy::Version;
use crate::tls::ClientAuth;

mod environment;
mod help;
pub mod tlsify;
mod values;
mod version;
mod words;

pub use environment::remote;
pub use help::{HELP, SYNOPSIS};
use values::Argument;
pub use version::version;
use words::Words;

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// `--help`.
    Help,
    /// `--version`.
    Version,
    /// A session.
    Run(Box<Config>),
    /// `--check`: would there be one, with these arguments and a PROXY header as the configuration has it?
    Check(Box<Config>, Vec<OsString>),
}

/// Reads the command line (without the program's name) and the environment, for a program with these protocols.
///
/// # Errors
/// [`Error::Usage`] for the command line, [`Error::Environment`] for a variable.
pub fn parse(
    protocols: &'static [Protocol],
    args: impl IntoIterator<Item = OsString>,
    env: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Invocation, Error> {
    let mut options = Options { config: Config { protocols, ..Config::default() }, ..Options::default() };
    Ok(match words::read(args, SYNOPSIS, OF_A_CHECK, &mut |argument| options.take(argument))? {
        Words::Help => Invocation::Help,
        Words::Version => Invocation::Version,
        Words::Given { operands, check } => {
            let config = Box::new(options.finish(operands, env)?);
            match check {
                Some(words) => Invocation::Check(config, words),
                None => Invocation::Run(config),
            }
        }
    })
}

/// The options as they come: one row in [`take`](Self::take), one field of what it is about.
#[derive(Default)]
struct Options {
    config: Config,
    /// Where it is comes last.
    backend: Backend,
    backend_cert: Option<PathBuf>,
    backend_key: Option<PathBuf>,
    proxy_version: Option<Version>,
    proxy_inside: bool,
    respawn: bool,
    ucspi_tls: bool,
    level: SniLevel,
    /// Those that were given, as they were spelled.
    given: Vec<String>,
}

impl Options {
    fn take(&mut self, argument: &mut Argument<'_>) -> Result<(), Error> {
        let Self { config, backend, .. } = self;
        match argument.option {
            "-r" | "--require-tls" => config.require_tls = true,
            "--tls-deadline" => config.tls_deadline = argument.milliseconds()?,
            "-p" | "--protocol" => config.protocol = argument.protocol(config.protocols)?,
            "--respawn" => self.respawn = true,
            "--ucspi-tls" => self.ucspi_tls = true,
            "--implicit" => config.implicit = true,
            "--backend-tls" => backend.tls = argument.backend_tls()?,
            "--backend-name" => backend.names.push(argument.text()?),
            "--backend-ca" => backend.anchors = Some(argument.path()?),
            "--backend-pin" => backend.pins.extend(argument.pins()?),
            "--backend-cert" => self.backend_cert = Some(argument.path()?),
            "--backend-key" => self.backend_key = Some(argument.path()?),
            "--connect" => config.connect = Some(Address::from_argument(&argument.any()?)?),
            "--proxy-protocol" => self.proxy_version = Some(argument.proxy_version()?),
            "--proxy-inside" => self.proxy_inside = true,
            "--accept-proxy" => config.accept_proxy = true,
            "--no-replay" => config.replay = false,
            "--no-advertise" => config.advertise = false,
            "-K" => config.tls.handshake_timeout = argument.milliseconds()?,
            "--tls-min" => config.tls.min_version = argument.min_version()?,
            "-k" => self.level = SniLevel::from_number(argument.number()?),
            "-Y" => config.client_auth = ClientAuth::Asked,
            "-y" => config.client_auth = ClientAuth::Demanded,
            "-S" => config.tls.close_notify = true,
            "-s" => config.tls.close_notify = false,
            "-J" => config.tls.cut_is_error = true,
            "-j" => config.tls.cut_is_error = false,
            "--sandbox" => config.sandbox.mode = argument.sandbox_mode()?,
            "-Z" => config.keep_environment = true,
            "-z" => config.keep_environment = false,
            "-v" => config.verbosity = argument.number()?,
            _ => return Err(argument.unknown()),
        }
        self.given.push(argument.option.to_owned());
        Ok(())
    }

    /// What the options make together with the operands and the environment.
    fn finish(mut self, operands: Vec<OsString>, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Config, Error> {
        (self.config.inside, self.config.prog) = self.inside(operands)?;
        self.check_prog()?;
        self.config.proxy = self.proxy()?;
        let mut config = self.config;
        config.replay &= !config.require_tls;
        config.sandbox.ids = environment::ids(env)?;
        config.names = Names::new(self.level, env);
        config.authorities = environment::authorities(config.client_auth, env)?;
        environment::read_client(&mut config, env);
        config.ucspi = if self.ucspi_tls { None } else { environment::ucspi(env)? };
        Ok(config)
    }

    fn check_prog(&self) -> Result<(), Error> {
        match (self.config.connect.is_some(), self.config.prog.is_empty()) {
            (false, true) => Err(Error::Usage(format!("no prog to run: {SYNOPSIS}"))),
            (true, false) => Err(Error::Usage(format!("--connect takes the place of prog: {SYNOPSIS}"))),
            _ => Ok(()),
        }
    }

    fn proxy(&self) -> Result<Option<Proxy>, Error> {
        let no_tls = self.config.inside.backend().is_none_or(|backend| backend.tls == BackendTls::None);
        match self.proxy_version {
            None if self.proxy_inside => Err(Error::Usage("--proxy-inside needs --proxy-protocol".into())),
            Some(_) if self.proxy_inside && no_tls => {
                Err(Error::Usage("--proxy-inside needs TLS with the backend".into()))
            }
            Some(_) if matches!(self.config.inside, Inside::Respawn) && self.config.connect.is_none() => {
                Err(Error::Usage("--proxy-protocol needs host and port, or --connect: prog has its environment".into()))
            }
            version => Ok(version.map(|version| Proxy { version, inside: self.proxy_inside })),
        }
    }

    fn inside(&mut self, operands: Vec<OsString>) -> Result<(Inside, Vec<OsString>), Error> {
        if self.ucspi_tls {
            if self.gave(|option| !OF_ITSELF.contains(&option)) {
                let what = "--ucspi-tls leaves the dialogue to prog: with it go TLS options, --protocol, --sandbox, -Z and -v only";
                return Err(Error::Usage(what.into()));
            }
            return Ok((Inside::Itself, operands));
        }
        if self.respawn || self.config.implicit {
            if self.gave(|option| option.contains("backend")) {
                let what = "--respawn and --implicit have no backend: leave out --backend-*";
                return Err(Error::Usage(what.into()));
            }
            return Ok((Inside::Respawn, operands));
        }
        self.backend(operands)
    }

    fn backend(&mut self, mut operands: Vec<OsString>) -> Result<(Inside, Vec<OsString>), Error> {
        if operands.len() < if self.config.connect.is_some() { 2 } else { 3 } {
            return Err(Error::Usage(format!("host, port and prog are needed: {SYNOPSIS}")));
        }
        let prog = operands.split_off(2);
        let port = operands.pop().unwrap_or_default();
        let mut backend = std::mem::take(&mut self.backend);
        backend.address = Address::from_operands(&operands.pop().unwrap_or_default(), &port)?;
        if backend.names.is_empty() {
            backend.names.extend(backend.address.host().map(str::to_owned));
        }
        if backend.names.is_empty() && backend.tls != BackendTls::None {
            return Err(Error::Usage(format!("{} has no name to verify: give --backend-name", backend.address)));
        }
        backend.client_cert = match (self.backend_cert.take(), self.backend_key.take()) {
            (Some(chain), Some(key)) => Some(Files { key, chain }),
            (None, None) => None,
            _ => {
                let what = "--backend-cert and --backend-key belong together: give both or neither";
                return Err(Error::Usage(what.into()));
            }
        };
        Ok((Inside::Backend(backend), prog))
    }

    fn gave(&self, of: impl Fn(&str) -> bool) -> bool {
        self.given.iter().any(|option| of(option))
    }
}

/// What means something to a prog that asks for TLS itself.
const OF_ITSELF: &[&str] = &[
    "--ucspi-tls",
    "-p",
    "--protocol",
    "-K",
    "--tls-min",
    "-k",
    "-Y",
    "-y",
    "-S",
    "-s",
    "-J",
    "-j",
    "--sandbox",
    "-Z",
    "-z",
    "-v",
];

/// What a check tries sessions with, and without.
const OF_A_CHECK: &[&str] = &["--check", "--proxy-protocol", "--proxy-inside"];
