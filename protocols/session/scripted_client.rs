//! This program as a client of somebody's server: it sends the commands of a script, each after the reply to the one
//! before. One script asks for TLS (`--backend-tls starttls`), the other only looks in (`--check`). Pure, like the session.
//!
//! The same distrust as towards a client: nothing that came in plaintext is heard inside TLS. The commands are this
//! program's own and carry nothing of the client's, so the backend learns nothing from them (law 3).

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::unit::{Unit, UnitBuffer};
use crate::{Class, Greeting, Offer, Policy, Protocol, Reply, Sentence, Snooper};

/// A client with a script: the commands of [`Protocol::way_to_tls`] or [`Protocol::visit`].
pub struct ScriptedClient {
    snooper: Box<dyn Snooper>,
    waiting: UnitBuffer,
    /// The commands that are still to be sent.
    script: &'static [&'static [u8]],
    turn: Turn,
    /// The class of the reply that grants TLS; `None` if the script does not ask for it.
    granted: Option<Class>,
}

/// Whose turn it is to speak.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The server's: it greets.
    Greeting,
    /// The server's: it owes a reply.
    Reply,
    /// The client's.
    Ours,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: more must come from the server.
    Wait,
    /// Send this command; its reply comes next.
    Send(&'static [u8]),
    /// Every command was accepted. After [`ScriptedClient::starttls`] TLS begins; nothing came behind the go-ahead.
    Done,
    /// The script cannot go on.
    Fail(ScriptFailure),
}

/// Why a script cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub enum ScriptFailure {
    /// The server refused a command with this reply: STARTTLS, or one that must come before it.
    Refused(Vec<u8>),
    /// The server's greeting is a refusal, or makes TLS impossible.
    GreetingRefuses(Vec<u8>),
    /// So many bytes of plaintext came with a reply, behind its end: an attacker's or a broken server's.
    PlaintextBehind(usize),
    /// A line without end.
    LineTooLong,
}

impl ScriptedClient {
    /// A client that asks a server of this protocol for TLS.
    pub fn starttls(protocol: Protocol) -> Self {
        let policy = Policy { offer: Offer::Leave, strict: false, inside: false, fresh: true };
        let granted = go_ahead((protocol.snooper)(policy).as_mut(), protocol.way_to_tls);
        let snooper = (protocol.snooper)(policy);
        let turn = if protocol.is_client_first() { Turn::Ours } else { Turn::Greeting };
        Self { snooper, waiting: UnitBuffer::default(), script: protocol.way_to_tls, turn, granted: Some(granted) }
    }

    /// A client inside TLS that only looks in. A server that has `greeted` before TLS does not greet again.
    pub fn visit(protocol: Protocol, greeted: bool) -> Self {
        let snooper = (protocol.snooper)(Policy::INSIDE);
        let turn = if greeted || protocol.is_client_first() { Turn::Ours } else { Turn::Greeting };
        Self { snooper, waiting: UnitBuffer::default(), script: protocol.visit, turn, granted: None }
    }

    /// The first step.
    pub fn begin(&mut self) -> Step {
        if self.turn == Turn::Ours { self.go_on() } else { Step::Wait }
    }

    /// How many bytes of the server may come now.
    pub fn room(&self) -> usize {
        self.unit().room()
    }

    /// The server said this.
    pub fn hears(&mut self, bytes: &[u8]) -> Step {
        self.waiting.push(bytes);
        loop {
            let line = match self.unit() {
                Unit::Whole(length) => self.waiting.take(length),
                Unit::Partial(_) => return Step::Wait,
                Unit::TooLong | Unit::Tls => return Step::Fail(ScriptFailure::LineTooLong),
            };
            let heard = match self.turn {
                Turn::Greeting => self.hear_greeting(line),
                Turn::Reply => self.hear_reply(line),
                Turn::Ours => self.hear_unasked(&line),
            };
            match (heard, self.waiting.bytes().len()) {
                (Err(why), _) => return Step::Fail(why),
                (Ok(()), 0) if self.turn == Turn::Ours => return self.go_on(),
                (Ok(()), behind) if self.turn == Turn::Ours && self.script.is_empty() => {
                    return Step::Fail(ScriptFailure::PlaintextBehind(behind));
                }
                _ => {}
            }
        }
    }

    fn unit(&self) -> Unit {
        self.snooper.server_unit(self.waiting.bytes())
    }

    fn hear_greeting(&mut self, line: Vec<u8>) -> Result<(), ScriptFailure> {
        match self.snooper.greeting(&line, &mut Vec::new()) {
            Greeting::More => {}
            Greeting::Open => self.turn = Turn::Ours,
            Greeting::Refuses | Greeting::TlsImpossible => return Err(ScriptFailure::GreetingRefuses(line)),
        }
        Ok(())
    }

