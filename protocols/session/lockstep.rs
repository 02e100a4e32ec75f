//! One line of the client, its whole reply, the next line: before TLS, and inside it until there is nothing left to
//! watch.

use alloc::vec::Vec;

use super::order::{Order, Outcome};
use super::{MAX_REFUSALS, Phase, Session};
use crate::line;
use crate::note::{FreshServerFailure, Note, Speaker, Unwatched};
use crate::unit::Unit;
use crate::{Effect, Greeting, Offer, Policy, Reply, Sentence, Verdict};

impl Session {
    pub(super) fn hear_greeting(&mut self) -> bool {
        let Some(line) = self.server_line() else { return false };
        if self.snooper.is_none() && !self.detect_protocol(&line) {
            return self.give_up_snooping(Unwatched::UnknownGreeting, Vec::new(), line);
        }
        let mut out = Vec::new();
        let greeting = self.snooper.as_mut().map(|(_, snooper)| snooper.greeting(&line, &mut out));
        if self.inside && !self.rules.implicit {
            self.hear_fresh_greeting(greeting, line, out);
            return true;
        }
        match greeting {
            Some(Greeting::TlsImpossible) if self.strict() => {
                self.say(Sentence::Goodbye);
                self.close(Outcome::Refused);
                return true;
            }
            Some(Greeting::Refuses | Greeting::TlsImpossible) if !self.strict() => {
                return self.give_up_snooping(Unwatched::RefusingGreeting, Vec::new(), out);
            }
            Some(Greeting::Refuses) => self.withdraw_offer(),
            Some(Greeting::More) => {}
            _ => self.phase = Phase::Command,
        }
        self.send_to_client(out);
        if !self.inside && self.dialogue.count(&line).is_err() {
            return self.give_up_snooping(Unwatched::PrefixTooLong, Vec::new(), Vec::new());
        }
        true
    }

    /// The server will not serve, so nothing is offered in its name.
    pub(super) fn withdraw_offer(&mut self) {
        self.rules.offer = Offer::Remove;
        self.snooper = self.protocol().map(|protocol| (protocol, (protocol.snooper)(self.policy())));
        self.phase = Phase::Command;
    }

    pub(super) fn policy(&self) -> Policy {
        if self.inside {
            // With --implicit the client hears this server's greeting, and no other.
            return Policy { fresh: !self.rules.implicit, ..Policy::INSIDE };
        }
        Policy { offer: self.rules.offer, strict: self.rules.strict, inside: false, fresh: false }
    }

    /// A server begins. Unless its protocol lets the client speak first, it greets.
    pub(super) fn server_begins(&mut self) {
        if self.snooper.is_none() && self.rules.protocol.is_some_and(|protocol| protocol.is_client_first()) {
            self.detect_protocol(&[]);
        }
        let greets = self.protocol().is_none_or(|protocol| !protocol.is_client_first());
        self.phase = if greets { Phase::Greeting } else { Phase::Command };
    }

    /// Finds the protocol by the greeting's first line. False if nobody here speaks it.
    pub(super) fn detect_protocol(&mut self, first_line: &[u8]) -> bool {
        let known = self.rules.protocols.iter().find(|protocol| protocol.is_greeted_by(first_line));
        let Some(protocol) = self.rules.protocol.or(known.copied()) else { return false };
        self.snooper = Some((protocol, (protocol.snooper)(self.policy())));
        true
    }

    /// What the server says while it owes nothing (421, * BYE, a list of capabilities) is heard at once.
    pub(super) fn hear_out_of_turn(&mut self) -> bool {
        let Some(line) = self.server_line() else { return false };
        let mut out = Vec::new();
        let Some((_, snooper)) = self.snooper.as_mut() else { return false };
        snooper.unasked(&line, &mut out);
        let offers = snooper.server_offers();
        self.send_to_client(out);
        self.warn_of_offer(offers);
        if !self.inside && self.dialogue.count(&line).is_err() {
            return self.give_up_snooping(Unwatched::PrefixTooLong, Vec::new(), Vec::new());
        }
        true
    }

    pub(super) fn hear_command(&mut self) -> bool {
        let strict = self.strict();
        let line = match self.client_unit() {
            Unit::Whole(length) => self.client.take(length),
            Unit::Partial(_) if self.client_ended => {
                self.pass_through(Unwatched::ClientClosed, Vec::new());
                return true;
            }
            Unit::Partial(_) => return false,
            Unit::TooLong if strict => {
                self.say(Sentence::LineTooLong);
                self.close(Outcome::Refused);
                return true;
            }
            // What is too long is no opening word; the prefix goes before it as before any other.
            Unit::TooLong if self.start_replay_before(Verdict::Unknown) => return true,
            Unit::TooLong => {
                let why = Unwatched::LineTooLong(Speaker::Client);
                return self.give_up_snooping(why, Vec::new(), Vec::new());
            }
            // The bytes stay where they are: they are TLS's.
            Unit::Tls => {
                self.direct_tls = true;
                self.begin_switch();
                return true;
            }
        };
        self.judge(line);
        true
    }

