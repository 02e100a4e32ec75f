//! The window between keeper and session: what may be asked, and how it travels.
//!
//! A socketpair of sequenced packets: one [`Ask`] a packet, one [`Answer`] a packet, descriptors beside it
//! (SCM_RIGHTS). Unasked the keeper says one thing: that prog has ended. The keeper trusts nothing that comes through;
//! what does not decode here is never obeyed there. How requests are granted, and how often, the keeper decides.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg, send, sendmsg, socketpair,
};
use rustix::process::Pid;

use crate::message::Error;
use crate::raw;

mod ask;
mod chain;

pub use ask::{Ask, Peer};
pub use chain::{Chain, join, parts};

/// The longest packet in bytes. A certificate chain is the longest thing that travels; browsers stop at 64 KiB.
pub const MAX_PACKET: usize = 64 * 1024;

/// What comes back.
#[derive(Debug, Default)]
pub struct Answer {
    /// What was asked for, in the form the [`Ask`] has.
    pub bytes: Vec<u8>,
    /// The descriptors that came with it.
    pub fds: Vec<OwnedFd>,
    /// There was no room for all of them. The packet comes all the same.
    lacks_descriptors: bool,
}

/// One end of the window.
#[derive(Debug)]
pub struct Window {
    socket: OwnedFd,
    /// The plaintext prog was dropped; its end is not the session's.
    retired: AtomicBool,
    ended: AtomicBool,
    /// The keeper was told to end, and so is the session.
    told_to_end: AtomicBool,
}

/// Which process this is after [`split`].
#[derive(Debug)]
pub enum Half {
    /// The one that was started; the other one's process id.
    Keeper(Window, Pid),
    /// The one that reads the network.
    Session(Window),
}

/// Splits the program in two. Call it before anything secret is in memory and before any thread is started. Of the
/// descriptors this program has or inherited, the session has the standard ones, these, and the window.
///
/// # Errors
/// The system calls can fail.
pub fn split(kept: &[RawFd]) -> Result<Half, Error> {
    let flags = SocketFlags::CLOEXEC;
    let (keeper, session) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(Error::system("make a socket pair"))?;
    let gaps = gaps(&[kept, &[keeper.as_raw_fd(), session.as_raw_fd()]].concat());
    Ok(match raw::fork(&gaps).map_err(Error::system("fork"))? {
        Some(pid) => Half::Keeper(Window::over(keeper), pid),
        None => Half::Session(Window::over(session)),
    })
}

/// What lies between these descriptors, above the standard ones: what the super-server left open is no business of a
/// process that an attacker may own.
pub(crate) fn gaps(kept: &[RawFd]) -> Vec<(u32, u32)> {
    let mut kept: Vec<u32> = kept.iter().filter_map(|fd| u32::try_from(*fd).ok()).filter(|fd| *fd >= 3).collect();
    kept.sort_unstable();
    let starts = std::iter::once(3).chain(kept.iter().map(|fd| fd + 1));
    let ends = kept.iter().map(|fd| fd - 1).chain([u32::MAX]);
    starts.zip(ends).filter(|(first, last)| first <= last).collect()
}

impl Window {
    fn over(socket: OwnedFd) -> Self {
        let no = || AtomicBool::new(false);
        Self { socket, retired: no(), ended: no(), told_to_end: no() }
    }

    /// Asks, and waits for the [answer](Self::answer).
    ///
    /// # Errors
    /// The keeper is gone, or broke the rules.
    pub fn ask(&self, ask: &Ask) -> Result<Option<Answer>, Error> {
        self.tell(ask)?;
        self.answer()
    }

    /// Waits for the answer to what was [told](Self::tell). `None` means no: the keeper has told the administrator why.
    ///
    /// # Errors
    /// The keeper is gone, or broke the rules.
    pub fn answer(&self) -> Result<Option<Answer>, Error> {
        loop {
            let mut packet = self.receive()?.ok_or_else(|| self.why_keeper_is_gone())?;
            match *packet.bytes {
                [] => return Err(self.why_keeper_is_gone()),
                [ENDED, which] => self.hears_of_an_end(which),
                _ if packet.lacks_descriptors => {
                    return Err(Error::System("take a descriptor from the window".into(), Errno::MFILE.into()));
                }
                [verdict, ..] => {
                    packet.bytes.remove(0);
                    return Ok((verdict == GRANTED).then_some(packet));
                }
            }
        }
    }

