//! See `keelson_fuzz::request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keelson_fuzz::request::run(data));
