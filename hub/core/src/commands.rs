//! Orders of people and programs, on their way to an agent and back as a decision and its outcome.
//!
//! The hub judges an order by its own copy of the rules first; the agent has the last word. A command is stored before it is
//! sent, and sent again at every welcome until it is expired or its decision is here; the agent applies each id once.
//!
//! Invariant: a command leaves only when it is stored, vetted, not expired, and under the stored hub epoch; every request gets
//! exactly one answer.

use std::collections::BTreeMap;
use std::time::Duration;

use policy_execution::Answer as Carried;
use serde::{Deserialize, Serialize};
use wire::change::{Caller, ChangeRecord};
use wire::codec;
use wire::entry::{EntryBody, Event};
use wire::frame::{Command, Frame, Order, PlanCommand};
use wire::ids::{AgentId, CommandId, DecisionId, Epoch, PlanId, Seq};
use wire::time::{Mono, Now};
use wire::{DeviceId, Origin, RawEntry};

use crate::cx::StepOrder;
use crate::effect::Answer;
use crate::fleet::Place;
use crate::hub::Hub;
use crate::input::SessionId;
use crate::plans::{Interference, StepAnswer};
use crate::timers::Timer;

/// Commands of one agent that may be under way: people act one at a time, programs a few.
const MAX_COMMANDS_EACH: usize = 32;
/// Of all agents.
const MAX_COMMANDS: usize = 4_096;
/// A command that waits longer than a day has lost its reason.
const LONGEST_VALID: Duration = Duration::from_secs(24 * 3_600);
/// Longer than any proxy lets an answer wait.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// Version of [`Record`]'s encoding, its first byte.
const RECORD_VERSION: u8 = 2;
/// Records as they were before plans.
const WITHOUT_PLANS: u8 = 1;

/// What somebody asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) id: CommandId,
    pub(crate) caller: Caller,
    pub(crate) reason: String,
    pub(crate) what: Order,
    pub(crate) valid_for: Duration,
}

/// What an entry says that a pending command may wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    Decided {
        command: CommandId,
        seq: Seq,
        runs: bool,
    },
    /// Something runs on a device that no plan has asked for.
    Ran {
        device: DeviceId,
        seq: Seq,
    },
    Acted {
        decision: Seq,
        carried: Carried,
    },
    Held {
        who: String,
        reason: String,
    },
    Released {
        who: String,
        reason: String,
    },
    Refused {
        command: CommandId,
        reason: String,
    },
    GlassOpened {
        number: u64,
    },
}

impl Heard {
    pub(crate) fn of_event(raw: &RawEntry) -> Option<Self> {
        match raw.decode().ok()?.body {
            EntryBody::Event(Event::Held { who, reason }) => Some(Self::Held { who, reason }),
            EntryBody::Event(Event::Released { who, reason }) => Some(Self::Released { who, reason }),
            EntryBody::Event(Event::CommandRefused { id, reason }) => Some(Self::Refused { command: id, reason }),
            EntryBody::Event(Event::BreakGlassOpened { number, .. }) => Some(Self::GlassOpened { number }),
            _ => None,
        }
    }
}

/// What the store keeps of a command until it is decided or expired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    id: CommandId,
    agent: AgentId,
    who: String,
    reason: String,
    what: Order,
    made: Mono,
    expires: Mono,
    /// The step of a plan that it is. It stands behind the record, whose own encoding is older.
    #[serde(skip)]
    step: Option<StepOf>,
}

/// Which step of which plan a command carries out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct StepOf {
    plan: PlanId,
    step: u16,
    undo: bool,
    brain: bool,
}

impl Record {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![RECORD_VERSION];
        bytes.extend(codec::encode(&(self, &self.step)));
        bytes
    }

    /// `None` for bytes of another version.
    fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first() {
            Some((&RECORD_VERSION, rest)) => {
                let (record, step): (Self, _) = codec::decode(rest).ok()?;
                Some(Self { step, ..record })
            }
            Some((&WITHOUT_PLANS, rest)) => codec::decode(rest).ok(),
            _ => None,
        }
    }
}

#[derive(Debug)]
struct Pending {
    record: Record,
    place: Place,
    stage: Stage,
    /// Who waits for the answer.
    request: Option<u64>,
    /// Until when.
    waits_until: Mono,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// On its way to the store.
    Storing,
    /// Durable, and not yet sent.
    Stored,
    Sent,
    /// It may no longer be sent; its decision may still come.
    Expired,
    /// Decided, and its outcome is awaited.
    Decided(Epoch, Seq),
}

