//! tlsify: what both sides hear, how sessions end, and what each process has.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]

mod support;

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use starttls_protocols::{Offer, PROTOCOLS, Policy, Sentence};
use support::backend::Backend;
use support::caller::{Call, SMTP, TLSIFY, Way, goes};
use support::certificates::Site;
use support::peer::Peer;
use support::program::{Running, path_of};
use support::tls_server::Server;
use support::{PATIENCE, proc, readable};

/// A protocol: the way to TLS, the go-ahead, and what a client says inside, with what it hears.
type Inside = (&'static str, Way, &'static str, Way);

const INSIDE: &[Inside] = &[
    ("smtp", SMTP, "220 go\r\n", &[("", "220 localhost ESMTP"), ("EHLO b", "250-c\r\n250 SIZE"), ("QUIT", "221 d")]),
    (
        "lmtp",
        &[("220 a\r\n", "LHLO localhost\r\n"), ("250 STARTTLS\r\n", "STARTTLS\r\n")],
        "220 go\r\n",
        &[("", "220 localhost ESMTP"), ("LHLO b", "250-c\r\n250 SIZE"), ("QUIT", "221 d")],
    ),
    (
        "pop3",
        &[("+OK a <evil@timestamp>\r\n", "STLS\r\n")],
        "+OK go\r\n",
        &[("", "+OK localhost"), ("CAPA", "+OK\r\nTOP\r\n."), ("QUIT", "+OK d")],
    ),
    (
        "imap",
        &[("* OK [CAPABILITY EVIL] a\r\n", "1 STARTTLS\r\n")],
        "1 OK go\r\n",
        &[("", "* OK localhost"), ("b CAPABILITY", "* CAPABILITY IMAP4rev1\r\nb OK"), ("c LOGOUT", "c OK d")],
    ),
    (
        "nntp",
        &[("200 a\r\n", "STARTTLS\r\n")],
        "382 go\r\n",
        &[("", "200 localhost"), ("CAPABILITIES", "101 c\r\nVERSION 2\r\n."), ("QUIT", "205 d")],
    ),
    (
        "sieve",
        &[("\"EVIL\"\r\n\"STARTTLS\"\r\nOK\r\n", "STARTTLS\r\n")],
        "OK \"go\"\r\n",
        &[("", "\"SIEVE\" \"fileinto\"\r\nOK"), ("LOGOUT", "OK \"d\"")],
    ),
];

/// Those without a greeting have a test of their own.
#[test]
fn every_protocol_that_greets_is_tried() {
    let greeting = PROTOCOLS.iter().filter(|protocol| !protocol.is_client_first()).map(|protocol| protocol.name);
    assert_eq!(INSIDE.iter().map(|inside| inside.0).collect::<Vec<_>>(), greeting.collect::<Vec<_>>());
}

/// What a server says inside TLS, with an offer where there may be one.
fn with_offer(protocol: &str, hears: &str) -> String {
    let said = match (protocol, hears) {
        (_, "250-c\r\n250 SIZE") => "250-c\r\n250-STARTTLS\r\n250 SIZE",
        (_, "+OK\r\nTOP\r\n.") => "+OK\r\nSTLS\r\nTOP\r\n.",
        (_, "* CAPABILITY IMAP4rev1\r\nb OK") => "* CAPABILITY IMAP4rev1 STARTTLS\r\nb OK",
        (_, "101 c\r\nVERSION 2\r\n.") => "101 c\r\nVERSION 2\r\nSTARTTLS\r\n.",
        ("sieve", "\"SIEVE\" \"fileinto\"\r\nOK") => "\"SIEVE\" \"fileinto\"\r\n\"STARTTLS\"\r\nOK",
        _ => hears,
    };
    format!("{said}\r\n")
}

