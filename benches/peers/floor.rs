//! What nobody can be faster than: the start of a program that does nothing, and one handshake inside one process.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

use crate::account;

/// CPU time of starting a program that does nothing, on the child's side (vfork, so without copied page tables).
pub fn exec(empty: &Path) -> Duration {
    let before = account::reaped();
    for _ in 0..ROUNDS {
        let status = Command::new(empty).status();
        assert!(status.is_ok_and(|status| status.success()), "the empty program runs");
    }
    (account::reaped() - before) / ROUNDS
}

/// CPU time of the server's half of a handshake, everything set up before: no process, no socket, no key to load.
pub fn handshake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..ROUNDS {
        let name = ServerName::try_from("mx.example").expect("a name");
        let mut client = ClientConnection::new(Arc::clone(client), name).expect("a client");
        let mut server = ServerConnection::new(Arc::clone(server)).expect("a server");
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).expect("a Vec");
            }
            let began = account::own_thread();
            let mut rest = &wire[..];
            while !rest.is_empty() {
                server.read_tls(&mut rest).expect("a slice");
                server.process_new_packets().expect("the client speaks TLS");
            }
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).expect("a Vec");
            }
            spent += account::own_thread() - began;
            let mut rest = &wire[..];
            while !rest.is_empty() {
                client.read_tls(&mut rest).expect("a slice");
                client.process_new_packets().expect("the server speaks TLS");
            }
        }
    }
    spent / ROUNDS
}

const ROUNDS: u32 = 300;
