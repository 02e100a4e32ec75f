//! Who does not read holds nothing for ever: the client, prog and the backend, in plaintext and inside TLS. Nor does a
//! prog that has ended. With the limits of examples/hasty.rs, which are seconds.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]
#![allow(clippy::print_stdout, reason = "the table is worth reading")]

mod support;

use std::io::Read;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use support::certificates::Site;
use support::program::{Running, path_of};
use support::servers::{Listening, behind_tcpserver, stunnel};
use support::wrapper::{Session, WRAPPER, Wrapper, from_here};
use support::{PATIENCE, proc, tls};

/// Those of examples/hasty.rs.
const WRITE_STALL: Duration = Duration::from_secs(3);
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Who takes nothing for so long takes no more.
const BLOCKED: Duration = Duration::from_millis(500);

/// The server, whose argument says what it does at MAIL.
const SERVER: &str = "tests/stalls/server.py";

/// What is between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Plaintext,
    Inside,
    Connect,
    Backend,
    /// prog asks for TLS itself; it is a wrapper, too.
    Itself,
}

#[test]
fn nobody_who_does_not_read_and_no_prog_that_has_ended_holds_a_session_for_ever() {
    let site = Site::new();
    let rows: Vec<Vec<&str>> = OUTCOMES.lines().map(|row| row.split_whitespace().collect()).collect();
    let found = thread::scope(|scope| {
        let site = &site;
        let begin = |row: &Vec<&'static str>| {
            let (way, fault) = (way(row[0]), row[1]);
            // What breaks in it bears its name.
            let row = thread::Builder::new().name(format!("{way:?} {fault}"));
            row.spawn_scoped(scope, move || outcome(site, way, fault)).unwrap()
        };
        let running: Vec<_> = rows.iter().map(begin).collect();
        running.into_iter().map(|row| row.join().unwrap() + "\n").collect::<String>()
    });
    println!("{:<10} {:<12} {:<12} {:<7} says\n{found}", "way", "the server", "ends by", "status");
    assert_eq!(found, OUTCOMES);
}

#[test]
fn who_reads_a_little_now_and_then_is_waited_for() {
    let site = &Site::new();
    thread::scope(|scope| {
        for way in [Way::Plaintext, Way::Inside] {
            scope.spawn(move || slow_client(site, way));
            scope.spawn(move || slow_server(site, way));
        }
    });
}

/// So little that the kernel here takes nothing more meanwhile.
fn slow_client(site: &Site, way: Way) {
    let mut session = start(site, way, "flood").0;
    session.client.says("MAIL FROM:<>\r\n");
    let reader = proc::session_of(session.wrapper.pid());
    proc::until(|| proc::is_asleep(reader));
    let began = Instant::now();
    while began.elapsed() < WRITE_STALL * 3 {
        session.client.read_exact(&mut [0; 65536]).expect("it goes on");
        thread::sleep(WRITE_STALL / 10);
    }
    assert!(proc::Watch::new(session.wrapper.pid()).lives_for(Duration::ZERO), "it was waited for");
}

fn slow_server(site: &Site, way: Way) {
    let mut session = start(site, way, "slow").0;
    session.client.says("MAIL FROM:<>\r\n");
    let Session { client, line, wrapper, .. } = &mut session;
    thread::scope(|scope| {
        scope.spawn(|| client.floods(line, PATIENCE));
        assert!(proc::Watch::new(wrapper.pid()).lives_for(WRITE_STALL * 3), "it was listened to");
        line.shutdown(Shutdown::Both).unwrap();
    });
}

#[test]
fn a_server_that_works_and_does_not_read_meanwhile_is_waited_for() {
    let site = Site::new();
    let mut session = start(&site, Way::Plaintext, "busy").0;
    session.client.says("MAIL FROM:<>\r\nRSET\r\n");
    session.client.hears("250 done\r\n");
    session.client.hears_end();
    assert_eq!(session.end().status, 7);
}

#[test]
fn a_client_that_does_not_read_is_not_waited_for_because_it_speaks() {
    let site = Site::new();
    let mut session = start(&site, Way::Plaintext, "flood").0;
    session.client.says("MAIL FROM:<>\r\n");
    session.unshare();
    let mut line = session.line.try_clone().unwrap();
    let began = Instant::now();
    while std::io::Write::write_all(&mut line, b"x").is_ok() {
        assert!(began.elapsed() < PATIENCE);
        thread::sleep(WRITE_STALL / 10);
    }
    assert_eq!(session.end().status, 99);
}

/// There is no room for it when it comes, and before that nothing waited for the client.
#[test]
fn a_client_that_takes_nothing_of_what_comes_little_by_little_is_not_waited_for() {
    let site = Site::new();
    let mut session = start(&site, Way::Plaintext, "trickle").0;
    set_socket_send_buffer_size(&session.shared, 1).unwrap();
    set_socket_recv_buffer_size(&session.line, 1).unwrap();
    session.client.says("MAIL FROM:<>\r\n");
    session.unshare();
    assert_eq!(session.wrapper.wait(), 99, "{}", session.wrapper.log.text());
    assert!(session.wrapper.log.whole().contains("warning: the client has stopped reading"));
}

