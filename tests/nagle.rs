//! Peers that leave Nagle's algorithm on (smtplib, swaks, msmtp; many a TLS server): none of them waits 40 ms for an
//! acknowledgement of ours.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod support;

use std::time::{Duration, Instant};

use support::backend::Backend;
use support::certificates::Site;
use support::tls::{self, Client, NamedGroup, TLS12};
use support::wrapper::{GO_AHEAD, Session, Wrapper};

/// What the kernel waits for something that could carry an acknowledgement (TCP_DELACK_MIN); half of it is no wait yet.
const STALL: Duration = Duration::from_millis(40);

/// Whether Nagle's algorithm is on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nagle {
    On,
    Off,
}

/// One of several replies comes as fast as without the algorithm: a machine under load is slow, and now and then very
/// slow, but a stall would be there every time.
#[track_caller]
fn assert_prompt(what: &str, mut one: impl FnMut(Nagle) -> Duration) {
    let without = (0..9).map(|_| one(Nagle::Off)).min().unwrap();
    let mut tries = (0..50).map(|_| one(Nagle::On));
    assert!(tries.any(|took| took < without + STALL / 2), "{what}: no reply comes as soon as without, {without:?}");
}

/// A server that is there at once.
fn start(wrapper: Wrapper, nagle: Nagle) -> Session {
    let session = wrapper.start_prog(&["/bin/sh", "-c", "echo 220 mx; while read line; do echo 250 mx; done"]);
    session.line.set_nodelay(nagle == Nagle::Off).unwrap();
    session
}

fn start_tls(session: &mut Session) {
    session.client.hears_code("220");
    session.client.says("EHLO laptop\r\n");
    session.client.hears("250-mx\n250 STARTTLS\r\n");
    session.client.says("STARTTLS\r\n");
    session.client.hears(GO_AHEAD);
}

/// How long the first reply behind the handshake takes.
fn first_reply(session: &mut Session, client: &Client) -> Duration {
    client.shake(&mut session.client).expect("the wrapper shakes hands");
    let began = Instant::now();
    session.client.says("EHLO laptop\r\n");
    session.client.hears_code("2");
    began.elapsed()
}

#[test]
fn a_client_that_leaves_nagle_on_does_not_wait_behind_its_handshake() {
    let site = Site::new();
    let client = Client::new(&site);
    let certified = || Wrapper::respawn(&site).option("-Y").env("CAFILE", site.ca());
    for (what, client, wrapper) in [
        ("TLS 1.3", client.clone(), &(|| Wrapper::respawn(&site)) as &dyn Fn() -> Wrapper),
        ("TLS 1.2", client.clone().versions(&[&TLS12]), &|| Wrapper::respawn(&site)),
        ("another group", client.clone().groups(&[NamedGroup::secp384r1]), &|| Wrapper::respawn(&site)),
        ("a certificate", client.clone().showing(&site), &certified),
    ] {
        assert_prompt(what, |nagle| {
            let mut session = start(wrapper(), nagle);
            start_tls(&mut session);
            first_reply(&mut session, &client)
        });
    }
}

/// A TLS server says its tickets, then its greeting, in two small pieces.
#[test]
fn nor_a_tls_server_between_its_handshake_and_its_greeting() {
    let site = Site::new();
    let backend = Backend::new();
    assert_prompt("host port", |nagle| {
        let mut session = start(Wrapper::backend(&site, backend.port()), Nagle::On);
        session.client.hears_code("220");
        session.client.says("EHLO laptop\r\n");
        session.client.hears("250-mx\n250 STARTTLS\r\n");
        session.client.says("STARTTLS\r\n");
        let line = backend.accept();
        let below = line.try_clone().unwrap();
        let mut server = tls::accept(&site, line).expect("the wrapper shakes hands");
        below.set_nodelay(nagle == Nagle::Off).unwrap();
        let began = Instant::now();
        server.says("220-inner.example\r\n");
        server.says("220 inner.example ESMTP\r\n");
        session.client.hears(GO_AHEAD);
        began.elapsed()
    });
}
