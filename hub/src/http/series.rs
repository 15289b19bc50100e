//! Values over time for charts, read from stored telemetry blocks, with the decisions and the cuts of that time.
//!
//! Never invents a value: a sample that is missing is a gap. Where several samples share a point, the highest value stands, so that
//! no peak is lost.

use std::collections::BTreeMap;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use wire::api::{LineView, NodeState, NodeView, SeriesView};
use wire::entry::{EntryBody, Event};
use wire::ids::{AgentId, Epoch, Seq};
use wire::reading::Series;
use wire::telemetry::Decoder;

use super::answer::{json, node_name, query};
use super::{App, Failure, nodes};
use crate::store::{Store, StoreError, Walk};

/// Points of a chart: about one for each pixel column that people look at.
const POINTS: usize = 600;
/// Usual span: what fits on a screen at one sample a second.
const USUAL_SPAN_MS: i64 = 10 * 60_000;
/// Blocks read for one chart: a day of 10 s blocks.
const MOST_BLOCKS: usize = 9_000;
/// Entries looked through for cuts.
const MOST_ENTRIES: usize = 20_000;
/// Decisions marked in one chart.
const MOST_DECISIONS: usize = 200;

/// Query of `series`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeriesQuery {
    node: Option<String>,
    since_ms: Option<i64>,
}

/// Charts of one node.
pub async fn series(
    State(app): State<App>,
    asked: Result<Query<SeriesQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let asked = query(asked)?;
    let name = asked
        .node
        .ok_or_else(|| Failure::field("/node", "name the node whose values are wanted"))?;
    let node = nodes::known(&app, &node_name(&name)?).await?;
    let since_ms = asked
        .since_ms
        .unwrap_or(app.now().0.saturating_sub(USUAL_SPAN_MS));
    let view = app.read(move |store| read(store, &node, since_ms)).await?;
    Ok(json(&headers, &view))
}

fn read(store: &dyn Store, node: &NodeView, since_ms: i64) -> Result<SeriesView, StoreError> {
    let blocks = store.blocks(&node.name, since_ms, MOST_BLOCKS)?;
    let (at_ms, lines) = chart(&blocks, since_ms, node);
    let page = store.decisions(Some(&node.name), None, MOST_DECISIONS)?;
    let mut decisions: Vec<_> = page
        .rows
        .iter()
        .filter_map(|row| row.story().ok())
        .map(|story| story.view())
        .filter(|decision| decision.at.0 >= since_ms)
        .collect();
    decisions.reverse();
    let mut cuts = cuts(store, &node.name, since_ms)?;
    if node.state != NodeState::Connected
        && let Some(since) = node.state_since
        && cuts.last().is_none_or(|last| last.1.is_some())
    {
        cuts.push((since.0.max(since_ms), None));
    }
    Ok(SeriesView {
        node: node.name.clone(),
        at_ms,
        lines,
        decisions,
        cuts,
    })
}

/// Which lines people want to see without asking: whole devices, not each core, disk and interface.
fn is_shown(series: &Series) -> bool {
    matches!(series.device.class(), "gpu" | "workload" | "node")
}

type Samples = BTreeMap<Series, Vec<(usize, i64)>>;

fn chart(
    blocks: &[(Epoch, Seq, Vec<u8>)],
    since_ms: i64,
    node: &NodeView,
) -> (Vec<i64>, Vec<LineView>) {
    let mut times: Vec<i64> = Vec::new();
    let mut samples = Samples::new();
    let mut decoder = Decoder::new();
    let mut before: Option<(Epoch, Seq)> = None;
    for (epoch, seq, block) in blocks {
        // After a hole only a key block can be read; the decoder says so itself.
        if before != Some((*epoch, Seq(seq.0.wrapping_sub(1)))) {
            decoder = Decoder::new();
        }
        before = Some((*epoch, *seq));
        let read = decoder.read(block, |decoder, at| {
            let later = times.last().is_none_or(|last| at.wall.0 > *last);
            if at.wall.0 < since_ms || !later {
                return;
            }
            times.push(at.wall.0);
            for (series, value) in decoder.series().iter().zip(decoder.latest()) {
                if let (true, Some(value)) = (is_shown(series), value) {
                    match samples.get_mut(series) {
                        Some(line) => line.push((times.len() - 1, *value)),
                        None => {
                            drop(samples.insert(series.clone(), vec![(times.len() - 1, *value)]))
                        }
                    }
                }
            }
        });
        if let Err(error) = read {
            tracing::debug!(node = %node.name, %epoch, %seq, %error, "a telemetry block is not shown");
        }
    }
    let each = times.len().div_ceil(POINTS).max(1);
    let at_ms: Vec<i64> = times.iter().copied().step_by(each).collect();
    let lines = samples
        .into_iter()
        .map(|(series, values)| line(series, &values, each, at_ms.len(), node))
        .collect();
    (at_ms, lines)
}

