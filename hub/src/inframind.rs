//! Brains: the embedded one, which sees telemetry as it is stored and sends plans like any other brain.
//!
//! Reads stored blocks behind a durable cursor, so that what the brain knows is what the hub acknowledged and nothing is skipped over a
//! restart; its plans are requests that the core judges.
//!
//! Has no opinions: what is foreseen is decided in `hub/brain`, what may be done about it in `hub/core/src/plans`.
//! Invariant: the stored state of the brain and its cursor are one setting, so neither is ahead of the other.
//!
//! Read next: `hub/brain/src/brain.rs` (what it foresees), `inframind/remote.rs` (brains elsewhere).

pub mod listen;
pub mod remote;
pub mod sizing;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hub_brain::{Brain, Settings};
use hub_core::plans::{PlanAsk, brain_caller};
use hub_core::{Answer, Request};
use tokio_util::sync::CancellationToken;
use wire::api::{ForecastPointView, ForecastView, ForeseenView};
use wire::codec;
use wire::ids::{AgentId, Epoch, PlanId};
use wire::plan::Draft;
use wire::reading::{DeviceId, Quantity};
use wire::telemetry::Decoder;
use wire::time::Wall;

use crate::hub::Handle;
use crate::store::{Store, StoreError};

/// How often stored telemetry is looked at: a frame of an agent holds 5 to 10 s.
const EVERY: Duration = Duration::from_secs(1);
/// Blocks read at once; there are more only after a restart or a long disk stall.
const BLOCKS: usize = 512;
/// How often the brain is stored: after a crash it reads at most this much again.
const STORED_EVERY: Duration = Duration::from_secs(60);
/// Largest brain that is stored: 400 devices. A larger one begins anew after a restart and knows its devices in minutes.
const MOST_STORED_BYTES: usize = 8 * 1024 * 1024;
/// The setting that holds it.
const SETTING: &str = "brain";

/// The embedded brain as it stands, for whoever asks how something goes on.
#[derive(Default)]
pub struct Foresight(Mutex<Option<Embedded>>);

impl Foresight {
    /// How what it watches of a device goes on; `None` where it watches nothing or knows too little. Waits for the brain's turn,
    /// which may wait for the disk.
    pub fn forecast(&self, node: &AgentId, device: &DeviceId) -> Option<ForecastView> {
        let embedded = self.lock();
        let brain = &embedded.as_ref()?.brain;
        let watch = brain.watched(node, device)?;
        let band = watch.band()?;
        let (quantity, scale) = match device.class() {
            "gpu" => (Quantity::GpuTemperature, 1_000.0),
            _ => (Quantity::FsUsedShare, 1.0),
        };
        let value = |value: f64| (value * scale) as i64;
        let points = watch.measured_band();
        if points.is_empty() {
            return None;
        }
        Some(ForecastView {
            node: node.clone(),
            device: device.clone(),
            quantity,
            unit: quantity.unit(),
            at: Wall(i64::try_from(band.at_ms).unwrap_or(i64::MAX)),
            limit: value(brain.limit(device)),
            points: points
                .into_iter()
                .map(|(ahead_ms, point)| ForecastPointView {
                    ahead_ms,
                    low: value(point.low),
                    middle: value(point.middle),
                    high: value(point.high),
                })
                .collect(),
            foreseen: brain.time_to_limit(node, device).map(|foreseen| ForeseenView {
                in_ms: foreseen.in_ms,
                by_ms: foreseen.by_ms,
                chance_bp: (foreseen.chance * 10_000.0) as i64,
                errors: foreseen.errors as u64,
            }),
        })
    }

    /// A brain that failed in its turn has told so; what it knew until then may be asked for.
    fn lock(&self) -> MutexGuard<'_, Option<Embedded>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Foresight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Foresight { .. }")
    }
}

/// The embedded brain and how far it has read.
struct Embedded {
    brain: Brain,
    /// Number of the last block that it has seen.
    cursor: u64,
    /// One for each journal of an agent. After a restart they wait for the next key block.
    decoders: BTreeMap<(AgentId, Epoch), Decoder>,
}

impl Embedded {
    /// Goes on from what is stored, or begins with what is stored from now on.
    fn open(store: &dyn Store) -> Result<Self, StoreError> {
        let bytes = store.setting(SETTING)?;
        let found = bytes.and_then(|bytes| codec::decode::<(u16, u64, Brain)>(&bytes).ok());
        let (brain, cursor) = match found {
            Some((Brain::VERSION, cursor, brain)) => (brain, cursor),
            _ => (Brain::new(Settings::default()), 0),
        };
        Ok(Self {
            brain,
            cursor,
            decoders: BTreeMap::new(),
        })
    }

