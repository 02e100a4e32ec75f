//! UCSPI-TLS, both ways: TLS with the client left to the server that started us, and TLS for a prog that asks for it.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use super::failure::TlsFailure;
use super::reactor::SideId;
use super::{Next, READ_SIZE, Relay};
use crate::client;
use crate::facts::Facts;
use crate::message::Error;
use crate::side::Side;
use crate::tls::Heard;
use crate::ucspi::{Descriptors, START, START_AND_TELL, TlsVariables};
use crate::window::Ask;
use starttls_protocols::session::Surplus;

impl Relay<'_> {
    /// The go-ahead is out, and TLS is left to the server that started us. It reads what the client says from here on, from
    /// the same descriptor; so nothing that came behind STARTTLS may have been read here (law 1).
    pub(super) fn hand_over_to_ucspi(
        &mut self,
        descriptors: Descriptors,
        surplus: Surplus,
        until: Instant,
    ) -> Result<Option<Next>, Error> {
        let surplus = surplus.into_bytes().len();
        if surplus > 0 {
            self.log.warning(format_args!("the client sent {surplus} bytes of plaintext behind STARTTLS"));
            self.report.handshake_failed(false);
            return Ok(Some(Next::Close));
        }
        self.reactor.deregister(&self.client);
        // Shared with the one who reads from it now.
        if let Some(output) = self.client.output() {
            client::restore_blocking([self.client.input(), output], self.was_blocking);
        }
        match self.ask_for_tls(descriptors.control, until) {
            Ok(told) => {
                self.client = Side::new(descriptors.input, descriptors.output);
                self.client.set_nonblocking(true)?;
                self.reactor.register(SideId::Client, &self.client)?;
                let variables = told.variables();
                self.report.handshake_done(Facts::read(&variables));
                self.ucspi_variables = Some(variables);
                Ok(None)
            }
            Err(why) => {
                let why = why.unless_fatal()?;
                self.log.warning(format_args!("TLS handshake with the client failed: {why}"));
                self.report.handshake_failed(why.is_timeout());
                // Nobody else reads from it any more, and it is ours to close.
                self.client.set_nonblocking(true)?;
                self.reactor.register(SideId::Client, &self.client)?;
                Ok(Some(Next::Close))
            }
        }
    }

    /// `Y`, and what is told then, to its end: two NULs, or the end of the control socket, whichever comes first;
    /// servers differ.
    fn ask_for_tls(&mut self, control: OwnedFd, until: Instant) -> Result<TlsVariables, TlsFailure> {
        self.use_control_socket(control)?;
        self.send_to_backend(&[START_AND_TELL]);
        let mut told = TlsVariables::default();
        let mut buffer = [0; READ_SIZE];
        let outcome = loop {
            let room = told.room().min(READ_SIZE);
            if room == 0 {
                break Err(io::Error::other("the UCSPI-TLS server sent too many variables").into());
            }
            match self.read_backend(buffer.get_mut(..room).unwrap_or_default(), until) {
                Ok(count) if told.hears(buffer.get(..count).unwrap_or_default()) => break Ok(told),
                Ok(_) => {}
                Err(why) if why.is_closed() && !told.is_empty() => break Ok(told),
                Err(why) => break Err(why),
            }
        };
        self.drop_backend();
        outcome
    }

    /// `--ucspi-tls`: prog speaks to the client itself until it asks for TLS, and through two pipes from then on. False
    /// if it never asks; then the connection is prog's to the end.
    pub(super) fn serve_ucspi_prog(&mut self) -> Result<bool, Error> {
        let Some(answer) = self.window.ask(&Ask::Spawn(None))? else { return Ok(false) };
        let fds = <[OwnedFd; 3]>::try_from(answer.fds);
        let [control, input, output] = fds.map_err(|_| Error::Impossible("the keeper granted no descriptor".into()))?;
        self.reactor.deregister(&self.client);
        self.use_control_socket(control)?;
        let tells = match self.read_control_byte()? {
            None => return Ok(false),
            Some(START) => false,
            Some(START_AND_TELL) => true,
            Some(_) => return Err(Error::Environment("prog sent neither y nor Y over SSLCTLFD".into())),
        };
        // From here on the client's descriptors are the session's; the keeper has made them fit for it.
        let ready = self.window.ask(&Ask::Prepare)?.is_some();
        self.reactor.register(SideId::Client, &self.client)?;
        let until = Instant::now() + self.config.tls.handshake_timeout;
        if !ready || !self.handshake_with_client(Surplus::none(), until)? {
            return Ok(true);
        }
        if tells {
            self.send_to_backend(&[self.variables().join("\0").as_bytes(), b"\0\0"].concat());
        }
        self.drop_backend();
        let server = Side::new(input, output);
        server.set_nonblocking(true)?;
        self.window.tell(&Ask::Release)?;
        self.set_server(server)?;
        self.pass_through()?;
        Ok(true)
    }

    /// What prog says over the control socket; nothing if it closes it, or ends. It may take as long as it likes.
    fn read_control_byte(&mut self) -> Result<Option<u8>, Error> {
        let mut word = [0];
        loop {
            let last_words = self.last_words();
            let Some(control) = &mut self.backend else { return Ok(None) };
            match control.read(&mut word) {
                Ok(Heard::Bytes(_)) => return Ok(Some(word[0])),
                Ok(Heard::Nothing) if self.wait(last_words)? => {}
                Ok(Heard::Nothing) => return Ok(None),
                Ok(Heard::End | Heard::Cut) | Err(_) => return Ok(None),
            }
        }
    }

    /// Watches the control socket, in the backend's place, which is free here.
    fn use_control_socket(&mut self, control: OwnedFd) -> Result<(), Error> {
        let side = Side::from_socket(control)?;
        side.set_nonblocking(true)?;
        self.reactor.register(SideId::Backend, &side)?;
        self.backend = Some(side);
        Ok(())
    }

    /// The variables that tell prog of the client's TLS. A UCSPI-TLS server may know more of it than we.
    pub(super) fn variables(&self) -> Vec<String> {
        match (&self.ucspi_variables, &self.report.facts) {
            (Some(told), _) => told.clone(),
            (None, Some(facts)) => [facts.variables(), vec![VERSION_INTERFACE.into()]].concat(),
            (None, None) => Vec::new(),
        }
    }
}

/// Who speaks TLS, and in which version.
const VERSION_INTERFACE: &str = concat!("SSL_VERSION_INTERFACE=starttls-wrapper/", env!("CARGO_PKG_VERSION"));
