//! What the session may ask for, as one packet each.
//!
//! The keeper decodes what an attacker may have written: what is not exactly one of these is none.

use super::chain::{join, parts, schemes};
use crate::proxy::Ends;

/// What the session may ask for.
#[derive(Debug, PartialEq, Eq)]
pub enum Ask {
    /// Run prog. Inside TLS with these variables; each `NAME=VALUE`.
    Spawn(Option<Vec<String>>),
    /// A PROXY header told these ends of the client's connection; prog is told them, too.
    ClientAddress(Ends),
    /// Read key and certificate. The answer is whether TLS can be had.
    Prepare,
    /// Connect to the backend. A descriptor comes back.
    Connect,
    /// The same at the port where TLS begins with the first byte (`--tls either`).
    ConnectImplicit,
    /// The anchors this peer is verified against. A descriptor to read them from comes back.
    Anchors(Peer),
    /// The chain for this server name (SNI) whose key can sign with one of these schemes, and what else it can.
    Chain(Option<String>, Vec<u16>),
    /// This program's own chain for a backend that asks for a certificate, and what its key can sign.
    ChainForBackend,
    /// Sign what TLS signs in a handshake with this peer, with this scheme (RFC 8446 section 4.2.3).
    Sign(Peer, u16, Vec<u8>),
    /// The plaintext server has served; end it. No answer comes.
    Retire,
    /// Nothing more will be asked. No answer comes.
    Release,
}

/// Whom a TLS leg leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The client; this program is the TLS server.
    Client,
    /// The backend; this program is the TLS client.
    Backend,
}

impl Ask {
    /// The packet: a letter, and what the letter needs.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Spawn(None) => vec![b'p'],
            Self::Spawn(Some(variables)) => {
                let mut packet = vec![b'P'];
                for variable in variables {
                    packet.extend_from_slice(variable.as_bytes());
                    packet.push(b'\0');
                }
                packet
            }
            Self::ClientAddress(ends) => format!("i{} {}", ends.client, ends.server).into_bytes(),
            Self::Prepare => vec![b't'],
            Self::Connect => vec![b'c'],
            Self::ConnectImplicit => vec![b'd'],
            Self::Anchors(peer) => vec![b'a', peer.letter()],
            Self::Chain(name, schemes) => {
                let schemes: Vec<u8> = schemes.iter().flat_map(|scheme| scheme.to_be_bytes()).collect();
                let parts = std::iter::once(schemes).chain(name.as_ref().map(|name| name.as_bytes().to_vec()));
                [b"n".to_vec(), join(parts)].concat()
            }
            Self::ChainForBackend => vec![b'o'],
            Self::Sign(peer, scheme, message) => [&[b's', peer.letter()], &scheme.to_be_bytes()[..], message].concat(),
            Self::Retire => vec![b'x'],
            Self::Release => vec![b'r'],
        }
    }

    /// Reads a packet that an attacker may have written; `None` if it is no request.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let (letter, rest) = packet.split_first()?;
        let text = || std::str::from_utf8(rest).ok();
        Some(match (letter, rest) {
            (b'p', []) => Self::Spawn(None),
            (b'P', _) => Self::Spawn(Some(text()?.split_terminator('\0').map(str::to_owned).collect())),
            (b'i', _) => {
                let (client, server) = text()?.split_once(' ')?;
                Self::ClientAddress(Ends { client: client.parse().ok()?, server: server.parse().ok()? })
            }
            (b't', []) => Self::Prepare,
            (b'c', []) => Self::Connect,
            (b'd', []) => Self::ConnectImplicit,
            (b'a', [peer]) => Self::Anchors(Peer::from_letter(*peer)?),
            (b'n', _) => match parts(rest)?.as_slice() {
                [list] => Self::Chain(None, schemes(list)),
                [list, name] => Self::Chain(Some(std::str::from_utf8(name).ok()?.to_owned()), schemes(list)),
                _ => return None,
            },
            (b'o', []) => Self::ChainForBackend,
            (b's', [peer, high, low, message @ ..]) => {
                Self::Sign(Peer::from_letter(*peer)?, u16::from_be_bytes([*high, *low]), message.to_vec())
            }
            (b'x', []) => Self::Retire,
            (b'r', []) => Self::Release,
            _ => return None,
        })
    }
}

impl Peer {
    fn letter(self) -> u8 {
        match self {
            Self::Client => b'c',
            Self::Backend => b'b',
        }
    }

    fn from_letter(letter: u8) -> Option<Self> {
        [Self::Client, Self::Backend].into_iter().find(|peer| peer.letter() == letter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_what_is_heard() {
        for ask in [
            Ask::Spawn(None),
            Ask::Spawn(Some(vec![])),
            Ask::Spawn(Some(vec!["SSL_PROTOCOL=TLSv1.3".into(), "SSL_CIPHER=x".into()])),
            Ask::ClientAddress(Ends { client: ([192, 0, 2, 1], 4711).into(), server: ([192, 0, 2, 2], 25).into() }),
            Ask::Prepare,
            Ask::Connect,
            Ask::ConnectImplicit,
            Ask::Anchors(Peer::Client),
            Ask::Anchors(Peer::Backend),
            Ask::Chain(None, vec![]),
            Ask::Chain(None, vec![0x0403, 0x0804]),
            Ask::Chain(Some("mx.example".into()), vec![0x0403]),
            Ask::ChainForBackend,
            Ask::Sign(Peer::Client, 0x0403, vec![32; 130]),
            Ask::Sign(Peer::Backend, 0x0403, vec![]),
            Ask::Retire,
            Ask::Release,
        ] {
            assert_eq!(Ask::decode(&ask.encode()), Some(ask));
        }
    }

    #[test]
    fn what_is_no_ask_is_not_heard() {
        for packet in [
            &b""[..],
            b"?",
            b"pp",
            b"t ",
            b"a",
            b"ax",
            b"s",
            b"sc\x04",
            b"sx\x04\x03",
            b"n",
            b"n\0\0\0\x01",
            b"P\xff\0",
            b"i",
            b"i1.2.3.4:5 x",
        ] {
            assert_eq!(Ask::decode(packet), None, "{packet:?}");
        }
    }
}
