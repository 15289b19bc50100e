//! What every back end must do, as one list of small stories; a new back end runs the same ones.

use std::sync::Arc;

use hub_core::{Batch, Put, Row, StoredDocument, Token};
use tokio::sync::mpsc;
use wire::entry::{ChainHead, Entry, EntryBody, Event, Gap, RawEntry};
use wire::ids::{AgentId, CommandId, DecisionId, Digest, Epoch, Generation, Seq};
use wire::time::{Mono, Now, Wall};
use wire::{BundleRef, SignedBundle};

use super::{
    Completion, DurableStore, Outcome, Place, PostgresAddress, Retention, Store, StoreError, StoreSettings, Walk,
};

/// The databases that a store can lie in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Postgres,
}

/// Makes of each story a test for each database.
macro_rules! stories {
    ($($story:ident),* $(,)?) => {
        mod in_a_file {
            $(#[test] fn $story() { super::$story(super::Kind::File); })*
        }
        mod in_postgres {
            $(#[test] fn $story() { super::$story(super::Kind::Postgres); })*
        }
    };
}
pub(super) use stories;

stories!(
    what_was_stored_is_there_after_a_restart,
    a_bundle_and_who_published_it_are_stored_together_or_not_at_all,
    a_batch_that_does_not_follow_is_refused_alone,
    decisions_are_listed_newest_first_with_their_outcomes_page_by_page,
    a_decision_that_is_named_again_and_again_costs_no_more_each_time,
    walking_back_begins_at_the_newest_entry,
    verify_finds_holes_broken_links_and_what_was_told_of_lost_epochs,
    old_telemetry_gives_way_and_its_end_is_remembered,
    many_batches_become_few_commits_and_each_is_answered,
    a_second_hub_is_kept_out,
    a_closed_store_refuses_and_does_not_hang,
    a_document_is_found_by_id_key_and_index_in_its_newest_revision_only,
    a_revision_that_does_not_follow_and_a_key_of_another_are_refused_and_leave_nothing,
    entries_of_all_journals_are_read_in_the_order_of_their_arrival_from_any_cursor,
    an_entry_knows_when_and_as_which_one_it_arrived,
    stores_of_the_formats_before_are_brought_up_to_date_with_everything_in_them,
    identities_and_tokens_of_the_format_before_become_documents_and_a_denial_stays_one,
);

/// Where a test's store is, alone.
pub struct Home {
    pub folder: tempfile::TempDir,
    place: Place,
}

impl Home {
    pub fn new(kind: Kind) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let place = match kind {
            Kind::File => Place::Folder(folder.path().join("store")),
            Kind::Postgres => Place::Postgres(Box::new(schema(server()))),
        };
        Self { folder, place }
    }

    pub fn settings(&self, retention: Retention) -> StoreSettings {
        StoreSettings {
            retention,
            ..StoreSettings::at(self.place.clone())
        }
    }
}

/// The server of all tests; the system ends it with this process.
fn server() -> &'static testbed_services::Postgres {
    static SERVER: std::sync::OnceLock<testbed_services::Postgres> = std::sync::OnceLock::new();
    SERVER.get_or_init(|| testbed_services::Postgres::start("hub-store", None).expect("postgresql is installed"))
}

/// A schema that no other test has.
pub fn schema(server: &testbed_services::Postgres) -> PostgresAddress {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let text = format!("{}?schema=s{number}", server.address());
    let address: PostgresAddress = text.parse().expect("an address");
    let password = server.password().to_owned();
    address.with_password(Arc::new(move || Ok(password.clone())))
}

/// A store of its own, and the completions.
pub struct Bench {
    pub home: Home,
    pub store: Arc<dyn Store>,
    done: mpsc::Receiver<Vec<Completion>>,
    tokens: u64,
}

impl Bench {
    pub fn new(kind: Kind) -> Self {
        Self::with(kind, Retention::default())
    }

    pub fn with(kind: Kind, retention: Retention) -> Self {
        let home = Home::new(kind);
        let (store, done) = open(&home, retention).expect("a new store");
        Self {
            home,
            store,
            done,
            tokens: 0,
        }
    }

    fn reopen(self) -> Self {
        self.store.close().expect("closes");
        self.reopen_closed()
    }

