//! Names a failure so that the same one is recognised on another run, branch or machine.
//!
//! The name covers category, tool, and the rules with their files (or the tests), never line numbers or times. Where neither is
//! known it covers the message with everything that changes from run to run taken out.

use crate::verdict::{Category, Finding};

/// The most (rule, path) pairs or tests that count.
const PARTS: usize = 20;

/// The fingerprint, 64 hexadecimal digits.
pub fn of(category: Category, tool: &str, findings: &[Finding], message: &str) -> String {
    let mut parts: Vec<String> = findings.iter().filter_map(part).collect();
    parts.sort_unstable();
    parts.dedup();
    parts.truncate(PARTS);
    if parts.is_empty() {
        parts.push(normalise(message));
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(category.word().as_bytes());
    hasher.update(b"\0");
    hasher.update(tool.as_bytes());
    for part in parts {
        hasher.update(b"\0");
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

fn part(finding: &Finding) -> Option<String> {
    let rule = finding.rule.as_deref().unwrap_or_default();
    match (&finding.path, finding.category) {
        (_, Category::Test) if !rule.is_empty() => Some(rule.to_owned()),
        (Some(path), _) => Some(format!("{rule} {}", repository_path(path))),
        (None, _) => None,
    }
}

/// The path inside the repository: workspaces of the known CI systems are taken off.
///
/// Sources: GitHub (`/home/runner/work/x/x/`, `/__w/x/x/`, `D:\a\x\x\`), GitLab (`/builds/group/project/`), act's copies.
pub fn repository_path(path: &str) -> String {
    let path = path.replace('\\', "/");
    let path = path.trim_start_matches("./");
    for (prefix, names) in [
        ("/home/runner/work/", 2),
        ("/__w/", 2),
        ("/Users/runner/work/", 2),
        ("D:/a/", 2),
        ("/builds/", 2),
        ("/github/workspace/", 0),
    ] {
        if let Some(rest) = path.strip_prefix(prefix) {
            let mut rest = rest;
            for _ in 0..names {
                rest = rest.split_once('/').map_or(rest, |(_, tail)| tail);
            }
            return rest.to_owned();
        }
    }
    path.to_owned()
}

/// Takes out what differs between two runs of one failure: numbers, hexadecimal, durations, temporary names.
pub fn normalise(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut word = String::new();
    for letter in text.chars().chain([' ']) {
        if letter.is_alphanumeric() || letter == '_' {
            word.push(letter);
            continue;
        }
        out.push_str(masked(&word));
        word.clear();
        out.push(letter);
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn masked(word: &str) -> &str {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let hex = word.trim_start_matches("0x");
    if word.starts_with("0x") && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return "HEX";
    }
    if word.len() >= 6 && digits > 0 && word.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return "HEX";
    }
    if digits > 0 && digits * 2 >= word.len() {
        return "N";
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_from_run_to_run_is_masked_and_addresses_before_digits() {
        assert_eq!(normalise("Error: at 0xdeadbeef after 12.5s"), "Error: at HEX after N.N");
        assert_eq!(normalise("commit b31482580e65 on port 8080"), "commit HEX on port N");
        assert_eq!(normalise("plain words"), "plain words");
    }

    #[test]
    fn a_workspace_is_no_part_of_a_path() {
        for path in [
            "src/a.py",
            "./src/a.py",
            "/home/runner/work/x/x/src/a.py",
            "/builds/g/p/src/a.py",
            "D:\\a\\x\\x\\src\\a.py",
        ] {
            assert_eq!(repository_path(path), "src/a.py");
        }
    }
}
