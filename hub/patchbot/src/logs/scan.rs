//! One pass over a log: every line that says something failed becomes a finding.
//!
//! Cheap tests come first: a literal search for the anchors of result lines, and a look for `:9`, `(9` or `[9` before any grammar is
//! tried. Memory is bounded: past [`FINDINGS`] only heavier findings are kept.

use std::sync::{LazyLock, OnceLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use regex::bytes::{Captures, Regex, RegexSet, RegexSetBuilder};

use super::blocks::{Blocks, is_path};
use super::grammars::{GRAMMARS, Grammar, PATH};
use super::line::{self, Mark};
use super::name;
use super::phrases::PHRASES;
use crate::structured::annotations;
use crate::verdict::{Category, Finding, Severity, shorten};

/// The most findings kept of one log. A linter's first thousand complaints name its rule and files; more would only cost memory.
pub const FINDINGS: usize = 4096;

/// The longest line looked at, in bytes; the rest of a longer one (minified code, base64) is skipped.
const LINE_BYTES: usize = 4096;

/// Literals of lines that name a place without a digit after a sign.
const PLACE_WORDS: &[&str] = &[" line ", "file=", ".scala: ", ".rb ", ": T", ": B"];

/// What one pass found.
pub struct Scan {
    /// In the order of the log.
    pub findings: Vec<Finding>,
    /// How many lines there were.
    pub lines: u32,
    /// The last line with text in it, and its number.
    pub last: (u32, String),
    /// Line at which the CI system said that the step had failed with an exit code.
    pub failed_at: Option<u32>,
    /// The tool that the last command names.
    pub hint: Option<(&'static str, Category)>,
    /// True when the log ends inside a line or was cut by its producer.
    pub truncated: bool,
}

struct Rules {
    anchors: AhoCorasick,
    /// Places in `PHRASES` of each anchor's phrases.
    phrases: Vec<Vec<usize>>,
    /// Anchors from here on are `PLACE_WORDS`.
    first_place_word: usize,
    set: RegexSet,
}

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let mut anchors: Vec<&'static str> = Vec::new();
    let mut phrases: Vec<Vec<usize>> = Vec::new();
    for (place, phrase) in PHRASES.iter().enumerate() {
        match anchors.iter().position(|anchor| *anchor == phrase.anchor) {
            Some(at) => phrases[at].push(place),
            None => {
                anchors.push(phrase.anchor);
                phrases.push(vec![place]);
            }
        }
    }
    let first_place_word = anchors.len();
    for word in PLACE_WORDS {
        anchors.push(word);
        phrases.push(Vec::new());
    }
    let anchors = AhoCorasick::builder()
        .match_kind(MatchKind::Standard)
        .kind(Some(AhoCorasickKind::DFA))
        .build(&anchors)
        .expect("a few hundred short literals");
    let set = RegexSetBuilder::new(GRAMMARS.iter().map(anchored))
        .unicode(false)
        .size_limit(64 << 20)
        .dfa_size_limit(64 << 20)
        .build()
        .expect("literals that the tests compile");
    Rules {
        anchors,
        phrases,
        first_place_word,
        set,
    }
});

fn anchored(grammar: &Grammar) -> String {
    format!("^{}", grammar.pattern.replace("{path}", PATH))
}

/// Each grammar's own pattern, compiled when its first line is seen.
fn grammar(at: usize) -> &'static Regex {
    static CELLS: LazyLock<Vec<OnceLock<Regex>>> = LazyLock::new(|| GRAMMARS.iter().map(|_| OnceLock::new()).collect());
    CELLS[at].get_or_init(|| {
        let pattern = anchored(&GRAMMARS[at]);
        regex::bytes::RegexBuilder::new(&pattern)
            .unicode(false)
            .build()
            .expect("a literal that the tests compile")
    })
}

/// The pattern of the phrase at `place`, compiled when its anchor is first seen.
fn pattern(place: usize) -> Option<&'static Regex> {
    static CELLS: LazyLock<Vec<OnceLock<Regex>>> = LazyLock::new(|| PHRASES.iter().map(|_| OnceLock::new()).collect());
    let text = PHRASES[place].pattern?;
    Some(CELLS[place].get_or_init(|| Regex::new(text).expect("a literal that the tests compile")))
}

