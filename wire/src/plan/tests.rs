use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::codec;
use crate::reading::{DeviceId, Quantity};

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    owned.collect()
}

fn cap() -> DraftStep {
    DraftStep {
        verb: "power_cap".to_owned(),
        target: texts(&[("node", "edge-03"), ("device", "gpu0")]),
        params: texts(&[("watts", "280")]),
        metric: "gpu.temperature".to_owned(),
        delta: -8_000,
        within_ms: 120_000,
        ..DraftStep::default()
    }
}

fn draft(steps: Vec<Step>) -> Draft {
    Draft {
        source: Source::Brain {
            name: "embedded".to_owned(),
            model: "1".to_owned(),
        },
        tenant: String::new(),
        reason: "gpu0 will be too hot in 6 min".to_owned(),
        key: "p-1".to_owned(),
        correlation: String::new(),
        claim: Some(Claim {
            prediction: "p-1".to_owned(),
            class: "gpu-overheat".to_owned(),
            confidence_bp: 9_000,
            horizon_ms: 600_000,
        }),
        steps,
        not_after: None,
    }
}

fn plan(change: impl FnOnce(&mut Draft)) -> Result<Plan, PlanProblem> {
    let mut draft = draft(vec![read_step(&cap()).expect("a step")]);
    change(&mut draft);
    Plan::new(PlanId([7; 16]), draft, Wall(1_000_000))
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, PlanProblem>, field: &str, part: &str) {
    let problem = result.expect_err("it is refused");
    assert_eq!(problem.field, field, "{problem}");
    assert!(problem.problem.contains(part), "{problem}");
}

#[test]
fn a_cap_is_read_with_its_expected_effect_on_its_own_device() {
    let step = read_step(&cap()).expect("a step");
    assert_eq!(step.verb, Verb::PowerCap { milliwatts: 280_000 });
    assert_eq!(step.target.to_string(), "edge-03/gpu0");
    assert_eq!(step.valid_for_ms, 900_000);
    let effect = step.expected.expect("an effect");
    assert_eq!(effect.metric.device, DeviceId::gpu(0));
    assert_eq!(effect.metric.quantity, Quantity::GpuTemperature);
}

#[test]
fn every_spelling_of_the_original_names_its_target() {
    let check = |pairs: &[(&str, &str)], expected: &str| {
        let target = Target::read(&texts(pairs)).unwrap_or_else(|problem| panic!("{pairs:?}: {problem}"));
        assert_eq!(target.to_string(), expected);
    };
    check(&[("workload", "web")], "default:default/deployment/web");
    check(
        &[("workload", "web"), ("namespace", "shop")],
        "default:shop/deployment/web",
    );
    check(&[("deployment_id", "d1")], "default:default/deployment/d1");
    check(&[("deploymentId", "d1"), ("cluster", "eu")], "eu:default/deployment/d1");
    check(
        &[("deployment", "d1"), ("workload", "d1")],
        "default:default/deployment/d1",
    );
    check(&[("node", "edge-03")], "edge-03/node");
    check(&[("node", "edge-03"), ("workload", "train")], "edge-03/workload:train");
    check(&[("node", "n1"), ("cluster", "eu")], "eu:node/n1");
}

#[test]
fn a_target_that_names_nothing_or_two_things_is_refused_with_the_field() {
    let check = |pairs: &[(&str, &str)], field: &str, part: &str| refused(Target::read(&texts(pairs)), field, part);
    check(&[], "target", "names nothing");
    check(&[("w", "x")], "target.w", "no part of a target");
    check(
        &[("workload", "web"), ("environment", "prod")],
        "target.environment",
        "cluster",
    );
    check(&[("deployment", "a"), ("workload", "b")], "target.workload", "`a`");
    check(
        &[("node", "edge-03"), ("deployment", "a")],
        "target.deployment",
        "one of the two",
    );
    check(&[("node", "Edge 3")], "target.node", "Edge 3");
    check(&[("deployment", "../../etc")], "target.deployment", "../../etc");
    check(
        &[("node", "n"), ("device", "gpu0"), ("workload", "w")],
        "target.device",
        "two things",
    );
}

