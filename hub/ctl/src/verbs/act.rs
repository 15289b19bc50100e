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
use crate::rows::{time, value};
use crate::session::Session;

/// How long to wait for the outcome when `--timeout` does not say: a restart with its verification fits.
pub const OUTCOME: Duration = Duration::from_secs(30);
/// Longest wait that a hub accepts: most proxies cut a silent request after two minutes.
const LONGEST_MS: u64 = 110_000;
/// How long the answer may take beyond that.
pub const MARGIN: Duration = Duration::from_secs(5);

/// A span as the hub takes it.
pub fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A wait that the hub accepts.
pub fn wait_ms(span: Duration) -> u64 {
    milliseconds(span).clamp(1, LONGEST_MS)
}

/// `sentinel act NODE[/DEVICE] ACTION [K=V…] --reason TEXT`.
pub async fn run(session: &Session, act: &Act, output: &mut Output) -> Result<Exit, Failure> {
    let wait = session.timeout.unwrap_or(OUTCOME);
    let wait_ms = wait_ms(wait);
    let patience = &act.patience;
    let request = ActRequest {
        node: act.target.node.clone(),
        device: act.target.device.clone().unwrap_or_else(DeviceId::node),
        action: act.action.clone(),
        params: act.params.iter().cloned().collect(),
        reason: act.reason.clone(),
        // A command that nobody waits for any more must not run, unless that is what was wanted.
        valid_for_ms: patience.valid_for.map_or(wait_ms, milliseconds),
        wait_ms: if patience.no_wait { 0 } else { wait_ms },
    };
    let view: ActView = session
        .source(&act.target.node)?
        .post("/actions", &request, wait + MARGIN)
        .await?;
    print(&view, &asked(act), patience.no_wait, output)
}

fn asked(act: &Act) -> String {
    let device = match &act.target.device {
        Some(device) => format!("{}/{device}", act.target.node),
        None => act.target.node.to_string(),
    };
    format!("{} of {device}", act.action)
}

/// Prints what came of a request, and says how it ended. `no_wait`: that it was accepted is all that was wanted.
pub fn print(view: &ActView, asked: &str, no_wait: bool, output: &mut Output) -> Result<Exit, Failure> {
    let command = view.command.map(|command| command.to_string());
    let decision = view.decision.as_ref().map(|decision| decision.id.to_string());
    let name = decision.or(command).unwrap_or_default();
    output.one(view, &name, || text(view, asked))?;
    match (view.status.as_str(), no_wait) {
        ("waiting", true) => Ok(Exit::Ok),
        _ => Ok(exit(view)),
    }
}

fn exit(view: &ActView) -> Exit {
    let outcome = view.decision.as_ref().map(|decision| decision.outcome.as_str());
    match (view.status.as_str(), outcome) {
        ("denied", _) => Exit::Denied,
        ("refused", _) | ("done", Some("dropped")) => Exit::Conflict,
        ("waiting", _) => Exit::TimedOut,
        ("cancelled", _) => Exit::Ok,
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
            "{} {} {}, by rule {}\n",
            sign(&decision.outcome),
            decision.outcome,
            decision.summary,
            decision.rule
        ),
        ("done", None) => format!("✓ done: {asked}\n"),
        ("waiting", None) => match view.until {
            Some(until) => format!("⏳ accepted: {asked} waits for its node until {}\n", time(until)),
            None => format!("⏳ no outcome yet: {asked}\n"),
        },
        ("waiting", Some(_)) => format!("⏳ no outcome yet: {asked}\n"),
        ("cancelled", _) => format!("○ called off: {asked}\n"),
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
    if let Some(command) = view.command.filter(|_| view.until.is_some()) {
        let _infallible = writeln!(text, "  wait for it: sentinel wait {command}");
        let _infallible = writeln!(text, "  call it off: sentinel cancel {command} --reason TEXT");
    }
    text
}

/// The sign of an outcome: what failed, or may have, is not ticked off.
fn sign(outcome: &str) -> char {
    match outcome {
        "failed" | "not_verified" | "dropped" => '✕',
        "unknown" => '?',
        "pending" | "intended" => '⏳',
        _ => '✓',
    }
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
