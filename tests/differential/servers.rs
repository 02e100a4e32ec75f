//! The servers, each started anew for a session; those that need a house of their own, by somebody who listens there.

use std::any::Any;
use std::collections::BTreeMap;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::line::Line;
use super::support::mail_servers::{self, Server};
use super::support::program::{Running, path_of};
use super::support::readers::mail;
use super::support::servers::{Mail, exim4, mailfront};

/// A server as the dialogues have it.
pub(crate) struct Service {
    pub(crate) name: &'static str,
    pub(crate) protocol: &'static str,
    start: fn(&mut Daemons) -> Place,
}

/// The server that reads lines as many in C do, and the bytes that it has room for, with the NUL behind them.
pub(crate) const FGETS: &str = "lines by fgets(3) of 512";
pub(crate) const FGETS_BUFFER: usize = 512;

/// Every one.
pub(crate) static ALL: &[Service] = &[
    Service { name: "lines, as qmail reads them", protocol: "smtp", start: |_| small("smtp", "lf") },
    Service { name: FGETS, protocol: "smtp", start: |_| small("smtp", "512") },
    Service { name: "lines that CR ends as well", protocol: "smtp", start: |_| small("smtp", "cr") },
    Service { name: "lines, as qmail reads them", protocol: "pop3", start: |_| small("pop3", "lf") },
    Service { name: "mailfront", protocol: "smtp", start: |_| words(mailfront()) },
    Service { name: "exim", protocol: "smtp", start: |_| words(exim4()) },
    Service { name: "mailfront", protocol: "pop3", start: |_| house(mail_servers::pop3front()) },
    Service { name: "mailutils", protocol: "pop3", start: |_| house(mail_servers::pop3d()) },
    Service { name: "mailutils", protocol: "imap", start: |_| house(mail_servers::imap4d()) },
    Service { name: "dovecot", protocol: "imap", start: |daemons| daemons.dovecot("imap") },
    Service { name: "dovecot", protocol: "pop3", start: |daemons| daemons.dovecot("pop3") },
    Service { name: "dovecot", protocol: "sieve", start: |daemons| daemons.dovecot("sieve") },
    Service { name: "dovecot", protocol: "lmtp", start: |daemons| daemons.dovecot("lmtp") },
    Service { name: "leafnode", protocol: "nntp", start: |_| house(mail_servers::leafnode()) },
];

/// What several services share.
#[derive(Default)]
struct Daemons {
    dovecot: Option<Arc<Server>>,
}

/// All of them, ready to be reached.
pub(crate) struct Servers(BTreeMap<(&'static str, &'static str), Place>);

/// Where a server is, and whatever must be there as long as it is.
struct Place {
    way: Way,
    _kept: Box<dyn Any + Send + Sync>,
}

enum Way {
    /// These words run it.
    Words(Vec<String>),
    /// It is run for whoever connects.
    Port(u16),
    Path(PathBuf),
}

/// A server at work for one session.
pub(crate) struct Served {
    pub(crate) line: Line,
    /// If it was run here.
    pub(crate) process: Option<Running>,
}

impl Servers {
    /// Those that these dialogues need.
    pub(crate) fn start<'a>(needed: impl Iterator<Item = &'a Service>) -> Self {
        let mut daemons = Daemons::default();
        Self(needed.map(|service| ((service.name, service.protocol), (service.start)(&mut daemons))).collect())
    }

    pub(crate) fn serve(&self, service: &Service) -> Served {
        match &self.0[&(service.name, service.protocol)].way {
            Way::Words(words) => run(words),
            Way::Port(port) => {
                let socket = TcpStream::connect(("127.0.0.1", *port)).unwrap();
                socket.set_nodelay(true).unwrap();
                Served { line: Line::socket(socket), process: None }
            }
            Way::Path(path) => Served { line: Line::socket(UnixStream::connect(path).unwrap()), process: None },
        }
    }
}

impl Daemons {
    fn dovecot(&mut self, protocol: &str) -> Place {
        let server = self.dovecot.get_or_insert_with(|| {
            // It speaks all its protocols, whichever is named.
            let server = mail_servers::dovecot("imap");
            server.put(&[mail(7), mail(8)]);
            Arc::new(server)
        });
        Place::new(Way::Path(server.file(&format!("run/dovecot/{protocol}.socket"))), Arc::clone(server))
    }
}

impl Place {
    fn new(way: Way, kept: impl Any + Send + Sync) -> Self {
        Self { way, _kept: Box::new(kept) }
    }
}

fn run(words: &[String]) -> Served {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = Running::start(&mut command);
    let (input, output) = (process.child().stdout.take().unwrap(), process.child().stdin.take().unwrap());
    Served { line: Line::new(input.into(), output.into()), process: Some(process) }
}

/// The small server of differential/lines.py, which reads in this way.
fn small(protocol: &str, reads: &str) -> Place {
    let words = [&path_of("python3"), "-ISc", include_str!("lines.py"), protocol, reads];
    Place::new(Way::Words(words.map(str::to_owned).to_vec()), ())
}

fn words(mail: Mail) -> Place {
    Place::new(Way::Words(mail.prog.clone()), mail)
}

fn house(server: Server) -> Place {
    server.put(&[mail(7), mail(8)]);
    let listening = server.listens();
    Place::new(Way::Port(listening.port), (listening, server))
}
