//! Power cuts at every write and sync: what was reported as stored is there, whole, and nothing else is.
//!
//! The disk is a model: writes since the last sync may be kept, lost, reordered or torn at 512 bytes.

use std::sync::{Arc, Mutex, MutexGuard};

use hub_core::{Batch, Quota, Spared, Token};
use redb::StorageBackend;

use super::engine::{Database, Snapshot, Sorted};
use super::group::{CommitId, Group, Moment, write_group};
use super::open::{Retention, initialise, open_backend};
use super::prune::Segment;
use super::read::{self, recover};
use super::rows;
use super::suite::{Chain, agent, some_bundle};
use super::tables::{Counters, Tables};
use super::verify::{ScannedEpoch, scan};
use super::writer::Job;

type IoResult<T> = std::io::Result<T>;

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

#[derive(Debug, Default)]
pub struct Platter {
    live: Vec<u8>,
    pub durable: Vec<u8>,
    pending: Vec<Change>,
    operations: u64,
    crash_at: Option<u64>,
    full_at: Option<u64>,
    pub syncs: u64,
    pub fail_sync: Option<u64>,
    /// The sync that did all that it should, and whose answer is lost.
    pub lose_answer: Option<u64>,
    dead: bool,
}

impl Platter {
    fn step(&mut self) -> IoResult<()> {
        self.operations += 1;
        self.dead |= self.crash_at == Some(self.operations);
        if self.dead {
            Err(std::io::Error::other("power cut"))
        } else {
            Ok(())
        }
    }

    fn room(&self) -> IoResult<()> {
        match self.full_at {
            Some(at) if self.operations >= at => Err(std::io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, data) => {
            let at = usize::try_from(*at).expect("small");
            if bytes.len() < at + data.len() {
                bytes.resize(at + data.len(), 0);
            }
            bytes[at..at + data.len()].copy_from_slice(data);
        }
        Change::Length(length) => bytes.resize(usize::try_from(*length).expect("small"), 0),
    }
}

#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<Platter>>);

impl Disk {
    pub fn of(image: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Platter {
            live: image.clone(),
            durable: image,
            ..Platter::default()
        })))
    }

    pub fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().expect("no test thread failed")
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> IoResult<u64> {
        Ok(self.platter().live.len() as u64)
    }

    fn read(&self, at: u64, out: &mut [u8]) -> IoResult<()> {
        let platter = self.platter();
        let at = usize::try_from(at).expect("small");
        let found = platter
            .live
            .get(at..at + out.len())
            .ok_or(std::io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, length: u64) -> IoResult<()> {
        let mut platter = self.platter();
        platter.step()?;
        platter.room()?;
        let change = Change::Length(length);
        apply(&mut platter.live, &change);
        platter.pending.push(change);
        Ok(())
    }

    fn sync_data(&self) -> IoResult<()> {
        let mut platter = self.platter();
        platter.step()?;
        platter.syncs += 1;
        if platter.fail_sync == Some(platter.syncs) {
            // As Linux does: the pages are clean now, and their content is lost.
            platter.pending.clear();
            return Err(std::io::Error::other("sync failed"));
        }
        platter.durable = platter.live.clone();
        platter.pending.clear();
        match platter.lose_answer == Some(platter.syncs) {
            true => Err(std::io::Error::other("the answer is lost")),
            false => Ok(()),
        }
    }

    fn write(&self, at: u64, data: &[u8]) -> IoResult<()> {
        let mut platter = self.platter();
        platter.step()?;
        platter.room()?;
        let change = Change::Write(at, data.to_vec());
        apply(&mut platter.live, &change);
        platter.pending.push(change);
        Ok(())
    }
}

/// Few states are enough: the order of draws is all that a seed changes.
struct Coin(u64);

impl Coin {
    fn flip(&mut self) -> bool {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 63 == 1
    }
}

#[derive(Debug, Clone, Copy)]
enum Loss {
    All,
    Nothing,
    Some(u64),
    Torn(u64),
}

