//! What must hold of plans, whatever dies: followed from the rows that are stored and from what nodes start, never from the hub's memory.
//!
//! Invariants:
//! P1 a step is carried out once at most, and taken back as often as an execution tries, for each plan.
//! P2 nothing is started for a plan before its intent is stored, and nothing after it was given up.
//! P3 each target has one live plan at most.
//! P4 states follow each other as they may, a plan that is over stays as it is, and a live one has a deadline stored with it.
//! P5 each plan has one entry of its beginning and one of its end, and its end counts once for the brain that predicted it.
//! P6 once everything works no state outlasts its deadline, and every plan ends.
//! P7 each request has one answer: what it tells is stored, what it refuses is not, and the same key is the same plan.
//!
//! Read next: `plans.rs` (who sends plans).

use std::collections::{BTreeMap, BTreeSet};

use hub_core::plans::PlanRecord;
use hub_core::{Document, Put, decode_document};
use policy_execution::MOST_UNDOS;
use wire::ids::{AgentId, PlanId};
use wire::plan::{PlanState, Source, StepState};
use wire::time::Mono;
use wire::{Digest, Origin};

use crate::store::Store;

/// A hub that was paused by its store, and a tick of the world, are late by this at most, in milliseconds.
const LATE_MS: u64 = 60_000;

/// Every plan as it is stored, and what was done for it.
#[derive(Debug, Default)]
pub(crate) struct PlanRules {
    stored: BTreeMap<PlanId, PlanRecord>,
    /// How often each node started each step, or its way back.
    started: BTreeMap<(usize, PlanId, u16, bool), u8>,
}

impl PlanRules {
    /// Every plan that is stored.
    pub(crate) fn stored(&self) -> impl Iterator<Item = &PlanRecord> {
        self.stored.values()
    }

    /// Every plan that is not over.
    pub(crate) fn live(&self) -> impl Iterator<Item = &PlanRecord> {
        self.stored.values().filter(|record| !record.state.is_final())
    }

    pub(crate) fn get(&self, id: PlanId) -> Option<&PlanRecord> {
        self.stored.get(&id)
    }

    /// The hub's store is an older copy of itself.
    pub(crate) fn restored(&mut self, store: &Store) {
        self.stored = store
            .plans()
            .filter_map(read)
            .map(|record| (record.plan.id, record))
            .collect();
    }

    /// A node's journal is lost: which steps it has started was known only there.
    pub(crate) fn forget(&mut self, n: usize) {
        self.started.retain(|(node, ..), _| *node != n);
    }

    /// A row of a plan is committed. Returns the state that it enters and the states of its steps that are new.
    pub(crate) fn on_put(&mut self, put: &Put) -> Result<(Option<PlanState>, Vec<StepState>), String> {
        let Some(record) = read(put) else {
            return Err(format!("P4: the row of plan {} cannot be read", put.id));
        };
        let id = record.plan.id;
        let before = self.stored.get(&id);
        let from = before.map(|before| before.state);
        match from {
            Some(from) if from.is_final() => {
                return Err(format!("P4: plan {id} was {} and is written again", from.name()));
            }
            Some(from) if !follows(from, record.state) => {
                return Err(format!(
                    "P4: plan {id} was {} and is {}",
                    from.name(),
                    record.state.name()
                ));
            }
            Some(_) => {}
            None if record.state == PlanState::Validated => {}
            None => return Err(format!("P4: plan {id} begins as {}", record.state.name())),
        }
        if !record.state.is_final() && record.next_due().is_none() {
            return Err(format!("P4: plan {id} is {} for ever", record.state.name()));
        }
        if !record.state.is_final()
            && let Some(other) = self
                .live()
                .find(|other| other.plan.id != id && shares_target(other, &record))
        {
            return Err(format!("P3: plans {} and {id} of one target are live", other.plan.id));
        }
        let former = |index: usize| {
            before
                .and_then(|before| before.steps.get(index))
                .map(|step| step.execution.state())
        };
        let states = record.steps.iter().map(|step| step.execution.state()).enumerate();
        let fresh = states.filter(|(index, state)| former(*index) != Some(*state));
        let fresh = fresh.map(|(_, state)| state).collect();
        let entered = (from != Some(record.state)).then_some(record.state);
        self.stored.insert(id, record);
        Ok((entered, fresh))
    }

