//! The journal against a model: power loss at every I/O operation, failing syncs, full disks, damaged and emptied files.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};

use edge_agent_core::{AppendError, Batch, Floor, Loaded, Log, Token};
use redb::StorageBackend;
use tokio::sync::mpsc;
use wire::entry::{Entry, EntryBody, Event};
use wire::{Digest, Epoch, Mono, Now, RawEntry, Seq, Wall};

use super::disk::{builder, guarded};
use super::store::{Store, StoreError, create_tables};
use super::{Done, Journal, JournalError, Opened, Reader};
use crate::clock::SavedClock;

const LIMIT: u64 = 1 << 20;

// ---- power loss ----

#[test]
fn a_power_loss_at_any_operation_loses_nothing_that_was_reported() {
    let whole = Machine::default();
    assert_eq!(workload(&whole), 12);
    let operations = whole.lock().operations;
    for crash_at in 1..=operations {
        let machine = Machine::default();
        machine.lock().crash_at = Some(crash_at);
        let reported = workload(&machine);
        for (tear, seed) in [
            (Tear::Nothing, 0),
            (Tear::All, 0),
            (Tear::Sectors, 1),
            (Tear::Sectors, 2),
        ] {
            let image = machine.lock().image(tear, crash_at * 7 + seed);
            check_image(image, reported, &format!("operation {crash_at}, {tear:?} {seed}"));
        }
    }
    assert!(operations > 60, "{operations} operations are too few to mean anything");
}

#[test]
fn a_failed_sync_is_reported_and_taken_back() {
    let whole = Machine::default();
    workload(&whole);
    let syncs = whole.lock().syncs;
    for fail_sync_at in 4..=syncs {
        for written_all_the_same in [false, true] {
            let machine = Machine::default();
            let mut store = machine.begin();
            machine.lock().fail_sync_at = Some((fail_sync_at, written_all_the_same));
            let mut reported = 0;
            for number in 1..=12 {
                match store.commit(&[batch(number)], &[], clock()) {
                    Ok(_) => reported = number,
                    Err(StoreError::Io(_)) => break,
                    Err(other) => panic!("{other}"),
                }
            }
            store.detach();
            machine.lock().fail_sync_at = None;
            let db = machine.open().expect("opens again");
            store.resume(Arc::new(db)).expect("resumes");
            assert_eq!(entries(&store).len() as u64, reported * 3, "sync {fail_sync_at}");
            for number in reported + 1..=12 {
                store
                    .commit(&[batch(number)], &[], clock())
                    .expect("the disk is well again");
            }
            assert_eq!(entries(&store), model(12));
        }
    }
}

#[test]
fn a_commit_whose_answer_is_lost_is_looked_up_before_anybody_is_told() {
    let whole = Machine::default();
    workload(&whole);
    let syncs = whole.lock().syncs;
    let (mut kept, mut lost) = (0, 0);
    for fail_sync_at in 4..=syncs {
        for written_all_the_same in [false, true] {
            let machine = Machine::default();
            let mut store = machine.begin();
            machine.lock().fail_sync_at = Some((fail_sync_at, written_all_the_same));
            let what = format!("sync {fail_sync_at}, written {written_all_the_same}");
            let mut number = 1;
            while number <= 12 {
                match store.commit(&[batch(number)], &[], clock()) {
                    Ok(_) => number += 1,
                    Err(StoreError::Io(_)) => {
                        store.detach();
                        let db = Arc::new(machine.open().expect("opens again"));
                        let is_there = store.resolve(db).expect("can be read").is_some();
                        let found = entries(&store).len() as u64;
                        assert_eq!(found, (number - 1 + u64::from(is_there)) * 3, "{what}");
                        // What is there is not given again, what is not comes once more, byte for byte.
                        number += u64::from(is_there);
                        (kept, lost) = (kept + u64::from(is_there), lost + u64::from(!is_there));
                    }
                    Err(other) => panic!("{what}: {other}"),
                }
            }
            assert_eq!(entries(&store), model(12), "{what}");
            store.detach();
            let again = Store::read(Arc::new(machine.open().expect("opens")), LIMIT).expect("whole");
            assert_eq!(
                again.state(),
                store.state(),
                "{what}: what is remembered is what is there"
            );
        }
    }
    assert!(kept > 0 && lost > 0, "{kept} kept, {lost} lost");
}

