//! What measurements mean for a rollout that is analysing.

use policy::canary::{Canary, Errors, Metric, Next, Nodes, Report, judge_canary};

use super::machine::{Moved, Rollout};
use super::phase::Phase;
use super::spec::Step;

/// Fewest looks at a canary in one step.
const LOOKS: u64 = 6;

/// What was measured since the step began.
#[derive(Debug, Clone, PartialEq)]
pub enum Measured {
    /// Series of both groups, for statistics.
    Series {
        /// The metrics.
        metrics: Vec<Metric>,
        /// Failed and all requests of both groups.
        errors: Option<Errors>,
        /// Whether the fast page of an error budget fires on what the canary touches.
        page_fast: bool,
    },
    /// One health score, in hundredths of a percent.
    Health(u32),
    /// Nothing could be measured. Never success, never failure.
    Nothing {
        /// Why not.
        why: String,
    },
}

/// What a check came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// In one sentence.
    pub why: String,
    /// The statistics, if there were series.
    pub report: Option<Report>,
    /// The move that followed, if one did.
    pub moved: Option<Moved>,
}

impl Rollout {
    /// Since when the canary should be measured, if it should be now. Wall time in milliseconds.
    pub fn wants_measurement(&self, now_ms: i64) -> Option<i64> {
        (self.phase == Phase::Analysing && now_ms >= self.next_check_ms).then_some(self.since_ms)
    }

    /// When it wants the next measurement.
    pub fn next_check_ms(&self) -> Option<i64> {
        (self.phase == Phase::Analysing).then_some(self.next_check_ms)
    }

    /// Takes a measurement. `None` when none was wanted: it came too late, and says nothing about where the rollout is now.
    pub fn measured(&mut self, measured: Measured, now_ms: i64) -> Option<Check> {
        let Some(Step::Analyse { ms: step_ms }) = self.spec.steps.get(self.step).cloned() else {
            return None;
        };
        if self.phase != Phase::Analysing {
            return None;
        }
        // However short the step is, it is looked at several times.
        let every = self.spec.analysis.check_every_ms.min(step_ms / LOOKS).max(1);
        let every = i64::try_from(every).unwrap_or(i64::MAX);
        self.next_check_ms = now_ms.saturating_add(every);
        let elapsed_ms = u64::try_from(now_ms.saturating_sub(self.since_ms)).unwrap_or(0);
        let before = self.phase.clone();
        let (why, report) = match measured {
            Measured::Series {
                metrics,
                errors,
                page_fast,
            } => self.judge(metrics, errors, page_fast, step_ms, elapsed_ms, now_ms),
            Measured::Health(score_bp) => (self.check_health(score_bp, step_ms, elapsed_ms, now_ms), None),
            Measured::Nothing { why } => (self.nothing(&why, step_ms, elapsed_ms, now_ms), None),
        };
        let moved = (self.phase != before).then(|| Moved {
            from: before,
            to: self.phase.clone(),
            why: why.clone(),
        });
        Some(Check { why, report, moved })
    }

    fn judge(
        &mut self,
        metrics: Vec<Metric>,
        errors: Option<Errors>,
        page_fast: bool,
        step_ms: u64,
        elapsed_ms: u64,
        now_ms: i64,
    ) -> (String, Option<Report>) {
        let question = Canary {
            metrics,
            errors,
            page_fast,
            nodes: Nodes::default(),
            step_ms,
            elapsed_ms,
            no_data_deadline_ms: self.spec.analysis.no_data_deadline_ms,
            extended: self.extended,
            // The same for the whole step, so that looking again shows the same.
            seed: self.since_ms.unsigned_abs() ^ self.step as u64,
        };
        let report = match judge_canary(&question) {
            Ok(report) => report,
            // A question that cannot be answered is no data.
            Err(error) => return (self.nothing(&error.to_string(), step_ms, elapsed_ms, now_ms), None),
        };
        let why = report.why.clone();
        match report.next {
            // Statistics may pass before the step is over; the step still lasts as long as it should.
            Next::Advance if elapsed_ms >= step_ms => self.next_step(now_ms, &why),
            Next::Advance | Next::Wait => {}
            Next::Extend => self.extended = true,
            Next::Hold => self.enter(Phase::Holding, now_ms, &why),
            Next::RollBack => self.roll_back(now_ms, &why),
        }
        (why, Some(report))
    }

    fn check_health(&mut self, score_bp: u32, step_ms: u64, elapsed_ms: u64, now_ms: i64) -> String {
        let limit = self.spec.analysis.min_health_bp;
        let percent = |bp: u32| format!("{}.{:02}", bp / 100, bp % 100);
        if score_bp < limit {
            self.failures += 1;
        }
        let (failures, allowed) = (self.failures, self.spec.analysis.max_failures);
        let why = format!(
            "health {} of 100, {} is needed; {failures} checks failed, {allowed} may",
            percent(score_bp),
            percent(limit)
        );
        if failures > allowed {
            self.roll_back(now_ms, &why);
        } else if elapsed_ms >= step_ms && score_bp >= limit {
            // Never on a bad check: it is looked at again until it is well, or too often bad.
            self.next_step(now_ms, &why);
        }
        why
    }

    fn nothing(&mut self, why: &str, step_ms: u64, elapsed_ms: u64, now_ms: i64) -> String {
        let deadline_ms = self.no_data_deadline_ms(step_ms);
        let why = format!("no data: {why}");
        if elapsed_ms >= deadline_ms {
            self.enter(Phase::Holding, now_ms, &why);
        }
        why
    }
}
