//! `/metrics`: what this hub knows of itself and of its fleet in numbers, for Prometheus.
//!
//! Anyone who reaches the port may ask, as with `/livez`: the page has counts only, no name of a node, a person or a rule. Values of
//! single nodes are in `/api/v1/metrics` ([`fleet()`]), behind the door. One page serves all who ask within a second.
//!
//! Read next: `crate::metrics` (the counters), `wire::exposition` (the format), `charts/observability` (who asks).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use wire::api::{BrainView, NodeState, NodeView};
use wire::decision::Verdict;
use wire::exposition::{Buckets, Format, Kind, Page};

use super::{App, Failure};
use crate::consumers::Standing;
use crate::metrics::{BOUNDS, Counted, Histogram, Meters};

mod fleet;
mod process;
mod remediation;

pub use fleet::fleet;

/// How old a page may be: whoever asks more often than Prometheus does costs one look at the fleet for each of these.
const FRESH: Duration = Duration::from_secs(1);
/// The states of a node, so that each has its row also when no node is in it.
const STATES: [NodeState; 4] = [
    NodeState::Connected,
    NodeState::WorkingAlone,
    NodeState::Unknown,
    NodeState::Down,
];

const VERDICTS: [Verdict; 5] = [
    Verdict::Allow,
    Verdict::Clamp,
    Verdict::Hold,
    Verdict::RequireApproval,
    Verdict::Deny,
];

/// The page as it was last written, in both formats.
#[derive(Debug, Default)]
pub struct Written(Mutex<[Option<(Instant, String)>; 2]>);

impl Written {
    fn fresh(&self, format: Format) -> Option<String> {
        let pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, text) = pages[usize::from(format == Format::Text)].as_ref()?;
        (at.elapsed() < FRESH).then(|| text.clone())
    }

    fn keep(&self, format: Format, text: &str) {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pages[usize::from(format == Format::Text)] = Some((Instant::now(), text.to_owned()));
    }
}

/// `GET /metrics`.
pub async fn page(State(app): State<App>, headers: HeaderMap) -> Result<Response, Failure> {
    let format = format(&headers);
    if let Some(text) = app.metrics_page.fresh(format) {
        return Ok(answer(format, text));
    }
    let text = measured(&app).await?.text(format);
    app.metrics_page.keep(format, &text);
    Ok(answer(format, text))
}

/// Everything that this hub knows of itself and of its fleet in numbers, now.
pub async fn measured(app: &App) -> Result<Page, Failure> {
    let mut page = Page::new();
    page.family("sentinel_build", Kind::Info, "Version of the running program.")
        .count(&[("component", "hub"), ("version", env!("CARGO_PKG_VERSION"))], 1);
    of_nodes(&mut page, &app.hub.nodes().await?);
    of_policy(&mut page, app).await?;
    of_brains(&mut page, &app.hub.brains().await?, &app.meters);
    of_store(&mut page, app);
    let counted = app.meters.counted();
    of_decisions(&mut page, &counted);
    of_queues(&mut page, app);
    of_consumers(&mut page, app).await?;
    of_record(&mut page, app).await?;
    of_workload_metrics(&mut page, app);
    of_requests(&mut page, &counted);
    remediation::write(&mut page, app, &counted).await?;
    process::write(&mut page);
    Ok(page)
}

