//! The measurements: each starts stacks, drives sessions, and ends the stacks again.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::account;
use crate::client::{Client, Held, Way};
use crate::stack::{Kit, Running, Stack};

/// Sessions that did not go through; any of them fails the run.
pub static LOST: AtomicUsize = AtomicUsize::new(0);

/// What one round of sessions came to.
#[derive(Clone, Debug, Default)]
pub struct Sessions {
    /// CPU time of the server's side, for one session.
    pub cpu: Duration,
    /// How long each took, in order.
    pub took: Vec<Duration>,
    /// The same with a client that leaves Nagle's algorithm on.
    pub took_with_nagle: Vec<Duration>,
}

/// What one transfer came to.
#[derive(Clone, Copy, Debug)]
pub struct Bulk {
    /// CPU time of the server's side, for 100 MB.
    pub cpu: Duration,
    /// MB in a second.
    pub rate: f64,
}

/// So many sessions, so many of them at a time; and a third as many of a client that leaves Nagle's algorithm on, for
/// their latency.
pub fn sessions(kit: &Kit, stack: Stack, client: &Client, count: usize, concurrency: usize) -> Sessions {
    let start = stack.start(kit).end();
    let running = stack.start(kit);
    let took = durations(stack, running.address, client, count, concurrency);
    let cpu = running.end().saturating_sub(start) / count as u32;
    let running = stack.start(kit);
    let took_with_nagle = durations(stack, running.address, &client.with_nagle(), count.div_ceil(3), concurrency);
    running.end();
    Sessions { cpu, took, took_with_nagle }
}

fn durations(stack: Stack, address: SocketAddr, client: &Client, count: usize, concurrency: usize) -> Vec<Duration> {
    let left = AtomicUsize::new(count);
    let took = Mutex::new(Vec::with_capacity(count));
    std::thread::scope(|scope| {
        for _ in 0..concurrency {
            scope.spawn(|| {
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    if let Some(one) = kept(stack, client.session(address)) {
                        took.lock().expect("no panic").push(one);
                    }
                }
            });
        }
    });
    let mut took = took.into_inner().expect("no panic");
    took.sort();
    took
}

/// One transfer.
pub fn bulk(kit: &Kit, stack: Stack, client: &Client, way: Way, bytes: usize) -> Bulk {
    let start = stack.start(kit).end();
    let running = stack.start(kit);
    let took = kept(stack, client.bulk(running.address, way, bytes)).unwrap_or(Duration::MAX);
    let cpu = running.end().saturating_sub(start);
    Bulk { cpu: cpu.mul_f64(100e6 / bytes as f64), rate: bytes as f64 / 1e6 / took.as_secs_f64() }
}

/// KiB (PSS) of an idle session without the server, and CPU time that all of them use in a second.
pub fn idle(kit: &Kit, stack: Stack, client: &Client, count: usize) -> (f64, Duration) {
    let running = stack.start(kit);
    let empty = memory(kit, &running);
    let held = hold(stack, client, running.address, count);
    std::thread::sleep(SETTLED);
    let one = (memory(kit, &running) - empty) / count as f64;
    let before = account::running(running.pid());
    std::thread::sleep(Duration::from_secs(1));
    let cpu = account::running(running.pid()).saturating_sub(before);
    release(stack, held);
    running.end();
    (one, cpu)
}

/// What slow clients cost, one byte a second each.
pub struct Slow {
    /// KiB (PSS) of a session without the server, when it stood.
    pub before: f64,
    /// The same when all bytes were said.
    pub after: f64,
    /// CPU time of one byte, the server's included.
    pub cpu: Duration,
}

/// So many sessions, held before or behind MAIL, each of which says a byte a second for so many seconds.
pub fn slow(kit: &Kit, client: &Client, is_watched: bool, count: usize, seconds: u32) -> Slow {
    let stack = Stack::Respawn;
    let running = stack.start(kit);
    let address = running.address;
    let empty = memory(kit, &running);
    let one = |_| kept(stack, if is_watched { client.open(address) } else { client.hold(address) });
    let mut held: Vec<Held> = (0..count).filter_map(one).collect();
    std::thread::sleep(SETTLED);
    let grown = || (memory(kit, &running) - empty) / count as f64;
    let (before, spent) = (grown(), account::running(running.pid()));
    for _ in 0..seconds {
        let next = Instant::now() + Duration::from_secs(1);
        for one in &mut held {
            kept(stack, one.drip());
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let cpu = account::running(running.pid()).saturating_sub(spent) / seconds / count as u32;
    let after = grown();
    for one in held {
        kept(stack, one.end_slowly());
    }
    running.end();
    Slow { before, after, cpu }
}

/// CPU time of a new session while so many are held.
pub fn growth(kit: &Kit, stack: Stack, client: &Client, held: usize, count: usize) -> Duration {
    let running = stack.start(kit);
    let held = hold(stack, client, running.address, held);
    std::thread::sleep(SETTLED);
    let before = account::running(running.pid());
    for _ in 0..count {
        kept(stack, client.session(running.address));
    }
    std::thread::sleep(SETTLED);
    let cpu = account::running(running.pid()).saturating_sub(before) / count as u32;
    release(stack, held);
    running.end();
    cpu
}

/// What client and server agree upon.
pub fn facts(kit: &Kit, stack: Stack, client: &Client) -> String {
    let running = stack.start(kit);
    let facts = kept(stack, client.hold(running.address)).map_or_else(String::new, |held| {
        let facts = held.facts();
        kept(stack, held.end());
        facts
    });
    running.end();
    facts
}

/// KiB (PSS) of all processes but the super-server and the server.
fn memory(kit: &Kit, running: &Running) -> f64 {
    account::memory(running.pid(), &[&kit.server, &kit.dynamic_server, &program("tcpserver")])
}

fn hold(stack: Stack, client: &Client, address: SocketAddr, count: usize) -> Vec<Held> {
    (0..count).filter_map(|_| kept(stack, client.hold(address))).collect()
}

fn release(stack: Stack, held: Vec<Held>) {
    for one in held {
        kept(stack, one.end());
    }
}

fn kept<T>(stack: Stack, outcome: io::Result<T>) -> Option<T> {
    outcome
        .inspect_err(|why| {
            eprintln!("{}: a session is lost: {why}", stack.name());
            LOST.fetch_add(1, Ordering::Relaxed);
        })
        .ok()
}

fn program(name: &str) -> std::path::PathBuf {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).map(|path| path.join(name)).find(|path| path.is_file());
    found.and_then(|path| path.canonicalize().ok()).unwrap_or_else(|| Path::new(name).into())
}

/// Until what ended has been reaped, and what was freed is gone.
const SETTLED: Duration = Duration::from_millis(300);
