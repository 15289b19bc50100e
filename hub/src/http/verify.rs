//! Compares what a node last said that it made with what the store really holds, entry by entry.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use hub_core::Reported;
use serde::Deserialize;
use wire::api::{AuditCheckView, EpochView, List, VerifyView};
use wire::ids::{AgentId, DecisionId, Epoch, Seq};

use super::answer::{node_name, query};
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
    let row = compare(&AgentId::hub(), None, &scan);
    Ok(Json(AuditCheckView {
        ok: row.chain_ok && row.missing == 0 && row.double == 0,
        entries: row.stored,
        first_bad: scan.epochs.iter().find_map(first_bad),
        detail: row.detail,
    }))
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
        let lacks = last.0.saturating_sub(found.map_or(0, |found| found.count));
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

fn faults(epoch: &ScannedEpoch, detail: &mut Vec<String>) {
    let of = epoch.epoch;
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
        head: epoch.head,
        chain_ok: epoch.chain_ok(),
    }
}

#[cfg(test)]
mod tests {
    use wire::Digest;
    use wire::entry::ChainHead;
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
