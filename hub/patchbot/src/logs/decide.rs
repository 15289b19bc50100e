//! Picks the finding that explains why the step failed, or abstains.
//!
//! The heaviest finding wins; among equals the later one; among those the category that explains the others. A step's name is a
//! prior of 0.15 on the confidence, never a decision. What happened after the failing step counts less, because clean-up steps
//! complain about what the failure left behind.
//!
//! Invariant: a verdict with category `unknown` never has a confidence above 0.5, and one without any finding has none.

use super::scan::Scan;
use crate::verdict::{Category, Finding, Fixable};

/// Below this a verdict is not worth acting on and carries the code `ambiguous`.
pub const SURE_ENOUGH: f64 = 0.55;
/// Checkers that a build runs as a gate, with rules that are a dependency of the build: a new version of them turns a tree red that nobody
/// touched. Their log names the place and not the cause, so whether the code or the update is at fault stays a likely guess.
const GATES: [&str; 3] = ["checkstyle", "pmd", "spotbugs"];
/// The most that is believed of what a gate says: likely, and below what counts as sure.
const GATE_AT_MOST: f64 = 0.75;

/// The winner among the findings.
#[derive(Debug, Clone)]
pub struct Decision {
    /// What is shown: the first error of the winning tool, or the winning line itself.
    pub primary: Finding,
    /// Lines of the log, the deciding one first.
    pub evidence: Vec<u32>,
    /// How likely the category is right.
    pub confidence: f64,
    /// All findings of the same tool and category, for fingerprints and fixers.
    pub same: Vec<Finding>,
}

/// Decides. `None` when nothing in the log says that anything failed.
pub fn decide(scan: &Scan) -> Option<Decision> {
    let weight = |finding: &Finding| effective_weight(finding, scan);
    let winner = scan.findings.iter().max_by(|one, other| {
        weight(one)
            .cmp(&weight(other))
            .then(one.at.cmp(&other.at))
            .then(other.category.cmp(&one.category))
    })?;
    let top = weight(winner);
    let same: Vec<Finding> = scan
        .findings
        .iter()
        .filter(|finding| finding.category == winner.category && explains(winner, finding))
        .cloned()
        .collect();
    let primary = primary(winner, &same);
    let rivals = scan
        .findings
        .iter()
        .filter(|finding| finding.category != winner.category && weight(finding) + 4 >= top)
        .count();
    let confidence = confidence(winner, top, same.len(), rivals, scan.hint);
    let evidence = evidence(winner, &primary, &same);
    Some(Decision {
        primary,
        evidence,
        confidence,
        same,
    })
}

fn effective_weight(finding: &Finding, scan: &Scan) -> u8 {
    match scan.failed_at {
        Some(end) if finding.at > end && finding.weight < 92 => finding.weight.saturating_sub(30),
        _ => finding.weight,
    }
}

/// True when `finding` belongs to the same complaint as `winner`: the same tool, or the details of a build tool's last word.
fn explains(winner: &Finding, finding: &Finding) -> bool {
    winner.tool == finding.tool || finding.path.is_some()
}

/// What to show: of complaints with a place the first of the worst; of result lines the winner.
fn primary(winner: &Finding, same: &[Finding]) -> Finding {
    if matches!(
        winner.category,
        Category::Test | Category::Infra | Category::Timeout | Category::Resource | Category::Unknown
    ) {
        return winner.clone();
    }
    let placed = || same.iter().filter(|finding| finding.path.is_some());
    let own = |finding: &&Finding| finding.tool == winner.tool;
    let from_winner = placed().any(|finding| own(&finding));
    let candidates = || placed().filter(move |finding| !from_winner || own(finding));
    let worst = candidates().map(|finding| finding.severity).max();
    let first = candidates()
        .find(|finding| Some(finding.severity) == worst)
        .unwrap_or(winner);
    let mut shown = first.clone();
    if shown.tool.is_empty() {
        shown.tool.clone_from(&winner.tool);
    }
    shown
}

