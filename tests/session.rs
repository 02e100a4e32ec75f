//! What a session says of itself beside the bytes that the dialogues show: which limit runs, what the administrator is
//! told, and that what is over stays over.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

use starttls_protocols::dialogue::{MAX_BYTES, MAX_COMMANDS};
use starttls_protocols::line::MAX_LINE;
use starttls_protocols::session::{Limit, Order, Outcome, Rules, Session};
use starttls_protocols::{Offer, PROTOCOLS};
use starttls_wrapper::message::NoteText;

const LENIENT: Rules = Rules {
    protocols: PROTOCOLS,
    protocol: None,
    strict: false,
    offer: Offer::Add,
    replay: true,
    respawn: true,
    implicit: false,
    transcript: false,
};

const STRICT: Rules = Rules { strict: true, replay: false, ..LENIENT };

const HOST_PORT: Rules = Rules { respawn: false, ..LENIENT };

/// A session that has heard these, the server first, then in turn.
fn session(rules: Rules, said: &[&str]) -> Session {
    let mut session = Session::new(rules);
    hears(&mut session, said);
    session
}

fn hears(session: &mut Session, said: &[&str]) {
    for (at, text) in said.iter().enumerate() {
        if at % 2 == 0 {
            session.server_says(text.as_bytes());
        } else {
            session.client_says(text.as_bytes());
        }
    }
}

fn orders(session: &mut Session) -> Vec<Order> {
    std::iter::from_fn(|| session.next_order()).collect()
}

fn notes(session: &mut Session) -> Vec<String> {
    let note = |order| if let Order::Note(note) = order { Some(NoteText(&note).to_string()) } else { None };
    orders(session).into_iter().filter_map(note).collect()
}

#[test]
fn the_servers_own_offer_is_told_once() {
    for [greeting, word, offers, offers_not] in [
        ["220 mx\r\n", "EHLO a\r\n", "250-mx\r\n250 STARTTLS\r\n", "250-mx\r\n250 SIZE\r\n"],
        ["+OK\r\n", "CAPA\r\n", "+OK\r\nSTLS\r\n.\r\n", "+OK\r\nTOP\r\n.\r\n"],
        [
            "* OK\r\n",
            "a CAPABILITY\r\n",
            "* CAPABILITY IMAP4rev1 STARTTLS ID\r\na OK\r\n",
            "* CAPABILITY IMAP4rev1\r\na OK\r\n",
        ],
        ["200 hi\r\n", "CAPABILITIES\r\n", "101 list\r\nSTARTTLS\r\n.\r\n", "101 list\r\nREADER\r\n.\r\n"],
        ["\"SIEVE\" \"\"\r\nOK\r\n", "CAPABILITY\r\n", "\"STARTTLS\"\r\nOK\r\n", "\"SIEVE\" \"\"\r\nOK\r\n"],
    ] {
        let told = notes(&mut session(LENIENT, &[greeting, word, offers, word, offers]));
        assert_eq!(told.len(), 1, "{offers}: {told:?}");
        let told = notes(&mut session(LENIENT, &[greeting, word, offers_not]));
        assert_eq!(told, [""; 0], "{offers_not}");
    }
}

#[test]
fn a_deadline_runs_before_tls_where_tls_is_required_and_nowhere_else() {
    let until_reply = ["220 mx\r\n", "EHLO a\r\n", "250 mx\r\n"];
    for end in 0..=until_reply.len() {
        assert_eq!(session(STRICT, &until_reply[..end]).limit(), Some(Limit::Deadline), "{end}");
        assert_eq!(session(LENIENT, &until_reply[..end]).limit(), None, "{end}");
    }
    for rules in [STRICT, LENIENT] {
        let mut session = session(rules, &["220 mx\r\n", "EHLO a\r\n", "250 mx\r\n", "STARTTLS\r\n"]);
        assert_eq!(session.limit(), None, "it is being found out whether TLS can be had");
        session.prepared(true);
        assert_eq!(session.limit(), None, "the handshake has a limit of its own");
        session.handshake_done();
        assert_eq!(session.limit(), Some(Limit::Fresh), "the fresh server shall greet");
        session.server_says(b"220 fresh\r\n");
        assert_eq!(session.limit(), None);
    }
}

