//! A round in which nothing is wanted allocates nothing, and costs about a microsecond.
#![allow(unsafe_code, clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use policy::{Bundle, Judge};
use wire::{BundleRef, DeviceId, Mono, Quantity, Reading, Series};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_quiet_round_allocates_nothing() {
    quiet_rounds_allocate_nothing(policy::DEMO_BUNDLE);
}

#[test]
fn a_quiet_round_allocates_nothing_while_indicators_are_observed() {
    let indicators = "
  - { id: cool, quantity: gpu.temperature, good: { below: 85 °C }, target: 99.9 % }
  - { id: hot, quantity: gpu.temperature, good: { above: 85 °C }, target: 90 % }
  - { id: idle, quantity: cpu.used, good: { below: 90 % }, target: 99 %, period: 7 d }
  - { id: unheard, quantity: gpu.memory_used, good: { below: 1 GiB }, target: 99 % }
rules:
  - { id: burn, kind: slo_burn, sli: cool }
  - { id: promise, kind: sla, service: hot, target: 99 %, lasts: 30 s }
";
    let bundle = policy::DEMO_BUNDLE.replacen("\nrules:\n", indicators, 1);
    assert!(bundle.contains(indicators));
    quiet_rounds_allocate_nothing(&bundle);
}

#[test]
fn a_quiet_round_allocates_nothing_while_energy_is_metered() {
    let meters = "
meters:
  - { id: energy, quantity: gpu.power, price_micros_per_kwh: 300000 }
  - { id: allotted, quantity: gpu.power_cap, device: gpu1, price_micros_per_kwh: 100000, stale_after: 1 s }
";
    let rules = "
rules:
  - { id: hour, kind: cost_ceiling, scope: energy, ceiling_micros: 200000000, window: 1 h }
  - { id: node-power, kind: quota, scope: node, nominal: { power_mw: 700000 } }
";
    let bundle = policy::DEMO_BUNDLE.replacen("\nmeters:\n", meters, 1);
    let bundle = bundle.replacen("\nrules:\n", rules, 1);
    assert!(bundle.contains(meters) && bundle.contains(rules));
    quiet_rounds_allocate_nothing(&bundle);
}

fn quiet_rounds_allocate_nothing(bundle: &str) {
    let bundle = Arc::new(Bundle::parse(bundle.as_bytes()).unwrap_or_else(|problems| panic!("{problems:#?}")));
    let mut judge = Judge::new(bundle, BundleRef::NONE);
    let mut readings = Vec::new();
    for gpu in 0..2 {
        for (quantity, value) in [
            (Quantity::GpuTemperature, 60_000),
            (Quantity::GpuPower, 120_000),
            (Quantity::GpuPowerCap, 350_000),
        ] {
            readings.push(Reading {
                series: Series::new(DeviceId::gpu(gpu), quantity),
                value: Some(value),
            });
        }
    }
    for (quantity, value) in [(Quantity::MemoryUsedShare, 4_000), (Quantity::CpuUsed, 500)] {
        readings.push(Reading {
            series: Series::new(DeviceId::node(), quantity),
            value: Some(value),
        });
    }
    let workload = DeviceId::workload("train").unwrap();
    readings.push(Reading {
        series: Series::new(workload, Quantity::WorkloadMemory),
        value: Some(50 << 20),
    });
    let mut wants = Vec::new();
    let mut now = 0;
    for _ in 0..20 {
        judge.observe(&readings, Mono(now), &mut wants);
        now += 1_000;
    }
    let before = ALLOCATIONS.with(Cell::get);
    const ROUNDS: u64 = 100_000;
    for _ in 0..ROUNDS {
        judge.observe(&readings, Mono(now), &mut wants);
        now += 1_000;
    }
    let allocated = ALLOCATIONS.with(Cell::get) - before;
    assert!(wants.is_empty());
    assert_eq!(allocated, 0, "in {ROUNDS} rounds");
}

#[test]
fn asking_allocates_nothing() {
    let text = "bundle: q\nrules:\n  - { id: a, kind: rate_limit, limit: 2, window: 1 h }\n  - { id: b, kind: cooldown, after_success: 1 s }\n  - { id: c, kind: blast_radius, domain: rack, max_concurrent: { n: 3 } }\n  - { id: d, kind: change_freeze, tz: Europe/Berlin, rrule: FREQ=WEEKLY;BYDAY=SA }\n  - { id: e, kind: cel, require: '[1, 2].exists(x, x == 2) && [1, 2].map(x, x * 2).filter(y, y > 2).size() == 1 && (action.kind.startsWith(\"dr\") && action.kind.matches(\"^d.*n$\") || now.getHours(\"Asia/Tokyo\") == 3) && facts[\"rack.members\"] + 1 < 50' }\n";
    let mut decider = policy::Decider::new(Arc::new(Bundle::parse(text.as_bytes()).unwrap()));
    decider.set_fact("rack.members", Some(20));
    decider.set_fact("rack.unhealthy", Some(0));
    let question = policy::Question {
        kind: policy::KINDS.iter().position(|kind| kind.name == "drain").unwrap(),
        source: 1,
        target: "node-1",
        amount: None,
        now: wire::Now {
            mono: Mono(5_000),
            wall: wire::Wall(1_795_521_667_250),
        },
    };
    decider.run(&question);
    let later = policy::Question {
        now: wire::Now {
            mono: Mono(60_000),
            wall: wire::Wall(1_795_521_727_250),
        },
        ..question
    };
    let before = ALLOCATIONS.with(Cell::get);
    for _ in 0..1_000 {
        assert_eq!(decider.ask(&later).verdict, wire::Verdict::Allow);
    }
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0);
}

#[test]
fn a_fleet_is_asked_without_allocating_for_a_node() {
    let text = "bundle: f\nrules:\n  - { id: a, kind: blast_radius, domain: rack, max_concurrent: { n: 3 } }\n  - { id: b, kind: cel, require: 'facts.sick < 3' }\n";
    let decider = policy::Decider::new(Arc::new(Bundle::parse(text.as_bytes()).unwrap()));
    let mut fleet = policy::Fleet::new(&decider);
    let question = policy::Question {
        kind: policy::KINDS.iter().position(|kind| kind.name == "drain").unwrap(),
        source: 1,
        target: "",
        amount: None,
        now: wire::Now::default(),
    };
    let facts = vec![Some(1); fleet.names().len()];
    let before = ALLOCATIONS.with(Cell::get);
    let mut asked = 0;
    let node = policy::FleetNode {
        target: "node-1",
        facts: &facts,
    };
    fleet.ask(&[question], (0..1_000).map(|_| node), |_, _| asked += 1);
    assert_eq!((asked, ALLOCATIONS.with(Cell::get) - before), (1_000, 0));
}
