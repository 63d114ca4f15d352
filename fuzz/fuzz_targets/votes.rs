//! Slots of the vote files.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilith_storage::votes::fuzz(data));
