//! The client: whole SMTP sessions over a socket, in plaintext or behind STARTTLS.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// What every session is to be.
#[derive(Clone)]
pub struct Client {
    /// `None` stays in plaintext.
    pub tls: Option<Arc<ClientConfig>>,
    /// TLS from the first byte, without STARTTLS.
    pub at_once: bool,
    /// Nagle's algorithm is left on, as in smtplib, swaks and msmtp.
    pub nagle: bool,
    /// Bytes of the message.
    pub size: usize,
}

/// A session that stands, and idles.
pub struct Held {
    stream: Stream,
    line: Vec<u8>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// Which way bulk goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Up,
    Down,
}

impl Client {
    /// A whole session, from connect(2) to the server's end. Returns how long it took.
    pub fn session(&self, server: SocketAddr) -> io::Result<Duration> {
        let began = Instant::now();
        let mut held = self.hold(server)?;
        for command in ["RCPT TO:<b@mx.example>\r\n", "DATA\r\n"] {
            held.say(command.as_bytes())?;
        }
        let mut message = vec![b'x'; self.size];
        message.chunks_mut(64).filter(|line| line.len() == 64).for_each(|line| line[62..].copy_from_slice(b"\r\n"));
        message.extend_from_slice(b"\r\n.\r\n");
        held.say(&message)?;
        held.end()?;
        Ok(began.elapsed())
    }

    /// A session up to the greeting.
    pub fn open(&self, server: SocketAddr) -> io::Result<Held> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(!self.nagle)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut held = Held { stream: Stream::Plain(stream), line: Vec::new() };
        if let Some(config) = self.tls.as_ref().filter(|_| self.at_once) {
            held = held.upgrade(config)?;
        }
        held.reply()?;
        Ok(held)
    }

    /// The same client with Nagle's algorithm left on.
    pub fn with_nagle(&self) -> Self {
        Self { nagle: true, ..self.clone() }
    }

    /// A session up to the reply to MAIL.
    pub fn hold(&self, server: SocketAddr) -> io::Result<Held> {
        let mut held = self.open(server)?;
        held.say(b"EHLO bench.example\r\n")?;
        if let Some(config) = self.tls.as_ref().filter(|_| !self.at_once) {
            held.say(b"STARTTLS\r\n")?;
            held = held.upgrade(config)?;
            held.say(b"EHLO bench.example\r\n")?;
        }
        held.say(b"MAIL FROM:<a@bench.example>\r\n")?;
        Ok(held)
    }

    /// So many bytes one way. Returns how long they took.
    pub fn bulk(&self, server: SocketAddr, way: Way, bytes: usize) -> io::Result<Duration> {
        let mut held = self.hold(server)?;
        let began = Instant::now();
        let mut piece = vec![b'x'; PIECE];
        let mut left = bytes;
        if way == Way::Up {
            held.stream.write_all(format!("XSINK {bytes}\r\n").as_bytes())?;
            while left > 0 {
                let here = left.min(PIECE);
                held.stream.write_all(&piece[..here])?;
                left -= here;
            }
        } else {
            held.stream.write_all(format!("XSOURCE {bytes}\r\n").as_bytes())?;
            while left > 0 {
                let room = left.min(PIECE);
                match held.stream.read(&mut piece[..room])? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    count => left -= count,
                }
            }
        }
        held.reply()?;
        let took = began.elapsed();
        held.end()?;
        Ok(took)
    }
}

impl Held {
    /// One byte of a command that has no end.
    pub fn drip(&mut self) -> io::Result<()> {
        self.stream.write_all(b"N")
    }

    /// Ends the command, whatever it was, and then the session.
    pub fn end_slowly(mut self) -> io::Result<()> {
        let _ = self.say(b"\r\n");
        self.end()
    }

    /// QUIT, and the server's end: close_notify where there is TLS, and the transport's.
    pub fn end(mut self) -> io::Result<()> {
        self.say(b"QUIT\r\n")?;
        match self.stream.read(&mut [0; 1])? {
            0 => Ok(()),
            _ => Err(io::Error::other("the server speaks after its last word")),
        }
    }

    /// TLS version, cipher suite and group, as negotiated.
    pub fn facts(&self) -> String {
        match &self.stream {
            Stream::Plain(_) => "plaintext".into(),
            Stream::Tls(stream) => {
                let tls = &stream.conn;
                let group = tls.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name()));
                let suite = tls.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
                format!("{} {}", suite.unwrap_or("?"), group.unwrap_or_default())
            }
        }
    }

    fn upgrade(self, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let Stream::Plain(stream) = self.stream else { return Err(io::ErrorKind::InvalidInput.into()) };
        let name = ServerName::try_from("mx.example").map_err(io::Error::other)?;
        let tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        Ok(Self { stream: Stream::Tls(Box::new(StreamOwned::new(tls, stream))), line: Vec::new() })
    }

    fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.reply()
    }

    /// A whole reply that is no refusal.
    fn reply(&mut self) -> io::Result<()> {
        loop {
            let mut buffer = [0; 1024];
            let count = self.stream.read(&mut buffer)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.line.extend_from_slice(&buffer[..count]);
            if !self.line.ends_with(b"\n") {
                continue;
            }
            let last = self.line.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
            if last.get(3) != Some(&b'-') {
                let good = matches!(last.first(), Some(b'2' | b'3'));
                let said = self.line.escape_ascii().to_string();
                self.line.clear();
                return if good { Ok(()) } else { Err(io::Error::other(said)) };
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => match stream.read(buffer) {
                // tlswrapper closes without close_notify now and then; the session is whole, so let it pass.
                Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                other => other,
            },
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// A session that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(20);

const PIECE: usize = 64 * 1024;
