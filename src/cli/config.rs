//! Everything an administrator decides.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use starttls_protocols::Protocol;

use crate::address::Address;
use crate::keys::{Authorities, Files};
use crate::names::Names;
use crate::proxy::{Ends, Version};
use crate::sandbox::{Demand, Walls};
use crate::tls::{ClientAuth, Lowest, Pin};
use crate::ucspi::Numbers;

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

impl Config {
    /// The server inside TLS begins after the client's handshake, because it is told about it.
    pub fn server_learns_of_tls(&self) -> bool {
        matches!(self.inside, Inside::Respawn) || self.proxy.is_some_and(|proxy| proxy.version == Version::V2)
    }

    /// What surrounds session and keeper.
    pub fn walls(&self) -> Walls {
        Walls { ids: self.ids, demand: self.sandbox, verbosity: self.verbosity }
    }
}

/// The PROXY header for the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// `--proxy-protocol`.
    pub version: Version,
    /// `--proxy-inside`: it is sent inside TLS.
    pub inside: bool,
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
