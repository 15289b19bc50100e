//! `/api/v1/metrics`: the latest values of every node, for sites that Prometheus cannot reach but the hub can.
//!
//! The families are the agent's own (OpenTelemetry's names for hardware), with the node as a label. A value is as old as
//! `sentinel_sync_age_seconds` of its node says: a dashboard shows it grey rather than as news. Behind the door, because it names nodes.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use wire::api::{GpuView, NodeView};
use wire::exposition::{Kind, Page};

use super::{Failure, STATES, answer, format};
use crate::http::App;

/// `GET /api/v1/metrics`.
pub async fn fleet(State(app): State<App>, headers: HeaderMap) -> Result<Response, Failure> {
    let format = format(&headers);
    let nodes = app.hub.nodes().await?;
    let mut page = Page::new();
    of_nodes(&mut page, &nodes);
    of_hosts(&mut page, &nodes);
    of_gpus(&mut page, &nodes);
    Ok(answer(format, page.text(format)))
}

fn of_nodes(page: &mut Page, nodes: &[NodeView]) {
    let states = page.family(
        "sentinel_node_state",
        Kind::Gauge,
        "1 for the state that the node is in, else 0.",
    );
    for node in nodes {
        for state in STATES {
            let labels = [
                ("node", node.name.as_str()),
                ("site", &node.site),
                ("state", state.name()),
            ];
            states.count(&labels, u64::from(node.state == state));
        }
    }
    each(
        page,
        nodes,
        "sentinel_sync_age_seconds",
        "Time since the node was heard.",
        |node| {
            node.age_ms
                .map(|age_ms| std::time::Duration::from_millis(age_ms).as_secs_f64())
        },
    );
    let help = "Entries that the node is known to have made and this hub has not stored.";
    each(page, nodes, "sentinel_sync_backlog_entries", help, |node| {
        Some(float(node.backlog_entries))
    });
    each(
        page,
        nodes,
        "sentinel_policy_generation",
        "Generation of the node's active bundle.",
        |node| Some(float(node.policy_generation.0)),
    );
    each(
        page,
        nodes,
        "sentinel_journal_bytes",
        "Bytes that the node's journal occupies.",
        |node| Some(float(node.journal_bytes)),
    );
}

fn of_hosts(page: &mut Page, nodes: &[NodeView]) {
    let help = "Share of the node's CPU time that was not idle.";
    each(page, nodes, "system_cpu_utilization_ratio", help, |node| {
        node.cpu_used_bp.map(ratio)
    });
    each(
        page,
        nodes,
        "system_memory_utilization_ratio",
        "Share of the node's memory in use.",
        |node| node.memory_used_bp.map(ratio),
    );
}

fn of_gpus(page: &mut Page, nodes: &[NodeView]) {
    let help = "Share of time that the GPU was busy.";
    each_gpu(page, nodes, "hw_gpu_utilization_ratio", help, |gpu| {
        gpu.used_bp.map(ratio)
    });
    each_gpu(page, nodes, "hw_temperature_celsius", "Core temperature.", |gpu| {
        gpu.temperature_mc.map(thousandth)
    });
    each_gpu(page, nodes, "hw_power_watts", "Power drawn.", |gpu| {
        gpu.power_mw.map(thousandth)
    });
    each_gpu(page, nodes, "hw_power_limit_watts", "Power cap in force.", |gpu| {
        gpu.power_cap_mw.map(thousandth)
    });
}

fn each(page: &mut Page, nodes: &[NodeView], name: &str, help: &str, value: impl Fn(&NodeView) -> Option<f64>) {
    let family = page.family(name, Kind::Gauge, help);
    for node in nodes {
        if let Some(value) = value(node) {
            family.value(&[("node", node.name.as_str()), ("site", &node.site)], value);
        }
    }
}

fn each_gpu(page: &mut Page, nodes: &[NodeView], name: &str, help: &str, value: impl Fn(&GpuView) -> Option<f64>) {
    let family = page.family(name, Kind::Gauge, help);
    for (node, gpu) in nodes
        .iter()
        .flat_map(|node| node.gpus.iter().map(move |gpu| (node, gpu)))
    {
        let labels = [
            ("node", node.name.as_str()),
            ("site", &node.site),
            ("hw_type", "gpu"),
            ("hw_id", &gpu.id.to_string()),
            ("hw_model", &gpu.model),
            ("simulated", if gpu.simulated { "true" } else { "false" }),
        ];
        if let Some(value) = value(gpu) {
            family.value(&labels, value);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a page shows floats")]
fn float(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "readings are far below 2^53")]
fn ratio(basis_points: i64) -> f64 {
    basis_points as f64 / 10_000.0
}

#[expect(clippy::cast_precision_loss, reason = "readings are far below 2^53")]
fn thousandth(value: i64) -> f64 {
    value as f64 / 1_000.0
}
