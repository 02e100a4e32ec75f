//! The phases of a session, and how one comes there.

use std::fs;
use std::net::TcpStream;
use std::path::Path;

use crate::support::backend::Backend;
use crate::support::caller::TLSIFY;
use crate::support::certificates::Site;
use crate::support::peer::Peer;
use crate::support::program::path_of;
use crate::support::wrapper::{GO_AHEAD, Session, Wrapper};
use crate::support::{PATIENCE, proc, readable, tls};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The server does not greet.
    Greeting,
    /// The client has said EHLO.
    Opening,
    /// The server does not end its reply.
    Reply,
    /// The backend is silent.
    Reaching,
    /// The client is silent behind the go-ahead.
    Handshake,
    /// A fresh prog serves.
    Inside,
    /// The backend serves.
    InsideBackend,
    /// Plaintext goes on.
    Passing,
    /// prog speaks to the client itself (`--ucspi-tls`).
    Itself,
    /// It has asked for TLS.
    InsideItself,
    /// TLS is to begin at once (`--implicit`), and the client is silent.
    FirstByte,
    /// A prog serves in it.
    InsideImplicit,
    /// The server that tlsify calls is silent.
    Calling,
    /// It serves.
    Called,
    /// It serves a prog of tlsify's.
    CalledForProg,
}

/// Everything a phase needs to stay alive.
pub(crate) struct Stage {
    pub(crate) phase: Phase,
    pub(crate) session: Session,
    /// What stands between the wrapper and the backend.
    pub(crate) backend: Option<(TcpStream, Option<Peer>)>,
    pub(crate) port: u16,
    _listener: Backend,
}

/// How everything is started.
#[derive(Clone, Copy, Default)]
pub(crate) struct Start<'a> {
    /// The words before the wrapper.
    pub(crate) before: &'a [&'a str],
    /// LOG for them.
    pub(crate) log: Option<&'a Path>,
    /// prog ends neither by a signal that can be ignored nor at the end of its input.
    pub(crate) stubborn: bool,
}

impl Stage {
    pub(crate) fn reach(site: &Site, phase: Phase, start: Start<'_>) -> Self {
        let listener = Backend::new();
        let port = listener.port();
        let wrapper = match phase {
            Phase::Reaching | Phase::InsideBackend => Wrapper::backend(site, port),
            Phase::Itself | Phase::InsideItself => Wrapper::bare(&[]).option("--ucspi-tls").site(site),
            Phase::FirstByte | Phase::InsideImplicit => Wrapper::bare(&[]).option("--implicit").site(site),
            Phase::Calling | Phase::Called | Phase::CalledForProg => {
                Wrapper::bare(&["localhost", &port.to_string()]).is(TLSIFY).option("--ca").option(site.ca())
            }
            _ => Wrapper::respawn(site),
        };
        let wrapper = start.log.iter().fold(wrapper, |wrapper, log| wrapper.env("LOG", log));
        let prog = prog(phase, start.stubborn);
        let session = wrapper.behind(start.before).start_prog(&prog.iter().map(|word| &**word).collect::<Vec<_>>());
        let mut stage = Self { phase, session, backend: None, port, _listener: listener };
        if phase.begins_in_plaintext() {
            stage.opens(start);
            stage.go_on(site);
        } else {
            stage.begins_with_tls(site);
        }
        if stage.is_released() {
            proc::until(|| proc::status(stage.keeper(), "Seccomp") == "2");
        }
        stage
    }

    /// Up to the offer; where the server does not greet, up to its silence.
    fn opens(&mut self, start: Start<'_>) {
        if self.phase == Phase::Greeting {
            let ignores = |server| !start.stubborn || ignores_what_ends_it(server);
            proc::until(|| self.server().is_some_and(ignores) && self.has_what_it_asked_for());
            return;
        }
        let client = &mut self.session.client;
        client.hears("220 mx ESMTP\r\n");
        client.says("EHLO laptop\r\n");
        if matches!(self.phase, Phase::Itself | Phase::InsideItself) {
            client.hears("250 mx\r\n");
        } else {
            client.hears("250-mx\r\n250 STARTTLS\r\n");
        }
    }

