//! A crate that does something dangerous, or that may have to be replaced, has one door: Cargo.toml names the file, and
//! no other file of the program knows the crate. A file's folder is behind the same door.

#![allow(clippy::expect_used, reason = "a test that fails panics")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};

/// Crates that any file may use: system calls in std's manner, and what the program is about.
const EVERYWHERE: [&str; 2] = ["rustix", "starttls-protocols"];

#[test]
fn a_dependency_has_a_door_in_cargo_toml_or_is_for_everywhere() {
    let without: BTreeSet<String> =
        dependencies().into_iter().filter(|(_, doors)| doors.is_empty()).map(|(name, _)| name).collect();
    assert_eq!(without, EVERYWHERE.map(str::to_owned).into());
}

#[test]
fn a_dependency_is_used_behind_its_doors_and_behind_each_of_them() {
    let sources = sources();
    for (name, doors) in dependencies().into_iter().filter(|(_, doors)| !doors.is_empty()) {
        let path = format!("{}::", name.replace('-', "_"));
        let users: Vec<&PathBuf> =
            sources.iter().filter(|(_, words)| words.contains(&path)).map(|(file, _)| file).collect();
        for user in &users {
            assert!(doors.iter().any(|door| is_behind(user, door)), "{} knows {name}: see Cargo.toml", user.display());
        }
        for door in &doors {
            assert!(users.iter().any(|user| is_behind(user, door)), "{name} has left its door, {door}");
        }
    }
}

#[test]
fn unsafe_code_is_in_one_file() {
    let allows: Vec<PathBuf> =
        sources().into_iter().filter(|(_, words)| words.contains("unsafe_code")).map(|(path, _)| path).collect();
    assert_eq!(allows, [Path::new("src/raw.rs")]);
}

/// Every dependency of the program with its doors, as the comments above it have them: "the door is PATH", or "the doors
/// are PATH and PATH".
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let (_, section) = manifest.split_once("\n[dependencies]\n").expect("dependencies");
    let mut found = BTreeMap::new();
    let mut comment = String::new();
    for line in section.lines().take_while(|line| !line.starts_with('[')) {
        match (line.strip_prefix('#'), line.split_once(" = ")) {
            (Some(words), _) => comment.push_str(words),
            (None, Some((name, _))) => {
                found.insert(name.to_owned(), doors(&std::mem::take(&mut comment)));
            }
            (None, None) => comment.clear(),
        }
    }
    assert!(found.contains_key("libc"), "a section of dependencies");
    found
}

fn doors(comment: &str) -> Vec<String> {
    let named = ["the door is ", "the doors are "].into_iter().find_map(|words| comment.split_once(words));
    let words = named.map_or("", |(_, named)| named).split(|c: char| c.is_whitespace() || c == ',');
    words.filter(|word| word.starts_with("src/")).map(str::to_owned).collect()
}

/// `src/tls.rs` is the door to itself and to all in `src/tls/`.
fn is_behind(path: &Path, door: &str) -> bool {
    path == Path::new(door) || path.starts_with(Path::new(door).with_extension(""))
}

/// Every source file of the program with the words in its code, a crate's or module's with `::`. Comments and strings are
/// none.
fn sources() -> BTreeMap<PathBuf, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a file");
                let mut words = BTreeSet::new();
                collect(text.parse().expect("Rust"), &mut words);
                found.insert(path.strip_prefix(root()).expect("below the root").to_owned(), words);
            }
        }
    }
    found
}

fn collect(tokens: TokenStream, words: &mut BTreeSet<String>) {
    let is = |token: Option<&TokenTree>, text: &str| token.is_some_and(|token| token.to_string() == text);
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => collect(group.stream(), words),
            TokenTree::Ident(word) => {
                let begins_a_path = is(tokens.get(at + 1), ":") && is(tokens.get(at + 2), ":");
                let is_used = at.checked_sub(1).is_some_and(|before| is(tokens.get(before), "use"));
                words.insert(if begins_a_path || is_used { format!("{word}::") } else { word.to_string() });
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
