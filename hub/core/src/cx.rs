//! What a subject works with in one turn, and the words that subjects exchange.
//!
//! A subject is a folder with a struct that nobody else can write. The hub gives it an input together with a [`Cx`]; it changes its
//! own documents, records why, and leaves everything that others must do to `asks`, which the hub carries on in the same turn, first
//! in, first out. What becomes visible outside waits for [`Then`]: the subject is told when its change is stored, and only then
//! queues effects.
//!
//! The graph of asks has no cycle; `hub.rs` has it as a table.
//! Read next: `journal.rs` (changes), `documents.rs` (rows).

use std::collections::VecDeque;
use std::sync::Arc;

use wire::Series;
use wire::change::ChangeRecord;
use wire::frame::Order;
use wire::ids::{AgentId, CommandId, PlanId};
use wire::kube::NodeRef;
use wire::plan::Draft;
use wire::time::{Mono, Now};

use crate::clusters::{ClusterChange, KubeEffect};
use crate::documents::Put;
use crate::effect::{Answer, Effect};
use crate::fleet::Fleet;
use crate::journal::Journal;
use crate::plans::StepAnswer;
use crate::timers::{Timer, Timers};

/// What is told when a change is stored, or when it was not: one variant for each subject that waits.
#[derive(Debug)]
pub(crate) enum Then {
    /// Somebody waits for this answer, and for a refusal if the store takes nothing.
    Reply {
        /// Whose request.
        request: u64,
        /// What is answered when it is stored.
        answer: Box<Answer>,
    },
    /// A patch that passed every gate may be published.
    Publish {
        /// Which task.
        task: String,
    },
    /// A machine is an agent, or one that was has another name or site.
    Joined {
        /// Its name.
        agent: AgentId,
        /// Its site.
        site: String,
    },
    /// An agent is not of this fleet any more.
    Gone {
        /// Its name.
        agent: AgentId,
    },
    /// A plan goes on from this revision of its record.
    Plan {
        /// Which.
        id: PlanId,
        /// Which revision.
        revision: u64,
    },
    /// A cluster has something to do or to tell.
    Kube(Box<KubeEffect>),
    /// A cluster has something to do that somebody waits for.
    KubeFor {
        /// Whose request.
        request: u64,
        /// Id of the change.
        id: String,
        /// What the cluster has to do.
        effect: Box<KubeEffect>,
    },
}

/// What one subject asks of another: one variant for each edge of the graph.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Plans ask commands to bring a step to its node.
    Step(Box<StepOrder>),
    /// Scaling asks plans for another number of replicas.
    Scale(Box<(PlanId, Draft)>),
    /// The same where it may not have come to that: only if no command of that id is known.
    StepUnlessKnown(Box<StepOrder>),
    /// Plans ask clusters to change something.
    Cluster(Box<ClusterOrder>),
    /// Clusters tell plans what came of that.
    Answered(Box<StepAnswer>),
    /// Agents ask the fleet to cut the sessions of one that is shut out from now on.
    Shut { agent: AgentId },
    /// Agents tell the fleet that one may come in again.
    Opened { agent: AgentId },
}

/// A step of a plan, or what takes it back, on its way to a cluster.
#[derive(Debug, Clone)]
pub(crate) struct ClusterOrder {
    pub(crate) plan: PlanId,
    pub(crate) step: usize,
    pub(crate) undo: bool,
    pub(crate) command: CommandId,
    pub(crate) what: ClusterChange,
    /// The step that it takes back.
    pub(crate) takes_back: Option<ClusterChange>,
    pub(crate) who: String,
    pub(crate) reason: String,
}

/// A step of a plan, on its way to a node.
#[derive(Debug, Clone)]
pub(crate) struct StepOrder {
    pub(crate) plan: PlanId,
    pub(crate) step: u16,
    /// It takes back what the step did.
    pub(crate) undo: bool,
    /// No person stands behind it.
    pub(crate) brain: bool,
    pub(crate) command: CommandId,
    pub(crate) node: AgentId,
    pub(crate) order: Order,
    pub(crate) who: String,
    pub(crate) reason: String,
    /// The node does not begin it later.
    pub(crate) until: Mono,
}

/// One turn of one subject.
pub(crate) struct Cx<'a> {
    /// When it is.
    pub(crate) now: Now,
    /// The rules that the hub judges by; `None` before the first bundle.
    pub(crate) rules: Option<&'a Arc<policy::Bundle>>,
    /// The nodes, to read.
    fleet: &'a Fleet,
    /// What others must do.
    pub(crate) asks: &'a mut VecDeque<Ask>,
    journal: &'a mut Journal,
    effects: &'a mut VecDeque<Effect>,
    timers: &'a mut Timers,
}

impl<'a> Cx<'a> {
    pub(crate) fn new(
        now: Now,
        rules: Option<&'a Arc<policy::Bundle>>,
        fleet: &'a Fleet,
        asks: &'a mut VecDeque<Ask>,
        (journal, effects, timers): (&'a mut Journal, &'a mut VecDeque<Effect>, &'a mut Timers),
    ) -> Self {
        Self {
            now,
            rules,
            fleet,
            asks,
            journal,
            effects,
            timers,
        }
    }

    /// The nodes, to read.
    pub(crate) fn fleet(&self) -> &'a Fleet {
        self.fleet
    }

    /// Whether the hub has a node of this name.
    pub(crate) fn knows(&self, node: &AgentId) -> bool {
        self.fleet.find(node).is_some()
    }

    /// The site of a node that the hub has.
    pub(crate) fn site(&self, node: &AgentId) -> Option<&str> {
        self.fleet.find(node).map(|node| node.record.site.as_str())
    }

    /// Whether a node's session is up.
    pub(crate) fn is_connected(&self, node: &AgentId) -> bool {
        self.fleet.find(node).is_some_and(|node| node.session.is_some())
    }

    /// Nodes of clusters that this node of the mesh is.
    pub(crate) fn in_clusters(&self, node: &AgentId) -> &[NodeRef] {
        self.fleet.in_clusters(node)
    }

    /// The latest stored value of a node's series, in the unit of its quantity.
    pub(crate) fn latest(&self, node: &AgentId, series: &Series) -> Option<i64> {
        self.fleet.latest(node, series)
    }

    /// Records why something changes. The first record of a turn names every document that the turn writes.
    pub(crate) fn record(&mut self, change: ChangeRecord) {
        self.journal.open().record(self.now, change.into_body());
    }

    /// Writes a document's row with this turn's change.
    pub(crate) fn put(&mut self, put: Put) {
        self.journal.open().put(put);
    }

    /// What is told once this turn's change is stored, or was not.
    pub(crate) fn then(&mut self, then: Then) {
        self.journal.open().then(then);
    }

    /// Answers when this turn's change is stored; if it cannot be, the answer says so.
    pub(crate) fn reply_when_stored(&mut self, request: u64, answer: Answer) {
        let answer = Box::new(answer);
        self.then(Then::Reply { request, answer });
    }

    /// Answers at once: for refusals and for what is stored already.
    pub(crate) fn reply(&mut self, request: u64, answer: Answer) {
        self.effects.push_back(Effect::Reply { request, answer });
    }

    /// Queues something that is visible outside. Only for what is stored.
    pub(crate) fn effect(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    /// Sets a timer, in this process only: a deadline that must survive stands in its document and is set again at the start.
    pub(crate) fn at(&mut self, at: Mono, timer: Timer) {
        self.timers.set(at, timer);
    }

    /// Whether so much waits for the store that people must come again.
    pub(crate) fn is_crowded(&self) -> bool {
        self.journal.is_crowded()
    }
}
