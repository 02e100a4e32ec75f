//! The way to a server with a name: its addresses, some of which do not answer, and the look-up. As root, for a view of
//! the file system in which names are what the test says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]

mod support;

use std::fs;
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, listen, socket, socket_with};
use rustix::process::{Pid, Signal, kill_process};
use starttls_wrapper::address::{ATTEMPT_DELAY, CONNECT_TIMEOUT};
use support::backend::Backend;
use support::certificates::Site;
use support::port::free_port;
use support::proc;
use support::wrapper::{NOT_AVAILABLE, Wrapper};

/// The name of the server.
const NAME: &str = "server.example";

/// Long before the next address has its turn, if none before it was silent; and a loaded machine is slow.
const SOON: Duration = Duration::from_secs(4);

#[test]
fn an_address_that_is_silent_keeps_the_next_one_waiting_for_a_moment_only() {
    for (silent, refusing) in [(&[2][..], None), (&[2, 3], None), (&[2], Some(3)), (&[], Some(2))] {
        let (site, backend) = (Site::new(), Backend::on("127.0.0.5:0"));
        let _silent: Vec<_> = silent.iter().map(|last| Silent::at([127, 0, 0, *last], backend.port())).collect();
        let addresses = silent.iter().copied().chain(refusing).chain([5]);
        let hosts: String = addresses.map(|last| format!("127.0.0.{last} {NAME}\n")).collect();
        let place = Place::new(&hosts);
        let mut session = place.around(backend_named(&site, backend.port())).start();
        let _plaintext_server = session.opening();
        let began = Instant::now();
        session.starttls_to(&backend, &site);
        let (took, least) = (began.elapsed(), ATTEMPT_DELAY * silent.len() as u32);
        assert!(took >= least && took < least + SOON, "{hosts}: it took {took:?}");
    }
}

#[test]
fn the_server_of_connect_is_reached_so_as_well() {
    let (site, server) = (Site::new(), Backend::on("127.0.0.5:0"));
    let _silent = Silent::at([127, 0, 0, 2], server.port());
    let place = Place::new(&format!("127.0.0.2 {NAME}\n127.0.0.5 {NAME}\n"));
    let address = format!("{NAME}:{}", server.port());
    let wrapper = Wrapper::respawn(&site).options(&["--connect", &address]);
    let mut session = place.around(wrapper).start_prog(&[]);
    let began = Instant::now();
    let mut plain = support::peer::Peer::tcp(server.accept());
    assert!(began.elapsed() < ATTEMPT_DELAY + SOON);
    plain.says("220 plain.example ESMTP\r\n");
    session.client.hears("220 plain.example ESMTP\r\n");
}

/// And the client is told so in time.
#[test]
fn if_no_address_answers_each_reason_is_told() {
    let (site, port) = (Site::new(), free_port());
    let _silent = Silent::at([127, 0, 0, 2], port);
    let place = Place::new(&format!("127.0.0.2 {NAME}\n127.0.0.3 {NAME}\n127.0.0.4 {NAME}\n"));
    let mut session = place.around(backend_named(&site, port)).start();
    let _plaintext_server = session.opening();
    let began = Instant::now();
    session.client.says("STARTTLS\r\n");
    session.client.hears(NOT_AVAILABLE);
    let took = began.elapsed();
    assert!(took >= CONNECT_TIMEOUT && took < CONNECT_TIMEOUT + SOON, "it took {took:?}");
    let log = &session.wrapper.log;
    let reasons = "connection refused (127.0.0.3 and 1 more), timed out (127.0.0.2)";
    log.line_with(&format!("warning: unable to connect to {NAME} port {port}: {reasons}\n"));
}

#[test]
fn a_look_up_has_no_more_time_than_a_connection_and_no_rights() {
    let site = Site::new();
    let place = Place::new("").with_silent_name_server([127, 0, 0, 7]);
    let mut session = place.around(backend_named(&site, 25)).start();
    let _plaintext_server = session.opening();
    let keeper = session.wrapper.pid();
    let began = Instant::now();
    session.client.says("STARTTLS\r\n");
    let look_up = place.look_up_of(keeper);
    assert!(proc::status(look_up, "Uid").starts_with("10000"), "a uid of its own");
    assert_eq!(proc::status(look_up, "CapEff"), "0000000000000000");
    let secret = site.secret();
    let limbs: Vec<u8> = secret.iter().rev().copied().collect();
    assert!(proc::memory_holds(keeper, &secret) || proc::memory_holds(keeper, &limbs), "the keeper has the key");
    assert!(!proc::memory_holds(look_up, &secret) && !proc::memory_holds(look_up, &limbs), "the look-up has not");
    session.client.hears(NOT_AVAILABLE);
    let took = began.elapsed();
    assert!(took >= CONNECT_TIMEOUT && took < CONNECT_TIMEOUT + SOON, "it took {took:?}");
    let log = &session.wrapper.log;
    log.line_with(&format!("warning: unable to connect to {NAME} port 25: the look-up took too long\n"));
    // Of the look-up nothing is left.
    proc::until(|| proc::children(keeper).len() == 2);
}

