//! Why there is no TLS with a peer. Whether a session may go on in plaintext hangs on it (law 8), so it is a type.

use std::fmt::{self, Display};
use std::io;

use starttls_protocols::session::ScriptFailure;

use crate::message::{Error, Quoted, SystemReason};
use crate::tls::{about_certificate, is_not_tls};

/// Why there is no TLS with a peer.
#[derive(Debug)]
#[must_use]
pub(super) enum TlsFailure {
    /// The keeper refused a connection, anchors or a certificate, and has told the administrator why.
    Reported,
    /// The peer refused STARTTLS, or what it said is no answer to it.
    Refused(ScriptFailure),
    /// The connection or TLS itself failed.
    Failed(io::Error),
    /// The session cannot go on.
    Fatal(Error),
}

impl TlsFailure {
    /// The peer is gone, or was never there.
    pub(super) fn closed() -> Self {
        Self::Failed(io::ErrorKind::UnexpectedEof.into())
    }

    /// A limit passed.
    pub(super) fn timeout() -> Self {
        Self::Failed(io::ErrorKind::TimedOut.into())
    }

    /// Whether a limit passed.
    pub(super) fn is_timeout(&self) -> bool {
        matches!(self, Self::Failed(why) if why.kind() == io::ErrorKind::TimedOut)
    }

    /// Whether the peer is gone.
    pub(super) fn is_closed(&self) -> bool {
        let gone = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
        matches!(self, Self::Failed(why) if gone.contains(&why.kind()))
    }

    /// Whether it is the server's certificate.
    pub(super) fn is_about_certificate(&self) -> bool {
        matches!(self, Self::Failed(why) if about_certificate(why).is_some())
    }

    /// Passes on what ends the session.
    ///
    /// # Errors
    /// What ends the session.
    pub(super) fn unless_fatal(self) -> Result<Self, Error> {
        if let Self::Fatal(why) = self { Err(why) } else { Ok(self) }
    }
}

impl From<Error> for TlsFailure {
    fn from(why: Error) -> Self {
        Self::Fatal(why)
    }
}

impl From<io::Error> for TlsFailure {
    fn from(why: io::Error) -> Self {
        Self::Failed(why)
    }
}

impl Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reported => Ok(()),
            Self::Refused(ScriptFailure::Refused(line)) => write!(f, "it offers no TLS: {}", Quoted(line)),
            Self::Refused(ScriptFailure::GreetingRefuses(line)) => write!(f, "it will not serve: {}", Quoted(line)),
            Self::Refused(ScriptFailure::PlaintextBehind(count)) => {
                write!(f, "it sent {count} bytes of plaintext behind a reply")
            }
            Self::Refused(ScriptFailure::LineTooLong) => f.write_str("it sent a line that is too long"),
            Self::Failed(why) if is_not_tls(why) => f.write_str("it speaks no TLS"),
            Self::Failed(why) => TlsReason(why).fmt(f),
            Self::Fatal(why) => why.fmt(f),
        }
    }
}

/// The reason inside an [`io::Error`], of the system or of TLS, in an administrator's words.
struct TlsReason<'a>(&'a io::Error);

impl Display for TlsReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match (about_certificate(self.0), self.0.kind()) {
            (Some(why), _) => why,
            (None, io::ErrorKind::TimedOut) => "it took too long".into(),
            (None, io::ErrorKind::UnexpectedEof) => "the connection was closed".into(),
            (None, _) if self.0.raw_os_error().is_some() => SystemReason(self.0).to_string(),
            (None, _) => self.0.to_string(),
        };
        write!(f, "{}", Quoted(text.as_bytes()))
    }
}
