//! The trust anchors, handed over as a file that nobody can change.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Keeper, not_allowed};
use crate::message::Error;
use crate::{keys, window};

impl Keeper<'_> {
    pub(super) fn backend_anchors(&mut self) -> Result<(), Error> {
        self.allowance.anchors.take()?;
        let anchors = keys::anchors(self.backend()?.anchors.as_deref())?;
        self.window.grant(&[], &[sealed(&anchors)?.as_fd()])
    }

    pub(super) fn client_anchors(&mut self) -> Result<(), Error> {
        let file = self.client_anchors.take().ok_or_else(not_allowed)?;
        self.window.grant(&[], &[file.as_fd()])
    }
}

/// A file in memory with these parts, each behind its length. It is sealed: nobody can change it any more.
pub(super) fn sealed(parts: &[impl AsRef<[u8]>]) -> Result<OwnedFd, Error> {
    fill_and_seal(&window::join(parts)).map_err(Error::system("hand over the trust anchors"))
}

fn fill_and_seal(bytes: &[u8]) -> io::Result<OwnedFd> {
    let file = memfd_create("anchors", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    fill(&file, bytes).map_err(|why| if why == Errno::FBIG { io::Error::other(TOO_LONG) } else { why.into() })?;
    fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    Ok(file)
}

/// RLIMIT_FSIZE counts memory as well. It is meant for files on a disk, so what may be lifted of it is, for this long.
fn fill(file: &OwnedFd, mut rest: &[u8]) -> Result<(), Errno> {
    let limit = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: limit.maximum, ..limit })?;
    let mut written = Ok(());
    while written.is_ok() && !rest.is_empty() {
        written = rustix::io::write(file, rest).map(|count| rest = rest.get(count..).unwrap_or_default());
    }
    setrlimit(Resource::Fsize, limit)?;
    written
}

/// Why there is no such file, if that limit may not be lifted as far.
const TOO_LONG: &str = "they are longer than the limit on the size of files (ulimit -f)";
