//! One side of the wrapper, client or server, as a byte pipe over its descriptors, with or without TLS.
//!
//! It knows nothing of the dialogue and does not wait: the event loop tells it which descriptors are ready.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, recv, shutdown, sockopt};

use crate::message::Error;
use crate::tls::{Heard, Leg};

mod descriptors;
mod lost;
mod progress;
mod tls;

use descriptors::{Input, Output, read_plain, send_plain};
pub use lost::Loss;
use lost::Lost;
use tls::read_tls;

/// Client, server or backend.
pub struct Side {
    input: OwnedFd,
    output: Option<OwnedFd>,
    tls: Option<Leg>,
    /// Said without TLS, and not yet sent.
    pending: Vec<u8>,
    /// The input may have bytes.
    pub readable: bool,
    /// The output may take bytes.
    pub writable: bool,
    /// The peer has said its last word, which may still wait in the input.
    pub read_closed: bool,
    /// Bytes that the output took, ever.
    sent: u64,
    /// We said that we are done.
    shut: bool,
    /// The peer still answers after our close_notify, so that its own is due in any case.
    answers_close: bool,
    /// The connection was lost, and why: nothing can be sent any more.
    lost: Option<Lost>,
    /// Nothing more comes.
    ended: Option<Heard>,
    fault: Option<Fault>,
}

/// What was wrong with the way TLS ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection ended without close_notify, before ours was sent.
    Cut,
    /// The peer broke TLS, or said so of us: the reason.
    Broken(String),
}

impl Side {
    /// A side over non-blocking descriptors.
    pub fn new(input: OwnedFd, output: OwnedFd) -> Self {
        let output = Some(output);
        Self {
            input,
            output,
            tls: None,
            pending: Vec::new(),
            readable: true,
            writable: true,
            read_closed: false,
            sent: 0,
            shut: false,
            answers_close: false,
            lost: None,
            ended: None,
            fault: None,
        }
    }

