//! A place where an example runs: a directory of its own, a free port, a certificate, and stand-ins first in PATH.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

#[path = "../support/port.rs"]
mod port;

/// An SMTP server that knows no TLS; it answers DATA's end with what it finds in its environment.
pub(crate) const SMTP_STAND_IN: &str = r#"#!/bin/sh
say() { printf '%s\r\n' "$1"; }
say '220 stand-in ESMTP'
while read -r line; do
  case $line in
    EHLO*) say '250 stand-in' ;;
    QUIT*) say '221 stand-in'; exit ;;
    DATA*)
      say '354 go ahead'
      while read -r line; do case $line in .?) break ;; esac; done
      say "250 TCPREMOTEIP=$TCPREMOTEIP SSL_PROTOCOL=$SSL_PROTOCOL KEYFILE=$KEYFILE" ;;
    *) say '250 OK' ;;
  esac
done
"#;

/// A POP3 server that knows no TLS.
pub(crate) const POP3_STAND_IN: &str = r#"#!/bin/sh
say() { printf '%s\r\n' "$1"; }
say '+OK stand-in'
while read -r line; do
  case $line in
    CAPA*) say '+OK'; say UIDL; say . ;;
    QUIT*) say '+OK'; exit ;;
    *) say -ERR ;;
  esac
done
"#;

/// Where one example runs.
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) port: u16,
}

/// An example that runs, until this is dropped.
pub(crate) struct Running<'a> {
    place: &'a Place,
    child: Child,
}

/// The package's directory.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples").join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("bin")).expect("a directory");
        let place = Self { path, port: port::free_port() };
        place.write_certificate("key.pem", "cert.pem");
        place
    }

    pub(crate) fn write_certificate(&self, key: &str, chain: &str) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let key = self.write(key, &made.signing_key.serialize_pem());
        fs::set_permissions(key, fs::Permissions::from_mode(0o600)).expect("the key's mode");
        self.write(chain, &made.cert.pem());
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::write(&path, text).expect("a file");
        path
    }

    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir_all(&path).expect("a directory");
        path
    }

    /// A program of this name, found before all others.
    pub(crate) fn stand_in(&self, name: &str, script: &str) {
        let path = self.write(&format!("bin/{name}"), script);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    /// The wrapper's variables, as a super-server takes them.
    pub(crate) fn keys(&self) -> String {
        let path = |name| self.path.join(name).display().to_string();
        format!("KEYFILE={} CERTFILE={} LOG={}", path("key.pem"), path("cert.pem"), path("messages"))
    }

    /// A copy of an example's directory.
    pub(crate) fn copy(&self, example: &str) -> PathBuf {
        let copy = self.path.join("copy");
        let status = Command::new("cp").arg("-r").arg(root().join("examples").join(example)).arg(&copy).status();
        assert!(status.expect("cp").success());
        copy
    }

    /// What an administrator writes into `env/`.
    pub(crate) fn write_envdir(&self, directory: &Path) {
        let write = |name: &str, value: &str| fs::write(directory.join(name), value).expect("a file");
        write("KEYFILE", &self.path.join("key.pem").display().to_string());
        write("CERTFILE", &self.path.join("cert.pem").display().to_string());
        write("IP", "127.0.0.1");
        write("PORT", &self.port.to_string());
    }

    /// Rules for tcpserver -x.
    pub(crate) fn rules(&self, text: &str) -> PathBuf {
        let cdb = self.path.join("rules.cdb");
        let mut tcprules = Command::new("tcprules");
        tcprules.arg(&cdb).arg(self.path.join("rules.tmp"));
        self.pipe(&mut tcprules, text);
        cdb
    }

    /// Waits until a file here holds this.
    #[track_caller]
    pub(crate) fn is_written(&self, name: &str, wanted: &str) {
        let until = Instant::now() + PATIENCE;
        let text = || fs::read_to_string(self.path.join(name)).unwrap_or_default();
        while !text().contains(wanted) {
            assert!(Instant::now() < until, "{wanted} does not come; {name}:\n{}", text());
            sleep(Duration::from_millis(20));
        }
    }

    /// A server of a Debian package that is not installed, but unpacked.
    pub(crate) fn server(&self, path: &str) -> PathBuf {
        let found = unpacked().join(path);
        assert!(found.is_file(), "{path} is missing: run tests/servers, which unpacks it");
        found
    }

    /// Runs such a server.
    pub(crate) fn server_command(&self, path: &str) -> Command {
        let mut command = self.command(&self.server(path));
        command.env("LD_LIBRARY_PATH", libraries());
        command
    }

    /// A script that runs such a server.
    pub(crate) fn runs(&self, path: &str) -> String {
        let (libraries, server) = (libraries(), self.server(path));
        format!("#!/bin/sh\nLD_LIBRARY_PATH={} exec {} \"$@\"\n", libraries.display(), server.display())
    }

    pub(crate) fn user(&self) -> String {
        let name = Command::new("id").arg("-un").output().expect("id").stdout;
        format!(" {} ", String::from_utf8_lossy(&name).trim())
    }

    /// PATH: stand-ins, the wrapper, unpacked packages, the system's.
    pub(crate) fn search(&self) -> String {
        let wrapper = Path::new(env!("CARGO_BIN_EXE_starttls-wrapper")).parent().expect("a directory");
        let system = std::env::var("PATH").expect("PATH");
        let (own, unpacked) = (self.path.join("bin"), unpacked().join("usr/bin"));
        format!("{}:{}:{system}:/usr/sbin:{}", own.display(), wrapper.display(), unpacked.display())
    }

    pub(crate) fn command(&self, program: &(impl AsRef<OsStr> + ?Sized)) -> Command {
        let mut command = Command::new(program);
        command.env("PATH", self.search()).env("IP", "127.0.0.1").env("PORT", self.port.to_string());
        command.env("KEYFILE", self.path.join("key.pem")).env("CERTFILE", self.path.join("cert.pem"));
        command
    }

    pub(crate) fn example(&self, name: &str) -> Command {
        self.command(&root().join("examples").join(name))
    }

    /// An example for a server that can only run where its package puts it: that is laid over /usr and /etc for it.
    pub(crate) fn example_over_system(&self, name: &str, server: &str) -> Command {
        self.server(server);
        let mut command = self.command("unshare");
        command.args([if is_root() { "-m" } else { "-rm" }, "sh", "-ec", OVER_SYSTEM, "sh"]).arg(unpacked());
        command.arg(root().join("examples").join(name));
        command
    }

    /// Runs a command to its end, with this input.
    pub(crate) fn pipe(&self, command: &mut Command, input: &str) {
        let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
        assert!(child.wait().expect("it ends").success());
    }

    /// Starts a super-server and waits until it listens.
    pub(crate) fn run(&self, command: &mut Command) -> Running<'_> {
        let log = fs::File::create(self.path.join("log")).expect("a log");
        let copy = log.try_clone().expect("a log");
        let child = command.stdin(Stdio::null()).stdout(log).stderr(copy).process_group(0).spawn().expect("it starts");
        let running = Running { place: self, child };
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < until, "nothing listens: {}", running.log());
            sleep(Duration::from_millis(20));
        }
        running
    }
}

