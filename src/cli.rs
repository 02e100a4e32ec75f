//! argv and environment become a [`Config`]. The only door to lexopt.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;
use starttls_protocols::{PROTOCOLS, Protocol};

use crate::address::Address;
use crate::keys::Files;
use crate::message::Error;
use crate::sandbox::{Demand, Walls};
use crate::tls::Lowest;

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// `--help`.
    Help,
    /// `--version`.
    Version,
    /// A session.
    Run(Box<Config>),
}

/// Everything an administrator decides.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who serves the client inside TLS.
    pub inside: Inside,
    /// The server that knows no TLS, and its arguments.
    pub prog: Vec<OsString>,
    /// `--protocol`; `None` is `auto`.
    pub protocol: Option<Protocol>,
    /// `--implicit`.
    pub implicit: bool,
    /// `--require-tls`.
    pub require_tls: bool,
    /// `--tls-deadline`.
    pub tls_deadline: Duration,
    /// Not `--no-replay`, nor `--require-tls` which implies it.
    pub replay: bool,
    /// Not `--no-advertise`.
    pub advertise: bool,
    /// `-K`.
    pub handshake_timeout: Duration,
    /// `--tls-min`.
    pub tls_min: Lowest,
    /// `-Z`: prog sees the wrapper's variables.
    pub keep_environment: bool,
    /// `-v`.
    pub verbosity: u8,
    /// KEYFILE and CERTFILE.
    pub files: Option<Files>,
    /// TLS_UID and TLS_GID.
    pub ids: Option<(u32, u32)>,
    /// `--sandbox`.
    pub sandbox: Demand,
    /// `${PROTO}REMOTEIP` and `${PROTO}REMOTEPORT`.
    pub remote: Option<String>,
}

impl Config {
    /// What surrounds session and keeper.
    pub fn walls(&self) -> Walls {
        Walls { ids: self.ids, demand: self.sandbox, verbosity: self.verbosity }
    }
}

/// Who serves the client inside TLS.
#[derive(Clone, Debug)]
pub enum Inside {
    /// A fresh prog (`--respawn`).
    Respawn,
    /// A TLS server.
    Backend(Backend),
}

/// How TLS begins with the backend (`--backend-tls`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendTls {
    /// From the first byte.
    #[default]
    Implicit,
    /// By the protocol's STARTTLS.
    StartTls,
    /// By STARTTLS if the backend offers it, else not at all.
    Opportunistic,
    /// Not at all.
    None,
}

/// The TLS server at host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Where it listens.
    pub address: Address,
    /// `--backend-tls`.
    pub tls: BackendTls,
    /// `--backend-name`; empty where there is no TLS to verify.
    pub name: String,
    /// `--backend-ca`; `None` is the system's anchors.
    pub anchors: Option<PathBuf>,
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
    options.finish(operands, env).map(|config| Invocation::Run(Box::new(config)))
}

/// The options as they come.
#[derive(Default)]
struct Options {
    protocol: Option<Protocol>,
    require_tls: bool,
    tls_deadline: Option<Duration>,
    respawn: bool,
    implicit: bool,
    backend_tls: BackendTls,
    backend_name: Option<String>,
    backend_ca: Option<PathBuf>,
    no_replay: bool,
    no_advertise: bool,
    handshake_timeout: Option<Duration>,
    tls_min: Lowest,
    keep_environment: bool,
    sandbox: Demand,
    verbosity: Option<u8>,
}

