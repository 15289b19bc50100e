//! Brains that dial in over mutual TLS, good ones and bad ones, against a whole hub: the fleet does not notice, the operator does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Streaming};
use wire_inframind::client::Tls;
use wire_inframind::proto;
use wire_inframind::proto::decision_service_client::DecisionServiceClient;
use wire_inframind::server::{PLANS_PER_SECOND, serve};

use super::*;
use crate::inframind::listen::DialIn;

/// An authority for brains, and the hub's port for them.
struct Port {
    issuer: Issuer<'static, KeyPair>,
    ca: String,
    address: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Port {
    async fn open(hub: &TestHub) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let ca = params.self_signed(&key).expect("a certificate").pem();
        let issuer = Issuer::new(params, key);
        let tls = issued(&issuer, &ca, "hub");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let app = &hub.app;
        let reserved = vec!["embedded".to_owned()];
        let door = DialIn::new(
            app.hub.clone(),
            Arc::clone(&app.store),
            Arc::clone(&app.meters),
            reserved,
        );
        let stopped = stop.clone().cancelled_owned();
        let served = tokio::spawn(async move {
            let served = serve(listener, Some(&tls), Arc::new(door), "test.internal", stopped);
            served.await.expect("good certificates");
        });
        Self {
            issuer,
            ca,
            address,
            stop,
            served,
        }
    }

    /// A brain with a certificate in this name.
    async fn brain(&self, name: &str) -> DecisionServiceClient<Channel> {
        let tls = issued(&self.issuer, &self.ca, name);
        let config = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&tls.ca))
            .identity(Identity::from_pem(&tls.certificate, &tls.key))
            .domain_name("localhost");
        let endpoint = Endpoint::from_shared(format!("https://{}", self.address)).expect("an address");
        let channel = endpoint.tls_config(config).expect("good certificates").connect().await;
        DecisionServiceClient::new(channel.expect("it is let in"))
    }

    async fn close(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.served)
            .await
            .expect("it ends")
            .expect("no panic");
    }
}

fn issued(issuer: &Issuer<'_, KeyPair>, ca: &str, name: &str) -> Tls {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, issuer).expect("a certificate");
    Tls {
        ca: ca.to_owned(),
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    }
}

fn cap(key: &str) -> proto::ActionPlan {
    let target = [("node", "edge-03"), ("device", "gpu0")];
    let decision = proto::Decision {
        verb: "power_cap".to_owned(),
        target: target.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        params: [("watts".to_owned(), "220".to_owned())].into(),
        ttl: 900,
        ..proto::Decision::default()
    };
    proto::ActionPlan {
        plan_id: key.to_owned(),
        decisions: vec![decision],
        reason: "it grows hot".to_owned(),
        prediction: Some(proto::Prediction {
            prediction_id: format!("p-{key}"),
            confidence: 0.9,
            horizon_ms: 60_000,
            class: "limit".to_owned(),
            model_version: "7".to_owned(),
        }),
        ..proto::ActionPlan::default()
    }
}

/// A stream of plans up, with the answers coming back.
async fn line(
    brain: &mut DecisionServiceClient<Channel>,
) -> (mpsc::Sender<proto::ActionPlan>, Streaming<proto::PlanAck>) {
    let (plans, way) = mpsc::channel(64);
    let answers = brain
        .submit_action_plans(ReceiverStream::new(way))
        .await
        .expect("it is let in");
    (plans, answers.into_inner())
}

async fn answered(answers: &mut Streaming<proto::PlanAck>) -> proto::PlanAck {
    let answer = tokio::time::timeout(PATIENCE, answers.message()).await;
    answer
        .expect("an answer")
        .expect("no error")
        .expect("the stream goes on")
}

