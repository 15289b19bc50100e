//! `check`, `test`, `explain`, `diff`, `schema`: what a bundle is, told by the code that will judge by it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use policy::{Bundle, Difference};
use serde::Serialize;
use wire::api::{BundleProblem, CheckView};
use wire::bundle::MAX_BUNDLE_BYTES;

use super::files;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Row, say};
use crate::rows::{BAD, GOOD};
use crate::table::Cell;

/// Longest case file.
const MAX_CASES_BYTES: usize = 4 * MAX_BUNDLE_BYTES;

/// Reads a bundle; what is wrong with it is printed, with its places.
pub fn bundle(file: &Path) -> Result<Bundle, Failure> {
    Bundle::parse(&files::text(file)?).map_err(|errors| {
        let happened = format!("`{}` is no bundle\n{}", file.display(), places(file, &errors));
        Failure::new(Exit::Failure, happened.trim_end())
    })
}

/// `sentinel policy check FILE…`: one object for one file, a list for several.
pub fn check(files: &[PathBuf], output: &mut Output) -> Result<Exit, Failure> {
    if let [file] = files {
        return checked(file, &Bundle::check(&files::text(file)?), output);
    }
    let checked: Vec<CheckedFile> = files
        .iter()
        .map(|file| {
            Ok(CheckedFile {
                file: file.display().to_string(),
                view: Bundle::check(&files::text(file)?),
            })
        })
        .collect::<Result<_, Failure>>()?;
    let names: Vec<_> = checked.iter().map(|one| one.file.as_str()).collect();
    output.one(&CheckedFiles { items: &checked }, &names.join("\n"), || {
        checked
            .iter()
            .map(|one| said(Path::new(&one.file), &one.view))
            .collect()
    })?;
    match checked.iter().all(|one| one.view.ok) {
        true => Ok(Exit::Ok),
        false => Ok(Exit::Failure),
    }
}

/// What is said of one of several files.
#[derive(Serialize)]
struct CheckedFile {
    file: String,
    #[serde(flatten)]
    view: CheckView,
}

#[derive(Serialize)]
struct CheckedFiles<'a> {
    items: &'a [CheckedFile],
}

/// Prints what a check found.
pub fn checked(file: &Path, view: &CheckView, output: &mut Output) -> Result<Exit, Failure> {
    output.one(view, &file.display().to_string(), || said(file, view))?;
    match view.ok {
        true => Ok(Exit::Ok),
        false => Ok(Exit::Failure),
    }
}

fn said(file: &Path, view: &CheckView) -> String {
    match view.ok {
        true => passed(&shown(file), view),
        false => places(file, &view.errors),
    }
}

fn shown(file: &Path) -> String {
    match file == Path::new(files::STANDARD_INPUT) {
        true => "standard input".to_owned(),
        false => file.display().to_string(),
    }
}

fn passed(file: &str, view: &CheckView) -> String {
    let mut text = match view.rules.len() {
        1 => format!("{file}: ok, 1 rule\n"),
        rules => format!("{file}: ok, {rules} rules\n"),
    };
    for rule in &view.rules {
        let mode = match rule.mode.as_str() {
            "enforce" => String::new(),
            other => format!(" ({other})"),
        };
        let _infallible = writeln!(text, "  {}{mode}: {}", rule.id, rule.text);
    }
    let lines = |kind, lines: &[String]| -> String { lines.iter().map(|line| format!("  {kind} {line}\n")).collect() };
    text.push_str(&lines("indicator", &view.indicators));
    text.push_str(&lines("meter", &view.meters));
    text
}

/// `FILE:LINE:COLUMN: field: message`, which editors jump to.
fn places(file: &Path, problems: &[BundleProblem]) -> String {
    let mut text = String::new();
    for problem in problems {
        let _infallible = write!(text, "{}", shown(file));
        if problem.line > 0 {
            let _infallible = write!(text, ":{}:{}", problem.line, problem.column);
        }
        text.push_str(": ");
        if !problem.field.is_empty() {
            let _infallible = write!(text, "{}: ", problem.field);
        }
        let _infallible = writeln!(text, "{}", problem.message);
    }
    text
}

/// One case of one file.
#[derive(Serialize)]
struct CaseRow {
    file: String,
    line: u32,
    name: String,
    passed: bool,
    failures: Vec<String>,
}

