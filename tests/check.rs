//! `--check`: one line for each part, ok or what is wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]

mod support;

use std::fs;
use std::process::Output;

use support::backend::{Backend, ClosedPort};
use support::certificates::{Dir, Flaw, Site, keep};
use support::servers::{Listening, behind_tcpserver, compiled, mailfront, nginx_behind_proxy, stunnel};
use support::tls;
use support::wrapper::Wrapper;

/// What it prints for this configuration, and the exit status.
fn checked(wrapper: &Wrapper, prog: &[&str]) -> (String, i32) {
    let Output { status, stdout, .. } = wrapper.command(&[], prog).output().unwrap();
    (String::from_utf8(stdout).unwrap(), status.code().unwrap())
}

fn has(output: &(String, i32), status: i32, lines: &[&str]) {
    assert_eq!(output.1, status, "{}", output.0);
    for wanted in lines {
        assert!(output.0.lines().any(|line| line.starts_with(wanted)), "no {wanted:?} in\n{}", output.0);
    }
}

#[test]
fn a_configuration_that_serves_is_ok() {
    let site = Site::new();
    let output = checked(&Wrapper::respawn(&site).option("--check"), &mailfront().words());
    has(&output, 0, &["ok: options", "ok: key ", "ok: a session that asks for TLS: granted, smtp", "ok: sandbox"]);
    assert!(!output.0.contains("failed"), "{}", output.0);
}

#[test]
fn an_expired_certificate_is_told() {
    let output = checked(&Wrapper::respawn(&Site::flawed(Flaw::Expired)).option("--check"), &mailfront().words());
    has(&output, 96, &["failed: key "]);
    assert!(output.0.contains("it expired at 2020-01-01T00:00:00Z: renew it"), "{}", output.0);
}

/// Each key's, as a client may get any of them.
#[test]
fn a_chain_that_is_expired_or_out_of_order_is_told_whosever_it_is() {
    let (site, expired, chained) = (Site::new(), Site::flawed(Flaw::Expired), Site::chained());
    let text = |path: std::path::PathBuf| fs::read_to_string(path).unwrap();
    let (keys, chains) = (site.dir.file("keys.pem"), site.dir.file("chains.pem"));
    let wrapper = || Wrapper::respawn(&site).env("KEYFILE", &keys).env("CERTFILE", &chains).option("--check");
    for (other, chain, why) in [
        (&expired, text(expired.cert()), "it expired at 2020-01-01T00:00:00Z: renew it"),
        (&chained, text(chained.cert()) + &text(Site::new().cert()), "is not followed by its issuer, but by "),
    ] {
        fs::write(&keys, text(site.key()) + &text(other.key())).unwrap();
        keep(&keys);
        fs::write(&chains, text(site.cert()) + &chain).unwrap();
        let output = checked(&wrapper(), &mailfront().words());
        has(&output, 96, &["failed: key "]);
        assert!(output.0.contains(why), "{}", output.0);
    }
}

#[test]
fn a_key_of_another_certificate_is_told() {
    let (site, other) = (Site::new(), Site::new());
    let wrapper = Wrapper::respawn(&site).env("KEYFILE", other.key()).option("--check");
    has(&checked(&wrapper, &mailfront().words()), 96, &["failed: key ", "failed: a session that asks for TLS"]);
}

#[test]
fn a_missing_prog_is_told() {
    let site = Site::new();
    let output = checked(&Wrapper::respawn(&site).option("--check"), &["/nonexistent/prog"]);
    has(&output, 96, &["ok: key ", "failed: a session that asks for TLS: it closed the connection"]);
}

#[test]
fn standard_error_is_named_where_it_says_something() {
    let site = Site::new();
    for (prog, line) in [
        ("exit 0", "it closed the connection"),
        ("echo why >&2", "it closed the connection; standard error says why"),
        ("printf '554 no\\r\\n'", "it said 554 no"),
    ] {
        let output = checked(&Wrapper::respawn(&site).options(&["-p", "smtp", "--check"]), &["sh", "-c", prog]);
        let line = format!("failed: a session that asks for TLS: {line}");
        assert!(output.0.lines().any(|said| said == line), "no {line:?} in\n{}", output.0);
    }
}

