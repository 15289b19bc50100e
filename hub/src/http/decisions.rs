//! Decisions and entries as the store holds them: lists, one in full, its explanation, its replay.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use wire::api::{EntryOrder, EntryView, List};
use wire::bundle::BundlePayload;
use wire::codec;
use wire::ids::{DecisionId, Epoch, Seq};
use wire::view::{Story, entry_view};

use super::answer::{json, limit, node_name, query};
use super::{App, Failure, nodes};
use crate::store::StoreError;

/// Query of a list of decisions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    node: Option<String>,
    before: Option<String>,
    limit: Option<usize>,
}

/// Decisions, newest first.
pub async fn list(
    State(app): State<App>,
    asked: Result<Query<ListQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let asked = query(asked)?;
    let limit = limit(asked.limit, 50, 500)?;
    let node = match asked.node.as_deref() {
        Some(name) => {
            let name = node_name(name)?;
            nodes::known(&app, &name).await?;
            Some(name)
        }
        None => None,
    };
    let page = app
        .read(move |store| store.decisions(node.as_ref(), asked.before.as_deref(), limit))
        .await?;
    // What a hostile agent called a decision and is none is counted by `verify`, and has no row here.
    let items = page
        .rows
        .iter()
        .filter_map(|row| row.story().ok())
        .map(|story| story.view())
        .collect();
    Ok(json(
        &headers,
        &List {
            items,
            next_cursor: page.next,
        },
    ))
}

async fn story(app: &App, id: &str) -> Result<Story, Failure> {
    let id: DecisionId = id
        .parse()
        .map_err(|error: wire::ids::IdError| Failure::field("/id", error.to_string()))?;
    let wanted = id.clone();
    let found = app.read(move |store| store.decision(&wanted)).await?;
    if let Some(story) = found.and_then(|row| row.story().ok()) {
        return Ok(story);
    }
    let node = id.agent.clone();
    let floors = app.read(move |store| store.floors(&node)).await?;
    let floor = floors.into_iter().find(|(epoch, _)| *epoch == id.epoch);
    Err(match floor.filter(|(_, floor)| id.seq <= floor.through) {
        Some((_, floor)) => Failure::not_found(format!(
            "the hub holds `{id}` no more: it had to make room or was too old, and entries of this epoch are kept from {} on. Its node may \
             still have it (`--local` asks there)",
            floor.through.next()
        )),
        None => Failure::unknown_decision(&id),
    })
}

fn explained(story: &Story) -> String {
    policy::explain(&story.id, story.at, &story.decision, &story.outcomes())
}

/// One decision in full.
pub async fn detail(State(app): State<App>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Failure> {
    let story = story(&app, &id).await?;
    let explanation = explained(&story);
    Ok(json(&headers, &story.detail(explanation)))
}

/// What `why` prints.
pub async fn explanation(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Failure> {
    let story = story(&app, &id).await?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], explained(&story)).into_response())
}

/// Makes the decision again from its stored inputs.
pub async fn replay(State(app): State<App>, Path(id): Path<String>) -> Result<Response, Failure> {
    let story = story(&app, &id).await?;
    let reference = story.decision.inputs.bundle;
    let missing = || {
        Failure::not_found(format!(
            "decision `{id}` was judged by bundle generation {} ({}), which this hub does not hold: ask the node itself (`--local`)",
            reference.generation,
            reference.digest.short(),
        ))
    };
    let signed = app
        .read(move |store| store.bundle(&reference))
        .await?
        .ok_or_else(missing)?;
    let payload: BundlePayload =
        codec::decode(&signed.payload).map_err(|error| Failure::internal(error.to_string()))?;
    let view = policy::replay(&payload.text, &story.id, &story.decision).map_err(|problems| {
        let what = problems.into_iter().map(|problem| problem.message).collect::<Vec<_>>();
        Failure::internal(format!(
            "the stored bundle cannot be read by this version: {}",
            what.join("; ")
        ))
    })?;
    Ok(axum::Json(view).into_response())
}

/// Query of a list of entries.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntriesQuery {
    node: Option<String>,
    after: Option<String>,
    before: Option<String>,
    #[serde(default)]
    order: EntryOrder,
    limit: Option<usize>,
}

/// Entries of one node, or of the hub itself (`@hub`), oldest first; newest first with `order=desc`.
pub async fn entries(
    State(app): State<App>,
    asked: Result<Query<EntriesQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let asked = query(asked)?;
    let limit = limit(asked.limit, 200, 2_000)?;
    let name = asked
        .node
        .ok_or_else(|| Failure::field("/node", "name the node: entries are read one journal at a time"))?;
    let node = node_name(&name)?;
    if !node.is_hub() {
        nodes::known(&app, &node).await?;
    }
    let (pointer, cursor) = match asked.order {
        EntryOrder::Asc => ("/after", asked.after.as_deref()),
        EntryOrder::Desc => ("/before", asked.before.as_deref()),
    };
    let place = cursor.map(|cursor| read_place(pointer, cursor)).transpose()?;
    let (of, order) = (node.clone(), asked.order);
    let found = app
        .read(move |store| match order {
            EntryOrder::Asc => store.entries(&of, place.unwrap_or_default(), limit),
            EntryOrder::Desc => store.newest_entries(&of, place, limit),
        })
        .await?;
    let next_cursor = match found.last() {
        Some((epoch, last)) if found.len() == limit => Some(format!("{epoch}.{}", last.seq)),
        _ => None,
    };
    let items = found
        .iter()
        .map(|(epoch, raw)| entry_view(&node, *epoch, raw))
        .collect::<Result<Vec<EntryView>, _>>()
        .map_err(|error| Failure::internal(error.to_string()))?;
    Ok(json(&headers, &List { items, next_cursor }))
}

fn read_place(pointer: &str, cursor: &str) -> Result<(Epoch, Seq), Failure> {
    cursor
        .split_once('.')
        .and_then(|(epoch, seq)| Some((Epoch(epoch.parse().ok()?), Seq(seq.parse().ok()?))))
        .ok_or_else(|| {
            Failure::field(
                pointer,
                StoreError::Cursor {
                    cursor: cursor.to_owned(),
                }
                .to_string(),
            )
        })
}
