//! A table of system calls becomes a seccomp program, while this program is compiled: a process per connection has
//! no time to do it each time. Only x86-64 and aarch64; both are little-endian.

#![allow(clippy::indexing_slicing, reason = "it runs in the compiler, where a panic is an error message")]

use seccompiler::sock_filter;

/// One system call.
pub(super) struct Call {
    /// Its number on this machine.
    pub(super) number: i64,
    /// What becomes of it.
    pub(super) action: Action,
}

/// What becomes of a call. A call that is not in the table, or does not pass its tests, kills the process.
#[derive(Clone, Copy)]
pub(super) enum Action {
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
    /// ... are one of these ...
    pub(super) values: &'static [u32],
    /// ... or, if this is set, none of them.
    pub(super) negated: bool,
}

/// How many instructions the table needs.
pub(super) const fn length(calls: &[Call]) -> usize {
    let mut length = PROLOGUE + ENDS;
    let mut at = 0;
    while at < calls.len() {
        length += leaf_length(&calls[at]) + 1;
        at += 1;
    }
    length - 1
}

/// The program: a binary search for the number, and one end for each action. When a filter is installed the kernel
/// compiles it and tries every number there is, so a short program is a fast start: the session's takes 62
/// microseconds of processor time as a list, 45 as a search, 37 since its ends are shared. `LENGTH` is the table's
/// [`length`].
pub(super) const fn program<const LENGTH: usize>(calls: &[Call]) -> [sock_filter; LENGTH] {
    let mut program = Program { code: [KILL; LENGTH], end: 0 };
    program.push(LOAD, 0, 0, ARCH_OFFSET);
    program.push(JUMP_IF_EQUAL, 0, program.to(End::Kill), ARCH);
    program.push(LOAD, 0, 0, 0);
    program.push_search(calls, &ranking(calls), 0, calls.len());
    program.push(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW);
    program.push(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOENT as u32);
    program.push(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS);
    assert!(program.end == LENGTH);
    program.code
}

/// The places of the calls in the table, in the order of their numbers.
const fn ranking(calls: &[Call]) -> [usize; LONGEST_TABLE] {
    let mut ranking = [0; LONGEST_TABLE];
    let mut at = 0;
    while at < calls.len() {
        let mut rank = at;
        while rank > 0 && calls[ranking[rank - 1]].number > calls[at].number {
            ranking[rank] = ranking[rank - 1];
            rank -= 1;
        }
        ranking[rank] = at;
        at += 1;
    }
    ranking
}

struct Program<const LENGTH: usize> {
    code: [sock_filter; LENGTH],
    end: usize,
}

/// The last instructions of a program, each as far from its end as its number.
#[derive(Clone, Copy)]
enum End {
    Kill = 1,
    Absent = 2,
    Allow = 3,
}

impl<const LENGTH: usize> Program<LENGTH> {
    const fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) {
        self.code[self.end] = sock_filter { code, jt, jf, k };
        self.end += 1;
    }

    /// How far the next instruction must jump to get there.
    const fn to(&self, end: End) -> u8 {
        let distance = LENGTH - end as usize - self.end - 1;
        assert!(distance <= u8::MAX as usize);
        distance as u8
    }

    /// Finds the number among those ranked from `first` to `end`.
    const fn push_search(&mut self, calls: &[Call], ranking: &[usize; LONGEST_TABLE], first: usize, end: usize) {
        if end - first == 1 {
            return self.push_leaf(&calls[ranking[first]]);
        }
        let middle = first.midpoint(end);
        let mut lower = middle - first - 1;
        let mut at = first;
        while at < middle {
            lower += leaf_length(&calls[ranking[at]]);
            at += 1;
        }
        assert!(lower <= u8::MAX as usize);
        self.push(JUMP_IF_AT_LEAST, lower as u8, 0, calls[ranking[middle]].number as u32);
        self.push_search(calls, ranking, first, middle);
        self.push_search(calls, ranking, middle, end);
    }

    const fn push_leaf(&mut self, call: &Call) {
        let then = match call.action {
            Action::Allow => self.to(End::Allow),
            Action::Absent => self.to(End::Absent),
            Action::If(_) => 0,
        };
        self.push(JUMP_IF_EQUAL, then, self.to(End::Kill), call.number as u32);
        if let Action::If(tests) = call.action {
            self.push_tests(tests);
        }
    }

    const fn push_tests(&mut self, tests: &[Test]) {
        let mut at = 0;
        while at < tests.len() {
            self.push_test(&tests[at], at + 1 == tests.len());
            at += 1;
        }
    }

    const fn push_test(&mut self, test: &Test, is_last: bool) {
        self.push(LOAD, 0, 0, ARGUMENTS_OFFSET + 8 * test.argument);
        self.push(AND, 0, 0, test.mask);
        let mut left = test.values.len();
        while left > 0 {
            let value = test.values[test.values.len() - left];
            left -= 1;
            // Where the test goes on from here with `left` values, or where it ends.
            let passed = if is_last { self.to(End::Allow) } else { left as u8 };
            let failed = self.to(End::Kill);
            let (equal, other) = match (test.negated, left) {
                (false, 0) => (passed, failed),
                (false, _) => (passed, 0),
                (true, 0) => (failed, passed),
                (true, _) => (failed, 0),
            };
            self.push(JUMP_IF_EQUAL, equal, other, value);
        }
    }
}

