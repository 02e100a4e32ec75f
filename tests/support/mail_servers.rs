//! Servers of mail that is fetched, of filters and of news: none of them knows TLS, and each has a house of its own.
//!
//! `tests/servers` unpacks them; [`enter`](House::enter) runs them where they lie over this machine's /usr, with the
//! users, passwords and mailboxes of the house. Nothing of it is seen, or stays, outside.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use rustix::fs::inotify;

use super::certificates::Dir;
use super::program::{Running, path_of};
use super::servers::{ANYWHERE, Listening, listening};
use super::{PATIENCE, readable};

/// Who has the mailbox, everywhere.
pub(crate) const USER: &str = "reader";

/// And how that is shown.
pub(crate) const PASSWORD: &str = "secret";

/// A server that knows no TLS.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    /// What runs it for one client. It tells its standard error what it hears (`tests/support/overhear`).
    prog: Vec<String>,
    mailbox: Mailbox,
    /// What must run besides.
    _daemon: Option<Running>,
    house: House,
}

/// Where the mails lie.
#[derive(Clone, Copy)]
enum Mailbox {
    /// All in one file.
    Mbox,
    /// One file each.
    Maildir,
    /// One file each, and lists of them.
    Spool,
}

impl Server {
    fn new(name: &'static str, mailbox: Mailbox, words: &[&str]) -> Self {
        Self::in_house(House::new(), None, name, mailbox, words)
    }

    fn in_house(house: House, daemon: Option<Running>, name: &'static str, mailbox: Mailbox, words: &[&str]) -> Self {
        let mut prog = vec![OVERHEAR.to_owned()];
        prog.extend(house.enter(words));
        Self { name, prog, mailbox, _daemon: daemon, house }
    }

    pub(crate) fn words(&self) -> Vec<&str> {
        self.prog.iter().map(String::as_str).collect()
    }

    /// The server under a tcpserver of the house, for whoever connects.
    pub(crate) fn listens(&self) -> Listening {
        let (enter, prog) = self.prog[1..].split_at(3);
        listening(Command::new(&enter[0]).args(&enter[1..]).arg(path_of("tcpserver")).args(ANYWHERE).args(prog))
    }

    /// A file of the house.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.house.0.file(name)
    }

    /// Puts these mails into the mailbox, or these articles into the group.
    pub(crate) fn put(&self, mails: &[String]) {
        match self.mailbox {
            Mailbox::Mbox => {
                let from = "From a@example.org Fri Nov 20 00:00:00 2026\n";
                let mbox: String =
                    mails.iter().map(|mail| format!("{from}{}\n", mail.replace("\nFrom ", "\n>From "))).collect();
                self.house.write("var/mail/reader", &mbox);
            }
            Mailbox::Maildir => {
                for (number, mail) in mails.iter().enumerate() {
                    self.house.write(&format!("home/reader/Maildir/new/{number}.put.house"), mail);
                }
            }
            Mailbox::Spool => self.put_articles(mails),
        }
        let owner = if matches!(self.mailbox, Mailbox::Spool) { NEWS } else { READER };
        give(&self.file("home/reader"), READER);
        give(&self.file("var/spool/news"), owner);
        give(&self.file("var/mail/reader"), owner);
    }

    /// leafnode's own lists: a line for the group, and one for each article in it. Of a group with one article it would
    /// show a text of its own.
    fn put_articles(&self, articles: &[String]) {
        let mut overview = String::new();
        for (number, article) in (1..).zip(articles) {
            let head = format!("Message-ID: <{number}@example.org>\nXref: news.home.arpa alt.test:{number}\n");
            let head = format!("{head}Path: news\nNewsgroups: alt.test\nDate: Fri, 20 Nov 2026 00:00:00 +0000\n");
            self.house.write(&format!("var/spool/news/alt/test/{number}"), &format!("{head}{article}"));
            let about = format!("x\ta@example.org\tFri, 20 Nov 2026 00:00:00 +0000\t<{number}@example.org>\t\t20\t1");
            overview += &format!("{number}\t{about}\tXref: news.home.arpa alt.test:{number}\n");
        }
        self.house.write("var/spool/news/alt/test/.overview", &overview);
        self.house.write("var/spool/news/interesting.groups/alt.test", "");
        let group = format!("alt.test {} 1 1700000000 Tests\n", articles.len());
        self.house.write("var/spool/news/leaf.node/groupinfo", &group);
    }

    /// The mails that lie there now, or the articles that were posted.
    pub(crate) fn mails(&self) -> Vec<String> {
        match self.mailbox {
            Mailbox::Mbox => {
                let mbox = fs::read_to_string(self.file("var/mail/reader")).unwrap();
                let mails = mbox.strip_prefix("From ").map_or_else(Vec::new, |rest| rest.split("\nFrom ").collect());
                // One that is being written has no first line yet.
                mails.into_iter().filter_map(|mail| Some(mail.split_once('\n')?.1.to_owned())).collect()
            }
            Mailbox::Maildir => {
                let of = |part| files(&self.file(&format!("home/reader/Maildir/{part}")));
                [of("new"), of("cur")].concat()
            }
            Mailbox::Spool => files(&self.file("var/spool/news/out.going")),
        }
    }
}

