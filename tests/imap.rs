//! IMAP between real servers and real clients.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod support;

use std::collections::BTreeSet;
use std::fs;

use support::certificates::{Dir, Site};
use support::mail_servers::{self as servers, PASSWORD, Server, USER};
use support::peer::Peer;
use support::program::program;
use support::readers::{self, Door, Errand, Reader, Told, every_way, mail};
use support::servers::{Listening, stunnel, tcpserver};
use support::tls::Client;
use support::wrapper::Wrapper;

/// Fetches the first mail.
const FETCH: Errand = Errand {
    protocol: "auto",
    opening: &["CAPABILITY", "NOOP", "LOGOUT"],
    tagged: true,
    refusal: "[PRIVACYREQUIRED] Use STARTTLS first",
    // They see LOGINDISABLED, and ask for nothing.
    cautious: &["curl", "fetchmail"],
    prints: "the body of mail 7\nb STARTTLS\n",
};

/// Stores a mail.
const STORE: Errand = Errand { prints: "", ..FETCH };

const READERS: &[Reader] = &[("curl", curl), ("imaplib", imaplib), ("openssl", openssl), ("fetchmail", fetchmail)];

const WRITERS: &[Reader] = &[("curl", curl_stores), ("imaplib", imaplib_stores)];

fn serves(server: &Server, readers: &[Reader], writers: &[Reader]) {
    server.put(&[mail(7)]);
    every_way(&FETCH, server, readers);
    every_way(&STORE, server, writers);
    // In plaintext, respawned, with stunnel and with -r: each client has stored one, and was refused once.
    let stored = server.mails().iter().filter(|mail| mail.contains("the body of mail 8\n")).count();
    assert_eq!(stored, 4 * writers.len());
}

#[test]
fn every_client_fetches_from_mailutils_and_stores_there() {
    let (mut readers, mut writers) = (READERS.to_vec(), WRITERS.to_vec());
    readers[0].1 = curl_plain;
    writers[0].1 = curl_plain_stores;
    serves(&servers::imap4d(), &readers, &writers);
}

#[test]
fn every_client_fetches_from_courier_and_stores_there() {
    serves(&servers::courier_imap(), READERS, WRITERS);
}

#[test]
fn every_client_fetches_from_dovecot_and_stores_there() {
    serves(&servers::dovecot("imap"), READERS, WRITERS);
}

#[test]
fn mbsync_syncs_a_thousand_mails_with_respawn() {
    let (site, server) = (Site::new(), servers::dovecot("imap"));
    let wrapper = tcpserver(&Wrapper::respawn(&site), &server.words());
    syncs_a_thousand(&server, &Door { port: wrapper.port, tls: Some(&site) });
}

#[test]
fn mbsync_syncs_a_thousand_mails_with_stunnel() {
    let (site, server) = (Site::new(), servers::courier_imap());
    let backend = stunnel(&site, &server.words());
    let wrapper = tcpserver(&Wrapper::backend(&site, backend.port), &server.words());
    syncs_a_thousand(&server, &Door { port: wrapper.port, tls: Some(&site) });
}

#[test]
fn mbsync_syncs_in_plaintext_and_is_refused_where_tls_is_required() {
    let (site, server) = (Site::new(), servers::dovecot("imap"));
    server.put(&[mail(7)]);
    let lenient = tcpserver(&Wrapper::respawn(&site), &server.words());
    let into = Dir::new();
    let told = mbsync(&Door { port: lenient.port, tls: None }, &into);
    assert!(told.success, "{}", told.text);
    assert_eq!(synced(&into).len(), 1);

    let strict = tcpserver(&Wrapper::respawn(&site).option("-r"), &server.words());
    let told = mbsync(&Door { port: strict.port, tls: None }, &Dir::new());
    assert!(!told.success, "{}", told.text);
    FETCH.nothing_but_opening_words(strict.log(), 1);
}

fn syncs_a_thousand(server: &Server, door: &Door<'_>) {
    let originals: Vec<String> = (0..1000).map(mail).collect();
    server.put(&originals);
    let into = Dir::new();
    let told = mbsync(door, &into);
    assert!(told.success, "{}", told.text);
    assert!(synced(&into) == originals.into_iter().collect(), "every mail equals the original");
}

