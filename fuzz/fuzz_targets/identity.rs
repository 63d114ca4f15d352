//! What a node remembers of itself.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilith_node::fuzz_identity(data));