impl Running<'_> {
    /// Sends a mail with curl, which insists on TLS, and returns the server's last words about it.
    pub(crate) fn delivers_mail(&self) -> String {
        let said = self.send_mail();
        let reply = said.lines().rev().find_map(|line| line.strip_prefix("< 250 TCPREMOTEIP"));
        format!("TCPREMOTEIP{}", reply.unwrap_or_else(|| panic!("{said}")))
    }

    pub(crate) fn send_mail(&self) -> String {
        let mail = self.place.write("mail", "Subject: hello\r\n\r\nhello\r\n");
        let mut curl = Command::new("curl");
        curl.args(["-sv", "--max-time", "20", "--ssl-reqd"]).arg("--cacert").arg(self.place.path.join("cert.pem"));
        curl.args(["--mail-from", "me@client.example", "--mail-rcpt", "you@server.example", "-T"]).arg(mail);
        let output = curl.arg(format!("smtp://localhost:{}", self.place.port)).output().expect("curl is installed");
        let said = String::from_utf8_lossy(&output.stderr).replace('\r', "");
        assert!(output.status.success(), "{said}\n{}", self.log());
        said
    }

    /// What is said to a client that says nothing.
    pub(crate) fn says_nothing_and_hears(&self) -> String {
        let mut client = TcpStream::connect(("127.0.0.1", self.place.port)).expect("it listens");
        client.shutdown(Shutdown::Write).expect("the connection stands");
        let mut heard = String::new();
        client.read_to_string(&mut heard).expect("UTF-8");
        heard
    }

    /// Whether a client that trusts this certificate alone is content.
    pub(crate) fn accepts(&self, certificate: &str) -> bool {
        let (success, said) = self.openssl("smtp", certificate, "QUIT\r\n");
        success && said.contains("221")
    }

    /// Speaks to the server inside TLS (without a protocol: TLS from the first byte), and hears this.
    pub(crate) fn capabilities(&self, protocol: &str, words: &str, expected: &str) {
        let said = self.dialogue(protocol, words);
        assert!(said.contains(expected), "{said}\n{}", self.log());
    }

    pub(crate) fn dialogue(&self, protocol: &str, words: &str) -> String {
        let (success, said) = self.openssl(protocol, "cert.pem", words);
        assert!(success, "{said}\n{}", self.log());
        said
    }

    fn openssl(&self, protocol: &str, certificate: &str, words: &str) -> (bool, String) {
        let mut client = Command::new("openssl");
        client.args(["s_client", "-quiet", "-verify_return_error", "-verify_hostname", "localhost", "-connect"]);
        client.arg(format!("localhost:{}", self.place.port)).arg("-CAfile").arg(self.place.path.join(certificate));
        if !protocol.is_empty() {
            client.args(["-starttls", protocol]);
        }
        let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let client = client.as_mut().expect("openssl is installed");
        let mut input = client.stdin.take().expect("a pipe");
        input.write_all(words.as_bytes()).expect("it reads");
        let mut said = String::new();
        client.stdout.take().expect("a pipe").read_to_string(&mut said).expect("UTF-8");
        client.stderr.take().expect("a pipe").read_to_string(&mut said).expect("UTF-8");
        drop(input);
        (client.wait().expect("it ends").success(), said)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.place.path.join("log")).unwrap_or_default()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Where tests/servers has unpacked them: in the target directory, be that divided by machine or not.
fn unpacked() -> PathBuf {
    let above = Path::new(env!("CARGO_TARGET_TMPDIR")).ancestors();
    let found = above.map(|directory| directory.join("servers")).find(|servers| servers.exists());
    found.expect("there is no target/servers: run tests/servers, which unpacks them")
}

/// The libraries that the servers need and this machine does not have.
fn libraries() -> PathBuf {
    unpacked().join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH))
}

const OVER_SYSTEM: &str = r#"
for part in usr etc; do mount -t overlay overlay -o "lowerdir=$1/$part:/$part" "/$part"; done
shift
exec "$@"
"#;

/// How long a super-server may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);
