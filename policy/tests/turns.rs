//! Rates whose key spans nodes: what a node of a hub does with its turn, without it, and without a hub.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use policy::{Bundle, Judge, Situation, Turn, Turns, Want, judge};
use proptest::prelude::*;
use wire::decision::{Inputs, Judgement};
use wire::time::ClockState;
use wire::{
    Action, ActionKind, BundleRef, CommandId, DeviceId, HubEpoch, Mono, Now, Origin, OutcomeState, Verdict, Wall,
};

fn bundle(rule: &str) -> Arc<Bundle> {
    let text = format!("bundle: t\nrules:\n  - {{ id: r, {rule} }}\n");
    Arc::new(Bundle::parse(text.as_bytes()).unwrap())
}

fn ask(judge: &Judge, kind: ActionKind, at: u64) -> (Inputs, Judgement) {
    let want = Want {
        origin: Origin::Command {
            id: CommandId([1; 16]),
            who: "ann".to_owned(),
            reason: "test".to_owned(),
        },
        action: Action {
            target: match kind {
                ActionKind::Restart => DeviceId::workload("train").unwrap(),
                _ => DeviceId::gpu(0),
            },
            kind,
        },
        readings: Vec::new(),
        rejected: Vec::new(),
        verify: None,
    };
    let situation = Situation {
        now: Now {
            mono: Mono(at),
            wall: Wall(0),
        },
        policy_age_ms: 0,
        connected: true,
        clock: ClockState::Steady,
        clock_error_ms: Some(0),
        journal_ok: true,
        held_by: None,
        hub_epoch: HubEpoch(1),
    };
    let inputs = judge.inputs(&want, &situation);
    let judgement = policy::judge(judge.bundle(), &inputs);
    (inputs, judgement)
}

fn heard(mine: bool, given: i64, free_at: Option<u64>) -> Turns {
    Turns::Heard(vec![Turn {
        rule: "r".to_owned(),
        mine,
        given: Some(given),
        free_at: free_at.map(Mono),
    }])
}

/// Verdict, time to wait, what was found false, and whether a turn would help.
fn said(rule: &str, turns: Turns, kind: ActionKind) -> String {
    let mut node = Judge::new(bundle(rule), BundleRef::NONE);
    node.set_turns(turns);
    let (_, judgement) = ask(&node, kind, 1_000);
    let mut text = judgement.verdict.name().to_owned();
    if let Some(ms) = judgement.retry_after_ms {
        text.push_str(&format!(" {ms}"));
    }
    for clause in judgement
        .clauses
        .iter()
        .filter(|clause| clause.rule == "r" && !clause.holds)
    {
        let number = |value: Option<i64>| value.map_or("?".to_owned(), |value| value.to_string());
        let (observed, limit) = (number(clause.observed), number(clause.limit));
        text.push_str(&format!("; {}: {observed} of {limit}", clause.what));
    }
    match &node.bundle().waits_for(&judgement)[..] {
        [] => text,
        rules => format!("{text}; waits by {}", rules.join(", ")),
    }
}

#[test]
fn a_node_of_a_hub_waits_for_its_turn() {
    let rule = "kind: rate_limit, limit: 2, window: 1 h, key: global";
    let check = |turns, expected: &str| assert_eq!(said(rule, turns, ActionKind::Restart), expected);
    check(Turns::Nobody, "allow");
    check(
        heard(false, 1, None),
        "hold 60000; turn of this node among all nodes: 0 of 1; waits by r",
    );
    check(
        heard(false, 2, Some(601_000)),
        "hold 600000; turns of all nodes in 1 h: 2 of 2; turn of this node among all nodes: 0 of 1; waits by r",
    );
    check(heard(true, 2, Some(601_000)), "allow");
    // A hub that has never heard of the rule.
    check(Turns::Heard(Vec::new()), "hold; turns of all nodes in 1 h: ? of 2");
    check(Turns::Unheard, "hold; turns of all nodes in 1 h: ? of 2");
}

#[test]
fn what_is_full_is_named_before_what_waits_for_its_turn() {
    let text = "bundle: t\nrules:\n  - { id: full, kind: rate_limit, limit: 2, window: 1 h, key: global }\n  - { id: a-turn, kind: blast_radius, domain: fleet, max_concurrent: { n: 3 } }\n";
    let mut node = Judge::new(Arc::new(Bundle::parse(text.as_bytes()).unwrap()), BundleRef::NONE);
    node.set_fact("fleet.members", Some(4));
    node.set_fact("fleet.unhealthy", Some(0));
    let named = |node: &mut Judge, given: i64| {
        let turn = |rule: &str, given| Turn {
            rule: rule.to_owned(),
            mine: false,
            given,
            free_at: Some(Mono(601_000)),
        };
        node.set_turns(Turns::Heard(vec![turn("full", Some(given)), turn("a-turn", None)]));
        let (_, judgement) = ask(node, ActionKind::Restart, 1_000);
        assert_eq!(judgement.verdict, Verdict::Hold);
        judgement.rule
    };
    assert_eq!(named(&mut node, 1), "a-turn");
    assert_eq!(named(&mut node, 2), "full");
}

