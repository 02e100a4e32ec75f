//! The switch over real descriptors: the client's handshake, and the server that comes after it.

use std::io;
use std::time::Instant;

use starttls_protocols::PROTOCOLS;

use super::reactor::Who;
use super::{Next, Relay};
use crate::config::Inside;
use crate::message::{self, Error, Quoted, Reason};
use crate::tls::{Facts, Leg, about_certificate};
use crate::window::Ask;
use starttls_protocols::session::Surplus;

impl Relay<'_> {
    /// The go-ahead is out. Every byte of the client from here on belongs to TLS.
    pub(super) fn upgrade(&mut self, surplus: Surplus) -> Result<Option<Next>, Error> {
        let until = Instant::now() + self.config.tls.handshake_timeout;
        while !self.client.flush() {
            if !self.wait(Some(until))? {
                return Err(Error::Timeout(format!("{} did not read the go-ahead", self.report.client)));
            }
        }
        self.drop_server();
        self.window.tell(&Ask::Retire)?;
        if self.config.server_learns_of_tls() {
            self.take_leave();
        }
        self.backend_serves()?;
        let refused = match self.ucspi.take() {
            Some(ends) => self.hand_over(ends, surplus, until)?,
            None => (!self.shake_hands(surplus, until)?).then_some(Next::Close),
        };
        if refused.is_some() {
            return Ok(refused);
        }
        if !self.config.server_learns_of_tls() {
            self.window.tell(&Ask::Release)?;
        }
        self.session.handshake_done();
        Ok(None)
    }

    /// TLS with the client. False if there is none.
    pub(super) fn shake_hands(&mut self, surplus: Surplus, until: Instant) -> Result<bool, Error> {
        let leg = self.client_leg()?;
        let shaken = match self.client.begin_tls(leg, surplus) {
            Ok(()) => self.handshake(Who::Client, until)?,
            Err(why) => Err(why),
        };
        match &shaken {
            Ok(()) => self.report.handshake_done(self.facts()),
            Err(why) => self.handshake_failed(why),
        }
        Ok(shaken.is_ok())
    }

    /// `Ok(Err)` is the reason why there is no TLS, `TimedOut` among them.
    pub(super) fn handshake(&mut self, who: Who, until: Instant) -> Result<io::Result<()>, Error> {
        loop {
            let side = if who == Who::Client { Some(&mut self.client) } else { self.backend.as_mut() };
            let Some(side) = side else { return Ok(Err(io::ErrorKind::NotConnected.into())) };
            let over = match side.handshake() {
                Ok(over) => over,
                Err(why) => return Ok(Err(why)),
            };
            // A client's Finished gets no answer, nor does half a flight; what the client says next waits for us.
            side.acknowledge();
            if over {
                return Ok(Ok(()));
            }
            if !self.wait(Some(until))? {
                return Ok(Err(io::ErrorKind::TimedOut.into()));
            }
        }
    }

    /// The names of the protocol; of every protocol while no greeting has shown which one it is (`--implicit`).
    pub(super) fn alpn(&self) -> Vec<&'static [u8]> {
        match self.session.protocol().or(self.config.protocol) {
            Some(protocol) => protocol.alpn.to_vec(),
            None => PROTOCOLS.iter().flat_map(|protocol| protocol.alpn).copied().collect(),
        }
    }

    pub(super) fn handshake_failed(&mut self, why: &io::Error) {
        let client = &self.report.client;
        let received = self.client.tls().map_or(0, Leg::received);
        message::warning(
            self.config.verbosity,
            match why.kind() {
                _ if crate::tls::is_no_tls(why) && self.config.implicit => {
                    format!("{client} sent {received} bytes of plaintext in place of TLS")
                }
                _ if crate::tls::is_no_tls(why) => {
                    format!("{client} sent {received} bytes of plaintext behind STARTTLS")
                }
                _ => format!("TLS handshake with {client} failed: {}", Why(why)),
            },
        );
        self.report.handshake_failed(why.kind() == io::ErrorKind::TimedOut);
    }

    /// Begins the server that is told of TLS.
    pub(super) fn respawn(&mut self) -> Result<(), Error> {
        match &self.config.inside {
            Inside::Respawn | Inside::Itself => self.start_server(Some(self.variables()))?,
            Inside::Backend(backend) => self.reach_inside(backend)?,
        }
        self.window.tell(&Ask::Release)
    }

    pub(super) fn facts(&self) -> Option<Facts> {
        self.client.tls().and_then(Leg::facts)
    }
}

/// A reason from below TLS or from within, without Rust's wrapping.
pub(super) struct Why<'a>(pub(super) &'a io::Error);

impl std::fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match (about_certificate(self.0), self.0.kind()) {
            (Some(why), _) => why,
            (None, io::ErrorKind::TimedOut) => "it took too long".into(),
            (None, io::ErrorKind::UnexpectedEof) => "the connection was closed".into(),
            (None, _) if self.0.raw_os_error().is_some() => Reason(self.0).to_string(),
            (None, _) => self.0.to_string(),
        };
        write!(f, "{}", Quoted(text.as_bytes()))
    }
}