#[test]
fn parameters_have_no_silent_default_and_zero_is_a_value() {
    let read = |verb: &str, pairs: &[(&str, &str)]| Verb::read(verb, &texts(pairs));
    assert_eq!(read("scale", &[("replicas", "0")]), Ok(Verb::Scale { replicas: 0 }));
    refused(read("scale", &[]), "params", "replicas");
    refused(read("scale", &[("replicas", "NaN")]), "params.replicas", "NaN");
    refused(read("scale", &[("replicas", "-1")]), "params.replicas", "-1");
    refused(
        read("scale", &[("replicas", "99999999999")]),
        "params.replicas",
        "whole number",
    );
    refused(read("power_cap", &[("watts", "inf")]), "params.watts", "inf");
    refused(read("power_cap", &[("to", "280")]), "params.to", "280 W");
    refused(
        read("power_cap", &[("to", "280 W"), ("watts", "1")]),
        "params",
        "exactly one",
    );
    refused(
        read("power_cap", &[("watts", "0")]),
        "params.milliwatts",
        "no power limit",
    );
    refused(read("throttle", &[("to", "200 %")]), "params.share_bp", "20000");
    refused(read("restart", &[("force", "true")]), "params.force", "takes none");
    refused(read("optimize", &[]), "verb", "optimize");
    assert_eq!(
        read("power_cap", &[("to", "280.5 W")]),
        Ok(Verb::PowerCap { milliwatts: 280_500 })
    );
    assert_eq!(
        read("throttle", &[("to", "12.5 %")]),
        Ok(Verb::Throttle { share_bp: 1_250 })
    );
    let claimed = read("scale", &[("replicas", "3"), ("estimated_cost_per_hour", "0.01")]);
    assert_eq!(claimed, Ok(Verb::Scale { replicas: 3 }));
}

#[test]
fn a_verb_is_done_only_to_what_it_can_be_done_to() {
    let check = |verb: &str, params: &[(&str, &str)], target: &[(&str, &str)]| {
        read_step(&DraftStep {
            verb: verb.to_owned(),
            params: texts(params),
            target: texts(target),
            ..DraftStep::default()
        })
    };
    let node = [("node", "edge-03")];
    refused(check("power_cap", &[("watts", "280")], &node), "target", "GPU");
    refused(check("scale", &[("replicas", "2")], &node), "target", "deployment");
    refused(check("restart", &[], &node), "target", "supervised process");
    assert!(check("restart", &[], &[("workload", "web")]).is_ok());
    assert!(check("restart", &[], &[("node", "edge-03"), ("workload", "web")]).is_ok());
    assert!(check("drain", &[], &node).is_ok());
    assert!(check("drain", &[], &[("node", "n1"), ("cluster", "eu")]).is_ok());
}

#[test]
fn a_plan_ends_with_its_longest_step_unless_it_says_otherwise() {
    let plain = plan(|_| {}).expect("a plan");
    assert_eq!(plain.not_after, Wall(1_900_000));
    let said = plan(|draft| draft.not_after = Some(Wall(1_100_000))).expect("a plan");
    assert_eq!((said.not_after, said.step_ends(0)), (Wall(1_100_000), Wall(1_100_000)));
}

#[test]
fn every_field_out_of_bounds_is_named() {
    refused(
        plan(|draft| draft.not_after = Some(Wall(999_999))),
        "not_after",
        "is over",
    );
    let far = Some(Wall(i64::MAX));
    refused(plan(move |draft| draft.not_after = far), "not_after", "7 days");
    refused(plan(|draft| draft.steps.clear()), "steps", "none");
    refused(
        plan(|draft| draft.steps = vec![draft.steps[0].clone(); 17]),
        "steps",
        "17",
    );
    refused(plan(|draft| draft.reason.clear()), "reason", "empty");
    refused(plan(|draft| draft.reason = "x".repeat(501)), "reason", "501");
    refused(plan(|draft| draft.key = "a\u{1b}[2J".to_owned()), "key", "control");
    refused(
        plan(|draft| draft.steps[0].valid_for_ms = 59_999),
        "steps[0].valid_for_ms",
        "59999",
    );
    refused(
        plan(|draft| draft.steps[0].valid_for_ms = 3_600_001),
        "steps[0].valid_for_ms",
        "3600001",
    );
    refused(
        plan(|draft| {
            draft.steps[0].safety = Some(Safety {
                limit: 0,
                window_ms: 1_000,
            })
        }),
        "steps[0].safety.limit",
        "0",
    );
    let claim = |change: fn(&mut Claim)| plan(|draft| change(draft.claim.as_mut().expect("a claim")));
    refused(claim(|claim| claim.confidence_bp = 10_001), "confidence", "10001");
    refused(claim(|claim| claim.horizon_ms = 0), "horizon_ms", "0");
}

#[test]
fn half_of_the_expected_effect_in_its_direction_is_enough() {
    let effect = read_step(&cap()).expect("a step").expected.expect("an effect");
    let check = |after: i64, expected: bool| assert_eq!(effect.is_met(85_000, after), expected, "{after}");
    check(77_000, true);
    check(81_000, true);
    check(81_001, false);
    check(85_000, false);
    check(93_000, false);
    assert!(effect.is_met(i64::MAX, i64::MIN));
}

