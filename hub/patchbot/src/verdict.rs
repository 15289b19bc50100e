//! The words a classification is made of: category, finding, verdict.
//!
//! A [`Finding`] is one line (or one record of a report) that says something failed. A [`Verdict`] is what all findings of one
//! file amount to. A verdict that is not sure says so: category `unknown`, or a code, and a low confidence.
//!
//! Read next: `logs/decide.rs` (which finding wins).

use serde::Serialize;

/// What kind of failure it is. The order is the order of precedence among findings that are equally specific and equally
/// late: a broken build explains a missing test, not the reverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// The machine, the network or the forge failed, not the change.
    Infra,
    /// A step ran into its time limit.
    Timeout,
    /// Memory, disk or another quota was used up.
    Resource,
    /// The lock file does not agree with the manifest.
    Lockfile,
    /// A package could not be found, resolved or installed.
    Dependency,
    /// The workflow or a configuration file is wrong.
    Config,
    /// The code does not compile, link or parse.
    Build,
    /// A type checker refused the code.
    Type,
    /// A test failed.
    Test,
    /// A test failed and passed on the same commit.
    Flaky,
    /// A scanner found a vulnerability or a secret.
    Security,
    /// A linter found something.
    Lint,
    /// A formatter would change something.
    Format,
    /// Generated files are not up to date.
    Generated,
    /// The same check is red on the base branch, too.
    BaseBroken,
    /// Nothing in the file says what failed.
    Unknown,
}

impl Category {
    /// The word in JSON, labels and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Category::Infra => "infra",
            Category::Timeout => "timeout",
            Category::Resource => "resource",
            Category::Lockfile => "lockfile",
            Category::Dependency => "dependency",
            Category::Config => "config",
            Category::Build => "build",
            Category::Type => "type",
            Category::Test => "test",
            Category::Flaky => "flaky",
            Category::Security => "security",
            Category::Lint => "lint",
            Category::Format => "format",
            Category::Generated => "generated",
            Category::BaseBroken => "base_broken",
            Category::Unknown => "unknown",
        }
    }
}

/// Who could repair it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fixable {
    /// A tool repairs it without judgement.
    Auto,
    /// A person, helped by the diagnosis.
    Assist,
    /// Nothing in the repository is at fault, or nobody but a person may touch it.
    Never,
}

/// How bad the tool itself says that one finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Named, but it fails nothing.
    Note,
    /// A warning, which fails a check only where the check says so.
    Warning,
    /// An error, or a tool that knows no degrees.
    Error,
}

/// One line or record that says something failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of failure.
    pub category: Category,
    /// The tool that says it, as its users write it (`ruff`, `golangci-lint`); empty when the line does not tell.
    pub tool: String,
    /// The tool's own name of the rule, error or test.
    pub rule: Option<String>,
    /// File that the finding is about, as the tool wrote it.
    pub path: Option<String>,
    /// Line in `path`, from 1.
    pub line: Option<u32>,
    /// What the tool says, at most [`MESSAGE_BYTES`] long.
    pub message: String,
    /// How bad.
    pub severity: Severity,
    /// True when the tool says that it can repair this itself.
    pub safe_fix: bool,
    /// How conclusively this line says why the step failed, 0 to 100.
    pub weight: u8,
    /// Line in the file read, from 1.
    pub at: u32,
}

/// The longest message kept, in bytes: what the original kept, and enough to recognise it.
pub const MESSAGE_BYTES: usize = 500;

/// The most evidence references of one verdict.
pub const EVIDENCE: usize = 5;

/// What one file says about why its check failed. The JSON object that `sentinel-patchbot classify` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The file that was read, as it was named.
    pub file: String,
    /// What kind of failure.
    pub category: Category,
    /// Who could repair it.
    pub fixable: Fixable,
    /// The tool that found it.
    pub tool: Option<String>,
    /// The tool's name of the rule.
    pub rule: Option<String>,
    /// The file at fault.
    pub path: Option<String>,
    /// The line at fault.
    pub line: Option<u32>,
    /// What the tool says.
    pub message: String,
    /// Lines of the file read that say so, the deciding one first.
    pub evidence: Vec<u32>,
    /// How likely the category is right, 0 to 1.
    pub confidence: f64,
    /// Why this is no fix, a stable code; absent when a fixer may try.
    pub code: Option<&'static str>,
    /// Names the same failure on another run, in hexadecimal.
    pub fingerprint: String,
}

/// Cuts text to [`MESSAGE_BYTES`] at a character's border.
pub fn shorten(text: &str) -> String {
    let text = text.trim();
    if text.len() <= MESSAGE_BYTES {
        return text.to_owned();
    }
    let mut end = MESSAGE_BYTES;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
