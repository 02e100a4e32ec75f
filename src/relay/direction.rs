//! Bytes in one direction with nothing left to watch: by splice(2) where the descriptors allow it, else by a buffer.

use std::io;

use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, splice};

use super::READ_SIZE;
use crate::message::Error;
use crate::side::{Loss, Side};
use crate::tls::Heard;

/// One direction.
pub(super) struct Direction {
    splices: bool,
    /// Its pipe was enlarged, because it was full at once.
    widened: bool,
    /// It carries much from a pipe into a socket: each piece ends where the pipe is empty or the socket full. The other way it
    /// may end before.
    drains: bool,
    /// There was no more to carry, or no room for it: an event comes before either changes.
    waits: bool,
    /// The end was carried, too.
    pub(super) done: bool,
    /// Bytes so far.
    pub(super) count: u64,
    cut_is_error: bool,
}

impl Direction {
    pub(super) fn new(cut_is_error: bool) -> Self {
        Self { splices: true, widened: false, drains: false, waits: false, done: false, count: 0, cut_is_error }
    }

    /// Moves what can be moved without waiting, one piece. False if nothing moved.
    pub(super) fn carry(&mut self, from: &mut Side, to: &mut Side, buffer: &mut Vec<u8>) -> Result<bool, Error> {
        if self.done || self.waits || !to.flush() {
            return Ok(false);
        }
        let heard = if self.splices && from.tls().is_none() && to.tls().is_none() && !to.is_lost() {
            self.splice(from, to)
        } else {
            copy(from, to, buffer)
        };
        match heard {
            Ok(Heard::Nothing) => {
                self.waits = true;
                Ok(false)
            }
            Ok(Heard::Bytes(count)) => {
                self.count += count as u64;
                if count >= PIPE_SIZE && !self.widened {
                    self.widen(from, to);
                }
                Ok(true)
            }
            Ok(end @ (Heard::End | Heard::Cut)) => {
                if end == Heard::Cut && self.cut_is_error {
                    to.cut()
                } else {
                    to.shut()
                }
                self.done = true;
                Ok(true)
            }
            // What was heard so far is not the whole. The alert is on its way.
            Err(_) if from.is_broken() => {
                to.cut();
                self.done = true;
                Ok(true)
            }
            // A peer whose connection failed hears nothing more either.
            Err(why) => {
                from.lose(Loss::Reading(why));
                to.shut();
                self.done = true;
                Ok(true)
            }
        }
    }

    /// Events have come, or may have.
    pub(super) fn wake(&mut self) {
        self.waits = false;
    }

    /// A full pipe makes its two ends take turns: enlarge it for who sends much.
    fn widen(&mut self, from: &Side, to: &Side) {
        self.widened = true;
        self.drains = to.is_socket();
        for pipe in [Some(from.input()), to.output()].into_iter().flatten() {
            // Sockets have no such size, and a user may have too many large pipes; then it stays as it is.
            let _ = fcntl_setpipe_size(pipe, WIDE_PIPE_SIZE);
        }
    }

    /// Without a copy, as far as the descriptors allow: one end must be a pipe.
    fn splice(&mut self, from: &mut Side, to: &mut Side) -> io::Result<Heard> {
        let Some(output) = to.output() else { return Ok(Heard::End) };
        match splice(from.input(), None, output, None, SPLICE_SIZE, SpliceFlags::NONBLOCK | SpliceFlags::MOVE) {
            Ok(0) => {
                from.mark_ended();
                Ok(Heard::End)
            }
            Ok(count) => {
                to.was_sent(count);
                self.waits = self.drains && count < SPLICE_SIZE && !from.read_closed;
                Ok(Heard::Bytes(count))
            }
            Err(Errno::AGAIN) => Ok(Heard::Nothing),
            Err(Errno::INTR) => Ok(Heard::Bytes(0)),
            Err(Errno::INVAL) => {
                self.splices = false;
                Ok(Heard::Bytes(0))
            }
            // One end is a pipe, so it was the other's. A socket that was reset says so once to whoever writes, too.
            Err(why) if why == Errno::PIPE || to.is_socket() => {
                to.lose(Loss::Writing(why.into()));
                Ok(Heard::Bytes(0))
            }
            Err(why) => Err(why.into()),
        }
    }
}

