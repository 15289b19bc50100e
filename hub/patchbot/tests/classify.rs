//! What a failed step wrote, and what it means: a table of small stories, each with words that a real tool writes.

use hub_patchbot::classify::classify;
use hub_patchbot::verdict::{Category, Fixable, Verdict};

fn read(text: &str, step: Option<&str>) -> Verdict {
    classify("a.log", text.as_bytes(), step)
}

/// `expected` is `category tool path:line`, with `-` for what the text does not tell.
fn check(text: &str, expected: &str) {
    let found = read(text, None);
    let or_dash = |word: Option<String>| word.unwrap_or_else(|| "-".to_owned());
    let line = found.line.map(|line| line.to_string());
    let shown = format!(
        "{} {} {}:{}",
        found.category.word(),
        or_dash(found.tool.clone()),
        or_dash(found.path.clone()),
        or_dash(line)
    );
    assert_eq!(shown, expected, "{text}\n{found:#?}");
}

#[test]
fn formatters_name_the_file() {
    check(
        "would reformat src/a.py\nOh no!\n1 file would be reformatted.",
        "format black src/a.py:-",
    );
    check(
        "unformatted: File would be reformatted\n --> a.py:1:1",
        "format ruff-format a.py:1",
    );
    check(
        "Would reformat: a.py\n1 file would be reformatted, 3 files already formatted",
        "format ruff-format a.py:-",
    );
    check(
        "ERROR: /r/a.py Imports are incorrectly sorted and/or formatted.",
        "format isort /r/a.py:-",
    );
    check(
        "Checking formatting...\n[warn] src/a.js\n[warn] Code style issues found in the above file. Run Prettier with --write to fix.",
        "format prettier src/a.js:-",
    );
    check(
        "Diff in /r/src/main.rs:3:\n-fn  main() {}\n+fn main() {}",
        "format rustfmt /r/src/main.rs:3",
    );
    check(
        "##[group]Run test -z \"$(gofmt -l .)\"\n##[endgroup]\ncmd/a.go\n##[error]Process completed with exit code 1.",
        "format gofmt cmd/a.go:-",
    );
}

#[test]
fn linters_name_file_and_line() {
    check(
        "a.py:1:8: F401 [*] `os` imported but unused\nFound 1 error.\n[*] 1 fixable with the `--fix` option.",
        "lint ruff a.py:1",
    );
    check(
        "F401 [*] `os` imported but unused\n --> src/a.py:1:8\n  |\n1 | import os\n  |        ^^",
        "lint ruff src/a.py:1",
    );
    check(
        "::error title=ruff (F401),file=src/a.py,line=1,col=8::src/a.py:1:8: F401 `os` imported but unused",
        "lint ruff src/a.py:1",
    );
    check("./a.py:4:1: F401 'sys' imported but unused", "lint flake8 ./a.py:4");
    check(
        "\n/r/a.js\n  1:5  error  'a' is assigned a value but never used  no-unused-vars\n\n✖ 1 problem (1 error, 0 warnings)",
        "lint eslint /r/a.js:1",
    );
    check(
        "error: the loop variable `i` is only used to index `v`\n --> src/lib.rs:3:14\n  |\n  = note: requested on the command line with `-D clippy::needless-range-loop`",
        "lint clippy src/lib.rs:3",
    );
    check(
        "fmt.go:42:21: Error return value of `b.WriteString` is not checked (errcheck)",
        "lint golangci-lint fmt.go:42",
    );
    check(
        "a.go:3:25: fmt.Printf format %d has arg \"x\" of wrong type string",
        "lint govet a.go:3",
    );
    check(
        "In run.sh line 3:\necho $1\n     ^-- SC2086 (info): Double quote to prevent globbing and word splitting.",
        "lint shellcheck run.sh:3",
    );
    check(
        "Dockerfile:3 DL3006 warning: Always tag the version of an image explicitly",
        "lint hadolint Dockerfile:3",
    );
    check(
        "README.md:12 MD013/line-length Line length [Expected: 80; Actual: 99]",
        "lint markdownlint README.md:12",
    );
    check("docs/a.md:3: teh ==> the", "lint codespell docs/a.md:3");
    check(
        "src/A.kt:4:1: Unexpected indentation (8) (should be 4) (standard:indent)",
        "lint ktlint src/A.kt:4",
    );
    check(
        "src/a.cc:9:  Missing space before {  [whitespace/braces] [5]",
        "lint cpplint src/a.cc:9",
    );
    check(
        "src/a.cc:9:3: warning: use nullptr [modernize-use-nullptr]",
        "lint clang-tidy src/a.cc:9",
    );
}

