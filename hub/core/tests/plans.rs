//! Plans over a whole hub: what leaves when, what comes back, what a crash at any point leaves behind.
#![allow(clippy::unwrap_used)]

mod world;

use hub_core::plans::{BrainRecord, PlanAsk, PlanRecord, Tier, brain_view};
use hub_core::{Answer, Request, SessionId, decode_document};
use wire::action::{Action, ActionKind, Outcome, OutcomeState};
use wire::change::{Caller, ChangeRecord, Via};
use wire::decision::{Authority, Decision, Inputs, Judgement, Verdict};
use wire::entry::EntryBody;
use wire::frame::{Frame, Order, PlanCommand, TelemetryBlock};
use wire::plan::{Claim, Draft, ExpectedEffect, PlanState, Safety, Source, Step, Target, Verb};
use wire::reading::{DeviceId, Quantity, Reading, Series};
use wire::telemetry::Encoder;
use wire::time::ClockState;
use wire::{AgentId, BundleRef, DecisionId, HubEpoch, Now, Origin, PlanId, Seq};

use world::World;

fn gpu() -> Series {
    Series::new(DeviceId::gpu(0), Quantity::GpuTemperature)
}

fn draft(verb: Verb) -> Draft {
    let step = Step {
        verb,
        target: Target::Device {
            node: AgentId::new("edge-0").unwrap(),
            device: DeviceId::gpu(0),
        },
        expected: None,
        safety: None,
        valid_for_ms: 600_000,
    };
    Draft {
        source: Source::Brain {
            name: "embedded".to_owned(),
            model: "1".to_owned(),
        },
        tenant: String::new(),
        reason: "gpu0 will be too warm in 4 min".to_owned(),
        key: String::new(),
        correlation: String::new(),
        claim: Some(Claim {
            prediction: "p".to_owned(),
            class: "gpu-overheat".to_owned(),
            confidence_bp: 8_000,
            horizon_ms: 240_000,
        }),
        steps: vec![step],
        not_after: None,
    }
}

fn cap() -> Draft {
    draft(Verb::PowerCap { milliwatts: 280_000 })
}

fn expecting(mut draft: Draft, delta: i64) -> Draft {
    draft.steps[0].expected = Some(ExpectedEffect {
        metric: gpu(),
        delta,
        within_ms: 60_000,
    });
    draft
}

fn id(n: u8) -> PlanId {
    PlanId([n; 16])
}

/// A hub with a bundle and one connected node, and a brain that may do what it wants within policy.
fn ready(bundle: &str) -> (World, SessionId) {
    let (mut world, session) = untrusting(bundle);
    for verb in ["power_cap", "release_power_cap", "restart"] {
        grant(&mut world, verb, Tier::T3);
    }
    (world, session)
}

/// The same where nobody has graded the brain yet.
fn untrusting(bundle: &str) -> (World, SessionId) {
    let mut world = World::new(1);
    world.publish(bundle);
    world.settle();
    let session = world.join(0).unwrap();
    world.settle();
    (world, session)
}

fn grant(world: &mut World, verb: &str, tier: Tier) -> u64 {
    let what = PlanAsk::Grant {
        brain: "embedded".to_owned(),
        verb: verb.to_owned(),
        tier,
        reason: "it was watched for a month".to_owned(),
    };
    let request = ask(world, what);
    world.settle();
    request
}

/// What is stored of the brain with this verb.
fn graded(world: &World, verb: &str) -> wire::api::BrainView {
    let put = &world.store.documents[&("brain", format!("embedded/{verb}"))];
    let found: BrainRecord = decode_document(&put.id, put.record.as_deref().unwrap()).unwrap();
    brain_view(&found, world.now)
}

/// The hub's own entries with this verb, as people read them.
fn told(world: &World, verb: &str) -> Vec<ChangeRecord> {
    let entries = world.store.entries.iter().filter(|((of, _), _)| of.is_hub());
    let bytes = entries.flat_map(|(_, entries)| entries.values());
    let changes = bytes.filter_map(|bytes| match wire::codec::decode::<wire::Entry>(bytes).unwrap().body {
        EntryBody::Changed(change) => Some(*change),
        _ => None,
    });
    changes.filter(|change| change.verb == verb).collect()
}

