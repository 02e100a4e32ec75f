//! Servers of others, and the super-server.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::certificates::{Dir, Site};
use super::port::free_port;
use super::program::{Log, Running, path_of, program};
use super::wrapper::{WRAPPER, Wrapper, from_here};

/// Somebody who listens.
pub(crate) struct Listening {
    running: Running,
    pub(crate) port: u16,
    /// Configuration, as long as it is needed.
    _dir: Option<Dir>,
}

impl Listening {
    /// The super-server, or whoever else listens: it leads a process group of its own.
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    pub(crate) fn log(&self) -> &Log {
        &self.running.log
    }
}

/// The wrapper and its prog under tcpserver, on a free port.
pub(crate) fn tcpserver(wrapper: &Wrapper, prog: &[&str]) -> Listening {
    let path = path_of("tcpserver");
    listening(&mut wrapper.command(&[&[path.as_str()], ANYWHERE].concat(), prog))
}

/// A script of examples/ that listens at `IP` and `PORT`, before a server at this port of 127.0.0.1, told by a variable.
pub(crate) fn example(name: &str, site: &Site, (variable, inner): (&str, u16)) -> Listening {
    let port = free_port();
    let mut script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name));
    let programs = Path::new(from_here(WRAPPER)).parent().unwrap().display().to_string();
    script.env("PATH", format!("{programs}:/usr/bin:/usr/sbin:/bin")).env("IP", "127.0.0.1");
    script.env("PORT", port.to_string()).env(variable, format!("127.0.0.1:{inner}"));
    script.env("KEYFILE", site.key()).env("CERTFILE", site.cert()).stdin(Stdio::null()).stdout(Stdio::null());
    let running = Running::start(&mut script);
    wait_for(port, &running.log);
    Listening { running, port, _dir: None }
}

/// tcpserver's options for a free port. -1 tells the port; -H -R and -l: nobody is to be asked for names; -c: as many as
/// come.
pub(crate) const ANYWHERE: &[&str] = &["-1", "-H", "-R", "-l", "localhost", "-c", "200", "127.0.0.1", "0"];

/// These words under tcpserver, which judges whoever connects by these rules (tcprules). `command` runs them.
pub(crate) fn tcpserver_with_rules(rules: &str, command: impl FnOnce(&[&str]) -> Command) -> Listening {
    let dir = Dir::new();
    let rules = compiled(rules, &dir);
    let mut command =
        command(&[&path_of("tcpserver"), "-1", "-H", "-R", "-l", "localhost", "-x", &rules, "127.0.0.1", "0"]);
    Listening { _dir: Some(dir), ..listening(&mut command) }
}

/// The path of these rules, as tcprules compiles them.
pub(crate) fn compiled(rules: &str, dir: &Dir) -> String {
    let path = dir.file("rules.cdb");
    let mut tcprules = program("tcprules").arg(&path).arg(dir.file("rules.tmp")).stdin(Stdio::piped()).spawn().unwrap();
    tcprules.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(tcprules.wait().unwrap().success());
    path.to_str().unwrap().to_owned()
}

