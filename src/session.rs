//! The state machine and the laws: which byte goes where, and when the switch happens.
//!
//! Pure: no descriptor, no clock, no TLS. Bytes and events come in by method, [`Order`]s come out by
//! [`Session::next_order`]. The client and the server speak in lock-step: one line of the client, its whole reply,
//! the next line; that alone keeps replies in order, whatever a client pipelines.

use std::collections::VecDeque;

use starttls_protocols::line::Lines;
use starttls_protocols::{Effect, Greeting, Offer, Policy, Protocol, Reply, Sentence, Snooper, Verdict};

use crate::dialogue::{Dialogue, Said};
use crate::message::{Note, Speaker};

/// With `--require-tls`, the refused command that ends the session.
pub const MAX_REFUSALS: usize = 10;

/// One session, from the plaintext server's greeting until its bytes need no more watching.
pub struct Session {
    rules: Rules,
    phase: Phase,
    snooper: Option<(Protocol, Box<dyn Snooper>)>,
    /// The client speaks TLS.
    inside: bool,
    client: Lines,
    server: Lines,
    backend: Option<Backend>,
    dialogue: Dialogue,
    replay: Option<Said>,
    /// The client's first command inside TLS, kept while the prefix is replayed.
    kept: Vec<u8>,
    replayed: Replayed,
    refusals: usize,
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
    /// `--respawn`: the server inside TLS is a fresh prog, started after the handshake.
    pub respawn: bool,
    /// Note every line (`-v 3`).
    pub transcript: bool,
}

/// What the driver of the session is to do, in this order.
#[derive(Debug)]
pub enum Order {
    /// Send the client these bytes.
    ToClient(Vec<u8>),
    /// Send the server these bytes.
    ToServer(Vec<u8>),
    /// Find out whether TLS can be had: key and certificate, and without `--respawn` the backend. Then call
    /// [`Session::prepared`].
    Prepare,
    /// Let go of the backend; it does not serve.
    DropBackend,
    /// Once the client has got everything: drop the plaintext server, put the backend in its place, and begin TLS.
    Upgrade(Surplus),
    /// Start prog again; TLS stands. Then come its bytes, or [`Session::server_failed`].
    Respawn,
    /// Forward everything from here on: first these bytes, then whatever comes.
    PassThrough {
        /// What the client said and the server did not hear yet.
        to_server: Vec<u8>,
        /// What the server said and the client did not hear yet.
        to_client: Vec<u8>,
    },
    /// Once the client has got everything: close.
    Close(Outcome),
    /// Tell the administrator.
    Note(Note),
}

/// What came behind the STARTTLS line. It belongs to the TLS engine and to nothing else (law 1): it cannot be
/// cloned, and only taking it apart by value yields its bytes.
#[derive(Debug)]
pub struct Surplus(Vec<u8>);

impl Surplus {
    /// Nothing came before TLS, as with TLS from the first byte.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// The bytes, for the TLS engine.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Why the session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server ended it.
    ServerClosed,
    /// `--require-tls`: too many refusals, a doubtful or overlong line, or TLS that is not available.
    Refused,
    /// `--tls-deadline` passed.
    Deadline,
    /// The server inside TLS failed, or did not answer in time.
    ServerFailed,
}

/// What became of the recorded prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// There was nothing to replay, or no time to.
    None,
    /// The client opened the session again.
    Dropped,
    /// The server heard it.
    Replayed,
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

/// The TLS server, reached but not yet in charge.
struct Backend {
    protocol: Protocol,
    snooper: Box<dyn Snooper>,
    lines: Lines,
    greeting: Vec<u8>,
}

impl Session {
    /// A session that begins with the plaintext server's greeting.
    pub fn new(rules: Rules) -> Self {
        Self {
            phase: Phase::Greeting,
            snooper: None,
            inside: false,
            client: Lines::default(),
            server: Lines::default(),
            backend: None,
            dialogue: Dialogue::default(),
            replay: None,
            kept: Vec::new(),
            replayed: Replayed::None,
            refusals: 0,
            warned_of_offer: false,
            orders: VecDeque::new(),
            rules,
        }
    }

    /// How many bytes of the client may come now; zero leaves them in the kernel.
    pub fn client_room(&self) -> usize {
        if self.phase == Phase::Command { self.client.room() } else { 0 }
    }

    /// How many bytes of the server may come now.
    pub fn server_room(&self) -> usize {
        match self.phase {
            Phase::Greeting | Phase::Command | Phase::Reply | Phase::Replay => self.server.room(),
            Phase::Preparing | Phase::Handshake | Phase::Over => 0,
        }
    }

