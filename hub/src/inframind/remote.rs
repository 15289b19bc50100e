//! An InfraMind elsewhere, which the hub calls: telemetry up, plans down, outcomes up.
//!
//! Telemetry and outcomes are read from the store behind durable cursors, which move only when the brain has acknowledged; what is under
//! way is kept and sent again under the same ids after a cut. A brain that is away, slow or hostile costs this task its time and the
//! fleet nothing; the operator reads of it in the log.
//!
//! Invariant: at most `BLOCKS` blocks of telemetry and one plan are held for a brain, however it behaves.
//! Read next: `wire/inframind/src/client.rs` (the calls), `inframind.rs` (the brain that is built in).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hub_core::plans::PlanRecord;
use hub_core::{Document, decode_document};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wire::codec;
use wire::entry::EntryBody;
use wire::ids::{AgentId, DecisionId, Epoch};
use wire::plan::{PlanOutcome, Source};
use wire::reading::DeviceId;
use wire::telemetry::Decoder;
use wire_inframind::client::{Address, Client, ClientError, Plans};
use wire_inframind::{Batch, MAX_POINTS, Point, Taken};

use super::send;
use crate::hub::{Handle, Stopped};
use crate::store::{Arrived, Cursor, Store, StoreError};

/// How often telemetry goes up: as often as an agent's frames come.
pub(super) const TELEMETRY_EVERY: Duration = Duration::from_secs(5);
/// How often outcomes are looked for.
pub(super) const OUTCOMES_EVERY: Duration = Duration::from_secs(2);
/// Blocks of one round: some hundred thousand points at the most.
const BLOCKS: usize = 64;
/// Entries looked through at once.
pub(super) const ENTRIES: usize = 512;
/// Batches on their way within a round; the rest waits for the brain.
const ON_THE_WAY: usize = 4;
/// Time between two plans of one brain: twenty a second are more than a fleet needs.
const BETWEEN_PLANS: Duration = Duration::from_millis(50);
/// Pauses between two tries to reach it: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Which brain, and where.
#[derive(Debug, Clone)]
pub struct Remote {
    /// What it is called here: its plans and the trust in it stand under this name.
    pub name: String,
    /// Where it is.
    pub address: Address,
    /// What this hub is called there.
    pub cluster: String,
}

