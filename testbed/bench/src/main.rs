//! The headline benchmarks, each with its peer in the same run.
fn main() {}
