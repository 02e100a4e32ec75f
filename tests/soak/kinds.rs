//! What a session is: the protocol, the way, and who the client is.

use super::support::chance::Chance;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Protocol {
    Smtp,
    Pop3,
    Imap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// `--respawn`, and the client does not ask for TLS.
    Plaintext,
    /// `--respawn`, by STARTTLS.
    Respawn,
    /// The same with `-r`, after a word that is refused.
    Required,
    /// A TLS server, by STARTTLS: the wrapper of the next way.
    HostPort,
    Implicit,
}

/// A client that does not do what it should. All of them leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hostile {
    /// A byte now and then.
    Slow,
    /// Says nothing.
    Silent,
    /// Asks for TLS, and then says nothing.
    SilentAtTls,
    /// Says what it says, then that it has no more to say, and stays.
    HalfClosed,
    /// Says something and resets the connection.
    Resets,
    /// Asks for more than the pipes hold, and reads nothing.
    DoesNotRead,
    /// Says something else where TLS should begin.
    Garbage,
    /// Leaves when it has said hello.
    LeavesTheHandshake,
    /// Resets the connection inside TLS, with half a mail said.
    ResetsInside,
}

/// One session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) protocol: Protocol,
    pub(crate) way: Way,
    pub(crate) hostile: Option<Hostile>,
    /// Of the mail.
    pub(crate) size: usize,
}

impl Kind {
    /// The session of this number: one in ten is hostile.
    pub(crate) fn of(number: usize) -> Self {
        let mut chance = Chance::new(number as u64);
        let hostile = chance.once_in(10).then(|| chance.of(HOSTILE));
        let size = match chance.below(20) {
            0 => 200_000,
            1..4 => 20_000,
            _ => 2,
        };
        Self { protocol: chance.of(PROTOCOLS), way: chance.of(WAYS), hostile, size: size + chance.below(size + 3000) }
    }
}

pub(crate) const PROTOCOLS: &[Protocol] = &[Protocol::Smtp, Protocol::Pop3, Protocol::Imap];

const WAYS: &[Way] = &[Way::Plaintext, Way::Respawn, Way::Required, Way::HostPort, Way::Implicit];

const HOSTILE: &[Hostile] = &[
    Hostile::Slow,
    Hostile::Silent,
    Hostile::SilentAtTls,
    Hostile::HalfClosed,
    Hostile::Resets,
    Hostile::DoesNotRead,
    Hostile::Garbage,
    Hostile::LeavesTheHandshake,
    Hostile::ResetsInside,
];