fn image(platter: &Platter, loss: Loss) -> Vec<u8> {
    let mut bytes = platter.durable.clone();
    let mut coin = Coin(match loss {
        Loss::Some(seed) | Loss::Torn(seed) => seed.wrapping_add(platter.operations << 16),
        Loss::All | Loss::Nothing => 0,
    });
    for change in &platter.pending {
        match (loss, change) {
            (Loss::All, _) => {}
            (Loss::Nothing, change) => apply(&mut bytes, change),
            (Loss::Torn(_), Change::Write(at, data)) => {
                for (index, sector) in data.chunks(512).enumerate() {
                    if coin.flip() {
                        apply(&mut bytes, &Change::Write(at + 512 * index as u64, sector.to_vec()));
                    }
                }
            }
            (_, change) => {
                if coin.flip() {
                    apply(&mut bytes, change);
                }
            }
        }
    }
    bytes
}

const COMMITS: u64 = 8;
/// The first commit in which something has to make room.
const CUT: u64 = 3;

/// A store on a fresh disk, as it is after its first rename.
pub fn fresh() -> Vec<u8> {
    let disk = Disk::default();
    let database = redb::Database::builder()
        .create_with_backend(disk.clone())
        .expect("a working disk");
    let database = Database::Redb(database);
    initialise(&database).unwrap_or_else(|error| panic!("{error:?}"));
    if let Database::Redb(database) = database {
        database.close().expect("a working disk");
    }
    disk.platter().durable.clone()
}

/// Commits batches of two agents until the disk fails; returns how many commits were reported as stored.
fn work(disk: &Disk) -> u64 {
    let Ok(database) = open_backend(disk.clone(), false) else {
        return 0;
    };
    let mut chains = [Chain::new("edge-01", 1), Chain::new("edge-02", 1)];
    let mut stored = 0;
    for commit in 1..=COMMITS {
        let mut group = Group::default();
        let (signed, bundle) = some_bundle(commit);
        for chain in &mut chains {
            // Small and large segments in turn, so that both kinds of pages are torn.
            let raw = chain.notes(if commit % 3 == 0 { 150 } else { 6 });
            let first = raw[0].seq.0;
            let rows = vec![
                chain.marked(raw, &[first], &[(first, first + 1)]),
                hub_core::Row::Agent {
                    agent: chain.agent.clone(),
                    record: commit.to_be_bytes().to_vec(),
                },
                hub_core::Row::Bundle {
                    bundle,
                    signed: signed.clone(),
                    who: Some(format!("ann {commit}")),
                },
            ];
            group.push(Job::Batch(
                Batch {
                    token: Token(commit),
                    rows,
                },
                0,
            ));
        }
        // From the third commit on there is more than may stay, and the cut falls into the same transaction.
        let (answer, _told) = std::sync::mpsc::sync_channel(1);
        let quota = Quota {
            bytes: 16 * 1024,
            age_ms: u64::MAX,
        };
        let cut = move |tables: &mut Tables<'_>| {
            let moment = (commit, wire::time::Wall(1));
            tables.prune(quota, &Spared::default(), moment).map(|_| true)
        };
        group.push(Job::Edit(Box::new(cut), answer));
        let moment = Moment {
            commit: CommitId {
                writer: 1,
                number: commit,
            },
            now_ms: commit,
            wall: wire::time::Wall(0),
            clock: None,
            keep: Retention::default(),
        };
        let Ok(written) = write_group(&database, group, moment) else {
            break;
        };
        assert!(written.verdicts.stored().iter().all(|one| one.outcome.is_stored()));
        stored = commit;
    }
    // A power cut runs no destructor.
    std::mem::forget(database);
    stored
}

