//! tlsify's session: it connects to the server and begins TLS, and then bytes pass both ways; with STARTTLS the dialogue is
//! watched as long as the server might offer it again. What the server said before TLS reaches nobody (laws 1 and 5).

use std::fmt::{self, Display};
use std::os::fd::OwnedFd;

use super::backend::Reached;
use super::control::Control;
use super::failure::TlsFailure;
use super::{Next, Relay};
use crate::config::Backend;
use crate::facts::{Facts, fits};
use crate::message::{Error, Quoted};
use crate::side::Side;
use crate::tls::Shown;
use crate::window::Ask;

impl Relay<'_> {
    /// Tells over this descriptor what was negotiated, and how the session ended (`--control`).
    #[must_use]
    pub fn with_control(mut self, control: Option<OwnedFd>) -> Self {
        self.control = Control::new(control);
        self
    }

    /// The whole session with this server. Returns the exit status as far as the session decides it.
    pub(super) fn call(mut self, backend: &Backend) -> Result<u8, Error> {
        match self.reach_called(backend) {
            Ok(Reached { greeted, .. }) => {
                let ended = self.serve_called(backend, greeted);
                if let Err(why) = &ended {
                    self.log_client_loss();
                    self.control.end(why);
                }
                ended
            }
            Err(why) => {
                self.control.tell(&[]);
                // The keeper tells its own reason.
                let why = if let TlsFailure::Reported = why {
                    return Ok(SYSTEM_CALL_FAILED);
                } else {
                    self.unreached(backend, why)
                };
                self.control.end(&why);
                Err(why)
            }
        }
    }

    fn reach_called(&mut self, backend: &Backend) -> Result<Reached, TlsFailure> {
        self.reach(backend, self.config.tls.handshake_timeout)
    }

    fn serve_called(&mut self, backend: &Backend, greeted: bool) -> Result<u8, Error> {
        let name = self.backend.as_ref().and_then(|side| Some(side.tls()?.shown()?.name()?.to_owned()));
        let variables = self.negotiated(backend);
        self.promote_backend()?;
        if let Some(server) = &mut self.server {
            server.expect_answer_to_close();
        }
        self.control.tell(&variables);
        if !self.config.prog.is_empty() && self.window.ask(&Ask::Spawn(Some(variables)))?.is_none() {
            self.close_server();
            return Ok(SYSTEM_CALL_FAILED);
        }
        if self.server.as_ref().is_some_and(|server| server.tls().is_some()) {
            self.window.tell(&Ask::Release)?;
        }
        if greeted {
            // A pin alone proves no name.
            self.session.called(name.as_deref().or(backend.names.first().map(String::as_str)).unwrap_or_default());
        }
        if !greeted || matches!(self.dialogue()?, Next::PassThrough) {
            self.pass_through()?;
        }
        self.report_tls_faults();
        let fault = self.server.as_ref().and_then(Side::fault).cloned();
        self.close_server();
        self.close_client()?;
        if let Some(why) = self.client.take_write_error() {
            return Err(Error::System("write to the plaintext side".into(), why));
        }
        self.control.session_ended(fault.as_ref());
        self.log.session(Line { relay: self, backend });
        Ok(self.report.status())
    }

    /// What the handshake came to, if there was one, and what is told of it; each `NAME=VALUE`.
    fn negotiated(&mut self, backend: &Backend) -> Vec<String> {
        let Some(leg) = self.backend.as_ref().and_then(Side::tls) else { return Vec::new() };
        let facts = Facts { sni: backend.sni().map(str::to_owned), ..leg.facts().unwrap_or_default() };
        let mut variables = facts.of_session();
        variables.extend(facts.group.iter().map(|group| format!("SSL_GROUP={group}")));
        variables.extend(facts.alpn.iter().map(|alpn| format!("SSL_ALPN={}", Quoted(alpn))));
        variables.extend(leg.shown().map(Shown::variables).unwrap_or_default());
        variables.retain(|variable| fits(variable));
        self.report.handshake_done(facts);
        variables
    }

    /// Why there is no session. Where the certificate is the reason, also whose it is, and the pin that would trust its key.
    fn unreached(&self, backend: &Backend, why: TlsFailure) -> Error {
        let address = &backend.address;
        let shown = self.backend.as_ref().and_then(|side| side.tls()?.shown());
        match why {
            TlsFailure::Fatal(why) => why,
            _ if why.is_timeout() => Error::Timeout(format!("unable to use the TLS server {address}: {why}")),
            _ => match shown.filter(|_| why.is_about_certificate()).and_then(Shown::description) {
                Some(shown) => Error::TlsSession(format!("unable to verify {address}: {why}: {shown}")),
                None => Error::TlsSession(format!("unable to use the TLS server {address}: {why}")),
            },
        }
    }
}

/// The session line (`-v 2`).
struct Line<'a, 'b> {
    relay: &'a Relay<'b>,
    backend: &'a Backend,
}

impl Display for Line<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Relay { config, report, .. } = self.relay;
        let protocol = config.protocol.map_or("none", |protocol| protocol.name);
        let outcome = if report.facts.is_some() { "tls" } else { "plaintext" };
        let server = self.backend.address.to_string();
        write!(f, "server={} protocol={protocol} outcome={outcome}", Quoted(server.as_bytes()))?;
        if let Some(facts) = &report.facts {
            write!(f, " {facts} server-cert={}", report.backend.unwrap_or("none"))?;
        }
        let (up, down) = (report.from_client, report.to_client);
        write!(f, " in={up} out={down} ms={}", report.began().elapsed().as_millis())
    }
}

/// A system call failed in the keeper, which knows the right status.
const SYSTEM_CALL_FAILED: u8 = 111;
