//! The session of a row: the client says its lines, and servers that say yes to everything note what they hear.

use std::fs;
use std::net::{Shutdown, TcpStream};
use std::thread;

use super::Row;
use super::heard::{alert, ending, introduced, reply, secured, told};
use super::support::backend::{Backend, header};
use super::support::certificates::{Flaw, Site};
use super::support::peer::Peer;
use super::support::proc;
use super::support::program::{LIBRARY, program};
use super::support::tls::{self, Client, TLS12, TLS13};
use super::support::wrapper::{Prog, Session, WRAPPER, Wrapper};

/// What everybody saw; nothing, if the session broke.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) client: String,
    pub(crate) server: String,
    pub(crate) end: String,
}

/// What is special about the backend.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backing {
    /// Nothing: it is what the wrapper is told.
    Good,
    /// It does not speak TLS unless it is asked.
    Offers,
    /// Its certificate is for elsewhere.example.
    Elsewhere,
    /// Nobody vouches for it.
    Unknown,
}

/// Where a row is played.
struct Place {
    row: &'static Row,
    site: Site,
    /// Another site, elsewhere.example.
    other: Site,
    /// The backend's.
    backing: Site,
    backend: Backend,
    /// The server of --connect.
    plain: Backend,
}

/// Plays a row.
pub(crate) fn play(row: &'static Row) -> Seen {
    let place = Place::new(row);
    let mut session = place.start();
    let (name, line) = (session.client_name(), session.line.try_clone().unwrap());
    session.unshare();
    let client = Peer::over(session.client.take_transport());
    let (client, server) = thread::scope(|scope| {
        let client = scope.spawn(|| place.talk(client, &line));
        let servers = row.server.split(" / ").filter(|server| !server.is_empty()).enumerate();
        let servers: Vec<_> = servers.map(|(number, _)| place.meet(scope, &session, number, &name)).collect();
        let heard: Vec<String> = servers.into_iter().map(|server| server.join().unwrap()).collect();
        (client.join().unwrap(), heard.join(" / "))
    });
    drop(line);
    let all_met = session.has_no_further_server() && place.backend.is_untouched() && place.plain.is_untouched();
    assert!(all_met, "more servers than the row knows: {} ({})", row.option, row.given);
    let end = session.end();
    let log = end.log.lines().map(|line| told(line).to_owned());
    // What this machine's kernel can is told at -v 3 only.
    let lines = log.filter(|line| !line.contains("confines the session"));
    let end = [end.status.to_string()].into_iter().chain(lines).collect::<Vec<_>>().join("; ");
    Seen { client: place.hide(&client), server: place.hide(&server), end: place.hide(&end) }
}

impl Place {
    fn new(row: &'static Row) -> Self {
        let backing = match row.backend {
            Backing::Good | Backing::Offers => Flaw::None,
            Backing::Elsewhere => Flaw::WrongName,
            Backing::Unknown => Flaw::Untrusted,
        };
        let site = Site::new();
        if row.given.contains("{dir}/hashed") {
            fs::create_dir(site.dir.file("hashed")).unwrap();
            fs::copy(site.ca(), site.dir.file("hashed/ca.pem")).unwrap();
            assert!(program("openssl").arg("rehash").arg(site.dir.file("hashed")).status().unwrap().success());
        }
        let (other, backing) = (Site::flawed(Flaw::WrongName), Site::flawed(backing));
        Self { row, site, other, backing, backend: Backend::new(), plain: Backend::new() }
    }

