//! The dialogue: what both sides say goes to the session, and its orders are obeyed, until nothing is left to watch.

use std::time::Instant;

use super::stall::Progress;
use super::{FRESH_TIMEOUT, Next, READ_SIZE, Relay, SideId, pass_through};
use crate::message::Error;
use crate::side::{Loss, Side};
use crate::tls::Heard;
use starttls_protocols::session::Limit;

impl Relay<'_> {
    /// Runs the dialogue until nothing is left to watch.
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
            self.flush_server();
            if self.client.flush() && (self.hear_server() || self.hear_client()) {
                continue;
            }
            match self.wait_for_more() {
                Ok(None) => {}
                Ok(Some(next)) => return Ok(next),
                Err(why) => {
                    self.say_goodbye()?;
                    pass_through::close(&mut self.reactor, &mut self.client, self.config.limits)?;
                    return Err(why);
                }
            }
        }
    }

    /// Sends the server what waits for it, and then the client's end.
    fn flush_server(&mut self) {
        if let Some(server) = &mut self.server
            && server.flush()
            && self.client_left
        {
            let is_cut = self.config.tls.cut_is_error && matches!(self.client.ended(), Some(Heard::Cut));
            if is_cut { server.cut() } else { server.shut() }
        }
    }

    /// The session ends before its time; the client still hears the protocol's goodbye.
    fn say_goodbye(&mut self) -> Result<(), Error> {
        self.session.interrupted();
        while let Some(order) = self.session.next_order() {
            self.obey(order)?;
        }
        Ok(())
    }

    fn hear_client(&mut self) -> bool {
        let room = self.session.client_room().min(READ_SIZE);
        if room == 0 {
            return false;
        }
        let buffer = self.buffer.get_mut(..room).unwrap_or_default();
        // What comes behind STARTTLS is for the UCSPI-TLS server to read.
        let by_line = self.ucspi.is_some();
        match if by_line { self.client.read_line(buffer) } else { self.client.read(buffer) } {
            Ok(Heard::Nothing) => return false,
            Ok(Heard::Bytes(count)) => {
                self.report.from_client += count as u64;
                self.session.client_says(self.buffer.get(..count).unwrap_or_default());
            }
            Ok(Heard::End | Heard::Cut) => self.session.client_closed(),
            Err(_) if self.client.is_broken() => {}
            Err(why) => self.client.lose(Loss::Reading(why)),
        }
        true
    }

    fn hear_server(&mut self) -> bool {
        let room = self.session.server_room().min(READ_SIZE);
        let Some(server) = self.server.as_mut().filter(|_| room > 0) else { return false };
        match server.read(self.buffer.get_mut(..room).unwrap_or_default()) {
            Ok(Heard::Nothing) => return false,
            Ok(Heard::Bytes(count)) => self.session.server_says(self.buffer.get(..count).unwrap_or_default()),
            Ok(Heard::End | Heard::Cut) => self.session.server_closed(),
            Err(why) => {
                if !server.is_broken() {
                    server.lose(Loss::Reading(why));
                }
                self.session.server_closed();
            }
        }
        true
    }

    /// Waits until a side is ready, or a limit passes; what comes next if that ends the dialogue.
    fn wait_for_more(&mut self) -> Result<Option<Next>, Error> {
        let limit = self.session.limit();
        if limit != self.limit.map(|(running, _)| running) {
            self.limit = limit.map(|limit| (limit, self.end_of(limit)));
        }
        let until = self.limit.map(|(_, until)| until);
        if self.client.has_unsent() || self.server.as_ref().is_some_and(Side::has_unsent) {
            self.stalls.activity(Instant::now());
        }
        let last_words = self.last_words();
        let look = self.stalls.next_check();
        let woken = self.wait(until.into_iter().chain(look).chain(last_words).min())?;
        let is_past = |until: Option<Instant>| until.is_some_and(|until| until <= Instant::now());
        if let (false, true, Some(limit)) = (woken, is_past(until), limit) {
            self.session.expired(limit);
        }
        if is_past(look) && self.check_stalls()? || is_past(last_words) {
            return Ok(Some(Next::Close));
        }
        Ok(None)
    }

    /// Whether a side has stopped reading, and with it the session.
    fn check_stalls(&mut self) -> Result<bool, Error> {
        let progress = |side: &Side| {
            side.has_unsent().then(|| Progress { moved: side.sent(), unacknowledged: side.unacknowledged() })
        };
        let peers = [progress(&self.client), self.server.as_ref().and_then(progress)];
        let read_closed = self.server.as_ref().is_some_and(|server| server.read_closed) && self.last_words().is_none();
        let Some(who) = self.stalls.check(peers, read_closed, Instant::now()) else { return Ok(false) };
        if who != SideId::Client {
            self.say_goodbye()?;
        }
        self.drop_stalled(who);
        Ok(true)
    }

    fn end_of(&self, limit: Limit) -> Instant {
        match limit {
            Limit::Deadline => self.report.began() + self.config.tls_deadline,
            Limit::Fresh => Instant::now() + FRESH_TIMEOUT,
        }
    }
}
