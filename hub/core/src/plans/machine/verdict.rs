//! Where verdicts and people's consent lead a plan.
//!
//! Decides which state follows from what policy says of the whole plan or of its next step; never what policy says: that is
//! `plans/judge.rs`.

use std::time::Duration;

use policy_execution::{Event as StepEvent, Reaction as StepReaction};
use wire::decision::Verdict;
use wire::plan::{PlanState, Source};
use wire::time::Now;

use super::{Judged, PlanRecord, Reaction};

impl PlanRecord {
    /// Where the verdict of the whole plan leads.
    pub(super) fn place(&mut self, now: Now) -> Reaction {
        match self.judged.take() {
            Some(judged) => self.follow(judged, now),
            None => self.enter(PlanState::Expired, "its verdict is lost", now),
        }
    }

    pub(super) fn follow(&mut self, judged: Judged, now: Now) -> Reaction {
        match judged.verdict {
            Verdict::Allow | Verdict::Clamp => self.enter(PlanState::Scheduled, judged.because, now),
            Verdict::Hold => self.hold(judged, now),
            Verdict::RequireApproval if self.is_approved(judged.approvals) => {
                self.enter(PlanState::Scheduled, judged.because, now)
            }
            Verdict::RequireApproval => {
                self.approvals_needed = judged.approvals.max(1);
                self.enter(PlanState::AwaitingApproval, judged.because, now)
            }
            Verdict::Deny => self.give_up(PlanState::Rejected, judged.because, now),
        }
    }

    pub(super) fn hold(&mut self, judged: Judged, now: Now) -> Reaction {
        if judged.roll_back && self.can_undo() {
            self.called_off = true;
            return self.roll_back(judged.because, now);
        }
        let reaction = self.enter(PlanState::Held, judged.because, now);
        // Asked again at the latest after a minute: what holds it may be lifted by hand.
        let minute = now.mono + Duration::from_secs(60);
        self.wake = Some(judged.until.map_or(minute, |until| until.min(minute)));
        reaction
    }

    pub(super) fn judged_again(&mut self, judged: Judged, now: Now) -> Reaction {
        let same = match (self.state, judged.verdict) {
            (PlanState::Held, Verdict::Hold) => !(judged.roll_back && self.can_undo()),
            (PlanState::AwaitingApproval, Verdict::RequireApproval) => !self.is_approved(judged.approvals),
            _ => false,
        };
        if !same {
            return self.follow(judged, now);
        }
        let minute = now.mono + Duration::from_secs(60);
        self.wake = (self.state == PlanState::Held).then(|| judged.until.map_or(minute, |until| until.min(minute)));
        // The same answer again is no news: only the time of the next question changes.
        self.changed_quietly()
    }

    pub(super) fn step_judged(&mut self, judged: Judged, now: Now) -> Reaction {
        let index = self.current();
        let allowed = match judged.verdict {
            Verdict::Allow | Verdict::Clamp => true,
            Verdict::RequireApproval => self.is_approved(judged.approvals),
            Verdict::Hold | Verdict::Deny => false,
        };
        if !allowed {
            return self.follow(judged, now);
        }
        if now.mono >= self.step_ends(index) {
            let detail = format!("step {} may not begin any more: its time is over", index + 1);
            return self.give_up(PlanState::Expired, detail, now);
        }
        let Some(step) = self.steps.get_mut(index) else {
            return self.enter(PlanState::Failed, "it has no such step", now);
        };
        match step.execution.handle(StepEvent::Begin, now.mono) {
            StepReaction::Store => {
                let detail = format!(
                    "step {} of {}: {}",
                    index + 1,
                    self.plan.steps.len(),
                    self.plan.steps[index]
                );
                self.enter(PlanState::Executing, detail, now)
            }
            StepReaction::Nothing | StepReaction::Do(_) => {
                self.give_up(PlanState::Failed, format!("step {} had begun before", index + 1), now)
            }
        }
    }

    /// Its sender's own consent does not count, and nobody's twice.
    pub(super) fn approved(&mut self, who: String, now: Now) -> Reaction {
        let by_sender = matches!(&self.plan.source, Source::Person { name } if *name == who);
        if by_sender || self.approved_by.contains(&who) {
            return Reaction::default();
        }
        let detail = format!("approved by {who}");
        self.approved_by.push(who);
        if self.is_approved(self.approvals_needed) {
            return self.enter(PlanState::Scheduled, detail, now);
        }
        self.changed(detail)
    }

    pub(super) fn is_approved(&self, needed: u32) -> bool {
        u32::try_from(self.approved_by.len()).unwrap_or(u32::MAX) >= needed.max(1)
    }
}
