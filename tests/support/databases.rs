//! PostgreSQL and OpenLDAP, without TLS or with it: servers whose clients speak first.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::process::{Pid, Signal, getuid, kill_process};

use super::certificates::{Dir, Site};
use super::port::free_port;
use super::program::{Log, Running, path_of};

/// A PostgreSQL with a database and a user named `postgres`. It asks for a password, of everybody.
pub(crate) struct Database {
    running: Running,
    pub(crate) port: u16,
    dir: PathBuf,
}

impl Database {
    /// `ssl = off`: one for all who need it at the same time, as it takes a second to make.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Database>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let database = Arc::new(Self::start(None));
            *shared = Arc::downgrade(&database);
            database
        })
    }

    /// `ssl = on`, by SSLRequest.
    pub(crate) fn with_tls(site: &Site) -> Self {
        Self::start(Some(site))
    }

    fn start(site: Option<&Site>) -> Self {
        let (dir, port) = (home(), free_port());
        let data = dir.join("data");
        fs::write(dir.join("password"), PASSWORD).unwrap();
        let mut initdb = as_postgres(&dir, "initdb");
        initdb.args(["-N", "-A", "scram-sha-256", "-U", "postgres", "--pwfile", "password", "-D"]).arg(&data);
        let output = initdb.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let mut postgres = as_postgres(&dir, "postgres");
        postgres.arg("-D").arg(&data).args(["-p", &port.to_string(), "-k", "", "-h", "127.0.0.1"]);
        postgres.args(["-c", "log_connections=on", "-c", "log_statement=all", "-c", "fsync=off"]);
        if let Some(site) = site {
            for (name, file) in [("server.key", site.key()), ("server.crt", site.cert())] {
                fs::copy(file, data.join(name)).unwrap();
                fs::set_permissions(data.join(name), Permissions::from_mode(0o600)).unwrap();
                let owner = fs::metadata(&data).unwrap();
                chown(data.join(name), Some(owner.uid()), Some(owner.gid())).unwrap();
            }
            postgres.args(["-c", "ssl=on"]);
        }
        let running = Running::start(postgres.stdin(Stdio::null()).stdout(Stdio::null()));
        running.log.line_with("ready to accept connections");
        Self { running, port, dir }
    }

    pub(crate) fn log(&self) -> &Log {
        &self.running.log
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // At once, but in order: it has more processes than one, and shared memory.
        let _ = kill_process(Pid::from_raw(self.running.pid().cast_signed()).unwrap(), Signal::INT);
        self.running.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// What the user of the database has to say, and nobody else may.
pub(crate) const PASSWORD: &str = "correct horse";

/// A client of PostgreSQL that knows the password and this site. `service` is what libpq takes besides.
pub(crate) fn client_of_postgres(name: &str, site: &Site, port: u16, service: &str) -> (Command, String) {
    let mut command = Command::new(path_of(name));
    command.env("PGPASSWORD", PASSWORD).env("PGSSLROOTCERT", site.ca()).env("PGCONNECT_TIMEOUT", "20");
    command.stdin(Stdio::null());
    (command, format!("host=localhost port={port} user=postgres dbname=postgres {service}"))
}

/// What psql says to this statement.
pub(crate) fn psql(site: &Site, port: u16, service: &str, statement: &str) -> Output {
    let (mut command, service) = client_of_postgres("psql", site, port, service);
    command.args(["-X", "-A", "-t", "-c", statement, &service]).output().unwrap()
}

/// It will not run for root; and its directory must be reached by another user than root, wherever this checkout is.
fn as_postgres(dir: &Path, name: &str) -> Command {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin").join(name)).find(|path| path.exists());
    let path = found.unwrap_or_else(|| panic!("{name} is missing: install postgresql, or run tests/run"));
    let mut command = Command::new(if getuid().is_root() { Path::new("setpriv") } else { &path });
    if getuid().is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(path);
    }
    command.current_dir(dir).env("LC_ALL", "C.UTF-8");
    command
}

/// A directory of the user `postgres`.
fn home() -> PathBuf {
    let output = Command::new("mktemp").args(["-d", "-t", "starttls-wrapper-postgres.XXXXXXXX"]).output().unwrap();
    let dir = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    if getuid().is_root() {
        assert!(Command::new("chown").arg("postgres").arg(&dir).status().unwrap().success());
    }
    dir
}

/// An OpenLDAP for `dc=example`. It tells its log what it hears.
pub(crate) struct Directory {
    running: Running,
    pub(crate) port: u16,
    /// TLS from the first byte, if it has TLS at all.
    pub(crate) ldaps: u16,
    dir: Dir,
}

impl Directory {
    pub(crate) fn new() -> Self {
        Self::start(None)
    }

    pub(crate) fn with_tls(site: &Site) -> Self {
        Self::start(Some(site))
    }

    fn start(site: Option<&Site>) -> Self {
        let (dir, port, ldaps) = (Dir::new(), free_port(), free_port());
        fs::create_dir(dir.file("db")).unwrap();
        let tls = site.map_or_else(String::new, |site| {
            let [ca, cert, key] = [site.ca(), site.cert(), site.key()].map(|path| path.display().to_string());
            format!("TLSCACertificateFile {ca}\nTLSCertificateFile {cert}\nTLSCertificateKeyFile {key}\n")
        });
        let configuration = format!(
            "include /etc/ldap/schema/core.schema\n\
             modulepath /usr/lib/ldap\n\
             moduleload back_mdb\n\
             {tls}\
             database mdb\n\
             suffix dc=example\n\
             rootdn cn=admin,dc=example\n\
             rootpw {PASSWORD_OF_ADMIN}\n\
             directory {}\n",
            dir.file("db").display()
        );
        fs::write(dir.file("slapd.conf"), configuration).unwrap();
        let ldapi = dir.file("ldapi").display().to_string().replace('/', "%2f");
        let mut urls = format!("ldap://127.0.0.1:{port} ldapi://{ldapi}");
        if site.is_some() {
            urls += &format!(" ldaps://127.0.0.1:{ldaps}");
        }
        let mut slapd = Command::new(path_of("slapd"));
        slapd.args(["-d", "stats", "-h", &urls, "-f"]).arg(dir.file("slapd.conf")).stdin(Stdio::null());
        let running = Running::start(&mut slapd);
        running.log.line_with("slapd starting");
        Self { running, port, ldaps, dir }
    }

    /// Its socket in the file system, as `--connect` takes it.
    pub(crate) fn socket(&self) -> String {
        format!("unix:{}", self.dir.file("ldapi").display())
    }

    pub(crate) fn log(&self) -> &Log {
        &self.running.log
    }
}

/// What `cn=admin,dc=example` has to say.
pub(crate) const PASSWORD_OF_ADMIN: &str = "staple";

/// What a program of ldap-utils says, with these words, to a server at this port; it knows this site. For `localhost` it
/// would look for the machine's own name in the certificate.
pub(crate) fn ldap(name: &str, site: &Site, port: u16, words: &[&str], input: &str) -> Output {
    use std::io::Write;
    let mut command = Command::new(path_of(name));
    command.args(["-x", "-H", &format!("ldap://127.0.0.1:{port}")]).args(words).env("LDAPTLS_CACERT", site.ca());
    command.env("LDAPTLS_REQCERT", "hard");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}
