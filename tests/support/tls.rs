//! TLS as a test wants it: either end, with every choice and every byte in hand. The tests' only door to rustls.

use std::io::{self, Write};
use std::net::TcpStream;
use std::ops::{Deref, DerefMut};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, CommonState, ConnectionCommon, RootCertStore, ServerConfig, ServerConnection,
    SideData, StreamOwned, SupportedProtocolVersion,
};

use super::certificates::Site;
use super::peer::{Peer, Transport};

pub(crate) mod engine;
pub(crate) use rustls::NamedGroup;
pub(crate) use rustls::version::{TLS12, TLS13};

/// A TLS client that trusts the site's authority, and how it shakes hands.
#[derive(Clone)]
pub(crate) struct Client {
    roots: Arc<RootCertStore>,
    name: &'static str,
    versions: Vec<&'static SupportedProtocolVersion>,
    alpn: Vec<Vec<u8>>,
    groups: Option<Vec<NamedGroup>>,
    shown: Option<Arc<CertifiedKey>>,
}

/// A client's handshake, begun.
pub(crate) struct Handshake {
    connection: ClientConnection,
}

impl Client {
    pub(crate) fn new(site: &Site) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(site.authority.clone()).unwrap();
        Self {
            roots: Arc::new(roots),
            name: "localhost",
            versions: vec![&TLS13, &TLS12],
            alpn: vec![],
            groups: None,
            shown: None,
        }
    }

    pub(crate) fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    pub(crate) fn versions(self, versions: &[&'static SupportedProtocolVersion]) -> Self {
        Self { versions: versions.to_vec(), ..self }
    }

    pub(crate) fn alpn(self, names: &[&str]) -> Self {
        Self { alpn: names.iter().map(|name| name.as_bytes().to_vec()).collect(), ..self }
    }

    /// Offers these groups of a key exchange, with a key share of the first.
    pub(crate) fn groups(self, groups: &[NamedGroup]) -> Self {
        Self { groups: Some(groups.to_vec()), ..self }
    }

    /// Shows this site's certificate, if it is asked for one.
    pub(crate) fn showing(self, site: &Site) -> Self {
        Self { shown: Some(certified(site)), ..self }
    }

    /// Begins the handshake; nothing is sent yet.
    pub(crate) fn begin(&self) -> Handshake {
        let provider = self.groups.as_deref().map_or_else(aws_lc_rs::default_provider, provider_with);
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&self.versions)
            .unwrap()
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        if let Some(shown) = &self.shown {
            config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(Arc::clone(shown)));
        }
        config.alpn_protocols.clone_from(&self.alpn);
        let name = ServerName::try_from(self.name).unwrap();
        Handshake { connection: ClientConnection::new(Arc::new(config), name).unwrap() }
    }

    /// The whole handshake.
    pub(crate) fn shake(&self, peer: &mut Peer) -> io::Result<()> {
        self.begin().finish(peer)
    }
}

