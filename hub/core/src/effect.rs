//! What the hub's core asks for.

use std::time::Duration;

use wire::api::BundleProblem;
use wire::enroll::Refusal;
use wire::entry::RawEntry;
use wire::frame::Frame;
use wire::ids::{AgentId, CommandId, DecisionId, Epoch, Seq};
use wire::kube::{ChangeOutcome, RolloutView, ScalingView};
use wire::{BundleRef, Parcel, SignedBundle};

use crate::access::{ApiToken, Session, User};
use crate::agents::{Identity, JoinToken};
use crate::clusters::KubeEffect;
use crate::documents::Put;
use crate::input::SessionId;
use crate::plans::PlanRecord;

/// Pairs a request to the shell with its completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// One thing to do. The shell may carry effects out in any order between sessions, and in order within one.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Make this durable, then tell [`crate::Input::Stored`]. The shell may commit many batches as one transaction.
    Store(Batch),
    /// Send this.
    Send {
        /// On which session.
        session: SessionId,
        /// What.
        frame: Frame,
    },
    /// End this session, after what was sent on it.
    Close {
        /// Which.
        session: SessionId,
        /// For people.
        reason: String,
    },
    /// Answer a request.
    Reply {
        /// Which.
        request: u64,
        /// The answer.
        answer: Answer,
    },
    /// A cluster has something to do or to tell.
    Kube(KubeEffect),
    /// Bring the pull request of this task on. `Publishing`: open it, unless it is open already, then tell
    /// [`crate::TaskRequest::Published`] or why not. `Proposed`: look at its checks and tell [`crate::TaskRequest::Seen`]; once they are
    /// green, make it ready for review, merge it if that was decided, and tell [`crate::TaskRequest::Settled`]. `NoFix`: have the failed
    /// jobs run once more and tell [`crate::TaskRequest::Rerun`].
    Publish(Box<crate::tasks::Task>),
    /// Look what the store holds of the hub's own journal at this place, then tell [`crate::Input::Compared`].
    Compare {
        /// The place, and the entry that should be there.
        head: wire::entry::ChainHead,
    },
    /// Something that watchers want to see has changed.
    Changed(Change),
}

/// Rows that become durable together.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Repeated in the completion.
    pub token: Token,
    /// The rows.
    pub rows: Vec<Row>,
}

/// One row of the store.
#[derive(Debug, Clone)]
pub enum Row {
    /// Consecutive entries of one epoch of one agent, the next ones after what is stored.
    Entries {
        /// Whose.
        agent: AgentId,
        /// Which epoch.
        epoch: Epoch,
        /// The entries.
        raw: Vec<RawEntry>,
        /// Which of them are decisions, for the index.
        decisions: Vec<Seq>,
        /// Which of them are outcomes, and of which decision: (decision, outcome).
        outcomes: Vec<(Seq, Seq)>,
    },
    /// The next telemetry block of one epoch of one agent.
    Telemetry {
        /// Whose.
        agent: AgentId,
        /// Which epoch.
        epoch: Epoch,
        /// Which block.
        seq: Seq,
        /// Its bytes.
        block: Vec<u8>,
    },
    /// An agent's record; replaces the former.
    Agent {
        /// Whose.
        agent: AgentId,
        /// The record.
        record: Vec<u8>,
    },
    /// A bundle.
    Bundle {
        /// Which.
        bundle: BundleRef,
        /// The bundle.
        signed: SignedBundle,
        /// Who published it; `None` for one that an agent gave back, which leaves what is known of it.
        who: Option<String>,
    },
    /// A command's record; replaces the former, `None` removes it.
    Command {
        /// Which.
        id: CommandId,
        /// The record.
        record: Option<Vec<u8>>,
    },
    /// The core's own record; replaces the former.
    Meta(Vec<u8>),
    /// The turns that a rule has given; replaces the former, `None` removes them.
    Turns {
        /// Id of the rule.
        rule: String,
        /// What those that it counts together share.
        value: String,
        /// The record.
        record: Option<Vec<u8>>,
    },
    /// A document; replaces its former revision.
    Put(Put),
}

