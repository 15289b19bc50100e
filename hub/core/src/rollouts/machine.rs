//! The moves of a rollout.

use serde::{Deserialize, Serialize};

use super::facts::{Change, Facts, Role, Seen};
use super::phase::Phase;
use super::sizes::Sizes;
use super::spec::{RolloutSpec, Route, SpecError, Step, Traffic};

/// A rollout: what was asked, how it was at the start, and where it is. Plain data, so that it is kept as a document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// What was asked.
    pub spec: RolloutSpec,
    /// How it was before.
    pub start: Start,
    pub(super) phase: Phase,
    /// Index of the current step.
    pub(super) step: usize,
    /// When the phase began; wall time in milliseconds.
    pub(super) since_ms: i64,
    pub(super) deadline_ms: i64,
    /// Why it is where it is, in one sentence.
    pub(super) why: String,
    /// Failed checks of this step.
    pub(super) failures: u32,
    /// Whether this step was lengthened already.
    pub(super) extended: bool,
    /// When it is looked at next.
    pub(super) next_check_ms: i64,
}

/// The workload before the rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Its image.
    pub image: String,
    /// Its replicas: what the capacity is never taken below.
    pub replicas: u32,
}

/// Why a rollout does not start. Whatever is missing is found here, not in the middle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// What was asked cannot be done.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A part could not be read.
    #[error("the {role:?} part cannot be read: {why}; nothing was changed, try again")]
    Unread {
        /// Which.
        role: Role,
        /// Why not.
        why: String,
    },
    /// The workload is not there.
    #[error("the workload is not there; create it first")]
    Missing,
    /// It runs that image already.
    #[error("image: the workload runs {0} already")]
    SameImage(String),
    /// It is in the middle of something.
    #[error("the workload is not settled: {ready} of {wanted} replicas are ready; wait, or repair it first")]
    Unsettled {
        /// Ready replicas.
        ready: u32,
        /// Wanted replicas.
        wanted: u32,
    },
    /// Something of an earlier rollout is there.
    #[error("a {0:?} part of an earlier rollout is still there; remove it first")]
    Leftover(Role),
    /// What divides its traffic cannot be read.
    #[error(
        "route: {0} cannot be read, or does not name both services; see that it is there and that the hub may read it"
    )]
    Unrouted(String),
    /// An autoscaler works on the same number.
    #[error("autoscaler {0} sets the number of replicas, which this rollout would have to; use weights, or remove it")]
    Autoscaler(String),
}

/// A move from one phase to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Where from.
    pub from: Phase,
    /// Where to.
    pub to: Phase,
    /// Why, in one sentence.
    pub why: String,
}

/// What follows from an observation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Advance {
    /// Changes to make now, in this order.
    pub changes: Vec<Change>,
    /// Moves, oldest first; each is worth an entry.
    pub moved: Vec<Moved>,
}

impl Rollout {
    /// Begins a rollout from what is observed now.
    pub fn start(spec: RolloutSpec, facts: &Facts, now_ms: i64) -> Result<Self, StartError> {
        spec.check()?;
        if let Some((role, why)) = facts.unread() {
            return Err(StartError::Unread {
                role,
                why: why.to_owned(),
            });
        }
        let Seen::There(stable) = &facts.stable else {
            return Err(StartError::Missing);
        };
        for role in [Role::Canary, Role::Baseline] {
            if facts.of(role).there().is_some() {
                return Err(StartError::Leftover(role));
            }
        }
        if stable.image == spec.image {
            return Err(StartError::SameImage(spec.image));
        }
        if !stable.is(&stable.image, stable.wanted) {
            return Err(StartError::Unsettled {
                ready: stable.ready,
                wanted: stable.wanted,
            });
        }
        if let (Some(route), None) = (&spec.route, facts.weight) {
            return Err(StartError::Unrouted(route.to_string()));
        }
        if let (Some(name), Traffic::Replicas, false) = (&facts.autoscaler, spec.traffic, spec.steps.is_empty()) {
            return Err(StartError::Autoscaler(name.clone()));
        }
        let start = Start {
            image: stable.image.clone(),
            replicas: stable.wanted,
        };
        let mut rollout = Self {
            spec,
            start,
            phase: Phase::Setting,
            step: 0,
            since_ms: now_ms,
            deadline_ms: now_ms,
            why: "it was started".to_owned(),
            failures: 0,
            extended: false,
            next_check_ms: now_ms,
        };
        let phase = rollout.phase_of_step();
        rollout.enter(phase, now_ms, "it was started");
        Ok(rollout)
    }

    /// Where it is.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Why it is there, in one sentence.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Index of the current step.
    pub fn step(&self) -> usize {
        self.step
    }