#[test]
fn only_final_states_have_no_successor_and_each_other_has_a_deadline_and_an_end() {
    for state in PlanState::ALL {
        assert_eq!(state.successors().is_empty(), state.is_final(), "{state:?}");
        assert_eq!(state.longest().is_none(), state.is_final(), "{state:?}");
        assert_eq!(PlanState::from_name(state.name()), Some(state));
        // A way to a final state that never repeats a state.
        let mut reached = vec![state];
        let mut next = 0;
        while next < reached.len() {
            for follower in reached[next].successors() {
                if !reached.contains(follower) {
                    reached.push(*follower);
                }
            }
            next += 1;
        }
        assert!(reached.iter().any(|state| state.is_final()), "{state:?}");
    }
}

#[test]
fn the_largest_plan_fits_its_bound() {
    let mut step = read_step(&DraftStep {
        verb: "notify".to_owned(),
        target: texts(&[("node", &"n".repeat(63)), ("device", &"g".repeat(128))]),
        params: texts(&[("message", &"ä".repeat(MAX_TEXT / 2))]),
        ..cap()
    })
    .expect("a step");
    step.safety = Some(Safety {
        limit: u32::MAX,
        window_ms: 1_000,
    });
    let long = || "x".repeat(MAX_NAME);
    let plan = plan(|draft| {
        draft.steps = vec![step; MAX_STEPS];
        draft.tenant = long();
        draft.key = long();
        draft.correlation = long();
        draft.reason = "r".repeat(MAX_TEXT);
    })
    .expect("a plan");
    assert!(codec::encode(&plan).len() < MAX_PLAN_BYTES);
}

fn any_verb() -> impl Strategy<Value = Verb> {
    prop_oneof![
        (1..=u32::MAX).prop_map(|milliwatts| Verb::PowerCap { milliwatts }),
        Just(Verb::ReleasePowerCap),
        (100..=10_000_u16).prop_map(|share_bp| Verb::Throttle { share_bp }),
        Just(Verb::Unthrottle),
        Just(Verb::Restart),
        "[ -~]{1,40}".prop_map(|message| Verb::Notify { message }),
        Just(Verb::Cordon),
        Just(Verb::Uncordon),
        Just(Verb::Drain),
        (0..=10_000_u32).prop_map(|replicas| Verb::Scale { replicas }),
        "[a-z0-9.]{0,12}".prop_map(|revision| Verb::Rollback { revision }),
        "[a-z0-9./:]{1,40}".prop_map(|image| Verb::Update { image }),
        "[a-z0-9]{0,12}".prop_map(|node| Verb::Reschedule { node }),
        ("[a-z0-9./:]{1,40}", 0..=10_000_u32, 0..4_u32, "[a-z0-9]{0,12}").prop_map(|(image, replicas, gpus, nodes)| {
            let demand = crate::Demand {
                gpus,
                gang: gpus > 1,
                labels: vec![("rack".to_owned(), "r7".to_owned())],
                ..crate::Demand::default()
            };
            let kind = if gpus > 2 { "training" } else { "" };
            Verb::Deploy {
                image,
                replicas,
                demand,
                nodes,
                kind: kind.to_owned(),
            }
        }),
    ]
}

proptest! {
    #[test]
    fn a_verb_is_read_from_its_own_name_and_parameters(verb in any_verb()) {
        prop_assert_eq!(Verb::read(verb.name(), &verb.params()), Ok(verb));
    }

    #[test]
    fn a_target_is_read_from_its_own_fields(cluster in "[a-z0-9]{1,8}", name in "[a-z0-9]{1,8}", which in 0..3) {
        let target = match which {
            0 => Target::Deployment { cluster, namespace: "ns".to_owned(), name },
            1 => Target::ClusterNode { cluster, name },
            _ => Target::Device { node: crate::AgentId::new(name).expect("a name"), device: DeviceId::gpu(3) },
        };
        prop_assert_eq!(Target::read(&target.fields()), Ok(target));
    }

    #[test]
    fn no_texts_make_the_reader_panic(verb in "\\PC{0,12}", key in "\\PC{0,12}", value in "\\PC{0,24}") {
        for name in Verb::NAMES.iter().copied().chain([verb.as_str()]) {
            for param in ["to", "watts", "milliwatts", "share_bp", "replicas", key.as_str()] {
                let _ = Verb::read(name, &BTreeMap::from([(param.to_owned(), value.clone())]));
            }
        }
        let _ = Target::read(&BTreeMap::from([(key, value)]));
    }
}
