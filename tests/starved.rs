//! A keeper that gets no more descriptors in the middle of a session, and both halves without memory: whoever can still
//! speak says so, the client hears what the protocol has for it, and nothing is left running. As root.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]
#![allow(clippy::print_stdout, reason = "the tables are worth reading")]

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use support::backend::Backend;
use support::certificates::Site;
use support::wrapper::{GO_AHEAD, NOT_AVAILABLE, Wrapper};
use support::{proc, tls};

/// The longest it may take: those who were told to end, the linger, and a busy machine.
const LIMIT: Duration = Duration::from_secs(8);

/// In the words of either C library.
const TOO_MANY: &[&str] = &[": too many open files", ": no file descriptors available"];

/// It keeps those it has, once it has closed what it does not need.
fn gets_no_more_descriptors(pid: u32) {
    proc::until(|| proc::is_asleep(pid));
    let used = proc::descriptors(pid);
    let first = (0..).find(|number| !used.contains(number)).map(u64::from);
    prlimit(Pid::from_raw(pid.cast_signed()), Resource::Nofile, Rlimit { current: first, maximum: first }).unwrap();
}

#[test]
fn a_keeper_without_descriptors_offers_no_tls_and_the_plaintext_session_goes_on() {
    let (site, backend) = (Site::new(), Backend::new());
    for wrapper in [Wrapper::respawn(&site), Wrapper::backend(&site, backend.port())] {
        let mut session = wrapper.by_root().start();
        let mut server = session.opening();
        gets_no_more_descriptors(session.wrapper.pid());
        session.client.says("STARTTLS\r\n");
        session.client.hears(NOT_AVAILABLE);
        session.client.says("MAIL FROM:<>\r\n");
        server.hears("MAIL FROM:<>\r\n");
        server.exits(7);
        let end = session.end();
        assert_eq!(end.status, 7);
        assert!(TOO_MANY.iter().any(|why| end.log.contains(why)), "{}", end.log);
    }
}

#[test]
fn a_keeper_without_descriptors_for_a_fresh_prog_has_the_client_told_inside_tls() {
    let site = Site::new();
    let mut session = Wrapper::respawn(&site).by_root().start();
    let _plaintext_server = session.opening();
    session.client.says("STARTTLS\r\n");
    session.client.hears(GO_AHEAD);
    gets_no_more_descriptors(session.wrapper.pid());
    tls::Client::new(&site).shake(&mut session.client).expect("the wrapper shakes hands");
    session.client.hears("421 4.3.0 Service not available, closing transmission channel\r\n");
    session.client.hears_end();
    let end = session.end();
    assert_eq!(end.status, 111);
    assert!(TOO_MANY.iter().any(|why| end.log.contains(&format!("unable to make a pipe{why}"))), "{}", end.log);
}

/// Where a machine lets root make one: version 2, or 1. It ends with this value.
struct MemoryGroup(PathBuf);

impl MemoryGroup {
    fn of(kib: u64) -> Option<Self> {
        let name = format!("starttls-wrapper-test-{}-{kib}", std::process::id());
        for (place, limit) in [("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")] {
            let group = Self(PathBuf::from(place).join(&name));
            let made = fs::create_dir(&group.0).and_then(|()| File::options().write(true).open(group.0.join(limit)));
            if made.is_ok_and(|mut limit| limit.write_all((kib << 10).to_string().as_bytes()).is_ok()) {
                return Some(group);
            }
        }
        None
    }

    fn processes(&self) -> String {
        self.0.join("cgroup.procs").display().to_string()
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_session_in_a_memory_group_that_is_too_small_is_served_or_ends() {
    let site = Site::new();
    println!("{:>6}  outcome", "KiB");
    for kib in (1..=20).map(|step| step * 64).chain([4096]) {
        let Some(group) = MemoryGroup::of(kib) else {
            println!("no control group can be made here: tests/limits.rs shows what RLIMIT_DATA and RLIMIT_AS do");
            return;
        };
        println!("{kib:>6}  {}", outcome(&site, &group));
    }
}

fn outcome(site: &Site, group: &MemoryGroup) -> String {
    let enter = ["/bin/sh", "-c", "echo $$ > \"$GROUP\" && exec \"$@\"", "sh"];
    let wrapper = Wrapper::respawn(site).by_root().behind(&enter).env("GROUP", group.processes());
    let mut session = wrapper.start_prog(&["/bin/sh", "tests/support/smtp"]);
    let keeper = session.wrapper.pid();
    let began = Instant::now();
    let served = session.serves(site);
    let status = session.wrapper.wait();
    proc::until(|| proc::group(keeper).is_empty());
    assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
    assert!(served || status != 0, "the status tells");
    format!("served: {served}, status {status}, {}", session.wrapper.log.whole().replace('\n', "; "))
}
