//! Stored telemetry, seen by a draft: what it would have wanted that the policy in force did not.

use wire::entry::Event;
use wire::frame::TelemetryBlock;
use wire::reading::{DeviceId, Quantity, Reading, Series};
use wire::telemetry::Encoder;

use super::*;

const SIMULATE: &str = "/api/v1/policies/simulate?since=1h";

/// Telemetry of one GPU, one block for each part: degrees for so many seconds. Ends a minute ago.
fn blocks(parts: &[(i64, u64)]) -> Vec<Vec<u8>> {
    let seconds: u64 = parts.iter().map(|(_, seconds)| seconds).sum();
    let from = crate::clock::wall().0 - 60_000 - i64::try_from(seconds).expect("small") * 1_000;
    let (mut encoder, mut second) = (Encoder::new(), 0);
    let mut blocks = Vec::new();
    for (degrees, count) in parts {
        for _ in 0..*count {
            second += 1;
            encoder.observe(&[
                Reading {
                    series: Series::new(DeviceId::node(), Quantity::CpuUsed),
                    value: Some(100),
                },
                Reading {
                    series: Series::new(DeviceId::gpu(0), Quantity::GpuTemperature),
                    value: Some(degrees * 1_000),
                },
            ]);
            encoder.sample(Now {
                mono: Mono(second * 1_000),
                wall: Wall(from + i64::try_from(second).expect("small") * 1_000),
            });
        }
        blocks.push(encoder.take_block().expect("it has samples"));
    }
    blocks
}

/// A hub with the demo's policy, and a node whose GPU was warm for half a minute. `first` is the number of its first block.
async fn warm(first: u64, lost: Option<u64>) -> (TestHub, TestAgent) {
    let mut hub = TestHub::start().await;
    let bundle = hub.publish().await;
    let agent = TestAgent::connect(&mut hub, "edge-03", 1, bundle).await;
    let blocks = blocks(&[(70, 30), (82, 30), (70, 30), (82, 30), (70, 30)]);
    let mut last = None;
    for (seq, block) in (first..).zip(blocks) {
        if lost == Some(seq) {
            continue;
        }
        let seq = Seq(seq);
        let block = TelemetryBlock {
            epoch: Epoch(1),
            seq,
            block,
        };
        agent.say(&hub, Frame::Telemetry(block)).await;
        last = Some(seq);
    }
    hub.frame(|frame| match frame {
        Frame::Ack(ack) if ack.telemetry >= last => Some(()),
        _ => None,
    })
    .await;
    (hub, agent)
}

fn draft(above: &str) -> String {
    policy::DEMO_BUNDLE.replace("above: 85 °C", &format!("above: {above}"))
}

#[tokio::test]
async fn a_lower_limit_is_told_what_it_would_have_wanted_of_the_stored_readings() {
    let (hub, _agent) = warm(1, None).await;
    let view = hub.admin("POST", SIMULATE, &draft("81 °C"), 200).await;
    let items = view["only_draft"].as_array().expect("a list");
    let names = ["node", "rule", "action", "wanted", "target", "verdict"];
    let seen: Vec<_> = items
        .iter()
        .map(|item| names.map(|name| item[name].as_str().unwrap_or("")).join(" "))
        .collect();
    let cap = "edge-03 hot-gpu power_cap power_cap to 220 W gpu0 allow";
    let release = "edge-03 hot-gpu release_power_cap release_power_cap gpu0 allow";
    // The second time it is a relapse, after which the cap stays on for longer.
    let relapsed = release.replace("allow", "hold");
    assert_eq!(seen, [cap, release, cap, &relapsed], "{view}");
    let reading = &items[0]["reading"];
    assert_eq!(
        (&reading["value"], &reading["held_ms"], &reading["series"]["quantity"]),
        (&82_000.into(), &3_000.into(), &"gpu.temperature".into()),
        "{reading}"
    );
    assert_eq!(items[0]["text"], "gpu.temperature of gpu0 was 82 °C");
    let readings = &view["readings"];
    let counts = ["nodes", "samples", "gaps", "sparse"].map(|name| readings[name].as_u64());
    assert_eq!(counts, [Some(1), Some(150), Some(0), Some(0)], "{readings}");
    assert_eq!(readings["compared_with"], serde_json::json!([1]));
    assert!(readings["replaced"].is_null() && view["cut"].is_null(), "{view}");
    assert_eq!(
        (&view["only_draft_total"], &view["considered"]),
        (&4.into(), &0.into()),
        "{view}"
    );

    // The policy in force, and one with a higher limit, want nothing that was not wanted.
    for same in [policy::DEMO_BUNDLE.to_owned(), draft("95 °C")] {
        let view = hub.admin("POST", SIMULATE, &same, 200).await;
        assert_eq!(
            (&view["only_draft_total"], &view["readings"]["samples"]),
            (&0.into(), &150.into()),
            "{view}"
        );
    }
    let tried = draft("81 °C").replace("  - id: hot-gpu\n", "  - id: hot-gpu\n    mode: shadow\n");
    let view = hub.admin("POST", SIMULATE, &tried, 200).await;
    let verdicts: Vec<_> = view["only_draft"].as_array().expect("a list").iter().collect();
    assert!(verdicts.iter().all(|item| item["verdict"] == "deny"), "{view}");
    hub.stop().await;
}

#[tokio::test]
async fn lost_readings_are_a_gap_and_a_lost_beginning_is_told() {
    // The second warm spell is lost, and its block's followers cannot be read without it.
    let (hub, _agent) = warm(7, Some(10)).await;
    let view = hub.admin("POST", SIMULATE, &draft("81 °C"), 200).await;
    assert_eq!(
        (&view["only_draft_total"], &view["readings"]["samples"]),
        (&2.into(), &90.into()),
        "{view}"
    );
    let cut = view["cut"].as_str().expect("the blocks before the seventh are gone");
    assert!(cut.contains("edge-03 are stored from"), "{cut}");
    hub.stop().await;
}

#[tokio::test]
async fn a_node_is_compared_with_the_policy_that_it_had_then() {
    let strange = BundleRef {
        generation: wire::ids::Generation(7),
        digest: Digest::of(b"another hub"),
    };
    let replaced = "policy 7 is not stored here: the newest, 2, stood for it";
    for (had, expected, compared_with) in [(None, 4, [1, 2]), (Some(strange), 0, [2, 7])] {
        let (mut hub, mut agent) = warm(1, None).await;
        // Now the hub has the lower limit, and the node took it up after the readings.
        let lower = draft("81 °C");
        let view = hub.admin("POST", "/api/v1/policies", &lower, 200).await;
        let second: BundleRef = serde_json::from_value(view["bundle"].clone()).expect("a bundle");
        let before = Some(had.unwrap_or(agent.bundle));
        agent.bundle = second;
        let at = Now {
            mono: Mono(1_000_000),
            wall: crate::clock::wall(),
        };
        let body = EntryBody::Event(Event::BundleActivated { bundle: second, before });
        let entry = agent.entry_at(at, body);
        agent.send(&mut hub, vec![entry]).await;
        let view = hub.admin("POST", SIMULATE, &lower, 200).await;
        let readings = &view["readings"];
        assert_eq!(view["only_draft_total"], expected, "{view}");
        assert_eq!(readings["compared_with"], serde_json::json!(compared_with), "{view}");
        assert_eq!(readings["replaced"].as_str(), had.map(|_| replaced), "{view}");
        hub.stop().await;
    }
}
