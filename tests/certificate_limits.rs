//! How much of certificates travels in a handshake: at the limit, and beyond it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair};
use starttls_wrapper::tls::MAX_AUTHORITY_NAMES;
use support::certificates::{Dir, Site};
use support::program::{path_of, program};
use support::servers::{GREETER, tcpserver};
use support::tls::{Client, TLS12, TLS13};
use support::wrapper::Wrapper;

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
            let mut command = program("openssl");
            command.args(["s_client", "-starttls", "smtp", version, "-connect", &format!("127.0.0.1:{}", server.port)]);
            let output = command.stdin(Stdio::null()).output().unwrap();
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
