//! From an agent's entry to what people read, and from a person's wish to an agent's outcome.

use wire::action::{ActionKind, Outcome, OutcomeState};
use wire::entry::Event;
use wire::frame::Order;
use wire::ids::DecisionId;
use wire::reading::DeviceId;
use wire::{BreakGlass, BreakGlassPayload};

use super::*;

fn cap(milliwatts: u32) -> Action {
    Action {
        target: DeviceId::gpu(0),
        kind: ActionKind::PowerCap { milliwatts },
    }
}

fn outcome(agent: &TestAgent, seq: Seq) -> EntryBody {
    EntryBody::Acted(Outcome {
        decision: DecisionId {
            agent: agent.name.clone(),
            epoch: Epoch(1),
            seq,
        },
        state: OutcomeState::Verified,
        before: Some(350_000),
        after: Some(220_000),
        probed: false,
        detail: "cooler".to_owned(),
    })
}

#[tokio::test]
async fn a_decision_is_read_explained_replayed_and_verified() {
    let mut hub = TestHub::start().await;
    let bundle = hub.publish().await;
    let mut agent = TestAgent::connect(&mut hub, "edge-03", 1, bundle).await;
    let mut events = hub.watch().await;
    assert_eq!(event(&mut events).await["event"], "hello");

    let decision = agent.decide(
        Origin::Rule {
            rule: "hot-gpu".to_owned(),
        },
        cap(220_000),
    );
    let decided = agent.entry(EntryBody::Decided(Box::new(decision.clone())));
    let done = outcome(&agent, decided.seq);
    let acted = agent.entry(done);
    agent.send(&mut hub, vec![decided.clone(), acted]).await;

    let shown = loop {
        let shown = event(&mut events).await;
        if shown["event"] == "decision" {
            break shown;
        }
    };
    assert_eq!(shown["data"]["id"], "edge-03.1.1");
    drop(events);

    let list = hub.admin("GET", "/api/v1/decisions?node=edge-03", "", 200).await;
    assert_eq!(list["items"][0]["outcome"], "verified", "{list}");
    assert_eq!(list["items"][0]["digest"], decided.digest.to_string());
    assert_eq!(
        list["items"],
        hub.admin("GET", "/api/v1/decisions", "", 200).await["items"]
    );
    let detail = hub.admin("GET", "/api/v1/decisions/edge-03.1.1", "", 200).await;
    assert_eq!(detail["outcomes"].as_array().map(Vec::len), Some(1));
    let bearer = format!("Bearer {TOKEN}");
    let path = "/api/v1/decisions/edge-03.1.1/explanation";
    let explanation = hub.ask("GET", path, &[("authorization", &bearer)], "").await;
    assert_eq!(explanation.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(detail["explanation"], explanation.text());
    assert!(explanation.text().contains("edge-03.1.1"), "{}", explanation.text());
    let replay = hub.admin("GET", "/api/v1/decisions/edge-03.1.1/replay", "", 200).await;
    assert_eq!(replay["identical"], true, "{replay}");

    // A hub that starts now knows it too.
    let recovered = hub.app.store.recover().expect("whole");
    let last = recovered.agents[0].last_decision.as_ref().expect("stored");
    assert_eq!(
        (last.id.to_string().as_str(), last.outcome.as_str()),
        ("edge-03.1.1", "verified")
    );

    let entries = hub.admin("GET", "/api/v1/entries?node=edge-03&limit=1", "", 200).await;
    assert_eq!(entries["items"][0]["kind"], "decision");
    let next = format!(
        "/api/v1/entries?node=edge-03&after={}",
        entries["next_cursor"].as_str().expect("more")
    );
    let entries = hub.admin("GET", &next, "", 200).await;
    assert_eq!(
        (&entries["items"][0]["kind"], entries.get("next_cursor")),
        (&"outcome".into(), None)
    );

    let newest = hub
        .admin("GET", "/api/v1/entries?node=edge-03&limit=1&order=desc", "", 200)
        .await;
    assert_eq!(newest["items"][0]["kind"], "outcome");
    let before = newest["next_cursor"].as_str().expect("more");
    let path = format!("/api/v1/entries?node=edge-03&limit=1&order=desc&before={before}");
    let older = hub.admin("GET", &path, "", 200).await;
    assert_eq!(older["items"][0]["kind"], "decision");

    let verify = hub.admin("GET", "/api/v1/verify", "", 200).await;
    let row = &verify["items"][0];
    let counts = ["produced", "stored", "missing", "double"].map(|name| row[name].as_u64());
    assert_eq!(counts, [Some(2), Some(2), Some(0), Some(0)], "{row}");
    assert_eq!((&row["chain_ok"], &row["detail"]), (&true.into(), &"".into()), "{row}");

    let node = hub.admin("GET", "/api/v1/nodes/edge-03", "", 200).await;
    assert_eq!((&node["state"], &node["site"]), (&"connected".into(), &"lab".into()));
    assert_eq!(node["last_decisions"][0]["id"], "edge-03.1.1");
    let nodes = hub.admin("GET", "/api/v1/nodes", "", 200).await;
    assert_eq!(nodes["items"][0]["last_decision"]["id"], "edge-03.1.1");
    let series = hub.admin("GET", "/api/v1/series?node=edge-03", "", 200).await;
    assert_eq!(series["decisions"][0]["id"], "edge-03.1.1");
    hub.stop().await;
}

#[tokio::test]
async fn an_action_reaches_its_node_and_its_outcome_comes_back() {
    let mut hub = TestHub::start().await;
    let bundle = hub.publish().await;
    let mut agent = TestAgent::connect(&mut hub, "edge-03", 1, bundle).await;
    let app = hub.app.clone();
    let wish = r#"{"node":"edge-03","device":"gpu0","action":"power_cap","params":{"to":"220 W"},"reason":"try"}"#;
    let router = super::router(app);
    let request = Request::builder()
        .method("POST")
        .uri("/api/v1/actions")
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(Body::from(wish))
        .expect("a request");
    let asked = tokio::spawn(router.oneshot(request));
    let command = hub
        .frame(|frame| match frame {
            Frame::Command(command) => Some(command),
            _ => None,
        })
        .await;
    assert_eq!(
        (command.who.as_str(), command.reason.as_str()),
        ("administrator", "try")
    );
    assert_eq!(command.what, Order::Act(cap(220_000)));
    let origin = Origin::Command {
        id: command.id,
        who: command.who,
        reason: command.reason,
    };
    let decision = agent.decide(origin, cap(220_000));
    assert!(decision.judgement.verdict.runs(), "{decision:?}");
    let decided = agent.entry(EntryBody::Decided(Box::new(decision)));
    let done = outcome(&agent, decided.seq);
    let acted = agent.entry(done);
    agent.send(&mut hub, vec![decided, acted]).await;
    let response = tokio::time::timeout(PATIENCE, asked)
        .await
        .expect("in time")
        .expect("asked")
        .expect("answered");
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    let view: Value = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!(
        (&view["status"], &view["decision"]["outcome"]),
        (&"done".into(), &"verified".into()),
        "{view}"
    );
    hub.stop().await;
}

#[tokio::test]
async fn a_break_glass_token_is_sent_to_the_nodes_that_it_names() {
    let mut hub = TestHub::start().await;
    let bundle = hub.publish().await;
    let mut agent = TestAgent::connect(&mut hub, "edge-03", 1, bundle).await;
    let payload = BreakGlassPayload {
        number: 7,
        trust_domain: "test.internal".to_owned(),
        nodes: vec!["edge-03".to_owned(), "edge-99".to_owned()],
        targets: Vec::new(),
        kinds: vec!["restart".to_owned()],
        open_for_ms: 60_000,
        issued_at: Wall(0),
        reason: "fire".to_owned(),
    };
    let token = BreakGlass::sign(&payload, &SigningKey::from_bytes(&[7; 32]));
    let request = Request::builder()
        .method("POST")
        .uri("/api/v1/break-glass")
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(Body::from(token.encode()))
        .expect("a request");
    let asked = tokio::spawn(super::router(hub.app.clone()).oneshot(request));
    let command = hub
        .frame(|frame| match frame {
            Frame::Command(command) => Some(command),
            _ => None,
        })
        .await;
    assert_eq!(
        (command.who.as_str(), command.reason.as_str()),
        ("administrator", "fire")
    );
    assert_eq!(command.what, Order::BreakGlass(token), "as it is: the node judges it");
    let opened = agent.entry(EntryBody::Event(Event::BreakGlassOpened {
        number: 7,
        approvers: vec!["key a".to_owned(), "key b".to_owned()],
        kinds: payload.kinds,
        targets: Vec::new(),
        left_ms: 60_000,
        reason: payload.reason,
    }));
    agent.send(&mut hub, vec![opened]).await;
    let response = tokio::time::timeout(PATIENCE, asked)
        .await
        .expect("in time")
        .expect("asked")
        .expect("answered");
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    let view: Value = serde_json::from_slice(&bytes).expect("JSON");
    let rows = view["items"].as_array().expect("a list");
    let told: Vec<_> = rows.iter().map(|row| (&row["node"], &row["status"])).collect();
    let expected = [
        (&"edge-03".into(), &"done".into()),
        (&"edge-99".into(), &"unreached".into()),
    ];
    assert_eq!(told, expected, "{view}");
    assert!(
        rows[1]["detail"].as_str().is_some_and(|text| text.contains("edge-99")),
        "{view}"
    );
    hub.stop().await;
}

#[tokio::test]
async fn what_the_bundle_denies_is_not_even_sent() {
    let mut hub = TestHub::start().await;
    let bundle = hub.publish().await;
    let _agent = TestAgent::connect(&mut hub, "edge-03", 1, bundle).await;
    let wish = r#"{"node":"edge-03","device":"gpu0","action":"power_cap","params":{"to":"20 W"},"reason":"try","wait_seconds":0}"#;
    let view = hub.admin("POST", "/api/v1/actions", wish, 200).await;
    // The envelope clamps or denies: either way the hub says which rule it was, or sends what the agent will clamp.
    assert!(view["status"] == "denied" || view["status"] == "waiting", "{view}");
    if view["status"] == "denied" {
        assert!(
            view["clauses"].as_array().is_some_and(|clauses| !clauses.is_empty()),
            "{view}"
        );
    }
    hub.stop().await;
}

#[tokio::test]
async fn what_is_stored_counts_as_made_before_the_node_tells_of_it() {
    let mut hub = TestHub::start().await;
    let bundle = hub.publish().await;
    let mut agent = TestAgent::connect(&mut hub, "edge-03", 1, bundle).await;
    let raw = agent.entry(EntryBody::Event(wire::entry::Event::ClockStepped { by_ms: 7 }));
    let entries = wire::frame::Entries {
        epoch: Epoch(1),
        first: raw.seq,
        raw: vec![raw.bytes],
    };
    agent.say(&hub, Frame::Entries(entries)).await;
    hub.frame(|frame| matches!(frame, Frame::Ack(ack) if ack.entries == Some(Seq(1))).then_some(()))
        .await;
    let node = hub.admin("GET", "/api/v1/nodes/edge-03", "", 200).await;
    assert_eq!((&node["produced"], &node["stored"]), (&1.into(), &1.into()), "{node}");
    hub.stop().await;
}
