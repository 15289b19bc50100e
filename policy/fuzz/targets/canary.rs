//! libFuzzer into `policy_fuzz::canary`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| policy_fuzz::canary(data));