#[tokio::test]
async fn a_brain_comes_in_under_the_name_in_its_certificate_and_waits_for_trust() {
    let mut hub = TestHub::start().await;
    let bundle = hub.publish().await;
    let _agent = TestAgent::connect(&mut hub, "edge-03", 1, bundle).await;
    let port = Port::open(&hub).await;
    let mut brain = port.brain("augur").await;
    let (plans, mut answers) = line(&mut brain).await;
    plans.send(cap("k-1")).await.expect("it is read");
    let answer = answered(&mut answers).await;
    assert!(answer.success, "{answer:?}");
    let path = format!("/api/v1/action-plans/{}", answer.hub_plan_id);
    let plan = hub.until(&path, |plan| plan["state"] == "awaiting_approval").await;
    assert_eq!(plan["source"], "brain augur (7)");
    let detail = plan["detail"].as_str().expect("a text");
    assert!(detail.contains("augur has tier T0 shadow"), "{detail}");
    // Its record is there from its first prediction on.
    let brains = hub.admin("GET", "/api/v1/brains", "", 200).await;
    assert_eq!(
        (&brains["items"][0]["brain"], &brains["items"][0]["tier"]),
        (&"augur".into(), &"T0".into())
    );
    // The same again is the same plan.
    plans.send(cap("k-1")).await.expect("it is read");
    assert_eq!(answered(&mut answers).await.hub_plan_id, answer.hub_plan_id);

    // What came of it goes back under the prediction's id.
    let refuse = format!("{path}/deny");
    hub.admin("POST", &refuse, r#"{"reason": "not today"}"#, 200).await;
    let mut outcomes = brain
        .stream_outcomes(proto::OutcomeRequest::default())
        .await
        .expect("it is let in")
        .into_inner();
    let told = tokio::time::timeout(PATIENCE, outcomes.message())
        .await
        .expect("an outcome");
    let told = told.expect("no error").expect("one");
    assert_eq!(
        (told.prediction_id.as_str(), told.state.as_str()),
        ("p-k-1", "rejected")
    );
    let after = proto::OutcomeRequest {
        after: "no cursor".to_owned(),
    };
    let refused = brain.stream_outcomes(after).await.expect_err("it is no cursor");
    assert_eq!(refused.code(), Code::OutOfRange);
    port.close().await;
    hub.stop().await;
}

#[tokio::test]
async fn nobody_comes_in_as_the_embedded_brain_or_without_a_name() {
    let hub = TestHub::start().await;
    let port = Port::open(&hub).await;
    for (name, part) in [("embedded", "another brain of this hub"), ("a b", "1 to 64 letters")] {
        let mut brain = port.brain(name).await;
        let refused = brain.get_capabilities(proto::CapabilitiesRequest::default()).await;
        let refused = refused.expect_err("it is not let in");
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert!(refused.message().contains(part), "{}", refused.message());
    }
    port.close().await;
    hub.stop().await;
}

#[tokio::test]
async fn a_flood_of_ten_thousand_plans_is_read_slowly_and_the_fleet_does_not_notice() {
    let mut hub = TestHub::start().await;
    let bundle = hub.publish().await;
    let mut agent = TestAgent::connect(&mut hub, "edge-03", 1, bundle).await;
    let port = Port::open(&hub).await;
    let mut brain = port.brain("flood").await;
    let (plans, mut answers) = line(&mut brain).await;
    let flood = tokio::spawn(async move {
        for number in 0..10_000 {
            // The hub has hung up, or the test is over.
            if plans.send(cap(&format!("k-{number}"))).await.is_err() {
                return;
            }
        }
    });
    let begun = std::time::Instant::now();
    let mut taken = 0_u32;
    // As long as it takes to see the brake: then a node is served as ever.
    while hub.app.meters.brain_slowed.load(Ordering::Relaxed) == 0 {
        answered(&mut answers).await;
        taken += 1;
    }
    let entry = agent.entry(EntryBody::Event(wire::entry::Event::Started {
        version: "1".to_owned(),
        clean: true,
    }));
    agent.send(&mut hub, vec![entry]).await;
    let entries = hub
        .until("/api/v1/entries?node=edge-03", |list| list["items"][0]["seq"] == 1)
        .await;
    assert_eq!(entries["items"].as_array().map(Vec::len), Some(1));
    let most = 41 + PLANS_PER_SECOND * (u32::try_from(begun.elapsed().as_secs()).expect("a short test") + 1);
    assert!(taken <= most, "{taken} plans were answered, {most} may be");
    let page = hub.ask("GET", "/metrics", &[], "").await.text();
    assert!(
        page.contains("sentinel_hub_brain_plans_turned_down_total{why=\"too_fast\"}"),
        "{page}"
    );
    // One live plan for the target, however many were sent.
    let waiting = |list: &serde_json::Value| list["items"].as_array().map_or(0, Vec::len);
    // Between one plan and the next that takes its place there is none for a commit.
    let list = hub
        .until("/api/v1/action-plans?state=awaiting_approval", |list| waiting(list) > 0)
        .await;
    assert_eq!(waiting(&list), 1, "{list}");
    flood.abort();
    port.close().await;
    hub.stop().await;
}

#[tokio::test]
async fn nonsense_is_answered_with_its_field_and_counted() {
    let mut hub = TestHub::start().await;
    let bundle = hub.publish().await;
    let _agent = TestAgent::connect(&mut hub, "edge-03", 1, bundle).await;
    let port = Port::open(&hub).await;
    let mut brain = port.brain("liar").await;
    let (plans, mut answers) = line(&mut brain).await;
    let change = |change: &dyn Fn(&mut proto::ActionPlan)| {
        let mut plan = cap("k");
        change(&mut plan);
        plan
    };
    let bad = [
        (
            change(&|plan| plan.decisions[0].verb = "melt".to_owned()),
            "`melt` is no verb",
        ),
        (change(&|plan| plan.not_after = 1), "not_after"),
        (
            change(&|plan| plan.decisions[0].target = [("node".to_owned(), "edge-9".to_owned())].into()),
            "edge-9",
        ),
        (
            change(&|plan| plan.prediction.as_mut().expect("it is there").confidence = f64::NAN),
            "confidence",
        ),
    ];
    let count = bad.len() as u64;
    for (plan, part) in bad {
        plans.send(plan).await.expect("it is read");
        let answer = answered(&mut answers).await;
        assert!(!answer.success && answer.message.contains(part), "{part}: {answer:?}");
    }
    assert_eq!(hub.app.meters.brain_refused.load(Ordering::Relaxed), count);
    let list = hub.admin("GET", "/api/v1/action-plans", "", 200).await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(0));

    // More than a message may hold ends that stream, and the brain may come again.
    let mut huge = cap("k-huge");
    huge.reason = "x".repeat(8 * 1024 * 1024);
    plans.send(huge).await.expect("it is sent");
    let ended = tokio::time::timeout(PATIENCE, answers.message()).await.expect("an end");
    assert!(ended.is_err(), "{ended:?}");
    let (plans, mut answers) = line(&mut brain).await;
    plans.send(cap("k-good")).await.expect("it is read");
    assert!(answered(&mut answers).await.success);
    port.close().await;
    hub.stop().await;
}

#[tokio::test]
async fn a_brain_that_never_reads_holds_nobody_else_up() {
    let mut hub = TestHub::start().await;
    let bundle = hub.publish().await;
    let _agent = TestAgent::connect(&mut hub, "edge-03", 1, bundle).await;
    let port = Port::open(&hub).await;
    let mut slow = port.brain("slow").await;
    let telemetry = slow.stream_telemetry(proto::TelemetryRequest::default()).await;
    let _unread = telemetry.expect("it is let in");
    let stale = proto::TelemetryRequest {
        cursor: "999999".to_owned(),
    };
    let refused = slow.stream_telemetry(stale).await.expect_err("no such place");
    assert_eq!(refused.code(), Code::OutOfRange);
    let (plans, mut answers) = {
        let mut brisk = port.brain("brisk").await;
        line(&mut brisk).await
    };
    plans.send(cap("k-1")).await.expect("it is read");
    assert!(answered(&mut answers).await.success);
    port.close().await;
    hub.stop().await;
}
