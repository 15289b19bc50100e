//! What must hold in every world, looked at as things happen: D data, A action, T trust, H holds, V liveness.
//!
//! The first violation is kept; the world stops there. Read next: `rules.rs` (what the rules of the bundles demand).

use std::collections::BTreeMap;

use edge_agent_core::{Agent, Batch, Run};
use wire::action::{ActionKind, Origin};
use wire::entry::EntryBody;
use wire::frame::{Ack, Frame, PlanCommand};
use wire::ids::{AgentId, Epoch, Seq};
use wire::time::Now;

use crate::disk::Disk;
use crate::gpu::RANGE_MW;
use crate::reference::Life;
use crate::rules::Register;
use crate::store::Store;

/// The model and the verdict.
#[derive(Debug, Default)]
pub(crate) struct Invariants {
    pub(crate) lives: Vec<Life>,
    /// The highest entry of each epoch that the hub ever stored.
    stored: BTreeMap<(AgentId, Epoch), Seq>,
    /// Every bundle that was ever stored.
    pub(crate) register: Register,
    pub(crate) violation: Option<String>,
    /// How many comparisons were made.
    pub(crate) checks: u64,
    /// How many actions ran in their turn.
    pub(crate) turns: u64,
    /// When restarts were decided, of all nodes, ascending.
    pub(crate) restarts: Vec<u64>,
}

impl Invariants {
    pub(crate) fn new(agents: usize) -> Self {
        Self {
            lives: vec![Life::default(); agents],
            ..Self::default()
        }
    }

    pub(crate) fn require(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.checks += 1;
        if !holds && self.violation.is_none() {
            self.violation = Some(what());
        }
    }

    /// A batch becomes durable (called before it is on the disk).
    pub(crate) fn on_append(&mut self, node: usize, id: &AgentId, batch: &Batch, disk: &Disk) {
        let life = &mut self.lives[node];
        let mut wrong = None;
        for raw in &batch.entries {
            wrong = wrong.or(life.commit(batch.epoch, raw).err());
            let entry = raw.decode();
            if let Ok(entry) = &entry {
                wrong = wrong.or(life.deeds.commit(batch.epoch, entry, &mut self.register).err());
                wrong = wrong.or(life.duties.commit(entry).err());
            }
            if let Ok(entry) = entry
                && let EntryBody::Decided(decision) = entry.body
                && decision.judgement.verdict.runs()
            {
                life.unfinished.insert(wire::DecisionId {
                    agent: id.clone(),
                    epoch: batch.epoch,
                    seq: raw.seq,
                });
            }
        }
        if let Some((seq, _)) = &batch.telemetry {
            life.blocks.insert((batch.epoch, *seq));
        }
        self.require(wrong.is_none(), || format!("{id}: {}", wrong.unwrap_or_default()));
        if let (Some(old), Some(new)) = (disk.floor, batch.floor) {
            self.require(
                new.epoch >= old.epoch && new.generation >= old.generation && new.hub_epoch >= old.hub_epoch,
                || format!("T2: {id}: floor falls from {old:?} to {new:?}"),
            );
        }
    }

    /// An actuator is told to start. Returns the origin of its decision, where that is durable.
    pub(crate) fn on_act(&mut self, node: usize, run: &Run, disk: &Disk, journal_ok: bool) -> Option<Origin> {
        let place = (run.decision.epoch, run.decision.seq);
        let entry = disk.entries.get(&place).map(wire::RawEntry::decode);
        let decided = match entry {
            Some(Ok(entry)) => match entry.body {
                EntryBody::Decided(decision) => Some(decision),
                _ => None,
            },
            _ => None,
        };
        let matches = decided
            .as_ref()
            .is_some_and(|decision| decision.judgement.granted.as_ref() == Some(&run.action));
        let excused = !journal_ok && run.action.kind.protective();
        self.require(matches || excused, || {
            format!("A1: {run:?} starts without its durable decision")
        });
        let life = &mut self.lives[node];
        // A place whose entry never became durable may be used again after a crash.
        let twice = matches && !life.started.insert(run.decision.clone());
        self.require(!twice, || format!("A2: {run:?} starts twice"));
        let origin = decided.map(|decision| decision.inputs.origin);
        if let Some(origin) = &origin
            && let Some(id) = origin.command()
        {
            let life = &mut self.lives[node];
            let former = life.commands.insert(id, run.decision.clone());
            let again = former.filter(|former| *former != run.decision);
            self.require(again.is_none(), || {
                format!("A2: command {id} starts twice: {again:?} and {run:?}")
            });
        }
        if let ActionKind::PowerCap { milliwatts } = run.action.kind {
            self.require((RANGE_MW.0..=RANGE_MW.1).contains(&milliwatts), || {
                format!("A3: {run:?} is outside the envelope")
            });
        }
        origin
    }

