//! A rehearsal of one node's past: the same bundle decides the same, and what a draft counts is its own.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use policy::{Bundle, Judge, Rehearsal, Rehearsed, Situation, Want, judge};
use proptest::prelude::*;
use wire::action::{Outcome, OutcomeState};
use wire::frame::DeviceInfo;
use wire::time::ClockState;
use wire::view::Story;
use wire::{
    Action, ActionKind, AgentId, BundleRef, Decision, DecisionId, DeviceId, Digest, Epoch, HubEpoch, Mono, Now, Origin,
    Quantity, Reading, Seq, Series, Wall,
};

const HEAD: &str = "bundle: t\npermits: [{ kinds: [power_cap, restart, release_power_cap] }]\nrules:\n";
const RULES: &str = "
  - { id: range, kind: envelope, selector: { kinds: [power_cap] }, min: 100 W, max: 300 W }
  - { id: pace, kind: rate_limit, limit: 2, window: 1 min, key: target }
  - { id: rest, kind: cooldown, selector: { kinds: [restart] }, after_success: 20 s, after_failure: 40 s }
  - { id: few, kind: budget, selector: { kinds: [restart] }, limit: 3, window: 10 min }
  - { id: one, kind: mutex, selector: { kinds: [restart, power_cap] }, key: node }
  - { id: tried, kind: budget, mode: shadow, limit: 1, window: 1 min }
";

fn bundle(rules: &str) -> Arc<Bundle> {
    Arc::new(Bundle::parse(format!("{HEAD}{rules}").as_bytes()).unwrap_or_else(|p| panic!("{p:#?}")))
}

/// What is wanted: seconds since the one before, which action, and how it ends (0 well, 1 badly, 2 not at all) after how long.
type Wish = (u64, u8, u8, u64);

/// Plays wishes against a live judge, as an agent does, and returns the stories that it would have stored.
fn play(bundle: &Arc<Bundle>, wishes: &[Wish]) -> Vec<Story> {
    let mut live = Judge::new(Arc::clone(bundle), BundleRef::NONE);
    live.set_device(&DeviceInfo {
        id: DeviceId::gpu(0),
        model: "card".to_owned(),
        simulated: true,
        power_cap_range_mw: Some((90_000, 350_000)),
    });
    let mut due: Vec<(u64, Action, Origin, OutcomeState)> = Vec::new();
    let (mut seconds, mut stories) = (0, Vec::new());
    for (seq, (wait, what, ends, after)) in (1u64..).zip(wishes) {
        seconds += wait;
        let now = at(seconds);
        due.sort_by_key(|(at, ..)| *at);
        for (at_ms, action, origin, state) in due.extract_if(.., |(at, ..)| *at <= now.mono.0) {
            live.finished(&action, &origin, state, Mono(at_ms));
        }
        let want = Want {
            origin: Origin::Local {
                who: "ann".to_owned(),
                reason: "test".to_owned(),
            },
            action: wanted(*what),
            readings: Vec::new(),
            rejected: Vec::new(),
            verify: None,
        };
        let inputs = live.inputs(&want, &situation(now));
        let judgement = judge(bundle, &inputs);
        let id = DecisionId {
            agent: AgentId::new("edge-03").unwrap(),
            epoch: Epoch(1),
            seq: Seq(seq),
        };
        let mut outcomes = Vec::new();
        if judgement.verdict.runs() {
            live.granted(&inputs, &judgement, &id);
            let state = [OutcomeState::Applied, OutcomeState::Failed];
            if let Some(state) = state.get(usize::from(*ends)) {
                let done = at(seconds + after);
                outcomes.push((done, outcome(&id, *state)));
                due.push((
                    done.mono.0,
                    judgement.granted.clone().unwrap(),
                    want.origin.clone(),
                    *state,
                ));
            }
        }
        stories.push(Story {
            id,
            at: now,
            prev: Digest([0; 32]),
            digest: Digest([0; 32]),
            decision: Decision { inputs, judgement },
            outcomes,
        });
    }
    stories
}

fn at(seconds: u64) -> Now {
    Now {
        mono: Mono(seconds * 1_000),
        wall: Wall(i64::try_from(seconds * 1_000).unwrap()),
    }
}

fn wanted(what: u8) -> Action {
    match what {
        0 => Action {
            target: DeviceId::new("workload:a").unwrap(),
            kind: ActionKind::Restart,
        },
        1 => Action {
            target: DeviceId::new("workload:b").unwrap(),
            kind: ActionKind::Restart,
        },
        n => Action {
            target: DeviceId::gpu(0),
            kind: ActionKind::PowerCap {
                milliwatts: u32::from(n) * 50_000,
            },
        },
    }
}

fn outcome(id: &DecisionId, state: OutcomeState) -> Outcome {
    Outcome {
        decision: id.clone(),
        state,
        before: Some(350_000),
        after: Some(220_000),
        probed: false,
        detail: String::new(),
    }
}

