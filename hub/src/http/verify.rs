//! Compares what a node last said that it made with what the store really holds, entry by entry.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use hub_core::Reported;
use serde::Deserialize;
use wire::api::{EpochView, List, NodeView, VerifyView};
use wire::ids::{Epoch, Seq};

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
        items.push(compare(&node, reported.as_ref(), &scan));
    }
    Ok(Json(List {
        items,
        next_cursor: None,
    }))
}

/// The comparison, from the node's last words and a scan.
fn compare(node: &NodeView, reported: Option<&Reported>, scan: &Scan) -> VerifyView {
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
    let mut missing = 0;
    let mut ends_agree = true;
    for (epoch, last) in &made {
        let found = scan.epochs.iter().find(|scanned| scanned.epoch == *epoch);
        let held = found.map_or(Seq(0), |found| found.last);
        missing += last.0.saturating_sub(found.map_or(0, |found| found.count));
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
        node: node.name.clone(),
        produced: made.values().map(|last| last.0).sum(),
        stored: scan.epochs.iter().map(|epoch| epoch.count).sum(),
        missing,
        double: scan.epochs.iter().map(|epoch| epoch.double).sum(),
        chain_ok: ends_agree && scan.epochs.iter().all(ScannedEpoch::chain_ok),
        detail: detail.join("; "),
        as_of: reported.map(|reported| reported.as_of.wall),
        epochs: scan.epochs.iter().map(epoch_view).collect(),
    }
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
