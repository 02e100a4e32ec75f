//! Real servers and real clients, with the wrapper between them under tcpserver.

mod support;

use support::certificates::Site;
use support::clients::{self, Client, Way};
use support::servers::{Mail, exim4, mailfront, stunnel, tcpserver};
use support::wrapper::Wrapper;

/// Delivers without STARTTLS, with `--respawn`, and with stunnel as the TLS server: to each server.
fn delivers((name, deliver): Client) {
    let site = Site::new();
    for mail in [mailfront(), exim4()] {
        let to = |mode| format!("{name}.{mode}@{}.example", mail.name);
        let respawning = tcpserver(&Wrapper::respawn(&site).options(&["-v", "2"]), &mail.words());

        deliver(&Way { port: respawning.port, to: &to("plaintext"), tls: None });
        mail.has_received(&to("plaintext"), respawning.log());
        respawning.log().line_with("outcome=plaintext");

        deliver(&Way { port: respawning.port, to: &to("respawn"), tls: Some(&site) });
        mail.has_received(&to("respawn"), respawning.log());
        respawning.log().line_with("outcome=tls identity=kept version=TLSv1.3");

        delivers_to_stunnel(&site, &mail, &to("stunnel"), deliver);
    }
}

fn delivers_to_stunnel(site: &Site, mail: &Mail, to: &str, deliver: fn(&Way<'_>)) {
    let backend = stunnel(site, &mail.words());
    let splicing = tcpserver(&Wrapper::backend(site, backend.port).options(&["-v", "2"]), &mail.words());
    deliver(&Way { port: splicing.port, to, tls: Some(site) });
    mail.has_received(to, backend.log());
    splicing.log().line_with("outcome=tls identity=lost version=TLSv1.3");
}

#[test]
fn swaks_delivers() {
    delivers(("swaks", clients::swaks));
}

#[test]
fn openssl_delivers() {
    delivers(("openssl", clients::openssl));
}

#[test]
fn curl_delivers() {
    delivers(("curl", clients::curl));
}

#[test]
fn msmtp_delivers() {
    delivers(("msmtp", clients::msmtp));
}

#[test]
fn smtplib_delivers() {
    delivers(("smtplib", clients::smtplib));
}