/// The answer to a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The bundle is durable and on its way.
    Published {
        /// Which.
        bundle: BundleRef,
        /// Nodes that should get it.
        nodes_total: u64,
    },
    /// These roles are trusted from here on.
    Trusted {
        /// Version of the newest document.
        version: u64,
        /// There is a key here that may sign beacons.
        signs_beacons: bool,
        /// There is a key here that alone may sign bundles.
        signs_bundles: bool,
    },
    /// The person as they stand now; as they stood, for one who was removed.
    User(Box<User>),
    /// The task as it stands now.
    Task(Box<crate::tasks::Task>),
    /// The delivery, or the check of the commit that it tells of, has a task already.
    KnownTask {
        /// Which.
        id: String,
    },
    /// There is no such task, or none that may be leased now.
    NoTask,
    /// The remediation agent as it stands now; as it stood, for one that was removed.
    Remediator(Box<crate::tasks::agents::RemediationAgent>),
    /// There is no such remediation agent, or none that does that.
    NoAgent {
        /// Which, and what to do.
        reason: String,
    },
    /// The agent is somebody else's.
    NotYours {
        /// Whose, and what to do.
        reason: String,
    },
    /// The lease is not the task's present one: whoever holds it must drop the work.
    Fenced,
    /// The session as it stands now.
    Session(Box<Session>),
    /// The token as it stands now; as it stood, for one that was revoked.
    ApiToken(Box<ApiToken>),
    /// A join token as it stands now; as it stood, for one that was revoked.
    JoinToken(Box<JoinToken>),
    /// The identity as it stands now: what a certificate may be made of.
    Agent(Box<Identity>),
    /// No certificate.
    NotEnrolled {
        /// In which way it is refused.
        refusal: Refusal,
        /// For people: what happened and what to do.
        detail: String,
    },
    /// The webhook as it stands now; as it stood, for one that was removed.
    Webhook(Box<crate::webhooks::Webhook>),
    /// How a request with a key stands.
    Key(crate::idempotency::Standing),
    /// It is recorded.
    Noted,
    /// The plan as it stands now.
    Plan(Box<PlanRecord>),
    /// What is known of a brain with a verb now.
    Brain(Box<wire::api::BrainView>),
    /// It is stored, and is being done.
    Accepted,
    /// What came of a change of a deployment.
    Changed(ChangeOutcome),
    /// A deployment that the hub scales, as it stands now.
    Scaling(Box<ScalingView>),
    /// The rollout as it stands now.
    Rollout(Box<RolloutView>),
    /// What a node without a network needs.
    Parcel(Box<Parcel>),
    /// It is not accepted, and will not be as it is.
    Rejected {
        /// Why, and what to do.
        reason: String,
    },
    /// The text is not a bundle.
    Invalid {
        /// What is wrong.
        problems: Vec<BundleProblem>,
    },
    /// The agent decided and, if anything ran, its outcome is here.
    Done {
        /// Which command.
        id: CommandId,
        /// The decision; `None` for hold and release.
        decision: Option<DecisionId>,
    },
    /// The hub's own copy of the rules already denies it; no command was sent.
    Vetoed {
        /// The judgement.
        judgement: Box<wire::decision::Judgement>,
    },
    /// The agent refused the command itself: expired, fenced, repeated.
    Refused {
        /// Which command.
        id: CommandId,
        /// Why.
        reason: String,
    },
    /// Nothing was heard in time; the command is durable and stays valid until it expires.
    Waiting {
        /// Which command.
        id: CommandId,
        /// For which agent.
        agent: AgentId,
        /// The decision, if that much was heard.
        decision: Option<DecisionId>,
        /// How long it may still be brought to its agent.
        left: Duration,
    },
    /// A command was called off.
    Cancelled {
        /// Which.
        id: CommandId,
        /// For which agent.
        agent: AgentId,
        /// Whether it had been sent before, so that its agent may have it.
        sent: bool,
    },
    /// No command of this id is under way: it never was, or it is over.
    UnknownCommand,
    /// There is no such agent.
    UnknownAgent,
    /// It cannot be stored now.
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// Moments with the series that changed in each and their values, oldest first; the moment is wall time in milliseconds.
pub type Samples = Vec<(i64, Vec<(wire::Series, Option<i64>)>)>;

/// What has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A node's row.
    Node(AgentId),
    /// A decision, new or with a new outcome.
    Decision(DecisionId),
    /// New samples of a node: wall time in milliseconds and what changed.
    Samples {
        /// Whose.
        agent: AgentId,
        /// (wall time, changed series and their values), oldest first.
        samples: Samples,
    },
    /// The newest bundle, or how many nodes have it.
    Policy,
    /// An agent's identity as it is stored now, or is not any more.
    Identity(AgentId),
    /// An outgoing webhook or its deliveries, as they are stored now, or are not any more.
    Webhook {
        /// Its id.
        id: String,
    },
    /// A person, a session or a token as it is stored now, or is not any more.
    Access {
        /// Kind of the document.
        kind: &'static str,
        /// Its id.
        id: String,
    },
}
