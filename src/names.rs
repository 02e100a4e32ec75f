//! Which key and certificates are shown for which server name (SNI): KEYFILE and CERTFILE, KEYFILE:name and
//! CERTFILE:name, as s6-tlsd has them.
//!
//! The name a client asks for comes from the network. It is looked up among the names the administrator gave, and
//! used for nothing else: no path and no variable is ever made of it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::keys::Files;
use crate::message::Error;

/// The longest server name that is looked up; DNS has no longer ones (RFC 1035 section 2.3.4).
pub const MAX_NAME: usize = 253;

/// What heed is paid to the server name (`-k`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// 0: none; there is one identity.
    Ignored,
    /// 1: a name that is known gets its own identity, any other the default one.
    #[default]
    Preferred,
    /// 2: a client that names no known name is turned away.
    Required,
}

/// The identities to choose from.
#[derive(Clone, Debug, Default)]
pub struct Names {
    level: Level,
    default: Option<Files>,
    named: BTreeMap<String, Files>,
    /// What the default identity wants, if there is none.
    missing: &'static str,
    /// A name of which only the key or only the certificate is set.
    unpaired: Option<String>,
}

impl Level {
    /// The number behind `-k`; as in s6-tlsd there is nothing above 2.
    pub fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Ignored,
            1 => Self::Preferred,
            _ => Self::Required,
        }
    }
}

impl Names {
    /// Finds the names among the variables.
    pub fn gather(level: Level, variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut keys = BTreeMap::new();
        let mut chains = BTreeMap::new();
        for (variable, value) in variables {
            if let Some(name) = name_of(&variable, b"KEYFILE") {
                keys.insert(name, value);
            } else if let Some(name) = name_of(&variable, b"CERTFILE") {
                chains.insert(name, value);
            }
        }
        let missing = match (keys.contains_key(""), chains.contains_key("")) {
            (true, _) => "CERTFILE is not set: STARTTLS cannot be offered",
            (_, true) => "KEYFILE is not set: STARTTLS cannot be offered",
            _ => "KEYFILE and CERTFILE are not set: STARTTLS cannot be offered",
        };
        let mut names = Self { level, missing, ..Default::default() };
        for (name, key) in keys {
            match chains.remove(&name) {
                Some(chain) if name.is_empty() => names.default = Some(Files { key: key.into(), chain: chain.into() }),
                Some(chain) => {
                    names.named.insert(name, Files { key: key.into(), chain: chain.into() });
                }
                None => names.unpaired = Some(name),
            }
        }
        names.unpaired = names.unpaired.or(chains.into_keys().next()).filter(|name| !name.is_empty());
        match level {
            Level::Ignored => (names.named, names.unpaired) = Default::default(),
            Level::Preferred => {}
            Level::Required => names.default = None,
        }
        names
    }

    /// Whether there is an identity to show, and every file can be opened. Nothing is read.
    ///
    /// # Errors
    /// [`Error::TlsConfig`] names the variable, or the file and the reason.
    pub fn check(&self) -> Result<(), Error> {
        if let Some(name) = &self.unpaired {
            let what = format!("KEYFILE:{name} and CERTFILE:{name} belong together: set both");
            return Err(Error::TlsConfig(what));
        }
        if self.default.is_none() && self.level != Level::Required {
            return Err(Error::TlsConfig(self.missing.into()));
        }
        if self.default.is_none() && self.named.is_empty() {
            return Err(Error::TlsConfig("no KEYFILE:name is set, which -k 2 wants".into()));
        }
        self.default.iter().chain(self.named.values()).try_for_each(Files::check)
    }

    /// Every identity, with the name it is for.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Files)> {
        let default = self.default.iter().map(|files| ("any other name", files));
        self.named.iter().map(|(name, files)| (name.as_str(), files)).chain(default)
    }

    /// A name that a client may ask for.
    pub fn example(&self) -> String {
        let named = self.named.keys().next().filter(|_| self.default.is_none());
        named.map_or_else(|| "localhost".into(), |name| name.replace('*', "any"))
    }

    /// The identity for a client that names no known name, if such a client is served at all.
    pub fn default_files(&self) -> Option<&Files> {
        self.default.as_ref()
    }

    /// The identity of this server name: its own, or that of `*.` and all but its first label. A `*` alone before a
    /// top-level domain stands for nothing, as in s6-tlsd.
    pub fn find(&self, name: &str) -> Option<&Files> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.len() > MAX_NAME || !name.bytes().all(known) {
            return None;
        }
        let name = name.to_ascii_lowercase();
        let any = name.split_once('.').filter(|(_, rest)| has_two_labels(rest)).map(|(_, rest)| format!("*.{rest}"));
        self.named.get(&name).or_else(|| self.named.get(&any?))
    }
}

