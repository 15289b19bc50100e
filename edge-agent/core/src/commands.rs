//! What people and programs order: through the hub, or at the node's own socket.
//!
//! Decides whether an order is taken at all (fenced, repeated, expired); what is taken is judged like any other want.
//!
//! Invariants: a command is applied at most once, also across crashes (its id becomes durable with its decision); a command under an
//! older incarnation of the hub is never applied; an answer to a person leaves only when what it says is durable, and whoever asks gets
//! one even if the journal never comes back.
//!
//! Read next: `actions.rs` (judging and carrying out).

use std::time::Duration;

use policy::Want;
use wire::entry::{EntryBody, Event};
use wire::frame::{Command, Order, PlanCommand};
use wire::ids::{CommandId, Seq};
use wire::time::{Mono, Now};
use wire::{Action, BreakGlass, Origin};

use crate::actions::MAX_OPEN;
use crate::agent::Agent;
use crate::effect::{Effect, LocalAnswer};
use crate::input::LocalRequest;
use crate::marks::Held;
use crate::planted::Planted;

/// People who may wait for the journal at once; the socket serves fewer.
const MAX_WAITING: usize = 64;
/// Commands that may wait until something can be recorded; others come again when the hub sends them again.
const MAX_POSTPONED: usize = 16;

/// Why somebody at the socket is not kept waiting.
const NO_JOURNAL: &str = "the journal does not take entries; only protective actions run until it does";

/// A command that waits until something can be recorded.
#[derive(Debug)]
pub(crate) struct Postponed {
    command: Command,
    origin: Option<Origin>,
    expires: Mono,
}

/// Somebody at the socket waits until this is durable.
#[derive(Debug)]
pub(crate) struct Waiting {
    entry: Seq,
    request: u64,
    answer: LocalAnswer,
}

impl Agent {
    /// A step of a plan: a command like any other, whose decision names the plan.
    pub(crate) fn on_plan_command(&mut self, step: PlanCommand, now: Now) {
        let PlanCommand {
            plan,
            step,
            undo,
            brain,
            command,
        } = step;
        let origin = Origin::Plan {
            id: command.id,
            plan,
            step,
            undo,
            brain,
            who: command.who.clone(),
            reason: command.reason.clone(),
        };
        self.on_command(command, Some(origin), now);
    }

    /// Takes a command, once; `origin` is who wants it where that is not the person that it names.
    pub(crate) fn on_command(&mut self, command: Command, origin: Option<Origin>, now: Now) {
        let id = command.id;
        if command.hub_epoch < self.marks.floor.hub_epoch {
            return self.refuse_command(id, "fenced", now);
        }
        self.marks.floor.hub_epoch = command.hub_epoch;
        if self.has_order(id) || self.postponed.iter().any(|waiting| waiting.command.id == id) {
            return;
        }
        if !self.record.has_room() {
            // Without a record of it, it could run twice and would never be answered.
            if self.postponed.len() < MAX_POSTPONED && !self.marks.commands.contains(&id) {
                let expires = now.mono + Duration::from_millis(command.valid_for_ms);
                self.postponed.push_back(Postponed {
                    command,
                    origin,
                    expires,
                });
            }
            return;
        }
        if !self.marks.remember(id) && !self.has_planted(Planted::CommandTwice) {
            // Its decision is in the journal and reaches the hub by itself.
            return;
        }
        if command.valid_for_ms == 0 {
            return self.refuse_command(id, "expired", now);
        }
        let Command { who, reason, .. } = command;
        match command.what {
            Order::Act(action) => {
                let origin = origin.unwrap_or(Origin::Command { id, who, reason });
                let expires = now.mono + Duration::from_millis(command.valid_for_ms);
                if let Err(reason) = self.order(action, origin, Some(expires), None, now) {
                    self.refuse_command(id, reason, now);
                }
            }
            Order::Hold => {
                self.hold(who, reason, now);
            }
            Order::Release => {
                if self.release(who, reason, now).is_none() {
                    self.refuse_command(id, "nobody holds the node", now);
                }
            }
            // Whoever sent it has no say: the token is judged by its own signatures.
            Order::BreakGlass(token) => {
                if let Err(reason) = self.open_glass(&token, now) {
                    self.refuse_command(id, &reason, now);
                }
            }
        }
    }