#[test]
fn the_end_of_a_client_that_leaves_before_it_is_answered_goes_to_the_server() {
    for (said, last) in [(&[][..], "220 mx\r\n"), (&["220 mx\r\n", "EHLO a\r\n"], "250 mx\r\n")] {
        for (rules, half_said) in [(LENIENT, Some("NO")), (STRICT, None)] {
            let mut session = session(rules, said);
            session.client_says(b"NO");
            orders(&mut session);
            session.client_closed();
            let ordered = orders(&mut session);
            let [half @ .., Order::EndToServer] = &ordered[..] else { panic!("{ordered:?}") };
            let heard = half.iter().map(|order| if let Order::ToServer(bytes) = order { &bytes[..] } else { b"" });
            assert_eq!(heard.collect::<Vec<_>>(), Vec::from_iter(half_said.map(str::as_bytes)));
            assert_eq!(session.client_room(), 0, "nothing more comes");
            session.client_closed();
            assert!(orders(&mut session).is_empty(), "it is told once");
            // What is owed is still edited.
            session.server_says(last.as_bytes());
            let ordered = orders(&mut session);
            let [Order::ToClient(answer), Order::PassThrough { to_server, .. }] = &ordered[..] else {
                panic!("{ordered:?}")
            };
            assert_eq!(answer.ends_with(b"250 STARTTLS\r\n"), last.starts_with("250"));
            assert!(to_server.is_empty());
        }
    }
}

#[test]
fn what_a_client_has_said_before_it_leaves_is_heard_in_turn() {
    let mut session = session(LENIENT, &["220 mx\r\n", "EHLO a\r\n"]);
    session.client_says(b"QUIT\r\n");
    assert_eq!(session.client_room(), 0, "an end behind it is not read yet");
    session.client_closed();
    session.server_says(b"250 mx\r\n");
    let ordered = orders(&mut session);
    assert!(matches!(&ordered[..], [.., Order::ToServer(quit)] if quit == b"QUIT\r\n"), "{ordered:?}");
    session.client_closed();
    assert!(matches!(orders(&mut session)[..], [Order::EndToServer]));
}

#[test]
fn what_is_over_stays_over() {
    let mut refused = session(STRICT, &["220 mx\r\n", "EHLO \0\r\n"]);
    let ends = orders(&mut refused);
    assert!(matches!(ends.last(), Some(Order::Close(Outcome::Refused))), "{ends:?}");
    refused.server_closed();
    refused.client_closed();
    refused.interrupted();
    let more = orders(&mut refused);
    assert!(more.is_empty(), "{more:?}");
}

/// A session that awaits the go-ahead's fulfilment, which is up to its backend.
fn preparing(rules: Rules, greeting: &str, words: &[&str]) -> Session {
    let mut session = session(rules, &[&[greeting], words].concat());
    let ordered = orders(&mut session);
    assert!(matches!(ordered.last(), Some(Order::Prepare)), "{ordered:?}");
    session
}

const SMTP: (&str, &[&str]) = ("220 mx\r\n", &["EHLO a\r\n", "250 mx\r\n", "STARTTLS\r\n"]);
const SIEVE: (&str, &[&str]) = ("\"SIEVE\" \"\"\r\nOK\r\n", &["STARTTLS\r\n"]);

#[test]
fn a_backend_that_is_told_of_tls_is_reached_before_and_after_it() {
    let mut session = preparing(LENIENT, SMTP.0, SMTP.1);
    session.backend_greeted();
    assert!(orders(&mut session).is_empty(), "nobody is reached who could have greeted");
    session.backend_reached();
    assert!(session.backend_room() > 0, "its greeting is awaited (law 4)");
    session.backend_says(b"220 backend\r\n");
    let ordered = orders(&mut session);
    assert!(matches!(&ordered[..], [Order::ToClient(_), Order::Upgrade(_)]), "{ordered:?}");
    session.handshake_done();
    assert!(matches!(orders(&mut session)[..], [Order::Respawn]));
    assert_eq!((session.client_room(), session.limit()), (0, Some(Limit::Fresh)), "it shall greet again");
}

