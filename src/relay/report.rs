//! What is said of a session when it is over, and the exit status it leaves.

use std::fmt::{self, Display};
use std::time::Instant;

use starttls_protocols::Protocol;

use crate::facts::Facts;
use crate::message::{Log, Quoted};
use crate::proxy::Ends;
use starttls_protocols::session::{Outcome, Replayed};

/// What is known of a session.
pub struct Report {
    /// Both ends of the client's connection, if they are known.
    pub ends: Option<Ends>,
    pub(super) from_client: u64,
    pub(super) to_client: u64,
    identity: &'static str,
    began: Instant,
    ending: Ending,
    /// TLS with the client, or with the server that is called, once it stands.
    pub(super) facts: Option<Facts>,
    pub(super) backend: Option<&'static str>,
    cut: bool,
}

/// How the session stands, or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Plaintext,
    Tls,
    Refused,
    Deadline,
    HandshakeFailed,
    HandshakeTimeout,
    Stalled,
    ServerFailed,
    Unused,
}

impl Report {
    /// A session that begins now. `identity` is how the server inside TLS learns who the client is.
    pub fn new(ends: Option<Ends>, identity: &'static str) -> Self {
        Self {
            ends,
            from_client: 0,
            to_client: 0,
            identity,
            began: Instant::now(),
            ending: Ending::Plaintext,
            facts: None,
            backend: None,
            cut: false,
        }
    }

    /// The client left before its first byte, where that must come first, as a health check does.
    pub(super) fn left_unused(&mut self) {
        self.ending = Ending::Unused;
    }

    /// The client was refused, and left.
    pub(super) fn left_refused(&mut self) {
        if self.ending == Ending::Plaintext {
            self.ending = Ending::Refused;
        }
    }

    /// When the session began.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    pub(super) fn handshake_done(&mut self, facts: Facts) {
        self.ending = Ending::Tls;
        self.facts = Some(facts);
    }

    /// How sure it is who the backend is: `verified`, `pinned` or `plaintext`.
    pub(super) fn reached(&mut self, backend: &'static str) {
        self.backend = Some(backend);
    }

    /// The backend was reached without TLS.
    pub(super) fn is_in_plaintext(&self) -> bool {
        self.backend == Some("plaintext")
    }

    /// A side broke TLS, or left without a word where that is an error.
    pub(super) fn cut(&mut self) {
        self.cut = true;
    }

    pub(super) fn handshake_failed(&mut self, timed_out: bool) {
        self.ending = if timed_out { Ending::HandshakeTimeout } else { Ending::HandshakeFailed };
    }

    /// A side has stopped reading.
    pub(super) fn stalled(&mut self) {
        self.ending = Ending::Stalled;
    }

    pub(super) fn closed(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::ServerClosed => {}
            Outcome::Refused => self.ending = Ending::Refused,
            Outcome::Deadline => self.ending = Ending::Deadline,
            Outcome::ServerFailed => self.ending = Ending::ServerFailed,
        }
    }

    pub(super) fn carried(&mut self, from_client: u64, to_client: u64) {
        self.from_client += from_client;
        self.to_client += to_client;
    }

    /// A header that could not tell who the client is lost it.
    fn identity(&self) -> &'static str {
        if self.identity == "proxy" && self.ends.is_none() { "lost" } else { self.identity }
    }

    /// The exit status: zero leaves it to prog.
    pub(super) fn status(&self) -> u8 {
        match self.ending {
            Ending::Plaintext | Ending::Tls | Ending::Refused if self.cut => 98,
            Ending::Plaintext | Ending::Tls | Ending::Refused | Ending::Unused => 0,
            Ending::HandshakeFailed => 98,
            Ending::Deadline | Ending::HandshakeTimeout | Ending::Stalled => 99,
            Ending::ServerFailed => 111,
        }
    }

    /// Writes the session line (`-v 2`).
    pub(super) fn write(&self, log: &Log, protocol: Option<Protocol>, replayed: Replayed) {
        let client = log.client.as_deref().unwrap_or("unknown");
        log.session(Line { client, report: self, protocol, replayed });
    }
}

/// The session line.
struct Line<'a> {
    /// `192.0.2.1:4711`, or `unknown`.
    client: &'a str,
    report: &'a Report,
    protocol: Option<Protocol>,
    replayed: Replayed,
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { from_client, to_client, began, ending, facts, backend, .. } = self.report;
        let protocol = self.protocol.map_or("unknown", |protocol| protocol.name);
        write!(f, "client={} protocol={protocol} outcome={ending}", Quoted(self.client.as_bytes()))?;
        if let Some(facts) = facts {
            write!(f, " identity={} {facts} client-cert={}", self.report.identity(), facts.certificate.word())?;
            if let Some(backend) = backend {
                write!(f, " backend={backend}")?;
            }
            write!(f, " replay={}", what_became(self.replayed))?;
        }
        write!(f, " in={from_client} out={to_client} ms={}", began.elapsed().as_millis())
    }
}

impl Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plaintext => "plaintext",
            Self::Tls => "tls",
            Self::Refused => "refused",
            Self::Deadline => "deadline",
            Self::HandshakeFailed => "handshake-failed",
            Self::HandshakeTimeout => "handshake-timeout",
            Self::Stalled => "stalled",
            Self::ServerFailed => "server-failed",
            Self::Unused => "unused",
        })
    }
}

/// What became of the recorded prefix.
fn what_became(replayed: Replayed) -> &'static str {
    match replayed {
        Replayed::None => "none",
        Replayed::Dropped => "dropped",
        Replayed::Replayed => "replayed",
    }
}
