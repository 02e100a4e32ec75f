//! The tail of a greeting: empty lines behind the line that seemed to end it. It knows lines of text, and no protocol.

use alloc::vec::Vec;

use crate::Policy;

/// Whether the server has said more than its greeting.
pub(crate) struct GreetingTail {
    /// The greeting is another server's for the client, and so is its tail.
    swallowed: bool,
    over: bool,
}

impl GreetingTail {
    /// The tail of a greeting that is yet to come.
    pub(crate) fn new(policy: Policy) -> Self {
        Self { swallowed: policy.fresh, over: false }
    }

    /// Takes a line where a reply may begin. True if it is empty, and so answers nothing, whoever it belongs to.
    pub(crate) fn take(&mut self, line: &[u8], out: &mut Vec<u8>) -> bool {
        let empty = line.trim_ascii().is_empty();
        self.over |= !empty;
        if empty && (self.over || !self.swallowed) {
            out.extend_from_slice(line);
        }
        empty
    }

    /// The same for a line that nobody has asked for: one that is not empty is for the client.
    pub(crate) fn pass(&mut self, line: &[u8], out: &mut Vec<u8>) {
        if !self.take(line, out) {
            out.extend_from_slice(line);
        }
    }
}
