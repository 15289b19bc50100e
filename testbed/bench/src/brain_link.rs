//! `brain-link`: telemetry of a thousand nodes, from a hub's store to a brain over gRPC with mutual TLS, against a bare tonic stream.
//!
//! The hub runs in this process with its whole store; nodes are told to its core as if they were connected. A brain dials in and reads
//! everything from the first block on, as often as there are rounds: blocks are read, decoded and packed each time. The limit streams
//! the very messages that came, from memory, over the same TLS. Rounds alternate, and the middle one counts.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use hub::config::{Cli, Command};
use hub::hub::Handle;
use hub::run::Running;
use hub_core::{Input, SessionId};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};
use wire::api::NodeState;
use wire::entry::ChainHead;
use wire::frame::{Frame, Hello, OLDEST_VERSION, TelemetryBlock, VERSION};
use wire::reading::{DeviceId, Quantity, Reading, Series};
use wire::telemetry::Encoder;
use wire::{AgentId, BundleRef, Epoch, Generation, HubEpoch, Mono, Now, Seq, Wall};
use wire_inframind::proto;
use wire_inframind::proto::decision_service_client::DecisionServiceClient;
use wire_inframind::proto::decision_service_server::{DecisionService, DecisionServiceServer};

use crate::lab::Place;
use crate::report::{Figure, Goal, quantile};

const NODES: u64 = 1_000;
/// Blocks of each node, of ten samples each: half a minute of a fleet.
const BLOCKS: u64 = 3;
const SAMPLES: u64 = 10;
/// Nodes that come at once: fewer than a hub greets at the same time.
const AT_ONCE: u64 = 200;
const ROUNDS: usize = 5;
const MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// Runs it.
pub async fn run(place: &Place) -> Result<Vec<Figure>, String> {
    let folder = place.work.join("brain-link");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(|cause| format!("cannot empty `{}`: {cause}", folder.display()))?;
    }
    let tls = folder.join("tls");
    std::fs::create_dir_all(&tls).map_err(|cause| format!("cannot make `{}`: {cause}", tls.display()))?;
    let authority = Authority::new()?;
    let own = authority.issue("hub")?;
    for (name, text) in [
        ("ca.pem", &authority.pem),
        ("certificate.pem", &own.0),
        ("key.pem", &own.1),
    ] {
        std::fs::write(tls.join(name), text).map_err(|cause| format!("cannot write {name}: {cause}"))?;
    }
    let hub = Running::start(arguments(&folder, &tls)?)
        .await
        .map_err(|cause| cause.to_string())?;
    let address = hub.brains.ok_or("the hub opened no port for brains")?;
    let mut brain = dial(&authority, address).await?;
    for first in (0..NODES).step_by(AT_ONCE as usize) {
        fill(&hub.handle, first..first + AT_ONCE).await?;
        // Everything is durable once it was read: no node is sent away because too much waits for the store.
        read(&mut brain, (first + AT_ONCE) * BLOCKS).await?;
    }
    let messages = Arc::new(read(&mut brain, NODES * BLOCKS).await?.1);
    let bare = Bare::start(&authority, &own, Arc::clone(&messages)).await?;
    let mut peer = dial(&authority, bare).await?;
    let (mut ours, mut limit) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        limit.push(read(&mut peer, NODES * BLOCKS).await?.0);
        ours.push(read(&mut brain, NODES * BLOCKS).await?.0);
    }
    drop(brain);
    hub.stop().await.map_err(|cause| cause.to_string())?;
    let goal = Goal::OfLimit(0.7);
    Ok(vec![
        Figure::new("brain-link", "points/s", quantile(&mut ours, 0.5), goal)
            .limit("bare tonic stream", quantile(&mut limit, 0.5))
            .against(goal),
    ])
}

fn arguments(folder: &Path, tls: &Path) -> Result<hub::config::RunArgs, String> {
    let state = folder.join("hub").display().to_string();
    let tls = tls.display().to_string();
    let words = [
        "sentinel-hub",
        "run",
        "--listen",
        "127.0.0.1:0",
        "--state",
        &state,
        "--brain",
        "none",
        "--brain-listen",
        "127.0.0.1:0",
        "--brain-tls",
        &tls,
    ];
    match Cli::try_parse_from(words).map_err(|cause| cause.to_string())?.command {
        Command::Run(args) => Ok(*args),
        Command::Store(_) => Err("it says run".to_owned()),
    }
}

