//! Entries of the journal as OTLP logs and traces. Pure.
//!
//! Every entry is a log record: the line that people read, with the entry's own time. A decision is a trace: `observe` and `judge` below
//! it, `act` and `verify` once they are known. Ids are derived from the decision as the hub derives them, so that both ends' spans of one
//! decision are one trace, however long a cut lay between, and what is sent twice is the same spans again.
//!
//! ```text
//! decision       first reading ......... decided
//!   observe      first reading ......... decided
//!   judge        decided
//!   act          decided .............. outcome
//!   verify                              applied ... seen
//! ```

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span, status};
use wire::decision::{Decision, Verdict};
use wire::entry::{Entry, EntryBody, Event};
use wire::fault::Severity;
use wire::{AgentId, DecisionId, Epoch, Outcome, OutcomeState, RawEntry, Seq, Wall};

use super::{nanoseconds, scope, text};

/// Bit 0: sampled.
const SAMPLED: u32 = 1;

/// Whose entries they are.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The node.
    pub agent: AgentId,
    /// Other fleets may have nodes of the same name.
    pub trust_domain: String,
    /// Who sends.
    pub resource: Resource,
}

impl Origin {
    /// Entries as log records. Bytes that are no entry are told to nobody.
    pub fn logs(&self, page: &[(Epoch, RawEntry)]) -> Option<ExportLogsServiceRequest> {
        let records: Vec<LogRecord> = page
            .iter()
            .filter_map(|(epoch, raw)| self.record(*epoch, raw))
            .collect();
        (!records.is_empty()).then(|| ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: Some(self.resource.clone()),
                scope_logs: vec![ScopeLogs {
                    scope: Some(scope()),
                    log_records: records,
                    ..ScopeLogs::default()
                }],
                ..ResourceLogs::default()
            }],
        })
    }

    /// Decisions and outcomes as spans; `None`: there are none among them.
    pub fn traces(&self, page: &[(Epoch, RawEntry)]) -> Option<ExportTraceServiceRequest> {
        let spans: Vec<Span> = page.iter().flat_map(|(epoch, raw)| self.spans(*epoch, raw)).collect();
        (!spans.is_empty()).then(|| ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![ScopeSpans {
                    scope: Some(scope()),
                    spans,
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        })
    }

    fn record(&self, epoch: Epoch, raw: &RawEntry) -> Option<LogRecord> {
        let view = wire::view::entry_view(&self.agent, epoch, raw).ok()?;
        let entry = raw.decode().ok()?;
        let at = nanoseconds(entry.at.wall);
        let severity = severity(&entry.body);
        let mut attributes = vec![
            text("sentinel.node", self.agent.as_str()),
            text("sentinel.entry", &format!("{}.{epoch}.{}", self.agent, entry.seq)),
            text("sentinel.kind", entry.body.kind()),
        ];
        attributes.extend(details(&entry.body).into_iter().map(|(name, value)| text(name, &value)));
        let (trace_id, span_id) = self.place(epoch, &entry).unwrap_or_default();
        Some(LogRecord {
            time_unix_nano: at,
            observed_time_unix_nano: at,
            severity_number: severity as i32,
            severity_text: word(severity).to_owned(),
            body: Some(AnyValue {
                value: Some(any_value::Value::StringValue(view.text)),
            }),
            attributes,
            flags: if trace_id.is_empty() { 0 } else { SAMPLED },
            trace_id,
            span_id,
            ..LogRecord::default()
        })
    }

    /// The trace and span that an entry belongs to.
    fn place(&self, epoch: Epoch, entry: &Entry) -> Option<(Vec<u8>, Vec<u8>)> {
        match &entry.body {
            EntryBody::Decided(_) => {
                let id = self.id(epoch, entry.seq);
                Some((self.trace(&id), self.span(&id, DECISION, Seq(0))))
            }
            EntryBody::Acted(outcome) => {
                let id = &outcome.decision;
                Some((self.trace(id), self.span(id, part(outcome), entry.seq)))
            }
            EntryBody::Event(_) | EntryBody::Gap(_) | EntryBody::Changed(_) => None,
        }
    }

    fn spans(&self, epoch: Epoch, raw: &RawEntry) -> Vec<Span> {
        let Ok(entry) = raw.decode() else { return Vec::new() };
        match &entry.body {
            EntryBody::Decided(decision) => {
                self.decided(&self.id(epoch, entry.seq), entry.seq, decision, entry.at.wall)
            }
            EntryBody::Acted(outcome) => vec![self.acted(outcome, entry.seq, entry.at.wall)],
            EntryBody::Event(_) | EntryBody::Gap(_) | EntryBody::Changed(_) => Vec::new(),
        }
    }

    fn decided(&self, id: &DecisionId, seq: Seq, decision: &Decision, at: Wall) -> Vec<Span> {
        let Decision { inputs, judgement } = decision;
        let oldest_ms = inputs.readings.iter().filter_map(|reading| reading.age_ms).max();
        let first = oldest_ms
            .and_then(|ms| i64::try_from(ms).ok())
            .map(|ms| Wall(at.0.saturating_sub(ms)));
        let root = self.span(id, DECISION, Seq(0));
        let mut whole = self.make(id, (DECISION, root.clone()), Vec::new(), (first.unwrap_or(at), at));
        let mode = if inputs.connected { "connected" } else { "disconnected" };
        whole.attributes.extend([
            text("sentinel.rule", &judgement.rule),
            text("sentinel.verdict", judgement.verdict.name()),
            text("sentinel.action", inputs.wanted.kind.name()),
            text("sentinel.target", inputs.wanted.target.as_str()),
            text("sentinel.mode", mode),
        ]);
        let child =
            |part: &'static str, from| self.make(id, (part, self.span(id, part, seq)), root.clone(), (from, at));
        let observe = first.map(|first| child("observe", first));
        [whole].into_iter().chain(observe).chain([child("judge", at)]).collect()
    }

    /// When an action began is not kept: its span is the moment at which its outcome was known.
    fn acted(&self, outcome: &Outcome, seq: Seq, at: Wall) -> Span {
        let (id, part) = (&outcome.decision, part(outcome));
        let root = self.span(id, DECISION, Seq(0));
        let mut act = self.make(id, (part, self.span(id, part, seq)), root, (at, at));
        act.attributes.push(text("sentinel.outcome", outcome.state.name()));
        let (code, message) = match outcome.state {
            OutcomeState::Applied | OutcomeState::Verified => (status::StatusCode::Ok, String::new()),
            OutcomeState::Dropped => (status::StatusCode::Unset, String::new()),
            OutcomeState::NotVerified | OutcomeState::Failed | OutcomeState::Unknown => {
                (status::StatusCode::Error, outcome.detail.clone())
            }
        };
        act.status = Some(Status {
            code: code as i32,
            message,
        });
        act
    }

    fn make(&self, id: &DecisionId, (name, span): (&str, Vec<u8>), parent: Vec<u8>, (from, to): (Wall, Wall)) -> Span {
        let from = nanoseconds(from);
        Span {
            trace_id: self.trace(id),
            span_id: span,
            parent_span_id: parent,
            flags: SAMPLED,
            name: name.to_owned(),
            kind: span::SpanKind::Internal as i32,
            start_time_unix_nano: from,
            // A clock may have been set back in between: a span never ends before it begins.
            end_time_unix_nano: nanoseconds(to).max(from),
            attributes: vec![
                text("sentinel.node", id.agent.as_str()),
                text("sentinel.decision", &id.to_string()),
            ],
            ..Span::default()
        }
    }

    fn id(&self, epoch: Epoch, seq: Seq) -> DecisionId {
        DecisionId {
            agent: self.agent.clone(),
            epoch,
            seq,
        }
    }

    /// The trace of a decision, as the hub derives it.
    fn trace(&self, decision: &DecisionId) -> Vec<u8> {
        self.hash(decision, "trace", Seq(0))[..16].to_vec()
    }

    /// A span of it: which part, and which entry it tells of.
    fn span(&self, decision: &DecisionId, part: &str, seq: Seq) -> Vec<u8> {
        self.hash(decision, part, seq)[..8].to_vec()
    }

    fn hash(&self, decision: &DecisionId, part: &str, seq: Seq) -> [u8; 32] {
        let text = format!("{}\0{decision}\0{part}\0{}", self.trust_domain, seq.0);
        *blake3::hash(text.as_bytes()).as_bytes()
    }
}

