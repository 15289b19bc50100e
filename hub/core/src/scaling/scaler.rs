//! How many replicas something should have, from what was measured of it and what is expected of it.
//!
//! `desired = max(reactive, floor)`: the measured load says how many are needed now, a forecast of the load at the time when new replicas
//! would be ready says how many must be there by then. A forecast only ever adds. Fewer replicas follow from measurements alone, after
//! all of them have said so for a while; a measurement that is missing takes nothing away. When load falls away while something is
//! wrong, that is an outage and no lull: what is there is held, because the load comes back at once.
//!
//! Invariants: between the spec's bounds, whatever is measured; never fewer than are there without a measurement of this moment.
//! Sources: the ratio with a tolerance and the window before scaling in of Kubernetes' HPA; forecasts that only scale out of AWS predictive
//! scaling; the hold in outages of Netflix' Scryer.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::time::Mono;

/// Measurements that are remembered: one a second for the longest window.
const MOST_REMEMBERED: usize = 3_600;

/// How something is scaled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Fewest replicas; 0 lets it go to sleep while nothing is asked of it.
    pub min: u32,
    /// Most replicas.
    pub max: u32,
    /// Load that one replica should have, in thousandths of the metric's unit. Not 0.
    pub target_milli: u64,
    /// How far above the target the expected load may take a replica, in hundredths of a percent: the target leaves room for what is not
    /// known, and a forecast that is rarely passed has that in it already.
    #[serde(default = "stretch")]
    pub stretch_bp: u32,
    /// How far the load may be from the target before anything changes, in hundredths of a percent.
    #[serde(default = "tolerance")]
    pub tolerance_bp: u32,
    /// For how long all measurements must ask for fewer replicas before there are fewer, in milliseconds.
    #[serde(default = "scale_in_after")]
    pub scale_in_after_ms: u64,
    /// A load that falls by more than this within that time while something is wrong is an outage, in hundredths of a percent.
    #[serde(default = "outage_drop")]
    pub outage_drop_bp: u32,
    /// How long what is there is held after that, in milliseconds.
    #[serde(default = "outage_hold")]
    pub outage_hold_ms: u64,
}

const fn tolerance() -> u32 {
    1_000
}

const fn stretch() -> u32 {
    2_500
}

const fn scale_in_after() -> u64 {
    300_000
}

const fn outage_drop() -> u32 {
    4_000
}

const fn outage_hold() -> u64 {
    1_800_000
}

/// What is known at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measured {
    /// Load of all replicas together, in thousandths of the metric's unit; `None`: it could not be measured.
    pub load_milli: Option<u64>,
    /// Load that is expected by the time when new replicas are ready; `None`: nobody expects anything.
    pub expected_milli: Option<u64>,
    /// Something is wrong: errors, or what is measured cannot be reached.
    pub is_troubled: bool,
}

/// How many there should be, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Desired {
    /// How many.
    pub replicas: u32,
    /// Why.
    pub why: Why,
    /// Replicas that the measured load needs by itself, whatever the bounds are; `None`: it could not be measured.
    pub reactive: Option<u32>,
    /// Replicas that the expected load needs, whatever the bounds are; `None`: nobody expects anything.
    pub floor: Option<u32>,
}

/// Why there should be so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The load is as it should be.
    Steady,
    /// The measured load needs them.
    Load,
    /// The load that is expected needs them.
    Forecast,
    /// Fewer would do, but not for long enough yet.
    Settling,
    /// Fewer do, and have done for long enough.
    Lull,
    /// Nothing was measured, so nothing is taken away.
    Blind,
    /// The load fell away while something was wrong.
    Outage,
    /// The spec allows no more, or no fewer.
    Bounded,
}

/// What is remembered of one thing that is scaled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scaler {
    /// When, the load, and how many that asked for.
    recent: VecDeque<(Mono, u64, u32)>,
    /// Until when an outage holds everything.
    held_until: Option<Mono>,
}

impl Scaler {
    /// How many replicas there should be, where `present` are wanted now.
    pub fn desired(&mut self, spec: &Spec, present: u32, measured: Measured, now: Mono) -> Desired {
        let floor = measured.expected_milli.map(|load| spec.floor(load));
        let reactive = measured.load_milli.map(|load| spec.reactive(load, present));
        let (replicas, why) = self.wanted(spec, present, measured, now);
        let within = replicas.clamp(spec.min, spec.max);
        Desired {
            replicas: within,
            why: if within == replicas { why } else { Why::Bounded },
            reactive,
            floor,
        }
    }

