//! One loopback session for each row of the contract's table: what is given, what the client saw, what the server saw,
//! and how it ended. The table is printed as Markdown.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]
#![allow(clippy::print_stdout, reason = "the table, for who runs it with --nocapture")]

mod support;

#[path = "options/backend.rs"]
mod backend;
#[path = "options/client.rs"]
mod client;
#[path = "options/dialogue.rs"]
mod dialogue;
#[path = "options/environment.rs"]
mod environment;
#[path = "options/heard.rs"]
mod heard;
#[path = "manual/help.rs"]
mod help;
#[path = "manual/page.rs"]
#[allow(dead_code, reason = "another program's tests ask for the rest of it")]
mod page;
#[path = "options/play.rs"]
mod play;
#[path = "manual/same.rs"]
mod same;

use std::path::Path;
use std::thread;

use help::options_of;
use page::Page;
use play::Seen;
use same::assert_same;

/// The table, by theme.
const TABLE: [&[Row]; 4] = [dialogue::ROWS, backend::ROWS, client::ROWS, environment::ROWS];

/// An option or variable, a session with it, and what everybody saw.
struct Row {
    /// Options and variables that the row is about.
    option: &'static str,
    /// The environment, the options and the operands; prog is the test. Names in braces are [`play::Place`]'s.
    given: &'static str,
    /// How prog greets.
    greeting: &'static str,
    /// What the client says, line by line; in angle brackets what it does.
    says: &'static str,
    /// The backend's peculiarity.
    backend: play::Backing,
    /// Variables of prog that belong to what the server saw.
    shows: &'static str,
    /// What the client saw: replies, the lines of one between commas; and how it ended.
    client: &'static str,
    /// What the servers saw, one after the other between slashes.
    server: &'static str,
    /// What the administrator saw: the exit status, and standard error. Three dots at the end stand for what a library
    /// has to say.
    end: &'static str,
}

/// A client that says EHLO before and after STARTTLS, for a row to differ from.
const ROW: Row = Row {
    option: "",
    given: "--respawn",
    greeting: "220 mx",
    says: "EHLO a; STARTTLS; <TLS>; EHLO b; QUIT",
    backend: play::Backing::Good,
    shows: "",
    client: SERVED,
    server: "EHLO a, end / EHLO b, QUIT",
    end: "0",
};

/// What that client sees if all goes well.
const SERVED: &str =
    "220 mx; 250-mx, 250 STARTTLS; 220 2.0.0 Ready to start TLS; TLSv1.3; 250 mx; 221 bye; close_notify";

#[test]
fn every_option_does_in_a_session_what_its_row_says() {
    let themes = TABLE.map(|rows| thread::spawn(move || rows.iter().map(played).collect::<Vec<_>>()));
    let seen: Vec<Seen> = themes.into_iter().flat_map(|theme| theme.join().unwrap()).collect();
    println!("| option | given | the client said | the client saw | the server saw | exit status, messages |");
    println!("|---|---|---|---|---|---|");
    let mut wrong = String::new();
    for (row, seen) in rows().zip(&seen) {
        let cells = [row.option, row.given, row.says, &seen.client, &seen.server, &seen.end];
        println!("| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
        for (saw, expected) in [(&seen.client, row.client), (&seen.server, row.server), (&seen.end, row.end)] {
            if !expected.strip_suffix("...").map_or(saw == expected, |start| saw.starts_with(start)) {
                wrong += &format!("{} ({})\n  saw      {saw}\n  expected {expected}\n", row.option, row.given);
            }
        }
    }
    assert!(wrong.is_empty(), "not as the table says:\n{wrong}");
}

#[test]
fn every_option_and_every_variable_has_a_row() {
    let manual = Page::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("man/starttls-wrapper.8"));
    let mut wanted = options_of(env!("CARGO_BIN_EXE_starttls-wrapper"));
    wanted.extend(manual.options());
    wanted.extend(manual.variables());
    assert_same(("the rows", &rows().flat_map(about).collect()), ("--help with the manual", &wanted));
}

#[test]
fn every_row_gives_or_shows_what_it_is_about() {
    for row in rows() {
        let words = || [row.given, row.server].into_iter().flat_map(|cell| cell.split([' ', '=', ',']));
        for name in about(row) {
            assert!(words().any(|word| word == expanded(&name)), "{} neither gives nor shows {name}", row.given);
        }
    }
}

fn rows() -> impl Iterator<Item = &'static Row> {
    TABLE.into_iter().flatten()
}

/// Plays a row in a thread of its own, so that what breaks in it bears its name.
fn played(row: &'static Row) -> Seen {
    let session = thread::Builder::new().name(row.option.into()).spawn(move || play::play(row)).unwrap();
    session.join().unwrap_or_default()
}

/// The options and variables a row is about, each without its value.
fn about(row: &'static Row) -> impl Iterator<Item = String> {
    row.option.split(", ").map(|name| name.split(' ').next().unwrap_or_default().to_owned())
}

/// The name a variable has in these sessions.
fn expanded(name: &str) -> String {
    name.replace("${PROTO}", "X").replace(":name", ":elsewhere.example")
}
