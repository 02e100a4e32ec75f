//! The PROXY protocol: told to servers behind, heard from whoever stands before, and turned into an environment.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use starttls_wrapper::facts::{Certificate, Facts, Verified};
use starttls_wrapper::proxy::{self, Ends, Header, MAX_HEADER, MAX_V1, Version};
use support::backend::{Backend, header};
use support::certificates::Site;
use support::peer::Peer;
use support::program::{Running, path_of};
use support::servers::{haproxy, nginx_behind_proxy, stunnel, tcpserver};
use support::tls;
use support::wrapper::{GO_AHEAD, Session, Wrapper};

const PROXY_ENV: &str = env!("CARGO_BIN_EXE_proxy-env");

fn ends(session: &Session) -> Ends {
    Ends { client: session.shared.peer_addr().unwrap(), server: session.shared.local_addr().unwrap() }
}

#[track_caller]
fn speaks_inside(session: &mut Session, server: &mut Peer) {
    server.says("220 inner.example ESMTP\r\n");
    session.client.says("EHLO laptop\r\n");
    server.hears("EHLO laptop\r\n");
    server.says("250 inner.example\r\n");
    session.client.hears("250 inner.example\r\n");
}

#[test]
fn version_1_comes_before_the_backends_tls() {
    let (site, backend) = (Site::new(), Backend::new());
    let options = ["--proxy-protocol", "v1", "-v", "2"];
    let mut session = Wrapper::backend(&site, backend.port()).options(&options).start();
    let _plaintext_server = session.opening();
    session.client.says("STARTTLS\r\n");
    let mut stream = backend.accept();
    assert_eq!(header(&mut stream), Header { ends: Some(ends(&session)), tls: None });
    let mut server = tls::accept(&site, stream).expect("the wrapper shakes hands");
    server.says("220 inner.example ESMTP\r\n");
    session.client.hears(GO_AHEAD);
    tls::Client::new(&site).shake(&mut session.client).expect("the wrapper shakes hands");
    session.client.says("EHLO laptop\r\n");
    server.hears("EHLO laptop\r\n");
    drop(server);
    assert!(session.end().log.contains(" identity=proxy "));
}

/// Version 2 tells of TLS; so the backend is asked before the go-ahead, by a connection that stands for nobody, and
/// reached once more inside.
fn version_2(options: &[&str], inside: bool) {
    let (site, backend) = (Site::new(), Backend::new());
    let wrapper = Wrapper::backend(&site, backend.port()).options(&["--proxy-protocol", "v2"]).options(options);
    let wrapper = wrapper.options(&["-Y"]).env("CAFILE", site.ca());
    let mut session = wrapper.start();
    let _plaintext_server = session.opening();
    session.client.says("STARTTLS\r\n");
    let reach = |site: &Site, stream: TcpStream| {
        let mut stream = stream;
        let early = (!inside).then(|| header(&mut stream));
        let mut server = tls::accept(site, stream).expect("the wrapper shakes hands");
        let header = early.unwrap_or_else(|| header(&mut server));
        (server, header)
    };
    let (mut asked, local) = reach(&site, backend.accept());
    assert_eq!(local, Header::default());
    asked.says("220 inner.example ESMTP\r\n");
    session.client.hears(GO_AHEAD);
    asked.hears_end();
    let client = tls::Client::new(&site).alpn(&["smtp"]).showing(&site);
    client.shake(&mut session.client).expect("the wrapper shakes hands");
    let (mut server, told) = reach(&site, backend.accept());
    let tls = told.tls.expect("TLS is told of");
    assert_eq!(told.ends, Some(ends(&session)));
    assert_eq!(tls.version.as_deref(), Some("TLSv1.3"));
    assert!(tls.cipher.is_some_and(|cipher| cipher.starts_with("TLS_")));
    assert_eq!(tls.sni.as_deref(), Some("localhost"));
    assert_eq!(tls.alpn.as_deref(), Some(&b"smtp"[..]));
    assert!(
        matches!(tls.certificate, Certificate::Verified(Verified { common_name: Some(_), .. })),
        "{:?}",
        tls.certificate
    );
    speaks_inside(&mut session, &mut server);
}

