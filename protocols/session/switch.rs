//! The switch: from the plaintext server to the one inside TLS, and what the new one must hear.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::order::{Order, Outcome, Replayed, Surplus};
use super::{MAX_STARTTLS_TRIES, Phase, Session};
use crate::dialogue::MAX_BYTES;
use crate::note::{FreshServerFailure, Note};
use crate::unit::{Unit, UnitBuffer};
use crate::{Effect, Greeting, Offer, Policy, Protocol, Reply, Sentence, Snooper, Verdict};

/// The TLS server, reached but not yet in charge.
pub(super) struct PendingBackend {
    protocol: Protocol,
    snooper: Box<dyn Snooper>,
    waiting: UnitBuffer,
    greeting: Vec<u8>,
}

impl Session {
    /// The backend said this; it is not yet in charge.
    pub fn backend_says(&mut self, bytes: &[u8]) {
        if let Some(backend) = &mut self.backend {
            backend.waiting.push(bytes);
            self.hear_backend();
        }
    }

    /// The backend will say no more, or cannot be spoken to; it has not greeted. Behind the go-ahead this is not heard:
    /// nothing may be said to the client there (law 2).
    pub fn backend_failed(&mut self) {
        if self.phase == Phase::Preparing && self.backend.take().is_some() {
            self.not_available();
            self.advance();
        }
    }

    /// The answer to [`Order::Prepare`]. Without `--respawn` the backend's greeting must follow.
    pub fn prepared(&mut self, available: bool) {
        if self.phase != Phase::Preparing {
            return;
        }
        match available {
            false => self.not_available(),
            true if self.rules.implicit => self.begin_implicit(),
            true if self.rules.respawn => self.go_ahead(),
            true => self.backend_reached(),
        }
        self.advance();
    }

    /// As [`prepared`](Self::prepared), with a TLS server that is reached now and once more after the handshake, when
    /// it can be told about it. Its greeting must follow here too (law 4), if it is one that greets.
    pub fn backend_reached(&mut self) {
        let Some(protocol) = self.protocol().filter(|_| self.phase == Phase::Preparing) else { return };
        self.backend = Some(PendingBackend::new(protocol));
        if protocol.is_client_first() {
            self.go_ahead();
        }
    }

    /// The server with which TLS began by STARTTLS has greeted before it. It will not greet again, unless the protocol
    /// wants it so.
    pub fn backend_greeted(&mut self) {
        let reached = self.backend.as_ref().map(|backend| backend.snooper.greets_again());
        let fresh = self.snooper.as_ref().map(|(_, snooper)| snooper.greets_again());
        match self.phase {
            Phase::Preparing if reached == Some(false) => self.go_ahead(),
            Phase::Greeting if self.inside && fresh == Some(false) => {
                self.phase = Phase::Command;
                self.advance();
            }
            _ => {}
        }
    }

    /// The client's TLS handshake is over.
    pub fn handshake_done(&mut self) {
        if self.phase != Phase::Handshake {
            return;
        }
        if self.rules.respawn || self.rules.implicit {
            self.server_begins();
            self.orders.push_back(Order::Respawn);
        } else {
            self.promote_backend();
        }
    }

    /// The server that is to serve now cannot. The client hears the goodbye; before any greeting, if `--protocol` says
    /// what it understands.
    pub fn server_failed(&mut self) {
        if self.snooper.is_none() {
            self.detect_protocol(&[]);
        }
        self.say(Sentence::ServerFailed);
        self.close(Outcome::ServerFailed);
    }

    /// The server inside TLS is there and cannot serve: the client hears the same, and the administrator why.
    pub(super) fn fresh_server_failed(&mut self, why: FreshServerFailure) {
        self.orders.push_back(Order::Note(Note::FreshServerFailed(why)));
        self.server_failed();
    }

    /// The wrapper must end. The client hears the goodbye, unless a reply or a command is half said.
    pub fn interrupted(&mut self) {
        if self.awaits_command() {
            self.server_failed();
        }
    }

