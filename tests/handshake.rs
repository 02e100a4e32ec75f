//! The client's handshake, and what the server inside TLS is told of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod support;

use std::time::{Duration, Instant};

use support::certificates::Site;
use support::tls::{Client, NamedGroup, TLS12, TLS13};
use support::wrapper::{GO_AHEAD, Prog, Session, Wrapper};

/// A session that is about to shake hands, and its plaintext server.
fn at_the_go_ahead(wrapper: Wrapper) -> (Session, Prog) {
    let mut session = wrapper.start();
    let server = session.opening();
    session.client.says("STARTTLS\r\n");
    session.client.hears(GO_AHEAD);
    (session, server)
}

/// What the client sees of the handshake that the wrapper refuses.
#[track_caller]
fn refusal(wrapper: Wrapper, client: &Client) -> String {
    let (mut session, _server) = at_the_go_ahead(wrapper);
    let why = client.shake(&mut session.client).expect_err("the handshake fails");
    session.client.hears_rest();
    assert!(session.has_no_further_server());
    let end = session.end();
    assert_eq!(end.status, 98);
    assert!(end.log.contains("warning: TLS handshake with the client failed: "), "{}", end.log);
    why.to_string()
}

#[test]
fn a_client_with_alpn_must_name_the_protocol() {
    let site = Site::new();
    let client = Client::new(&site);
    for (names, chosen) in [
        (&[][..], None),
        (&["smtp"], Some("smtp")),
        (&["h2", "esmtp"], Some("esmtp")),
        (&["submission"], Some("submission")),
    ] {
        let (mut session, _server) = at_the_go_ahead(Wrapper::respawn(&site));
        client.clone().alpn(names).shake(&mut session.client).expect("the client is welcome");
        assert_eq!(session.client.tls().alpn_protocol(), chosen.map(str::as_bytes));
    }
    for names in [&["h2"][..], &["http/1.1", "imap"], &["lmtp"]] {
        let why = refusal(Wrapper::respawn(&site), &client.clone().alpn(names));
        assert!(why.contains("NoApplicationProtocol"), "{names:?}: {why}");
    }
}

#[test]
fn with_k_2_who_names_no_server_or_another_is_told_from_each_other() {
    let site = Site::new();
    for (name, reason) in [
        ("mx.example", "there is no certificate for the server name that it asks for"),
        // An address is no server name (RFC 6066 section 3).
        ("127.0.0.1", "it asks for no server name, and there is no certificate without one"),
    ] {
        let wrapper = Wrapper::respawn(&site).options(&["-k", "2"]);
        let wrapper = wrapper.env("KEYFILE:localhost", site.key()).env("CERTFILE:localhost", site.cert());
        let (mut session, _server) = at_the_go_ahead(wrapper);
        Client::new(&site).named(name).shake(&mut session.client).expect_err("there is no certificate");
        session.client.hears_rest();
        let log = session.end().log;
        assert!(log.contains(&format!("warning: TLS handshake with the client failed: {reason}\n")), "{log}");
    }
}

/// There was no STARTTLS that it could stand behind.
#[test]
fn plaintext_where_tls_begins_at_once_is_called_so() {
    let site = Site::new();
    let mut session = Wrapper::bare(&[]).option("--implicit").site(&site).start();
    session.client.says("EHLO laptop\r\n");
    assert_eq!(session.client.hears_rest().first(), Some(&21), "an alert");
    assert!(session.has_no_further_server());
    let end = session.end();
    let warning = "starttls-wrapper: warning: the client sent 13 bytes of plaintext in place of TLS\n";
    assert_eq!((end.status, &*end.log), (98, warning));
}

#[test]
fn tls_1_2_and_1_3_are_spoken() {
    let site = Site::new();
    for (version, shown) in [(&TLS12, "TLSv1.2"), (&TLS13, "TLSv1.3")] {
        let (mut session, _server) = at_the_go_ahead(Wrapper::respawn(&site).options(&["-v", "2"]));
        Client::new(&site).versions(&[version]).shake(&mut session.client).unwrap();
        let mut server = session.fresh_server();
        assert_eq!(server.environment["SSL_PROTOCOL"], shown);
        server.says_no_more();
        session.client.hears_end();
        drop(server);
        let end = session.end();
        assert!(end.log.contains(&format!(" version={shown} ")), "{}", end.log);
    }
}

#[test]
fn tls_min_refuses_what_is_below() {
    let site = Site::new();
    let wrapper = || Wrapper::respawn(&site).options(&["--tls-min", "1.3"]);
    let why = refusal(wrapper(), &Client::new(&site).versions(&[&TLS12]));
    assert!(why.contains("ProtocolVersion"), "{why}");
    let (mut session, _server) = at_the_go_ahead(wrapper());
    Client::new(&site).shake(&mut session.client).expect("TLS 1.3 is spoken");
}

#[test]
fn the_key_exchange_resists_quantum_computers_where_the_client_can() {
    let site = Site::new();
    for (groups, chosen) in [
        (&[NamedGroup::X25519MLKEM768][..], NamedGroup::X25519MLKEM768),
        (&[NamedGroup::X25519MLKEM768, NamedGroup::X25519], NamedGroup::X25519MLKEM768),
        (&[NamedGroup::X25519], NamedGroup::X25519),
        (&[NamedGroup::secp256r1], NamedGroup::secp256r1),
    ] {
        let (mut session, _server) = at_the_go_ahead(Wrapper::respawn(&site).options(&["-v", "2"]));
        Client::new(&site).groups(groups).shake(&mut session.client).unwrap();
        assert_eq!(session.client.tls().negotiated_key_exchange_group().unwrap().name(), chosen);
        session.client.says_no_more();
        drop(session.fresh_server());
        let end = session.end();
        assert!(end.log.contains(&format!(" group={chosen:?} ")), "{}", end.log);
    }
}

