//! The good client, and the others. The good one panics where anything is not as it must be; the others say and leave.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use super::kinds::{Hostile, Kind, Protocol, Way};
use super::mail::{mail, stuffed, sum};
use super::support::certificates::Site;
use super::support::peer::Peer;
use super::support::tls::Client;

/// How long a hostile client stays. The limits for it are minutes, and have their own tests.
const STAY: Duration = Duration::from_millis(1000);

/// Sends and fetches a mail and makes sure of every byte of it. Returns how many there were.
pub(crate) fn good(kind: &Kind, port: u16, site: &Site) -> usize {
    let mut peer = come(kind, port, site);
    let mail = mail(kind.size);
    match kind.protocol {
        Protocol::Smtp => deliver(&mut peer, &mail),
        Protocol::Pop3 => fetch(&mut peer, &mail, kind.size),
        Protocol::Imap => {
            append(&mut peer, &mail);
            fetch_by_imap(&mut peer, &mail, kind.size);
        }
    }
    ask(&mut peer, kind.protocol, "QUIT", "LOGOUT");
    peer.hears_end();
    mail.len()
}

/// Up to where the mail begins: greeted, and inside TLS if there is any.
fn come(kind: &Kind, port: u16, site: &Site) -> Peer {
    let mut peer = Peer::connect(port);
    if kind.way == Way::Implicit {
        Client::new(site).shake(&mut peer).expect("TLS begins");
    }
    greeted(&mut peer, kind.protocol);
    let offers = capabilities(&mut peer, kind.protocol);
    let by_starttls = matches!(kind.way, Way::Respawn | Way::Required | Way::HostPort);
    assert_eq!(offers, kind.way != Way::Implicit, "the offer of STARTTLS");
    if kind.way == Way::Required {
        refused(&mut peer, kind.protocol);
    }
    if by_starttls {
        starttls(&mut peer, kind.protocol);
        Client::new(site).shake(&mut peer).expect("TLS begins");
        assert!(!capabilities(&mut peer, kind.protocol), "no offer of STARTTLS inside TLS");
    }
    peer
}

fn greeted(peer: &mut Peer, protocol: Protocol) {
    let greeting = peer.hears_line();
    let expected = match protocol {
        Protocol::Smtp => "220 postbox ESMTP\r\n",
        Protocol::Pop3 => "+OK postbox\r\n",
        Protocol::Imap => "* OK postbox\r\n",
    };
    assert_eq!(greeting, expected);
}

/// Whether STARTTLS is among them.
fn capabilities(peer: &mut Peer, protocol: Protocol) -> bool {
    let (word, last) = match protocol {
        Protocol::Smtp => ("EHLO laptop\r\n", "250 "),
        Protocol::Pop3 => ("CAPA\r\n", "."),
        Protocol::Imap => ("a CAPABILITY\r\n", "a OK"),
    };
    peer.says(word);
    let mut offers = false;
    loop {
        let line = peer.hears_line();
        offers |= line.contains("STARTTLS") || line.starts_with("STLS");
        if line.starts_with(last) {
            return offers;
        }
    }
}

fn refused(peer: &mut Peer, protocol: Protocol) {
    let (word, answer) = match protocol {
        Protocol::Smtp => ("MAIL FROM:<>\r\n", "530 "),
        Protocol::Pop3 => ("USER reader\r\n", "-ERR "),
        Protocol::Imap => ("b LOGIN reader secret\r\n", "b NO [PRIVACYREQUIRED]"),
    };
    is_answered(peer, word, answer);
}

fn starttls(peer: &mut Peer, protocol: Protocol) {
    let (word, go_ahead) = match protocol {
        Protocol::Smtp => ("STARTTLS\r\n", "220 "),
        Protocol::Pop3 => ("STLS\r\n", "+OK"),
        Protocol::Imap => ("c STARTTLS\r\n", "c OK"),
    };
    is_answered(peer, word, go_ahead);
}

fn is_answered(peer: &mut Peer, word: &str, answer: &str) {
    peer.says(word);
    let line = peer.hears_line();
    assert!(line.starts_with(answer), "{line}");
}

/// A command that is answered by one good line, or in IMAP by lines up to one.
fn ask(peer: &mut Peer, protocol: Protocol, word: &str, of_imap: &str) {
    let (word, answer) = match protocol {
        Protocol::Smtp => (format!("{word}\r\n"), "2"),
        Protocol::Pop3 => (format!("{word}\r\n"), "+OK"),
        Protocol::Imap => (format!("d {of_imap}\r\n"), "d OK"),
    };
    peer.says(word);
    if protocol == Protocol::Imap {
        peer.hears_line_with(answer);
    } else {
        let line = peer.hears_line();
        assert!(line.starts_with(answer), "{line}");
    }
}

fn deliver(peer: &mut Peer, mail: &[u8]) {
    ask(peer, Protocol::Smtp, "MAIL FROM:<a@example.org>", "");
    ask(peer, Protocol::Smtp, "RCPT TO:<reader@example.org>", "");
    peer.says("DATA\r\n");
    peer.hears("354 go on\r\n");
    peer.says([&stuffed(mail)[..], b".\r\n"].concat());
    peer.hears(format!("250 took {:016x}\r\n", sum(mail)));
}