impl Options {
    fn take(&mut self, option: &str, parser: &mut lexopt::Parser) -> Result<(), Error> {
        match option {
            "-r" | "--require-tls" => self.require_tls = true,
            "--tls-deadline" => self.tls_deadline = Some(milliseconds(option, parser)?),
            "-p" | "--protocol" => self.protocol = protocol(&text(option, parser)?)?,
            "--respawn" => self.respawn = true,
            "--implicit" => self.implicit = true,
            "--backend-tls" => self.backend_tls = backend_tls(&text(option, parser)?)?,
            "--backend-name" => self.backend_name = Some(text(option, parser)?),
            "--backend-ca" => self.backend_ca = Some(parser.value().map_err(usage)?.into()),
            "--no-replay" => self.no_replay = true,
            "--no-advertise" => self.no_advertise = true,
            "-K" => self.handshake_timeout = Some(milliseconds(option, parser)?),
            "--tls-min" => self.tls_min = lowest(&text(option, parser)?)?,
            "--sandbox" => self.sandbox = demand(&text(option, parser)?)?,
            "-Z" => self.keep_environment = true,
            "-z" => self.keep_environment = false,
            "-v" => self.verbosity = Some(number(option, parser)?),
            _ => return Err(Error::Usage(format!("unknown option {option}: {SYNOPSIS}"))),
        }
        Ok(())
    }

