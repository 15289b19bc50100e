//! The hub's half towards an InfraMind that it calls: telemetry up, plans down, outcomes up.
//!
//! Every call ends within its deadline, so that a brain that is away or hangs costs one task its time and the hub nothing. What was not
//! acknowledged counts as not sent: the caller keeps its cursor and sends the same batches again, under the same ids.
//!
//! Read next: `hub/src/inframind.rs` (who calls, and when).

use std::pin::Pin;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Response, Status, Streaming};
use wire::plan::PlanOutcome;

use crate::convert::{self, Batch, Received, Taken};
use crate::proto::decision_service_client::DecisionServiceClient;
use crate::{MAX_MESSAGE_BYTES, proto};

/// Time to reach a brain. Source: the original adapter waited for ever and so never started.
const CONNECT: Duration = Duration::from_secs(10);
/// Time for an answer to one message.
const ANSWER: Duration = Duration::from_secs(10);
/// Time for one round of telemetry, from its first batch to its acknowledgement.
const ROUND: Duration = Duration::from_secs(60);
/// Pings on a quiet connection, so that a dead one is found before the next plan is missed.
const PING: Duration = Duration::from_secs(20);

/// Where a brain is and how it and the hub know each other.
#[derive(Debug, Clone)]
pub struct Address {
    /// `https://HOST:PORT`, or `http://` for one on the same machine.
    pub url: String,
    /// Mutual TLS; must be there for `https`.
    pub tls: Option<Tls>,
}

/// Certificates in PEM.
#[derive(Clone)]
pub struct Tls {
    /// Who may have signed the other side's.
    pub ca: String,
    /// Our own.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls { .. }")
    }
}

/// Why a brain did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("`{url}` is no address of a brain, for example https://brain.example:50051")]
    Address {
        /// It.
        url: String,
        /// Why.
        #[source]
        cause: tonic::transport::Error,
    },
    /// It is not there.
    #[error("the brain at {url} cannot be reached")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        #[source]
        cause: tonic::transport::Error,
    },
    /// It answered with an error, too late, or with more than it may.
    #[error("the brain refused {what}: {code:?}: {message}")]
    Refused {
        /// Which call.
        what: &'static str,
        /// Its code.
        code: Code,
        /// Its words.
        message: String,
    },
}

/// A connection to one brain.
#[derive(Debug, Clone)]
pub struct Client {
    calls: DecisionServiceClient<Channel>,
    name: String,
}

/// Plans as a brain makes them.
pub struct Plans {
    stream: Opening,
    name: String,
}

/// What opening a stream comes to.
type Opened = Result<Response<Streaming<proto::ActionPlan>>, Status>;

/// A stream whose head may come with its first message: some servers send neither before the other.
enum Opening {
    Asked(Pin<Box<dyn Future<Output = Opened> + Send>>),
    Open(Box<Streaming<proto::ActionPlan>>),
}

