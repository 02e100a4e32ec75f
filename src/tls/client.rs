//! The client's leg: this program is the TLS server. Key and chain are the keeper's; what is here asks for them
//! through the window.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConnection};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{ServerConfig, SignatureAlgorithm, SignatureScheme};

use super::leg::Leg;
use super::{Lowest, version_name};
use crate::message::Error;
use crate::window::{Ask, Chain, Window};

/// How a client is received.
pub struct Welcome<'a> {
    /// The way to the keeper.
    pub window: Arc<Window>,
    /// The lowest version allowed.
    pub lowest: Lowest,
    /// The protocol's ALPN names; a client that offers ALPN must offer one of them (RFC 7301 section 3.2, RFC 9325
    /// section 3.7).
    pub alpn: &'a [&'a [u8]],
}

/// What the handshake with the client came to, in the words of the environment variables and the session line.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite's IANA name.
    pub cipher: String,
    /// The key exchange group.
    pub group: String,
    /// The name the client asked for (SNI).
    pub sni: Option<String>,
}

impl Welcome<'_> {
    /// The leg, ready for the client's first byte.
    ///
    /// # Errors
    /// [`Error::TlsEngine`] if rustls cannot be set up.
    pub fn leg(self) -> Result<Leg, Error> {
        let engine = |why: rustls::Error| Error::TlsEngine(format!("unable to set up TLS for the client: {why}"));
        let keeper = Keeper { window: self.window };
        let mut config = ServerConfig::builder_with_provider(super::provider())
            .with_protocol_versions(&self.lowest.versions())
            .map_err(engine)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(keeper));
        config.alpn_protocols = self.alpn.iter().map(|name| name.to_vec()).collect();
        // A process per connection has nothing to resume, so it hands out no ticket.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Leg::new(ServerConnection::new(Arc::new(config)).map_err(engine)?.into()))
    }
}

impl Facts {
    /// The variables that tell prog of TLS, with the names of mod_ssl and s6-tlsd; each `NAME=VALUE`.
    pub fn variables(&self) -> Vec<String> {
        let mut variables = vec![format!("SSL_PROTOCOL={}", self.version), format!("SSL_CIPHER={}", self.cipher)];
        variables.extend(self.sni.iter().map(|sni| format!("SSL_TLS_SNI_SERVERNAME={sni}")));
        variables
    }

    pub(super) fn of(connection: &rustls::Connection) -> Option<Self> {
        let suite = connection.negotiated_cipher_suite()?.suite();
        let sni = match connection {
            rustls::Connection::Server(server) => server.server_name().map(str::to_owned),
            rustls::Connection::Client(_) => None,
        };
        Some(Self {
            version: version_name(connection.protocol_version()?),
            // rustls writes TLS13_AES_256_GCM_SHA384 where the registry has TLS_AES_256_GCM_SHA384.
            cipher: suite.as_str().unwrap_or("unknown").replace("TLS13_", "TLS_"),
            group: connection
                .negotiated_key_exchange_group()
                .map_or("unknown".into(), |group| format!("{:?}", group.name())),
            sni,
        })
    }
}

/// Stands where rustls expects the certificates, and asks the keeper.
#[derive(Debug)]
struct Keeper {
    window: Arc<Window>,
}

impl ResolvesServerCert for Keeper {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_owned);
        let answer = self.window.ask(&Ask::Chain(name)).ok()??;
        let chain = Chain::decode(&answer.bytes)?;
        let key = RemoteKey { window: Arc::clone(&self.window), schemes: chain.schemes };
        let certificates = chain.certificates.into_iter().map(CertificateDer::from).collect();
        Some(Arc::new(CertifiedKey::new(certificates, Arc::new(key))))
    }
}

/// A key that is not here.
#[derive(Debug)]
struct RemoteKey {
    window: Arc<Window>,
    schemes: Vec<u16>,
}

impl SigningKey for RemoteKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme =
            self.schemes.iter().map(|scheme| SignatureScheme::from(*scheme)).find(|own| offered.contains(own))?;
        Some(Box::new(RemoteSigner { window: Arc::clone(&self.window), scheme }))
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
    scheme: SignatureScheme,
}

impl Signer for RemoteSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let answer = self.window.ask(&Ask::Sign(self.scheme.into(), message.to_vec()));
        match answer {
            Ok(Some(answer)) => Ok(answer.bytes),
            _ => Err(rustls::Error::General("the keeper does not sign".into())),
        }
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}