async fn of_consumers(page: &mut Page, app: &App) -> Result<(), Failure> {
    let total = app.read(|store| store.arrivals()).await?.count;
    let links = app.consumers.links();
    let now = app.now();
    let mut each = |name: &str, kind: Kind, help: &str, value: &dyn Fn(&Standing) -> Option<f64>| {
        let family = page.family(name, kind, help);
        for link in &links {
            let standing = link.standing(total, now);
            if let Some(value) = value(&standing) {
                family.value(&[("consumer", link.name())], value);
            }
        }
    };
    let help = "1 while what the hub sends this consumer arrives there, 0 while it does not.";
    each("sentinel_hub_consumer_up", Kind::Gauge, help, &|standing| {
        standing.up.map(|up| float(u64::from(up)))
    });
    let help = "Entries that are durable here and not yet at this consumer.";
    each("sentinel_hub_consumer_lag_entries", Kind::Gauge, help, &|standing| {
        standing.lag_entries.map(float)
    });
    let help = "How long the oldest entry that this consumer does not have has been durable here.";
    each("sentinel_hub_consumer_lag_seconds", Kind::Gauge, help, &|standing| {
        standing.lag_ms.map(|ms| Duration::from_millis(ms).as_secs_f64())
    });
    let help = "Entries that were delivered to this consumer since the hub started.";
    each("sentinel_hub_consumer_delivered", Kind::Counter, help, &|standing| {
        Some(float(standing.delivered))
    });
    let help = "Entries that were removed before this consumer had read them.";
    each("sentinel_hub_consumer_missed", Kind::Counter, help, &|standing| {
        Some(float(standing.missed))
    });
    let help = "Tries to deliver to this consumer that failed.";
    each("sentinel_hub_consumer_failures", Kind::Counter, help, &|standing| {
        Some(float(standing.failures))
    });
    Ok(())
}

/// Whether the hub's own journal is the one that was signed.
async fn of_record(page: &mut Page, app: &App) -> Result<(), Failure> {
    let (_, breaks) = app.hub.checkpoints().await?;
    let open = breaks.iter().filter(|found| found.accepted.is_none()).count();
    let help = "Epochs of the hub's own journal that a node has proven not to be the ones that were signed, and nobody has accepted.";
    page.family("sentinel_hub_audit_breaks", Kind::Gauge, help)
        .count(&[], open as u64);
    Ok(())
}

/// What workloads sent by OTLP.
fn of_workload_metrics(page: &mut Page, app: &App) {
    let (accepted, refused, series) = app.clusters.workload_metrics().counts();
    let help = "Points of workloads' metrics that came by OTLP, by what became of them.";
    page.family("sentinel_hub_workload_metric_points", Kind::Counter, help)
        .count(&[("result", "accepted")], accepted)
        .count(&[("result", "refused")], refused);
    let help = "Series of workloads' metrics that are kept.";
    page.family("sentinel_hub_workload_metric_series", Kind::Gauge, help)
        .count(&[], series as u64);
}

#[expect(clippy::cast_precision_loss, reason = "a page shows floats")]
fn float(count: u64) -> f64 {
    count as f64
}

fn format(headers: &HeaderMap) -> Format {
    Format::accepted(
        headers
            .get(ACCEPT)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default(),
    )
}

fn answer(format: Format, text: String) -> Response {
    ([(CONTENT_TYPE, format.content_type())], text).into_response()
}

/// How far brains are trusted, and what that rests on. Brains have no names here: each is a count.
fn of_brains(page: &mut Page, brains: &[BrainView], meters: &Meters) {
    let tiers = page.family(
        "sentinel_hub_brain_tiers",
        Kind::Gauge,
        "Pairs of brain and verb by the tier that they have.",
    );
    for tier in ["T0", "T1", "T2", "T3"] {
        let count = brains.iter().filter(|brain| brain.tier == tier).count();
        tiers.count(&[("tier", tier)], count as u64);
    }
    page.family(
        "sentinel_hub_brain_predictions",
        Kind::Counter,
        "Predictions of all brains whose outcome was told, also those that could not be told.",
    )
    .count(&[], brains.iter().map(|brain| brain.predictions).sum());
    page.family(
        "sentinel_hub_brain_predictions_censored",
        Kind::Counter,
        "Of them, those that could not be told.",
    )
    .count(&[], brains.iter().map(|brain| brain.censored).sum());
    let help = "Plans of brains elsewhere that were not taken, or came too fast and had to wait.";
    page.family("sentinel_hub_brain_plans_turned_down", Kind::Counter, help)
        .count(&[("why", "refused")], meters.brain_refused.load(Ordering::Relaxed))
        .count(&[("why", "too_fast")], meters.brain_slowed.load(Ordering::Relaxed));
}

