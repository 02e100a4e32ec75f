//! The laws of a session, for any bytes at all. tests/properties.rs and the fuzz target of the same name check them.

use std::collections::VecDeque;
use std::sync::LazyLock;

use starttls_protocols::dialogue::MAX_BYTES;
use starttls_protocols::session::{Order, Outcome, Replayed, Rules, Session};
use starttls_protocols::unit::Unit;
use starttls_protocols::{Offer, PROTOCOLS, Policy, Protocol, Sentence, Snooper, Verdict};
use starttls_wrapper::message::NoteText;

/// Plays what these bytes describe, whole and cut in two ways, and checks what comes of it.
///
/// # Panics
/// If a law is broken.
pub(crate) fn check(data: &[u8]) {
    let Some(script) = Script::read(data) else { return };
    let whole = Player::new(&script, Cut::Whole).play();
    script.check(&whole);
    for cut in [Cut::Bytes, Cut::Seeded(script.seed)] {
        let cut_differently = Player::new(&script, cut).play();
        script.check(&cut_differently);
        // A server that speaks out of turn races with a client that pipelines, and either may win.
        if script.in_turn() {
            assert_eq!(cut_differently, whole, "the same bytes, cut differently ({cut:?})");
        }
    }
}

/// What the parties will say, as far as they are let.
pub(crate) struct Script {
    pub(crate) rules: Rules,
    /// The first STARTTLS finds no TLS server.
    pub(crate) unavailable: bool,
    /// The client closes once it has said everything; otherwise the server does.
    pub(crate) client_closes: bool,
    pub(crate) seed: u8,
    /// What the client says before and inside TLS.
    pub(crate) client: [Vec<u8>; 2],
    /// What the server says before and inside TLS: its greeting, then something for each line it hears.
    pub(crate) server: [Vec<Vec<u8>>; 2],
}

impl Script {
    /// Three bytes of rules, then four streams with 0xff between them; 0xfe ends a turn of the server's.
    pub(crate) fn read(data: &[u8]) -> Option<Self> {
        let ([flags, protocol, seed], rest) = data.split_first_chunk::<3>()?;
        let bit = |number: u8| flags >> number & 1 == 1;
        let mut streams = rest.split(|byte| *byte == 0xff);
        let mut stream = || streams.next().unwrap_or_default();
        let turns = |stream: &[u8]| stream.split(|byte| *byte == 0xfe).map(<[u8]>::to_vec).collect();
        let client = [stream().to_vec(), stream().to_vec()];
        let server = [turns(stream()), turns(stream())];
        let strict = bit(0);
        let rules = Rules {
            protocols: PROTOCOLS,
            protocol: PROTOCOLS.get(usize::from(*protocol)).copied(),
            strict,
            offer: [Offer::Add, Offer::Leave, Offer::Add, Offer::Remove][usize::from(flags >> 1 & 3)],
            replay: bit(3) && !strict,
            respawn: bit(4) || bit(5),
            implicit: bit(5),
            transcript: false,
        };
        Some(Self { rules, unavailable: bit(6), client_closes: bit(7), seed: *seed, client, server })
    }

    /// The server says nothing more once its reply is over.
    fn in_turn(&self) -> bool {
        self.seed & 1 == 1
    }

    /// The bytes that [`read`](Self::read) reads.
    pub(crate) fn write(&self) -> Vec<u8> {
        let Rules { strict, offer, replay, respawn, implicit, .. } = self.rules;
        let offer = [Offer::Add, Offer::Leave, Offer::Add, Offer::Remove].iter().position(|one| *one == offer);
        let flags =
            [(strict, 0), (replay, 3), (respawn, 4), (implicit, 5), (self.unavailable, 6), (self.client_closes, 7)];
        let flags =
            flags.iter().map(|(set, bit)| u8::from(*set) << bit).sum::<u8>() + ((offer.unwrap_or(0) as u8) << 1);
        let named = |name| PROTOCOLS.iter().position(|protocol| protocol.name == name).unwrap_or(0) as u8;
        let protocol = self.rules.protocol.map_or(0xff, |protocol| named(protocol.name));
        let turns = |turns: &[Vec<u8>]| turns.join(&0xfe);
        let streams = [self.client[0].clone(), self.client[1].clone(), turns(&self.server[0]), turns(&self.server[1])];
        [vec![flags, protocol, self.seed], streams.join(&0xff)].concat()
    }

