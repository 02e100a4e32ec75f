//! The laws, one test each, over real descriptors with real TLS. The test is client, prog and TLS server.

#![allow(clippy::expect_used, reason = "a test that fails panics")]

mod support;

use std::path::Path;

use support::backend::Backend;
use support::certificates::Site;
use support::peer::Peer;
use support::wrapper::{GO_AHEAD, NOT_AVAILABLE, Prog, Session, Wrapper};
use support::{proc, tls};

/// A session in which TLS stands and a fresh prog has heard `EHLO`.
fn inside(site: &Site) -> (Session, Prog) {
    let mut session = Wrapper::respawn(site).start();
    let _plaintext_server = session.opening();
    session.starttls(&tls::Client::new(site));
    let mut server = session.fresh_server();
    exchange(&mut session.client, &mut server, "EHLO laptop\r\n", "250 fresh.example\r\n");
    (session, server)
}

/// The server hears what the client says, and the other way round.
#[track_caller]
fn exchange(client: &mut Peer, server: &mut Peer, command: &str, reply: &str) {
    client.says(command);
    server.hears(command);
    server.says(reply);
    client.hears(reply);
}

#[test]
fn law_1_nothing_said_in_plaintext_is_heard_after_the_switch() {
    let site = Site::new();
    for injected in ["RSET\r\n", "EHLO evil\r\nMAIL FROM:<evil@example.org>\r\n"] {
        let mut session = Wrapper::respawn(&site).start();
        let mut server = session.opening();
        session.client.says(format!("STARTTLS\r\n{injected}"));
        session.client.hears(GO_AHEAD);
        let alert = session.client.hears_rest();
        assert!(matches!(alert[..], [21, 3, _, 0, 2, 2, _]), "{alert:?} is a fatal alert");
        server.hears_end();
        assert!(session.has_no_further_server());
        let end = session.end();
        assert_eq!(end.status, 98);
        let warning = format!("warning: the client sent {} bytes of plaintext behind STARTTLS\n", injected.len());
        assert!(end.log.contains(&warning), "{}", end.log);
    }
}

#[test]
fn law_1_an_eager_client_hello_works() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).start();
    let _plaintext_server = session.opening();
    let mut handshake = tls::Client::new(&site).begin();
    session.client.says([b"STARTTLS\r\n", &handshake.client_hello()[..]].concat());
    session.client.hears(GO_AHEAD);
    handshake.finish(&mut session.client).expect("the handshake succeeds");
    let mut server = session.fresh_server();
    exchange(&mut session.client, &mut server, "EHLO laptop\r\n", "250 fresh.example\r\n");
}

#[test]
fn law_2_nothing_owed_in_plaintext_is_paid_after_it() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).start();
    let mut server = session.opening();
    session.client.says("NOOP\r\nVRFY a\r\nSTARTTLS\r\n");
    server.hears("NOOP\r\n");
    server.says("250 noop\r\n");
    server.hears("VRFY a\r\n");
    server.says("252-who\r\n252 knows\r\n");
    session.client.hears("250 noop\r\n252-who\r\n252 knows\r\n");
    session.client.hears(GO_AHEAD);
    // Too late. Were it forwarded, it would stand where the handshake belongs.
    server.says_in_vain("250 what nobody asked for\r\n");
    server.hears_end();
    tls::Client::new(&site).shake(&mut session.client).expect("the first byte after the go-ahead is TLS");
    let mut server = session.fresh_server();
    exchange(&mut session.client, &mut server, "EHLO laptop\r\n", "250 fresh.example\r\n");
}

#[test]
fn law_3_the_server_forgets() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).start();
    let mut first = session.opening();
    exchange(&mut session.client, &mut first, "HELO plaintext\r\n", "250 hello\r\n");
    exchange(&mut session.client, &mut first, "RSET\r\n", "250 ok\r\n");
    session.starttls(&tls::Client::new(&site));
    first.hears_end();
    let mut server = session.fresh_server();
    assert_ne!(first.pid, server.pid);
    exchange(&mut session.client, &mut server, "EHLO inside\r\n", "250 fresh.example\r\n");
    session.client.says_no_more();
    server.hears_end();
}

#[test]
fn law_4_no_offer_we_cannot_keep() {
    let (site, backend) = (Site::new(), Backend::new());
    let mut session = Wrapper::backend(&site, backend.port()).start();
    let mut server = session.opening();
    session.client.says("STARTTLS\r\n");
    let mut refusing = tls::accept(&site, backend.accept()).unwrap();
    refusing.says("554 not today\r\n");
    session.client.hears(NOT_AVAILABLE);
    exchange(&mut session.client, &mut server, "NOOP\r\n", "250 still here\r\n");
    // The offer stands: it may be kept the next time.
    let mut server = session.starttls_to(&backend, &site);
    exchange(&mut session.client, &mut server, "EHLO laptop\r\n", "250 inner.example\r\n");
}

#[test]
fn law_5_one_switch_at_most_and_no_way_back() {
    let site = Site::new();
    let (mut session, mut server) = inside(&site);
    session.client.says("STARTTLS\r\n");
    session.client.hears_code("503");
    session.client.says("EHLO again\r\n");
    server.hears("EHLO again\r\n");
    server.says("250-fresh.example\r\n250 STARTTLS\r\n");
    session.client.hears("250 fresh.example\r\n");
    session.client.leaves_tls();
    session.client.says("MAIL FROM:<a@example.org>\r\n");
    server.hears_end();
}

