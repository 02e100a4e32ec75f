//! A voice: says bytes, and insists on the bytes it hears.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustls::CommonState;

use super::{PATIENCE, readable};

/// A way to somebody and back.
pub(crate) trait Transport: Read + Write + Send {
    /// Says that nothing more will be said.
    fn finish(&mut self);

    /// Says close_notify, and gives up TLS for what is below it.
    fn leave_tls(self: Box<Self>) -> Box<dyn Transport> {
        panic!("there is no TLS");
    }

    /// Ends TLS by a fatal alert, and gives it up for what is below it.
    fn break_tls(self: Box<Self>) -> Box<dyn Transport> {
        panic!("there is no TLS");
    }

    /// Whether the other side has reset the connection.
    fn is_reset(&self) -> bool {
        false
    }

    /// The TLS connection, if it is one.
    fn tls(&self) -> Option<&CommonState> {
        None
    }
}

/// Somebody to speak to.
pub(crate) struct Peer {
    transport: Box<dyn Transport>,
}

impl Peer {
    pub(crate) fn new(transport: impl Transport + 'static) -> Self {
        Self::over(Box::new(transport))
    }

    pub(crate) fn over(transport: Box<dyn Transport>) -> Self {
        Self { transport }
    }

    /// Over TCP.
    pub(crate) fn tcp(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self::new(stream)
    }

    /// Over a socket in the file system.
    pub(crate) fn unix(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self::new(stream)
    }

    /// A client of the server at this port.
    pub(crate) fn connect(port: u16) -> Self {
        Self::tcp(TcpStream::connect(("127.0.0.1", port)).expect("the server listens"))
    }

    /// Takes the way, and leaves the peer with nobody.
    pub(crate) fn take_transport(&mut self) -> Box<dyn Transport> {
        std::mem::replace(
            &mut self.transport,
            Box::new(Pipes { input: File::open("/dev/null").unwrap(), output: None }),
        )
    }

    pub(crate) fn tls(&self) -> &CommonState {
        self.transport.tls().expect("TLS stands")
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.transport.tls().is_some()
    }

    /// Says this, in one write.
    #[track_caller]
    pub(crate) fn says(&mut self, bytes: impl AsRef<[u8]>) {
        self.transport.write_all(bytes.as_ref()).and_then(|()| self.transport.flush()).expect("the peer listens");
    }

    /// Says this again and again, until nobody takes it any more in this time.
    pub(crate) fn floods(&mut self, line: &TcpStream, patience: Duration) {
        line.set_write_timeout(Some(patience)).unwrap();
        while self.transport.write_all(&[b'x'; 65536]).and_then(|()| self.transport.flush()).is_ok() {}
    }

    /// Says this to somebody who may be gone.
    pub(crate) fn says_in_vain(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.transport.write_all(bytes.as_ref()).and_then(|()| self.transport.flush());
    }

    /// Says that nothing more will be said: end of file, in TLS after close_notify.
    pub(crate) fn says_no_more(&mut self) {
        self.transport.finish();
    }

    /// Whether the other side has reset the connection. An end that was read before does not tell.
    pub(crate) fn is_reset(&self) -> bool {
        self.transport.is_reset()
    }

    /// Says close_notify, and goes on in plaintext.
    pub(crate) fn leaves_tls(&mut self) {
        self.transport = self.take_transport().leave_tls();
    }

    /// Says a fatal alert, and is spoken to below TLS from here on.
    pub(crate) fn breaks_tls(&mut self) {
        self.transport = self.take_transport().break_tls();
    }

    /// Hears exactly this next.
    #[track_caller]
    pub(crate) fn hears(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let mut heard = Vec::new();
        let mut buffer = vec![0; expected.len()];
        while heard.len() < expected.len() {
            let count = match self.read(&mut buffer[heard.len()..]) {
                Ok(count) => count,
                Err(why) => panic!("{why}, after {}; expected {}", shown(&heard), shown(expected)),
            };
            heard.extend_from_slice(&buffer[heard.len()..][..count]);
            let wrong = count == 0 || !expected.starts_with(&heard);
            assert!(!wrong, "heard {}, expected {}", shown(&heard), shown(expected));
        }
    }

