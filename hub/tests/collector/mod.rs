//! A receiver of OTLP that speaks the official protocol by gRPC and by HTTP, keeps what it is told, and can go away.

#![allow(dead_code, reason = "each test uses its part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// How long a test waits for something that it is sent.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that was received, in order.
#[derive(Debug, Default, Clone)]
pub struct Received {
    pub logs: Vec<(Option<Resource>, LogRecord)>,
    pub metrics: Vec<(Option<Resource>, Metric)>,
    pub spans: Vec<Span>,
}

type Shared = Arc<watch::Sender<Received>>;

#[derive(Clone)]
struct Inbox(Shared);

/// A receiver that listens until it is dropped.
pub struct Collector {
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    received: Shared,
    stop: CancellationToken,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Collector {
    /// Listens on free ports.
    pub async fn start() -> Self {
        Self::start_at([0, 0]).await
    }

    /// Listens on these ports, gRPC's and HTTP's.
    pub async fn start_at([grpc, http]: [u16; 2]) -> Self {
        let received = Shared::default();
        let inbox = Inbox(Arc::clone(&received));
        let stop = CancellationToken::new();
        let bind = async |port| TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
        let (grpc, http) = (bind(grpc).await, bind(http).await);
        let addresses = [&grpc, &http].map(|listener| listener.local_addr().expect("bound"));
        let services = tonic::transport::Server::builder()
            .add_service(LogsServiceServer::new(inbox.clone()))
            .add_service(MetricsServiceServer::new(inbox.clone()))
            .add_service(TraceServiceServer::new(inbox.clone()));
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(grpc);
        let ended = stop.clone();
        tokio::spawn(async move {
            let served = services.serve_with_incoming_shutdown(incoming, ended.cancelled_owned());
            served.await.expect("it serves");
        });
        let router = Router::new()
            .route("/v1/logs", post(logs))
            .route("/v1/metrics", post(metrics))
            .route("/v1/traces", post(traces))
            .with_state(inbox);
        let ended = stop.clone();
        tokio::spawn(async move {
            let served = axum::serve(http, router).with_graceful_shutdown(ended.cancelled_owned());
            served.await.expect("it serves");
        });
        Self {
            grpc: addresses[0],
            http: addresses[1],
            received,
            stop,
        }
    }

    /// Listens no more; what it received stays.
    pub fn go_away(&self) {
        self.stop.cancel();
    }

    /// What there is so far.
    pub fn received(&self) -> Received {
        self.received.borrow().clone()
    }

    /// What there is as soon as it is enough.
    pub async fn when(&self, what: &str, enough: impl Fn(&Received) -> bool) -> Received {
        let mut received = self.received.subscribe();
        let came = timeout(PATIENCE, received.wait_for(|received| enough(received))).await;
        let came = came.unwrap_or_else(|_| panic!("{what} did not come: {:#?}", self.received()));
        came.expect("the collector holds the other end").clone()
    }
}

impl Inbox {
    fn add(&self, add: impl FnOnce(&mut Received)) {
        self.0.send_modify(add);
    }

    fn logs(&self, request: ExportLogsServiceRequest) {
        self.add(|received| {
            for of in request.resource_logs {
                let records = of.scope_logs.into_iter().flat_map(|scope| scope.log_records);
                received
                    .logs
                    .extend(records.map(|record| (of.resource.clone(), record)));
            }
        });
    }

    fn metrics(&self, request: ExportMetricsServiceRequest) {
        self.add(|received| {
            for of in request.resource_metrics {
                let metrics = of.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
                received
                    .metrics
                    .extend(metrics.map(|metric| (of.resource.clone(), metric)));
            }
        });
    }

    fn traces(&self, request: ExportTraceServiceRequest) {
        let scopes = request.resource_spans.into_iter().flat_map(|of| of.scope_spans);
        let spans = scopes.flat_map(|scope| scope.spans);
        self.add(|received| received.spans.extend(spans));
    }
}

#[tonic::async_trait]
impl LogsService for Inbox {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        self.logs(request.into_inner());
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Inbox {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.metrics(request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl TraceService for Inbox {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn logs(State(inbox): State<Inbox>, body: Bytes) -> axum::response::Response {
    answer(ExportLogsServiceRequest::decode(body).map(|request| inbox.logs(request)))
}

async fn metrics(State(inbox): State<Inbox>, body: Bytes) -> axum::response::Response {
    answer(ExportMetricsServiceRequest::decode(body).map(|request| inbox.metrics(request)))
}

async fn traces(State(inbox): State<Inbox>, body: Bytes) -> axum::response::Response {
    answer(ExportTraceServiceRequest::decode(body).map(|request| inbox.traces(request)))
}

/// An empty message is a full success.
fn answer(read: Result<(), prost::DecodeError>) -> axum::response::Response {
    match read {
        Ok(()) => ([(CONTENT_TYPE, "application/x-protobuf")], Vec::new()).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

/// A text attribute.
pub fn text(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|attribute| attribute.value.as_ref()) {
        Some(AnyValue {
            value: Some(any_value::Value::StringValue(text)),
        }) => text.clone(),
        other => format!("{other:?}"),
    }
}

/// The one line of a log record.
pub fn body(record: &LogRecord) -> String {
    match record.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        other => format!("{other:?}"),
    }
}
