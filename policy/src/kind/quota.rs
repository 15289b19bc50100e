//! `quota`: how much of each resource a scope may have in all, counting what is reserved.
//!
//! All resources of a request are checked together; one that does not fit refuses the whole, and with it every member of a gang.
//! What is granted is set aside at once and for a while, until it is seen in use: two requests at the same moment cannot both have
//! the last of it, and what never starts is free again. 0 is a limit like any other.
//!
//! Nothing is exempt, neither safety reflexes nor the way back from a step: what is not there cannot be had by taking something back
//! either. Giving back always fits. A power cap is told how much there is, so `on_violation: clamp` caps to that, and no other rule's
//! clamp makes more of it.
//!
//! What is used comes from elsewhere by name; only `power_mw` of the scope `node` an agent observes itself: what the power limits of all
//! its GPUs add up to. There what was granted is set aside until the action has ended and readings must have told of it: for some
//! seconds it counts twice, and never not at all.

use wire::Mono;
use wire::decision::Verdict;
use wire::reading::Unit;

use super::scope::OnUnknown;
use crate::counters::{Counters, Place};
use crate::ledger::{Numbers, World};
use crate::rule::{Asked, Finding, POWER};
use crate::text::fields::Fields;

/// The text of the places of what is set aside.
const RESERVED: &str = "reserved";
/// So long after an action has ended the readings of its node tell of it; limits that were read longer ago are not known.
pub(crate) const SEEN_WITHIN_MS: u64 = 10_000;
/// The scope that an agent observes itself.
const NODE: &str = "node";
/// Added to the part of a comparison of which only the change is not known.
const CHANGE: u8 = 16;
/// Resources of one rule: as many as a decision keeps numbers for.
const MAX_RESOURCES: usize = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Resource {
    name: String,
    /// Full name of what is used and reserved.
    used: String,
    limit: i64,
}

/// The limits of one scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quota {
    scope: String,
    resources: Vec<Resource>,
    borrow_max: i64,
    reserve_ms: u64,
    on_missing: OnUnknown,
}

/// How long what was granted counts until it is seen in use.
const RESERVE_MS: u64 = 60_000;

