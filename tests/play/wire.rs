//! Plays a dialogue over real descriptors with real TLS: the wrapper is a process, the test is its client, its prog and
//! its TLS server.
//!
//! Nothing is waited for but what must come. That a side hears nothing is seen at the next thing it hears, and at last
//! at its end of file.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use crate::play::way::{self, Failure, refusal};
use crate::play::{Dialogue, Event, Hello, Mode, Party, Step};
use crate::support::backend::Backend;
use crate::support::certificates::Site;
use crate::support::peer::Peer;
use crate::support::program::Log;
use crate::support::wrapper::{Prog, Session};
use crate::support::{proc, tls};

mod launch;

/// One of the ways to play a dialogue here.
pub(crate) type Way = way::Way<Cut>;

/// How the bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// As they are said.
    Whole,
    /// One by one, up to [`MOST_SINGLE`]. The next is not written before the wrapper has gone to sleep over the last.
    Bytes,
}

/// Plays the dialogue. What went wrong, with its place, if it does not go as written.
pub(crate) fn play(dialogue: &Dialogue, way: Way) -> Result<(), String> {
    let waits = dialogue.steps.iter().any(|step| step.event == Event::TimePasses);
    let played = play_until(dialogue, way, DEADLINE);
    if waits && played.is_err() { play_until(dialogue, way, LONG_DEADLINE) } else { played }
}

/// `--tls-deadline` in milliseconds, of the dialogues that wait for it: more than one takes up to `--- time passes`, and
/// more than it takes on a machine under load. They are the one thing here that takes its time.
const DEADLINE: &str = "6000";
const LONG_DEADLINE: &str = "15000";

fn play_until(dialogue: &Dialogue, way: Way, deadline: &str) -> Result<(), String> {
    let place = Place { at: Cell::new(0), who: Cell::new("nobody"), log: RefCell::default() };
    let played = catch_unwind(AssertUnwindSafe(|| Player::start(dialogue, way, deadline, &place).play()));
    played.map_err(|panic| {
        let why = panic
            .downcast_ref::<String>()
            .map_or_else(|| panic.downcast_ref::<&str>().copied().unwrap_or_default().to_owned(), Clone::clone);
        let log = place.log.take().map(|log| log.text()).unwrap_or_default();
        let (file, who) = (dialogue.place(place.at.get()), place.who.get());
        format!("{file}: {way:?}: {who}: {why}\nthe wrapper's log:\n{log}")
    })
}

/// Where the dialogue stands, for whoever reads of a failure.
struct Place {
    /// The step.
    at: Cell<usize>,
    /// Who is spoken to, or heard.
    who: Cell<&'static str>,
    log: RefCell<Option<Log>>,
}

/// A wrapper between two voices.
struct Player<'a> {
    dialogue: &'a Dialogue,
    way: Way,
    place: &'a Place,
    site: Site,
    backend: Backend,
    session: Session,
    /// The wrapper's process that reads the network, once it is there.
    reader: Option<u32>,
    server: Option<Server>,
    /// The TLS server that has greeted and is not yet in charge.
    reached: Option<Server>,
    /// The handshake whose ClientHello was sent together with STARTTLS.
    begun: Option<tls::Handshake>,
    client_closed: bool,
}

/// Whoever serves.
enum Server {
    Prog(Prog),
    Backend(Peer),
}

impl<'a> Player<'a> {
    fn start(dialogue: &'a Dialogue, way: Way, deadline: &str, place: &'a Place) -> Self {
        let (site, backend) = (Site::new(), Backend::new());
        if dialogue.options.implicit && dialogue.steps.iter().any(|step| step.event == Event::Unavailable) {
            fs::remove_file(site.key()).unwrap();
        }
        let mut session = launch::wrapper(dialogue, way.mode, deadline, &site, backend.port()).start();
        place.log.replace(Some(session.wrapper.log.clone()));
        // Whoever goes on writing to a wrapper that has had enough would lose its last words, if it were too slow.
        if way.cut == Cut::Whole {
            session.unshare();
        }
        let (reader, server, reached, begun, client_closed) = (None, None, None, None, false);
        Self { dialogue, way, place, site, backend, session, reader, server, reached, begun, client_closed }
    }

    fn play(mut self) {
        if !self.dialogue.options.implicit {
            self.meet_prog();
        }
        for (at, step) in self.dialogue.steps.iter().enumerate() {
            self.place.at.set(at);
            self.happens(&step.event);
            self.hear(step);
        }
        self.end();
    }

