//! Which fixer answers a failure, and the exact commands: the repository's own check, and its repairing form.
//!
//! A fixer is data (`fixers.toml`). The command of the failing step is preferred where it calls the fixer's program plainly, because
//! its flags decide what the check says; else the fixer's own arguments are used with the files that the failure names. A version
//! that the repository pins and this machine has not is a refusal, since a formatter's other version makes other files.
//!
//! Read next: `verify.rs` (what happens with the commands).

use std::path::Path;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::fingerprint::repository_path;
use crate::verdict::Finding;

/// One fixer, as `fixers.toml` says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixer {
    /// Name in certificates and pull requests.
    pub id: String,
    /// File name extensions that its check reads.
    pub extensions: Vec<String>,
    /// Executable; empty for what needs none.
    pub program: String,
    #[serde(default)]
    runner_words: Vec<String>,
    tools: Vec<String>,
    verb: Option<String>,
    check: Vec<String>,
    fix: Vec<String>,
    #[serde(default)]
    drop: Vec<String>,
    #[serde(default)]
    add: Vec<String>,
    /// True when it runs no code of the repository.
    pub data_only: bool,
    ok: Vec<i32>,
    /// True when the check leaves with 0 and prints what is wrong.
    #[serde(default)]
    pub silent: bool,
    /// True when it brings files into a form: what was in it before a repair is brought into it again.
    #[serde(default)]
    pub formats: bool,
    /// Words by which a failed test says that only its snapshot differs; empty for what repairs code.
    #[serde(default)]
    drift: Vec<String>,
    #[serde(default)]
    pins: Vec<String>,
}

#[derive(Deserialize)]
struct Table {
    fixer: Vec<Fixer>,
}

static FIXERS: LazyLock<Vec<Fixer>> = LazyLock::new(|| {
    let table: Table = toml::from_str(include_str!("fixers.toml")).expect("the tests parse the same text");
    table.fixer
});

/// All fixers, in order of preference.
pub fn all() -> &'static [Fixer] {
    &FIXERS
}

/// The fixer that answers failures of `tool`.
pub fn for_tool(tool: &str) -> Option<&'static Fixer> {
    all()
        .iter()
        .find(|fixer| fixer.answers(tool) && !fixer.writes_snapshots())
}

/// The fixer that writes the snapshots of `tool` anew, if one of the findings says that only a snapshot differs.
pub fn for_drift(tool: &str, findings: &[Finding]) -> Option<&'static Fixer> {
    let says = |finding: &Finding, word: &String| finding.message.contains(word);
    for_tests(tool).filter(|fixer| {
        findings
            .iter()
            .any(|finding| fixer.drift.iter().any(|word| says(finding, word)))
    })
}

/// The fixer whose check runs the tests of `tool`.
pub fn for_tests(tool: &str) -> Option<&'static Fixer> {
    all()
        .iter()
        .find(|fixer| fixer.answers(tool) && fixer.writes_snapshots())
}

/// The two commands of one repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commands {
    /// Fails before the repair and passes after it.
    pub check: Vec<String>,
    /// Repairs.
    pub fix: Vec<String>,
}

impl Fixer {
    fn answers(&self, tool: &str) -> bool {
        self.tools.iter().any(|known| known == tool)
    }

    /// Whether it writes results of tests and no code.
    pub fn writes_snapshots(&self) -> bool {
        !self.drift.is_empty()
    }

    /// True when the repairing run's exit status is no crash.
    pub fn is_ok(&self, status: i32) -> bool {
        self.ok.contains(&status)
    }

    /// The commands: from the failing step's `command` where it is a plain call of the program, else for `files`.
    ///
    /// `edition` is what rustfmt has to be told outside of cargo.
    pub fn commands(&self, command: Option<&str>, files: &[String], edition: Option<&str>) -> Commands {
        if let Some(check) = command.and_then(|command| self.plain_call(command)) {
            let mut fix: Vec<String> = check.iter().filter(|word| !self.drop.contains(word)).cloned().collect();
            let at = 1 + usize::from(self.verb.is_some());
            for word in self.add.iter().rev().filter(|word| !check.contains(word)) {
                fix.insert(at.min(fix.len()), word.clone());
            }
            return Commands { check, fix };
        }
        let expand = |words: &[String]| {
            let mut argv = vec![self.program.clone()];
            for word in words {
                match word.as_str() {
                    "{files}" => argv.extend(files.iter().cloned()),
                    "{edition}" => argv.extend(edition.map(|edition| format!("--edition={edition}"))),
                    _ => argv.push(word.clone()),
                }
            }
            argv
        };
        Commands {
            check: expand(&self.check),
            fix: expand(&self.fix),
        }
    }

