//! What this program costs in instructions, counted by callgrind: no time, so the same on every machine of a kind and
//! beside other work, and a check that CI can make.
//!
//! What the kernel does is not in it, nor Landlock and seccomp, of which valgrind knows nothing.

use std::fs;
use std::process::{Command, Stdio};

use crate::client::Client;
use crate::report::{Report, ms};
use crate::stack::{Kit, Stack, callgrind, in_few_words, is_installed};

/// One start, one plaintext and one TLS session. False if one of them is out of its range.
pub fn check(kit: &Kit, plain: &Client, tls: &Client, report: &mut Report) -> bool {
    assert!(is_installed("valgrind"), "valgrind must be installed");
    let counts = [start(kit), session(kit, plain), session(kit, tls)];
    let mut table =
        vec![["Instructions of all our processes", "thousands", "baseline", "of it"].map(str::to_owned).to_vec()];
    let mut holds = true;
    for ((what, baseline), count) in BASELINE.iter().zip(counts) {
        let thousands = count / 1000;
        let ratio = thousands as f64 / *baseline as f64;
        holds &= is_in_range(what, ratio);
        table.push(vec![(*what).into(), thousands.to_string(), baseline.to_string(), ms(ratio)]);
    }
    report.heading("Instructions");
    report.table(&table);
    holds || !cfg!(target_arch = "x86_64")
}

/// Says so where it is not.
fn is_in_range(what: &str, ratio: f64) -> bool {
    match ratio {
        MOST.. => {
            eprintln!("{what} is dearer than {MOST} of its baseline: mend it, or say in NOTES.md why it is worth it")
        }
        LEAST.. => return true,
        _ => eprintln!("{what} is cheaper than {LEAST} of its baseline: write the new one into {}", file!()),
    }
    false
}

fn start(kit: &Kit) -> u64 {
    let mut command = Command::new("valgrind");
    command.args(callgrind(kit)).arg(&kit.wrapper).arg("--version").stdout(Stdio::null());
    let status = in_few_words(&mut command).status();
    assert!(status.is_ok_and(|status| status.success()), "valgrind runs the program");
    collected(kit)
}

fn session(kit: &Kit, client: &Client) -> u64 {
    let running = Stack::Counted.start(kit);
    client.session(running.address).expect("a session");
    running.end();
    collected(kit)
}

/// The sum of what all processes reported since the last time.
fn collected(kit: &Kit) -> u64 {
    let mut sum = 0;
    for entry in fs::read_dir(&kit.directory).expect("the run's directory").flatten() {
        if entry.file_name().to_string_lossy().starts_with("callgrind.") {
            let log = fs::read_to_string(entry.path()).expect("valgrind's log");
            // A process that became another program has none.
            let count = log.lines().find_map(|line| line.split_once("Collected : "));
            sum += count.map_or(0, |(_, count)| count.trim().parse::<u64>().expect("valgrind's count"));
            fs::remove_file(entry.path()).expect("the run's directory");
        }
    }
    sum
}

/// Thousands of instructions, in a release build on x86-64. Whoever makes the program cheaper writes the new ones here.
const BASELINE: [(&str, u64); 3] =
    [("one start (--version)", 161), ("one plaintext session", 425), ("one TLS session", 2426)];

/// What the program may cost of its baseline. Another release of the compiler, of rustls or of the C library moves these
/// numbers by a few per cent, either way, and shall break nothing. A tenth of a plaintext session is two per cent of what
/// TLS costs beside it: whatever of TLS a plaintext session would begin by mistake is found.
const MOST: f64 = 1.1;

/// Below this the baseline is another program's: a change might take back all that was saved, and a tenth more, before
/// anybody heard of it.
const LEAST: f64 = 0.85;
