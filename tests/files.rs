//! Files of keys, certificates and anchors as they are found in the field: what is read, and what is refused with a reason.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rcgen::PKCS_RSA_SHA256;
use starttls_wrapper::keys::MAX_FILE;
use support::backend::Backend;
use support::certificates::{Dir, Site, keep};
use support::clients::s_client_by_starttls;
use support::der::version_1;
use support::program::{path_of, program};
use support::servers::{GREETER, tcpserver};
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
    for option in ["-r", "--implicit"] {
        assert_eq!(Wrapper::respawn(&site).env("KEYFILE", &fifo).option(option).start().end().status, 96);
    }
    let line = format!("unable to open trust anchors {}: it is a named pipe, not a file", fifo.display());
    is_not_available(&|| Wrapper::respawn(&site).option("-Y").env("CAFILE", &fifo), &line);
    let backend = Backend::new();
    is_not_available(&|| Wrapper::backend(&site, backend.port()).option("--backend-ca").option(&fifo), &line);
    let by_system = || Wrapper::bare(&["localhost", &backend.port().to_string()]).site(&site);
    is_not_available(&|| by_system().env("SSL_CERT_FILE", &fifo), &line);
    let hashed = Dir::new();
    symlink(&fifo, hashed.file("2e5ac55d.0")).unwrap();
    is_not_available(&|| Wrapper::respawn(&site).option("-Y").env("CADIR", hashed.path()), "it is a named pipe");
    for own in [[&site.cert(), &fifo], [&fifo, &site.key()]] {
        let wrapper = || Wrapper::backend(&site, backend.port()).option("--backend-cert").option(own[0]);
        is_not_available(&|| wrapper().option("--backend-key").option(own[1]), "it is a named pipe");
    }
}

/// The administrator has the system's, but something in the environment leads elsewhere.
#[test]
fn a_variable_that_leads_to_no_anchors_is_named() {
    let (site, backend) = (Site::new(), Backend::new());
    let missing = site.dir.file("missing");
    let by_system = || Wrapper::bare(&["localhost", &backend.port().to_string()]).site(&site);
    for (directories, and) in [("", ""), ("/nonexistent", " and SSL_CERT_DIR is /nonexistent")] {
        let by_variables = || by_system().env("SSL_CERT_FILE", &missing).env("SSL_CERT_DIR", directories);
        let found = format!("SSL_CERT_FILE is {}{and}, where there are none", missing.display());
        is_not_available(&by_variables, &format!("unable to find trust anchors: {found}"));
    }
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

/// The ways in which two blocks, or more, come to be in one file; all are there.
fn quirks(text: &str) -> Vec<(&'static str, String)> {
    let glued = text.replace("-----\n-----", "----------");
    let words = "subject=CN = a\nBag Attributes\n    friendlyName: a -- b\n# the end: BEGIN of nothing\n";
    let others = "-----BEGIN X509 CRL-----\nAAEC\n-----END X509 CRL-----\n-----BEGIN DH PARAMETERS-----\nMAYCAQcCAQU=\n-----END DH PARAMETERS-----\n";
    vec![
        ("glued together", glued),
        ("without a last newline", text.trim_end().into()),
        ("behind a byte order mark", format!("\u{feff}{text}")),
        ("with one before each", text.replace("-----BEGIN", "\u{feff}-----BEGIN")),
        ("in lines of Windows", text.replace('\n', "\r\n")),
        ("in lines of an old Mac", text.replace('\n', "\r")),
        ("with blanks behind the lines", text.replace('\n', " \t\n")),
        ("indented", text.replace('\n', "\n    ")),
        (
            "in one line each",
            text.replace("-----\n", "----- ").replace('\n', " ").replace("----- -----", "-----\n-----"),
        ),
        ("between words", format!("{words}{}{words}", text.replace("-----BEGIN", &format!("{words}-----BEGIN")))),
        ("between blocks of other kinds", format!("{others}{text}{others}")),
        ("twice", format!("{text}{text}")),
        ("under the old name", text.replace(" CERTIFICATE-", " X509 CERTIFICATE-")),
    ]
}

#[test]
fn a_chain_is_read_however_it_stands() {
    let site = Site::chained();
    for (how, text) in quirks(&fs::read_to_string(site.cert()).unwrap()) {
        println!("{how}");
        fs::write(site.cert(), text).unwrap();
        let mut session = Wrapper::respawn(&site).start();
        let _plaintext_server = session.opening();
        session.starttls(&Client::new(&site));
        assert_eq!(session.client.tls().peer_certificates().unwrap().len(), 2, "{how}");
    }
}

#[test]
fn a_key_is_read_however_it_stands() {
    for (site, form) in [(Site::new(), &["ec"][..]), (Site::with_key(&PKCS_RSA_SHA256), &["rsa", "-traditional"])] {
        for key in [site.key(), site.key_by_openssl(form)] {
            for (how, text) in quirks(&fs::read_to_string(key).unwrap()) {
                println!("{how}");
                fs::write(site.key(), text).unwrap();
                serves(&site, &site.key(), &site.cert());
            }
        }
    }
}

/// Programs that write keys take one label for another, and OpenSSL does not mind.
#[test]
fn a_key_is_what_its_block_holds_whatever_the_label_says() {
    for (site, form) in [(Site::new(), &["ec"][..]), (Site::with_key(&PKCS_RSA_SHA256), &["rsa", "-traditional"])] {
        for key in [site.key(), site.key_by_openssl(form)] {
            let text = fs::read_to_string(key).unwrap();
            for label in ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"] {
                println!("{label}");
                let bare = text.replace("RSA PRIVATE", "PRIVATE").replace("EC PRIVATE", "PRIVATE");
                fs::write(site.key(), bare.replace("PRIVATE KEY", label)).unwrap();
                serves(&site, &site.key(), &site.cert());
            }
        }
    }
}

