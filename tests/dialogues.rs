//! Plays the corpus of tests/dialogues through the pure session, in every way the bytes may come.

mod play;

#[path = "../examples/own-protocol/src/howdy.rs"]
mod howdy;
#[path = "play/pure.rs"]
mod pure;

use std::collections::BTreeSet;

use play::way::{Failure, MODES};
use play::{Dialogue, Event, Mode, Party, Step, corpus};
use pure::{Cut, Report, Way};
use starttls_protocols::dialogue::{MAX_BYTES, MAX_COMMANDS};
use starttls_protocols::line::MAX_LINE;
use starttls_protocols::session::{Outcome, Replayed};
use starttls_protocols::{Offer, PROTOCOLS, Policy, Sentence};

const CUTS: [Cut; 3] = [Cut::Whole, Cut::Bytes, Cut::Pipelined];

fn play_corpus(cut: Cut) {
    for dialogue in corpus() {
        for mode in MODES {
            play_failures(&dialogue, mode, cut);
        }
    }
}

fn play_failures(dialogue: &Dialogue, mode: Mode, cut: Cut) {
    for failure in dialogue.failures() {
        let report = pure::play(dialogue, Way { mode, cut, failure: *failure }, PROTOCOLS);
        let met = report.and_then(|report| report.protocol);
        assert!(met.is_none_or(|met| met == dialogue.protocol), "{} was taken for {met:?}", dialogue.name);
    }
}

/// Plays a dialogue that is too long for a file, or of which more than the heard bytes matters.
fn play_text(text: &str) -> Vec<Report> {
    play_text_of("smtp", text)
}

fn play_text_of(protocol: &str, text: &str) -> Vec<Report> {
    let dialogue = Dialogue::parse(protocol, "text", text);
    let ways = MODES.iter().flat_map(|mode| CUTS.map(|cut| Way { mode: *mode, cut, failure: Failure::Unreachable }));
    ways.filter_map(|way| pure::play(&dialogue, way, PROTOCOLS)).collect()
}

fn expect_all<T: PartialEq + std::fmt::Debug>(reports: &[Report], what: impl Fn(&Report) -> T, expected: &T) {
    assert!(!reports.is_empty());
    for report in reports {
        assert_eq!(&what(report), expected, "{report:?}");
    }
}

#[test]
fn every_dialogue_goes_as_written() {
    play_corpus(Cut::Whole);
}

#[test]
fn every_dialogue_goes_the_same_in_one_byte_pieces() {
    play_corpus(Cut::Bytes);
}

#[test]
fn every_dialogue_goes_the_same_when_the_client_does_not_wait() {
    play_corpus(Cut::Pipelined);
}

#[test]
fn every_protocol_has_dialogues_and_every_dialogue_a_sentence() {
    let dialogues = corpus();
    let named: BTreeSet<_> = dialogues.iter().map(|dialogue| dialogue.protocol.as_str()).collect();
    assert_eq!(named, PROTOCOLS.iter().map(|protocol| protocol.name).collect());
    for Dialogue { name, .. } in &dialogues {
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'), "{name}");
        assert!(name.split('_').count() > 2, "{name} is no sentence");
    }
}

/// Every row keeps the laws that concern the switch: each protocol has the dialogue of this name.
#[test]
fn every_protocol_tries_the_same_laws() {
    let dialogues = corpus();
    for protocol in PROTOCOLS {
        for law in ["starttls_is_offered_and_granted", "plaintext_behind_starttls_fails_the_handshake"] {
            let name = if protocol.name == "pop3" { law.replace("starttls", "stls") } else { law.into() };
            let found = dialogues.iter().any(|dialogue| dialogue.protocol == protocol.name && dialogue.name == name);
            assert!(found, "{}/{name}.txt", protocol.name);
        }
    }
}

/// Law 3, for what the server has begun to say when the client asks for TLS. In no file: a client that does not wait has
/// asked before that.
#[test]
fn half_a_line_of_the_plaintext_server_is_not_heard_inside_tls() {
    let of_lines = PROTOCOLS.iter().filter(|protocol| !protocol.is_client_first());
    for protocol in of_lines.map(|protocol| protocol.name) {
        let granted =
            |dialogue: &Dialogue| dialogue.protocol == protocol && dialogue.name.ends_with("_is_offered_and_granted");
        let mut dialogue = corpus().into_iter().find(granted).expect("there is one");
        let tls = dialogue.steps.iter().position(|step| matches!(step.event, Event::Tls(_))).expect("TLS begins");
        let half = Event::Says(Party::Server, b"* 250-half".to_vec());
        dialogue.steps.insert(tls - 1, Step { line: 0, event: half, client_hears: vec![], server_hears: vec![] });
        for (mode, cut) in MODES.iter().flat_map(|mode| [Cut::Whole, Cut::Bytes].map(|cut| (*mode, cut))) {
            pure::play(&dialogue, Way { mode, cut, failure: Failure::Unreachable }, PROTOCOLS);
        }
    }
}

