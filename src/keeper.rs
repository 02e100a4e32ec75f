//! The privileged half: it runs prog, connects, and signs; and it never reads a byte that client or server sent.
//!
//! The session is trusted with nothing: it may be in an attacker's hands from its first network byte on. What it asks
//! for is given once, in the order a session needs it, or not at all.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process};

use crate::address::Address;
use crate::cli::{self, Backend, Config, Inside};
use crate::client::Client;
use crate::keys::{self, Files};
use crate::message::{self, Error};
use crate::proxy::{self, Ends};
use crate::signals::{self, Signals};
use crate::tls::Identity;
use crate::ucspi;
use crate::window::{self, Ask, Chain, Peer, Window};

mod ending;
mod provide;

/// The keeper of one session.
pub struct Keeper<'a> {
    config: &'a Config,
    window: Window,
    signals: Signals,
    /// The signal this process was told to end by.
    told: Option<Signal>,
    /// What the client is shown.
    identity: Option<Identity>,
    /// What the backend is shown.
    own: Option<Identity>,
    /// The client's descriptors; nothing is read from them.
    client: Option<Client>,
    /// Who may vouch for the client.
    authorities: Option<OwnedFd>,
    prog: Option<Child>,
    /// The go-ahead is out.
    switched: bool,
    /// The plaintext prog, told to end.
    retired: Option<Child>,
    /// Who the client is, if a PROXY header told it.
    ends: Option<Ends>,
    left: Allowance,
    failure: Option<Error>,
}

/// What the session may still ask for. Each is given once.
struct Allowance {
    client: bool,
    plaintext_prog: bool,
    tls_prog: bool,
    preparation: Tries,
    connection: Tries,
    anchors: Tries,
    chain: bool,
    signature: bool,
    /// One for each connection.
    own_chain: bool,
    own_signature: bool,
}

/// STARTTLS may fail and be tried again, but not for ever.
struct Tries(u8);