    /// The same before the bounds.
    fn wanted(&mut self, spec: &Spec, present: u32, measured: Measured, now: Mono) -> (u32, Why) {
        let window = Duration::from_millis(spec.scale_in_after_ms);
        self.recent.retain(|(at, ..)| now < *at + window);
        let floor = measured.expected_milli.map_or(0, |load| spec.floor(load));
        let Some(load) = measured.load_milli else {
            let why = if floor > present { Why::Forecast } else { Why::Blind };
            return (present.max(floor), why);
        };
        self.notice_outage(spec, load, measured.is_troubled, now);
        let reactive = spec.reactive(load, present);
        let asked = reactive.max(floor);
        while self.recent.len() >= MOST_REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back((now, load, asked));
        if asked > present {
            return (asked, if floor > reactive { Why::Forecast } else { Why::Load });
        }
        if asked == present {
            return (present, Why::Steady);
        }
        if self.held_until.is_some_and(|until| now < until) {
            return (present, Why::Outage);
        }
        // Fewer only once the whole window was seen, and only as few as the most that any of it asked for.
        let is_whole = self
            .recent
            .front()
            .is_some_and(|(at, ..)| now.since(*at) + spec.spacing(&self.recent) >= window);
        let most = self.recent.iter().map(|(.., asked)| *asked).max().unwrap_or(present);
        match is_whole && most < present {
            true => (most, Why::Lull),
            false => (present, Why::Settling),
        }
    }

    /// A load that fell away while something is wrong holds what is there.
    fn notice_outage(&mut self, spec: &Spec, load: u64, is_troubled: bool, now: Mono) {
        let most = self.recent.iter().map(|(_, load, _)| *load).max().unwrap_or(0);
        let left = u128::from(most) * u128::from(10_000 - spec.outage_drop_bp.min(10_000)) / 10_000;
        if is_troubled && u128::from(load) < left {
            self.held_until = Some(now + Duration::from_millis(spec.outage_hold_ms));
        }
    }
}

