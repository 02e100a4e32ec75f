//! The TLS server fails: the client hears 454, and the plaintext session goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod support;

use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use starttls_wrapper::relay::BACKEND_TIMEOUT;
use support::backend::{Backend, ClosedPort};
use support::certificates::{Flaw, Site};
use support::peer::Peer;
use support::tls;
use support::wrapper::{NOT_AVAILABLE, Wrapper};

/// STARTTLS against this port is not available, the session goes on in plaintext to its end, and the log says why.
#[track_caller]
fn fails<T>(port: u16, why: &str, backend_does: impl FnOnce() -> T) {
    let site = Site::new();
    let mut session = Wrapper::backend(&site, port).start();
    let mut server = session.opening();
    session.client.says("STARTTLS\r\n");
    // Whoever it returns stays: what he has said shall not be lost by his leaving.
    let _backend = backend_does();
    session.client.hears(NOT_AVAILABLE);
    for line in ["MAIL FROM:<a@example.org>\r\n", "QUIT\r\n"] {
        session.client.says(line);
        server.hears(line);
        server.says("250 go on\r\n");
        session.client.hears("250 go on\r\n");
    }
    server.says_no_more();
    server.exits(7);
    session.client.hears_end();
    let end = session.end();
    assert_eq!(end.status, 7, "prog's own status");
    assert!(end.log.contains("warning: unable to ") && end.log.contains(why), "{:?} in:\n{}", why, end.log);
}

/// A backend whose certificate the wrapper does not take.
#[track_caller]
fn does_not_verify(flaw: Flaw, why: &str) {
    let backend = Backend::new();
    fails(backend.port(), why, || {
        assert!(tls::accept(&Site::flawed(flaw), backend.accept()).is_err(), "the wrapper breaks off");
    });
}

#[test]
fn a_closed_port() {
    let port = ClosedPort::new();
    fails(port.number(), "connection refused", || ());
}

#[test]
fn no_tls_there() {
    let backend = Backend::new();
    fails(backend.port(), "it speaks no TLS", || {
        let mut peer = Peer::tcp(backend.accept());
        peer.says("220 plaintext ESMTP\r\n");
        peer
    });
}

#[test]
fn an_expired_certificate() {
    does_not_verify(Flaw::Expired, "certificate has expired");
}

#[test]
fn a_certificate_of_another_name() {
    does_not_verify(Flaw::WrongName, "certificate is for another name");
}

#[test]
fn a_certificate_of_an_unknown_authority() {
    does_not_verify(Flaw::Untrusted, "issuer is unknown");
}

#[test]
fn a_backend_that_closes() {
    let backend = Backend::new();
    fails(backend.port(), "the connection was closed", || drop(backend.accept_and_hear_client_hello()));
}

#[test]
fn a_backend_that_resets() {
    let backend = Backend::new();
    fails(backend.port(), "connection reset by peer\n", || {
        let connection = backend.accept_and_hear_client_hello();
        set_socket_linger(&connection, Some(Duration::ZERO)).unwrap();
    });
}

#[test]
fn a_backend_that_closes_before_it_has_greeted() {
    let (backend, site) = (Backend::new(), Site::new());
    fails(backend.port(), "the connection was closed", || {
        let mut peer = tls::accept(&site, backend.accept()).unwrap();
        peer.says_no_more();
        peer
    });
}

#[test]
fn a_greeting_that_refuses() {
    let (backend, site) = (Backend::new(), Site::new());
    let port = backend.port();
    let mut session = Wrapper::backend(&site, port).start();
    let mut server = session.opening();
    session.client.says("STARTTLS\r\n");
    let mut busy = tls::accept(&site, backend.accept()).unwrap();
    busy.says("421 too busy\r\n");
    session.client.hears(NOT_AVAILABLE);
    session.client.says("QUIT\r\n");
    server.hears("QUIT\r\n");
    drop(server);
    session.client.hears_end();
    let end = session.end();
    assert!(end.log.contains("warning: the TLS server's greeting is a refusal: 421 too busy\n"), "{}", end.log);
}

/// This test takes as long as the limit it is about.
#[test]
fn a_backend_that_hangs() {
    let backend = Backend::new();
    let began = Instant::now();
    fails(backend.port(), "it took too long", || backend.accept());
    let (taken, limit) = (began.elapsed(), BACKEND_TIMEOUT);
    assert!(taken >= limit && taken < limit + Duration::from_secs(5), "it took {taken:?}");
}

#[test]
fn with_require_tls_the_session_ends() {
    let (site, port) = (Site::new(), ClosedPort::new());
    let mut session = Wrapper::backend(&site, port.number()).option("-r").start();
    let mut server = session.opening();
    session.client.says("STARTTLS\r\n");
    session.client.hears(NOT_AVAILABLE);
    session.client.hears_end();
    server.hears_end();
}
