//! Stored readings by two bundles: only what the draft wants and the bundle in force does not is told.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use policy::{Bundle, OnlyDraft, Readings, Rehearsal, Rehearsed};
use proptest::prelude::*;
use wire::decision::{Decision, Fact, Inputs, Observed};
use wire::time::ClockState;
use wire::view::Story;
use wire::{
    Action, ActionKind, AgentId, BundleRef, DecisionId, DeviceId, Digest, Epoch, HubEpoch, Mono, Now, Origin, Quantity,
    Seq, Series, Wall,
};

const HOT: &str = "id: hot, kind: threshold, quantity: gpu.temperature, above: 85 °C, for: 3 s, clear_below: 78 °C, \
                   clear_for: 5 s, undo_on_clear: true, then: { action: power_cap, to: 220 W }";
const SILENT: &str = "id: silent, kind: stale, quantity: gpu.temperature, after: 15 s, \
                      then: { action: notify, message: silent }";

fn bundle(rules: &[&str]) -> Arc<Bundle> {
    let rules: String = rules.iter().map(|rule| format!("  - {{ {rule} }}\n")).collect();
    let permits = "permits: [{ kinds: [power_cap, release_power_cap, notify, restart] }]";
    let text = format!("bundle: t\n{permits}\nrules:\n{rules}");
    Arc::new(Bundle::parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{problems:#?}")))
}

fn hot(above: &str) -> String {
    HOT.replace("85 °C", above)
}

fn node() -> AgentId {
    AgentId::new("edge-03").unwrap()
}

fn at(second: u64) -> Now {
    Now {
        mono: Mono(second * 1_000),
        wall: Wall(i64::try_from(second * 1_000).unwrap()),
    }
}

fn dictionary() -> Arc<Vec<Series>> {
    Arc::new(vec![
        Series::new(DeviceId::node(), Quantity::CpuUsed),
        Series::new(DeviceId::gpu(0), Quantity::GpuTemperature),
        Series::new(DeviceId::gpu(0), Quantity::GpuPowerCap),
    ])
}

/// `70x10 82x5 -x3 gapx60 82x5`: degrees, `-` for a sample without a value, `gap` for none at all, each for so many seconds.
fn timeline(text: &str) -> Vec<(u64, Option<i64>)> {
    let (mut second, mut samples) = (100, Vec::new());
    for part in text.split_whitespace() {
        let (what, count) = part.split_once('x').unwrap();
        let count: u64 = count.parse().unwrap();
        if what != "gap" {
            let value = what.parse::<i64>().ok().map(|degrees| degrees * 1_000);
            samples.extend((second..second + count).map(|second| (second, value)));
        }
        second += count;
    }
    samples
}

fn feed(readings: &mut Readings, samples: &[(u64, Option<i64>)]) {
    let dictionary = dictionary();
    for (second, value) in samples {
        let values = [Some(1_000), *value, Some(350_000)];
        readings.sample(Epoch(1), at(*second), &dictionary, &values);
    }
}

/// `second rule action verdict xtimes` of each story, joined by ` | `.
fn shown(found: &[OnlyDraft]) -> String {
    let one = |story: &OnlyDraft| {
        let verdict = match &story.unknown {
            Some(rule) => format!("unknown {rule}"),
            None => format!("{} by {}", story.judgement.verdict.name(), story.judgement.rule),
        };
        let second = story.at.mono.0 / 1_000;
        let times = match story.times {
            1 => String::new(),
            times => format!(" x{times}"),
        };
        format!("{second} {} {}: {verdict}{times}", story.wanted_by(), story.action.kind)
    };
    found.iter().map(one).collect::<Vec<_>>().join(" | ")
}

fn check(recorded: &[&str], draft: &[&str], text: &str, expected: &str) -> Vec<OnlyDraft> {
    let mut readings = Readings::new(node(), bundle(draft), bundle(recorded), Wall(0));
    feed(&mut readings, &timeline(text));
    let found = readings.finish();
    assert_eq!(shown(&found), expected, "{text}");
    found
}

#[test]
fn a_lower_limit_wants_what_the_present_one_did_not() {
    let found = check(
        &[HOT],
        &[&hot("80 °C")],
        "70x10 82x10 70x10",
        "113 hot power_cap to 220 W: allow by hot | 125 hot release_power_cap: allow by hot",
    );
    assert_eq!(found[0].text(), "gpu.temperature of gpu0 was 82 °C");
    assert_eq!(found[0].seen.as_ref().map(|seen| seen.held_ms), Some(3_000));
}

#[test]
fn what_both_want_within_the_hold_time_is_no_difference() {
    // Both limits are passed within two seconds of each other.
    check(&[HOT], &[&hot("80 °C")], "70x10 82x2 90x10 70x10", "");
    // Here the draft acts long before, and from then on both want the same.
    let early = "113 hot power_cap to 220 W: allow by hot";
    check(&[HOT], &[&hot("80 °C")], "70x10 82x60 90x400 70x10", early);
    // What both wanted of an earlier spell says nothing of a later one.
    let later = "138 hot power_cap to 220 W: allow by hot | 145 hot release_power_cap: hold by relapses";
    check(&[HOT], &[&hot("80 °C")], "70x10 90x5 70x20 82x5 70x20", later);
    // A higher limit wants nothing that the present one does not want.
    check(&[HOT], &[&hot("88 °C")], "70x10 90x20 70x20", "");
}

#[test]
fn a_wish_that_comes_again_is_one_story() {
    let again = hot("80 °C").replace("undo_on_clear: true", "undo_on_clear: false");
    let found = check(
        &[HOT],
        &[&again],
        "70x10 82x1000 70x10",
        "113 hot power_cap to 220 W: allow by hot x4",
    );
    assert!(found[0].until.mono > Mono(1_000_000), "{:?}", found[0].until);
    let other = hot("80 °C").replace("220 W", "200 W");
    check(
        &[HOT],
        &[&other],
        "70x10 90x10",
        "113 hot power_cap to 200 W: allow by hot",
    );
}

#[test]
fn the_draft_judges_its_own_wish_by_its_own_ledger() {
    let few = "id: few, kind: budget, selector: { kinds: [power_cap] }, limit: 1, window: 1 h";
    let found = check(
        &[HOT],
        &[&hot("80 °C"), few],
        "70x10 82x10 70x10 82x5 70x10",
        "113 hot power_cap to 220 W: allow by hot | 125 hot release_power_cap: hold by few",
    );
    assert!(
        found[1].text().contains("gpu.temperature of gpu0 was 70 °C; "),
        "{}",
        found[1].text()
    );
    let rack = "id: rack, kind: blast_radius, domain: rack, max_concurrent: { n: 2 }";
    let found = check(
        &[HOT],
        &[
            &hot("80 °C")
                .replace("power_cap, to: 220 W", "restart, target: 'workload:a'")
                .replace("undo_on_clear: true, ", ""),
            rack,
        ],
        "70x10 82x5",
        "113 hot restart: unknown rack",
    );
    assert!(found[0].text().contains("was not recorded"), "{}", found[0].text());
}

#[test]
fn a_rule_that_is_off_wants_nothing_and_one_that_is_tried_out_runs_nothing() {
    let low = hot("80 °C");
    check(&[HOT], &[&format!("{low}, mode: off")], "70x10 82x10 70x10", "");
    check(
        &[HOT],
        &[&format!("{low}, mode: shadow")],
        "70x10 82x10 70x10",
        "113 hot power_cap to 220 W: deny by hot",
    );
}

#[test]
fn silence_is_what_a_sample_says_and_a_gap_says_nothing() {
    check(
        &[HOT],
        &[HOT, SILENT],
        "70x10 -x20 70x5",
        "124 silent notify \"silent\": allow by silent",
    );
    check(&[HOT], &[HOT, SILENT], "70x10 gapx60 -x5 70x5", "");
    // What held before a gap begins anew.
    check(&[HOT], &[&hot("80 °C")], "70x10 82x2 gapx60 82x2 70x9", "");
}

#[test]
fn only_what_is_wanted_in_the_asked_time_is_told() {
    let mut readings = Readings::new(node(), bundle(&[&hot("80 °C")]), bundle(&[HOT]), at(114).wall);
    feed(&mut readings, &timeline("70x10 82x5"));
    let counts = readings.counts();
    assert_eq!((counts.samples, counts.gaps, counts.sparse), (15, 0, 0));
    assert_eq!(readings.finish(), []);
}

#[test]
fn another_bundle_in_force_is_what_is_compared_with_from_then_on() {
    let low = hot("80 °C");
    let mut readings = Readings::new(node(), bundle(&[&low]), bundle(&[HOT]), Wall(0));
    let samples = timeline("70x10 82x10 70x900 82x10 70x10");
    let (before, after) = samples.split_at(100);
    feed(&mut readings, before);
    readings.replace_recorded(bundle(&[&low]));
    feed(&mut readings, after);
    assert_eq!(
        shown(&readings.finish()),
        "113 hot power_cap to 220 W: allow by hot | 125 hot release_power_cap: allow by hot"
    );
}

/// A cap of a person, or a reflex, with the device's range.
fn story(second: u64, origin: Origin, bundle: &Bundle) -> Story {
    let now = at(second);
    let fact = |name: &str, value| Fact {
        rule: "device".to_owned(),
        name: name.to_owned(),
        value,
    };
    let inputs = Inputs {
        at: now,
        origin,
        wanted: Action {
            target: DeviceId::gpu(0),
            kind: ActionKind::PowerCap { milliwatts: 220_000 },
        },
        bundle: BundleRef::NONE,
        policy_age_ms: 1,
        connected: true,
        clock: ClockState::Steady,
        journal_ok: true,
        held_by: None,
        hub_epoch: HubEpoch(1),
        readings: vec![Observed {
            series: Series::new(DeviceId::gpu(0), Quantity::GpuTemperature),
            value: Some(90_000),
            age_ms: Some(0),
            held_ms: 3_000,
        }],
        facts: vec![fact("min", 230_000), fact("max", 350_000)],
    };
    let judgement = policy::judge(bundle, &inputs);
    Story {
        id: DecisionId {
            agent: node(),
            epoch: Epoch(1),
            seq: Seq(second),
        },
        at: now,
        prev: Digest([0; 32]),
        digest: Digest([0; 32]),
        decision: Decision { inputs, judgement },
        outcomes: Vec::new(),
    }
}

#[test]
fn a_stored_reflex_whose_condition_the_draft_does_not_have_is_a_decision_that_differs() {
    let origin = Origin::Rule { rule: "hot".to_owned() };
    let made = story(100, origin, &bundle(&[HOT]));
    for (above, expected) in [("85 °C", "same"), ("89 °C", "same"), ("95 °C", "deny by hot")] {
        let said = match Rehearsal::new(bundle(&[&hot(above)])).next(&made) {
            Rehearsed::Same => "same".to_owned(),
            Rehearsed::Differs { judgement, .. } => format!("{} by {}", judgement.verdict.name(), judgement.rule),
            Rehearsed::Unknown { rule } => format!("unknown {rule}"),
        };
        assert_eq!(said, expected, "{above}");
    }
}

fn person() -> Origin {
    Origin::Local {
        who: "ann".to_owned(),
        reason: "test".to_owned(),
    }
}

#[test]
fn orders_of_people_count_and_reflexes_count_where_no_reading_was_stored() {
    let few = "id: few, kind: budget, selector: { kinds: [power_cap] }, limit: 1, window: 1 h";
    let (low, recorded) = (hot("80 °C"), bundle(&[HOT]));
    let with = |stories: &[(u64, Origin)]| {
        let mut readings = Readings::new(node(), bundle(&[&low, few]), Arc::clone(&recorded), Wall(0));
        let samples = timeline("70x10 gapx20 70x5 82x5");
        for (second, value) in &samples {
            for (_, origin) in stories.iter().filter(|(when, _)| when + 1 == *second) {
                readings.decided(&story(second - 1, origin.clone(), &recorded));
            }
            feed(&mut readings, &[(*second, *value)]);
        }
        shown(&readings.finish())
    };
    let reflex = || Origin::Rule { rule: "hot".to_owned() };
    let allowed = "138 hot power_cap to 220 W: allow by hot";
    let clamped = "138 hot power_cap to 220 W: clamp by device";
    // A budget stops no reflex; what a person ordered is under way still.
    let busy = "138 hot power_cap to 220 W: hold by device x2";
    assert_eq!(with(&[]), allowed);
    assert_eq!(with(&[(105, person())]), busy);
    // What a rule wanted is wanted again by the readings: it says what the device can do, and does not count twice.
    assert_eq!(with(&[(105, reflex())]), clamped);
    // In the gap it counts, and is under way still when the readings come again.
    assert_eq!(with(&[(129, reflex())]), "");
}

proptest! {
    #[test]
    fn the_same_bundle_twice_yields_nothing(
        parts in proptest::collection::vec((0u8..5, 1u64..30), 0..30),
        orders in proptest::collection::vec(0usize..400, 0..6),
        other_epoch in 0usize..400,
    ) {
        let parts: Vec<String> = parts.iter().map(|(what, count)| {
            format!("{}x{count}", ["70", "82", "90", "-", "gap"][usize::from(*what)])
        }).collect();
        let samples = timeline(&parts.join(" "));
        let few = "id: few, kind: budget, limit: 2, window: 1 min";
        let rules = bundle(&[HOT, SILENT, few]);
        let mut readings = Readings::new(node(), Arc::clone(&rules), Arc::clone(&rules), Wall(0));
        let dictionary = dictionary();
        for (place, (second, value)) in samples.iter().enumerate() {
            if orders.contains(&place) {
                readings.decided(&story(*second, person(), &rules));
            }
            let epoch = Epoch(1 + u64::from(place >= other_epoch));
            readings.sample(epoch, at(*second), &dictionary, &[None, *value, None]);
        }
        prop_assert_eq!(shown(&readings.finish()), "");
    }

    #[test]
    fn what_is_told_is_wanted_by_the_draft_and_the_same_each_time(
        parts in proptest::collection::vec((0u8..5, 1u64..30), 0..30),
    ) {
        let parts: Vec<String> = parts.iter().map(|(what, count)| {
            format!("{}x{count}", ["70", "82", "90", "-", "gap"][usize::from(*what)])
        }).collect();
        let samples = timeline(&parts.join(" "));
        let run = || {
            let mut readings = Readings::new(node(), bundle(&[&hot("80 °C")]), bundle(&[HOT]), Wall(0));
            feed(&mut readings, &samples);
            readings.finish()
        };
        let found = run();
        prop_assert_eq!(&found, &run());
        for story in found.iter().filter(|story| matches!(story.origin, Origin::Rule { .. })) {
            let value = story.seen.as_ref().and_then(|seen| seen.value);
            prop_assert!(value.is_some_and(|value| value > 80_000), "{:?}", story);
        }
    }
}
