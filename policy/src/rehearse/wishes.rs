//! What one bundle wants of stored readings, as it judges it, with a ledger of its own.
//!
//! What it lets run is taken as done at once. Of the node is assumed what is usual: connected, fresh policy, held by nobody.
//!
//! Read next: `readings.rs` (two bundles, compared).

use std::sync::Arc;

use wire::decision::{Clause, Fact, Judgement, Observed, Verdict};
use wire::frame::DeviceInfo;
use wire::time::ClockState;
use wire::view::Story;
use wire::{
    Action, AgentId, BundleRef, DecisionId, DeviceId, Epoch, HubEpoch, Now, Origin, OutcomeState, Reading, Seq,
};

use super::{Rehearsal, asked, is_observed, says_something, told};
use crate::bundle::Bundle;
use crate::engine::{Situation, Want, labels_in};
use crate::judge::judge;
use crate::rule::{Mode, Rule, show};

/// Something that only the draft would have wanted, once or again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnlyDraft {
    /// When for the first time.
    pub at: Now,
    /// When for the last time.
    pub until: Now,
    /// How often.
    pub times: u64,
    /// The rule that would have wanted it, or its undo.
    pub origin: Origin,
    /// What.
    pub action: Action,
    /// The first reading that it came from.
    pub seen: Option<Observed>,
    /// What the draft would have said.
    pub judgement: Judgement,
    /// A rule of the draft that asks for a number which was not recorded, so that its verdict is not known.
    pub unknown: Option<String>,
}

/// What makes two wishes the same.
pub(super) type Key = (Origin, Action, Option<DeviceId>);

impl OnlyDraft {
    pub(super) fn key(&self) -> Key {
        let device = self.seen.as_ref().map(|seen| seen.series.device.clone());
        (self.origin.clone(), self.action.clone(), device)
    }

    /// Since when the reading was as it is, or missing, without a break that was seen; the node's own time.
    pub(super) fn began_ms(&self) -> u64 {
        let lasted_ms = self.seen.as_ref().map_or(0, |seen| match seen.age_ms {
            Some(age_ms) => age_ms.max(seen.held_ms),
            None => u64::MAX,
        });
        self.at.mono.0.saturating_sub(lasted_ms)
    }

    /// The rule that would have wanted it.
    pub fn wanted_by(&self) -> &str {
        match &self.origin {
            Origin::Rule { rule } | Origin::Cleared { rule } => rule,
            Origin::Fault { code } => code,
            Origin::Command { who, .. } | Origin::Local { who, .. } | Origin::Plan { who, .. } => who,
        }
    }

    /// Why, and what would have come of it, in one line for people.
    pub fn text(&self) -> String {
        let mut text = match &self.seen {
            Some(Observed {
                series,
                value: Some(value),
                ..
            }) => {
                let value = show(*value, series.quantity.unit());
                format!("{} of {} was {value}", series.quantity, series.device)
            }
            Some(Observed { series, .. }) => format!("{} of {} was missing", series.quantity, series.device),
            None => "its rule is gone".to_owned(),
        };
        if let Some(rule) = &self.unknown {
            text.push_str(&format!("; `{rule}` asks for a number that was not recorded"));
        }
        let objects = |clause: &&Clause| {
            !clause.shadow && !clause.holds && clause.rule == self.judgement.rule && self.unknown.is_none()
        };
        if let Some(clause) = self.judgement.clauses.iter().find(objects) {
            text.push_str("; ");
            text.push_str(&clause.counterfactual);
        }
        text
    }
}

impl Rehearsal {
    pub(super) fn replace(&mut self, bundle: Arc<Bundle>) {
        self.judge.replace_bundle(Arc::clone(&bundle), BundleRef::NONE);
        self.draft = bundle;
    }

    /// What a decision tells of the node, whoever decided.
    pub(super) fn learn(&mut self, story: &Story) {
        let inputs = &story.decision.inputs;
        for (name, value) in &labels_in(&inputs.facts) {
            self.judge.set_label(Some(&inputs.wanted.target), name, Some(value));
        }
        let of_device = |name: &str| {
            let is_it = |fact: &&Fact| fact.rule == "device" && fact.name == name;
            let fact = inputs.facts.iter().find(is_it)?;
            u32::try_from(fact.value).ok()
        };
        if let (Some(min), Some(max)) = (of_device("min"), of_device("max")) {
            self.judge.set_device(&DeviceInfo {
                id: inputs.wanted.target.clone(),
                model: String::new(),
                simulated: false,
                power_cap_range_mw: Some((min, max)),
            });
        }
    }

    /// One round of readings: what the bundle wants of it, as it judges it. What it lets run is done at once.
    pub(super) fn wishes(&mut self, node: &AgentId, epoch: Epoch, now: Now, round: &[Reading]) -> Vec<OnlyDraft> {
        self.go_to(epoch, now.mono);
        let mut wants = Vec::new();
        self.judge.observe(round, now.mono, &mut wants);
        wants.into_iter().map(|want| self.wish(node, now, want)).collect()
    }

    fn wish(&mut self, node: &AgentId, now: Now, want: Want) -> OnlyDraft {
        // Readings do not say how fresh the policy was, or who held the node: as on any usual day.
        let situation = Situation {
            now,
            policy_age_ms: 0,
            connected: true,
            clock: ClockState::Steady,
            clock_error_ms: Some(0),
            journal_ok: true,
            held_by: None,
            hub_epoch: HubEpoch(0),
        };
        let inputs = self.judge.inputs(&want, &situation);
        let judgement = judge(&self.draft, &inputs);
        let (labels, details) = told(&inputs);
        let asked = asked(&inputs, &labels, &details);
        let lacks = |rule: &&Rule| {
            // What was metered since the first stored reading is not all that was spent.
            let is_known = !rule.kind.is_metered() && inputs.facts.iter().any(|fact| fact.rule == rule.id);
            let counts = rule.mode == Mode::Enforce && is_observed(rule) && rule.applies(&asked);
            counts && !is_known && says_something(rule, &asked)
        };
        let unknown = self.draft.rules.iter().find(lacks).map(|rule| rule.id.clone());
        match &judgement.granted {
            Some(action) => {
                let id = DecisionId {
                    agent: node.clone(),
                    epoch: self.epoch,
                    seq: Seq(0),
                };
                self.judge.granted(&inputs, &judgement, &id);
                let mut done = |state| self.judge.finished(action, &want.origin, state, now.mono);
                done(OutcomeState::Applied);
                if want.verify.is_some() {
                    done(OutcomeState::Verified);
                }
            }
            None => self.judge.denied(&inputs, &judgement),
        }
        OnlyDraft {
            at: now,
            until: now,
            times: 1,
            origin: want.origin,
            action: want.action,
            seen: want.readings.into_iter().next(),
            unknown: unknown.filter(|_| judgement.verdict != Verdict::Deny),
            judgement,
        }
    }
}
