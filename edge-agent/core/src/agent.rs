//! The turn: takes one input, lets every part look at the clock, and queues what follows.
//!
//! Decides nothing by itself beyond the order of work; what an input means stands in the file that is named in its arm.
//!
//! Invariants: as in `lib.rs`; a turn without a change allocates nothing.
//!
//! Read next: `record.rs` (batches), `actions.rs`, `sync.rs`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use policy::{Judge, Want};
use wire::entry::{EntryBody, Event, Gap};
use wire::frame::{DeviceInfo, STOPPED};
use wire::ids::{CommandId, Epoch, Seq};
use wire::reading::Reading;
use wire::time::{Mono, Now};
use wire::{BundleRef, Digest, RoleChain, SignedBundle};

use crate::bundles::AuthorityNow;
use crate::clock::Clock;
use crate::commands::Waiting;
use crate::domains::Domains;
use crate::effect::{Batch, Effect, Log, Token};
use crate::faults::Remedies;
use crate::findings::Known;
use crate::input::{AppendError, Floor, Input, Recovered, Settings};
use crate::link::Link;
use crate::marks::{Marks, Staged};
use crate::mesh::Mesh;
use crate::orders::WaitingOrder;
use crate::planted::Planted;
use crate::record::{InFlight, Record};
use crate::recover::{self, Start};
use crate::roles;
use crate::sync::Older;
use crate::telemetry::Telemetry;

/// One agent.
pub struct Agent {
    pub(crate) settings: Settings,
    pub(crate) marks: Marks,
    pub(crate) record: Record,
    pub(crate) clock: Clock,
    pub(crate) judge: Option<Judge>,
    pub(crate) authority: AuthorityNow,
    pub(crate) bundle: Option<(SignedBundle, BundleRef)>,
    pub(crate) roles: Option<RoleChain>,
    /// The version of the role documents whose copy the shell has.
    copied_roles: u64,
    pub(crate) staged: Option<Staged>,
    pub(crate) next_bundle: Option<(SignedBundle, Option<u64>)>,
    /// When it is tried again, if it found no room.
    pub(crate) next_bundle_at: Option<Mono>,
    pub(crate) refused_bundle: Option<Digest>,
    pub(crate) refused_command: Option<CommandId>,
    pub(crate) telemetry: Telemetry,
    pub(crate) devices: Vec<DeviceInfo>,
    pub(crate) link: Link,
    pub(crate) domains: Domains,
    pub(crate) findings: Known,
    pub(crate) remedies: Remedies,
    pub(crate) mesh: Mesh,
    /// Commands that came while nothing could be recorded, oldest first, and when they expire.
    pub(crate) postponed: VecDeque<crate::commands::Postponed>,
    /// Orders that wait for their turn, oldest first.
    pub(crate) orders: VecDeque<WaitingOrder>,
    pub(crate) older: Vec<Older>,
    pub(crate) oldest_entry: Seq,
    pub(crate) released_entries: Seq,
    pub(crate) new_epoch_because: Option<String>,
    pub(crate) new_epoch_above: Epoch,
    pub(crate) waiting: Vec<Waiting>,
    /// Decisions that found no room in memory while the journal failed.
    pub(crate) beyond: u64,
    pub(crate) planted: Planted,
    pub(crate) out: VecDeque<Effect>,
    wants: Vec<Want>,
    shed: Option<(Seq, Seq)>,
    next_token: u64,
    stop: Stop,
}

/// How far an orderly stop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    No,
    Asked,
    Writing,
    Done,
}

impl Agent {
    /// An agent that carries on from what the shell found on the disk. Its first effects are queued already.
    pub fn new(settings: Settings, recovered: Recovered, now: Now) -> Self {
        Self::start(settings, recovered, now, Planted::Nothing)
    }

    /// As [`Agent::new`], with a bug that is there from the start.
    #[cfg(feature = "planted")]
    #[doc(hidden)]
    pub fn new_planted(settings: Settings, recovered: Recovered, now: Now, planted: Planted) -> Self {
        Self::start(settings, recovered, now, planted)
    }