#[test]
fn a_handshake_that_does_not_come_is_not_awaited_for_ever() {
    let site = Site::new();
    // Before the limit begins to run: the test may be slower than the wrapper.
    let began = Instant::now();
    let (mut session, _server) = at_the_go_ahead(Wrapper::respawn(&site).options(&["-K", "300", "-v", "2"]));
    let granted = Instant::now();
    session.client.hears_rest();
    assert!(began.elapsed() >= Duration::from_millis(300), "it took {:?}", began.elapsed());
    assert!(granted.elapsed() < Duration::from_secs(5), "it took {:?}", granted.elapsed());
    let end = session.end();
    assert_eq!(end.status, 99);
    assert!(end.log.contains("it took too long"), "{}", end.log);
}

#[test]
fn the_server_inside_tls_is_told_of_it_and_of_no_key() {
    let site = Site::new();
    let wrapper = Wrapper::respawn(&site)
        .env("TCPREMOTEIP", "192.0.2.7")
        .env("RELAYCLIENT", "")
        .env("SSL_PROTOCOL", "a lie")
        .env("CAFILE", "/a/path");
    let (mut session, plaintext_server) = at_the_go_ahead(wrapper);
    Client::new(&site).shake(&mut session.client).unwrap();
    let (before, inside) = (&plaintext_server.environment, &session.fresh_server().environment);
    assert_eq!(inside["SSL_PROTOCOL"], "TLSv1.3");
    assert_eq!(inside["SSL_CIPHER"], "TLS_AES_256_GCM_SHA384");
    assert_eq!(inside["SSL_TLS_SNI_SERVERNAME"], "localhost");
    assert!(!before.contains_key("SSL_PROTOCOL"), "a lie is not passed on");
    for environment in [before, inside] {
        assert_eq!((&*environment["TCPREMOTEIP"], &*environment["RELAYCLIENT"]), ("192.0.2.7", ""));
        for name in ["KEYFILE", "CERTFILE", "CAFILE", "TLS_UID"] {
            assert!(!environment.contains_key(name), "{name}");
        }
    }
}

#[test]
fn with_capital_z_the_wrappers_variables_are_kept() {
    let site = Site::new();
    for (options, kept) in [(&["-Z"][..], true), (&["-Z", "-z"], false)] {
        let wrapper = Wrapper::respawn(&site).options(options).env("SSL_CIPHER", "a lie");
        let environment = wrapper.start().server().environment.clone();
        assert_eq!(environment.contains_key("KEYFILE"), kept, "{options:?}");
        assert!(!environment.contains_key("SSL_CIPHER"), "{options:?}");
    }
}

#[test]
fn starttls_is_taken_in_every_form_that_it_has_and_in_no_other() {
    let site = Site::new();
    for line in ["starttls\r\n", "STARTTLS\n", "StartTLS \t\r\n"] {
        let mut session = Wrapper::respawn(&site).start();
        let _server = session.opening();
        session.client.says(line);
        session.client.hears(GO_AHEAD);
        Client::new(&site).shake(&mut session.client).expect(line);
    }
    let mut session = Wrapper::respawn(&site).start();
    let mut server = session.server();
    server.says("220 mx.example ESMTP\r\n");
    session.client.hears("220 mx.example ESMTP\r\n");
    session.client.says("STARTTLS\r\n");
    session.client.hears("503 5.5.1 EHLO first\r\n");
    session.client.says("EHLO laptop\r\n");
    server.hears("EHLO laptop\r\n");
    server.says("250 mx.example\r\n");
    session.client.hears("250-mx.example\r\n250 STARTTLS\r\n");
    session.client.says("STARTTLS foo\r\n");
    session.client.hears("501 5.5.4 Syntax error (no parameters allowed)\r\n");
    session.starttls(&Client::new(&site));
    server.hears_end();
}

#[test]
fn the_session_line_tells_what_happened() {
    let site = Site::new();
    let wrapper = Wrapper::respawn(&site).options(&["-v", "2"]);
    let (mut session, _server) = at_the_go_ahead(wrapper.env("TCPREMOTEIP", "192.0.2.7").env("TCPREMOTEPORT", "4711"));
    Client::new(&site).shake(&mut session.client).unwrap();
    let mut server = session.fresh_server();
    session.client.says("EHLO laptop\r\n");
    server.hears("EHLO laptop\r\n");
    server.says("221 bye\r\n");
    server.says_no_more();
    session.client.hears("221 bye\r\n");
    session.client.hears_end();
    drop(server);
    let log = session.end().log;
    let line = log.strip_prefix("starttls-wrapper: info: session ").expect("one line");
    let expected = "client=192.0.2.7:4711 protocol=smtp outcome=tls identity=kept version=TLSv1.3 \
                    cipher=TLS_AES_256_GCM_SHA384 group=X25519MLKEM768 sni=localhost ";
    assert!(line.starts_with(expected) && line.contains(" replay=dropped in="), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
}
