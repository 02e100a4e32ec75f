//! The server without TLS: how prog is run or reached, what it is told, and how the first one makes way for the second.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;

use super::child::Child;
use super::{Keeper, not_allowed};
use crate::address::{Address, CONNECT_TIMEOUT};
use crate::command::Command;
use crate::config::{DESCRIPTOR_VARIABLES, Inside, is_own_variable};
use crate::facts::is_tls_fact;
use crate::message::Error;
use crate::proxy::Sets;
use crate::ucspi;

impl Keeper<'_> {
    pub(super) fn spawn(&mut self, variables: Option<Vec<String>>) -> Result<(), Error> {
        let allowed =
            if variables.is_some() { &mut self.allowance.tls_prog } else { &mut self.allowance.plaintext_prog };
        if !std::mem::take(allowed) {
            return Err(not_allowed());
        }
        if variables.is_some() {
            // There is one prog at a time, whether the session has asked for the first one's end or not.
            self.retire();
        }
        let mut command = self.command();
        for variable in variables.iter().flatten() {
            // A UCSPI-TLS server may tell more of TLS than this program does, and say what is not there (`NAME` alone).
            let told = self.config.ucspi.is_some();
            let (name, value) =
                variable.split_once('=').map_or((&**variable, None), |(name, value)| (name, Some(value)));
            if !ucspi::may_be_told(variable) || !(told || is_tls_fact(name.as_ref())) {
                return Err(not_allowed());
            }
            command.set_variable(name, value);
        }
        if self.config.inside.leaves_client_to_prog() {
            return self.spawn_ucspi_prog(command);
        }
        if matches!(self.config.inside, Inside::Called(_)) {
            return self.spawn_client_prog(command);
        }
        if let Some(server) = &self.config.connect {
            return self.connect_server(server);
        }
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(Error::system("make a pipe"));
        let (prog_reads, session_writes) = pipe()?;
        let (session_reads, prog_writes) = pipe()?;
        self.prog = Some(self.run_command(command, prog_reads.as_fd(), prog_writes.as_fd())?);
        self.window.grant(&[], &[session_reads.as_fd(), session_writes.as_fd()])
    }

    /// `--connect`: a connection in place of prog. Without it there is no session, as without prog.
    fn connect_server(&mut self, server: &Address) -> Result<(), Error> {
        match self.reach(server, CONNECT_TIMEOUT) {
            Ok(Some(connection)) => self.window.grant(&[], &[connection.as_fd()]),
            Ok(None) => self.window.refuse(),
            Err(why) => {
                self.failure = Some(why);
                self.window.refuse()
            }
        }
    }

    pub(super) fn run_command(
        &self,
        command: Command,
        input: BorrowedFd<'_>,
        output: BorrowedFd<'_>,
    ) -> Result<Child, Error> {
        let pid = command.spawn(input, output);
        let name = || self.config.prog.first().map_or_else(String::new, |prog| prog.to_string_lossy().into_owned());
        pid.map(Child::new).map_err(|why| Error::Prog(name(), why))
    }

    fn command(&self) -> Command {
        let inherited = std::env::vars_os().filter(|(name, _)| self.is_inherited(name));
        let mut command = Command::new(self.config.prog.clone(), inherited);
        for (name, value) in self.ends.iter().flat_map(|ends| Sets::find(&|name| std::env::var_os(name)).changes(ends))
        {
            command.set_variable(name, value);
        }
        command
    }

    /// Whether prog inherits this variable.
    fn is_inherited(&self, name: &OsStr) -> bool {
        let offer = DESCRIPTOR_VARIABLES.iter().any(|offer| *offer == name);
        // The offer is to this program; prog could not take it up.
        let taken = self.config.ucspi.is_some() && name == ucspi::OFFER;
        let own = is_own_variable(name) && !self.config.keep_environment;
        !(offer || taken || own || is_tls_fact(name))
    }

    /// Asks the plaintext server to end, beside the end of input that it sees. It has heard harmless words only and
    /// holds no mail, so it loses nothing.
    pub(super) fn retire(&mut self) {
        self.switched = true;
        self.has_reported_end = false;
        if let Some(mut prog) = self.prog.take() {
            self.reap_plaintext_prog();
            let _ = prog.signal(Signal::TERM);
            self.retired = Some(prog);
        }
    }

    /// Kills the plaintext server, if it has not ended by itself while the handshake ran, and reaps it.
    pub(super) fn reap_plaintext_prog(&mut self) {
        if let Some(mut prog) = self.retired.take() {
            let _ = prog.kill();
        }
    }
}
