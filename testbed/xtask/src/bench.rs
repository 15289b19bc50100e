//! Runs the benchmarks on what ships.

use crate::shell::{command, root};

/// Benchmarks that look at libraries only, so that nothing that ships must be built for them.
const WITHOUT_PROGRAMS: &[&str] = &[
    "sim",
    "decide",
    "what-if",
    "canary",
    "forecast",
    "brain-trust",
    "placement",
    "classify",
    "scaling",
];
/// Benchmarks that ask other policy engines or forecasters the same.
const WITH_PEERS: &[&str] = &["decide", "what-if", "forecast"];

/// `cargo xtask bench [--json] [NAME…] [-- OPTIONS]`: builds the shipping programs with the `dist` profile, then runs each benchmark with its peer.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let programs = if needs_programs(arguments) {
        crate::setup::debian_packages()?;
        crate::dist::build_for_benches()?
    } else {
        root().join("target/dist-out")
    };
    // What ships has the `dist` profile; what measures it, and both sides of what is compared as libraries, the same one.
    let peers: &[&str] = if needs_peers(arguments) {
        &["--features", "peers"]
    } else {
        &[]
    };
    crate::shell::run(
        command("cargo")
            .args(["run", "--quiet", "--release", "-p", "testbed-bench"])
            .args(peers)
            .args(["--bin", "sentinel-bench", "--", "--programs"])
            .arg(programs)
            .arg("--work")
            .arg(root().join("target/bench"))
            .args(arguments),
    )
}

/// `cargo xtask load [agents] [api] [--agents N] [--rate N] [--clients N] [--seconds N] [--json]`: a hub of its own under load, with the
/// programs of the `release` profile.
pub fn load(arguments: &[String]) -> Result<(), String> {
    let build = ["build", "--quiet", "--release", "-p", "hub", "-p", "hub-ctl"];
    crate::shell::prepare(command("cargo").args(build))?;
    crate::shell::run(
        command("cargo")
            .args(["run", "--quiet", "--release", "-p", "testbed-bench"])
            .args(["--bin", "sentinel-bench", "--", "load", "--programs"])
            .arg(root().join("target/release"))
            .arg("--work")
            .arg(root().join("target/load"))
            .args(arguments),
    )
}

fn needs_programs(arguments: &[String]) -> bool {
    any_or_all(arguments, |name| !WITHOUT_PROGRAMS.contains(&name))
}

/// Whether others are asked, which nothing else compiles: they take ten minutes.
fn needs_peers(arguments: &[String]) -> bool {
    any_or_all(arguments, |name| WITH_PEERS.contains(&name))
}

/// Whether this is true of any benchmark that is named; without a name all of them run.
fn any_or_all(arguments: &[String], is: impl Fn(&str) -> bool) -> bool {
    let names = arguments.iter().take_while(|word| *word != "--");
    let mut names = names.filter(|word| !word.starts_with("--")).peekable();
    names.peek().is_none() || names.any(|name| is(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_built_only_for_those_that_run_them() {
        let needs = |words: &[&str]| needs_programs(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert!(needs(&[]) && needs(&["--json"]) && needs(&["decide", "act"]) && needs(&["novel"]));
        assert!(!needs(&["forecast", "--json", "--", "--series", "novel.csv"]));
        assert!(!needs(&["decide", "what-if", "canary"]) && !needs(&["--json", "sim"]));
        assert!(!needs(&[
            "placement",
            "--json",
            "--",
            "--pods",
            "a.csv",
            "--nodes",
            "b.csv"
        ]));
        let peers = |words: &[&str]| needs_peers(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert!(peers(&[]) && peers(&["sim", "decide"]) && !peers(&["sim", "act"]));
    }
}