    /// How many bytes of the backend may come now.
    pub fn backend_room(&self) -> usize {
        self.backend.as_ref().map_or(0, |backend| backend.lines.room())
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

    /// The backend said this; it is not yet in charge.
    pub fn backend_says(&mut self, bytes: &[u8]) {
        if let Some(backend) = &mut self.backend {
            backend.lines.push(bytes);
            self.hear_backend();
        }
    }

    /// The client will say no more. What it left half said goes to the server, which answers as it likes.
    pub fn client_closed(&mut self) {
        if self.phase == Phase::Command {
            if self.strict() {
                self.client = Lines::default();
            }
            self.pass_through(Vec::new());
        }
    }

    /// The server will say no more.
    pub fn server_closed(&mut self) {
        match (self.inside, self.phase) {
            (true, Phase::Greeting | Phase::Replay) => self.server_failed(),
            (_, Phase::Over) => {}
            _ => {
                let last_words = self.owed_to_client();
                self.tell_client(last_words);
                self.close(Outcome::ServerClosed);
            }
        }
    }

    /// The backend will say no more, or cannot be spoken to; it has not greeted.
    pub fn backend_failed(&mut self) {
        if self.backend.take().is_some() {
            self.not_available();
        }
    }

    /// The answer to [`Order::Prepare`]. Without `--respawn` the backend's greeting must follow.
    pub fn prepared(&mut self, available: bool) {
        if self.phase != Phase::Preparing {
            return;
        }
        match (available, self.snooper.as_ref()) {
            (false, _) | (_, None) => self.not_available(),
            (true, Some(_)) if self.rules.respawn => self.go_ahead(),
            (true, Some((protocol, _))) => self.backend = Some(Backend::new(*protocol)),
        }
    }

    /// The client's TLS handshake is over.
    pub fn handshake_done(&mut self) {
        if self.phase != Phase::Handshake {
            return;
        }
        if self.rules.respawn {
            self.phase = Phase::Greeting;
            self.orders.push_back(Order::Respawn);
        } else {
            self.fresh_server_serves();
        }
    }

    /// The server inside TLS cannot serve: the client hears the goodbye there.
    pub fn server_failed(&mut self) {
        self.say(Sentence::Failed);
        self.close(Outcome::ServerFailed);
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
            Limit::Fresh => self.server_failed(),
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

    /// What became of the recorded prefix.
    pub fn replayed(&self) -> Replayed {
        self.replayed
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
                Phase::Replay => self.hear_replayed(),
                Phase::Preparing | Phase::Handshake | Phase::Over => false,
            };
            if !moved {
                return;
            }
        }
    }

    fn hear_greeting(&mut self) -> bool {
        let Some(line) = self.server_line() else { return false };
        if self.snooper.is_none() && !self.meet(&line) {
            return self.give_up_snooping(Vec::new(), line);
        }
        let mut out = Vec::new();
        let greeting = self.snooper.as_mut().map(|(_, snooper)| snooper.greeting(&line, &mut out));
        if self.inside {
            self.hear_fresh_greeting(greeting, out);
            return true;
        }
        match greeting {
            Some(Greeting::Bars) if self.strict() => {
                self.say(Sentence::Goodbye);
                self.close(Outcome::Refused);
                return true;
            }
            Some(Greeting::Refuses | Greeting::Bars) if !self.strict() => {
                return self.give_up_snooping(Vec::new(), out);
            }
            Some(Greeting::Refuses) => self.withdraw_offer(),
            Some(Greeting::More) => {}
            _ => self.phase = Phase::Command,
        }
        self.tell_client(out);
        true
    }

    fn hear_fresh_greeting(&mut self, greeting: Option<Greeting>, out: Vec<u8>) {
        let again = self.snooper.as_ref().is_some_and(|(_, snooper)| snooper.greets_again());
        match greeting {
            Some(Greeting::More) if again => self.tell_client(out),
            Some(Greeting::More) => {}
            Some(Greeting::Open) => {
                if again {
                    self.tell_client(out);
                }
                self.phase = Phase::Command;
            }
            _ => self.server_failed(),
        }
    }

    /// The server will not serve, so nothing is offered in its name.
    fn withdraw_offer(&mut self) {
        self.rules.offer = Offer::Remove;
        self.snooper = self.protocol().map(|protocol| (protocol, (protocol.snooper)(self.policy())));
        self.phase = Phase::Command;
    }

    fn policy(&self) -> Policy {
        Policy { offer: self.rules.offer, strict: self.rules.strict, inside: false }
    }

    /// Finds the protocol by the greeting's first line. False if nobody here speaks it.
    fn meet(&mut self, first_line: &[u8]) -> bool {
        let known = self.rules.protocols.iter().find(|protocol| (protocol.greets)(first_line));
        let Some(protocol) = self.rules.protocol.or(known.copied()) else { return false };
        self.snooper = Some((protocol, (protocol.snooper)(self.policy())));
        true
    }

