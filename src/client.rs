//! The client's descriptors: 0 and 1, as the super-server left them.
//!
//! They are made non-blocking while the session has them; with `--ucspi-tls` they are prog's until it asks for TLS.
//! Others may share them, so the flag is put back by the keeper, which outlives the session, holds a copy of both and never
//! reads from either.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fstat, open};
use rustix::io::{Errno, fcntl_dupfd_cloexec, ioctl_fionbio};
use rustix::net::{getpeername, getsockname, sockopt};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stderr, stdin, stdout};

use crate::message::Error;
use crate::proxy::Ends;
use crate::raw;

/// The client.
#[derive(Debug)]
pub struct Client {
    /// Where the client's bytes are read.
    pub input: OwnedFd,
    /// Where bytes for the client are written.
    pub output: OwnedFd,
    /// Which of them were blocking before they were [made non-blocking](Self::set_nonblocking).
    pub was_blocking: [bool; 2],
}

impl Client {
    /// Takes descriptors 0 and 1 and leaves `/dev/null` in their places, so that nothing else can use them by
    /// mistake.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn take() -> Result<Self, Error> {
        let input = duplicate(stdin(), FIRST_FREE).map_err(Error::system("duplicate descriptor 0"))?;
        let output = duplicate(stdout(), FIRST_FREE).map_err(Error::system("duplicate descriptor 1"))?;
        replace_stdin_and_stdout()?;
        Ok(Self::over(input, output))
    }

    /// Two pipes to a prog that is run as a UCSPI client: this program's end, and prog's as descriptors 6 and 7. Call it
    /// before this program opens anything else.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn pipes_for_prog() -> Result<(Self, Self), Error> {
        let pipe = || {
            let (input, output) = pipe_with(PipeFlags::CLOEXEC)?;
            // One of the pipe's own must not be where prog's shall be.
            Ok((duplicate(input, UCSPI_WRITE + 1)?, duplicate(output, UCSPI_WRITE + 1)?))
        };
        let ((prog_reads, write), (read, prog_writes)) =
            pipe().and_then(|first| Ok((first, pipe()?))).map_err(Error::system::<Errno>("make a pipe"))?;
        let place = |fd, number| raw::move_to(fd, number).map_err(Error::system("hand a descriptor to prog"));
        let prog = Self::over(place(&prog_reads, UCSPI_READ)?, place(&prog_writes, UCSPI_WRITE)?);
        Ok((Self::over(read, write), prog))
    }

    fn over(input: OwnedFd, output: OwnedFd) -> Self {
        Self { input, output, was_blocking: [false; 2] }
    }

    /// The numbers of the descriptors.
    pub fn numbers(&self) -> [RawFd; 2] {
        [self.input.as_raw_fd(), self.output.as_raw_fd()]
    }

    /// Without Nagle's delay (a go-ahead must not wait 40 ms for an acknowledgement), and with keepalive, so that a
    /// client that vanished is noticed.
    pub fn set_nodelay_and_keepalive(&self) {
        // Unix sockets and pipes know neither option, nor need them.
        let _ = sockopt::set_tcp_nodelay(&self.output, true);
        let _ = sockopt::set_socket_keepalive(&self.output, true);
    }

    /// Makes the descriptors non-blocking, for the session. No other of their flags is touched.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn set_nonblocking(&mut self) -> Result<(), Error> {
        for (fd, was_blocking) in [&self.input, &self.output].into_iter().zip(&mut self.was_blocking) {
            *was_blocking |= is_blocking(fd)?;
            ioctl_fionbio(fd, true).map_err(Error::system("make the client's descriptors non-blocking"))?;
        }
        Ok(())
    }

    /// Makes those blocking again that were so before, and closes both.
    pub fn release(self) {
        restore_blocking([&self.input, &self.output], self.was_blocking);
    }
}

/// Makes those of the client's descriptors blocking again that were so before.
pub fn restore_blocking(descriptors: [impl AsFd; 2], was_blocking: [bool; 2]) {
    for (fd, _) in descriptors.into_iter().zip(was_blocking).filter(|(_, was_blocking)| *was_blocking) {
        // Nothing is left to be done if it fails: the descriptor's owner has closed it.
        let _ = ioctl_fionbio(fd, false);
    }
}

/// Both ends of this connection as the kernel knows them; of the Internet's families only.
pub fn ends(connection: impl AsFd) -> Option<Ends> {
    let client = SocketAddr::try_from(getpeername(&connection).ok()??).ok()?;
    let server = SocketAddr::try_from(getsockname(&connection).ok()?).ok()?;
    Some(Ends::new(client, server))
}

/// Leaves `/dev/null` in the places of descriptors 0 and 1.
///
/// # Errors
/// [`Error::System`].
pub fn replace_stdin_and_stdout() -> Result<(), Error> {
    let null = null()?;
    dup2_stdin(&null).and_then(|()| dup2_stdout(&null)).map_err(Error::system("replace descriptors 0 and 1"))
}

/// Keeps messages from the client, ours and those of prog: where descriptor 2 is the client, as under inetd and xinetd, it
/// becomes `/dev/null`. Call it before the first message, for a socket always; for a pipe only once there is a session, as
/// `--help` may be read through a pager. A terminal stays.
pub fn keep_stderr_from_client(kind: FileType) {
    let Ok(messages) = fstat(stderr()) else { return };
    let is_same = |fd| fstat(fd).is_ok_and(|fd| (fd.st_dev, fd.st_ino) == (messages.st_dev, messages.st_ino));
    if FileType::from_raw_mode(messages.st_mode) == kind && (is_same(stdin()) || is_same(stdout())) {
        let replaced = null().is_ok_and(|null| dup2_stderr(null).is_ok());
        if !replaced {
            // A system call failed, and there is no place to say so.
            raw::exit(111);
        }
    }
}

fn null() -> Result<OwnedFd, Error> {
    open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(Error::system("open /dev/null"))
}

/// The same descriptor at a number that is not below this one. That a limit leaves no such number is "invalid argument" to
/// the kernel (fcntl(2)); it is what an administrator knows as too many open files.
fn duplicate(fd: impl AsFd, lowest: RawFd) -> Result<OwnedFd, Errno> {
    fcntl_dupfd_cloexec(fd, lowest).map_err(|why| if why == Errno::INVAL { Errno::MFILE } else { why })
}

fn is_blocking(fd: impl AsFd) -> Result<bool, Error> {
    let flags = fcntl_getfl(fd).map_err(Error::system("read the flags of the client's descriptors"))?;
    Ok(!flags.contains(OFlags::NONBLOCK))
}

/// Where a UCSPI client reads (D. J. Bernstein's tcpclient).
pub const UCSPI_READ: RawFd = 6;

/// Where it writes.
pub const UCSPI_WRITE: RawFd = 7;

/// Above the standard descriptors.
const FIRST_FREE: i32 = 3;
