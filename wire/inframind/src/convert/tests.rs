use proptest::prelude::*;
use wire::plan::{Observation, PlanState, StepOutcome, StepState};

use super::*;

fn text(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    owned.collect()
}

fn cap() -> proto::ActionPlan {
    proto::ActionPlan {
        plan_id: "p-1".to_owned(),
        decisions: vec![proto::Decision {
            verb: "power_cap".to_owned(),
            target: text(&[("node", "edge-03"), ("device", "gpu0")]),
            params: text(&[("watts", "280")]),
            ttl: 900,
            safety: Some(proto::Safety {
                rate_limit: 2,
                window: "1h".to_owned(),
            }),
            expected: Some(proto::ExpectedEffect {
                metric: "gpu.temperature".to_owned(),
                device: String::new(),
                delta: -8_000,
                within_ms: 120_000,
            }),
        }],
        source: "somebody else".to_owned(),
        prediction: Some(proto::Prediction {
            prediction_id: "q-1".to_owned(),
            class: "gpu-overheat".to_owned(),
            confidence: 0.9,
            horizon_ms: 600_000,
            model_version: "7".to_owned(),
        }),
        ..proto::ActionPlan::default()
    }
}

#[track_caller]
fn refused(change: impl FnOnce(&mut proto::ActionPlan), field: &str, part: &str) {
    let mut plan = cap();
    change(&mut plan);
    let problem = receive(plan, "im").draft.expect_err("it is refused");
    assert_eq!(problem.field, field, "{problem}");
    assert!(problem.problem.contains(part), "{problem}");
}

#[test]
fn a_plan_is_the_authenticated_brains_whatever_it_says() {
    let received = receive(cap(), "im");
    let draft = received.draft.expect("a plan");
    let source = Source::Brain {
        name: "im".to_owned(),
        model: "7".to_owned(),
    };
    assert_eq!(draft.source, source);
    assert_eq!((received.plan_id.as_str(), draft.key.as_str()), ("p-1", "p-1"));
    assert_eq!(draft.claim.expect("a claim").confidence_bp, 9_000);
    assert_eq!(draft.reason, "im wants edge-03/gpu0 power_cap to 280 W");
}

#[test]
fn nonsense_of_a_brain_is_refused_by_its_field() {
    for confidence in [f64::NAN, f64::INFINITY, -0.1, 1.000_001] {
        let change = move |plan: &mut proto::ActionPlan| {
            plan.prediction.as_mut().expect("there is one").confidence = confidence;
        };
        refused(change, "prediction.confidence", "no probability");
    }
    refused(|plan| plan.decisions[0].ttl = -1, "decisions[0].ttl", "negative");
    refused(
        |plan| plan.decisions[0].verb = "melt".to_owned(),
        "decisions[0].verb",
        "melt",
    );
    refused(
        |plan| drop(plan.decisions[0].params.insert("watts".to_owned(), "NaN".to_owned())),
        "decisions[0].params.watts",
        "NaN",
    );
    refused(
        |plan| plan.decisions = vec![plan.decisions[0].clone(); 10_000],
        "decisions",
        "10000",
    );
    let metric = |plan: &mut proto::ActionPlan| {
        plan.decisions[0].expected.as_mut().expect("there is one").metric = "mood".to_owned();
    };
    refused(metric, "decisions[0].expected.metric", "mood");
}

#[test]
fn a_past_end_is_refused_when_the_plan_is_checked() {
    let mut plan = cap();
    plan.not_after = 1;
    let draft = receive(plan, "im").draft.expect("it reads");
    let problem = Plan::new(PlanId([1; 16]), draft, Wall(2)).expect_err("it is over");
    assert_eq!(problem.field, "not_after");
}

#[test]
fn a_plan_reads_as_it_was_sent() {
    let draft = receive(cap(), "im").draft.expect("a plan");
    let sent = action_plan("p-1", &draft, Wall(5));
    assert_eq!(receive(sent, "im").draft, Ok(draft.clone()));
    let plan = Plan::new(PlanId([1; 16]), draft, Wall(5)).expect("a plan");
    let again = receive(of_plan(&plan), "im").draft.expect("a plan");
    assert_eq!((again.steps, again.not_after), (plan.steps, Some(plan.not_after)));
}

#[test]
fn a_missing_reading_is_left_out_and_never_zero() {
    let point = |value| Point {
        node: AgentId::new("edge-03").expect("a name"),
        series: Series::new(DeviceId::gpu(0), Quantity::GpuTemperature),
        at: Wall(1_735_689_600_000),
        value,
        simulated: true,
    };
    let batch = Batch {
        id: "7".to_owned(),
        points: vec![point(None), point(Some(0)), point(Some(-12))],
        cursor: "8".to_owned(),
        gap_before: true,
    };
    let sent = telemetry(&batch, "home");
    assert_eq!(sent.points.len(), 2);
    assert_eq!(sent.points[0].ts, 1_735_689_600_000);
    assert_eq!(sent.points[0].unit, "milli_celsius");
    let (read, skipped) = read_telemetry(sent);
    assert_eq!(skipped, 0);
    assert_eq!(read.points, batch.points[1..]);
}

#[test]
fn an_outcome_says_what_follows_for_the_prediction() {
    let outcome_of = |state, observed| PlanOutcome {
        plan: PlanId([1; 16]),
        prediction: "q-1".to_owned(),
        state,
        steps: vec![StepOutcome {
            state: StepState::Done,
            observed,
            detail: String::new(),
        }],
        at: Wall(9),
        detail: "d".to_owned(),
        censored: false,
    };
    let seen = |is_met| {
        Some(Observation {
            before: 85_000,
            after: 76_000,
            is_met,
        })
    };
    use proto::plan_outcome::Label;
    let check = |state, observed, label: Label| {
        let told = outcome("1", "p-1", &outcome_of(state, observed));
        assert_eq!(told.label, i32::from(label), "{state:?}");
        assert_eq!(told.steps[0].observed, observed.is_some());
    };
    check(PlanState::Completed, seen(true), Label::True);
    check(PlanState::RolledBack, seen(false), Label::False);
    check(PlanState::RolledBack, seen(true), Label::False);
    check(PlanState::Completed, None, Label::Censored);
    check(PlanState::Rejected, None, Label::Censored);
    check(PlanState::Superseded, seen(true), Label::Censored);
    let interfered = PlanOutcome {
        censored: true,
        ..outcome_of(PlanState::Completed, seen(true))
    };
    assert_eq!(outcome("1", "p-1", &interfered).label, i32::from(Label::Censored));
}

proptest! {
    #[test]
    fn no_message_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        use prost::Message;
        if let Ok(plan) = proto::ActionPlan::decode(bytes.as_slice()) {
            let _ = receive(plan, "im");
        }
        if let Ok(batch) = proto::TelemetryBatch::decode(bytes.as_slice()) {
            let _ = read_telemetry(batch);
        }
    }
}