impl Spec {
    /// Holds it against its bounds; the field at fault and what is wrong.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.target_milli == 0 {
            return Err(("target_milli", "0 is no load that a replica could have".to_owned()));
        }
        if self.max == 0 || self.min > self.max {
            let problem = format!(
                "{} to {} replicas: give 0 <= min <= max, and a max of 1 or more",
                self.min, self.max
            );
            return Err(("max", problem));
        }
        if self.stretch_bp > 10_000 {
            return Err((
                "stretch_bp",
                format!("{} is more than 10000: twice the target", self.stretch_bp),
            ));
        }
        if self.outage_drop_bp > 10_000 || self.tolerance_bp >= 10_000 {
            return Err(("tolerance_bp", "more than the whole".to_owned()));
        }
        if !(60_000..=3_600_000).contains(&self.scale_in_after_ms) {
            let problem = format!("{} ms is not between a minute and an hour", self.scale_in_after_ms);
            return Err(("scale_in_after_ms", problem));
        }
        Ok(())
    }

    /// Replicas that a load needs.
    fn needed(&self, load_milli: u64) -> u32 {
        u32::try_from(load_milli.div_ceil(self.target_milli.max(1))).unwrap_or(u32::MAX)
    }

    /// Replicas that an expected load needs.
    fn floor(&self, load_milli: u64) -> u32 {
        let each = u128::from(self.target_milli.max(1)) * u128::from(10_000 + self.stretch_bp);
        let needed = (u128::from(load_milli) * 10_000).div_ceil(each);
        u32::try_from(needed).unwrap_or(u32::MAX)
    }

    /// Replicas by the measured load: as many as there are while that is near the target.
    fn reactive(&self, load: u64, present: u32) -> u32 {
        let target = u128::from(self.target_milli) * u128::from(present);
        let off = u128::from(load).abs_diff(target);
        match present > 0 && load > 0 && off * 10_000 <= target * u128::from(self.tolerance_bp) {
            true => present,
            false => self.needed(load),
        }
    }

    /// The usual distance of two measurements: a window is whole when it lacks no more than that.
    fn spacing(&self, recent: &VecDeque<(Mono, u64, u32)>) -> Duration {
        let (Some(first), Some(last)) = (recent.front(), recent.back()) else {
            return Duration::ZERO;
        };
        let gaps = u32::try_from(recent.len() - 1).unwrap_or(u32::MAX);
        last.0.since(first.0).checked_div(gaps).unwrap_or(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spec() -> Spec {
        Spec {
            min: 1,
            max: 20,
            target_milli: 10_000,
            stretch_bp: stretch(),
            tolerance_bp: tolerance(),
            scale_in_after_ms: 300_000,
            outage_drop_bp: outage_drop(),
            outage_hold_ms: outage_hold(),
        }
    }

    /// One measurement a minute, each `LOAD`, `LOAD>EXPECTED`, `LOAD!` in trouble or `?` when nothing was measured. The replicas that
    /// follow, beginning with `present`.
    fn run(spec: &Spec, mut present: u32, loads: &str) -> String {
        let mut scaler = Scaler::default();
        let mut told = Vec::new();
        for (minute, word) in (0_u64..).zip(loads.split_whitespace()) {
            let is_troubled = word.ends_with('!');
            let (load, expected) = match word.trim_end_matches('!').split_once('>') {
                Some((load, expected)) => (load, expected.parse::<u64>().ok()),
                None => (word.trim_end_matches('!'), None),
            };
            let measured = Measured {
                load_milli: load.parse::<u64>().ok().map(|load| load * 1_000),
                expected_milli: expected.map(|load| load * 1_000),
                is_troubled,
            };
            let now = Mono::default() + Duration::from_secs(60 * minute);
            present = scaler.desired(spec, present, measured, now).replicas;
            told.push(present.to_string());
        }
        told.join(" ")
    }

    #[test]
    fn more_load_is_followed_at_once_and_less_after_all_of_the_window() {
        assert_eq!(run(&spec(), 2, "20 45 45"), "2 5 5");
        assert_eq!(run(&spec(), 5, "20 20 20 20 20 20"), "5 5 5 5 2 2");
        assert_eq!(
            run(&spec(), 5, "20 20 44 20 20 20 20 20"),
            "5 5 5 5 5 5 5 2",
            "one busy minute begins it anew"
        );
    }

    #[test]
    fn a_load_near_its_target_changes_nothing() {
        assert_eq!(run(&spec(), 10, "109 91 109"), "10 10 10");
        assert_eq!(run(&spec(), 10, "111"), "12");
    }

    #[test]
    fn a_forecast_adds_and_never_takes_away() {
        assert_eq!(run(&spec(), 2, "20>100 20>100"), "8 8");
        assert_eq!(run(&spec(), 5, "50>1 50>1 50>1 50>1 50>1 50>1 50>1"), "5 5 5 5 5 5 5");
        assert_eq!(run(&spec(), 2, "?>100 ?>100"), "8 8", "also while nothing is measured");
    }

    #[test]
    fn what_is_not_measured_takes_nothing_away() {
        assert_eq!(run(&spec(), 7, "? ? ? ? ? ? ? ? ?"), "7 7 7 7 7 7 7 7 7");
        assert_eq!(
            run(&spec(), 7, "10 10 ? ? ? ? ? 10"),
            "7 7 7 7 7 7 7 7",
            "the window has to be seen"
        );
    }

    #[test]
    fn a_load_that_falls_away_in_trouble_is_held() {
        assert_eq!(
            run(&spec(), 10, "100 30! 30! 30 30 30 30 30 30"),
            "10 10 10 10 10 10 10 10 10"
        );
        assert_eq!(
            run(&spec(), 10, "100 30 30 30 30 30"),
            "10 10 10 10 10 3",
            "without trouble it is a lull"
        );
    }

    #[test]
    fn nothing_at_all_sends_it_to_sleep_and_anything_wakes_it() {
        let to_zero = Spec { min: 0, ..spec() };
        assert_eq!(run(&to_zero, 1, "0 0 0 0 0 0 1 0"), "1 1 1 1 0 0 1 1");
        assert_eq!(run(&to_zero, 0, "? ?"), "0 0");
        assert_eq!(run(&spec(), 1, "0 0 0 0 0 0"), "1 1 1 1 1 1");
    }

    #[test]
    fn specs_that_mean_nothing_are_refused_with_their_field() {
        for (wrong, field) in [
            (
                Spec {
                    target_milli: 0,
                    ..spec()
                },
                "target_milli",
            ),
            (Spec { min: 21, ..spec() }, "max"),
            (
                Spec {
                    tolerance_bp: 10_000,
                    ..spec()
                },
                "tolerance_bp",
            ),
            (
                Spec {
                    scale_in_after_ms: 1,
                    ..spec()
                },
                "scale_in_after_ms",
            ),
        ] {
            assert_eq!(wrong.check().map_err(|(at, _)| at), Err(field));
        }
        assert_eq!(spec().check(), Ok(()));
    }

    proptest! {
        #[test]
        fn bounds_hold_and_nothing_shrinks_unmeasured(
            seen in proptest::collection::vec((proptest::option::of(0..u64::MAX), proptest::option::of(0..u64::MAX), any::<bool>()), 0..80),
            mut present in 0..40_u32,
        ) {
            let spec = spec();
            let mut scaler = Scaler::default();
            for (minute, (load_milli, expected_milli, is_troubled)) in (0_u64..).zip(seen) {
                let measured = Measured { load_milli, expected_milli, is_troubled };
                let desired = scaler.desired(&spec, present, measured, Mono::default() + Duration::from_secs(60 * minute));
                prop_assert!((spec.min..=spec.max).contains(&desired.replicas));
                let is_blind = load_milli.is_none();
                prop_assert!(!is_blind || desired.replicas >= present.min(spec.max));
                prop_assert!(desired.replicas >= desired.floor.unwrap_or(0).min(spec.max), "a forecast is a floor");
                prop_assert_eq!(desired.reactive.is_none(), is_blind);
                present = desired.replicas;
            }
        }
    }
}
