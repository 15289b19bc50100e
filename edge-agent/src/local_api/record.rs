//! What the journal says: decisions, entries, replay, and whether the chain holds.
//!
//! Everything is read from the disk at the moment it is asked for; nothing is answered from memory that is not durable.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde::Deserialize;
use wire::api::{DecisionDetail, DecisionView, EntryOrder, EntryView, EpochView, List, ReplayView, VerifyView};
use wire::bundle::BundlePayload;
use wire::entry::{ChainHead, EntryBody};
use wire::view::{Story, entry_view};
use wire::{AgentId, Digest, Epoch, RawEntry, Seq, codec};

use super::App;
use super::answer::{Failure, limit, query};
use crate::journal::{ReadError, Reader};
use wire::ids::DecisionId;

/// Entries that may follow a decision until its last outcome: an action is verified within minutes.
const OUTCOMES_WITHIN: usize = 4_096;

/// Query of a list of decisions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    node: Option<String>,
    before: Option<String>,
    limit: Option<usize>,
}

/// Decisions, newest first.
pub(super) async fn decisions(
    State(app): State<App>,
    asked: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<List<DecisionView>>, Failure> {
    let asked = query(asked)?;
    let limit = limit(asked.limit, 50, 500)?;
    only_this(&app, asked.node.as_deref())?;
    let before = asked
        .before
        .as_deref()
        .map(|cursor| place("/before", cursor))
        .transpose()?;
    let agent = app.agent.clone();
    let items = app.read(move |reader| newest(reader, &agent, before, limit)).await?;
    let next_cursor = (items.len() == limit)
        .then(|| items.last().map(|last| format!("{}.{}", last.epoch, last.seq)))
        .flatten();
    Ok(Json(List { items, next_cursor }))
}

/// The newest decisions with their latest outcomes. One walk back: an outcome is met before its decision.
pub(super) fn newest(
    reader: &Reader,
    agent: &AgentId,
    before: Option<(Epoch, Seq)>,
    limit: usize,
) -> Result<Vec<DecisionView>, ReadError> {
    // An outcome behind the cursor belongs to a decision before it, so the walk always begins at the end.
    let mut outcomes: BTreeMap<(Epoch, Seq), RawEntry> = BTreeMap::new();
    let mut found = Vec::new();
    reader.backward(None, |epoch, raw| {
        let Ok(entry) = raw.decode() else {
            return ControlFlow::Continue(());
        };
        match entry.body {
            EntryBody::Acted(outcome) => {
                outcomes
                    .entry((outcome.decision.epoch, outcome.decision.seq))
                    .or_insert(raw);
            }
            EntryBody::Decided(_) if before.is_none_or(|before| (epoch, raw.seq) < before) => {
                let latest = outcomes.remove(&(epoch, raw.seq));
                if let Ok(story) = Story::read(agent, epoch, &raw, latest.as_ref()) {
                    found.push(story.view());
                }
            }
            EntryBody::Decided(_) | EntryBody::Event(_) | EntryBody::Gap(_) | EntryBody::Changed(_) => {}
        }
        if found.len() == limit {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    Ok(found)
}

/// One decision and all its outcomes so far, if the journal still has it.
pub(super) fn story(reader: &Reader, id: &DecisionId) -> Result<Option<Story>, ReadError> {
    let (mut decision, mut outcomes, mut seen) = (None, Vec::new(), 0);
    reader.forward(id.epoch, id.seq, |raw| {
        seen += 1;
        if decision.is_none() {
            if raw.seq != id.seq {
                return ControlFlow::Break(());
            }
            decision = Some(raw);
        } else if let Ok(EntryBody::Acted(outcome)) = raw.decode().map(|entry| entry.body)
            && outcome.decision == *id
        {
            let last = outcome.state.is_final();
            outcomes.push(raw);
            if last {
                return ControlFlow::Break(());
            }
        }
        if seen > OUTCOMES_WITHIN {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    Ok(decision.and_then(|raw| Story::read(&id.agent, id.epoch, &raw, &outcomes).ok()))
}

async fn told(app: &App, id: &str) -> Result<Story, Failure> {
    let id: DecisionId = id
        .parse()
        .map_err(|error: wire::ids::IdError| Failure::field("/id", error.to_string()))?;
    let wanted = id.clone();
    let found = if id.agent == app.agent {
        app.read(move |reader| story(reader, &wanted)).await?
    } else {
        None
    };
    found.ok_or_else(|| {
        Failure::not_found(format!(
            "this node's journal holds no decision `{id}`: it may be another node's, another kind of entry, or removed after the hub had it"
        ))
    })
}

fn explained(story: &Story) -> String {
    policy::explain(&story.id, story.at, &story.decision, &story.outcomes())
}

/// One decision in full.
pub(super) async fn decision(State(app): State<App>, Path(id): Path<String>) -> Result<Json<DecisionDetail>, Failure> {
    let story = told(&app, &id).await?;
    let explanation = explained(&story);
    Ok(Json(story.detail(explanation)))
}

/// What `why` prints.
pub(super) async fn explanation(State(app): State<App>, Path(id): Path<String>) -> Result<impl IntoResponse, Failure> {
    let story = told(&app, &id).await?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], explained(&story)))
}

/// Makes the decision again from the journal alone.
pub(super) async fn replay(State(app): State<App>, Path(id): Path<String>) -> Result<Json<ReplayView>, Failure> {
    let story = told(&app, &id).await?;
    let reference = story.decision.inputs.bundle;
    let signed = app.read(move |reader| reader.bundle(&reference)).await?.ok_or_else(|| {
        Failure::not_found(format!(
            "decision `{id}` was judged by bundle generation {}, which this node does not keep any more: ask the hub",
            reference.generation
        ))
    })?;
    let payload: BundlePayload =
        codec::decode(&signed.payload).map_err(|error| Failure::internal(error.to_string()))?;
    policy::replay(&payload.text, &story.id, &story.decision)
        .map(Json)
        .map_err(|problems| {
            let what: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
            Failure::internal(format!(
                "the kept bundle cannot be read by this version: {}",
                what.join("; ")
            ))
        })
}

/// Query of a list of entries.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EntriesQuery {
    node: Option<String>,
    after: Option<String>,
    before: Option<String>,
    #[serde(default)]
    order: EntryOrder,
    limit: Option<usize>,
}

/// Entries, oldest first; newest first with `order=desc`.
pub(super) async fn entries(
    State(app): State<App>,
    asked: Result<Query<EntriesQuery>, QueryRejection>,
) -> Result<Json<List<EntryView>>, Failure> {
    let asked = query(asked)?;
    let limit = limit(asked.limit, 200, 2_000)?;
    only_this(&app, asked.node.as_deref())?;
    let (pointer, cursor) = match asked.order {
        EntryOrder::Asc => ("/after", asked.after.as_deref()),
        EntryOrder::Desc => ("/before", asked.before.as_deref()),
    };
    let cursor = cursor.map(|cursor| place(pointer, cursor)).transpose()?;
    let (agent, order) = (app.agent.clone(), asked.order);
    let items = app
        .read(move |reader| match order {
            EntryOrder::Asc => oldest_entries(reader, &agent, cursor.unwrap_or_default(), limit),
            EntryOrder::Desc => newest_entries(reader, &agent, cursor, limit),
        })
        .await?;
    let next_cursor = (items.len() == limit)
        .then(|| items.last().map(|last| format!("{}.{}", last.epoch, last.seq)))
        .flatten();
    Ok(Json(List { items, next_cursor }))
}

// Every row was checked against its checksum; an entry of a later version than this program is left out of both.

fn oldest_entries(
    reader: &Reader,
    agent: &AgentId,
    after: (Epoch, Seq),
    limit: usize,
) -> Result<Vec<EntryView>, ReadError> {
    let mut items = Vec::new();
    for (epoch, first, _) in reader.epochs()? {
        let from = match epoch.cmp(&after.0) {
            std::cmp::Ordering::Less => continue,
            std::cmp::Ordering::Equal => first.max(after.1.next()),
            std::cmp::Ordering::Greater => first,
        };
        reader.forward(epoch, from, |raw| {
            if items.len() == limit {
                return ControlFlow::Break(());
            }
            items.extend(entry_view(agent, epoch, &raw));
            ControlFlow::Continue(())
        })?;
    }
    Ok(items)
}

fn newest_entries(
    reader: &Reader,
    agent: &AgentId,
    before: Option<(Epoch, Seq)>,
    limit: usize,
) -> Result<Vec<EntryView>, ReadError> {
    let mut items = Vec::new();
    reader.backward(before, |epoch, raw| {
        items.extend(entry_view(agent, epoch, &raw));
        match items.len() == limit {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    Ok(items)
}

/// What this journal holds: one row for each epoch, every link checked.
pub(super) async fn verify(State(app): State<App>) -> Result<Json<List<VerifyView>>, Failure> {
    let as_of = app.now().status.at.wall;
    let agent = app.agent.clone();
    let epochs = app.read(check_chains).await?;
    let produced = epochs.iter().map(|epoch| epoch.last.0).sum();
    let stored = epochs.iter().map(|epoch| epoch.count).sum();
    let broken: Vec<String> = epochs
        .iter()
        .filter(|epoch| !epoch.chain_ok)
        .map(|epoch| epoch.epoch.to_string())
        .collect();
    let row = VerifyView {
        node: agent,
        produced,
        stored,
        // What was removed here had been acknowledged; whether it is missing is for the hub to say.
        removed: 0,
        missing: 0,
        double: 0,
        chain_ok: broken.is_empty(),
        detail: if broken.is_empty() {
            String::new()
        } else {
            format!("the chain of epoch {} is broken", broken.join(", "))
        },
        as_of: Some(as_of),
        epochs,
    };
    Ok(Json(List {
        items: vec![row],
        next_cursor: None,
    }))
}

fn check_chains(reader: &Reader) -> Result<Vec<EpochView>, ReadError> {
    let mut rows = Vec::new();
    for (epoch, first, _) in reader.epochs()? {
        let mut row = EpochView {
            epoch,
            first,
            last: Seq(0),
            count: 0,
            removed: 0,
            head: Digest::ZERO,
            chain_ok: true,
        };
        let mut head: Option<ChainHead> = None;
        reader.forward(epoch, first, |raw| {
            let before = match head {
                Some(head) => head,
                // Entries before the first one that is left were acknowledged and removed: the chain is taken up where it is.
                None => ChainHead {
                    epoch,
                    seq: Seq(first.0.saturating_sub(1)),
                    digest: raw.prev().unwrap_or(Digest::ZERO),
                },
            };
            let linked = before.link(&raw);
            row.chain_ok &= linked.is_ok();
            head = Some(linked.unwrap_or(ChainHead {
                epoch,
                seq: raw.seq,
                digest: raw.digest,
            }));
            row.count += 1;
            (row.last, row.head) = (raw.seq, raw.digest);
            ControlFlow::Continue(())
        })?;
        rows.push(row);
    }
    Ok(rows)
}

/// A node answers for itself alone.
pub(super) fn only_this(app: &App, name: Option<&str>) -> Result<(), Failure> {
    match name {
        Some(name) if name != app.agent.as_str() => Err(Failure::not_found(format!(
            "this is `{}`, not `{name}`: ask the hub, or that node's own socket",
            app.agent
        ))),
        _ => Ok(()),
    }
}

fn place(pointer: &str, cursor: &str) -> Result<(Epoch, Seq), Failure> {
    cursor
        .split_once('.')
        .and_then(|(epoch, seq)| Some((Epoch(epoch.parse().ok()?), Seq(seq.parse().ok()?))))
        .ok_or_else(|| {
            Failure::field(
                pointer,
                format!("`{cursor}` is not a cursor: give back `next_cursor` of the page before"),
            )
        })
}
