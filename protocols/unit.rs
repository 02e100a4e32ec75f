//! Bytes in, bounded units out: lines, messages, packets.
//!
//! Where a unit ends is its protocol's affair ([`Snooper::client_unit`](crate::Snooper::client_unit)); this only keeps
//! the bytes.

use alloc::vec::Vec;

/// How far the unit goes that some bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// So many of the bytes are the whole of it. Never none.
    Whole(usize),
    /// It goes on behind these bytes. So many more may be taken from the network now; never none.
    Partial(usize),
    /// It is longer than it may be, or nobody can tell how long it is.
    TooLong,
    /// It is no unit, but the beginning of TLS, which the client did not ask for first
    /// ([`First::ClientOrTls`](crate::First::ClientOrTls)).
    Tls,
}

impl Unit {
    /// How many bytes may be taken from the network now. None while a whole unit, or one too long, waits.
    pub fn room(self) -> usize {
        if let Self::Partial(room) = self { room } else { 0 }
    }
}

/// Bytes of one side that wait to become units.
#[derive(Default)]
pub struct UnitBuffer {
    bytes: Vec<u8>,
    /// Before this nothing is needed any more.
    start: usize,
}

impl UnitBuffer {
    /// Appends bytes as they came from the network.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// What waits.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// Takes the unit that is so long.
    pub fn take(&mut self, length: usize) -> Vec<u8> {
        let unit = self.bytes().get(..length).unwrap_or_default().to_vec();
        self.start += unit.len();
        unit
    }

    /// Gives up the bytes that were not taken.
    pub fn into_rest(mut self) -> Vec<u8> {
        self.bytes.drain(..self.start);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_taken_one_by_one_and_the_rest_is_kept() {
        let mut waiting = UnitBuffer::default();
        waiting.push(b"NOOP\r\nNO");
        assert_eq!(waiting.take(6), b"NOOP\r\n");
        assert_eq!(waiting.bytes(), b"NO");
        waiting.push(b"OP\nx");
        assert_eq!(waiting.take(5), b"NOOP\n");
        assert_eq!(waiting.into_rest(), b"x");
    }

    #[test]
    fn there_is_room_only_while_a_unit_goes_on() {
        assert_eq!([Unit::Partial(3), Unit::Whole(3), Unit::TooLong].map(Unit::room), [3, 0, 0]);
    }
}
