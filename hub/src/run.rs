//! From start to stop: takes the state folder and the ports, puts the parts together, and takes them apart in order.
//!
//! Order of the start: ports, store, keys, certificates, core, doors. Order of the stop: agents hear goodbye, open requests end,
//! queued batches reach the disk, the store is closed. A hub that is killed instead loses nothing that it acknowledged.

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hub_core::{Answer, Hub, Request, SessionId};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::change::{Caller, Via};
use wire::frame::Frame;
use wire_inframind::client::{Address, Tls};

use crate::artifacts::Artifacts;
use crate::base::{Base, names, public_address};
use crate::ca::CaError;
use crate::checkpoints;
use crate::config::{Brains, CheckArgs, CheckOutput, Public, RunArgs, VaultArgs};
use crate::consumers;
use crate::deliveries::{self, Deliveries, Hooks, Secrets};
use crate::enroll::{Bars, Enrollment};
use crate::feed::Feed;
use crate::forges::{Forges, ForgesError};
use crate::http::certificate::{Certificate, CertificateError, Source};
use crate::http::limits::Limits;
use crate::http::{App, CONSOLE_SESSIONS, Server, ServerError, auth::Auth, jwt::Signer, nodes, router, token_keys};
use crate::hub::{Handle, Lost, Outlet, Parts, Stop, Turn};
use crate::inframind::listen::DialIn;
use crate::inframind::remote::{Remote, remote};
use crate::inframind::sizing::{Sizing, SizingSettings};
use crate::inframind::{self, Foresight};
use crate::kafka;
use crate::keys::tokens::TokenKeyFile;
use crate::keys::{self, KeyError};
use crate::kube::Kube;
use crate::listen::{self, ListenError, Sockets};
use crate::metrics::Meters;
use crate::notify;
use crate::orders::{self, Orders};
use crate::people::People;
use crate::publisher::{self, Publisher};
use crate::quic::{Quic, QuicError, QuicSettings, Sessions};
use crate::reconciler::Reconciler;
use crate::room::Room;
use crate::secrets::vault::{Login, Vault, VaultError};
use crate::secrets::{SecretError, Sources};
use crate::store::{DurableStore, Store, StoreError, StoreSettings};
use crate::telemetry::{self, OtlpError};

/// Inputs that wait for the turn loop: some for each of a thousand sessions, and then the sessions wait.
const INPUTS: usize = 1_024;
/// Time for blocking threads to end with the process.
const LAST_THREADS: Duration = Duration::from_secs(2);
/// Transactions whose completions wait: the writer makes one at a time.
const COMPLETIONS: usize = 16;

