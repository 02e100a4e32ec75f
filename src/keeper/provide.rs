//! prog that asks for TLS itself: it speaks to the client over descriptors 0 and 1 as the super-server left them, and
//! gets a control socket and two pipes besides (`--ucspi-tls`).

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

use super::{Keeper, refused};
use crate::command::Command;
use crate::config::DESCRIPTORS;
use crate::message::Error;

impl Keeper<'_> {
    pub(super) fn spawn_with_ucspi(&mut self, mut command: Command) -> Result<(), Error> {
        let client = self.client.as_ref().ok_or_else(refused)?;
        let (control, word) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(Error::system("make a socket pair"))?;
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(Error::system("make a pipe"));
        let (prog_reads, session_writes) = pipe()?;
        let (session_reads, prog_writes) = pipe()?;
        for (name, fd) in DESCRIPTORS.iter().zip([&control, &prog_reads, &prog_writes]) {
            fcntl_setfd(fd, FdFlags::empty()).map_err(Error::system("hand a descriptor to prog"))?;
            command.tell(name, Some(fd.as_raw_fd().to_string()));
        }
        self.prog = Some(self.run_command(command, client.input.as_fd(), client.output.as_fd())?);
        self.window.grant(&[], &[word.as_fd(), session_reads.as_fd(), session_writes.as_fd()])
    }
}
