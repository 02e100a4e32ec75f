//! Every file of examples/ does what it says: it is run as it stands, and a real client speaks to it over STARTTLS.
//!
//! Where a server is not to be had on Debian, a stand-in of the same name is first in PATH.

#![allow(clippy::expect_used, clippy::indexing_slicing)]

#[path = "examples/service.rs"]
mod service;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use service::{POP3_STAND_IN, Place, Running, SMTP_STAND_IN, is_root, root};

#[test]
fn s6_runs_qmail_smtpd() {
    let place = Place::new("s6");
    place.stand_in("qmail-smtpd", SMTP_STAND_IN);
    place.stand_in("s6-setuidgid", AS_QMAILD);
    // s6-networking is not in Debian; its s6-tcpserver takes the same words.
    place.stand_in("s6-tcpserver", "#!/bin/sh\nexec tcpserver -v -H -R -l 0 \"$@\"\n");
    let service = place.copy("s6/smtp");
    place.write_envdir(&service.join("env"));
    let running = place.run(place.command(&service.join("run")).current_dir(&service));
    assert_eq!(running.delivers_mail(), "TCPREMOTEIP=127.0.0.1 SSL_PROTOCOL=TLSv1.3 KEYFILE=");
}

#[test]
fn s6_log_writes_lines() {
    let place = Place::new("s6-log");
    let logs = place.directory("logs");
    let mut log = place.command(&root().join("examples/s6/smtp/log/run"));
    place.pipe(log.env("LOGDIR", &logs), "a line\n");
    assert!(fs::read_to_string(logs.join("current")).expect("a log").ends_with(" a line\n"));
}

#[test]
fn daemontools_runs_qmail_smtpd() {
    let place = Place::new("daemontools");
    place.stand_in("qmail-smtpd", SMTP_STAND_IN);
    place.stand_in("setuidgid", AS_QMAILD);
    let service = place.copy("daemontools/smtp");
    place.write_envdir(&service.join("env"));
    let rules = place.rules("127.:allow,RELAYCLIENT=\"\"\n:allow\n");
    let running = place.run(place.command(&service.join("run")).current_dir(&service).env("RULES", rules));
    assert_eq!(running.delivers_mail(), "TCPREMOTEIP=127.0.0.1 SSL_PROTOCOL=TLSv1.3 KEYFILE=");
}

#[test]
fn daemontools_log_writes_lines() {
    let place = Place::new("daemontools-log");
    place.stand_in("setuidgid", "#!/bin/sh\nshift; exec \"$@\"\n");
    let logs = place.directory("logs");
    let mut log = place.command(&root().join("examples/daemontools/smtp/log/run"));
    place.pipe(log.env("LOGDIR", &logs), "a line\n");
    assert!(fs::read_to_string(logs.join("current")).expect("a log").ends_with(" a line\n"));
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let place = Place::new("systemd-verify");
    let units = place.copy("systemd");
    for entry in fs::read_dir(&units).expect("units") {
        // It looks for programs under their full names only.
        let unit = entry.expect("an entry").path();
        let text = fs::read_to_string(&unit).expect("a unit");
        assert!(!text.contains('\t'));
        let verified = Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(&unit).output();
        let verified = verified.expect("systemd is installed (sh tests/run installs it)");
        assert_eq!(String::from_utf8_lossy(&verified.stderr), "", "{}", unit.display());
        assert!(verified.status.success());
    }
}

#[test]
fn systemd_runs_qmail_smtpd() {
    let place = Place::new("systemd");
    place.stand_in("qmail-smtpd", SMTP_STAND_IN);
    place.stand_in("setpriv", "#!/bin/sh\nshift 3; exec \"$@\"\n");
    let unit = fs::read_to_string(root().join("examples/systemd/starttls-smtp@.service")).expect("a unit");
    let unit = unit.replace("\\\n", " ");
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("ExecStart");
    // The service manager's part: `$$` is `$`, and the words are words.
    let line = line.replace("$$", "$");
    let mut manager = place.command("systemd-socket-activate");
    manager.arg("--listen").arg(format!("127.0.0.1:{}", place.port)).args(["--accept", "--inetd"]);
    for name in ["PATH", "KEYFILE", "CERTFILE"] {
        manager.arg("--setenv").arg(name);
    }
    let running =
        place.run(manager.args(["/bin/sh", "-c"]).arg(format!(
            "REMOTE_ADDR=192.0.2.1 REMOTE_PORT=4711 exec env REMOTE_ADDR=192.0.2.1 REMOTE_PORT=4711 {line}"
        )));
    assert_eq!(running.delivers_mail(), "TCPREMOTEIP=192.0.2.1 SSL_PROTOCOL=TLSv1.3 KEYFILE=");
}

