//! What the pure session says of the same bytes: what each side hears, and whose turn it is.
//!
//! It is told what the client and the servers say, when they have said it. Where two say something at a time, the
//! wrapper may hear either first; the oracle hears the server first, and notes that it might have gone otherwise.

use starttls_protocols::session::{Order, Rules, Session};
use starttls_protocols::{Offer, PROTOCOLS};

use super::script::{Script, Way};

/// The pure session with its ears and mouth.
pub(crate) struct Oracle {
    session: Session,
    respawns: bool,
    pub(crate) state: State,
    /// TLS stands.
    pub(crate) inside: bool,
    client: Vec<u8>,
    client_ended: bool,
    /// The plaintext server, and the one inside TLS.
    server: [Vec<u8>; 2],
    server_ended: [bool; 2],
    /// Before TLS and inside.
    pub(crate) to_client: [Vec<u8>; 2],
    pub(crate) to_server: [Vec<u8>; 2],
    /// What the client says between its STARTTLS and TLS.
    pub(crate) to_tls: Vec<u8>,
    /// The client was heard, and the server not since.
    server_is_due: bool,
    /// The server has heard something, or has begun, and said nothing since.
    is_unanswered: bool,
    /// Two spoke at a time: it may have gone otherwise.
    pub(crate) raced: bool,
}

/// How the session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Line by line.
    Watching,
    /// The go-ahead is out.
    Granted,
    /// Everything passes.
    Passing,
    Closed,
}

impl Oracle {
    pub(crate) fn new(script: &Script) -> Self {
        let named = PROTOCOLS.iter().find(|protocol| protocol.name == script.service.protocol).copied();
        let rules = Rules {
            protocols: PROTOCOLS,
            protocol: named.filter(|_| script.named),
            strict: script.strict,
            offer: if script.advertises { Offer::Add } else { Offer::Leave },
            replay: script.replays && !script.strict,
            respawn: script.way != Way::Backend,
            implicit: script.way == Way::Implicit,
            transcript: false,
        };
        let mut oracle = Self {
            session: Session::new(rules),
            respawns: rules.respawn,
            state: State::Watching,
            inside: false,
            client: Vec::new(),
            client_ended: false,
            server: Default::default(),
            server_ended: [false; 2],
            to_client: Default::default(),
            to_server: Default::default(),
            to_tls: Vec::new(),
            server_is_due: false,
            is_unanswered: true,
            raced: false,
        };
        oracle.advance();
        oracle
    }

    pub(crate) fn client_says(&mut self, bytes: &[u8]) {
        match self.state {
            State::Watching => self.client.extend(bytes),
            State::Granted => self.to_tls.extend(bytes),
            State::Passing => self.to_server[self.part()].extend(bytes),
            State::Closed => {}
        }
        self.advance();
    }

    pub(crate) fn client_closes(&mut self) {
        self.client_ended = true;
        self.advance();
    }

    /// The plaintext server (0) or the one inside TLS (1) says this.
    pub(crate) fn server_says(&mut self, part: usize, bytes: &[u8]) {
        if self.state == State::Passing && part == self.part() {
            self.to_client[part].extend(bytes);
        } else {
            self.server[part].extend(bytes);
        }
        self.advance();
    }

    pub(crate) fn server_closes(&mut self, part: usize) {
        self.server_ended[part] = true;
        // Whatever it was asked last it may not have heard.
        self.raced |= part == self.part() && self.state != State::Passing && self.server_is_due;
        self.advance();
    }

    pub(crate) fn handshake_done(&mut self) {
        (self.inside, self.state, self.is_unanswered) = (true, State::Watching, true);
        self.session.handshake_done();
        self.advance();
    }

    /// All that the client has said is answered, and the session listens.
    pub(crate) fn awaits_client(&self) -> bool {
        self.state == State::Watching && self.client.is_empty() && self.session.awaits_command()
    }

    /// It is this server's turn, and it has said nothing at all to what it heard last. One that has said something, and
    /// is waited for all the same, answers otherwise than the session knows.
    pub(crate) fn awaits_server(&self, part: usize) -> bool {
        self.state == State::Watching && part == self.part() && !self.session.awaits_command() && self.is_unanswered
    }

    /// Before TLS is 0, inside is 1.
    fn part(&self) -> usize {
        usize::from(self.inside)
    }

    fn advance(&mut self) {
        loop {
            while let Some(order) = self.session.next_order() {
                self.obey(order);
            }
            if self.state != State::Watching || !self.hear() {
                return;
            }
        }
    }

    fn hear(&mut self) -> bool {
        let part = self.part();
        let [client, server, backend] =
            [self.session.client_room(), self.session.server_room(), self.session.backend_room()];
        if backend > 0 && !self.server[1].is_empty() {
            self.session.backend_says(&take(&mut self.server[1], backend));
        } else if backend > 0 && self.server_ended[1] {
            self.session.backend_failed();
        } else if server > 0 && !self.server[part].is_empty() {
            // It is nobody's turn, or the client's.
            self.raced |= self.session.awaits_command();
            (self.server_is_due, self.is_unanswered) = (false, false);
            self.session.server_says(&take(&mut self.server[part], server));
        } else if client > 0 && !self.client.is_empty() {
            self.raced |= self.server_ended[part];
            self.server_is_due = true;
            self.session.client_says(&take(&mut self.client, client));
        } else if server > 0 && self.server_ended[part] {
            self.session.server_closed();
        } else if client > 0 && self.client_ended {
            self.client_ended = false;
            self.session.client_closed();
        } else {
            return false;
        }
        true
    }

    fn obey(&mut self, order: Order) {
        let part = self.part();
        match order {
            Order::ToClient(bytes) => self.to_client[part].extend(bytes),
            Order::ToServer(bytes) => {
                self.to_server[part].extend(bytes);
                self.is_unanswered = true;
            }
            Order::Prepare => self.session.prepared(true),
            Order::Upgrade(surplus) => {
                self.to_tls = surplus.into_bytes();
                self.to_tls.append(&mut self.client);
                self.state = State::Granted;
            }
            Order::PassThrough { to_server, to_client } => {
                self.to_server[part].extend(to_server);
                self.to_server[part].append(&mut self.client);
                self.to_client[part].extend(to_client);
                self.to_client[part].append(&mut self.server[part]);
                self.state = State::Passing;
            }
            Order::Close(_) => self.state = State::Closed,
            Order::DropBackend => self.server[1].clear(),
            Order::Respawn => assert!(self.respawns),
            Order::EndToServer | Order::Note(_) => {}
        }
    }
}

fn take(bytes: &mut Vec<u8>, most: usize) -> Vec<u8> {
    bytes.drain(..bytes.len().min(most)).collect()
}