fn ask(world: &mut World, what: PlanAsk) -> u64 {
    let caller = Caller::new("ann", Via::Api);
    world.request(Request::Plan { caller, what })
}

fn submit(world: &mut World, n: u8, draft: Draft) -> u64 {
    let mut draft = Box::new(draft);
    // A prediction belongs to one plan.
    if let Some(claim) = draft.claim.as_mut().filter(|claim| claim.prediction == "p") {
        claim.prediction = format!("p-{n}");
    }
    ask(world, PlanAsk::Submit { id: id(n), draft })
}

fn answer(world: &World, request: u64) -> String {
    match world.replies.get(&request).map(Vec::as_slice) {
        Some([Answer::Plan(record)]) => format!("plan {}", record.plan.id),
        Some([Answer::Rejected { reason } | Answer::Unavailable { reason }]) => reason.clone(),
        Some([]) | None => "no answer".to_owned(),
        other => panic!("{other:?}"),
    }
}

/// A plan as the store has it.
fn stored(world: &World, n: u8) -> PlanRecord {
    let put = &world.store.documents[&("plan", id(n).to_string())];
    decode_document(&put.id, put.record.as_deref().unwrap()).unwrap()
}

/// The verbs of the hub's own entries about plans, in order.
fn life(world: &World) -> Vec<String> {
    let entries = world.store.entries.iter().filter(|((of, _), _)| of.is_hub());
    let bytes = entries.flat_map(|(_, entries)| entries.values());
    let verbs = bytes.filter_map(|bytes| match wire::codec::decode::<wire::Entry>(bytes).unwrap().body {
        EntryBody::Changed(change) => change.verb.strip_prefix("plan.").map(str::to_owned),
        _ => None,
    });
    verbs.collect()
}

/// Every step that any session was sent.
fn steps(world: &World) -> Vec<PlanCommand> {
    let mut sent: Vec<PlanCommand> = world.heard.values().flat_map(|heard| heard.steps()).cloned().collect();
    sent.sort_by_key(|step| (step.undo, step.command.id));
    sent
}

fn decided(origin: Origin, action: Action, verdict: Verdict) -> EntryBody {
    let decision = Decision {
        inputs: Inputs {
            at: Now::default(),
            origin,
            wanted: action.clone(),
            bundle: BundleRef::NONE,
            policy_age_ms: 0,
            connected: true,
            clock: ClockState::Steady,
            journal_ok: true,
            held_by: None,
            hub_epoch: HubEpoch(1),
            readings: Vec::new(),
            facts: Vec::new(),
        },
        judgement: Judgement {
            verdict,
            rule: "r".to_owned(),
            granted: verdict.runs().then_some(action),
            retry_after_ms: None,
            valid_for_ms: 1_000,
            authority: Authority::Full,
            clauses: Vec::new(),
            rejected: Vec::new(),
        },
    };
    EntryBody::Decided(Box::new(decision))
}

/// The node decides on something that no plan asked for.
fn decide(world: &mut World, origin: Origin, device: &str, verdict: Verdict) {
    let action = Action {
        target: DeviceId::new(device).unwrap(),
        kind: ActionKind::PowerCap { milliwatts: 200_000 },
    };
    let body = decided(origin, action, verdict);
    world.agents[0].push(body);
    world.send_next(0, 1);
    world.settle();
}

/// The node decides on a step and, if it runs, carries it out.
fn carry_out(world: &mut World, step: &PlanCommand, verdict: Verdict, state: OutcomeState) {
    let Order::Act(action) = step.command.what.clone() else {
        panic!("a step acts");
    };
    let origin = Origin::Plan {
        id: step.command.id,
        plan: step.plan,
        step: step.step,
        undo: step.undo,
        brain: step.brain,
        who: step.command.who.clone(),
        reason: step.command.reason.clone(),
    };
    let agent = &mut world.agents[0];
    let entry = agent.push(decided(origin, action, verdict));
    if verdict.runs() {
        let decision = DecisionId {
            agent: agent.id.clone(),
            epoch: agent.epoch(),
            seq: entry.seq,
        };
        agent.push(EntryBody::Acted(Outcome {
            decision,
            state,
            before: None,
            after: None,
            probed: false,
            detail: String::new(),
        }));
    }
    world.send_next(0, 2);
    world.settle();
}

