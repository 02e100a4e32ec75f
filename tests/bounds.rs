//! Who takes too long or too much: each ends by a named limit, or lasts without growing and without work.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]
#![allow(clippy::print_stdout, reason = "the table is worth reading")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::certificates::Site;
use support::wrapper::{GO_AHEAD, Session, WRAPPER, Wrapper};
use support::{proc, tls};

/// A server that listens and does not answer.
const DEAF: &str = "while read -r line; do :; done";

/// How much a session may grow while somebody floods it, in KiB: two buffers of 32 KiB, and what malloc keeps.
const GROWTH: u64 = 512;

/// Not long after a limit has passed. A loaded machine is slow, and the limits that no option shortens are longer still.
const SOON: Duration = Duration::from_secs(10);

/// As many as a busy server has.
const MANY: usize = 1000;

#[test]
fn a_client_that_drips_into_the_handshake_meets_its_timeout() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).options(&["-K", "700"]).start();
    let _plaintext_server = session.opening();
    let began = Instant::now();
    session.client.says("STARTTLS\r\n");
    session.client.hears(GO_AHEAD);
    drip(&mut session, &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    ends(session, began, 700, 99, "took too long");
}

#[test]
fn with_require_tls_a_client_that_drips_or_is_silent_meets_the_deadline() {
    let site = Site::new();
    for drips in [true, false] {
        let began = Instant::now();
        let mut session = Wrapper::respawn(&site).options(&["-r", "--tls-deadline", "2500"]).start();
        let plaintext_server = session.opening();
        if drips {
            drip(&mut session, &[b'x'; 100]);
        }
        session.client.hears("421 4.7.0 STARTTLS required, closing transmission channel\r\n");
        drop(plaintext_server);
        ends(session, began, 2500, 99, "");
    }
}

#[test]
fn with_require_tls_a_server_that_never_greets_meets_the_deadline() {
    let site = Site::new();
    let strict = Wrapper::respawn(&site).options(&["-r", "--tls-deadline", "700"]);
    let began = Instant::now();
    let session = strict.start_prog(&["/bin/sh", "-c", "while read -r line; do :; done"]);
    ends(session, began, 700, 99, "");
}

#[test]
fn a_client_that_leaves_before_it_is_answered_does_not_keep_prog() {
    let site = Site::new();
    for (script, greeting, said) in
        [("", "", ""), ("echo 220 x;", "220 x\n", ""), ("echo 220 x;", "220 x\n", "NOOP\r\n")]
    {
        for (leaves, option) in [(true, "-v"), (false, "-v"), (false, "-r")] {
            let wrapper = Wrapper::respawn(&site).options(&[option, "1"][..if option == "-v" { 2 } else { 1 }]);
            let mut session = wrapper.start_prog(&["/bin/sh", "-c", &format!("{script} {DEAF}")]);
            session.client.hears(greeting);
            session.client.says(said);
            if leaves {
                session.vanish()
            } else {
                session.client.says_no_more()
            }
            let Session { mut wrapper, .. } = session;
            assert_eq!(wrapper.wait(), 0, "{script} {said}: {}", wrapper.log.text());
        }
    }
}

#[test]
fn a_client_that_leaves_before_it_is_answered_inside_tls_does_not_keep_prog() {
    let site = Site::new();
    for leaves in [true, false] {
        let script = format!("echo 220 x; read line; echo 250 x; {DEAF}");
        let mut session = Wrapper::respawn(&site).start_prog(&["/bin/sh", "-c", &script]);
        session.client.hears("220 x\n");
        session.client.says("EHLO laptop\r\n");
        session.client.hears("250-x\n250 STARTTLS\r\n");
        session.starttls(&tls::Client::new(&site));
        session.client.says("EHLO laptop\r\n");
        session.client.hears("250 x\n");
        session.client.says("NOOP\r\n");
        if leaves {
            session.vanish()
        } else {
            session.client.says_no_more()
        }
        let Session { mut wrapper, .. } = session;
        assert_eq!(wrapper.wait(), 0, "{}", wrapper.log.text());
    }
}

#[test]
fn a_client_that_never_reads_stops_the_server_and_costs_nothing() {
    let site = Site::new();
    let mut session =
        Wrapper::respawn(&site).start_prog(&["/bin/sh", "-c", "echo 220 x; read line; exec cat /dev/zero"]);
    session.client.hears("220 x\n");
    let reader = proc::session_of(session.wrapper.pid());
    let before = memory(reader);
    session.client.says("MAIL FROM:<>\r\n");
    stands_still(reader);
    grows_by_little(reader, before);
    thread::sleep(Duration::from_millis(500));
    stands_still(reader);
}

#[test]
fn a_server_that_never_reads_stops_the_client_and_costs_nothing() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).start_prog(&["/bin/sh", "-c", "echo 220 x; exec sleep 60"]);
    session.client.hears("220 x\n");
    let reader = proc::session_of(session.wrapper.pid());
    let before = memory(reader);
    let mut flood = session.line.try_clone().unwrap();
    flood.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    while flood.write(&[b'M'; 65536]).is_ok() {}
    stands_still(reader);
    grows_by_little(reader, before);
}

