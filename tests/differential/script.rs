//! One dialogue: how the wrapper is started, before which server, and what the client will say, in which pieces. All of
//! it comes from a seed.

use std::fmt;

use super::servers::{self, Service};
use super::support::chance::Chance;
use super::words::{ALL, ENDS, LIMITS, Words};

/// What happens in one session, as far as it is our choice.
pub(crate) struct Script {
    pub(crate) seed: u64,
    pub(crate) service: &'static Service,
    /// `--require-tls`.
    pub(crate) strict: bool,
    /// `--protocol` names it.
    pub(crate) named: bool,
    /// Not `--no-advertise`.
    pub(crate) advertises: bool,
    /// Not `--no-replay`.
    pub(crate) replays: bool,
    pub(crate) way: Way,
    /// `--connect` in place of prog.
    pub(crate) connects: bool,
    pub(crate) pace: Pace,
    /// Before TLS and inside: each piece is one write(2).
    pub(crate) client: [Vec<Vec<u8>>; 2],
}

/// Who serves inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The server of the plaintext dialogue, started again.
    Respawn,
    /// A TLS server.
    Backend,
    /// The server, with TLS from the first byte.
    Implicit,
}

/// When the client says its next piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// When it has said the last.
    AtOnce,
    /// Likewise, and with the last piece it says that it has no more to say: it will not come to TLS by STARTTLS.
    AndNoMore,
    /// When the wrapper has had time to read the last.
    Slowly,
    /// When all it said so far was answered, as well-behaved clients do.
    InTurn,
}

impl Script {
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let service = &servers::ALL[chance.below(servers::ALL.len())];
        let way = chance.of(&[Way::Respawn, Way::Respawn, Way::Respawn, Way::Backend, Way::Backend, Way::Implicit]);
        let strict = way != Way::Implicit && chance.once_in(2);
        let (named, advertises, replays) = (chance.once_in(2), !chance.once_in(8), !chance.once_in(8));
        let connects = chance.once_in(2);
        let pace = chance.of(&[Pace::AtOnce, Pace::AndNoMore, Pace::Slowly, Pace::Slowly, Pace::InTurn, Pace::InTurn]);
        let mut writer = Writer { chance, words: Words::of(service.protocol), tags: 0, part: "" };
        let plain = if way == Way::Implicit { Vec::new() } else { writer.plain() };
        let inside = writer.inside();
        let client = [writer.pieces(&plain), writer.pieces(&inside)];
        Self { seed, service, strict, named, advertises, replays, way, connects, pace, client }
    }

    pub(crate) fn words(&self) -> &'static Words {
        Words::of(self.service.protocol)
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, service, strict, named, advertises, replays, way, connects, pace, client } = self;
        writeln!(f, "DIFFERENTIAL_SEED={seed}: {} ({}), {way:?}, {pace:?},", service.name, service.protocol)?;
        writeln!(f, "strict {strict}, named {named}, advertises {advertises}, replays {replays}, connects {connects}")?;
        for (part, pieces) in ["before TLS", "inside TLS"].iter().zip(client) {
            let pieces: Vec<String> = pieces.iter().map(|piece| shown(piece)).collect();
            writeln!(f, "{part}: {}", pieces.join("|"))?;
        }
        Ok(())
    }
}

/// Bytes for a reader: of a long run of one byte, its length.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let runs = bytes.chunk_by(|one, next| one == next);
    let shown = runs.map(|run| match run.len() {
        ..20 => run.escape_ascii().to_string(),
        count => format!("<{} {count} times>", run[..1].escape_ascii()),
    });
    shown.collect()
}

/// Makes up what a client says.
struct Writer {
    chance: Chance,
    words: &'static Words,
    tags: usize,
    /// What `%` stands for.
    part: &'static str,
}

impl Writer {
    /// Half of the clients say what they should and ask for TLS last; the other half says anything.
    fn plain(&mut self) -> Vec<u8> {
        self.part = "outside";
        let mut said = Vec::new();
        if self.chance.once_in(2) {
            for _ in 0..self.chance.below(5) {
                self.line(self.words.opening, "\r\n", &mut said);
            }
            self.line(&self.words.starttls[..2], "\r\n", &mut said);
            if self.chance.once_in(8) {
                self.line(self.words.opening, "\r\n", &mut said);
            }
            return said;
        }
        self.anything(&mut said);
        said
    }

