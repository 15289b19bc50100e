//! A node's stored telemetry blocks, oldest first, merged with its decisions and its changes of policy.
//!
//! One block is held at a time. Judges nothing: that is `policy::Readings`.

use std::iter::Peekable;
use std::sync::Arc;
use std::time::Instant;

use policy::{Bundle, OnlyDraft, Readings};
use wire::api::{NodeView, OnlyDraftView};
use wire::ids::{AgentId, Epoch, Seq};
use wire::telemetry::Decoder;
use wire::time::{Mono, Wall};

use super::in_force::InForce;
use super::{MOST_LISTED, Replay};
use crate::store::{StoreError, StoredDecision, Walk};

/// Telemetry blocks that are read for one answer: four weeks of one node, one node's week in about three seconds.
const MOST_BLOCKS: usize = 250_000;
/// Telemetry that begins so long after the asked time has lost its beginning.
const LATE_MS: i64 = 10 * 60_000;

/// What happened at a node besides readings, oldest first.
struct Events<'a, D: Iterator<Item = &'a StoredDecision>> {
    decisions: Peekable<D>,
    changes: Peekable<std::vec::IntoIter<(Epoch, Mono, Arc<Bundle>)>>,
}

impl<'a, D: Iterator<Item = &'a StoredDecision>> Events<'a, D> {
    /// Tells everything that came before this place.
    fn until(&mut self, epoch: Epoch, at: Mono, readings: &mut Readings) {
        loop {
            let change = self.changes.peek().map(|(epoch, mono, _)| (*epoch, *mono));
            let Some(row) = self.decisions.peek() else {
                match self.changes.next_if(|(of, mono, _)| (*of, *mono) <= (epoch, at)) {
                    Some((_, _, bundle)) => readings.replace_recorded(bundle),
                    None => return,
                }
                continue;
            };
            let Ok(story) = row.story() else {
                self.decisions.next();
                continue;
            };
            let place = (story.id.epoch, story.decision.inputs.at.mono);
            if change.is_some_and(|change| change <= place.min((epoch, at))) {
                if let Some((_, _, bundle)) = self.changes.next() {
                    readings.replace_recorded(bundle);
                }
                continue;
            }
            if place > (epoch, at) {
                return;
            }
            readings.decided(&story);
            self.decisions.next();
        }
    }
}

/// What of a node's telemetry was seen.
#[derive(Default)]
struct Seen {
    blocks: usize,
    first: Option<(Seq, Wall)>,
    last: Option<Wall>,
    stopped: bool,
}

impl Replay<'_> {
    /// Shows a node's readings to the draft and to the policies that were in force; `left` nodes have still to be done.
    pub fn readings(
        &mut self,
        node: &NodeView,
        newest_first: &[StoredDecision],
        left: usize,
    ) -> Result<(), StoreError> {
        let (since, store) = (self.view.since, self.store);
        let now = Instant::now();
        let until = now + self.until.saturating_duration_since(now) / u32::try_from(left).unwrap_or(u32::MAX);
        let most = (MOST_BLOCKS.saturating_sub(self.blocks) / left).max(1);
        let in_force = InForce::read(store, node, since)?;
        let recorded = self.bundles.get(store, in_force.first)?;
        let mut changes = Vec::with_capacity(in_force.changes.len());
        for (epoch, at, bundle) in in_force.changes {
            changes.push((epoch, at, self.bundles.get(store, bundle)?));
        }
        let mut events = Events {
            decisions: newest_first.iter().rev().peekable(),
            changes: changes.into_iter().peekable(),
        };
        let mut readings = Readings::new(node.name.clone(), Arc::clone(&self.draft), recorded, since);
        let (mut decoder, mut before, mut seen) = (Decoder::new(), None, Seen::default());
        store.walk_blocks(&node.name, since.0, most, &mut |epoch, seq, block| {
            if before != Some((epoch, Seq(seq.0.wrapping_sub(1)))) {
                decoder = Decoder::new();
            }
            let read = decoder.read(block, |decoder, at| {
                events.until(epoch, at.mono, &mut readings);
                readings.sample(epoch, at, decoder.dictionary(), decoder.latest());
                seen.first.get_or_insert((seq, at.wall));
                seen.last = Some(at.wall);
            });
            // A block that needs another one, which is not here: a gap until the next key block.
            before = read.is_ok().then_some((epoch, seq));
            seen.blocks += 1;
            seen.stopped = Instant::now() >= until;
            match seen.stopped {
                true => Walk::Break(()),
                false => Walk::Continue(()),
            }
        })?;
        self.blocks += seen.blocks;
        if in_force.cut {
            self.cut(format!(
                "changes of the policy of {} were not all looked for",
                node.name
            ));
        }
        self.tell_what_was_seen(&node.name, &seen, most);
        self.take(&node.name, readings);
        Ok(())
    }

    fn tell_what_was_seen(&mut self, node: &AgentId, seen: &Seen, most: usize) {
        let Some((seq, first)) = seen.first else {
            return;
        };
        self.view.readings.nodes += 1;
        let is_late = first.0 > self.view.since.0.saturating_add(LATE_MS);
        match seen.last {
            Some(last) if seen.stopped => self.cut(format!("the readings of {node} were read until {last}")),
            _ if is_late && seen.blocks >= most => {
                self.cut(format!("only the newest {most} telemetry blocks of {node} were read"));
            }
            // Earlier ones were made, and dropped here or there.
            _ if is_late && seq.0 > 1 => self.cut(format!("the readings of {node} are stored from {first} on")),
            _ => {}
        }
    }

    fn take(&mut self, node: &AgentId, readings: Readings) {
        let counts = readings.counts();
        let view = &mut self.view;
        view.readings.samples += counts.samples;
        view.readings.gaps += counts.gaps;
        view.readings.sparse += counts.sparse;
        let found = readings.finish();
        view.only_draft_total += found.len() as u64 + counts.unkept;
        let room = MOST_LISTED.saturating_sub(view.only_draft.len());
        view.only_draft
            .extend(found.into_iter().take(room).map(|story| item(node, story)));
    }
}

fn item(node: &AgentId, story: OnlyDraft) -> OnlyDraftView {
    OnlyDraftView {
        node: node.clone(),
        at: story.at.wall,
        until: story.until.wall,
        times: story.times,
        rule: story.wanted_by().to_owned(),
        undo: matches!(story.origin, wire::Origin::Cleared { .. }),
        action: story.action.kind.name().to_owned(),
        wanted: story.action.kind.to_string(),
        target: story.action.target.clone(),
        verdict: story.unknown.is_none().then_some(story.judgement.verdict),
        by: story.unknown.clone().unwrap_or_else(|| story.judgement.rule.clone()),
        text: story.text(),
        reading: story.seen,
    }
}
