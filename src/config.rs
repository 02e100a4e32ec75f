//! Everything an administrator decides, as types, and the names of the variables among it. [`cli`](crate::cli) reads the
//! command line and the environment into it.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use starttls_protocols::{PROTOCOLS, Protocol};

use crate::address::{Address, CONNECT_TIMEOUT};
use crate::keys::{Authorities, Files};
use crate::names::Names;
use crate::proxy::{UcspiEnds, Version};
use crate::sandbox::Sandbox;
use crate::tls::{ClientAuth, MinVersion, Pin};

mod limits;
mod numbers;
mod variables;

pub use limits::{HALF_CLOSED, LAST_WORDS, Limits, WRITE_STALL};
pub use numbers::DescriptorNumbers;
pub use variables::{DESCRIPTOR_VARIABLES, is_own_variable};

/// Everything an administrator decides.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who serves the client inside TLS.
    pub inside: Inside,
    /// The server that knows no TLS, and its arguments.
    pub prog: Vec<OsString>,
    /// `--connect`: that server is here instead, and `prog` is empty.
    pub connect: Option<Address>,
    /// The protocols of this program.
    pub protocols: &'static [Protocol],
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
    /// The options of TLS.
    pub tls: TlsOptions,
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
    /// How session and keeper are confined (`--sandbox`, TLS_UID, TLS_GID).
    pub sandbox: Sandbox,
    /// `PROTO`, with which the names of the client's variables begin.
    pub proto: String,
    /// `${PROTO}REMOTEIP` and `${PROTO}REMOTEPORT`.
    pub remote: Option<String>,
    /// Both ends of the client's connection, as far as the variables of `PROTO` tell them.
    pub ucspi_ends: UcspiEnds,
    /// `--proxy-protocol`.
    pub proxy: Option<Proxy>,
    /// `--accept-proxy`.
    pub accept_proxy: bool,
    /// `--control`: where it is told what was negotiated, and how it ended.
    pub control: Option<RawFd>,
    /// SSLCTLFD, SSLREADFD and SSLWRITEFD: TLS with the client is a UCSPI-TLS server's affair.
    pub ucspi: Option<DescriptorNumbers>,
    /// The limits for which there is no option.
    pub limits: Limits,
}

impl Config {
    /// The server inside TLS begins after the client's handshake, because it is told about it.
    pub fn server_learns_of_tls(&self) -> bool {
        match self.inside {
            Inside::Respawn => true,
            Inside::Backend(_) => self.proxy.is_some_and(|proxy| proxy.version == Version::V2),
            Inside::Itself | Inside::Called(_) => false,
        }
    }

    /// There is no session without TLS: where it cannot be had, that is the end.
    pub fn needs_tls(&self) -> bool {
        self.implicit || matches!(self.inside, Inside::Itself | Inside::Called(_))
    }
}

impl Default for Config {
    /// What holds where nothing is said.
    fn default() -> Self {
        Self {
            inside: Inside::Respawn,
            prog: Vec::new(),
            connect: None,
            protocols: PROTOCOLS,
            protocol: None,
            implicit: false,
            require_tls: false,
            tls_deadline: TLS_DEADLINE,
            replay: true,
            advertise: true,
            tls: TlsOptions::default(),
            keep_environment: false,
            verbosity: 1,
            names: Names::default(),
            client_auth: ClientAuth::None,
            authorities: None,
            sandbox: Sandbox::default(),
            proto: "TCP".into(),
            remote: None,
            ucspi_ends: UcspiEnds::default(),
            proxy: None,
            accept_proxy: false,
            control: None,
            ucspi: None,
            limits: Limits::default(),
        }
    }
}