#[test]
fn every_protocol_comes_to_tls_and_hears_nothing_from_before_it() {
    for (protocol, way, go, inside) in INSIDE {
        let (site, server) = (Site::new(), Backend::new());
        let said = || inside.iter().filter(|(said, _)| !said.is_empty());
        let says: String = said().map(|(said, _)| format!("{said}\r\n")).collect();
        let call = Call::trusting(&site, server.port()).with(&["--tls", "starttls", "-p", protocol]);
        let (ended, ()) = call.with_server(&says, || {
            let mut peer = Peer::tcp(server.accept());
            goes(&mut peer, way);
            peer.says(go);
            let (mut peer, _) = Server::new(&site).accept(peer).unwrap();
            if *protocol == "sieve" {
                peer.says(with_offer(protocol, inside[0].1));
            }
            for (said, hears) in said() {
                peer.hears(format!("{said}\r\n"));
                peer.says(with_offer(protocol, hears));
            }
            peer.says_no_more();
            peer.hears_end();
        });
        let expected: String = inside.iter().map(|(_, hears)| format!("{hears}\r\n")).collect();
        assert_eq!(ended.heard, expected, "{protocol}");
        assert_eq!((ended.status, ended.last()), (0, "clean"), "{protocol}: {}", ended.log);
    }
}

/// Nobody greets there. What the client says first inside TLS, and what the server answers, are made up: they pass.
#[test]
fn protocols_in_which_the_client_speaks_first_come_to_tls() {
    let (site, server) = (Site::new(), Backend::new());
    let bind = b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00";
    let startup = b"\x00\x00\x00\x08\x00\x03\x00\x00";
    for protocol in PROTOCOLS.iter().filter(|protocol| protocol.is_client_first()) {
        let name = protocol.name;
        let says = match name {
            "ldap" => &bind[..],
            "postgres" => startup,
            _ => panic!("what does a client of {name} say?"),
        };
        let mut snooper = (protocol.snooper)(Policy { offer: Offer::Leave, strict: false, inside: false, fresh: true });
        let (asks, mut go) = (protocol.way_to_tls[0], Vec::new());
        snooper.command(asks);
        snooper.say(Sentence::GoAhead, &mut go);
        let call = Call::trusting(&site, server.port()).with(&["--tls", "starttls", "-p", name]);
        let (mut here, there) = UnixStream::pair().unwrap();
        let running = call.start(OwnedFd::from(there.try_clone().unwrap()), OwnedFd::from(there));
        let mut peer = Peer::tcp(server.accept());
        peer.hears(asks);
        peer.says(&go);
        let (mut peer, _) = Server::new(&site).accept(peer).unwrap();
        here.write_all(says).unwrap();
        peer.hears(says);
        peer.says(b"any answer");
        peer.says_no_more();
        let mut heard = String::new();
        here.read_to_string(&mut heard).unwrap();
        drop(here);
        let ended = call.end(running, || heard);
        assert_eq!((ended.status, ended.heard.as_str(), ended.last()), (0, "any answer", "clean"), "{name}");
    }
}

#[test]
fn what_is_said_behind_the_first_words_passes_unchanged() {
    let (site, server) = (Site::new(), Backend::new());
    let options = ["--tls", "starttls", "-p", "smtp"];
    let (ended, ()) = Call::trusting(&site, server.port()).with(&options).with_server(
        "EHLO b\r\nMAIL FROM:<>\r\nDATA\r\nx\r\n",
        || {
            let mut peer = Peer::tcp(server.accept());
            goes(&mut peer, SMTP);
            peer.says("220 go\r\n");
            let (mut peer, _) = Server::new(&site).accept(peer).unwrap();
            peer.hears("EHLO b\r\n");
            peer.says("250 c\r\n");
            peer.hears("MAIL FROM:<>\r\nDATA\r\nx\r\n");
            peer.says("250-STARTTLS\r\n");
            peer.says_no_more();
        },
    );
    assert_eq!(ended.heard, "220 localhost ESMTP\r\n250 c\r\n250-STARTTLS\r\n");
}

#[test]
fn a_server_that_asks_for_another_key_share_is_given_it() {
    let (site, server) = (Site::new(), Backend::new());
    let (ended, ()) = Call::trusting(&site, server.port()).with_server("ask\r\n", || {
        let (mut peer, _) = Server { retries: true, ..Server::new(&site) }.accept(Peer::tcp(server.accept())).unwrap();
        peer.hears("ask\r\n");
        peer.says("answer\r\n");
        peer.says_no_more();
    });
    assert_eq!((ended.heard.as_str(), ended.variable("SSL_GROUP")), ("answer\r\n", "secp384r1"));
}

