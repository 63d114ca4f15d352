//! Files and frames of the journal.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilith_storage::journal::fuzz(data));