    fn inside(&mut self) -> Vec<u8> {
        self.part = "inside";
        let mut said = Vec::new();
        self.anything(&mut said);
        said
    }

    fn anything(&mut self, said: &mut Vec<u8>) {
        if !self.chance.once_in(3) {
            self.line(&self.words.opening[..1], "\r\n", said);
        }
        for _ in 0..self.chance.below(9) {
            self.something(said);
        }
        match self.chance.below(4) {
            0 => self.line(&self.words.starttls[..2], "\r\n", said),
            1 => self.line(&[self.words.last], "\r\n", said),
            _ => {}
        }
        if self.chance.once_in(4) {
            self.spoil(said);
        }
    }

    fn something(&mut self, said: &mut Vec<u8>) {
        let words = self.words;
        let end = self.chance.of(ENDS);
        match self.chance.below(20) {
            0..=9 => self.line(words.opening, end, said),
            10 => self.line(words.starttls, end, said),
            11 | 12 => self.line(words.other, end, said),
            13 => {
                let block = self.chance.of(words.blocks);
                self.fill(block, said);
            }
            14 | 15 => self.long_line(said),
            16 => {
                let others = self.chance.below(ALL.len());
                self.line(ALL[others].opening, end, said);
            }
            17 if self.chance.once_in(3) => {
                // The prefix is recorded up to 64 commands.
                for _ in 0..60 + self.chance.below(8) {
                    self.line(&words.opening[..3], "\r\n", said);
                }
            }
            17 | 18 => self.line(words.opening, "\r\n", said),
            _ => said.extend((0..self.chance.below(40)).map(|_| self.chance.below(256) as u8).collect::<Vec<_>>()),
        }
    }

    fn line(&mut self, words: &[&str], end: &str, said: &mut Vec<u8>) {
        let word = self.chance.of(words);
        self.fill(word, said);
        said.extend(end.bytes());
    }

    /// A line that is as long as somebody's limit, or a little longer or shorter; behind the limit stands a word.
    fn long_line(&mut self, said: &mut Vec<u8>) {
        let (limit, words) = (self.chance.of(LIMITS) + self.chance.below(5) - 2, self.words);
        let start = said.len();
        let all = self.chance.of(&[words.opening, words.opening, words.other, words.starttls]);
        self.line(all, " ", said);
        let filler = self.chance.of(b" x0");
        said.resize(said.len().max(start + limit - 2), filler);
        if self.chance.once_in(2) {
            self.line(all, "", said);
        }
        let end = self.chance.of(&["\r\n", "\r\n", "\n"]);
        said.extend(end.bytes());
    }

    fn fill(&mut self, text: &str, said: &mut Vec<u8>) {
        for character in text.bytes() {
            match character {
                b'~' => {
                    self.tags += 1;
                    said.extend(format!("t{}", self.tags).bytes());
                }
                b'%' => said.extend(self.part.bytes()),
                byte => said.push(byte),
            }
        }
    }

    /// Bytes are lost, doubled, or become others.
    fn spoil(&mut self, said: &mut Vec<u8>) {
        for _ in 0..1 + self.chance.below(3) {
            let Some(limit) = Some(said.len()).filter(|length| *length > 0) else { return };
            let at = self.chance.below(limit);
            match self.chance.below(4) {
                0 => _ = said.remove(at),
                1 => said.insert(at, self.chance.of(b"\0\r\n \t\xff{}")),
                _ => said[at] = self.chance.of(b"\0\r\n \t\xffA\x16"),
            }
        }
    }

    fn pieces(&mut self, said: &[u8]) -> Vec<Vec<u8>> {
        let most = match self.chance.below(4) {
            0 => said.len().max(1),
            1 => return said.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect(),
            2 if said.len() < 400 => 1,
            _ => 1 + self.chance.below(200),
        };
        let mut pieces = Vec::new();
        let mut rest = said;
        while !rest.is_empty() {
            let (piece, left) = rest.split_at(rest.len().min(1 + self.chance.below(most)));
            pieces.push(piece.to_vec());
            rest = left;
        }
        pieces
    }
}