/// A tcpserver, which tells its port on standard output.
pub(crate) fn listening(command: &mut Command) -> Listening {
    let mut running = Running::start(command.stdin(Stdio::null()).stdout(Stdio::piped()));
    let mut line = String::new();
    BufReader::new(running.child().stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port = line.trim().parse().unwrap_or_else(|_| panic!("tcpserver tells no port:\n{}", running.log.text()));
    Listening { running, port, _dir: None }
}

/// stunnel: TLS from the first byte, and prog behind it.
pub(crate) fn stunnel(site: &Site, prog: &[&str]) -> Listening {
    start_stunnel(site, &format!("exec = {}\nexecArgs = {}\n", prog[0], prog.join(" ")))
}

/// stunnel: TLS from the first byte, and a plaintext server at this port behind it.
pub(crate) fn stunnel_before(site: &Site, port: u16) -> Listening {
    start_stunnel(site, &format!("connect = 127.0.0.1:{port}\n"))
}

/// stunnel: STARTTLS, and a plaintext server at this port behind it.
pub(crate) fn stunnel_with_starttls(site: &Site, protocol: &str, port: u16) -> Listening {
    start_stunnel(site, &format!("protocol = {protocol}\nconnect = 127.0.0.1:{port}\n"))
}

fn start_stunnel(site: &Site, service: &str) -> Listening {
    let dir = Dir::new();
    let configuration = format!(
        "foreground = yes\npid =\ndebug = info\n[tls]\naccept = 127.0.0.1:0\ncert = {}\nkey = {}\n{service}",
        site.cert().display(),
        site.key().display(),
    );
    fs::write(dir.file("stunnel.conf"), configuration).unwrap();
    let running = Running::start(program("stunnel4").arg(dir.file("stunnel.conf")).stdin(Stdio::null()));
    running.log.line_with("Accepting new connections");
    let bound = running.log.line_with("bound to 127.0.0.1:");
    let port = bound.trim().rsplit(':').next().unwrap().parse().unwrap();
    Listening { running, port, _dir: Some(dir) }
}

/// haproxy before this port; it tells who the client is with this word of its configuration.
pub(crate) fn haproxy(port: u16, sends: &str) -> Listening {
    let (dir, front) = (Dir::new(), free_port());
    let configuration = format!(
        "defaults\n mode tcp\n timeout connect 10s\n timeout client 60s\n timeout server 60s\n\
         listen front\n bind 127.0.0.1:{front}\n server inner 127.0.0.1:{port} {sends}\n"
    );
    fs::write(dir.file("haproxy.cfg"), configuration).unwrap();
    let running =
        Running::start(program("haproxy").arg("-db").arg("-f").arg(dir.file("haproxy.cfg")).stdin(Stdio::null()));
    wait_for(front, &running.log);
    Listening { running, port: front, _dir: Some(dir) }
}

/// exim4 as a daemon with this site's certificate: STARTTLS, and at the second port TLS from the first byte.
pub(crate) fn exim4_with_tls(site: &Site) -> (Listening, u16) {
    let (dir, port, implicit) = (Dir::new(), free_port(), free_port());
    let configuration = format!(
        "primary_hostname = exim.example\n\
         spool_directory = {0}/spool\n\
         log_file_path = {0}/log-%s\n\
         pid_file_path = {0}/pid\n\
         exim_user = root\n\
         exim_group = root\n\
         local_interfaces = <; [127.0.0.1]:{port} ; [127.0.0.1]:{implicit}\n\
         tls_on_connect_ports = {implicit}\n\
         tls_advertise_hosts = *\n\
         tls_certificate = {1}\n\
         tls_privatekey = {2}\n\
         acl_smtp_rcpt = accept\n\
         queue_only\n",
        dir.path().display(),
        site.cert().display(),
        site.key().display(),
    );
    fs::write(dir.file("exim.conf"), configuration).unwrap();
    let mut command = program("exim4");
    let running = Running::start(command.arg("-C").arg(dir.file("exim.conf")).arg("-bdf").stdin(Stdio::null()));
    [port, implicit].into_iter().for_each(|port| wait_for(port, &running.log));
    (Listening { running, port, _dir: Some(dir) }, implicit)
}

/// dovecot's ManageSieve with this site's certificate: STARTTLS.
pub(crate) fn dovecot_sieve(site: &Site) -> Listening {
    let (dir, port) = (Dir::new(), free_port());
    let configuration = format!(
        "base_dir = {0}/run\n\
         state_dir = {0}/state\n\
         log_path = /dev/stderr\n\
         protocols = sieve\n\
         ssl = yes\n\
         ssl_cert = <{1}\n\
         ssl_key = <{2}\n\
         default_internal_user = root\n\
         default_internal_group = root\n\
         default_login_user = nobody\n\
         service managesieve-login {{\n chroot =\n inet_listener sieve {{\n address = 127.0.0.1\n port = {port}\n }}\n}}\n\
         service anvil {{\n chroot =\n}}\n\
         passdb {{\n driver = static\n args = nopassword=y\n}}\n\
         userdb {{\n driver = static\n args = uid=nobody gid=nogroup home={0}\n}}\n",
        dir.path().display(),
        site.cert().display(),
        site.key().display(),
    );
    fs::write(dir.file("dovecot.conf"), configuration).unwrap();
    let mut command = program("dovecot");
    let running = Running::start(command.arg("-F").arg("-c").arg(dir.file("dovecot.conf")).stdin(Stdio::null()));
    wait_for(port, &running.log);
    Listening { running, port, _dir: Some(dir) }
}

/// nginx as a mail server that takes nobody's word for who the client is but a PROXY header's. It asks its own web
/// server about every mail, which answers with the client's address.
pub(crate) fn nginx_behind_proxy() -> Listening {
    let (port, answers) = (free_port(), free_port());
    let web = format!(
        "listen 127.0.0.1:{answers}; location / {{ add_header Auth-Status \"client $http_client_ip\"; return 204; }}"
    );
    let mail = format!(
        "mail {{\n auth_http 127.0.0.1:{answers}/; server_name nginx.example; set_real_ip_from 127.0.0.1;\n\
         server {{ listen 127.0.0.1:{port} proxy_protocol; protocol smtp; smtp_auth none; }}\n}}\n"
    );
    nginx(port, "load_module /usr/lib/nginx/modules/ngx_mail_module.so;\n", &web, &mail)
}

/// nginx at this port: these lines, a web server, and more lines.
fn nginx(port: u16, before: &str, web: &str, behind: &str) -> Listening {
    let dir = Dir::new();
    let path = dir.path().display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!(" {name}_temp_path {path}/{name};\n"))
        .concat();
    let configuration = format!(
        "{before}daemon off; master_process off; pid {path}/pid; error_log stderr;\nevents {{}}\n\
         http {{\n access_log off;\n{temporary} server {{ {web} }}\n}}\n{behind}"
    );
    fs::write(dir.file("nginx.conf"), configuration).unwrap();
    let mut command = program("nginx");
    command.arg("-c").arg(dir.file("nginx.conf")).arg("-p").arg(dir.path()).stdin(Stdio::null());
    let running = Running::start(&mut command);
    wait_for(port, &running.log);
    Listening { running, port, _dir: Some(dir) }
}

