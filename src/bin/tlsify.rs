//! tlsify, from its first line to its last: it connects to a TLS server for a program that knows no TLS.

use std::io::{IsTerminal, stdin};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::fs::FileType;
use starttls_protocols::session::{Rules, Session};
use starttls_protocols::{Offer, PROTOCOLS};
use starttls_wrapper::check;
use starttls_wrapper::cli::tlsify::{self, HELP};
use starttls_wrapper::cli::{self, Invocation};
use starttls_wrapper::client::{self, Client};
use starttls_wrapper::config::Config;
use starttls_wrapper::keeper::Keeper;
use starttls_wrapper::memory::{WIPING, Wiping};
use starttls_wrapper::message::{self, Error, Log};
use starttls_wrapper::raw;
use starttls_wrapper::relay::{Control, Relay, Report};
use starttls_wrapper::sandbox;
use starttls_wrapper::side::Side;
use starttls_wrapper::tls;
use starttls_wrapper::window::{self, Half, Window};

fn main() -> ! {
    client::keep_stderr_from_client(FileType::Socket);
    let mut log = Log::new(NAME);
    let invocation = tlsify::parse(std::env::args_os().skip(1), &|name| std::env::var_os(name));
    let outcome = invocation.and_then(|invocation| match invocation {
        Invocation::Help => message::print(HELP),
        Invocation::Version => message::print(&cli::version(NAME, PROTOCOLS)),
        Invocation::Run(config) => run(*config, &mut log),
        Invocation::Check(config, arguments) => {
            tls::check_processor().and_then(|()| check::check_call(&config, &arguments, &log))
        }
    });
    // Nothing is left to be done: descriptors are closed, messages are out.
    raw::exit(outcome.unwrap_or_else(|why| {
        log.fatal(&why);
        why.exit_code()
    }))
}

fn run(mut config: Config, log: &mut Log) -> Result<u8, Error> {
    log.verbosity = config.verbosity;
    tls::check_processor()?;
    if config.prog.is_empty() && stdin().is_terminal() {
        // After the server's last word there is nobody left to type to.
        config.limits.half_closed = Duration::ZERO;
    }
    let config = &config;
    let control = config.control.map(adopt).transpose()?;
    let (mut client, prog) = plaintext(config)?;
    let ends = config.ucspi_ends.ends(client::ends(&client.input));
    if prog.is_none() {
        log.client = config.remote.clone().or_else(|| ends.map(|ends| ends.client.to_string()));
    }
    client.set_nonblocking()?;
    sandbox::hide()?;
    let mut kept = client.numbers().to_vec();
    kept.extend(prog.iter().flat_map(Client::numbers));
    kept.extend(control.iter().map(AsRawFd::as_raw_fd));
    match window::split(&kept)? {
        Half::Keeper(window, session) => {
            let ended = Keeper::new(config, log, window)?.run(session, prog.unwrap_or(client));
            // What the session did not know.
            ended.inspect_err(|why| Control::new(control).end(why))
        }
        Half::Session(window) => {
            drop(prog);
            call(config, log, window, client, Report::new(ends, "proxy"), control)
        }
    }
}

/// The plaintext side: whoever has descriptors 0 and 1; or two pipes, and prog's ends of them.
fn plaintext(config: &Config) -> Result<(Client, Option<Client>), Error> {
    if config.prog.is_empty() {
        client::keep_stderr_from_client(FileType::Fifo);
        let client = Client::take()?;
        client.set_nodelay_and_keepalive();
        return Ok((client, None));
    }
    let (client, prog) = Client::pipes_for_prog()?;
    Ok((client, Some(prog)))
}

/// What the session's process does.
fn call(
    config: &Config,
    log: &mut Log,
    window: Window,
    client: Client,
    report: Report,
    control: Option<OwnedFd>,
) -> Result<u8, Error> {
    #[cfg(feature = "keylog")]
    starttls_wrapper::tls::open_key_log();
    if !config.prog.is_empty() {
        // They are prog's.
        client::replace_stdin_and_stdout()?;
    }
    let rules = Rules {
        protocols: PROTOCOLS,
        protocol: config.protocol,
        strict: false,
        offer: Offer::Remove,
        replay: false,
        respawn: false,
        implicit: false,
        transcript: config.verbosity >= 3,
    };
    let side = Side::new(client.input, client.output);
    let relay = Relay::new(config, log, window, side, Session::new(rules), report)?.with_control(control);
    config.sandbox.confine_session(relay.log())?;
    relay.run()
}

fn adopt(number: RawFd) -> Result<OwnedFd, Error> {
    raw::adopt(number).map_err(|_| Error::Environment(format!("--control is {number}, which is not open")))
}

const NAME: &str = "tlsify";

#[global_allocator]
static ALLOCATOR: Wiping = WIPING;
