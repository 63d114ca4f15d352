//! Configurations, what is kept beside a mark, and parts of snapshots.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilith_host::fuzz_host(data));