    fn check(&self, played: &Played) {
        let [plain, inside] = &played.heard;
        let tongue = Tongue::of(&self.rules);
        let said = match &played.to_tls {
            None => &self.client[0][..],
            // Law 1 and 2: a unit that asks for TLS, and everything behind it is TLS's, whole and in order.
            Some(to_tls) => {
                let said =
                    self.client[0].strip_suffix(&to_tls[..]).expect("what TLS gets is what the client said last");
                let asked = tongue.asks_for_tls(said, to_tls);
                assert!(self.rules.implicit || asked, "{} begins TLS", said.escape_ascii());
                assert!(self.rules.implicit || plain.server_passed.is_none(), "no TLS after the pass-through");
                said
            }
        };
        plain.check(said, tongue);
        // Law 3: of what was said in plaintext the server inside hears one word at most, and only if it may.
        let mut server = &inside.server[..];
        let (line, rest) = tongue.split(server);
        let replayed = tongue.units(&plain.server).any(|said| said == line);
        // Refused, or not answered: then nothing else is heard.
        let in_vain = self.rules.replay && replayed && rest.is_empty() && inside.server_passed.is_none();
        let in_full = played.replayed == Some(Replayed::Replayed);
        assert!(!in_full || self.rules.replay && replayed, "replayed: {}", line.escape_ascii());
        if in_full || in_vain {
            server = rest;
        }
        Heard { server: server.to_vec(), ..inside.clone() }.check(&self.client[1], tongue);
        if !self.rules.strict && !self.rules.implicit && self.rules.offer == Offer::Leave {
            plain.is_the_server_and_we(&played.said, tongue);
        }
        if self.rules.strict {
            // A client that closes lets the server have the last word.
            let passed = plain.server_passed.as_deref().unwrap_or_default();
            assert!(passed.is_empty(), "--require-tls lets nothing pass unwatched");
        }
    }
}

/// How bytes come in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    Whole,
    Bytes,
    Seeded(u8),
}

/// What came of a script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Played {
    heard: [Heard; 2],
    /// What the plaintext server said.
    said: Vec<u8>,
    to_tls: Option<Vec<u8>>,
    events: Vec<String>,
    outcome: Option<Outcome>,
    replayed: Option<Replayed>,
}

/// What the sides heard, before or inside TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Heard {
    client: Vec<u8>,
    server: Vec<u8>,
    /// How much of it the server heard unwatched.
    server_passed: Option<Vec<u8>>,
}

impl Heard {
    /// Law 6 and 7: the server hears whole units of the client's, unchanged and in order, and from the pass-through on
    /// all the rest.
    fn check(&self, said: &[u8], tongue: Tongue) {
        let mut left = match &self.server_passed {
            None => said,
            Some(passed) => said.strip_suffix(&passed[..]).expect("what passes is the rest of what the client says"),
        };
        for unit in tongue.units(&self.server) {
            assert!(!tongue.surely_asks_for_tls(unit), "the server hears {}", unit.escape_ascii());
            loop {
                assert!(!left.is_empty(), "the server hears {}, which the client did not say", unit.escape_ascii());
                let next;
                (next, left) = tongue.split(left);
                if next == unit {
                    break;
                }
            }
        }
    }

    /// Law 7: with no capability to be edited, the client hears the server's units, in order, and sentences of ours.
    fn is_the_server_and_we(&self, said: &[u8], tongue: Tongue) {
        let sentences = &*SENTENCES;
        let (mut heard, mut left) = (&self.client[..], said);
        while !heard.is_empty() {
            let (next, rest) = tongue.split_server(left);
            let unit = if !next.is_empty() && heard.starts_with(next) { next } else { tongue.split_server(heard).0 };
            heard = &heard[unit.len()..];
            // A server that will not serve loses the offer it makes all the same.
            if next == unit || tongue.0.is_none() && without_offer(next) == without_offer(unit) {
                left = rest;
            } else {
                let ours = sentences.iter().any(|sentence| unit.ends_with(sentence));
                assert!(ours, "the client hears {}, next of {}", unit.escape_ascii(), left.escape_ascii());
            }
        }
    }
}

