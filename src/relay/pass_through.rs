//! Both directions at once, from the end of the dialogue to the end of the session; then the last words and the close.

use std::time::{Duration, Instant};

use super::READ_SIZE;
use super::direction::{Direction, carry_both};
use super::reactor::{Reactor, SideId};
use super::stall::{Progress, Stalls};
use crate::config::Limits;
use crate::message::Error;
use crate::side::{Loss, Side};
use crate::tls::Heard;

/// How long a client may go on sending to a server that is gone: closing with unread input would send a RST that
/// destroys the server's last words.
pub const LINGER: Duration = Duration::from_millis(500);

/// How long a session may be idle before a large buffer is given back. Sooner it would be allocated again and again.
const BUFFER_IDLE: Duration = Duration::from_secs(1);

/// Client and server, with nothing watched between them.
pub(super) struct PassThrough<'a> {
    reactor: &'a mut Reactor,
    stalls: &'a mut Stalls,
    client: &'a mut Side,
    server: &'a mut Side,
    to_server: Direction,
    to_client: Direction,
    idle_since: Instant,
    buffer: Vec<u8>,
}

impl<'a> PassThrough<'a> {
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
            to_server: Direction::new(cut_is_error),
            to_client: Direction::new(cut_is_error),
            idle_since: Instant::now(),
            buffer: Vec::new(),
        }
    }

    /// Carries bytes both ways until both sides are done, or a limit is passed. Returns who stood still, if one did.
    pub(super) fn run(&mut self, limits: Limits) -> Result<Option<SideId>, Error> {
        // What a client said before it broke TLS still goes to the server.
        while !self.client.is_broken() || !self.to_server.done {
            let now = Instant::now();
            let (to_server, to_client) = self.carry()?;
            let moved = to_server | to_client;
            if self.client.is_lost() && !to_server && !self.has_unheard_words() && !self.speaks_on(limits) {
                // Of a connection the end is known; of a pipe nobody knows what would still have come.
                if !self.client.is_socket() {
                    self.cut();
                }
                break;
            }
            // A server that is gone hears nothing: what the client still sends is drained at the close.
            if self.to_client.done && (self.server_is_gone() || (self.to_server.done && !moved)) {
                break;
            }
            if moved {
                self.idle_since = now;
                self.stalls.activity(now);
            }
            if self.stalls.next_check().is_some_and(|next| next <= now)
                && let Some(who) = self.check_stalls(now)
            {
                self.cut();
                return Ok(Some(who));
            }
            let end = self.end(limits);
            if end.is_some_and(|end| end <= now) {
                if !self.to_client.done {
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
        (self.to_server.count, self.to_client.count)
    }

    fn carry(&mut self) -> Result<(bool, bool), Error> {
        let Self { to_server, to_client, client, server, buffer, .. } = self;
        carry_both(to_server, to_client, client, server, buffer)
    }

    /// Ends both directions without close_notify: neither peer shall take what it has heard for the whole.
    fn cut(&mut self) {
        for (way, to) in [(&self.to_server, &mut *self.server), (&self.to_client, &mut *self.client)] {
            if !way.done {
                to.cut();
            }
        }
    }

    /// A client that is gone hears nothing more; but what it said before still goes to the server.
    fn has_unheard_words(&self) -> bool {
        self.server.has_unsent() || (!self.to_server.done && self.client.has_unread())
    }

    /// A client that wants no answer may have more to say, until there is one; but nobody types where nothing is shown.
    fn speaks_on(&self, limits: Limits) -> bool {
        !self.to_server.done && !limits.half_closed.is_zero() && self.client.may_speak_on()
    }

    fn server_is_gone(&self) -> bool {
        self.server.is_lost() || self.server.is_broken()
    }

    /// A server that does not read while it writes is alive. That does not hold for a client, which could keep a server for
    /// ever by a byte now and then.
    fn check_stalls(&mut self, now: Instant) -> Option<SideId> {
        let says = self.to_client.count;
        let client = progress(&self.to_client, self.server, self.client);
        let server = progress(&self.to_server, self.client, self.server);
        let server = server.map(|Progress { moved, unacknowledged }| Progress { moved: moved + says, unacknowledged });
        // From prog's end on another limit runs.
        let read_closed = self.server.read_closed && self.reactor.prog_ended().is_none();
        self.stalls.check([client, server], read_closed, now)
    }

    /// When it ends even if somebody is still there.
    fn end(&mut self, limits: Limits) -> Option<Instant> {
        let half_closed = self.to_client.done.then(|| self.idle_since + limits.half_closed);
        let last_words = self.reactor.prog_ended().map(|ended| ended + limits.last_words);
        half_closed.into_iter().chain(last_words).min()
    }

    fn wait(&mut self, end: Option<Instant>) -> Result<(), Error> {
        let large = self.buffer.len() > READ_SIZE;
        if !large {
            self.buffer = Vec::new();
        }
        let still = large.then(|| Instant::now() + BUFFER_IDLE);
        let until = [end, still, self.stalls.next_check()].into_iter().flatten().min();
        self.to_server.wake();
        self.to_client.wake();
        if self.reactor.wait([Some(self.client), Some(self.server), None], until)? {
            // What has come may find no room, and nothing moves from then on.
            self.stalls.activity(Instant::now());
        } else {
            self.buffer = Vec::new();
        }
        Ok(())
    }
}

/// How far it has come, if something waits for it here or with the other side. What waits there was tried before, so
/// its descriptor does not take it.
fn progress(way: &Direction, from: &Side, to: &Side) -> Option<Progress> {
    let waits = to.has_unsent() || (!way.done && from.has_unread());
    waits.then(|| Progress { moved: to.sent(), unacknowledged: to.unacknowledged() })
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
    let mut buffer = [0; READ_SIZE];
    while client.is_socket() && !client.is_lost() {
        match client.drain(&mut buffer) {
            Ok(Heard::Bytes(_)) if Instant::now() < until => {}
            Ok(Heard::Nothing) if reactor.wait([Some(client), None, None], Some(until))? => {}
            _ => break,
        }
    }
    Ok(())
}
