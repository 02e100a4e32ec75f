//! PostgreSQL: a server without TLS behind the wrapper, one with it behind `host port`, and clients of others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]

mod support;

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use support::backend::{Backend, ClosedPort};
use support::certificates::{Flaw, Site};
use support::databases::{Database, client_of_postgres, psql};
use support::peer::Peer;
use support::program::program;
use support::servers::{Listening, example, stunnel_before, tcpserver};
use support::tls;
use support::tls_server::Server;
use support::wrapper::Wrapper;

/// The wrapper before this database; the server inside TLS is the same.
fn before(site: &Site, database: &Database, options: &[&str]) -> Listening {
    let connect = format!("127.0.0.1:{}", database.port);
    let wrapper = Wrapper::respawn(site).options(&["-v", "2", "-p", "postgres", "--connect", &connect]);
    tcpserver(&wrapper.options(options), &[])
}

/// The wrapper before this database; the server inside TLS is at another port of localhost.
fn before_backend(site: &Site, database: &Database, port: u16, options: &[&str]) -> Listening {
    let connect = format!("127.0.0.1:{}", database.port);
    let wrapper = Wrapper::backend(site, port).options(&["-v", "2", "-p", "postgres", "--connect", &connect]);
    tcpserver(&wrapper.options(options), &[])
}

/// What the database knows of TLS on this connection.
const HAS_TLS: &str = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";

#[track_caller]
fn says(site: &Site, port: u16, service: &str, expected: &str) {
    let output = psql(site, port, service, HAS_TLS);
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{service}: {output:?}");
}

#[test]
fn a_server_without_tls_serves_clients_of_every_mode() {
    let (site, database) = (Site::new(), Database::shared());
    for options in [&[][..], &["-r"]] {
        let front = before(&site, &database, options);
        for service in ["sslmode=prefer", "sslmode=require", "sslmode=verify-full", "gssencmode=prefer"] {
            says(&site, front.port, service, "f\n");
        }
        front.log().lines_with("protocol=postgres outcome=tls identity=lost version=TLSv1.3", 4);
    }
}

#[test]
fn a_client_without_tls_is_served_or_refused() {
    let (site, database) = (Site::new(), Database::shared());
    let front = before(&site, &database, &[]);
    says(&site, front.port, "sslmode=disable application_name=served", "f\n");
    front.log().line_with("outcome=plaintext");
    database.log().line_with("application_name=served");

    let strict = before(&site, &database, &["-r"]);
    let output = psql(&site, strict.port, "sslmode=disable application_name=refused", "select 1");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("FATAL:  TLS is required here: connect with sslmode=require or better"), "{said}");
    assert_eq!(output.status.code(), Some(2));
    strict.log().line_with("outcome=refused");
    assert!(!database.log().text().contains("refused"), "the server heard of it");
}

#[test]
fn without_a_key_a_client_goes_on_in_plaintext_or_does_not() {
    let (site, database) = (Site::new(), Database::shared());
    let connect = format!("127.0.0.1:{}", database.port);
    let wrapper = Wrapper::bare(&[]).options(&["--respawn", "-p", "postgres", "--connect", &connect]);
    let front = tcpserver(&wrapper, &[]);
    says(&site, front.port, "sslmode=prefer", "f\n");
    let output = psql(&site, front.port, "sslmode=require", "select 1");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("server does not support SSL, but SSL was required"), "{said}");
}

#[test]
fn the_password_and_the_statement_come_through_tls_alone() {
    let (site, database) = (Site::new(), Database::shared());
    let front = before(&site, &database, &["-r"]);
    let output = psql(&site, front.port, "sslmode=verify-full", "\\conninfo");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("SSL connection (protocol: TLSv1.3"), "{said}");
    let output = psql(&site, front.port, "sslmode=verify-full", "select 'a secret'");
    assert_eq!(output.stdout, b"a secret\n");
    database.log().line_with("statement: select 'a secret'");
    let untrusted = Site::flawed(Flaw::Untrusted);
    let impostor = before(&untrusted, &database, &[]);
    let output = psql(&site, impostor.port, "sslmode=verify-full", "select 1");
    assert!(String::from_utf8_lossy(&output.stderr).contains("certificate verify failed"), "{output:?}");
}

