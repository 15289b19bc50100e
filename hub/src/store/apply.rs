//! Puts the rows of batches into one open transaction.
//!
//! Never commits. A batch is checked whole before its first row is written, so that a batch that does not fit leaves nothing
//! behind and its neighbours in the same transaction stay.
//!
//! Invariant: a chain's head, its entries and its indexes change in one transaction, and so do a bundle and who published it.

use hub_core::{Batch, Row};
use wire::codec;
use wire::entry::{ChainHead, RawEntry};
use wire::ids::{AgentId, Epoch, Seq};
use wire::time::Wall;

use super::StoreError;
use super::documents::Earlier;
use super::engine::Sorted;
use super::open::Retention;
use super::prune::Segment;
use super::rows::{self, Table, unseal};
use super::tables::{ApplyError, COUNTERS, Counters, Tables, append, decode, put};

/// Outcomes that are listed under the decisions of one row: sixteen of each. A row is read and written whole for each one more, so an
/// agent that names one decision again and again must not make it grow.
const MOST_OUTCOMES: usize = 1_024;

/// Rows that checking and applying these batches will ask for.
pub fn expected(batches: &[Batch]) -> Vec<(Table, Vec<Vec<u8>>)> {
    let meta = COUNTERS.iter().map(|name| name.as_bytes().to_vec()).collect();
    let (mut heads, mut usage, mut outcomes_of, mut blocks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut documents, mut keys) = (Vec::new(), Vec::new());
    for row in batches.iter().flat_map(|batch| &batch.rows) {
        match row {
            Row::Entries {
                agent, epoch, outcomes, ..
            } => {
                heads.push(rows::epoch_key(agent, *epoch));
                usage.push(agent.as_str().as_bytes().to_vec());
                outcomes_of.extend(outcomes.iter().map(|(of, _)| rows::outcome_key(agent, *epoch, *of)));
            }
            Row::Telemetry { agent, epoch, seq, .. } => blocks.push(rows::place_key(agent, *epoch, *seq)),
            Row::Put(put) => {
                documents.push(rows::parts_key(&[put.kind, &put.id]));
                keys.extend(put.unique.iter().map(|unique| rows::parts_key(&[put.kind, unique])));
            }
            Row::Agent { .. } | Row::Bundle { .. } | Row::Command { .. } | Row::Meta(_) | Row::Turns { .. } => {}
        }
    }
    let mut wanted = vec![
        (rows::META, meta),
        (rows::HEADS, heads),
        (rows::USAGE, usage),
        (rows::OUTCOMES, outcomes_of),
        (rows::BLOCKS, blocks),
        (rows::DOCUMENTS, documents),
        (rows::DOCUMENT_KEYS, keys),
    ];
    for (_, keys) in &mut wanted {
        keys.sort_unstable();
        keys.dedup();
    }
    wanted
}

