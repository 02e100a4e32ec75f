//! prog that calls a server out: it has the plaintext side as descriptors 6 and 7, as every UCSPI client
//! (`tlsify host port prog`). Its descriptors 0 and 1 are its own affair.

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::stdio::{stdin, stdout};

use super::{Keeper, refused};
use crate::command::Command;
use crate::message::Error;

impl Keeper<'_> {
    pub(super) fn spawn_caller(&mut self, mut command: Command) -> Result<(), Error> {
        // Kept here, prog's end of the session could never be seen.
        let plaintext = self.client.take().ok_or_else(refused)?;
        for fd in [&plaintext.input, &plaintext.output] {
            fcntl_setfd(fd, FdFlags::empty()).map_err(Error::system("hand a descriptor to prog"))?;
        }
        command.tell("PROTO", Some(&self.config.proto));
        self.prog = Some(self.run_command(command, stdin(), stdout())?);
        self.window.grant(&[], &[])
    }
}
