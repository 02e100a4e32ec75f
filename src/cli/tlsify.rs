//! The command line of tlsify.

use std::ffi::OsString;
use std::path::PathBuf;

use super::values::Argument;
use super::words::{self, Words};
use super::{Invocation, environment};
use crate::address::Address;
use crate::client::{UCSPI_READ, UCSPI_WRITE};
use crate::config::{Backend, BackendTls, Config, Inside, Proxy, Sni};
use crate::keys::Files;
use crate::message::Error;
use crate::proxy::Version;

/// The synopsis, for who got it wrong.
pub const SYNOPSIS: &str = "tlsify [options] host port [prog...]; see --help";

/// What `--help` prints.
pub const HELP: &str = "\
usage: tlsify [options] [--] host port
       tlsify [options] [--] host port prog...

Connects to the server at host and port, makes sure who it is, and speaks TLS with it for a program that knows none:
for whoever has descriptors 0 and 1, or for prog, which has the plaintext side as descriptors 6 and 7.
host is a name, an IPv4 address, an [IPv6] address, or unix:/path with - for the port.

how TLS begins:
      --tls MODE         implicit, from the first byte; starttls; either: STARTTLS, or if it is not offered from the
                         first byte at --implicit-port; opportunistic: STARTTLS, or if it is not offered plaintext
                         (implicit)
      --implicit-port N  with --tls either: the other port
  -p, --protocol NAME    whose STARTTLS it is, and the ALPN name that is offered (none)
