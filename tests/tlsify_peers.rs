//! tlsify between others: real servers that speak TLS, real callers that know none, and the examples.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::caller::{Call, TLSIFY};
use support::certificates::{Dir, Site};
use support::clients::{Client, Way, curl, msmtp, smtplib, swaks};
use support::program::{path_of, program};
use support::readers::{self, Door, fetched, fetchmail};
use support::servers::{
    Listening, dovecot_mail, exim4_with_tls, listening, mailfront, nginx_https, stunnel, stunnel_with_starttls,
    tcpserver_of,
};

/// Who sends a mail, and is told that the server is in plaintext.
const SENDERS: &[Client] = &[("swaks", swaks), ("curl", curl), ("msmtp", msmtp), ("smtplib", smtplib)];

/// A port behind which this server is called with these options.
fn door(site: &Site, options: &[&str], port: u16) -> Listening {
    let (ca, port) = (site.ca(), port.to_string());
    tcpserver_of(&[&[TLSIFY][..], options, &["--ca", ca.to_str().unwrap(), "localhost", &port]].concat())
}

fn everybody_sends(to: &Listening) {
    for (_, send) in SENDERS {
        send(&Way { port: to.port, to: "b@example.org", tls: None });
    }
}

const STARTTLS: &[&str] = &["--tls", "starttls", "-p", "smtp"];

#[test]
fn exim_takes_mails_by_starttls_and_from_the_first_byte() {
    let site = Site::new();
    let (exim, implicit) = exim4_with_tls(&site);
    everybody_sends(&door(&site, STARTTLS, exim.port));
    everybody_sends(&door(&site, &["-p", "smtp"], implicit));
    let implicit = implicit.to_string();
    everybody_sends(&door(&site, &["--tls", "either", "--implicit-port", &implicit, "-p", "smtp"], exim.port));
}

#[test]
fn stunnel_takes_mails_by_starttls_and_from_the_first_byte() {
    let (site, server) = (Site::new(), tcpserver_of(&mailfront().words()));
    everybody_sends(&door(&site, STARTTLS, stunnel_with_starttls(&site, "smtp", server.port).port));
    everybody_sends(&door(&site, &[], stunnel(&site, &mailfront().words()).port));
}

#[test]
fn mails_are_fetched_from_dovecot() {
    let site = Site::new();
    let (_dovecot, [pop3s, imaps, imap]) = dovecot_mail(&site);
    for (protocol, options, port) in [
        ("pop3", &["-p", "pop3"][..], pop3s),
        ("imap", &["-p", "imap"], imaps),
        ("imap", &["--tls", "starttls", "-p", "imap"], imap),
    ] {
        let (door, into) = (door(&site, options, port), Dir::new());
        let told = fetchmail(&Door { port: door.port, tls: None }, protocol, "keep", &into);
        assert!(fetched(&into).iter().any(|mail| mail.contains("A mail of dovecot's.")), "{protocol}: {}", told.text);
        let url = if protocol == "pop3" { "1" } else { "INBOX;MAILINDEX=1" };
        let told = readers::curl(&Door { port: door.port, tls: None }, protocol, "localhost", url, None);
        assert!(told.text.contains("A mail of dovecot's."), "{}", told.text);
    }
}

#[test]
fn a_page_is_fetched_from_nginx_by_a_shell_and_by_curl_that_speaks_plaintext() {
    let site = Site::new();
    let nginx = nginx_https(&site);
    let ended = Call::trusting(&site, nginx.port).run("GET / HTTP/1.0\r\n\r\n");
    assert!(ended.heard.ends_with("\r\n\r\na page\n"), "{}", ended.heard);
    // It may take the end of the request for the client's leaving, and leave without a word itself.
    assert!(ended.status == 0 && ["clean", "cut"].contains(&ended.last()), "{}", ended.told);
    let door = door(&site, &[], nginx.port);
    let url = format!("http://127.0.0.1:{}/", door.port);
    let curl = program("curl").args(["-sS", "--fail", &url]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&curl.stdout), "a page\n", "{}", String::from_utf8_lossy(&curl.stderr));
}

