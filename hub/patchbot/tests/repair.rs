//! Red repository in, green repository out, with a certificate that anybody runs again; and every way in which that is refused.
//!
//! `cargo xtask test` installs every tool and says so by `SENTINEL_TEST_TOOLS=all`; then one that is missing is a failure, and so is a
//! sandbox below level 3. Without it a tool that is not on this machine is named as not tested.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use hub_patchbot::certificate::{Certificate, again};
use hub_patchbot::classify::{classify, findings};
use hub_patchbot::repair::{Outcome, Request, failures, repair};
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

/// One for all tests, with the folders of every tool: its self-test takes a second.
static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| {
    let programs = [
        "ruff", "black", "isort", "prettier", "eslint", "gofmt", "go", "node", "rustfmt", "pytest", "jest",
    ];
    let sandbox = Sandbox::probe(tool_folders(&programs));
    let report = sandbox.report();
    assert!(
        report.level == Level::L3 || !must_have_all(),
        "no sandbox: {}",
        report.reason
    );
    sandbox
});

/// Everything was installed for these tests.
fn must_have_all() -> bool {
    std::env::var_os("SENTINEL_TEST_TOOLS").is_some_and(|word| word == "all")
}

/// Whether a tool can be tested.
fn has(program: &str) -> bool {
    let found = find(program).is_some();
    assert!(
        found || !must_have_all(),
        "`{program}` is not on PATH, and all tools should be"
    );
    if !found {
        eprintln!("not tested: `{program}` is not on PATH");
    }
    found
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
        snapshots: true,
        agent: "test",
        limit: LIMIT,
    };
    repair(&request, sandbox, &SigningKey::from_bytes(&[7; 32]))
}

