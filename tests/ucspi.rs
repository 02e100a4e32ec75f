//! UCSPI-TLS, both ways: under a UCSPI-TLS server, and as one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]

mod support;

use rustix::fs::{OFlags, fcntl_getfl};
use starttls_wrapper::facts::{Certificate, Verified};
use starttls_wrapper::proxy::Header;
use support::backend::{Backend, header};
use support::certificates::Site;
use support::peer::Peer;
use support::proc;
use support::program::path_of;
use support::tls;
use support::wrapper::{GO_AHEAD, Session, WRAPPER, Wrapper};

const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/ucspi.py");

/// The words that start a UCSPI-TLS server before the wrapper.
fn under_ucspi(site: &Site) -> [String; 5] {
    let file = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    [path_of("python3"), "-IS".into(), SERVER.into(), file(site.cert()), file(site.key())]
}

fn start(wrapper: Wrapper, site: &Site) -> Session {
    let before = under_ucspi(site);
    wrapper.start_between(&before.each_ref().map(String::as_str), &[])
}

#[test]
fn tls_is_left_to_the_server_that_started_us() {
    for environment in [None, Some("UCSPI_OPEN")] {
        let site = Site::new();
        let wrapper = Wrapper::bare(&[]).options(&["--respawn", "-v", "2"]);
        let stale = [("SSL_PEER_CERT_HASH", "stale"), ("UCSPITLS", "1")];
        let wrapper = stale.iter().fold(wrapper, |wrapper, (name, value)| wrapper.env(name, value));
        let wrapper = environment.iter().fold(wrapper, |wrapper, name| wrapper.env(name, "1"));
        let mut session = start(wrapper, &site);
        let first = session.opening();
        for name in ["SSLCTLFD", "SSLREADFD", "SSLWRITEFD", "UCSPITLS"] {
            assert!(!first.environment.contains_key(name), "{name}");
        }
        session.starttls(&tls::Client::new(&site));
        let mut server = session.fresh_server();
        let value = |name: &str| server.environment.get(name).map(String::as_str);
        assert_eq!(value("SSL_PROTOCOL"), Some("TLSv1.3"));
        assert!(value("SSL_CIPHER").is_some());
        assert_eq!(value("SSL_PEER_CERT_HASH"), None, "a bare name unsets");
        session.client.says("EHLO laptop\r\n");
        server.hears("EHLO laptop\r\n");
        server.says("250-fresh.example\r\n250 STARTTLS\r\n");
        session.client.hears("250 fresh.example\r\n");
        session.client.says("QUIT\r\n");
        server.hears("QUIT\r\n");
        server.says("221 bye\r\n");
        server.says_no_more();
        server.exits(7);
        session.client.hears("221 bye\r\n");
        let end = session.end();
        assert_eq!(end.status, 7, "{}", end.log);
        assert!(end.log.contains("outcome=tls identity=kept version=TLSv1.3 "), "{}", end.log);
    }
}

#[test]
fn what_is_told_is_told_to_prog_as_far_as_it_is_of_tls() {
    let site = Site::new();
    let told = "SSL_PROTOCOL=TLSv1.2|PATH=/tmp|LD_PRELOAD=x|SSL_CERT_FILE=/tmp/x|SSL_SERVER_CERT=a\nb|SSL_X=1";
    let wrapper = Wrapper::bare(&[]).option("--respawn").env("UCSPI_TOLD", told);
    let mut session = start(wrapper, &site);
    let _plaintext_server = session.opening();
    session.starttls(&tls::Client::new(&site));
    let server = session.fresh_server();
    let value = |name: &str| server.environment.get(name).map(String::as_str);
    assert_eq!(value("SSL_PROTOCOL"), Some("TLSv1.2"));
    assert_eq!(value("SSL_X"), Some("1"));
    assert_eq!(value("LD_PRELOAD"), None);
    assert_ne!(value("PATH"), Some("/tmp"));
    assert_ne!(value("SSL_CERT_FILE"), Some("/tmp/x"));
    assert_eq!(value("SSL_SERVER_CERT"), None);
}