/// Until somebody listens there: a program that does not tell it is asked again and again.
fn wait_for(port: u16, log: &Log) {
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "nobody listens at port {port}; the log:\n{}", log.text());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A server of this protocol that says yes to everything and knows no TLS.
pub(crate) fn plain(protocol: &str) -> Listening {
    behind_tcpserver(&[&path_of("python3"), "-ISc", GREETER, protocol])
}

/// This prog, which knows no TLS.
pub(crate) fn behind_tcpserver(prog: &[&str]) -> Listening {
    let tcpserver = ["-1", "-H", "-R", "-l", "localhost", "127.0.0.1", "0"];
    listening(program("tcpserver").args(tcpserver).args(prog))
}

/// A mail server that knows no TLS.
pub(crate) struct Mail {
    pub(crate) name: &'static str,
    pub(crate) prog: Vec<String>,
    /// exim4's configuration and spool.
    dir: Option<Dir>,
}

impl Mail {
    pub(crate) fn words(&self) -> Vec<&str> {
        self.prog.iter().map(String::as_str).collect()
    }

    /// Makes sure that a mail for this recipient has arrived here, by a server that writes this log.
    #[track_caller]
    pub(crate) fn has_received(&self, to: &str, log: &Log) {
        match &self.dir {
            None => _ = log.line_with(&format!("RCPT TO:<{to}>")),
            Some(dir) => {
                let files = fs::read_dir(dir.file("spool/input")).unwrap();
                let mut mails = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
                assert!(mails.any(|mail| mail.contains(&format!("\n{to}\n"))), "no mail to {to} in the spool of exim4");
            }
        }
    }
}

/// mailfront: takes every mail, and tells its log what it heard.
pub(crate) fn mailfront() -> Mail {
    Mail { name: "mailfront", prog: vec![path_of("smtpfront-echo"), "accept".into()], dir: None }
}

/// exim4: insists on EHLO, and keeps every mail in a queue of its own that nobody runs.
pub(crate) fn exim4() -> Mail {
    let dir = Dir::new();
    let configuration = format!(
        "primary_hostname = exim.example\n\
         spool_directory = {0}/spool\n\
         log_file_path = {0}/log-%s\n\
         exim_user = root\n\
         exim_group = root\n\
         hosts_require_helo = *\n\
         tls_advertise_hosts =\n\
         acl_smtp_rcpt = accept\n\
         queue_only\n\
         begin routers\n\
         nowhere:\n  driver = redirect\n  data = :blackhole:\n",
        dir.path().display()
    );
    fs::write(dir.file("exim.conf"), configuration).unwrap();
    let configuration = dir.file("exim.conf").to_str().unwrap().to_owned();
    Mail { name: "exim4", prog: vec![path_of("exim4"), "-C".into(), configuration, "-bs".into()], dir: Some(dir) }
}