    /// Blocks are removed.
    pub(crate) fn on_shed(&mut self, node: usize, epoch: Epoch, through: Seq, disk: &Disk) {
        let range = (epoch, Seq(0))..=(epoch, through);
        let gone: Vec<Seq> = disk.blocks.range(range).map(|(at, _)| at.1).collect();
        for seq in gone {
            let named = self.lives[node].names_block(epoch, seq);
            self.require(named || disk.is_released_block(epoch, seq), || {
                format!("D2: block {epoch}.{seq} of agent {node} is shed and no durable gap names it")
            });
        }
    }

    /// The hub says how far it has stored.
    pub(crate) fn on_ack(&mut self, id: &AgentId, ack: &Ack, store: &Store) {
        if let Some(entries) = ack.entries {
            let head = store.head(id, ack.epoch);
            self.require(entries <= head.seq, || {
                format!(
                    "D3: entries of {id}.{} are acknowledged through {entries}, stored through {}",
                    ack.epoch, head.seq
                )
            });
        }
        if let Some(blocks) = ack.telemetry {
            let last = store.last_block(id, ack.epoch);
            self.require(blocks <= last, || {
                format!("D3: blocks of {id} are acknowledged through {blocks}, stored through {last}")
            });
        }
    }

    /// The hub sends something that an agent acts on.
    pub(crate) fn on_sent(&mut self, frame: &Frame, store: &Store) {
        match frame {
            Frame::Bundle(signed) => {
                let digest = signed.digest();
                let is_stored = self.register.knows(&digest.0);
                self.require(is_stored, || {
                    format!("D5: bundle {} is sent before it is stored", digest.short())
                });
            }
            Frame::Command(command) | Frame::PlanCommand(PlanCommand { command, .. }) => {
                let id = command.id;
                let is_stored = store.has_command(id);
                self.require(is_stored, || format!("D5: command {id} is sent before it is stored"));
            }
            _ => {}
        }
    }

    /// The hub committed entries.
    pub(crate) fn on_stored(&mut self, id: &AgentId, epoch: Epoch, through: Seq) {
        let highest = self.stored.entry((id.clone(), epoch)).or_default();
        *highest = (*highest).max(through);
    }

    /// A process of an agent has started.
    pub(crate) fn on_start(&mut self, node: usize, id: &AgentId, agent: &Agent, now: Now) {
        let wrong = self.lives[node].duties.start(agent.standing(now), now).err();
        self.require(wrong.is_none(), || format!("{id}: {}", wrong.unwrap_or_default()));
    }

    /// After every step of an agent.
    pub(crate) fn after_step(&mut self, node: usize, id: &AgentId, agent: &Agent, now: Now) {
        let standing = agent.standing(now);
        let by_age = self.register.authority(standing.held.bundle, standing.policy_age_ms);
        let wrong = self.lives[node].duties.step(standing, by_age, now).err();
        self.require(wrong.is_none(), || format!("{id}: {}", wrong.unwrap_or_default()));
        let acked = agent.acked();
        let epoch = agent.head().epoch;
        if acked > Seq(0) {
            let stored = self.stored.get(&(id.clone(), epoch)).copied();
            self.require(stored.is_some_and(|stored| acked <= stored), || {
                format!("D1: {id}.{epoch} believes in {acked} acknowledged, the hub stored {stored:?}")
            });
        }
        if let Some((_, bundle)) = agent.bundle() {
            let before = self.lives[node].generation;
            self.require(bundle.generation >= before, || {
                format!("T2: {id} goes from generation {before} to {}", bundle.generation)
            });
            self.lives[node].generation = bundle.generation;
        }
    }
}
