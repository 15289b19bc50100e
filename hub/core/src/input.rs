//! What the hub's core is told.

use std::time::Duration;

use wire::change::{Caller, ChangeRecord};
use wire::frame::{Frame, Order};
use wire::ids::{AgentId, CommandId, Epoch, HubEpoch, Seq};
use wire::{BundleRef, RoleChain, SignedBundle};

use crate::access::AccessRequest;
use crate::agents::{AgentRequest, Certificates};
use crate::clusters::{ClusterRequest, KubeInput};
use crate::effect::Token;
use crate::plans::PlanAsk;
use crate::rollouts::RolloutRequest;
use crate::scaling::ScalingRequest;

/// Names one session of one agent; never used twice by one hub process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// One thing that happened outside the core.
#[derive(Debug, Clone)]
pub enum Input {
    /// An agent's session is up: the transport has authenticated it, nothing was said yet.
    SessionOpened {
        /// Which.
        session: SessionId,
        /// Whose, as its certificate says.
        agent: AgentId,
    },
    /// The session is gone.
    SessionClosed {
        /// Which.
        session: SessionId,
        /// For people, but for one word: [`crate::STOPPED`] says that the agent stops in an orderly way.
        reason: String,
    },
    /// A frame from an agent.
    Frame {
        /// On which session.
        session: SessionId,
        /// What.
        frame: Frame,
    },
    /// A batch is durable.
    Stored {
        /// Which.
        token: Token,
    },
    /// Nobody knows whether a batch is durable: its commit failed, and may be on the disk all the same. [`Input::Stored`] or
    /// [`Input::StoreFailed`] follows once that was read.
    StoreUnknown {
        /// Which.
        token: Token,
        /// For people.
        reason: String,
    },
    /// A batch is not durable. Nothing of it was written.
    StoreFailed {
        /// Which.
        token: Token,
        /// For people.
        reason: String,
    },
    /// Entries of agents were removed from the store: whose, how many, and whether because they are more than its share.
    Pruned {
        /// Of each.
        owners: Vec<(AgentId, u64, bool)>,
    },
    /// A cluster has done or told something.
    Kube(KubeInput),
    /// A person or program wants something.
    Request {
        /// Repeated in [`crate::Effect::Reply`].
        request: u64,
        /// What.
        what: Request,
    },
    /// The store was looked at.
    Compared {
        /// As asked for.
        head: wire::entry::ChainHead,
        /// What is there.
        held: crate::checkpoints::Held,
    },
    /// The hub stops: say goodbye.
    Stop,
    /// Time passed: the timeout that the core asked for is over.
    Tick,
}

/// What a person or program wants of the hub.
#[derive(Debug, Clone)]
pub enum Request {
    /// Make this text the newest bundle. The core checks it, gives it the next generation and signs it.
    Publish {
        /// Who.
        caller: Caller,
        /// The text.
        text: Vec<u8>,
    },
    /// Make this bundle, which others have signed, the newest.
    PublishSigned {
        /// Who.
        caller: Caller,
        /// The bundle.
        signed: SignedBundle,
    },
    /// Trust these role documents, which follow the present ones and are durable already.
    Roles {
        /// Who brought them.
        caller: Caller,
        /// The whole chain.
        chain: RoleChain,
        /// The shell's key of its policy role; `None` leaves the one that there is.
        policy_key: Option<Box<ed25519_dalek::SigningKey>>,
        /// The shell's key of its beacon role; `None` leaves the one that there is, which counts as long as the roles name it.
        beacon_key: Option<Box<ed25519_dalek::SigningKey>>,
    },
    /// Change people's accounts.
    Access {
        /// Who asks.
        caller: Caller,
        /// What.
        what: AccessRequest,
    },
    /// Make an agent of a machine, or change what one may.
    Agents {
        /// Who asks.
        caller: Caller,
        /// What.
        what: AgentRequest,
    },
    /// Take in a failed check, or change a task.
    Tasks {
        /// Who asks.
        caller: Caller,
        /// What.
        what: crate::tasks::TaskRequest,
    },
    /// A request that is to be done at most once comes, or was done.
    Keys {
        /// What.
        what: crate::idempotency::KeyRequest,
    },
    /// Change outgoing webhooks, or report deliveries.
    Webhooks {
        /// Who asks.
        caller: Caller,
        /// What.
        what: crate::webhooks::WebhookRequest,
    },
    /// Something was done in the shell: it is recorded, and answered when that is stored.
    Note {
        /// What.
        change: ChangeRecord,
    },
    /// Somebody known was refused: recorded, but not each time that they try the same again.
    Refused {
        /// The refusal as it is recorded the first time.
        change: ChangeRecord,
    },
    /// Submit a plan, or say something to one.
    Plan {
        /// Who asks.
        caller: Caller,
        /// What.
        what: PlanAsk,
    },
    /// Register clusters, and change their deployments.
    Clusters {
        /// Who asks.
        caller: Caller,
        /// What.
        what: ClusterRequest,
    },
    /// Scale deployments by their load.
    Scaling {
        /// Who asks.
        caller: Caller,
        /// What.
        what: ScalingRequest,
    },
    /// Start rollouts and tell them something.
    Rollouts {
        /// Who asks.
        caller: Caller,
        /// What.
        what: RolloutRequest,
    },
    /// Accept every break of the hub's own journal: a person knows why it is not whole.
    AcceptBreaks {
        /// Who.
        caller: Caller,
        /// Why.
        reason: String,
    },
    /// Give out everything that a node without a network needs.
    Export {
        /// Who takes it away.
        caller: Caller,
    },
    /// Wait for what comes of a command that is under way.
    Await {
        /// Which.
        id: CommandId,
        /// How long the answer may wait.
        wait: Duration,
    },
    /// Call a command off that its agent has not decided yet.
    Cancel {
        /// Who asks.
        caller: Caller,
        /// Which.
        id: CommandId,
        /// Why.
        reason: String,
    },
    /// Have an agent do something.
    Order {
        /// The command's id, drawn by the shell.
        id: CommandId,
        /// Which agent.
        agent: AgentId,
        /// Who asks.
        caller: Caller,
        /// Why.
        reason: String,
        /// What.
        what: Order,
        /// How long the command may wait for the agent.
        valid_for: Duration,
        /// How long the answer may wait for the outcome.
        wait: Duration,
    },
}

