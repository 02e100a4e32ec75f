//! The switch over real descriptors: reaching the backend, the client's handshake, the fresh prog.

use std::io;
use std::time::Instant;

use starttls_protocols::PROTOCOLS;

use super::reactor::Who;
use super::{BACKEND_TIMEOUT, Next, PIECE, Relay};
use crate::cli::{Backend, Inside};
use crate::message::{self, Error, Quoted};
use crate::session::Surplus;
use crate::side::Side;
use crate::tls::{Facts, Heard, Leg};
use crate::window::Ask;

impl Relay<'_> {
    /// Finds out whether TLS can be had, and with a backend reaches it up to the end of its greeting (law 4).
    pub(super) fn prepare(&mut self) -> Result<(), Error> {
        let ready = self.window.ask(&Ask::Prepare)?.is_some();
        match &self.config.inside {
            Inside::Backend(backend) if ready => {
                let until = Instant::now() + BACKEND_TIMEOUT;
                match self.reach(backend, until)? {
                    Ok(()) => {
                        self.report.reached(backend.proof());
                        self.session.prepared(true);
                        self.hear_backend(backend, until)?;
                    }
                    Err(why) => {
                        self.backend_failed(backend, why);
                        self.session.prepared(false);
                    }
                }
            }
            _ => self.session.prepared(ready),
        }
        Ok(())
    }

    /// Connects, and makes sure who the backend is. `Ok(Err)` is the reason why there is no backend.
    pub(super) fn reach(&mut self, backend: &Backend, until: Instant) -> Result<io::Result<()>, Error> {
        let unreached = || Ok(Err(io::ErrorKind::NotConnected.into()));
        let Some(side) = self.ask_for_side(&Ask::Connect)? else { return unreached() };
        let Some(leg) = self.backend_leg(backend)? else { return unreached() };
        self.reactor.register(Who::Backend, &side)?;
        let side = self.backend.insert(side);
        match side.begin_tls(leg, Surplus::none()) {
            Ok(()) => self.handshake(Who::Backend, until),
            Err(why) => Ok(Err(why)),
        }
    }

    pub(super) fn hear_backend(&mut self, backend: &Backend, until: Instant) -> Result<(), Error> {
        let mut buffer = [0; PIECE];
        while self.session.backend_room() > 0 {
            let room = self.session.backend_room().min(PIECE);
            let Some(side) = &mut self.backend else { return Ok(()) };
            let failure = match side.read(buffer.get_mut(..room).unwrap_or_default()) {
                Ok(Heard::Bytes(count)) => {
                    self.session.backend_says(buffer.get(..count).unwrap_or_default());
                    continue;
                }
                Ok(Heard::Nothing) if self.wait(Some(until))? => continue,
                Ok(Heard::Nothing) => io::ErrorKind::TimedOut.into(),
                Ok(Heard::End | Heard::Cut) => io::ErrorKind::UnexpectedEof.into(),
                Err(why) => why,
            };
            self.backend_failed(backend, failure);
            self.session.backend_failed();
        }
        Ok(())
    }

    pub(super) fn backend_failed(&mut self, backend: &Backend, why: io::Error) {
        self.drop_backend();
        // If there is no connection, the keeper has said why.
        if why.kind() != io::ErrorKind::NotConnected {
            let what = format!("unable to use the TLS server {} port {}: {}", backend.host, backend.port, Why(&why));
            message::warning(self.config.verbosity, what);
        }
    }

    /// The go-ahead is out. Every byte of the client from here on belongs to TLS.
    pub(super) fn upgrade(&mut self, surplus: Surplus) -> Result<Option<Next>, Error> {
        let until = Instant::now() + self.config.handshake_timeout;
        while !self.client.flush() {
            if !self.wait(Some(until))? {
                return Err(Error::Timeout(format!("{} did not read the go-ahead", self.report.client)));
            }
        }
        self.drop_server();
        self.window.tell(&Ask::Retire)?;
        if let Some(backend) = self.backend.take() {
            self.reactor.deregister(&backend);
            self.serve_with(backend)?;
        }
        let leg = self.client_leg()?;
        let shaken = match self.client.begin_tls(leg, surplus) {
            Ok(()) => self.handshake(Who::Client, until)?,
            Err(why) => Err(why),
        };
        if let Err(why) = shaken {
            self.handshake_failed(&why);
            return Ok(Some(Next::Close));
        }
        self.report.handshake_done(self.facts());
        if matches!(self.config.inside, Inside::Backend(_)) {
            self.window.tell(&Ask::Release)?;
        }
        self.session.handshake_done();
        Ok(None)
    }

    /// `Ok(Err)` is the reason why there is no TLS, `TimedOut` among them.
    pub(super) fn handshake(&mut self, who: Who, until: Instant) -> Result<io::Result<()>, Error> {
        loop {
            let side = if who == Who::Client { Some(&mut self.client) } else { self.backend.as_mut() };
            match side.map_or(Err(io::ErrorKind::NotConnected.into()), Side::handshake) {
                Ok(true) => return Ok(Ok(())),
                Ok(false) if self.wait(Some(until))? => {}
                Ok(false) => return Ok(Err(io::ErrorKind::TimedOut.into())),
                Err(why) => return Ok(Err(why)),
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
                _ if crate::tls::is_no_tls(why) => {
                    format!("{client} sent {received} bytes of plaintext behind STARTTLS")
                }
                _ => format!("TLS handshake with {client} failed: {}", Why(why)),
            },
        );
        self.report.handshake_failed(why.kind() == io::ErrorKind::TimedOut);
    }

    pub(super) fn respawn(&mut self) -> Result<(), Error> {
        let variables = self.facts().map_or_else(Vec::new, |facts| facts.variables());
        match self.ask_for_side(&Ask::Spawn(Some(variables)))? {
            Some(server) => self.serve_with(server)?,
            None => self.session.server_failed(),
        }
        self.window.tell(&Ask::Release)
    }

    pub(super) fn facts(&self) -> Option<Facts> {
        self.client.tls().and_then(Leg::facts)
    }

    pub(super) fn drop_backend(&mut self) {
        if let Some(backend) = self.backend.take() {
            self.reactor.deregister(&backend);
        }
    }
}

/// A reason from below TLS or from within, without Rust's wrapping.
struct Why<'a>(&'a io::Error);

impl std::fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match self.0.kind() {
            io::ErrorKind::TimedOut => "it took too long".into(),
            io::ErrorKind::UnexpectedEof => "the connection was closed".into(),
            _ => self.0.to_string(),
        };
        write!(f, "{}", Quoted(text.as_bytes()))
    }
}
