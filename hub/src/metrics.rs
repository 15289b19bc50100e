//! Counts what the hub does, for `/metrics`.
//!
//! Two halves: [`Meters`], which everyone may read and the API's requests count in, and [`Meter`], the turn loop's own side, which
//! remembers what a batch held until the store has answered. A thing is counted when it counts: entries and decisions once they are
//! durable, never when they arrive.
//!
//! Counters begin at 0 with each process, as Prometheus expects. Never blocks for longer than another counter takes.
//! Read next: `http/metrics.rs` (the page), `hub.rs` (who counts).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use hub_core::{Batch, Input, Row, Token};
use wire::decision::{Decision, Verdict};
use wire::entry::EntryBody;

/// Upper bounds of every histogram here, in seconds: from a read of memory to the longest that a request may wait.
pub const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Counts in buckets.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Observations in each bucket, and above the last bound.
    pub counts: [u64; BOUNDS.len() + 1],
    /// Sum of all observations, in seconds.
    pub sum: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: [0; BOUNDS.len() + 1],
            sum: 0.0,
        }
    }
}

impl Histogram {
    fn observe(&mut self, span: Duration) {
        let seconds = span.as_secs_f64();
        let place = BOUNDS.iter().position(|bound| seconds <= *bound);
        self.counts[place.unwrap_or(BOUNDS.len())] += 1;
        self.sum += seconds;
    }
}

