//! The stacks under test: the same server behind each peer, started and ended here.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::account;

/// One way to serve STARTTLS, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// The super-server and the server, nothing between them.
    Bare,
    /// The same with a server that is linked dynamically.
    BareDynamic,
    /// This program, TLS ends in it.
    Respawn,
    /// The same with a server that is linked dynamically.
    RespawnDynamic,
    /// Another copy of this program, as [`Stack::Respawn`]: what differs between the two is noise.
    Twin,
    /// This program, TLS from the first byte.
    Implicit,
    /// This program, TLS goes on to a TLS server.
    Backend,
    /// Another build of this program, as [`Stack::Respawn`].
    Other,
    /// This program with graviola, where it was built.
    Graviola,
    /// This program with musl, where it was built.
    Musl,
    /// This program with both, where it was built.
    GraviolaMusl,
    /// `relay.c`: what any relay costs, without TLS.
    Relay,
    /// This program under callgrind.
    Counted,
    /// `protocol = smtp`.
    Stunnel,
    /// tlswrapper and tlswrapper-smtp.
    Tlswrapper,
}

/// What all stacks share.
pub struct Kit {
    /// Everything made for the run, removed at its end.
    pub directory: PathBuf,
    /// The server, compiled, and linked statically as small servers of this field are.
    pub server: PathBuf,
    /// The same, linked dynamically as a distribution's are.
    pub dynamic_server: PathBuf,
    /// The program that does nothing, compiled.
    pub empty: PathBuf,
    /// This program, copied as install(1) would: what the linker wrote lies in smaller pieces in the page cache, which
    /// makes a start a tenth dearer.
    pub wrapper: PathBuf,
    /// The same once more.
    pub twin: PathBuf,
    /// Another build of this program (`--against`), copied too.
    pub other: Option<PathBuf>,
    /// Those of [`BUILDS`] that are there, copied too.
    pub builds: Vec<(Stack, PathBuf)>,
    /// `relay.c`, compiled, where there is a C compiler.
    pub relay: Option<PathBuf>,
    /// The TLS server that [`Stack::Backend`] uses.
    pub backend: SocketAddr,
}

/// A stack that listens.
pub struct Running {
    /// Where.
    pub address: SocketAddr,
    child: Child,
    before: Duration,
}