#[derive(Debug, Default)]
pub(crate) struct Commands(BTreeMap<CommandId, Pending>);

impl Commands {
    /// The row of a command that is to be stored; `None` if it is over already.
    pub(crate) fn record(&self, id: &CommandId) -> Option<Vec<u8>> {
        Some(self.0.get(id)?.record.encode())
    }
}

fn answer_of(step: StepOf, answer: Carried, decision: Option<DecisionId>, detail: String) -> StepAnswer {
    StepAnswer {
        plan: step.plan,
        step: usize::from(step.step),
        undo: step.undo,
        answer,
        decision,
        detail,
    }
}

/// The entry of a command's beginning: an order's whole life stands in the journal by its id.
fn asked_for(caller: Caller, record: &Record) -> ChangeRecord {
    let what = match &record.what {
        Order::Act(action) => action.to_string(),
        Order::Hold => "hold".to_owned(),
        Order::Release => "release".to_owned(),
        Order::BreakGlass(_) => "break glass".to_owned(),
    };
    ChangeRecord::new(caller, "command.order", format!("node/{}", record.agent))
        .because(&record.reason)
        .with("command", record.id)
        .with("what", what)
}

impl Hub {
    /// Commands that were not finished when the hub ended. One whose time line does not carry on counts as expired.
    pub(crate) fn recover_commands(&mut self, records: &[Vec<u8>], now: Now) {
        for bytes in records {
            let Some(record) = Record::decode(bytes) else {
                continue;
            };
            let place = self.fleet.place(&record.agent);
            match place {
                Some(place) if record.made <= now.mono && record.expires > now.mono => {
                    self.timers.set(record.expires, Timer::Expire(record.id));
                    self.begin(record, place, Stage::Stored, None, now.mono);
                }
                _ => self.writer.remove_command(record.id),
            }
        }
    }

    fn begin(&mut self, record: Record, place: Place, stage: Stage, request: Option<u64>, waits_until: Mono) {
        let id = record.id;
        self.fleet.node_mut(place).commands.push(id);
        let pending = Pending {
            record,
            place,
            stage,
            request,
            waits_until,
        };
        self.commands.0.insert(id, pending);
    }

    /// Somebody asks for something.
    pub(crate) fn order(&mut self, request: u64, place: Place, asked: Asked, wait: Duration, now: Now) {
        if let Err(answer) = self.may_order(place, &asked, now) {
            return self.reply(request, answer);
        }
        let id = asked.id;
        let expires = now.mono + asked.valid_for.min(LONGEST_VALID);
        let record = Record {
            id,
            agent: self.fleet.node(place).id().clone(),
            who: asked.caller.name.clone(),
            reason: asked.reason,
            what: asked.what,
            made: now.mono,
            expires,
            step: None,
        };
        self.record(asked_for(asked.caller, &record), now);
        let waits_until = now.mono + wait.min(LONGEST_WAIT);
        self.begin(record, place, Stage::Storing, Some(request), waits_until);
        self.timers.set(expires, Timer::Expire(id));
        self.timers.set(waits_until, Timer::Wait(id));
        self.writer.store_command(id);
    }

    /// A plan asks for one of its steps; the plan has judged it. What comes of it is told to the plan.
    pub(crate) fn order_step(&mut self, order: StepOrder, now: Now) {
        let step = StepOf {
            plan: order.plan,
            step: order.step,
            undo: order.undo,
            brain: order.brain,
        };
        let place = self.fleet.place(&order.node);
        let full = self.commands.0.len() >= MAX_COMMANDS
            || place.is_some_and(|place| self.fleet.node(place).commands.len() >= MAX_COMMANDS_EACH);
        let (Some(place), false) = (place, full || self.commands.0.contains_key(&order.command)) else {
            let detail = "its node is gone, or too many commands wait for it".to_owned();
            return self
                .step_answers
                .push_back(answer_of(step, Carried::NotDone, None, detail));
        };
        let record = Record {
            id: order.command,
            agent: order.node,
            who: order.who,
            reason: order.reason,
            what: order.order,
            made: now.mono,
            expires: order.until,
            step: Some(step),
        };
        self.timers.set(record.expires, Timer::Expire(record.id));
        let id = record.id;
        self.begin(record, place, Stage::Storing, None, now.mono);
        self.writer.store_command(id);
    }

    /// Whether this command was ever to be sent, as far as this store can tell: it is under way, or its row is on its way out.
    pub(crate) fn knows_command(&self, id: &CommandId) -> bool {
        self.commands.0.contains_key(id) || self.writer.removes_command(id)
    }