/// What the store holds of one agent, read at start.
#[derive(Debug, Clone)]
pub struct StoredAgent {
    /// Its name.
    pub agent: AgentId,
    /// Its record, as the core last stored it.
    pub record: Vec<u8>,
    /// The end of each epoch's chain: (epoch, last entry, digest of it), oldest first.
    pub heads: Vec<wire::entry::ChainHead>,
    /// The last telemetry block of the newest epoch.
    pub telemetry: (Epoch, Seq),
    /// Its newest decision, for its row.
    pub last_decision: Option<Box<wire::api::DecisionView>>,
}

/// What the shell found in the store at start.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// The core's own record; `None` for a new store.
    pub meta: Option<Vec<u8>>,
    /// All agents.
    pub agents: Vec<StoredAgent>,
    /// The newest bundle.
    pub bundle: Option<(BundleRef, SignedBundle)>,
    /// Commands that were not finished.
    pub commands: Vec<Vec<u8>>,
    /// Turns that rules have given: each rule, what those that it counts together share, and the record.
    pub turns: Vec<(String, String, Vec<u8>)>,
    /// The ends of the hub's own chains, by epoch.
    pub journal: Vec<wire::entry::ChainHead>,
    /// Live documents of every kind.
    pub documents: Vec<crate::documents::StoredDocument>,
    /// Unique keys of all documents, finished ones too: kind, key, id.
    pub document_keys: Vec<(String, String, String)>,
}

/// What the shell gives at start. Roles, and with them the beacon key, may be followed by newer ones.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The trust domain.
    pub trust_domain: String,
    /// Signs bundles; `None` where that is done offline. Ed25519 is deterministic, so the core stays pure.
    pub policy_key: Option<ed25519_dalek::SigningKey>,
    /// Signs beacons; without it nothing proves to agents that their bundle is still the newest.
    pub beacon_key: Option<ed25519_dalek::SigningKey>,
    /// Who may sign what. Without it the policy key signs everything.
    pub roles: Option<RoleChain>,
    /// Drives everything that is random in the core: slots and jitter.
    pub seed: u64,
    /// The least hub epoch of a new store; the shell draws it so that a re-created hub differs from its predecessor.
    pub first_hub_epoch: HubEpoch,
    /// Sessions that may be in their handshake at once; the rest gets slots.
    pub max_handshakes: usize,
    /// Time between two beacons.
    pub beacon_every: Duration,
    /// Lives of agents' certificates, and how often one may be had by the node key.
    pub certificates: Certificates,
    /// How the end of the hub's own journal is signed.
    pub checkpoints: crate::checkpoints::Checkpointing,
}