/// GNU mailutils. It takes LITERAL+.
pub(crate) fn imap4d() -> Server {
    Server::new("imap4d", Mailbox::Mbox, &["/usr/sbin/imap4d", "--inetd"])
}

/// GNU mailutils. It takes APOP.
pub(crate) fn pop3d() -> Server {
    let house = House::new();
    let mut popauth = house.start(&["popauth", "--create", "-f", "/etc/apop", "-o", "/home/apop", "-P", "600"]);
    assert_eq!(popauth.wait(), 0, "{}", popauth.log.text());
    let pop3d = ["/usr/sbin/pop3d", "--inetd", "--set", ".apop-database-file=/home/apop"];
    Server::in_house(house, None, "pop3d", Mailbox::Mbox, &pop3d)
}

/// Solar Designer's popa3d. It answers -ERR to CAPA.
pub(crate) fn popa3d() -> Server {
    Server::new("popa3d", Mailbox::Mbox, &["/usr/sbin/popa3d"])
}

/// mailfront's two parts, with a CVM that asks a file.
pub(crate) fn pop3front() -> Server {
    let front = ["env", "CVM_PWFILE_PATH=/etc/cvm-passwd", "/usr/sbin/pop3front-auth", "/usr/bin/cvm-pwfile"];
    Server::new("pop3front", Mailbox::Maildir, &[&front[..], &["/usr/sbin/pop3front-maildir", "Maildir"]].concat())
}

/// Courier's POP3 server: one program that asks for the password, one that has the mailbox.
pub(crate) fn courier_pop() -> Server {
    courier("courier-pop", &[COURIER_POP3LOGIN, COURIER_POP3D, "Maildir"])
}

/// Courier's IMAP server, likewise.
pub(crate) fn courier_imap() -> Server {
    courier("courier-imap", &["sh", "/etc/courier-imap"])
}

/// Courier's part that knows passwords listens beside the server.
fn courier(name: &'static str, words: &[&str]) -> Server {
    let house = House::new();
    let directory = house.0.file("run/courier/authdaemon");
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
    inotify::add_watch(&watch, &directory, inotify::WatchFlags::MOVED_TO).unwrap();
    let daemon = house.start(&[
        "env",
        "authmodulelist=authpam",
        "daemons=1",
        "authdaemonvar=/run/courier/authdaemon",
        "/usr/lib/courier/courier-authlib/authdaemond",
    ]);
    assert!(readable(&watch, PATIENCE), "authdaemond does not listen:\n{}", daemon.log.text());
    let peer = [
        "env",
        "MAILDIRPATH=Maildir",
        "TCPREMOTEIP=127.0.0.1",
        "TCPREMOTEPORT=1",
        "TCPLOCALIP=127.0.0.1",
        "TCPLOCALPORT=1",
    ];
    Server::in_house(house, Some(daemon), name, Mailbox::Maildir, &[&peer[..], words].concat())
}

/// dovecot speaks this protocol (`imap`, `pop3`, `lmtp` or `sieve`): it listens, and what runs for one client is only
/// the way there.
pub(crate) fn dovecot(protocol: &'static str) -> Server {
    let house = House::new();
    let daemon = house.start(&["/usr/sbin/dovecot", "-F"]);
    daemon.log.line_with("starting up");
    path_of("socat");
    let way = format!("UNIX-CONNECT:/run/dovecot/{protocol}.socket");
    Server::in_house(house, Some(daemon), "dovecot", Mailbox::Maildir, &["/usr/bin/socat", "-", &way])
}

/// dovecot's IMAP server without its login: whoever can start it is known already.
pub(crate) fn dovecot_preauth() -> Server {
    let user = ["setpriv", "--reuid", "1001", "--regid", "1001", "--clear-groups"];
    let user = [&user[..], &["env", "HOME=/home/reader", "USER=reader", "/usr/lib/dovecot/imap"]].concat();
    Server::new("dovecot", Mailbox::Maildir, &user)
}