/// How the parties' bytes are cut into units: a protocol whose units are no lines, or none.
#[derive(Clone, Copy)]
struct Tongue(Option<Protocol>);

impl Tongue {
    fn of(rules: &Rules) -> Self {
        Self(rules.protocol.filter(Protocol::is_client_first))
    }

    fn split(self, bytes: &[u8]) -> (&[u8], &[u8]) {
        self.split_by(bytes, <dyn Snooper>::client_unit)
    }

    /// What no packet is, is a byte of ours.
    fn split_server(self, bytes: &[u8]) -> (&[u8], &[u8]) {
        match (self.0.is_some(), bytes) {
            (true, [b'S' | b'N']) => (bytes, b""),
            (true, [b'S' | b'N', rest @ ..]) if rest[0] != 0 => bytes.split_at(1),
            _ => self.split_by(bytes, <dyn Snooper>::server_unit),
        }
    }

    fn split_by(self, bytes: &[u8], unit: fn(&(dyn Snooper + 'static), &[u8]) -> Unit) -> (&[u8], &[u8]) {
        let Some(protocol) = self.0 else { return split_line(bytes) };
        match unit((protocol.snooper)(Policy::INSIDE).as_ref(), bytes) {
            Unit::Whole(length) => bytes.split_at(length),
            _ => (bytes, b""),
        }
    }

    fn units(self, mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
        std::iter::from_fn(move || {
            let unit;
            (unit, bytes) = self.split(bytes);
            (!unit.is_empty()).then_some(unit)
        })
    }

    /// Whether what was said ends with the wish for TLS, or what follows is TLS already.
    fn asks_for_tls(self, said: &[u8], then: &[u8]) -> bool {
        match self.0 {
            None => asks_for_tls(last_line(said)),
            Some(_) if said.is_empty() => then.first() == Some(&0x16),
            Some(_) => self.units(said).last().is_some_and(|unit| self.surely_asks_for_tls(unit)),
        }
    }

    fn surely_asks_for_tls(self, unit: &[u8]) -> bool {
        let policy = Policy { offer: Offer::Leave, strict: false, inside: false, fresh: false };
        let Some(protocol) = self.0 else { return asks_for_tls_outside_imap(unit) };
        (protocol.snooper)(policy).command(unit) == Verdict::StartTls
    }
}

/// Drives a session as relay.rs does: the server is heard before the client.
struct Player<'a> {
    script: &'a Script,
    cut: Cut,
    session: Session,
    client: Waiting,
    server: Waiting,
    turns: VecDeque<Vec<u8>>,
    /// The plaintext server's, while a backend is heard.
    plain: (Waiting, VecDeque<Vec<u8>>),
    stage: usize,
    tries: usize,
    closed: bool,
    client_left: bool,
    played: Played,
}

/// What was said and not yet heard.
#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    heard: usize,
}

impl Waiting {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, heard: 0 }
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.heard..]
    }

    fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    fn clear(&mut self) {
        self.heard = self.bytes.len();
    }

    fn extend(&mut self, bytes: Vec<u8>) {
        if self.is_empty() {
            *self = Self::new(bytes);
        } else {
            self.bytes.extend(bytes);
        }
    }

    /// One line at most, if so wished.
    fn piece(&mut self, room: usize, cut: &mut Cut, one_line: bool) -> Vec<u8> {
        let most = match cut {
            Cut::Whole => usize::MAX,
            Cut::Bytes => 1,
            Cut::Seeded(seed) => {
                *seed = seed.wrapping_mul(197).wrapping_add(71);
                usize::from(*seed >> 3) + 1
            }
        };
        let rest = self.rest();
        let piece = &rest[..rest.len().min(room).min(most)];
        let piece = if one_line { split_line(piece).0 } else { piece }.to_vec();
        self.heard += piece.len();
        piece
    }
}

