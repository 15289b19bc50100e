//! Health scores: of a device from its components, and of a deployment from its pods.
//!
//! Pure, in hundredths of a percent. Says how healthy something looks; what follows from it is for rules. Read next: `course.rs`,
//! which smooths it over time.
//!
//! Invariants: the score never grows when a component gets worse; the order of components changes nothing; too little data is
//! [`Health::Unknown`], never healthy.

use serde::{Deserialize, Serialize};

mod course;

pub use course::{Age, Course, Node, node, recurrence_bp};

/// All of it.
const WHOLE: u64 = 10_000;
/// Below this share of known weights nothing is said.
const MIN_COVERAGE: u64 = 7_000;

/// One component of a device's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Component {
    /// How much it counts, in hundredths of a percent of all.
    pub weight_bp: u16,
    /// Where all is well, and where nothing is; either may be the larger one.
    pub good: i64,
    /// The value at which the component is worth nothing.
    pub bad: i64,
    /// What was measured; `None` if it is not known or too old.
    pub value: Option<i64>,
}

/// What a fault leaves of a score at most. A weighted mean alone would hide a fatal one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cap {
    /// A critical fault: nothing.
    Critical,
    /// A reset or a drain is pending: 30 %.
    Pending,
    /// Throttling, or a severe link fault: 60 %.
    Throttling,
    /// No fault.
    None,
}

impl Cap {
    const fn bp(self) -> u64 {
        match self {
            Self::Critical => 0,
            Self::Pending => 3_000,
            Self::Throttling => 6_000,
            Self::None => WHOLE,
        }
    }
}

/// A score, or that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Too little is known.
    Unknown,
    /// In hundredths of a percent.
    Score(u16),
}

/// The score of a device: the weighted mean of its known components, but no more than its worst fault leaves.
pub fn device(components: &[Component], cap: Cap) -> Health {
    let mut known = 0u64;
    let mut sum = 0u64;
    let mut all = 0u64;
    for component in components {
        let weight = u64::from(component.weight_bp);
        all += weight;
        if let Some(value) = component.value {
            known += weight;
            sum += weight * share(component.good, component.bad, value);
        }
    }
    if known == 0 || known * WHOLE < all * MIN_COVERAGE {
        return Health::Unknown;
    }
    let score = (sum / known).min(cap.bp());
    Health::Score(u16::try_from(score).unwrap_or(u16::MAX))
}

/// How much of a component is left, linear between its two points.
fn share(good: i64, bad: i64, value: i64) -> u64 {
    let (good, bad, value) = (i128::from(good), i128::from(bad), i128::from(value));
    if good == bad {
        return if value == good { WHOLE } else { 0 };
    }
    let left = (value - bad) * i128::from(WHOLE) / (good - bad);
    u64::try_from(left.clamp(0, i128::from(WHOLE))).unwrap_or(0)
}

/// The four bands of a score, the best last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Band {
    /// Below 30.
    Failed,
    /// 30 to 60.
    Suspect,
    /// 60 to 85.
    Degraded,
    /// From 85.
    Healthy,
}

impl Band {
    const EDGES: [(u16, Self); 3] = [(8_500, Self::Healthy), (6_000, Self::Degraded), (3_000, Self::Suspect)];
    /// A score must pass an edge by this much to leave the band it is in.
    const HYSTERESIS: u16 = 500;

    /// The band of a score, coming from `before`: edges are crossed only by more than 5 points.
    pub fn of(score_bp: u16, before: Option<Self>) -> Self {
        let plain = |score: u16| {
            Self::EDGES
                .iter()
                .find(|(edge, _)| score >= *edge)
                .map_or(Self::Failed, |(_, band)| *band)
        };
        match before {
            None => plain(score_bp),
            Some(before) if plain(score_bp) > before => plain(score_bp.saturating_sub(Self::HYSTERESIS)).max(before),
            Some(before) => plain(score_bp.saturating_add(Self::HYSTERESIS)).min(before),
        }
    }
}

