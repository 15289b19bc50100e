//! How rows look on disk: keys that sort as they are read, values that carry a checksum over table, key and value.
//!
//! Never re-encodes an entry: a segment is the entries' own bytes, each behind its length.
//!
//! Invariant: `open_segment` gives back exactly what `write_segment` was given, and one changed bit anywhere is an error.

use redb::TableDefinition;
use wire::BundleRef;
use wire::entry::RawEntry;
use wire::ids::{AgentId, Digest, Epoch, Seq};

use super::StoreError;

/// All tables have plain bytes on both sides: redb's own types change their encoding with its versions.
pub type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Segments: (agent, epoch, first entry) -> entries.
pub const ENTRIES: Table = Table::new("entries");
/// (agent, epoch) -> `ChainHead`.
pub const HEADS: Table = Table::new("heads");
/// (agent, epoch, first entry of the segment) -> places of the decisions in it.
pub const DECISIONS: Table = Table::new("decisions");
/// Arrival number -> key in [`DECISIONS`].
pub const ARRIVALS: Table = Table::new("arrivals");
/// (agent, epoch, decision / 64) -> pairs (decision, outcome).
pub const OUTCOMES: Table = Table::new("outcomes");
/// (agent, epoch, block) -> telemetry block.
pub const BLOCKS: Table = Table::new("blocks");
/// Arrival number -> (hub's time line in ms, bytes, key in [`BLOCKS`]): the order in which blocks are dropped.
pub const BLOCK_ORDER: Table = Table::new("block-order");
/// Agent -> (epoch, last block stored): outlives the blocks.
pub const BLOCK_HEADS: Table = Table::new("block-heads");
/// Agent -> the core's record.
pub const AGENTS: Table = Table::new("agents");
/// (generation, digest) -> `SignedBundle`.
pub const BUNDLES: Table = Table::new("bundles");
/// Command id -> the core's record.
pub const COMMANDS: Table = Table::new("commands");
/// Name -> value: format, counters, the core's own record, given turns, settings of the shell.
pub const META: Table = Table::new("meta");
/// (kind, id) -> the newest revision of a document.
pub const DOCUMENTS: Table = Table::new("documents");
/// (kind, unique key) -> id of the document that has it.
pub const DOCUMENT_KEYS: Table = Table::new("document-keys");
/// (kind, index, value, id) -> nothing: list indexes, and under [`LIVE`] the documents that are loaded at the start.
pub const DOCUMENT_INDEX: Table = Table::new("document-index");
/// Arrival number -> [`Arrival`]: every segment of every journal in the order in which it was stored.
pub const FEED: Table = Table::new("feed");

/// (agent, epoch, first entry of the segment) -> [`super::prune::Segment`]: what else there is of a segment in [`ENTRIES`].
pub const SEGMENTS: Table = Table::new("segments");
/// (agent, epoch) -> [`super::prune::Floor`]: what of an epoch was removed.
pub const FLOORS: Table = Table::new("floors");
/// Agent -> [`super::prune::Usage`]: what its entries take, the hub's own too.
pub const USAGE: Table = Table::new("usage");

/// Tables that stores of format 1 do not have.
pub const SINCE_2: [Table; 4] = [DOCUMENTS, DOCUMENT_KEYS, DOCUMENT_INDEX, FEED];
/// Tables that stores before format 4 do not have.
pub const SINCE_4: [Table; 3] = [SEGMENTS, FLOORS, USAGE];

/// Every table, so that all exist from the first commit on.
pub const ALL: [Table; 19] = [
    ENTRIES,
    HEADS,
    DECISIONS,
    ARRIVALS,
    OUTCOMES,
    BLOCKS,
    BLOCK_ORDER,
    BLOCK_HEADS,
    AGENTS,
    BUNDLES,
    COMMANDS,
    META,
    DOCUMENTS,
    DOCUMENT_KEYS,
    DOCUMENT_INDEX,
    FEED,
    SEGMENTS,
    FLOORS,
    USAGE,
];

