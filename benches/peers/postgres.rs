//! Target 5: a connection of PostgreSQL's. Its server stays, so nothing but what stands before it is started anew for
//! each; pgbench connects again for each statement (`-C`).

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::report::{Report, median, milliseconds, ms};
use crate::stack::{Kit, in_few_words, is_installed, listens};
use crate::{Bench, account, row};

/// What stands before the database.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Front {
    /// Nothing, and no TLS.
    None,
    /// Nothing; the database speaks TLS.
    Itself,
    /// This program, under tcpserver.
    Ours,
    /// `protocol = pgsql`.
    Stunnel,
}

const FRONTS: [(Front, &str); 4] = [
    (Front::None, "PostgreSQL, plaintext"),
    (Front::Itself, "PostgreSQL's own TLS"),
    (Front::Ours, "starttls-wrapper --respawn -p postgres --connect"),
    (Front::Stunnel, "stunnel protocol=pgsql"),
];

impl Bench {
    /// Connections a second, and the CPU of what stands before the database; the database's own is not in it.
    pub(crate) fn postgres(&self, report: &mut Report) {
        let Some(programs) = programs().filter(|_| is_installed("pgbench")) else {
            return report.say("\nPostgreSQL is not installed.");
        };
        let databases = [false, true].map(|tls| Database::start(&self.kit, &programs, tls));
        let fronts: Vec<_> =
            FRONTS.iter().filter(|(front, _)| *front != Front::Stunnel || is_installed("stunnel4")).collect();
        let mut rounds = Vec::new();
        for _ in 0..self.options.rounds {
            let one = |(front, _): &&(Front, &str)| {
                let database = &databases[usize::from(*front == Front::Itself)];
                connections(&self.kit, *front, database.address, self.options.sessions)
            };
            rounds.push(fronts.iter().map(one).collect::<Vec<_>>());
        }
        let mut table = vec![row(["Connections of PostgreSQL", "a second", "CPU before it, ms", "of our rate"])];
        for (at, (front, name)) in fronts.iter().enumerate() {
            let ours = fronts.iter().position(|(front, _)| *front == Front::Ours).unwrap_or(0);
            let rate = median(rounds.iter().map(|round| round[at].0));
            let cpu = median(rounds.iter().map(|round| milliseconds(round[at].1)));
            let ratio = median(rounds.iter().map(|round| round[at].0 / round[ours].0));
            let before = matches!(front, Front::Ours | Front::Stunnel);
            table.push(vec![
                (*name).into(),
                format!("{rate:.0}"),
                if before { ms(cpu) } else { String::new() },
                ms(ratio),
            ]);
        }
        report.heading("PostgreSQL");
        report.say("`pgbench -C`, one client, one statement a connection, sslmode=require.\n");
        report.table(&table);
    }
}

/// How many a second, and the CPU time of one.
fn connections(kit: &Kit, front: Front, database: SocketAddr, count: usize) -> (f64, Duration) {
    let before = front.start(kit, database);
    let address = before.as_ref().map_or(database, |(_, address)| *address);
    let script = kit.path("one.sql");
    fs::write(&script, "select 1;\n").expect("the run's directory");
    let mode = if front == Front::None { "disable" } else { "require" };
    let service = format!("host=127.0.0.1 port={} user=postgres dbname=postgres sslmode={mode}", address.port());
    let mut pgbench = Command::new("pgbench");
    in_few_words(&mut pgbench).args(["-n", "-C", "-c", "1", "-t", &count.to_string(), "-f"]).arg(script);
    let output = pgbench.arg(service).output().expect("pgbench");
    let said = String::from_utf8_lossy(&output.stdout);
    let rate = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    let rate = rate.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let spent = account::reaped();
    if let Some((mut child, _)) = before {
        // Its children have ended with their clients, and it has reaped them. Whoever waited for all would wait for the
        // databases.
        account::terminate(child.id());
        child.wait().expect("it was started here");
    }
    (rate, account::reaped().saturating_sub(spent) / count as u32)
}

impl Front {
    fn start(self, kit: &Kit, database: SocketAddr) -> Option<(Child, SocketAddr)> {
        let address = free_address();
        let mut command = match self {
            Self::None | Self::Itself => return None,
            Self::Ours => {
                let mut command = Command::new("tcpserver");
                in_few_words(&mut command).args([
                    "-H",
                    "-R",
                    "-l0",
                    "-b1024",
                    "127.0.0.1",
                    &address.port().to_string(),
                ]);
                command.env("KEYFILE", kit.path("key.pem")).env("CERTFILE", kit.path("cert.pem"));
                command.arg(&kit.wrapper).args(["--respawn", "-p", "postgres", "--connect", &database.to_string()]);
                command
            }
            Self::Stunnel => {
                let settings = format!(
                    "foreground = yes\ndebug = 3\npid =\n[postgres]\naccept = {address}\nprotocol = pgsql\n\
                     connect = {database}\nkey = {}\ncert = {}\n",
                    kit.path("key.pem").display(),
                    kit.path("cert.pem").display(),
                );
                fs::write(kit.path("stunnel.conf"), settings).expect("the run's directory");
                let mut command = Command::new("stunnel4");
                in_few_words(&mut command).arg(kit.path("stunnel.conf"));
                command
            }
        };
        let child = command.stderr(Stdio::null()).spawn().expect("it is installed");
        wait_for(address);
        Some((child, address))
    }
}

/// A database that trusts everybody, as it listens for us alone.
struct Database {
    child: Child,
    address: SocketAddr,
    directory: PathBuf,
}

impl Database {
    fn start(kit: &Kit, programs: &Path, tls: bool) -> Self {
        let directory = kit.path(if tls { "database-tls" } else { "database" });
        let address = free_address();
        run(Command::new("install").args(["-d", "-o", "postgres", "-m", "700"]).arg(&directory));
        let as_postgres = |name: &str| {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(programs.join(name));
            command.arg("-D").arg(&directory).current_dir(&directory).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        run(as_postgres("initdb").args(["-N", "-A", "trust", "-U", "postgres"]));
        let mut postgres = as_postgres("postgres");
        postgres.args(["-h", "127.0.0.1", "-k", "", "-p", &address.port().to_string()]);
        if tls {
            for (name, file) in [("server.key", "key.pem"), ("server.crt", "cert.pem")] {
                let mut install = Command::new("install");
                run(install.args(["-o", "postgres", "-m", "600"]).arg(kit.path(file)).arg(directory.join(name)));
            }
            postgres.args(["-c", "ssl=on"]);
        }
        let child = postgres.spawn().expect("PostgreSQL");
        wait_for(address);
        Self { child, address, directory }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        account::terminate(self.child.id());
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Where Debian has the server's programs.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|version| version.path().join("bin"));
    versions.filter(|path| path.join("postgres").exists()).max()
}

fn run(command: &mut Command) {
    assert!(command.status().is_ok_and(|status| status.success()), "{command:?} does not work; this part is root's");
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// Until somebody listens.
fn wait_for(address: SocketAddr) {
    let began = Instant::now();
    while !listens(address) {
        assert!(began.elapsed() < Duration::from_secs(20), "nobody listens at {address}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
