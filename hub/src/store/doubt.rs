//! Commits whose answer is lost: what a batch is told is what the disk holds, whatever the disk said.
//!
//! The whole store runs on the model disk of `crash.rs`: thread, readers, and the way back after a fault.

use std::sync::atomic::{AtomicU64, Ordering};

use hub_core::{Batch, Row, Token};
use tokio::sync::mpsc;

use super::crash::{Disk, fresh};
use super::open::open_backend;
use super::suite::{Chain, agent};
use super::{Completion, DurableStore, Outcome, Store, StoreError, StoreSettings};

/// Batches of a run.
const BATCHES: u64 = 6;

/// A store on a disk that cannot be opened again for so many tries.
struct Rig {
    disk: Disk,
    store: DurableStore,
    done: mpsc::Receiver<Vec<Completion>>,
    _folder: tempfile::TempDir,
}

impl Rig {
    fn new(away_for: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let disk = Disk::of(fresh());
        let database = open_backend(disk.clone(), false).expect("a fresh store");
        let (send, done) = mpsc::channel(16);
        let (again, tries) = (disk.clone(), AtomicU64::new(0));
        let reopen = Box::new(move || {
            if tries.fetch_add(1, Ordering::Relaxed) < away_for {
                return Err(StoreError::Unavailable {
                    reason: "the disk is away".to_owned(),
                });
            }
            // What the system remembers of pages that never got to the disk is dropped first.
            open_backend(Disk::of(again.platter().durable.clone()), true)
        });
        let settings = StoreSettings::new(folder.path());
        let store = DurableStore::with(settings, database, reopen, send).expect("it can be read");
        Self {
            disk,
            store,
            done,
            _folder: folder,
        }
    }

    /// Writes a batch and waits until it is known what became of it. Returns whether it is stored, and whether that was unknown first.
    fn put(&mut self, token: u64, row: Row) -> (bool, bool) {
        let token = Token(token);
        self.store
            .write(Batch { token, rows: vec![row] })
            .expect("the queue is empty");
        let mut was_unknown = false;
        loop {
            let told = self.done.blocking_recv().expect("the writer lives");
            assert_eq!(told.len(), 1);
            assert_eq!(told[0].token, token, "each is told of in its turn");
            match &told[0].outcome {
                Outcome::Unknown(_) if was_unknown => panic!("told twice that nobody knows"),
                Outcome::Unknown(_) => was_unknown = true,
                Outcome::Stored => return (true, was_unknown),
                Outcome::Failed(_) => return (false, was_unknown),
            }
        }
    }
}

/// What breaks at a sync.
#[derive(Debug, Clone, Copy)]
enum Breaks {
    /// Its answer is lost, and everything is on the disk.
    Answer,
    /// Nothing got to the disk.
    Content,
}

/// Runs batches over a fault at the `sync`th sync. Returns how many syncs there were, how often nobody knew for a while, and whether
/// some batch failed.
fn run(sync: u64, breaks: Breaks, away_for: u64) -> (u64, u64, bool) {
    let mut rig = Rig::new(away_for);
    {
        let mut platter = rig.disk.platter();
        match breaks {
            Breaks::Answer => platter.lose_answer = Some(platter.syncs + sync),
            Breaks::Content => platter.fail_sync = Some(platter.syncs + sync),
        }
    }
    let begun = rig.disk.platter().syncs;
    let what = format!("sync {sync}, {breaks:?}, away for {away_for}");
    let mut chain = Chain::new("edge-03", 1);
    let (mut doubts, mut is_failed) = (0, false);
    for token in 1..=BATCHES {
        let before = chain.head;
        let row = |chain: &Chain, raw| chain.row(raw);
        let raw = chain.notes(5);
        let (is_stored, was_unknown) = rig.put(token, row(&chain, raw.clone()));
        doubts += u64::from(was_unknown);
        is_failed |= !is_stored;
        if !is_stored {
            // The core goes back to what the store holds, and the agent sends again: nothing may be in the way.
            let again = rig.put(100 + token, row(&chain, raw));
            assert_eq!(again, (true, false), "{what}: it is taken when it comes again");
        }
        assert_ne!(before, chain.head);
        let scan = rig.store.verify(&agent("edge-03")).expect("it can be read");
        let found: Vec<(u64, bool)> = scan.epochs.iter().map(|one| (one.count, one.chain_ok())).collect();
        assert_eq!(found, [(5 * token, true)], "{what}");
        assert!(scan.epochs[0].double == 0 && scan.epochs[0].holes.is_empty(), "{what}");
    }
    assert_eq!(rig.store.trouble(), None, "{what}: the trouble is over");
    let syncs = rig.disk.platter().syncs - begun;
    (syncs, doubts, is_failed)
}

#[test]
fn what_a_batch_is_told_is_what_the_disk_holds() {
    let (syncs, ..) = run(u64::MAX / 2, Breaks::Answer, 0);
    assert!(syncs >= BATCHES);
    let (mut kept, mut failed) = (0, 0);
    for sync in 1..=syncs {
        // Not every sync is the one that makes a commit.
        let (_, doubts, is_failed) = run(sync, Breaks::Answer, 0);
        assert_eq!(doubts, 0, "sync {sync}: it is read at once");
        kept += u64::from(!is_failed);
        failed += u64::from(run(sync, Breaks::Content, 0).2);
    }
    assert!(kept >= BATCHES - 1, "{kept}: what is there is told as there");
    assert!(failed >= BATCHES - 1, "{failed}: what got lost is told as lost");
}

#[test]
fn while_the_disk_is_away_nobody_knows_and_nobody_is_told_otherwise() {
    let (_, doubts, is_failed) = run(1, Breaks::Answer, 2);
    assert_eq!((doubts, is_failed), (1, false));
    let (_, doubts, is_failed) = run(1, Breaks::Content, 2);
    assert_eq!((doubts, is_failed), (1, true));
}

#[test]
fn a_setting_whose_commit_is_in_doubt_is_answered_once_it_is_known() {
    let mut rig = Rig::new(1);
    {
        let mut platter = rig.disk.platter();
        platter.lose_answer = Some(platter.syncs + 1);
    }
    rig.store.put_setting("name", b"value").expect("it is there after all");
    assert_eq!(
        rig.store.setting("name").expect("whole").as_deref(),
        Some(&b"value"[..])
    );
    let mut chain = Chain::new("edge-03", 1);
    let raw = chain.notes(2);
    let row = chain.row(raw);
    assert_eq!(rig.put(1, row), (true, false));
}