#[test]
fn an_eager_client_hello_is_left_for_the_server_that_started_us() {
    let site = Site::new();
    let mut session = start(Wrapper::bare(&[]).option("--respawn"), &site);
    let _plaintext_server = session.opening();
    let mut handshake = tls::Client::new(&site).begin();
    session.client.says([b"STARTTLS\r\n", &handshake.client_hello()[..]].concat());
    session.client.hears(GO_AHEAD);
    handshake.finish(&mut session.client).expect("the handshake succeeds");
    let mut server = session.fresh_server();
    session.client.says("EHLO laptop\r\n");
    server.hears("EHLO laptop\r\n");
}

/// Of what counts its bytes no byte behind the switch is read: the rest is there for whoever reads next.
#[test]
fn an_eager_client_hello_of_ldap_and_postgres_is_left_too() {
    let starttls = b"0\x1d\x02\x01\x01w\x18\x80\x161.3.6.1.4.1.1466.20037";
    let granted = b"0$\x02\x01\x01x\x1f\n\x01\0\x04\0\x04\0\x8a\x161.3.6.1.4.1.1466.20037";
    for (protocol, asked, answer, said) in [
        ("ldap", &starttls[..], &granted[..], &b"0\x05\x02\x01\x02B\0"[..]),
        ("postgres", b"\0\0\0\x08\x04\xd2\x16\x2f", b"S", b"\0\0\0\x10\0\x03\0\0user\0x\0\0"),
    ] {
        let site = Site::new();
        let mut session = start(Wrapper::bare(&[]).options(&["--respawn", "-p", protocol]), &site);
        let _plaintext_server = session.server();
        let mut handshake = tls::Client::new(&site).begin();
        session.client.says([asked, &handshake.client_hello()[..]].concat());
        session.client.hears(answer);
        handshake.finish(&mut session.client).expect("the handshake succeeds");
        let mut server = session.server();
        session.client.says(said);
        server.hears(said);
    }
}

/// What was read to know it is TLS cannot be read once more by that server.
#[test]
fn tls_that_begins_unasked_cannot_be_left_to_the_server_that_started_us() {
    let site = Site::new();
    let mut session = start(Wrapper::bare(&[]).options(&["--respawn", "-p", "postgres", "-v", "2"]), &site);
    let _plaintext_server = session.server();
    session.client.says(tls::Client::new(&site).alpn(&["postgresql"]).begin().client_hello());
    session.client.hears_end();
    session.wrapper.log.line_with("warning: unable to leave TLS to the UCSPI-TLS server");
    session.wrapper.log.line_with("outcome=refused");
    assert!(session.has_no_further_server());
}

#[test]
fn plaintext_behind_starttls_fails_the_handshake_there() {
    let site = Site::new();
    let mut session = start(Wrapper::bare(&[]).options(&["--respawn", "-v", "2"]), &site);
    let _plaintext_server = session.opening();
    session.client.says("STARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@example.org>\r\n");
    session.client.hears(GO_AHEAD);
    session.wrapper.log.line_with("outcome=handshake-failed");
    assert!(session.has_no_further_server());
    assert_eq!(session.end().status, 98);
}

/// sslserver -n ends whoever closes the control socket.
#[test]
fn the_control_socket_of_a_plaintext_session_is_kept_to_the_end() {
    let site = Site::new();
    for client_leaves in [true, false] {
        let mut session = start(Wrapper::bare(&[]).option("--respawn"), &site);
        let mut server = session.opening();
        session.client.says("MAIL FROM:<a@example.org>\r\n");
        server.hears("MAIL FROM:<a@example.org>\r\n");
        server.says("250 ok\r\n");
        session.client.hears("250 ok\r\n");
        let keeper = session.wrapper.pid();
        proc::until(|| proc::status(keeper, "Seccomp") == "2");
        if client_leaves {
            let reader = proc::Watch::new(proc::session_of(keeper));
            session.vanish();
            server.hears_end();
            server.says_no_more();
            reader.waits_for_its_end();
        }
        assert!(!session.wrapper.log.text().contains("declined"));
        server.exits(7);
        assert_eq!(session.end().status, 7);
    }
}

