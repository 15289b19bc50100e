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
use wire::kube::NodeRef;
use wire::time::{ClockState, Mono, Now, Wall};
use wire::{BundleRef, Series};

use crate::admission::Bucket;
use crate::agents::How;
use crate::chain::{Chain, Hole};
use crate::documents::Unreadable;
use crate::effect::Samples;
use crate::feed::{Block, Feed, Layouts};
use crate::input::{SessionId, StoredAgent};
use crate::pace::Pace;
use crate::rooms::Rooms;
use crate::writer::Notes;

/// Version of [`Record`]'s encoding, its first byte.
const RECORD_VERSION: u8 = 3;
/// Records that said themselves who was shut out.
const WITH_DENIALS: u8 = 2;
/// Such records as they were before labels.
const WITHOUT_LABELS: u8 = 1;
/// Epochs of one agent. Each is one loss of its journal; an agent that loses it a thousand times is sick.
pub(crate) const MAX_EPOCHS: usize = 1_024;
/// Holes of one agent that are remembered by place; the oldest are forgotten first.
const MAX_HOLES: usize = 64;
/// Processes of one agent that are remembered, to see two of them take turns.
const MAX_PROCESSES: usize = 4;

/// How long people are told that entries of a node had to give way.
const CUT_TOLD_MS: u64 = 24 * 3_600_000;

/// Place of a node in the fleet; never changes while the process lives.
pub(crate) type Place = usize;

/// What the store keeps of an agent besides its entries and blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) agent: AgentId,
    pub(crate) site: String,
    /// It is not of this fleet any more: what it has recorded stays.
    pub(crate) removed: bool,
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
    /// Labels that it told last.
    pub(crate) labels: Vec<(String, String)>,
}

/// A record of versions 1 and 2. In version 2 its labels stand behind it.
#[derive(Deserialize)]
struct Before {
    agent: AgentId,
    site: String,
    denied: Option<String>,
    quarantined: Option<String>,
    sessions: u64,
    stopped: bool,
    seen: Option<Now>,
    since: Option<Wall>,
    program: String,
    told: Option<Told>,
    status: Option<Status>,
    holes: Vec<Hole>,
}

