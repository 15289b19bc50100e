//! The sentences in the headers of `judge.rs`, `rate.rs`, `cooldown.rs` and `engine.rs`, on random bundles and timelines.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use policy::{Bundle, Judge, Situation, Want, judge};
use proptest::collection::vec;
use proptest::prelude::*;
use wire::decision::{Inputs, Judgement, Verdict};
use wire::time::ClockState;
use wire::{
    Action, ActionKind, BundleRef, CommandId, DecisionId, DeviceId, HubEpoch, Mono, Now, Origin, OutcomeState,
    Quantity, Reading, Series, Wall, codec,
};

/// One guard rule as text, without its id.
fn rule() -> impl Strategy<Value = String> {
    let kinds = prop_oneof![
        Just("[power_cap]"),
        Just("[restart]"),
        Just("[unthrottle]"),
        Just("[power_cap, restart, unthrottle]")
    ];
    let key = prop_oneof![Just("target"), Just("kind"), Just("target_kind"), Just("node")];
    prop_oneof![
        (kinds.clone(), 0u32..4, 1u32..100, key.clone()).prop_map(|(kinds, limit, window, key)| {
            // A rate limit never objects to a cap.
            let kinds = if kinds == "[power_cap]" { "[restart]" } else { kinds };
            format!("kind: rate_limit, selector: {{ kinds: {kinds} }}, limit: {limit}, window: {window} s, key: {key}")
        }),
        (kinds.clone(), 1u32..4, 1u32..100, key).prop_map(|(kinds, limit, window, key)| {
            format!("kind: budget, selector: {{ kinds: {kinds} }}, limit: {limit}, window: {window} s, key: {key}")
        }),
        (kinds, 1u32..60, 1u32..60).prop_map(|(kinds, success, failure)| {
            format!(
                "kind: cooldown, selector: {{ kinds: {kinds} }}, after_success: {success} s, after_failure: {failure} s"
            )
        }),
        (50u32..300, 1u32..200).prop_map(|(min, more)| {
            format!(
                "kind: envelope, selector: {{ kinds: [power_cap] }}, min: {min} W, max: {} W",
                min + more
            )
        }),
        (50u32..400, 0u8..4).prop_map(|(watts, shape)| {
            let condition = match shape {
                0 => format!("action.amount <= value(\"{watts} W\")"),
                1 => format!("action.amount / ({watts} - 100) > 0 || action.kind == \"restart\""),
                2 => "action.target.endsWith(\"0\") && !has(facts.nothing)".to_owned(),
                _ => "facts.nothing > 1".to_owned(),
            };
            format!("kind: cel, require: '{condition}'")
        }),
        (1u32..200).prop_map(|step| { format!("kind: step_size, selector: {{ kinds: [power_cap] }}, max: {step} W") }),
    ]
}

fn text(rules: &[String], shadow: Option<usize>) -> String {
    let mut text = "bundle: random\nrules:\n".to_owned();
    for (index, rule) in rules.iter().enumerate() {
        let mode = if shadow == Some(index) { ", mode: shadow" } else { "" };
        text.push_str(&format!("  - {{ id: r{index}, {rule}{mode} }}\n"));
    }
    text
}

