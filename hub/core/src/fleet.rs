//! What the hub knows of every agent, and in which of four words it stands.
//!
//! Decides nothing for an agent: a node that is away works alone, and the hub only says what it last heard and how old that is.
//!
//! Invariant: `connected` only while a welcomed session is up; `working_alone` only for a node that was healthy when last heard
//! and whose authority, by the age of its policy, has not run out since.
//! Read next: `chain.rs` (entries), `feed.rs` (telemetry), `views.rs` (what people see of it).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::api::{DecisionView, NodeState};
use wire::codec;
use wire::decision::Authority;
use wire::entry::ChainHead;
use wire::frame::{Hello, Status};
use wire::ids::{AgentId, CommandId, Epoch, Generation, Seq};
use wire::time::{ClockState, Mono, Now, Wall};
use wire::{BundleRef, Series};

use crate::admission::Bucket;
use crate::chain::{Chain, Hole};
use crate::effect::Samples;
use crate::feed::{Block, Feed, Layouts};
use crate::input::{SessionId, StoredAgent};
use crate::writer::Notes;

/// Version of [`Record`]'s encoding, its first byte.
const RECORD_VERSION: u8 = 2;
/// Records as they were before labels.
const WITHOUT_LABELS: u8 = 1;
/// Epochs of one agent. Each is one loss of its journal; an agent that loses it a thousand times is sick.
pub(crate) const MAX_EPOCHS: usize = 1_024;
/// Holes of one agent that are remembered by place; the oldest are forgotten first.
const MAX_HOLES: usize = 64;
/// Processes of one agent that are remembered, to see two of them take turns.
const MAX_PROCESSES: usize = 4;

/// Place of a node in the fleet; never changes while the process lives.
pub(crate) type Place = usize;

/// What the store keeps of an agent besides its entries and blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) agent: AgentId,
    pub(crate) site: String,
    pub(crate) denied: Option<String>,
    pub(crate) quarantined: Option<String>,
    /// Sessions that were welcomed, ever.
    pub(crate) sessions: u64,
    /// It said that it stops, and has not come back.
    pub(crate) stopped: bool,
    /// When it was last heard.
    pub(crate) seen: Option<Now>,
    /// When its state last changed.
    pub(crate) since: Option<Wall>,
    pub(crate) program: String,
    /// What it said of its journal.
    pub(crate) told: Option<Told>,
    pub(crate) status: Option<Status>,
    pub(crate) holes: Vec<Hole>,
    /// Labels that it told last. They stand behind the record, whose own encoding is older.
    #[serde(skip)]
    pub(crate) labels: Vec<(String, String)>,
}

/// What an agent said of its journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) at: Now,
    pub(crate) head: ChainHead,
    pub(crate) oldest: Seq,
    pub(crate) acked: Seq,
    pub(crate) older: Vec<(Epoch, Seq, Seq)>,
    pub(crate) bundle: BundleRef,
    pub(crate) generation_floor: Generation,
}

impl Told {
    pub(crate) fn of(hello: &Hello, now: Now) -> Self {
        Self {
            at: now,
            head: hello.head,
            oldest: hello.oldest_entry,
            acked: hello.acked,
            older: hello.older.clone(),
            bundle: hello.bundle,
            generation_floor: hello.generation_floor,
        }
    }
}

impl Record {
    fn new(agent: AgentId, site: String) -> Self {
        Self {
            agent,
            site,
            denied: None,
            quarantined: None,
            sessions: 0,
            stopped: false,
            seen: None,
            since: None,
            program: String::new(),
            told: None,
            status: None,
            holes: Vec::new(),
            labels: Vec::new(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![RECORD_VERSION];
        bytes.extend(codec::encode(&(self, &self.labels)));
        bytes
    }

    /// `None` for bytes of another version.
    fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first() {
            Some((&RECORD_VERSION, rest)) => {
                let (record, labels): (Self, _) = codec::decode(rest).ok()?;
                Some(Self { labels, ..record })
            }
            Some((&WITHOUT_LABELS, rest)) => codec::decode(rest).ok(),
            _ => None,
        }
    }

    pub(crate) fn add_hole(&mut self, hole: Hole) {
        if self.holes.len() == MAX_HOLES {
            self.holes.remove(0);
        }
        self.holes.push(hole);
    }
}

/// One agent.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) record: Record,
    /// By epoch, ascending.
    pub(crate) chains: Vec<Chain>,
    pub(crate) feed: Feed,
    /// The welcomed session.
    pub(crate) session: Option<SessionId>,
    /// The session that is not welcomed yet.
    pub(crate) greeting: Option<SessionId>,
    /// Processes that were welcomed, newest last.
    processes: VecDeque<u64>,
    pub(crate) bucket: Bucket,
    /// How often its unproven word may still be believed.
    pub(crate) trust: Bucket,
    pub(crate) commands: Vec<CommandId>,
    pub(crate) last_decision: Option<Box<DecisionView>>,
    /// By how much its wall clock may differ from ours, by its own word; `None`: not told since the start.
    pub(crate) clock_error_ms: Option<u64>,
    /// What its queued entries will mean.
    pub(crate) notes: Notes,
    /// Its record differs from what is stored.
    pub(crate) record_changed: bool,
    /// It waits for its turn at the store.
    pub(crate) queued: bool,
    /// Rows of it are being written.
    pub(crate) writing: bool,
}

