//! Whatever signals the super-server leaves blocked or ignored: the keeper hears what it must, and prog has them as it
//! would have had them without the wrapper.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod support;

use std::io::Write;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::certificates::Site;
use support::wrapper::Wrapper;
use support::{proc, tls};

/// How the super-server has them, as env(1) says it.
const STATES: &[&str] = &[
    "--default-signal=PIPE",
    "--ignore-signal=PIPE",
    "--ignore-signal=XFSZ",
    "--ignore-signal=CHLD",
    "--ignore-signal=HUP,INT,TERM,USR1",
    "--block-signal=CHLD",
    "--block-signal=HUP,INT,TERM,PIPE,ALRM,RTMIN",
];

/// It tells of itself, and changes nothing before.
const PROG: &[&str] = &["/bin/cat", "/proc/self/status"];

#[test]
fn prog_has_signals_as_without_the_wrapper() {
    let site = Site::new();
    for state in STATES {
        let expected = without_the_wrapper(state);
        let started = |wrapper: Wrapper| wrapper.behind(&["/usr/bin/env", state]).start_prog(PROG);
        let mut plaintext = started(Wrapper::respawn(&site));
        assert_eq!(signals(&plaintext.client.hears_rest()), expected, "{state}, in plaintext");
        let mut inside = started(Wrapper::bare(&[]).option("--implicit").site(&site));
        tls::Client::new(&site).shake(&mut inside.client).expect("the wrapper shakes hands");
        assert_eq!(signals(&inside.client.hears_rest()), expected, "{state}, inside TLS");
        let mut itself = started(Wrapper::bare(&[]).option("--ucspi-tls").site(&site));
        itself.unshare();
        assert_eq!(signals(&itself.client.hears_rest()), expected, "{state}, with --ucspi-tls");
        assert_eq!(behind_proxy_env(state), expected, "{state}, behind proxy-env");
    }
}

#[test]
fn the_keeper_hears_that_prog_has_ended_and_that_it_shall_end_itself() {
    let site = Site::new();
    std::thread::scope(|scope| {
        for state in STATES {
            let start = || Wrapper::respawn(&site).behind(&["/usr/bin/env", state]).start();
            scope.spawn(move || {
                let mut session = start();
                session.opening().exits(7);
                assert_eq!(session.end().status, 7, "{state}");
                for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
                    let mut session = start();
                    let _server = session.opening();
                    let keeper = session.wrapper.pid();
                    kill_process(Pid::from_child(session.wrapper.child()), signal).unwrap();
                    assert_eq!(session.wrapper.wait(), 128 + signal.as_raw(), "{state}");
                    proc::until(|| proc::group(keeper).is_empty());
                }
            });
        }
    });
}

/// SIGXFSZ would end the keeper or the session where the log is a file.
#[test]
fn a_log_that_is_as_long_as_it_may_be_ends_no_session() {
    let site = Site::new();
    let limited = format!("ulimit -f 0; exec \"$@\" 2> {}", site.cert().with_file_name("log").display());
    let wrapper = Wrapper::respawn(&site).options(&["-v", "3"]).behind(&["/bin/sh", "-c", &limited, "sh"]);
    let mut session = wrapper.start();
    let _plaintext_server = session.opening();
    session.starttls(&tls::Client::new(&site));
    session.fresh_server().exits(7);
    assert_eq!(session.end().status, 7);
}

/// Which are blocked, and which ignored. Two are the C library's own.
fn signals(status: &[u8]) -> Option<[u64; 2]> {
    let status = String::from_utf8_lossy(status);
    let set = |name: &str| {
        let digits = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(u64::from_str_radix(digits.trim(), 16).unwrap() & !0x1_8000_0000)
    };
    Some([set("SigBlk:")?, set("SigIgn:")?])
}

fn without_the_wrapper(state: &str) -> Option<[u64; 2]> {
    let output = Command::new("/usr/bin/env").arg(state).args(PROG).output().expect("env runs");
    let signals = signals(&output.stdout);
    assert!(signals.is_some());
    signals
}

fn behind_proxy_env(state: &str) -> Option<[u64; 2]> {
    let mut command = Command::new("/usr/bin/env");
    command.args([state, env!("CARGO_BIN_EXE_proxy-env")]).args(PROG).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = command.spawn().expect("env runs");
    running.stdin.take().unwrap().write_all(b"PROXY UNKNOWN\r\n").unwrap();
    signals(&running.wait_with_output().unwrap().stdout)
}
