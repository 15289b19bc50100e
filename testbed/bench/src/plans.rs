//! `plans`: steps of a brain's plans that the hub's core judges and its store makes durable in a second, against append + fdatasync of
//! as many bytes.
//!
//! The core and the store of the hub, without a network: plans of eight steps for nodes that are away, so that each is taken in, judged
//! and scheduled, three entries and three revisions of its document. The limit writes the same number of bytes in the same groups
//! to a plain file on the same disk, with one fdatasync for each. Rounds alternate, and the middle one counts.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use hub::store::{Completion, DurableStore, Outcome, Store, StoreSettings};
use hub_core::plans::{PlanAsk, Tier, brain_caller};
use hub_core::{Answer, Batch, Effect, Hub, Input, Request, Row, Settings};
use tokio::sync::mpsc;
use wire::change::{Caller, Via};
use wire::plan::{Claim, Draft, Source, Step, Target, Verb};
use wire::{AgentId, DeviceId, HubEpoch, PlanId};

use crate::lab::Place;
use crate::report::{Figure, Goal, quantile};

/// Nodes, and plans of a round: one for each.
const NODES: usize = 1_000;
const STEPS: u32 = 8;
/// Plans that are sent before the first of them is stored.
const AT_ONCE: usize = 64;
const ROUNDS: usize = 5;

