//! What an action changes of the power that devices may draw: the new limit less the present one.
//!
//! The way back from a power cap is taken for the highest limit that the device accepts. The driver gives the default limit back, which
//! is no higher, so what is counted is never less than what comes. A present limit that is not known, or was read too long ago, makes the
//! change unknown, never nothing.
//!
//! Gathers; never decides. A decision keeps the limits as facts, and [`details_in`] reads the change from them, so that it is the same
//! whenever the decision is judged again.

use wire::decision::Fact;
use wire::{Action, ActionKind, DeviceId, Mono, Quantity};

use super::Judge;
use crate::kind::Kind;
use crate::kind::quota::SEEN_WITHIN_MS;
use crate::rule::{Details, POWER, Rule};

/// Under this name a decision keeps what was known of its target.
pub(super) const DEVICE: &str = "device";
/// The limit in force, the least and the highest that the device accepts, in milliwatts.
const CAP: &str = "cap_mw";
const MIN: &str = "min";
const MAX: &str = "max";

/// What is said of an action on a node: by how much it changes the power that its target may draw, as the facts of its decision tell.
pub(crate) fn details_in(facts: &[Fact], action: &Action) -> Details {
    let of_device = |name: &str| {
        let is_it = |fact: &&Fact| fact.rule == DEVICE && fact.name == name;
        facts.iter().find(is_it).map(|fact| fact.value)
    };
    let next = match action.kind {
        ActionKind::PowerCap { milliwatts } => Some(i64::from(milliwatts)),
        ActionKind::ReleasePowerCap => of_device(MAX),
        // Locked clocks lower what is drawn and not what may be.
        _ => return Details::NONE.clone(),
    };
    let change = next.zip(of_device(CAP)).map(|(next, cap)| next.saturating_sub(cap));
    Details {
        resources: vec![(POWER.to_owned(), change)],
        ..Details::NONE.clone()
    }
}

/// Whether a fact tells of the device's limits: so it was then, whoever judges.
pub(crate) fn is_limit(fact: &Fact) -> bool {
    fact.rule == DEVICE && matches!(fact.name.as_str(), CAP | MIN | MAX)
}

impl Judge {
    /// What a decision of this action keeps of the device's limits.
    pub(super) fn limits(&self, action: &Action, now: Mono) -> impl Iterator<Item = (&'static str, i64)> {
        let uses_power = self.bundle.uses_power;
        let (has_range, has_cap) = match action.kind {
            ActionKind::PowerCap { .. } => (true, uses_power),
            ActionKind::ReleasePowerCap => (uses_power, uses_power),
            _ => (false, false),
        };
        let range = self.ranges.iter().find(|(device, _)| *device == action.target);
        let range = range.filter(|_| has_range).map(|(_, range)| *range);
        let cap = has_cap.then(|| self.power_cap(&action.target, now)).flatten();
        let min = range.map(|(min, _)| (MIN, i64::from(min)));
        let max = range.map(|(_, max)| (MAX, i64::from(max)));
        min.into_iter().chain(max).chain(cap.map(|cap| (CAP, cap)))
    }

    /// What the power limits of all GPUs of the node add up to; the outer `None`: no rule asks, or no GPU was ever heard of. Unknown if
    /// the limit of one of them is.
    pub(super) fn power_limits_mw(&self, now: Mono) -> Option<Option<i64>> {
        let is_asked = |rule: &Rule| matches!(&rule.kind, Kind::Quota(quota) if quota.is_about_power());
        if !self.bundle.rules.iter().any(is_asked) {
            return None;
        }
        let gpu = DeviceId::gpu(0);
        let told = self.ranges.iter().map(|(device, _)| device);
        let heard = self.table.slots.iter().filter(|slot| slot.last.is_some());
        let all = told.chain(heard.map(|slot| &slot.series.device));
        let mut gpus: Vec<_> = all.filter(|device| device.class() == gpu.class()).collect();
        gpus.sort_unstable();
        gpus.dedup();
        let mut limits = gpus.iter().map(|device| self.power_cap(device, now));
        let first = limits.next()?;
        Some(limits.fold(first, |sum, next| Some(sum?.saturating_add(next?))))
    }

    /// The limit of a device that is in force now.
    fn power_cap(&self, device: &DeviceId, now: Mono) -> Option<i64> {
        let age_ms = self.table.age_ms(device, Quantity::GpuPowerCap, now)?;
        let is_fresh = u64::try_from(age_ms).is_ok_and(|age| age < SEEN_WITHIN_MS);
        self.table.latest(device, Quantity::GpuPowerCap).filter(|_| is_fresh)
    }
}
