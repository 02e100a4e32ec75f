//! A mail over STARTTLS, from one command: `cargo build --release && cargo run --release --example demo`.
//!
//! Everything is in this file but the wrapper, which is the real binary: a throw-away certificate, a super-server on
//! loopback, a small SMTP server that knows no TLS (this program again, as `demo serve`), and a client. The client's
//! dialogue is printed as it happens. Then the demonstration goes on listening until standard input ends; with
//! `--once` it ends by itself.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let mode = std::env::args().nth(1).unwrap_or_default();
    let outcome = match mode.as_str() {
        "serve" => serve(&mut io::stdin().lock(), &mut io::stdout().lock()).map_err(Into::into),
        "" | "--once" => demonstrate(mode == "--once"),
        _ => Err("usage: demo [--once]".into()),
    };
    if let Err(why) = outcome {
        let _ = writeln!(io::stderr(), "demo: fatal: {why}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn demonstrate(once: bool) -> Outcome<()> {
    let program = std::env::current_exe()?;
    let place = program.parent().ok_or("this program stands nowhere")?;
    let wrapper = place.parent().ok_or("this program stands nowhere")?.join("starttls-wrapper");
    if !wrapper.is_file() {
        return Err(format!("{} is missing: run cargo build --release first", wrapper.display()).into());
    }
    let certificate = Certificate::write(place)?;
    let listener = TcpListener::bind(WANTED).or_else(|_| TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;

    let mut say = io::stdout();
    writeln!(say, "listening on {address}; for each connection:")?;
    writeln!(say, "    starttls-wrapper -v 2 --respawn demo serve\n")?;
    let (key, chain) = (certificate.key.clone(), certificate.chain.clone());
    let (ended, sessions) = mpsc::channel();
    thread::spawn(move || listen(&listener, &wrapper, &program, &[("KEYFILE", key), ("CERTFILE", chain)], &ended));
    deliver(address, certificate.der.clone())?;
    sessions.recv_timeout(PATIENCE)??;
    if once {
        return Ok(());
    }
    writeln!(say, "\nstill listening on {address}; try")?;
    let (chain, port) = (certificate.chain.display(), address.port());
    writeln!(say, "    openssl s_client -starttls smtp -quiet -connect localhost:{port} -CAfile {chain}")?;
    writeln!(say, "    swaks --tls --server 127.0.0.1:{port} --to you@demo.example")?;
    writeln!(say, "end with Ctrl-D")?;
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

/// A certificate for localhost that nobody else trusts, in two files beside this program, while it runs.
struct Certificate {
    key: PathBuf,
    chain: PathBuf,
    der: CertificateDer<'static>,
}

impl Certificate {
    fn write(place: &Path) -> Outcome<Self> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        let id = std::process::id();
        let (key, chain) = (place.join(format!("demo.{id}.key.pem")), place.join(format!("demo.{id}.cert.pem")));
        write_file(&key, 0o600, &made.signing_key.serialize_pem())?;
        write_file(&chain, 0o644, &made.cert.pem())?;
        Ok(Self { key, chain, der: made.cert.der().clone() })
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.key);
        let _ = fs::remove_file(&self.chain);
    }
}

fn write_file(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())
}

/// What tcpserver or s6-tcpserver does: a process for each connection, which is its descriptors 0 and 1.
fn listen(
    listener: &TcpListener,
    wrapper: &Path,
    program: &Path,
    files: &[(&str, PathBuf)],
    ended: &Sender<io::Result<ExitStatus>>,
) {
    while let Ok((connection, peer)) = listener.accept() {
        let mut command = Command::new(wrapper);
        command.args(["-v", "2", "--respawn", "--"]).arg(program).arg("serve");
        command.envs(files.iter().cloned()).env("PROTO", "TCP");
        command.env("TCPREMOTEIP", peer.ip().to_string()).env("TCPREMOTEPORT", peer.port().to_string());
        let Ok(copy) = connection.try_clone() else { continue };
        command.stdin(OwnedFd::from(connection)).stdout(OwnedFd::from(copy));
        match command.spawn() {
            Ok(mut session) => {
                let ended = ended.clone();
                thread::spawn(move || ended.send(session.wait()));
            }
            Err(why) => drop(writeln!(io::stderr(), "demo: warning: unable to run the wrapper: {why}")),
        }
    }
}

