//! argv and environment become a [`Config`]. The only door to lexopt.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use lexopt::prelude::*;
use starttls_protocols::{PROTOCOLS, Protocol};

use crate::address::Address;
use crate::keys::{Authorities, Files};
use crate::message::Error;
use crate::names::{Level, Names};
use crate::proxy::{Ends, Version};
use crate::sandbox::{Demand, Walls};
use crate::tls::{ClientAuth, Lowest, Pin};
use crate::ucspi::{self, Numbers};

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

/// Everything an administrator decides.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who serves the client inside TLS.
    pub inside: Inside,
    /// The server that knows no TLS, and its arguments.
    pub prog: Vec<OsString>,
    /// `--connect`: that server is here instead, and `prog` is empty.
    pub connect: Option<Address>,
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
    /// KEYFILE and CERTFILE, with or without a server name, and `-k`.
    pub names: Names,
    /// `-Y`, `-y`.
    pub client_auth: ClientAuth,
    /// CADIR or CAFILE, if `-Y` or `-y` is given.
    pub authorities: Option<Authorities>,
    /// `-S`: the last word in TLS is close_notify.
    pub close_notify: bool,
    /// `-J`: an end without close_notify is an error.
    pub cut_is_error: bool,
    /// TLS_UID and TLS_GID.
    pub ids: Option<(u32, u32)>,
    /// `--sandbox`.
    pub sandbox: Demand,
    /// `PROTO`, with which the names of the client's variables begin.
    pub proto: String,
    /// `${PROTO}REMOTEIP` and `${PROTO}REMOTEPORT`.
    pub remote: Option<String>,
    /// The same with `${PROTO}LOCALIP` and `${PROTO}LOCALPORT`, if all are there.
    pub ends: Option<Ends>,
    /// `--proxy-protocol`.
    pub proxy: Option<Proxy>,
    /// `--accept-proxy`.
    pub accept_proxy: bool,
    /// SSLCTLFD, SSLREADFD and SSLWRITEFD: TLS with the client is a UCSPI-TLS server's affair.
    pub ucspi: Option<Numbers>,
}

/// The PROXY header for the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// `--proxy-protocol`.
    pub version: Version,
    /// `--proxy-inside`: it is sent inside TLS.
    pub inside: bool,
}

impl Config {
    /// The server inside TLS begins after the client's handshake, because it is told about it.
    pub fn server_learns_of_tls(&self) -> bool {
        matches!(self.inside, Inside::Respawn) || self.proxy.is_some_and(|proxy| proxy.version == Version::V2)
    }
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
    /// prog itself, which asks for TLS by UCSPI-TLS (`--ucspi-tls`).
    Itself,
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
#[derive(Clone, Debug)]
pub struct Backend {
    /// Where it listens.
    pub address: Address,
    /// `--backend-tls`.
    pub tls: BackendTls,
    /// `--backend-name`; the first one is the SNI. Empty where there is no TLS to verify.
    pub names: Vec<String>,
    /// `--backend-ca`; `None` is the system's anchors, or with `--backend-pin` none.
    pub anchors: Option<PathBuf>,
    /// `--backend-pin`.
    pub pins: Vec<Pin>,
    /// `--backend-cert` and `--backend-key`.
    pub own: Option<Files>,
}

impl Backend {
    /// Whether a chain must vouch for it. Pins alone do without, pins beside `--backend-ca` do not.
    pub fn needs_chain(&self) -> bool {
        self.pins.is_empty() || self.anchors.is_some()
    }

