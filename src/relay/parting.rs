//! How the connection to a side ends, and what is reported of a side that ended too early.

use super::{Relay, SideId, pass_through};
use crate::message::{Error, Log, Quoted};
use crate::side::{Fault, Loss, Side};

impl Relay<'_> {
    pub(super) fn drop_server(&mut self) {
        if let Some(server) = self.server.take() {
            self.reactor.deregister(&server);
            log_loss(self.log, "the server", &server);
        }
    }

    /// A TLS server to which nothing more is sent hears close_notify (RFC 8446 section 6.1), unless the client broke TLS.
    pub(super) fn close_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            log_loss(self.log, "the server", &server);
            if self.client.is_broken() { server.cut() } else { server.shut() }
        }
    }

    /// Sends the client what waits for it, then closes its connection.
    pub(super) fn close_client(&mut self) -> Result<(), Error> {
        let closed = pass_through::close(&mut self.reactor, &mut self.client, self.config.limits);
        self.log_client_loss();
        closed
    }

    /// To be called where an error ends the session, too: then nobody closes the connection.
    pub(super) fn log_client_loss(&self) {
        log_loss(self.log, "the client", &self.client);
    }

    /// Ends a session over a side that has stopped reading.
    pub(super) fn drop_stalled(&mut self, who: SideId) {
        let name = if who == SideId::Client { "the client" } else { "the server" };
        self.log.warning(format_args!("{name} has stopped reading"));
        self.report.stalled();
        if who == SideId::Client {
            self.client.lose(Loss::Stalled);
        }
    }

    /// Reports a side that broke TLS, and one that left without close_notify, which with `-J` is an error.
    pub(super) fn report_tls_faults(&mut self) {
        let sides = [("the client", Some(&self.client)), ("the TLS server", self.server.as_ref())];
        for (who, fault) in sides.into_iter().filter_map(|(who, side)| Some((who, side?.fault()?))) {
            let what = match fault {
                Fault::Cut => format!("{who} closed the connection without close_notify"),
                Fault::Broken(why) => format!("TLS with {who} failed: {}", Quoted(why.as_bytes())),
            };
            if *fault == Fault::Cut && !self.config.tls.cut_is_error {
                self.log.transcript(what);
                continue;
            }
            self.log.warning(what);
            self.report.cut();
        }
    }
}

/// At `-v 3`: why a connection was lost, and whether something was left unsent.
fn log_loss(log: &Log, who: &str, side: &Side) {
    match side.loss() {
        Some((why, true)) => log.transcript(format_args!("{who} was lost before all was sent to it: {why}")),
        Some((why, false)) => log.transcript(format_args!("{who} was lost: {why}")),
        None => {}
    }
}