/// Reads a whole log. `step` is the name of the failed step or its command, if known; it settles which of several tools that write
/// alike is meant, and never what failed.
pub fn scan(log: &[u8], step: Option<&str>) -> Scan {
    let mut state = State {
        findings: Vec::new(),
        blocks: Blocks::default(),
        hint: step.and_then(name::hint),
        failed_at: None,
        last: (0, String::new()),
        truncated: false,
        floor: 0,
    };
    let mut scratch = Vec::new();
    let mut at = 0u32;
    let mut start = 0;
    let mut last_text = (0u32, 0usize, 0usize);
    let ends = memchr::memchr_iter(b'\n', log).chain((log.last() != Some(&b'\n')).then_some(log.len()));
    for end in ends {
        at += 1;
        let raw = &log[start..end];
        let cut = &raw[..raw.len().min(LINE_BYTES)];
        let (text, mark) = line::unwrap(cut, &mut scratch);
        if !text.trim_ascii().is_empty() {
            last_text = (at, start, start + cut.len());
            state.line(text, mark, at);
        }
        start = end + 1;
    }
    let (text, _) = line::unwrap(&log[last_text.1..last_text.2], &mut scratch);
    state.last = (last_text.0, shorten(&String::from_utf8_lossy(text)));
    name::settle_all(&mut state.findings, |word| {
        memchr::memmem::find(log, word.as_bytes()).is_some()
    });
    Scan {
        findings: state.findings,
        lines: at,
        last: state.last,
        failed_at: state.failed_at,
        hint: state.hint,
        truncated: state.truncated,
    }
}

struct State {
    findings: Vec<Finding>,
    blocks: Blocks,
    hint: Option<(&'static str, Category)>,
    failed_at: Option<u32>,
    last: (u32, String),
    truncated: bool,
    /// Findings lighter than this are dropped.
    floor: u8,
}

impl State {
    fn line(&mut self, text: &[u8], mark: Mark, at: u32) {
        match mark {
            Mark::Quiet => return,
            Mark::Command => {
                if let Some(hint) = std::str::from_utf8(text).ok().and_then(name::hint) {
                    self.hint = Some(hint);
                }
                return;
            }
            Mark::Error if text.starts_with(b"Process completed with exit code") => {
                self.failed_at = Some(at);
                if !text.starts_with(b"Process completed with exit code 1") {
                    self.phrases(text, mark, at);
                }
                return;
            }
            Mark::Plain | Mark::Error | Mark::Warning => {}
        }
        if text.starts_with(b"::") {
            if let Some(finding) = annotations::command(text, at) {
                self.keep(finding);
            }
            return;
        }
        let (mut found, mut located) = self.phrases(text, mark, at);
        if let Some(finding) = self.blocks.line(text, at, self.findings.last_mut()) {
            self.keep(finding);
            found = true;
        }
        located |= has_location(text);
        if !found && located {
            found = self.grammars(text, at);
        }
        if !found && self.hint.is_some_and(|(tool, _)| tool == "gofmt") && is_path(text) && text.ends_with(b".go") {
            self.keep(listed_by_gofmt(text, at));
            found = true;
        }
        if !found && mark == Mark::Error {
            self.keep(marked_error(text, at));
        }
    }

    /// Result lines. The heaviest of the phrases that fit becomes a finding. The answer: whether one did, and whether the line may
    /// name a place in words.
    fn phrases(&mut self, text: &[u8], mark: Mark, at: u32) -> (bool, bool) {
        // Nearly all lines hold no anchor, and to learn that takes a third of the time that naming every anchor does.
        if !RULES.anchors.is_match(text) {
            return (false, false);
        }
        let mut best: Option<Finding> = None;
        let mut located = false;
        for hit in RULES.anchors.find_overlapping_iter(text) {
            let anchor = hit.pattern().as_usize();
            located |= anchor >= RULES.first_place_word;
            for place in &RULES.phrases[anchor] {
                if best.as_ref().is_some_and(|best| best.weight >= PHRASES[*place].weight) {
                    continue;
                }
                if let Some(finding) = by_phrase(*place, text, at) {
                    best = Some(finding);
                }
            }
        }
        let Some(mut finding) = best else {
            return (false, located);
        };
        if finding.path.is_none()
            && finding.tool == "python"
            && let Some((path, line)) = self.blocks.take_frame(at)
        {
            finding.path = Some(path);
            finding.line = Some(line);
        }
        // What the CI system itself calls an error outweighs the same words elsewhere.
        finding.weight += u8::from(mark == Mark::Error);
        // An exception of no known kind may still be how a tool names a file and a line.
        let conclusive = finding.category != Category::Unknown;
        self.keep(finding);
        (conclusive, located)
    }

    /// `path:line: text` in all its forms: the first grammar that fits.
    fn grammars(&mut self, text: &[u8], at: u32) -> bool {
        let trimmed = text.trim_ascii_start();
        for index in &RULES.set.matches(trimmed) {
            let Some(captures) = grammar(index).captures(trimmed) else {
                continue;
            };
            let Some(finding) = self.by_grammar(&GRAMMARS[index], &captures, at) else {
                continue;
            };
            self.keep(finding);
            return true;
        }
        false
    }

