//! `--check`: one line for each part, ok or what is wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod support;

use std::process::Output;

use support::backend::{Backend, ClosedPort};
use support::certificates::{Flaw, Site};
use support::servers::mailfront;
use support::tls;
use support::wrapper::Wrapper;

/// What it prints for this configuration, and the exit status.
fn checked(wrapper: &Wrapper, prog: &[&str]) -> (String, i32) {
    let Output { status, stdout, .. } = wrapper.command(&[], prog).output().unwrap();
    (String::from_utf8(stdout).unwrap(), status.code().unwrap())
}

fn has(output: &(String, i32), status: i32, lines: &[&str]) {
    assert_eq!(output.1, status, "{}", output.0);
    for wanted in lines {
        assert!(output.0.lines().any(|line| line.starts_with(wanted)), "no {wanted:?} in\n{}", output.0);
    }
}

#[test]
fn a_configuration_that_serves_is_ok() {
    let site = Site::new();
    let output = checked(&Wrapper::respawn(&site).option("--check"), &mailfront().words());
    has(&output, 0, &["ok: options", "ok: key ", "ok: a session that asks for TLS: granted, smtp", "ok: sandbox"]);
    assert!(!output.0.contains("failed"), "{}", output.0);
}

#[test]
fn an_expired_certificate_is_told() {
    let output = checked(&Wrapper::respawn(&Site::flawed(Flaw::Expired)).option("--check"), &mailfront().words());
    has(&output, 96, &["failed: key "]);
    assert!(output.0.contains("it expired at 2020-01-01T00:00:00Z: renew it"), "{}", output.0);
}

#[test]
fn a_key_of_another_certificate_is_told() {
    let (site, other) = (Site::new(), Site::new());
    let wrapper = Wrapper::respawn(&site).env("KEYFILE", other.key()).option("--check");
    has(&checked(&wrapper, &mailfront().words()), 96, &["failed: key ", "failed: a session that asks for TLS"]);
}

#[test]
fn a_missing_prog_is_told() {
    let site = Site::new();
    let output = checked(&Wrapper::respawn(&site).option("--check"), &["/nonexistent/prog"]);
    has(&output, 96, &["ok: key ", "failed: a session that asks for TLS: it closed the connection"]);
}

#[test]
fn a_backend_is_reached_and_verified() {
    let (site, backend) = (Site::new(), Backend::new());
    let wrapper = Wrapper::backend(&site, backend.port()).option("--check");
    let output = std::thread::scope(|threads| {
        let served = threads.spawn(|| {
            let mut peer = tls::accept(&site, backend.accept()).expect("it is verified");
            peer.says("220 inner.example ESMTP\r\n");
            peer
        });
        let output = checked(&wrapper, &mailfront().words());
        served.join().expect("the backend was asked");
        output
    });
    has(&output, 0, &["ok: trust anchors for the backend", "ok: a session that asks for TLS: granted"]);
}

#[test]
fn a_backend_that_is_not_there_is_told() {
    let (site, port) = (Site::new(), ClosedPort::new());
    let wrapper = Wrapper::backend(&site, port.number()).option("--check");
    has(&checked(&wrapper, &mailfront().words()), 96, &["failed: a session that asks for TLS: it said 454"]);
}

#[test]
fn progs_own_words_are_left_to_it() {
    let site = Site::new();
    let greets = "test \"$*\" = '--check x' && printf '220 mx\\r\\n' && read line && \
                  printf '250-mx\\r\\n250 STARTTLS\\r\\n' && read line";
    let output = checked(&Wrapper::respawn(&site).option("--check"), &["sh", "-c", greets, "sh", "--check", "x"]);
    has(&output, 0, &["ok: a session that asks for TLS: granted, smtp"]);
}
