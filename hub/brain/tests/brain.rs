//! The brain on generated nodes: what it foresees, what it suggests, and what must never break.

use hub_brain::{Brain, Settings, Suggestion};
use proptest::collection::vec;
use proptest::prelude::*;
use wire::action::ActionKind;
use wire::ids::{AgentId, PlanId};
use wire::plan::Plan;
use wire::reading::{DeviceId, Quantity, Series};
use wire::time::Wall;

const START_MS: u64 = 1_700_000_000_000;

#[test]
fn a_gpu_under_growing_load_is_capped_before_its_limit_and_stays_below() {
    let mut gpu = Gpu::new(3.0);
    let mut brain = Brain::new(Settings::default());
    let capped = (0..600).find_map(|second| {
        gpu.run(&mut brain, second, 80.0 + 0.9 * f64::from(second));
        brain.suggest().pop().map(|suggestion| (second, suggestion))
    });
    let (second, suggestion) = capped.expect("the load passes what the board can carry");
    assert!(
        gpu.temperature < 89.0,
        "too late: {} °C after {second} s",
        gpu.temperature
    );
    let ActionKind::PowerCap { milliwatts } = suggestion.verb else {
        panic!("{:?}", suggestion.verb)
    };
    assert!((240_000..=295_000).contains(&milliwatts), "{milliwatts}");
    assert!(suggestion.confidence >= 0.8, "{}", suggestion.confidence);
    let effect = suggestion.effect.clone().expect("a cap below the power drawn has one");
    let now = Wall(at(second) as i64 + 500);
    let draft = hub_brain::plan::draft(&suggestion, now).expect("it is of use for minutes");
    let plan = Plan::new(PlanId([7; 16]), draft, now).expect("the brain keeps to the contract");
    assert_eq!((plan.key.as_str(), plan.steps.len()), (suggestion.id.as_str(), 1));
    assert_eq!(
        hub_brain::plan::draft(&suggestion, Wall(suggestion.not_after_ms as i64)),
        None
    );
    let before = gpu.metric(&effect.metric);
    gpu.cap = f64::from(milliwatts) / 1_000.0;
    for later in second + 1..second + 300 {
        gpu.run(&mut brain, later, 80.0 + 0.9 * f64::from(later));
        assert!(
            gpu.temperature < 90.0,
            "{} °C under {} W: {suggestion:?}",
            gpu.temperature,
            gpu.cap
        );
        if u64::from(later - second) == effect.within_ms / 1_000 {
            let moved = gpu.metric(&effect.metric) - before;
            assert!(moved * 2 <= effect.delta, "moved by {moved}, expected {}", effect.delta);
        }
    }
}

#[test]
fn a_slow_board_is_foreseen_minutes_ahead() {
    let mut gpu = Gpu::new(40.0);
    let mut brain = Brain::new(Settings::default());
    let foreseen = (0..1_200).find_map(|second| {
        gpu.run(&mut brain, second, 100.0 + 0.25 * f64::from(second));
        brain
            .time_to_limit(&node(), &DeviceId::gpu(0))
            .map(|foreseen| (second, foreseen))
    });
    let (second, foreseen) = foreseen.expect("the load passes what the board can carry");
    assert!(foreseen.in_ms >= 90_000, "{foreseen:?}");
    let reached = (second + 1..1_800).find(|later| {
        gpu.run(&mut brain, *later, 100.0 + 0.25 * f64::from(*later));
        gpu.temperature >= 90.0
    });
    let really_ms = u64::from(reached.expect("nobody capped it") - second) * 1_000;
    assert!(
        foreseen.in_ms.abs_diff(really_ms) * 3 <= really_ms,
        "{} instead of {really_ms}",
        foreseen.in_ms
    );
}

#[test]
fn a_gpu_that_stays_below_its_limit_is_left_alone() {
    let mut gpu = Gpu::new(3.0);
    let mut brain = Brain::new(Settings::default());
    for second in 0..3_600 {
        let wave = (f64::from(second) / 41.0).sin();
        gpu.run(&mut brain, second, 200.0 + 60.0 * wave);
        assert_eq!(brain.suggest(), [], "after {second} s");
    }
}

#[test]
fn a_device_is_not_suggested_again_before_the_last_suggestion_has_run_out() {
    let mut gpu = Gpu::new(3.0);
    let mut brain = Brain::new(Settings::default());
    let mut all: Vec<Suggestion> = Vec::new();
    for second in 0..500 {
        gpu.run(&mut brain, second, 80.0 + 0.9 * f64::from(second));
        all.extend(brain.suggest());
    }
    assert!(all.len() >= 2, "nobody acted, so it is said again");
    for pair in all.windows(2) {
        assert!(pair[1].foreseen.at_ms >= pair[0].not_after_ms && pair[0].id != pair[1].id);
    }
}

#[test]
fn a_file_system_that_fills_up_is_told_hours_before() {
    let mut brain = Brain::new(Settings::default());
    let series = Series::new(DeviceId::new("fs:/var").expect("a device"), Quantity::FsUsedShare);
    let told = (0..1_400u64).find_map(|minute| {
        let used = 6_000 + 5 * minute as i64 / 2 + i64::from(minute.is_multiple_of(3));
        brain.observe(&node(), &series, START_MS + minute * 60_000, used);
        brain.suggest().pop().map(|suggestion| (minute, suggestion))
    });
    let (minute, suggestion) = told.expect("it is full after 1,400 minutes");
    let left = 1_400 - minute;
    assert!(
        left >= 120 && suggestion.foreseen.in_ms.abs_diff(left * 60_000) <= 20 * 60_000,
        "{suggestion:?} at {minute}"
    );
    assert!(matches!(suggestion.verb, ActionKind::Notify { .. }));
}

