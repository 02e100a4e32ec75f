//! The session of a row: the plaintext side says its lines from a file, and the server notes what it sees.

use std::io::Read;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::thread;

use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
use std::net::{Ipv4Addr, SocketAddrV4};

use super::Row;
use super::support::backend::{Backend, header};
use super::support::caller::Call;
use super::support::certificates::{Flaw, Site};
use super::support::peer::Peer;
use super::support::tls::TLS12;
use super::support::tls_server::Server;

/// What everybody saw; nothing, if the session broke.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) heard: String,
    pub(crate) server: String,
    pub(crate) told: String,
    pub(crate) end: String,
}

/// What the server does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Serves {
    /// TLS from the first byte, and one answer to one line.
    Tls,
    /// The same, not above TLS 1.2.
    Old,
    /// The same without a hybrid group.
    Classical,
    /// The same with a certificate for elsewhere.example.
    Elsewhere,
    /// The same with one that nobody vouches for.
    Unknown,
    /// The same, and it wants to know who calls.
    Demanding,
    /// The same without a close_notify at the end.
    Cutting,
    /// It accepts the connection, and that is all.
    Silent,
    /// It does not even accept it.
    Full,
    /// SMTP with STARTTLS.
    Smtp,
    /// SMTP without; where it is called again, in plaintext.
    Plain,
    /// SMTP without, and TLS from the first byte on the other port.
    Both,
    /// It is not called.
    Nothing,
}

/// Where a row is played.
struct Place {
    row: &'static Row,
    site: Site,
    server: Backend,
    other: Backend,
    full: (OwnedFd, u16, Vec<TcpStream>),
}

/// Plays a row.
pub(crate) fn play(row: &'static Row) -> Seen {
    let place = Place::new(row);
    let (ended, server) = thread::scope(|scope| {
        let server = scope.spawn(|| place.serve());
        let says: String =
            row.says.split("; ").filter(|line| !line.is_empty()).map(|line| format!("{line}\r\n")).collect();
        let ended = place.call().run(says);
        (ended, server.join().unwrap())
    });
    assert!(place.server.is_untouched() && place.other.is_untouched(), "it called once too often: {}", row.given);
    let log = ended.log.lines().map(|line| line.strip_prefix("tlsify: ").unwrap_or(line));
    // What this machine's kernel can is told at -v 3 only, and numbers differ.
    let log = log.filter(|line| !line.contains("confines the session")).map(|line| line.split(" in=").next().unwrap());
    let end = [ended.status.to_string()].into_iter().chain(log.map(str::to_owned)).collect::<Vec<_>>().join("; ");
    let heard = ended.heard.lines().map(str::trim_end).collect::<Vec<_>>().join("; ");
    let [heard, server, told, end] = [&heard, &server, ended.last(), &end].map(|text| place.hide(text));
    Seen { heard, server, told, end }
}

impl Place {
    fn new(row: &'static Row) -> Self {
        let site = Site::flawed(match row.serves {
            Serves::Elsewhere => Flaw::WrongName,
            Serves::Unknown => Flaw::Untrusted,
            _ => Flaw::None,
        });
        Self { row, site, server: Backend::new(), other: Backend::new(), full: full() }
    }