#[test]
fn a_greeting_shows_its_protocol_and_no_other() {
    let greetings = [
        ("220 mx.example ESMTP", Some("smtp")),
        ("220-mx.example ESMTP", Some("smtp")),
        ("421 busy", Some("smtp")),
        ("554 no", Some("smtp")),
        ("+OK ready", Some("pop3")),
        ("-ERR busy", Some("pop3")),
        ("* OK ready", Some("imap")),
        ("* PREAUTH welcome", Some("imap")),
        ("* BYE busy", Some("imap")),
        ("200 news", Some("nntp")),
        ("201 news", Some("nntp")),
        ("400 busy", Some("nntp")),
        ("502 no", Some("nntp")),
        ("\"IMPLEMENTATION\" \"x\"", Some("sieve")),
        ("\"STARTTLS\"", Some("sieve")),
        ("BYE \"busy\"", Some("sieve")),
        ("SSH-2.0-OpenSSH_9.9", None),
        ("", None),
        ("2", None),
        ("*", None),
        ("OK", None),
    ];
    // LMTP greets as SMTP does.
    let greeted = PROTOCOLS.iter().filter(|protocol| !protocol.is_client_first() && protocol.name != "lmtp");
    for protocol in greeted {
        assert!(
            greetings.iter().any(|(_, name)| *name == Some(protocol.name)),
            "{} has no greeting here",
            protocol.name
        );
    }
    for (greeting, name) in greetings {
        let rows = PROTOCOLS.iter().filter(|protocol| protocol.is_greeted_by(format!("{greeting}\r\n").as_bytes()));
        assert!(rows.map(|protocol| protocol.name).eq(name), "{greeting}");
    }
}

#[test]
fn every_protocol_has_the_alpn_names_of_its_registry() {
    let names = PROTOCOLS.iter().map(|protocol| (protocol.name, protocol.alpn.concat().escape_ascii().to_string()));
    let expected = [
        "smtp smtpesmtpsubmission",
        "lmtp lmtpsmtpesmtp",
        "pop3 pop3",
        "imap imap",
        "nntp nntp",
        "sieve managesieve",
        "ldap ldap",
        "postgres postgresql",
    ];
    assert_eq!(names.map(|(name, alpn)| format!("{name} {alpn}")).collect::<Vec<_>>(), expected);
}

#[test]
fn the_manual_quotes_every_sentence() {
    let manual = include_str!("../man/starttls-protocols.7").replace("\\(dq", "\"");
    let policy = Policy { offer: Offer::Add, strict: false, inside: false, fresh: false };
    for protocol in PROTOCOLS {
        let mut snooper = (protocol.snooper)(policy);
        let asking = protocol.way_to_tls.last().copied().unwrap_or_default();
        for (command, sentence) in
            [&b"tag NOOP\r\n"[..], b"\r\n", asking].iter().flat_map(|line| Sentence::ALL.map(|one| (line, one)))
        {
            // Only SMTP has words that must come before STARTTLS.
            if sentence == Sentence::TooEarly && !protocol.alpn.contains(&&b"smtp"[..]) {
                continue;
            }
            let mut said = Vec::new();
            snooper.command(command);
            snooper.say(sentence, &mut said);
            let text = if protocol.is_client_first() { longest_text(&said) } else { line_of(&said) };
            let untagged = text.starts_with("* BAD") && sentence != Sentence::Refused;
            assert!(untagged || manual.contains(&text), "{}: {text}", protocol.name);
        }
    }
}

/// A sentence without its end and without its tag.
fn line_of(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let text = said.strip_suffix("\r\n").unwrap_or("no line");
    ["tag ", "1 "].iter().find_map(|tag| text.strip_prefix(tag)).unwrap_or(text).into()
}

/// What of a message is for people. Before it may stand a byte that looks like one more letter.
fn longest_text(said: &[u8]) -> String {
    let runs = said.split(|byte| !byte.is_ascii_graphic() && *byte != b' ');
    let text = runs.filter(|run| run.len() > 8 && !run.starts_with(b"1.3.")).max_by_key(|run| run.len());
    String::from_utf8_lossy(text.and_then(|text| text.get(1..)).unwrap_or_default()).into_owned()
}

