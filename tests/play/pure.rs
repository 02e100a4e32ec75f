//! Plays a dialogue through the pure session, as its driver would, and checks what each side hears.

use std::collections::VecDeque;
use std::mem::take;

use starttls_protocols::session::{Order, Outcome, Replayed, Rules, Session};
use starttls_protocols::{Offer, Protocol};
use starttls_wrapper::message::NoteText;

use crate::play::way::{self, Failure, refusal};
use crate::play::{Dialogue, Event, Hello, Mode, Party};

/// One of the ways to play a dialogue here.
pub(crate) type Way = way::Way<Cut>;

/// How the bytes come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// As they are said.
    Whole,
    /// One by one.
    Bytes,
    /// As they are said, and all that the client will say before TLS (or after it) is there from the beginning.
    Pipelined,
}

/// What the dialogue does not show.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) protocol: Option<&'static str>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) replayed: Replayed,
    pub(crate) notes: Vec<String>,
}

/// Plays the dialogue; `None` if it is not meant for this mode.
///
/// # Panics
/// Where a side hears anything else than the dialogue says.
pub(crate) fn play(dialogue: &Dialogue, way: Way, protocols: &'static [Protocol]) -> Option<Report> {
    if !dialogue.is_for(way.mode) {
        return None;
    }
    let mut player = Player::new(dialogue, way, protocols);
    player.pump();
    player.queue_segment(0);
    for (at, step) in dialogue.steps.iter().enumerate() {
        player.at = at;
        player.happens(&step.event);
        player.pump();
        player.due.client.extend(&step.client_hears);
        player.due.server.extend(&step.server_hears);
        player.compare();
    }
    Some(player.finish())
}

/// The driver's view: what waits in the kernel, and what was sent.
struct Player<'a> {
    dialogue: &'a Dialogue,
    way: Way,
    session: Session,
    /// The step that is played.
    at: usize,
    said: Sides<VecDeque<u8>>,
    closed: Sides<bool>,
    heard: Sides<Vec<u8>>,
    due: Sides<Vec<u8>>,
    backend: VecDeque<u8>,
    /// The answers to the orders to prepare.
    available: VecDeque<bool>,
    state: State,
    respawned: bool,
    notes: Vec<String>,
}

#[derive(Default)]
struct Sides<T> {
    client: T,
    server: T,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// The session watches.
    Watched,
    /// The go-ahead is given; these bytes have come for the TLS engine.
    Granted(Vec<u8>),
    /// Bytes go by unwatched.
    Passing,
    Closed(Option<Outcome>),
}

impl<'a> Player<'a> {
    fn new(dialogue: &'a Dialogue, way: Way, protocols: &'static [Protocol]) -> Self {
        let available = dialogue.steps.iter().filter_map(|step| match step.event {
            Event::Unavailable => Some(false),
            Event::Tls(_) | Event::NotTls(_) => Some(true),
            _ => None,
        });
        Self {
            dialogue,
            way,
            session: Session::new(rules(dialogue, way, protocols)),
            at: 0,
            said: Sides::default(),
            closed: Sides::default(),
            heard: Sides::default(),
            due: Sides::default(),
            backend: VecDeque::new(),
            available: available.collect(),
            state: State::Watched,
            respawned: false,
            notes: Vec::new(),
        }
    }

    /// In the pipelined cut: the client says now what it will say until TLS begins or the dialogue ends.
    fn queue_segment(&mut self, from: usize) {
        if self.way.cut == Cut::Pipelined {
            for at in from..self.dialogue.steps.len() {
                match self.event(at) {
                    Some(Event::Tls(_) | Event::NotTls(_)) => break,
                    Some(Event::Says(Party::Client, bytes)) => self.client_says(at, bytes),
                    _ => {}
                }
            }
        }
    }