/// A Maildir there becomes what the mailbox is.
fn mbsync(door: &Door<'_>, into: &Dir) -> Told {
    let tls = door.tls.map_or_else(
        || "SSLType None\n".to_owned(),
        |site| format!("SSLType STARTTLS\nCertificateFile {}\nSystemCertificates no\n", site.ca().display()),
    );
    let configuration = format!(
        "IMAPAccount server\nHost localhost\nPort {}\nUser {USER}\nPass {PASSWORD}\nAuthMechs LOGIN\n{tls}\n\
         IMAPStore far\nAccount server\n\n\
         MaildirStore near\nInbox {1}/inbox\nPath {1}/\n\n\
         Channel all\nFar :far:\nNear :near:\nPatterns INBOX\nSync Pull\nCreate Near\nSyncState *\n",
        door.port,
        into.path().display(),
    );
    fs::write(into.file("mbsyncrc"), configuration).unwrap();
    readers::run(
        program("mbsync").args(["-V", "-c"]).arg(into.file("mbsyncrc")).arg("all").env("HOME", into.path()),
        "",
    )
}

/// The mails without the line that mbsync adds.
fn synced(into: &Dir) -> BTreeSet<String> {
    let files = ["inbox/new", "inbox/cur"].map(|part| fs::read_dir(into.file(part)).unwrap());
    let mails = files.into_iter().flatten().map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    let own = |line: &&str| !line.starts_with("X-TUID: ");
    mails.map(|mail| mail.replace('\r', "").split_inclusive('\n').filter(own).collect()).collect()
}

/// A server that takes LITERAL+ reads what stands in a literal as text; so must whoever stands before it.
#[test]
fn a_literal_with_a_starttls_line_in_it_starts_no_tls() {
    let (site, server) = (Site::new(), servers::imap4d());
    server.put(&[mail(7)]);
    let backend = stunnel(&site, &server.words());
    for wrapper in [Wrapper::respawn(&site), Wrapper::backend(&site, backend.port)] {
        let listening = tcpserver(&wrapper.options(&["-v", "2"]), &server.words());
        let mut peer = greeted(&listening);
        peer.says("a LOGIN reader {13+}\r\nb STARTTLS\r\nx\r\n");
        hears_until(&mut peer, "a NO");
        peer.says("c LOGIN reader {13}\r\n");
        hears_until(&mut peer, "+ ");
        peer.says("d STARTTLS\r\nx\r\n");
        hears_until(&mut peer, "c NO");
        peer.says("e LOGIN reader secret\r\n");
        hears_until(&mut peer, "e OK");
        // Here, too, it would have to be an opening word.
        peer.says("f STARTTLS\r\n");
        hears_until(&mut peer, "f BAD");
        peer.says("g LOGOUT\r\n");
        hears_until(&mut peer, "g OK");
        peer.hears_end();
        listening.log().line_with("outcome=plaintext");
        for line in ["heard: b STARTTLS", "heard: d STARTTLS", "heard: f STARTTLS"] {
            listening.log().line_with(line);
        }
    }
}

#[test]
fn with_require_tls_a_refused_command_with_a_literal_ends_the_session() {
    let (site, server) = (Site::new(), servers::imap4d());
    for literal in ["{13}", "{13+}"] {
        let listening = tcpserver(&Wrapper::respawn(&site).options(&["-r", "-v", "2"]), &server.words());
        let mut peer = greeted(&listening);
        peer.says(format!("a LOGIN reader {literal}\r\nb STARTTLS\r\nx\r\n"));
        peer.hears("a NO [PRIVACYREQUIRED] Use STARTTLS first\r\n");
        peer.hears_end();
        listening.log().line_with("outcome=refused");
        FETCH.nothing_but_opening_words(listening.log(), 1);
    }
}

#[test]
fn preauth_gets_no_offer() {
    let (site, server) = (Site::new(), servers::dovecot_preauth());
    server.put(&[mail(7)]);
    let listening = tcpserver(&Wrapper::respawn(&site), &server.words());
    let mut peer = Peer::connect(listening.port);
    let heard = hears_until(&mut peer, "* PREAUTH");
    assert!(!heard.contains("STARTTLS"), "{heard}");
    peer.says("a CAPABILITY\r\n");
    let heard = hears_until(&mut peer, "a OK");
    assert!(heard.contains("* CAPABILITY IMAP4rev1") && !heard.contains("STARTTLS"), "{heard}");
    peer.says("b STARTTLS\r\n");
    hears_until(&mut peer, "b BAD");
    peer.says("c EXAMINE INBOX\r\n");
    assert!(hears_until(&mut peer, "c OK").contains("* 1 EXISTS"));
}