/// Sends the GPU's temperature, in thousandths of a degree.
fn warm(world: &mut World, encoder: &mut Encoder, seq: u64, value: i64) {
    let session = world.agents[0].session.unwrap();
    encoder.observe(&[Reading {
        series: gpu(),
        value: Some(value),
    }]);
    encoder.sample(world.now);
    let block = TelemetryBlock {
        epoch: world.agents[0].epoch(),
        seq: Seq(seq),
        block: encoder.take_block().unwrap(),
    };
    world.frame(session, Frame::Telemetry(block));
    world.settle();
}

#[test]
fn a_plan_is_judged_sent_and_completed_and_the_journal_tells_it() {
    let (mut world, _) = ready(policy::DEMO_BUNDLE);
    let request = submit(&mut world, 1, cap());
    assert_eq!(answer(&world, request), "no answer", "not stored yet");
    world.commit();
    assert_eq!(answer(&world, request), format!("plan {}", id(1)));
    world.settle();
    let sent = steps(&world);
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert!(sent[0].brain && sent[0].plan == id(1));
    carry_out(&mut world, &sent[0], Verdict::Allow, OutcomeState::Applied);
    let record = stored(&world, 1);
    assert_eq!(record.state, PlanState::Completed, "{}", record.detail);
    assert!(record.steps[0].decision.is_some());
    let expected = "submit decided scheduled leased executing completed";
    assert_eq!(life(&world).join(" "), expected);
}

#[test]
fn the_node_has_the_last_word() {
    let (mut world, _) = ready(policy::DEMO_BUNDLE);
    submit(&mut world, 1, cap());
    world.settle();
    let sent = steps(&world);
    carry_out(&mut world, &sent[0], Verdict::Deny, OutcomeState::Dropped);
    let record = stored(&world, 1);
    assert_eq!(record.state, PlanState::Failed);
    assert!(
        record.detail.contains("its node decided otherwise: edge-0.1."),
        "{}",
        record.detail
    );
}

#[test]
fn an_expected_effect_is_looked_for_in_the_stored_readings_and_undone_where_it_does_not_come() {
    for (after, expected) in [(70_000, PlanState::Completed), (81_000, PlanState::RolledBack)] {
        let (mut world, _) = ready(policy::DEMO_BUNDLE);
        let mut encoder = Encoder::new();
        warm(&mut world, &mut encoder, 1, 80_000);
        submit(&mut world, 1, expecting(cap(), -12_000));
        world.settle();
        let sent = steps(&world);
        carry_out(&mut world, &sent[0], Verdict::Allow, OutcomeState::Applied);
        assert_eq!(stored(&world, 1).state, PlanState::Verifying);
        warm(&mut world, &mut encoder, 2, after);
        world.advance(200_000);
        world.settle();
        if let Some(undo) = steps(&world).into_iter().find(|step| step.undo) {
            assert!(matches!(&undo.command.what, Order::Act(action) if action.kind.name() == "release_power_cap"));
            carry_out(&mut world, &undo, Verdict::Allow, OutcomeState::Applied);
        }
        let record = stored(&world, 1);
        assert_eq!(record.state, expected, "{}", record.detail);
        let label = record.outcome().unwrap().label();
        assert_eq!(label, Some(expected == PlanState::Completed));
    }
}

#[test]
fn a_freeze_holds_a_plan_and_says_until_when() {
    let freeze = "
  - id: launch
    kind: change_freeze
    spans:
      - { local_start: 2026-11-01, local_end: 2027-02-01 }
";
    let bundle = format!("{}{freeze}", policy::DEMO_BUNDLE.trim_end());
    let (mut world, _) = ready(&bundle);
    submit(&mut world, 1, draft(Verb::ReleasePowerCap));
    world.settle();
    let record = stored(&world, 1);
    assert_eq!(record.state, PlanState::Held, "{}", record.detail);
    assert!(
        record.detail.contains("by rule launch") && record.detail.contains("until 2027-"),
        "{}",
        record.detail
    );
    assert!(steps(&world).is_empty());
    world.advance(700_000);
    world.settle();
    assert_eq!(
        stored(&world, 1).state,
        PlanState::Expired,
        "its own time is over first"
    );
}

