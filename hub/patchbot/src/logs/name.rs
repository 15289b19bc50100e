//! Says which tool wrote a complaint, where several write alike.
//!
//! What decides, in this order: the shape of the complaint itself, the command or step that ran (a hint), the file's kind. Where
//! nothing decides, the tool stays empty: a wrong name would start a wrong fixer.

use super::grammars::Writer;
use crate::verdict::{Category, Finding, Severity};

/// Stands for a Python linter until the whole log is known.
pub const PYTHON_CODE: &str = "python-code";
/// Stands for scalastyle or scalac under sbt until the whole log is known.
pub const SCALA: &str = "scalastyle-or-scalac";
/// Stands for MSBuild or `dotnet` until the whole log is known.
pub const MSBUILD: &str = "msbuild-or-dotnet";

/// Commands and step names that tell which tool is running: word, tool, what its failure usually is.
const HINTS: &[(&str, &str, Category)] = &[
    ("ruff format", "ruff-format", Category::Format),
    ("ruff", "ruff", Category::Lint),
    ("flake8", "flake8", Category::Lint),
    ("pycodestyle", "pep8", Category::Lint),
    ("pep8", "pep8", Category::Lint),
    ("pydocstyle", "pydocstyle", Category::Lint),
    ("pylint", "pylint", Category::Lint),
    ("mypy", "mypy", Category::Type),
    ("pyright", "pyright", Category::Type),
    ("black", "black", Category::Format),
    ("isort", "isort", Category::Format),
    ("bandit", "bandit", Category::Lint),
    ("pytest", "pytest", Category::Test),
    ("golangci-lint", "golangci-lint", Category::Lint),
    ("golangci", "golangci-lint", Category::Lint),
    ("golint", "golint", Category::Lint),
    ("revive", "revive", Category::Lint),
    ("staticcheck", "staticcheck", Category::Lint),
    ("go vet", "govet", Category::Lint),
    ("govet", "govet", Category::Lint),
    ("go build", "go", Category::Build),
    ("go test", "go-test", Category::Test),
    ("goimports", "goimports", Category::Format),
    ("gofumpt", "gofumpt", Category::Format),
    ("gofmt", "gofmt", Category::Format),
    ("clippy", "clippy", Category::Lint),
    ("cargo fmt", "rustfmt", Category::Format),
    ("rustfmt", "rustfmt", Category::Format),
    ("cargo test", "cargo-test", Category::Test),
    ("cargo build", "cargo", Category::Build),
    ("eslint", "eslint", Category::Lint),
    ("stylelint", "stylelint", Category::Lint),
    ("tslint", "tslint", Category::Lint),
    ("prettier", "prettier", Category::Format),
    ("tsc", "tsc", Category::Type),
    ("jest", "jest", Category::Test),
    ("vitest", "vitest", Category::Test),
    ("mocha", "mocha", Category::Test),
    ("rubocop", "rubocop", Category::Lint),
    ("reek", "reek", Category::Lint),
    ("shellcheck", "shellcheck", Category::Lint),
    ("hadolint", "hadolint", Category::Lint),
    ("yamllint", "yamllint", Category::Lint),
    ("ansible-lint", "ansible-lint", Category::Lint),
    ("actionlint", "actionlint", Category::Lint),
    ("markdownlint", "markdownlint", Category::Lint),
    ("remark", "remark-lint", Category::Lint),
    ("phpstan", "phpstan", Category::Lint),
    ("psalm", "psalm", Category::Lint),
    ("phpcs", "phpcs", Category::Lint),
    ("checkstyle", "checkstyle", Category::Lint),
    ("ktlint", "ktlint", Category::Lint),
    ("detekt", "detekt", Category::Lint),
    ("scalastyle", "scalastyle", Category::Lint),
    ("swiftlint", "swiftlint", Category::Lint),
    ("cpplint", "cpplint", Category::Lint),
    ("clang-tidy", "clang-tidy", Category::Lint),
    ("cppcheck", "cppcheck", Category::Lint),
    ("clang-format", "clang-format", Category::Format),
    ("luacheck", "luacheck", Category::Lint),
    ("hlint", "hlint", Category::Lint),
    ("credo", "credo", Category::Lint),
    ("puppet-lint", "puppet-lint", Category::Lint),
    ("buf lint", "buf", Category::Lint),
    ("protolint", "protolint", Category::Lint),
    ("typos", "typos", Category::Lint),
    ("codespell", "codespell", Category::Lint),
    ("vale", "vale", Category::Lint),
    ("proselint", "proselint", Category::Lint),
    ("dotnet", "dotnet", Category::Build),
    ("msbuild", "msbuild", Category::Build),
];