    fn reopen_closed(self) -> Self {
        self.reopen_closed_with(Retention::default())
    }

    /// Another process on the same store.
    pub fn reopen_with(self, retention: Retention) -> Self {
        self.store.close().expect("closes");
        self.reopen_closed_with(retention)
    }

    fn reopen_closed_with(mut self, retention: Retention) -> Self {
        (self.store, self.done) = open(&self.home, retention).expect("opens again");
        self
    }

    /// Stores rows and waits for the answer.
    pub fn put(&mut self, rows: Vec<Row>) -> Result<(), String> {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.store.write(Batch { token, rows }).expect("the queue is empty");
        let completions = self.done.blocking_recv().expect("the writer lives");
        assert_eq!(completions.len(), 1);
        assert_eq!(completions[0].token, token);
        match completions[0].outcome.clone() {
            Outcome::Stored => Ok(()),
            Outcome::Failed(reason) => Err(reason),
            Outcome::Unknown(reason) => panic!("nobody knows: {reason}"),
        }
    }
}

type Opened = (Arc<dyn Store>, mpsc::Receiver<Vec<Completion>>);

fn open(home: &Home, retention: Retention) -> Result<Opened, StoreError> {
    let (done, completions) = mpsc::channel(16);
    Ok((
        Arc::new(DurableStore::open(home.settings(retention), done)?),
        completions,
    ))
}

pub fn agent(name: &str) -> AgentId {
    AgentId::new(name).expect("valid")
}

/// A chain of entries of one epoch.
pub struct Chain {
    pub agent: AgentId,
    pub head: ChainHead,
}

impl Chain {
    pub fn new(name: &str, epoch: u64) -> Self {
        Self {
            agent: agent(name),
            head: ChainHead::empty(Epoch(epoch)),
        }
    }

    pub fn entry(&mut self, body: EntryBody) -> RawEntry {
        let seq = self.head.seq.next();
        let at = Now {
            mono: Mono(seq.0),
            wall: Wall(i64::try_from(seq.0).expect("small") * 1_000),
        };
        let raw = Entry {
            seq,
            at,
            prev: self.head.digest,
            body,
        }
        .encode();
        self.head = self.head.link(&raw).expect("made in order");
        raw
    }

    pub fn notes(&mut self, count: u64) -> Vec<RawEntry> {
        let note = |n| {
            EntryBody::Event(Event::Notified {
                message: format!("note {n}"),
            })
        };
        (0..count).map(|n| self.entry(note(n))).collect()
    }

    pub fn row(&self, raw: Vec<RawEntry>) -> Row {
        self.marked(raw, &[], &[])
    }

    /// A row whose entries at these places count as decisions and outcomes: the store does not look inside.
    pub fn marked(&self, raw: Vec<RawEntry>, decisions: &[u64], outcomes: &[(u64, u64)]) -> Row {
        Row::Entries {
            agent: self.agent.clone(),
            epoch: self.head.epoch,
            raw,
            decisions: decisions.iter().map(|seq| Seq(*seq)).collect(),
            outcomes: outcomes.iter().map(|(of, seq)| (Seq(*of), Seq(*seq))).collect(),
        }
    }

    fn id(&self, seq: u64) -> DecisionId {
        DecisionId {
            agent: self.agent.clone(),
            epoch: self.head.epoch,
            seq: Seq(seq),
        }
    }
}

/// A bundle as far as a store looks into it.
pub fn some_bundle(generation: u64) -> (SignedBundle, BundleRef) {
    let signed = SignedBundle {
        payload: format!("text {generation}").into_bytes(),
        signatures: Vec::new(),
    };
    let bundle = BundleRef {
        generation: Generation(generation),
        digest: signed.digest(),
    };
    (signed, bundle)
}

