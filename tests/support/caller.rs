//! tlsify as a test starts it: what goes in, what comes out, what is told, how it ends.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use super::certificates::{Dir, Site};
use super::peer::Peer;
use super::program::Running;

/// The program.
pub(crate) const TLSIFY: &str = env!("CARGO_BIN_EXE_tlsify");

/// A call that has not begun.
pub(crate) struct Call {
    words: Vec<String>,
    environment: Vec<(String, String)>,
    dir: Dir,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: i32,
    /// What the plaintext side heard.
    pub(crate) heard: String,
    /// What was told over the control channel, a line for each NUL.
    pub(crate) told: String,
    /// The sentences on standard error.
    pub(crate) log: String,
}

impl Call {
    /// With the control channel, unless that is among the words.
    pub(crate) fn new(words: &[&str]) -> Self {
        let control = ["--control", "9"].into_iter().filter(|_| !words.contains(&"--control"));
        let words = control.chain(words.iter().copied()).map(str::to_owned).collect();
        Self { words, environment: vec![], dir: Dir::new() }
    }

    /// Of this server on localhost, whose authority is known.
    pub(crate) fn trusting(site: &Site, port: u16) -> Self {
        Self::new(&["--ca", site.ca().to_str().unwrap(), "localhost", &port.to_string()])
    }

    /// The same with these options before the others.
    pub(crate) fn with(mut self, options: &[&str]) -> Self {
        self.words.splice(0..0, options.iter().map(|word| (*word).to_owned()));
        self
    }

    /// The same for this prog.
    pub(crate) fn prog(mut self, words: &[&str]) -> Self {
        self.words.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The command, by way of a shell that opens descriptor 9 for the control channel.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "exec \"$@\" 9>\"$CONTROL\"", "sh", TLSIFY]).args(&self.words);
        for name in ["PROTO", "TCPREMOTEIP", "TCPREMOTEPORT", "TCPLOCALIP", "TCPLOCALPORT", "TLS_UID", "TLS_GID"] {
            command.env_remove(name);
        }
        command.env("CONTROL", self.control());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it to its end with this for a plaintext side's words, from a file and into a file.
    pub(crate) fn run(self, says: impl AsRef<[u8]>) -> Ended {
        let [input, output] = ["input", "output"].map(|name| self.dir.file(name));
        fs::write(&input, says).unwrap();
        let mut command = self.command();
        command.stdin(File::open(&input).unwrap()).stdout(File::create(&output).unwrap());
        let running = Running::start(&mut command);
        let heard = || String::from_utf8_lossy(&fs::read(&output).unwrap()).into_owned();
        self.end(running, heard)
    }

    /// Starts it with these descriptors.
    pub(crate) fn start(&self, input: impl Into<Stdio>, output: impl Into<Stdio>) -> Running {
        Running::start(self.command().stdin(input).stdout(output))
    }

    /// Waits for its end.
    pub(crate) fn end(self, mut running: Running, heard: impl FnOnce() -> String) -> Ended {
        let status = running.wait();
        let told = String::from_utf8_lossy(&fs::read(self.control()).unwrap()).replace('\0', "\n");
        Ended { status, heard: heard(), told, log: running.log.whole() }
    }

    fn control(&self) -> PathBuf {
        self.dir.file("control")
    }
}

impl Ended {
    /// The value of a variable that was told.
    #[track_caller]
    pub(crate) fn variable(&self, name: &str) -> &str {
        let found = self.told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("no {name} in {}", self.told))
    }

    /// The last line that was told.
    pub(crate) fn last(&self) -> &str {
        self.told.lines().last().unwrap_or_default()
    }
}

impl Call {
    /// Runs it, and a server that does this with it.
    pub(crate) fn with_server<T: Send>(self, says: &str, serves: impl FnOnce() -> T + Send) -> (Ended, T) {
        thread::scope(|scope| {
            let server = scope.spawn(serves);
            let ended = self.run(says);
            (ended, server.join().unwrap())
        })
    }
}

/// The way to TLS, as the server plays it: what it says, and what it hears.
pub(crate) type Way = &'static [(&'static str, &'static str)];

pub(crate) const SMTP: Way =
    &[("220 a\r\n", "EHLO localhost\r\n"), ("250-a\r\n250-AUTH EVIL\r\n250 STARTTLS\r\n", "STARTTLS\r\n")];

/// Goes that way.
#[track_caller]
pub(crate) fn goes(peer: &mut Peer, way: Way) {
    for (says, hears) in way {
        peer.says(says);
        peer.hears(hears);
    }
}
