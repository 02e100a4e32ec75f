//! Client certificates, and how TLS with a client ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]
#![allow(clippy::print_stdout, reason = "the tables, for who runs it with --nocapture")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::PrivatePkcs8KeyDer;
use starttls_wrapper::facts::MAX_FACT;
use support::backend::Backend;
use support::certificates::{Dir, Flaw, Site};
use support::peer::Peer;
use support::proc;
use support::program::program;
use support::servers::{mailfront, tcpserver};
use support::tls::{Client, TLS12, TLS13};
use support::wrapper::{GO_AHEAD, NOT_AVAILABLE, Prog, Session, Wrapper};

/// A session that is about to shake hands.
fn at_the_go_ahead(wrapper: Wrapper) -> Session {
    let mut session = wrapper.start();
    let _plaintext_server = session.opening();
    session.client.says("STARTTLS\r\n");
    session.client.hears(GO_AHEAD);
    session
}

/// A session inside TLS, where the server has greeted.
fn inside(wrapper: Wrapper, client: &Client) -> (Session, Prog) {
    let mut session = at_the_go_ahead(wrapper);
    client.shake(&mut session.client).expect("the handshake succeeds");
    let server = session.fresh_server();
    (session, server)
}

#[test]
fn a_client_is_told_of_as_what_it_proved_to_be() {
    let (site, good) = (Site::new(), Site::new());
    let (foreign, expired) = (Site::flawed(Flaw::Untrusted), Site::flawed(Flaw::Expired));
    let shown = [("none", None), ("good", Some(&good)), ("foreign", Some(&foreign)), ("expired", Some(&expired))];
    let rows = [
        ("-z", ["NONE", "NONE", "NONE", "NONE"]),
        ("-Y", ["NONE", "SUCCESS", "FAILED:issuer is unknown", "FAILED:certificate has expired"]),
        ("-y", ["refused", "SUCCESS", "refused", "refused"]),
    ];
    for version in [&TLS13, &TLS12] {
        for (option, row) in rows {
            for ((name, certificate), expected) in shown.into_iter().zip(row) {
                let client = Client::new(&site).versions(&[version]);
                let client =
                    certificate.map_or_else(|| client.clone(), |certificate| client.clone().showing(certificate));
                // What was inherited must not be taken for what was found out.
                let wrapper = Wrapper::respawn(&site)
                    .options(&["-v", "2", option])
                    .env("CAFILE", site.ca())
                    .env("SSL_CLIENT_VERIFY", "SUCCESS")
                    .env("SSL_PEER_CERT_SUBJECT", "CN=root");
                let told = if expected == "refused" { refused(wrapper, &client) } else { welcomed(wrapper, &client) };
                println!("{:?} {option} {name:8} {told}", version.version);
                assert!(told.starts_with(expected), "{option} {name}: {told}, expected {expected}");
            }
        }
    }
}

