//! One wrapper for one session, with the test as its client and as its prog.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::net::sockopt::{set_socket_linger, socket_peercred};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::backend::Backend;
use super::certificates::Site;
use super::peer::{Peer, Pipes};
use super::program::{Running, path_of};
use super::starter::Starter;
use super::{PATIENCE, proc, readable, tls};

/// The program under test.
pub(crate) const WRAPPER: &str = env!("CARGO_BIN_EXE_starttls-wrapper");

/// The last plaintext line of a session that comes to TLS.
pub(crate) const GO_AHEAD: &str = "220 2.0.0 Ready to start TLS\r\n";

/// This path from the checkout, where every test is run: an ordinary user may not come through what lies above it.
pub(crate) fn from_here(path: &str) -> &str {
    path.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/")).unwrap_or(path)
}

/// A program of examples/, which cargo builds for all tests, but not for one.
pub(crate) fn example(name: &str) -> String {
    let example: Vec<&str> = ["--example", name].into_iter().chain(super::program::PROVIDER.iter().copied()).collect();
    built(&example).join("examples").join(name).to_string_lossy().into_owned()
}

/// The directory of what cargo has built.
pub(crate) fn built(what: &[&str]) -> &'static Path {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet"]).args(what).args((!cfg!(debug_assertions)).then_some("--release"));
    assert!(cargo.status().unwrap().success(), "cargo builds {what:?}");
    Path::new(WRAPPER).parent().unwrap()
}

static HASTY: LazyLock<String> = LazyLock::new(|| example("hasty"));

/// What the client hears if TLS cannot be had.
pub(crate) const NOT_AVAILABLE: &str = "454 4.7.0 TLS not available due to temporary reason\r\n";

/// A wrapper about to be started.
#[derive(Clone)]
pub(crate) struct Wrapper {
    program: String,
    before: Vec<String>,
    options: Vec<OsString>,
    operands: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    starter: Starter,
}

/// A wrapper at work.
pub(crate) struct Session {
    pub(crate) client: Peer,
    /// The client's connection as the wrapper has it, shared with the test as a super-server would.
    pub(crate) shared: TcpStream,
    /// The client's end of it, below TLS.
    pub(crate) line: TcpStream,
    pub(crate) wrapper: Running,
    progs: UnixListener,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) status: i32,
    pub(crate) log: String,
}

impl Wrapper {
    /// `--respawn`, with this site's key and certificate.
    pub(crate) fn respawn(site: &Site) -> Self {
        Self::bare(&[]).option("--respawn").site(site)
    }

    /// `host port`, with a TLS server at this port of localhost that must be this site.
    pub(crate) fn backend(site: &Site, port: u16) -> Self {
        Self::bare(&["localhost", &port.to_string()]).option("--backend-ca").option(site.ca()).site(site)
    }

    /// No option, no key.
    pub(crate) fn bare(operands: &[&str]) -> Self {
        Self {
            program: from_here(WRAPPER).to_owned(),
            before: vec![],
            options: vec![],
            operands: operands.iter().map(Into::into).collect(),
            environment: vec![],
            starter: Starter::of_this_run(),
        }
    }

    /// Whoever starts the others, this one is root's, and TLS_UID what the test says: it shows what root gives up.
    pub(crate) fn by_root(self) -> Self {
        Self { starter: Starter::Root, ..self }
    }

    /// With the shorter limits of examples/hasty.rs.
    pub(crate) fn hasty(self) -> Self {
        self.is(&HASTY)
    }

    /// Another program that is one of these.
    pub(crate) fn is(self, program: &str) -> Self {
        Self { program: from_here(program).to_owned(), ..self }
    }

    /// Behind these words, which start it.
    pub(crate) fn behind(self, words: &[&str]) -> Self {
        Self { before: words.iter().map(|word| (*word).to_owned()).collect(), ..self }
    }

    pub(crate) fn option(mut self, word: impl AsRef<OsStr>) -> Self {
        self.options.push(word.as_ref().to_owned());
        self
    }