/// The server: enough of SMTP (RFC 5321) to take a mail. It knows nothing of TLS.
fn serve(input: &mut impl BufRead, output: &mut impl Write) -> io::Result<()> {
    let mut recipient = String::new();
    reply(output, "220 demo.example ESMTP")?;
    while let Some(line) = read_line(input)? {
        let verb = line.split_ascii_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => reply(output, "250-demo.example\r\n250 8BITMIME")?,
            "HELO" | "NOOP" | "RSET" | "MAIL" => reply(output, "250 OK")?,
            "RCPT" => {
                recipient = line.split_once(':').map_or_else(String::new, |(_, path)| path.trim().to_owned());
                reply(output, "250 OK")?;
            }
            "DATA" => {
                reply(output, "354 Go ahead")?;
                let mut lines = 0;
                while read_line(input)?.is_some_and(|line| line != ".") {
                    lines += 1;
                }
                let (id, tls) = (std::process::id(), std::env::var("SSL_PROTOCOL"));
                let tls = tls.as_deref().unwrap_or("not set");
                let what = format!("server {id} took {lines} lines for {recipient}, SSL_PROTOCOL {tls}");
                writeln!(io::stderr(), "demo: info: {what}")?;
                reply(output, "250 OK, taken")?;
            }
            "QUIT" => return reply(output, "221 demo.example"),
            _ => reply(output, "502 Command not implemented")?,
        }
    }
    Ok(())
}

fn reply(output: &mut impl Write, text: &str) -> io::Result<()> {
    output.write_all(format!("{text}\r\n").as_bytes())?;
    output.flush()
}

/// One line without its end; `None` when nothing more comes.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    input.take(MAX_LINE).read_until(b'\n', &mut line)?;
    let text = String::from_utf8_lossy(&line);
    Ok((!line.is_empty()).then(|| text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// The client: one mail, behind STARTTLS.
fn deliver(address: SocketAddr, anchor: CertificateDer<'static>) -> Outcome<()> {
    let connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut plain = Dialogue { stream: BufReader::new(connection), tls: false };
    plain.hear()?;
    plain.say("EHLO client.example")?;
    plain.say("STARTTLS")?;
    let connection = plain.stream.into_inner();

    let mut anchors = RootCertStore::empty();
    anchors.add(anchor)?;
    let config = ClientConfig::builder().with_root_certificates(anchors).with_no_client_auth();
    let tls = ClientConnection::new(Arc::new(config), NAME.try_into()?)?;
    let mut stream = StreamOwned::new(tls, connection);
    stream.conn.complete_io(&mut stream.sock)?;
    let version = stream.conn.protocol_version().ok_or("no TLS")?;
    let group = stream.conn.negotiated_key_exchange_group().ok_or("no TLS")?.name();
    writeln!(io::stdout(), "--- {version:?} {group:?}, certificate verified; a fresh server serves")?;

    let mut inside = Dialogue { stream: BufReader::new(stream), tls: true };
    for command in [
        "EHLO client.example",
        "MAIL FROM:<me@client.example>",
        "RCPT TO:<you@demo.example>",
        "DATA",
        "Subject: hello\r\n\r\nThis line went through TLS.\r\n.",
        "QUIT",
    ] {
        inside.say(command)?;
    }
    Ok(())
}

/// The client's side, with its transcript.
struct Dialogue<S: Read + Write> {
    stream: BufReader<S>,
    tls: bool,
}

impl<S: Read + Write> Dialogue<S> {
    fn say(&mut self, text: &str) -> Outcome<()> {
        text.lines().try_for_each(|line| self.show("C", line))?;
        self.stream.get_mut().write_all(format!("{text}\r\n").as_bytes())?;
        self.hear()
    }

    /// A whole reply. One that is no success ends the demonstration.
    fn hear(&mut self) -> Outcome<()> {
        loop {
            let line = read_line(&mut self.stream)?.ok_or("the server is gone")?;
            self.show("S", &line)?;
            if !line.starts_with(['2', '3']) {
                return Err(format!("the server said {line}").into());
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }

    fn show(&self, who: &str, line: &str) -> io::Result<()> {
        let (name, colour) = if self.tls { ("TLS      ", "\x1b[32m") } else { ("plaintext", "\x1b[33m") };
        let (begin, end) = if io::stdout().is_terminal() { (colour, "\x1b[0m") } else { ("", "") };
        writeln!(io::stdout(), "{begin}{name} {who}: {line}{end}")
    }
}

/// Another port is taken if this one is not to be had.
const WANTED: &str = "127.0.0.1:2525";

/// Whom the certificate names.
const NAME: &str = "localhost";

/// RFC 5321 section 4.5.3.1.6 allows lines of 1000 bytes.
const MAX_LINE: u64 = 4096;

/// How long the client waits for the server, and the demonstration for the session's end.
const PATIENCE: Duration = Duration::from_secs(10);