    /// What a row calls by a name in braces.
    fn names(&self) -> [(&'static str, String); 4] {
        let port = if self.row.serves == Serves::Full { self.full.1 } else { self.server.port() };
        [
            ("{dir}", self.site.dir.path().display().to_string()),
            ("{port}", port.to_string()),
            ("{other}", self.other.port().to_string()),
            ("{pin}", self.site.pin()),
        ]
    }

    fn hide(&self, text: &str) -> String {
        self.names().iter().fold(text.to_owned(), |text, (name, value)| text.replace(value, name))
    }

    fn call(&self) -> Call {
        let given =
            self.names().iter().fold(self.row.given.to_owned(), |text, (name, value)| text.replace(name, value));
        let (words, prog) = given.split_once(" -- ").unwrap_or((&given, ""));
        let mut words = words.split(' ').peekable();
        let mut variables = Vec::new();
        while let Some(variable) = words.next_if(|word| word.starts_with(|c: char| c.is_ascii_uppercase())) {
            variables.push(variable.split_once('=').unwrap());
        }
        let call = Call::new(&words.collect::<Vec<_>>());
        let call = if prog.is_empty() { call } else { call.prog(&["sh", "-c", prog]) };
        variables.into_iter().fold(call, |call, (name, value)| call.env(name, value))
    }

    /// The server's part: what it saw.
    fn serve(&self) -> String {
        let stream = || Peer::tcp(self.server.accept());
        match self.row.serves {
            Serves::Nothing | Serves::Full => String::new(),
            Serves::Silent => {
                self.server.accept().read_to_end(&mut Vec::new()).unwrap();
                "nothing but a ClientHello".into()
            }
            Serves::Smtp => self.smtp(stream(), true),
            Serves::Plain if self.row.given.contains("opportunistic") => {
                let refused = self.smtp(stream(), false);
                format!("{refused} / {}", self.smtp(stream(), false))
            }
            Serves::Plain => self.smtp(stream(), false),
            Serves::Both => {
                let refused = self.smtp(stream(), false);
                format!("{refused} / {}", self.tls(Peer::tcp(self.other.accept())))
            }
            _ => self.tls(stream()),
        }
    }

    /// TLS, and one answer to one line.
    fn tls(&self, mut peer: Peer) -> String {
        let mut saw = Vec::new();
        let inside = self.row.given.contains("--proxy-inside");
        if self.row.given.contains("--proxy-protocol") && !inside {
            saw.push(introduced(&mut peer));
        }
        let mut server = Server::new(&self.site);
        server.classical = self.row.serves == Serves::Classical;
        server.demands = self.row.serves == Serves::Demanding;
        if self.row.serves == Serves::Old {
            server.versions = vec![&TLS12];
        }
        let (mut peer, facts) = match server.accept(peer) {
            Ok(accepted) => accepted,
            Err(why) => return why.to_string(),
        };
        saw.push(facts);
        if inside {
            saw.push(introduced(&mut peer));
        }
        match peer.line() {
            Ok(Some(line)) => saw.push(line),
            end => {
                saw.push(ending(end));
                return saw.join(", ");
            }
        }
        peer.says("answer\r\n");
        if self.row.serves == Serves::Cutting {
            // Whoever leaves with something unread resets the connection, and that is another thing.
            peer.hears_end();
            drop(peer.take_transport());
            return saw.join(", ");
        }
        peer.says_no_more();
        saw.push(ending(peer.line()));
        saw.join(", ")
    }

    /// SMTP, with what no client may hear before TLS.
    fn smtp(&self, mut peer: Peer, offers: bool) -> String {
        let mut saw = Vec::new();
        peer.says("220 network's.word\r\n");
        loop {
            let line = match peer.line() {
                Ok(Some(line)) => line,
                end => {
                    saw.push(ending(end));
                    return saw.join(", ");
                }
            };
            saw.push(line.clone());
            match line.split_whitespace().next().unwrap_or_default() {
                "EHLO" if peer.is_tls() => peer.says("250-inside\r\n250-STARTTLS\r\n250 SIZE\r\n"),
                "EHLO" => peer.says("250-network's.word\r\n250 AUTH EVIL\r\n"),
                "STARTTLS" if offers => {
                    peer.says("220 go\r\n");
                    let (inside, facts) = Server::new(&self.site).accept(peer).unwrap();
                    peer = inside;
                    saw.push(facts);
                }
                "STARTTLS" => peer.says("502 no\r\n"),
                "QUIT" => {
                    peer.says("221 bye\r\n");
                    peer.says_no_more();
                }
                _ => peer.says("250 ok\r\n"),
            }
        }
    }
}

fn ending(end: std::io::Result<Option<String>>) -> String {
    match end {
        Ok(_) => "end".into(),
        Err(why) if why.kind() == std::io::ErrorKind::UnexpectedEof => "cut".into(),
        Err(why) => why.to_string(),
    }
}

fn introduced(peer: &mut Peer) -> String {
    let ends = header(peer).ends;
    ends.map_or("PROXY LOCAL".into(), |ends| format!("PROXY {} {}", ends.client, ends.server))
}

/// A listener whose queue is full, so that the kernel drops whoever knocks.
fn full() -> (OwnedFd, u16, Vec<TcpStream>) {
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    listen(&listener, 0).unwrap();
    let port = SocketAddrV4::try_from(getsockname(&listener).unwrap()).unwrap().port();
    let address = (Ipv4Addr::LOCALHOST, port).into();
    let patience = std::time::Duration::from_millis(50);
    let waiting = (0..4).map_while(|_| TcpStream::connect_timeout(&address, patience).ok()).collect();
    (listener, port, waiting)
}
