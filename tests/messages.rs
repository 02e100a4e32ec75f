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
fn proxy_env_keeps_messages_from_the_client_as_well() {
    let loud = ["sh", "-c", "echo noise >&2; echo 220 mx"];
    for (words, header, heard) in [
        (&[][..], "", ""),
        (&["--nonsense"], "", ""),
        (&loud, "no header\r\n", ""),
        (&loud, "PROXY UNKNOWN\r\n", "220 mx\n"),
        (&["/nonexistent"], "PROXY UNKNOWN\r\n", ""),
    ] {
        let (mut client, ours) = UnixStream::pair().unwrap();
        let [input, output, messages] = [(); 3].map(|()| OwnedFd::from(ours.try_clone().unwrap()));
        drop(ours);
        client.write_all(header.as_bytes()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_proxy-env"));
        command.args(words).stdin(input).stdout(output).stderr(messages).status().unwrap();
        drop(command);
        let mut rest = String::new();
        client.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, heard, "{words:?} {header}");
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
