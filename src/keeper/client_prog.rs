//! prog as a UCSPI client (`tlsify host port prog`): its connection to the server is descriptors 6 and 7, as under
//! tcpclient. Descriptors 0 and 1 it inherits.

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::stdio::{stdin, stdout};

use super::{Keeper, not_allowed};
use crate::command::Command;
use crate::message::Error;

impl Keeper<'_> {
    pub(super) fn spawn_client_prog(&mut self, mut command: Command) -> Result<(), Error> {
        // The keeper keeps no copy: the session would never see that prog has closed its end.
        let plaintext = self.client.take().ok_or_else(not_allowed)?;
        for fd in [&plaintext.input, &plaintext.output] {
            fcntl_setfd(fd, FdFlags::empty()).map_err(Error::system("hand a descriptor to prog"))?;
        }
        command.set_variable("PROTO", Some(&self.config.proto));
        self.prog = Some(self.run_command(command, stdin(), stdout())?);
        self.window.grant(&[], &[])
    }
}