impl Node {
    fn new(record: Record, heads: &[ChainHead], telemetry: (Epoch, Seq)) -> Self {
        let mut chains: Vec<Chain> = heads.iter().copied().map(Chain::new).collect();
        chains.sort_by_key(Chain::epoch);
        Self {
            record,
            chains,
            feed: Feed::new(telemetry),
            session: None,
            greeting: None,
            processes: VecDeque::new(),
            bucket: Bucket::default(),
            trust: Bucket::default(),
            commands: Vec::new(),
            last_decision: None,
            clock_error_ms: None,
            notes: Notes::default(),
            record_changed: false,
            queued: false,
            writing: false,
        }
    }

    pub(crate) fn id(&self) -> &AgentId {
        &self.record.agent
    }

    pub(crate) fn chain(&self, epoch: Epoch) -> Option<&Chain> {
        let place = self.chains.binary_search_by_key(&epoch, Chain::epoch).ok()?;
        self.chains.get(place)
    }

    pub(crate) fn chain_mut(&mut self, epoch: Epoch) -> Option<&mut Chain> {
        let place = self.chains.binary_search_by_key(&epoch, Chain::epoch).ok()?;
        self.chains.get_mut(place)
    }

    /// The chain of this epoch, begun if need be; `None` when there are too many.
    pub(crate) fn chain_or_new(&mut self, epoch: Epoch) -> Option<&mut Chain> {
        match self.chains.binary_search_by_key(&epoch, Chain::epoch) {
            Ok(place) => self.chains.get_mut(place),
            Err(_) if self.chains.len() >= MAX_EPOCHS => None,
            Err(place) => {
                self.chains.insert(place, Chain::new(ChainHead::empty(epoch)));
                self.chains.get_mut(place)
            }
        }
    }

    /// Last durable entry of an epoch; 0 when there is none.
    pub(crate) fn durable(&self, epoch: Epoch) -> Seq {
        self.chain(epoch).map_or(Seq(0), |chain| chain.durable.seq)
    }

    /// Nothing of it is queued or being written, so that what the hub holds is what it says it holds.
    pub(crate) fn settled(&self) -> bool {
        !self.writing && self.feed.settled() && self.chains.iter().all(Chain::settled)
    }

    /// Bytes that wait for the store.
    pub(crate) fn queued_bytes(&self) -> usize {
        let entries: usize = self.chains.iter().map(|chain| chain.queued.bytes).sum();
        entries + self.feed.queued_bytes
    }

    /// Notes the process of a session that said hello. True when an earlier process came back after another one: a process
    /// draws its number at start and never returns, so two processes share this identity.
    pub(crate) fn note_process(&mut self, process: u64) -> bool {
        if self.processes.back() == Some(&process) {
            return false;
        }
        if self.processes.contains(&process) {
            return true;
        }
        if self.processes.len() == MAX_PROCESSES {
            self.processes.pop_front();
        }
        self.processes.push_back(process);
        false
    }

    pub(crate) fn forget_processes(&mut self) {
        self.processes.clear();
    }

    /// A session was welcomed.
    pub(crate) fn rejoined(&mut self, now: Now) {
        self.record.since = Some(now.wall);
        self.record.stopped = false;
    }

    /// Time since it was last heard; `None` when it never was, or by a clock that does not carry on.
    pub(crate) fn silence(&self, now: Mono) -> Option<Duration> {
        let seen = self.record.seen?.mono;
        (seen <= now).then(|| now.since(seen))
    }

    /// The active bundle that it last named.
    pub(crate) fn bundle(&self) -> BundleRef {
        let status = self.record.status.as_ref().map(|status| status.bundle);
        let told = self.record.told.as_ref().map(|told| told.bundle);
        // The hello of a wiped agent is newer than the last status; each status renews what was told.
        told.or(status).unwrap_or(BundleRef::NONE)
    }

