//! The two descriptors of a side, read and written until they would wait.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::tls::Heard;

/// A descriptor to read from, and whether it is worth trying.
pub(super) struct Input<'a> {
    pub(super) fd: &'a OwnedFd,
    pub(super) readable: &'a mut bool,
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !*self.readable {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let result = rustix::io::retry_on_intr(|| rustix::io::read(self.fd, &mut *buffer));
        *self.readable = result != Err(Errno::AGAIN);
        Ok(result?)
    }
}

/// A descriptor to write to, and whether it is worth trying.
pub(super) struct Output<'a> {
    pub(super) fd: Option<&'a OwnedFd>,
    pub(super) writable: &'a mut bool,
    /// What it has taken.
    pub(super) sent: &'a mut u64,
}

impl Output<'_> {
    fn took(&mut self, result: Result<usize, Errno>) -> io::Result<usize> {
        *self.writable = result != Err(Errno::AGAIN);
        let count = result?;
        *self.sent += count as u64;
        Ok(count)
    }
}

impl Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !*self.writable {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let fd = self.fd.ok_or(io::ErrorKind::BrokenPipe)?;
        self.took(rustix::io::retry_on_intr(|| rustix::io::write(fd, bytes)))
    }

    /// All records of a flight in one segment.
    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        if !*self.writable {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let fd = self.fd.ok_or(io::ErrorKind::BrokenPipe)?;
        self.took(rustix::io::retry_on_intr(|| rustix::io::writev(fd, pieces)))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn read_plain(input: &mut Input<'_>, buffer: &mut [u8]) -> io::Result<Heard> {
    match input.read(buffer) {
        Ok(0) => Ok(Heard::End),
        Ok(count) => Ok(Heard::Bytes(count)),
        Err(why) if why.kind() == io::ErrorKind::WouldBlock => Ok(Heard::Nothing),
        Err(why) => Err(why),
    }
}

pub(super) fn send_plain(pending: &mut Vec<u8>, output: &mut Output<'_>) -> io::Result<()> {
    while !pending.is_empty() {
        let count = output.write(pending)?;
        pending.drain(..count);
    }
    Ok(())
}
