//! `sentinel-agent status`: how the agent on this machine stands, in a few lines, from its own socket. Works without a hub.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use wire::api::{List, NodeState, NodeView};
use wire::reading::{Unit, human};
use wire::view::span;

use crate::socket;

/// No agent answers.
#[derive(Debug, thiserror::Error)]
#[error("no agent answers at `{}`; start it, or name its settings with --config; `sentinel-agent doctor` looks at more", socket.display())]
pub struct NoAnswer {
    /// Where it was asked.
    pub socket: PathBuf,
    /// How that failed.
    #[source]
    pub cause: io::Error,
}

/// The node's own row.
pub fn ask(socket: &Path) -> io::Result<NodeView> {
    let nodes: List<NodeView> = socket::get_json(socket, "/api/v1/nodes")?;
    nodes
        .items
        .into_iter()
        .next()
        .ok_or_else(|| io::Error::other("the agent does not tell of its own node"))
}

/// The row as text, and whether the node is well.
pub fn text(node: &NodeView) -> (String, bool) {
    let mut text = String::new();
    let mut row = |title: &str, value: String| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{title:<10} {value}");
    };
    row(
        "node",
        format!("{} in {}, version {}", node.name, node.site, node.version),
    );
    row("hub", hub(node));
    row("policy", policy(node));
    let full = if node.journal_ok { "" } else { ", takes no entries" };
    let bytes = |bytes: u64| human(i64::try_from(bytes).unwrap_or(i64::MAX), Unit::Bytes);
    let (used, limit) = (bytes(node.journal_bytes), bytes(node.journal_limit_bytes));
    row("journal", format!("{used} of {limit}{full}"));
    if let Some(who) = &node.held_by {
        row("held", format!("by {who}: only protective actions run"));
    }
    for gpu in &node.gpus {
        let value = |value: Option<i64>, unit| value.map_or_else(|| "—".to_owned(), |value| human(value, unit));
        let (heat, power) = (
            value(gpu.temperature_mc, Unit::MilliCelsius),
            value(gpu.power_mw, Unit::Milliwatt),
        );
        let (cap, used) = (
            value(gpu.power_cap_mw, Unit::Milliwatt),
            value(gpu.used_bp, Unit::BasisPoints),
        );
        row(
            gpu.id.as_str(),
            format!("{}: {heat}, {power} of {cap}, {used} used", gpu.model),
        );
    }
    for workload in &node.workloads {
        let process = workload
            .pid
            .map_or_else(|| "does not run".to_owned(), |pid| format!("process {pid}"));
        row(workload.id.as_str(), process);
    }
    let is_well = node.unhealthy.is_none() && node.journal_ok;
    row("health", node.unhealthy.clone().unwrap_or_else(|| "well".to_owned()));
    for finding in node
        .findings
        .iter()
        .filter(|finding| Some(*finding) != node.unhealthy.as_ref())
    {
        row("finding", finding.clone());
    }
    (text, is_well)
}

fn hub(node: &NodeView) -> String {
    let how = match node.state {
        NodeState::Connected => "connected".to_owned(),
        _ if node.certificate_ends.is_none() => "none: this node has not joined one".to_owned(),
        _ => "not connected: the node works alone".to_owned(),
    };
    match node.backlog_entries {
        0 => how,
        waiting => format!("{how}, {waiting} entries wait"),
    }
}

fn policy(node: &NodeView) -> String {
    match node.policy_generation.0 {
        0 => "none: nothing is judged".to_owned(),
        generation => format!(
            "generation {generation}, {} old, authority {}",
            span(node.policy_age_ms),
            node.authority.name()
        ),
    }
}