#[test]
fn anchors_are_read_however_they_stand() {
    let (site, good, other) = (Site::new(), Site::new(), Site::chained());
    let text = fs::read_to_string(other.cert()).unwrap() + &fs::read_to_string(site.ca()).unwrap();
    for (how, text) in quirks(&text) {
        println!("{how}");
        fs::write(site.ca(), text).unwrap();
        let mut session = Wrapper::respawn(&site).option("-y").env("CAFILE", site.ca()).start();
        let _plaintext_server = session.opening();
        session.starttls(&Client::new(&site).showing(&good));
        session.fresh_server();
        let backend = Backend::new();
        let mut session = Wrapper::backend(&site, backend.port()).start();
        let _plaintext_server = session.opening();
        session.starttls_to(&backend, &good);
    }
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
        (chain.replacen("MII", "AII", 1), 1, "it is no certificate"),
        (chain.replace("CERTIFICATE", "CERTFICATE"), 1, "CERTFICATE is no block of a known kind"),
        (chain.replace("CERTIFICATE", "TRUSTED CERTIFICATE"), 1, "a TRUSTED CERTIFICATE of OpenSSL's own form"),
        (chain.replace("CERTIFICATE", "PKCS7"), 1, "PKCS#7: write it as CERTIFICATE, by openssl pkcs7 -print_certs"),
    ] {
        fs::write(&file, text).unwrap();
        let line = format!("unable to read certificate {}: line {line}: {why}", file.display());
        is_not_available(&|| Wrapper::respawn(&site).env("CERTFILE", &file), &line);
        let line = line.replace("certificate ", "trust anchors ");
        let backend = Backend::new();
        let by_backend = || Wrapper::backend(&site, backend.port()).option("--backend-ca").option(&file);
        is_not_available(&by_backend, line.split(" of OpenSSL").next().unwrap());
        let authorities = || Wrapper::respawn(&site).option("-Y").env("CAFILE", &file);
        is_not_available(&authorities, line.split(" of OpenSSL").next().unwrap());
    }
    fs::write(&file, [0xff, 0xfe, b'-', 0]).unwrap();
    is_not_available(
        &|| Wrapper::respawn(&site).env("CERTFILE", &file),
        &format!("unable to read certificate {}: it is UTF-16: save it as plain text", file.display()),
    );
    let key = fs::read_to_string(site.key()).unwrap();
    let next = key.lines().count() + 1;
    for (text, why) in [
        (format!("{key}{}", &key[..key.len() / 2]), format!("line {next}: the block has no end")),
        (
            format!("{key}{}", key.replace("-----BEGIN PRIVATE KEY-----\n", "")),
            format!("line {}: a marker", 2 * next - 3),
        ),
        (
            format!("{key}{}", key.replace("PRIVATE KEY", "PRIVATE-KEY")),
            format!("line {next}: PRIVATE-KEY is no block"),
        ),
        (format!("{key}{}", key.replace("MI", "M*")), format!("line {next}: the block cannot be read")),
        (
            format!("{key}-----BEGIN PRIVATE KEY-----\nAAEC\n-----END PRIVATE KEY-----\n"),
            format!("line {next}: it is damaged"),
        ),
    ] {
        fs::write(&file, text).unwrap();
        is_not_available(&|| Wrapper::respawn(&site).env("KEYFILE", &file), &why);
    }
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
        &["pkcs8", "-topk8", "-v1", "PBE-SHA1-3DES", "-in", key, "-passout", "pass:x", "-outform", "DER"],
    ] {
        let file = openssl(&site, "encrypted", arguments);
        let line = format!("unable to use key {}: it is encrypted: write it without a passphrase", file.display());
        is_not_available(&|| Wrapper::respawn(&site).env("KEYFILE", &file), &line);
        // Under a plain label, too.
        let text = fs::read(&file).unwrap();
        if let Ok(text) = String::from_utf8(text) {
            fs::write(&file, text.replace("ENCRYPTED PRIVATE", "PRIVATE")).unwrap();
            is_not_available(&|| Wrapper::respawn(&site).env("KEYFILE", &file), &line);
        }
    }
}

