//! How a rule stands with one device while readings come: when it wants an action, takes one back, or tells that a reading is missing.
//!
//! Wants; never decides. Invariants: a rule has at most one action under way per device; what a rule engaged it takes back at most once.
//!
//! Read next: `settle.rs` (what an outcome means), `kind/threshold.rs` (conditions).

use std::time::Duration;

use wire::decision::{Inputs, Observed};
use wire::{Action, ActionKind, DeviceId, Mono, Origin};

use super::calm::{self, is_lost};
use super::settle::{is_same_lever, is_stricter};
use super::{Judge, SILENCE_CHECK, Verify, Want};
use crate::judge::rejected;
use crate::kind::threshold::{OnMissing, Threshold};
use crate::ledger::Standing;
use crate::rule::{Mode, Rule};

impl Judge {
    /// One rule sees one value.
    pub(super) fn step(
        &mut self,
        index: usize,
        value: i64,
        before: Option<(i64, Mono)>,
        now: Mono,
        wants: &mut Vec<Want>,
    ) {
        let instance = &mut self.table.instances[index];
        let rule = &self.bundle.rules[instance.rule];
        let Some(condition) = rule.kind.condition() else {
            return;
        };
        let standing = &mut instance.standing;
        if condition.is_met(value) {
            let stale = |at: Mono| now.since(at).as_millis() >= u128::from(condition.stale_after_ms);
            if before.is_some_and(|(_, at)| stale(at)) {
                // A gap in the readings breaks the hold time.
                standing.since = None;
            }
            standing.clear_since = None;
            let since = *standing.since.get_or_insert(now);
            if now.0.saturating_sub(since.0) >= condition.hold_ms {
                self.want(index, now, wants);
            }
            return;
        }
        standing.since = None;
        calm::expire(standing, now);
        if standing.is_idle() || !condition.is_clear(value) {
            standing.clear_since = None;
            return;
        }
        let since = *standing.clear_since.get_or_insert(now);
        if now.0.saturating_sub(since.0) >= condition.clear_hold_ms {
            self.clear(index, now, wants);
        }
    }

    /// The condition holds: pushes the rule's next alternative unless something speaks against asking now.
    fn want(&mut self, index: usize, now: Mono, wants: &mut Vec<Want>) {
        let bundle = self.bundle.clone();
        let instance = &mut self.table.instances[index];
        let rule = &bundle.rules[instance.rule];
        let Some(condition) = rule.kind.condition() else {
            return;
        };
        let standing = &mut instance.standing;
        standing.acting.take_if(|(_, until)| now > *until);
        if standing.acting.is_some() {
            return;
        }
        let waits = now < standing.blocked_until || now < standing.again_at;
        let stand_in = standing.calm.tell.filter(|_| waits);
        if waits && stand_in.is_none() {
            return;
        }
        let alternative = stand_in.unwrap_or(standing.alternative);
        let Some(then) = condition.then.get(usize::from(alternative)) else {
            standing.alternative = 0;
            return;
        };
        let slot = &self.table.slots[instance.slot];
        let action = Action {
            target: then.target.clone().unwrap_or_else(|| slot.series.device.clone()),
            kind: then.kind.clone(),
        };
        if self.is_covered(index, &action) {
            return;
        }
        let verify = condition.verify.filter(|_| stand_in.is_none());
        let verify = verify.map(|(falls_below, within_ms)| Verify {
            series: slot.series.clone(),
            falls_below,
            within: Duration::from_millis(within_ms),
        });
        let origin = Origin::Rule { rule: rule.id.clone() };
        let seen = self.seen(index, now, self.table.instances[index].standing.since);
        wants.push(Want {
            rejected: rejected(&bundle, &origin, &action),
            origin,
            readings: std::iter::once(seen)
                .chain(self.seen_instead(index, &action, now))
                .collect(),
            action,
            verify,
        });
    }

