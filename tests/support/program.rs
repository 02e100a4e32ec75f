//! Programs of others: found or missed in one sentence, heard on standard error, and ended when they go out of scope.

use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::{PATIENCE, readable};

/// Every foreign program the tests run, and the Debian package that brings it.
const PACKAGES: &[(&str, &str)] = &[
    ("curl", "curl"),
    ("dovecot", "dovecot-managesieved"),
    ("exim4", "exim4-daemon-light"),
    ("fetchmail", "fetchmail"),
    ("gnutls-cli", "gnutls-bin"),
    ("haproxy", "haproxy"),
    ("ldapadd", "ldap-utils"),
    ("ldapmodify", "ldap-utils"),
    ("ldapsearch", "ldap-utils"),
    ("ldapwhoami", "ldap-utils"),
    ("mbsync", "isync"),
    ("msmtp", "msmtp"),
    ("nginx", "libnginx-mod-mail"),
    ("openssl", "openssl"),
    ("pg_dump", "postgresql-client"),
    ("pgbench", "postgresql"),
    ("psql", "postgresql-client"),
    ("python3", "python3"),
    ("sieve-connect", "sieve-connect"),
    ("slapd", "slapd"),
    ("smtpfront-echo", "mailfront"),
    ("socat", "socat"),
    ("stunnel4", "stunnel4"),
    ("swaks", "swaks"),
    ("tcprules", "ucspi-tcp"),
    ("tcpserver", "ucspi-tcp"),
    ("valgrind", "valgrind"),
];

/// What cargo is told so that it builds with the same TLS library as it built the program that is tested.
pub(crate) const PROVIDER: &[&str] =
    if cfg!(feature = "graviola") { &["--no-default-features", "--features", "graviola"] } else { &[] };

/// As `--version` names that library.
pub(crate) const LIBRARY: &str =
    if cfg!(feature = "graviola") { "rustls with graviola" } else { "rustls with aws-lc-rs" };

/// A foreign program, where Debian puts it: what stands earlier in PATH may be another version, or a slow wrapper.
pub(crate) fn program(name: &str) -> Command {
    Command::new(path_of(name))
}

/// The path of a foreign program.
pub(crate) fn path_of(name: &str) -> String {
    let package = PACKAGES.iter().find(|(known, _)| *known == name).expect("the program stands in PACKAGES").1;
    let places = ["/usr/bin", "/usr/sbin"].map(|place| format!("{place}/{name}"));
    let found = places.into_iter().find(|path| Path::new(path).exists());
    found.unwrap_or_else(|| panic!("{name} is missing: install the Debian package {package}, or run tests/run"))
}

/// A process of ours. It ends with this value, and so does what it started.
pub(crate) struct Running {
    child: Child,
    pub(crate) log: Log,
}

impl Running {
    /// Starts it as the leader of a process group of its own, with its standard error in the log.
    pub(crate) fn start(command: &mut Command) -> Self {
        use std::os::unix::process::CommandExt;
        let mut child = command.process_group(0).stderr(Stdio::piped()).spawn().expect("the program runs");
        let log = Log::follow(child.stderr.take().unwrap());
        Self { child, log }
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end. The exit status; as a shell has it, if a signal killed it.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let over = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).unwrap();
        assert!(readable(&over, PATIENCE), "process {} does not end; its log:\n{}", self.pid(), self.log.text());
        let status = self.child.wait().unwrap();
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap())
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(&mut self) {
        let _ = rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM);
        self.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The group's id cannot be another's while anybody is left in it, and with nobody left this fails.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// A message without what tells sessions apart: `program: level: sentence`. What is none of ours stays as it is.
pub(crate) fn sentence(line: &str) -> String {
    let parts = || {
        let (program, rest) = line.split_once(": pid ")?;
        let (pid, rest) = rest.split_once(": ")?;
        let (level, rest) = pid.parse::<u32>().ok().and(rest.split_once(": "))?;
        let client = rest.split_once(": ").filter(|(client, _)| is_address(client));
        Some(format!("{program}: {level}: {}", client.map_or(rest, |(_, sentence)| sentence)))
    };
    parts().unwrap_or_else(|| line.to_owned())
}

fn is_address(text: &str) -> bool {
    text.parse::<SocketAddr>().is_ok() || text.parse::<IpAddr>().is_ok()
}

/// What somebody writes to standard error; of our messages the [sentences](sentence). What stands before them is the
/// affair of tests/messages.rs.
#[derive(Clone)]
pub(crate) struct Log {
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    raw: String,
    over: bool,
}

impl State {
    fn text(&self) -> String {
        self.raw.split_inclusive('\n').map(sentence).collect()
    }
}

impl Log {
    fn follow(mut source: impl Read + AsFd + Send + 'static) -> Self {
        let log = Self { state: Arc::default() };
        let state = Arc::clone(&log.state);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let count = source.read(&mut buffer).unwrap_or(0);
                let mut log = state.0.lock().unwrap();
                log.raw += &String::from_utf8_lossy(&buffer[..count]);
                log.over = count == 0;
                state.1.notify_all();
                if log.over {
                    return;
                }
            }
        });
        log
    }

    /// What was written so far.
    pub(crate) fn text(&self) -> String {
        self.state.0.lock().unwrap().text()
    }

    /// The same as it was written.
    pub(crate) fn raw(&self) -> String {
        self.state.0.lock().unwrap().raw.clone()
    }

    /// Everything, once everybody who could write has ended.
    #[track_caller]
    pub(crate) fn whole(&self) -> String {
        self.wait_until("the end of the log", |state| state.over)
    }

    /// Waits until a line holds this, and returns that line.
    #[track_caller]
    pub(crate) fn line_with(&self, wanted: &str) -> String {
        let line = |text: &str| {
            text.split_inclusive('\n').find(|l| l.ends_with('\n') && l.contains(wanted)).map(str::to_owned)
        };
        line(&self.wait_until(wanted, |state| line(&state.text()).is_some())).unwrap()
    }

    /// Waits until so many lines hold this.
    #[track_caller]
    pub(crate) fn lines_with(&self, wanted: &str, count: usize) {
        self.wait_until(wanted, |state| state.text().matches(wanted).count() >= count);
    }

    #[track_caller]
    fn wait_until(&self, wanted: &str, enough: impl Fn(&State) -> bool) -> String {
        let (until, mut state) = (Instant::now() + PATIENCE, self.state.0.lock().unwrap());
        while !enough(&state) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(left > Duration::ZERO && !state.over, "{wanted} does not come; the log:\n{}", state.text());
            state = self.state.1.wait_timeout(state, left).unwrap().0;
        }
        state.text()
    }
}