    /// The words of a command that calls this program and nothing else: no pipe, variable, redirection or second command.
    fn plain_call(&self, command: &str) -> Option<Vec<String>> {
        let command = command.trim();
        if self.program.is_empty()
            || command.contains(['|', '&', ';', '<', '>', '$', '`', '(', ')', '\'', '"', '\\', '\n', '*'])
        {
            return None;
        }
        let mut words = command
            .split_whitespace()
            .skip_while(|word| self.runner_words.iter().any(|known| known == word));
        let program = words.next()?;
        let name = program
            .split('@')
            .next()
            .filter(|name| !name.is_empty())
            .unwrap_or(program);
        if name != self.program {
            return None;
        }
        let rest: Vec<String> = words.map(str::to_owned).collect();
        if self.verb.as_ref().is_some_and(|verb| rest.first() != Some(verb)) {
            return None;
        }
        Some([vec![self.program.clone()], rest].concat())
    }

    /// The version that the repository pins, if it pins one: `name==1.2.3` in Python's files, `"name": "1.2.3"` in package.json,
    /// `rev: v1.2.3` under the hook's repository in pre-commit's configuration.
    pub fn pinned(&self, repository: &Path) -> Option<String> {
        let read = |name: &str| std::fs::read_to_string(repository.join(name)).unwrap_or_default();
        let python = [
            "requirements.txt",
            "requirements-dev.txt",
            "dev-requirements.txt",
            "requirements/dev.txt",
            "pyproject.toml",
            "tox.ini",
            "setup.cfg",
        ]
        .map(read)
        .join("\n");
        let node = read("package.json");
        let hooks = read(".pre-commit-config.yaml");
        self.pins.iter().find_map(|name| {
            exactly(&python, name)
                .or_else(|| in_package_json(&node, name))
                .or_else(|| in_hooks(&hooks, name))
        })
    }
}

/// `name==1.2.3` as a whole requirement.
fn exactly(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let line = line.trim().trim_start_matches(['"', '\'']);
        let rest = line.strip_prefix(name)?.trim_start().strip_prefix("==")?;
        version(rest)
    })
}

fn in_package_json(text: &str, name: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    ["devDependencies", "dependencies"].iter().find_map(|kind| {
        let wanted = value[kind][name].as_str()?;
        wanted
            .starts_with(|first: char| first.is_ascii_digit())
            .then(|| version(wanted))
            .flatten()
    })
}

fn in_hooks(text: &str, name: &str) -> Option<String> {
    let mut ours = false;
    for line in text.lines() {
        let line = line.trim().trim_start_matches("- ");
        if let Some(repository) = line.strip_prefix("repo:") {
            ours = repository
                .trim()
                .trim_end_matches(".git")
                .ends_with(&format!("/{name}"));
        } else if ours && let Some(revision) = line.strip_prefix("rev:") {
            return version(revision.trim().trim_matches(['"', '\'']).trim_start_matches('v'));
        }
    }
    None
}

fn version(text: &str) -> Option<String> {
    let found: String = text
        .trim()
        .chars()
        .take_while(|letter| letter.is_ascii_digit() || *letter == '.')
        .collect();
    (!found.is_empty()).then_some(found)
}

/// The version in what a program answers to `--version`.
pub fn version_in(answer: &str) -> Option<String> {
    answer
        .split_whitespace()
        .map(|word| word.trim_start_matches(['v', '(']).trim_end_matches([',', ')']))
        .find_map(|word| {
            let found = version(word)?;
            (found.contains('.') && found.len() >= 3).then_some(found)
        })
}

/// Files that the findings name, inside the repository, each once. Absolute paths of a CI machine lose their workspace; a path that
/// leaves the repository is left out.
pub fn files_of(findings: &[Finding], repository: &Path) -> Vec<String> {
    let mut files: Vec<String> = findings
        .iter()
        .filter_map(|finding| finding.path.as_deref())
        .filter_map(|path| inside(&repository_path(path), repository))
        .collect();
    files.sort_unstable();
    files.dedup();
    files
}