#[test]
fn what_was_negotiated_is_told_to_the_control_channel_and_to_prog() {
    let (site, server) = (Site::new(), Backend::new());
    let show = "exec 7>&-; cat <&6 >&2; env | grep '^SSL_.*=' | grep -v 'SSL_CERT_' | sort";
    let call_prog = Call::trusting(&site, server.port()).with(&["-p", "smtp"]).prog(&["sh", "-c", show]);
    let (ended, ()) = call_prog.with_server("", || {
        let (mut peer, _) = Server::new(&site).accept(Peer::tcp(server.accept())).unwrap();
        peer.says_no_more();
        peer.hears_end();
    });
    let (told, end) = ended.told.split_once("\n\n").unwrap();
    let mut told: Vec<&str> = told.lines().collect();
    told.sort_unstable();
    assert_eq!(ended.heard.lines().collect::<Vec<_>>(), told);
    assert_eq!(end, "clean\n");
    for (name, value) in [
        ("SSL_PROTOCOL", "TLSv1.3"),
        ("SSL_CIPHER", "TLS_AES_256_GCM_SHA384"),
        ("SSL_GROUP", "X25519MLKEM768"),
        ("SSL_ALPN", "smtp"),
        ("SSL_TLS_SNI_SERVERNAME", "localhost"),
        ("SSL_SERVER_VERIFY", "SUCCESS"),
        ("SSL_SERVER_SAN", "DNS:localhost,IP:127.0.0.1"),
        ("SSL_SERVER_SPKI_PIN", &site.pin()),
        ("SSL_SERVER_S_DN", "CN=rcgen self signed cert"),
        ("SSL_SERVER_V_START", "1975-01-01T00:00:00Z"),
    ] {
        assert_eq!(ended.variable(name), value, "{name}");
    }
    assert!(ended.variable("SSL_SERVER_I_DN").starts_with("CN="));
    assert_eq!(ended.variable("SSL_SERVER_CERT_HASH").len(), "SHA256:".len() + 64);
}

#[test]
fn either_side_may_end_first() {
    let (site, server) = (Site::new(), Backend::new());
    let (mut here, there) = UnixStream::pair().unwrap();
    let call = Call::trusting(&site, server.port());
    let running = call.start(OwnedFd::from(there.try_clone().unwrap()), OwnedFd::from(there));
    let (mut peer, _) = Server::new(&site).accept(Peer::tcp(server.accept())).unwrap();
    // The server says its last word, and goes on listening.
    peer.says("last word\r\n");
    peer.says_no_more();
    let mut heard = String::new();
    here.set_read_timeout(Some(PATIENCE)).unwrap();
    here.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "last word\r\n");
    here.write_all(b"still here\r\n").unwrap();
    peer.hears("still here\r\n");
    here.shutdown(Shutdown::Write).unwrap();
    peer.hears_end();
    let ended = call.end(running, || heard);
    assert_eq!((ended.status, ended.last()), (0, "clean"));
}

/// Over two pipes, as prog has them, and over a socket. However much it was: a pipe's worth.
#[test]
fn what_was_said_before_leaving_arrives() {
    let last = "last words\r\n".repeat(4096);
    for pipes in [true, false] {
        let (site, server) = (Site::new(), Backend::new());
        let call = Call::trusting(&site, server.port());
        let side = if pipes { over_pipes() } else { over_a_socket() };
        let (running, mut peer, (mut hears, mut says)) = called_from(side, &call, &site, &server);
        peer.says("hello\r\n");
        hears.read_exact(&mut [0; 7]).unwrap();
        proc::stopped(proc::session_of(running.pid()), || {
            says.write_all(last.as_bytes()).unwrap();
            drop((hears, says));
        });
        peer.hears(&last);
        peer.hears_end();
        let ended = call.end(running, String::new);
        assert_eq!(ended.status, 0, "{}", ended.log);
    }
}

/// Of two pipes one may be closed long before the other: `tlsify host port <log >/dev/null`, or prog that wants no answer.
#[test]
fn who_wants_no_answer_may_go_on_speaking() {
    let (site, server) = (Site::new(), Backend::new());
    let call = Call::trusting(&site, server.port());
    let (running, mut peer, (hears, mut says)) = called_from(over_pipes(), &call, &site, &server);
    drop(hears);
    for number in 0..100 {
        let line = format!("line {number}\r\n");
        says.write_all(line.as_bytes()).unwrap();
        peer.hears(line);
    }
    drop(says);
    peer.hears_end();
    let ended = call.end(running, String::new);
    assert_eq!(ended.status, 0, "{}", ended.log);
}

