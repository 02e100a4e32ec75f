//! The system calls that session and keeper make once they are confined; any other kills the process.
//!
//! Whoever adds a call to the program adds it here; the end-to-end tests notice if it is missing.

use libc::{
    F_DUPFD_CLOEXEC, F_GETFD, F_SETPIPE_SZ, FIONBIO, FIONREAD, FUTEX_PRIVATE_FLAG, FUTEX_WAIT, FUTEX_WAIT_BITSET,
    FUTEX_WAKE, IPPROTO_TCP, MAP_ANONYMOUS, MAP_GROWSDOWN, MAP_PRIVATE, MAP_TYPE, PROT_EXEC, SIGHUP, SIGINT, SIGKILL,
    SIGTERM, SO_TYPE, SOL_SOCKET, TCP_QUICKACK, TIOCOUTQ,
};
use rustix::process::{Pid, getpid};
use seccompiler::sock_filter;

use super::filter::Action::{Absent, Allow, If};
use super::filter::{Action, Call, Test, length, program};

/// For the session: what moves bytes between the descriptors it has, and what Rust, the C library and aws-lc need
/// to live. Nothing here opens, connects, executes, forks, or looks at another process.
pub(super) static SESSION: [sock_filter; length(SESSION_CALLS)] = program(SESSION_CALLS);

/// For the keeper that has given everything: it waits for its children, may signal these, and ends.
pub(super) fn keeper(family: [Option<Pid>; 2]) -> [sock_filter; length(KEEPER_CALLS)] {
    let mut filter = KEEPER;
    let [session, prog] = family;
    for (stand_in, pid) in FAMILY.iter().zip([Some(getpid()), session, prog]) {
        for instruction in &mut filter {
            if let (true, Some(pid)) = (instruction.k == *stand_in, pid) {
                instruction.k = pid.as_raw_nonzero().get().unsigned_abs();
            }
        }
    }
    filter
}

const KEEPER: [sock_filter; length(KEEPER_CALLS)] = program(KEEPER_CALLS);

/// In place of the keeper's process id, the session's and prog's. Nobody has these (PID_MAX_LIMIT), nor is anything else
/// in the filter.
const FAMILY: &[u32] = &[0x7fff_fff0, 0x7fff_fff1, 0x7fff_fff2];

const SESSION_CALLS: &[Call] = &[
    call(libc::SYS_read, Allow),                 // from client and server, and the anchors
    call(libc::SYS_write, Allow),                // to client and server, and messages to standard error
    call(libc::SYS_writev, Allow),               // to client and server, all records of TLS at once
    call(SYS_EPOLL_WAIT, Allow),                 // mio waits
    call(libc::SYS_ppoll, Allow),                // standard error takes a message
    call(libc::SYS_splice, Allow),               // plaintext passes through without a copy
    call(libc::SYS_futex, If(PRIVATE_FUTEX)),    // aws-lc and std, at the end of an initialisation
    call(libc::SYS_sendto, If(UNADDRESSED)),     // asks through the window
    call(libc::SYS_recvfrom, Allow),             // the length of an answer through the window
    call(libc::SYS_recvmsg, Allow),              // an answer through the window, and descriptors
    call(libc::SYS_close, Allow),                // descriptors
    call(libc::SYS_epoll_ctl, Allow),            // mio watches descriptors, and no longer
    call(libc::SYS_fcntl, If(SESSION_FCNTL)),    // a second descriptor for one connection, a larger pipe
    call(libc::SYS_ioctl, If(SESSION_IOCTL)),    // descriptors become non-blocking; what a peer has not read
    call(libc::SYS_shutdown, If(SHUTDOWN)),      // half-close
    call(libc::SYS_getsockopt, If(SOCKET_TYPE)), // whether the client is a socket, on which a RST would do harm
    call(libc::SYS_setsockopt, If(QUICKACK)),    // what gets no answer is acknowledged at once
    call(libc::SYS_getrandom, Allow),            // aws-lc and std seed their generators
    call(libc::SYS_brk, Allow),                  // malloc
    call(libc::SYS_mmap, If(PRIVATE)),           // malloc, aws-lc; never code, never a file, nothing that limits miss
    call(libc::SYS_munmap, Allow),               // malloc; std at exit
    call(libc::SYS_mremap, Allow),               // malloc
    call(libc::SYS_madvise, Allow),              // malloc; aws-lc's page that a fork wipes
    call(libc::SYS_clock_gettime, Allow),        // deadlines, where the vDSO does not answer
    call(SYS_STAT, Absent),                      // aws-lc looks for /dev/sysgenid, and goes on without
    call(libc::SYS_sigaltstack, Allow),          // std at exit
    call(libc::SYS_exit_group, Allow),           // the end
];

const KEEPER_CALLS: &[Call] = &[
    call(libc::SYS_ppoll, Allow),             // waits for a signal, and for standard error
    call(libc::SYS_restart_syscall, Allow),   // goes on waiting after a stop
    call(libc::SYS_wait4, Allow),             // session and prog
    call(libc::SYS_read, Allow),              // what signal has come
    call(libc::SYS_write, Allow),             // messages to standard error
    call(libc::SYS_close, Allow),             // descriptors
    call(libc::SYS_fcntl, If(KEEPER_FCNTL)),  // debug builds, as the session's
    call(libc::SYS_ioctl, If(NON_BLOCKING)),  // the client's descriptors wait again
    call(libc::SYS_sendto, If(UNADDRESSED)),  // tells of prog's end through the window
    call(libc::SYS_shutdown, Allow),          // closes the window
    call(libc::SYS_kill, If(ENDING)),         // session, prog and itself are told to end
    call(libc::SYS_clock_gettime, Allow),     // timeouts, where the vDSO does not answer
    call(libc::SYS_brk, Allow),               // malloc
    call(libc::SYS_mmap, If(PRIVATE)),        // malloc; never code, never a file
    call(libc::SYS_munmap, Allow),            // malloc; std at exit
    call(libc::SYS_mremap, Allow),            // malloc
    call(libc::SYS_madvise, Allow),           // malloc
    call(libc::SYS_futex, If(PRIVATE_FUTEX)), // std
    call(libc::SYS_rt_sigaction, Allow),      // ends by the signal that it was sent
    call(libc::SYS_rt_sigprocmask, Allow),    // ends by the signal that it was sent
    call(libc::SYS_getpid, Allow),            // ends by the signal that it was sent
    call(libc::SYS_sigaltstack, Allow),       // std at exit
    call(libc::SYS_exit_group, Allow),        // the end
];

