//! One policy in full, its calendar, and what a draft would have decided otherwise.

use wire::action::{ActionKind, Outcome, OutcomeState};
use wire::ids::DecisionId;
use wire::reading::DeviceId;

use super::*;

const SIMULATE: &str = "/api/v1/policies/simulate";

fn cap(milliwatts: u32) -> Action {
    Action {
        target: DeviceId::gpu(0),
        kind: ActionKind::PowerCap { milliwatts },
    }
}

/// A hub with a node that capped its GPU twice, the second time clamped.
async fn played() -> TestHub {
    let mut hub = TestHub::start().await;
    let bundle = hub.publish().await;
    let mut agent = TestAgent::connect(&mut hub, "edge-03", 1, bundle).await;
    for milliwatts in [220_000, 50_000] {
        let origin = Origin::Local {
            who: "ann".to_owned(),
            reason: "try".to_owned(),
        };
        let decision = agent.decide(origin, cap(milliwatts));
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
    }
    hub
}

fn draft(rule: &str) -> String {
    format!("bundle: draft\nrules:\n  - {{ {rule}, selector: {{ kinds: [power_cap] }} }}\n")
}

#[tokio::test]
async fn a_draft_is_told_what_it_would_have_decided_otherwise() {
    let hub = played().await;
    let once = draft("id: once, kind: budget, limit: 1, window: 1 h, key: target");
    let view = hub.admin("POST", &format!("{SIMULATE}?since=1d"), &once, 200).await;
    let counts = ["considered", "differ", "not_replayable"].map(|name| view[name].as_u64());
    assert_eq!(counts, [Some(2), Some(1), Some(0)], "{view}");
    let item = &view["items"][0];
    let seen = ["id", "node", "action", "target", "old", "new", "rule"].map(|name| item[name].as_str().unwrap_or(""));
    assert_eq!(
        seen,
        ["edge-03.1.3", "edge-03", "power_cap", "gpu0", "clamp", "deny", "once"]
    );
    let text = item["text"].as_str().expect("a text");
    assert!(
        text.contains("would not run") && text.contains("would pass if"),
        "{text}"
    );

    let narrow = draft("id: narrow, kind: envelope, min: 230 W");
    let view = hub.admin("POST", SIMULATE, &narrow, 200).await;
    assert_eq!(
        (&view["differ"], &view["items"][0]["new"]),
        (&2.into(), &"clamp".into()),
        "{view}"
    );
    let same = draft("id: same, kind: envelope, min: 100 W");
    let view = hub.admin("POST", SIMULATE, &same, 200).await;
    assert_eq!((&view["considered"], &view["differ"]), (&2.into(), &0.into()), "{view}");
    // No rule asked for the cap of the day; it was read back before each action, and that is enough to judge a step.
    let step = draft("id: step, kind: step_size, max: 50 W");
    let view = hub.admin("POST", SIMULATE, &step, 200).await;
    assert_eq!(
        (&view["differ"], &view["not_replayable"]),
        (&2.into(), &0.into()),
        "{view}"
    );

    let later = format!("{SIMULATE}?since=2200-01-01T00:00:00Z");
    let view = hub.admin("POST", &later, &once, 200).await;
    assert_eq!(
        (&view["considered"], &view["items"]),
        (&0.into(), &Value::Array(Vec::new())),
        "{view}"
    );
    hub.stop().await;
}

#[tokio::test]
async fn one_policy_tells_who_has_it_and_what_its_rules_decided() {
    let mut hub = played().await;
    let _late = TestAgent::connect(&mut hub, "edge-04", 2, BundleRef::NONE).await;
    let view = hub.admin("GET", "/api/v1/policies/1", "", 200).await;
    let nodes = view["nodes"].as_array().expect("nodes");
    let has: Vec<_> = nodes.iter().map(|node| (&node["node"], &node["has_it"])).collect();
    assert_eq!(
        has,
        [(&"edge-03".into(), &true.into()), (&"edge-04".into(), &false.into())]
    );
    assert_eq!(view["published_by"], "administrator");
    let decisions = &view["decisions"];
    assert_eq!(
        (&decisions["considered"], &decisions["cut"]),
        (&2.into(), &false.into()),
        "{decisions}"
    );
    let verdicts = &decisions["verdicts"];
    assert_eq!(
        (&verdicts["allow"], &verdicts["clamp"], &verdicts["deny"]),
        (&1.into(), &1.into(), &0.into())
    );
    let rules = view["rules"].as_array().expect("rules");
    let rule = |id: &str| rules.iter().find(|rule| rule["id"] == id).expect("the rule");
    assert_eq!(rule("cap-range")["decided"]["clamp"], 1, "{rules:?}");
    assert!(
        rule("cap-range")["why"]
            .as_str()
            .is_some_and(|why| why.contains("100 W"))
    );
    assert_eq!(rule("cap-budget")["mode"], "shadow");
    assert_eq!(
        rules.len(),
        policy::Bundle::parse(policy::DEMO_BUNDLE.as_bytes())
            .expect("valid")
            .rules()
            .len()
    );
    hub.stop().await;
}

#[tokio::test]
async fn a_calendar_lists_the_freezes_of_a_span_and_the_next_open_slot() {
    let hub = TestHub::start().await;
    let freeze = "id: always, kind: change_freeze, tz: Europe/Berlin, rrule: FREQ=DAILY, from: '00:00', to: '23:00'";
    let text = format!("bundle: draft\nrules:\n  - {{ {freeze}, selector: {{ kinds: [restart] }} }}\n");
    hub.admin("POST", "/api/v1/policies", &text, 200).await;
    let path = "/api/v1/policies/1/calendar?from=2026-11-23T00:00:00Z&to=2026-11-30T00:00:00Z";
    let view = hub.admin("GET", path, "", 200).await;
    let rule = &view["rules"][0];
    assert_eq!(
        (&rule["rule"], &rule["zone"]),
        (&"always".into(), &"Europe/Berlin".into()),
        "{view}"
    );
    let windows = rule["windows"].as_array().expect("windows");
    assert_eq!(
        windows.len(),
        8,
        "the one of Monday began before, the one of the next Monday begins within: {windows:?}"
    );
    assert_eq!(windows[1][0], "2026-11-23T23:00:00.000Z");
    // Now is either inside the freeze, and then there is an end of it, or in the hour without one.
    assert_eq!(rule["active_until"], view["next_open"], "{view}");
    hub.stop().await;
}
