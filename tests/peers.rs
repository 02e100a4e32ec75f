//! What other programs of this kind got wrong, seen in them; DESIGN.md section 1 has the list.

mod support;

use std::time::{Duration, Instant};

use rustix::net::sockopt::tcp_nodelay;
use support::backend::Backend;
use support::certificates::Site;
use support::peer::Peer;
use support::proc;
use support::servers::{Listening, mailfront, tcpserver, tcpserver_of};
use support::tls::Client;
use support::wrapper::{GO_AHEAD, Prog, Session, Wrapper};

/// What others wait in every session is more.
const WAIT: Duration = Duration::from_millis(40);

/// A session in which TLS stands, and the server inside, which has greeted.
fn inside(site: &Site, options: &[&str]) -> (Session, Prog) {
    let mut session = Wrapper::respawn(site).options(options).start();
    let _plaintext_server = session.opening();
    session.starttls(&Client::new(site));
    let server = session.fresh_server();
    (session, server)
}

#[test]
fn a_prompt_client_hello_is_not_thrown_away() {
    let (site, backend) = (Site::new(), Backend::new());
    // Together with STARTTLS, and while the wrapper is busy with the backend.
    for together in [true, false] {
        let mut session = Wrapper::backend(&site, backend.port()).start();
        let _plaintext_server = session.opening();
        let mut handshake = Client::new(&site).begin();
        let hello = handshake.client_hello();
        session.client.says(if together { [b"STARTTLS\r\n", &hello[..]].concat() } else { b"STARTTLS\r\n".into() });
        let connection = backend.accept();
        if !together {
            session.client.says(&hello);
        }
        let mut server = support::tls::accept(&site, connection).unwrap();
        server.says("220 inner.example ESMTP\r\n");
        session.client.hears(GO_AHEAD);
        handshake.finish(&mut session.client).expect("the handshake succeeds");
        session.client.says("EHLO laptop\r\n");
        server.hears("EHLO laptop\r\n");
    }
}

#[test]
fn the_last_reply_of_a_server_that_exits_at_once_is_delivered() {
    let site = Site::new();
    let (session, server) = inside(&site, &["--no-replay"]);
    let mut plaintext = Wrapper::respawn(&site).start();
    let plaintext_server = plaintext.opening();
    for (mut session, mut server) in [(session, server), (plaintext, plaintext_server)] {
        // More than anybody reads: closing on it would reset the connection, and the reply with it. So nobody but the
        // wrapper may hold it open.
        drop(session.shared);
        session.client.says("QUIT\r\n".to_owned() + &"x".repeat(100_000));
        server.hears("QUIT\r\n");
        server.says("221 bye\r\n");
        drop(server);
        session.client.hears("221 bye\r\n");
        session.client.hears_end();
        session.wrapper.wait();
        assert!(!session.client.is_reset());
    }
}

#[test]
fn pipelined_commands_do_not_hang_and_are_answered_in_order() {
    let site = Site::new();
    let server = tcpserver(&Wrapper::respawn(&site), &mailfront().words());
    let mut client = Peer::connect(server.port);
    client.hears_code("220");
    client.says("EHLO a\r\nMAIL FROM:<a@example.org>\r\nNOOP\r\nRSET\r\nMAIL FROM:<b@example.org>\r\n");
    client.hears_code("250");
    client.hears_code("250 Sender='a@example.org'.");
    client.hears_code("250 2.3.0 OK");
    client.hears_code("250");
    client.hears_code("250 Sender='b@example.org'.");
    let mut client = Peer::connect(server.port);
    client.hears_code("220");
    client.says("EHLO a\r\nRSET\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n");
    for code in ["250", "250 2.3.0 OK", "250 Sender", "250 Recipient", "354"] {
        client.hears_code(code);
    }
}

#[test]
fn the_offer_stands_where_clients_look_also_when_the_reply_has_one_line() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).start();
    let mut server = session.server();
    server.says("220 mx.example ESMTP\r\n");
    session.client.hears("220 mx.example ESMTP\r\n");
    session.client.says("EHLO laptop\r\n");
    server.hears("EHLO laptop\r\n");
    server.says("250 mx.example\r\n");
    session.client.hears("250-mx.example\r\n250 STARTTLS\r\n");
}

