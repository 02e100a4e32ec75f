//! LDAP: OpenLDAP without TLS behind the wrapper, with it behind `host port`, and clients of others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]

mod support;

use std::process::{Output, Stdio};

use support::certificates::Site;
use support::databases::{Directory, PASSWORD_OF_ADMIN, ldap};
use support::program::program;
use support::servers::{Listening, example, stunnel_before, tcpserver};
use support::wrapper::Wrapper;

const ADMIN: [&str; 4] = ["-D", "cn=admin,dc=example", "-w", PASSWORD_OF_ADMIN];

const ENTRY: &str = "dn: dc=example\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example\n";

const CHANGE: &str = "dn: dc=example\nchangetype: modify\nreplace: o\no: Another\n";

/// The wrapper before this server, wherever it listens.
fn before(site: &Site, server: &str, options: &[&str]) -> Listening {
    let wrapper = Wrapper::respawn(site).options(&["-v", "2", "-p", "ldap", "--connect", server]);
    tcpserver(&wrapper.options(options), &[])
}

#[track_caller]
fn succeeds(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_server_without_tls_serves_over_tcp_and_over_its_socket() {
    let site = Site::new();
    for options in [&[][..], &["-r"]] {
        for local in [false, true] {
            let slapd = Directory::new();
            let server = if local { slapd.socket() } else { format!("127.0.0.1:{}", slapd.port) };
            let front = before(&site, &server, options);
            let ask = |name: &str, words: &[&str], input: &str| {
                succeeds(ldap(name, &site, front.port, &[&["-ZZ"], &ADMIN[..], words].concat(), input))
            };
            ask("ldapadd", &[], ENTRY);
            ask("ldapmodify", &[], CHANGE);
            assert!(ask("ldapsearch", &["-LLL", "-b", "dc=example"], "").contains("o: Another\n"));
            assert_eq!(ask("ldapwhoami", &[], ""), "dn:cn=admin,dc=example\n");
            front.log().lines_with("protocol=ldap outcome=tls identity=lost version=TLSv1.3", 4);
            slapd.log().line_with("BIND dn=\"cn=admin,dc=example\" method=128");
            let heard = slapd.log().text();
            assert!(!heard.contains("STARTTLS") && !heard.contains("1.3.6.1.4.1.1466.20037"), "{heard}");
        }
    }
}

#[test]
fn the_root_dse_offers_starttls_before_tls_and_not_inside() {
    let (site, slapd) = (Site::new(), Directory::new());
    let front = before(&site, &format!("127.0.0.1:{}", slapd.port), &[]);
    let words = ["-LLL", "-s", "base", "-b", "", "supportedExtension"];
    let bare = succeeds(ldap("ldapsearch", &site, slapd.port, &words, ""));
    let offer = "supportedExtension: 1.3.6.1.4.1.1466.20037\n";
    assert!(!bare.contains(offer) && bare.contains("supportedExtension: "), "{bare}");
    // ldapsearch binds before it searches, so a client of its own is needed to search first.
    let searched = |tls: &str| {
        let script = "import ldap3, ssl, sys\n\
                      tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=sys.argv[2])\n\
                      server = ldap3.Server('localhost', int(sys.argv[1]), tls=tls, get_info=ldap3.NONE)\n\
                      connection = ldap3.Connection(server)\n\
                      connection.open()\n\
                      if sys.argv[3] == 'tls': assert connection.start_tls(), connection.result\n\
                      connection.search('', '(objectClass=*)', ldap3.BASE, attributes=['supportedExtension'])\n\
                      print(*sorted(connection.entries[0].supportedExtension.values), sep='\\n')\n";
        let mut python = program("python3");
        python.args(["-c", script, &front.port.to_string()]).arg(site.ca()).arg(tls);
        succeeds(python.output().unwrap())
    };
    let mut listed: Vec<_> = bare.lines().filter_map(|line| line.strip_prefix("supportedExtension: ")).collect();
    listed.sort_unstable();
    assert_eq!(searched("tls").lines().collect::<Vec<_>>(), listed);
    listed.push("1.3.6.1.4.1.1466.20037");
    listed.sort_unstable();
    assert_eq!(searched("plain").lines().collect::<Vec<_>>(), listed);
}

#[test]
fn a_client_without_tls_is_served_or_refused_in_the_response_that_fits() {
    let (site, slapd) = (Site::new(), Directory::new());
    let server = format!("127.0.0.1:{}", slapd.port);
    let front = before(&site, &server, &[]);
    assert_eq!(succeeds(ldap("ldapwhoami", &site, front.port, &ADMIN, "")), "dn:cn=admin,dc=example\n");
    front.log().line_with("outcome=plaintext");
    slapd.log().line_with(" closed");

    let front = before(&site, &server, &["-r"]);
    let heard = slapd.log().raw();
    let output = ldap("ldapwhoami", &site, front.port, &ADMIN, "");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("ldap_bind: Confidentiality required (13)"), "{said}");
    assert!(said.contains("additional info: use StartTLS first"), "{said}");
    // The end of its connection is the last that the server hears of it.
    let connections = |text: &str| text.matches(" closed").count();
    slapd.log().lines_with(" closed", connections(&heard) + 1);
    let since = slapd.log().raw().split_off(heard.len());
    assert!(!since.contains("BIND dn"), "the server heard of it: {since}");
}

