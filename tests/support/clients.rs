//! Clients of others. Each delivers one mail, and the test fails if it says that it could not.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use super::certificates::Site;
use super::peer::{Peer, Pipes};
use super::program::program;

/// How a client comes to a server.
pub(crate) struct Way<'a> {
    pub(crate) port: u16,
    /// The mail's recipient.
    pub(crate) to: &'a str,
    /// STARTTLS, with this site or nobody; else plaintext.
    pub(crate) tls: Option<&'a Site>,
}

/// A client's name, and how it delivers.
pub(crate) type Client = (&'static str, fn(&Way<'_>));

pub(crate) fn swaks(way: &Way<'_>) {
    let mut command = program("swaks");
    command.args(["--server", "127.0.0.1", "--port", &way.port.to_string(), "--ehlo", "laptop.example"]);
    command.args(["--from", FROM, "--to", way.to]);
    if let Some(site) = way.tls {
        command.args(["--tls", "--tls-verify", "--tls-sni", "localhost", "--tls-ca-path"]).arg(site.ca());
    }
    succeed(&mut command, "");
}

pub(crate) fn curl(way: &Way<'_>) {
    let mut command = program("curl");
    command.args(["-4", "-v", "-sS", "--url", &format!("smtp://localhost:{}/laptop.example", way.port)]);
    command.args(["--mail-from", FROM, "--mail-rcpt", way.to, "--upload-file", "-"]);
    if let Some(site) = way.tls {
        command.args(["--ssl-reqd", "--cacert"]).arg(site.ca());
    }
    succeed(&mut command, &mail(way.to));
}

pub(crate) fn msmtp(way: &Way<'_>) {
    let mut command = program("msmtp");
    command.args(["-d", "--host=localhost", &format!("--port={}", way.port), "--domain=laptop.example"]);
    command.args(["--auth=off", &format!("--from={FROM}"), way.to]);
    match way.tls {
        Some(site) => {
            command.args(["--tls=on", "--tls-starttls=on", &format!("--tls-trust-file={}", site.ca().display())]);
        }
        None => _ = command.arg("--tls=off"),
    }
    succeed(&mut command, &mail(way.to));
}

pub(crate) fn smtplib(way: &Way<'_>) {
    let script = r#"
import smtplib, ssl, sys
port, to, ca = sys.argv[1:]
with smtplib.SMTP("localhost", int(port), "laptop.example") as client:
    if ca:
        client.starttls(context=ssl.create_default_context(cafile=ca))
    client.sendmail("a@example.org", [to], "Subject: hello\r\n\r\nhello\r\n")
"#;
    let ca = way.tls.map_or_else(Default::default, Site::ca);
    succeed(program("python3").args(["-IS", "-c", script, &way.port.to_string(), way.to]).arg(ca), "");
}

/// `openssl s_client` knows STARTTLS and nothing more of SMTP; without TLS the test speaks for itself.
pub(crate) fn openssl(way: &Way<'_>) {
    let Some(site) = way.tls else { return in_plaintext(way) };
    let (mut child, peer) = s_client(way.port, site, "smtp");
    dialogue(peer, way.to);
    assert!(child.wait().unwrap().success(), "openssl s_client succeeds");
}

/// `openssl s_client` with STARTTLS of SMTP and these arguments, to be started.
pub(crate) fn s_client_by_starttls(port: u16, arguments: &[&str]) -> Command {
    let mut command = program("openssl");
    command.args(["s_client", "-starttls", "smtp", "-connect", &format!("127.0.0.1:{port}")]).args(arguments);
    command
}

/// `openssl s_client -starttls`, and the server inside TLS. Of the plaintext dialogue it shows nothing.
pub(crate) fn s_client(port: u16, site: &Site, protocol: &str) -> (Child, Peer) {
    s_client_with(port, site, &["-starttls", protocol])
}

/// The same with these arguments.
pub(crate) fn s_client_with(port: u16, site: &Site, arguments: &[&str]) -> (Child, Peer) {
    let mut command = program("openssl");
    command.args(["s_client", "-connect", &format!("127.0.0.1:{port}"), "-quiet"]).args(arguments);
    command.args(["-verify_return_error", "-verify_hostname", "localhost", "-servername", "localhost"]);
    command.arg("-CAfile").arg(site.ca());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let input = std::os::fd::OwnedFd::from(child.stdout.take().unwrap()).into();
    let output = Some(std::os::fd::OwnedFd::from(child.stdin.take().unwrap()).into());
    (child, Peer::new(Pipes { input, output }))
}

fn in_plaintext(way: &Way<'_>) {
    let mut peer = Peer::connect(way.port);
    peer.hears_code("220");
    dialogue(peer, way.to);
}

fn dialogue(mut peer: Peer, to: &str) {
    for (line, code) in [
        ("EHLO laptop.example", "250"),
        (&format!("MAIL FROM:<{FROM}>"), "250"),
        (&format!("RCPT TO:<{to}>"), "250"),
        ("DATA", "354"),
        ("Subject: hello\r\n\r\nhello\r\n.", "250"),
        ("QUIT", "221"),
    ] {
        peer.says(format!("{line}\r\n"));
        peer.hears_code(code);
    }
    peer.hears_end();
}

fn succeed(command: &mut Command, input: &str) {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&text));
}

fn mail(to: &str) -> String {
    format!("From: {FROM}\r\nTo: {to}\r\nSubject: hello\r\n\r\nhello\r\n")
}

const FROM: &str = "a@example.org";