#[test]
fn what_cannot_be_done_is_refused_with_the_field_and_the_way_out() {
    let (mut world, _) = ready(policy::DEMO_BUNDLE);
    let mut unknown = cap();
    unknown.steps[0].target = Target::Device {
        node: AgentId::new("edge-9").unwrap(),
        device: DeviceId::gpu(0),
    };
    let request = submit(&mut world, 1, unknown);
    assert!(answer(&world, request).starts_with("steps[0].target.node: there is no node `edge-9`"));
    let mut drain = draft(Verb::Drain);
    drain.steps[0].target = Target::Device {
        node: AgentId::new("edge-0").unwrap(),
        device: DeviceId::node(),
    };
    let request = submit(&mut world, 2, drain);
    assert!(
        answer(&world, request).contains("no registered cluster has node `edge-0`, and agents do not `drain`"),
        "{}",
        answer(&world, request)
    );
    let id = id(7);
    let request = ask(&mut world, PlanAsk::Approve { id });
    assert!(answer(&world, request).starts_with("there is no live plan"));
}

#[test]
fn one_live_plan_for_each_target_and_the_same_key_is_the_same_plan() {
    let (mut world, _) = ready(policy::DEMO_BUNDLE);
    world.close(0, "cut");
    let mut keyed = cap();
    keyed.key = "k".to_owned();
    submit(&mut world, 1, keyed.clone());
    world.settle();
    let again = submit(&mut world, 2, keyed);
    world.settle();
    assert_eq!(answer(&world, again), format!("plan {}", id(1)));
    // It did nothing yet: a newer one takes its place.
    let newer = submit(&mut world, 3, cap());
    world.settle();
    assert_eq!(answer(&world, newer), format!("plan {}", id(3)));
    assert_eq!(stored(&world, 1).state, PlanState::Superseded);
    world.join(0).unwrap();
    world.settle();
    assert_eq!(steps(&world).len(), 1, "the node came, and the plan goes on");
    let busy = submit(&mut world, 4, cap());
    world.settle();
    assert!(answer(&world, busy).contains("has plan"), "{}", answer(&world, busy));
}

#[test]
fn a_hub_that_dies_at_any_point_asks_for_nothing_twice_and_the_plan_ends() {
    for crash_at in 0..12 {
        for written in [false, true] {
            let (mut world, _) = ready(policy::DEMO_BUNDLE);
            let request = submit(&mut world, 1, cap());
            for _ in 0..crash_at {
                if world.batch.is_some() {
                    world.commit();
                }
            }
            let was_sent = !steps(&world).is_empty();
            world.restart(written);
            world.settle();
            world.join(0).unwrap();
            world.settle();
            let sent = steps(&world);
            let commands: std::collections::BTreeSet<_> = sent.iter().map(|step| step.command.id).collect();
            assert!(commands.len() <= 1, "crash {crash_at}: {sent:?}");
            if let (Some(step), false) = (sent.first(), was_sent) {
                let step = step.clone();
                carry_out(&mut world, &step, Verdict::Allow, OutcomeState::Applied);
            }
            for _ in 0..40 {
                world.advance(60_000);
                world.settle();
            }
            let key = ("plan", id(1).to_string());
            match world.store.documents.get(&key) {
                Some(_) => assert!(
                    stored(&world, 1).state.is_final(),
                    "crash {crash_at}: {:?}",
                    stored(&world, 1).state
                ),
                None => assert_eq!(answer(&world, request), "no answer", "it was never promised"),
            }
        }
    }
}

#[test]
fn what_is_said_to_a_plan_that_is_not_stored_is_lost_with_it() {
    let (mut world, _) = ready(policy::DEMO_BUNDLE);
    let sent = submit(&mut world, 1, cap());
    assert!(world.batch.is_some(), "it is on its way to the store");
    let reason = "too late".to_owned();
    let called_off = ask(&mut world, PlanAsk::Cancel { id: id(1), reason });
    world.fail();
    world.advance(60_000);
    world.settle();
    assert!(!world.store.documents.contains_key(&("plan", id(1).to_string())));
    for request in [sent, called_off] {
        assert_eq!(answer(&world, request), "disk full");
    }
    let again = submit(&mut world, 1, cap());
    world.settle();
    assert_eq!(answer(&world, again), format!("plan {}", id(1)));
}

