//! Several addresses of one server, of which some may swallow everything: each gets its share of the time, and the first
//! that answers wins (RFC 8305, sections 4 and 5).

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::sockopt::{set_tcp_nodelay, socket_error};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};

use super::ConnectFailure;
use crate::message::SystemReason;
use crate::signals::Signals;

/// How long an address keeps the next one waiting that neither answers nor refuses, as RFC 8305 recommends it.
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The first of these that answers before the time is over. The socket is non-blocking.
pub(super) fn connect(addresses: &[SocketAddr], until: Instant, signals: &Signals) -> Result<OwnedFd, ConnectFailure> {
    let mut race = Race { waiting: interleaved(addresses), ..Race::default() };
    let mut next = Instant::now();
    loop {
        let now = Instant::now();
        if now >= until {
            race.time_is_over();
        } else if race.under_way.is_empty() || now >= next {
            race.start();
            next = now + ATTEMPT_DELAY;
        }
        if let Some(connection) = race.won.take() {
            let _ = set_tcp_nodelay(&connection, true);
            return Ok(connection);
        }
        if race.is_lost() {
            return Err(race.reasons().into());
        }
        let wake = if race.waiting.is_empty() { until } else { until.min(next) };
        if race.wait(signals, wake)? {
            // The next one need not wait for one that has failed.
            next = now;
        }
    }
}

/// The attempts, by how far they are.
#[derive(Default)]
struct Race {
    waiting: VecDeque<SocketAddr>,
    under_way: Vec<(SocketAddr, OwnedFd)>,
    failed: Vec<(SocketAddr, io::Error)>,
    won: Option<OwnedFd>,
}

impl Race {
    /// Starts the next attempt that can begin.
    fn start(&mut self) {
        while let Some(address) = self.waiting.pop_front() {
            match begin(address) {
                Ok(socket) => return self.under_way.push((address, socket)),
                Err(why) => self.failed.push((address, why.into())),
            }
        }
    }

    fn is_lost(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_empty()
    }

    fn time_is_over(&mut self) {
        let late = self.under_way.drain(..).map(|(address, _)| address).chain(self.waiting.drain(..));
        self.failed.extend(late.map(|address| (address, io::ErrorKind::TimedOut.into())));
    }

    /// Waits for one of those under way. True if one has failed.
    fn wait(&mut self, signals: &Signals, until: Instant) -> Result<bool, ConnectFailure> {
        let sockets = self.under_way.iter().map(|(_, socket)| PollFd::new(socket, PollFlags::OUT));
        let ready = signals.wait_among(sockets.collect(), Some(until)).map_err(io::Error::other)?;
        if signals.is_end_requested() {
            return Err(ConnectFailure::Terminated);
        }
        // From the last one on, so that the places of the others stay.
        for place in ready.iter().rev() {
            let (address, socket) = self.under_way.remove(*place);
            match socket_error(&socket).and_then(|outcome| outcome) {
                Ok(()) => self.won = Some(socket),
                Err(why) => self.failed.push((address, why.into())),
            }
        }
        Ok(!ready.is_empty())
    }

    /// Every reason once, with the first address it is of; alone if there is but one reason.
    fn reasons(&self) -> io::Error {
        let mut reasons: Vec<(String, SocketAddr, usize)> = Vec::new();
        for (address, why) in &self.failed {
            let why = SystemReason(why).to_string();
            match reasons.iter_mut().find(|(known, ..)| *known == why) {
                Some((.., count)) => *count += 1,
                None => reasons.push((why, *address, 1)),
            }
        }
        let one = |(why, address, count): &(String, SocketAddr, usize)| match count {
            1 => format!("{why} ({})", address.ip()),
            _ => format!("{why} ({} and {} more)", address.ip(), count - 1),
        };
        io::Error::other(match &reasons[..] {
            [(why, ..)] => why.clone(),
            _ => reasons.iter().map(one).collect::<Vec<_>>().join(", "),
        })
    }
}

/// A connection that is made, or will be.
fn begin(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(why) => Err(why),
    }
}

/// The same addresses, one of each family in turn (RFC 8305, section 4): that a family does not work here is the most
/// frequent fault.
fn interleaved(addresses: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let first = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (mut these, mut those): (Vec<_>, Vec<_>) =
        addresses.iter().copied().partition(|address| address.is_ipv4() == first);
    let common = these.len().min(those.len());
    let (rest, others) = (these.split_off(common), those.split_off(common));
    let pairs = these.into_iter().zip(those).flat_map(|(this, that)| [this, that]);
    pairs.chain(rest).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|ip| SocketAddr::new(ip.parse().expect("an address"), 25)).collect()
    }

    #[test]
    fn families_take_turns() {
        for (given, tried) in [
            (&[][..], &[][..]),
            (&["::1", "::2", "::3", "192.0.2.1"], &["::1", "192.0.2.1", "::2", "::3"]),
            (&["192.0.2.1", "192.0.2.2", "::1", "::2", "::3"], &["192.0.2.1", "::1", "192.0.2.2", "::2", "::3"]),
        ] {
            assert_eq!(interleaved(&addresses(given)), addresses(tried), "{given:?}");
        }
    }

    #[test]
    fn every_reason_is_told_once() {
        let refused = || io::Error::from(Errno::CONNREFUSED);
        let race = |failed: Vec<io::Error>| {
            let addresses = addresses(&["::1", "192.0.2.1", "192.0.2.2"]);
            Race { failed: addresses.into_iter().zip(failed).collect(), ..Race::default() }.reasons().to_string()
        };
        assert_eq!(race(vec![refused()]), "connection refused");
        assert_eq!(race(vec![refused(), refused()]), "connection refused");
        let late = io::ErrorKind::TimedOut.into();
        assert_eq!(
            race(vec![late, refused(), refused()]),
            "timed out (::1), connection refused (192.0.2.1 and 1 more)"
        );
    }
}