#[test]
fn a_name_that_is_not_there_is_said_to_be_so() {
    let site = Site::new();
    let place = Place::new("").with_silent_name_server([127, 0, 0, 6]);
    let mut session = place.around(backend_named(&site, 25)).start();
    let _plaintext_server = session.opening();
    session.client.says("STARTTLS\r\n");
    place.says_no_such_name();
    session.client.hears(NOT_AVAILABLE);
    let log = &session.wrapper.log;
    log.line_with(&format!("warning: unable to connect to {NAME} port 25: failed to lookup address information: "));
}

#[test]
fn who_is_told_to_end_does_not_wait_for_a_name_or_a_connection() {
    let site = Site::new();
    let port = free_port();
    let _silent = Silent::at([127, 0, 0, 2], port);
    let named = Place::new(&format!("127.0.0.2 {NAME}\n"));
    let unnamed = Place::new("").with_silent_name_server([127, 0, 0, 8]);
    for place in [named, unnamed] {
        let mut session = place.around(backend_named(&site, port)).start();
        let _plaintext_server = session.opening();
        let keeper = session.wrapper.pid();
        let before = attempts(port);
        session.client.says("STARTTLS\r\n");
        if place.resolver.is_some() {
            place.look_up_of(keeper);
        } else {
            proc::until(|| attempts(port) > before);
        }
        let began = Instant::now();
        kill_process(Pid::from_raw(keeper.cast_signed()).unwrap(), Signal::TERM).unwrap();
        assert_eq!(session.wrapper.wait(), 128 + 15);
        assert!(began.elapsed() < SOON);
        proc::until(|| proc::group(keeper).is_empty());
        assert!(!session.wrapper.log.whole().contains("unable to connect"));
    }
}

fn backend_named(site: &Site, port: u16) -> Wrapper {
    let wrapper = Wrapper::bare(&[NAME, &port.to_string()]).option("--backend-ca").option(site.ca()).site(site);
    wrapper.options(&["--backend-name", "localhost"])
}

/// Where names are what the test says.
struct Place {
    hosts: PathBuf,
    resolver: Option<UdpSocket>,
}

impl Place {
    fn new(hosts: &str) -> Self {
        let name = format!("hosts-{}-{:?}", std::process::id(), thread::current().id());
        let path = std::env::temp_dir().join(name + &hosts.len().to_string());
        fs::write(&path, hosts).unwrap();
        Self { hosts: path, resolver: None }
    }

    /// The name server listens, and says nothing.
    fn with_silent_name_server(mut self, ip: [u8; 4]) -> Self {
        self.resolver = Some(UdpSocket::bind((std::net::Ipv4Addr::from(ip), 53)).unwrap());
        self
    }

    fn around(&self, wrapper: Wrapper) -> Wrapper {
        let hosts = self.hosts.to_str().unwrap();
        let name_server = self
            .resolver
            .as_ref()
            .map_or("127.0.0.9".into(), |resolver| resolver.local_addr().unwrap().ip().to_string());
        let script = "mount --bind \"$1\" /etc/hosts
            echo nameserver \"$2\" > \"$1.resolv\" && echo 'options timeout:30' >> \"$1.resolv\"
            mount --bind \"$1.resolv\" /etc/resolv.conf && shift 2 && exec \"$@\"";
        let words = ["unshare", "--mount", "/bin/sh", "-ec", script, "sh", hosts, &name_server];
        wrapper.by_root().behind(&words)
    }

    /// The name server says so from now on (RFC 1035 section 4.1.1: a response, NXDOMAIN).
    fn says_no_such_name(&self) {
        let resolver = self.resolver.as_ref().unwrap().try_clone().unwrap();
        resolver.set_read_timeout(Some(support::PATIENCE)).unwrap();
        thread::spawn(move || {
            let mut packet = [0; 512];
            while let Ok((length, from)) = resolver.recv_from(&mut packet) {
                (packet[2], packet[3]) = (0x81, 0x83);
                resolver.send_to(&packet[..length], from).unwrap();
            }
        });
    }

    /// The process that looks a name up, once it has asked.
    fn look_up_of(&self, keeper: u32) -> u32 {
        assert!(support::readable(self.resolver.as_ref().unwrap(), support::PATIENCE), "nobody asks the name server");
        let session = proc::session_of(keeper);
        let others = proc::children(keeper).into_iter().filter(|child| *child != session);
        let program = |pid| fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        others.into_iter().find(|child| program(*child) == program(keeper)).expect("there is one")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.hosts);
        let _ = fs::remove_file(format!("{}.resolv", self.hosts.display()));
    }
}

/// A listener with no room for one more: the kernel drops what comes.
struct Silent(#[allow(dead_code, reason = "they are held open")] Vec<OwnedFd>);

impl Silent {
    fn at(ip: [u8; 4], port: u16) -> Self {
        let address = SocketAddrV4::new(ip.into(), port);
        let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&listener, &address).unwrap();
        listen(&listener, 0).unwrap();
        let mut held = vec![listener];
        for _ in 0..4 {
            let client = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
            let _ = connect(&client, &address);
            held.push(client);
        }
        Self(held)
    }
}

/// How many connections to this port nobody has answered (SYN_SENT).
fn attempts(port: u16) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let is_attempt = |line: &&str| line.contains(&format!(":{port:04X} 02 "));
    table.lines().filter(is_attempt).count()
}