fn what_was_stored_is_there_after_a_restart(kind: Kind) {
    let mut bench = Bench::new(kind);
    let mut chain = Chain::new("edge-03", 1);
    let raw = chain.notes(300);
    for part in raw.chunks(70) {
        bench.put(vec![chain.row(part.to_vec())]).expect("stored");
    }
    let (signed, bundle) = some_bundle(4);
    let block = |seq| Row::Telemetry {
        agent: agent("edge-03"),
        epoch: Epoch(1),
        seq: Seq(seq),
        block: vec![1, 0, 0],
    };
    let command = |id: u8, record| Row::Command {
        id: CommandId([id; 16]),
        record,
    };
    let turns = |rule: &str, value: &str, record: Option<&[u8]>| Row::Turns {
        rule: rule.to_owned(),
        value: value.to_owned(),
        record: record.map(<[u8]>::to_vec),
    };
    bench
        .put(vec![
            turns("one", "r7", Some(b"first")),
            turns("one", "", Some(b"no label")),
            turns("two", "r7", Some(b"gone")),
            Row::Agent {
                agent: agent("edge-03"),
                record: b"record".to_vec(),
            },
            Row::Bundle {
                bundle,
                signed: signed.clone(),
                who: None,
            },
            Row::Meta(b"core".to_vec()),
            command(1, Some(b"one".to_vec())),
            command(2, Some(b"two".to_vec())),
            block(7),
        ])
        .expect("stored");
    let later = vec![
        command(1, None),
        block(8),
        turns("one", "r7", Some(b"second")),
        turns("two", "r7", None),
    ];
    bench.put(later).expect("stored");
    bench.store.put_setting("name", b"value").expect("stored");

    let bench = bench.reopen();
    let recovered = bench.store.recover().expect("whole");
    assert_eq!(recovered.meta.as_deref(), Some(&b"core"[..]));
    assert_eq!(recovered.commands, [b"two".to_vec()]);
    let kept = |value: &str, record: &[u8]| ("one".to_owned(), value.to_owned(), record.to_vec());
    assert_eq!(recovered.turns, [kept("", b"no label"), kept("r7", b"second")]);
    assert_eq!(recovered.bundle, Some((bundle, signed)));
    assert_eq!(recovered.agents.len(), 1);
    assert_eq!(recovered.agents[0].heads, [chain.head]);
    assert_eq!(recovered.agents[0].telemetry, (Epoch(1), Seq(8)));
    assert_eq!(
        bench.store.setting("name").expect("whole").as_deref(),
        Some(&b"value"[..])
    );
    assert_eq!(
        bench.store.setting("core").expect("whole"),
        None,
        "the shell's names are apart from the core's"
    );
    let found = bench
        .store
        .entries(&agent("edge-03"), (Epoch(1), Seq(65)), 10)
        .expect("whole");
    let found: Vec<RawEntry> = found.into_iter().map(|(_, raw)| raw).collect();
    assert_eq!(found, raw[65..75]);
}

fn a_bundle_and_who_published_it_are_stored_together_or_not_at_all(kind: Kind) {
    let mut bench = Bench::new(kind);
    let (signed, bundle) = some_bundle(4);
    let row = |who: Option<&str>| Row::Bundle {
        bundle,
        signed: signed.clone(),
        who: who.map(str::to_owned),
    };
    let mut chain = Chain::new("edge-03", 1);
    let raw = chain.notes(2);
    bench.put(vec![chain.row(raw.clone())]).expect("stored");
    bench
        .put(vec![row(Some("eve")), chain.row(raw)])
        .expect_err("these entries are there already");
    assert_eq!(bench.store.bundle(&bundle).expect("whole"), None);
    assert_eq!(bench.store.published_by(&bundle).expect("whole"), None);

    bench.put(vec![row(Some("ann"))]).expect("stored");
    // An agent gives it back to a hub that knows better.
    bench.put(vec![row(None)]).expect("stored");
    let (_, other) = some_bundle(5);
    // Where hubs before this one wrote the name, after the bundle.
    let before = format!("published-by:{}:{}", other.generation, other.digest);
    bench.store.put_setting(&before, b"bob").expect("stored");
    let bench = bench.reopen();
    assert_eq!(bench.store.bundle(&bundle).expect("whole"), Some(signed));
    assert_eq!(
        bench.store.published_by(&bundle).expect("whole").as_deref(),
        Some("ann")
    );
    assert_eq!(bench.store.published_by(&other).expect("whole").as_deref(), Some("bob"));
    let (_, unknown) = some_bundle(6);
    assert_eq!(bench.store.published_by(&unknown).expect("whole"), None);
}