#[test]
fn the_control_socket_is_kept_where_plaintext_is_refused() {
    let site = Site::new();
    let mut session = start(Wrapper::bare(&[]).options(&["-r", "--respawn"]), &site);
    let mut server = session.opening();
    session.client.says("MAIL FROM:<a@example.org>\r\nQUIT\r\n");
    session.client.hears("530 5.7.0 Must issue a STARTTLS command first\r\n");
    server.hears("QUIT\r\n");
    server.says("221 bye\r\n");
    server.exits(7);
    session.client.hears("221 bye\r\n");
    let end = session.end();
    assert_eq!(end.status, 7, "{}", end.log);
}

#[test]
fn a_descriptor_that_did_not_wait_does_not_wait_for_the_server_that_started_us() {
    let site = Site::new();
    for (environment, blocking) in [(None, "True"), (Some("UCSPI_NONBLOCKING"), "False")] {
        let wrapper = Wrapper::bare(&[]).option("--respawn");
        let wrapper = environment.iter().fold(wrapper, |wrapper, name| wrapper.env(name, "1"));
        let mut session = start(wrapper, &site);
        let _plaintext_server = session.opening();
        session.starttls(&tls::Client::new(&site));
        session.wrapper.log.line_with(&format!("the client's descriptor is blocking: {blocking}"));
    }
}

#[test]
fn a_backend_serves_behind_a_ucspi_tls_server() {
    let (site, backend) = (Site::new(), Backend::new());
    let port = backend.port().to_string();
    let wrapper = Wrapper::bare(&["localhost", &port]).option("--backend-ca").option(site.ca());
    let mut session = start(wrapper, &site);
    let _plaintext_server = session.opening();
    let mut server = session.starttls_to(&backend, &site);
    session.client.says("EHLO laptop\r\n");
    server.hears("EHLO laptop\r\n");
}

/// Who is told of TLS with the client is told the same of its certificate, and that it verified only where the server
/// that spoke TLS says so: s6-ucspitlsd tells the hash of a certificate and no verdict.
#[test]
fn a_certificate_is_verified_where_the_server_that_started_us_says_so() {
    let laptop = Verified { common_name: Some("laptop".into()), ..Verified::default() };
    for (told, word, certificate) in [
        ("SSL_CIPHER=x", "none", Certificate::None),
        ("SSL_PEER_CERT_HASH|SSL_PEER_CERT_SUBJECT", "none", Certificate::None),
        ("SSL_CLIENT_VERIFY=NONE|SSL_PEER_CERT_HASH=SHA256:00", "none", Certificate::None),
        ("SSL_PEER_CERT_HASH=SHA256:00", "unverified", Certificate::Unverified),
        ("SSL_PEER_CERT_SUBJECT=CN=laptop|SSL_CLIENT_S_DN_CN=laptop", "unverified", Certificate::Unverified),
        ("SSL_CLIENT_VERIFY=GENEROUS|SSL_CLIENT_S_DN_CN=laptop", "unverified", Certificate::Unverified),
        ("SSL_CLIENT_VERIFY=|SSL_PEER_CERT_HASH=SHA256:00", "unverified", Certificate::Unverified),
        ("SSL_CLIENT_VERIFY=FAILED:expired|SSL_CLIENT_S_DN_CN=laptop", "failed", Certificate::Unverified),
        ("SSL_CLIENT_VERIFY=SUCCESS", "ok", Certificate::Verified(Verified::default())),
        ("SSL_CLIENT_VERIFY=SUCCESS|SSL_CLIENT_S_DN_CN=laptop", "ok", Certificate::Verified(laptop.clone())),
    ] {
        let (site, backend) = (Site::new(), Backend::new());
        let port = backend.port().to_string();
        let wrapper = Wrapper::bare(&["localhost", &port]).options(&["--backend-tls", "none", "-v", "2"]);
        let mut session = start(wrapper.options(&["--proxy-protocol", "v2"]).env("UCSPI_TOLD", told), &site);
        let _plaintext_server = session.opening();
        session.client.says("STARTTLS\r\n");
        let mut asked = backend.accept();
        assert_eq!(header(&mut asked), Header::default());
        Peer::tcp(asked).says("220 inner.example ESMTP\r\n");
        session.client.hears(GO_AHEAD);
        tls::Client::new(&site).shake(&mut session.client).expect("the server shakes hands");
        let mut server = backend.accept();
        let tls = header(&mut server).tls.expect("TLS is told of");
        assert_eq!(tls.certificate, certificate, "{told}");
        drop(server);
        let line = session.wrapper.log.line_with("outcome=");
        assert!(line.contains(&format!(" client-cert={word} ")), "{told}: {line}");
    }
}

