#![doc = include_str!("README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::boxed::Box;
use alloc::vec::Vec;

mod ber;
pub mod dialogue;
mod imap;
mod ldap;
pub mod line;
mod literal;
mod nntp;
pub mod note;
mod pop3;
mod postgres;
pub mod session;
mod sieve;
mod smtp;
mod tail;
pub mod unit;

use unit::Unit;

/// One protocol: its name, how its server is known, and its snooper.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// The name `--protocol` takes.
    pub name: &'static str,
    /// Who speaks first.
    pub first: First,
    /// The ALPN protocol names (RFC 7301) that stand for it.
    pub alpn: &'static [&'static [u8]],
    /// What a client says, after the greeting if there is one, on its way to TLS: each unit waits for the whole reply to
    /// the one before, and the last one asks for TLS.
    pub way_to_tls: &'static [&'static [u8]],
    /// What a client says inside TLS that only looks in (`--check`): every server accepts each unit, and the last one ends
    /// the session. Empty where not every server does.
    pub visit: &'static [&'static [u8]],
    /// A snooper for one server, from its greeting on. It knows nothing yet.
    pub snooper: fn(Policy) -> Box<dyn Snooper>,
}

/// Who speaks first.
#[derive(Clone, Copy, Debug)]
pub enum First {
    /// The server, which greets. Whether a server whose first line is this (its line end included) speaks the protocol;
    /// `--protocol auto` takes the first row that says yes.
    Server(fn(first_line: &[u8]) -> bool),
    /// The client; the server greets nobody. Such a protocol must be named.
    Client,
    /// The client, and it may begin TLS without asking for it ([`Unit::Tls`]). Whoever does so, this program as a client
    /// too, must name the protocol by ALPN.
    ClientOrTls,
}

impl Protocol {
    /// Whether the server says nothing before the client does.
    pub fn is_client_first(&self) -> bool {
        !matches!(self.first, First::Server(_))
    }

    /// Whether a server whose first line is this speaks the protocol.
    pub fn is_greeted_by(&self, first_line: &[u8]) -> bool {
        matches!(self.first, First::Server(greets) if greets(first_line))
    }
}

/// Every protocol, in the order `--protocol auto` tries them.
pub const PROTOCOLS: &[Protocol] =
    &[smtp::SMTP, smtp::LMTP, pop3::POP3, imap::IMAP, nntp::NNTP, sieve::SIEVE, ldap::LDAP, postgres::POSTGRES];

/// How the snooper treats capabilities and words; fixed for the life of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What becomes of the offer of STARTTLS.
    pub offer: Offer,
    /// `--require-tls` before TLS: fewer opening words, and no offer of authentication.
    pub strict: bool,
    /// The client already speaks TLS: STARTTLS is answered, not obeyed.
    pub inside: bool,
    /// The client has heard another server's greeting: what this one adds to its own, before it is asked anything, is
    /// not for the client.
    pub fresh: bool,
}

impl Policy {
    /// The client speaks TLS; the server is another one than before, does not know, and might offer TLS once more.
    pub const INSIDE: Self = Self { offer: Offer::Remove, strict: false, inside: true, fresh: true };

    /// Whether a capability of the server's goes from its list: its own offer of STARTTLS, which is made anew or not at
    /// all; with `--require-tls` also what tells how to log in.
    pub fn drops(&self, is_starttls: bool, is_login: bool) -> bool {
        if is_starttls { self.offer != Offer::Leave } else { self.strict && is_login }
    }
}

/// What a snooper does with the offer of STARTTLS in the server's capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It stands there once, whether or not the server made it.
    Add,
    /// It stands there if the server made it (`--no-advertise`).
    Leave,
    /// It does not stand there: it could not be kept, or TLS is already there.
    Remove,
}

/// The one trait: a protocol's view of the dialogue before TLS.
///
/// Lines come whole, with their line end. What the other side shall hear goes to `out`; a snooper that appends
/// nothing swallows the line.
pub trait Snooper {
    /// Takes one line of the server's greeting. A protocol in which the client speaks first has none; what a server says
    /// all the same is no offer to serve.
    fn greeting(&mut self, line: &[u8], out: &mut Vec<u8>) -> Greeting {
        out.extend_from_slice(line);
        Greeting::Refuses
    }

    /// Takes one line of the client and says what is to be done with it. Called only when no reply is owed.
    fn command(&mut self, line: &[u8]) -> Verdict;

    /// Takes one line of the server's reply to the command last forwarded.
    fn reply(&mut self, line: &[u8], out: &mut Vec<u8>) -> Reply;

    /// Takes one line that the server says while it owes no reply.
    fn unasked(&mut self, line: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(line);
    }