/// The tool that a command or a step's name speaks of, as a word of its own.
pub fn hint(text: &str) -> Option<(&'static str, Category)> {
    let text = text.to_ascii_lowercase();
    HINTS
        .iter()
        .find(|(word, ..)| has_word(&text, word))
        .map(|(_, tool, category)| (*tool, *category))
}

/// True when `word` stands in `text` with no letter or digit at either end of it. `text` is in lower case.
pub fn has_word(text: &str, word: &str) -> bool {
    let mut from = 0;
    while let Some(found) = text[from..].find(word) {
        let (start, end) = (from + found, from + found + word.len());
        let free = |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
        let before = start.checked_sub(1).and_then(|at| text.as_bytes().get(at));
        if free(before) && free(text.as_bytes().get(end)) {
            return true;
        }
        from = end;
    }
    false
}

/// Names the tool of a complaint, as far as the line tells; adjusts category and rule with it.
pub fn settle_line(writer: Writer, hint: Option<(&'static str, Category)>, finding: &mut Finding) {
    match writer {
        Writer::Is(tool) => finding.tool = tool.to_owned(),
        Writer::PythonCode => python(hint, finding),
        Writer::Go => go(hint, finding),
        Writer::Compiler => compiler(hint, finding),
        Writer::MsBuild => msbuild(finding),
        Writer::Plain => plain(hint, finding),
    }
}

fn python(hint: Option<(&'static str, Category)>, finding: &mut Finding) {
    finding.safe_fix = finding.message.starts_with("[*]");
    if let Some(rest) = finding.message.strip_prefix("[*] ") {
        finding.message = rest.to_owned();
    }
    finding.tool = match hint {
        Some((tool @ ("ruff" | "flake8" | "pep8" | "pylint" | "pydocstyle"), _)) => tool,
        _ if finding.safe_fix || finding.message.contains('`') => "ruff",
        _ if finding
            .rule
            .as_ref()
            .is_some_and(|rule| rule.len() == 5 && !rule.starts_with("PL")) =>
        {
            "pylint"
        }
        _ => PYTHON_CODE,
    }
    .to_owned();
    finding.category = Category::Lint;
}

/// Words of golint and of its successor revive. Source: golang.org/x/lint, lint.go.
const GOLINT: &[&str] = &[
    "should have comment",
    "comment on exported",
    "should be of the form",
    "don't use underscores",
    "don't use ALL_CAPS",
    "don't use leading k",
    "should omit 2nd value",
    "should omit values",
    "should omit type",
    "error strings should not",
    "error var ",
    "receiver name ",
    "package comment ",
    "should replace ",
    "if block ends with a return statement",
    "should not use dot imports",
    "a blank import should be only",
    "exported func ",
    "context.Context should be the first",
    "should not use basic type",
    "should drop = ",
    "should have a package comment",
    "error should be the last",
];

/// Words of the Go compiler. Source: go/types, errors.go.
const GO_COMPILER: &[&str] = &[
    "undefined: ",
    "cannot use ",
    "declared and not used",
    "imported and not used",
    "syntax error",
    "not enough arguments",
    "too many arguments",
    "not enough return values",
    "missing return",
    "redeclared",
    "undefined (type",
    "mismatched types",
    "invalid operation",
    "cannot find package",
    "assignment mismatch",
    "does not implement",
    "no new variables on left side",
    "non-declaration statement",
    "undeclared name",
];

fn go(hint: Option<(&'static str, Category)>, finding: &mut Finding) {
    let message = finding.message.clone();
    let any = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let last = message
        .trim_end()
        .strip_suffix(')')
        .and_then(|text| text.rfind('(').map(|at| &text[at + 1..]));
    let staticcheck = |code: &str| {
        let letters = code.trim_end_matches(|letter: char| letter.is_ascii_digit());
        code.len() > letters.len() && matches!(letters, "SA" | "S" | "ST" | "QF" | "U")
    };
    let word = |code: &str| {
        code.len() > 2
            && code
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let set = |finding: &mut Finding, tool: &str, category| {
        finding.tool = tool.to_owned();
        finding.category = category;
    };
    match last {
        Some(code) if staticcheck(code) => {
            finding.rule = Some(code.to_owned());
            set(finding, "staticcheck", Category::Lint);
        }
        Some(code) if word(code) && !matches!(hint, Some(("govet" | "golint" | "go", _))) => {
            finding.rule = Some(code.to_owned());
            let category = if code == "typecheck" {
                Category::Build
            } else {
                Category::Lint
            };
            set(finding, "golangci-lint", category);
        }
        _ => match hint {
            Some((tool @ ("golint" | "revive" | "staticcheck" | "govet" | "golangci-lint"), _)) => {
                set(finding, tool, Category::Lint)
            }
            _ if any(GO_COMPILER) => set(finding, "go", Category::Build),
            Some(("go-test", _)) => set(finding, "go-test", Category::Test),
            _ if any(GOLINT) => set(finding, "golint", Category::Lint),
            _ => set(finding, "govet", Category::Lint),
        },
    }
}

fn compiler(hint: Option<(&'static str, Category)>, finding: &mut Finding) {
    let path = finding.path.clone().unwrap_or_default();
    let extension = path.rsplit('.').next().unwrap_or_default();
    let check = finding
        .message
        .trim_end()
        .strip_suffix(']')
        .and_then(|text| text.rfind('[').map(|at| text[at + 1..].to_owned()));
    let (tool, category) = match (extension, &check) {
        ("rs", _) if finding.severity == Severity::Warning => ("clippy", Category::Lint),
        ("rs", _) => ("rustc", Category::Build),
        ("c" | "h" | "cc" | "hh" | "cpp" | "hpp" | "cxx" | "hxx" | "cu" | "cuh" | "m" | "mm" | "ipp", Some(check))
            if check.contains('-') && !check.starts_with("-W") && !check.starts_with("-f") =>
        {
            ("clang-tidy", Category::Lint)
        }
        ("c" | "h" | "cc" | "hh" | "cpp" | "hpp" | "cxx" | "hxx" | "m" | "mm" | "ipp", _) => ("cc", Category::Build),
        ("cu" | "cuh", _) => ("nvcc", Category::Build),
        ("swift", _) => ("swiftc", Category::Build),
        ("java", _) => ("javac", Category::Build),
        ("ts" | "tsx" | "js" | "jsx" | "mjs" | "cjs" | "vue", _) => ("eslint", Category::Lint),
        ("ex" | "exs", _) => ("elixirc", Category::Build),
        ("d", _) | ("f90", _) | ("zig", _) => ("", Category::Build),
        _ => match hint {
            Some((tool, category)) => (tool, category),
            None => ("", Category::Lint),
        },
    };
    if let Some((tool @ ("clang-tidy" | "cppcheck" | "cpplint" | "shellcheck"), category)) = hint {
        finding.tool = tool.to_owned();
        finding.category = category;
    } else {
        finding.tool = tool.to_owned();
        finding.category = category;
    }
    if finding.rule.is_none() {
        finding.rule = check;
    }
}

fn msbuild(finding: &mut Finding) {
    let rule = finding.rule.clone().unwrap_or_default();
    let letters = rule.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let (tool, category) = match letters {
        "TS" => ("tsc", Category::Type),
        "C" | "LNK" => ("msvc", Category::Build),
        "NU" => ("nuget", Category::Dependency),
        "CA" | "IDE" | "SA" | "RCS" => (MSBUILD, Category::Lint),
        _ => (MSBUILD, Category::Build),
    };
    finding.tool = tool.to_owned();
    finding.category = category;
}

fn plain(hint: Option<(&'static str, Category)>, finding: &mut Finding) {
    match hint {
        Some((tool, category)) if !matches!(category, Category::Test | Category::Build) => {
            finding.tool = tool.to_owned();
            finding.category = category;
            finding.weight = 72;
        }
        _ => finding.weight = 38,
    }
}

/// Names what only the whole log tells. `text_has` looks for a literal in the log.
pub fn settle_all(findings: &mut [Finding], text_has: impl Fn(&str) -> bool) {
    let style_only = findings
        .iter()
        .filter(|finding| finding.tool == PYTHON_CODE)
        .all(|finding| finding.rule.as_ref().is_some_and(|rule| rule.starts_with(['E', 'W'])));
    let scalastyle = text_has("scalastyle");
    let msbuild = text_has("MSBuild") || text_has(": error MSB") || text_has(": warning MSB");
    for finding in findings {
        let (tool, category) = match finding.tool.as_str() {
            PYTHON_CODE if style_only => ("pep8", finding.category),
            PYTHON_CODE => ("flake8", finding.category),
            SCALA if scalastyle => ("sbt-scalastyle", Category::Lint),
            SCALA => ("scalac", Category::Build),
            MSBUILD if msbuild => ("msbuild", finding.category),
            MSBUILD => ("dotnet", finding.category),
            _ => continue,
        };
        finding.tool = tool.to_owned();
        finding.category = category;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_merely_contains_a_tools_name_is_not_that_tool() {
        assert_eq!(hint("error: blacklisted host refused"), None);
        assert_eq!(hint("Run black --check ."), Some(("black", Category::Format)));
        assert_eq!(hint("npx eslint@9 src"), Some(("eslint", Category::Lint)));
        assert_eq!(hint("ruff format --check"), Some(("ruff-format", Category::Format)));
    }
}
