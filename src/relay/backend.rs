//! Reaching the backend: the connection, its TLS, its greeting. All of it before the client's go-ahead (law 4).

use std::time::{Duration, Instant};

use super::failure::NoTls;
use super::reactor::Who;
use super::{BACKEND_TIMEOUT, PIECE, Relay};
use crate::config::{Backend, BackendTls, Inside};
use crate::message::Error;
use crate::tls::Heard;
use crate::window::Ask;
use starttls_protocols::session::{ScriptFailure, ScriptedClient, Step, Surplus};

/// A backend that is reached.
pub(super) struct Reached {
    /// It greeted before TLS began.
    pub(super) greeted: bool,
    /// When it must have greeted.
    until: Instant,
}

impl Relay<'_> {
    /// Finds out whether TLS can be had, and with a backend reaches it up to the end of its greeting (law 4).
    pub(super) fn prepare(&mut self) -> Result<(), Error> {
        let ready = match self.ucspi {
            None => self.window.ask(&Ask::Prepare)?.is_some(),
            Some(_) if self.session.is_direct_tls() => {
                self.log.warning("unable to leave TLS to the UCSPI-TLS server: the client began it without asking");
                false
            }
            Some(_) => true,
        };
        let Inside::Backend(backend) = &self.config.inside else {
            self.session.prepared(ready);
            return Ok(());
        };
        match if ready { self.reach(backend, BACKEND_TIMEOUT) } else { Err(NoTls::Reported) } {
            Ok(Reached { greeted, until }) => {
                if self.config.server_learns_of_tls() {
                    self.session.backend_reached();
                } else {
                    self.session.prepared(true);
                }
                if greeted {
                    self.session.backend_greeted();
                }
                self.hear_backend(backend, until)?;
            }
            Err(why) => {
                self.backend_failed(backend, &why.unless_fatal()?);
                self.session.prepared(false);
            }
        }
        Ok(())
    }

    /// Reaches the backend once more, now that it can be told of the client's TLS.
    pub(super) fn reach_inside(&mut self, backend: &Backend) -> Result<(), Error> {
        match self.reach(backend, BACKEND_TIMEOUT) {
            Ok(Reached { greeted, .. }) => {
                self.backend_serves()?;
                if greeted {
                    self.session.backend_greeted();
                }
            }
            Err(why) => {
                self.backend_failed(backend, &why.unless_fatal()?);
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

    /// Connects, and makes sure who the backend is. It has so long from its connection on.
    pub(super) fn reach(&mut self, backend: &Backend, timeout: Duration) -> Result<Reached, NoTls> {
        match (self.reach_by(backend, backend.tls, &Ask::Connect, timeout), backend.tls) {
            (Err(NoTls::Refused(ScriptFailure::Refused(_))), BackendTls::Either(_)) => {
                self.drop_backend();
                self.reach_by(backend, BackendTls::Implicit, &Ask::ConnectImplicit, timeout)
            }
            (Err(why @ NoTls::Refused(ScriptFailure::Refused(_))), BackendTls::Opportunistic) => {
                // Law 8: this is the one way into plaintext that was not asked for by name, so it is told. The
                // connection is a fresh one: what was said on the old one was this program's.
                if !self.report.is_in_plaintext() {
                    let what = format!("going on in plaintext with {}: {why}", backend.address);
                    self.log.warning(what);
                }
                self.control.goes_on_in_plaintext(&why);
                self.drop_backend();
                self.reach_by(backend, BackendTls::None, &Ask::Connect, timeout)
            }
            (reached, _) => reached,
        }
    }

    fn reach_by(&mut self, backend: &Backend, tls: BackendTls, ask: &Ask, timeout: Duration) -> Result<Reached, NoTls> {
        let side = self.ask_for_side(ask)?.ok_or(NoTls::Reported)?;
        let until = Instant::now() + timeout;
        self.reactor.register(Who::Backend, &side)?;
        self.backend = Some(side);
        let proxy = self.config.proxy;
        if let Some(proxy) = proxy.filter(|proxy| !proxy.inside) {
            self.tell_backend(&self.backend_header(proxy.version));
        }
        let greeted = matches!(tls, BackendTls::StartTls | BackendTls::Either(_) | BackendTls::Opportunistic);
        if greeted {
            self.request_starttls(until)?;
        }
        if tls == BackendTls::None {
            self.report.reached("plaintext");
            return Ok(Reached { greeted, until });
        }
        self.secure(backend, until)?;
        if let Some(proxy) = proxy.filter(|proxy| proxy.inside) {
            self.tell_backend(&self.backend_header(proxy.version));
        }
        Ok(Reached { greeted, until })
    }

    /// TLS with the backend.
    fn secure(&mut self, backend: &Backend, until: Instant) -> Result<(), NoTls> {
        let leg = self.backend_leg(backend)?.ok_or(NoTls::Reported)?;
        while self.backend.as_mut().is_some_and(|side| !side.flush()) {
            if !self.wait(Some(until))? {
                return Err(NoTls::timeout());
            }
        }
        self.backend.as_mut().ok_or_else(NoTls::closed)?.begin_tls(leg, Surplus::none())?;
        self.handshake(Who::Backend, until)?;
        self.report.reached(backend.proof());
        Ok(())
    }

    /// Asks the backend for STARTTLS, up to its go-ahead.
    fn request_starttls(&mut self, until: Instant) -> Result<(), NoTls> {
        // STARTTLS was asked for, so the protocol is known.
        let mut client =
            ScriptedClient::starttls(self.session.protocol().or(self.config.protocol).ok_or_else(NoTls::closed)?);
        let mut buffer = [0; PIECE];
        let mut step = client.begin();
        loop {
            match step {
                Step::Wait => {}
                Step::Send(line) => self.tell_backend(line),
                Step::Done => return Ok(()),
                Step::Fail(refusal) => return Err(NoTls::Refused(refusal)),
            }
            let room = client.room().min(PIECE);
            let count = self.read_backend(buffer.get_mut(..room).unwrap_or_default(), until)?;
            step = client.hears(buffer.get(..count).unwrap_or_default());
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
            match self.read_backend(buffer.get_mut(..room).unwrap_or_default(), until) {
                Ok(count) => self.session.backend_says(buffer.get(..count).unwrap_or_default()),
                Err(why) => {
                    self.backend_failed(backend, &why.unless_fatal()?);
                    self.session.backend_failed();
                }
            }
        }
        Ok(())
    }

    /// Waits for bytes of the backend.
    pub(super) fn read_backend(&mut self, buffer: &mut [u8], until: Instant) -> Result<usize, NoTls> {
        loop {
            let side = self.backend.as_mut().ok_or_else(NoTls::closed)?;
            side.flush();
            match side.read(buffer)? {
                Heard::Bytes(count) => return Ok(count),
                Heard::End | Heard::Cut => return Err(NoTls::closed()),
                Heard::Nothing => {}
            }
            // Tickets or half a greeting: what is missing waits for us.
            side.acknowledge();
            if !self.wait(Some(until))? {
                return Err(NoTls::timeout());
            }
        }
    }

    pub(super) fn backend_failed(&mut self, backend: &Backend, why: &NoTls) {
        self.drop_backend();
        if !matches!(why, NoTls::Reported) {
            let what = format!("unable to use the TLS server {}: {why}", backend.address);
            self.log.warning(what);
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
