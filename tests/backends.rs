//! The ways to a backend: with TLS from the first byte, by STARTTLS, opportunistically, without TLS; over TCP and over
//! a socket; and with a plaintext server that is reached and not run. None ends in plaintext unasked.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]

mod support;

use std::fs::{self, Permissions};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use support::backend::{Backend, ClosedPort};
use support::certificates::{Dir, Flaw, Site};
use support::peer::Peer;
use support::program::path_of;
use support::servers::{GREETER, dovecot_sieve, exim4_with_tls, plain, stunnel_with_starttls, tcpserver};
use support::wrapper::{End, GO_AHEAD, NOT_AVAILABLE, Prog, Session, Wrapper};
use support::{PATIENCE, readable, tls};

/// A listener at a path that every user may connect to.
fn listener_at(path: &Path) -> UnixListener {
    let listener = UnixListener::bind(path).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap();
    listener
}

#[track_caller]
fn accept(listener: &UnixListener) -> UnixStream {
    assert!(readable(listener, PATIENCE), "nobody connects");
    listener.accept().unwrap().0
}

/// A session whose client has asked for STARTTLS, and its plaintext server, which stays meanwhile.
struct Asked {
    session: Session,
    plaintext_server: Prog,
}

/// The same, and the wrapper's connection to this backend.
fn asked(backend: &Backend, site: &Site, options: &[&str]) -> (Asked, TcpStream) {
    let mut session = Wrapper::backend(site, backend.port()).options(options).options(&["-v", "2"]).start();
    let plaintext_server = session.opening();
    session.client.says("STARTTLS\r\n");
    let stream = backend.accept();
    (Asked { session, plaintext_server }, stream)
}

impl Asked {
    /// Waits for the end.
    #[track_caller]
    fn end(self) -> End {
        drop(self.plaintext_server);
        self.session.end()
    }
}

/// What a server says and hears before TLS, if it offers STARTTLS.
fn offers(stream: &TcpStream, go_ahead: &str) {
    let mut plain = Peer::tcp(stream.try_clone().unwrap());
    plain.says("220-inner.example\r\n220 ESMTP\r\n");
    plain.hears("EHLO localhost\r\n");
    plain.says("250-inner.example\r\n250 STARTTLS\r\n");
    plain.hears("STARTTLS\r\n");
    plain.says(go_ahead);
}

/// The client is told that there is no TLS, nobody has connected again, and the log says why.
#[track_caller]
fn is_not_available(mut asked: Asked, backend: &Backend, why: &str) {
    asked.session.client.hears(NOT_AVAILABLE);
    assert!(backend.is_untouched(), "there is one connection and no more");
    let end = asked.end();
    assert!(end.log.contains("unable to use the TLS server localhost port ") && end.log.contains(why), "{}", end.log);
}

#[track_caller]
fn speaks_inside(session: &mut Session, server: &mut Peer, site: &Site) {
    session.client.hears(GO_AHEAD);
    tls::Client::new(site).shake(&mut session.client).expect("the wrapper shakes hands");
    session.client.says("EHLO laptop\r\n");
    server.hears("EHLO laptop\r\n");
    server.says("250-inner.example\r\n250-STARTTLS\r\n250 SIZE\r\n");
    session.client.hears("250-inner.example\r\n250 SIZE\r\n");
}

/// An empty line, or a list that nobody asked for, belongs to the greeting before STARTTLS and inside it.
#[test]
fn what_belongs_to_the_backends_greeting_is_no_reply() {
    let (site, backend) = (Site::new(), Backend::new());
    let (mut asked, stream) = asked(&backend, &site, &["--backend-tls", "starttls"]);
    let mut plain = Peer::tcp(stream.try_clone().unwrap());
    plain.says("220 inner.example ESMTP\r\n\r\n");
    plain.hears("EHLO localhost\r\n");
    plain.says("250 inner.example\r\n");
    plain.hears("STARTTLS\r\n");
    plain.says("220 go\r\n");
    let mut server = tls::accept(&site, stream).expect("the wrapper shakes hands");
    server.says("\r\n");
    speaks_inside(&mut asked.session, &mut server, &site);
}

