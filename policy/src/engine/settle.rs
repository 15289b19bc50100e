//! What an outcome means for the rule that wanted the action: what is engaged from then on, and when it may be wanted again.
//!
//! Decides nothing else; the standing that it changes is kept in `ledger.rs`.

use std::time::Duration;

use wire::{Action, ActionKind, Mono, OutcomeState};

use super::calm::{self, is_stand_in};
use super::{LOST_AFTER, REFUSED_MS};
use crate::actions;
use crate::ledger::{Engaged, Standing};
use crate::rule::Rule;

/// What an outcome of a rule's action means for the rule.
pub(super) fn settle(rule: Option<&Rule>, standing: &mut Standing, action: &Action, state: OutcomeState, now: Mono) {
    let condition = rule.and_then(|rule| rule.kind.condition());
    let again = Duration::from_millis(condition.map_or(0, |condition| condition.again_after_ms));
    let verifies = condition.and_then(|condition| condition.verify);
    if condition.is_some_and(|condition| is_stand_in(condition, standing, action)) {
        // The rule's own choice is still held back.
        standing.acting = None;
        standing.calm.told_until = now + again;
        return;
    }
    standing.refusals = 0;
    match state {
        // An agent tells of an action that is verified only once, at its end: then it is in force, too.
        OutcomeState::Applied | OutcomeState::Verified => {
            engage(rule, standing, action, now);
            let lasting = action.kind.idempotent() || matches!(action.kind, ActionKind::Notify { .. });
            standing.again_at = if lasting { now + again } else { Mono(0) };
            standing.since = None;
            standing.acting = verifies
                .filter(|_| state == OutcomeState::Applied)
                .map(|(_, within_ms)| (action.clone(), now + Duration::from_millis(within_ms) + LOST_AFTER));
            if state == OutcomeState::Verified {
                standing.alternative = 0;
            }
        }
        OutcomeState::NotVerified | OutcomeState::Failed | OutcomeState::Unknown => {
            // It did not help, or nobody knows; it may be in force all the same.
            if state != OutcomeState::Failed {
                engage(rule, standing, action, now);
            }
            standing.acting = None;
            standing.again_at = Mono(0);
            let alternatives = condition.map_or(0, |condition| condition.then.len());
            let next = usize::from(standing.alternative) + 1;
            standing.alternative = u8::try_from(next).ok().filter(|_| next < alternatives).unwrap_or(0);
        }
        OutcomeState::Dropped => standing.acting = None,
    }
}

fn engage(rule: Option<&Rule>, standing: &mut Standing, action: &Action, now: Mono) {
    let condition = rule.and_then(|rule| rule.kind.condition());
    let undo = condition.is_some_and(|condition| condition.undo_on_clear) && action.kind.undo().is_some();
    if !action.kind.reversible() {
        return;
    }
    calm::engages(standing, action, now);
    standing
        .engaged
        .retain(|engaged| !is_same_lever(&engaged.action, action));
    standing.engaged.push(Engaged {
        action: action.clone(),
        undo,
    });
}

pub(super) fn settle_undo(standing: &mut Standing, failed: bool, now: Mono) {
    standing.acting = None;
    if failed {
        let wait = (REFUSED_MS.0 << standing.refusals.min(10)).min(REFUSED_MS.1);
        standing.refusals = standing.refusals.saturating_add(1);
        standing.blocked_until = now + Duration::from_millis(wait);
    } else {
        standing.engaged.pop();
        standing.calm.given_back_at = Some(now);
        standing.refusals = 0;
        standing.again_at = Mono(0);
    }
}

/// Whether two actions move the same thing.
pub(super) fn is_same_lever(a: &Action, b: &Action) -> bool {
    a.target == b.target && actions::wire_index(&a.kind) == actions::wire_index(&b.kind) && a.kind.undo().is_some()
}

/// Whether `a` leaves less power or share than `b`.
pub(super) fn is_stricter(a: &Action, b: &Action) -> bool {
    match (actions::amount(&a.kind), actions::amount(&b.kind)) {
        (Some((a, _)), Some((b, _))) => a < b,
        _ => false,
    }
}
