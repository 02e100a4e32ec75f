//! Reaching the backend: the connection, its TLS, its greeting. All of it before the client's go-ahead (law 4).

use std::time::{Duration, Instant};

use super::failure::TlsFailure;
use super::reactor::SideId;
use super::{BACKEND_TIMEOUT, READ_SIZE, Relay};
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
        match if ready { self.reach(backend, BACKEND_TIMEOUT) } else { Err(TlsFailure::Reported) } {
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
                self.promote_backend()?;
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
    pub(super) fn promote_backend(&mut self) -> Result<(), Error> {
        if let Some(backend) = self.backend.take() {
            self.reactor.deregister(&backend);
            self.set_server(backend)?;
        }
        Ok(())
    }

    /// Connects to the backend and verifies it, within this time from the connection on.
    pub(super) fn reach(&mut self, backend: &Backend, timeout: Duration) -> Result<Reached, TlsFailure> {
        match (self.reach_by(backend, backend.tls, &Ask::Connect, timeout), backend.tls) {
            (Err(TlsFailure::Refused(ScriptFailure::Refused(_))), BackendTls::Either(_)) => {
                self.drop_backend();
                self.reach_by(backend, BackendTls::Implicit, &Ask::ConnectImplicit, timeout)
            }
            (Err(why @ TlsFailure::Refused(ScriptFailure::Refused(_))), BackendTls::Opportunistic) => {
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

    fn reach_by(
        &mut self,
        backend: &Backend,
        tls: BackendTls,
        ask: &Ask,
        timeout: Duration,
    ) -> Result<Reached, TlsFailure> {
        let side = self.ask_for_side(ask)?.ok_or(TlsFailure::Reported)?;
        let until = Instant::now() + timeout;
        self.reactor.register(SideId::Backend, &side)?;
        self.backend = Some(side);
        let proxy = self.config.proxy;
        if let Some(proxy) = proxy.filter(|proxy| !proxy.inside) {
            self.send_to_backend(&self.backend_header(proxy.version));
        }
        let greeted = matches!(tls, BackendTls::StartTls | BackendTls::Either(_) | BackendTls::Opportunistic);
        if greeted {
            self.request_starttls(until)?;
        }
        if tls == BackendTls::None {
            self.report.reached("plaintext");
            return Ok(Reached { greeted, until });
        }
        self.begin_backend_tls(backend, until)?;
        if let Some(proxy) = proxy.filter(|proxy| proxy.inside) {
            self.send_to_backend(&self.backend_header(proxy.version));
        }
        Ok(Reached { greeted, until })
    }

    /// TLS with the backend.
    fn begin_backend_tls(&mut self, backend: &Backend, until: Instant) -> Result<(), TlsFailure> {
        let leg = self.backend_leg(backend)?.ok_or(TlsFailure::Reported)?;
        while self.backend.as_mut().is_some_and(|side| !side.flush()) {
            if !self.wait(Some(until))? {
                return Err(TlsFailure::timeout());
            }
        }
        self.backend.as_mut().ok_or_else(TlsFailure::closed)?.begin_tls(leg, Surplus::none())?;
        self.handshake(SideId::Backend, until)?;
        if let Some(shown) = self.backend.as_ref().and_then(|side| side.tls()?.shown()) {
            self.report.reached(shown.word());
        }
        Ok(())
    }

    /// Asks the backend for STARTTLS, up to its go-ahead.
    fn request_starttls(&mut self, until: Instant) -> Result<(), TlsFailure> {
        // STARTTLS was asked for, so the protocol is known.
        let mut client =
            ScriptedClient::starttls(self.session.protocol().or(self.config.protocol).ok_or_else(TlsFailure::closed)?);
        let mut buffer = [0; READ_SIZE];
        let mut step = client.begin();
        loop {
            match step {
                Step::Wait => {}
                Step::Send(line) => self.send_to_backend(line),
                Step::Done => return Ok(()),
                Step::Fail(refusal) => return Err(TlsFailure::Refused(refusal)),
            }
            let room = client.room().min(READ_SIZE);
            let count = self.read_backend(buffer.get_mut(..room).unwrap_or_default(), until)?;
            step = client.hears(buffer.get(..count).unwrap_or_default());
        }
    }

    pub(super) fn send_to_backend(&mut self, bytes: &[u8]) {
        if let Some(side) = &mut self.backend {
            side.write(bytes);
        }
    }

    fn hear_backend(&mut self, backend: &Backend, until: Instant) -> Result<(), Error> {
        let mut buffer = [0; READ_SIZE];
        while self.backend.is_some() && self.session.backend_room() > 0 {
            let room = self.session.backend_room().min(READ_SIZE);
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
    pub(super) fn read_backend(&mut self, buffer: &mut [u8], until: Instant) -> Result<usize, TlsFailure> {
        loop {
            let side = self.backend.as_mut().ok_or_else(TlsFailure::closed)?;
            side.flush();
            match side.read(buffer)? {
                Heard::Bytes(count) => return Ok(count),
                Heard::End | Heard::Cut => return Err(TlsFailure::closed()),
                Heard::Nothing => {}
            }
            // Tickets or half a greeting: what is missing waits for us.
            side.acknowledge();
            if !self.wait(Some(until))? {
                return Err(TlsFailure::timeout());
            }
        }
    }

    pub(super) fn backend_failed(&mut self, backend: &Backend, why: &TlsFailure) {
        self.drop_backend();
        if !matches!(why, TlsFailure::Reported) {
            let what = format!("unable to use the TLS server {}: {why}", backend.address);
            self.log.warning(what);
        }
    }

    /// Closes the connection by which the backend has shown that it serves; it is reached once more after the handshake.
    pub(super) fn close_backend(&mut self) {
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