fn a_batch_that_does_not_follow_is_refused_alone(kind: Kind) {
    let mut bench = Bench::new(kind);
    let mut chain = Chain::new("edge-03", 1);
    let first = chain.notes(3);
    bench.put(vec![chain.row(first.clone())]).expect("stored");
    let error = bench
        .put(vec![chain.row(first), Row::Meta(b"x".to_vec())])
        .expect_err("stored before");
    assert!(error.contains("do not follow 3"), "{error}");
    assert_eq!(
        bench.store.recover().expect("whole").meta,
        None,
        "nothing of the batch was written"
    );
    let more = chain.notes(2);
    bench.put(vec![chain.row(more)]).expect("the store still works");
    assert_eq!(bench.store.verify(&agent("edge-03")).expect("whole").epochs[0].count, 5);
}

fn decisions_are_listed_newest_first_with_their_outcomes_page_by_page(kind: Kind) {
    let mut bench = Bench::new(kind);
    let mut one = Chain::new("edge-01", 1);
    let mut two = Chain::new("edge-02", 5);
    for _ in 0..3 {
        let raw = one.notes(4);
        let base = raw[0].seq.0;
        bench
            .put(vec![one.marked(raw, &[base, base + 2], &[(base, base + 1)])])
            .expect("stored");
        let raw = two.notes(2);
        let base = raw[0].seq.0;
        bench.put(vec![two.marked(raw, &[base], &[])]).expect("stored");
    }
    let late = one.notes(1);
    bench.put(vec![one.marked(late, &[], &[(1, 13)])]).expect("stored");

    let read = |node: Option<&AgentId>, limit| {
        let mut ids = Vec::new();
        let mut before: Option<String> = None;
        loop {
            let page = bench.store.decisions(node, before.as_deref(), limit).expect("whole");
            assert!(page.rows.len() <= limit);
            ids.extend(page.rows.iter().map(|row| row.id.to_string()));
            before = page.next;
            if before.is_none() {
                return ids;
            }
        }
    };
    let all = [
        "edge-02.5.5",
        "edge-01.1.11",
        "edge-01.1.9",
        "edge-02.5.3",
        "edge-01.1.7",
        "edge-01.1.5",
        "edge-02.5.1",
        "edge-01.1.3",
        "edge-01.1.1",
    ];
    for limit in [1, 2, 4, 9, 50] {
        assert_eq!(read(None, limit), all);
        assert_eq!(
            read(Some(&agent("edge-02")), limit),
            ["edge-02.5.5", "edge-02.5.3", "edge-02.5.1"]
        );
    }
    let first = bench.store.decision(&one.id(1)).expect("whole").expect("there");
    let outcomes: Vec<u64> = first.outcomes.iter().map(|raw| raw.seq.0).collect();
    assert_eq!(outcomes, [2, 13]);
    assert!(bench.store.decision(&one.id(99)).expect("whole").is_none());
    assert!(matches!(
        bench.store.decisions(None, Some("x"), 1),
        Err(StoreError::Cursor { .. })
    ));
}

fn a_decision_that_is_named_again_and_again_costs_no_more_each_time(kind: Kind) {
    let mut bench = Bench::new(kind);
    let mut chain = Chain::new("edge-03", 1);
    for _ in 0..15 {
        let raw = chain.notes(100);
        let named: Vec<(u64, u64)> = raw.iter().map(|raw| (1, raw.seq.0)).collect();
        bench.put(vec![chain.marked(raw, &[], &named)]).expect("stored");
    }
    let found = bench.store.decision(&chain.id(1)).expect("whole").expect("there");
    assert_eq!(found.outcomes.len(), 1_024);
}