#[test]
fn version_2_tells_the_backend_of_tls() {
    version_2(&[], false);
}

#[test]
fn version_2_inside_tls() {
    version_2(&["--proxy-inside"], true);
}

#[test]
fn a_backend_that_fails_after_the_handshake_is_told_of_inside() {
    let (site, backend) = (Site::new(), Backend::new());
    let wrapper = Wrapper::backend(&site, backend.port()).options(&["--proxy-protocol", "v2"]);
    let mut session = wrapper.start();
    let _plaintext_server = session.opening();
    session.client.says("STARTTLS\r\n");
    let mut stream = backend.accept();
    header(&mut stream);
    let mut asked = tls::accept(&site, stream).expect("the wrapper shakes hands");
    asked.says("220 inner.example ESMTP\r\n");
    session.client.hears(GO_AHEAD);
    tls::Client::new(&site).shake(&mut session.client).expect("the wrapper shakes hands");
    drop(backend.accept());
    session.client.hears_code("421");
    session.client.hears_end();
    assert_eq!(session.end().status, 111);
}

/// It is reached twice; that it has no TLS is told once.
#[test]
fn a_backend_without_tls_is_warned_of_once() {
    let (site, backend) = (Site::new(), Backend::new());
    let wrapper = Wrapper::backend(&site, backend.port()).options(&["--proxy-protocol", "v2"]);
    let mut session = wrapper.options(&["--backend-tls", "opportunistic"]).start();
    let _plaintext_server = session.opening();
    session.client.says("STARTTLS\r\n");
    let reach = || {
        let mut asked = backend.accept();
        header(&mut asked);
        let mut asked = Peer::tcp(asked);
        asked.says("220 inner.example ESMTP\r\n");
        asked.hears("EHLO localhost\r\n");
        asked.says("500 what\r\n");
        let mut plain = backend.accept();
        header(&mut plain);
        Peer::tcp(plain)
    };
    let mut asked = reach();
    asked.says("220 inner.example ESMTP\r\n");
    session.client.hears(GO_AHEAD);
    tls::Client::new(&site).shake(&mut session.client).expect("the wrapper shakes hands");
    let mut server = reach();
    speaks_inside(&mut session, &mut server);
    drop(server);
    let log = session.end().log;
    assert_eq!(log.matches("warning: going on in plaintext with localhost port ").count(), 1, "{log}");
}

#[test]
fn a_server_that_is_connected_is_told_before_and_after_starttls() {
    let (site, server) = (Site::new(), Backend::new());
    let address = format!("127.0.0.1:{}", server.port());
    let options = ["--connect", &address, "--proxy-protocol", "v2"];
    let mut session = Wrapper::respawn(&site).options(&options).start_prog(&[]);
    let mut plain = Peer::tcp(server.accept());
    assert_eq!(header(&mut plain), Header { ends: Some(ends(&session)), tls: None });
    plain.says("220 plain.example ESMTP\r\n");
    session.client.hears("220 plain.example ESMTP\r\n");
    session.client.says("EHLO laptop\r\nSTARTTLS\r\n");
    plain.hears("EHLO laptop\r\n");
    plain.says("250 plain.example\r\n");
    session.client.hears("250-plain.example\r\n250 STARTTLS\r\n");
    session.client.hears(GO_AHEAD);
    tls::Client::new(&site).shake(&mut session.client).expect("the wrapper shakes hands");
    let mut inside = Peer::tcp(server.accept());
    let told = header(&mut inside);
    assert_eq!(told.ends, Some(ends(&session)));
    assert!(told.tls.is_some_and(|tls| tls.version.as_deref() == Some("TLSv1.3")));
    speaks_inside(&mut session, &mut inside);
}