    /// What it has proved when TLS stands, in a word for the session line.
    pub fn proof(&self) -> &'static str {
        if self.needs_chain() { "verified" } else { "pinned" }
    }
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
            authorities: authorities(self.client_auth, env)?,
            client_auth: self.client_auth,
            close_notify: !self.no_close_notify,
            cut_is_error: self.cut_is_error,
            ids: ids(env)?,
            sandbox: self.sandbox,
            remote: remote(&proto, env),
            ends: ends(&proto, env),
            proto,
            proxy,
            accept_proxy: self.accept_proxy,
            ucspi: if self.ucspi_tls { None } else { ucspi(env)? },
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

fn path(parser: &mut lexopt::Parser) -> Result<PathBuf, Error> {
    parser.value().map(PathBuf::from).map_err(usage)
}

/// As `curl --pinnedpubkey` takes them: one, or several with `;` between.
fn pins(list: &str) -> Result<Vec<Pin>, Error> {
    let wrong = || Error::Usage(format!("--backend-pin wants sha256//BASE64 of 32 bytes, not {list}"));
    let pin = |text: &str| {
        let mut pin = Pin::default();
        let decoded = Base64::decode(text.strip_prefix("sha256//")?, &mut pin).ok()?;
        (decoded.len() == pin.len()).then_some(pin)
    };
    list.split(';').map(|text| pin(text).ok_or_else(wrong)).collect()
}

/// As in s6-tlsd, the directory wins.
fn authorities(auth: ClientAuth, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<Authorities>, Error> {
    if auth == ClientAuth::None {
        return Ok(None);
    }
    let directory = env("CADIR").map(|path| Authorities::Directory(path.into()));
    let found = directory.or_else(|| env("CAFILE").map(|path| Authorities::File(path.into())));
    let missing = "-Y and -y want the clients' trust anchors: set CADIR or CAFILE";
    found.map(Some).ok_or_else(|| Error::Environment(missing.into()))
}

fn demand(word: &str) -> Result<Demand, Error> {
    match word {
        "try" => Ok(Demand::Try),
        "require" => Ok(Demand::Require),
        _ => Err(Error::Usage(format!("--sandbox wants try or require, not {word}"))),
    }
}

fn proxy_version(name: &str) -> Result<Version, Error> {
    match name {
        "v1" => Ok(Version::V1),
        "v2" => Ok(Version::V2),
        _ => Err(Error::Usage(format!("--proxy-protocol wants v1 or v2, not {name}"))),
    }
}

fn ucspi(env: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<Numbers>, Error> {
    let values = ucspi::VARIABLES.map(env);
    Numbers::of(values.each_ref().map(|value| value.as_ref().map(|value| value.to_str().unwrap_or_default())))
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

fn remote(proto: &str, env: &dyn Fn(&str) -> Option<OsString>) -> Option<String> {
    let ip = env(&format!("{proto}REMOTEIP"))?.into_string().ok()?;
    let port = env(&format!("{proto}REMOTEPORT")).and_then(|port| port.into_string().ok());
    let ip = if ip.contains(':') { format!("[{ip}]") } else { ip };
    Some(port.map_or_else(|| ip.clone(), |port| format!("{ip}:{port}")))
}

fn ends(proto: &str, env: &dyn Fn(&str) -> Option<OsString>) -> Option<Ends> {
    let end = |side: &str| {
        let ip = env(&format!("{proto}{side}IP"))?.to_str()?.parse().ok()?;
        let port = env(&format!("{proto}{side}PORT"))?.to_str()?.parse().ok()?;
        Some(SocketAddr::new(ip, port))
    };
    Some(Ends { client: end("REMOTE")?, server: end("LOCAL")? })
}

fn usage(why: lexopt::Error) -> Error {
    Error::Usage(format!("{why}: {SYNOPSIS}"))
}

/// The synopsis, for who got it wrong.
pub const SYNOPSIS: &str = "starttls-wrapper [options] host port prog..., --respawn prog..., --implicit prog..., --ucspi-tls prog...; see --help";

/// What `--help` prints.
pub const HELP: &str = "\
usage: starttls-wrapper [options] [--] host port prog...
       starttls-wrapper [options] --respawn [--] prog...
       starttls-wrapper [options] --implicit [--] prog...
       starttls-wrapper [options] --ucspi-tls [--] prog...

Runs prog, a mail server that knows no TLS, for the client at descriptors 0 and 1, and adds STARTTLS.
After STARTTLS the client speaks to the TLS server at host and port, or with --respawn to a fresh prog.
host is a name, an IPv4 address, an [IPv6] address, or unix:/path with - for the port.

dialogue:
  -r, --require-tls      refuse everything but the opening words before TLS
      --tls-deadline MS  with -r: close if there is no STARTTLS by then (60000)
  -p, --protocol NAME    auto, or a protocol's name (auto: by prog's greeting)
      --no-replay        never replay to the TLS server what the client said before TLS
      --no-advertise     do not add STARTTLS to the server's capabilities
the plaintext server:
      --connect H:P      reached at host H and port P, [IPv6]:P or unix:/path, in place of prog
inside TLS:
      --respawn          run prog again; TLS ends here, SSL_* tell prog of it
      --implicit         TLS from the first byte (ports 465, 993, 995): prog runs inside TLS only
      --ucspi-tls        prog asks for TLS itself: SSLCTLFD, SSLREADFD, SSLWRITEFD in its environment
      --backend-tls MODE implicit, starttls, opportunistic (plaintext if not offered) or none (implicit)
      --backend-name N   the name the TLS server must prove (host); several: any of them
      --backend-ca FILE  its trust anchors, in PEM (the system's)
      --backend-pin sha256//BASE64
                         its public key; several: any of them; without --backend-ca no chain is needed
      --backend-cert FILE, --backend-key FILE
                         the certificate to show to it, and its key (TLS 1.3 only)
who the client is:
      --proxy-protocol V v1 or v2: tell the TLS server by a PROXY header, before TLS
      --proxy-inside     send that header inside TLS
      --accept-proxy     the client's first bytes are a PROXY header, from who stands before us
TLS with the client:
  -k 0|1|2               server names: ignore; or the default certificate; named ones only (1)
  -Y, -y                 ask for a client certificate; demand one
  -S, -s                 end with close_notify; without (-S)
  -J, -j                 the client's end without close_notify is an error; is none (-j)
  -K MS                  handshake timeout (30000)
      --tls-min 1.2|1.3  lowest version (1.2)
the rest:
  -Z, -z                 keep the wrapper's variables in prog's environment; remove them (-z)
      --sandbox WORD     without Landlock or seccomp: try goes on, require does not (try)
  -v N                   0 fatal, 1 warnings, 2 one line a session, 3 transcript (1)
      --check            no session: say whether the configuration would serve, a line for each part
      --help, --version

environment:
  KEYFILE, CERTFILE      the server's key and certificate chain, or several of both
  KEYFILE:name, CERTFILE:name
                         those of a server name; its first label may be *
  CADIR, CAFILE          who may vouch for a client: files named by hash; one file
  TLS_UID, TLS_GID       root only: who reads the network
  SSLCTLFD, SSLREADFD, SSLWRITEFD
                         TLS with the client is left to the UCSPI-TLS server that set them; no key is needed
";

/// Long enough for a person at a keyboard, short enough that idlers do not fill the super-server.
const TLS_DEADLINE: Duration = Duration::from_secs(60);

/// As tlswrapper has it; nginx's stream module waits 60 s.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_written_as_curl_takes_it() {
        let pin = "sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let bytes: Pin = std::array::from_fn(|place| place as u8);
        assert_eq!(pins(pin).unwrap(), [bytes]);
        assert_eq!(pins(&format!("{pin};{pin}")).unwrap(), [bytes, bytes]);
        for wrong in
            ["", "sha256//", "sha256//AAEC", "sha1//AAEC", &pin[..pin.len() - 1], &format!("{pin};"), &pin[8..]]
        {
            assert_eq!(pins(wrong).expect_err(wrong).exit_code(), 100);
        }
    }
}
