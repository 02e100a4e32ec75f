//! The window between keeper and session: what may be asked, and how it travels.
//!
//! A socketpair of sequenced packets: one [`Ask`] a packet, one [`Answer`] a packet, descriptors beside it
//! (SCM_RIGHTS). The keeper trusts nothing that comes through; what does not decode here is never obeyed there.
//! How asks are fulfilled is the keeper's affair, who may ask how often as well.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recv, recvmsg, send, sendmsg, socketpair,
};
use rustix::process::Pid;

use crate::message::Error;
use crate::proxy::Ends;
use crate::raw;

/// The longest packet in bytes. A certificate chain is the longest thing that travels; browsers stop at 64 KiB.
pub const MAX_PACKET: usize = 64 * 1024;

/// The longest `NAME=VALUE` that may tell prog of TLS, in bytes. Distinguished names have a few hundred.
pub const MAX_FACT: usize = 4096;

/// What the session may ask for.
#[derive(Debug, PartialEq, Eq)]
pub enum Ask {
    /// Run prog. Inside TLS with these variables; each `NAME=VALUE`.
    Spawn(Option<Vec<String>>),
    /// A PROXY header told who the client is; let prog know.
    Client(Ends),
    /// Read key and certificate. The answer is whether TLS can be had.
    Prepare,
    /// Connect to the backend. A descriptor comes back.
    Connect,
    /// The anchors this peer is verified against. A descriptor to read them from comes back.
    Anchors(Peer),
    /// The chain for this server name (SNI) whose key can sign with one of these schemes, and what else it can.
    Chain(Option<String>, Vec<u16>),
    /// The chain this program shows to the backend, and what its key can sign.
    OwnChain,
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

/// What comes back.
#[derive(Debug, Default)]
pub struct Answer {
    /// What was asked for, in the form the [`Ask`] has.
    pub bytes: Vec<u8>,
    /// The descriptors that came with it.
    pub fds: Vec<OwnedFd>,
}

/// The certificate chain for one server name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// The key's signature schemes, most wanted first (RFC 8446 section 4.2.3).
    pub schemes: Vec<u16>,
    /// The certificates in DER, the server's own first.
    pub certificates: Vec<Vec<u8>>,
}

/// One end of the window.
#[derive(Debug)]
pub struct Window(OwnedFd);

/// Which process this is after [`split`].
#[derive(Debug)]
pub enum Half {
    /// The one that was started; the other one's process id.
    Keeper(Window, Pid),
    /// The one that reads the network.
    Session(Window),
}

/// Splits the program in two. Call it before anything secret is in memory and before any thread is started. Of the
/// descriptors this program has or inherited, the session has the standard ones, these, and the window.
///
/// # Errors
/// The system calls can fail.
pub fn split(kept: &[RawFd]) -> Result<Half, Error> {
    let flags = SocketFlags::CLOEXEC;
    let (keeper, session) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
        .map_err(Error::system("make a socket pair"))?;
    let gaps = gaps(&[kept, &[keeper.as_raw_fd(), session.as_raw_fd()]].concat());
    Ok(match raw::fork(&gaps).map_err(Error::system("fork"))? {
        Some(pid) => Half::Keeper(Window(keeper), pid),
        None => Half::Session(Window(session)),
    })
}

/// What lies between these descriptors, above the standard ones: what the super-server left open is no business of a
/// process that an attacker may own.
fn gaps(kept: &[RawFd]) -> Vec<(u32, u32)> {
    let mut kept: Vec<u32> = kept.iter().filter_map(|fd| u32::try_from(*fd).ok()).filter(|fd| *fd >= 3).collect();
    kept.sort_unstable();
    let starts = std::iter::once(3).chain(kept.iter().map(|fd| fd + 1));
    let ends = kept.iter().map(|fd| fd - 1).chain([u32::MAX]);
    starts.zip(ends).filter(|(first, last)| first <= last).collect()
}

