//! What people are shown: who opened a token, what it lifted, what would have had to be different; and what a hub can say alone.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use policy::{Bundle, Judge, Situation, Want, explain, judge, vet};
use wire::time::ClockState;
use wire::{
    Action, ActionKind, BreakGlassPayload, BundleRef, CommandId, Decision, DeviceId, HubEpoch, Mono, Now, Origin,
    Verdict, Wall,
};

const BUNDLE: &str = "bundle: shown
rules:
  - { id: modest, kind: cel, selector: { kinds: [power_cap] }, require: 'action.amount < value(\"300 W\")', on_violation: hold }
  - { id: ours, kind: cel, selector: { kinds: [power_cap] }, require: 'labels.team == \"ml\"' }
  - { id: known, kind: cel, selector: { kinds: [power_cap] }, require: 'facts.sick < 3' }
";

fn origin() -> Origin {
    Origin::Command {
        id: CommandId([1; 16]),
        who: "cem".into(),
        reason: "test".into(),
    }
}

fn cap(watts: u32) -> Action {
    Action {
        target: DeviceId::gpu(0),
        kind: ActionKind::PowerCap {
            milliwatts: watts * 1_000,
        },
    }
}

/// A decision on a cap of so many watts, as `sentinel why` shows it.
fn shown(engine: &Judge, watts: u32) -> (Verdict, String) {
    let want = Want {
        origin: origin(),
        action: cap(watts),
        readings: vec![],
        rejected: vec![],
        verify: None,
    };
    let situation = Situation {
        now: Now {
            mono: Mono(60_000),
            wall: Wall(60_000),
        },
        policy_age_ms: 0,
        connected: true,
        clock: ClockState::Steady,
        clock_error_ms: Some(0),
        journal_ok: true,
        held_by: None,
        hub_epoch: HubEpoch(0),
    };
    let inputs = engine.inputs(&want, &situation);
    let judgement = judge(engine.bundle(), &inputs);
    let verdict = judgement.verdict;
    let decision = Decision { inputs, judgement };
    (
        verdict,
        explain(&"n.1.1".parse().unwrap(), situation.now, &decision, &[]),
    )
}

#[test]
fn an_explanation_shows_who_broke_the_glass_and_what_would_have_passed() {
    let bundle = Arc::new(Bundle::parse(BUNDLE.as_bytes()).unwrap());
    let mut engine = Judge::new(bundle, BundleRef::NONE);
    engine.set_label(None, "team", Some("ml"));
    engine.set_fact("sick", Some(1));
    let (verdict, text) = shown(&engine, 320);
    assert_eq!(verdict, Verdict::Hold);
    assert!(text.contains("would pass if action.amount < 300 W"), "{text}");

    let token = BreakGlassPayload {
        number: 1,
        trust_domain: String::new(),
        nodes: vec![],
        targets: vec![],
        kinds: vec!["power_cap".into()],
        open_for_ms: 3_600_000,
        issued_at: Wall(0),
        reason: "fire".into(),
    };
    engine
        .break_glass(&token, &["ben".into(), "ana".into()], Now::default(), false)
        .unwrap();
    let (verdict, text) = shown(&engine, 320);
    assert_eq!(verdict, Verdict::Allow);
    assert!(text.contains("break-glass of ana and ben"), "{text}");
    assert!(text.contains("lifted by break-glass"), "{text}");
}

#[test]
fn a_hub_judges_what_needs_neither_facts_nor_labels() {
    let bundle = Bundle::parse(BUNDLE.as_bytes()).unwrap();
    let verdict = |watts| {
        let judgement = vet(&bundle, &cap(watts), &origin(), Now::default());
        (judgement.verdict, judgement.rule)
    };
    assert_eq!(verdict(200), (Verdict::Allow, "command".to_owned()));
    assert_eq!(verdict(320), (Verdict::Hold, "modest".to_owned()));
}

#[test]
fn an_editor_is_told_where_a_condition_is_wrong() {
    assert_eq!(policy::check_condition("labels.team == 'ml'"), Ok(()));
    let (at, message) = policy::check_condition("true && lables.team == 'ml'").unwrap_err();
    assert!(at == 8 && message.contains("did you mean `labels`?"), "{at} {message}");
}
