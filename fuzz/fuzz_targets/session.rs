//! The laws of a session, for any dialogue.

#![no_main]

#[allow(dead_code)]
#[path = "../../tests/properties/session.rs"]
mod session;

libfuzzer_sys::fuzz_target!(|data: &[u8]| session::check(data));
