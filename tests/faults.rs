//! Every fault in every phase: what the client hears, how the wrapper ends, what it says. Nothing hangs, and nothing is
//! left running.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]
#![allow(clippy::print_stdout, reason = "the table is worth reading")]

mod support;

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use rustix::process::{Pid, Signal, kill_process};
use support::backend::Backend;
use support::certificates::Site;
use support::peer::Peer;
use support::wrapper::{GO_AHEAD, Session, Wrapper};
use support::{PATIENCE, proc, readable, tls};

/// The longest a fault may take to end everything: the linger, and patience with what was told to end.
const LIMIT: Duration = Duration::from_secs(6);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Greeting,
    Opening,
    Reply,
    Reaching,
    Handshake,
    Inside,
    InsideBackend,
    Passing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    ServerDies,
    SessionKilled,
    KeeperKilled,
    Sigterm,
    Sighup,
    ClientResets,
}

#[test]
fn every_fault_in_every_phase_ends_everything_in_time() {
    let site = Site::new();
    let mut table = String::new();
    for phase in PHASES {
        for fault in FAULTS {
            if (*phase, *fault) == (Phase::Handshake, Fault::ServerDies) {
                // There is none.
                continue;
            }
            let began = Instant::now();
            let outcome = outcome(&site, *phase, *fault);
            assert!(began.elapsed() < LIMIT, "{phase:?} {fault:?}: {:?}", began.elapsed());
            table += &format!("{:<14} {:<14} {outcome}\n", format!("{phase:?}"), format!("{fault:?}"));
        }
    }
    println!("{:<14} {:<14} {:<26} {:<7} says\n{table}", "phase", "fault", "the client hears", "status");
    let expected: Vec<&str> = OUTCOMES.lines().map(str::trim_end).collect();
    let found: Vec<&str> = table.lines().map(str::trim_end).collect();
    let pairs = found.iter().zip(expected.iter().chain(std::iter::repeat(&"")));
    let differs: Vec<_> = pairs.filter(|(found, expected)| !agree(found, expected)).collect();
    assert!(differs.is_empty(), "{differs:#?}");
}

/// Whether a row is the expected one. A signal ends prog as well; if the session sees that first, the client hears the
/// close and not the goodbye. With a keeper that is killed the session is, too, and may come to say that or not.
fn agree(found: &str, expected: &str) -> bool {
    let words = |row: &str| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let ends_prog = expected.contains(" Sigterm ") || expected.contains(" Sighup ");
    let without_goodbye = words(&expected.replace("421 4.3.0.. ", ""));
    if expected.contains(" KeeperKilled ") {
        let found =
            found.replace("421 4.3.0.. ", "").replace("fatal: the keeper is gone", "").replace(" cut ", " end ");
        return words(&found) == without_goodbye;
    }
    words(found) == words(expected) || (ends_prog && words(found) == without_goodbye)
}

#[test]
fn a_prog_that_cannot_be_run_is_told_from_one_that_is_missing() {
    let site = Site::new();
    for (prog, status, why) in [("/nowhere/prog", 127, "no such file"), ("/etc/passwd", 126, "permission denied")] {
        let mut session = Wrapper::respawn(&site).start_prog(&[prog]);
        session.unshare();
        session.client.hears_end();
        let end = session.end();
        assert_eq!(end.status, status);
        assert!(end.log.contains(&format!("fatal: unable to run {prog}: {why}")), "{}", end.log);
    }
}

/// Everything a phase needs to stay alive.
struct Stage {
    session: Session,
    /// What stands between the wrapper and the backend.
    backend: Option<(TcpStream, Option<Peer>)>,
    port: String,
}

fn outcome(site: &Site, phase: Phase, fault: Fault) -> String {
    let mut stage = reach(site, phase);
    let keeper = stage.session.wrapper.pid();
    stage.session.unshare();
    strike(&mut stage, keeper, fault);
    if (phase, fault) == (Phase::Reaching, Fault::ServerDies) {
        // The plaintext session goes on, so the client ends it.
        stage.session.client.says_no_more();
    }
    let heard = if fault == Fault::ClientResets { "-".into() } else { heard(&mut stage.session.client) };
    drop(stage.backend.take());
    let status = stage.session.wrapper.wait();
    proc::until(|| proc::group(keeper).is_empty());
    let log = stage.session.wrapper.log.whole();
    let says: Vec<&str> = log.lines().filter_map(|line| line.strip_prefix("starttls-wrapper: ")).collect();
    let says = says.join("; ").replace(&stage.port, "PORT");
    format!("{heard:<26} {status:<7} {says}")
}

