//! Gathers rows into batches for the store, one batch at a time, and knows what waits for each of them.
//!
//! One batch is in flight; what arrives meanwhile becomes the next one. So a slow disk makes batches larger, not more, rows of
//! one agent can never overtake each other, and a failed batch leaves exactly the state before it.
//!
//! A batch whose outcome is unknown stays in flight until the store has read it back: nothing else is written meanwhile, nobody is told
//! that it was stored or that it was not, and whoever comes is asked to come again.
//!
//! Invariant: whatever is visible outside ([`Hub::stored`] makes it so) was in a batch that came back as stored.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::codec;
use wire::entry::ChainHead;
use wire::frame::GoodbyeReason;
use wire::ids::{CommandId, DecisionId, Epoch, Generation, HubEpoch, Seq};
use wire::time::{Mono, Now};

use crate::bundles::Publication;
use crate::commands::Heard;
use crate::effect::{Answer, Batch, Change, Effect, Row, Token};
use crate::feed::Block;
use crate::fleet::{Node, Place};
use crate::hub::Hub;
use crate::windows::{Given, Key};

/// A batch is closed beyond this: a commit of 8 MiB takes a tenth of a second on a slow disk.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of one agent that may wait. An agent keeps at most one such window unacknowledged.
pub(crate) const NODE_QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of all agents that may wait; then agents keep their entries and come again.
pub(crate) const QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// After a failure the store is left alone for this long, doubled each time up to `LONGEST_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// A disk that is full stays full for a while.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Decisions of one agent in one batch that watchers are told of, the newest ones; more of them is a backlog, not news.
const TOLD_DECISIONS: usize = 64;
/// Version of [`Meta`]'s encoding, its first byte.
const META_VERSION: u8 = 1;

/// The core's own record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    pub(crate) hub_epoch: HubEpoch,
    /// No bundle gets a generation up to this one.
    pub(crate) generation_floor: Generation,
    /// No beacon gets a number up to this one after a restart.
    pub(crate) beacon_floor: u64,
}

impl Meta {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![META_VERSION];
        bytes.extend(codec::encode(self));
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first() {
            Some((&META_VERSION, rest)) => codec::decode(rest).ok(),
            _ => None,
        }
    }
}

/// What an agent's queued entries will mean once they are durable.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Decisions that are new or have a new outcome.
    pub(crate) touched: Vec<(Epoch, Seq)>,
    /// What pending commands wait for.
    pub(crate) heard: Vec<(Epoch, Heard)>,
    pub(crate) last_decision: Option<Box<wire::api::DecisionView>>,
}

/// Rows that wait, and the batch in flight.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    last_token: u64,
    writing: Option<Writing>,
    nodes: VecDeque<Place>,
    /// Over all nodes.
    pub(crate) queued_bytes: usize,
    publications: Vec<Publication>,
    commands: Vec<CommandId>,
    removals: Vec<CommandId>,
    failures: u32,
    paused_until: Option<Mono>,
}

#[derive(Debug)]
struct Writing {
    token: Token,
    stretches: Vec<(Place, ChainHead)>,
    notes: Vec<(Place, Notes)>,
    blocks: Vec<(Place, Block)>,
    records: Vec<Place>,
    meta: Option<Meta>,
    publications: Vec<Publication>,
    commands: Vec<CommandId>,
    removals: Vec<CommandId>,
    windows: BTreeSet<Key>,
    /// Turns that these rows count, and whose nodes may then hear of them.
    turns: Vec<Given>,
    /// The hub's own journal has changes in it.
    has_changes: bool,
    /// Its commit failed, and whether it is there is not known yet.
    is_doubtful: bool,
}

impl Writer {
    /// The last batch failed and the store is left alone for a while, or nobody knows what became of it: how long still.
    pub(crate) fn pause(&self, now: Mono) -> Option<Duration> {
        if self.writing.as_ref().is_some_and(|writing| writing.is_doubtful) {
            return Some(FIRST_PAUSE);
        }
        let until = self.paused_until?;
        (until > now).then(|| until.since(now))
    }

    pub(crate) fn paused_until(&self) -> Option<Mono> {
        self.paused_until
    }

    pub(crate) fn publish(&mut self, publication: Publication) {
        self.publications.push(publication);
    }

    /// Publications that wait or are being written.
    pub(crate) fn publications(&self) -> usize {
        let writing = self.writing.as_ref();
        self.publications.len() + writing.map_or(0, |writing| writing.publications.len())
    }

    pub(crate) fn store_command(&mut self, id: CommandId) {
        self.commands.push(id);
    }

    pub(crate) fn remove_command(&mut self, id: CommandId) {
        self.removals.push(id);
    }

    /// Whether a command's row waits to be removed, or is being removed.
    pub(crate) fn removes_command(&self, id: &CommandId) -> bool {
        let writing = self.writing.as_ref().map_or(&[][..], |writing| &writing.removals[..]);
        self.removals.contains(id) || writing.contains(id)
    }
}