#[test]
fn a_client_that_does_not_read_the_dialogue_is_not_waited_for() {
    let site = Site::new();
    let (client, shared) = UnixStream::pair().unwrap();
    set_socket_send_buffer_size(&shared, 1).unwrap();
    let greets = "for i in 1 2 3 4 5 6 7 8; do printf '220-%01000d\\r\\n' $i; done; read -r line";
    let mut command = Wrapper::respawn(&site).hasty().command(&[], &["/bin/sh", "-c", greets]);
    command.stdin(Stdio::from(OwnedFd::from(shared.try_clone().unwrap()))).stdout(Stdio::from(OwnedFd::from(shared)));
    let began = Instant::now();
    let mut wrapper = Running::start(&mut command);
    assert_eq!(wrapper.wait(), 99);
    assert!(began.elapsed() >= WRITE_STALL);
    assert!(wrapper.log.whole().contains("has stopped reading"));
    drop(client);
}

fn outcome(site: &Site, way: Way, fault: &str) -> String {
    let (mut session, _server) = start(site, way, fault);
    let keeper = session.wrapper.pid();
    session.unshare();
    let ends = matches!(way, Way::Plaintext | Way::Inside) && ["fill", "leave_child"].contains(&fault);
    let server = ends.then(|| proc::Watch::new(proc::server_of(keeper).expect("prog serves")));
    let asked = Instant::now();
    let mut began = asked;
    session.client.says("MAIL FROM:<>\r\n");
    if ["deaf", "hangs"].contains(&fault) {
        let line = session.line.try_clone().unwrap();
        session.client.floods(&line, BLOCKED);
    }
    if let Some(server) = server {
        server.waits_for_its_end();
        began = Instant::now();
    }
    let status = session.wrapper.wait();
    let limit = if began.elapsed() >= WRITE_STALL { "WRITE_STALL" } else { "LAST_WORDS" };
    // The wrapper may have seen before the test that the server has ended.
    assert!(asked.elapsed() >= LAST_WORDS, "{way:?} {fault}: {:?}, {}", asked.elapsed(), session.wrapper.log.text());
    proc::until(|| proc::group(keeper).is_empty());
    let heard_all = session.client.read_to_end(&mut Vec::new()).is_ok();
    assert!(!heard_all || !session.client.is_tls(), "{way:?} {fault}: what was cut looks whole");
    let log = session.wrapper.log.whole();
    // A wrapper as prog may say that it was ended.
    let says = log.lines().find_map(|line| line.strip_prefix("starttls-wrapper: ")).unwrap_or_default();
    let row = format!("{:<10} {fault:<12} {limit:<12} {status:<7} {says}", format!("{way:?}"));
    row.trim_end().to_owned()
}

/// A session whose client has said EHLO, and what serves it besides.
fn start(site: &Site, way: Way, fault: &str) -> (Session, Option<Listening>) {
    let server = [&path_of("python3"), "-IS", SERVER, fault];
    let itself = [&[from_here(WRAPPER), "--respawn"], &server[..]].concat();
    let (listening, wrapper, prog) = match way {
        Way::Plaintext | Way::Inside => (None, Wrapper::respawn(site), &server[..]),
        Way::Connect => {
            let listening = behind_tcpserver(&server);
            let address = format!("127.0.0.1:{}", listening.port);
            (Some(listening), Wrapper::respawn(site).option("--connect").option(address), &[][..])
        }
        Way::Backend => {
            let listening = stunnel(site, &server);
            let port = listening.port;
            (Some(listening), Wrapper::backend(site, port), &server[..])
        }
        Way::Itself => (None, Wrapper::bare(&[]).option("--ucspi-tls").site(site), &itself[..]),
    };
    let mut session = wrapper.hasty().start_prog(prog);
    session.client.hears("220 mx ESMTP\r\n");
    session.client.says("EHLO laptop\r\n");
    session.client.hears("250-mx\r\n250 STARTTLS\r\n");
    if matches!(way, Way::Inside | Way::Backend | Way::Itself) {
        session.starttls(&tls::Client::new(site));
        session.client.says("EHLO laptop\r\n");
        session.client.hears("250 mx\r\n");
    }
    (session, listening)
}

fn way(name: &str) -> Way {
    let ways = [Way::Plaintext, Way::Inside, Way::Connect, Way::Backend, Way::Itself];
    ways.into_iter().find(|way| format!("{way:?}") == name).unwrap()
}

/// What is expected, as the test prints it.
const OUTCOMES: &str = "\
Plaintext  flood        WRITE_STALL  99      warning: the client has stopped reading
Plaintext  fill         LAST_WORDS   7
Plaintext  leave_child  LAST_WORDS   7
Plaintext  deaf         WRITE_STALL  99      warning: the server has stopped reading
Inside     flood        WRITE_STALL  99      warning: the client has stopped reading
Inside     fill         LAST_WORDS   7
Inside     leave_child  LAST_WORDS   7
Inside     deaf         WRITE_STALL  99      warning: the server has stopped reading
Connect    flood        WRITE_STALL  99      warning: the client has stopped reading
Connect    fill         WRITE_STALL  99      warning: the client has stopped reading
Connect    deaf         WRITE_STALL  99      warning: the server has stopped reading
Backend    flood        WRITE_STALL  99      warning: the client has stopped reading
Backend    deaf         WRITE_STALL  99      warning: the server has stopped reading
Itself     flood        WRITE_STALL  99      warning: the client has stopped reading
Itself     fill         WRITE_STALL  99      warning: the client has stopped reading
Itself     hangs        WRITE_STALL  99      warning: the server has stopped reading
";
