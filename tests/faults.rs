//! Every fault in every phase: what the client hears, how the wrapper ends and when, what it says. Nothing hangs, and
//! nothing is left running. Of those who do not read tells tests/stalls.rs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]
#![allow(clippy::print_stdout, reason = "the table is worth reading")]

#[path = "faults/stage.rs"]
mod stage;
mod support;

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use libc::O_NONBLOCK;
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::net::sockopt::set_socket_linger;
use rustix::process::{Pid, Signal, kill_process};
use stage::{Phase, Stage, Start};
use support::certificates::Site;
use support::peer::Peer;
use support::proc;
use support::program::Log;
use support::tls;
use support::wrapper::Wrapper;

/// How long those are waited for that were told to end.
const TERMINATION_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest a fault may take to end everything: that, the linger, and a busy machine.
const LIMIT: Duration = Duration::from_secs(8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    ServerDies,
    SessionKilled,
    KeeperKilled,
    ClientResets,
    Sigterm,
    Sighup,
    Sigint,
    /// The super-server had blocked and ignored everything.
    Unheard,
    /// prog ends neither by the signal nor at the end of its input.
    Stubborn,
    /// The session is stopped for ever, as one that an attacker has might be, and the keeper is told to end.
    SessionStops,
    /// The same, and the keeper is killed.
    BothFail,
    /// The keeper is stopped until the session has ended by itself, because the client left.
    KeeperStops,
    /// There is no room for messages, or nobody to tell them, and the keeper is told to end.
    LogIsFull,
    LogIsGone,
}

#[test]
fn every_fault_in_every_phase_ends_everything_in_time() {
    let site = Site::new();
    let rows: Vec<(Phase, Fault)> = PHASES.iter().flat_map(|phase| FAULTS.map(|fault| (*phase, fault))).collect();
    // In a handshake with the client there is no server.
    let without = [Phase::Handshake, Phase::FirstByte];
    let rows: Vec<_> = rows.into_iter().filter(|row| row.1 != Fault::ServerDies || !without.contains(&row.0)).collect();
    let mut found = in_parallel(&rows, |(phase, fault)| outcome(&site, *phase, *fault));
    for ((row, (phase, fault)), expected) in found.iter_mut().zip(&rows).zip(OUTCOMES.lines()) {
        if settled(row) != settled(expected) {
            // Beside others it may have been late. Alone it is not.
            *row = outcome(&site, *phase, *fault);
        }
    }
    println!("phase          fault          the client hears     status  after      says\n{}", found.join("\n"));
    let pairs = found.iter().zip(OUTCOMES.lines().chain(std::iter::repeat("")));
    let differs: Vec<_> = pairs.filter(|(found, expected)| settled(found) != settled(expected)).collect();
    assert!(differs.is_empty(), "{differs:#?}");
    assert_eq!(found.len(), OUTCOMES.lines().count());
}

/// A row without what may be so or otherwise. A signal ends prog as well; if the session sees that first, the client hears
/// the close and not the goodbye. With a keeper that is killed the session is, too, and may come to say that or not.
fn settled(row: &str) -> Vec<String> {
    let fault = row.split_whitespace().nth(1).unwrap_or_default();
    let row = match fault {
        "KeeperKilled" => row.replace("fatal: the keeper is gone", "").replace(" cut ", " end ").replace(GOODBYE, ""),
        "Sigterm" | "Sighup" | "Sigint" | "LogIsFull" | "LogIsGone" => {
            row.replace(GOODBYE, "").replace(" cut ", " end ")
        }
        // By now the keeper may have heard that the plaintext server is to go: then it is killed, and not waited for.
        "Stubborn" if row.starts_with("Handshake ") => row.replace(" at once ", " 2 s "),
        _ => row.to_owned(),
    };
    row.split_whitespace().map(str::to_owned).collect()
}

/// The beginning of the protocol's goodbye, as the table has it.
const GOODBYE: &str = "421 4.3.0.. ";

/// What becomes of each, eight at a time, in their order.
fn in_parallel<T: Sync>(all: &[T], outcome: impl Fn(&T) -> String + Sync) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let place = all.iter().position(|other| std::ptr::eq(one, other)).unwrap();
            done.push((place, outcome(one)));
        }
        done
    };
    let mut done: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    done.sort();
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

