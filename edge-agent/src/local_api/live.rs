//! The node as it is now: its row, its charts, its bundle, and the stream of what happens.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use wire::api::{
    FaultView, Faults, GpuView, List, NodeState, NodeView, PolicyView, SeriesView, StreamEvent, WorkloadView,
};
use wire::bundle::BundlePayload;
use wire::chart::{Cuts, Extent, chart, is_shown};
use wire::entry::{EntryBody, RawEntry};
use wire::ids::DecisionId;
use wire::reading::{DeviceId, Quantity, Reading, Series};
use wire::view::Story;
use wire::{AgentId, Epoch, Seq, Wall, codec};
use wire_http::SeriesQuery;

use super::answer::{Failure, event_text, query};
use super::record::{newest, only_this, story};
use super::{App, Snapshot, hello};
use crate::journal::{ReadError, Reader};

/// Longest silence of a stream.
const TICK: Duration = Duration::from_secs(10);
/// Usual span of a chart: what fits on a screen at one sample a second.
const USUAL_SPAN_MS: i64 = 10 * 60_000;
/// Blocks before the first wanted one that are read too: a key block is among them.
const LEAD_BLOCKS: u64 = 24;
/// Blocks read for one chart: a day of 10 s blocks.
const MOST_BLOCKS: usize = 9_000;
/// Decisions marked in one chart.
const MOST_DECISIONS: usize = 200;
/// Entries looked through for cuts.
const MOST_ENTRIES: usize = 20_000;
/// Decisions in the answer for the node.
const LAST_DECISIONS: usize = 5;

/// The process answers.
pub(super) async fn alive() -> &'static str {
    "ok"
}

/// The agent decides and records.
pub(super) async fn ready(State(app): State<App>) -> Response {
    let now = app.now();
    if now.status.journal_ok {
        return "ok".into_response();
    }
    Failure::unavailable("the journal takes no entries: protective actions only").into_response()
}

/// The node's own row, then what it knows of each other member of its site.
pub(super) async fn nodes(State(app): State<App>) -> Result<Json<List<NodeView>>, Failure> {
    let mut items = vec![row(&app, 1).await?];
    items.extend(others(&app));
    Ok(Json(List {
        items,
        next_cursor: None,
    }))
}

/// What this node knows of the other members.
fn others(app: &App) -> Vec<NodeView> {
    let now = app.now();
    let one = |neighbour| NodeView::told(neighbour, &app.agent, &app.site, now.status.at.wall);
    now.neighbours.iter().map(one).collect()
}

/// The node's row with its last decisions; of another member what this one knows.
pub(super) async fn node(State(app): State<App>, Path(name): Path<String>) -> Result<Json<NodeView>, Failure> {
    if let Some(told) = others(&app).into_iter().find(|other| other.name.as_str() == name) {
        return Ok(Json(told));
    }
    only_this(&app, Some(&name))?;
    row(&app, LAST_DECISIONS).await.map(Json)
}

/// Faults of this node's devices in the recent past.
fn faults(reader: &Reader) -> Result<Vec<FaultView>, ReadError> {
    let mut faults = Faults::default();
    reader.backward(None, |epoch, raw| faults.look(epoch, &raw))?;
    Ok(faults.list())
}

async fn row(app: &App, decisions: usize) -> Result<NodeView, Failure> {
    let agent = app.agent.clone();
    let last = app.read(move |reader| newest(reader, &agent, None, decisions)).await?;
    let mut view = view(&app.now(), app);
    view.labels.clone_from(&app.labels);
    view.last_decision = last.first().cloned();
    if decisions > 1 {
        view.last_decisions = last;
        view.faults = app.read(faults).await?;
    }
    Ok(view)
}

