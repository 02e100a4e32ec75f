//! `--require-tls`: before TLS the opening words, and nothing else reaches prog.

mod support;

use std::time::{Duration, Instant};

use support::certificates::Site;
use support::wrapper::{GO_AHEAD, Prog, Session, Wrapper};
use support::{readable, tls};

const REFUSED: &str = "530 5.7.0 Must issue a STARTTLS command first\r\n";

#[test]
fn what_is_no_opening_word_is_refused_and_never_reaches_prog() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).option("-r").start();
    let mut server = session.opening();
    for refused in ["MAIL FROM:<a@b>", "AUTH PLAIN AGEAYg==", "XYZZY", "HELO a", "RSET", "VRFY a", "DATA", "STARTTLSX"]
    {
        session.client.says(format!("{refused}\r\n"));
        session.client.hears(REFUSED);
    }
    session.client.says("NOOP\r\n");
    server.hears("NOOP\r\n");
    server.says("250 ok\r\n");
    session.client.hears("250 ok\r\n");
    session.starttls(&tls::Client::new(&site));
    server.hears_end();
    let mut server = session.fresh_server();
    for line in ["EHLO laptop\r\n", "AUTH PLAIN AGEAYg==\r\n", "MAIL FROM:<a@b>\r\n"] {
        session.client.says(line);
        server.hears(line);
        server.says("250 ok\r\n");
        session.client.hears("250 ok\r\n");
    }
}

#[test]
fn authentication_is_not_offered() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).option("-r").start();
    let mut server = session.server();
    server.says("220 mx.example ESMTP\r\n");
    session.client.hears("220 mx.example ESMTP\r\n");
    session.client.says("EHLO laptop\r\n");
    server.hears("EHLO laptop\r\n");
    server.says("250-mx.example\r\n250-AUTH PLAIN LOGIN\r\n250-AUTH=PLAIN\r\n250 auth CRAM-MD5\r\n");
    session.client.hears("250-mx.example\r\n250 STARTTLS\r\n");
}

#[test]
fn the_tenth_refusal_closes() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).option("-r").start();
    let mut server = session.opening();
    session.client.says("MAIL FROM:<a@b>\r\n".repeat(12));
    session.client.hears(REFUSED.repeat(9));
    session.client.hears_code("421");
    session.client.hears_end();
    server.hears_end();
}

/// The session line tells a client that was turned away from one that only looked.
#[test]
fn a_client_that_was_refused_and_left_is_called_refused() {
    let site = Site::new();
    let leaves: [fn(&mut Session, Prog); 3] = [
        |session, mut server| {
            session.client.says("QUIT\r\n");
            server.hears("QUIT\r\n");
            server.says("221 bye\r\n");
            session.client.hears("221 bye\r\n");
        },
        |session, mut server| {
            session.client.says_no_more();
            server.hears_end();
        },
        |session, mut server| {
            session.reset();
            server.hears_end();
        },
    ];
    for (leave, said, outcome) in leaves.into_iter().flat_map(|leave| {
        [(leave, "MAIL FROM:<a@b>\r\n", "outcome=refused"), (leave, "STARTTLS now\r\n", "outcome=plaintext")]
    }) {
        let mut session = Wrapper::respawn(&site).options(&["-r", "-v", "2"]).start();
        let server = session.opening();
        session.client.says(said);
        session.client.hears_code("5");
        leave(&mut session, server);
        let end = session.end();
        assert_eq!(end.status, 0, "{}", end.log);
        assert!(end.log.contains(outcome), "{said}: {}", end.log);
    }
}

#[test]
fn a_client_that_came_to_tls_after_all_is_not() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).options(&["-r", "-v", "2"]).start();
    let _plaintext_server = session.opening();
    session.client.says("MAIL FROM:<a@b>\r\n");
    session.client.hears(REFUSED);
    session.starttls(&tls::Client::new(&site));
    drop(session.fresh_server());
    assert!(session.end().log.contains("outcome=tls "));
}

#[test]
fn the_deadline_closes() {
    // More than the opening takes on a machine under load.
    let (site, limit) = (Site::new(), Duration::from_millis(3000));
    let began = Instant::now();
    let mut session = Wrapper::respawn(&site).options(&["-r", "--tls-deadline", "3000"]).start();
    let mut server = session.opening();
    session.client.hears_code("421");
    session.client.hears_end();
    assert!(began.elapsed() >= limit);
    server.hears_end();
    drop(server);
    assert_eq!(session.end().status, 99);
}

