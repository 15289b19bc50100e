//! The hub's half for brains that call it: plans up, telemetry and outcomes down.
//!
//! Who a brain is follows from its certificate; what it may do is decided behind [`Door`]. A brain that sends plans faster than
//! [`PLANS_PER_SECOND`] is not answered with errors but read more slowly: HTTP/2 makes it wait, and the operator is told.
//!
//! Invariant: no message, stream or queue of a brain grows beyond a bound that stands here.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};
use wire::plan::PlanOutcome;

use crate::client::Tls;
use crate::convert::{self, Batch, Received, Taken};
use crate::proto::decision_service_server::{DecisionService, DecisionServiceServer};
use crate::{MAX_MESSAGE_BYTES, proto};

/// Most plans of one stream in a second: far more than a fleet needs, far less than a store takes.
pub const PLANS_PER_SECOND: u32 = 20;
/// Plans that may come at once before that counts.
const BURST: u32 = 40;
/// Answers that wait for a slow brain; the reading of its plans waits for them.
const ANSWERS: usize = 8;
/// Streams of one connection: each kind twice, while one takes over from another.
const STREAMS: u32 = 8;
/// Time for one call that is not a stream.
const CALL: Duration = Duration::from_secs(30);
/// What brains have to read the end of their streams.
pub const GRACE: Duration = Duration::from_secs(3);
/// Pings on a quiet connection.
const PING: Duration = Duration::from_secs(20);

/// An outcome on its way to a brain.
#[derive(Debug, Clone)]
pub struct Told {
    /// Grows from outcome to outcome.
    pub id: String,
    /// The brain's own id of the plan.
    pub key: String,
    /// What came of it.
    pub outcome: PlanOutcome,
}

/// What stands behind the server: the hub.
pub trait Door: Send + Sync + 'static {
    /// The name of the brain with these certificates (DER, its own first), or why it may not come in.
    fn admit(&self, certificates: &[Vec<u8>]) -> Result<String, String>;

    /// A plan has come, readable or not.
    fn plan(&self, brain: &str, received: Received) -> impl Future<Output = Taken> + Send;

    /// Telemetry from a cursor on; empty for what comes from now on.
    fn telemetry(
        &self,
        brain: &str,
        cursor: &str,
    ) -> impl Future<Output = Result<mpsc::Receiver<Batch>, String>> + Send;

    /// Outcomes of this brain's plans after an id.
    fn outcomes(&self, brain: &str, after: &str) -> impl Future<Output = Result<mpsc::Receiver<Told>, String>> + Send;

    /// This brain sends faster than it may and is read more slowly.
    fn slowed(&self, brain: &str);
}

/// Serves brains until `stop` is ready: streams end then, and a brain that does not read how they end is left after [`GRACE`]. Fails if
/// the certificates are none.
pub async fn serve<D: Door>(
    listener: TcpListener,
    tls: Option<&Tls>,
    door: Arc<D>,
    cluster: &str,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let mut server = Server::builder()
        .max_concurrent_streams(STREAMS)
        .http2_keepalive_interval(Some(PING))
        .timeout(CALL);
    if let Some(tls) = tls {
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(&tls.certificate, &tls.key))
            .client_ca_root(Certificate::from_pem(&tls.ca));
        server = server.tls_config(tls)?;
    }
    let (stopping, stopped) = watch::channel(false);
    let served = Served {
        door,
        cluster: cluster.to_owned(),
        stopped,
    };
    let service = DecisionServiceServer::new(served)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let incoming = TcpListenerStream::new(listener);
    let mut asked = stopping.subscribe();
    let begun = async move { drop(asked.wait_for(|stopping| *stopping).await) };
    let served = server
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, begun);
    let told = async {
        stop.await;
        stopping.send_replace(true);
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = served => served,
        () = told => Ok(()),
    }
}

/// A stream that ends when the server stops.
struct UntilStopped<S> {
    stream: S,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<S: Stream + Unpin> Stream for UntilStopped<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        if self.stopped.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.stream).poll_next(cx)
    }
}

struct Served<D> {
    door: Arc<D>,
    cluster: String,
    stopped: watch::Receiver<bool>,
}

impl<D: Door> Served<D> {
    /// Ready once the server stops.
    fn stopped(&self) -> impl Future<Output = ()> + Send + use<D> {
        let mut stopped = self.stopped.clone();
        // A server that is gone has stopped, too.
        async move { drop(stopped.wait_for(|stopping| *stopping).await) }
    }

    /// The answers of a stream, until the server stops.
    fn answers<T>(
        &self,
        stream: impl Stream<Item = Result<T, Status>> + Send + Unpin + 'static,
    ) -> Response<Answers<T>> {
        let stopped = Box::pin(self.stopped());
        Response::new(Box::pin(UntilStopped { stream, stopped }))
    }

