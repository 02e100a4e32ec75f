//! The laws for bytes that nobody would send: a generator of dialogues that are almost right, and the dialogues of
//! the corpus. The fuzz targets (fuzz/) check the same code against bytes that a fuzzer finds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]

#[allow(dead_code, reason = "other test programs use the rest")]
#[path = "support/chance.rs"]
mod chance;
#[path = "properties/codec.rs"]
mod codec;
#[allow(dead_code, reason = "another test program plays the dialogues")]
mod play;
#[path = "properties/session.rs"]
mod session;

use std::path::Path;

use chance::Chance;
use play::{Dialogue, Event, Hello, Mode, Party};
use session::Script;
use starttls_protocols::session::Rules;
use starttls_protocols::{Offer, PROTOCOLS};

/// How many dialogues are made up for a property.
const CASES: usize = 20_000;

#[test]
fn the_laws_hold_for_dialogues_that_are_almost_right() {
    let mut chance = Chance::new(0x5eed);
    for case in 0..CASES {
        let data = dialogue(&mut chance);
        let kept = data.clone();
        let outcome = std::panic::catch_unwind(|| session::check(&kept));
        assert!(outcome.is_ok(), "case {case}: {}", data.escape_ascii());
    }
}

#[test]
fn the_laws_hold_for_the_corpus() {
    for (name, script) in corpus() {
        let outcome = std::panic::catch_unwind(|| session::check(&script));
        assert!(outcome.is_ok(), "{name}");
    }
}

#[test]
fn lines_do_not_depend_on_how_bytes_are_cut() {
    let mut chance = Chance::new(1);
    for _ in 0..CASES {
        codec::check_lines(&words(&mut chance));
    }
    for length in [8191, 8192, 8193, 20_000] {
        for cut in [0, 1, 255] {
            codec::check_lines(&[&[cut], &vec![b'x'; length][..], b"\r\n"].concat());
        }
    }
}

#[test]
fn units_do_not_depend_on_how_bytes_are_cut() {
    let mut chance = Chance::new(4);
    for _ in 0..CASES {
        let mut bytes = words(&mut chance);
        for _ in 0..chance.below(3) {
            let at = chance.below(bytes.len() + 1);
            bytes.insert(at, chance.of(b"\0\x01\x30\x80\x84\xff"));
        }
        codec::check_units(&bytes);
    }
}

#[test]
fn what_decodes_means_one_thing() {
    let mut chance = Chance::new(2);
    for _ in 0..CASES {
        let mut packet = vec![chance.of(b"pPtcanNosxri?")];
        packet.extend(words(&mut chance));
        codec::check_window(&packet);
        codec::check_window(&[&[0, 0, 0, chance.of(&[0, 1, 2, 4, 9])], &packet[..]].concat());
        let context =
            chance.of(&[&b"TLS 1.3, server CertificateVerify\0"[..], b"TLS 1.3, client CertificateVerify\0", b""]);
        codec::check_window(&[&[b' '; 64], context, &vec![7; chance.of(&[31, 32, 33, 48, 49])]].concat());
        codec::check_window(&[&[7; 64], &[3, 0, chance.of(&[23, 24, 29, 30]), 32][..], &[4; 32]].concat());
    }
}

#[test]
fn a_proxy_header_is_read_to_its_end_and_no_further() {
    let mut chance = Chance::new(3);
    for _ in 0..CASES {
        let mixed = b"PROXY TCP6 192.0.2.1 ::1 4711 25\r\n";
        let line = b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 25\r\n";
        let mut header = chance.of(&[&line[..], mixed, b"PROXY UNKNOWN\r\n", V2]).to_vec();
        for _ in 0..chance.below(3) {
            let at = chance.below(header.len());
            header[at] = chance.of(b"\0\x01\r\n 9:\xff");
        }
        codec::check_proxy(&header);
        header.extend(words(&mut chance));
        codec::check_proxy(&header);
    }
}