    /// When the phase is left at the latest; `None` at an end. Wall time in milliseconds.
    pub fn deadline_ms(&self) -> Option<i64> {
        (!self.phase.is_end()).then_some(self.deadline_ms)
    }

    /// What follows from what is observed now.
    pub fn advance(&mut self, facts: &Facts, now_ms: i64) -> Advance {
        let mut advance = Advance::default();
        // Each turn may finish a phase and begin the next; there are no more phases than steps and the few at the end.
        for _ in 0..self.spec.steps.len() + 4 {
            let before = self.phase.clone();
            let step = self.step;
            advance.changes = self.turn(facts, now_ms);
            if self.phase == before && self.step == step {
                break;
            }
            advance.moved.push(Moved {
                from: before,
                to: self.phase.clone(),
                why: self.why.clone(),
            });
        }
        advance
    }

    fn turn(&mut self, facts: &Facts, now_ms: i64) -> Vec<Change> {
        let late = now_ms >= self.deadline_ms;
        match self.phase {
            Phase::Setting => {
                let changes = self.changes_to(facts, self.sizes(), self.weight(), None);
                if self.is_set(facts) {
                    self.next_step(now_ms, "the step is there");
                    return Vec::new();
                }
                if late {
                    self.roll_back(now_ms, "the step was not there in time");
                    return Vec::new();
                }
                changes
            }
            Phase::Waiting if late => {
                self.next_step(now_ms, "it has waited");
                Vec::new()
            }
            Phase::Analysing if late => {
                self.enter(Phase::Holding, now_ms, "the analysis came to no end");
                Vec::new()
            }
            Phase::Gated | Phase::Paused | Phase::Holding if late => {
                self.roll_back(now_ms, "nobody decided in time");
                Vec::new()
            }
            // What was made stays made, whoever changes it meanwhile.
            Phase::Waiting | Phase::Analysing | Phase::Gated | Phase::Paused | Phase::Holding => {
                self.changes_to(facts, self.sizes(), self.weight(), None)
            }
            Phase::Promoting => self.promote(facts, now_ms, late),
            Phase::Finishing => self.finish(facts, now_ms, late),
            Phase::RollingBack => self.take_back(facts, now_ms, late),
            Phase::Completed | Phase::RolledBack | Phase::Failed | Phase::RollbackFailed => Vec::new(),
        }
    }

    /// First as many canaries as there were replicas, then the workload itself.
    fn promote(&mut self, facts: &Facts, now_ms: i64, late: bool) -> Vec<Change> {
        let image = self.spec.image.clone();
        if facts
            .stable
            .there()
            .is_some_and(|stable| stable.is(&image, self.start.replicas))
            && facts.unread().is_none()
        {
            self.enter(Phase::Finishing, now_ms, "all replicas run the new image");
            return Vec::new();
        }
        if late {
            self.roll_back(now_ms, "not all replicas ran the new image in time");
            return Vec::new();
        }
        let rolling = self.spec.steps.is_empty() || self.start.replicas == 0;
        let covered = rolling
            || facts
                .canary
                .there()
                .is_some_and(|canary| canary.is(&image, self.start.replicas));
        if !covered {
            // The old side stays as it is until the new one is as large as it was at the start.
            let stable = facts.stable.there().map_or(self.start.replicas, |stable| stable.wanted);
            let sizes = Sizes {
                stable,
                canary: self.start.replicas,
                baseline: 0,
            };
            return self.changes_to(facts, sizes, self.weight(), None);
        }
        let canary = if rolling { 0 } else { self.start.replicas };
        let sizes = Sizes {
            stable: self.start.replicas,
            canary,
            baseline: 0,
        };
        let weight = if rolling { 0 } else { 100 };
        self.changes_to(facts, sizes, weight, Some(&image))
    }

    fn finish(&mut self, facts: &Facts, now_ms: i64, late: bool) -> Vec<Change> {
        let image = self.spec.image.clone();
        if self.is_alone(facts, &image) {
            self.enter(Phase::Completed, now_ms, "the new image runs on all replicas");
            return Vec::new();
        }
        if late {
            self.enter(
                Phase::Failed,
                now_ms,
                "the new image runs, but not everything of the rollout could be removed in time",
            );
            return Vec::new();
        }
        self.changes_to(facts, Sizes::alone(self.start.replicas), 0, Some(&image))
    }

