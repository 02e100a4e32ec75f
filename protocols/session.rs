//! The state machine and the laws: which byte goes where, and when the switch happens.
//!
//! Pure: no descriptor, no clock, no TLS. Bytes and events come in by method, [`Order`]s come out by
//! [`Session::next_order`]. The client and the server speak in lock-step: one line of the client, its whole reply,
//! the next line; that alone keeps replies in order, whatever a client pipelines.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::dialogue::{Dialogue, StateCommand};
use crate::line::{self, MAX_LINE};
use crate::note::{FreshServerFailure, Speaker};
use crate::unit::{Unit, UnitBuffer};
use crate::{Offer, Protocol, Sentence, Snooper};

mod lockstep;
mod order;
mod scripted_client;
mod switch;

pub use order::{Order, Outcome, Replayed, Surplus};
pub use scripted_client::{ScriptFailure, ScriptedClient, Step};
use switch::PendingBackend;

/// With `--require-tls`, the refused command that ends the session.
pub const MAX_REFUSALS: usize = 10;

/// How often a client may ask for STARTTLS in one session and hear that TLS is not available: a server that is being
/// restarted is soon back, and each time costs a connection.
pub const MAX_STARTTLS_TRIES: u8 = 16;

/// One session, from the plaintext server's greeting until its bytes need no more watching.
pub struct Session {
    rules: Rules,
    phase: Phase,
    snooper: Option<(Protocol, Box<dyn Snooper>)>,
    /// The client speaks TLS. Once true it stays true.
    inside: bool,
    client: UnitBuffer,
    /// The client will say no more, and the server knows.
    client_ended: bool,
    server: UnitBuffer,
    backend: Option<PendingBackend>,
    dialogue: Dialogue,
    replay: Option<StateCommand>,
    /// The client's first command inside TLS, which waits while the prefix is replayed.
    first_command: Vec<u8>,
    replayed: Replayed,
    /// The client began TLS without asking for it.
    direct_tls: bool,
    refusals: usize,
    /// How often STARTTLS was asked for.
    tries: u8,
    warned_of_offer: bool,
    orders: VecDeque<Order>,
}

/// What the administrator decided, as far as the dialogue is concerned.
#[derive(Clone, Copy)]
pub struct Rules {
    /// The protocols to choose from.
    pub protocols: &'static [Protocol],
    /// `--protocol`; `None` is `auto`.
    pub protocol: Option<Protocol>,
    /// `--require-tls`.
    pub strict: bool,
    /// Add unless `--no-advertise` says leave, or no key or certificate says remove.
    pub offer: Offer,
    /// The prefix is replayed when the client does not open the session again.
    pub replay: bool,
    /// The server inside TLS begins after the handshake: a fresh prog (`--respawn`), or a backend that is told of TLS.
    pub respawn: bool,
    /// `--implicit`: TLS from the first byte; the first server is the one inside.
    pub implicit: bool,
    /// Note every line (`-v 3`).
    pub transcript: bool,
}

/// A phase that may not last for ever. How long it may last is the driver's affair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// `--tls-deadline`, from the start of the session.
    Deadline,
    /// A fresh server that shall greet or take the replayed prefix.
    Fresh,
}

/// Where the dialogue stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The server's greeting is awaited.
    Greeting,
    /// A command of the client is awaited.
    Command,
    /// The server's reply is awaited.
    Reply,
    /// It is being found out whether TLS can be had.
    Preparing,
    /// The client's handshake runs.
    Handshake,
    /// The server's reply to the replayed prefix is awaited.
    Replay,
    /// Nothing is left to say.
    Over,
}

impl Session {
    /// A session that begins with the plaintext server's greeting, or with TLS.
    pub fn new(rules: Rules) -> Self {
        let mut session = Self {
            phase: Phase::Preparing,
            snooper: None,
            inside: rules.implicit,
            client: UnitBuffer::default(),
            client_ended: false,
            server: UnitBuffer::default(),
            backend: None,
            dialogue: Dialogue::default(),
            replay: None,
            first_command: Vec::new(),
            replayed: Replayed::None,
            direct_tls: false,
            refusals: 0,
            tries: 0,
            warned_of_offer: false,
            orders: rules.implicit.then_some(Order::Prepare).into_iter().collect(),
            rules,
        };
        if !rules.implicit {
            session.server_begins();
        }
        session
    }

    /// TLS stands with a server that was called by this name, for a client that knows no TLS. What the server said before
    /// is not for the client's ears, so it is greeted in the server's name; nor is its offer of STARTTLS, inside.
    pub fn called(&mut self, name: &str) {
        self.inside = true;
        self.detect_protocol(&[]);
        let Some((_, snooper)) = &self.snooper else { return };
        let mut greeting = Vec::new();
        snooper.greet(name, &mut greeting);
        self.phase = if snooper.greets_again() { Phase::Greeting } else { Phase::Command };
        self.note(Speaker::Wrapper, &greeting, true);
        self.send_to_client(greeting);
    }

    /// How many bytes of the client may come now; zero leaves them in the kernel. While the server is awaited a unit of
    /// them may wait here: who does not read does not see the end.
    pub fn client_room(&self) -> usize {
        if self.listens_to_client() && !self.client_ended { self.client_unit().room() } else { 0 }
    }

