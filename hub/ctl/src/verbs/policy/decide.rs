//! `decide` and `simulate --input`: questions in, decisions out, the rules' state carried from line to line.
//!
//! Prints what `policy::Decider` says, byte for byte in `-o jsonl`, as soon as it is said. Read next: `policy/src/jsonl.rs`, which has
//! every field.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, stdin};
use std::path::Path;
use std::sync::Arc;

use policy::Decider;
use serde::Serialize;
use serde_json::Value;
use wire::reading::{Unit, human};

use super::offline::bundle;
use super::simulate::{Differs, SimulateView, told};
use crate::args::{Format, Simulate};
use crate::failure::{Exit, Failure};
use crate::output::{Output, Row};
use crate::rows::{UNKNOWN, verdict as verdict_cell};
use crate::table::Cell;

/// Longest line that is read; the judge refuses shorter ones with its own words.
const MAX_LINE_BYTES: u64 = 1024 * 1024;
/// Rows of a table that are printed together.
const ROWS_AT_ONCE: usize = 1_024;

/// The lines of a file or of standard input.
struct Lines {
    name: String,
    from: Box<dyn BufRead>,
    number: u64,
}

impl Lines {
    fn open(file: &Path) -> Result<Self, Failure> {
        if file == Path::new("-") {
            return Ok(Self {
                name: "standard input".to_owned(),
                from: Box::new(BufReader::new(stdin())),
                number: 0,
            });
        }
        let name = file.display().to_string();
        let opened = File::open(file)
            .map_err(|cause| Failure::new(Exit::Usage, format!("cannot read `{name}`")).because(cause))?;
        Ok(Self {
            name,
            from: Box::new(BufReader::new(opened)),
            number: 0,
        })
    }

    /// The next line that is not blank.
    fn next_line(&mut self) -> Result<Option<String>, Failure> {
        loop {
            let mut bytes = Vec::new();
            let read = self.from.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes);
            read.map_err(|cause| Failure::new(Exit::Failure, format!("cannot read {}", self.name)).because(cause))?;
            if bytes.is_empty() {
                return Ok(None);
            }
            self.number += 1;
            if bytes.len() as u64 == MAX_LINE_BYTES && !bytes.ends_with(b"\n") {
                return Err(self.wrong("a line has at most 1 MiB"));
            }
            let text = String::from_utf8(bytes).map_err(|_| self.wrong("this is not UTF-8 text"))?;
            // Editors of some systems begin a file with a mark of its encoding.
            let text = text.trim_start_matches('\u{feff}');
            if !text.trim().is_empty() {
                return Ok(Some(text.trim_end().to_owned()));
            }
        }
    }

    /// What is wrong with the present line, with the column if the reader names one.
    fn wrong(&self, told: &str) -> Failure {
        let (told, column) = match told.rsplit_once(" at line 1 column ") {
            Some((told, column)) => (told, format!(":{column}")),
            None => (told, String::new()),
        };
        Failure::new(Exit::Usage, format!("{}:{}{column}: {told}", self.name, self.number))
    }
}

/// One answer.
struct Decided {
    line: u64,
    answer: Value,
}

impl Serialize for Decided {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.answer.serialize(serializer)
    }
}

impl Row for Decided {
    fn header(_wide: bool) -> Vec<&'static str> {
        vec!["LINE", "VERDICT", "RULE", "UNTIL", "WHY"]
    }

    fn cells(&self, _wide: bool) -> Vec<Cell> {
        let first = deciding(&self.answer);
        let text = |value: &Value| value.as_str().unwrap_or(UNKNOWN).to_owned();
        let verdict = serde_json::from_value(self.answer["verdict"].clone()).map(verdict_cell);
        let unit = serde_json::from_value(first["unit"].clone()).unwrap_or(Unit::Count);
        let why = match first["observed"].as_i64().zip(first["limit"].as_i64()) {
            Some((observed, limit)) => format!(
                "{}: {} against {}",
                text(&first["what"]),
                human(observed, unit),
                human(limit, unit)
            ),
            None => text(&first["what"]),
        };
        vec![
            self.line.to_string().into(),
            verdict.unwrap_or_else(|_| "ended".into()),
            text(&first["rule"]).into(),
            text(&self.answer["hold_until"]).into(),
            why.into(),
        ]
    }

    fn name(&self) -> String {
        self.line.to_string()
    }
}

