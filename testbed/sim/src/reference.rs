//! The dumb reference model: everything that an agent ever made durable, in plain maps, with no cleverness at all.

use std::collections::{BTreeMap, BTreeSet};

use wire::Digest;
use wire::entry::{EntryBody, Gap, RawEntry};
use wire::ids::{CommandId, DecisionId, Epoch, Generation, Seq};

use crate::duties::Duties;
use crate::rules::Deeds;

/// What one agent's life left behind, whatever process lived it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Life {
    /// Every durable entry.
    pub(crate) made: BTreeMap<(Epoch, Seq), Digest>,
    /// Every durable telemetry block.
    pub(crate) blocks: BTreeSet<(Epoch, Seq)>,
    /// Ranges of blocks that gap entries name.
    pub(crate) gaps: Vec<(Epoch, Seq, Seq)>,
    /// Epochs that gap entries name.
    pub(crate) ended: BTreeSet<Epoch>,
    /// Epochs whose journal was lost.
    pub(crate) lost: BTreeSet<Epoch>,
    /// Epochs that two copies of the state went on with: places in them may be used twice, and no promise covers that.
    pub(crate) forked: BTreeSet<Epoch>,
    /// Decisions that run and have no outcome yet.
    pub(crate) unfinished: BTreeSet<DecisionId>,
    /// Decisions whose action was started.
    pub(crate) started: BTreeSet<DecisionId>,
    /// Commands whose action was started.
    pub(crate) commands: BTreeMap<CommandId, DecisionId>,
    /// What ran, for what rules demand.
    pub(crate) deeds: Deeds,
    /// What it owes to people and to policy.
    pub(crate) duties: Duties,
    /// The highest generation that was active since the last loss of state.
    pub(crate) generation: Generation,
}

impl Life {
    /// A durable entry. An error is a place that was used for two payloads.
    pub(crate) fn commit(&mut self, epoch: Epoch, raw: &RawEntry) -> Result<(), String> {
        let former = self.made.insert((epoch, raw.seq), raw.digest);
        if former.is_some_and(|digest| digest != raw.digest) && !self.forked.contains(&epoch) {
            return Err(format!("D4: {epoch}.{} has two payloads", raw.seq));
        }
        let entry = raw.decode().map_err(|error| error.to_string())?;
        match entry.body {
            EntryBody::Gap(Gap::Telemetry { from, to, .. }) => self.gaps.push((epoch, from, to)),
            EntryBody::Gap(Gap::Epoch { epoch, .. }) => {
                self.ended.insert(epoch);
            }
            // `Applied` is the last one where nothing has to be verified; what is still to be verified is an open action.
            EntryBody::Acted(outcome) => {
                self.unfinished.remove(&outcome.decision);
            }
            EntryBody::Gap(Gap::Coarsened { .. })
            | EntryBody::Decided(_)
            | EntryBody::Event(_)
            | EntryBody::Changed(_) => {}
        }
        Ok(())
    }

    /// Whether gap entries name this block.
    pub(crate) fn names_block(&self, epoch: Epoch, seq: Seq) -> bool {
        self.gaps
            .iter()
            .any(|(of, from, to)| *of == epoch && (*from..=*to).contains(&seq))
    }

    /// The journal was lost: what was known only there is unknown from now on.
    pub(crate) fn lose_journal(&mut self, epoch: Epoch) {
        self.lost.insert(epoch);
        self.generation = Generation(0);
        self.unfinished.clear();
        self.deeds.forget();
        self.duties.forget();
        // Which commands were applied was known only there (a command is valid for seconds; the hub may repeat it within them).
        self.commands.clear();
    }

    /// The state folder is an older copy: only what is in it counts.
    pub(crate) fn restore(&mut self, kept: &BTreeSet<(Epoch, Seq)>, epoch: Epoch) {
        // What the other copy went on with, the present epoch and those after it, may be used again by this one.
        let used = self.made.range((epoch, Seq(0))..).map(|(place, _)| place.0);
        self.forked.extend(used);
        self.forked.insert(epoch);
        self.made.retain(|place, _| kept.contains(place));
        self.blocks.retain(|place| place.0 < epoch);
        self.lose_journal(epoch);
        self.started.clear();
    }
}
