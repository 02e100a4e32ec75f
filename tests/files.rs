//! Files of keys, certificates and anchors as they are found in the field: what is read, and what is refused with a reason.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use starttls_wrapper::keys::MAX_FILE;
use support::backend::Backend;
use support::certificates::{Site, keep};
use support::program::program;
use support::tls::Client;
use support::wrapper::{NOT_AVAILABLE, Wrapper};

/// The wrapper is started with this in the environment, says this line, and the session goes on in plaintext without an
/// offer.
#[track_caller]
fn offers_nothing(site: &Site, name: &str, value: &Path, line: &str) {
    let mut session = Wrapper::respawn(site).env(name, value).start();
    let mut server = session.server();
    server.says("220 mx.example ESMTP\r\n");
    session.client.hears("220 mx.example ESMTP\r\n");
    session.client.says("EHLO laptop\r\n");
    server.hears("EHLO laptop\r\n");
    server.says("250-mx.example\r\n250 HELP\r\n");
    session.client.hears("250-mx.example\r\n250 HELP\r\n");
    drop(server);
    let log = session.end().log;
    assert!(log.contains(line), "{log}");
}

/// STARTTLS is offered and then not available, the log says why, and --check as well.
#[track_caller]
fn is_not_available(wrapper: &dyn Fn() -> Wrapper, line: &str) {
    let mut session = wrapper().start();
    let server = session.opening();
    session.client.says("STARTTLS\r\n");
    session.client.hears(NOT_AVAILABLE);
    drop(server);
    let log = session.end().log;
    assert!(log.contains(line), "{log}");
    let prog = ["/bin/sh", "-c", "echo 220 mx; while read line; do echo 250 mx; done"];
    let check = wrapper().option("--check").command(&[], &prog).output().unwrap();
    assert_eq!(check.status.code(), Some(96));
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(said.contains(line), "{said}");
}

/// The client verifies the whole chain.
#[track_caller]
fn serves(site: &Site, key: &Path, certificate: &Path) {
    let mut session = Wrapper::respawn(site).env("KEYFILE", key).env("CERTFILE", certificate).start();
    let _plaintext_server = session.opening();
    session.starttls(&Client::new(site));
    session.fresh_server();
}

