//! The life of one action: wanted, judged, recorded, started, read back, verified, closed.
//!
//! Decides when a granted action starts and what its outcome is called. Whether it may run at all is `policy`'s judgement.
//!
//! Invariants: an action starts only after its decision is durable (or, protective and counted, while the journal fails); it
//! starts only if it is still valid, the node is not held and authority has not fallen since; no two actions run on one device
//! at once; every recorded decision that runs gets an outcome; after a crash nothing is repeated before it was probed.
//!
//! Read next: `record.rs` (what durable means), `policy` (the judge).

use std::time::Duration;

use policy::{Situation, Verify, Want};
use serde::{Deserialize, Serialize};
use wire::decision::{Authority, Decision, Judgement};
use wire::entry::{EntryBody, Event};
use wire::ids::{DecisionId, Seq};
use wire::reading::{Reading, human};
use wire::time::{Mono, Now};
use wire::{Action, ActionKind, Origin, Outcome, OutcomeState};

use crate::agent::Agent;
use crate::effect::Effect;
use crate::input::{ActionResult, ProbeResult, Run};
use crate::planted::Planted;

/// Actions that may be under way at once: far more than a node has devices, so that only a flood of commands meets it.
pub(crate) const MAX_OPEN: usize = 128;

/// A decision whose action is not finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Open {
    pub(crate) decision: DecisionId,
    pub(crate) action: Action,
    pub(crate) origin: Origin,
    pub(crate) verify: Option<Verify>,
    /// It must have started by then.
    pub(crate) valid_until: Mono,
    /// The authority under which it was granted.
    pub(crate) authority: Authority,
    /// Somebody already held the node then.
    pub(crate) held: bool,
    /// Its decision is an entry; false only when memory for entries ran out while the journal failed.
    pub(crate) recorded: bool,
    pub(crate) step: Step,
}

/// How far an action is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    /// Waits for its record, or for its device.
    Waiting,
    /// An actuator has it.
    Running,
    /// Carried out; its effect has to be seen by then.
    Verifying { by: Mono },
    /// A crash hid what became of it; the device is being asked.
    Probing,
}

impl Open {
    fn run(&self) -> Run {
        Run {
            decision: self.decision.clone(),
            action: self.action.clone(),
        }
    }

    fn occupies_device(&self) -> bool {
        matches!(self.step, Step::Running | Step::Probing)
    }
}

impl Agent {
    /// Judges what is wanted and records the decision. Returns its id; `None` when there is no bundle to judge by.
    ///
    /// `expires` is when whoever asked loses interest.
    pub(crate) fn decide(&mut self, want: Want, expires: Option<Mono>, now: Now) -> Option<DecisionId> {
        let situation = self.situation(now);
        let judge = self.judge.as_ref()?;
        let inputs = judge.inputs(&want, &situation);
        let judgement = policy::judge(judge.bundle(), &inputs);
        let recorded = self.record.has_room();
        let decision = self.next_decision_id(recorded);
        let granted = match &judgement.granted {
            Some(action) if judgement.verdict.runs() => Some(action.clone()),
            _ => None,
        };
        self.note_turn(&decision, &judgement, inputs.wanted.kind.risk(), recorded, now);
        let judge = self.judge.as_mut()?;
        match granted {
            Some(_) => judge.granted(&inputs, &judgement, &decision),
            None => judge.denied(&inputs, &judgement),
        }
        if let Some(action) = granted {
            let valid_until = now.mono + Duration::from_millis(judgement.valid_for_ms);
            self.marks.open.push(Open {
                decision: decision.clone(),
                action,
                origin: inputs.origin.clone(),
                verify: want.verify,
                valid_until: expires.map_or(valid_until, |end| end.min(valid_until)),
                authority: judgement.authority,
                held: self.marks.held.is_some(),
                recorded,
                step: Step::Waiting,
            });
            if self.has_planted(Planted::ActBeforeAppend) {
                self.act(self.marks.open.len() - 1);
            }
        }
        if recorded {
            let decided = EntryBody::Decided(Box::new(Decision { inputs, judgement }));
            self.push(decided, now);
        }
        Some(decision)
    }