/// As a pipe's writer ends once it has a word for a reader who has left. What the server heard is not the whole, and it can
/// know that.
#[test]
fn who_has_left_is_missed_with_the_next_word() {
    let (site, server) = (Site::new(), Backend::new());
    let call = Call::trusting(&site, server.port());
    let (running, mut peer, (hears, mut says)) = called_from(over_pipes(), &call, &site, &server);
    drop(hears);
    says.write_all(b"first line\r\n").unwrap();
    peer.hears("first line\r\n");
    peer.says("answer\r\n");
    let end = peer.read_to_end(&mut Vec::new());
    assert!(end.is_err_and(|why| why.kind() == ErrorKind::UnexpectedEof), "no close_notify");
    drop(says);
    assert_eq!(call.end(running, String::new).status, 0);
}

/// A call from this side that the server has taken, with both ends of it.
fn called_from(side: PlaintextSide, call: &Call, site: &Site, server: &Backend) -> (Running, Peer, (File, File)) {
    let ((theirs, ours), here) = side;
    let running = call.start(theirs, ours);
    let (peer, _) = Server::new(site).accept(Peer::tcp(server.accept())).unwrap();
    (running, peer, here)
}

/// What a program has for a plaintext side, and the other end: to read from and to write to.
type PlaintextSide = ((OwnedFd, OwnedFd), (File, File));

fn over_pipes() -> PlaintextSide {
    let ((input, says), (hears, output)) = (std::io::pipe().unwrap(), std::io::pipe().unwrap());
    ((input.into(), output.into()), (File::from(OwnedFd::from(hears)), File::from(OwnedFd::from(says))))
}

fn over_a_socket() -> PlaintextSide {
    let (here, there) = UnixStream::pair().unwrap();
    let [here, there] = [here, there].map(OwnedFd::from);
    ((there.try_clone().unwrap(), there), (File::from(here.try_clone().unwrap()), File::from(here)))
}

#[test]
fn prog_that_leaves_ends_it_and_its_status_counts() {
    let (site, server) = (Site::new(), Backend::new());
    let call_prog = Call::trusting(&site, server.port()).prog(&["sh", "-c", "printf 'last\\r\\n' >&7; exit 7"]);
    let (ended, ()) = call_prog.with_server("", || {
        let (mut peer, _) = Server::new(&site).accept(Peer::tcp(server.accept())).unwrap();
        peer.hears("last\r\n");
        peer.hears_end();
    });
    // The server leaves without a word, which is heard before the end of prog is, or not any more.
    assert_eq!(ended.status, 7, "{}", ended.log);
    assert!(["clean", "cut"].contains(&ended.last()), "{}", ended.told);
}

/// Types a line at a terminal, and then nothing more; tells what the terminal shows, and ends as its program does.
const TYPIST: &str = r#"
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
os.write(terminal, b"ask\n")
try:
    while shown := os.read(terminal, 1000):
        os.write(1, shown)
except OSError:
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

#[test]
fn nobody_types_to_a_server_that_has_said_its_last_word() {
    let (site, server) = (Site::new(), Backend::new());
    let mut typist = Command::new(path_of("python3"));
    typist.args(["-Ic", TYPIST, TLSIFY, "--ca"]).arg(site.ca()).args(["localhost", &server.port().to_string()]);
    let running = Running::start(typist.stdin(Stdio::null()).stdout(Stdio::piped()));
    let (mut peer, _) = Server::new(&site).accept(Peer::tcp(server.accept())).unwrap();
    peer.hears("ask\n");
    peer.says("answer\r\n");
    peer.says_no_more();
    peer.hears_end();
    let (mut running, mut shown) = (running, String::new());
    running.child().stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    assert_eq!((running.wait(), shown.as_str()), (0, "ask\r\nanswer\r\r\n"));
}

