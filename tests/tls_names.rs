//! Which certificate a client is shown: by server name, by what it can verify, and after a renewal.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]
#![allow(clippy::print_stdout, reason = "the tables, for who runs it with --nocapture")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SignatureAlgorithm};
use support::certificates::{Dir, Site};
use support::clients::s_client_by_starttls;
use support::peer::Peer;
use support::servers::{Listening, mailfront, tcpserver};
use support::tls::Client;
use support::wrapper::Wrapper;

/// Keys and certificates by name, each as one file with both.
struct Names {
    dir: Dir,
}

impl Names {
    fn new(names: &[&str]) -> Self {
        let names_ = Self { dir: Dir::new() };
        for name in names {
            let (key, certificate) = pair(name, &PKCS_ECDSA_P256_SHA256);
            fs::write(names_.file(name), key + &certificate).unwrap();
        }
        names_
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.file(&format!("{}.pem", name.replace('*', "any")))
    }

    /// The certificate alone, as openssl shows it.
    fn certificate(&self, name: &str) -> String {
        certificate_in(&fs::read_to_string(self.file(name)).unwrap()).expect("it was written")
    }

    fn wrapper(&self, default: Option<&str>, names: &[&str]) -> Wrapper {
        let wrapper = Wrapper::bare(&[]).options(&["--respawn", "-v", "2"]);
        let variables = default.map(|name| (String::new(), name)).into_iter();
        let variables = variables.chain(names.iter().map(|name| (format!(":{name}"), *name)));
        variables.fold(wrapper, |wrapper, (suffix, name)| {
            let file = self.file(name);
            wrapper.env(&format!("KEYFILE{suffix}"), &file).env(&format!("CERTFILE{suffix}"), &file)
        })
    }
}

/// Key and certificate of a site that vouches for itself, in PEM.
fn pair(name: &str, algorithm: &'static SignatureAlgorithm) -> (String, String) {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let params = CertificateParams::new([name.replace('*', "any")]).unwrap();
    (key.serialize_pem(), params.self_signed(&key).unwrap().pem())
}

fn certificate_in(text: &str) -> Option<String> {
    let text = text.replace('\r', "");
    let begin = text.find("-----BEGIN CERTIFICATE-----")?;
    let end = text[begin..].find("-----END CERTIFICATE-----")?;
    Some(text[begin..begin + end].to_owned())
}

