//! Ports for programs that cannot choose one and tell it.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::Mutex;

/// Below those from which the kernel gives ports away (net.ipv4.ip_local_port_range, from 32768 on), so that nobody who
/// asks for any port, or only calls out, is given one of these before its program has taken it.
const FIRST: u16 = 12_000;
const LAST: u16 = 31_999;

/// What says, all over the machine, that a test has taken a port; as long as the test program runs.
static TAKEN: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// A port where nobody listens now, and which no other test is given.
pub(crate) fn free_port() -> u16 {
    let start =
        FIRST + u16::try_from(std::process::id().wrapping_mul(67) % u32::from(LAST - FIRST)).unwrap_or_default();
    let mut ports = (start..=LAST).chain(FIRST..start);
    ports.find(|port| take(*port)).expect("a free port")
}

fn take(port: u16) -> bool {
    let name = format!("starttls-wrapper-test-port-{port}");
    let claimed = SocketAddr::from_abstract_name(name).and_then(|name| UnixListener::bind_addr(&name));
    let is_free = claimed.is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok();
    TAKEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(claimed);
    is_free
}