#[test]
fn a_full_disk_is_told_and_later_appends_work_again() {
    let whole = Machine::default();
    workload(&whole);
    let operations = whole.lock().operations;
    for full_at in (20..operations).step_by(3) {
        let machine = Machine::default();
        let mut store = machine.begin();
        machine.lock().full_at = Some(full_at);
        let mut number = 1;
        while number <= 12 {
            match store.commit(&[batch(number)], &[], clock()) {
                Ok(_) => number += 1,
                Err(StoreError::Full) => {
                    machine.lock().full_at = None;
                    store.detach();
                    store.resume(Arc::new(machine.open().expect("opens"))).expect("resumes");
                }
                Err(other) => panic!("operation {full_at}: {other}"),
            }
        }
        assert_eq!(entries(&store), model(12), "operation {full_at}");
    }
}

#[test]
fn a_batch_that_does_not_follow_is_refused() {
    let machine = Machine::default();
    let mut store = machine.begin();
    store.commit(&[batch(1)], &[], clock()).expect("first");
    assert_eq!(store.commit(&[batch(3)], &[], clock()), Err(StoreError::Unordered));
    store.commit(&[batch(2), batch(3)], &[], clock()).expect("in order");
    assert_eq!(entries(&store), model(3));
}

// ---- the bound ----

#[test]
fn released_rows_make_room_oldest_first_and_needed_ones_never() {
    let machine = Machine::default();
    let mut store = machine.begin();
    let mut number = 0;
    let refused = loop {
        number += 1;
        let mut full = batch(number);
        full.telemetry = Some((Seq(number), vec![7; 20_000]));
        match store.commit(&[full], &[], clock()) {
            Ok(trimmed) => assert_eq!(trimmed, []),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StoreError::OverLimit { .. }), "{refused}");
    // Without telemetry there is still room, for instance for the gap entry.
    store
        .commit(&[batch(number)], &[], clock())
        .expect("entries have a reserve");
    let released = [(Log::Telemetry, Epoch(1), Seq(10)), (Log::Entries, Epoch(1), Seq(6))];
    let needed = store.state().needed_bytes();
    let mut next = batch(number + 1);
    next.telemetry = Some((Seq(number), vec![7; 20_000]));
    let trimmed = store.commit(&[next], &released, clock()).expect("there is room now");
    assert!(store.state().needed_bytes() < needed - 150_000);
    assert_eq!(
        trimmed.first().map(|(log, epoch, _)| (*log, *epoch)),
        Some((Log::Telemetry, Epoch(1)))
    );
    assert_eq!(entries(&store).len() as u64, (number + 1) * 3, "no entry had to go");
}

#[test]
fn what_is_released_stays_until_space_is_needed() {
    let machine = Machine::default();
    let mut store = machine.begin();
    for number in 1..=60 {
        let mut one = batch(number);
        one.telemetry = Some((Seq(number), vec![7; 1_000]));
        let released = [
            (Log::Telemetry, Epoch(1), Seq(number - 1)),
            (Log::Entries, Epoch(1), Seq(number * 3 - 3)),
        ];
        let trimmed = store.commit(&[one], &released, clock()).expect("written");
        assert_eq!(trimmed, [], "batch {number}");
    }
    let reader = Reader::new(store.database().expect("open"));
    let blocks = reader.telemetry(Epoch(1), Seq(1), usize::MAX).expect("read");
    assert_eq!(blocks.len(), 60, "acknowledged telemetry is still there");
    assert_eq!(entries(&store), model(60));
}

#[test]
fn shedding_removes_what_is_named_and_nothing_else() {
    let machine = Machine::default();
    let mut store = machine.begin();
    for number in 1..=6 {
        let mut one = batch(number);
        one.telemetry = Some((Seq(number), vec![number as u8; 100]));
        store.commit(&[one], &[], clock()).expect("written");
    }
    store.shed(Epoch(1), Seq(4), clock()).expect("shed");
    let reader = Reader::new(store.database().expect("open"));
    assert_eq!(reader.telemetry(Epoch(1), Seq(4), 1_000).expect("read"), []);
    let left = reader.telemetry(Epoch(1), Seq(5), 1_000).expect("read");
    assert_eq!(left, [(Seq(5), vec![5; 100]), (Seq(6), vec![6; 100])]);
    assert_eq!(entries(&store), model(6));
}