#[test]
fn pgbench_pg_dump_and_psycopg_go_through_tls() {
    let (site, database) = (Site::new(), Database::shared());
    let front = before(&site, &database, &["-r"]);
    let succeeds = |mut command: Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // COPY, many statements, a connection for each transaction.
    for words in [&["-i", "-q", "-s", "1"][..], &["-n", "-t", "20", "-c", "2"], &["-n", "-S", "-C", "-t", "5"]] {
        let (mut pgbench, service) = client_of_postgres("pgbench", &site, front.port, "sslmode=verify-full");
        pgbench.args(words).arg(service);
        succeeds(pgbench);
    }
    let (mut dump, service) = client_of_postgres("pg_dump", &site, front.port, "sslmode=verify-full");
    dump.args(["-t", "pgbench_accounts", "-d", &service]);
    assert!(succeeds(dump).lines().count() > 100_000, "every account is in it");

    let (mut python, service) = client_of_postgres("python3", &site, front.port, "sslmode=verify-full");
    let script = "import psycopg2, sys\n\
                  connection = psycopg2.connect(sys.argv[1])\n\
                  cursor = connection.cursor()\n\
                  cursor.execute('select count(*) from pgbench_accounts')\n\
                  print(cursor.fetchone()[0], connection.info.ssl_in_use)\n";
    python.args(["-c", script, &service]);
    assert_eq!(succeeds(python), "100000 True\n");
}

/// The client calls a second time, in plaintext as most clients do, and says the key it was given inside TLS.
#[test]
fn a_statement_under_tls_is_cancelled() {
    let (site, database) = (Site::new(), Database::shared());
    let front = before(&site, &database, &["-r"]);
    let (mut psql, service) = client_of_postgres("psql", &site, front.port, "sslmode=require");
    psql.args(["-X", "-c", "select pg_sleep(600)", &service]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut psql = psql.spawn().unwrap();
    database.log().line_with("statement: select pg_sleep(600)");
    kill_process(Pid::from_child(&psql), Signal::INT).unwrap();
    let mut said = String::new();
    psql.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("ERROR:  canceling statement due to user request"), "{said}");
    psql.wait().unwrap();
    front.log().line_with("outcome=plaintext in=16 out=0");
}

#[test]
fn openssl_comes_to_tls_by_sslrequest_and_without_it() {
    let (site, database) = (Site::new(), Database::shared());
    let front = before(&site, &database, &["-r"]);
    for way in [&["-starttls", "postgres"][..], &["-alpn", "postgresql"]] {
        let mut openssl = program("openssl");
        openssl.args(["s_client", "-quiet", "-verify_return_error", "-connect", &format!("localhost:{}", front.port)]);
        openssl.arg("-CAfile").arg(site.ca()).args(way).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut openssl = openssl.stderr(Stdio::null()).spawn().unwrap();
        let mut input = openssl.stdin.take().unwrap();
        input.write_all(b"\0\0\0\x17\0\x03\0\0user\0postgres\0\0").unwrap();
        // AuthenticationSASL.
        let mut heard = [0; 9];
        openssl.stdout.take().unwrap().read_exact(&mut heard).unwrap();
        assert_eq!((heard[0], heard[8]), (b'R', 10), "{way:?}");
        drop(input);
        let _ = openssl.kill();
        openssl.wait().unwrap();
    }
}

/// PostgreSQL demands it too: what is sent to another server shall not be taken for its own.
#[test]
fn a_client_that_begins_tls_unasked_must_offer_alpn() {
    let site = Site::new();
    for (names, heard) in [(&[][..], "NoApplicationProtocol"), (&["h2"], "NoApplicationProtocol")] {
        let mut session = Wrapper::respawn(&site).options(&["-p", "postgres"]).start();
        let _plaintext_server = session.server();
        let why = tls::Client::new(&site).alpn(names).shake(&mut session.client).expect_err("it is refused");
        assert!(why.to_string().contains(heard), "{why}");
        session.client.hears_rest();
        assert!(session.has_no_further_server());
        let end = session.end();
        assert_eq!(end.status, 98, "{}", end.log);
        assert!(end.log.contains("TLS handshake with the client failed: "), "{}", end.log);
    }
    // Whoever has asked in plaintext has said what it speaks.
    let mut session = Wrapper::respawn(&site).options(&["-p", "postgres"]).start();
    let _plaintext_server = session.server();
    session.client.says(*b"\0\0\0\x08\x04\xd2\x16\x2f");
    session.client.hears("S");
    tls::Client::new(&site).shake(&mut session.client).expect("it is welcome");
    let mut server = session.server();
    session.client.says(*b"\0\0\0\x10\0\x03\0\0user\0x\0\0");
    server.hears("\0\0\0\x10\0\x03\0\0user\0x\0\0");
}

