//! A sandbox that dies says nothing about the code in it: whatever it was doing, the repair ends with an error that may pass, never with
//! an answer and never with a certificate.
//!
//! A stand-in for bubblewrap counts its calls and dies at the one that it is told, before it began or before it could tell how the program
//! ended; each other call is the real one's.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use hub_patchbot::certificate::Certificate;
use hub_patchbot::classify::{classify, findings};
use hub_patchbot::repair::{Outcome, Request, failures, repair};
use hub_patchbot::sandbox::{Level, Sandbox, find, tool_folders};

/// When the stand-in dies.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// Before anything runs.
    Before,
    /// After the program has run and written everything, before its end is told.
    After,
}

/// A bubblewrap that dies at one of its calls.
struct StandIn {
    folder: tempfile::TempDir,
}

impl StandIn {
    fn new(moment: Moment) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let stand_in = Self { folder };
        let real = find("bwrap").expect("it is looked for first");
        let dies = match moment {
            Moment::Before => "kill -9 $$".to_owned(),
            Moment::After => format!("{} \"$@\" 8>/dev/null; kill -9 $$", real.display()),
        };
        let (count, at) = (stand_in.path("count"), stand_in.path("at"));
        let script = format!(
            "#!/bin/sh\nn=$(($(cat {count}) + 1)); echo $n >{count}\ncase $(cat {at}) in $n|all) {dies};; esac\nexec {real} \"$@\"\n",
            count = count.display(),
            at = at.display(),
            real = real.display(),
        );
        std::fs::write(stand_in.program(), script).expect("written");
        std::fs::set_permissions(stand_in.program(), std::fs::Permissions::from_mode(0o700)).expect("ours");
        stand_in.die_at(0);
        stand_in
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self) -> PathBuf {
        self.path("bwrap")
    }

    /// Counts from none, and dies at this call.
    fn die_at(&self, call: usize) {
        std::fs::write(self.path("count"), "0").expect("written");
        std::fs::write(self.path("at"), call.to_string()).expect("written");
    }

    /// Dies at every call.
    fn always_die(&self) {
        std::fs::write(self.path("at"), "all").expect("written");
    }

    fn calls(&self) -> usize {
        let text = std::fs::read_to_string(self.path("count")).expect("read");
        text.trim().parse().expect("a number")
    }
}

fn attempt(repository: &Path, sandbox: &Sandbox) -> Result<Certificate, Outcome> {
    let log = "a.py:1:8: F401 [*] `os` imported but unused";
    let (verdict, found) = (classify("log", log.as_bytes(), None), findings(log.as_bytes(), None));
    let request = request(repository, &verdict, &found);
    repair(&request, sandbox, &SigningKey::from_bytes(&[7; 32]))
}

fn request<'a>(
    repository: &'a Path,
    verdict: &'a hub_patchbot::verdict::Verdict,
    findings: &'a [hub_patchbot::verdict::Finding],
) -> Request<'a> {
    Request {
        task: "task-1",
        repository,
        verdict,
        findings,
        command: None,
        fork: false,
        snapshots: false,
        agent: "test",
        limit: Duration::from_secs(60),
    }
}

/// The stand-in and a sandbox with it, where this machine has what it takes.
fn ready(program: &str, moment: Moment) -> Option<(StandIn, Sandbox)> {
    let must = std::env::var_os("SENTINEL_TEST_TOOLS").is_some_and(|word| word == "all");
    if find(program).is_none() || find("bwrap").is_none() {
        assert!(!must, "`{program}` and `bwrap` should be on PATH");
        eprintln!("not tested: `{program}` or `bwrap` is not on PATH");
        return None;
    }
    let stand_in = StandIn::new(moment);
    let sandbox = Sandbox::probe_with(stand_in.program(), tool_folders(&[program]));
    assert!(!must || sandbox.report().level == Level::L3, "{:?}", sandbox.report());
    (sandbox.report().level == Level::L3).then_some((stand_in, sandbox))
}

#[test]
fn a_sandbox_that_dies_at_any_use_is_no_answer_and_no_proof() {
    for moment in [Moment::Before, Moment::After] {
        let Some((stand_in, sandbox)) = ready("ruff", moment) else {
            return;
        };
        let repository = tempfile::tempdir().expect("a folder");
        std::fs::write(repository.path().join("a.py"), "import os\n\nprint(1)\n").expect("written");
        let mut uses = 0;
        for call in 1.. {
            stand_in.die_at(call);
            let found = attempt(repository.path(), &sandbox);
            if stand_in.calls() < call {
                found.expect("nothing died");
                break;
            }
            uses += 1;
            let outcome = found.expect_err("a certificate with a command that nobody saw the end of");
            assert!(
                outcome.may_pass,
                "{moment:?} use {call} is taken for an answer: {outcome}"
            );
        }
        assert!(
            uses >= 6,
            "only {uses} uses: version, before, repair twice, after, canary"
        );
    }
}

#[test]
fn a_sandbox_that_dies_proves_no_level_and_may_prove_it_later() {
    let Some((stand_in, sandbox)) = ready("ruff", Moment::Before) else {
        return;
    };
    // Whatever it is asked: the self-test is tried twice.
    stand_in.always_die();
    let broken = sandbox.again();
    assert_eq!(broken.report().level, Level::L0, "{:?}", broken.report());
    let repository = tempfile::tempdir().expect("a folder");
    std::fs::write(repository.path().join("a.py"), "import os\n\nprint(1)\n").expect("written");
    let outcome = attempt(repository.path(), &broken).expect_err("it ran unsandboxed");
    assert_eq!((outcome.code, outcome.may_pass), ("sandbox_level_too_low", true));
    stand_in.die_at(0);
    attempt(repository.path(), &broken.again()).expect("it is proven now");
}

#[test]
fn a_test_run_that_was_killed_is_not_a_test_that_failed() {
    let Some((stand_in, sandbox)) = ready("pytest", Moment::After) else {
        return;
    };
    let repository = tempfile::tempdir().expect("a folder");
    std::fs::write(repository.path().join("test_a.py"), "def test_a():\n    assert False\n").expect("written");
    let log = "FAILED test_a.py::test_a - assert False\n1 failed in 0.02s\n";
    let (verdict, found) = (classify("log", log.as_bytes(), None), findings(log.as_bytes(), None));
    stand_in.die_at(2);
    let outcome = failures(&request(repository.path(), &verdict, &found), &sandbox).expect_err("it was killed");
    assert!(outcome.may_pass, "{outcome}");
    stand_in.die_at(0);
    let (failed, _) = failures(&request(repository.path(), &verdict, &found), &sandbox)
        .expect("it runs")
        .expect("pytest runs it");
    assert_eq!(failed, 3);
}
