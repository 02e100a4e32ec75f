//! A peer whose connection was lost, and why: of several reasons the first one is kept.

use std::fmt::{self, Display};
use std::io;

use super::Side;
use crate::message::SystemReason;

/// Why nothing can be sent to a side any more.
#[derive(Debug)]
pub enum Loss {
    /// It closed its end while we had not closed ours.
    HungUp,
    /// Reading from it failed.
    Reading(io::Error),
    /// Writing to it failed.
    Writing(io::Error),
    /// It took nothing for too long.
    Stalled,
}

/// A loss, and whether it took something with it.
pub(super) struct Lost {
    why: Loss,
    /// Not all that was to be said was sent.
    pub(super) unsent: bool,
    /// We had said our last word.
    is_late: bool,
}

impl Side {
    /// The peer is gone.
    pub fn lose(&mut self, why: Loss) {
        // Of what is said behind our last word only close_notify could be missing, and an alert behind TLS.
        let is_late = self.shut || self.is_broken();
        let unsent = !is_late && self.has_unsent();
        self.lost.get_or_insert(Lost { why, unsent, is_late });
        self.pending.clear();
    }

    /// The output's other end was closed. If we closed ours before, that is the end of both directions and no loss:
    /// what the peer said last may still wait in the input.
    pub fn hang_up(&mut self) {
        if !self.shut {
            self.lose(Loss::HungUp);
        }
    }

    /// Whether the peer is gone.
    pub fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Of two pipes that to the peer was closed, as by one who wants no answer: the other may bring more. A connection is lost
    /// as a whole.
    pub fn may_speak_on(&self) -> bool {
        let missed = self.lost.as_ref().is_some_and(|lost| lost.unsent);
        !missed && self.ended.is_none() && !self.is_socket()
    }

    /// Why the peer is gone, and whether it missed something; nothing if it, or we, had said the last word and all was
    /// sent.
    pub fn loss(&self) -> Option<(&Loss, bool)> {
        let Lost { why, unsent, is_late } = self.lost.as_ref()?;
        (*unsent || !(*is_late || self.ended.is_some())).then_some((why, *unsent))
    }

    /// Why writing failed, unless the reader left: a disk is full, for example. Call it at the end.
    pub fn take_write_error(&mut self) -> Option<io::Error> {
        let by_leaving = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
        match self.lost.take()?.why {
            Loss::Writing(why) if !by_leaving.contains(&why.kind()) => Some(why),
            _ => None,
        }
    }
}

impl Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HungUp => f.write_str("it hung up"),
            Self::Reading(why) | Self::Writing(why) => SystemReason(why).fmt(f),
            Self::Stalled => f.write_str("it stopped reading"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn side() -> (Side, UnixStream) {
        let (here, there) = UnixStream::pair().expect("a pair of sockets");
        let side = Side::from_socket(OwnedFd::from(here)).expect("a side");
        side.set_nonblocking(true).expect("a side");
        (side, there)
    }

    fn told(side: &Side) -> Option<(String, bool)> {
        side.loss().map(|(why, unsent)| (why.to_string(), unsent))
    }

    #[test]
    fn what_was_not_sent_is_known_by_its_reason() {
        let (mut writes, peer) = side();
        drop(peer);
        writes.write(b"250 ok\r\n");
        assert_eq!(told(&writes), Some(("broken pipe".into(), true)), "at once");
        let (mut adds, peer) = side();
        adds.add(b"250 ok\r\n");
        drop(peer);
        adds.hang_up();
        adds.lose(Loss::Stalled);
        assert_eq!(told(&adds), Some(("it hung up".into(), true)), "the first reason stays");
        let (mut later, _peer) = side();
        later.hang_up();
        assert_eq!(told(&later), Some(("it hung up".into(), false)));
        later.add(b"250 ok\r\n");
        assert_eq!(told(&later), Some(("it hung up".into(), true)), "what comes later is not sent either");
    }

    #[test]
    fn who_leaves_behind_a_last_word_is_no_loss() {
        let (mut ours, peer) = side();
        ours.shut();
        drop(peer);
        ours.hang_up();
        assert!(!ours.is_lost());
        ours.lose(Loss::Reading(io::ErrorKind::ConnectionReset.into()));
        assert_eq!(told(&ours), None, "we had ended");
        let (mut theirs, peer) = side();
        drop(peer);
        assert!(theirs.read(&mut [0]).is_ok());
        theirs.hang_up();
        assert_eq!(told(&theirs), None, "it had ended");
    }
}