impl Stack {
    /// How the tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare server",
            Self::BareDynamic => "bare server, dynamic",
            Self::Respawn => "starttls-wrapper --respawn",
            Self::RespawnDynamic => "starttls-wrapper --respawn, dynamic server",
            Self::Twin => "starttls-wrapper --respawn, a second copy",
            Self::Implicit => "starttls-wrapper --implicit",
            Self::Backend => "starttls-wrapper host port",
            Self::Other => "the other build --respawn",
            Self::Graviola => "with graviola --respawn",
            Self::Musl => "with musl --respawn",
            Self::GraviolaMusl => "with graviola and musl --respawn",
            Self::Relay => "the smallest relay, plaintext",
            Self::Counted => "starttls-wrapper under callgrind",
            Self::Stunnel => "stunnel protocol=smtp",
            Self::Tlswrapper => "tlswrapper + tlswrapper-smtp",
        }
    }

    /// The program besides the super-server that must be installed.
    pub fn needs(self) -> Option<&'static str> {
        match self {
            Self::Stunnel => Some("stunnel4"),
            Self::Tlswrapper => Some("tlswrapper"),
            _ => None,
        }
    }

    /// Whether it is this program, and not the copy under test.
    pub fn is_another_build(self) -> bool {
        matches!(self, Self::Twin | Self::Other | Self::Graviola | Self::Musl | Self::GraviolaMusl)
    }

    /// The bare server that it adds to.
    pub fn floor(self) -> Self {
        if self == Self::RespawnDynamic { Self::BareDynamic } else { Self::Bare }
    }

    fn server(self, kit: &Kit) -> &Path {
        match self {
            Self::BareDynamic | Self::RespawnDynamic => &kit.dynamic_server,
            _ => &kit.server,
        }
    }

    /// Starts it.
    pub fn start(self, kit: &Kit) -> Running {
        let before = account::reaped();
        if self == Self::Stunnel { start_stunnel(kit, before) } else { self.start_under_tcpserver(kit, before) }
    }

    fn start_under_tcpserver(self, kit: &Kit, before: Duration) -> Running {
        let mut command = Command::new("tcpserver");
        in_few_words(&mut command);
        command.args(["-1", "-D", "-H", "-R", "-l0", "-b1024", "-c4096", "127.0.0.1", "0"]);
        command.env("KEYFILE", kit.path("key.pem")).env("CERTFILE", kit.path("cert.pem"));
        match self {
            Self::Respawn | Self::RespawnDynamic => command.arg(&kit.wrapper).arg("--respawn"),
            Self::Twin => command.arg(&kit.twin).arg("--respawn"),
            Self::Implicit => command.arg(&kit.wrapper).arg("--implicit"),
            Self::Other => command.args(&kit.other).arg("--respawn"),
            Self::Graviola | Self::Musl | Self::GraviolaMusl => command.args(kit.build(self)).arg("--respawn"),
            Self::Relay => command.args(&kit.relay),
            Self::Counted => {
                command.args(["prlimit", DESCRIPTORS, "valgrind"]).args(callgrind(kit));
                command.arg(&kit.wrapper).args(["--respawn", "-v", "0"])
            }
            Self::Backend => {
                let anchors = kit.path("cert.pem");
                let options = ["--backend-name", "mx.example", "--backend-ca"];
                let (host, port) = (kit.backend.ip().to_string(), kit.backend.port().to_string());
                command.arg(&kit.wrapper).args(options).arg(anchors).args([host, port])
            }
            Self::Tlswrapper => {
                command.args(["tlswrapper", "-n", "-f"]).arg(kit.path("both.pem")).arg("tlswrapper-smtp")
            }
            Self::Bare | Self::BareDynamic | Self::Stunnel => &mut command,
        };
        let mut child = command.arg(self.server(kit)).stdout(Stdio::piped()).spawn().expect("tcpserver");
        let mut port = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut port).expect("tcpserver tells its port");
        let port: u16 = port.trim().parse().expect("tcpserver tells its port");
        Running { address: ([127, 0, 0, 1], port).into(), child, before }
    }
}

impl Running {
    /// The super-server.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it, waits for everything it started, and returns the CPU time of all of it.
    pub fn end(mut self) -> Duration {
        account::terminate(self.child.id());
        self.child.wait().expect("the super-server was started here");
        account::reap_all();
        account::reaped() - self.before
    }
}

impl Kit {
    /// A file of the kit.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Compiles the programs and makes a key and a certificate.
    pub fn make(directory: PathBuf) -> Self {
        fs::create_dir_all(&directory).expect("a directory for the run");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
        let server = directory.join("server");
        compile(&source.join("server.rs"), &server, &["-Ctarget-feature=+crt-static", "-Crelocation-model=static"]);
        let dynamic_server = directory.join("dynamic-server");
        compile(&source.join("server.rs"), &dynamic_server, &["-Ctarget-feature=-crt-static"]);
        let empty = directory.join("empty");
        let alone =
            ["-Clink-arg=-nostartfiles", "-Clink-arg=-nostdlib", "-Clink-arg=-static", "-Crelocation-model=static"];
        compile(&source.join("empty.rs"), &empty, &alone);
        let wrapper = directory.join("wrapper");
        let twin = directory.join("twin");
        for copy in [&wrapper, &twin] {
            fs::copy(WRAPPER, copy).expect("the program under test");
        }
        let relay = compile_c(&source.join("relay.c"), directory.join("relay"));
        let mut kit = Self {
            directory,
            server,
            dynamic_server,
            empty,
            wrapper,
            twin,
            other: None,
            builds: Vec::new(),
            relay,
            backend: ([127, 0, 0, 1], 0).into(),
        };
        kit.make_certificate();
        kit.builds = BUILDS.iter().filter_map(|(stack, place)| Some((*stack, kit.copy_build(place)?))).collect();
        kit
    }

    /// A copy of a build besides the one under test.
    fn copy_build(&self, place: &str) -> Option<PathBuf> {
        let target = Path::new(WRAPPER).ancestors().nth(3)?;
        let built = target.join(place.replace("ARCH", std::env::consts::ARCH)).join("release/starttls-wrapper");
        let copy = self.path(&place.replace('/', "-"));
        fs::copy(built, &copy).ok().map(|_| copy)
    }