/// One kind of answer of the API: method, route, status.
pub type Answered = (&'static str, String, u16);

/// What is counted under one lock, because it is read together.
#[derive(Debug, Clone, Default)]
pub struct Counted {
    /// Decisions that are durable here, by verdict and by whether their node had a session.
    pub decisions: BTreeMap<(&'static str, &'static str), u64>,
    /// Those that were denied, by kind of the action that was wanted.
    pub denied: BTreeMap<&'static str, u64>,
    /// Time from handing a batch to the store to its answer.
    pub commits: Histogram,
    /// Webhook deliveries by source and by what became of them.
    pub deliveries: BTreeMap<(String, &'static str), u64>,
    /// Requests by what became of them.
    pub requests: BTreeMap<Answered, u64>,
    /// Time to the head of the answer, by method and route.
    pub waits: BTreeMap<(&'static str, String), Histogram>,
}

/// Lengths of the queues before the turn loop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Queues {
    /// Frames and sessions.
    pub inputs: usize,
    /// Questions of people.
    pub asks: usize,
    /// Batches that found the store's queue full.
    pub batches: usize,
}

/// How long something took, for whoever wants to hear of each.
#[derive(Debug, Clone, Copy)]
pub enum Wait<'a> {
    /// A request of the API, to the head of its answer.
    Request {
        /// Its method.
        method: &'static str,
        /// Its route.
        route: &'a str,
        /// How long.
        span: Duration,
    },
    /// A batch, from its way to the store to the answer.
    Commit {
        /// How long.
        span: Duration,
    },
}

/// Hears of waits. Must not block.
pub type Listener = Box<dyn Fn(Wait<'_>) + Send + Sync>;

/// Who hears of waits, if somebody does.
#[derive(Default)]
struct Listening(OnceLock<Listener>);

impl std::fmt::Debug for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Listening({})", self.0.get().is_some())
    }
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub struct Meters {
    /// Entries of nodes that are durable.
    pub entries: AtomicU64,
    /// Entries of the hub's own journal that are durable.
    pub own_entries: AtomicU64,
    /// Telemetry blocks that are durable.
    pub blocks: AtomicU64,
    /// Batches that are durable.
    pub stored: AtomicU64,
    /// Batches of which nothing was written.
    pub failed: AtomicU64,
    /// Sessions that were opened.
    pub opened: AtomicU64,
    /// Sessions that ended.
    pub closed: AtomicU64,
    /// Machines that were enrolled.
    pub enrolled: AtomicU64,
    /// Failed checks that no webhook told of and the forge did when asked.
    pub recovered: AtomicU64,
    /// Plans of brains elsewhere that were not taken.
    pub brain_refused: AtomicU64,
    /// Plans of brains elsewhere that had to wait because they came too fast.
    pub brain_slowed: AtomicU64,
    inputs: AtomicU64,
    asks: AtomicU64,
    batches: AtomicU64,
    counted: Mutex<Counted>,
    listening: Listening,
}

impl Meters {
    /// Has somebody hear of every wait from now on; the first one stays.
    pub fn listen(&self, listener: Listener) {
        // One that comes later hears nothing.
        let _ = self.listening.0.set(listener);
    }

    fn tell(&self, wait: Wait<'_>) {
        if let Some(listener) = self.listening.0.get() {
            listener(wait);
        }
    }

    /// Counts one answer of the API.
    pub fn answered(&self, what: Answered, span: Duration) {
        self.tell(Wait::Request {
            method: what.0,
            route: &what.1,
            span,
        });
        let mut counted = self.lock();
        let wait = (what.0, what.1.clone());
        *counted.requests.entry(what).or_default() += 1;
        counted.waits.entry(wait).or_default().observe(span);
    }

    /// Counts one webhook delivery of a known source.
    pub fn delivered(&self, source: &str, result: &'static str) {
        *self.lock().deliveries.entry((source.to_owned(), result)).or_default() += 1;
    }

    /// A plan of a brain was not taken.
    pub fn brain_plan_refused(&self) {
        add(&self.brain_refused, 1);
    }

    /// A plan of a brain had to wait.
    pub fn brain_slowed(&self) {
        add(&self.brain_slowed, 1);
    }

    /// How it stands.
    pub fn counted(&self) -> Counted {
        self.lock().clone()
    }

    /// How long the queues were after the last turn.
    pub fn queues(&self) -> Queues {
        let length = |queue: &AtomicU64| usize::try_from(queue.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        Queues {
            inputs: length(&self.inputs),
            asks: length(&self.asks),
            batches: length(&self.batches),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a batch will have been once it is stored.
#[derive(Debug)]
struct Pending {
    since: Instant,
    entries: u64,
    own_entries: u64,
    blocks: u64,
    decisions: Vec<(&'static str, &'static str, &'static str)>,
}

/// The turn loop's side.
#[derive(Debug)]
pub struct Meter {
    meters: Arc<Meters>,
    pending: BTreeMap<Token, Pending>,
}

impl Meter {
    /// A side that counts into these.
    pub fn new(meters: Arc<Meters>) -> Self {
        Self {
            meters,
            pending: BTreeMap::new(),
        }
    }

    /// The core is about to be told this.
    pub fn told(&self, input: &Input) {
        let counter = match input {
            Input::SessionOpened { .. } => &self.meters.opened,
            Input::SessionClosed { .. } => &self.meters.closed,
            _ => return,
        };
        add(counter, 1);
    }

    /// A batch is on its way to the store.
    pub fn begins(&mut self, batch: &Batch) {
        let mut pending = Pending {
            since: Instant::now(),
            entries: 0,
            own_entries: 0,
            blocks: 0,
            decisions: Vec::new(),
        };
        for row in &batch.rows {
            match row {
                Row::Telemetry { .. } => pending.blocks += 1,
                Row::Entries { agent, raw, .. } if agent.is_hub() => pending.own_entries += raw.len() as u64,
                Row::Entries { raw, decisions, .. } => {
                    pending.entries += raw.len() as u64;
                    // Both are in the order of their places.
                    let judged = raw.iter().filter(|entry| decisions.binary_search(&entry.seq).is_ok());
                    // Bytes that are no decision after all were a faulty agent's: they are stored, and no verdict is counted.
                    pending
                        .decisions
                        .extend(judged.filter_map(|entry| match entry.decode() {
                            Ok(entry) => verdict(&entry.body),
                            Err(_) => None,
                        }));
                }
                _ => {}
            }
        }
        self.pending.insert(batch.token, pending);
    }

    /// The store has answered.
    pub fn ended(&mut self, token: Token, stored: bool) {
        let Some(pending) = self.pending.remove(&token) else {
            return;
        };
        let span = pending.since.elapsed();
        self.meters.lock().commits.observe(span);
        self.meters.tell(Wait::Commit { span });
        if !stored {
            return add(&self.meters.failed, 1);
        }
        add(&self.meters.stored, 1);
        add(&self.meters.entries, pending.entries);
        add(&self.meters.own_entries, pending.own_entries);
        add(&self.meters.blocks, pending.blocks);
        let mut counted = self.meters.lock();
        for (verdict, mode, kind) in pending.decisions {
            *counted.decisions.entry((verdict, mode)).or_default() += 1;
            if verdict == Verdict::Deny.name() {
                *counted.denied.entry(kind).or_default() += 1;
            }
        }
    }

    /// How long the queues are.
    pub fn queues(&self, queues: Queues) {
        let set = |queue: &AtomicU64, length: usize| queue.store(length as u64, Ordering::Relaxed);
        set(&self.meters.inputs, queues.inputs);
        set(&self.meters.asks, queues.asks);
        set(&self.meters.batches, queues.batches);
    }
}

fn verdict(body: &EntryBody) -> Option<(&'static str, &'static str, &'static str)> {
    let EntryBody::Decided(decision) = body else {
        return None;
    };
    let Decision { inputs, judgement } = &**decision;
    let mode = if inputs.connected { "connected" } else { "disconnected" };
    Some((judgement.verdict.name(), mode, inputs.wanted.kind.name()))
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_counts_once_it_is_stored() {
        let meters = Arc::new(Meters::default());
        let mut meter = Meter::new(Arc::clone(&meters));
        let batch = |token| Batch {
            token: Token(token),
            rows: vec![Row::Telemetry {
                agent: wire::ids::AgentId::new("edge-01").expect("valid"),
                epoch: wire::ids::Epoch(1),
                seq: wire::ids::Seq(1),
                block: Vec::new(),
            }],
        };
        let read = || {
            let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            (read(&meters.blocks), read(&meters.stored), read(&meters.failed))
        };
        meter.begins(&batch(1));
        assert_eq!(read(), (0, 0, 0), "not yet");
        meter.ended(Token(1), true);
        meter.begins(&batch(2));
        meter.ended(Token(2), false);
        meter.ended(Token(2), true);
        assert_eq!(read(), (1, 1, 1), "once each");
        assert_eq!(meters.counted().commits.counts.iter().sum::<u64>(), 2);
    }

    #[test]
    fn a_span_lies_in_the_bucket_whose_bound_it_does_not_exceed() {
        let mut histogram = Histogram::default();
        for span in [
            Duration::from_millis(1),
            Duration::from_millis(2),
            Duration::from_secs(31),
        ] {
            histogram.observe(span);
        }
        assert_eq!(
            (histogram.counts[0], histogram.counts[1], histogram.counts[12]),
            (1, 1, 1)
        );
    }
}
