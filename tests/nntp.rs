//! NNTP between a real server and real clients.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod support;

use support::certificates::Site;
use support::mail_servers::{self as servers};
use support::readers::{self, Door, Errand, Reader, Told, every_way, mail};
use support::servers::{stunnel, tcpserver};
use support::wrapper::Wrapper;

/// Fetches the first article and posts one.
const READ_AND_POST: Errand = Errand {
    protocol: "auto",
    opening: &["CAPABILITIES", "MODE READER", "DATE", "HELP", "QUIT"],
    tagged: false,
    refusal: "483 Encryption required",
    cautious: &[],
    prints: "the body of mail 7\nb STARTTLS\n",
};

const CLIENTS: &[Reader] = &[("nntplib", nntplib), ("openssl", openssl)];

#[test]
fn every_client_fetches_an_article_from_leafnode_and_posts_one() {
    let server = servers::leafnode();
    server.put(&[mail(7), mail(8)]);
    every_way(&READ_AND_POST, &server, CLIENTS);
    let posted = server.mails().iter().filter(|article| article.contains("\nposted\n")).count();
    assert_eq!(posted, 4 * CLIENTS.len(), "in plaintext, respawned, with stunnel and with -r");
}

/// `MODE READER` is said before STARTTLS and not again behind it: the server inside TLS hears it nevertheless.
#[test]
fn mode_reader_is_replayed() {
    let (site, server) = (Site::new(), servers::leafnode());
    server.put(&[mail(7), mail(8)]);
    let backend = stunnel(&site, &server.words());
    let respawning = tcpserver(&Wrapper::respawn(&site).options(&["-v", "2"]), &server.words());
    let splicing = tcpserver(&Wrapper::backend(&site, backend.port).options(&["-v", "2"]), &server.words());
    for (listening, heard_by, times) in [(&respawning, respawning.log(), 2), (&splicing, backend.log(), 1)] {
        let told = in_nntplib(&Door { port: listening.port, tls: Some(&site) }, "readermode=True");
        assert!(told.success, "{}", told.text);
        listening.log().line_with("replay=replayed");
        heard_by.lines_with("heard: mode reader", times);
        let log = heard_by.text();
        let [mode, group] = ["heard: mode reader", "heard: GROUP alt.test"].map(|line| log.rfind(line).unwrap());
        assert!(mode < group, "{log}");
    }
}

#[test]
fn with_require_tls_mode_reader_is_not_replayed() {
    let (site, server) = (Site::new(), servers::leafnode());
    server.put(&[mail(7), mail(8)]);
    let strict = tcpserver(&Wrapper::respawn(&site).options(&["-r", "-v", "2"]), &server.words());
    let told = in_nntplib(&Door { port: strict.port, tls: Some(&site) }, "readermode=True");
    assert!(told.success, "{}", told.text);
    strict.log().line_with("replay=none");
    assert_eq!(strict.log().text().matches("heard: mode reader").count(), 1, "{}", strict.log().text());
}

fn nntplib(door: &Door<'_>) -> Told {
    in_nntplib(door, "readermode=False")
}

fn in_nntplib(door: &Door<'_>, how: &str) -> Told {
    let script = format!(
        r#"
import nntplib
client = nntplib.NNTP("localhost", port, timeout=20, {how})
if ca:
    client.starttls(context)
client.group("alt.test")
print(*[line.decode() for line in client.article("1")[1].lines], sep="\n")
print(client.post(b"From: a@example.org\nNewsgroups: alt.test\nSubject: hello\n\nposted\n"))
client.quit()
"#
    );
    readers::python(door, &script)
}

fn openssl(door: &Door<'_>) -> Told {
    let lines = [
        ("", "200"),
        ("GROUP alt.test", "211"),
        ("ARTICLE 1", ".\r\n"),
        ("POST", "340"),
        ("From: a@example.org\r\nNewsgroups: alt.test\r\nSubject: hello\r\n\r\nposted\r\n.", "240"),
        ("QUIT", "205"),
    ];
    readers::say(door, "nntp", READ_AND_POST.refusal, &lines)
}
