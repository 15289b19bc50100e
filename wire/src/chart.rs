//! Turns telemetry blocks and entries into the lines, the time axis and the cut spans of a chart, the same on a hub and on a node.
//!
//! Pure. Never invents a value: a sample that is missing is a gap. Where several samples share a point, the highest and the lowest value
//! stand, so that neither a peak nor a dip is lost.
//!
//! Invariant: a chart has at most [`POINTS`] points and `LINES` lines while it is made and afterwards, and reads at most `VALUES`
//! values, however many samples somebody packed into blocks.

use std::collections::BTreeMap;

use crate::api::LineView;
use crate::entry::{EntryBody, Event, RawEntry};
use crate::ids::{Epoch, Seq};
use crate::reading::{DeviceId, Quantity, Series};
use crate::telemetry::Decoder;

/// Points of a chart: about one for each pixel column that people look at.
pub const POINTS: usize = 600;

/// Lines of a chart: a node with 16 GPUs and a hundred workloads has half as many.
const LINES: usize = 1_024;
/// Values that are read for a chart: a day of 300 series, each new in each second, twice. A small block can hold half a million.
const VALUES: usize = 64 * 1_024 * 1_024;

/// Which lines people want to see without asking: whole devices, not each core, disk and interface.
pub fn is_shown(series: &Series) -> bool {
    matches!(series.device.class(), "gpu" | "workload" | "node")
}

/// Which part of a node's values is drawn, and how finely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// From when on, in milliseconds since 1970.
    pub since_ms: i64,
    /// Until when.
    pub until_ms: i64,
    /// Most points; never more than [`POINTS`], never fewer than two.
    pub points: usize,
    /// Only lines of this quantity.
    pub only: Option<Quantity>,
}

impl Extent {
    /// Everything since then, as finely as it goes.
    pub const fn since(since_ms: i64) -> Self {
        Self {
            since_ms,
            until_ms: i64::MAX,
            points: POINTS,
            only: None,
        }
    }
}

/// The time axis in milliseconds since 1970, and one line for each shown series.
///
/// `blocks` are in order; after a hole nothing is shown until the next key block. `simulated` says which devices a program plays.
pub fn chart<'a>(
    blocks: impl IntoIterator<Item = (Epoch, Seq, &'a [u8])>,
    extent: Extent,
    simulated: impl Fn(&DeviceId) -> bool,
) -> (Vec<i64>, Vec<LineView>) {
    let mut drawing = Drawing::of(extent);
    let mut decoder = Decoder::new();
    let mut before: Option<(Epoch, Seq)> = None;
    let mut left = VALUES;
    for (epoch, seq, block) in blocks {
        if before != Some((epoch, Seq(seq.0.wrapping_sub(1)))) {
            decoder = Decoder::new();
        }
        before = Some((epoch, seq));
        let holds = decoder.values_in(block);
        left = match left.checked_sub(holds.unwrap_or(0)) {
            Some(left) => left,
            None => break,
        };
        let read = decoder.read(block, |decoder, at| {
            if (extent.since_ms..=extent.until_ms).contains(&at.wall.0) {
                drawing.sample(decoder, at.wall.0);
            }
        });
        if read.is_err() {
            // It needs a block that is not here: a gap until the next key block.
            before = None;
        }
    }
    drawing.finish(simulated)
}

/// The highest and the lowest sample of each point.
#[derive(Debug, Default)]
struct Band {
    high: Vec<Option<i64>>,
    low: Vec<Option<i64>>,
}

/// A chart while it is made: never more than its points, each of so many samples that all have room.
#[derive(Debug)]
struct Drawing {
    points: usize,
    only: Option<Quantity>,
    at_ms: Vec<i64>,
    /// Samples of a full point, as a power of two.
    each: u32,
    /// Samples of the last point.
    last: u64,
    newest_ms: Option<i64>,
    lines: BTreeMap<Series, Band>,
}

impl Drawing {
    fn of(extent: Extent) -> Self {
        Self {
            points: extent.points.clamp(2, POINTS),
            only: extent.only,
            at_ms: Vec::new(),
            each: 0,
            last: 0,
            newest_ms: None,
            lines: BTreeMap::new(),
        }
    }

    fn shows(&self, series: &Series) -> bool {
        is_shown(series) && self.only.is_none_or(|only| only == series.quantity)
    }