pub(super) fn view(now: &Snapshot, app: &App) -> NodeView {
    let status = &now.status;
    let value = |device: &DeviceId, quantity| {
        now.latest
            .get(&Series::new(device.clone(), quantity))
            .copied()
            .flatten()
    };
    let gpus = status
        .devices
        .iter()
        .filter(|info| info.id.class() == "gpu")
        .map(|info| {
            let profile = app.profiles.of(&info.model).map(|profile| profile.id.as_str());
            GpuView::of(info, profile, |quantity| value(&info.id, quantity))
        });
    let workloads = now
        .latest
        .keys()
        .filter(|series| series.quantity == Quantity::WorkloadMemory)
        .map(|series| WorkloadView {
            id: series.device.clone(),
            pid: value(&series.device, Quantity::WorkloadPid),
            memory_bytes: value(&series.device, Quantity::WorkloadMemory),
            cpu_bp: value(&series.device, Quantity::WorkloadCpu),
            restarts: value(&series.device, Quantity::WorkloadRestarts),
        });
    NodeView {
        name: app.agent.clone(),
        site: app.site.to_string(),
        told_by: None,
        state: if now.connected {
            NodeState::Connected
        } else {
            NodeState::WorkingAlone
        },
        state_since: now.since,
        last_seen: Some(status.at.wall),
        age_ms: Some(0),
        policy_generation: status.bundle.generation,
        policy_digest: status.bundle.digest,
        policy_age_ms: status.policy_age_ms,
        backlog_entries: now.backlog_entries,
        labels: std::collections::BTreeMap::new(),
        unhealthy: now.unhealthy.clone(),
        findings: now.findings.clone(),
        via: now.path.first().cloned(),
        path: now.path.clone(),
        isolation: now.isolation,
        neighbours: now.neighbours.to_vec(),
        waits_for_turn: now.waits_for_turn,
        authority: status.authority,
        next_authority_in_ms: status.next_step_ms,
        // A node that never joined has no certificate, and says so.
        certificate_ends: Some(status.certificate_ends).filter(|ends| *ends != Wall(0)),
        rejoins: status.rejoins,
        clock: status.clock,
        clock_error: Some(now.clock_error),
        held_by: status.held_by.clone(),
        break_glass: now.glass.clone(),
        // Whether the hub has it in quarantine, only the hub can say.
        // Only the hub knows; a node hears of it as the reason why it has no session.
        quarantined: None,
        shut_out: None,
        epoch: status.head.epoch,
        produced: status.head.seq,
        stored: now.acked,
        journal_bytes: status.journal_bytes.0,
        journal_limit_bytes: status.journal_bytes.1,
        journal_ok: status.journal_ok,
        unrecorded_actions: status.unrecorded_actions,
        telemetry_interval_ms: status.telemetry_interval_ms,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        gpus: gpus.collect(),
        workloads: workloads.collect(),
        cpu_used_bp: value(&DeviceId::node(), Quantity::CpuUsed),
        memory_used_bp: value(&DeviceId::node(), Quantity::MemoryUsedShare),
        last_decision: None,
        last_decisions: Vec::new(),
        faults: Vec::new(),
    }
}

/// The active bundle.
pub(super) async fn policies(State(app): State<App>) -> Result<Json<List<PolicyView>>, Failure> {
    let now = app.now();
    let Some((reference, signed)) = &now.bundle else {
        return Ok(Json(List {
            items: Vec::new(),
            next_cursor: None,
        }));
    };
    let payload: BundlePayload =
        codec::decode(&signed.payload).map_err(|error| Failure::internal(error.to_string()))?;
    let bundle = policy::Bundle::parse_signed(&payload.text)
        .map_err(|_| Failure::internal("the active bundle cannot be read"))?;
    let view = PolicyView {
        generation: reference.generation,
        digest: reference.digest,
        name: bundle.name().to_owned(),
        issued_at: payload.issued_at,
        active: true,
        nodes: 1,
        nodes_total: 1,
        rules: bundle.rules(),
        text: String::from_utf8_lossy(&payload.text).into_owned(),
    };
    Ok(Json(List {
        items: vec![view],
        next_cursor: None,
    }))
}