impl Client {
    /// Connects, within ten seconds. `name` is what the brain is called here, whatever it calls itself.
    pub async fn connect(address: &Address, name: &str) -> Result<Self, ClientError> {
        let url = || address.url.clone();
        let wrong = |cause| ClientError::Address { url: url(), cause };
        let mut endpoint = Endpoint::from_shared(url())
            .map_err(wrong)?
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(PING)
            .keep_alive_while_idle(true);
        if let Some(tls) = &address.tls {
            let tls = ClientTlsConfig::new()
                .ca_certificate(Certificate::from_pem(&tls.ca))
                .identity(Identity::from_pem(&tls.certificate, &tls.key));
            endpoint = endpoint.tls_config(tls).map_err(wrong)?;
        }
        let connected = endpoint.connect().await;
        let channel = connected.map_err(|cause| ClientError::Unreachable { url: url(), cause })?;
        let calls = DecisionServiceClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self {
            calls,
            name: name.to_owned(),
        })
    }

    /// What the brain can do; `None` for one of the first version, which does not know the question.
    pub async fn capabilities(&mut self) -> Result<Option<proto::Capabilities>, ClientError> {
        let request = within(proto::CapabilitiesRequest {}, ANSWER);
        match self.calls.get_capabilities(request).await {
            Ok(answer) => Ok(Some(answer.into_inner())),
            Err(status) if status.code() == Code::Unimplemented => Ok(None),
            Err(status) => Err(refused("capabilities", status)),
        }
    }

    /// Sends one round of batches: those that come through the channel until its other end is dropped. Returns how many there were, once
    /// the brain has acknowledged all of them; on an error none counts as sent.
    ///
    /// The channel is the back-pressure: whoever fills it waits while the brain is slow.
    pub async fn send(&mut self, batches: mpsc::Receiver<Batch>, cluster: &str) -> Result<u64, ClientError> {
        let count = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let (counter, cluster) = (count.clone(), cluster.to_owned());
        let messages = ReceiverStream::new(batches)
            .filter(|batch| !batch.points.is_empty())
            .map(move |batch| {
                counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                convert::telemetry(&batch, &cluster)
            });
        let answer = self.calls.submit_telemetry(within(messages, ROUND)).await;
        let ack = answer.map_err(|status| refused("telemetry", status))?.into_inner();
        accepted("telemetry", ack)?;
        Ok(count.load(std::sync::atomic::Ordering::Relaxed))
    }

    /// Plans from now on. Whether the brain sends any is learned by [`Plans::next`].
    pub fn plans(&self, cluster: &str) -> Plans {
        let request = proto::ActionPlanRequest {
            cluster_id: cluster.to_owned(),
            filters: Vec::new(),
        };
        let mut calls = self.calls.clone();
        Plans {
            stream: Opening::Asked(Box::pin(async move { calls.stream_action_plans(request).await })),
            name: self.name.clone(),
        }
    }

    /// Tells whether a plan was taken.
    pub async fn acknowledge(&mut self, taken: &Taken) -> Result<(), ClientError> {
        let answer = self.calls.ack_plan(within(convert::plan_ack(taken), ANSWER)).await;
        answer.map(drop).map_err(|status| refused("an acknowledgement", status))
    }

    /// Tells what came of a plan. `Ok(false)`: the brain is of the first version and was told by `AckPlan` instead.
    ///
    /// Until it returns `Ok`, the brain may not know: the same outcome is told again under the same id, and counted once.
    pub async fn report(&mut self, id: &str, key: &str, outcome: &PlanOutcome) -> Result<bool, ClientError> {
        let told = convert::outcome(id, key, outcome);
        match self.calls.report_outcome(within(told, ANSWER)).await {
            Ok(answer) => accepted("an outcome", answer.into_inner()).map(|()| true),
            Err(status) if status.code() == Code::Unimplemented => {
                let ack = proto::PlanAck {
                    plan_id: key.to_owned(),
                    success: outcome.state == wire::PlanState::Completed,
                    message: outcome.detail.clone(),
                    executed_at: outcome.at.0,
                    metrics: Default::default(),
                    hub_plan_id: outcome.plan.to_string(),
                };
                let answer = self.calls.ack_plan(within(ack, ANSWER)).await;
                answer.map(|_| false).map_err(|status| refused("an outcome", status))
            }
            Err(status) => Err(refused("an outcome", status)),
        }
    }
}

impl Plans {
    /// The next plan; `None` when the brain hangs up. A plan that cannot be read is one, too: its sender is told why.
    ///
    /// Waits for as long as the connection holds: a brain that foresees nothing says nothing.
    pub async fn next(&mut self) -> Result<Option<Received>, ClientError> {
        if let Opening::Asked(answer) = &mut self.stream {
            let stream = answer.await.map_err(|status| refused("plans", status))?.into_inner();
            self.stream = Opening::Open(Box::new(stream));
        }
        let Opening::Open(stream) = &mut self.stream else {
            return Ok(None);
        };
        match stream.message().await {
            Ok(plan) => Ok(plan.map(|plan| convert::receive(plan, &self.name))),
            Err(status) => Err(refused("plans", status)),
        }
    }
}

fn within<T>(message: T, deadline: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}

fn refused(what: &'static str, status: Status) -> ClientError {
    ClientError::Refused {
        what,
        code: status.code(),
        message: status.message().chars().take(300).collect(),
    }
}

fn accepted(what: &'static str, ack: proto::Ack) -> Result<(), ClientError> {
    if ack.success {
        return Ok(());
    }
    Err(ClientError::Refused {
        what,
        code: Code::FailedPrecondition,
        message: ack.message.chars().take(300).collect(),
    })
}
