//! Compares what a node last said that it made with what the store really holds, entry by entry.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Extension, Query, State};
use hub_core::{JournalBreak, Reported, Request};
use serde::Deserialize;
use wire::Checkpoint;
use wire::api::{AuditCheckView, CheckpointView, EpochView, JournalBreakView, List, ReasonRequest, VerifyView};
use wire::change::Caller;
use wire::entry::ChainHead;
use wire::ids::{AgentId, DecisionId, Epoch, Seq};

use super::answer::{node_name, query, read_json};
use super::{App, Failure, nodes};
use crate::store::{Scan, ScannedEpoch};

/// Query of `verify`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyQuery {
    node: Option<String>,
}

/// One row for each node.
pub async fn list(
    State(app): State<App>,
    asked: Result<Query<VerifyQuery>, QueryRejection>,
) -> Result<Json<List<VerifyView>>, Failure> {
    let nodes = match query(asked)?.node {
        Some(name) => vec![nodes::known(&app, &node_name(&name)?).await?],
        None => app.hub.nodes().await?,
    };
    let mut items = Vec::with_capacity(nodes.len());
    for node in nodes {
        let name = node.name.clone();
        // Asked before the scan: what a node makes while it runs is then not told of as missing.
        let reported = app.hub.reported(node.name.clone()).await?;
        let scan = app.read(move |store| store.verify(&name)).await?;
        items.push(compare(&node.name, reported.as_ref(), &scan));
    }
    Ok(Json(List {
        items,
        next_cursor: None,
    }))
}

/// The hub's own journal.
pub async fn own(State(app): State<App>) -> Result<Json<AuditCheckView>, Failure> {
    let name = AgentId::hub();
    let scan = app.read(move |store| store.verify(&name)).await?;
    let (checkpoint, breaks) = app.hub.checkpoints().await?;
    Ok(Json(whole(&scan, checkpoint, &breaks)))
}