    /// A side over a socket, for both directions.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn from_socket(socket: OwnedFd) -> Result<Self, Error> {
        let output = rustix::io::fcntl_dupfd_cloexec(&socket, 0).map_err(Error::system("duplicate a connection"))?;
        Ok(Self::new(socket, output))
    }

    /// Whether reading and writing wait.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn set_nonblocking(&self, yes: bool) -> Result<(), Error> {
        for fd in [Some(&self.input), self.output.as_ref()].into_iter().flatten() {
            rustix::io::ioctl_fionbio(fd, yes).map_err(Error::system("change the flags of a descriptor"))?;
        }
        Ok(())
    }

    /// Reads as [`read`](Self::read) does without TLS, but not behind the end of a line: what follows may be for another
    /// program to read.
    ///
    /// # Errors
    /// The descriptor's.
    pub fn read_line(&mut self, buffer: &mut [u8]) -> io::Result<Heard> {
        if self.ended.is_some() || !self.readable {
            return self.read(buffer);
        }
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let length = match rustix::io::retry_on_intr(|| recv(&self.input, &mut *buffer, flags)) {
            Ok((_, seen)) => buffer.iter().take(seen).position(|byte| *byte == b'\n').map_or(seen, |end| end + 1),
            // A pipe shows nothing in advance.
            Err(Errno::NOTSOCK) => 1,
            Err(Errno::AGAIN) => 0,
            Err(why) => return Err(why.into()),
        };
        // At the end, and where nothing is there yet, the read itself finds out.
        let length = length.clamp(1, buffer.len());
        self.read(buffer.get_mut(..length).unwrap_or_default())
    }

    /// Reads what the peer said. An end stays, and so does an error of TLS.
    ///
    /// # Errors
    /// The descriptor's, `InvalidData` if the peer broke TLS.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Heard> {
        if self.is_broken() {
            return self.read_rest(buffer);
        }
        if let Some(end) = self.ended {
            return Ok(end);
        }
        let heard = match &mut self.tls {
            None => read_plain(&mut Input { fd: &self.input, readable: &mut self.readable }, buffer),
            Some(leg) => read_tls(leg, &mut Input { fd: &self.input, readable: &mut self.readable }, buffer),
        };
        if self.tls.is_some() {
            // What TLS itself answers does not wait for data: a refused renegotiation, a KeyUpdate.
            self.flush();
        }
        match &heard {
            Ok(end @ (Heard::End | Heard::Cut)) => self.ended = Some(*end),
            Ok(_) => {}
            Err(why) if why.kind() == io::ErrorKind::InvalidData => {
                self.tls_failed(why.to_string());
                return self.read_rest(buffer);
            }
            Err(_) => {}
        }
        // A peer that has heard our close_notify may leave without its own, unless it had more to say (RFC 8446 section 6.1).
        if matches!(heard, Ok(Heard::Cut) | Err(_)) && self.tls.is_some() && (!self.shut || self.answers_close) {
            self.fault.get_or_insert(Fault::Cut);
        }
        heard
    }

    /// TLS failed: nothing but the alert is sent any more.
    fn tls_failed(&mut self, why: String) {
        self.fault = Some(Fault::Broken(why));
        self.flush();
    }

    /// Whether TLS failed, so that nothing can be said or heard any more.
    pub fn is_broken(&self) -> bool {
        matches!(self.fault, Some(Fault::Broken(_)))
    }

    /// What was wrong with the end, if anything.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// As [`shut`](Self::shut), but the peer shall not take what it heard for the whole.
    pub fn cut(&mut self) {
        if let Some(leg) = &mut self.tls {
            leg.forgo_close_notify();
        }
        self.shut();
    }

    /// Sends these bytes: what the descriptor does not take now waits here. Call it when [`flush`](Self::flush) was
    /// true, so that no more than one piece waits.
    pub fn write(&mut self, bytes: &[u8]) {
        let sent = if self.tls.is_none() && !self.has_unsent() { self.send_at_once(bytes) } else { 0 };
        self.add(bytes.get(sent..).unwrap_or_default());
        self.flush();
    }

    /// Sends what the descriptor takes now, without a copy. Returns the number of bytes.
    fn send_at_once(&mut self, bytes: &[u8]) -> usize {
        if self.is_lost() || self.shut {
            return 0;
        }
        match (Output { fd: self.output.as_ref(), writable: &mut self.writable, sent: &mut self.sent }).write(bytes) {
            Ok(count) => count,
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => 0,
            Err(why) => {
                self.lose(Loss::Writing(why));
                0
            }
        }
    }

    /// Sends these bytes at the next [`flush`](Self::flush), so that several pieces go out together.
    pub fn add(&mut self, bytes: &[u8]) {
        if let Some(lost) = &mut self.lost {
            lost.unsent |= !bytes.is_empty();
            return;
        }
        if self.shut || self.is_broken() {
            return;
        }
        match &mut self.tls {
            None => self.pending.extend_from_slice(bytes),
            Some(leg) => {
                if let Err(why) = leg.write(bytes) {
                    self.lose(Loss::Writing(why));
                }
            }
        }
    }

    /// Sends what waits. True when nothing waits any more; that includes a peer who is gone.
    pub fn flush(&mut self) -> bool {
        if !self.has_unsent() || !self.writable {
            return !self.has_unsent();
        }
        let mut output = Output { fd: self.output.as_ref(), writable: &mut self.writable, sent: &mut self.sent };
        let sent = match &mut self.tls {
            None => send_plain(&mut self.pending, &mut output),
            Some(leg) => leg.send(&mut output),
        };
        match sent {
            Ok(()) => true,
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => false,
            Err(why) => {
                self.lose(Loss::Writing(why));
                true
            }
        }
    }

    /// Ends what is sent: close_notify, then the transport's own end. Call it when
    /// [`flush`](Self::flush) was true.
    pub fn shut(&mut self) {
        if std::mem::replace(&mut self.shut, true) {
            return;
        }
        if let Some(leg) = &mut self.tls {
            leg.close();
            self.flush();
        }
        // A pipe has no shutdown; closing it is one.
        let is_socket = self.output.as_ref().is_some_and(|fd| shutdown(fd, Shutdown::Write).is_ok());
        if !is_socket {
            self.output = None;
        }
    }

    /// The peer still answers after our close_notify (RFC 8446 section 6.1); without its own the answer is not whole.
    pub fn expect_answer_to_close(&mut self) {
        self.answers_close = true;
    }

    /// Reads and forgets what the peer still sends, TLS or not.
    ///
    /// # Errors
    /// The descriptor's.
    pub fn drain(&mut self, buffer: &mut [u8]) -> io::Result<Heard> {
        read_plain(&mut Input { fd: &self.input, readable: &mut self.readable }, buffer)
    }

    /// Acknowledges what was read, now. The kernel waits 40 ms for an answer that could carry the acknowledgement; where
    /// there is none, a peer that leaves Nagle's algorithm on (RFC 896) holds its next small piece back so long.
    pub fn acknowledge(&self) {
        // Unix sockets and pipes know no such option, nor need it.
        let _ = sockopt::set_tcp_quickack(&self.input, true);
    }

    /// Whether there is a socket behind it, on which unread input at the end would do harm.
    pub fn is_socket(&self) -> bool {
        sockopt::socket_type(&self.input).is_ok()
    }

    /// Marks the end that a splice(2) found.
    pub fn mark_ended(&mut self) {
        self.ended = Some(Heard::End);
    }

    /// How it ended, if nothing more comes.
    pub fn ended(&self) -> Option<Heard> {
        self.ended
    }

    /// The TLS connection, if there is one.
    pub fn tls(&self) -> Option<&Leg> {
        self.tls.as_ref()
    }

    /// Where bytes come from.
    pub fn input(&self) -> BorrowedFd<'_> {
        self.input.as_fd()
    }

    /// Where bytes go, unless it was closed.
    pub fn output(&self) -> Option<BorrowedFd<'_>> {
        self.output.as_ref().map(AsFd::as_fd)
    }
}
