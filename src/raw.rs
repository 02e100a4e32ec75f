//! What safe Rust cannot do: fork(2) and execve(2), signals and what becomes of them, descriptors that
//! others know by their numbers, what a socket's peer has not taken, and _exit(2). All of this program's `unsafe` is here,
//! and the only door to libc.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::{FdFlags, fcntl_setfd, retry_on_intr};
use rustix::process::{Pid, Signal, WaitOptions, getpid, waitpid};

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
pub fn unacknowledged(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut count: c_int = 0;
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
pub fn move_to(fd: &OwnedFd, number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: nobody in this program owns what is closed by it, and nobody else owns what is there afterwards.
    unsafe {
        if libc::dup3(fd.as_raw_fd(), number, libc::O_CLOEXEC) < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(number))
    }
}

/// Signals as they were when this program was started, and shall be for what it starts: which were blocked, and which of
/// [`CHANGED`] were ignored. std, which has SIGPIPE ignored always, begins after this, and so do handlers, for which a C
/// library may unblock its own.
static BLOCKED: AtomicU64 = AtomicU64::new(0);
static IGNORED: AtomicU64 = AtomicU64::new(0);

/// Those that this program changes: a write that nobody reads is an error to it, and so is one beyond RLIMIT_FSIZE (a
/// message that cannot be written shall end no session); and it waits for its children.
const CHANGED: [Signal; 3] = [Signal::PIPE, Signal::XFSZ, Signal::CHILD];

#[used]
// SAFETY: what stands here is called once, before main and by one thread, and needs nothing of std, which has SIGPIPE
// ignored always and begins after this.
#[unsafe(link_section = ".init_array")]
static BEFORE_STD: extern "C" fn() = record_signals;

extern "C" fn record_signals() {
    let ignored = CHANGED.iter().filter(|signal| {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: the kernel writes one sigaction, of which all bytes are there already.
        let action = unsafe {
            libc::sigaction(signal.as_raw(), ptr::null(), action.as_mut_ptr());
            action.assume_init()
        };
        action.sa_sigaction == libc::SIG_IGN
    });
    IGNORED.store(ignored.fold(0, |set, signal| set | bit(*signal)), Ordering::Relaxed);
    BLOCKED.store(change_mask(libc::SIG_BLOCK, 0), Ordering::Relaxed);
    // SAFETY: no handler is set.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// From now on these signals come as records of a descriptor, blocked or ignored as they may have been: whoever waits
/// for signals waits for a descriptor. The end of a child is never ignored.
///
/// # Errors
/// The system's.
pub fn signalfd(signals: &[Signal]) -> io::Result<OwnedFd> {
    let heard = signals.iter().fold(0, |set, signal| set | bit(*signal));
    change_mask(libc::SIG_BLOCK, heard);
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: no handler of this program is taken away. The kernel reads one set, and nobody else owns the descriptor.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        let fd = libc::syscall(libc::SYS_signalfd4, -1, &raw const heard, size_of_val(&heard), flags);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// Puts signals back as they were, for another program.
fn restore_signals() {
    for signal in CHANGED {
        let was_ignored = IGNORED.load(Ordering::Relaxed) & bit(signal) != 0;
        // SAFETY: no handler of this program is taken away.
        unsafe { libc::signal(signal.as_raw(), if was_ignored { libc::SIG_IGN } else { libc::SIG_DFL }) };
    }
    change_mask(libc::SIG_SETMASK, BLOCKED.load(Ordering::Relaxed));
}

/// Ends this process by this signal, so that whoever started it sees what happened.
pub fn end_by(signal: Signal) {
    // SAFETY: no handler of this program is taken away. The process ends as soon as the signal is no longer blocked.
    unsafe {
        libc::signal(signal.as_raw(), libc::SIG_DFL);
        libc::kill(getpid().as_raw_nonzero().get(), signal.as_raw());
    }
    change_mask(libc::SIG_UNBLOCK, bit(signal));
}

/// Changes which signals are blocked, and returns which were. The kernel is asked itself: a C library hides those that it
/// keeps for threads.
fn change_mask(how: c_int, set: u64) -> u64 {
    let mut before = 0_u64;
    // SAFETY: the kernel reads one set and writes one. A signal that is blocked interrupts nothing.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const set, &raw mut before, size_of_val(&set));
    }
    before
}

/// Its place in a set, as the kernel has them.
fn bit(signal: Signal) -> u64 {
    1 << (signal.as_raw() - 1)
}

/// A program, as execve(2) takes it.
pub struct Image {
    /// Where it may be, in the order of the search.
    pub files: Vec<CString>,
    /// Its name and its arguments.
    pub words: Vec<CString>,
    /// Its environment.
    pub variables: Vec<CString>,
}

/// Starts a program with these descriptors for 0 and 1, and signals as they were. Until it has begun the child borrows
/// this process's memory, which stands still meanwhile, in place of a copy (vfork(2)).
///
/// # Errors
/// Why there is no process, or why it cannot become that program.
pub fn spawn(image: &Image, input: BorrowedFd<'_>, output: BorrowedFd<'_>) -> io::Result<Pid> {
    let attempt = Attempt::new(image);
    let mut start = Start { attempt, input: input.as_raw_fd(), output: output.as_raw_fd(), failure: 0 };
    let mut stack = Stack(MaybeUninit::uninit());
    // SAFETY: the child has a stack of its own, large enough for what it calls. This thread, the only one, does not go
    // on before the child has become another program or ended; the child allocates nothing, and writes to its stack, to
    // `start` and to the C library's errno alone.
    let pid = unsafe {
        let top = (&raw mut stack).add(1);
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        libc::clone(child_main, top.cast(), flags, (&raw mut start).cast())
    };
    let Some(pid) = Pid::from_raw(pid.max(0)) else { return Err(io::Error::last_os_error()) };
    if start.failure == 0 {
        return Ok(pid);
    }
    let _ = retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()));
    Err(io::Error::from_raw_os_error(start.failure))
}

