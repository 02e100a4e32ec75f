//! Limits that the super-server has set (ulimit, softlimit, systemd, docker --ulimit): those below ours are taken as they
//! are, and where they are too low the administrator is told. As root, who starts it as a user without rights.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]

mod support;

use std::fs;
use std::process::Stdio;

use support::backend::ClosedPort;
use support::caller::TLSIFY;
use support::certificates::Site;
use support::program::{Running, path_of, program};
use support::servers::stunnel;
use support::wrapper::{GO_AHEAD, NOT_AVAILABLE, Session, WRAPPER, Wrapper, from_here};
use support::{proc, tls};

/// What is said in the manual, under LIMITS.
const DESCRIPTORS: u32 = 20;
/// Room for descriptors 0 to 2 alone.
const STANDARD: u32 = 3;

const ADDRESS_SPACE: u64 = if cfg!(debug_assertions) { 12 << 20 } else { 7 << 20 };
const DATA: u64 = 1 << 20;

/// Runs its operands with descriptors 0 to 2 alone.
const WITHOUT_DESCRIPTORS: &str =
    "import os, sys; os.closerange(3, os.sysconf('SC_OPEN_MAX')); os.execvp(sys.argv[1], sys.argv[1:])";

/// A server that knows no TLS.
const SERVER: &[&str] = &["/bin/sh", "tests/support/smtp"];

#[test]
fn limits_below_ours_are_taken_as_they_are() {
    let site = Site::new();
    for (limit, field, soft, hard) in [
        ("--nofile=24:24", "Max open files", "24", "24"),
        ("--nofile=24:1024", "Max open files", "24", "32"),
        ("--nofile=1024:1024", "Max open files", "32", "32"),
        ("--data=33554432:33554432", "Max data size", "33554432", "33554432"),
        ("--data=33554432:unlimited", "Max data size", "33554432", "67108864"),
        ("--as=50000000:50000000", "Max address space", "50000000", "50000000"),
        ("--as=unlimited:unlimited", "Max address space", "67108864", "67108864"),
        ("--core=0:0", "Max core file size", "0", "0"),
        ("--nproc=1000:1000", "Max processes", "0", "0"),
    ] {
        let mut session = limited(limit, Wrapper::respawn(&site), &site).start();
        let _plaintext_server = session.opening();
        let limits = fs::read_to_string(format!("/proc/{}/limits", proc::session_of(session.wrapper.pid()))).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        let found: Vec<&str> = line.split_whitespace().take(2).collect();
        assert_eq!(found, [soft, hard], "{limit}");
        session.starttls(&tls::Client::new(&site));
        session.fresh_server();
    }
}

#[test]
fn it_runs_with_as_little_as_the_manual_says() {
    let site = Site::new();
    let backend = stunnel(&site, SERVER);
    for limit in [format!("--nofile={DESCRIPTORS}"), format!("--as={ADDRESS_SPACE}"), format!("--data={DATA}")] {
        for (way, wrapper, before) in ways(&site, backend.port) {
            let session = limited(&limit, wrapper, &site).start_prog(&[before, SERVER].concat());
            let (served, log) = serves(session, &site);
            assert!(served, "{limit}, {way}: {log}");
        }
    }
}

#[test]
fn with_fewer_descriptors_it_says_so() {
    let site = Site::new();
    let backend = stunnel(&site, SERVER);
    for descriptors in STANDARD..DESCRIPTORS {
        for (way, wrapper, before) in ways(&site, backend.port) {
            let limit = format!("--nofile={descriptors}");
            let session = limited(&limit, wrapper, &site).start_prog(&[before, SERVER].concat());
            let (served, log) = serves(session, &site);
            assert!(served || is_told(&log), "{limit}, {way}: {log}");
            assert!(!served || descriptors > 10, "{limit}, {way}: the manual can say less");
        }
    }
}

/// Trust anchors go over as a file in memory, and the limit on the size of files counts that too.
#[test]
fn a_limit_on_the_size_of_files_is_lifted_for_the_trust_anchors_or_said() {
    let site = Site::new();
    let backend = stunnel(&site, SERVER);
    let told =
        ": unable to hand over the trust anchors: they are longer than the limit on the size of files (ulimit -f)\n";
    for (limit, answer) in [("--fsize=1:unlimited", GO_AHEAD), ("--fsize=1:1", NOT_AVAILABLE)] {
        let client_certificates =
            Wrapper::respawn(&site).option("-Y").env("CAFILE", from_here(site.ca().to_str().unwrap()));
        for (way, wrapper) in [("-Y", client_certificates), ("a TLS server", Wrapper::backend(&site, backend.port))] {
            let mut session = limited(limit, wrapper, &site).start();
            let plaintext_server = session.opening();
            session.client.says("STARTTLS\r\n");
            session.client.hears(answer);
            drop(plaintext_server);
            let log = session.end().log;
            assert_eq!(log.contains(told), answer == NOT_AVAILABLE, "{limit}, {way}: {log}");
        }
    }
}

/// It comes as far as a server that is not there, or says why not.
#[test]
fn with_fewer_descriptors_tlsify_says_so() {
    let closed = ClosedPort::new();
    for descriptors in STANDARD..DESCRIPTORS {
        for prog in [None, Some("/bin/cat")] {
            let limit = format!("--nofile={descriptors}");
            let mut command = program("python3");
            command.args([
                "-ISc",
                WITHOUT_DESCRIPTORS,
                "prlimit",
                &limit,
                TLSIFY,
                "127.0.0.1",
                &closed.number().to_string(),
            ]);
            command.args(prog).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut tlsify = Running::start(&mut command);
            assert_eq!(tlsify.wait(), 111);
            let log = tlsify.log.whole();
            assert!(is_told(&log) || log.ends_with(": connection refused\n"), "{limit}, {prog:?}: {log}");
        }
    }
}

/// As glibc and musl have it.
fn is_told(log: &str) -> bool {
    [": too many open files", ": no file descriptors available"].iter().any(|why| log.contains(why))
}

/// Who serves inside TLS: a fresh prog, a TLS server that one of the system's authorities could vouch for, and a wrapper
/// under a wrapper.
fn ways(site: &Site, port: u16) -> [(&'static str, Wrapper, &'static [&'static str]); 3] {
    let anchors = site.dir.file("anchors.pem");
    let [system, own] = ["/etc/ssl/certs/ca-certificates.crt".into(), site.ca()].map(|path| fs::read(path).unwrap());
    fs::write(&anchors, [system, own].concat()).unwrap();
    let backend = Wrapper::backend(site, port).option("--backend-ca").option(anchors);
    let provider = Wrapper::bare(&[]).option("--ucspi-tls").site(site);
    [
        ("--respawn", Wrapper::respawn(site), &[]),
        ("a TLS server", backend, &[]),
        ("--ucspi-tls", provider, &[WRAPPER, "--respawn"]),
    ]
}

/// Whether a client is served, and the log.
fn serves(mut session: Session, site: &Site) -> (bool, String) {
    (session.serves(site), session.end().log)
}

/// This limit, a user who may not lift it, and no descriptor but the three: what the tests were started with shall not
/// count.
fn limited(limit: &str, wrapper: Wrapper, site: &Site) -> Wrapper {
    let (key, cert) = (site.key(), site.cert());
    let [key, cert] = [&key, &cert].map(|path| from_here(path.to_str().unwrap()));
    let python = path_of("python3");
    let user = [
        &python,
        "-ISc",
        WITHOUT_DESCRIPTORS,
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "prlimit",
        limit,
    ];
    wrapper.env("KEYFILE", key).env("CERTFILE", cert).by_root().behind(&user)
}
