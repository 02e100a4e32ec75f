//! What a process gives up: its user and group.

use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid, getpid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use crate::message::Error;

/// Becomes this user and group for good, if the process is root's; without ids one of its own, so that no session
/// can signal or trace another.
///
/// # Errors
/// [`Error::System`]; then the process must not go on.
pub fn drop_privileges(ids: Option<(u32, u32)>) -> Result<(), Error> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let own = OWN_IDS + getpid().as_raw_nonzero().get().unsigned_abs();
    match ids {
        Some((uid, gid)) => become_user(uid, gid),
        None => become_user(own, own)
            .or_else(|why| if why == Errno::INVAL { become_user(NOBODY, NOBODY) } else { Err(why) }),
    }
    .map_err(Error::system("drop root's privileges"))
}

/// This program has one thread, so the thread's ids are the process's.
fn become_user(uid: u32, gid: u32) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)
}

/// Where the ids begin that no system gives to a user.
const OWN_IDS: u32 = 1_000_000_000;

/// For a user namespace that maps no id of its own to the process.
const NOBODY: u32 = 65534;
