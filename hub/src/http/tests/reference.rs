//! The handbook's lists of routes, errors and events are those of the code. `SENTINEL_WRITE_REFERENCE=1` writes it anew.

use std::fmt::Write as _;
use std::path::Path;

use crate::events::kinds;
use crate::http::{Need, ROUTES, problems};

fn routes() -> String {
    let mut out = String::from(
        "# The API\n\nEvery route of the hub. Bodies and answers are JSON in `snake_case`; times are RFC 3339 in UTC; a list is `{\"items\": […], \"next_cursor\": …}`.\n\
         An error is a problem document (RFC 9457) with a `code`, a `detail` for people and, for each field that is not right, a pointer to it.\n\
         Answers carry an `ETag`. What is not open to anyone needs `Authorization: Bearer …` or the console's session, \
         and the permission that the last column names.\n\n\
         | method | path | who may |\n|---|---|---|\n",
    );
    for route in ROUTES {
        let who = match route.need {
            Need::Nothing => "anyone".to_owned(),
            Need::Own => "whoever signs, or has the token of remediation agents".to_owned(),
            Need::Known => "everybody who is known".to_owned(),
            Need::Permission(permission) => format!("{} and above, by `{permission}`", permission.least()),
        };
        let _ = writeln!(out, "| {} | `{}` | {who} |", route.method, route.path);
    }
    out
}

fn errors() -> String {
    let mut out = String::from(
        "# Errors\n\nWhatever goes wrong at the API is a problem document (RFC 9457, `application/problem+json`). `code` never changes its meaning, \
         `type` leads to the same words as here on the hub itself, `detail` is for people, and `errors` points at each field that is not right. \
         The command line prints `detail` and the way out, and its exit status is 1 for a failure, 2 usage, 3 not found, 4 denied, 5 conflict, \
         6 unreachable, 7 a wait that timed out, 8 degraded.\n\n| code | status | what it means | what to do |\n|---|---|---|---|\n",
    );
    for kind in problems::KINDS {
        let statuses: Vec<String> = kind.statuses.iter().map(u16::to_string).collect();
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            kind.code,
            statuses.join(", "),
            kind.meaning,
            kind.way_out
        );
    }
    out
}

/// The variants of the enum `Event` in the sources of an agent's entries, each with what its doc comment says.
fn agent_events() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wire/src/entry.rs");
    let source = std::fs::read_to_string(path).expect("the sources of entries");
    let body = source.split("pub enum Event {").nth(1).expect("the enum is there");
    let mut found = Vec::new();
    let mut words = String::new();
    // A variant stands four spaces in; its fields stand deeper.
    for line in body.lines().take_while(|line| *line != "}") {
        if let Some(text) = line.strip_prefix("    /// ") {
            words += if words.is_empty() { "" } else { " " };
            words += text;
        } else if let Some(name) = line
            .strip_prefix("    ")
            .filter(|name| name.starts_with(char::is_uppercase))
        {
            let name: String = name.chars().take_while(char::is_ascii_alphanumeric).collect();
            found.push((name, std::mem::take(&mut words)));
        }
    }
    found
}

fn events() -> String {
    let mut out = String::from(
        "# Events\n\nEverything that any journal holds is a CloudEvents 1.0 event, by HTTP (`GET /api/v1/events`, `sentinel get events -f`), Kafka, \
         webhooks and OpenTelemetry alike. `id` is the same for the same entry whenever and to whomever it is told, `source` is `/nodes/NAME` or \
         `/hub`, `sentinelcursor` is where to go on after it, and `data` is what the entry says.\n\n\
         ## Of nodes\n\n| type | what has happened |\n|---|---|\n\
         | `dev.sentinel.decision.made.v1` | A node decided, with every input and the rule. |\n\
         | `dev.sentinel.action.finished.v1` | What came of what was decided. |\n\
         | `dev.sentinel.journal.gap.v1` | Entries that a node made and lost, and why. |\n",
    );
    for (name, meaning) in agent_events() {
        let mut snake = String::new();
        for letter in name.chars() {
            if letter.is_ascii_uppercase() && !snake.is_empty() {
                snake.push('_');
            }
            snake.push(letter.to_ascii_lowercase());
        }
        let _ = writeln!(out, "| `dev.sentinel.agent.{snake}.v1` | {meaning} |");
    }
    out += "\n## Of the hub\n\nEach has who did it and through what, the target, the reason, what was written and its digests. \
            What was refused to somebody known is `dev.sentinel.hub.refused.v1`; its data has the verb or the route.\n\n\
            | type | what has happened |\n|---|---|\n| `dev.sentinel.hub.plan.STATE.v1` | A plan entered this state. |\n";
    for kind in kinds::KINDS {
        let _ = writeln!(out, "| `dev.sentinel.hub.{}.v1` | {} |", kind.verb, kind.meaning);
    }
    out
}

#[test]
fn the_handbook_lists_what_the_code_has() {
    for (name, page) in [("api", routes()), ("errors", errors()), ("events", events())] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("handbook/src/reference/{name}.md"));
        if std::env::var_os("SENTINEL_WRITE_REFERENCE").is_some() {
            std::fs::write(&path, &page).expect("the page is written");
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == page,
            "reference/{name}.md is old: run this test with SENTINEL_WRITE_REFERENCE=1"
        );
    }
}

#[test]
fn an_event_of_an_agent_is_called_as_it_is_told() {
    let names = agent_events();
    assert!(names.iter().any(|(name, _)| name == "BundleActivated"), "{names:?}");
    assert!(names.iter().all(|(_, meaning)| !meaning.is_empty()), "{names:?}");
}
