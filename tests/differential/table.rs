//! What was played, server by server.

use std::collections::BTreeMap;
use std::fmt;

use super::oracle::State;
use super::play::Played;
use super::script::Script;

/// A row for each server.
#[derive(Default)]
pub(crate) struct Table(BTreeMap<(&'static str, &'static str), Row>);

#[derive(Clone, Copy, Default)]
struct Row {
    dialogues: usize,
    strict: usize,
    /// TLS stood.
    tls: usize,
    /// Plaintext stood where TLS should have begun.
    refused: usize,
    passed: usize,
    closed: usize,
    raced: usize,
    silent: usize,
    client_said: usize,
    servers_heard: usize,
}

impl Table {
    pub(crate) fn add(&mut self, script: &Script, played: &Played) {
        let row = self.0.entry((script.service.protocol, script.service.name)).or_default();
        row.dialogues += 1;
        row.strict += usize::from(script.strict);
        row.tls += usize::from(played.came_to_tls);
        row.raced += usize::from(played.oracle.raced);
        row.silent += played.silences;
        match played.oracle.state {
            State::Granted => row.refused += 1,
            State::Passing => row.passed += 1,
            State::Closed => row.closed += 1,
            State::Watching => {}
        }
        let parts = 1 + usize::from(played.came_to_tls);
        row.client_said += script.client.iter().take(parts).flatten().map(Vec::len).sum::<usize>();
        row.servers_heard += played.servers.iter().flatten().map(|server| server.bytes.len()).sum::<usize>();
    }

    fn sum(&self) -> Row {
        self.0.values().fold(Row::default(), |sum, row| Row {
            dialogues: sum.dialogues + row.dialogues,
            strict: sum.strict + row.strict,
            tls: sum.tls + row.tls,
            refused: sum.refused + row.refused,
            passed: sum.passed + row.passed,
            closed: sum.closed + row.closed,
            raced: sum.raced + row.raced,
            silent: sum.silent + row.silent,
            client_said: sum.client_said + row.client_said,
            servers_heard: sum.servers_heard + row.servers_heard,
        })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head =
            ["dialogues", "-r", "TLS", "no TLS", "passed", "closed", "raced", "silent", "client said", "servers heard"];
        writeln!(f, "{:<34} {}", "server", head.map(|word| format!("{word:>13}")).concat())?;
        let all = self.sum();
        let rows = self.0.iter().map(|((protocol, name), row)| (format!("{protocol}: {name}"), *row));
        for (name, row) in rows.chain([("all".to_owned(), all)]) {
            let Row { dialogues, strict, tls, refused, passed, closed, raced, silent, client_said, servers_heard } =
                row;
            let cells = [dialogues, strict, tls, refused, passed, closed, raced, silent, client_said, servers_heard];
            writeln!(f, "{name:<34} {}", cells.map(|cell| format!("{cell:>13}")).concat())?;
        }
        Ok(())
    }
}