/// One tool: a dirty file, what its check writes about it, and the file when it is clean.
fn check(program: &str, file: &str, dirty: &str, log: &str, clean: &str) {
    if !has(program) {
        return;
    }
    let repository = tree(&[
        (file, dirty),
        ("Cargo.toml", "[package]\nname = \"x\"\nedition = \"2024\"\n"),
        // Built-in rules alone: plugins are the repository's dependencies, which are not there.
        (
            "eslint.config.mjs",
            "export default [{ rules: { \"prefer-const\": \"error\" } }];\n",
        ),
    ]);
    let found = attempt(repository.path(), log, None, &SANDBOX, false);
    if SANDBOX.report().level < Level::L3 {
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
        again(&certificate, repository.path(), &SANDBOX, LIMIT).expect("it runs"),
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
        "eslint",
        "b.js",
        "export const a = () => {\n  let b = 1;\n  return !!!b;\n};\n",
        "\nb.js\n  2:7  error  'b' is never reassigned. Use 'const' instead  prefer-const\n",
        "export const a = () => {\n  const b = 1;\n  return !!!b;\n};\n",
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
    if SANDBOX.report().level < Level::L3 {
        return;
    }
    let code = |files: &[(&str, &str)], log: &str| {
        attempt(tree(files).path(), log, None, &SANDBOX, false)
            .expect_err("a repair")
            .code
    };
    assert_eq!(code(&[("a.py", "x")], "FAILED a.py::b - assert 0"), "no_fixer");
    assert_eq!(
        code(&[("a.py", "x = 1\n")], "gone.py:1:1: trailing whitespace."),
        "no_result_line"
    );
    assert_eq!(
        code(&[("a.txt", "clean\n")], "a.txt:1: trailing whitespace."),
        "not_reproduced"
    );
    if has("ruff") {
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
        &SANDBOX,
        true,
    );
    assert_eq!(eslint.expect_err("a repair").code, "fork_policy");
}

#[test]
fn a_check_that_looks_at_nothing_is_no_proof() {
    if SANDBOX.report().level < Level::L3 || !has("ruff") {
        return;
    }
    // The step's own command is aimed at a folder that holds no Python, so it passes whatever stands in a.py.
    let repository = tree(&[("a.py", "import os\n"), ("empty/readme.txt", "")]);
    let log = "a.py:1:8: F401 [*] `os` imported but unused";
    let found = attempt(repository.path(), log, Some("ruff check empty"), &SANDBOX, false);
    assert_eq!(found.expect_err("a vacuous pass").code, "not_reproduced");
}

#[test]
fn a_certificate_that_was_touched_is_found_out() {
    if SANDBOX.report().level < Level::L3 {
        return;
    }
    let repository = tree(&[("a.txt", "one  \n")]);
    let good = attempt(
        repository.path(),
        "a.txt:1: trailing whitespace.",
        None,
        &SANDBOX,
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

/// A test that compares with what it wrote down, before its code changed.
const SNAPSHOT: &str = "# serializer version: 1\n# name: test_greet\n  dict({\n    'hello': 'world',\n  })\n# ---\n";
const TEST: &str =
    "def greet():\n    return {'hello': 'moon'}\n\ndef test_greet(snapshot):\n    assert greet() == snapshot\n";
const DRIFT: &str = "test_a.py:5: AssertionError\n--------------------------- snapshot report summary ----------------------------\n\
    1 snapshot failed.\n=========================== short test summary info ============================\n\
    FAILED test_a.py::test_greet - AssertionError: assert [+ received] == [- snap...\n1 failed in 0.04s\n";

#[test]
fn a_drifted_snapshot_is_written_anew_and_the_test_stays_as_it_is() {
    if !has("pytest") || SANDBOX.report().level < Level::L3 {
        return;
    }
    let repository = tree(&[("test_a.py", TEST), ("__snapshots__/test_a.ambr", SNAPSHOT)]);
    let certificate = attempt(repository.path(), DRIFT, None, &SANDBOX, false).expect("a certificate");
    assert_eq!(certificate.fixer, "pytest-snapshots");
    assert_eq!(certificate.examined, ["__snapshots__/test_a.ambr"]);
    assert_eq!(certificate.files[0].text, SNAPSHOT.replace("world", "moon"));
    assert_eq!(
        again(&certificate, repository.path(), &SANDBOX, LIMIT).expect("it runs"),
        Vec::<String>::new()
    );
    // A fork's tests are not run.
    let fork = attempt(repository.path(), DRIFT, None, &SANDBOX, true).expect_err("a fork");
    assert_eq!(fork.code, "fork_policy");
}

#[test]
fn a_snapshot_of_jest_is_written_anew() {
    if !has("jest") || SANDBOX.report().level < Level::L3 {
        return;
    }
    let test = "test('greets', () => {\n  expect({ hello: 'moon' }).toMatchSnapshot();\n});\n";
    let kept = "// Jest Snapshot v1, https://jestjs.io/docs/snapshot-testing\n\nexports[`greets 1`] = `\n{\n  \"hello\": \"world\",\n}\n`;\n";
    let log = "FAIL ./a.test.js\n  \u{2715} greets (8 ms)\n\n  \u{25cf} greets\n\n    expect(received).toMatchSnapshot()\n\n \u{203a} 1 snapshot failed.\n\
        Snapshot Summary\n \u{203a} 1 snapshot failed from 1 test suite. Inspect your code changes or re-run jest with `-u` to update them.\n\n\
        Test Suites: 1 failed, 1 total\nTests:       1 failed, 1 total\n";
    let repository = tree(&[
        ("package.json", "{\"name\": \"x\", \"version\": \"1.0.0\"}\n"),
        ("a.test.js", test),
        ("__snapshots__/a.test.js.snap", kept),
    ]);
    let certificate = attempt(repository.path(), log, None, &SANDBOX, false).expect("a certificate");
    assert_eq!(certificate.fixer, "jest-snapshots");
    assert_eq!(certificate.files[0].text, kept.replace("world", "moon"));
}

#[test]
fn a_test_that_fails_now_and_then_is_flaky_and_no_drift() {
    if !has("pytest") || SANDBOX.report().level < Level::L3 {
        return;
    }
    // Fails each second time that it is run in the same copy.
    let moody = "import pathlib\n\ndef test_greet(snapshot):\n    state = pathlib.Path('__pycache__/state')\n    \
        state.parent.mkdir(exist_ok=True)\n    odd = state.exists()\n    state.unlink() if odd else state.touch()\n    \
        assert {'hello': 'world' if odd else 'moon'} == snapshot\n";
    let repository = tree(&[("test_a.py", moody), ("__snapshots__/test_a.ambr", SNAPSHOT)]);
    let refused = attempt(repository.path(), DRIFT, None, &SANDBOX, false).expect_err("it is flaky");
    assert_eq!(refused.code, "flaky_suspected", "{refused}");
    let (verdict, found) = (
        classify("log", DRIFT.as_bytes(), None),
        findings(DRIFT.as_bytes(), None),
    );
    let request = Request {
        task: "",
        repository: repository.path(),
        verdict: &verdict,
        findings: &found,
        command: None,
        fork: false,
        snapshots: false,
        agent: "test",
        limit: LIMIT,
    };
    let (failed, command) = failures(&request, &SANDBOX)
        .expect("it runs")
        .expect("pytest runs them");
    assert_eq!(
        (failed, command.as_str()),
        (2, "pytest -q -p no:cacheprovider test_a.py")
    );
}