fn bundle(text: &str) -> Arc<Bundle> {
    Arc::new(Bundle::parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{text}\n{problems:#?}")))
}

/// What is asked: (kind, device, watts, milliseconds after the one before, how it ends).
type Ask = (u8, u8, u32, u64, bool);

fn asks() -> impl Strategy<Value = Vec<Ask>> {
    vec((0u8..3, 0u8..2, 20u32..500, 0u64..40_000, any::<bool>()), 1..40)
}

fn action(kind: u8, device: u8, watts: u32) -> Action {
    let (target, kind) = match kind {
        0 => (
            DeviceId::gpu(device.into()),
            ActionKind::PowerCap {
                milliwatts: watts * 1_000,
            },
        ),
        1 => (DeviceId::workload(&format!("w{device}")).unwrap(), ActionKind::Restart),
        _ => (
            DeviceId::workload(&format!("w{device}")).unwrap(),
            ActionKind::Unthrottle,
        ),
    };
    Action { target, kind }
}

fn origin() -> Origin {
    Origin::Command {
        id: CommandId([1; 16]),
        who: "p".into(),
        reason: "r".into(),
    }
}

fn decide(engine: &Judge, action: &Action, at: u64) -> (Inputs, Judgement) {
    let want = Want {
        origin: origin(),
        action: action.clone(),
        readings: vec![],
        rejected: vec![],
        verify: None,
    };
    let inputs = engine.inputs(&want, &situation(at));
    let judgement = judge(engine.bundle(), &inputs);
    (inputs, judgement)
}

fn situation(at: u64) -> Situation<'static> {
    Situation {
        now: Now {
            mono: Mono(at),
            wall: Wall(0),
        },
        policy_age_ms: 0,
        connected: false,
        clock: ClockState::Steady,
        clock_error_ms: Some(0),
        journal_ok: true,
        held_by: None,
        hub_epoch: HubEpoch(0),
    }
}

fn id() -> DecisionId {
    "n.1.1".parse().unwrap()
}

/// Plays a timeline; returns (time, action granted) and every judgement.
fn play(bundle: &Arc<Bundle>, asks: &[Ask]) -> (Vec<(u64, Action)>, Vec<Judgement>) {
    let mut engine = Judge::new(bundle.clone(), BundleRef::NONE);
    let (mut granted, mut all, mut at) = (Vec::new(), Vec::new(), 0);
    let cap = Reading {
        series: Series::new(DeviceId::gpu(0), Quantity::GpuPowerCap),
        value: Some(350_000),
    };
    engine.observe(&[cap], Mono(0), &mut Vec::new());
    for (kind, device, watts, after, fails) in asks {
        at += after;
        let action = action(*kind, *device, *watts);
        let (inputs, judgement) = decide(&engine, &action, at);
        assert_eq!(codec::encode(&judge(bundle, &inputs)), codec::encode(&judgement));
        if let Some(action) = &judgement.granted {
            engine.granted(&inputs, &judgement, &id());
            let state = if *fails {
                OutcomeState::Failed
            } else {
                OutcomeState::Applied
            };
            engine.finished(action, &origin(), state, Mono(at));
            granted.push((at, action.clone()));
        } else {
            engine.denied(&inputs, &judgement);
        }
        all.push(judgement);
    }
    (granted, all)
}

/// The worse of two: what runs with a clamp is what is granted.
fn outcome(judgement: &Judgement) -> (Verdict, Option<Action>) {
    (judgement.verdict, judgement.granted.clone())
}

/// A rule of every kind that compares observed numbers.
const EVERYTHING: &str = "bundle: e
permits: [{ classes: [safety, low, medium, high, irreversible] }]
rules:
  - { id: a, kind: cost_ceiling, scope: s, ceiling_micros: 9223372036854775807, window: month, tz: America/New_York }
  - { id: b, kind: cost_ceiling, scope: t, ceiling_micros: 1, window: 7 d }
  - { id: c, kind: quota, scope: s, nominal: { gpu: 9223372036854775807 }, borrow_max: 9223372036854775807 }
  - { id: d, kind: sla, service: s, target: 99.9 %, period: month }
  - { id: e, kind: slo_burn, sli: s }
  - { id: f, kind: blast_radius, domain: s, max_concurrent: { bp: 2000 }, min_healthy: { n: 1000000 }, max_per_window: { n: 1, window: 1 ms } }
  - { id: g, kind: confidence }
  - { id: h, kind: cel, require: 'facts[\"s.members\"] * action.amount + facts[\"s.unhealthy\"] > 0 && action.lasts + action.rollback > duration(\"1s\")' }
  - { id: i, kind: change_freeze, tz: Asia/Kathmandu, rrule: 'FREQ=MONTHLY;BYDAY=-1SU' }
  - { id: j, kind: rate_limit, limit: 1000000000, window: 876000 h, key: label, label: team }
  - { id: k, kind: step_size, selector: { kinds: [scale] }, max_change: 15 % }
";

static PARSED: std::sync::LazyLock<Arc<Bundle>> = std::sync::LazyLock::new(|| bundle(EVERYTHING));

fn extreme() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(i64::MIN),
        Just(i64::MAX),
        Just(0),
        Just(-1),
        any::<i64>(),
        -20_000i64..20_000
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_number_overflows(
        facts in vec((0usize..40, extreme()), 0..20),
        lines in vec((0usize..policy::KINDS.len(), extreme(), extreme(), extreme(), -62_000_000_000i64..253_000_000_000, any::<u32>()), 1..6)
    ) {
        let mut decider = policy::Decider::new(PARSED.clone());
        let fleet = policy::Fleet::new(&decider);
        for (index, value) in facts {
            let name = fleet.names().get(index).map_or("present", String::as_str);
            decider.set_fact(name, Some(value));
        }
        let mut lines = lines;
        lines.sort_by_key(|line| line.4);
        for (kind, amount, lasts, cost, second, error) in lines {
            let line = serde_json::json!({
                "at": Wall(second * 1_000).to_string(),
                "clock_error_ms": error,
                "action": {
                    "kind": policy::KINDS[kind].name, "params": { "to": amount }, "p95_ms": lasts, "rollback_ms": lasts,
                    "cost_delta_micros_per_h": cost, "resources": { "gpu": amount }, "labels": { "team": "x" },
                },
            });
            let answer = decider.decide_line(&line.to_string());
            let is_time = answer.as_ref().is_err_and(|text| text.contains("`action.p95_ms` is -"));
            prop_assert!(answer.is_ok() != (lasts < 0) && is_time == (lasts < 0), "{} {:?}", line, answer);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn adding_a_rule_never_relaxes(rules in vec(rule(), 0..6), extra in rule(), asks in asks()) {
        let less = bundle(&text(&rules, None));
        let mut more = rules.clone();
        more.push(extra);
        let more = bundle(&text(&more, None));
        // The same question under the same history: the engine of the stricter bundle.
        let mut engine = Judge::new(more.clone(), BundleRef::NONE);
        let mut at = 0;
        for (kind, device, watts, after, _) in asks {
            at += after;
            let action = action(kind, device, watts);
            let (inputs, strict) = decide(&engine, &action, at);
            let loose = judge(&less, &inputs);
            prop_assert!(strict.verdict >= loose.verdict, "{:?} < {:?}", strict.verdict, loose.verdict);
            if let Some(granted) = &strict.granted {
                engine.granted(&inputs, &strict, &id());
                engine.finished(granted, &origin(), OutcomeState::Applied, Mono(at));
            }
        }
    }

    #[test]
    fn the_order_of_rules_changes_nothing(rules in vec(rule(), 1..7), asks in asks(), turn in 0usize..7) {
        let text_of = |order: &[usize]| {
            let mut text = "bundle: random\nrules:\n".to_owned();
            for index in order {
                text.push_str(&format!("  - {{ id: r{index}, {} }}\n", rules[*index]));
            }
            text
        };
        let straight: Vec<usize> = (0..rules.len()).collect();
        let mut turned = straight.clone();
        turned.rotate_left(turn % rules.len());
        turned.reverse();
        let (_, a) = play(&bundle(&text_of(&straight)), &asks);
        let (_, b) = play(&bundle(&text_of(&turned)), &asks);
        for (a, b) in a.iter().zip(&b) {
            prop_assert_eq!(outcome(a), outcome(b));
            prop_assert_eq!(&a.rule, &b.rule);
            prop_assert_eq!(a.retry_after_ms, b.retry_after_ms);
        }
    }

    #[test]
    fn a_shadow_rule_changes_no_verdict(rules in vec(rule(), 0..5), extra in rule(), asks in asks()) {
        let (granted_without, without) = play(&bundle(&text(&rules, None)), &asks);
        let mut more = rules.clone();
        more.push(extra);
        let (granted_with, with) = play(&bundle(&text(&more, Some(rules.len()))), &asks);
        prop_assert_eq!(granted_without, granted_with);
        for (a, b) in without.iter().zip(&with) {
            prop_assert_eq!(outcome(a), outcome(b));
        }
    }

    #[test]
    fn break_glass_lifts_no_denial_and_widens_no_range(rules in vec(rule(), 1..6), ask in asks()) {
        let bundle = bundle(&text(&rules, None));
        let mut open = Judge::new(bundle.clone(), BundleRef::NONE);
        let token = wire::BreakGlassPayload {
            number: 1,
            trust_domain: String::new(),
            nodes: vec![],
            targets: vec![],
            kinds: vec!["power_cap".into(), "restart".into(), "unthrottle".into()],
            open_for_ms: 14_400_000,
            issued_at: Wall(0),
            reason: String::new(),
        };
        open.break_glass(&token, &["a".into(), "b".into()], Now::default(), false).unwrap();
        let mut at = 0;
        for (kind, device, watts, after, fails) in ask {
            at += after;
            let action = action(kind, device, watts);
            let (inputs, judgement) = decide(&open, &action, at);
            let closed = Inputs {
                facts: inputs.facts.iter().filter(|fact| fact.rule != "break_glass").cloned().collect(),
                ..inputs.clone()
            };
            let without = judge(&bundle, &closed);
            prop_assert!(judgement.verdict <= without.verdict);
            match without.verdict {
                Verdict::Allow | Verdict::Clamp | Verdict::Deny => {
                    prop_assert_eq!((judgement.verdict, &judgement.granted), (without.verdict, &without.granted));
                }
                Verdict::Hold | Verdict::RequireApproval => {
                    prop_assert!(judgement.clauses.iter().any(|clause| clause.counterfactual == "lifted by break-glass"));
                }
            }
            if judgement.verdict.runs() {
                open.granted(&inputs, &judgement, &id());
                let end = if fails { OutcomeState::Failed } else { OutcomeState::Applied };
                open.finished(judgement.granted.as_ref().unwrap(), &origin(), end, Mono(at));
            }
        }
    }

    #[test]
    fn no_window_ever_holds_more_than_its_limit(limit in 0usize..5, window in 1u64..100, asks in asks()) {
        let text = format!(
            "bundle: w\nrules:\n  - {{ id: w, kind: rate_limit, selector: {{ kinds: [unthrottle] }}, limit: {limit}, window: {window} s, key: node }}\n"
        );
        let (granted, _) = play(&bundle(&text), &asks);
        let times: Vec<u64> = granted
            .iter()
            .filter(|(_, action)| action.kind == ActionKind::Unthrottle)
            .map(|(at, _)| *at)
            .collect();
        for start in &times {
            let inside = times.iter().filter(|at| (*start..*start + window * 1_000).contains(at)).count();
            prop_assert!(inside <= limit, "{inside} > {limit} from {start}");
        }
    }

    #[test]
    fn what_is_granted_lies_in_every_envelope(low in 50u32..200, more in 0u32..200, asks in asks()) {
        let high = low + more;
        let text = format!(
            "bundle: e\nrules:\n  - {{ id: e, kind: envelope, selector: {{ kinds: [power_cap] }}, min: {low} W, max: {high} W }}\n"
        );
        for (_, action) in play(&bundle(&text), &asks).0 {
            if let ActionKind::PowerCap { milliwatts } = action.kind {
                prop_assert!((low * 1_000..=high * 1_000).contains(&milliwatts));
            }
        }
    }

    #[test]
    fn a_stored_ledger_decides_like_the_live_one(rules in vec(rule(), 0..6), asks in asks()) {
        let bundle = bundle(&text(&rules, None));
        let mut live = Judge::new(bundle.clone(), BundleRef::NONE);
        let mut at = 0;
        for (kind, device, watts, after, _) in asks {
            at += after;
            let action = action(kind, device, watts);
            let mut stored = Judge::new(bundle.clone(), BundleRef::NONE);
            let bytes = codec::encode(&live.ledger());
            stored.restore(codec::decode(&bytes).unwrap());
            prop_assert_eq!(codec::encode(&stored.ledger()), bytes);
            let (inputs, judgement) = decide(&live, &action, at);
            prop_assert_eq!(&decide(&stored, &action, at).1, &judgement);
            if let Some(action) = &judgement.granted {
                live.granted(&inputs, &judgement, &id());
                live.finished(action, &origin(), OutcomeState::Applied, Mono(at));
            }
        }
    }

    #[test]
    fn no_text_panics_the_parser(text in "\\PC{0,300}", noise in "[a-z_:{}\\[\\] \n0-9%-]{0,200}") {
        let _ = Bundle::parse(text.as_bytes());
        let _ = Bundle::parse(format!("bundle: x\nrules:\n  - id: a\n    kind: threshold\n    {noise}").as_bytes());
        let _ = Bundle::parse(format!("bundle: x\n{noise}").as_bytes());
    }

    #[test]
    fn a_mutated_bundle_never_panics(at in 0usize..4_000, byte in any::<u8>(), cut in 0usize..4_000) {
        let mut text = policy::DEMO_BUNDLE.as_bytes().to_vec();
        let place = at % text.len();
        text[place] = byte;
        let _ = Bundle::parse(&text);
        text.truncate(cut % text.len());
        let _ = Bundle::parse(&text);
    }

    #[test]
    fn any_inputs_can_be_judged(facts in vec(("[a-z-]{0,12}|device|cap-cooldown|calm|reflexes", "count|since_ms|wait_ms|min|max|free_in_ms|in_flight", any::<i64>()), 0..12), watts in any::<u32>(), age in any::<u64>(), value in any::<Option<i64>>(), held in any::<u64>()) {
        let bundle = bundle(policy::DEMO_BUNDLE);
        let inputs = Inputs {
            at: Now { mono: Mono(held), wall: Wall(value.unwrap_or(0)) },
            origin: Origin::Rule { rule: "hot-gpu".into() },
            wanted: Action { target: DeviceId::gpu(0), kind: ActionKind::PowerCap { milliwatts: watts } },
            bundle: BundleRef::NONE,
            policy_age_ms: age,
            connected: true,
            clock: ClockState::Steady,
            journal_ok: true,
            held_by: None,
            hub_epoch: HubEpoch(0),
            readings: vec![wire::decision::Observed {
                series: Series::new(DeviceId::gpu(0), Quantity::GpuTemperature),
                value,
                age_ms: Some(age),
                held_ms: held,
            }],
            facts: facts.into_iter().map(|(rule, name, value)| wire::decision::Fact { rule, name, value }).collect(),
        };
        let judgement = judge(&bundle, &inputs);
        prop_assert_eq!(codec::encode(&judgement), codec::encode(&judge(&bundle, &inputs)));
        prop_assert_eq!(judgement.verdict.runs(), judgement.granted.is_some());
        let text = policy::explain(&id(), inputs.at, &wire::Decision { inputs, judgement }, &[]);
        prop_assert!(text.len() > 50);
    }
}
