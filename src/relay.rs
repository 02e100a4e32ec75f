//! The driver: it obeys the session's orders over real descriptors and keeps the deadlines.
//!
//! Here and below is the only door to mio, and the only place that asks the clock. What the bytes mean is the
//! session's affair.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cli::{Backend, Config, Inside};
use crate::message::{self, Error, Quoted};
use crate::session::{Limit, Order, Session, Surplus};
use crate::side::Side;
use crate::tls::{Facts, Heard, Leg, Trust, Welcome};
use crate::window::{self, Answer, Ask, Window};

mod carry;
mod reactor;
mod report;

pub use carry::{HALF_CLOSED, LAST_WORDS, LINGER};
use reactor::{Reactor, Who};
pub use report::Report;

/// How long the backend may take from its connection to the end of its greeting. The client waits meanwhile.
pub const BACKEND_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a fresh server may take to greet, or to answer the replayed prefix (RFC 5321 section 4.5.3.2.1).
pub const FRESH_TIMEOUT: Duration = Duration::from_secs(300);

/// The session's process, once its descriptors are its own.
pub struct Relay<'a> {
    config: &'a Config,
    window: Arc<Window>,
    session: Session,
    reactor: Reactor,
    client: Side,
    server: Option<Side>,
    backend: Option<Side>,
    limit: Option<(Limit, Instant)>,
    report: Report,
}

/// What follows the dialogue.
enum Next {
    PassThrough,
    Close,
}

impl<'a> Relay<'a> {
    /// Gets ready to listen.
    ///
    /// # Errors
    /// [`Error::Environment`] if the client's descriptors cannot be waited for, [`Error::System`].
    pub fn new(
        config: &'a Config,
        window: Window,
        client: Side,
        session: Session,
        report: Report,
    ) -> Result<Self, Error> {
        let window = Arc::new(window);
        let reactor = Reactor::new(Arc::clone(&window))?;
        reactor.register(Who::Client, &client)?;
        Ok(Self { config, window, session, reactor, client, server: None, backend: None, limit: None, report })
    }

    /// The whole session. Returns the exit status as far as the session decides it; zero leaves it to prog.
    ///
    /// # Errors
    /// Whatever ended the session before its time.
    pub fn run(mut self) -> Result<u8, Error> {
        if let Some(server) = self.ask_for_side(&Ask::Spawn(None))? {
            self.serve_with(server)?;
            if let Next::PassThrough = self.dialogue()? {
                self.pass_through()?;
            }
        }
        self.server = None;
        carry::close(&mut self.reactor, &mut self.client)?;
        self.report.write(self.config.verbosity, self.session.protocol(), self.session.replayed());
        Ok(self.report.status())
    }

    /// Listens to both sides until the session has heard enough.
    fn dialogue(&mut self) -> Result<Next, Error> {
        loop {
            while let Some(order) = self.session.next_order() {
                if let Some(next) = self.obey(order)? {
                    return Ok(next);
                }
            }
            if self.client.is_lost() {
                return Ok(Next::Close);
            }
            if self.client.flush() && (self.hear_server() || self.hear_client()) {
                continue;
            }
            self.wait_for_more()?;
        }
    }

    fn hear_client(&mut self) -> bool {
        let mut buffer = [0; PIECE];
        let room = self.session.client_room().min(PIECE);
        if room == 0 {
            return false;
        }
        match self.client.read(buffer.get_mut(..room).unwrap_or_default()) {
            Ok(Heard::Nothing) => return false,
            Ok(Heard::Bytes(count)) => {
                self.report.from_client += count as u64;
                self.session.client_says(buffer.get(..count).unwrap_or_default());
            }
            Ok(Heard::End | Heard::Cut) => self.session.client_closed(),
            Err(_) => self.client.lose(),
        }
        true
    }

    fn hear_server(&mut self) -> bool {
        let mut buffer = [0; PIECE];
        let room = self.session.server_room().min(PIECE);
        let Some(server) = self.server.as_mut().filter(|_| room > 0) else { return false };
        match server.read(buffer.get_mut(..room).unwrap_or_default()) {
            Ok(Heard::Nothing) => return false,
            Ok(Heard::Bytes(count)) => self.session.server_says(buffer.get(..count).unwrap_or_default()),
            Ok(Heard::End | Heard::Cut) | Err(_) => self.session.server_closed(),
        }
        true
    }

    fn wait_for_more(&mut self) -> Result<(), Error> {
        let limit = self.session.limit();
        if limit != self.limit.map(|(running, _)| running) {
            self.limit = limit.map(|limit| (limit, self.end_of(limit)));
        }
        let until = self.limit.map(|(_, until)| until);
        let woken = self.wait(until)?;
        if let (false, Some(limit)) = (woken, limit) {
            self.session.expired(limit);
        }
        Ok(())
    }

    fn end_of(&self, limit: Limit) -> Instant {
        match limit {
            Limit::Deadline => self.report.began() + self.config.tls_deadline,
            Limit::Fresh => Instant::now() + FRESH_TIMEOUT,
        }
    }

