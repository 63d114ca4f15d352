//! Headers of segment files.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilith_storage::file_header::fuzz(data));
