//! tlsify: one loopback session for each row of the contract's table: what is given, what the plaintext side heard, what
//! the server saw, how it ended. The table is printed as Markdown.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]
#![allow(clippy::print_stdout, reason = "the table, for who runs it with --nocapture")]

mod support;

#[path = "manual/help.rs"]
mod help;
#[path = "tlsify/play.rs"]
mod play;
#[path = "tlsify/rows.rs"]
mod rows;
#[path = "manual/same.rs"]
mod same;

use std::thread;

use help::options_of;
use play::{Seen, Serves};
use rows::ROWS;
use same::assert_same;
use support::caller::TLSIFY;

/// An option or variable, a session with it, and what everybody saw.
struct Row {
    /// Options and variables that the row is about.
    option: &'static str,
    /// The environment, the options, the operands and prog. Names in braces are [`play::Place`]'s.
    given: &'static str,
    /// What the server does.
    serves: Serves,
    /// What the plaintext side says, line by line.
    says: &'static str,
    /// What it heard.
    heard: &'static str,
    /// What the server saw.
    server: &'static str,
    /// The last line over the control channel.
    told: &'static str,
    /// The exit status, and standard error. Three dots at the end of any of these stand for what a library has to say.
    end: &'static str,
}

#[test]
fn every_option_of_tlsify_does_in_a_session_what_its_row_says() {
    let played: Vec<_> = ROWS.chunks(ROWS.len().div_ceil(4)).map(|rows| thread::spawn(|| play_all(rows))).collect();
    let seen: Vec<Seen> = played.into_iter().flat_map(|rows| rows.join().unwrap()).collect();
    println!(
        "| option | given | the plaintext side heard | the server saw | control channel | exit status, messages |"
    );
    println!("|---|---|---|---|---|---|");
    let mut wrong = String::new();
    for (row, seen) in ROWS.iter().zip(&seen) {
        let cells = [row.option, row.given, &seen.heard, &seen.server, &seen.told, &seen.end];
        println!("| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
        let expected = [row.heard, row.server, row.told, row.end];
        for (saw, expected) in [&seen.heard, &seen.server, &seen.told, &seen.end].into_iter().zip(expected) {
            let is = |one: &str| one.strip_suffix("...").map_or(saw == one, |start| saw.starts_with(start));
            if !is(expected) && !expected.split(" or ").any(is) {
                wrong += &format!("{} ({})\n  saw      {saw}\n  expected {expected}\n", row.option, row.given);
            }
        }
    }
    assert!(wrong.is_empty(), "not as the table says:\n{wrong}");
}

#[test]
fn every_option_of_tlsify_has_a_row_that_gives_it() {
    let mut wanted = options_of(TLSIFY);
    wanted.retain(|option| !["--help", "--version"].contains(&option.as_str()));
    wanted.extend(["TLS_UID", "TLS_GID"].map(str::to_owned));
    assert_same(("the rows", &ROWS.iter().flat_map(about).collect()), ("--help", &wanted));
    for row in ROWS {
        for name in about(row) {
            assert!(row.given.split([' ', '=']).any(|word| word == name), "{} does not give {name}", row.given);
        }
    }
}

fn play_all(rows: &'static [Row]) -> Vec<Seen> {
    let played = |row: &'static Row| {
        let session = thread::Builder::new().name(row.option.into()).spawn(move || play::play(row)).unwrap();
        session.join().unwrap_or_default()
    };
    rows.iter().map(played).collect()
}

/// The options and variables a row is about, each without its value.
fn about(row: &Row) -> impl Iterator<Item = String> {
    row.option.split(", ").map(|name| name.split(' ').next().unwrap_or_default().to_owned())
}