impl Hub {
    /// Nothing waits for the store and nothing is being written: a hub that stops may end now.
    pub fn is_settled(&self) -> bool {
        let writer = &self.writer;
        writer.writing.is_none()
            && writer.nodes.is_empty()
            && writer.publications.is_empty()
            && writer.commands.is_empty()
            && writer.removals.is_empty()
            && !self.domains.is_unstored()
            && self.journal.is_settled()
            && self.wanted == self.meta
    }

    /// Puts a node in the queue for the store.
    pub(crate) fn enqueue(&mut self, place: Place) {
        let node = self.fleet.node_mut(place);
        if !node.queued {
            node.queued = true;
            self.writer.nodes.push_back(place);
        }
    }

    /// Begins the next batch, if none is in flight and there is something to write.
    pub(crate) fn flush(&mut self, now: Now) {
        if self.writer.writing.is_some() || self.writer.pause(now.mono).is_some() {
            return;
        }
        let meta = (self.wanted != self.meta).then_some(self.wanted);
        let changes = self.journal.take_rows(BATCH_BYTES);
        // What a command's end means for its plan is stored with the end or before it, so a plan that waits for a command whose row is
        // gone was never told of any end.
        let removals = match self.journal.has_waiting() {
            true => Vec::new(),
            false => std::mem::take(&mut self.writer.removals),
        };
        let (windows, turns) = self.domains.take_unstored();
        let writer = &mut self.writer;
        writer.paused_until = None;
        writer.last_token += 1;
        let mut writing = Writing {
            token: Token(writer.last_token),
            stretches: Vec::new(),
            notes: Vec::new(),
            blocks: Vec::new(),
            records: Vec::new(),
            meta,
            publications: std::mem::take(&mut writer.publications),
            commands: std::mem::take(&mut writer.commands),
            removals,
            windows,
            turns,
            has_changes: false,
            is_doubtful: false,
        };
        let mut rows = Vec::new();
        rows.extend(meta.map(|meta| Row::Meta(meta.encode())));
        for publication in &writing.publications {
            rows.push(Row::Bundle {
                bundle: publication.newest.reference,
                signed: publication.newest.signed.clone(),
                who: publication.caller.as_ref().map(|caller| caller.name.clone()),
            });
        }
        for id in &writing.commands {
            let record = self.commands.record(id);
            rows.push(Row::Command { id: *id, record });
        }
        for id in &writing.removals {
            rows.push(Row::Command { id: *id, record: None });
        }
        for (rule, value) in &writing.windows {
            let (rule, value) = (rule.clone(), value.clone());
            let record = self.domains.row(&(rule.clone(), value.clone()));
            rows.push(Row::Turns { rule, value, record });
        }
        writing.has_changes = !changes.is_empty();
        rows.extend(changes);
        let mut bytes = 0;
        while bytes < BATCH_BYTES
            && let Some(place) = self.writer.nodes.pop_front()
        {
            let node = self.fleet.node_mut(place);
            let node_bytes = node.queued_bytes();
            bytes += node_bytes;
            self.writer.queued_bytes -= node_bytes;
            take_rows(node, place, &mut writing, &mut rows);
        }
        if rows.is_empty() {
            self.writer.last_token -= 1;
            return;
        }
        let token = writing.token;
        self.writer.writing = Some(writing);
        self.effects.push_back(Effect::Store(Batch { token, rows }));
    }

    /// A batch is durable: what waited for it happens now.
    pub(crate) fn stored(&mut self, token: Token, now: Now) {
        let Some(writing) = self.writer.writing.take_if(|writing| writing.token == token) else {
            return;
        };
        self.writer.failures = 0;
        if let Some(meta) = writing.meta {
            self.meta = meta;
        }
        let mut acks = Vec::new();
        for (place, head) in writing.stretches {
            let node = self.fleet.node_mut(place);
            node.writing = false;
            if let Some(chain) = node.chain_mut(head.epoch) {
                chain.stored(head);
            }
            acks.push((place, head.epoch));
        }
        for place in writing.records {
            self.fleet.node_mut(place).writing = false;
            self.touch(place);
        }
        for (place, block) in writing.blocks {
            self.fleet.node_mut(place).writing = false;
            acks.push((place, block.epoch));
            self.block_stored(place, &block);
        }
        acks.sort_unstable();
        acks.dedup();
        for (place, epoch) in acks {
            self.acknowledge(place, epoch, now);
            self.touch(place);
        }
        for (place, notes) in writing.notes {
            self.tell(place, notes);
        }
        for publication in writing.publications {
            self.published(publication, now);
        }
        for id in writing.commands {
            self.command_stored(id, now);
        }
        self.turns_stored(&writing.turns, now);
        if writing.has_changes {
            self.changes_stored(now);
        }
        self.welcome_waiting(now);
        self.beacon_if_due(now);
    }

