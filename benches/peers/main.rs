//! Side by side with the peers: what a session costs, in CPU, time and memory. See benches/README.md.

#![allow(unreachable_pub)] // nothing here is a library
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr
)]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

mod account;
mod backend;
mod callers;
mod client;
mod floor;
mod instructions;
mod measure;
mod options;
mod postgres;
mod report;
mod server;
mod sessions;
mod stack;

use client::{Client, Way};
use measure::Bulk;
use options::Options;
use report::{Report, median, milliseconds, ms};
use stack::{Kit, Stack};

fn main() -> ExitCode {
    let Some(options) = options::parse() else { return ExitCode::SUCCESS };
    if !stack::is_installed("tcpserver") || !stack::is_installed("openssl") {
        eprintln!("tcpserver (ucspi-tcp) and openssl are needed; see benches/README.md");
        return ExitCode::FAILURE;
    }
    account::adopt_orphans();
    let bench = Bench::new(options);
    let mut report = Report::default();
    bench.write_head(&mut report);
    if bench.options.wants("sessions") {
        bench.sessions(&mut report);
    }
    if bench.options.wants("bulk") {
        bench.bulk(&mut report);
    }
    if bench.options.wants("idle") {
        bench.idle(&mut report);
    }
    if bench.options.wants("slow") {
        bench.slow(&mut report);
    }
    if bench.options.wants("growth") {
        bench.growth(&mut report);
    }
    if bench.options.wants("callers") {
        bench.callers(&mut report);
    }
    if bench.options.wants("postgres") {
        bench.postgres(&mut report);
    }
    let cheap =
        !bench.options.wants("instructions") || instructions::check(&bench.kit, &bench.plain, &bench.tls, &mut report);
    report.publish(&bench.options.results);
    match measure::LOST.load(Ordering::Relaxed) {
        0 if cheap => ExitCode::SUCCESS,
        0 => ExitCode::FAILURE,
        lost => {
            eprintln!("{lost} sessions were lost");
            ExitCode::FAILURE
        }
    }
}

/// The run.
struct Bench {
    options: Options,
    kit: Kit,
    plain: Client,
    tls: Client,
    /// The same from the first byte.
    implicit: Client,
    /// With X25519MLKEM768.
    hybrid: Client,
    served: Arc<ServerConfig>,
}

impl Bench {
    fn new(options: Options) -> Self {
        let mut kit = Kit::make(std::env::temp_dir().join(format!("starttls-wrapper-bench.{}", std::process::id())));
        let chain: Vec<_> =
            CertificateDer::pem_file_iter(kit.path("cert.pem")).expect("made").map(|one| one.expect("made")).collect();
        let key = PrivateKeyDer::from_pem_file(kit.path("key.pem")).expect("made");
        let client = |group| {
            let mut roots = RootCertStore::empty();
            roots.add(chain[0].clone()).expect("made");
            ClientConfig::builder_with_provider(provider(group))
                .with_safe_default_protocol_versions()
                .expect("TLS 1.3 and 1.2")
                .with_root_certificates(roots)
                .with_no_client_auth()
        };
        let tls = Some(Arc::new(client(aws_lc_rs::kx_group::X25519)));
        let hybrid = Some(Arc::new(client(aws_lc_rs::kx_group::X25519MLKEM768)));
        let served = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS 1.3 and 1.2")
            .with_no_client_auth()
            .with_single_cert(chain.clone(), key)
            .expect("made");
        let served = Arc::new(served);
        kit.backend = backend::start(Arc::clone(&served));
        if let Some(other) = &options.against {
            kit.compare(other);
        }
        let size = options.size;
        let client = |tls| Client { tls, at_once: false, nagle: false, size };
        let implicit = Client { at_once: true, ..client(tls.clone()) };
        Self { options, kit, plain: client(None), tls: client(tls), implicit, hybrid: client(hybrid), served }
    }

    fn write_head(&self, report: &mut Report) {
        let Options { sessions, rounds, concurrency, size, .. } = self.options;
        report.say(&format!("\n{}. Key ECDSA P-256, group X25519 unless said otherwise.", report::machine()));
        report.say(&format!(
            "Sessions: {rounds} rounds of {sessions}, {concurrency} at a time, a message of {size} bytes. All stacks \
             run in every round, in another order each time; ratios are medians of the rounds' ratios."
        ));
        report.heading("The floor");
        let handshake = |client: &Client| floor::handshake(client.tls.as_ref().expect("TLS"), &self.served);
        report.table(&[
            row(["What nobody can be faster than", "CPU, ms"]),
            vec!["exec of an empty static program".into(), ms(milliseconds(floor::exec(&self.kit.empty)))],
            vec!["server's half of one handshake, X25519".into(), ms(milliseconds(handshake(&self.tls)))],
            vec!["the same, X25519MLKEM768".into(), ms(milliseconds(handshake(&self.hybrid)))],
        ]);
    }

