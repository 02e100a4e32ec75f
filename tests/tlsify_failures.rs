//! tlsify: what a server can do wrong. It never comes to plaintext that was not asked for, the plaintext side hears nothing
//! of it, and the administrator, the exit status and the control channel tell what it was.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;

use support::backend::{Backend, ClosedPort};
use support::caller::{Call, Ended, SMTP, goes};
use support::certificates::{Flaw, Site};
use support::peer::Peer;
use support::tls_server::Server;

/// A call that comes to nothing: the plaintext side hears nothing, the administrator and the control channel the reason.
#[track_caller]
fn comes_to_nothing(ended: &Ended, status: i32, why: &str) {
    assert_eq!((ended.status, ended.heard.as_str()), (status, ""), "{}", ended.log);
    assert_eq!(ended.told, format!("\n\n{why}\n"));
    assert_eq!(ended.log, format!("tlsify: fatal: {why}\n"));
}

#[test]
fn a_certificate_that_does_not_verify_is_told_with_the_pin_that_would_do() {
    let starttls = ["--tls", "starttls", "-p", "smtp"];
    let opportunistic = ["--tls", "opportunistic", "-p", "smtp"];
    for (flaw, why) in [
        (Flaw::WrongName, "certificate is for another name"),
        (Flaw::Untrusted, "issuer is unknown"),
        (Flaw::Expired, "certificate has expired"),
    ] {
        for mode in [&[][..], &starttls, &opportunistic] {
            let (site, server) = (Site::flawed(flaw), Backend::new());
            let serve = || {
                let mut peer = Peer::tcp(server.accept());
                if !mode.is_empty() {
                    goes(&mut peer, SMTP);
                    peer.says("220 go\r\n");
                }
                // Whoever leaves with something unread resets the connection, and what it said may be lost.
                if let Ok((mut peer, _)) = Server::new(&site).accept(peer) {
                    peer.says("answer\r\n");
                    peer.says_no_more();
                    peer.hears_end();
                }
            };
            let (ended, _) = Call::trusting(&site, server.port()).with(mode).with_server("", serve);
            let names = if flaw == Flaw::WrongName {
                "DNS:elsewhere.example,IP:192.0.2.1"
            } else {
                "DNS:localhost,IP:127.0.0.1"
            };
            let line = ended.log.clone();
            for part in
                [format!("unable to verify localhost port {}: {why}: ", server.port()), names.into(), site.pin()]
            {
                assert!(line.contains(&part), "no {part} in {line}");
            }
            assert_eq!((ended.status, ended.heard.as_str()), (98, ""), "{mode:?}");
            assert!(ended.told.starts_with("\n\nunable to verify localhost"), "{}", ended.told);
            assert!(server.is_untouched(), "it is not called again");
            // Who knows that it is right says so.
            let pinned = Call::new(&["--pin", &site.pin(), "localhost", &server.port().to_string()]).with(mode);
            let (ended, _) = pinned.with_server("", serve);
            assert!(ended.heard.ends_with("answer\r\n"), "{}", ended.log);
            assert_eq!((ended.status, ended.variable("SSL_SERVER_VERIFY")), (0, "PINNED"));
        }
    }
}

#[test]
fn plaintext_behind_the_go_ahead_ends_it() {
    for mode in ["starttls", "opportunistic"] {
        for (at_once, why) in [(true, "it sent 10 bytes of plaintext behind a reply"), (false, "it speaks no TLS")] {
            let (site, server) = (Site::new(), Backend::new());
            let options = ["--tls", mode, "-p", "smtp"];
            let (ended, ()) = Call::trusting(&site, server.port()).with(&options).with_server("EHLO b\r\n", || {
                let mut peer = Peer::tcp(server.accept());
                goes(&mut peer, SMTP);
                if at_once {
                    peer.says("220 go\r\n250 evil\r\n");
                } else {
                    peer.says("220 go\r\n");
                    // The ClientHello has begun.
                    peer.hears([22]);
                    peer.says("250 evil\r\n");
                }
                peer.hears_rest();
            });
            comes_to_nothing(
                &ended,
                98,
                &format!("unable to use the TLS server localhost port {}: {why}", server.port()),
            );
            assert!(server.is_untouched(), "{mode}");
        }
    }
}

#[test]
fn a_server_that_will_not_serve_ends_it() {
    for (protocol, greeting) in
        [("imap", "* PREAUTH evil"), ("imap", "* BYE no"), ("smtp", "554 no"), ("pop3", "-ERR no")]
    {
        for mode in ["starttls", "opportunistic"] {
            let (site, server) = (Site::new(), Backend::new());
            let options = ["--tls", mode, "-p", protocol];
            let (ended, ()) = Call::trusting(&site, server.port()).with(&options).with_server("", || {
                let mut peer = Peer::tcp(server.accept());
                peer.says(format!("{greeting}\r\n"));
                peer.hears_end();
            });
            let why =
                format!("unable to use the TLS server localhost port {}: it will not serve: {greeting}", server.port());
            comes_to_nothing(&ended, 98, &why);
            assert!(server.is_untouched(), "{mode}");
        }
    }
}

#[test]
fn a_server_that_is_not_there_ends_it() {
    let (site, port) = (Site::new(), ClosedPort::new());
    let ended = Call::trusting(&site, port.number()).run("");
    comes_to_nothing(
        &ended,
        111,
        &format!("unable to connect to localhost port {}: connection refused", port.number()),
    );
    let ended = Call::new(&["--ca", "/nonexistent", "localhost", "1"]).run("");
    assert_eq!(ended.status, 111, "{}", ended.log);
}

