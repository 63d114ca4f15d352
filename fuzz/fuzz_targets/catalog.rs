//! The catalog of topics.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilith_topics::fuzz_catalog(data));