#[test]
fn inetd_runs_pop3d() {
    let place = Place::new("inetd");
    place.stand_in("pop3d", POP3_STAND_IN);
    let running = inetd(&place, &root().join("examples/inetd/starttls-pop3"));
    running.capabilities("pop3", "CAPA\r\nQUIT\r\n", "UIDL");
}

#[test]
fn xinetd_runs_pop3d() {
    let place = Place::new("xinetd");
    place.stand_in("pop3d", POP3_STAND_IN);
    let running = xinetd(&place, &root().join("examples/inetd/starttls-pop3"));
    running.capabilities("pop3", "CAPA\r\nQUIT\r\n", "UIDL");
}

/// Both make the client's connection descriptor 2.
#[test]
fn under_inetd_and_xinetd_messages_go_to_the_log_or_nowhere_and_never_to_the_client() {
    let script = fs::read_to_string(root().join("examples/inetd/starttls-pop3")).expect("a script");
    let runs = |name: &str, line: &str| {
        let place = Place::new(name);
        place.stand_in("pop3d", &POP3_STAND_IN.replacen('\n', "\necho noise >&2\n", 1));
        let log = place.path.join("messages").display().to_string();
        let script = script.replace("/var/log/starttls-wrapper.log", &log).replace("exec starttls-wrapper -r", line);
        place.stand_in("starttls-pop3", &script);
        place
    };
    for (case, line, heard, logged) in [
        ("loud", "exec starttls-wrapper -r", "+OK stand-in\r\n", "noise\n"),
        ("no-key", "unset KEYFILE; exec starttls-wrapper", "+OK stand-in\r\n", "KEYFILE is not set"),
        ("usage", "exec starttls-wrapper --nonsense", "", "unknown option --nonsense"),
        ("without-log", "exec 2>&1; exec starttls-wrapper --nonsense", "", ""),
        ("loud-without-log", "exec 2>&1; exec starttls-wrapper -v 3", "+OK stand-in\r\n", ""),
    ] {
        for server in ["inetd", "xinetd"] {
            let place = runs(&format!("{server}-{case}"), line);
            let script = place.path.join("bin/starttls-pop3");
            let running = if server == "inetd" { inetd(&place, &script) } else { xinetd(&place, &script) };
            assert_eq!(running.says_nothing_and_hears(), heard, "{server}: {line}");
            let messages = fs::read_to_string(place.path.join("messages")).expect("a log");
            assert!(messages.contains(logged) && messages.is_empty() == logged.is_empty(), "{server}: {messages}");
        }
    }
}

/// inetd with the example, and this script.
fn inetd<'a>(place: &'a Place, script: &Path) -> Running<'a> {
    let line = fs::read_to_string(root().join("examples/inetd/inetd.conf")).expect("a configuration");
    let line = line.replace("pop3 stream", &format!("{} stream", place.port)).replace(" root ", &place.user());
    // inetd has an environment of its own.
    let words = format!("/usr/bin/env env PATH={} {} {}", place.search(), place.keys(), script.display());
    let conf = place.write("inetd.conf", &line.replace("/usr/local/libexec/starttls-pop3 starttls-pop3", &words));
    place.run(place.server_command("usr/sbin/inetd").args(["-d", "-i"]).arg(conf))
}

/// xinetd with the example, and this script.
fn xinetd<'a>(place: &'a Place, script: &Path) -> Running<'a> {
    let conf = fs::read_to_string(root().join("examples/inetd/xinetd.conf")).expect("a configuration");
    let conf = conf.replace("= 110", &format!("= {}", place.port)).replace(" root\n", &(place.user() + "\n"));
    let conf = conf.replace("/usr/local/libexec/starttls-pop3", &script.display().to_string());
    let environment = format!("env = PATH={} {}\n\tinstances", place.search(), place.keys());
    let conf = place.write("xinetd.conf", &conf.replace("instances", &environment));
    let log = place.path.join("xinetd.log");
    place.run(place.server_command("usr/sbin/xinetd").args(["-dontfork", "-f"]).arg(conf).arg("-filelog").arg(log))
}

