//! The privileged half: it runs prog, connects, and signs; and it never reads a byte that client or server sent.
//!
//! The session is trusted with nothing: it may be in an attacker's hands from its first network byte on. What it asks
//! for is given once, in the order a session needs it, or not at all.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitStatus};

use crate::address::Address;
use crate::client::{self, Client};
use crate::config::{Backend, BackendTls, Config, Inside};
use crate::message::{Error, Log};
use crate::proxy::Ends;
use crate::signals::{self, Signals};
use crate::tls::Identity;
use crate::window::{Ask, Peer, Window};

mod allowance;
mod anchors;
mod child;
mod client_prog;
mod ending;
mod keys;
mod prog;
mod ucspi_prog;

use allowance::Allowance;
use child::Child;

/// The keeper of one session.
pub struct Keeper<'a> {
    config: &'a Config,
    log: &'a mut Log,
    window: Window,
    signals: Signals,
    /// The signal that asked this process to end.
    asked_to_end_by: Option<Signal>,
    /// When the session and prog are killed, once they were told to end.
    kill_at: Option<Instant>,
    /// The chain and key that the client is shown (KEYFILE, CERTFILE).
    identity: Option<Identity>,
    /// What is to be said of the key that was read for all names, once a client asks for one: with `--implicit` it is read
    /// for health checks too.
    key_warning: Option<String>,
    /// The chain and key that the backend is shown (`--backend-cert`, `--backend-key`), if it asks for a certificate.
    backend_identity: Option<Identity>,
    /// The client's descriptors; nothing is read from them.
    client: Option<Client>,
    /// The trust anchors for the client's certificate (CAFILE, CADIR), sealed.
    client_anchors: Option<OwnedFd>,
    prog: Option<Child>,
    /// The go-ahead is out.
    switched: bool,
    /// The session knows that prog has ended.
    has_reported_end: bool,
    /// The plaintext prog, told to end.
    retired: Option<Child>,
    /// Who the client is, if a PROXY header told it.
    ends: Option<Ends>,
    allowance: Allowance,
    failure: Option<Error>,
}