/// Why the hub cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No port.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// No store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A store that is not whole.
    #[error("the store is not whole: {problems} problem(s), see above")]
    NotWhole {
        /// How many.
        problems: usize,
    },
    /// A document of the store that this program cannot read.
    #[error(transparent)]
    Document(#[from] hub_core::Unreadable),
    /// No keys.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No role documents.
    #[error(transparent)]
    Roles(#[from] keys::RoleFileError),
    /// No CA.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// No agents' side.
    #[error(transparent)]
    Quic(#[from] QuicError),
    /// No certificate for people.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// No people's side.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// No forges.
    #[error(transparent)]
    Forges(#[from] ForgesError),
    /// Nobody who sizes builds.
    #[error(transparent)]
    Sizing(#[from] SizingSettings),
    /// No secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// No Vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// No topic.
    #[error(transparent)]
    Kafka(#[from] hub_kafka::KafkaError),
    /// No telemetry.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// The system refuses something else.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: String,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// The first bundle cannot be published.
    #[error("cannot publish `{path}`: {detail}")]
    Bundle {
        /// The file.
        path: PathBuf,
        /// Why not, each problem with its place.
        detail: String,
    },
    /// A part without which nothing works has ended by itself.
    #[error("the {part} has ended, so the hub ends too: {reason}")]
    Ended {
        /// Which.
        part: &'static str,
        /// Why.
        reason: String,
    },
    /// The state folder belongs to another trust domain.
    #[error(
        "this state folder belongs to trust domain `{stored}`, not to `{asked}`: leave --trust-domain out, or give another --state folder"
    )]
    Domain {
        /// Its own.
        stored: String,
        /// What was asked for.
        asked: String,
    },
}

impl RunError {
    /// The whole chain of causes on one line.
    pub fn line(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(inner) = cause {
            text.push_str(": ");
            text.push_str(&inner.to_string());
            cause = inner.source();
        }
        text.replace('\n', " ")
    }

    /// The exit code: 5 for a conflict with another program, 1 for everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Listen(ListenError::InUse { .. }) | Self::Store(StoreError::Locked { .. }) => 5,
            _ => 1,
        }
    }
}

/// What is logged where nothing is said. Kafka's client tells all of its settings at `info`.
const USUAL_LOG: &str = "info,confluent_kafka=warn";

/// Sends the log to stderr. `SENTINEL_LOG` chooses, `info` if it does not; a value that cannot be read is told.
pub fn log_to_stderr() {
    let wanted = std::env::var("SENTINEL_LOG").unwrap_or_else(|_| USUAL_LOG.to_owned());
    let filter = tracing_subscriber::EnvFilter::try_new(&wanted).unwrap_or_else(|error| {
        eprintln!("sentinel-hub: SENTINEL_LOG is `{wanted}`: {error}; logging at `info`");
        tracing_subscriber::EnvFilter::new(USUAL_LOG)
    });
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}

/// Runs the hub until it is told to stop.
pub fn run(args: RunArgs) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Agents' packets are spread over these; more only adds stacks.
        .worker_threads(std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8)))
        .enable_all()
        .build()
        .map_err(|cause| RunError::System {
            action: "start the runtime".to_owned(),
            cause,
        })?;
    let result = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
        let mut hub = Running::start(args).await?;
        announce(&hub)?;
        notify::ready(&format!("https://{}", hub.public));
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("interrupted: stopping"),
            lost = hub.lost() => return Err(lost),
        }
        notify::stopping();
        hub.stop().await
    });
    // A request that waits for something that is gone must not keep the process.
    runtime.shutdown_timeout(LAST_THREADS);
    result
}

/// Reads every row of a store and prints what was found. Blocks.
pub fn check_store(args: &CheckArgs) -> Result<(), RunError> {
    let sources = sources(&args.vault)?;
    let (done, _nothing_is_written) = mpsc::channel(1);
    let store = DurableStore::open(StoreSettings::at(args.store.place(&args.state, &sources)), done)?;
    let found = store.check();
    store.close()?;
    let found = found?;
    let text = match args.output {
        CheckOutput::Text => found.to_string(),
        CheckOutput::Json => format!("{}\n", serde_json::json!(found)),
    };
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|cause| RunError::System {
            action: "write to stdout".to_owned(),
            cause,
        })?;
    match found.problems.len() {
        0 => Ok(()),
        problems => Err(RunError::NotWhole { problems }),
    }
}

/// Where secrets may come from. Blocks.
fn sources(args: &VaultArgs) -> Result<Sources, RunError> {
    let Some(address) = &args.vault else {
        return Ok(Sources::default());
    };
    let plain = Sources::default();
    let read = |reference: &Option<String>| reference.as_deref().map(|text| plain.read(text)).transpose();
    let login = match (read(&args.vault_token)?, &args.vault_role, read(&args.vault_secret_id)?) {
        (Some(token), ..) => Login::Token(token),
        (None, Some(role), Some(secret)) => Login::AppRole {
            role: role.clone(),
            secret,
        },
        // A Vault that somebody named for another program.
        _ => return Ok(Sources::default()),
    };
    let vault = Vault::new(address, login, args.vault_namespace.clone(), args.vault_tls.as_deref())?;
    Ok(Sources::with(Arc::new(vault)))
}

fn signals(cause: std::io::Error) -> RunError {
    RunError::System {
        action: "listen for signals".to_owned(),
        cause,
    }
}

/// What a fleet without policy is offered at each start: its nodes watch, and act on nothing.
const OFFER: &str =
    "no policy is published yet, so nodes only observe; one to begin with: sentinel policy publish --starter\n";