who the server is:
      --name N           the name it must prove (host); several: any of them
      --sni N, --no-sni  the name it is asked for; none (the first --name)
      --ca FILE          trust anchors, in PEM (the system's)
      --pin sha256//BASE64
                         its public key; several: any of them; without --ca no chain is needed
who this client is:
      --cert FILE, --key FILE
                         the certificate to show, and its key (TLS 1.3 only)
      --proxy-protocol V v1 or v2: tell by a PROXY header, before TLS, who is at descriptor 0
      --proxy-inside     send that header inside TLS
TLS:
      --tls-min 1.2|1.3  lowest version (1.2)
      --pq               a key exchange that a quantum computer does not undo, or none
  -T MS                  connection timeout (10000)
  -K MS                  timeout from the connection to the end of the handshake (30000)
  -S, -s                 end with close_notify; without (-S)
  -J, -j                 the server's end without close_notify is an error; is none (-j)
the rest:
      --control FD       tell there what was negotiated, then how it ended
  -Z, -z                 keep the wrapper's variables in prog's environment; remove them (-z)
      --sandbox WORD     without Landlock or seccomp: try goes on, require does not (try)
  -v N                   0 fatal, 1 warnings, 2 one line a session, 3 transcript (1)
      --check            no session: say whether there would be one, a line for each part
      --help, --version

environment:
  TLS_UID, TLS_GID       root only: who reads the network
";

/// Reads the command line (without the program's name) and the environment.
///
/// # Errors
/// [`Error::Usage`] for the command line, [`Error::Environment`] for a variable.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Invocation, Error> {
    let mut options = Options::default();
    Ok(match words::read(args, SYNOPSIS, &["--check"], &mut |argument| options.take(argument))? {
        Words::Help => Invocation::Help,
        Words::Version => Invocation::Version,
        Words::Given { operands, check } => {
            let own = check.map(|mut words| {
                words.truncate(words.len() - operands.len());
                words.extend(operands.iter().take(2).cloned());
                words
            });
            let config = Box::new(options.finish(operands, env)?);
            match own {
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
    server: Backend,
    mode: Mode,
    implicit_port: Option<u16>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    proxy_version: Option<Version>,
    proxy_inside: bool,
}

/// How TLS begins (`--tls`).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Implicit,
    StartTls,
    Either,
    Opportunistic,
}

impl Options {
    fn take(&mut self, argument: &mut Argument<'_>) -> Result<(), Error> {
        let Self { config, server, .. } = self;
        match argument.option {
            "--tls" => self.mode = mode(&argument.text()?)?,
            "--implicit-port" => self.implicit_port = Some(argument.number()?),
            "-p" | "--protocol" => config.protocol = argument.protocol(config.protocols)?,
            "--name" => server.names.push(argument.text()?),
            "--sni" => server.sni = Sni::Name(argument.text()?),
            "--no-sni" => server.sni = Sni::None,
            "--ca" => server.anchors = Some(argument.path()?),
            "--pin" => server.pins.extend(argument.pins()?),
            "--cert" => self.cert = Some(argument.path()?),
            "--key" => self.key = Some(argument.path()?),
            "--proxy-protocol" => self.proxy_version = Some(argument.proxy_version()?),
            "--proxy-inside" => self.proxy_inside = true,
            "--tls-min" => config.tls.min_version = argument.min_version()?,
            "--pq" => server.hybrid = true,
            "-T" => server.connect_timeout = argument.milliseconds()?,
            "-K" => config.tls.handshake_timeout = argument.milliseconds()?,
            "-S" => server.close_notify = true,
            "-s" => server.close_notify = false,
            "-J" => config.tls.cut_is_error = true,
            "-j" => config.tls.cut_is_error = false,
            "--control" => config.control = Some(argument.number()?),
            "--sandbox" => config.sandbox.mode = argument.sandbox_mode()?,
            "-Z" => config.keep_environment = true,
            "-z" => config.keep_environment = false,
            "-v" => config.verbosity = argument.number()?,
            _ => return Err(argument.unknown()),
        }
        Ok(())
    }

    /// What the options make together with the operands and the environment.
    fn finish(mut self, operands: Vec<OsString>, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Config, Error> {
        self.server(operands)?;
        self.check_control()?;
        let mut config = self.config;
        config.proxy = match self.proxy_version {
            None if self.proxy_inside => return Err(Error::Usage("--proxy-inside needs --proxy-protocol".into())),
            version => version.map(|version| Proxy { version, inside: self.proxy_inside }),
        };
        config.inside = Inside::Called(self.server);
        config.sandbox.ids = environment::ids(env)?;
        environment::read_client(&mut config, env);
        Ok(config)
    }

    fn server(&mut self, mut operands: Vec<OsString>) -> Result<(), Error> {
        if operands.len() < 2 {
            return Err(Error::Usage(format!("host and port are needed: {SYNOPSIS}")));
        }
        self.config.prog = operands.split_off(2);
        let port = operands.pop().unwrap_or_default();
        let server = &mut self.server;
        server.address = Address::from_operands(&operands.pop().unwrap_or_default(), &port)?;
        if server.names.is_empty() {
            server.names.extend(server.address.host().map(str::to_owned));
        }
        if server.names.is_empty() {
            return Err(Error::Usage(format!("{} has no name to verify: give --name", server.address)));
        }
        // The first name is the usual one, and exim takes an offer of one only.
        server.alpn = self.config.protocol.and_then(|protocol| protocol.alpn.first().copied());
        server.client_cert = match (self.cert.take(), self.key.take()) {
            (Some(chain), Some(key)) => Some(Files { key, chain }),
            (None, None) => None,
            _ => return Err(Error::Usage("--cert and --key belong together: give both or neither".into())),
        };
        self.server.tls = self.tls()?;
        Ok(())
    }

    fn tls(&self) -> Result<BackendTls, Error> {
        let wrong = |what: &str| Err(Error::Usage(what.into()));
        if self.mode != Mode::Implicit && self.config.protocol.is_none() {
            return wrong("STARTTLS needs --protocol");
        }
        match (self.mode, self.implicit_port.filter(|port| *port != 0)) {
            (Mode::Either, Some(_)) if self.server.address.host().is_none() => wrong("--tls either needs a host"),
            (Mode::Either, Some(port)) => Ok(BackendTls::Either(port)),
            (Mode::Either, None) => wrong("--tls either needs --implicit-port"),
            (_, Some(_)) => wrong("--implicit-port needs --tls either"),
            (Mode::Implicit, None) => Ok(BackendTls::Implicit),
            (Mode::StartTls, None) => Ok(BackendTls::StartTls),
            (Mode::Opportunistic, None) => Ok(BackendTls::Opportunistic),
        }
    }

    /// The channel is none of the standard descriptors, nor of prog's.
    fn check_control(&self) -> Result<(), Error> {
        match self.config.control {
            Some(UCSPI_READ | UCSPI_WRITE) if !self.config.prog.is_empty() => {
                Err(Error::Usage("--control wants a descriptor that is not prog's: neither 6 nor 7".into()))
            }
            Some(number) if number <= 2 => Err(Error::Usage("--control wants a descriptor above 2".into())),
            _ => Ok(()),
        }
    }
}

fn mode(word: &str) -> Result<Mode, Error> {
    match word {
        "implicit" => Ok(Mode::Implicit),
        "starttls" => Ok(Mode::StartTls),
        "either" => Ok(Mode::Either),
        "opportunistic" => Ok(Mode::Opportunistic),
        _ => Err(Error::Usage(format!("--tls wants implicit, starttls, either or opportunistic, not {word}"))),
    }
}
