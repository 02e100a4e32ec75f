//! Keys and certificates in every form that administrators have them, and what happens where they are wrong.

#![allow(clippy::expect_used, reason = "a test that fails panics")]

mod support;

use std::fs;
use std::path::Path;

use rcgen::{
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, PKCS_RSA_SHA256,
    SignatureAlgorithm,
};
use support::certificates::Site;
use support::proc;
use support::tls::{Client, TLS12, TLS13};
use support::wrapper::{GO_AHEAD, NOT_AVAILABLE, Wrapper};

/// The object identifier of Ed25519 keys in DER (RFC 8410 section 3).
const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];

/// The wrapper shakes hands with this key and certificate, in both versions of TLS.
#[track_caller]
fn serves(site: &Site, key: &Path, certificate: &Path) {
    let is_ed25519 = memchr::memmem::find(site.key.secret_der(), ED25519).is_some();
    // graviola has no Ed25519 in TLS 1.2.
    let versions = if cfg!(feature = "graviola") && is_ed25519 { &[&TLS13][..] } else { &[&TLS12, &TLS13] };
    for version in versions {
        let mut session = Wrapper::respawn(site).env("KEYFILE", key).env("CERTFILE", certificate).start();
        let _plaintext_server = session.opening();
        session.starttls(&Client::new(site).versions(&[version]));
        session.fresh_server().says("250 so\r\n");
    }
}

/// The key as rcgen has it (PKCS#8), and as openssl writes it.
#[track_caller]
fn serves_all_forms(algorithm: &'static SignatureAlgorithm, forms: &[&[&str]]) {
    let site = Site::with_key(algorithm);
    serves(&site, &site.key(), &site.cert());
    for form in forms {
        serves(&site, &site.key_by_openssl(form), &site.cert());
    }
}

#[test]
fn p_256_in_pkcs8_sec1_and_der() {
    let forms = [&["ec"][..], &["ec", "-outform", "DER"], &["pkey", "-outform", "DER"]];
    serves_all_forms(&PKCS_ECDSA_P256_SHA256, &forms);
}

#[test]
fn p_384() {
    serves_all_forms(&PKCS_ECDSA_P384_SHA384, &[]);
}

#[test]
fn p_521_where_the_library_takes_it() {
    let site = Site::with_key(&PKCS_ECDSA_P521_SHA512);
    for key in [site.key(), site.key_by_openssl(&["ec"])] {
        if cfg!(feature = "graviola") {
            let kind = "an EC key on P-521 (a build with aws-lc takes it)";
            let why = format!("use key {}: line 1: {kind} is not supported: take a key of P-256", key.display());
            is_not_available(&site, &key, &why);
        } else {
            serves(&site, &key, &site.cert());
        }
    }
}

#[test]
fn ed25519_in_both_versions_of_pkcs8_and_der() {
    serves_all_forms(&PKCS_ED25519, &[]);
    let site = Site::with_key_of_openssl(&["genpkey", "-algorithm", "ed25519"]);
    serves(&site, &site.key(), &site.cert());
    serves(&site, &site.key_by_openssl(&["pkey", "-outform", "DER"]), &site.cert());
}

#[test]
fn rsa_in_pkcs8_pkcs1_and_der() {
    let forms =
        [&["rsa", "-traditional"][..], &["rsa", "-traditional", "-outform", "DER"], &["pkey", "-outform", "DER"]];
    serves_all_forms(&PKCS_RSA_SHA256, &forms);
}

#[test]
fn a_certificate_in_der() {
    let site = Site::new();
    serves(&site, &site.key(), &site.cert_by_openssl(&["x509", "-outform", "DER"]));
}

#[test]
fn a_chain_in_one_file() {
    let site = Site::chained();
    serves(&site, &site.key(), &site.cert());
}

#[test]
fn key_chain_and_parameters_in_one_file_between_words() {
    let site = Site::chained();
    let parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    let key = fs::read_to_string(site.key_by_openssl(&["ec"])).unwrap();
    let certificates = fs::read_to_string(site.cert()).unwrap();
    let both = site.dir.file("both.pem");
    fs::write(&both, format!("the mail server's\n{parameters}{key}and its certificate\n{certificates}")).unwrap();
    serves(&site, &both, &both);
}

