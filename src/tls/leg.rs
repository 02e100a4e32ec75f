//! A TLS connection as a byte pipe: ciphertext on one side, what was said on the other. It knows no descriptor; who
//! owns one hands it in as `Read` or `Write`.

use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};

use rustls::{Connection, Error, InvalidMessage};

use super::client_cert::Verification;
use super::facts;
use super::shown::Shown;
use crate::facts::Facts;

/// One TLS connection.
pub struct Leg {
    /// Boxed: most sessions never use TLS, and a side without it stays small.
    connection: Box<Connection>,
    /// The transport will bring no more bytes.
    transport_ended: bool,
    received: u64,
    own_alert: OwnAlert,
    verification: Verification,
    close_notify: bool,
    /// The peer has ended TLS by an alert: it hears nothing more (RFC 8446 section 6.2).
    silenced: bool,
    /// What the server has shown, where this program is the client.
    shown: Option<Arc<Shown>>,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// So many bytes.
    Bytes(usize),
    /// Nothing yet: more ciphertext is needed.
    Nothing,
    /// The peer said close_notify; this is the end.
    End,
    /// The transport ended without close_notify; an attacker may have cut it.
    Cut,
}

impl Leg {
    pub(super) fn for_backend(connection: Connection, shown: Arc<Shown>, close_notify: bool) -> Self {
        let leg = Self::for_client(connection, OwnAlert::default(), Verification::default(), close_notify);
        Self { shown: Some(shown), ..leg }
    }

    pub(super) fn for_client(
        mut connection: Connection,
        own_alert: OwnAlert,
        verification: Verification,
        close_notify: bool,
    ) -> Self {
        // Who writes waits until the leg is drained, so this is bounded by what he writes at a time.
        connection.set_buffer_limit(None);
        Self {
            connection: Box::new(connection),
            transport_ended: false,
            received: 0,
            own_alert,
            verification,
            close_notify,
            silenced: false,
            shown: None,
        }
    }

    /// Whether the handshake is still going on.
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// What the handshake came to, once it is over.
    pub fn facts(&self) -> Option<Facts> {
        facts::of(&self.connection, &self.verification)
    }

    /// What the server has shown, where this program is the client.
    pub fn shown(&self) -> Option<&Shown> {
        self.shown.as_deref()
    }

    /// How many bytes the transport brought.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes ciphertext from the transport, as much as one read brings. Returns the number of bytes; zero is the
    /// transport's end.
    ///
    /// # Errors
    /// The transport's, among them `WouldBlock`; `InvalidData` with rustls's reason inside if the peer broke TLS;
    /// then an alert waits to be [sent](Self::send).
    pub fn receive(&mut self, transport: &mut dyn Read) -> io::Result<usize> {
        let count = self.connection.read_tls(transport)?;
        self.transport_ended |= count == 0;
        self.received += count as u64;
        if let Err(why) = self.connection.process_new_packets() {
            self.silenced |= matches!(why, Error::AlertReceived(_));
            // Not for every reason does rustls send an alert.
            self.forgo_close_notify();
            return Err(io::Error::new(io::ErrorKind::InvalidData, self.reason(why)));
        }
        self.answer_key_update()?;
        Ok(count)
    }

    /// rustls answers a KeyUpdate with the next data (RFC 8446 section 4.6.3), which may never come. One answer waits at
    /// most, whatever a peer asks that does not read.
    fn answer_key_update(&mut self) -> io::Result<()> {
        if !self.connection.is_handshaking() && !self.connection.wants_write() {
            // What is queued goes before this, which is nothing.
            let _ = self.connection.writer().write(&[])?;
        }
        Ok(())
    }

    /// rustls takes what was refused here for a lack of certificates.
    fn reason(&self, why: Error) -> Box<dyn std::error::Error + Send + Sync> {
        match self.own_alert.get() {
            Some(&NO_APPLICATION_PROTOCOL) => Error::NoApplicationProtocol.into(),
            Some(&UNRECOGNIZED_NAME) => "there is no certificate for the server name that it asks for".into(),
            Some(&MISSING_EXTENSION) => "it asks for no server name, and there is no certificate without one".into(),
            _ => why.into(),
        }
    }

    /// Gives ciphertext to the transport, until none is left.
    ///
    /// # Errors
    /// The transport's, among them `WouldBlock`.
    pub fn send(&mut self, transport: &mut dyn Write) -> io::Result<()> {
        if let Some(alert) = self.own_alert.get() {
            return self.refuse(*alert, transport);
        }
        if self.silenced {
            return Ok(());
        }
        while self.connection.wants_write() {
            if self.connection.write_tls(transport)? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// Nothing was said yet and nothing is secret: a fatal alert in the clear stands in place of rustls's own.
    fn refuse(&mut self, alert: u8, transport: &mut dyn Write) -> io::Result<()> {
        if !self.connection.wants_write() {
            return Ok(());
        }
        transport.write_all(&[ALERT, 3, 3, 0, 2, FATAL, alert])?;
        self.connection.write_tls(&mut io::sink())?;
        Ok(())
    }

    /// Whether ciphertext waits to be sent.
    pub fn has_unsent(&self) -> bool {
        self.connection.wants_write() && !self.silenced
    }

    /// What the peer said.
    ///
    /// # Errors
    /// None that rustls documents besides those told as [`Heard`].
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Heard> {
        match self.connection.reader().read(buffer) {
            Ok(0) => Ok(Heard::End),
            Ok(count) => Ok(Heard::Bytes(count)),
            Err(why) if why.kind() == io::ErrorKind::WouldBlock && self.transport_ended => Ok(Heard::Cut),
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => Ok(Heard::Nothing),
            Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => Ok(Heard::Cut),
            Err(why) => Err(why),
        }
    }

    /// Says something to the peer. It waits inside until it is [sent](Self::send).
    ///
    /// # Errors
    /// None: the buffer has no limit.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.connection.writer().write_all(bytes)
    }

    /// Says close_notify (RFC 8446 section 6.1), unless that was forgone. The peer may go on speaking.
    pub fn close(&mut self) {
        if self.close_notify {
            self.connection.send_close_notify();
        }
    }

    /// From here on the transport's end alone ends it: what the peer would take for the whole was cut.
    pub fn forgo_close_notify(&mut self) {
        self.close_notify = false;
    }
}

/// The alert for a name that nobody here has, or for no ALPN, where rustls would say access_denied.
pub(super) type OwnAlert = Arc<OnceLock<u8>>;

/// The client should have named the protocol (RFC 7301 section 3.2).
pub(super) const NO_APPLICATION_PROTOCOL: u8 = 120;

/// There is no certificate for that server name (RFC 6066 section 3).
pub(super) const UNRECOGNIZED_NAME: u8 = 112;

/// The client should have named a server (RFC 8446 section 9.2).
pub(super) const MISSING_EXTENSION: u8 = 109;

/// The content type and the level of a fatal alert (RFC 8446 section 6).
const ALERT: u8 = 21;
const FATAL: u8 = 2;

/// Whether this error of [`Leg::receive`] says that the peer does not speak TLS at all.
pub fn is_not_tls(error: &io::Error) -> bool {
    let reason = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(
        reason,
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion))
    )
}
