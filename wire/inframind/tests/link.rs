//! Both halves over real sockets: a brain that dials in, an InfraMind that is called, and what becomes of bad ones.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use wire::ids::{AgentId, PlanId};
use wire::plan::{PlanOutcome, PlanState};
use wire::reading::{DeviceId, Quantity, Series};
use wire::time::Wall;
use wire_inframind::client::{Address, Client, ClientError, Tls};
use wire_inframind::proto::decision_service_client::DecisionServiceClient;
use wire_inframind::proto::decision_service_server::{DecisionService, DecisionServiceServer};
use wire_inframind::server::{Door, Told, serve};
use wire_inframind::{Batch, Point, Received, Taken, proto};

/// Longer than anything here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it takes too long")
}

/// A hub that takes every plan that can be read.
#[derive(Default)]
struct Hub {
    taken: Mutex<Vec<Received>>,
    slowed: AtomicUsize,
    certificates: Mutex<Vec<usize>>,
}

impl Door for Hub {
    fn admit(&self, certificates: &[Vec<u8>]) -> Result<String, String> {
        self.certificates.lock().expect("no panic").push(certificates.len());
        Ok("im".to_owned())
    }

    async fn plan(&self, _brain: &str, received: Received) -> Taken {
        let result = match &received.draft {
            Ok(_) => Ok(PlanId([7; 16])),
            Err(problem) => Err(problem.to_string()),
        };
        let plan_id = received.plan_id.clone();
        self.taken.lock().expect("no panic").push(received);
        Taken {
            plan_id,
            result,
            at: Wall(1),
        }
    }

    async fn telemetry(&self, _brain: &str, cursor: &str) -> Result<mpsc::Receiver<Batch>, String> {
        if cursor == "long ago" {
            return Err("telemetry before cursor 40 is gone: begin anew".to_owned());
        }
        let (send, batches) = mpsc::channel(4);
        send.send(batch("41")).await.expect("there is room");
        Ok(batches)
    }

    async fn outcomes(&self, _brain: &str, _after: &str) -> Result<mpsc::Receiver<Told>, String> {
        let (send, told) = mpsc::channel(4);
        let outcome = Told {
            id: "3".to_owned(),
            key: "p-1".to_owned(),
            outcome: completed(),
        };
        send.send(outcome).await.expect("there is room");
        Ok(told)
    }

    fn slowed(&self, _brain: &str) {
        self.slowed.fetch_add(1, Ordering::Relaxed);
    }
}

fn completed() -> PlanOutcome {
    PlanOutcome {
        plan: PlanId([7; 16]),
        prediction: "q-1".to_owned(),
        state: PlanState::Completed,
        steps: Vec::new(),
        at: Wall(2),
        detail: "all 1 steps are done".to_owned(),
        censored: false,
    }
}

fn batch(id: &str) -> Batch {
    let point = Point {
        node: AgentId::new("edge-03").expect("a name"),
        series: Series::new(DeviceId::gpu(0), Quantity::GpuTemperature),
        at: Wall(1),
        value: Some(85_000),
        simulated: false,
    };
    Batch {
        id: id.to_owned(),
        points: vec![point],
        cursor: id.to_owned(),
        gap_before: false,
    }
}

fn plan(id: &str) -> proto::ActionPlan {
    let target = BTreeMap::from([("node".to_owned(), "edge-03".to_owned())]);
    proto::ActionPlan {
        plan_id: id.to_owned(),
        decisions: vec![proto::Decision {
            verb: "drain".to_owned(),
            target,
            ..proto::Decision::default()
        }],
        ..proto::ActionPlan::default()
    }
}

/// A served hub, and what stops it.
struct Open {
    address: SocketAddr,
    hub: Arc<Hub>,
    _stop: oneshot::Sender<()>,
}

