//! Readings to blocks.

use std::collections::BTreeMap;

use super::kept::{kept, steps, value};
use super::{DIFFERENCE, HAS_MISSING, KEY, MAX_SERIES};
use crate::codec::{self, put_varint, zigzag};
use crate::reading::{Reading, Series};
use crate::time::Now;

/// Collects readings and turns them into blocks.
#[derive(Debug, Clone, Default)]
pub struct Encoder {
    ids: BTreeMap<Series, u32>,
    names: Vec<Series>,
    /// Values as the last block left them, rounded.
    last: Vec<Option<i64>>,
    /// Values as the readings left them.
    current: Vec<Option<i64>>,
    /// Dictionary entries that no block has carried yet start here.
    announced: usize,
    rows: Vec<Row>,
    key: bool,
    /// Series that were dropped because the dictionary is full.
    refused: u64,
}

/// One sample of the open block; series that are younger than it are missing in it.
#[derive(Debug, Clone)]
struct Row {
    at: Now,
    values: Vec<Option<i64>>,
}

/// The parts of a block that are laid one behind the other.
#[derive(Default)]
struct Columns {
    changed: Vec<u8>,
    forms: Vec<u8>,
    present: Vec<u8>,
    differences: Vec<u8>,
}

impl Encoder {
    /// An encoder whose first block is a key block.
    pub fn new() -> Self {
        Self {
            key: true,
            ..Self::default()
        }
    }

    /// Makes the next block a key block: after a gap, and after every reconnect. Samples already taken stay in it.
    pub fn require_key(&mut self) {
        if self.rows.is_empty() {
            self.key = true;
        }
    }

    /// How many samples wait in the open block.
    pub fn samples(&self) -> usize {
        self.rows.len()
    }

    /// How many readings were dropped because there are [`MAX_SERIES`] series already.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Notes readings; they are part of the next [`Encoder::sample`].
    pub fn observe(&mut self, readings: &[Reading]) {
        for reading in readings {
            let id = match self.ids.get(&reading.series) {
                Some(id) => *id as usize,
                None if self.names.len() >= MAX_SERIES => {
                    self.refused += 1;
                    continue;
                }
                None => {
                    let id = self.names.len();
                    self.ids.insert(reading.series.clone(), id as u32);
                    self.names.push(reading.series.clone());
                    self.current.push(None);
                    id
                }
            };
            self.current[id] = reading.value;
        }
    }

    /// Closes one sample.
    pub fn sample(&mut self, now: Now) {
        let values = self.current.clone();
        self.rows.push(Row { at: now, values });
    }

    /// Takes the open block, or `None` when it holds no sample.
    pub fn take_block(&mut self) -> Option<Vec<u8>> {
        let rows = std::mem::take(&mut self.rows);
        let start = rows.first()?.at;
        if self.key {
            self.last.clear();
            self.announced = 0;
        }
        self.last.resize(self.names.len(), None);
        let mut out = vec![if self.key { KEY } else { DIFFERENCE }];
        put_varint(&mut out, start.mono.0);
        put_varint(&mut out, zigzag(start.wall.0));
        let new_names = &self.names[self.announced..];
        put_varint(&mut out, self.announced as u64);
        put_varint(&mut out, new_names.len() as u64);
        for series in new_names {
            out.extend_from_slice(&codec::encode(series));
        }
        put_varint(&mut out, rows.len() as u64);
        let mut before = start.mono.0;
        for row in &rows {
            put_varint(&mut out, row.at.mono.0.saturating_sub(before));
            before = row.at.mono.0;
        }
        let columns = self.columns(&rows);
        out.extend_from_slice(&columns.changed);
        out.extend_from_slice(&columns.forms);
        out.extend_from_slice(&columns.present);
        out.extend_from_slice(&columns.differences);
        self.announced = self.names.len();
        self.key = false;
        Some(out)
    }

    fn columns(&mut self, rows: &[Row]) -> Columns {
        let mut columns = Columns {
            changed: vec![0; self.names.len().div_ceil(8)],
            ..Columns::default()
        };
        for (index, series) in self.names.iter().enumerate() {
            let column = rows.iter().map(|row| row.values.get(index).copied().flatten());
            let most = column.clone().flatten().map(i64::unsigned_abs).max().unwrap_or(0);
            let power = kept(series.quantity).power(most);
            let last = self.last[index];
            let rounded = |found: Option<i64>| found.map(|found| value(steps(found, power), power));
            if column.clone().all(|found| rounded(found) == last) {
                continue;
            }
            columns.changed[index / 8] |= 1 << (index % 8);
            columns.add(column, last.unwrap_or(0), power, rows.len());
            let newest = rows.last().and_then(|row| row.values.get(index).copied().flatten());
            self.last[index] = rounded(newest);
        }
        columns
    }
}

impl Columns {
    fn add(&mut self, column: impl Iterator<Item = Option<i64>> + Clone, last: i64, power: u32, samples: usize) {
        // At most 18, so that the flag beside it is free.
        let mut form = power as u8;
        if column.clone().any(|found| found.is_none()) {
            form |= HAS_MISSING;
            let from = self.present.len();
            self.present.resize(from + samples.div_ceil(8), 0);
            for (place, _) in column.clone().enumerate().filter(|(_, found)| found.is_some()) {
                self.present[from + place / 8] |= 1 << (place % 8);
            }
        }
        self.forms.push(form);
        let mut before = steps(last, power);
        for found in column.flatten() {
            let found = steps(found, power);
            put_varint(&mut self.differences, zigzag(found.wrapping_sub(before)));
            before = found;
        }
    }
}
