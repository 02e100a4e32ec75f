//! Reaching the backend: the connection, its TLS, its greeting. All of it before the client's go-ahead (law 4).

use std::io;
use std::time::Instant;

use super::reactor::Who;
use super::switch::Why;
use super::{BACKEND_TIMEOUT, PIECE, Relay};
use crate::config::{Backend, BackendTls, Inside};
use crate::message::{self, Error, Quoted};
use crate::tls::Heard;
use crate::window::Ask;
use starttls_protocols::session::{Approach, Refusal, Step, Surplus};

/// A backend that is reached.
pub(super) struct Reached {
    /// It greeted before TLS began.
    pub(super) greeted: bool,
}

impl Relay<'_> {
    /// Finds out whether TLS can be had, and with a backend reaches it up to the end of its greeting (law 4).
    pub(super) fn prepare(&mut self) -> Result<(), Error> {
        let ready = self.ucspi.is_some() || self.window.ask(&Ask::Prepare)?.is_some();
        let Inside::Backend(backend) = &self.config.inside else {
            self.session.prepared(ready);
            return Ok(());
        };
        let until = Instant::now() + BACKEND_TIMEOUT;
        let reached = if ready { self.reach(backend, until)? } else { Err(io::ErrorKind::NotConnected.into()) };
        match reached {
            Ok(Reached { greeted }) => {
                if self.config.server_learns_of_tls() {
                    self.session.reached();
                } else {
                    self.session.prepared(true);
                }
                if greeted {
                    self.session.greeted();
                }
                self.hear_backend(backend, until)?;
            }
            Err(why) => {
                self.backend_failed(backend, &why);
                self.session.prepared(false);
            }
        }
        Ok(())
    }

    /// Reaches the backend once more, now that it can be told of the client's TLS.
    pub(super) fn reach_inside(&mut self, backend: &Backend) -> Result<(), Error> {
        match self.reach(backend, Instant::now() + BACKEND_TIMEOUT)? {
            Ok(Reached { greeted }) => {
                self.backend_serves()?;
                if greeted {
                    self.session.greeted();
                }
            }
            Err(why) => {
                self.backend_failed(backend, &why);
                self.session.server_failed();
            }
        }
        Ok(())
    }

    /// The backend takes the plaintext server's place.
    pub(super) fn backend_serves(&mut self) -> Result<(), Error> {
        if let Some(backend) = self.backend.take() {
            self.reactor.deregister(&backend);
            self.serve_with(backend)?;
        }
        Ok(())
    }

    /// Connects, and makes sure who the backend is. `Ok(Err)` is the reason why there is no backend.
    pub(super) fn reach(&mut self, backend: &Backend, until: Instant) -> Result<io::Result<Reached>, Error> {
        let reached = self.reach_by(backend, backend.tls, until)?;
        match reached {
            Err(why) if backend.tls == BackendTls::Opportunistic && why.kind() == io::ErrorKind::Unsupported => {
                // Law 8: this is the one way into plaintext that was not asked for by name, so it is told. The
                // connection is a fresh one: what was said on the old one was this program's.
                if !self.report.is_in_plaintext() {
                    let what = format!("going on in plaintext with {}: {}", backend.address, Why(&why));
                    message::warning(self.config.verbosity, what);
                }
                self.drop_backend();
                self.reach_by(backend, BackendTls::None, until)
            }
            reached => Ok(reached),
        }
    }

    fn reach_by(&mut self, backend: &Backend, tls: BackendTls, until: Instant) -> Result<io::Result<Reached>, Error> {
        let Some(side) = self.ask_for_side(&Ask::Connect)? else {
            return Ok(Err(io::ErrorKind::NotConnected.into()));
        };
        self.reactor.register(Who::Backend, &side)?;
        self.backend = Some(side);
        let proxy = self.config.proxy;
        if let Some(proxy) = proxy.filter(|proxy| !proxy.inside) {
            self.tell_backend(&self.backend_header(proxy.version));
        }
        let greeted = matches!(tls, BackendTls::StartTls | BackendTls::Opportunistic);
        if greeted && let Err(why) = self.approach(until)? {
            return Ok(Err(why));
        }
        if tls == BackendTls::None {
            self.report.reached("plaintext");
        } else if let Err(why) = self.secure(backend, until)? {
            return Ok(Err(why));
        } else if let Some(proxy) = proxy.filter(|proxy| proxy.inside) {
            self.tell_backend(&self.backend_header(proxy.version));
        }
        Ok(Ok(Reached { greeted }))
    }

    /// TLS with the backend.
    fn secure(&mut self, backend: &Backend, until: Instant) -> Result<io::Result<()>, Error> {
        let Some(leg) = self.backend_leg(backend)? else {
            return Ok(Err(io::ErrorKind::NotConnected.into()));
        };
        while self.backend.as_mut().is_some_and(|side| !side.flush()) {
            if !self.wait(Some(until))? {
                return Ok(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        let begun = self.backend.as_mut().map_or(Ok(()), |side| side.begin_tls(leg, Surplus::none()));
        if begun.is_err() {
            return Ok(begun);
        }
        let shaken = self.handshake(Who::Backend, until)?;
        if shaken.is_ok() {
            self.report.reached(backend.proof());
        }
        Ok(shaken)
    }

    /// Goes the way to STARTTLS, as a client. `Unsupported` says that there is none.
    fn approach(&mut self, until: Instant) -> Result<io::Result<()>, Error> {
        let Some(protocol) = self.session.protocol() else { return Ok(Err(io::ErrorKind::NotConnected.into())) };
        let mut approach = Approach::new(protocol);
        let mut buffer = [0; PIECE];
        loop {
            let room = approach.room().min(PIECE);
            let heard = match self.read_backend(buffer.get_mut(..room).unwrap_or_default(), until)? {
                Ok(count) => buffer.get(..count).unwrap_or_default(),
                Err(why) => return Ok(Err(why)),
            };
            match approach.hears(heard) {
                Step::Hear => {}
                Step::Say(line) => self.tell_backend(line),
                Step::BeginTls => return Ok(Ok(())),
                Step::TurnBack(refusal) => return Ok(Err(reason(&refusal))),
            }
        }
    }

    pub(super) fn tell_backend(&mut self, bytes: &[u8]) {
        if let Some(side) = &mut self.backend {
            side.write(bytes);
        }
    }

    fn hear_backend(&mut self, backend: &Backend, until: Instant) -> Result<(), Error> {
        let mut buffer = [0; PIECE];
        while self.backend.is_some() && self.session.backend_room() > 0 {
            let room = self.session.backend_room().min(PIECE);
            match self.read_backend(buffer.get_mut(..room).unwrap_or_default(), until)? {
                Ok(count) => self.session.backend_says(buffer.get(..count).unwrap_or_default()),
                Err(why) => {
                    self.backend_failed(backend, &why);
                    self.session.backend_failed();
                }
            }
        }
        Ok(())
    }

    /// Waits for bytes of the backend. `Ok(Err)` is the reason why none come.
    pub(super) fn read_backend(&mut self, buffer: &mut [u8], until: Instant) -> Result<io::Result<usize>, Error> {
        loop {
            let Some(side) = &mut self.backend else { return Ok(Err(io::ErrorKind::NotConnected.into())) };
            side.flush();
            return Ok(match side.read(buffer) {
                Ok(Heard::Bytes(count)) => Ok(count),
                Ok(Heard::Nothing) => {
                    // Tickets or half a greeting: what is missing waits for us.
                    side.acknowledge();
                    if self.wait(Some(until))? {
                        continue;
                    }
                    Err(io::ErrorKind::TimedOut.into())
                }
                Ok(Heard::End | Heard::Cut) => Err(io::ErrorKind::UnexpectedEof.into()),
                Err(why) => Err(why),
            });
        }
    }

    pub(super) fn backend_failed(&mut self, backend: &Backend, why: &io::Error) {
        self.drop_backend();
        // If there is no connection, the keeper has said why.
        if why.kind() != io::ErrorKind::NotConnected {
            let what = format!("unable to use the TLS server {}: {}", backend.address, Why(why));
            message::warning(self.config.verbosity, what);
        }
    }

    /// The backend has shown that it serves, and has served.
    pub(super) fn take_leave(&mut self) {
        if let Some(backend) = &mut self.backend {
            backend.shut();
        }
        self.drop_backend();
    }

    pub(super) fn drop_backend(&mut self) {
        if let Some(backend) = self.backend.take() {
            self.reactor.deregister(&backend);
        }
    }
}

fn reason(refusal: &Refusal) -> io::Error {
    match refusal {
        Refusal::NotOffered(line) => {
            io::Error::new(io::ErrorKind::Unsupported, format!("it offers no TLS: {}", Quoted(line)))
        }
        Refusal::Greeting(line) => io::Error::other(format!("it will not serve: {}", Quoted(line))),
        Refusal::Behind(count) => io::Error::other(format!("it sent {count} bytes of plaintext behind a reply")),
        Refusal::TooLong => io::Error::other("it sent a line that is too long"),
    }
}