impl<'a> Keeper<'a> {
    /// A keeper that has given nothing yet.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn new(config: &'a Config, log: &'a mut Log, window: Window) -> Result<Self, Error> {
        Ok(Self {
            config,
            log,
            window,
            signals: Signals::listen()?,
            asked_to_end_by: None,
            kill_at: None,
            identity: None,
            key_warning: None,
            backend_identity: None,
            client: None,
            client_anchors: None,
            prog: None,
            switched: false,
            has_reported_end: false,
            retired: None,
            ends: None,
            allowance: Allowance::of(config),
            failure: None,
        })
    }

    /// Serves the session until it asks for nothing more, then waits for its end and prog's. Returns the exit status.
    ///
    /// # Errors
    /// [`Error::Prog`] if prog could not be run, [`Error::Impossible`] if the session broke the rules.
    pub fn run(mut self, session: Pid, client: Client) -> Result<u8, Error> {
        self.client = Some(client);
        let mut session = Child::new(session);
        let served = self.serve(&session);
        if served.is_err() {
            // It broke the rules, so it may be an attacker's.
            let _ = session.kill();
        }
        let ended = self.end_of_session(&mut session);
        if let Some(client) = self.client.take() {
            client.release();
        }
        self.reap_plaintext_prog();
        if ended.as_ref().map_or(true, |status| *status == LIMIT_PASSED) {
            self.end_prog(Signal::TERM);
        }
        let of_prog = self.end_of_prog();
        if let Some(signal) = self.asked_to_end_by {
            signals::end_by(signal);
        }
        served?;
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        match (ended?, of_prog?) {
            (0, Some(status)) => Ok(exit_code(status)),
            (status, _) => Ok(status),
        }
    }

    fn serve(&mut self, session: &Child) -> Result<(), Error> {
        while self.session_speaks()?
            && let Some(ask) = self.window.next_ask()?
        {
            let answered = match ask {
                Ask::Release => return self.release(session),
                Ask::Spawn(variables) => self.spawn(variables),
                Ask::ClientAddress(ends) => self.set_client_address(ends),
                Ask::Prepare => self.prepare(),
                Ask::Connect => self.connect(None),
                Ask::ConnectImplicit => self.connect_implicit(),
                Ask::Anchors(Peer::Client) => self.client_anchors(),
                Ask::Anchors(Peer::Backend) => self.backend_anchors(),
                Ask::Chain(name, schemes) => self.chain(name.as_deref(), &schemes),
                Ask::ChainForBackend => self.chain_for_backend(),
                Ask::Sign(peer, scheme, message) => self.sign(peer, scheme, &message),
                Ask::Retire => {
                    self.retire();
                    Ok(())
                }
            };
            answered.or_else(|why| self.decline(why))?;
        }
        Ok(())
    }

    /// Refuses what the session asked for, and tells the administrator why.
    fn decline(&mut self, why: Error) -> Result<(), Error> {
        if matches!(why, Error::Impossible(_)) {
            return Err(why);
        }
        // Without prog, without a key where TLS begins at once, or without the server that is called, there is no session
        // to go on.
        if matches!(why, Error::Prog(..)) || self.config.needs_tls() {
            self.failure = Some(why);
        } else {
            self.log.warning(why);
        }
        self.window.refuse()
    }

    /// Forgets the keys and confines this process: nothing more can be asked.
    fn release(&mut self, session: &Child) -> Result<(), Error> {
        (self.identity, self.backend_identity) = (None, None);
        if self.config.ucspi.is_some() && self.switched {
            // The UCSPI-TLS server may outlive us, and the flags are as it wants them.
            self.client = None;
        }
        self.reap_plaintext_prog();
        let family = [session.pid(), self.prog.as_ref().and_then(Child::pid)];
        self.config.sandbox.confine_keeper(family)
    }

    fn set_client_address(&mut self, ends: Ends) -> Result<(), Error> {
        if !std::mem::take(&mut self.allowance.client) {
            return Err(not_allowed());
        }
        self.log.client = Some(ends.client.to_string());
        self.ends = Some(ends);
        self.window.grant(&[], &[])
    }

    fn connect(&mut self, port: Option<u16>) -> Result<(), Error> {
        self.allowance.connection.take()?;
        let Backend { address, connect_timeout, .. } = self.backend()?;
        let address = port.map_or_else(|| address.clone(), |port| address.at(port));
        let Some(connection) = self.reach(&address, *connect_timeout)? else { return self.window.refuse() };
        (self.allowance.backend_chain, self.allowance.backend_signature) = (true, true);
        if matches!(self.config.inside, Inside::Called(_)) {
            self.ends = client::ends(&connection);
        }
        self.window.grant(&[], &[connection.as_fd()])
    }

    fn connect_implicit(&mut self) -> Result<(), Error> {
        match self.backend()?.tls {
            BackendTls::Either(port) => self.connect(Some(port)),
            _ => Err(not_allowed()),
        }
    }

    /// A connection; `None` if this process is told to end meanwhile. The process that looks a name up has no key, and drops
    /// its rights.
    fn reach(&mut self, address: &Address, timeout: Duration) -> Result<Option<OwnedFd>, Error> {
        let Self { identity, backend_identity, config, signals, .. } = self;
        address.connect(timeout, signals, || {
            (*identity, *backend_identity) = (None, None);
            config.sandbox.drop_privileges()
        })
    }

    fn backend(&self) -> Result<&'a Backend, Error> {
        self.config.inside.backend().ok_or_else(not_allowed)
    }
}

fn exit_code(status: WaitStatus) -> u8 {
    let by_signal = || status.terminating_signal().map(|signal| 128 + signal);
    let code = status.exit_status().or_else(by_signal).unwrap_or_default();
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// The status of [`Error::Timeout`]: prog is ended then, and not waited for.
const LIMIT_PASSED: u8 = 99;

fn not_allowed() -> Error {
    Error::Impossible("the session made a request that is not allowed now".into())
}