const DECISION: &str = "decision";

fn part(outcome: &Outcome) -> &'static str {
    match outcome.state {
        OutcomeState::Verified | OutcomeState::NotVerified => "verify",
        OutcomeState::Applied | OutcomeState::Failed | OutcomeState::Unknown | OutcomeState::Dropped => "act",
    }
}

/// What somebody looks for stands out.
fn severity(body: &EntryBody) -> SeverityNumber {
    match body {
        EntryBody::Decided(decision) if decision.judgement.verdict == Verdict::Deny => SeverityNumber::Warn,
        EntryBody::Acted(outcome) => match outcome.state {
            OutcomeState::Failed | OutcomeState::Unknown | OutcomeState::NotVerified => SeverityNumber::Warn,
            OutcomeState::Applied | OutcomeState::Verified | OutcomeState::Dropped => SeverityNumber::Info,
        },
        EntryBody::Event(Event::Fault { severity, .. }) => match severity {
            Severity::Info | Severity::Low => SeverityNumber::Info,
            Severity::Medium => SeverityNumber::Warn,
            Severity::High => SeverityNumber::Error,
            Severity::Critical => SeverityNumber::Error2,
        },
        EntryBody::Event(
            Event::Finding { why: Some(_), .. }
            | Event::Probe { answering: false, .. }
            | Event::Unrecorded { .. }
            | Event::BundleRefused { .. }
            | Event::CommandRefused { .. },
        )
        | EntryBody::Gap(_) => SeverityNumber::Warn,
        EntryBody::Decided(_) | EntryBody::Event(_) | EntryBody::Changed(_) => SeverityNumber::Info,
    }
}