fn walking_back_begins_at_the_newest_entry(kind: Kind) {
    let mut bench = Bench::new(kind);
    let mut old = Chain::new("edge-03", 1);
    let raw = old.notes(3);
    bench.put(vec![old.row(raw)]).expect("stored");
    let mut new = Chain::new("edge-03", 2);
    let raw = new.notes(2);
    bench.put(vec![new.row(raw)]).expect("stored");
    let mut seen = Vec::new();
    bench
        .store
        .walk_back(&agent("edge-03"), &mut |epoch, raw| {
            seen.push((epoch.0, raw.seq.0));
            if seen.len() == 4 {
                Walk::Break(())
            } else {
                Walk::Continue(())
            }
        })
        .expect("whole");
    assert_eq!(seen, [(2, 2), (2, 1), (1, 3), (1, 2)]);
    // Page by page, also from the middle of a segment.
    let page = |before: Option<(u64, u64)>, limit| -> Vec<(u64, u64)> {
        let before = before.map(|(epoch, seq)| (Epoch(epoch), Seq(seq)));
        let found = bench.store.newest_entries(&agent("edge-03"), before, limit);
        let found = found.expect("whole").into_iter();
        found.map(|(epoch, raw)| (epoch.0, raw.seq.0)).collect()
    };
    assert_eq!(page(None, 2), [(2, 2), (2, 1)]);
    assert_eq!(page(Some((2, 1)), 2), [(1, 3), (1, 2)]);
    assert_eq!(page(Some((1, 3)), 9), [(1, 2), (1, 1)]);
    assert_eq!(page(Some((1, 1)), 9), []);
}

fn verify_finds_holes_broken_links_and_what_was_told_of_lost_epochs(kind: Kind) {
    let mut bench = Bench::new(kind);
    let mut chain = Chain::new("edge-03", 2);
    let mut raw = vec![chain.entry(EntryBody::Gap(Gap::Epoch {
        epoch: Epoch(1),
        last_known: Seq(40),
        acked: Seq(38),
        reason: "emptied".to_owned(),
    }))];
    raw.extend(chain.notes(9));
    bench.put(vec![chain.row(raw[..4].to_vec())]).expect("stored");
    bench.put(vec![chain.row(raw[6..].to_vec())]).expect("stored");
    let scan = bench.store.verify(&agent("edge-03")).expect("whole");
    assert_eq!(scan.told, [(Epoch(1), Seq(40))]);
    let epoch = &scan.epochs[0];
    assert_eq!(
        (epoch.first, epoch.last, epoch.count, epoch.double),
        (Seq(1), Seq(10), 8, 0)
    );
    assert_eq!(epoch.holes, [(Seq(5), Seq(6))]);
    assert!(epoch.chain_ok(), "what is there is linked");
    assert_eq!(epoch.head, chain.head.digest);

    let mut other = Chain::new("edge-03", 3);
    let good = other.notes(2);
    other.head.digest = Digest::of(b"another past");
    other.head.seq = Seq(2);
    let forged = other.notes(1);
    bench
        .put(vec![other.row([good, forged].concat())])
        .expect("the store does not judge links");
    let scan = bench.store.verify(&agent("edge-03")).expect("whole");
    assert_eq!(scan.epochs[1].broken, Some(Seq(3)));
}

fn old_telemetry_gives_way_and_its_end_is_remembered(kind: Kind) {
    let mut bench = Bench::with(
        kind,
        Retention {
            telemetry_bytes: 1_000,
            telemetry_age_ms: u64::MAX,
            ..Retention::default()
        },
    );
    for seq in 1..=50 {
        // The head of a block: every fifth is a key block.
        let mut block = vec![if seq % 5 == 1 { 3 } else { 2 }];
        wire::codec::put_varint(&mut block, seq);
        wire::codec::put_varint(&mut block, wire::codec::zigzag(i64::try_from(seq).expect("small") * 10));
        block.resize(100, 0);
        bench
            .put(vec![Row::Telemetry {
                agent: agent("edge-03"),
                epoch: Epoch(1),
                seq: Seq(seq),
                block,
            }])
            .expect("stored");
    }
    let kept = bench.store.blocks(&agent("edge-03"), 0, 1_000).expect("whole");
    let places: Vec<u64> = kept.iter().map(|(_, seq, _)| seq.0).collect();
    assert_eq!(places, (41..=50).collect::<Vec<_>>());
    let recent = bench.store.blocks(&agent("edge-03"), 450, 1_000).expect("whole");
    assert_eq!(recent[0].1, Seq(41), "back to the key block before it");
    let newest = bench.store.blocks(&agent("edge-03"), 460, 1_000).expect("whole");
    assert_eq!(newest[0].1, Seq(46), "and no further");
    assert_eq!(bench.store.blocks(&agent("edge-03"), 0, 3).expect("whole").len(), 3);
    let mut walked = Vec::new();
    bench
        .store
        .walk_blocks(&agent("edge-03"), 450, 1_000, &mut |epoch, seq, block| {
            walked.push((epoch, seq, block.to_vec()));
            match seq {
                Seq(44) => Walk::Break(()),
                _ => Walk::Continue(()),
            }
        })
        .expect("whole");
    assert_eq!(walked, recent[..4], "the same ones, until told to stop");
}

