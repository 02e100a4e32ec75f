//! The driver: it obeys the session's orders over real descriptors and keeps the deadlines.
//!
//! Here and below is the only door to mio, and the only place that asks the clock. What the bytes mean is known to
//! [`starttls_protocols::session`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{Config, Inside};
use crate::message::{Error, Log};
use crate::side::Side;
use crate::ucspi::Descriptors;
use crate::window::{Ask, Window};
use starttls_protocols::session::{Limit, Order, Session};

mod backend;
mod call;
mod control;
mod direction;
mod failure;
mod legs;
mod listen;
mod parting;
mod pass_through;
mod proxy;
mod reactor;
mod report;
mod stall;
mod switch;
mod ucspi;

pub use control::{Control, MAX_CONTROL};
pub use pass_through::LINGER;
use pass_through::PassThrough;
use reactor::{Reactor, SideId};
pub use report::Report;
use stall::Stalls;

/// How long the backend may take from its connection to the end of its greeting. The client waits meanwhile.
pub const BACKEND_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a fresh server may take to greet, or to answer the replayed prefix (RFC 5321 section 4.5.3.2.1).
pub const FRESH_TIMEOUT: Duration = Duration::from_secs(300);

/// The session's process, once its descriptors are its own.
pub struct Relay<'a> {
    config: &'a Config,
    log: &'a mut Log,
    window: Arc<Window>,
    session: Session,
    reactor: Reactor,
    client: Side,
    server: Option<Side>,
    backend: Option<Side>,
    /// The client will say no more to the server.
    client_left: bool,
    /// The keeper starts the server, and its answer is on its way.
    server_asked_for: bool,
    limit: Option<(Limit, Instant)>,
    stalls: Stalls,
    /// The UCSPI-TLS server's descriptors, while TLS may yet be asked for.
    ucspi: Option<Descriptors>,
    /// Which of the client's descriptors were blocking before they were ours.
    was_blocking: [bool; 2],
    /// What that server told of TLS.
    ucspi_variables: Option<Vec<String>>,
    report: Report,
    control: Control,
    /// What was read last, from either side.
    buffer: Box<[u8]>,
}

/// What follows the dialogue.
enum Next {
    PassThrough,
    Close,
}

impl<'a> Relay<'a> {
    /// A relay that has heard nothing yet.
    ///
    /// # Errors
    /// [`Error::Environment`] if the client's descriptors cannot be waited for, [`Error::System`].
    pub fn new(
        config: &'a Config,
        log: &'a mut Log,
        window: Window,
        client: Side,
        session: Session,
        report: Report,
    ) -> Result<Self, Error> {
        let window = Arc::new(window);
        let reactor = Reactor::new(Arc::clone(&window), matches!(config.inside, Inside::Called(_)))?;
        reactor.register(SideId::Client, &client)?;
        Ok(Self {
            config,
            log,
            window,
            session,
            reactor,
            client,
            server: None,
            backend: None,
            client_left: false,
            server_asked_for: false,
            limit: None,
            stalls: Stalls::new(config.limits, Instant::now()),
            ucspi: None,
            was_blocking: [false; 2],
            ucspi_variables: None,
            report,
            control: Control::default(),
            buffer: vec![0; READ_SIZE].into(),
        })
    }

    /// TLS with the client is left to a UCSPI-TLS server, for which the client's descriptors are made blocking
    /// again, if they were.
    #[must_use]
    pub fn with_ucspi(mut self, ucspi: Option<Descriptors>, was_blocking: [bool; 2]) -> Self {
        (self.ucspi, self.was_blocking) = (ucspi, was_blocking);
        self
    }

    /// Asks for the server that the session begins with, if it begins with one: it starts while this process is confined.
    /// [`run`](Self::run) takes the answer, and hears it before anything else.
    ///
    /// # Errors
    /// The keeper is gone.
    pub fn ask_for_server(&mut self) -> Result<(), Error> {
        if !self.config.needs_tls() && !self.config.accept_proxy {
            self.window.tell(&Ask::Spawn(None))?;
            self.server_asked_for = true;
        }
        Ok(())
    }

    /// The log of this session.
    pub fn log(&self) -> &Log {
        self.log
    }

    /// The whole session. Returns the exit status as far as the session decides it; zero leaves it to prog.
    ///
    /// # Errors
    /// Whatever ended the session before its time.
    pub fn run(mut self) -> Result<u8, Error> {
        // The sandbox has the session killed with the keeper; one that was gone before that is found out here, or by the
        // answer that does not come.
        if !self.server_asked_for {
            self.window.listen()?;
        }
        if let Inside::Called(backend) = &self.config.inside {
            return self.call(backend);
        }
        // With --accept-proxy the header that comes tells it.
        if self.config.proxy.is_some() && self.report.ends.is_none() && !self.config.accept_proxy {
            self.log.warning(UNKNOWN_CLIENT);
        }
        if self.config.accept_proxy && !self.read_proxy_header()? {
            self.report.left_unused();
        } else if self.serve().inspect_err(|_| self.log_client_loss())? {
            self.report_tls_faults();
            self.close_server();
            self.close_client()?;
        }
        if self.session.was_refused() {
            self.report.left_refused();
        }
        self.report.write(self.log, self.session.protocol(), self.session.replayed());
        Ok(self.report.status())
    }

