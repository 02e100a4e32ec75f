//! What a TLS leg is made of: the keeper's anchors and chains, and what the administrator decided.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use starttls_protocols::First;

use super::Relay;
use crate::config::Backend;
use crate::keys::MAX_ANCHORS;
use crate::message::Error;
use crate::tls::{BackendLegConfig, ClientAuth, ClientLegConfig, Leg};
use crate::window::{self, Answer, Ask, Chain, Peer};

impl Relay<'_> {
    /// The leg to the client; the keeper has its key, and the anchors if a certificate is wanted.
    pub(super) fn client_leg(&self) -> Result<Leg, Error> {
        let authorities = match self.config.client_auth {
            ClientAuth::None => None,
            ClientAuth::Asked | ClientAuth::Demanded => {
                let answer = self.window.ask(&Ask::Anchors(Peer::Client))?;
                Some(read_anchors(answer.unwrap_or_default())?)
            }
        };
        let config = ClientLegConfig {
            window: Arc::clone(&self.window),
            min_version: self.config.tls.min_version,
            alpn: &self.alpn(),
            alpn_demanded: self.session.is_direct_tls(),
            authorities,
            demanded: self.config.client_auth == ClientAuth::Demanded,
            close_notify: self.config.tls.close_notify,
        };
        config.leg()
    }

    /// The leg to the backend; `None` if the keeper has no anchors or no certificate for it, and has said why.
    pub(super) fn backend_leg(&self, backend: &Backend) -> Result<Option<Leg>, Error> {
        let mut anchors = None;
        if backend.needs_chain() {
            let Some(answer) = self.window.ask(&Ask::Anchors(Peer::Backend))? else { return Ok(None) };
            anchors = Some(read_anchors(answer)?);
        }
        let mut client_cert = None;
        if backend.client_cert.is_some() {
            let Some(answer) = self.window.ask(&Ask::ChainForBackend)? else { return Ok(None) };
            client_cert = Chain::decode(&answer.bytes).map(|chain| (Arc::clone(&self.window), chain));
        }
        let (names, pins) = (&backend.names[..], &backend.pins[..]);
        // ALPN is offered where the protocol demands it: a server that does not know the name may refuse it.
        let demanding = self.session.protocol().filter(|protocol| matches!(protocol.first, First::ClientOrTls));
        let demanded = demanding.map_or(&[][..], |protocol| protocol.alpn);
        let named = backend.alpn.as_slice();
        let alpn = if named.is_empty() { demanded } else { named };
        BackendLegConfig {
            names,
            anchors,
            pins,
            sni: backend.sni(),
            alpn,
            min_version: self.config.tls.min_version,
            hybrid: backend.hybrid,
            close_notify: backend.close_notify,
            client_cert,
        }
        .leg()
        .map(Some)
    }
}

fn read_anchors(answer: Answer) -> Result<Vec<Vec<u8>>, Error> {
    let nothing = || Error::Impossible("the keeper granted no trust anchors".into());
    let file: OwnedFd = answer.fds.into_iter().next().ok_or_else(nothing)?;
    let mut bytes = Vec::new();
    // Not read_to_end of the file itself: it asks for the file's size with a call the session may not make.
    let mut file = io::Read::take(std::fs::File::from(file), MAX_ANCHORS as u64);
    io::Read::read_to_end(&mut file, &mut bytes).map_err(Error::system("read the trust anchors"))?;
    window::parts(&bytes).ok_or_else(nothing)
}
