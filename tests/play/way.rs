//! The ways to play a dialogue, whoever plays it.

use starttls_protocols::PROTOCOLS;

use super::{Dialogue, Event, Mode, Party, Step};

/// Where the server inside TLS may come from.
pub(crate) const MODES: [Mode; 2] = [Mode::Respawn, Mode::HostPort];

/// One of the ways to play a dialogue; each player cuts what is said in its own manner.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<Cut> {
    pub(crate) mode: Mode,
    pub(crate) cut: Cut,
    pub(crate) failure: Failure,
}

/// Why the TLS server is not available, where it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It cannot be reached, or the key cannot be read.
    Unreachable,
    /// Its greeting is a refusal.
    Refuses,
    /// It closes before it has greeted, or does not greet in time.
    Closes,
}

const FAILURES: [Failure; 3] = [Failure::Unreachable, Failure::Refuses, Failure::Closes];

impl Dialogue {
    /// Whether it goes like this in this mode.
    pub(crate) fn is_for(&self, mode: Mode) -> bool {
        self.options.mode.is_none_or(|only| only == mode)
    }

    /// Every reason to play it for: all of them where the TLS server is not available, else one that never applies.
    /// A server that does not greet cannot greet wrongly.
    pub(crate) fn failures(&self) -> &'static [Failure] {
        let fails = self.steps.iter().any(|step| step.event == Event::Unavailable) && !self.is_client_first();
        FAILURES.get(..if fails { FAILURES.len() } else { 1 }).unwrap_or_default()
    }

    /// The protocol, where it must be named: LMTP greets as SMTP does, and some servers do not greet.
    pub(crate) fn named_protocol(&self) -> Option<&str> {
        let needs_name = self.protocol == "lmtp" || self.is_client_first();
        self.options.protocol.as_deref().or(needs_name.then_some(&self.protocol))
    }

    /// Whether the server says nothing before the client does.
    pub(crate) fn is_client_first(&self) -> bool {
        PROTOCOLS.iter().any(|protocol| protocol.name == self.protocol && protocol.is_client_first())
    }

    /// What the server says first inside TLS; if the dialogue does not come to that, what the first server said.
    pub(crate) fn greeting_inside(&self) -> Vec<u8> {
        let is_tls = |step: &Step| matches!(step.event, Event::Tls(_));
        let tls = self.steps.iter().position(is_tls).map_or(0, |at| at + 1);
        let greeting = self.steps.iter().skip(tls).map_while(|step| match &step.event {
            Event::Says(Party::Server, bytes) => Some(bytes.as_slice()),
            _ => None,
        });
        greeting.collect::<Vec<_>>().concat()
    }

    /// Whether this step is a piece of that greeting: a server at `host port` says it before the go-ahead.
    pub(crate) fn greets_inside(&self, at: usize) -> bool {
        let says = |step: &&Step| matches!(step.event, Event::Says(Party::Server, _));
        let mut before = self.steps.iter().take(at + 1).rev().skip_while(says);
        let tls = before.next().is_some_and(|step| matches!(step.event, Event::Tls(_)));
        tls && self.steps.get(at).as_ref().is_some_and(says)
    }
}

/// How a server of this protocol greets whom it will not serve.
pub(crate) fn refusal(protocol: &str) -> &'static [u8] {
    match protocol {
        "pop3" => b"-ERR busy\r\n",
        "imap" => b"* BYE busy\r\n",
        "sieve" => b"BYE \"busy\"\r\n",
        "nntp" => b"400 busy\r\n",
        "smtp" | "lmtp" => b"421 busy\r\n",
        _ => panic!("how does a server of {protocol} refuse to serve?"),
    }
}