#[test]
fn a_plan_that_took_the_place_of_one_whose_end_is_lost_is_lost_too() {
    let (mut world, _) = ready(policy::DEMO_BUNDLE);
    submit(&mut world, 1, cap());
    world.commit();
    assert!(
        world.batch.is_some(),
        "what policy said of it is on its way to the store"
    );
    let reason = "too late".to_owned();
    ask(&mut world, PlanAsk::Cancel { id: id(1), reason });
    let second = submit(&mut world, 2, cap());
    world.fail();
    world.advance(60_000);
    world.settle();
    assert_eq!(answer(&world, second), "disk full", "its target was never free");
    assert!(!world.store.documents.contains_key(&("plan", id(2).to_string())));
}

#[test]
fn a_hub_that_dies_between_an_intent_and_its_command_asks_for_it_when_it_is_back() {
    let mut found = 0;
    for crash_at in 0..12 {
        let (mut world, _) = ready(policy::DEMO_BUNDLE);
        submit(&mut world, 1, cap());
        for _ in 0..crash_at {
            if world.batch.is_some() {
                world.commit();
            }
        }
        let is_stored = world.store.documents.contains_key(&("plan", id(1).to_string()));
        if !is_stored || stored(&world, 1).state != PlanState::Executing || !steps(&world).is_empty() {
            continue;
        }
        found += 1;
        world.restart(false);
        world.settle();
        world.join(0).unwrap();
        world.settle();
        let sent = steps(&world);
        assert_eq!(sent.len(), 1, "no time has passed: {:?}", stored(&world, 1));
        carry_out(&mut world, &sent[0], Verdict::Allow, OutcomeState::Applied);
        assert_eq!(stored(&world, 1).state, PlanState::Completed);
    }
    assert!(found > 0, "there is such a moment");
}

#[test]
fn a_brain_that_has_earned_nothing_waits_for_a_person_and_says_what_would_change_that() {
    let (mut world, _) = untrusting(policy::DEMO_BUNDLE);
    submit(&mut world, 1, cap());
    world.settle();
    let record = stored(&world, 1);
    assert_eq!(record.state, PlanState::AwaitingApproval, "{}", record.detail);
    for part in [
        "embedded has tier T0 shadow",
        "needs T2 bounded",
        "sentinel brain grant embedded power_cap T2",
    ] {
        assert!(
            record.detail.contains(part),
            "`{part}` is missing in: {}",
            record.detail
        );
    }
    assert!(steps(&world).is_empty());
    let approved = ask(&mut world, PlanAsk::Approve { id: id(1) });
    world.settle();
    assert_eq!(answer(&world, approved), format!("plan {}", id(1)));
    let sent = steps(&world);
    assert!(
        !sent[0].brain && sent[0].command.who == "ann",
        "a person stands behind it now"
    );

    let again = grant(&mut world, "power_cap", Tier::T2);
    assert!(matches!(world.replies[&again].as_slice(), [Answer::Brain(view)] if view.tier == "T2"));
    let entry = &told(&world, "brain.tier")[0];
    assert_eq!(
        (entry.target.as_str(), entry.caller.name.as_str()),
        ("brain/embedded/power_cap", "ann")
    );
    let same = grant(&mut world, "power_cap", Tier::T2);
    assert_eq!(
        answer(&world, same),
        "tier: embedded has T2 bounded for power_cap already"
    );
}

