//! Red repository in, green repository out, with a certificate that anybody runs again; and every way in which that is refused.
//!
//! Tools that are not on this machine are named as not tested. The sandbox must be at level 3, or there is nothing to test but the
//! refusal.

use std::path::Path;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use hub_patchbot::certificate::{Certificate, again};
use hub_patchbot::classify::{classify, findings};
use hub_patchbot::repair::{Outcome, Request, repair};
use hub_patchbot::sandbox::{Level, Sandbox, find, tool_folders};

const LIMIT: Duration = Duration::from_secs(60);

fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("below the folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    folder
}

fn sandbox(programs: &[&str]) -> Sandbox {
    Sandbox::probe(tool_folders(programs))
}

fn attempt(
    repository: &Path,
    log: &str,
    command: Option<&str>,
    sandbox: &Sandbox,
    fork: bool,
) -> Result<Certificate, Outcome> {
    let verdict = classify("log", log.as_bytes(), command);
    let found = findings(log.as_bytes(), command);
    let request = Request {
        task: "task-1",
        repository,
        verdict: &verdict,
        findings: &found,
        command,
        fork,
        agent: "test",
        limit: LIMIT,
    };
    repair(&request, sandbox, &SigningKey::from_bytes(&[7; 32]))
}

/// One tool: a dirty file, what its check writes about it, and the file when it is clean.
fn check(program: &str, file: &str, dirty: &str, log: &str, clean: &str) {
    if find(program).is_none() {
        eprintln!("not tested: `{program}` is not on PATH");
        return;
    }
    let sandbox = sandbox(&[program, "go", "node"]);
    let repository = tree(&[
        (file, dirty),
        ("Cargo.toml", "[package]\nname = \"x\"\nedition = \"2024\"\n"),
    ]);
    let found = attempt(repository.path(), log, None, &sandbox, false);
    if sandbox.report().level < Level::L3 {
        assert_eq!(found.expect_err("it ran unsandboxed").code, "sandbox_level_too_low");
        return;
    }
    let certificate = found.expect(program);
    assert_eq!(
        (certificate.files.len(), certificate.files[0].text.as_str()),
        (1, clean)
    );
    assert_eq!(certificate.examined, [file]);
    assert_eq!(
        again(&certificate, repository.path(), &sandbox, LIMIT).expect("it runs"),
        Vec::<String>::new()
    );
    assert_eq!(
        std::fs::read_to_string(repository.path().join(file)).expect("read"),
        dirty,
        "the repository was written to"
    );
}

#[test]
fn each_fixer_repairs_and_proves_it() {
    check(
        "ruff",
        "a.py",
        "import os\n\nprint(1)\n",
        "a.py:1:8: F401 [*] `os` imported but unused",
        // The file was in ruff's form before, so it is afterwards: without the blank line that the import leaves behind.
        "print(1)\n",
    );
    check(
        "black",
        "a.py",
        "x = {  'a':1 }\n",
        "would reformat a.py",
        "x = {\"a\": 1}\n",
    );
    check(
        "isort",
        "a.py",
        "import sys\nimport os\n",
        "ERROR: /ci/x/a.py Imports are incorrectly sorted and/or formatted.",
        "import os\nimport sys\n",
    );
    check(
        "ruff",
        "b.py",
        "x = {  'a':1 }\n",
        "Would reformat: b.py\n1 file would be reformatted",
        "x = {\"a\": 1}\n",
    );
    check(
        "gofmt",
        "a.go",
        "package a\nfunc  F() {}\n",
        "+ gofmt -l .\na.go",
        "package a\n\nfunc F() {}\n",
    );
    check(
        "rustfmt",
        "src/a.rs",
        "fn  f() {}\n",
        "Diff in /ci/src/a.rs:1:\n-fn  f() {}\n+fn f() {}",
        "fn f() {}\n",
    );
    check(
        "prettier",
        "a.js",
        "const a = {b:1}\n",
        "[warn] a.js\n[warn] Code style issues found in the above file. Run Prettier with --write to fix.",
        "const a = { b: 1 };\n",
    );
    check(
        "sh",
        "notes.txt",
        "one  \ntwo",
        "notes.txt:1: trailing whitespace.",
        "one\ntwo\n",
    );
}

#[test]
fn what_is_not_repaired_says_why() {
    let sandbox = sandbox(&["ruff", "black"]);
    if sandbox.report().level < Level::L3 {
        return;
    }
    let code = |files: &[(&str, &str)], log: &str| {
        attempt(tree(files).path(), log, None, &sandbox, false)
            .expect_err("a repair")
            .code
    };
    assert_eq!(code(&[("a.py", "x")], "FAILED a.py::b - assert 0"), "no_fixer");
    assert_eq!(
        code(&[("a.py", "x = 1\n")], "gone.py:1:1: trailing whitespace."),
        "no_fixer"
    );
    assert_eq!(
        code(&[("a.txt", "clean\n")], "a.txt:1: trailing whitespace."),
        "not_reproduced"
    );
    if find("ruff").is_some() {
        assert_eq!(
            code(&[("a.py", "print(1)\n")], "a.py:1:8: F401 [*] `os` imported but unused"),
            "not_reproduced"
        );
        assert_eq!(
            code(&[("a.py", "print(x)\n")], "a.py:1:7: F821 Undefined name `x`"),
            "fixer_no_change"
        );
        assert_eq!(
            code(
                &[("a.py", "import os\nprint(x)\n")],
                "a.py:1:8: F401 [*] `os` imported but unused"
            ),
            "partial_fix"
        );
        assert_eq!(
            code(
                &[("a.py", "import os\n"), ("requirements.txt", "ruff==0.0.1\n")],
                "a.py:1:8: F401 [*] `os` imported but unused"
            ),
            "fixer_version_mismatch"
        );
    }
    let eslint = attempt(
        tree(&[("a.js", "a")]).path(),
        "\na.js\n  1:5  error  no  semi\n",
        None,
        &sandbox,
        true,
    );
    assert_eq!(eslint.expect_err("a repair").code, "fork_policy");
}

#[test]
fn a_check_that_looks_at_nothing_is_no_proof() {
    let sandbox = sandbox(&["ruff"]);
    if sandbox.report().level < Level::L3 || find("ruff").is_none() {
        return;
    }
    // The step's own command is aimed at a folder that holds no Python, so it passes whatever stands in a.py.
    let repository = tree(&[("a.py", "import os\n"), ("empty/readme.txt", "")]);
    let log = "a.py:1:8: F401 [*] `os` imported but unused";
    let found = attempt(repository.path(), log, Some("ruff check empty"), &sandbox, false);
    assert_eq!(found.expect_err("a vacuous pass").code, "not_reproduced");
}

#[test]
fn a_certificate_that_was_touched_is_found_out() {
    let sandbox = sandbox(&[]);
    if sandbox.report().level < Level::L3 {
        return;
    }
    let repository = tree(&[("a.txt", "one  \n")]);
    let good = attempt(
        repository.path(),
        "a.txt:1: trailing whitespace.",
        None,
        &sandbox,
        false,
    )
    .expect("a repair");
    assert_eq!(good.problems(), Vec::<String>::new());
    let mut other = good.clone();
    other.files[0].text = "evil\n".to_owned();
    assert_eq!(other.problems().len(), 2, "{:?}", other.problems());
    let mut unproven = good.clone();
    unproven.commands.retain(|command| command.canary.is_none());
    assert!(!unproven.problems().is_empty());
    let json = serde_json::to_string(&good).expect("plain members");
    assert_eq!(serde_json::from_str::<Certificate>(&json).expect("the same"), good);
}
