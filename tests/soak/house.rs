//! Everything that listens: a wrapper for each way and protocol, each under a tcpserver of its own; and what they and
//! those whom they have started take of this machine.

use std::collections::BTreeMap;
use std::fs;

use super::kinds::{PROTOCOLS, Protocol, Way};
use super::support::certificates::Site;
use super::support::proc;
use super::support::servers::{Listening, tcpserver};
use super::support::wrapper::{Wrapper, example};

/// Those who listen.
pub(crate) struct House {
    pub(crate) site: Site,
    listening: BTreeMap<(Protocol, Way), Listening>,
}

/// What is taken at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Super-servers, keepers, sessions, servers.
    pub(crate) processes: usize,
    /// Of all of them, in KiB: what several share is counted once.
    pub(crate) memory: usize,
    /// Open descriptors of all of them.
    pub(crate) descriptors: usize,
    /// What the kernel holds of their connections, whoever has them; not those that have ended (TIME_WAIT).
    pub(crate) connections: usize,
}

impl House {
    pub(crate) fn new() -> Self {
        let (site, postbox) = (Site::new(), example("postbox"));
        let mut listening = BTreeMap::new();
        for protocol in PROTOCOLS {
            let prog = [postbox.as_str(), name(*protocol)];
            let implicit = tcpserver(&Wrapper::bare(&[]).option("--implicit").site(&site), &prog);
            let splicing = Wrapper::backend(&site, implicit.port);
            let respawning = Wrapper::respawn(&site);
            listening.insert((*protocol, Way::HostPort), tcpserver(&splicing, &prog));
            listening.insert((*protocol, Way::Required), tcpserver(&respawning.clone().option("-r"), &prog));
            listening.insert((*protocol, Way::Respawn), tcpserver(&respawning, &prog));
            listening.insert((*protocol, Way::Implicit), implicit);
        }
        Self { site, listening }
    }

    pub(crate) fn port(&self, protocol: Protocol, way: Way) -> u16 {
        // The wrapper of these two is one.
        let way = if way == Way::Plaintext { Way::Respawn } else { way };
        self.listening[&(protocol, way)].port
    }

    /// Whether nobody is there but the super-servers.
    pub(crate) fn is_empty(&self) -> bool {
        let Taken { processes, connections, .. } = self.taken();
        (processes, connections) == (self.listening.len(), 0)
    }

    /// What all of them take now. Who ends meanwhile is not counted.
    pub(crate) fn taken(&self) -> Taken {
        let groups = self.listening.values().map(Listening::pid);
        let mut taken = Taken { connections: self.connections(), ..Taken::default() };
        for pid in groups.flat_map(proc::group) {
            let Ok(rollup) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
            let pss =
                rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse().ok());
            taken.processes += 1;
            taken.memory += pss.unwrap_or(0_usize);
            taken.descriptors += fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        }
        taken
    }

    fn connections(&self) -> usize {
        let ports: Vec<String> = self.listening.values().map(|one| format!(":{:04X}", one.port)).collect();
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
        let ours = rows.filter(|row| ports.iter().any(|port| row[1].ends_with(port.as_str())));
        ours.filter(|row| ![TIME_WAIT, LISTEN].contains(&row[3])).count()
    }

    /// What they have told, by sentence: without process, client, and whatever else differs.
    pub(crate) fn told(&self) -> BTreeMap<String, usize> {
        let mut told = BTreeMap::new();
        for line in
            self.listening.values().flat_map(|one| one.log().text().lines().map(str::to_owned).collect::<Vec<_>>())
        {
            *told.entry(sentence(&line)).or_default() += 1;
        }
        told
    }
}

/// As /proc/net/tcp has them.
const TIME_WAIT: &str = "06";
const LISTEN: &str = "0A";

fn sentence(line: &str) -> String {
    let words = line.split(' ').map(|word| {
        let differs = word.contains(|character: char| character.is_ascii_digit());
        if differs { "N" } else { word }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Smtp => "smtp",
        Protocol::Pop3 => "pop3",
        Protocol::Imap => "imap",
    }
}
