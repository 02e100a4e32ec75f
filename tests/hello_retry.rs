//! A client whose first key share nobody here can use is asked for another (HelloRetryRequest, RFC 8446 section 4.1.4),
//! whatever it speaks and however TLS begins; and so is this program by a backend.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;

use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use starttls_protocols::PROTOCOLS;
use support::backend::Backend;
use support::certificates::{Dir, Site};
use support::clients::s_client_with;
use support::mail_servers::posttls_finger;
use support::peer::Peer;
use support::program::{path_of, program};
use support::servers::{GREETER, Listening, tcpserver};
use support::tls::{self, Client, NamedGroup, TLS12, TLS13};
use support::wrapper::{GO_AHEAD, NOT_AVAILABLE, Wrapper};

/// A key share that nobody here has, and then a group that everybody has.
const RETRY: &[NamedGroup] = &[NamedGroup::MLKEM1024, NamedGroup::secp256r1];

fn retrying(site: &Site) -> Client {
    Client::new(site).groups(RETRY)
}

#[track_caller]
fn was_asked_again(peer: &Peer) {
    assert_eq!(format!("{:?}", peer.tls().handshake_kind()), "Some(FullWithHelloRetryRequest)");
}

/// A protocol's word inside TLS, and how the answer begins.
const GREETED: &[(&str, &str, &str)] = &[
    ("smtp", "EHLO laptop\r\n", "250"),
    ("lmtp", "LHLO laptop\r\n", "250"),
    ("pop3", "NOOP\r\n", "+OK"),
    ("imap", "a NOOP\r\n", "a OK"),
    ("sieve", "NOOP\r\n", "OK"),
    ("nntp", "DATE\r\n", "111"),
];

#[test]
fn every_protocol_that_greets_is_tried() {
    let greeting = PROTOCOLS.iter().filter(|protocol| !protocol.is_client_first()).map(|protocol| protocol.name);
    assert_eq!(GREETED.iter().map(|(name, ..)| *name).collect::<BTreeSet<_>>(), greeting.collect());
}

fn server(wrapper: &Wrapper, protocol: &str) -> Listening {
    tcpserver(wrapper, &[&path_of("python3"), "-ISc", GREETER, protocol])
}

#[test]
fn openssl_is_asked_again_in_every_protocol() {
    let site = Site::new();
    for (protocol, word, answer) in GREETED {
        for groups in ["P-521:P-256", "X448:X25519", "ffdhe2048:P-384"] {
            let server = server(&Wrapper::respawn(&site).options(&["-p", protocol]), protocol);
            speaks(&server, &site, &["-starttls", protocol, "-groups", groups], word, answer);
        }
        let server =
            server(&Wrapper::bare(&[]).options(&["--implicit", "--respawn", "-p", protocol]).site(&site), protocol);
        speaks(&server, &site, &["-groups", "P-521:P-256"], word, answer);
    }
}

/// The client speaks first, and the server inside TLS is another's: what it says is not looked at.
#[test]
fn openssl_is_asked_again_where_the_client_speaks_first() {
    let site = Site::new();
    for protocol in PROTOCOLS.iter().filter(|protocol| protocol.is_client_first()).map(|protocol| protocol.name) {
        let wrapper = Wrapper::respawn(&site).options(&["-v", "2", "-p", protocol]);
        let server = tcpserver(&wrapper, &[&path_of("python3"), "-ISc", "import sys; sys.stdin.read()"]);
        let arguments = ["-starttls", protocol, "-groups", "P-521:P-256", "-no_ign_eof"];
        let (mut child, _) = s_client_with(server.port, &site, &arguments);
        child.wait().unwrap();
        server.log().line_with(" outcome=tls ");
    }
}

#[track_caller]
fn speaks(server: &Listening, site: &Site, arguments: &[&str], word: &str, answer: &str) {
    let (mut child, mut peer) = s_client_with(server.port, site, arguments);
    peer.says(word);
    peer.hears_line_with(answer);
    child.kill().and_then(|()| child.wait()).unwrap();
}