    /// What would be decided of this now. Nothing is recorded or counted.
    pub(crate) fn foresee(&self, want: &Want, now: Now) -> Option<Judgement> {
        let situation = self.situation(now);
        let judge = self.judge.as_ref()?;
        let inputs = judge.inputs(want, &situation);
        Some(policy::judge(judge.bundle(), &inputs))
    }

    fn situation(&self, now: Now) -> Situation<'_> {
        Situation {
            now,
            policy_age_ms: self.policy_age_ms(now.mono),
            connected: self.link.is_welcomed(),
            clock: self.clock.state(),
            clock_error_ms: self.clock.error_ms(now),
            journal_ok: self.record.takes_entries(),
            held_by: self.marks.held.as_ref().map(|held| held.who.as_str()),
            hub_epoch: self.marks.floor.hub_epoch,
        }
    }

    /// Whether the same action of the same origin is under way already: a restart must not want it twice.
    pub(crate) fn is_under_way(&self, want: &Want) -> bool {
        self.marks.open.iter().any(|open| {
            open.origin == want.origin
                && open.action.target == want.action.target
                && open.action.kind.name() == want.action.kind.name()
        })
    }

    /// Starts what may start, and drops what may no longer.
    pub(crate) fn advance_actions(&mut self, now: Now) {
        let mut index = 0;
        while index < self.marks.open.len() {
            let open = &self.marks.open[index];
            if open.step != Step::Waiting || !self.is_explained(open) {
                index += 1;
                continue;
            }
            if let Some(reason) = self.why_not(open, now.mono) {
                // Closing removes it, so the next one is at this index.
                self.close(index, OutcomeState::Dropped, reason, now);
                continue;
            }
            let target = &self.marks.open[index].action.target;
            let busy = |other: &Open| other.occupies_device() && other.action.target == *target;
            if !self.marks.open.iter().any(busy) {
                self.act_counted(index);
            }
            index += 1;
        }
    }

    /// After a batch failed: what is not protective will not wait for the journal to come back.
    pub(crate) fn drop_unrecorded(&mut self, now: Now) {
        let mut index = 0;
        while index < self.marks.open.len() {
            let open = &self.marks.open[index];
            if open.step == Step::Waiting && !open.action.kind.protective() && !self.is_recorded(open) {
                let reason = "its decision could not be recorded".to_owned();
                self.close(index, OutcomeState::Dropped, reason, now);
            } else {
                index += 1;
            }
        }
    }

    /// An actuator is done.
    pub(crate) fn on_action_done(&mut self, decision: &DecisionId, result: ActionResult, now: Now) {
        let Some(index) = self.find(decision, Step::Running) else {
            return;
        };
        match result {
            ActionResult::Applied { before, after, detail } => self.applied(index, before, after, false, detail, now),
            ActionResult::Failed { reason } => {
                self.close(index, OutcomeState::Failed, reason, now);
            }
        }
    }

    /// A device told what became of an action that a crash interrupted.
    pub(crate) fn on_probed(&mut self, decision: &DecisionId, result: ProbeResult, now: Now) {
        let Some(index) = self.find(decision, Step::Probing) else {
            return;
        };
        match result {
            ProbeResult::Done { value } => {
                let detail = "found done after a restart".to_owned();
                self.applied(index, None, value, true, detail, now);
            }
            ProbeResult::NotDone { value } => {
                let detail = "found not done after a restart; it is judged anew if it is still wanted";
                let mut outcome = self.outcome(index, OutcomeState::Dropped, detail.to_owned());
                outcome.after = value;
                outcome.probed = true;
                self.close_with(index, outcome, now);
            }
            ProbeResult::Unknown { reason } => {
                let mut outcome = self.outcome(index, OutcomeState::Unknown, reason);
                outcome.probed = true;
                self.close_with(index, outcome, now);
            }
        }
    }

    /// Looks in fresh readings for the effects that actions are meant to have.
    pub(crate) fn verify_effects(&mut self, readings: &[Reading], now: Now) {
        let mut index = 0;
        while index < self.marks.open.len() {
            let open = &self.marks.open[index];
            let seen = match (&open.step, &open.verify) {
                (Step::Verifying { .. }, Some(verify)) => readings
                    .iter()
                    .filter(|reading| reading.series == verify.series)
                    .filter_map(|reading| reading.value)
                    .find(|value| *value < verify.falls_below),
                _ => None,
            };
            match seen {
                Some(value) => {
                    let detail = seen_text(open.verify.as_ref(), value);
                    self.close(index, OutcomeState::Verified, detail, now);
                }
                None => index += 1,
            }
        }
    }

    /// Closes actions whose effect was not seen in time.
    pub(crate) fn expire_verifications(&mut self, now: Now) {
        let late = |open: &Open| matches!(open.step, Step::Verifying { by } if now.mono >= by);
        while let Some(index) = self.marks.open.iter().position(late) {
            let detail = unseen_text(self.marks.open[index].verify.as_ref());
            self.close(index, OutcomeState::NotVerified, detail, now);
        }
    }

    /// When the next verification ends.
    pub(crate) fn next_verification(&self) -> Option<Mono> {
        let ends = self.marks.open.iter().filter_map(|open| match open.step {
            Step::Verifying { by } => Some(by),
            Step::Waiting | Step::Running | Step::Probing => None,
        });
        ends.min()
    }

    /// After a restart: asks the devices what became of everything that was not finished.
    pub(crate) fn probe_open(&mut self) {
        let repeat = self.has_planted(Planted::RepeatBlindly);
        for open in &mut self.marks.open {
            if matches!(open.step, Step::Verifying { .. }) {
                continue;
            }
            if repeat {
                open.step = Step::Running;
                self.out.push_back(Effect::Act(open.run()));
                continue;
            }
            open.step = Step::Probing;
            self.out.push_back(Effect::ProbeAction(open.run()));
        }
    }

    fn next_decision_id(&mut self, recorded: bool) -> DecisionId {
        let made = self.record.made();
        let seq = if recorded {
            made.seq.next()
        } else {
            // No entry will ever have this place; it only tells the actuator's answers apart.
            self.beyond += 1;
            Seq(u64::MAX - self.beyond)
        };
        DecisionId {
            agent: self.settings.agent.clone(),
            epoch: made.epoch,
            seq,
        }
    }

    fn is_recorded(&self, open: &Open) -> bool {
        open.recorded && self.record.is_durable(open.decision.epoch, open.decision.seq)
    }

    /// Whether it may start as far as the journal is concerned.
    fn is_explained(&self, open: &Open) -> bool {
        let hopeless = !open.recorded || !self.record.ok();
        // The hub sends a command again whose id is not durable: run without a record, it would run twice.
        let may_repeat = matches!(open.origin, Origin::Command { .. });
        self.is_recorded(open) || (open.action.kind.protective() && hopeless && !may_repeat)
    }

    /// Why a granted action may no longer start.
    fn why_not(&self, open: &Open, now: Mono) -> Option<String> {
        if now > open.valid_until {
            return Some("it waited for longer than its grant was valid".to_owned());
        }
        if open.action.kind.protective() {
            return None;
        }
        if let Some(held) = self.marks.held.as_ref().filter(|_| !open.held) {
            return Some(format!("{} took the node into their hands", held.who));
        }
        if self.authority.step > open.authority {
            return Some(format!("authority fell to {}", self.authority.step.name()));
        }
        None
    }

    fn act_counted(&mut self, index: usize) {
        let open = &self.marks.open[index];
        if !self.is_recorded(open) {
            let name = open.action.to_string();
            self.record.count_unrecorded(name);
        }
        self.act(index);
    }

    fn act(&mut self, index: usize) {
        let open = &mut self.marks.open[index];
        open.step = Step::Running;
        self.out.push_back(Effect::Act(open.run()));
    }

    fn find(&self, decision: &DecisionId, step: Step) -> Option<usize> {
        self.marks
            .open
            .iter()
            .position(|open| open.decision == *decision && open.step == step)
    }

    fn applied(
        &mut self,
        index: usize,
        before: Option<i64>,
        after: Option<i64>,
        probed: bool,
        detail: String,
        now: Now,
    ) {
        if let ActionKind::Notify { message } = &self.marks.open[index].action.kind {
            let message = message.clone();
            self.push(EntryBody::Event(Event::Notified { message }), now);
        }
        let mut outcome = self.outcome(index, OutcomeState::Applied, detail);
        outcome.before = before;
        outcome.after = after;
        outcome.probed = probed;
        match &self.marks.open[index].verify {
            Some(verify) => {
                let by = now.mono + verify.within;
                let recorded = self.marks.open[index].recorded;
                self.marks.open[index].step = Step::Verifying { by };
                if recorded {
                    self.push(EntryBody::Acted(outcome), now);
                }
            }
            None => self.close_with(index, outcome, now),
        }
        self.advance_actions(now);
    }

    fn close(&mut self, index: usize, state: OutcomeState, detail: String, now: Now) {
        let outcome = self.outcome(index, state, detail);
        self.close_with(index, outcome, now);
    }

    fn close_with(&mut self, index: usize, outcome: Outcome, now: Now) {
        let open = self.marks.open.remove(index);
        match open.origin {
            Origin::Fault { .. } => self.remedy_ended(&outcome),
            Origin::Local { .. } | Origin::Command { .. } | Origin::Plan { brain: false, .. } => {
                self.person_did(&open.action.kind, outcome.state);
            }
            Origin::Rule { .. } | Origin::Cleared { .. } | Origin::Plan { .. } => {}
        }
        if let Some(judge) = &mut self.judge {
            judge.finished(&open.action, &open.origin, outcome.state, now.mono);
        }
        if open.recorded {
            self.push(EntryBody::Acted(outcome), now);
        }
    }

    fn outcome(&self, index: usize, state: OutcomeState, detail: String) -> Outcome {
        Outcome {
            decision: self.marks.open[index].decision.clone(),
            state,
            before: None,
            after: None,
            probed: false,
            detail,
        }
    }
}

