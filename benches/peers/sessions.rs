//! Target 1: the price of one session, in CPU and in time.

use crate::client::Client;
use crate::measure::{self, Sessions};
use crate::report::{Report, median, milliseconds, ms, quantile};
use crate::stack::Stack;
use crate::{Bench, OURS_TLS, in_turn, row};

/// One row of the table.
struct Case<'a> {
    name: String,
    stack: Stack,
    client: &'a Client,
}

/// The rounds, each with one measurement for each case.
type Rounds = Vec<Vec<Sessions>>;

impl Bench {
    /// Runs them all, and tells.
    pub(crate) fn sessions(&self, report: &mut Report) {
        let cases = self.cases();
        let rounds = self.rounds(&cases);
        let place = |stack: Stack| cases.iter().position(|case| case.stack == stack).unwrap_or(0);
        let (plain, tls) = (1, place_of(&cases, OURS_TLS));
        let stunnel = cases.iter().position(|case| case.stack == Stack::Stunnel);
        let mut table = vec![row([
            "One session",
            "CPU, ms",
            "added",
            "ours/its",
            "of stunnel's",
            "p50, ms",
            "added",
            "p95, ms",
            "p50 with Nagle, ms",
            "added",
        ])];
        let mut chart = Vec::new();
        for (at, case) in cases.iter().enumerate() {
            let floor = place(case.stack.floor());
            let added = |round: &[Sessions], at: usize| milliseconds(round[at].cpu) - milliseconds(round[floor].cpu);
            let more = median(rounds.iter().map(|round| added(round, at)));
            let ours = if case.client.tls.is_some() { tls } else { plain };
            let ratio = median(rounds.iter().map(|round| added(round, ours) / added(round, at)));
            let compared = case.stack.needs().is_some() || case.stack.is_another_build();
            let of = |other: usize| ms(median(rounds.iter().map(|round| added(round, at) / added(round, other))));
            let cpu = median(rounds.iter().map(|round| milliseconds(round[at].cpu)));
            let unless_floor = |text: String| if at == floor { String::new() } else { text };
            let quick = |at: usize| share(&rounds, at, 0.5, |one| &one.took);
            let nagle = |at: usize| share(&rounds, at, 0.5, |one| &one.took_with_nagle);
            table.push(vec![
                case.client.tls.as_ref().map_or(case.name.clone(), |_| self.with_facts(case)),
                ms(cpu),
                unless_floor(ms(more)),
                if compared { ms(ratio) } else { String::new() },
                stunnel.filter(|_| case.client.tls.is_some()).map_or_else(String::new, of),
                ms(quick(at)),
                unless_floor(ms(quick(at) - quick(floor))),
                ms(share(&rounds, at, 0.95, |one| &one.took)),
                ms(nagle(at)),
                unless_floor(ms(nagle(at) - nagle(floor))),
            ]);
            if at != floor {
                chart.push((case.name.clone(), more));
            }
        }
        report.heading("One session");
        report.say("CPU of all processes of the server's side; `added` is over the bare server of the same round.\n");
        report.table(&table);
        report.chart("CPU that one session adds, ms", chart);
    }

    fn rounds(&self, cases: &[Case<'_>]) -> Rounds {
        let mut rounds = Rounds::new();
        for round in 0..=self.options.rounds {
            // The first round warms up.
            let count = if round == 0 { 3 } else { self.options.sessions };
            rounds.push(in_turn(cases.len(), round, |at| {
                let Case { stack, client, .. } = &cases[at];
                measure::sessions(&self.kit, *stack, client, count, self.options.concurrency)
            }));
        }
        rounds.remove(0);
        rounds
    }

    fn cases(&self) -> Vec<Case<'_>> {
        let case = |stack: Stack, client| Case { name: stack.name().into(), stack, client };
        let named = |name: &str, stack, client| Case { name: name.into(), stack, client };
        let mut cases = vec![
            case(Stack::Bare, &self.plain),
            named("starttls-wrapper, plaintext", Stack::Respawn, &self.plain),
            named("starttls-wrapper, plaintext, a second copy", Stack::Twin, &self.plain),
            case(Stack::Respawn, &self.tls),
            case(Stack::Twin, &self.tls),
            named("starttls-wrapper --respawn, hybrid group", Stack::Respawn, &self.hybrid),
            case(Stack::Implicit, &self.implicit),
            case(Stack::Backend, &self.tls),
            case(Stack::BareDynamic, &self.plain),
            case(Stack::RespawnDynamic, &self.tls),
        ];
        if self.kit.other.is_some() {
            cases.push(named("the other build, plaintext", Stack::Other, &self.plain));
            cases.push(case(Stack::Other, &self.tls));
        }
        cases.extend(self.build_cases().map(|(name, stack, client)| Case { name, stack, client }));
        cases.extend(self.peers().map(|stack| case(stack, &self.tls)));
        cases
    }

    fn with_facts(&self, case: &Case<'_>) -> String {
        format!("{}, {}", case.name, measure::facts(&self.kit, case.stack, case.client))
    }
}

fn place_of(cases: &[Case<'_>], name: &str) -> usize {
    cases.iter().position(|case| case.name == name).unwrap_or(0)
}

/// The time below which this share of a case's sessions is.
fn share(rounds: &Rounds, at: usize, share: f64, took: fn(&Sessions) -> &Vec<std::time::Duration>) -> f64 {
    quantile(rounds.iter().flat_map(|round| took(&round[at])).map(|one| milliseconds(*one)), share)
}
