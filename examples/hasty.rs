//! The program itself, but the limits in time that no option shortens are seconds in place of minutes; for
//! tests/stalls.rs, and never installed.

use std::time::Duration;

use starttls_protocols::PROTOCOLS;
use starttls_wrapper::cli::{self, Invocation};
use starttls_wrapper::config::{Config, Limits};
use starttls_wrapper::message::{Error, Log};
use starttls_wrapper::{program, raw};

fn main() -> ! {
    let limits =
        Limits { write_stall: Duration::from_secs(3), last_words: Duration::from_secs(1), ..Limits::default() };
    let mut log = Log::new("starttls-wrapper");
    let session = cli::parse(PROTOCOLS, std::env::args_os().skip(1), &|name| std::env::var_os(name));
    let outcome = session.and_then(|session| match session {
        Invocation::Run(config) => program::serve(&Config { limits, ..*config }, &mut log),
        _ => Err(Error::Usage("it serves a session, and nothing else".into())),
    });
    raw::exit(outcome.unwrap_or_else(|why| {
        log.fatal(&why);
        why.exit_code()
    }))
}
