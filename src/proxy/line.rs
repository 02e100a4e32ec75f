//! The header of version 1: one line of words (section 2.1 of the specification).

use std::net::{IpAddr, SocketAddr};

use super::{Ends, Malformed, WRONG, unspecified};

/// Reads a whole line; `None` is a sender that does not know.
///
/// The addresses count, not the word before them: nginx names the family of one and writes another behind it
/// (`TCP4 192.0.2.1 ::1`), or the path of a Unix socket in place of the server's (`ngx_proxy_protocol_write`).
pub(super) fn parse(line: &[u8]) -> Result<Option<Ends>, Malformed> {
    let line = line.strip_suffix(b"\r\n").and_then(|line| str::from_utf8(line).ok()).ok_or(WRONG)?;
    if line.contains(char::is_control) {
        return Err(WRONG);
    }
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        [_, "UNKNOWN", ..] => Ok(None),
        [_, "TCP4" | "TCP6", client, server, client_port, server_port] => {
            let client: IpAddr = client.parse().map_err(|_| WRONG)?;
            let server = match server.starts_with("unix:") {
                true => unspecified(client),
                false => server.parse().map_err(|_| WRONG)?,
            };
            let (client_port, server_port) = (port(client_port)?, port(server_port)?);
            Ok(Some(Ends::new(SocketAddr::new(client, client_port), SocketAddr::new(server, server_port))))
        }
        _ => Err(WRONG),
    }
}

/// Decimal digits, without a sign or leading zeros.
fn port(word: &str) -> Result<u16, Malformed> {
    let plain = word.len() == 1 || !word.starts_with(['0', '+']);
    word.parse().ok().filter(|_| plain).ok_or(WRONG)
}