/// A client's line of so many bytes.
fn noop(length: usize) -> String {
    format!("NOOP {}", "x".repeat(length - "NOOP \r\n".len()))
}

#[test]
fn a_client_line_may_be_as_long_as_the_limit() {
    for length in [MAX_LINE - 1, MAX_LINE] {
        let noop = noop(length);
        let reports = play_text(&format!("S: 220 mx\nC: {noop}\nS: 250 ok\nC: STARTTLS\nc: 503 5.5.1 EHLO first\n"));
        expect_all(&reports, |report| report.outcome, &None);
    }
}

/// A server that takes no more at once would take the rest for the next command.
#[test]
fn with_require_tls_a_client_line_may_be_as_long_as_its_protocol_allows() {
    let list = "S: \"SASL\" \"\"\nc-\nS: OK\nc: \"STARTTLS\"\nc: \"SASL\" \"\"\nc: OK";
    for (greeting, word, reply, sentence, limit) in [
        ("S: 220 mx", "NOOP ", "250 ok", "500 5.5.2 Line too long", 512),
        ("--- options: -p lmtp\nS: 220 mx", "NOOP ", "250 ok", "500 5.5.2 Line too long", 512),
        ("S: +OK", "NOOP ", "+OK", "-ERR Line too long", 255),
        ("S: 200", "DATE ", "111 now", "501 Line too long", 512),
        ("S: * OK", "a NOOP ", "a OK", "* BYE Line too long", MAX_LINE),
        (list, "NOOP ", "OK", "BYE \"Line too long\"", MAX_LINE),
    ] {
        let said = |length: usize| format!("{word}{}", "x".repeat(length - word.len() - 2));
        let begin = format!("--- options: -r\n{greeting}\n");
        for length in [limit - 1, limit] {
            let reports = play_text(&format!("{begin}C: {}\nS: {reply}\n", said(length)));
            expect_all(&reports, |report| report.outcome, &None);
        }
        let reports = play_text(&format!("{begin}C: {}\nc: {sentence}\n--- closed\n", said(limit + 1)));
        expect_all(&reports, |report| report.outcome, &Some(Outcome::Refused));
        let reports = play_text(&format!("{begin}C> {}\nc: {sentence}\n--- closed\n", "x".repeat(limit)));
        expect_all(&reports, |report| report.outcome, &Some(Outcome::Refused));
    }
}

#[test]
fn inside_tls_require_tls_allows_what_the_server_takes() {
    let noop = noop(MAX_LINE);
    play_text(&format!(
        "--- options: -r\n{SWITCH}C: {noop}\nS: 250 ok\nC: STARTTLS\nc: 503 5.5.1 TLS already active\n"
    ));
}

#[test]
fn a_longer_client_line_ends_the_snooping() {
    let noop = noop(MAX_LINE + 1);
    play_text(&format!("S: 220 mx\nC: {noop}\nS: 250 ok\nC: STARTTLS\nS: 502 what\n"));
}

#[test]
fn a_server_line_may_be_as_long_as_the_limit_and_a_longer_one_ends_the_snooping() {
    for (length, watched) in [(MAX_LINE - 1, true), (MAX_LINE, true), (MAX_LINE + 1, false)] {
        let greeting = format!("220 {}", "x".repeat(length - "220 \r\n".len()));
        let answer = if watched { "c: 503 5.5.1 EHLO first" } else { "S: 502 what" };
        play_text(&format!("S: {greeting}\nC: STARTTLS\n{answer}\n"));
    }
}

#[test]
fn as_many_opening_words_are_snooped_as_the_limit() {
    let noop = |times| "C: NOOP\nS: 250 ok\n".repeat(times);
    for words in [MAX_COMMANDS - 1, MAX_COMMANDS] {
        play_text(&format!("S: 220 mx\n{}C: STARTTLS\nc: 503 5.5.1 EHLO first\n", noop(words)));
    }
    play_text(&format!("S: 220 mx\n{}C: STARTTLS\nS: 502 what\n", noop(MAX_COMMANDS + 1)));
}

#[test]
fn as_many_recorded_bytes_are_snooped_as_the_limit() {
    for (bytes, watched) in [(MAX_BYTES - 1, true), (MAX_BYTES, true), (MAX_BYTES + 1, false)] {
        let rest = bytes - MAX_LINE - "220 mx\r\nNOOP\r\nNOOP\r\n".len();
        let [first, second] = [MAX_LINE, rest].map(|length| "x".repeat(length - "250 \r\n".len()));
        let answer = if watched { "c: 503 5.5.1 EHLO first" } else { "S: 502 what" };
        play_text(&format!("S: 220 mx\nC: NOOP\nS: 250 {first}\nC: NOOP\nS: 250 {second}\nC: STARTTLS\n{answer}\n"));
    }
}

