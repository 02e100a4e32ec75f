//! A TLS server as a test of a caller wants it, and what it saw of the caller. With tls.rs the tests' only door to rustls.

use std::io;
use std::sync::{Arc, Mutex};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{NamedGroup, RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};

use starttls_protocols::PROTOCOLS;

use super::certificates::Site;
use super::peer::Peer;

/// How it shakes hands.
pub(crate) struct Server<'a> {
    pub(crate) site: &'a Site,
    pub(crate) versions: Vec<&'static SupportedProtocolVersion>,
    /// No hybrid group.
    pub(crate) classical: bool,
    /// No group that a caller offers a key share of.
    pub(crate) retries: bool,
    /// The caller must show a certificate of the site's authority.
    pub(crate) demands: bool,
}

impl<'a> Server<'a> {
    pub(crate) fn new(site: &'a Site) -> Self {
        Self { site, versions: rustls::ALL_VERSIONS.to_vec(), classical: false, retries: false, demands: false }
    }

    /// Shakes hands with whoever was spoken to before, and says what was agreed on.
    pub(crate) fn accept(&self, mut peer: Peer) -> io::Result<(Peer, String)> {
        let mut provider = aws_lc_rs::default_provider();
        if self.classical {
            provider.kx_groups.retain(|group| group.name() == NamedGroup::X25519);
        }
        if self.retries {
            provider.kx_groups.retain(|group| group.name() == NamedGroup::secp384r1);
        }
        let asked = Arc::new(Mutex::new(String::from("no sni")));
        let mut connection = ServerConnection::new(Arc::new(self.config(provider, &asked))).unwrap();
        let mut transport = peer.take_transport();
        while connection.is_handshaking() {
            if let Err(why) = connection.complete_io(&mut transport) {
                // The alert, which complete_io leaves behind.
                while connection.wants_write() && connection.write_tls(&mut transport).is_ok() {}
                return Err(why);
            }
        }
        let mut facts = vec![format!("{:?}", connection.protocol_version().unwrap()).replace('_', ".")];
        facts.push(asked.lock().unwrap().clone());
        facts.extend(connection.alpn_protocol().map(|alpn| format!("alpn {}", String::from_utf8_lossy(alpn))));
        facts.extend(connection.peer_certificates().map(|_| "a certificate".to_owned()));
        Ok((Peer::new(StreamOwned::new(connection, transport)), facts.join(", ")))
    }

    fn config(&self, provider: CryptoProvider, asked: &Arc<Mutex<String>>) -> ServerConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.site.authority.clone()).unwrap();
        let key = aws_lc_rs::sign::any_supported_type(&self.site.key).unwrap();
        let shown = Arc::new(CertifiedKey::new(vec![self.site.certificate.clone()], key));
        let provider = Arc::new(provider);
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let verifier = if self.demands { verifier.build().unwrap() } else { WebPkiClientVerifier::no_client_auth() };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(Listener { shown, asked: Arc::clone(asked) }));
        let names = PROTOCOLS.iter().flat_map(|protocol| protocol.alpn);
        config.alpn_protocols = names.map(|name| name.to_vec()).collect();
        config
    }
}

/// Notes the name that is asked for.
#[derive(Debug)]
struct Listener {
    shown: Arc<CertifiedKey>,
    asked: Arc<Mutex<String>>,
}

impl ResolvesServerCert for Listener {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(name) = hello.server_name() {
            *self.asked.lock().unwrap() = format!("sni {name}");
        }
        Some(Arc::clone(&self.shown))
    }
}