/// Name of the index of live documents; no list index is called that.
pub const LIVE: &str = "@live";

/// Bytes of the checksum: truncated BLAKE3. 64 bits miss one damage in 10^19.
pub const SEAL_BYTES: usize = 8;
/// The B-tree's smallest page, which small rows share.
const PAGE_BYTES: usize = 4 * 1024;
/// Longest page of a segment of several entries: longer ones save little and are read whole for one entry.
const SEGMENT_PAGE_BYTES: usize = 64 * 1024;
/// What a page holds besides a row's value: its own head and the key, at most 80 bytes with the longest node name.
const ROW_OVERHEAD: usize = 128;
/// Decisions whose outcomes share a row: enough that a busy batch touches two rows, few enough that a row stays below 1 KiB.
const OUTCOME_GROUP: u64 = 64;

/// Where [`META`] says who published a bundle: beside it, because the signed bytes do not say it.
pub fn publisher_name(bundle: &BundleRef) -> String {
    // Among the shell's settings, where hubs before this one wrote it.
    format!("set:published-by:{}:{}", bundle.generation, bundle.digest)
}

/// What names of [`META`] begin with under which given turns are kept. Not a table of its own, so that stores of hubs before this
/// one have all that there should be.
const TURNS: &str = "turns:";

/// Where [`META`] keeps the turns that a rule has given: (rule, value). A rule's id holds no zero byte.
pub fn turns_name(rule: &str, value: &str) -> String {
    format!("{TURNS}{rule}\0{value}")
}

/// The first name of given turns, and the first one after all of them.
pub fn turns_span() -> (&'static [u8], &'static [u8]) {
    (TURNS.as_bytes(), b"turns;")
}

/// Rule and value of a name.
pub fn read_turns_name(name: &[u8]) -> Result<(String, String), StoreError> {
    let name = std::str::from_utf8(name).ok();
    let pair = name.and_then(|name| name.strip_prefix(TURNS)?.split_once('\0'));
    let (rule, value) = pair.ok_or(StoreError::DamagedRow { table: "meta" })?;
    Ok((rule.to_owned(), value.to_owned()))
}

/// (agent): sorts before everything of that agent.
pub fn agent_key(agent: &AgentId) -> Vec<u8> {
    // A node name holds no zero byte, so no agent's keys are inside another's.
    let mut key = Vec::with_capacity(agent.as_str().len() + 17);
    key.extend_from_slice(agent.as_str().as_bytes());
    key.push(0);
    key
}

/// The first key after everything of that agent.
pub fn agent_end(agent: &AgentId) -> Vec<u8> {
    let mut key = agent_key(agent);
    key.pop();
    key.push(1);
    key
}

/// (agent, epoch).
pub fn epoch_key(agent: &AgentId, epoch: Epoch) -> Vec<u8> {
    let mut key = agent_key(agent);
    key.extend_from_slice(&epoch.0.to_be_bytes());
    key
}

/// (agent, epoch, place).
pub fn place_key(agent: &AgentId, epoch: Epoch, seq: Seq) -> Vec<u8> {
    let mut key = epoch_key(agent, epoch);
    key.extend_from_slice(&seq.0.to_be_bytes());
    key
}

/// What a segment takes on the disk, about: its pages, and the rows about it in the other tables.
pub fn segment_cost(key: &[u8], bytes: usize) -> u64 {
    let row = key.len() + bytes;
    let alone = row + ROW_OVERHEAD - key.len() > PAGE_BYTES;
    let pages = if alone { row.next_power_of_two() } else { row };
    (pages + 2 * (key.len() + ROW_OVERHEAD)) as u64
}

/// (agent, epoch, group of decisions).
pub fn outcome_key(agent: &AgentId, epoch: Epoch, decision: Seq) -> Vec<u8> {
    place_key(agent, epoch, Seq(decision.0 / OUTCOME_GROUP))
}

