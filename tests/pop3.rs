//! POP3 between real servers and real clients.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod support;

use support::certificates::{Dir, Site};
use support::mail_servers::{self as servers, Server};
use support::peer::Peer;
use support::proc;
use support::readers::{self, Door, Errand, Reader, Told, every_way, mail};
use support::servers::{stunnel, tcpserver};
use support::tls::Client;
use support::wrapper::Wrapper;

/// Fetches the first mail.
const FETCH: Errand = Errand {
    protocol: "auto",
    opening: &["CAPA", "AUTH", "NOOP", "QUIT"],
    tagged: false,
    refusal: "-ERR Must issue STLS first",
    // They look for a way to authenticate in the capabilities, and find none.
    cautious: &["curl"],
    prints: "the body of mail 7\nb STARTTLS\n",
};

const CLIENTS: &[Reader] = &[("curl", curl), ("poplib", poplib), ("openssl", openssl), ("fetchmail", fetchmail)];

fn fetches_from(server: &Server, clients: &[Reader]) {
    server.put(&[mail(7)]);
    every_way(&FETCH, server, clients);
}

/// curl insists on APOP where a greeting has invited it; behind STLS its digest would be of the wrong timestamp.
#[test]
fn every_client_fetches_from_mailutils() {
    fetches_from(&servers::pop3d(), CLIENTS);
}

#[test]
fn curl_authenticates_by_apop_where_nothing_is_offered() {
    let (site, server) = (Site::new(), servers::pop3d());
    server.put(&[mail(7)]);
    let silent = tcpserver(&Wrapper::respawn(&site).option("--no-advertise"), &server.words());
    let told = curl(&Door { port: silent.port, tls: None });
    assert!(told.success && told.text.contains(FETCH.prints), "{}", told.text);
    silent.log().line_with("heard: APOP reader ");

    for options in [&[][..], &["-r"]] {
        let offering = tcpserver(&Wrapper::respawn(&site).options(options), &server.words());
        let greeting = Peer::connect(offering.port).hears_line();
        assert!(greeting.starts_with("+OK") && !greeting.contains('<'), "{greeting}");
    }
}

/// What popa3d cannot do itself is done for it, before TLS and behind it.
#[test]
fn a_server_that_answers_err_to_capa_gets_a_list() {
    let (site, server) = (Site::new(), servers::popa3d());
    let backend = stunnel(&site, &server.words());
    for wrapper in [Wrapper::respawn(&site), Wrapper::backend(&site, backend.port)] {
        let listening = tcpserver(&wrapper, &server.words());
        let mut peer = Peer::connect(listening.port);
        peer.hears("+OK\r\n");
        peer.says("CAPA\r\n");
        peer.hears("+OK Capability list follows\r\nUSER\r\nSTLS\r\n.\r\n");
        peer.says("STLS\r\n");
        peer.hears("+OK Begin TLS negotiation\r\n");
        Client::new(&site).shake(&mut peer).unwrap();
        peer.says("CAPA\r\n");
        peer.hears("+OK Capability list follows\r\nUSER\r\n.\r\n");
        peer.says("QUIT\r\n");
        peer.hears("+OK\r\n");
        peer.hears_end();
    }
}

/// Thunderbird, K-9 and Outlook ask for the mechanisms first. Servers have a list or a line for that.
#[test]
fn the_offer_is_made_behind_a_bare_auth() {
    let site = Site::new();
    for server in
        [servers::pop3d(), servers::popa3d(), servers::pop3front(), servers::courier_pop(), servers::dovecot("pop3")]
    {
        for options in [&[][..], &["-r"]] {
            let listening = tcpserver(&Wrapper::respawn(&site).options(options), &server.words());
            let mut peer = Peer::connect(listening.port);
            assert!(peer.hears_line().starts_with("+OK"), "{}", server.name);
            peer.says("AUTH\r\n");
            let mechanisms = list(&mut peer);
            assert!(options.is_empty() || mechanisms.is_empty(), "{}: {mechanisms:?}", server.name);
            peer.says("CAPA\r\n");
            assert!(list(&mut peer).contains(&"STLS\r\n".to_owned()), "{}", server.name);
            peer.says("STLS\r\n");
            peer.hears("+OK Begin TLS negotiation\r\n");
        }
    }
}

