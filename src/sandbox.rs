//! The sandbox: what a process gives up before it meets an attacker. The only door to landlock and seccompiler.
//!
//! Each part holds without the others: another user, who may signal and trace nobody; resource limits; no new
//! privileges; Landlock, which takes the file system and TCP away; seccomp, which leaves a short list of system calls.
//!
//! **prog inherits none of it.** The keeper runs prog with its original user, and a Landlock domain, a seccomp filter,
//! no_new_privs (it would break set-uid programs as exim) and lowered limits would all pass through exec(2) for good.
//! So until it has nothing more to run, the keeper is only made undumpable (exec(2) undoes that). What protects it is how
//! little it reads: fixed messages of the session, and never a byte of the network.

use std::fmt::{self, Display};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, RestrictionStatus, Ruleset, RulesetAttr, RulesetError,
    RulesetStatus, Scope,
};
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Gid, Pid, Resource, Rlimit, Signal, Uid, geteuid, getpid, getrlimit, set_dumpable_behavior,
    set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::message::{Error, Log};

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod calls;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod filter;

/// The most descriptors a session can have: client, server, backend, the event loop, the window and the standard
/// ones are eleven.
pub const MAX_DESCRIPTORS: u64 = 32;

/// The most memory in bytes that a session can take, though an attacker runs it. It needs less than 4 MiB, most of
/// it for the trust anchors.
pub const MAX_MEMORY: u64 = 64 * 1024 * 1024;

/// What becomes of a session where the kernel lacks Landlock or seccomp (`--sandbox`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SandboxMode {
    /// It goes on without, and the administrator is told.
    #[default]
    Try,
    /// It does not begin.
    Require,
}

/// How session and keeper are confined.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sandbox {
    /// TLS_UID and TLS_GID.
    pub ids: Option<(u32, u32)>,
    /// `--sandbox`.
    pub mode: SandboxMode,
}

impl Sandbox {
    /// Confines the session, before it reads its first byte.
    ///
    /// # Errors
    /// [`Error::System`]; then the process must not go on.
    pub fn confine_session(self, log: &Log) -> Result<(), Error> {
        empty_bounding_set();
        self.drop_root_and_capabilities(CapabilitySet::empty())?;
        limit()?;
        hide()?;
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(Error::system("end with the keeper"))?;
        let parts = [("Landlock", landlock(Scope::from_all(NEWEST))), ("seccomp", seccomp(Calls::Session))];
        for (part, confined) in parts {
            match (confined, self.mode) {
                (Ok(how), _) => log.transcript(format_args!("{part} confines the session{how}")),
                (Err(why), SandboxMode::Require) => {
                    return Err(Error::System(format!("confine the session with {part}"), why));
                }
                (Err(why), SandboxMode::Try) => {
                    let what = Error::System(format!("confine the session with {part}"), why);
                    log.warning(what);
                }
            }
        }
        Ok(())
    }

    /// For a process that needs files and the network, but no right of root's.
    ///
    /// # Errors
    /// [`Error::System`]; then the process must not go on.
    pub fn drop_privileges(self) -> Result<(), Error> {
        self.drop_root_and_capabilities(CapabilitySet::empty())
    }

    /// Confines the keeper once nothing more can be asked of it. It may still signal these two, whatever user they are, so
    /// that they end with it. What the kernel lacks the session has reported.
    ///
    /// # Errors
    /// [`Error::System`]; then the process must not go on.
    pub fn confine_keeper(self, family: [Option<Pid>; 2]) -> Result<(), Error> {
        set_keep_capabilities(true).map_err(Error::system("keep a capability"))?;
        self.drop_root_and_capabilities(CapabilitySet::KILL)?;
        hide()?;
        let _ = landlock(Scope::AbstractUnixSocket.into());
        if seccomp(Calls::Keeper(family)).is_err() {
            // Without the filter it could signal anybody.
            self.drop_root_and_capabilities(CapabilitySet::empty())?;
        }
        Ok(())
    }

    /// Root's ids, and all capabilities but these.
    fn drop_root_and_capabilities(self, kept: CapabilitySet) -> Result<(), Error> {
        drop_privileges(self.ids)?;
        renounce_all_but(kept).map_err(Error::system("renounce capabilities"))
    }
}

