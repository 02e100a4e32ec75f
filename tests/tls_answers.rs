//! What TLS itself says beside the data: it is said at once, and not at all where the peer has ended TLS.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod support;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::process::{Child, Command, Stdio};

use support::backend::Backend;
use support::certificates::{Flaw, Site};
use support::clients::s_client_by_starttls;
use support::program::path_of;
use support::servers::{GREETER, Listening, tcpserver};
use support::tls::{self, Client, TLS12, TLS13};
use support::wrapper::{GO_AHEAD, Wrapper};

/// A server that says nothing of itself while nobody speaks to it.
fn server() -> (Site, Listening) {
    let site = Site::new();
    let server = tcpserver(&Wrapper::respawn(&site), &[&path_of("python3"), "-ISc", GREETER, "smtp"]);
    (site, server)
}

fn s_client(server: &Listening, arguments: &[&str]) -> Command {
    let mut command = s_client_by_starttls(server.port, arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Reads on until a line begins so.
fn wait_for(child: &mut Child, start: &str) {
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with(start)), "no {start}");
}

#[test]
fn a_renegotiation_is_refused_at_once() {
    let (_site, server) = server();
    let mut child = s_client(&server, &["-tls1_2", "-msg"]).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"R\n").unwrap();
    wait_for(&mut child, "<<< TLS 1.2, Alert [length 0002], warning no_renegotiation");
    child.kill().and_then(|()| child.wait()).unwrap();
}

#[test]
fn a_key_update_is_answered_at_once() {
    let (_site, server) = server();
    let mut child = s_client(&server, &["-tls1_3", "-msg"]).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    for _ in 0..3 {
        input.write_all(b"K\n").unwrap();
        wait_for(&mut child, "<<< TLS 1.3, Handshake [length 0005], KeyUpdate");
    }
    child.kill().and_then(|()| child.wait()).unwrap();
}

#[test]
fn a_client_that_ends_the_handshake_by_an_alert_hears_nothing_more() {
    let (site, stranger) = (Site::new(), Site::flawed(Flaw::Untrusted));
    for version in [&TLS12, &TLS13] {
        let mut session = Wrapper::respawn(&stranger).start();
        let _plaintext_server = session.opening();
        session.client.says("STARTTLS\r\n");
        session.client.hears(GO_AHEAD);
        Client::new(&site).versions(&[version]).shake(&mut session.client).expect_err("it is nobody known");
        assert_eq!(session.client.hears_rest(), b"");
        session.wrapper.log.line_with("UnknownCA");
    }
}

#[test]
fn a_client_that_ends_a_session_by_an_alert_hears_nothing_more() {
    let site = Site::new();
    for version in [&TLS12, &TLS13] {
        let mut session = Wrapper::respawn(&site).start();
        let _plaintext_server = session.opening();
        session.starttls(&Client::new(&site).versions(&[version]));
        let mut server = session.fresh_server();
        session.client.says("EHLO laptop\r\n");
        server.hears("EHLO laptop\r\n");
        server.says("250 fresh.example\r\n");
        session.client.hears("250 fresh.example\r\n");
        session.client.breaks_tls();
        server.hears_end();
        server.says_in_vain("250 and more\r\n");
        server.exits(0);
        assert_eq!(session.client.hears_rest(), b"");
        let log = session.end().log;
        assert!(log.contains("TLS with the client failed: ") && log.contains("BadRecordMac"), "{log}");
    }
}

/// For some of what a client does wrong rustls sends no alert. close_notify would say that all is well (RFC 8446 section
/// 6.1).
#[test]
fn a_client_that_breaks_the_handshake_never_hears_close_notify() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).start();
    let _plaintext_server = session.opening();
    session.client.says("STARTTLS\r\n");
    session.client.hears(GO_AHEAD);
    let mut handshake = Client::new(&site).versions(&[&TLS13]).begin();
    session.client.says(handshake.client_hello());
    // One change_cipher_spec is for boxes on the way (RFC 8446 appendix D.4), four are too many.
    session.line.write_all(&[20, 3, 3, 0, 1, 1].repeat(4)).unwrap();
    session.wrapper.log.line_with("TLS handshake with the client failed: peer misbehaved");
    let outcome = handshake.finish(&mut session.client).and_then(|()| session.client.read(&mut [0]));
    assert_eq!(outcome.map_err(|why| why.kind()), Err(ErrorKind::UnexpectedEof));
}

/// The same in a session: more updates of a key in a row than rustls takes.
#[test]
fn a_client_that_breaks_a_session_never_hears_close_notify() {
    let (_site, server) = server();
    let mut child = s_client(&server, &["-tls1_3", "-msg"]).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    for _ in 0..33 {
        input.write_all(b"k\n").unwrap();
        wait_for(&mut child, ">>> TLS 1.3, Handshake [length 0005], KeyUpdate");
    }
    server.log().line_with("TLS with the client failed: peer misbehaved");
    let mut rest = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut rest).unwrap();
    assert!(!String::from_utf8_lossy(&rest).contains("<<< TLS 1.3, Alert"));
    child.wait().unwrap();
}

#[test]
fn a_backend_that_ends_a_session_by_an_alert_hears_nothing_more() {
    let site = Site::new();
    for version in [&TLS12, &TLS13] {
        let backend = Backend::new();
        let mut session = Wrapper::backend(&site, backend.port()).start();
        let _plaintext_server = session.opening();
        session.client.says("STARTTLS\r\n");
        let mut server = tls::accept_in(&site, backend.accept(), &[version]).expect("the wrapper shakes hands");
        server.says("220 inner.example ESMTP\r\n");
        session.client.hears(GO_AHEAD);
        Client::new(&site).shake(&mut session.client).expect("the wrapper shakes hands");
        session.client.says("EHLO laptop\r\n");
        server.hears("EHLO laptop\r\n");
        server.breaks_tls();
        assert_eq!(server.hears_rest(), b"");
    }
}
