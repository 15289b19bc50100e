//! Complaints that take more than one line: a heading with rows under it, a message with a place under it, a traceback.
//!
//! The state is what the last few lines announced. Each line may complete one complaint, never more than one.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use regex::bytes::{Captures, Regex};

use crate::verdict::{Category, Finding, Severity, shorten};

/// How many lines later a place may still complete an announced message.
const REACH: u32 = 12;

/// What earlier lines announced.
#[derive(Default)]
pub struct Blocks {
    heading: Option<(String, u32)>,
    announced: Option<Announced>,
    frame: Option<(String, u32, u32)>,
}

struct Announced {
    at: u32,
    tool: &'static str,
    category: Category,
    rule: Option<String>,
    message: String,
    severity: Severity,
    safe_fix: bool,
    place: Option<(String, u32)>,
}

macro_rules! pattern {
    ($name:ident, $text:expr) => {
        static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new($text).expect("a literal that the tests compile"));
    };
}

pattern!(
    ROW,
    r"^\s*(?P<l>\d+):(?P<c>\d+)(?:-\d+:\d+)?\s+(?P<s>error|warning|info|✖|⚠|×|ℹ)\s+(?P<m>.+?)\s*$"
);
pattern!(RUSTC, r"^(?P<s>error|warning)(?:\[(?P<r>[A-Z]\d+)\])?: (?P<m>.+)$");
pattern!(
    RUFF,
    r"^(?P<r>[A-Z]{1,4}\d{2,5}|invalid-syntax):?(?P<f> \[[*\-]\])? (?P<m>.+)$"
);
pattern!(
    ARROW,
    r"^\s*(?:-->|╭▸|╭─\[|::: ) ?(?P<p>[^\s:]+(?:\.\w+)?):(?P<l>\d+):(?P<c>\d+)"
);
pattern!(
    CLIPPY,
    r"clippy::(?P<r>[\w\-]+)|rust-clippy/[\w.\-]+/index\.html#(?P<i>\w+)"
);
pattern!(DENIED, r"implied by `-D warnings`|`-D (?P<r>[\w\-]+)`");
pattern!(
    PYDOC,
    r"^(?P<p>\S+\.py):(?P<l>\d+) (?:at module level|in (?:public|private) .+):$"
);
pattern!(PYDOC_CODE, r"^\s+(?P<r>D\d{3}): (?P<m>.+)$");
pattern!(BANDIT, r"^>> Issue: \[(?P<r>B\d+)(?::\w+)?\] (?P<m>.+)$");
pattern!(LOCATION, r"^\s*Location: (?P<p>[^\s:]+):(?P<l>\d+)");
pattern!(SHELL, r"^In (?P<p>\S+) line (?P<l>\d+):$");
pattern!(SHELL_CODE, r"\^-*-? (?P<r>SC\d{4})(?: \((?P<s>\w+)\))?: (?P<m>.+)$");
pattern!(PHPCS, r"^FILE: (?P<p>\S+)$");
pattern!(PHPCS_ROW, r"^\s*(?P<l>\d+) \| (?P<s>ERROR|WARNING)\s+\| (?P<m>.+)$");
pattern!(PHPSTAN, r"^\s+Line\s{2,}(?P<p>\S+\.php)\s*$");
pattern!(PHPSTAN_ROW, r"^\s{2,}(?P<l>\d+)\s{2,}(?P<m>\S.+)$");
pattern!(PYLINT_OLD, r"^\*{5,} Module (?P<p>\S+)$");
pattern!(FRAME, r#"^\s+File "(?P<p>[^"]+)", line (?P<l>\d+)"#);

fn text(captures: &Captures<'_>, name: &str) -> Option<String> {
    captures
        .name(name)
        .map(|found| String::from_utf8_lossy(found.as_bytes()).into_owned())
}

fn number(captures: &Captures<'_>, name: &str) -> Option<u32> {
    text(captures, name).and_then(|digits| digits.parse().ok())
}

static CLIPPY_WORD: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("clippy"));
static DENIED_WORD: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("`-D "));

