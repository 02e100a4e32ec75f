//! Certificates that no verifier takes. A client that is only asked for one (`-Y`) is let in with them and told of as
//! failed; a backend whose key is pinned needs no more than the key.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]
#![allow(clippy::print_stdout, reason = "the tables, for who runs it with --nocapture")]

mod support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use rcgen::{BasicConstraints, CustomExtension, IsCa};
use support::backend::Backend;
use support::certificates::{Dir, Flaw, Site};
use support::clients::s_client_with;
use support::der::version_1;
use support::program::{Running, path_of, program};
use support::servers::{GREETER, tcpserver};
use support::tls::{self, Client, TLS12, TLS13};
use support::wrapper::{GO_AHEAD, NOT_AVAILABLE, Session, Wrapper};

/// Certificates with a key in them, and what a verifier says of each.
fn unfit() -> [(&'static str, Site, &'static str); 6] {
    let site = Site::new();
    let of_version_1 = version_1(&site.certificate);
    let extension = |critical| {
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(critical);
        extension
    };
    [
        ("version 1", site.showing(of_version_1), "certificate is not of X.509 version 3"),
        (
            "unknown critical extension",
            Site::peculiar(|params| params.custom_extensions.push(extension(true))),
            "certificate has a critical extension that is not supported",
        ),
        (
            "authority",
            Site::peculiar(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            "certificate is an authority's",
        ),
        ("expired", Site::flawed(Flaw::Expired), "certificate has expired"),
        ("of nobody known", Site::flawed(Flaw::Untrusted), "issuer is unknown"),
        (
            "of nobody known, version 1",
            {
                let foreign = Site::flawed(Flaw::Untrusted);
                let of_version_1 = version_1(&foreign.certificate);
                foreign.showing(of_version_1)
            },
            "certificate is not of X.509 version 3",
        ),
    ]
}

/// What is no certificate at all.
fn garbage() -> [(&'static str, Site, &'static str); 3] {
    let site = Site::new();
    let half = site.certificate[..site.certificate.len() / 2].to_vec();
    [
        ("half", site.showing(half), "certificate is malformed"),
        ("a number", Site::new().showing(*b"\x30\x03\x02\x01\x01"), "certificate is malformed"),
        ("text", Site::new().showing(*b"no certificate"), "certificate is malformed"),
    ]
}

fn asking(option: &str) -> (Site, Session) {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).options(&["-v", "2", option]).env("CAFILE", site.ca()).start();
    let _plaintext_server = session.opening();
    session.client.says("STARTTLS\r\n");
    session.client.hears(GO_AHEAD);
    (site, session)
}

#[test]
fn a_client_that_is_asked_is_let_in_whatever_is_wrong_with_its_certificate() {
    for version in [&TLS13, &TLS12] {
        for (name, shown, why) in unfit().iter().chain(&garbage()) {
            let (site, mut session) = asking("-Y");
            let client = Client::new(&site).versions(&[version]).showing(shown);
            client.shake(&mut session.client).expect(name);
            let server = session.fresh_server();
            assert_eq!(server.environment["SSL_CLIENT_VERIFY"], format!("FAILED:{why}"), "{name}");
            assert!(!server.environment.contains_key("SSL_PEER_CERT_HASH"), "{name}");
            session.client.says_no_more();
            server.exits(0);
            let log = session.end().log;
            assert!(log.contains(" client-cert=failed "), "{name}: {log}");
            println!("{:?} {name:28} {why}", version.version);
        }
    }
}

#[test]
fn a_client_of_whom_one_is_demanded_is_not() {
    for version in [&TLS13, &TLS12] {
        for (name, shown, why) in unfit().iter().chain(&garbage()) {
            let (site, mut session) = asking("-y");
            let _ = Client::new(&site).versions(&[version]).showing(shown).shake(&mut session.client);
            session.wrapper.log.line_with(&format!("failed: {why}"));
            assert!(session.has_no_further_server(), "{name}");
            assert_eq!(session.end().status, 98, "{name}");
        }
    }
}

/// Somebody else's certificate, good or not, is no certificate that fails: RFC 8446 section 4.4.3.
#[test]
fn a_client_that_does_not_hold_the_key_is_sent_away() {
    for version in [&TLS13, &TLS12] {
        let (good, of_version_1) = (Site::new(), version_1(&Site::new().certificate));
        for shown in [Site::new().showing(good.certificate.to_vec()), Site::new().showing(of_version_1)] {
            for option in ["-Y", "-y"] {
                let (site, mut session) = asking(option);
                let _ = Client::new(&site).versions(&[version]).showing(&shown).shake(&mut session.client);
                session.wrapper.log.line_with(if option == "-Y" { "failed: signature is wrong" } else { "failed: " });
                assert!(session.has_no_further_server());
                assert_eq!(session.end().status, 98);
            }
        }
    }
}

/// A key and a certificate that openssl makes with these arguments.
fn by_openssl(dir: &Dir, arguments: &[&str]) {
    let mut command = program("openssl");
    command.args(["req", "-x509", "-nodes", "-subj", "/CN=odd", "-days", "2"]).args(arguments);
    command.arg("-keyout").arg(dir.file("key.pem")).arg("-out").arg(dir.file("cert.pem")).stderr(Stdio::null());
    assert!(command.status().unwrap().success(), "openssl {arguments:?} works");
}