fn many_batches_become_few_commits_and_each_is_answered(kind: Kind) {
    let home = Home::new(kind);
    let (store, mut done) = open(&home, Retention::default()).expect("a new store");
    let total: u64 = 500;
    let mut waiting: std::collections::VecDeque<Batch> = (0..total)
        .map(|n| {
            let mut chain = Chain::new(&format!("edge-{n}"), 1);
            let raw = chain.notes(5);
            Batch {
                token: Token(n),
                rows: vec![chain.row(raw)],
            }
        })
        .collect();
    let mut answered = 0;
    let mut commits = 0;
    while answered < total {
        while let Some(batch) = waiting.pop_front() {
            if let Err(batch) = store.write(batch) {
                waiting.push_front(batch);
                break;
            }
        }
        let completions = done.blocking_recv().expect("the writer lives");
        assert!(completions.iter().all(|one| one.outcome.is_stored()));
        answered += completions.len() as u64;
        commits += 1;
    }
    assert!(commits < total / 2, "{commits} commits for {total} batches");
}

fn a_second_hub_is_kept_out(kind: Kind) {
    let bench = Bench::new(kind);
    let Err(error) = open(&bench.home, Retention::default()) else {
        panic!("two hubs have one store");
    };
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    let place = match kind {
        Kind::File => "hub.redb",
        Kind::Postgres => "postgres://127.0.0.1",
    };
    assert!(error.to_string().contains(place), "{error}");
}

#[test]
fn a_damaged_store_is_named_and_left_as_it_is() {
    let mut bench = Bench::new(Kind::File);
    let mut chain = Chain::new("edge-03", 1);
    let raw = chain.notes(200);
    bench.put(vec![chain.row(raw)]).expect("stored");
    bench.store.close().expect("closes");
    let file = bench.home.folder.path().join("store/hub.redb");
    let whole = std::fs::read(&file).expect("there");
    for (name, bytes) in [
        ("emptied", Vec::new()),
        ("cut", whole[..whole.len() / 3].to_vec()),
        ("overwritten", vec![7; whole.len()]),
    ] {
        std::fs::write(&file, &bytes).expect("written");
        let Err(error) = open(&bench.home, Retention::default()) else {
            panic!("{name}: a damaged store was opened");
        };
        let text = error.to_string();
        assert!(text.contains("hub.redb") && text.contains("backup"), "{name}: {text}");
        assert_eq!(std::fs::read(&file).expect("there"), bytes, "{name}: left as it is");
    }
    std::fs::write(&file, &whole).expect("written");
    open(&bench.home, Retention::default()).expect("a restored store opens");
}

#[test]
fn a_half_made_store_is_made_again() {
    let home = Home::new(Kind::File);
    let inside = home.folder.path().join("store");
    std::fs::create_dir(&inside).expect("made");
    std::fs::write(inside.join("hub.new"), b"half").expect("written");
    open(&home, Retention::default()).expect("a new store");
    assert!(!inside.join("hub.new").exists());
}

fn a_closed_store_refuses_and_does_not_hang(kind: Kind) {
    let bench = Bench::new(kind);
    bench.store.close().expect("closes");
    assert!(bench.store.put_setting("a", b"b").is_err());
    assert!(bench.store.recover().is_err());
    assert!(
        bench
            .store
            .write(Batch {
                token: Token(1),
                rows: Vec::new()
            })
            .is_err()
    );
    bench.store.close().expect("twice is once");
}

pub fn document(id: &str, revision: u64, text: &str) -> Put {
    Put {
        kind: "note",
        id: id.to_owned(),
        revision,
        live: true,
        record: Some(text.as_bytes().to_vec()),
        unique: vec![format!("key:{id}")],
        indexes: vec![("colour", text.to_owned())],
    }
}