/// A Unix socket shows no address, and no super-server says one.
#[test]
fn a_client_that_nobody_knows_is_told_of_as_nobody() {
    for version in ["v1", "v2"] {
        let (site, server) = (Site::new(), Backend::new());
        let address = format!("127.0.0.1:{}", server.port());
        let options = ["--connect", &address, "--proxy-protocol", version, "-v", "2"];
        let (client, ours) = UnixStream::pair().unwrap();
        let descriptor = || Stdio::from(OwnedFd::from(ours.try_clone().unwrap()));
        let mut command = Wrapper::respawn(&site).options(&options).command(&[], &[]);
        let wrapper = Running::start(command.stdin(descriptor()).stdout(descriptor()));
        let mut plain = server.accept();
        assert_eq!(header(&mut plain), Header::default());
        let (mut client, mut plain) = (Peer::unix(client), Peer::tcp(plain));
        plain.says("220 plain.example ESMTP\r\n");
        client.hears("220 plain.example ESMTP\r\n");
        client.says("EHLO laptop\r\n");
        plain.hears("EHLO laptop\r\n");
        plain.says("250 plain.example\r\n");
        client.hears("250-plain.example\r\n250 STARTTLS\r\n");
        client.says("STARTTLS\r\n");
        client.hears(GO_AHEAD);
        tls::Client::new(&site).shake(&mut client).expect("the wrapper shakes hands");
        let mut inside = server.accept();
        let told = header(&mut inside);
        assert_eq!(told.ends, None);
        let mut inside = Peer::tcp(inside);
        inside.says("220 inner.example ESMTP\r\n");
        client.says("QUIT\r\n");
        inside.hears("EHLO laptop\r\n");
        drop((client, plain, inside));
        wrapper.log.line_with("warning: the client's address is not known, so --proxy-protocol cannot tell it");
        wrapper.log.line_with("session client=unknown protocol=smtp outcome=tls identity=lost ");
    }
}

fn header_of(version: Version) -> Vec<u8> {
    let ends = Ends { client: "192.0.2.1:4711".parse().unwrap(), server: "192.0.2.2:25".parse().unwrap() };
    proxy::header(version, ends, None)
}

/// The variables of the client in prog's environment follow the header. What was said of whoever connected does not
/// outlive it; what rules set for all is the administrator's.
fn is_told(server: &support::wrapper::Prog) {
    let environment = &server.environment;
    let value = |name: &str| environment.get(name).map(String::as_str);
    assert_eq!(value("TCPREMOTEIP"), Some("192.0.2.1"));
    assert_eq!(value("TCPREMOTEPORT"), Some("4711"));
    assert_eq!(value("TCPLOCALIP"), Some("192.0.2.2"));
    assert_eq!(value("TCPLOCALPORT"), Some("25"));
    assert_eq!(value("TCPREMOTEHOST"), None);
    assert_eq!(value("TCPREMOTEINFO"), None);
    assert_eq!(value("RELAYCLIENT"), None);
    assert_eq!(value("RBLSMTPD"), Some("kept"));
}

fn before(site: &Site) -> Wrapper {
    let wrapper = Wrapper::respawn(site).options(&["--accept-proxy", "-v", "2"]);
    let stale = [
        ("TCPREMOTEIP", "127.0.0.1"),
        ("TCPREMOTEHOST", "trusted"),
        ("TCPREMOTEINFO", "x"),
        ("RELAYCLIENT", ""),
        ("RBLSMTPD", "kept"),
    ];
    stale.iter().fold(wrapper, |wrapper, (name, value)| wrapper.env(name, value))
}

#[test]
fn prog_learns_of_the_client_from_the_header_before_and_after_starttls() {
    for version in [Version::V1, Version::V2] {
        let site = Site::new();
        let mut session = before(&site).start();
        session.client.says([header_of(version), b"EHLO laptop\r\n".to_vec()].concat());
        let mut server = session.server();
        is_told(&server);
        server.says("220 mx.example ESMTP\r\n");
        server.hears("EHLO laptop\r\n");
        server.says("250 mx.example\r\n");
        session.client.hears("220 mx.example ESMTP\r\n250-mx.example\r\n250 STARTTLS\r\n");
        session.starttls(&tls::Client::new(&site));
        let server = session.fresh_server();
        is_told(&server);
        drop(server);
        assert!(session.end().log.contains("session client=192.0.2.1:4711 "));
    }
}

