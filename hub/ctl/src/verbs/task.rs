//! `task` and `get tasks`: failed checks on their way to a pull request, or to a code that says why there is none.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wire::PlanId;

use crate::args::{Patchbot, Task};
use crate::client::escaped;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Row, say};
use crate::rows::{BAD, FAINT, GOOD, REDUCED, UNKNOWN};
use crate::session::Session;
use crate::table::Cell;

/// A task as the list shows it; the rest of its members is kept for JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct TaskRow {
    id: String,
    state: String,
    repository: String,
    check: String,
    commit: String,
    #[serde(default)]
    codes: Vec<String>,
    #[serde(default)]
    pull_request: Option<String>,
    #[serde(default)]
    error_message: Option<String>,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

impl TaskRow {
    fn outcome(&self) -> String {
        match (&self.pull_request, self.codes.is_empty()) {
            (Some(url), _) => url.clone(),
            (None, false) => self.codes.join(" "),
            (None, true) => UNKNOWN.to_owned(),
        }
    }
}

impl Row for TaskRow {
    fn header(wide: bool) -> Vec<&'static str> {
        let mut header = vec!["ID", "STATE", "REPOSITORY", "CHECK", "OUTCOME"];
        if wide {
            header.extend(["COMMIT", "REASON"]);
        }
        header
    }

    fn cells(&self, wide: bool) -> Vec<Cell> {
        let (sign, style) = match self.state.as_str() {
            "proposed" | "merged" => ("✓", GOOD),
            "queued" | "leased" | "publishing" => ("◐", REDUCED),
            "cancelled" | "closed" | "no_fix" | "held" => ("○", FAINT),
            _ => ("✕", BAD),
        };
        let mut cells = vec![
            Cell::from(self.id.clone()),
            Cell::styled(format!("{sign} {}", self.state), style),
            Cell::from(self.repository.clone()),
            Cell::from(self.check.clone()),
            Cell::from(self.outcome()),
        ];
        if wide {
            cells.push(Cell::from(self.commit.clone()));
            cells.push(Cell::from(self.error_message.clone().unwrap_or_default()));
        }
        cells
    }

    fn name(&self) -> String {
        self.id.clone()
    }
}

/// `sentinel get tasks`.
pub async fn list(session: &Session, name: Option<&str>, limit: usize, output: &mut Output) -> Result<Exit, Failure> {
    if let Some(id) = name {
        return show(session, id, output).await;
    }
    let limit = if limit == 0 { 1_000 } else { limit.min(1_000) };
    let rows: Vec<TaskRow> = session.hub()?.get(&format!("/tasks?limit={limit}")).await?;
    output.list(&rows)?;
    Ok(Exit::Ok)
}

/// A failed check as `get failures` shows it: what is wrong, and where it ended.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FailureRow(TaskRow);

impl Row for FailureRow {
    fn header(_: bool) -> Vec<&'static str> {
        vec!["CREATED", "REPOSITORY", "CHECK", "COMMIT", "WHAT", "TASK", "ID"]
    }

    fn cells(&self, _: bool) -> Vec<Cell> {
        let Self(task) = self;
        let word = |name: &str| {
            task.rest
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let short = |text: &str, most: usize| text.chars().take(most).collect::<String>();
        let what = match (word("message"), &task.error_message) {
            (message, None) if message.is_empty() => UNKNOWN.to_owned(),
            (message, Some(reason)) if message.is_empty() => reason.clone(),
            (message, _) => message,
        };
        vec![
            Cell::from(word("created_at")),
            Cell::from(task.repository.clone()),
            Cell::from(task.check.clone()),
            Cell::from(short(&task.commit, 12)),
            Cell::from(short(what.lines().next().unwrap_or_default(), 100)),
            task.cells(false).swap_remove(1),
            Cell::from(task.id.clone()),
        ]
    }

    fn name(&self) -> String {
        self.0.id.clone()
    }
}

/// `sentinel get failures`.
pub async fn failures(session: &Session, limit: usize, output: &mut Output) -> Result<Exit, Failure> {
    let limit = if limit == 0 { 1_000 } else { limit.min(1_000) };
    let rows: Vec<FailureRow> = session.hub()?.get(&format!("/tasks?limit={limit}")).await?;
    output.list(&rows)?;
    Ok(Exit::Ok)
}

