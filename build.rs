//! Stops a build that would make a slow program, or one that ends in the middle of a handshake.
//!
//! aws-lc gathers about 60 ms of CPU-jitter entropy in every new process, and this program is a process pair per
//! connection. AWS_LC_SYS_NO_JITTER_ENTROPY=1 leaves that out of aws-lc's build; the kernel's getrandom(2) seeds the
//! generator. graviola has its random numbers from the crate getrandom, which looks for a C library to load where this
//! program has none (linked statically with glibc), and a session may open nothing.
//!
//! cargo reads both from `.cargo/config.toml` of the directory it runs in, not of the package it builds, so
//! `cargo install starttls-wrapper`, or a build from elsewhere, would lose them silently.

use std::env;

fn main() {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("DOCS_RS").is_some() {
        return;
    }
    let asked = env::var(VARIABLE).or_else(|_| env::var(format!("{VARIABLE}_{}", target())));
    if has_feature("AWS_LC") && asked.is_err() {
        println!(
            "cargo::error={VARIABLE} is not set, so each connection would cost 60 ms of CPU: set it to 1, or run cargo \
             in the checkout, whose .cargo/config.toml does"
        );
    }
    if has_feature("GRAVIOLA") && is_glibc_inside() && env::var_os("CARGO_CFG_GETRANDOM_BACKEND").is_none() {
        println!(
            "cargo::error=getrandom would look for a C library to load, and the sandbox would end the session: set \
             RUSTFLAGS='-C target-feature=+crt-static --cfg getrandom_backend=\"linux_getrandom\"', or run cargo in the \
             checkout, whose .cargo/config.toml has it"
        );
    }
}

fn has_feature(name: &str) -> bool {
    env::var_os(format!("CARGO_FEATURE_{name}")).is_some()
}

/// Whether the program is linked statically with glibc.
fn is_glibc_inside() -> bool {
    let of_target = |name: &str| env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    of_target("ENV") == "gnu" && of_target("FEATURE").split(',').any(|feature| feature == "crt-static")
}

/// As aws-lc-sys spells it in the names of its variables.
fn target() -> String {
    env::var("TARGET").unwrap_or_default().replace('-', "_")
}

/// aws-lc-sys reads it and is built anew when it changes.
const VARIABLE: &str = "AWS_LC_SYS_NO_JITTER_ENTROPY";