#[test]
fn a_server_that_floods_the_dialogue_is_watched_no_longer_and_the_session_does_not_grow() {
    let site = Site::new();
    for flood in ["exec yes 250-more", "exec cat /dev/zero"] {
        let script = format!("echo 220 x; read line; {flood}");
        let mut session = Wrapper::respawn(&site).start_prog(&["/bin/sh", "-c", &script]);
        session.client.hears("220 x\n");
        let reader = proc::session_of(session.wrapper.pid());
        let before = memory(reader);
        session.client.says("EHLO laptop\r\n");
        let mut buffer = vec![0; 1 << 20];
        for _ in 0..20 {
            session.client.read_exact(&mut buffer).expect("the flood comes through");
        }
        grows_by_little(reader, before);
    }
}

#[test]
fn a_thousand_sessions_idle_and_a_thousand_slow_ones() {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
    println!("{:<6} {:>8} {:>16} {:>15} {:>16}", "", "sessions", "KiB per session", "KiB per keeper", "ticks in 2 s");
    for (kind, pause) in [("idle", None), ("slow", Some(Duration::from_secs(1)))] {
        let mut sessions: Vec<Idler> = (0..MANY).map(|_| Idler::start()).collect();
        for idler in &mut sessions {
            idler.opens();
        }
        let keepers: Vec<u32> = sessions.iter().map(|idler| idler.wrapper.id()).collect();
        let readers: Vec<u32> = keepers.iter().map(|keeper| proc::session_of(*keeper)).collect();
        let ticks = || keepers.iter().chain(&readers).map(|pid| proc::ticks(*pid)).sum::<u64>();
        // The last of them may be at work yet on what its client has heard already.
        proc::until(|| keepers.iter().chain(&readers).all(|pid| proc::is_asleep(*pid)));
        let mean = |pids: &[u32]| pids.iter().map(|pid| memory(*pid)).sum::<u64>() / pids.len() as u64;
        let before = ticks();
        for _ in 0..2 {
            for idler in sessions.iter_mut().filter(|_| pause.is_some()) {
                idler.client.write_all(b"N").unwrap();
            }
            thread::sleep(Duration::from_secs(1));
        }
        let worked = ticks() - before;
        println!("{kind:<6} {:>8} {:>16} {:>15} {worked:>16}", sessions.len(), mean(&readers), mean(&keepers));
        assert!(pause.is_some() || worked == 0, "an idle session does nothing");
        assert!(mean(&readers) < 2048 && mean(&keepers) < 2048);
    }
}

/// A session whose client has said EHLO.
struct Idler {
    wrapper: Child,
    client: UnixStream,
}

impl Idler {
    fn start() -> Self {
        let (client, other) = UnixStream::pair().unwrap();
        let descriptor = || Stdio::from(OwnedFd::from(other.try_clone().unwrap()));
        let mut command = Command::new(WRAPPER);
        let script = "echo 220 x; read line; echo 250 x; read line";
        command.args(["-v", "0", "--respawn", "/bin/sh", "-c", script]).stdin(descriptor()).stdout(descriptor());
        Self { wrapper: command.spawn().unwrap(), client }
    }

    fn opens(&mut self) {
        self.client.write_all(b"EHLO x\r\n").unwrap();
        self.client.read_exact(&mut [0; 12]).unwrap();
    }
}

impl Drop for Idler {
    fn drop(&mut self) {
        let _ = self.client.shutdown(std::net::Shutdown::Both);
        let _ = self.wrapper.wait();
    }
}

/// A byte every 50 ms, from a thread of its own, until nobody listens.
fn drip(session: &mut Session, bytes: &'static [u8]) {
    let mut line: TcpStream = session.line.try_clone().unwrap();
    thread::spawn(move || {
        for byte in bytes {
            thread::sleep(Duration::from_millis(50));
            if line.write_all(&[*byte]).is_err() {
                return;
            }
        }
    });
}

/// It ends when the limit passes: not before, and not long after. `began` is before the limit begins to run, as the test
/// may be slower than the wrapper.
#[track_caller]
fn ends(session: Session, began: Instant, limit: u64, status: i32, says: &str) {
    let Session { mut wrapper, .. } = session;
    let status_found = wrapper.wait();
    let (limit, took) = (Duration::from_millis(limit), began.elapsed());
    assert!(took >= limit && took < limit + SOON, "it took {took:?}");
    let log = wrapper.log.whole();
    assert_eq!(status_found, status, "{log}");
    assert!(log.contains(says), "{log}");
}

/// Waits until it uses no more processor time, and makes sure that it stays so for a while.
#[track_caller]
fn stands_still(pid: u32) {
    let mut before = proc::ticks(pid);
    for _ in 0..50 {
        thread::sleep(Duration::from_millis(200));
        let now = proc::ticks(pid);
        if now == before {
            return;
        }
        before = now;
    }
    panic!("it works on and on");
}

#[track_caller]
fn grows_by_little(pid: u32, before: u64) {
    let now = memory(pid);
    assert!(now < before + GROWTH, "it grew from {before} KiB to {now} KiB");
}

/// What the process has for itself, in KiB: what it shares with its keeper and its like is there once.
fn memory(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}
