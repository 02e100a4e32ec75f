//! Who starts the wrapper; see CONTRIBUTING.md.

use std::os::unix::process::CommandExt;
use std::process::Command;

use super::mail_servers::ENTER;

/// Who starts the wrapper. The tests are root's always, as they look into its processes.
#[derive(Clone, Copy)]
pub(crate) enum Starter {
    Root,
    /// Root, with TLS_UID and TLS_GID.
    RootWithIds,
    /// An ordinary user, without groups.
    User,
}

impl Starter {
    /// As the environment says.
    pub(crate) fn of_this_run() -> Self {
        match std::env::var("TESTS_START_AS").as_deref() {
            Err(_) => Self::Root,
            Ok("tls-uid") => Self::RootWithIds,
            Ok("user") => Self::User,
            Ok(other) => panic!("TESTS_START_AS is {other}, and should be user or tls-uid"),
        }
    }

    /// Makes it so, for a wrapper with this prog.
    pub(crate) fn starts(self, command: &mut Command, prog: &[&str]) {
        // A server that becomes each of its users in turn is root's, and so is whoever starts it.
        let has_many_users = prog.iter().any(|word| *word == ENTER || word.ends_with("/exim4"));
        match self {
            Self::RootWithIds => _ = command.env("TLS_UID", ID.to_string()).env("TLS_GID", ID.to_string()),
            Self::User if !has_many_users => _ = command.uid(ID).gid(ID),
            Self::User | Self::Root => {}
        }
    }
}

/// A user and a group that nobody has, and that everybody is.
pub(crate) const ID: u32 = 65534;
