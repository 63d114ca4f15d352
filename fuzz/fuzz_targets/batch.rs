//! Record batches: what clients send and disks give back.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| trilith_batch::fuzz_batch(data));
