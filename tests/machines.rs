//! More than one machine: examples/haproxy as it stands, with a real HAProxy before two of them, under load. One is
//! killed and comes back; what is lost is what it held.

#![allow(clippy::expect_used, clippy::indexing_slicing)]

#[allow(dead_code, reason = "tests/examples.rs asks for the rest of it")]
#[path = "examples/service.rs"]
mod service;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use service::{Place, Running, SMTP_STAND_IN, root};

/// Not the balancer's own, so that it shows who was told of it.
const CLIENT: &str = "127.0.0.9";

/// How many deliver mail at the same time.
const CLIENTS: usize = 4;

/// What must come: a machine that is back is given clients after two checks, a second apart.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_machine_that_stops_loses_what_it_held_and_nothing_else() {
    let (front, one, two) = (Place::new("haproxy"), Place::new("haproxy-one"), Place::new("haproxy-two"));
    let (first, _second) = (start(&one, "one", &one), start(&two, "two", &one));
    let _haproxy = front.run(front.command("haproxy").arg("-db").arg("-f").arg(configuration(&front, &one, &two)));
    let (load, certificate) = (Load::default(), one.path.join("cert.pem"));
    let (stopping, stopped, _first) = thread::scope(|threads| {
        for _ in 0..CLIENTS {
            threads.spawn(|| load.run(front.port, &certificate));
        }
        let _over = Over(&load);
        load.wait("mail for both", |tries| {
            ["one", "two"].iter().all(|name| tries.iter().filter(|tried| tried.is_delivered_by(name)).count() > CLIENTS)
        });
        let stopping = Instant::now();
        drop(first);
        let stopped = Instant::now();
        load.wait("mail while one is gone", |tries| {
            tries.iter().filter(|tried| tried.began > stopped && tried.is_delivered()).count() > 3 * CLIENTS
        });
        load.wait("word of the one that is gone", |_| log_of(&front).contains("Server machines/one is DOWN"));
        let first = start(&one, "one", &one);
        let started = Instant::now();
        load.wait("mail for the one that is back", |tries| {
            tries.iter().any(|tried| tried.began > started && tried.is_delivered_by("one"))
        });
        (stopping, stopped, first)
    });
    let tries = load.tries.into_inner().expect("no thread has panicked");
    let lost: Vec<&Try> = tries.iter().filter(|tried| !tried.is_delivered()).collect();
    assert!(lost.len() <= CLIENTS, "one machine held no more than every client's: {lost:#?}");
    for tried in lost {
        let held = tried.began < stopped && tried.ended > stopping && tried.server() != Some("two");
        assert!(held, "the machine that stopped at {stopping:?} did not hold this: {tried:#?}");
    }
    for place in [&one, &two] {
        let log = log_of(place);
        assert!(!log.contains(": warning: ") && !log.contains(": fatal: "), "{log}");
    }
}

fn log_of(place: &Place) -> String {
    fs::read_to_string(place.path.join("log")).expect("a log")
}

/// One machine: the balancer may connect, and clients are judged behind its header. Both have one key.
fn start<'a>(place: &'a Place, name: &str, keys: &Place) -> Running<'a> {
    place.stand_in("qmail-smtpd", &SMTP_STAND_IN.replace("220 stand-in", &format!("220 {name}")));
    place.stand_in("setuidgid", "#!/bin/sh\ntest \"$1\" = qmaild && shift && exec \"$@\"\n");
    let access = root().join("examples/tcprules/access");
    place.stand_in("access", &format!("#!/bin/sh\nexec {} \"$@\"\n", access.display()));
    let balancers = place.rules("127.0.0.1:allow\n:deny\n");
    fs::rename(&balancers, place.path.join("balancers.cdb")).expect("the rules");
    let rules = place.rules(&format!("{CLIENT}:allow\n127.0.0.1:allow\n:deny\n"));
    let mut machine = place.example("haproxy/machine");
    machine.env("BALANCERS", place.path.join("balancers.cdb")).env("RULES", rules);
    place.run(machine.env("KEYFILE", keys.path.join("key.pem")).env("CERTFILE", keys.path.join("cert.pem")))
}

/// The example, with the ports of this test.
fn configuration(front: &Place, one: &Place, two: &Place) -> std::path::PathBuf {
    let text = fs::read_to_string(root().join("examples/haproxy/haproxy.cfg")).expect("the example");
    let at = |port: u16| format!("127.0.0.1:{port}");
    let text = text.replace("bind :25", &format!("bind {}", at(front.port)));
    let text = text.replace("192.0.2.11:25", &at(one.port)).replace("192.0.2.12:25", &at(two.port));
    front.write("haproxy.cfg", &text)
}

/// Everybody's attempts to deliver a mail.
#[derive(Default)]
struct Load {
    tries: Mutex<Vec<Try>>,
    more: Condvar,
    over: AtomicBool,
}

/// One attempt.
#[derive(Debug)]
struct Try {
    began: Instant,
    ended: Instant,
    /// By curl: what was said on both sides.
    said: String,
}

/// Ends the load, whatever becomes of the test.
struct Over<'a>(&'a Load);

impl Load {
    fn run(&self, port: u16, certificate: &Path) {
        while !self.over.load(Ordering::Relaxed) {
            let tried = Try::deliver(port, certificate);
            self.tries.lock().expect("no thread has panicked").push(tried);
            self.more.notify_all();
        }
    }

    #[track_caller]
    fn wait(&self, what: &str, enough: impl Fn(&[Try]) -> bool) {
        let (until, mut tries) = (Instant::now() + PATIENCE, self.tries.lock().expect("no thread has panicked"));
        while !enough(&tries) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what}: {tries:#?}");
            tries = self.more.wait_timeout(tries, left).expect("no thread has panicked").0;
        }
    }
}

impl Try {
    /// curl insists on TLS, and on the machines' certificate.
    fn deliver(port: u16, certificate: &Path) -> Self {
        let began = Instant::now();
        let mut curl = Command::new("curl");
        curl.args(["-sv", "--max-time", "20", "--ssl-reqd", "--interface", CLIENT, "--cacert"]).arg(certificate);
        curl.args(["--mail-from", "me@client.example", "--mail-rcpt", "you@server.example", "-T", "-"]);
        let output = curl.arg(format!("smtp://localhost:{port}")).stdin(Stdio::null()).output();
        let said = String::from_utf8_lossy(&output.expect("curl is installed").stderr).replace('\r', "");
        Self { began, ended: Instant::now(), said }
    }

    /// Who greeted, if anybody did.
    fn server(&self) -> Option<&str> {
        self.said.lines().find_map(|line| line.strip_prefix("< 220 ")?.strip_suffix(" ESMTP"))
    }

    fn is_delivered(&self) -> bool {
        self.said.contains(&format!("< 250 TCPREMOTEIP={CLIENT} SSL_PROTOCOL=TLSv1.3"))
    }

    fn is_delivered_by(&self, name: &str) -> bool {
        self.is_delivered() && self.server() == Some(name)
    }
}

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}
