//! How a keeper ends: when the session and prog have, or when it is told to.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::process::{Signal, WaitStatus};

use super::Keeper;
use super::child::Child;
use crate::message::Error;

impl Keeper<'_> {
    /// Waits for the session's next packet. False if this process was told to end.
    pub(super) fn session_speaks(&mut self) -> Result<bool, Error> {
        // Before waiting, too: a connection that was made for the session may have taken the signal.
        while !self.is_told_to_end() {
            if self.signals.wait(Some(self.window.as_fd()), None)? {
                return Ok(!self.is_told_to_end());
            }
            self.notice_end_of_prog();
        }
        Ok(false)
    }

    /// Waits for the session's end. Returns its exit status.
    pub(super) fn end_of_session(&mut self, session: &mut Child) -> Result<u8, Error> {
        loop {
            if let Some(status) = session.ended().map_err(Error::system("wait for the session"))? {
                return match status.terminating_signal() {
                    None => Ok(status.exit_status().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)),
                    Some(signal) => Err(Error::Impossible(format!("the session was killed by signal {signal}"))),
                };
            }
            if self.is_time_to_kill() {
                session.kill().map_err(Error::system("end the session"))?;
            } else {
                self.notice_end_of_prog();
                self.signals.wait(None, self.kill_at)?;
                self.is_told_to_end();
            }
        }
    }

    /// Waits for prog's end, if there is a prog.
    pub(super) fn end_of_prog(&mut self) -> Result<Option<WaitStatus>, Error> {
        while let Some(prog) = &mut self.prog {
            if let Some(status) = prog.ended().map_err(Error::system("wait for prog"))? {
                return Ok(Some(status));
            }
            if self.kill_at.is_some_and(|until| until <= Instant::now()) {
                prog.kill().map_err(Error::system("end prog"))?;
            } else {
                self.signals.wait(None, self.kill_at)?;
                self.is_told_to_end();
            }
        }
        Ok(None)
    }

    /// Tells prog to end. It is waited for no longer than [`TERMINATION_TIMEOUT`].
    pub(super) fn end_prog(&mut self, signal: Signal) {
        self.kill_at.get_or_insert_with(|| Instant::now() + TERMINATION_TIMEOUT);
        if let Some(prog) = &mut self.prog {
            // It may be another user's, who cannot be signalled; then it sees the end of its input.
            let _ = prog.signal(signal);
        }
    }

    /// Tells the session that prog has ended: it may still hold prog's last bytes for a client who does not read them.
    fn notice_end_of_prog(&mut self) {
        if let Some(prog) = &mut self.prog
            && let Ok(Some(_)) = prog.ended()
            && !std::mem::replace(&mut self.has_reported_end, true)
        {
            self.window.tell_end(self.switched);
        }
    }

    /// Whether this process was told to end. Then prog is told as well, and the session by the window's closing.
    fn is_told_to_end(&mut self) -> bool {
        if let Some(signal) = self.signals.take_end_request() {
            self.asked_to_end_by = Some(signal);
            self.window.tell_to_end();
            self.end_prog(signal);
        }
        self.asked_to_end_by.is_some()
    }

    fn is_time_to_kill(&self) -> bool {
        self.kill_at.is_some_and(|until| until <= Instant::now())
    }
}

/// How long a session and a prog that were told to end are waited for, both together, before they are killed. Neither has
/// more to do than to say goodbye.
const TERMINATION_TIMEOUT: Duration = Duration::from_secs(2);