#[test]
fn with_require_tls_preauth_is_a_bye() {
    let (site, server) = (Site::new(), servers::dovecot_preauth());
    let listening = tcpserver(&Wrapper::respawn(&site).options(&["-r", "-v", "2"]), &server.words());
    let mut peer = Peer::connect(listening.port);
    peer.hears("* BYE [PRIVACYREQUIRED] STARTTLS required, closing connection\r\n");
    peer.hears_end();
    listening.log().line_with("outcome=refused");
    FETCH.nothing_but_opening_words(listening.log(), 1);
}

/// What mailutils says of itself is edited in every place, and its own words are left alone.
#[test]
fn logindisabled_stands_in_the_capabilities_only_before_tls() {
    let (site, server) = (Site::new(), servers::imap4d());
    let listening = tcpserver(&Wrapper::respawn(&site).option("-r"), &server.words());
    let mut peer = greeted(&listening);
    peer.says("a CAPABILITY\r\n");
    let heard = hears_until(&mut peer, "a OK");
    assert!(heard.contains(" STARTTLS LOGINDISABLED\r\n") && !heard.contains("AUTH="), "{heard}");
    peer.says("b STARTTLS\r\n");
    peer.hears("b OK Begin TLS negotiation now\r\n");
    Client::new(&site).shake(&mut peer).unwrap();
    peer.says("c CAPABILITY\r\n");
    let heard = hears_until(&mut peer, "c OK");
    assert!(heard.contains(" AUTH=PLAIN") && !heard.contains("STARTTLS"), "{heard}");
}

fn greeted(listening: &Listening) -> Peer {
    let mut peer = Peer::connect(listening.port);
    hears_until(&mut peer, "* OK");
    peer
}

/// Hears lines until one begins like this.
fn hears_until(peer: &mut Peer, start: &str) -> String {
    let mut heard = String::new();
    loop {
        let line = peer.hears_line();
        heard += &line;
        if line.starts_with(start) {
            return heard;
        }
    }
}

fn curl(door: &Door<'_>) -> Told {
    readers::curl(door, "imap", "localhost", "INBOX;MAILINDEX=1", None)
}

fn curl_stores(door: &Door<'_>) -> Told {
    readers::curl(door, "imap", "localhost", "INBOX", Some(&mail(8).replace('\n', "\r\n")))
}

/// Of all that mailutils offers curl would else take what needs more than a password.
fn curl_plain(door: &Door<'_>) -> Told {
    readers::curl(door, "imap", ";AUTH=PLAIN@localhost", "INBOX;MAILINDEX=1", None)
}

fn curl_plain_stores(door: &Door<'_>) -> Told {
    readers::curl(door, "imap", ";AUTH=PLAIN@localhost", "INBOX", Some(&mail(8).replace('\n', "\r\n")))
}

fn imaplib(door: &Door<'_>) -> Told {
    in_imaplib(door, r#"print(client.fetch("1", "(BODY[])")[1][0][1].decode().replace("\r", ""))"#)
}

fn imaplib_stores(door: &Door<'_>) -> Told {
    let store = format!("print(client.append('INBOX', None, None, {:?}.encode()))", mail(8));
    in_imaplib(door, &store)
}

fn in_imaplib(door: &Door<'_>, act: &str) -> Told {
    let script = format!(
        "import imaplib\n\
         client = imaplib.IMAP4('localhost', port, timeout=20)\n\
         if ca:\n    client.starttls(ssl_context=context)\n\
         client.login('{USER}', '{PASSWORD}')\n\
         client.select()\n\
         {act}\n\
         client.logout()\n"
    );
    readers::python(door, &script)
}

fn openssl(door: &Door<'_>) -> Told {
    let lines = [
        ("", "* OK"),
        ("x LOGIN reader secret", "x OK"),
        ("y SELECT INBOX", "y OK"),
        ("z FETCH 1 BODY[]", "z OK"),
        ("q LOGOUT", "q OK"),
    ];
    readers::say(door, "imap", FETCH.refusal, &lines)
}

fn fetchmail(door: &Door<'_>) -> Told {
    let into = Dir::new();
    let told = readers::fetchmail(door, "IMAP", "keep", &into);
    let mails = readers::fetched(&into).concat();
    Told { text: told.text + &mails, ..told }
}