#[test]
fn a_backend_is_reached_and_verified() {
    let (site, backend) = (Site::new(), Backend::new());
    let wrapper = Wrapper::backend(&site, backend.port()).option("--check");
    let output = std::thread::scope(|threads| {
        let served = threads.spawn(|| {
            let mut peer = tls::accept(&site, backend.accept()).expect("it is verified");
            peer.says("220 inner.example ESMTP\r\n");
            peer
        });
        let output = checked(&wrapper, &mailfront().words());
        served.join().expect("the backend was asked");
        output
    });
    has(&output, 0, &["ok: trust anchors for the backend", "ok: a session that asks for TLS: granted"]);
}

#[test]
fn a_backend_that_is_not_there_is_told() {
    let (site, port) = (Site::new(), ClosedPort::new());
    let wrapper = Wrapper::backend(&site, port.number()).option("--check");
    has(&checked(&wrapper, &mailfront().words()), 96, &["failed: a session that asks for TLS: it said 454"]);
}

/// Neither does it hear that its client is gone.
#[test]
fn a_prog_that_is_silent_is_told_and_ended() {
    let site = Site::new();
    let output = checked(&Wrapper::respawn(&site).option("--check"), &["sleep", "1000"]);
    has(&output, 96, &["failed: a session that asks for TLS: it is silent", "ok: sandbox"]);
}

#[test]
fn a_prog_that_is_silent_inside_tls_is_ended() {
    let site = Site::new();
    let silent_inside = "test -z \"$SSL_PROTOCOL\" || exec sleep 1000; \
                         printf '220 mx\\r\\n' && read line && printf '250 mx\\r\\n' && read line";
    let output = checked(&Wrapper::respawn(&site).option("--check"), &["sh", "-c", silent_inside]);
    has(&output, 0, &["ok: a session that asks for TLS: granted, smtp"]);
}

#[test]
fn progs_own_words_are_left_to_it() {
    let site = Site::new();
    let greets = "test \"$*\" = '--check x' && printf '220 mx\\r\\n' && read line && \
                  printf '250-mx\\r\\n250 STARTTLS\\r\\n' && read line";
    let output = checked(&Wrapper::respawn(&site).option("--check"), &["sh", "-c", greets, "sh", "--check", "x"]);
    has(&output, 0, &["ok: a session that asks for TLS: granted, smtp"]);
}

/// What stands behind: mailfront, which takes no PROXY header, or proxy-env before it, which takes nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    Mailfront,
    ProxyEnv,
}

impl Behind {
    fn words(self) -> Vec<String> {
        let mailfront = mailfront().prog;
        match self {
            Self::Mailfront => mailfront,
            Self::ProxyEnv => [vec![env!("CARGO_BIN_EXE_proxy-env").to_owned()], mailfront].concat(),
        }
    }

