//! Stops a build that would make a slow program.
//!
//! aws-lc gathers about 60 ms of CPU-jitter entropy in every new process, and this program is a process pair per
//! connection. AWS_LC_SYS_NO_JITTER_ENTROPY=1 leaves that out of aws-lc's build; the kernel's getrandom(2) seeds the
//! generator. cargo reads it from `.cargo/config.toml` of the directory it runs in, not of the package it builds, so
//! `cargo install starttls-wrapper`, or a build from elsewhere, would lose it silently.

use std::env;

fn main() {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    println!("cargo::rerun-if-changed=build.rs");
    let asked = env::var(VARIABLE).or_else(|_| env::var(format!("{VARIABLE}_{}", target())));
    if asked.is_err() && env::var_os("DOCS_RS").is_none() {
        println!(
            "cargo::error={VARIABLE} is not set, so each connection would cost 60 ms of CPU: set it to 1, or run cargo \
             in the checkout, whose .cargo/config.toml does"
        );
    }
}

/// As aws-lc-sys spells it in the names of its variables.
fn target() -> String {
    env::var("TARGET").unwrap_or_default().replace('-', "_")
}

/// aws-lc-sys reads it and is built anew when it changes.
const VARIABLE: &str = "AWS_LC_SYS_NO_JITTER_ENTROPY";