#[test]
fn an_imap_backend_may_list_its_capabilities_unasked() {
    let (site, backend) = (Site::new(), Backend::new());
    let mut session = Wrapper::backend(&site, backend.port()).options(&["--backend-tls", "starttls"]).start();
    let mut plaintext_server = session.server();
    plaintext_server.says("* OK plain\r\n");
    session.client.hears("* OK plain\r\n");
    session.client.says("a STARTTLS\r\n");
    let stream = backend.accept();
    let mut plain = Peer::tcp(stream.try_clone().unwrap());
    plain.says("* OK inner\r\n* CAPABILITY IMAP4rev1 STARTTLS\r\n");
    plain.hears("1 STARTTLS\r\n");
    plain.says("1 OK go\r\n");
    let mut server = tls::accept(&site, stream).expect("the wrapper shakes hands");
    session.client.hears("a OK Begin TLS negotiation now\r\n");
    tls::Client::new(&site).shake(&mut session.client).expect("the wrapper shakes hands");
    session.client.says("b NOOP\r\n");
    server.hears("b NOOP\r\n");
    server.says("b OK\r\n");
    session.client.hears("b OK\r\n");
}

#[test]
fn starttls_reaches_the_backend_and_hides_its_offer() {
    let (site, backend) = (Site::new(), Backend::new());
    let (mut asked, stream) = asked(&backend, &site, &["--backend-tls", "starttls"]);
    offers(&stream, "220 go\r\n");
    let mut server = tls::accept(&site, stream).expect("the wrapper shakes hands");
    speaks_inside(&mut asked.session, &mut server, &site);
    drop(server);
    let end = asked.end();
    assert!(end.log.contains(" backend=verified "), "{}", end.log);
}

#[test]
fn starttls_that_is_not_offered_is_not_available() {
    for (ehlo, word) in
        [("502 what\r\n", None), ("250 inner.example\r\n", Some("500 what\r\n")), ("250 x\r\n", Some("454 no\r\n"))]
    {
        let (site, backend) = (Site::new(), Backend::new());
        let (asked, stream) = asked(&backend, &site, &["--backend-tls", "starttls"]);
        let mut plain = Peer::tcp(stream);
        plain.says("220 inner.example ESMTP\r\n");
        plain.hears("EHLO localhost\r\n");
        plain.says(ehlo);
        if let Some(word) = word {
            plain.hears("STARTTLS\r\n");
            plain.says(word);
        }
        plain.hears_end();
        is_not_available(asked, &backend, "it offers no TLS: ");
    }
}

#[test]
fn a_backend_whose_certificate_does_not_verify_is_not_available_by_starttls_either() {
    for mode in ["starttls", "opportunistic"] {
        for (flaw, why) in [
            (Flaw::WrongName, "certificate is for another name"),
            (Flaw::Expired, "certificate has expired"),
            (Flaw::Untrusted, "issuer is unknown"),
        ] {
            let (site, backend) = (Site::new(), Backend::new());
            let (asked, stream) = asked(&backend, &site, &["--backend-tls", mode]);
            offers(&stream, "220 go\r\n");
            assert!(tls::accept(&Site::flawed(flaw), stream).is_err(), "the wrapper breaks off");
            is_not_available(asked, &backend, why);
        }
    }
}

#[test]
fn plaintext_behind_the_backends_go_ahead_is_not_heard() {
    for mode in ["starttls", "opportunistic"] {
        let (site, backend) = (Site::new(), Backend::new());
        let (asked, stream) = asked(&backend, &site, &["--backend-tls", mode]);
        offers(&stream, "220 go\r\n220 injected\r\n");
        Peer::tcp(stream).hears_end();
        is_not_available(asked, &backend, "it sent 14 bytes of plaintext behind a reply");
    }
}

#[test]
fn plaintext_in_place_of_the_backends_handshake_is_not_heard() {
    let (site, backend) = (Site::new(), Backend::new());
    let (asked, stream) = asked(&backend, &site, &["--backend-tls", "starttls"]);
    offers(&stream, "220 go\r\n");
    let mut plain = Peer::tcp(stream);
    plain.hears(b"\x16");
    plain.says("250 all the same\r\n");
    is_not_available(asked, &backend, "it speaks no TLS");
}