    fn go_on(&mut self, site: &Site) {
        let Self { session, backend, _listener: listener, .. } = self;
        match self.phase {
            Phase::Greeting | Phase::Opening | Phase::Itself => {}
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
                let stream = listener.accept();
                assert!(readable(&stream, PATIENCE), "the wrapper says hello");
                *backend = Some((stream, None));
            }
            Phase::Handshake => {
                session.client.says("STARTTLS\r\n");
                session.client.hears(GO_AHEAD);
            }
            Phase::Inside | Phase::InsideItself => {
                session.starttls(&tls::Client::new(site));
                session.client.says("EHLO laptop\r\n");
                session.client.hears("250 mx\r\n");
            }
            Phase::InsideBackend => {
                session.client.says("STARTTLS\r\n");
                let stream = listener.accept();
                let line = stream.try_clone().unwrap();
                let mut peer = tls::accept(site, stream).expect("the wrapper shakes hands");
                peer.says("220 inner ESMTP\r\n");
                session.client.hears(GO_AHEAD);
                tls::Client::new(site).shake(&mut session.client).expect("the wrapper shakes hands");
                session.client.says("EHLO laptop\r\n");
                peer.hears("EHLO laptop\r\n");
                *backend = Some((line, Some(peer)));
            }
            _ => unreachable!("it begins with TLS"),
        }
    }

    /// Where there is no plaintext before it.
    fn begins_with_tls(&mut self, site: &Site) {
        let Self { session, backend, _listener: listener, .. } = self;
        match self.phase {
            Phase::FirstByte => {
                let keeper = session.wrapper.pid();
                let is_confined = |reader: u32| proc::status(reader, "Seccomp") == "2";
                // What a confined session waits for first is the keeper's answer. Once the keeper waits too, it has that.
                let has_all =
                    |reader: &u32| is_confined(*reader) && proc::is_asleep(*reader) && proc::is_asleep(keeper);
                proc::until(|| proc::children(keeper).first().is_some_and(has_all));
            }
            Phase::InsideImplicit => {
                tls::Client::new(site).shake(&mut session.client).expect("the wrapper shakes hands");
                session.client.hears("220 mx ESMTP\r\n");
                session.client.says("EHLO laptop\r\n");
                session.client.hears("250 mx\r\n");
            }
            Phase::Calling => *backend = Some((listener.accept_and_hear_client_hello(), None)),
            Phase::Called | Phase::CalledForProg => {
                let stream = listener.accept();
                let line = stream.try_clone().unwrap();
                let mut peer = tls::accept(site, stream).expect("tlsify shakes hands");
                peer.says("220 inner ESMTP\r\n");
                session.client.hears("220 inner ESMTP\r\n");
                *backend = Some((line, Some(peer)));
            }
            _ => unreachable!("it begins in plaintext"),
        }
    }

    /// The session has the two pipes of prog, and asks for nothing more.
    fn has_what_it_asked_for(&self) -> bool {
        let fds = proc::descriptors(self.reader()).into_iter().filter(|fd| *fd > 2);
        let target = |fd| fs::read_link(format!("/proc/{}/fd/{fd}", self.reader())).ok();
        fds.filter_map(target).filter(|target| target.to_string_lossy().starts_with("pipe:")).count() == 2
    }

    /// The keeper has given everything.
    fn is_released(&self) -> bool {
        use Phase::{Called, CalledForProg, Inside, InsideBackend, InsideImplicit, InsideItself, Passing};
        matches!(self.phase, Inside | InsideBackend | Passing | InsideItself | InsideImplicit | Called | CalledForProg)
    }

    pub(crate) fn keeper(&self) -> u32 {
        self.session.wrapper.pid()
    }

    pub(crate) fn reader(&self) -> u32 {
        proc::session_of(self.keeper())
    }

    /// prog, if there is one.
    pub(crate) fn server(&self) -> Option<u32> {
        proc::server_of(self.keeper())
    }
}

impl Phase {
    fn begins_in_plaintext(self) -> bool {
        !matches!(self, Self::FirstByte | Self::InsideImplicit | Self::Calling | Self::Called | Self::CalledForProg)
    }
}

/// None, where the client has the plaintext side itself.
fn prog(phase: Phase, stubborn: bool) -> Vec<String> {
    if matches!(phase, Phase::Itself | Phase::InsideItself) {
        let text = "import signal\nfor number in (1, 2, 15): signal.signal(number, signal.SIG_IGN)\n";
        let stays = "import atexit\natexit.register(signal.pause)\n";
        let text = if stubborn { [text, stays].concat() } else { String::new() };
        return vec![path_of("python3"), "-ISc".into(), text + include_str!("server.py")];
    }
    let script = match phase {
        Phase::Calling | Phase::Called => return vec![],
        Phase::CalledForProg => LISTENER,
        Phase::Greeting => SILENT,
        _ => SERVER,
    };
    let script = if stubborn { format!("trap '' TERM HUP INT\n{script}\nexec sleep 1000") } else { script.into() };
    vec!["/bin/sh".into(), "-c".into(), script]
}

/// Whoever started the tests may have ignored more: a shell does so for what it runs in the background.
fn ignores_what_ends_it(server: u32) -> bool {
    const HUP_INT_TERM: u64 = 1 << 0 | 1 << 1 | 1 << 14;
    let ignored = u64::from_str_radix(&proc::status(server, "SigIgn"), 16);
    ignored.is_ok_and(|ignored| ignored & HUP_INT_TERM == HUP_INT_TERM)
}

/// A client whose server is descriptors 6 and 7.
const LISTENER: &str = "cat <&6";

/// A server that never greets, and one that never ends its answer to NOOP.
const SILENT: &str = "while read -r line; do :; done";
const SERVER: &str = r"
printf '220 mx ESMTP\r\n'
while read -r line; do case $line in [EM]*) printf '250 mx\r\n' ;; N*) printf '250-half\r\n' ;; esac; done
";