/// The options of TLS that hold for client and backend alike.
#[derive(Clone, Copy, Debug)]
pub struct TlsOptions {
    /// `--tls-min`.
    pub min_version: MinVersion,
    /// `-K`.
    pub handshake_timeout: Duration,
    /// `-S`: the last word is close_notify.
    pub close_notify: bool,
    /// `-J`: an end without close_notify is an error.
    pub cut_is_error: bool,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self {
            min_version: MinVersion::default(),
            handshake_timeout: HANDSHAKE_TIMEOUT,
            close_notify: true,
            cut_is_error: false,
        }
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
    /// A TLS server that is called: nobody serves before TLS (tlsify).
    Called(Backend),
}

impl Inside {
    /// The TLS server, if it is another one than prog.
    pub fn backend(&self) -> Option<&Backend> {
        match self {
            Self::Backend(backend) | Self::Called(backend) => Some(backend),
            Self::Respawn | Self::Itself => None,
        }
    }

    /// The client's descriptors are prog's, as they came, until prog asks for TLS.
    pub fn leaves_client_to_prog(&self) -> bool {
        matches!(self, Self::Itself)
    }
}

/// How TLS begins with the backend (`--backend-tls`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendTls {
    /// From the first byte.
    #[default]
    Implicit,
    /// By the protocol's STARTTLS.
    StartTls,
    /// By STARTTLS if the backend offers it, else from the first byte at this port.
    Either(u16),
    /// By STARTTLS if the backend offers it, else not at all.
    Opportunistic,
    /// Not at all.
    None,
}

impl BackendTls {
    /// How many ways there are; each wants a connection of its own.
    pub fn ways(self) -> u8 {
        match self {
            Self::Either(_) | Self::Opportunistic => 2,
            Self::Implicit | Self::StartTls | Self::None => 1,
        }
    }
}

/// The server name that is asked for (SNI).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sni {
    /// The first name that the server may prove.
    #[default]
    First,
    /// This one.
    Name(String),
    /// None.
    None,
}

/// The TLS server at host and port. Its options begin with `--backend-` in starttls-wrapper.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Where it listens.
    pub address: Address,
    /// How long its addresses are tried, all together.
    pub connect_timeout: Duration,
    /// `--tls`.
    pub tls: BackendTls,
    /// `--name`. Empty where there is no TLS to verify.
    pub names: Vec<String>,
    /// `--sni`, `--no-sni`.
    pub sni: Sni,
    /// The ALPN name that is offered.
    pub alpn: Option<&'static [u8]>,
    /// `--ca`; `None` is the system's anchors, or with `--pin` none.
    pub anchors: Option<PathBuf>,
    /// `--pin`.
    pub pins: Vec<Pin>,
    /// `--cert` and `--key`.
    pub client_cert: Option<Files>,
    /// `--pq`: no key exchange but one that a quantum computer does not undo.
    pub hybrid: bool,
    /// The last word to it is close_notify.
    pub close_notify: bool,
}

impl Default for Backend {
    /// A backend without an address yet.
    fn default() -> Self {
        Self {
            address: Address::default(),
            connect_timeout: CONNECT_TIMEOUT,
            tls: BackendTls::default(),
            names: Vec::new(),
            sni: Sni::default(),
            alpn: None,
            anchors: None,
            pins: Vec::new(),
            client_cert: None,
            hybrid: false,
            close_notify: true,
        }
    }
}

impl Backend {
    /// Whether a chain must vouch for it. Pins alone do without, pins beside `--backend-ca` do not. Decided here and
    /// nowhere else: TLS asks for a chain if it is given anchors, and tells what was proved.
    pub fn needs_chain(&self) -> bool {
        self.pins.is_empty() || self.anchors.is_some()
    }

    /// The server name that is sent.
    pub fn sni(&self) -> Option<&str> {
        match &self.sni {
            Sni::First => self.names.first().map(String::as_str),
            Sni::Name(name) => Some(name),
            Sni::None => None,
        }
    }
}

/// Long enough for a person at a keyboard, short enough that idlers do not fill the super-server.
const TLS_DEADLINE: Duration = Duration::from_secs(60);

/// As tlswrapper has it; nginx's stream module waits 60 s.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
