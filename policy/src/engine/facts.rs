//! What an agent's judge knows besides readings, and what of it a decision keeps: facts, labels, a break-glass token, by how much the
//! clock may be off.
//!
//! Gathers; never decides. Invariant: a judgement sees nothing that is not in the decision.

use wire::decision::Fact;
use wire::{Action, ActionKind, BreakGlassPayload, DeviceId, Mono, Now, Quantity};

use super::power::DEVICE;
use super::{Judge, REFLEX_WINDOW_MS};
use crate::counters::NODE;
use crate::glass::{BREAK_GLASS, Glass, OpenGlass};
use crate::kind::threshold::as_number;
use crate::ledger::{TurnOf, Turns, World};
use crate::rule::Asked;

/// Under this name a decision keeps the labels of its target: facts called `name=value`.
const LABELS: &str = "labels";

/// The labels that a decision was made with.
pub(crate) fn labels_in(facts: &[Fact]) -> Vec<(String, String)> {
    let labels = facts.iter().filter(|fact| fact.rule == LABELS);
    let pairs = labels.filter_map(|fact| fact.name.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Under this name a decision keeps by how much its wall clock may have been off, if a rule of it asks and it is not nothing.
const CLOCK: &str = "clock";
/// By how much, in milliseconds.
const ERROR_MS: &str = "error_ms";
/// Nobody knew.
const UNKNOWN: &str = "unknown";

/// By how much the wall clock of a decision may have been off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClockError {
    /// In milliseconds, where it is known.
    pub ms: i64,
    /// It is not.
    pub is_unknown: bool,
}

impl ClockError {
    /// As a decision keeps it.
    pub fn of(facts: &[Fact]) -> Self {
        let value = |name: &str| {
            let mut kept = facts.iter().filter(|fact| fact.rule == CLOCK && fact.name == name);
            kept.next().map(|fact| fact.value)
        };
        Self {
            ms: value(ERROR_MS).unwrap_or(0).max(0),
            is_unknown: value(UNKNOWN).is_some(),
        }
    }

    /// As an agent tells it: [`super::Situation::clock_error_ms`].
    pub fn told(self) -> Option<u64> {
        (!self.is_unknown).then(|| u64::try_from(self.ms).unwrap_or(0))
    }
}

impl Judge {
    /// Sets, or with `None` forgets, a number that agent or hub observed of a scope, for rules that ask for it by name:
    /// `rack.members`, `rack.unhealthy`, `web.burn_1h`, `tenant.cost_spent_micros`.
    pub fn set_fact(&mut self, name: &str, value: Option<i64>) {
        self.known.set(name, value);
    }

    /// A number that was set, by its name.
    pub fn fact(&self, name: &str) -> Option<i64> {
        self.known.get(name)
    }

    /// Says who gives turns, and what is known of them. At first nobody does.
    pub fn set_turns(&mut self, turns: Turns) {
        self.turns = turns;
    }

    /// Sets, or with `None` forgets, a label of a device, or of every device of the node. A device's own label hides the node's of
    /// the same name. Ignored beyond 64 of one device and 1,024 in all, and if the name is empty or has a `=`.
    pub fn set_label(&mut self, device: Option<&DeviceId>, name: &str, value: Option<&str>) {
        const MAX_LABELS: usize = 1_024;
        self.labels
            .retain(|(of, known, _)| of.as_ref() != device || known != name);
        let of_device = self.labels.iter().filter(|(of, ..)| of.as_ref() == device).count();
        let is_name = !name.is_empty() && !name.contains('=');
        if let Some(value) = value
            && is_name
            && of_device < crate::cel::limits::ENTRIES
            && self.labels.len() < MAX_LABELS
        {
            self.labels.push((device.cloned(), name.to_owned(), value.to_owned()));
            self.labels.sort();
        }
    }

    /// Opens a break-glass token whose signatures were verified, and asks again for everything that was refused.
    ///
    /// `approvers` are the people or keys that signed it. `clock_wrong` says that the wall clock cannot tell whether it is over.
    /// An error says why nothing was opened.
    pub fn break_glass(
        &mut self,
        token: &BreakGlassPayload,
        approvers: &[String],
        now: Now,
        clock_wrong: bool,
    ) -> Result<(), String> {
        self.glass = Some(Glass::take(token, approvers, self.glass.as_ref(), now, clock_wrong)?);
        self.reconsider();
        Ok(())
    }

    /// The break-glass token that is open now.
    pub fn open_glass(&self, now: Mono) -> Option<OpenGlass> {
        self.glass.as_ref().and_then(|glass| glass.shown(now))
    }

    /// Closes the open break-glass token before its time, and returns what was open.
    pub fn close_glass(&mut self, now: Mono) -> Option<OpenGlass> {
        let open = self.open_glass(now)?;
        if let Some(glass) = &mut self.glass {
            glass.close(now);
        }
        Some(open)
    }

    /// The labels of a target, if any rule asks for labels.
    pub(super) fn labels_of(&self, target: &DeviceId) -> Vec<(String, String)> {
        if !self.bundle.uses_labels {
            return Vec::new();
        }
        let is_own = |name: &str| {
            let mut own = self.labels.iter().filter(|(of, ..)| of.as_ref() == Some(target));
            own.any(|(_, known, _)| known == name)
        };
        let visible = self.labels.iter().filter(|(of, name, _)| match of {
            Some(device) => device == target,
            None => !is_own(name),
        });
        visible.map(|(_, name, value)| (name.clone(), value.clone())).collect()
    }

    /// Everything that a judgement of this action depends on besides readings.
    pub(super) fn facts(&self, asked: &Asked<'_>, action: &Action, clock_error_ms: Option<u64>) -> Vec<Fact> {
        let mut facts = Vec::new();
        let mut add = |rule: &str, name: &str, value: Option<i64>| {
            facts.extend(value.map(|value| Fact {
                rule: rule.to_owned(),
                name: name.to_owned(),
                value,
            }));
        };
        if let Some((who, left_ms)) = self.glass.as_ref().and_then(|glass| glass.covers(asked)) {
            add(BREAK_GLASS, who, Some(left_ms));
        }
        for (name, value) in asked.labels {
            add(LABELS, &format!("{name}={value}"), Some(1));
        }
        let mut rules = self.bundle.rules.iter();
        if clock_error_ms != Some(0) && rules.any(|rule| rule.kind.uses_clock_error() && rule.applies(asked)) {
            match clock_error_ms {
                Some(error_ms) => add(CLOCK, ERROR_MS, Some(as_number(error_ms))),
                None => add(CLOCK, UNKNOWN, Some(1)),
            }
        }
        let now = asked.now.mono;
        for (name, value) in self.limits(action, now) {
            add(DEVICE, name, Some(value));
        }
        let flying = self.flights.on(action.target.as_str(), now);
        if flying > 0 && !matches!(action.kind, ActionKind::Notify { .. }) {
            add(DEVICE, "in_flight", i64::try_from(flying).ok());
        }
        if asked.is_reflex() || asked.forward().is_some() {
            let limit = self.bundle.reflexes_per_hour;
            let (count, free) = self.reflexes.window(NODE, asked.now.mono, REFLEX_WINDOW_MS, limit);
            add("reflexes", "count", Some(i64::from(count)));
            add("reflexes", "free_in_ms", free.map(as_number));
        }
        let world = World {
            known: &self.known,
            flights: &self.flights,
            present: self.present(action),
            readings: Some((&self.table, &action.target)),
            indicators: Some((&self.bundle.indicators, &self.courses)),
            meters: Some((&self.bundle.meters, &self.metered)),
            power_limits_mw: self.power_limits_mw(now),
            turn: TurnOf::NotNeeded,
            now,
        };
        for (rule, counters) in self.bundle.rules.iter().zip(&self.counters) {
            let Some(asked) = &rule.counted_as(asked).filter(|_| !rule.kind.numbers().is_empty()) else {
                continue;
            };
            let turn = match rule.needs_turn() {
                true => self.turns.of(&rule.id),
                false => TurnOf::NotNeeded,
            };
            let numbers = rule.kind.gather(counters, &World { turn, ..world }, asked);
            for (index, name) in rule.kind.numbers().iter().enumerate() {
                add(&rule.id, name, numbers.get(index));
            }
        }
        facts
    }

    /// The present value of what an action changes.
    fn present(&self, action: &Action) -> Option<i64> {
        match action.kind {
            ActionKind::PowerCap { .. } => self.table.latest(&action.target, Quantity::GpuPowerCap),
            ActionKind::Throttle { .. }
            | ActionKind::ReleasePowerCap
            | ActionKind::Restart
            | ActionKind::Unthrottle
            | ActionKind::Notify { .. }
            | ActionKind::LockClocks { .. }
            | ActionKind::UnlockClocks
            | ActionKind::Cordon
            | ActionKind::Uncordon
            | ActionKind::Drain
            | ActionKind::ResetGpu
            | ActionKind::Reboot => None,
        }
    }
}
