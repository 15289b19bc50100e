//! The node's own API and page, for whoever sits at the box: over a Unix socket, and read-only over loopback if settings ask for it.
//!
//! Serves what the journal and the turn loop already know, under the routes that `wire::api` lists; decides nothing and works without
//! a hub. What a person wants done goes to the core as a `LocalRequest` and is judged like everything else.
//!
//! Read next: `live.rs` (the node now), `record.rs` (what the journal says), `person.rs` (what people want), `answer.rs` (how it looks).

mod answer;
mod carry;
mod door;
mod glass;
mod live;
mod metrics;
mod person;
mod record;

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use edge_agent_core::faults::ladder::Standing;
use edge_agent_core::faults::users::Picture;
use edge_agent_core::{LocalAnswer, LocalRequest};
use firmware_profiles::Catalogue;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use wire::api::{GlassView, Isolation, NeighbourView, StreamEvent};
use wire::breakglass::MAX_TOKEN_BYTES;
use wire::frame::Status;
use wire::parcel::MAX_PARCEL_BYTES;
use wire::reading::{Reading, Series};
use wire::time::ClockError;
use wire::{AgentId, BundleRef, Epoch, HubEpoch, RawEntry, Seq, SignedBundle, SignedRoles, Wall};

use crate::faults::Faults;
use crate::journal::Reader;
use crate::telemetry::otlp::{self, Kind, entries, forward::Forward, metrics::Exporter};
use crate::telemetry::samples::Compat;
use door::Bounded;

/// Events that a watcher may be behind: a minute of samples and a burst of decisions.
const BEHIND: usize = 128;

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The socket cannot be made.
    #[error("cannot listen on socket `{path}`")]
    Socket {
        /// Which.
        path: PathBuf,
        /// How it fails.
        #[source]
        cause: io::Error,
    },
    /// The page's address cannot be used.
    #[error("cannot serve the page on `{address}`: choose another with `page` in the settings, or port 0 for any")]
    Page {
        /// Which.
        address: SocketAddr,
        /// How it fails.
        #[source]
        cause: io::Error,
    },
}

/// The node as the turn loop last saw it.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// What it also tells the hub.
    pub status: Status,
    /// Whether a session is up, and since when that is so.
    pub connected: bool,
    /// Since when.
    pub since: Option<Wall>,
    /// The highest hub epoch that it has seen.
    pub hub_epoch: HubEpoch,
    /// Entries that no hub has acknowledged.
    pub backlog_entries: u64,
    /// The last entry of the present epoch that a hub acknowledged.
    pub acked: Seq,
    /// The active bundle.
    pub bundle: Option<(BundleRef, Arc<SignedBundle>)>,
    /// The trusted role documents, oldest first.
    pub roles: Arc<[SignedRoles]>,
    /// By how much its wall clock may differ from the hub's.
    pub clock_error: ClockError,
    /// Why it does not count itself as healthy.
    pub unhealthy: Option<String>,
    /// What is not as it should be, one sentence each.
    pub findings: Vec<String>,
    /// Who carries its session with the hub, from here to there; nobody on a path of its own.
    pub path: Vec<AgentId>,
    /// How far a cut goes, as it sees it.
    pub isolation: Option<Isolation>,
    /// The other members of its site, as it last heard of them.
    pub neighbours: Arc<[NeighbourView]>,
    /// An action waits until it is its turn in a domain.
    pub waits_for_turn: bool,
    /// The break-glass token that is open.
    pub glass: Option<GlassView>,
    /// Which workloads use which device.
    pub users: Picture,
    /// How the ladder against faults stands.
    pub ladder: Vec<Standing>,
    /// Kinds of faults that driver and catalogue judge differently.
    pub disagreements: usize,
    /// The latest value of every series.
    pub latest: Arc<BTreeMap<Series, Option<i64>>>,
}