    fn build(&self, wanted: Stack) -> Option<&Path> {
        self.builds.iter().find(|(stack, _)| *stack == wanted).map(|(_, path)| path.as_path())
    }

    /// Another build is measured beside this one.
    pub fn compare(&mut self, other: &Path) {
        let copy = self.path("other");
        fs::copy(other, &copy).expect("the other build");
        self.other = Some(copy);
    }

    fn make_certificate(&self) {
        let (key, cert) = (self.path("key.pem"), self.path("cert.pem"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"])
            .args(["-subj", "/CN=mx.example", "-addext", "subjectAltName=DNS:mx.example"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
            .args([&key, Path::new("-out"), &cert])
            .stderr(Stdio::null())
            .status();
        assert!(made.is_ok_and(|status| status.success()), "openssl must be installed");
        let both = [fs::read(&key).expect("made"), fs::read(&cert).expect("made")].concat();
        fs::write(self.path("both.pem"), both).expect("the run's directory");
    }
}

impl Drop for Kit {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn compile(source: &Path, target: &Path, options: &[&str]) {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let made = Command::new(rustc)
        .args(["--edition=2024", "-Copt-level=3", "-Cpanic=abort", "-Cstrip=symbols", "--crate-type=bin"])
        .args(options)
        .args([source, Path::new("-o"), target])
        .status();
    assert!(made.is_ok_and(|status| status.success()), "{} does not compile", source.display());
}

/// Without a C compiler there is none.
fn compile_c(source: &Path, target: PathBuf) -> Option<PathBuf> {
    let made = Command::new("cc").args(["-O2", "-static", "-o"]).args([&target, source]).status();
    made.is_ok_and(|status| status.success()).then_some(target)
}

fn start_stunnel(kit: &Kit, before: Duration) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a free port");
    drop(listener);
    let settings = format!(
        "foreground = yes\ndebug = 3\npid =\nsocket = a:SO_REUSEADDR=1\n[smtp]\naccept = {address}\nprotocol = smtp\n\
         exec = {server}\nexecArgs = server\nkey = {key}\ncert = {cert}\n",
        server = kit.server.display(),
        key = kit.path("key.pem").display(),
        cert = kit.path("cert.pem").display(),
    );
    fs::write(kit.path("stunnel.conf"), settings).expect("the run's directory");
    let mut command = Command::new("stunnel4");
    in_few_words(&mut command).arg(kit.path("stunnel.conf")).stderr(Stdio::null());
    let child = command.spawn().expect("stunnel4");
    let began = Instant::now();
    while !listens(address) {
        assert!(began.elapsed() < Duration::from_secs(5), "stunnel4 does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    Running { address, child, before }
}

/// The words for valgrind that come before a program's own.
pub fn callgrind(kit: &Kit) -> [String; 3] {
    let log = format!("--log-file={}", kit.path("callgrind.%p").display());
    ["--tool=callgrind".into(), "--callgrind-out-file=/dev/null".into(), log]
}

/// A super-server has a few variables where cargo has sixty, and each program that is started pays for each of them.
pub fn in_few_words(command: &mut Command) -> &mut Command {
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
}

/// Without connecting, which would be a session.
pub fn listens(address: SocketAddr) -> bool {
    let wanted = format!("0100007F:{:04X} 00000000:0000 0A", address.port());
    fs::read_to_string("/proc/net/tcp").is_ok_and(|sockets| sockets.contains(&wanted))
}

/// Whether a program is installed.
pub fn is_installed(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(|path| path.join(program).is_file())
}

/// Other builds of this program, and where cargo leaves them if told as README.md says.
const BUILDS: [(Stack, &str); 3] = [
    (Stack::Graviola, "graviola/ARCH-unknown-linux-gnu"),
    (Stack::Musl, "ARCH-unknown-linux-musl"),
    (Stack::GraviolaMusl, "graviola/ARCH-unknown-linux-musl"),
];

/// The program under test.
const WRAPPER: &str = env!("CARGO_BIN_EXE_starttls-wrapper");

/// How many descriptors the program may have under valgrind: it limits itself to 32 (MAX_DESCRIPTORS), which valgrind
/// grants only if that is the limit already, and twelve are valgrind's own.
const DESCRIPTORS: &str = "--nofile=44:44";