fn confidence(
    winner: &Finding,
    weight: u8,
    agreeing: usize,
    rivals: usize,
    hint: Option<(&'static str, Category)>,
) -> f64 {
    let base: f64 = match weight {
        92.. => 0.97,
        84..=91 => 0.93,
        76..=83 => 0.88,
        70..=75 => 0.84,
        60..=69 => 0.75,
        50..=59 => 0.6,
        40..=49 => 0.45,
        30..=39 => 0.3,
        _ => 0.2,
    };
    let agreement = if agreeing > 2 { 0.02 } else { 0.0 };
    let conflict = if rivals > 0 && weight < 92 { 0.15 } else { 0.0 };
    let prior = match hint {
        Some((_, category)) if category == winner.category => 0.15 * (1.0 - base),
        Some((_, category)) if weight < 84 && category != winner.category => -0.1,
        _ => 0.0,
    };
    let sure = (base + agreement - conflict + prior).clamp(0.0, 0.99);
    let sure = match winner.category {
        Category::Unknown => sure.min(0.3),
        _ if GATES.contains(&winner.tool.as_str()) => sure.min(GATE_AT_MOST),
        _ => sure,
    };
    (sure * 100.0).round() / 100.0
}

fn evidence(winner: &Finding, primary: &Finding, same: &[Finding]) -> Vec<u32> {
    let mut lines = match winner.category {
        Category::Test | Category::Unknown => vec![winner.at, primary.at],
        _ if primary.line.is_some() => vec![primary.at, winner.at],
        _ => vec![winner.at, primary.at],
    };
    for finding in same {
        if lines.len() > crate::verdict::EVIDENCE * 2 {
            break;
        }
        lines.push(finding.at);
    }
    let mut seen = Vec::new();
    lines.retain(|line| {
        let new = !seen.contains(line);
        seen.push(*line);
        new
    });
    lines.truncate(crate::verdict::EVIDENCE);
    lines
}

/// Who could repair what `finding` names.
pub fn fixable(finding: &Finding) -> Fixable {
    match finding.category {
        Category::Format | Category::Lockfile | Category::Generated => Fixable::Auto,
        Category::Lint if finding.safe_fix || repairs_itself(finding) => Fixable::Auto,
        Category::Lint | Category::Type | Category::Build | Category::Test | Category::Dependency => Fixable::Assist,
        Category::Infra
        | Category::Timeout
        | Category::Resource
        | Category::Config
        | Category::Flaky
        | Category::Security
        | Category::BaseBroken
        | Category::Unknown => Fixable::Never,
    }
}

/// Rules that ruff and eslint repair safely by themselves even where the line does not say so. Sources: ruff's rule table (fix
/// "always available" and safe); eslint's built-in rules marked fixable.
fn repairs_itself(finding: &Finding) -> bool {
    let rule = finding.rule.as_deref().unwrap_or_default();
    match finding.tool.as_str() {
        "ruff" | "flake8" | "pep8" => {
            matches!(
                rule,
                "F401"
                    | "F541"
                    | "E703"
                    | "E711"
                    | "I001"
                    | "W291"
                    | "W293"
                    | "W292"
                    | "W391"
                    | "UP006"
                    | "UP007"
                    | "UP035"
            )
        }
        "eslint" => matches!(
            rule,
            "semi"
                | "quotes"
                | "indent"
                | "eol-last"
                | "no-trailing-spaces"
                | "comma-dangle"
                | "prefer-const"
                | "no-var"
                | "eqeqeq"
                | "curly"
                | "no-extra-semi"
                | "space-before-blocks"
                | "keyword-spacing"
                | "object-curly-spacing"
                | "arrow-parens"
                | "no-extra-boolean-cast"
                | "dot-notation"
                | "object-shorthand"
                | "prefer-template"
                | "no-useless-rename"
                | "no-else-return"
                | "no-unneeded-ternary"
                | "sort-imports"
                | "no-multiple-empty-lines"
        ),
        "standardjs" | "standardrb" | "prettier" | "gofmt" => true,
        _ => false,
    }
}

/// The code that says why this is no fix, if it is none.
pub fn code(category: Category, confidence: f64, message: &str) -> Option<&'static str> {
    match category {
        Category::Infra if message.contains("redentials") => Some("needs_secret"),
        Category::Infra | Category::Timeout | Category::Resource => Some("infra"),
        Category::Flaky => Some("flaky_suspected"),
        Category::BaseBroken => Some("base_broken"),
        Category::Unknown if confidence > 0.0 => Some("ambiguous"),
        Category::Unknown => Some("no_result_line"),
        _ if confidence < SURE_ENOUGH => Some("ambiguous"),
        Category::Test
        | Category::Type
        | Category::Build
        | Category::Config
        | Category::Security
        | Category::Dependency => Some("no_fixer"),
        Category::Lint | Category::Format | Category::Lockfile | Category::Generated => None,
    }
}
