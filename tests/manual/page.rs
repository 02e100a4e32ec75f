//! A manual page in mdoc, as far as the tests ask.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// One page: its sections, each with its lines.
pub(crate) struct Page(BTreeMap<String, Vec<String>>);

impl Page {
    /// Reads a page.
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        let mut sections: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut name = String::new();
        for line in text.lines() {
            match line.strip_prefix(".Sh ") {
                Some(section) => name = section.to_owned(),
                None => sections.entry(name.clone()).or_default().push(unescape(line)),
            }
        }
        Self(sections)
    }

    /// The options that have an item of their own.
    pub(crate) fn options(&self) -> BTreeSet<String> {
        let mut options = BTreeSet::new();
        for item in self.items("DESCRIPTION") {
            let mut words = item.split(' ');
            while let Some(word) = words.next() {
                if word == "Fl" {
                    options.insert(format!("-{}", words.next().expect("a flag")));
                }
            }
        }
        options
    }

    /// The environment variables that have an item.
    pub(crate) fn variables(&self) -> BTreeSet<String> {
        let items = self.items("ENVIRONMENT");
        let words = items.iter().flat_map(|item| item.split(' '));
        words.filter(|word| !["Ev", ","].contains(word)).map(str::to_owned).collect()
    }

    /// The limits, with their values as written: `8192 bytes`, `500 ms`, `10`.
    pub(crate) fn limits(&self) -> BTreeSet<(String, String)> {
        let limit = |item: String| {
            let rest = item.strip_prefix("Dv ")?;
            rest.split_once(" Pq ").map(|(name, value)| (name.to_owned(), value.replace(" bytes", "")))
        };
        self.items("LIMITS").into_iter().filter_map(limit).collect()
    }

    /// The items of a section that are no macros, as in lists of messages.
    pub(crate) fn heads(&self, section: &str) -> Vec<String> {
        let is_macro = |item: &String| item.split(' ').next().is_some_and(|word| ["Cm", "Ql", "Dv"].contains(&word));
        self.items(section).into_iter().filter(|item| !item.is_empty() && !is_macro(item)).collect()
    }

    /// Every item's head, and every run of text.
    pub(crate) fn units(&self, section: &str) -> Vec<String> {
        let mut units = vec![String::new()];
        for line in &self.0[section] {
            match (line.strip_prefix(".It"), line.strip_prefix(".Dl ")) {
                (Some(head), _) => units.extend([head.trim().to_owned(), String::new()]),
                (None, Some(literal)) => *units.last_mut().expect("there is one") += &format!(" {literal}"),
                (None, None) => *units.last_mut().expect("there is one") += &format!(" {line}"),
            }
        }
        units
    }

    fn items(&self, section: &str) -> Vec<String> {
        let lines = &self.0[section];
        lines.iter().filter_map(|line| line.strip_prefix(".It")).map(|item| item.trim().to_owned()).collect()
    }
}

fn unescape(line: &str) -> String {
    line.replace("\\-", "-").replace("\\&", "").replace("\\(dq", "\"").replace("\\e", "\\")
}
