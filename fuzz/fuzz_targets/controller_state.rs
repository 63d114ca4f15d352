//! The state of the controller.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilith_topics::controller::fuzz_controller_state(data));