#[test]
fn a_greeting_without_end_is_not_watched_for_ever() {
    let line = format!("S: 220-{}\n", "x".repeat(1018));
    let text = |lines: usize, answer| format!("{}S: 220 mx\nC: STARTTLS\n{answer}\n", line.repeat(lines));
    play_text(&text(15, "c: 503 5.5.1 EHLO first"));
    play_text(&text(16, "S: 502 what"));
}

#[test]
fn only_legal_imap_tags_start_tls() {
    for tag in ["a", "A0001", ".", "]", "}", "[", "~!@#$^&-_='`|;:,./?<>", "1"] {
        let text = format!("S: * OK\nC: {tag} STARTTLS\nc: {tag} OK Begin TLS negotiation now\n--- TLS\nS: * OK\nc-\n");
        expect_all(&play_text(&text), |report| report.protocol, &Some("imap"));
    }
    for tag in ["*", "+", "a+", "a*", "%", "\"a\"", "a\\", "(", ")", "{", "é", "", "a\tb"] {
        play_text(&format!("S: * OK\nC: {tag} STARTTLS\nS: * BAD what\nC: a STARTTLS\nS: a BAD what\n"));
    }
}

/// SMTP as far as the go-ahead and the fresh greeting.
const SWITCH: &str = "S: 220 mx\nC: EHLO laptop\nS: 250 mx\nc: 250-mx\nc: 250 STARTTLS\n\
                      C: STARTTLS\nc: 220 2.0.0 Ready to start TLS\n--- TLS\nS: 220 fresh\nc-\n";

#[test]
fn the_report_says_what_became_of_the_prefix() {
    let replayed = |report: &Report| report.replayed;
    expect_all(&play_text(SWITCH), replayed, &Replayed::None);
    let dropped = format!("{SWITCH}C: EHLO laptop\nS: 250 fresh\n");
    expect_all(&play_text(&dropped), replayed, &Replayed::Dropped);
    let mail = "C: MAIL FROM:<>\ns: EHLO laptop\nS: 250 fresh\nc-\ns: MAIL FROM:<>\nS: 250 ok\n";
    expect_all(&play_text(&format!("{SWITCH}{mail}")), replayed, &Replayed::Replayed);
}

#[test]
fn a_server_that_refuses_the_replay_is_named() {
    let refused = "C: MAIL FROM:<>\ns: EHLO laptop\nS: 550 not you\n\
                   c: 421 4.3.0 Service not available, closing transmission channel\n--- closed\n";
    let reports = play_text(&format!("{SWITCH}{refused}"));
    let note = "the TLS server refused the replayed prefix: 550 not you".to_string();
    expect_all(&reports, |report| report.notes.clone(), &vec![note]);
    expect_all(&reports, |report| report.outcome, &Some(Outcome::ServerFailed));
}

#[test]
fn an_unknown_greeting_is_told_where_tls_is_required() {
    let reports = play_text("--- options: -r\nS: SSH-2.0\nc-\n--- closed\n");
    expect_all(&reports, |report| report.notes.len(), &1);
    expect_all(&reports, |report| report.outcome, &Some(Outcome::Refused));
}

#[test]
fn a_made_up_protocol_takes_one_file_and_one_row() {
    let text = "S: HOWDY stranger\nC: WHATSUP\nS: YEP nothing\nc: YEP nothing GOTLS\nC: GOTLS\nc: YEP get going\n\
                --- TLS, eagerly\nS: HOWDY friend\nc-\nC: WHATSUP\nS: YEP nothing GOTLS\nc: YEP nothing\nC: SECRET\nS: YEP\n";
    let dialogue = Dialogue::parse("howdy", "made_up", text);
    let rows = [PROTOCOLS, &[howdy::HOWDY]].concat().leak();
    for (mode, cut) in MODES.iter().flat_map(|mode| CUTS.map(|cut| (*mode, cut))) {
        let report = pure::play(&dialogue, Way { mode, cut, failure: Failure::Unreachable }, rows);
        assert_eq!(report.and_then(|report| report.protocol), Some("howdy"));
    }
}

