//! The TLS server at host and port, with the test in its place.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
use starttls_wrapper::proxy::{self, Header};

use super::certificates::Site;
use super::peer::Peer;
use super::{PATIENCE, readable, tls};

/// A listening backend.
pub(crate) struct Backend {
    listener: TcpListener,
}

impl Backend {
    pub(crate) fn new() -> Self {
        Self::on("127.0.0.1:0")
    }

    /// At this address.
    pub(crate) fn on(address: &str) -> Self {
        Self { listener: TcpListener::bind(address).unwrap() }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// The wrapper's connection, before anything is said.
    #[track_caller]
    pub(crate) fn accept(&self) -> TcpStream {
        assert!(readable(&self.listener, PATIENCE), "nobody connects to the backend");
        self.listener.accept().unwrap().0
    }

    /// The wrapper's connection, once the first TLS record of it was heard.
    #[track_caller]
    pub(crate) fn accept_and_hear_client_hello(&self) -> TcpStream {
        let mut connection = self.accept();
        let mut header = [0; 5];
        connection.read_exact(&mut header).unwrap();
        let length = u16::from_be_bytes([header[3], header[4]]);
        connection.read_exact(&mut vec![0; length.into()]).unwrap();
        connection
    }

    /// The wrapper's connection, with TLS, greeted.
    #[track_caller]
    pub(crate) fn serve(&self, site: &Site) -> Peer {
        let mut peer = tls::accept(site, self.accept()).expect("the wrapper shakes hands");
        peer.says("220 inner.example ESMTP\r\n");
        peer
    }

    /// Whether nobody has connected that was not [accepted](Self::accept).
    pub(crate) fn is_untouched(&self) -> bool {
        !readable(&self.listener, std::time::Duration::ZERO)
    }
}

/// Reads a PROXY header as a receiver does, and nothing behind it.
pub(crate) fn header(peer: &mut impl Read) -> Header {
    let mut seen = Vec::new();
    loop {
        match proxy::missing(&seen).expect("it is a header") {
            0 => return proxy::parse(&seen).expect("it is a header"),
            missing => {
                let mut piece = vec![0; missing];
                peer.read_exact(&mut piece).expect("the header comes");
                seen.extend(piece);
            }
        }
    }
}

/// A port where nobody listens, and nobody else can.
pub(crate) struct ClosedPort {
    socket: OwnedFd,
}

impl ClosedPort {
    pub(crate) fn new() -> Self {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
        Self { socket }
    }

    pub(crate) fn number(&self) -> u16 {
        SocketAddrV4::try_from(getsockname(&self.socket).unwrap()).unwrap().port()
    }
}