#[test]
fn who_the_header_names_is_told_on() {
    let (site, backend) = (Site::new(), Backend::new());
    let options = ["--accept-proxy", "--proxy-protocol", "v1", "-v", "2"];
    let mut session = Wrapper::backend(&site, backend.port()).options(&options).start();
    session.client.says(header_of(Version::V2));
    let _plaintext_server = session.opening();
    session.client.says("STARTTLS\r\n");
    let told = Ends { client: "192.0.2.1:4711".parse().unwrap(), server: "192.0.2.2:25".parse().unwrap() };
    assert_eq!(header(&mut backend.accept()).ends, Some(told));
}

#[test]
fn what_follows_the_header_belongs_to_tls() {
    let site = Site::new();
    let mut session = before(&site).option("--implicit").start();
    let mut handshake = tls::Client::new(&site).begin();
    session.client.says([header_of(Version::V2), handshake.client_hello()].concat());
    handshake.finish(&mut session.client).expect("the handshake succeeds");
    let server = session.fresh_server();
    is_told(&server);
    session.client.hears("220 fresh.example ESMTP\r\n");
}

#[test]
fn a_header_in_single_bytes_is_a_header() {
    let site = Site::new();
    for version in [Version::V1, Version::V2] {
        let mut session = before(&site).start();
        for byte in header_of(version) {
            session.client.says([byte]);
        }
        is_told(&session.server());
    }
}

#[test]
fn without_a_header_there_is_no_session() {
    let site = Site::new();
    let long_line = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MAX_V1 - 15));
    let mut long_header = header_of(Version::V2);
    let length = u16::try_from(MAX_HEADER + 1 - 16).unwrap();
    long_header[14..16].copy_from_slice(&length.to_be_bytes());
    for said in [b"EHLO laptop\r\n", long_line.as_bytes(), &long_header] {
        let mut session = before(&site).start();
        session.client.says(said);
        session.wrapper.log.line_with("fatal: unable to read the PROXY header: ");
        assert!(session.has_no_further_server());
        assert_eq!(session.end().status, 100);
    }
}

#[test]
fn a_header_is_not_looked_for_unless_it_is_asked_for() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).start();
    let mut server = session.server();
    server.says("220 mx.example ESMTP\r\n");
    session.client.says(header_of(Version::V1));
    server.hears(header_of(Version::V1));
}

#[test]
fn haproxy_tells_who_the_client_is() {
    let site = Site::new();
    let all = "send-proxy-v2 proxy-v2-options crc32c,ssl,cert-cn,ssl-cipher,authority";
    for sends in ["send-proxy", "send-proxy-v2", all] {
        let wrapper = Wrapper::respawn(&site).options(&["--accept-proxy", "-v", "2"]);
        let prog = ["sh", "-c", "echo 220 $TCPREMOTEIP $TCPREMOTEPORT; cat"];
        let inner = tcpserver(&wrapper, &prog);
        let front = haproxy(inner.port, sends);
        let client = TcpStream::connect(("127.0.0.1", front.port)).unwrap();
        let port = client.local_addr().unwrap().port();
        Peer::tcp(client).hears(format!("220 127.0.0.1 {port}\n"));
        inner.log().line_with(&format!("session client=127.0.0.1:{port} "));
    }
}

/// A client of which the environment says that it is 192.0.2.99.
fn from_elsewhere(wrapper: Wrapper) -> Session {
    let told = [("IP", "192.0.2.99"), ("PORT", "4711")].map(|(name, value)| (format!("TCPREMOTE{name}"), value));
    let local = [("IP", "192.0.2.2"), ("PORT", "25")].map(|(name, value)| (format!("TCPLOCAL{name}"), value));
    told.iter().chain(&local).fold(wrapper, |wrapper, (name, value)| wrapper.env(name, value)).start()
}

#[test]
fn nginx_hears_who_the_client_is() {
    for version in ["v1", "v2"] {
        let site = Site::new();
        let backend = nginx_behind_proxy();
        let options = ["--proxy-protocol", version, "--backend-tls", "none"];
        let mut session = from_elsewhere(Wrapper::backend(&site, backend.port).options(&options));
        let _plaintext_server = session.opening();
        session.starttls(&tls::Client::new(&site));
        for (line, reply) in [
            ("EHLO laptop.example\r\n", "250"),
            ("MAIL FROM:<a@example.org>\r\n", "250"),
            ("RCPT TO:<b@example.net>\r\n", "535 5.7.0 client 192.0.2.99"),
        ] {
            session.client.says(line);
            session.client.hears_code(reply);
        }
    }
}

