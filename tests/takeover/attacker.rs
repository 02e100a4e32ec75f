//! A session in an attacker's hands: it is stopped, and the test speaks in its place through its window, which
//! pidfd_getfd(2) hands over.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketType, recv, recvmsg,
    sendmsg, sockopt,
};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, Signal, kill_process, pidfd_getfd, pidfd_open};
use starttls_wrapper::window::{Ask, MAX_PACKET};

use super::support::certificates::Site;
use super::support::wrapper::{Prog, Session, Wrapper};
use super::support::{PATIENCE, proc, readable};
use super::{NOT_ALLOWED_NOW, SCHEME};

/// The attacker, with the plaintext prog running.
pub(crate) struct TakenOver {
    pub(crate) wrapper: Session,
    session: Pid,
    window: OwnedFd,
    /// It lasts until the keeper ends it.
    prog: Prog,
}

impl TakenOver {
    /// Takes the session over between two lines of the client.
    pub(crate) fn of(wrapper: Wrapper) -> Self {
        let mut wrapper = wrapper.start();
        let prog = wrapper.opening();
        let session = Pid::from_raw(proc::session_of(wrapper.wrapper.pid()).cast_signed()).unwrap();
        kill_process(session, Signal::STOP).unwrap();
        let window = window_of(session);
        Self { wrapper, session, window, prog }
    }

    pub(crate) fn respawn(site: &Site) -> Self {
        Self::of(Wrapper::respawn(site))
    }

    /// One that may ask for a signature.
    pub(crate) fn at_the_handshake(site: &Site) -> Self {
        let session = Self::respawn(site);
        session.gets(&Ask::Prepare);
        session.gets(&Ask::Chain(None, vec![SCHEME]));
        session
    }

    pub(crate) fn sends(&self, packet: &[u8], beside: &[&File]) {
        let beside: Vec<_> = beside.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !beside.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(&beside)));
        }
        sendmsg(&self.window, &[IoSlice::new(packet)], &mut control, SendFlags::NOSIGNAL).unwrap();
    }

    /// The keeper grants this, and the answer is as said.
    #[track_caller]
    pub(crate) fn gets(&self, ask: &Ask) -> Vec<u8> {
        self.sends(&ask.encode(), &[]);
        self.hears_yes()
    }

    /// Descriptors beside an answer are closed at once.
    #[track_caller]
    pub(crate) fn hears_yes(&self) -> Vec<u8> {
        assert!(readable(&self.window, PATIENCE), "the keeper answers");
        let mut answer = vec![0; MAX_PACKET + 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let heard = recvmsg(&self.window, &mut [IoSliceMut::new(&mut answer)], &mut control, RecvFlags::CMSG_CLOEXEC);
        answer.truncate(heard.unwrap().bytes);
        assert_eq!(answer.first(), Some(&b'+'), "the keeper grants it; the log:\n{}", self.wrapper.wrapper.log.text());
        answer.split_off(1)
    }

    /// The keeper hears nothing more from this session.
    #[track_caller]
    pub(crate) fn dies_for(self, ask: &Ask) {
        self.dies_for_packet(&ask.encode(), NOT_ALLOWED_NOW);
    }

    /// A stopped process ends by SIGKILL alone. With it end prog and the wrapper, and the administrator reads why.
    #[track_caller]
    pub(crate) fn dies_for_packet(self, packet: &[u8], why: &str) {
        let watch = proc::Watch::new(self.session.as_raw_nonzero().get().unsigned_abs());
        self.sends(packet, &[]);
        watch.waits_for_its_end();
        let keeper = self.wrapper.wrapper.pid();
        let end = self.wrapper.end();
        assert_eq!(end.log, format!("starttls-wrapper: fatal: {why}\n"));
        assert_eq!(end.status, 101);
        proc::until(|| proc::group(keeper).is_empty());
        assert_eq!(next_byte(&self.window), None, "there was no answer");
    }

    /// The attacker gives up, without having been answered since. A keeper that has released everything cannot end
    /// prog, which has the end of its input to go by.
    #[track_caller]
    pub(crate) fn ends_unanswered(self) {
        drop(self.prog);
        kill_process(self.session, Signal::KILL).unwrap();
        assert_eq!(self.wrapper.end().status, 101);
        assert_eq!(next_byte(&self.window), None);
    }
}

/// The one socket of sequenced packets that a session has.
fn window_of(session: Pid) -> OwnedFd {
    let process = pidfd_open(session, PidfdFlags::empty()).unwrap();
    let numbers = proc::descriptors(session.as_raw_nonzero().get().unsigned_abs()).into_iter();
    let mut fds = numbers.map(|number| {
        pidfd_getfd(&process, number.cast_signed(), PidfdGetfdFlags::empty()).expect("root may take descriptors")
    });
    let is_window = |fd: &OwnedFd| sockopt::socket_type(fd) == Ok(SocketType::SEQPACKET);
    fds.find(is_window).expect("a session has a window")
}

/// Of an answer; nothing if the keeper is gone without one.
fn next_byte(window: &OwnedFd) -> Option<u8> {
    let mut byte = [0];
    match recv(window, &mut byte, RecvFlags::empty()) {
        Ok((0, _)) | Err(Errno::CONNRESET) => None,
        other => other.map(|_| Some(byte[0])).unwrap(),
    }
}
