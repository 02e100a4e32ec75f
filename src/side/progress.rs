//! How much of what was sent the peer has taken, as far as the kernel knows.

use rustix::io::ioctl_fionread;

use super::Side;
use crate::raw;
use crate::tls::Leg;

impl Side {
    /// Bytes that the output took, ever.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// A splice(2) gave it so many.
    pub fn was_sent(&mut self, count: usize) {
        self.sent += count as u64;
    }

    /// What the kernel holds for the peer, which has not taken it. Either end of a pipe tells what is in it.
    pub fn unacknowledged(&self) -> u64 {
        let Some(output) = self.output() else { return 0 };
        raw::unacknowledged(output).or_else(|_| ioctl_fionread(output)).unwrap_or_default()
    }

    /// Whether something waits here to be sent.
    pub fn has_unsent(&self) -> bool {
        !self.is_lost() && (!self.pending.is_empty() || self.tls.as_ref().is_some_and(Leg::has_unsent))
    }

    /// Whether the peer has said something that was not read.
    pub fn has_unread(&self) -> bool {
        ioctl_fionread(&self.input).is_ok_and(|count| count > 0)
    }
}