    /// Tells without waiting for an answer: [`Ask::Retire`] and [`Ask::Release`] have none, any other's is taken
    /// [later](Self::answer).
    ///
    /// # Errors
    /// The keeper is gone.
    pub fn tell(&self, ask: &Ask) -> Result<(), Error> {
        if *ask == Ask::Retire {
            self.retired.store(true, Ordering::Relaxed);
            self.ended.store(false, Ordering::Relaxed);
        }
        send(&self.socket, &ask.encode(), SendFlags::NOSIGNAL).map_err(|_| {
            // What it said last may wait here.
            self.listen().err().unwrap_or_else(|| self.why_keeper_is_gone())
        })?;
        Ok(())
    }

    /// Hears what came unasked. Does not wait.
    ///
    /// # Errors
    /// The keeper is gone.
    pub fn listen(&self) -> Result<(), Error> {
        let mut word = [0; 2];
        loop {
            match recv(&self.socket, &mut word, RecvFlags::DONTWAIT) {
                Ok((_, 0)) | Err(Errno::CONNRESET) => return Err(self.why_keeper_is_gone()),
                Ok(_) if word[0] == ENDED => self.hears_of_an_end(word[1]),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(why) => return Err(Error::System("read from the window".into(), why.into())),
            }
        }
    }

    /// Whether the prog that serves has ended, as far as was heard.
    pub fn prog_has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    fn hears_of_an_end(&self, which: u8) {
        if which == SESSION {
            self.told_to_end.store(true, Ordering::Relaxed);
        } else if which == FRESH || !self.retired.load(Ordering::Relaxed) {
            self.ended.store(true, Ordering::Relaxed);
        }
    }

    /// Why there is no keeper any more.
    fn why_keeper_is_gone(&self) -> Error {
        if self.told_to_end.load(Ordering::Relaxed) {
            return Error::ToldToEnd;
        }
        Error::Impossible("the keeper is gone".into())
    }

    /// The next ask; `None` when the session is gone.
    ///
    /// # Errors
    /// The packet is no [`Ask`].
    pub fn next_ask(&self) -> Result<Option<Ask>, Error> {
        let packet = match self.receive()? {
            Some(packet) => packet,
            None if self.is_hung_up() => return Ok(None),
            // An empty packet looks like the end, and is no ask.
            None => Answer::default(),
        };
        let ask = Ask::decode(&packet.bytes);
        ask.map(Some).ok_or_else(|| Error::Impossible("the session made a request that does not exist".into()))
    }

    fn is_hung_up(&self) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::RDHUP)];
        poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// Grants what was asked for.
    ///
    /// # Errors
    /// The answer is too long, or the session is gone.
    pub fn grant(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        let packet = [IoSlice::new(&[GRANTED]), IoSlice::new(bytes)];
        answered(sendmsg(&self.socket, &packet, &mut control, AT_ONCE))
    }

    /// Tells the session to end: nothing more will come or be heard, though others may hold copies.
    pub fn tell_to_end(&self) {
        let _ = send(&self.socket, &[ENDED, SESSION], AT_ONCE);
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }

    /// Says that prog has ended, the plaintext one or the fresh one inside TLS. A session that does not listen need not
    /// know.
    pub fn tell_end(&self, fresh: bool) {
        let _ = send(&self.socket, &[ENDED, if fresh { FRESH } else { PLAINTEXT }], AT_ONCE);
    }

    /// Refuses what was asked for.
    ///
    /// # Errors
    /// The session is gone.
    pub fn refuse(&self) -> Result<(), Error> {
        answered(send(&self.socket, &[REFUSED], AT_ONCE))
    }

    /// One packet; `None` at the end.
    fn receive(&self) -> Result<Option<Answer>, Error> {
        let mut nothing = [0; 0];
        let flags = RecvFlags::PEEK | RecvFlags::TRUNC;
        let length = match recv(&self.socket, &mut nothing, flags) {
            Ok((_, length)) => length,
            // It is gone, and did not read the last answer.
            Err(Errno::CONNRESET) => return Ok(None),
            Err(why) => return Err(Error::System("read from the window".into(), why.into())),
        };
        if length > MAX_PACKET {
            return Err(Error::Impossible("a packet through the window is too long".into()));
        }
        let mut bytes = vec![0; length];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut iov = [IoSliceMut::new(&mut bytes)];
        let received = recvmsg(&self.socket, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC)
            .map_err(Error::system("read from the window"))?;
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        let lacks_descriptors = received.flags.contains(ReturnFlags::CTRUNC);
        Ok((length > 0).then_some(Answer { bytes, fds, lacks_descriptors }))
    }
}