    fn wait(&mut self, until: Option<Instant>) -> Result<bool, Error> {
        self.reactor.wait([Some(&mut self.client), self.server.as_mut(), self.backend.as_mut()], until)
    }

    fn obey(&mut self, order: Order) -> Result<Option<Next>, Error> {
        match order {
            Order::ToClient(bytes) => self.tell_client(&bytes),
            Order::ToServer(bytes) => self.tell_server(&bytes),
            Order::Prepare => self.prepare()?,
            Order::DropBackend => self.drop_backend(),
            Order::Upgrade(surplus) => return self.upgrade(surplus),
            Order::Respawn => self.respawn()?,
            Order::PassThrough { to_server, to_client } => {
                self.tell_client(&to_client);
                self.tell_server(&to_server);
                return Ok(Some(Next::PassThrough));
            }
            Order::Close(outcome) => {
                self.report.closed(outcome);
                return Ok(Some(Next::Close));
            }
            Order::Note(note) if note.verbosity() > 1 => message::transcript(self.config.verbosity, note),
            Order::Note(note) => message::warning(self.config.verbosity, note),
        }
        Ok(None)
    }

    fn tell_client(&mut self, bytes: &[u8]) {
        self.report.to_client += bytes.len() as u64;
        self.client.write(bytes);
    }

    fn tell_server(&mut self, bytes: &[u8]) {
        if let Some(server) = &mut self.server {
            server.write(bytes);
        }
    }

    /// Finds out whether TLS can be had, and with a backend reaches it up to the end of its greeting (law 4).
    fn prepare(&mut self) -> Result<(), Error> {
        let ready = self.window.ask(&Ask::Prepare)?.is_some();
        match &self.config.inside {
            Inside::Backend(backend) if ready => {
                let until = Instant::now() + BACKEND_TIMEOUT;
                match self.reach(backend, until)? {
                    Ok(()) => {
                        self.session.prepared(true);
                        self.hear_backend(backend, until)?;
                    }
                    Err(why) => {
                        self.backend_failed(backend, why);
                        self.session.prepared(false);
                    }
                }
            }
            _ => self.session.prepared(ready),
        }
        Ok(())
    }

    /// Connects, and makes sure who the backend is. `Ok(Err)` is the reason why there is no backend.
    fn reach(&mut self, backend: &Backend, until: Instant) -> Result<io::Result<()>, Error> {
        let unreached = || Ok(Err(io::ErrorKind::NotConnected.into()));
        let Some(side) = self.ask_for_side(&Ask::Connect)? else { return unreached() };
        let Some(anchors) = self.window.ask(&Ask::Anchors)? else { return unreached() };
        let trust = Trust { name: &backend.name, anchors: read_anchors(anchors)?, lowest: self.config.tls_min };
        let leg = trust.leg()?;
        self.reactor.register(Who::Backend, &side)?;
        let side = self.backend.insert(side);
        match side.begin_tls(leg, Surplus::none()) {
            Ok(()) => self.handshake(Who::Backend, until),
            Err(why) => Ok(Err(why)),
        }
    }

    fn hear_backend(&mut self, backend: &Backend, until: Instant) -> Result<(), Error> {
        let mut buffer = [0; PIECE];
        while self.session.backend_room() > 0 {
            let room = self.session.backend_room().min(PIECE);
            let Some(side) = &mut self.backend else { return Ok(()) };
            let failure = match side.read(buffer.get_mut(..room).unwrap_or_default()) {
                Ok(Heard::Bytes(count)) => {
                    self.session.backend_says(buffer.get(..count).unwrap_or_default());
                    continue;
                }
                Ok(Heard::Nothing) if self.wait(Some(until))? => continue,
                Ok(Heard::Nothing) => io::ErrorKind::TimedOut.into(),
                Ok(Heard::End | Heard::Cut) => io::ErrorKind::UnexpectedEof.into(),
                Err(why) => why,
            };
            self.backend_failed(backend, failure);
            self.session.backend_failed();
        }
        Ok(())
    }

    fn backend_failed(&mut self, backend: &Backend, why: io::Error) {
        self.drop_backend();
        // If there is no connection, the keeper has said why.
        if why.kind() != io::ErrorKind::NotConnected {
            let what = format!("unable to use the TLS server {} port {}: {}", backend.host, backend.port, Why(&why));
            message::warning(self.config.verbosity, what);
        }
    }