/// A mail by smtplib, which is given two descriptors for a socket.
const SENDER: &str = r#"
import os, smtplib
class Descriptors:
    def sendall(self, data): os.write(7, data)
    def makefile(self, mode): return os.fdopen(os.dup(6), mode)
    def close(self): os.close(7)
class Client(smtplib.SMTP):
    def _get_socket(self, host, port, timeout): return Descriptors()
with Client("any", 25, "laptop.example") as client:
    assert not client.has_extn("starttls")
    client.sendmail("a@example.org", ["b@example.org"], "Subject: x\r\n\r\nx\r\n")
print(os.environ["SSL_SERVER_VERIFY"], "mail sent")
"#;

#[test]
fn a_program_in_python_sends_a_mail_at_descriptors_6_and_7() {
    let site = Site::new();
    let (exim, _) = exim4_with_tls(&site);
    let python = path_of("python3");
    let ended = Call::trusting(&site, exim.port).with(STARTTLS).prog(&[&python, "-Ic", SENDER]).run("");
    assert_eq!((ended.status, ended.heard.as_str()), (0, "SUCCESS mail sent\n"), "{}", ended.log);
}

/// An example, in the place of its programs.
fn example(name: &str, site: &Site, arguments: &[&str], input: &str, variables: &[(&str, String)]) -> Output {
    let input_file = site.dir.file("input");
    fs::write(&input_file, input).unwrap();
    let mut command = command_of(name, site, variables);
    command.args(arguments).stdin(fs::File::open(input_file).unwrap()).output().unwrap()
}

fn command_of(name: &str, site: &Site, variables: &[(&str, String)]) -> Command {
    let bins = Path::new(TLSIFY).parent().unwrap().display();
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tlsify").join(name));
    command.env("PATH", format!("{bins}:/usr/bin:/bin")).env("CA", site.ca());
    command.envs(variables.iter().map(|(name, value)| (*name, value)));
    command
}

#[test]
fn the_example_of_a_page_fetches_it() {
    let site = Site::new();
    let nginx = nginx_https(&site);
    let output = example("fetch", &site, &["localhost"], "", &[("PORT", nginx.port.to_string())]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "a page\n", "{}", String::from_utf8_lossy(&output.stderr));
    let output = example("fetch", &Site::new(), &["127.0.0.2"], "", &[("PORT", nginx.port.to_string())]);
    assert!(!output.status.success() && output.stdout.is_empty());
}

#[test]
fn the_example_of_mails_counts_them() {
    let site = Site::new();
    let (_dovecot, [pop3s, ..]) = dovecot_mail(&site);
    let count = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/tlsify/count-mails");
    let ended = Call::trusting(&site, pop3s).prog(&[count.to_str().unwrap(), "reader"]).run("secret\n");
    assert_eq!(ended.heard.split(' ').next(), Some("1"), "{}{}", ended.heard, ended.log);
    assert_eq!(ended.status, 0);
}

#[test]
fn the_example_of_a_smarthost_delivers() {
    let site = Site::new();
    let (exim, _) = exim4_with_tls(&site);
    let variables = [("HOST", "localhost".to_owned()), ("PORT", exim.port.to_string()), ("LISTEN", "0".to_owned())];
    let mut command = command_of("smarthost", &site, &variables);
    // With -1 tcpserver tells the port it has chosen.
    let bins = site.dir.file("bin");
    fs::create_dir(&bins).unwrap();
    let tcpserver = format!("#!/bin/sh\nexec {} -1 \"$@\"\n", path_of("tcpserver"));
    fs::write(bins.join("tcpserver"), tcpserver).unwrap();
    fs::set_permissions(bins.join("tcpserver"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}:/usr/bin:/bin", bins.display(), Path::new(TLSIFY).parent().unwrap().display());
    let listening = listening(command.env("PATH", path).stdin(Stdio::null()));
    everybody_sends(&listening);
}
