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

/// What the server name decides (SNI level, `-k`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SniLevel {
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
    level: SniLevel,
    default: Option<Files>,
    /// What the default identity wants, if there is none.
    missing: &'static str,
}

/// The identities of server names, each with its key and its certificate as far as they are set.
#[derive(Debug)]
pub struct Named(BTreeMap<String, [Option<OsString>; 2]>);

impl SniLevel {
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
    /// The default identity, from these variables. Those of names are looked for when a client asks for one: a thousand
    /// names cost a plaintext session nothing.
    pub fn new(level: SniLevel, env: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let (key, chain) = (env("KEYFILE"), env("CERTFILE"));
        let missing = match (&key, &chain) {
            (Some(_), _) => "CERTFILE is not set: STARTTLS cannot be offered",
            (_, Some(_)) => "KEYFILE is not set: STARTTLS cannot be offered",
            _ => "KEYFILE and CERTFILE are not set: STARTTLS cannot be offered",
        };
        let pair = key.zip(chain).filter(|_| level != SniLevel::Required);
        Self { level, default: pair.map(|(key, chain)| files(key, chain)), missing }
    }

    /// Whether there is an identity to show, and its files can be opened. Nothing is read. With `-k 2` it is any of the
    /// names'.
    ///
    /// # Errors
    /// [`Error::TlsConfig`] names the variable, or the file and the reason.
    pub fn check(&self) -> Result<(), Error> {
        match &self.default {
            Some(files) => files.check(),
            None if self.level != SniLevel::Required => Err(Error::TlsConfig(self.missing.into())),
            None => self.named().check_any(),
        }
    }

    /// The identities of names that the environment holds now.
    pub fn named(&self) -> Named {
        if self.level == SniLevel::Ignored {
            Named::gather(std::iter::empty())
        } else {
            Named::gather(std::env::vars_os())
        }
    }

    /// Every identity, with the name it is for.
    ///
    /// # Errors
    /// Beside a name: [`Error::TlsConfig`] if only its key or only its certificate is set.
    pub fn all(&self) -> Vec<(String, Result<Files, Error>)> {
        let named = self.named();
        let default = self.default.iter().map(|files| ("any other name".to_owned(), Ok(files.clone())));
        named.all().map(|(name, files)| (name.to_owned(), files)).chain(default).collect()
    }

    /// A name that a client may ask for.
    pub fn example(&self) -> String {
        let named = self.named().0.into_keys().next().filter(|_| self.default.is_none());
        named.map_or_else(|| "localhost".into(), |name| name.replace('*', "any"))
    }

    /// The identity for a client that names no known name, if such a client is served at all.
    pub fn default_files(&self) -> Option<&Files> {
        self.default.as_ref()
    }
}

impl Named {
    /// Finds the names among the variables.
    pub fn gather(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut named = BTreeMap::<_, [Option<OsString>; 2]>::new();
        for (variable, value) in variables {
            let found = [&b"KEYFILE:"[..], b"CERTFILE:"].into_iter().zip(0..);
            for (name, half) in found.filter_map(|(prefix, half)| Some((name_of(&variable, prefix)?, half))) {
                if let Some(slot) = named.entry(name).or_default().get_mut::<usize>(half) {
                    *slot = Some(value.clone());
                }
            }
        }
        Self(named)
    }

    fn all(&self) -> impl Iterator<Item = (&str, Result<Files, Error>)> {
        self.0.iter().map(|(name, halves)| (name.as_str(), pair(name, halves)))
    }

    /// The identity of this server name: its own, or that of `*.` and all but its first label. A `*` alone before a
    /// top-level domain stands for nothing, as in s6-tlsd.
    ///
    /// # Errors
    /// As [`Names::all`].
    pub fn find(&self, name: &str) -> Option<Result<Files, Error>> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.len() > MAX_NAME || !name.bytes().all(known) {
            return None;
        }
        let name = name.to_ascii_lowercase();
        let any = name.split_once('.').filter(|(_, rest)| has_two_labels(rest)).map(|(_, rest)| format!("*.{rest}"));
        let (name, halves) = self.0.get_key_value(&name).or_else(|| self.0.get_key_value(&any?))?;
        Some(pair(name, halves))
    }

    fn check_any(&self) -> Result<(), Error> {
        let mut outcome = Err(Error::TlsConfig("no KEYFILE:name is set, which -k 2 wants".into()));
        for (_, files) in self.all() {
            outcome = files.and_then(|files| files.check());
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }
}

fn pair(name: &str, halves: &[Option<OsString>; 2]) -> Result<Files, Error> {
    match halves {
        [Some(key), Some(chain)] => Ok(files(key.clone(), chain.clone())),
        _ => Err(Error::TlsConfig(format!("KEYFILE:{name} and CERTFILE:{name} belong together: set both"))),
    }
}

fn files(key: OsString, chain: OsString) -> Files {
    Files { key: key.into(), chain: chain.into() }
}

fn has_two_labels(name: &str) -> bool {
    name.split_once('.').is_some_and(|(first, rest)| !first.is_empty() && !rest.is_empty())
}

/// The name behind the prefix, in lower case.
fn name_of(variable: &OsStr, prefix: &[u8]) -> Option<String> {
    let name = variable.as_bytes().strip_prefix(prefix).filter(|name| !name.is_empty())?;
    Some(String::from_utf8_lossy(name).to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Named {
        let pairs = names.iter().flat_map(|name| {
            [(format!("KEYFILE:{name}"), format!("key of {name}")), (format!("CERTFILE:{name}"), "c".into())]
        });
        Named::gather(pairs.map(|(name, value)| (name.into(), value.into())))
    }

    fn found(names: &Named, name: &str) -> Option<String> {
        names.find(name).map(|files| files.unwrap().key.display().to_string())
    }

    #[test]
    fn a_name_is_found_in_any_case_and_before_the_star() {
        let names = named(&["a.Example.org", "*.example.org", "*.sub.example.org"]);
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
        let names = named(&["*.com", "*"]);
        for asked in ["example.com", "com", "a.example.com", "x.com."] {
            assert_eq!(found(&names, asked), None, "{asked}");
        }
    }

    #[test]
    fn a_hostile_name_finds_nothing() {
        let names = named(&["*.example.org", "a/b.example.org"]);
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
        let env = |name: &str| ["KEYFILE", "CERTFILE"].contains(&name).then(|| name.into());
        for (number, level, is_there) in [
            (0, SniLevel::Ignored, true),
            (1, SniLevel::Preferred, true),
            (2, SniLevel::Required, false),
            (3, SniLevel::Required, false),
        ] {
            assert_eq!(SniLevel::from_number(number), level);
            assert_eq!(Names::new(level, &env).default_files().is_some(), is_there);
        }
    }

    #[test]
    fn half_a_pair_is_no_identity() {
        for variable in ["KEYFILE:a.example", "CERTFILE:a.example"] {
            let named = Named::gather(std::iter::once((variable.into(), "x".into())));
            let why = named.find("a.example").expect("it is known").expect_err("it is told").to_string();
            assert_eq!(why, "KEYFILE:a.example and CERTFILE:a.example belong together: set both");
        }
    }
}
