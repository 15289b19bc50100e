//! Windows, budgets and outages against the obvious way to count them; what survives a restart and a change of the bundle.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;
use wire::{BundleRef, DeviceId, Mono, Quantity, Reading, Series, codec};

use super::course::Course;
use super::{MAX_PERIOD_MS, NUMBERS};
use crate::bundle::Bundle;
use crate::engine::Judge;
use crate::kind::objective::burn_milli;
use crate::ledger::Ledger;

const COOL: &str = "{ id: cool, quantity: gpu.temperature, good: { below: 85 °C }, target: 99.9 % }";
const MINUTE: u64 = 60_000;
const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

fn bundle(indicators: &str) -> Arc<Bundle> {
    let text = format!("bundle: t\nindicators:\n  - {indicators}\n");
    Arc::new(Bundle::parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{text}\n{problems:#?}")))
}

fn judge(indicators: &str) -> Judge {
    Judge::new(bundle(indicators), BundleRef::NONE)
}

fn celsius(gpu: u16, celsius: Option<i64>) -> Reading {
    Reading {
        series: Series::new(DeviceId::gpu(gpu.into()), Quantity::GpuTemperature),
        value: celsius.map(|celsius| celsius * 1_000),
    }
}

fn observe(judge: &mut Judge, readings: &[Reading], at: u64) {
    judge.observe(readings, Mono(at), &mut Vec::new());
}

/// Readings of gpu0 once a second, from a second on.
fn live(judge: &mut Judge, from: u64, seconds: u64, degrees: i64) {
    for second in from..from + seconds {
        observe(judge, &[celsius(0, Some(degrees))], second * 1_000);
    }
}

/// What is known of an indicator, of those numbers that are.
fn told(judge: &Judge, names: &[&str]) -> String {
    let each = names.iter().map(|name| {
        let value = judge.known.get(&format!("cool.{name}"));
        value.map_or("-".to_owned(), |value| value.to_string())
    });
    each.collect::<Vec<_>>().join(" ")
}

fn restarted(judge: &Judge) -> Judge {
    let bytes = codec::encode(&judge.ledger());
    let mut next = Judge::new(judge.bundle().clone(), BundleRef::NONE);
    next.restore(codec::decode(&bytes).unwrap());
    next
}

#[test]
fn what_is_wrong_with_an_indicator_is_told_with_its_place() {
    let check = |indicators: &str, expected: &str| {
        let text = format!("bundle: t\nindicators:\n{indicators}");
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
    let with = |change: &str| format!("  - {{ id: a, quantity: gpu.temperature, {change} }}\n");
    let good = "good: { below: 85 °C }, target: 99 %";
    check("  - { id: a }\n", "3:5 indicators[0].quantity: `quantity` is missing");
    check(&with("target: 99 %"), "indicators[0].good: `good` is missing");
    check(
        &with("good: { below: 85 °C }"),
        "indicators[0].target: `target` is missing",
    );
    check(
        &with("good: {}, target: 99 %"),
        "indicators[0].good.below: `below` or `above` is missing",
    );
    check(
        &with("good: { below: 85 °C, above: 1 °C }, target: 99 %"),
        "indicators[0].good.above: `good` has one limit",
    );
    check(&with("good: { bellow: 85 °C }, target: 99 %"), "did you mean `below`?");
    check(&with("good: { below: 85 }, target: 99 %"), "has no unit");
    check(
        &with("good: { below: 85 °C }, target: 100 %"),
        "indicators[0].target: is outside 0 %..=99.99 %",
    );
    check(
        &with(&format!("{good}, period: 32 d")),
        "indicators[0].period: 32 d is outside 1 h..=31 d",
    );
    check(
        &with(&format!("{good}, stale_after: 2 h")),
        "indicators[0].stale_after: 2 h is outside 1 s..=1 h",
    );
    check(&with(&format!("{good}, perod: 1 d")), "did you mean `period`?");
    check(
        "  - { id: a b, quantity: gpu.temprature }\n",
        "did you mean `gpu.temperature`?",
    );
    check(
        "  - { id: a b, quantity: gpu.temperature }\n",
        "3:11 indicators[0].id: `a b` is not an indicator name",
    );
    check(
        &with(good).repeat(2),
        "4:5 indicators[1].id: the indicator in line 3 is called `a` too",
    );
    let nine: String = (0..9)
        .map(|n| format!("  - {{ id: i{n}, quantity: gpu.temperature, {good} }}\n"))
        .collect();
    check(&nine, "indicators: 9 indicators; a bundle has at most 8");
    check(
        &format!(
            "{}rules:\n  - {{ id: s, kind: sla, service: a, target: 99 %, period: 90 d }}\n",
            with(good)
        ),
        "5:5 rules[0].period: indicator `a` looks back over 31 d at most",
    );
}

#[test]
fn a_name_that_is_no_indicator_may_be_told_from_elsewhere() {
    let text = format!(
        "bundle: t\nindicators: {COOL}\nrules:\n  - {{ id: a, kind: slo_burn, sli: web }}\n  - {{ id: b, kind: sla, service: web, target: 99 %, period: 90 d }}\n"
    );
    let twin = "name = 1\n".replace("name = 1", "bundle = \"t\"\n[[indicators]]\nid = \"cool\"\nquantity = \"gpu.temperature\"\ngood = { below = \"85 °C\" }\ntarget = \"99.9 %\"");
    let (yaml, toml) = (
        Bundle::parse(text.as_bytes()).unwrap(),
        Bundle::parse(twin.as_bytes()).unwrap(),
    );
    assert_eq!(yaml.indicators, toml.indicators);
    assert_eq!(
        yaml.indicators[0].text(),
        "cool: gpu.temperature of gpu < 85 °C in 99.9 % of 30 d"
    );
}

#[test]
fn where_there_are_no_readings_numbers_come_from_the_input() {
    let text = format!(
        "bundle: t\nindicators: {COOL}\nrules:\n  - {{ id: s, kind: sla, service: cool, target: 99.9 %, period: 1 d, lasts: 30 s }}\n"
    );
    let mut decider = crate::Decider::new(Arc::new(Bundle::parse(text.as_bytes()).unwrap()));
    let mut verdict = |facts: &str| {
        let line = format!(r#"{{"at":"2026-12-02T12:00:00Z","facts":{facts},"action":{{"kind":"restart"}}}}"#);
        let answer: serde_json::Value = serde_json::from_str(&decider.decide_line(&line).unwrap()).unwrap();
        answer["verdict"].as_str().unwrap().to_owned()
    };
    assert_eq!(verdict("{}"), "hold");
    assert_eq!(verdict(r#"{"cool.outage_ms":0}"#), "allow");
    assert_eq!(verdict(r#"{"cool.outage_ms":60000}"#), "deny");
}

#[test]
fn two_bundles_differ_by_their_indicators() {
    let (one, other) = (bundle(COOL), bundle(&COOL.replace("85", "84")));
    assert!(crate::diff(&one, &one).is_empty());
    let found = crate::diff(&one, &other);
    let is_it = |difference: &crate::Difference| matches!(difference, crate::Difference::Setting { name: "indicators", after, .. } if after.contains("< 84 °C"));
    assert!(found.len() == 1 && is_it(&found[0]), "{found:?}");
}

#[test]
fn the_windows_are_what_their_names_say() {
    let unit = |text: &str| match text.as_bytes().last() {
        Some(b'm') => MINUTE,
        Some(b'h') => HOUR,
        _ => DAY,
    };
    for (place, name) in NUMBERS.iter().enumerate().filter(|(_, name)| name.starts_with("burn_")) {
        let span = &name["burn_".len()..];
        let window = span[..span.len() - 1].parse::<u64>().unwrap() * unit(span);
        let mut judge = judge(COOL);
        observe(&mut judge, &[celsius(0, Some(90))], 40 * DAY);
        let course = |at: u64, judge: &Judge| {
            let mut course = judge.ledger().indicators[0].2.clone();
            course.pass(Mono(at));
            course.number(place, &judge.bundle().indicators[0])
        };
        let coarse = if window > 6 * HOUR { HOUR } else { MINUTE };
        assert!(course(40 * DAY + window, &judge).is_some(), "{name}");
        assert!(course(40 * DAY + window + coarse, &judge).is_none(), "{name}");
    }
}

#[test]
fn readings_become_numbers_and_silence_makes_them_unknown() {
    let names = ["burn_5m", "burn_1h", "events_short", "outage_ms", "budget_left_bp"];
    let mut judge = judge(COOL);
    observe(&mut judge, &[celsius(0, None)], 0);
    assert_eq!(told(&judge, &names), "- - - - -", "no value, no event");
    live(&mut judge, 60, 60, 80);
    assert_eq!(told(&judge, &names), "0 0 1 0 10000", "as of the first reading");
    live(&mut judge, 120, 1, 80);
    assert_eq!(told(&judge, &names), "0 0 61 0 10000");
    // Half a minute of 85 °C, which is not below 85 °C.
    live(&mut judge, 121, 30, 85);
    assert_eq!(told(&judge, &names), "0 0 61 29000 10000", "an outage shows at once");
    live(&mut judge, 151, 30, 84);
    // 30 of 121 are bad: 247.9 times what is allowed, for two minutes of a month.
    assert_eq!(told(&judge, &names), "247933 247933 121 30000 9885");
    assert_eq!(
        judge.poll_timeout(Mono(180_000)),
        Some(std::time::Duration::from_secs(30))
    );
    observe(&mut judge, &[], 209_999);
    assert_eq!(told(&judge, &names), "247933 247933 121 30000 9885");
    observe(&mut judge, &[], 210_000);
    assert_eq!(told(&judge, &names), "- - - - -", "30 s after the last reading");
    assert_eq!(judge.poll_timeout(Mono(210_000)), None);
    live(&mut judge, 240, 1, 80);
    assert_eq!(told(&judge, &names), "245901 245901 122 30000 9829");
}

#[test]
fn an_outage_is_merged_over_series_and_ends_with_what_speaks_for_it() {
    let mut judge = judge(COOL);
    let mut at = HOUR;
    let mut round = |judge: &mut Judge, readings: &[(u16, i64)], after: u64| {
        let readings: Vec<_> = readings.iter().map(|(gpu, c)| celsius(*gpu, Some(*c))).collect();
        observe(judge, &readings, at);
        at += after;
    };
    let lost = |judge: &Judge| judge.known.get("cool.outage_ms").unwrap();
    round(&mut judge, &[(0, 90), (1, 80)], 10_000);
    round(&mut judge, &[(1, 90)], 10_000);
    assert_eq!(lost(&judge), 10_000);
    round(&mut judge, &[(0, 80)], 10_000);
    assert_eq!(lost(&judge), 20_000, "both were bad for 10 s, which counts once");
    round(&mut judge, &[(0, 80)], 10_000);
    assert_eq!(lost(&judge), 30_000, "gpu1 was bad when it was last heard");
    round(&mut judge, &[(0, 80)], 10_000);
    assert_eq!(lost(&judge), 40_000, "and speaks for 30 s");
    round(&mut judge, &[(0, 80)], 10_000);
    assert_eq!(lost(&judge), 40_000);
}

#[test]
fn a_restart_keeps_what_was_seen_and_time_goes_on() {
    let names = ["burn_1h", "outage_ms"];
    let mut first = judge(COOL);
    live(&mut first, 3_600, 60, 80);
    live(&mut first, 3_660, 1, 90);
    let mut next = restarted(&first);
    assert_eq!(told(&next, &names), "- -", "nothing is known before the first round");
    // The outage that was on goes on until something is heard, for 30 s at most.
    observe(&mut next, &[], 3_670_000);
    assert_eq!(told(&next, &names), "16393 10000");
    live(&mut next, 3_720, 1, 80);
    assert_eq!(told(&next, &names), "16129 30000");
    let mut late = restarted(&next);
    live(&mut late, 3_600 + 3 * 3_600, 1, 80);
    assert_eq!(
        told(&late, &names),
        "0 30000",
        "the hour of then is over, the month is not"
    );
    // A ledger from ahead of the clock is none.
    let mut early = restarted(&late);
    live(&mut early, 10, 5, 80);
    assert_eq!(told(&early, &names), "0 0");
}

#[test]
fn another_bundle_keeps_what_is_counted_alike_and_forgets_the_rest() {
    let check = |indicators: &str, expected: &str| {
        let mut judge = judge(COOL);
        live(&mut judge, 60, 61, 90);
        assert_eq!(told(&judge, &["burn_1h", "events_short"]), "1000000 61");
        judge.replace_bundle(bundle(indicators), BundleRef::NONE);
        assert_eq!(told(&judge, &["burn_1h", "events_short"]), expected, "{indicators}");
        observe(&mut judge, &[], 122_000);
        assert_eq!(told(&judge, &["burn_1h", "events_short"]), expected, "{indicators}");
    };
    check(COOL, "1000000 61");
    check(&format!("{COOL}\n  - {}", COOL.replace("cool", "twin")), "1000000 61");
    check(&format!("{}\n  - {COOL}", COOL.replace("cool", "twin")), "1000000 61");
    check(&COOL.replace("99.9 %", "99 %"), "100000 61");
    check(&COOL.replace("below: 85", "below: 84"), "- -");
    check(&COOL.replace("id: cool", "id: cool, device: gpu0"), "- -");
    check(&COOL.replace("cool", "other"), "- -");
}

#[test]
fn a_young_indicator_has_not_used_up_a_months_budget() {
    let mut judge = judge(COOL);
    live(&mut judge, 3_600, 30, 90);
    live(&mut judge, 3_630, 3_571, 80);
    // 30 s of the 2,592 s that a month may lose.
    assert_eq!(told(&judge, &["budget_left_bp"]), "9884");
    live(&mut judge, 7_201, 3_600, 90);
    assert_eq!(told(&judge, &["budget_left_bp"]), "-4003");
}

#[test]
fn a_ledger_that_no_program_wrote_is_not_taken() {
    let mut judge = judge(COOL);
    live(&mut judge, 3_600, 30, 90);
    let ledger = judge.ledger();
    assert_eq!(ledger.clone().sound(), ledger);
    let mut bad = ledger;
    bad.indicators[0].2.set_bad_until(u64::MAX);
    assert!(bad.clone().sound().indicators.is_empty());
    let mut next = Judge::new(judge.bundle().clone(), BundleRef::NONE);
    next.restore(bad);
    assert_eq!(next.ledger(), Ledger::default());
}

#[test]
fn a_full_month_of_second_by_second_readings_is_written_in_little_room() {
    let mut course = Course::default();
    for minute in 0..40 * 24 * 60u64 {
        course.pass(Mono(minute * MINUTE));
        for event in 0..60 {
            course.take(event != 0 || minute % 7 != 0);
        }
    }
    let bytes = codec::encode(&course);
    assert!(bytes.len() < 4_000, "{} bytes", bytes.len());
    assert_eq!(codec::decode::<Course>(&bytes).unwrap(), course);
}

/// What happened, each with its time.
#[derive(Debug, Clone, Copy)]
enum Happened {
    Reading { gpu: u16, is_good: bool },
    Restart,
}

/// The slow way: every event is kept, and every question looks at all of them.
#[derive(Debug, Default)]
struct Reference(Vec<(u64, Happened)>);

impl Reference {
    const STALE: u64 = 30_000;

    fn readings(&self) -> impl Iterator<Item = (u64, u16, bool)> + '_ {
        self.0.iter().filter_map(|(at, happened)| match happened {
            Happened::Reading { gpu, is_good } => Some((*at, *gpu, *is_good)),
            Happened::Restart => None,
        })
    }

    fn is_known(&self, now: u64) -> bool {
        self.readings().any(|(at, ..)| now < at + Self::STALE)
    }

    /// Good events and all of them in the present stretch and so many before it.
    fn count(&self, stretch: u64, window: u64, now: u64) -> (u64, u64) {
        let lies_in = |at: u64| at / stretch + window / stretch >= now / stretch;
        let all = self.readings().filter(|(at, ..)| lies_in(*at));
        all.fold((0, 0), |(good, total), (_, _, is_good)| {
            (good + u64::from(is_good), total + 1)
        })
    }

    fn burn(&self, stretch: u64, window: u64, now: u64) -> Option<i64> {
        let (good, total) = self.count(stretch, window, now);
        burn_milli(good, total, 9_990)
    }

    /// Every millisecond-wide step from the hour on in which the window begins, in which some bad reading speaks.
    fn lost(&self, window: u64, now: u64) -> u64 {
        let begins = (now.saturating_sub(window)) / HOUR * HOUR;
        let mut spans: Vec<(u64, u64)> = Vec::new();
        for (index, (at, happened)) in self.0.iter().enumerate() {
            let Happened::Reading { gpu, is_good: false } = happened else {
                continue;
            };
            let mut is_restarted = false;
            let ends = self.0[index + 1..].iter().find_map(|(later, next)| match next {
                Happened::Restart => {
                    is_restarted = true;
                    None
                }
                Happened::Reading { gpu: other, .. } => (is_restarted || other == gpu).then_some(*later),
            });
            let end = ends.unwrap_or(now).min(at + Self::STALE).min(now);
            spans.push(((*at).max(begins), end));
        }
        spans.sort_unstable();
        let (mut lost, mut done) = (0, 0);
        for (from, to) in spans {
            let from = from.max(done);
            lost += to.saturating_sub(from);
            done = done.max(to);
        }
        lost
    }
}

/// One round: how long after the one before, the readings (0 none, 1 good, 2 bad) of two devices, and whether the agent starts anew.
type Round = (u64, [u8; 2], bool);

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let after = prop_oneof![
        12 => 200u64..5_000,
        3 => 20_000u64..70_000,
        1 => 100_000u64..20_000_000,
        1 => DAY..12 * DAY,
    ];
    prop::collection::vec((after, [0u8..3, 0u8..3], prop::bool::weighted(0.05)), 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn numbers_are_those_of_the_slow_way_over_gaps_and_restarts(rounds in rounds(), start in 0u64..100 * DAY) {
        let mut judge = judge(COOL);
        let mut reference = Reference::default();
        let (mut now, mut began) = (start, None);
        for (after, devices, restart) in rounds {
            if restart {
                judge = restarted(&judge);
                reference.0.push((now, Happened::Restart));
            }
            let before = now;
            now += after;
            began.get_or_insert(now);
            let mut readings = Vec::new();
            for (gpu, word) in (0u16..).zip(devices).filter(|(_, word)| *word > 0) {
                readings.push(celsius(gpu, Some(if word == 1 { 60 } else { 90 })));
                reference.0.push((now, Happened::Reading { gpu, is_good: word == 1 }));
            }
            observe(&mut judge, &readings, now);
            let known = |name: &str| judge.known.get(&format!("cool.{name}"));
            if !reference.is_known(now) {
                for name in NUMBERS {
                    prop_assert_eq!(known(name), None, "{}", name);
                }
                continue;
            }
            let lost = reference.lost(30 * DAY, now);
            prop_assert_eq!(known("outage_ms"), Some(lost as i64));
            prop_assert!(lost <= now - began.unwrap_or(now));
            // The numbers are set as a minute begins; in between they are as they were.
            if before / MINUTE < now / MINUTE || restart {
                for (name, stretch, window) in [
                    ("burn_5m", MINUTE, 5 * MINUTE),
                    ("burn_30m", MINUTE, 30 * MINUTE),
                    ("burn_1h", MINUTE, HOUR),
                    ("burn_2h", MINUTE, 2 * HOUR),
                    ("burn_6h", MINUTE, 6 * HOUR),
                    ("burn_1d", HOUR, DAY),
                    ("burn_3d", HOUR, 3 * DAY),
                ] {
                    prop_assert_eq!(known(name), reference.burn(stretch, window, now), "{}", name);
                }
                prop_assert_eq!(known("events_short"), Some(reference.count(MINUTE, 5 * MINUTE, now).1 as i64));
                let good = reference.count(HOUR, 30 * DAY, now);
                prop_assert_eq!(known("budget_left_bp") == Some(10_000), good.0 == good.1);
            }
            let indicators = &judge.bundle().indicators;
            for (window, ahead) in [(DAY, 0), (2 * HOUR, 1_500), (MAX_PERIOD_MS, 29_000)] {
                let found = judge.courses.outage_ms(indicators, "cool", Mono(now + ahead), window).flatten();
                let expected = reference.is_known(now + ahead).then(|| reference.lost(window, now + ahead) as i64);
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn no_numbers_however_large_overflow(times in prop::collection::vec((any::<u64>(), 0u8..3), 1..20)) {
        let mut judge = judge(COOL);
        for (at, word) in times {
            let reading = celsius(0, Some(if word == 1 { i64::MIN / 1_000 } else { i64::MAX / 1_000 }));
            observe(&mut judge, &[reading][..usize::from(word.min(1))], at);
            judge.courses.outage_ms(&judge.bundle().indicators, "cool", Mono(u64::MAX), u64::MAX);
            judge = restarted(&judge);
        }
    }
}