    fn finish(self, operands: Vec<OsString>, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Config, Error> {
        let (inside, prog) = self.inside(operands)?;
        if prog.is_empty() {
            return Err(Error::Usage(format!("no prog to run: {SYNOPSIS}")));
        }
        Ok(Config {
            inside,
            prog,
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
            files: files(env),
            ids: ids(env)?,
            sandbox: self.sandbox,
            remote: remote(env),
        })
    }

    fn inside(&self, mut operands: Vec<OsString>) -> Result<(Inside, Vec<OsString>), Error> {
        if self.respawn || self.implicit {
            if self.backend_name.is_some() || self.backend_ca.is_some() {
                let what = "--respawn and --implicit have no backend: leave out --backend-name and --backend-ca";
                return Err(Error::Usage(what.into()));
            }
            return Ok((Inside::Respawn, operands));
        }
        if operands.len() < 3 {
            return Err(Error::Usage(format!("host, port and prog are needed: {SYNOPSIS}")));
        }
        let prog = operands.split_off(2);
        let port = operands.pop().unwrap_or_default();
        let address = Address::from_operands(&operands.pop().unwrap_or_default(), &port)?;
        let name = self.backend_name.clone().or_else(|| address.host().map(str::to_owned));
        if name.is_none() && self.backend_tls != BackendTls::None {
            return Err(Error::Usage(format!("{address} has no name to verify: give --backend-name")));
        }
        let name = name.unwrap_or_default();
        let backend = Backend { address, tls: self.backend_tls, name, anchors: self.backend_ca.clone() };
        Ok((Inside::Backend(backend), prog))
    }
}

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

fn text(option: &str, parser: &mut lexopt::Parser) -> Result<String, Error> {
    parser.value().map_err(usage)?.into_string().map_err(|_| Error::Usage(format!("{option} wants UTF-8")))
}

fn number<T: std::str::FromStr>(option: &str, parser: &mut lexopt::Parser) -> Result<T, Error> {
    let value = text(option, parser)?;
    value.parse().map_err(|_| Error::Usage(format!("{option} wants a number, not {value}")))
}

fn milliseconds(option: &str, parser: &mut lexopt::Parser) -> Result<Duration, Error> {
    let milliseconds: u32 = number(option, parser)?;
    Ok(Duration::from_millis(milliseconds.into()))
}

fn protocol(name: &str) -> Result<Option<Protocol>, Error> {
    if name == "auto" {
        return Ok(None);
    }
    let found = PROTOCOLS.iter().copied().find(|protocol| protocol.name == name);
    let names = || PROTOCOLS.iter().map(|protocol| protocol.name).collect::<Vec<_>>().join(", ");
    found.map(Some).ok_or_else(|| Error::Usage(format!("--protocol wants auto or one of {}, not {name}", names())))
}

fn lowest(version: &str) -> Result<Lowest, Error> {
    match version {
        "1.2" => Ok(Lowest::V1_2),
        "1.3" => Ok(Lowest::V1_3),
        _ => Err(Error::Usage(format!("--tls-min wants 1.2 or 1.3, not {version}"))),
    }
}

fn backend_tls(mode: &str) -> Result<BackendTls, Error> {
    match mode {
        "implicit" => Ok(BackendTls::Implicit),
        "starttls" => Ok(BackendTls::StartTls),
        "opportunistic" => Ok(BackendTls::Opportunistic),
        "none" => Ok(BackendTls::None),
        _ => Err(Error::Usage(format!("--backend-tls wants implicit, starttls, opportunistic or none, not {mode}"))),
    }
}

fn demand(word: &str) -> Result<Demand, Error> {
    match word {
        "try" => Ok(Demand::Try),
        "require" => Ok(Demand::Require),
        _ => Err(Error::Usage(format!("--sandbox wants try or require, not {word}"))),
    }
}

fn files(env: &dyn Fn(&str) -> Option<OsString>) -> Option<Files> {
    Some(Files { key: env("KEYFILE")?.into(), chain: env("CERTFILE")?.into() })
}

fn ids(env: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<(u32, u32)>, Error> {
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

fn remote(env: &dyn Fn(&str) -> Option<OsString>) -> Option<String> {
    let proto = env("PROTO").map_or_else(|| "TCP".into(), |proto| proto.to_string_lossy().into_owned());
    let ip = env(&format!("{proto}REMOTEIP"))?.into_string().ok()?;
    let port = env(&format!("{proto}REMOTEPORT")).and_then(|port| port.into_string().ok());
    let ip = if ip.contains(':') { format!("[{ip}]") } else { ip };
    Some(port.map_or_else(|| ip.clone(), |port| format!("{ip}:{port}")))
}

fn usage(why: lexopt::Error) -> Error {
    Error::Usage(format!("{why}: {SYNOPSIS}"))
}

/// The synopsis, for who got it wrong.
pub const SYNOPSIS: &str =
    "starttls-wrapper [options] host port prog..., or --respawn prog..., or --implicit prog...; see --help";

/// What `--help` prints.
pub const HELP: &str = "\
usage: starttls-wrapper [options] [--] host port prog...
       starttls-wrapper [options] --respawn [--] prog...
       starttls-wrapper [options] --implicit [--] prog...

Runs prog, a mail server that knows no TLS, for the client at descriptors 0 and 1, and adds STARTTLS.
After STARTTLS the client speaks to the TLS server at host and port, or with --respawn to a fresh prog.
host is a name, an IPv4 address, an [IPv6] address, or unix:/path with - for the port.

dialogue:
  -r, --require-tls      refuse everything but the opening words before TLS
      --tls-deadline MS  with -r: close if there is no STARTTLS by then (60000)
  -p, --protocol NAME    auto, or a protocol's name (auto: by prog's greeting)
      --no-replay        never replay to the TLS server what the client said before TLS
      --no-advertise     do not add STARTTLS to the server's capabilities
inside TLS:
      --respawn          run prog again; TLS ends here, SSL_* tell prog of it
      --implicit         TLS from the first byte (ports 465, 993, 995): prog runs inside TLS only
      --backend-tls MODE implicit, starttls, opportunistic (plaintext if not offered) or none (implicit)
      --backend-name N   the name the TLS server must prove (host)
      --backend-ca FILE  its trust anchors, in PEM (the system's)
TLS with the client:
  -K MS                  handshake timeout (30000)
      --tls-min 1.2|1.3  lowest version (1.2)
the rest:
  -Z, -z                 keep the wrapper's variables in prog's environment; remove them (-z)
      --sandbox WORD     without Landlock or seccomp: try goes on, require does not (try)
  -v N                   0 fatal, 1 warnings, 2 one line a session, 3 transcript (1)
      --help, --version

environment: KEYFILE, CERTFILE: the server's key and certificate chain; TLS_UID, TLS_GID (root): who reads the network
";

/// Long enough for a person at a keyboard, short enough that idlers do not fill the super-server.
const TLS_DEADLINE: Duration = Duration::from_secs(60);

/// As tlswrapper has it; nginx's stream module waits 60 s.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// Read from the environment; names and paths are no business of prog's.
const OWN_VARIABLES: &[&str] = &["KEYFILE", "CERTFILE", "CAFILE", "CADIR", "TLS_UID", "TLS_GID"];

/// Written into the environment of the prog inside TLS.
const TLS_FACTS: &[&str] = &["SSL_PROTOCOL", "SSL_CIPHER", "SSL_TLS_SNI_SERVERNAME"];