/// Accepts every break of the hub's own journal: a person knows why it is not whole.
pub async fn accept(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<AuditCheckView>, Failure> {
    let ReasonRequest { reason } = read_json(body)?;
    if reason.trim().is_empty() {
        return Err(Failure::field("/reason", "reason is empty: say why, it is journaled"));
    }
    app.change(Request::AcceptBreaks { caller, reason }).await?;
    own(State(app)).await
}

/// What the entries show by themselves, and what agents have proven.
fn whole(scan: &Scan, checkpoint: Option<Checkpoint>, breaks: &[JournalBreak]) -> AuditCheckView {
    let row = compare(&AgentId::hub(), None, scan);
    let accepted = |epoch: Epoch| {
        breaks
            .iter()
            .any(|found| found.claimed.epoch == epoch && found.accepted.is_some())
    };
    // What an accepted break says of an epoch is what is missing of it.
    let lacks = |epoch: &Epoch, last: &Seq| {
        let found = scan.epochs.iter().find(|scanned| scanned.epoch == *epoch);
        found.map_or(Seq(0), |found| found.last) < *last && !accepted(*epoch)
    };
    let is_whole = |epoch: &ScannedEpoch| epoch.chain_ok() && epoch.holes.is_empty() && epoch.double == 0;
    let is_told = !scan.told.iter().any(|(epoch, last)| lacks(epoch, last));
    let open: Vec<&JournalBreak> = breaks.iter().filter(|found| found.accepted.is_none()).collect();
    let bad = scan.epochs.iter().find_map(first_bad);
    let detail = Some(row.detail).filter(|detail| !detail.is_empty());
    let detail = detail.into_iter().chain(open.iter().map(|found| found.text()));
    AuditCheckView {
        ok: scan.epochs.iter().all(is_whole) && is_told && open.is_empty(),
        entries: row.stored,
        first_bad: bad.or_else(|| open.first().map(|found| found.first_bad())),
        detail: detail.collect::<Vec<_>>().join("; "),
        checkpoint: checkpoint.map(|checkpoint| CheckpointView {
            entry: place(checkpoint.head),
            digest: checkpoint.head.digest,
            at: checkpoint.at,
        }),
        breaks: breaks.iter().map(break_view).collect(),
    }
}

fn place(head: ChainHead) -> DecisionId {
    DecisionId {
        agent: AgentId::hub(),
        epoch: head.epoch,
        seq: head.seq,
    }
}

fn break_view(found: &JournalBreak) -> JournalBreakView {
    let accepted = found.accepted.clone();
    JournalBreakView {
        first_bad: found.first_bad(),
        signed: place(found.claimed),
        digest: found.claimed.digest,
        signed_at: found.signed_at,
        witness: found.witness.clone(),
        found_at: found.found_at,
        detail: found.text(),
        accepted_at: accepted.as_ref().map(|(.., at)| *at),
        accepted_because: accepted.as_ref().map(|(_, why, _)| why.clone()),
        accepted_by: accepted.map(|(who, ..)| who),
    }
}

fn first_bad(epoch: &ScannedEpoch) -> Option<DecisionId> {
    let holes = epoch.holes.iter().map(|(from, _)| *from);
    let end = epoch.head_differs.then_some(epoch.last);
    let seq = holes.chain(epoch.broken).chain(end).min()?;
    Some(DecisionId {
        agent: AgentId::hub(),
        epoch: epoch.epoch,
        seq,
    })
}

/// The comparison, from the node's last words and a scan.
fn compare(node: &AgentId, reported: Option<&Reported>, scan: &Scan) -> VerifyView {
    let mut made: BTreeMap<Epoch, Seq> = BTreeMap::new();
    let mut see = |epoch: Epoch, seq: Seq| {
        let last = made.entry(epoch).or_default();
        *last = seq.max(*last);
    };
    for epoch in &scan.epochs {
        see(epoch.epoch, epoch.last);
    }
    for (epoch, last) in &scan.told {
        see(*epoch, *last);
    }
    if let Some(reported) = reported {
        see(reported.head.epoch, reported.head.seq);
        for (epoch, _, last) in &reported.older {
            see(*epoch, *last);
        }
    }
    let mut detail = Vec::new();
    let mut missing: u64 = 0;
    let mut ends_agree = true;
    for (epoch, last) in &made {
        let found = scan.epochs.iter().find(|scanned| scanned.epoch == *epoch);
        let held = found.map_or(Seq(0), |found| found.last);
        let lacks = last.0.saturating_sub(found.map_or(0, ScannedEpoch::ever));
        missing = missing.saturating_add(lacks);
        if *last > held {
            detail.push(format!("epoch {epoch}: entries {} to {last} are not here", held.next()));
        }
        let head = reported
            .map(|reported| reported.head)
            .filter(|head| head.epoch == *epoch && head.seq == held);
        if let (Some(head), Some(found)) = (head, found)
            && head.digest != found.head
        {
            ends_agree = false;
            detail.push(format!("epoch {epoch}: the node names another digest for entry {held}"));
        }
    }
    scan.epochs.iter().for_each(|epoch| faults(epoch, &mut detail));
    VerifyView {
        node: node.clone(),
        produced: total(made.values().map(|last| last.0)),
        stored: total(scan.epochs.iter().map(|epoch| epoch.count)),
        removed: total(scan.epochs.iter().map(removed)),
        missing,
        double: total(scan.epochs.iter().map(|epoch| epoch.double)),
        chain_ok: ends_agree && scan.epochs.iter().all(ScannedEpoch::chain_ok),
        detail: detail.join("; "),
        as_of: reported.map(|reported| reported.as_of.wall),
        epochs: scan.epochs.iter().map(epoch_view).collect(),
    }
}

/// A sum of numbers that nodes tell.
fn total(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

fn removed(epoch: &ScannedEpoch) -> u64 {
    epoch.floor.map_or(0, |floor| floor.entries)
}

fn faults(epoch: &ScannedEpoch, detail: &mut Vec<String>) {
    let of = epoch.epoch;
    detail.extend(epoch.floor.map(|floor| {
        let (from, entries) = (floor.through.next(), floor.entries);
        format!("epoch {of}: kept from entry {from} on, the {entries} before it had to make room or were too old")
    }));
    detail.extend(
        epoch
            .holes
            .iter()
            .map(|(from, to)| format!("epoch {of}: entries {from} to {to} are missing")),
    );
    detail.extend(
        epoch
            .broken
            .map(|seq| format!("epoch {of}: entry {seq} does not continue the one before it")),
    );
    if epoch.double > 0 {
        detail.push(format!("epoch {of}: {} entries are stored twice", epoch.double));
    }
    if epoch.head_differs {
        detail.push(format!(
            "epoch {of}: the last entry is not the one that was last stored"
        ));
    }
}

fn epoch_view(epoch: &ScannedEpoch) -> EpochView {
    EpochView {
        epoch: epoch.epoch,
        first: epoch.first,
        last: epoch.last,
        count: epoch.count,
        removed: removed(epoch),
        head: epoch.head,
        chain_ok: epoch.chain_ok(),
    }
}

#[cfg(test)]
mod tests {
    use wire::Digest;
    use wire::time::Now;

    use super::*;

    #[test]
    fn whatever_a_node_tells_of_its_journal_has_an_answer() {
        let last = Seq(u64::MAX);
        let reported = Reported {
            as_of: Now::default(),
            head: ChainHead {
                epoch: Epoch(u64::MAX),
                seq: last,
                digest: Digest::ZERO,
            },
            oldest: last,
            older: vec![(Epoch(1), Seq(0), last), (Epoch(2), last, last)],
            holes: Vec::new(),
        };
        let node = AgentId::new("mallory").expect("letters");
        let view = compare(&node, Some(&reported), &Scan::default());
        assert_eq!((view.produced, view.missing), (u64::MAX, u64::MAX));
    }
}