#[test]
fn opportunistic_takes_tls_where_it_is_offered() {
    let (site, backend) = (Site::new(), Backend::new());
    let (mut asked, stream) = asked(&backend, &site, &["--backend-tls", "opportunistic"]);
    offers(&stream, "220 go\r\n");
    let mut server = tls::accept(&site, stream).expect("the wrapper shakes hands");
    speaks_inside(&mut asked.session, &mut server, &site);
    drop(server);
    assert!(asked.end().log.contains(" backend=verified "));
}

#[test]
fn opportunistic_goes_on_in_plaintext_where_it_is_not_and_says_so() {
    let (site, backend) = (Site::new(), Backend::new());
    let (mut asked, stream) = asked(&backend, &site, &["--backend-tls", "opportunistic"]);
    let mut plain = Peer::tcp(stream);
    plain.says("220 inner.example ESMTP\r\n");
    plain.hears("EHLO localhost\r\n");
    plain.says("500 what\r\n");
    // A connection that has heard nothing (law 3).
    let mut server = Peer::tcp(backend.accept());
    plain.hears_end();
    server.says("220 inner.example ESMTP\r\n");
    speaks_inside(&mut asked.session, &mut server, &site);
    drop(server);
    let end = asked.end();
    assert!(end.log.contains("warning: going on in plaintext with localhost port "), "{}", end.log);
    assert!(end.log.contains(" backend=plaintext "), "{}", end.log);
}

#[test]
fn none_reaches_the_backend_without_tls_and_hides_its_offer() {
    let (site, backend) = (Site::new(), Backend::new());
    let (mut asked, stream) = asked(&backend, &site, &["--backend-tls", "none"]);
    let mut server = Peer::tcp(stream);
    server.says("220 inner.example ESMTP\r\n");
    speaks_inside(&mut asked.session, &mut server, &site);
    drop(server);
    assert!(asked.end().log.contains(" backend=plaintext "));
}

#[test]
fn a_backend_at_a_path_must_prove_the_name_it_is_given() {
    let (site, dir) = (Site::new(), Dir::new());
    let path = format!("unix:{}", dir.file("backend").display());
    let listener = listener_at(&dir.file("backend"));
    let wrapper = || Wrapper::bare(&[&path, "-"]).site(&site).option("--backend-ca").option(site.ca());
    let mut session = wrapper().options(&["--backend-name", "localhost"]).start();
    let _plaintext_server = session.opening();
    session.client.says("STARTTLS\r\n");
    let mut server = tls::accept_over(&site, accept(&listener)).expect("the wrapper shakes hands");
    server.says("220 inner.example ESMTP\r\n");
    speaks_inside(&mut session, &mut server, &site);

    let end = wrapper().start_prog(&["true"]).end();
    assert_eq!(end.status, 100);
    assert!(end.log.contains(" has no name to verify: give --backend-name"), "{}", end.log);
}

#[test]
fn a_backend_at_an_ipv6_address() {
    let (site, backend) = (Site::new(), Backend::on("[::1]:0"));
    let port = backend.port().to_string();
    let wrapper = Wrapper::bare(&["[::1]", &port]).site(&site).options(&["--backend-name", "localhost"]);
    let mut session = wrapper.option("--backend-ca").option(site.ca()).start();
    let _plaintext_server = session.opening();
    let mut server = session.starttls_to(&backend, &site);
    session.client.says("EHLO laptop\r\n");
    server.hears("EHLO laptop\r\n");
}

