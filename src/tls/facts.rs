//! What a handshake came to, once it is over.

use super::client_cert::{self, Verification};
use super::version_name;
use crate::facts::Facts;

/// Nothing while there is no session yet.
pub(super) fn of(connection: &rustls::Connection, verification: &Verification) -> Option<Facts> {
    let version = version_name(connection.protocol_version()?);
    // rustls writes TLS13_AES_256_GCM_SHA384 where the registry has TLS_AES_256_GCM_SHA384.
    let suite = connection.negotiated_cipher_suite()?.suite().as_str();
    let sni = match connection {
        rustls::Connection::Server(server) => server.server_name(),
        rustls::Connection::Client(_) => None,
    };
    Some(Facts {
        version: Some(version.into()),
        cipher: suite.map(|suite| suite.replace("TLS13_", "TLS_")),
        group: connection.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name())),
        sni: sni.map(str::to_owned),
        alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
        certificate: client_cert::certificate(verification, connection.peer_certificates()),
    })
}
