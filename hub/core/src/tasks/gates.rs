//! The gates before a patch is published: all are evaluated, each gives a stable code.
//!
//! Decides from the texts before and after; never from what the agent says of itself. What a gate refuses no agent can publish,
//! because only the hub holds the forge's credential.
//!
//! Read next: `record.rs` (what of a patch is kept).

/// One file of a patch as the gates see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchFile {
    /// Path in the repository.
    pub path: String,
    /// `100644` or `100755`.
    pub mode: String,
    /// The file before.
    pub before: String,
    /// The file after.
    pub after: String,
}

/// Files of a format patch.
const FORMAT_FILES: usize = 200;
/// Changed lines of a format patch.
const FORMAT_LINES: usize = 5_000;
/// Files of any other patch.
const FILES: usize = 10;
/// Changed lines of any other patch.
const LINES: usize = 400;
/// Endings of code, which is no result of a test wherever it lies.
const CODE: [&str; 8] = ["py", "rs", "js", "jsx", "ts", "tsx", "go", "java"];
/// What begins one result in a file of snapshots: Jest's and Syrupy's.
const RESULTS: [&str; 2] = ["exports[`", "# name: "];
/// Bytes of all texts.
const BYTES: usize = 1 << 20;

/// Suppressions, skips and softened checks: (what is added, the code's word).
const WEAKENING: &[(&str, &str)] = &[
    ("# noqa", "suppression"),
    ("# type: ignore", "suppression"),
    ("# pylint: disable", "suppression"),
    ("# ruff: noqa", "suppression"),
    ("# fmt: off", "suppression"),
    ("eslint-disable", "suppression"),
    ("prettier-ignore", "suppression"),
    ("@ts-ignore", "suppression"),
    ("@ts-nocheck", "suppression"),
    ("#[allow(", "suppression"),
    ("#![allow(", "suppression"),
    ("rustfmt::skip", "suppression"),
    ("//nolint", "suppression"),
    ("@SuppressWarnings", "suppression"),
    ("pytest.mark.skip", "skip"),
    ("pytest.mark.xfail", "skip"),
    ("unittest.skip", "skip"),
    ("#[ignore", "skip"),
    (".skip(", "skip"),
    (".only(", "skip"),
    ("t.Skip(", "skip"),
    ("@Disabled", "skip"),
    ("@Ignore", "skip"),
    ("|| true", "exit_code"),
    ("continue-on-error: true", "exit_code"),
    ("--exit-zero", "exit_code"),
];

/// What a test says: lines with these may change their form but not go away.
const ASSERTIONS: &[&str] = &["assert", "expect(", "t.Error", "t.Fatal", "self.fail", "should."];

/// What looks like a secret at the start of a word.
const SECRETS: &[&str] = &["ghp_", "github_pat_", "glpat-", "AKIA", "xoxb-", "-----BEGIN "];

/// All codes that speak against the patch. `scope`: files that the failure or the fixer names. Empty: it may be published.
pub fn refusals(files: &[PatchFile], category: &str) -> Vec<String> {
    let mut codes = Vec::new();
    let is_format = category == "format";
    let (most_files, most_lines) = if is_format {
        (FORMAT_FILES, FORMAT_LINES)
    } else {
        (FILES, LINES)
    };
    let lines: usize = files
        .iter()
        .map(|file| changed_lines(file).0 + changed_lines(file).1)
        .sum();
    let bytes: usize = files.iter().map(|file| file.after.len()).sum();
    let mut refuse = |code: &str| {
        if !codes.iter().any(|known| known == code) {
            codes.push(code.to_owned());
        }
    };
    if files.is_empty() {
        refuse("fixer_no_change");
    }
    if files.len() > most_files {
        refuse("too_many_files");
    }
    if lines > most_lines {
        refuse("too_many_lines");
    }
    if bytes > BYTES {
        refuse("too_large");
    }
    for file in files {
        file_refusals(file, &mut refuse);
        if category == "snapshot" {
            snapshot_refusals(file, &mut refuse);
        }
    }
    codes
}

