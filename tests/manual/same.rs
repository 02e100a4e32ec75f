//! Two sets that must be the same, and in what they differ.

use std::collections::BTreeSet;
use std::fmt::Debug;

/// Each set with what it is called in a sentence.
///
/// # Panics
/// If they differ; the message says what is missing where, and nothing of what they share.
#[track_caller]
pub(crate) fn assert_same<T: Debug + Ord>(one: (&str, &BTreeSet<T>), other: (&str, &BTreeSet<T>)) {
    let missing = [(one, other), (other, one)].map(|((_, has), (name, lacks))| {
        let missing: Vec<String> = has.difference(lacks).map(|item| format!("\n  {item:?}")).collect();
        if missing.is_empty() { String::new() } else { format!("\nmissing in {name}:{}", missing.concat()) }
    });
    assert!(missing.concat().is_empty(), "{} and {} are not the same{}", one.0, other.0, missing.concat());
}
