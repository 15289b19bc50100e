//! The simple forecasters that a seasonal series is a mixture of.
//!
//! Each is a level, smoothed at one speed, plus a seasonal part: none, the day's profile, the day's and the week's, or what the
//! same hour of yesterday measured. All of them are updated online with a few additions per step.
//! Never decides which of them is believed: that is `lane.rs`, by their measured errors.
//!
//! Invariant: with finite values in, every forecast is finite.

use serde::{Deserialize, Serialize};

use super::season::{Profile, Yesterday};

/// How many forecasters there are.
pub const EXPERTS: usize = 14;
/// Where yesterday's measurements stand in the list: the forecaster that the mixture must not be worse than.
pub const SEASONAL_NAIVE: usize = 0;

/// Speeds of the levels without a season, per step.
const PLAIN: [f64; 2] = [0.15, 0.01];
/// Speeds of the levels under the day's profile, per step.
const DAILY: [f64; 4] = [0.7, 0.15, 0.03, 0.004];
/// Speeds of the levels under the day's and the week's profile, per step.
const WEEKLY: [f64; 3] = [0.5, 0.08, 0.01];
/// Speed at which the shift against yesterday is learned, per step.
const SHIFT: f64 = 0.15;
/// What is left of a deviation one step later.
const FADE: f64 = 0.98;
/// What is left of a slope one step later.
const DAMPED: f64 = 0.97;

/// The state that all forecasters share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Experts {
    day: Profile,
    week: Profile,
    yesterday: Yesterday,
    last: f64,
    plain: [f64; 2],
    daily: [f64; 4],
    weekly: [f64; 3],
    shift: f64,
    trend: Trend,
    seen: u32,
}

impl Experts {
    /// Forecasters of a series with this many steps in a day.
    pub fn new(day: u32) -> Self {
        Self {
            day: Profile::new(day, 288),
            week: Profile::new(day.saturating_mul(7), 336),
            yesterday: Yesterday::new(day),
            last: 0.0,
            plain: [0.0; 2],
            daily: [0.0; 4],
            weekly: [0.0; 3],
            shift: 0.0,
            trend: Trend::default(),
            seen: 0,
        }
    }

    /// Steps learned.
    pub fn seen(&self) -> u32 {
        self.seen
    }

    /// Whether a whole day has been seen.
    pub fn knows_a_day(&self) -> bool {
        self.yesterday.full()
    }

    /// Learns the value of step `step`.
    pub fn learn(&mut self, step: u64, value: f64) {
        if self.seen == 0 {
            self.start(value);
        }
        self.seen = self.seen.saturating_add(1);
        let daily = self.day.at(step);
        let weekly = daily + self.week.at(step);
        self.learn_levels(value, daily, weekly);
        if let Some(before) = self.yesterday.at(step) {
            self.shift += SHIFT * (value - before - self.shift);
        }
        self.day.learn(step, value - self.daily[3]);
        self.week.learn(step, value - daily - self.weekly[2]);
        self.yesterday.learn(step, value);
        self.last = value;
    }

    fn start(&mut self, value: f64) {
        self.plain = [value; 2];
        self.daily = [value; 4];
        self.weekly = [value; 3];
        self.trend.level = value;
    }

    /// A level starts as the mean of all values and slows down to its own speed.
    fn learn_levels(&mut self, value: f64, daily: f64, weekly: f64) {
        let first = 1.0 / f64::from(self.seen);
        let learn = |levels: &mut [f64], speeds: &[f64], value: f64| {
            for (level, speed) in levels.iter_mut().zip(speeds) {
                *level += speed.max(first) * (value - *level);
            }
        };
        learn(&mut self.plain, &PLAIN, value);
        learn(&mut self.daily, &DAILY, value - daily);
        learn(&mut self.weekly, &WEEKLY, value - weekly);
        self.trend.learn(value - daily);
    }

    /// What each forecaster says of the step `ahead.steps` after `step`, the last one that was learned.
    pub fn ahead(&self, step: u64, ahead: &Ahead) -> [f64; EXPERTS] {
        let target = step.saturating_add(u64::from(ahead.steps));
        let daily = self.day.at(target);
        let weekly = daily + self.week.at(target);
        let naive = self.yesterday.at(target).unwrap_or(self.last);
        let [plain_fast, plain_slow] = self.plain;
        let [daily_0, daily_1, daily_2, daily_3] = self.daily.map(|level| level + daily);
        let [weekly_0, weekly_1, weekly_2] = self.weekly.map(|level| level + weekly);
        [
            naive,
            self.last,
            plain_fast,
            plain_slow,
            daily_0,
            daily_1,
            daily_2,
            daily_3,
            weekly_0,
            weekly_1,
            weekly_2,
            naive + self.shift * ahead.fade,
            daily_3 + (daily_1 - daily_3) * ahead.fade,
            daily + self.trend.level + self.trend.slope * ahead.damped,
        ]
    }
}

/// A distance, with what fades over it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ahead {
    /// Steps from the last one that was learned, at least 1.
    pub steps: u32,
    fade: f64,
    damped: f64,
}

impl Ahead {
    /// This many steps ahead.
    pub fn new(steps: u32) -> Self {
        let left = |share: f64| libm::pow(share, f64::from(steps));
        Self {
            steps,
            fade: left(FADE),
            damped: DAMPED * (1.0 - left(DAMPED)) / (1.0 - DAMPED),
        }
    }
}

/// A level with a slope that fades.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Trend {
    level: f64,
    slope: f64,
}

impl Trend {
    fn learn(&mut self, value: f64) {
        let expected = self.level + DAMPED * self.slope;
        let level = expected + 0.3 * (value - expected);
        self.slope += 0.05 * (level - self.level - self.slope);
        self.level = level;
    }
}