/// `F401 …`: at most four capitals and then a digit, as ruff begins a complaint.
fn starts_with_code(line: &[u8]) -> bool {
    let capitals = line.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    (1..=4).contains(&capitals) && line.get(capitals).is_some_and(u8::is_ascii_digit)
}

impl Blocks {
    /// Looks at line `at`. `last` is the finding before it, which a note may refine.
    pub fn line(&mut self, line: &[u8], at: u32, last: Option<&mut Finding>) -> Option<Finding> {
        if self
            .announced
            .as_ref()
            .is_some_and(|announced| at > announced.at + REACH)
        {
            self.announced = None;
        }
        let first = *line.first()?;
        match first {
            b' ' | b'\t' | 0xe2 | b'|' => self.indented(line, at, last),
            b'^' => self.shellcheck(line, at),
            b'0'..=b'9' => self.row(line, at),
            _ => self.flush(line, at),
        }
    }

    /// File and line of the innermost frame of the traceback just read.
    pub fn take_frame(&mut self, at: u32) -> Option<(String, u32)> {
        let (path, line, seen) = self.frame.take()?;
        (at <= seen + 6).then_some((path, line))
    }

    fn flush(&mut self, line: &[u8], at: u32) -> Option<Finding> {
        match line.first() {
            Some(b'e' | b'w') => self.announce_rustc(line, at),
            Some(b'>') => self.announce_bandit(line, at),
            Some(b'I') => self.announce_shell(line, at),
            Some(b'i') if line.starts_with(b"invalid-syntax") => self.announce_ruff(line, at),
            Some(b'u') if line.starts_with(b"unformatted: ") => self.announce_unformatted(line, at),
            Some(b'F') if line.starts_with(b"FILE: ") => {
                let captures = PHPCS.captures(line)?;
                self.heading = Some((text(&captures, "p")?, at));
            }
            Some(b'*') => {
                if let Some(captures) = PYLINT_OLD.captures(line) {
                    self.heading = text(&captures, "p").map(|path| (path, at));
                }
            }
            _ => {}
        }
        if starts_with_code(line) {
            self.announce_ruff(line, at);
        }
        if line.ends_with(b":")
            && let Some(captures) = PYDOC.captures(line)
        {
            self.announced = Some(Announced {
                at,
                tool: "pydocstyle",
                category: Category::Lint,
                rule: None,
                message: String::new(),
                severity: Severity::Error,
                safe_fix: false,
                place: text(&captures, "p").zip(number(&captures, "l")),
            });
            return None;
        }
        if is_path(line) {
            self.heading = Some((String::from_utf8_lossy(line).into_owned(), at));
        }
        None
    }

    fn announce_rustc(&mut self, line: &[u8], at: u32) {
        if !line.starts_with(b"error") && !line.starts_with(b"warning") {
            return;
        }
        let Some(captures) = RUSTC.captures(line) else { return };
        let severity = if captures.name("s").is_some_and(|found| found.as_bytes() == b"error") {
            Severity::Error
        } else {
            Severity::Warning
        };
        let Some(message) = text(&captures, "m") else { return };
        let typo = severity == Severity::Error && message.starts_with('`') && message.contains("` should be `");
        let (tool, category) = if typo {
            ("typos", Category::Lint)
        } else {
            ("rustc", Category::Build)
        };
        let rule = text(&captures, "r");
        self.announced = Some(Announced {
            at,
            tool,
            category,
            rule,
            message,
            severity,
            safe_fix: false,
            place: None,
        });
    }

    fn announce_ruff(&mut self, line: &[u8], at: u32) {
        if let Some(captures) = RUFF.captures(line)
            && let Some(message) = text(&captures, "m")
        {
            self.announced = Some(Announced {
                at,
                tool: "ruff",
                category: Category::Lint,
                rule: text(&captures, "r"),
                message,
                severity: Severity::Error,
                safe_fix: captures.name("f").is_some_and(|found| found.as_bytes() == b" [*]"),
                place: None,
            });
        }
    }

    /// ruff's formatter since 0.17 names the file on the next line, as its linter does.
    fn announce_unformatted(&mut self, line: &[u8], at: u32) {
        self.announced = Some(Announced {
            at,
            tool: "ruff-format",
            category: Category::Format,
            rule: Some("unformatted".to_owned()),
            message: String::from_utf8_lossy(line).into_owned(),
            severity: Severity::Error,
            safe_fix: true,
            place: None,
        });
    }

