//! libFuzzer into `policy_fuzz::bundle`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| policy_fuzz::bundle(data));
