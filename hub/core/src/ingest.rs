//! What a welcomed agent sends: entries, telemetry, its status, a bundle that it was asked for.
//!
//! Entries and blocks are only queued here; they are acknowledged when they come back as stored. The body of an entry is decoded
//! only where somebody waits for it: a pending command, or the last decision of a frame for the fleet's row.
//!
//! Invariant: the hub queues exactly the next link of each chain, whatever an agent sends and however often.
//! Read next: `chain.rs` (what comes next), `writer.rs` (what happens then).

use std::time::Duration;

use policy_execution::Answer as Carried;
use wire::action::{ActionKind, OutcomeState};
use wire::entry::EntryBody;
use wire::frame::{Ack, AskTime, Entries, Frame, GoodbyeReason, HubTime, Status, TelemetryBlock};
use wire::ids::{AgentId, Epoch, Seq};
use wire::telemetry::MAX_BLOCK_BYTES;
use wire::time::Now;
use wire::{DeviceId, Origin, RawEntry, view};

use crate::chain::{Chain, FARTHEST_SEQ, Queued, Refusal};
use crate::commands::Heard;
use crate::effect::{Change, Effect};
use crate::feed::Block;
use crate::fleet::Place;
use crate::hub::Hub;
use crate::input::SessionId;
use crate::peek::{self, Kind};
use crate::timers::Timer;
use crate::writer::{NODE_QUEUE_BYTES, Notes, QUEUE_BYTES};

/// Time that an agent should give a hub whose queue is full: a few commits.
const FULL_RETRY: Duration = Duration::from_millis(500);
/// An agent whose entries contradict ours begins a new epoch at once; nothing has to cool down.
const DIVERGED_RETRY: Duration = Duration::from_millis(100);

impl Hub {
    /// A frame from an agent.
    pub(crate) fn frame(&mut self, session: SessionId, frame: Frame, now: Now) {
        // Sessions that we ended may still have frames under way.
        let Some(place) = self.sessions.place(session) else {
            return;
        };
        if let Frame::Hello(hello) = frame {
            return self.hello(session, hello, now);
        }
        if self.sessions.live(session).is_none() {
            return self.broke_protocol(session, "a frame before the welcome", now);
        }
        self.fleet.node_mut(place).record.seen = Some(now);
        match frame {
            Frame::Status(status) => self.status(session, place, status, now),
            Frame::Entries(entries) => self.entries(session, place, entries, now),
            Frame::Telemetry(block) => self.telemetry(session, place, block, now),
            Frame::Bundle(signed) => self.offered(session, signed, now),
            Frame::NodeFacts(facts) => self.node_facts(session, place, facts, now),
            Frame::Findings(findings) => self.node_findings(session, place, findings, now),
            Frame::NodePath(path) => self.node_path(place, path),
            Frame::AskTime(ask) => self.tell_time(session, place, ask, now),
            Frame::Checkpoint(signed) => self.given_back(place, &signed),
            Frame::Hello(_)
            | Frame::Welcome(_)
            | Frame::Ack(_)
            | Frame::Command(_)
            | Frame::PlanCommand(_)
            | Frame::Beacon(_)
            | Frame::Roles(_)
            | Frame::Goodbye(_)
            | Frame::FleetFacts(_)
            | Frame::HubTime(_)
            | Frame::AskBundle(_)
            | Frame::PeerState(_)
            | Frame::PeerPath(_)
            | Frame::PeerKey(_) => {
                self.broke_protocol(
                    session,
                    "a frame that only a hub, or an agent to its neighbours, sends",
                    now,
                );
            }
        }
    }

