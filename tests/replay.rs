//! What the server inside TLS hears of the plaintext dialogue: nothing if the client opens the session again, EHLO if
//! it does not, and nothing at all with `--no-replay`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod support;

use support::backend::Backend;
use support::certificates::Site;
use support::peer::Peer;
use support::servers::{exim4, mailfront, stunnel, tcpserver};
use support::tls;
use support::wrapper::Wrapper;

/// STARTTLS, and then MAIL without a new EHLO, at this port. The reply to MAIL.
fn mail_after_the_handshake(site: &Site, port: u16) -> String {
    let mut client = Peer::connect(port);
    client.hears_code("220");
    client.says("EHLO laptop.example\r\n");
    client.hears_code("250");
    client.says("STARTTLS\r\n");
    client.hears_code("220");
    tls::Client::new(site).shake(&mut client).unwrap();
    client.says("MAIL FROM:<a@example.org>\r\n");
    client.hears_reply()
}

#[test]
fn mail_directly_after_the_handshake_works_with_a_server_that_insists_on_ehlo() {
    let (site, exim) = (Site::new(), exim4());
    let respawning = tcpserver(&Wrapper::respawn(&site).options(&["-v", "2"]), &exim.words());
    assert_eq!(mail_after_the_handshake(&site, respawning.port), "250 OK\r\n");
    respawning.log().line_with("replay=replayed");
    let backend = stunnel(&site, &exim.words());
    let splicing = tcpserver(&Wrapper::backend(&site, backend.port), &mailfront().words());
    assert_eq!(mail_after_the_handshake(&site, splicing.port), "250 OK\r\n");
}

#[test]
fn with_no_replay_that_server_still_insists() {
    let (site, exim) = (Site::new(), exim4());
    for option in ["--no-replay", "-r"] {
        let respawning = tcpserver(&Wrapper::respawn(&site).option(option), &exim.words());
        assert!(mail_after_the_handshake(&site, respawning.port).starts_with("503"), "{option}");
    }
}

#[test]
fn with_a_new_ehlo_the_server_hears_exactly_one() {
    for options in [&[][..], &["--no-replay"]] {
        let (site, backend) = (Site::new(), Backend::new());
        let mut session = Wrapper::backend(&site, backend.port()).options(options).start();
        let _plaintext_server = session.opening();
        let mut server = session.starttls_to(&backend, &site);
        session.client.says("EHLO inside\r\n");
        server.hears("EHLO inside\r\n");
        server.says("250 inner.example\r\n");
        session.client.hears("250 inner.example\r\n");
        session.client.says_no_more();
        server.hears_end();
    }
}

#[test]
fn the_replayed_prefix_is_the_last_ehlo_and_its_reply_is_swallowed() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).start();
    let mut first = session.opening();
    for line in ["EHLO second\r\n", "NOOP\r\n", "RSET\r\n"] {
        session.client.says(line);
        first.hears(line);
        first.says("250 ok\r\n");
        session.client.hears_code("250");
    }
    session.starttls(&tls::Client::new(&site));
    let mut server = session.fresh_server();
    session.client.says("MAIL FROM:<a@example.org>\r\n");
    server.hears("EHLO second\r\n");
    server.says("250-fresh.example\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n");
    server.hears("MAIL FROM:<a@example.org>\r\n");
    server.says("250 sender ok\r\n");
    session.client.hears("250 sender ok\r\n");
}

#[test]
fn with_no_replay_the_server_hears_the_first_command_as_it_is() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).option("--no-replay").start();
    let _plaintext_server = session.opening();
    session.starttls(&tls::Client::new(&site));
    let mut server = session.fresh_server();
    session.client.says("MAIL FROM:<a@example.org>\r\n");
    server.hears("MAIL FROM:<a@example.org>\r\n");
}

#[test]
fn a_server_that_takes_the_prefix_otherwise_is_given_up() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).start();
    let _plaintext_server = session.opening();
    session.starttls(&tls::Client::new(&site));
    let mut server = session.fresh_server();
    session.client.says("MAIL FROM:<a@example.org>\r\n");
    server.hears("EHLO laptop\r\n");
    server.says("550 not you\r\n");
    session.client.hears_code("421 4.3.0");
    session.client.hears_end();
    server.hears_end();
    drop(server);
    let end = session.end();
    assert!(end.log.contains("the TLS server refused the replayed prefix: 550 not you"), "{}", end.log);
}

/// The client hears that the service is not available, and exit status 111 says no more: what the server said or did is for
/// the administrator.
#[test]
fn why_a_fresh_server_failed_is_told() {
    let site = Site::new();
    for (inside, said, why) in [
        ("printf '554-no\\r\\n554 not you\\r\\n'; exit 1", "", "its greeting is a refusal: 554 not you"),
        ("exit 1", "", "it ended before it had greeted"),
        (
            "printf '220 mx\\r\\n'; read line; exit 1",
            "MAIL FROM:<>\r\n",
            "it ended before it had answered the replayed prefix",
        ),
        ("head -c 9000 /dev/zero", "", "it sent a line that is too long"),
    ] {
        let prog = format!(
            "test -z \"$SSL_PROTOCOL\" || {{ {inside}; }}; printf '220 mx\\r\\n'; read line; printf '250 mx\\r\\n'; cat"
        );
        let mut session = Wrapper::respawn(&site).start_prog(&["/bin/sh", "-c", &prog]);
        session.client.hears("220 mx\r\n");
        session.client.says("EHLO laptop\r\n");
        session.client.hears("250-mx\r\n250 STARTTLS\r\n");
        session.starttls(&tls::Client::new(&site));
        session.client.says(said);
        session.client.hears_code("421 4.3.0");
        session.client.hears_end();
        let end = session.end();
        assert_eq!(end.status, 111);
        assert!(end.log.contains(&format!("warning: the server inside TLS failed: {why}\n")), "{why}: {}", end.log);
    }
}