fn file_refusals(file: &PatchFile, refuse: &mut impl FnMut(&str)) {
    if !is_inside(&file.path) {
        refuse("path_escape");
    }
    if !matches!(file.mode.as_str(), "100644" | "100755") {
        refuse("mode_change");
    }
    if is_protected(&file.path) {
        refuse("protected_path");
    }
    for (word, kind) in WEAKENING {
        if count(&file.after, word) > count(&file.before, word) {
            refuse(&format!("weakening({kind})"));
        }
    }
    if ASSERTIONS
        .iter()
        .any(|word| count(&file.after, word) < count(&file.before, word))
    {
        refuse("weakening(assertion)");
    }
    if SECRETS
        .iter()
        .any(|word| count(&file.after, word) > count(&file.before, word))
    {
        refuse("secret_found");
    }
    let hidden = |text: &str| text.chars().filter(|letter| is_hidden(*letter)).count();
    if hidden(&file.after) > hidden(&file.before) {
        refuse("hidden_unicode");
    }
}

/// A snapshot may say something else than before, but not less; and nothing but snapshots is changed to fit a result.
fn snapshot_refusals(file: &PatchFile, refuse: &mut impl FnMut(&str)) {
    if !is_snapshot(&file.path) {
        refuse("out_of_scope");
    }
    let fewer = |word: &&str| count(&file.after, word) < count(&file.before, word);
    if file.after.trim().is_empty() || RESULTS.iter().any(fewer) {
        refuse("weakening(snapshot)");
    }
}

/// Whether a file holds results of tests: Jest's and insta's `.snap`, Syrupy's `.ambr`, and what lies in their folders.
fn is_snapshot(path: &str) -> bool {
    let kept = path
        .split('/')
        .rev()
        .skip(1)
        .any(|part| matches!(part, "__snapshots__" | "snapshots"));
    let ending = path.rsplit('.').next().unwrap_or_default();
    matches!(ending, "snap" | "ambr") || (kept && !CODE.contains(&ending))
}

fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with('/')
        && !path.contains('\\')
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
}

/// CI definitions, owners, licences, lock files, configuration of checks: no tool repairs those by itself.
fn is_protected(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let name = lower.rsplit('/').next().unwrap_or_default();
    let folders = [
        ".git/",
        ".github/",
        ".gitea/",
        ".forgejo/",
        ".gitlab/",
        ".circleci/",
        "vendor/",
        "third_party/",
        "migrations/",
    ];
    folders
        .iter()
        .any(|folder| lower.starts_with(folder) || lower.contains(&format!("/{folder}")))
        || name.starts_with(".git")
        || name.starts_with("license")
        || name.ends_with(".lock")
        || matches!(
            name,
            ".gitlab-ci.yml"
                | "jenkinsfile"
                | "codeowners"
                | "package-lock.json"
                | "pnpm-lock.yaml"
                | "go.sum"
                | "pyproject.toml"
                | "setup.cfg"
                | "tox.ini"
                | "ruff.toml"
                | ".ruff.toml"
                | ".flake8"
                | "mypy.ini"
                | ".pre-commit-config.yaml"
                | "tsconfig.json"
                | "clippy.toml"
                | ".patchbot.toml"
                | ".env"
        )
        || name.starts_with(".eslintrc")
        || name.starts_with("eslint.config")
        || name.starts_with(".prettierrc")
}

/// Bidirectional controls, zero-width letters and tags.
fn is_hidden(letter: char) -> bool {
    matches!(letter,
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        | '\u{e0000}'..='\u{e007f}')
}

fn count(text: &str, word: &str) -> usize {
    text.matches(word).count()
}