fn line(
    series: Series,
    values: &[(usize, i64)],
    each: usize,
    points: usize,
    node: &NodeView,
) -> LineView {
    let mut drawn: Vec<Option<i64>> = vec![None; points];
    for (index, value) in values {
        let point = &mut drawn[index / each];
        *point = Some(point.map_or(*value, |highest: i64| highest.max(*value)));
    }
    let simulated = node
        .gpus
        .iter()
        .any(|gpu| gpu.simulated && gpu.id == series.device);
    LineView {
        unit: series.quantity.unit(),
        quantity: series.quantity,
        device: series.device,
        simulated,
        values: drawn,
    }
}

/// Spans in which the node was cut off, as its own journal says, by its own wall clock.
fn cuts(
    store: &dyn Store,
    node: &AgentId,
    since_ms: i64,
) -> Result<Vec<(i64, Option<i64>)>, StoreError> {
    let mut cuts = Vec::new();
    let mut seen = 0;
    let mut connected_at: Option<i64> = None;
    store.walk_back(node, &mut |_, raw| {
        seen += 1;
        let Ok(entry) = raw.decode() else {
            return Walk::Continue(());
        };
        let at_ms = entry.at.wall.0;
        match entry.body {
            EntryBody::Event(Event::Connected {
                away_ms: Some(_), ..
            }) => connected_at = Some(at_ms),
            EntryBody::Event(Event::Disconnected { .. }) => {
                // Without a later `Connected` here, the node may have come back and not told yet: the core knows.
                if let Some(end) = connected_at.take().filter(|end| *end >= since_ms) {
                    cuts.push((at_ms.max(since_ms), Some(end)));
                }
            }
            _ => {}
        }
        if at_ms < since_ms && connected_at.is_none() || seen >= MOST_ENTRIES {
            return Walk::Break(());
        }
        Walk::Continue(())
    })?;
    cuts.reverse();
    Ok(cuts)
}

#[cfg(test)]
mod tests {
    use wire::reading::{DeviceId, Quantity, Reading};
    use wire::telemetry::Encoder;
    use wire::time::{Mono, Now, Wall};

    use super::*;
    use crate::http::tests::node_view;

    fn blocks(samples: i64) -> Vec<(Epoch, Seq, Vec<u8>)> {
        let mut encoder = Encoder::new();
        let mut blocks = Vec::new();
        for second in 0..samples {
            let reading = |device, quantity, value| Reading {
                series: Series::new(device, quantity),
                value: Some(value),
            };
            let core = DeviceId::new("cpu0").expect("valid");
            encoder.observe(&[
                reading(DeviceId::gpu(0), Quantity::GpuTemperature, 40_000 + second),
                reading(core, Quantity::CpuUsed, second),
            ]);
            encoder.sample(Now {
                mono: Mono(second as u64 * 1_000),
                wall: Wall(second * 1_000),
            });
            if second % 10 == 9 || second + 1 == samples {
                let seq = Seq(blocks.len() as u64 + 1);
                blocks.push((Epoch(1), seq, encoder.take_block().expect("has samples")));
            }
        }
        blocks
    }

    #[test]
    fn a_chart_has_a_bounded_number_of_points_and_keeps_the_peaks() {
        let node = node_view("edge-03");
        let (at_ms, lines) = chart(&blocks(1_500), 0, &node);
        assert_eq!(at_ms.len(), 500);
        assert_eq!(lines.len(), 1, "no line for each core");
        assert_eq!(lines[0].values.len(), 500);
        assert_eq!(
            lines[0].values[499],
            Some(41_499),
            "the highest of its three"
        );
        let (at_ms, _) = chart(&blocks(20), 10_000, &node);
        assert_eq!(at_ms.first(), Some(&10_000));
    }

    #[test]
    fn after_a_hole_nothing_is_shown_until_the_next_key_block() {
        let mut blocks = blocks(30);
        blocks.remove(1);
        let (at_ms, _) = chart(&blocks, 0, &node_view("edge-03"));
        assert_eq!(at_ms.last(), Some(&9_000));
    }
}