#[test]
fn connect_stands_in_prog_s_place_before_and_after_starttls() {
    let (site, server) = (Site::new(), Backend::new());
    let address = format!("localhost:{}", server.port());
    let mut session = Wrapper::respawn(&site).options(&["--connect", &address]).start_prog(&[]);
    let mut plain = Peer::tcp(server.accept());
    plain.says("220 plain.example ESMTP\r\n");
    session.client.hears("220 plain.example ESMTP\r\n");
    session.client.says("EHLO laptop\r\n");
    plain.hears("EHLO laptop\r\n");
    plain.says("250 plain.example\r\n");
    session.client.hears("250-plain.example\r\n250 STARTTLS\r\n");
    session.client.says("STARTTLS\r\n");
    let mut inside = {
        session.client.hears(GO_AHEAD);
        plain.hears_end();
        tls::Client::new(&site).shake(&mut session.client).expect("the wrapper shakes hands");
        Peer::tcp(server.accept())
    };
    inside.says("220 plain.example ESMTP\r\n");
    session.client.says("EHLO laptop\r\nQUIT\r\n");
    inside.hears("EHLO laptop\r\n");
    inside.says("250-plain.example\r\n250 STARTTLS\r\n");
    session.client.hears("250 plain.example\r\n");
    inside.hears("QUIT\r\n");
    inside.says("221 bye\r\n");
    drop(inside);
    session.client.hears("221 bye\r\n");
    session.client.hears_end();
    assert_eq!(session.end().status, 0);
}

#[test]
fn connect_goes_with_implicit_tls_and_with_a_path() {
    let (site, dir) = (Site::new(), Dir::new());
    let listener = listener_at(&dir.file("server"));
    let path = format!("unix:{}", dir.file("server").display());
    let mut session = Wrapper::bare(&[]).site(&site).options(&["--implicit", "--connect", &path]).start_prog(&[]);
    tls::Client::new(&site).shake(&mut session.client).expect("the wrapper shakes hands");
    let mut server = Peer::unix(accept(&listener));
    server.says("220 plain.example ESMTP\r\n");
    session.client.hears("220 plain.example ESMTP\r\n");
    session.client.says("QUIT\r\n");
    server.hears("QUIT\r\n");
}

#[test]
fn connect_goes_with_a_backend() {
    let (site, server, backend) = (Site::new(), Backend::new(), Backend::new());
    let address = format!("127.0.0.1:{}", server.port());
    let mut session = Wrapper::backend(&site, backend.port()).options(&["--connect", &address]).start_prog(&[]);
    let mut plain = Peer::tcp(server.accept());
    plain.says("220 plain.example ESMTP\r\n");
    session.client.hears("220 plain.example ESMTP\r\n");
    session.client.says("EHLO laptop\r\n");
    plain.hears("EHLO laptop\r\n");
    plain.says("250 plain.example\r\n");
    session.client.hears("250-plain.example\r\n250 STARTTLS\r\n");
    let mut inside = session.starttls_to(&backend, &site);
    session.client.says("EHLO laptop\r\n");
    inside.hears("EHLO laptop\r\n");
}

#[test]
fn connect_to_nobody_ends_the_session_and_says_so() {
    let port = ClosedPort::new();
    let address = format!("127.0.0.1:{}", port.number());
    let mut session = Wrapper::respawn(&Site::new()).options(&["--connect", &address]).start_prog(&[]);
    session.client.hears_end();
    let end = session.end();
    assert_eq!(end.status, 111);
    assert!(end.log.contains("fatal: unable to connect to 127.0.0.1 port "), "{}", end.log);
}

/// With `--protocol` it is known before any greeting what the client understands.
#[test]
fn a_client_of_nobody_hears_why_in_the_protocol_that_is_named() {
    let site = Site::new();
    let port = ClosedPort::new();
    let connect = ["--connect", &format!("127.0.0.1:{}", port.number())];
    let nobody: [(&[&str], &[&str], i32); 2] = [(&connect, &[], 111), (&[], &["/nonexistent/prog"], 127)];
    for (protocol, sentence) in [
        ("smtp", "421 4.3.0 Service not available, closing transmission channel\r\n"),
        ("pop3", "-ERR [SYS/TEMP] Service not available, closing connection\r\n"),
        ("imap", "* BYE [UNAVAILABLE] Service not available, closing connection\r\n"),
    ] {
        for (options, prog, status) in nobody {
            for begins in ["--respawn", "--implicit"] {
                let wrapper = Wrapper::bare(&[]).site(&site).options(&[begins, "-p", protocol]).options(options);
                let mut session = wrapper.start_prog(prog);
                if begins == "--implicit" {
                    tls::Client::new(&site).shake(&mut session.client).expect("the wrapper shakes hands");
                }
                session.client.hears(sentence);
                session.client.hears_end();
                assert_eq!(session.end().status, status, "{protocol} {begins}");
            }
        }
    }
}