    /// Whether nothing is owed to the client, and the next word is its own.
    pub fn awaits_command(&self) -> bool {
        self.phase == Phase::Command
    }

    /// How many bytes of the server may come now.
    pub fn server_room(&self) -> usize {
        match self.phase {
            Phase::Greeting | Phase::Command | Phase::Reply | Phase::Replay => self.server_unit().room(),
            Phase::Preparing | Phase::Handshake | Phase::Over => 0,
        }
    }

    /// How many bytes of the backend may come now.
    pub fn backend_room(&self) -> usize {
        let backend = self.backend.as_ref().filter(|_| self.phase == Phase::Preparing);
        backend.map_or(0, |backend| backend.unit().room())
    }

    /// The client said this.
    pub fn client_says(&mut self, bytes: &[u8]) {
        self.client.push(bytes);
        self.advance();
    }

    /// The server said this.
    pub fn server_says(&mut self, bytes: &[u8]) {
        self.server.push(bytes);
        self.advance();
    }

    /// The client will say no more; this is heard where its bytes would be. What it left half said goes to the server,
    /// which answers as it likes. What the server owes it is still watched.
    pub fn client_closed(&mut self) {
        if self.client_room() == 0 {
            return;
        }
        self.client_ended = true;
        let half_said = core::mem::take(&mut self.client).into_rest();
        if !self.strict() && !half_said.is_empty() {
            self.orders.push_back(Order::ToServer(half_said));
        }
        self.orders.push_back(Order::EndToServer);
        self.advance();
    }

    /// The server will say no more.
    pub fn server_closed(&mut self) {
        match (self.inside, self.phase) {
            (true, Phase::Greeting) => self.fresh_server_failed(FreshServerFailure::EndedBeforeGreeting),
            (true, Phase::Replay) => self.fresh_server_failed(FreshServerFailure::EndedInReplay),
            (_, Phase::Over) => {}
            _ => {
                let last_words = self.owed_to_client();
                self.send_to_client(last_words);
                self.close(Outcome::ServerClosed);
            }
        }
    }

    /// The limit that runs now.
    pub fn limit(&self) -> Option<Limit> {
        match self.phase {
            Phase::Greeting | Phase::Replay if self.inside => Some(Limit::Fresh),
            Phase::Greeting | Phase::Command | Phase::Reply if self.strict() => Some(Limit::Deadline),
            _ => None,
        }
    }

    /// The limit has passed.
    pub fn expired(&mut self, limit: Limit) {
        match limit {
            Limit::Deadline => {
                self.say(Sentence::Goodbye);
                self.close(Outcome::Deadline);
            }
            Limit::Fresh => self.fresh_server_failed(FreshServerFailure::TookTooLong),
        }
    }

    /// The next thing to do, if there is one.
    pub fn next_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// The protocol, once the greeting has shown it.
    pub fn protocol(&self) -> Option<Protocol> {
        self.snooper.as_ref().map(|(protocol, _)| *protocol)
    }

    /// Whether the client began TLS without asking for it. Then it must name the protocol by ALPN.
    pub fn is_direct_tls(&self) -> bool {
        self.direct_tls
    }

    /// What became of the recorded prefix.
    pub fn replayed(&self) -> Replayed {
        self.replayed
    }

    /// Whether the client was refused (`--require-tls`) and has not come to TLS since.
    pub fn was_refused(&self) -> bool {
        self.strict() && self.refusals > 0
    }

    fn client_unit(&self) -> Unit {
        let bytes = self.client.bytes();
        self.snooper.as_ref().map_or_else(|| first_line(bytes), |(_, snooper)| snooper.client_unit(bytes))
    }

    fn server_unit(&self) -> Unit {
        let bytes = self.server.bytes();
        self.snooper.as_ref().map_or_else(|| first_line(bytes), |(_, snooper)| snooper.server_unit(bytes))
    }

    /// A fresh server's greeting has a limit of its own, and nothing of the client is needed before it.
    fn listens_to_client(&self) -> bool {
        matches!(self.phase, Phase::Command | Phase::Reply) || (self.phase == Phase::Greeting && !self.inside)
    }

    fn strict(&self) -> bool {
        self.rules.strict && !self.inside
    }

    fn advance(&mut self) {
        loop {
            let moved = match self.phase {
                Phase::Greeting => self.hear_greeting(),
                Phase::Command => self.hear_out_of_turn() || self.hear_command(),
                Phase::Reply => self.hear_reply(),
                Phase::Replay => self.hear_replay_reply(),
                Phase::Preparing | Phase::Handshake | Phase::Over => false,
            };
            if !moved {
                return;
            }
        }
    }

    fn say(&mut self, sentence: Sentence) {
        let mut out = Vec::new();
        if let Some((_, snooper)) = &self.snooper {
            snooper.say(sentence, &mut out);
        }
        self.note(Speaker::Wrapper, &out, true);
        self.send_to_client(out);
    }

    fn send_to_client(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.orders.push_back(Order::ToClient(bytes));
        }
    }

    fn close(&mut self, outcome: Outcome) {
        self.phase = Phase::Over;
        self.orders.push_back(Order::Close(outcome));
    }
}

/// What a server says before its protocol is known is a line, as with every protocol that is known by its greeting.
fn first_line(bytes: &[u8]) -> Unit {
    line::unit(bytes, MAX_LINE)
}
