//! A key that is not here: what rustls wants signed goes through the window to the keeper.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};

use crate::window::{Ask, Chain, Peer, Window};

/// The chain, with a key that signs for this peer through the window.
pub(super) fn certified(window: &Arc<Window>, peer: Peer, chain: Chain) -> Arc<CertifiedKey> {
    let key = RemoteKey { window: Arc::clone(window), peer, schemes: chain.schemes };
    let certificates = chain.certificates.into_iter().map(CertificateDer::from).collect();
    Arc::new(CertifiedKey::new(certificates, Arc::new(key)))
}

#[derive(Debug)]
struct RemoteKey {
    window: Arc<Window>,
    peer: Peer,
    schemes: Vec<u16>,
}

impl SigningKey for RemoteKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme =
            self.schemes.iter().map(|scheme| SignatureScheme::from(*scheme)).find(|own| offered.contains(own))?;
        Some(Box::new(RemoteSigner { window: Arc::clone(&self.window), peer: self.peer, scheme }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.schemes.first().map_or(SignatureScheme::Unknown(0), |scheme| (*scheme).into()) {
            SignatureScheme::ED25519 => SignatureAlgorithm::ED25519,
            SignatureScheme::ECDSA_NISTP256_SHA256
            | SignatureScheme::ECDSA_NISTP384_SHA384
            | SignatureScheme::ECDSA_NISTP521_SHA512 => SignatureAlgorithm::ECDSA,
            _ => SignatureAlgorithm::RSA,
        }
    }
}

/// A signature that the keeper makes.
#[derive(Debug)]
struct RemoteSigner {
    window: Arc<Window>,
    peer: Peer,
    scheme: SignatureScheme,
}

impl Signer for RemoteSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let answer = self.window.ask(&Ask::Sign(self.peer, self.scheme.into(), message.to_vec()));
        match answer {
            Ok(Some(answer)) => Ok(answer.bytes),
            _ => Err(rustls::Error::General("the keeper does not sign".into())),
        }
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}
