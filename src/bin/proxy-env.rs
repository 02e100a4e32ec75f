//! proxy-env: reads a PROXY header from descriptor 0, tells the environment what it says, and becomes prog.
//!
//! For servers that are told by their environment who the client is, behind a TLS server that only a PROXY header can
//! tell it to. Whoever can connect decides who the client is: let nobody connect but the one who sends the header.

use std::convert::Infallible;
use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use rustix::io::{Errno, read, retry_on_intr};
use rustix::stdio::stdin;
use starttls_wrapper::client;
use starttls_wrapper::config::is_tls_variable;
use starttls_wrapper::message::{self, Error};
use starttls_wrapper::proxy::{self, HEADER_TIMEOUT, Header, Malformed};

fn main() -> ExitCode {
    client::spare_messages(FileType::Socket);
    let Err(why) = run();
    message::fatal_of(NAME, &why);
    ExitCode::from(why.exit_code())
}

fn run() -> Result<Infallible, Error> {
    let mut words = env::args_os().skip(1).skip_while(|word| word == "--");
    let prog = words.next().filter(|word| !word.as_encoded_bytes().starts_with(b"-"));
    let prog = prog.ok_or_else(|| Error::Usage("proxy-env [--] prog...".into()))?;
    client::spare_messages(FileType::Fifo);
    let header = read_header()?;
    let mut command = Command::new(&prog);
    command.args(words);
    tell(&header, &mut command);
    Err(Error::Prog(prog.to_string_lossy().into_owned(), command.exec()))
}

/// Reads the header and nothing behind it: that is prog's.
fn read_header() -> Result<Header, Error> {
    let unable = |why: Malformed| Error::Environment(format!("unable to read the PROXY header: {why}"));
    let until = Instant::now() + HEADER_TIMEOUT;
    let mut header = Vec::new();
    loop {
        let missing = proxy::missing(&header).map_err(unable)?;
        if missing == 0 {
            return proxy::parse(&header).map_err(unable);
        }
        wait(until)?;
        let seen = header.len();
        header.resize(seen + missing, 0);
        let count = match retry_on_intr(|| read(stdin(), header.get_mut(seen..).unwrap_or_default())) {
            Ok(0) => return Err(unable(Malformed("descriptor 0 was closed before its end"))),
            Ok(count) => count,
            Err(Errno::AGAIN) => 0,
            Err(why) => return Err(Error::System("read from descriptor 0".into(), why.into())),
        };
        header.truncate(seen + count);
    }
}

fn wait(until: Instant) -> Result<(), Error> {
    let left = until.saturating_duration_since(Instant::now());
    let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
    let input = stdin();
    match retry_on_intr(|| poll(&mut [PollFd::new(&input, PollFlags::IN)], Some(&left))) {
        Ok(0) => Err(Error::Timeout("the PROXY header does not come".into())),
        Ok(_) => Ok(()),
        Err(why) => Err(Error::System("wait for descriptor 0".into(), why.into())),
    }
}

/// What the header tells takes the place of what the environment said. Of TLS between the sender and us prog hears
/// nothing: it would take it for the client's.
fn tell(header: &Header, command: &mut Command) {
    let proto = env::var_os("PROTO").unwrap_or_else(|| "TCP".into());
    for (name, _) in env::vars_os().filter(|(name, _)| is_tls_variable(name)) {
        command.env_remove(name);
    }
    for (name, value) in header.tls.iter().flat_map(proxy::Tls::variables) {
        command.env(name, value);
    }
    for (name, value) in header.ends.iter().flat_map(proxy::variables) {
        let variable: OsString = [proto.as_os_str(), name.as_ref()].into_iter().collect();
        match value {
            Some(value) => command.env(variable, value),
            None => command.env_remove(variable),
        };
    }
}

const NAME: &str = "proxy-env";
