//! Manifests.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilith_storage::manifest::fuzz(data));