/// Nodes come, and once they are welcome their telemetry follows.
async fn fill(hub: &Handle, numbers: Range<u64>) -> Result<(), String> {
    let tell = async |input| hub.tell(input).await.map_err(|cause| cause.to_string());
    let session = |number: u64| SessionId(1_000_000 + number);
    for number in numbers.clone() {
        let agent = AgentId::new(format!("bench-{number}")).map_err(|cause| cause.to_string())?;
        let session = session(number);
        for what in testbed_sim::enrolment(&agent, "bench") {
            hub.request(what).await.map_err(|cause| cause.to_string())?;
        }
        tell(Input::SessionOpened { session, agent }).await?;
        let frame = Frame::Hello(hello(number));
        tell(Input::Frame { session, frame }).await?;
    }
    let started = Instant::now();
    let connected = async || {
        let nodes = hub.nodes().await.map_err(|cause| cause.to_string())?;
        let up = nodes.iter().filter(|node| node.state == NodeState::Connected).count() as u64;
        Ok::<_, String>(up >= numbers.end)
    };
    while !connected().await? {
        if started.elapsed() > Duration::from_secs(60) {
            return Err("the hub does not welcome its nodes within 60 s".to_owned());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for number in numbers.clone() {
        let (session, mut encoder) = (session(number), Encoder::new());
        for seq in 1..=BLOCKS {
            let block = block(&mut encoder, number, seq)?;
            let frame = Frame::Telemetry(TelemetryBlock {
                epoch: Epoch(1),
                seq: Seq(seq),
                block,
            });
            tell(Input::Frame { session, frame }).await?;
        }
    }
    Ok(())
}

fn hello(number: u64) -> Hello {
    Hello {
        version: VERSION,
        oldest_version: OLDEST_VERSION,
        program: "bench".to_owned(),
        head: ChainHead::empty(Epoch(1)),
        oldest_entry: Seq(1),
        acked: Seq(0),
        older: Vec::new(),
        telemetry: Seq(0),
        bundle: BundleRef::NONE,
        generation_floor: Generation(0),
        hub_epoch: HubEpoch(0),
        process: number + 1,
        last_session: 0,
        now: Now::default(),
    }
}

/// Ten seconds of a node with two GPUs.
fn block(encoder: &mut Encoder, number: u64, seq: u64) -> Result<Vec<u8>, String> {
    for sample in 0..SAMPLES {
        let second = seq * SAMPLES + sample;
        let value = |quantity, device, at: u64| Reading {
            series: Series::new(device, quantity),
            value: i64::try_from(at).ok(),
        };
        let mut readings = vec![value(
            Quantity::CpuUsed,
            DeviceId::node(),
            4_000 + (number * 7 + second * 13) % 900,
        )];
        for gpu in 0..2 {
            let of = |salt: u64, spread: u64| (number * 31 + second * salt + u64::from(gpu)) % spread;
            readings.extend([
                value(Quantity::GpuTemperature, DeviceId::gpu(gpu), 60_000 + of(101, 5_000)),
                value(Quantity::GpuPower, DeviceId::gpu(gpu), 200_000 + of(997, 40_000)),
                value(Quantity::GpuPowerCap, DeviceId::gpu(gpu), 350_000),
            ]);
        }
        encoder.observe(&readings);
        encoder.sample(Now {
            mono: Mono(second * 1_000),
            wall: Wall(1_795_000_000_000 + i64::try_from(second * 1_000).map_err(|cause| cause.to_string())?),
        });
    }
    encoder.take_block().ok_or_else(|| "a block has samples".to_owned())
}

/// Reads telemetry until as many blocks are here; returns points a second, and the messages.
async fn read(
    brain: &mut DecisionServiceClient<Channel>,
    blocks: u64,
) -> Result<(f64, Vec<proto::TelemetryBatch>), String> {
    let request = proto::TelemetryRequest { cursor: "0".to_owned() };
    let started = Instant::now();
    let answer = brain
        .stream_telemetry(request)
        .await
        .map_err(|status| status.to_string())?;
    let (mut stream, mut messages, mut points) = (answer.into_inner(), Vec::new(), 0);
    loop {
        let next = tokio::time::timeout(Duration::from_secs(60), stream.message()).await;
        let message = next
            .map_err(|_| "no telemetry for 60 s")?
            .map_err(|status| status.to_string())?;
        let message = message.ok_or("the stream ended")?;
        points += message.points.len();
        let is_last = message.cursor.parse::<u64>().is_ok_and(|cursor| cursor >= blocks);
        messages.push(message);
        if is_last {
            return Ok((points as f64 / started.elapsed().as_secs_f64(), messages));
        }
    }
}

/// Who signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Result<Self, String> {
        let text = |cause: rcgen::Error| cause.to_string();
        let mut params = CertificateParams::new(Vec::new()).map_err(text)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().map_err(text)?;
        let pem = params.self_signed(&key).map_err(text)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            pem,
        })
    }

    /// A certificate in this name and its key.
    fn issue(&self, name: &str) -> Result<(String, String), String> {
        let text = |cause: rcgen::Error| cause.to_string();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).map_err(text)?;
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().map_err(text)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(text)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

