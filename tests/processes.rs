//! The two processes seen from outside: who they are, what they may, and that nothing is left of them. As root.

mod support;

use std::os::fd::AsFd;

use rustix::fs::{OFlags, fcntl_getfl};
use support::certificates::Site;
use support::proc;
use support::tls::Client;
use support::wrapper::{GO_AHEAD, Prog, Session, Wrapper};

const UID: &str = "12345";
const GID: &str = "23456";

fn start(site: &Site) -> Session {
    Wrapper::respawn(site).by_root().env("TLS_UID", UID).env("TLS_GID", GID).start()
}

/// Makes sure who a process is: real, effective, saved and file system ids, and no groups.
#[track_caller]
fn is(pid: u32, uid: &str, gid: &str) {
    assert_eq!(proc::status(pid, "Uid"), [uid; 4].join("\t"));
    assert_eq!(proc::status(pid, "Gid"), [gid; 4].join("\t"));
    if uid != "0" {
        assert_eq!(proc::status(pid, "Groups"), "");
        assert_eq!(proc::status(pid, "CapEff").trim_start_matches('0'), "");
    }
}

#[test]
fn the_session_runs_under_tls_uid_and_the_keeper_follows_when_plaintext_goes_on() {
    let site = Site::new();
    let mut session = start(&site);
    let mut server = session.opening();
    let keeper = session.wrapper.pid();
    is(keeper, "0", "0");
    is(proc::session_of(keeper), UID, GID);
    is(server.pid, "0", "0");
    session.client.says("XYZZY\r\n");
    server.hears("XYZZY\r\n");
    proc::until(|| proc::status(keeper, "Uid").starts_with(UID));
    is(keeper, UID, GID);
}

#[test]
fn the_keeper_follows_when_tls_stands() {
    let site = Site::new();
    let mut session = start(&site);
    let _plaintext_server = session.opening();
    session.starttls(&Client::new(&site));
    let server = session.fresh_server();
    let keeper = session.wrapper.pid();
    is(server.pid, "0", "0");
    is(proc::session_of(keeper), UID, GID);
    proc::until(|| proc::status(keeper, "Uid").starts_with(UID));
    is(keeper, UID, GID);
}

#[test]
fn without_tls_uid_the_session_has_a_uid_of_its_own() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).by_root().start();
    let _server = session.opening();
    let pid = proc::session_of(session.wrapper.pid());
    let uid = (1_000_000_000 + pid).to_string();
    is(pid, &uid, &uid);
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
        assert_eq!(proc::group(session.wrapper.pid()), [0_u32; 0]);
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