    pub(super) fn hear_backend(&mut self) {
        let Some(backend) = self.backend.as_mut().filter(|_| self.phase == Phase::Preparing) else { return };
        let refusal = loop {
            let line = match backend.unit() {
                Unit::Whole(length) => backend.waiting.take(length),
                Unit::Partial(_) => return,
                Unit::TooLong | Unit::Tls => break backend.waiting.bytes().to_vec(),
            };
            match backend.snooper.greeting(&line, &mut backend.greeting) {
                Greeting::More if backend.greeting.len() > MAX_BYTES => break line,
                Greeting::More => {}
                Greeting::Open => return self.go_ahead(),
                Greeting::Refuses | Greeting::TlsImpossible => break line,
            }
        };
        self.orders.push_back(Order::Note(Note::BackendRefuses(refusal)));
        self.orders.push_back(Order::DropBackend);
        self.backend_failed();
    }

    /// The client asked for TLS, or began it. Who asked too often hears the goodbye: the keeper would take more for an
    /// attack.
    pub(super) fn begin_switch(&mut self) {
        if self.tries == MAX_STARTTLS_TRIES {
            self.answer(Sentence::ServerFailed);
            return self.close(Outcome::Refused);
        }
        self.tries += 1;
        if self.rules.offer == Offer::Remove {
            return self.not_available();
        }
        self.phase = Phase::Preparing;
        self.orders.push_back(Order::Prepare);
    }

    /// Answers whoever asked for TLS. A client that has begun it would understand no sentence.
    fn answer(&mut self, sentence: Sentence) {
        if !self.direct_tls {
            self.say(sentence);
        }
    }

    pub(super) fn not_available(&mut self) {
        self.answer(Sentence::NotAvailable);
        self.phase = Phase::Command;
        if self.strict() || self.inside || self.direct_tls {
            self.close(Outcome::Refused);
        }
    }

    /// The switch. No reply is owed here (lock-step), so the go-ahead is the last plaintext byte (law 2); what came
    /// behind the STARTTLS line leaves this program's sight by value (law 1); the snooper and the lines of the
    /// plaintext server end here with all they know (law 3); and as `inside` never becomes false again there is no
    /// second switch and no way back (law 5).
    pub(super) fn go_ahead(&mut self) {
        self.answer(Sentence::GoAhead);
        self.phase = Phase::Handshake;
        self.inside = true;
        let surplus = Surplus(core::mem::take(&mut self.client).into_rest());
        if self.rules.replay {
            self.replay = core::mem::take(&mut self.dialogue).into_state();
        }
        self.server = UnitBuffer::default();
        if self.rules.respawn {
            self.backend = None;
            let protocol = self.protocol();
            self.snooper = protocol.map(|protocol| (protocol, (protocol.snooper)(Policy::INSIDE)));
        }
        self.orders.push_back(Order::Upgrade(surplus));
    }

    /// TLS from the first byte: there is no plaintext to leave behind.
    fn begin_implicit(&mut self) {
        self.phase = Phase::Handshake;
        self.orders.push_back(Order::Upgrade(Surplus::none()));
    }

    /// The backend, reached and past its greeting, takes the plaintext server's place.
    pub(super) fn promote_backend(&mut self) {
        self.phase = Phase::Command;
        if let Some(backend) = self.backend.take() {
            self.server = backend.waiting;
            if backend.snooper.greets_again() {
                self.send_to_client(backend.greeting);
            }
            self.snooper = Some((backend.protocol, backend.snooper));
        }
        self.advance();
    }

    pub(super) fn hear_fresh_greeting(&mut self, greeting: Option<Greeting>, line: Vec<u8>, out: Vec<u8>) {
        let again = self.snooper.as_ref().is_some_and(|(_, snooper)| snooper.greets_again());
        match greeting {
            Some(Greeting::More) => {}
            Some(Greeting::Open) => self.phase = Phase::Command,
            _ => return self.fresh_server_failed(FreshServerFailure::Refuses(line)),
        }
        if again {
            self.send_to_client(out);
        }
    }

    /// Decides by the client's first command inside TLS whether the prefix is replayed before it. True if it is.
    pub(super) fn start_replay_before(&mut self, first: Verdict) -> bool {
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

    pub(super) fn hear_replay_reply(&mut self) -> bool {
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
            let kept = core::mem::take(&mut self.first_command);
            self.judge(kept);
        }
        true
    }
}

impl PendingBackend {
    fn new(protocol: Protocol) -> Self {
        let snooper = (protocol.snooper)(Policy::INSIDE);
        Self { protocol, snooper, waiting: UnitBuffer::default(), greeting: Vec::new() }
    }

    pub(super) fn unit(&self) -> Unit {
        self.snooper.server_unit(self.waiting.bytes())
    }
}
