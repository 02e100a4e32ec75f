//! Who calls a TLS server for a program that knows no TLS: tlsify beside stunnel in client mode and openssl's s_client,
//! each as a process of its own between two pipes. The server is threads of this process, and not counted.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::report::{Report, median, milliseconds, ms};
use crate::stack::{Kit, in_few_words, is_installed};
use crate::{Bench, account, row};

/// One that calls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Caller {
    Tlsify,
    Stunnel,
    SClient,
}

const CALLERS: [Caller; 3] = [Caller::Tlsify, Caller::Stunnel, Caller::SClient];

impl Caller {
    fn name(self) -> &'static str {
        match self {
            Self::Tlsify => "tlsify",
            Self::Stunnel => "stunnel client=yes",
            Self::SClient => "openssl s_client -quiet",
        }
    }

    fn is_installed(self) -> bool {
        self != Self::Stunnel || is_installed("stunnel4")
    }

    /// Each verifies chain and name.
    fn command(self, kit: &Kit) -> Command {
        let (anchor, server) = (kit.path("cert.pem"), kit.backend);
        match self {
            Self::Tlsify => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_tlsify"));
                command.arg("--ca").arg(anchor).args(["--name", "mx.example", "127.0.0.1"]);
                command.arg(server.port().to_string());
                command
            }
            Self::Stunnel => {
                let settings = kit.path("stunnel-client.conf");
                let text = format!(
                    "client = yes\nconnect = {server}\nCAfile = {}\nverifyChain = yes\ncheckHost = mx.example\n\
                     sni = mx.example\nsyslog = no\ndebug = 0\n",
                    anchor.display(),
                );
                fs::write(&settings, text).expect("the run's directory");
                let mut command = Command::new("stunnel4");
                command.arg(settings);
                command
            }
            Self::SClient => {
                let mut command = Command::new("openssl");
                command.args(["s_client", "-quiet", "-verify_return_error", "-verify_hostname", "mx.example"]);
                command.args(["-servername", "mx.example", "-CAfile"]).arg(anchor);
                command.arg("-connect").arg(server.to_string());
                command
            }
        }
    }
}

/// What one session took.
#[derive(Clone, Copy)]
struct Price {
    cpu: Duration,
    /// Until the server's greeting was heard.
    greeted: Duration,
    /// Until the caller has ended.
    ended: Duration,
}

/// A session that says these lines, and hears so many bytes for each besides its reply.
fn price(kit: &Kit, caller: Caller, word: &str, heard: usize) -> Price {
    let (before, began) = (account::reaped(), Instant::now());
    let mut command = caller.command(kit);
    let mut child = in_few_words(&mut command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the caller runs");
    let mut says = child.stdin.take().expect("a pipe");
    let mut hears = BufReader::with_capacity(1 << 18, child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    let mut reply = |hears: &mut BufReader<_>| {
        line.clear();
        hears.read_line(&mut line).expect("a reply");
        assert!(line.starts_with('2'), "{}: {line:?}", caller.name());
    };
    reply(&mut hears);
    let greeted = began.elapsed();
    if !word.is_empty() {
        says.write_all(word.as_bytes()).expect("the caller listens");
        let copied = std::io::copy(&mut hears.by_ref().take(heard as u64), &mut std::io::sink()).expect("it comes");
        assert_eq!(copied, heard as u64, "{}", caller.name());
        reply(&mut hears);
    }
    says.write_all(b"QUIT\r\n").expect("the caller listens");
    reply(&mut hears);
    drop(says);
    let _ = hears.read_to_end(&mut Vec::new());
    child.wait().expect("it ends");
    account::reap_all();
    Price { cpu: account::reaped() - before, greeted, ended: began.elapsed() }
}

impl Bench {
    /// The callers, in every round in another order.
    pub(crate) fn callers(&self, report: &mut Report) {
        let callers: Vec<Caller> = CALLERS.into_iter().filter(|caller| caller.is_installed()).collect();
        let bytes = self.options.bulk * 1_000_000;
        let source = format!("XSOURCE {bytes}\r\n");
        let mut sessions: Vec<Vec<Price>> = vec![Vec::new(); callers.len()];
        let mut bulk: Vec<Vec<Price>> = sessions.clone();
        for round in 0..self.options.rounds {
            for step in 0..callers.len() {
                let at = (round + step) % callers.len();
                sessions[at].extend((0..self.options.sessions).map(|_| price(&self.kit, callers[at], "", 0)));
                bulk[at].push(price(&self.kit, callers[at], &source, bytes));
            }
        }
        let mut table = vec![row(["One call", "CPU, ms", "greeted, p50 ms", "ended, p50 ms", "down, CPU ms/100 MB"])];
        for (at, caller) in callers.iter().enumerate() {
            let of =
                |times: &dyn Fn(&Price) -> Duration| median(sessions[at].iter().map(|one| milliseconds(times(one))));
            let cpu = of(&|one| one.cpu);
            let down = median(bulk[at].iter().map(|one| milliseconds(one.cpu))) - cpu;
            let per_100 = down / self.options.bulk as f64 * 100.0;
            let times = [cpu, of(&|one| one.greeted), of(&|one| one.ended)].map(ms);
            table.push([vec![caller.name().to_owned()], times.to_vec(), vec![format!("{per_100:.0}")]].concat());
        }
        report.heading("One call");
        report.say("A process that calls a TLS server, verifies it, and hears its greeting and its last word. The server\nis not counted.\n");
        report.table(&table);
    }
}