const P_256: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
const RSA_1024: &[&str] = &["-newkey", "rsa:1024"];
const SECP256K1: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"];
const ED448: &[&str] = &["-newkey", "ed448"];

/// Its authority is known, and has a good key.
#[test]
fn a_client_with_a_key_that_nothing_here_verifies_is_let_in() {
    let (site, authority) = (Site::new(), Dir::new());
    by_openssl(&authority, P_256);
    let [ca, ca_key] = ["cert.pem", "key.pem"].map(|name| authority.file(name).to_str().unwrap().to_owned());
    for (key, version) in [(RSA_1024, "-tls1_3"), (RSA_1024, "-tls1_2"), (SECP256K1, "-tls1_2")] {
        let dir = Dir::new();
        by_openssl(&dir, &[key, &["-addext", "basicConstraints=CA:FALSE", "-CA", &ca, "-CAkey", &ca_key]].concat());
        let wrapper = Wrapper::respawn(&site).options(&["-v", "2", "-Y"]).env("CAFILE", &ca);
        let server = tcpserver(&wrapper, &[&path_of("python3"), "-ISc", GREETER, "smtp"]);
        let [cert, key] = ["cert.pem", "key.pem"].map(|name| dir.file(name).to_str().unwrap().to_owned());
        let arguments = ["-cert", &cert, "-key", &key, version, "-cipher", "DEFAULT@SECLEVEL=0"];
        let arguments = [&arguments[..], &["-starttls", "smtp", "-no_ign_eof"]].concat();
        let (mut child, _) = s_client_with(server.port, &site, &arguments);
        child.wait().unwrap();
        let line = server.log().line_with(" outcome=tls ");
        assert!(line.contains(" client-cert=failed "), "{line}");
    }
}

#[test]
fn a_pin_alone_is_the_proof_whatever_the_certificate_is_like() {
    let site = Site::new();
    for version in [&TLS13, &TLS12] {
        for (name, shown, why) in unfit() {
            for pinned in [true, false] {
                let backend = Backend::new();
                let wrapper = Wrapper::bare(&["localhost", &backend.port().to_string()]).site(&site);
                let wrapper = wrapper.option("--backend-pin").option(shown.pin());
                let wrapper = if pinned { wrapper } else { wrapper.option("--backend-ca").option(site.ca()) };
                let mut session = wrapper.options(&["-v", "2"]).start();
                let _server = session.opening();
                session.client.says("STARTTLS\r\n");
                let shaken = tls::accept_in(&shown, backend.accept(), &[version]);
                if pinned {
                    let mut inner = shaken.expect(name);
                    inner.says("220 inner.example ESMTP\r\n");
                    session.client.hears(GO_AHEAD);
                } else {
                    session.client.hears(NOT_AVAILABLE);
                    session.wrapper.log.line_with(why);
                }
            }
        }
    }
}

#[test]
fn a_pinned_certificate_proves_nothing_without_its_key() {
    let site = Site::new();
    for version in [&TLS13, &TLS12] {
        let (good, of_version_1) = (Site::new(), Site::new());
        let der = version_1(&of_version_1.certificate);
        for (pin, shown) in [
            (good.pin(), Site::new().showing(good.certificate.to_vec())),
            (of_version_1.pin(), Site::new().showing(der)),
        ] {
            let backend = Backend::new();
            let wrapper = Wrapper::bare(&["localhost", &backend.port().to_string()]).site(&site);
            let mut session = wrapper.option("--backend-pin").option(pin).start();
            let _server = session.opening();
            session.client.says("STARTTLS\r\n");
            assert!(tls::accept_in(&shown, backend.accept(), &[version]).is_err());
            session.client.hears(NOT_AVAILABLE);
            session.wrapper.log.line_with("signature is wrong");
        }
    }
}

/// The one thing that a pin cannot do without.
#[test]
fn a_pinned_key_that_nothing_here_verifies_is_told_of() {
    for key in [RSA_1024, ED448] {
        let (site, dir) = (Site::new(), Dir::new());
        by_openssl(&dir, key);
        let (_server, port) = s_server(&dir);
        let wrapper = Wrapper::bare(&["localhost", &port]).site(&site);
        let mut session = wrapper.option("--backend-pin").option(dir.pin(&dir.file("cert.pem"))).start();
        let _server = session.opening();
        session.client.says("STARTTLS\r\n");
        session.client.hears(NOT_AVAILABLE);
        println!("{}", session.wrapper.log.line_with("unable to use the TLS server"));
    }
}

/// openssl with the key and the certificate that are in there, and its port.
fn s_server(dir: &Dir) -> (Running, String) {
    let mut command = program("openssl");
    command.args(["s_server", "-accept", "127.0.0.1:0", "-cipher", "DEFAULT@SECLEVEL=0", "-cert"]);
    command.arg(dir.file("cert.pem")).arg("-key").arg(dir.file("key.pem"));
    let mut running = Running::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let mut lines = BufReader::new(running.child().stdout.take().unwrap()).lines();
    let line = lines.find_map(|line| line.unwrap().strip_prefix("ACCEPT 127.0.0.1:").map(str::to_owned));
    (running, line.expect("openssl tells its port"))
}