/// The path as the repository knows it: itself, or its longest tail that exists there.
fn inside(path: &str, repository: &Path) -> Option<String> {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if parts.contains(&"..") {
        return None;
    }
    (0..parts.len())
        .map(|from| parts[from..].join("/"))
        .find(|tail| repository.join(tail).is_file())
}

/// The edition of the nearest manifest above `file`.
pub fn edition(file: &str, repository: &Path) -> Option<String> {
    let mut folder = Path::new(file).parent();
    while let Some(current) = folder {
        if let Ok(text) = std::fs::read_to_string(repository.join(current).join("Cargo.toml"))
            && let Ok(manifest) = text.parse::<toml::Table>()
            && let Some(edition) = manifest
                .get("package")
                .and_then(|package| package.get("edition"))
                .and_then(toml::Value::as_str)
        {
            return Some(edition.to_owned());
        }
        folder = current.parent();
    }
    None
}

/// Takes trailing blanks off every line and ends the text with one newline: the fixer that needs no program.
pub fn without_trailing_space(text: &str) -> String {
    let mut out: String = text.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
    while out.ends_with("\n\n") {
        out.pop();
    }
    if out == "\n" { String::new() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_failing_command_becomes_its_repairing_form() {
        for (tool, command, fix) in [
            ("ruff", "ruff check src --select F", "ruff check --fix src --select F"),
            ("ruff-format", "ruff format --check .", "ruff format ."),
            ("black", "black --check --diff .", "black ."),
            (
                "isort",
                "isort --check-only --profile black .",
                "isort --profile black .",
            ),
            ("prettier", "npx prettier --check src", "prettier --write src"),
            ("eslint", "npx eslint@9 src", "eslint --fix src"),
            ("gofmt", "gofmt -l .", "gofmt -w ."),
        ] {
            let commands = for_tool(tool).expect(tool).commands(Some(command), &[], None);
            assert_eq!(commands.fix, words(fix), "{command}");
        }
    }

    #[test]
    fn a_command_that_does_more_is_not_rewritten() {
        let fixer = for_tool("ruff").expect("it is listed");
        for command in [
            "ruff check . && rm -rf /",
            "ruff check $DIR",
            "make lint",
            "ruff format --check .",
            "echo ruff check",
        ] {
            let commands = fixer.commands(Some(command), &["a.py".to_owned()], None);
            assert_eq!(
                commands.check,
                words("ruff check --no-cache --force-exclude a.py"),
                "{command}"
            );
        }
    }

    #[test]
    fn a_pinned_version_is_found_where_each_world_keeps_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        write(
            ".pre-commit-config.yaml",
            "repos:\n- repo: https://github.com/astral-sh/ruff-pre-commit\n  rev: v0.4.2\n  hooks: []\n",
        );
        write(
            "package.json",
            r#"{"devDependencies": {"prettier": "3.1.0", "eslint": "^9.0.0"}}"#,
        );
        write("requirements-dev.txt", "black==24.1.0\nruff-lsp==1.0\n");
        let pinned = |tool: &str| for_tool(tool).expect(tool).pinned(folder.path());
        assert_eq!(pinned("ruff").as_deref(), Some("0.4.2"));
        assert_eq!(pinned("black").as_deref(), Some("24.1.0"));
        assert_eq!(pinned("prettier").as_deref(), Some("3.1.0"));
        assert_eq!(pinned("eslint"), None);
        assert_eq!(version_in("black, 24.1.0 (compiled: yes)").as_deref(), Some("24.1.0"));
    }

    #[test]
    fn a_path_that_leaves_the_repository_names_no_file() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("src")).expect("made");
        std::fs::write(folder.path().join("src/a.py"), "").expect("written");
        assert_eq!(inside("../src/a.py", folder.path()), None);
        assert_eq!(inside("/build/x/src/a.py", folder.path()).as_deref(), Some("src/a.py"));
    }

    #[test]
    fn trailing_space_goes_and_one_newline_stays() {
        assert_eq!(without_trailing_space("a  \nb\t\n\n\n"), "a\nb\n");
        assert_eq!(without_trailing_space("a"), "a\n");
        assert_eq!(without_trailing_space(""), "");
    }
}
