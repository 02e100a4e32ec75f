//! The PROXY protocol, versions 1 and 2 (haproxy `doc/proxy-protocol.txt`): who the client is, told by whoever stands
//! before us, or told to the server behind us. The only door to proxy-header.
//!
//! Pure: bytes in, a header out, and back. A header is never looked for unless the administrator asked for it; then
//! there must be one.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use proxy_header::{ParseConfig, Protocol, ProxiedAddress, ProxyHeader, SslInfo, Tlv};

/// The longest header in bytes. Version 1 is never longer than 107; of version 2 this is what nginx takes, and ten
/// times what haproxy sends with everything it can tell.
pub const MAX_HEADER: usize = 4096;

/// The longest header of version 1 in bytes, CRLF included (section 2.1).
pub const MAX_V1: usize = 107;

/// How long the header may take. Whoever sends it sends it at once.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Both ends of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The client's.
    pub client: SocketAddr,
    /// The one the client connected to.
    pub server: SocketAddr,
}

/// Which form of the header is sent (`--proxy-protocol`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text: addresses and ports.
    V1,
    /// Binary: with what is known of TLS.
    V2,
}

/// What a header tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// `None` if the sender speaks for itself (LOCAL), or does not know (UNKNOWN): the connection's own are meant.
    pub ends: Option<Ends>,
    /// TLS between the client and the sender.
    pub tls: Option<Tls>,
}

/// TLS between the client and whoever sends the header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// `TLSv1.3` and the like.
    pub version: Option<String>,
    /// The cipher suite.
    pub cipher: Option<String>,
    /// The name the client asked for (SNI).
    pub sni: Option<String>,
    /// The ALPN protocol that was agreed on.
    pub alpn: Option<Vec<u8>>,
    /// What became of the client's certificate.
    pub certificate: Certificate,
}

/// The client's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Certificate {
    /// It showed none.
    #[default]
    None,
    /// It showed one that did not verify.
    Failed,
    /// It showed one that verified, with this common name.
    Verified(Option<String>),
}

/// The bytes are no header: why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// How many bytes to read next, so that nothing behind the header is read. Zero when the header is whole.
///
/// # Errors
/// [`Malformed`] as soon as it can be known.
pub fn missing(seen: &[u8]) -> Result<usize, Malformed> {
    let begins = |signature: &[u8]| signature.iter().zip(seen).all(|(wanted, byte)| wanted == byte);
    if begins(V2_SIGNATURE) && !seen.is_empty() {
        return missing_of_v2(seen);
    }
    if !begins(V1_SIGNATURE) {
        return Err(Malformed("there is no PROXY header"));
    }
    match seen {
        [.., b'\r', b'\n'] if seen.len() <= MAX_V1 => Ok(0),
        _ if seen.len() >= MAX_V1 => Err(Malformed("the PROXY line is too long")),
        [.., b'\n'] => Err(Malformed("the PROXY line does not end in CRLF")),
        _ if seen.len() < V1_SHORTEST => Ok(V1_SHORTEST - seen.len()),
        [.., b'\r'] => Ok(1),
        // The end is a CRLF, so it is two bytes away at least.
        _ => Ok(2.min(MAX_V1 - seen.len())),
    }
}

fn missing_of_v2(seen: &[u8]) -> Result<usize, Malformed> {
    let Some(length) = seen.get(V2_LENGTH..V2_FIXED) else { return Ok(V1_SHORTEST.max(seen.len() + 1) - seen.len()) };
    let whole = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)) + V2_FIXED;
    if whole > MAX_HEADER {
        return Err(Malformed("the PROXY header is too long"));
    }
    whole.checked_sub(seen.len()).ok_or(Malformed("there is something behind the PROXY header"))
}

/// Reads a whole header.
///
/// # Errors
/// [`Malformed`].
pub fn parse(bytes: &[u8]) -> Result<Header, Malformed> {
    if missing(bytes)? > 0 {
        return Err(Malformed("the PROXY header is cut short"));
    }
    if bytes.starts_with(V1_SIGNATURE) {
        check_line(bytes)?;
    }
    let (header, length) = ProxyHeader::parse(bytes, ParseConfig::default()).map_err(|_| WRONG)?;
    if length != bytes.len() || header.tlvs().any(|tlv| tlv.is_err()) {
        return Err(WRONG);
    }
    let ends = match header.proxied_address() {
        Some(address) if address.protocol != Protocol::Stream => {
            return Err(Malformed("the PROXY header tells of no TCP"));
        }
        Some(address) => Some(Ends { client: address.source, server: address.destination }),
        None => None,
    };
    let tls = header.ssl().map(|ssl| tls(&header, &ssl)).transpose()?.flatten();
    Ok(Header { ends, tls })
}