    pub(crate) fn options(self, words: &[&str]) -> Self {
        words.iter().fold(self, Self::option)
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    pub(crate) fn site(self, site: &Site) -> Self {
        self.env("KEYFILE", site.key()).env("CERTFILE", site.cert())
    }

    /// Starts it at the end of a TCP connection. The test is prog.
    pub(crate) fn start(self) -> Session {
        self.start_between(&[], &[])
    }

    /// The same behind these words, with those before the test that is prog.
    pub(crate) fn start_between(self, before: &[&str], after: &[&str]) -> Session {
        let (name, progs) = listener();
        let python = path_of("python3");
        let prog = [after, &[&python, "-ISc", PROG, &name]].concat();
        self.start_with(before, &prog, progs)
    }

    /// Starts it with this prog.
    pub(crate) fn start_prog(self, prog: &[&str]) -> Session {
        self.start_with(&[], prog, listener().1)
    }

    fn start_with(self, before: &[&str], prog: &[&str], progs: UnixListener) -> Session {
        let (client, shared) = connection();
        let descriptor = || Stdio::from(OwnedFd::from(shared.try_clone().unwrap()));
        let before: Vec<&str> = self.before.iter().map(String::as_str).chain(before.iter().copied()).collect();
        let wrapper = Running::start(self.command(&before, prog).stdin(descriptor()).stdout(descriptor()));
        let line = client.try_clone().unwrap();
        Session { client: Peer::tcp(client), shared, line, wrapper, progs }
    }

    /// The command, behind the words that start it.
    pub(crate) fn command(&self, before: &[&str], prog: &[&str]) -> Command {
        let words: Vec<&OsStr> = before.iter().copied().chain([self.program.as_str()]).map(OsStr::new).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(&self.options).arg("--").args(&self.operands).args(prog);
        for name in OWN_VARIABLES {
            command.env_remove(name);
        }
        self.starter.starts(&mut command, prog);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Session {
    /// The prog the wrapper has started now.
    #[track_caller]
    pub(crate) fn server(&self) -> Prog {
        let log = &self.wrapper.log;
        assert!(readable(&self.progs, PATIENCE), "no prog was started; the log:\n{}", log.text());
        let (control, fds) = self.next_prog();
        let mut fds = fds.into_iter().map(File::from);
        let (input, output) = (fds.next().expect("descriptor 0"), fds.next());
        let pid = socket_peercred(&control).unwrap().pid.as_raw_nonzero().get().unsigned_abs();
        Prog { peer: Peer::new(Pipes { input, output }), control, pid, environment: proc::environment(pid) }
    }

    /// The descriptors 0 and 1 of the next prog. It runs until the connection to it is closed.
    pub(crate) fn next_prog(&self) -> (UnixStream, Vec<OwnedFd>) {
        let (control, _) = self.progs.accept().unwrap();
        let fds = received(&control);
        (control, fds)
    }

    /// Readable when a prog was started.
    pub(crate) fn progs(&self) -> BorrowedFd<'_> {
        self.progs.as_fd()
    }

    /// Whether no prog was started that nobody has asked [for](Self::server).
    pub(crate) fn has_no_further_server(&self) -> bool {
        !readable(&self.progs, Duration::ZERO)
    }

    /// Greeting and EHLO, as every session begins; to be called where STARTTLS is offered.
    #[track_caller]
    pub(crate) fn opening(&mut self) -> Prog {
        let mut server = self.server();
        server.says("220 mx.example ESMTP\r\n");
        self.client.hears("220 mx.example ESMTP\r\n");
        self.client.says("EHLO laptop\r\n");
        server.hears("EHLO laptop\r\n");
        server.says("250-mx.example\r\n250 PIPELINING\r\n");
        self.client.hears("250-mx.example\r\n250-STARTTLS\r\n250 PIPELINING\r\n");
        server
    }

    /// STARTTLS and the handshake; nobody has served inside TLS yet.
    #[track_caller]
    pub(crate) fn starttls(&mut self, tls: &tls::Client) {
        self.client.says("STARTTLS\r\n");
        self.client.hears(GO_AHEAD);
        tls.shake(&mut self.client).expect("the wrapper shakes hands");
    }

    /// The same with a backend, which has greeted.
    #[track_caller]
    pub(crate) fn starttls_to(&mut self, backend: &Backend, site: &Site) -> Peer {
        self.client.says("STARTTLS\r\n");
        let server = backend.serve(site);
        self.client.hears(GO_AHEAD);
        tls::Client::new(site).shake(&mut self.client).expect("the wrapper shakes hands");
        server
    }

    /// The prog that serves inside TLS; it has greeted.
    #[track_caller]
    pub(crate) fn fresh_server(&self) -> Prog {
        let mut server = self.server();
        server.says("220 fresh.example ESMTP\r\n");
        server
    }

    /// Whether a client is served before STARTTLS and inside TLS, by tests/support/smtp.
    pub(crate) fn serves(&mut self, site: &Site) -> bool {
        self.unshare();
        let hears = |session: &mut Self, line: &str, start: &str| {
            session.client.says_in_vain(line);
            session.client.comes_to(start)
        };
        self.client.comes_to("220 ")
            && hears(self, "EHLO laptop\r\n", "250 ")
            && hears(self, "STARTTLS\r\n", "220 ")
            && tls::Client::new(site).shake(&mut self.client).is_ok()
            && hears(self, "EHLO laptop\r\n", "250 ")
            && hears(self, "QUIT\r\n", "221 ")
    }

    /// The test gives up its share in the client's connection, so that the wrapper's end is the connection's.
    pub(crate) fn unshare(&mut self) {
        self.shared = connection().0;
    }

    /// The client leaves, inside TLS without close_notify.
    pub(crate) fn vanish(&mut self) {
        drop(self.client.take_transport());
        self.line = connection().0;
    }

    /// The client resets its connection.
    pub(crate) fn reset(&mut self) {
        set_socket_linger(&self.line, Some(Duration::ZERO)).unwrap();
        self.client = Peer::tcp(connection().0);
        self.line = connection().0;
    }

    /// The client's name in the log.
    pub(crate) fn client_name(&self) -> String {
        self.shared.peer_addr().unwrap().to_string()
    }

    /// Waits for the end. What the client has not heard is lost.
    #[track_caller]
    pub(crate) fn end(self) -> End {
        let Self { client, shared, line, mut wrapper, progs } = self;
        drop((client, shared, line, progs));
        let status = wrapper.wait();
        End { status, log: wrapper.log.whole() }
    }
}

/// A prog, in the test's hands.
pub(crate) struct Prog {
    peer: Peer,
    control: UnixStream,
    pub(crate) pid: u32,
    /// What it was started with.
    pub(crate) environment: BTreeMap<String, String>,
}

impl Prog {
    /// Ends with this status.
    pub(crate) fn exits(mut self, status: u8) {
        self.control.write_all(&[status]).unwrap();
    }
}

impl std::ops::Deref for Prog {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        &self.peer
    }
}

impl std::ops::DerefMut for Prog {
    fn deref_mut(&mut self) -> &mut Peer {
        &mut self.peer
    }
}

/// Where progs report, and its name.
fn listener() -> (String, UnixListener) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("starttls-wrapper-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    (name, listener)
}

/// Both ends of a TCP connection.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// The descriptors that come with the first byte.
fn received(control: &UnixStream) -> Vec<OwnedFd> {
    assert!(readable(control, PATIENCE), "prog hands over its descriptors");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(control, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
    let rights = |message| if let RecvAncillaryMessage::ScmRights(fds) = message { Some(fds) } else { None };
    ancillary.drain().filter_map(rights).flatten().collect()
}

/// The prog that puts the test in its place. Its text, as an ordinary user may not come to where the file is.
const PROG: &str = include_str!("prog.py");

/// What decides about the wrapper must come from the test.
const OWN_VARIABLES: &[&str] = &[
    "KEYFILE",
    "CERTFILE",
    "TLS_UID",
    "TLS_GID",
    "PROTO",
    "TCPREMOTEIP",
    "TCPREMOTEPORT",
    "TCPLOCALIP",
    "TCPLOCALPORT",
    "SSLCTLFD",
    "SSLREADFD",
    "SSLWRITEFD",
];
