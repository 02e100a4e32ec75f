//! How a side is left, and what is said of one that left before its time.

use super::{Relay, Who, passage};
use crate::message::{Error, Log, Quoted};
use crate::side::{Fault, Loss, Side};

impl Relay<'_> {
    pub(super) fn drop_server(&mut self) {
        if let Some(server) = self.server.take() {
            self.reactor.deregister(&server);
            tell_of_loss(self.log, "the server", &server);
        }
    }

    /// A TLS server that has not been told yet hears close_notify (RFC 8446 section 6.1), unless the client broke TLS.
    pub(super) fn leave_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            tell_of_loss(self.log, "the server", &server);
            if self.client.is_broken() { server.cut() } else { server.shut() }
        }
    }

    /// Its last words, and the end of its connection.
    pub(super) fn close_client(&mut self) -> Result<(), Error> {
        let closed = passage::close(&mut self.reactor, &mut self.client, self.config.limits);
        tell_of_loss(self.log, "the client", &self.client);
        closed
    }

    /// Whoever stood still is not waited for any longer.
    pub(super) fn give_up(&mut self, who: Who) {
        let name = if who == Who::Client { "the client" } else { "the server" };
        self.log.warning(format_args!("{name} has stopped reading"));
        self.report.stalled();
        if who == Who::Client {
            self.client.lose(Loss::Stalled);
        }
    }

    /// Tells a side that broke TLS, and with `-J` one that left without close_notify, from one that said its last word.
    pub(super) fn look_for_cuts(&mut self) {
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

/// At `-v 3`: why a side heard, or said, less than it should.
fn tell_of_loss(log: &Log, who: &str, side: &Side) {
    match side.loss() {
        Some((why, true)) => log.transcript(format_args!("{who} was lost before all was sent to it: {why}")),
        Some((why, false)) => log.transcript(format_args!("{who} was lost: {why}")),
        None => {}
    }
}
