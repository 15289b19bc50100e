//! cargo xtask: test, tidy, bench, dist.
fn main() {}
