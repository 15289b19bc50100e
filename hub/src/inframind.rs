//! Brains: the embedded one, which sees telemetry as it is stored and sends plans like any other brain.
//!
//! Reads stored blocks behind a durable cursor, so that what the brain knows is what the hub acknowledged and nothing is skipped over a
//! restart; its plans are requests that the core judges.
//!
//! Has no opinions: what is foreseen is decided in `hub/brain`, what may be done about it in `hub/core/src/plans`.
//! Invariant: the stored state of the brain and its cursor are one setting, so neither is ahead of the other.
//!
//! Read next: `hub/brain/src/brain.rs` (what it foresees), `inframind/remote.rs` (brains elsewhere).

pub mod remote;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hub_brain::{Brain, Settings};
use hub_core::plans::{PlanAsk, brain_caller};
use hub_core::{Answer, Request};
use tokio_util::sync::CancellationToken;
use wire::codec;
use wire::ids::{AgentId, Epoch, PlanId};
use wire::plan::Draft;
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
    fn read(&mut self, store: &dyn Store, now: Wall) -> Result<Vec<Draft>, StoreError> {
        let mut drafts = Vec::new();
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
pub async fn embedded(hub: Handle, store: Arc<dyn Store>, stop: CancellationToken) {
    let mut brain: Option<Embedded> = None;
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
        let (of, taken) = (Arc::clone(&store), brain.take());
        let turn = tokio::task::spawn_blocking(move || turn(&*of, taken, is_due)).await;
        match turn {
            Ok(Ok((next, drafts))) => {
                brain = Some(next);
                submit(&hub, drafts).await;
            }
            Ok(Err(error)) => tracing::debug!(error = error.chain(), "the brain cannot read; it tries again"),
            Err(error) => tracing::error!(%error, "the embedded brain failed badly; it begins anew"),
        }
    }
    if let Some(brain) = brain {
        let last = tokio::task::spawn_blocking(move || brain.store(&*store)).await;
        if !matches!(last, Ok(Ok(()))) {
            tracing::debug!("the brain was not stored; it reads again what it has seen since");
        }
    }
}

fn turn(store: &dyn Store, brain: Option<Embedded>, is_due: bool) -> Result<(Embedded, Vec<Draft>), StoreError> {
    let mut brain = match brain {
        Some(brain) => brain,
        None => Embedded::open(store)?,
    };
    let drafts = brain.read(store, crate::clock::wall())?;
    if is_due {
        brain.store(store)?;
    }
    Ok((brain, drafts))
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