    fn start(settings: Settings, recovered: Recovered, now: Now, planted: Planted) -> Self {
        let reuse_epoch = planted == Planted::ReuseEpoch;
        let Start {
            marks,
            gaps,
            older,
            oldest_entry,
            stale,
            clean,
        } = recover::start(&recovered, reuse_epoch);
        let mut marks = marks;
        if cfg!(feature = "planted") && planted == Planted::ForgetHold {
            marks.held = None;
        }
        let lost_marks = recovered.marks.as_deref().and_then(Marks::decode).is_none();
        let chain = roles::recovered(&settings, &mut marks, recovered.roles);
        let floor = recovered.floor.unwrap_or_default();
        let released_entries = marks.acked;
        let mut agent = Self {
            record: Record::new(
                marks.head,
                floor,
                recovered.used_bytes,
                settings.journal_limit_bytes,
                now.mono,
            ),
            clock: Clock::new(now, settings.wall_floor),
            judge: None,
            authority: AuthorityNow::NONE,
            bundle: None,
            roles: chain,
            copied_roles: 0,
            staged: None,
            next_bundle: None,
            next_bundle_at: None,
            refused_bundle: None,
            refused_command: None,
            telemetry: Telemetry::new(settings.block_every, marks.interval_ms, marks.blocks.made),
            devices: Vec::new(),
            link: Link::new(settings.seed, now.mono),
            domains: Domains::default(),
            findings: Known::default(),
            remedies: Remedies::default(),
            mesh: Mesh::default(),
            postponed: VecDeque::new(),
            orders: VecDeque::new(),
            older,
            oldest_entry,
            released_entries,
            new_epoch_because: None,
            new_epoch_above: Epoch(0),
            waiting: Vec::new(),
            beyond: 0,
            planted,
            out: VecDeque::new(),
            wants: Vec::new(),
            shed: None,
            next_token: 0,
            stop: Stop::No,
            settings,
            marks,
        };
        agent.marks.clean = false;
        for gap in gaps {
            agent.push(EntryBody::Gap(gap), now);
        }
        let version = agent.settings.version.clone();
        let started = Event::Started { version, clean };
        agent.push(EntryBody::Event(started), now);
        agent.take_bundle_back(recovered.bundle, lost_marks, stale, now);
        agent.marks.ladder.resumed(now.mono);
        agent.probe_open();
        agent.turn(now);
        agent
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input, now: Now) {
        if let Some(by_ms) = self.clock.look(now) {
            self.on_clock_step(by_ms, now);
        }
        match input {
            Input::Readings(readings) => self.on_readings(&readings, now),
            Input::Devices(devices) => self.on_devices(devices),
            Input::Finding { part, why } => self.on_finding(part, why, now),
            Input::Probe { answering, detail } => {
                let why = format!("the GPU probe does not answer: {detail}");
                self.note_trouble("probe", Some(why).filter(|_| !answering));
                self.push_event(Event::Probe { answering, detail }, now);
            }
            Input::Fault(fault) => self.on_fault(fault, now),
            Input::DeviceWell(device) => self.on_device_well(device, now),
            Input::Users(picture) => self.on_users(picture, now),
            Input::Retimed {
                block_every,
                append_deadline,
            } => {
                self.settings.append_deadline = append_deadline;
                self.telemetry.retime(block_every);
            }
            Input::Workload { name, pid, detail } => {
                let why = format!("workload {name} does not run: {detail}");
                self.note_trouble(&name, Some(why).filter(|_| pid.is_none()));
                self.push_event(Event::Workload { name, pid, detail }, now);
            }
            Input::Appended { token, used_bytes } => self.on_appended(token, used_bytes, now),
            Input::AppendFailed { token, reason } => self.on_append_failed(token, &reason, now),
            Input::Trimmed { log, epoch, oldest } => self.on_trimmed(log, epoch, oldest),
            Input::ActionDone { decision, result } => self.on_action_done(&decision, result, now),
            Input::Probed { decision, result } => self.on_probed(&decision, result, now),
            Input::LinkUp => self.on_link_up(now),
            Input::LinkDown { reason } => self.on_link_down(reason, now),
            Input::Path { via, metered } => self.on_path(via, metered),
            Input::HubAsked { refused } => self.on_hub_asked(refused),
            Input::Neighbours(neighbours) => self.on_neighbours(neighbours, now),
            Input::Passed { frame } => self.on_passed(frame, now),
            Input::Frame(frame) => self.on_frame(frame, now),
            Input::Loaded { token, found } => self.on_loaded(token, found, now),
            Input::Local { request, what } => self.on_local(request, what, now),
            Input::Certificate { ends, rejoins } => {
                self.settings.certificate_ends = ends;
                self.settings.rejoins = rejoins;
                self.link.want_status();
            }
            Input::Stop => self.on_stop(),
            Input::Tick => self.observe(&[], now),
        }
        self.turn(now);
    }