    fn take_back(&mut self, facts: &Facts, now_ms: i64, late: bool) -> Vec<Change> {
        let image = self.start.image.clone();
        if self.is_alone(facts, &image) {
            let why = format!("everything is as it was: {}", self.why);
            self.enter(Phase::RolledBack, now_ms, &why);
            return Vec::new();
        }
        if late {
            let why = format!("not everything was as before in time: {}", self.why);
            self.enter(Phase::RollbackFailed, now_ms, &why);
            return Vec::new();
        }
        self.changes_to(facts, Sizes::alone(self.start.replicas), 0, Some(&image))
    }

    /// Changes that bring what is observed nearer to these sizes. Grows first; shrinks only what is not needed for the start's
    /// capacity by what is ready at this moment, and nothing while a part cannot be read. The workload's own image is touched only if
    /// one is given.
    fn changes_to(&self, facts: &Facts, sizes: Sizes, weight: u8, stable_image: Option<&str>) -> Vec<Change> {
        let mut changes = Vec::new();
        // Traffic leaves a canary at once, whatever else is known.
        let weighted = self.spec.traffic != Traffic::Replicas;
        if weighted
            && facts.weight.is_some_and(|now| now > weight)
            && facts.stable.there().is_some_and(|one| one.ready > 0)
        {
            changes.push(Change::Weight { percent: weight });
        }
        if facts.unread().is_some() {
            return changes;
        }
        let mut grown = true;
        for (role, image, replicas) in [
            (Role::Canary, &self.spec.image, sizes.canary),
            (Role::Baseline, &self.start.image, sizes.baseline),
        ] {
            let there = facts.of(role).there();
            if replicas > 0 && there.is_none_or(|now| now.image != *image || now.wanted < replicas) {
                changes.push(Change::Ensure {
                    role,
                    image: image.clone(),
                    replicas,
                });
            }
            grown &= replicas == 0 || there.is_some_and(|now| now.image == *image && now.ready >= replicas);
        }
        self.change_stable(facts, sizes, stable_image, &mut changes);
        if weighted && grown && facts.weight.is_some_and(|now| now < weight) {
            changes.push(Change::Weight { percent: weight });
        }
        self.shrink_others(facts, sizes, weight, stable_image, &mut changes);
        changes
    }

    fn change_stable(&self, facts: &Facts, sizes: Sizes, image: Option<&str>, changes: &mut Vec<Change>) {
        let Seen::There(stable) = &facts.stable else { return };
        let may_shrink = facts.ready_with(Role::Stable, sizes.stable) >= self.start.replicas;
        if stable.wanted < sizes.stable || stable.wanted > sizes.stable && may_shrink {
            changes.push(Change::Scale {
                role: Role::Stable,
                replicas: sizes.stable,
            });
        }
        if let Some(image) = image.filter(|image| stable.image != **image) {
            changes.push(Change::SetImage {
                image: image.to_owned(),
            });
        }
    }

    fn shrink_others(
        &self,
        facts: &Facts,
        sizes: Sizes,
        weight: u8,
        stable_image: Option<&str>,
        changes: &mut Vec<Change>,
    ) {
        for (role, replicas) in [(Role::Canary, sizes.canary), (Role::Baseline, sizes.baseline)] {
            let Some(now) = facts.of(role).there() else { continue };
            let spare = facts.ready_with(role, replicas) >= self.start.replicas;
            if replicas == 0 {
                // The last replicas of a side go when the other side is whole by itself and has the traffic.
                let whole = facts
                    .stable
                    .there()
                    .is_some_and(|stable| stable_image.is_some_and(|image| stable.is(image, sizes.stable)));
                let quiet = self.spec.traffic == Traffic::Replicas || facts.weight == Some(weight);
                if spare && (role == Role::Baseline || whole && quiet) {
                    changes.push(Change::Remove { role });
                }
            } else if now.wanted > replicas && spare {
                changes.push(Change::Scale { role, replicas });
            }
        }
    }

    /// Whether the current sizes and weights are there.
    fn is_set(&self, facts: &Facts) -> bool {
        let sizes = self.sizes();
        let part = |role: Role, image: &str, replicas: u32| match facts.of(role) {
            Seen::There(now) => now.is(image, replicas),
            Seen::Missing => replicas == 0,
            Seen::Unread(_) => false,
        };
        part(Role::Stable, &self.start.image, sizes.stable)
            && part(Role::Canary, &self.spec.image, sizes.canary)
            && part(Role::Baseline, &self.start.image, sizes.baseline)
            && (self.spec.traffic == Traffic::Replicas || facts.weight == Some(self.weight()))
    }

    /// Whether only the workload itself is there, whole, with this image.
    fn is_alone(&self, facts: &Facts, image: &str) -> bool {
        facts
            .stable
            .there()
            .is_some_and(|stable| stable.is(image, self.start.replicas))
            && facts.canary == Seen::Missing
            && facts.baseline == Seen::Missing
            && (self.spec.traffic == Traffic::Replicas || facts.weight == Some(0))
    }

