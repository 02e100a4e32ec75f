//! A build with graviola needs a processor of a kind, and says so where it has another one, before anything is offered.
#![cfg(feature = "graviola")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod support;

use support::certificates::Site;
use support::program::{program, sentence};
use support::wrapper::WRAPPER;

/// valgrind's processor has no ADX, whatever it runs on.
fn on_another_processor(arguments: &[&str]) -> (Option<i32>, String) {
    let site = Site::new();
    let mut command = program("valgrind");
    command.args(["-q", "--tool=none"]).args(arguments).env("KEYFILE", site.key()).env("CERTFILE", site.cert());
    let output = command.output().unwrap();
    (output.status.code(), sentence(String::from_utf8(output.stderr).unwrap().lines().next().unwrap_or_default()))
}

#[test]
fn on_a_processor_that_cannot_do_it_tls_is_refused_with_what_to_do() {
    let lacks = "fatal: unable to do TLS: this processor has no adx, which a build with graviola needs: \
                 take one with aws-lc";
    for option in ["-r", "--implicit"] {
        let (status, said) = on_another_processor(&[WRAPPER, option, "--respawn", "/bin/false"]);
        assert_eq!((status, &*said), (Some(97), &*format!("starttls-wrapper: {lacks}")), "{option}");
    }
    let tlsify = WRAPPER.replace("starttls-wrapper", "tlsify");
    let (status, said) = on_another_processor(&[&tlsify, "localhost", "1"]);
    assert_eq!((status, &*said), (Some(97), &*format!("tlsify: {lacks}")));
}