/// Everything about outcomes of decisions up to this one: the first key, and the first one after all that are about no later one.
pub fn outcome_span(agent: &AgentId, epoch: Epoch, through: Seq) -> (Vec<u8>, Vec<u8>) {
    let end = outcome_key(agent, epoch, Seq(through.0.saturating_add(1)));
    (epoch_key(agent, epoch), end)
}

/// A key of several parts, none of which holds a zero byte; the core bounds them.
pub fn parts_key(parts: &[&str]) -> Vec<u8> {
    parts.join("\0").into_bytes()
}

/// The parts of such a key.
pub fn read_parts<'a>(table: &'static str, key: &'a [u8]) -> Result<Vec<&'a str>, StoreError> {
    let text = std::str::from_utf8(key).map_err(|_| StoreError::DamagedRow { table })?;
    Ok(text.split('\0').collect())
}

/// Everything that begins with these parts: the first key, and the first one after all of them.
pub fn parts_span(parts: &[&str]) -> (Vec<u8>, Vec<u8>) {
    let mut start = parts_key(parts);
    let mut end = start.clone();
    start.push(0);
    end.push(1);
    (start, end)
}

/// Reads an (agent, epoch, place) key.
pub fn read_place(table: &'static str, key: &[u8]) -> Result<(AgentId, Epoch, Seq), StoreError> {
    let damaged = || StoreError::DamagedRow { table };
    let name_bytes = key.len().checked_sub(17).ok_or_else(damaged)?;
    let name = std::str::from_utf8(&key[..name_bytes]).map_err(|_| damaged())?;
    let number = |at: usize| -> u64 {
        key[at..at + 8]
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte))
    };
    Ok((
        AgentId::owner(name).map_err(|_| damaged())?,
        Epoch(number(name_bytes + 1)),
        Seq(number(name_bytes + 9)),
    ))
}

/// Reads an (agent, epoch) key.
pub fn read_epoch(table: &'static str, key: &[u8]) -> Result<(AgentId, Epoch), StoreError> {
    let damaged = || StoreError::DamagedRow { table };
    let (name, epoch) = key.split_last_chunk::<8>().ok_or_else(damaged)?;
    let name = name.split_last().and_then(|(_, name)| std::str::from_utf8(name).ok());
    let owner = AgentId::owner(name.ok_or_else(damaged)?).map_err(|_| damaged())?;
    Ok((owner, Epoch(u64::from_be_bytes(*epoch))))
}

/// One segment in the order of arrival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival<'a> {
    /// Its key in [`ENTRIES`].
    pub key: &'a [u8],
    /// When it was stored, wall time in milliseconds; 0 where that was not kept.
    pub at_ms: i64,
    /// Entries of all journals that arrived before it.
    pub before: u64,
}

impl<'a> Arrival<'a> {
    /// Its row.
    pub fn row(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(self.key.len() + 16);
        row.extend_from_slice(self.key);
        row.extend_from_slice(&self.at_ms.to_be_bytes());
        row.extend_from_slice(&self.before.to_be_bytes());
        row
    }

    /// Reads a row.
    pub fn read(row: &'a [u8]) -> Result<Self, StoreError> {
        let damaged = || StoreError::DamagedRow { table: "feed" };
        let (rest, before) = row.split_last_chunk::<8>().ok_or_else(damaged)?;
        let (key, at_ms) = rest.split_last_chunk::<8>().ok_or_else(damaged)?;
        Ok(Self {
            key,
            at_ms: i64::from_be_bytes(*at_ms),
            before: u64::from_be_bytes(*before),
        })
    }
}

/// A checksum over table, key and value.
struct Seal(blake3::Hasher);

impl Seal {
    fn new(table: &str, key: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(table.as_bytes());
        hasher.update(&[0, u8::try_from(key.len()).unwrap_or(u8::MAX)]);
        hasher.update(key);
        Self(hasher)
    }

    fn add(&mut self, part: &[u8]) {
        self.0.update(part);
    }

    fn end(self) -> [u8; SEAL_BYTES] {
        let mut seal = [0; SEAL_BYTES];
        seal.copy_from_slice(&self.0.finalize().as_bytes()[..SEAL_BYTES]);
        seal
    }
}

