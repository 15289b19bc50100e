//! The conversation with the hub: hello and welcome, entries and blocks up, bundles and commands down.
//!
//! Decides what is sent next and how far it is acknowledged. On every connect both sides tell where they stand, and only what
//! differs travels; whoever finds itself to be an older copy says so and starts a new incarnation.
//!
//! Invariants: an entry is sent only when it is durable; the entries of one epoch are sent in order; at most [`WINDOW_BYTES`] of
//! entries are unacknowledged; `acked` never exceeds what a hub said to hold.
//!
//! Read next: `link.rs` (the session), `hub/core/src/sessions.rs` (the other end).

use std::collections::VecDeque;
use std::time::Duration;

use wire::SignedCheckpoint;
use wire::bundle::BundleRef;
use wire::entry::{EntryBody, Event};
use wire::frame::{
    Ack, AskTime, Entries, Frame, Goodbye, GoodbyeReason, Hello, HubTime, MAX_ENTRIES_BYTES, OLDEST_VERSION,
    RoleDocuments, TelemetryBlock, VERSION, Welcome,
};
use wire::ids::{Epoch, HubEpoch, Seq};
use wire::time::{Mono, Now, Wall};

use crate::agent::Agent;
use crate::backoff::LONGEST;
use crate::effect::{Effect, Log};
use crate::input::Loaded;
use crate::link::{Due, Session, Stage, Stream};

/// Entries that may be unacknowledged: half of what the transport queues for this class.
const WINDOW_BYTES: usize = 1024 * 1024;
/// The same for telemetry, a third of what the transport queues.
const BLOCK_WINDOW_BYTES: usize = 1024 * 1024;
/// One read of the journal: half a frame, so that one read never needs two.
const LOAD_BYTES: usize = MAX_ENTRIES_BYTES / 2;
/// A person has to let this node in again; a hub that names a shorter time is not asked more often than this.
const AFTER_DENIED: Duration = Duration::from_secs(10);
/// Older epochs that one hello names.
const MAX_OLDER: usize = 16;
/// Incarnations that a hub may go through within one session.
const MOST_INCARNATIONS: u64 = 64;
/// Another process took the session over: time for a person to look, not for a fight.
const AFTER_REPLACED: Duration = Duration::from_secs(10);

/// An epoch before the present one that entries are left of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Older {
    pub(crate) epoch: Epoch,
    pub(crate) first: Seq,
    pub(crate) last: Seq,
}

impl Agent {
    pub(crate) fn on_link_up(&mut self, now: Now) {
        if !matches!(self.link.stage, Stage::Connecting) {
            return;
        }
        self.link.stage = Stage::Greeting { since: now.mono };
        let hello = self.hello(now);
        self.send(Frame::Hello(hello));
    }

    pub(crate) fn on_link_down(&mut self, reason: String, now: Now) {
        if self.link.went_down(now.mono) && self.record.has_room() {
            let event = Event::Disconnected { reason };
            self.push(EntryBody::Event(event), now);
        }
        self.forget_domains(now);
        self.forget_path();
    }

    pub(crate) fn on_frame(&mut self, frame: Frame, now: Now) {
        match (&self.link.stage, frame) {
            (Stage::Greeting { since }, Frame::Welcome(welcome)) => {
                let asked = *since;
                self.on_welcome(&welcome, asked, now);
            }
            (Stage::Greeting { .. } | Stage::Welcomed(_), Frame::Goodbye(goodbye)) => {
                self.on_goodbye(goodbye);
            }
            // Its stream may overtake the welcome; what it is worth stands in its signature.
            (Stage::Greeting { .. }, Frame::Bundle(signed)) => self.on_bundle(signed, None, now),
            (Stage::Greeting { .. }, Frame::Roles(roles)) => self.hear_roles(&roles, now),
            (Stage::Welcomed(_), frame) => self.on_session_frame(frame, now),
            // Nothing counts before the welcome and after the end.
            _ => {}
        }
    }

