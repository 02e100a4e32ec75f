//! The PROXY protocol, versions 1 and 2 (haproxy `doc/proxy-protocol.txt`): who the client is, told by whoever stands
//! before us, or told to the server behind us. The only door to proxy-header.
//!
//! Bytes in, a header out, and back; whoever has a descriptor hands in how it is read. A header is never looked for
//! unless the administrator asked for it; then there must be one.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use proxy_header::{ProxiedAddress, ProxyHeader, SslInfo, Tlv};

use crate::facts::{Certificate, Facts};
use crate::message::Error;

mod block;
mod line;
mod variables;

pub use variables::{Sets, UcspiEnds};

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

impl Ends {
    /// Where a kernel or a header shows an IPv4 address as IPv6 (`::ffff:192.0.2.1`) it is IPv4.
    pub fn new(client: SocketAddr, server: SocketAddr) -> Self {
        let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
        Self { client: canonical(client), server: canonical(server) }
    }
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
    pub tls: Option<Facts>,
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

/// Reads the header that must come first, and not a byte behind it, which another program may read. `hear` waits for bytes
/// and returns how many it brought, none at the end. `None` is a connection that ended before its first byte.
///
/// # Errors
/// [`Error::Environment`] if there is no header, and what `hear` fails with.
pub fn read(mut hear: impl FnMut(&mut [u8]) -> Result<usize, Error>) -> Result<Option<Header>, Error> {
    let unable = |why: Malformed| Error::Environment(format!("unable to read the PROXY header: {why}"));
    let mut header = Vec::new();
    loop {
        let missing = missing(&header).map_err(unable)?;
        if missing == 0 {
            return parse(&header).map(Some).map_err(unable);
        }
        let seen = header.len();
        header.resize(seen + missing, 0);
        match hear(header.get_mut(seen..).unwrap_or_default())? {
            0 if seen == 0 => return Ok(None),
            0 => return Err(unable(Malformed("the connection was closed before its end"))),
            count => header.truncate(seen + count),
        }
    }
}

/// Reads a whole header.
///
/// # Errors
/// [`Malformed`].
pub fn parse(bytes: &[u8]) -> Result<Header, Malformed> {
    if missing(bytes)? > 0 {
        return Err(Malformed("the PROXY header is cut short"));
    }
    match bytes.get(V2_COMMAND..V2_LENGTH) {
        _ if bytes.starts_with(V1_SIGNATURE) => line::parse(bytes).map(|ends| Header { ends, tls: None }),
        // What the block holds is discarded, whatever it is (section 2.2).
        Some([LOCAL, _] | [PROXY, UNSPEC]) => Ok(Header::default()),
        _ => block::parse(bytes),
    }
}

/// The header to send.
pub fn header(version: Version, ends: Ends, tls: Option<&Facts>) -> Vec<u8> {
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

/// The header of a connection that is this program's own and no client's: it only asks whether the backend serves.
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

fn tlvs(tls: &Facts) -> Vec<Tlv<'_>> {
    let (shown, verify, name) = match &tls.certificate {
        Certificate::None => (false, 1, None),
        Certificate::Unverified | Certificate::Failed(_) => (true, 1, None),
        Certificate::Verified(verified) => (true, 0, verified.common_name.as_deref()),
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

/// A header has room for one family, which is the client's.
fn same_family(ends: Ends) -> (SocketAddr, SocketAddr) {
    let Ends { client, server } = Ends::new(ends.client, ends.server);
    let same = client.is_ipv4() == server.is_ipv4();
    (client, if same { server } else { SocketAddr::new(unspecified(client.ip()), server.port()) })
}

/// Stands for an address that is not known, in the family of one that is.
fn unspecified(ip: IpAddr) -> IpAddr {
    if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
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

/// Where in version 2 the version and command stand, and the family behind them; the length of the rest; the rest.
const V2_COMMAND: usize = 12;
const V2_LENGTH: usize = 14;
const V2_FIXED: usize = 16;

/// Version 2 with its commands: the sender speaks for itself, or for a client.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

/// The family of which nothing is told.
const UNSPEC: u8 = 0x00;

/// The longest name that is passed on: a host name has 253 bytes at most, a common name 64 characters.
const MAX_NAME: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Verified;

    fn ends(client: &str, server: &str) -> Ends {
        Ends { client: client.parse().expect("an address"), server: server.parse().expect("an address") }
    }

    fn tls_of_a_client() -> Facts {
        Facts {
            version: Some("TLSv1.3".into()),
            cipher: Some("TLS_AES_256_GCM_SHA384".into()),
            sni: Some("mx.example".into()),
            alpn: Some(b"smtp".to_vec()),
            certificate: Certificate::Verified(Verified { common_name: Some("laptop".into()), ..Verified::default() }),
            ..Facts::default()
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
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 02\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n",
            "PROXY TCP4 unix: 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 x 1 2\r\n",
            "PROXY TCP4 192.0.2.1 \u{661}.1.1.1 1 2\r\n",
            "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
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
    fn a_line_tells_the_client_whatever_family_it_names() {
        for (line, client, server) in [
            ("TCP4 192.0.2.1 ::1", "192.0.2.1:1", "[::1]:2"),
            ("TCP6 192.0.2.1 ::1", "192.0.2.1:1", "[::1]:2"),
            ("TCP6 2001:db8::1 192.0.2.2", "[2001:db8::1]:1", "192.0.2.2:2"),
            ("TCP4 2001:db8::1 2001:db8::2", "[2001:db8::1]:1", "[2001:db8::2]:2"),
            ("TCP4 ::ffff:192.0.2.1 ::ffff:192.0.2.2", "192.0.2.1:1", "192.0.2.2:2"),
            ("TCP6 ::ffff:c000:201 ::1", "192.0.2.1:1", "[::1]:2"),
            ("TCP4 192.0.2.1 unix:/run/nginx", "192.0.2.1:1", "0.0.0.0:2"),
            ("TCP6 2001:db8::1 unix:", "[2001:db8::1]:1", "[::]:2"),
        ] {
            let read = read(format!("PROXY {line} 1 2\r\n").as_bytes()).map(|(header, _)| header.ends);
            assert_eq!(read, Ok(Some(ends(client, server))), "{line}");
        }
    }

    /// Section 2.2: whatever is in the block, and whatever it is said to be.
    #[test]
    fn a_sender_that_speaks_for_itself_tells_nothing() {
        let v2 = |command, family, block: &[u8]| {
            let length = u16::try_from(block.len()).unwrap().to_be_bytes();
            [V2_SIGNATURE, &[command, family], &length, block].concat()
        };
        let told = header(Version::V2, ends("192.0.2.1:1", "192.0.2.2:2"), Some(&tls_of_a_client()));
        for family in [0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x40, 0xff] {
            for block in [&b""[..], b"x", &[0; 12], b"\x20\xff\xff", &told[V2_FIXED..], &[0xff; MAX_HEADER - V2_FIXED]]
            {
                assert_eq!(parse(&v2(LOCAL, family, block)), Ok(Header::default()), "{family:#x}");
            }
        }
        assert_eq!(parse(&v2(PROXY, UNSPEC, b"\x01\xff")), Ok(Header::default()));
        for (command, family) in [(0x10, 0), (0x22, 0), (PROXY, 0x01), (PROXY, 0x40)] {
            assert!(parse(&v2(command, family, b"")).is_err(), "{command:#x} {family:#x}");
        }
    }

    #[test]
    fn an_ipv4_client_in_a_header_of_ipv6_is_an_ipv4_client() {
        let mapped =
            ProxiedAddress::stream("[::ffff:192.0.2.1]:1".parse().unwrap(), "[2001:db8::2]:2".parse().unwrap());
        let mut bytes = Vec::new();
        ProxyHeader::with_address(mapped).encode_v2(&mut bytes).unwrap();
        assert_eq!(parse(&bytes).unwrap().ends, Some(ends("192.0.2.1:1", "[2001:db8::2]:2")));
    }

    /// What clouds and HAProxy add: AWS (0xea), Azure (0xee), Google (0xe0), a unique id, a checksum, padding, and what
    /// nobody knows.
    #[test]
    fn what_else_a_header_tells_does_no_harm() {
        let plain = header(Version::V2, ends("192.0.2.1:1", "192.0.2.2:2"), None);
        for (kind, value) in [
            (0xea, &b"\x01vpce-0"[..]),
            (0xee, b"\x01\0\0\0\x01"),
            (0xe0, &[0; 8]),
            (0x05, b"id"),
            (0x03, &[0; 4]),
            (0x04, b"\0\0"),
            (0x99, b""),
        ] {
            let mut bytes = plain.clone();
            bytes.push(kind);
            bytes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(value);
            let length = u16::try_from(bytes.len() - V2_FIXED).unwrap();
            bytes[V2_LENGTH..V2_FIXED].copy_from_slice(&length.to_be_bytes());
            assert_eq!(parse(&bytes).unwrap().ends, Some(ends("192.0.2.1:1", "192.0.2.2:2")), "{kind:#x}");
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
        let tls = Facts { sni: Some("a\nb".into()), ..tls_of_a_client() };
        let bytes = header(Version::V2, ends("192.0.2.1:1", "192.0.2.2:2"), Some(&tls));
        assert_eq!(parse(&bytes).unwrap().tls.unwrap(), Facts { sni: None, ..tls_of_a_client() });
    }

    #[test]
    fn names_that_cannot_be_read_are_left_out() {
        let tls = Facts { sni: Some("xyz".into()), ..tls_of_a_client() };
        let mut bytes = header(Version::V2, ends("192.0.2.1:1", "192.0.2.2:2"), Some(&tls));
        for name in [&b"xyz"[..], b"laptop"] {
            let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
            bytes[at] = 0xe9;
        }
        let read = parse(&bytes).unwrap();
        assert_eq!(read.ends, Some(ends("192.0.2.1:1", "192.0.2.2:2")));
        assert_eq!(
            read.tls,
            Some(Facts { sni: None, certificate: Certificate::Verified(Verified::default()), ..tls_of_a_client() })
        );
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
