//! Where messages go, and where not.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use support::certificates::Site;
use support::program::program;
use support::tls;
use support::wrapper::{WRAPPER, Wrapper};

/// Makes the client's descriptor 2 as well, as inetd, xinetd and systemd do.
const INETD: [&str; 4] = ["/bin/sh", "-c", "exec \"$@\" 2>&1", "sh"];

/// The same with a pipe for descriptors 1 and 2, as `socat EXEC:...,pipes,stderr` has it.
const PIPES: [&str; 4] = ["/bin/sh", "-c", "\"$@\" 2>&1 | cat", "sh"];

/// Says more than the client should hear.
const LOUD: [&str; 4] = ["/bin/sh", "-c", "echo noise >&2; exec \"$@\"", "sh"];

#[test]
fn a_client_that_is_descriptor_2_hears_no_message() {
    let loud = ["/bin/sh", "-c", "echo noise >&2; echo 220 mx"];
    for (options, environment, prog, heard) in [
        (&["--nonsense"][..], &[][..], &loud[..], ""),
        (&["--respawn"], &[("TLS_UID", "x")], &loud, ""),
        (&["--respawn"], &[("SSLCTLFD", "900")], &loud, ""),
        (&["--respawn"], &[("KEYFILE", "/nonexistent")], &loud, "220 mx\n"),
        (&["--respawn", "-r"], &[("KEYFILE", "/nonexistent")], &loud, ""),
        (&["--implicit"], &[("KEYFILE", "/nonexistent")], &loud, ""),
        (&["--respawn", "-v", "3"], &[], &loud, "220 mx\n"),
        (&["--ucspi-tls", "-v", "3"], &[], &loud, "220 mx\n"),
        (&["--respawn"], &[], &["/nonexistent"], ""),
        (&["--respawn", "--connect", "127.0.0.1:1"], &[], &[], ""),
    ] {
        let site = Site::new();
        let wrapper = Wrapper::bare(&[]).site(&site).options(options).behind(&INETD);
        let wrapper = environment.iter().fold(wrapper, |wrapper, (name, value)| wrapper.env(name, value));
        let mut session = wrapper.start_prog(prog);
        session.unshare();
        session.client.says_no_more();
        assert_eq!(String::from_utf8_lossy(&session.client.hears_rest()), heard, "{options:?} {environment:?}");
    }
}

#[test]
fn nor_does_it_hear_prog_before_tls_or_inside() {
    let site = Site::new();
    for before in [INETD, PIPES] {
        let wrapper = Wrapper::respawn(&site).options(&["-v", "3"]).behind(&before);
        let mut session = wrapper.start_between(&[], &LOUD);
        let server = session.opening();
        assert_eq!(fs::read_link(format!("/proc/{}/fd/2", server.pid)).unwrap().to_str(), Some("/dev/null"));
        session.starttls(&tls::Client::new(&site));
        let mut server = session.fresh_server();
        session.client.says("EHLO laptop\r\n");
        server.hears("EHLO laptop\r\n");
        server.says("250 fresh.example\r\n");
        session.client.hears("250 fresh.example\r\n");
        drop(server);
        session.unshare();
        session.client.hears_end();
    }
}

#[test]
fn proxy_env_and_tlsify_keep_messages_from_the_client_as_well() {
    let proxy_env = env!("CARGO_BIN_EXE_proxy-env");
    let tlsify = env!("CARGO_BIN_EXE_tlsify");
    let loud = ["sh", "-c", "echo noise >&2; echo 220 mx"];
    for (program, words, said, heard) in [
        (proxy_env, &[][..], "", ""),
        (proxy_env, &["--nonsense"], "", ""),
        (proxy_env, &loud, "no header\r\n", ""),
        (proxy_env, &loud, "PROXY UNKNOWN\r\n", "220 mx\n"),
        (proxy_env, &["/nonexistent"], "PROXY UNKNOWN\r\n", ""),
        (tlsify, &["--nonsense"], "", ""),
        (tlsify, &["127.0.0.1", "0"], "", ""),
        (tlsify, &["-v", "3", "127.0.0.1", "1"], "", ""),
        (tlsify, &["127.0.0.1", "1", "/nonexistent"], "", ""),
    ] {
        let (mut client, ours) = UnixStream::pair().unwrap();
        let [input, output, messages] = [(); 3].map(|()| OwnedFd::from(ours.try_clone().unwrap()));
        drop(ours);
        client.write_all(said.as_bytes()).unwrap();
        let mut command = Command::new(program);
        command.args(words).stdin(input).stdout(output).stderr(messages).status().unwrap();
        drop(command);
        let mut rest = String::new();
        client.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, heard, "{program} {words:?} {said}");
    }
}