    /// How far the unit goes that the client's bytes begin with: a line, or what the protocol has in its place. With
    /// `--require-tls` it is no longer than the protocol allows: a server that takes so much at once, and takes the rest
    /// for the next command, would hear what was refused.
    fn client_unit(&self, bytes: &[u8]) -> Unit {
        line::unit(bytes, line::MAX_LINE)
    }

    /// The same for the server's.
    fn server_unit(&self, bytes: &[u8]) -> Unit {
        line::unit(bytes, line::MAX_LINE)
    }

    /// Appends one of the wrapper's own sentences, in answer to the command last seen.
    fn say(&self, sentence: Sentence, out: &mut Vec<u8>);

    /// What a transcript (`-v 3`) shows of a unit. Of one that is no opening word only its name: what follows may be a
    /// secret.
    fn transcript(&self, unit: &[u8], opening: bool) -> Vec<u8> {
        line::transcript(unit, opening).to_vec()
    }

    /// Appends the greeting of a server of this name to a client that shall not hear the server's own, as that came
    /// before TLS. Nothing where the server [greets again](Self::greets_again).
    fn greet(&self, _name: &str, _out: &mut Vec<u8>) {}

    /// Gives up the line that was held back until the next one would show what it is: the dialogue ends here.
    fn take_held(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// Whether the server made an offer of its own. The administrator should hear of it.
    fn server_offers(&self) -> bool;

    /// Whether a fresh server's greeting is said again inside TLS (ManageSieve, RFC 5804 section 2.2).
    fn greets_again(&self) -> bool {
        false
    }
}

/// What the greeting means so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// It goes on with the next line.
    More,
    /// It is over, and the server is at the client's service.
    Open,
    /// It is over, and the server will not serve (421, 554, -ERR, * BYE).
    Refuses,
    /// It is over, and TLS has become impossible (IMAP's `* PREAUTH`).
    TlsImpossible,
}

/// What is to be done with a line of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An opening word: forward it and await its reply.
    Forward(Effect),
    /// The switch.
    StartTls,
    /// The wrapper answers; the server never hears of it.
    Answer(Sentence),
    /// No opening word. The snooping ends here, or with `--require-tls` the command is refused.
    Unknown,
    /// No opening word, and what follows cannot safely be read as commands: a literal is announced, or a NUL or
    /// a stray CR makes it doubtful where the server sees the end of the line.
    Doubtful,
}

/// What comes of an opening word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A reply.
    None,
    /// Not even a reply (LDAP's Abandon and Unbind).
    NoReply,
    /// A reply, and state that a fresh server does not have until the word is said again (EHLO, LANG, MODE READER).
    SetsState,
}

/// How far the reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It goes on with the next line.
    More,
    /// It is over, with this outcome.
    Done(Class),
}

/// The outcome of a command, as coarse as the protocol's first letter: `2`, `5`, `+`, `-`, `O`, `N`, `B`.
/// Two servers that answer a command alike have the same class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class(pub u8);

impl Class {
    /// Whether the command was accepted (2xx, `+OK`, `OK`).
    pub fn is_positive(self) -> bool {
        matches!(self.0, b'2' | b'+' | b'O')
    }
}

/// What the wrapper itself may say; every protocol has its words for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sentence {
    /// STARTTLS is granted: the last plaintext line of the session.
    GoAhead,
    /// STARTTLS cannot be granted now.
    NotAvailable,
    /// STARTTLS came with an argument.
    Argument,
    /// STARTTLS came before the words that must precede it.
    TooEarly,
    /// STARTTLS came inside TLS.
    AlreadyActive,
    /// Only opening words are allowed before TLS.
    Refused,
    /// The line is longer than it may be; the session ends.
    LineTooLong,
    /// The server that should serve the client cannot: inside TLS, before its greeting, or once too often; the session
    /// ends.
    ServerFailed,
    /// The wrapper ends a session that did not come to TLS.
    Goodbye,
}

impl Sentence {
    /// All of them, the go-ahead first, for whoever holds a dialogue or a manual against them.
    pub const ALL: [Self; 9] = [
        Self::GoAhead,
        Self::NotAvailable,
        Self::Argument,
        Self::TooEarly,
        Self::AlreadyActive,
        Self::Refused,
        Self::LineTooLong,
        Self::ServerFailed,
        Self::Goodbye,
    ];
}

/// What is to be done if a text begins with the word that asks for TLS. Blanks behind it are tolerated, an argument is
/// not (RFC 3207 section 4).
fn starttls_verdict(text: &[u8], word: &[u8], policy: Policy) -> Option<Verdict> {
    let tail = line::after_word(text, word)?;
    Some(if policy.inside {
        Verdict::Answer(Sentence::AlreadyActive)
    } else if tail.iter().all(|byte| line::is_blank(*byte)) {
        Verdict::StartTls
    } else {
        Verdict::Answer(Sentence::Argument)
    })
}