    /// Those that are installed; none where two builds of this program are compared.
    fn peers(&self) -> impl Iterator<Item = Stack> + use<> {
        let compared = self.kit.other.is_some();
        let installed = move |stack: &Stack| !compared && stack.needs().is_some_and(stack::is_installed);
        [Stack::Stunnel, Stack::Tlswrapper].into_iter().filter(installed)
    }

    /// Builds of this program that are there besides the one under test; none where two are compared.
    fn builds(&self) -> impl Iterator<Item = Stack> + use<'_> {
        let compared = self.kit.other.is_some();
        self.kit.builds.iter().map(|(stack, _)| *stack).filter(move |_| !compared)
    }

    /// Plaintext and TLS through each of them.
    fn build_cases(&self) -> impl Iterator<Item = (String, Stack, &Client)> + use<'_> {
        self.builds().flat_map(|stack| {
            let plaintext = stack.name().replace(" --respawn", ", plaintext");
            [(plaintext, stack, &self.plain), (stack.name().into(), stack, &self.tls)]
        })
    }

    /// The bare server and this program first: what the others are compared with.
    fn bulk_cases(&self) -> Vec<(String, Stack, &Client)> {
        let case = |name: &str, stack, client| (name.to_owned(), stack, client);
        let mut cases = vec![
            case(Stack::Bare.name(), Stack::Bare, &self.plain),
            case("starttls-wrapper, plaintext", Stack::Respawn, &self.plain),
            case(OURS_TLS, Stack::Respawn, &self.tls),
        ];
        // tlswrapper-smtp reads commands as well as TLS, and knows no word for bulk.
        let peers = self.peers().filter(|stack| *stack != Stack::Tlswrapper);
        if self.kit.other.is_some() {
            cases.push(case("the other build, plaintext", Stack::Other, &self.plain));
            cases.push(case(Stack::Other.name(), Stack::Other, &self.tls));
        } else {
            cases.push(case("starttls-wrapper, plaintext, a second copy", Stack::Twin, &self.plain));
            cases.push(case(Stack::Twin.name(), Stack::Twin, &self.tls));
            cases.extend(self.build_cases());
            cases.extend(self.kit.relay.iter().map(|_| case(Stack::Relay.name(), Stack::Relay, &self.plain)));
        }
        cases.extend(peers.map(|stack| case(stack.name(), stack, &self.tls)));
        cases
    }

    /// Target 2: bulk.
    fn bulk(&self, report: &mut Report) {
        let bytes = self.options.bulk * 1_000_000;
        let cases = self.bulk_cases();
        let measured = |at: usize| {
            let (_, stack, client) = &cases[at];
            [Way::Up, Way::Down].map(|way| measure::bulk(&self.kit, *stack, client, way, bytes))
        };
        let rounds: Vec<Vec<[Bulk; 2]>> =
            (0..self.options.rounds * STREAMS).map(|round| in_turn(cases.len(), round, measured)).collect();
        let mut table = vec![row([
            "One stream",
            "up, CPU ms/100 MB",
            "added",
            "MB/s",
            "its/ours",
            "down, CPU ms/100 MB",
            "added",
            "MB/s",
            "its/ours",
        ])];
        let mut charts = [Vec::new(), Vec::new()];
        for (at, (name, stack, client)) in cases.iter().enumerate() {
            let mut cells = vec![name.to_string()];
            for way in [0, 1] {
                let cpu = |at: usize| median(rounds.iter().map(|round| milliseconds(round[at][way].cpu)));
                let added = median(
                    rounds.iter().map(|round| milliseconds(round[at][way].cpu) - milliseconds(round[0][way].cpu)),
                );
                // Plaintext is measured against the bare server, TLS against TLS.
                let ours = if client.tls.is_none() { 1 } else { 2 };
                let ratio = median(rounds.iter().map(|round| round[at][way].rate / round[ours][way].rate));
                let compared = *stack == Stack::Relay
                    || *stack == Stack::Bare
                    || stack.needs().is_some()
                    || stack.is_another_build();
                cells.push(format!("{:.0}", cpu(at)));
                cells.push(if at == 0 { String::new() } else { format!("{added:.0}") });
                cells.push(format!("{:.0}", median(rounds.iter().map(|round| round[at][way].rate))));
                cells.push(if compared { ms(ratio) } else { String::new() });
                charts[way].push((name.to_string(), cpu(at)));
            }
            table.push(cells);
        }
        report.heading("Bulk");
        report.say(&format!("Medians of {} streams of {} MB each way.\n", rounds.len(), self.options.bulk));
        report.table(&table);
        let [up, down] = charts;
        report.chart("CPU for an upload of 100 MB, ms", up);
        report.chart("CPU for a download of 100 MB, ms", down);
    }

    /// Target 3: memory.
    fn idle(&self, report: &mut Report) {
        let count = self.options.idle;
        let case = |name: &str, stack, client| (name.to_owned(), stack, client);
        let mut cases = vec![
            case("starttls-wrapper, plaintext", Stack::Respawn, &self.plain),
            case(OURS_TLS, Stack::Respawn, &self.tls),
        ];
        if self.kit.other.is_some() {
            cases.push(case("the other build, plaintext", Stack::Other, &self.plain));
            cases.push(case(Stack::Other.name(), Stack::Other, &self.tls));
        }
        cases.extend(self.build_cases());
        cases.extend(self.peers().map(|stack| case(stack.name(), stack, &self.tls)));
        let mut table = vec![row(["One idle session", "PSS, KiB", "CPU of all in a second, ms"])];
        let mut chart = Vec::new();
        for (name, stack, client) in cases {
            let (memory, cpu) = measure::idle(&self.kit, stack, client, count);
            table.push(vec![name.clone(), format!("{memory:.0}"), ms(milliseconds(cpu))]);
            chart.push((name, memory));
        }
        report.heading("Memory");
        report.say(&format!("{count} sessions held behind MAIL, without the server's own processes.\n"));
        report.table(&table);
        report.chart("Memory of an idle session (PSS), KiB", chart);
    }

    /// Clients that say a byte a second: nothing grows.
    fn slow(&self, report: &mut Report) {
        let count = self.options.slow;
        let cases = [
            ("plaintext, watched", &self.plain, true),
            ("plaintext, passed through", &self.plain, false),
            ("TLS", &self.tls, false),
        ];
        let mut table = vec![row(["One slow session", "PSS, KiB", "after 10 bytes", "CPU of a byte, ms"])];
        for (name, client, is_watched) in cases {
            let slow = measure::slow(&self.kit, client, is_watched, count, 10);
            let cells = [format!("{:.0}", slow.before), format!("{:.0}", slow.after), ms(milliseconds(slow.cpu))];
            table.push([vec![name.to_owned()], cells.to_vec()].concat());
        }
        report.heading("Slow clients");
        report.say(&format!("{count} sessions through `--respawn`, each with a client that says one byte a second.\n"));
        report.table(&table);
    }

    /// Target 4: growth.
    fn growth(&self, report: &mut Report) {
        let mut table = vec![row(["Sessions held", "CPU of a new one, ms", "over the first"])];
        let mut first = f64::NAN;
        for held in &self.options.hold {
            let one =
                || milliseconds(measure::growth(&self.kit, Stack::Respawn, &self.tls, *held, self.options.sessions));
            let cpu = median((0..3).map(|_| one()));
            if first.is_nan() {
                first = cpu;
            }
            table.push(vec![held.to_string(), ms(cpu), ms(cpu / first)]);
        }
        report.heading("Growth");
        report.say("TLS sessions through `--respawn`, the server included.\n");
        report.table(&table);
    }
}

fn provider(group: &'static dyn SupportedKxGroup) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { kx_groups: vec![group], ..aws_lc_rs::default_provider() })
}

/// Streams each way in a round. Which of three processes share a core is decided once a stream, and makes a factor of two.
const STREAMS: usize = 4;

/// Each case once, another one first in each round, so that none has the same neighbour's heat or luck each time.
fn in_turn<T>(cases: usize, round: usize, measured: impl Fn(usize) -> T) -> Vec<T> {
    let mut all: Vec<(usize, T)> = (0..cases).map(|at| (at + round) % cases).map(|at| (at, measured(at))).collect();
    all.sort_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, one)| one).collect()
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

const OURS_TLS: &str = "starttls-wrapper --respawn";
