//! `plan`: what brains and people want done in steps, and what becomes of it.

use serde_json::Map;
use wire::PlanId;
use wire::api::{
    BrainView, GrantRequest, List, ObservationView, Param, PlanRequest, PlanStepRequest, PlanStepView, PlanView,
    ReasonRequest, ShadowView,
};
use wire::plan::PlanState;
use wire::reading::{Quantity, Unit, human};

use crate::args::{BrainVerb, Plan, Said, Submit};
use crate::client::escaped;
use crate::failure::{Exit, Failure};
use crate::output::{Output, say};
use crate::rows::time;
use crate::session::Session;
use crate::verbs::sizing;

/// `sentinel plan …`.
pub async fn run(session: &Session, what: &Plan, output: &mut Output) -> Result<Exit, Failure> {
    match what {
        Plan::Submit(plan) => submit(session, plan, output).await,
        Plan::List { state, limit } => list(session, state.as_deref(), *limit, output).await,
        Plan::Show { id } => {
            let view: PlanView = session.hub()?.get(&format!("/action-plans/{id}")).await?;
            output.one(&view, &id.to_string(), || told(&view))?;
            Ok(Exit::Ok)
        }
        Plan::Approve { id } => say_to(session, id, "approve", &Map::new(), output).await,
        Plan::Retry { id } => say_to(session, id, "retry", &Map::new(), output).await,
        Plan::Deny(said) => reasoned(session, said, "deny", output).await,
        Plan::Cancel(said) => reasoned(session, said, "cancel", output).await,
        Plan::Shadow { id } => shadow(session, id, output).await,
    }
}

/// `sentinel brain …`.
pub async fn brain(session: &Session, what: &BrainVerb, output: &mut Output) -> Result<Exit, Failure> {
    let (brain, verb, tier, reason) = match what {
        BrainVerb::Grant {
            brain,
            verb,
            tier,
            reason,
        } => (brain, verb, tier, reason),
        BrainVerb::Size(size) => return sizing::size(session, size, output).await,
        BrainVerb::Ran { file } => return sizing::ran(session, file, output).await,
    };
    let path = format!("/brains/{}/{}/tier", escaped(brain), escaped(verb));
    let request = GrantRequest {
        tier: tier.clone(),
        reason: reason.clone(),
    };
    let view: BrainView = session.hub()?.post(&path, &request, session.patience()).await?;
    output.one(&view, &format!("{brain}/{verb}"), || {
        format!("✓ {brain} has {} ({}) for {verb}\n", view.tier, view.tier_name)
    })?;
    Ok(Exit::Ok)
}

async fn submit(session: &Session, plan: &Submit, output: &mut Output) -> Result<Exit, Failure> {
    let request = match &plan.file {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|cause| {
                Failure::new(Exit::Usage, format!("cannot read `{}`", path.display())).because(cause)
            })?;
            serde_json::from_str(&text)
                .map_err(|cause| Failure::new(Exit::Usage, format!("`{}` is no plan", path.display())).because(cause))?
        }
        None => of_words(plan),
    };
    send(session, &request, output).await
}

/// Sends a plan, and says what became of it so far.
pub async fn send(session: &Session, request: &PlanRequest, output: &mut Output) -> Result<Exit, Failure> {
    let view: PlanView = session
        .hub()?
        .post("/action-plans", request, session.patience())
        .await?;
    output.one(&view, &view.id.to_string(), || told(&view))?;
    if output.for_people() {
        say(&format!("follow it: sentinel plan show {0}, sentinel why {0}", view.id));
    }
    Ok(exit(view.state))
}

fn of_words(plan: &Submit) -> PlanRequest {
    let mut target = std::collections::BTreeMap::new();
    if let Some(named) = &plan.target {
        target.insert("node".to_owned(), named.node.to_string());
        target.extend(
            named
                .device
                .iter()
                .map(|device| ("device".to_owned(), device.to_string())),
        );
    }
    let step = PlanStepRequest {
        verb: plan.verb.clone().unwrap_or_default(),
        target,
        params: plan
            .params
            .iter()
            .map(|(key, value)| (key.clone(), Param(value.clone())))
            .collect(),
        ttl: plan.ttl.map(|span| span.as_secs()),
        safety: None,
        expected: plan.expect.clone(),
    };
    PlanRequest {
        decisions: vec![step],
        reason: plan.reason.clone().unwrap_or_default(),
        key: plan.key.clone().unwrap_or_default(),
        correlation_id: String::new(),
        tenant: String::new(),
        source: None,
        not_after: None,
        claim: None,
    }
}