fn openssl(site: &Site, name: &str, arguments: &[&str]) -> PathBuf {
    let file = site.dir.file(name);
    let status = program("openssl").args(arguments).arg("-out").arg(&file).stderr(Stdio::null()).status();
    assert!(status.unwrap().success(), "openssl {arguments:?} works");
    keep(&file);
    file
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let site = Site::new();
    let fifo = site.dir.file("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let socket = site.dir.file("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    for (variable, what) in [("KEYFILE", "key"), ("CERTFILE", "certificate")] {
        for (path, kind) in [
            (&*fifo, "a named pipe"),
            (&*socket, "a socket"),
            (Path::new("/dev/zero"), "a device"),
            (site.dir.path(), "a directory"),
        ] {
            let line = format!("unable to open {what} {}: it is {kind}, not a file", path.display());
            offers_nothing(&site, variable, path, &line);
        }
    }
    let line = format!("unable to open trust anchors {}: it is a named pipe, not a file", fifo.display());
    is_not_available(&|| Wrapper::respawn(&site).option("-Y").env("CAFILE", &fifo), &line);
    let backend = Backend::new();
    is_not_available(&|| Wrapper::backend(&site, backend.port()).option("--backend-ca").option(&fifo), &line);
}

#[test]
fn a_file_may_be_as_long_as_the_limit_and_no_longer() {
    let site = Site::new();
    let key = fs::read_to_string(site.key()).unwrap();
    for (length, fits) in [(MAX_FILE - 1, true), (MAX_FILE, true), (MAX_FILE + 1, false)] {
        let long = site.dir.file("long.pem");
        fs::write(&long, format!("{key}{}", "\n".repeat(length - key.len()))).unwrap();
        keep(&long);
        if fits {
            serves(&site, &long, &site.cert());
        } else {
            let line = format!("unable to read key {}: it has more than 4 MiB", long.display());
            offers_nothing(&site, "KEYFILE", &long, &line);
        }
    }
}

#[test]
fn blocks_are_read_however_they_stand() {
    let site = Site::chained();
    let (key, chain) = (fs::read_to_string(site.key()).unwrap(), fs::read_to_string(site.cert()).unwrap());
    let glued = |text: &str| text.replace("-----\n-----BEGIN", "----------BEGIN");
    let both = site.dir.file("both.pem");
    for text in [
        glued(&format!("{}{key}", chain.trim_end())),
        format!("\u{feff}{key}{chain}"),
        format!("the key:\n{key}the chain:\n{chain}that is all"),
        format!("{key}{chain}").replace('\n', "\r\n"),
        format!("{key}{chain}").replace('\n', "\r"),
        format!("{key}{chain}").replace('\n', "  \n\t"),
        format!("{key}{chain}").replace("CERTIFICATE", "X509 CERTIFICATE"),
    ] {
        fs::write(&both, &text).unwrap();
        keep(&both);
        serves(&site, &both, &both);
    }
}

#[test]
fn anchors_are_read_however_they_stand() {
    let (site, other) = (Site::new(), Site::new());
    let glued = site.dir.file("anchors.pem");
    let anchor = |site: &Site| fs::read_to_string(site.ca()).unwrap();
    fs::write(&glued, format!("{}{}", fs::read_to_string(other.cert()).unwrap().trim_end(), anchor(&site))).unwrap();
    let mut session = Wrapper::respawn(&site).option("-y").env("CAFILE", &glued).start();
    let _plaintext_server = session.opening();
    session.starttls(&Client::new(&site).showing(&site));
    session.fresh_server();
}

#[test]
fn what_cannot_be_read_is_refused_by_its_line_and_not_left_out() {
    let site = Site::chained();
    let chain = fs::read_to_string(site.cert()).unwrap();
    let first = chain.matches('\n').count() / 2;
    let second = chain.rfind("-----BEGIN").unwrap();
    let file = site.dir.file("damaged.pem");
    for (text, line, why) in [
        (chain.trim_end().trim_end_matches('-').to_owned(), first + 1, "the block has no end"),
        (chain.replacen("-----END CERTIFICATE-----\n", "", 1), 1, "the block has no end"),
        (format!("{}{}", &chain[..second], &chain[second + 1..]), first + 1, "a marker is damaged"),
        (chain.replace("MII", "M*I"), 1, "the block cannot be read: its base64 is damaged"),
        (chain.replace("CERTIFICATE", "TRUSTED CERTIFICATE"), 1, "a TRUSTED CERTIFICATE of OpenSSL's own form"),
        (chain.replace("CERTIFICATE", "PKCS7"), 1, "PKCS#7: write it as CERTIFICATE, by openssl pkcs7 -print_certs"),
    ] {
        fs::write(&file, text).unwrap();
        let line = format!("unable to read certificate {}: line {line}: {why}", file.display());
        is_not_available(&|| Wrapper::respawn(&site).env("CERTFILE", &file), &line);
        let line = line.replace("certificate ", "trust anchors ");
        let authorities = || Wrapper::respawn(&site).option("-Y").env("CAFILE", &file);
        is_not_available(&authorities, line.split(" of OpenSSL").next().unwrap());
    }
    fs::write(&file, [0xff, 0xfe, b'-', 0]).unwrap();
    is_not_available(
        &|| Wrapper::respawn(&site).env("CERTFILE", &file),
        &format!("unable to read certificate {}: it is UTF-16: save it as plain text", file.display()),
    );
}

#[test]
fn an_encrypted_key_is_called_so() {
    let site = Site::new();
    let key = site.key();
    let key = key.to_str().unwrap();
    for arguments in [
        &["ec", "-in", key, "-aes128", "-passout", "pass:x"][..],
        &["pkcs8", "-topk8", "-in", key, "-passout", "pass:x"],
        &["pkcs8", "-topk8", "-in", key, "-passout", "pass:x", "-outform", "DER"],
        &["pkcs8", "-topk8", "-v1", "PBE-SHA1-3DES", "-in", key, "-passout", "pass:x"],
    ] {
        let file = openssl(&site, "encrypted", arguments);
        let line = format!("unable to use key {}: it is encrypted: write it without a passphrase", file.display());
        is_not_available(&|| Wrapper::respawn(&site).env("KEYFILE", &file), &line);
    }
}

#[test]
fn a_kind_of_key_that_is_not_supported_is_named() {
    let site = Site::new();
    for (arguments, kind) in [
        (&["genpkey", "-algorithm", "ED448"][..], "Ed448"),
        (&["genpkey", "-algorithm", "X25519"], "X25519, which signs nothing,"),
        (&["genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"], "a key for RSA-PSS alone"),
        (&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"], "RSA below 2048 bits"),
        (&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"], "the curve secp256k1"),
        (&["ecparam", "-name", "secp256k1", "-genkey", "-noout"], "the curve secp256k1"),
        (&["ecparam", "-name", "secp224r1", "-genkey", "-noout"], "the curve P-224"),
        (&["ecparam", "-name", "brainpoolP256r1", "-genkey"], "a Brainpool curve"),
    ] {
        let file = openssl(&site, "unsupported", arguments);
        let line = format!("unable to use key {}: {kind} is not supported: take ", file.display());
        is_not_available(&|| Wrapper::respawn(&site).env("KEYFILE", &file), &line);
    }
    let file = site.dir.file("openssh");
    fs::write(&file, "-----BEGIN OPENSSH PRIVATE KEY-----\nAAEC\n-----END OPENSSH PRIVATE KEY-----\n").unwrap();
    let line = format!("unable to use key {}: line 1: OPENSSH PRIVATE KEY is no form that TLS knows", file.display());
    is_not_available(&|| Wrapper::respawn(&site).env("KEYFILE", &file), &line);
}

#[test]
fn a_key_for_everybody_is_a_warning() {
    let site = Site::new();
    let open = site.dir.file("open.pem");
    fs::copy(site.key(), &open).unwrap();
    keep(&open);
    for (mode, warned) in [(0o644, true), (0o640, false)] {
        fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
        let mut session = Wrapper::respawn(&site).env("KEYFILE", &open).start();
        let _plaintext_server = session.opening();
        session.starttls(&Client::new(&site));
        session.fresh_server();
        let log = session.end().log;
        let warning = format!("warning: everybody on this machine may read key {0}: chmod o-r {0}", open.display());
        assert_eq!(log.contains(&warning), warned, "{mode:o}: {log}");
    }
}

/// A name is looked for when a client asks for it: what is wrong with it is nobody else's affair.
#[test]
fn names_that_nobody_asks_for_are_not_opened() {
    let site = Site::new();
    let fifo = site.dir.file("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let wrapper = || {
        let wrapper = Wrapper::respawn(&site).env("KEYFILE:localhost", &fifo).env("CERTFILE:localhost", &fifo);
        (0..1000).fold(wrapper, |wrapper, number| {
            let name = format!("host{number}.example");
            wrapper.env(&format!("KEYFILE:{name}"), "/nonexistent").env(&format!("CERTFILE:{name}"), "/nonexistent")
        })
    };
    let mut session = wrapper().start();
    drop(session.opening());
    let log = session.end().log;
    assert!(!log.contains("warning"), "{log}");

    let mut session = wrapper().start();
    let _plaintext_server = session.opening();
    session.starttls(&Client::new(&site));
    session.fresh_server();
    let log = session.end().log;
    let line = format!("warning: unable to open key {}: it is a named pipe, not a file", fifo.display());
    assert!(log.contains(&line), "the default identity is shown, and why: {log}");
}