/// Lines added and removed, with each line counted as often as it stands.
pub fn changed_lines(file: &PatchFile) -> (usize, usize) {
    let mut before: Vec<&str> = file.before.lines().collect();
    let mut after: Vec<&str> = file.after.lines().collect();
    before.sort_unstable();
    after.sort_unstable();
    let (mut left, mut right, mut same) = (0, 0, 0);
    while left < before.len() && right < after.len() {
        match before[left].cmp(after[right]) {
            std::cmp::Ordering::Less => left += 1,
            std::cmp::Ordering::Greater => right += 1,
            std::cmp::Ordering::Equal => {
                (left, right, same) = (left + 1, right + 1, same + 1);
            }
        }
    }
    (after.len() - same, before.len() - same)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A patch of one file, as `path | before | after`, and the codes.
    fn check(path: &str, before: &str, after: &str, expected: &[&str]) {
        let file = PatchFile {
            path: path.to_owned(),
            mode: "100644".to_owned(),
            before: before.to_owned(),
            after: after.to_owned(),
        };
        assert_eq!(refusals(&[file], "lint"), expected, "{path}: {before:?} -> {after:?}");
    }

    #[test]
    fn a_plain_repair_passes() {
        check("a.py", "import os\nprint(1)\n", "print(1)\n", &[]);
        check("a.py", "assert  x\n", "assert x\n", &[]);
        check("a.py", "import os  # noqa\nimport sys\n", "import os  # noqa\n", &[]);
    }

    #[test]
    fn silencing_a_check_is_no_repair() {
        check(
            "a.py",
            "import os\n",
            "import os  # noqa\n",
            &["weakening(suppression)"],
        );
        check(
            "a.rs",
            "fn f() {}\n",
            "#[allow(dead_code)]\nfn f() {}\n",
            &["weakening(suppression)"],
        );
        check(
            "t.py",
            "def test_a():\n  assert 1 == 2\n",
            "def test_a():\n  pass\n",
            &["weakening(assertion)"],
        );
        check(
            "t.py",
            "def test_a(): pass\n",
            "@pytest.mark.skip\ndef test_a(): pass\n",
            &["weakening(skip)"],
        );
        check(
            "run.sh",
            "ruff check .\n",
            "ruff check . || true\n",
            &["weakening(exit_code)"],
        );
    }

    #[test]
    fn nothing_outside_the_code_is_touched() {
        check("../a.py", "a\n", "b\n", &["path_escape"]);
        check("/etc/passwd", "a\n", "b\n", &["path_escape"]);
        for path in [
            ".github/workflows/ci.yml",
            "Cargo.lock",
            "sub/.gitattributes",
            "pyproject.toml",
            "LICENSE",
            "a/.eslintrc.json",
        ] {
            check(path, "a\n", "b\n", &["protected_path"]);
        }
    }

    #[test]
    fn secrets_and_hidden_letters_are_found() {
        check("a.py", "a\n", "t = 'ghp_0123'\n", &["secret_found"]);
        check("a.py", "a\n", "a\u{202e}b\n", &["hidden_unicode"]);
    }

    #[test]
    fn a_snapshot_may_say_something_else_and_never_less() {
        let check = |path: &str, before: &str, after: &str, expected: &[&str]| {
            let file = PatchFile {
                path: path.to_owned(),
                mode: "100644".to_owned(),
                before: before.to_owned(),
                after: after.to_owned(),
            };
            assert_eq!(
                refusals(&[file], "snapshot"),
                expected,
                "{path}: {before:?} -> {after:?}"
            );
        };
        check(
            "__snapshots__/a.ambr",
            "# name: a\n  'x'\n# ---\n",
            "# name: a\n  'y'\n# ---\n",
            &[],
        );
        check("src/snapshots/a__b.snap", "---\nx\n", "---\ny\n", &[]);
        check(
            "a.snap",
            "exports[`a`] = 1;\nexports[`b`] = 2;\n",
            "exports[`a`] = 1;\n",
            &["weakening(snapshot)"],
        );
        check("a.snap", "x\n", "\n", &["weakening(snapshot)"]);
        check("tests/test_a.py", "x = 1\n", "x = 2\n", &["out_of_scope"]);
        check("src/snapshots/mod.rs", "a\n", "b\n", &["out_of_scope"]);
    }

    #[test]
    fn size_is_bounded_and_a_formatter_may_change_more() {
        let files = |count: usize| -> Vec<PatchFile> {
            (0..count)
                .map(|at| PatchFile {
                    path: format!("{at}.py"),
                    mode: "100644".to_owned(),
                    before: "a\n".to_owned(),
                    after: "b\n".to_owned(),
                })
                .collect()
        };
        assert_eq!(refusals(&files(11), "lint"), ["too_many_files"]);
        assert_eq!(refusals(&files(11), "format"), Vec::<String>::new());
        assert_eq!(refusals(&[], "format"), ["fixer_no_change"]);
    }
}
