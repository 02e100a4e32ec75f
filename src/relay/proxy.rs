//! PROXY headers: the one that comes first from the client's side, and the one the backend gets.

use std::io::ErrorKind;
use std::time::Instant;

use super::Relay;
use crate::message::Error;
use crate::proxy::{self, HEADER_TIMEOUT, Version};
use crate::side::Side;
use crate::tls::Heard;
use crate::window::Ask;

impl Relay<'_> {
    /// Reads the header that must come first (`--accept-proxy`). False if the client left without a byte.
    pub(super) fn read_proxy_header(&mut self) -> Result<bool, Error> {
        let until = Instant::now() + HEADER_TIMEOUT;
        let Some(header) = proxy::read(|buffer| self.read_header_bytes(buffer, until))? else { return Ok(false) };
        if let Some(ends) = header.ends {
            self.window.ask(&Ask::ClientAddress(ends))?;
            self.log.client = Some(ends.client.to_string());
            self.report.ends = Some(ends);
        }
        Ok(true)
    }

    /// Waits for the client's next bytes; none at its end.
    fn read_header_bytes(&mut self, buffer: &mut [u8], until: Instant) -> Result<usize, Error> {
        loop {
            match self.client.read(buffer) {
                Ok(Heard::Bytes(count)) => return Ok(count),
                Ok(Heard::Nothing) if self.wait(Some(until))? => {}
                Ok(Heard::Nothing) => return Err(Error::Timeout("no PROXY header came in time".into())),
                Ok(Heard::End | Heard::Cut) => return Ok(0),
                Err(why) if why.kind() == ErrorKind::ConnectionReset => return Ok(0),
                Err(why) => return Err(Error::System("read the PROXY header".into(), why)),
            }
        }
    }

    /// The header that tells a server who the client is.
    pub(super) fn proxy_header(&self, version: Version) -> Vec<u8> {
        match self.report.ends {
            Some(ends) => proxy::header(version, ends, self.report.facts.as_ref()),
            None => proxy::local(version),
        }
    }

    /// The same for the backend. One that shall be told of the client's TLS is reached before there is any, to see whether
    /// it serves; that connection is the wrapper's own, and told as such.
    pub(super) fn backend_header(&self, version: Version) -> Vec<u8> {
        if self.config.server_learns_of_tls() && self.report.facts.is_none() {
            return proxy::local(version);
        }
        self.proxy_header(version)
    }

    /// `--connect`: the plaintext server is told, too.
    pub(super) fn send_proxy_header(&self, server: &mut Side) {
        if let (Some(proxy), Some(_)) = (self.config.proxy, &self.config.connect) {
            server.write(&self.proxy_header(proxy.version));
        }
    }
}
