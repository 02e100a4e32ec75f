//! The header of version 2: a binary block (section 2.2 of the specification).

use proxy_header::{ParseConfig, Protocol, ProxyHeader, SslInfo};

use super::{Ends, Header, Malformed, V2_FIXED, WRONG};
use crate::facts::{Certificate, Facts, Verified};

/// Reads a whole header of somebody who speaks for a client.
pub(super) fn parse(bytes: &[u8]) -> Result<Header, Malformed> {
    let (header, length) = ProxyHeader::parse(bytes, ParseConfig::default()).map_err(|_| WRONG)?;
    if length != bytes.len() || !bytes.get(V2_FIXED + addresses_in(bytes)..).is_some_and(are_tlvs) {
        return Err(WRONG);
    }
    let ends = match header.proxied_address() {
        Some(address) if address.protocol != Protocol::Stream => {
            return Err(Malformed("the PROXY header is not of a TCP connection"));
        }
        Some(address) => Some(Ends::new(address.source, address.destination)),
        None => None,
    };
    let tls = header.ssl().filter(SslInfo::client_ssl).map(|ssl| tls(&header, &ssl));
    Ok(Header { ends, tls })
}

/// How long the addresses are (section 2.2).
fn addresses_in(header: &[u8]) -> usize {
    match header.get(FAMILY).map(|family| family >> 4) {
        Some(1) => 12,
        Some(2) => 36,
        _ => 216,
    }
}

/// Whether one field follows the other to the end. What is in them is the client's in part, as its name in another
/// alphabet: a field that cannot be read is left out, and refuses nobody.
fn are_tlvs(mut rest: &[u8]) -> bool {
    while let [kind, high, low, tail @ ..] = rest {
        let length = u16::from_be_bytes([*high, *low]).into();
        let Some((value, next)) = tail.split_at_checked(length) else { return false };
        if *kind == SSL && !value.get(SSL_FIXED..).is_some_and(are_tlvs) {
            return false;
        }
        rest = next;
    }
    rest.is_empty()
}

fn tls(header: &ProxyHeader<'_>, ssl: &SslInfo<'_>) -> Facts {
    let certificate = match (ssl.client_cert_conn() || ssl.client_cert_sess(), ssl.verify()) {
        (false, _) => Certificate::None,
        (true, 0) => Certificate::Verified(Verified { common_name: ssl.cn().and_then(plain), ..Verified::default() }),
        (true, _) => Certificate::Unverified,
    };
    Facts {
        version: ssl.version().and_then(plain),
        cipher: ssl.cipher().and_then(plain),
        group: None,
        sni: header.authority().and_then(plain),
        alpn: header.alpn().map(<[u8]>::to_vec),
        certificate,
    }
}

/// What the client itself wrote, as name or certificate, may hold anything; what no variable and no log line can hold
/// is not passed on.
fn plain(text: &str) -> Option<String> {
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// Where the family stands, in the upper half of a byte.
const FAMILY: usize = 13;

/// The field that tells of TLS, and what stands in it before its own fields.
const SSL: u8 = 0x20;
const SSL_FIXED: usize = 5;
