//! Who the client is where something stands before us: what the super-server and its rules said, and what a PROXY
//! header makes of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]

mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use starttls_wrapper::proxy::{self, Version};
use support::certificates::{Dir, Site};
use support::peer::Peer;
use support::servers::{Listening, compiled, tcpserver_with_rules};
use support::tls;
use support::wrapper::{End, Wrapper};

const PROXY_ENV: &str = env!("CARGO_BIN_EXE_proxy-env");

/// What an administrator has for his own machine. Behind a load balancer on it, that is everybody.
const RELAYS_FOR_LOCAL: &str = "127.:allow,RELAYCLIENT=\"\"\n:allow\n";

/// A client from elsewhere, through a load balancer at 127.0.0.1.
const FROM_ELSEWHERE: &str = "PROXY TCP4 192.0.2.77 192.0.2.1 4711 25\r\n";
const FROM_HERE: &str = "PROXY TCP4 127.0.0.1 127.0.0.1 4711 25\r\n";

/// Greets with what it knows of the client, and answers with it whatever is said.
const TELLER: &str = "told=\"${TCPREMOTEIP-nobody} relay=${RELAYCLIENT-no}\"; echo 220 $told; while read -r line; do echo 250 $told; done";

/// proxy-env under a tcpserver with these rules, and what stands behind it.
fn proxy_env(rules: &str, prog: &[&str]) -> Listening {
    tcpserver_with_rules(rules, |tcpserver| {
        let mut command = Command::new(tcpserver[0]);
        command.args(&tcpserver[1..]).arg(PROXY_ENV).args(prog);
        command
    })
}

/// The wrapper likewise.
fn wrapper(site: &Site, rules: &str, prog: &[&str]) -> Listening {
    let wrapper = Wrapper::respawn(site).options(&["--accept-proxy", "-v", "2"]);
    tcpserver_with_rules(rules, |tcpserver| wrapper.command(tcpserver, prog))
}

/// What prog says of the client that this header tells of.
#[track_caller]
fn is_told(server: &Listening, header: &str, told: &str) -> Peer {
    let mut client = Peer::connect(server.port);
    client.says(header);
    client.hears(format!("220 {told}\n"));
    client
}

/// The same before TLS and inside it.
#[track_caller]
fn is_told_twice(site: &Site, server: &Listening, header: &str, told: &str) {
    let mut client = is_told(server, header, told);
    client.says("EHLO laptop\r\n");
    client.hears(format!("250-{told}\n250 STARTTLS\r\n"));
    client.says("STARTTLS\r\n");
    client.hears_code("220");
    tls::Client::new(site).shake(&mut client).expect("the wrapper shakes hands");
    client.says("EHLO laptop\r\n");
    client.hears(format!("250 {told}\n"));
}

#[test]
fn what_rules_said_of_a_load_balancer_is_not_said_of_the_client() {
    let site = Site::new();
    let prog = ["sh", "-c", TELLER];
    let plain = proxy_env(RELAYS_FOR_LOCAL, &prog);
    let wrapped = wrapper(&site, RELAYS_FOR_LOCAL, &prog);
    for (header, told) in [
        (FROM_ELSEWHERE, "192.0.2.77 relay=no"),
        (FROM_HERE, "127.0.0.1 relay="),
        ("PROXY UNKNOWN\r\n", "127.0.0.1 relay="),
    ] {
        is_told(&plain, header, told);
        is_told_twice(&site, &wrapped, header, told);
    }
}

/// The chain of the manual. The rules in front know the load balancer only.
#[test]
fn rules_behind_the_header_judge_the_client() {
    let (site, dir) = (Site::new(), Dir::new());
    let rules = compiled("192.0.2.77:allow,RELAYCLIENT=\"@a b\"\n192.0.2.66:deny\n:allow\n", &dir);
    let access = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tcprules/access");
    let prog = [access, &rules, "sh", "-c", TELLER];
    let plain = proxy_env("127.0.0.1:allow\n:deny\n", &prog);
    let wrapped = wrapper(&site, "127.0.0.1:allow\n:deny\n", &prog);
    for (client, told) in [("192.0.2.77", "192.0.2.77 relay=@a b"), ("127.0.0.1", "127.0.0.1 relay=no")] {
        let header = format!("PROXY TCP4 {client} 192.0.2.1 4711 25\r\n");
        is_told(&plain, &header, told);
        is_told_twice(&site, &wrapped, &header, told);
    }
    for server in [&plain, &wrapped] {
        let mut denied = Peer::connect(server.port);
        denied.says("PROXY TCP4 192.0.2.66 192.0.2.1 4711 25\r\n");
        denied.hears_end();
    }
    std::fs::remove_file(&rules).unwrap();
    for server in [&plain, &wrapped] {
        let mut client = Peer::connect(server.port);
        client.says(FROM_ELSEWHERE);
        client.hears_end();
    }
}

