//! Plays the corpus of tests/dialogues over real descriptors with real TLS, in whole lines and in one-byte pieces.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]

mod play;
mod support;

#[path = "play/wire.rs"]
mod wire;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use play::way::MODES;
use play::{Dialogue, Event, Step, corpus};
use wire::{Cut, Way};

/// What the pure session alone plays, and why.
const NOT_ON_THE_WIRE: &[(&str, &str)] = &[
    ("smtp/a_fresh_prog_that_is_silent_is_a_temporary_failure", SILENT),
    ("smtp/a_replay_that_is_not_answered_ends_the_session", SILENT),
    ("smtp/require_tls_without_a_key_ends_at_starttls", NO_KEY),
];

const SILENT: &str = "a fresh server has FRESH_TIMEOUT, five minutes, which no option shortens";
const NO_KEY: &str = "with -r and no key the program says why and ends before there is a session";

/// Sessions at a time. They wait for each other more than they work.
const WORKERS: usize = 16;

/// Nobody reads more failures than these, and each may take its time.
const ENOUGH: usize = 6;

#[test]
fn every_dialogue_goes_as_written_on_the_wire() {
    play_corpus(Cut::Whole);
}

#[test]
fn every_dialogue_goes_the_same_on_the_wire_in_one_byte_pieces() {
    play_corpus(Cut::Bytes);
}

#[test]
fn what_is_not_played_on_the_wire_is_named() {
    let all = corpus();
    let unplayable: BTreeSet<_> = all.iter().filter(|dialogue| cannot_be_played(dialogue)).map(name).collect();
    assert_eq!(unplayable, NOT_ON_THE_WIRE.iter().map(|(name, _)| (*name).to_owned()).collect());
    let played: BTreeSet<_> = plays(&all, Cut::Whole).into_iter().map(|(dialogue, _)| name(dialogue)).collect();
    assert_eq!(played.len() + NOT_ON_THE_WIRE.len(), all.len());
    assert!(played.is_disjoint(&unplayable));
}

fn name(dialogue: &Dialogue) -> String {
    format!("{}/{}", dialogue.protocol, dialogue.name)
}

/// A limit passes that is not the deadline of `-r`, or there is neither a key nor a session without one.
fn cannot_be_played(dialogue: &Dialogue) -> bool {
    let tls = dialogue.steps.iter().position(|step| matches!(step.event, Event::Tls(_)));
    let waits_inside = tls.is_some_and(|tls| waits(&dialogue.steps[tls..]));
    waits_inside || (dialogue.options.strict && dialogue.options.no_key)
}

fn waits(steps: &[Step]) -> bool {
    steps.iter().any(|step| step.event == Event::TimePasses)
}

/// Every way to play what can be played; what waits for its deadline begins first.
fn plays<'a>(dialogues: &'a [Dialogue], cut: Cut) -> Vec<(&'a Dialogue, Way)> {
    let on_the_wire = |dialogue: &&Dialogue| NOT_ON_THE_WIRE.iter().all(|(named, _)| *named != name(dialogue));
    let ways = |dialogue: &'a Dialogue| {
        let modes = MODES.into_iter().filter(move |mode| dialogue.is_for(*mode));
        modes.flat_map(move |mode| {
            dialogue.failures().iter().map(move |failure| (dialogue, Way { mode, cut, failure: *failure }))
        })
    };
    let mut plays: Vec<_> = dialogues.iter().filter(on_the_wire).flat_map(ways).collect();
    plays.sort_by_key(|(dialogue, _)| !waits(&dialogue.steps));
    plays
}

fn play_corpus(cut: Cut) {
    let dialogues = corpus();
    let (plays, next, failures) = (plays(&dialogues, cut), AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some((dialogue, way)) = plays.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let played = wire::play(dialogue, *way);
                    let mut failures = failures.lock().unwrap();
                    failures.extend(played.err());
                    if failures.len() >= ENOUGH {
                        return;
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "of {} sessions these went wrong:\n{}", plays.len(), failures.join("\n"));
}