    fn may_order(&self, place: Place, asked: &Asked, now: Now) -> Result<(), Answer> {
        let unavailable = |reason: &str| Answer::Unavailable {
            reason: reason.to_owned(),
        };
        if self.commands.0.contains_key(&asked.id) {
            return Err(unavailable("this command id is in use"));
        }
        let of_node = self.fleet.node(place).commands.len();
        if of_node >= MAX_COMMANDS_EACH || self.commands.0.len() >= MAX_COMMANDS {
            return Err(unavailable("too many commands wait for their agents"));
        }
        if self.writer.pause(now.mono).is_some() {
            return Err(unavailable("the hub cannot write, so it sends no commands"));
        }
        // Without a bundle the hub has no opinion; then the agent has none to act by either.
        if let (Order::Act(action), Some(rules)) = (&asked.what, self.bundles.rules()) {
            let origin = Origin::Command {
                id: asked.id,
                who: asked.caller.name.clone(),
                reason: asked.reason.clone(),
            };
            let judgement = policy::vet(rules, action, &origin, now);
            // Whether two people have opened it there, only the agent knows.
            if !judgement.verdict.runs() && !policy::may_be_lifted(rules, action, &origin, now) {
                let judgement = Box::new(judgement);
                return Err(Answer::Vetoed { judgement });
            }
        }
        Ok(())
    }

    pub(crate) fn command_stored(&mut self, id: CommandId, now: Now) {
        let Some(pending) = self.commands.0.get_mut(&id) else {
            return;
        };
        if pending.stage == Stage::Storing {
            pending.stage = Stage::Stored;
            let (place, waited) = (pending.place, now.mono >= pending.waits_until);
            if let Some(session) = self.fleet.node(place).session {
                self.send_command(&id, session, now);
            }
            if waited {
                self.wait_over(&id, now);
            }
        }
    }

    /// Somebody wants to know what comes of a command. Whoever waited for it before is told that it still waits.
    pub(crate) fn await_command(&mut self, request: u64, id: &CommandId, wait: Duration, now: Now) {
        if self
            .commands
            .0
            .get(id)
            .is_none_or(|pending| pending.record.step.is_some())
        {
            return self.reply(request, Answer::UnknownCommand);
        }
        self.wait_over(id, now);
        let waits_until = now.mono + wait.min(LONGEST_WAIT);
        // One whose last word was that nobody knows is over now.
        let Some(pending) = self.commands.0.get_mut(id) else {
            return self.reply(request, Answer::UnknownCommand);
        };
        if pending.request.is_some() {
            let reason = "somebody waits for this command already, and it is being stored: ask again".to_owned();
            return self.reply(request, Answer::Unavailable { reason });
        }
        self.timers.cancel(pending.waits_until, Timer::Wait(*id));
        (pending.request, pending.waits_until) = (Some(request), waits_until);
        self.timers.set(waits_until, Timer::Wait(*id));
    }

    /// Somebody calls a command off: it is not sent, or not sent again.
    pub(crate) fn cancel_command(&mut self, request: u64, caller: Caller, id: &CommandId, reason: &str, now: Now) {
        let found = self.commands.0.get(id).filter(|pending| pending.record.step.is_none());
        let Some(pending) = found else {
            return self.reply(request, Answer::UnknownCommand);
        };
        let (agent, stage) = (pending.record.agent.clone(), pending.stage);
        if matches!(stage, Stage::Decided(..)) {
            let reason = format!("{agent} has decided it already: it cannot be called off");
            return self.reply(request, Answer::Rejected { reason });
        }
        let change = ChangeRecord::new(caller.clone(), "command.cancel", format!("node/{agent}"));
        self.record(change.because(reason).with("command", id), now);
        let told = format!("called off by {}: {reason}", caller.name);
        let answer = Answer::Refused { id: *id, reason: told };
        self.finish(id, answer, Carried::Unknown);
        let sent = matches!(stage, Stage::Sent | Stage::Expired);
        self.reply(request, Answer::Cancelled { id: *id, agent, sent });
    }

    pub(crate) fn command_not_stored(&mut self, id: &CommandId, reason: &str) {
        let reason = reason.to_owned();
        self.finish(id, Answer::Unavailable { reason }, Carried::NotDone);
    }

    /// A session begins: what is still valid and undecided is sent (again).
    pub(crate) fn resend_commands(&mut self, place: Place, session: SessionId, now: Now) {
        for id in self.fleet.node(place).commands.clone() {
            self.send_command(&id, session, now);
        }
    }

