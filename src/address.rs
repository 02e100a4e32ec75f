//! A server's address, and how it is connected to. For the keeper alone.

use std::ffi::{OsStr, OsString};
use std::fmt::{self, Display};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use crate::message::{Error, SystemReason};
use crate::signals::Signals;

mod lookup;
mod race;

pub use race::ATTEMPT_DELAY;

/// How long a server's name is looked up and its addresses are tried, all together, unless another time is
/// asked for. The client waits meanwhile.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A name or an address, and a TCP port.
    Tcp(String, u16),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl Default for Address {
    /// Nowhere.
    fn default() -> Self {
        Self::Unix(PathBuf::new())
    }
}

impl Address {
    /// Two operands: host and port, the host as name, IPv4 or \[IPv6\]; or `unix:/path` and `-`, so that prog is the
    /// third operand always.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn from_operands(host: &OsStr, port: &OsStr) -> Result<Self, Error> {
        let Some(path) = unix(host) else { return Self::tcp(host, port) };
        if port == "-" {
            return Ok(path);
        }
        Err(Error::Usage(format!("the port of {} must be -, not {}", host.display(), port.display())))
    }

    /// One argument: `host:port`, `[IPv6]:port`, or `unix:/path`.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn from_argument(text: &OsStr) -> Result<Self, Error> {
        if let Some(path) = unix(text) {
            return Ok(path);
        }
        let colon = text.as_bytes().iter().rposition(|byte| *byte == b':');
        let split = colon.and_then(|at| text.as_bytes().split_at_checked(at));
        let Some((host, port)) = split else {
            return Err(Error::Usage(format!("{} is neither HOST:PORT nor unix:/path", text.display())));
        };
        if host.contains(&b':') && !host.starts_with(b"[") {
            return Err(Error::Usage(format!("an IPv6 address stands in brackets: [::1]:25, not {}", text.display())));
        }
        Self::tcp(OsStr::from_bytes(host), OsStr::from_bytes(port.get(1..).unwrap_or_default()))
    }

    fn tcp(host: &OsStr, port: &OsStr) -> Result<Self, Error> {
        let text = host.to_str().ok_or_else(|| Error::Usage("the host is not UTF-8".into()))?;
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        let number = port.to_str().and_then(|port| port.parse().ok()).filter(|port| *port != 0);
        match number {
            _ if bare.is_empty() => Err(Error::Usage("the host is empty".into())),
            Some(number) => Ok(Self::Tcp(bare.to_owned(), number)),
            None => Err(Error::Usage(format!("port must be a number from 1 to 65535, not {}", port.display()))),
        }
    }

    /// The host, which a certificate can name; a path has none.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Tcp(host, _) => Some(host),
            Self::Unix(_) => None,
        }
    }

    /// The same host at another port; a path has none.
    #[must_use]
    pub fn at(&self, port: u16) -> Self {
        match self {
            Self::Tcp(host, _) => Self::Tcp(host.clone(), port),
            Self::Unix(path) => Self::Unix(path.clone()),
        }
    }

    /// Connects; `None` if this process is told to end meanwhile. All addresses of a name are tried until one answers or the
    /// time is over. A name is looked up by a process of its own, which drops its rights first.
    ///
    /// # Errors
    /// [`Error::System`], or [`Error::Timeout`] when the time is over, with the reasons of all attempts.
    pub fn connect(
        &self,
        timeout: Duration,
        signals: &Signals,
        drop_rights: impl FnOnce() -> Result<(), Error>,
    ) -> Result<Option<OwnedFd>, Error> {
        let until = Instant::now() + timeout;
        let connected = match self {
            Self::Tcp(host, port) => connect_tcp(host, *port, until, signals, drop_rights),
            Self::Unix(path) => connect_unix(path.as_os_str()).map_err(ConnectFailure::Failed),
        };
        match connected {
            Ok(connection) => Ok(Some(connection)),
            Err(ConnectFailure::Terminated) => Ok(None),
            Err(ConnectFailure::Failed(why)) if Instant::now() >= until => {
                Err(Error::Timeout(format!("unable to connect to {self}: {}", SystemReason(&why))))
            }
            Err(ConnectFailure::Failed(why)) => Err(Error::System(format!("connect to {self}"), why)),
        }
    }
}

/// Why there is no connection.
enum ConnectFailure {
    /// This process was told to end.
    Terminated,
    /// The look-up or every attempt failed.
    Failed(io::Error),
}

impl<E: Into<io::Error>> From<E> for ConnectFailure {
    fn from(why: E) -> Self {
        Self::Failed(why.into())
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) => write!(f, "{host} port {port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `unix:` and an absolute path; no host can be called so.
fn unix(text: &OsStr) -> Option<Address> {
    let path = text.as_bytes().strip_prefix(b"unix:").filter(|path| path.starts_with(b"/"))?;
    Some(Address::Unix(OsString::from_vec(path.to_vec()).into()))
}

/// An address needs no looking up; a name may have several.
fn connect_tcp(
    host: &str,
    port: u16,
    until: Instant,
    signals: &Signals,
    drop_rights: impl FnOnce() -> Result<(), Error>,
) -> Result<OwnedFd, ConnectFailure> {
    let addresses = match host.parse() {
        Ok(ip) => vec![SocketAddr::new(ip, port)],
        Err(_) => lookup::look_up(host, port, until, signals, drop_rights)?,
    };
    race::connect(&addresses, until, signals)
}

/// Never waits: a listener without room for one more is told as such.
fn connect_unix(path: &OsStr) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argument(text: &str) -> Option<Address> {
        Address::from_argument(text.as_ref()).ok()
    }

    #[test]
    fn an_argument_is_a_host_with_a_port_or_a_path() {
        let tcp = |host: &str, port| Some(Address::Tcp(host.into(), port));
        assert_eq!(argument("mx.example:25"), tcp("mx.example", 25));
        assert_eq!(argument("192.0.2.1:587"), tcp("192.0.2.1", 587));
        assert_eq!(argument("[2001:db8::1]:25"), tcp("2001:db8::1", 25));
        assert_eq!(argument("unix:/run/smtp"), Some(Address::Unix("/run/smtp".into())));
        for wrong in ["mx.example", "::1:25", "mx.example:", ":25", "[]:25", "mx:0", "mx:65536", "unix:", "unix:x"] {
            assert_eq!(argument(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_path_has_a_dash_for_its_port() {
        let operands = |host: &str, port: &str| Address::from_operands(host.as_ref(), port.as_ref()).ok();
        assert_eq!(operands("unix:/run/smtp", "-"), Some(Address::Unix("/run/smtp".into())));
        assert_eq!(operands("unix:/run/smtp", "25"), None);
        assert_eq!(operands("[::1]", "25"), Some(Address::Tcp("::1".into(), 25)));
        assert_eq!(operands("::1", "25"), Some(Address::Tcp("::1".into(), 25)));
        assert_eq!(operands("localhost", "-"), None);
    }
}