/// SSL_CLIENT_VERIFY, the other variables, the exit status and what the session line has.
fn welcomed(wrapper: Wrapper, client: &Client) -> String {
    let (mut session, server) = inside(wrapper, client);
    session.client.says_no_more();
    let environment = server.environment.clone();
    server.exits(7);
    let end = session.end();
    let verify = environment["SSL_CLIENT_VERIFY"].clone();
    let named: Vec<_> = ["SSL_CLIENT_S_DN", "SSL_CLIENT_I_DN", "SSL_PEER_CERT_HASH", "SSL_PEER_CERT_SUBJECT"]
        .iter()
        .filter_map(|name| environment.get(*name).map(|value| format!("{name}={value}")))
        .collect();
    assert_eq!(named.len(), if verify == "SUCCESS" { 4 } else { 0 }, "{named:?}");
    let word = end.log.split(" client-cert=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    assert_eq!(end.status, 7, "{}", end.log);
    format!("{verify} | client-cert={word} | {} | {}", end.status, named.join(" "))
}

fn refused(wrapper: Wrapper, client: &Client) -> String {
    let mut session = at_the_go_ahead(wrapper);
    let mut heard = client.shake(&mut session.client).map_err(|why| why.to_string());
    if heard.is_ok() {
        // In TLS 1.3 a client hears of it after its own part of the handshake.
        heard = session.client.read(&mut [0]).map(|_| ()).map_err(|why| why.to_string());
    }
    let heard = heard.expect_err("the client is turned away");
    assert!(session.has_no_further_server());
    let end = session.end();
    assert_eq!(end.status, 98, "{}", end.log);
    format!("refused | {heard} | {}", end.status)
}

#[test]
fn a_verified_client_is_told_of_with_hash_and_names() {
    let (site, good) = (Site::new(), Site::new());
    let (_session, server) =
        inside(Wrapper::respawn(&site).option("-y").env("CAFILE", site.ca()), &Client::new(&site).showing(&good));
    let environment = &server.environment;
    let mut command = program("openssl");
    let output = command.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(good.cert()).output().unwrap();
    let fingerprint = String::from_utf8(output.stdout).unwrap();
    let hash = fingerprint.trim().rsplit('=').next().unwrap().replace(':', "").to_lowercase();
    assert_eq!(environment["SSL_PEER_CERT_HASH"], format!("SHA256:{hash}"));
    for (variable, field, option) in
        [("SSL_CLIENT_S_DN", "subject", "-subject"), ("SSL_CLIENT_I_DN", "issuer", "-issuer")]
    {
        let mut command = program("openssl");
        command.args(["x509", "-noout", "-nameopt", "RFC2253", option, "-in"]).arg(good.cert());
        let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
        assert_eq!(environment[variable], output.trim().strip_prefix(&format!("{field}=")).unwrap());
    }
    assert!(environment["SSL_VERSION_INTERFACE"].starts_with("starttls-wrapper/"));
}

/// A certificate with these names, and the authority of its own that vouches for it.
fn named(names: &[(DnType, &str)]) -> Site {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let anchor = authority.self_signed(&authority_key).unwrap();
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in names {
        params.distinguished_name.push(kind.clone(), *value);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap().der().clone();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let site = Site { dir: Dir::new(), authority: anchor.der().clone(), certificate, key };
    fs::write(site.ca(), anchor.pem()).unwrap();
    site
}

#[test]
fn what_a_name_holds_stays_within_its_variable() {
    let site = Site::new();
    let evil = named(&[
        (DnType::OrganizationName, "O,CN=root+\u{e9}\0"),
        (DnType::CommonName, "alice\nSSL_PROTOCOL=none\nRELAYCLIENT="),
    ]);
    let wrapper = Wrapper::respawn(&site).option("-y").env("CAFILE", evil.ca());
    let (_session, server) = inside(wrapper, &Client::new(&site).showing(&evil));
    let environment = &server.environment;
    let (cn, o) = ("CN=alice\\0ASSL_PROTOCOL\\=none\\0ARELAYCLIENT\\=", "O=O\\,CN\\=root\\+\\C3\\A9\\00");
    assert_eq!(environment["SSL_CLIENT_S_DN"], format!("{cn},{o}"));
    assert_eq!(environment["SSL_PEER_CERT_SUBJECT"], format!("{o}, {cn}"));
    assert_eq!(environment["SSL_PROTOCOL"], "TLSv1.3");
    assert!(!environment.contains_key("RELAYCLIENT"));
}

#[test]
fn a_name_too_long_for_a_variable_is_left_out_whole() {
    const MAX_VALUE: usize = MAX_FACT - "SSL_CLIENT_S_DN=CN=".len();
    let site = Site::new();
    for (length, fits) in [(MAX_VALUE - 1, true), (MAX_VALUE, true), (MAX_VALUE + 1, false)] {
        let long = named(&[(DnType::CommonName, &"x".repeat(length))]);
        let wrapper = Wrapper::respawn(&site).option("-y").env("CAFILE", long.ca());
        let (_session, server) = inside(wrapper, &Client::new(&site).showing(&long));
        assert_eq!(server.environment["SSL_CLIENT_VERIFY"], "SUCCESS");
        assert_eq!(server.environment.contains_key("SSL_CLIENT_S_DN"), fits, "{length}");
    }
}

#[test]
fn cadir_wins_and_its_files_are_named_by_hash() {
    let (site, good, foreign) = (Site::new(), Site::new(), Site::flawed(Flaw::Untrusted));
    let dir = Dir::new();
    fs::copy(site.ca(), dir.file("known.pem")).unwrap();
    let wrapper =
        || Wrapper::respawn(&site).options(&["-v", "2", "-Y"]).env("CAFILE", foreign.ca()).env("CADIR", dir.path());
    let client = Client::new(&site).showing(&good);

    let mut session = wrapper().start();
    let _plaintext_server = session.opening();
    session.client.says("STARTTLS\r\n");
    session.client.hears(NOT_AVAILABLE);
    session.wrapper.log.line_with("no file is named by hash");

    assert!(program("openssl").arg("rehash").arg(dir.path()).status().unwrap().success());
    assert!(welcomed(wrapper(), &client).starts_with("SUCCESS"));
}

#[test]
fn without_anchors_nobody_is_asked_for_a_certificate() {
    for option in ["-Y", "-y"] {
        let end = Wrapper::respawn(&Site::new()).option(option).start().end();
        assert_eq!(end.status, 100, "{}", end.log);
        assert!(end.log.contains("set CADIR or CAFILE"), "{}", end.log);
    }
}

#[test]
fn a_client_that_vanishes_costs_nothing_and_is_told_from_one_that_leaves() {
    type Phase = (&'static str, fn(&mut Session, &Client) -> Option<Prog>, [i32; 2]);
    let phases: [Phase; 5] = [
        ("after EHLO", |session, _| Some(session.opening()), [7, 7]),
        ("after the go-ahead", |session, _| begun(session, &[]), [98, 98]),
        ("in the handshake", |session, client| begun(session, &client.begin().client_hello()), [98, 98]),
        ("inside TLS", |session, client| Some(greeted(session, client)), [7, 98]),
        ("in the middle of a mail", |session, client| Some(in_a_mail(session, client)), [7, 98]),
    ];
    let site = Site::new();
    let client = Client::new(&site);
    for (name, reach, statuses) in phases {
        for (option, expected) in ["-j", "-J"].into_iter().zip(statuses) {
            let mut session = Wrapper::respawn(&site).options(&["-v", "2", option]).start();
            let server = reach(&mut session, &client);
            session.vanish();
            let mut spent = None;
            if let Some(mut server) = server {
                server.hears_rest();
                let wrapper = session.wrapper.pid();
                let ticks = || proc::ticks(wrapper) + proc::ticks(proc::session_of(wrapper));
                let before = ticks();
                // Time must pass to be spent; there is nothing to wait for.
                thread::sleep(Duration::from_millis(500));
                spent = Some(ticks() - before);
                server.exits(7);
            }
            let end = session.end();
            assert!(spent.is_none_or(|ticks| ticks < 10), "{name}: {spent:?}0 ms in 500 ms");
            let spent = spent.map_or("ended at once".into(), |ticks| format!("{ticks}0 ms in 500 ms"));
            println!("{name:24} {option} status {:3}, processor time {spent}", end.status);
            assert_eq!(end.status, expected, "{name} {option}:\n{}", end.log);
            let warned = end.log.contains("without close_notify");
            assert_eq!(warned, expected == 98 && statuses[0] != 98, "{}", end.log);
        }
    }
}

fn begun(session: &mut Session, hello: &[u8]) -> Option<Prog> {
    let _plaintext_server = session.opening();
    session.client.says("STARTTLS\r\n");
    session.client.hears(GO_AHEAD);
    session.client.says(hello);
    None
}

fn greeted(session: &mut Session, client: &Client) -> Prog {
    let _plaintext_server = session.opening();
    session.starttls(client);
    session.fresh_server()
}

fn in_a_mail(session: &mut Session, client: &Client) -> Prog {
    let mut server = greeted(session, client);
    session.client.says("EHLO laptop\r\n");
    server.hears("EHLO laptop\r\n");
    server.says("250 fresh.example\r\n");
    session.client.hears("250 fresh.example\r\n");
    session.client.says("DATA\r\n");
    server.hears("DATA\r\n");
    server.says("354 go on\r\n");
    session.client.hears("354 go on\r\n");
    session.client.says("half a li");
    server
}

#[test]
fn the_last_word_is_close_notify_unless_it_is_forgone() {
    let site = Site::new();
    for (option, says_it) in [("-S", true), ("-s", false)] {
        let (mut session, server) = inside(Wrapper::respawn(&site).option(option), &Client::new(&site));
        server.exits(0);
        let mut heard = Vec::new();
        let end = session.client.read_to_end(&mut heard);
        assert_eq!(end.is_ok(), says_it, "{option}: {end:?}");
        assert_eq!(session.end().status, 0);
    }
}

/// A TLS server that ends without close_notify may have been cut off: with `-J` nobody is told that it was the end.
#[test]
fn a_backend_cut_off_is_passed_on_as_it_came() {
    let site = Site::new();
    for (option, clean, status) in [("-j", true, 0), ("-J", false, 98)] {
        let backend = Backend::new();
        let mut session = Wrapper::backend(&site, backend.port()).options(&[option]).start();
        let _plaintext_server = session.opening();
        let mut server = session.starttls_to(&backend, &site);
        session.client.says("EHLO laptop\r\n");
        server.hears("EHLO laptop\r\n");
        server.says("250 inner.example\r\n");
        session.client.hears("250 inner.example\r\n");
        session.client.says("DATA\r\n");
        server.hears("DATA\r\n");
        server.says("354 half a rep");
        session.client.hears("354 half a rep");
        drop(server);
        let end = session.client.read_to_end(&mut Vec::new());
        assert_eq!(end.is_ok(), clean, "{option}: {end:?}");
        let end = session.end();
        assert_eq!(end.status, status, "{}", end.log);
        assert_eq!(end.log.contains("the TLS server closed the connection without close_notify"), !clean);
    }
}

#[test]
fn a_client_that_breaks_tls_hears_the_alert() {
    let site = Site::new();
    let server = tcpserver(&Wrapper::respawn(&site).options(&["-v", "2"]), &mailfront().words());
    let mut wire = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let mut peer = Peer::tcp(wire.try_clone().unwrap());
    peer.hears_code("220");
    peer.says("EHLO laptop\r\n");
    peer.hears_code("250");
    peer.says("STARTTLS\r\n");
    peer.hears_code("220");
    Client::new(&site).shake(&mut peer).unwrap();
    peer.says("NOOP\r\n");
    peer.hears_code("250");
    // A record that nobody has the key of; and so much behind it that a hasty close would destroy the alert.
    wire.write_all(&[&[23, 3, 3, 0, 32][..], &[0; 32]].concat()).unwrap();
    wire.write_all(&[0; 65536]).unwrap();
    let why = peer.read(&mut [0]).expect_err("TLS is over").to_string();
    assert!(why.contains("BadRecordMac"), "{why}");
    server.log().line_with("TLS with the client failed: ");
}

/// Much is read at once, and what went wrong with the last of it must neither cost the rest nor be forgotten.
#[test]
fn what_a_client_said_before_it_broke_tls_arrives() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).start();
    let mut server = in_a_mail(&mut session, &Client::new(&site));
    server.hears("half a li");
    let reader = proc::session_of(session.wrapper.pid());
    let send = |pid: u32, signal| kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
    send(reader, Signal::STOP);
    send(server.pid, Signal::STOP);
    // More than the server's pipe holds while the server does not read.
    let mail = vec![b'x'; 100_000];
    session.client.says(&mail);
    session.line.write_all(&[&[23, 3, 3, 0, 32][..], &[0; 32]].concat()).unwrap();
    send(reader, Signal::CONT);
    proc::until(|| proc::is_asleep(reader));
    send(server.pid, Signal::CONT);
    server.hears(&mail);
    assert!(server.hears_rest().is_empty());
    server.exits(0);
    let end = session.end();
    assert_eq!(end.status, 98, "{}", end.log);
    assert!(end.log.contains("TLS with the client failed: "), "{}", end.log);
}

#[test]
fn alpn_is_heeded_with_tls_from_the_first_byte_too() {
    let site = Site::new();
    for (offered, protocol, chosen) in [
        (&[][..], "auto", Ok(None)),
        (&["smtp"], "auto", Ok(Some("smtp"))),
        (&["imap"], "auto", Ok(Some("imap"))),
        (&["h2", "pop3"], "pop3", Ok(Some("pop3"))),
        (&["submission"], "smtp", Ok(Some("submission"))),
        (&["lmtp"], "lmtp", Ok(Some("lmtp"))),
        (&["lmtp"], "auto", Ok(Some("lmtp"))),
        (&["imap"], "smtp", Err(())),
        (&["lmtp"], "smtp", Err(())),
        (&["h2"], "auto", Err(())),
        (&["http/1.1"], "smtp", Err(())),
    ] {
        let wrapper = Wrapper::bare(&[]).options(&["--implicit", "-p", protocol]).site(&site);
        let mut session = wrapper.start();
        let shaken = Client::new(&site).alpn(offered).shake(&mut session.client);
        println!("--implicit -p {protocol:5} {offered:?}: {shaken:?}");
        match chosen {
            Ok(chosen) => {
                shaken.expect("the client is welcome");
                assert_eq!(session.client.tls().alpn_protocol(), chosen.map(str::as_bytes));
            }
            Err(()) => {
                assert!(shaken.expect_err("the client is foreign").to_string().contains("NoApplicationProtocol"));
                assert_eq!(session.end().status, 98);
            }
        }
    }
}