/// Every line that a session says, whichever of its processes speaks.
#[test]
fn a_message_names_the_process_that_the_super_server_started_and_the_client() {
    let site = Site::new();
    for (wrapper, told, says) in [
        (Wrapper::respawn(&site).options(&["-v", "3"]), None, "STARTTLS\r\nno TLS\r\n"),
        (Wrapper::respawn(&site).options(&["-v", "3"]), Some("192.0.2.9:4711"), "STARTTLS\r\nno TLS\r\n"),
        (Wrapper::respawn(&site).env("KEYFILE", "/nonexistent"), Some("[2001:db8::9]:4711"), "STARTTLS\r\n"),
        (Wrapper::backend(&site, 1), None, "STARTTLS\r\n"),
    ] {
        let environment = told
            .and_then(|told| told.rsplit_once(':'))
            .map(|(ip, port)| [("TCPREMOTEIP", ip.trim_matches(['[', ']'])), ("TCPREMOTEPORT", port)]);
        let wrapper = environment.iter().flatten().fold(wrapper, |wrapper, (name, value)| wrapper.env(name, value));
        let mut session =
            wrapper.start_prog(&["/bin/sh", "-c", "echo 220 mx; read line; echo 250 mx; cat > /dev/null"]);
        session.client.says("EHLO laptop\r\n");
        session.client.hears_line_with("250");
        session.client.says(says);
        session.unshare();
        session.client.says_no_more();
        session.client.hears_rest();
        let (pid, log) = (session.wrapper.pid(), session.wrapper.log.clone());
        let client = told.map_or_else(|| session.line.local_addr().unwrap().to_string(), str::to_owned);
        session.end();
        names(&log.raw(), "starttls-wrapper", pid, &client);
    }
}

#[test]
fn behind_a_load_balancer_the_client_is_the_balancer_until_its_header_is_read() {
    let site = Site::new();
    let balancer = Wrapper::respawn(&site).option("--accept-proxy").env("TCPREMOTEIP", "192.0.2.1");
    for (header, prog, client) in [
        ("EHLO laptop\r\n", "/bin/true", "192.0.2.1"),
        ("PROXY TCP4 198.51.100.9 192.0.2.2 4711 25\r\n", "/nonexistent", "198.51.100.9:4711"),
    ] {
        let mut session = balancer.clone().start_prog(&[prog]);
        session.client.says(header);
        session.unshare();
        session.client.hears_rest();
        let (pid, log) = (session.wrapper.pid(), session.wrapper.log.clone());
        session.end();
        names(&log.raw(), "starttls-wrapper", pid, client);
    }
}

#[test]
fn proxy_env_names_them_as_well() {
    for (words, header, client) in [
        (&["true"][..], "EHLO laptop\r\n", "192.0.2.1:25"),
        (&["/nonexistent"], "PROXY UNKNOWN\r\n", "192.0.2.1:25"),
        (&["/nonexistent"], "PROXY TCP4 198.51.100.9 192.0.2.2 4711 25\r\n", "198.51.100.9:4711"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proxy-env"));
        command.args(words).env("TCPREMOTEIP", "192.0.2.1").env("TCPREMOTEPORT", "25");
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        child.stdin.take().unwrap().write_all(header.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        names(&String::from_utf8(output.stderr).unwrap(), "proxy-env", pid, client);
    }
}

/// What is wrong with the command line is not the client's affair.
#[test]
fn a_usage_error_names_the_process() {
    let child = Command::new(WRAPPER).arg("--nonsense").stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let said = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    assert!(said.starts_with(&format!("starttls-wrapper: pid {pid}: usage: unknown option --nonsense: ")), "{said}");
}

#[track_caller]
fn names(log: &str, program: &str, pid: u32, client: &str) {
    assert!(!log.is_empty());
    for line in log.lines() {
        let sentence = line.strip_prefix(&format!("{program}: pid {pid}: ")).and_then(|rest| rest.split_once(": "));
        let (level, sentence) = sentence.unwrap_or_else(|| panic!("{line}"));
        assert!(["fatal", "warning", "info"].contains(&level), "{line}");
        let named = [format!("{client}: "), format!("session client={client} ")];
        assert!(named.iter().any(|name| sentence.starts_with(name)), "{client} is not named: {line}");
    }
}

#[test]
fn a_person_hears_what_is_wrong_with_the_command_line() {
    let usage = "usage: unknown option --nonsense: ";
    let pager = Command::new("/bin/sh").args(["-c", "\"$0\" --nonsense 2>&1 | cat", WRAPPER]).output().unwrap();
    assert!(String::from_utf8_lossy(&pager.stdout).contains(usage), "{pager:?}");
    let mut terminal = program("python3");
    terminal.args(["-IS", "-c", "import pty, sys; pty.spawn(sys.argv[1:])", WRAPPER, "--nonsense"]);
    let output = terminal.stdin(Stdio::null()).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains(usage), "{output:?}");
}
