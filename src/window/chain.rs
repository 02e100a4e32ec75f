//! A certificate chain as one packet, and the lists it is made of. What is cut short or too long is none.

/// The certificate chain for one server name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// The key's signature schemes, most wanted first (RFC 8446 section 4.2.3).
    pub schemes: Vec<u16>,
    /// The certificates in DER, the server's own first.
    pub certificates: Vec<Vec<u8>>,
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

pub(super) fn schemes(list: &[u8]) -> Vec<u16> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_cut_short_is_no_chain() {
        let chain = Chain { schemes: vec![0x0403, 0x0503], certificates: vec![vec![1; 700], vec![2; 800]] };
        let packet = chain.encode();
        assert_eq!(Chain::decode(&packet), Some(chain));
        assert_eq!(Chain::decode(&packet[..packet.len() - 1]), None);
        assert_eq!(Chain::decode(b""), None);
    }
}