#[test]
fn the_client_key_is_with_the_keeper_alone_and_the_walls_stand() {
    let (site, server) = (Site::new(), Backend::new());
    let (cert, key) = (site.cert(), site.key());
    let own = ["--cert", cert.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let call = Call::trusting(&site, server.port()).with(&own);
    let (mut here, there) = UnixStream::pair().unwrap();
    let running = call.start(OwnedFd::from(there.try_clone().unwrap()), OwnedFd::from(there));
    // The ClientHello is out: the key has been read, and the session waits.
    let stream = server.accept();
    assert!(readable(&stream, PATIENCE));
    let (keeper, secret) = (running.pid(), site.secret());
    let limbs: Vec<u8> = secret.iter().rev().copied().collect();
    let holds = |pid| proc::memory_holds(pid, &secret) || proc::memory_holds(pid, &limbs);
    let session = proc::session_of(keeper);
    assert!(holds(keeper) && !holds(session));
    for (field, value) in [("NoNewPrivs", "1"), ("Seccomp", "2")] {
        assert_eq!(proc::status(session, field), value, "{field}");
    }
    assert_ne!(proc::status(session, "Uid"), proc::status(std::process::id(), "Uid"));
    let (mut peer, facts) = Server { demands: true, ..Server::new(&site) }.accept(Peer::tcp(stream)).unwrap();
    assert!(facts.ends_with("a certificate"), "{facts}");
    // TLS stands: nobody needs the key any more, and the keeper has walls of its own.
    here.write_all(b"ask\r\n").unwrap();
    peer.hears("ask\r\n");
    proc::until(|| proc::status(keeper, "Seccomp") == "2");
    assert!(!holds(keeper) && !holds(session));
}

#[test]
fn a_session_has_no_descriptor_that_is_not_its_business() {
    let (site, server) = (Site::new(), Backend::new());
    let call = Call::trusting(&site, server.port()).prog(&["sleep", "60"]);
    let running = call.start(Stdio::null(), Stdio::null());
    let (_peer, _) = Server::new(&site).accept(Peer::tcp(server.accept())).unwrap();
    proc::until(|| proc::children(running.pid()).len() == 2);
    let session = proc::session_of(running.pid());
    // Three standard ones, two pipes, the window, the event loop with its waker, the server twice, and at 9 the control channel.
    let open = proc::descriptors(session);
    assert!(open.len() <= 11, "{open:?}");
}

#[test]
fn a_hundred_megabytes_each_way_arrive_byte_for_byte() {
    const SIZE: usize = 100_000_000;
    let piece = |n: usize| (0..100_000).map(|at| ((at * 31 + n * 17) % 251) as u8).collect::<Vec<u8>>();
    let (site, server) = (Site::new(), Backend::new());
    let (here, there) = UnixStream::pair().unwrap();
    let call = Call::trusting(&site, server.port());
    let running = call.start(OwnedFd::from(there.try_clone().unwrap()), OwnedFd::from(there));
    let (mut peer, _) = Server::new(&site).accept(Peer::tcp(server.accept())).unwrap();
    let pieces = SIZE / 100_000;
    thread::scope(|scope| {
        let mut speaker = here.try_clone().unwrap();
        scope.spawn(move || {
            (0..pieces).for_each(|n| speaker.write_all(&piece(n)).unwrap());
            speaker.shutdown(Shutdown::Write).unwrap();
        });
        let mut listener = Peer::unix(here);
        scope.spawn(move || {
            (0..pieces).for_each(|n| listener.hears(piece(n)));
            listener.hears_end();
        });
        // What comes goes back: both directions are full at once.
        for n in 0..pieces {
            let piece = piece(n);
            peer.hears(&piece);
            peer.says(&piece);
        }
        peer.hears_end();
        peer.says_no_more();
    });
    assert_eq!(call.end(running, String::new).status, 0);
}

#[test]
fn of_two_thousand_sessions_eight_at_a_time_none_is_lost() {
    const SESSIONS: usize = 2000;
    let (site, server) = (Site::new(), Backend::new());
    let (left, served) = (AtomicUsize::new(SESSIONS), AtomicUsize::new(0));
    let next = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while next() {
                    let mut command = Command::new(TLSIFY);
                    command.arg("--ca").arg(site.ca()).args(["localhost", &server.port().to_string()]);
                    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
                    child.stdin.take().unwrap().write_all(b"ask\r\n").unwrap();
                    let output = child.wait_with_output().unwrap();
                    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"answer\r\n"[..]));
                }
            });
        }
        for _ in 0..8 {
            scope.spawn(|| {
                while served.fetch_add(1, Ordering::Relaxed) < SESSIONS {
                    let (mut peer, _) = Server::new(&site).accept(Peer::tcp(server.accept())).unwrap();
                    peer.hears("ask\r\n");
                    peer.says("answer\r\n");
                    peer.says_no_more();
                    peer.hears_end();
                }
            });
        }
    });
}
