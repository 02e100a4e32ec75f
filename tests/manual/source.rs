//! The source, as far as the tests ask: string literals and limits outside tests and comments.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// One file.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    /// String literals, but those of [`SKIPPED`] constants.
    pub(crate) literals: Vec<String>,
    /// Constants that are limits, with their values: `8192`, `30 s`, `500 ms`.
    pub(crate) limits: BTreeMap<String, String>,
}

/// The texts of `--help` and `--version`, and what is made of them.
const SKIPPED: &[&str] = &["HELP", "SYNOPSIS", "LIBRARY"];

/// Limits that are called neither MAX nor are times.
const LIMITS: &[&str] = &["READ_SIZE", "BULK_READ", "TLS_WRITE", "SPLICE_SIZE", "PIPE_SIZE", "WIDE_PIPE_SIZE"];

/// All files below these directories.
pub(crate) fn sources(directories: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    for directory in directories {
        walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut found);
    }
    assert!(!found.is_empty());
    found
}

fn walk(directory: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a file");
            let mut source = Source { path, literals: Vec::new(), limits: BTreeMap::new() };
            source.take(text.parse().expect("Rust"));
            found.push(source);
        }
    }
}

impl Source {
    fn take(&mut self, stream: TokenStream) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let mut at = 0;
        let mut of_tests = false;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                // Doc comments are attributes, too.
                TokenTree::Punct(hash) if hash.as_char() == '#' => {
                    at += usize::from(matches!(tokens.get(at), Some(TokenTree::Punct(_))));
                    if let Some(TokenTree::Group(group)) = tokens.get(at) {
                        of_tests |= group.stream().to_string() == "cfg (test)";
                        at += 1;
                    }
                }
                TokenTree::Ident(word) if word == "const" => {
                    let end = tokens[at..].iter().position(is_semicolon).map_or(tokens.len(), |end| at + end);
                    at = self.take_constant(&tokens[at..end]).map_or(at, |()| end);
                }
                TokenTree::Group(group) if of_tests && group.delimiter() == Delimiter::Brace => of_tests = false,
                TokenTree::Group(group) => self.take(group.stream()),
                TokenTree::Literal(literal) => self.literals.extend(text_of(&literal.to_string())),
                _ => {}
            }
        }
    }

    /// `NAME: TYPE = value`, if that is a limit or a constant to skip.
    fn take_constant(&mut self, tokens: &[TokenTree]) -> Option<()> {
        let name = tokens.first()?.to_string();
        if SKIPPED.contains(&name.as_str()) {
            return Some(());
        }
        let words: Vec<String> = tokens.iter().map(ToString::to_string).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let value = match words.as_slice() {
            [_, ":", "Duration", "=", "Duration", ":", ":", "from_secs", seconds] => {
                format!("{} s", product(seconds.trim_matches(['(', ')']))?)
            }
            [_, ":", "Duration", "=", "Duration", ":", ":", "from_millis", milliseconds] => {
                format!("{} ms", product(milliseconds.trim_matches(['(', ')']))?)
            }
            [name, ":", _, "=", value @ ..] if name.starts_with("MAX_") || LIMITS.contains(name) => {
                product(&value.concat()).unwrap_or_else(|| panic!("{name} is no product of numbers")).to_string()
            }
            _ => return None,
        };
        self.limits.insert(name, value);
        Some(())
    }
}

fn is_semicolon(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(end) if end.as_char() == ';')
}

fn product(text: &str) -> Option<u64> {
    text.split('*').map(|factor| factor.trim().replace('_', "").parse::<u64>().ok()).product()
}

/// What a string literal stands for. Bytes are for the network, not for an administrator.
fn text_of(literal: &str) -> Option<String> {
    let raw = literal.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::new();
    let mut chars = raw.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some('\n')) => while chars.next_if(|c| c.is_whitespace()).is_some() {},
            ('\\', Some('n')) => text.push(chars.next().map_or(' ', |_| '\n')),
            ('\\', _) => text.extend(chars.next()),
            _ => text.push(c),
        }
    }
    Some(text)
}
