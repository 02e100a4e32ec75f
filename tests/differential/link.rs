//! What stands between the wrapper and a server, and notes what the server hears.

use std::os::unix::net::UnixStream;

use rustix::event::PollFd;

use super::line::Line;
use super::oracle::Oracle;
use super::script::shown;
use super::servers::Served;

/// A server, the wrapper, and the test between them.
pub(crate) struct Link {
    /// None once it is over.
    ends: Option<Ends>,
    heard: Vec<u8>,
    left_first: bool,
    log: Option<String>,
}

struct Ends {
    wrapper: Line,
    server: Served,
    /// Keeps the prog that the wrapper has started.
    _control: Option<UnixStream>,
}

/// What a server heard.
pub(crate) struct Heard {
    pub(crate) bytes: Vec<u8>,
    /// It ended before it had heard all.
    pub(crate) left_first: bool,
    /// What it wrote to standard error, if it was run here.
    pub(crate) log: Option<String>,
}

impl Link {
    pub(crate) fn new(wrapper: Line, control: Option<UnixStream>, server: Served) -> Self {
        Self {
            ends: Some(Ends { wrapper, server, _control: control }),
            heard: Vec::new(),
            left_first: false,
            log: None,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.ends.is_none()
    }

    /// Carries what there is; the oracle is told what the server says. False if there is nothing.
    pub(crate) fn moves(&mut self, part: usize, oracle: &mut Oracle) -> bool {
        let Some(Ends { wrapper, server, .. }) = &mut self.ends else { return false };
        let (mut said, start) = (Vec::new(), self.heard.len());
        let mut moved = wrapper.hear(&mut self.heard);
        server.line.say(&self.heard[start..]);
        if wrapper.end.is_some() {
            server.line.finish();
        }
        moved |= server.line.hear(&mut said) | wrapper.flush() | server.line.flush();
        if !said.is_empty() {
            wrapper.say(&said);
            oracle.server_says(part, &said);
        }
        if server.line.end.is_some() {
            self.left_first = wrapper.end.is_none();
            wrapper.finish();
            // Whoever left has closed both.
            if wrapper.is_silent() {
                self.leave();
                oracle.server_closes(part);
                moved = true;
            }
        }
        moved
    }

    /// Ends the server, which neither answers nor ends. False if it has ended, or if nobody waits for it.
    pub(crate) fn is_ended(&mut self, part: usize, oracle: &mut Oracle) -> bool {
        let waited_for = |ends: &&mut Ends| ends.wrapper.end.is_some() || oracle.awaits_server(part);
        let Some(ends) = self.ends.as_mut().filter(waited_for) else { return false };
        ends.wrapper.finish();
        self.left_first = ends.wrapper.end.is_none();
        if let Some(process) = &mut ends.server.process {
            process.child().kill().expect("it has not been waited for");
        }
        self.leave();
        oracle.server_closes(part);
        true
    }

    fn leave(&mut self) {
        let process = self.ends.take().and_then(|ends| ends.server.process);
        self.log = process.map(|mut process| {
            process.wait();
            process.log.whole()
        });
    }

    pub(crate) fn polls<'a>(&'a self, into: &mut Vec<PollFd<'a>>) {
        if let Some(ends) = &self.ends {
            ends.wrapper.polls(into);
            ends.server.line.polls(into);
        }
    }

    pub(crate) fn told(&self) -> String {
        format!("{} (over: {})", shown(&self.heard), self.is_over())
    }

    pub(crate) fn end(self) -> Heard {
        Heard { bytes: self.heard, left_first: self.left_first, log: self.log }
    }
}
