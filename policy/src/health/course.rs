//! How a device's health goes over time: smoothed, and in bands that it does not leave at once.
//!
//! Falls within seconds and rises within minutes, so that a flapping device looks ill; a fault's cap counts at once. The weights of
//! smoothing are floats of `libm`, the same on every machine. Never says what follows.
//!
//! Invariants: the score never lies above the cap; time in which nothing was known moves nothing; a band is left only after 60 s,
//! unless a cap forces it.

use serde::{Deserialize, Serialize};

use super::{Band, Cap, Health};

/// Time constants of the smoothing.
const DOWN_MS: f64 = 15_000.0;
const UP_MS: f64 = 600_000.0;
/// How long another band must be seen before it counts.
const DWELL_MS: u64 = 60_000;
/// After how long a remediation counts half.
const HALF_LIFE_MS: f64 = 7.0 * 86_400_000.0;
/// A sample that is older than so many intervals is not known any more.
const KNOWN_INTERVALS: u64 = 3;
/// And after so many it is dropped.
const KEPT_INTERVALS: u64 = 10;

/// The health of one device, from one observation to the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Course {
    /// Smoothed, in hundredths of a percent; `None` before the first score.
    score_bp: Option<f64>,
    band: Option<Band>,
    at_ms: u64,
    /// Another band that was seen, and since when.
    next: Option<(Band, u64)>,
}

impl Course {
    /// Takes what is seen now. Times that go back count as no time.
    pub fn observe(&mut self, health: Health, cap: Cap, now_ms: u64) {
        let passed = now_ms.saturating_sub(self.at_ms) as f64;
        self.at_ms = self.at_ms.max(now_ms);
        let Health::Score(target) = health else {
            // Not known for a while is no time to recover in, nor to be seen in another band; a fault counts all the same.
            self.next = None;
            if cap != Cap::None && self.score_bp.is_some() {
                self.limit(cap);
            }
            return;
        };
        let target = f64::from(target).min(cap.bp() as f64);
        self.score_bp = Some(match self.score_bp {
            None => target,
            Some(before) => {
                let tau = if target < before { DOWN_MS } else { UP_MS };
                before - (before - target) * -libm::expm1(-passed / tau)
            }
        });
        self.limit(cap);
        self.choose_band();
    }

    /// The smoothed score, in hundredths of a percent; `None` before the first one.
    pub fn score_bp(&self) -> Option<u16> {
        // Between two scores, so that it fits.
        self.score_bp.map(|score| libm::round(score) as u16)
    }

    /// The band; `None` before the first score.
    pub fn band(&self) -> Option<Band> {
        self.band
    }

    /// A cap counts at once, in the score and in the band.
    fn limit(&mut self, cap: Cap) {
        let most = cap.bp() as f64;
        if self.score_bp.is_some_and(|score| score > most) {
            self.score_bp = Some(most);
        }
        let forced = Band::of(cap.bp() as u16, None);
        if self.band.is_some_and(|band| band > forced) {
            (self.band, self.next) = (Some(forced), None);
        }
    }

    fn choose_band(&mut self) {
        let Some(score) = self.score_bp() else { return };
        let seen = Band::of(score, self.band);
        let Some(band) = self.band else {
            self.band = Some(seen);
            return;
        };
        if seen == band {
            self.next = None;
            return;
        }
        // On the way from one band to the next it counts how long this one has been left on the same side.
        let since = match self.next {
            Some((next, since)) if (next > band) == (seen > band) => since,
            _ => self.at_ms,
        };
        self.next = Some((seen, since));
        if self.at_ms - since >= DWELL_MS {
            (self.band, self.next) = (Some(seen), None);
        }
    }
}

/// What is left of the component "recurrence", in hundredths of a percent: `1 / (1 + R / 2)`, where a remediation counts 1 when it
/// happens and half of that with every 7 days that pass.
pub fn recurrence_bp(ages_ms: &[u64]) -> i64 {
    let weight = |age: &u64| libm::exp2(-(*age as f64) / HALF_LIFE_MS);
    // In ascending order, so that the order of the ages decides not even the last digit.
    let mut weights: Vec<f64> = ages_ms.iter().map(weight).collect();
    weights.sort_by(f64::total_cmp);
    let remediations: f64 = weights.iter().sum();
    libm::round(10_000.0 / (1.0 + remediations / 2.0)) as i64
}

/// What an old sample still is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// It counts.
    Known,
    /// More than 3 intervals old: it is not known.
    Unknown,
    /// More than 10 intervals old: it is dropped.
    Dropped,
}

impl Age {
    /// Of a sample of this age, taken once in each interval.
    pub fn of(age_ms: u64, interval_ms: u64) -> Self {
        match age_ms {
            age if age <= interval_ms.saturating_mul(KNOWN_INTERVALS) => Self::Known,
            age if age <= interval_ms.saturating_mul(KEPT_INTERVALS) => Self::Unknown,
            _ => Self::Dropped,
        }
    }
}

/// The health of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// That of its worst part, its own included: what a job on all devices would meet.
    pub worst: Health,
    /// Share of its devices from which work can be expected, from band Degraded up, in hundredths of a percent.
    pub usable_bp: u16,
}

/// The health of a node with these devices.
pub fn node(devices: &[Health], host: Health) -> Node {
    let score = |health: &Health| match health {
        Health::Unknown => None,
        Health::Score(score) => Some(*score),
    };
    let scores: Option<Vec<u16>> = devices.iter().chain([&host]).map(score).collect();
    let is_usable = |health: &&Health| score(health).is_some_and(|score| Band::of(score, None) >= Band::Degraded);
    let usable = devices.iter().filter(is_usable).count();
    let share = (usable * 10_000).checked_div(devices.len()).unwrap_or(0);
    Node {
        worst: scores
            .and_then(|all| all.into_iter().min())
            .map_or(Health::Unknown, Health::Score),
        usable_bp: u16::try_from(share).unwrap_or(10_000),
    }
}