fn of_nodes(page: &mut Page, nodes: &[NodeView]) {
    let among = |is: &dyn Fn(&NodeView) -> bool| nodes.iter().filter(|node| is(node)).count() as u64;
    let states = page.family(
        "sentinel_hub_nodes",
        Kind::Gauge,
        "Nodes by how they stand with this hub.",
    );
    for state in STATES {
        states.count(&[("state", state.name())], among(&|node| node.state == state));
    }
    page.family(
        "sentinel_hub_nodes_quarantined",
        Kind::Gauge,
        "Nodes that are quarantined.",
    )
    .count(&[], among(&|node| node.quarantined.is_some()));
    page.family(
        "sentinel_hub_nodes_unhealthy",
        Kind::Gauge,
        "Nodes that are not healthy by their own word.",
    )
    .count(&[], among(&|node| node.unhealthy.is_some()));
    page.family("sentinel_hub_nodes_held", Kind::Gauge, "Nodes that a person holds.")
        .count(&[], among(&|node| node.held_by.is_some()));
    page.family(
        "sentinel_hub_nodes_journal_failing",
        Kind::Gauge,
        "Nodes whose journal did not accept entries when they last told.",
    )
    .count(&[], among(&|node| !node.journal_ok && node.last_seen.is_some()));
    page.family(
        "sentinel_hub_gpus",
        Kind::Gauge,
        "GPUs of all nodes, simulated ones apart.",
    )
    .count(&[("simulated", "false")], gpus(nodes, false))
    .count(&[("simulated", "true")], gpus(nodes, true));
    page.family(
        "sentinel_sync_backlog_entries",
        Kind::Gauge,
        "Entries that nodes are known to have made and this hub has not stored.",
    )
    .count(&[], nodes.iter().map(|node| node.backlog_entries).sum());
    let oldest = nodes
        .iter()
        .filter(|node| node.state != NodeState::Down)
        .filter_map(|node| node.age_ms)
        .max();
    page.family(
        "sentinel_sync_age_seconds",
        Kind::Gauge,
        "Time since the node that was silent for longest was heard, without those that said that they stop.",
    )
    .value(&[], Duration::from_millis(oldest.unwrap_or(0)).as_secs_f64());
}

fn gpus(nodes: &[NodeView], simulated: bool) -> u64 {
    let gpus = nodes.iter().flat_map(|node| &node.gpus);
    gpus.filter(|gpu| gpu.simulated == simulated).count() as u64
}

async fn of_policy(page: &mut Page, app: &App) -> Result<(), Failure> {
    let newest = app.hub.policy().await?;
    let (generation, has, total) = newest.map_or((0, 0, 0), |policy| {
        (policy.generation.0, policy.nodes, policy.nodes_total)
    });
    page.family(
        "sentinel_policy_generation",
        Kind::Gauge,
        "Generation of the newest bundle, 0 before the first.",
    )
    .count(&[], generation);
    page.family(
        "sentinel_hub_policy_nodes",
        Kind::Gauge,
        "Nodes by the bundle that they have.",
    )
    .count(&[("bundle", "newest")], has)
    .count(&[("bundle", "other")], total.saturating_sub(has));
    Ok(())
}