    /// Nobody knows yet whether a batch is durable. What waits for it goes on waiting; whoever is not let in yet comes again.
    pub(crate) fn store_unknown(&mut self, token: Token, reason: &str, now: Now) {
        let writing = self.writer.writing.as_mut().filter(|writing| writing.token == token);
        let Some(writing) = writing else {
            return;
        };
        writing.is_doubtful = true;
        self.turn_away_waiting(FIRST_PAUSE, reason, now);
    }

    /// A batch was not written. Memory goes back to what the store holds, and the agents in it are told to come again.
    pub(crate) fn store_failed(&mut self, token: Token, reason: &str, now: Now) {
        let Some(writing) = self.writer.writing.take_if(|writing| writing.token == token) else {
            return;
        };
        let pause = FIRST_PAUSE
            .saturating_mul(1 << self.writer.failures.min(5))
            .min(LONGEST_PAUSE);
        self.writer.failures += 1;
        self.writer.paused_until = Some(now.mono + pause);
        let mut places: Vec<Place> = writing.stretches.iter().map(|(place, _)| *place).collect();
        places.extend(writing.blocks.iter().map(|(place, _)| *place));
        places.extend(&writing.records);
        places.sort_unstable();
        places.dedup();
        for place in places {
            self.roll_back(place);
            let node = self.fleet.node_mut(place);
            node.record_changed = true;
            for session in [node.session, node.greeting].into_iter().flatten() {
                let retry_after = pause + self.admission.slot(now.mono);
                let detail = format!("the hub cannot write: {reason}");
                self.dismiss(session, GoodbyeReason::Busy, retry_after, &detail, now);
            }
            self.enqueue(place);
        }
        for publication in writing.publications {
            if let Some(request) = publication.request {
                let reason = reason.to_owned();
                self.reply(request, Answer::Unavailable { reason });
            }
        }
        for id in writing.commands {
            self.command_not_stored(&id, reason);
        }
        self.writer.removals.extend(writing.removals);
        self.turns_not_stored(writing.windows, &writing.turns);
        if writing.has_changes {
            self.changes_failed(reason, now);
        }
        let waiting = self.writer.publications.iter();
        let given = waiting.map(|publication| publication.newest.reference.generation).max();
        self.bundles.not_stored(given);
        self.turn_away_waiting(pause, reason, now);
    }

    fn roll_back(&mut self, place: Place) {
        let node = self.fleet.node_mut(place);
        self.writer.queued_bytes -= node.queued_bytes();
        for chain in &mut node.chains {
            chain.roll_back();
        }
        node.feed.roll_back();
        node.notes = Notes::default();
        node.writing = false;
        let durable: Vec<(Epoch, Seq)> = node
            .chains
            .iter()
            .map(|chain| (chain.epoch(), chain.durable.seq))
            .collect();
        node.record.holes.retain(|hole| {
            durable
                .iter()
                .any(|(epoch, seq)| *epoch == hole.epoch && hole.to < *seq)
        });
    }

    fn tell(&mut self, place: Place, mut notes: Notes) {
        let node = self.fleet.node_mut(place);
        if notes.last_decision.is_some() {
            node.last_decision = notes.last_decision;
        }
        notes.touched.sort_unstable();
        notes.touched.dedup();
        let skipped = notes.touched.len().saturating_sub(TOLD_DECISIONS);
        for (epoch, seq) in &notes.touched[skipped..] {
            self.effects.push_back(Effect::Changed(Change::Decision(DecisionId {
                agent: node.id().clone(),
                epoch: *epoch,
                seq: *seq,
            })));
        }
        for (epoch, heard) in notes.heard {
            self.hear(place, epoch, heard);
        }
    }
}

fn take_rows(node: &mut Node, place: Place, writing: &mut Writing, rows: &mut Vec<Row>) {
    node.queued = false;
    let agent = node.id().clone();
    if std::mem::take(&mut node.record_changed) {
        node.writing = true;
        writing.records.push(place);
        rows.push(Row::Agent {
            agent: agent.clone(),
            record: node.record.encode(),
        });
    }
    for chain in &mut node.chains {
        if chain.queued.raw.is_empty() {
            continue;
        }
        node.writing = true;
        writing.stretches.push((place, chain.accepted));
        let queued = chain.take_queued();
        rows.push(Row::Entries {
            agent: agent.clone(),
            epoch: chain.epoch(),
            raw: queued.raw,
            decisions: queued.decisions,
            outcomes: queued.outcomes,
        });
    }
    for block in node.feed.take_queued() {
        node.writing = true;
        writing.blocks.push((place, block.clone()));
        rows.push(Row::Telemetry {
            agent: agent.clone(),
            epoch: block.epoch,
            seq: block.seq,
            block: block.bytes,
        });
    }
    writing.notes.push((place, std::mem::take(&mut node.notes)));
}