impl<'a> Player<'a> {
    fn new(script: &'a Script, cut: Cut) -> Self {
        let mut player = Self {
            script,
            cut,
            session: Session::new(script.rules),
            client: Waiting::new(script.client[0].clone()),
            server: Waiting::default(),
            turns: VecDeque::new(),
            plain: Default::default(),
            stage: 0,
            tries: 0,
            closed: false,
            client_left: false,
            played: Played::default(),
        };
        if !script.rules.implicit {
            player.begin_server(0);
        }
        player
    }

    fn play(mut self) -> Played {
        loop {
            while let Some(order) = self.session.next_order() {
                if !self.obey(order) {
                    self.played.replayed = Some(self.session.replayed());
                    return self.played;
                }
            }
            if !self.hear() && !self.close() {
                self.played.replayed = Some(self.session.replayed());
                return self.played;
            }
        }
    }

    /// Somebody says something. False if nobody has anything to say, or may.
    fn hear(&mut self) -> bool {
        let rooms = [self.session.server_room(), self.session.backend_room(), self.session.client_room()];
        assert!(rooms.iter().all(|room| *room <= MAX_BYTES), "{rooms:?}");
        let [server, backend, client] = rooms;
        if self.session.awaits_command() && self.script.in_turn() {
            self.server.clear();
        }
        if server > 0 && !self.server.is_empty() {
            let bytes = self.piece_of_server(server);
            if self.stage == 0 {
                self.played.said.extend(&bytes);
            }
            self.session.server_says(&bytes);
        } else if backend > 0 && !self.server.is_empty() {
            let bytes = self.piece_of_server(backend);
            self.session.backend_says(&bytes);
        } else if client > 0 && !self.client.is_empty() {
            let bytes = self.client.piece(client, &mut self.cut, false);
            self.session.client_says(&bytes);
        } else {
            return false;
        }
        true
    }

    /// One line at most, if it stays silent out of turn: it must know when its turn is over.
    fn piece_of_server(&mut self, room: usize) -> Vec<u8> {
        self.server.piece(room, &mut self.cut, self.script.in_turn())
    }

    /// Somebody closes, once.
    fn close(&mut self) -> bool {
        if self.session.backend_room() > 0 {
            self.session.backend_failed();
        } else if std::mem::replace(&mut self.closed, true) {
            return false;
        } else if self.script.client_closes && self.client.is_empty() && self.session.client_room() > 0 {
            self.session.client_closed();
        } else {
            self.session.server_closed();
        }
        true
    }

    /// False if the session is over.
    fn obey(&mut self, order: Order) -> bool {
        let heard = &mut self.played.heard[self.stage];
        match order {
            Order::ToClient(bytes) => {
                assert!(!bytes.is_empty());
                heard.client.extend(bytes);
                return true;
            }
            Order::ToServer(bytes) => {
                assert!(!self.client_left, "nothing goes to the server behind its end");
                heard.server.extend(bytes);
                if self.script.in_turn() {
                    self.server.clear();
                }
                self.server.extend(self.turns.pop_front().unwrap_or_default());
                return true;
            }
            Order::Note(note) => {
                self.played.events.push(NoteText(&note).to_string());
                return true;
            }
            _ => {}
        }
        self.played.events.push(format!("{} after {} and {}", name(&order), heard.client.len(), heard.server.len()));
        match order {
            Order::Prepare => self.prepare(),
            Order::DropBackend => self.drop_backend(),
            Order::Upgrade(surplus) => self.upgrade(surplus.into_bytes()),
            Order::Respawn => self.begin_server(1),
            Order::PassThrough { to_server, to_client } => {
                assert!(!self.client_left || to_server.is_empty(), "nothing goes to the server behind its end");
                heard.client.extend(to_client);
                heard.server_passed = Some([&to_server, self.client.rest()].concat());
                return false;
            }
            Order::Close(outcome) => {
                self.played.outcome = Some(outcome);
                return false;
            }
            Order::EndToServer => self.client_left = true,
            Order::ToClient(_) | Order::ToServer(_) | Order::Note(_) => {}
        }
        true
    }

