//! prog that asks for TLS itself (`--ucspi-tls`): it has descriptors 0 and 1 as the super-server left them, and besides
//! a control socket and two pipes.

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

use super::{Keeper, not_allowed};
use crate::command::Command;
use crate::config::DESCRIPTOR_VARIABLES;
use crate::message::Error;

impl Keeper<'_> {
    pub(super) fn spawn_ucspi_prog(&mut self, mut command: Command) -> Result<(), Error> {
        let client = self.client.as_ref().ok_or_else(not_allowed)?;
        let (control, word) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(Error::system("make a socket pair"))?;
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(Error::system("make a pipe"));
        let (prog_reads, session_writes) = pipe()?;
        let (session_reads, prog_writes) = pipe()?;
        for (name, fd) in DESCRIPTOR_VARIABLES.iter().zip([&control, &prog_reads, &prog_writes]) {
            fcntl_setfd(fd, FdFlags::empty()).map_err(Error::system("hand a descriptor to prog"))?;
            command.set_variable(name, Some(fd.as_raw_fd().to_string()));
        }
        self.prog = Some(self.run_command(command, client.input.as_fd(), client.output.as_fd())?);
        self.window.grant(&[], &[word.as_fd(), session_reads.as_fd(), session_writes.as_fd()])
    }
}