impl Handshake {
    /// The ClientHello, for a client that does not wait for the go-ahead.
    pub(crate) fn client_hello(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.connection.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// From here on the peer is spoken to in TLS; or without it, if the handshake fails.
    pub(crate) fn finish(mut self, peer: &mut Peer) -> io::Result<()> {
        let mut transport = peer.take_transport();
        while self.connection.is_handshaking() {
            if let Err(why) = self.connection.complete_io(&mut transport) {
                *peer = Peer::over(transport);
                return Err(why);
            }
        }
        *peer = Peer::new(StreamOwned::new(self.connection, transport));
        Ok(())
    }
}

/// Whether the two belong together is for the other side to find out.
fn certified(site: &Site) -> Arc<CertifiedKey> {
    let key = aws_lc_rs::sign::any_supported_type(&site.key).unwrap();
    Arc::new(CertifiedKey::new(vec![site.certificate.clone()], key))
}

fn provider_with(groups: &[NamedGroup]) -> CryptoProvider {
    let known = |name| *aws_lc_rs::ALL_KX_GROUPS.iter().find(|group| group.name() == name).unwrap();
    CryptoProvider { kx_groups: groups.iter().map(|name| known(*name)).collect(), ..aws_lc_rs::default_provider() }
}

/// The other end: accepts the handshake as this site.
pub(crate) fn accept(site: &Site, stream: TcpStream) -> io::Result<Peer> {
    accept_from(site, stream, WebPkiClientVerifier::no_client_auth(), rustls::ALL_VERSIONS)
}

/// The same, and the other side must show a certificate of the site's authority.
pub(crate) fn accept_known(
    site: &Site,
    stream: TcpStream,
    versions: &[&'static SupportedProtocolVersion],
) -> io::Result<Peer> {
    accept_from(site, stream, known(site), versions)
}

fn known(site: &Site) -> Arc<dyn ClientCertVerifier> {
    let mut roots = RootCertStore::empty();
    roots.add(site.authority.clone()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap()
}

/// The same in these versions alone.
pub(crate) fn accept_in(
    site: &Site,
    stream: TcpStream,
    versions: &[&'static SupportedProtocolVersion],
) -> io::Result<Peer> {
    accept_from(site, stream, WebPkiClientVerifier::no_client_auth(), versions)
}

/// The same with no group but this one, whether or not the other side must show a certificate.
pub(crate) fn accept_by_group(site: &Site, stream: TcpStream, group: NamedGroup, knows: bool) -> io::Result<Peer> {
    let verifier = if knows { known(site) } else { WebPkiClientVerifier::no_client_auth() };
    accept_with(site, Peer::tcp(stream), verifier, &[&TLS13], provider_with(&[group]))
}

/// The same over a socket in the file system.
pub(crate) fn accept_over(site: &Site, stream: UnixStream) -> io::Result<Peer> {
    accept_by(site, Peer::unix(stream), WebPkiClientVerifier::no_client_auth(), rustls::ALL_VERSIONS)
}

/// The same with somebody who was spoken to before.
pub(crate) fn accept_after(site: &Site, peer: Peer) -> io::Result<Peer> {
    accept_by(site, peer, WebPkiClientVerifier::no_client_auth(), rustls::ALL_VERSIONS)
}

fn accept_from(
    site: &Site,
    stream: TcpStream,
    verifier: Arc<dyn ClientCertVerifier>,
    versions: &[&'static SupportedProtocolVersion],
) -> io::Result<Peer> {
    accept_by(site, Peer::tcp(stream), verifier, versions)
}

/// The same, whatever was said before.
fn accept_by(
    site: &Site,
    peer: Peer,
    verifier: Arc<dyn ClientCertVerifier>,
    versions: &[&'static SupportedProtocolVersion],
) -> io::Result<Peer> {
    accept_with(site, peer, verifier, versions, aws_lc_rs::default_provider())
}

fn accept_with(
    site: &Site,
    mut peer: Peer,
    verifier: Arc<dyn ClientCertVerifier>,
    versions: &[&'static SupportedProtocolVersion],
    provider: CryptoProvider,
) -> io::Result<Peer> {
    let mut connection = server(site, verifier, versions, provider);
    let mut transport = peer.take_transport();
    while connection.is_handshaking() {
        connection.complete_io(&mut transport)?;
    }
    Ok(Peer::new(StreamOwned::new(connection, transport)))
}

fn server(
    site: &Site,
    verifier: Arc<dyn ClientCertVerifier>,
    versions: &[&'static SupportedProtocolVersion],
    provider: CryptoProvider,
) -> ServerConnection {
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified(site))));
    ServerConnection::new(Arc::new(config)).unwrap()
}

impl<C, S> Transport for StreamOwned<C, Box<dyn Transport>>
where
    C: DerefMut + Deref<Target = ConnectionCommon<S>> + Send + 'static,
    S: SideData + 'static,
{
    fn finish(&mut self) {
        self.conn.send_close_notify();
        self.flush().expect("the peer listens");
        self.sock.finish();
    }

    fn leave_tls(mut self: Box<Self>) -> Box<dyn Transport> {
        self.conn.send_close_notify();
        self.flush().expect("the peer listens");
        self.sock
    }

    fn break_tls(mut self: Box<Self>) -> Box<dyn Transport> {
        // A record that nobody has the key of; what comes of it is an alert.
        let record = [&[23, 3, 3, 0, 32][..], &[0; 32]].concat();
        self.conn.read_tls(&mut &record[..]).unwrap();
        self.conn.process_new_packets().expect_err("it cannot be read");
        while self.conn.wants_write() {
            self.conn.write_tls(&mut self.sock).expect("the peer listens");
        }
        self.sock
    }

    fn is_reset(&self) -> bool {
        self.sock.is_reset()
    }

    fn tls(&self) -> Option<&CommonState> {
        Some(&self.conn)
    }
}