#[test]
fn types_builds_and_tests_name_the_place() {
    check(
        "b.py:2: error: Incompatible return value type (got \"int\", expected \"str\")  [return-value]\nFound 1 error in 1 file (checked 1 source file)",
        "type mypy b.py:2",
    );
    check(
        "a.ts(1,7): error TS2322: Type 'string' is not assignable to type 'number'.",
        "type tsc a.ts:1",
    );
    check(
        "error[E0308]: mismatched types\n --> src/main.rs:4:5\nerror: could not compile `x` (bin \"x\") due to 1 previous error",
        "build rustc src/main.rs:4",
    );
    check(
        "# ex.com/a\n./a.go:2:23: cannot use \"a\" (untyped string constant) as int value in return statement",
        "build go ./a.go:2",
    );
    check(
        "A.java:1: error: incompatible types: String cannot be converted to int",
        "build javac A.java:1",
    );
    check(
        "/r/a.cc:128:26: error: no matching function for call to 'f(int)'",
        "build cc /r/a.cc:128",
    );
    check(
        "FAILED test_a.py::test_a - assert 1 == 2\n=== 1 failed in 0.02s ===",
        "test pytest test_a.py:-",
    );
    check(
        "test tests::adds ... FAILED\n\nthread 'tests::adds' panicked at src/lib.rs:9:5:\nassertion `left == right` failed\ntest result: FAILED. 0 passed; 1 failed",
        "test cargo-test src/lib.rs:9",
    );
    check(
        "--- FAIL: TestF (0.00s)\n    a_test.go:5: got 1, want 2\nFAIL\nFAIL\tex.com/a\t0.002s",
        "test go-test -:-",
    );
    check(
        "[ERROR] COMPILATION ERROR : \n[ERROR] /r/src/X.java:[136,18] cannot find symbol\n[ERROR] Failed to execute goal org.apache.maven.plugins:maven-compiler-plugin:3.10.1:compile (default-compile) on project x: Compilation failure -> [Help 1]",
        "build javac /r/src/X.java:136",
    );
    check(
        "[ERROR] Tests run: 3, Failures: 1, Errors: 0\n[ERROR] Failed to execute goal org.apache.maven.plugins:maven-surefire-plugin:2.22.2:test (default-test) on project x: There are test failures.",
        "test surefire -:-",
    );
}

#[test]
fn what_is_not_the_change_s_fault_is_told_apart() {
    check(
        "##[error]The runner has received a shutdown signal. This can happen when",
        "infra github -:-",
    );
    check(
        "npm error code ERESOLVE\nnpm error ERESOLVE unable to resolve dependency tree",
        "dependency npm -:-",
    );
    check(
        "ERROR: No matching distribution found for urllib3==3.0.0",
        "dependency pip -:-",
    );
    check(
        "error: the lock file /r/Cargo.lock needs to be updated but --locked was passed to prevent this",
        "lockfile cargo -:-",
    );
    check(
        "##[error]The action 'Test' has timed out after 360 minutes.",
        "timeout github -:-",
    );
    check(
        "##[error]Input required and not supplied: distribution",
        "config github -:-",
    );
    check(
        "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
        "resource node -:-",
    );
}

#[test]
fn a_test_s_result_outweighs_the_noise_around_it_and_clean_up_after_it() {
    check(
        "Connection reset by peer, retrying\nFAILED t.py::a - assert 0\n##[error]Process completed with exit code 1.\nfatal: unable to access 'https://x': gone",
        "test pytest t.py:-",
    );
}

#[test]
fn nothing_that_says_why_is_no_guess() {
    for text in [
        "ran pytest and eslint\nmore words\nand mypy\nand black\n",
        "step one\nstep two\nstep three\nstep four\n",
    ] {
        let found = read(text, None);
        assert_eq!(
            (found.category, found.code, found.confidence),
            (Category::Unknown, Some("no_result_line"), 0.0)
        );
    }
    assert_eq!(read("", None).code, Some("no_log"));
    assert_eq!(
        read("error: blacklisted host refused", None).category,
        Category::Unknown
    );
}

/// Cases of the system that this one replaces: one line of text instead of a log.
#[test]
fn a_line_that_only_names_its_tool_is_judged_by_it_and_never_surely() {
    for (text, category) in [
        ("go build ./...", Category::Build),
        ("pylint found problems", Category::Lint),
        ("npm install failed ERESOLVE", Category::Dependency),
        ("tsc exited with 2", Category::Type),
        ("jest: 2 suites", Category::Test),
        (
            "Running pytest... FAILED test_example.py::test_foo AssertionError: expected 1, got 2",
            Category::Test,
        ),
        (
            "Running mypy... error: Incompatible types Type error in foo.py",
            Category::Type,
        ),
        ("rustfmt diff", Category::Format),
        ("pip install -r requirements.txt", Category::Dependency),
        ("would reformat a.py (black)", Category::Format),
        ("assertion mismatch", Category::Test),
        (
            "webpack build failed with errors Build failed: compilation error",
            Category::Build,
        ),
        ("rubocop: 3 offenses", Category::Lint),
        ("E   ModuleNotFoundError in pytest collection", Category::Dependency),
    ] {
        assert_eq!(read(text, None).category, category, "{text}");
    }
    assert!(read("jest: 2 suites", None).confidence < 0.5);
}

