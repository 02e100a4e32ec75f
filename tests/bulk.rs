//! Much, and often: not a byte and not a session is lost.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use support::certificates::Site;
use support::peer::Peer;
use support::servers::{mailfront, tcpserver};
use support::tls::Client;
use support::wrapper::{GO_AHEAD, Prog, Session, Wrapper};

/// A mail of 100 MB in lines of every length, without a lone dot: piece number `n` of [`PIECES`].
fn piece(n: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..PIECE).map(|at| ((at * 31 + n * 17) % 251) as u8).collect();
    bytes.splice(PIECE - 2.., *b"\r\n");
    bytes
}

const PIECE: usize = 100_000;
const PIECES: usize = 1000;

/// The mail goes through, byte for byte, while the server reads as fast as it can.
fn carries_a_mail_of_100_mb(mut session: Session, mut server: Prog) {
    session.client.says("DATA\r\n");
    server.hears("DATA\r\n");
    server.says("354 go\r\n");
    session.client.hears("354 go\r\n");
    let client = &mut session.client;
    thread::scope(|threads| {
        threads.spawn(|| {
            (0..PIECES).for_each(|n| client.says(piece(n)));
            client.says(".\r\n");
            client.hears("250 taken\r\n");
        });
        (0..PIECES).for_each(|n| server.hears(piece(n)));
        server.hears(".\r\n");
        server.says("250 taken\r\n");
    });
}

#[test]
fn a_mail_of_100_mb_arrives_byte_for_byte_in_plaintext() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).start();
    let server = session.opening();
    carries_a_mail_of_100_mb(session, server);
}

#[test]
fn a_mail_of_100_mb_arrives_byte_for_byte_over_tls() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).start();
    let _plaintext_server = session.opening();
    session.starttls(&Client::new(&site));
    let mut server = session.fresh_server();
    session.client.says("EHLO laptop\r\n");
    server.hears("EHLO laptop\r\n");
    server.says("250 fresh.example\r\n");
    session.client.hears("250 fresh.example\r\n");
    carries_a_mail_of_100_mb(session, server);
}

/// A session over and over, so many at a time.
fn again_and_again(times: usize, session: impl Fn(usize) + Sync) {
    let count = AtomicUsize::new(0);
    thread::scope(|threads| {
        for _ in 0..AT_A_TIME {
            threads.spawn(|| {
                loop {
                    let n = count.fetch_add(1, Ordering::Relaxed);
                    if n >= times {
                        return;
                    }
                    session(n);
                }
            });
        }
    });
}

const AT_A_TIME: usize = 8;

#[test]
fn a_server_that_exits_right_after_its_reply_delivers_it_1000_of_1000_times() {
    let (site, script) = (Site::new(), "printf '220 mx ESMTP\\r\\n'; read line; printf '221 bye\\r\\n'");
    let server = tcpserver(&Wrapper::respawn(&site), &["/bin/sh", "-c", script]);
    again_and_again(1000, |_| {
        let mut client = Peer::connect(server.port);
        client.hears("220 mx ESMTP\r\n");
        // What comes after QUIT nobody reads, which must not cost the reply.
        client.says("QUIT\r\n".to_owned() + &"x".repeat(20_000));
        client.hears("221 bye\r\n");
        client.hears_end();
    });
}

/// The server exits right after its last reply here as well. Every other client does not wait for the go-ahead.
#[test]
fn of_2000_starttls_sessions_8_at_a_time_none_fails() {
    let site = Site::new();
    let (server, tls) = (tcpserver(&Wrapper::respawn(&site), &mailfront().words()), Client::new(&site));
    again_and_again(2000, |n| {
        let mut client = Peer::connect(server.port);
        client.hears_code("220");
        client.says("EHLO laptop\r\n");
        client.hears_code("250");
        let (mut handshake, mut line) = (tls.begin(), b"STARTTLS\r\n".to_vec());
        if n % 2 == 0 {
            line.extend(handshake.client_hello());
        }
        client.says(line);
        client.hears(GO_AHEAD);
        handshake.finish(&mut client).expect("the handshake succeeds");
        client.says("EHLO laptop\r\n");
        client.hears_code("250");
        client.says("QUIT\r\n");
        client.hears("221 2.0.0 Good bye.\r\n");
        client.hears_end();
    });
}