impl<'a> Keeper<'a> {
    /// A keeper that has given nothing yet.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn new(config: &'a Config, window: Window) -> Result<Self, Error> {
        let left = Allowance {
            client: config.accept_proxy,
            plaintext_prog: !config.implicit,
            tls_prog: matches!(config.inside, Inside::Respawn),
            preparation: Tries(MAX_TRIES),
            connection: Tries(MAX_TRIES),
            anchors: Tries(MAX_TRIES),
            chain: true,
            signature: true,
            own_chain: false,
            own_signature: false,
        };
        Ok(Self {
            config,
            window,
            signals: Signals::listen()?,
            told: None,
            identity: None,
            own: None,
            client: None,
            authorities: None,
            prog: None,
            switched: false,
            retired: None,
            ends: None,
            left,
            failure: None,
        })
    }

    /// Serves the session until it asks for nothing more, then waits for its end and prog's. Returns the exit status.
    ///
    /// # Errors
    /// [`Error::Prog`] if prog could not be run, [`Error::Impossible`] if the session broke the rules.
    pub fn run(mut self, session: Pid, client: Client) -> Result<u8, Error> {
        self.client = Some(client);
        let served = self.serve();
        if served.is_err() {
            // It broke the rules, so it is an attacker's.
            let _ = kill_process(session, Signal::KILL);
        }
        let ended = self.end_of_session(session);
        if let Some(client) = self.client.take() {
            client.release();
        }
        self.bury();
        let of_prog = self.end_of_prog(ended.is_err());
        if let Some(signal) = self.told {
            signals::end_by(signal);
        }
        served?;
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        match (ended?, of_prog?) {
            (0, Some(status)) => Ok(exit_code(status)),
            (status, _) => Ok(status),
        }
    }

    fn serve(&mut self) -> Result<(), Error> {
        while self.session_speaks()?
            && let Some(ask) = self.window.next_ask()?
        {
            let answered = match ask {
                Ask::Release => return self.release(),
                Ask::Spawn(variables) => self.spawn(variables),
                Ask::Client(ends) => self.meet(ends),
                Ask::Prepare => self.prepare(),
                Ask::Connect => self.connect(),
                Ask::Anchors(Peer::Client) => self.authorities(),
                Ask::Anchors(Peer::Backend) => self.anchors(),
                Ask::Chain(name, schemes) => self.chain(name.as_deref(), &schemes),
                Ask::OwnChain => self.own_chain(),
                Ask::Sign(peer, scheme, message) => self.sign(peer, scheme, &message),
                Ask::Retire => {
                    self.retire();
                    Ok(())
                }
            };
            answered.or_else(|why| self.decline(why))?;
        }
        Ok(())
    }

    /// Says no to the session, and why to the administrator.
    fn decline(&mut self, why: Error) -> Result<(), Error> {
        if matches!(why, Error::Impossible(_)) {
            return Err(why);
        }
        // Without prog, or without a key where TLS begins at once, there is no session to go on.
        let tls_only = self.config.implicit || matches!(self.config.inside, Inside::Itself);
        if matches!(why, Error::Prog(..)) || tls_only {
            self.failure = Some(why);
        } else {
            message::warning(self.config.verbosity, why);
        }
        self.window.refuse()
    }

    /// Forgets the keys and locks itself in: nothing more can be asked.
    fn release(&mut self) -> Result<(), Error> {
        (self.identity, self.own) = (None, None);
        if self.config.ucspi.is_some() && self.switched {
            // The UCSPI-TLS server may outlive us, and the flags are as it wants them.
            self.client = None;
        }
        self.bury();
        self.config.walls().confine_keeper()
    }

    fn spawn(&mut self, variables: Option<Vec<String>>) -> Result<(), Error> {
        let allowed = if variables.is_some() { &mut self.left.tls_prog } else { &mut self.left.plaintext_prog };
        if !std::mem::take(allowed) {
            return Err(refused());
        }
        if variables.is_some() {
            // There is one prog at a time, whether the session has asked for the first one's end or not.
            self.retire();
        }
        let mut command = self.command();
        for variable in variables.iter().flatten() {
            // A UCSPI-TLS server knows more of TLS than we, and may say what is not the case.
            let told = self.config.ucspi.is_some();
            let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
            if !ucspi::may_be_told(variable) || !(told || cli::is_tls_fact(name.as_ref())) {
                return Err(refused());
            }
            match variable.contains('=') {
                true => command.env(name, value),
                false => command.env_remove(name),
            };
        }
        if matches!(self.config.inside, Inside::Itself) {
            return self.spawn_with_ucspi(command);
        }
        if let Some(server) = &self.config.connect {
            return self.connect_server(server);
        }
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(Error::system("make a pipe"));
        let (prog_reads, session_writes) = pipe()?;
        let (session_reads, prog_writes) = pipe()?;
        command.stdin(prog_reads).stdout(prog_writes);
        let prog = command.spawn().map_err(|why| Error::Prog(self.prog_name(), why))?;
        self.prog = Some(prog);
        self.window.grant(&[], &[session_reads.as_fd(), session_writes.as_fd()])
    }

    /// `--connect`: a connection in place of prog. Without it there is no session, as without prog.
    fn connect_server(&mut self, server: &Address) -> Result<(), Error> {
        match server.connect() {
            Ok(connection) => self.window.grant(&[], &[connection.as_fd()]),
            Err(why) => {
                self.failure = Some(why);
                self.window.refuse()
            }
        }
    }

    fn meet(&mut self, ends: Ends) -> Result<(), Error> {
        if !std::mem::take(&mut self.left.client) {
            return Err(refused());
        }
        self.ends = Some(ends);
        self.window.grant(&[], &[])
    }

    fn command(&self) -> Command {
        let mut words = self.config.prog.iter();
        let mut command = Command::new(words.next().map_or_else(|| "".as_ref(), |word| word.as_os_str()));
        command.args(words).stderr(Stdio::inherit());
        for (name, _) in std::env::vars_os() {
            let offer = ucspi::VARIABLES.iter().any(|offer| *offer == name);
            // Nobody behind us can take up the offer that was made to us.
            let taken = self.config.ucspi.is_some() && name == ucspi::OFFER;
            if offer
                || taken
                || cli::is_tls_fact(&name)
                || (cli::is_own_variable(&name) && !self.config.keep_environment)
            {
                command.env_remove(name);
            }
        }
        for (name, value) in self.ends.iter().flat_map(proxy::variables) {
            let name = format!("{}{name}", self.config.proto);
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// Asks the plaintext server to end, beside the end of input that it sees. It has heard harmless words only and
    /// holds no mail, so it loses nothing.
    fn retire(&mut self) {
        self.switched = true;
        if let Some(prog) = self.prog.take() {
            self.bury();
            let _ = kill_process(Pid::from_child(&prog), Signal::TERM);
            self.retired = Some(prog);
        }
    }

    /// Makes an end of the plaintext server, if it did not end by itself while the handshake ran.
    fn bury(&mut self) {
        if let Some(mut prog) = self.retired.take() {
            let _ = prog.kill();
            let _ = prog.wait();
        }
    }

    fn prepare(&mut self) -> Result<(), Error> {
        self.left.preparation.take()?;
        self.config.names.check()?;
        self.identity = self.config.names.default_files().map(Files::load).transpose()?;
        if let Some(authorities) = &self.config.authorities {
            self.authorities = Some(sealed(&authorities.load()?)?);
        }
        self.window.grant(&[], &[])
    }

    fn connect(&mut self) -> Result<(), Error> {
        self.left.connection.take()?;
        let connection = self.backend()?.address.connect()?;
        (self.left.own_chain, self.left.own_signature) = (true, true);
        self.window.grant(&[], &[connection.as_fd()])
    }

    fn anchors(&mut self) -> Result<(), Error> {
        self.left.anchors.take()?;
        let anchors = keys::anchors(self.backend()?.anchors.as_deref())?;
        self.window.grant(&[], &[sealed(&anchors)?.as_fd()])
    }

    fn authorities(&mut self) -> Result<(), Error> {
        let file = self.authorities.take().ok_or_else(refused)?;
        self.window.grant(&[], &[file.as_fd()])
    }

    /// The one chain a client is shown. From here on there is one key in memory: the one for this name that the
    /// client can verify.
    fn chain(&mut self, name: Option<&str>, schemes: &[u16]) -> Result<(), Error> {
        if !std::mem::take(&mut self.left.chain) {
            return Err(refused());
        }
        let default = self.identity.take();
        self.identity = match name.and_then(|name| self.config.names.find(name)).map(Files::load) {
            Some(Ok(own)) => Some(own),
            Some(Err(why)) => {
                message::warning(self.config.verbosity, why);
                default
            }
            None => default,
        };
        // Only with -k 2 there can be none; then there is no such name here.
        let Some(identity) = &mut self.identity else { return self.window.refuse() };
        identity.settle(schemes);
        self.window.grant(&shown(identity), &[])
    }

    fn own_chain(&mut self) -> Result<(), Error> {
        let files = self.backend()?.own.as_ref().filter(|_| std::mem::take(&mut self.left.own_chain));
        let identity = self.own.insert(files.ok_or_else(refused)?.load()?);
        self.window.grant(&shown(identity), &[])
    }

    fn sign(&mut self, peer: Peer, scheme: u16, message: &[u8]) -> Result<(), Error> {
        let (identity, left) = match peer {
            Peer::Client => (&self.identity, &mut self.left.signature),
            Peer::Backend => (&self.own, &mut self.left.own_signature),
        };
        let identity = identity.as_ref().filter(|_| std::mem::take(left));
        let signature = identity.and_then(|identity| identity.sign(peer, scheme, message)).ok_or_else(refused)?;
        self.window.grant(&signature, &[])
    }

    fn backend(&self) -> Result<&'a Backend, Error> {
        match &self.config.inside {
            Inside::Backend(backend) => Ok(backend),
            Inside::Respawn | Inside::Itself => Err(refused()),
        }
    }

    fn prog_name(&self) -> String {
        self.config.prog.first().map_or_else(String::new, |prog| prog.to_string_lossy().into_owned())
    }
}

impl Tries {
    fn take(&mut self) -> Result<(), Error> {
        self.0 = self.0.checked_sub(1).ok_or_else(refused)?;
        Ok(())
    }
}

/// Parts behind their lengths, in a file in memory that nobody can change any more.
fn sealed(parts: &[impl AsRef<[u8]>]) -> Result<OwnedFd, Error> {
    fill_and_seal(&window::join(parts)).map_err(Error::system("hand over the trust anchors"))
}

fn fill_and_seal(mut rest: &[u8]) -> io::Result<OwnedFd> {
    let file = memfd_create("anchors", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    Ok(file)
}

fn shown(identity: &Identity) -> Vec<u8> {
    let certificates = identity.chain().iter().map(|certificate| certificate.to_vec()).collect();
    Chain { schemes: identity.schemes(), certificates }.encode()
}

fn exit_code(status: std::process::ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or_default();
    u8::try_from(code).unwrap_or(u8::MAX)
}

fn refused() -> Error {
    Error::Impossible("the session asked for what is not its due".into())
}

/// How often a client may ask for STARTTLS in one session, and be told that TLS is not available.
pub const MAX_TRIES: u8 = 16;