/// The numbers of an outcome are in its action's unit; the effect is seen in another quantity, so it is told with its own.
fn seen_text(verify: Option<&Verify>, value: i64) -> String {
    let Some(Verify { series, .. }) = verify else {
        return "its effect was seen".to_owned();
    };
    let value = human(value, series.quantity.unit());
    format!(
        "its effect was seen: {} of {} is {value}",
        series.quantity, series.device
    )
}

fn unseen_text(verify: Option<&Verify>) -> String {
    let Some(Verify {
        series,
        falls_below,
        within,
    }) = verify
    else {
        return "its effect was not seen in time".to_owned();
    };
    let limit = human(*falls_below, series.quantity.unit());
    format!(
        "its effect was not seen: {} of {} did not fall below {limit} within {} s",
        series.quantity,
        series.device,
        within.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{BUNDLE, Rig, check};

    #[test]
    fn an_effect_is_told_in_the_unit_of_what_was_measured() {
        let verify = Verify {
            series: wire::Series::new(wire::DeviceId::gpu(0), wire::reading::Quantity::GpuTemperature),
            falls_below: 80_000,
            within: Duration::from_secs(60),
        };
        assert_eq!(
            seen_text(Some(&verify), 79_600),
            "its effect was seen: gpu.temperature of gpu0 is 79.6 °C"
        );
        assert_eq!(
            unseen_text(Some(&verify)),
            "its effect was not seen: gpu.temperature of gpu0 did not fall below 80 °C within 60 s"
        );
    }

    const CAP: &str = "decided allow power_cap | act power_cap | applied";

    #[test]
    fn a_hot_gpu_is_capped_and_the_effect_is_seen() {
        check("hot 4 | cool 1", &format!("{CAP} | verified"));
    }

    #[test]
    fn an_effect_that_does_not_come_is_said_to_be_missing() {
        check("hot 3 | wait 31", &format!("{CAP} | not_verified"));
    }

    #[test]
    fn nothing_starts_before_its_decision_is_durable() {
        check("disk hangs | leak 3", "");
        check(
            "disk hangs | leak 2 | disk works",
            "decided allow restart | act restart | applied",
        );
    }

    #[test]
    fn a_grant_that_waited_too_long_is_dropped() {
        check(
            "disk hangs | leak 2 | wait 3600 | disk works",
            "decided allow restart | dropped",
        );
    }

    #[test]
    fn a_hold_between_decision_and_start_drops_the_action() {
        check(
            "disk hangs | leak 2 | hold | disk works",
            "decided allow restart | held | dropped | done",
        );
    }

    #[test]
    fn while_the_journal_fails_only_protective_actions_run_and_are_counted() {
        check(
            "disk fails | hot 3 | cool 1 | disk works | wait 40",
            "act power_cap | decided allow power_cap | applied | verified | unrecorded 1",
        );
        check("disk fails | leak 2", "");
    }

    #[test]
    fn a_slow_journal_does_not_hold_protection_back() {
        check(
            "disk hangs | hot 3 | wait 2 | disk works",
            "act power_cap | decided allow power_cap | applied | unrecorded 1",
        );
    }

    #[test]
    fn after_a_crash_an_open_action_is_probed_and_not_repeated() {
        let start = "actuators wait | leak 2";
        let before = "decided allow restart | act restart | probe restart";
        check(
            &format!("{start} | probe says done | crash"),
            &format!("{before} | applied"),
        );
        check(
            &format!("{start} | probe says not done | crash"),
            &format!("{before} | dropped"),
        );
        check(
            &format!("{start} | probe cannot tell | crash"),
            &format!("{before} | unknown"),
        );
    }

    #[test]
    fn what_was_verified_is_taken_back_when_the_condition_clears() {
        let text = BUNDLE.replace(
            "    never_expires: true\n",
            "    never_expires: true\n    undo_on_clear: true\n    clear_for: 5 s\n",
        );
        let told = |middle: &[&str], crash: bool| {
            let mut rig = Rig::under(&text);
            rig.live(3, 90, 100);
            if crash {
                rig.crash();
            }
            rig.live(30, 60, 100);
            let undo = ["decided allow release_power_cap", "act release_power_cap", "applied"];
            let all = [
                &["decided allow power_cap", "act power_cap", "applied"][..],
                middle,
                &undo,
            ]
            .concat();
            assert_eq!(rig.log, all);
        };
        told(&["verified"], false);
        told(&["verified"], true);
    }

    #[test]
    fn what_did_not_help_is_taken_back_too() {
        let text = BUNDLE
            .replace("within: 30 s", "within: 5 s")
            .replace("    never_expires: true\n", "    undo_on_clear: true\n");
        let mut rig = Rig::under(&text);
        rig.live(9, 90, 100);
        assert!(rig.log.contains(&"not_verified".to_owned()), "{:?}", rig.log);
        rig.live(200, 60, 100);
        assert!(rig.log.contains(&"act release_power_cap".to_owned()), "{:?}", rig.log);
    }

    #[test]
    fn a_verification_goes_on_after_a_crash() {
        check("hot 3 | crash | cool 1", &format!("{CAP} | verified"));
    }

    #[test]
    fn a_refused_device_is_a_failed_outcome() {
        check(
            "actuators wait | leak 2 | action fails",
            "decided allow restart | act restart | failed",
        );
    }

    #[test]
    fn an_orderly_stop_ends_when_all_is_durable() {
        check("cool 3 | stop", "stopped");
        check("disk fails | cool 3 | stop", "stopped");
    }
}
