//! The two processes seen from outside: who they are, what they may, and that nothing is left of them. As root.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod support;

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use rustix::fs::{OFlags, fcntl_getfl};
use support::certificates::{Dir, Site};
use support::proc;
use support::tls::Client;
use support::wrapper::{GO_AHEAD, Prog, Session, Wrapper};

const UID: &str = "12345";
const GID: &str = "23456";

/// All that a keeper keeps: it may end its session and prog, whoever they are.
const CAP_KILL: &str = "20";

fn start(site: &Site) -> Session {
    Wrapper::respawn(site).by_root().env("TLS_UID", UID).env("TLS_GID", GID).start()
}

/// Makes sure who a process is: real, effective, saved and file system ids, no groups, and these capabilities.
#[track_caller]
fn is(pid: u32, uid: &str, gid: &str, capabilities: &str) {
    assert_eq!(proc::status(pid, "Uid"), [uid; 4].join("\t"));
    assert_eq!(proc::status(pid, "Gid"), [gid; 4].join("\t"));
    if uid != "0" {
        assert_eq!(proc::status(pid, "Groups"), "");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            let expected = if ["CapPrm", "CapEff"].contains(&set) { capabilities } else { "" };
            assert_eq!(proc::status(pid, set).trim_start_matches('0'), expected, "{set}");
        }
    }
}

#[test]
fn the_session_runs_under_tls_uid_and_the_keeper_follows_when_plaintext_goes_on() {
    let site = Site::new();
    let mut session = start(&site);
    let mut server = session.opening();
    let keeper = session.wrapper.pid();
    is(keeper, "0", "0", "");
    is(proc::session_of(keeper), UID, GID, "");
    is(server.pid, "0", "0", "");
    session.client.says("XYZZY\r\n");
    server.hears("XYZZY\r\n");
    proc::until(|| proc::status(keeper, "Uid").starts_with(UID));
    is(keeper, UID, GID, CAP_KILL);
}

#[test]
fn the_keeper_follows_when_tls_stands() {
    let site = Site::new();
    let mut session = start(&site);
    let _plaintext_server = session.opening();
    session.starttls(&Client::new(&site));
    let server = session.fresh_server();
    let keeper = session.wrapper.pid();
    is(server.pid, "0", "0", "");
    is(proc::session_of(keeper), UID, GID, "");
    proc::until(|| proc::status(keeper, "Uid").starts_with(UID));
    is(keeper, UID, GID, CAP_KILL);
}

#[test]
fn without_tls_uid_the_session_has_a_uid_of_its_own() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).by_root().start();
    let _server = session.opening();
    let pid = proc::session_of(session.wrapper.pid());
    let uid = (1_000_000_000 + pid).to_string();
    is(pid, &uid, &uid, "");
}

#[test]
fn nothing_is_left_running_and_no_descriptor_is_left_non_blocking() {
    let site = Site::new();
    let ways: [fn(&mut Session, &Site, Prog); 4] = [
        |session, _, _server| session.client.says("XYZZY\r\n"),
        |session, site, _server| {
            session.starttls(&Client::new(site));
            drop(session.fresh_server());
        },
        |session, _, _server| {
            session.client.says("STARTTLS\r\nno TLS");
            session.client.hears(GO_AHEAD);
        },
        |_, _, _server| {},
    ];
    for way in ways {
        let mut session = Wrapper::respawn(&site).start();
        let server = session.opening();
        way(&mut session, &site, server);
        session.vanish();
        session.wrapper.wait();
        // Whoever is told to end and is not waited for has a moment.
        proc::until(|| proc::group(session.wrapper.pid()).is_empty());
        assert!(!fcntl_getfl(session.shared.as_fd()).unwrap().contains(OFlags::NONBLOCK));
    }
}

#[test]
fn the_session_does_not_outlive_its_keeper() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).start();
    let server = session.opening();
    let keeper = session.wrapper.pid();
    let reader = proc::Watch::new(proc::session_of(keeper));
    session.wrapper.child().kill().unwrap();
    reader.waits_for_its_end();
    drop(server);
}

#[test]
fn the_server_has_no_descriptor_of_the_wrapper() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).start_prog(&["/bin/sh", "-c", "echo 220 $$; read line; exit"]);
    let greeting = session.client.hears_reply();
    let pid = greeting.trim().trim_start_matches("220 ");
    let descriptors = proc::descriptors(pid.parse().unwrap());
    // What the test itself was started with is not the wrapper's.
    let own = proc::descriptors(std::process::id());
    let strange: Vec<_> = descriptors.difference(&own).collect();
    assert!(strange.is_empty(), "{strange:?}");
}

#[test]
fn prog_is_found_and_run_as_execvp_does() {
    let dir = Dir::new();
    let script = |place: &str, mode: u32| {
        fs::create_dir_all(dir.file(place)).unwrap();
        fs::write(dir.file(place).join("prog"), "echo 220 $0 $1\n").unwrap();
        fs::set_permissions(dir.file(place).join("prog"), Permissions::from_mode(mode)).unwrap();
        dir.file(place).display().to_string()
    };
    let (closed, open, nowhere) = (script("closed", 0o644), script("open", 0o755), "/nowhere".to_owned());
    let found = format!("220 {open}/prog x\n");
    for (path, status, says) in [
        (format!("{nowhere}:{open}"), 0, found.as_str()),
        (format!("{closed}:{open}"), 0, &found),
        (format!("{open}:{closed}"), 0, &found),
        (closed.clone(), 126, ""),
        (format!("{closed}:{nowhere}"), 126, ""),
        (nowhere.clone(), 127, ""),
    ] {
        let mut session =
            Wrapper::bare(&[]).option("--respawn").by_root().env("PATH", &path).start_prog(&["prog", "x"]);
        session.unshare();
        assert_eq!(String::from_utf8_lossy(&session.client.hears_rest()), says, "{path}");
        assert_eq!(session.end().status, status, "{path}");
        let mut behind = Command::new(env!("CARGO_BIN_EXE_proxy-env"));
        behind
            .args(["prog", "x"])
            .env("PATH", &path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut behind = behind.spawn().unwrap();
        behind.stdin.take().unwrap().write_all(b"PROXY UNKNOWN\r\n").unwrap();
        let output = behind.wait_with_output().unwrap();
        assert_eq!((String::from_utf8_lossy(&output.stdout).as_ref(), output.status.code()), (says, Some(status)));
    }
}