    /// Something can be recorded again: what waited for that is taken, as far as somebody still wants it.
    pub(crate) fn take_postponed(&mut self, now: Now) {
        while self.record.has_room()
            && let Some(waiting) = self.postponed.pop_front()
        {
            let left = u64::try_from(waiting.expires.since(now.mono).as_millis()).unwrap_or(0);
            let command = Command {
                valid_for_ms: left,
                ..waiting.command
            };
            self.on_command(command, waiting.origin, now);
        }
    }

    pub(crate) fn on_local(&mut self, request: u64, what: LocalRequest, now: Now) {
        if self.waiting.len() >= MAX_WAITING {
            return self.refuse(request, "too many requests wait for the journal, try again");
        }
        if !self.record.has_room() {
            return self.refuse(request, NO_JOURNAL);
        }
        match what {
            LocalRequest::Import { parcel, who: _ } => self.on_parcel(parcel, request, now),
            LocalRequest::BreakGlass { token } => self.open_for(&token, request, now),
            LocalRequest::CloseGlass { who, reason } => match self.close_glass(who, reason, now) {
                Some((entry, view)) => self.wait(entry, request, LocalAnswer::Glass { view }),
                None => self.refuse(request, "no break-glass token is open here"),
            },
            LocalRequest::Order { who, reason, what } => match what {
                Order::Act(action) => {
                    let origin = Origin::Local { who, reason };
                    match self.order(action, origin, None, Some(request), now) {
                        Ok(Some(decision)) => {
                            let entry = decision.seq;
                            self.wait(entry, request, LocalAnswer::Decided { decision });
                        }
                        // Answered when its turn has come, or has not for too long.
                        Ok(None) => {}
                        Err(reason) => self.refuse(request, reason),
                    }
                }
                Order::Hold => {
                    let entry = self.hold(who, reason, now);
                    self.wait(entry, request, LocalAnswer::Done);
                }
                Order::Release => match self.release(who, reason, now) {
                    Some(entry) => self.wait(entry, request, LocalAnswer::Done),
                    None => self.refuse(request, "nobody holds the node"),
                },
                Order::BreakGlass(token) => self.open_for(&token, request, now),
            },
        }
    }

    fn open_for(&mut self, token: &BreakGlass, request: u64, now: Now) {
        match self.open_glass(token, now) {
            Ok((entry, view)) => self.wait(entry, request, LocalAnswer::Glass { view }),
            Err(reason) => self.refuse(request, reason),
        }
    }

    /// Answers those whose entry is durable.
    pub(crate) fn answer_waiting(&mut self) {
        let durable = self.record.durable().seq;
        for waiting in std::mem::take(&mut self.waiting) {
            if waiting.entry <= durable {
                self.answer(Some(waiting.request), waiting.answer);
            } else {
                self.waiting.push(waiting);
            }
        }
    }

    /// The journal fails: nobody is kept waiting for it.
    pub(crate) fn refuse_waiting(&mut self) {
        for waiting in std::mem::take(&mut self.waiting) {
            self.refuse(waiting.request, NO_JOURNAL);
        }
    }

    pub(crate) fn answer(&mut self, request: Option<u64>, answer: LocalAnswer) {
        if let Some(request) = request {
            self.out.push_back(Effect::Reply { request, answer });
        }
    }

    pub(crate) fn refuse(&mut self, request: u64, reason: impl Into<String>) {
        let reason = reason.into();
        self.answer(Some(request), LocalAnswer::Refused { reason });
    }

    pub(crate) fn wait(&mut self, entry: Seq, request: u64, answer: LocalAnswer) {
        self.waiting.push(Waiting { entry, request, answer });
    }

