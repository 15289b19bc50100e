//! One policy in full: the nodes that have it, what its rules decided as far as it is stored, and its calendar of freezes.
//!
//! Counts what nodes journaled, and judges nothing again: a shadow rule's words are those that it said then, by its own ledger.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use policy::Bundle;
use serde::Deserialize;
use wire::BundleRef;
use wire::api::{
    CalendarView, NodeView, PolicyCountsView, PolicyDetailView, PolicyNodeView, PolicyView, RuleCountsView,
    VerdictCountsView,
};
use wire::decision::{Decision, Verdict};
use wire::ids::Generation;
use wire::time::Wall;

use super::super::answer::{json, query};
use super::super::{App, Failure};
use super::{LISTED, view};
use crate::store::{Store, StoreError};

/// Decisions that are counted: a tenth of a second of reading.
const MOST_COUNTED: usize = 10_000;
/// Decisions of one read.
const PAGE: usize = 500;
/// Usual length of a calendar: the week that the console shows.
const WEEK_MS: i64 = 7 * 86_400_000;
/// Longest calendar: as far ahead as the next window is looked for.
const MOST_SPAN_MS: i64 = 400 * 86_400_000;

/// Query of a calendar.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalendarQuery {
    from: Option<String>,
    to: Option<String>,
}

/// One policy in full.
pub async fn detail(
    State(app): State<App>,
    Path(generation): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let nodes = app.hub.nodes().await?;
    let policy = find(&app, &generation, &nodes).await?;
    let reference = BundleRef {
        generation: policy.generation,
        digest: policy.digest,
    };
    let view = app
        .read(move |store| {
            let mut counts = Counts::new(&policy);
            counts.read(store, reference)?;
            Ok(PolicyDetailView {
                published_by: store.published_by(&reference)?,
                nodes: nodes.iter().map(|node| node_view(node, reference)).collect(),
                decisions: counts.all,
                rules: counts.rules,
                policy,
            })
        })
        .await?;
    Ok(json(&headers, &view))
}

/// When changes are frozen by one policy.
pub async fn calendar(
    State(app): State<App>,
    Path(generation): Path<String>,
    asked: Result<Query<CalendarQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let asked = query(asked)?;
    let now = app.now();
    let from = time("/from", asked.from.as_deref())?.unwrap_or(now);
    let to = time("/to", asked.to.as_deref())?.unwrap_or(Wall(from.0.saturating_add(WEEK_MS)));
    if to <= from || to.0.saturating_sub(from.0) > MOST_SPAN_MS {
        let detail = format!("{to} must lie after `from` ({from}), by 400 days at most");
        return Err(Failure::field("/to", detail));
    }
    let policy = find(&app, &generation, &[]).await?;
    let bundle = Bundle::parse_signed(policy.text.as_bytes())
        .map_err(|_| Failure::internal(format!("policy {generation} cannot be read by this program")))?;
    let view = CalendarView {
        generation: policy.generation,
        from,
        to,
        now,
        rules: bundle.calendar(from, to, now),
        next_open: bundle.next_open(now),
    };
    Ok(json(&headers, &view))
}

fn time(pointer: &str, text: Option<&str>) -> Result<Option<Wall>, Failure> {
    text.map(|text| {
        text.parse()
            .map_err(|error: wire::ids::IdError| Failure::field(pointer, error.to_string()))
    })
    .transpose()
}

/// The policy of this generation; of several the one that is active, then the newest.
async fn find(app: &App, generation: &str, nodes: &[NodeView]) -> Result<PolicyView, Failure> {
    let wanted: u64 = generation.parse().map_err(|_| {
        Failure::field(
            "/generation",
            format!("`{generation}` is no generation, which is a number"),
        )
    })?;
    if let Some(active) = app
        .hub
        .policy()
        .await?
        .filter(|active| active.generation == Generation(wanted))
    {
        return Ok(active);
    }
    let stored = app.read(|store| store.bundles(LISTED)).await?;
    stored
        .into_iter()
        .filter(|(reference, _)| reference.generation == Generation(wanted))
        .find_map(|(reference, signed)| view(reference, &signed, nodes))
        .ok_or_else(|| {
            Failure::not_found(format!(
                "there is no policy {wanted} among the newest {LISTED}: `sentinel get policies` lists them"
            ))
        })
}

fn node_view(node: &NodeView, policy: BundleRef) -> PolicyNodeView {
    PolicyNodeView {
        node: node.name.clone(),
        state: node.state,
        has_it: (node.policy_generation, node.policy_digest) == (policy.generation, policy.digest),
        generation: node.policy_generation,
        policy_age_ms: node.policy_age_ms,
        authority: node.authority,
    }
}

/// What stored decisions say of a policy.
struct Counts {
    all: PolicyCountsView,
    rules: Vec<RuleCountsView>,
}

impl Counts {
    fn new(policy: &PolicyView) -> Self {
        let parsed = Bundle::parse_signed(policy.text.as_bytes()).ok();
        let reasons = parsed.as_ref().map(Bundle::reasons).unwrap_or_default();
        let rules = policy.rules.iter().enumerate().map(|(index, rule)| {
            let (why, owner) = reasons.get(index).copied().unwrap_or_default();
            RuleCountsView {
                id: rule.id.clone(),
                kind: rule.kind.clone(),
                mode: rule.mode.clone(),
                text: rule.text.clone(),
                why: why.to_owned(),
                owner: owner.to_owned(),
                decided: VerdictCountsView::default(),
                would: VerdictCountsView::default(),
            }
        });
        Self {
            all: PolicyCountsView::default(),
            rules: rules.collect(),
        }
    }

    fn read(&mut self, store: &dyn Store, policy: BundleRef) -> Result<(), StoreError> {
        let (mut cursor, mut read) = (None::<String>, 0);
        loop {
            let page = store.decisions(None, cursor.as_deref(), PAGE)?;
            read += page.rows.len();
            // What a hostile agent called a decision and is none is counted by `verify`, and nowhere else.
            for story in page.rows.iter().filter_map(|row| row.story().ok()) {
                if story.decision.inputs.bundle == policy {
                    self.add(&story.decision, story.at.wall);
                }
            }
            cursor = page.next;
            if cursor.is_none() || read >= MOST_COUNTED {
                self.all.cut = cursor.is_some();
                return Ok(());
            }
        }
    }

    fn add(&mut self, decision: &Decision, at: Wall) {
        let judgement = &decision.judgement;
        let all = &mut self.all;
        all.considered += 1;
        all.since = Some(all.since.map_or(at, |since| since.min(at)));
        all.until = Some(all.until.map_or(at, |until| until.max(at)));
        all.verdicts.add(judgement.verdict);
        let mut refused = false;
        for rule in &mut self.rules {
            if rule.id == judgement.rule {
                rule.decided.add(judgement.verdict);
            }
            let clauses = judgement
                .clauses
                .iter()
                .filter(|clause| clause.shadow && clause.rule == rule.id);
            if let Some(worst) = clauses.map(|clause| clause.verdict).max() {
                rule.would.add(worst);
                refused |= worst > Verdict::Clamp;
            }
        }
        all.shadow_would_refuse += u64::from(refused && judgement.verdict.runs());
    }
}
