//! ManageSieve between a real server and real clients.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod support;

use std::fs;

use support::certificates::{Dir, Site};
use support::mail_servers::{self as servers, PASSWORD, Server, USER};
use support::peer::Peer;
use support::program::program;
use support::readers::{self, Door, Errand, Reader, Told, every_way};
use support::servers::{stunnel, tcpserver};
use support::tls::Client;
use support::wrapper::Wrapper;

/// Stores a script, and fetches it again.
const STORE: Errand = Errand {
    protocol: "auto",
    opening: &["CAPABILITY", "NOOP", "LOGOUT"],
    tagged: false,
    refusal: "NO (ENCRYPT-NEEDED) \"Use STARTTLS first\"",
    // Without a mechanism it asks for nothing.
    cautious: &["sievelib"],
    prints: "keep; # STARTTLS",
};

const CLIENTS: &[Reader] = &[("sievelib", sievelib), ("openssl", openssl)];

#[test]
fn every_client_stores_a_script_in_dovecot_and_fetches_it() {
    let server = servers::dovecot("sieve");
    every_way(&STORE, &server, CLIENTS);
    for (name, _) in CLIENTS {
        assert_eq!(stored(&server, name), SCRIPT, "by {name}");
    }
}

/// It will not speak without TLS where TLS is offered, so it has a test of its own.
#[test]
fn sieve_connect_stores_a_script_in_dovecot() {
    let (site, server) = (Site::new(), servers::dovecot("sieve"));
    let backend = stunnel(&site, &server.words());
    let wrappers = [
        ("respawn", Wrapper::respawn(&site)),
        ("strict", Wrapper::respawn(&site).option("-r")),
        ("stunnel", Wrapper::backend(&site, backend.port)),
    ];
    for (name, wrapper) in wrappers {
        let listening = tcpserver(&wrapper.options(&["-v", "2"]), &server.words());
        let told = sieve_connect(&Door { port: listening.port, tls: Some(&site) }, name);
        assert!(told.success, "{name}: {}", told.text);
        listening.log().line_with("outcome=tls");
        assert_eq!(stored(&server, name), SCRIPT, "{name}");
    }
    // With nothing offered it goes on in plaintext, and with nothing to be had it is refused.
    let lenient = tcpserver(&Wrapper::respawn(&site).option("--no-advertise"), &server.words());
    let told = sieve_connect(&Door { port: lenient.port, tls: None }, "plaintext");
    assert!(told.success, "{}", told.text);
    assert_eq!(stored(&server, "plaintext"), SCRIPT);
    let strict = tcpserver(&Wrapper::respawn(&site).options(&["-r", "--no-advertise"]), &server.words());
    let told = sieve_connect(&Door { port: strict.port, tls: None }, "refused");
    assert!(!told.success, "{}", told.text);
    STORE.nothing_but_opening_words(strict.log(), 1);
}

/// RFC 5804 section 2.2: the capabilities come again, unasked, and they are the fresh server's.
#[test]
fn the_greeting_is_heard_again_inside_tls() {
    let (site, server) = (Site::new(), servers::dovecot("sieve"));
    let backend = stunnel(&site, &server.words());
    for wrapper in [Wrapper::respawn(&site).option("-r"), Wrapper::backend(&site, backend.port).option("-r")] {
        let listening = tcpserver(&wrapper, &server.words());
        let mut peer = Peer::connect(listening.port);
        let before = greeting(&mut peer);
        assert!(before.contains("\"STARTTLS\"\r\n") && before.contains("\"SASL\" \"\"\r\n"), "{before}");
        peer.says("STARTTLS\r\n");
        peer.hears("OK \"Begin TLS negotiation now.\"\r\n");
        Client::new(&site).shake(&mut peer).unwrap();
        let inside = greeting(&mut peer);
        assert!(!inside.contains("STARTTLS") && inside.contains("\"SASL\" \"PLAIN LOGIN\"\r\n"), "{inside}");
        peer.says("LOGOUT\r\n");
        peer.hears("OK \"Logout completed.\"\r\n");
    }
}

/// Up to its OK.
fn greeting(peer: &mut Peer) -> String {
    let mut heard = String::new();
    while !heard.contains("OK \"Dovecot (Debian) ready.\"\r\n") {
        heard += &peer.hears_line();
    }
    heard
}

/// The script of this name, as the server has it.
fn stored(server: &Server, name: &str) -> String {
    let file = server.file(&format!("home/reader/sieve/{name}.sieve"));
    fs::read_to_string(file).expect("the script is there").replace('\r', "")
}

fn sievelib(door: &Door<'_>) -> Told {
    let script = format!(
        r#"
try:
    from sievelib.managesieve import Client
except ImportError:
    sys.exit("sievelib is missing: install the Debian package python3-sievelib, or run tests/run")
client = Client("localhost", port)
if not client.connect("{USER}", "{PASSWORD}", starttls=bool(ca), authmech="PLAIN"):
    sys.exit("refused")
if not client.putscript("sievelib", {SCRIPT:?}):
    sys.exit("not stored")
print(client.getscript("sievelib"))
client.logout()
"#
    );
    readers::python(door, &script)
}

fn openssl(door: &Door<'_>) -> Told {
    let put = format!("PUTSCRIPT \"openssl\" {{{}+}}\r\n{SCRIPT}", SCRIPT.len());
    let lines = [
        ("", "OK"),
        ("", "OK"),
        ("AUTHENTICATE \"PLAIN\" \"AHJlYWRlcgBzZWNyZXQ=\"", "OK"),
        (&put, "OK"),
        ("GETSCRIPT \"openssl\"", "OK"),
        ("LOGOUT", "OK"),
    ];
    // The greeting comes once in plaintext, and once inside TLS.
    readers::say(door, "sieve", STORE.refusal, if door.tls.is_some() { &lines } else { &lines[1..] })
}

fn sieve_connect(door: &Door<'_>, name: &str) -> Told {
    let dir = Dir::new();
    fs::write(dir.file("password"), PASSWORD).unwrap();
    fs::write(dir.file("script"), SCRIPT).unwrap();
    let mut command = program("sieve-connect");
    command.args(["--server", "localhost", "--nosrv", "--port", &door.port.to_string(), "--user", USER]);
    command.arg("--passwordfd=0").args(["--upload", "--remotesieve", name, "--localsieve"]).arg(dir.file("script"));
    match door.tls {
        Some(site) => _ = command.arg("--tlscafile").arg(site.ca()),
        None => _ = command.args(["--clearchan"]),
    }
    readers::run(&mut command, &format!("{PASSWORD}\n"))
}

const SCRIPT: &str = "keep; # STARTTLS\nkeep;\n";
