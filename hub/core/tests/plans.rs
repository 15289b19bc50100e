//! Plans over a whole hub: what leaves when, what comes back, what a crash at any point leaves behind.
#![allow(clippy::unwrap_used)]

mod world;

use hub_core::plans::{PlanAsk, PlanRecord};
use hub_core::{Answer, Request, SessionId, decode_document};
use wire::action::{Outcome, OutcomeState};
use wire::change::{Caller, Via};
use wire::decision::{Authority, Decision, Inputs, Judgement, Verdict};
use wire::entry::EntryBody;
use wire::frame::{Frame, Order, PlanCommand, TelemetryBlock};
use wire::plan::{Claim, Draft, ExpectedEffect, PlanState, Source, Step, Target, Verb};
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
            prediction: "p-1".to_owned(),
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

/// A hub with a bundle and one connected node.
fn ready(bundle: &str) -> (World, SessionId) {
    let mut world = World::new(1);
    world.publish(bundle);
    world.settle();
    let session = world.join(0).unwrap();
    world.settle();
    (world, session)
}

fn ask(world: &mut World, what: PlanAsk) -> u64 {
    let caller = Caller::new("ann", Via::Api);
    world.request(Request::Plan { caller, what })
}

fn submit(world: &mut World, n: u8, draft: Draft) -> u64 {
    let draft = Box::new(draft);
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
    let agent = &mut world.agents[0];
    let entry = agent.push(EntryBody::Decided(Box::new(decision)));
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