#[test]
fn descriptors_that_are_not_there_are_told_of() {
    for numbers in [["3", "4", "4"], ["900", "901", "902"], ["x", "4", "5"]] {
        let mut wrapper = Wrapper::bare(&[]).option("--respawn");
        for (name, number) in ["SSLCTLFD", "SSLREADFD", "SSLWRITEFD"].iter().zip(numbers) {
            wrapper = wrapper.env(name, number);
        }
        let end = wrapper.start_prog(&["true"]).end();
        assert_eq!(end.status, 100, "{}", end.log);
    }
}

fn provider(site: &Site) -> Wrapper {
    Wrapper::bare(&[]).options(&["--ucspi-tls", "-v", "2"]).site(site).env("UCSPITLS", "1")
}

#[test]
fn mailfront_asks_us_for_tls() {
    let site = Site::new();
    let prog = [&path_of("smtpfront-echo"), "starttls-ucspi", "accept"];
    let mut session = provider(&site).start_prog(&prog);
    session.client.hears_code("220");
    session.client.says("EHLO laptop.example\r\n");
    session.client.hears_line_with("250-STARTTLS");
    session.client.hears_line_with("250 ");
    session.client.says("STARTTLS\r\n");
    session.client.hears_code("220");
    tls::Client::new(&site).shake(&mut session.client).expect("the wrapper shakes hands");
    for (line, code) in [
        ("EHLO laptop.example\r\n", "250"),
        ("MAIL FROM:<a@example.org>\r\n", "250"),
        ("RCPT TO:<b@example.net>\r\n", "250"),
        ("DATA\r\n", "354"),
        ("Subject: asked\r\n\r\nhello\r\n.\r\n", "250"),
        ("QUIT\r\n", "221"),
    ] {
        session.client.says(line);
        session.client.hears_code(code);
    }
    session.client.hears_end();
    let end = session.end();
    assert_eq!(end.status, 0, "{}", end.log);
    assert!(end.log.contains("outcome=tls identity=kept version=TLSv1.3 "), "{}", end.log);
}

#[test]
fn a_prog_that_never_asks_has_the_connection_to_itself() {
    let site = Site::new();
    let script = "exec 3>&-; eval \"exec $SSLCTLFD>&-\"; echo 220 hello; read word; echo 250 $word; exit 7";
    let mut session = provider(&site).start_prog(&["bash", "-c", script]);
    session.client.hears("220 hello\n");
    // The control socket was closed long ago.
    session.wrapper.log.line_with("outcome=plaintext");
    session.client.says("NOOP\n");
    session.client.hears("250 NOOP\n");
    assert_eq!(session.end().status, 7);
}

/// Whatever prog makes of descriptors 0 and 1, we have not touched them, nor do we afterwards.
#[test]
fn the_descriptors_of_a_prog_that_never_asks_are_as_it_made_them() {
    let site = Site::new();
    let script = "import os, sys
os.set_blocking(0, sys.argv[1] == 'blocking')
os.close(int(os.environ['SSLCTLFD']))
os.execv(sys.argv[2], sys.argv[2:])";
    let python = path_of("python3");
    for (word, flags) in [("nonblocking", OFlags::NONBLOCK), ("blocking", OFlags::empty())] {
        let mut session = provider(&site).start_between(&[], &[&python, "-ISc", script, word]);
        let _prog = session.server();
        session.wrapper.log.line_with("outcome=plaintext");
        // Nothing is left to be done but to wait for prog.
        let keeper = session.wrapper.pid();
        proc::until(|| proc::children(keeper).len() == 1 && proc::status(keeper, "State").starts_with('S'));
        assert_eq!(fcntl_getfl(&session.shared).unwrap() & OFlags::NONBLOCK, flags, "{word}");
        session.vanish();
    }
}