#[test]
fn law_6_everything_unknown_ends_the_snooping_not_the_session() {
    let site = Site::new();
    let long = format!("NOOP {}\r\n", "x".repeat(10_000));
    for unknown in ["XYZZY\r\n", "MAIL FROM:<a@example.org>\r\n", "STARTTLSX\r\n", "NOOP\0\r\n", "NO\rOP\r\n", &long] {
        let mut session = Wrapper::respawn(&site).start();
        let mut server = session.opening();
        exchange(&mut session.client, &mut server, unknown, "250 as you like\r\n");
        exchange(&mut session.client, &mut server, "STARTTLS\r\n", "502 what is that\r\n");
        exchange(&mut session.client, &mut server, "DATA\r\nSTARTTLS\r\n.\r\n", "354 so\r\n250 mail\r\n");
        server.says_no_more();
        session.client.hears_end();
    }
}

#[test]
fn law_7_bytes_are_forwarded_as_they_came() {
    let site = Site::new();
    let everything: Vec<u8> = (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut plaintext = Wrapper::respawn(&site).start();
    let mut plaintext_server = plaintext.opening();
    exchange(&mut plaintext.client, &mut plaintext_server, "XYZZY\r\n", "250 ok\r\n");
    let (mut tls, mut tls_server) = inside(&site);
    exchange(&mut tls.client, &mut tls_server, "XYZZY\r\n", "250 ok\r\n");
    for (client, server) in [(&mut plaintext.client, &mut plaintext_server), (&mut tls.client, &mut tls_server)] {
        for piece in everything.chunks(10_007) {
            client.says(piece);
            server.hears(piece);
            server.says(piece);
            client.hears(piece);
        }
        // The client has said everything, and still hears.
        client.says("last words");
        client.says_no_more();
        server.hears("last words");
        server.hears_end();
        server.says("an answer");
        client.hears("an answer");
        server.says("and a farewell");
        server.says_no_more();
        client.hears("and a farewell");
        client.hears_end();
    }
}

/// Its own connection is gone, so it hears nothing more; but what it said was said.
#[test]
fn law_7_what_a_client_said_before_it_reset_the_connection_arrives() {
    let site = Site::new();
    let last = "last words\r\n".repeat(4096);
    let mut plaintext = Wrapper::respawn(&site).start();
    let mut plaintext_server = plaintext.opening();
    exchange(&mut plaintext.client, &mut plaintext_server, "XYZZY\r\n", "250 ok\r\n");
    let (mut tls, mut tls_server) = inside(&site);
    exchange(&mut tls.client, &mut tls_server, "XYZZY\r\n", "250 ok\r\n");
    for (mut session, mut server) in [(plaintext, plaintext_server), (tls, tls_server)] {
        proc::stopped(proc::session_of(session.wrapper.pid()), || {
            session.client.says(&last);
            session.reset();
        });
        server.hears(&last);
        server.hears_end();
    }
}

#[test]
fn law_8_encryption_asked_for_is_never_silently_dropped() {
    let (site, backend) = (Site::new(), Backend::new());
    let mut session = Wrapper::backend(&site, backend.port()).start();
    let mut server = session.opening();
    session.client.says("STARTTLS\r\n");
    let mut plaintext_backend = Peer::tcp(backend.accept());
    plaintext_backend.says("220 no TLS here\r\n250 but come in\r\n");
    session.client.hears(NOT_AVAILABLE);
    exchange(&mut session.client, &mut server, "NOOP\r\n", "250 still here\r\n");
    let heard = plaintext_backend.hears_rest();
    assert_eq!(heard.first(), Some(&22), "the backend heard a ClientHello");
    assert!(!heard.windows(4).any(|word| word == b"EHLO"), "and nothing that was said");
}

#[test]
fn law_9_the_key_never_exists_in_the_process_that_reads_the_network() {
    let site = Site::new();
    the_key_is_with_the_keeper_alone(&site, &site.key());
    // However the key is written, no copy of it is left behind.
    for form in [&["ec"][..], &["ec", "-outform", "DER"], &["pkey", "-outform", "DER"]] {
        the_key_is_with_the_keeper_alone(&site, &site.key_by_openssl(form));
    }
    let ed25519 = Site::with_key_of_openssl(&["genpkey", "-algorithm", "ed25519"]);
    the_key_is_with_the_keeper_alone(&ed25519, &ed25519.key());
    // Of RSA a part of the first prime.
    let rsa = Site::with_key(&rcgen::PKCS_RSA_SHA256);
    part_of_the_key_is_with_the_keeper_alone(&rsa, &rsa.key(), &rsa.key.secret_der()[600..632]);
}

fn the_key_is_with_the_keeper_alone(site: &Site, key: &Path) {
    part_of_the_key_is_with_the_keeper_alone(site, key, &site.secret());
}

fn part_of_the_key_is_with_the_keeper_alone(site: &Site, key: &Path, secret: &[u8]) {
    let mut session = Wrapper::respawn(site).env("KEYFILE", key).start();
    let _plaintext_server = session.opening();
    session.client.says("STARTTLS\r\n");
    // Both processes wait for the ClientHello, and the key has been read.
    session.client.hears(GO_AHEAD);
    let keeper = session.wrapper.pid();
    let limbs: Vec<u8> = secret.iter().rev().copied().collect();
    let holds = |pid| proc::memory_holds(pid, secret) || proc::memory_holds(pid, &limbs);
    assert!(holds(keeper), "the keeper has the key");
    assert!(!holds(proc::session_of(keeper)), "the session has not");
    tls::Client::new(site).shake(&mut session.client).expect("the key is the right one");
    let mut server = session.fresh_server();
    exchange(&mut session.client, &mut server, "EHLO laptop\r\n", "250 fresh.example\r\n");
    assert!(!holds(proc::session_of(keeper)), "nor after the handshake");
    // It forgets the key, and then it builds its own walls.
    proc::until(|| proc::status(keeper, "Seccomp") == "2");
    assert!(!holds(keeper), "and the keeper has forgotten it");
}
