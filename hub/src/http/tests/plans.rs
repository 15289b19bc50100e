//! Plans over HTTP: taken in, brought to a node, told in full; and what is refused, with its field.

use wire::action::{ActionKind, Outcome, OutcomeState};
use wire::ids::DecisionId;
use wire::reading::DeviceId;

use super::*;

const CAP: &str = r#"{"decisions": [{"verb": "power_cap", "target": {"node": "edge-03", "device": "gpu0"},
    "params": {"watts": 220}, "ttl": 900}], "reason": "it grows hot", "key": "k-1", "source": "InfraMind"}"#;

/// The plan once it stands in this state.
async fn until(hub: &TestHub, id: &str, state: &str) -> Value {
    let wait = async {
        loop {
            let plan = hub.admin("GET", &format!("/api/v1/action-plans/{id}"), "", 200).await;
            if plan["state"] == state {
                return plan;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the plan gets there")
}

#[tokio::test]
async fn a_plan_reaches_its_node_and_its_whole_life_is_told() {
    let mut hub = TestHub::start().await;
    let bundle = hub.publish().await;
    let mut agent = TestAgent::connect(&mut hub, "edge-03", 1, bundle).await;
    let plan = hub.admin("POST", "/api/v1/action-plans", CAP, 201).await;
    let id = plan["id"].as_str().expect("an id").to_owned();
    assert_eq!(
        (&plan["source"], &plan["by_brain"]),
        (&"administrator".into(), &false.into())
    );

    let step = hub
        .frame(|frame| match frame {
            Frame::PlanCommand(step) => Some(step),
            _ => None,
        })
        .await;
    assert_eq!((step.plan.to_string(), step.step, step.undo), (id.clone(), 0, false));
    let action = Action {
        target: DeviceId::gpu(0),
        kind: ActionKind::PowerCap { milliwatts: 220_000 },
    };
    let origin = Origin::Plan {
        id: step.command.id,
        plan: step.plan,
        step: step.step,
        undo: step.undo,
        brain: step.brain,
        who: step.command.who,
        reason: step.command.reason,
    };
    let decision = agent.decide(origin, action);
    let decided = agent.entry(EntryBody::Decided(Box::new(decision)));
    let acted = agent.entry(EntryBody::Acted(Outcome {
        decision: DecisionId {
            agent: agent.name.clone(),
            epoch: Epoch(1),
            seq: decided.seq,
        },
        state: OutcomeState::Applied,
        before: Some(350_000),
        after: Some(220_000),
        probed: false,
        detail: String::new(),
    }));
    agent.send(&mut hub, vec![decided, acted]).await;
    let plan = until(&hub, &id, "completed").await;
    assert_eq!(plan["status"], "completed");
    assert_eq!(plan["steps"][0]["decision"], "edge-03.1.1", "{plan}");

    // The same key is the same plan; what is over is not executed again, and may be tried again as a new one.
    let list = hub.admin("GET", "/api/v1/action-plans?state=completed", "", 200).await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1));
    let path = |verb: &str| format!("/api/v1/action-plans/{id}/{verb}");
    hub.admin("POST", &path("execute"), "", 409).await;
    let shadow = hub.admin("POST", &path("shadow"), "", 200).await;
    assert_eq!(shadow["steps"][0]["verdict"], "allow", "{shadow}");
    let bearer = format!("Bearer {TOKEN}");
    let told = hub
        .ask("GET", &path("explanation"), &[("authorization", &bearer)], "")
        .await;
    for part in ["it grows hot", "completed", "@hub.", "edge-03.1.1", "step 1 of plan"] {
        assert!(told.text().contains(part), "{part}: {}", told.text());
    }
    let again = hub.admin("POST", &path("retry"), "", 201).await;
    assert_ne!(again["id"], id);
    hub.stop().await;
}

#[tokio::test]
async fn a_plan_that_cannot_be_is_refused_with_its_field() {
    let hub = TestHub::start().await;
    let refused = async |body: &str, pointer: &str, part: &str| {
        let problem = hub.admin("POST", "/api/v1/action-plans", body, 400).await;
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
        assert!(problem["detail"].as_str().expect("a text").contains(part), "{problem}");
    };
    refused(CAP, "/decisions/0/target/node", "edge-03").await;
    let verb = CAP.replace("power_cap", "melt");
    refused(&verb, "/decisions/0/verb", "melt").await;
    let ttl = CAP.replace("900", "1");
    refused(&ttl, "/decisions/0/valid_for_ms", "1000").await;
    let unknown = CAP.replace("\"reason\"", "\"why\"");
    refused(&unknown, "/why", "unknown field `why`").await;
    hub.admin("GET", "/api/v1/action-plans/12", "", 400).await;
    let nobody = format!("/api/v1/action-plans/{}", "07".repeat(16));
    hub.admin("GET", &nobody, "", 404).await;
    hub.admin("POST", &format!("{nobody}/approve"), "", 404).await;
    hub.admin("GET", "/api/v1/action-plans?state=lost", "", 400).await;
    hub.stop().await;
}