    fn happens(&mut self, event: &Event) {
        match event {
            Event::Says(Party::Client, bytes) => self.client_says(bytes),
            Event::Says(Party::Server, _) if self.greeted_before() => {}
            Event::Says(Party::Server, bytes) => self.server_says(bytes),
            Event::Closes(Party::Client) => self.client_closes(),
            Event::Closes(Party::Server) => self.server().says_no_more(),
            Event::Unavailable => self.hide_key(),
            Event::Tls(hello) => self.begin_tls(*hello),
            Event::NotTls(bytes) => self.fail_at_tls(bytes.len()),
            // It does so by itself: the wrapper was told a short time.
            Event::TimePasses => {}
            Event::Closed => self.hear_the_close(),
        }
    }

    fn hear(&mut self, step: &Step) {
        if !step.server_hears.is_empty() {
            self.server().hears(&step.server_hears);
        }
        self.client().hears(&step.client_hears);
        let failed = matches!(step.event, Event::Says(Party::Client, _)) && self.is_unavailable();
        if failed && self.way.mode == Mode::Respawn {
            fs::rename(self.hidden_key(), self.site.key()).unwrap();
        }
    }

    fn client_says(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        if self.event(self.place.at.get() + 1) == Some(&Event::Tls(Hello::Eager)) {
            let mut handshake = tls::Client::new(&self.site).begin();
            bytes.extend(handshake.client_hello());
            self.begun = Some(handshake);
        }
        let (cut, reader) = (self.way.cut, self.reader);
        say(self.client(), &bytes, cut, reader);
        if self.way.mode == Mode::HostPort {
            self.serve();
        }
    }

    fn server_says(&mut self, bytes: &[u8]) {
        let (cut, reader) = (self.way.cut, self.reader);
        say(self.server(), bytes, cut, reader);
        // With this the client's turn may come.
        if self.way.mode == Mode::HostPort && self.asks_for_tls() {
            self.accept();
        }
    }

    fn client_closes(&mut self) {
        self.client().says_no_more();
        self.client_closed = true;
    }

    /// The TLS server, if the client has asked for it with this step. It greets before the client hears the go-ahead.
    fn serve(&mut self) {
        self.place.who.set("the TLS server");
        if self.is_unavailable() {
            self.fail_to_serve();
        } else if self.asks_for_tls() {
            self.accept();
        }
    }

    fn accept(&mut self) {
        self.place.who.set("the TLS server");
        let mut peer = tls::accept(&self.site, self.backend.accept()).expect("the wrapper shakes hands");
        say(&mut peer, &self.dialogue.greeting_inside(), self.way.cut, self.reader);
        self.reached = Some(Server::Backend(peer));
    }

    /// Whether TLS begins behind this step, because of it.
    fn asks_for_tls(&self) -> bool {
        let next = self.event(self.place.at.get() + 1);
        matches!(next, Some(Event::Tls(Hello::Awaited | Hello::Eager) | Event::NotTls(_)))
    }

    fn fail_to_serve(&mut self) {
        let connection = self.backend.accept();
        if self.way.failure == Failure::Unreachable {
            return;
        }
        let mut peer = tls::accept(&self.site, connection).expect("the wrapper shakes hands");
        match self.way.failure {
            Failure::Refuses => say(&mut peer, refusal(&self.dialogue.protocol), self.way.cut, self.reader),
            _ => peer.says_no_more(),
        }
        let mut heard = Vec::new();
        // It is dropped without a word, not even close_notify.
        let _ = peer.read_to_end(&mut heard);
        assert!(heard.is_empty(), "heard \"{}\" instead of the end", heard.escape_ascii());
    }

    /// With --respawn TLS is unavailable where the key is.
    fn hide_key(&self) {
        if self.way.mode == Mode::Respawn && !self.dialogue.options.implicit {
            fs::rename(self.site.key(), self.hidden_key()).unwrap();
        }
    }

    fn hidden_key(&self) -> PathBuf {
        self.site.dir.file("hidden.pem")
    }

    fn begin_tls(&mut self, hello: Hello) {
        if hello == Hello::Unasked {
            self.begin_unasked();
        }
        let handshake = self.begun.take().unwrap_or_else(|| tls::Client::new(&self.site).begin());
        handshake.finish(self.client()).expect("the handshake succeeds");
        self.plaintext_server_ends();
        match self.reached.take() {
            Some(backend) => self.server = Some(backend),
            None => self.meet_prog(),
        }
    }

