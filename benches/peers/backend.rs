//! A TLS server for `starttls-wrapper host port` to connect to, in threads of this process: its work is not counted,
//! as the work of whatever TLS server an administrator has is not the wrapper's.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::server;

/// Starts it.
pub fn start(config: Arc<ServerConfig>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a free port");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || {
                let _ = serve(stream, config);
            });
        }
    });
    address
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let tls = ServerConnection::new(config).map_err(io::Error::other)?;
    let stream = RefCell::new(StreamOwned::new(tls, stream));
    server::serve(Shared(&stream), Shared(&stream))?;
    let mut stream = stream.into_inner();
    stream.conn.send_close_notify();
    stream.flush()
}

/// One stream, read here and written there.
struct Shared<'a>(&'a RefCell<StreamOwned<ServerConnection, TcpStream>>);

impl Read for Shared<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

impl Write for Shared<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().flush()
    }
}