#[test]
fn a_kind_of_key_that_is_not_supported_is_named() {
    let site = Site::new();
    for (arguments, kind) in [
        (&["genpkey", "-algorithm", "ED448"][..], "line 1: an Ed448 key"),
        (&["genpkey", "-algorithm", "X25519"], "line 1: an X25519 key (it signs nothing)"),
        (&["genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048"], "line 1: an RSA-PSS key"),
        (&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"], "line 1: an RSA key of 1024 bits"),
        (&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"], "line 1: an EC key on secp256k1"),
        (&["ecparam", "-name", "secp256k1", "-genkey", "-noout"], "line 1: an EC key on secp256k1"),
        (&["ecparam", "-name", "secp224r1", "-genkey", "-noout"], "line 1: an EC key on P-224"),
        (&["ecparam", "-name", "brainpoolP256r1", "-genkey"], "line 4: an EC key on brainpoolP256r1"),
        (&["ecparam", "-name", "sect233k1", "-genkey", "-noout"], "line 1: an EC key on the curve 1.3.132.0.26"),
        (
            &["ecparam", "-name", "secp256k1", "-genkey", "-noout", "-param_enc", "explicit"],
            "line 1: an EC key that has parameters in place of its curve's name (openssl ec -param_enc named_curve)",
        ),
    ] {
        let file = openssl(&site, "unsupported", arguments);
        let line = format!("unable to use key {}: {kind} is not supported: take ", file.display());
        is_not_available(&|| Wrapper::respawn(&site).env("KEYFILE", &file), &line);
    }
    for label in ["OPENSSH", "TSS2", "DSA"] {
        let file = site.dir.file("other");
        fs::write(&file, format!("-----BEGIN {label} PRIVATE KEY-----\nAAEC\n-----END {label} PRIVATE KEY-----\n"))
            .unwrap();
        let line =
            format!("unable to use key {}: line 1: {label} PRIVATE KEY is no form that TLS knows", file.display());
        is_not_available(&|| Wrapper::respawn(&site).env("KEYFILE", &file), &line);
    }
}

#[test]
fn a_container_is_not_taken_for_what_is_in_it() {
    let site = Site::new();
    let (key, cert) = (site.key(), site.cert());
    let (key, cert) = (key.to_str().unwrap(), cert.to_str().unwrap());
    let twelve = openssl(&site, "12", &["pkcs12", "-export", "-inkey", key, "-in", cert, "-passout", "pass:"]);
    let seven = openssl(&site, "7", &["crl2pkcs7", "-nocrl", "-certfile", cert, "-outform", "DER"]);
    let two = site.dir.file("two.der");
    fs::write(&two, [&site.certificate[..], &site.certificate].concat()).unwrap();
    for (variable, file, why) in [
        ("KEYFILE", &twelve, "PKCS#12: write it as PEM, by openssl pkcs12 -nodes"),
        ("CERTFILE", &twelve, "PKCS#12: write it as PEM, by openssl pkcs12 -nodes"),
        ("CERTFILE", &seven, "PKCS#7: write it as CERTIFICATE, by openssl pkcs7 -print_certs"),
        ("CERTFILE", &two, "no certificate in it, neither PEM nor DER"),
    ] {
        is_not_available(&|| Wrapper::respawn(&site).env(variable, file), why);
    }
}

/// One whose mode may change.
fn copy_of_key(site: &Site) -> PathBuf {
    let copy = site.dir.file("open.pem");
    fs::copy(site.key(), &copy).unwrap();
    keep(&copy);
    copy
}

#[test]
fn a_key_for_everybody_is_a_warning() {
    let site = Site::new();
    let open = copy_of_key(&site);
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

/// Where TLS begins at once the key is read before the client's first word, and a health check says none.
#[test]
fn a_key_for_everybody_is_told_to_who_asks_for_tls_and_to_no_health_check() {
    let site = Site::new();
    let open = copy_of_key(&site);
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    let wrapper = || Wrapper::bare(&[]).option("--implicit").site(&site).env("KEYFILE", &open);
    let mut session = wrapper().start();
    session.vanish();
    let ended = session.end();
    assert_eq!((ended.status, ended.log.as_str()), (0, ""));

    let mut session = wrapper().start();
    Client::new(&site).shake(&mut session.client).expect("the wrapper shakes hands");
    session.fresh_server();
    let log = session.end().log;
    assert_eq!(log.matches("everybody on this machine may read key").count(), 1, "{log}");

    let mut session = wrapper().env("CERTFILE", "/nonexistent").start();
    session.vanish();
    assert_eq!(session.end().status, 96, "what is missing is heard of");
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

#[test]
fn a_key_and_a_chain_that_do_not_fit_are_told_how() {
    let (site, chained, rsa) = (Site::new(), Site::chained(), Site::with_key(&PKCS_RSA_SHA256));
    let text = |path: PathBuf| fs::read_to_string(path).unwrap();
    let file = site.dir.file("file.pem");
    let with = |key: &Path, chain: &Path| Wrapper::respawn(&site).env("KEYFILE", key).env("CERTFILE", chain);

    let chain = text(chained.cert());
    let (leaf, above) = chain.split_at(chain.rfind("-----BEGIN").unwrap());
    fs::write(&file, format!("{above}{leaf}")).unwrap();
    let line = above.lines().count() + 1;
    let why =
        format!("unable to use certificate {}: line {line}: the key's own certificate stands behind", file.display());
    is_not_available(&|| with(&chained.key(), &file), &why);
    is_not_available(&|| with(&site.key(), &chained.cert()), "it does not belong to the certificate");

    let key = text(site.key());
    fs::write(&file, key.clone() + &text(rsa.key())).unwrap();
    keep(&file);
    let line = key.lines().count() + 1;
    let why = format!("unable to use key {}: line {line}: there is no certificate for it", file.display());
    is_not_available(&|| with(&file, &site.cert()), &why);
    // The same key in two forms is one.
    fs::write(&file, key + &text(site.key_by_openssl(&["ec"]))).unwrap();
    serves(&site, &file, &site.cert());
}

/// Who judges a certificate is the client. None could verify these, and openssl is not asked to.
#[test]
fn a_certificate_is_served_whatever_is_in_it() {
    let (site, odd) = (Site::new(), Site::new());
    let file = site.dir.file("v1.der");
    fs::write(&file, version_1(&odd.certificate)).unwrap();
    let small = openssl(&site, "small.pem", &["ec", "-in", site.key().to_str().unwrap(), "-conv_form", "compressed"]);
    let of_small = ["req", "-x509", "-key", small.to_str().unwrap(), "-subj", "/CN=a"];
    let of_small = openssl(&site, "small.crt", &of_small);
    for (key, certificate) in [(odd.key(), &file), (site.key(), &of_small), (small, &of_small)] {
        let wrapper = || Wrapper::respawn(&site).env("KEYFILE", &key).env("CERTFILE", certificate);
        let check = wrapper().option("--check").command(&[], &["/bin/false"]).output().unwrap();
        let told = String::from_utf8(check.stdout).unwrap();
        if cfg!(feature = "graviola") && key.ends_with("small.pem") {
            assert!(told.contains(": line 1: an EC key with a compressed point "), "{told}");
            continue;
        }
        assert!(told.contains("\nok: key /"), "{certificate:?}: {told}");
        let server = tcpserver(&wrapper(), &[&path_of("python3"), "-ISc", GREETER, "smtp"]);
        for version in ["-tls1_2", "-tls1_3"] {
            let output = s_client_by_starttls(server.port, &[version]).stdin(Stdio::null()).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(text.contains("Cipher is ") && !text.contains("Cipher is (NONE)"), "{certificate:?}: {text}");
        }
    }
}
