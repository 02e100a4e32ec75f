//! What the keeper is told from outside: that it shall end, and that a child has ended.
//!
//! Signals are records of a descriptor (signalfd(2)), so that waiting for a signal is waiting for a descriptor, and one
//! that the super-server left blocked or ignored is heard as well. prog has them as they were.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Signal;

use crate::message::Error;
use crate::raw;

pub use crate::raw::end_by;

/// The signals of one process.
pub struct Signals {
    fd: OwnedFd,
    /// The last signal that asks to end.
    asked: Cell<Option<Signal>>,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn listen() -> Result<Self, Error> {
        let fd = raw::signalfd(&WATCHED).map_err(Error::system("listen to signals"))?;
        Ok(Self { fd, asked: Cell::new(None) })
    }

    /// The signal that asks to end, once.
    pub fn take_end_request(&self) -> Option<Signal> {
        self.asked.take()
    }

    /// Whether a signal asks to end that was not taken yet.
    pub fn is_end_requested(&self) -> bool {
        self.asked.get().is_some()
    }

    /// Waits for a signal or this descriptor. True if it was the descriptor.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn wait(&self, other: Option<BorrowedFd<'_>>, until: Option<Instant>) -> Result<bool, Error> {
        let others = other.as_ref().map(|other| PollFd::new(other, PollFlags::IN));
        Ok(!self.wait_among(others.into_iter().collect(), until)?.is_empty())
    }

    /// Waits for a signal or any of these. The places of those that are ready; none, if it was a signal.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn wait_among(&self, others: Vec<PollFd<'_>>, until: Option<Instant>) -> Result<Vec<usize>, Error> {
        let mut fds = others;
        fds.push(PollFd::new(&self.fd, PollFlags::IN));
        let left = until.map(|until| timespec(until.saturating_duration_since(Instant::now())));
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(why) => return Err(Error::System("wait for the session".into(), why.into())),
        }
        if fds.pop().is_some_and(|heard| !heard.revents().is_empty()) {
            self.hear();
            return Ok(Vec::new());
        }
        Ok(fds.iter().enumerate().filter(|(_, fd)| !fd.revents().is_empty()).map(|(place, _)| place).collect())
    }

    /// One that tells of a child says no more than that wait(2) may find something out.
    fn hear(&self) {
        let mut records = [[0; RECORD]; WATCHED.len()];
        let length = rustix::io::read(&self.fd, records.as_flattened_mut()).unwrap_or_default();
        for record in records.iter().take(length / RECORD) {
            let [first, second, third, fourth, ..] = *record;
            let number = u32::from_ne_bytes([first, second, third, fourth]);
            let signal = WATCHED.into_iter().find(|signal| signal.as_raw().unsigned_abs() == number);
            if let Some(signal) = signal.filter(|signal| *signal != Signal::CHILD) {
                self.asked.set(Some(signal));
            }
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), tv_nsec: duration.subsec_nanos().into() }
}

const WATCHED: [Signal; 4] = [Signal::TERM, Signal::HUP, Signal::INT, Signal::CHILD];

/// The length of a signalfd_siginfo, which begins with the signal's number.
const RECORD: usize = 128;
