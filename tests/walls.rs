//! What a taken-over session can do: nothing but use the descriptors it has. As seen from inside, by a process that
//! tries (examples/walls.rs), and from outside, through /proc.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]
#![allow(clippy::print_stdout, reason = "the table of attempts is worth reading")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;
use std::sync::LazyLock;

use support::certificates::Site;
use support::wrapper::{Wrapper, example, from_here};
use support::{proc, tls};

/// What is tried, and whether Landlock and the limits alone would prevent it.
const ATTEMPTS: &[(&str, bool)] = &[
    ("open", true),
    ("create", true),
    ("look", false),
    ("connect", true),
    ("udp", false),
    ("unix", false),
    ("execve", true),
    ("fork", true),
    ("thread", true),
    ("ptrace", true),
    ("signal", true),
    ("code", false),
    ("prctl", false),
    ("terminal", false),
    ("io_uring", false),
    // Of standard error, which others share.
    ("mute", false),
    ("cut off", false),
    ("duplicate", false),
    ("memory", true),
    ("shared memory", true),
    ("growing memory", true),
];

#[test]
fn a_confined_process_gets_nothing_and_is_killed_for_trying() {
    println!("{:<14} {:<22} {:<22} behind both walls", "attempt", "free", "without seccomp");
    for (attempt, _) in [("nothing", false)].iter().chain(ATTEMPTS) {
        let free = outcome(&["free", attempt]);
        let landlock = outcome(&["without", "seccomp", &WALLS, "confined", attempt]);
        let both = outcome(&["confined", attempt]);
        println!("{attempt:<14} {free:<22} {landlock:<22} {both}");
        let expected = match *attempt {
            "nothing" => "works",
            // musl looks by the call that aws-lc uses too, which finds nothing.
            "look" if cfg!(target_env = "musl") => "NotFound",
            _ => "killed by signal 31",
        };
        assert_eq!(both, expected, "{attempt}");
    }
}

#[test]
fn landlock_and_the_limits_hold_without_seccomp() {
    for (attempt, prevented) in ATTEMPTS.iter().filter(|(attempt, _)| !["terminal", "io_uring"].contains(attempt)) {
        let outcome = outcome(&["without", "seccomp", &WALLS, "confined", attempt]);
        assert_eq!(outcome != "works", *prevented, "{attempt}: {outcome}");
    }
}

#[test]
fn a_session_is_confined_from_its_first_byte_on_and_so_is_the_keeper_at_its_end() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).start();
    let keeper = session.wrapper.pid();
    let _plaintext_server = session.opening();
    is_confined(proc::session_of(keeper));
    assert_eq!(proc::status(keeper, "Seccomp"), "0", "prog would inherit it");
    session.starttls(&tls::Client::new(&site));
    let _server = session.fresh_server();
    is_confined(proc::session_of(keeper));
    proc::until(|| proc::status(keeper, "Seccomp") == "2");
    is_confined_as_a_keeper(keeper);
}

#[test]
fn the_keeper_of_a_plaintext_session_is_confined_when_it_passes_through() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).start();
    let keeper = session.wrapper.pid();
    let mut server = session.opening();
    session.client.says("MAIL FROM:<>\r\n");
    server.hears("MAIL FROM:<>\r\n");
    proc::until(|| proc::status(keeper, "Seccomp") == "2");
    is_confined_as_a_keeper(keeper);
}

#[test]
fn prog_inherits_no_wall() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).by_root().start();
    let server = session.opening();
    let (prog, test) = (server.pid, std::process::id());
    for field in ["Uid", "Gid", "Groups", "CapEff", "CapBnd", "Seccomp", "NoNewPrivs", "SigBlk"] {
        assert_eq!(proc::status(prog, field), proc::status(test, field), "{field}");
    }
    let limits = |pid| fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    assert_eq!(limits(prog), limits(test));
}

#[test]
fn a_session_has_no_descriptor_that_is_not_its_business() {
    let site = Site::new();
    let mut session =
        Wrapper::respawn(&site).behind(&["/bin/sh", "-c", "exec 9</etc/passwd; exec \"$@\"", "sh"]).start();
    let server = session.opening();
    assert!(descriptors(server.pid).contains("/etc/passwd"), "prog has what the super-server left open");
    let found = descriptors(proc::session_of(session.wrapper.pid()));
    let kinds: BTreeSet<&str> = found.iter().map(|name| name.split(':').next().unwrap_or_default()).collect();
    assert_eq!(kinds, BTreeSet::from(["/dev/null", "anon_inode", "pipe", "socket"]), "{found:?}");
}

#[test]
fn without_landlock_or_seccomp_a_session_goes_on_and_the_administrator_is_told() {
    let site = Site::new();
    for (wall, names) in
        [("landlock", &["Landlock"][..]), ("seccomp", &["seccomp"]), ("both", &["Landlock", "seccomp"])]
    {
        let mut session = Wrapper::respawn(&site).behind(&[&WALLS, "without", wall]).start();
        let _plaintext_server = session.opening();
        session.starttls(&tls::Client::new(&site));
        session.fresh_server().exits(0);
        let log = session.end().log;
        for name in ["Landlock", "seccomp"] {
            let told = log.matches(&format!("warning: unable to confine the session with {name}: ")).count();
            assert_eq!(told, usize::from(names.contains(&name)), "{wall}: {log}");
        }
    }
}

