//! Another program about to be run: its words, its environment, where PATH finds it. [`raw`] executes it.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::process::Pid;

use crate::raw::{self, Image};

/// A command.
#[derive(Debug)]
pub struct Command {
    words: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
}

impl Command {
    /// With this name and these arguments, and with this environment.
    pub fn new(words: Vec<OsString>, variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        Self { words, variables: variables.collect() }
    }

    /// Sets a variable, or takes it away.
    pub fn set_variable(&mut self, name: impl AsRef<OsStr>, value: Option<impl Into<OsString>>) {
        let name = name.as_ref();
        self.variables.retain(|(known, _)| known != name);
        self.variables.extend(value.map(|value| (name.to_owned(), value.into())));
    }

    /// Starts it with these descriptors for 0 and 1, and with signals as they were when this program was started.
    ///
    /// # Errors
    /// Why it cannot be run.
    pub fn spawn(self, input: BorrowedFd<'_>, output: BorrowedFd<'_>) -> io::Result<Pid> {
        raw::spawn(&self.image()?, input, output)
    }

    /// Becomes it. Returns why not.
    pub fn exec(self) -> io::Error {
        self.image().map_or_else(|why| why, |image| raw::exec(&image))
    }

    fn image(self) -> io::Result<Image> {
        let path = self.variables.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_bytes());
        let files = files(self.words.first().map_or(&[], |name| name.as_bytes()), path.unwrap_or(USUAL_PATH));
        let variable = |(name, value): (OsString, OsString)| [name.as_bytes(), b"=", value.as_bytes()].concat();
        Ok(Image {
            files: strings(files.into_iter())?,
            words: strings(self.words.into_iter().map(OsString::into_vec))?,
            variables: strings(self.variables.into_iter().map(variable))?,
        })
    }
}

/// Where a program of this name may be, in the order of the search: there where a slash says it, else in each directory
/// of this PATH, of which an empty one is this directory.
fn files(name: &[u8], path: &[u8]) -> Vec<Vec<u8>> {
    if name.is_empty() || name.contains(&b'/') {
        return vec![name.to_vec()];
    }
    let directories = path.split(|byte| *byte == b':');
    directories
        .map(|directory| if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() })
        .collect()
}

fn strings(bytes: impl Iterator<Item = Vec<u8>>) -> io::Result<Vec<CString>> {
    Ok(bytes.map(CString::new).collect::<Result<_, _>>()?)
}

/// Where no PATH is set, as execvp(3) has it.
const USUAL_PATH: &[u8] = b"/bin:/usr/bin";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_as_execvp_looks() {
        let found = |name: &str, path: &str| {
            let files = files(name.as_bytes(), path.as_bytes()).into_iter();
            files.map(|file| String::from_utf8(file).unwrap()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(found("cat", "/bin:/usr/bin"), "/bin/cat /usr/bin/cat");
        assert_eq!(found("cat", "/a/"), "/a//cat");
        assert_eq!(found("cat", ":/a::b:"), "cat /a/cat cat b/cat cat");
        assert_eq!(found("cat", ""), "cat");
        assert_eq!(found("./cat", "/bin"), "./cat");
        assert_eq!(found("/bin/cat", "/usr/bin"), "/bin/cat");
        assert_eq!(found("", "/bin"), "");
    }

    #[test]
    fn a_variable_that_is_told_is_there_once_or_not_at_all() {
        let inherited = [("A", "1"), ("B", "2"), ("A", "3")].map(|(name, value)| (name.into(), value.into()));
        let mut command = Command::new(vec!["x".into()], inherited.into_iter());
        command.set_variable("C", Some("4"));
        command.set_variable("B", None::<&str>);
        let variables = |command: &Command| {
            command
                .variables
                .iter()
                .map(|(name, value)| format!("{}={}", name.display(), value.display()))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(variables(&command), "A=1 A=3 C=4");
        command.set_variable("A", Some("5"));
        assert_eq!(variables(&command), "C=4 A=5");
    }
}