/// What the crate lets pass in a line: a word behind UNKNOWN without a blank, signs and leading zeros in ports.
fn check_line(line: &[u8]) -> Result<(), Malformed> {
    let line = line.strip_suffix(b"\r\n").unwrap_or(line);
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let number = |word: &[u8]| word.iter().all(u8::is_ascii_digit) && (word.len() == 1 || !word.starts_with(b"0"));
    match words.as_slice() {
        _ if line.iter().any(u8::is_ascii_control) => Err(WRONG),
        [_, b"UNKNOWN", ..] => Ok(()),
        [_, b"TCP4" | b"TCP6", _, _, client, server] if number(client) && number(server) => Ok(()),
        _ => Err(WRONG),
    }
}

fn tls(header: &ProxyHeader<'_>, ssl: &SslInfo<'_>) -> Result<Option<Tls>, Malformed> {
    if ssl.tlvs().any(|tlv| tlv.is_err()) {
        return Err(WRONG);
    }
    if !ssl.client_ssl() {
        return Ok(None);
    }
    let certificate = match (ssl.client_cert_conn() || ssl.client_cert_sess(), ssl.verify()) {
        (false, _) => Certificate::None,
        (true, 0) => Certificate::Verified(ssl.cn().and_then(plain)),
        (true, _) => Certificate::Failed,
    };
    Ok(Some(Tls {
        version: ssl.version().and_then(plain),
        cipher: ssl.cipher().and_then(plain),
        sni: header.authority().and_then(plain),
        alpn: header.alpn().map(<[u8]>::to_vec),
        certificate,
    }))
}

/// What the client itself wrote, as name or certificate, may hold anything; what no variable and no log line can hold
/// is not passed on.
fn plain(text: &str) -> Option<String> {
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// The header to send.
pub fn header(version: Version, ends: Ends, tls: Option<&Tls>) -> Vec<u8> {
    let (client, server) = same_family(ends);
    let address = Some(ProxiedAddress::stream(client, server));
    let mut bytes = Vec::new();
    let written = match version {
        Version::V1 => ProxyHeader::with_tlvs(address, []).encode_v1(&mut bytes),
        Version::V2 => ProxyHeader::with_tlvs(address, tls.map(tlvs).unwrap_or_default()).encode_v2(&mut bytes),
    };
    debug_assert!(written.is_ok(), "both addresses are of one family, and the names are short");
    bytes
}

/// The header of a connection that is this program's own affair: the backend is asked whether it serves.
pub fn local(version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = ProxyHeader::with_local();
    let written = match version {
        Version::V1 => header.encode_v1(&mut bytes),
        Version::V2 => header.encode_v2(&mut bytes),
    };
    debug_assert!(written.is_ok(), "there is nothing in it that could be wrong");
    bytes
}

fn tlvs(tls: &Tls) -> Vec<Tlv<'_>> {
    let (shown, verify, name) = match &tls.certificate {
        Certificate::None => (false, 1, None),
        Certificate::Failed => (true, 1, None),
        Certificate::Verified(name) => (true, 0, name.as_deref()),
    };
    let mut ssl = SslInfo::new(true, shown, shown, verify);
    let short = |text: &str| text.len() <= MAX_NAME;
    if let Some(version) = tls.version.as_deref() {
        ssl.append_tlv(Tlv::SslVersion(version.into()));
    }
    if let Some(cipher) = tls.cipher.as_deref() {
        ssl.append_tlv(Tlv::SslCipher(cipher.into()));
    }
    if let Some(name) = name.filter(|name| short(name)) {
        ssl.append_tlv(Tlv::SslCn(name.into()));
    }
    let alpn = tls.alpn.as_deref().map(|alpn| Tlv::Alpn(alpn.into()));
    let sni = tls.sni.as_deref().filter(|sni| short(sni)).map(|sni| Tlv::Authority(sni.into()));
    alpn.into_iter().chain(sni).chain([Tlv::Ssl(ssl)]).collect()
}

