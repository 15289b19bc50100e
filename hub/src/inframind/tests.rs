//! The embedded brain over a real store: what it has read survives, and nothing is read twice.

use hub_core::{Batch, Row, Token};
use tokio::sync::mpsc;
use wire::ids::Seq;
use wire::reading::{DeviceId, Quantity, Reading, Series};
use wire::telemetry::Encoder;
use wire::time::{Mono, Now};

use super::*;
use crate::store::{DurableStore, StoreSettings};

const START_MS: i64 = 1_795_521_667_000;

/// A store, and what writes one node's telemetry into it.
struct Rig {
    store: DurableStore,
    done: mpsc::Receiver<Vec<crate::store::Completion>>,
    encoder: Encoder,
    seq: u64,
    second: i64,
    _folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (send, done) = mpsc::channel(16);
        let store = DurableStore::open(StoreSettings::new(folder.path().join("store")), send).expect("a new store");
        Self {
            store,
            done,
            encoder: Encoder::new(),
            seq: 0,
            second: 0,
            _folder: folder,
        }
    }

    /// Ten seconds of a GPU under growing load, as one block.
    fn ten_seconds(&mut self, celsius: impl Fn(i64) -> i64, watts: impl Fn(i64) -> i64) {
        for _ in 0..10 {
            self.second += 1;
            let at = Now {
                mono: Mono(1_000 * self.second.unsigned_abs()),
                wall: Wall(START_MS + 1_000 * self.second),
            };
            let reading = |quantity, value| Reading {
                series: Series::new(DeviceId::gpu(0), quantity),
                value: Some(value),
            };
            self.encoder.observe(&[
                reading(Quantity::GpuTemperature, celsius(self.second)),
                reading(Quantity::GpuPower, watts(self.second)),
                reading(Quantity::GpuPowerCap, 350_000),
            ]);
            self.encoder.sample(at);
        }
        let bytes = self.encoder.take_block().expect("ten samples");
        self.seq += 1;
        let row = Row::Telemetry {
            agent: AgentId::new("edge-03").expect("a name"),
            epoch: Epoch(1),
            seq: Seq(self.seq),
            block: bytes,
        };
        let batch = Batch {
            token: Token(self.seq),
            rows: vec![row],
        };
        assert!(self.store.write(batch).is_ok());
        let done = self.done.blocking_recv().expect("the writer lives");
        assert!(done.iter().all(|completion| completion.outcome.is_stored()));
    }

    fn now(&self) -> Wall {
        Wall(START_MS + 1_000 * self.second)
    }
}

#[test]
fn a_gpu_that_grows_hot_gets_one_plan_and_a_restart_reads_nothing_twice() {
    let mut rig = Rig::new();
    let mut brain = Embedded::open(&rig.store).expect("an empty store");
    let mut plans = Vec::new();
    while plans.is_empty() && rig.second < 900 {
        // A board that warms by a tenth of a degree a second under a load that grows by half a watt.
        rig.ten_seconds(|second| 40_000 + 100 * second, |second| 80_000 + 500 * second);
        plans = brain.read(&rig.store, None, rig.now()).expect("it reads");
    }
    let plan = plans.pop().expect("a plan before the limit");
    assert!(plans.is_empty());
    assert!(
        40_000 + 100 * rig.second < 90_000,
        "the limit was reached at {} s",
        rig.second
    );
    assert_eq!(plan.steps[0].target.to_string(), "edge-03/gpu0");
    brain.store(&rig.store).expect("it is stored");

    let mut next = Embedded::open(&rig.store).expect("it is there");
    assert_eq!((next.cursor, &next.brain), (brain.cursor, &brain.brain));
    assert_eq!(next.read(&rig.store, None, rig.now()).expect("it reads"), []);
    assert_eq!(next.cursor, brain.cursor);
}