#[test]
fn a_prog_that_cannot_be_run_is_told_from_one_that_is_missing() {
    let site = Site::new();
    for (prog, status, why) in [("/nowhere/prog", 127, "no such file"), ("/etc/passwd", 126, "permission denied")] {
        let mut session = Wrapper::respawn(&site).start_prog(&[prog]);
        session.unshare();
        session.client.hears_end();
        let end = session.end();
        assert_eq!(end.status, status);
        assert!(end.log.contains(&format!("fatal: unable to run {prog}: {why}")), "{}", end.log);
    }
}

/// A logger that was stopped, for example.
#[test]
fn a_log_that_nobody_reads_holds_nobody() {
    let site = Site::new();
    let log = site.dir.file("log");
    mkfifoat(CWD, &log, Mode::RWXU).unwrap();
    let mut full = File::options().read(true).write(true).custom_flags(O_NONBLOCK).open(&log).unwrap();
    while full.write(&[b'x'; 4096]).is_ok() {}
    let start = Start { before: &["/bin/sh", "-c", "exec \"$@\" 2> \"$LOG\"", "sh"], log: Some(&log), stubborn: false };
    let rows = [
        (Phase::Handshake, Fault::ClientResets, 98),
        (Phase::Opening, Fault::SessionKilled, 101),
        (Phase::Passing, Fault::SessionKilled, 101),
        (Phase::Opening, Fault::Sigterm, 143),
        (Phase::Inside, Fault::Sigterm, 143),
    ];
    in_parallel(&rows, |(phase, fault, status)| {
        let mut stage = Stage::reach(&site, *phase, start);
        let (keeper, began) = (stage.keeper(), Instant::now());
        stage.session.unshare();
        strike(&mut stage, *fault);
        assert_eq!(stage.session.wrapper.wait(), *status, "{phase:?} {fault:?}");
        proc::until(|| proc::group(keeper).is_empty());
        assert!(began.elapsed() < LIMIT, "{phase:?} {fault:?}: {:?}", began.elapsed());
        String::new()
    });
}

/// The key is asked for within the handshake, and the keeper has other things to do by then.
#[test]
fn a_session_that_is_told_to_end_when_it_asks_for_the_key_blames_no_client() {
    let site = Site::new();
    for phase in [Phase::Handshake, Phase::FirstByte] {
        let mut stage = Stage::reach(&site, phase, Start::default());
        let (keeper, reader) = (stage.keeper(), stage.reader());
        proc::stopped(keeper, || {
            stage.session.client.says(tls::Client::new(&site).begin().client_hello());
            proc::until(|| proc::is_asleep(reader));
            kill_process(Pid::from_raw(keeper.cast_signed()).unwrap(), Signal::TERM).unwrap();
        });
        stage.session.unshare();
        let _ = stage.session.client.read_to_end(&mut Vec::new());
        let end = stage.session.end();
        assert_eq!((end.status, &*end.log), (143, "starttls-wrapper: fatal: told to end by a signal\n"), "{phase:?}");
    }
}

fn outcome(site: &Site, phase: Phase, fault: Fault) -> String {
    let mut stage = Stage::reach(site, phase, fault.start());
    let (keeper, port) = (stage.keeper(), stage.port.to_string());
    stage.session.unshare();
    let began = Instant::now();
    strike(&mut stage, fault);
    let (goes_on, alone) = ((Phase::Reaching, Fault::ServerDies), [Fault::KeeperKilled, Fault::BothFail]);
    if (phase, fault) == goes_on || (phase == Phase::Itself && alone.contains(&fault)) {
        // The plaintext session goes on, or prog goes on alone. The client ends it.
        stage.session.client.says_no_more();
    }
    let leaves = matches!(fault, Fault::ClientResets | Fault::KeeperStops);
    let heard = if leaves { "-".into() } else { heard(&mut stage.session.client, &stage.session.wrapper.log) };
    drop(stage.backend.take());
    let status = stage.session.wrapper.wait();
    proc::until(|| proc::group(keeper).is_empty());
    let took = began.elapsed();
    assert!(took < LIMIT, "{phase:?} {fault:?}: {took:?}");
    // A plaintext server that is stubborn was told to end before, at the go-ahead.
    let after = if took < TERMINATION_TIMEOUT * 3 / 4 { "at once" } else { "2 s" };
    let log = stage.session.wrapper.log.whole();
    let own = |line| ["starttls-wrapper: ", "tlsify: "].iter().find_map(|name| str::strip_prefix(line, name));
    let says: Vec<&str> = log.lines().filter_map(own).collect();
    let says = says.join("; ").replace(&port, "PORT");
    let (phase, fault) = (format!("{phase:?}"), format!("{fault:?}"));
    format!("{phase:<14} {fault:<14} {heard:<20} {status:<7} {after:<10} {says}").trim_end().to_owned()
}

