//! What a backend must prove, and what it is shown.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test that fails panics")]
#![allow(clippy::print_stdout, reason = "the tables, for who runs it with --nocapture")]

mod support;

use support::backend::Backend;
use support::certificates::{Flaw, Site};
use support::tls::{self, Client, TLS12, TLS13};
use support::wrapper::{GO_AHEAD, NOT_AVAILABLE, Wrapper};

#[test]
fn a_backend_is_what_its_chain_its_name_and_its_pin_prove() {
    let site = Site::new();
    let good = Site::new();
    let (foreign, expired, misnamed) =
        (Site::flawed(Flaw::Untrusted), Site::flawed(Flaw::Expired), Site::flawed(Flaw::WrongName));
    let ca = site.ca().to_str().unwrap().to_owned();
    let ca = ["--backend-ca", &ca];
    let pins = [&good, &foreign, &expired, &misnamed].map(Site::pin);
    let [good_pin, foreign_pin, expired_pin, misnamed_pin] = pins.each_ref().map(|pin| ["--backend-pin", pin]);
    let either = format!("{};{}", pins[1], pins[0]);
    let rows: &[(&str, &Site, Vec<&str>, Option<&str>)] = &[
        ("chain", &good, ca.to_vec(), Some("verified")),
        ("chain, foreign", &foreign, ca.to_vec(), None),
        ("chain, expired", &expired, ca.to_vec(), None),
        ("chain, wrong name", &misnamed, ca.to_vec(), None),
        ("pin alone", &good, good_pin.to_vec(), Some("pinned")),
        ("pin alone, foreign", &foreign, foreign_pin.to_vec(), Some("pinned")),
        ("pin alone, expired", &expired, expired_pin.to_vec(), Some("pinned")),
        ("pin alone, wrong name", &misnamed, misnamed_pin.to_vec(), Some("pinned")),
        ("wrong pin", &good, foreign_pin.to_vec(), None),
        ("one pin of two", &good, [foreign_pin, good_pin].concat(), Some("pinned")),
        ("one pin of two in one word", &good, vec!["--backend-pin", &either], Some("pinned")),
        ("chain and pin", &good, [ca, good_pin].concat(), Some("verified")),
        ("chain and wrong pin", &good, [ca, foreign_pin].concat(), None),
        ("pin and foreign chain", &foreign, [ca, foreign_pin].concat(), None),
        ("another name", &misnamed, [&ca[..], &["--backend-name", "elsewhere.example"]].concat(), Some("verified")),
        (
            "one name of two",
            &misnamed,
            [&ca[..], &["--backend-name", "a.example", "--backend-name", "elsewhere.example"]].concat(),
            Some("verified"),
        ),
        ("none of two names", &misnamed, [&ca[..], &["--backend-name", "a", "--backend-name", "b"]].concat(), None),
    ];
    for (name, backend_site, options, expected) in rows {
        let backend = Backend::new();
        let wrapper = Wrapper::bare(&["localhost", &backend.port().to_string()]).site(&site);
        let mut session = wrapper.options(options).options(&["-v", "2"]).start();
        let server = session.opening();
        session.client.says("STARTTLS\r\n");
        let shaken = tls::accept(backend_site, backend.accept());
        if let Some(expected) = expected {
            let mut inner = shaken.expect("the wrapper shakes hands");
            inner.says("220 inner.example ESMTP\r\n");
            session.client.hears(GO_AHEAD);
            Client::new(&site).shake(&mut session.client).unwrap();
            inner.says_no_more();
            session.client.hears_end();
            let end = session.end();
            assert!(end.log.contains(&format!(" backend={expected} ")), "{name}:\n{}", end.log);
            println!("{name:28} backend={expected}");
        } else {
            session.client.hears(NOT_AVAILABLE);
            server.exits(0);
            let end = session.end();
            let why = end.log.lines().find(|line| line.contains("warning: unable to use the TLS server"));
            println!("{name:28} 454, {}", why.expect("the reason is told"));
            assert!(end.log.contains("outcome=plaintext"), "{name}:\n{}", end.log);
        }
    }
}

#[test]
fn a_backend_that_asks_gets_the_certificate_in_tls_1_3() {
    let (site, own) = (Site::new(), Site::new());
    for (versions, shows, expected) in
        [(&[&TLS13][..], true, true), (&[&TLS12], true, false), (&[&TLS13], false, false), (&[&TLS12], false, false)]
    {
        let backend = Backend::new();
        let wrapper = Wrapper::backend(&site, backend.port());
        let wrapper = if shows {
            wrapper.option("--backend-cert").option(own.cert()).option("--backend-key").option(own.key())
        } else {
            wrapper
        };
        let mut session = wrapper.options(&["-v", "2"]).start();
        let _server = session.opening();
        session.client.says("STARTTLS\r\n");
        let shaken = tls::accept_known(&site, backend.accept(), versions);
        assert_eq!(shaken.is_ok(), expected, "{:?} {shows}", versions[0].version);
        match shaken {
            Ok(mut inner) => {
                assert_eq!(inner.tls().peer_certificates().unwrap(), std::slice::from_ref(&own.certificate));
                inner.says("220 inner.example ESMTP\r\n");
                session.client.hears(GO_AHEAD);
                Client::new(&site).shake(&mut session.client).unwrap();
            }
            Err(_) => session.client.hears(NOT_AVAILABLE),
        }
    }
}

#[test]
fn a_key_that_is_not_the_certificates_is_a_454() {
    let (site, own) = (Site::new(), Site::new());
    let backend = Backend::new();
    let wrapper = Wrapper::backend(&site, backend.port());
    let wrapper = wrapper.option("--backend-cert").option(own.cert()).option("--backend-key").option(site.key());
    let mut session = wrapper.start();
    let _server = session.opening();
    session.client.says("STARTTLS\r\n");
    session.client.hears(NOT_AVAILABLE);
    session.wrapper.log.line_with("it does not belong to the certificate");
}