fn situation(now: Now) -> Situation<'static> {
    Situation {
        now,
        policy_age_ms: 5,
        connected: true,
        clock: ClockState::Steady,
        clock_error_ms: Some(0),
        journal_ok: true,
        held_by: None,
        hub_epoch: HubEpoch(1),
    }
}

/// What the draft says of wishes that were decided by `was`: `same`, a verdict by a rule, or `unknown RULE`, joined by ` | `.
fn check(was: &str, draft: &str, wishes: &[Wish], expected: &str) {
    let mut rehearsal = Rehearsal::new(bundle(draft));
    let said: Vec<String> = play(&bundle(was), wishes)
        .iter()
        .map(|story| match rehearsal.next(story) {
            Rehearsed::Same => "same".to_owned(),
            Rehearsed::Differs { judgement, text } => {
                assert!(text.contains(&story.decision.inputs.wanted.to_string()), "{text}");
                format!("{} by {}", judgement.verdict.name(), judgement.rule)
            }
            Rehearsed::Unknown { rule } => format!("unknown {rule}"),
        })
        .collect();
    assert_eq!(said.join(" | "), expected, "{draft}");
}

#[test]
fn a_condition_of_people_is_judged_by_what_the_action_says() {
    let cel = "  - { id: mild, kind: cel, require: 'action.amount >= value(\"200 W\")' }\n";
    check(RANGE, cel, &[(1, 3, 0, 1), (10, 5, 0, 1)], "deny by mild | same");
}

const RANGE: &str = "  - { id: range, kind: envelope, selector: { kinds: [power_cap] }, min: 100 W, max: 300 W }\n";

#[test]
fn a_draft_counts_what_it_would_have_let_run_itself() {
    let restarts: &[Wish] = &[(1, 0, 0, 1), (10, 0, 0, 1), (10, 0, 0, 1), (60, 0, 0, 1)];
    let pace = "  - { id: pace, kind: budget, selector: { kinds: [restart] }, limit: 2, window: 1 min }\n";
    check(RANGE, pace, restarts, "same | same | deny by pace | same");
    // What it denies does not count: after the second of four in a window there is room again as soon as the first is out.
    let rest = "  - { id: rest, kind: cooldown, selector: { kinds: [restart] }, after_success: 15 s }\n";
    check(RANGE, rest, restarts, "same | hold by rest | same | same");
}

#[test]
fn what_only_the_draft_lets_run_counts_from_then_on() {
    let restarts: &[Wish] = &[(1, 0, 0, 1), (10, 0, 0, 1), (10, 0, 0, 1)];
    let never = "  - { id: never, kind: budget, selector: { kinds: [restart] }, limit: 1, window: 1 h }\n";
    let twice = "  - { id: twice, kind: budget, selector: { kinds: [restart] }, limit: 2, window: 1 h }\n";
    check(never, twice, restarts, "same | allow by local | same");
}

#[test]
fn a_narrower_range_clamps_what_ran_as_wanted() {
    let narrow = "  - { id: range, kind: envelope, selector: { kinds: [power_cap] }, min: 200 W, max: 250 W }\n";
    check(
        RANGE,
        narrow,
        &[(1, 3, 0, 1), (10, 4, 0, 1), (10, 6, 0, 1)],
        "clamp by range | same | clamp by range",
    );
}

#[test]
fn a_number_that_nobody_recorded_is_not_guessed() {
    let rack = "  - { id: rack, kind: blast_radius, domain: rack, max_concurrent: { n: 2 } }\n";
    let restart: &[Wish] = &[(1, 0, 0, 1)];
    check(RANGE, rack, restart, "unknown rack");
    // The same rule did not know it then either, and held: that is what is compared.
    check(rack, rack, restart, "same");
    // The same name and another rack: those numbers are not these.
    let rack2 = "  - { id: rack, kind: blast_radius, domain: rack2, max_concurrent: { n: 2 } }\n";
    check(rack, rack2, restart, "unknown rack");
    let step = "  - { id: step, kind: step_size, selector: { kinds: [power_cap] }, max: 50 W }\n";
    // The value before is known from what was read back.
    check(
        RANGE,
        step,
        &[(1, 5, 0, 1), (10, 6, 2, 1)],
        "clamp by step | clamp by step",
    );
}

/// What `live` decides of an action now, as it would have stored it.
fn decided(live: &Judge, seq: u64, seconds: u64, action: Action) -> Story {
    let want = Want {
        origin: Origin::Local {
            who: "ann".to_owned(),
            reason: "test".to_owned(),
        },
        action,
        readings: Vec::new(),
        rejected: Vec::new(),
        verify: None,
    };
    let now = at(seconds);
    let inputs = live.inputs(&want, &situation(now));
    Story {
        id: format!("edge-03.1.{seq}").parse().unwrap(),
        at: now,
        prev: Digest([0; 32]),
        digest: Digest([0; 32]),
        decision: Decision {
            judgement: judge(live.bundle(), &inputs),
            inputs,
        },
        outcomes: Vec::new(),
    }
}