#[test]
fn qmail_smtpd_is_served() {
    let place = Place::new("qmail-smtpd");
    place.stand_in("qmail-smtpd", SMTP_STAND_IN);
    place.stand_in("setuidgid", AS_QMAILD);
    let rules = place.rules(":allow\n");
    let running = place.run(place.example("servers/qmail-smtpd").env("RULES", rules));
    assert_eq!(running.delivers_mail(), "TCPREMOTEIP=127.0.0.1 SSL_PROTOCOL=TLSv1.3 KEYFILE=");
}

#[test]
fn qmail_pop3d_is_served() {
    let place = Place::new("qmail-pop3d");
    place.stand_in("qmail-popup", POP3_STAND_IN);
    let running = place.run(&mut place.example("servers/qmail-pop3d"));
    running.capabilities("pop3", "CAPA\r\nQUIT\r\n", "UIDL");
}

#[test]
fn qmail_pop3d_is_served_with_tls_from_the_first_byte() {
    let place = Place::new("qmail-pop3d-tls");
    place.stand_in("qmail-popup", POP3_STAND_IN);
    let running = place.run(&mut place.example("servers/qmail-pop3d-tls"));
    running.capabilities("", "CAPA\r\nQUIT\r\n", "UIDL");
}

#[test]
fn mailfront_is_served() {
    for example in ["servers/mailfront", "servers/mailfront-ucspi"] {
        let place = Place::new(example);
        place.stand_in("setuidgid", AS_QMAILD);
        // smtpfront-echo takes mail if it is told to accept.
        place.stand_in("smtpfront-echo-accept", "#!/bin/sh\nexec smtpfront-echo accept\n");
        let rules = place.rules(":allow\n");
        let mut service = place.example(example);
        let running = place.run(service.env("RULES", rules).env("BACKEND", "smtpfront-echo-accept"));
        running.send_mail();
    }
}

#[test]
fn exim_is_served_and_relays_for_nobody() {
    let place = Place::new("exim4");
    // tcpserver would say 127.0.0.1, for which Debian's configuration relays.
    place.stand_in(
        "exim4",
        "#!/bin/sh\ntest \"$1 $2 $3\" = '-bs -oMa 127.0.0.1' && exec /usr/sbin/exim4 -bs -oMa 192.0.2.1\n",
    );
    let running = place.run(&mut place.example("servers/exim4"));
    let said = running.dialogue("smtp", "EHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<you@another.example>\r\nQUIT\r\n");
    assert!(said.contains("550 relay not permitted"), "{said}");
}

#[test]
fn courier_is_served() {
    let place = Place::new("courier-pop3");
    let running =
        place.run(&mut place.example_over_system("servers/courier-pop3", "usr/lib/courier/courier/courierpop3login"));
    running.capabilities("pop3", "CAPA\r\nQUIT\r\n", "IMPLEMENTATION Courier");
    let place = Place::new("courier-imap");
    let running =
        place.run(&mut place.example_over_system("servers/courier-imap", "usr/lib/courier/courier/imaplogin"));
    running.capabilities("imap", "a CAPABILITY\r\nb LOGOUT\r\n", "b OK LOGOUT completed");
}

#[test]
fn dovecot_is_served_and_knows_the_client() {
    let place = Place::new("dovecot");
    let backend = Place::new("dovecot-backend");
    let sockets = Sockets::new(&backend);
    let conf = backend.write("dovecot.conf", &dovecot_conf(&backend, &sockets));
    let _dovecot = backend.run(backend.command("dovecot").arg("-F").arg("-c").arg(conf));
    let mut service = place.example("servers/dovecot");
    let running = place.run(service.env("DOVECOT", format!("127.0.0.1:{}", backend.port)));
    let said = running.dialogue("imap", "a LOGIN you secret\r\nb LOGOUT\r\n");
    assert!(said.contains("a OK"), "{said}");
    // Another process writes it.
    backend.is_written("dovecot.log", "Login: user=<you>, method=PLAIN, rip=127.0.0.1");
}

#[test]
fn mailutils_are_served() {
    let place = Place::new("mailutils-pop3");
    place.stand_in("pop3d", &place.runs("usr/sbin/pop3d"));
    let running = place.run(&mut place.example("servers/mailutils-pop3"));
    running.capabilities("pop3", "CAPA\r\nQUIT\r\n", "UIDL");
    let place = Place::new("mailutils-imap");
    place.stand_in("imap4d", &place.runs("usr/sbin/imap4d"));
    let running = place.run(&mut place.example("servers/mailutils-imap"));
    running.capabilities("imap", "a CAPABILITY\r\nb LOGOUT\r\n", "b OK LOGOUT Completed");
}