fn checksum(table: &str, key: &[u8], value: &[u8]) -> [u8; SEAL_BYTES] {
    let mut seal = Seal::new(table, key);
    seal.add(value);
    seal.end()
}

/// A value with its checksum behind it.
pub fn seal(table: &str, key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + SEAL_BYTES);
    out.extend_from_slice(value);
    out.extend_from_slice(&checksum(table, key, value));
    out
}

/// The value without its checksum, if that is right.
pub fn unseal<'a>(table: &'static str, key: &[u8], sealed: &'a [u8]) -> Result<&'a [u8], StoreError> {
    let damaged = StoreError::DamagedRow { table };
    let Some((value, found)) = sealed.split_last_chunk::<SEAL_BYTES>() else {
        return Err(damaged);
    };
    if checksum(table, key, value) == *found {
        Ok(value)
    } else {
        Err(damaged)
    }
}

/// Whether a value's checksum is right.
pub fn is_sealed(table: &str, key: &[u8], sealed: &[u8]) -> bool {
    let parts = sealed.split_last_chunk::<SEAL_BYTES>();
    parts.is_some_and(|(value, found)| checksum(table, key, value) == *found)
}

/// Cuts a run of entries into segments that fill the pages they will lie in.
///
/// A row of more than one page lies alone in the next power of two of pages, so a run that would leave more than a quarter of
/// that empty is cut where the power of two below it ends.
pub fn segments(mut raw: &[RawEntry]) -> impl Iterator<Item = &[RawEntry]> {
    std::iter::from_fn(move || {
        let limit = segment_limit(segment_bytes(raw));
        let mut bytes = SEAL_BYTES;
        let mut count = 0;
        for entry in raw {
            bytes += 4 + entry.bytes.len();
            if count > 0 && bytes > limit {
                break;
            }
            count += 1;
        }
        let (segment, rest) = raw.split_at(count);
        raw = rest;
        (count > 0).then_some(segment)
    })
}

/// How long the next segment of a run of this many bytes should be at most.
fn segment_limit(bytes: usize) -> usize {
    let around = (bytes + ROW_OVERHEAD).next_power_of_two();
    let fits_well = around <= PAGE_BYTES || bytes + ROW_OVERHEAD > around / 4 * 3;
    let page = if fits_well { around } else { around / 2 };
    page.min(SEGMENT_PAGE_BYTES) - ROW_OVERHEAD
}

/// Bytes that a segment will take, checksum included.
pub fn segment_bytes(raw: &[RawEntry]) -> usize {
    raw.iter().map(|entry| 4 + entry.bytes.len()).sum::<usize>() + SEAL_BYTES
}

/// Writes a segment straight into its place; `out` is [`segment_bytes`] long.
///
/// Its checksum is over the entries' digests, which are there already, so that the bytes are not hashed twice on their way in.
pub fn write_segment(key: &[u8], raw: &[RawEntry], out: &mut [u8]) {
    let mut seal = Seal::new("entries", key);
    let mut at = 0;
    for entry in raw {
        let length = u32::try_from(entry.bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
        out[at..at + 4].copy_from_slice(&length);
        out[at + 4..at + 4 + entry.bytes.len()].copy_from_slice(&entry.bytes);
        at += 4 + entry.bytes.len();
        seal.add(&length);
        seal.add(&entry.digest.0);
    }
    out[at..].copy_from_slice(&seal.end());
}

/// The entries of a segment, as slices of it, after its checksum was found right.
pub fn open_segment<'a>(key: &[u8], sealed: &'a [u8]) -> Result<Vec<&'a [u8]>, StoreError> {
    let damaged = || StoreError::DamagedRow { table: "entries" };
    let (mut rest, found) = sealed.split_last_chunk::<SEAL_BYTES>().ok_or_else(damaged)?;
    let mut seal = Seal::new("entries", key);
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (entry, after) = after
            .split_at_checked(u32::from_le_bytes(*length) as usize)
            .ok_or_else(damaged)?;
        seal.add(length);
        seal.add(&Digest::of(entry).0);
        entries.push(entry);
        rest = after;
    }
    if seal.end() == *found {
        Ok(entries)
    } else {
        Err(damaged())
    }
}

