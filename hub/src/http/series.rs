//! Values over time for charts, read from stored telemetry blocks, with the decisions and the cuts of that time.
//!
//! Read next: `wire/src/chart.rs`, which draws for hubs and nodes alike.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use wire::api::{NodeState, NodeView, SeriesView};
use wire::chart::{Cuts, Extent, chart};
use wire::reading::DeviceId;
use wire_http::SeriesQuery;

use super::answer::{json, node_name, query};
use super::{App, Failure, nodes};
use crate::store::{Store, StoreError, Walk};

/// Usual span: what fits on a screen at one sample a second.
const USUAL_SPAN_MS: i64 = 10 * 60_000;
/// Blocks read for one chart: a day of 10 s blocks.
const MOST_BLOCKS: usize = 9_000;
/// Entries looked through for cuts.
const MOST_ENTRIES: usize = 20_000;
/// Decisions marked in one chart.
const MOST_DECISIONS: usize = 200;

/// Charts of one node.
pub async fn series(
    State(app): State<App>,
    asked: Result<Query<SeriesQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let asked = query(asked)?;
    let extent = asked.extent(app.now().0.saturating_sub(USUAL_SPAN_MS));
    let name = asked
        .node
        .ok_or_else(|| Failure::field("/node", "name the node whose values are wanted"))?;
    let node = nodes::known(&app, &node_name(&name)?).await?;
    let view = app.read(move |store| read(store, &node, extent)).await?;
    Ok(json(&headers, &view))
}

fn read(store: &dyn Store, node: &NodeView, extent: Extent) -> Result<SeriesView, StoreError> {
    let since_ms = extent.since_ms;
    let blocks = store.blocks(&node.name, since_ms, MOST_BLOCKS)?;
    let simulated = |device: &DeviceId| node.gpus.iter().any(|gpu| gpu.simulated && gpu.id == *device);
    let borrowed = blocks
        .iter()
        .map(|(epoch, seq, block)| (*epoch, *seq, block.as_slice()));
    let (at_ms, lines) = chart(borrowed, extent, simulated);
    let page = store.decisions(Some(&node.name), None, MOST_DECISIONS)?;
    let mut decisions: Vec<_> = page
        .rows
        .iter()
        .filter_map(|row| row.story().ok())
        .map(|story| story.view())
        .filter(|decision| (since_ms..=extent.until_ms).contains(&decision.at.0))
        .collect();
    decisions.reverse();
    let (mut cuts, mut seen) = (Cuts::new(since_ms), 0);
    store.walk_back(&node.name, &mut |_, raw| {
        seen += 1;
        if cuts.look(raw) && seen < MOST_ENTRIES {
            Walk::Continue(())
        } else {
            Walk::Break(())
        }
    })?;
    // The core knows of a cut that lasts before the node can tell.
    let away = node.state != NodeState::Connected;
    let away_since = node.state_since.filter(|_| away).map(|since| since.0);
    Ok(SeriesView {
        node: node.name.clone(),
        at_ms,
        lines,
        decisions,
        cuts: cuts.finish(away_since),
    })
}