    fn happens(&mut self, event: &'a Event) {
        match event {
            Event::Says(Party::Client, bytes) if self.way.cut != Cut::Pipelined => self.client_says(self.at, bytes),
            Event::Says(Party::Server, bytes) if !self.greets_before(self.at) => {
                assert!(
                    self.respawned || self.way.mode != Mode::Respawn || !self.inside(),
                    "{} no server",
                    self.here()
                );
                self.said.server.extend(bytes);
            }
            Event::Says(..) | Event::Unavailable => {}
            Event::Closes(Party::Client) => self.closed.client = true,
            Event::Closes(Party::Server) => self.closed.server = true,
            Event::Tls(hello) => {
                if *hello == Hello::Unasked {
                    self.said.client.extend(CLIENT_HELLO);
                    self.pump();
                }
                self.begin_tls(if *hello == Hello::Awaited { b"" } else { CLIENT_HELLO });
                self.state = State::Watched;
                self.session.handshake_done();
                self.queue_segment(self.at + 1);
            }
            Event::NotTls(bytes) => self.begin_tls(bytes),
            Event::TimePasses => {
                let limit = self.session.limit().unwrap_or_else(|| panic!("{} no limit runs", self.here()));
                self.session.expired(limit);
            }
            Event::Closed => assert!(matches!(self.state, State::Closed(_)), "{} still open", self.here()),
        }
    }

    fn client_says(&mut self, at: usize, bytes: &[u8]) {
        self.said.client.extend(bytes);
        if self.event(at + 1) == Some(&Event::Tls(Hello::Eager)) {
            self.said.client.extend(CLIENT_HELLO);
        }
    }

    /// The go-ahead was the last thing the client heard, and to the TLS engine came these bytes only.
    fn begin_tls(&mut self, expected: &[u8]) {
        let State::Granted(mut bytes) = std::mem::replace(&mut self.state, State::Closed(None)) else {
            panic!("{} STARTTLS was not granted", self.here());
        };
        self.compare_exactly();
        assert_eq!((self.session.client_room(), self.session.server_room()), (0, 0), "{} nothing is read", self.here());
        bytes.extend(take(&mut self.said.client));
        assert_eq!(shown(&bytes), shown(expected), "{} came to the TLS engine", self.here());
    }

    fn pump(&mut self) {
        loop {
            while let Some(order) = self.session.next_order() {
                self.obey(order);
            }
            let moved = match self.state {
                State::Watched => self.feed(),
                State::Passing => self.splice(),
                State::Granted(_) | State::Closed(_) => false,
            };
            if !moved {
                return;
            }
        }
    }

    fn feed(&mut self) -> bool {
        let most = if self.way.cut == Cut::Bytes { 1 } else { usize::MAX };
        let some = |queue: &mut VecDeque<u8>, room: usize| -> Vec<u8> {
            let size = queue.len().min(room).min(most);
            queue.drain(..size).collect()
        };
        let client = some(&mut self.said.client, self.session.client_room());
        if !client.is_empty() {
            self.session.client_says(&client);
            return true;
        }
        let server = some(&mut self.said.server, self.session.server_room());
        if !server.is_empty() {
            self.session.server_says(&server);
            return true;
        }
        let backend = some(&mut self.backend, self.session.backend_room());
        if !backend.is_empty() {
            self.session.backend_says(&backend);
            return true;
        }
        self.ends()
    }

    /// An end of file is read where bytes would be, and behind all bytes.
    fn ends(&mut self) -> bool {
        let client = self.closed.client && self.said.client.is_empty() && self.session.client_room() > 0;
        let server = self.closed.server && self.said.server.is_empty() && self.session.server_room() > 0;
        if client {
            self.closed.client = false;
            self.session.client_closed();
        } else if server {
            self.closed.server = false;
            self.session.server_closed();
        }
        client || server
    }

    fn splice(&mut self) -> bool {
        self.heard.server.extend(take(&mut self.said.client));
        self.heard.client.extend(take(&mut self.said.server));
        if self.closed.server {
            self.state = State::Closed(None);
        }
        false
    }