/// What openssl says of the server's certificate, or of the alert it got.
fn s_client(server: &Listening, arguments: &[&str]) -> String {
    let output = s_client_by_starttls(server.port, arguments).stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// Which of the certificates openssl gets.
fn shown(names: &Names, server: &Listening, arguments: &[&str], candidates: &[&str]) -> String {
    let said = s_client(server, arguments);
    let Some(certificate) = certificate_in(&said) else {
        let alert = said.lines().find_map(|line| line.split("SSL alert number ").nth(1));
        return alert
            .map_or_else(|| panic!("neither certificate nor alert:\n{said}"), |number| format!("alert {number}"));
    };
    let found = candidates.iter().find(|name| names.certificate(name) == certificate);
    (*found.expect("it is one of ours")).to_owned()
}

#[test]
fn openssl_gets_the_certificate_of_the_name_it_asks_for() {
    const ALL: &[&str] = &["mx.example", "a.example", "*.b.example", "*.com"];
    let names = Names::new(ALL);
    let asked: &[&[&str]] = &[
        &["-noservername"],
        &["-servername", "a.example"],
        &["-servername", "A.Example"],
        &["-servername", "x.b.example"],
        &["-servername", "y.x.b.example"],
        &["-servername", "elsewhere.com"],
        &["-servername", "elsewhere.example"],
    ];
    let rows: [(&str, [&str; 7]); 3] = [
        ("0", ["mx.example"; 7]),
        ("1", ["mx.example", "a.example", "a.example", "*.b.example", "mx.example", "mx.example", "mx.example"]),
        ("2", ["alert 109", "a.example", "a.example", "*.b.example", "alert 112", "alert 112", "alert 112"]),
    ];
    for (level, expected) in rows {
        let wrapper = names.wrapper(Some("mx.example"), &ALL[1..]).options(&["-k", level]);
        let server = tcpserver(&wrapper, &mailfront().words());
        for (arguments, expected) in asked.iter().zip(expected) {
            let got = shown(&names, &server, arguments, ALL);
            println!("-k {level} {:28} {got}", arguments.join(" "));
            assert_eq!(got, expected, "-k {level} {arguments:?}");
        }
    }
}

#[test]
fn a_client_that_cannot_do_ecdsa_gets_the_rsa_certificate() {
    let names = Names::new(&[]);
    let (rsa_key, rsa) = pair("mx.example", &PKCS_RSA_SHA256);
    let (ec_key, ec) = pair("mx.example", &PKCS_ECDSA_P256_SHA256);
    fs::write(names.file("rsa"), &rsa).unwrap();
    fs::write(names.file("ec"), &ec).unwrap();
    // In whatever order, and not the same in both files.
    fs::write(names.dir.file("keys.pem"), rsa_key + &ec_key).unwrap();
    fs::write(names.dir.file("chains.pem"), ec + &rsa).unwrap();
    let wrapper = Wrapper::bare(&[]).options(&["--respawn"]);
    let wrapper = wrapper.env("KEYFILE", names.dir.file("keys.pem")).env("CERTFILE", names.dir.file("chains.pem"));
    let server = tcpserver(&wrapper, &mailfront().words());
    for (arguments, expected) in [
        (&["-tls1_3"][..], "ec"),
        (&["-tls1_2"], "ec"),
        (&["-tls1_3", "-sigalgs", "RSA-PSS+SHA256"], "rsa"),
        (&["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], "rsa"),
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], "ec"),
        (&["-tls1_3", "-sigalgs", "ed25519"], "alert 40"),
    ] {
        let got = shown(&names, &server, arguments, &["rsa", "ec"]);
        println!("{:50} {got}", arguments.join(" "));
        assert_eq!(got, expected, "{arguments:?}");
    }
}

#[test]
fn a_broken_pair_is_a_454_and_the_next_starttls_finds_it_mended() {
    let (site, other) = (Site::new(), Site::new());
    let key = fs::read(site.key()).unwrap();
    let mut session = Wrapper::respawn(&site).start();
    let server = session.opening();
    let broken: [(&str, Vec<u8>); 4] = [
        ("half written", key[..key.len() / 2].to_vec()),
        ("another's", fs::read(other.key()).unwrap()),
        ("empty", Vec::new()),
        ("no key", b"-----BEGIN nonsense".to_vec()),
    ];
    for (what, bytes) in broken {
        println!("{what}");
        fs::write(site.key(), bytes).unwrap();
        session.client.says("STARTTLS\r\n");
        session.client.hears("454 4.7.0 TLS not available due to temporary reason\r\n");
    }
    session.wrapper.log.lines_with("warning: unable to ", 4);
    fs::write(site.key(), key).unwrap();
    session.client.says("STARTTLS\r\n");
    session.client.hears("220 2.0.0 Ready to start TLS\r\n");
    Client::new(&site).shake(&mut session.client).expect("the pair is mended");
    drop(server);
    let mut inside = session.server();
    inside.says("220 mx.example ESMTP\r\n");
    inside.exits(0);
    assert_eq!(session.end().status, 0);
}

#[test]
fn a_broken_pair_of_one_name_is_no_matter_of_the_others() {
    const ALL: &[&str] = &["mx.example", "a.example", "b.example"];
    let names = Names::new(ALL);
    let servers = ["1", "2"].map(|level| {
        let wrapper = names.wrapper(Some("mx.example"), &ALL[1..]).options(&["-k", level]);
        tcpserver(&wrapper, &mailfront().words())
    });
    fs::write(names.file("a.example"), "-----BEGIN nonsense").unwrap();
    for (server, expected) in servers.iter().zip(["mx.example", "alert 112"]) {
        assert_eq!(shown(&names, server, &["-servername", "b.example"], &["b.example"]), "b.example");
        assert_eq!(shown(&names, server, &["-servername", "a.example"], &["mx.example", "b.example"]), expected);
        server.log().line_with("warning: unable to read ");
    }
}

#[test]
fn half_a_pair_of_variables_is_told_when_its_name_is_asked_for() {
    let site = Site::new();
    let wrapper = || Wrapper::respawn(&site).env("KEYFILE:localhost", site.key());
    let mut session = wrapper().start();
    let _plaintext_server = session.opening();
    // The default identity is shown.
    session.starttls(&Client::new(&site));
    session.fresh_server();
    let end = session.end();
    assert!(end.log.contains("KEYFILE:localhost and CERTFILE:localhost belong together"), "{}", end.log);

    let check = wrapper().option("--check").command(&[], &["true"]).output().unwrap();
    assert_eq!(check.status.code(), Some(96));
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(said.contains("failed: localhost: KEYFILE:localhost and CERTFILE:localhost belong together"), "{said}");
}

/// 1,000 sessions in waves: half of each wave stands inside TLS while the files are replaced, half before it.
#[test]
fn a_renewed_certificate_loses_no_session_and_serves_the_next() {
    const WAVES: usize = 20;
    const HALF: usize = 25;
    let sites = [Site::new(), Site::new()];
    let dir = Dir::new();
    let install = |site: &Site| {
        let both = [fs::read(site.key()).unwrap(), fs::read(site.cert()).unwrap()].concat();
        fs::write(dir.file("new.pem"), both).unwrap();
        fs::rename(dir.file("new.pem"), dir.file("tls.pem")).unwrap();
    };
    let file = dir.file("tls.pem");
    install(&sites[0]);
    let wrapper = Wrapper::bare(&[]).option("--respawn").env("KEYFILE", &file).env("CERTFILE", &file);
    let server = tcpserver(&wrapper, &mailfront().words());
    let (mut old, mut new) = (0, 0);
    for wave in 0..WAVES {
        let [before, after] = [&sites[wave % 2], &sites[(wave + 1) % 2]];
        let opened: Vec<_> = (0..2 * HALF).map(|_| opened(server.port)).collect();
        let mut outside = opened;
        let inside = in_parallel(outside.split_off(HALF), |peer| secured(peer, before));
        install(after);
        old += in_parallel(inside, |peer| is_served(peer, before)).into_iter().filter(|right| *right).count();
        let right = in_parallel(outside, |peer| is_served(secured(peer, after), after));
        new += right.into_iter().filter(|right| *right).count();
    }
    println!("{old} sessions went on with the old certificate, {new} began with the new one, none was lost");
    assert_eq!((old, new), (WAVES * HALF, WAVES * HALF));
}

/// A client that has said EHLO.
fn opened(port: u16) -> Peer {
    let mut peer = Peer::connect(port);
    peer.hears_code("220");
    peer.says("EHLO laptop\r\n");
    peer.hears_line_with("250-STARTTLS");
    peer.hears_code("250");
    peer
}

fn secured(mut peer: Peer, site: &Site) -> Peer {
    peer.says("STARTTLS\r\n");
    peer.hears_code("220");
    Client::new(site).shake(&mut peer).expect("TLS begins");
    peer
}

/// Whether TLS is with this site's certificate. The session must go on to its end.
fn is_served(mut peer: Peer, site: &Site) -> bool {
    peer.says("QUIT\r\n");
    peer.hears_code("221");
    peer.hears_end();
    peer.tls().peer_certificates().is_some_and(|shown| shown[0] == site.certificate)
}

fn in_parallel<T: Send, U: Send>(items: Vec<T>, work: impl Fn(T) -> U + Sync) -> Vec<U> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = items.into_iter().map(|item| scope.spawn(move || work(item))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
