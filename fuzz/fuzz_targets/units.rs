//! The units of every protocol, however their bytes are cut.

#![no_main]

#[allow(dead_code)]
#[path = "../../tests/properties/codec.rs"]
mod codec;

libfuzzer_sys::fuzz_target!(|data: &[u8]| codec::check_units(data));