    fn status(&mut self, session: SessionId, place: Place, status: Status, now: Now) {
        let Some(live) = self.sessions.live(session) else {
            return;
        };
        if live.epoch(status.head.epoch).is_none() {
            return self.broke_protocol(session, "a status of an epoch that was not named", now);
        }
        if status.head.seq > FARTHEST_SEQ {
            return self.broke_protocol(session, "a status with more entries than can have been made", now);
        }
        let node = self.fleet.node_mut(place);
        let bundle_before = node.bundle();
        if let Some(told) = &mut node.record.told {
            told.at = now;
            told.head = status.head;
            told.bundle = status.bundle;
        }
        node.record.status = Some(status);
        let active = node.bundle();
        if active != bundle_before {
            self.policy_changed = true;
            node.record_changed = true;
            self.enqueue(place);
            // Somebody gave it a bundle that a restored hub has lost.
            self.ask_if_newer(session, active);
        }
        self.touch(place);
    }

    fn tell_time(&mut self, session: SessionId, place: Place, ask: AskTime, now: Now) {
        self.fleet.node_mut(place).clock_error_ms = Some(ask.error_ms);
        self.touch(place);
        let asked = ask.asked;
        self.send(session, Frame::HubTime(HubTime { asked, now }));
    }

    fn entries(&mut self, session: SessionId, place: Place, entries: Entries, now: Now) {
        let oldest = self.sessions.live(session).and_then(|live| live.epoch(entries.epoch));
        let Some(oldest) = oldest else {
            return self.broke_protocol(session, "entries of an epoch that was not named", now);
        };
        if self.full(session, place, now) {
            return;
        }
        let node = self.fleet.node_mut(place);
        let listeners = Listeners {
            commands: !node.commands.is_empty(),
            plans: self.plans.looks_at(node.id()),
        };
        let mut notes = std::mem::take(&mut node.notes);
        let Some(chain) = node.chain_or_new(entries.epoch) else {
            return self.broke_protocol(session, "more epochs than the hub keeps", now);
        };
        let queued_before = chain.queued.bytes;
        let count_before = chain.queued.raw.len();
        let epoch = entries.epoch;
        let (taken, result) = chain.accept(entries.first, entries.raw, Some(oldest), |raw, kind, body, queued| {
            note(raw, epoch, (kind, body), listeners, queued, &mut notes);
        });
        let added = chain.queued.bytes - queued_before;
        let agent = node.id().clone();
        if let Some(chain) = node.chain(epoch) {
            let last = node.last_decision.as_deref();
            let known = notes.last_decision.as_deref().or(last);
            if let Some(view) = last_decision(&agent, chain, count_before, known) {
                notes.last_decision = Some(Box::new(view));
            }
        }
        node.notes = notes;
        if let Some(hole) = taken.hole {
            node.record.add_hole(hole);
            node.record_changed = true;
        }
        node.pace.took(added, now.mono);
        self.writer.queued_bytes += added;
        if taken.fresh > 0 {
            self.enqueue(place);
        } else if taken.repeated > 0 {
            self.acknowledge(place, epoch, now);
        }
        match result {
            Ok(()) => {}
            Err(refusal @ Refusal::Diverged { .. }) => {
                let detail = refusal.to_string();
                self.dismiss(session, GoodbyeReason::Diverged, DIVERGED_RETRY, &detail, now);
            }
            Err(refusal) => self.broke_protocol(session, &refusal.to_string(), now),
        }
    }

    fn telemetry(&mut self, session: SessionId, place: Place, block: TelemetryBlock, now: Now) {
        let live = self.sessions.live(session);
        if live.and_then(|live| live.epoch(block.epoch)).is_none() {
            return self.broke_protocol(session, "telemetry of an epoch that was not named", now);
        }
        if block.block.len() > MAX_BLOCK_BYTES || block.seq == Seq(0) || block.seq > FARTHEST_SEQ {
            return self.broke_protocol(session, "telemetry that is too long or has no place", now);
        }
        if self.full(session, place, now) {
            return;
        }
        let TelemetryBlock { epoch, seq, block } = block;
        let bytes = block.len();
        let block = Block {
            epoch,
            seq,
            bytes: block,
        };
        let node = self.fleet.node_mut(place);
        if node.feed.accept(block) {
            node.pace.took(bytes, now.mono);
            self.writer.queued_bytes += bytes;
            self.enqueue(place);
        } else {
            self.acknowledge(place, epoch, now);
        }
    }