/// Charts of the last minutes, from the journal's blocks.
pub(super) async fn series(
    State(app): State<App>,
    asked: Result<Query<SeriesQuery>, QueryRejection>,
) -> Result<Json<SeriesView>, Failure> {
    let asked = query(asked)?;
    only_this(&app, asked.node.as_deref())?;
    let now = app.now();
    let extent = asked.extent(now.status.at.wall.0.saturating_sub(USUAL_SPAN_MS));
    let agent = app.agent.clone();
    app.read(move |reader| draw(reader, &agent, &now, extent))
        .await
        .map(Json)
}

fn draw(reader: &Reader, agent: &AgentId, now: &Snapshot, extent: Extent) -> Result<SeriesView, ReadError> {
    let since_ms = extent.since_ms;
    let blocks = blocks(reader, now, since_ms)?;
    let simulated = |device: &DeviceId| {
        now.status
            .devices
            .iter()
            .any(|info| info.simulated && info.id == *device)
    };
    let borrowed = blocks
        .iter()
        .map(|(epoch, seq, block)| (*epoch, *seq, block.as_slice()));
    let (at_ms, lines) = chart(borrowed, extent, simulated);
    let mut decisions = newest(reader, agent, None, MOST_DECISIONS)?;
    decisions.retain(|decision| (since_ms..=extent.until_ms).contains(&decision.at.0));
    decisions.reverse();
    let (mut cuts, mut seen) = (Cuts::new(since_ms), 0);
    reader.backward(None, |_, raw| {
        seen += 1;
        if cuts.look(&raw) && seen < MOST_ENTRIES {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    let away_since = (!now.connected).then(|| now.since.map_or(since_ms, |since| since.0));
    Ok(SeriesView {
        node: agent.clone(),
        at_ms,
        lines,
        decisions,
        cuts: cuts.finish(away_since),
    })
}

/// The blocks of about the wanted span, with a key block before it.
fn blocks(reader: &Reader, now: &Snapshot, since_ms: i64) -> Result<Vec<(Epoch, Seq, Vec<u8>)>, ReadError> {
    let Some((epoch, last)) = reader.newest_block()? else {
        return Ok(Vec::new());
    };
    let span_ms = u64::try_from(now.status.at.wall.0.saturating_sub(since_ms)).unwrap_or(0);
    // A block holds 5 s at least, whatever the settings say.
    let count = (span_ms / 5_000 + LEAD_BLOCKS).min(MOST_BLOCKS as u64);
    let mut found = Vec::new();
    reader.blocks(
        Some((epoch, Seq(last.0.saturating_sub(count)))),
        |(epoch, seq), block| {
            found.push((epoch, seq, block.to_vec()));
            if found.len() < MOST_BLOCKS {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        },
    )?;
    Ok(found)
}

/// A round of readings as an event: the lines that charts show.
pub(super) fn sample(node: &AgentId, at: Wall, readings: &[Reading]) -> StreamEvent {
    let shown = readings.iter().filter(|reading| is_shown(&reading.series));
    let values = shown
        .map(|reading| (reading.series.to_string(), reading.value))
        .collect();
    StreamEvent::Sample {
        node: node.clone(),
        at_ms: at.0,
        values,
    }
}

/// What happens, as it happens.
pub(super) async fn stream(State(app): State<App>) -> Response {
    let mut watcher = Watcher {
        told: Vec::new(),
        waiting: Default::default(),
        entries: app.durable.subscribe(),
        samples: app.sampled.subscribe(),
        app,
    };
    watcher.app.snapshot.mark_unchanged();
    let hello = event_text(&hello(&watcher.app));
    let body = Events {
        first: Some(hello.into()),
        next: Box::pin(watcher.next()),
    };
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

type Next = std::pin::Pin<Box<dyn Future<Output = Option<(Watcher, Bytes)>> + Send>>;

struct Events {
    first: Option<Bytes>,
    next: Next,
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        use std::task::Poll;
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(hyper::body::Frame::data(first))));
        }
        match self.next.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some((watcher, text))) => {
                self.next = Box::pin(watcher.next());
                Poll::Ready(Some(Ok(hyper::body::Frame::data(text))))
            }
        }
    }
}

