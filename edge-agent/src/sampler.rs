//! Takes one round of all readings each period, on a thread of its own, and gives it to the core as one input.
//!
//! The period is kept by the monotonic clock: a late round does not move the later ones, missed ones are skipped. A sensor that panics is
//! left out for a while and said to fail; the others go on. Never judges.
//!
//! The period can be changed while it runs: [`Pulse::pace`].
//!
//! Invariants: one `Input::Readings` for each period at most; no series stands twice in a round; a GPU probe that is slow delays a round by
//! [`GPU_PATIENCE`] at most, and nothing else that may block does.
//! Read next: `sensors.rs` (the list), `watch.rs` (what becomes of this thread itself).

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use edge_agent_core::Input;
use tokio::sync::mpsc;
use wire::Series;

use crate::probe::Probe;
use crate::sensors::process::{Own, WatchList, Workloads};
use crate::sensors::{self, Round, Sensor};
use crate::watch::Watch;

/// A quarter of the usual period: a healthy driver answers in a few milliseconds.
const GPU_PATIENCE: Duration = Duration::from_millis(250);
/// First and longest time for which a sensor that failed is left out.
const LEFT_OUT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// How long a wait takes at most before it is looked whether the period was changed.
const LOOK: Duration = Duration::from_secs(1);
/// Rounds that may be missing, and the least time, before the sampler is late.
const LATE: (u32, Duration) = (5, Duration::from_secs(5));
/// Findings are told under these names.
const PART: &str = "sampler";
const LIMITS: &str = "limits";

/// The GPU probe, once it is there: a first round waits for no driver.
pub type LateProbe = Arc<OnceLock<Probe>>;

/// The thread, until it is dropped.
pub struct Sampler {
    stop: Arc<AtomicBool>,
    pulse: Pulse,
    thread: JoinHandle<()>,
}

/// When the last round was done, and how often one is wanted.
#[derive(Debug, Clone)]
pub struct Pulse {
    began: Instant,
    /// Milliseconds after that.
    last: Arc<AtomicU64>,
    /// Milliseconds between two rounds.
    every: Arc<AtomicU64>,
    is_late: bool,
}

impl Pulse {
    fn new(every: Duration) -> Self {
        let pulse = Self {
            began: Instant::now(),
            last: Arc::default(),
            every: Arc::default(),
            is_late: false,
        };
        pulse.pace(every);
        pulse
    }

    /// From the next round on, one is taken each `every`.
    pub fn pace(&self, every: Duration) {
        let millis = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        self.every.store(millis, Ordering::Relaxed);
    }

    fn every(&self) -> Duration {
        Duration::from_millis(self.every.load(Ordering::Relaxed))
    }

    fn beat(&self) {
        let passed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(passed, Ordering::Relaxed);
    }

    /// Looks at a time whether rounds still come; returns what is to be told when that has changed.
    pub fn look(&mut self, now: Instant) -> Option<Input> {
        let last = self.began + Duration::from_millis(self.last.load(Ordering::Relaxed));
        let silent = now.saturating_duration_since(last);
        let is_late = silent >= (self.every() * LATE.0).max(LATE.1);
        if std::mem::replace(&mut self.is_late, is_late) == is_late {
            return None;
        }
        let why = is_late.then(|| {
            format!(
                "no readings for {} s: what is shown is old, and no rule sees more",
                silent.as_secs()
            )
        });
        Some(finding(PART, why))
    }
}

impl Sampler {
    /// Starts sampling.
    pub fn start(
        every: Duration,
        probe: LateProbe,
        watched: WatchList,
        inputs: mpsc::Sender<Input>,
        watch: &Watch,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let pulse = Pulse::new(every);
        let beating = pulse.clone();
        let thread = watch.thread("sampler", move || {
            let mut sensors = sensors::host();
            sensors.extend(Own::open().map(|own| Box::new(own) as Box<dyn Sensor>));
            sensors.push(Box::new(Workloads::new(watched)));
            let mut rounds = Rounds::new(sensors, probe);
            rounds.work(&inputs, &stopped, &beating);
        })?;
        Ok(Self { stop, pulse, thread })
    }

    /// For whoever watches it.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Asks the thread to end; it does so at its next round.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
    }
}

fn finding(part: &str, why: Option<String>) -> Input {
    Input::Finding {
        part: part.to_owned(),
        why,
    }
}