/// The wrapper, a TLS server that knows no header, and a server that knows nothing but its environment.
#[test]
fn proxy_env_tells_mailfront_who_the_client_is() {
    let site = Site::new();
    let prog = [PROXY_ENV, &path_of("smtpfront-echo"), "add-received", "accept"];
    let backend = stunnel(&site, &[&prog_of(&site, &prog)]);
    let options = ["--proxy-protocol", "v2", "--proxy-inside"];
    let mut session = from_elsewhere(Wrapper::backend(&site, backend.port).options(&options));
    let _plaintext_server = session.opening();
    session.starttls(&tls::Client::new(&site));
    for (line, code) in [
        ("EHLO laptop.example\r\n", "250"),
        ("MAIL FROM:<a@example.org>\r\n", "250"),
        ("RCPT TO:<b@example.net>\r\n", "250"),
        ("DATA\r\n", "354"),
        ("Subject: told\r\n\r\nhello\r\n.\r\n", "250"),
    ] {
        session.client.says(line);
        session.client.hears_code(code);
    }
    backend.log().line_with("Received: from laptop.example ([192.0.2.99])");
}

/// stunnel takes no argument with a blank, so a script stands for prog.
fn prog_of(site: &Site, prog: &[&str]) -> String {
    let words = prog.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
    let file = site.dir.file("prog");
    std::fs::write(&file, format!("#!/bin/sh\nexec {words}\n")).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    file.to_str().unwrap().to_owned()
}

/// proxy-env with this input: its status, what prog printed, what it said.
fn proxy_env(input: &[u8], prog: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(PROXY_ENV);
    command.args(prog).envs([("SSL_PROTOCOL", "stale"), ("SSL_CLIENT_S_DN", "stale"), ("TCPREMOTEHOST", "stale")]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may end before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn proxy_env_sets_the_environment_and_leaves_the_rest_of_the_input() {
    let ends = Ends { client: "[2001:db8::1]:4711".parse().unwrap(), server: "[2001:db8::2]:25".parse().unwrap() };
    let tls = Facts {
        version: Some("TLSv1.3".into()),
        sni: Some("mx.example".into()),
        certificate: Certificate::Verified(Verified { common_name: Some("laptop".into()), ..Verified::default() }),
        ..Facts::default()
    };
    let script = "echo $TCPREMOTEIP $TCPREMOTEPORT $TCPLOCALIP $TCPLOCALPORT ${TCPREMOTEHOST-unset} $SSL_PROTOCOL \
                  $SSL_TLS_SNI_SERVERNAME $SSL_CLIENT_VERIFY $SSL_CLIENT_S_DN_CN ${SSL_CLIENT_S_DN-unset}; cat";
    let input = [&proxy::header(Version::V2, ends, Some(&tls))[..], b"EHLO laptop\r\n"].concat();
    let (status, said, _) = proxy_env(&input, &["sh", "-c", script]);
    assert_eq!(status, Some(0));
    let variables = "2001:db8::1 4711 2001:db8::2 25 unset TLSv1.3 mx.example SUCCESS laptop unset";
    assert_eq!(said, format!("{variables}\nEHLO laptop\r\n"));
}

#[test]
fn proxy_env_runs_nothing_without_a_header() {
    for input in [&b"P"[..], b"EHLO laptop\r\n", b"PROXY TCP4 1.2.3.4", &header_of(Version::V2)[..20]] {
        let (status, said, log) = proxy_env(input, &["echo", "run"]);
        assert_eq!((status, said.as_str()), (Some(100), ""));
        assert!(
            log.starts_with("proxy-env: pid ") && log.contains(": fatal: unable to read the PROXY header: "),
            "{log}"
        );
    }
    assert_eq!(proxy_env(b"PROXY UNKNOWN\r\n", &["/nonexistent"]).0, Some(127));
    assert_eq!(proxy_env(b"PROXY UNKNOWN\r\n", &[]).0, Some(100));
    assert_eq!(proxy_env(b"", &["echo", "run"]), (Some(0), String::new(), String::new()), "nobody was there");
}
