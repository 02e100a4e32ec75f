//! The dialogue: what both sides say is told to the session, and what it orders is done, until it has heard enough.

use std::time::Instant;

use super::{FRESH_TIMEOUT, Next, PIECE, Relay, carry};
use crate::message::Error;
use crate::tls::Heard;
use starttls_protocols::session::Limit;

impl Relay<'_> {
    /// Listens to both sides until the session has heard enough.
    pub(super) fn dialogue(&mut self) -> Result<Next, Error> {
        loop {
            while let Some(order) = self.session.next_order() {
                if let Some(next) = self.obey(order)? {
                    return Ok(next);
                }
            }
            if self.client.is_lost() || self.client.is_broken() {
                return Ok(Next::Close);
            }
            if let Some(server) = &mut self.server {
                server.flush();
            }
            if self.client.flush() && (self.hear_server() || self.hear_client()) {
                continue;
            }
            if let Err(why) = self.wait_for_more() {
                self.break_off()?;
                return Err(why);
            }
        }
    }

    /// The keeper is gone, and the session with it; the client still hears the protocol's goodbye.
    fn break_off(&mut self) -> Result<(), Error> {
        self.session.broken_off();
        while let Some(order) = self.session.next_order() {
            self.obey(order)?;
        }
        carry::close(&mut self.reactor, &mut self.client)
    }

    fn hear_client(&mut self) -> bool {
        let room = self.session.client_room().min(PIECE);
        if room == 0 {
            return false;
        }
        let piece = self.piece.get_mut(..room).unwrap_or_default();
        // What comes behind STARTTLS is for the UCSPI-TLS server to read.
        let by_line = self.ucspi.is_some();
        match if by_line { self.client.read_line(piece) } else { self.client.read(piece) } {
            Ok(Heard::Nothing) => return false,
            Ok(Heard::Bytes(count)) => {
                self.report.from_client += count as u64;
                self.session.client_says(self.piece.get(..count).unwrap_or_default());
            }
            Ok(Heard::End | Heard::Cut) => self.session.client_closed(),
            Err(_) if self.client.is_broken() => {}
            Err(_) => self.client.lose(),
        }
        true
    }

    fn hear_server(&mut self) -> bool {
        let room = self.session.server_room().min(PIECE);
        let Some(server) = self.server.as_mut().filter(|_| room > 0) else { return false };
        match server.read(self.piece.get_mut(..room).unwrap_or_default()) {
            Ok(Heard::Nothing) => return false,
            Ok(Heard::Bytes(count)) => self.session.server_says(self.piece.get(..count).unwrap_or_default()),
            Ok(Heard::End | Heard::Cut) | Err(_) => self.session.server_closed(),
        }
        true
    }

    fn wait_for_more(&mut self) -> Result<(), Error> {
        let limit = self.session.limit();
        if limit != self.limit.map(|(running, _)| running) {
            self.limit = limit.map(|limit| (limit, self.end_of(limit)));
        }
        let until = self.limit.map(|(_, until)| until);
        let woken = self.wait(until)?;
        if let (false, Some(limit)) = (woken, limit) {
            self.session.expired(limit);
        }
        Ok(())
    }

    fn end_of(&self, limit: Limit) -> Instant {
        match limit {
            Limit::Deadline => self.report.began() + self.config.tls_deadline,
            Limit::Fresh => Instant::now() + FRESH_TIMEOUT,
        }
    }
}
