//! libFuzzer into `policy_fuzz::decide`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| policy_fuzz::decide(data));