impl Quota {
    pub fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let scope = fields.need_text(
            "scope",
            "whose: a tenant or a namespace; or node, of which an agent observes power_mw itself",
        );
        let nominal = fields.pairs(
            "nominal",
            "how much of each resource: replicas, gpu, cpu_milli, memory_bytes, power_mw",
        );
        let borrow_max = fields.number("borrow_max", 0, i64::MAX, "how much more of each may be borrowed; 0");
        let reserve_ms = fields.duration(
            "reserve_for",
            "how long at most what was granted counts as used until `used_` of the scope tells of it; 60 s",
        );
        let on_missing = OnUnknown::read(fields);
        if fields.is_describing() {
            return None;
        }
        if nominal.is_empty() || nominal.len() > MAX_RESOURCES {
            fields.problem(
                "nominal",
                format!("1 to {MAX_RESOURCES} resources, for example {{ replicas: 10, gpu: 4 }}"),
            );
        }
        let mut resources = Vec::new();
        for (name, text) in nominal {
            match text.parse::<i64>() {
                Ok(limit) if limit >= 0 => resources.push(Resource {
                    used: format!("{scope}.used_{name}"),
                    name,
                    limit,
                }),
                _ => fields.problem("nominal", format!("`{text}` of {name} is no whole number from 0")),
            }
        }
        resources.sort_by(|a, b| a.name.cmp(&b.name));
        Some(Self {
            scope,
            resources,
            borrow_max: borrow_max.unwrap_or(0),
            reserve_ms: reserve_ms.unwrap_or(RESERVE_MS),
            on_missing,
        })
    }

    /// The full name of the n-th number.
    pub fn name(&self, index: usize) -> Option<&str> {
        self.resources.get(index).map(|resource| resource.used.as_str())
    }

    /// Whether it is about power.
    pub fn is_about_power(&self) -> bool {
        self.resources.iter().any(|resource| resource.name == POWER)
    }

    /// Takes what the agent observes itself, if it is about that.
    pub fn observe(&self, world: &World<'_>, numbers: &mut Numbers) {
        if let Some(limits) = world.power_limits_mw
            && let Some(index) = (0..self.resources.len()).find(|index| self.is_observed(*index))
        {
            numbers.set(index, limits);
        }
    }

    /// Adds what is set aside to what is used.
    pub fn recall(&self, counters: &Counters, asked: &Asked<'_>, numbers: &mut Numbers) {
        for index in 0..self.resources.len() {
            let used = numbers.get(index);
            let reserved = counters.reserved(index as u8, asked.now.mono);
            numbers.set(index, used.map(|used| used.saturating_add(reserved)));
        }
    }

    /// Sets aside everything that a granted request uses. All of it, or it was not granted.
    pub fn debit(&self, counters: &mut Counters, asked: &Asked<'_>) {
        for (index, resource) in self.resources.iter().enumerate() {
            let wanted = asked.details.resource(&resource.name).flatten();
            if let Some(more) = wanted.filter(|more| *more > 0) {
                let now = asked.now.mono;
                let until = now.0.saturating_add(self.reserve_ms);
                counters.reserve(self.place(index, asked.target), now, until, more);
            }
        }
    }

    /// An action on a device of the node has ended, whatever became of it: soon its readings tell how much it uses.
    pub fn ended(&self, counters: &mut Counters, target: &str, now: Mono) {
        let seen_by = now.0.saturating_add(SEEN_WITHIN_MS);
        for index in (0..self.resources.len()).filter(|index| self.is_observed(*index)) {
            counters.reserve_until(self.place(index, target), now, seen_by);
        }
    }

    /// Whether an agent observes the use of a resource itself.
    fn is_observed(&self, index: usize) -> bool {
        self.scope == NODE && self.resources[index].name == POWER
    }

    /// Where a resource is set aside: for each device, if the agent observes it.
    fn place<'a>(&self, index: usize, target: &'a str) -> Place<'a> {
        let text = if self.is_observed(index) { target } else { RESERVED };
        (index as u8, text)
    }

    pub fn assess(&self, asked: &Asked<'_>, numbers: &Numbers, push: &mut impl FnMut(Finding)) {
        if asked.details.resources.is_empty() {
            return;
        }
        for (index, resource) in self.resources.iter().enumerate() {
            let Some(more) = asked.details.resource(&resource.name) else {
                continue;
            };
            let part = index as u8;
            let unit = if resource.name == POWER {
                Unit::Milliwatt
            } else {
                Unit::Count
            };
            let limit = resource.limit.saturating_add(self.borrow_max);
            let is_less = more.is_some_and(|more| more <= 0);
            let Some(used) = numbers.get(index) else {
                if !is_less {
                    push(self.on_missing.finding(asked, part, "<=", Some(limit), unit));
                }
                continue;
            };
            let Some(more) = more else {
                push(self.on_missing.finding(asked, part + CHANGE, "<=", None, unit));
                continue;
            };
            let bounds = Self::bounds(resource, asked, more, limit.saturating_sub(used));
            // Giving back is always within the quota; what clamps it must not make more of it than there is.
            if is_less && bounds.is_none() {
                continue;
            }
            let limit = if is_less { limit.max(used) } else { limit };
            let total = used.saturating_add(more);
            let finding = Finding {
                bounds,
                ..Finding::pass(part, "<=", Some(total), Some(limit), unit)
            };
            push(finding.fails_unless(total <= limit, Verdict::Deny, None));
        }
    }

    /// Where the number of the action is the new amount of the resource, as of a power cap: the range that it must lie in, given by how
    /// much it changes and how much is left.
    fn bounds(resource: &Resource, asked: &Asked<'_>, more: i64, left: i64) -> Option<(i64, i64)> {
        let is_power = |(_, unit): &(i64, Unit)| resource.name == POWER && *unit == Unit::Milliwatt;
        let (next, _) = asked.amount.filter(is_power)?;
        let present = next.saturating_sub(more);
        Some((i64::MIN, present.saturating_add(left.max(0))))
    }

    pub fn what(&self, part: u8) -> String {
        let name = self
            .resources
            .get(usize::from(part % CHANGE))
            .map_or("", |resource| &resource.name);
        match part < CHANGE {
            true => format!("{name} of {} with this", self.scope),
            false => format!("change by this of {name} of {}", self.scope),
        }
    }

    pub fn text(&self) -> String {
        let list: Vec<_> = self
            .resources
            .iter()
            .map(|r| format!("{} {}", r.limit, r.name))
            .collect();
        format!("{} has at most {}", self.scope, list.join(", "))
    }
}
