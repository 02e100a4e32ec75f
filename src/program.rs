//! starttls-wrapper, from its first line to its last.

use std::os::fd::AsRawFd;

use rustix::fs::FileType;
use starttls_protocols::session::{Rules, Session};
use starttls_protocols::{Offer, Protocol};

use crate::check;
use crate::cli::{self, HELP, Invocation};
use crate::client::{self, Client};
use crate::config::Config;
use crate::keeper::Keeper;
use crate::message::{self, Error, Log};
use crate::raw;
use crate::relay::{Relay, Report};
use crate::sandbox::{self, SandboxMode};
use crate::side::Side;
use crate::tls;
use crate::ucspi;
use crate::window::{self, Half, Window};

/// The whole program, with these protocols: what the command line and the environment ask for, and the exit status.
pub fn run(protocols: &'static [Protocol]) -> ! {
    client::keep_stderr_from_client(FileType::Socket);
    let mut log = Log::new(NAME);
    let invocation = cli::parse(protocols, std::env::args_os().skip(1), &|name| std::env::var_os(name));
    let outcome = invocation.and_then(|invocation| match invocation {
        Invocation::Help => message::print(HELP),
        Invocation::Version => message::print(&cli::version(NAME, protocols)),
        Invocation::Run(config) => serve(&config, &mut log),
        Invocation::Check(config, arguments) => {
            tls::check_processor().and_then(|()| check::check(&config, &arguments, &log))
        }
    });
    // Nothing is left to be done: descriptors are closed, messages are out.
    raw::exit(outcome.unwrap_or_else(|why| {
        log.fatal(&why);
        why.exit_code()
    }))
}

/// One session.
///
/// # Errors
/// Whatever keeps it from beginning, or ended it before its time.
pub fn serve(config: &Config, log: &mut Log) -> Result<u8, Error> {
    client::keep_stderr_from_client(FileType::Fifo);
    (log.verbosity, log.client) = (config.verbosity, config.remote.clone());
    let ucspi = config.ucspi.map(ucspi::Descriptors::adopt).transpose()?;
    let mut client = Client::take()?;
    let ends = config.ucspi_ends.ends(client::ends(&client.input));
    log.client = log.client.take().or_else(|| ends.map(|ends| ends.client.to_string()));
    let offer = offer(config, log)?;
    if !config.inside.leaves_client_to_prog() {
        client.set_nodelay_and_keepalive();
        client.set_nonblocking()?;
    }
    sandbox::hide()?;
    let mut kept = vec![client.input.as_raw_fd(), client.output.as_raw_fd()];
    kept.extend(ucspi.iter().flat_map(ucspi::Descriptors::numbers));
    match window::split(&kept)? {
        Half::Keeper(window, session) => {
            // Kept to the very end: when it closes, sslserver -n ends this process.
            let _control = ucspi.map(|ends| ends.control);
            Keeper::new(config, log, window)?.run(session, client)
        }
        Half::Session(window) => {
            let report = Report::new(ends, identity(config));
            listen(config, log, window, client, offer, report, ucspi)
        }
    }
}

/// What will be offered: nothing that could not be kept.
fn offer(config: &Config, log: &Log) -> Result<Offer, Error> {
    let identity = || if config.ucspi.is_some() { Ok(()) } else { config.names.check() };
    match tls::check_processor().and_then(|()| identity()) {
        Ok(()) if config.advertise => Ok(Offer::Add),
        Ok(()) => Ok(Offer::Leave),
        Err(why) if config.require_tls || config.needs_tls() => Err(why),
        Err(why) => {
            log.warning(why);
            Ok(Offer::Remove)
        }
    }
}

/// What the session's process does.
fn listen(
    config: &Config,
    log: &mut Log,
    window: Window,
    client: Client,
    offer: Offer,
    report: Report,
    ucspi: Option<ucspi::Descriptors>,
) -> Result<u8, Error> {
    #[cfg(feature = "keylog")]
    crate::tls::open_key_log();
    let rules = Rules {
        protocols: config.protocols,
        protocol: config.protocol,
        strict: config.require_tls,
        offer,
        replay: config.replay,
        respawn: config.server_learns_of_tls(),
        implicit: config.implicit,
        transcript: config.verbosity >= 3,
    };
    let was_blocking = client.was_blocking;
    let side = Side::new(client.input, client.output);
    let mut relay = Relay::new(config, log, window, side, Session::new(rules), report)?.with_ucspi(ucspi, was_blocking);
    // Where there may be no session without a sandbox, there is no prog without one either.
    if config.sandbox.mode == SandboxMode::Try {
        relay.ask_for_server()?;
    }
    config.sandbox.confine_session(relay.log())?;
    relay.run()
}

/// How the server inside TLS learns who the client is.
fn identity(config: &Config) -> &'static str {
    let runs_prog = config.connect.is_none() && config.inside.backend().is_none();
    match config.proxy {
        Some(_) => "proxy",
        None if runs_prog => "kept",
        None => "lost",
    }
}

const NAME: &str = "starttls-wrapper";