/// A plan that runs to its end and finds the GPU at `after`.
fn play(world: &mut World, encoder: &mut Encoder, n: u8, after: i64) {
    let seq = u64::from(n) * 2;
    warm(world, encoder, seq - 1, 80_000);
    submit(world, n, expecting(cap(), -12_000));
    world.settle();
    let step = steps(world).into_iter().find(|step| step.plan == id(n) && !step.undo);
    carry_out(world, &step.unwrap(), Verdict::Allow, OutcomeState::Applied);
    warm(world, encoder, seq, after);
    world.advance(200_000);
    world.settle();
    let undo = steps(world).into_iter().find(|step| step.plan == id(n) && step.undo);
    if let Some(undo) = undo {
        carry_out(world, &undo, Verdict::Allow, OutcomeState::Applied);
    }
    assert!(stored(world, n).state.is_final(), "{}", stored(world, n).detail);
}

#[test]
fn each_prediction_is_joined_to_its_outcome_once_and_a_restart_forgets_nothing() {
    let (mut world, _) = ready(policy::DEMO_BUNDLE);
    let mut encoder = Encoder::new();
    play(&mut world, &mut encoder, 1, 70_000);
    play(&mut world, &mut encoder, 2, 81_000);
    let ends: Vec<String> = ["plan.completed", "plan.rolled_back"]
        .iter()
        .flat_map(|verb| told(&world, verb))
        .flat_map(|change| change.details)
        .filter(|(name, _)| name == "prediction" || name == "came true")
        .map(|(_, value)| value)
        .collect();
    assert_eq!(ends, ["p-1", "true", "p-2", "false"]);
    let before = graded(&world, "power_cap");
    assert_eq!((before.predictions, before.censored), (2, 0));
    let share = before.scores.as_ref().unwrap().base_rate_bp;
    assert!(
        (4_990..=5_010).contains(&share),
        "one of two, the older one a little less: {share}"
    );
    world.restart(true);
    world.settle();
    assert_eq!(
        world
            .hub
            .brains(world.now)
            .iter()
            .find(|view| view.verb == "power_cap")
            .unwrap(),
        &graded(&world, "power_cap")
    );
    assert_eq!(graded(&world, "power_cap").predictions, 2);
}

#[test]
fn a_brain_whose_actions_do_harm_falls_tier_by_tier_until_a_person_is_asked() {
    let (mut world, _) = ready(policy::DEMO_BUNDLE);
    let mut encoder = Encoder::new();
    let fell = (1..10).find(|n| {
        play(&mut world, &mut encoder, *n, 81_000);
        graded(&world, "power_cap").tier == "T1"
    });
    let fell = fell.expect("each plan is taken back because nothing came of it");
    let moves: Vec<(String, String)> = graded(&world, "power_cap")
        .changes
        .into_iter()
        .map(|change| (change.from, change.to))
        .collect();
    let expected = [("T0", "T3"), ("T3", "T2"), ("T2", "T1")].map(|(from, to)| (from.to_owned(), to.to_owned()));
    assert_eq!(moves, expected);
    let entries = told(&world, "brain.tier");
    assert!(
        entries
            .iter()
            .any(|entry| entry.reason.contains("did harm within 24 h")),
        "{entries:?}"
    );
    submit(&mut world, fell + 1, cap());
    world.settle();
    assert_eq!(stored(&world, fell + 1).state, PlanState::AwaitingApproval);
}

#[test]
fn what_another_action_may_have_brought_about_counts_for_nothing() {
    let (mut world, _) = ready(policy::DEMO_BUNDLE);
    let mut encoder = Encoder::new();
    warm(&mut world, &mut encoder, 1, 80_000);
    submit(&mut world, 1, expecting(cap(), -12_000));
    world.settle();
    let sent = steps(&world);
    carry_out(&mut world, &sent[0], Verdict::Allow, OutcomeState::Applied);
    assert_eq!(stored(&world, 1).state, PlanState::Verifying);
    decide(
        &mut world,
        Origin::Rule {
            rule: "hot-gpu".to_owned(),
        },
        "gpu0",
        Verdict::Allow,
    );
    warm(&mut world, &mut encoder, 2, 70_000);
    let record = stored(&world, 1);
    assert_eq!(record.state, PlanState::Completed);
    let by = record.interfered().unwrap();
    assert!(by.to_string().starts_with("edge-0.1."), "{by}");
    let view = graded(&world, "power_cap");
    assert_eq!((view.predictions, view.censored, view.scores), (1, 1, None));
}

