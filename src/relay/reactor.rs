//! Waiting: which descriptors are ready, and until when. The only door to mio.
//!
//! mio is edge-triggered: a descriptor that was not used until it would block gives no new event. So each [`Side`]
//! remembers whether it may be ready, and waiting comes last.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::message::Error;
use crate::side::Side;
use crate::window::Window;

/// One of the sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SideId {
    Client,
    Server,
    Backend,
}

/// The event loop's waiting half.
pub(super) struct Reactor {
    poll: Poll,
    events: Events,
    window: Arc<Window>,
    /// Since when it is known that prog has ended.
    ended: Option<Instant>,
    /// Files, for which the kernel does not wait, are always ready: whatever is tried succeeds.
    takes_files: bool,
}

/// Each side's place is its [`SideId`].
pub(super) type Sides<'a> = [Option<&'a mut Side>; 3];

impl Reactor {
    /// Waits for the window too: the session does not outlive the keeper.
    pub(super) fn new(window: Arc<Window>, takes_files: bool) -> Result<Self, Error> {
        let poll = Poll::new().map_err(Error::system("set up the event loop"))?;
        let reactor = Self { poll, events: Events::with_capacity(MAX_EVENTS), window, ended: None, takes_files };
        reactor.watch(reactor.window.as_fd(), WINDOW, Interest::READABLE)?;
        Ok(reactor)
    }

    /// Watches both descriptors of a side from now on.
    pub(super) fn register(&self, who: SideId, side: &Side) -> Result<(), Error> {
        self.watch(side.input(), Token(who as usize * 2), Interest::READABLE)?;
        match side.output() {
            Some(output) => self.watch(output, Token(who as usize * 2 + 1), Interest::WRITABLE),
            None => Ok(()),
        }
    }

    /// No longer watches a side. Closing alone would not do: the keeper may still hold a copy.
    pub(super) fn deregister(&self, side: &Side) {
        for fd in [Some(side.input()), side.output()].into_iter().flatten() {
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd.as_raw_fd()));
        }
    }

    /// Waits for any of the sides. False if it was not before `until`.
    pub(super) fn wait(&mut self, mut sides: Sides<'_>, until: Option<Instant>) -> Result<bool, Error> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        match self.poll.poll(&mut self.events, left) {
            Err(why) if why.kind() != io::ErrorKind::Interrupted => {
                return Err(Error::System("wait for the descriptors".into(), why));
            }
            _ => {}
        }
        let mut unasked = false;
        for event in &self.events {
            let Token(token) = event.token();
            match sides.get_mut(token / 2) {
                Some(Some(side)) => mark(side, token % 2 == 0, event),
                Some(None) => {}
                None => unasked = true,
            }
        }
        if unasked {
            self.window.listen()?;
        }
        Ok(!self.events.is_empty() || until.is_none_or(|until| Instant::now() < until))
    }

    /// When the prog that serves ended, if it has.
    pub(super) fn prog_ended(&mut self) -> Option<Instant> {
        if self.window.prog_has_ended() {
            self.ended.get_or_insert_with(Instant::now);
        } else {
            self.ended = None;
        }
        self.ended
    }

    fn watch(&self, fd: BorrowedFd<'_>, token: Token, interest: Interest) -> Result<(), Error> {
        match self.poll.registry().register(&mut SourceFd(&fd.as_raw_fd()), token, interest) {
            Err(why) if why.kind() == io::ErrorKind::PermissionDenied && self.takes_files => Ok(()),
            Err(why) if why.kind() == io::ErrorKind::PermissionDenied => {
                let what = "descriptors 0 and 1 must be a socket, pipes or a terminal, not files or /dev/null";
                Err(Error::Environment(what.into()))
            }
            registered => registered.map_err(Error::system("wait for a descriptor")),
        }
    }
}

fn mark(side: &mut Side, input: bool, event: &Event) {
    if input {
        side.readable = true;
        side.read_closed |= event.is_read_closed();
        return;
    }
    side.writable = true;
    if event.is_error() || event.is_write_closed() {
        side.hang_up();
    }
}

const WINDOW: Token = Token(6);

/// Two descriptors of three sides, and the window.
const MAX_EVENTS: usize = 7;
