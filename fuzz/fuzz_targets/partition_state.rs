//! A partition's state.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilith_topics::partition::fuzz_partition_state(data));