/// What stands behind +OK and before the dot; nothing behind -ERR.
fn list(peer: &mut Peer) -> Vec<String> {
    let positive = peer.hears_line().starts_with("+OK");
    let lines = std::iter::repeat_with(|| peer.hears_line()).take_while(|line| line != ".\r\n");
    if positive { lines.collect() } else { vec![] }
}

#[test]
fn every_client_fetches_from_popa3d() {
    fetches_from(&servers::popa3d(), CLIENTS);
}

#[test]
fn every_client_fetches_from_courier() {
    fetches_from(&servers::courier_pop(), CLIENTS);
}

#[test]
fn every_client_fetches_from_mailfront() {
    fetches_from(&servers::pop3front(), CLIENTS);
}

#[test]
fn every_client_fetches_from_dovecot() {
    fetches_from(&servers::dovecot("pop3"), CLIENTS);
}

#[test]
fn fetchmail_collects_a_hundred_mails_and_deletes_them_with_respawn() {
    let (site, server) = (Site::new(), servers::courier_pop());
    let wrapper = tcpserver(&Wrapper::respawn(&site), &server.words());
    collects_a_hundred(&server, &Door { port: wrapper.port, tls: Some(&site) });
}

#[test]
fn fetchmail_collects_a_hundred_mails_and_deletes_them_with_stunnel() {
    let (site, server) = (Site::new(), servers::pop3d());
    let backend = stunnel(&site, &server.words());
    let wrapper = tcpserver(&Wrapper::backend(&site, backend.port), &server.words());
    collects_a_hundred(&server, &Door { port: wrapper.port, tls: Some(&site) });
}

fn collects_a_hundred(server: &Server, door: &Door<'_>) {
    let originals: Vec<String> = (0..100).map(mail).collect();
    server.put(&originals);
    let into = Dir::new();
    let told = readers::fetchmail(door, "POP3", "nokeep", &into);
    assert!(told.success, "{}", told.text);
    let mut fetched: Vec<String> = readers::fetched(&into).iter().map(|mail| body(mail).to_owned()).collect();
    let mut expected: Vec<String> = originals.iter().map(|mail| body(mail).to_owned()).collect();
    fetched.sort();
    expected.sort();
    assert_eq!(fetched, expected);
    // The server deletes after its last reply, which is all that fetchmail waits for.
    proc::until(|| server.mails().is_empty());
}

/// The headers are fetchmail's and the server's to add to.
fn body(mail: &str) -> &str {
    mail.split_once("\n\n").map_or("", |(_, body)| body)
}

fn curl(door: &Door<'_>) -> Told {
    readers::curl(door, "pop3", "localhost", "1", None)
}

fn poplib(door: &Door<'_>) -> Told {
    let script = r#"
import poplib
client = poplib.POP3("localhost", port, timeout=20)
if ca:
    client.stls(context=context)
client.user("reader")
client.pass_("secret")
print(*[line.decode() for line in client.retr(1)[1]], sep="\n")
client.quit()
"#;
    readers::python(door, script)
}

fn openssl(door: &Door<'_>) -> Told {
    let lines = [("", "+OK"), ("USER reader", "+OK"), ("PASS secret", "+OK"), ("RETR 1", ".\r\n"), ("QUIT", "+OK")];
    readers::say(door, "pop3", FETCH.refusal, &lines)
}

fn fetchmail(door: &Door<'_>) -> Told {
    let into = Dir::new();
    let told = readers::fetchmail(door, "POP3", "keep", &into);
    let mails = readers::fetched(&into).concat();
    Told { text: told.text + &mails, ..told }
}