    /// Hears nothing more: the end comes next, in TLS by close_notify.
    #[track_caller]
    pub(crate) fn hears_end(&mut self) {
        let rest = self.hears_rest();
        assert!(rest.is_empty(), "heard {} instead of the end", shown(&rest));
    }

    /// Hears everything up to the end.
    #[track_caller]
    pub(crate) fn hears_rest(&mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        if let Err(why) = self.transport.read_to_end(&mut heard) {
            panic!("{why}, after {}", shown(&heard));
        }
        heard
    }

    /// Hears a whole reply as SMTP has them, and returns its last line.
    #[track_caller]
    pub(crate) fn hears_reply(&mut self) -> String {
        loop {
            let line = self.hears_line();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    }

    /// Hears a reply with this code.
    #[track_caller]
    pub(crate) fn hears_code(&mut self, code: &str) {
        let line = self.hears_reply();
        assert!(line.starts_with(code), "heard {line:?}, expected {code}");
    }

    /// Hears lines until one begins with this.
    #[track_caller]
    pub(crate) fn hears_line_with(&mut self, start: &str) -> String {
        loop {
            let line = self.hears_line();
            if line.starts_with(start) {
                return line;
            }
        }
    }

    /// Hears lines until one begins with this. False if the end comes before.
    pub(crate) fn comes_to(&mut self, start: &str) -> bool {
        let (mut line, mut byte) = (Vec::new(), [0]);
        while self.read(&mut byte).is_ok_and(|count| count > 0) {
            line.push(byte[0]);
            if byte == *b"\n" && std::mem::take(&mut line).starts_with(start.as_bytes()) {
                return true;
            }
        }
        false
    }

    /// Whatever line comes, without its end; none if the end comes before.
    pub(crate) fn line(&mut self) -> io::Result<Option<String>> {
        let (mut line, mut byte) = (Vec::new(), [0]);
        while !line.ends_with(b"\n") {
            if self.read(&mut byte)? == 0 {
                return Ok(None);
            }
            line.push(byte[0]);
        }
        Ok(Some(String::from_utf8(line).expect("UTF-8").trim_end().to_owned()))
    }

    /// Hears a line.
    #[track_caller]
    pub(crate) fn hears_line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\n") {
            match self.read(&mut byte) {
                Ok(1) => line.push(byte[0]),
                end => panic!("{end:?}, after {}; expected a line", shown(&line)),
            }
        }
        String::from_utf8_lossy(&line).into_owned()
    }
}

impl Read for Peer {
    /// A test that is traced or stopped is interrupted; that is nobody's end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.transport.read(buffer) {
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}

impl Transport for UnixStream {
    fn finish(&mut self) {
        is_shut(self.shutdown(Shutdown::Write));
    }

    fn is_reset(&self) -> bool {
        self.take_error().unwrap().is_some()
    }
}

impl Transport for TcpStream {
    fn finish(&mut self) {
        is_shut(self.shutdown(Shutdown::Write));
    }

    fn is_reset(&self) -> bool {
        self.take_error().unwrap().is_some()
    }
}

/// The other side may have left first, and even have reset the connection: whoever reads hears of that.
#[track_caller]
fn is_shut(result: io::Result<()>) {
    assert!(!result.is_err_and(|why| why.kind() != io::ErrorKind::NotConnected), "the connection can be shut");
}

/// Two pipes, as a prog has them.
pub(crate) struct Pipes {
    pub(crate) input: File,
    pub(crate) output: Option<File>,
}

impl Read for Pipes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !readable(&self.input, PATIENCE) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.input.read(buffer)
    }
}

impl Write for Pipes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for Pipes {
    fn finish(&mut self) {
        self.output = None;
    }
}

fn shown(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(400)];
    format!("\"{}\"{}", start.escape_ascii(), if start.len() < bytes.len() { "..." } else { "" })
}
