//! What only a draft would have wanted: stored readings of one node, seen by the draft and by the bundle that was in force.
//!
//! Stored readings are rounded, have gaps, and came while other actions ran, so what rules want of them is never compared with
//! the journal: both bundles see the same readings and the same orders of people, each with a ledger of its own, and only what
//! the draft wants and the other does not is told. What either lets run is taken as done at once; the readings stay as they were.
//!
//! Where no reading was stored, the reflexes of the journal count instead. A gap is like a restart of the node: what had held
//! before it begins anew, and nothing is missing because of it.
//!
//! Invariants: the same bundle twice yields nothing, whatever is fed; the same feed yields the same; a series that no rule of
//! either bundle reads costs nothing.
//! Read next: `wishes.rs` (what one bundle wants), `rehearse.rs` (decisions that were made).

use std::sync::Arc;

use wire::view::Story;
use wire::{ActionKind, AgentId, Epoch, Mono, Now, Origin, Quantity, Reading, Series, Wall};

use super::Rehearsal;
use super::wishes::{Key, OnlyDraft};
use crate::bundle::Bundle;
use crate::kind::Kind;
use crate::kind::threshold::Threshold;
use crate::rule::Mode;

/// Samples are usually so far apart at most; a node under pressure keeps fewer.
const USUAL_STEP_MS: u64 = 1_000;
/// A step so many times longer than the one before is a gap.
const GAP: u64 = 3;
/// A sample so long after the one before does not show whether anything held between them: rules take such readings for missing.
const SPARSE_MS: u64 = 10_000;
/// Different stories of one node; more are counted.
const MAX_STORIES: usize = 5_000;

/// One node's readings, by a draft and by the bundle in force.
#[derive(Debug, Clone)]
pub struct Readings {
    node: AgentId,
    since: Wall,
    draft: Rehearsal,
    recorded: Rehearsal,
    dictionary: Arc<Vec<Series>>,
    /// Places in the dictionary that a rule reads, and the round that is made of them.
    places: Vec<usize>,
    round: Vec<Reading>,
    last: Option<(Epoch, Mono)>,
    step_ms: u64,
    /// When the bundle in force wanted each thing last.
    wanted: Vec<(Key, Mono)>,
    found: Vec<OnlyDraft>,
    counts: ReadingCounts,
}

/// How much was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadingCounts {
    /// Samples.
    pub samples: u64,
    /// Those after a gap.
    pub gaps: u64,
    /// Those so far apart that no rule could see whether anything held between them.
    pub sparse: u64,
    /// Stories that are not kept because there are too many.
    pub unkept: u64,
}

impl Readings {
    /// Nothing was seen yet. Only what is wanted from `since` on is told.
    pub fn new(node: AgentId, draft: Arc<Bundle>, recorded: Arc<Bundle>, since: Wall) -> Self {
        Self {
            node,
            since,
            draft: Rehearsal::new(draft),
            recorded: Rehearsal::new(recorded),
            dictionary: Arc::default(),
            places: Vec::new(),
            round: Vec::new(),
            last: None,
            step_ms: USUAL_STEP_MS,
            wanted: Vec::new(),
            found: Vec::new(),
            counts: ReadingCounts::default(),
        }
    }

    /// Another bundle is in force from here on.
    pub fn replace_recorded(&mut self, bundle: Arc<Bundle>) {
        self.recorded.replace(bundle);
        self.dictionary = Arc::default();
    }

    /// A decision that the node made; call it in the order of its journal, between the samples before and after it.
    pub fn decided(&mut self, story: &Story) {
        let at = story.decision.inputs.at.mono;
        let is_reflex = matches!(
            story.decision.inputs.origin,
            Origin::Rule { .. } | Origin::Cleared { .. }
        );
        let covered_ms = self.step_ms.saturating_mul(GAP);
        let is_covered = self
            .last
            .is_some_and(|(epoch, last)| epoch == story.id.epoch && at.0.saturating_sub(last.0) <= covered_ms);
        for rehearsal in [&mut self.draft, &mut self.recorded] {
            rehearsal.learn(story);
            if !(is_reflex && is_covered) {
                rehearsal.next(story);
            }
        }
    }

    /// One sample: the latest value of each series of the dictionary. Times must grow within an epoch; others are ignored.
    pub fn sample(&mut self, epoch: Epoch, at: Now, dictionary: &Arc<Vec<Series>>, values: &[Option<i64>]) {
        let step_ms = match self.last {
            Some((last, mono)) if last == epoch && at.mono <= mono => return,
            Some((last, mono)) if last == epoch => Some(at.mono.0 - mono.0),
            Some((last, _)) if last > epoch => return,
            _ => None,
        };
        let is_gap = step_ms.is_none_or(|ms| ms > self.step_ms.max(USUAL_STEP_MS).saturating_mul(GAP));
        if self.last.is_some_and(|(_, mono)| at.mono < mono) {
            self.wanted.clear();
        }
        if self.last.is_some() && is_gap {
            self.counts.gaps += 1;
            self.draft.judge.unseen_until(at.mono);
            self.recorded.judge.unseen_until(at.mono);
        }
        self.last = Some((epoch, at.mono));
        self.step_ms = step_ms.unwrap_or(USUAL_STEP_MS);
        self.counts.samples += 1;
        self.counts.sparse += u64::from(self.step_ms >= SPARSE_MS);
        if !Arc::ptr_eq(dictionary, &self.dictionary) {
            self.look_up(dictionary);
        }
        for (reading, place) in self.round.iter_mut().zip(&self.places) {
            reading.value = values.get(*place).copied().flatten();
        }
        for wish in self.recorded.wishes(&self.node, epoch, at, &self.round) {
            self.recorded_wants(wish.key(), at.mono);
        }
        for wish in self.draft.wishes(&self.node, epoch, at, &self.round) {
            self.draft_wants(wish);
        }
    }