    fn on_session_frame(&mut self, frame: Frame, now: Now) {
        self.marks.hub_heard = Some(now.mono);
        self.hub_is_there();
        match frame {
            Frame::Ack(ack) => self.on_ack(ack, now),
            Frame::Command(command) => self.on_command(command, None, now),
            Frame::PlanCommand(step) => self.on_plan_command(step, now),
            Frame::Beacon(beacon) => self.on_beacon(&beacon, now),
            Frame::Bundle(signed) => self.on_bundle(signed, None, now),
            Frame::Roles(roles) => self.hear_roles(&roles, now),
            Frame::FleetFacts(facts) => self.on_fleet_facts(facts, now),
            Frame::HubTime(time) => self.on_hub_time(time, now),
            Frame::Checkpoint(checkpoint) => self.keep_checkpoint(checkpoint),
            Frame::AskBundle(ask) => {
                let active = self.bundle.as_ref();
                if let Some((signed, _)) = active.filter(|(_, held)| *held == ask.bundle) {
                    let frame = Frame::Bundle(signed.clone());
                    self.send(frame);
                }
            }
            // A hub does not send these; whoever does is not obeyed.
            Frame::Hello(_)
            | Frame::Welcome(_)
            | Frame::Status(_)
            | Frame::NodeFacts(_)
            | Frame::Findings(_)
            | Frame::NodePath(_)
            | Frame::PeerState(_)
            | Frame::PeerPath(_)
            | Frame::PeerKey(_)
            | Frame::AskTime(_)
            | Frame::Goodbye(_)
            | Frame::Entries(_)
            | Frame::Telemetry(_) => {}
        }
    }

    /// A refusal is an entry; there is nothing to answer.
    fn hear_roles(&mut self, roles: &RoleDocuments, now: Now) {
        drop(self.on_roles(&roles.documents, now));
    }

    fn hello(&self, now: Now) -> Hello {
        Hello {
            version: VERSION,
            oldest_version: OLDEST_VERSION,
            program: self.settings.version.clone(),
            head: self.record.durable(),
            oldest_entry: self.oldest_entry,
            acked: self.marks.acked,
            older: self
                .older
                .iter()
                .take(MAX_OLDER)
                .map(|older| (older.epoch, older.first, older.last))
                .collect(),
            telemetry: self.telemetry.durable(),
            bundle: self.active_bundle(),
            generation_floor: self.marks.floor.generation,
            hub_epoch: self.marks.floor.hub_epoch,
            process: self.settings.process,
            last_session: self.marks.session,
            now,
        }
    }

    fn active_bundle(&self) -> BundleRef {
        self.bundle
            .as_ref()
            .map_or(BundleRef::NONE, |(_, reference)| *reference)
    }

    /// `asked` is when the hello was sent.
    fn on_welcome(&mut self, welcome: &Welcome, asked: Mono, now: Now) {
        if welcome.hub_epoch < self.marks.floor.hub_epoch {
            return self.disconnect("the hub is an older copy of the one that was followed before");
        }
        if self.finds_itself_copied(welcome) {
            let newest = welcome.holds.iter().map(|head| head.epoch).max();
            self.new_epoch_above = self.new_epoch_above.max(newest.unwrap_or_default());
            self.new_epoch_because = Some("restored from a copy".to_owned());
            return self.disconnect("this journal is an older copy; a new epoch begins");
        }
        self.hub_is_there();
        self.marks.floor.hub_epoch = welcome.hub_epoch;
        self.marks.session = welcome.session;
        self.hear_time(asked, welcome.now.wall, now);
        let away_ms = self.marks.hub_heard.replace(now.mono);
        self.push_if_room(
            Event::Connected {
                hub_epoch: welcome.hub_epoch,
                away_ms: away_ms.map(|at| now.mono.0.saturating_sub(at.0)),
            },
            now,
        );
        let entries = self.resume_entries(welcome, now);
        let blocks = self.resume_blocks(welcome.telemetry, now);
        self.link.stage = Stage::Welcomed(Box::new(Session {
            since: now.mono,
            hub_epoch: welcome.hub_epoch,
            time_asked: None,
            entries,
            blocks,
        }));
        self.telemetry.want_key();
        self.send_status(now);
        if let Some(checkpoint) = self.marks.checkpoint.clone() {
            self.send(Frame::Checkpoint(checkpoint));
        }
    }

    /// Keeps the newest checkpoint of the hub's journal, durable with the next batch. Only a hub can tell what it is worth; one
    /// that is older than the one that is kept may come from an older copy of the hub, and is what the kept one is there to show.
    fn keep_checkpoint(&mut self, given: SignedCheckpoint) {
        let Ok(checkpoint) = given.peek() else { return };
        // Later than all that is followed: it could never be replaced.
        if checkpoint.head.epoch.0 > self.marks.floor.hub_epoch.0.saturating_add(MOST_INCARNATIONS) {
            return;
        }
        let kept = self.marks.checkpoint.as_ref();
        if kept.is_none_or(|kept| given.is_newer_than(kept)) {
            self.marks.checkpoint = Some(given);
        }
    }

