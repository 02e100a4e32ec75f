//! What the tests share: real servers, real clients, and a voice for a test that plays both parties itself.
//!
//! Nothing here sleeps: whoever waits, waits for a descriptor, at most for [`PATIENCE`]. Every process started is
//! ended by its owner's `Drop`.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub(crate) mod backend;
pub(crate) mod caller;
pub(crate) mod certificates;
pub(crate) mod chance;
pub(crate) mod clients;
pub(crate) mod databases;
pub(crate) mod der;
pub(crate) mod mail_servers;
pub(crate) mod peer;
pub(crate) mod port;
pub(crate) mod proc;
pub(crate) mod program;
pub(crate) mod readers;
pub(crate) mod servers;
pub(crate) mod starter;
pub(crate) mod tls;
pub(crate) mod tls_server;
pub(crate) mod wrapper;

/// How long a test waits for what must come. A machine under load is slow; nothing here takes a minute.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until there is something to read. False if it does not come in time.
pub(crate) fn readable(fd: impl AsFd, patience: Duration) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let limit = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
    rustix::io::retry_on_intr(|| poll(&mut fds, Some(&limit))).expect("poll(2) works") > 0
}