/// The link of the first person goes to stdout only, so that it is in no log.
fn announce(hub: &Running) -> Result<(), RunError> {
    let mut out = std::io::stdout();
    let setup = hub.setup.as_ref().map(|link| format!("first administrator: {link}\n"));
    let brains = hub.brains.map(|address| format!("brains dial in at {address}\n"));
    let offer = if hub.without_policy { OFFER } else { "" };
    write!(
        out,
        "ready https://{}\n{}{}{offer}",
        hub.public,
        brains.unwrap_or_default(),
        setup.unwrap_or_default()
    )
    .and_then(|()| out.flush())
    .map_err(|cause| RunError::System {
        action: "write to stdout".to_owned(),
        cause,
    })
}

/// A hub that runs.
pub struct Running {
    /// How others reach it.
    pub public: Public,
    /// The first person's one-time link, while nobody is there.
    pub setup: Option<String>,
    /// Where brains dial in, if they may.
    pub brains: Option<SocketAddr>,
    /// Whether no bundle is published yet.
    pub without_policy: bool,
    /// To ask its core.
    pub handle: Handle,
    store: Arc<DurableStore>,
    quic: Quic,
    stop: Stop,
    http: CancellationToken,
    turn: JoinHandle<Result<(), Lost>>,
    tasks: TaskTracker,
}