/// The comparison that gave the verdict; null if all passed.
fn deciding(answer: &Value) -> &Value {
    let all = answer["determining"].as_array().map(Vec::as_slice).unwrap_or_default();
    let same = all.iter().find(|one| one["verdict"] == answer["verdict"]);
    same.or(all.first()).unwrap_or(&Value::Null)
}

/// `sentinel policy decide --bundle FILE [--input FILE] [--exit-code]`.
pub fn decide(file: &Path, input: &Path, exit_code: bool, output: &mut Output) -> Result<Exit, Failure> {
    let mut decider = Decider::new(Arc::new(bundle(file)?));
    let mut lines = Lines::open(input)?;
    let mut kept = Vec::new();
    let mut is_denied = false;
    // A document is whole or it is none; rows of a file wait for each other, so that their columns stand in line.
    let most = match (output.is_document(), input == Path::new("-")) {
        (true, _) => usize::MAX,
        (false, true) => 1,
        (false, false) => ROWS_AT_ONCE,
    };
    let done = loop {
        let line = match lines.next_line() {
            Ok(Some(line)) => line,
            Ok(None) if is_denied => break Ok(Exit::Denied),
            Ok(None) => break Ok(Exit::Ok),
            Err(failure) => break Err(failure),
        };
        let answer = match decider.decide_line(&line) {
            Ok(answer) => answer,
            Err(told) => break Err(lines.wrong(&told)),
        };
        is_denied |= exit_code && parsed(&answer)?["verdict"] == "deny";
        if output.format() == Format::Jsonl {
            output.bytes(format!("{answer}\n").as_bytes())?;
            continue;
        }
        kept.push(Decided {
            line: lines.number,
            answer: parsed(&answer)?,
        });
        if kept.len() >= most {
            output.more(&kept)?;
            kept.clear();
        }
    };
    match (output.is_document(), done.is_ok()) {
        (true, true) => output.list(&kept)?,
        (true, false) => {}
        // What was decided before the mistake is told.
        (false, is_ok) if is_ok || !kept.is_empty() => output.more(&kept)?,
        (false, _) => {}
    }
    done
}

fn parsed(answer: &str) -> Result<Value, Failure> {
    serde_json::from_str(answer)
        .map_err(|cause| Failure::new(Exit::Failure, "the judge answers no JSON").because(cause))
}

/// `sentinel policy simulate --bundle NEW --old OLD --input FILE`: each bundle carries its own state.
pub fn simulate(simulate: &Simulate, output: &mut Output) -> Result<Exit, Failure> {
    let (Some(old), Some(input)) = (&simulate.old, &simulate.input) else {
        return Err(Failure::new(Exit::Usage, "give --input and --old, or --since"));
    };
    let mut before = Decider::new(Arc::new(bundle(old)?));
    let mut after = Decider::new(Arc::new(bundle(&simulate.bundle)?));
    let mut lines = Lines::open(input)?;
    let mut view = SimulateView::default();
    while let Some(line) = lines.next_line()? {
        let one = parsed(&before.decide_line(&line).map_err(|told| lines.wrong(&told))?)?;
        let other = parsed(&after.decide_line(&line).map_err(|told| lines.wrong(&told))?)?;
        if one["ended"].is_string() {
            continue;
        }
        view.considered += 1;
        let same = ["verdict", "clamp", "hold_until"]
            .iter()
            .all(|field| one[*field] == other[*field]);
        if !same {
            view.items.push(difference(lines.number, &parsed(&line)?, &one, &other));
        }
    }
    view.differ = view.items.len() as u64;
    told(&view, output)
}

fn difference(line: u64, question: &Value, one: &Value, other: &Value) -> Differs {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    // Whichever of the two is stricter says why.
    let why = [other, one].map(deciding);
    let why = why.into_iter().find(|first| first.is_object()).unwrap_or(&Value::Null);
    let targets = question["action"]["targets"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let target = targets.iter().map(text).collect::<Vec<_>>().join(", ");
    Differs {
        id: line.to_string(),
        node: String::new(),
        at: text(&question["at"]),
        action: text(&question["action"]["kind"]),
        target,
        old: text(&one["verdict"]),
        new: text(&other["verdict"]),
        rule: text(&why["rule"]),
        text: match (other["clamp"]["value"].as_i64(), other["hold_until"].as_str()) {
            (Some(value), _) => format!("{}; clamped to {value}", text(&why["what"])),
            (None, Some(until)) => format!("{}; until {until}", text(&why["what"])),
            (None, None) => text(&why["what"]),
        },
    }
}