impl Tables<'_> {
    /// Whether every row of the batch follows what is stored (and what was applied before it in this transaction).
    pub fn check(&self, batch: &Batch) -> Result<(), ApplyError> {
        let mut within: Vec<(&AgentId, Epoch, Seq)> = Vec::new();
        let mut earlier = Earlier::new();
        for row in &batch.rows {
            if let Row::Put(row) = row {
                self.check_put(row, (&mut earlier, &batch.rows[..]))?;
            }
            let Row::Entries { agent, epoch, raw, .. } = row else {
                continue;
            };
            let (Some(first), Some(last)) = (raw.first(), raw.last()) else {
                continue;
            };
            let earlier = within
                .iter()
                .rev()
                .find(|(who, which, _)| *who == agent && which == epoch);
            let stored = match earlier {
                Some((_, _, seq)) => *seq,
                None => self.head(agent, *epoch)?.map_or(Seq(0), |head| head.seq),
            };
            let consecutive = raw.windows(2).all(|pair| pair[1].seq == pair[0].seq.next());
            if first.seq <= stored || !consecutive {
                return Err(ApplyError::Refused(StoreError::Order {
                    agent: agent.clone(),
                    epoch: *epoch,
                    first: first.seq,
                    stored,
                }));
            }
            within.push((agent, *epoch, last.seq));
        }
        Ok(())
    }

    /// Writes the rows of a checked batch. An error spoils the whole transaction.
    pub fn apply(&mut self, batch: &Batch, now_ms: u64, wall: Wall) -> Result<(), ApplyError> {
        for row in &batch.rows {
            match row {
                Row::Entries {
                    agent,
                    epoch,
                    raw,
                    decisions,
                    outcomes,
                } => {
                    self.entries((agent, *epoch), raw, decisions, (now_ms, wall))?;
                    self.outcomes(agent, *epoch, outcomes)?;
                }
                Row::Telemetry {
                    agent,
                    epoch,
                    seq,
                    block,
                } => {
                    self.block(agent, *epoch, *seq, block, now_ms)?;
                }
                Row::Agent { agent, record } => {
                    put(&mut self.agents, "agents", agent.as_str().as_bytes(), record)?;
                }
                Row::Bundle { bundle, signed, who } => {
                    let mut key = bundle.generation.0.to_be_bytes().to_vec();
                    key.extend_from_slice(&bundle.digest.0);
                    put(&mut self.bundles, "bundles", &key, &codec::encode(signed))?;
                    if let Some(who) = who {
                        let name = rows::publisher_name(bundle);
                        put(&mut self.meta, "meta", name.as_bytes(), who.as_bytes())?;
                    }
                }
                Row::Command {
                    id,
                    record: Some(record),
                } => {
                    put(&mut self.commands, "commands", &id.0, record)?;
                }
                Row::Command { id, record: None } => {
                    self.commands.remove(&id.0)?;
                }
                Row::Meta(record) => put(&mut self.meta, "meta", b"core", record)?,
                Row::Put(row) => self.put_document(row)?,
                Row::Turns { rule, value, record } => {
                    let name = rows::turns_name(rule, value);
                    match record {
                        Some(record) => put(&mut self.meta, "meta", name.as_bytes(), record)?,
                        None => self.meta.remove(name.as_bytes())?,
                    }
                }
            }
        }
        Ok(())
    }

    /// Drops the oldest telemetry blocks that are too many or too old, a bounded number of them, and writes the counters.
    pub fn finish(&mut self, before: Counters, keep: Retention, now_ms: u64) -> Result<(), ApplyError> {
        let mut held = self.counters.block_bytes;
        let mut gone = Vec::new();
        // Twice what a transaction of 1,024 batches brings in, so that dropping keeps up with storing.
        for row in self.block_order.iter()?.take(2_048) {
            let (key, sealed) = row?;
            let parts = decode("block-order", unseal("block-order", key.value(), sealed.value())?)?;
            let order = BlockOrder::from_parts(parts);
            let too_old = now_ms.saturating_sub(order.at_ms) > keep.telemetry_age_ms;
            if held <= keep.telemetry_bytes && !too_old {
                break;
            }
            held = held.saturating_sub(order.bytes);
            gone.push((key.value().to_vec(), order.key));
        }
        for (order, block) in gone {
            self.blocks.remove(&block)?;
            self.block_order.remove(&order)?;
        }
        self.counters.block_bytes = held;
        if before != self.counters {
            self.put_counters()?;
        }
        Ok(())
    }

    /// Writes the counters.
    pub(super) fn put_counters(&mut self) -> Result<(), ApplyError> {
        let counters = [
            ("arrival", self.counters.arrival),
            ("entries", self.counters.entries),
            ("block-bytes", self.counters.block_bytes),
            ("entry-bytes", self.counters.entry_bytes),
            ("own-bytes", self.counters.own_bytes),
            ("pruned", self.counters.pruned),
        ];
        for (name, counter) in counters {
            put(&mut self.meta, "meta", name.as_bytes(), &counter.to_be_bytes())?;
        }
        Ok(())
    }

    fn head(&self, agent: &AgentId, epoch: Epoch) -> Result<Option<ChainHead>, ApplyError> {
        let key = rows::epoch_key(agent, epoch);
        match self.heads.get(&key[..])? {
            Some(sealed) => Ok(Some(decode("heads", unseal("heads", &key, sealed.value())?)?)),
            None => Ok(None),
        }
    }

    fn entries(
        &mut self,
        (agent, epoch): (&AgentId, Epoch),
        raw: &[RawEntry],
        decisions: &[Seq],
        (now_ms, wall): (u64, Wall),
    ) -> Result<(), ApplyError> {
        let Some(last) = raw.last() else {
            return Ok(());
        };
        let mut decisions = decisions;
        let mut added = 0;
        for segment in rows::segments(raw) {
            let key = rows::place_key(agent, epoch, segment[0].seq);
            let segment_bytes = rows::segment_bytes(segment);
            self.entries
                .append_with(&key, segment_bytes, |place| rows::write_segment(&key, segment, place))?;
            let arrival = self.next_arrival();
            let row = rows::Arrival {
                key: &key,
                at_ms: wall.0,
                before: self.counters.entries,
            };
            append(&mut self.feed, "feed", &arrival, &row.row())?;
            let mut about = Segment {
                arrival: u64::from_be_bytes(arrival),
                listed: None,
                at_ms: now_ms,
                bytes: rows::segment_cost(&key, segment_bytes),
            };
            self.counters.entries += segment.len() as u64;
            let end = segment[segment.len() - 1].seq;
            let (here, later) = decisions.split_at(decisions.partition_point(|seq| *seq <= end));
            decisions = later;
            if !here.is_empty() {
                append(&mut self.decisions, "decisions", &key, &codec::encode(here))?;
                let arrival = self.next_arrival();
                append(&mut self.arrivals, "arrivals", &arrival, &key)?;
                about.listed = Some(u64::from_be_bytes(arrival));
            }
            append(&mut self.segments, "segments", &key, &codec::encode(&about))?;
            added += about.bytes;
        }
        self.uses_more(agent, added)?;
        let head = ChainHead {
            epoch,
            seq: last.seq,
            digest: last.digest,
        };
        put(
            &mut self.heads,
            "heads",
            &rows::epoch_key(agent, epoch),
            &codec::encode(&head),
        )
    }

    fn outcomes(&mut self, agent: &AgentId, epoch: Epoch, pairs: &[(Seq, Seq)]) -> Result<(), ApplyError> {
        let mut rest = pairs;
        while let Some((decision, _)) = rest.first() {
            let key = rows::outcome_key(agent, epoch, *decision);
            let same = rest
                .iter()
                .take_while(|(other, _)| rows::outcome_key(agent, epoch, *other) == key)
                .count();
            let (here, later) = rest.split_at(same);
            rest = later;
            let mut known: Vec<(Seq, Seq)> = match self.outcomes.get(&key[..])? {
                Some(sealed) => decode("outcomes", unseal("outcomes", &key, sealed.value())?)?,
                None => Vec::new(),
            };
            // More are still entries, and are found there.
            let room = MOST_OUTCOMES.saturating_sub(known.len());
            known.extend(here.iter().take(room));
            put(&mut self.outcomes, "outcomes", &key, &codec::encode(&known))?;
        }
        Ok(())
    }

    fn block(&mut self, agent: &AgentId, epoch: Epoch, seq: Seq, block: &[u8], now_ms: u64) -> Result<(), ApplyError> {
        let key = rows::place_key(agent, epoch, seq);
        if self.blocks.get(&key[..])?.is_some() {
            return Ok(());
        }
        append(&mut self.blocks, "blocks", &key, block)?;
        let order = BlockOrder {
            at_ms: now_ms,
            bytes: block.len() as u64,
            key,
        };
        let arrival = self.next_arrival();
        append(
            &mut self.block_order,
            "block-order",
            &arrival,
            &codec::encode(&order.parts()),
        )?;
        self.counters.block_bytes += order.bytes;
        let name = agent.as_str().as_bytes();
        put(
            &mut self.block_heads,
            "block-heads",
            name,
            &codec::encode(&(epoch, seq)),
        )
    }

    fn next_arrival(&mut self) -> [u8; 8] {
        // From 1 on, so that a cursor of 0 is before everything.
        self.counters.arrival += 1;
        self.counters.arrival.to_be_bytes()
    }
}

struct BlockOrder {
    at_ms: u64,
    bytes: u64,
    key: Vec<u8>,
}

impl BlockOrder {
    fn parts(&self) -> (u64, u64, &[u8]) {
        (self.at_ms, self.bytes, &self.key)
    }

    fn from_parts((at_ms, bytes, key): (u64, u64, Vec<u8>)) -> Self {
        Self { at_ms, bytes, key }
    }
}