#[test]
fn stunnel_serves_by_starttls_in_smtp_pop3_and_imap() {
    for (protocol, greeting, word, go_ahead, hello, welcome) in [
        ("smtp", "220 ", "EHLO a\r\nSTARTTLS\r\n", "220 2.0.0", "EHLO a\r\n", "250"),
        ("pop3", "+OK", "STLS\r\n", "+OK Begin", "CAPA\r\n", "+OK"),
        ("imap", "* OK", "a STARTTLS\r\n", "a OK Begin", "b NOOP\r\n", "b OK"),
    ] {
        let site = Site::new();
        let plain = plain(protocol);
        let backend = stunnel_with_starttls(&site, protocol, plain.port);
        let wrapper = Wrapper::backend(&site, backend.port).options(&["-v", "2", "--backend-tls", "starttls"]);
        let front = tcpserver(&wrapper, &[&path_of("python3"), "-ISc", GREETER, protocol]);
        let mut client = Peer::connect(front.port);
        client.hears_line_with(greeting);
        client.says(word);
        client.hears_line_with(go_ahead);
        tls::Client::new(&site).shake(&mut client).expect("the wrapper shakes hands");
        client.says(hello);
        client.hears_line_with(welcome);
        drop(client);
        front.log().line_with(&format!("protocol={protocol} outcome=tls"));
    }
}

#[test]
fn exim4_serves_in_every_mode() {
    let site = Site::new();
    let (exim, implicit) = exim4_with_tls(&site);
    for (mode, port, backend) in [
        ("implicit", implicit, "verified"),
        ("starttls", exim.port, "verified"),
        ("opportunistic", exim.port, "verified"),
        ("none", exim.port, "plaintext"),
    ] {
        let wrapper = Wrapper::backend(&site, port).options(&["-v", "2", "--backend-tls", mode]);
        let mut session = wrapper.start();
        let _plaintext_server = session.opening();
        session.starttls(&tls::Client::new(&site));
        for (line, code) in [
            ("EHLO laptop.example\r\n", "250"),
            ("MAIL FROM:<a@example.org>\r\n", "250"),
            ("RCPT TO:<b@example.net>\r\n", "250"),
            ("QUIT\r\n", "221"),
        ] {
            session.client.says(line);
            let reply = session.client.hears_reply();
            assert!(reply.starts_with(code) && !reply.contains("STARTTLS"), "{mode}: {reply}");
        }
        session.client.hears_end();
        let end = session.end();
        assert!(end.log.contains(&format!(" backend={backend} ")), "{mode}: {}", end.log);
    }
}

#[test]
fn dovecot_greets_again_after_its_starttls() {
    let site = Site::new();
    let dovecot = dovecot_sieve(&site);
    for (mode, backend) in [("starttls", "verified"), ("opportunistic", "verified"), ("none", "plaintext")] {
        let wrapper = Wrapper::backend(&site, dovecot.port).options(&["-v", "2", "--backend-tls", mode]);
        let front = tcpserver(&wrapper, &[&path_of("python3"), "-ISc", GREETER, "sieve"]);
        let mut client = Peer::connect(front.port);
        client.hears_line_with("OK \"plain\"");
        client.says("STARTTLS\r\n");
        client.hears("OK \"Begin TLS negotiation now.\"\r\n");
        tls::Client::new(&site).shake(&mut client).expect("the wrapper shakes hands");
        let mut greeting = String::new();
        while !greeting.lines().any(|line| line.starts_with("OK ")) {
            greeting += &client.hears_line_with("");
        }
        assert!(greeting.starts_with("\"IMPLEMENTATION\" \"Dovecot") && !greeting.contains("STARTTLS"), "{greeting}");
        client.says("NOOP\r\n");
        client.hears_line_with("OK ");
        drop(client);
        front.log().line_with("protocol=sieve outcome=tls identity=lost");
        front.log().line_with(&format!(" backend={backend} "));
    }
}