/// An entry from stored bytes.
pub fn raw_entry(bytes: &[u8]) -> Result<RawEntry, StoreError> {
    RawEntry::from_bytes(bytes.to_vec()).map_err(|_| StoreError::DamagedRow { table: "entries" })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn agent(name: &str) -> AgentId {
        AgentId::new(name).expect("valid")
    }

    fn entry(seq: u64, length: usize) -> RawEntry {
        let mut bytes = wire::codec::encode(&Seq(seq));
        bytes.resize(length.max(bytes.len()), 7);
        RawEntry::from_bytes(bytes).expect("starts with a place")
    }

    #[test]
    fn keys_of_one_agent_are_together_and_in_order() {
        let mut keys = vec![
            place_key(&agent("a"), Epoch(1), Seq(1)),
            place_key(&agent("a"), Epoch(1), Seq(256)),
            place_key(&agent("a"), Epoch(2), Seq(1)),
            agent_end(&agent("a")),
            place_key(&agent("a-b"), Epoch(1), Seq(1)),
            place_key(&agent("a0"), Epoch(1), Seq(1)),
            place_key(&agent("b"), Epoch(1), Seq(1)),
        ];
        let expected = keys.clone();
        keys.sort();
        assert_eq!(keys, expected);
        assert_eq!(
            read_place("entries", &keys[1]).expect("a key"),
            (agent("a"), Epoch(1), Seq(256))
        );
        assert!(read_place("entries", b"short").is_err());
    }

    fn cut(lengths: &[usize]) -> Vec<usize> {
        let raw: Vec<RawEntry> = lengths
            .iter()
            .zip(1..)
            .map(|(length, seq)| entry(seq, *length))
            .collect();
        segments(&raw).map(<[RawEntry]>::len).collect()
    }

    #[test]
    fn large_runs_are_cut_and_a_single_huge_entry_stands_alone() {
        assert_eq!(cut(&[30_000, 30_000, 30_000, 100_000, 10]), [2, 1, 1, 1]);
        assert_eq!(cut(&[]), Vec::<usize>::new());
    }

    #[test]
    fn segments_fill_their_pages() {
        assert_eq!(cut(&[160; 20]), [20], "less than a page");
        assert_eq!(cut(&[160; 180]), [180], "31 KB in a page of 32");
        let pieces = cut(&[160; 102]);
        assert_eq!(pieces, [99, 3], "17 KB as a page of 16 and a small row");
        assert_eq!(cut(&[160; 1_000]).iter().sum::<usize>(), 1_000);
    }

    proptest! {
        #[test]
        fn segments_come_back_whole_and_any_changed_bit_is_found(
            lengths in proptest::collection::vec(1usize..300, 1..20), flip in any::<proptest::sample::Index>(),
        ) {
            let raw: Vec<RawEntry> = lengths.iter().zip(1..).map(|(length, seq)| entry(seq, *length)).collect();
            let key = place_key(&agent("edge-03"), Epoch(1), Seq(1));
            let mut value = vec![0; segment_bytes(&raw)];
            write_segment(&key, &raw, &mut value);
            let opened = open_segment(&key, &value).expect("whole");
            prop_assert!(opened.iter().zip(&raw).all(|(bytes, entry)| *bytes == entry.bytes));
            prop_assert_eq!(opened.len(), raw.len());
            let bit = flip.index(value.len() * 8);
            value[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(open_segment(&key, &value).is_err());
            value[bit / 8] ^= 1 << (bit % 8);
            let elsewhere = place_key(&agent("edge-04"), Epoch(1), Seq(1));
            prop_assert!(open_segment(&elsewhere, &value).is_err());
        }
    }
}