#[test]
fn loads_begin_inside_a_row_and_respect_their_bound() {
    let machine = Machine::default();
    let mut store = machine.begin();
    for number in 1..=4 {
        store.commit(&[batch(number)], &[], clock()).expect("written");
    }
    let reader = Reader::new(store.database().expect("open"));
    let seqs = |from, bytes| -> Vec<u64> {
        let found = reader.entries(Epoch(1), Seq(from), bytes).expect("read");
        found.iter().map(|entry| entry.seq.0).collect()
    };
    assert_eq!(seqs(5, usize::MAX), [5, 6, 7, 8, 9, 10, 11, 12]);
    assert_eq!(seqs(5, 0), [5]);
    assert_eq!(seqs(13, usize::MAX), [0; 0]);
    assert_eq!(reader.entries(Epoch(2), Seq(1), 100).expect("read"), []);
    let mut back = Vec::new();
    let newest = reader.backward(Some((Epoch(1), Seq(8))), |_, entry| {
        back.push(entry.seq.0);
        if back.len() == 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    newest.expect("read");
    assert_eq!(back, [7, 6, 5]);
    assert_eq!(reader.epochs(), Ok(vec![(Epoch(1), Seq(1), Seq(12))]));
}

// ---- files ----

#[test]
fn what_was_appended_is_there_after_a_clean_and_an_unclean_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut open = Running::open(folder.path());
    open.append(1, Ok(()));
    open.append(2, Ok(()));
    open.journal.close();
    let mut open = Running::open(folder.path());
    assert_eq!(open.recovered.epochs, [(Epoch(1), Seq(1), Seq(6))]);
    assert_eq!(open.recovered.marks, Some(vec![2]));
    assert_eq!(open.recovered.damage, None);
    open.append(3, Ok(()));
    // As after a crash: the file as it is, with the mark of a running process beside it.
    let copy = tempfile::tempdir().expect("a folder");
    for name in ["journal.redb", "journal.running", "floor.a", "floor.b"] {
        fs::copy(folder.path().join(name), copy.path().join(name)).expect("copied");
    }
    let again = Running::open(copy.path());
    assert_eq!(again.recovered.epochs, [(Epoch(1), Seq(1), Seq(9))]);
    assert_eq!(again.recovered.damage, None);
}

#[test]
fn a_second_agent_on_the_folder_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let _first = Running::open(folder.path());
    let (done, _) = mpsc::channel(1);
    let error = Journal::open(folder.path(), LIMIT, done).err().expect("refused");
    assert!(matches!(error, JournalError::Locked { .. }), "{error}");
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
}

#[test]
fn a_damaged_file_is_put_aside_and_the_agent_starts() {
    type Harm = (&'static str, fn(&Path));
    let kinds: [Harm; 5] = [
        ("emptied", |file| fs::write(file, b"").expect("emptied")),
        ("emptied", |file| fs::remove_file(file).expect("removed")),
        ("corrupt", |file| {
            fs::write(file, vec![0x5a; 200_000]).expect("overwritten")
        }),
        ("corrupt", |file| {
            let mut bytes = fs::read(file).expect("there");
            let half = bytes.len() / 2;
            bytes.truncate(half);
            fs::write(file, bytes).expect("torn");
        }),
        ("corrupt", |file| {
            let mut bytes = fs::read(file).expect("there");
            // Every page is hit, so the trees are too.
            bytes.iter_mut().skip(4096).step_by(512).for_each(|byte| *byte ^= 0xff);
            fs::write(file, bytes).expect("damaged");
        }),
    ];
    for (expected, harm) in kinds {
        let folder = tempfile::tempdir().expect("a folder");
        let mut open = Running::open(folder.path());
        open.append(1, Ok(()));
        open.journal.close();
        fs::write(folder.path().join("journal.running"), b"").expect("as after a crash");
        harm(&folder.path().join("journal.redb"));
        let mut open = Running::open(folder.path());
        assert_eq!(open.recovered.damage.as_deref(), Some(expected));
        assert_eq!(open.recovered.marks, None);
        assert_eq!(open.recovered.floor.map(|floor| floor.last), Some(Seq(3)));
        open.append(1, Ok(()));
        let aside = folder.path().join("journal.corrupt-1").exists();
        assert_eq!(aside, expected == "corrupt", "{expected}");
    }
}

#[test]
fn a_journal_without_rows_although_the_floor_knows_some_is_not_a_fresh_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut open = Running::open(folder.path());
    open.append(1, Ok(()));
    open.journal.close();
    let fresh = tempfile::tempdir().expect("a folder");
    Running::open(fresh.path()).journal.close();
    fs::copy(fresh.path().join("journal.redb"), folder.path().join("journal.redb")).expect("replaced");
    let open = Running::open(folder.path());
    assert_eq!(open.recovered.damage.as_deref(), Some("emptied"));
}

