//! See `keelson_fuzz::cel`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keelson_fuzz::cel::run(data));