    fn order(
        &mut self,
        action: Action,
        origin: Origin,
        expires: Option<wire::time::Mono>,
        request: Option<u64>,
        now: Now,
    ) -> Result<Option<wire::DecisionId>, &'static str> {
        if self.marks.open.len() >= MAX_OPEN {
            return Err("too many actions are under way");
        }
        let want = Want {
            origin,
            action,
            readings: Vec::new(),
            rejected: Vec::new(),
            verify: None,
        };
        self.take_order(want, expires, request, now)
    }

    fn hold(&mut self, who: String, reason: String, now: Now) -> Seq {
        self.marks.held = Some(Held {
            who: who.clone(),
            reason: reason.clone(),
        });
        self.link.want_status();
        self.push(EntryBody::Event(Event::Held { who, reason }), now)
    }

    fn release(&mut self, who: String, reason: String, now: Now) -> Option<Seq> {
        self.marks.held.take()?;
        self.reconsider();
        self.link.want_status();
        Some(self.push(EntryBody::Event(Event::Released { who, reason }), now))
    }

    fn refuse_command(&mut self, id: CommandId, reason: &str, now: Now) {
        // A hub that repeats itself does not fill the journal.
        if self.refused_command != Some(id) && self.record.has_room() {
            self.refused_command = Some(id);
            let reason = reason.to_owned();
            self.push(EntryBody::Event(Event::CommandRefused { id, reason }), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::frame::{Command, Frame, Order};
    use wire::{Action, ActionKind, CommandId, DeviceId, HubEpoch};

    use crate::testing::{Disk, Rig};
    use crate::{Input, LocalRequest};

    fn notice() -> Order {
        Order::Act(Action {
            target: DeviceId::node(),
            kind: ActionKind::Notify {
                message: "look at this".to_owned(),
            },
        })
    }

    fn command() -> Input {
        Input::Frame(Frame::Command(Command {
            id: CommandId([7; 16]),
            hub_epoch: HubEpoch(3),
            who: "ana".to_owned(),
            reason: "test".to_owned(),
            valid_for_ms: 3_600_000,
            what: notice(),
        }))
    }

    fn later(rig: &mut Rig, milliseconds: u64) {
        rig.pass(milliseconds);
        rig.handle(Input::Tick);
    }

    #[test]
    fn a_command_runs_once_whatever_the_disk_does() {
        for disk in [Disk::Full, Disk::Fails, Disk::Hangs] {
            let mut rig = Rig::new();
            rig.connect();
            rig.disk = disk;
            rig.handle(command());
            later(&mut rig, 5_000);
            assert_eq!(rig.acts.len(), 0, "{disk:?}: it would run again after a crash");
            rig.disk = Disk::Works;
            rig.crash();
            rig.connect();
            rig.handle(command());
            rig.handle(command());
            later(&mut rig, 5_000);
            assert_eq!(rig.acts.len(), 1, "{disk:?}");
        }
    }

    #[test]
    fn a_command_that_cannot_be_recorded_waits_until_it_can() {
        let mut rig = Rig::new();
        rig.connect();
        rig.disk = Disk::Hangs;
        let mut part = 0;
        while rig.agent.record.has_room() {
            part += 1;
            let why = Some("x".repeat(10_000));
            rig.handle(Input::Finding {
                part: format!("part{part}"),
                why,
            });
        }
        rig.handle(command());
        assert_eq!(rig.acts.len(), 0);
        rig.step("disk works");
        later(&mut rig, 5_000);
        assert_eq!(rig.acts.len(), 1);
    }

    #[test]
    fn whoever_asks_at_the_socket_is_answered_once_whatever_the_disk_does() {
        for disk in [Disk::Full, Disk::Fails, Disk::Hangs] {
            let mut rig = Rig::new();
            rig.replies.clear();
            rig.disk = disk;
            for request in 0..40 {
                rig.handle(Input::Local {
                    request,
                    what: LocalRequest::Order {
                        who: "ana".to_owned(),
                        reason: "test".to_owned(),
                        what: notice(),
                    },
                });
                later(&mut rig, 300);
            }
            later(&mut rig, 5_000);
            assert_eq!(rig.replies.len(), 40, "{disk:?}");
        }
    }
}