async fn dial(authority: &Authority, address: SocketAddr) -> Result<DecisionServiceClient<Channel>, String> {
    let (certificate, key) = authority.issue("augur")?;
    let config = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&authority.pem))
        .identity(Identity::from_pem(certificate, key))
        .domain_name("localhost");
    let endpoint = Endpoint::from_shared(format!("https://{address}")).map_err(|cause| cause.to_string())?;
    let endpoint = endpoint.tls_config(config).map_err(|cause| cause.to_string())?;
    let channel = endpoint
        .connect()
        .await
        .map_err(|cause| format!("cannot dial {address}: {cause}"))?;
    Ok(DecisionServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES))
}

/// A service that streams messages from memory and does nothing else.
struct Bare(Arc<Vec<proto::TelemetryBatch>>);

impl Bare {
    async fn start(
        authority: &Authority,
        (certificate, key): &(String, String),
        messages: Arc<Vec<proto::TelemetryBatch>>,
    ) -> Result<SocketAddr, String> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .map_err(|cause| cause.to_string())?;
        let address = listener.local_addr().map_err(|cause| cause.to_string())?;
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(certificate, key))
            .client_ca_root(Certificate::from_pem(&authority.pem));
        let mut server = Server::builder().tls_config(tls).map_err(|cause| cause.to_string())?;
        let service = DecisionServiceServer::new(Self(messages)).max_encoding_message_size(MESSAGE_BYTES);
        // Ends with this process.
        tokio::spawn(
            server
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        Ok(address)
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Answer<T> = Result<Response<T>, Status>;

fn nothing_else<T>() -> Answer<T> {
    Err(Status::unimplemented("it streams telemetry and nothing else"))
}

#[tonic::async_trait]
impl DecisionService for Bare {
    type StreamActionPlansStream = Answers<proto::ActionPlan>;
    type StreamTelemetryStream = Answers<proto::TelemetryBatch>;
    type SubmitActionPlansStream = Answers<proto::PlanAck>;
    type StreamOutcomesStream = Answers<proto::PlanOutcome>;

    async fn stream_telemetry(&self, _: Request<proto::TelemetryRequest>) -> Answer<Self::StreamTelemetryStream> {
        let messages = Arc::clone(&self.0);
        let each = (0..messages.len()).map(move |index| Ok(messages[index].clone()));
        Ok(Response::new(Box::pin(tokio_stream::iter(each).map(|message| message))))
    }

    async fn submit_telemetry(&self, _: Request<Streaming<proto::TelemetryBatch>>) -> Answer<proto::Ack> {
        nothing_else()
    }

    async fn get_action_plan(&self, _: Request<proto::TelemetryRef>) -> Answer<proto::ActionPlan> {
        nothing_else()
    }

    async fn stream_action_plans(&self, _: Request<proto::ActionPlanRequest>) -> Answer<Self::StreamActionPlansStream> {
        nothing_else()
    }

    async fn ack_plan(&self, _: Request<proto::PlanAck>) -> Answer<proto::Ack> {
        nothing_else()
    }

    async fn get_capabilities(&self, _: Request<proto::CapabilitiesRequest>) -> Answer<proto::Capabilities> {
        nothing_else()
    }

    async fn report_outcome(&self, _: Request<proto::PlanOutcome>) -> Answer<proto::Ack> {
        nothing_else()
    }

    async fn submit_action_plans(
        &self,
        _: Request<Streaming<proto::ActionPlan>>,
    ) -> Answer<Self::SubmitActionPlansStream> {
        nothing_else()
    }

    async fn stream_outcomes(&self, _: Request<proto::OutcomeRequest>) -> Answer<Self::StreamOutcomesStream> {
        nothing_else()
    }
}