/// What is seen of one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pod<'a> {
    /// `Running`, `Pending`, …
    pub phase: &'a str,
    /// How often its containers were restarted.
    pub restarts: u32,
    /// Why a container waits.
    pub waiting: Option<&'a str>,
    /// Whether its containers are ready.
    pub ready: bool,
}

/// More restarts than this are a problem.
const MAX_RESTARTS: u32 = 5;
/// Below this share of ready pods the score falls with it.
const MIN_READY_BP: u64 = 8_000;

/// The score of a deployment, in thousandths; `None` when nothing could be read, which is no reason to roll back.
pub fn deployment(seen: Option<(u32, u32, u32, &[Pod<'_>])>) -> Option<u16> {
    let (desired, ready, available, pods) = seen?;
    // Millionths, so that two products lose nothing that is shown.
    let mut score: u64 = 1_000_000;
    if desired == 0 {
        score /= 2;
    } else {
        let share = |count: u32| u64::from(count) * WHOLE / u64::from(desired);
        if share(ready) < MIN_READY_BP {
            score = score * u64::from(ready) / u64::from(desired);
        }
        if share(available) < MIN_READY_BP {
            score = score * 9 / 10;
        }
    }
    if pods.iter().any(has_problem) {
        score = score * 8 / 10;
    }
    u16::try_from((score + 500) / 1_000).ok()
}

fn has_problem(pod: &Pod<'_>) -> bool {
    const WAITS: [&str; 3] = ["CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull"];
    let done = pod.phase == "Succeeded";
    !matches!(pod.phase, "Running" | "Succeeded")
        || pod.restarts > MAX_RESTARTS
        || pod.waiting.is_some_and(|why| WAITS.contains(&why))
        || !pod.ready && !done
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_fault_caps_what_the_mean_would_hide() {
        let good = Component {
            weight_bp: 9_000,
            good: 0,
            bad: 100,
            value: Some(0),
        };
        let unknown = Component {
            weight_bp: 1_000,
            value: None,
            ..good
        };
        assert_eq!(device(&[good, unknown], Cap::None), Health::Score(10_000));
        assert_eq!(device(&[good, unknown], Cap::Throttling), Health::Score(6_000));
        assert_eq!(device(&[good, unknown], Cap::Critical), Health::Score(0));
        let half = Component {
            value: Some(50),
            ..good
        };
        assert_eq!(device(&[half], Cap::None), Health::Score(5_000));
        let mostly_unknown = Component {
            weight_bp: 9_000,
            ..unknown
        };
        assert_eq!(device(&[good, mostly_unknown], Cap::None), Health::Unknown);
        assert_eq!(device(&[], Cap::None), Health::Unknown);
    }

    #[test]
    fn a_band_is_left_only_by_more_than_five_points() {
        for (score, before, expected) in [
            (8_500, None, Band::Healthy),
            (8_200, Some(Band::Healthy), Band::Healthy),
            (7_999, Some(Band::Healthy), Band::Degraded),
            (8_800, Some(Band::Degraded), Band::Degraded),
            (9_000, Some(Band::Degraded), Band::Healthy),
            (0, Some(Band::Healthy), Band::Failed),
        ] {
            assert_eq!(Band::of(score, before), expected, "{score} from {before:?}");
        }
    }

    proptest! {
        #[test]
        fn worse_never_scores_better(values in proptest::collection::vec((1u16..1_000, 0i64..200, 0i64..200), 1..8), index in 0usize..8, worse in 0i64..100, turn in 0usize..8) {
            let mut components: Vec<_> = values.iter().map(|(weight, bad, value)| Component { weight_bp: *weight, good: 0, bad: bad + 1, value: Some(*value) }).collect();
            let before = device(&components, Cap::None);
            let mut turned = components.clone();
            turned.rotate_left(turn % values.len());
            prop_assert_eq!(device(&turned, Cap::None), before);
            let place = index % values.len();
            components[place].value = components[place].value.map(|value| value + worse);
            let (Health::Score(before), Health::Score(after)) = (before, device(&components, Cap::None)) else {
                panic!("all is known");
            };
            prop_assert!(after <= before);
        }
    }
}
