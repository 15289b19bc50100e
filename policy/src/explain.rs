//! What `sentinel why` prints: the same bytes from the hub and from the node.
//!
//! Only writes down what a decision holds; judges nothing.

use std::fmt::Write as _;

use wire::action::OutcomeState;
use wire::decision::{Clause, Verdict};
use wire::reading::{Unit, human};
use wire::{Action, ActionKind, Decision, DecisionId, Now, Origin, Outcome};

use crate::actions;
use crate::rule::show;
use crate::text::units::show_duration;

/// The text of one decision: a header, every comparison by rule, what was rejected, the bundle, what came of it.
///
/// `entry_at` is when the decision's entry was made.
pub fn explain(id: &DecisionId, entry_at: Now, decision: &Decision, outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    header(&mut text, id, entry_at, decision);
    clauses(&mut text, decision);
    rejected(&mut text, decision);
    footer(&mut text, decision);
    for outcome in outcomes {
        outcome_line(&mut text, decision, outcome);
    }
    text
}

// Writing to a `String` cannot fail, so the results of `write!` are dropped below.

fn header(text: &mut String, id: &DecisionId, entry_at: Now, decision: &Decision) {
    let (inputs, judgement) = (&decision.inputs, &decision.judgement);
    let verdict = match judgement.verdict {
        Verdict::Allow => "ALLOWED",
        Verdict::Clamp => "CLAMPED",
        Verdict::Hold => "HELD",
        Verdict::RequireApproval => "NEEDS APPROVAL",
        Verdict::Deny => "DENIED",
    };
    let connected = if inputs.connected { "connected" } else { "disconnected" };
    let _ = writeln!(
        text,
        "{}  {}  {verdict}  decided on {}, {connected}",
        entry_at.wall, inputs.wanted, id.agent
    );
    let who = match &inputs.origin {
        Origin::Rule { rule } => format!("wanted by rule \"{rule}\""),
        Origin::Cleared { rule } => format!("taken back by rule \"{rule}\""),
        Origin::Command { who, reason, .. } => format!("commanded by {who}: {reason}"),
        Origin::Local { who, reason } => format!("asked for on the node by {who}: {reason}"),
        Origin::Fault { code } => format!("wanted by the ladder against faults, because of {code}"),
        Origin::Plan {
            plan,
            step,
            undo,
            who,
            reason,
            ..
        } => {
            let back = if *undo { "taking back " } else { "" };
            format!("{back}step {} of plan {plan} by {who}: {reason}", u32::from(*step) + 1)
        }
    };
    let _ = writeln!(text, "  {id}  {who}");
    match (&judgement.granted, judgement.verdict) {
        (Some(action), Verdict::Clamp) => {
            let _ = writeln!(text, "  runs as {} because of \"{}\"", action.kind, judgement.rule);
        }
        (None, verdict) => {
            let retry = judgement.retry_after_ms.map_or(String::new(), |ms| {
                format!(", worth asking again in {}", show_duration(ms))
            });
            let _ = writeln!(text, "  {} by \"{}\"{retry}", verdict.name(), judgement.rule);
        }
        (Some(_), _) => {}
    }
}

fn clauses(text: &mut String, decision: &Decision) {
    let clauses = &decision.judgement.clauses;
    let lines: Vec<_> = clauses.iter().map(comparison).collect();
    // Longer ones stick out rather than push the rest off the screen.
    const WIDEST: usize = 60;
    let width = lines
        .iter()
        .map(|line| line.0.chars().count())
        .filter(|w| *w <= WIDEST)
        .max()
        .unwrap_or(0);
    let mut rule = None;
    for (clause, (what, values)) in clauses.iter().zip(&lines) {
        if rule != Some(&clause.rule) {
            rule = Some(&clause.rule);
            let shadow = if clause.shadow { ", shadow" } else { "" };
            let _ = writeln!(text, "  rule \"{}\" ({}{shadow})", clause.rule, clause.kind);
        }
        let sign = match (clause.holds, clause.verdict) {
            (true, _) => '✔',
            (false, Verdict::Allow) => '!',
            (false, Verdict::Clamp) => '~',
            (false, _) => '✘',
        };
        let age = clause
            .age_ms
            .map_or(String::new(), |ms| format!("  (age {})", show_duration(ms)));
        let pad = width.saturating_sub(what.chars().count());
        let _ = writeln!(text, "    {sign} {what}{:pad$}   {values}{age}", "");
        if !clause.counterfactual.is_empty() {
            let _ = writeln!(text, "      {}", clause.counterfactual);
        }
    }
}

