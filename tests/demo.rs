//! The README's first command does what the README says.

#![allow(clippy::expect_used)]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

#[test]
fn the_demonstration_delivers_a_mail_behind_starttls() {
    let output = demo(&["--once"]);
    let said = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{told}");
    let (plaintext, tls) = said.split_once("--- TLSv1_3 X25519MLKEM768").expect("a line between the two parts");
    assert!(plaintext.contains("plaintext S: 250-STARTTLS\n"), "{said}");
    assert!(!plaintext.contains("TLS       "), "{said}");
    assert!(!tls.contains("plaintext"), "{said}");
    assert!(!tls.contains("STARTTLS"), "the offer is not made twice: {said}");
    assert!(tls.contains("TLS       S: 250 OK, taken\n"), "{said}");
    assert!(!said.contains('\x1b'), "colour is for terminals: {said}");
    assert!(told.contains("took 3 lines for <you@demo.example>, SSL_PROTOCOL TLSv1.3\n"), "{told}");
    assert!(told.contains("outcome=tls identity=kept"), "{told}");
}

#[test]
fn the_demonstration_goes_on_listening_until_its_input_ends() {
    let output = demo(&[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("\nstill listening on 127.0.0.1:"), "{said}");
    assert!(said.contains("openssl s_client -starttls smtp"), "{said}");
    // It listens on no other address, and swaks tries the first one of localhost only.
    assert!(said.contains("swaks --tls --server 127.0.0.1:"), "{said}");
}

/// What cargo is told so that it builds with the TLS library that the program has.
fn provider() -> &'static [&'static str] {
    if cfg!(feature = "graviola") { &["--no-default-features", "--features", "graviola"] } else { &[] }
}

/// With no input. `cargo test --test demo` alone does not build it.
fn demo(args: &[&str]) -> Output {
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--example", "demo", "--profile", profile])
        .args(provider())
        .status();
    assert!(built.expect("cargo runs").success());
    let mut program = PathBuf::from(env!("CARGO_BIN_EXE_starttls-wrapper"));
    program.set_file_name("examples");
    program.push("demo");
    Command::new(program).args(args).stdin(Stdio::null()).output().expect("it was built")
}
