//! Peers that do not read: bytes wait for one, and it takes none. Times and counts are parameters; nothing here reads a
//! clock or a descriptor.
//!
//! A peer's kernel takes bytes that the peer does not read, until its buffers are full. From then on what shows whether
//! the peer reads is what the kernel here still holds for it. That costs a system call, so it is looked at now and then,
//! and only after bytes moved or came: a session that is idle sleeps.

use std::time::{Duration, Instant};

use super::reactor::SideId;
use crate::config::Limits;

/// How far a peer has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Bytes given to the kernel for it, and whatever else shows that it is alive. It never shrinks.
    pub(super) moved: u64,
    /// Of these, what the kernel here still holds: the peer has not taken it.
    pub(super) unacknowledged: u64,
}

/// Both peers of a session.
pub(super) struct Stalls {
    limits: Limits,
    client: StallClock,
    server: StallClock,
    /// Nothing more will be said to the client.
    nothing_more: bool,
    next: Option<Instant>,
}

impl Stalls {
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        let still = StallClock { since: now, seen: Progress::default() };
        Self { limits, client: still, server: still, nothing_more: false, next: None }
    }

    /// Bytes moved, or came and could not, so it is worth checking in a while whether a peer has stopped.
    pub(super) fn activity(&mut self, now: Instant) {
        let pause = self.pause();
        self.next.get_or_insert(now + pause);
    }

    /// When to check next; never while nothing moves or comes.
    pub(super) fn next_check(&self) -> Option<Instant> {
        self.next
    }

    /// Checks how far those have come for whom bytes wait, and returns who has stood still for too long. If `nothing_more`
    /// will be said to the client, it has less time.
    pub(super) fn check(
        &mut self,
        [client, server]: [Option<Progress>; 2],
        nothing_more: bool,
        now: Instant,
    ) -> Option<SideId> {
        self.next = (client.is_some() || server.is_some()).then(|| now + self.pause());
        let Limits { write_stall, last_words, .. } = self.limits;
        if nothing_more && !std::mem::replace(&mut self.nothing_more, true) {
            self.client.since = now;
        }
        let limit = if nothing_more { last_words } else { write_stall };
        let (client, server) = (self.client.stood_still(client, now), self.server.stood_still(server, now));
        match (client >= limit, server >= write_stall) {
            (true, _) => Some(SideId::Client),
            (false, true) => Some(SideId::Server),
            (false, false) => None,
        }
    }

    /// The time between two checks, and so how far a limit may be overstepped.
    fn pause(&self) -> Duration {
        self.limits.last_words / CHECKS
    }
}

/// Since when one peer has taken nothing.
#[derive(Clone, Copy)]
struct StallClock {
    since: Instant,
    seen: Progress,
}

impl StallClock {
    /// How long it has taken nothing, as far as is known.
    fn stood_still(&mut self, progress: Option<Progress>, now: Instant) -> Duration {
        let seen = progress.unwrap_or_default();
        if progress.is_none() || seen.moved != self.seen.moved || seen.unacknowledged < self.seen.unacknowledged {
            self.since = now;
        }
        self.seen = seen;
        now.saturating_duration_since(self.since)
    }
}

/// How often a peer is checked within the shortest limit.
const CHECKS: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Looks each second at a client and a server for whom bytes wait, and returns who stood still, and when.
    fn watch(
        seconds: u64,
        nothing_more: bool,
        progress: impl Fn(u64) -> [Option<Progress>; 2],
    ) -> Option<(SideId, u64)> {
        let began = Instant::now();
        let mut stalls = Stalls::new(Limits::default(), began);
        (0..=seconds).find_map(|second| {
            let who = stalls.check(progress(second), nothing_more, began + SECOND * second as u32)?;
            Some((who, second))
        })
    }

    fn at(moved: u64, unacknowledged: u64) -> Option<Progress> {
        Some(Progress { moved, unacknowledged })
    }

    #[test]
    fn who_takes_nothing_meets_the_limit_and_not_before() {
        assert_eq!(watch(299, false, |_| [at(1000, 1000), None]), None);
        assert_eq!(watch(900, false, |_| [at(1000, 1000), None]), Some((SideId::Client, 300)));
        assert_eq!(watch(900, false, |_| [None, at(1000, 1000)]), Some((SideId::Server, 300)));
        assert_eq!(watch(900, false, |_| [at(1000, 1000), at(1000, 1000)]), Some((SideId::Client, 300)));
    }

    #[test]
    fn whoever_takes_a_little_has_as_long_again() {
        let drips = |second: u64| second.min(600) / 299;
        let of_the_kernel = watch(1000, false, |second| [at(1000, 1000 - drips(second)), None]);
        let of_ours = watch(1000, false, |second| [at(1000 + drips(second), 1000), None]);
        assert_eq!(of_the_kernel, Some((SideId::Client, 598 + 300)));
        assert_eq!(of_ours, of_the_kernel);
    }

    #[test]
    fn for_whom_nothing_waits_is_idle() {
        assert_eq!(watch(900, false, |_| [None, None]), None);
        assert_eq!(watch(900, false, |second| [at(1000, 1000).filter(|_| second % 299 != 0), None]), None);
    }

    #[test]
    fn for_the_last_words_a_client_has_less_time_but_all_of_it() {
        let began = Instant::now();
        let mut stalls = Stalls::new(Limits::default(), began);
        let mut look = |second, nothing_more| stalls.check([at(1, 1), None], nothing_more, began + SECOND * second);
        assert_eq!(look(0, false), None);
        for (second, expected) in [(200, None), (229, None), (230, Some(SideId::Client))] {
            assert_eq!(look(second, true), expected, "{second}");
        }
        assert_eq!(watch(29, true, |_| [at(1000, 1000), None]), None);
        assert_eq!(watch(900, true, |_| [at(1000, 1000), None]), Some((SideId::Client, 30)));
        assert_eq!(watch(900, true, |_| [None, at(1000, 1000)]), Some((SideId::Server, 300)));
    }

    #[test]
    fn nobody_is_looked_at_while_nothing_moves() {
        let now = Instant::now();
        let mut stalls = Stalls::new(Limits::default(), now);
        assert_eq!(stalls.next_check(), None);
        stalls.activity(now);
        stalls.activity(now + SECOND);
        assert_eq!(stalls.next_check(), Some(now + SECOND * 3));
        stalls.check([at(1, 1), None], false, now + SECOND * 3);
        assert_eq!(stalls.next_check(), Some(now + SECOND * 6));
        stalls.check([None, None], false, now + SECOND * 6);
        assert_eq!(stalls.next_check(), None);
    }
}
