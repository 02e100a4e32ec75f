//! The switch over real descriptors: the client's handshake, and the server that comes after it.

use std::time::Instant;

use super::failure::TlsFailure;
use super::reactor::SideId;
use super::{Next, Relay};
use crate::message::Error;
use crate::side::Loss;
use crate::tls::{Leg, is_not_tls};
use crate::window::Ask;
use starttls_protocols::session::Surplus;

impl Relay<'_> {
    /// The go-ahead is out. Every byte of the client from here on belongs to TLS.
    pub(super) fn upgrade(&mut self, surplus: Surplus) -> Result<Option<Next>, Error> {
        let until = Instant::now() + self.config.tls.handshake_timeout;
        while !self.client.flush() {
            if !self.wait(Some(until))? {
                self.client.lose(Loss::Stalled);
                return Err(Error::Timeout("the client did not read the go-ahead".into()));
            }
        }
        self.drop_server();
        self.window.tell(&Ask::Retire)?;
        if self.config.server_learns_of_tls() {
            self.close_backend();
        }
        self.promote_backend()?;
        let refused = match self.ucspi.take() {
            Some(ends) => self.hand_over_to_ucspi(ends, surplus, until)?,
            None => (!self.handshake_with_client(surplus, until)?).then_some(Next::Close),
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
    pub(super) fn handshake_with_client(&mut self, surplus: Surplus, until: Instant) -> Result<bool, Error> {
        let leg = self.client_leg()?;
        let begun = self.client.begin_tls(leg, surplus).map_err(TlsFailure::from);
        match begun.and_then(|()| self.handshake(SideId::Client, until)) {
            Ok(()) => {
                self.report.handshake_done(self.client.tls().and_then(Leg::facts).unwrap_or_default());
                Ok(true)
            }
            Err(why) if why.is_closed() && self.is_unused() => {
                self.report.left_unused();
                Ok(false)
            }
            Err(why) => {
                self.handshake_failed(&why.unless_fatal()?);
                Ok(false)
            }
        }
    }

    pub(super) fn handshake(&mut self, who: SideId, until: Instant) -> Result<(), TlsFailure> {
        loop {
            let side = if who == SideId::Client { Some(&mut self.client) } else { self.backend.as_mut() };
            let side = side.ok_or_else(TlsFailure::closed)?;
            let over = side.handshake().or_else(|why| {
                // Who asks for a key within it learns from TLS that there was none, and not that the keeper is gone.
                self.window.listen()?;
                Err(TlsFailure::from(why))
            })?;
            // A client's Finished gets no answer, nor does half a flight; what the client says next waits for us.
            side.acknowledge();
            if over {
                return Ok(());
            }
            if !self.wait(Some(until))? {
                return Err(TlsFailure::timeout());
            }
        }
    }

    /// The names of the protocol; of every protocol whose greeting may yet show that it is this one (`--implicit`).
    pub(super) fn alpn(&self) -> Vec<&'static [u8]> {
        match self.session.protocol().or(self.config.protocol) {
            Some(protocol) => protocol.alpn.to_vec(),
            None => {
                let greeted = self.config.protocols.iter().filter(|protocol| !protocol.is_client_first());
                greeted.flat_map(|protocol| protocol.alpn).copied().collect()
            }
        }
    }

    /// Where TLS begins at once, a monitor or a load balancer that connects and leaves is nothing to warn of.
    fn is_unused(&self) -> bool {
        self.config.implicit && self.client.tls().is_some_and(|tls| tls.received() == 0)
    }

    pub(super) fn handshake_failed(&mut self, why: &TlsFailure) {
        let received = self.client.tls().map_or(0, Leg::received);
        self.log.warning(match why {
            TlsFailure::Failed(why) if is_not_tls(why) && (self.config.implicit || self.session.is_direct_tls()) => {
                format!("the client sent {received} bytes of plaintext in place of TLS")
            }
            TlsFailure::Failed(why) if is_not_tls(why) => {
                format!("the client sent {received} bytes of plaintext behind STARTTLS")
            }
            _ => format!("TLS handshake with the client failed: {why}"),
        });
        self.report.handshake_failed(why.is_timeout());
    }

    /// Starts, or reaches, the server that is told of the client's TLS.
    pub(super) fn respawn(&mut self) -> Result<(), Error> {
        match self.config.inside.backend() {
            None => self.start_server(Some(self.variables()))?,
            Some(backend) => self.reach_inside(backend)?,
        }
        self.window.tell(&Ask::Release)
    }
}