/// A header has room for one family. Where the kernel shows an IPv4 client as IPv6 (`::ffff:192.0.2.1`) it is IPv4.
fn same_family(ends: Ends) -> (SocketAddr, SocketAddr) {
    let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    let (client, server) = (canonical(ends.client), canonical(ends.server));
    let unknown = |ip: IpAddr| SocketAddr::new(ip, server.port());
    match (client, server) {
        (SocketAddr::V4(_), SocketAddr::V6(_)) => (client, unknown(Ipv4Addr::UNSPECIFIED.into())),
        (SocketAddr::V6(_), SocketAddr::V4(_)) => (client, unknown(Ipv6Addr::UNSPECIFIED.into())),
        _ => (client, server),
    }
}

/// The variables that tell of the client, by their names behind `${PROTO}`; `None` unsets.
pub fn variables(ends: &Ends) -> [(&'static str, Option<String>); 6] {
    let ip = |end: SocketAddr| Some(end.ip().to_canonical().to_string());
    let port = |end: SocketAddr| Some(end.port().to_string());
    [
        ("REMOTEIP", ip(ends.client)),
        ("REMOTEPORT", port(ends.client)),
        ("LOCALIP", ip(ends.server)),
        ("LOCALPORT", port(ends.server)),
        ("REMOTEHOST", None),
        ("REMOTEINFO", None),
    ]
}

impl Tls {
    /// The variables that tell of TLS, with the names of mod_ssl and s6-tlsd.
    pub fn variables(&self) -> Vec<(&'static str, &str)> {
        let (verify, name) = match &self.certificate {
            Certificate::None => ("NONE", None),
            Certificate::Failed => ("FAILED", None),
            Certificate::Verified(name) => ("SUCCESS", name.as_deref()),
        };
        let known = [
            ("SSL_PROTOCOL", self.version.as_deref()),
            ("SSL_CIPHER", self.cipher.as_deref()),
            ("SSL_TLS_SNI_SERVERNAME", self.sni.as_deref()),
            ("SSL_CLIENT_VERIFY", Some(verify)),
            ("SSL_CLIENT_S_DN_CN", name),
        ];
        known.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

impl Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

const WRONG: Malformed = Malformed("the PROXY header is malformed");

const V1_SIGNATURE: &[u8] = b"PROXY ";

/// `PROXY UNKNOWN` and CRLF; a header of version 2 is longer.
const V1_SHORTEST: usize = 15;

const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Where in version 2 the length of the rest stands, and where the rest begins.
const V2_LENGTH: usize = 14;
const V2_FIXED: usize = 16;

/// The longest name that is passed on: a host name has 253 bytes at most, a common name 64 characters.
const MAX_NAME: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(client: &str, server: &str) -> Ends {
        Ends { client: client.parse().expect("an address"), server: server.parse().expect("an address") }
    }

    fn tls_of_a_client() -> Tls {
        Tls {
            version: Some("TLSv1.3".into()),
            cipher: Some("TLS_AES_256_GCM_SHA384".into()),
            sni: Some("mx.example".into()),
            alpn: Some(b"smtp".to_vec()),
            certificate: Certificate::Verified(Some("laptop".into())),
        }
    }

    /// Reads as the programs do: as much as is asked for and no more.
    fn read(stream: &[u8]) -> Result<(Header, usize), Malformed> {
        let mut seen = 0;
        loop {
            match missing(&stream[..seen])? {
                0 => return parse(&stream[..seen]).map(|header| (header, seen)),
                more => seen = (seen + more).min(stream.len() + 1),
            }
            if seen > stream.len() {
                return Err(Malformed("cut short"));
            }
        }
    }

    #[test]
    fn what_is_sent_is_what_is_read_and_nothing_behind_it() {
        let v4 = ends("192.0.2.1:4711", "192.0.2.2:25");
        let v6 = ends("[2001:db8::1]:4711", "[2001:db8::2]:25");
        for (version, ends, tls) in [
            (Version::V1, v4, None),
            (Version::V1, v6, None),
            (Version::V2, v4, None),
            (Version::V2, v6, Some(tls_of_a_client())),
        ] {
            let mut bytes = header(version, ends, tls.as_ref());
            let length = bytes.len();
            for behind in [&b""[..], b"\r\n", b"EHLO laptop\r\n", b"\x16\x03\x01"] {
                bytes.truncate(length);
                bytes.extend_from_slice(behind);
                assert_eq!(read(&bytes), Ok((Header { ends: Some(ends), tls: tls.clone() }, length)));
            }
        }
        for version in [Version::V1, Version::V2] {
            assert_eq!(read(&local(version)), Ok((Header::default(), local(version).len())));
        }
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
        for (length, fits) in [(MAX_V1 - 1, true), (MAX_V1, true), (MAX_V1 + 1, false)] {
            let line = format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16));
            assert_eq!(line.len(), length);
            assert_eq!(read(line.as_bytes()).is_ok(), fits, "{length} bytes");
        }
    }

    #[test]
    fn a_header_may_be_as_long_as_the_limit_and_no_longer() {
        for (length, fits) in [(MAX_HEADER - 1, true), (MAX_HEADER, true), (MAX_HEADER + 1, false)] {
            let address = ProxiedAddress::stream("192.0.2.1:1".parse().unwrap(), "192.0.2.2:2".parse().unwrap());
            let padding = Tlv::Noop(length - V2_FIXED - 12 - 3);
            let mut bytes = Vec::new();
            ProxyHeader::with_tlvs(Some(address), [padding]).encode_v2(&mut bytes).unwrap();
            assert_eq!(bytes.len(), length);
            assert_eq!(read(&bytes).is_ok(), fits, "{length} bytes");
        }
    }

    #[test]
    fn what_is_no_header_is_refused_with_its_first_byte() {
        for stream in [&b"EHLO laptop\r\n"[..], b"PROXX TCP4", b"\r\n\r\n\0\r\nQUIX", b"\x16\x03\x01", b"p", b"\n"] {
            let known = (1..=stream.len()).find(|seen| missing(&stream[..*seen]).is_err());
            assert_eq!(
                known,
                (1..=stream.len())
                    .find(|n| { !V1_SIGNATURE.starts_with(&stream[..*n]) && !V2_SIGNATURE.starts_with(&stream[..*n]) })
            );
        }
    }

    #[test]
    fn a_line_that_is_not_to_the_letter_is_refused() {
        for line in [
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            "PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY UNKNOWNX\r\n",
            "PROXY  UNKNOWN\r\n",
            "PROXY UNKNOWN\n\r\n",
            "PROXY UNKNOWN x\ny\r\n",
            "PROXY TCP4 192.0.2.1\0 192.0.2.2 1 2\r\n",
        ] {
            assert!(read(line.as_bytes()).is_err(), "{line:?}");
        }
    }

    #[test]
    fn a_header_that_is_not_to_the_letter_is_refused() {
        let good = header(Version::V2, ends("192.0.2.1:1", "192.0.2.2:2"), Some(&tls_of_a_client()));
        assert!(read(&good).is_ok());
        for (at, byte) in [(12, 0x11), (12, 0x22), (13, 0x12), (13, 0x13), (13, 0x41), (17 + 12, 0xff)] {
            let mut bad = good.clone();
            bad[at] = byte;
            assert!(read(&bad).is_err(), "byte {at} is {byte:#x}");
        }
        for length in 1..good.len() {
            assert!(parse(&good[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn names_that_no_variable_can_hold_are_left_out() {
        let tls = Tls { sni: Some("a\nb".into()), ..tls_of_a_client() };
        let bytes = header(Version::V2, ends("192.0.2.1:1", "192.0.2.2:2"), Some(&tls));
        assert_eq!(parse(&bytes).unwrap().tls.unwrap(), Tls { sni: None, ..tls_of_a_client() });
    }

    #[test]
    fn an_ipv4_client_of_an_ipv6_socket_is_told_as_ipv4() {
        let mapped = ends("[::ffff:192.0.2.1]:4711", "[::ffff:192.0.2.2]:25");
        let line = "PROXY TCP4 192.0.2.1 192.0.2.2 4711 25\r\n";
        assert_eq!(header(Version::V1, mapped, None), line.as_bytes());
        let mixed = header(Version::V1, ends("[2001:db8::1]:4711", "192.0.2.2:25"), None);
        assert_eq!(mixed, b"PROXY TCP6 2001:db8::1 :: 4711 25\r\n");
    }
}