    /// The end of its journal that it last named.
    pub(crate) fn produced(&self) -> Option<ChainHead> {
        self.record.told.as_ref().map(|told| told.head)
    }

    pub(crate) fn clock(&self) -> ClockState {
        self.record
            .status
            .as_ref()
            .map(|status| status.clock)
            .unwrap_or_default()
    }

    /// Authority, and time to the next step, as they must be now if nothing fresh reached it since it was last heard. `later`
    /// says what a policy age means for the bundle that it has, when that is known.
    pub(crate) fn authority(
        &self,
        now: Mono,
        later: impl Fn(u64) -> Option<(Authority, Option<u64>)>,
    ) -> Option<(Authority, Option<u64>)> {
        let status = self.record.status.as_ref()?;
        let silence_ms = u64::try_from(self.silence(now)?.as_millis()).unwrap_or(u64::MAX);
        let age_ms = status.policy_age_ms.saturating_add(silence_ms);
        later(age_ms).or_else(|| match status.next_step_ms {
            Some(next) if next > silence_ms => Some((status.authority, Some(next - silence_ms))),
            // A step was passed and its bundle is not known: what follows cannot be better than the last but one step.
            Some(_) if status.authority < Authority::Protective => Some((Authority::Protective, None)),
            Some(_) => Some((Authority::Observe, None)),
            None => Some((status.authority, None)),
        })
    }

    /// Which of the four words.
    pub(crate) fn state(&self, authority: Option<Authority>) -> NodeState {
        if self.record.denied.is_some() {
            return NodeState::Down;
        }
        if self.session.is_some() {
            return NodeState::Connected;
        }
        if self.record.stopped {
            return NodeState::Down;
        }
        if self.record.quarantined.is_some() {
            return NodeState::Unknown;
        }
        match authority {
            None | Some(Authority::Observe) => NodeState::Unknown,
            Some(_) => NodeState::WorkingAlone,
        }
    }
}

/// All agents.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    nodes: Vec<Node>,
    index: BTreeMap<AgentId, Place>,
    layouts: Layouts,
}

impl Fleet {
    /// The fleet as the store holds it. Records that cannot be read are left out: their agents appear when they connect.
    pub(crate) fn recovered(agents: Vec<StoredAgent>) -> Self {
        let mut fleet = Self::default();
        for agent in agents {
            if let Some(record) = Record::decode(&agent.record) {
                let mut node = Node::new(record, &agent.heads, agent.telemetry);
                node.last_decision = agent.last_decision;
                fleet.add(node);
            }
        }
        fleet
    }

    fn add(&mut self, node: Node) -> Place {
        let place = self.nodes.len();
        self.index.insert(node.id().clone(), place);
        self.nodes.push(node);
        place
    }

    pub(crate) fn place(&self, agent: &AgentId) -> Option<Place> {
        self.index.get(agent).copied()
    }

    pub(crate) fn find(&self, agent: &AgentId) -> Option<&Node> {
        self.place(agent).map(|place| &self.nodes[place])
    }

    /// The node with this name, added if it is not there.
    /// The latest stored value of a node's series, in the unit of its quantity.
    pub(crate) fn latest(&self, agent: &AgentId, series: &Series) -> Option<i64> {
        self.find(agent)?.feed.value(&series.device, series.quantity)
    }

    /// The site of a node, if the hub has one of this name.
    pub(crate) fn site(&self, agent: &AgentId) -> Option<&str> {
        self.find(agent).map(|node| node.record.site.as_str())
    }

    pub(crate) fn place_or_new(&mut self, agent: &AgentId, site: &str) -> Place {
        match self.place(agent) {
            Some(place) => place,
            None => {
                let mut node = Node::new(Record::new(agent.clone(), site.to_owned()), &[], (Epoch(0), Seq(0)));
                node.record_changed = true;
                self.add(node)
            }
        }
    }

    pub(crate) fn node(&self, place: Place) -> &Node {
        &self.nodes[place]
    }

    pub(crate) fn node_mut(&mut self, place: Place) -> &mut Node {
        &mut self.nodes[place]
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.nodes.len()
    }

    /// Nodes by place.
    pub(crate) fn places(&self) -> impl Iterator<Item = (Place, &Node)> {
        self.nodes.iter().enumerate()
    }

    /// Nodes by name.
    pub(crate) fn by_name(&self) -> impl Iterator<Item = &Node> {
        self.index.values().map(|place| &self.nodes[*place])
    }

    /// A block is durable: what it shows.
    pub(crate) fn block_stored(&mut self, place: Place, block: &Block) -> Samples {
        self.nodes[place].feed.stored(block, &mut self.layouts)
    }
}
