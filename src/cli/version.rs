//! What `--version` prints.

use starttls_protocols::Protocol;

use crate::tls;

/// The program, what it does TLS with, and the protocols by the names `--protocol` takes.
pub fn version(program: &str, protocols: &[Protocol]) -> String {
    let protocols: Vec<&str> = protocols.iter().map(|protocol| protocol.name).collect();
    let lines = [
        format!("{program} {}\n", env!("CARGO_PKG_VERSION")),
        format!("TLS: {}; {}\n", tls::LIBRARY, tls::groups().join(" ")),
        format!("protocols: {}\n", protocols.join(" ")),
    ];
    lines.concat()
}