    /// The condition has cleared: takes back what is engaged, the latest first, and then begins anew.
    fn clear(&mut self, index: usize, now: Mono, wants: &mut Vec<Want>) {
        let standing = &mut self.table.instances[index].standing;
        standing.acting.take_if(|(_, until)| now > *until);
        if standing.acting.is_some() || now < standing.blocked_until {
            return;
        }
        // What is no longer in force is not taken back: what the device has now is somebody else's.
        while standing
            .engaged
            .last()
            .is_some_and(|engaged| !engaged.undo || is_lost(&standing.calm, &engaged.action))
        {
            standing.engaged.pop();
        }
        let Some(engaged) = standing.engaged.last().cloned() else {
            standing.reset();
            return;
        };
        let rule = self.bundle.rules[self.table.instances[index].rule].id.clone();
        let since = self.table.instances[index].standing.clear_since;
        let Some(action) = self.undo_of(Some(index), &engaged.action) else {
            self.table.instances[index].standing.engaged.pop();
            return;
        };
        let seen = self.seen(index, now, since);
        wants.push(Want {
            origin: Origin::Cleared { rule },
            action,
            readings: vec![seen],
            rejected: Vec::new(),
            verify: None,
        });
    }

    /// What brings back the state before `action`: its undo, or what another rule still has engaged on the same device.
    fn undo_of(&self, index: Option<usize>, action: &Action) -> Option<Action> {
        let others = self
            .table
            .instances
            .iter()
            .enumerate()
            .filter(|(other, _)| Some(*other) != index);
        let mut strictest: Option<Action> = None;
        for engaged in others.flat_map(|(_, instance)| &instance.standing.engaged) {
            if is_same_lever(&engaged.action, action)
                && strictest.as_ref().is_none_or(|best| is_stricter(&engaged.action, best))
            {
                strictest = Some(engaged.action.clone());
            }
        }
        let kind = action.kind.undo()?;
        Some(strictest.unwrap_or(Action {
            target: action.target.clone(),
            kind,
        }))
    }