fn comparison(clause: &Clause) -> (String, String) {
    let value = |value: Option<i64>| value.map_or("—".to_owned(), |value| show(value, clause.unit));
    let limit = value(clause.limit);
    (
        format!("{} {} {limit}", clause.what, clause.op),
        format!("{} {} {limit}", value(clause.observed), clause.op),
    )
}

fn rejected(text: &mut String, decision: &Decision) {
    if decision.judgement.rejected.is_empty() {
        return;
    }
    let _ = writeln!(text, "  not done");
    for other in &decision.judgement.rejected {
        let _ = writeln!(text, "    · {}: {}", other.action, other.because);
    }
}

fn footer(text: &mut String, decision: &Decision) {
    let inputs = &decision.inputs;
    let bundle = inputs.bundle;
    let _ = writeln!(
        text,
        "  bundle generation {} ({}), authority {} at age {}",
        bundle.generation,
        bundle.digest.short(),
        decision.judgement.authority.name(),
        show_duration(inputs.policy_age_ms)
    );
    match inputs.clock {
        wire::time::ClockState::Steady => {}
        wire::time::ClockState::Stepped => text.push_str("  the node's wall clock had been stepped\n"),
        wire::time::ClockState::BehindFloor => text.push_str("  the node's wall clock was certainly wrong\n"),
    }
    if !inputs.journal_ok {
        text.push_str("  the journal did not accept entries: protective actions only\n");
    }
}

fn outcome_line(text: &mut String, decision: &Decision, outcome: &Outcome) {
    let action = decision.judgement.granted.as_ref().unwrap_or(&decision.inputs.wanted);
    let unit = number_unit(action);
    let sign = match outcome.state {
        OutcomeState::Applied | OutcomeState::Verified => '✔',
        OutcomeState::NotVerified | OutcomeState::Failed | OutcomeState::Unknown => '✘',
        OutcomeState::Dropped => '·',
    };
    let _ = write!(text, "  {sign} outcome {}", outcome.state.name());
    // The effect is seen in another quantity than the action's: the detail tells it with its own unit.
    let numbers = match outcome.state {
        OutcomeState::Verified | OutcomeState::NotVerified => (None, None),
        OutcomeState::Applied | OutcomeState::Failed | OutcomeState::Unknown | OutcomeState::Dropped => {
            (outcome.before, outcome.after)
        }
    };
    match numbers {
        (Some(before), Some(after)) => {
            let _ = write!(text, "  {} → {}", human(before, unit), human(after, unit));
        }
        (None, Some(after)) => {
            let _ = write!(text, "  {}", human(after, unit));
        }
        (_, None) => {}
    }
    if outcome.probed {
        text.push_str("  (found by probing)");
    }
    if !outcome.detail.is_empty() {
        let _ = write!(text, "  {}", outcome.detail);
    }
    text.push('\n');
}

/// The unit of an outcome's `before` and `after`.
fn number_unit(action: &Action) -> Unit {
    match &action.kind {
        ActionKind::ReleasePowerCap => Unit::Milliwatt,
        ActionKind::Unthrottle => Unit::BasisPoints,
        ActionKind::UnlockClocks => Unit::Megahertz,
        ActionKind::Restart | ActionKind::Notify { .. } | ActionKind::ResetGpu | ActionKind::Reboot => Unit::Count,
        ActionKind::Cordon | ActionKind::Uncordon | ActionKind::Drain => Unit::Flag,
        kind @ (ActionKind::PowerCap { .. } | ActionKind::Throttle { .. } | ActionKind::LockClocks { .. }) => {
            actions::amount(kind).map_or(Unit::Count, |(_, unit)| unit)
        }
    }
}
