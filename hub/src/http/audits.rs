//! What people and programs caused at this hub, and what they were refused: its own journal, newest first.

use std::ops::ControlFlow;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use wire::api::{AuditView, List};
use wire::change::{ChangeRecord, ChangeResult};
use wire::entry::EntryBody;
use wire::ids::{AgentId, DecisionId};
use wire::time::Wall;

use super::answer::{json, limit, query};
use super::{App, Failure};
use crate::store::{Store, StoreError};

/// Rows of a page, if nothing else is asked for.
const USUAL: usize = 50;
/// Most rows of a page.
const MOST: usize = 500;
/// Entries that one request looks at; the page's cursor goes on from there.
const MOST_SCANNED: usize = 50_000;

/// Query of `audits`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    who: Option<String>,
    verb: Option<String>,
    target: Option<String>,
    result: Option<String>,
    since: Option<Wall>,
    before: Option<String>,
    limit: Option<usize>,
}

/// One page.
pub async fn list(
    State(app): State<App>,
    headers: HeaderMap,
    asked: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let asked = query(asked)?;
    let most = limit(asked.limit, USUAL, MOST)?;
    if let Some(result) = asked
        .result
        .as_deref()
        .filter(|result| !["done", "refused"].contains(result))
    {
        let detail = format!("result is `{result}`, it must be done or refused");
        return Err(Failure::field("/result", detail));
    }
    let before = asked.before.as_deref().map(str::parse::<DecisionId>).transpose();
    let before = before.map_err(|error| Failure::field("/before", error.to_string()))?;
    let page = app.read(move |store| page(store, &asked, before, most)).await?;
    Ok(json(&headers, &page))
}

fn page(
    store: &dyn Store,
    asked: &AuditQuery,
    before: Option<DecisionId>,
    most: usize,
) -> Result<List<AuditView>, StoreError> {
    let mut items = Vec::new();
    let (mut scanned, mut next) = (0, None);
    store.walk_back(&AgentId::hub(), &mut |epoch, raw| {
        let Ok(entry) = raw.decode() else {
            return ControlFlow::Continue(());
        };
        let id = DecisionId {
            agent: AgentId::hub(),
            epoch,
            seq: entry.seq,
        };
        if before
            .as_ref()
            .is_some_and(|before| (id.epoch, id.seq) >= (before.epoch, before.seq))
        {
            return ControlFlow::Continue(());
        }
        if asked.since.is_some_and(|since| entry.at.wall < since) {
            return ControlFlow::Break(());
        }
        if items.len() >= most || scanned >= MOST_SCANNED {
            return ControlFlow::Break(());
        }
        scanned += 1;
        next = Some(id.clone());
        if let EntryBody::Changed(change) = entry.body
            && is_asked_for(asked, &change)
        {
            items.push(AuditView::new(id, entry.at.wall, *change));
        }
        ControlFlow::Continue(())
    })?;
    let is_cut = items.len() >= most || scanned >= MOST_SCANNED;
    Ok(List {
        items,
        next_cursor: next.filter(|_| is_cut).map(|id| id.to_string()),
    })
}

fn is_asked_for(asked: &AuditQuery, change: &ChangeRecord) -> bool {
    let result = match change.result {
        ChangeResult::Done => "done",
        ChangeResult::Refused { .. } => "refused",
    };
    let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
    is(&asked.who, &change.caller.name)
        && is(&asked.verb, &change.verb)
        && is(&asked.target, &change.target)
        && is(&asked.result, result)
}
