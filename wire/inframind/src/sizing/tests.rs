//! Sizes as stories, among them what the original's own suite demands of its optimiser, and what holds for any answer.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn request() -> SizeRequest {
    SizeRequest {
        pipeline: "acme/shop test".to_owned(),
        tool: "cargo".to_owned(),
        last: None,
        peak_memory_bytes: None,
        steps: Some(5),
        step_ms: Some(60_000),
        most_concurrency: None,
        least_memory_gib: None,
    }
}

fn suggestion(concurrency: Value, cpus: Value, memory: Value) -> Value {
    json!({
        "suggestions": { "concurrency": concurrency, "cpu_req": cpus, "mem_req_gb": memory, "cache": 10 },
        "rationale": "grid around the last success",
        "confidence": 0.7,
    })
}

#[track_caller]
fn check(request: &SizeRequest, answer: &Value, expected: (u32, u32, u32), adjusted: usize) {
    let found = read(request, answer).expect("a size");
    let size = found.size;
    assert_eq!((size.concurrency, size.cpus, size.memory_gib), expected, "{found:?}");
    assert_eq!(found.adjusted.len(), adjusted, "{:?}", found.adjusted);
}

#[test]
fn an_answer_within_the_bounds_is_kept_as_it_is() {
    let found = read(&request(), &suggestion(json!(2), json!(3), json!(6))).expect("a size");
    assert_eq!((found.cache_gib, found.claimed_bp), (10, 7_000));
    assert_eq!(found.rationale, "grid around the last success");
    check(&request(), &suggestion(json!(2), json!(3), json!(6)), (2, 3, 6), 0);
    // It writes halves where it likes.
    check(&request(), &suggestion(json!(2.0), json!(2.5), json!(6)), (2, 3, 6), 0);
}

#[test]
fn memory_is_a_fifth_above_the_peak_and_a_core_serves_four_at_once() {
    let ten_gib = SizeRequest {
        peak_memory_bytes: Some(10 << 30),
        ..request()
    };
    check(&ten_gib, &suggestion(json!(8), json!(1), json!(2)), (8, 2, 12), 2);
}

#[test]
fn the_bounds_of_the_request_hold() {
    let bound = SizeRequest {
        most_concurrency: Some(2),
        least_memory_gib: Some(32),
        ..request()
    };
    check(&bound, &suggestion(json!(4), json!(4), json!(8)), (2, 4, 32), 2);
    let asked = serde_json::to_value(ask(&bound, "run-1").expect("a body")).expect("JSON");
    assert_eq!(asked["constraints"], json!({ "max_concurrency": 2, "min_ram_gb": 32 }));
    assert_eq!(
        asked["context"],
        json!({ "tool": "cargo", "num_steps": 5, "avg_step_duration_s": 60 })
    );
}

#[test]
fn an_answer_that_is_none_says_which_field_is_missing() {
    for (answer, part) in [
        (json!({}), "suggestions.concurrency"),
        (suggestion(json!("four"), json!(1), json!(2)), "four"),
        (suggestion(json!(1), Value::Null, json!(2)), "suggestions.cpu_req"),
        (suggestion(json!(1), json!(1), json!(-3)), "-3"),
        (json!([1, 2]), "suggestions.concurrency"),
    ] {
        let error = read(&request(), &answer).expect_err("no size").to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn what_it_would_not_take_is_refused_with_the_field_and_the_way_out() {
    let refused = |request: &SizeRequest| ask(request, "run-1").expect_err("refused").to_string();
    let huge = SizeRequest {
        last: Some(BuildSize {
            concurrency: 99,
            ..LEAST
        }),
        ..request()
    };
    assert_eq!(
        refused(&huge),
        "last: 99 is out of 1 to 16, between which it sizes builds"
    );
    let unnamed = SizeRequest {
        pipeline: String::new(),
        ..request()
    };
    assert!(refused(&unnamed).starts_with("pipeline: `` has 0 bytes"));
    let vast = SizeRequest {
        peak_memory_bytes: Some(u64::MAX),
        ..request()
    };
    assert!(refused(&vast).contains("are more than the most, 64 GiB"));
}

#[test]
fn a_run_is_told_in_its_own_words() {
    let run = RunRequest {
        pipeline: "acme/shop test".to_owned(),
        number: 7,
        commit: "4f1c".to_owned(),
        branch: "main".to_owned(),
        began: wire::Wall(1_795_521_667_000),
        took_ms: 90_500,
        ok: false,
        tool: "cargo".to_owned(),
        size: BuildSize {
            concurrency: 4,
            cpus: 4,
            memory_gib: 8,
        },
        steps: vec![wire::api::BuildStep {
            name: "test".to_owned(),
            began: wire::Wall(1_795_521_667_000),
            took_ms: 90_000,
            exit: 1,
            cpu_bp: 18_050,
            peak_memory_bytes: 3 << 30,
            read_bytes: 1,
            written_bytes: 2,
        }],
    };
    let told = serde_json::to_value(tell(&run).expect("a body")).expect("JSON");
    assert_eq!(told["status"], "failed");
    assert_eq!(
        (&told["cpu_req"], &told["mem_req_gb"], &told["duration_s"]),
        (&json!(4), &json!(8), &json!(90.5))
    );
    let step = &told["steps"][0];
    assert_eq!((&step["exit_code"], &step["cpu_usage_pct"]), (&json!(1), &json!(180.5)));
    assert_eq!(step["end_time"], "2026-11-24T12:02:37.000Z");
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<f64>().prop_map(|value| json!(value)),
        any::<i64>().prop_map(|value| json!(value)),
        any::<u64>().prop_map(|value| json!(value)),
        "\\PC{0,20}".prop_map(Value::String),
    ]
}

proptest! {
    #[test]
    fn every_size_is_within_every_bound(
        concurrency in any_value(), cpus in any_value(), memory in any_value(), rest in any_value(),
        most in proptest::option::of(1..=16u32), least in proptest::option::of(2..=64u32), peak in proptest::option::of(0..(50u64 << 30)),
    ) {
        let request = SizeRequest { most_concurrency: most, least_memory_gib: least, peak_memory_bytes: peak, ..request() };
        prop_assert!(ask(&request, "run-1").is_ok());
        let mut answer = suggestion(concurrency, cpus, memory);
        answer["rationale"] = rest.clone();
        answer["confidence"] = rest;
        if let Ok(found) = read(&request, &answer) {
            let size = found.size;
            prop_assert!((1..=most.unwrap_or(16)).contains(&size.concurrency), "{found:?}");
            prop_assert!((1..=16).contains(&size.cpus) && 4 * size.cpus >= size.concurrency, "{found:?}");
            prop_assert!((least.unwrap_or(2)..=64).contains(&size.memory_gib), "{found:?}");
            prop_assert!(u64::from(size.memory_gib) * GIB >= peak.unwrap_or(0) / 5 * 6, "{found:?}");
            prop_assert!(found.claimed_bp <= 10_000 && found.rationale.len() <= MOST_TEXT);
        }
    }
}