    /// Whether the hub holds what this journal never made: then an older copy of it is running.
    fn finds_itself_copied(&self, welcome: &Welcome) -> bool {
        let durable = self.record.durable();
        welcome.holds.iter().any(|held| {
            held.epoch > durable.epoch
                || (held.epoch == durable.epoch
                    && (held.seq > durable.seq || (held.seq == durable.seq && held.digest != durable.digest)))
        }) || welcome.telemetry > self.telemetry.durable()
    }

    fn resume_entries(&mut self, welcome: &Welcome, now: Now) -> Stream {
        let held = |epoch: Epoch| {
            let head = welcome.holds.iter().find(|head| head.epoch == epoch);
            head.map_or(Seq(0), |head| head.seq)
        };
        let present = self.record.durable().epoch;
        let holds = held(present);
        if holds < self.marks.acked {
            self.push_if_room(
                Event::HubRestored {
                    hub_epoch: welcome.hub_epoch,
                    acked: self.marks.acked,
                    holds,
                },
                now,
            );
            self.marks.acked = holds;
        }
        self.note_acked(holds);
        let mut older = VecDeque::new();
        for Older { epoch, first, last } in self.older.clone() {
            let next = held(epoch).next().max(first);
            if next > last {
                self.settle(epoch);
            } else if older.len() < MAX_OLDER {
                older.push_back((epoch, next, last));
            }
        }
        Stream::new(older, holds.next().max(self.oldest_entry), now.mono)
    }

    fn resume_blocks(&mut self, holds: Seq, now: Now) -> Stream {
        self.marks.blocks.acked = holds;
        self.telemetry.forget_through(holds);
        self.release_log(Log::Telemetry, self.record.durable().epoch, holds);
        let next = holds.max(self.marks.blocks.shed).next();
        Stream::new(VecDeque::new(), next, now.mono)
    }

    fn on_ack(&mut self, ack: Ack, now: Now) {
        let durable = self.record.durable();
        let blocks_durable = self.telemetry.durable();
        let Some(session) = self.link.session() else {
            return;
        };
        if let Some(through) = ack.entries {
            session.entries.acked(ack.epoch, through, now.mono);
        }
        if let Some(through) = ack.telemetry {
            session.blocks.acked(ack.epoch, through, now.mono);
        }
        if ack.epoch != durable.epoch {
            if let Some(through) = ack.entries {
                self.note_acked_older(ack.epoch, through);
            }
            return;
        }
        if let Some(through) = ack.entries {
            self.note_acked(through.min(durable.seq));
        }
        if let Some(through) = ack.telemetry {
            let through = through.min(blocks_durable);
            if through > self.marks.blocks.acked {
                self.marks.blocks.acked = through;
                self.telemetry.forget_through(through);
                self.release_log(Log::Telemetry, ack.epoch, through);
            }
        }
    }

    /// The planted bug [`crate::Planted::SkipOnMove`].
    pub(crate) fn skip_flying(&mut self) {
        let through = self.record.durable().seq;
        if let Some(session) = self.link.session() {
            session.entries.next = through.next();
            self.note_acked(through);
        }
    }

    fn note_acked(&mut self, through: Seq) {
        if through > self.marks.acked {
            self.marks.acked = through;
            self.record.forget_through(through);
            self.release_log(Log::Entries, self.record.durable().epoch, through);
        }
    }

    fn note_acked_older(&mut self, epoch: Epoch, through: Seq) {
        match self.older.iter().find(|older| older.epoch == epoch) {
            Some(older) if through >= older.last => self.settle(epoch),
            Some(_) => self.release_log(Log::Entries, epoch, through),
            None => {}
        }
    }

    /// Nothing more of an older epoch can be sent.
    fn settle(&mut self, epoch: Epoch) {
        let Some(index) = self.older.iter().position(|older| older.epoch == epoch) else {
            return;
        };
        let older = self.older.remove(index);
        self.marks.settled.push(epoch);
        self.release_log(Log::Entries, epoch, older.last);
    }

    pub(crate) fn release_log(&mut self, log: Log, epoch: Epoch, through: Seq) {
        if log == Log::Entries && epoch == self.record.durable().epoch {
            self.released_entries = self.released_entries.max(through);
        }
        if through > Seq(0) {
            self.out.push_back(Effect::Release { log, epoch, through });
        }
    }

