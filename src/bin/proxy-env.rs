//! proxy-env: reads a PROXY header from descriptor 0, sets the environment by it, and becomes prog.
//!
//! For servers that are told by their environment who the client is, behind a TLS server that only a PROXY header can
//! tell it to. Whoever can connect decides who the client is: let nobody connect but the one who sends the header.

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use rustix::io::{Errno, read, retry_on_intr};
use rustix::stdio::stdin;
use starttls_wrapper::command::Command;
use starttls_wrapper::facts::{Facts, is_tls_variable};
use starttls_wrapper::message::{Error, Log};
use starttls_wrapper::proxy::{self, HEADER_TIMEOUT, Header, Sets};
use starttls_wrapper::{cli, client};

fn main() -> ExitCode {
    client::keep_stderr_from_client(FileType::Socket);
    let mut log = Log::new("proxy-env");
    let Err(why) = run(&mut log) else { return ExitCode::SUCCESS };
    log.fatal(&why);
    ExitCode::from(why.exit_code())
}

/// Returns if there is nobody to serve: a health check that connects and leaves.
fn run(log: &mut Log) -> Result<(), Error> {
    let mut words = env::args_os().skip(1).skip_while(|word| word == "--");
    let prog = words.next().filter(|word| !word.as_encoded_bytes().starts_with(b"-"));
    let prog = prog.ok_or_else(|| Error::Usage("proxy-env [--] prog...".into()))?;
    client::keep_stderr_from_client(FileType::Fifo);
    let proto = env::var("PROTO").unwrap_or_else(|_| "TCP".into());
    let peer = || client::ends(stdin()).map(|ends| ends.client.to_string());
    log.client = cli::remote(&proto, &|name| env::var_os(name)).or_else(peer);
    let Some(header) = read_header()? else { return Ok(()) };
    log.client = header.ends.as_ref().map_or(log.client.take(), |ends| Some(ends.client.to_string()));
    let name = prog.to_string_lossy().into_owned();
    let mut command = Command::new([prog].into_iter().chain(words).collect(), env::vars_os());
    set_variables(&header, &mut command);
    Err(Error::Prog(name, command.exec()))
}

/// Reads the header and nothing behind it: that is prog's. `None` if nobody said anything.
fn read_header() -> Result<Option<Header>, Error> {
    let until = Instant::now() + HEADER_TIMEOUT;
    proxy::read(|buffer| {
        loop {
            wait(until)?;
            match retry_on_intr(|| read(stdin(), &mut *buffer)) {
                Err(Errno::AGAIN) => {}
                heard => return heard.map_err(Error::system("read from descriptor 0")),
            }
        }
    })
}

fn wait(until: Instant) -> Result<(), Error> {
    let left = until.saturating_duration_since(Instant::now());
    let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
    let input = stdin();
    match retry_on_intr(|| poll(&mut [PollFd::new(&input, PollFlags::IN)], Some(&left))) {
        Ok(0) => Err(Error::Timeout("no PROXY header came in time".into())),
        Ok(_) => Ok(()),
        Err(why) => Err(Error::System("wait for descriptor 0".into(), why.into())),
    }
}

/// Sets the variables that the header tells. Those that tell of TLS between its sender and this program are removed: prog
/// would take it for the client's.
fn set_variables(header: &Header, command: &mut Command) {
    for (name, _) in env::vars_os().filter(|(name, _)| is_tls_variable(name)) {
        command.set_variable(name, None::<OsString>);
    }
    for variable in header.tls.iter().flat_map(Facts::variables) {
        if let Some((name, value)) = variable.split_once('=') {
            command.set_variable(name, Some(value));
        }
    }
    let sets = Sets::find(&|name| env::var_os(name));
    for (name, value) in header.ends.iter().flat_map(|ends| sets.changes(ends)) {
        command.set_variable(name, value);
    }
}