/// A sensor, and how it does.
struct Guarded {
    sensor: Box<dyn Sensor>,
    /// How often in a row it failed, and until when it is left out.
    failures: u32,
    until: Option<Instant>,
}

impl Guarded {
    /// Takes its readings; what it began before it failed is dropped. Returns what is to be told.
    fn sample(&mut self, round: &mut Round, now: Instant) -> Option<Input> {
        if self.until.is_some_and(|until| now < until) {
            return None;
        }
        let before = round.readings.len();
        let part = format!("sensor:{}", self.sensor.name());
        match catch_unwind(AssertUnwindSafe(|| self.sensor.sample(round))) {
            Ok(()) if self.failures == 0 => None,
            Ok(()) => {
                (self.failures, self.until) = (0, None);
                Some(finding(&part, None))
            }
            Err(panic) => {
                round.readings.truncate(before);
                let wait = (LEFT_OUT.0 * (1 << self.failures.min(16))).min(LEFT_OUT.1);
                self.failures = self.failures.saturating_add(1);
                self.until = Some(now + wait);
                let why = panic.downcast_ref::<String>().map(String::as_str);
                let why = why.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no reason");
                Some(finding(
                    &part,
                    Some(format!("{part} fails and its values are missing: {why}")),
                ))
            }
        }
    }
}

/// All sensors, and what was told of the last round.
struct Rounds {
    sensors: Vec<Guarded>,
    probe: LateProbe,
    unique: Unique,
    /// Bounds that were hit, as told last.
    limits: BTreeSet<String>,
}

impl Rounds {
    fn new(sensors: Vec<Box<dyn Sensor>>, probe: LateProbe) -> Self {
        let guarded = |sensor| Guarded {
            sensor,
            failures: 0,
            until: None,
        };
        Self {
            sensors: sensors.into_iter().map(guarded).collect(),
            probe,
            unique: Unique::default(),
            limits: BTreeSet::new(),
        }
    }

    fn work(&mut self, inputs: &mpsc::Sender<Input>, stop: &AtomicBool, pulse: &Pulse) {
        let mut round = Round::default();
        let mut every = pulse.every();
        let mut last: Option<Instant> = None;
        let mut next = Instant::now();
        let mut expected = 0;
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            if every != pulse.every() {
                every = pulse.every();
                next = next.min(now + every);
            }
            if now < next {
                std::thread::park_timeout((next - now).min(LOOK));
                continue;
            }
            round.elapsed_ms = last.map(|last| (now - last).as_millis() as u64);
            last = Some(now);
            round.readings = Vec::with_capacity(expected);
            let told = self.take(&mut round, GPU_PATIENCE.min(every), now);
            expected = round.readings.len();
            let readings = Input::Readings(std::mem::take(&mut round.readings));
            for input in told.into_iter().chain([readings]) {
                if inputs.blocking_send(input).is_err() {
                    return;
                }
            }
            pulse.beat();
            next += every;
            if next < Instant::now() {
                next = Instant::now() + every;
            }
        }
    }

    /// One round. Returns what is to be told besides.
    fn take(&mut self, round: &mut Round, patience: Duration, now: Instant) -> Vec<Input> {
        round.limits.clear();
        let sensors = self.sensors.iter_mut();
        let mut told: Vec<Input> = sensors.filter_map(|one| one.sample(round, now)).collect();
        if let Some(probe) = self.probe.get() {
            probe.sample(round, patience);
        }
        round.number += 1;
        self.unique.refuse_twins(round);
        let limits: BTreeSet<String> = round.limits.drain(..).collect();
        if limits != self.limits {
            let all: Vec<&str> = limits.iter().map(String::as_str).collect();
            told.push(finding(LIMITS, (!all.is_empty()).then(|| all.join("; "))));
            self.limits = limits;
        }
        told
    }
}

/// Refuses series that stand twice in a round: which of the two a rule would see is nobody's choice.
#[derive(Debug, Default)]
struct Unique {
    /// The series of the last round in their order, and which places of it are refused.
    order: Vec<Series>,
    twins: Vec<usize>,
}