    fn by_grammar(&self, grammar: &Grammar, captures: &Captures<'_>, at: u32) -> Option<Finding> {
        let path = text(captures, "p")
            .map(|path| path.trim().to_owned())
            .filter(|path| !path.is_empty());
        if grammar.category != Category::Lint && path.as_deref().is_some_and(is_download) {
            return None;
        }
        if path
            .as_deref()
            .is_some_and(|path| path.contains("://") || path.starts_with("//"))
        {
            return None;
        }
        let severity = severity(text(captures, "s").as_deref());
        let weight = match (grammar.category, severity) {
            (_, Severity::Note) => 20,
            (Category::Lint, Severity::Warning) => 64,
            (_, Severity::Warning) => 52,
            (Category::Lint, Severity::Error) => 74,
            _ => 76,
        };
        let mut finding = Finding {
            category: grammar.category,
            tool: String::new(),
            rule: text(captures, "r"),
            path,
            line: text(captures, "l").and_then(|digits| digits.parse().ok()),
            message: text(captures, "m").map(|message| shorten(&message)).unwrap_or_default(),
            severity,
            safe_fix: false,
            weight,
            at,
        };
        name::settle_line(grammar.writer, self.hint, &mut finding);
        Some(finding)
    }

    fn keep(&mut self, finding: Finding) {
        if self.findings.len() < FINDINGS {
            self.findings.push(finding);
            return;
        }
        if self.floor == 0 {
            self.floor = self.findings.iter().map(|kept| kept.weight).max().unwrap_or(0);
        }
        // Past the bound only a heavier finding, or a later one as heavy, may take the last place.
        if finding.weight >= self.floor {
            self.floor = finding.weight;
            if let Some(last) = self.findings.last_mut() {
                *last = finding;
            }
        }
    }
}

fn by_phrase(place: usize, line: &[u8], at: u32) -> Option<Finding> {
    let phrase = &PHRASES[place];
    let mut finding = Finding {
        category: phrase.category,
        tool: phrase.tool.to_owned(),
        rule: None,
        path: None,
        line: None,
        message: String::new(),
        severity: Severity::Error,
        safe_fix: false,
        weight: phrase.weight,
        at,
    };
    if let Some(regex) = pattern(place) {
        let captures = regex.captures(line)?;
        finding.rule = text(&captures, "r");
        finding.path = text(&captures, "p");
        finding.line = text(&captures, "l").and_then(|digits| digits.parse().ok());
        finding.message = text(&captures, "m").unwrap_or_default();
    }
    if finding.message.is_empty() {
        finding.message = String::from_utf8_lossy(line).into_owned();
    }
    finding.message = shorten(&finding.message);
    Some(finding)
}

fn listed_by_gofmt(text: &[u8], at: u32) -> Finding {
    let path = String::from_utf8_lossy(text.trim_ascii()).into_owned();
    Finding {
        category: Category::Format,
        tool: "gofmt".to_owned(),
        rule: None,
        message: format!("{path} is not formatted"),
        path: Some(path),
        line: None,
        severity: Severity::Error,
        safe_fix: true,
        weight: 78,
        at,
    }
}

/// The CI system itself calls the line an error, and nothing else is known about it.
fn marked_error(text: &[u8], at: u32) -> Finding {
    Finding {
        category: Category::Unknown,
        tool: String::new(),
        rule: None,
        path: None,
        line: None,
        message: shorten(&String::from_utf8_lossy(text)),
        severity: Severity::Error,
        safe_fix: false,
        weight: 30,
        at,
    }
}

fn text(captures: &Captures<'_>, name: &str) -> Option<String> {
    captures
        .name(name)
        .map(|found| String::from_utf8_lossy(found.as_bytes()).into_owned())
}

fn severity(word: Option<&str>) -> Severity {
    match word {
        Some("note" | "info" | "information" | "Hint" | "INFO" | "I" | "Ignore" | "Notice") => Severity::Note,
        Some("warning" | "Warning" | "WARNING" | "warn" | "WARN" | "w" | "style" | "Suggestion" | "performance") => {
            Severity::Warning
        }
        _ => Severity::Error,
    }
}

fn is_download(path: &str) -> bool {
    path.starts_with("http") || path.starts_with("Download")
}

/// True when a digit stands right after `:`, `(` or `[`, as where a place is named in signs.
fn has_location(line: &[u8]) -> bool {
    // Without an early end, so that the compiler takes many bytes at once.
    let signs = line.iter().zip(line.get(1..).unwrap_or_default());
    signs.fold(false, |found, (sign, next)| {
        found | (matches!(sign, b':' | b'(' | b'[') & next.is_ascii_digit())
    })
}