    /// Whether another rule already holds the same lever at least as tight: pulling it now would loosen it.
    fn is_covered(&self, index: usize, action: &Action) -> bool {
        let others = self
            .table
            .instances
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index);
        others
            .flat_map(|(_, instance)| &instance.standing.engaged)
            .any(|engaged| is_same_lever(&engaged.action, action) && !is_stricter(action, &engaged.action))
    }

    /// What a decision will say it saw.
    fn seen(&self, index: usize, now: Mono, since: Option<Mono>) -> Observed {
        let slot = &self.table.slots[self.table.instances[index].slot];
        Observed {
            series: slot.series.clone(),
            value: slot.last.map(|(value, _)| value),
            age_ms: slot.last.map(|(_, at)| now.0.saturating_sub(at.0)),
            held_ms: since.map_or(0, |since| now.0.saturating_sub(since.0)),
        }
    }

    pub(super) fn look_for_silence(&mut self, now: Mono, wants: &mut Vec<Want>) {
        let bundle = self.bundle.clone();
        let mut next = Mono(u64::MAX);
        for index in 0..self.table.instances.len() {
            let instance = &self.table.instances[index];
            let Some(condition) = bundle.rules[instance.rule]
                .kind
                .condition()
                .filter(|c| c.watches_silence())
            else {
                continue;
            };
            let heard = self.table.slots[instance.slot].last.map(|(_, at)| at);
            let since = heard.or(self.started).unwrap_or(now);
            let due = since + Duration::from_millis(condition.stale_after_ms);
            if now < due {
                next = next.min(due);
                continue;
            }
            next = next.min(now + SILENCE_CHECK);
            if condition.on_missing == OnMissing::Act {
                self.table.instances[index].standing.since.get_or_insert(due);
                self.table.instances[index].standing.clear_since = None;
                self.want(index, now, wants);
            } else {
                self.alarm(index, condition, now, wants);
            }
        }
        self.next_silence = Some(next.min(now + Duration::from_secs(3_600)));
    }

    /// Tells people that a reading is missing, once, and again after a while.
    fn alarm(&mut self, index: usize, condition: &Threshold, now: Mono, wants: &mut Vec<Want>) {
        let seen = self.seen(index, now, None);
        let instance = &mut self.table.instances[index];
        if now < instance.standing.alarmed_until {
            return;
        }
        instance.standing.alarmed_until = now + Duration::from_millis(condition.again_after_ms);
        let rule = self.bundle.rules[instance.rule].id.clone();
        let message = format!("{} of {} is missing", seen.series.quantity, seen.series.device);
        wants.push(Want {
            origin: Origin::Rule { rule },
            action: Action {
                target: seen.series.device.clone(),
                kind: ActionKind::Notify { message },
            },
            readings: vec![seen],
            rejected: Vec::new(),
            verify: None,
        });
    }

    /// Whether a rule that is gone, or only tried out now, has something engaged.
    pub(super) fn find_orphans(&mut self) {
        let bundle = &self.bundle;
        self.orphans = self.stored.iter().any(|(rule, _, standing)| {
            bundle.rule(rule).is_none_or(|rule| rule.mode != Mode::Enforce)
                && standing.engaged.iter().any(|engaged| engaged.undo)
        });
    }

    /// Takes back what rules that left the bundle had engaged.
    pub(super) fn take_back_orphans(&mut self, now: Mono, wants: &mut Vec<Want>) {
        for index in 0..self.stored.len() {
            let (rule, _, standing) = &mut self.stored[index];
            standing.acting.take_if(|(_, until)| now > *until);
            standing.engaged.retain(|engaged| engaged.undo);
            let waits = standing.acting.is_some() || now < standing.blocked_until;
            let Some(engaged) = standing.engaged.last().filter(|_| !waits).cloned() else {
                continue;
            };
            if self.bundle.rule(rule).is_some_and(|rule| rule.mode == Mode::Enforce) {
                continue;
            }
            let origin = Origin::Cleared { rule: rule.clone() };
            if let Some(action) = self.undo_of(None, &engaged.action) {
                wants.push(Want {
                    origin,
                    action,
                    readings: Vec::new(),
                    rejected: Vec::new(),
                    verify: None,
                });
            }
        }
    }

    /// The standing that an origin and the device it read stand for, with its rule if the bundle has it.
    ///
    /// What a rule that is gone takes back has read nothing: there the action's target tells its devices apart.
    pub(super) fn standing_of(
        &mut self,
        inputs: &Inputs,
        device: Option<&DeviceId>,
    ) -> Option<(Option<Rule>, &mut Standing)> {
        let (Origin::Rule { rule: id } | Origin::Cleared { rule: id }) = &inputs.origin else {
            return None;
        };
        let target = &inputs.wanted.target;
        let table = &mut self.table;
        let bundle = &self.bundle;
        for instance in &mut table.instances {
            let slot = &table.slots[instance.slot];
            if bundle.rules[instance.rule].id == *id && device == Some(&slot.series.device) {
                return Some((Some(bundle.rules[instance.rule].clone()), &mut instance.standing));
            }
        }
        let gone = self.stored.iter_mut().find(|(rule, on, standing)| {
            let takes_back = || standing.engaged.iter().any(|engaged| engaged.action.target == *target);
            rule == id && (device == Some(on) || device.is_none() && takes_back())
        });
        gone.map(|(_, _, standing)| (None, standing))
    }

    /// Runs `change` on the standing of the rule that has this action under way.
    pub(super) fn with_acting(
        &mut self,
        origin: &Origin,
        action: &Action,
        change: impl FnOnce(Option<&Rule>, &mut Standing),
    ) {
        let (Origin::Rule { rule: id } | Origin::Cleared { rule: id }) = origin else {
            return;
        };
        let is_it = |standing: &Standing| {
            standing
                .acting
                .as_ref()
                .is_some_and(|(under_way, _)| under_way == action)
        };
        let bundle = self.bundle.clone();
        for instance in &mut self.table.instances {
            let rule = &bundle.rules[instance.rule];
            if rule.id == *id && is_it(&instance.standing) {
                return change(Some(rule), &mut instance.standing);
            }
        }
        if let Some((_, _, standing)) = self.stored.iter_mut().find(|(rule, _, s)| rule == id && is_it(s)) {
            change(bundle.rule(id), standing);
        }
    }
}