/// How a record of versions 1 and 2 shut its agent out, and why. Identities say so now (`agents.rs`).
pub(crate) type WasShut = Option<(How, String)>;

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
            removed: false,
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
        bytes.extend(codec::encode(self));
        bytes
    }

    /// Reads a record of this version or an older one; `None` for one that this program cannot read.
    fn decode(bytes: &[u8]) -> Option<(Self, WasShut)> {
        match bytes.split_first()? {
            (&RECORD_VERSION, rest) => Some((codec::decode(rest).ok()?, None)),
            (&WITH_DENIALS, rest) => {
                let (before, labels): (Before, _) = codec::decode(rest).ok()?;
                Some(before.into_record(labels))
            }
            (&WITHOUT_LABELS, rest) => Some(codec::decode::<Before>(rest).ok()?.into_record(Vec::new())),
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

impl Before {
    fn into_record(self, labels: Vec<(String, String)>) -> (Record, WasShut) {
        let denied = self.denied.map(|reason| (How::Denied, reason));
        let was_shut = denied.or(self.quarantined.map(|reason| (How::Quarantined, reason)));
        let record = Record {
            agent: self.agent,
            site: self.site,
            removed: false,
            sessions: self.sessions,
            stopped: self.stopped,
            seen: self.seen,
            since: self.since,
            program: self.program,
            told: self.told,
            status: self.status,
            holes: self.holes,
            labels,
        };
        (record, was_shut)
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
    /// How fast it sends.
    pub(crate) pace: Pace,
    /// When entries of it had to give way because it has more than its share, and how many since then.
    pub(crate) cut: Option<(Mono, u64)>,
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
            pace: Pace::default(),
            cut: None,
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

    /// How many entries had to give way because it has more than its share, if that goes on.
    pub(crate) fn cut_lately(&self, now: Mono) -> Option<u64> {
        let (at, entries) = self.cut?;
        (now.0.saturating_sub(at.0) < CUT_TOLD_MS).then_some(entries)
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

    /// Which of the four words. `shut`: in which way it is shut out.
    pub(crate) fn state(&self, authority: Option<Authority>, shut: Option<&How>) -> NodeState {
        if shut.is_some_and(|how| *how != How::Quarantined) {
            return NodeState::Down;
        }
        if self.session.is_some() {
            return NodeState::Connected;
        }
        if self.record.stopped {
            return NodeState::Down;
        }
        if shut.is_some() {
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
    /// Nodes of clusters by the agent on them, as clusters last told. Not stored: they tell it again after a start.
    in_clusters: BTreeMap<AgentId, Vec<NodeRef>>,
    /// What clusters last told of themselves.
    pub(crate) rooms: Rooms,
}

/// A node that its record says is shut out, how and why.
type Shut = (Place, How, String);

impl Fleet {
    /// The fleet as the store holds it, and who its records say is shut out. A record that cannot be read is an error: without it
    /// its chains would be forgotten, and so would a denial.
    pub(crate) fn recovered(agents: Vec<StoredAgent>) -> Result<(Self, Vec<Shut>), Unreadable> {
        let (mut fleet, mut shut) = (Self::default(), Vec::new());
        for agent in agents {
            let unreadable = || Unreadable {
                kind: "record of node",
                id: agent.agent.to_string(),
                version: agent.record.first().copied(),
                known: RECORD_VERSION,
            };
            let (record, was_shut) = Record::decode(&agent.record).ok_or_else(unreadable)?;
            let mut node = Node::new(record, &agent.heads, agent.telemetry);
            node.last_decision = agent.last_decision;
            let place = fleet.add(node);
            shut.extend(was_shut.map(|(how, reason)| (place, how, reason)));
        }
        Ok((fleet, shut))
    }

    fn add(&mut self, node: Node) -> Place {
        let place = self.nodes.len();
        self.index.insert(node.id().clone(), place);
        self.nodes.push(node);
        place
    }

    /// All nodes of a cluster, each with the agent that is said to be on it. Replaces what the cluster told before.
    pub(crate) fn join(&mut self, cluster: &str, nodes: Vec<(String, AgentId)>) {
        for joined in self.in_clusters.values_mut() {
            joined.retain(|node| node.cluster != cluster);
        }
        for (name, agent) in nodes {
            let cluster = cluster.to_owned();
            self.in_clusters
                .entry(agent)
                .or_default()
                .push(NodeRef { cluster, name });
        }
        self.in_clusters.retain(|_, joined| !joined.is_empty());
    }

    /// Nodes of clusters that this node of the mesh is.
    pub(crate) fn in_clusters(&self, agent: &AgentId) -> &[NodeRef] {
        self.in_clusters.get(agent).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn place(&self, agent: &AgentId) -> Option<Place> {
        self.index.get(agent).copied()
    }

    /// A node of this name that is of the fleet.
    pub(crate) fn find(&self, agent: &AgentId) -> Option<&Node> {
        let node = self.place(agent).map(|place| &self.nodes[place]);
        node.filter(|node| !node.record.removed)
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

    /// How many there ever were.
    pub(crate) fn count(&self) -> usize {
        self.nodes.len()
    }

    /// Nodes of the fleet by name.
    pub(crate) fn by_name(&self) -> impl Iterator<Item = &Node> {
        let all = self.index.values().map(|place| &self.nodes[*place]);
        all.filter(|node| !node.record.removed)
    }

    /// A block is durable: what it shows.
    pub(crate) fn block_stored(&mut self, place: Place, block: &Block) -> Samples {
        self.nodes[place].feed.stored(block, &mut self.layouts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(record: Vec<u8>) -> Vec<StoredAgent> {
        vec![StoredAgent {
            agent: AgentId::new("edge-03").expect("valid"),
            record,
            heads: vec![ChainHead::empty(Epoch(2))],
            telemetry: (Epoch(0), Seq(0)),
            last_decision: None,
        }]
    }

    /// Version 1 as hubs wrote it: name, site, denied, quarantined, sessions, stopped, and eight fields that nobody had filled.
    fn version_1(denied: Option<&str>, quarantined: Option<&str>) -> Vec<u8> {
        let nothing = (
            None::<u8>,
            None::<u8>,
            String::new(),
            None::<u8>,
            None::<u8>,
            Vec::<u8>::new(),
        );
        let mut bytes = vec![WITHOUT_LABELS];
        bytes.extend(codec::encode(&(
            "edge-03",
            "lab",
            denied,
            quarantined,
            7u64,
            true,
            nothing,
        )));
        bytes
    }

    #[test]
    fn records_of_older_versions_are_read_and_say_who_was_shut_out() {
        let check = |bytes: Vec<u8>, expected: Option<(How, &str)>| {
            let (fleet, shut) = Fleet::recovered(stored(bytes)).expect("read");
            let node = fleet.node(0);
            assert_eq!((node.record.site.as_str(), node.record.sessions), ("lab", 7));
            let found = shut.into_iter().next().map(|(_, how, reason)| (how, reason));
            assert_eq!(found, expected.map(|(how, reason)| (how, reason.to_owned())));
        };
        check(version_1(None, None), None);
        check(version_1(Some("stolen"), Some("two")), Some((How::Denied, "stolen")));
        check(version_1(None, Some("two")), Some((How::Quarantined, "two")));
        let labels = vec![("rack".to_owned(), "r7".to_owned())];
        let mut version_2 = version_1(Some("stolen"), None);
        version_2[0] = WITH_DENIALS;
        version_2.extend(codec::encode(&labels));
        check(version_2.clone(), Some((How::Denied, "stolen")));
        let (fleet, _) = Fleet::recovered(stored(version_2)).expect("read");
        assert_eq!(fleet.node(0).record.labels, labels);
        let again = fleet.node(0).record.encode();
        let (again, shut) = Fleet::recovered(stored(again)).expect("read");
        assert_eq!((&again.node(0).record, shut.len()), (&fleet.node(0).record, 0));
    }

    #[test]
    fn a_record_that_cannot_be_read_is_an_error_and_never_a_node_that_is_not_there() {
        for bytes in [Vec::new(), vec![99, 1, 2], vec![RECORD_VERSION, 1]] {
            let error = Fleet::recovered(stored(bytes)).expect_err("unreadable");
            assert!(error.to_string().contains("`edge-03`"), "{error}");
        }
    }
}