/// The comparison, and the call's tests.
const fn leaf_length(call: &Call) -> usize {
    let Action::If(tests) = call.action else { return 1 };
    let mut length = 1;
    let mut at = 0;
    while at < tests.len() {
        length += 2 + tests[at].values.len();
        at += 1;
    }
    length
}

/// More calls than any table has.
const LONGEST_TABLE: usize = 32;

/// Instructions before the first call: machine and number.
const PROLOGUE: usize = 3;

/// Instructions behind the last call: one for each action.
const ENDS: usize = 3;

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
const JUMP_IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const KILL: sock_filter = sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_KILL_PROCESS };

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const CALLS: &[Call] = &[
        Call { number: 7, action: Action::Allow },
        Call { number: 1, action: Action::Absent },
        Call { number: 9, action: Action::If(&[Test { argument: 1, mask: 6, values: &[2, 4], negated: false }]) },
        Call {
            number: 0,
            action: Action::If(&[TWO, Test { argument: 5, mask: u32::MAX, values: &[0], negated: false }]),
        },
        Call { number: 3, action: Action::If(&[NOT_TWO_NOR_FIVE, TWO_AT_LAST]) },
        Call { number: 4, action: Action::If(&[TWO_AT_LAST, NOT_TWO_NOR_FIVE]) },
    ];
    const TWO: Test = Test { argument: 0, mask: u32::MAX, values: &[2], negated: false };
    const TWO_AT_LAST: Test = Test { argument: 5, mask: u32::MAX, values: &[2], negated: false };
    const NOT_TWO_NOR_FIVE: Test = Test { argument: 0, mask: u32::MAX, values: &[2, 5], negated: true };
    const PROGRAM: [sock_filter; length(CALLS)] = program(CALLS);

    fn run(arch: u32, number: u32, arguments: [u32; 6]) -> u32 {
        action(&PROGRAM, arch, number, arguments)
    }

    /// Whether the kernel would make this call.
    pub(in super::super) fn allows(program: &[sock_filter], number: i64, arguments: [u32; 6]) -> bool {
        action(program, ARCH, number as u32, arguments) == libc::SECCOMP_RET_ALLOW
    }

    /// What the kernel would do, instruction by instruction.
    fn action(program: &[sock_filter], arch: u32, number: u32, arguments: [u32; 6]) -> u32 {
        let mut data = vec![number, arch, 0, 0];
        data.extend(arguments.iter().flat_map(|argument| [*argument, 0]));
        let (mut at, mut value) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            let holds = match code {
                LOAD => {
                    value = data[k as usize / 4];
                    false
                }
                AND => {
                    value &= k;
                    false
                }
                JUMP_IF_EQUAL => value == k,
                JUMP_IF_AT_LEAST => value >= k,
                RETURN => return k,
                _ => panic!("there is no such instruction: {code}"),
            };
            at += 1 + usize::from(if holds { jt } else { jf });
        }
    }

    #[test]
    fn what_is_in_the_table_is_allowed_and_nothing_else() {
        for number in (0..12).chain([0x4000_0007]) {
            let expected = match number {
                7 => libc::SECCOMP_RET_ALLOW,
                1 => libc::SECCOMP_RET_ERRNO | libc::ENOENT as u32,
                _ => libc::SECCOMP_RET_KILL_PROCESS,
            };
            assert_eq!(run(ARCH, number, [0; 6]), expected, "call {number}");
            assert_eq!(run(ARCH + 1, number, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS, "of another machine");
        }
    }

    #[test]
    fn a_call_must_pass_all_its_tests() {
        let allowed = |number, arguments| run(ARCH, number, arguments) == libc::SECCOMP_RET_ALLOW;
        for (argument, passes) in [(0, false), (2, true), (3, true), (4, true), (6, false), (8, false)] {
            assert_eq!(allowed(9, [0, argument, 0, 0, 0, 0]), passes, "{argument}");
        }
        for (first, last, passes) in [(1, 2, true), (2, 2, false), (3, 2, true), (5, 2, false), (1, 1, false)] {
            for number in [3, 4] {
                assert_eq!(allowed(number, [first, 0, 0, 0, 0, last]), passes, "{number}: {first} and {last}");
            }
        }
        for (first, last, passes) in [(2, 0, true), (2, 1, false), (0, 0, false)] {
            assert_eq!(allowed(0, [first, 0, 0, 0, 0, last]), passes, "{first} and {last}");
        }
    }
}