fn has_two_labels(name: &str) -> bool {
    name.split_once('.').is_some_and(|(first, rest)| !first.is_empty() && !rest.is_empty())
}

/// The name in `KEYFILE:name`, in lower case; of `KEYFILE` it is empty.
fn name_of(variable: &OsStr, prefix: &[u8]) -> Option<String> {
    match variable.as_bytes().strip_prefix(prefix)? {
        [] => Some(String::new()),
        [b':', name @ ..] if !name.is_empty() => Some(String::from_utf8_lossy(name).to_ascii_lowercase()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(level: Level, names: &[&str]) -> Names {
        let pairs = names.iter().flat_map(|name| {
            let colon = if name.is_empty() { "" } else { ":" };
            [
                (format!("KEYFILE{colon}{name}"), format!("key of {name}")),
                (format!("CERTFILE{colon}{name}"), "c".into()),
            ]
        });
        Names::gather(level, pairs.map(|(name, value)| (name.into(), value.into())))
    }

    fn found(names: &Names, name: &str) -> Option<String> {
        names.find(name).map(|files| files.key.display().to_string())
    }

    #[test]
    fn a_name_is_found_in_any_case_and_before_the_star() {
        let names = names(Level::Preferred, &["", "a.Example.org", "*.example.org", "*.sub.example.org"]);
        for (asked, answer) in [
            ("a.example.org", Some("key of a.Example.org")),
            ("A.EXAMPLE.ORG", Some("key of a.Example.org")),
            ("b.example.org", Some("key of *.example.org")),
            ("b.sub.example.org", Some("key of *.sub.example.org")),
            ("c.b.sub.example.org", None),
            ("example.org", None),
            (".example.org", Some("key of *.example.org")),
            ("a.example.org.", None),
            ("elsewhere.example", None),
        ] {
            assert_eq!(found(&names, asked).as_deref(), answer, "{asked}");
        }
    }

    #[test]
    fn a_star_before_a_top_level_domain_stands_for_nothing() {
        let names = names(Level::Preferred, &["", "*.com", "*"]);
        for asked in ["example.com", "com", "a.example.com", "x.com."] {
            assert_eq!(found(&names, asked), None, "{asked}");
        }
    }

    #[test]
    fn a_hostile_name_finds_nothing() {
        let names = names(Level::Preferred, &["", "*.example.org", "a/b.example.org"]);
        let at = |length: usize| format!("{}.example.org", "x".repeat(length - 12));
        assert!(found(&names, &at(MAX_NAME - 1)).is_some());
        assert!(found(&names, &at(MAX_NAME)).is_some());
        assert!(found(&names, &at(MAX_NAME + 1)).is_none());
        for asked in ["", "*.example.org", "a/b.example.org", "a=b.example.org", "\0.example.org", "\u{e9}.example.org"]
        {
            assert_eq!(found(&names, asked), None, "{asked:?}");
        }
    }

    #[test]
    fn the_level_says_which_identities_there_are() {
        let all = ["", "a.example"];
        let of = |level| {
            let names = names(level, &all);
            (names.default_files().is_some(), names.find("a.example").is_some())
        };
        assert_eq!(of(Level::from_number(0)), (true, false));
        assert_eq!(of(Level::from_number(1)), (true, true));
        assert_eq!(of(Level::from_number(2)), (false, true));
        assert_eq!(Level::from_number(3), Level::Required);
    }

    #[test]
    fn half_a_pair_is_no_identity() {
        for variable in ["KEYFILE:a.example", "CERTFILE:a.example"] {
            let variables = [(variable, "x"), ("KEYFILE", "k"), ("CERTFILE", "c")];
            let names =
                Names::gather(Level::Preferred, variables.iter().map(|(name, value)| (name.into(), value.into())));
            let why = names.check().expect_err("it is told").to_string();
            assert_eq!(why, "KEYFILE:a.example and CERTFILE:a.example belong together: set both");
        }
    }
}
