//! What a handshake came to, once it is over.

use super::guest::{Guest, Verification};
use super::version_name;
use crate::window::MAX_FACT;

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
    /// The ALPN protocol.
    pub alpn: Option<Vec<u8>>,
    /// Who the client proved to be.
    pub guest: Guest,
}

impl Facts {
    /// The variables that tell prog of TLS, with the names of mod_ssl and s6-tlsd; each `NAME=VALUE`.
    pub fn variables(&self) -> Vec<String> {
        let mut variables = vec![
            format!("SSL_PROTOCOL={}", self.version),
            format!("SSL_CIPHER={}", self.cipher),
            concat!("SSL_VERSION_INTERFACE=starttls-wrapper/", env!("CARGO_PKG_VERSION")).into(),
        ];
        variables.extend(self.sni.iter().map(|sni| format!("SSL_TLS_SNI_SERVERNAME={sni}")));
        variables.extend(self.guest.variables());
        // The keeper would take a longer one for an attack. Half a name would be another's.
        variables.retain(|variable| variable.len() <= MAX_FACT);
        variables
    }

    pub(super) fn of(connection: &rustls::Connection, verification: &Verification) -> Option<Self> {
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
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
            guest: Guest::of(verification, connection.peer_certificates()),
        })
    }
}