#[test]
fn a_plan_that_people_call_off_says_nothing_of_its_prediction() {
    let (mut world, _) = ready(policy::DEMO_BUNDLE);
    let mut encoder = Encoder::new();
    warm(&mut world, &mut encoder, 1, 80_000);
    submit(&mut world, 1, expecting(cap(), -12_000));
    world.settle();
    let sent = steps(&world);
    carry_out(&mut world, &sent[0], Verdict::Allow, OutcomeState::Applied);
    let reason = "not today".to_owned();
    ask(&mut world, PlanAsk::Cancel { id: id(1), reason });
    world.settle();
    let undo = steps(&world).into_iter().find(|step| step.undo).unwrap();
    carry_out(&mut world, &undo, Verdict::Allow, OutcomeState::Applied);
    assert_eq!(stored(&world, 1).state, PlanState::RolledBack);
    assert_eq!(graded(&world, "power_cap").censored, 1);
}

#[test]
fn a_prediction_belongs_to_one_plan_for_ever() {
    let (mut world, _) = ready(policy::DEMO_BUNDLE);
    let mut first = cap();
    first.claim.as_mut().unwrap().prediction = "mine".to_owned();
    submit(&mut world, 1, first.clone());
    world.settle();
    let sent = steps(&world);
    carry_out(&mut world, &sent[0], Verdict::Allow, OutcomeState::Applied);
    world.restart(true);
    world.join(0).unwrap();
    world.settle();
    let again = submit(&mut world, 2, first);
    assert_eq!(
        answer(&world, again),
        format!(
            "prediction: `mine` belongs to plan {}: each prediction has an id of its own",
            id(1)
        )
    );
}

#[test]
fn a_rule_of_confidence_judges_by_what_came_true_and_not_by_the_claim() {
    let rule = "
  - id: sure-enough
    kind: confidence
    selector: { sources: [brain] }
";
    let bundle = format!("{}{rule}", policy::DEMO_BUNDLE.trim_end());
    let (mut world, _) = ready(&bundle);
    let mut restart = draft(Verb::Restart);
    restart.steps[0].target = Target::Device {
        node: AgentId::new("edge-0").unwrap(),
        device: DeviceId::new("workload:train").unwrap(),
    };
    restart.claim.as_mut().unwrap().confidence_bp = 9_900;
    submit(&mut world, 1, restart);
    world.settle();
    let record = stored(&world, 1);
    assert_eq!(record.state, PlanState::AwaitingApproval, "{}", record.detail);
    assert!(record.detail.contains("by rule sure-enough"), "{}", record.detail);
}

#[test]
fn a_step_runs_no_oftener_than_it_says_and_waits_until_it_may() {
    let (mut world, _) = ready(policy::DEMO_BUNDLE);
    let limited = || {
        let mut draft = cap();
        draft.steps[0].safety = Some(Safety {
            limit: 2,
            window_ms: 300_000,
        });
        draft
    };
    for n in [1, 2] {
        submit(&mut world, n, limited());
        world.settle();
        let step = steps(&world).into_iter().find(|step| step.plan == id(n)).unwrap();
        carry_out(&mut world, &step, Verdict::Allow, OutcomeState::Applied);
        world.advance(60_000);
    }
    submit(&mut world, 3, limited());
    world.settle();
    let record = stored(&world, 3);
    assert_eq!(record.state, PlanState::Held, "{}", record.detail);
    assert!(
        record.detail.contains("its own limit") && record.detail.contains("; until "),
        "{}",
        record.detail
    );
    // A restart forgets no beginning.
    world.restart(true);
    world.join(0).unwrap();
    world.settle();
    world.advance(100_000);
    world.settle();
    assert_eq!(stored(&world, 3).state, PlanState::Held);
    world.advance(100_000);
    world.settle();
    assert!(
        steps(&world).iter().any(|step| step.plan == id(3)),
        "{}",
        stored(&world, 3).detail
    );
}

