//! Runs the benchmarks on what ships.

use crate::shell::{command, root};

/// Benchmarks that look at libraries only, so that nothing that ships must be built for them.
const WITHOUT_PROGRAMS: &[&str] = &["sim", "decide", "what-if", "canary"];

/// `cargo xtask bench [--json] [NAME…]`: builds the shipping programs with the `dist` profile, then runs each benchmark with its peer.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let programs = if needs_programs(arguments) {
        crate::setup::debian_packages()?;
        crate::dist::build()?
    } else {
        root().join("target/dist-out")
    };
    crate::shell::run(
        command("cargo")
            .args([
                "run",
                "--quiet",
                "--profile",
                "dist",
                "-p",
                "testbed-bench",
                // Other policy engines, which nothing but these benchmarks compiles.
                "--features",
                "peers",
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

fn needs_programs(arguments: &[String]) -> bool {
    let mut names = arguments.iter().filter(|word| !word.starts_with("--")).peekable();
    names.peek().is_none() || names.any(|name| !WITHOUT_PROGRAMS.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_built_only_for_those_that_run_them() {
        let needs = |words: &[&str]| needs_programs(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert!(needs(&[]) && needs(&["--json"]) && needs(&["decide", "act"]) && needs(&["novel"]));
        assert!(!needs(&["decide", "what-if", "canary"]) && !needs(&["--json", "sim"]));
    }
}
