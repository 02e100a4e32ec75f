//! A file that an administrator names, read whole. What could wait or never end, such as a pipe or a device, is refused.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;

use crate::message::{Error, SystemReason};

/// The longest file in bytes. The systems' bundles of trust anchors have a quarter of a million.
pub const MAX_FILE: usize = 4 * 1024 * 1024;

/// What is in a file.
pub(super) struct Contents {
    pub(super) bytes: Vec<u8>,
    /// Everybody on this machine may read it.
    pub(super) is_open_to_all: bool,
}

/// Whether it is a file, and one that can be opened. Nothing is read.
pub(super) fn check(path: &Path, what: &str) -> Result<(), Error> {
    regular(path, what).map(|_| ())
}

/// The whole file.
pub(super) fn read(path: &Path, what: &str) -> Result<Contents, Error> {
    let (file, is_open_to_all) = regular(path, what)?;
    let mut bytes = Vec::new();
    let most = MAX_FILE as u64 + 1;
    file.take(most).read_to_end(&mut bytes).map_err(|why| unable("read", what, path, SystemReason(&why)))?;
    if bytes.len() > MAX_FILE { Err(too_long(path, what)) } else { Ok(Contents { bytes, is_open_to_all }) }
}

/// Does not wait: to open a FIFO would, until somebody writes to it.
fn regular(path: &Path, what: &str) -> Result<(File, bool), Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let no_file = |kind: &str| unable("open", what, path, format_args!("it is {kind}, not a file"));
    let file = match open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NXIO) => return Err(no_file("a socket")),
        Err(why) => return Err(unable("open", what, path, SystemReason(&why.into()))),
    };
    let stat = fstat(&file).map_err(|why| unable("open", what, path, SystemReason(&why.into())))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile if usize::try_from(stat.st_size).is_ok_and(|size| size > MAX_FILE) => {
            Err(too_long(path, what))
        }
        FileType::RegularFile => Ok((file.into(), stat.st_mode & Mode::ROTH.as_raw_mode() != 0)),
        FileType::Directory => Err(no_file("a directory")),
        FileType::Fifo => Err(no_file("a named pipe")),
        _ => Err(no_file("a device")),
    }
}

fn too_long(path: &Path, what: &str) -> Error {
    unable("read", what, path, format_args!("it has more than {} MiB", MAX_FILE >> 20))
}

/// What cannot be done with a file, and why.
pub(super) fn unable(verb: &str, what: &str, path: &Path, why: impl std::fmt::Display) -> Error {
    Error::TlsConfig(format!("unable to {verb} {what} {}: {why}", path.display()))
}