    /// More waits for the store than may: the agent keeps what it has and comes again.
    fn full(&mut self, session: SessionId, place: Place, now: Now) -> bool {
        if let Some(wait) = self.fleet.node(place).pace.is_rude(now.mono) {
            let detail = "it sends more than it may, and does not wait for acknowledgements";
            self.dismiss(session, GoodbyeReason::Busy, wait, detail, now);
            return true;
        }
        let full = self.writer.queued_bytes > QUEUE_BYTES || self.fleet.node(place).queued_bytes() > NODE_QUEUE_BYTES;
        if full {
            let wait = FULL_RETRY + self.admission.slot(now.mono);
            let detail = "the hub's queue is full";
            self.dismiss(session, GoodbyeReason::Busy, wait, detail, now);
        }
        full
    }

    /// Says how far an epoch of an agent is durable, if its session is up; a little later if it sends too fast.
    pub(crate) fn acknowledge(&mut self, place: Place, epoch: Epoch, now: Now) {
        let node = self.fleet.node_mut(place);
        if let Some(wait) = node.pace.wait(now.mono) {
            if !node.pace.withheld.contains(&epoch) {
                node.pace.withheld.push(epoch);
                self.timers.set(now.mono + wait, Timer::Ack(place));
                self.touch(place);
            }
            return;
        }
        let node = self.fleet.node(place);
        let Some(session) = node.session else {
            return;
        };
        let entries = node.durable(epoch);
        let telemetry = (node.feed.epoch == epoch).then_some(node.feed.durable);
        let ack = Ack {
            epoch,
            entries: (entries.0 > 0).then_some(entries),
            telemetry: telemetry.filter(|seq| seq.0 > 0),
        };
        if ack.entries.is_some() || ack.telemetry.is_some() {
            self.send(session, Frame::Ack(ack));
        }
    }

    /// What was withheld may be said now, or has to wait a little longer.
    pub(crate) fn ack_time(&mut self, place: Place, now: Now) {
        for epoch in std::mem::take(&mut self.fleet.node_mut(place).pace.withheld) {
            self.acknowledge(place, epoch, now);
        }
    }

    /// Entries of agents were removed.
    pub(crate) fn pruned(&mut self, owners: Vec<(AgentId, u64, bool)>, now: Now) {
        for (agent, entries, is_share) in owners {
            let Some(place) = self.fleet.place(&agent).filter(|_| is_share) else {
                continue;
            };
            let node = self.fleet.node_mut(place);
            let before = node.cut_lately(now.mono);
            node.cut = Some((now.mono, before.unwrap_or(0).saturating_add(entries)));
            self.touch(place);
        }
    }

    /// A block is durable and may be shown.
    pub(crate) fn block_stored(&mut self, place: Place, block: &Block) {
        let samples = self.fleet.block_stored(place, block);
        self.fresh_readings.insert(place);
        if !samples.is_empty() {
            let agent = self.fleet.node(place).id().clone();
            self.effects
                .push_back(Effect::Changed(Change::Samples { agent, samples }));
        }
    }
}

/// Who waits for what a node's entries say.
#[derive(Debug, Clone, Copy)]
struct Listeners {
    /// Commands under way.
    commands: bool,
    /// Plans that look for an effect there.
    plans: bool,
}

