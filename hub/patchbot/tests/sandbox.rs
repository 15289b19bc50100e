//! The sandbox of this machine: what it holds back, and what it lets a program do.

use std::time::Duration;

use hub_patchbot::sandbox::{Job, Level, Sandbox};

/// The sandbox of this machine. `cargo xtask test` installs what it needs and says so by `SENTINEL_TEST_TOOLS=all`; then one below level
/// 3 is a failure.
fn probe() -> Sandbox {
    let sandbox = Sandbox::probe(Vec::new());
    let must = std::env::var_os("SENTINEL_TEST_TOOLS").is_some_and(|word| word == "all");
    assert!(!must || sandbox.report().level == Level::L3, "{:?}", sandbox.report());
    sandbox
}

fn words(line: &str) -> Vec<String> {
    ["sh", "-c", line].map(str::to_owned).to_vec()
}

#[test]
fn every_forbidden_act_is_blocked_or_nothing_runs() {
    let sandbox = probe();
    let report = sandbox.report();
    let open: Vec<_> = report.acts.iter().filter(|act| !act.blocked).collect();
    assert_eq!(
        report.level == Level::L3,
        open.is_empty() && !report.acts.is_empty(),
        "{report:?}"
    );
    let workspace = tempfile::tempdir().expect("a folder");
    let argv = words("echo ran");
    let job = Job {
        argv: &argv,
        workspace: workspace.path(),
        folder: "",
        limit: Duration::from_secs(10),
    };
    match report.level {
        Level::L0 => assert!(sandbox.run(&job).is_err(), "ran below level 3"),
        Level::L3 => {
            assert!(report.acts.len() >= 40, "{} acts", report.acts.len());
            assert_eq!(sandbox.run(&job).expect("it runs").stdout, b"ran\n");
        }
    }
}

#[test]
fn a_program_and_all_it_started_are_killed_at_the_limit() {
    let sandbox = probe();
    if sandbox.report().level != Level::L3 {
        return;
    }
    let workspace = tempfile::tempdir().expect("a folder");
    let argv = words("echo kept >file; (while :; do :; done) & sleep 600");
    let job = Job {
        argv: &argv,
        workspace: workspace.path(),
        folder: "",
        limit: Duration::from_millis(700),
    };
    let ran = sandbox.run(&job).expect("it starts");
    assert!(ran.timed_out && ran.status.is_none());
    assert_eq!(
        std::fs::read(workspace.path().join("file")).expect("the workspace stays"),
        b"kept\n"
    );
}