#[test]
fn the_descriptors_of_a_prog_that_asks_are_as_it_made_them_at_the_end() {
    let site = Site::new();
    let script = "import os, sys
os.set_blocking(0, len(sys.argv) < 2)
os.write(int(os.environ['SSLCTLFD']), b'y')
os.read(int(os.environ['SSLREADFD']), 1)";
    let python = path_of("python3");
    for (words, expected) in [(&[][..], OFlags::empty()), (&["nonblocking"], OFlags::NONBLOCK)] {
        let prog = [&[&*python, "-ISc", script], words].concat();
        let mut session = provider(&site).start_prog(&prog);
        tls::Client::new(&site).shake(&mut session.client).expect("the wrapper shakes hands");
        assert!(fcntl_getfl(&session.shared).unwrap().contains(OFlags::NONBLOCK));
        session.client.says("x");
        session.client.hears_end();
        assert_eq!(session.wrapper.wait(), 0);
        assert_eq!(fcntl_getfl(&session.shared).unwrap() & OFlags::NONBLOCK, expected, "{words:?}");
    }
}

/// The client says nothing and does not leave.
#[test]
fn a_prog_that_asks_for_what_cannot_be_had_is_the_connections_end() {
    let site = Site::new();
    let script = "printf y >&$SSLCTLFD; read word <&$SSLREADFD";
    let wrapper = provider(&site).env("KEYFILE", "/etc/passwd");
    let mut session = wrapper.start_prog(&["bash", "-c", script]);
    session.unshare();
    session.client.hears_end();
    assert_eq!(session.wrapper.wait(), 96);
}

#[test]
fn our_own_wrapper_asks_us_for_tls() {
    let site = Site::new();
    let mut session = provider(&site).start_between(&[], &[WRAPPER, "--respawn", "-v", "2"]);
    let first = session.opening();
    assert!(!first.environment.contains_key("KEYFILE"));
    session.starttls(&tls::Client::new(&site).named("localhost"));
    let mut server = session.fresh_server();
    let value = |name: &str| server.environment.get(name).map(String::as_str);
    assert_eq!(value("SSL_PROTOCOL"), Some("TLSv1.3"));
    assert_eq!(value("SSL_TLS_SNI_SERVERNAME"), Some("localhost"));
    session.client.says("EHLO laptop\r\n");
    server.hears("EHLO laptop\r\n");
    server.says("250 fresh.example\r\n");
    session.client.hears("250 fresh.example\r\n");
    server.says_no_more();
    server.exits(7);
    session.client.hears_end();
    let end = session.end();
    assert_eq!(end.status, 7, "{}", end.log);
    assert_eq!(end.log.matches("outcome=tls identity=kept version=TLSv1.3 ").count(), 2, "{}", end.log);
}

/// Whoever speaks TLS for us goes on with the connection when we are gone.
#[test]
fn the_connection_is_left_as_the_server_that_started_us_wants_it() {
    let site = Site::new();
    // A shell between them, which holds the pipes when the inner one is gone, and then stops.
    let between = ["/bin/sh", "-c", "\"$@\"; kill -STOP $$", "sh", WRAPPER, "--respawn"];
    let mut session = provider(&site).start_between(&[], &between);
    let _plaintext_server = session.opening();
    session.starttls(&tls::Client::new(&site));
    let shell =
        proc::children(session.wrapper.pid()).into_iter().find(|pid| proc::status(*pid, "Name") == "sh").unwrap();
    drop(session.fresh_server());
    proc::until(|| proc::status(shell, "State").starts_with('T'));
    assert!(fcntl_getfl(&session.shared).unwrap().contains(OFlags::NONBLOCK));
}

#[test]
fn plaintext_for_our_own_tls_fails_the_handshake() {
    let site = Site::new();
    let mut session = provider(&site).start_between(&[], &[WRAPPER, "--respawn"]);
    let _plaintext_server = session.opening();
    session.client.says("STARTTLS\r\nEHLO evil\r\n");
    session.client.hears(GO_AHEAD);
    session.wrapper.log.line_with("bytes of plaintext behind STARTTLS");
    assert!(session.has_no_further_server());
    assert_eq!(session.end().status, 98);
}

#[test]
fn without_a_key_nothing_is_provided() {
    let end = Wrapper::bare(&[]).option("--ucspi-tls").start_prog(&["true"]).end();
    assert_eq!(end.status, 96, "{}", end.log);
}
