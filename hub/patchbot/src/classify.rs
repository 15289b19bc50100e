//! From the bytes of one file to one [`Verdict`]: archive, report or log.
//!
//! Structured reports come first, because they name what they found; log text comes last. A short text that is no log (a line that
//! a sender put into a task) may name its tool; a log never may.
//!
//! Never reads a file or a clock: the caller gives the bytes.

use crate::logs::decide::{self, Decision};
use crate::logs::line::{self, Mark};
use crate::logs::name;
use crate::logs::phrases::SUMMARIES;
use crate::logs::scan::{Scan, scan};
use crate::verdict::{Category, Finding, Fixable, Verdict};
use crate::{archive, fingerprint, structured};

/// Longest command that is looked at.
const COMMAND_BYTES: usize = 1_000;
/// What act writes before the command of a step.
const ACT: &str = "\u{2b50} Run Main ";
/// A text of at most this many lines may be a summary instead of a log.
const SUMMARY_LINES: u32 = 3;

/// Says what `bytes`, called `file`, tell about the failure. `step` is the failed step's name or command, if known.
pub fn classify(file: &str, bytes: &[u8], step: Option<&str>) -> Verdict {
    if bytes.trim_ascii().is_empty() {
        return unknown(file, "the file is empty", Vec::new(), "no_log");
    }
    if archive::is_archive(bytes) {
        return from_archive(file, bytes, step);
    }
    if let Some(findings) = structured::read(bytes) {
        return from_report(file, bytes, findings);
    }
    from_log(file, bytes, step)
}

/// All findings of `bytes` that belong to the verdict: what fixers and gates work from.
pub fn findings(bytes: &[u8], step: Option<&str>) -> Vec<Finding> {
    if let Some(findings) = structured::read(bytes) {
        return findings;
    }
    decide::decide(&scan(bytes, step))
        .map(|decision| decision.same)
        .unwrap_or_default()
}

/// The command of the step that wrote line `at` of a log, where the log shows it: GitHub's and Gitea's `Run …`, act's `Run Main …`, or a
/// shell that prints what it runs.
pub fn command(log: &[u8], at: u32) -> Option<String> {
    let mut scratch = Vec::new();
    let mut found = None;
    for raw in log.split(|byte| *byte == b'\n').take(at as usize) {
        // A line of a program is no command, however long it is.
        let (text, mark) = line::unwrap(&raw[..raw.len().min(COMMAND_BYTES)], &mut scratch);
        let text = String::from_utf8_lossy(text);
        let named = match (mark, text.split_once(ACT)) {
            (Mark::Command, _) => Some(text.trim()),
            (_, Some((_, command))) => Some(command.trim()),
            _ => None,
        };
        if let Some(command) = named.filter(|command| !command.is_empty()) {
            found = Some(command.to_owned());
        }
    }
    found
}

fn from_archive(file: &str, bytes: &[u8], step: Option<&str>) -> Verdict {
    let parts = match archive::failed_parts(bytes) {
        Ok(parts) => parts,
        Err(cause) => return unknown(file, &cause.to_string(), Vec::new(), "no_log"),
    };
    let verdicts = parts.iter().map(|part| {
        let step = step.or(part.step.as_deref());
        from_log(&format!("{file}!{}", part.name), &part.text, step)
    });
    // The surest part explains the run; a cancelled sibling never does while another part says more.
    let best = verdicts.max_by(|one, other| one.confidence.total_cmp(&other.confidence));
    best.unwrap_or_else(|| unknown(file, "the archive holds no log of a failed step", Vec::new(), "no_log"))
}

fn from_report(file: &str, bytes: &[u8], findings: Vec<Finding>) -> Verdict {
    if findings.is_empty() {
        return unknown(
            file,
            "the report names nothing that failed",
            Vec::new(),
            "no_result_line",
        );
    }
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    let scan = Scan {
        findings,
        lines: 0,
        last: (0, text),
        failed_at: None,
        hint: None,
        truncated: false,
    };
    decide::decide(&scan).map_or_else(
        || {
            unknown(
                file,
                "the report names nothing that failed",
                Vec::new(),
                "no_result_line",
            )
        },
        |decision| verdict(file, decision),
    )
}

fn from_log(file: &str, bytes: &[u8], step: Option<&str>) -> Verdict {
    let scan = scan(bytes, step);
    let decision = decide::decide(&scan).filter(|decision| decision.primary.weight > 20);
    match decision {
        Some(decision) if decision.primary.category != Category::Unknown => verdict(file, decision),
        other => summary(file, bytes, &scan).unwrap_or_else(|| match other {
            Some(decision) => verdict(file, decision),
            None => unknown(file, &scan.last.1, vec![scan.last.0], "no_result_line"),
        }),
    }
}

fn verdict(file: &str, decision: Decision) -> Verdict {
    let Decision {
        primary,
        evidence,
        confidence,
        same,
    } = decision;
    let category = primary.category;
    let fixable = decide::fixable(&primary);
    let code = decide::code(category, confidence, &primary.message);
    let code = code.or_else(|| (fixable != Fixable::Auto).then_some("no_fixer"));
    let tool = Some(primary.tool.clone()).filter(|tool| !tool.is_empty());
    let fingerprint = fingerprint::of(category, &primary.tool, &same, &primary.message);
    Verdict {
        file: file.to_owned(),
        category,
        fixable,
        tool,
        rule: primary.rule,
        path: primary.path,
        line: primary.line,
        message: primary.message,
        evidence,
        confidence,
        code,
        fingerprint,
    }
}

fn unknown(file: &str, message: &str, evidence: Vec<u32>, code: &'static str) -> Verdict {
    Verdict {
        file: file.to_owned(),
        category: Category::Unknown,
        fixable: Fixable::Never,
        tool: None,
        rule: None,
        path: None,
        line: None,
        message: message.to_owned(),
        evidence: evidence.into_iter().filter(|line| *line > 0).collect(),
        confidence: 0.0,
        code: Some(code),
        fingerprint: fingerprint::of(Category::Unknown, "", &[], message),
    }
}

/// Judges a text of a line or two by the tool that it names.
fn summary(file: &str, bytes: &[u8], scan: &Scan) -> Option<Verdict> {
    if scan.lines > SUMMARY_LINES || bytes.len() > 1000 {
        return None;
    }
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let (_, category, tool) = SUMMARIES.iter().find(|(word, ..)| name::has_word(&text, word))?;
    let mut found = unknown(file, &scan.last.1, vec![scan.last.0], "ambiguous");
    found.category = *category;
    found.fixable = Fixable::Assist;
    found.tool = Some((*tool).to_owned()).filter(|tool| !tool.is_empty());
    found.confidence = 0.4;
    found.fingerprint = fingerprint::of(*category, tool, &[], &scan.last.1);
    Some(found)
}