/// TLS 1.2 has no second hello: the group is the server's to choose.
#[test]
fn openssl_comes_down_to_tls_1_2() {
    let site = Site::new();
    let server = server(&Wrapper::respawn(&site), "smtp");
    let arguments = ["-starttls", "smtp", "-tls1_2", "-groups", "P-521:P-256"];
    speaks(&server, &site, &arguments, "EHLO laptop\r\n", "250");
}

#[test]
fn gnutls_is_asked_again() {
    let site = Site::new();
    let server = server(&Wrapper::respawn(&site), "smtp");
    let mut command = program("gnutls-cli");
    command.args(["--starttls-proto=smtp", "--single-key-share", "--port", &server.port.to_string()]);
    command.args(["--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-SECP521R1:+GROUP-SECP256R1"]);
    let output = command.arg("--x509cafile").arg(site.ca()).arg("localhost").stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(text.contains("Handshake was completed"), "{text}");
}

/// A sending Postfix at its default level, `may`, would fall back to plaintext where it is cut off.
#[test]
fn postfix_is_asked_again() {
    let site = Site::new();
    let (server, dir) = (server(&Wrapper::respawn(&site).options(&["-v", "2"]), "smtp"), Dir::new());
    let mut command = posttls_finger(&dir, "tls_eecdh_auto_curves = secp521r1 prime256v1\n");
    command.args(["-c", "-l", "may", &format!("[127.0.0.1]:{}", server.port)]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(text.contains("TLS connection established") && text.contains("(prime256v1) server-signature"), "{text}");
    server.log().line_with(" group=secp256r1 ");
}

#[test]
fn curl_is_asked_again() {
    let site = Site::new();
    for protocol in ["smtp", "imap", "pop3"] {
        let server = server(&Wrapper::respawn(&site).options(&["-v", "2"]), protocol);
        let mut command = program("curl");
        command.args(["-4", "-sS", "--ssl-reqd", "--tlsv1.3", "--curves", "P-521:P-256", "-I", "-X", "NOOP"]);
        command.args(["--url", &format!("{protocol}://localhost:{}", server.port), "--cacert"]).arg(site.ca());
        assert!(command.stdin(Stdio::null()).output().is_ok());
        server.log().line_with(" outcome=tls ");
    }
}

#[test]
fn with_a_key_of_each_kind_or_both() {
    let (ecdsa, rsa) = (Site::with_key(&PKCS_ECDSA_P256_SHA256), Site::with_key(&PKCS_RSA_SHA256));
    let dir = Dir::new();
    let both = |files: [std::path::PathBuf; 2], name: &str| {
        fs::write(dir.file(name), files.map(|file| fs::read_to_string(file).unwrap()).concat()).unwrap();
        dir.file(name)
    };
    let (keys, chains) = (both([rsa.key(), ecdsa.key()], "keys"), both([rsa.cert(), ecdsa.cert()], "chains"));
    let wrappers = [
        Wrapper::respawn(&ecdsa),
        Wrapper::respawn(&rsa),
        Wrapper::respawn(&ecdsa).env("KEYFILE", keys).env("CERTFILE", chains),
    ];
    for wrapper in wrappers {
        let mut session = wrapper.start();
        let _plaintext_server = session.opening();
        session.starttls(&retrying(&ecdsa));
        was_asked_again(&session.client);
    }
}

#[test]
fn with_every_heed_paid_to_the_server_name() {
    let site = Site::new();
    for level in ["0", "1", "2"] {
        let wrapper = Wrapper::respawn(&site).options(&["-k", level]);
        let wrapper = wrapper.env("KEYFILE:localhost", site.key()).env("CERTFILE:localhost", site.cert());
        let mut session = wrapper.start();
        let _plaintext_server = session.opening();
        session.starttls(&retrying(&site));
        was_asked_again(&session.client);
    }
    // A name that nobody here has is refused at the first hello.
    let wrapper = Wrapper::respawn(&site).options(&["-k", "2"]);
    let wrapper = wrapper.env("KEYFILE:mx.example", site.key()).env("CERTFILE:mx.example", site.cert());
    let mut session = wrapper.start();
    let _plaintext_server = session.opening();
    session.client.says("STARTTLS\r\n");
    session.client.hears(GO_AHEAD);
    let why = retrying(&site).shake(&mut session.client).expect_err("there is no such name");
    assert!(why.to_string().contains("UnrecognisedName"), "{why}");
}

#[test]
fn with_a_client_certificate_and_behind_an_eager_client_hello() {
    let (site, good) = (Site::new(), Site::new());
    for option in ["-Y", "-y"] {
        let mut session = Wrapper::respawn(&site).option(option).env("CAFILE", site.ca()).start();
        let _plaintext_server = session.opening();
        let mut handshake = retrying(&site).showing(&good).begin();
        session.client.says([b"STARTTLS\r\n", &handshake.client_hello()[..]].concat());
        session.client.hears(GO_AHEAD);
        handshake.finish(&mut session.client).expect("TLS begins");
        was_asked_again(&session.client);
        assert_eq!(session.fresh_server().environment["SSL_CLIENT_VERIFY"], "SUCCESS");
    }
}

#[test]
fn with_a_tls_server_behind() {
    let (site, backend) = (Site::new(), Backend::new());
    let mut session = Wrapper::backend(&site, backend.port()).start();
    let _plaintext_server = session.opening();
    session.client.says("STARTTLS\r\n");
    let _server = backend.serve(&site);
    session.client.hears(GO_AHEAD);
    retrying(&site).shake(&mut session.client).expect("TLS begins");
    was_asked_again(&session.client);
}

/// A client that answers with a share of the same kind again has broken the protocol.
#[test]
fn nobody_is_asked_twice() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).options(&["-v", "2"]).start();
    let _plaintext_server = session.opening();
    session.client.says("STARTTLS\r\n");
    session.client.hears(GO_AHEAD);
    let hello = retrying(&site).begin().client_hello();
    session.client.says(&hello);
    session.client.says(&hello);
    let heard = session.client.hears_rest();
    assert!(heard.ends_with(&[21, 3, 3, 0, 2, 2, 47]), "illegal_parameter, not {heard:?}");
    assert_eq!(session.end().status, 98);
}