/// leafnode, for news.
pub(crate) fn leafnode() -> Server {
    let user = ["setpriv", "--reuid", "9", "--regid", "9", "--clear-groups", "/usr/sbin/leafnode"];
    Server::new("leafnode", Mailbox::Spool, &user)
}

/// What one server sees as /etc, /home, /run and /var.
struct House(Dir);

impl House {
    fn new() -> Self {
        let house = Self(Dir::new());
        for (program, package) in PROGRAMS {
            let missing = "is missing: run tests/servers, which unpacks the Debian package";
            assert!(Path::new(&format!("{}{program}", *ROOT)).exists(), "{program} {missing} {package}");
        }
        for (file, text) in FILES {
            house.write(file, text);
        }
        for service in PAM_SERVICES {
            house.write(&format!("etc/pam.d/{service}"), PAM);
        }
        for directory in DIRECTORIES {
            fs::create_dir_all(house.0.file(directory)).unwrap();
        }
        for number in 0..1000 {
            fs::create_dir_all(house.0.file(&format!("var/spool/news/message.id/{number:03}"))).unwrap();
        }
        fs::set_permissions(house.0.file("var/mail"), Permissions::from_mode(0o1777)).unwrap();
        for (part, owner) in [("etc/news", NEWS), ("var/spool/news", NEWS), ("home/reader", READER)] {
            give(&house.0.file(part), owner);
        }
        house
    }

    fn write(&self, name: &str, text: &str) {
        let file = self.0.file(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    /// The words that run these inside.
    fn enter(&self, words: &[&str]) -> Vec<String> {
        let house = self.0.path().to_str().unwrap();
        [ENTER, *ROOT, house].into_iter().chain(words.iter().copied()).map(str::to_owned).collect()
    }

    fn start(&self, words: &[&str]) -> Running {
        let words = self.enter(words);
        Running::start(Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()))
    }
}

/// What lies in a directory. The server may still be at work there: what it takes away meanwhile does not count.
fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names.iter().filter_map(|name| fs::read_to_string(name).ok()).map(|text| text.replace('\r', "")).collect()
}

/// Makes this file, and all in it if it is a directory, this user's.
fn give(file: &Path, id: u32) {
    if !file.exists() {
        return;
    }
    chown(file, Some(id), Some(id)).expect("the tests run as root");
    if file.is_dir() {
        for entry in fs::read_dir(file).unwrap() {
            give(&entry.unwrap().path(), id);
        }
    }
}

/// Postfix as a client that wants TLS, with these lines in its main.cf. It runs where it lies, with its libraries.
pub(crate) fn posttls_finger(dir: &Dir, configuration: &str) -> Command {
    let users = "mail_owner = mail\ndefault_privs = nobody\nsetgid_group = daemon\ncompatibility_level = 3.6\n";
    fs::write(dir.file("main.cf"), format!("{users}myhostname = client.example\n{configuration}")).unwrap();
    fs::write(dir.file("master.cf"), "").unwrap();
    let mut command = Command::new(format!("{}/usr/sbin/posttls-finger", *ROOT));
    command.env("LD_LIBRARY_PATH", format!("{}/usr/lib/postfix", *ROOT)).env("MAIL_CONFIG", dir.path());
    command
}

/// Where `tests/servers` has unpacked them: in the target directory, be that divided by machine or not.
static ROOT: LazyLock<&str> = LazyLock::new(|| {
    let above = Path::new(env!("CARGO_TARGET_TMPDIR")).ancestors();
    let found = above.map(|directory| directory.join("servers")).find(|servers| servers.exists());
    let found = found.expect("there is no target/servers: run tests/servers, which unpacks them");
    found.into_os_string().into_string().unwrap().leak()
});

/// What `tests/servers` unpacks, and from which package.
const PROGRAMS: &[(&str, &str)] = &[
    ("/usr/bin/cvm-pwfile", "cvm"),
    ("/usr/bin/imapd", "courier-imap"),
    ("/usr/lib/courier/courier-authlib/authdaemond", "courier-authdaemon"),
    (COURIER_POP3LOGIN, "courier-pop"),
    ("/usr/lib/dovecot/imap", "dovecot-imapd"),
    ("/usr/lib/dovecot/lmtp", "dovecot-lmtpd"),
    ("/usr/lib/dovecot/managesieve", "dovecot-managesieved"),
    ("/usr/lib/dovecot/pop3", "dovecot-pop3d"),
    ("/usr/sbin/dovecot", "dovecot-core"),
    ("/usr/sbin/imap4d", "mailutils-imap4d"),
    ("/usr/sbin/leafnode", "leafnode"),
    ("/usr/sbin/pop3d", "mailutils-pop3d"),
    ("/usr/sbin/pop3front-auth", "mailfront"),
    ("/usr/sbin/popa3d", "popa3d"),
    ("/usr/sbin/posttls-finger", "postfix"),
];