/// The call epoll_wait(2) makes.
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
const SYS_EPOLL_WAIT: i64 = libc::SYS_epoll_wait;
#[cfg(not(all(target_arch = "x86_64", target_env = "gnu")))]
const SYS_EPOLL_WAIT: i64 = libc::SYS_epoll_pwait;

/// The call stat(2) makes.
#[cfg(all(target_arch = "x86_64", target_env = "musl"))]
const SYS_STAT: i64 = libc::SYS_stat;
#[cfg(not(all(target_arch = "x86_64", target_env = "musl")))]
const SYS_STAT: i64 = libc::SYS_newfstatat;

const fn call(number: i64, action: Action) -> Call {
    Call { number, action }
}

const fn one_of(argument: u32, values: &'static [u32]) -> Test {
    Test { argument, mask: u32::MAX, values, negated: false }
}

/// Standard error is shared with others, who log there. It is written to, and otherwise left alone: made non-blocking it
/// would lose their lines, and shut down (it is a socket under systemd) all of them. A second descriptor for it would
/// have another number.
const NOT_STANDARD_ERROR: Test = Test { argument: 0, mask: u32::MAX, values: &[2], negated: true };

/// F_GETFD: debug builds look whether a descriptor is open before they close it.
const SESSION_FCNTL: &[Test] =
    &[NOT_STANDARD_ERROR, one_of(1, &[F_DUPFD_CLOEXEC as u32, F_GETFD as u32, F_SETPIPE_SZ as u32])];
const SHUTDOWN: &[Test] = &[NOT_STANDARD_ERROR];
const KEEPER_FCNTL: &[Test] = &[one_of(1, &[F_GETFD as u32])];
/// Nobody else is signalled, and nothing else is said.
const ENDING: &[Test] =
    &[one_of(0, FAMILY), one_of(1, &[SIGHUP as u32, SIGINT as u32, SIGKILL as u32, SIGTERM as u32])];
const NON_BLOCKING: &[Test] = &[one_of(1, &[FIONBIO as u32])];
const SESSION_IOCTL: &[Test] = &[NOT_STANDARD_ERROR, one_of(1, &[FIONBIO as u32, FIONREAD as u32, TIOCOUTQ as u32])];
const QUICKACK: &[Test] = &[one_of(1, &[IPPROTO_TCP as u32]), one_of(2, &[TCP_QUICKACK as u32])];
const SOCKET_TYPE: &[Test] = &[one_of(1, &[SOL_SOCKET as u32]), one_of(2, &[SO_TYPE as u32])];

/// The length of the address: without one, a packet goes only where its descriptor is connected to.
const UNADDRESSED: &[Test] = &[one_of(5, &[0])];

/// RLIMIT_DATA does not count what is shared (MAP_TYPE says how), nor what grows as a stack does.
const PRIVATE: &[Test] = &[
    Test { argument: 2, mask: PROT_EXEC as u32, values: &[0], negated: false },
    Test {
        argument: 3,
        mask: (MAP_TYPE | MAP_ANONYMOUS | MAP_GROWSDOWN) as u32,
        values: &[(MAP_PRIVATE | MAP_ANONYMOUS) as u32],
        negated: false,
    },
];

/// Waiting and waking within the process; not the operations where the kernel has had its errors.
const PRIVATE_FUTEX: &[Test] = &[one_of(
    1,
    &[
        (FUTEX_WAKE | FUTEX_PRIVATE_FLAG) as u32,
        (FUTEX_WAIT | FUTEX_PRIVATE_FLAG) as u32,
        (FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG) as u32,
    ],
)];

#[cfg(test)]
mod tests {
    use super::super::filter::tests::allows;
    use super::*;

    #[test]
    fn a_keeper_signals_itself_and_its_children_and_nobody_else() {
        let (session, prog, own) = (4711, 4712, getpid().as_raw_nonzero().get().unsigned_abs());
        let pid = |number: u32| Pid::from_raw(number.cast_signed());
        let kills =
            |family, pid, signal| allows(&keeper(family), libc::SYS_kill, [pid, i32::unsigned_abs(signal), 0, 0, 0, 0]);
        let family = [pid(session), pid(prog)];
        for signal in [SIGHUP, SIGINT, SIGKILL, SIGTERM] {
            assert!([own, session, prog].iter().all(|pid| kills(family, *pid, signal)));
            assert!([0, 1, u32::MAX, session - 1, prog + 1].iter().all(|pid| !kills(family, *pid, signal)));
            assert!(!kills([pid(session), None], prog, signal));
        }
        assert!([0, libc::SIGSTOP, libc::SIGUSR1].iter().all(|signal| !kills(family, prog, *signal)));
        for other in [libc::SYS_tkill, libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo, libc::SYS_pidfd_send_signal] {
            assert!(!allows(&keeper(family), other, [prog, SIGKILL as u32, SIGKILL as u32, 0, 0, 0]));
        }
    }
}