fn of_store(page: &mut Page, app: &App) {
    let meters = &app.meters;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    page.family(
        "sentinel_hub_entries_stored",
        Kind::Counter,
        "Entries of journals that became durable here.",
    )
    .count(&[("journal", "nodes")], count(&meters.entries))
    .count(&[("journal", "hub")], count(&meters.own_entries));
    page.family(
        "sentinel_hub_telemetry_blocks_stored",
        Kind::Counter,
        "Telemetry blocks that became durable here.",
    )
    .count(&[], count(&meters.blocks));
    page.family(
        "sentinel_hub_store_batches",
        Kind::Counter,
        "Batches by what became of them.",
    )
    .count(&[("result", "stored")], count(&meters.stored))
    .count(&[("result", "failed")], count(&meters.failed));
    let occupied = app.store.occupied();
    let help =
        "Bytes that the store takes, about, by what they are: entries of nodes, the hub's own journal, telemetry.";
    page.family("sentinel_hub_store_bytes", Kind::Gauge, help)
        .count(&[("part", "entries")], occupied.entries)
        .count(&[("part", "journal")], occupied.own_entries)
        .count(&[("part", "telemetry")], occupied.telemetry);
    let help = "Bytes that may be taken before the oldest gives way.";
    page.family("sentinel_hub_store_quota_bytes", Kind::Gauge, help)
        .count(&[("part", "entries")], occupied.quota.entries.bytes)
        .count(&[("part", "telemetry")], occupied.quota.telemetry_bytes);
    page.family(
        "sentinel_hub_store_file_bytes",
        Kind::Gauge,
        "Length of the store's file.",
    )
    .count(&[], occupied.file);
    let help = "Entries of nodes that were removed, ever: they had to make room, or were too old.";
    page.family("sentinel_hub_entries_removed", Kind::Counter, help)
        .count(&[], occupied.pruned_entries);
    page.family(
        "sentinel_hub_store_trouble",
        Kind::Gauge,
        "1 while the store accepts nothing, else 0.",
    )
    .count(&[], u64::from(app.store.trouble().is_some()));
    page.family(
        "sentinel_hub_sessions_opened",
        Kind::Counter,
        "Sessions of agents that were opened.",
    )
    .count(&[], count(&meters.opened));
    page.family("sentinel_hub_sessions", Kind::Gauge, "Sessions of agents that are up.")
        .count(&[], count(&meters.opened).saturating_sub(count(&meters.closed)));
    page.family("sentinel_hub_enrolments", Kind::Counter, "Machines that were enrolled.")
        .count(&[], count(&meters.enrolled));
    let help = "Time from handing a batch to the store to its answer.";
    let commits = meters.counted().commits;
    page.family("sentinel_hub_store_batch_duration_seconds", Kind::Histogram, help)
        .histogram(&[], buckets(&commits));
}

fn of_decisions(page: &mut Page, counted: &Counted) {
    let help = "Decisions of nodes that became durable here, by verdict and by whether the node had a session.";
    let decisions = page.family("sentinel_hub_decisions", Kind::Counter, help);
    // All of them from the start: a rate needs the 0 before the first one.
    for verdict in VERDICTS.map(Verdict::name) {
        for mode in ["connected", "disconnected"] {
            let count = counted.decisions.get(&(verdict, mode)).copied().unwrap_or(0);
            decisions.count(&[("verdict", verdict), ("mode", mode)], count);
        }
    }
    let help = "Actions that policy denied, by kind of action.";
    let denied = page.family("sentinel_policy_violations", Kind::Counter, help);
    for (kind, count) in &counted.denied {
        denied.count(&[("type", kind)], *count);
    }
}

fn of_queues(page: &mut Page, app: &App) {
    let queues = app.meters.queues();
    let help = "What waits before the turn loop: frames of agents, questions of people, batches for the store.";
    page.family("sentinel_hub_queue_length", Kind::Gauge, help)
        .count(&[("queue", "frames")], queues.inputs as u64)
        .count(&[("queue", "questions")], queues.asks as u64)
        .count(&[("queue", "batches")], queues.batches as u64);
}

fn of_requests(page: &mut Page, counted: &Counted) {
    let requests = page.family("http_requests", Kind::Counter, "Requests by method, route and status.");
    for ((method, route, status), count) in &counted.requests {
        let labels = [
            ("method", *method),
            ("endpoint", route),
            ("status", &status.to_string()),
        ];
        requests.count(&labels, *count);
    }
    let help = "Time to the head of the answer, by method and route.";
    let waits = page.family("http_request_duration_seconds", Kind::Histogram, help);
    for ((method, route), histogram) in &counted.waits {
        waits.histogram(&[("method", method), ("endpoint", route)], buckets(histogram));
    }
}

fn buckets(histogram: &Histogram) -> Buckets<'_> {
    Buckets {
        bounds: &BOUNDS,
        counts: &histogram.counts,
        sum: histogram.sum,
    }
}

/// Counts every request by its route; whatever has none, the console's files among them, is one row.
pub async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let method = method_name(request.method());
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("other", MatchedPath::as_str).to_owned();
    let begun = Instant::now();
    let response = next.run(request).await;
    app.meters
        .answered((method, route, response.status().as_u16()), begun.elapsed());
    response
}

/// A method's name; a stranger's invention is `OTHER`, so that nobody can add rows.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "OTHER",
    }
}
