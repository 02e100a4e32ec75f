//! A session in an attacker's hands asks its keeper for more than is its due, and is killed for it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

#[path = "takeover/attacker.rs"]
mod attacker;
mod support;

use std::fs::File;

use attacker::TakenOver;
use starttls_protocols::session::MAX_STARTTLS_TRIES;
use starttls_wrapper::facts::MAX_FACT;
use starttls_wrapper::proxy::Ends;
use starttls_wrapper::window::{Ask, Chain, MAX_PACKET, Peer};
use support::backend::Backend;
use support::certificates::Site;
use support::proc;
use support::wrapper::Wrapper;

/// What the administrator reads.
const NOT_ALLOWED_NOW: &str = "the session made a request that is not allowed now";
const NO_SUCH_REQUEST: &str = "the session made a request that does not exist";
const TOO_LONG: &str = "a packet through the window is too long";

/// ecdsa_secp256r1_sha256 (RFC 8446 section 4.2.3), which the site's key can do.
const SCHEME: u16 = 0x0403;

/// What TLS 1.3 has a server or a client sign (RFC 8446 section 4.4.3).
fn signature(peer: Peer) -> Ask {
    let role = if peer == Peer::Client { "server" } else { "client" };
    let context = format!("{}TLS 1.3, {role} CertificateVerify\0", " ".repeat(64));
    Ask::Sign(peer, SCHEME, [context.as_bytes(), &[7; 32]].concat())
}

fn inside(variable: &str) -> Ask {
    Ask::Spawn(Some(vec![variable.to_owned()]))
}

#[test]
fn one_signature_for_the_client() {
    let site = Site::new();
    let session = TakenOver::at_the_handshake(&site);
    assert_eq!(session.gets(&signature(Peer::Client)).first(), Some(&0x30), "an ECDSA signature is a sequence");
    session.dies_for(&signature(Peer::Client));
}

#[test]
fn one_signature_for_each_connection_to_the_backend() {
    let (site, backend) = (Site::new(), Backend::new());
    let own = ["--backend-cert".into(), site.cert(), "--backend-key".into(), site.key()];
    let taken_over = || TakenOver::of(own.iter().fold(Wrapper::backend(&site, backend.port()), Wrapper::option));
    let session = taken_over();
    for _ in 0..2 {
        session.gets(&Ask::Connect);
        let shown = Chain::decode(&session.gets(&Ask::ChainForBackend)).unwrap();
        assert_eq!(shown.certificates, [site.certificate.to_vec()]);
        session.gets(&signature(Peer::Backend));
    }
    session.dies_for(&signature(Peer::Backend));
    let session = taken_over();
    session.gets(&Ask::Connect);
    session.gets(&Ask::ChainForBackend);
    session.dies_for(&Ask::ChainForBackend);
}

#[test]
fn no_signature_over_anything_but_a_handshake_of_this_leg() {
    let site = Site::new();
    let Ask::Sign(_, _, of_a_client) = signature(Peer::Backend) else { unreachable!() };
    for message in [b"I owe you".to_vec(), of_a_client, vec![]] {
        TakenOver::at_the_handshake(&site).dies_for(&Ask::Sign(Peer::Client, SCHEME, message));
    }
}

#[test]
fn one_prog_in_plaintext_and_one_inside_tls() {
    let site = Site::new();
    TakenOver::respawn(&site).dies_for(&Ask::Spawn(None));
    let session = TakenOver::respawn(&site);
    session.gets(&inside("SSL_PROTOCOL=TLSv1.3"));
    session.dies_for(&inside("SSL_PROTOCOL=TLSv1.3"));
}

#[test]
fn as_many_tries_as_the_limit_and_no_more() {
    let (site, backend) = (Site::new(), Backend::new());
    for ask in [Ask::Prepare, Ask::Connect, Ask::Anchors(Peer::Backend)] {
        let session = TakenOver::of(Wrapper::backend(&site, backend.port()));
        for _ in 0..MAX_STARTTLS_TRIES {
            session.gets(&ask);
            if ask == Ask::Connect {
                backend.accept();
            }
        }
        session.dies_for(&ask);
        assert!(backend.is_untouched());
    }
}

