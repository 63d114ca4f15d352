//! What nodes say to each other: frames, messages, handshakes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilith_peer::fuzz_peer(data));
