//! Energy and money against the obvious sum; what survives a restart and a change of the bundle.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;
use wire::{BundleRef, DeviceId, Mono, Quantity, Reading, Series, codec};

use super::Price;
use super::course::Course;
use crate::bundle::Bundle;
use crate::engine::Judge;
use crate::indicator::MAX_PERIOD_MS;
use crate::ledger::Ledger;

/// A joule costs a millionth.
const POWER: &str = "{ id: power, quantity: gpu.power, price_micros_per_kwh: 3600000 }";
const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;

fn bundle(meters: &str) -> Arc<Bundle> {
    let text = format!("bundle: t\nmeters:\n  - {meters}\n");
    Arc::new(Bundle::parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{text}\n{problems:#?}")))
}

fn judge(meters: &str) -> Judge {
    Judge::new(bundle(meters), BundleRef::NONE)
}

fn milliwatts(gpu: u16, value: i64) -> Reading {
    Reading {
        series: Series::new(DeviceId::gpu(gpu.into()), Quantity::GpuPower),
        value: Some(value),
    }
}

fn observe(judge: &mut Judge, readings: &[Reading], at: u64) {
    judge.observe(readings, Mono(at), &mut Vec::new());
}

/// What was spent in a window, and the run rate, as people would write it: `5 3600`, or `-` where it is not known.
fn spent(judge: &Judge, now: u64, window: u64) -> String {
    let found = judge
        .metered
        .spent(&judge.bundle().meters, "power", Mono(now), window)
        .unwrap();
    let show = |value: Option<i64>| value.map_or("-".to_owned(), |value| value.to_string());
    format!("{} {}", show(found.0), show(found.1))
}

fn restarted(judge: &Judge) -> Judge {
    let bytes = codec::encode(&judge.ledger());
    let mut next = Judge::new(judge.bundle().clone(), BundleRef::NONE);
    next.restore(codec::decode(&bytes).unwrap());
    next
}

#[test]
fn what_is_wrong_with_a_meter_is_told_with_its_place() {
    let check = |meters: &str, expected: &str| {
        let text = format!("bundle: t\nmeters:\n{meters}");
        let problems = Bundle::parse(text.as_bytes()).unwrap_err();
        let shown = problems
            .iter()
            .map(|p| format!("{}:{} {}: {}", p.line, p.column, p.field, p.message));
        let shown: Vec<_> = shown.collect();
        assert!(
            shown.iter().any(|line| line.contains(expected)),
            "{expected}\n{shown:#?}"
        );
    };
    let with = |change: &str| format!("  - {{ id: a, quantity: gpu.power{change} }}\n");
    let priced = ", price_micros_per_kwh: 300000";
    check(
        &with(""),
        "3:5 meters[0].price_micros_per_kwh: `price_micros_per_kwh` is missing",
    );
    check(
        &with(", price_micros_per_kwh: 0"),
        "meters[0].price_micros_per_kwh: 0 is outside 1..=1000000000000",
    );
    check(
        &with(", price_micro_per_kwh: 3"),
        "did you mean `price_micros_per_kwh`?",
    );
    check(
        &with(&format!("{priced}, stale_after: 2 h")),
        "meters[0].stale_after: 2 h is outside 1 s..=1 h",
    );
    check(
        "  - { id: a, quantity: gpu.temperature, price_micros_per_kwh: 1 }\n",
        "3:24 meters[0].quantity: `gpu.temperature` is no power; a meter takes gpu.power or gpu.power_cap",
    );
    check(
        "  - { id: a, quantity: gpu.pwer, price_micros_per_kwh: 1 }\n",
        "did you mean `gpu.power`?",
    );
    check(
        &with(&format!("{priced}, device: '1'")),
        "`1` is neither a device nor a class",
    );
    check("  - { id: a b }\n", "3:11 meters[0].id: `a b` is not a meter name");
    check(
        &with(priced).repeat(2),
        "4:5 meters[1].id: the meter in line 3 is called `a` too",
    );
    let five: String = (0..5)
        .map(|n| format!("  - {{ id: m{n}, quantity: gpu.power{priced} }}\n"))
        .collect();
    check(&five, "meters: 5 meters; a bundle has at most 4");
    let rule = |scope: &str, window: &str| {
        format!(
            "{}rules:\n  - {{ id: r, kind: cost_ceiling, scope: {scope}, ceiling_micros: 1, window: {window} }}\n",
            with(priced)
        )
    };
    check(
        &rule("a", "32 d"),
        "5:5 rules[0].window: meter `a` looks back over 31 d at most",
    );
    for (scope, window) in [("a", "31 d"), ("a", "month"), ("tenant", "90 d")] {
        let text = format!("bundle: t\nmeters:\n{}", rule(scope, window));
        assert!(Bundle::parse(text.as_bytes()).is_ok(), "{text}");
    }
}

#[test]
fn yaml_and_toml_say_the_same_and_people_can_read_it() {
    let text = format!(
        "bundle: t\nmeters: {POWER}\nrules: {{ id: r, kind: cost_ceiling, scope: power, currency: EUR, ceiling_micros: 200000000, window: month }}\n"
    );
    let twin = "bundle = \"t\"\n[[meters]]\nid = \"power\"\nquantity = \"gpu.power\"\nprice_micros_per_kwh = 3600000\n[[rules]]\nid = \"r\"\nkind = \"cost_ceiling\"\nscope = \"power\"\ncurrency = \"EUR\"\nceiling_micros = 200000000\nwindow = \"month\"\n";
    let (yaml, toml) = (
        Bundle::parse(text.as_bytes()).unwrap(),
        Bundle::parse(twin.as_bytes()).unwrap(),
    );
    assert!(yaml == toml);
    assert_eq!(yaml.meters[0].text(), "power: gpu.power of gpu at 3.60 per kWh");
    assert_eq!(
        yaml.rules()[0].text,
        "every action: power spends at most 200.00 EUR in a month (gpu.power of gpu at 3.60 per kWh)"
    );
    let view = Bundle::check(text.as_bytes());
    assert_eq!(view.meters, ["power: gpu.power of gpu at 3.60 per kWh"]);
}

#[test]
fn money_is_rounded_up_and_a_saving_stays_one() {
    for (price, energy, expected) in [
        (300_000, 3_600_000_000_000, 300_000),
        (300_000, 3_600_000_000_001, 300_001),
        (1, 1, 1),
        (1, 0, 0),
        (u64::MAX, u128::MAX, i64::MAX),
    ] {
        assert_eq!(Price(price).of_energy(energy), expected, "{price} {energy}");
    }
    for (price, power, expected) in [
        (300_000, 1_000_000, 300_000),
        (300_000, 1, 1),
        (300_000, -1, -1),
        (300_000, 0, 0),
        (u64::MAX, i64::MIN, -i64::MAX),
    ] {
        assert_eq!(Price(price).of_power(power), expected, "{price} {power}");
    }
    for (price, expected) in [(300_000, "0.30"), (1, "0.000001"), (12_345_000, "12.345")] {
        assert_eq!(Price(price).text("EUR"), format!("{expected} EUR per kWh"));
    }
}

#[test]
fn power_becomes_energy_until_it_is_said_no_more() {
    let mut judge = judge(POWER);
    assert_eq!(spent(&judge, 0, DAY), "- -", "nothing was said");
    observe(
        &mut judge,
        &[
            milliwatts(0, 100_000),
            Reading {
                value: None,
                ..milliwatts(1, 0)
            },
        ],
        0,
    );
    assert_eq!(spent(&judge, 0, DAY), "0 360000", "as things stand");
    assert_eq!(spent(&judge, 10_000, DAY), "1000 360000", "ahead of the next round");
    observe(&mut judge, &[milliwatts(0, 100_000), milliwatts(1, 50_000)], 10_000);
    assert_eq!(spent(&judge, 10_000, DAY), "1000 540000", "series are summed");
    observe(&mut judge, &[milliwatts(1, -7)], 20_000);
    assert_eq!(spent(&judge, 20_000, DAY), "2500 360000", "power below 0 is none");
    assert_eq!(spent(&judge, 39_999, DAY), "4500 360000");
    assert_eq!(
        spent(&judge, 45_000, DAY),
        "4500 0",
        "gpu0 spoke until 40 s, gpu1 says nothing is used"
    );
    assert_eq!(spent(&judge, 50_000, DAY), "- -", "30 s after the last reading");
    observe(&mut judge, &[milliwatts(0, 100_000)], HOUR);
    assert_eq!(spent(&judge, HOUR, DAY), "4500 360000", "a gap costs nothing");
    // The hour in which a window begins counts in full, and one before it does not.
    assert_eq!(spent(&judge, HOUR, 1), "4500 360000");
    observe(&mut judge, &[milliwatts(0, 1)], 2 * HOUR - 1);
    observe(&mut judge, &[milliwatts(0, 1)], 2 * HOUR);
    assert_eq!(spent(&judge, 2 * HOUR, HOUR), "3001 4");
}

#[test]
fn a_restart_is_as_if_there_was_none() {
    let mut judge = judge(POWER);
    observe(&mut judge, &[milliwatts(0, 100_000), milliwatts(1, 33_333)], HOUR);
    observe(&mut judge, &[milliwatts(0, 100_000)], HOUR + 7_001);
    let next = restarted(&judge);
    for ahead in [0, 10_000, 29_999, 30_000] {
        let now = HOUR + 7_001 + ahead;
        assert_eq!(spent(&next, now, DAY), spent(&judge, now, DAY));
    }
    // A ledger from ahead of the clock is none.
    let mut early = restarted(&judge);
    observe(&mut early, &[], 10);
    assert_eq!(spent(&early, 10, DAY), "- -");
    assert_eq!(early.ledger(), Ledger::default());
}

#[test]
fn another_price_is_counted_for_the_past_and_another_meter_begins_anew() {
    let check = |meters: &str, expected: &str| {
        let mut judge = judge(POWER);
        observe(&mut judge, &[milliwatts(0, 100_000)], 0);
        observe(&mut judge, &[milliwatts(0, 100_000)], 10_000);
        judge.replace_bundle(bundle(meters), BundleRef::NONE);
        assert_eq!(spent(&judge, 10_000, DAY), expected, "{meters}");
        assert_eq!(spent(&restarted(&judge), 10_000, DAY), expected, "{meters}");
    };
    check(POWER, "1000 360000");
    check(
        &format!("{}\n  - {POWER}", POWER.replace("id: power", "id: twin")),
        "1000 360000",
    );
    check(&POWER.replace("3600000", "7200000"), "2000 720000");
    check(&POWER.replace("gpu.power", "gpu.power_cap"), "- -");
    check(&POWER.replace("quantity", "device: gpu0, quantity"), "- -");
    check(&POWER.replace("quantity", "stale_after: 20 s, quantity"), "- -");
}

#[test]
fn two_bundles_differ_by_their_meters() {
    let (one, other) = (bundle(POWER), bundle(&POWER.replace("3600000", "3600001")));
    assert!(crate::diff(&one, &one).is_empty());
    let found = crate::diff(&one, &other);
    let is_it = |difference: &crate::Difference| matches!(difference, crate::Difference::Setting { name: "meters", after, .. } if after.contains("at 3.600001 per kWh"));
    assert!(found.len() == 1 && is_it(&found[0]), "{found:?}");
}

#[test]
fn a_ledger_that_no_program_wrote_is_not_taken() {
    let mut judge = judge(POWER);
    observe(&mut judge, &[milliwatts(0, 1), milliwatts(1, 1)], HOUR);
    let ledger = judge.ledger();
    assert_eq!(ledger.clone().sound(), ledger);
    let torn = |change: fn(&mut Course)| {
        let mut bad = ledger.clone();
        change(&mut bad.meters[0].2);
        assert!(bad.sound().meters.is_empty());
    };
    torn(|course| course.take(&DeviceId::gpu(0), 1, DAY));
    torn(|course| {
        let mut late = Course::default();
        late.pass(Mono(9 * HOUR));
        // The hours of one and the time of another.
        let (bytes, other) = (codec::encode(course), codec::encode(&late));
        let mixed = [&other[..2], &bytes[2..]].concat();
        *course = codec::decode(&mixed).unwrap();
    });
}

#[test]
fn a_full_month_is_written_in_little_room() {
    let mut course = Course::default();
    for minute in 0..40 * 24 * 60u64 {
        course.pass(Mono(minute * 60 * SECOND));
        for gpu in 0..8 {
            course.take(
                &DeviceId::gpu(gpu),
                400_000 + i64::try_from(minute % 977).unwrap(),
                HOUR,
            );
        }
    }
    let bytes = codec::encode(&course);
    assert!(bytes.len() < 6_000, "{} bytes", bytes.len());
    assert_eq!(codec::decode::<Course>(&bytes).unwrap(), course);
}

#[test]
fn where_there_are_no_readings_numbers_come_from_the_input() {
    let text = format!(
        "bundle: t\nmeters: {POWER}\nrules: {{ id: r, kind: cost_ceiling, scope: power, ceiling_micros: 1000000, soft_bp: 10000, window: 1 h }}\n"
    );
    let mut decider = crate::Decider::new(Arc::new(Bundle::parse(text.as_bytes()).unwrap()));
    let mut check = |facts: &str, action: &str, expected: &str| {
        let line = format!(r#"{{"at":"2026-12-02T12:00:00Z","facts":{facts},"action":{{{action}}}}}"#);
        let answer: serde_json::Value = serde_json::from_str(&decider.decide_line(&line).unwrap()).unwrap();
        assert_eq!(answer["verdict"], expected, "{line}");
    };
    let release = |rest: &str| format!(r#""kind":"release_power_cap","targets":["gpu0"]{rest}"#);
    check("{}", &release(r#","resources":{"power_mw":100000}"#), "hold");
    let facts = r#"{"power.cost_spent_micros":5000,"power.cost_rate_micros_per_h":600000}"#;
    check(facts, &release(r#","resources":{"power_mw":100000}"#), "allow");
    check("{}", &release(r#","resources":{"power_mw":200000}"#), "deny");
    check("{}", &release(r#","resources":{"power_mw":null}"#), "hold");
    // What nobody stated is not nothing, unless it is of a kind that leaves power alone.
    check("{}", &release(""), "hold");
    check("{}", &release(r#","cost_delta_micros_per_h":500000"#), "deny");
    check("{}", r#""kind":"restart","targets":["gpu0"]"#, "allow");
    check("{}", r#""kind":"restart","targets":["workload:a"]"#, "hold");
    check("{}", r#""kind":"scale","targets":["gpu0"]"#, "hold");
}

/// The slow way: every reading is kept, and every question adds up what each of them spoke for.
#[derive(Debug, Default)]
struct Reference(Vec<(u64, u16, i64)>);

impl Reference {
    const STALE: u64 = 30_000;

    /// From when until when each reading spoke, as of now.
    fn spans(&self, now: u64) -> impl Iterator<Item = (u64, u64, i64)> + '_ {
        self.0.iter().enumerate().map(move |(index, (at, gpu, value))| {
            let next = self.0[index + 1..].iter().find(|(_, other, _)| other == gpu);
            let end = next.map_or(now, |(later, ..)| *later).min(at + Self::STALE).min(now);
            (*at, end, (*value).max(0))
        })
    }

    /// In millionths of a joule, from a time on.
    fn energy(&self, from: u64, now: u64) -> u128 {
        let each = self.spans(now).map(|(at, end, value)| {
            let lasted = end.saturating_sub(at.max(from));
            u128::from(value.unsigned_abs()) * u128::from(lasted)
        });
        each.sum()
    }

    fn power(&self, now: u64) -> Option<i64> {
        let latest = |gpu: u16| {
            let last = self.0.iter().rev().find(|(_, other, _)| *other == gpu)?;
            (now < last.0 + Self::STALE).then_some(last.2.max(0))
        };
        [latest(0), latest(1)].into_iter().flatten().reduce(|a, b| a + b)
    }
}

/// One round: how long after the one before, what two devices say, and whether the agent starts anew.
type Round = (u64, [Option<i64>; 2], bool);

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let after = prop_oneof![
        12 => 1u64..5_000,
        3 => 20_000u64..70_000,
        1 => 100_000u64..20_000_000,
        1 => DAY..12 * DAY,
    ];
    let says = || prop::option::of(-1_000i64..1_000_000);
    let round = (after, says(), says(), prop::bool::weighted(0.05));
    prop::collection::vec(
        round.prop_map(|(after, a, b, restart)| (after, [a, b], restart)),
        1..150,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn energy_is_that_of_the_slow_way_over_gaps_and_restarts(rounds in rounds(), start in 0u64..100 * DAY, price in 1u64..10_000_000) {
        let mut judge = judge(&POWER.replace("3600000", &price.to_string()));
        let mut reference = Reference::default();
        let mut now = start;
        for (after, says, restart) in rounds {
            if restart {
                judge = restarted(&judge);
            }
            now += after;
            let mut readings = Vec::new();
            for (gpu, value) in (0u16..).zip(says) {
                if let Some(value) = value {
                    readings.push(milliwatts(gpu, value));
                    reference.0.push((now, gpu, value));
                }
            }
            observe(&mut judge, &readings, now);
            for (window, ahead) in [(DAY, 0), (2 * HOUR, 1_500), (MAX_PERIOD_MS, 29_000), (1, 30_001)] {
                let at = now + ahead;
                let found = judge.metered.spent(&judge.bundle().meters, "power", Mono(at), window).unwrap();
                let Some(power) = reference.power(at) else {
                    prop_assert_eq!(found, (None, None));
                    continue;
                };
                // All of the window, the whole hour in which it begins, and less than a thousandth of a joule from before it.
                let least = reference.energy((at.saturating_sub(window)) / HOUR * HOUR, at);
                let spent = found.0.unwrap();
                prop_assert!(spent >= Price(price).of_energy(least), "{spent} {least}");
                prop_assert!(spent <= Price(price).of_energy(least + 999), "{spent} {least}");
                prop_assert!(least >= reference.energy(at.saturating_sub(window), at));
                prop_assert_eq!(found.1, Some(Price(price).of_power(power)));
            }
        }
    }

    #[test]
    fn no_numbers_however_large_overflow(times in prop::collection::vec((any::<u64>(), any::<i64>()), 1..20)) {
        let mut judge = judge(&POWER.replace("3600000", "1000000000000"));
        for (at, value) in times {
            observe(&mut judge, &[milliwatts(0, value), milliwatts(1, i64::MAX)], at);
            let spent = judge.metered.spent(&judge.bundle().meters, "power", Mono(u64::MAX), u64::MAX).unwrap();
            prop_assert!(spent.0.is_none_or(|spent| spent >= 0));
            judge = restarted(&judge);
        }
    }
}
