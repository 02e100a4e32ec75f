//! The contract with administrators: what the command line takes, what is said, and the exit status.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod support;

use std::fs;
use std::io::{Read, Write, pipe};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};

use rustix::net::sockopt::set_socket_send_buffer_size;
use starttls_protocols::PROTOCOLS;
use support::certificates::Site;
use support::proc;
use support::program::{LIBRARY, Running, sentence};
use support::wrapper::{WRAPPER, Wrapper};

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(WRAPPER);
    for name in ["KEYFILE", "CERTFILE", "TLS_UID", "TLS_GID"] {
        command.env_remove(name);
    }
    command.args(arguments).envs(environment.iter().copied()).stdin(Stdio::null()).output().unwrap()
}

/// It ends with this status, and says this one line.
#[track_caller]
fn says(arguments: &[&str], environment: &[(&str, &str)], status: i32, line: &str) {
    let output = run(arguments, environment);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(status), "{arguments:?} says {said}");
    assert!(sentence(&said).starts_with(&format!("starttls-wrapper: {line}")), "{arguments:?} says {said}");
    assert_eq!(said.lines().count(), 1, "{arguments:?} says {said}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
}

#[test]
fn usage_errors_say_what_is_wrong() {
    for (arguments, line) in [
        (&[][..], "host, port and prog are needed: "),
        (&["localhost", "587"], "host, port and prog are needed: "),
        (&["--respawn"], "no prog to run: "),
        (&["--respawn", "--"], "no prog to run: "),
        (&["--nonsense", "localhost", "587", "true"], "unknown option --nonsense: "),
        (&["-x", "localhost", "587", "true"], "unknown option -x: "),
        (&["localhost", "0", "true"], "port must be a number from 1 to 65535, not 0"),
        (&["localhost", "65536", "true"], "port must be a number from 1 to 65535, not 65536"),
        (&["localhost", "smtp", "true"], "port must be a number from 1 to 65535, not smtp"),
        (&["-K", "soon", "--respawn", "true"], "-K wants a number, not soon"),
        (&["-K"], "missing argument for option '-K': "),
        (&["-v", "-1", "--respawn", "true"], "-v wants a number, not -1"),
        (&["--tls-deadline", "1.5", "--respawn", "true"], "--tls-deadline wants a number, not 1.5"),
        (&["--tls-min", "1.1", "--respawn", "true"], "--tls-min wants 1.2 or 1.3, not 1.1"),
        (&["-p", "gopher", "--respawn", "true"], "--protocol wants auto or one of smtp, "),
        (&["--respawn=yes", "true"], "unexpected argument for option '--respawn': "),
        (&["--respawn", "--backend-name", "x", "true"], "--respawn and --implicit have no backend: "),
    ] {
        says(arguments, &[], 100, &format!("usage: {line}"));
    }
}

#[test]
fn a_bad_environment_is_fatal() {
    let arguments = ["--respawn", "true"];
    for (environment, line) in [
        (&[("TLS_UID", "mail"), ("TLS_GID", "8")][..], "TLS_UID must be a numeric id, not mail"),
        (&[("TLS_UID", "8"), ("TLS_GID", "-1")], "TLS_GID must be a numeric id, not -1"),
        (&[("TLS_UID", "8")], "TLS_UID and TLS_GID belong together: set both or neither"),
    ] {
        says(&arguments, environment, 100, &format!("fatal: {line}"));
    }
}

#[test]
fn files_in_place_of_the_client_are_a_bad_environment() {
    let site = Site::new();
    let paths = (site.key(), site.cert());
    let environment = [("KEYFILE", paths.0.to_str().unwrap()), ("CERTFILE", paths.1.to_str().unwrap())];
    says(&["--respawn", "true"], &environment, 100, "fatal: descriptors 0 and 1 must be ");
}

#[test]
fn require_tls_without_a_key_is_fatal() {
    let line = "fatal: KEYFILE and CERTFILE are not set: STARTTLS cannot be offered";
    says(&["-r", "--respawn", "true"], &[], 96, line);
}

