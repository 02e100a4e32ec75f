//! STARTTLS may fail and be asked for again, up to MAX_STARTTLS_TRIES times; whoever asks once more hears the goodbye, whatever it
//! was that failed. None of it is what the keeper takes for an attack.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod support;

use std::fs;

use starttls_protocols::session::MAX_STARTTLS_TRIES;
use support::backend::{Backend, ClosedPort, header};
use support::certificates::Site;
use support::peer::Peer;
use support::tls;
use support::wrapper::{GO_AHEAD, NOT_AVAILABLE, Prog, Session, Wrapper};

const GOODBYE: &str = "421 4.3.0 Service not available, closing transmission channel\r\n";

/// Asks as often as the limit says; `fails` is what the TLS server does each time. The session goes on after each, and
/// ends at the next.
#[track_caller]
fn asks_too_often<T>(mut session: Session, mut server: Prog, mut fails: impl FnMut() -> T) {
    for tries in 1..=MAX_STARTTLS_TRIES {
        session.client.says("STARTTLS\r\n");
        let _backend = fails();
        session.client.hears(NOT_AVAILABLE);
        if tries >= MAX_STARTTLS_TRIES - 1 {
            session.client.says("NOOP\r\n");
            server.hears("NOOP\r\n");
            server.says("250 ok\r\n");
            session.client.hears("250 ok\r\n");
        }
    }
    session.client.says("STARTTLS\r\n");
    session.client.hears(GOODBYE);
    session.client.hears_end();
    server.hears_end();
    server.exits(7);
    let end = session.end();
    assert_eq!(end.status, 7, "prog's own status; the log:\n{}", end.log);
    assert!(!end.log.contains("fatal"), "{}", end.log);
    assert!(end.log.contains("outcome=refused"), "{}", end.log);
}

#[test]
fn whoever_asks_too_often_hears_the_goodbye_of_a_dead_backend() {
    let (site, port) = (Site::new(), ClosedPort::new());
    let mut session = Wrapper::backend(&site, port.number()).options(&["-v", "2"]).start();
    let server = session.opening();
    asks_too_often(session, server, || ());
}

#[test]
fn whoever_asks_too_often_hears_the_goodbye_where_the_key_is_gone() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).options(&["-v", "2"]).start();
    let server = session.opening();
    fs::remove_file(site.key()).unwrap();
    asks_too_often(session, server, || ());
}

#[test]
fn whoever_asks_too_often_hears_the_goodbye_without_a_key() {
    let site = Site::new();
    let session = Wrapper::bare(&[]).options(&["--respawn", "--no-advertise", "-v", "2"]).site(&site);
    fs::remove_file(site.key()).unwrap();
    let mut session = session.start();
    let mut server = session.server();
    server.says("+OK\r\n");
    session.client.hears("+OK\r\n");
    for _ in 0..MAX_STARTTLS_TRIES {
        session.client.says("STLS\r\n");
        session.client.hears("-ERR [SYS/TEMP] TLS not available\r\n");
    }
    session.client.says("STLS\r\n");
    session.client.hears("-ERR [SYS/TEMP] Service not available, closing connection\r\n");
    session.client.hears_end();
}

/// Each time it is called twice: for STARTTLS, and because it has none, in plaintext.
#[test]
fn whoever_asks_too_often_hears_the_goodbye_of_an_opportunistic_backend() {
    let (site, backend) = (Site::new(), Backend::new());
    let wrapper = Wrapper::backend(&site, backend.port()).options(&["--backend-tls", "opportunistic", "-v", "2"]);
    let mut session = wrapper.start();
    let server = session.opening();
    asks_too_often(session, server, || {
        let mut plain = Peer::tcp(backend.accept());
        plain.says("220 inner.example\r\n");
        plain.hears("EHLO localhost\r\n");
        plain.says("502 what\r\n");
        let mut again = Peer::tcp(backend.accept());
        again.says("421 busy\r\n");
        again
    });
    assert!(backend.is_untouched());
}

/// A TLS server that is told of TLS is reached once more behind the handshake.
#[test]
fn the_last_try_may_succeed() {
    let (site, backend) = (Site::new(), Backend::new());
    let options = ["--backend-tls", "opportunistic", "--proxy-protocol", "v2"];
    let mut session = Wrapper::backend(&site, backend.port()).options(&options).start();
    let _server = session.opening();
    let reached = || {
        let mut plain = Peer::tcp(backend.accept());
        header(&mut plain);
        plain.says("220 inner.example\r\n");
        plain.hears("EHLO localhost\r\n");
        plain.says("502 what\r\n");
        let mut again = Peer::tcp(backend.accept());
        header(&mut again);
        again
    };
    for _ in 1..MAX_STARTTLS_TRIES {
        session.client.says("STARTTLS\r\n");
        let mut busy = reached();
        busy.says("421 busy\r\n");
        session.client.hears(NOT_AVAILABLE);
    }
    session.client.says("STARTTLS\r\n");
    let mut before = reached();
    before.says("220 inner.example\r\n");
    session.client.hears(GO_AHEAD);
    tls::Client::new(&site).shake(&mut session.client).expect("the wrapper shakes hands");
    let mut inside = reached();
    inside.says("220 inner.example\r\n");
    session.client.says("EHLO laptop\r\n");
    inside.hears("EHLO laptop\r\n");
}
