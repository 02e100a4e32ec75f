//! Random dialogues with the program itself, before real servers: what each server hears is what the pure session says
//! it hears, what the client hears likewise; and where TLS is required not one command word but the opening words reaches
//! a server, however it reads.
//!
//!     cargo test --test differential                            the same dialogues every time, for 20 seconds
//!     DIFFERENTIAL_SECONDS=600 cargo test --test differential   others every time
//!     DIFFERENTIAL_SEED=4711 cargo test --test differential     this one
//!
//! A seed is a dialogue: who says what, in which pieces, before which server. Only what the scheduler does is not in it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]
#![allow(clippy::print_stdout, reason = "the table is worth reading")]

mod support;

#[path = "differential/judge.rs"]
mod judge;
#[path = "differential/line.rs"]
mod line;
#[path = "differential/link.rs"]
mod link;
#[path = "differential/oracle.rs"]
mod oracle;
#[path = "differential/play.rs"]
mod play;
#[path = "differential/script.rs"]
mod script;
#[path = "differential/servers.rs"]
mod servers;
#[path = "differential/table.rs"]
mod table;
#[path = "differential/words.rs"]
mod words;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use script::Script;
use servers::Servers;
use support::certificates::Site;
use table::Table;

/// How long it runs where nobody says otherwise.
const SECONDS: u64 = 20;

/// Dialogues at a time. They wait for each other more than they work.
const WORKERS: usize = 8;

/// Nobody reads more failures than these.
const ENOUGH: usize = 5;

/// What all dialogues share.
struct Bench {
    site: Site,
    servers: Servers,
}

#[test]
fn every_side_hears_what_the_pure_session_says() {
    let run = Run::asked_for();
    let services: Vec<_> = match run.only {
        Some(seed) => vec![Script::new(seed).service],
        None => servers::ALL.iter().collect(),
    };
    let bench = Bench { site: Site::new(), servers: Servers::start(services.into_iter()) };
    let (next, table) = (AtomicU64::new(run.first), Mutex::new(Table::default()));
    let findings = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(seed) = run.next(&next).filter(|_| findings.lock().unwrap().len() < ENOUGH) {
                    try_out(seed, &bench, &table).unwrap_or_else(|why| findings.lock().unwrap().push(why));
                }
            });
        }
    });
    println!("{}", table.into_inner().unwrap());
    let findings = findings.into_inner().unwrap();
    assert!(findings.is_empty(), "{}", findings.join("\n\n"));
}

fn try_out(seed: u64, bench: &Bench, table: &Mutex<Table>) -> Result<(), String> {
    let script = Script::new(seed);
    let played = catch_unwind(AssertUnwindSafe(|| play::play(&script, bench)));
    let panicked = |_| Err("the test itself panics; see above".to_owned());
    let outcome = played.unwrap_or_else(panicked).and_then(|played| {
        table.lock().unwrap().add(&script, &played);
        judge::judge(&script, &played)
    });
    outcome.map_err(|why| format!("{script}{why}"))
}

/// Which dialogues, and for how long.
struct Run {
    only: Option<u64>,
    first: u64,
    until: Instant,
}

impl Run {
    /// As the environment says.
    fn asked_for() -> Self {
        let number = |name| std::env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
        let (only, seconds) = (number("DIFFERENTIAL_SEED"), number("DIFFERENTIAL_SECONDS"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let first = only.unwrap_or(if seconds.is_some() { now % 1_000_000 * 1_000_000 } else { 0 });
        Self { only, first, until: Instant::now() + Duration::from_secs(seconds.unwrap_or(SECONDS)) }
    }

    fn next(&self, next: &AtomicU64) -> Option<u64> {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        let wanted = self.only.map_or(Instant::now() < self.until, |only| only == seed);
        wanted.then_some(seed)
    }
}