#[test]
fn without_a_readable_key_plaintext_works_and_nothing_is_offered() {
    let site = Site::new();
    for (name, what) in [("KEYFILE", "key"), ("CERTFILE", "certificate")] {
        let mut session = Wrapper::respawn(&site).env(name, "/nonexistent/file").start();
        let mut server = session.server();
        server.says("220 mx.example ESMTP\r\n");
        session.client.hears("220 mx.example ESMTP\r\n");
        session.client.says("EHLO laptop\r\n");
        server.hears("EHLO laptop\r\n");
        server.says("250-mx.example\r\n250 STARTTLS\r\n");
        session.client.hears("250 mx.example\r\n");
        session.client.says("STARTTLS\r\n");
        session.client.hears(NOT_AVAILABLE);
        session.client.says("MAIL FROM:<a@b>\r\n");
        server.hears("MAIL FROM:<a@b>\r\n");
        drop(server);
        session.client.hears_end();
        let log = session.end().log;
        let warning = format!("starttls-wrapper: warning: unable to open {what} /nonexistent/file: no such file");
        assert!(log.starts_with(&warning), "{log}");
    }
}

#[test]
fn without_a_readable_key_require_tls_is_fatal() {
    let site = Site::new();
    let session = Wrapper::respawn(&site).option("-r").env("KEYFILE", "/nonexistent/file").start();
    let end = session.end();
    assert_eq!(end.status, 96);
    let fatal = "starttls-wrapper: fatal: unable to open key /nonexistent/file: no such file or directory\n";
    assert_eq!(end.log, fatal);
}

/// STARTTLS with this key is not available, the session goes on, and the log says why.
#[track_caller]
fn is_not_available(site: &Site, key: &Path, why: &str) {
    let mut session = Wrapper::respawn(site).env("KEYFILE", key).start();
    let mut server = session.opening();
    session.client.says("STARTTLS\r\n");
    session.client.hears(NOT_AVAILABLE);
    session.client.says("NOOP\r\n");
    server.hears("NOOP\r\n");
    drop(server);
    let log = session.end().log;
    assert!(log.contains(&format!("warning: unable to {why}")), "{log}");
}

#[test]
fn the_key_of_another_certificate_is_not_used() {
    let (site, other) = (Site::new(), Site::new());
    let why = format!("use key {}: it does not belong to the certificate", other.key().display());
    is_not_available(&site, &other.key(), &why);
}

#[test]
fn a_file_without_a_key_is_none() {
    let site = Site::new();
    is_not_available(&site, &site.cert(), "read key");
    let garbage = site.dir.file("garbage");
    fs::write(&garbage, "no key at all").unwrap();
    is_not_available(&site, &garbage, "read key");
}

/// The key is in the keeper's memory as its signatures need it, and no longer as it was read.
#[track_caller]
fn is_wiped(site: &Site, key: &Path, certificate: &Path, wanted: &[&[u8]]) {
    let mut session = Wrapper::respawn(site).env("KEYFILE", key).env("CERTFILE", certificate).start();
    let _plaintext_server = session.opening();
    session.client.says("STARTTLS\r\n");
    // The key has been read.
    session.client.hears(GO_AHEAD);
    for bytes in wanted {
        assert!(!proc::memory_holds(session.wrapper.pid(), bytes), "{}", bytes.escape_ascii());
    }
    Client::new(site).shake(&mut session.client).expect("the key is the right one");
}

#[test]
fn what_a_key_was_read_from_is_wiped() {
    let (p_256, rsa) = (Site::new(), Site::with_key(&PKCS_RSA_SHA256));
    // A number that the engine turns round, so that only what was read has it so.
    let secret = p_256.secret();
    is_wiped(&p_256, &p_256.key_by_openssl(&["pkey", "-outform", "DER"]), &p_256.cert(), &[&secret]);
    for (site, form, secret) in
        [(&p_256, "pkey", &secret[..]), (&p_256, "ec", &secret), (&rsa, "pkey", &rsa.key.secret_der()[600..632])]
    {
        let file = site.key_by_openssl(&[form]);
        let key = fs::read_to_string(&file).unwrap();
        // Not the line's beginning, where what is freed is written over.
        let text = &key.lines().nth(1).unwrap().as_bytes()[32..];
        let both = site.dir.file("both.pem");
        fs::write(&both, fs::read_to_string(site.cert()).unwrap() + &key).unwrap();
        is_wiped(site, &file, &site.cert(), &[text, secret]);
        is_wiped(site, &both, &both, &[text, secret]);
    }
}