    /// The client names the protocol by ALPN, as it must who did not ask.
    fn begin_unasked(&mut self) {
        let mut handshake = tls::Client::new(&self.site).alpn(&["postgresql"]).begin();
        let (hello, cut, reader) = (handshake.client_hello(), self.way.cut, self.reader);
        self.begun = Some(handshake);
        say(self.client(), &hello, cut, reader);
        if self.way.mode == Mode::HostPort {
            self.accept();
        }
    }

    /// What came behind STARTTLS was taken for a ClientHello, and nobody else has heard of it.
    fn fail_at_tls(&mut self, count: usize) {
        let alert = self.client().hears_rest();
        assert!(matches!(alert[..], [21, 3, _, 0, 2, 2, _]), "heard {alert:?}, expected a fatal alert");
        self.plaintext_server_ends();
        if let Some(Server::Backend(mut backend)) = self.reached.take() {
            self.place.who.set("the TLS server");
            backend.hears_end();
        }
        let log = &self.session.wrapper.log;
        let line = log.line_with("bytes of plaintext behind STARTTLS");
        let told = line.split(' ').find_map(|word| word.parse::<usize>().ok()).expect("it says how many");
        // One by one, the engine has had enough before the last.
        let enough = if self.way.cut == Cut::Whole { count..=count } else { 1..=count };
        assert!(enough.contains(&told), "{line:?}, expected {enough:?} bytes");
    }

    fn plaintext_server_ends(&mut self) {
        if self.server.is_some() {
            self.server().hears_end();
            self.server = None;
        }
    }

    /// The wrapper has closed the session: the client first, which then leaves, and the server behind it.
    fn hear_the_close(&mut self) {
        self.session.unshare();
        self.client().hears_end();
        self.session.vanish();
        if self.server.is_some() {
            self.server().hears_end();
        }
    }

    /// The dialogue is over. A session that must still be open carries the ends of both sides.
    fn end(mut self) {
        let closed =
            matches!(self.dialogue.steps.last().map(|step| &step.event), Some(Event::Closed | Event::NotTls(_)));
        if !closed {
            self.end_the_open_session();
        }
        self.place.who.set("the wrapper");
        assert!(self.session.has_no_further_server(), "prog was started once more");
        assert!(self.backend.is_untouched(), "the TLS server was called once more");
        drop(self.server);
        let end = self.session.end();
        assert_eq!(end.status, launch::status(self.dialogue), "the status");
    }

    fn end_the_open_session(&mut self) {
        if !self.client_closed {
            self.client_closes();
            self.server().hears_end();
        }
        self.server().says(STILL_OPEN);
        self.server().says_no_more();
        self.client().hears(STILL_OPEN);
        self.client().hears_end();
    }

    fn meet_prog(&mut self) {
        self.place.who.set("prog");
        self.server = Some(Server::Prog(self.session.server()));
        self.reader = Some(proc::session_of(self.session.wrapper.pid()));
    }

    fn client(&mut self) -> &mut Peer {
        self.place.who.set("the client");
        &mut self.session.client
    }

    fn server(&mut self) -> &mut Peer {
        self.place.who.set("the server");
        match self.server.as_mut().expect("there is a server") {
            Server::Prog(prog) => prog,
            Server::Backend(peer) => peer,
        }
    }

    fn event(&self, at: usize) -> Option<&'a Event> {
        self.dialogue.steps.get(at).map(|step| &step.event)
    }

    /// Whether the STARTTLS of this step finds no TLS server.
    fn is_unavailable(&self) -> bool {
        self.place.at.get().checked_sub(1).and_then(|before| self.event(before)) == Some(&Event::Unavailable)
    }

    /// Whether this step was said by a TLS server before the go-ahead.
    fn greeted_before(&self) -> bool {
        self.way.mode == Mode::HostPort && self.dialogue.greets_inside(self.place.at.get())
    }
}

fn say(peer: &mut Peer, bytes: &[u8], cut: Cut, reader: Option<u32>) {
    if cut == Cut::Whole {
        return peer.says(bytes);
    }
    let (single, rest) = bytes.split_at(bytes.len().min(MOST_SINGLE));
    for byte in single {
        peer.says([*byte]);
        if let Some(reader) = reader {
            proc::until(|| proc::is_asleep(reader));
        }
    }
    if !rest.is_empty() {
        peer.says(rest);
    }
}

/// So many bytes are written one by one. A machine under load takes its time for each, and the wrapper has limits for a
/// ClientHello, which is ten times as long.
const MOST_SINGLE: usize = 160;

/// What is carried only where bytes go by.
const STILL_OPEN: &str = "nobody asked for this\r\n";
