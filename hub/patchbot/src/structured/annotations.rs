//! GitHub's workflow commands: `::error file=a.py,line=1,title=Ruff (F401)::message`.
//!
//! Source: GitHub's documentation of workflow commands; `%25`, `%0A`, `%0D`, `%3A` and `%2C` are its escapes.

use crate::logs::name;
use crate::verdict::{Category, Finding, Severity, shorten};

/// Reads one such line.
pub fn command(line: &[u8], at: u32) -> Option<Finding> {
    let text = std::str::from_utf8(line).ok()?;
    let (severity, rest) = [
        ("::error", Severity::Error),
        ("::warning", Severity::Warning),
        ("::notice", Severity::Note),
    ]
    .into_iter()
    .find_map(|(word, severity)| text.strip_prefix(word).map(|rest| (severity, rest)))?;
    let (properties, message) = match rest.strip_prefix("::") {
        Some(message) => ("", message),
        None => rest.strip_prefix(' ')?.split_once("::")?,
    };
    let property = |name: &str| {
        properties
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| key.trim() == name)
            .map(|(_, value)| unescape(value))
    };
    let title = property("title");
    let (tool, rule) = title.as_deref().map_or((None, None), titled);
    let category = tool
        .as_deref()
        .and_then(name::hint)
        .map_or(Category::Lint, |(_, category)| category);
    let path = property("file");
    // An error without a place is only somebody's word for it.
    let (category, weight) = match (&path, severity) {
        (None, _) => (Category::Unknown, 30),
        (Some(_), Severity::Error) => (category, 93),
        (Some(_), _) => (category, 66),
    };
    Some(Finding {
        category,
        tool: tool.unwrap_or_default(),
        rule,
        path,
        line: property("line").and_then(|digits| digits.parse().ok()),
        message: shorten(&unescape(message)),
        severity,
        safe_fix: false,
        weight,
        at,
    })
}

/// `Ruff (F401)` names a tool and a rule; other titles name a tool at best.
pub fn titled(title: &str) -> (Option<String>, Option<String>) {
    let (name, rule) = match title.split_once(" (") {
        Some((name, rest)) => (name, rest.strip_suffix(')').map(str::to_owned)),
        None => (title, None),
    };
    match name::hint(name) {
        Some((tool, _)) => (Some(tool.to_owned()), rule),
        None => (None, rule),
    }
}

fn unescape(text: &str) -> String {
    text.replace("%0A", "\n")
        .replace("%0D", "\r")
        .replace("%3A", ":")
        .replace("%2C", ",")
        .replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ruff_s_own_annotation_names_tool_rule_file_and_line() {
        let line = b"::error title=ruff (F401),file=src/a.py,line=3,col=8,endLine=3,endColumn=10::src/a.py:3:8: F401 `os` imported but unused";
        let found = command(line, 9).expect("a command");
        assert_eq!((found.tool.as_str(), found.rule.as_deref()), ("ruff", Some("F401")));
        assert_eq!(
            (found.path.as_deref(), found.line, found.at),
            (Some("src/a.py"), Some(3), 9)
        );
    }

    #[test]
    fn an_error_without_a_place_decides_nothing() {
        let found = command(b"::error::it broke", 1).expect("a command");
        assert_eq!((found.category, found.weight), (Category::Unknown, 30));
        assert_eq!(command(b":: nothing", 1), None);
    }
}