async fn list(session: &Session, state: Option<&str>, limit: u32, output: &mut Output) -> Result<Exit, Failure> {
    let mut path = format!("/action-plans?limit={limit}");
    if let Some(state) = state {
        path.push_str(&format!("&state={}", escaped(state)));
    }
    let page: List<PlanView> = session.hub()?.get(&path).await?;
    output.list(&page.items)?;
    if output.for_people() {
        match (page.items.is_empty(), page.next_cursor) {
            (true, _) => say("no plan was sent yet: sentinel plan submit"),
            (false, Some(_)) => say(&format!("{} rows; there are more: --limit N", page.items.len())),
            (false, None) => {}
        }
    }
    Ok(Exit::Ok)
}

async fn reasoned(session: &Session, said: &Said, verb: &str, output: &mut Output) -> Result<Exit, Failure> {
    let request = ReasonRequest {
        reason: said.reason.clone(),
    };
    say_to(session, &said.id, verb, &request, output).await
}

async fn say_to<B: serde::Serialize>(
    session: &Session,
    id: &PlanId,
    verb: &str,
    body: &B,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let path = format!("/action-plans/{id}/{verb}");
    let view: PlanView = session.hub()?.post(&path, body, session.patience()).await?;
    output.one(&view, &view.id.to_string(), || told(&view))?;
    Ok(Exit::Ok)
}

async fn shadow(session: &Session, id: &PlanId, output: &mut Output) -> Result<Exit, Failure> {
    let path = format!("/action-plans/{id}/shadow");
    let view: ShadowView = session.hub()?.post(&path, &Map::new(), session.patience()).await?;
    output.one(&view, &id.to_string(), || {
        let mut text = String::new();
        for (number, step) in (1..).zip(&view.steps) {
            let until = step.until.map(|at| format!(", until {}", time(at))).unwrap_or_default();
            let verdict = step.verdict.name();
            text.push_str(&format!(
                "step {number}  {}  {verdict} by {}{until}\n",
                step.summary, step.rule
            ));
        }
        text
    })?;
    Ok(if view.runs { Exit::Ok } else { Exit::Denied })
}

/// A plan as people read it.
fn told(view: &PlanView) -> String {
    let mut text = format!("plan {}  {}  by {}\n", view.id, view.state.name(), view.source);
    text.push_str(&format!("  {}\n", view.reason));
    if !view.detail.is_empty() {
        text.push_str(&format!("  {}\n", view.detail));
    }
    if let Some(deadline) = view.deadline {
        text.push_str(&format!(
            "  goes on by {}, ends at {}\n",
            time(deadline),
            time(view.not_after)
        ));
    }
    if view.state == PlanState::AwaitingApproval {
        let (given, needed) = (view.approved_by.len(), view.approvals_needed);
        text.push_str(&format!(
            "  {given} of {needed} approvals: sentinel plan approve {}\n",
            view.id
        ));
    }
    if let Some(claim) = &view.claim {
        let (whole, rest) = (claim.confidence_bp / 100, claim.confidence_bp % 100);
        text.push_str(&format!(
            "  prediction {}: {whole}.{rest:02} % sure\n",
            claim.prediction
        ));
        if !view.came_true.is_empty() {
            text.push_str(&format!("    came true: {}\n", view.came_true));
        }
    }
    for (number, step) in (1..).zip(&view.steps) {
        text.push_str(&step_told(number, step));
    }
    text
}

fn step_told(number: usize, step: &PlanStepView) -> String {
    let mut text = format!("  step {number}  {}  {}\n", step.summary, step.state.name());
    if let Some(expected) = &step.expected {
        let unit = expected.metric.parse().map_or(Unit::Count, Quantity::unit);
        let seen = match &step.observed {
            Some(ObservationView { before, after, is_met }) => {
                let enough = if *is_met { "enough" } else { "not enough yet" };
                format!("{} to {}, {enough}", human(*before, unit), human(*after, unit))
            }
            None => "nothing seen yet".to_owned(),
        };
        let by = wire::view::span(expected.within_ms);
        let sign = if expected.delta > 0 { "+" } else { "" };
        text.push_str(&format!(
            "    expected {} {sign}{} within {by}: {seen}\n",
            expected.metric,
            human(expected.delta, unit)
        ));
    }
    if !step.detail.is_empty() {
        text.push_str(&format!("    {}\n", step.detail));
    }
    if let Some(decision) = &step.decision {
        text.push_str(&format!("    decided by its node: sentinel why {decision}\n"));
    }
    text
}

/// A plan that is turned down at once is a denial.
fn exit(state: PlanState) -> Exit {
    match state {
        PlanState::Rejected => Exit::Denied,
        _ => Exit::Ok,
    }
}