#[test]
fn a_rule_that_asks_for_two_people_gets_two() {
    let rule = "
  - id: four-eyes
    kind: envelope
    selector: { kinds: [power_cap] }
    min: 300 W
    on_violation: require_approval
    approvals: 2
";
    let bundle = format!("{}{rule}", policy::DEMO_BUNDLE.trim_end());
    let (mut world, _) = ready(&bundle);
    submit(&mut world, 1, cap());
    world.settle();
    let record = stored(&world, 1);
    assert_eq!(
        (record.state, record.approvals_needed),
        (PlanState::AwaitingApproval, 2),
        "{}",
        record.detail
    );
    let approve = |world: &mut World, name: &str| {
        let caller = Caller::new(name, Via::Api);
        let what = PlanAsk::Approve { id: id(1) };
        let request = world.request(Request::Plan { caller, what });
        world.settle();
        request
    };
    approve(&mut world, "ann");
    assert_eq!(stored(&world, 1).state, PlanState::AwaitingApproval);
    let twice = approve(&mut world, "ann");
    assert!(
        answer(&world, twice).contains("another person must"),
        "{}",
        answer(&world, twice)
    );
    approve(&mut world, "bob");
    let sent = steps(&world);
    assert_eq!(sent[0].command.who, "ann and bob");
}

#[test]
fn a_freeze_between_two_steps_takes_back_what_was_done_where_it_says_so() {
    for (in_flight, expected) in [("rollback", PlanState::RollingBack), ("pause", PlanState::Held)] {
        let (mut world, _) = ready(policy::DEMO_BUNDLE);
        let mut two = cap();
        let mut second = draft(Verb::Restart).steps.remove(0);
        second.target = Target::Device {
            node: AgentId::new("edge-0").unwrap(),
            device: DeviceId::new("workload:train").unwrap(),
        };
        two.steps.push(second);
        submit(&mut world, 1, two);
        world.settle();
        let freeze = format!(
            "
  - id: launch
    kind: change_freeze
    selector: {{ kinds: [restart] }}
    spans:
      - {{ local_start: 2026-11-01, local_end: 2027-02-01 }}
    in_flight: {in_flight}
"
        );
        world.publish(&format!("{}{freeze}", policy::DEMO_BUNDLE.trim_end()));
        world.settle();
        let first = steps(&world).remove(0);
        carry_out(&mut world, &first, Verdict::Allow, OutcomeState::Applied);
        let record = stored(&world, 1);
        assert_eq!(record.state, expected, "{in_flight}: {}", record.detail);
        assert!(record.detail.contains("by rule launch"), "{}", record.detail);
    }
}

#[test]
fn a_bounded_brain_ends_at_the_borders_of_a_site_and_a_full_one_does_not() {
    let mut world = World::at(&["paris", "rome"]);
    let agent = AgentId::new("edge-1").unwrap();
    world.publish(policy::DEMO_BUNDLE);
    world.settle();
    let mut both = cap();
    let mut second = both.steps[0].clone();
    second.target = Target::Device {
        node: agent,
        device: DeviceId::gpu(0),
    };
    both.steps.push(second);
    grant(&mut world, "power_cap", Tier::T2);
    submit(&mut world, 1, both.clone());
    world.settle();
    let record = stored(&world, 1);
    assert_eq!(record.state, PlanState::AwaitingApproval, "{}", record.detail);
    assert!(
        record
            .detail
            .contains("within one site at this tier, and the plan is about 2"),
        "{}",
        record.detail
    );
    grant(&mut world, "power_cap", Tier::T3);
    submit(&mut world, 2, both);
    world.settle();
    assert_eq!(
        stored(&world, 2).state,
        PlanState::Scheduled,
        "{}",
        stored(&world, 2).detail
    );
}

#[test]
fn a_step_waits_until_its_effect_could_be_seen() {
    let (mut world, _) = ready(policy::DEMO_BUNDLE);
    submit(&mut world, 1, expecting(cap(), -12_000));
    world.settle();
    let record = stored(&world, 1);
    assert_eq!(record.state, PlanState::Held, "{}", record.detail);
    assert!(
        record
            .detail
            .contains("no reading of gpu0/gpu.temperature of edge-0/gpu0"),
        "{}",
        record.detail
    );
    let mut encoder = Encoder::new();
    warm(&mut world, &mut encoder, 1, 80_000);
    world.advance(10_000);
    world.settle();
    assert_eq!(steps(&world).len(), 1, "{}", stored(&world, 1).detail);
}
