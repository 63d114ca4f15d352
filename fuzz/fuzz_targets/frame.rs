//! Frame headers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilith_storage::frame::fuzz(data));
