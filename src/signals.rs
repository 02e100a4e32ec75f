//! What the keeper is told from outside: that it shall end, and that a child has ended. The only door to signal-hook.
//!
//! Each signal writes a byte to a pipe, so that waiting for a signal is waiting for a descriptor. prog does not
//! inherit this: exec(2) puts the defaults back.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::{SigId, flag, low_level};

use crate::message::Error;

/// The signals of one process.
#[derive(Debug)]
pub struct Signals {
    heard: OwnedFd,
    /// The last signal that asks to end, or zero.
    asked: Arc<AtomicUsize>,
    registered: Vec<SigId>,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn listen() -> Result<Self, Error> {
        let (heard, tell) =
            pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(Error::system("make a pipe"))?;
        let asked = Arc::new(AtomicUsize::new(0));
        let mut registered = Vec::new();
        let mut register = || {
            for signal in [SIGTERM, SIGHUP, SIGINT] {
                registered.push(flag::register_usize(signal, Arc::clone(&asked), signal.unsigned_abs() as usize)?);
                registered.push(low_level::pipe::register(signal, tell.try_clone()?)?);
            }
            registered.push(low_level::pipe::register(SIGCHLD, tell.try_clone()?)?);
            Ok(())
        };
        register().map_err(Error::system::<io::Error>("listen to signals"))?;
        Ok(Self { heard, asked, registered })
    }

    /// The signal that asks to end, once.
    pub fn take(&self) -> Option<Signal> {
        let signal = i32::try_from(self.asked.swap(0, Ordering::Relaxed)).ok()?;
        Signal::from_named_raw(signal)
    }

    /// Whether there is one that asks to end, which nobody has taken yet.
    pub fn ask_to_end(&self) -> bool {
        self.asked.load(Ordering::Relaxed) != 0
    }

    /// Hears nothing more: for a child, which has other descriptors.
    pub fn forget(&self) {
        for id in &self.registered {
            low_level::unregister(*id);
        }
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
        fds.push(PollFd::new(&self.heard, PollFlags::IN));
        let left = until.map(|until| timespec(until.saturating_duration_since(Instant::now())));
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(why) => return Err(Error::System("wait for the session".into(), why.into())),
        }
        if fds.pop().is_some_and(|heard| !heard.revents().is_empty()) {
            // What was said is in `asked`, or is to be found out by wait(2).
            let _ = rustix::io::read(&self.heard, &mut [0; 64]);
            return Ok(Vec::new());
        }
        Ok(fds.iter().enumerate().filter(|(_, fd)| !fd.revents().is_empty()).map(|(place, _)| place).collect())
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.heard.as_fd()
    }
}

/// Ends this process by this signal, so that the parent sees what happened.
pub fn end_by(signal: Signal) {
    let _ = low_level::emulate_default_handler(signal.as_raw());
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX), tv_nsec: duration.subsec_nanos().into() }
}