/// From the dialogues and the headers above, below the target directory, for `cargo fuzz run session CORPUS`.
#[test]
fn the_fuzzers_get_a_corpus() {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("corpus");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        std::fs::create_dir_all(root.join(target)).unwrap();
        std::fs::write(root.join(target).join(name), bytes).unwrap();
    };
    for (name, script) in corpus() {
        write("session", &name, &script);
        write("lines", &name, &script);
        write("units", &name, script.get(3..).unwrap_or_default());
    }
    for (name, header) in
        [("v1", &b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 25\r\n"[..]), ("unknown", b"PROXY UNKNOWN\r\n"), ("v2", V2)]
    {
        write("proxy", name, header);
    }
    let verify = [&[b' '; 64], &b"TLS 1.3, server CertificateVerify\0"[..], &[7; 32]].concat();
    let exchange = [&[7; 64], &[3, 0, 29, 32][..], &[4; 32]].concat();
    let packets = [
        ("spawn", &b"PSSL_PROTOCOL=TLSv1.3\0SSL_CIPHER=x\0"[..]),
        ("chain", b"\0\0\0\x02\x04\x03\0\0\0\x01x"),
        ("sign", b"sc\x04\x03x"),
    ];
    for (name, packet) in packets.into_iter().chain([("verify", &verify[..]), ("exchange", &exchange)]) {
        write("window", name, packet);
    }
}

/// What [`Script::read`] reads, with words that mean something somewhere.
fn dialogue(chance: &mut Chance) -> Vec<u8> {
    let mut data = vec![chance.below(256) as u8, chance.below(PROTOCOLS.len() + 2) as u8, chance.below(256) as u8];
    let protocol = chance.below(CLIENT.len());
    // No greeting shows these.
    if protocol >= GREETING.len() {
        data[1] = PROTOCOLS.iter().position(|known| known.name == OF[protocol]).unwrap() as u8;
    }
    for stream in 0..4 {
        let said = if stream < 2 { CLIENT } else { SERVER };
        if let Some(greetings) = GREETING.get(protocol).filter(|_| stream >= 2) {
            data.extend_from_slice(chance.of(greetings));
        }
        for _ in 0..chance.below(9) {
            // Mostly its own protocol's, sometimes another's.
            let words = if chance.below(8) == 0 { chance.of(said) } else { said[protocol] };
            if stream >= 2 {
                data.push(0xfe);
            }
            data.extend_from_slice(chance.of(words));
            if protocol < GREETING.len() || chance.below(30) == 0 {
                data.extend_from_slice(chance.of(ENDS));
            }
        }
        data.push(0xff);
    }
    data
}

fn words(chance: &mut Chance) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..chance.below(12) {
        let words = chance.of(CLIENT);
        bytes.extend_from_slice(chance.of(words));
        bytes.extend_from_slice(chance.of(ENDS));
    }
    bytes
}

/// The dialogues of tests/dialogues as scripts, in both modes.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let named = |dialogue: &Dialogue, mode| {
        let way = if mode == Mode::Respawn { "respawn" } else { "host-port" };
        (format!("{}-{}-{way}", dialogue.protocol, dialogue.name), script(dialogue, mode).write())
    };
    let both = |dialogue: Dialogue| [Mode::Respawn, Mode::HostPort].map(|mode| named(&dialogue, mode));
    play::corpus().into_iter().flat_map(both).collect()
}

fn script(dialogue: &Dialogue, mode: Mode) -> Script {
    let options = &dialogue.options;
    let offer = if options.no_key {
        Offer::Remove
    } else if options.no_advertise {
        Offer::Leave
    } else {
        Offer::Add
    };
    let rules = Rules {
        protocols: PROTOCOLS,
        protocol: dialogue.named_protocol().and_then(|name| PROTOCOLS.iter().find(|known| known.name == name).copied()),
        strict: options.strict,
        offer,
        replay: !options.no_replay && !options.strict,
        respawn: mode == Mode::Respawn || options.implicit,
        implicit: options.implicit,
        transcript: false,
    };
    let (mut client, mut server) = ([vec![], vec![]], [vec![vec![]], vec![vec![]]]);
    let (mut stage, mut turn) = (0, false);
    for step in &dialogue.steps {
        match &step.event {
            Event::Tls(hello) => {
                client[0].extend((*hello == Hello::Unasked).then_some(0x16));
                stage = 1;
            }
            Event::NotTls(bytes) => client[0].extend(bytes),
            Event::Says(Party::Client, bytes) => {
                client[stage].extend(bytes);
                turn = true;
            }
            Event::Says(Party::Server, bytes) => {
                if std::mem::take(&mut turn) {
                    server[stage].push(vec![]);
                }
                server[stage].last_mut().unwrap().extend(bytes);
            }
            _ => {}
        }
    }
    let happens = |wanted| dialogue.steps.iter().any(|step| step.event == wanted);
    let client_closes = happens(Event::Closes(Party::Client));
    Script { rules, unavailable: happens(Event::Unavailable), client_closes, seed: 7, client, server }
}

