//! The parameters of a run.

use lexopt::prelude::*;

/// What to run, and how much of it.
pub struct Options {
    /// Sessions in a round.
    pub sessions: usize,
    /// Rounds.
    pub rounds: usize,
    /// Sessions at a time.
    pub concurrency: usize,
    /// Bytes of a message.
    pub size: usize,
    /// MB of a stream.
    pub bulk: usize,
    /// Sessions held to see their memory.
    pub idle: usize,
    /// Sessions of slow clients.
    pub slow: usize,
    /// Sessions held while new ones are measured.
    pub hold: Vec<usize>,
    /// Another build of this program, measured beside this one.
    pub against: Option<std::path::PathBuf>,
    /// The parts to run; none means all.
    pub only: Vec<String>,
    /// Where the results go.
    pub results: String,
}

impl Options {
    /// Whether this part shall run.
    pub fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|one| one == part)
    }
}

/// `None` if there is nothing to run: `cargo test --benches` does not pass `--bench`, and shall not take minutes.
pub fn parse() -> Option<Options> {
    let mut options = Options {
        sessions: 60,
        rounds: 5,
        concurrency: 1,
        size: 4096,
        bulk: 100,
        idle: 50,
        slow: 1000,
        hold: vec![1, 50, 500, 1000],
        against: None,
        only: Vec::new(),
        results: concat!(env!("CARGO_MANIFEST_DIR"), "/benches").into(),
    };
    let mut run = false;
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next().expect(USAGE) {
        let name = match argument {
            Value(part) => {
                options.only.push(part.string().expect(USAGE));
                continue;
            }
            Short(_) => panic!("{USAGE}"),
            Long(name) => name.to_owned(),
        };
        if name == "bench" {
            run = true;
            continue;
        }
        let value = parser.value().and_then(|value| value.string()).expect(USAGE);
        let number = || value.parse::<usize>().expect(USAGE).max(1);
        match name.as_str() {
            "sessions" => options.sessions = number(),
            "rounds" => options.rounds = number(),
            "concurrency" => options.concurrency = number(),
            "size" => options.size = number(),
            "bulk" => options.bulk = number(),
            "idle" => options.idle = number(),
            "slow" => options.slow = number(),
            "hold" => options.hold = value.split(',').map(|one| one.parse().expect(USAGE)).collect(),
            "against" => options.against = Some(value.into()),
            "results" => options.results = value,
            _ => panic!("{USAGE}"),
        }
    }
    run.then_some(options)
}

const USAGE: &str = "cargo bench --bench peers -- [--sessions N] [--rounds N] [--concurrency N] [--size BYTES] \
                     [--bulk MB] [--idle N] [--slow N] [--hold N,N...] [--against PROGRAM] [--results DIRECTORY] [sessions] [bulk] [idle] [slow] [growth] [callers] [postgres] [instructions]";
