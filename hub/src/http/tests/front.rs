//! The front door's own state: the keys of access tokens, the record and what agents hold of it, metrics that workloads send.

use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, number_data_point,
};
use prost::Message as _;
use wire::{Checkpoint, SignedCheckpoint};

use super::*;

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

async fn ann(hub: &TestHub) -> Value {
    let code = hub.app.auth.new_setup().expect("random bytes");
    let body = format!(r#"{{"code":"{code}","name":"ann","password":"correct horse"}}"#);
    assert_eq!(hub.ask("POST", "/api/v1/auth/setup", &[], &body).await.status, 200);
    let body = r#"{"username":"ann","password":"correct horse"}"#;
    hub.ask("POST", "/api/v1/auth/login", &[], body).await.json()
}

async fn me(hub: &TestHub, token: &Value) -> StatusCode {
    let bearer = format!("Bearer {}", token.as_str().expect("a token"));
    hub.ask("GET", "/api/v1/auth/me", &[("authorization", &bearer)], "")
        .await
        .status
}

#[tokio::test]
async fn a_new_key_logs_nobody_out_and_a_stolen_one_is_worth_nothing() {
    let hub = TestHub::start().await;
    let pair = ann(&hub).await;
    let before = hub.admin("GET", "/api/v1/token-keys", "", 200).await;
    assert_eq!(before["items"].as_array().map(Vec::len), Some(1));
    let rotate = "/api/v1/token-keys/rotate";
    hub.admin("POST", rotate, r#"{"reason":" "}"#, 400).await;
    let after = hub.admin("POST", rotate, r#"{"reason":"spring"}"#, 200).await;
    assert_eq!(after["items"][1]["id"], before["items"][0]["id"]);
    assert!(after["items"][1]["accepted_until"].is_string(), "{after}");
    assert_eq!(
        me(&hub, &pair["access_token"]).await,
        200,
        "its tokens end by themselves"
    );
    let alone = hub
        .admin("POST", rotate, r#"{"reason":"a laptop is gone","stolen":true}"#, 200)
        .await;
    assert_eq!(alone["items"].as_array().map(Vec::len), Some(1), "{alone}");
    assert_eq!(me(&hub, &pair["access_token"]).await, 401);
    let body = format!(r#"{{"refresh_token":{}}}"#, pair["refresh_token"]);
    let next = hub.ask("POST", "/api/v1/auth/refresh", &[], &body).await;
    assert_eq!(
        me(&hub, &next.json()["access_token"]).await,
        200,
        "the session goes on with the new key"
    );
    let told = hub.admin("GET", "/api/v1/audits?verb=token-key.rotate", "", 200).await;
    assert_eq!(told["items"][0]["reason"], "a laptop is gone");
    hub.stop().await;
}

#[tokio::test]
async fn a_record_that_an_agent_contradicts_is_not_ok_until_somebody_accepts_that() {
    let mut hub = TestHub::start().await;
    let bundle = hub.publish().await;
    let agent = TestAgent::connect(&mut hub, "edge-01", 1, bundle).await;
    let path = "/api/v1/audits/verify";
    let whole = hub.until(path, |found| found["checkpoint"].is_object()).await;
    assert_eq!(
        (&whole["ok"], &whole["breaks"]),
        (&Value::Bool(true), &serde_json::json!([]))
    );
    let signed = hub
        .frame(|frame| match frame {
            Frame::Checkpoint(signed) => Some(signed),
            _ => None,
        })
        .await;
    let given = signed.peek().expect("our own");
    agent.say(&hub, Frame::Checkpoint(signed)).await;
    // What a hub signed that has gone on after the copy of this one was made.
    let lost = Checkpoint {
        head: ChainHead {
            seq: Seq(given.head.seq.0 + 40),
            digest: Digest::of(b"an entry that is lost"),
            ..given.head
        },
        ..given
    };
    let lost = SignedCheckpoint::sign(&lost, &SigningKey::from_bytes(&[5; 32]));
    agent.say(&hub, Frame::Checkpoint(lost)).await;
    let broken = hub.until(path, |found| found["ok"] == false).await;
    assert_eq!(broken["breaks"].as_array().map(Vec::len), Some(1), "{broken}");
    assert_eq!(broken["breaks"][0]["witness"], "edge-01");
    assert_eq!(broken["first_bad"], broken["breaks"][0]["first_bad"]);
    hub.admin("POST", "/api/v1/audits/accept", r#"{"reason":""}"#, 400)
        .await;
    let accepted = hub
        .admin("POST", "/api/v1/audits/accept", r#"{"reason":"a restore"}"#, 200)
        .await;
    assert_eq!(
        (&accepted["ok"], &accepted["breaks"][0]["accepted_because"]),
        (&Value::Bool(true), &Value::from("a restore"))
    );
    hub.admin("POST", "/api/v1/audits/accept", r#"{"reason":"again"}"#, 409)
        .await;
    hub.stop().await;
}

fn queue(value: f64) -> Vec<u8> {
    let now = u64::try_from(crate::clock::wall().0).expect("after 1970") * 1_000_000;
    let point = NumberDataPoint {
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    };
    let metric = Metric {
        name: "queue".to_owned(),
        data: Some(Data::Gauge(Gauge {
            data_points: vec![point],
        })),
        ..Metric::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![metric],
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    }
    .encode_to_vec()
}

async fn send(hub: &TestHub, token: &str, headers: &[(&str, &str)], bytes: Vec<u8>) -> Answered {
    let mut request = Request::builder().method("POST").uri("/v1/metrics");
    request = request.header("authorization", format!("Bearer {token}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(bytes)).expect("a request");
    let response = hub.router.clone().oneshot(request).await.expect("handlers never fail");
    let (head, body) = response.into_parts();
    Answered {
        status: head.status,
        headers: head.headers,
        bytes: body.collect().await.expect("a body").to_bytes().to_vec(),
    }
}

#[tokio::test]
async fn workloads_send_metrics_with_a_token_that_may_do_only_that() {
    let hub = TestHub::start().await;
    let body = r#"{"name":"otel","role":"operator","scope":["workloads:write"]}"#;
    let made = hub.admin("POST", "/api/v1/api-tokens", body, 200).await;
    let token = made["token"].as_str().expect("a token").to_owned();
    assert_eq!(send(&hub, "sap_x.y", &[PROTOBUF], queue(1.0)).await.status, 401);
    assert_eq!(send(&hub, &token, &[], queue(1.0)).await.status, 400, "not protobuf");
    assert_eq!(send(&hub, &token, &[PROTOBUF], vec![255; 9]).await.status, 400);
    let sent = send(&hub, &token, &[PROTOBUF], queue(7.0)).await;
    assert_eq!(
        (sent.status.as_u16(), sent.header("content-type")),
        (200, "application/x-protobuf")
    );
    let answer = ExportMetricsServiceResponse::decode(&sent.bytes[..]).expect("an answer");
    assert_eq!(answer.partial_success, None);
    let found = hub.admin("GET", "/api/v1/workload-metrics?metric=queue", "", 200).await;
    assert_eq!(
        (&found["items"][0]["value"], &found["items"][0]["kind"]),
        (&Value::from(7.0), &Value::from("gauge"))
    );
    // Told in the answer, as OTLP has it: sending it again would not help.
    let refused = send(&hub, &token, &[PROTOBUF], queue(f64::NAN)).await;
    let answer = ExportMetricsServiceResponse::decode(&refused.bytes[..]).expect("an answer");
    assert_eq!(answer.partial_success.map(|told| told.rejected_data_points), Some(1));
    let bearer = format!("Bearer {token}");
    let nodes = hub.ask("GET", "/api/v1/nodes", &[("authorization", &bearer)], "").await;
    assert_eq!(nodes.status, 403);
    hub.stop().await;
}

#[tokio::test]
async fn packed_metrics_are_read_and_a_bomb_is_not() {
    use std::io::Write as _;
    let pack = |bytes: &[u8]| {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(bytes).expect("memory");
        packer.finish().expect("memory")
    };
    let hub = TestHub::start().await;
    let gzip = ("content-encoding", "gzip");
    assert_eq!(
        send(&hub, TOKEN, &[PROTOBUF, gzip], pack(&queue(3.0))).await.status,
        200
    );
    let bomb = send(&hub, TOKEN, &[PROTOBUF, gzip], pack(&vec![0; 64 << 20])).await;
    assert_eq!(bomb.status, 413, "{}", bomb.text());
    assert_eq!(send(&hub, TOKEN, &[PROTOBUF, gzip], vec![1, 2, 3]).await.status, 400);
    assert_eq!(
        send(&hub, TOKEN, &[PROTOBUF, ("content-encoding", "br")], queue(1.0))
            .await
            .status,
        400
    );
    hub.stop().await;
}