/// The turn loop's end: it tells what happens, and takes what people want.
#[derive(Debug)]
pub struct Feed {
    snapshot: watch::Sender<Arc<Snapshot>>,
    durable: broadcast::Sender<(Epoch, RawEntry)>,
    sampled: broadcast::Sender<Arc<str>>,
    compat: watch::Sender<Vec<Compat>>,
}

impl Feed {
    /// Names of other systems that `/metrics` tells too, from now on.
    pub fn compat(&self, compat: Vec<Compat>) {
        self.compat.send_replace(compat);
    }

    /// The node has changed.
    pub fn snapshot(&self, snapshot: Snapshot) {
        self.snapshot.send_replace(Arc::new(snapshot));
    }

    /// An entry has become durable. Costs nothing while nobody watches.
    pub fn durable(&self, epoch: Epoch, entry: &RawEntry) {
        if self.durable.receiver_count() > 0 {
            // Nobody left to hear it is no failure.
            drop(self.durable.send((epoch, entry.clone())));
        }
    }

    /// A round of readings was taken. Costs nothing while nobody watches.
    pub fn sampled(&self, node: &AgentId, at: Wall, readings: &[Reading]) {
        if self.sampled.receiver_count() > 0 {
            let event = live::sample(node, at, readings);
            drop(self.sampled.send(answer::event_text(&event).into()));
        }
    }
}

/// Something that a person wants, and where the answer goes.
#[derive(Debug)]
pub struct Ask {
    /// What.
    pub what: LocalRequest,
    /// The answer of the core.
    pub answer: oneshot::Sender<LocalAnswer>,
}

/// Where and as whom the API is served.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Path of the Unix socket; only this user can open it.
    pub socket: PathBuf,
    /// Address of the page on loopback, if one is wanted.
    pub page: Option<SocketAddr>,
    /// The node.
    pub agent: AgentId,
    /// Its site.
    pub site: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The firmware profiles that count here.
    pub profiles: Catalogue,
    /// What telemetry tells, and to whom.
    pub telemetry: Telemetry,
}

/// What telemetry tells, and to whom.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// Where `/metrics` is served besides the page; nowhere if absent.
    pub metrics: Option<SocketAddr>,
    /// Other systems' names that are told too.
    pub compat: Vec<Compat>,
    /// What is sent to a Collector.
    pub otlp: Option<Export>,
    /// Who knows the names of devices and the counts of faults.
    pub faults: Faults,
}

/// What is sent to a Collector, and as whose.
#[derive(Debug, Clone)]
pub struct Export {
    /// Where to.
    pub settings: otlp::Settings,
    /// Ids of traces are derived from it.
    pub trust_domain: String,
    /// How far the export is stands there.
    pub state_dir: PathBuf,
}

/// What every route knows.
#[derive(Clone)]
struct App {
    agent: AgentId,
    site: Arc<str>,
    labels: Arc<BTreeMap<String, String>>,
    profiles: Catalogue,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    durable: broadcast::Sender<(Epoch, RawEntry)>,
    sampled: broadcast::Sender<Arc<str>>,
    asks: mpsc::Sender<Ask>,
    reader: Reader,
    faults: Faults,
    compat: watch::Receiver<Vec<Compat>>,
}

impl App {
    fn now(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// Reads from the journal, off the turn loop's thread.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, crate::journal::ReadError> + Send + 'static,
    ) -> Result<T, answer::Failure> {
        let reader = self.reader.clone();
        match tokio::task::spawn_blocking(move || read(&reader)).await {
            Ok(found) => found.map_err(answer::Failure::from),
            Err(_) => Err(answer::Failure::internal("reading the journal was interrupted")),
        }
    }
}

/// Who is at the other end of the socket.
#[derive(Debug, Clone)]
struct Peer(Arc<str>);

impl Connected<IncomingStream<'_, Bounded<UnixListener>>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Bounded<UnixListener>>) -> Self {
        let who = match stream.io().inner().peer_cred() {
            Ok(credentials) => person::name_of(credentials.uid()),
            // The kernel gives them for every Unix socket; without them the socket's mode is what let this one in.
            Err(_) => "someone at the socket".to_owned(),
        };
        Self(who.into())
    }
}

