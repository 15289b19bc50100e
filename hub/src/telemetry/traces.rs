//! Decisions and what came of them as traces: from the first reading over decision, action and outcome to the hub's commit.
//!
//! An entry's spans are made from the entry alone: ids are derived from the decision, so the outcome finds its trace also when it
//! arrives an hour of partition later, or after this process was replaced, and an entry that is sent twice is the same spans again.
//!
//! ```text
//! decision                  first reading ......... decided
//!   observe                 first reading ......... decided
//!   judge                   decided
//!   sync                            decided ....................... durable at the hub
//!   act / verify                    decided ...... outcome
//!     sync                                         outcome ........ durable at the hub
//! ```

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use wire::action::{Outcome, OutcomeState};
use wire::decision::Decision;
use wire::entry::EntryBody;
use wire::ids::{DecisionId, Seq};

use super::SCOPE;
use super::logs::time;
use crate::consumers::Sink;
use crate::store::Arrived;

/// Sends entries as spans.
pub struct Traces {
    exporter: SpanExporter,
    ids: TraceIds,
}

impl Traces {
    /// Sends by this exporter.
    pub fn new(exporter: SpanExporter, trust_domain: &str) -> Self {
        Self {
            exporter,
            ids: TraceIds::new(trust_domain),
        }
    }
}

impl Sink for Traces {
    async fn deliver(&mut self, page: &[Arrived]) -> Result<(), String> {
        let spans: Vec<SpanData> = page.iter().flat_map(|arrived| spans(&self.ids, arrived)).collect();
        if spans.is_empty() {
            return Ok(());
        }
        let sent = self.exporter.export(spans).await;
        sent.map_err(|error| error.to_string())
    }
}

/// Who made the spans.
pub fn scope() -> InstrumentationScope {
    InstrumentationScope::builder(SCOPE)
        .with_version(env!("CARGO_PKG_VERSION"))
        .build()
}

/// Derives ids, so that every entry of a decision finds the same trace without anything being kept.
#[derive(Debug, Clone)]
pub struct TraceIds {
    /// Other fleets may have nodes of the same name.
    trust_domain: String,
}

impl TraceIds {
    /// Ids of this fleet.
    pub fn new(trust_domain: &str) -> Self {
        Self {
            trust_domain: trust_domain.to_owned(),
        }
    }

    /// The trace of a decision.
    pub fn trace(&self, decision: &DecisionId) -> TraceId {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.hash(decision, "trace", Seq(0))[..16]);
        TraceId::from_bytes(bytes)
    }

    /// A span of it: which part, and which entry it tells of.
    fn span(&self, decision: &DecisionId, part: &str, seq: Seq) -> SpanId {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.hash(decision, part, seq)[..8]);
        SpanId::from_bytes(bytes)
    }

    fn hash(&self, decision: &DecisionId, part: &str, seq: Seq) -> [u8; 32] {
        let text = format!("{}\0{decision}\0{part}\0{}", self.trust_domain, seq.0);
        *blake3::hash(text.as_bytes()).as_bytes()
    }

    /// The trace and span that an entry belongs to, for its log record.
    pub fn of_entry(&self, arrived: &Arrived) -> Option<(TraceId, SpanId)> {
        let entry = arrived.entry.decode().ok()?;
        match &entry.body {
            EntryBody::Decided(_) => {
                let id = id(arrived, entry.seq);
                Some((self.trace(&id), self.span(&id, DECISION, Seq(0))))
            }
            EntryBody::Acted(outcome) => {
                let part = part(outcome);
                let span = self.span(&outcome.decision, part, entry.seq);
                Some((self.trace(&outcome.decision), span))
            }
            _ => None,
        }
    }
}

const DECISION: &str = "decision";

fn id(arrived: &Arrived, seq: Seq) -> DecisionId {
    DecisionId {
        agent: arrived.owner.clone(),
        epoch: arrived.epoch,
        seq,
    }
}

