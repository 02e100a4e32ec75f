//! Both directions at once, from the end of the dialogue to the end of the session, and the last words.

use std::time::{Duration, Instant};

use super::PIECE;
use super::carry::Stream;
use super::reactor::{Reactor, Who};
use super::stall::{Progress, Stalls};
use crate::config::Limits;
use crate::message::Error;
use crate::side::{Loss, Side};
use crate::tls::Heard;

/// How long a client may go on sending to a server that is gone: closing with unread input would send a RST that
/// destroys the server's last words.
pub const LINGER: Duration = Duration::from_millis(500);

/// How long a session that carried much may be still before its buffers are given back. Sooner they would be taken
/// again and again.
const STILL: Duration = Duration::from_secs(1);

/// Client and server, with nothing between them.
pub(super) struct Passage<'a> {
    reactor: &'a mut Reactor,
    stalls: &'a mut Stalls,
    client: &'a mut Side,
    server: &'a mut Side,
    upward: Stream,
    downward: Stream,
    idle_since: Instant,
    buffer: Vec<u8>,
}

impl<'a> Passage<'a> {
    pub(super) fn new(
        reactor: &'a mut Reactor,
        stalls: &'a mut Stalls,
        client: &'a mut Side,
        server: &'a mut Side,
        cut_is_error: bool,
    ) -> Self {
        Self {
            reactor,
            stalls,
            client,
            server,
            upward: Stream::new(cut_is_error),
            downward: Stream::new(cut_is_error),
            idle_since: Instant::now(),
            buffer: Vec::new(),
        }
    }

    /// Carries bytes both ways until both sides are done, or a limit is passed. Who stood still, if one did?
    pub(super) fn run(&mut self, limits: Limits) -> Result<Option<Who>, Error> {
        // What a client said before it broke TLS still goes to the server.
        while !self.client.is_lost() && (!self.client.is_broken() || !self.upward.done) {
            let now = Instant::now();
            let moved = self.carry()?;
            // A server that is gone hears nothing: what the client still sends is drained at the close.
            if self.downward.done && (self.server_is_gone() || (self.upward.done && !moved)) {
                break;
            }
            if moved {
                self.idle_since = now;
                self.stalls.stir(now);
            }
            if self.stalls.next_look().is_some_and(|next| next <= now)
                && let Some(who) = self.look(now)
            {
                self.cut();
                return Ok(Some(who));
            }
            let end = self.end(limits);
            if end.is_some_and(|end| end <= now) {
                if !self.downward.done {
                    self.cut();
                }
                break;
            }
            if !moved {
                self.wait(end)?;
            }
        }
        Ok(None)
    }

    /// Bytes of the client and to it.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.upward.count, self.downward.count)
    }

    fn carry(&mut self) -> Result<bool, Error> {
        let upward = self.upward.carry(self.client, self.server, &mut self.buffer)?;
        let downward = self.downward.carry(self.server, self.client, &mut self.buffer)?;
        Ok(upward | downward)
    }

    /// Nobody shall take for the whole what a limit has ended.
    fn cut(&mut self) {
        for (way, to) in [(&self.upward, &mut *self.server), (&self.downward, &mut *self.client)] {
            if !way.done {
                to.cut();
            }
        }
    }

    fn server_is_gone(&self) -> bool {
        self.server.is_lost() || self.server.is_broken()
    }

    /// A server that does not listen because it speaks is alive; a client may not go by that, as it could hold a server
    /// for ever by a byte now and then.
    fn look(&mut self, now: Instant) -> Option<Who> {
        let says = self.downward.count;
        let client = progress(&self.downward, self.server, self.client);
        let server = progress(&self.upward, self.client, self.server);
        let server = server.map(|Progress { moved, held }| Progress { moved: moved + says, held });
        // From prog's end on another limit runs.
        let nothing_more = self.server.nothing_more && self.reactor.prog_ended().is_none();
        self.stalls.look([client, server], nothing_more, now)
    }

    /// When it ends even if somebody is still there.
    fn end(&mut self, limits: Limits) -> Option<Instant> {
        let half_closed = self.downward.done.then(|| self.idle_since + limits.half_closed);
        let last_words = self.reactor.prog_ended().map(|ended| ended + limits.last_words);
        half_closed.into_iter().chain(last_words).min()
    }

    fn wait(&mut self, end: Option<Instant>) -> Result<(), Error> {
        let large = self.buffer.len() > PIECE;
        if !large {
            self.buffer = Vec::new();
        }
        let still = large.then(|| Instant::now() + STILL);
        let until = [end, still, self.stalls.next_look()].into_iter().flatten().min();
        if !self.reactor.wait([Some(self.client), Some(self.server), None], until)? {
            self.buffer = Vec::new();
        }
        Ok(())
    }
}

/// How far it has come, if something waits for it here or with the other side. What waits there was tried before, so
/// its descriptor does not take it.
fn progress(way: &Stream, from: &Side, to: &Side) -> Option<Progress> {
    let waits = to.has_unsent() || (!way.done && from.has_unread());
    waits.then(|| Progress { moved: to.sent(), held: to.held() })
}

/// Lets the client have the last words, then closes: end of output first, then a bounded drain.
pub(super) fn close(reactor: &mut Reactor, client: &mut Side, limits: Limits) -> Result<(), Error> {
    let until = reactor.prog_ended().unwrap_or_else(Instant::now) + limits.last_words;
    while !client.flush() {
        if !reactor.wait([Some(client), None, None], Some(until))? {
            client.lose(Loss::Stalled);
            return Ok(());
        }
    }
    client.shut();
    let until = Instant::now() + LINGER;
    let mut buffer = [0; PIECE];
    while client.is_socket() && !client.is_lost() {
        match client.drain(&mut buffer) {
            Ok(Heard::Bytes(_)) if Instant::now() < until => {}
            Ok(Heard::Nothing) if reactor.wait([Some(client), None, None], Some(until))? => {}
            _ => break,
        }
    }
    Ok(())
}