    fn hear_reply(&mut self, line: Vec<u8>) -> Result<(), ScriptFailure> {
        let Reply::Done(class) = self.snooper.reply(&line, &mut Vec::new()) else { return Ok(()) };
        self.turn = Turn::Ours;
        let accepted = match self.granted {
            Some(granted) if self.script.is_empty() => class == granted,
            _ => class.is_positive(),
        };
        if accepted { Ok(()) } else { Err(ScriptFailure::Refused(self.snooper.transcript(&line, true))) }
    }

    /// What belongs to the greeting, though that seemed to be over, may follow it; a fresh server's snooper swallows it.
    fn hear_unasked(&mut self, line: &[u8]) -> Result<(), ScriptFailure> {
        let mut out = Vec::new();
        self.snooper.unasked(line, &mut out);
        if out.is_empty() {
            Ok(())
        } else {
            Err(ScriptFailure::PlaintextBehind(line.len() + self.waiting.bytes().len()))
        }
    }

    fn go_on(&mut self) -> Step {
        let Some((line, rest)) = self.script.split_first() else { return Step::Done };
        self.script = rest;
        self.turn = Turn::Reply;
        self.snooper.command(line);
        Step::Send(line)
    }
}

/// The class of the reply that grants TLS, which is the class of this program's own go-ahead.
fn go_ahead(snooper: &mut dyn Snooper, script: &[&[u8]]) -> Class {
    let mut line = Vec::new();
    snooper.command(script.last().copied().unwrap_or_default());
    snooper.say(Sentence::GoAhead, &mut line);
    match snooper.reply(&line, &mut Vec::new()) {
        Reply::Done(class) => class,
        Reply::More => Class(0),
    }
}

#[cfg(test)]
mod tests {
    use crate::PROTOCOLS;
    use crate::line::MAX_LINE;

    use super::*;