/// Runs it.
pub fn run(place: &Place) -> Result<Vec<Figure>, String> {
    let folder = place.work.join("plans");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(|cause| format!("cannot empty `{}`: {cause}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).map_err(|cause| format!("cannot make `{}`: {cause}", folder.display()))?;
    let mut rig = Rig::new(&folder)?;
    let (mut ours, mut limit) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        rig.sizes.clear();
        let started = Instant::now();
        rig.plans(round)?;
        let steps = NODES as f64 * f64::from(STEPS);
        ours.push(steps / started.elapsed().as_secs_f64());
        limit.push(steps / append(&folder.join("append"), &rig.sizes)?);
    }
    let goal = Goal::OfLimit(0.3);
    Ok(vec![
        Figure::new("plans", "steps/s", quantile(&mut ours, 0.5), goal)
            .limit("append + fdatasync", quantile(&mut limit, 0.5))
            .against(goal),
    ])
}

/// Seconds that an append of these groups of bytes takes, with one fdatasync for each.
fn append(path: &Path, sizes: &[usize]) -> Result<f64, String> {
    let failed = |cause: std::io::Error| format!("cannot append to `{}`: {cause}", path.display());
    let mut file = File::create(path).map_err(failed)?;
    let bytes = vec![0x5e; sizes.iter().copied().max().unwrap_or(0)];
    let started = Instant::now();
    for size in sizes {
        file.write_all(&bytes[..*size]).map_err(failed)?;
        file.sync_data().map_err(failed)?;
    }
    Ok(started.elapsed().as_secs_f64())
}

/// A core with its store and nothing else.
struct Rig {
    hub: Hub,
    store: DurableStore,
    done: mpsc::Receiver<Vec<Completion>>,
    /// Bytes of each batch that was written.
    sizes: Vec<usize>,
    in_flight: usize,
    requests: u64,
    refused: Option<String>,
}

impl Rig {
    fn new(folder: &Path) -> Result<Self, String> {
        let (send, done) = mpsc::channel(64);
        let store =
            DurableStore::open(StoreSettings::new(folder.join("store")), send).map_err(|cause| cause.to_string())?;
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let settings = Settings {
            trust_domain: "bench".to_owned(),
            policy_key: Some(key.clone()),
            beacon_key: Some(key),
            roles: None,
            seed: 1,
            first_hub_epoch: HubEpoch(1),
            max_handshakes: 16,
            beacon_every: std::time::Duration::from_secs(3_600),
            checkpoints: hub_core::Checkpointing::default(),
            certificates: hub_core::Certificates::default(),
        };
        let recovered = store.recover().map_err(|cause| cause.to_string())?;
        let hub = Hub::new(settings, recovered, store.clock().now()).map_err(|cause| cause.to_string())?;
        let mut rig = Self {
            hub,
            store,
            done,
            sizes: Vec::new(),
            in_flight: 0,
            requests: 0,
            refused: None,
        };
        rig.settle()?;
        let caller = Caller::new("bench", Via::Api);
        let text = policy::DEMO_BUNDLE.as_bytes().to_vec();
        rig.ask(Request::Publish { caller, text })?;
        for node in 0..NODES {
            for what in testbed_sim::enrolment(&name(node)?, "bench") {
                rig.ask(what)?;
            }
        }
        let caller = Caller::new("bench", Via::Api);
        let what = PlanAsk::Grant {
            brain: "bench".to_owned(),
            verb: "power_cap".to_owned(),
            tier: Tier::T3,
            reason: "it is measured".to_owned(),
        };
        rig.ask(Request::Plan { caller, what })?;
        Ok(rig)
    }

    /// A plan for each node, and waits until all are scheduled.
    fn plans(&mut self, round: usize) -> Result<(), String> {
        for node in 0..NODES {
            let id = u128::try_from(round * NODES + node + 1).map_err(|cause| cause.to_string())?;
            let id = PlanId(id.to_be_bytes());
            let draft = Box::new(draft(node, round)?);
            let what = PlanAsk::Submit { id, draft };
            let caller = brain_caller("bench");
            self.send(Request::Plan { caller, what });
            if node % AT_ONCE == AT_ONCE - 1 {
                self.settle()?;
            }
        }
        self.settle()
    }

    fn ask(&mut self, what: Request) -> Result<(), String> {
        self.send(what);
        self.settle()
    }

    fn send(&mut self, what: Request) {
        self.requests += 1;
        let request = self.requests;
        self.tell(Input::Request { request, what });
    }

    fn tell(&mut self, input: Input) {
        self.hub.handle(input, self.store.clock().now());
        while let Some(effect) = self.hub.poll_effect() {
            match effect {
                Effect::Store(batch) => {
                    self.sizes.push(bytes(&batch));
                    self.in_flight += 1;
                    if let Err(batch) = self.store.write(batch) {
                        self.refused = Some(format!("the store takes no batch {:?}", batch.token));
                    }
                }
                Effect::Reply {
                    answer: Answer::Rejected { reason } | Answer::Unavailable { reason },
                    ..
                } => self.refused = Some(reason),
                _ => {}
            }
        }
    }

    /// Until nothing is on its way to the disk.
    fn settle(&mut self) -> Result<(), String> {
        while self.in_flight > 0 {
            let completions = self.done.blocking_recv().ok_or("the store has ended")?;
            for Completion { token, outcome } in completions {
                self.in_flight -= 1;
                match outcome {
                    Outcome::Stored => self.tell(Input::Stored { token }),
                    Outcome::Failed(reason) | Outcome::Unknown(reason) => {
                        return Err(format!("the store wrote nothing: {reason}"));
                    }
                }
            }
        }
        match self.refused.take() {
            Some(reason) => Err(reason),
            None => Ok(()),
        }
    }
}

/// What a batch asks to be written.
fn bytes(batch: &Batch) -> usize {
    let row = |row: &Row| match row {
        Row::Entries { raw, .. } => raw.iter().map(|entry| entry.bytes.len()).sum(),
        Row::Put(put) => put.bytes(),
        Row::Telemetry { block, .. } => block.len(),
        Row::Agent { record, .. } | Row::Meta(record) => record.len(),
        Row::Bundle { .. } | Row::Command { .. } | Row::Turns { .. } => 0,
    };
    batch.rows.iter().map(row).sum()
}

fn name(node: usize) -> Result<AgentId, String> {
    AgentId::new(format!("bench-{node}")).map_err(|cause| cause.to_string())
}

/// Eight GPUs of one node are capped.
fn draft(node: usize, round: usize) -> Result<Draft, String> {
    let agent = name(node)?;
    let step = |gpu| Step {
        verb: Verb::PowerCap { milliwatts: 280_000 },
        target: Target::Device {
            node: agent.clone(),
            device: DeviceId::gpu(gpu),
        },
        expected: None,
        safety: None,
        valid_for_ms: 3_600_000,
    };
    let key = format!("{round}/{node}");
    Ok(Draft {
        source: Source::Brain {
            name: "bench".to_owned(),
            model: "1".to_owned(),
        },
        tenant: String::new(),
        reason: "the node will be too hot in 4 min".to_owned(),
        key: key.clone(),
        correlation: String::new(),
        claim: Some(Claim {
            prediction: key,
            class: "limit".to_owned(),
            confidence_bp: 8_000,
            horizon_ms: 240_000,
        }),
        steps: (0..STEPS).map(step).collect(),
        not_after: None,
    })
}
