//! Plans: what a brain or a person wants done, judged, carried out step by step, verified and, where its effect is missing, taken back.
//!
//! Read next: `plans/machine.rs` (how one plan lives), `wire/src/plan.rs` (what a plan is).

pub mod machine;