    /// The go-ahead is out. Every byte of the client from here on belongs to TLS.
    fn upgrade(&mut self, surplus: Surplus) -> Result<Option<Next>, Error> {
        let until = Instant::now() + self.config.handshake_timeout;
        while !self.client.flush() {
            if !self.wait(Some(until))? {
                return Err(Error::Timeout(format!("{} did not read the go-ahead", self.report.client)));
            }
        }
        self.drop_server();
        self.window.tell(&Ask::Retire)?;
        if let Some(backend) = self.backend.take() {
            self.reactor.deregister(&backend);
            self.serve_with(backend)?;
        }
        let alpn = self.session.protocol().map_or(&[][..], |protocol| protocol.alpn);
        let leg = Welcome { window: Arc::clone(&self.window), lowest: self.config.tls_min, alpn }.leg()?;
        let shaken = match self.client.begin_tls(leg, surplus) {
            Ok(()) => self.handshake(Who::Client, until)?,
            Err(why) => Err(why),
        };
        if let Err(why) = shaken {
            self.handshake_failed(&why);
            return Ok(Some(Next::Close));
        }
        self.report.handshake_done(self.facts());
        if matches!(self.config.inside, Inside::Backend(_)) {
            self.window.tell(&Ask::Release)?;
        }
        self.session.handshake_done();
        Ok(None)
    }

    /// `Ok(Err)` is the reason why there is no TLS, `TimedOut` among them.
    fn handshake(&mut self, who: Who, until: Instant) -> Result<io::Result<()>, Error> {
        loop {
            let side = if who == Who::Client { Some(&mut self.client) } else { self.backend.as_mut() };
            match side.map_or(Err(io::ErrorKind::NotConnected.into()), Side::handshake) {
                Ok(true) => return Ok(Ok(())),
                Ok(false) if self.wait(Some(until))? => {}
                Ok(false) => return Ok(Err(io::ErrorKind::TimedOut.into())),
                Err(why) => return Ok(Err(why)),
            }
        }
    }

    fn handshake_failed(&mut self, why: &io::Error) {
        let client = &self.report.client;
        let received = self.client.tls().map_or(0, Leg::received);
        message::warning(
            self.config.verbosity,
            match why.kind() {
                _ if crate::tls::is_no_tls(why) => {
                    format!("{client} sent {received} bytes of plaintext behind STARTTLS")
                }
                _ => format!("TLS handshake with {client} failed: {}", Why(why)),
            },
        );
        self.report.handshake_failed(why.kind() == io::ErrorKind::TimedOut);
    }

    fn respawn(&mut self) -> Result<(), Error> {
        let variables = self.facts().map_or_else(Vec::new, |facts| facts.variables());
        match self.ask_for_side(&Ask::Spawn(Some(variables)))? {
            Some(server) => self.serve_with(server)?,
            None => self.session.server_failed(),
        }
        self.window.tell(&Ask::Release)
    }

    fn facts(&self) -> Option<Facts> {
        self.client.tls().and_then(Leg::facts)
    }

    /// Two descriptors come back for prog, one for a connection.
    fn ask_for_side(&mut self, ask: &Ask) -> Result<Option<Side>, Error> {
        let Some(answer) = self.window.ask(ask)? else { return Ok(None) };
        let mut fds = answer.fds.into_iter();
        let input = fds.next().ok_or_else(|| Error::Impossible("the keeper granted no descriptor".into()))?;
        let output = match fds.next() {
            Some(output) => output,
            None => input.try_clone().map_err(Error::system("duplicate the connection to the server"))?,
        };
        for fd in [&input, &output] {
            rustix::io::ioctl_fionbio(fd, true).map_err(Error::system("make the server's descriptors non-blocking"))?;
        }
        Ok(Some(Side::new(input, output)))
    }

    fn serve_with(&mut self, server: Side) -> Result<(), Error> {
        self.reactor.register(Who::Server, &server)?;
        self.server = Some(server);
        Ok(())
    }

    fn drop_server(&mut self) {
        if let Some(server) = self.server.take() {
            self.reactor.deregister(&server);
        }
    }

    fn drop_backend(&mut self) {
        if let Some(backend) = self.backend.take() {
            self.reactor.deregister(&backend);
        }
    }

    fn pass_through(&mut self) -> Result<(), Error> {
        if self.client.tls().is_none() {
            self.window.tell(&Ask::Release)?;
        }
        let Some(server) = &mut self.server else { return Ok(()) };
        carry::pass_through(&mut self.reactor, &mut self.client, server, &mut self.report)
    }
}

/// A reason from below TLS or from within, without Rust's wrapping.
struct Why<'a>(&'a io::Error);

impl std::fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match self.0.kind() {
            io::ErrorKind::TimedOut => "it took too long".into(),
            io::ErrorKind::UnexpectedEof => "the connection was closed".into(),
            _ => self.0.to_string(),
        };
        write!(f, "{}", Quoted(text.as_bytes()))
    }
}

fn read_anchors(answer: Answer) -> Result<Vec<Vec<u8>>, Error> {
    let nothing = || Error::Impossible("the keeper granted no trust anchors".into());
    let file: OwnedFd = answer.fds.into_iter().next().ok_or_else(nothing)?;
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut std::fs::File::from(file), &mut bytes)
        .map_err(Error::system("read the trust anchors"))?;
    window::parts(&bytes).ok_or_else(nothing)
}

/// The most bytes read at a time while the dialogue is watched.
const PIECE: usize = 4096;