    fn on_goodbye(&mut self, goodbye: Goodbye) {
        let retry_after = Duration::from_millis(goodbye.retry_after_ms);
        match goodbye.reason {
            GoodbyeReason::Stopping | GoodbyeReason::Busy | GoodbyeReason::Protocol => {
                if goodbye.reason == GoodbyeReason::Stopping {
                    self.hub_stops();
                }
                if !retry_after.is_zero() {
                    self.link.backoff.ask(retry_after);
                }
            }
            GoodbyeReason::Replaced => self.link.backoff.ask(retry_after.max(AFTER_REPLACED)),
            GoodbyeReason::Cloned | GoodbyeReason::Denied => {
                self.link.backoff.ask(retry_after.clamp(AFTER_DENIED, LONGEST));
            }
            GoodbyeReason::Version => self.link.backoff.despair(),
            GoodbyeReason::Diverged => {
                self.new_epoch_because = Some("restored from a copy".to_owned());
            }
        }
        self.disconnect(&format!("the hub said goodbye: {}", goodbye.detail));
    }

    pub(crate) fn disconnect(&mut self, reason: &str) {
        if self.link.close() {
            let reason = reason.to_owned();
            self.out.push_back(Effect::Disconnect { reason });
        }
    }

    /// Does what is due on the link, and sends what may be sent.
    pub(crate) fn turn_link(&mut self, now: Now) {
        match self.link.look(now.mono) {
            // What a hub says about the old epoch would be taken for the new one.
            Some(Due::Connect) if self.new_epoch_because.is_some() => self.link.postpone(now.mono),
            Some(Due::Connect) => {
                self.link.stage = Stage::Connecting;
                self.out.push_back(Effect::Connect);
            }
            Some(Due::GiveUp(reason)) => self.disconnect(reason),
            Some(Due::Status) => self.send_status(now),
            None => {}
        }
        if self.link.is_welcomed() {
            self.pump_entries(now);
            if !self.is_metered() {
                self.pump_blocks(now);
            }
        }
    }

    fn send_status(&mut self, now: Now) {
        let status = self.status(now);
        self.send(Frame::Status(status));
        self.link.status_sent(now.mono);
        self.ask_time(now);
    }

    /// As often as a status: a welcome may have waited for the hub's disk, and clocks drift.
    fn ask_time(&mut self, now: Now) {
        let (Some(error_ms), Some(session)) = (self.clock.error_ms(now), self.link.session()) else {
            return;
        };
        session.time_asked = Some(now.mono);
        self.send(Frame::AskTime(AskTime {
            asked: now.mono,
            error_ms,
        }));
    }

    fn on_hub_time(&mut self, time: HubTime, now: Now) {
        let asked = self.link.session().map(|session| &mut session.time_asked);
        if asked.is_some_and(|asked| asked.take_if(|asked| *asked == time.asked).is_some()) {
            self.hear_time(time.asked, time.now.wall, now);
        }
    }

    fn hear_time(&mut self, asked: Mono, hub: Wall, now: Now) {
        if self.clock.compare(asked, hub, now) {
            // A role that was over by the former time may not be.
            self.look_at_authority(now);
        }
    }

    fn pump_entries(&mut self, now: Now) {
        let durable = self.record.durable();
        loop {
            let token = self.peek_token();
            let Some(session) = self.link.session() else {
                return;
            };
            let stream = &mut session.entries;
            if stream.loading.is_some() || stream.flying_bytes() >= WINDOW_BYTES {
                return;
            }
            let (epoch, from, last) = match stream.older.front() {
                Some(&(epoch, next, last)) if next > last => {
                    stream.older.pop_front();
                    debug_assert!(epoch < durable.epoch);
                    continue;
                }
                Some(&older) => older,
                None => (durable.epoch, stream.next, durable.seq),
            };
            if from > last {
                return;
            }
            if epoch == durable.epoch
                && let Some(raw) = self.record.recent(from, LOAD_BYTES)
            {
                self.send_entries(epoch, from, raw, now);
                continue;
            }
            stream.loading = Some((token, epoch, from));
            self.load(Log::Entries, epoch, from);
        }
    }