impl Fault {
    fn start(self) -> Start<'static> {
        let before: &[&str] = match self {
            Self::Unheard => &["/usr/bin/env", "--ignore-signal=TERM,CHLD", "--block-signal=TERM,HUP,INT,CHLD"],
            // A shell has what it runs in the background ignore it.
            Self::Sigint => &["/usr/bin/env", "--default-signal=INT"],
            Self::LogIsFull => &["/bin/sh", "-c", "exec \"$@\" 2> /dev/full", "sh"],
            Self::LogIsGone => &["/bin/sh", "-c", "exec \"$@\" 2>&-", "sh"],
            _ => &[],
        };
        Start { before, log: None, stubborn: self == Self::Stubborn }
    }
}

fn strike(stage: &mut Stage, fault: Fault) {
    let kill = |pid: u32, signal| kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
    let (keeper, reader) = (stage.keeper(), stage.reader());
    match fault {
        Fault::ServerDies => match stage.backend.take() {
            Some((line, peer)) => {
                set_socket_linger(&line, Some(Duration::ZERO)).unwrap();
                drop((line, peer));
            }
            None => kill(stage.server().unwrap(), Signal::KILL),
        },
        Fault::SessionKilled => kill(reader, Signal::KILL),
        Fault::KeeperKilled => kill(keeper, Signal::KILL),
        Fault::ClientResets => stage.session.reset(),
        Fault::Sigterm | Fault::Unheard | Fault::Stubborn | Fault::LogIsFull | Fault::LogIsGone => {
            kill(keeper, Signal::TERM)
        }
        Fault::Sighup => kill(keeper, Signal::HUP),
        Fault::Sigint => kill(keeper, Signal::INT),
        Fault::SessionStops => {
            kill(reader, Signal::STOP);
            kill(keeper, Signal::TERM);
        }
        Fault::BothFail => {
            kill(reader, Signal::STOP);
            kill(keeper, Signal::KILL);
        }
        Fault::KeeperStops => {
            kill(keeper, Signal::STOP);
            let watch = proc::Watch::new(reader);
            stage.session.reset();
            drop(stage.backend.take());
            watch.waits_for_its_end();
            kill(keeper, Signal::CONT);
        }
    }
}

/// What the client hears, and how it ends.
fn heard(client: &mut Peer, log: &Log) -> String {
    let mut heard = Vec::new();
    let end = match client.read_to_end(&mut heard) {
        Ok(_) => "end",
        Err(why) if why.kind() == ErrorKind::UnexpectedEof => "cut",
        Err(why) if why.kind() == ErrorKind::ConnectionReset => "reset",
        Err(why) => panic!("{why}; the log:\n{}", log.text()),
    };
    let words: Vec<&str> =
        std::str::from_utf8(&heard).unwrap().split("\r\n").filter_map(|line| line.get(..9)).collect();
    format!("{}{end}", words.iter().map(|word| format!("{word}.. ")).collect::<String>())
}

const PHASES: &[Phase] = &[
    Phase::Greeting,
    Phase::Opening,
    Phase::Reply,
    Phase::Reaching,
    Phase::Handshake,
    Phase::Inside,
    Phase::InsideBackend,
    Phase::Passing,
    Phase::Itself,
    Phase::InsideItself,
    Phase::FirstByte,
    Phase::InsideImplicit,
    Phase::Calling,
    Phase::Called,
    Phase::CalledForProg,
];

const FAULTS: [Fault; 14] = [
    Fault::ServerDies,
    Fault::SessionKilled,
    Fault::KeeperKilled,
    Fault::ClientResets,
    Fault::Sigterm,
    Fault::Sighup,
    Fault::Sigint,
    Fault::Unheard,
    Fault::Stubborn,
    Fault::SessionStops,
    Fault::BothFail,
    Fault::KeeperStops,
    Fault::LogIsFull,
    Fault::LogIsGone,
];

/// What is expected, as the test prints it.
const OUTCOMES: &str = include_str!("faults/outcomes");