    fn brain<T>(&self, request: &Request<T>) -> Result<String, Status> {
        let certificates = request.peer_certs();
        let certificates: Vec<Vec<u8>> = match &certificates {
            Some(certificates) => certificates.iter().map(|der| der.as_ref().to_vec()).collect(),
            None => Vec::new(),
        };
        self.door.admit(&certificates).map_err(Status::unauthenticated)
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl<D: Door> DecisionService for Served<D> {
    async fn submit_telemetry(
        &self,
        request: Request<Streaming<proto::TelemetryBatch>>,
    ) -> Result<Response<proto::Ack>, Status> {
        self.brain(&request)?;
        Err(Status::unimplemented(
            "the hub has telemetry and takes none: call StreamTelemetry",
        ))
    }

    async fn get_action_plan(
        &self,
        request: Request<proto::TelemetryRef>,
    ) -> Result<Response<proto::ActionPlan>, Status> {
        self.brain(&request)?;
        Err(Status::unimplemented(
            "the hub makes no plans: send them by SubmitActionPlans",
        ))
    }

    type StreamActionPlansStream = Answers<proto::ActionPlan>;

    async fn stream_action_plans(
        &self,
        request: Request<proto::ActionPlanRequest>,
    ) -> Result<Response<Self::StreamActionPlansStream>, Status> {
        self.brain(&request)?;
        Err(Status::unimplemented(
            "the hub makes no plans: send them by SubmitActionPlans",
        ))
    }

    async fn ack_plan(&self, request: Request<proto::PlanAck>) -> Result<Response<proto::Ack>, Status> {
        self.brain(&request)?;
        Err(Status::unimplemented("the hub acknowledges plans, a brain sends them"))
    }

    async fn get_capabilities(
        &self,
        request: Request<proto::CapabilitiesRequest>,
    ) -> Result<Response<proto::Capabilities>, Status> {
        self.brain(&request)?;
        Ok(Response::new(convert::capabilities(PLANS_PER_SECOND)))
    }

    async fn report_outcome(&self, request: Request<proto::PlanOutcome>) -> Result<Response<proto::Ack>, Status> {
        self.brain(&request)?;
        Err(Status::unimplemented("the hub has outcomes: call StreamOutcomes"))
    }

    type StreamTelemetryStream = Answers<proto::TelemetryBatch>;

    async fn stream_telemetry(
        &self,
        request: Request<proto::TelemetryRequest>,
    ) -> Result<Response<Self::StreamTelemetryStream>, Status> {
        let brain = self.brain(&request)?;
        let cursor = request.into_inner().cursor;
        let batches = self
            .door
            .telemetry(&brain, &cursor)
            .await
            .map_err(Status::out_of_range)?;
        let cluster = self.cluster.clone();
        let messages = ReceiverStream::new(batches).map(move |batch| Ok(convert::telemetry(&batch, &cluster)));
        Ok(self.answers(messages))
    }

    type SubmitActionPlansStream = Answers<proto::PlanAck>;

    async fn submit_action_plans(
        &self,
        request: Request<Streaming<proto::ActionPlan>>,
    ) -> Result<Response<Self::SubmitActionPlansStream>, Status> {
        let brain = self.brain(&request)?;
        let (answers, waiting) = mpsc::channel(ANSWERS);
        let door = self.door.clone();
        let plans = request.into_inner();
        let stopped = self.stopped();
        // Ends with the stream of plans, with the server, or when the brain takes no answers any more.
        tokio::spawn(async move {
            tokio::select! {
                () = take_plans(door, brain, plans, answers) => {}
                () = stopped => {}
            }
        });
        Ok(self.answers(ReceiverStream::new(waiting)))
    }

    type StreamOutcomesStream = Answers<proto::PlanOutcome>;

    async fn stream_outcomes(
        &self,
        request: Request<proto::OutcomeRequest>,
    ) -> Result<Response<Self::StreamOutcomesStream>, Status> {
        let brain = self.brain(&request)?;
        let after = request.into_inner().after;
        let outcomes = self.door.outcomes(&brain, &after).await.map_err(Status::out_of_range)?;
        let messages =
            ReceiverStream::new(outcomes).map(|told| Ok(convert::outcome(&told.id, &told.key, &told.outcome)));
        Ok(self.answers(messages))
    }
}

async fn take_plans<D: Door>(
    door: Arc<D>,
    brain: String,
    mut plans: Streaming<proto::ActionPlan>,
    answers: mpsc::Sender<Result<proto::PlanAck, Status>>,
) {
    let mut pace = Pace::new();
    loop {
        let plan = match plans.message().await {
            Ok(Some(plan)) => plan,
            Ok(None) => return,
            Err(status) => {
                // The brain may be gone: then nobody hears it.
                let _ = answers.send(Err(status)).await;
                return;
            }
        };
        if let Some(until) = pace.next(Instant::now()) {
            door.slowed(&brain);
            sleep_until(until).await;
        }
        let taken = door.plan(&brain, convert::receive(plan, &brain)).await;
        if answers.send(Ok(convert::plan_ack(&taken))).await.is_err() {
            return;
        }
    }
}

/// A token bucket (GCRA): how long the next plan must wait.
struct Pace {
    /// When the bucket would be full again.
    full: Option<Instant>,
}

impl Pace {
    const fn new() -> Self {
        Self { full: None }
    }

    /// Takes one token; `Some` is when it may be used, if that is not now.
    fn next(&mut self, now: Instant) -> Option<Instant> {
        let each = Duration::from_secs(1) / PLANS_PER_SECOND;
        let full = self.full.unwrap_or(now).max(now) + each;
        self.full = Some(full);
        let wait = (full - now).checked_sub(each * BURST)?;
        (!wait.is_zero()).then(|| now + wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_pace_holds() {
        let now = Instant::now();
        let mut pace = Pace::new();
        let waits: Vec<Duration> = (0..10_000)
            .filter_map(|_| pace.next(now))
            .map(|until| until - now)
            .collect();
        assert_eq!(waits.len(), 10_000 - BURST as usize);
        // Ten thousand plans at once take as long as their pace says.
        assert_eq!(waits.last().map(Duration::as_secs), Some(498));
        let later = now + Duration::from_secs(600);
        assert_eq!(pace.next(later), None);
    }
}