#[test]
fn series_told_one_after_the_other_in_frames_give_the_same() {
    let (mut one, mut other) = (Brain::new(Settings::default()), Brain::new(Settings::default()));
    let mut gpu = Gpu::new(3.0);
    let mut frame: Vec<(Series, u64, i64)> = Vec::new();
    for second in 0..240u32 {
        gpu.step(80.0 + 0.9 * f64::from(second));
        for (series, value) in gpu.readings(second) {
            one.observe(&node(), &series, at(second), value);
            frame.push((series, at(second), value));
        }
        if second % 10 == 9 {
            frame.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
            for (series, at, value) in frame.drain(..) {
                other.observe(&node(), &series, at, value);
            }
        }
    }
    assert!(one.suggest().len() == 1 && one.suggest().is_empty());
    let gpu0 = DeviceId::gpu(0);
    let of = |brain: &Brain| {
        brain
            .watched(&node(), &gpu0)
            .and_then(|watch| watch.band())
            .expect("it was seen")
    };
    assert_eq!(of(&one), of(&other));
}

#[test]
fn a_stored_brain_goes_on_where_it_stopped_and_a_node_that_left_is_forgotten() {
    let mut gpu = Gpu::new(3.0);
    let mut brain = Brain::new(Settings::default());
    for second in 0..200 {
        gpu.run(&mut brain, second, 80.0 + 0.9 * f64::from(second));
    }
    let bytes = postcard::to_allocvec(&brain).expect("plain data");
    let mut read: Brain = postcard::from_bytes(&bytes).expect("the bytes just written");
    assert!(read == brain);
    read.forget(&node());
    assert!(read == Brain::new(Settings::default()));
}

#[test]
fn devices_beyond_the_bound_are_counted_and_ignored() {
    let settings = Settings {
        most_devices: 2,
        most_series: 1,
        ..Settings::default()
    };
    let mut brain = Brain::new(settings);
    for index in 0..4 {
        brain.observe(
            &node(),
            &Series::new(DeviceId::gpu(index), Quantity::GpuTemperature),
            START_MS,
            50_000,
        );
    }
    assert_eq!(brain.ignored(), 2 + 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_told_suggestions_are_sane(
        readings in vec((0..5_000u64, 0..4usize, prop_oneof![0..400_000i64, any::<i64>()]), 0..600),
    ) {
        const QUANTITIES: [Quantity; 4] =
            [Quantity::GpuTemperature, Quantity::GpuPower, Quantity::GpuPowerCap, Quantity::FsUsedShare];
        let mut brain = Brain::new(Settings::default());
        let mut at = START_MS;
        for (pause, which, value) in readings {
            at += pause;
            let device = if which == 3 { DeviceId::new("fs:/").expect("a device") } else { DeviceId::gpu(0) };
            brain.observe(&node(), &Series::new(device, QUANTITIES[which]), at, value);
            for suggestion in brain.suggest() {
                prop_assert!((0.0..=1.0).contains(&suggestion.confidence));
                prop_assert!((0.8..=1.0).contains(&suggestion.foreseen.chance));
                prop_assert!(suggestion.not_after_ms > suggestion.foreseen.at_ms);
                prop_assert!(suggestion.id.len() <= 128);
                if let Some(effect) = &suggestion.effect {
                    prop_assert!(effect.delta < 0 && effect.within_ms > 0);
                }
            }
            if let Some(band) = brain.watched(&node(), &DeviceId::gpu(0)).and_then(|watch| watch.band()) {
                for point in band.points {
                    prop_assert!(point.low <= point.middle && point.middle <= point.high, "{point:?}");
                }
            }
        }
    }
}

/// A board as a first-order circuit, as the demo's are.
struct Gpu {
    time_constant_s: f64,
    temperature: f64,
    power: f64,
    cap: f64,
}

impl Gpu {
    fn new(time_constant_s: f64) -> Self {
        Self {
            time_constant_s,
            temperature: 45.0,
            power: 80.0,
            cap: 350.0,
        }
    }

    fn step(&mut self, wanted: f64) {
        self.power = wanted.min(self.cap);
        let rest = 28.4 + self.power * 0.207;
        self.temperature += (rest - self.temperature) * (1.0 - (-1.0 / self.time_constant_s).exp());
    }

    fn run(&mut self, brain: &mut Brain, second: u32, wanted: f64) {
        self.step(wanted);
        for (series, value) in self.readings(second) {
            brain.observe(&node(), &series, at(second), value);
        }
    }

    fn readings(&self, second: u32) -> [(Series, i64); 3] {
        let noise = |salt: u32| i64::from(second.wrapping_mul(2_654_435_761).rotate_left(salt) % 241) - 120;
        let series = |quantity| Series::new(DeviceId::gpu(0), quantity);
        [
            (
                series(Quantity::GpuTemperature),
                (self.temperature * 1_000.0) as i64 + noise(3),
            ),
            (
                series(Quantity::GpuPower),
                ((self.power * 1_000.0) as i64 + 6 * noise(9)).min((self.cap * 1_000.0) as i64),
            ),
            (series(Quantity::GpuPowerCap), (self.cap * 1_000.0) as i64),
        ]
    }

    fn metric(&self, series: &Series) -> i64 {
        let value = if series.quantity == Quantity::GpuPower {
            self.power
        } else {
            self.temperature
        };
        (value * 1_000.0) as i64
    }
}

fn node() -> AgentId {
    AgentId::new("edge-01").expect("a name")
}

fn at(second: u32) -> u64 {
    START_MS + u64::from(second) * 1_000
}
