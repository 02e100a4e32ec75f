//! Clients of others that fetch mail and news, and every way they may come to a server.
//!
//! Unlike those that deliver, a client here may fail: what it says then is looked at.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use super::certificates::{Dir, Site};
use super::clients::s_client;
use super::mail_servers::{PASSWORD, Server, USER};
use super::peer::Peer;
use super::program::{Log, program};
use super::servers::{stunnel, tcpserver};
use super::wrapper::Wrapper;

/// How a client comes to a server.
#[derive(Clone, Copy)]
pub(crate) struct Door<'a> {
    pub(crate) port: u16,
    /// STARTTLS, with this site or nobody; else plaintext.
    pub(crate) tls: Option<&'a Site>,
}

/// What became of it.
pub(crate) struct Told {
    pub(crate) success: bool,
    /// What it printed.
    pub(crate) text: String,
}

/// A client's name, and how it does what it does.
pub(crate) type Reader = (&'static str, fn(&Door<'_>) -> Told);

/// What the clients of one protocol do, and what they meet.
pub(crate) struct Errand {
    /// `--protocol`.
    pub(crate) protocol: &'static str,
    /// All that a server may hear before TLS if it is required.
    pub(crate) opening: &'static [&'static str],
    /// Commands begin with a tag.
    pub(crate) tagged: bool,
    /// What the client hears instead of the server's answer to anything else.
    pub(crate) refusal: &'static str,
    /// The clients that give up where nothing but STARTTLS is offered, and so hear no refusal.
    pub(crate) cautious: &'static [&'static str],
    /// A line that a client which has done its errand has printed; empty where it prints nothing.
    pub(crate) prints: &'static str,
}

/// Every client runs its errand at this server: in plaintext, with `--respawn`, with stunnel as the TLS server, and
/// where TLS is required without it (in vain) and with it.
pub(crate) fn every_way(errand: &Errand, server: &Server, clients: &[Reader]) {
    let site = Site::new();
    let wrapper = |wrapper: Wrapper| wrapper.options(&["-v", "2", "-p", errand.protocol]);
    let backend = stunnel(&site, &server.words());
    let respawning = tcpserver(&wrapper(Wrapper::respawn(&site)), &server.words());
    let splicing = tcpserver(&wrapper(Wrapper::backend(&site, backend.port)), &server.words());
    let strict = tcpserver(&wrapper(Wrapper::respawn(&site)).option("-r"), &server.words());
    for client in clients {
        let what = |way: &str| format!("{} at {} {way}", client.0, server.name);
        let told = errand.succeeds(client, &Door { port: respawning.port, tls: None });
        told.expect(&what("in plaintext"), respawning.log());
        let told = errand.succeeds(client, &Door { port: respawning.port, tls: Some(&site) });
        told.expect(&what("with --respawn"), respawning.log());
        let told = errand.succeeds(client, &Door { port: splicing.port, tls: Some(&site) });
        told.expect(&what("with stunnel"), backend.log());
    }
    respawning.log().lines_with("outcome=plaintext", clients.len());
    respawning.log().lines_with("outcome=tls identity=kept version=TLSv1.3", clients.len());
    splicing.log().lines_with("outcome=tls identity=lost version=TLSv1.3", clients.len());
    errand.nothing_but_opening_words(splicing.log(), clients.len());

    for client in clients {
        let told = client.1(&Door { port: strict.port, tls: None });
        let heard = told.text.contains(errand.refusal) || errand.cautious.contains(&client.0);
        assert!(!told.success && heard, "{} is not refused by {}:\n{}", client.0, server.name, told.text);
    }
    errand.nothing_but_opening_words(strict.log(), clients.len());
    for client in clients {
        let told = errand.succeeds(client, &Door { port: strict.port, tls: Some(&site) });
        told.expect(&format!("{} at {} with -r", client.0, server.name), strict.log());
    }
}

impl Errand {
    fn succeeds(&self, client: &Reader, door: &Door<'_>) -> Told {
        let told = client.1(door);
        let prints = told.text.contains(self.prints);
        Told { success: told.success && prints, ..told }
    }

    /// So many sessions have ended, and their plaintext servers have heard no word but these.
    #[track_caller]
    pub(crate) fn nothing_but_opening_words(&self, log: &Log, sessions: usize) {
        log.lines_with("heard all", sessions);
        for line in log.text().lines().filter_map(|line| line.strip_prefix("heard: ")) {
            // IMAP has a tag before the word.
            let word = if self.tagged { line.split_once(' ').map_or("", |(_, word)| word) } else { line };
            let opens = self.opening.iter().any(|opening| word.trim_ascii_end().eq_ignore_ascii_case(opening));
            assert!(opens, "a plaintext server heard {line:?}");
        }
    }
}

impl Told {
    #[track_caller]
    fn expect(&self, what: &str, log: &Log) {
        assert!(self.success, "{what}:\n{}\nthe log:\n{}", self.text, log.text());
    }
}

