//! A protocol as a crate of its own: examples/own-protocol is built, and serves.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod support;

use support::certificates::Site;
use support::tls;
use support::wrapper::{Wrapper, built};

#[test]
fn a_program_with_one_protocol_more_serves_it_as_any_other() {
    let site = Site::new();
    let howdy = built(&["--package", "starttls-howdy"]).join("starttls-howdy").display().to_string();
    let wrapper = || Wrapper::respawn(&site).options(&["-v", "2"]).is(&howdy);

    // By its greeting.
    let mut session = wrapper().option("-r").start();
    let mut server = session.server();
    server.says("HOWDY stranger\r\n");
    session.client.hears("HOWDY stranger\r\n");
    session.client.says("WHATSUP\r\nSECRET\r\nGOTLS\r\n");
    server.hears("WHATSUP\r\n");
    server.says("YEP nothing\r\n");
    session.client.hears("YEP nothing GOTLS\r\nNOPE say GOTLS first\r\nYEP get going\r\n");
    tls::Client::new(&site).alpn(&["howdy"]).shake(&mut session.client).expect("the wrapper shakes hands");
    let mut fresh = session.server();
    fresh.says("HOWDY friend\r\n");
    session.client.says("SECRET\r\n");
    fresh.hears("SECRET\r\n");
    session.client.says_no_more();
    fresh.exits(0);
    let end = session.end();
    assert!(end.log.contains("protocol=howdy outcome=tls identity=kept"), "{}", end.log);

    // And all that come with the wrapper.
    let mut session = wrapper().start();
    let mut server = session.server();
    server.says("+OK ready\r\n");
    session.client.hears("+OK ready\r\n");
    session.client.says("STLS\r\n");
    session.client.hears("+OK Begin TLS negotiation\r\n");
    let output = wrapper().option("--version").command(&[], &[]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains(" postgres howdy\n"), "{output:?}");
}
