//! What became of the sessions.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::kinds::{Hostile, Kind, Protocol, Way};

/// What became of one.
pub(crate) enum Outcome {
    Good { bytes: usize, took: Duration },
    Lost(String),
    Hostile(Hostile),
}

/// And of all.
#[derive(Default)]
pub(crate) struct Table {
    good: BTreeMap<(Way, Protocol), Vec<Duration>>,
    hostile: BTreeMap<Hostile, usize>,
    bytes: usize,
    pub(crate) lost: Vec<String>,
    pub(crate) took: Duration,
}

impl Table {
    pub(crate) fn add(&mut self, kind: &Kind, outcome: Outcome) {
        match outcome {
            Outcome::Good { bytes, took } => {
                self.good.entry((kind.way, kind.protocol)).or_default().push(took);
                self.bytes += bytes;
            }
            Outcome::Lost(why) => self.lost.push(why),
            Outcome::Hostile(hostile) => *self.hostile.entry(hostile).or_default() += 1,
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<22} {:>10} {:>9} {:>9} {:>9}", "good", "sessions", "p50, ms", "p95, ms", "max, ms")?;
        for ((way, protocol), took) in &self.good {
            let mut took: Vec<u128> = took.iter().map(Duration::as_millis).collect();
            took.sort_unstable();
            let at = |share: usize| took[(took.len() - 1) * share / 100];
            let name = format!("{way:?}, {protocol:?}");
            writeln!(f, "{name:<22} {:>10} {:>9} {:>9} {:>9}", took.len(), at(50), at(95), at(100))?;
        }
        writeln!(f, "{:<22} {:>10}", "hostile", "sessions")?;
        for (hostile, count) in &self.hostile {
            writeln!(f, "{:<22} {count:>10}", format!("{hostile:?}"))?;
        }
        let good: usize = self.good.values().map(Vec::len).sum();
        let hostile: usize = self.hostile.values().sum();
        let (lost, mb, seconds) = (self.lost.len(), self.bytes / 1_000_000, self.took.as_secs());
        write!(f, "{good} good, {lost} lost, {hostile} hostile, {mb} MB of mail, {seconds} s")
    }
}