/// Its key and its certificate are shown once a connection as well.
#[test]
fn a_backend_may_ask_again() {
    let (site, own) = (Site::new(), Site::new());
    let backend = Backend::new();
    for shows in [false, true] {
        let mut wrapper = Wrapper::backend(&site, backend.port());
        if shows {
            wrapper = wrapper.option("--backend-cert").option(own.cert()).option("--backend-key").option(own.key());
        }
        let mut session = wrapper.start();
        let _plaintext_server = session.opening();
        session.client.says("STARTTLS\r\n");
        let shaken = tls::accept_by_group(&site, backend.accept(), NamedGroup::secp384r1, shows);
        let mut inner = shaken.expect("the wrapper shakes hands");
        was_asked_again(&inner);
        inner.says("220 inner.example ESMTP\r\n");
        session.client.hears(GO_AHEAD);
        Client::new(&site).versions(&[&TLS13, &TLS12]).shake(&mut session.client).expect("TLS begins");
    }
}

#[test]
fn a_backend_that_asks_for_a_group_that_is_not_here_is_none() {
    let (site, backend) = (Site::new(), Backend::new());
    let mut session = Wrapper::backend(&site, backend.port()).start();
    let _plaintext_server = session.opening();
    session.client.says("STARTTLS\r\n");
    let shaken = tls::accept_by_group(&site, backend.accept(), NamedGroup::MLKEM1024, false);
    assert!(shaken.is_err());
    session.client.hears(NOT_AVAILABLE);
}