/// Whose words are in each of the three lists below, in their order; those that greet come first.
const OF: &[&str] = &["smtp", "pop3", "imap", "nntp", "sieve", "ldap", "postgres"];

#[test]
fn every_protocol_has_words_here() {
    // LMTP's are SMTP's.
    let known: Vec<_> = PROTOCOLS.iter().filter(|protocol| protocol.name != "lmtp").collect();
    assert_eq!(known.iter().map(|protocol| protocol.name).collect::<Vec<_>>(), OF);
    assert_eq!(known.iter().filter(|protocol| !protocol.is_client_first()).count(), GREETING.len());
    assert_eq!([CLIENT.len(), SERVER.len()], [OF.len(); 2]);
}

#[test]
fn the_fuzzers_dictionary_has_what_asks_for_tls_in_every_protocol() {
    let dictionary = include_str!("../fuzz/dictionary");
    let words: Vec<&str> = dictionary.lines().map(|line| line.trim_matches('"')).collect();
    for protocol in PROTOCOLS {
        let asks = protocol.way_to_tls.last().unwrap().iter().map(|byte| match byte {
            b' '..=b'~' => char::from(*byte).to_string(),
            _ => format!("\\x{byte:02x}"),
        });
        let asks = asks.collect::<String>();
        // A tag may stand before it.
        assert!(words.iter().any(|word| asks.ends_with(word) && word.len() > 8), "{}: {asks}", protocol.name);
    }
}

const ENDS: &[&[u8]] = &[b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"", b"\0\r\n", b" \r\n", b"\r\r\n"];