/// Moves one piece each way, and tells which way something moved.
pub(super) fn carry_both(
    to_server: &mut Direction,
    to_client: &mut Direction,
    client: &mut Side,
    server: &mut Side,
    buffer: &mut Vec<u8>,
) -> Result<(bool, bool), Error> {
    let moved = (to_server.carry(client, server, buffer)?, to_client.carry(server, client, buffer)?);
    // Who goes on before events are looked for lets the other one try, too.
    if moved.0 && !to_server.waits {
        to_client.wake();
    }
    if moved.1 && !to_client.waits {
        to_server.wake();
    }
    Ok(moved)
}

/// By way of a buffer that is large only once it was full: few sessions carry much, and pages that are not touched cost
/// nothing.
fn copy(from: &mut Side, to: &mut Side, buffer: &mut Vec<u8>) -> io::Result<Heard> {
    if buffer.is_empty() {
        buffer.resize(READ_SIZE, 0);
    }
    let most = if to.tls().is_some() { TLS_WRITE } else { BULK_READ };
    let size = buffer.len();
    let heard = from.read_bulk(buffer.get_mut(..size.min(most)).unwrap_or_default())?;
    if let Heard::Bytes(count) = heard {
        to.write(buffer.get(..count).unwrap_or_default());
        if count == size && size < BULK_READ {
            *buffer = vec![0; BULK_READ];
        }
    }
    Ok(heard)
}

/// The most bytes read at a time. So large a buffer is a mapping of its own: its pages are there once they are used,
/// and gone when it is given back; and it begins where a page begins, which some processors copy four times faster.
const BULK_READ: usize = 256 * 1024;

/// The most bytes put into TLS at a time, seven records. What rustls needs for them stays below what glibc's malloc
/// would give back to the kernel each time (M_TRIM_THRESHOLD, 128 KiB), page by page.
const TLS_WRITE: usize = 112 * 1024;

/// What a pipe holds.
const PIPE_SIZE: usize = 64 * 1024;

/// What a pipe holds that carries much, and what an unprivileged one may hold at most unless the administrator says
/// otherwise.
const WIDE_PIPE_SIZE: usize = 256 * 1024;