impl Running {
    /// Starts all parts.
    pub async fn start(args: RunArgs) -> Result<Self, RunError> {
        let otlp = telemetry::Settings::read(|name| std::env::var(name).ok())?;
        let asked = args.clone();
        let (forges, sources) = blocking(move || {
            let sources = sources(&asked.vault)?;
            let forges = match &asked.forges {
                Some(path) => Forges::load(path, &sources)?,
                None => Forges::default(),
            };
            Ok::<_, RunError>((Arc::new(forges), sources))
        })
        .await??;
        let Sockets { udp, tcp, address } = listen::bind(args.listen)?;
        let public = public_address(&args, address);
        let (done, completions) = mpsc::channel(COMPLETIONS);
        let state = args.clone();
        let names = names(&public, address.ip());
        let place = args.store.place(&args.state, &sources);
        let base = blocking(move || Base::open(&state, place, done)).await??;
        let files = args.https_files();
        let source = match files.clone() {
            Some(files) => Source::Files(files),
            None => Source::Own {
                ca: Arc::clone(&base.ca),
                names,
            },
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certificate = blocking(move || Certificate::new(source, provider)).await??;

        let (inputs, frames) = mpsc::channel(INPUTS);
        let sessions = Sessions::default();
        let store: Arc<dyn Store> = base.store.clone();
        let (feed, stories) = Feed::new(Arc::clone(&store));
        let clock = base.store.clock();
        let own_clock = clock.clone();
        let fresh = base.recovered.bundle.is_none();
        let trust_domain = base.settings.trust_domain.clone();
        let core = Hub::new(base.settings, base.recovered, clock.now())?;
        let people = Arc::new(People::of(core.access()));
        let bars = Arc::new(Bars::of(core.agents()));
        let hooks = Arc::new(Hooks::of(core.webhooks()));
        let meters = Arc::new(Meters::default());
        let (orders, kube) = Kube::new();
        let clusters = kube.clusters();
        let (to_publisher, wanted) = mpsc::channel(publisher::WAITING);
        let (compare, to_compare) = mpsc::channel(checkpoints::WAITING);
        let (turn, handle) = Turn::new(Parts {
            core,
            clock,
            store: Arc::clone(&store),
            done: completions,
            inputs: frames,
            outlet: Arc::new(Frames(sessions.clone())),
            kube: orders,
            feed: feed.clone(),
            people: Arc::clone(&people),
            bars: Arc::clone(&bars),
            hooks: Arc::clone(&hooks),
            meters: Arc::clone(&meters),
            publish: to_publisher,
            compare,
        });
        let enrollment = Arc::new(Enrollment::new(
            Arc::clone(&base.ca),
            handle.clone(),
            bars,
            Arc::clone(&meters),
            base.root_keys,
        ));
        let quic = Quic::start(
            udp,
            Arc::clone(&base.ca),
            Arc::clone(&enrollment),
            inputs,
            sessions,
            QuicSettings::default(),
        )?;
        let stop = Stop::default();
        let tasks = TaskTracker::new();
        let turn = tokio::spawn(turn.run(stop.clone()));
        tasks.spawn(stories.run());
        tasks.spawn(kube.run(handle.clone(), stop.begin.clone()));
        tasks.spawn(checkpoints::compare(Arc::clone(&store), handle.clone(), to_compare));

        let without_policy = fresh && args.bundle.is_none();
        if let Some(path) = args.bundle.filter(|_| fresh) {
            publish(&handle, path).await?;
        }
        let url = format!("https://{public}");
        let context = args.state.join("admin.json");
        let mut trusted = base.ca.pem().to_owned();
        if let Some(files) = files {
            trusted.push_str(&blocking(move || files.trusted_pem()).await??);
        }
        let settings = Arc::clone(&store);
        let token = blocking(move || keys::admin_context(&context, &*settings, &url, &trusted)).await??;
        let state = args.state.clone();
        let (artifacts, remediation_token) = blocking(move || {
            let artifacts = Artifacts::open(&state).map_err(|cause| RunError::System {
                action: format!("make the folder `artifacts` in `{}`", state.display()),
                cause,
            })?;
            Ok::<_, RunError>((artifacts, keys::remediation_token(&state.join("remediation.token"))?))
        })
        .await??;
        let publisher = Publisher {
            forges: Arc::clone(&forges),
            artifacts: artifacts.clone(),
            hub: handle.clone(),
            clock: own_clock.clone(),
        };
        let work = Arc::default();
        let reconciler = Reconciler {
            forges: Arc::clone(&forges),
            hub: handle.clone(),
            work: Arc::clone(&work),
            clock: own_clock,
            meters: Arc::clone(&meters),
        };
        let (to_orders, ordered) = mpsc::channel(orders::WAITING);
        let orders = Orders {
            forges: Arc::clone(&forges),
            hub: handle.clone(),
            work: Arc::clone(&work),
        };
        let http = CancellationToken::new();
        let foresight = Arc::new(Foresight::default());
        if args.brain == Brains::Embedded {
            let (hub, seen) = (handle.clone(), Arc::clone(&foresight));
            tasks.spawn(inframind::embedded(hub, Arc::clone(&store), seen, http.clone()));
        }
        if let Some(url) = args.inframind.clone() {
            let tls = args.inframind_tls.clone();
            let address = blocking(move || inframind_address(url, tls)).await??;
            let brain = Remote {
                name: args.inframind_name.clone(),
                address,
                cluster: trust_domain.clone(),
            };
            tasks.spawn(remote(handle.clone(), Arc::clone(&store), brain, http.clone()));
        }
        let sizing = match (args.sizing.clone(), args.sizing_token.clone()) {
            (Some(url), Some(token)) => Some(Arc::new(blocking(move || Sizing::new(&url, &token, &sources)).await??)),
            _ => None,
        };
        let mut brains = None;
        if let (Some(address), Some(folder)) = (args.brain_listen, args.brain_tls.clone()) {
            let tls = blocking(move || tls_in(&folder)).await??;
            let (listener, address) = brain_port(address).await?;
            let reserved = vec![hub_brain::Brain::NAME.to_owned(), args.inframind_name.clone()];
            let door = DialIn::new(handle.clone(), Arc::clone(&store), Arc::clone(&meters), reserved);
            tasks.spawn(dial_in(listener, tls, door, trust_domain.clone(), http.clone()));
            brains = Some(address);
        }
        let (file, before) = (TokenKeyFile::at(&args.state), args.state.join("tokens.key"));
        let (domain, now) = (trust_domain.clone(), crate::clock::wall());
        let signer = blocking(move || Signer::open(&domain, file, &before, now)).await??;
        let kept = store.setting(CONSOLE_SESSIONS)?.unwrap_or_default();
        let auth = Auth::new(token, signer).with_sessions(&kept);
        let setup = first_link(&auth, &people, &public)?;
        let key = args.state.join("webhooks.key");
        let secrets = Secrets::new(blocking(move || keys::webhook_key(&key)).await??);
        let app = App {
            hub: handle.clone(),
            store,
            clusters,
            enrollment,
            roles: base.roles,
            ca: base.ca,
            auth: Arc::new(auth),
            people,
            feed,
            public: public.clone(),
            fleet: nodes::empty(),
            meters,
            consumers: Arc::default(),
            limits: Arc::new(Limits::new(args.requests_per_second)),
            hooks,
            secrets,
            webhooks_to_local: args.webhooks_to_local,
            metrics_page: Arc::default(),
            forges,
            artifacts,
            remediation_token,
            foresight,
            sizing,
            work,
            orders: to_orders,
        };
        tasks.spawn(publisher.run(wanted));
        tasks.spawn(reconciler.run(http.clone()));
        tasks.spawn(orders.run(ordered));
        tasks.spawn(deliveries(&app, args.webhooks_to_local)?.run(http.clone()));
        if let Some(target) = args.kafka.clone() {
            let tls = args.kafka_tls.clone();
            let target = blocking(move || kafka_target(target, tls)).await??;
            tasks.spawn(kafka::follow(target, &app, http.clone())?);
        }
        if let Some(settings) = &otlp {
            telemetry::start(settings, &app, &trust_domain, &tasks, &http)?;
        }
        // Last of those who work with entries: by now everybody who follows them is known.
        let room = Room {
            hub: handle.clone(),
            store: Arc::clone(&app.store),
            consumers: Arc::clone(&app.consumers),
            hooks: Arc::clone(&app.hooks),
            arrivals: app.feed.arrivals(),
        };
        tasks.spawn(room.run(http.clone()));
        tasks.spawn(token_keys::keep(app.clone(), http.clone()));
        let server = Server::new(tcp, Arc::clone(&certificate), router(app))?;
        tasks.spawn(server.run(http.clone()));
        tasks.spawn(certificate.keep(http.clone()));
        tasks.close();
        tracing::info!(%address, %public, "hub runs");
        Ok(Self {
            public,
            setup,
            brains,
            without_policy,
            handle,
            store: base.store,
            quic,
            stop,
            http,
            turn,
            tasks,
        })
    }

    /// Waits until the core's loop ends by itself, which it does only when it must not go on: nothing here works without it.
    pub async fn lost(&mut self) -> RunError {
        ended((&mut self.turn).await)
    }

    /// Stops all parts in order.
    pub async fn stop(self) -> Result<(), RunError> {
        self.stop.begin.cancel();
        // A question is answered after what was told before it: now the goodbyes are on their way.
        let _ = self.handle.policy().await;
        self.quic.stop().await;
        self.http.cancel();
        self.stop.end.cancel();
        drop(self.handle);
        let turn = self.turn.await;
        self.tasks.wait().await;
        if !matches!(turn, Ok(Ok(()))) {
            return Err(ended(turn));
        }
        let store = self.store;
        blocking(move || store.close()).await??;
        tracing::info!("hub stopped");
        Ok(())
    }
}

/// The link with which the first person comes in; `None` when somebody is there.
fn first_link(auth: &Auth, people: &People, public: &Public) -> Result<Option<String>, RunError> {
    if !people.is_empty() {
        return Ok(None);
    }
    let code = auth.new_setup().map_err(|cause| KeyError::Random { cause })?;
    Ok(Some(crate::http::setup_link(public, &code)))
}

/// Why the core's loop is over.
fn ended(turn: Result<Result<(), Lost>, JoinError>) -> RunError {
    let reason = match turn {
        Ok(Ok(())) => "it was told to".to_owned(),
        Ok(Err(lost)) => lost.to_string(),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => panic_text(&*panic),
            Err(error) => error.to_string(),
        },
    };
    RunError::Ended { part: "core", reason }
}

