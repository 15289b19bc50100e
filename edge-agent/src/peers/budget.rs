//! What was carried for each neighbour today, in a file of the state folder, so that no restart gives anybody a second day.
//!
//! The file says what counts as used after a crash: a little more than what is (`wire/transport/src/tunnel/allowance.rs`), so that it is
//! written a hundred times a day at most for a neighbour that uses all of it, and not at all for one that is carried no more.
//!
//! A day is kept by its beginning on this machine's clock. One that was set back makes it longer, by what it was set back and by a day at
//! most; one that was set forward ends it. Invariant: the file is replaced whole, or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use wire::time::Wall;
use wire::{AgentId, Digest, codec};
use wire_transport::{Kept, Used};

const FILE: &str = "carried-today";
const DAY_MS: i64 = 24 * 3_600 * 1_000;
/// Names in the file: the members of a few sites, and those that left them within a day.
const MAX_NAMES: usize = 1_024;

/// One neighbour's day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    bytes: u64,
    packets: u64,
    /// When the day began, in milliseconds since 1970 on this machine's clock.
    began_ms: i64,
}

/// Where it is.
#[derive(Debug, Clone)]
pub struct Budgets(PathBuf);

impl Budgets {
    /// In that state folder.
    pub fn new(state_dir: &Path) -> Self {
        Self(state_dir.join(FILE))
    }

    /// What counts as used of days that are not over. A damaged file says nothing, and the log that it is. Blocks on the disk.
    pub fn load(&self, wall: Wall, now: Instant) -> BTreeMap<AgentId, Kept> {
        let records = match fs::read(&self.0) {
            Ok(bytes) => unseal(&bytes).unwrap_or_else(|| {
                tracing::warn!(path = %self.0.display(), "damaged: what was carried for neighbours today is not known, their day begins anew");
                BTreeMap::new()
            }),
            Err(_) => BTreeMap::new(),
        };
        let one = |(agent, record): (AgentId, Record)| {
            let age_ms = wall.0.saturating_sub(record.began_ms).max(0);
            let age = Duration::from_millis(age_ms.unsigned_abs());
            let used = Used {
                bytes: record.bytes,
                packets: record.packets,
            };
            let began = now.checked_sub(age).unwrap_or(now);
            (age_ms < DAY_MS).then_some((agent, Kept { used, began }))
        };
        records.into_iter().filter_map(one).collect()
    }

    /// Replaces the file. Blocks on the disk.
    pub fn store(&self, kept: &BTreeMap<AgentId, Kept>, wall: Wall, now: Instant) -> io::Result<()> {
        let one = |(agent, kept): (&AgentId, &Kept)| {
            let age = now.saturating_duration_since(kept.began).as_millis();
            let age_ms = i64::try_from(age).unwrap_or(i64::MAX);
            let record = Record {
                bytes: kept.used.bytes,
                packets: kept.used.packets,
                began_ms: wall.0.saturating_sub(age_ms),
            };
            (age_ms < DAY_MS).then(|| (agent.clone(), record))
        };
        let records: BTreeMap<AgentId, Record> = kept.iter().filter_map(one).take(MAX_NAMES).collect();
        wire_files::replace(&self.0, &seal(&records))
    }
}

/// BLAKE3 of the rest, then the rest.
fn seal(records: &BTreeMap<AgentId, Record>) -> Vec<u8> {
    let body = codec::encode(records);
    let mut bytes = Digest::of(&body).0.to_vec();
    bytes.extend_from_slice(&body);
    bytes
}

fn unseal(bytes: &[u8]) -> Option<BTreeMap<AgentId, Record>> {
    let (digest, body) = bytes.split_first_chunk::<32>()?;
    let is_whole = Digest::of(body).0 == *digest;
    codec::decode(body).ok().filter(|_| is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(bytes: u64, began: Instant) -> BTreeMap<AgentId, Kept> {
        let used = Used { bytes, packets: 3 };
        let name = AgentId::new("edge-03").expect("a name");
        [(name, Kept { used, began })].into()
    }

    #[test]
    fn a_day_goes_on_in_the_next_process_and_ends_when_it_is_over() {
        let state = tempfile::tempdir().expect("a folder");
        let (budgets, now, hour) = (Budgets::new(state.path()), Instant::now(), 3_600_000);
        let start = Wall(1_800_000_000_000);
        assert!(budgets.load(start, now).is_empty());
        budgets.store(&kept(7, now), start, now).expect("stored");
        let later = |hours: i64| budgets.load(Wall(start.0 + hours * hour), now).into_values().next();
        let hours = |kept: Option<Kept>| kept.map(|kept| (kept.used.bytes, (now - kept.began).as_secs() / 3_600));
        assert_eq!(hours(later(5)), Some((7, 5)));
        assert_eq!(hours(later(24)), None);
        assert_eq!(
            hours(later(-100)),
            Some((7, 0)),
            "a clock that was set back begins it anew, and gives nothing"
        );
    }

    #[test]
    fn a_damaged_file_says_nothing() {
        let state = tempfile::tempdir().expect("a folder");
        let (budgets, now, wall) = (Budgets::new(state.path()), Instant::now(), Wall(1_800_000_000_000));
        budgets.store(&kept(7, now), wall, now).expect("stored");
        let mut bytes = fs::read(&budgets.0).expect("a file");
        bytes[40] ^= 1;
        fs::write(&budgets.0, bytes).expect("written");
        assert!(budgets.load(wall, now).is_empty());
    }
}
