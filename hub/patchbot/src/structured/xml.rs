//! JUnit and Checkstyle reports.
//!
//! Streaming, no entity expansion beyond the five of XML, unknown elements skipped: JUnit in the wild is loose. A test that failed
//! first and passed on a rerun (`flakyFailure`, `rerunFailure` of Surefire) is flaky, not broken.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::line_of;
use crate::logs::name;
use crate::verdict::{Category, Finding, Severity, shorten};

/// Reads an XML report, or says that it is none.
pub fn read(text: &[u8]) -> Option<Vec<Finding>> {
    let mut reader = Reader::from_reader(text);
    reader.config_mut().check_end_names = false;
    let mut report = Report::default();
    loop {
        let at = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        match reader.read_event() {
            Ok(Event::Start(element)) => report.open(&element, line_of(text, at))?,
            Ok(Event::Empty(element)) => {
                report.open(&element, line_of(text, at))?;
                report.close(element.local_name().as_ref());
            }
            Ok(Event::End(element)) => report.close(element.local_name().as_ref()),
            Ok(Event::Eof) | Err(_) => break,
            Ok(_) => {}
        }
    }
    report.kind.map(|_| report.findings)
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Junit,
    Checkstyle,
}

#[derive(Default)]
struct Report {
    kind: Option<Kind>,
    file: Option<String>,
    case: Option<(String, Option<String>, Option<u32>)>,
    findings: Vec<Finding>,
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let found = element
        .attributes()
        .with_checks(false)
        .flatten()
        .find(|one| one.key.local_name().as_ref() == name.as_bytes())?;
    let text = String::from_utf8_lossy(&found.value).into_owned();
    Some(quick_xml::escape::unescape(&text).map_or(text.clone(), std::borrow::Cow::into_owned))
}

impl Report {
    /// `None` when the first element says that this is another kind of file.
    fn open(&mut self, element: &BytesStart<'_>, at: u32) -> Option<()> {
        let local = element.local_name();
        let name = local.as_ref();
        if self.kind.is_none() {
            self.kind = Some(match name {
                b"testsuites" | b"testsuite" => Kind::Junit,
                b"checkstyle" => Kind::Checkstyle,
                _ => return None,
            });
        }
        match (self.kind?, name) {
            (Kind::Checkstyle, b"file") => self.file = attribute(element, "name"),
            (Kind::Checkstyle, b"error") => self.complaint(element, at),
            (Kind::Junit, b"testcase") => {
                let name = attribute(element, "name").unwrap_or_default();
                let class = attribute(element, "classname").filter(|class| !class.is_empty());
                let id = class.map_or(name.clone(), |class| format!("{class}::{name}"));
                let line = attribute(element, "line").and_then(|digits| digits.parse().ok());
                self.case = Some((id, attribute(element, "file"), line));
            }
            (Kind::Junit, b"failure" | b"error") => self.failed(element, at, Category::Test, 95),
            (Kind::Junit, b"flakyFailure" | b"flakyError") => self.failed(element, at, Category::Flaky, 60),
            _ => {}
        }
        Some(())
    }

    fn close(&mut self, name: &[u8]) {
        match name {
            b"file" => self.file = None,
            b"testcase" => self.case = None,
            _ => {}
        }
    }

    fn failed(&mut self, element: &BytesStart<'_>, at: u32, category: Category, weight: u8) {
        let Some((id, file, line)) = self.case.clone() else {
            return;
        };
        let message = attribute(element, "message")
            .or_else(|| attribute(element, "type"))
            .unwrap_or_default();
        self.findings.push(Finding {
            category,
            tool: "junit".to_owned(),
            rule: Some(id),
            path: file,
            line,
            message: shorten(&message),
            severity: Severity::Error,
            safe_fix: false,
            weight,
            at,
        });
    }

    fn complaint(&mut self, element: &BytesStart<'_>, at: u32) {
        let severity = match attribute(element, "severity").as_deref() {
            Some("info" | "ignore") => Severity::Note,
            Some("warning") => Severity::Warning,
            _ => Severity::Error,
        };
        let source = attribute(element, "source").unwrap_or_default();
        let (tool, rule) = source.split_once('.').unwrap_or(("", source.as_str()));
        let known = name::hint(tool);
        self.findings.push(Finding {
            category: known.map_or(Category::Lint, |(_, category)| category),
            tool: known.map_or("checkstyle", |(tool, _)| tool).to_owned(),
            rule: Some(rule.to_owned()).filter(|rule| !rule.is_empty()),
            path: self.file.clone(),
            line: attribute(element, "line").and_then(|digits| digits.parse().ok()),
            message: shorten(&attribute(element, "message").unwrap_or_default()),
            severity,
            safe_fix: false,
            weight: if severity == Severity::Error { 95 } else { 90 },
            at,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junit_tells_a_broken_test_from_a_flaky_one() {
        let report = br#"<?xml version="1.0"?>
<testsuite name="s" tests="3">
  <testcase classname="t.A" name="ok"/>
  <testcase classname="t.A" name="bad" file="t/a.py" line="7"><failure message="1 &lt; 2" type="AssertionError">x</failure></testcase>
  <testcase classname="t.A" name="maybe"><flakyFailure message="timeout"/></testcase>
</testsuite>"#;
        let found = read(report).expect("a report");
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].rule.as_deref(), found[0].message.as_str(), found[0].at),
            (Some("t.A::bad"), "1 < 2", 4)
        );
        assert_eq!((found[0].path.as_deref(), found[0].line), (Some("t/a.py"), Some(7)));
        assert_eq!(found[1].category, Category::Flaky);
    }

    #[test]
    fn checkstyle_names_the_file_of_each_complaint() {
        let report = br#"<checkstyle version="4.3"><file name="a.js"><error line="2" severity="error" message="no" source="eslint.semi"/></file></checkstyle>"#;
        let found = &read(report).expect("a report")[0];
        assert_eq!(
            (
                found.tool.as_str(),
                found.rule.as_deref(),
                found.path.as_deref(),
                found.line
            ),
            ("eslint", Some("semi"), Some("a.js"), Some(2))
        );
        assert!(read(b"<html><body/></html>").is_none());
    }
}