    fn prepare(&mut self) {
        self.tries += 1;
        let available = !self.script.unavailable || self.tries > 1;
        if available && !self.script.rules.respawn {
            self.plain = (std::mem::take(&mut self.server), std::mem::take(&mut self.turns));
            self.begin_server(1);
            self.session.prepared(true);
            while self.session.backend_room() > 0 && self.hear() {}
            if self.session.backend_room() > 0 {
                self.session.backend_failed();
                self.drop_backend();
            }
        } else {
            self.session.prepared(available);
        }
    }

    /// The plaintext server stays in charge.
    fn drop_backend(&mut self) {
        (self.server, self.turns) = std::mem::take(&mut self.plain);
    }

    /// Law 2: the go-ahead is the last plaintext byte, nothing is pending, and nothing more is wanted.
    fn upgrade(&mut self, surplus: Vec<u8>) {
        assert!(self.session.next_order().is_none(), "nothing is owed at the switch");
        assert_eq!((self.session.client_room(), self.session.server_room(), self.stage), (0, 0, 0));
        if !self.script.rules.implicit && !self.session.is_direct_tls() {
            let heard = &self.played.heard[0].client;
            let last = if Tongue::of(&self.script.rules).0.is_some() { heard } else { last_line(heard) };
            assert!(
                SENTENCES[..PROTOCOLS.len()].iter().any(|sentence| last.ends_with(sentence)),
                "{}",
                last.escape_ascii()
            );
        }
        let rest = std::mem::replace(&mut self.client, Waiting::new(self.script.client[1].clone()));
        self.played.to_tls = Some([&surplus, rest.rest()].concat());
        self.stage = 1;
        self.session.handshake_done();
    }

    fn begin_server(&mut self, stage: usize) {
        self.turns = self.script.server[stage].iter().cloned().collect();
        self.server = Waiting::new(self.turns.pop_front().unwrap_or_default());
    }
}

fn name(order: &Order) -> &'static str {
    match order {
        Order::Prepare => "prepare",
        Order::DropBackend => "drop the backend",
        Order::Upgrade(_) => "upgrade",
        Order::Respawn => "respawn",
        Order::PassThrough { .. } => "pass through",
        Order::Close(_) => "close",
        Order::EndToServer => "end to the server",
        Order::ToClient(_) | Order::ToServer(_) | Order::Note(_) => "",
    }
}

static SENTENCES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(sentences);

/// Every sentence of ours behind its first word, which may be a tag, or from its result on; the go-aheads first.
fn sentences() -> Vec<Vec<u8>> {
    let say = |sentence| PROTOCOLS.iter().map(move |protocol| (protocol, sentence));
    let policy = Policy { offer: Offer::Leave, strict: false, inside: false, fresh: false };
    let words = Sentence::ALL.into_iter().flat_map(say).map(|(protocol, sentence)| {
        let mut out = Vec::new();
        let mut snooper = (protocol.snooper)(policy);
        snooper.command(protocol.way_to_tls[protocol.way_to_tls.len() - 1]);
        snooper.say(sentence, &mut out);
        let begins = if protocol.is_client_first() { &b"\x0a\x01"[..] } else { b" " };
        let begins = out.windows(begins.len()).position(|bytes| bytes == begins).unwrap_or(0);
        out.split_off(begins)
    });
    words.collect()
}

/// memchr, because a fuzzer watches every comparison that is made here.
fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
    bytes.split_at(end)
}

fn last_line(bytes: &[u8]) -> &[u8] {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.split_at(memchr::memrchr(b'\n', text).map_or(0, |at| at + 1)).1
}

/// The words of a line but STARTTLS.
fn without_offer(line: &[u8]) -> Vec<&[u8]> {
    let words = line.split(|byte| byte.is_ascii_whitespace() || matches!(byte, b'[' | b']'));
    words.filter(|word| !word.is_empty() && !word.eq_ignore_ascii_case(b"STARTTLS")).collect()
}

fn asks_for_tls(line: &[u8]) -> bool {
    let text = line.trim_ascii_end().to_ascii_uppercase();
    text.ends_with(b"STARTTLS") || text.ends_with(b"STLS")
}

/// A line that no protocol but IMAP may take for anything else.
fn asks_for_tls_outside_imap(line: &[u8]) -> bool {
    line.trim_ascii_end().eq_ignore_ascii_case(b"STARTTLS") && line.ends_with(b"\n")
}
