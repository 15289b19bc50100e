//! What a shell offers for the names of nodes, targets and decisions: what there is now, asked of the hub or of the nodes themselves.
//!
//! Never delays a prompt for long and never prints a reason: a hub that does not answer within a moment has nothing to offer.
//! Read next: `args.rs` (which words are completed by what).

use std::ffi::OsStr;
use std::time::Duration;

use clap_complete::CompletionCandidate;
use serde::de::DeserializeOwned;
use wire::api::{DecisionView, List, NodeView};

use crate::client::Client;
use crate::context;

/// A person waits for their prompt.
const PATIENCE: Duration = Duration::from_millis(800);
/// Decisions that are offered; more are typed.
const DECISIONS: usize = 50;

/// Names of nodes.
pub fn nodes(typed: &OsStr) -> Vec<CompletionCandidate> {
    offered(typed, all_nodes().into_iter().map(|node| node.name.to_string()))
}

/// Nodes, and the GPUs and workloads of the one that is typed.
pub fn targets(typed: &OsStr) -> Vec<CompletionCandidate> {
    let nodes = all_nodes();
    let named = typed.to_string_lossy().into_owned();
    let Some((name, _)) = named.split_once('/') else {
        return offered(typed, nodes.into_iter().map(|node| node.name.to_string()));
    };
    let node = nodes.into_iter().find(|node| node.name.as_str() == name);
    let ids = node.into_iter().flat_map(|node| {
        let gpus = node.gpus.into_iter().map(|gpu| gpu.id);
        gpus.chain(node.workloads.into_iter().map(|workload| workload.id))
    });
    offered(typed, ids.map(|id| format!("{name}/{id}")))
}

/// The newest decisions.
pub fn decisions(typed: &OsStr) -> Vec<CompletionCandidate> {
    let rows: Vec<DecisionView> = list(&format!("/decisions?limit={DECISIONS}"));
    offered(typed, rows.into_iter().map(|row| row.id.to_string()))
}

fn all_nodes() -> Vec<NodeView> {
    list("/nodes")
}

fn offered(typed: &OsStr, names: impl Iterator<Item = String>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let mut names: Vec<String> = names.filter(|name| name.starts_with(&*typed)).collect();
    names.sort();
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// A list of the hub; where it does not answer, of the nodes whose sockets are known.
fn list<T: DeserializeOwned>(path: &str) -> Vec<T> {
    let given = std::env::var_os("SENTINEL_CONTEXT").map(std::path::PathBuf::from);
    let Ok(found) = context::find(given.as_deref()) else {
        return Vec::new();
    };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    runtime.block_on(async {
        let hub = match Client::hub(&found.context, PATIENCE) {
            Ok(hub) => hub.get::<List<T>>(path).await.ok(),
            Err(_) => None,
        };
        if let Some(list) = hub {
            return list.items;
        }
        let mut all = Vec::new();
        for (name, node) in &found.context.nodes {
            let node = Client::node(name, node.socket.as_ref(), PATIENCE);
            if let Ok(list) = node.get::<List<T>>(path).await {
                all.extend(list.items);
            }
        }
        all
    })
}