#[test]
fn the_one_of_key_and_certificate_that_is_missing_is_named() {
    let site = Site::new();
    for (set, file, missing) in [("KEYFILE", site.key(), "CERTFILE"), ("CERTFILE", site.cert(), "KEYFILE")] {
        let environment = [(set, file.to_str().unwrap())];
        for options in [&["-r", "--respawn", "true"][..], &["-k", "0", "--implicit", "true"]] {
            says(options, &environment, 96, &format!("fatal: {missing} is not set: STARTTLS cannot be offered\n"));
        }
    }
}

#[test]
fn help_and_version_go_to_standard_output() {
    let usage = "usage: starttls-wrapper [options] [--] host port prog...\n";
    for (option, start) in [("--help", usage), ("--version", "starttls-wrapper ")] {
        let output = run(&[option, "--nonsense"], &[]);
        assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]), "{option}");
        assert!(String::from_utf8(output.stdout).unwrap().starts_with(start), "{option}");
    }
}

#[test]
fn version_names_the_program_its_tls_and_every_protocol() {
    let said = String::from_utf8(run(&["--version"], &[]).stdout).unwrap();
    let [program, tls, protocols] = said.lines().collect::<Vec<_>>()[..] else { panic!("{said}") };
    assert_eq!(program, concat!("starttls-wrapper ", env!("CARGO_PKG_VERSION")));
    assert!(tls.starts_with(&format!("TLS: {LIBRARY}; X25519MLKEM768 X25519 ")), "{tls}");
    let names: Vec<&str> = protocols.strip_prefix("protocols: ").unwrap().split(' ').collect();
    assert_eq!(names, PROTOCOLS.iter().map(|protocol| protocol.name).collect::<Vec<_>>());
    for name in names {
        // What is wrong is the missing prog, not the name.
        says(&["-p", name, "--respawn"], &[], 100, "usage: no prog to run: ");
    }
}

#[test]
fn the_exit_status_is_progs_own() {
    let site = Site::new();
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 128 + 15), ("kill -KILL $$", 128 + 9)] {
        let end = Wrapper::respawn(&site).start_prog(&["/bin/sh", "-c", script]).end();
        assert_eq!((end.status, &*end.log), (status, ""), "{script}");
    }
}

#[test]
fn a_prog_that_cannot_be_run_has_the_shells_status() {
    let site = Site::new();
    for (prog, status, reason) in [
        ("/nonexistent/prog", 127, "no such file or directory"),
        ("no-such-program-in-path", 127, "no such file or directory"),
        ("/etc/passwd", 126, "permission denied"),
    ] {
        // A directory that the user may not look into would say permission denied.
        let end = Wrapper::respawn(&site).env("PATH", "/usr/bin:/bin").start_prog(&[prog]).end();
        let line = format!("starttls-wrapper: fatal: unable to run {prog}: {reason}\n");
        assert_eq!((end.status, end.log), (status, line));
    }
}

#[test]
fn verbosity_decides_what_is_said() {
    let site = Site::new();
    for (verbosity, lines) in [("0", 0), ("1", 1), ("2", 2)] {
        let wrapper = Wrapper::respawn(&site).env("KEYFILE", "/nonexistent/key").options(&["-v", verbosity]);
        let log = wrapper.start_prog(&["true"]).end().log;
        assert_eq!(log.lines().count(), lines, "-v {verbosity}: {log}");
    }
}

#[test]
fn the_transcript_shows_no_secret() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).options(&["-v", "3"]).start();
    let mut server = session.opening();
    session.client.says("AUTH PLAIN AGEAc2VjcmV0\r\n");
    server.hears("AUTH PLAIN AGEAc2VjcmV0\r\n");
    drop(server);
    session.client.hears_end();
    let log = session.end().log;
    for line in ["S: 220 mx.example ESMTP\n", "C: EHLO laptop\n", "S: 250 PIPELINING\n", "C: AUTH\n"] {
        assert!(log.contains(&format!("starttls-wrapper: info: {line}")), "{line} in {log}");
    }
    assert!(!log.contains("AGEAc2VjcmV0"), "{log}");
}

