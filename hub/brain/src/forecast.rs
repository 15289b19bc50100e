//! Forecasts of one series: how it will go on, with a band that holds what it promises.
//!
//! The series is cut into steps of equal length. A fixed set of simple forecasters follows it, for a few distances ahead their
//! measured errors say how much each is believed, and the errors of that mixture are the band. Where the mixture has been worse
//! than yesterday's values, those are the forecast. Deterministic, and bounded: a series takes [`Forecaster::MOST_BYTES`] at most.
//!
//! Never reads a clock and never grades itself: coverage is shown, `policy-trust` judges.
//!
//! Invariants: every quantile is finite, and `low <= middle <= high`; values and times out of order change nothing.
//! Read next: `forecast/lane.rs` (belief and band), `forecast/experts.rs` (what is believed or not).

mod errors;
mod experts;
mod lane;
mod season;

pub use errors::Errors;
use experts::{Ahead, EXPERTS, Experts, SEASONAL_NAIVE};
pub use lane::{Lane, Point};
use serde::{Deserialize, Serialize};

/// Distances whose errors are measured, in steps.
const DISTANCES: [u32; 5] = [1, 4, 12, 30, 60];
/// Values beyond this are no measurement of anything; it keeps sums finite.
const GREATEST: f64 = 1e18;
const DAY_MS: u64 = 86_400_000;

/// The forecaster of one series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forecaster {
    step_ms: u64,
    experts: Experts,
    lanes: Vec<(Ahead, Lane)>,
    open: Option<Open>,
    learned: Option<u64>,
}

/// The step that values still arrive for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Open {
    step: u64,
    sum: f64,
    count: u32,
}

/// What a series will do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// End of the last step that it rests on, in milliseconds since 1970 by the readings' own clock.
    pub at_ms: u64,
    /// Length of a step.
    pub step_ms: u64,
    /// How: by the mixture, or by yesterday's values because the mixture has been worse.
    pub method: Method,
    /// The next steps, each with its 5, 50 and 95 % quantile.
    pub points: Vec<Point>,
}

/// How a forecast was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// By the mixture of forecasters.
    Mixture,
    /// By the values of the day before.
    SeasonalNaive,
}

/// Why a value was not used.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Refused {
    /// It is not a number, or no measurement of anything.
    #[error("value {value} is not between -1e18 and 1e18")]
    Value {
        /// The value.
        value: f64,
    },
    /// Its step is closed already.
    #[error("time {at_ms} ms lies {late_ms} ms before the step that values are taken for")]
    Late {
        /// The value's time.
        at_ms: u64,
        /// How much too late it came.
        late_ms: u64,
    },
}

impl Forecaster {
    /// The most that one forecaster occupies, in memory and roughly in a stored state.
    pub const MOST_BYTES: usize = 24 * 1024;

    /// A forecaster that knows nothing yet. A step lasts `step_ms`, at least 1 s and at most a day.
    pub fn new(step_ms: u64) -> Self {
        let step_ms = step_ms.clamp(1_000, DAY_MS);
        let day = (DAY_MS / step_ms) as u32;
        let lane = |steps| (Ahead::new(steps), Lane::new(steps, EXPERTS, SEASONAL_NAIVE, day / 48));
        Self {
            step_ms,
            experts: Experts::new(day),
            lanes: DISTANCES.map(lane).to_vec(),
            open: None,
            learned: None,
        }
    }

    /// Takes a value with its own time. The mean of a step's values is learned when the next step begins.
    pub fn observe(&mut self, at_ms: u64, value: f64) -> Result<(), Refused> {
        if value.is_nan() || value.abs() > GREATEST {
            return Err(Refused::Value { value });
        }
        let step = at_ms / self.step_ms;
        match &mut self.open {
            Some(open) if step < open.step => {
                let late_ms = open.step * self.step_ms - at_ms;
                return Err(Refused::Late { at_ms, late_ms });
            }
            Some(open) if step == open.step => {
                open.sum += value;
                open.count = open.count.saturating_add(1);
                return Ok(());
            }
            Some(_) | None => self.close(),
        }
        self.open = Some(Open {
            step,
            sum: value,
            count: 1,
        });
        Ok(())
    }

    /// Learns the open step, as when it is known that no more values come for it.
    pub fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        self.pass_gap(open.step);
        let value = open.sum / f64::from(open.count);
        for (_, lane) in &mut self.lanes {
            lane.arrive(Some(value));
        }
        self.experts.learn(open.step, value);
        self.learned = Some(open.step);
        self.issue(open.step);
    }

    /// Lets the steps between the last one and this pass without a value.
    fn pass_gap(&mut self, step: u64) {
        let Some(learned) = self.learned else { return };
        let longest = u64::from(DISTANCES[DISTANCES.len() - 1]);
        if step - learned > longest {
            self.lanes.iter_mut().for_each(|(_, lane)| lane.skip());
            return;
        }
        for missing in learned + 1..step {
            self.lanes.iter_mut().for_each(|(_, lane)| lane.arrive(None));
            self.issue(missing);
        }
    }

    fn issue(&mut self, step: u64) {
        for (ahead, lane) in &mut self.lanes {
            lane.issue(&self.experts.ahead(step, ahead));
        }
    }

    /// The next `steps` steps, at most 288; `None` before the first step is over.
    ///
    /// Beyond the greatest distance that is measured the band stays as wide as there.
    pub fn forecast(&self, steps: u32) -> Option<Forecast> {
        let step = self.learned?;
        let (_, farthest) = self.lanes.last()?;
        let method = if farthest.refers() {
            Method::SeasonalNaive
        } else {
            Method::Mixture
        };
        Some(Forecast {
            at_ms: (step + 1) * self.step_ms,
            step_ms: self.step_ms,
            method,
            points: (1..=steps.min(288)).map(|steps| self.point(step, steps)).collect(),
        })
    }

    /// The forecast for one distance, between the measured distances on both sides of it.
    fn point(&self, step: u64, steps: u32) -> Point {
        let said = self.experts.ahead(step, &Ahead::new(steps));
        let above = self.lanes.partition_point(|(ahead, _)| ahead.steps < steps);
        let far = above.min(self.lanes.len() - 1);
        let near = if above == far { far.saturating_sub(1) } else { far };
        let (near_ahead, near) = &self.lanes[near];
        let (far_ahead, far) = &self.lanes[far];
        let (near_point, far_point) = (near.point(&said), far.point(&said));
        let span = far_ahead.steps - near_ahead.steps;
        let part = match span {
            0 => 1.0,
            span => f64::from(steps - near_ahead.steps) / f64::from(span),
        };
        let between = |near: f64, far: f64| near + (far - near) * part;
        let middle = between(near_point.middle, far_point.middle);
        Point {
            low: between(near_point.low, far_point.low).min(middle),
            middle,
            high: between(near_point.high, far_point.high).max(middle),
        }
    }

    /// Whether a whole day has been seen, so that a season can be known.
    pub fn knows_a_day(&self) -> bool {
        self.experts.knows_a_day()
    }

    /// Steps learned.
    pub fn seen(&self) -> u32 {
        self.experts.seen()
    }

    /// The share of recent values that lay inside the band, the mean over the measured distances.
    pub fn coverage(&self) -> f64 {
        self.lanes.iter().map(|(_, lane)| lane.coverage()).sum::<f64>() / self.lanes.len() as f64
    }
}