impl Unique {
    fn refuse_twins(&mut self, round: &mut Round) {
        let series = || round.readings.iter().map(|reading| &reading.series);
        if !self.order.iter().eq(series()) {
            // Sensors report in the same order each round, so this is rare.
            let mut seen = HashSet::with_capacity(round.readings.len());
            let places = series().enumerate().filter(|(_, series)| !seen.insert(*series));
            self.twins = places.map(|(place, _)| place).collect();
            self.order = series().cloned().collect();
        }
        for place in self.twins.iter().rev() {
            let twin = round.readings.remove(*place);
            round.limit(format!(
                "{} is reported by two things: only the first is looked at",
                twin.series
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::{DeviceId, Quantity};

    use super::*;

    struct Played(fn(&mut Round));

    impl Sensor for Played {
        fn sample(&mut self, round: &mut Round) {
            (self.0)(round);
        }
    }

    fn rounds(sensors: &[fn(&mut Round)]) -> Rounds {
        let boxed = sensors.iter().map(|play| Box::new(Played(*play)) as Box<dyn Sensor>);
        Rounds::new(boxed.collect(), LateProbe::default())
    }

    fn told(inputs: Vec<Input>) -> Vec<String> {
        let text = inputs.into_iter().map(|input| match input {
            Input::Finding { part, why } => format!("{part}: {}", why.unwrap_or("over".to_owned())),
            other => format!("{other:?}"),
        });
        text.collect()
    }

    fn load(round: &mut Round, value: i64) {
        round.note(&DeviceId::node(), Quantity::Load1, Some(value));
    }

    #[test]
    fn a_sensor_that_panics_is_left_out_and_said_to_fail_while_the_others_go_on() {
        let bad = |round: &mut Round| {
            load(round, 1);
            if round.elapsed_ms.is_none() {
                panic!("odd number");
            }
        };
        let good = |round: &mut Round| round.note(&DeviceId::gpu(0), Quantity::GpuTemperature, Some(95_000));
        let mut rounds = rounds(&[bad, good]);
        let (mut round, start) = (Round::default(), Instant::now());
        let first = told(rounds.take(&mut round, Duration::ZERO, start));
        assert_eq!(
            first,
            ["sensor:Played: sensor:Played fails and its values are missing: odd number"]
        );
        let series: Vec<String> = round.readings.drain(..).map(|one| one.series.to_string()).collect();
        assert_eq!(series, ["gpu0/gpu.temperature"]);
        round.elapsed_ms = Some(1_000);
        assert_eq!(
            told(rounds.take(&mut round, Duration::ZERO, start)),
            [""; 0],
            "not asked yet"
        );
        round.readings.clear();
        let later = start + LEFT_OUT.0;
        assert_eq!(
            told(rounds.take(&mut round, Duration::ZERO, later)),
            ["sensor:Played: over"]
        );
        assert_eq!(round.readings.len(), 2);
    }

    #[test]
    fn of_two_things_with_one_name_the_first_is_looked_at_and_it_is_said() {
        let mut rounds = rounds(&[|round| load(round, 1), |round| load(round, 2)]);
        let mut round = Round::default();
        for expected in [
            &["limits: node/load.1m is reported by two things: only the first is looked at"][..],
            &[],
        ] {
            assert_eq!(told(rounds.take(&mut round, Duration::ZERO, Instant::now())), expected);
            let values: Vec<_> = round.readings.drain(..).map(|one| one.value).collect();
            assert_eq!(values, [Some(1)]);
        }
    }

    #[test]
    fn a_sampler_that_is_late_is_a_finding_until_it_goes_on() {
        let mut pulse = Pulse::new(Duration::from_secs(1));
        let at = |seconds| pulse.began + Duration::from_secs(seconds);
        let (soon, late) = (at(4), at(12));
        assert!(pulse.look(soon).is_none());
        let said = told(pulse.look(late).into_iter().collect());
        assert_eq!(
            said,
            ["sampler: no readings for 12 s: what is shown is old, and no rule sees more"]
        );
        assert!(pulse.look(late).is_none(), "told once");
        pulse.last.store(11_000, Ordering::Relaxed);
        assert_eq!(told(pulse.look(late).into_iter().collect()), ["sampler: over"]);
    }

    #[test]
    fn rounds_come_one_by_one_with_hundreds_of_series() {
        let (sender, mut inputs) = mpsc::channel(4);
        let every = Duration::from_millis(20);
        let (watch, _died) = Watch::new();
        let sampler =
            Sampler::start(every, LateProbe::default(), WatchList::default(), sender, &watch).expect("a thread");
        let mut rounds = 0;
        while rounds < 3 {
            match inputs.blocking_recv() {
                Some(Input::Readings(readings)) => {
                    assert!(readings.len() > 100, "{}", readings.len());
                    rounds += 1;
                }
                Some(Input::Finding { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        sampler.stop();
        while inputs.blocking_recv().is_some() {}
    }
}