fn ids(page: &super::DocumentPage) -> Vec<&str> {
    page.rows.iter().map(|row| row.id.as_str()).collect()
}

fn a_document_is_found_by_id_key_and_index_in_its_newest_revision_only(kind: Kind) {
    let mut bench = Bench::new(kind);
    let notes = ["a", "b", "c"].map(|id| Row::Put(document(id, 1, "red")));
    bench.put(notes.to_vec()).expect("stored");
    bench.put(vec![Row::Put(document("b", 2, "blue"))]).expect("stored");
    let done = Put {
        live: false,
        ..document("c", 2, "red")
    };
    bench.put(vec![Row::Put(done)]).expect("stored");
    let bench = bench.reopen();
    let store = &bench.store;
    let blue = StoredDocument {
        kind: "note".to_owned(),
        id: "b".to_owned(),
        revision: 2,
        record: b"blue".to_vec(),
    };
    assert_eq!(store.document("note", "b").expect("whole"), Some(blue));
    assert_eq!(store.document("note", "d").expect("whole"), None);
    assert_eq!(
        store.document_by_key("note", "key:b").expect("whole").as_deref(),
        Some("b")
    );
    let of = |index, before, limit| store.documents("note", index, before, limit).expect("whole");
    assert_eq!(ids(&of(Some(("colour", "red")), None, 9)), ["c", "a"]);
    assert_eq!(ids(&of(Some(("colour", "blue")), None, 9)), ["b"]);
    let page = of(None, None, 2);
    assert_eq!((ids(&page), page.next.as_deref()), (vec!["c", "b"], Some("b")));
    assert_eq!(ids(&of(None, page.next.as_deref(), 2)), ["a"]);
    let recovered = store.recover().expect("whole");
    let live: Vec<&str> = recovered.documents.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(live, ["a", "b"], "finished ones stay in the store");
    assert_eq!(recovered.document_keys.len(), 3, "and keep their keys");
}

fn a_revision_that_does_not_follow_and_a_key_of_another_are_refused_and_leave_nothing(kind: Kind) {
    let mut bench = Bench::new(kind);
    bench.put(vec![Row::Put(document("a", 1, "red"))]).expect("stored");
    let stale = bench.put(vec![Row::Put(document("a", 1, "blue"))]).expect_err("stale");
    assert!(stale.contains("revision 1 of note `a` does not follow 1"), "{stale}");
    let thief = Put {
        unique: vec!["key:a".to_owned()],
        ..document("b", 1, "red")
    };
    let taken = bench
        .put(vec![Row::Put(document("c", 1, "red")), Row::Put(thief)])
        .expect_err("taken");
    assert!(taken.contains("key `key:a` of note `b` belongs to `a`"), "{taken}");
    assert_eq!(
        bench.store.document("note", "c").expect("whole"),
        None,
        "the same batch"
    );
    let gone = Put {
        record: None,
        unique: Vec::new(),
        indexes: Vec::new(),
        ..document("a", 2, "")
    };
    bench.put(vec![Row::Put(gone)]).expect("stored");
    assert_eq!(bench.store.document_by_key("note", "key:a").expect("whole"), None);
    bench
        .put(vec![Row::Put(document("a", 1, "new"))])
        .expect("its first revision again");
}

fn entries_of_all_journals_are_read_in_the_order_of_their_arrival_from_any_cursor(kind: Kind) {
    let mut bench = Bench::new(kind);
    let mut node = Chain::new("edge-03", 1);
    let mut own = Chain {
        agent: AgentId::hub(),
        head: ChainHead::empty(Epoch(10)),
    };
    for _ in 0..3 {
        let (theirs, ours) = (node.notes(2), own.notes(1));
        bench.put(vec![node.row(theirs), own.row(ours)]).expect("stored");
    }
    let all = bench.store.arrived(None, 100).expect("whole");
    let order: Vec<(String, u64)> = all.iter().map(|one| (one.owner.to_string(), one.entry.seq.0)).collect();
    let at = |owner: &str, seq| (owner.to_owned(), seq);
    let round = |n| [at("edge-03", 2 * n - 1), at("edge-03", 2 * n), at("@hub", n)];
    assert_eq!(order, [round(1), round(2), round(3)].concat());
    let bench = bench.reopen();
    for (index, one) in all.iter().enumerate() {
        let rest = bench.store.arrived(Some(one.cursor), 2).expect("whole");
        assert_eq!(rest[..], all[(index + 1).min(9)..(index + 3).min(9)]);
    }
}