/// Part of what the server says is with the client's kernel, the rest waits here when the client leaves.
#[test]
fn the_transcript_tells_that_a_reply_was_not_sent_and_why() {
    let site = Site::new();
    let greeting = site.dir.file("greeting");
    fs::write(&greeting, format!("220-{}\r\n", "x".repeat(1000)).repeat(8)).unwrap();
    for (level, tells) in [("2", false), ("3", true)] {
        let (mut client, shared) = UnixStream::pair().unwrap();
        set_socket_send_buffer_size(&shared, 1).unwrap();
        let greets = ["/bin/sh", "-c", "cat \"$0\"; read -r line", greeting.to_str().unwrap()];
        let mut command = Wrapper::respawn(&site).options(&["-v", level]).command(&[], &greets);
        let [input, output] = [shared.try_clone().unwrap(), shared].map(OwnedFd::from);
        let mut wrapper = Running::start(command.stdin(input).stdout(output));
        client.read_exact(&mut [0]).unwrap();
        let session = proc::session_of(wrapper.pid());
        proc::until(|| proc::is_asleep(session));
        drop((client, command));
        wrapper.wait();
        let log = wrapper.log.whole();
        let lost = "starttls-wrapper: info: the client was lost before all was sent to it: ";
        let why = log.lines().find_map(|line| line.strip_prefix(lost));
        assert_eq!(why.is_some(), tells, "{log}");
        // Whichever of its two descriptors tells first.
        let reasons = ["broken pipe", "connection reset by peer", "it hung up"];
        assert!(why.is_none_or(|why| reasons.contains(&why)), "{log}");
    }
}

#[test]
fn the_transcript_tells_why_a_client_was_lost() {
    let site = Site::new();
    for (level, tells) in [("2", false), ("3", true)] {
        let mut session = Wrapper::respawn(&site).options(&["-v", level]).start();
        let mut server = session.opening();
        session.client.says("NOOP\r\n");
        server.hears("NOOP\r\n");
        session.unshare();
        session.reset();
        server.hears_end();
        drop(server);
        let log = session.end().log;
        // Whichever of its two descriptors tells first.
        let reasons = ["connection reset by peer", "it hung up"];
        let told = reasons.iter().any(|why| log.contains(&format!("info: the client was lost: {why}\n")));
        assert_eq!(told, tells, "{log}");
    }
}

/// The limit ends the session, with a reply that the client never heard.
#[test]
fn the_transcript_tells_of_a_client_that_does_not_read_the_go_ahead() {
    let site = Site::new();
    let ((input, mut says), (mut hears, output)) = (pipe().unwrap(), pipe().unwrap());
    let mut filler = output.try_clone().unwrap();
    let wrapper = Wrapper::respawn(&site).options(&["-v", "3", "-K", "100"]);
    let mut command = wrapper.command(&[], &["sh", "-c", "echo 220 a; read ehlo; echo 250 a; cat"]);
    let mut running = Running::start(command.stdin(input).stdout(output));
    says.write_all(b"EHLO laptop\r\n").unwrap();
    let offered = b"220 a\n250-a\n250 STARTTLS\n";
    hears.read_exact(&mut vec![0; offered.len()]).unwrap();
    // Session and test write to one pipe, and the session has made it non-blocking.
    for size in [4096, 1] {
        while filler.write(&vec![0; size]).is_ok() {}
    }
    says.write_all(b"STARTTLS\r\n").unwrap();
    assert_eq!(running.wait(), 99);
    let log = running.log.whole();
    assert!(log.contains("fatal: the client did not read the go-ahead\n"), "{log}");
    assert!(log.contains("info: the client was lost before all was sent to it: it stopped reading\n"), "{log}");
}

#[test]
fn the_transcript_tells_where_and_why_it_ends() {
    let site = Site::new();
    for (client, why) in
        [("MAIL FROM:<>\r\n", "the command is no opening word"), ("", "the client has said its last word")]
    {
        let mut session = Wrapper::respawn(&site).options(&["-v", "3"]).start();
        let mut server = session.opening();
        session.client.says(client);
        session.client.says_no_more();
        server.hears(client);
        server.hears_end();
        drop(server);
        session.client.hears_end();
        let log = session.end().log;
        assert!(log.contains(&format!("starttls-wrapper: info: unwatched from here: {why}\n")), "{log}");
        assert!(!log.contains("was lost"), "{log}");
    }
}