const fn word(severity: SeverityNumber) -> &'static str {
    match severity {
        SeverityNumber::Error | SeverityNumber::Error2 => "ERROR",
        SeverityNumber::Warn => "WARN",
        _ => "INFO",
    }
}

/// What can be searched for.
fn details(body: &EntryBody) -> Vec<(&'static str, String)> {
    match body {
        EntryBody::Decided(decision) => vec![
            ("sentinel.rule", decision.judgement.rule.clone()),
            ("sentinel.verdict", decision.judgement.verdict.name().to_owned()),
            ("sentinel.action", decision.inputs.wanted.kind.name().to_owned()),
            ("sentinel.target", decision.inputs.wanted.target.to_string()),
        ],
        EntryBody::Acted(outcome) => vec![
            ("sentinel.decision", outcome.decision.to_string()),
            ("sentinel.outcome", outcome.state.name().to_owned()),
        ],
        EntryBody::Event(Event::Fault {
            device,
            code,
            severity,
            meaning,
            next,
            evidence,
            count,
        }) => vec![
            ("hw.name", device.to_string()),
            ("sentinel.fault.code", code.clone()),
            ("sentinel.fault.severity", severity.name().to_owned()),
            ("sentinel.fault.meaning", meaning.clone()),
            ("sentinel.fault.next", next.name().to_owned()),
            ("sentinel.fault.evidence", evidence.clone()),
            ("sentinel.fault.count", count.to_string()),
        ],
        EntryBody::Event(Event::FaultOver { device }) => vec![("hw.name", device.to_string())],
        EntryBody::Event(_) | EntryBody::Gap(_) | EntryBody::Changed(_) => Vec::new(),
    }
}