impl Row for CaseRow {
    fn header(_wide: bool) -> Vec<&'static str> {
        vec!["RESULT", "PLACE", "CASE"]
    }

    fn cells(&self, _wide: bool) -> Vec<Cell> {
        let (word, style) = match self.passed {
            true => ("✓ passed", GOOD),
            false => ("✕ failed", BAD),
        };
        let place = format!("{}:{}", self.file, self.line);
        vec![Cell::styled(word, style), place.into(), self.name.as_str().into()]
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// `sentinel policy test CASES… [--bundle FILE]`.
pub fn test(cases: &[PathBuf], bundle: Option<&Path>, output: &mut Output) -> Result<Exit, Failure> {
    let tested = bundle.map(files::text).transpose()?;
    if let (Some(file), Some(text)) = (bundle, &tested)
        && let Err(errors) = Bundle::parse(text)
    {
        let happened = format!("`{}` is no bundle\n{}", file.display(), places(file, &errors));
        return Err(Failure::new(Exit::Failure, happened.trim_end()));
    }
    let mut rows = Vec::new();
    for file in &files::files_of(cases)? {
        let text = files::read(file, MAX_CASES_BYTES)?;
        let results = policy::run_cases(&text, tested.as_deref()).map_err(|errors| {
            let happened = format!("`{}` is no case file\n{}", file.display(), places(file, &errors));
            Failure::new(Exit::Usage, happened.trim_end())
        })?;
        rows.extend(results.into_iter().map(|result| CaseRow {
            file: file.display().to_string(),
            line: result.line,
            name: result.name,
            passed: result.failures.is_empty(),
            failures: result.failures,
        }));
    }
    output.list(&rows)?;
    let failed = rows.iter().filter(|row| !row.passed);
    for row in failed.clone() {
        for failure in &row.failures {
            say(&format!("{}:{}: {}: {failure}", row.file, row.line, row.name));
        }
    }
    let failed = failed.count();
    say(&format!("{} passed, {failed} failed", rows.len() - failed));
    match failed {
        0 => Ok(Exit::Ok),
        _ => Ok(Exit::Failure),
    }
}

/// A kind of rule.
#[derive(Serialize)]
struct KindRow {
    kind: &'static str,
    does: &'static str,
}

impl Row for KindRow {
    fn header(_wide: bool) -> Vec<&'static str> {
        vec!["KIND", "WHAT IT DOES"]
    }

    fn cells(&self, _wide: bool) -> Vec<Cell> {
        vec![self.kind.into(), self.does.into()]
    }

    fn name(&self) -> String {
        self.kind.to_owned()
    }
}

/// `sentinel policy explain [KIND]`.
pub fn explain(kind: Option<&str>, output: &mut Output) -> Result<Exit, Failure> {
    #[derive(Serialize)]
    struct Explained<'a> {
        kind: &'a str,
        text: &'a str,
    }
    let Some(kind) = kind else {
        let rows = policy::rule_kinds().into_iter();
        let rows: Vec<KindRow> = rows.map(|(kind, does)| KindRow { kind, does }).collect();
        output.list(&rows)?;
        if output.for_people() {
            say(&format!("also explained: {}", policy::other_topics().join(", ")));
        }
        return Ok(Exit::Ok);
    };
    let text = policy::explain_kind(kind).map_err(|told| Failure::new(Exit::Usage, told))?;
    output.one(&Explained { kind, text: &text }, kind, || text.clone())?;
    Ok(Exit::Ok)
}

/// One difference of two bundles.
#[derive(Serialize)]
struct DifferenceRow {
    change: &'static str,
    what: String,
    before: Option<String>,
    after: Option<String>,
}

impl From<Difference> for DifferenceRow {
    fn from(difference: Difference) -> Self {
        let row = |change, what, before, after| Self {
            change,
            what,
            before,
            after,
        };
        match difference {
            Difference::Added { rule, text } => row("added", rule, None, Some(text)),
            Difference::Removed { rule, text } => row("removed", rule, Some(text), None),
            Difference::Changed { rule, before, after } => row("changed", rule, Some(before), Some(after)),
            Difference::Setting { name, before, after } => row("setting", name.to_owned(), Some(before), Some(after)),
        }
    }
}

/// `sentinel policy diff OLD NEW`.
pub fn diff(old: &Path, new: &Path, output: &mut Output) -> Result<Exit, Failure> {
    #[derive(Serialize)]
    struct Differences<'a> {
        items: &'a [DifferenceRow],
    }
    let found = policy::diff(&bundle(old)?, &bundle(new)?);
    let rows: Vec<DifferenceRow> = found.into_iter().map(DifferenceRow::from).collect();
    let names = rows.iter().map(|row| row.what.as_str()).collect::<Vec<_>>().join("\n");
    output.one(&Differences { items: &rows }, &names, || differences(&rows))?;
    Ok(Exit::Ok)
}

fn differences(rows: &[DifferenceRow]) -> String {
    if rows.is_empty() {
        return "no rule and no setting differs\n".to_owned();
    }
    let mut text = String::new();
    for row in rows {
        let _infallible = writeln!(text, "{} {}", row.change, row.what);
        for (sign, line) in [("-", &row.before), ("+", &row.after)] {
            if let Some(line) = line {
                let _infallible = writeln!(text, "  {sign} {line}");
            }
        }
    }
    text
}

/// `sentinel policy schema`.
pub fn schema(output: &mut Output) -> Result<Exit, Failure> {
    let schema = policy::schema();
    output.one(&schema, "schema", || format!("{schema:#}\n"))?;
    Ok(Exit::Ok)
}
