//! What keeps protection from flapping, and from lapsing in silence.
//!
//! Decides when the condition of a rule came back so soon that its action must stay for longer (a relapse), when people are told because
//! the rule's own choice is held back, and whether an engaged limit is still in force. Never decides whether an action may run.
//!
//! Invariants: a lost limit is wanted again at the next reading; people are told once in the rule's `again_after`; what is not as it
//! should be is among the [`Judge::concerns`].
//!
//! Read next: `standing.rs` (who asks), `judge.rs` (`hear_reflexes`, `hear_relapses`).

use std::time::Duration;

use wire::decision::{Fact, Inputs, Observed};
use wire::reading::{Unit, human};
use wire::{Action, ActionKind, Mono, Origin, Quantity, Reading, Series};

use super::Judge;
use super::settle::{is_same_lever, is_stricter};
use crate::kind::threshold::{Threshold, as_number};
use crate::ledger::{Calm, Effect, Standing};
use crate::rule::{Asked, Mode};
use crate::table::Instance;

/// A condition that comes back within this time after its action was taken back is a relapse.
const RELAPSE_WITHIN: Duration = Duration::from_secs(3_600);
/// The longest that an action is kept because of relapses.
const LONGEST_WAIT_MS: u64 = 3_600_000;
/// Shorter holds are the order of actions, and nobody is told.
const WORTH_TELLING_MS: u64 = 5_000;
/// Devices whose last order is remembered: more than a node has GPUs.
const MAX_ORDERED: usize = 64;

/// Whether an action is the telling of people that stands in for a rule's own choice.
pub(super) fn is_stand_in(condition: &Threshold, standing: &Standing, action: &Action) -> bool {
    let is_notify = matches!(action.kind, ActionKind::Notify { .. });
    let place = condition.then.iter().position(|then| then.kind == action.kind);
    is_notify && place.is_some_and(|place| place != usize::from(standing.alternative))
}

/// An action of the rule was granted.
pub(super) fn granted(standing: &mut Standing, action: &Action) {
    standing.calm.tell = None;
    if !matches!(action.kind, ActionKind::Notify { .. }) {
        standing.calm.refused_by = None;
    }
}

/// The rule's own choice must wait: people are told if the rule says so, once in a while.
pub(super) fn held_back(
    condition: Option<&Threshold>,
    standing: &mut Standing,
    inputs: &Inputs,
    wait_ms: u64,
    now: Mono,
) {
    let tells = |then: &crate::kind::threshold::Then| matches!(then.kind, ActionKind::Notify { .. });
    let first = usize::from(standing.alternative) + 1;
    let is_own = matches!(inputs.origin, Origin::Rule { .. });
    if !is_own || wait_ms < WORTH_TELLING_MS || now < standing.calm.told_until {
        return;
    }
    let place = condition.and_then(|condition| condition.then.iter().skip(first).position(tells));
    standing.calm.tell = place.and_then(|place| u8::try_from(first + place).ok());
}

/// An action takes effect: if it was needed again soon, that is a relapse.
pub(super) fn engages(standing: &mut Standing, action: &Action, now: Mono) {
    let is_in_force = |engaged: &crate::ledger::Engaged| is_same_lever(&engaged.action, action);
    if !standing.engaged.iter().any(is_in_force) {
        let calm = &mut standing.calm;
        let is_relapse = calm.given_back_at.is_some_and(|at| now.since(at) < RELAPSE_WITHIN);
        calm.relapses = if is_relapse { calm.relapses.saturating_add(1) } else { 0 };
    }
    standing.calm.effect = Effect::Unseen;
}

/// The condition does not hold: relapses of long ago are forgotten.
pub(super) fn expire(standing: &mut Standing, now: Mono) {
    let calm = &mut standing.calm;
    let is_long_ago = calm.given_back_at.is_some_and(|at| now.since(at) >= RELAPSE_WITHIN);
    if is_long_ago && standing.engaged.is_empty() {
        (calm.relapses, calm.given_back_at) = (0, None);
    }
    if now >= calm.told_until {
        calm.told_until = Mono(0);
    }
    calm.refused_by = None;
    calm.tell = None;
}

