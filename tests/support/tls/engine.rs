//! TLS without descriptors.

use std::io::{ErrorKind, Read, Write};

use rustls::Connection;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;

use super::super::certificates::Site;
use super::{Client, server};

/// Either end without a way of its own: records go in and out, and whoever has it brings them to the other end.
pub(crate) struct Engine(Connection);

impl Engine {
    /// A client that begins.
    pub(crate) fn client(client: &Client) -> Self {
        Self::new(client.begin().connection.into())
    }

    /// A server that is this site.
    pub(crate) fn server(site: &Site) -> Self {
        let (anybody, provider) = (WebPkiClientVerifier::no_client_auth(), aws_lc_rs::default_provider());
        Self::new(server(site, anybody, rustls::ALL_VERSIONS, provider).into())
    }

    fn new(mut connection: Connection) -> Self {
        connection.set_buffer_limit(None);
        Self(connection)
    }

    pub(crate) fn is_up(&self) -> bool {
        !self.0.is_handshaking()
    }

    /// Takes records; what they say goes to `out`. True if that was the last of it: close_notify.
    pub(crate) fn takes(&mut self, mut records: &[u8], out: &mut Vec<u8>) -> Result<bool, rustls::Error> {
        while !records.is_empty() {
            self.0.read_tls(&mut records).expect("what was said before is taken out");
            self.0.process_new_packets()?;
            match self.0.reader().read_to_end(out) {
                Ok(_) => return Ok(true),
                Err(why) => assert_eq!(why.kind(), ErrorKind::WouldBlock),
            }
        }
        Ok(false)
    }

    pub(crate) fn says(&mut self, bytes: &[u8]) {
        self.0.writer().write_all(bytes).expect("there is no limit");
    }

    /// Says close_notify.
    pub(crate) fn leaves(&mut self) {
        self.0.send_close_notify();
    }

    /// The records that are due.
    pub(crate) fn gives(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        while self.0.wants_write() {
            self.0.write_tls(&mut records).expect("a Vec takes everything");
        }
        records
    }
}