    /// Sizes of the last step that set some, up to the current one.
    fn sizes(&self) -> Sizes {
        match self.last_set() {
            Some((replicas, _)) => {
                // A baseline that no traffic reaches tells nothing: then the canary is compared with the workload.
                let is_reached = !matches!(
                    &self.spec.route,
                    Some(Route::HttpRoute { baseline: None, .. } | Route::Service { .. })
                );
                let fresh = self.spec.analysis.fresh_baseline && is_reached && self.analyses_before_next_set();
                Sizes::at(self.start.replicas, replicas, fresh)
            }
            None => Sizes::alone(self.start.replicas),
        }
    }

    /// Traffic that the canary should have by now, in percent.
    pub fn weight(&self) -> u8 {
        self.last_set().map_or(0, |(_, weight)| weight)
    }

    fn last_set(&self) -> Option<(u8, u8)> {
        let upto = self.spec.steps.get(..=self.step).unwrap_or(&self.spec.steps);
        upto.iter().rev().find_map(|step| match step {
            Step::Set { replicas, weight } => Some((*replicas, *weight)),
            Step::Wait { .. } | Step::Gate { .. } | Step::Pause | Step::Analyse { .. } => None,
        })
    }

    /// Whether the size that is set now is analysed: only then a baseline is worth its replicas.
    fn analyses_before_next_set(&self) -> bool {
        let is_set = |step: &Step| matches!(step, Step::Set { .. });
        let begin = (0..=self.step.min(self.spec.steps.len().saturating_sub(1)))
            .rev()
            .find(|at| is_set(&self.spec.steps[*at]));
        let after = begin.map_or(&[][..], |begin| &self.spec.steps[begin + 1..]);
        after
            .iter()
            .take_while(|step| !is_set(step))
            .any(|step| matches!(step, Step::Analyse { .. }))
    }

    pub(super) fn next_step(&mut self, now_ms: i64, why: &str) {
        self.step += 1;
        let phase = self.phase_of_step();
        self.enter(phase, now_ms, why);
    }

    pub(super) fn phase_of_step(&self) -> Phase {
        match self.spec.steps.get(self.step) {
            // With no replicas there is nothing to measure and nothing to lose.
            _ if self.start.replicas == 0 => Phase::Promoting,
            None => Phase::Promoting,
            Some(Step::Set { .. }) => Phase::Setting,
            Some(Step::Wait { .. }) => Phase::Waiting,
            Some(Step::Gate { .. }) => Phase::Gated,
            Some(Step::Pause) => Phase::Paused,
            Some(Step::Analyse { .. }) => Phase::Analysing,
        }
    }

    pub(super) fn roll_back(&mut self, now_ms: i64, why: &str) {
        self.enter(Phase::RollingBack, now_ms, why);
    }

    pub(super) fn enter(&mut self, phase: Phase, now_ms: i64, why: &str) {
        let deadlines = &self.spec.deadlines;
        let step_ms = match self.spec.steps.get(self.step) {
            Some(Step::Wait { ms } | Step::Analyse { ms }) => *ms,
            Some(Step::Set { .. } | Step::Gate { .. } | Step::Pause) | None => 0,
        };
        let lasts = match phase {
            Phase::Setting => deadlines.set_ms,
            Phase::Waiting => step_ms,
            // Once as long again when it is lengthened, and missing data has a deadline of its own within.
            Phase::Analysing => self
                .no_data_deadline_ms(step_ms)
                .max(step_ms * 2)
                .saturating_add(step_ms),
            Phase::Gated | Phase::Paused => deadlines.pause_ms,
            Phase::Holding => deadlines.hold_ms,
            Phase::Promoting => deadlines.promote_ms,
            Phase::Finishing => deadlines.finish_ms,
            Phase::RollingBack => deadlines.roll_back_ms,
            Phase::Completed | Phase::RolledBack | Phase::Failed | Phase::RollbackFailed => 0,
        };
        if phase == Phase::Analysing {
            (self.failures, self.extended, self.next_check_ms) = (0, false, now_ms);
        }
        self.phase = phase;
        self.since_ms = now_ms;
        self.deadline_ms = now_ms.saturating_add(i64::try_from(lasts).unwrap_or(i64::MAX));
        why.clone_into(&mut self.why);
    }

    pub(super) fn no_data_deadline_ms(&self, step_ms: u64) -> u64 {
        self.spec
            .analysis
            .no_data_deadline_ms
            .unwrap_or(step_ms.saturating_mul(2))
    }
}