    pub(super) fn judge(&mut self, line: Vec<u8>) {
        let Some((_, snooper)) = self.snooper.as_mut() else { return };
        let verdict = snooper.command(&line);
        if self.start_replay_before(verdict) {
            self.first_command = line;
            return;
        }
        self.note(Speaker::Client, &line, matches!(verdict, Verdict::Forward(_) | Verdict::StartTls));
        match verdict {
            Verdict::Forward(effect) => self.forward(line, effect),
            Verdict::StartTls => self.begin_switch(),
            Verdict::Answer(sentence) => self.say(sentence),
            Verdict::Unknown if self.strict() => self.refuse(false),
            Verdict::Doubtful if self.strict() => self.refuse(true),
            Verdict::Unknown | Verdict::Doubtful => {
                self.give_up_snooping(Unwatched::Command, line, Vec::new());
            }
        }
    }

    pub(super) fn forward(&mut self, line: Vec<u8>, effect: Effect) {
        if !self.inside && self.dialogue.command(&line, effect).is_err() {
            self.give_up_snooping(Unwatched::PrefixTooLong, line, Vec::new());
            return;
        }
        if effect != Effect::NoReply {
            self.phase = Phase::Reply;
        }
        self.orders.push_back(Order::ToServer(line));
    }

    pub(super) fn hear_reply(&mut self) -> bool {
        let Some(line) = self.server_line() else { return false };
        let full = !self.inside && self.dialogue.count(&line).is_err();
        let mut out = Vec::new();
        let Some((_, snooper)) = self.snooper.as_mut() else { return false };
        let reply = snooper.reply(&line, &mut out);
        let offers = snooper.server_offers();
        self.send_to_client(out);
        self.warn_of_offer(offers);
        if let Reply::Done(class) = reply {
            self.phase = Phase::Command;
            self.dialogue.answered(class);
        }
        if full {
            return self.give_up_snooping(Unwatched::PrefixTooLong, Vec::new(), Vec::new());
        }
        true
    }

    pub(super) fn warn_of_offer(&mut self, offers: bool) {
        if offers && !self.inside && !core::mem::replace(&mut self.warned_of_offer, true) {
            self.orders.push_back(Order::Note(Note::ServerOffers));
        }
    }

    /// With `--require-tls` this command is not for the server's ears.
    pub(super) fn refuse(&mut self, doubtful: bool) {
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

    /// The server's next line. One that is too long ends the snooping, where bytes may go by unwatched.
    pub(super) fn server_line(&mut self) -> Option<Vec<u8>> {
        match self.server_unit() {
            Unit::Whole(length) => {
                let line = self.server.take(length);
                self.note(Speaker::Server, &line, true);
                return Some(line);
            }
            Unit::Partial(_) => {}
            Unit::TooLong if self.inside && self.phase != Phase::Command && self.phase != Phase::Reply => {
                self.fresh_server_failed(FreshServerFailure::LineTooLong);
            }
            Unit::TooLong | Unit::Tls => {
                self.give_up_snooping(Unwatched::LineTooLong(Speaker::Server), Vec::new(), Vec::new());
            }
        }
        None
    }

    /// From here on the bytes go by unwatched (law 6), or with `--require-tls` the session ends. Always true.
    pub(super) fn give_up_snooping(&mut self, why: Unwatched, to_server: Vec<u8>, to_client: Vec<u8>) -> bool {
        if self.strict() {
            if self.snooper.is_none() {
                self.orders.push_back(Order::Note(Note::UnknownGreeting(to_client)));
            }
            self.say(Sentence::Goodbye);
            self.close(Outcome::Refused);
        } else {
            self.send_to_client(to_client);
            self.pass_through(why, to_server);
        }
        true
    }

    pub(super) fn pass_through(&mut self, why: Unwatched, mut to_server: Vec<u8>) {
        if self.rules.transcript {
            self.orders.push_back(Order::Note(Note::Unwatched(why)));
        }
        to_server.extend(core::mem::take(&mut self.client).into_rest());
        let to_client = self.owed_to_client();
        self.phase = Phase::Over;
        self.orders.push_back(Order::PassThrough { to_server, to_client });
    }

    /// What the server said and the client has not heard.
    pub(super) fn owed_to_client(&mut self) -> Vec<u8> {
        let mut owed = self.snooper.as_mut().map_or_else(Vec::new, |(_, snooper)| snooper.take_held());
        owed.extend(core::mem::take(&mut self.server).into_rest());
        owed
    }

    pub(super) fn note(&mut self, speaker: Speaker, unit: &[u8], opening: bool) {
        if self.rules.transcript {
            let shown = match &self.snooper {
                Some((_, snooper)) => snooper.transcript(unit, opening),
                None => line::transcript(unit, opening).to_vec(),
            };
            self.orders.push_back(Order::Note(Note::Transcript(speaker, shown)));
        }
    }
}