#[test]
fn quit_and_helo_are_answered_and_the_connection_ends_in_order() {
    let site = Site::new();
    let server = tcpserver(&Wrapper::respawn(&site), &mailfront().words());
    for (command, code) in [("HELO a\r\n", "250"), ("QUIT\r\n", "221"), ("quit\n", "221")] {
        let mut client = Peer::connect(server.port);
        client.hears_code("220");
        client.says(command);
        client.hears_code(code);
        client.says_in_vain("QUIT\r\n");
        // A reset would be an error here.
        client.hears_rest();
    }
}

#[test]
fn no_session_waits_for_anything_but_its_peers() {
    let site = Site::new();
    let (bare, wrapped) =
        (tcpserver_of(&mailfront().words()), tcpserver(&Wrapper::respawn(&site), &mailfront().words()));
    let session = |server: &Listening| {
        let began = Instant::now();
        let mut client = Peer::connect(server.port);
        client.hears_code("220");
        for (command, code) in [("EHLO a\r\n", "250"), ("NOOP\r\n", "250"), ("QUIT\r\n", "221")] {
            client.says(command);
            client.hears_code(code);
        }
        client.hears_end();
        began.elapsed()
    };
    // One of several must be quick: a machine under load is slow now and then, a wait would be there every time.
    let without = (0..9).map(|_| session(&bare)).min().unwrap();
    let quick = (0..100).map(|_| session(&wrapped)).any(|took| took < WAIT + 4 * without);
    assert!(
        quick,
        "no session takes less than {WAIT:?} and four times {without:?}, which it takes without the wrapper"
    );
}

#[test]
fn nagle_does_not_hold_anything_back() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).start();
    let _server = session.opening();
    assert!(tcp_nodelay(&session.shared).unwrap());
}

#[test]
fn a_client_that_vanishes_costs_no_processor_time() {
    let site = Site::new();
    let (mut session, mut server) = inside(&site, &[]);
    session.client.says("EHLO laptop\r\nXYZZY\r\n");
    server.hears("EHLO laptop\r\n");
    server.says("250 fresh.example\r\n");
    session.client.hears("250 fresh.example\r\n");
    server.hears("XYZZY\r\n");
    // Without close_notify, and the server takes its time.
    session.vanish();
    server.hears_end();
    let reader = proc::session_of(session.wrapper.pid());
    let before = proc::ticks(reader);
    std::thread::sleep(Duration::from_millis(500));
    assert!(proc::ticks(reader) - before < 10, "the session idles");
    drop(server);
    session.wrapper.wait();
}

#[test]
fn the_server_knows_who_the_client_is_and_that_tls_happened() {
    let site = Site::new();
    // It tells what it knows, in its greeting and in its replies.
    let script = r#"say() { printf '%s client=%s tls=%s\r\n' "$1" "$TCPREMOTEIP" "$SSL_PROTOCOL"; }
                    say 220; while read line; do say 250; done"#;
    let mut session = Wrapper::respawn(&site).env("TCPREMOTEIP", "192.0.2.7").start_prog(&["/bin/sh", "-c", script]);
    session.client.hears("220 client=192.0.2.7 tls=\r\n");
    session.client.says("EHLO laptop\r\n");
    session.client.hears("250-client=192.0.2.7 tls=\r\n250 STARTTLS\r\n");
    session.starttls(&Client::new(&site));
    session.client.says("NOOP\r\n");
    session.client.hears("250 client=192.0.2.7 tls=TLSv1.3\r\n");
}

#[test]
fn an_envelope_given_in_plaintext_does_not_survive() {
    let site = Site::new();
    let server = tcpserver(&Wrapper::respawn(&site), &mailfront().words());
    let mut client = Peer::connect(server.port);
    client.hears_code("220");
    for (command, code) in [("EHLO a\r\n", "250"), ("STARTTLS\r\n", "220")] {
        client.says(command);
        client.hears_code(code);
    }
    Client::new(&site).shake(&mut client).unwrap();
    client.says("EHLO b\r\n");
    client.hears_code("250");
    client.says("RCPT TO:<b@example.org>\r\n");
    client.hears_code("503");
}
