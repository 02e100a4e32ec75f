//! A table of system calls becomes a seccomp program, while this program is compiled: a process per connection has
//! no time to do it each time. Only x86-64 and aarch64; both are little-endian.

#![allow(clippy::indexing_slicing, reason = "it runs in the compiler, where a panic is an error message")]

use seccompiler::sock_filter;

/// One system call.
pub(super) struct Call {
    /// Its number on this machine.
    pub(super) number: i64,
    /// What becomes of it.
    pub(super) verdict: Verdict,
}

/// What becomes of a call. A call that is not in the table, or does not pass its tests, kills the process.
#[derive(Clone, Copy)]
pub(super) enum Verdict {
    /// It is made.
    Allow,
    /// It is made if all these hold.
    If(&'static [Test]),
    /// It is not made, and the caller is told ENOENT.
    Absent,
}

/// A condition on one argument.
pub(super) struct Test {
    /// Which argument, counted from zero.
    pub(super) argument: u32,
    /// These bits of its lower half ...
    pub(super) mask: u32,
    /// ... are one of these.
    pub(super) values: &'static [u32],
}

/// How many instructions the table needs.
pub(super) const fn length(calls: &[Call]) -> usize {
    let mut length = PROLOGUE + 1;
    let mut at = 0;
    while at < calls.len() {
        length += 1 + body_length(&calls[at].verdict);
        at += 1;
    }
    length
}

/// The program. `LENGTH` is the table's [`length`].
pub(super) const fn program<const LENGTH: usize>(calls: &[Call]) -> [sock_filter; LENGTH] {
    let mut program = Program { code: [KILL; LENGTH], end: 0 };
    program.push(LOAD, 0, 0, ARCH_OFFSET);
    program.push(JUMP_IF_EQUAL, 1, 0, ARCH);
    program.push(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS);
    program.push(LOAD, 0, 0, 0);
    let mut at = 0;
    while at < calls.len() {
        let Call { number, verdict } = &calls[at];
        program.push(JUMP_IF_EQUAL, 0, body_length(verdict) as u8, *number as u32);
        match verdict {
            Verdict::Allow => program.push(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
            Verdict::Absent => program.push(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOENT as u32),
            Verdict::If(tests) => program.push_tests(tests),
        }
        at += 1;
    }
    // The last instruction kills.
    assert!(program.end + 1 == LENGTH);
    program.code
}

struct Program<const LENGTH: usize> {
    code: [sock_filter; LENGTH],
    end: usize,
}

impl<const LENGTH: usize> Program<LENGTH> {
    const fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) {
        self.code[self.end] = sock_filter { code, jt, jf, k };
        self.end += 1;
    }

    const fn push_tests(&mut self, tests: &[Test]) {
        let mut at = 0;
        while at < tests.len() {
            let Test { argument, mask, values } = &tests[at];
            self.push(LOAD, 0, 0, ARGUMENTS_OFFSET + 8 * *argument);
            self.push(AND, 0, 0, *mask);
            let mut value = 0;
            while value < values.len() {
                self.push(JUMP_IF_EQUAL, (values.len() - value) as u8, 0, values[value]);
                value += 1;
            }
            self.push(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS);
            at += 1;
        }
        self.push(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW);
    }
}

const fn body_length(verdict: &Verdict) -> usize {
    let Verdict::If(tests) = verdict else { return 1 };
    let mut length = 1;
    let mut at = 0;
    while at < tests.len() {
        length += 3 + tests[at].values.len();
        at += 1;
    }
    length
}

/// Instructions before the first call: machine and number.
const PROLOGUE: usize = 4;

/// Where struct seccomp_data has the machine and the arguments.
const ARCH_OFFSET: u32 = 4;
const ARGUMENTS_OFFSET: u32 = 16;

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const KILL: sock_filter = sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_KILL_PROCESS };