#[test]
fn what_is_not_in_the_notation_is_not_played() {
    for text in
        ["X: what", "C no colon", "C:no space", "c: heard by nobody's saying", "--- what", "C> \\q", "C> \\x1", ""]
    {
        let read = std::panic::catch_unwind(|| Dialogue::parse("smtp", "text", text));
        assert_eq!(read.is_err(), !text.is_empty(), "{text}");
    }
}

#[test]
fn a_long_first_line_inside_tls_comes_behind_the_replayed_prefix() {
    let long = "x".repeat(MAX_LINE + 1);
    play_text(&format!("{SWITCH}C: {long}\ns: EHLO laptop\nS: 250 fresh\nc-\ns: {long}\nS: 500 what\n"));
}

/// A search for the root DSE that is so long, and a result that is.
fn ldap_messages(length: usize) -> [String; 2] {
    let filled = |before: &str, behind: &str| {
        // Four bytes for the outer length, and three for each that is longer than 127.
        let message = |count: usize| format!("30{{ 02{{01}} {before} 04{{\"{}\"}} {behind} }} }}", "x".repeat(count));
        let size = |count: usize| bytes_of(&message(count)).len();
        message(length - (size(1000) - 1000))
    };
    [filled("63{ 04{} 0a{00} 0a{00} 02{00} 02{00} 01{00} 87{\"a\"} 30{", "}"), filled("65{ 0a{00} 04{}", "")]
}

fn bytes_of(text: &str) -> Vec<u8> {
    let dialogue = Dialogue::parse("ldap", "bytes", &format!("C= {text}"));
    let Some(Event::Says(_, bytes)) = dialogue.steps.first().map(|step| &step.event) else { panic!("nobody says it") };
    bytes.clone()
}

#[test]
fn a_message_of_ldap_may_be_as_long_as_the_limit() {
    let notice =
        "c= 30{ 02{00} 78{ 0a{02} 04{} 04{\"message too long\"} 8a{\"1.3.6.1.4.1.1466.20036\"} } }\n--- closed\n";
    for (length, fits) in [(MAX_BYTES - 1, true), (MAX_BYTES, true), (MAX_BYTES + 1, false)] {
        let [search, _] = ldap_messages(length);
        assert_eq!(bytes_of(&search).len(), length);
        play_text_of("ldap", &format!("C= {search}\n"));
        play_text_of("ldap", &format!("--- options: -r\nC= {search}\n{}", if fits { "" } else { notice }));
    }
}

#[test]
fn as_many_bytes_of_ldap_are_snooped_as_the_limit() {
    let [search, _] = ldap_messages(1200);
    for (bytes, watched) in [(MAX_BYTES - 1, true), (MAX_BYTES, true), (MAX_BYTES + 1, false)] {
        let [_, result] = ldap_messages(bytes - 1200);
        let answer = if watched {
            "c= 30{ 02{03} 78{ 0a{02} 04{} 04{\"StartTLS takes no value\"}"
        } else {
            "S= 30{ 02{03} 78{ 0a{02} 04{} 04{}"
        };
        let starttls = "C= 30{ 02{03} 77{ 80{\"1.3.6.1.4.1.1466.20037\"} 81{} } }\n";
        let oid = "8a{\"1.3.6.1.4.1.1466.20037\"} } }";
        play_text_of("ldap", &format!("C= {search}\nS= {result}\n{starttls}{answer} {oid}\n"));
    }
}

#[test]
fn a_packet_of_postgres_may_be_as_long_as_the_limits() {
    let startup = |length: usize| format!("[ 00030000 \"{}\" 00 ]", "x".repeat(length - 9));
    let error = |code: &str, text: &str| {
        format!("c= \"E\"[ \"SFATAL\" 00 \"VFATAL\" 00 \"C{code}\" 00 \"M{text}\" 00 00 ]\n--- closed\n")
    };
    let refused = error("28000", "TLS is required here: connect with sslmode=require or better");
    let too_long = error("08P01", "invalid startup packet");
    for (length, fits) in [(9_999, true), (10_000, true), (10_001, false)] {
        play_text_of("postgres", &format!("C= {}\nS= \"R\"[00000000]\n", startup(length)));
        let answer = if fits { &refused } else { &too_long };
        play_text_of("postgres", &format!("--- options: -r\nC= {}\n{answer}", startup(length)));
    }
    // The shortest has a length and a code.
    for (packet, answer) in
        [("00000007", &too_long), ("00000008 00030000", &refused), ("00000009 00030000 00", &refused)]
    {
        play_text_of("postgres", &format!("--- options: -r\nC= {packet}\n{answer}"));
    }
}
