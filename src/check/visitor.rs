//! The client of a session that is tried: it asks for TLS, begins it, sends what every server accepts, and leaves.

use std::fmt::{self, Display};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use starttls_protocols::session::{ScriptFailure, ScriptedClient, Step, Surplus};
use starttls_protocols::{Policy, Protocol};

use crate::config::Config;
use crate::message::{Error, Quoted};
use crate::side::Side;
use crate::tls::{BackendLegConfig, ClientAuth, Heard, Leg, pin_of};

/// How long the server inside TLS may take for an answer. One that takes longer has proved nothing, good or bad.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How far the visit came.
pub(super) enum Visit {
    /// The server inside TLS answers as it should.
    Served(Protocol),
    /// TLS is granted, and this client goes no further.
    Granted(Protocol),
    /// TLS is granted, and the server inside it does not answer, or leaves.
    Unanswered(Protocol),
}

/// What is wrong with the server that is visited.
pub(super) enum VisitError {
    /// It says nothing.
    Silent,
    /// It closes the connection.
    Closed,
    /// Its greeting is of no protocol.
    UnknownGreeting(Vec<u8>),
    /// It refuses a command with this reply.
    Refused(Vec<u8>),
    /// Its reply cannot be the answer: the line is too long, or plaintext follows it.
    UnexpectedReply,
    /// The handshake failed: why.
    Tls(String),
    /// The same inside TLS.
    Inside(Box<VisitError>),
}

/// Whether this client can begin TLS and say something inside. It has no certificate of its own, and does not know which
/// one a UCSPI-TLS server has.
pub(super) fn enters_tls(config: &Config) -> bool {
    let speaks = config.protocol.is_none_or(|protocol| !protocol.visit.is_empty());
    speaks && config.client_auth != ClientAuth::Demanded && config.ucspi.is_none()
}

/// The whole visit, over a socket that does not wait for ever.
pub(super) fn visit(config: &Config, socket: UnixStream) -> Result<Visit, VisitError> {
    let mut server = Side::from_socket(OwnedFd::from(socket))?;
    if config.accept_proxy {
        server.write(header(config));
    }
    let before = match config.implicit {
        true => None,
        false => Some(run_script(config, &mut server, config.protocol, ScriptedClient::starttls)?),
    };
    if let Some(protocol) = before.filter(|_| !enters_tls(config)) {
        return Ok(Visit::Granted(protocol));
    }
    begin_tls(&mut server, leg(config)?)?;
    if before.is_some() {
        set_socket_timeout(server.input(), Timeout::Recv, Some(ANSWER_TIMEOUT))
            .map_err(Error::system("set a limit"))?;
    }
    let greeted = |protocol: Protocol| before.is_some() && !(protocol.snooper)(Policy::INSIDE).greets_again();
    let visit = |protocol| ScriptedClient::visit(protocol, greeted(protocol));
    match (run_script(config, &mut server, before.or(config.protocol), visit), before) {
        (Ok(protocol), _) => Ok(Visit::Served(protocol)),
        (Err(VisitError::Silent | VisitError::Closed), Some(protocol)) => Ok(Visit::Unanswered(protocol)),
        (Err(wrong), _) => Err(VisitError::Inside(Box::new(wrong))),
    }
}

/// What the load balancer would say. Rules behind it want a client, and the environment may name none; a server that is
/// told on who the client is hears that it is nobody.
fn header(config: &Config) -> &'static [u8] {
    let known = config.proxy.is_some() || config.ucspi_ends.ends(None).is_some();
    if known { b"PROXY UNKNOWN\r\n" } else { b"PROXY TCP4 127.0.0.1 127.0.0.1 1 25\r\n" }
}

/// Sends the commands of a script. Where nobody has named the protocol, the greeting shows it.
fn run_script(
    config: &Config,
    server: &mut Side,
    known: Option<Protocol>,
    script: impl Fn(Protocol) -> ScriptedClient,
) -> Result<Protocol, VisitError> {
    let mut heard = if known.is_none() { hear(server)? } else { Vec::new() };
    let by_greeting = || config.protocols.iter().copied().find(|protocol| protocol.is_greeted_by(&heard));
    let Some(protocol) = known.or_else(by_greeting) else { return Err(VisitError::UnknownGreeting(heard)) };
    let mut client = script(protocol);
    let mut step = if heard.is_empty() { client.begin() } else { client.hears(&heard) };
    loop {
        match step {
            Step::Wait => {}
            Step::Send(line) => server.write(line),
            Step::Done => return Ok(protocol),
            Step::Fail(ScriptFailure::Refused(line) | ScriptFailure::GreetingRefuses(line)) => {
                return Err(VisitError::Refused(line));
            }
            Step::Fail(_) => return Err(VisitError::UnexpectedReply),
        }
        heard = hear(server)?;
        step = client.hears(&heard);
    }
}

fn hear(server: &mut Side) -> Result<Vec<u8>, VisitError> {
    let mut buffer = vec![0; READ_SIZE];
    match server.read(&mut buffer) {
        Ok(Heard::Bytes(count)) => {
            buffer.truncate(count);
            Ok(buffer)
        }
        Ok(Heard::Nothing) => Err(VisitError::Silent),
        Ok(Heard::End | Heard::Cut) | Err(_) => Err(VisitError::Closed),
    }
}

fn begin_tls(server: &mut Side, leg: Leg) -> Result<(), VisitError> {
    match server.begin_tls(leg, Surplus::none()).and_then(|()| server.handshake()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(VisitError::Silent),
        Err(why) => Err(VisitError::Tls(why.to_string())),
    }
}

/// The server is this very program, so the key of its certificate is the proof.
fn leg(config: &Config) -> Result<Leg, VisitError> {
    let files = config.names.all().into_iter().filter_map(|(_, files)| files.ok());
    let pins: Vec<_> =
        files.filter_map(|files| files.certificates().ok()).flatten().filter_map(|one| pin_of(&one)).collect();
    let names = [config.names.example()];
    let leg = BackendLegConfig {
        names: &names,
        anchors: None,
        pins: &pins,
        sni: names.first().map(String::as_str),
        alpn: &[],
        min_version: config.tls.min_version,
        hybrid: false,
        close_notify: true,
        client_cert: None,
    };
    Ok(leg.leg()?)
}

impl From<Error> for VisitError {
    fn from(why: Error) -> Self {
        Self::Tls(why.to_string())
    }
}

impl Display for VisitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("it is silent"),
            Self::Closed => f.write_str("it closed the connection"),
            Self::UnknownGreeting(greeting) => write!(f, "unknown greeting: {}", Quoted(greeting)),
            Self::Refused(line) => write!(f, "it said {}", Quoted(line)),
            Self::UnexpectedReply => f.write_str("unexpected reply while asking for TLS"),
            Self::Tls(why) => write!(f, "TLS with it failed: {}", Quoted(why.as_bytes())),
            Self::Inside(wrong) => write!(f, "inside TLS {wrong}"),
        }
    }
}

/// The most bytes read at a time.
const READ_SIZE: usize = 4096;