/// One watcher of the stream.
struct Watcher {
    app: App,
    entries: broadcast::Receiver<(Epoch, RawEntry)>,
    samples: broadcast::Receiver<std::sync::Arc<str>>,
    /// The other members as this watcher knows them, and when each was told.
    told: Vec<(NodeView, Instant)>,
    waiting: VecDeque<Bytes>,
}

impl Watcher {
    /// Waits for the next event; `None` when the agent stops.
    async fn next(mut self) -> Option<(Self, Bytes)> {
        loop {
            if let Some(text) = self.waiting.pop_front() {
                return Some((self, text));
            }
            let text = tokio::select! {
                sample = self.samples.recv() => match sample {
                    Ok(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
                    Err(RecvError::Lagged(_)) => Some(event_text(&StreamEvent::Reset).into()),
                    Err(RecvError::Closed) => return None,
                },
                entry = self.entries.recv() => match entry {
                    Ok((epoch, raw)) => self.decision(epoch, &raw).await,
                    Err(RecvError::Lagged(_)) => Some(event_text(&StreamEvent::Reset).into()),
                    Err(RecvError::Closed) => return None,
                },
                changed = self.app.snapshot.changed() => match changed {
                    Ok(()) => match self.look_around().await {
                        Ok(view) => Some(event_text(&StreamEvent::Node(Box::new(view))).into()),
                        // The journal is busy with itself; the next change comes within a second.
                        Err(_) => None,
                    },
                    Err(_) => return None,
                },
                () = tokio::time::sleep(TICK) => {
                    Some(event_text(&StreamEvent::Tick { now: self.app.now().status.at.wall }).into())
                }
            };
            if let Some(text) = text {
                return Some((self, text));
            }
        }
    }

    /// The node's own row; rows of other members that have changed, or were told long ago, wait behind it.
    async fn look_around(&mut self) -> Result<NodeView, Failure> {
        for other in others(&self.app) {
            let known = self.told.iter().position(|(told, _)| told.name == other.name);
            let is_known = known.is_some_and(|index| {
                let (told, at) = &self.told[index];
                at.elapsed() < TICK && same_news(told, &other)
            });
            if is_known {
                continue;
            }
            self.waiting
                .push_back(event_text(&StreamEvent::Node(Box::new(other.clone()))).into());
            match known {
                Some(index) => self.told[index] = (other, Instant::now()),
                None => self.told.push((other, Instant::now())),
            }
        }
        row(&self.app, 1).await
    }

    /// The decision that an entry is, or is an outcome of.
    async fn decision(&self, epoch: Epoch, raw: &RawEntry) -> Option<Bytes> {
        let view = match raw.decode().ok()?.body {
            EntryBody::Decided(_) => Story::read(&self.app.agent, epoch, raw, []).ok()?.view(),
            EntryBody::Acted(outcome) => {
                let id: DecisionId = outcome.decision;
                self.app.read(move |reader| story(reader, &id)).await.ok()??.view()
            }
            EntryBody::Event(_) | EntryBody::Gap(_) | EntryBody::Changed(_) => return None,
        };
        Some(event_text(&StreamEvent::Decision(Box::new(view))).into())
    }
}

/// Whether two rows of another member differ in nothing but time.
fn same_news(told: &NodeView, now: &NodeView) -> bool {
    let state = |view: &NodeView| (view.state, view.via.clone(), view.policy_generation, view.authority);
    state(told) == state(now)
}