/// Notes what a new entry will mean once it is durable.
fn note(
    raw: &RawEntry,
    epoch: Epoch,
    (kind, body): (Kind, &[u8]),
    listeners: Listeners,
    queued: &mut Queued,
    notes: &mut Notes,
) {
    let waiting = listeners.commands;
    match kind {
        Kind::Decided => {
            queued.decisions.push(raw.seq);
            notes.touched.push((epoch, raw.seq));
            if waiting && let Some(command) = peek::decided_command(body) {
                let runs = decision_runs(raw);
                let seq = raw.seq;
                notes.heard.push((epoch, Heard::Decided { command, seq, runs }));
            }
            if listeners.plans
                && let Some(device) = acts_on(raw)
            {
                notes.heard.push((epoch, Heard::Ran { device, seq: raw.seq }));
            }
        }
        Kind::Acted => {
            let Some((of_epoch, decision)) = peek::acted_decision(body) else {
                return;
            };
            notes.touched.push((of_epoch, decision));
            if of_epoch == epoch {
                queued.outcomes.push((decision, raw.seq));
            }
            if waiting {
                let carried = carried(raw);
                notes.heard.push((of_epoch, Heard::Acted { decision, carried }));
            }
        }
        Kind::Event if waiting => {
            if let Some(heard) = Heard::of_event(raw) {
                notes.heard.push((epoch, heard));
            }
        }
        Kind::Event | Kind::Other => {}
    }
}

/// Whether an outcome says that it was done.
fn carried(raw: &RawEntry) -> Carried {
    let Ok((_, outcome)) = view::read_outcome(raw) else {
        return Carried::Unknown;
    };
    match outcome.state {
        OutcomeState::Applied | OutcomeState::Verified | OutcomeState::NotVerified => Carried::Done,
        OutcomeState::Failed | OutcomeState::Dropped => Carried::NotDone,
        OutcomeState::Unknown => Carried::Unknown,
    }
}

fn decision_runs(raw: &RawEntry) -> bool {
    match raw.decode().map(|entry| entry.body) {
        Ok(EntryBody::Decided(decision)) => decision.judgement.verdict.runs(),
        _ => false,
    }
}

/// The device that a decision acts on, if it runs, does more than tell somebody, and is no step of a plan.
fn acts_on(raw: &RawEntry) -> Option<DeviceId> {
    let EntryBody::Decided(decision) = raw.decode().ok()?.body else {
        return None;
    };
    let is_plans = matches!(decision.inputs.origin, Origin::Plan { .. });
    let granted = decision.judgement.granted.filter(|_| !is_plans)?;
    (!matches!(granted.kind, ActionKind::Notify { .. })).then_some(granted.target)
}

/// The row of the newest decision that the queued entries from `fresh_from` on touch, if any.
fn last_decision(
    agent: &AgentId,
    chain: &Chain,
    fresh_from: usize,
    known: Option<&wire::api::DecisionView>,
) -> Option<wire::api::DecisionView> {
    let queued = &chain.queued;
    let first = queued.raw.get(fresh_from)?.seq;
    let of = |seq: Seq| queued.raw.binary_search_by_key(&seq, |raw| raw.seq).ok();
    let fresh_decision = queued.decisions.last().filter(|seq| **seq >= first);
    let outcomes_of = |decision: Seq| {
        let named = queued
            .outcomes
            .iter()
            .rev()
            .take_while(move |(_, outcome)| *outcome >= first);
        named
            .filter(move |(of, _)| *of == decision)
            .map(|(_, outcome)| *outcome)
    };
    match fresh_decision {
        Some(decision) => {
            let raw = &queued.raw[of(*decision)?];
            let latest = outcomes_of(*decision).next().and_then(of);
            let latest = latest.map(|place| &queued.raw[place]);
            view::decision_view(agent, chain.epoch(), raw, latest).ok()
        }
        None => {
            let known = known.filter(|view| view.epoch == chain.epoch())?;
            let raw = &queued.raw[of(outcomes_of(known.seq).next()?)?];
            let (_, outcome) = view::read_outcome(raw).ok()?;
            let mut view = known.clone();
            view.outcome = outcome.state.name().to_owned();
            view.outcome_detail = Some(outcome.detail).filter(|detail| !detail.is_empty());
            Some(view)
        }
    }
}