/// An entry's spans; none for one that is neither a decision nor an outcome.
pub fn spans(ids: &TraceIds, arrived: &Arrived) -> Vec<SpanData> {
    let Ok(entry) = arrived.entry.decode() else {
        return Vec::new();
    };
    let at = time(entry.at.wall);
    let stored = arrived.at.map(time);
    match &entry.body {
        EntryBody::Decided(decision) => {
            let of = Of {
                ids,
                decision: &id(arrived, entry.seq),
                seq: entry.seq,
            };
            decided(&of, decision, at, stored)
        }
        EntryBody::Acted(outcome) => {
            let of = Of {
                ids,
                decision: &outcome.decision,
                seq: entry.seq,
            };
            acted(&of, outcome, at, stored)
        }
        EntryBody::Event(_) | EntryBody::Gap(_) | EntryBody::Changed(_) => Vec::new(),
    }
}

/// What the spans of one entry have in common.
struct Of<'a> {
    ids: &'a TraceIds,
    decision: &'a DecisionId,
    seq: Seq,
}

impl Of<'_> {
    fn root(&self) -> SpanId {
        self.ids.span(self.decision, DECISION, Seq(0))
    }

    fn span(&self, (part, id): (&'static str, SpanId), parent: SpanId, from: SystemTime, to: SystemTime) -> SpanData {
        let trace = self.ids.trace(self.decision);
        let context = SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::default());
        SpanData {
            span_context: context,
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: part.into(),
            start_time: from,
            // Two clocks may disagree: a span never ends before it begins.
            end_time: to.max(from),
            attributes: vec![
                KeyValue::new("sentinel.node", self.decision.agent.to_string()),
                KeyValue::new("sentinel.decision", self.decision.to_string()),
            ],
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: scope(),
        }
    }

    fn own(&self, part: &'static str) -> (&'static str, SpanId) {
        (part, self.ids.span(self.decision, part, self.seq))
    }

    /// From the entry to the hub's commit.
    fn sync(&self, parent: SpanId, from: SystemTime, stored: Option<SystemTime>) -> Option<SpanData> {
        let mut span = self.span(self.own("sync"), parent, from, stored?);
        span.span_kind = SpanKind::Consumer;
        Some(span)
    }
}

fn decided(of: &Of<'_>, decision: &Decision, at: SystemTime, stored: Option<SystemTime>) -> Vec<SpanData> {
    let Decision { inputs, judgement } = decision;
    let oldest_ms = inputs.readings.iter().filter_map(|reading| reading.age_ms).max();
    let first = oldest_ms.and_then(|ms| at.checked_sub(Duration::from_millis(ms)));
    let root = of.root();
    let mode = if inputs.connected { "connected" } else { "disconnected" };
    let about = [
        KeyValue::new("sentinel.rule", judgement.rule.clone()),
        KeyValue::new("sentinel.verdict", judgement.verdict.name()),
        KeyValue::new("sentinel.action", inputs.wanted.kind.name()),
        KeyValue::new("sentinel.mode", mode),
    ];
    let mut whole = of.span((DECISION, root), SpanId::INVALID, first.unwrap_or(at), at);
    whole.attributes.extend(about);
    let judge = of.span(of.own("judge"), root, at, at);
    let observe = first.map(|first| {
        let mut span = of.span(of.own("observe"), root, first, at);
        let readings = i64::try_from(inputs.readings.len()).unwrap_or(i64::MAX);
        span.attributes.push(KeyValue::new("sentinel.readings", readings));
        span
    });
    let sync = of.sync(root, at, stored);
    [whole, judge].into_iter().chain(observe).chain(sync).collect()
}

fn part(outcome: &Outcome) -> &'static str {
    match outcome.state {
        OutcomeState::Verified | OutcomeState::NotVerified => "verify",
        OutcomeState::Applied | OutcomeState::Failed | OutcomeState::Unknown | OutcomeState::Dropped => "act",
    }
}

/// When an action began is not kept: its span is the moment at which its outcome was known.
fn acted(of: &Of<'_>, outcome: &Outcome, at: SystemTime, stored: Option<SystemTime>) -> Vec<SpanData> {
    let mut act = of.span(of.own(part(outcome)), of.root(), at, at);
    let id = act.span_context.span_id();
    act.attributes
        .push(KeyValue::new("sentinel.outcome", outcome.state.name()));
    act.status = match outcome.state {
        OutcomeState::Applied | OutcomeState::Verified => Status::Ok,
        OutcomeState::Dropped => Status::Unset,
        OutcomeState::NotVerified | OutcomeState::Failed | OutcomeState::Unknown => {
            Status::error(outcome.detail.clone())
        }
    };
    [act].into_iter().chain(of.sync(id, at, stored)).collect()
}
