//! Many sessions of all kinds, several at a time, and a tenth of them hostile: none of the good ones is lost, and at the
//! end everything is as it was before.
//!
//!     cargo test --test soak                                            a few hundred
//!     SOAK_SESSIONS=20000 cargo test --test soak -- --nocapture         many, and their table

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]
#![allow(clippy::print_stdout, reason = "the table is worth reading")]

mod support;

#[path = "soak/clients.rs"]
mod clients;
#[path = "soak/house.rs"]
mod house;
#[path = "soak/kinds.rs"]
mod kinds;
#[path = "soak/mail.rs"]
mod mail;
#[path = "soak/table.rs"]
mod table;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use house::{House, Taken};
use kinds::Kind;
use table::{Outcome, Table};

/// How many, where nobody says otherwise.
const SESSIONS: usize = 300;

/// At a time.
const PARALLEL: usize = 16;

/// So many warm everything up: the super-servers' own memory, the kernel's caches.
const WARM_UP: usize = 100;

/// How much more the super-servers may take at the end than before, in KiB each: what malloc and the kernel keep.
const GROWTH: usize = 64;

#[test]
fn no_good_session_is_lost_and_nothing_is_left() {
    let sessions = std::env::var("SOAK_SESSIONS").map_or(SESSIONS, |number| number.parse().expect("a number"));
    let house = House::new();
    run(&house, 0..WARM_UP);
    let (before, _) = settled(&house);
    let began = Instant::now();
    let (mut table, peak) = run(&house, WARM_UP..WARM_UP + sessions);
    table.took = began.elapsed();
    let (after, until_then) = settled(&house);
    println!("{table}");
    println!("{:<22} {:>10} {:>12} {:>12} {:>12}", "", "processes", "memory, KiB", "descriptors", "connections");
    for (name, taken) in [("before", before), ("at most", peak), ("after", after)] {
        let Taken { processes, memory, descriptors, connections } = taken;
        println!("{name:<22} {processes:>10} {memory:>12} {descriptors:>12} {connections:>12}");
    }
    println!("nothing was left {} ms after the last client", until_then.as_millis());
    for (sentence, count) in house.told() {
        println!("{count:>8} {sentence}");
    }
    assert!(table.lost.is_empty(), "{} sessions lost:\n{}", table.lost.len(), table.lost.join("\n"));
    assert_eq!(Taken { memory: before.memory, ..after }, before);
    assert!(after.memory <= before.memory + GROWTH * after.processes, "{before:?}, then {after:?}");
    assert!(!house.told().keys().any(|sentence| sentence.contains("fatal: ") || sentence.contains("panicked")));
}

/// Sessions of these numbers, and what was taken at most meanwhile.
fn run(house: &House, numbers: std::ops::Range<usize>) -> (Table, Taken) {
    let (next, over) = (AtomicUsize::new(numbers.start), AtomicBool::new(false));
    let table = Mutex::new(Table::default());
    thread::scope(|scope| {
        let watcher = scope.spawn(|| watch(house, &over));
        let workers: Vec<_> = (0..PARALLEL)
            .map(|_| {
                scope.spawn(|| {
                    while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|n| *n < numbers.end) {
                        let outcome = session(house, number);
                        table.lock().unwrap().add(&Kind::of(number), outcome);
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        over.store(true, Ordering::Relaxed);
        let peak = watcher.join().unwrap();
        (std::mem::take(&mut *table.lock().unwrap()), peak)
    })
}

fn session(house: &House, number: usize) -> Outcome {
    let kind = Kind::of(number);
    let (port, began) = (house.port(kind.protocol, kind.way), Instant::now());
    if let Some(hostile) = kind.hostile {
        clients::hostile(hostile, &kind, port, &house.site);
        return Outcome::Hostile(hostile);
    }
    match catch_unwind(AssertUnwindSafe(|| clients::good(&kind, port, &house.site))) {
        Ok(bytes) => Outcome::Good { bytes, took: began.elapsed() },
        Err(why) => {
            let why = why.downcast_ref::<String>().map_or("it panicked", String::as_str);
            Outcome::Lost(format!("number {number}, {kind:?}: {why}"))
        }
    }
}

fn watch(house: &House, over: &AtomicBool) -> Taken {
    let mut peak = Taken::default();
    while !over.load(Ordering::Relaxed) {
        let now = house.taken();
        if now.processes > peak.processes {
            peak = now;
        }
        thread::sleep(Duration::from_secs(1));
    }
    peak
}

/// What is taken once nothing but the super-servers is there, and how long it took until then.
fn settled(house: &House) -> (Taken, Duration) {
    let began = Instant::now();
    support::proc::until(|| house.is_empty());
    (house.taken(), began.elapsed())
}