#[test]
fn a_rule_says_what_a_node_without_a_hub_does_and_who_needs_no_turn() {
    let check =
        |rule: &str, turns: Turns, kind, expected: &str| assert_eq!(said(rule, turns, kind), expected, "{rule}");
    let rate = "kind: rate_limit, limit: 2, window: 1 h";
    let waits = || heard(false, 2, None);
    let restart = ActionKind::Restart;
    check(
        &format!("{rate}, key: site, on_missing: allow"),
        Turns::Unheard,
        restart.clone(),
        "allow; turns of the nodes of this site in 1 h: ? of 2",
    );
    check(
        &format!("{rate}, key: cluster, on_missing: deny"),
        Turns::Unheard,
        restart.clone(),
        "deny; turns of the nodes of this cluster in 1 h: ? of 2",
    );
    check(&format!("{rate}, key: node"), waits(), restart.clone(), "allow");
    check(
        &format!("{rate}, key: global, mode: shadow"),
        waits(),
        restart.clone(),
        "allow",
    );
    let cap = ActionKind::PowerCap { milliwatts: 220_000 };
    check(&format!("{rate}, key: global"), waits(), cap.clone(), "allow");
    // A budget counts safety reflexes, and lets none of them wait for others.
    check(
        "kind: budget, limit: 2, window: 1 h, key: global",
        waits(),
        cap,
        "allow",
    );
    check(
        "kind: budget, limit: 2, window: 1 h, key: global",
        waits(),
        restart.clone(),
        "deny; turns of all nodes in 1 h: 2 of 2; turn of this node among all nodes: 0 of 1",
    );
    // To wait is no violation, whatever the rule makes of one.
    check(
        &format!("{rate}, key: global, on_violation: deny"),
        heard(false, 1, None),
        restart.clone(),
        "hold 60000; turn of this node among all nodes: 0 of 1; waits by r",
    );
    check(
        "kind: blast_radius, domain: rack, max_concurrent: { n: 1 }, on_missing: allow, on_violation: deny",
        heard(false, 0, None),
        restart,
        "allow; members of rack touched or unhealthy with this: ? of ?",
    );
}

#[test]
fn what_a_hub_cannot_count_is_refused_when_the_bundle_is_read() {
    let check = |rule: &str, field: &str, advice: &str| {
        let text = format!("bundle: t\nrules:\n  - {{ id: r, kind: rate_limit, window: 1 h, {rule} }}\n");
        let problems = Bundle::parse(text.as_bytes()).unwrap_err();
        let [problem] = &problems[..] else {
            panic!("{problems:?}")
        };
        assert!(problem.field.ends_with(field), "{problem:?}");
        assert!(problem.message.contains(advice), "{problem:?}");
    };
    check("limit: 20, key: global, algorithm: gcra", "algorithm", "`key: node`");
    check("limit: 2000, key: cluster", "limit", "at most 1024");
    check("limit: 20, on_missing: allow", "on_missing", "leave it out");
    check(
        "limit: 20, key: kind, on_missing: hold",
        "on_missing",
        "global, cluster and site",
    );
}

proptest! {
    #[test]
    fn a_hub_never_lets_a_node_do_more_than_its_own_count_does(
        limit in 1u32..4,
        steps in proptest::collection::vec((0u64..2_000, any::<bool>(), 0i64..4), 1..60),
    ) {
        let bundle = bundle(&format!("kind: rate_limit, limit: {limit}, window: 3 s, key: global"));
        let mut node = Judge::new(bundle.clone(), BundleRef::NONE);
        let (mut at, mut ran) = (0, Vec::new());
        for (after, mine, given) in steps {
            at += after;
            node.set_turns(heard(mine, given, None));
            let (inputs, judgement) = ask(&node, ActionKind::Restart, at);
            prop_assert_eq!(&judge(&bundle, &inputs), &judgement);
            let count = ran.iter().filter(|then| at - **then < 3_000).count();
            let may = mine && count < limit as usize;
            prop_assert_eq!(judgement.verdict == Verdict::Allow, may, "{:?} at {}", ran, at);
            // A turn helps if and only if it is what lacks.
            let waits = !bundle.waits_for(&judgement).is_empty();
            prop_assert_eq!(waits, !mine && count < limit as usize);
            if let Some(action) = &judgement.granted {
                prop_assert_eq!(bundle.turns_in(&judgement), ["r"]);
                node.granted(&inputs, &judgement, &"n.1.1".parse().unwrap());
                node.finished(action, &inputs.origin, OutcomeState::Applied, Mono(at));
                ran.push(at);
            }
        }
    }
}
