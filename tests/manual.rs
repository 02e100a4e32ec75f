//! The manual says what the program does: options, variables, messages and limits are read off the source and the
//! `--help` text, and must stand in the manual; and what stands there must be in the source.

#![allow(clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

#[path = "manual/help.rs"]
mod help;
#[path = "manual/page.rs"]
mod page;
#[path = "manual/same.rs"]
mod same;
#[path = "manual/source.rs"]
mod source;
#[path = "manual/structure.rs"]
mod structure;

use help::{is_option, options_of};
use page::Page;
use same::assert_same;
use source::{Source, sources};

/// Every option of the contract.
const CONTRACT: &[&str] = &[
    "--accept-proxy",
    "--backend-ca",
    "--backend-cert",
    "--backend-key",
    "--backend-name",
    "--backend-pin",
    "--backend-tls",
    "--check",
    "--connect",
    "--help",
    "--implicit",
    "--no-advertise",
    "--no-replay",
    "--protocol",
    "--proxy-inside",
    "--proxy-protocol",
    "--require-tls",
    "--respawn",
    "--sandbox",
    "--tls-deadline",
    "--tls-min",
    "--ucspi-tls",
    "--version",
    "-J",
    "-K",
    "-S",
    "-Y",
    "-Z",
    "-j",
    "-k",
    "-p",
    "-r",
    "-s",
    "-v",
    "-y",
    "-z",
];

/// Of every program with options.
const OF_ANY_PROGRAM: [&str; 3] = ["--check", "--help", "--version"];

/// Sources of tlsify alone; their messages and limits are in its own page.
const OF_TLSIFY: &[&str] = &[
    "src/bin/tlsify.rs",
    "src/check/call.rs",
    "src/cli/tlsify.rs",
    "src/keeper/client_prog.rs",
    "src/relay/call.rs",
    "src/relay/control.rs",
    "src/tls/shown.rs",
];

/// In the contract and the manual, and not in the program yet. Whoever builds one takes it out of here.
const PENDING: &[&str] = &[];

/// Literals with a space in them that nobody is told.
const NO_MESSAGES: &[&str] = &[
    " (os error",
    // A reason that no message shows.
    "by the UCSPI-TLS server",
    // of compile_error!
    "TLS is done with nothing: leave the default features, or add `--features graviola`",
    "TLS is done with one library, not two: add `--no-default-features` to `--features graviola`",
    // of debug_assert!
    "both addresses are of one family, and the names are short",
    "there is nothing in it that could be wrong",
];

/// Values of SSL_CLIENT_VERIFY behind `FAILED:`.
const VERDICTS: &str = "src/tls/client_cert.rs";

#[test]
fn options_are_those_of_the_help_the_manual_and_the_contract() {
    let contract: BTreeSet<String> = CONTRACT.iter().map(|option| option.to_string()).collect();
    let pending = PENDING.iter().map(|option| option.to_string()).collect();
    let built: BTreeSet<String> = contract.difference(&pending).cloned().collect();
    assert_same(("the manual", &main_page().options()), ("the contract", &contract));
    let of_the_help = options_of(env!("CARGO_BIN_EXE_starttls-wrapper"));
    assert_same(("--help", &of_the_help), ("the contract", &built));
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for source in program_sources().iter().filter(|source| source.path.ends_with("cli.rs")) {
        taken.extend(source.literals.iter().filter(|literal| is_option(literal)).cloned());
    }
    taken.extend(OF_ANY_PROGRAM.map(str::to_owned));
    assert_same(("the command line", &taken), ("the contract", &built));
}

#[test]
fn options_of_tlsify_are_those_of_its_help_and_its_manual() {
    let of_the_help = options_of(env!("CARGO_BIN_EXE_tlsify"));
    assert_same(("the manual", &tlsify_page().options()), ("--help", &of_the_help));
    let command_line = sources(&["src"]).into_iter().find(|source| source.path.ends_with("cli/tlsify.rs"));
    let literals = command_line.expect("the command line").literals;
    let mut taken: BTreeSet<String> = literals.into_iter().filter(|literal| is_option(literal)).collect();
    taken.extend(OF_ANY_PROGRAM.map(str::to_owned));
    assert_same(("the command line", &taken), ("--help", &of_the_help));
}

#[test]
fn every_variable_of_the_source_is_in_the_manual() {
    let mut documented = main_page().variables();
    documented.extend(Page::read(&root().join("man/proxy-env.8")).variables());
    documented.extend(tlsify_page().variables());
    for source in program_sources() {
        for literal in &source.literals {
            let name = literal.split(['=', ':']).next().unwrap_or_default();
            let is_variable = name.contains('_') || name.ends_with("FILE") || name.ends_with("DIR");
            let is_spelt_so = name.chars().all(|c| c.is_ascii_uppercase() || c == '_') && !name.starts_with("CARGO_");
            if is_variable && is_spelt_so && name.len() > 4 {
                assert!(documented.contains(name), "{name} of {} is not in ENVIRONMENT", source.path.display());
            }
        }
    }
}