    fn announce_bandit(&mut self, line: &[u8], at: u32) {
        if let Some(captures) = BANDIT.captures(line)
            && let Some(message) = text(&captures, "m")
        {
            let rule = text(&captures, "r");
            self.announced = Some(Announced {
                at,
                tool: "bandit",
                category: Category::Lint,
                rule,
                message,
                severity: Severity::Error,
                safe_fix: false,
                place: None,
            });
        }
    }

    fn announce_shell(&mut self, line: &[u8], at: u32) {
        if let Some(captures) = SHELL.captures(line) {
            self.announced = Some(Announced {
                at,
                tool: "shellcheck",
                category: Category::Lint,
                rule: None,
                message: String::new(),
                severity: Severity::Error,
                safe_fix: false,
                place: text(&captures, "p").zip(number(&captures, "l")),
            });
        }
    }

    fn indented(&mut self, line: &[u8], at: u32, last: Option<&mut Finding>) -> Option<Finding> {
        if let Some(found) = self.place(line, at) {
            return Some(found);
        }
        let trimmed = line.trim_ascii_start();
        if last.is_some() && (CLIPPY_WORD.find(line).is_some() || DENIED_WORD.find(line).is_some()) {
            refine(line, at, last);
            return None;
        }
        if trimmed.starts_with(b"File \"")
            && let Some(captures) = FRAME.captures(line)
        {
            self.frame = text(&captures, "p")
                .zip(number(&captures, "l"))
                .map(|(path, line)| (path, line, at));
            return None;
        }
        if trimmed.starts_with(b"Line ")
            && let Some(captures) = PHPSTAN.captures(line)
        {
            self.heading = text(&captures, "p").map(|path| (path, at));
            return None;
        }
        self.row(line, at)
            .or_else(|| self.shellcheck(line, at))
            .or_else(|| self.table(line, at))
    }

    /// `--> path:1:2` and its kin, which complete an announced message.
    fn place(&mut self, line: &[u8], at: u32) -> Option<Finding> {
        let announced = self.announced.as_ref()?;
        if announced.tool == "pydocstyle" {
            let captures = PYDOC_CODE.captures(line)?;
            let (path, number) = announced.place.clone()?;
            return Some(finding(
                "pydocstyle",
                Category::Lint,
                text(&captures, "r"),
                Some(path),
                Some(number),
                text(&captures, "m").unwrap_or_default(),
                Severity::Error,
                announced.at.max(at),
            ));
        }
        let captures = match announced.tool {
            "bandit" => LOCATION.captures(line)?,
            _ => ARROW.captures(line)?,
        };
        let announced = self.announced.take()?;
        let mut found = finding(
            announced.tool,
            announced.category,
            announced.rule,
            text(&captures, "p"),
            number(&captures, "l"),
            announced.message,
            announced.severity,
            announced.at,
        );
        found.safe_fix = announced.safe_fix;
        if found.tool == "rustc" && found.severity == Severity::Warning {
            found.weight = 40;
        }
        Some(found)
    }

    /// `  2:10  error  text  rule` under a heading that is a path.
    fn row(&mut self, line: &[u8], at: u32) -> Option<Finding> {
        let (path, _) = self.heading.as_ref()?;
        let captures = ROW.captures(line)?;
        let sign = text(&captures, "s")?;
        let mut message = text(&captures, "m")?;
        let mut rule = None;
        let tool = if !sign.is_ascii() {
            "stylelint"
        } else if message.ends_with(')') {
            "yamllint"
        } else if message.ends_with("remark-lint") || message.contains(" retext-") {
            message.truncate(message.trim_end().rfind(' ').unwrap_or(message.len()));
            "remark-lint"
        } else {
            "eslint"
        };
        let cut = if tool == "remark-lint" {
            message.trim_end().rfind(' ')
        } else {
            message.trim_end().rfind("  ")
        };
        if let Some(cut) = cut {
            let name = message[cut..].trim().trim_matches(['(', ')']).to_owned();
            if !name.is_empty() && !name.contains(' ') {
                message.truncate(cut);
                rule = Some(name);
            }
        }
        let severity = if matches!(sign.as_str(), "error" | "✖" | "×") {
            Severity::Error
        } else {
            Severity::Warning
        };
        let path = path.clone();
        Some(finding(
            tool,
            Category::Lint,
            rule,
            Some(path),
            number(&captures, "l"),
            message,
            severity,
            at,
        ))
    }