impl Window {
    /// Asks and waits. `None` means no: the keeper has told the administrator why.
    ///
    /// # Errors
    /// The keeper is gone, or broke the rules.
    pub fn ask(&self, ask: &Ask) -> Result<Option<Answer>, Error> {
        self.tell(ask)?;
        let mut packet = self.receive()?.ok_or_else(keeper_gone)?;
        if packet.bytes.is_empty() {
            return Err(keeper_gone());
        }
        Ok((packet.bytes.remove(0) == GRANTED).then_some(packet))
    }

    /// Tells without waiting for an answer; for [`Ask::Retire`] and [`Ask::Release`].
    ///
    /// # Errors
    /// The keeper is gone.
    pub fn tell(&self, ask: &Ask) -> Result<(), Error> {
        send(&self.0, &ask.encode(), SendFlags::NOSIGNAL).map_err(|_| keeper_gone())?;
        Ok(())
    }

    /// The next ask; `None` when the session is gone.
    ///
    /// # Errors
    /// The packet is no [`Ask`].
    pub fn next_ask(&self) -> Result<Option<Ask>, Error> {
        let Some(packet) = self.receive()? else { return Ok(None) };
        let ask = Ask::decode(&packet.bytes);
        ask.map(Some).ok_or_else(|| Error::Impossible("the session asked for what is not to be had".into()))
    }

    /// Grants what was asked for.
    ///
    /// # Errors
    /// The answer is too long, or the session is gone.
    pub fn grant(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        let packet = [IoSlice::new(&[GRANTED]), IoSlice::new(bytes)];
        answered(sendmsg(&self.0, &packet, &mut control, AT_ONCE))
    }

    /// Says that nothing more will come or be heard, though others may hold copies.
    pub fn close(&self) {
        let _ = rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both);
    }

    /// Refuses what was asked for.
    ///
    /// # Errors
    /// The session is gone.
    pub fn refuse(&self) -> Result<(), Error> {
        answered(send(&self.0, &[REFUSED], AT_ONCE))
    }

    /// Whether the other process is gone. Does not wait.
    pub fn is_closed(&self) -> bool {
        let mut byte = [0; 1];
        matches!(recv(&self.0, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT), Ok((_, 0)) | Err(Errno::CONNRESET))
    }

    /// One packet; `None` at the end.
    fn receive(&self) -> Result<Option<Answer>, Error> {
        let mut nothing = [0; 0];
        let flags = RecvFlags::PEEK | RecvFlags::TRUNC;
        let length = match recv(&self.0, &mut nothing, flags) {
            Ok((_, length)) => length,
            // It is gone, and did not read the last answer.
            Err(Errno::CONNRESET) => return Ok(None),
            Err(why) => return Err(Error::System("read from the window".into(), why.into())),
        };
        if length > MAX_PACKET {
            return Err(Error::Impossible("a packet through the window is too long".into()));
        }
        let mut bytes = vec![0; length];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut iov = [IoSliceMut::new(&mut bytes)];
        recvmsg(&self.0, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC)
            .map_err(Error::system("read from the window"))?;
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        Ok((length > 0).then_some(Answer { bytes, fds }))
    }
}