fn fetch(peer: &mut Peer, mail: &[u8], size: usize) {
    ask(peer, Protocol::Pop3, "USER reader", "");
    ask(peer, Protocol::Pop3, "PASS secret", "");
    peer.says(format!("RETR {size}\r\n"));
    peer.hears("+OK\r\n");
    peer.hears(stuffed(mail));
    peer.hears(".\r\n");
}

fn append(peer: &mut Peer, mail: &[u8]) {
    ask(peer, Protocol::Imap, "", "LOGIN reader secret");
    peer.says(format!("e APPEND {{{}}}\r\n", mail.len()));
    peer.hears("+ go on\r\n");
    peer.says([mail, b"\r\n"].concat());
    peer.hears(format!("* took {:016x}\r\ne OK\r\n", sum(mail)));
}

fn fetch_by_imap(peer: &mut Peer, mail: &[u8], size: usize) {
    peer.says(format!("f FETCH {size}\r\n"));
    peer.hears(format!("* 1 FETCH (BODY[] {{{}}}\r\n", mail.len()));
    peer.hears(mail);
    peer.hears(")\r\nf OK\r\n");
}

/// Does what it does, and leaves. What it hears is nobody's concern.
pub(crate) fn hostile(hostile: Hostile, kind: &Kind, port: u16, site: &Site) {
    let line = TcpStream::connect(("127.0.0.1", port)).expect("the super-server listens");
    line.set_read_timeout(Some(STAY)).unwrap();
    line.set_write_timeout(Some(STAY)).unwrap();
    match hostile {
        Hostile::Slow => drip(&line, b"EHLO laptop\r\nCAPABILITY\r\nNOOP\r\n"),
        Hostile::Silent => thread::sleep(STAY),
        Hostile::SilentAtTls => {
            ask_for_tls(&line, kind);
            thread::sleep(STAY);
        }
        Hostile::HalfClosed => {
            say(&line, &[ask_words(kind), b"NOOP\r\nEHLO lap"].concat());
            let _ = line.shutdown(Shutdown::Write);
            thread::sleep(STAY);
        }
        Hostile::Resets => {
            say(&line, ask_words(kind));
            reset(line);
        }
        Hostile::DoesNotRead => flood(&line, kind),
        Hostile::Garbage => {
            ask_for_tls(&line, kind);
            say(&line, &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(kind.size / 100 + 1));
            let _ = (&line).read(&mut [0; 4096]);
        }
        Hostile::LeavesTheHandshake => {
            ask_for_tls(&line, kind);
            let hello = Client::new(site).begin().client_hello();
            say(&line, &hello[..hello.len() - kind.size % hello.len()]);
            if kind.size.is_multiple_of(2) {
                reset(line);
            }
        }
        Hostile::ResetsInside => reset_inside(line, kind, site),
    }
}

fn ask_words(kind: &Kind) -> &'static [u8] {
    match kind.protocol {
        Protocol::Smtp => b"EHLO laptop\r\nSTARTTLS\r\n",
        Protocol::Pop3 => b"STLS\r\n",
        Protocol::Imap => b"a STARTTLS\r\n",
    }
}

/// Up to the go-ahead, if there is one.
fn ask_for_tls(line: &TcpStream, kind: &Kind) {
    if kind.way != Way::Implicit {
        say(line, ask_words(kind));
        let _ = hear_until_silent(line);
    }
}

/// What comes within a moment: a hostile client takes what it gets.
fn hear_until_silent(mut line: &TcpStream) -> usize {
    let mut heard = [0; 4096];
    let mut count = 0;
    let _ = line.set_read_timeout(Some(Duration::from_millis(100)));
    while let Ok(more @ 1..) = line.read(&mut heard) {
        count += more;
    }
    count
}

fn say(mut line: &TcpStream, bytes: &[u8]) {
    let _ = line.write_all(bytes);
}

fn drip(line: &TcpStream, bytes: &[u8]) {
    let began = Instant::now();
    for byte in bytes.iter().cycle().take_while(|_| began.elapsed() < STAY) {
        say(line, &[*byte]);
        thread::sleep(Duration::from_millis(20));
    }
}

/// Commands and more commands, or one whose answer is long, until nothing goes any more.
fn flood(mut line: &TcpStream, kind: &Kind) {
    say(line, if kind.protocol == Protocol::Imap { b"a FETCH 20000000\r\n" } else { b"RETR 20000000\r\n" });
    let words = b"NOOP\r\n".repeat(10_000);
    while let Ok(1..) = line.write(&words) {}
}

fn reset(line: TcpStream) {
    let _ = set_socket_linger(&line, Some(Duration::ZERO));
}

fn reset_inside(line: TcpStream, kind: &Kind, site: &Site) {
    ask_for_tls(&line, kind);
    let mut peer = Peer::tcp(line.try_clone().unwrap());
    if Client::new(site).shake(&mut peer).is_ok() {
        peer.says_in_vain(mail(kind.size));
    }
    let _ = set_socket_linger(&line, Some(Duration::ZERO));
}