/// So that PostgreSQL 17 takes it without an SSLRequest.
#[test]
fn a_backend_is_offered_alpn() {
    let (site, backend) = (Site::new(), Backend::new());
    let mut session = Wrapper::backend(&site, backend.port()).options(&["-p", "postgres"]).start();
    let _plaintext_server = session.server();
    session.client.says(*b"\0\0\0\x08\x04\xd2\x16\x2f");
    let (_peer, facts) = Server::new(&site).accept(Peer::tcp(backend.accept())).expect("the wrapper shakes hands");
    assert!(facts.contains("alpn postgresql"), "{facts}");
    session.client.hears("S");
}

#[test]
fn stunnel_serves_as_a_backend_with_tls_from_the_first_byte() {
    let (site, database) = (Site::new(), Database::shared());
    let backend = stunnel_before(&site, database.port);
    for options in [&[][..], &["-r"]] {
        let front = before_backend(&site, &database, backend.port, options);
        says(&site, front.port, "sslmode=verify-full", "f\n");
        front.log().line_with("outcome=tls identity=lost");
        front.log().line_with("backend=verified");
    }
}

/// A client binds its password to the certificate it sees (SCRAM-SHA-256-PLUS, RFC 5929 section 4), so both servers must
/// show the same one.
#[test]
fn a_database_with_tls_is_reached_by_sslrequest() {
    let (site, other) = (Site::new(), Site::new());
    let (database, backend) = (Database::shared(), Database::with_tls(&site));
    for mode in ["starttls", "opportunistic"] {
        let front = before_backend(&site, &database, backend.port, &["--backend-tls", mode]);
        says(&site, front.port, "sslmode=verify-full channel_binding=require", "t\n");
        front.log().line_with("backend=verified");
    }
    let front = before_backend(&other, &database, backend.port, &["--backend-tls", "starttls"]);
    let output = psql(&site, front.port, "sslmode=verify-full", HAS_TLS);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("FATAL:  SCRAM channel binding check failed"), "{said}");
    says(&site, front.port, "sslmode=verify-full channel_binding=disable", "t\n");
}

/// What is asked for is never silently dropped, and what may be dropped is dropped aloud.
#[test]
fn a_database_without_tls_is_no_tls_server() {
    let (site, database) = (Site::new(), Database::shared());
    let front = before_backend(&site, &database, database.port, &["--backend-tls", "starttls"]);
    let output = psql(&site, front.port, "sslmode=require", "select 1");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("server does not support SSL, but SSL was required"), "{said}");
    front.log().line_with("it offers no TLS: N");

    let front = before_backend(&site, &database, database.port, &["--backend-tls", "opportunistic"]);
    says(&site, front.port, "sslmode=require", "f\n");
    front.log().line_with("going on in plaintext");
}

#[test]
fn check_finds_out_whether_tls_would_be_granted() {
    let (site, database) = (Site::new(), Database::shared());
    let connect = format!("127.0.0.1:{}", database.port);
    let wrapper = Wrapper::respawn(&site).options(&["--check", "-p", "postgres", "--connect", &connect]).by_root();
    let output = wrapper.command(&[], &[]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("ok: a session that asks for TLS: granted, postgres\n"), "{said} {output:?}");
}

/// A database that cannot be reached is told of in the client's words.
#[test]
fn a_client_of_nobody_hears_why() {
    let site = Site::new();
    let closed = ClosedPort::new();
    let connect = format!("127.0.0.1:{}", closed.number());
    let wrapper = Wrapper::respawn(&site).options(&["-p", "postgres", "--connect", &connect]);
    let mut session = wrapper.start_prog(&[]);
    session.client.hears("E\0\0\0;SFATAL\0VFATAL\0C57P03\0Mthe server is not available now\0\0");
    session.client.hears_end();
    assert_eq!(session.end().status, 111);
}

#[test]
fn the_example_serves() {
    let (site, database) = (Site::new(), Database::shared());
    let front = example("servers/postgres", &site, ("POSTGRES", database.port));
    says(&site, front.port, "sslmode=verify-full", "f\n");
    assert_eq!(psql(&site, front.port, "sslmode=disable", "select 1").status.code(), Some(2));
}
