//! Sentences, exit codes and the Error enum: all that an administrator hears. The only writer to standard error.
//!
//! Form as of djb's strerr and tcpserver: `starttls-wrapper: pid 123: fatal: unable to <verb> <object>: <reason>`, with
//! the client's address before the sentence, where there is one; lower case, no time stamp (s6-log and multilog add one),
//! no full stop.

use std::cell::Cell;
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::stdio::stderr;
use starttls_protocols::note::{FreshServerFailure, Note, Speaker, Unwatched};

/// The most bytes of a foreign string that a message shows, in bytes before escaping.
pub const MAX_QUOTED: usize = 100;

/// Why the program ends, or would have.
#[derive(Debug)]
pub enum Error {
    /// The command line is wrong: what, and what to do.
    Usage(String),
    /// A variable or an inherited descriptor is not what it must be.
    Environment(String),
    /// Key, certificate or anchors cannot be used.
    TlsConfig(String),
    /// The TLS engine could not be set up.
    TlsEngine(String),
    /// TLS failed in a running session.
    TlsSession(String),
    /// A named limit passed.
    Timeout(String),
    /// The other process of the wrapper broke the window's rules, or is gone.
    Impossible(String),
    /// A signal has ended the keeper, and so the session, whose status nobody sees.
    ToldToEnd,
    /// A system call failed: what was being done, and why it failed.
    System(String, io::Error),
    /// prog cannot be run.
    Prog(String, io::Error),
}

impl Error {
    /// The exit status, as in s6-tlsd where both have the case.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::TlsConfig(_) => 96,
            Self::TlsEngine(_) => 97,
            Self::TlsSession(_) => 98,
            Self::Timeout(_) => 99,
            Self::Usage(_) | Self::Environment(_) => 100,
            Self::Impossible(_) | Self::ToldToEnd => 101,
            Self::System(..) => 111,
            Self::Prog(_, reason) if reason.kind() == io::ErrorKind::NotFound => 127,
            Self::Prog(..) => 126,
        }
    }

    /// For `map_err`: the failed attempt as `unable to <attempt>: <reason>`.
    pub fn system<E: Into<io::Error>>(attempt: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |reason| Self::System(attempt.into(), reason.into())
    }

    fn level(&self) -> &'static str {
        if matches!(self, Self::Usage(_)) { "usage" } else { "fatal" }
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what)
            | Self::Environment(what)
            | Self::TlsConfig(what)
            | Self::TlsEngine(what)
            | Self::TlsSession(what)
            | Self::Timeout(what)
            | Self::Impossible(what) => f.write_str(what),
            Self::ToldToEnd => f.write_str("told to end by a signal"),
            Self::System(attempt, reason) => write!(f, "unable to {attempt}: {}", SystemReason(reason)),
            Self::Prog(prog, reason) => write!(f, "unable to run {prog}: {}", SystemReason(reason)),
        }
    }
}

impl std::error::Error for Error {}

/// What the session notes, in words.
pub struct NoteText<'a>(pub &'a Note);

impl Display for NoteText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Note::ServerOffers => f.write_str("the server offers STARTTLS itself, its offer is taken over"),
            Note::UnknownGreeting(line) => write!(f, "unable to tell the protocol by its greeting: {}", Quoted(line)),
            Note::BackendRefuses(line) => write!(f, "the TLS server's greeting is a refusal: {}", Quoted(line)),
            Note::FreshServerFailed(why) => write!(f, "the server inside TLS failed: {}", FreshServerReason(why)),
            Note::ReplayRefused(line) => write!(f, "the TLS server refused the replayed prefix: {}", Quoted(line)),
            Note::Transcript(speaker, line) => {
                let who = match speaker {
                    Speaker::Client => "C",
                    Speaker::Server => "S",
                    Speaker::Wrapper => "W",
                };
                write!(f, "{who}: {}", Quoted(line))
            }
            Note::Unwatched(why) => write!(f, "unwatched from here: {}", reason(*why)),
        }
    }
}

struct FreshServerReason<'a>(&'a FreshServerFailure);

impl Display for FreshServerReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            FreshServerFailure::Refuses(line) => return write!(f, "its greeting is a refusal: {}", Quoted(line)),
            FreshServerFailure::EndedBeforeGreeting => "it ended before it had greeted",
            FreshServerFailure::EndedInReplay => "it ended before it had answered the replayed prefix",
            FreshServerFailure::TookTooLong => "it took too long",
            FreshServerFailure::LineTooLong => "it sent a line that is too long",
        })
    }
}

fn reason(why: Unwatched) -> &'static str {
    match why {
        Unwatched::UnknownGreeting => "no protocol has this greeting",
        Unwatched::RefusingGreeting => "the server refuses to serve",
        Unwatched::Command => "the command is no opening word",
        Unwatched::LineTooLong(Speaker::Client) => "a line of the client is too long",
        Unwatched::LineTooLong(_) => "a line of the server is too long",
        Unwatched::PrefixTooLong => "more was said than is recorded",
        Unwatched::ClientClosed => "the client has said its last word",
    }
}