    fn send_command(&mut self, id: &CommandId, session: SessionId, now: Now) {
        let hub_epoch = self.meta.hub_epoch;
        let Some(pending) = self.commands.0.get_mut(id) else {
            return;
        };
        let valid_for = pending.record.expires.since(now.mono);
        let sendable = matches!(pending.stage, Stage::Stored | Stage::Sent);
        if !sendable || valid_for.is_zero() {
            return;
        }
        pending.stage = Stage::Sent;
        let record = &pending.record;
        let command = Command {
            id: *id,
            hub_epoch,
            valid_for_ms: u64::try_from(valid_for.as_millis()).unwrap_or(u64::MAX),
            who: record.who.clone(),
            reason: record.reason.clone(),
            what: record.what.clone(),
        };
        let frame = match record.step {
            None => Frame::Command(command),
            Some(step) => Frame::PlanCommand(PlanCommand {
                plan: step.plan,
                step: step.step,
                undo: step.undo,
                brain: step.brain,
                command,
            }),
        };
        self.send(session, frame);
    }

    /// An entry is durable that a pending command may wait for.
    pub(crate) fn hear(&mut self, place: Place, epoch: Epoch, heard: Heard) {
        match heard {
            Heard::Decided { command, seq, runs } => self.decided(place, &command, epoch, seq, runs),
            Heard::Ran { device, seq } => {
                let agent = self.fleet.node(place).id().clone();
                let by = DecisionId { agent, epoch, seq };
                self.interferences.push_back(Interference { by, device });
            }
            Heard::Acted { decision, carried } => {
                let stage = Stage::Decided(epoch, decision);
                let found = self.of_node(place, |pending| pending.stage == stage);
                if let Some(id) = found {
                    self.done(&id, Some((epoch, decision)), carried);
                }
            }
            Heard::Held { who, reason } => self.hand_changed(place, &Order::Hold, &who, &reason),
            Heard::Released { who, reason } => {
                self.hand_changed(place, &Order::Release, &who, &reason);
            }
            Heard::GlassOpened { number } => self.glass_opened(place, number),
            Heard::Refused { command, reason } => {
                let of_node = self.fleet.node(place).commands.contains(&command);
                let stage = self.commands.0.get(&command).map(|pending| pending.stage);
                let decided = matches!(stage, Some(Stage::Decided(..)));
                if of_node && !decided {
                    // One that it has taken before may be under way there.
                    let carried = if reason == "repeated" {
                        Carried::Unknown
                    } else {
                        Carried::NotDone
                    };
                    self.finish(&command, Answer::Refused { id: command, reason }, carried);
                }
            }
        }
    }

    fn decided(&mut self, place: Place, id: &CommandId, epoch: Epoch, seq: Seq, runs: bool) {
        if !self.fleet.node(place).commands.contains(id) {
            return;
        }
        if !runs {
            return self.done(id, Some((epoch, seq)), Carried::NotDone);
        }
        let Some(pending) = self.commands.0.get_mut(id) else {
            return;
        };
        // Decided is decided: it is not sent again, whether or not somebody still waits for the outcome.
        pending.stage = Stage::Decided(epoch, seq);
        match (pending.request, pending.record.step) {
            // Its row stays until the outcome is here, for a process that carries on in between.
            (_, Some(_)) => {}
            (Some(_), None) => self.writer.remove_command(*id),
            (None, None) => self.done(id, Some((epoch, seq)), Carried::Unknown),
        }
    }

    /// The node was taken or given back. The entry has no command's id: the oldest one by the same person for the same reason.
    fn hand_changed(&mut self, place: Place, what: &Order, who: &str, reason: &str) {
        let found = self.of_node(place, |pending| {
            let record = &pending.record;
            pending.stage == Stage::Sent && record.what == *what && record.who == who && record.reason == reason
        });
        if let Some(id) = found {
            self.done(&id, None, Carried::Done);
        }
    }

    /// The entry has no command's id, and a node opens each number once.
    fn glass_opened(&mut self, place: Place, number: u64) {
        let found = self.of_node(place, |pending| match &pending.record.what {
            Order::BreakGlass(token) => {
                pending.stage == Stage::Sent && token.peek().is_ok_and(|payload| payload.number == number)
            }
            Order::Act(_) | Order::Hold | Order::Release => false,
        });
        if let Some(id) = found {
            self.done(&id, None, Carried::Done);
        }
    }

    /// Decisions whose outcomes are awaited.
    pub(crate) fn decisions_under_way(&self) -> impl Iterator<Item = DecisionId> {
        self.commands.0.values().filter_map(|pending| match pending.stage {
            Stage::Decided(epoch, seq) => Some(DecisionId {
                agent: pending.record.agent.clone(),
                epoch,
                seq,
            }),
            Stage::Storing | Stage::Stored | Stage::Sent | Stage::Expired => None,
        })
    }

