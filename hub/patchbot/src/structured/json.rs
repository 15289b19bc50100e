//! SARIF 2.1.0, check-run annotations, GitLab Code Quality and ESLint's JSON.
//!
//! Tolerant: unknown members are ignored and a record without a place still counts. Line numbers of the report itself cannot be
//! kept through a JSON parser, so `at` is the line of the record's path in the text.

use serde_json::Value;

use super::line_of;
use crate::logs::name;
use crate::verdict::{Category, Finding, Severity, shorten};

/// Reads a JSON report, or says that it is none.
pub fn read(text: &[u8]) -> Option<Vec<Finding>> {
    let value: Value = serde_json::from_slice(text).ok()?;
    let mut findings = match &value {
        Value::Object(object) if object.contains_key("runs") => sarif(&value),
        Value::Array(items) => list(items)?,
        _ => return None,
    };
    for finding in &mut findings {
        let path = finding.path.as_deref().unwrap_or_default();
        let offset = memchr::memmem::find(text, path.as_bytes()).unwrap_or(0);
        finding.at = line_of(text, offset);
    }
    Some(findings)
}

fn list(items: &[Value]) -> Option<Vec<Finding>> {
    let first = items.first()?;
    let read: fn(&Value) -> Vec<Finding> = if first.get("annotation_level").is_some() {
        |item| annotation(item).into_iter().collect()
    } else if first.get("location").is_some()
        && (first.get("fingerprint").is_some() || first.get("check_name").is_some())
    {
        |item| quality(item).into_iter().collect()
    } else if first.get("filePath").is_some() && first.get("messages").is_some() {
        eslint
    } else if first.get("filename").is_some() && first.get("code").is_some() {
        |item| ruff(item).into_iter().collect()
    } else {
        return None;
    };
    Some(items.iter().flat_map(read).collect())
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn number(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}

fn finding(
    tool: &str,
    rule: Option<String>,
    path: Option<String>,
    line: Option<u32>,
    message: &str,
    severity: Severity,
) -> Finding {
    let known = name::hint(tool);
    Finding {
        category: known.map_or(Category::Lint, |(_, category)| category),
        tool: known.map_or_else(|| tool.to_ascii_lowercase(), |(tool, _)| tool.to_owned()),
        rule,
        path,
        line,
        message: shorten(message),
        severity,
        safe_fix: false,
        weight: if severity == Severity::Error { 95 } else { 68 },
        at: 1,
    }
}

fn sarif(value: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    for run in value["runs"].as_array().into_iter().flatten() {
        let tool = run["tool"]["driver"]["name"].as_str().unwrap_or_default();
        for result in run["results"].as_array().into_iter().flatten() {
            if result["kind"].as_str().is_some_and(|kind| kind != "fail")
                || result["suppressions"].as_array().is_some_and(|list| !list.is_empty())
            {
                continue;
            }
            let place = &result["locations"][0]["physicalLocation"];
            let severity = match result["level"].as_str() {
                Some("note" | "none") => Severity::Note,
                Some("error") => Severity::Error,
                _ => Severity::Warning,
            };
            let path = text(&place["artifactLocation"]["uri"]).map(|uri| uri.trim_start_matches("file://").to_owned());
            let message = result["message"]["text"].as_str().unwrap_or_default();
            let mut found = finding(
                tool,
                text(&result["ruleId"]),
                path,
                number(&place["region"]["startLine"]),
                message,
                severity,
            );
            found.safe_fix = result["fixes"].as_array().is_some_and(|fixes| !fixes.is_empty());
            // A report lists what its tool failed on, whatever degree the tool gives it.
            found.weight = found.weight.max(90);
            findings.push(found);
        }
    }
    findings
}

fn annotation(item: &Value) -> Option<Finding> {
    let severity = match item["annotation_level"].as_str()? {
        "failure" => Severity::Error,
        "warning" => Severity::Warning,
        _ => Severity::Note,
    };
    let (tool, rule) = item["title"].as_str().map_or((None, None), super::annotations::titled);
    let message = item["message"].as_str().unwrap_or_default();
    Some(finding(
        &tool.unwrap_or_default(),
        rule,
        text(&item["path"]),
        number(&item["start_line"]),
        message,
        severity,
    ))
}

fn quality(item: &Value) -> Option<Finding> {
    let place = &item["location"];
    let severity = match item["severity"].as_str() {
        Some("info") => Severity::Note,
        Some("minor") => Severity::Warning,
        _ => Severity::Error,
    };
    let line = number(&place["lines"]["begin"]).or_else(|| number(&place["positions"]["begin"]["line"]));
    let tool = item["engine_name"].as_str().unwrap_or_default();
    let mut found = finding(
        tool,
        text(&item["check_name"]),
        text(&place["path"]),
        line,
        item["description"].as_str()?,
        severity,
    );
    found.weight = found.weight.max(90);
    Some(found)
}

fn eslint(item: &Value) -> Vec<Finding> {
    let path = text(&item["filePath"]);
    let messages = item["messages"].as_array().into_iter().flatten();
    messages
        .map(|message| {
            let severity = if message["severity"].as_u64() == Some(2) {
                Severity::Error
            } else {
                Severity::Warning
            };
            let words = message["message"].as_str().unwrap_or_default();
            let mut found = finding(
                "eslint",
                text(&message["ruleId"]),
                path.clone(),
                number(&message["line"]),
                words,
                severity,
            );
            found.safe_fix = message["fix"].is_object();
            found
        })
        .collect()
}

fn ruff(item: &Value) -> Option<Finding> {
    let message = item["message"].as_str()?;
    let line = number(&item["location"]["row"]);
    let mut found = finding(
        "ruff",
        text(&item["code"]),
        text(&item["filename"]),
        line,
        message,
        Severity::Error,
    );
    found.safe_fix = item["fix"]["applicability"].as_str() == Some("safe");
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sarif_gives_tool_rule_file_and_line() {
        let report = br#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"ruff"}},"results":[{"ruleId":"F401","level":"error",
            "message":{"text":"`os` imported but unused"},"fixes":[{}],"locations":[{"physicalLocation":{
            "artifactLocation":{"uri":"file:///r/a.py"},"region":{"startLine":3}}}]}]}]}"#;
        let found = &read(report).expect("a report")[0];
        assert_eq!(
            (found.tool.as_str(), found.rule.as_deref(), found.line),
            ("ruff", Some("F401"), Some(3))
        );
        assert_eq!(
            (found.path.as_deref(), found.safe_fix, found.at),
            (Some("/r/a.py"), true, 3)
        );
    }

    #[test]
    fn code_quality_and_eslint_are_told_apart_by_their_members() {
        let quality = br#"[{"description":"too long","check_name":"E501","fingerprint":"7","severity":"major",
            "location":{"path":"a.py","lines":{"begin":9}}}]"#;
        assert_eq!(read(quality).expect("a report")[0].line, Some(9));
        let eslint = br#"[{"filePath":"/r/a.js","messages":[{"ruleId":"semi","severity":2,"message":"Missing semicolon.","line":2,"fix":{}}]}]"#;
        let found = &read(eslint).expect("a report")[0];
        assert_eq!(
            (found.tool.as_str(), found.rule.as_deref(), found.safe_fix),
            ("eslint", Some("semi"), true)
        );
        assert!(read(b"[1, 2]").is_none());
        assert!(read(b"{\"a\": 1}").is_none());
    }
}