/// The verdicts of a draft on stories.
fn verdicts(draft: &str, stories: &[Story]) -> String {
    let bundle = Bundle::parse(draft.as_bytes()).unwrap_or_else(|p| panic!("{p:#?}"));
    let mut rehearsal = Rehearsal::new(Arc::new(bundle));
    let said = stories.iter().map(|story| match rehearsal.next(story) {
        Rehearsed::Same => story.decision.judgement.verdict.name(),
        Rehearsed::Differs { judgement, .. } => judgement.verdict.name(),
        Rehearsed::Unknown { .. } => "unknown",
    });
    said.collect::<Vec<_>>().join(" ")
}

fn reading(gpu: u32, quantity: Quantity, value: i64) -> Reading {
    Reading {
        series: Series::new(DeviceId::gpu(gpu), quantity),
        value: Some(value),
    }
}

#[test]
fn what_an_agent_observed_by_itself_is_taken_as_it_was() {
    let promise = |lasts: &str| {
        format!(
            "bundle: t
indicators: {{ id: cool, quantity: gpu.temperature, good: {{ below: 85 °C }}, target: 99 % }}
rules: {{ id: promise, kind: sla, service: cool, target: 99.9 %, period: 1 d, lasts: {lasts} }}
"
        )
    };
    let bundle = Bundle::parse(promise("30 s").as_bytes()).unwrap();
    let mut live = Judge::new(Arc::new(bundle), BundleRef::NONE);
    let mut stories = Vec::new();
    for seq in 1u64..=3 {
        for second in (seq - 1) * 30..seq * 30 {
            let hot = reading(0, Quantity::GpuTemperature, 90_000);
            live.observe(&[hot], at(second).mono, &mut Vec::new());
        }
        stories.push(decided(&live, seq, seq * 30, wanted(0)));
    }
    assert_eq!(verdicts(&promise("30 s"), &stories), "require_approval deny deny");
    assert_eq!(verdicts(&promise("10 s"), &stories), "allow allow deny");
}

#[test]
fn what_an_agent_metered_is_taken_as_it_was_and_only_at_its_price() {
    const METERED: &str = "bundle: t
meters: { id: energy, quantity: gpu.power, price_micros_per_kwh: 3600000 }
rules:
  - { id: hour, kind: cost_ceiling, scope: energy, ceiling_micros: 1000000, soft_bp: 10000, window: 1 h }
  - { id: power, kind: quota, scope: node, nominal: { power_mw: 700000 } }
";
    let mut live = Judge::new(Arc::new(Bundle::parse(METERED.as_bytes()).unwrap()), BundleRef::NONE);
    let mut stories = Vec::new();
    let release = Action {
        target: DeviceId::gpu(0),
        kind: ActionKind::ReleasePowerCap,
    };
    for (seq, watts) in [(1u64, 100), (2, 150), (3, 200)] {
        live.set_device(&DeviceInfo {
            id: DeviceId::gpu(0),
            model: "card".to_owned(),
            simulated: true,
            power_cap_range_mw: Some((90_000, 350_000)),
        });
        let readings = [
            reading(0, Quantity::GpuPower, watts * 1_000),
            reading(0, Quantity::GpuPowerCap, 200_000),
            reading(1, Quantity::GpuPowerCap, 300_000),
        ];
        // So far apart that none is under way any more.
        live.observe(&readings, at(seq * 200).mono, &mut Vec::new());
        stories.push(decided(&live, seq, seq * 200, release.clone()));
    }
    assert_eq!(verdicts(METERED, &stories), "allow deny deny");
    for (change, with, expected) in [
        ("ceiling_micros: 1000000", "ceiling_micros: 1100000", "allow allow deny"),
        ("power_mw: 700000", "power_mw: 600000", "deny deny deny"),
        // What was spent at one price is not what would have been spent at another.
        ("3600000", "1800000", "unknown unknown unknown"),
        ("window: 1 h", "window: 2 h", "unknown unknown unknown"),
    ] {
        let draft = METERED.replace(change, with);
        assert_eq!(verdicts(&draft, &stories), expected, "{draft}");
    }
}

proptest! {
    #[test]
    fn the_bundle_that_decided_makes_every_decision_again(
        wishes in proptest::collection::vec((0u64..50, 0u8..9, 0u8..3, 0u64..90), 0..40)
    ) {
        let bundle = bundle(RULES);
        let mut rehearsal = Rehearsal::new(Arc::clone(&bundle));
        for story in play(&bundle, &wishes) {
            prop_assert_eq!(rehearsal.next(&story), Rehearsed::Same, "{}", story.id);
        }
    }
}