    fn under_tcpserver(self) -> Listening {
        let words = self.words();
        behind_tcpserver(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn under_stunnel(self, site: &Site) -> Listening {
        let words = self.words();
        stunnel(site, &words.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

const TAKES_NONE: &str = "failed: a session that asks for TLS: the server takes no PROXY header, it serves without";
const WAITS: &str =
    "failed: a session that asks for TLS: the server waits for a PROXY header: give --proxy-protocol v2";
const ANOTHER: &str =
    "failed: a session that asks for TLS: the server wants another PROXY header: give --proxy-protocol";
const SERVED: &str = "ok: a session that asks for TLS: granted, smtp, and served inside TLS";

#[test]
fn whether_a_backend_takes_the_header_is_told() {
    let site = Site::new();
    let said = |behind: Behind, tls: &str, options: &[&str]| {
        let backend = if tls == "none" { behind.under_tcpserver() } else { behind.under_stunnel(&site) };
        let wrapper =
            Wrapper::backend(&site, backend.port).options(&["--backend-tls", tls, "--check"]).options(options);
        checked(&wrapper, &mailfront().words())
    };
    let tried = |version| {
        let header = ["--proxy-protocol", version];
        let inside = ["--proxy-protocol", version, "--proxy-inside"];
        has(&said(Behind::ProxyEnv, "none", &header), 0, &[SERVED]);
        has(&said(Behind::ProxyEnv, "implicit", &inside), 0, &[SERVED]);
        has(&said(Behind::Mailfront, "none", &header), 96, &[TAKES_NONE]);
        has(&said(Behind::Mailfront, "implicit", &header), 96, &[TAKES_NONE]);
        has(&said(Behind::Mailfront, "implicit", &inside), 96, &[TAKES_NONE]);
        has(&said(Behind::ProxyEnv, "implicit", &header), 96, &[&format!("{ANOTHER} v2 --proxy-inside")]);
    };
    std::thread::scope(|threads| {
        threads.spawn(|| tried("v1"));
        threads.spawn(|| tried("v2"));
    });
    has(&said(Behind::Mailfront, "none", &[]), 0, &[SERVED]);
}

#[test]
fn a_backend_of_another_make_takes_the_header() {
    let (site, backend) = (Site::new(), nginx_behind_proxy());
    for version in ["v1", "v2"] {
        let options = ["--backend-tls", "none", "--proxy-protocol", version, "--check"];
        let wrapper = Wrapper::backend(&site, backend.port).options(&options);
        has(&checked(&wrapper, &mailfront().words()), 0, &[SERVED]);
    }
}

/// The server is silent, and the wrapper waits ten seconds for it.
#[test]
fn a_backend_that_waits_for_a_header_is_told() {
    let site = Site::new();
    let (plain, tls) = (Behind::ProxyEnv.under_tcpserver(), Behind::ProxyEnv.under_stunnel(&site));
    let check = |port: u16, tls: &str| {
        let wrapper = Wrapper::backend(&site, port).options(&["--backend-tls", tls, "--check"]);
        checked(&wrapper, &mailfront().words())
    };
    std::thread::scope(|threads| {
        threads.spawn(|| has(&check(plain.port, "none"), 96, &[WAITS]));
        threads.spawn(|| has(&check(tls.port, "implicit"), 96, &[&format!("{WAITS} --proxy-inside")]));
    });
}

#[test]
fn whether_a_server_that_is_connected_takes_the_header_is_told() {
    let site = Site::new();
    let said = |behind: Behind, options: &[&str]| {
        let server = behind.under_tcpserver();
        let address = format!("127.0.0.1:{}", server.port);
        checked(&Wrapper::respawn(&site).options(&["--connect", &address, "--check"]).options(options), &[])
    };
    for version in ["v1", "v2"] {
        has(&said(Behind::ProxyEnv, &["--proxy-protocol", version]), 0, &[SERVED]);
        has(&said(Behind::Mailfront, &[&format!("--proxy-protocol={version}")]), 96, &[TAKES_NONE]);
    }
    has(&said(Behind::Mailfront, &[]), 0, &[SERVED]);
}

#[test]
fn the_server_inside_tls_is_tried_too() {
    let site = Site::new();
    // It greets once.
    let once = site.dir.file("once");
    let prog = format!("mkdir {} && exec {} accept; echo 554 no", once.display(), mailfront().prog[0]);
    let output = checked(&Wrapper::respawn(&site).option("--check"), &["sh", "-c", &prog]);
    has(&output, 96, &["failed: a session that asks for TLS: inside TLS it said 421"]);
    for option in ["--implicit", "-r"] {
        let output = checked(&Wrapper::respawn(&site).options(&[option, "--check"]), &mailfront().words());
        has(&output, 0, &["ok: a session that asks for TLS: "]);
        assert!(output.0.contains("smtp, and served inside TLS"), "{}", output.0);
    }
}

/// The chain of the README: rules that judge the client whom the load balancer names.
#[test]
fn rules_behind_a_header_have_a_client_to_judge() {
    let (site, dir) = (Site::new(), Dir::new());
    let rules = compiled("127.0.0.1:allow\n:deny\n", &dir);
    let prog = [concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tcprules/access"), &rules];
    let prog: Vec<String> = prog.iter().map(|word| (*word).to_owned()).chain(mailfront().prog).collect();
    let prog: Vec<&str> = prog.iter().map(String::as_str).collect();
    let wrapper = Wrapper::respawn(&site).options(&["--accept-proxy", "--check"]);
    has(&checked(&wrapper, &prog), 0, &[SERVED]);
    has(&checked(&wrapper.env("TCPREMOTEIP", "192.0.2.1"), &prog), 96, &["failed: a session that asks for TLS"]);
}

/// The options of a check are not those of prog, whatever they are called.
#[test]
fn words_of_prog_are_left_alone() {
    let site = Site::new();
    let prog = [
        "sh",
        "-c",
        "test \"$*\" = '--proxy-protocol v1 --check --proxy-inside' && exec \"$0\" accept",
        &mailfront().prog[0],
    ]
    .map(str::to_owned);
    let prog: Vec<&str> =
        prog.iter().map(String::as_str).chain(["--proxy-protocol", "v1", "--check", "--proxy-inside"]).collect();
    let output = checked(&Wrapper::respawn(&site).option("--check"), &prog);
    has(&output, 0, &[SERVED]);
}
