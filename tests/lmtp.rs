//! LMTP between a real server and real clients.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod support;

use support::mail_servers::{self as servers, USER};
use support::program::program;
use support::readers::{self, Door, Errand, Reader, Told, every_way};

/// Delivers a mail.
const DELIVER: Errand = Errand {
    protocol: "lmtp",
    // The second is s_client's.
    opening: &["LHLO laptop.example", "LHLO mail.example.com", "NOOP", "QUIT"],
    tagged: false,
    refusal: "Must issue a STARTTLS command first",
    cautious: &[],
    prints: "",
};

const CLIENTS: &[Reader] = &[("lmtplib", lmtplib), ("swaks", swaks), ("msmtp", msmtp), ("openssl", openssl)];

#[test]
fn every_client_delivers_to_dovecot() {
    let server = servers::dovecot("lmtp");
    every_way(&DELIVER, &server, CLIENTS);
    for (name, _) in CLIENTS {
        let subject = format!("Subject: from {name}\n");
        let delivered = server.mails().iter().filter(|mail| mail.contains(&subject)).count();
        assert_eq!(delivered, 4, "{name}: in plaintext, respawned, with stunnel and with -r");
    }
}

fn lmtplib(door: &Door<'_>) -> Told {
    let script = r#"
import smtplib
client = smtplib.LMTP("localhost", port, "laptop.example")
if ca:
    client.starttls(context=context)
client.sendmail("a@example.org", ["reader@example.org"], "Subject: from lmtplib\r\n\r\nhello\r\n")
client.quit()
"#;
    readers::python(door, script)
}

fn swaks(door: &Door<'_>) -> Told {
    let mut command = program("swaks");
    command.args(["--protocol", "LMTP", "--server", "127.0.0.1", "--port", &door.port.to_string()]);
    command.args(["--ehlo", "laptop.example", "--from", "a@example.org", "--to", USER, "--h-Subject", "from swaks"]);
    if let Some(site) = door.tls {
        command.args(["--tls", "--tls-verify", "--tls-sni", "localhost", "--tls-ca-path"]).arg(site.ca());
    }
    readers::run(&mut command, "")
}

fn msmtp(door: &Door<'_>) -> Told {
    let mut command = program("msmtp");
    command.args(["-d", "--protocol=lmtp", "--host=localhost", &format!("--port={}", door.port)]);
    command.args(["--domain=laptop.example", "--auth=off", "--from=a@example.org", USER]);
    match door.tls {
        Some(site) => {
            command.args(["--tls=on", "--tls-starttls=on", &format!("--tls-trust-file={}", site.ca().display())]);
        }
        None => _ = command.arg("--tls=off"),
    }
    readers::run(&mut command, "Subject: from msmtp\r\n\r\nhello\r\n")
}

fn openssl(door: &Door<'_>) -> Told {
    let lines = [
        ("", "220"),
        ("LHLO laptop.example", "250 "),
        ("MAIL FROM:<a@example.org>", "250"),
        (&format!("RCPT TO:<{USER}>"), "250"),
        ("DATA", "354"),
        ("Subject: from openssl\r\n\r\nhello\r\n.", "250"),
        ("QUIT", "221"),
    ];
    readers::say(door, "lmtp", DELIVER.refusal, &lines)
}
