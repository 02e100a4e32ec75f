//! How a keeper ends: when the session and prog have, or when it is told to.

use std::os::fd::AsFd;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::Keeper;
use crate::message::Error;

impl Keeper<'_> {
    /// Waits for the session's next packet. False if this process was told to end.
    pub(super) fn session_speaks(&mut self) -> Result<bool, Error> {
        // Before waiting, too: who connects has heard the signal already.
        while !self.is_told_to_end() {
            if self.signals.wait(Some(self.window.as_fd()), None)? {
                return Ok(!self.is_told_to_end());
            }
            self.notice_end_of_prog();
        }
        Ok(false)
    }

    /// Waits for the session's end. Returns its exit status.
    pub(super) fn end_of_session(&mut self, session: Pid) -> Result<u8, Error> {
        let mut until = None;
        loop {
            let ended = waitpid(Some(session), WaitOptions::NOHANG).map_err(Error::system("wait for the session"))?;
            if let Some((_, status)) = ended {
                return match status.terminating_signal() {
                    None => Ok(status.exit_status().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)),
                    Some(signal) => Err(Error::Impossible(format!("the session was killed by signal {signal}"))),
                };
            }
            // After the release it may be another user's, and out of reach; its walls stand, and the window is closed.
            if until.is_some_and(|until| until <= Instant::now()) && kill_process(session, Signal::KILL).is_err() {
                return Err(Error::Impossible("the session did not end".into()));
            }
            self.notice_end_of_prog();
            self.signals.wait(None, until)?;
            if self.is_told_to_end() {
                until.get_or_insert_with(|| Instant::now() + PATIENCE);
            }
        }
    }

    /// Waits for prog's end, if there is a prog; for one that `shall_end` not for ever.
    pub(super) fn end_of_prog(&mut self, shall_end: bool) -> Result<Option<ExitStatus>, Error> {
        let mut until = shall_end.then(|| Instant::now() + PATIENCE);
        self.tell_prog(Signal::TERM, shall_end);
        while let Some(prog) = &mut self.prog {
            if let Some(status) = prog.try_wait().map_err(Error::system("wait for prog"))? {
                return Ok(Some(status));
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                self.tell_prog(Signal::KILL, true);
                until = None;
            }
            self.signals.wait(None, until)?;
            self.is_told_to_end();
        }
        Ok(None)
    }

    /// The session may have bytes of prog, and a client who does not read them.
    fn notice_end_of_prog(&mut self) {
        if let Some(prog) = &mut self.prog
            && let Ok(Some(_)) = prog.try_wait()
            && !std::mem::replace(&mut self.has_told_end, true)
        {
            self.window.tell_end(self.switched);
        }
    }

    /// Whether this process was told to end. Then prog is told as well, and the session by the window's closing.
    fn is_told_to_end(&mut self) -> bool {
        if let Some(signal) = self.signals.take() {
            self.told = Some(signal);
            self.window.close();
            self.tell_prog(signal, true);
        }
        self.told.is_some()
    }

    /// A keeper that was root's and has released everything may not; then prog has the end of its input to go by.
    pub(super) fn tell_prog(&mut self, signal: Signal, really: bool) {
        // One that has ended has no id any more.
        if let Some(prog) = self.prog.as_mut().filter(|_| really)
            && let Ok(None) = prog.try_wait()
        {
            let _ = kill_process(Pid::from_child(prog), signal);
        }
    }
}

/// How long a session or prog that was told to end is waited for before it is killed. Neither has anything to do but
/// to say goodbye.
const PATIENCE: Duration = Duration::from_secs(2);
