//! See `keelson_fuzz::crd`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keelson_fuzz::crd::run(data));