#[test]
fn tls_that_came_in_time_is_not_cut_off() {
    let site = Site::new();
    // More than the way to TLS takes on a machine under load.
    let mut session = Wrapper::respawn(&site).options(&["-r", "--tls-deadline", "4000"]).start();
    let _plaintext_server = session.opening();
    session.starttls(&tls::Client::new(&site));
    let mut server = session.fresh_server();
    let mut speaks = || {
        session.client.says("EHLO laptop\r\n");
        server.hears("EHLO laptop\r\n");
        server.says("250 ok\r\n");
        session.client.hears("250 ok\r\n");
    };
    speaks();
    assert!(!readable(&session.line, Duration::from_millis(4100)), "it passes, and nobody says so");
    speaks();
}

#[test]
fn a_line_that_servers_would_cut_otherwise_ends_the_session() {
    let site = Site::new();
    for line in ["NOOP\0\r\n", "NO\rOP\r\n", "NOOP \rMAIL FROM:<a@b>\r\n"] {
        let mut session = Wrapper::respawn(&site).option("-r").start();
        let mut server = session.opening();
        session.client.says(line);
        session.client.hears(REFUSED);
        session.client.hears_end();
        server.hears_end();
    }
}

/// What a line has more than the protocol allows may be the next command for a server that takes no more at once.
#[test]
fn a_line_is_as_long_as_its_protocol_allows_and_a_longer_one_ends_the_session() {
    let site = Site::new();
    for (protocol, greeting, word, reply, too_long, limit) in [
        ("auto", "220 mx\r\n", "NOOP ", "250 ok\r\n", "500 5.5.2 Line too long\r\n", 512),
        ("lmtp", "220 mx\r\n", "NOOP ", "250 ok\r\n", "500 5.5.2 Line too long\r\n", 512),
        ("auto", "+OK\r\n", "NOOP ", "+OK\r\n", "-ERR Line too long\r\n", 255),
        ("auto", "200 hi\r\n", "DATE ", "111 now\r\n", "501 Line too long\r\n", 512),
        ("auto", "* OK\r\n", "a NOOP ", "a OK\r\n", "* BYE Line too long\r\n", 8192),
    ] {
        for length in [limit - 1, limit, limit + 1] {
            let mut session = Wrapper::respawn(&site).options(&["-r", "-p", protocol]).start();
            let mut server = session.server();
            server.says(greeting);
            session.client.hears(greeting);
            let line = format!("{word}{}\r\n", "x".repeat(length - word.len() - 2));
            session.client.says(&line);
            if length <= limit {
                server.hears(&line);
                server.says(reply);
                session.client.hears(reply);
            } else {
                session.client.hears(too_long);
                session.client.hears_end();
                server.hears_end();
            }
        }
    }
}

/// No byte of it reaches the server, whether its end comes or not.
#[test]
fn a_line_without_end_ends_the_session() {
    let site = Site::new();
    for length in [512, 10_000] {
        let mut session = Wrapper::respawn(&site).option("-r").start();
        let mut server = session.opening();
        session.client.says(format!("NOOP {}", "x".repeat(length - 5)));
        session.client.hears("500 5.5.2 Line too long\r\n");
        session.client.hears_end();
        server.hears_end();
    }
}

#[test]
fn an_unknown_greeting_ends_the_session() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).option("-r").start();
    let mut server = session.server();
    server.says("HELLO, who is there?\r\n");
    session.client.hears_end();
    server.hears_end();
    drop(server);
    let end = session.end();
    assert!(end.log.contains("unable to tell the protocol by its greeting: HELLO, who is there?"), "{}", end.log);
}

#[test]
fn injected_plaintext_is_no_way_in() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).option("-r").start();
    let mut server = session.opening();
    session.client.says("STARTTLS\r\nMAIL FROM:<evil@example.org>\r\n");
    session.client.hears(GO_AHEAD);
    assert_eq!(session.client.hears_rest().first(), Some(&21), "an alert");
    server.hears_end();
    assert!(session.has_no_further_server());
}