    /// Takes in what was stored since, and returns the plans that follow. May block for as long as the disk does.
    fn read(&mut self, store: &dyn Store, gpu_limit: Option<i64>, now: Wall) -> Result<Vec<Draft>, StoreError> {
        let mut drafts = Vec::new();
        self.brain.set_gpu_limit(gpu_limit);
        loop {
            let blocks = store.blocks_arrived(self.cursor, BLOCKS)?;
            let count = blocks.len();
            for (number, agent, epoch, block) in blocks {
                self.cursor = number;
                self.take(&agent, epoch, &block);
            }
            // Old readings foresee nothing: what they suggest is over, and `draft` says so.
            let suggestions = self.brain.suggest();
            drafts.extend(
                suggestions
                    .iter()
                    .filter_map(|suggestion| hub_brain::plan::draft(suggestion, now)),
            );
            if count < BLOCKS {
                return Ok(drafts);
            }
        }
    }

    fn take(&mut self, agent: &AgentId, epoch: Epoch, block: &[u8]) {
        // An agent goes on in one epoch: the older ones say nothing any more.
        self.decoders.retain(|(of, older), _| of != agent || *older >= epoch);
        let decoder = self.decoders.entry((agent.clone(), epoch)).or_default();
        let brain = &mut self.brain;
        let read = decoder.read(block, |decoder, at| {
            let Ok(at_ms) = u64::try_from(at.wall.0) else {
                return;
            };
            for (series, value) in decoder.series().iter().zip(decoder.latest()) {
                if let Some(value) = value {
                    brain.observe(agent, series, at_ms, *value);
                }
            }
        });
        // A difference block before the first key block, or a hostile one: the decoder waits for the next key block.
        if let Err(error) = read {
            tracing::trace!(%agent, %error, "a block says nothing to the brain");
        }
    }

    fn store(&self, store: &dyn Store) -> Result<(), StoreError> {
        let mut bytes = codec::encode(&(Brain::VERSION, self.cursor, &self.brain));
        if bytes.len() > MOST_STORED_BYTES {
            let fresh = Brain::new(Settings::default());
            bytes = codec::encode(&(Brain::VERSION, self.cursor, &fresh));
        }
        store.put_setting(SETTING, &bytes)
    }
}

/// Runs the embedded brain until it is told to stop. Trouble with the store is waited out: the fleet does not notice.
pub async fn embedded(hub: Handle, store: Arc<dyn Store>, foresight: Arc<Foresight>, stop: CancellationToken) {
    let mut stored = tokio::time::Instant::now();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {}
        }
        let is_due = stored.elapsed() >= STORED_EVERY;
        if is_due {
            stored = tokio::time::Instant::now();
        }
        let Ok(gpu_limit) = hub.gpu_limit().await else {
            break;
        };
        let (of, brain) = (Arc::clone(&store), Arc::clone(&foresight));
        let turn = tokio::task::spawn_blocking(move || turn(&*of, &brain, gpu_limit, is_due)).await;
        match turn {
            Ok(Ok(drafts)) => submit(&hub, drafts).await,
            Ok(Err(error)) => tracing::debug!(error = error.chain(), "the brain cannot read; it tries again"),
            Err(error) => tracing::error!(%error, "the embedded brain failed badly; it begins anew"),
        }
    }
    let last = tokio::task::spawn_blocking(move || match &*foresight.lock() {
        Some(brain) => brain.store(&*store),
        None => Ok(()),
    });
    if !matches!(last.await, Ok(Ok(()))) {
        tracing::debug!("the brain was not stored; it reads again what it has seen since");
    }
}

fn turn(
    store: &dyn Store,
    foresight: &Foresight,
    gpu_limit: Option<i64>,
    is_due: bool,
) -> Result<Vec<Draft>, StoreError> {
    let mut held = foresight.lock();
    // One that failed halfway through a turn is left out of the place, and the next turn begins with what is stored.
    let mut brain = match held.take() {
        Some(brain) => brain,
        None => Embedded::open(store)?,
    };
    let drafts = brain.read(store, gpu_limit, crate::clock::wall())?;
    if is_due {
        brain.store(store)?;
    }
    *held = Some(brain);
    Ok(drafts)
}

async fn submit(hub: &Handle, drafts: Vec<Draft>) {
    for draft in drafts {
        let name = draft.source.name().to_owned();
        let key = draft.key.clone();
        match send(hub, &name, draft).await {
            Ok(id) => tracing::info!(plan = %id, brain = name, prediction = key, "plan sent"),
            Err(reason) => tracing::info!(brain = name, prediction = key, reason, "plan not taken"),
        }
    }
}

/// Sends one plan of a brain to the core. The error says, for people, why it was not taken.
pub(crate) async fn send(hub: &Handle, brain: &str, draft: Draft) -> Result<PlanId, String> {
    let id = PlanId(*uuid::Uuid::now_v7().as_bytes());
    let request = Request::Plan {
        caller: brain_caller(brain),
        what: PlanAsk::Submit {
            id,
            draft: Box::new(draft),
        },
    };
    match hub.request(request).await {
        Ok(Answer::Plan(record)) => Ok(record.plan.id),
        Ok(Answer::Rejected { reason } | Answer::Unavailable { reason }) => Err(reason),
        Ok(other) => Err(format!("the core answered {other:?} to a plan")),
        Err(stopped) => Err(stopped.to_string()),
    }
}

#[cfg(test)]
mod tests;
