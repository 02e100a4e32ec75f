//! The variables by which a super-server tells of the client (UCSPI), and what becomes of them behind a PROXY header.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};

use super::{Ends, unspecified};

/// How a variable is looked up.
type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// What the environment says of both ends, each part by itself: few super-servers say all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UcspiEnds {
    client: (Option<IpAddr>, Option<u16>),
    server: (Option<IpAddr>, Option<u16>),
}

impl UcspiEnds {
    /// What `${PROTO}REMOTEIP` and its like say.
    pub fn read(proto: &str, env: Environment<'_>) -> Self {
        let ip = |name: &str| address(&env(&format!("{proto}{name}IP"))?);
        let port = |name: &str| env(&format!("{proto}{name}PORT"))?.to_str()?.parse().ok();
        Self { client: (ip("REMOTE"), port("REMOTE")), server: (ip("LOCAL"), port("LOCAL")) }
    }

    /// Both ends. The kernel is asked where nothing is said, and for parts of what was said if it means the same client;
    /// what nobody knows is zero.
    pub fn ends(&self, kernel: Option<Ends>) -> Option<Ends> {
        let (Some(client), client_port) = self.client else { return kernel };
        let kernel = kernel.filter(|ends| ends.client.ip() == client);
        let client_port = client_port.or(kernel.map(|ends| ends.client.port())).unwrap_or_default();
        let (server, server_port) = self.server;
        let server = server.or(kernel.map(|ends| ends.server.ip())).unwrap_or(unspecified(client));
        let server_port = server_port.or(kernel.map(|ends| ends.server.port())).unwrap_or_default();
        Some(Ends::new(SocketAddr::new(client, client_port), SocketAddr::new(server, server_port)))
    }
}

/// The sets of variables that tell of the client, and whom they name now.
#[derive(Debug)]
pub struct Sets {
    names: Vec<String>,
    client: Option<IpAddr>,
    proto_is_set: bool,
}

impl Sets {
    /// The set that `PROTO` names, and those that stand beside it.
    pub fn find(env: Environment<'_>) -> Self {
        let set = env("PROTO");
        let proto_is_set = set.is_some();
        let proto = set.map_or_else(|| "TCP".into(), |proto| proto.to_string_lossy().into_owned());
        let client = env(&format!("{proto}REMOTEIP")).and_then(|ip| address(&ip));
        let stands = |set: &&&str| **set != proto && env(&format!("{set}REMOTEIP")).is_some();
        let beside: Vec<String> = BESIDE.iter().filter(stands).map(|set| (*set).to_owned()).collect();
        Self { names: [vec![proto], beside].concat(), client, proto_is_set }
    }

    /// What a header changes, by name; `None` unsets. Rules that ran before it judged the sender: what they said of it is
    /// removed, unless it is the client.
    pub fn changes(&self, ends: &Ends) -> Vec<(String, Option<String>)> {
        let mut told = Vec::new();
        let another = self.client != Some(ends.client.ip());
        for set in &self.names {
            told.extend(addresses(ends, set.ends_with('6')).map(|(name, value)| (format!("{set}{name}"), Some(value))));
            told.extend(another.then(|| SAID_OF_PEER.map(|name| (format!("{set}{name}"), None))).into_iter().flatten());
        }
        told.extend(another.then(|| ("RELAYCLIENT".into(), None)));
        told.extend((!self.proto_is_set).then(|| ("PROTO".into(), Some("TCP".into()))));
        told
    }
}

/// In the sets of IPv6 an IPv4 address is a mapped one, as their servers expect it.
fn addresses(ends: &Ends, mapped: bool) -> [(&'static str, String); 4] {
    let ip = |end: SocketAddr| match end.ip() {
        IpAddr::V4(ip) if mapped => ip.to_ipv6_mapped().to_string(),
        ip => ip.to_string(),
    };
    [
        ("REMOTEIP", ip(ends.client)),
        ("REMOTEPORT", ends.client.port().to_string()),
        ("LOCALIP", ip(ends.server)),
        ("LOCALPORT", ends.server.port().to_string()),
    ]
}

/// An address as super-servers write it: behind a link-local one may stand its interface.
fn address(text: &OsString) -> Option<IpAddr> {
    let ip: IpAddr = text.to_str()?.split('%').next()?.parse().ok()?;
    Some(ip.to_canonical())
}

/// What a super-server found out about the one who connected.
const SAID_OF_PEER: [&str; 2] = ["REMOTEHOST", "REMOTEINFO"];

/// The sets that may stand beside the one that PROTO names: ucspi-tcp6 sets TCP and TCP6, `sslserver -e` SSL as well.
/// A server looks for the one it was written for.
const BESIDE: &[&str] = &["TCP", "TCP6", "SSL", "SSL6"];

#[cfg(test)]
mod tests {
    use super::*;

    fn said(variables: &[(&str, &str)]) -> UcspiEnds {
        UcspiEnds::read("TCP", &|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
        })
    }

    fn ends(client: &str, server: &str) -> Ends {
        Ends { client: client.parse().expect("an address"), server: server.parse().expect("an address") }
    }

    #[test]
    fn both_ends_are_what_the_environment_says_and_the_kernel_fills_in() {
        let kernel = ends("192.0.2.9:99", "192.0.2.2:25");
        let local = [("TCPLOCALIP", "192.0.2.3"), ("TCPLOCALPORT", "587")];
        for (variables, wanted) in [
            (&[][..], kernel),
            (
                &[("TCPREMOTEIP", "192.0.2.1"), ("TCPREMOTEPORT", "4711"), local[0], local[1]],
                ends("192.0.2.1:4711", "192.0.2.3:587"),
            ),
            (&[("TCPREMOTEIP", "192.0.2.1"), local[0]], ends("192.0.2.1:0", "192.0.2.3:0")),
            (&[("TCPREMOTEIP", "192.0.2.9")], kernel),
            (&[("TCPREMOTEIP", "192.0.2.9"), ("TCPREMOTEPORT", "x")], kernel),
            (&[("TCPREMOTEIP", "2001:db8::1"), ("TCPREMOTEPORT", "1")], ends("[2001:db8::1]:1", "[::]:0")),
            (&[("TCPREMOTEIP", "fe80::1%eth0"), ("TCPREMOTEPORT", "1")], ends("[fe80::1]:1", "[::]:0")),
            (&[("TCPREMOTEIP", "::ffff:192.0.2.9")], kernel),
            (&[("TCPREMOTEIP", "unknown"), ("TCPREMOTEPORT", "1")], kernel),
            (&[local[0], local[1]], kernel),
        ] {
            assert_eq!(said(variables).ends(Some(kernel)), Some(wanted), "{variables:?}");
        }
        assert_eq!(said(&[("TCPREMOTEPORT", "1")]).ends(None), None);
    }
}