#[test]
fn what_is_given_after_a_failure_fails_until_the_failure_is_heard() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut open = Running::open(folder.path());
    let mut huge = batch(1);
    huge.telemetry = Some((Seq(1), vec![0; LIMIT as usize]));
    open.journal.append(huge);
    assert!(matches!(
        open.next(),
        Done::Failed {
            reason: AppendError::Full,
            ..
        }
    ));
    open.journal.append(batch(2));
    let unheard = open.next();
    assert!(matches!(unheard, Done::Failed { token: Token(2), .. }), "{unheard:?}");
    open.journal.told(unheard);
    open.append(1, Ok(()));
    open.journal.load(Token(9), Log::Entries, Epoch(1), Seq(1), 1_000_000);
    match open.next() {
        Done::Loaded {
            token: Token(9),
            found: Loaded::Entries(found),
        } => assert_eq!(found, model(1)),
        other => panic!("{other:?}"),
    }
}

// ---- helpers ----

struct Running {
    journal: Journal,
    recovered: edge_agent_core::Recovered,
    done: mpsc::Receiver<Done>,
}

impl Running {
    fn open(folder: &Path) -> Self {
        let (sender, done) = mpsc::channel(64);
        let Opened { journal, recovered, .. } =
            Journal::open(folder, LIMIT, sender).unwrap_or_else(|error| panic!("{error}"));
        Self {
            journal,
            recovered,
            done,
        }
    }

    fn next(&mut self) -> Done {
        self.done.blocking_recv().expect("the journal's thread lives")
    }

    fn append(&mut self, number: u64, expected: Result<(), AppendError>) {
        let mut one = batch(number);
        one.urgent = true;
        one.floor = Some(Floor {
            epoch: Epoch(1),
            last: Seq(number * 3),
            ..Floor::default()
        });
        self.journal.append(one);
        match (self.next(), expected) {
            (Done::Appended { token, .. }, Ok(())) => assert_eq!(token, Token(number)),
            (Done::Failed { reason, .. }, Err(wanted)) => assert_eq!(reason, wanted),
            (found, _) => panic!("{found:?}"),
        }
    }
}

fn clock() -> SavedClock {
    SavedClock {
        mono: Mono(1),
        boot_ms: 1,
        boot: "b".to_owned(),
        floor: Wall(1),
    }
}

fn entry(seq: u64) -> RawEntry {
    let message = "m".repeat((seq as usize * 37) % 500);
    Entry {
        seq: Seq(seq),
        at: Now::default(),
        prev: Digest::ZERO,
        body: EntryBody::Event(Event::Notified { message }),
    }
    .encode()
}

/// Batch `n` holds the entries 3n-2 to 3n.
fn batch(number: u64) -> Batch {
    Batch {
        token: Token(number),
        epoch: Epoch(1),
        entries: (number * 3 - 2..=number * 3).map(entry).collect(),
        telemetry: None,
        bundle: None,
        roles: None,
        marks: vec![number as u8],
        floor: None,
        urgent: false,
    }
}

fn model(batches: u64) -> Vec<RawEntry> {
    (1..=batches * 3).map(entry).collect()
}

fn entries(store: &Store) -> Vec<RawEntry> {
    let reader = Reader::new(store.database().expect("open"));
    reader.entries(Epoch(1), Seq(1), usize::MAX).expect("whole")
}

