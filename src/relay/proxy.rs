//! PROXY headers: the one that comes first from the client's side, and the one the backend gets.

use std::time::Instant;

use super::Relay;
use crate::message::Error;
use crate::proxy::{self, Certificate, HEADER_TIMEOUT, Malformed, Tls, Version};
use crate::side::Side;
use crate::tls::{Facts, Guest, Heard};
use crate::window::Ask;

impl Relay<'_> {
    /// Reads the header that must come first (`--accept-proxy`), and not a byte of what follows it: that belongs to
    /// the dialogue, or to TLS.
    pub(super) fn hear_proxy_header(&mut self) -> Result<(), Error> {
        let until = Instant::now() + HEADER_TIMEOUT;
        let unable = |why: Malformed| Error::Environment(format!("unable to read the PROXY header: {why}"));
        let mut header = Vec::new();
        loop {
            let missing = proxy::missing(&header).map_err(unable)?;
            if missing == 0 {
                break;
            }
            let seen = header.len();
            header.resize(seen + missing, 0);
            let heard = self.client.read(header.get_mut(seen..).unwrap_or_default());
            header.truncate(seen + if let Ok(Heard::Bytes(count)) = heard { count } else { 0 });
            match heard {
                Ok(Heard::Bytes(_)) => {}
                Ok(Heard::Nothing) if self.wait(Some(until))? => {}
                Ok(Heard::Nothing) => return Err(Error::Timeout("the PROXY header does not come".into())),
                Ok(Heard::End | Heard::Cut) => {
                    return Err(unable(Malformed("the connection was closed before its end")));
                }
                Err(why) => return Err(Error::System("read the PROXY header".into(), why)),
            }
        }
        if let Some(ends) = proxy::parse(&header).map_err(unable)?.ends {
            self.window.ask(&Ask::Client(ends))?;
            self.report.meet(ends);
        }
        Ok(())
    }

    /// The header that tells a server who the client is.
    pub(super) fn proxy_header(&self, version: Version) -> Vec<u8> {
        let tls = self.tls_with_client();
        match self.report.ends {
            Some(ends) => proxy::header(version, ends, tls.as_ref()),
            None => proxy::local(version),
        }
    }

    /// The same for the backend. One that shall be told of TLS is only asked whether it serves before there is any;
    /// then the connection is the wrapper's own.
    pub(super) fn backend_header(&self, version: Version) -> Vec<u8> {
        if self.config.server_learns_of_tls() && self.tls_with_client().is_none() {
            return proxy::local(version);
        }
        self.proxy_header(version)
    }

    /// `--connect`: the plaintext server is told, too.
    pub(super) fn introduce(&self, server: &mut Side) {
        if let (Some(proxy), Some(_)) = (self.config.proxy, &self.config.connect) {
            server.write(&self.proxy_header(proxy.version));
        }
    }
}

impl From<Facts> for Tls {
    fn from(facts: Facts) -> Self {
        let certificate = match facts.guest {
            Guest::Unknown => Certificate::None,
            Guest::Failed(_) => Certificate::Failed,
            Guest::Verified(_, names) => Certificate::Verified(names.and_then(|names| names.common_name)),
        };
        let (version, cipher) = (Some(facts.version.into()), Some(facts.cipher));
        Self { version, cipher, sni: facts.sni, alpn: facts.alpn, certificate }
    }
}
