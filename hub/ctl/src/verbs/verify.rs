//! `verify`: each node's journal against the hub's store, entry by entry.
//!
//! The hub counts what it stores; the node's own socket, where the context knows one and it answers, says what it produced. The
//! node is asked first: entries on their way then never look missing, and those made in between are waited for.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use wire::AgentId;
use wire::api::{List, NodeState, NodeView, VerifyView};

use crate::args::Verify;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Row as _, few, say};
use crate::rows::whole;
use crate::session::Session;

/// How long entries of a connected node may be on their way: several group commits.
const ON_THEIR_WAY: Duration = Duration::from_secs(5);
/// How long `--wait` waits when `--timeout` does not say: a node that was cut off long comes back within a minute.
const CATCHING_UP: Duration = Duration::from_secs(120);
/// Between two looks: a group commit.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// What a node's own socket said.
type Own = BTreeMap<AgentId, Result<VerifyView, Failure>>;

/// `sentinel verify`. Ends `degraded` unless every journal is wholly at the hub.
pub async fn run(session: &Session, verify: &Verify, output: &mut Output) -> Result<Exit, Failure> {
    let hub = session.hub()?;
    let patience = match verify.wait {
        true => CATCHING_UP,
        false => ON_THEIR_WAY,
    };
    let deadline = Instant::now() + session.timeout.unwrap_or(patience);
    let (rows, nodes) = loop {
        let rows = compare(session, &hub, verify.node.as_ref()).await?;
        let nodes = match rows.iter().all(whole) {
            true => Vec::new(),
            false => hub.get::<List<NodeView>>("/nodes").await?.items,
        };
        if Instant::now() >= deadline || !worth_waiting(&nodes, &rows, verify.wait) {
            break (rows, nodes);
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    };
    output.list(&rows)?;
    let (line, exit) = conclusion(&rows, &nodes);
    match output.for_people() {
        true => output.bytes(format!("{line}\n").as_bytes())?,
        false => say(&line),
    }
    Ok(exit)
}

/// What all of it comes to. A journal whose newest entries are still at its node is not broken: it catches up.
fn conclusion(rows: &[VerifyView], nodes: &[NodeView]) -> (String, Exit) {
    let (late, broken): (Vec<&VerifyView>, Vec<&VerifyView>) =
        rows.iter().filter(|row| !whole(row)).partition(|row| only_late(row));
    let broken: Vec<String> = broken
        .into_iter()
        .map(|row| {
            let chain = if row.chain_ok { "" } else { ", chain broken" };
            format!("{} ({} missing, {} double{chain})", row.name(), row.missing, row.double)
        })
        .collect();
    let late: Vec<String> = late.into_iter().map(|row| catching_up(row, nodes)).collect();
    match (broken.is_empty(), late.is_empty()) {
        (true, true) => match rows.iter().map(|row| row.removed).fold(0, u64::saturating_add) {
            0 => ("produced = stored, 0 missing, 0 double".to_owned(), Exit::Ok),
            removed => (
                format!("produced = stored + {removed} removed, 0 missing, 0 double"),
                Exit::Ok,
            ),
        },
        (true, false) => (
            format!(
                "not whole yet: {}; wait for it with `sentinel verify --wait`",
                few(&late)
            ),
            Exit::Degraded,
        ),
        (false, _) => (format!("not equal: {}", few(&broken)), Exit::Degraded),
    }
}

fn catching_up(row: &VerifyView, nodes: &[NodeView]) -> String {
    let state = nodes.iter().find(|node| node.name == row.node).map(|node| node.state);
    match state {
        Some(NodeState::Connected) | None => format!("{} is catching up, {} entries to go", row.name(), row.missing),
        Some(state) => format!(
            "{} is {}, and {} of its entries wait there",
            row.name(),
            state.name().replace('_', " "),
            row.missing
        ),
    }
}

/// Nothing is double or broken: entries have not arrived yet.
fn only_late(row: &VerifyView) -> bool {
    row.double == 0 && row.chain_ok
}

/// Whether all that is wrong is what time mends: newest entries of connected nodes; with `--wait`, of all nodes.
fn worth_waiting(nodes: &[NodeView], rows: &[VerifyView], all: bool) -> bool {
    let late: Vec<&VerifyView> = rows.iter().filter(|row| !whole(row)).collect();
    let connected = |row: &&VerifyView| {
        nodes
            .iter()
            .any(|node| node.name == row.node && node.state == NodeState::Connected)
    };
    late.iter().all(|row| only_late(row)) && late.iter().any(|row| all || connected(row))
}

async fn compare(session: &Session, hub: &Client, node: Option<&AgentId>) -> Result<Vec<VerifyView>, Failure> {
    let mut own = Own::new();
    for client in session.nodes() {
        let Some(name) = client.node.clone() else { continue };
        if node.is_none_or(|node| *node == name) {
            let said = client.get::<List<VerifyView>>("/verify").await;
            let said = said.and_then(|list| {
                let row = list.items.into_iter().next();
                row.ok_or_else(|| Failure::new(Exit::Failure, "the node says nothing of itself"))
            });
            own.insert(name, said);
        }
    }
    let path = match node {
        Some(node) => format!("/verify?node={node}"),
        None => "/verify".to_owned(),
    };
    let stored: List<VerifyView> = hub.get(&path).await?;
    let mut rows: Vec<VerifyView> = stored
        .items
        .into_iter()
        .map(|row| {
            let said = own.remove(&row.node);
            joined(row, said)
        })
        .collect();
    // What is left answers on this machine, and the hub has never heard of it.
    rows.extend(own.into_values().flatten().map(unheard));
    rows.sort_by(|a, b| a.node.cmp(&b.node));
    Ok(rows)
}

fn unheard(own: VerifyView) -> VerifyView {
    VerifyView {
        stored: 0,
        missing: own.produced,
        double: 0,
        detail: "the hub does not know this node".to_owned(),
        ..own
    }
}

/// The hub's row, corrected by what the node itself says.
fn joined(mut row: VerifyView, own: Option<Result<VerifyView, Failure>>) -> VerifyView {
    let own = match own {
        Some(Ok(own)) => own,
        Some(Err(_)) => {
            add(&mut row.detail, "its own socket does not answer; as the hub last heard");
            return row;
        }
        None => return row,
    };
    row.produced = row.produced.max(own.produced);
    let distinct = row.stored.saturating_sub(row.double).saturating_add(row.removed);
    let missing = row.produced.saturating_sub(distinct);
    if missing > row.missing {
        row.missing = missing;
        add(&mut row.detail, &format!("{missing} entries are at the node only"));
    }
    if !own.chain_ok {
        row.chain_ok = false;
        add(&mut row.detail, &format!("in the node's journal: {}", own.detail));
    }
    for there in &row.epochs {
        let here = own
            .epochs
            .iter()
            .find(|here| here.epoch == there.epoch && here.last == there.last);
        if here.is_some_and(|here| here.head != there.head) {
            row.chain_ok = false;
            add(
                &mut row.detail,
                &format!(
                    "entry {}.{} is not the same at the node and at the hub",
                    there.epoch, there.last
                ),
            );
        }
    }
    row
}

fn add(detail: &mut String, more: &str) {
    if !detail.is_empty() {
        detail.push_str("; ");
    }
    detail.push_str(more);
}

#[cfg(test)]
mod tests {
    use wire::api::EpochView;
    use wire::{Digest, Epoch, Seq};

    use super::*;

    /// A row from `produced stored double`, and the first letter of its last entry.
    fn row(produced: u64, stored: u64, double: u64, head: &[u8]) -> VerifyView {
        VerifyView {
            node: AgentId::new("edge-03").expect("valid"),
            produced,
            stored,
            removed: 0,
            missing: 0,
            double,
            chain_ok: true,
            detail: String::new(),
            as_of: None,
            epochs: vec![EpochView {
                epoch: Epoch(1),
                first: Seq(1),
                last: Seq(9),
                count: 9,
                removed: 0,
                head: Digest::of(head),
                chain_ok: true,
            }],
        }
    }

    fn check(hub: VerifyView, own: VerifyView, expected: &str) {
        let row = joined(hub, Some(Ok(own)));
        let told = format!(
            "{} {} {} {} {}",
            row.produced, row.stored, row.missing, row.double, row.chain_ok
        );
        assert_eq!(told, expected, "{}", row.detail);
    }

    #[test]
    fn the_node_itself_says_what_it_produced() {
        check(row(9, 9, 0, b"a"), row(9, 9, 0, b"a"), "9 9 0 0 true");
        check(row(9, 9, 0, b"a"), row(12, 12, 0, b"a"), "12 9 3 0 true");
        check(row(9, 10, 1, b"a"), row(9, 9, 0, b"a"), "9 10 0 1 true");
        let cut = |produced, stored, removed| VerifyView {
            removed,
            ..row(produced, stored, 0, b"a")
        };
        check(cut(9, 4, 5), row(9, 9, 0, b"a"), "9 4 0 0 true");
        check(cut(9, 4, 5), row(12, 12, 0, b"a"), "12 4 3 0 true");
        check(row(12, 12, 0, b"a"), row(9, 9, 0, b"a"), "12 12 0 0 true");
        check(row(9, 9, 0, b"a"), row(9, 9, 0, b"b"), "9 9 0 0 false");
    }

    #[test]
    fn the_last_line_says_whether_all_is_well() {
        assert_eq!(
            conclusion(&[row(9, 9, 0, b"a")], &[]),
            ("produced = stored, 0 missing, 0 double".to_owned(), Exit::Ok)
        );
        // What had to make room at the hub is not missing.
        let cut = VerifyView {
            removed: 5,
            ..row(9, 4, 0, b"a")
        };
        let line = "produced = stored + 5 removed, 0 missing, 0 double".to_owned();
        assert_eq!(conclusion(&[cut], &[]), (line, Exit::Ok));
        let (line, exit) = conclusion(&[row(9, 10, 1, b"a")], &[]);
        assert_eq!(
            (line.as_str(), exit),
            ("not equal: edge-03 (0 missing, 1 double)", Exit::Degraded)
        );
        // What has not come yet is not lost.
        let late = VerifyView {
            missing: 6,
            ..row(15, 9, 0, b"a")
        };
        let (line, exit) = conclusion(&[late], &[]);
        assert_eq!(exit, Exit::Degraded);
        assert_eq!(
            line,
            "not whole yet: edge-03 is catching up, 6 entries to go; wait for it with `sentinel verify --wait`"
        );
    }
}