#[test]
fn a_server_that_leaves_in_the_middle_ends_it() {
    let (site, server) = (Site::new(), Backend::new());
    let (ended, ()) =
        Call::trusting(&site, server.port()).with_server("", || drop(server.accept_and_hear_client_hello()));
    let why = format!("unable to use the TLS server localhost port {}: the connection was closed", server.port());
    comes_to_nothing(&ended, 98, &why);
}

#[test]
fn an_answer_that_is_cut_is_none() {
    for (option, status) in [("-J", 98), ("-j", 0)] {
        let (site, server) = (Site::new(), Backend::new());
        let (ended, ()) = Call::trusting(&site, server.port()).with(&[option]).with_server("ask\r\n", || {
            let (mut peer, _) = Server::new(&site).accept(Peer::tcp(server.accept())).unwrap();
            peer.hears("ask\r\n");
            peer.hears_end();
            peer.says("half an ans");
            // TCP ends, TLS does not.
            peer.take_transport();
        });
        assert_eq!((ended.status, ended.heard.as_str(), ended.last()), (status, "half an ans", "cut"));
    }
}

#[test]
fn an_answer_for_which_there_is_no_room_is_none() {
    let (site, server) = (Site::new(), Backend::new());
    let call = Call::trusting(&site, server.port());
    let running = call.start(Stdio::null(), File::options().write(true).open("/dev/full").unwrap());
    let (mut peer, _) = Server::new(&site).accept(Peer::tcp(server.accept())).unwrap();
    peer.says("answer\r\n");
    peer.says_no_more();
    let ended = call.end(running, String::new);
    let why = "unable to write to the plaintext side: no space left on device";
    assert_eq!((ended.status, ended.last()), (111, why), "{}", ended.log);
}

#[test]
fn a_server_that_breaks_tls_is_told_by_the_alert() {
    let (site, server) = (Site::new(), Backend::new());
    let (ended, ()) = Call::trusting(&site, server.port()).with_server("ask\r\n", || {
        let stream = server.accept();
        let mut below = stream.try_clone().unwrap();
        let (mut peer, _) = Server::new(&site).accept(Peer::tcp(stream)).unwrap();
        peer.hears("ask\r\n");
        peer.says("answer\r\n");
        // A record that nobody has encrypted.
        below.write_all(&[23, 3, 3, 0, 32]).and_then(|()| below.write_all(&[0; 32])).unwrap();
        let _ = below.read_to_end(&mut Vec::new());
    });
    assert_eq!((ended.status, ended.heard.as_str()), (98, "answer\r\n"), "{}", ended.log);
    // Why is told in the words of a library, the same in both places.
    assert_eq!(ended.log, format!("tlsify: warning: TLS with the TLS server failed: {}\n", ended.last()));
    assert!(!["", "clean", "cut"].contains(&ended.last()), "{}", ended.told);
}

#[test]
fn prog_that_cannot_be_run_has_the_shells_status() {
    let (site, server) = (Site::new(), Backend::new());
    let (ended, ()) = Call::trusting(&site, server.port()).prog(&["/nonexistent/prog"]).with_server("", || {
        let (mut peer, _) = Server::new(&site).accept(Peer::tcp(server.accept())).unwrap();
        peer.hears_rest();
    });
    assert_eq!(ended.status, 127);
    assert_eq!(ended.last(), "unable to run /nonexistent/prog: no such file or directory");
}

#[test]
fn usage_errors_say_what_is_wrong() {
    for (words, line) in [
        (&["localhost"][..], "host and port are needed: "),
        (&["localhost", "0"], "port must be a number from 1 to 65535, not 0"),
        (&["--nonsense", "localhost", "1"], "unknown option --nonsense: tlsify "),
        (&["--tls", "none", "localhost", "1"], "--tls wants implicit, starttls, either or opportunistic, not none"),
        (&["--tls", "starttls", "localhost", "1"], "STARTTLS needs --protocol"),
        (&["--tls", "opportunistic", "-p", "auto", "localhost", "1"], "STARTTLS needs --protocol"),
        (&["--tls", "either", "-p", "smtp", "localhost", "1"], "--tls either needs --implicit-port"),
        (&["--implicit-port", "1", "localhost", "1"], "--implicit-port needs --tls either"),
        (&["--cert", "/x", "localhost", "1"], "--cert and --key belong together: give both or neither"),
        (&["--proxy-inside", "localhost", "1"], "--proxy-inside needs --proxy-protocol"),
        (&["--pin", "sha256//x", "localhost", "1"], "--pin wants sha256//BASE64 of 32 bytes, not sha256//x"),
        (&["--control", "2", "localhost", "1"], "--control wants a descriptor above 2"),
        (&["--control", "7", "localhost", "1", "true"], "--control wants a descriptor that is not prog's: "),
        (&["unix:/x", "-"], "unix:/x has no name to verify: give --name"),
    ] {
        let ended = Call::new(words).run("");
        assert!(ended.log.starts_with(&format!("tlsify: usage: {line}")), "{words:?}: {}", ended.log);
        assert_eq!(ended.status, 100);
    }
    let ended = Call::new(&["--control", "77", "localhost", "1"]).run("");
    assert_eq!((ended.status, ended.log.as_str()), (100, "tlsify: fatal: --control is 77, which is not open\n"));
}