/// What prog finds in its environment, behind this header and in front of it.
fn environment(header: &str, before: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut command = Command::new(PROXY_ENV);
    command.arg("env").env_clear().env("PATH", "/usr/bin").envs(before.iter().copied());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(header.as_bytes()).unwrap();
    let told = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    told.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
}

/// ucspi-tcp6 sets two, sslserver -e three, and PROTO names one of them.
#[test]
fn every_set_of_variables_that_stands_there_names_the_client() {
    for proto in ["TCP6", "TCP", "SSL"] {
        let sets = ["TCP6", "TCP", "SSL"];
        let stale = ["REMOTEIP", "REMOTEPORT", "REMOTEHOST", "REMOTEINFO", "LOCALIP", "LOCALPORT"];
        let names = sets.iter().flat_map(|set| stale.map(|name| format!("{set}{name}"))).collect::<Vec<_>>();
        let mut before: Vec<_> = names.iter().map(|name| (name.as_str(), "::ffff:127.0.0.1")).collect();
        before.push(("PROTO", proto));
        let told = environment(FROM_ELSEWHERE, &before);
        assert!(!told.values().any(|value| value.contains("127.0.0.1")), "{told:?}");
        assert_eq!(told["TCP6REMOTEIP"], "::ffff:192.0.2.77");
        for set in ["TCP", "SSL"] {
            assert_eq!(told[&format!("{set}REMOTEIP")], "192.0.2.77");
        }
        assert!(sets.iter().all(|set| told[&format!("{set}LOCALPORT")] == "25"), "{told:?}");
    }
}

#[test]
fn a_set_that_is_not_there_is_not_made() {
    let told = environment(FROM_ELSEWHERE, &[("PROTO", "TCP6"), ("TCP6REMOTEIP", "::1")]);
    assert!(!told.contains_key("TCPREMOTEIP"), "{told:?}");
    let told = environment(FROM_ELSEWHERE, &[]);
    assert_eq!((told["PROTO"].as_str(), told["TCPREMOTEIP"].as_str()), ("TCP", "192.0.2.77"));
}

/// Monitors and load balancers look whether somebody listens, every few seconds; that is nothing to tell.
#[test]
fn who_connects_and_leaves_is_not_warned_of() {
    let site = Site::new();
    let nobody = proxy::local(Version::V2);
    let (none, line, block) = (&b""[..], &b"PROXY UNKNOWN\r\n"[..], nobody.as_slice());
    for options in [&[][..], &["-r"], &["-p", "smtp"], &["--implicit"]] {
        for (accepts, said) in
            [(&[][..], none), (&["--accept-proxy"], none), (&["--accept-proxy"], line), (&["--accept-proxy"], block)]
        {
            for resets in [false, true] {
                let wrapper = Wrapper::respawn(&site).options(options).options(accepts);
                let mut session = wrapper.start_prog(&["sh", "-c", "echo 220 mx.example; read -r line; exit 0"]);
                session.client.says(said);
                session.unshare();
                match resets {
                    true => session.reset(),
                    false => session.vanish(),
                }
                let what = format!("{options:?} {accepts:?} {said:?}, resets: {resets}");
                let End { status, log } = session.end();
                assert_eq!(log, "", "{what}");
                // Where prog is not run, nothing has failed; where it is, this is its affair.
                let runs = options != ["--implicit"] && (accepts.is_empty() || !said.is_empty());
                assert!(status == 0 || runs, "{what}: {status}");
            }
        }
    }
}

/// At -v 2 it is a session like any other.
#[test]
fn who_connects_and_leaves_has_a_session_line() {
    let site = Site::new();
    for (option, line) in [("--accept-proxy", "outcome=unused in=0 out=0"), ("--implicit", "outcome=unused in=0 out=0")]
    {
        let mut session = Wrapper::respawn(&site).options(&[option, "-v", "2"]).start();
        session.vanish();
        let log = session.end().log;
        assert!(log.contains(line), "{log}");
    }
}

/// Whoever breaks off is told of: that is no health check.
#[test]
fn who_leaves_within_a_header_or_a_handshake_is_warned_of() {
    let site = Site::new();
    for (option, said, told) in [
        (
            "--accept-proxy",
            &b"PROXY TCP4 192."[..],
            "fatal: unable to read the PROXY header: the connection was closed",
        ),
        ("--implicit", b"\x16\x03\x01\x02", "failed: the connection was closed"),
    ] {
        let mut session = Wrapper::respawn(&site).option(option).start();
        session.client.says(said);
        session.vanish();
        let log = session.end().log;
        assert!(log.contains(told), "{log}");
    }
}
