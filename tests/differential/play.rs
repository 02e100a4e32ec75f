//! Plays a dialogue with the program itself: the test is its client and stands between it and its servers, where it
//! notes what they hear. The oracle says whose turn it is. One thread, which waits for nothing in particular.

use std::collections::VecDeque;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Bench;
use super::line::{End, Line};
use super::link::{Heard, Link};
use super::oracle::{Oracle, State};
use super::script::{Pace, Script, Way, shown};
use super::support::PATIENCE;
use super::support::tls::Client;
use super::support::tls::engine::Engine;
use super::support::wrapper::{Session, Wrapper};

/// What came of it.
pub(crate) struct Played {
    pub(crate) oracle: Oracle,
    /// What the client heard before TLS and inside, and how it ended.
    pub(crate) client_heard: [Vec<u8>; 2],
    pub(crate) client_end: End,
    /// TLS with the client stood.
    pub(crate) came_to_tls: bool,
    /// How many servers would not answer, nor end.
    pub(crate) silences: usize,
    /// Before TLS and inside.
    pub(crate) servers: [Option<Heard>; 2],
    pub(crate) status: i32,
    pub(crate) log: String,
}

/// Plays this.
pub(crate) fn play(script: &Script, bench: &Bench) -> Result<Played, String> {
    let mut player = Player::start(script, bench);
    let mut since = Instant::now();
    while !player.is_over() {
        if player.moves() || (since.elapsed() > SILENCE && player.ends_silence()) {
            since = Instant::now();
        } else if since.elapsed() > PATIENCE {
            return Err(player.stands_still());
        } else {
            player.wait();
        }
    }
    Ok(player.end())
}

struct Player<'a> {
    script: &'a Script,
    bench: &'a Bench,
    oracle: Oracle,
    session: Session,
    client: Line,
    /// What the client will yet say in this part of the session.
    pieces: VecDeque<Vec<u8>>,
    part: usize,
    /// Something was said, and nobody was given time to hear it.
    hurried: bool,
    has_finished: bool,
    /// Servers that had to be ended.
    silences: usize,
    client_heard: [Vec<u8>; 2],
    links: [Option<Link>; 2],
    /// The server of `--connect`, and the TLS server.
    plain: TcpListener,
    backend: TcpListener,
}

impl<'a> Player<'a> {
    fn start(script: &'a Script, bench: &'a Bench) -> Self {
        let [plain, backend] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let wrapper = wrapper(script, bench, port(&backend));
        let mut session = if script.connects {
            wrapper.options(&["--connect", &format!("127.0.0.1:{}", port(&plain))]).start_prog(&[])
        } else {
            wrapper.start()
        };
        session.unshare();
        let part = usize::from(script.way == Way::Implicit);
        let mut client = Line::socket(session.line.try_clone().unwrap());
        if script.way == Way::Implicit {
            client.begin_tls(Engine::client(&Client::new(&bench.site)));
            client.flush();
        }
        Self {
            script,
            bench,
            oracle: Oracle::new(script),
            session,
            client,
            pieces: script.client[part].iter().cloned().collect(),
            part,
            hurried: false,
            has_finished: false,
            silences: 0,
            client_heard: Default::default(),
            links: [None, None],
            plain,
            backend,
        }
    }

    /// Whatever can be done now. False if nothing can.
    fn moves(&mut self) -> bool {
        let mut moved = self.meet();
        for (part, link) in self.links.iter_mut().enumerate() {
            moved |= link.as_mut().is_some_and(|link| link.moves(part, &mut self.oracle));
        }
        moved |= self.client.hear(&mut self.client_heard[self.part]) | self.client.flush();
        if self.part == 1 && self.client.is_tls() && !self.oracle.inside {
            self.oracle.handshake_done();
            moved = true;
        }
        moved | self.speak()
    }

    /// Takes the wrapper to a server.
    fn meet(&mut self) -> bool {
        let waits = |fd: &dyn AsFd| super::support::readable(fd.as_fd(), Duration::ZERO);
        let (way, control) = if waits(&self.session.progs()) {
            let (control, fds) = self.session.next_prog();
            let [input, output]: [OwnedFd; 2] = fds.try_into().expect("prog has two descriptors");
            (Line::new(input, output), Some(control))
        } else if waits(&self.plain) {
            (Line::socket(self.plain.accept().unwrap().0), None)
        } else if waits(&self.backend) {
            let mut line = Line::socket(self.backend.accept().unwrap().0);
            line.begin_tls(Engine::server(&self.bench.site));
            (line, None)
        } else {
            return false;
        };
        let part = usize::from(self.script.way == Way::Implicit || self.links[0].is_some());
        assert!(self.links[part].is_none(), "the wrapper starts one server more than it may");
        self.links[part] = Some(Link::new(way, control, self.bench.servers.serve(self.script.service)));
        true
    }