/// The first word of a server that was unpacked.
pub(crate) const ENTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/enter");

const OVERHEAR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/overhear");

const COURIER_POP3LOGIN: &str = "/usr/lib/courier/courier/courierpop3login";

const COURIER_POP3D: &str = "/usr/lib/courier/courier/courierpop3d";

/// The uid and gid of the house's mailbox.
const READER: u32 = 1001;

/// leafnode insists on it.
const NEWS: u32 = 9;

const DIRECTORIES: &[&str] = &[
    "home/reader/Maildir/cur",
    "home/reader/Maildir/new",
    "home/reader/Maildir/tmp",
    "run/courier/authdaemon",
    "run/dovecot",
    "var/lib/dovecot",
    "var/mail",
    "var/spool/news/failed.postings",
    "var/spool/news/interesting.groups",
    "var/spool/news/leaf.node",
    "var/spool/news/out.going",
    "var/spool/news/temp.files",
];

const PAM_SERVICES: &[&str] = &["imap", "pop3", "popa3d", "gnu-imap4d", "gnu-pop3d", "mu-imap4d", "mu-pop3d", "other"];

const PAM: &str = "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n";

const FILES: &[(&str, &str)] = &[
    (
        "etc/passwd",
        "root:x:0:0::/root:/bin/sh\n\
         news:x:9:9::/nonexistent:/bin/false\n\
         dovecot:x:103:103::/nonexistent:/bin/false\n\
         dovenull:x:104:104::/nonexistent:/bin/false\n\
         popa3d:x:105:105::/nonexistent:/bin/false\n\
         reader:x:1001:1001::/home/reader:/bin/sh\n\
         nobody:x:65534:65534::/nonexistent:/bin/false\n",
    ),
    ("etc/group", "root:x:0:\nmail:x:8:\nnews:x:9:\ndovecot:x:103:\ndovenull:x:104:\npopa3d:x:105:\nreader:x:1001:\n"),
    // PASSWORD, as crypt(3) has it.
    (
        "etc/shadow",
        "reader:$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1\
         :19000:0:99999:7:::\n\
         popa3d:*:19000:0:99999:7:::\n",
    ),
    ("etc/apop", "reader secret\n"),
    ("etc/cvm-passwd", "reader:secret:1001:1001::/home/reader:/bin/sh\n"),
    ("etc/news/leafnode/config", "server = news.invalid\nexpire = 20\nhostname = news.home.arpa\n"),
    ("etc/courier-imap", COURIER_IMAP),
    ("etc/dovecot/dovecot.conf", DOVECOT),
];

/// curl does not forget a LOGINDISABLED it has heard before TLS: it needs a mechanism inside.
const COURIER_IMAP: &str = "\
export IMAP_CAPABILITY='IMAP4rev1 UIDPLUS AUTH=PLAIN'
exec /usr/lib/courier/courier/imaplogin /usr/bin/imapd Maildir
";

const DOVECOT: &str = "\
protocols = imap pop3 lmtp sieve
base_dir = /run/dovecot
log_path = /dev/stderr
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
mail_location = maildir:~/Maildir
passdb {
  driver = static
  args = password=secret
}
userdb {
  driver = static
  args = uid=1001 gid=1001 home=/home/%n
}
service imap-login {
  inet_listener imap {
    port = 0
  }
  inet_listener imaps {
    port = 0
  }
  unix_listener imap.socket {
    mode = 0666
  }
}
service pop3-login {
  inet_listener pop3 {
    port = 0
  }
  inet_listener pop3s {
    port = 0
  }
  unix_listener pop3.socket {
    mode = 0666
  }
}
service managesieve-login {
  inet_listener sieve {
    port = 0
  }
  unix_listener sieve.socket {
    mode = 0666
  }
}
service lmtp {
  unix_listener lmtp.socket {
    mode = 0666
  }
}
plugin {
  sieve = file:~/sieve;active=~/.dovecot.sieve
}
";