const GREETING: &[&[&[u8]]] = &[
    &[b"220 mx\r\n", b"220-mx\r\n220 x\r\n", b"421 no\r\n", b"554 no\r\n"],
    &[b"+OK <1@mx>\r\n", b"-ERR no\r\n"],
    &[b"* OK hi\r\n", b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n", b"* PREAUTH hi\r\n", b"* BYE\r\n"],
    &[b"200 hi\r\n", b"201 hi\r\n", b"400 no\r\n", b"502 no\r\n"],
    &[b"\"IMPLEMENTATION\" \"x\"\r\n\"SASL\" \"PLAIN\"\r\nOK\r\n", b"BYE\r\n", b"NO\r\n"],
];

const CLIENT: &[&[&[u8]]] = &[
    &[
        b"EHLO a",
        b"HELO a",
        b"lhlo b",
        b"NOOP",
        b"RSET",
        b"VRFY x",
        b"STARTTLS",
        b"starttls",
        b"STARTTLS x",
        b"MAIL FROM:<>",
        b"AUTH PLAIN =",
        b"QUIT",
        b"STARTTLSX",
    ],
    &[b"CAPA", b"NOOP", b"STLS", b"stls", b"STLS x", b"LANG de", b"USER a", b"PASS b", b"QUIT", b"APOP a b"],
    &[
        b"1 CAPABILITY",
        b"2 NOOP",
        b"3 STARTTLS",
        b"4 starttls",
        b"5 STARTTLS x",
        b"6 ID NIL",
        b"7 LOGIN a b",
        b"8 LOGIN {5}",
        b"9 LOGOUT",
        b"STARTTLS",
    ],
    &[
        b"CAPABILITIES",
        b"MODE READER",
        b"DATE",
        b"HELP",
        b"STARTTLS",
        b"STARTTLS x",
        b"GROUP a",
        b"AUTHINFO USER a",
        b"QUIT",
    ],
    &[
        b"CAPABILITY",
        b"NOOP",
        b"NOOP \"a\"",
        b"STARTTLS",
        b"STARTTLS \"x\"",
        b"AUTHENTICATE \"PLAIN\"",
        b"PUTSCRIPT \"a\" {3}",
        b"LOGOUT",
    ],
    &[
        // A search for the root DSE, Abandon, Unbind; StartTLS, with a number of two bytes and with a value.
        b"0%\x02\x01\x01c \x04\0\n\x01\0\n\x01\0\x02\x01\0\x02\x01\0\x01\x01\0\x87\x0bobjectClass0\0",
        b"0\x06\x02\x01\x02P\x01\x01",
        b"0\x05\x02\x01\x03B\0",
        b"0\x1d\x02\x01\x04w\x18\x80\x161.3.6.1.4.1.1466.20037",
        b"0\x1e\x02\x02\0\x80w\x18\x80\x161.3.6.1.4.1.1466.20037",
        b"0\x1f\x02\x01\x05w\x1a\x80\x161.3.6.1.4.1.1466.20037\x81\0",
        // A bind; number 0, an indefinite length, a long one.
        b"0\x0c\x02\x01\x06`\x07\x02\x01\x03\x04\0\x80\0",
        b"0\x05\x02\x01\0B\0",
        b"0\x80\x02\x01\x07B\0\0\0",
        b"0\x82\x40\x01",
    ],
    &[
        // SSLRequest, GSSENCRequest, CancelRequest, StartupMessage; a ClientHello; lengths that are none.
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"\0\0\0\x08\x04\xd2\x16\x30",
        b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x0f\x01\x02\x03\x04",
        b"\0\0\0\x10\0\x03\0\0user\0x\0\0",
        b"\x16\x03\x01\x02\0\x01\0\x01",
        b"\0\0\0\x07",
        b"\0\0\x27\x11",
    ],
];

const SERVER: &[&[&[u8]]] = &[
    &[
        b"250 ok",
        b"250-mx\r\n250-SIZE\r\n250 AUTH PLAIN",
        b"250-mx\r\n250-STARTTLS\r\n250 PIPELINING",
        b"250",
        b"502 no",
        b"421 bye",
        b"250-x",
        b"250-a\r\n502 b",
        b"",
    ],
    &[b"+OK", b"+OK\r\nUSER\r\nSASL PLAIN\r\n.", b"+OK\r\nSTLS\r\n..\r\n.", b"-ERR no", b"+OK\r\nTOP", b""],
    &[
        b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n1 OK done",
        b"2 OK",
        b"3 BAD no",
        b"* CAPABILITY STARTTLS IMAP4rev1\r\n1 OK",
        b"* BYE",
        b"* X {3}\r\na\nb",
        b"* OK [CAPABILITY IMAP4rev1] x",
    ],
    &[
        b"101 list\r\nVERSION 2\r\nSTARTTLS\r\nAUTHINFO USER\r\n.",
        b"101 list\r\nREADER\r\n.",
        b"200 ok",
        b"502 no",
        b"111 20201121",
        b"400 bye",
    ],
    &[b"\"SIEVE\" \"x\"\r\n\"STARTTLS\"\r\nOK", b"OK", b"NO \"x\"", b"OK (TAG {2}\r\nab)", b"BYE"],
    &[
        b"0\x2a\x02\x01\x01d%\x04\x000!0\x1f\x04\x12supportedExtension1\x09\x04\x071.2.3.4",
        b"0\x0c\x02\x01\x01e\x07\n\x01\0\x04\0\x04\0",
        b"0\x0c\x02\x01\x01e\x07\n\x01 \x04\0\x04\0",
        b"0\x24\x02\x01\0x\x1f\n\x01\x34\x04\0\x04\0\x8a\x161.3.6.1.4.1.1466.20036",
        b"0\x0a\x02\x01\x01s\x05\x04\x03x:/",
    ],
    &[b"E\0\0\0\x0bSFATAL\0\0", b"N\0\0\0\x05\0", b"N", b"S", b"R\0\0\0\x08\0\0\0\0"],
];

const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02\x12\x67\0\x19";