#[test]
fn a_backend_that_greeted_before_its_tls_does_not_greet_inside() {
    let mut session = preparing(LENIENT, SMTP.0, SMTP.1);
    session.backend_reached();
    session.backend_greeted();
    let ordered = orders(&mut session);
    assert!(matches!(&ordered[..], [Order::ToClient(_), Order::Upgrade(_)]), "{ordered:?}");
    session.handshake_done();
    assert_eq!(session.client_room(), 0);
    session.backend_greeted();
    assert!(session.awaits_command(), "the client's turn, without a second greeting");
}

#[test]
fn a_sieve_backend_greets_inside_its_tls_too() {
    let mut session = preparing(LENIENT, SIEVE.0, SIEVE.1);
    session.backend_reached();
    session.backend_greeted();
    assert!(orders(&mut session).is_empty(), "there is no go-ahead before its capabilities");
    session.backend_says(b"\"SIEVE\" \"a\"\r\nOK\r\n");
    session.handshake_done();
    orders(&mut session);
    session.backend_greeted();
    assert!(!session.awaits_command(), "nor is it the client's turn before those of the second connection");
}

#[test]
fn who_greets_too_early_or_is_reached_too_late_changes_nothing() {
    let mut plain = session(LENIENT, &["220-mx\r\n"]);
    plain.backend_greeted();
    assert!(!plain.awaits_command(), "the plaintext server has not greeted in full");
    let mut session = preparing(HOST_PORT, SIEVE.0, SIEVE.1);
    session.prepared(true);
    session.backend_says(b"\"SIEVE\" \"kept\"\r\nOK\r\n");
    orders(&mut session);
    session.backend_reached();
    session.handshake_done();
    let ordered = orders(&mut session);
    let greeting = b"\"SIEVE\" \"kept\"\r\nOK\r\n";
    assert!(matches!(&ordered[..], [Order::ToClient(bytes)] if bytes == greeting), "{ordered:?}");
}

#[test]
fn a_long_line_inside_tls_is_a_failure_until_the_server_serves() {
    let long = "2".repeat(MAX_LINE);
    let inside = |said: &[&str]| {
        let mut session = preparing(LENIENT, SMTP.0, SMTP.1);
        session.prepared(true);
        session.handshake_done();
        hears(&mut session, said);
        orders(&mut session).pop().expect("it does not go on")
    };
    for said in [&[&long[..]][..], &["220 mx\r\n", "MAIL FROM:<>\r\n", &long]] {
        let last = inside(said);
        assert!(matches!(last, Order::Close(Outcome::ServerFailed)), "{last:?}");
    }
    for said in [&["220 mx\r\n", "", &long[..]][..], &["220 mx\r\n", "EHLO a\r\n", &long]] {
        let last = inside(said);
        assert!(matches!(last, Order::PassThrough { .. }), "{last:?}");
    }
}

#[test]
fn a_transcript_has_every_line_that_is_watched() {
    let rules = Rules { transcript: true, ..LENIENT };
    let mut session =
        session(rules, &["220 mx\r\n", "STARTTLS\r\n", "", "EHLO a\r\n", "250 mx\r\n", "AUTH PLAIN x\r\n"]);
    let told = notes(&mut session);
    assert_eq!(
        told,
        [
            "S: 220 mx",
            "C: STARTTLS",
            "W: 503 5.5.1 EHLO first",
            "C: EHLO a",
            "S: 250 mx",
            "C: AUTH",
            "unwatched from here: the command is no opening word"
        ]
        .map(String::from)
    );
}