    /// A node starts something for a plan. `restored`: the hub may have forgotten what it asked for.
    pub(crate) fn on_act(&mut self, n: usize, origin: &Origin, restored: bool) -> Result<(), String> {
        let Origin::Plan { plan, step, undo, .. } = origin else {
            return Ok(());
        };
        let started = self.started.entry((n, *plan, *step, *undo)).or_default();
        *started += 1;
        let most = if *undo { MOST_UNDOS } else { 1 };
        if *started > most {
            let what = if *undo { "taking back " } else { "" };
            return Err(format!(
                "P1: {what}step {step} of plan {plan} starts for time {started}"
            ));
        }
        let state = self
            .stored
            .get(plan)
            .and_then(|record| record.steps.get(usize::from(*step)));
        let state = state.map(|step| step.execution.state());
        let is_meant = match state {
            Some(StepState::Intending | StepState::Acting | StepState::Probing | StepState::Verifying) => !undo,
            Some(StepState::UndoIntending | StepState::Undoing | StepState::UndoProbing) => *undo,
            // Not meant yet, or not any more.
            Some(StepState::Waiting | StepState::Done | StepState::Failed | StepState::Undone | StepState::Stuck)
            | None => false,
        };
        if is_meant || restored {
            return Ok(());
        }
        Err(format!(
            "P2: step {step} of plan {plan} starts (back: {undo}), and stands at {state:?}"
        ))
    }

    /// What the hub answers, after what was asked for. `restored`: it may have forgotten what it told before.
    pub(crate) fn on_told(&self, told: &PlanRecord, sent: Option<(PlanId, &Source, &str)>) -> Result<(), String> {
        let id = told.plan.id;
        let Some(stored) = self.stored.get(&id) else {
            return Err(format!("P7: plan {id} is told and not stored"));
        };
        if stored.revision() < told.revision() {
            return Err(format!("P7: plan {id} is told before it is stored"));
        }
        match sent {
            Some((sent, source, key))
                if sent != id && (key.is_empty() || stored.plan.key != key || stored.plan.source != *source) =>
            {
                Err(format!("P7: plan {sent} is answered with {id}, which is another one"))
            }
            _ => Ok(()),
        }
    }

    /// Everything works: a live plan whose state should be over by now.
    pub(crate) fn overdue(&self, now: Mono) -> Option<String> {
        let late = |record: &&PlanRecord| record.next_due().is_none_or(|due| due.0 + LATE_MS < now.0);
        let found = self.live().find(late)?;
        Some(format!(
            "P6: plan {} is {} and should not be for {:?}",
            found.plan.id,
            found.state.name(),
            found.next_due().map(|due| now.since(due))
        ))
    }

    /// P5 at the end: what was told of each plan, by the hub's own journal, and how many ends count for each brain and verb.
    pub(crate) fn account(&self, store: &Store) -> Result<BTreeMap<(String, &'static str), u64>, String> {
        let mut told: BTreeMap<String, (u64, Vec<PlanState>)> = BTreeMap::new();
        let hub = (AgentId::hub(), wire::Epoch(0))..=(AgentId::hub(), wire::Epoch(u64::MAX));
        for raw in store.chains.range(hub).flat_map(|(_, chain)| chain.entries.values()) {
            let Ok(wire::entry::EntryBody::Changed(change)) = raw.decode().map(|entry| entry.body) else {
                continue;
            };
            let (Some(id), Some(word)) = (change.target.strip_prefix("plan/"), change.verb.strip_prefix("plan."))
            else {
                continue;
            };
            let of_plan = told.entry(id.to_owned()).or_default();
            match PlanState::from_name(word) {
                Some(state) if state.is_final() => of_plan.1.push(state),
                Some(_) => {}
                None => of_plan.0 += u64::from(word == "submit"),
            }
        }
        let mut counted: BTreeMap<(String, &'static str), u64> = BTreeMap::new();
        for record in self.stored.values() {
            let id = record.plan.id;
            let (begun, ended) = told.remove(&id.to_string()).unwrap_or_default();
            if begun != 1 || ended != [record.state] {
                return Err(format!(
                    "P5: plan {id} is {:?}, and told {begun} times and as {ended:?}",
                    record.state
                ));
            }
            if let (Source::Brain { name, .. }, Some(_), Some(step)) =
                (&record.plan.source, &record.plan.claim, record.plan.steps.first())
            {
                *counted.entry((name.clone(), step.verb.name())).or_default() += 1;
            }
        }
        match told.pop_first() {
            Some((id, _)) => Err(format!("P5: plan {id} is told and not stored")),
            None => Ok(counted),
        }
    }
}

fn read(put: &Put) -> Option<PlanRecord> {
    decode_document(&put.id, put.record.as_deref()?).ok()
}

/// Whether this row is one of a plan.
pub(crate) fn is_plan(put: &Put) -> bool {
    put.kind == PlanRecord::KIND
}

fn shares_target(one: &PlanRecord, other: &PlanRecord) -> bool {
    let targets: BTreeSet<_> = one.plan.targets().into_iter().collect();
    other.plan.targets().into_iter().any(|target| targets.contains(target))
}

/// Whether a plan may come from one state to the other; several may pass within one row.
fn follows(from: PlanState, to: PlanState) -> bool {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(state) = open.pop() {
        if state == to {
            return true;
        }
        if seen.insert(state) {
            open.extend(state.successors());
        }
    }
    false
}

/// An id of a plan that follows from a number.
pub(crate) fn plan_id(world: u64, number: u64) -> PlanId {
    let digest = Digest::of(format!("plan {world} {number}").as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&digest.0[..16]);
    PlanId(id)
}