fn reach(site: &Site, phase: Phase) -> Stage {
    let backend = Backend::new();
    let port = backend.port().to_string();
    let to_backend = matches!(phase, Phase::Reaching | Phase::InsideBackend);
    let wrapper = if to_backend { Wrapper::backend(site, backend.port()) } else { Wrapper::respawn(site) };
    let script = if phase == Phase::Greeting { SILENT } else { SERVER };
    let mut session = wrapper.start_prog(&["/bin/sh", "-c", script]);
    let mut reached = None;
    if phase == Phase::Greeting {
        proc::until(|| server_of(session.wrapper.pid()).is_some());
        return Stage { session, backend: None, port };
    }
    session.client.hears("220 mx ESMTP\r\n");
    session.client.says("EHLO laptop\r\n");
    session.client.hears("250-mx\r\n250 STARTTLS\r\n");
    match phase {
        Phase::Greeting | Phase::Opening => {}
        Phase::Reply => {
            session.client.says("NOOP\r\n");
            session.client.hears("250-half\r\n");
        }
        Phase::Passing => {
            session.client.says("MAIL FROM:<>\r\n");
            session.client.hears("250 mx\r\n");
        }
        Phase::Reaching => {
            session.client.says("STARTTLS\r\n");
            let stream = backend.accept();
            assert!(readable(&stream, PATIENCE), "the wrapper says hello");
            reached = Some((stream, None));
        }
        Phase::Handshake => {
            session.client.says("STARTTLS\r\n");
            session.client.hears(GO_AHEAD);
        }
        Phase::Inside => {
            session.starttls(&tls::Client::new(site));
            session.client.says("EHLO laptop\r\n");
            session.client.hears("250 mx\r\n");
        }
        Phase::InsideBackend => {
            session.client.says("STARTTLS\r\n");
            let stream = backend.accept();
            let line = stream.try_clone().unwrap();
            let mut peer = tls::accept(site, stream).expect("the wrapper shakes hands");
            peer.says("220 inner ESMTP\r\n");
            session.client.hears(GO_AHEAD);
            tls::Client::new(site).shake(&mut session.client).expect("the wrapper shakes hands");
            session.client.says("EHLO laptop\r\n");
            peer.hears("EHLO laptop\r\n");
            reached = Some((line, Some(peer)));
        }
    }
    if matches!(phase, Phase::Inside | Phase::InsideBackend | Phase::Passing) {
        // The keeper has released everything.
        proc::until(|| proc::status(session.wrapper.pid(), "Seccomp") == "2");
    }
    Stage { session, backend: reached, port }
}

fn strike(stage: &mut Stage, keeper: u32, fault: Fault) {
    let kill = |pid: u32, signal| kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
    match fault {
        Fault::ServerDies => match stage.backend.take() {
            Some((line, peer)) => {
                set_socket_linger(&line, Some(Duration::ZERO)).unwrap();
                drop((line, peer));
            }
            None => {
                kill(server_of(keeper).unwrap(), Signal::KILL);
            }
        },
        Fault::SessionKilled => kill(proc::session_of(keeper), Signal::KILL),
        Fault::KeeperKilled => kill(keeper, Signal::KILL),
        Fault::Sigterm => kill(keeper, Signal::TERM),
        Fault::Sighup => kill(keeper, Signal::HUP),
        Fault::ClientResets => {
            stage.session.reset();
        }
    }
}

fn server_of(keeper: u32) -> Option<u32> {
    proc::children(keeper).into_iter().find(|child| proc::status(*child, "Name") == "sh")
}