    fn shellcheck(&mut self, line: &[u8], at: u32) -> Option<Finding> {
        let announced = self
            .announced
            .as_ref()
            .filter(|announced| announced.tool == "shellcheck")?;
        let captures = SHELL_CODE.captures(line)?;
        let (path, number) = announced.place.clone()?;
        let message = text(&captures, "m").unwrap_or_default();
        let rule = text(&captures, "r");
        Some(finding(
            "shellcheck",
            Category::Lint,
            rule,
            Some(path),
            Some(number),
            message,
            Severity::Error,
            at,
        ))
    }

    /// Tables of phpcs and phpstan.
    fn table(&mut self, line: &[u8], at: u32) -> Option<Finding> {
        let (path, _) = self.heading.as_ref().filter(|(path, _)| path.ends_with(".php"))?;
        let (tool, captures) = match PHPCS_ROW.captures(line) {
            Some(captures) => ("phpcs", captures),
            None => ("phpstan", PHPSTAN_ROW.captures(line)?),
        };
        let severity = match captures.name("s") {
            Some(word) if word.as_bytes() == b"WARNING" => Severity::Warning,
            _ => Severity::Error,
        };
        let message = text(&captures, "m")?;
        Some(finding(
            tool,
            Category::Lint,
            None,
            Some(path.clone()),
            number(&captures, "l"),
            message,
            severity,
            at,
        ))
    }
}

/// `= note: #[warn(clippy::needless_return)]` under a rustc message names lint and tool.
fn refine(line: &[u8], at: u32, last: Option<&mut Finding>) {
    let Some(last) = last.filter(|last| last.tool == "rustc" && at <= last.at + 3 * REACH) else {
        return;
    };
    if let Some(captures) = CLIPPY.captures(line) {
        last.tool = "clippy".to_owned();
        last.category = Category::Lint;
        last.rule = text(&captures, "r").or_else(|| text(&captures, "i"));
        last.weight = last.weight.max(if last.severity == Severity::Error { 87 } else { 62 });
    } else if let Some(captures) = DENIED.captures(line)
        && last.severity == Severity::Error
    {
        last.category = Category::Lint;
        last.weight = last.weight.max(87);
        last.rule = text(&captures, "r").or(last.rule.take());
    }
}

#[allow(clippy::too_many_arguments, reason = "the fields of one finding, in their order")]
fn finding(
    tool: &str,
    category: Category,
    rule: Option<String>,
    path: Option<String>,
    line: Option<u32>,
    message: String,
    severity: Severity,
    at: u32,
) -> Finding {
    let weight = if severity == Severity::Error { 76 } else { 64 };
    let message = shorten(&message);
    Finding {
        category,
        tool: tool.to_owned(),
        rule,
        path,
        line,
        message,
        severity,
        safe_fix: false,
        weight,
        at,
    }
}

/// True when the line is one path and nothing else: `src/a.js`, `/b/c.yml`, `C:\d.css`.
pub fn is_path(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    if line.len() < 3 || line.len() > 400 || line.contains(&b' ') || line.contains(&b'\t') {
        return false;
    }
    let name = line
        .rsplit(|byte| matches!(byte, b'/' | b'\\'))
        .next()
        .unwrap_or_default();
    let Some(dot) = name.iter().rposition(|byte| *byte == b'.') else {
        return false;
    };
    let extension = &name[dot + 1..];
    (1..=12).contains(&extension.len())
        && extension.iter().all(u8::is_ascii_alphanumeric)
        && extension.iter().any(u8::is_ascii_alphabetic)
        && !line.contains(&b'=')
        && memchr::memmem::find(line, b"://").is_none()
}