/// Whether a limit that was engaged is no longer in force.
pub(super) fn is_lost(calm: &Calm, action: &Action) -> bool {
    matches!(action.kind, ActionKind::PowerCap { .. }) && matches!(calm.effect, Effect::Lost(_))
}

impl Judge {
    /// Compares what is engaged with what devices read, and asks again for what is no longer there.
    pub(super) fn look_at_effects(&mut self, readings: &[Reading], now: Mono) {
        if self.table.instances.iter().all(|one| one.standing.engaged.is_empty()) {
            return;
        }
        let caps = readings
            .iter()
            .filter(|one| one.series.quantity == Quantity::GpuPowerCap);
        for (device, value) in caps.filter_map(|one| Some((&one.series.device, one.value?))) {
            if self.flights.on(device.as_str(), now) > 0 {
                continue;
            }
            for instance in &mut self.table.instances {
                let standing = &mut instance.standing;
                let cap = standing.engaged.iter().find_map(|engaged| match engaged.action.kind {
                    ActionKind::PowerCap { milliwatts } if engaged.action.target == *device => Some(milliwatts),
                    _ => None,
                });
                let Some(cap) = cap else { continue };
                let calm = &mut standing.calm;
                calm.effect = match calm.effect {
                    _ if value <= i64::from(cap) => Effect::InForce,
                    // The reading may be older than the action.
                    Effect::Unseen => Effect::Doubted,
                    Effect::Doubted | Effect::InForce | Effect::Lost(_) => Effect::Lost(value),
                };
                if matches!(calm.effect, Effect::Lost(_)) {
                    standing.again_at = Mono(0);
                }
            }
        }
    }

    /// What a decision about a limit that is no longer in force says of it.
    pub(super) fn seen_instead(&self, index: usize, action: &Action, now: Mono) -> Option<Observed> {
        if !is_lost(&self.table.instances[index].standing.calm, action) {
            return None;
        }
        let series = Series::new(action.target.clone(), Quantity::GpuPowerCap);
        let age = self.table.age_ms(&series.device, series.quantity, now);
        Some(Observed {
            value: self.table.latest(&series.device, series.quantity),
            age_ms: age.and_then(|age| u64::try_from(age).ok()),
            held_ms: 0,
            series,
        })
    }

    /// Notes who besides rules moved a device.
    pub(super) fn note_order(&mut self, action: &Action, origin: &Origin, failed: bool) {
        let (Origin::Command { who, .. } | Origin::Local { who, .. }) = origin else {
            return self.ordered.retain(|(device, _)| failed || *device != action.target);
        };
        if failed || matches!(action.kind, ActionKind::Notify { .. }) {
            return;
        }
        self.ordered.retain(|(device, _)| *device != action.target);
        if self.ordered.len() < MAX_ORDERED {
            self.ordered.push((action.target.clone(), who.clone()));
        }
    }

    /// What the built-in limits of a decision need to know of the rule that wants it.
    pub(super) fn calm_facts(&self, want: &super::Want, asked: &Asked<'_>, facts: &mut Vec<Fact>) {
        let mut add = |rule: &str, name: &str, value: i64| {
            facts.push(Fact {
                rule: rule.to_owned(),
                name: name.to_owned(),
                value,
            });
        };
        let in_force = self.table.instances.iter().flat_map(|one| &one.standing.engaged);
        let mut covers = in_force.filter(|engaged| is_same_lever(&engaged.action, &want.action));
        if asked.is_reflex() && covers.any(|engaged| !is_stricter(&want.action, &engaged.action)) {
            add("reflexes", "engaged", 1);
        }
        let (Origin::Cleared { rule }, Some(seen)) = (&want.origin, want.readings.first()) else {
            return;
        };
        let is_it = |one: &&Instance| {
            self.bundle.rules[one.rule].id == *rule && self.table.slots[one.slot].series.device == seen.series.device
        };
        let relapses = self
            .table
            .instances
            .iter()
            .find(is_it)
            .map_or(0, |one| one.standing.calm.relapses);
        if relapses > 0 {
            let doubled = self.bundle.relapse_wait_ms.saturating_mul(1 << (relapses - 1).min(16));
            add("relapses", "count", i64::from(relapses));
            add("relapses", "wait_ms", as_number(doubled.min(LONGEST_WAIT_MS)));
        }
    }

