//! The look-up of a name. getaddrinfo(3) has no time limit and reads what name servers send, so a process of its own calls
//! it: one that has no key, no rights, and no more time than is left.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Instant;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_parent_process_death_signal, waitpid};

use super::ConnectFailure;
use crate::message::{Error, SystemReason};
use crate::raw;
use crate::signals::Signals;
use crate::window::gaps;

/// What a look-up may tell, in bytes: a pipe takes so much at once (PIPE_BUF). That is 70 addresses or more.
const MAX_ADDRESSES: usize = 4096;

/// The addresses of a name, as the system sorts them (RFC 6724), looked up by a process that drops its rights first.
pub(super) fn look_up(
    host: &str,
    port: u16,
    until: Instant,
    signals: &Signals,
    drop_rights: impl FnOnce() -> Result<(), Error>,
) -> Result<Vec<SocketAddr>, ConnectFailure> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    let Some(child) = raw::fork(&[])? else {
        raw::close(&gaps(&[writer.as_raw_fd()]));
        let ready = drop_rights().map_err(io::Error::other);
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
        let _ = rustix::io::write(&writer, &encode(ready.and_then(|()| (host, port).to_socket_addrs())));
        raw::exit(0);
    };
    drop(writer);
    let answer = hear(&reader, until, signals);
    end(child);
    decode(&answer?)
}

/// Its answer, if there is one in time.
fn hear(reader: &OwnedFd, until: Instant, signals: &Signals) -> Result<Vec<u8>, ConnectFailure> {
    while !signals.wait(Some(reader.as_fd()), Some(until)).map_err(io::Error::other)? {
        if signals.is_end_requested() {
            return Err(ConnectFailure::Terminated);
        }
        if Instant::now() >= until {
            return Err(io::Error::other("the look-up took too long").into());
        }
    }
    let mut answer = vec![0; MAX_ADDRESSES];
    let length = rustix::io::retry_on_intr(|| rustix::io::read(reader, &mut answer[..]))?;
    answer.truncate(length);
    Ok(answer)
}

fn end(child: Pid) {
    let _ = kill_process(child, Signal::KILL);
    let _ = rustix::io::retry_on_intr(|| waitpid(Some(child), WaitOptions::empty()));
}

/// The addresses, a line each; or `-` and the reason. What does not fit is left out.
fn encode(found: io::Result<impl Iterator<Item = SocketAddr>>) -> Vec<u8> {
    let mut told = Vec::new();
    match found {
        Ok(addresses) => {
            for line in addresses.map(|address| format!("{address}\n")) {
                if told.len() + line.len() <= MAX_ADDRESSES {
                    told.extend_from_slice(line.as_bytes());
                }
            }
        }
        Err(why) => told.extend_from_slice(format!("-{}", SystemReason(&why)).as_bytes()),
    }
    told
}

fn decode(told: &[u8]) -> Result<Vec<SocketAddr>, ConnectFailure> {
    let text = String::from_utf8_lossy(told);
    if let Some(why) = text.strip_prefix('-') {
        return Err(io::Error::other(why.to_owned()).into());
    }
    let addresses: Vec<SocketAddr> = text.lines().filter_map(|line| line.parse().ok()).collect();
    if addresses.is_empty() {
        return Err(io::Error::other("the look-up found no address").into());
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_reasons_come_back_as_they_were() {
        let addresses: Vec<SocketAddr> = ["192.0.2.1:25", "[2001:db8::1]:25", "[fe80::1%2]:25"]
            .iter()
            .map(|address| address.parse().expect("an address"))
            .collect();
        assert!(matches!(decode(&encode(Ok(addresses.clone().into_iter()))), Ok(found) if found == addresses));
        let failed = encode(Err::<std::vec::IntoIter<SocketAddr>, _>(io::Error::other("no such name")));
        assert!(matches!(decode(&failed), Err(ConnectFailure::Failed(why)) if why.to_string() == "no such name"));
        assert!(decode(b"").is_err());
    }

    #[test]
    fn addresses_that_do_not_fit_are_left_out_whole() {
        let address: SocketAddr = "[2001:db8:1111:2222:3333:4444:5555:6666]:25".parse().expect("an address");
        let length = format!("{address}\n").len();
        let most = MAX_ADDRESSES / length;
        for count in [most - 1, most, most + 1] {
            let told = encode(Ok(std::iter::repeat_n(address, count)));
            assert_eq!(decode(&told).map_or(0, |found| found.len()), count.min(most));
        }
    }
}
