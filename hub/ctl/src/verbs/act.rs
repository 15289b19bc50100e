//! `act`: asks for an action, waits for its outcome, and tells a denial with the rule that denied it.
//!
//! A denial is an answer, not an error: it goes to standard output, and the exit status says it.

use std::fmt::Write as _;
use std::time::Duration;

use wire::Verdict;
use wire::api::{ActRequest, ActView};
use wire::decision::Clause;
use wire::reading::DeviceId;

use crate::args::Act;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::rows::value;
use crate::session::Session;

/// How long to wait for the outcome when `--timeout` does not say: a restart with its verification fits.
const OUTCOME: Duration = Duration::from_secs(30);
/// Longest wait that a hub accepts: most proxies cut a silent request after two minutes.
const LONGEST_MS: u64 = 110_000;
/// How long the answer may take beyond that.
const MARGIN: Duration = Duration::from_secs(5);

/// `sentinel act NODE[/DEVICE] ACTION [K=V…] --reason TEXT`.
pub async fn run(session: &Session, act: &Act, output: &mut Output) -> Result<Exit, Failure> {
    let wait = session.timeout.unwrap_or(OUTCOME);
    let wait_ms = u64::try_from(wait.as_millis()).map_or(LONGEST_MS, |ms| ms.clamp(1, LONGEST_MS));
    let request = ActRequest {
        node: act.target.node.clone(),
        device: act.target.device.clone().unwrap_or_else(DeviceId::node),
        action: act.action.clone(),
        params: act.params.iter().cloned().collect(),
        reason: act.reason.clone(),
        // A command that nobody waits for any more must not run.
        valid_for_ms: wait_ms,
        wait_ms,
    };
    let view: ActView = session
        .source(act.local, &act.target.node)?
        .post("/actions", &request, wait + MARGIN)
        .await?;
    print(&view, &asked(act), output)
}

fn asked(act: &Act) -> String {
    let device = match &act.target.device {
        Some(device) => format!("{}/{device}", act.target.node),
        None => act.target.node.to_string(),
    };
    format!("{} of {device}", act.action)
}

/// Prints what came of a request, and says how it ended.
pub fn print(view: &ActView, asked: &str, output: &mut Output) -> Result<Exit, Failure> {
    let name = view
        .decision
        .as_ref()
        .map_or_else(String::new, |decision| decision.id.to_string());
    output.one(view, &name, || text(view, asked))?;
    Ok(exit(view))
}

fn exit(view: &ActView) -> Exit {
    let outcome = view.decision.as_ref().map(|decision| decision.outcome.as_str());
    match (view.status.as_str(), outcome) {
        ("denied", _) => Exit::Denied,
        ("refused", _) | ("done", Some("dropped")) => Exit::Conflict,
        ("waiting", _) => Exit::TimedOut,
        ("done", Some("failed" | "not_verified" | "unknown")) => Exit::Failure,
        ("done", _) => Exit::Ok,
        _ => Exit::Failure,
    }
}

fn text(view: &ActView, asked: &str) -> String {
    let mut text = match (view.status.as_str(), &view.decision) {
        ("denied", Some(decision)) => {
            let now = if decision.verdict == Verdict::Hold {
                " for now"
            } else {
                ""
            };
            format!("✕ denied{now} by rule {}: {}\n", decision.rule, decision.summary)
        }
        ("denied", None) => match view.clauses.iter().find(|clause| denies(clause)) {
            Some(clause) => format!("✕ denied by rule {}: {asked}\n", clause.rule),
            None => format!("✕ denied: {asked}\n"),
        },
        ("done", Some(decision)) if decision.verdict == Verdict::Clamp => format!(
            "⇥ clamped by rule {}: {}, {}\n",
            decision.rule, decision.summary, decision.outcome
        ),
        ("done", Some(decision)) => format!(
            "✓ {} {}, by rule {}\n",
            decision.outcome, decision.summary, decision.rule
        ),
        ("waiting", _) => format!("⏳ no outcome yet: {asked}\n"),
        ("refused", _) => format!("✕ refused: {asked}\n"),
        (other, _) => format!("{other}: {asked}\n"),
    };
    if !view.detail.is_empty() {
        let _infallible = writeln!(text, "  {}", view.detail);
    }
    for clause in view.clauses.iter().filter(|clause| denies(clause)) {
        text.push_str(&told(clause));
    }
    if let Some(decision) = &view.decision {
        let _infallible = writeln!(text, "  why: sentinel why {}", decision.id);
    }
    text
}

fn denies(clause: &Clause) -> bool {
    !clause.shadow && !clause.verdict.runs()
}

fn told(clause: &Clause) -> String {
    let mut text = format!(
        "  {}: {} is {}, must be {} {}\n",
        clause.rule,
        clause.what,
        value(clause.observed, clause.unit),
        clause.op,
        value(clause.limit, clause.unit)
    );
    if !clause.counterfactual.is_empty() {
        let _infallible = writeln!(text, "  {}", clause.counterfactual);
    }
    text
}
