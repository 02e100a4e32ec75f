//! How much of certificates travels in a handshake: at the limit, and beyond it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, KeyPair, PKCS_ED25519,
};
use starttls_wrapper::tls::{MAX_AUTHORITY_NAMES, MAX_CHAIN};
use support::certificates::{Dir, Site};
use support::clients::s_client_by_starttls;
use support::program::{path_of, program};
use support::servers::{GREETER, tcpserver};
use support::tls::{Client, TLS12, TLS13};
use support::wrapper::{NOT_AVAILABLE, Wrapper};

/// Anchors whose names are so many bytes in a CertificateRequest.
fn anchors(dir: &Dir, total: usize) -> PathBuf {
    const EACH: usize = 1000;
    let key = KeyPair::generate().unwrap();
    let anchor = |size: usize| {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "x".repeat(size - AROUND_A_NAME));
        params.self_signed(&key).unwrap().pem()
    };
    let last = EACH + total % EACH;
    let pem = anchor(EACH).repeat((total - last) / EACH) + &anchor(last);
    fs::write(dir.file("anchors.pem"), pem).unwrap();
    dir.file("anchors.pem")
}

/// Its length, the heads of a sequence, a set, a sequence and a string, and an object identifier.
const AROUND_A_NAME: usize = 2 + 4 + 4 + 4 + 5 + 4;

#[test]
fn authority_names_that_do_not_fit_are_left_out() {
    let (site, dir) = (Site::new(), Dir::new());
    for (total, listed) in
        [(MAX_AUTHORITY_NAMES - 1, true), (MAX_AUTHORITY_NAMES, true), (MAX_AUTHORITY_NAMES + 1, false)]
    {
        let wrapper = Wrapper::respawn(&site).option("-Y").env("CAFILE", anchors(&dir, total));
        let server = tcpserver(&wrapper, &[&path_of("python3"), "-ISc", GREETER, "smtp"]);
        for version in ["-tls1_2", "-tls1_3"] {
            let output = s_client_by_starttls(server.port, &[version]).stdin(Stdio::null()).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(text.contains("Cipher is ") && !text.contains("Cipher is (NONE)"), "{total} {version}: {text}");
            assert_eq!(text.contains("Acceptable client certificate CA names"), listed, "{total} {version}");
        }
        for version in [&TLS12, &TLS13] {
            let wrapper = Wrapper::respawn(&site).option("-Y").env("CAFILE", anchors(&dir, total));
            let mut session = wrapper.start();
            let _plaintext_server = session.opening();
            session.starttls(&Client::new(&site).versions(&[version]));
        }
    }
}

/// Adds to the site's chain so much that it has this length in a Certificate message.
fn lengthen(site: &Site, length: usize) {
    const AROUND: usize = 5;
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let filler = |size: usize| {
        let mut params = CertificateParams::new([]).unwrap();
        params.custom_extensions.push(CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5; size]));
        params.self_signed(&key).unwrap()
    };
    let wanted = length - site.certificate.len() - 2 * AROUND;
    let around = filler(1000).der().len() - 1000;
    let filler = filler(wanted - around);
    assert_eq!(filler.der().len(), wanted);
    let own = fs::read_to_string(site.cert()).unwrap();
    fs::write(site.cert(), own + &filler.pem()).unwrap();
}

#[test]
fn a_chain_that_is_too_long_is_not_sent() {
    for (length, sent) in [(MAX_CHAIN - 1, true), (MAX_CHAIN, true), (MAX_CHAIN + 1, false)] {
        let site = Site::new();
        lengthen(&site, length);
        let why = format!("its chain has {length} bytes, and no more than {MAX_CHAIN} are sent");
        let check = Wrapper::respawn(&site).option("--check").command(&[], &["/bin/false"]).output().unwrap();
        assert_eq!(String::from_utf8(check.stdout).unwrap().contains(&why), !sent);
        for version in [&TLS12, &TLS13] {
            let mut session = Wrapper::respawn(&site).start();
            let _plaintext_server = session.opening();
            if sent {
                session.starttls(&Client::new(&site).versions(&[version]));
                assert_eq!(session.client.tls().peer_certificates().unwrap().len(), 2);
            } else {
                session.client.says("STARTTLS\r\n");
                session.client.hears(NOT_AVAILABLE);
                session.wrapper.log.line_with(&why);
            }
        }
        let server = tcpserver(&Wrapper::respawn(&site), &[&path_of("python3"), "-ISc", GREETER, "smtp"]);
        let mut command = program("openssl");
        command.args(["s_client", "-starttls", "smtp", "-connect", &format!("127.0.0.1:{}", server.port)]);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).contains("Cipher is TLS_"), sent);
    }
}