#[test]
fn every_message_of_the_source_is_in_the_manual() {
    let mut missing = String::new();
    for source in sources(&["src"]) {
        if source.path.ends_with(VERDICTS) {
            continue;
        }
        let pages = pages_of(&source);
        let units: Vec<String> = pages.iter().flat_map(|page| page.units("DIAGNOSTICS")).collect();
        for literal in source.literals.iter().filter(|literal| is_sentence(literal)) {
            if !units.iter().any(|unit| holds(unit, literal)) {
                missing += &format!("{}: {literal}\n", source.path.display());
            }
        }
    }
    assert!(missing.is_empty(), "not in DIAGNOSTICS:\n{missing}");
}

#[test]
fn every_message_of_the_manual_is_in_the_source() {
    let sources = sources(&["src"]);
    let literals: Vec<&str> = sources.iter().flat_map(|source| &source.literals).map(String::as_str).collect();
    let words: BTreeSet<&str> = literals.iter().flat_map(|literal| words(literal)).collect();
    let heads = [main_page(), tlsify_page()].map(|page| page.heads("DIAGNOSTICS"));
    for head in heads.concat() {
        for piece in pieces(&head) {
            let whole = literals.iter().any(|literal| literal.contains(&piece));
            let composed = piece.starts_with("unable to ") && self::words(&piece).all(|word| words.contains(word));
            assert!(whole || composed, "the program does not say {piece:?} (of {head:?})");
        }
    }
}

#[test]
fn limits_are_those_of_the_source() {
    let limits = sources(&["src", "protocols"]).into_iter().flat_map(|source| source.limits).collect::<BTreeSet<_>>();
    let documented = &main_page().limits() | &tlsify_page().limits();
    assert_same(("LIMITS", &documented), ("the constants of the source", &limits));
}

#[test]
fn mandoc_finds_nothing_to_say() {
    let place = root().join("man");
    let pages = fs::read_dir(&place).expect("man/").map(|entry| entry.expect("an entry").file_name());
    // From there, so that the pages find each other.
    let lint = Command::new("mandoc").args(["-T", "lint"]).args(pages).current_dir(&place).output();
    let lint = lint.expect("mandoc is installed (sh tests/run installs it)");
    let said = String::from_utf8_lossy(&lint.stdout);
    assert_eq!(said, "");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn main_page() -> Page {
    Page::read(&root().join("man/starttls-wrapper.8"))
}

fn tlsify_page() -> Page {
    Page::read(&root().join("man/tlsify.1"))
}

/// The sources of starttls-wrapper itself; a second program has its own page.
fn program_sources() -> Vec<Source> {
    sources(&["src"]).into_iter().filter(|source| !source.path.starts_with(root().join("src/bin"))).collect()
}

/// tlsify's page tells what is its own, and refers to the main one for the rest.
fn pages_of(source: &Source) -> Vec<Page> {
    if OF_TLSIFY.iter().any(|path| source.path == root().join(path)) {
        return vec![tlsify_page(), main_page()];
    }
    vec![page_of(source)]
}

/// `src/bin/name.rs` or `src/bin/name/...` has the page `man/name.8`.
fn page_of(source: &Source) -> Page {
    let Ok(rest) = source.path.strip_prefix(root().join("src/bin")) else { return main_page() };
    let name = rest.iter().next().and_then(|name| Path::new(name).file_stem()?.to_str()).expect("a program's name");
    Page::read(&root().join(format!("man/{name}.8")))
}

/// Two words at least.
fn is_sentence(literal: &str) -> bool {
    let of_letters = |word: &&str| word.chars().filter(char::is_ascii_alphabetic).count() > 1;
    let spoken: String = pieces(literal).join(" ");
    // Labels of PEM are shouted; nobody is told anything so.
    spoken.contains(|c: char| c.is_ascii_lowercase())
        && spoken.split_ascii_whitespace().filter(of_letters).count() > 1
        && !NO_MESSAGES.contains(&literal)
}

/// Whether the fixed parts of a message stand in this part of the manual, in their order.
fn holds(unit: &str, literal: &str) -> bool {
    let mut rest = unit;
    pieces(literal).iter().all(|piece| {
        let found = rest.find(piece.as_str());
        rest = found.map_or("", |at| &rest[at + piece.len()..]);
        found.is_some()
    })
}

/// The fixed parts of a message: what stands between `{...}` in the source, or `<...>` in the manual.
fn pieces(message: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut inside = false;
    for c in message.chars() {
        match c {
            '{' | '<' => {
                inside = true;
                pieces.push(String::new());
            }
            '}' | '>' => inside = false,
            _ if inside => {}
            _ => pieces.last_mut().expect("there is one").push(c),
        }
    }
    pieces.iter().map(|piece| piece.trim_matches([' ', ':']).to_owned()).filter(|piece| piece.len() > 1).collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', ':', ',', '{', '}'])
}