/// Foreign bytes: escaped, and cut at [`MAX_QUOTED`].
pub struct Quoted<'a>(pub &'a [u8]);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..MAX_QUOTED);
        for byte in shown.unwrap_or(self.0).trim_ascii_end() {
            match byte {
                b'"' | b'\'' => write!(f, "{}", char::from(*byte))?,
                _ => write!(f, "{}", byte.escape_ascii())?,
            }
        }
        if shown.is_some_and(|shown| shown.len() < self.0.len()) { f.write_str("...") } else { Ok(()) }
    }
}

/// The system's reason, without the number Rust appends.
pub struct SystemReason<'a>(pub &'a io::Error);

impl Display for SystemReason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string().to_lowercase();
        f.write_str(text.split(" (os error").next().unwrap_or(&text))
    }
}

/// Where messages go. What stands before each sentence tells sessions apart: the process that the super-server has
/// started and knows by this number, whichever process speaks; and the client.
#[derive(Clone, Debug)]
pub struct Log {
    program: &'static str,
    pid: u32,
    /// The client's address, where it is known.
    pub client: Option<String>,
    /// `-v`.
    pub verbosity: u8,
    /// Standard error took no message for [`LOG_STALL`].
    stalled: Cell<bool>,
}

impl Log {
    /// The log of this program, in the process that was started, before it splits.
    pub fn new(program: &'static str) -> Self {
        Self { program, pid: std::process::id(), client: None, verbosity: 1, stalled: Cell::new(false) }
    }

    /// Says why the program ends.
    pub fn fatal(&self, error: &Error) {
        self.write(error.level(), error);
    }

    /// Says what an administrator should look at, from `-v 1` on.
    pub fn warning(&self, what: impl Display) {
        if self.verbosity >= 1 {
            self.write("warning", what);
        }
    }

    /// Writes the session line, from `-v 2` on. It names the client itself.
    pub fn session(&self, what: impl Display) {
        if self.verbosity >= 2 {
            self.write_line("info", format_args!("session {what}"));
        }
    }

    /// Writes the transcript, and what happened besides, at `-v 3`.
    pub fn transcript(&self, what: impl Display) {
        if self.verbosity >= 3 {
            self.write("info", what);
        }
    }

    /// Writes a note of the session: a line of the transcript, or where it ends, at `-v 3`; anything else as a warning.
    pub fn note(&self, note: &Note) {
        match note {
            Note::Transcript(..) | Note::Unwatched(_) => self.transcript(NoteText(note)),
            _ => self.warning(NoteText(note)),
        }
    }

    fn write(&self, level: &str, what: impl Display) {
        match &self.client {
            Some(client) => self.write_line(level, format_args!("{}: {what}", Quoted(client.as_bytes()))),
            None => self.write_line(level, what),
        }
    }

    /// One write(2) a line, so that lines of several sessions do not mix. If standard error is gone there is nobody to
    /// tell.
    fn write_line(&self, level: &str, what: impl Display) {
        let line = format!("{}: pid {}: {level}: {what}\n", self.program, self.pid);
        if self.takes_a_line() {
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }

    /// Whether standard error takes a message now. A logger that hangs is waited for once; no session is slower for it.
    fn takes_a_line(&self) -> bool {
        let output = stderr();
        let limit = Timespec::try_from(if self.stalled.get() { Duration::ZERO } else { LOG_STALL }).ok();
        let ready = retry_on_intr(|| poll(&mut [PollFd::new(&output, PollFlags::OUT)], limit.as_ref()));
        self.stalled.set(ready == Ok(0));
        !self.stalled.get()
    }
}

/// Prints what was asked for (`--help`, `--version`). Returns the exit status.
///
/// # Errors
/// [`Error::System`].
pub fn print(text: &str) -> Result<u8, Error> {
    let mut output = io::stdout();
    output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
        .map_err(Error::system("write to standard output"))?;
    Ok(0)
}

/// How long standard error may take no message; then messages are lost. A pipe holds some hundred of them.
const LOG_STALL: Duration = Duration::from_secs(1);

/// Passes on the messages of a session that was tried (`--check`).
pub fn pass_on(messages: &[u8]) {
    let _ = io::stderr().write_all(messages);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_bytes_are_escaped_and_cut_at_the_limit() {
        assert_eq!(Quoted(b"a\x1b[2J\xff\r\n").to_string(), "a\\x1b[2J\\xff");
        for (length, cut) in [(MAX_QUOTED - 1, false), (MAX_QUOTED, false), (MAX_QUOTED + 1, true)] {
            let shown = Quoted(&vec![b'x'; length]).to_string();
            assert_eq!(shown.ends_with("..."), cut, "{length} bytes");
            assert_eq!(shown.trim_end_matches('.').len(), length.min(MAX_QUOTED));
        }
    }

    #[test]
    fn a_missing_prog_is_told_from_one_that_cannot_be_run() {
        let prog = |kind| Error::Prog("prog".into(), io::Error::from(kind)).exit_code();
        assert_eq!(prog(io::ErrorKind::NotFound), 127);
        assert_eq!(prog(io::ErrorKind::PermissionDenied), 126);
    }
}
