//! The control channel (`--control`): what was negotiated, in the form of UCSPI-TLS (Scott Gifford's ucspi-tls.txt), then
//! in one line how it ended. Both together fit into a pipe, so nobody need read along.

use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use crate::message::Quoted;
use crate::side::Fault;
use crate::tls::alert;

/// The most bytes of variables that are told; a pipe holds 64 KiB, or 4 KiB where a user has too many.
pub const MAX_CONTROL: usize = 3 * 1024;

/// The channel of one session; without a descriptor nothing is told.
#[derive(Debug, Default)]
pub struct Control {
    channel: Option<File>,
    /// Why the session is in plaintext, if it is.
    plaintext: Option<String>,
}

impl Control {
    /// A channel that has told nothing yet.
    pub fn new(descriptor: Option<OwnedFd>) -> Self {
        Self { channel: descriptor.map(File::from), plaintext: None }
    }

    /// Tells what was negotiated, each `NAME=VALUE`; nothing if there is no TLS. To be called once, before the end.
    pub(super) fn tell(&mut self, variables: &[String]) {
        let mut room = MAX_CONTROL;
        let mut words = Vec::new();
        for variable in variables {
            // What does not fit is left out: half a value would be another's.
            if let Some(rest) = room.checked_sub(variable.len() + 1) {
                room = rest;
                words.push(variable.as_str());
            }
        }
        self.write(&format!("{}\0\0", words.join("\0")));
    }

    /// The session goes on in plaintext, as is allowed, for this reason.
    pub(super) fn goes_on_in_plaintext(&mut self, why: &dyn Display) {
        self.plaintext = Some(format!("plaintext: {why}"));
    }

    /// Tells how a session ended: by this fault, or without; of one in plaintext why it was so.
    pub(super) fn session_ended(&mut self, fault: Option<&Fault>) {
        match (self.plaintext.take(), fault) {
            (Some(plaintext), _) => self.end(plaintext),
            (None, None) => self.end("clean"),
            (None, Some(Fault::Cut)) => self.end("cut"),
            (None, Some(Fault::Broken(why))) => self.end(Quoted(alert(why).as_ref().unwrap_or(why).as_bytes())),
        }
    }

    /// Tells how it ended: `clean`, `cut`, the alert's name; or why there was no TLS, or no session.
    pub fn end(&mut self, how: impl Display) {
        self.write(&format!("{how}\n"));
    }

    /// The reader may be gone, which is no reason to end the session.
    fn write(&mut self, text: &str) {
        if let Some(channel) = &mut self.channel {
            let _ = channel.write_all(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn told(variables: &[String]) -> String {
        let (mut hears, says) = std::io::pipe().expect("a pipe");
        let mut control = Control::new(Some(says.into()));
        control.tell(variables);
        control.session_ended(None);
        drop(control);
        let mut told = String::new();
        hears.read_to_string(&mut told).expect("it is told");
        told
    }

    #[test]
    fn variables_are_told_up_to_the_limit_and_never_in_part() {
        assert_eq!(told(&[]), "\0\0clean\n");
        assert_eq!(told(&["A=1".into(), "B=2".into()]), "A=1\0B=2\0\0clean\n");
        for (length, fits) in [(MAX_CONTROL - 1, true), (MAX_CONTROL, true), (MAX_CONTROL + 1, false)] {
            let long = format!("A={}", "x".repeat(length - "A=\0".len()));
            let expected = if fits { format!("{long}\0\0clean\n") } else { "\0\0clean\n".into() };
            assert_eq!(told(std::slice::from_ref(&long)), expected, "{length} bytes");
        }
    }
}