/// What a panic said.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("it panicked: {}", text.unwrap_or("without a word"))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, RunError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| RunError::System {
            action: "start".to_owned(),
            cause: std::io::Error::other(error),
        })
}

/// CA, certificate and key in a folder.
fn tls_files(folder: &Path) -> Result<[String; 3], RunError> {
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).map_err(|cause| RunError::System {
            action: format!("read `{}`", path.display()),
            cause,
        })
    };
    Ok([read("ca.pem")?, read("certificate.pem")?, read("key.pem")?])
}

/// Where the InfraMind is, and the certificates for it.
fn inframind_address(url: String, tls: Option<PathBuf>) -> Result<Address, RunError> {
    let tls = tls.map(|folder| tls_in(&folder)).transpose()?;
    Ok(Address { url, tls })
}

/// The certificates towards brains, in a folder.
fn tls_in(folder: &Path) -> Result<Tls, RunError> {
    let [ca, certificate, key] = tls_files(folder)?;
    Ok(Tls { ca, certificate, key })
}

/// The port at which brains dial in, and where it is.
async fn brain_port(address: SocketAddr) -> Result<(TcpListener, SocketAddr), RunError> {
    let failed = |cause| RunError::System {
        action: format!("listen for brains on {address}: give another --brain-listen"),
        cause,
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Serves brains that dial in until the hub stops.
async fn dial_in(listener: TcpListener, tls: Tls, door: DialIn, cluster: String, stop: CancellationToken) {
    let stopped = stop.cancelled_owned();
    let served = wire_inframind::server::serve(listener, Some(&tls), Arc::new(door), &cluster, stopped);
    if let Err(error) = served.await {
        tracing::error!(%error, "brains cannot dial in any more");
    }
}

/// Who sends events to outgoing webhooks.
fn deliveries(app: &App, to_local: bool) -> Result<Deliveries, RunError> {
    let client = deliveries::client(to_local).map_err(|error| RunError::System {
        action: "set up the sender of webhooks".to_owned(),
        cause: std::io::Error::other(error),
    })?;
    Ok(Deliveries {
        hub: app.hub.clone(),
        source: consumers::Source {
            store: Arc::clone(&app.store),
            arrivals: app.feed.arrivals(),
        },
        hooks: Arc::clone(&app.hooks),
        consumers: Arc::clone(&app.consumers),
        secrets: app.secrets.clone(),
        client,
    })
}

/// The topic, with the certificates for its brokers.
fn kafka_target(mut target: hub_kafka::Target, tls: Option<PathBuf>) -> Result<hub_kafka::Target, RunError> {
    if let Some(folder) = tls {
        let [ca, certificate, key] = tls_files(&folder)?;
        target.tls = Some(hub_kafka::Tls { ca, certificate, key });
    }
    Ok(target)
}

async fn publish(handle: &Handle, path: PathBuf) -> Result<(), RunError> {
    let file = path.clone();
    let text = blocking(move || std::fs::read(file))
        .await?
        .map_err(|cause| RunError::System {
            action: format!("read `{}`", path.display()),
            cause,
        })?;
    let caller = Caller::new("sentinel-hub --bundle", Via::Hub);
    let detail = match handle.request(Request::Publish { caller, text }).await {
        Ok(Answer::Published { bundle, .. }) => {
            tracing::info!(generation = %bundle.generation, path = %path.display(), "first bundle published");
            return Ok(());
        }
        Ok(Answer::Invalid { problems }) => problems
            .iter()
            .map(|problem| {
                format!(
                    "{}:{}: {}: {}",
                    problem.line, problem.column, problem.field, problem.message
                )
            })
            .collect::<Vec<_>>()
            .join("; "),
        Ok(Answer::Unavailable { reason }) => reason,
        Ok(other) => format!("the core answered {other:?}"),
        Err(stopped) => stopped.to_string(),
    };
    Err(RunError::Bundle { path, detail })
}

/// The sessions as the turn loop sees them.
struct Frames(Sessions);

impl Outlet for Frames {
    fn send(&self, session: SessionId, frame: &Frame) {
        self.0.send(session, frame);
    }

    fn close(&self, session: SessionId, reason: &str) {
        self.0.close(session, reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_core_that_panics_ends_the_hub_with_the_reason() {
        let turn: JoinHandle<Result<(), Lost>> = tokio::spawn(async { panic!("entry {} of nothing", 7) });
        let error = ended(turn.await);
        assert_eq!(
            error.line(),
            "the core has ended, so the hub ends too: it panicked: entry 7 of nothing"
        );
        assert_eq!(error.exit_code(), 1);
    }
}