    /// Adds a sample, unless it is older than the one before.
    fn sample(&mut self, decoder: &Decoder, at_ms: i64) {
        if self.newest_ms.is_some_and(|newest| at_ms <= newest) {
            return;
        }
        self.newest_ms = Some(at_ms);
        if self.at_ms.is_empty() || self.last == 1 << self.each {
            self.next_point(at_ms);
        }
        self.last += 1;
        let point = self.at_ms.len() - 1;
        for (series, value) in decoder.series().iter().zip(decoder.latest()) {
            let (true, Some(value)) = (self.shows(series), value) else {
                continue;
            };
            if !self.lines.contains_key(series) && self.lines.len() < LINES {
                self.lines.insert(series.clone(), Band::default());
            }
            if let Some(Band { high, low }) = self.lines.get_mut(series) {
                high.resize(point + 1, None);
                low.resize(point + 1, None);
                high[point] = high[point].max(Some(*value));
                low[point] = Some(low[point].map_or(*value, |least| least.min(*value)));
            }
        }
    }

    fn next_point(&mut self, at_ms: i64) {
        if self.at_ms.len() == self.points {
            self.each += 1;
            self.at_ms = self.at_ms.iter().copied().step_by(2).collect();
            for Band { high, low } in self.lines.values_mut() {
                *high = high
                    .chunks(2)
                    .map(|pair| pair.iter().flatten().copied().max())
                    .collect();
                *low = low.chunks(2).map(|pair| pair.iter().flatten().copied().min()).collect();
            }
        }
        self.at_ms.push(at_ms);
        self.last = 0;
    }

    fn finish(self, simulated: impl Fn(&DeviceId) -> bool) -> (Vec<i64>, Vec<LineView>) {
        let (points, single) = (self.at_ms.len(), self.each == 0);
        let lines = self.lines.into_iter().map(
            |(
                series,
                Band {
                    high: mut values,
                    mut low,
                },
            )| {
                values.resize(points, None);
                low.resize(points, None);
                if single {
                    low.clear();
                }
                LineView {
                    unit: series.quantity.unit(),
                    quantity: series.quantity,
                    simulated: simulated(&series.device),
                    device: series.device,
                    values,
                    low,
                }
            },
        );
        let lines = lines.collect();
        (self.at_ms, lines)
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
    use crate::reading::Reading;
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
        let (at_ms, lines) = chart(borrowed, Extent::since(since_ms), |device| device.class() == "gpu");
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
        assert_eq!((at_ms.len(), lines.len()), (375, 1), "no line for each core");
        assert_eq!((at_ms[1], lines[0].values[1]), (4_000, Some(40_700)));
        assert_eq!(lines[0].values[374], Some(189_900), "the highest of its four");
        assert_eq!(lines[0].low[374], Some(189_600), "and the lowest");
        let (at_ms, lines) = check(&blocks(20), 10_000);
        assert_eq!(at_ms.first(), Some(&10_000));
        assert!(lines[0].low.is_empty(), "each point is one sample");
    }

    #[test]
    fn a_part_is_drawn_as_finely_as_it_is_asked_for() {
        let blocks = blocks(600);
        let borrowed = || {
            blocks
                .iter()
                .map(|(epoch, seq, block)| (*epoch, *seq, block.as_slice()))
        };
        let part = Extent {
            since_ms: 100_000,
            until_ms: 199_000,
            points: 25,
            only: Some(Quantity::GpuTemperature),
        };
        let (at_ms, lines) = chart(borrowed(), part, |_| true);
        // A hundred samples in at most 25 points: eight share each.
        assert_eq!((at_ms.first(), at_ms.len(), lines.len()), (Some(&100_000), 14, 1));
        assert_eq!((lines[0].low[0], lines[0].values[0]), (Some(50_000), Some(50_700)));
        let other = Extent {
            only: Some(Quantity::GpuPower),
            ..part
        };
        assert!(chart(borrowed(), other, |_| true).1.is_empty());
    }

    #[test]
    fn names_that_change_all_the_time_make_no_more_lines() {
        let mut encoder = Encoder::new();
        let blocks = (0..3u32).map(|round| {
            let mut encoder = std::mem::take(&mut encoder);
            encoder.require_key();
            let readings = (0..1_000).map(|index| Reading {
                series: Series::new(DeviceId::gpu(round * 1_000 + index), Quantity::GpuTemperature),
                value: Some(50_000),
            });
            encoder.observe(&readings.collect::<Vec<_>>());
            let at = u64::from(round);
            encoder.sample(Now {
                mono: Mono(at),
                wall: Wall(i64::from(round)),
            });
            (Epoch(1), Seq(at + 1), encoder.take_block().expect("a sample"))
        });
        let blocks: Vec<_> = blocks.collect();
        assert_eq!(check(&blocks, 0).1.len(), LINES);
    }

    #[test]
    fn after_a_hole_nothing_is_shown_until_the_next_key_block() {
        let mut blocks = blocks(30);
        blocks.remove(1);
        assert_eq!(check(&blocks, 0).0.last(), Some(&9_000));
    }
}