impl AsFd for Window {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A session that is gone needs no answer; the keeper finds out when it reads on.
fn answered(sent: Result<usize, Errno>) -> Result<(), Error> {
    match sent {
        Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
        Err(why) => Err(Error::System("answer the session".into(), why.into())),
    }
}

/// The first byte of an answer.
const GRANTED: u8 = b'+';
const REFUSED: u8 = b'-';

/// The first byte of the one word that is no answer, and the second one.
const ENDED: u8 = b'e';
const PLAINTEXT: u8 = b'p';
const FRESH: u8 = b'P';
const SESSION: u8 = b's';

/// One answer always fits. A session that does not read what it asked for shall not keep the keeper waiting.
const AT_ONCE: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

/// The most descriptors beside one packet: the two pipes of prog, and with `--ucspi-tls` the control socket.
const MAX_FDS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Window, Window) {
        let (keeper, session) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        (Window::over(keeper), Window::over(session))
    }

    #[test]
    fn the_end_of_prog_is_heard_between_answers_too() {
        for fresh in [false, true] {
            let (keeper, session) = pair();
            session.listen().unwrap();
            assert!(!session.prog_has_ended());
            keeper.tell_end(fresh);
            session.listen().unwrap();
            assert!(session.prog_has_ended());
            let (keeper, session) = pair();
            keeper.tell_end(fresh);
            keeper.grant(b"chain", &[]).unwrap();
            assert_eq!(session.ask(&Ask::ChainForBackend).unwrap().unwrap().bytes, b"chain");
            assert!(session.prog_has_ended());
        }
    }

    #[test]
    fn the_end_of_a_prog_that_was_retired_is_no_end() {
        for (before, after, ended) in
            [(Some(false), None, false), (None, Some(false), false), (Some(false), Some(true), true)]
        {
            let (keeper, session) = pair();
            before.into_iter().for_each(|fresh| keeper.tell_end(fresh));
            session.listen().unwrap();
            session.tell(&Ask::Retire).unwrap();
            after.into_iter().for_each(|fresh| keeper.tell_end(fresh));
            session.listen().unwrap();
            assert_eq!(session.prog_has_ended(), ended, "{before:?}, {after:?}");
        }
    }

    #[test]
    fn a_session_that_is_told_to_end_does_not_miss_its_keeper() {
        let attempts: [fn(&Window) -> Option<Error>; 3] = [
            |session| session.listen().err(),
            |session| session.ask(&Ask::Prepare).err(),
            |session| session.tell(&Ask::Release).err(),
        ];
        for attempt in attempts {
            let (keeper, session) = pair();
            keeper.tell_to_end();
            drop(keeper);
            assert!(matches!(attempt(&session), Some(Error::ToldToEnd)));
        }
    }

    #[test]
    fn a_keeper_that_is_gone_is_missed() {
        let (keeper, session) = pair();
        drop(keeper);
        assert!(matches!(session.listen(), Err(Error::Impossible(_))));
    }

    #[test]
    fn between_the_descriptors_that_are_kept_all_are_closed() {
        assert_eq!(gaps(&[]), [(3, u32::MAX)]);
        assert_eq!(gaps(&[7, 3, 4]), [(5, 6), (8, u32::MAX)]);
        assert_eq!(gaps(&[4, 0]), [(3, 3), (5, u32::MAX)]);
    }
}