    /// What a row calls by a name in braces.
    fn names(&self) -> [(&'static str, String); 6] {
        [
            ("{library}", LIBRARY.to_owned()),
            ("{dir}", self.site.dir.path().display().to_string()),
            ("{other}", self.other.dir.path().display().to_string()),
            ("{backend}", self.backend.port().to_string()),
            ("{plain}", self.plain.port().to_string()),
            ("{wrapper}", WRAPPER.to_owned()),
        ]
    }

    fn hide(&self, text: &str) -> String {
        self.names().iter().fold(text.to_owned(), |text, (name, value)| text.replace(value, name))
    }

    fn start(&self) -> Session {
        let given =
            self.names().iter().fold(self.row.given.to_owned(), |text, (name, value)| text.replace(name, value));
        let given = if given.contains("{pin}") { given.replace("{pin}", &self.backing.pin()) } else { given };
        let mut words = given.split(' ').peekable();
        let mut variables = Vec::new();
        while let Some(variable) = words.next_if(|word| word.starts_with(|c: char| c.is_ascii_uppercase())) {
            variables.push(variable.split_once('=').unwrap());
        }
        let words: Vec<&str> = words.collect();
        let options = words.iter().position(|word| ["localhost", "--"].contains(word)).unwrap_or(words.len());
        let (operands, prog) = match words.get(options) {
            Some(&"--") => (&[][..], &words[options + 1..]),
            _ => (&words[options..], &[][..]),
        };
        let wrapper = Wrapper::bare(operands).site(&self.site).options(&words[..options]);
        let wrapper = variables.into_iter().fold(wrapper, |wrapper, (name, value)| wrapper.env(name, value));
        let wrapper = if self.row.given.contains("TLS_UID") { wrapper.by_root() } else { wrapper };
        if self.gives("--connect") { wrapper.start_prog(&[]) } else { wrapper.start_between(&[], prog) }
    }

    fn gives(&self, option: &str) -> bool {
        self.row.given.split(' ').any(|word| word == option)
    }

    /// The server that comes as this number: prog or what stands in its place, and the backend after STARTTLS.
    fn meet<'scope>(
        &'scope self,
        scope: &'scope thread::Scope<'scope, '_>,
        session: &Session,
        number: usize,
        client: &str,
    ) -> thread::ScopedJoinHandle<'scope, String> {
        let client = client.to_owned();
        if number > 0 && self.row.given.contains("{backend}") {
            let stream = self.backend.accept();
            return scope.spawn(move || self.serve_behind(stream, &client));
        }
        if self.gives("--connect") {
            let stream = self.plain.accept();
            return scope.spawn(move || self.serve(Peer::tcp(stream), vec![]));
        }
        let prog = session.server();
        let mut heard = self.shown(&prog);
        if self.row.given.contains("TLS_UID") {
            let reader = proc::session_of(session.wrapper.pid());
            let id = |field| proc::status(reader, field).split_whitespace().next().unwrap().to_owned();
            heard.push(format!("read by TLS_UID={} TLS_GID={}", id("Uid"), id("Gid")));
        }
        scope.spawn(move || {
            let mut prog = prog;
            let peer = Peer::over(prog.take_transport());
            self.serve(peer, heard)
        })
    }

    /// The variables of prog that its row shows.
    fn shown(&self, prog: &Prog) -> Vec<String> {
        let names = self.row.shows.split(' ').filter(|name| !name.is_empty());
        let shown = |name: &str| match prog.environment.get(name).map(String::as_str) {
            Some(hash) if hash.starts_with("SHA256:") => format!("{name}=SHA256:{{{} digits}}", hash.len() - 7),
            Some(value) => format!("{name}={value}"),
            None => format!("no {name}"),
        };
        names.map(shown).collect()
    }

    /// A backend's part.
    fn serve_behind(&self, mut stream: TcpStream, client: &str) -> String {
        let mut heard = Vec::new();
        let proxy = self.gives("--proxy-protocol");
        let inside = self.gives("--proxy-inside");
        let mode = ["starttls", "opportunistic", "none"].into_iter().find(|mode| self.gives(mode));
        if proxy && !inside {
            heard.push(introduced(&header(&mut stream), client));
        }
        let mut peer = match mode {
            Some(_) => Peer::tcp(stream),
            None if self.gives("--backend-cert") => tls::accept_known(&self.backing, stream, &[&TLS13]).unwrap(),
            None => tls::accept(&self.backing, stream).unwrap(),
        };
        if mode.is_none() {
            let certificate = peer.tls().peer_certificates().map_or("", |_| " with a certificate");
            heard.push(secured(&peer) + certificate);
        }
        if proxy && inside {
            heard.push(introduced(&header(&mut peer), client));
        }
        self.serve(peer, heard)
    }

    /// Says yes, and notes what it hears.
    fn serve(&self, mut peer: Peer, mut heard: Vec<String>) -> String {
        peer.says_in_vain(format!("{}\r\n", self.row.greeting));
        loop {
            let line = match peer.line() {
                Ok(Some(line)) => line,
                Ok(None) => break heard.push("end".to_owned()),
                Err(_) => break heard.push("cut".to_owned()),
            };
            let word = line.split(' ').next().unwrap_or_default().to_owned();
            heard.push(line);
            match word.as_str() {
                "EHLO" if self.gives("-r") || self.gives("--require-tls") => peer.says("250-mx\r\n250 AUTH PLAIN\r\n"),
                "EHLO" => peer.says("250 mx\r\n"),
                "STARTTLS" if self.row.backend == Backing::Offers => {
                    peer.says("220 go on\r\n");
                    peer = tls::accept_after(&self.backing, peer).unwrap();
                    heard.push(secured(&peer));
                }
                "STARTTLS" => peer.says("502 no\r\n"),
                "QUIT" => {
                    peer.says("221 bye\r\n");
                    break peer.says_no_more();
                }
                _ => peer.says("250 ok\r\n"),
            }
        }
        heard.join(", ")
    }

    /// The client's part.
    fn talk(&self, mut peer: Peer, line: &TcpStream) -> String {
        let mut saw = Vec::new();
        let mut greeted = false;
        for step in self.row.says.split("; ").filter(|step| !step.is_empty()) {
            match step.strip_prefix('<').and_then(|step| step.strip_suffix('>')) {
                Some("hear one line") => {
                    saw.extend(reply(&mut peer));
                    peer.hears_rest();
                    return saw.join("; ");
                }
                Some("cut") => line.shutdown(Shutdown::Write).unwrap(),
                Some(words) if words.starts_with("TLS") => match self.client(words).shake(&mut peer) {
                    Ok(()) => saw.push(self.recognised(&peer)),
                    Err(why) => {
                        saw.push(alert(&why));
                        return saw.join("; ");
                    }
                },
                Some(words) => peer.says(format!("{words}\r\n")),
                None => {
                    if !std::mem::replace(&mut greeted, true) {
                        saw.extend(reply(&mut peer));
                    }
                    peer.says(format!("{step}\r\n"));
                    saw.extend(reply(&mut peer));
                }
            }
        }
        saw.extend(ending(&mut peer));
        saw.join("; ")
    }

    fn client(&self, words: &str) -> Client {
        let client = Client::new(&self.site);
        words.split(' ').skip(1).fold(client, |client, word| match word {
            "1.2" => client.versions(&[&TLS12]),
            "certificate" => client.showing(&self.site),
            "elsewhere" => client.named("elsewhere.example"),
            _ => panic!("a client does not {word}"),
        })
    }

    /// TLS, and whose it is.
    fn recognised(&self, peer: &Peer) -> String {
        let elsewhere = peer.tls().peer_certificates().is_some_and(|shown| shown[0] == self.other.certificate);
        secured(peer) + if elsewhere { " with elsewhere.example" } else { "" }
    }
}
