//! Runs the benchmarks on what ships.

use crate::shell::{command, root};

/// `cargo xtask bench [--json] [NAME…]`: builds the shipping programs with the `dist` profile, then runs each benchmark with its peer.
pub fn run(arguments: &[String]) -> Result<(), String> {
    crate::setup::debian_packages()?;
    let programs = crate::dist::build()?;
    crate::shell::run(
        command("cargo")
            .args([
                "run",
                "--quiet",
                "--profile",
                "dist",
                "-p",
                "testbed-bench",
                "--bin",
                "sentinel-bench",
                "--",
                "--programs",
            ])
            .arg(programs)
            .arg("--work")
            .arg(root().join("target/bench"))
            .args(arguments),
    )
}
