//! Who used how much: CPU from what the kernel hands over with every reaped child, memory from /proc.
//!
//! This process adopts whatever its children leave behind (PR_SET_CHILD_SUBREAPER), so when a stack has ended and
//! everything was reaped, RUSAGE_CHILDREN has grown by the CPU time of the whole tree, to the microsecond. That
//! needs no privilege and no cgroup.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, wait};

/// CPU time of everything that was started here and has been reaped.
#[allow(unsafe_code)]
pub fn reaped() -> Duration {
    // SAFETY: getrusage(2) fills the structure it is given.
    let usage = unsafe {
        let mut usage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
}

/// CPU time of this thread.
#[allow(unsafe_code)]
pub fn own_thread() -> Duration {
    // SAFETY: clock_gettime(2) fills the structure it is given.
    let time = unsafe {
        let mut time = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time);
        time
    };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// From now on orphans come here.
pub fn adopt_orphans() {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("PR_SET_CHILD_SUBREAPER");
}

/// Waits until no child is left.
pub fn reap_all() {
    while wait(WaitOptions::empty()).is_ok() {}
}

/// Everything below a process, and every orphan adopted here, with the path of its program.
pub fn tree(of: u32) -> Vec<(u32, String)> {
    let mut parents = HashMap::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if let Some(stat) = Stat::of(pid) {
            parents.insert(pid, stat.parent);
        }
    }
    let me = std::process::id();
    let belongs = |pid: u32| {
        let mut at = pid;
        while let Some(parent) = parents.get(&at) {
            if at == of || *parent == me && at == pid {
                return true;
            }
            at = *parent;
        }
        false
    };
    let program = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).ok();
    let found = parents.keys().copied().filter(|pid| belongs(*pid));
    found.filter_map(|pid| Some((pid, program(pid)?.display().to_string()))).collect()
}

/// CPU time of a running tree: each process's own, to the nanosecond, and that of its reaped children, in ticks of
/// 10 ms.
pub fn running(of: u32) -> Duration {
    tree(of).iter().map(|(pid, _)| own_time(*pid) + Stat::of(*pid).map_or(Duration::ZERO, |stat| stat.children)).sum()
}

/// Proportional set size in KiB of the processes of a tree whose program is none of these.
pub fn memory(of: u32, except: &[&Path]) -> f64 {
    let counted = |program: &str| !except.iter().any(|other| Path::new(program) == *other);
    tree(of).iter().filter(|(_, program)| counted(program)).map(|(pid, _)| proportional(*pid)).sum()
}

fn proportional(pid: u32) -> f64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0.0)
}

fn own_time(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanoseconds = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// What /proc/PID/stat tells.
struct Stat {
    parent: u32,
    children: Duration,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
        let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            children: Duration::from_millis((ticks(13)? + ticks(14)?) * 10),
        })
    }
}

/// Ends a process as an administrator would.
pub fn terminate(pid: u32) {
    if let Some(pid) = Pid::from_raw(pid as i32) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}