/// Begins to send what the environment wants sent.
fn send(export: Export, app: &App, tasks: &mut Vec<tokio::task::JoinHandle<()>>) {
    let Export {
        settings,
        trust_domain,
        state_dir,
    } = export;
    let resource = settings.resource(app.agent.as_str(), &app.site);
    if let Some(exporter) = Exporter::new(&settings, resource.clone()) {
        tasks.push(tokio::spawn(metrics::export(app.clone(), exporter)));
    }
    let origin = entries::Origin {
        agent: app.agent.clone(),
        trust_domain,
        resource,
    };
    for (kind, signal) in [(Kind::Logs, settings.logs), (Kind::Traces, settings.traces)] {
        if let Some(signal) = signal {
            let forward = Forward::new(kind, signal, origin.clone(), app.reader.clone(), &state_dir);
            tasks.push(tokio::spawn(forward.work(app.durable.subscribe())));
        }
    }
}

/// The API while it is served.
#[derive(Debug)]
pub struct LocalApi {
    /// Where the page is, if one is served.
    pub page: Option<SocketAddr>,
    /// Where `/metrics` is, if it has an address of its own.
    pub metrics: Option<SocketAddr>,
    socket: PathBuf,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl LocalApi {
    /// Begins to serve. `asks` goes to the turn loop, which answers each [`Ask`].
    pub async fn start(
        settings: &Settings,
        first: Snapshot,
        reader: Reader,
        asks: mpsc::Sender<Ask>,
    ) -> Result<(Self, Feed), ServeError> {
        let (snapshot, seen) = watch::channel(Arc::new(first));
        let (durable, _) = broadcast::channel(BEHIND);
        let (sampled, _) = broadcast::channel(BEHIND);
        let (compat, told) = watch::channel(settings.telemetry.compat.clone());
        let app = App {
            agent: settings.agent.clone(),
            site: settings.site.as_str().into(),
            labels: Arc::new(settings.labels.clone()),
            profiles: settings.profiles.clone(),
            snapshot: seen,
            durable: durable.clone(),
            sampled: sampled.clone(),
            asks,
            reader,
            faults: settings.telemetry.faults.clone(),
            compat: told,
        };
        let listener = Bounded::new(listen(&settings.socket)?, door::SOCKET);
        let local = reading().merge(writing()).with_state(app.clone());
        let local = local.into_make_service_with_connect_info::<Peer>();
        let mut tasks = vec![tokio::spawn(ended(
            "socket",
            axum::serve(listener, local).into_future(),
        ))];
        let metrics = match settings.telemetry.metrics {
            Some(address) => serve_metrics(address, app.clone(), &mut tasks).await,
            None => None,
        };
        if let Some(export) = settings.telemetry.otlp.clone() {
            send(export, &app, &mut tasks);
        }
        let mut page = None;
        if let Some(address) = settings.page {
            let failed = |cause| ServeError::Page { address, cause };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            page = Some(listener.local_addr().map_err(failed)?);
            let listener = Bounded::new(listener, door::PAGE);
            let shown = reading()
                .fallback(answer::file)
                .layer(middleware::from_fn(own_pages_only))
                .with_state(app)
                .into_make_service();
            tasks.push(tokio::spawn(ended("page", axum::serve(listener, shown).into_future())));
        }
        let api = Self {
            page,
            metrics,
            socket: settings.socket.clone(),
            tasks,
        };
        Ok((
            api,
            Feed {
                snapshot,
                durable,
                sampled,
                compat,
            },
        ))
    }

    /// Stops serving and takes the socket away.
    pub fn stop(self) {
        for task in &self.tasks {
            task.abort();
        }
        // A socket that cannot be removed is taken over at the next start.
        drop(std::fs::remove_file(&self.socket));
    }
}

/// Serves `/metrics` and nothing else. An address that is taken costs the metrics there and never the agent.
async fn serve_metrics(
    address: SocketAddr,
    app: App,
    tasks: &mut Vec<tokio::task::JoinHandle<()>>,
) -> Option<SocketAddr> {
    let bound = TcpListener::bind(address)
        .await
        .and_then(|listener| Ok((listener.local_addr()?, listener)));
    match bound {
        Ok((bound, listener)) => {
            let served = Router::new().route("/metrics", get(metrics::scrape)).with_state(app);
            tasks.push(tokio::spawn(ended(
                "metrics",
                axum::serve(listener, served).into_future(),
            )));
            Some(bound)
        }
        Err(error) => {
            tracing::warn!(%address, %error, "metrics are not served: set `metrics` to another address, or to `off`");
            None
        }
    }
}

async fn ended(what: &str, served: impl Future<Output = io::Result<()>>) {
    if let Err(error) = served.await {
        tracing::error!(%error, what, "the local API is not served any more");
    }
}

/// Makes the socket, in place of one that a dead process left. The state folder's lock already keeps a living one out.
fn listen(path: &Path) -> Result<UnixListener, ServeError> {
    let failed = |cause| ServeError::Socket {
        path: path.to_owned(),
        cause,
    };
    match std::fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(failed(cause)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

fn reading() -> Router<App> {
    Router::new()
        .route("/livez", get(live::alive))
        .route("/readyz", get(live::ready))
        .route("/metrics", get(metrics::scrape))
        .route("/problems/{code}", get(answer::problem))
        .route("/api/v1/nodes", get(live::nodes))
        .route("/api/v1/nodes/{name}", get(live::node))
        .route("/api/v1/series", get(live::series))
        .route("/api/v1/policies", get(live::policies))
        .route("/api/v1/policies/export", get(carry::export))
        .route("/api/v1/stream", get(live::stream))
        .route("/api/v1/decisions", get(record::decisions))
        .route("/api/v1/decisions/{id}", get(record::decision))
        .route("/api/v1/decisions/{id}/explanation", get(record::explanation))
        .route("/api/v1/decisions/{id}/replay", get(record::replay))
        .route("/api/v1/entries", get(record::entries))
        .route("/api/v1/verify", get(record::verify))
}

fn writing() -> Router<App> {
    Router::new()
        .route("/api/v1/actions", post(person::act))
        .route("/api/v1/nodes/{name}/hold", post(person::hold))
        .route("/api/v1/nodes/{name}/release", post(person::release))
        .route("/api/v1/policies/check", post(person::check))
        .route("/api/v1/policies/import", post(carry::import))
        .layer(DefaultBodyLimit::max(MAX_PARCEL_BYTES))
        .merge(breaking_glass())
}

fn breaking_glass() -> Router<App> {
    Router::new()
        .route("/api/v1/break-glass", post(glass::open).delete(glass::close))
        .layer(DefaultBodyLimit::max(MAX_TOKEN_BYTES))
}

/// An error with its cause, in one line.
fn told(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// A page of another site must not read this node through somebody's browser: only our own name and address are answered.
async fn own_pages_only(request: Request, next: Next) -> Response {
    let host = request
        .headers()
        .get("host")
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if !matches!(name, "127.0.0.1" | "localhost" | "[::1]") {
        return answer::Failure::forbidden(format!("this page is for 127.0.0.1 and localhost, not for `{host}`"))
            .into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let detail = "this page only shows: act over the node's socket, with `sentinel --local`";
        return answer::Failure::forbidden(detail).into_response();
    }
    let mut response = next.run(request).await;
    answer::secure(response.headers_mut());
    response
}

/// The event that greets a watcher.
fn hello(app: &App) -> StreamEvent {
    let now = app.now();
    StreamEvent::Hello {
        from: "node".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        hub_epoch: now.hub_epoch,
        now: now.status.at.wall,
    }
}

type Who = ConnectInfo<Peer>;

#[cfg(test)]
mod tests;