fn an_entry_knows_when_and_as_which_one_it_arrived(kind: Kind) {
    let mut bench = Bench::new(kind);
    let mut node = Chain::new("edge-03", 1);
    for _ in 0..3 {
        let raw = node.notes(2);
        bench.put(vec![node.row(raw)]).expect("stored");
    }
    let bench = bench.reopen();
    let all = bench.store.arrived(None, 100).expect("whole");
    let numbers: Vec<u64> = all.iter().map(|one| one.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    assert_eq!(bench.store.arrivals().expect("whole").count, 6);
    let now = crate::clock::wall();
    assert!(
        all.iter()
            .all(|one| one.at.is_some_and(|at| at <= now && now.0 - at.0 < 600_000))
    );
}

fn stores_of_the_formats_before_are_brought_up_to_date_with_everything_in_them(kind: Kind) {
    for format in [1, 2, 3] {
        let mut bench = Bench::new(kind);
        let mut chain = Chain::new("edge-03", 1);
        let raw = chain.notes(3);
        bench.put(vec![chain.row(raw.clone())]).expect("stored");
        bench.store.close().expect("closes");
        super::open::as_format(&bench.home.settings(Retention::default()), format, &[]);
        let mut bench = bench.reopen_closed();
        let arrived = bench.store.arrived(None, 10).expect("whole");
        assert_eq!(
            arrived.iter().map(|one| &one.entry).collect::<Vec<_>>(),
            raw.iter().collect::<Vec<_>>()
        );
        assert!(
            format == 3 || arrived.iter().all(|one| one.at.is_none()),
            "that was not kept"
        );
        assert!(bench.store.occupied().entries > 0, "what they take is counted");
        assert_eq!(bench.store.arrivals().expect("whole").count, 3);
        bench
            .put(vec![Row::Put(document("a", 1, "red"))])
            .expect("has the new tables");
    }
}

fn identities_and_tokens_of_the_format_before_become_documents_and_a_denial_stays_one(kind: Kind) {
    use super::format_2::{AgentRecord, IDENTITIES, TOKENS, TokenRecord};
    let bench = Bench::new(kind);
    bench.store.close().expect("closes");
    let hash = Digest([7; 32]);
    let token = TokenRecord {
        name: None,
        site: "lab".to_owned(),
        made: Wall(1),
        ends: Wall(2),
        used_by: Some(agent("edge-03")),
    };
    let identity = AgentRecord {
        agent: agent("edge-03"),
        site: "lab".to_owned(),
        node_key: [9; 32],
        generation: 4,
        leaf_key: Digest([5; 32]),
        ends: Wall(3),
        joined: Wall(1),
        token: hash,
        rejoins: 2,
        recent_rejoins: vec![Wall(2)],
        denied: Some("stolen".to_owned()),
        any_generation: false,
    };
    let rows = [
        (TOKENS, hash.0.to_vec(), wire::codec::encode(&token)),
        (IDENTITIES, b"edge-03".to_vec(), wire::codec::encode(&identity)),
    ];
    super::open::as_format(&bench.home.settings(Retention::default()), 2, &rows);
    let bench = bench.reopen_closed();
    let read = |kind: &str, id: &str| bench.store.document(kind, id).expect("whole").expect("it is there");
    let row = read("agent", "edge-03");
    let found: hub_core::Identity = hub_core::decode_document(&row.id, &row.record).expect("ours");
    assert_eq!((found.node_key, found.generation, found.rejoins), (Some([9; 32]), 4, 2));
    assert_eq!(found.shut.map(|shut| shut.reason).as_deref(), Some("stolen"));
    let row = read("join-token", &hash.to_string());
    let found: hub_core::JoinToken = hub_core::decode_document(&row.id, &row.record).expect("ours");
    assert_eq!((found.hash, found.used_by), (hash, Some(agent("edge-03"))));
    let live = bench.store.recover().expect("whole").documents;
    assert_eq!(live.len(), 2);
}