/// `sentinel task …`.
pub async fn run(session: &Session, what: &Task, output: &mut Output) -> Result<Exit, Failure> {
    match what {
        Task::Show { id } => show(session, id, output).await,
        Task::Certificate { id } => {
            let path = format!("/tasks/{}/certificate", escaped(id));
            output.bytes(&session.hub()?.bytes(&path).await?)?;
            Ok(Exit::Ok)
        }
        Task::Cancel { id, reason } => {
            let body = serde_json::json!({ "reason": reason });
            session
                .hub()?
                .post_bare(&format!("/tasks/{}/cancel", escaped(id)), &body)
                .await?;
            say(&format!("✓ task {id} is cancelled"));
            Ok(Exit::Ok)
        }
        Task::Retry { id, reason } => change(session, id, "retry", reason, output).await,
        Task::Approve { id, reason } => change(session, id, "approve", reason, output).await,
    }
}

async fn change(session: &Session, id: &str, verb: &str, reason: &str, output: &mut Output) -> Result<Exit, Failure> {
    let path = format!("/tasks/{}/{verb}", escaped(id));
    let body = serde_json::json!({ "reason": reason });
    let row: TaskRow = session.hub()?.post(&path, &body, session.patience()).await?;
    output.single(&row)?;
    Ok(Exit::Ok)
}

