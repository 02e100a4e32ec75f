//! UCSPI-TLS (Scott Gifford's ucspi-tls.txt): the super-server that started us speaks TLS with the client once it is asked
//! to over a control socket, and passes what is said through two pipes. s6-ucspitlsd and `sslserver -n` do; and so does
//! this program, for a prog that has learned it (`--ucspi-tls`).
//!
//! Here: the descriptors, and what is told over the control socket.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::config::{DESCRIPTOR_VARIABLES, DescriptorNumbers};
use crate::message::Error;
use crate::{facts, raw};

/// The most bytes a UCSPI-TLS server may tell of a handshake. sslserver sends certificates, too, in PEM.
pub const MAX_TLS_VARIABLES: usize = 64 * 1024;

/// The administrator's word to a server that it may offer STARTTLS by UCSPI-TLS.
pub const OFFER: &str = "UCSPITLS";

/// Start TLS, and tell nothing of it.
pub const START: u8 = b'y';

/// Start TLS, then tell of it: variables, each behind its predecessor's NUL, and one NUL more.
pub const START_AND_TELL: u8 = b'Y';

/// What a UCSPI-TLS server left open for us.
#[derive(Debug)]
pub struct Descriptors {
    /// Where TLS is asked for.
    pub control: OwnedFd,
    /// What the client says inside TLS.
    pub input: OwnedFd,
    /// What the client hears inside TLS.
    pub output: OwnedFd,
}

impl Descriptors {
    /// Takes the descriptors of these numbers over. Call it before anything else is opened.
    ///
    /// # Errors
    /// [`Error::Environment`] if one of them is not open.
    pub fn adopt(numbers: DescriptorNumbers) -> Result<Self, Error> {
        let adopt = |name: &str, number| {
            raw::adopt(number).map_err(|_| Error::Environment(format!("{name} is {number}, which is not open")))
        };
        let (DescriptorNumbers([control, input, output]), [of_control, of_input, of_output]) =
            (numbers, DESCRIPTOR_VARIABLES);
        Ok(Self {
            control: adopt(of_control, control)?,
            input: adopt(of_input, input)?,
            output: adopt(of_output, output)?,
        })
    }

    /// The numbers of the descriptors.
    pub fn numbers(&self) -> [RawFd; 3] {
        [&self.control, &self.input, &self.output].map(AsRawFd::as_raw_fd)
    }
}

/// What a UCSPI-TLS server tells of the handshake, as far as it has come.
#[derive(Debug, Default)]
pub struct TlsVariables(Vec<u8>);

impl TlsVariables {
    /// It told this. True when that was all.
    pub fn hears(&mut self, bytes: &[u8]) -> bool {
        self.0.extend_from_slice(bytes);
        self.0.ends_with(b"\0\0") || self.0 == b"\0" || self.0.windows(2).any(|pair| pair == b"\0\0")
    }

    /// How many bytes more may come.
    pub fn room(&self) -> usize {
        MAX_TLS_VARIABLES - self.0.len().min(MAX_TLS_VARIABLES)
    }

    /// Nothing came.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The variables, as the keeper takes them: `NAME=VALUE`, or `NAME` to unset it. What is none of TLS, or what no
    /// variable should hold, is left out; certificates in PEM are of this kind.
    pub fn variables(&self) -> Vec<String> {
        let words = self.0.split(|byte| *byte == 0).take_while(|word| !word.is_empty());
        let words = words.filter_map(|word| std::str::from_utf8(word).ok());
        words.filter(|word| may_be_told(word)).map(str::to_owned).collect()
    }
}

/// Whether prog may be told this of TLS with the client, by a server that we trust with it.
pub fn may_be_told(variable: &str) -> bool {
    let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
    let plain = value.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    facts::is_tls_variable(name.as_ref()) && plain && facts::fits(variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_ends_with_two_nuls_however_it_is_cut() {
        let whole = b"SSL_PROTOCOL=TLSv1.3\0SSL_PEER_CERT_HASH\0PATH=/tmp\0SSL_X=a\nb\0SSL_CIPHER=x y\0\0";
        for pieces in [1, 7, whole.len()] {
            let mut told = TlsVariables::default();
            let over: Vec<bool> = whole.chunks(pieces).map(|piece| told.hears(piece)).collect();
            assert_eq!(over.iter().position(|over| *over), Some(over.len() - 1));
            assert_eq!(told.variables(), ["SSL_PROTOCOL=TLSv1.3", "SSL_PEER_CERT_HASH", "SSL_CIPHER=x y"]);
        }
    }

    #[test]
    fn what_may_be_told_is_bounded() {
        let mut told = TlsVariables::default();
        for (more, left) in [(MAX_TLS_VARIABLES - 1, 1), (1, 0), (1, 0)] {
            told.hears(&vec![b'x'; more]);
            assert_eq!(told.room(), left);
        }
    }
}