/// A server on descriptors 0 and 1 that says yes to everything.
pub(crate) const GREETER: &str = r#"
import sys
def say(text):
    sys.stdout.buffer.write(text.encode() + b"\r\n")
    sys.stdout.buffer.flush()
protocol = sys.argv[1]
say({"smtp": "220 plain", "lmtp": "220 plain LMTP", "pop3": "+OK plain", "imap": "* OK plain", "nntp": "200 plain",
     "sieve": '"SIEVE" "fileinto"\r\nOK "plain"'}[protocol])
for line in sys.stdin.buffer:
    words = line.decode().split()
    if protocol == "imap":
        if words[1] == "CAPABILITY":
            say("* CAPABILITY IMAP4rev1")
        say(words[0] + " OK done")
    elif protocol == "sieve":
        say("OK")
    elif protocol == "nntp":
        say("101 list\r\nVERSION 2\r\n." if words[0] == "CAPABILITIES" else "111 done")
    elif protocol == "pop3":
        say("+OK list\r\n." if words[0] == "CAPA" else "+OK")
    else:
        say("250 done")
"#;

/// These words under tcpserver, on a free port.
pub(crate) fn tcpserver_of(words: &[&str]) -> Listening {
    let mut command = program("tcpserver");
    listening(command.args(["-1", "-H", "-R", "-l", "localhost", "127.0.0.1", "0"]).args(words))
}

/// dovecot with this site's certificate, for whoever has any password: POP3 and IMAP with TLS from the first byte, and
/// IMAP with STARTTLS.
pub(crate) fn dovecot_mail(site: &Site) -> (Listening, [u16; 3]) {
    let (dir, ports) = (Dir::new(), [free_port(), free_port(), free_port()]);
    let [pop3s, imaps, imap] = ports;
    let path = dir.path().display();
    let login = |port, ssl| format!("{{\n address = 127.0.0.1\n port = {port}\n ssl = {ssl}\n }}\n");
    let configuration = format!(
        "base_dir = {path}/run\nstate_dir = {path}/state\nlog_path = /dev/stderr\nprotocols = pop3 imap\n\
         ssl = yes\nssl_cert = <{}\nssl_key = <{}\n\
         default_internal_user = root\ndefault_internal_group = root\ndefault_login_user = nobody\n\
         service pop3-login {{\n chroot =\n inet_listener pop3 {{\n port = 0\n }}\n inet_listener pop3s {}}}\n\
         service imap-login {{\n chroot =\n inet_listener imaps {} inet_listener imap {}}}\n\
         service anvil {{\n chroot =\n}}\nservice stats {{\n chroot =\n}}\n\
         mail_location = maildir:{path}/mail/%u\n\
         passdb {{\n driver = static\n args = nopassword=y\n}}\n\
         userdb {{\n driver = static\n args = uid=nobody gid=nogroup home={path}\n}}\n",
        site.cert().display(),
        site.key().display(),
        login(pop3s, "yes"),
        login(imaps, "yes"),
        login(imap, "no"),
    );
    fs::write(dir.file("dovecot.conf"), configuration).unwrap();
    let mails = dir.file("mail/reader/new");
    fs::create_dir_all(&mails).unwrap();
    fs::write(mails.join("1.test.example"), "Subject: one\n\nA mail of dovecot's.\n").unwrap();
    assert!(Command::new("chown").args(["-R", "nobody:nogroup"]).arg(dir.file("mail")).status().unwrap().success());
    let mut command = program("dovecot");
    let running = Running::start(command.arg("-F").arg("-c").arg(dir.file("dovecot.conf")).stdin(Stdio::null()));
    ports.into_iter().for_each(|port| wait_for(port, &running.log));
    (Listening { running, port: imap, _dir: Some(dir) }, ports)
}

/// nginx as a web server with this site's certificate. Its page is `a page`.
pub(crate) fn nginx_https(site: &Site) -> Listening {
    let port = free_port();
    let web = format!(
        "listen 127.0.0.1:{port} ssl; ssl_certificate {}; ssl_certificate_key {};\n\
         location / {{ return 200 \"a page\\n\"; }}",
        site.cert().display(),
        site.key().display(),
    );
    nginx(port, "", &web, "")
}