/// Makes this process that program, with signals as they were. Returns why not.
pub fn exec(image: &Image) -> io::Error {
    restore_signals();
    io::Error::from_raw_os_error(Attempt::new(image).exec())
}

/// What a child has to do, and what came of it.
struct Start<'a> {
    attempt: Attempt<'a>,
    input: RawFd,
    output: RawFd,
    failure: c_int,
}

/// A child's.
#[repr(C, align(16))]
struct Stack(MaybeUninit<[u8; 8 * 1024]>);

/// The child's whole life, if it becomes no other program.
extern "C" fn child_main(start: *mut c_void) -> c_int {
    // SAFETY: it is the `Start` of `spawn`, which nobody else uses meanwhile.
    let start = unsafe { &mut *start.cast::<Start<'_>>() };
    restore_signals();
    // SAFETY: in the child nobody owns what is closed by it.
    let moved = unsafe { libc::dup2(start.input, 0) >= 0 && libc::dup2(start.output, 1) >= 0 };
    start.failure = if moved { start.attempt.exec() } else { last_error() };
    exit(127)
}

/// The pointers that execve(2) takes; null is the last of each.
struct Attempt<'a> {
    files: &'a [CString],
    /// The shell, then the words.
    words: Vec<*const c_char>,
    variables: Vec<*const c_char>,
}

impl<'a> Attempt<'a> {
    fn new(image: &'a Image) -> Self {
        let pointer = |text: &CString| text.as_ptr();
        let words = [SHELL.as_ptr()].into_iter().chain(image.words.iter().map(pointer)).chain([ptr::null()]);
        let variables = image.variables.iter().map(pointer).chain([ptr::null()]);
        Self { files: &image.files, words: words.collect(), variables: variables.collect() }
    }

    /// Becomes the first of the files that can be run, as execvp(3) does. Returns why none can. Allocates nothing.
    fn exec(&mut self) -> c_int {
        let mut failure = libc::ENOENT;
        for file in self.files {
            match self.exec_file(file) {
                libc::ENOENT | libc::ENOTDIR | libc::ENODEV | libc::ESTALE | libc::ETIMEDOUT => {}
                // Another one may be allowed.
                libc::EACCES => failure = libc::EACCES,
                other => return other,
            }
        }
        failure
    }

    /// What may be executed and is no program is a script for the shell.
    fn exec_file(&mut self, file: &CStr) -> c_int {
        // SAFETY: the pointers are to strings that outlive this, and null comes last.
        unsafe { libc::execve(file.as_ptr(), self.words.as_ptr().add(1), self.variables.as_ptr()) };
        let failure = last_error();
        if let (libc::ENOEXEC, Some(name)) = (failure, self.words.get_mut(1)) {
            *name = file.as_ptr();
            // SAFETY: as above.
            unsafe { libc::execve(SHELL.as_ptr(), self.words.as_ptr(), self.variables.as_ptr()) };
        }
        failure
    }
}

const SHELL: &CStr = c"/bin/sh";

fn last_error() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or_default()
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