    fn obey(&mut self, order: Order) {
        let here = self.here();
        assert!(!matches!(self.state, State::Closed(_)), "{here} {order:?} after the end");
        match order {
            Order::Note(note) => self.notes.push(NoteText(&note).to_string()),
            _ if matches!(self.state, State::Granted(_)) => panic!("{here} {order:?} behind the go-ahead"),
            Order::ToClient(bytes) => self.heard.client.extend(bytes),
            Order::ToServer(bytes) => self.heard.server.extend(bytes),
            Order::EndToServer => {}
            Order::Prepare => self.prepare(),
            Order::DropBackend => self.backend.clear(),
            Order::Upgrade(surplus) => {
                assert!(!self.inside(), "{here} a second switch");
                // Of the plaintext server nothing is heard any more; of the TLS server, what it says behind its greeting.
                self.said.server = take(&mut self.backend);
                self.state = State::Granted(surplus.into_bytes());
            }
            Order::Respawn => self.respawned = true,
            Order::PassThrough { to_server, to_client } => {
                self.heard.server.extend(to_server);
                self.heard.client.extend(to_client);
                self.state = State::Passing;
            }
            Order::Close(outcome) => self.state = State::Closed(Some(outcome)),
        }
    }

    fn prepare(&mut self) {
        let available = self.available.pop_front();
        let available = available.unwrap_or_else(|| panic!("{} STARTTLS is not in the dialogue", self.here()));
        self.session.prepared(available || self.fails_late());
        match self.way.failure {
            _ if self.way.mode == Mode::Respawn => {}
            _ if available => self.backend.extend(self.dialogue.greeting_inside()),
            Failure::Unreachable => {}
            Failure::Refuses => self.backend.extend(refusal(&self.dialogue.protocol)),
            Failure::Closes => self.session.backend_failed(),
        }
    }

    /// Whether the TLS server can be reached, but does not greet as it should.
    fn fails_late(&self) -> bool {
        self.way.mode == Mode::HostPort && self.way.failure != Failure::Unreachable
    }

    /// Whether this step is said by a server that has greeted before the go-ahead.
    fn greets_before(&self, at: usize) -> bool {
        self.way.mode == Mode::HostPort && self.dialogue.greets_inside(at)
    }

    fn inside(&self) -> bool {
        self.dialogue.steps.iter().take(self.at).any(|step| matches!(step.event, Event::Tls(_)))
    }

    fn event(&self, at: usize) -> Option<&'a Event> {
        self.dialogue.steps.get(at).map(|step| &step.event)
    }

    fn compare(&self) {
        // A server reached before the go-ahead has greeted in full, a pipelining client is answered ahead of its turn.
        let ahead = self.greets_before(self.at + 1);
        if self.way.cut != Cut::Pipelined && !ahead {
            self.compare_exactly();
        }
    }

    fn compare_exactly(&self) {
        assert_eq!(shown(&self.heard.client), shown(&self.due.client), "{} the client heard", self.here());
        assert_eq!(shown(&self.heard.server), shown(&self.due.server), "{} the server heard", self.here());
    }

    fn here(&self) -> String {
        format!("{}: {:?}, {:?}:", self.dialogue.place(self.at), self.way, self.event(self.at))
    }

    fn finish(self) -> Report {
        self.compare_exactly();
        let last = self.dialogue.steps.last().map(|step| &step.event);
        let ends = matches!(last, Some(Event::Closed | Event::NotTls(_)));
        assert!(!matches!(self.state, State::Granted(_)), "{} no TLS after the go-ahead", self.here());
        assert_eq!(matches!(self.state, State::Closed(_)), ends, "{} closed", self.here());
        Report {
            protocol: self.session.protocol().map(|protocol| protocol.name),
            outcome: if let State::Closed(outcome) = self.state { outcome } else { None },
            replayed: self.session.replayed(),
            notes: self.notes,
        }
    }
}

fn rules(dialogue: &Dialogue, way: Way, protocols: &'static [Protocol]) -> Rules {
    let options = &dialogue.options;
    let name = dialogue.named_protocol();
    Rules {
        protocols,
        protocol: protocols.iter().find(|protocol| Some(protocol.name) == name).copied(),
        strict: options.strict,
        offer: match options {
            options if options.no_key => Offer::Remove,
            options if options.no_advertise => Offer::Leave,
            _ => Offer::Add,
        },
        replay: !options.no_replay && !options.strict,
        respawn: way.mode == Mode::Respawn,
        implicit: options.implicit,
        transcript: false,
    }
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\n", "\\n\n")
}

/// The beginning of one, with a byte that looks like the end of a line.
const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03NOOP\r\n\n";
