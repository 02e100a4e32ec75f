//! The recorder: how much of the plaintext dialogue went by, and which of its words a fresh server must hear again.
//!
//! It holds opening words only, so nothing in it is secret. It does not know what the words mean; the snooper said
//! which of them set state.

use alloc::vec::Vec;

use crate::{Class, Effect};

/// The most opening words that are recorded, and so snooped. A client needs three or four before STARTTLS.
pub const MAX_COMMANDS: usize = 64;

/// The most bytes of greeting, opening words and replies that are recorded; a long EHLO reply has one thousand.
pub const MAX_BYTES: usize = 16 * 1024;

/// The recorded prefix of one session.
#[derive(Default)]
pub struct Dialogue {
    commands: usize,
    bytes: usize,
    /// A command that sets state if the server accepts it; its reply is awaited.
    pending: Option<Vec<u8>>,
    state: Option<StateCommand>,
}

/// A command that set state (EHLO, LANG, MODE READER), and the server's answer to it: what a replay says and expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateCommand {
    /// The line as the client sent it.
    pub line: Vec<u8>,
    /// What the server answered.
    pub class: Class,
}

/// The prefix exceeds [`MAX_COMMANDS`] or [`MAX_BYTES`].
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl Dialogue {
    /// Records an opening word before it is forwarded.
    ///
    /// # Errors
    /// [`Full`]; then the word is not recorded and the snooping must end.
    pub fn command(&mut self, line: &[u8], effect: Effect) -> Result<(), Full> {
        if self.commands == MAX_COMMANDS {
            return Err(Full);
        }
        self.count(line)?;
        self.commands += 1;
        self.pending = (effect == Effect::SetsState).then(|| line.to_vec());
        Ok(())
    }

    /// Counts a line the server said.
    ///
    /// # Errors
    /// [`Full`]; the snooping must end.
    pub fn count(&mut self, line: &[u8]) -> Result<(), Full> {
        self.bytes += line.len();
        if self.bytes > MAX_BYTES { Err(Full) } else { Ok(()) }
    }

    /// Records the outcome of the word recorded last. A word the server refused has set no state; every protocol
    /// has one kind of word that sets any, so the last one accepted is all there is.
    pub fn answered(&mut self, class: Class) {
        if let Some(line) = self.pending.take().filter(|_| class.is_positive()) {
            self.state = Some(StateCommand { line, class });
        }
    }

    /// What a fresh server must hear to stand where the plaintext server stood.
    pub fn into_state(self) -> Option<StateCommand> {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn the_prefix_holds_as_many_words_as_the_limit() {
        let mut dialogue = Dialogue::default();
        for _ in 0..MAX_COMMANDS - 1 {
            assert_eq!(dialogue.command(b"NOOP\r\n", Effect::None), Ok(()));
        }
        assert_eq!(dialogue.command(b"NOOP\r\n", Effect::None), Ok(()), "at the limit");
        assert_eq!(dialogue.command(b"NOOP\r\n", Effect::None), Err(Full), "one more");
    }

    #[test]
    fn the_prefix_holds_as_many_bytes_as_the_limit() {
        for (bytes, outcome) in [(MAX_BYTES - 1, Ok(())), (MAX_BYTES, Ok(())), (MAX_BYTES + 1, Err(Full))] {
            let mut dialogue = Dialogue::default();
            dialogue.count(&vec![b'x'; bytes - 6]).expect("it fits");
            assert_eq!(dialogue.command(b"NOOP\r\n", Effect::None), outcome, "{bytes} bytes");
        }
    }

    #[test]
    fn the_last_word_that_set_state_is_recorded() {
        let mut dialogue = Dialogue::default();
        for (line, effect, class) in [
            (&b"HELO a\r\n"[..], Effect::SetsState, b'2'),
            (b"EHLO b\r\n", Effect::SetsState, b'2'),
            (b"EHLO\r\n", Effect::SetsState, b'5'),
            (b"NOOP\r\n", Effect::None, b'2'),
        ] {
            dialogue.command(line, effect).expect("it fits");
            dialogue.answered(Class(class));
        }
        assert_eq!(dialogue.into_state(), Some(StateCommand { line: b"EHLO b\r\n".to_vec(), class: Class(b'2') }));
    }
}
