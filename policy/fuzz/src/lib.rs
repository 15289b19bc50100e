//! What any bytes may meet: the same four entries for libFuzzer here and for `policy/tests/fuzz.rs` on a stable compiler.
//!
//! Each takes anything, and fails only by a panic. Seeds lie in `seeds/`, one folder for each; `cargo xtask fuzz` runs them.

mod entries;

pub use entries::{bundle, canary, cel, decide};
