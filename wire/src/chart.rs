//! Turns telemetry blocks and entries into the lines, the time axis and the cut spans of a chart, the same on a hub and on a node.
//!
//! Pure. Never invents a value: a sample that is missing is a gap. Where several samples share a point, the highest value stands,
//! so that no peak is lost.
//!
//! Invariant: a chart has at most [`POINTS`] points, however many samples it is made from.

use std::collections::BTreeMap;

use crate::api::LineView;
use crate::entry::{EntryBody, Event, RawEntry};
use crate::ids::{Epoch, Seq};
use crate::reading::{DeviceId, Series};
use crate::telemetry::Decoder;

/// Points of a chart: about one for each pixel column that people look at.
pub const POINTS: usize = 600;

/// Which lines people want to see without asking: whole devices, not each core, disk and interface.
pub fn is_shown(series: &Series) -> bool {
    matches!(series.device.class(), "gpu" | "workload" | "node")
}

/// The time axis in milliseconds since 1970, and one line for each shown series.
///
/// `blocks` are in order; after a hole nothing is shown until the next key block. `simulated` says which devices a program plays.
pub fn chart<'a>(
    blocks: impl IntoIterator<Item = (Epoch, Seq, &'a [u8])>,
    since_ms: i64,
    simulated: impl Fn(&DeviceId) -> bool,
) -> (Vec<i64>, Vec<LineView>) {
    let mut times: Vec<i64> = Vec::new();
    let mut samples: BTreeMap<Series, Vec<(usize, i64)>> = BTreeMap::new();
    let mut decoder = Decoder::new();
    let mut before: Option<(Epoch, Seq)> = None;
    for (epoch, seq, block) in blocks {
        if before != Some((epoch, Seq(seq.0.wrapping_sub(1)))) {
            decoder = Decoder::new();
        }
        before = Some((epoch, seq));
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
                        None => drop(samples.insert(series.clone(), vec![(times.len() - 1, *value)])),
                    }
                }
            }
        });
        if read.is_err() {
            // It needs a block that is not here: a gap until the next key block.
            before = None;
        }
    }
    let each = times.len().div_ceil(POINTS).max(1);
    let at_ms: Vec<i64> = times.iter().copied().step_by(each).collect();
    let points = at_ms.len();
    let lines = samples
        .into_iter()
        .map(|(series, values)| {
            let simulated = simulated(&series.device);
            line(series, &values, each, points, simulated)
        })
        .collect();
    (at_ms, lines)
}

fn line(series: Series, values: &[(usize, i64)], each: usize, points: usize, simulated: bool) -> LineView {
    let mut drawn: Vec<Option<i64>> = vec![None; points];
    for (index, value) in values {
        let point = &mut drawn[index / each];
        *point = Some(point.map_or(*value, |highest: i64| highest.max(*value)));
    }
    LineView {
        unit: series.quantity.unit(),
        quantity: series.quantity,
        device: series.device,
        simulated,
        values: drawn,
    }
}

/// Finds the spans without a session in a journal that is walked back, newest entry first.
#[derive(Debug)]
pub struct Cuts {
    since_ms: i64,
    connected_at: Option<i64>,
    spans: Vec<(i64, Option<i64>)>,
}

impl Cuts {
    /// Spans that end at or after `since_ms` (milliseconds since 1970).
    pub fn new(since_ms: i64) -> Self {
        Self {
            since_ms,
            connected_at: None,
            spans: Vec::new(),
        }
    }

    /// Looks at the next older entry. `false`: older ones are not needed.
    pub fn look(&mut self, raw: &RawEntry) -> bool {
        let Ok(entry) = raw.decode() else { return true };
        let at_ms = entry.at.wall.0;
        match entry.body {
            EntryBody::Event(Event::Connected { away_ms: Some(_), .. }) => self.connected_at = Some(at_ms),
            EntryBody::Event(Event::Disconnected { .. }) => {
                // Without a later `Connected`, the node may be away still: that is for the caller to know.
                if let Some(end) = self.connected_at.take().filter(|end| *end >= self.since_ms) {
                    self.spans.push((at_ms.max(self.since_ms), Some(end)));
                }
            }
            EntryBody::Event(_)
            | EntryBody::Decided(_)
            | EntryBody::Acted(_)
            | EntryBody::Gap(_)
            | EntryBody::Changed(_) => {}
        }
        at_ms >= self.since_ms || self.connected_at.is_some()
    }

    /// The spans, oldest first; `away_since` adds the one that lasts.
    pub fn finish(mut self, away_since: Option<i64>) -> Vec<(i64, Option<i64>)> {
        self.spans.reverse();
        if let Some(since) = away_since {
            self.spans.push((since.max(self.since_ms), None));
        }
        self.spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{Quantity, Reading};
    use crate::telemetry::Encoder;
    use crate::time::{Mono, Now, Wall};

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
                reading(DeviceId::gpu(0), Quantity::GpuTemperature, 40_000 + 100 * second),
                reading(core, Quantity::CpuUsed, second),
            ]);
            encoder.sample(Now {
                mono: Mono(second as u64 * 1_000),
                wall: Wall(second * 1_000),
            });
            if second % 10 == 9 || second + 1 == samples {
                blocks.push((
                    Epoch(1),
                    Seq(blocks.len() as u64 + 1),
                    encoder.take_block().expect("has samples"),
                ));
            }
        }
        blocks
    }

    fn check(blocks: &[(Epoch, Seq, Vec<u8>)], since_ms: i64) -> (Vec<i64>, Vec<LineView>) {
        let borrowed = blocks
            .iter()
            .map(|(epoch, seq, block)| (*epoch, *seq, block.as_slice()));
        let (at_ms, lines) = chart(borrowed, since_ms, |device| device.class() == "gpu");
        assert!(at_ms.len() <= POINTS);
        assert!(
            lines
                .iter()
                .all(|line| line.values.len() == at_ms.len() && line.simulated)
        );
        (at_ms, lines)
    }

    #[test]
    fn a_chart_has_a_bounded_number_of_points_and_keeps_the_peaks() {
        let (at_ms, lines) = check(&blocks(1_500), 0);
        assert_eq!((at_ms.len(), lines.len()), (500, 1), "no line for each core");
        assert_eq!(lines[0].values[499], Some(189_900), "the highest of its three");
        assert_eq!(check(&blocks(20), 10_000).0.first(), Some(&10_000));
    }

    #[test]
    fn after_a_hole_nothing_is_shown_until_the_next_key_block() {
        let mut blocks = blocks(30);
        blocks.remove(1);
        assert_eq!(check(&blocks, 0).0.last(), Some(&9_000));
    }
}
