//! What `--help` prints, as far as the tests ask.

use std::collections::BTreeSet;
use std::process::Command;

/// The options of a program that have a line of their own.
pub(crate) fn options_of(program: &str) -> BTreeSet<String> {
    let help = Command::new(program).arg("--help").output().expect("it runs");
    let help = String::from_utf8(help.stdout).expect("UTF-8");
    let of_line = |line: &str| {
        // The options stand before two spaces; what follows is prose.
        let head = line.trim_start().split("  ").next().unwrap_or_default().to_owned();
        let options = head.split([' ', ',']).map(str::to_owned).filter(|word| is_option(word));
        options.collect::<Vec<_>>()
    };
    help.lines().filter(|line| line.trim_start().starts_with('-') && line.starts_with(' ')).flat_map(of_line).collect()
}

/// Whether it is `--name` or `-n`.
pub(crate) fn is_option(word: &str) -> bool {
    let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-').filter(|letter| letter.len() == 1));
    name.is_some_and(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'))
}