#[test]
fn ldap3_and_openssl_come_to_tls() {
    let (site, slapd) = (Site::new(), Directory::new());
    let front = before(&site, &format!("127.0.0.1:{}", slapd.port), &["-r"]);
    let script = "import ldap3, ssl, sys\n\
                  tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=sys.argv[2])\n\
                  server = ldap3.Server('localhost', int(sys.argv[1]), tls=tls, get_info=ldap3.ALL)\n\
                  connection = ldap3.Connection(server, 'cn=admin,dc=example', sys.argv[3],\n\
                                                auto_bind=ldap3.AUTO_BIND_TLS_BEFORE_BIND)\n\
                  print(connection.extend.standard.who_am_i())\n\
                  connection.unbind()\n";
    let mut python = program("python3");
    python.args(["-c", script, &front.port.to_string()]).arg(site.ca()).arg(PASSWORD_OF_ADMIN);
    assert_eq!(succeeds(python.output().unwrap()), "dn:cn=admin,dc=example\n");

    let mut openssl = program("openssl");
    openssl.args(["s_client", "-starttls", "ldap", "-brief", "-verify_return_error", "-CAfile"]).arg(site.ca());
    openssl.args(["-connect", &format!("localhost:{}", front.port)]).stdin(Stdio::null());
    let output = openssl.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("CONNECTION ESTABLISHED") && said.contains("Verification: OK"), "{said}");
}

#[test]
fn a_server_with_tls_serves_as_a_backend_in_every_mode() {
    let (site, inner) = (Site::new(), Site::new());
    let (plain, backend) = (Directory::new(), Directory::with_tls(&inner));
    let stunnel = stunnel_before(&inner, plain.port);
    for (mode, port) in [
        ("implicit", backend.ldaps),
        ("implicit", stunnel.port),
        ("starttls", backend.port),
        ("opportunistic", backend.port),
    ] {
        let (port, connect) = (port.to_string(), format!("127.0.0.1:{}", plain.port));
        let wrapper = Wrapper::bare(&["localhost", &port]).site(&site).option("--backend-ca").option(inner.ca());
        let wrapper = wrapper.options(&["-v", "2", "-p", "ldap", "--connect", &connect, "--backend-tls", mode]);
        let front = tcpserver(&wrapper, &[]);
        let words = [&["-ZZ"], &ADMIN[..]].concat();
        let said = succeeds(ldap("ldapwhoami", &site, front.port, &words, ""));
        assert_eq!(said, "dn:cn=admin,dc=example\n", "{mode} {port}");
        front.log().line_with("backend=verified");
    }
}

#[test]
fn a_server_without_tls_is_no_tls_server() {
    let (site, slapd) = (Site::new(), Directory::new());
    let (port, connect) = (slapd.port.to_string(), format!("127.0.0.1:{}", slapd.port));
    let wrapper = Wrapper::bare(&["localhost", &port]).site(&site);
    let wrapper = wrapper.options(&["-p", "ldap", "--connect", &connect, "--backend-tls", "starttls"]);
    let front = tcpserver(&wrapper, &[]);
    let output = ldap("ldapwhoami", &site, front.port, &["-ZZ"], "");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("ldap_start_tls: Server is unavailable (52)"), "{said}");
    front.log().line_with("it offers no TLS: ExtendedResponse resultCode=2 unsupported extended operation");
}

/// A transcript tells what was asked, and no password.
#[test]
fn a_transcript_has_no_password() {
    let (site, slapd) = (Site::new(), Directory::new());
    let front = before(&site, &format!("127.0.0.1:{}", slapd.port), &["-r", "-v", "3"]);
    ldap("ldapwhoami", &site, front.port, &ADMIN, "");
    front.log().line_with("C: BindRequest\n");
    front.log().line_with("W: BindResponse resultCode=13 use StartTLS first\n");
    front.log().line_with("outcome=");
    assert!(!front.log().text().contains(PASSWORD_OF_ADMIN));
}

#[test]
fn check_finds_out_whether_tls_would_be_granted() {
    let (site, slapd) = (Site::new(), Directory::new());
    let connect = format!("127.0.0.1:{}", slapd.port);
    let wrapper = Wrapper::respawn(&site).options(&["--check", "-p", "ldap", "--connect", &connect]).by_root();
    let output = wrapper.command(&[], &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("ok: a session that asks for TLS: granted, ldap\n"), "{said} {output:?}");
}

#[test]
fn the_example_serves() {
    let (site, slapd) = (Site::new(), Directory::new());
    let front = example("servers/slapd", &site, ("SLAPD", slapd.port));
    let said = succeeds(ldap("ldapwhoami", &site, front.port, &[&["-ZZ"], &ADMIN[..]].concat(), ""));
    assert_eq!(said, "dn:cn=admin,dc=example\n");
    assert_eq!(ldap("ldapwhoami", &site, front.port, &ADMIN, "").status.code(), Some(13));
}

/// Why the example says TCP: the manual and README warn of it.
#[test]
fn over_its_socket_a_server_takes_every_client_for_who_started_the_wrapper() {
    let (site, slapd) = (Site::new(), Directory::new());
    let front = before(&site, &slapd.socket(), &["-r"]);
    let script = "import ldap3, sys\n\
                  server = ldap3.Server('localhost', int(sys.argv[1]), get_info=ldap3.NONE)\n\
                  connection = ldap3.Connection(server, authentication=ldap3.SASL,\n\
                                                sasl_mechanism=ldap3.EXTERNAL, sasl_credentials=())\n\
                  connection.open()\n\
                  connection.start_tls()\n\
                  print(connection.bind(), connection.extend.standard.who_am_i())\n";
    let mut python = program("python3");
    python.args(["-c", script, &front.port.to_string()]);
    let said = succeeds(python.output().unwrap());
    assert!(said.starts_with("True dn:gidNumber=") && said.ends_with(",cn=peercred,cn=external,cn=auth\n"), "{said}");
}
