//! The words of a command line: options, then operands, and the options that every program has.

use std::ffi::OsString;

use lexopt::prelude::*;

use super::values::{Argument, usage};
use crate::message::Error;

/// What was found.
pub(super) enum Words {
    /// `--help`.
    Help,
    /// `--version`.
    Version,
    /// Options were taken one by one.
    Given {
        /// From the first word on that is no option.
        operands: Vec<OsString>,
        /// With `--check`: all the words but those that only a check has, or has otherwise.
        check: Option<Vec<OsString>>,
    },
}

/// Reads the words, and has each option taken. Those `of_a_check` are left out of what a check tries.
pub(super) fn read(
    args: impl IntoIterator<Item = OsString>,
    synopsis: &'static str,
    of_a_check: &[&str],
    take: &mut dyn FnMut(&mut Argument<'_>) -> Result<(), Error>,
) -> Result<Words, Error> {
    let wrong = |why: lexopt::Error| usage(&why, synopsis);
    let mut words: Vec<OsString> = args.into_iter().collect();
    let mut parser = lexopt::Parser::from_args(words.clone());
    let mut operands = Vec::new();
    let mut check = false;
    while let Some(argument) = parser.next().map_err(wrong)? {
        let option = match argument {
            Long("help") => return Ok(Words::Help),
            Long("version") => return Ok(Words::Version),
            Long(name) => format!("--{name}"),
            Short(letter) => format!("-{letter}"),
            Value(first) => {
                operands.push(first);
                operands.extend(parser.raw_args().map_err(wrong)?);
                break;
            }
        };
        match option.as_str() {
            "--check" => check = true,
            _ => take(&mut Argument { option: &option, parser: &mut parser, synopsis })?,
        }
        if of_a_check.contains(&option.as_str()) {
            leave_out(&mut words, &option, parser.raw_args().map_err(wrong)?.as_slice().len());
        }
    }
    Ok(Words::Given { operands, check: check.then_some(words) })
}

/// Takes an option out, and its value if that is a word of its own, that has so many words behind it. Others of its name
/// may be an option's value, or prog's.
fn leave_out(words: &mut Vec<OsString>, option: &str, behind: usize) {
    let Some(last) = words.len().checked_sub(behind + 1) else { return };
    let alone = words.get(last).is_some_and(|word| word.as_encoded_bytes().starts_with(option.as_bytes()));
    words.drain(last.saturating_sub(usize::from(!alone))..=last);
}