/// Rules of a gate come with a dependency: an update of them turns a tree red that nobody touched, and the log does not tell which it was.
#[test]
fn a_gate_of_a_build_is_named_and_never_surely() {
    let goal = |plugin: &str, said: &str| {
        format!(
            "[ERROR] Failed to execute goal org.apache.maven.plugins:{plugin} (validate) on project x: {said} -> [Help 1]"
        )
    };
    let audit = "[INFO] Starting audit...\n[ERROR] /r/src/main/java/A.java:17:5: Class B should be declared as final. [FinalClass]\nAudit done.\n";
    for (text, tool) in [
        (
            goal(
                "maven-checkstyle-plugin:3.3.0:check",
                "You have 2 Checkstyle violations.",
            ),
            "checkstyle",
        ),
        (
            format!(
                "{audit}{}",
                goal(
                    "maven-checkstyle-plugin:3.3.0:check",
                    "Failed during checkstyle execution: There are 3 errors"
                )
            ),
            "checkstyle",
        ),
        (
            goal(
                "maven-pmd-plugin:3.19.0:check",
                "PMD 6.46.0 has found 3 rule violations.",
            ),
            "pmd",
        ),
    ] {
        let found = read(&text, None);
        assert_eq!(
            (found.category, found.tool.as_deref()),
            (Category::Lint, Some(tool)),
            "{text}\n{found:#?}"
        );
        assert!(
            (0.55..0.8).contains(&found.confidence),
            "{} of {text}",
            found.confidence
        );
    }
    // What a linter says of its own is as sure as before.
    assert!(read("a.py:1:8: F401 [*] `os` imported but unused\nFound 1 error.", None).confidence >= 0.8);
}

#[test]
fn a_step_s_name_settles_the_tool_and_never_the_failure() {
    let text = "a.py:1:8: E501 line too long (99 > 79 characters)";
    assert_eq!(read(text, Some("Lint with flake8")).tool.as_deref(), Some("flake8"));
    assert_eq!(read(text, Some("pycodestyle .")).tool.as_deref(), Some("pep8"));
    assert_eq!(
        read("nothing here\nreally\nnothing\nat all", Some("Run ruff check .")).category,
        Category::Unknown
    );
}

#[test]
fn what_a_tool_repairs_itself_is_automatic_and_the_rest_carries_a_code() {
    let fixable = |text: &str| (read(text, None).fixable, read(text, None).code);
    assert_eq!(
        fixable("a.py:1:8: F401 [*] `os` imported but unused"),
        (Fixable::Auto, None)
    );
    assert_eq!(
        fixable("a.py:1:8: F821 Undefined name `x`"),
        (Fixable::Assist, Some("no_fixer"))
    );
    assert_eq!(fixable("would reformat src/a.py"), (Fixable::Auto, None));
    assert_eq!(
        fixable("##[error]Credentials could not be loaded: Could not load credentials from any providers").1,
        Some("needs_secret")
    );
}

#[test]
fn the_same_failure_on_another_machine_has_the_same_fingerprint() {
    let one = read(
        "/home/runner/work/x/x/a.py:1:8: F401 [*] `os` imported but unused",
        None,
    );
    let two = read(
        "2026-07-31T01:17:30.9756718Z /builds/g/x/a.py:7:8: F401 [*] `os` imported but unused",
        None,
    );
    assert_eq!(one.fingerprint, two.fingerprint);
    let other = read("/builds/g/x/b.py:7:8: F401 [*] `os` imported but unused", None);
    assert_ne!(one.fingerprint, other.fingerprint);
}

#[test]
fn evidence_points_at_the_deciding_line_first() {
    let found = read("one\ntwo\nFAILED t.py::a - assert 0\nfour", None);
    assert_eq!(found.evidence[0], 3);
}

#[test]
fn the_command_of_the_failing_step_is_the_last_one_before_what_it_wrote() {
    let command = |log: &str, at: u32| hub_patchbot::classify::command(log.as_bytes(), at);
    let github = "##[group]Run pip install ruff\n##[endgroup]\n2026-07-31T01:17:30.9756718Z ##[group]Run ruff check src --select F\n\
        ##[endgroup]\nsrc/a.py:1:8: F401 [*] `os` imported but unused\n##[group]Run echo after\n";
    assert_eq!(command(github, 5).as_deref(), Some("ruff check src --select F"));
    assert_eq!(command(github, 1).as_deref(), Some("pip install ruff"));
    let act = "[Lint/lint] \u{2b50} Run Main ruff check --no-cache .\n[Lint/lint]   | app.py:1:8: F401 `os` imported but unused\n";
    assert_eq!(command(act, 2).as_deref(), Some("ruff check --no-cache ."));
    assert_eq!(command("a.py:1:8: F401\n", 1), None);
}