#[test]
fn leafnode_is_served() {
    let place = Place::new("leafnode");
    place.stand_in("setuidgid", "#!/bin/sh\nshift; exec \"$@\"\n");
    let rules = place.rules(":allow\n");
    let conf = place.write("config", "server = news.example\nhostname = news.starttls-wrapper.org\nexpire = 20\n");
    // leafnode wants a name that is in the domain name system, or in its configuration.
    let script = format!("mount --bind {} /etc/news/leafnode/config; exec \"$@\"", conf.display());
    let mut service = place.command("unshare");
    service.args([if is_root() { "-m" } else { "-rm" }, "sh", "-c", &script, "sh"]);
    let running = place.run(service.arg(root().join("examples/servers/leafnode")).env("RULES", rules));
    running.capabilities("nntp", "LIST\r\nQUIT\r\n", "215");
}

#[test]
fn a_renewed_certificate_serves_the_next_client() {
    let place = Place::new("acme");
    place.stand_in("qmail-smtpd", SMTP_STAND_IN);
    place.stand_in("setuidgid", AS_QMAILD);
    let base = place.directory("etc");
    let deploy = |key: &str, chain: &str| {
        let mut hook = place.command(&root().join("examples/acme/deploy"));
        hook.arg("mx").arg(place.path.join(key)).arg(place.path.join(chain)).env("BASE", &base);
        assert!(hook.status().expect("the hook runs").success());
    };
    deploy("key.pem", "cert.pem");
    let rules = place.rules(":allow\n");
    let mut service = place.example("servers/qmail-smtpd");
    service.env("KEYFILE", base.join("mx.pem")).env("CERTFILE", base.join("mx.pem"));
    let running = place.run(service.env("RULES", rules));
    running.send_mail();

    place.write_certificate("new-key.pem", "new-cert.pem");
    deploy("new-key.pem", "new-cert.pem");
    assert!(!running.accepts("cert.pem"), "the old certificate is not shown any more");
    assert!(running.accepts("new-cert.pem"), "the new one is");
    let mode = fs::metadata(base.join("mx.pem")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_dir(&base).expect("a directory").count(), 1, "nothing else is left");
}

#[test]
fn every_example_is_named_here() {
    let tests = ["examples", "ldap", "postgres"].map(|name| root().join("tests").join(name).with_extension("rs"));
    let tests = tests.map(|path| fs::read_to_string(path).expect("a test program")).concat();
    for entry in fs::read_dir(root().join("examples/servers")).expect("examples") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        assert!(tests.contains(&format!("servers/{name}\"")), "examples/servers/{name} is not tried");
    }
}

/// Where dovecot has its sockets: their names must be short, wherever this checkout is.
struct Sockets(PathBuf);

impl Sockets {
    fn new(place: &Place) -> Self {
        Self(std::env::temp_dir().join(format!("starttls-wrapper-{}", place.port)))
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What examples/servers/dovecot asks for, with one user.
fn dovecot_conf(place: &Place, sockets: &Sockets) -> String {
    let unpacked = place.server("usr/lib/dovecot/imap-login");
    let unpacked = unpacked.parent().expect("a directory").display().to_string();
    let (path, port, sockets) = (place.path.display(), place.port, sockets.0.display());
    let service = |name| format!("service {name} {{\n executable = {unpacked}/{name}\n}}\n");
    let services = ["imap", "imap-hibernate", "imap-urlauth", "imap-urlauth-login", "imap-urlauth-worker"].map(service);
    let services = services.concat();
    format!(
        "base_dir = {sockets}\nlog_path = {path}/dovecot.log\nprotocols = imap\nssl = no\n\
         disable_plaintext_auth = no\nhaproxy_trusted_networks = 127.0.0.1\nmail_location = maildir:{path}/mail\n\
         passdb {{\n driver = static\n args = password=secret\n}}\n\
         userdb {{\n driver = static\n args = uid=nobody gid=nogroup home={path}/home\n}}\n\
         {services}\
         service imap-login {{\n executable = {unpacked}/imap-login\n\
         inet_listener imap {{\n address = 127.0.0.1\n port = {port}\n haproxy = yes\n }}\n\
         inet_listener imaps {{\n port = 0\n }}\n}}\n"
    )
}

/// Checks who shall run prog, and runs it.
const AS_QMAILD: &str = "#!/bin/sh\ntest \"$1\" = qmaild && shift && exec \"$@\"\n";
