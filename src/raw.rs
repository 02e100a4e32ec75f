//! The things that safe Rust has no word for: fork(2), descriptors that others know by their numbers, what a socket's peer
//! has not taken, and _exit(2). All of this program's `unsafe` is here, and the only door to libc.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::Pid;

/// Splits the process in two: the other one's process id here, `None` there. Call it before any thread is started.
/// There, these ranges of descriptors are closed, first and last included; whoever owns one must not live on there.
///
/// # Errors
/// The system's.
pub fn fork(closed: &[(u32, u32)]) -> io::Result<Option<Pid>> {
    // SAFETY: this program starts no thread, so nothing is left half done in the child, and both processes may use
    // all of Rust afterwards.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        close(closed);
    }
    Ok(Pid::from_raw(pid))
}

/// Closes these ranges of descriptors, first and last included. Whoever owns one must not live on; for a child.
pub fn close(ranges: &[(u32, u32)]) {
    for (first, last) in ranges {
        // SAFETY: the descriptors have no owner: those that have one are kept, or their owner does not live on.
        unsafe {
            if libc::syscall(libc::SYS_close_range, *first, *last, 0) != 0 {
                // Linux before 5.9.
                for fd in *first..=*last.min(&MAX_INHERITED) {
                    libc::close(fd as i32);
                }
            }
        }
    }
}

/// Takes over a descriptor that whoever started this program left open, and keeps it from what this program starts.
/// Call it once a descriptor, before this program opens any of its own.
///
/// # Errors
/// There is none of that number.
pub fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: it reads a flag, and fails where nothing is open.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and as this program has opened none of its own nobody in it owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    fcntl_setfd(&fd, FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// What the kernel holds of all that was written to a socket or a terminal: the other end has not taken it.
///
/// # Errors
/// It is neither.
pub fn unsent(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut count: libc::c_int = 0;
    // SAFETY: the kernel writes one int.
    if unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(count.unsigned_abs().into())
}

/// Moves a descriptor to this number, where nothing of this program is; what whoever started it left there is closed.
///
/// # Errors
/// The system's.
pub fn place(fd: &OwnedFd, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: nobody in this program owns what is closed by it, and nobody else owns what is there afterwards.
    unsafe {
        if libc::dup3(fd.as_raw_fd(), number, libc::O_CLOEXEC) < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(number))
    }
}

/// Ends the process at once. What libraries do at exit helps a process in which others live on; here it would touch
/// seven pages in each of two processes, for memory that the kernel takes back anyway. Whoever had secrets has wiped
/// them when this is called.
pub fn exit(code: u8) -> ! {
    // SAFETY: it does not return, and nothing of this process is left that could notice.
    unsafe { libc::_exit(code.into()) }
}

/// The highest descriptor that is closed one by one.
const MAX_INHERITED: u32 = 1023;
