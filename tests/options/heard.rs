//! What is heard, in the words of the table.

use std::io;

use starttls_wrapper::proxy::Header;

use super::support::peer::Peer;

/// A whole reply as SMTP has them; none if the end comes first.
pub(crate) fn reply(peer: &mut Peer) -> Option<String> {
    let mut lines = Vec::new();
    while let Ok(Some(line)) = peer.line() {
        let last = line.as_bytes().get(3) != Some(&b'-');
        lines.push(line);
        if last {
            break;
        }
    }
    (!lines.is_empty()).then(|| lines.join(", "))
}

/// What else is said, and how it ends.
pub(crate) fn ending(peer: &mut Peer) -> Vec<String> {
    let mut saw = Vec::new();
    let end = loop {
        match peer.line() {
            Ok(Some(line)) => saw.push(line),
            Ok(None) => break if peer.is_tls() { "close_notify".to_owned() } else { "end".to_owned() },
            Err(why) => break alert(&why),
        }
    };
    saw.push(end);
    saw
}

/// `TLSv1.3`.
pub(crate) fn secured(peer: &Peer) -> String {
    format!("{:?}", peer.tls().protocol_version().unwrap()).replace('_', ".")
}

/// Why TLS ended, in a word.
pub(crate) fn alert(why: &io::Error) -> String {
    match why.to_string().split_once("fatal alert: ") {
        Some((_, alert)) => format!("alert {alert}"),
        None if why.kind() == io::ErrorKind::UnexpectedEof => "cut".into(),
        None if why.to_string().starts_with("invalid peer certificate") => "refuses the certificate".into(),
        None => why.to_string(),
    }
}

/// What a PROXY header tells.
pub(crate) fn introduced(header: &Header, client: &str) -> String {
    let Header { ends, tls } = header;
    let ends = match ends {
        None => "LOCAL".to_owned(),
        Some(ends) if ends.client.to_string() == client => "{client}".to_owned(),
        Some(ends) => format!("{} {}", ends.client, ends.server),
    };
    let version = tls.as_ref().and_then(|tls| tls.version.clone());
    format!("PROXY {ends}{}", version.map(|version| format!(" {version}")).unwrap_or_default())
}

/// A message without the program's name; of the session line its beginning.
pub(crate) fn told(line: &str) -> &str {
    let line = line.strip_prefix("starttls-wrapper: ").unwrap_or(line);
    if line.starts_with("info: session ") { "info: session" } else { line }
}
