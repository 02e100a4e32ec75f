//! A process behind the session's walls tries to get out; for tests/walls.rs, and never installed.
//!
//! `walls free WHAT` tries WHAT, `walls confined WHAT` tries it behind the walls. Status 0: it worked; 1: it was
//! refused, and standard output says how. `walls without landlock|seccomp|both PROGRAM...` runs a program for which
//! the kernel has none, `walls as UID PROGRAM...` as another user.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use seccompiler::{SeccompAction, SeccompFilter, apply_filter};
use starttls_wrapper::message::Log;
use starttls_wrapper::sandbox::{Sandbox, SandboxMode};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["free" | "confined", _] => log_to_a_socket(),
        _ => Ok(None),
    };
    let outcome = outcome.and_then(|_journal| match words[..] {
        ["free", what] => attempt(what),
        ["confined", what] => {
            let sandbox = Sandbox { ids: None, mode: SandboxMode::Try };
            sandbox.confine_session(&Log::new("walls")).map_err(io::Error::other).and_then(|()| attempt(what))
        }
        ["as", user, program, ref arguments @ ..] => run_as(user, program, arguments),
        ["without", wall, program, ref arguments @ ..] => without(wall, program, arguments),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    });
    let Err(why) = outcome else { return ExitCode::SUCCESS };
    let _ = rustix::io::write(rustix::stdio::stdout(), format!("{:?}", why.kind()).as_bytes());
    ExitCode::FAILURE
}

/// Standard error as systemd has it, and who listens.
fn log_to_a_socket() -> io::Result<Option<UnixStream>> {
    let (messages, journal) = UnixStream::pair()?;
    rustix::stdio::dup2_stderr(messages)?;
    Ok(Some(journal))
}

/// What an attacker would try.
fn attempt(what: &str) -> io::Result<()> {
    match what {
        "nothing" => Ok(()),
        "open" => File::open("/etc/passwd").map(drop),
        "create" => File::create("/tmp/starttls-wrapper-walls").map(drop),
        "look" => std::fs::metadata("/etc/passwd").map(drop),
        "connect" => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            TcpStream::connect(listener.local_addr()?).map(drop)
        }
        "udp" => UdpSocket::bind("127.0.0.1:0")?.send_to(b"?", "127.0.0.1:53").map(drop),
        "unix" => UnixStream::pair().map(drop),
        "execve" => Err(Command::new("/bin/true").exec()),
        "fork" => call(libc::SYS_clone, [libc::SIGCHLD as usize, 0, 0, 0, 0]).map(|pid| {
            if pid == 0 {
                end()
            }
        }),
        "thread" => std::thread::Builder::new().spawn(|| {}).map(drop),
        "ptrace" => {
            call(libc::SYS_ptrace, [libc::PTRACE_SEIZE as usize, parent()?.as_raw_pid() as usize, 0, 0, 0]).map(drop)
        }
        "signal" => Ok(rustix::process::test_kill_process(parent()?)?),
        "code" => {
            let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as usize;
            call(libc::SYS_mmap, [0, 4096, (libc::PROT_READ | libc::PROT_EXEC) as usize, flags, usize::MAX]).map(drop)
        }
        "mute" => call(libc::SYS_ioctl, [2, libc::FIONBIO as usize, c"yes".as_ptr() as usize, 0, 0]).map(drop),
        "cut off" => call(libc::SYS_shutdown, [2, libc::SHUT_RDWR as usize, 0, 0, 0]).map(drop),
        "duplicate" => call(libc::SYS_fcntl, [2, libc::F_DUPFD_CLOEXEC as usize, 0, 0, 0]).map(drop),
        "shared memory" => map(libc::MAP_SHARED | libc::MAP_ANONYMOUS),
        "growing memory" => map(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_GROWSDOWN),
        "prctl" => call(libc::SYS_prctl, [libc::PR_SET_DUMPABLE as usize, 1, 0, 0, 0]).map(drop),
        "terminal" => call(libc::SYS_ioctl, [2, libc::TIOCSTI as usize, c"x".as_ptr() as usize, 0, 0]).map(drop),
        "io_uring" => call(libc::SYS_io_uring_setup, [0, 0, 0, 0, 0]).map(drop),
        "memory" => {
            let mut hoard = vec![0_u8; 80 << 20];
            hoard.fill(1);
            std::hint::black_box(hoard);
            Ok(())
        }
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// More memory than a session may have, used at once.
fn map(flags: i32) -> io::Result<()> {
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as usize;
    call(libc::SYS_mmap, [0, 80 << 20, protection, (flags | libc::MAP_POPULATE) as usize, usize::MAX]).map(drop)
}

/// Calls that std has no name for, with arguments that are numbers, or null, or a constant.
fn call(number: i64, [a, b, c, d, e]: [usize; 5]) -> io::Result<i64> {
    // SAFETY: no argument lets the kernel write to memory.
    #[allow(unsafe_code, reason = "this is what the walls are for")]
    let result = unsafe { libc::syscall(number, a, b, c, d, e, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn parent() -> io::Result<rustix::process::Pid> {
    rustix::process::getppid().ok_or(io::ErrorKind::NotFound.into())
}

fn end() {
    std::process::exit(0);
}

/// Runs a program as another user.
fn run_as(user: &str, program: &str, arguments: &[&str]) -> io::Result<()> {
    let id = user.parse().map_err(io::Error::other)?;
    Err(Command::new(program).args(arguments).uid(id).gid(id).exec())
}

/// Runs a program on a kernel that lacks something.
fn without(wall: &str, program: &str, arguments: &[&str]) -> io::Result<()> {
    let landlock = [libc::SYS_landlock_create_ruleset, libc::SYS_landlock_restrict_self];
    for (name, calls, error) in
        [("landlock", &landlock[..], libc::ENOSYS), ("seccomp", &[libc::SYS_seccomp], libc::EINVAL)]
    {
        if wall == name || wall == "both" {
            let rules: BTreeMap<_, _> = calls.iter().map(|call| (*call, vec![])).collect();
            let refused = SeccompAction::Errno(error as u32);
            let machine = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
            let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, machine).map_err(io::Error::other)?;
            let program: Vec<_> = filter.try_into().map_err(io::Error::other)?;
            apply_filter(&program).map_err(io::Error::other)?;
        }
    }
    Err(Command::new(program).args(arguments).exec())
}