    fn of_node(&self, place: Place, wanted: impl Fn(&Pending) -> bool) -> Option<CommandId> {
        let mut ids = self.fleet.node(place).commands.iter();
        let found = ids.find(|id| self.commands.0.get(id).is_some_and(&wanted));
        found.copied()
    }

    fn done(&mut self, id: &CommandId, decision: Option<(Epoch, Seq)>, carried: Carried) {
        let decision = decision.and_then(|(epoch, seq)| self.decision_id(id, epoch, seq));
        self.finish(id, Answer::Done { id: *id, decision }, carried);
    }

    fn decision_id(&self, id: &CommandId, epoch: Epoch, seq: Seq) -> Option<DecisionId> {
        let agent = self.commands.0.get(id)?.record.agent.clone();
        Some(DecisionId { agent, epoch, seq })
    }

    /// The command is over; `carried` says whether what it wants was done, for a plan that waits for it.
    fn finish(&mut self, id: &CommandId, answer: Answer, carried: Carried) {
        let Some(pending) = self.commands.0.remove(id) else {
            return;
        };
        self.fleet
            .node_mut(pending.place)
            .commands
            .retain(|of_node| of_node != id);
        self.timers.cancel(pending.record.expires, Timer::Expire(*id));
        self.timers.cancel(pending.waits_until, Timer::Wait(*id));
        self.writer.remove_command(*id);
        if let Some(step) = pending.record.step {
            let (decision, detail) = match &answer {
                Answer::Done { decision: Some(id), .. } if carried == Carried::NotDone => {
                    (Some(id.clone()), format!("its node decided otherwise: {id}"))
                }
                Answer::Done { decision, .. } => (decision.clone(), String::new()),
                Answer::Refused { reason, .. } | Answer::Unavailable { reason } => (None, reason.clone()),
                _ => (None, String::new()),
            };
            self.step_answers.push_back(answer_of(step, carried, decision, detail));
        }
        if let Some(request) = pending.request {
            self.reply(request, answer);
        }
    }

    /// Whoever asked has waited long enough. The command itself stays valid until it expires.
    pub(crate) fn wait_over(&mut self, id: &CommandId, now: Now) {
        let Some(pending) = self.commands.0.get_mut(id) else {
            return;
        };
        let stage = pending.stage;
        // Nobody is told that it waits before it is durable.
        let Some(request) = pending.request.take_if(|_| stage != Stage::Storing) else {
            return;
        };
        let (agent, left) = (pending.record.agent.clone(), pending.record.expires.since(now.mono));
        let decision = match stage {
            Stage::Decided(epoch, seq) => self.decision_id(id, epoch, seq),
            _ => None,
        };
        let answer = Answer::Waiting {
            id: *id,
            agent,
            decision,
            left,
        };
        self.reply(request, answer.clone());
        if matches!(stage, Stage::Expired | Stage::Decided(..)) {
            self.finish(id, answer, Carried::Unknown);
        }
    }

    /// The command may no longer be sent.
    pub(crate) fn expire(&mut self, id: &CommandId) {
        let Some(pending) = self.commands.0.get_mut(id) else {
            return;
        };
        match (pending.stage, pending.request) {
            // The agent may have it and decide yet: whoever waits goes on waiting.
            (Stage::Sent, Some(_)) => {
                pending.stage = Stage::Expired;
                self.writer.remove_command(*id);
            }
            // Its node has begun and says nothing: nobody knows.
            (Stage::Decided(epoch, seq), None) if pending.record.step.is_some() => {
                self.done(id, Some((epoch, seq)), Carried::Unknown);
            }
            (Stage::Decided(..) | Stage::Expired, _) => {}
            (Stage::Storing | Stage::Stored | Stage::Sent, _) => {
                let carried = if pending.stage == Stage::Sent {
                    Carried::Unknown
                } else {
                    Carried::NotDone
                };
                let reason = "expired before the node was reached".to_owned();
                self.finish(id, Answer::Refused { id: *id, reason }, carried);
            }
        }
    }

    /// The hub stops: nobody is kept waiting. What is stored is sent by the next hub process, if it still may be.
    pub(crate) fn stop_commands(&mut self, now: Now) {
        let waiting: Vec<CommandId> = self.commands.0.keys().copied().collect();
        for id in waiting {
            self.wait_over(&id, now);
        }
    }
}