/// Why a session with a brain is over.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Brain(#[from] ClientError),
    #[error("the brain has ended its plans")]
    Ended,
    #[error("the store cannot be read")]
    Store(#[from] StoreError),
    #[error("reading for the brain failed badly")]
    Panicked(#[from] tokio::task::JoinError),
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

/// Keeps a session with the brain until it is told to stop.
pub async fn remote(hub: Handle, store: Arc<dyn Store>, brain: Remote, stop: CancellationToken) {
    let mut telemetry = Telemetry::default();
    let mut pause = PAUSES.0;
    loop {
        let begun = tokio::time::Instant::now();
        let trouble = tokio::select! {
            () = stop.cancelled() => return,
            trouble = session(&hub, &store, &brain, &mut telemetry) => trouble,
        };
        let Err(trouble) = trouble;
        let cause = std::error::Error::source(&trouble).map(ToString::to_string);
        tracing::warn!(brain = brain.name, %trouble, cause, "no session with the brain");
        // One that held for a while begins anew with short pauses.
        pause = match begun.elapsed() > PAUSES.1 {
            true => PAUSES.0,
            false => (pause * 2).min(PAUSES.1),
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One session: its three parts go on beside each other, and the first trouble ends all.
async fn session(
    hub: &Handle,
    store: &Arc<dyn Store>,
    brain: &Remote,
    telemetry: &mut Telemetry,
) -> Result<Infallible, Trouble> {
    let mut client = Client::connect(&brain.address, &brain.name).await?;
    let known = client.capabilities().await?;
    let contract = known.map_or(1, |known| known.contract);
    tracing::info!(brain = brain.name, url = brain.address.url, contract, "brain connected");
    let plans = client.plans(&brain.cluster);
    let up = telemetry.run(hub, store, client.clone(), &brain.cluster);
    let down = take_plans(hub, client.clone(), plans, &brain.name);
    let back = outcomes(store, client.clone(), &brain.name);
    let (never, _, _) = tokio::try_join!(up, down, back)?;
    match never {}
}

/// Plans of the brain, one at a time and at a pace.
async fn take_plans(hub: &Handle, mut client: Client, mut plans: Plans, name: &str) -> Result<Infallible, Trouble> {
    while let Some(received) = plans.next().await? {
        let result = match received.draft {
            Ok(draft) => send(hub, name, draft).await,
            Err(problem) => Err(problem.to_string()),
        };
        match &result {
            Ok(id) => tracing::info!(plan = %id, brain = name, key = received.plan_id, "plan sent"),
            Err(reason) => tracing::warn!(brain = name, key = received.plan_id, reason, "plan not taken"),
        }
        let taken = Taken {
            plan_id: received.plan_id,
            result,
            at: crate::clock::wall(),
        };
        client.acknowledge(&taken).await?;
        tokio::time::sleep(BETWEEN_PLANS).await;
    }
    Err(Trouble::Ended)
}

/// Telemetry on its way to the brain. It outlives a session, so that what was read is sent again and not read again.
#[derive(Debug, Default)]
pub(super) struct Telemetry {
    /// How far it was read; `None` before the first look at the store.
    cursor: Option<u64>,
    decoders: BTreeMap<(AgentId, Epoch), Decoder>,
    /// Read and not yet acknowledged.
    waiting: VecDeque<Batch>,
}

impl Telemetry {
    const SETTING: &'static str = "inframind.telemetry";

    /// Nothing was read yet, and what comes is read from this place on.
    pub(super) fn after(cursor: u64) -> Self {
        Self {
            cursor: Some(cursor),
            ..Self::default()
        }
    }

    /// What was read and is handed over.
    pub(super) fn take(&mut self) -> VecDeque<Batch> {
        std::mem::take(&mut self.waiting)
    }

    async fn run(
        &mut self,
        hub: &Handle,
        store: &Arc<dyn Store>,
        mut client: Client,
        cluster: &str,
    ) -> Result<Infallible, Trouble> {
        loop {
            let simulated = simulated(hub).await?;
            let (mut taken, of) = (std::mem::take(self), Arc::clone(store));
            let read = tokio::task::spawn_blocking(move || {
                let result = taken.read(&*of, &simulated);
                (taken, result)
            });
            let result;
            (*self, result) = read.await?;
            result?;
            if self.waiting.is_empty() {
                tokio::time::sleep(TELEMETRY_EVERY).await;
                continue;
            }
            let (batches, way) = mpsc::channel(ON_THE_WAY);
            let fill = async {
                for batch in &self.waiting {
                    // The brain has hung up: `send` says why.
                    if batches.send(batch.clone()).await.is_err() {
                        break;
                    }
                }
                drop(batches);
            };
            let (sent, ()) = tokio::join!(client.send(way, cluster), fill);
            sent?;
            self.waiting.clear();
            let (cursor, of) = (self.cursor.unwrap_or(0), Arc::clone(store));
            let kept = move || of.put_setting(Self::SETTING, &codec::encode(&cursor));
            tokio::task::spawn_blocking(kept).await??;
        }
    }

    /// Reads the next blocks, unless some wait already.
    pub(super) fn read(
        &mut self,
        store: &dyn Store,
        simulated: &BTreeSet<(AgentId, DeviceId)>,
    ) -> Result<(), StoreError> {
        if !self.waiting.is_empty() {
            return Ok(());
        }
        let after = match self.cursor {
            Some(after) => after,
            None => stored(store, Self::SETTING)?.unwrap_or(0),
        };
        self.cursor = Some(after);
        for (number, agent, epoch, block) in store.blocks_arrived(after, BLOCKS)? {
            let points = self.points(&agent, epoch, &block, simulated);
            for (part, points) in points.chunks(MAX_POINTS).enumerate() {
                self.waiting.push_back(Batch {
                    id: format!("{number}.{part}"),
                    points: points.to_vec(),
                    cursor: number.to_string(),
                    gap_before: number != self.cursor.unwrap_or(0) + 1 && part == 0,
                });
            }
            self.cursor = Some(number);
        }
        Ok(())
    }

    fn points(
        &mut self,
        agent: &AgentId,
        epoch: Epoch,
        block: &[u8],
        simulated: &BTreeSet<(AgentId, DeviceId)>,
    ) -> Vec<Point> {
        self.decoders.retain(|(of, older), _| of != agent || *older >= epoch);
        let decoder = self.decoders.entry((agent.clone(), epoch)).or_default();
        let mut points = Vec::new();
        // A block that cannot be read has no points; the decoder waits for the next key block.
        let _ = decoder.read(block, |decoder, at| {
            for (series, value) in decoder.series().iter().zip(decoder.latest()) {
                points.push(Point {
                    node: agent.clone(),
                    series: series.clone(),
                    at: at.wall,
                    value: *value,
                    simulated: simulated.contains(&(agent.clone(), series.device.clone())),
                });
            }
        });
        points
    }
}

/// Devices that programs play.
pub(super) async fn simulated(hub: &Handle) -> Result<BTreeSet<(AgentId, DeviceId)>, Stopped> {
    let mut found = BTreeSet::new();
    for node in hub.nodes().await? {
        let gpus = node.gpus.iter().filter(|gpu| gpu.simulated);
        found.extend(gpus.map(|gpu| (node.name.clone(), gpu.id.clone())));
    }
    Ok(found)
}

/// Tells the brain what came of its plans, each until it has acknowledged it.
async fn outcomes(store: &Arc<dyn Store>, mut client: Client, name: &str) -> Result<Infallible, Trouble> {
    const SETTING: &str = "inframind.outcomes";
    let of = Arc::clone(store);
    let mut cursor: Option<Cursor> = tokio::task::spawn_blocking(move || stored(&*of, SETTING)).await??;
    loop {
        let (of, who, after) = (Arc::clone(store), name.to_owned(), cursor);
        let found = tokio::task::spawn_blocking(move || ended(&*of, &who, after)).await??;
        let is_all = found.read < ENTRIES;
        for (_, id, key, outcome) in found.outcomes {
            client.report(&id.to_string(), &key, &outcome).await?;
            tracing::debug!(brain = name, %id, plan = %outcome.plan, "outcome told");
        }
        if found.last != cursor {
            cursor = found.last;
            let (of, bytes) = (Arc::clone(store), codec::encode(&cursor.unwrap_or_default()));
            tokio::task::spawn_blocking(move || of.put_setting(SETTING, &bytes)).await??;
        }
        if is_all {
            tokio::time::sleep(OUTCOMES_EVERY).await;
        }
    }
}

/// What a look through the entries found.
pub(super) struct Ended {
    pub(super) outcomes: Vec<(Cursor, DecisionId, String, PlanOutcome)>,
    /// The last entry that was looked at.
    pub(super) last: Option<Cursor>,
    pub(super) read: usize,
}

/// Plans of this brain that ended after the cursor.
pub(super) fn ended(store: &dyn Store, name: &str, after: Option<Cursor>) -> Result<Ended, StoreError> {
    let entries = store.arrived(after, ENTRIES)?;
    let mut found = Ended {
        outcomes: Vec::new(),
        last: entries.last().map(|arrived| arrived.cursor).or(after),
        read: entries.len(),
    };
    for arrived in &entries {
        let Some(id) = plan_that_ended(arrived) else {
            continue;
        };
        let row = store.document(PlanRecord::KIND, &id)?;
        let record = row.and_then(|row| decode_document::<PlanRecord>(&row.id, &row.record).ok());
        let Some(record) = record else {
            continue;
        };
        let is_its = matches!(&record.plan.source, Source::Brain { name: of, .. } if of == name);
        if let Some(outcome) = record.outcome().filter(|_| is_its) {
            let entry = DecisionId {
                agent: arrived.owner.clone(),
                epoch: arrived.epoch,
                seq: arrived.entry.seq,
            };
            let key = record.plan.key.clone();
            found.outcomes.push((arrived.cursor, entry, key, outcome));
        }
    }
    Ok(found)
}

/// The id of the plan that this entry of the hub ends, if it ends one.
fn plan_that_ended(arrived: &Arrived) -> Option<String> {
    if !arrived.owner.is_hub() {
        return None;
    }
    let EntryBody::Changed(change) = arrived.entry.decode().ok()?.body else {
        return None;
    };
    let state = change.verb.strip_prefix("plan.").and_then(wire::PlanState::from_name)?;
    let id = change.target.strip_prefix(PlanRecord::KIND)?.strip_prefix('/')?;
    state.is_final().then(|| id.to_owned())
}

fn stored<T: serde::de::DeserializeOwned>(store: &dyn Store, name: &str) -> Result<Option<T>, StoreError> {
    let bytes = store.setting(name)?;
    Ok(bytes.and_then(|bytes| codec::decode(&bytes).ok()))
}