    /// What the server says while it owes nothing (421, * BYE) is forwarded at once.
    fn hear_out_of_turn(&mut self) -> bool {
        let Some(line) = self.server_line() else { return false };
        self.tell_client(line);
        true
    }

    fn hear_command(&mut self) -> bool {
        let strict = self.strict();
        let line = match self.client.next_line() {
            Ok(Some(line)) => line.to_vec(),
            Ok(None) => return false,
            Err(_) if strict => {
                self.say(Sentence::LineTooLong);
                self.close(Outcome::Refused);
                return true;
            }
            Err(_) => return self.give_up_snooping(Vec::new(), Vec::new()),
        };
        self.judge(line);
        true
    }

    fn judge(&mut self, line: Vec<u8>) {
        let Some((_, snooper)) = self.snooper.as_mut() else { return };
        let verdict = snooper.command(&line);
        self.note_line(Speaker::Client, &line, matches!(verdict, Verdict::Forward(_) | Verdict::StartTls));
        if self.replays_before(verdict) {
            self.kept = line;
            return;
        }
        match verdict {
            Verdict::Forward(effect) => self.forward(line, effect),
            Verdict::StartTls if self.rules.offer == Offer::Remove => self.not_available(),
            Verdict::StartTls => {
                self.phase = Phase::Preparing;
                self.orders.push_back(Order::Prepare);
            }
            Verdict::Answer(sentence) => self.say(sentence),
            Verdict::Unknown if self.strict() => self.refuse(false),
            Verdict::Doubtful if self.strict() => self.refuse(true),
            Verdict::Unknown | Verdict::Doubtful => {
                self.give_up_snooping(line, Vec::new());
            }
        }
    }

    fn forward(&mut self, line: Vec<u8>, effect: Effect) {
        if !self.inside && self.dialogue.command(&line, effect).is_err() {
            self.give_up_snooping(line, Vec::new());
            return;
        }
        self.phase = Phase::Reply;
        self.orders.push_back(Order::ToServer(line));
    }

    fn hear_reply(&mut self) -> bool {
        let Some(line) = self.server_line() else { return false };
        let full = !self.inside && self.dialogue.count(&line).is_err();
        let mut out = Vec::new();
        let Some((_, snooper)) = self.snooper.as_mut() else { return false };
        let reply = snooper.reply(&line, &mut out);
        let offers = snooper.server_offers();
        self.tell_client(out);
        self.warn_of_offer(offers);
        if let Reply::Done(class) = reply {
            self.phase = Phase::Command;
            self.dialogue.answered(class);
        }
        if full {
            return self.give_up_snooping(Vec::new(), Vec::new());
        }
        true
    }

    fn warn_of_offer(&mut self, offers: bool) {
        if offers && !self.inside && !std::mem::replace(&mut self.warned_of_offer, true) {
            self.orders.push_back(Order::Note(Note::ServerOffers));
        }
    }

    /// With `--require-tls` this command is not for the server's ears.
    fn refuse(&mut self, doubtful: bool) {
        self.refusals += 1;
        if self.refusals == MAX_REFUSALS {
            self.say(Sentence::Goodbye);
        } else {
            self.say(Sentence::Refused);
        }
        if doubtful || self.refusals == MAX_REFUSALS {
            self.close(Outcome::Refused);
        }
    }

    fn hear_backend(&mut self) {
        let Some(backend) = &mut self.backend else { return };
        while self.phase == Phase::Preparing {
            let line = match backend.lines.next_line() {
                Ok(Some(line)) => line.to_vec(),
                Ok(None) => return,
                Err(_) => break,
            };
            match backend.snooper.greeting(&line, &mut backend.greeting) {
                Greeting::More => {}
                Greeting::Open => return self.go_ahead(),
                Greeting::Refuses | Greeting::Bars => break,
            }
        }
        self.orders.push_back(Order::Note(Note::BackendRefuses));
        self.orders.push_back(Order::DropBackend);
        self.backend_failed();
    }

    fn not_available(&mut self) {
        self.say(Sentence::NotAvailable);
        self.phase = Phase::Command;
        if self.strict() {
            self.close(Outcome::Refused);
        } else {
            self.advance();
        }
    }

    /// The switch. No reply is owed here (lock-step), so the go-ahead is the last plaintext byte (law 2); what came
    /// behind the STARTTLS line leaves this program's sight by value (law 1); the snooper and the lines of the
    /// plaintext server end here with all they know (law 3); and as `inside` never becomes false again there is no
    /// second switch and no way back (law 5).
    fn go_ahead(&mut self) {
        self.say(Sentence::GoAhead);
        self.phase = Phase::Handshake;
        self.inside = true;
        let surplus = Surplus(std::mem::take(&mut self.client).into_rest());
        if self.rules.replay {
            self.replay = std::mem::take(&mut self.dialogue).into_state();
        }
        self.server = Lines::default();
        if self.rules.respawn {
            let protocol = self.protocol();
            self.snooper = protocol.map(|protocol| (protocol, (protocol.snooper)(Policy::INSIDE)));
        }
        self.orders.push_back(Order::Upgrade(surplus));
    }