/// The most bytes moved by one splice(2); a pipe holds 64 KiB unless it was enlarged.
const SPLICE_SIZE: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;

    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::net::sockopt::set_socket_linger;

    use super::*;

    /// A socket whose peer has reset the connection.
    fn reset_socket() -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let peer = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        let (socket, _) = listener.accept().expect("a connection");
        set_socket_linger(&peer, Some(std::time::Duration::ZERO)).expect("an option");
        drop(peer);
        poll(&mut [PollFd::new(&socket, PollFlags::IN)], None).expect("the reset arrives");
        socket
    }

    #[test]
    fn who_reset_the_connection_is_lost_and_not_who_speaks_to_it() {
        let (input, mut server) = io::pipe().expect("a pipe");
        let (_, output) = io::pipe().expect("a pipe");
        server.write_all(b"250 ok\r\n").expect("a pipe has room");
        let mut from = Side::new(input.into(), output.into());
        let mut to = Side::from_socket(OwnedFd::from(reset_socket())).expect("a side");
        for side in [&from, &to] {
            side.set_nonblocking(true).expect("a side");
        }
        let moved = Direction::new(false).carry(&mut from, &mut to, &mut Vec::new());
        assert!(matches!(moved, Ok(true)));
        assert!(matches!(to.loss(), Some((Loss::Writing(why), _)) if why.kind() == io::ErrorKind::ConnectionReset));
        assert!(!from.is_lost());
    }

    /// Both ends of a connection, and a side that has one of them.
    fn connection() -> (TcpStream, Side) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let peer = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        let (socket, _) = listener.accept().expect("a connection");
        (peer, nonblocking(Side::from_socket(OwnedFd::from(socket)).expect("a side")))
    }

    fn nonblocking(side: Side) -> Side {
        side.set_nonblocking(true).expect("a side");
        side
    }

    fn carries(direction: &mut Direction, from: &mut Side, to: &mut Side) -> bool {
        direction.carry(from, to, &mut Vec::new()).expect("nothing fails")
    }

    #[test]
    fn a_pipe_that_carried_much_is_tried_again_when_an_event_has_come_or_its_writer_has_left() {
        let (input, mut server) = io::pipe().expect("a pipe");
        let (_reader, output) = io::pipe().expect("a pipe");
        let mut from = nonblocking(Side::new(input.into(), output.into()));
        let (mut client, mut to) = connection();
        let mut way = Direction::new(false);
        let mut heard = vec![0; PIPE_SIZE];
        server.write_all(&heard).expect("a pipe has room");
        assert!(carries(&mut way, &mut from, &mut to));
        client.read_exact(&mut heard).expect("all of it");
        server.write_all(b"a").expect("a pipe has room");
        assert!(carries(&mut way, &mut from, &mut to));
        server.write_all(b"b").expect("a pipe has room");
        assert!(!carries(&mut way, &mut from, &mut to), "no event has come");
        way.wake();
        from.read_closed = true;
        assert!(carries(&mut way, &mut from, &mut to));
        drop(server);
        assert!(carries(&mut way, &mut from, &mut to), "no event comes behind the last");
        assert!(way.done);
    }

    /// It may end where neither the socket is empty nor the pipe full, and then there is no event.
    #[test]
    fn a_socket_is_tried_again_behind_a_short_piece() {
        let (mut client, mut from) = connection();
        let (mut server, output) = io::pipe().expect("a pipe");
        let (input, _writer) = io::pipe().expect("a pipe");
        let mut to = nonblocking(Side::new(input.into(), output.into()));
        client.set_nonblocking(true).expect("a socket");
        let mut say = || (0..64).map_while(|_| client.write(&[0; PIPE_SIZE]).ok()).sum::<usize>();
        assert!(say() >= PIPE_SIZE, "it would not be much");
        let mut way = Direction::new(false);
        let mut heard = vec![0; WIDE_PIPE_SIZE];
        for _ in 0..3 {
            say();
            poll(&mut [PollFd::new(&from.input(), PollFlags::IN)], None).expect("it arrives");
            assert!(carries(&mut way, &mut from, &mut to));
            let _ = server.read(&mut heard).expect("a pipe");
        }
    }

    #[test]
    fn a_server_is_heard_though_its_client_never_pauses() {
        let (mut peer, mut client) = connection();
        let (input, mut writer) = io::pipe().expect("a pipe");
        let (_reader, output) = io::pipe().expect("a pipe");
        let mut server = nonblocking(Side::new(input.into(), output.into()));
        let (mut to_server, mut to_client) = (Direction::new(false), Direction::new(false));
        let arrives =
            |client: &Side| poll(&mut [PollFd::new(&client.input(), PollFlags::IN)], None).expect("it arrives");
        let mut carry =
            |client: &mut Side| carry_both(&mut to_server, &mut to_client, client, &mut server, &mut Vec::new());
        peer.write_all(b"a").expect("a socket has room");
        arrives(&client);
        assert!(matches!(carry(&mut client), Ok((true, false))));
        writer.write_all(b"552 too much\r\n").expect("a pipe has room");
        peer.write_all(b"a").expect("a socket has room");
        arrives(&client);
        assert!(matches!(carry(&mut client), Ok((true, true))));
    }
}
