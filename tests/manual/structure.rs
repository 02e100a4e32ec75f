//! doc/structure.md and starttls-protocols(7) are true to the source: the rooms, which of them uses which, and the row
//! of a protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::root;
use super::same::assert_same;

/// The rooms that each room uses.
type Uses = BTreeMap<String, BTreeSet<String>>;

#[test]
fn every_room_is_on_the_page_with_those_it_uses() {
    for (heading, directory) in [("## The rooms of protocols/", "protocols"), ("## The rooms of src/", "src")] {
        let rooms = rooms(directory);
        let mut on_the_page = BTreeSet::new();
        for (names, uses) in rows(heading) {
            let mut real: BTreeSet<String> = names.iter().flat_map(|name| rooms[name].clone()).collect();
            real.retain(|room| !names.contains(room));
            // lib.rs knows the protocols, each for its row.
            if !names.contains("lib") {
                let page = format!("what {names:?} of {directory} use on the page");
                assert_same((&page, &uses), ("what they use", &real));
            }
            on_the_page.extend(names);
        }
        assert_same(("the page", &on_the_page), (directory, &rooms.into_keys().collect()));
    }
}

#[test]
fn no_room_of_the_program_uses_one_that_stands_below_it() {
    let mut above = BTreeSet::new();
    for (names, uses) in rows("## The rooms of src/") {
        assert!(uses.is_subset(&above), "{names:?} stands above one of {uses:?}");
        above.extend(names);
    }
}

#[test]
fn the_row_of_a_protocol_has_the_columns_that_the_manual_tells() {
    let source = fs::read_to_string(root().join("protocols/lib.rs")).expect("the table");
    let row = source.split("pub struct Protocol {").nth(1).and_then(|rest| rest.split("\n}").next()).expect("a row");
    let columns = row.lines().filter_map(|line| Some(line.trim().strip_prefix("pub ")?.split_once(':')?.0.to_owned()));
    let page = fs::read_to_string(root().join("man/starttls-protocols.7")).expect("the manual");
    let table = page.split(".Ss The table").nth(1).and_then(|rest| rest.split(".Ss ").next()).expect("its table");
    let told = table.lines().filter_map(|line| line.strip_prefix(".It Li "));
    let told = told.filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase())).map(str::to_owned);
    assert_eq!(told.collect::<Vec<_>>(), columns.collect::<Vec<_>>(), "the columns, in their order");
}

/// The rows of the table under this heading: the rooms of the first column, and of the last.
fn rows(heading: &str) -> Vec<(BTreeSet<String>, BTreeSet<String>)> {
    let page = fs::read_to_string(root().join("doc/structure.md")).expect("the page");
    let section = page.split(heading).nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a heading");
    let cells = section.lines().filter(|line| line.starts_with("| `")).map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
        (quoted(cells[0]), quoted(cells[cells.len() - 1]))
    });
    cells.collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The files of a crate's root, but what is no room of src/: the list of the others, and the program's few lines.
fn rooms(directory: &str) -> Uses {
    let root = root().join(directory);
    let entries = fs::read_dir(&root).expect("a directory").map(|entry| entry.expect("an entry").path());
    let files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect();
    let name = |path: &Path| path.file_stem().and_then(|name| name.to_str()).expect("a name").to_owned();
    let mut rooms = Uses::new();
    for file in files {
        let mut words = words_behind_crate(&file);
        collect(&file.with_extension(""), &mut words);
        rooms.insert(name(&file), words);
    }
    if directory == "src" {
        rooms.retain(|room, _| room != "lib" && room != "main");
    }
    let names: BTreeSet<String> = rooms.keys().cloned().collect();
    for uses in rooms.values_mut() {
        // What stands at the crate's root is lib.rs's.
        let room = |word: &String| if names.contains(word) { word.clone() } else { "lib".to_owned() };
        *uses = uses.iter().map(room).collect();
    }
    rooms
}

fn collect(directory: &Path, words: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, words);
        } else {
            words.extend(words_behind_crate(&path));
        }
    }
}

/// What follows `crate::` outside comments and tests, up to the next `::`.
fn words_behind_crate(file: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(file).expect("a file");
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join(" ");
    let mut words = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => words.extend(list.split('}').next().unwrap_or_default().split(',').map(first_word)),
            None => words.extend([first_word(rest)]),
        }
    }
    words.remove("");
    words
}

fn first_word(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}