/// A task's id as the hub writes it.
pub fn uuid(id: &PlanId) -> String {
    let digits = id.to_string();
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// One task, in full.
pub async fn show(session: &Session, id: &str, output: &mut Output) -> Result<Exit, Failure> {
    let row: TaskRow = session.hub()?.get(&format!("/tasks/{}", escaped(id))).await?;
    let text = story(&row);
    output.one(&row, id, || text)?;
    Ok(Exit::Ok)
}

/// `sentinel patchbot explain REPO`.
pub async fn explain(session: &Session, what: &Patchbot, output: &mut Output) -> Result<Exit, Failure> {
    let Patchbot::Explain { repository } = what;
    let path = format!("/tasks/policy?repository={}", escaped(repository));
    let told: Value = session.hub()?.get(&path).await?;
    output.one(&told, repository, || explained(&told))?;
    Ok(Exit::Ok)
}

fn explained(told: &Value) -> String {
    let word = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let percent = |value: &Value| format!("{:.0} %", value.as_f64().unwrap_or_default() * 100.0);
    let mut text = format!(
        "{}: {} pull requests of ours are open\n",
        word(told, "repository"),
        told["open_pull_requests"]
    );
    for step in told["steps"].as_array().into_iter().flatten() {
        text.push_str(&format!("  {:12} {}", word(step, "step"), word(step, "verdict")));
        if !word(step, "rule").is_empty() {
            text.push_str(&format!(" by rule {} ({})", word(step, "rule"), word(step, "code")));
        }
        text.push('\n');
    }
    text.push_str(&format!(
        "a pull request takes {} at least, a merge without a person {}\n",
        percent(&told["propose_from"]),
        percent(&told["merge_from"])
    ));
    for chance in told["chances"].as_array().into_iter().flatten() {
        text.push_str(&format!(
            "  {:12} {} at least, {} of such repairs are merged ({} outcomes)\n",
            word(chance, "category"),
            percent(&chance["at_least"]),
            percent(&chance["mean"]),
            chance["outcomes"]
        ));
    }
    text.push_str(&wished(&told["wishes"]));
    text
}

/// What the repository's own file says.
fn wished(wishes: &Value) -> String {
    let word = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    if wishes.is_null() {
        return String::new();
    }
    if let Some(reason) = wishes["unread"].as_str() {
        return format!("{} could not be read: {reason}\n", word(wishes, "file"));
    }
    let mut text = format!(
        "{} of its default branch at `{}`:\n",
        word(wishes, "file"),
        word(wishes, "source")
    );
    for one in wishes["categories"].as_array().into_iter().flatten() {
        text.push_str(&format!("  {:12} {}", word(one, "category"), word(one, "mode")));
        match one["min_confidence"].as_f64() {
            Some(least) if least > 0.0 => text.push_str(&format!(" from {:.0} %\n", least * 100.0)),
            _ => text.push('\n'),
        }
    }
    for (name, value) in limits(wishes) {
        text.push_str(&format!("  {name:12} {value}\n"));
    }
    if let Some(objection) = wishes["objection"].as_str() {
        text.push_str(&format!("  nothing is repaired: {objection}\n"));
    }
    if let Some(reason) = wishes["pause"]["reason"].as_str() {
        text.push_str(&format!(
            "  nothing begins now ({}): {reason}\n",
            word(&wishes["pause"], "code")
        ));
    }
    for problem in wishes["problems"].as_array().into_iter().flatten() {
        text.push_str(&format!("  not understood: {}\n", problem.as_str().unwrap_or_default()));
    }
    text
}

/// What the file says beside modes of categories, as (key, value); what it does not say is left out.
fn limits(wishes: &Value) -> Vec<(String, String)> {
    let words = |value: &Value| -> String {
        let all = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        all.collect::<Vec<_>>().join(", ")
    };
    let mut lines = Vec::new();
    if let Some(target) = wishes["target"].as_str() {
        lines.push(("target".to_owned(), target.to_owned()));
    }
    for freeze in wishes["freeze"].as_array().into_iter().flatten() {
        let windows = freeze["windows"].as_str().unwrap_or_default();
        let reason = freeze["reason"].as_str().filter(|reason| !reason.is_empty());
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        lines.push(("freeze".to_owned(), format!("{windows}{reason}")));
    }
    for (name, what) in [("open", "open at once"), ("per_day", "a day")] {
        if let Some(most) = wishes["budgets"][name].as_u64() {
            lines.push(("budgets".to_owned(), format!("{most} pull requests {what}")));
        }
    }
    for name in ["labels", "reviewers"] {
        lines.push((name.to_owned(), words(&wishes[name])));
    }
    for name in ["allow", "protect"] {
        lines.push((format!("paths.{name}"), words(&wishes["paths"][name])));
    }
    for (fixer, version) in wishes["fixer_versions"].as_object().into_iter().flatten() {
        let version = version.as_str().unwrap_or_default();
        lines.push(("fixers".to_owned(), format!("{fixer} {version} and no other version")));
    }
    lines.retain(|(_, value)| !value.is_empty());
    lines
}

/// What happened to a task, for people.
fn story(row: &TaskRow) -> String {
    let mut text = format!("{} {}\n", row.state, row.id);
    text.push_str(&format!(
        "check `{}` of {} failed on {}\n",
        row.check, row.repository, row.commit
    ));
    if let Some(proposal) = row.rest.get("proposal").filter(|proposal| !proposal.is_null()) {
        let word = |name: &str| proposal[name].as_str().unwrap_or(UNKNOWN).to_owned();
        text.push_str(&format!(
            "{} found by {}, repaired by {}\n",
            word("category"),
            word("tool"),
            word("fixer")
        ));
        for file in proposal["files"].as_array().into_iter().flatten() {
            text.push_str(&format!(
                "  {} +{} -{}\n",
                file["path"].as_str().unwrap_or(UNKNOWN),
                file["added"],
                file["removed"]
            ));
        }
        text.push_str(&format!("certificate {}\n", word("certificate")));
    }
    if !row.codes.is_empty() {
        text.push_str(&format!("codes: {}\n", row.codes.join(" ")));
    }
    if let Some(reason) = &row.error_message {
        text.push_str(&format!("because {reason}\n"));
    }
    if let Some(url) = &row.pull_request {
        text.push_str(&format!(
            "pull request {url}{}\n",
            row.rest.get("review").map(stands).unwrap_or_default()
        ));
    }
    text
}

/// How a pull request stands, behind its address.
fn stands(review: &Value) -> String {
    let mut text = match review["checks"].as_str() {
        Some(checks) => format!(", checks {checks}"),
        None => return String::new(),
    };
    if review["is_draft"] == true {
        text.push_str(", a draft until they are green");
    }
    if review["merge_wanted"] == true {
        text.push_str(", to be merged by itself once the rules agree");
    }
    if let Some(who) = review["stopped_by"].as_str() {
        text.push_str(&format!(", stopped by {who}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_key_that_an_owner_wrote_is_shown_and_none_that_is_not_there() {
        let wishes = json!({
            "file": ".patchbot.toml", "source": "forge", "categories": [], "problems": ["x is no key of .patchbot.toml"],
            "target": "stacked_pr", "labels": ["bot"], "reviewers": ["ada", "org/team"],
            "freeze": [{"windows": "`0 18 * * fri` for 62 h in UTC", "reason": "weekend"}],
            "pause": {"code": "frozen", "reason": "until Monday", "until": "2026-12-07T08:00:00.000Z"},
            "budgets": {"open": 2, "per_day": null}, "fixer_versions": {"ruff-check": "0.17.6"},
            "paths": {"allow": ["src/"], "protect": []},
        });
        let text = wished(&wishes);
        for line in [
            "  target       stacked_pr\n",
            "  freeze       `0 18 * * fri` for 62 h in UTC: weekend\n",
            "  budgets      2 pull requests open at once\n",
            "  labels       bot\n",
            "  reviewers    ada, org/team\n",
            "  paths.allow  src/\n",
            "  fixers       ruff-check 0.17.6 and no other version\n",
            "  nothing begins now (frozen): until Monday\n",
            "  not understood: x is no key of .patchbot.toml\n",
        ] {
            assert!(text.contains(line), "`{line}` is not in:\n{text}");
        }
        assert!(!text.contains("paths.protect") && !text.contains("a day"), "{text}");
    }
}