#[test]
fn nothing_out_of_turn() {
    let site = Site::new();
    let asks = [
        signature(Peer::Client),
        signature(Peer::Backend),
        Ask::ChainForBackend,
        Ask::Anchors(Peer::Client),
        // Those that belong to another mode.
        Ask::Connect,
        Ask::Anchors(Peer::Backend),
        Ask::ClientAddress(Ends { client: ([192, 0, 2, 1], 4711).into(), server: ([192, 0, 2, 2], 25).into() }),
    ];
    for ask in asks {
        TakenOver::respawn(&site).dies_for(&ask);
    }
    TakenOver::at_the_handshake(&site).dies_for(&Ask::Chain(None, vec![SCHEME]));
    let backend = Backend::new();
    let with_a_backend = || TakenOver::of(Wrapper::backend(&site, backend.port()));
    with_a_backend().dies_for(&inside("SSL_PROTOCOL=TLSv1.3"));
    with_a_backend().dies_for(&Ask::ChainForBackend);
}

#[test]
fn nothing_that_is_cut_short_or_unknown() {
    let site = Site::new();
    let [spawn, sign, chain] = [inside("SSL_CIPHER=x"), signature(Peer::Client), Ask::Chain(None, vec![SCHEME])];
    let [spawn, sign, chain] = [spawn, sign, chain].map(|ask| ask.encode());
    let not_utf8 = [&spawn[..], b"\xff\0"].concat();
    for packet in [&b""[..], b"?", b"tt", b"a", &sign[..3], &chain[..chain.len() - 1], &not_utf8] {
        TakenOver::at_the_handshake(&site).dies_for_packet(packet, NO_SUCH_REQUEST);
    }
}

#[test]
fn no_packet_beyond_the_limit() {
    let site = Site::new();
    for (length, why) in [(MAX_PACKET - 1, NOT_ALLOWED_NOW), (MAX_PACKET, NOT_ALLOWED_NOW), (MAX_PACKET + 1, TOO_LONG)]
    {
        let mut packet = signature(Peer::Client).encode();
        packet.resize(length, 0);
        TakenOver::at_the_handshake(&site).dies_for_packet(&packet, why);
    }
}

#[test]
fn no_variable_but_those_that_tell_of_tls() {
    let site = Site::new();
    let long = format!("SSL_CIPHER={}", "x".repeat(MAX_FACT));
    let wrong = [
        "PATH=/tmp",
        "LD_PRELOAD=/tmp/x",
        "TCPREMOTEIP=192.0.2.1",
        "SSL_CERT_FILE=/tmp/x",
        "SSL_OTHER=x",
        "SSL_CIPHER=x\ny",
        "",
        &long[..=MAX_FACT],
    ];
    for variable in wrong {
        TakenOver::respawn(&site).dies_for(&inside(variable));
    }
    for length in [MAX_FACT - 1, MAX_FACT] {
        let session = TakenOver::respawn(&site);
        session.gets(&inside(&long[..length]));
        let told = session.wrapper.server().environment.remove("SSL_CIPHER");
        assert_eq!(told.as_deref(), long[..length].strip_prefix("SSL_CIPHER="));
    }
}

#[test]
fn descriptors_sent_along_do_not_stay() {
    let site = Site::new();
    let session = TakenOver::respawn(&site);
    let keeper = session.wrapper.wrapper.pid();
    // It answers, and then it closes what it does not need.
    proc::until(|| proc::is_asleep(keeper));
    let before = proc::descriptors(keeper);
    let file = File::open("/dev/null").unwrap();
    for _ in 0..MAX_STARTTLS_TRIES {
        session.sends(&Ask::Prepare.encode(), &[&file; 64]);
        session.hears_yes();
    }
    proc::until(|| proc::is_asleep(keeper));
    assert_eq!(proc::descriptors(keeper), before);
}

#[test]
fn nothing_after_the_release() {
    let site = Site::new();
    let session = TakenOver::at_the_handshake(&site);
    session.sends(&Ask::Release.encode(), &[]);
    proc::until(|| proc::status(session.wrapper.wrapper.pid(), "Seccomp") == "2");
    session.sends(&signature(Peer::Client).encode(), &[]);
    session.ends_unanswered();
}