    fn speak(&mut self) -> bool {
        if self.has_finished || self.client.end.is_some() || (self.part == 1 && !self.oracle.inside) {
            return false;
        }
        if let Some(piece) = self.next_piece() {
            self.client.say(&piece);
            self.oracle.client_says(&piece);
            self.hurried = true;
            return true;
        }
        if !self.pieces.is_empty() {
            return false;
        }
        match self.oracle.state {
            _ if self.script.pace == Pace::AndNoMore => {}
            State::Watching if !self.oracle.awaits_client() => return false,
            State::Granted if self.oracle.to_tls.is_empty() => return self.begin_tls(),
            _ => {}
        }
        self.client.finish();
        self.oracle.client_closes();
        self.has_finished = true;
        true
    }

    fn next_piece(&mut self) -> Option<Vec<u8>> {
        let may_speak = match self.script.pace {
            Pace::AtOnce | Pace::AndNoMore => true,
            Pace::Slowly => !self.hurried,
            Pace::InTurn => self.oracle.state != State::Watching || self.oracle.awaits_client(),
        };
        if may_speak { self.pieces.pop_front() } else { None }
    }

    /// Once the go-ahead was heard.
    fn begin_tls(&mut self) -> bool {
        let go_ahead = self.oracle.to_client[0].split_inclusive(|byte| *byte == b'\n').next_back();
        if !self.client_heard[0].ends_with(go_ahead.expect("it was said")) {
            return false;
        }
        self.part = 1;
        self.pieces = self.script.client[1].iter().cloned().collect();
        self.client.begin_tls(Engine::client(&Client::new(&self.bench.site)));
        self.client.flush();
        true
    }

    /// Until something can be done; for as long as the wrapper needs to read a piece, if another waits for that.
    fn wait(&mut self) {
        let progs = self.session.progs();
        let listeners = [progs, self.plain.as_fd(), self.backend.as_fd()];
        let mut polls: Vec<PollFd<'_>> =
            listeners.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        self.client.polls(&mut polls);
        for link in self.links.iter().flatten() {
            link.polls(&mut polls);
        }
        let milliseconds = if std::mem::take(&mut self.hurried) { 1 } else { 1000 };
        let limit = Timespec { tv_sec: 0, tv_nsec: milliseconds * 999_999 };
        let _ = poll(&mut polls, Some(&limit));
    }

    /// A server that neither answers nor ends is ended. False if there is none.
    fn ends_silence(&mut self) -> bool {
        let mut silent = self.links.iter_mut().enumerate().filter_map(|(part, link)| Some((part, link.as_mut()?)));
        let ended = silent.find_map(|(part, link)| link.is_ended(part, &mut self.oracle).then_some(()));
        self.silences += usize::from(ended.is_some());
        ended.is_some()
    }

    fn is_over(&self) -> bool {
        self.client.end.is_some() && self.links.iter().flatten().all(Link::is_over)
    }

    fn stands_still(&self) -> String {
        format!(
            "nothing moves. The session is {:?}, inside {}; the client has heard {:?} (end {:?}, finished {}, {} pieces \
             left); the servers {:?} and {:?}; the log:\n{}",
            self.oracle.state,
            self.oracle.inside,
            self.client_heard.each_ref().map(|heard| shown(heard)),
            self.client.end,
            self.has_finished,
            self.pieces.len(),
            self.links[0].as_ref().map(Link::told),
            self.links[1].as_ref().map(Link::told),
            self.session.wrapper.log.text(),
        )
    }

    fn end(self) -> Played {
        let came_to_tls = self.client.is_tls();
        let client_end = self.client.end.clone().expect("it is over");
        drop(self.client);
        let end = self.session.end();
        Played {
            oracle: self.oracle,
            client_heard: self.client_heard,
            client_end,
            came_to_tls,
            silences: self.silences,
            servers: self.links.map(|link| link.map(Link::end)),
            status: end.status,
            log: end.log,
        }
    }
}

/// How long a server may say nothing where it is its turn. Some do not answer a line that is longer than they like.
const SILENCE: Duration = Duration::from_secs(3);

fn wrapper(script: &Script, bench: &Bench, backend: u16) -> Wrapper {
    let mut wrapper = match script.way {
        Way::Respawn => Wrapper::respawn(&bench.site),
        Way::Backend => Wrapper::backend(&bench.site, backend),
        Way::Implicit => Wrapper::bare(&[]).site(&bench.site).option("--implicit"),
    };
    let flags = [("-r", script.strict), ("--no-advertise", !script.advertises), ("--no-replay", !script.replays)];
    for (flag, _) in flags.iter().filter(|(_, given)| *given) {
        wrapper = wrapper.option(flag);
    }
    if script.named { wrapper.options(&["-p", script.service.protocol]) } else { wrapper }
}