/// Fetches what is there, or stores the input if there is any. In front of the host may stand what of the server's ways
/// to authenticate is wanted.
pub(crate) fn curl(door: &Door<'_>, scheme: &str, host: &str, path: &str, input: Option<&str>) -> Told {
    let mut command = program("curl");
    command.args(["-4", "-v", "-sS", "--max-time", "20", "--user", &format!("{USER}:{PASSWORD}")]);
    command.args(["--url", &format!("{scheme}://{host}:{}/{path}", door.port)]);
    // It must know the size before it begins.
    let dir = Dir::new();
    if let Some(input) = input {
        fs::write(dir.file("mail"), input).unwrap();
        command.arg("--upload-file").arg(dir.file("mail"));
    }
    if let Some(site) = door.tls {
        command.args(["--ssl-reqd", "--cacert"]).arg(site.ca());
    }
    run(&mut command, "")
}

/// Fetches every mail, and keeps it on the server or deletes it (`keep` or `nokeep`).
pub(crate) fn fetchmail(door: &Door<'_>, protocol: &str, keep: &str, into: &Dir) -> Told {
    let tls = door.tls.map_or_else(
        || "sslproto ''".to_owned(),
        |site| format!("sslproto 'TLS1.2+' sslcertck sslcertfile '{}' sslcertpath /nonexistent", site.ca().display()),
    );
    let configuration = format!(
        "poll localhost protocol {protocol} port {}: user {USER} password {PASSWORD} {tls}\n\
         fetchall {keep} mda 'cat >$(mktemp {}/mail.XXXXXX)'\n",
        door.port,
        into.path().display(),
    );
    fs::write(into.file("fetchmailrc"), configuration).unwrap();
    fs::set_permissions(into.file("fetchmailrc"), fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = program("fetchmail");
    command.args(["-v", "-v", "--nodetach", "--nosyslog", "--auth", "password", "-f"]).arg(into.file("fetchmailrc"));
    command.arg("--pidfile").arg(into.file("pid"));
    run(command.env("FETCHMAILHOME", into.path()).env("HOME", into.path()).env("LC_ALL", "C"), "")
}

/// The mails that fetchmail has fetched.
pub(crate) fn fetched(into: &Dir) -> Vec<String> {
    let files = fs::read_dir(into.path()).unwrap().map(|file| file.unwrap().path());
    let mails = files.filter(|file| file.file_name().unwrap().to_string_lossy().starts_with("mail."));
    mails.map(|mail| fs::read_to_string(mail).unwrap()).collect()
}

/// What this script prints, given `port` and `ca` (empty in plaintext).
pub(crate) fn python(door: &Door<'_>, script: &str) -> Told {
    let ca = door.tls.map_or_else(Default::default, Site::ca);
    let prelude = "import ssl, sys\nport, ca = int(sys.argv[1]), sys.argv[2]\n\
                   context = ssl.create_default_context(cafile=ca) if ca else None\n";
    let mut command = program("python3");
    run(command.args(["-I", "-W", "ignore", "-c", &format!("{prelude}{script}"), &door.port.to_string()]).arg(ca), "")
}

/// Says these lines one by one, and after each hears lines until one begins like this. With TLS by
/// `openssl s_client -starttls`, which shows no greeting; in plaintext the test speaks for itself, and the first of the
/// lines is for the greeting.
pub(crate) fn say(door: &Door<'_>, protocol: &str, refusal: &str, lines: &[(&str, &str)]) -> Told {
    let Some(site) = door.tls else { return converse(Peer::connect(door.port), refusal, lines) };
    let (mut child, peer) = s_client(door.port, site, protocol);
    let told = converse(peer, refusal, &lines[1..]);
    let ended = child.wait().unwrap().success();
    Told { success: told.success && ended, ..told }
}

fn converse(mut peer: Peer, refusal: &str, lines: &[(&str, &str)]) -> Told {
    let mut text = String::new();
    for (line, answer) in lines {
        if !line.is_empty() {
            peer.says(format!("{line}\r\n"));
        }
        loop {
            let heard = peer.hears_line();
            text += &heard.replace('\r', "");
            if heard.starts_with(answer) {
                break;
            }
            if heard.contains(refusal) {
                return Told { success: false, text };
            }
        }
    }
    text += &String::from_utf8_lossy(&peer.hears_rest());
    Told { success: true, text }
}

/// Runs it to its end.
pub(crate) fn run(command: &mut Command, input: &str) -> Told {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).replace('\r', "");
    Told { success: output.status.success(), text }
}

/// A mail with what may go wrong on the way.
pub(crate) fn mail(number: usize) -> String {
    format!(
        "From: a@example.org\nTo: reader@example.org\nSubject: mail {number}\nMessage-ID: <{number}@example.org>\n\n\
         .a dot\n..two\nthe body of mail {number}\nb STARTTLS\n{}\n",
        "x".repeat(number * 37 % 3000),
    )
}