#[test]
fn a_transcript_ends_with_why_nobody_watches_any_more() {
    let rules = Rules { transcript: true, ..LENIENT };
    let (line, most) = (format!("220-{}\r\n", "x".repeat(MAX_LINE)), ["EHLO a\r\n", "250 mx\r\n"].repeat(MAX_COMMANDS));
    for (said, why) in [
        (&["SSH-2.0\r\n"][..], "no protocol has this greeting"),
        (&["554 no\r\n"], "the server refuses to serve"),
        (&["220 mx\r\n", "MAIL\r\n"], "the command is no opening word"),
        (&["220 mx\r\n", &line], "a line of the client is too long"),
        (&[&line], "a line of the server is too long"),
        (&[&["220 mx\r\n"], &most[..], &["EHLO a\r\n"]].concat(), "more was said than is recorded"),
        (&["220 mx\r\n", "EHLO"], "the client has said its last word"),
    ] {
        let mut session = session(rules, said);
        session.client_closed();
        assert_eq!(notes(&mut session).pop(), Some(format!("unwatched from here: {why}")), "{said:?}");
    }
    let mut strict = session(Rules { strict: true, ..rules }, &["220 mx\r\n", "MAIL\r\n"]);
    assert!(!notes(&mut strict).iter().any(|note| note.starts_with("unwatched")), "it is refused");
}

#[test]
fn a_tls_server_that_closes_behind_its_greeting_breaks_no_go_ahead() {
    let mut session = preparing(HOST_PORT, "+OK\r\n", &["STLS\r\n"]);
    session.prepared(true);
    session.backend_says(b"+OK\r\n");
    assert_eq!(session.backend_room(), 0);
    orders(&mut session);
    session.backend_failed();
    assert!(orders(&mut session).is_empty());
}

#[test]
fn a_tls_server_may_greet_as_long_as_the_limit() {
    for (bytes, available) in [(MAX_BYTES - 1, true), (MAX_BYTES, true), (MAX_BYTES + 1, false)] {
        let mut session = preparing(HOST_PORT, SIEVE.0, SIEVE.1);
        session.prepared(true);
        let capability = |length: usize| format!("\"X\" \"{}\"\r\n", "x".repeat(length - 8));
        for length in [1024; MAX_BYTES / 1024 - 1].into_iter().chain([bytes - (MAX_BYTES - 1024)]) {
            session.backend_says(capability(length).as_bytes());
        }
        session.backend_says(b"OK\r\n");
        let ordered = orders(&mut session);
        let dropped = ordered.iter().any(|order| matches!(order, Order::DropBackend));
        assert_eq!(!dropped, available, "{bytes}: {ordered:?}");
    }
}

#[test]
fn what_a_server_says_unasked_counts_as_the_rest() {
    for (bytes, watched) in [(MAX_BYTES - 1, true), (MAX_BYTES, true), (MAX_BYTES + 1, false)] {
        let mut talks = session(LENIENT, &["220 mx\r\n"]);
        orders(&mut talks);
        let line = |length: usize| format!("{}\r\n", "4".repeat(length - 2));
        let rest = bytes - "220 mx\r\n".len();
        for length in [1024; MAX_BYTES / 1024 - 1].into_iter().chain([rest - (MAX_BYTES - 1024)]) {
            talks.server_says(line(length).as_bytes());
        }
        let passes = orders(&mut talks).iter().any(|order| matches!(order, Order::PassThrough { .. }));
        assert_eq!(!passes, watched, "{bytes}");
    }
}

#[test]
fn an_offer_that_the_server_makes_unasked_is_told() {
    let told = notes(&mut session(LENIENT, &["* OK\r\n* CAPABILITY STARTTLS\r\n"]));
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn who_must_end_says_so_where_no_reply_is_owed() {
    let mut waits = session(LENIENT, &["220 mx\r\n"]);
    orders(&mut waits);
    waits.interrupted();
    let ordered = orders(&mut waits);
    assert!(
        matches!(&ordered[..], [Order::ToClient(said), Order::Close(_)] if said.starts_with(b"421")),
        "{ordered:?}"
    );
    let mut owes = session(LENIENT, &["220 mx\r\n", "NOOP\r\n"]);
    orders(&mut owes);
    owes.interrupted();
    assert!(orders(&mut owes).is_empty());
}
