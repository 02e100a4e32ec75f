//! The notation of tests/dialogues, as README.md there describes it: text in, steps out.
//!
//! It knows neither the session nor any protocol, so that one program may play the steps through the pure session and
//! another over real descriptors.

use std::fs;
use std::path::Path;

mod bytes;
pub(crate) mod way;

use bytes::{bytes, unescaped};

/// One file of the corpus.
#[derive(Debug)]
pub(crate) struct Dialogue {
    /// The file's name, without `.txt`: a sentence.
    pub(crate) name: String,
    /// The directory's name: the protocol.
    pub(crate) protocol: String,
    /// How the wrapper is started.
    pub(crate) options: Options,
    /// What happens, in this order.
    pub(crate) steps: Vec<Step>,
}

/// How the wrapper is started.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// `-r`
    pub(crate) strict: bool,
    /// `--no-advertise`
    pub(crate) no_advertise: bool,
    /// `--no-replay`
    pub(crate) no_replay: bool,
    /// `--implicit`
    pub(crate) implicit: bool,
    /// `-p NAME`
    pub(crate) protocol: Option<String>,
    /// There is no key and no certificate.
    pub(crate) no_key: bool,
    /// The one mode in which the dialogue goes like this; `None`: in both.
    pub(crate) mode: Option<Mode>,
}

/// Where the server inside TLS comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `--respawn`: a fresh prog, started after the handshake.
    Respawn,
    /// `host port`: a TLS server, reached before the go-ahead.
    HostPort,
}

/// Something happens, and because of it the parties hear something. It is over when they have heard it.
#[derive(Debug)]
pub(crate) struct Step {
    /// Where it stands in the file, counted from 1.
    pub(crate) line: usize,
    /// What happens.
    pub(crate) event: Event,
    /// What the client hears because of it.
    pub(crate) client_hears: Vec<u8>,
    /// What the server hears because of it.
    pub(crate) server_hears: Vec<u8>,
}

/// What may happen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Somebody says this.
    Says(Party, Vec<u8>),
    /// Somebody will say no more.
    Closes(Party),
    /// The next STARTTLS finds no TLS server.
    Unavailable,
    /// The handshake succeeds. What follows is said inside TLS, by a fresh server.
    Tls(Hello),
    /// These bytes of the client, and no others, come to the TLS engine in place of a ClientHello.
    NotTls(Vec<u8>),
    /// The limit that runs now passes.
    TimePasses,
    /// The wrapper has closed the session.
    Closed,
}

/// When the client sends its ClientHello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hello {
    /// Behind the go-ahead.
    Awaited,
    /// Together with STARTTLS.
    Eager,
    /// Without having asked for TLS.
    Unasked,
}

/// Who speaks or hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Party {
    /// The client.
    Client,
    /// The server: prog, and after TLS the fresh server.
    Server,
}

/// Every dialogue of the corpus, in the order of their names.
pub(crate) fn corpus() -> Vec<Dialogue> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues");
    let mut dialogues = Vec::new();
    for folder in entries(&root).into_iter().filter(|path| path.is_dir()) {
        for file in entries(&folder) {
            let text = fs::read_to_string(&file).unwrap_or_else(|reason| panic!("{}: {reason}", file.display()));
            dialogues.push(Dialogue::parse(&stem(&folder), &stem(&file), &text));
        }
    }
    dialogues
}

fn entries(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|reason| panic!("{}: {reason}", folder.display()));
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

impl Dialogue {
    /// The file and the line of a step, as compilers name them.
    pub(crate) fn place(&self, at: usize) -> String {
        let line = self.steps.get(at).map_or(1, |step| step.line);
        format!("tests/dialogues/{}/{}.txt:{line}", self.protocol, self.name)
    }

    /// Reads a dialogue.
    ///
    /// # Panics
    /// At a line that is not in the notation; the message names it.
    pub(crate) fn parse(protocol: &str, name: &str, text: &str) -> Self {
        let mut dialogue =
            Self { name: name.into(), protocol: protocol.into(), options: Options::default(), steps: Vec::new() };
        let mut explicit = false;
        for (number, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let read = dialogue.line(number + 1, line, &mut explicit);
            read.unwrap_or_else(|| panic!("{protocol}/{name}.txt:{}: not in the notation: {line}", number + 1));
        }
        dialogue
    }

    fn line(&mut self, number: usize, line: &str, explicit: &mut bool) -> Option<()> {
        if let Some(stage) = line.strip_prefix("--- ") {
            *explicit = false;
            return self.stage(number, stage);
        }
        let bytes = bytes(line.get(1..)?)?;
        match line.get(..1)? {
            "C" => self.push(number, Event::Says(Party::Client, bytes?)),
            "S" => self.push(number, Event::Says(Party::Server, bytes?)),
            small => {
                let step = self.steps.last_mut()?;
                if !std::mem::replace(explicit, true) {
                    step.client_hears.clear();
                    step.server_hears.clear();
                }
                let hears = match small {
                    "c" => &mut step.client_hears,
                    "s" => &mut step.server_hears,
                    _ => return None,
                };
                hears.extend(bytes.unwrap_or_default());
                return Some(());
            }
        }
        *explicit = false;
        Some(())
    }

    fn stage(&mut self, number: usize, stage: &str) -> Option<()> {
        if let Some(words) = stage.strip_prefix("options: ") {
            return self.options.read(words);
        }
        let event = match stage {
            "no key" => {
                self.options.no_key = true;
                return Some(());
            }
            "TLS" => Event::Tls(Hello::Awaited),
            "TLS, eagerly" => Event::Tls(Hello::Eager),
            "TLS, unasked" => Event::Tls(Hello::Unasked),
            "TLS unavailable" => Event::Unavailable,
            "client closes" => Event::Closes(Party::Client),
            "server closes" => Event::Closes(Party::Server),
            "time passes" => Event::TimePasses,
            "closed" => Event::Closed,
            _ => Event::NotTls(unescaped(stage.strip_prefix("not TLS: ")?)?),
        };
        self.push(number, event);
        Some(())
    }

    /// Until small letters say otherwise, the other side hears what is said.
    fn push(&mut self, line: usize, event: Event) {
        let (client_hears, server_hears) = match &event {
            Event::Says(Party::Client, bytes) => (Vec::new(), bytes.clone()),
            Event::Says(Party::Server, bytes) => (bytes.clone(), Vec::new()),
            _ => Default::default(),
        };
        self.steps.push(Step { line, event, client_hears, server_hears });
    }
}

impl Options {
    fn read(&mut self, words: &str) -> Option<()> {
        let mut words = words.split(' ');
        while let Some(word) = words.next() {
            match word {
                "-r" => self.strict = true,
                "--no-advertise" => self.no_advertise = true,
                "--no-replay" => self.no_replay = true,
                "-p" => self.protocol = Some(words.next()?.into()),
                // The first server is the one inside; where it comes from makes no difference.
                "--implicit" => (self.implicit, self.mode) = (true, Some(Mode::Respawn)),
                "--respawn" => self.mode = Some(Mode::Respawn),
                "host" if words.next() == Some("port") => self.mode = Some(Mode::HostPort),
                _ => return None,
            }
        }
        Some(())
    }
}
