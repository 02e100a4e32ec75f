//! The keys: when they are read, which one is kept, and what it signs. None of them leaves this process.

use super::anchors::sealed;
use super::{Keeper, not_allowed};
use crate::message::Error;
use crate::tls::{self, Identity};
use crate::window::{Chain, Peer};

impl Keeper<'_> {
    pub(super) fn prepare(&mut self) -> Result<(), Error> {
        self.allowance.preparation.take()?;
        if let Some(client) = self.client.as_mut().filter(|_| self.config.inside.leaves_client_to_prog()) {
            client.set_nodelay_and_keepalive();
            client.set_nonblocking()?;
        }
        tls::check_processor()?;
        match self.config.names.default_files() {
            Some(files) => self.identity = Some(files.load(|warning| self.key_warning = Some(warning))?),
            None => self.config.names.check()?,
        }
        if let Some(authorities) = &self.config.authorities {
            self.client_anchors = Some(sealed(&authorities.load()?)?);
        }
        self.window.grant(&[], &[])
    }

    /// The one chain a client is shown. From here on there is one key in memory: the one for this name that the
    /// client can verify.
    pub(super) fn chain(&mut self, name: Option<&str>, schemes: &[u16]) -> Result<(), Error> {
        if !std::mem::take(&mut self.allowance.chain) {
            return Err(not_allowed());
        }
        if let Some(warning) = self.key_warning.take() {
            self.log.warning(warning);
        }
        let default = self.identity.take();
        let own = name.and_then(|name| self.config.names.named().find(name));
        self.identity = match own.map(|files| files?.load(|warning| self.log.warning(warning))) {
            Some(Ok(own)) => Some(own),
            Some(Err(why)) => {
                self.log.warning(why);
                default
            }
            None => default,
        };
        // There is none only with -k 2, for a name that nobody has set up.
        let Some(identity) = &mut self.identity else { return self.window.refuse() };
        identity.keep_key_for(schemes);
        self.window.grant(&chain_packet(identity), &[])
    }

    pub(super) fn chain_for_backend(&mut self) -> Result<(), Error> {
        let files = self.backend()?.client_cert.as_ref().filter(|_| std::mem::take(&mut self.allowance.backend_chain));
        let identity = files.ok_or_else(not_allowed)?.load(|warning| self.log.warning(warning))?;
        let identity = self.backend_identity.insert(identity);
        self.window.grant(&chain_packet(identity), &[])
    }

    pub(super) fn sign(&mut self, peer: Peer, scheme: u16, message: &[u8]) -> Result<(), Error> {
        let (identity, left) = match peer {
            Peer::Client => (&self.identity, &mut self.allowance.signature),
            Peer::Backend => (&self.backend_identity, &mut self.allowance.backend_signature),
        };
        let identity = identity.as_ref().filter(|_| std::mem::take(left));
        let signature = identity.and_then(|identity| identity.sign(peer, scheme, message)).ok_or_else(not_allowed)?;
        self.window.grant(&signature, &[])
    }
}

fn chain_packet(identity: &Identity) -> Vec<u8> {
    let certificates = identity.chain().iter().map(|certificate| certificate.to_vec()).collect();
    Chain { schemes: identity.schemes(), certificates }.encode()
}
