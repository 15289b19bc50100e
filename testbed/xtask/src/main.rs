//! `cargo xtask …`: everything that is done to the project besides building it.
//!
//! | command | does |
//! |---|---|
//! | `test [STEP…]` | installs what is missing and runs every test; with names, those steps only |
//! | `tidy` | checks who imports whom, from cargo's own metadata |
//! | `bench [--json] [NAME…]` | builds with the `dist` profile and runs the benchmarks, each beside its peer |
//! | `dist [PACKAGE…]` | builds the static agent, hub and command line for this machine into `target/dist-out` |
//! | `dist --check` | builds the agent alone, and runs it in an empty root and in those of Debian 11, 12 and 13; needs root |
//! | `coverage [PACKAGE…]` | runs the unit tests with the compiler's counters, and says how much of the code they reach |
//! | `fuzz [TARGET] [SECONDS]` | throws bytes at the judge, every target for a minute if none is named |
//! | `chaos [SCENARIO…]` | pods die, networks part, a machine has too little: `testbed/e2e/tests/chaos.rs` |
//! | `soak [HOURS]` | whether hub and agents grow: megabytes an hour over a run of the demo (2 h); `--json`, `--nodes N`, `--programs DIR` |
//! | `heat [MINUTES]` | heats a GPU of a demo and draws temperature, cap and limit into `target/heat.svg` (30 min); the same options |
//! | `charts` | lints, renders and checks the Helm charts, the dashboards and the alert rules |
//! | `load [agents] [api] [webhooks] [--seconds N] …` | puts a hub of its own under load, and says how long its users wait; `testbed/bench/src/load.rs` |
//! | `package [--programs DIR]` | makes Debian packages and an archive of what `dist` built, in `target/packages` |
//! | `package-test [--programs DIR]` | installs, runs, upgrades, removes and purges them in Debian 12 and 13 roots, builds the images; needs root |
//! | `docs [--check] [--programs DIR]` | writes the parts of the handbook that come from code |
//! | `setup` | installs what is missing, and nothing else |
//!
//! Read next: `test.rs` (the list of steps), `tidy.rs` (the rules).

mod bench;
mod charts;
mod coverage;
mod demo;
mod dist;
mod docs;
mod fuzz;
mod heat;
mod package;
mod setup;
mod shell;
mod soak;
mod test;
mod tidy;
mod workflows;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    let result = match command {
        "test" => return test::run(rest),
        "tidy" => tidy::run(),
        "bench" => bench::run(rest),
        "chaos" => test::chaos(rest),
        "charts" => charts::check().map(|held| println!("{held} passed, 0 failed, 0 skipped")),
        "coverage" => coverage::run(rest),
        "dist" => dist::command_line(rest),
        "package" => package::command_line(rest),
        "package-test" => package::test::run_all(rest),
        "docs" => docs::command_line_entry(rest),
        "fuzz" => fuzz::run(rest),
        "load" => bench::load(rest),
        "soak" => soak::run(rest),
        "heat" => heat::run(rest),
        "setup" => setup::everything(),
        "help" | "--help" | "-h" => {
            println!("{}", usage());
            Ok(())
        }
        other => Err(format!("no such command `{other}`\n{}", usage())),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("xtask: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> String {
    format!(
        "usage: cargo xtask test [STEP…] | tidy | bench [--json] [NAME…] | chaos [SCENARIO…] | charts | coverage [PACKAGE…] | docs [--check] [--programs DIR] | dist [--check | PACKAGE…] | package [--programs DIR] | package-test [--programs DIR] | fuzz [TARGET] [SECONDS] | load [agents] [api] [webhooks] [--seconds N] | soak [HOURS] | heat [MINUTES] | setup\nsteps of test: {}",
        test::names().join(" ")
    )
}
