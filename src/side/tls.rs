//! A side's TLS leg between its descriptors: how it begins, and what is read through it.

use std::io;

use super::descriptors::{Input, Output};
use super::{Fault, Side};
use crate::tls::{Heard, Leg};
use starttls_protocols::session::Surplus;

impl Side {
    /// Begins TLS: with these bytes first, then with those in the kernel.
    ///
    /// # Errors
    /// As [`handshake`](Self::handshake).
    pub fn begin_tls(&mut self, leg: Leg, surplus: Surplus) -> io::Result<()> {
        let leg = self.tls.insert(leg);
        let surplus = surplus.into_bytes();
        let mut rest = &surplus[..];
        while !rest.is_empty() {
            leg.receive(&mut rest)?;
        }
        Ok(())
    }

    /// Drives the handshake. True when it is over, false when it must wait for the descriptors.
    ///
    /// # Errors
    /// The descriptors', `UnexpectedEof` if the peer is gone, `InvalidData` if it broke TLS.
    pub fn handshake(&mut self) -> io::Result<bool> {
        let Some(leg) = &mut self.tls else { return Ok(true) };
        loop {
            let sent = match leg.send(&mut Output {
                fd: self.output.as_ref(),
                writable: &mut self.writable,
                sent: &mut self.sent,
            }) {
                Ok(()) => true,
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => false,
                Err(why) => return Err(why),
            };
            if !leg.is_handshaking() {
                return Ok(sent);
            }
            match leg.receive(&mut Input { fd: &self.input, readable: &mut self.readable }) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(why) => {
                    // The alert: what does not go out now goes out at the close, where there is one.
                    let _ = leg.send(&mut Output {
                        fd: self.output.as_ref(),
                        writable: &mut self.writable,
                        sent: &mut self.sent,
                    });
                    return Err(why);
                }
            }
        }
    }

    /// As [`read`](Self::read), but a peer who sends much through TLS is read until the buffer is full or nothing more is
    /// there: record by record the reader on the other side would be woken for every 16 KiB.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_bulk(&mut self, buffer: &mut [u8]) -> io::Result<Heard> {
        let mut heard = self.read(buffer)?;
        if let Heard::Bytes(count) = &mut heard
            && self.tls.is_some()
        {
            while let Some(rest) = buffer.get_mut(*count..).filter(|rest| *count >= BULK && !rest.is_empty())
                && let Ok(Heard::Bytes(more)) = self.read(rest)
            {
                *count += more;
            }
        }
        Ok(heard)
    }

    /// What the peer said before it broke TLS, and then how.
    pub(super) fn read_rest(&mut self, buffer: &mut [u8]) -> io::Result<Heard> {
        if let Some(leg) = &mut self.tls
            && let heard @ Ok(Heard::Bytes(_)) = leg.read(buffer)
        {
            return heard;
        }
        let why = if let Some(Fault::Broken(why)) = &self.fault { why.clone() } else { String::new() };
        Err(io::Error::new(io::ErrorKind::InvalidData, why))
    }
}

/// What was said comes out before more goes in: rustls refuses ciphertext while its own buffer is full.
pub(super) fn read_tls(leg: &mut Leg, input: &mut Input<'_>, buffer: &mut [u8]) -> io::Result<Heard> {
    loop {
        let heard = leg.read(buffer)?;
        if heard != Heard::Nothing {
            return Ok(heard);
        }
        match leg.receive(input) {
            Ok(_) => {}
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => return Ok(Heard::Nothing),
            Err(why) => return Err(why),
        }
    }
}

/// A peer that sends so many bytes at once is likely to have more.
const BULK: usize = 4096;