    /// The next thing to do, until there is none.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.out.pop_front()
    }

    /// When a [`Input::Tick`] is wanted at the latest, if nothing else comes before; `None`: never.
    pub fn poll_timeout(&self, now: Now) -> Option<Duration> {
        let due = [
            self.record.due(self.settings.append_deadline),
            self.authority.until,
            self.next_verification(),
            self.next_bundle_at,
            self.link.due(),
            self.domains.due(),
            self.next_order(),
            self.ladder_due(),
        ];
        let due = due.into_iter().flatten().min();
        let due = due.map(|at| at.since(now.mono));
        let judge = self.judge.as_ref().and_then(|judge| judge.poll_timeout(now.mono));
        match (due, judge) {
            (Some(due), Some(judge)) => Some(due.min(judge)),
            (due, judge) => due.or(judge),
        }
    }

    /// Makes an entry.
    pub(crate) fn push(&mut self, body: EntryBody, now: Now) -> Seq {
        self.record.push(now, body)
    }

    pub(crate) fn peek_token(&self) -> Token {
        Token(self.next_token)
    }

    pub(crate) fn take_token(&mut self) -> Token {
        let token = Token(self.next_token);
        self.next_token += 1;
        token
    }

    pub(crate) fn push_event(&mut self, event: Event, now: Now) {
        if self.record.has_room() {
            self.push(EntryBody::Event(event), now);
        }
    }

    fn on_clock_step(&mut self, by_ms: i64, now: Now) {
        self.push_event(Event::ClockStepped { by_ms }, now);
        // A role may be over by the new time.
        self.look_at_authority(now);
        self.link.want_status();
        // A clock that was wrong may be all that kept this node and its hub apart.
        self.link.hasten(now.mono);
    }

    fn on_readings(&mut self, readings: &[Reading], now: Now) {
        if self.stop != Stop::No {
            return;
        }
        self.telemetry.observe(readings, now, &mut self.marks.blocks);
        self.verify_effects(readings, now);
        self.look_at_devices(readings, now);
        self.observe(readings, now);
    }

    /// Lets the rules look at readings, and judges what they want.
    fn observe(&mut self, readings: &[Reading], now: Now) {
        let Some(judge) = &mut self.judge else { return };
        judge.observe(readings, now.mono, &mut self.wants);
        if self.wants.is_empty() {
            return self.look_at_concerns(now);
        }
        let mut wants = std::mem::take(&mut self.wants);
        for want in wants.drain(..) {
            if !self.is_under_way(&want) {
                self.decide(want, None, now);
            }
        }
        self.wants = wants;
        self.look_at_concerns(now);
    }

    /// What was refused may be allowed now.
    pub(crate) fn reconsider(&mut self) {
        if let Some(judge) = &mut self.judge {
            judge.reconsider();
        }
    }

    fn on_appended(&mut self, token: Token, used_bytes: u64, now: Now) {
        let was_ok = self.record.ok();
        let Some(done) = self.record.appended(token, used_bytes, now.mono) else {
            return;
        };
        if !was_ok {
            self.reconsider();
            self.link.want_status();
        }
        // The first batch of an epoch tells how the former ended.
        self.marks.floor.untold = None;
        self.telemetry.appended(done.block);
        if done.bundle {
            self.activate_staged(now);
        }
        if let Some((_, through)) = self.shed.take_if(|(entry, _)| *entry <= done.through) {
            let epoch = self.record.durable().epoch;
            self.out.push_back(Effect::Shed { epoch, through });
            self.telemetry.shed_done();
        }
        self.answer_waiting();
        self.give_way(now);
        if self.stop == Stop::Writing && self.record.is_settled() {
            self.finish_stop();
        }
    }

    fn on_append_failed(&mut self, token: Token, reason: &AppendError, now: Now) {
        let full = *reason == AppendError::Full;
        let smaller = |batch: &InFlight| full && (batch.block.is_some() || batch.bundle);
        let Some(failed) = self.record.failed(token, smaller, now.mono) else {
            return;
        };
        self.telemetry.failed(failed.block, full);
        if full && failed.bundle {
            self.give_staged_up(now);
        }
        self.give_way(now);
        if self.record.ok() {
            return;
        }
        self.drop_unrecorded(now);
        self.refuse_waiting();
        self.link.want_status();
        if self.stop == Stop::Writing {
            self.finish_stop();
        }
    }

    /// Coarsens and sheds telemetry as the journal fills.
    fn give_way(&mut self, now: Now) {
        let (used, limit) = (self.record.used_bytes, self.settings.journal_limit_bytes);
        if let Some(interval_ms) = self.telemetry.adapt(used, limit) {
            self.marks.interval_ms = interval_ms;
            self.push(EntryBody::Gap(Gap::Coarsened { interval_ms }), now);
            self.link.want_status();
        }
        let range = self.telemetry.shed(used, limit, &mut self.marks.blocks);
        if let Some((from, to)) = range {
            if self.has_planted(Planted::ShedSilently) {
                let epoch = self.record.durable().epoch;
                self.out.push_back(Effect::Shed { epoch, through: to });
                self.telemetry.shed_done();
                return;
            }
            let entry = self.push_lost(from, to, "journal pressure", now);
            self.shed = Some((entry, to));
        }
    }

    fn push_lost(&mut self, from: Seq, to: Seq, reason: &str, now: Now) -> Seq {
        let reason = reason.to_owned();
        self.push(EntryBody::Gap(Gap::Telemetry { from, to, reason }), now)
    }

    fn on_trimmed(&mut self, log: Log, epoch: Epoch, oldest: Seq) {
        if log == Log::Telemetry {
            return;
        }
        if epoch == self.record.durable().epoch {
            self.oldest_entry = self.oldest_entry.max(oldest);
        } else if let Some(older) = self.older.iter_mut().find(|older| older.epoch == epoch) {
            older.first = older.first.max(oldest).min(older.last);
        }
    }

    fn on_stop(&mut self) {
        if self.stop == Stop::No {
            self.stop = Stop::Asked;
            self.telemetry.close(&mut self.marks.blocks);
        }
    }

    fn finish_stop(&mut self) {
        self.stop = Stop::Done;
        self.refuse_waiting();
        self.disconnect(STOPPED);
        self.out.push_back(Effect::Stopped);
    }

    /// After a restart: the bundle that was active is active again.
    /// The marks name it, so it needs no signature that still counts: its keys may have been replaced since. Where the marks are
    /// lost, the copy beside the journal protects, with no proof that it is fresh.
    fn take_bundle_back(&mut self, bundle: Option<SignedBundle>, lost_marks: bool, stale: bool, now: Now) {
        let expected = std::mem::replace(&mut self.marks.bundle, BundleRef::NONE);
        let Some(signed) = bundle else { return };
        let opened = match lost_marks {
            true => self.open_envelope(&signed).ok(),
            false => named(&signed, expected),
        };
        let Some((reference, text)) = opened else {
            return;
        };
        let Ok(parsed) = policy::Bundle::parse_signed(&text) else {
            return;
        };
        let stale = stale && reference.generation < self.marks.floor.generation;
        let fresh_at = self.marks.fresh_at.filter(|_| !stale && !lost_marks);
        self.activate(reference, signed, Arc::new(parsed), fresh_at);
        if lost_marks {
            self.marks.bundle_since = self.policy_since();
        }
        self.announce_bundle(now);
        self.look_at_authority(now);
    }

    /// What every turn ends with.
    fn turn(&mut self, now: Now) {
        if self.record.look(now.mono, self.settings.append_deadline) {
            self.link.want_status();
            self.refuse_waiting();
        }
        if !self.record.ok() {
            self.refuse_waiting();
        }
        self.retry_bundle(now);
        self.take_postponed(now);
        self.expire_wishes(now);
        if self.authority.until.is_some_and(|until| now.mono >= until) {
            self.look_at_authority(now);
        }
        self.turn_ladder(now);
        if !self.marks.open.is_empty() {
            self.expire_verifications(now);
            self.advance_actions(now);
        }
        if self.new_epoch_because.is_some() {
            self.begin_epoch(now);
        }
        self.flush(now);
        if self.stop != Stop::Done {
            self.turn_link(now);
            self.turn_domains(now);
            self.turn_findings();
            self.turn_mesh();
        }
    }

    /// Hands a batch over, if there is something to write and none is on its way.
    fn flush(&mut self, now: Now) {
        let stopping = self.stop == Stop::Asked;
        let something = self.record.has_tail()
            || self.telemetry.has_ready()
            || self.telemetry.has_lost()
            || self.staged.is_some()
            || stopping;
        if !something || !self.record.may_begin(now.mono) {
            return;
        }
        if let Some((actions, detail)) = self.record.note_unrecorded() {
            self.push(EntryBody::Event(Event::Unrecorded { actions, detail }), now);
        }
        if let Some((from, to)) = self.telemetry.take_lost() {
            self.push_lost(from, to, "the journal took no blocks", now);
        }
        if stopping {
            self.stop = Stop::Writing;
        }
        let token = self.take_token();
        let block = self.telemetry.take_ready();
        let floor = Floor {
            epoch: self.record.durable().epoch,
            last: self.record.durable().seq,
            acked: self.marks.acked,
            held: self.marks.held.is_some(),
            ..self.marks.floor
        };
        self.marks.floor = floor;
        let marks = self.encode_marks(stopping, now);
        let bundle = self
            .staged
            .as_ref()
            .map(|staged| (staged.reference, staged.signed.clone()));
        let version = self.marks.floor.roles;
        let copies = bundle.is_some() || version > self.copied_roles;
        let roles = copies.then(|| self.marks.roles.clone());
        self.copied_roles = version;
        let part = self
            .record
            .begin(token, block.clone(), bundle.is_some(), floor, now.mono);
        self.out.push_back(Effect::Append(Batch {
            token,
            epoch: floor.epoch,
            entries: part.entries,
            telemetry: block,
            bundle,
            roles,
            marks,
            floor: part.floor,
            urgent: part.urgent,
        }));
    }

    fn encode_marks(&mut self, clean: bool, now: Now) -> Vec<u8> {
        if let Some(judge) = &self.judge {
            self.marks.ledger = Some(judge.ledger());
        }
        self.marks.head = self.record.made();
        self.marks.clean = clean;
        let Some(staged) = &self.staged else {
            return self.marks.encode();
        };
        // If this becomes durable and the process then dies, the next one starts with the new bundle.
        let (bundle, fresh_at) = (self.marks.bundle, self.marks.fresh_at);
        self.marks.bundle = staged.reference;
        self.marks.fresh_at = Some(now.mono);
        let since = std::mem::replace(&mut self.marks.bundle_since, staged.since);
        let bytes = self.marks.encode();
        (self.marks.bundle, self.marks.fresh_at) = (bundle, fresh_at);
        self.marks.bundle_since = since;
        bytes
    }

    /// A journal that is full would keep the old epoch open for ever: no hub acknowledges it any more, so nothing of it would be given
    /// up. What is durable of it may go, as it may after the epoch has ended.
    fn make_room_to_settle(&mut self) {
        let old = self.record.durable();
        if !self.record.ok() && self.released_entries < old.seq {
            self.release_log(Log::Entries, old.epoch, old.seq);
        }
    }

    /// Begins a new epoch while running, as soon as nothing of the old one is on its way.
    fn begin_epoch(&mut self, now: Now) {
        if !self.record.is_settled() {
            return self.make_room_to_settle();
        }
        let Some(reason) = self.new_epoch_because.take() else {
            return;
        };
        self.disconnect("a new epoch begins");
        let old = self.record.durable();
        let acked = self.marks.acked;
        let gap = Gap::Epoch {
            epoch: old.epoch,
            last_known: old.seq,
            acked,
            reason,
        };
        // No hub can link what it lacks of the old epoch; it stays for `--local` until the space is needed.
        self.marks.settled.push(old.epoch);
        self.release_log(Log::Entries, old.epoch, old.seq);
        self.release_log(Log::Telemetry, old.epoch, self.telemetry.durable());
        let above = old.epoch.max(self.new_epoch_above);
        self.marks = recover::next_epoch(std::mem::replace(&mut self.marks, Marks::fresh(above)), above);
        self.marks.floor.epoch = above.next();
        self.marks.floor.untold = Some((old.epoch, old.seq, acked));
        self.record.start_epoch(above.next());
        self.telemetry.start_epoch();
        self.shed = None;
        self.oldest_entry = Seq(1);
        self.released_entries = Seq(0);
        self.push(EntryBody::Gap(gap), now);
    }
}

/// The bundle, if it is the one that our own marks name.
fn named(signed: &SignedBundle, expected: BundleRef) -> Option<(BundleRef, Vec<u8>)> {
    let payload = signed.peek().ok()?;
    let reference = BundleRef {
        generation: payload.generation,
        digest: signed.digest(),
    };
    (reference == expected).then_some((reference, payload.text))
}

#[cfg(test)]
mod checkpoints;
#[cfg(test)]
mod promises;
#[cfg(test)]
mod spending;

#[cfg(test)]
mod tests;
