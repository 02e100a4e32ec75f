//! A way to somebody and back that never waits: two descriptors, and TLS over them if it is so wished.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::Shutdown;

use super::support::tls::engine::Engine;

/// One of its ends.
pub(crate) struct Line {
    input: OwnedFd,
    output: Option<OwnedFd>,
    tls: Option<Engine>,
    unsent: Vec<u8>,
    /// Nothing will be added to what is not sent yet.
    finished: bool,
    /// How it ended, as far as we can hear.
    pub(crate) end: Option<End>,
}

/// What we heard last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// End of file, in TLS after close_notify.
    Clean,
    /// End of file in TLS without it.
    Cut,
    /// Something that is no end.
    Broken(String),
}

impl Line {
    pub(crate) fn new(input: OwnedFd, output: OwnedFd) -> Self {
        for fd in [&input, &output] {
            rustix::io::ioctl_fionbio(fd, true).unwrap();
        }
        Self { input, output: Some(output), tls: None, unsent: Vec::new(), finished: false, end: None }
    }

    pub(crate) fn socket(socket: impl Into<OwnedFd>) -> Self {
        let socket = socket.into();
        Self::new(socket.try_clone().unwrap(), socket)
    }

    pub(crate) fn begin_tls(&mut self, engine: Engine) {
        self.tls = Some(engine);
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls.as_ref().is_some_and(Engine::is_up)
    }

    /// Takes what there is. True if something came, be it the end.
    pub(crate) fn hear(&mut self, heard: &mut Vec<u8>) -> bool {
        let mut piece = [0; 16 * 1024];
        let mut moved = false;
        while self.end.is_none() {
            match rustix::io::read(&self.input, &mut piece) {
                Ok(0) => self.end = Some(if self.tls.is_some() { End::Cut } else { End::Clean }),
                Ok(count) => self.take(&piece[..count], heard),
                Err(Errno::AGAIN) => break,
                Err(why) => self.end = Some(End::Broken(why.to_string())),
            }
            moved = true;
        }
        moved
    }

    fn take(&mut self, bytes: &[u8], heard: &mut Vec<u8>) {
        match self.tls.as_mut().map(|tls| tls.takes(bytes, heard)) {
            None => heard.extend(bytes),
            Some(Ok(false)) => {}
            Some(Ok(true)) => self.end = Some(End::Clean),
            Some(Err(why)) => self.end = Some(End::Broken(why.to_string())),
        }
    }

    /// Says this; as much of it as goes, now.
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        match &mut self.tls {
            Some(tls) => tls.says(bytes),
            None => self.unsent.extend(bytes),
        }
        self.flush();
    }

    /// Says that nothing more will be said.
    pub(crate) fn finish(&mut self) {
        if !std::mem::replace(&mut self.finished, true)
            && let Some(tls) = &mut self.tls
        {
            tls.leaves();
        }
        self.flush();
    }

    /// True if something went.
    pub(crate) fn flush(&mut self) -> bool {
        let mut moved = false;
        if let Some(tls) = &mut self.tls {
            self.unsent.extend(tls.gives());
        }
        while let (Some(output), false) = (&self.output, self.unsent.is_empty()) {
            match rustix::io::write(output, &self.unsent) {
                Ok(count) => {
                    self.unsent.drain(..count);
                    moved = true;
                }
                Err(Errno::AGAIN) => break,
                // Nobody listens any more. What was said to us before can still be heard.
                Err(_) => self.output = None,
            }
        }
        if self.finished
            && self.unsent.is_empty()
            && let Some(output) = self.output.take()
        {
            // A pipe is closed by this.
            let _ = rustix::net::shutdown(output, Shutdown::Write);
        }
        moved
    }

    /// Nothing more goes out.
    pub(crate) fn is_silent(&self) -> bool {
        self.output.is_none()
    }

    /// What to wait for.
    pub(crate) fn polls<'a>(&'a self, into: &mut Vec<PollFd<'a>>) {
        if self.end.is_none() {
            into.push(PollFd::from_borrowed_fd(self.input.as_fd(), PollFlags::IN));
        }
        if let (Some(output), false) = (&self.output, self.unsent.is_empty()) {
            into.push(PollFd::from_borrowed_fd(output.as_fd(), PollFlags::OUT));
        }
    }
}