    /// False if the connection is prog's, and not ours to close.
    fn serve(&mut self) -> Result<bool, Error> {
        if self.config.inside.leaves_client_to_prog() {
            return self.serve_ucspi_prog();
        }
        if !self.config.implicit {
            self.start_server(None)?;
        }
        if let Next::PassThrough = self.dialogue()? {
            self.pass_through()?;
        }
        Ok(true)
    }

    /// Starts prog, or connects to the plaintext server; inside TLS with the variables that tell of it. Where there is none
    /// the keeper says why when it ends.
    fn start_server(&mut self, variables: Option<Vec<String>>) -> Result<(), Error> {
        if !std::mem::take(&mut self.server_asked_for) {
            self.window.tell(&Ask::Spawn(variables))?;
        }
        match self.take_side()? {
            Some(mut server) => {
                self.send_proxy_header(&mut server);
                self.set_server(server)?;
            }
            None => self.session.server_failed(),
        }
        Ok(())
    }

    fn wait(&mut self, until: Option<Instant>) -> Result<bool, Error> {
        self.reactor.wait([Some(&mut self.client), self.server.as_mut(), self.backend.as_mut()], until)
    }

    /// When a session whose prog has ended is over at the latest.
    fn last_words(&mut self) -> Option<Instant> {
        self.reactor.prog_ended().map(|ended| ended + self.config.limits.last_words)
    }

    fn obey(&mut self, order: Order) -> Result<Option<Next>, Error> {
        match order {
            Order::ToClient(bytes) => self.send_to_client(&bytes),
            Order::ToServer(bytes) => self.send_to_server(&bytes),
            Order::EndToServer => self.client_left = true,
            Order::Prepare => {
                // What was said before does not wait for the backend.
                self.client.flush();
                self.prepare()?;
            }
            Order::DropBackend => self.drop_backend(),
            Order::Upgrade(surplus) => return self.upgrade(surplus),
            Order::Respawn => self.respawn()?,
            Order::PassThrough { to_server, to_client } => {
                self.send_to_client(&to_client);
                self.send_to_server(&to_server);
                return Ok(Some(Next::PassThrough));
            }
            Order::Close(outcome) => {
                self.report.closed(outcome);
                return Ok(Some(Next::Close));
            }
            Order::Note(note) => self.log.note(&note),
        }
        Ok(None)
    }

    fn send_to_client(&mut self, bytes: &[u8]) {
        self.report.to_client += bytes.len() as u64;
        self.client.add(bytes);
    }

    fn send_to_server(&mut self, bytes: &[u8]) {
        if let Some(server) = &mut self.server {
            server.add(bytes);
        }
    }

    /// Asks the keeper for a server: two pipes to prog, or one connection.
    fn ask_for_side(&mut self, ask: &Ask) -> Result<Option<Side>, Error> {
        self.window.tell(ask)?;
        self.take_side()
    }

    /// Takes what was asked for.
    fn take_side(&self) -> Result<Option<Side>, Error> {
        let Some(answer) = self.window.answer()? else { return Ok(None) };
        let mut fds = answer.fds.into_iter();
        let input = fds.next().ok_or_else(|| Error::Impossible("the keeper granted no descriptor".into()))?;
        let side = match fds.next() {
            Some(output) => Side::new(input, output),
            None => Side::from_socket(input)?,
        };
        side.set_nonblocking(true)?;
        Ok(Some(side))
    }

    fn set_server(&mut self, server: Side) -> Result<(), Error> {
        self.reactor.register(SideId::Server, &server)?;
        self.server = Some(server);
        Ok(())
    }

    fn pass_through(&mut self) -> Result<(), Error> {
        if self.report.facts.is_none() {
            self.window.tell(&Ask::Release)?;
        }
        let Some(server) = &mut self.server else { return Ok(()) };
        let cut_is_error = self.config.tls.cut_is_error;
        let mut pass_through =
            PassThrough::new(&mut self.reactor, &mut self.stalls, &mut self.client, server, cut_is_error);
        let stalled = pass_through.run(self.config.limits);
        let (from_client, to_client) = pass_through.counts();
        self.report.carried(from_client, to_client);
        if let Some(who) = stalled? {
            self.drop_stalled(who);
        }
        Ok(())
    }
}

const UNKNOWN_CLIENT: &str =
    "the client's address is not known, so --proxy-protocol cannot tell it: set ${PROTO}REMOTEIP and friends";

/// The most bytes read at a time while the dialogue is watched.
const READ_SIZE: usize = 4096;