    /// The backend, reached and past its greeting, takes the plaintext server's place.
    fn fresh_server_serves(&mut self) {
        self.phase = Phase::Command;
        if let Some(backend) = self.backend.take() {
            self.server = backend.lines;
            if backend.snooper.greets_again() {
                self.tell_client(backend.greeting);
            }
            self.snooper = Some((backend.protocol, backend.snooper));
        }
        self.advance();
    }

    /// Looks at the client's first command inside TLS: true if the prefix must be replayed before it.
    fn replays_before(&mut self, first: Verdict) -> bool {
        let Some(said) = self.replay.take_if(|_| self.inside) else { return false };
        if first == Verdict::Forward(Effect::SetsState) {
            self.replayed = Replayed::Dropped;
            return false;
        }
        if let Some((_, snooper)) = self.snooper.as_mut() {
            snooper.command(&said.line);
        }
        self.orders.push_back(Order::ToServer(said.line.clone()));
        self.replay = Some(said);
        self.phase = Phase::Replay;
        true
    }

    fn hear_replayed(&mut self) -> bool {
        let Some(line) = self.server_line() else { return false };
        let Some((_, snooper)) = self.snooper.as_mut() else { return false };
        if let Reply::Done(class) = snooper.reply(&line, &mut Vec::new()) {
            let said = self.replay.take();
            if said.is_none_or(|said| said.class != class) {
                self.orders.push_back(Order::Note(Note::ReplayRefused(line)));
                self.server_failed();
                return false;
            }
            self.replayed = Replayed::Replayed;
            self.phase = Phase::Command;
            let kept = std::mem::take(&mut self.kept);
            self.judge(kept);
        }
        true
    }

    /// The server's next line. One that is too long ends the snooping, where bytes may go by unwatched.
    fn server_line(&mut self) -> Option<Vec<u8>> {
        match self.server.next_line() {
            Ok(line) => {
                let line = line.map(<[u8]>::to_vec)?;
                self.note_line(Speaker::Server, &line, true);
                Some(line)
            }
            Err(_) if self.inside && self.phase != Phase::Command && self.phase != Phase::Reply => {
                self.server_failed();
                None
            }
            Err(_) => {
                self.give_up_snooping(Vec::new(), Vec::new());
                None
            }
        }
    }

    /// From here on the bytes go by unwatched (law 6), or with `--require-tls` the session ends. Always true.
    fn give_up_snooping(&mut self, to_server: Vec<u8>, to_client: Vec<u8>) -> bool {
        if self.strict() {
            if self.snooper.is_none() {
                self.orders.push_back(Order::Note(Note::UnknownGreeting(to_client)));
            }
            self.say(Sentence::Goodbye);
            self.close(Outcome::Refused);
        } else {
            self.tell_client(to_client);
            self.pass_through(to_server);
        }
        true
    }

    fn pass_through(&mut self, mut to_server: Vec<u8>) {
        to_server.extend(std::mem::take(&mut self.client).into_rest());
        let to_client = self.owed_to_client();
        self.phase = Phase::Over;
        self.orders.push_back(Order::PassThrough { to_server, to_client });
    }

    /// What the server said and the client has not heard.
    fn owed_to_client(&mut self) -> Vec<u8> {
        let mut owed = self.snooper.as_mut().map_or_else(Vec::new, |(_, snooper)| snooper.held());
        owed.extend(std::mem::take(&mut self.server).into_rest());
        owed
    }

    fn say(&mut self, sentence: Sentence) {
        let mut out = Vec::new();
        if let Some((_, snooper)) = &self.snooper {
            snooper.say(sentence, &mut out);
        }
        self.note_line(Speaker::Wrapper, &out, true);
        self.tell_client(out);
    }

    fn tell_client(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.orders.push_back(Order::ToClient(bytes));
        }
    }

    fn close(&mut self, outcome: Outcome) {
        self.phase = Phase::Over;
        self.orders.push_back(Order::Close(outcome));
    }

    fn note_line(&mut self, speaker: Speaker, line: &[u8], whole: bool) {
        if self.rules.transcript {
            self.orders.push_back(Order::Note(Note::line(speaker, line, whole)));
        }
    }
}

impl Backend {
    fn new(protocol: Protocol) -> Self {
        let snooper = (protocol.snooper)(Policy::INSIDE);
        Self { protocol, snooper, lines: Lines::default(), greeting: Vec::new() }
    }
}