    /// How much was seen until now.
    pub fn counts(&self) -> ReadingCounts {
        self.counts
    }

    /// What only the draft would have wanted, by the time of the first wish.
    pub fn finish(mut self) -> Vec<OnlyDraft> {
        self.found.retain(|story| story.times > 0);
        self.found
    }

    /// Which series rules read. All of them where a condition may name any.
    fn look_up(&mut self, dictionary: &Arc<Vec<Series>>) {
        let bundles = [&self.draft.draft, &self.recorded.draft];
        let reads = |series: &Series| bundles.iter().any(|bundle| reads(bundle, series));
        let places = dictionary.iter().enumerate().filter(|(_, series)| reads(series));
        self.places = places.map(|(place, _)| place).collect();
        let round = self.places.iter().filter_map(|place| dictionary.get(*place));
        self.round = round
            .map(|series| Reading {
                series: series.clone(),
                value: None,
            })
            .collect();
        self.dictionary = Arc::clone(dictionary);
    }

    fn recorded_wants(&mut self, key: Key, now: Mono) {
        let ahead_ms = self.ahead_ms(&key.0);
        for story in &mut self.found {
            let is_soon = now.0.saturating_sub(story.at.mono.0) <= ahead_ms;
            if is_soon && story.key() == key {
                story.times = 0;
            }
        }
        match self.wanted.iter_mut().find(|(known, _)| *known == key) {
            Some((_, at)) => *at = now,
            None => self.wanted.push((key, now)),
        }
    }

    fn draft_wants(&mut self, wish: OnlyDraft) {
        if wish.at.wall < self.since {
            return;
        }
        let key = wish.key();
        let ahead_ms = self.ahead_ms(&key.0);
        let again_ms = again_ms(&self.recorded.draft, &key).max(again_ms(&self.draft.draft, &key));
        let began_ms = wish.began_ms();
        let wanted = self.wanted.iter().find(|(known, _)| *known == key);
        // Wanted lately, and of what goes on since then: what was wanted of an earlier spell has ended with it.
        let in_force = wanted.is_some_and(|(_, at)| {
            let since_ms = wish.at.mono.0.saturating_sub(at.0);
            since_ms <= ahead_ms.saturating_add(again_ms) && began_ms <= at.0.saturating_add(ahead_ms)
        });
        if in_force {
            return;
        }
        let told = self.found.iter().rposition(|story| {
            story.times > 0
                && story.judgement.verdict == wish.judgement.verdict
                && story.unknown == wish.unknown
                && story.key() == key
        });
        // One story as long as what it came from went on: the rule's hold time begins anew with each of its wishes.
        let step_ms = self.step_ms.max(USUAL_STEP_MS);
        let is_one = |place: &usize| began_ms <= self.found[*place].until.mono.0.saturating_add(2 * step_ms);
        match told.filter(is_one) {
            Some(place) => {
                self.found[place].times += 1;
                self.found[place].until = wish.at;
            }
            None if self.found.len() >= MAX_STORIES => self.counts.unkept += 1,
            None => self.found.push(wish),
        }
    }

    /// How much later the other bundle may want the same, and it is still the same: the hold time, and a sample on each side.
    fn ahead_ms(&self, origin: &Origin) -> u64 {
        let hold_ms = |bundle: &Bundle| match (origin, condition_of(bundle, origin)) {
            (Origin::Cleared { .. }, Some(condition)) => condition.clear_hold_ms,
            (_, Some(condition)) => condition.hold_ms,
            (_, None) => 0,
        };
        let hold_ms = hold_ms(&self.draft.draft).max(hold_ms(&self.recorded.draft));
        hold_ms.saturating_add(self.step_ms.max(USUAL_STEP_MS) * 2)
    }
}

fn condition_of<'a>(bundle: &'a Bundle, origin: &Origin) -> Option<&'a Threshold> {
    match origin {
        Origin::Rule { rule } | Origin::Cleared { rule } => bundle.rule(rule)?.kind.condition(),
        Origin::Command { .. } | Origin::Local { .. } | Origin::Plan { .. } | Origin::Fault { .. } => None,
    }
}

/// For how long a wish that was granted stands for itself, and is not had again.
fn again_ms(bundle: &Bundle, key: &Key) -> u64 {
    let (origin, action, _) = key;
    let lasts = action.kind.idempotent() || matches!(action.kind, ActionKind::Notify { .. });
    match condition_of(bundle, origin) {
        Some(condition) if lasts => condition.again_after_ms,
        _ => 0,
    }
}

/// Whether a rule of this bundle reads this series.
fn reads(bundle: &Bundle, series: &Series) -> bool {
    bundle.rules.iter().filter(|rule| rule.mode != Mode::Off).any(|rule| {
        let watched = rule.kind.condition();
        watched.is_some_and(|condition| condition.quantity == series.quantity && condition.watches(&series.device))
            || matches!(&rule.kind, Kind::Cel(cel) if !cel.numbers().is_empty())
            || (matches!(&rule.kind, Kind::Step(_)) || rule.kind.uses_power())
                && series.quantity == Quantity::GpuPowerCap
    })
}