async fn open(tls: Option<Tls>) -> Open {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    let hub = Arc::new(Hub::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let door = hub.clone();
    tokio::spawn(async move {
        let stopped = async {
            let _ = stopped.await;
        };
        serve(listener, tls.as_ref(), door, "home", stopped)
            .await
            .expect("it serves");
    });
    Open {
        address,
        hub,
        _stop: stop,
    }
}

async fn dial(open: &Open) -> DecisionServiceClient<Channel> {
    let url = format!("http://{}", open.address);
    let endpoint = Channel::from_shared(url).expect("an address");
    DecisionServiceClient::new(soon(endpoint.connect()).await.expect("it is there"))
}

#[tokio::test]
async fn a_brain_that_dials_in_sends_plans_and_hears_telemetry_and_outcomes() {
    let open = open(None).await;
    let mut brain = dial(&open).await;
    let known = brain
        .get_capabilities(proto::CapabilitiesRequest {})
        .await
        .expect("an answer");
    assert!(known.into_inner().verbs.contains(&"power_cap".to_owned()));

    let mut bad = plan("p-2");
    bad.decisions[0].verb = "melt".to_owned();
    let plans = tokio_stream::iter([plan("p-1"), bad]);
    let mut answers = brain.submit_action_plans(plans).await.expect("a stream").into_inner();
    let first = soon(answers.message()).await.expect("an answer").expect("an answer");
    assert_eq!((first.plan_id.as_str(), first.success), ("p-1", true));
    assert_eq!(first.hub_plan_id, "07".repeat(16));
    let second = soon(answers.message()).await.expect("an answer").expect("an answer");
    assert!(!second.success && second.message.contains("melt"), "{}", second.message);

    let cursor = |cursor: &str| proto::TelemetryRequest {
        cursor: cursor.to_owned(),
    };
    let mut batches = brain
        .stream_telemetry(cursor("40"))
        .await
        .expect("a stream")
        .into_inner();
    let told = soon(batches.message()).await.expect("a batch").expect("a batch");
    assert_eq!(
        (told.batch_id.as_str(), told.cluster_id.as_str(), told.points.len()),
        ("41", "home", 1)
    );
    let gone = brain
        .stream_telemetry(cursor("long ago"))
        .await
        .expect_err("it is gone");
    assert_eq!(gone.code(), Code::OutOfRange);

    let mut outcomes = brain
        .stream_outcomes(proto::OutcomeRequest::default())
        .await
        .expect("a stream")
        .into_inner();
    let told = soon(outcomes.message()).await.expect("one").expect("one");
    assert_eq!((told.plan_id.as_str(), told.state.as_str()), ("p-1", "completed"));
}

#[tokio::test]
async fn a_message_of_more_than_a_mebibyte_ends_the_stream_and_not_the_hub() {
    let open = open(None).await;
    let mut brain = dial(&open).await;
    let mut huge = plan("p-1");
    huge.reason = "x".repeat(8 * wire_inframind::MAX_MESSAGE_BYTES);
    let mut answers = brain
        .submit_action_plans(tokio_stream::iter([huge]))
        .await
        .expect("a stream")
        .into_inner();
    let status = soon(answers.message()).await.expect_err("it is refused");
    assert_eq!(status.code(), Code::OutOfRange);
    assert!(open.hub.taken.lock().expect("no panic").is_empty());
    let mut answers = brain
        .submit_action_plans(tokio_stream::iter([plan("p-2")]))
        .await
        .expect("a stream")
        .into_inner();
    assert!(
        soon(answers.message())
            .await
            .expect("an answer")
            .expect("an answer")
            .success
    );
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_plans_is_read_at_the_pace_and_the_operator_is_told() {
    let open = open(None).await;
    let mut brain = dial(&open).await;
    let plans = tokio_stream::iter((0..500).map(|number| plan(&number.to_string())));
    let begun = tokio::time::Instant::now();
    let mut answers = brain.submit_action_plans(plans).await.expect("a stream").into_inner();
    let mut count = 0;
    while let Some(answer) = answers.message().await.expect("an answer") {
        count += u32::from(answer.success);
    }
    assert_eq!(count, 500);
    // The clock is the paused one: it moves by what the server waits, and by nothing else.
    assert!(begun.elapsed() >= Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(open.hub.slowed.load(Ordering::Relaxed) > 400);
}

/// Certificates of a hub, of a brain that its CA signed, and of a stranger.
fn certificates() -> (Tls, Tls, Tls) {
    let authority = || {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::<String>::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("it signs itself");
        (certificate.pem(), Issuer::new(params, key))
    };
    let (ca, issuer) = authority();
    let (_, other) = authority();
    let leaf = |issuer: &Issuer<'_, KeyPair>| {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, issuer).expect("it is signed");
        Tls {
            ca: ca.clone(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    };
    (leaf(&issuer), leaf(&issuer), leaf(&other))
}

#[tokio::test]
async fn only_a_brain_whose_certificate_the_hub_signed_comes_in() {
    let (hub, brain, stranger) = certificates();
    let open = open(Some(hub)).await;
    let address = |tls| Address {
        url: format!("https://localhost:{}", open.address.port()),
        tls,
    };
    let mut known = soon(Client::connect(&address(Some(brain)), "im"))
        .await
        .expect("it comes in");
    assert!(soon(known.capabilities()).await.expect("an answer").is_some());
    assert_eq!(open.hub.certificates.lock().expect("no panic").as_slice(), [1]);
    for tls in [Some(stranger), None] {
        // Refused in the handshake or at the first call, as the versions of TLS have it.
        let refused = match soon(Client::connect(&address(tls), "im")).await {
            Ok(mut client) => soon(client.capabilities()).await.is_err(),
            Err(_) => true,
        };
        assert!(refused);
    }
    assert_eq!(open.hub.certificates.lock().expect("no panic").len(), 1);
}

/// An InfraMind of the first version, or of this one.
#[derive(Default)]
struct InfraMind {
    first_version: bool,
    batches: Arc<Mutex<Vec<String>>>,
    acks: Arc<Mutex<Vec<proto::PlanAck>>>,
    outcomes: Arc<Mutex<Vec<proto::PlanOutcome>>>,
}

type Answers<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl DecisionService for InfraMind {
    async fn submit_telemetry(
        &self,
        request: Request<Streaming<proto::TelemetryBatch>>,
    ) -> Result<Response<proto::Ack>, Status> {
        let mut batches = request.into_inner();
        let mut points = 0;
        while let Some(batch) = batches.message().await? {
            points += batch.points.len();
            self.batches.lock().expect("no panic").push(batch.batch_id);
        }
        let message = format!("{points} points");
        Ok(Response::new(proto::Ack { success: true, message }))
    }

    async fn get_action_plan(&self, _: Request<proto::TelemetryRef>) -> Result<Response<proto::ActionPlan>, Status> {
        Ok(Response::new(plan("p-9")))
    }

    type StreamActionPlansStream = Answers<proto::ActionPlan>;

    async fn stream_action_plans(
        &self,
        _: Request<proto::ActionPlanRequest>,
    ) -> Result<Response<Self::StreamActionPlansStream>, Status> {
        let plans = tokio_stream::iter([plan("p-1"), plan("p-2")]).map(Ok);
        Ok(Response::new(Box::pin(plans)))
    }

    async fn ack_plan(&self, request: Request<proto::PlanAck>) -> Result<Response<proto::Ack>, Status> {
        self.acks.lock().expect("no panic").push(request.into_inner());
        Ok(Response::new(proto::Ack {
            success: true,
            message: String::new(),
        }))
    }

    async fn get_capabilities(
        &self,
        _: Request<proto::CapabilitiesRequest>,
    ) -> Result<Response<proto::Capabilities>, Status> {
        match self.first_version {
            true => Err(Status::unimplemented("what is that")),
            false => Ok(Response::new(proto::Capabilities::default())),
        }
    }

    async fn report_outcome(&self, request: Request<proto::PlanOutcome>) -> Result<Response<proto::Ack>, Status> {
        if self.first_version {
            return Err(Status::unimplemented("what is that"));
        }
        self.outcomes.lock().expect("no panic").push(request.into_inner());
        Ok(Response::new(proto::Ack {
            success: true,
            message: String::new(),
        }))
    }

    type StreamTelemetryStream = Answers<proto::TelemetryBatch>;

    async fn stream_telemetry(
        &self,
        _: Request<proto::TelemetryRequest>,
    ) -> Result<Response<Self::StreamTelemetryStream>, Status> {
        Err(Status::unimplemented("a brain"))
    }

    type SubmitActionPlansStream = Answers<proto::PlanAck>;

    async fn submit_action_plans(
        &self,
        _: Request<Streaming<proto::ActionPlan>>,
    ) -> Result<Response<Self::SubmitActionPlansStream>, Status> {
        Err(Status::unimplemented("a brain"))
    }

    type StreamOutcomesStream = Answers<proto::PlanOutcome>;

    async fn stream_outcomes(
        &self,
        _: Request<proto::OutcomeRequest>,
    ) -> Result<Response<Self::StreamOutcomesStream>, Status> {
        Err(Status::unimplemented("a brain"))
    }
}

async fn called(mind: InfraMind) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let service = DecisionServiceServer::new(mind);
    let server = Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    soon(Client::connect(&Address { url, tls: None }, "im"))
        .await
        .expect("it is there")
}

#[tokio::test]
async fn an_inframind_that_is_called_gets_telemetry_gives_plans_and_hears_outcomes() {
    let mind = InfraMind::default();
    let (batches, acks, outcomes) = (mind.batches.clone(), mind.acks.clone(), mind.outcomes.clone());
    let mut client = called(mind).await;
    let (send, waiting) = mpsc::channel(2);
    let pump = tokio::spawn(async move {
        for id in ["1", "2", "3", "4", "5"] {
            send.send(batch(id)).await.expect("it is read");
        }
        // An empty batch is sent to nobody.
        send.send(Batch::default()).await.expect("it is read");
    });
    assert_eq!(soon(client.send(waiting, "home")).await.expect("acknowledged"), 5);
    pump.await.expect("no panic");
    assert_eq!(*batches.lock().expect("no panic"), ["1", "2", "3", "4", "5"]);

    let mut plans = client.plans("home");
    for id in ["p-1", "p-2"] {
        let received = soon(plans.next()).await.expect("a plan").expect("a plan");
        assert_eq!(received.plan_id, id);
        let taken = Taken {
            plan_id: received.plan_id,
            result: Ok(PlanId([7; 16])),
            at: Wall(1),
        };
        soon(client.acknowledge(&taken)).await.expect("acknowledged");
    }
    assert!(soon(plans.next()).await.expect("the end").is_none());
    assert_eq!(acks.lock().expect("no panic").len(), 2);
    assert!(soon(client.report("3", "p-1", &completed())).await.expect("reported"));
    assert_eq!(outcomes.lock().expect("no panic")[0].outcome_id, "3");
}

#[tokio::test]
async fn an_inframind_of_the_first_version_hears_the_real_outcome_by_ack_plan() {
    let mind = InfraMind {
        first_version: true,
        ..InfraMind::default()
    };
    let acks = mind.acks.clone();
    let mut client = called(mind).await;
    assert!(soon(client.capabilities()).await.expect("an answer").is_none());
    let mut failed = completed();
    failed.state = PlanState::RolledBack;
    assert!(!soon(client.report("3", "p-1", &failed)).await.expect("reported"));
    let ack = acks.lock().expect("no panic")[0].clone();
    assert_eq!((ack.plan_id.as_str(), ack.success), ("p-1", false));
}

#[tokio::test]
async fn a_brain_that_is_not_there_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    drop(listener);
    let error = soon(Client::connect(&Address { url, tls: None }, "im"))
        .await
        .expect_err("nobody is there");
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
}
