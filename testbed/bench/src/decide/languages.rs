//! The rules of `rules.rs` in Cedar, in Rego and in CEL, one for one.

use std::fmt::Write;

use super::rules::{Rule, first_day, scope};

/// Cedar: one `forbid` for each rule, so that the reasons are the rules.
pub fn cedar(rules: &[Rule]) -> String {
    let mut text = "@id(\"base\") permit(principal, action, resource);\n".to_owned();
    for (index, rule) in rules.iter().enumerate() {
        let (kinds, source) = scope(rule);
        let actions: Vec<_> = kinds.iter().map(|kind| format!("Action::\"{kind}\"")).collect();
        let principal = source.map_or("principal".to_owned(), |source| {
            format!("principal == Source::\"{source}\"")
        });
        let when = broken(rule, |name| format!("context.{name}"), "||", "&&");
        let _ = writeln!(
            text,
            "@id(\"r{index}\") forbid({principal}, action in [{}], resource) when {{ {when} }};",
            actions.join(", ")
        );
    }
    text
}

/// Rego: the set `deny` holds the broken rules.
pub fn rego(rules: &[Rule]) -> String {
    let mut text = "package bench\nimport rego.v1\n".to_owned();
    for (index, rule) in rules.iter().enumerate() {
        let (kinds, source) = scope(rule);
        let quoted: Vec<_> = kinds.iter().map(|kind| format!("\"{kind}\"")).collect();
        let source = source.map_or(String::new(), |source| format!("input.source == \"{source}\"; "));
        let input = |name: &str| format!("input.{name}");
        let parts = match rule {
            // Rego has no `or`: a second body.
            Rule::Sure { .. } => vec!["input.p_lo_bp < 7500".to_owned(), "input.n < 30".to_owned()],
            rule => vec![broken(rule, input, "", ";")],
        };
        for part in parts {
            let among = quoted.join(", ");
            let _ = writeln!(
                text,
                "deny contains \"r{index}\" if {{ input.kind in {{{among}}}; {source}{part} }}"
            );
        }
    }
    text
}

/// CEL: one expression for each rule, true if it is broken.
pub fn cel(rules: &[Rule]) -> Vec<String> {
    let expression = |rule: &Rule| {
        let (kinds, source) = scope(rule);
        let kinds: Vec<_> = kinds.iter().map(|kind| format!("kind == '{kind}'")).collect();
        let source = source.map_or(String::new(), |source| format!(" && source == '{source}'"));
        let when = broken(rule, str::to_owned, "||", "&&");
        format!("({}){source} && ({when})", kinds.join(" || "))
    };
    rules.iter().map(expression).collect()
}

/// When a rule is broken, as an expression; `field` writes the name of an input.
fn broken(rule: &Rule, field: impl Fn(&str) -> String, or: &str, and: &str) -> String {
    match rule {
        Rule::AtMost { max, .. } => format!("{} > {max}", field("amount")),
        Rule::Blast { limit, .. } => format!("{} + {} >= {limit}", field("unhealthy"), field("in_flight")),
        Rule::Sure { .. } => format!("{} < 7500 {or} {} < 30", field("p_lo_bp"), field("n")),
        Rule::Freeze { year, .. } => {
            let (from, to) = first_day(*year);
            format!("{} >= {from} {and} {} < {to}", field("at_ms"), field("at_ms"))
        }
        Rule::Burn { .. } => format!("{} > 14400 {and} {} > 14400", field("burn_5m"), field("burn_1h")),
    }
}