/// Makes the process one that cannot be traced and leaves no core; to be called before a key is in memory. What it
/// executes does not inherit this.
///
/// # Errors
/// [`Error::System`].
pub fn hide() -> Result<(), Error> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Error::system("make the process undumpable"))
}

/// Becomes this user and group for good, if the process is root's; without ids one of its own, so that no session
/// can signal or trace another.
fn drop_privileges(ids: Option<(u32, u32)>) -> Result<(), Error> {
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

/// A user has capabilities if the super-server gave it ambient ones, and root keeps them under some securebits. With the
/// inheritable ones go the ambient ones (capabilities(7)).
fn renounce_all_but(kept: CapabilitySet) -> Result<(), Errno> {
    let kept = capabilities(None)?.permitted & kept;
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })
}

/// The capabilities that no program could give back. Who may not do that has no_new_privs, which has the same effect.
fn empty_bounding_set() {
    let mut all = (0..u64::BITS).map(|number| CapabilitySet::from_bits_retain(1 << number));
    while all.next().is_some_and(|capability| remove_capability_from_bounding_set(capability).is_ok()) {}
}

/// No process, no core, few descriptors, little memory. What the super-server limits further stays so. RLIMIT_DATA says
/// soonest what is too much, and RLIMIT_AS counts what the other does not: shared memory, and stacks that grow. Not
/// RLIMIT_FSIZE: standard error may be a file, longer than any limit, and there is no other file to write to.
fn limit() -> Result<(), Error> {
    for (resource, limit) in [
        (Resource::Nproc, 0),
        (Resource::Core, 0),
        (Resource::Nofile, MAX_DESCRIPTORS),
        (Resource::Data, MAX_MEMORY),
        (Resource::As, MAX_MEMORY),
    ] {
        let Rlimit { current, maximum } = getrlimit(resource);
        let lower = |set: Option<u64>| Some(set.map_or(limit, |set| set.min(limit)));
        setrlimit(resource, Rlimit { current: lower(current), maximum: lower(maximum) })
            .map_err(Error::system("limit the session's resources"))?;
    }
    set_no_new_privs(true).map_err(Error::system("renounce new privileges"))
}

/// The Landlock ABI in force, if this part is Landlock; for the log.
struct Strength(Option<ABI>);

impl Display for Strength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |abi| write!(f, ", ABI {}", abi as i32))
    }
}

/// Everything the kernel can take is taken: files, TCP, and from ABI 6 on what is in this scope, signals and abstract
/// sockets of others.
fn landlock(scope: BitFlags<Scope>) -> Result<Strength, std::io::Error> {
    let status = deny_everything(scope).map_err(std::io::Error::other)?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => Err(std::io::Error::other("the kernel does not support it")),
        (_, LandlockStatus::Available { effective_abi, .. }) => Ok(Strength(Some(effective_abi))),
        _ => Ok(Strength(None)),
    }
}

fn deny_everything(scope: BitFlags<Scope>) -> Result<RestrictionStatus, RulesetError> {
    Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(scope)?
        .create()?
        .restrict_self()
}

/// The newest one that this program knows.
const NEWEST: ABI = ABI::V9;

/// The process whose system calls are filtered.
#[derive(Clone, Copy)]
enum Calls {
    Session,
    /// The keeper, which may signal these.
    Keeper([Option<Pid>; 2]),
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn seccomp(calls: Calls) -> Result<Strength, std::io::Error> {
    let installed = match calls {
        Calls::Session => seccompiler::apply_filter(&calls::SESSION),
        Calls::Keeper(family) => seccompiler::apply_filter(&calls::keeper(family)),
    };
    match installed {
        Ok(()) => Ok(Strength(None)),
        Err(seccompiler::Error::Prctl(why) | seccompiler::Error::Seccomp(why)) => Err(why),
        Err(why) => Err(std::io::Error::other(why)),
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn seccomp(_: Calls) -> Result<Strength, std::io::Error> {
    Err(std::io::Error::other("there is no filter for this processor"))
}

/// Where the ids begin that no system gives to a user.
const OWN_IDS: u32 = 1_000_000_000;

/// For a user namespace that maps no id of its own to the process.
const NOBODY: u32 = 65534;
