//! `scaling`: minutes in which a workload has too few replicas, with a forecast as a floor beside reactive scaling alone.
//!
//! Each series (`-- --series FILE.csv`, as often as there are files; without any a small generated set) is the load of a workload, replayed
//! minute by minute. A replica serves a twentieth of the series' largest load and should have seven tenths of that; a new one is ready
//! after five minutes. Both sides are the hub's own scaler under the same rules; ours is told what the embedded brain expects of the load
//! by the time when new replicas are ready. The first two fifths of each series only teach. A minute in which the load is larger than
//! what the ready replicas serve is lost. Replica hours are those that are wanted, ready or not.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use hub_brain::{Forecaster, load_within};
use hub_core::scaling::{Measured, Scaler, Spec};
use wire::Mono;

use crate::forecast::series::{self, Series};
use crate::report::{Figure, Goal};

/// Until a new replica is ready.
const START_MIN: usize = 5;
const MINUTE_MS: u64 = 60_000;
/// Replicas that the largest load needs when each has all that it can serve.
const AT_PEAK: f64 = 20.0;
/// What a replica should have of what it can serve.
const TARGET: f64 = 0.7;

/// Runs it on these files, or on the generated set.
pub fn run(files: &[PathBuf]) -> Result<Vec<Figure>, String> {
    let all = match files {
        [] => series::generated(),
        files => files.iter().map(|file| series::read(file)).collect::<Result<_, _>>()?,
    };
    let (mut ours, mut reactive) = (Run::default(), Run::default());
    for series in &all {
        let loads = Loads::of(series)?;
        let (with, without) = (loads.replay(true), loads.replay(false));
        ours.add(with);
        reactive.add(without);
    }
    let name = "reactive scaling alone";
    let lost = ours.lost as f64 / (reactive.lost as f64).max(1.0);
    let hours = ours.replica_minutes as f64 / (reactive.replica_minutes as f64).max(1.0);
    Ok(vec![
        Figure::new("scaling-lost-minutes", "minutes", ours.lost as f64, Goal::Known).peer(name, reactive.lost as f64),
        Figure::new("scaling-lost-to-reactive", "x", lost, Goal::AtMost(0.999)),
        Figure::new("scaling-hours-to-reactive", "x", hours, Goal::AtMost(1.05)),
    ])
}

/// What came of a replay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Run {
    /// Minutes with too few replicas.
    pub lost: u64,
    /// Replicas that were wanted, minute by minute.
    pub replica_minutes: u64,
}

impl Run {
    fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.replica_minutes += other.replica_minutes;
    }
}

/// A series as load in thousandths of what one replica serves.
struct Loads {
    by_step: Vec<u64>,
    minutes_of_step: usize,
    step_ms: u64,
    /// The step at which counting begins.
    begin: usize,
}

impl Loads {
    fn of(series: &Series) -> Result<Self, String> {
        let filled = series.filled();
        let most = filled.iter().copied().fold(0.0, f64::max);
        if most <= 0.0 {
            return Err(format!("`{}` holds no load above 0", series.name));
        }
        let by_step = filled
            .iter()
            .map(|value| (value.max(0.0) / most * AT_PEAK * 1_000.0) as u64);
        Ok(Self {
            by_step: by_step.collect(),
            minutes_of_step: usize::try_from((series.step_ms / MINUTE_MS).max(1)).unwrap_or(1),
            step_ms: series.step_ms.max(MINUTE_MS),
            begin: filled.len() * 2 / 5,
        })
    }

    fn replay(&self, with_forecast: bool) -> Run {
        let spec = Spec {
            min: 1,
            max: 40,
            target_milli: (TARGET * 1_000.0) as u64,
            stretch_bp: 2_500,
            tolerance_bp: 1_000,
            scale_in_after_ms: 300_000,
            outage_drop_bp: 4_000,
            outage_hold_ms: 1_800_000,
        };
        let mut forecaster = Forecaster::new(self.step_ms);
        let (mut scaler, mut run) = (Scaler::default(), Run::default());
        let (mut wanted, mut ready) = (1_u32, 1_u32);
        let mut starting: VecDeque<(usize, u32)> = VecDeque::new();
        for step in 1..self.by_step.len() {
            // Everything up to the last step is known; nothing of this one is.
            let taught = forecaster.observe((step as u64 - 1) * self.step_ms, self.by_step[step - 1] as f64);
            taught.expect("a load is finite and in order");
            forecaster.close();
            if step < self.begin {
                continue;
            }
            let expected = with_forecast.then(|| self.expected(&forecaster)).flatten();
            for minute in 0..self.minutes_of_step {
                let at = step * self.minutes_of_step + minute;
                while starting.front().is_some_and(|(when, _)| *when <= at) {
                    ready += starting.pop_front().map_or(0, |(_, more)| more);
                }
                let load = self.at(step, minute);
                let measured = Measured {
                    load_milli: Some(load),
                    expected_milli: expected,
                    is_troubled: false,
                };
                let now = Mono::default() + Duration::from_millis(at as u64 * MINUTE_MS);
                let desired = scaler.desired(&spec, wanted, measured, now).replicas;
                if desired > wanted {
                    starting.push_back((at + START_MIN, desired - wanted));
                }
                for _ in desired..wanted {
                    // Those that are not ready go first.
                    match starting.back_mut() {
                        Some((_, more)) if *more > 1 => *more -= 1,
                        Some(_) => drop(starting.pop_back()),
                        None => ready -= 1,
                    }
                }
                wanted = desired;
                run.lost += u64::from(load > u64::from(ready) * 1_000);
                run.replica_minutes += u64::from(wanted);
            }
        }
        run
    }

    /// The load within a step: on the way from it to the next.
    fn at(&self, step: usize, minute: usize) -> u64 {
        let (from, to) = (
            self.by_step[step] as f64,
            *self.by_step.get(step + 1).unwrap_or(&self.by_step[step]) as f64,
        );
        (from + (to - from) * minute as f64 / self.minutes_of_step as f64) as u64
    }

    /// The load that the forecast does not expect to be passed, by the time when a replica that is asked for now is ready.
    fn expected(&self, forecaster: &Forecaster) -> Option<u64> {
        let steps = START_MIN.div_ceil(self.minutes_of_step) + 1;
        let forecast = forecaster.forecast(u32::try_from(steps).ok()?)?;
        let load = load_within(&forecast, steps as u64 * self.step_ms)?;
        (load >= 0.0).then_some(load as u64)
    }
}
