//! The trust anchors, handed over as a file that nobody can change.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

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

fn fill_and_seal(mut rest: &[u8]) -> io::Result<OwnedFd> {
    let file = memfd_create("anchors", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    fcntl_add_seals(&file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))?;
    Ok(file)
}
