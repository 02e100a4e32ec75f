//! Processes seen from outside, through /proc.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::{PATIENCE, readable};

/// The direct children of a process.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_whitespace().map(|child| child.parse().unwrap()).collect()
}

/// The session of a keeper: its child that runs the same program.
pub(crate) fn session_of(keeper: u32) -> u32 {
    let program = |pid| fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    let found = children(keeper).into_iter().find(|child| program(*child) == program(keeper));
    found.expect("the keeper has a session")
}

/// prog, if there is one: the other child.
pub(crate) fn server_of(keeper: u32) -> Option<u32> {
    let program = |pid| fs::read_link(format!("/proc/{pid}/exe")).ok();
    let own = program(keeper);
    children(keeper).into_iter().find(|child| program(*child).is_some_and(|program| Some(program) != own))
}

/// While this is done a process runs no further, so that it meets all of it at once.
pub(crate) fn stopped(pid: u32, meanwhile: impl FnOnce()) {
    let process = Pid::from_raw(pid.cast_signed()).unwrap();
    kill_process(process, Signal::STOP).unwrap();
    until(|| status(pid, "State").starts_with('T'));
    meanwhile();
    kill_process(process, Signal::CONT).unwrap();
}

/// A field of /proc/PID/status.
pub(crate) fn status(pid: u32, field: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.expect("the field is there").trim().to_owned()
}

/// The environment a process was started with.
pub(crate) fn environment(pid: u32) -> BTreeMap<String, String> {
    let block = String::from_utf8(fs::read(format!("/proc/{pid}/environ")).unwrap()).unwrap();
    let variables = block.split_terminator('\0').filter_map(|variable| variable.split_once('='));
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The descriptors a process has open.
pub(crate) fn descriptors(pid: u32) -> BTreeSet<u32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().parse().unwrap()).collect()
}

/// The processor time used so far, in ticks of 10 ms.
pub(crate) fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Whether a process waits, or has ended.
pub(crate) fn is_asleep(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    stat.rsplit(')').next().is_some_and(|fields| matches!(fields.as_bytes(), [b' ', b'S' | b'Z' | b'X', ..]))
}

/// Who is alive in this process group.
pub(crate) fn group(id: u32) -> Vec<u32> {
    let mut alive = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let Ok(pid) = entry.unwrap().file_name().to_string_lossy().parse() else { continue };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        if fields[0] != "Z" && fields[2] == id.to_string() {
            alive.push(pid);
        }
    }
    alive
}

/// Whether the memory of a process holds these bytes, once the process waits: what it has answered it may not have
/// forgotten yet, and what it gives back cannot be read.
pub(crate) fn memory_holds(pid: u32, wanted: &[u8]) -> bool {
    until(|| is_asleep(pid));
    let mut memory = File::open(format!("/proc/{pid}/mem")).expect("memory can be read: the tests run as root");
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut scanned = 0;
    for map in maps.lines().filter(|map| map.contains(" r") && !map.contains("[v")) {
        let (start, end) = map.split_once(' ').unwrap().0.split_once('-').unwrap();
        let [start, end] = [start, end].map(|address| u64::from_str_radix(address, 16).unwrap());
        let mut bytes = vec![0; (end - start) as usize];
        memory.seek(SeekFrom::Start(start)).unwrap();
        memory.read_exact(&mut bytes).expect("what is mapped can be read");
        scanned += bytes.len();
        if memchr::memmem::find(&bytes, wanted).is_some() {
            return true;
        }
    }
    assert!(scanned > 0, "something was scanned");
    false
}

/// Waits until it is so. For what gives no event to wait for: ids in /proc.
#[track_caller]
pub(crate) fn until(so: impl Fn() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < PATIENCE, "it does not come to pass");
        thread::yield_now();
    }
}

/// Somebody else's child, watched.
pub(crate) struct Watch {
    process: OwnedFd,
}

impl Watch {
    pub(crate) fn new(pid: u32) -> Self {
        let pid = Pid::from_raw(pid.cast_signed()).unwrap();
        Self { process: pidfd_open(pid, PidfdFlags::empty()).unwrap() }
    }

    /// Whether it does not end meanwhile.
    pub(crate) fn lives_for(&self, time: Duration) -> bool {
        !readable(&self.process, time)
    }

    #[track_caller]
    pub(crate) fn waits_for_its_end(&self) {
        assert!(readable(&self.process, PATIENCE), "the process does not end");
    }
}