impl AsFd for Window {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
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
            Self::Client(ends) => format!("i{} {}", ends.client, ends.server).into_bytes(),
            Self::Prepare => vec![b't'],
            Self::Connect => vec![b'c'],
            Self::Anchors(peer) => vec![b'a', peer.letter()],
            Self::Chain(name, schemes) => {
                let schemes: Vec<u8> = schemes.iter().flat_map(|scheme| scheme.to_be_bytes()).collect();
                let parts = std::iter::once(schemes).chain(name.as_ref().map(|name| name.as_bytes().to_vec()));
                [b"n".to_vec(), join(parts)].concat()
            }
            Self::OwnChain => vec![b'o'],
            Self::Sign(peer, scheme, message) => [&[b's', peer.letter()], &scheme.to_be_bytes()[..], message].concat(),
            Self::Retire => vec![b'x'],
            Self::Release => vec![b'r'],
        }
    }

    /// Reads a packet that an attacker may have written; `None` if it is no ask.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let (letter, rest) = packet.split_first()?;
        let text = || std::str::from_utf8(rest).ok();
        Some(match (letter, rest) {
            (b'p', []) => Self::Spawn(None),
            (b'P', _) => Self::Spawn(Some(text()?.split_terminator('\0').map(str::to_owned).collect())),
            (b'i', _) => {
                let (client, server) = text()?.split_once(' ')?;
                Self::Client(Ends { client: client.parse().ok()?, server: server.parse().ok()? })
            }
            (b't', []) => Self::Prepare,
            (b'c', []) => Self::Connect,
            (b'a', [peer]) => Self::Anchors(Peer::from_letter(*peer)?),
            (b'n', _) => match parts(rest)?.as_slice() {
                [list] => Self::Chain(None, schemes(list)),
                [list, name] => Self::Chain(Some(std::str::from_utf8(name).ok()?.to_owned()), schemes(list)),
                _ => return None,
            },
            (b'o', []) => Self::OwnChain,
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

impl Chain {
    /// The packet: the schemes and the certificates, each behind its length.
    pub fn encode(&self) -> Vec<u8> {
        let schemes: Vec<u8> = self.schemes.iter().flat_map(|scheme| scheme.to_be_bytes()).collect();
        join(std::iter::once(&schemes).chain(&self.certificates))
    }

    /// Reads such a packet; `None` if it is none.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let mut parts = parts(packet)?.into_iter();
        let schemes = schemes(&parts.next()?);
        Some(Self { schemes, certificates: parts.collect() })
    }
}

fn schemes(list: &[u8]) -> Vec<u16> {
    list.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect()
}

/// The opposite of [`parts`].
pub fn join(parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend((part.as_ref().len() as u32).to_be_bytes());
        bytes.extend_from_slice(part.as_ref());
    }
    bytes
}

/// Parts, each behind its length in four bytes, as they travel in a packet or a file.
pub fn parts(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (part, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        parts.push(part.to_vec());
        bytes = rest;
    }
    bytes.is_empty().then_some(parts)
}

/// A session that is gone needs no answer; the keeper finds out when it reads on.
fn answered(sent: Result<usize, Errno>) -> Result<(), Error> {
    match sent {
        Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
        Err(why) => Err(Error::System("answer the session".into(), why.into())),
    }
}

fn keeper_gone() -> Error {
    Error::Impossible("the keeper is gone".into())
}

/// The first byte of an answer.
const GRANTED: u8 = b'+';
const REFUSED: u8 = b'-';

/// One answer always fits. A session that does not read what it asked for shall not keep the keeper waiting.
const AT_ONCE: SendFlags = SendFlags::NOSIGNAL.union(SendFlags::DONTWAIT);

/// The most descriptors beside one packet: the two pipes of prog, and with `--ucspi-tls` the control socket.
const MAX_FDS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_the_descriptors_that_are_kept_all_are_closed() {
        assert_eq!(gaps(&[]), [(3, u32::MAX)]);
        assert_eq!(gaps(&[7, 3, 4]), [(5, 6), (8, u32::MAX)]);
        assert_eq!(gaps(&[4, 0]), [(3, 3), (5, u32::MAX)]);
    }

    #[test]
    fn what_is_asked_is_what_is_heard() {
        for ask in [
            Ask::Spawn(None),
            Ask::Spawn(Some(vec![])),
            Ask::Spawn(Some(vec!["SSL_PROTOCOL=TLSv1.3".into(), "SSL_CIPHER=x".into()])),
            Ask::Client(Ends { client: ([192, 0, 2, 1], 4711).into(), server: ([192, 0, 2, 2], 25).into() }),
            Ask::Prepare,
            Ask::Connect,
            Ask::Anchors(Peer::Client),
            Ask::Anchors(Peer::Backend),
            Ask::Chain(None, vec![]),
            Ask::Chain(None, vec![0x0403, 0x0804]),
            Ask::Chain(Some("mx.example".into()), vec![0x0403]),
            Ask::OwnChain,
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

    #[test]
    fn a_chain_cut_short_is_no_chain() {
        let chain = Chain { schemes: vec![0x0403, 0x0503], certificates: vec![vec![1; 700], vec![2; 800]] };
        let packet = chain.encode();
        assert_eq!(Chain::decode(&packet), Some(chain));
        assert_eq!(Chain::decode(&packet[..packet.len() - 1]), None);
        assert_eq!(Chain::decode(b""), None);
    }
}