    /// What is not as the rules want it now, by rule and device (`hot-gpu/gpu0`), for people: limits that are broken, readings that are
    /// missing, protection that is held back or no longer in force.
    pub fn concerns(&self, now: Mono) -> Vec<(String, String)> {
        let instances = self.table.instances.iter();
        let concerns = instances.filter_map(|one| {
            let rule = &self.bundle.rules[one.rule];
            let condition = rule.kind.condition().filter(|_| rule.mode == Mode::Enforce)?;
            let text = self.concern(one, (&rule.id, condition), now)?;
            let device = &self.table.slots[one.slot].series.device;
            Some((format!("{}/{device}", rule.id), text))
        });
        concerns.collect()
    }

    fn concern(&self, one: &Instance, (rule, condition): (&str, &Threshold), now: Mono) -> Option<String> {
        let slot = &self.table.slots[one.slot];
        let (series, standing) = (&slot.series, &one.standing);
        let heard = slot.last.map(|(_, at)| at).or(self.started)?;
        let is_silent = now.since(heard).as_millis() >= u128::from(condition.stale_after_ms);
        if is_silent {
            let text = format!("{} of {} is missing", series.quantity, series.device);
            return condition.watches_silence().then_some(text);
        }
        let held = standing
            .since
            .is_some_and(|at| now.0.saturating_sub(at.0) >= condition.hold_ms);
        let is_broken = slot.last.is_some_and(|(value, _)| condition.is_met(value)) && (held || !standing.is_idle());
        let lost = self.lost_text(standing);
        match (is_broken, lost) {
            (false, lost) => lost,
            (true, Some(lost)) => Some(format!("{rule}: {}; {lost}", condition.broken(&series.device))),
            (true, None) => Some(format!(
                "{rule}: {}; {}",
                condition.broken(&series.device),
                stands(standing)
            )),
        }
    }

    /// That a limit is no longer in force, and who is suspected.
    fn lost_text(&self, standing: &Standing) -> Option<String> {
        let Effect::Lost(value) = standing.calm.effect else {
            return None;
        };
        let engaged = standing
            .engaged
            .iter()
            .find(|engaged| is_lost(&standing.calm, &engaged.action))?;
        let target = &engaged.action.target;
        let ordered = self.ordered.iter().find(|(device, _)| device == target);
        let range = self.ranges.iter().find(|(device, _)| device == target);
        let by = match (ordered, range) {
            (Some((_, who)), _) => format!("an order of {who}"),
            (None, Some((_, (_, max)))) if i64::from(*max) == value => {
                "a driver that was loaded anew, or another program,".to_owned()
            }
            (None, _) => "another program or person".to_owned(),
        };
        let value = human(value, Unit::Milliwatt);
        let held = standing.calm.refused_by.as_ref();
        let held = held.map_or(String::new(), |rule| {
            format!("; setting it again is held back by {rule}")
        });
        Some(format!(
            "{} is no longer in force: {by} set {value}{held}",
            engaged.action
        ))
    }
}

/// What is being done about a broken limit.
fn stands(standing: &Standing) -> String {
    let engaged = standing.engaged.last().map(|engaged| &engaged.action);
    match (&standing.calm.refused_by, &standing.acting, engaged) {
        (Some(rule), _, None) => format!("its action is held back by {rule}"),
        (_, _, Some(action)) => format!("{action} is in force"),
        (None, Some((action, _)), None) => format!("{action} is under way"),
        (None, None, None) => "nothing is in force against it".to_owned(),
    }
}