/// What the client hears, and how it ends.
fn heard(client: &mut Peer) -> String {
    let mut heard = Vec::new();
    let end = match client.read_to_end(&mut heard) {
        Ok(_) => "end",
        Err(why) if why.kind() == ErrorKind::UnexpectedEof => "cut",
        Err(why) if why.kind() == ErrorKind::ConnectionReset => "reset",
        Err(why) => panic!("{why}"),
    };
    let words: Vec<&str> =
        std::str::from_utf8(&heard).unwrap().split("\r\n").filter_map(|line| line.get(..9)).collect();
    format!("{}{end}", words.iter().map(|word| format!("{word}.. ")).collect::<String>())
}

const PHASES: &[Phase] = &[
    Phase::Greeting,
    Phase::Opening,
    Phase::Reply,
    Phase::Reaching,
    Phase::Handshake,
    Phase::Inside,
    Phase::InsideBackend,
    Phase::Passing,
];

const FAULTS: &[Fault] =
    &[Fault::ServerDies, Fault::SessionKilled, Fault::KeeperKilled, Fault::Sigterm, Fault::Sighup, Fault::ClientResets];

/// A server that never greets, and one that never ends its answer to NOOP.
const SILENT: &str = "while read -r line; do :; done";
const SERVER: &str = r#"
printf '220 mx ESMTP\r\n'
while read -r line; do case $line in [EM]*) printf '250 mx\r\n' ;; N*) printf '250-half\r\n' ;; esac; done
"#;

/// What is expected, as the test prints it.
const OUTCOMES: &str = "\
Greeting       ServerDies     end                        137
Greeting       SessionKilled  end                        101     fatal: the session was killed by signal 9
Greeting       KeeperKilled   end                        137
Greeting       Sigterm        end                        143     fatal: the keeper is gone
Greeting       Sighup         end                        129     fatal: the keeper is gone
Greeting       ClientResets   -                          0
Opening        ServerDies     end                        137
Opening        SessionKilled  end                        101     fatal: the session was killed by signal 9
Opening        KeeperKilled   end                        137
Opening        Sigterm        421 4.3.0.. end            143     fatal: the keeper is gone
Opening        Sighup         421 4.3.0.. end            129     fatal: the keeper is gone
Opening        ClientResets   -                          0
Reply          ServerDies     end                        137
Reply          SessionKilled  end                        101     fatal: the session was killed by signal 9
Reply          KeeperKilled   end                        137
Reply          Sigterm        end                        143     fatal: the keeper is gone
Reply          Sighup         end                        129     fatal: the keeper is gone
Reply          ClientResets   -                          0
Reaching       ServerDies     454 4.7.0.. end            0       warning: unable to use the TLS server localhost port PORT: connection reset by peer
Reaching       SessionKilled  end                        101     fatal: the session was killed by signal 9
Reaching       KeeperKilled   end                        137
Reaching       Sigterm        end                        143     fatal: the keeper is gone
Reaching       Sighup         end                        129     fatal: the keeper is gone
Reaching       ClientResets   -                          0       warning: unable to use the TLS server localhost port PORT: connection reset by peer
Handshake      SessionKilled  end                        101     fatal: the session was killed by signal 9
Handshake      KeeperKilled   end                        137
Handshake      Sigterm        end                        143     fatal: the keeper is gone
Handshake      Sighup         end                        129     fatal: the keeper is gone
Handshake      ClientResets   -                          98      warning: TLS handshake with the client failed: connection reset by peer
Inside         ServerDies     end                        137
Inside         SessionKilled  cut                        101     fatal: the session was killed by signal 9
Inside         KeeperKilled   end                        137
Inside         Sigterm        421 4.3.0.. end            143     fatal: the keeper is gone
Inside         Sighup         421 4.3.0.. end            129     fatal: the keeper is gone
Inside         ClientResets   -                          0
InsideBackend  ServerDies     end                        0
InsideBackend  SessionKilled  cut                        101     fatal: the session was killed by signal 9
InsideBackend  KeeperKilled   end                        137
InsideBackend  Sigterm        end                        143     fatal: the keeper is gone
InsideBackend  Sighup         end                        129     fatal: the keeper is gone
InsideBackend  ClientResets   -                          0
Passing        ServerDies     end                        137
Passing        SessionKilled  end                        101     fatal: the session was killed by signal 9
Passing        KeeperKilled   end                        137
Passing        Sigterm        end                        143     fatal: the keeper is gone
Passing        Sighup         end                        129     fatal: the keeper is gone
Passing        ClientResets   -                          0
";
