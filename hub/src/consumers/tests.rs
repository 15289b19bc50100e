//! A real store and a sink that fails when it is told to.

use std::collections::VecDeque;

use hub_core::{Batch, Row, Token};
use tokio::sync::mpsc;
use wire::change::{Caller, ChangeRecord, Via};
use wire::entry::{ChainHead, Entry};
use wire::ids::{AgentId, Epoch, Seq};
use wire::time::{Mono, Now};

use super::*;
use crate::store::{Completion, DurableStore, StoreSettings};

const PATIENCE: Duration = Duration::from_secs(20);

/// A store and what writes the hub's own entries into it.
struct Rig {
    store: Arc<DurableStore>,
    done: mpsc::Receiver<Vec<Completion>>,
    head: ChainHead,
    arrivals: watch::Sender<u64>,
    _folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (send, done) = mpsc::channel(16);
        let store = DurableStore::open(StoreSettings::new(folder.path().join("store")), send).expect("a new store");
        Self {
            store: Arc::new(store),
            done,
            head: ChainHead::empty(Epoch(1)),
            arrivals: watch::Sender::new(0),
            _folder: folder,
        }
    }

    async fn write(&mut self, count: u64, text: &str) {
        let raw = (0..count).map(|_| {
            let change = ChangeRecord::new(Caller::new("ann", Via::Api), "user.create", "user/x").because(text);
            let at = Now {
                mono: Mono(1),
                wall: Wall(1_800_000_000_000),
            };
            let entry = Entry {
                seq: self.head.seq.next(),
                at,
                prev: self.head.digest,
                body: change.into_body(),
            };
            let raw = entry.encode();
            self.head = self.head.link(&raw).expect("made in order");
            raw
        });
        let row = Row::Entries {
            agent: AgentId::hub(),
            epoch: Epoch(1),
            raw: raw.collect(),
            decisions: Vec::new(),
            outcomes: Vec::new(),
        };
        let batch = Batch {
            token: Token(self.head.seq.0),
            rows: vec![row],
        };
        self.store.write(batch).expect("room");
        let stored = self.done.recv().await.expect("the store runs");
        assert!(stored.iter().all(|completion| completion.outcome.is_stored()));
        self.arrivals.send_modify(|batches| *batches += 1);
    }

    fn source(&self) -> Source {
        Source {
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            arrivals: self.arrivals.subscribe(),
        }
    }
}

/// Takes pages as it is told, and passes on what it took.
struct Scripted {
    answers: VecDeque<Result<(), String>>,
    took: mpsc::UnboundedSender<Vec<Seq>>,
}

impl Sink for Scripted {
    async fn deliver(&mut self, page: &[Arrived]) -> Result<(), String> {
        self.answers.pop_front().unwrap_or(Ok(()))?;
        let page = page.iter().map(|one| one.entry.seq).collect();
        self.took.send(page).map_err(|_| "the test is over".to_owned())
    }

    fn position(&self) -> Vec<u8> {
        b"here".to_vec()
    }

    fn resume(&mut self, position: &[u8]) {
        assert!(matches!(position, b"" | b"here"));
    }
}

struct Running {
    link: Arc<Link>,
    took: mpsc::UnboundedReceiver<Vec<Seq>>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn run(rig: &Rig, answers: Vec<Result<(), String>>) -> Running {
    let (took, taken) = mpsc::unbounded_channel();
    let link = Consumers::default().link("test", "a test");
    let sink = Scripted {
        answers: answers.into(),
        took,
    };
    let stop = CancellationToken::new();
    let task = tokio::spawn(follow(rig.source(), Arc::clone(&link), sink, stop.clone()));
    Running {
        link,
        took: taken,
        stop,
        task,
    }
}

impl Running {
    async fn next(&mut self) -> Vec<u64> {
        let page = tokio::time::timeout(PATIENCE, self.took.recv()).await.expect("in time");
        page.expect("it runs").into_iter().map(|seq| seq.0).collect()
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("it ends");
    }
}

#[tokio::test]
async fn what_a_sink_refused_comes_again_and_nothing_is_skipped() {
    let mut rig = Rig::new();
    rig.write(3, "").await;
    let mut consumer = run(&rig, vec![Err("not now".to_owned()), Err("nor now".to_owned())]);
    assert_eq!(consumer.next().await, [1, 2, 3]);
    rig.write(1, "").await;
    assert_eq!(consumer.next().await, [4]);
    let begun = std::time::Instant::now();
    loop {
        let standing = consumer.link.standing(4, Wall(0));
        if standing.lag_entries == Some(0) {
            assert_eq!((standing.up, standing.delivered, standing.failures), (Some(true), 4, 2));
            break;
        }
        assert!(begun.elapsed() < PATIENCE);
        tokio::task::yield_now().await;
    }
    consumer.stop().await;
}

#[tokio::test]
async fn a_consumer_goes_on_where_it_was() {
    let mut rig = Rig::new();
    rig.write(2, "").await;
    let mut consumer = run(&rig, Vec::new());
    assert_eq!(consumer.next().await, [1, 2]);
    consumer.stop().await;
    rig.write(2, "").await;
    let mut consumer = run(&rig, Vec::new());
    assert_eq!(consumer.next().await, [3, 4], "what was delivered does not come again");
    consumer.stop().await;
}

#[tokio::test]
async fn a_page_is_bounded_in_entries_and_in_bytes() {
    let mut rig = Rig::new();
    rig.write(300, "").await;
    rig.write(600, &"x".repeat(2_000)).await;
    let mut consumer = run(&rig, Vec::new());
    let mut expected = 1;
    while expected <= 900 {
        let page = consumer.next().await;
        assert!(page.len() <= PAGE_ENTRIES);
        assert!(expected <= 300 || page.len() <= PAGE_BYTES / 2_000, "{}", page.len());
        assert_eq!(page[0], expected, "nothing is skipped");
        expected = page[page.len() - 1] + 1;
    }
    consumer.stop().await;
}

#[tokio::test]
async fn lag_is_what_is_durable_here_and_not_there() {
    let mut rig = Rig::new();
    rig.write(5, "").await;
    let away = (0..1_000).map(|_| Err("away".to_owned())).collect();
    let consumer = run(&rig, away);
    let begun = std::time::Instant::now();
    let standing = loop {
        let standing = consumer.link.standing(5, crate::clock::wall());
        if standing.up == Some(false) {
            break standing;
        }
        assert!(begun.elapsed() < PATIENCE);
        tokio::task::yield_now().await;
    };
    assert_eq!(standing.lag_entries, Some(5));
    assert!(standing.lag_ms.is_some_and(|ms| ms < 600_000), "since it was stored");
    assert_eq!(standing.error.as_deref(), Some("away"));
    consumer.stop().await;
}