    /// What the server says, each followed by what the client says then; and how it ends.
    type Dialogue = (&'static str, &'static [(&'static str, &'static str)], &'static str, Step);

    fn play((name, said, last, end): &Dialogue) {
        for pieces in [usize::MAX, 1] {
            let protocol = PROTOCOLS.iter().find(|protocol| protocol.name == *name).expect("the protocol is known");
            let mut client = ScriptedClient::starttls(*protocol);
            for (server, answer) in *said {
                assert_eq!(hear(&mut client, server, pieces), Step::Send(answer.as_bytes()), "{name}: {server}");
            }
            let heard = hear(&mut client, last, pieces);
            // In pieces the rest is still on its way: it belongs to TLS, and fails there.
            if pieces == usize::MAX || !matches!(end, Step::Fail(ScriptFailure::PlaintextBehind(_))) {
                assert_eq!(heard, *end, "{name}: {last}");
            }
        }
    }

    fn hear(client: &mut ScriptedClient, text: &str, pieces: usize) -> Step {
        let chunks = text.as_bytes().chunks(pieces.min(text.len()));
        chunks.map(|chunk| client.hears(chunk)).find(|step| *step != Step::Wait).unwrap_or(Step::Wait)
    }

    #[test]
    fn every_protocol_comes_to_tls() {
        for dialogue in &[
            (
                "smtp",
                &[
                    ("220-a\r\n220 b\r\n", "EHLO localhost\r\n"),
                    ("250-mx\r\n250-STARTTLS\r\n250 SIZE\r\n", "STARTTLS\r\n"),
                ][..],
                "220 go\r\n",
                Step::Done,
            ),
            (
                "lmtp",
                &[("220 a\r\n", "LHLO localhost\r\n"), ("250 mx\r\n", "STARTTLS\r\n")],
                "220-x\r\n220 y\r\n",
                Step::Done,
            ),
            ("pop3", &[("+OK hi\r\n", "STLS\r\n")], "+OK go\r\n", Step::Done),
            ("imap", &[("* OK [CAPABILITY IMAP4rev1] hi\r\n", "1 STARTTLS\r\n")], "* OK x\r\n1 OK go\r\n", Step::Done),
            ("sieve", &[("\"STARTTLS\"\r\nOK\r\n", "STARTTLS\r\n")], "OK \"go\"\r\n", Step::Done),
            ("nntp", &[("200 hi\r\n", "STARTTLS\r\n")], "382 go\r\n", Step::Done),
        ] {
            play(dialogue);
        }
    }

    #[test]
    fn plaintext_behind_a_reply_ends_the_script() {
        let behind = |count| Step::Fail(ScriptFailure::PlaintextBehind(count));
        for dialogue in &[
            (
                "smtp",
                &[("220 a\r\n", "EHLO localhost\r\n"), ("250 mx\r\n", "STARTTLS\r\n")][..],
                "220 go\r\n250 x\r\n",
                behind(7),
            ),
            ("smtp", &[], "220 a\r\n250 mx\r\n", behind(8)),
            ("pop3", &[("+OK hi\r\n", "STLS\r\n")], "+OK go\r\n+", behind(1)),
            ("imap", &[("* OK hi\r\n", "1 STARTTLS\r\n")], "1 OK go\r\n* BYE\r\n", behind(7)),
            ("nntp", &[("200 hi\r\n", "STARTTLS\r\n")], "382 go\r\n200 \r\n", behind(6)),
        ] {
            play(dialogue);
        }
    }

    #[test]
    fn what_belongs_to_a_greeting_is_not_taken_for_a_reply() {
        for dialogue in &[
            (
                "smtp",
                &[("220 a\r\n\r\n", "EHLO localhost\r\n"), ("250 mx\r\n", "STARTTLS\r\n")][..],
                "220 go\r\n",
                Step::Done,
            ),
            ("pop3", &[("+OK hi\r\n\r\n", "STLS\r\n")], "+OK go\r\n", Step::Done),
            ("nntp", &[("200 hi\r\n \r\n", "STARTTLS\r\n")], "382 go\r\n", Step::Done),
            ("imap", &[("* OK hi\r\n* CAPABILITY IMAP4rev1\r\n\r\n", "1 STARTTLS\r\n")], "1 OK go\r\n", Step::Done),
            ("imap", &[], "* OK hi\r\n* BYE\r\n", Step::Fail(ScriptFailure::PlaintextBehind(7))),
        ] {
            play(dialogue);
        }
        let list = "\"SASL\" \"\"\r\nOK\r\n".repeat(2);
        let sieve = PROTOCOLS.iter().find(|protocol| protocol.name == "sieve").expect("the protocol is known");
        let mut client = ScriptedClient::starttls(*sieve);
        assert_eq!(hear(&mut client, &list, usize::MAX), Step::Send(b"STARTTLS\r\n"));
        assert_eq!(hear(&mut client, "OK\r\n", usize::MAX), Step::Done);
    }

    #[test]
    fn what_belongs_to_a_greeting_may_come_in_pieces() {
        let imap = PROTOCOLS.iter().find(|protocol| protocol.name == "imap").expect("the protocol is known");
        let mut client = ScriptedClient::starttls(*imap);
        assert_eq!(client.hears(b"* OK hi\r\n* CAPA"), Step::Wait);
        assert_eq!(client.hears(b"BILITY IMAP4rev1\r\n"), Step::Send(b"1 STARTTLS\r\n"));
        assert_eq!(client.hears(b"1 OK go\r\n"), Step::Done);
        let smtp = PROTOCOLS.iter().find(|protocol| protocol.name == "smtp").expect("the protocol is known");
        let mut client = ScriptedClient::starttls(*smtp);
        assert_eq!(client.hears(b"220 mx\r\n"), Step::Send(b"EHLO localhost\r\n"));
        assert_eq!(client.hears(b"\r\n"), Step::Wait);
        assert_eq!(client.hears(b"250 mx\r\n"), Step::Send(b"STARTTLS\r\n"));
    }

    #[test]
    fn a_refusal_is_told_from_a_greeting_that_refuses() {
        let not_offered = |line: &str| Step::Fail(ScriptFailure::Refused(line.trim_end().into()));
        let greeting = |line: &str| Step::Fail(ScriptFailure::GreetingRefuses(line.into()));
        for dialogue in &[
            ("smtp", &[("220 a\r\n", "EHLO localhost\r\n")][..], "502 no\r\n", not_offered("502 no\r\n")),
            (
                "smtp",
                &[("220 a\r\n", "EHLO localhost\r\n"), ("250 mx\r\n", "STARTTLS\r\n")],
                "454 no\r\n",
                not_offered("454 no\r\n"),
            ),
            ("smtp", &[], "554 no\r\n", greeting("554 no\r\n")),
            ("imap", &[], "* PREAUTH hi\r\n", greeting("* PREAUTH hi\r\n")),
            ("imap", &[("* OK hi\r\n", "1 STARTTLS\r\n")], "1 BAD no\r\n", not_offered("1 BAD no\r\n")),
            ("sieve", &[("OK\r\n", "STARTTLS\r\n")], "NO\r\n", not_offered("NO\r\n")),
            ("nntp", &[("200 hi\r\n", "STARTTLS\r\n")], "580 no\r\n", not_offered("580 no\r\n")),
            ("nntp", &[("200 hi\r\n", "STARTTLS\r\n")], "200 no\r\n", not_offered("200 no\r\n")),
        ] {
            play(dialogue);
        }
    }

    /// A server that takes a PROXY header for commands answers it first; behind one of version 2, which has no line end,
    /// it understands no word of ours.
    #[test]
    fn a_visit_hears_whether_the_replies_are_those_to_its_words() {
        for (name, replies, to_header) in [
            ("smtp", &["250 hello\r\n", "221 bye\r\n"][..], "500 what\r\n"),
            ("lmtp", &["250-hello\r\n250 SIZE\r\n", "221 bye\r\n"], "500 what\r\n"),
            ("pop3", &["+OK bye\r\n"], "-ERR what\r\n"),
            ("imap", &["PROXY OK\r\n", "* BYE\r\n1 OK\r\n"], "PROXY BAD what\r\n"),
            ("sieve", &["OK\r\n"], "NO \"what\"\r\n"),
            ("nntp", &["205 bye\r\n"], "500 what\r\n"),
        ] {
            let protocol = PROTOCOLS.iter().find(|protocol| protocol.name == name).expect("the protocol is known");
            let mut visit = ScriptedClient::visit(*protocol, true);
            let mut step = visit.begin();
            for reply in replies {
                assert!(matches!(step, Step::Send(_)), "{name}: {step:?}");
                step = visit.hears(reply.as_bytes());
            }
            assert_eq!(step, Step::Done, "{name}");
            let mut visit = ScriptedClient::visit(*protocol, true);
            visit.begin();
            let refusal = ScriptFailure::Refused(to_header.trim_end().into());
            assert_eq!(visit.hears(to_header.as_bytes()), Step::Fail(refusal), "{name}");
        }
    }

    #[test]
    fn a_client_that_speaks_first_comes_to_tls() {
        let ldap = |code: u8, text: &str| {
            let result = [&b"\x0a\x01"[..], &[code], b"\x04\0\x04", &[text.len() as u8], text.as_bytes()].concat();
            let op = [&[0x78, result.len() as u8][..], &result].concat();
            [&[0x30, op.len() as u8 + 3, 2, 1, 1][..], &op].concat()
        };
        let error = b"E\0\0\0\x0bSFATAL\0\0".to_vec();
        for (name, reply, end) in [
            ("postgres", b"S".to_vec(), Step::Done),
            ("postgres", b"N".to_vec(), Step::Fail(ScriptFailure::Refused(b"N".to_vec()))),
            ("postgres", b"S\0".to_vec(), Step::Fail(ScriptFailure::PlaintextBehind(1))),
            ("postgres", error, Step::Fail(ScriptFailure::Refused(b"ErrorResponse".to_vec()))),
            ("postgres", b"X\0\0\0\0".to_vec(), Step::Fail(ScriptFailure::LineTooLong)),
            ("ldap", ldap(0, ""), Step::Done),
            (
                "ldap",
                ldap(2, "unsupported"),
                Step::Fail(ScriptFailure::Refused(b"ExtendedResponse resultCode=2 unsupported".to_vec())),
            ),
            ("ldap", b"\x30\x80".to_vec(), Step::Fail(ScriptFailure::LineTooLong)),
        ] {
            for pieces in [usize::MAX, 1] {
                let protocol = PROTOCOLS.iter().find(|protocol| protocol.name == name).expect("the protocol is known");
                let mut client = ScriptedClient::starttls(*protocol);
                assert_eq!(client.begin(), Step::Send(protocol.way_to_tls[0]));
                let chunks = reply.chunks(pieces.min(reply.len()));
                let step = chunks.map(|chunk| client.hears(chunk)).find(|step| *step != Step::Wait);
                // In pieces the rest is still on its way: it belongs to TLS, and fails there.
                let early = pieces == 1 && matches!(end, Step::Fail(ScriptFailure::PlaintextBehind(_)));
                assert_eq!(step.as_ref(), Some(if early { &Step::Done } else { &end }), "{name}: {reply:?}");
            }
        }
    }

    #[test]
    fn a_line_without_end_fills_the_room_and_ends_the_script() {
        let smtp = PROTOCOLS.iter().find(|protocol| protocol.name == "smtp").expect("the protocol is known");
        let mut client = ScriptedClient::starttls(*smtp);
        assert_eq!(client.room(), MAX_LINE);
        assert_eq!(client.hears(&[b'2'; MAX_LINE - 1]), Step::Wait);
        assert_eq!(client.room(), 1);
        assert_eq!(client.hears(b"2"), Step::Fail(ScriptFailure::LineTooLong));
    }
}
