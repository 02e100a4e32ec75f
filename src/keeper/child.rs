//! A process that was started here. Once it is reaped its id may be another process's, so nothing is signalled by it any
//! more.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};

/// A child.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    status: Option<WaitStatus>,
}

impl Child {
    pub(super) fn new(pid: Pid) -> Self {
        Self { pid, status: None }
    }

    /// How it ended, if it has. Does not wait.
    pub(super) fn ended(&mut self) -> Result<Option<WaitStatus>, Errno> {
        self.wait(WaitOptions::NOHANG)
    }

    /// Signals it, unless it has ended.
    pub(super) fn signal(&mut self, signal: Signal) -> Result<(), Errno> {
        match self.ended()? {
            None => kill_process(self.pid, signal),
            Some(_) => Ok(()),
        }
    }

    /// Kills it, and waits for its end.
    pub(super) fn kill(&mut self) -> Result<(), Errno> {
        self.signal(Signal::KILL)?;
        self.wait(WaitOptions::empty()).map(drop)
    }

    /// Its process id, while it has one.
    pub(super) fn pid(&self) -> Option<Pid> {
        self.status.is_none().then_some(self.pid)
    }

    fn wait(&mut self, options: WaitOptions) -> Result<Option<WaitStatus>, Errno> {
        if self.status.is_none() {
            let ended = rustix::io::retry_on_intr(|| waitpid(Some(self.pid), options))?;
            self.status = ended.map(|(_, status)| status);
        }
        Ok(self.status)
    }
}