    fn pump_blocks(&mut self, now: Now) {
        let epoch = self.record.durable().epoch;
        let durable = self.telemetry.durable();
        loop {
            let token = self.peek_token();
            let Some(session) = self.link.session() else {
                return;
            };
            let stream = &mut session.blocks;
            stream.next = stream.next.max(self.marks.blocks.shed.next());
            let seq = stream.next;
            if stream.loading.is_some() || stream.flying_bytes() >= BLOCK_WINDOW_BYTES || seq > durable {
                return;
            }
            if let Some(block) = self.telemetry.recent(seq) {
                let block = block.to_vec();
                self.send_block(epoch, seq, block, now);
                continue;
            }
            stream.loading = Some((token, epoch, seq));
            self.load(Log::Telemetry, epoch, seq);
        }
    }

    fn load(&mut self, log: Log, epoch: Epoch, from: Seq) {
        let token = self.take_token();
        self.out.push_back(Effect::Load {
            token,
            log,
            epoch,
            from,
            max_bytes: LOAD_BYTES,
        });
    }

    pub(crate) fn on_loaded(&mut self, token: crate::Token, found: Loaded, now: Now) {
        let asked = |stream: &mut Stream| {
            let (_, epoch, from) = stream.loading.take_if(|(asked, _, _)| *asked == token)?;
            Some((epoch, from))
        };
        let Some(session) = self.link.session() else {
            return;
        };
        match found {
            Loaded::Entries(raw) => {
                let Some((epoch, from)) = asked(&mut session.entries) else {
                    return;
                };
                match raw.first() {
                    Some(first) if first.seq == from => {
                        let raw = raw.into_iter().map(|entry| entry.bytes).collect();
                        self.send_entries(epoch, from, raw, now);
                    }
                    _ => self.on_entries_gone(epoch, from),
                }
            }
            Loaded::Telemetry(blocks) => {
                let Some((epoch, from)) = asked(&mut session.blocks) else {
                    return;
                };
                if blocks.first().is_none_or(|(seq, _)| *seq != from) {
                    // Lost or shed: a gap entry names it.
                    session.blocks.next = from.next();
                }
                for (seq, block) in blocks {
                    self.send_block(epoch, seq, block, now);
                }
            }
        }
    }

    /// Entries that the hub wants are not in the journal any more.
    fn on_entries_gone(&mut self, epoch: Epoch, from: Seq) {
        if epoch < self.record.durable().epoch {
            if let Some(session) = self.link.session() {
                session.entries.older.pop_front();
            }
            self.settle(epoch);
        } else if from <= self.released_entries {
            // Released long ago and removed since; the hub learns from the next hello that there is a hole.
            self.oldest_entry = self.released_entries.next();
            self.disconnect("entries that the hub asks for were removed after it had acknowledged them");
        } else {
            self.new_epoch_because = Some("corrupt".to_owned());
            self.disconnect("entries of this journal cannot be read; a new epoch begins");
        }
    }

    fn send_entries(&mut self, epoch: Epoch, first: Seq, raw: Vec<Vec<u8>>, now: Now) {
        let count = raw.len() as u64;
        let last = Seq(first.0 + count - 1);
        let bytes = raw.iter().map(Vec::len).sum();
        let present = self.record.durable().epoch;
        let Some(session) = self.link.session() else {
            return;
        };
        let stream = &mut session.entries;
        stream.sent(epoch, last, bytes, now.mono);
        match stream.older.front_mut() {
            Some(older) if epoch != present => older.1 = last.next(),
            _ => stream.next = last.next(),
        }
        self.send(Frame::Entries(Entries { epoch, first, raw }));
    }

    fn send_block(&mut self, epoch: Epoch, seq: Seq, block: Vec<u8>, now: Now) {
        let Some(session) = self.link.session() else {
            return;
        };
        session.blocks.sent(epoch, seq, block.len(), now.mono);
        session.blocks.next = seq.next();
        self.send(Frame::Telemetry(TelemetryBlock { epoch, seq, block }));
    }

    pub(crate) fn send(&mut self, frame: Frame) {
        self.out.push_back(Effect::Send(frame));
    }

    /// The hub's incarnation of the present session.
    pub(crate) fn session_hub_epoch(&self) -> Option<HubEpoch> {
        match &self.link.stage {
            Stage::Welcomed(session) => Some(session.hub_epoch),
            Stage::Down { .. } | Stage::Connecting | Stage::Greeting { .. } | Stage::Closing { .. } => None,
        }
    }

    fn push_if_room(&mut self, event: Event, now: Now) {
        if self.record.has_room() {
            self.push(EntryBody::Event(event), now);
        }
    }
}