fn check(bytes: Vec<u8>, stored: u64, what: &str) {
    let database = open_backend(Disk::of(bytes), true).unwrap_or_else(|error| panic!("{what}: {error}"));
    let read = database.begin_read().expect("opened");
    let recovered = recover(&read).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let commits: Vec<u64> = recovered
        .agents
        .iter()
        .map(|agent| u64::from_be_bytes(agent.record[..].try_into().expect("eight bytes")))
        .collect();
    let commit = commits.first().copied().unwrap_or(0);
    assert!(
        commits.iter().all(|one| *one == commit),
        "{what}: a torn commit {commits:?}"
    );
    assert!(
        commit >= stored && commit <= stored + 1,
        "{what}: {stored} were stored, {commit} are there"
    );
    for generation in 1..=COMMITS {
        let (_, bundle) = some_bundle(generation);
        let found = read::bundle(&read, &bundle).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let who =
            read::setting(&read, &rows::publisher_name(&bundle)).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let expected = (generation <= commit).then(|| format!("ann {generation}").into_bytes());
        assert_eq!((found.is_some(), who), (expected.is_some(), expected), "{what}");
    }
    counted(&read, what);
    for name in ["edge-01", "edge-02"] {
        let scan = scan(&read, &agent(name)).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let wanted: u64 = (1..=commit).map(|n| if n % 3 == 0 { 150 } else { 6 }).sum();
        let found: u64 = scan.epochs.iter().map(ScannedEpoch::ever).sum();
        assert_eq!(found, wanted, "{what}");
        let is_cut = scan.epochs.iter().any(|epoch| epoch.floor.is_some());
        assert_eq!(is_cut, commit >= CUT, "{what}");
        assert!(
            scan.epochs
                .iter()
                .all(|epoch| epoch.chain_ok() && epoch.holes.is_empty()),
            "{what}"
        );
    }
}

/// What is written down about segments is so: each has its entries and its place in the order of arrival, nothing else has, and their
/// sizes add up.
fn counted(read: &Snapshot, what: &str) {
    let table = |table| read.open_table(table).expect("it is there");
    let (entries, feed) = (table(rows::ENTRIES), table(rows::FEED));
    let (mut bytes, mut segments) = (0, 0);
    for row in table(rows::SEGMENTS).iter().expect("whole") {
        let (key, sealed) = row.expect("whole");
        let value = rows::unseal("segments", key.value(), sealed.value()).expect("whole");
        let about: Segment = wire::codec::decode(value).expect("a segment");
        assert!(entries.get(key.value()).expect("whole").is_some(), "{what}");
        let arrival = about.arrival.to_be_bytes();
        assert!(feed.get(&arrival[..]).expect("whole").is_some(), "{what}");
        bytes += about.bytes;
        segments += 1;
    }
    let count = |table: &super::engine::Rows<'_>| table.iter().expect("whole").count();
    assert_eq!((count(&entries), count(&feed)), (segments, segments), "{what}");
    assert_eq!(count(&table(rows::DECISIONS)), count(&table(rows::ARRIVALS)), "{what}");
    let counters = Counters::read(&table(rows::META)).expect("whole");
    assert_eq!(counters.entry_bytes, bytes, "{what}");
}

fn total_operations(start: &[u8]) -> u64 {
    let disk = Disk::of(start.to_vec());
    assert_eq!(work(&disk), COMMITS);
    disk.platter().operations
}

#[test]
fn a_power_cut_at_any_moment_loses_nothing_that_was_reported() {
    let start = fresh();
    for crash_at in 1..=total_operations(&start) {
        let disk = Disk::of(start.clone());
        disk.platter().crash_at = Some(crash_at);
        let stored = work(&disk);
        let platter = disk.platter();
        for loss in [
            Loss::All,
            Loss::Nothing,
            Loss::Some(1),
            Loss::Some(2),
            Loss::Torn(1),
            Loss::Torn(2),
            Loss::Torn(3),
        ] {
            check(image(&platter, loss), stored, &format!("cut at {crash_at}, {loss:?}"));
        }
    }
}

#[test]
fn a_sync_that_fails_reports_nothing_as_stored() {
    let start = fresh();
    let disk = Disk::of(start.clone());
    work(&disk);
    let syncs = disk.platter().syncs;
    for sync in 1..=syncs {
        let disk = Disk::of(start.clone());
        disk.platter().fail_sync = Some(sync);
        let stored = work(&disk);
        let durable = disk.platter().durable.clone();
        check(durable, stored, &format!("sync {sync} failed"));
    }
}

#[test]
fn a_disk_that_fills_up_leaves_a_whole_store() {
    let start = fresh();
    for full_at in 1..=total_operations(&start) {
        let disk = Disk::of(start.clone());
        disk.platter().full_at = Some(full_at);
        let stored = work(&disk);
        let live = disk.platter().live.clone();
        check(live, stored, &format!("full at {full_at}"));
    }
}