/// Appends twelve batches, and returns how many were reported durable.
fn workload(machine: &Machine) -> u64 {
    let Ok(db) = machine.open() else { return 0 };
    if create_tables(&db).is_err() {
        return 0;
    }
    let Ok(mut store) = Store::read(Arc::new(db), LIMIT) else {
        return 0;
    };
    for number in 1..=12 {
        if store.commit(&[batch(number)], &[], clock()).is_err() {
            return number - 1;
        }
    }
    12
}

fn check_image(image: Vec<u8>, reported: u64, what: &str) {
    // The first creation happens under a temporary name: a file that was never finished never gets the real one.
    if reported == 0 {
        return;
    }
    let machine = Machine::default();
    machine.lock().live = image;
    let db = machine.open().unwrap_or_else(|error| panic!("{what}: {error}"));
    let store = Store::read(Arc::new(db), LIMIT).unwrap_or_else(|error| panic!("{what}: {error}"));
    let number = u64::from(store.state().marks.as_ref().expect("something was reported")[0]);
    assert!(
        (reported..=reported + 1).contains(&number),
        "{what}: {number} after {reported}"
    );
    assert_eq!(entries(&store), model(number), "{what}");
}

/// A disk in memory that can lose power, fail and be full.
#[derive(Debug, Clone, Default)]
struct Machine(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Write>,
    operations: u64,
    syncs: u64,
    crash_at: Option<u64>,
    fail_sync_at: Option<(u64, bool)>,
    full_at: Option<u64>,
    dead: bool,
}

#[derive(Debug, Clone)]
enum Write {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

#[derive(Debug, Clone, Copy)]
enum Tear {
    Nothing,
    All,
    Sectors,
}

impl Machine {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn open(&self) -> Result<redb::Database, StoreError> {
        guarded(|| builder(true).create_with_backend(self.clone()))
    }

    fn begin(&self) -> Store {
        let db = self.open().expect("a new disk");
        create_tables(&db).expect("a new disk");
        Store::read(Arc::new(db), LIMIT).expect("a new disk")
    }
}

fn apply(bytes: &mut Vec<u8>, write: &Write) {
    match write {
        Write::Length(length) => bytes.resize(*length, 0),
        Write::Bytes(at, written) => {
            if bytes.len() < at + written.len() {
                bytes.resize(at + written.len(), 0);
            }
            bytes[*at..at + written.len()].copy_from_slice(written);
        }
    }
}

impl State {
    fn operation(&mut self, grows: bool) -> io::Result<()> {
        self.operations += 1;
        if self.crash_at == Some(self.operations) {
            self.dead = true;
        }
        if self.dead {
            return Err(io::Error::other("the power is gone"));
        }
        if grows && self.full_at.is_some_and(|at| self.operations >= at) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn write(&mut self, write: Write) {
        apply(&mut self.live, &write);
        self.pending.push(write);
    }

    /// What the disk may hold after the power came back: unsynced writes are kept in any subset, in sectors of 512 bytes.
    fn image(&self, tear: Tear, seed: u64) -> Vec<u8> {
        let mut image = self.durable.clone();
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut coin = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random & 1 == 0
        };
        for write in &self.pending {
            match (tear, write) {
                (Tear::Nothing, _) => {}
                (Tear::All, write) => apply(&mut image, write),
                (Tear::Sectors, Write::Bytes(at, bytes)) => {
                    for (index, sector) in bytes.chunks(512).enumerate() {
                        if coin() {
                            apply(&mut image, &Write::Bytes(at + index * 512, sector.to_vec()));
                        }
                    }
                }
                (Tear::Sectors, write) => {
                    if coin() {
                        apply(&mut image, write);
                    }
                }
            }
        }
        image
    }
}

impl StorageBackend for Machine {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.lock();
        let range = offset as usize..offset as usize + out.len();
        let bytes = state.live.get(range).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.lock();
        let grows = length as usize > state.live.len();
        state.operation(grows)?;
        state.write(Write::Length(length as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.operation(false)?;
        state.syncs += 1;
        if let Some((at, written)) = state.fail_sync_at
            && state.syncs == at
        {
            if !written {
                state.live = state.durable.clone();
            }
            state.durable = state.live.clone();
            state.pending.clear();
            return Err(io::Error::other("the disk failed, the pages are dropped"));
        }
        state.durable = state.live.clone();
        state.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        state.operation(true)?;
        state.write(Write::Bytes(offset as usize, data.to_vec()));
        Ok(())
    }
}