#[test]
fn with_sandbox_require_there_is_no_session_without_landlock_or_seccomp() {
    let site = Site::new();
    for (wall, name) in [("landlock", "Landlock"), ("seccomp", "seccomp")] {
        let wrapper = Wrapper::respawn(&site).options(&["--sandbox", "require"]);
        let session = wrapper.behind(&[&WALLS, "without", wall]).start_prog(&["sh", "-c", "echo prog began >&2"]);
        let end = session.end();
        assert_eq!(end.status, 111, "{}", end.log);
        assert!(!end.log.contains("prog began"), "{}", end.log);
        assert!(end.log.contains(&format!("fatal: unable to confine the session with {name}: ")), "{}", end.log);
    }
    let mut session = Wrapper::respawn(&site).options(&["--sandbox", "require"]).start();
    session.opening();
}

#[test]
fn an_ordinary_user_has_walls_too() {
    let site = Site::new();
    let (key, cert) = (site.key(), site.cert());
    let [key, cert] = [&key, &cert].map(|path| from_here(path.to_str().unwrap()));
    let wrapper = Wrapper::respawn(&site).env("KEYFILE", key).env("CERTFILE", cert);
    let mut session = wrapper.behind(&[&WALLS, "as", "65534"]).start();
    let keeper = session.wrapper.pid();
    let _plaintext_server = session.opening();
    assert_eq!(proc::status(keeper, "Uid"), "65534\t65534\t65534\t65534");
    is_confined(proc::session_of(keeper));
    session.starttls(&tls::Client::new(&site));
    session.fresh_server();
}

/// A super-server can give capabilities to a user, and can have root keep them when it becomes another.
#[test]
fn no_capability_but_to_end_prog_is_left_whoever_starts_us_and_prog_has_them_all() {
    let site = Site::new();
    let (key, cert) = (site.key(), site.cert());
    let [key, cert] = [&key, &cert].map(|path| from_here(path.to_str().unwrap()));
    let capabilities = "+net_bind_service,+kill";
    let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let ambient = [&user[..], &["--inh-caps", capabilities, "--ambient-caps", capabilities]].concat();
    let keeps = ["setpriv", "--securebits=+no_setuid_fixup"];
    for (before, prm, amb) in
        [(&ambient[..], "0000000000000420", "0000000000000420"), (&keeps, ALL, NONE), (&[], ALL, NONE)]
    {
        let wrapper = Wrapper::respawn(&site).env("KEYFILE", key).env("CERTFILE", cert).by_root();
        let mut session = wrapper.behind(before).start();
        let server = session.opening();
        let keeper = session.wrapper.pid();
        let reader = proc::session_of(keeper);
        has_no_capability(reader);
        if before != ambient {
            assert_eq!(proc::status(reader, "CapBnd"), NONE, "nor could it get one");
        }
        for (field, expected) in [("CapPrm", prm), ("CapAmb", amb)] {
            let had = if expected == ALL { proc::status(std::process::id(), field) } else { expected.into() };
            assert_eq!(proc::status(server.pid, field), had, "{field} of prog");
        }
        session.starttls(&tls::Client::new(&site));
        let _server = session.fresh_server();
        proc::until(|| proc::status(keeper, "Seccomp") == "2");
        for (field, expected) in [("CapInh", NONE), ("CapPrm", KILL), ("CapEff", KILL), ("CapAmb", NONE)] {
            assert_eq!(proc::status(keeper, field), expected, "{field} of the keeper, which may end prog");
        }
    }
}

#[test]
fn a_session_runs_as_tls_uid() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).by_root().env("TLS_UID", "4711").env("TLS_GID", "4712").start();
    let _plaintext_server = session.opening();
    let id = proc::session_of(session.wrapper.pid());
    assert_eq!(proc::status(id, "Uid"), "4711\t4711\t4711\t4711");
    assert_eq!(proc::status(id, "Gid"), "4712\t4712\t4712\t4712");
    assert_eq!(proc::status(id, "Groups"), "");
}

#[track_caller]
fn is_confined(pid: u32) {
    assert_eq!(proc::status(pid, "Seccomp"), "2");
    assert_eq!(proc::status(pid, "NoNewPrivs"), "1");
    has_no_capability(pid);
}

/// But it can end those it started: one that was root's by the capability to, CAP_KILL.
#[track_caller]
fn is_confined_as_a_keeper(pid: u32) {
    assert_eq!(proc::status(pid, "Seccomp"), "2");
    assert_eq!(proc::status(pid, "NoNewPrivs"), "1");
    for field in ["CapPrm", "CapEff"] {
        assert!([NONE, KILL].contains(&proc::status(pid, field).as_str()), "{field}");
    }
}

#[track_caller]
fn has_no_capability(pid: u32) {
    for field in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(proc::status(pid, field), NONE, "{field}");
    }
}

/// Capabilities as the kernel writes them: none, CAP_KILL, and as many as the test has.
const NONE: &str = "0000000000000000";
const KILL: &str = "0000000000000020";
const ALL: &str = "all";

fn descriptors(pid: u32) -> BTreeSet<String> {
    // Once it waits: what it closes meanwhile cannot be looked at.
    proc::until(|| proc::is_asleep(pid));
    let links = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().map(|entry| fs::read_link(entry.unwrap().path()));
    links.map(|link| link.unwrap().to_string_lossy().into_owned()).collect()
}

fn outcome(words: &[&str]) -> String {
    let output = Command::new(&*WALLS).args(words).process_group(0).output().expect("the example runs");
    match (output.status.code(), output.status.signal()) {
        (Some(0), _) => "works".into(),
        (_, Some(signal)) => format!("killed by signal {signal}"),
        _ => String::from_utf8_lossy(&output.stdout).into_owned(),
    }
}

static WALLS: LazyLock<String> = LazyLock::new(|| example("walls"));
