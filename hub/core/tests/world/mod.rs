//! A dumb world around one hub: a store that is a few maps, agents that are lists of entries, and a judge who looks at every
//! effect before it counts.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hub_core::{
    AgentRequest, Answer, Batch, Change, Checkpointing, Effect, Hub, Input, Joining, NewToken, Put, Recovered, Request,
    Row, SessionId, Settings, StoredAgent, StoredDocument,
};
use wire::bundle::KeyRing;
use wire::decision::Authority;
use wire::entry::{ChainHead, Entry, EntryBody, Event, RawEntry};
use wire::frame::{Command, Entries, Frame, GoodbyeReason, Hello, Order, PlanCommand, Status, Welcome};
use wire::time::ClockState;
use wire::{AgentId, BundleRef, CommandId, Digest, Epoch, Generation, HubEpoch, Mono, Now, Seq, SignedBundle, Wall};

pub const DOMAIN: &str = "example";

/// What a disk holds.
#[derive(Debug, Clone, Default)]
pub struct Store {
    pub meta: Option<Vec<u8>>,
    pub records: BTreeMap<AgentId, Vec<u8>>,
    pub entries: BTreeMap<(AgentId, Epoch), BTreeMap<Seq, Vec<u8>>>,
    pub blocks: BTreeMap<(AgentId, Epoch), BTreeMap<Seq, Vec<u8>>>,
    pub bundles: BTreeMap<Generation, (BundleRef, SignedBundle)>,
    pub commands: BTreeMap<CommandId, Vec<u8>>,
    pub turns: BTreeMap<(String, String), Vec<u8>>,
    pub documents: BTreeMap<(&'static str, String), Put>,
}

impl Store {
    /// Writes a batch; checks that entries are the next links of what is there. `holes`: places where the agents said that
    /// entries are gone.
    fn commit(&mut self, batch: Batch, holes: &[(AgentId, Epoch, Seq)]) {
        for row in batch.rows {
            match row {
                Row::Entries { agent, epoch, raw, .. } => {
                    assert!(
                        agent.is_hub() || self.records.contains_key(&agent),
                        "{agent} has no record"
                    );
                    let key = (agent.clone(), epoch);
                    let chain = self.entries.entry(key).or_default();
                    for entry in raw {
                        let last = chain.keys().next_back().copied().unwrap_or(Seq(0));
                        let declared = holes.contains(&(agent.clone(), epoch, entry.seq));
                        if last.next() == entry.seq {
                            let prev = chain.get(&last).map(|bytes| wire::Digest::of(bytes));
                            if !declared || last.0 > 0 {
                                let prev = prev.unwrap_or(wire::Digest::ZERO);
                                assert!(declared || entry.prev().unwrap() == prev);
                            }
                        } else {
                            assert!(declared, "{agent} {epoch} {} after {last}", entry.seq);
                            assert!(entry.seq > last, "{} is stored twice", entry.seq);
                        }
                        assert_eq!(entry.digest, wire::Digest::of(&entry.bytes));
                        assert!(chain.insert(entry.seq, entry.bytes).is_none());
                    }
                }
                Row::Telemetry {
                    agent,
                    epoch,
                    seq,
                    block,
                } => {
                    let blocks = self.blocks.entry((agent, epoch)).or_default();
                    let before = blocks.insert(seq, block.clone());
                    assert!(before.is_none_or(|before| before == block));
                }
                Row::Agent { agent, record } => {
                    self.records.insert(agent, record);
                }
                Row::Bundle { bundle, signed, .. } => {
                    assert_eq!(bundle.digest, signed.digest());
                    self.bundles.insert(bundle.generation, (bundle, signed));
                }
                Row::Command { id, record } => {
                    match record {
                        Some(record) => self.commands.insert(id, record),
                        None => self.commands.remove(&id),
                    };
                }
                Row::Meta(meta) => self.meta = Some(meta),
                Row::Put(put) => {
                    let key = (put.kind, put.id.clone());
                    let stored = self.documents.get(&key).map_or(0, |stored| stored.revision);
                    assert_eq!(put.revision, stored + 1, "{} {}", put.kind, put.id);
                    self.documents.insert(key, put);
                }
                Row::Turns { rule, value, record } => {
                    match record {
                        Some(record) => self.turns.insert((rule, value), record),
                        None => self.turns.remove(&(rule, value)),
                    };
                }
            }
        }
    }

    pub fn head(&self, agent: &AgentId, epoch: Epoch) -> ChainHead {
        let chain = self.entries.get(&(agent.clone(), epoch));
        match chain.and_then(|chain| chain.last_key_value()) {
            Some((seq, bytes)) => ChainHead {
                epoch,
                seq: *seq,
                digest: wire::Digest::of(bytes),
            },
            None => ChainHead::empty(epoch),
        }
    }

    fn recover(&self) -> Recovered {
        let agents = self.records.iter().map(|(agent, record)| StoredAgent {
            agent: agent.clone(),
            record: record.clone(),
            heads: self
                .entries
                .keys()
                .filter(|(of, _)| of == agent)
                .map(|(_, epoch)| self.head(agent, *epoch))
                .collect(),
            telemetry: self
                .blocks
                .iter()
                .rfind(|((of, _), _)| of == agent)
                .map_or((Epoch(0), Seq(0)), |((_, epoch), blocks)| {
                    (*epoch, *blocks.keys().next_back().unwrap())
                }),
            last_decision: None,
        });
        Recovered {
            meta: self.meta.clone(),
            agents: agents.collect(),
            bundle: self.bundles.values().next_back().cloned(),
            commands: self.commands.values().cloned().collect(),
            journal: self
                .entries
                .keys()
                .filter(|(of, _)| of.is_hub())
                .map(|(of, epoch)| self.head(of, *epoch))
                .collect(),
            documents: self
                .documents
                .values()
                .filter(|put| put.live)
                .filter_map(stored_document)
                .collect(),
            document_keys: self
                .documents
                .values()
                .flat_map(|put| {
                    put.unique
                        .iter()
                        .map(|key| (put.kind.to_owned(), key.clone(), put.id.clone()))
                })
                .collect(),
            turns: self
                .turns
                .iter()
                .map(|((rule, value), record)| (rule.clone(), value.clone(), record.clone()))
                .collect(),
        }
    }
}

fn stored_document(put: &Put) -> Option<StoredDocument> {
    Some(StoredDocument {
        kind: put.kind.to_owned(),
        id: put.id.clone(),
        revision: put.revision,
        record: put.record.clone()?,
    })
}

/// What one session heard.
#[derive(Debug, Default)]
pub struct Heard {
    pub frames: Vec<Frame>,
    pub closed: bool,
}

impl Heard {
    pub fn welcome(&self) -> Option<&Welcome> {
        self.frames.iter().find_map(|frame| match frame {
            Frame::Welcome(welcome) => Some(welcome),
            _ => None,
        })
    }

    pub fn goodbye(&self) -> Option<GoodbyeReason> {
        self.frames.iter().find_map(|frame| match frame {
            Frame::Goodbye(goodbye) => Some(goodbye.reason),
            _ => None,
        })
    }

    pub fn acked(&self) -> Option<Seq> {
        let acks = self.frames.iter().filter_map(|frame| match frame {
            Frame::Ack(ack) => ack.entries,
            _ => None,
        });
        acks.max()
    }

    pub fn commands(&self) -> Vec<&Command> {
        let commands = self.frames.iter().filter_map(|frame| match frame {
            Frame::Command(command) => Some(command),
            _ => None,
        });
        commands.collect()
    }

    pub fn steps(&self) -> Vec<&PlanCommand> {
        let steps = self.frames.iter().filter_map(|frame| match frame {
            Frame::PlanCommand(step) => Some(step),
            _ => None,
        });
        steps.collect()
    }

    pub fn bundles(&self) -> usize {
        let bundles = self.frames.iter();
        bundles.filter(|frame| matches!(frame, Frame::Bundle(_))).count()
    }
}

/// One agent: its journal, and what it remembers.
#[derive(Debug, Clone)]
pub struct Agent {
    pub id: AgentId,
    pub process: u64,
    /// By epoch, ascending; an entry's place is its index plus one.
    pub epochs: BTreeMap<Epoch, Vec<RawEntry>>,
    /// The first entry that it still has, of each epoch.
    pub oldest: BTreeMap<Epoch, Seq>,
    pub acked: BTreeMap<Epoch, Seq>,
    pub bundle: BundleRef,
    pub signed: Option<SignedBundle>,
    pub floor: Generation,
    pub hub_epoch: HubEpoch,
    pub session: Option<SessionId>,
    /// The next entry to send, of each epoch.
    pub next: BTreeMap<Epoch, Seq>,
    pub blocks: u64,
    /// The last beacon, the hub epoch at that time, and how often the hub had been restored.
    beacon: (u64, HubEpoch, u64),
}

impl Agent {
    pub fn new(name: &str) -> Self {
        Self {
            id: AgentId::new(name).unwrap(),
            process: 1,
            epochs: BTreeMap::from([(Epoch(1), Vec::new())]),
            oldest: BTreeMap::from([(Epoch(1), Seq(1))]),
            acked: BTreeMap::new(),
            bundle: BundleRef::NONE,
            signed: None,
            floor: Generation(0),
            hub_epoch: HubEpoch(0),
            session: None,
            next: BTreeMap::new(),
            blocks: 0,
            beacon: (0, HubEpoch(0), 0),
        }
    }

    pub fn epoch(&self) -> Epoch {
        *self.epochs.keys().next_back().unwrap()
    }

    pub fn head_of(&self, epoch: Epoch) -> ChainHead {
        match self.epochs[&epoch].last() {
            Some(raw) => ChainHead {
                epoch,
                seq: raw.seq,
                digest: raw.digest,
            },
            None => ChainHead::empty(epoch),
        }
    }

    pub fn head(&self) -> ChainHead {
        self.head_of(self.epoch())
    }

    pub fn push(&mut self, body: EntryBody) -> RawEntry {
        let head = self.head();
        let raw = Entry {
            seq: head.seq.next(),
            at: Now::default(),
            prev: head.digest,
            body,
        }
        .encode();
        let epoch = self.epoch();
        self.epochs.get_mut(&epoch).unwrap().push(raw.clone());
        raw
    }

    pub fn make(&mut self, count: usize) {
        for _ in 0..count {
            let message = format!("{} of {}", self.head().seq.next(), self.process);
            self.push(EntryBody::Event(Event::Notified { message }));
        }
    }

    pub fn new_epoch(&mut self) {
        let epoch = self.epoch().next();
        self.epochs.insert(epoch, Vec::new());
        self.oldest.insert(epoch, Seq(1));
        self.blocks = 0;
    }

    pub fn hello(&self) -> Hello {
        let epoch = self.epoch();
        let older = self.epochs.iter().filter(|(of, raw)| **of != epoch && !raw.is_empty());
        Hello {
            version: 1,
            oldest_version: 1,
            program: "0.1.0".to_owned(),
            head: self.head(),
            oldest_entry: self.oldest[&epoch],
            acked: self.acked.get(&epoch).copied().unwrap_or_default(),
            older: older
                .map(|(of, raw)| (*of, self.oldest[of], Seq(raw.len() as u64)))
                .collect(),
            telemetry: Seq(self.blocks),
            bundle: self.bundle,
            generation_floor: self.floor,
            hub_epoch: self.hub_epoch,
            process: self.process,
            last_session: 0,
            now: Now::default(),
        }
    }

    pub fn status(&self) -> Status {
        Status {
            at: Now::default(),
            head: self.head(),
            bundle: self.bundle,
            policy_age_ms: 0,
            authority: Authority::Full,
            next_step_ms: Some(21_600_000),
            held_by: None,
            clock: ClockState::Steady,
            journal_ok: true,
            journal_bytes: (1, 2),
            unrecorded_actions: 0,
            telemetry_interval_ms: 1_000,
            devices: Vec::new(),
            certificate_ends: Wall(0),
            rejoins: 0,
        }
    }

    /// A frame of entries from this place on.
    pub fn frame(&self, epoch: Epoch, first: Seq, count: usize) -> Option<Frame> {
        let raw = &self.epochs[&epoch];
        let from = (first.0 as usize).checked_sub(1)?;
        let part: Vec<Vec<u8>> = raw.iter().skip(from).take(count).map(|raw| raw.bytes.clone()).collect();
        (!part.is_empty()).then_some(Frame::Entries(Entries {
            epoch,
            first,
            raw: part,
        }))
    }

    /// Takes in a welcome, as an agent does: where to go on, and whether its own state is an old copy.
    pub fn welcomed(&mut self, welcome: &Welcome) {
        self.hub_epoch = self.hub_epoch.max(welcome.hub_epoch);
        let holds = |epoch| {
            let found = welcome.holds.iter().find(|head| head.epoch == epoch);
            found.copied().unwrap_or(ChainHead::empty(epoch))
        };
        let present = holds(self.epoch());
        let head = self.head();
        let known = self.epochs[&self.epoch()].get((present.seq.0 as usize).wrapping_sub(1));
        if present.seq > head.seq || known.is_some_and(|raw| raw.digest != present.digest) {
            self.new_epoch();
        }
        for epoch in self.epochs.keys().copied().collect::<Vec<_>>() {
            let held = holds(epoch).seq;
            self.acked.insert(epoch, held.min(self.head_of(epoch).seq));
            self.next.insert(epoch, held.next().max(self.oldest[&epoch]));
        }
    }
}

/// The hub, its store, its agents.
pub struct World {
    pub hub: Hub,
    pub settings: Settings,
    pub now: Now,
    pub store: Store,
    /// The batch that the store has and has not answered.
    pub batch: Option<Batch>,
    pub heard: BTreeMap<SessionId, Heard>,
    pub replies: BTreeMap<u64, Vec<Answer>>,
    pub changes: Vec<Change>,
    /// Places of the hub's own journal that are to be looked at.
    pub compares: Vec<ChainHead>,
    /// What clusters are to do.
    pub kube: Vec<hub_core::KubeEffect>,
    pub agents: Vec<Agent>,
    /// Where agents said that entries before are gone.
    pub holes: Vec<(AgentId, Epoch, Seq)>,
    of_session: BTreeMap<SessionId, usize>,
    asked: Vec<(SessionId, BundleRef)>,
    last_session: u64,
    last_request: u64,
    restores: u64,
}

/// What a person and a machine ask for until it is an agent: a token for it, and the join.
pub fn enrol(agent: &AgentId, site: &str) -> [Request; 2] {
    let hash = Digest::of(agent.as_str().as_bytes());
    let token = AgentRequest::CreateToken(NewToken {
        hash,
        label: None,
        name: Some(agent.clone()),
        site: Some(site.to_owned()),
        ttl: Duration::from_secs(3_600),
        takes_over: false,
    });
    let joining = AgentRequest::Join(Joining {
        token: hash,
        name: None,
        node_key: hash.0,
        proven: true,
        key: hash,
        program: "test".to_owned(),
        address: None,
    });
    [token, joining].map(of_hub)
}

/// Something that concerns identities, asked by nobody in particular.
pub fn of_hub(what: AgentRequest) -> Request {
    let caller = wire::change::Caller::hub();
    Request::Agents { caller, what }
}

pub fn settings() -> Settings {
    Settings {
        trust_domain: DOMAIN.to_owned(),
        policy_key: Some(ed25519_dalek::SigningKey::from_bytes(&[7; 32])),
        beacon_key: Some(ed25519_dalek::SigningKey::from_bytes(&[7; 32])),
        roles: None,
        seed: 1,
        first_hub_epoch: HubEpoch(10),
        max_handshakes: 64,
        beacon_every: Duration::from_secs(15),
        checkpoints: Checkpointing {
            key: Some(ed25519_dalek::SigningKey::from_bytes(&[5; 32])),
            every: Duration::from_secs(60),
        },
        certificates: hub_core::Certificates::default(),
    }
}

impl World {
    pub fn new(agents: usize) -> Self {
        Self::at(&vec!["paris"; agents])
    }

    /// With one agent at each of these sites.
    pub fn at(sites: &[&str]) -> Self {
        let agents = sites.len();
        let settings = settings();
        let now = Now {
            mono: Mono(1_000_000),
            wall: Wall(1_795_521_667_250),
        };
        let hub = Hub::new(settings.clone(), Recovered::default(), now).expect("an empty store");
        let mut world = Self {
            hub,
            settings,
            now,
            store: Store::default(),
            batch: None,
            heard: BTreeMap::new(),
            replies: BTreeMap::new(),
            changes: Vec::new(),
            kube: Vec::new(),
            compares: Vec::new(),
            agents: (0..agents).map(|n| Agent::new(&format!("edge-{n}"))).collect(),
            holes: Vec::new(),
            of_session: BTreeMap::new(),
            asked: Vec::new(),
            last_session: 0,
            last_request: 0,
            restores: 0,
        };
        for (index, site) in sites.iter().enumerate() {
            let agent = world.agents[index].id.clone();
            for what in enrol(&agent, site) {
                world.request(what);
            }
        }
        world.settle();
        world.changes.clear();
        world
    }

    /// Tells the hub, and judges every effect.
    pub fn tell(&mut self, input: Input) {
        self.hub.handle(input, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        let mut effects = VecDeque::new();
        while let Some(effect) = self.hub.poll_effect() {
            effects.push_back(effect);
        }
        for effect in effects {
            self.judge(effect);
        }
        // Agents give their bundle back when they are asked.
        for (session, bundle) in std::mem::take(&mut self.asked) {
            let signed = self.agents[self.of_session[&session]].signed.clone();
            if let Some(signed) = signed.filter(|signed| signed.digest() == bundle.digest) {
                self.frame(session, Frame::Bundle(signed));
            }
        }
    }

    fn judge(&mut self, effect: Effect) {
        match effect {
            Effect::Store(batch) => {
                assert!(self.batch.is_none(), "two batches in flight");
                self.batch = Some(batch);
            }
            Effect::Send { session, frame } => {
                self.judge_frame(session, &frame);
                let heard = self.heard.get_mut(&session).expect("a session that was opened");
                assert!(!heard.closed, "a frame after the close");
                heard.frames.push(frame);
            }
            Effect::Close { session, .. } => {
                self.heard.get_mut(&session).unwrap().closed = true;
                for agent in &mut self.agents {
                    if agent.session == Some(session) {
                        agent.session = None;
                    }
                }
            }
            Effect::Reply { request, answer } => {
                self.replies.entry(request).or_default().push(answer);
            }
            Effect::Kube(effect) => self.kube.push(effect),
            Effect::Changed(change) => self.changes.push(change),
            Effect::Publish(_) => {}
            Effect::Compare { head } => self.compares.push(head),
        }
    }

    fn judge_frame(&mut self, session: SessionId, frame: &Frame) {
        let index = self.of_session[&session];
        let id = self.agents[index].id.clone();
        match frame {
            Frame::Ack(ack) => {
                if let Some(entries) = ack.entries {
                    assert_eq!(self.store.head(&id, ack.epoch).seq, entries, "ack before the commit");
                    let last = &self.store.entries[&(id.clone(), ack.epoch)][&entries];
                    let mine = &self.agents[index].epochs[&ack.epoch];
                    if let Some(raw) = mine.get(entries.0 as usize - 1) {
                        assert_eq!(raw.bytes, *last, "another entry was acknowledged");
                    }
                }
                if let Some(seq) = ack.telemetry {
                    assert!(self.store.blocks[&(id, ack.epoch)].contains_key(&seq));
                }
            }
            Frame::Welcome(welcome) => {
                assert!(self.store.meta.is_some(), "a welcome before the hub epoch is stored");
                assert_eq!(welcome.hub_epoch, self.hub.hub_epoch());
                assert!(welcome.hub_epoch >= self.agents[index].hub_epoch);
                for head in &welcome.holds {
                    assert_eq!(*head, self.store.head(&id, head.epoch), "not what is stored");
                }
                let live = self.heard.iter().filter(|(other, heard)| {
                    self.of_session[other] == index && !heard.closed && heard.welcome().is_some()
                });
                assert_eq!(live.count(), 0, "two welcomed sessions of {id}");
            }
            Frame::Command(command) => {
                assert!(self.store.commands.contains_key(&command.id));
                assert_eq!(command.hub_epoch, self.hub.hub_epoch());
                assert!(command.valid_for_ms > 0);
            }
            Frame::PlanCommand(step) => {
                assert!(self.store.commands.contains_key(&step.command.id));
                let plan = step.plan.to_string();
                assert!(
                    self.store.documents.contains_key(&("plan", plan)),
                    "an unexplained step"
                );
            }
            Frame::Bundle(signed) => {
                let ring = self.ring();
                let payload = signed.open(&ring, DOMAIN).expect("our own signature");
                assert!(self.store.bundles.contains_key(&payload.generation));
                let agent = &mut self.agents[index];
                if payload.generation > agent.floor {
                    agent.floor = payload.generation;
                    agent.bundle = BundleRef {
                        generation: payload.generation,
                        digest: signed.digest(),
                    };
                    agent.signed = Some(signed.clone());
                }
            }
            Frame::Beacon(beacon) => {
                let payload = beacon.open(&self.ring(), DOMAIN).expect("our own signature");
                assert!(self.store.bundles.contains_key(&payload.bundle.generation));
                let hub_epoch = self.hub.hub_epoch();
                let (last, last_epoch, restores) = self.agents[index].beacon;
                // A restore that no agent can have noticed may repeat numbers.
                let known = hub_epoch > last_epoch || restores == self.restores;
                assert!(!known || payload.number >= last, "beacon numbers fell");
                self.agents[index].beacon = (payload.number, hub_epoch, self.restores);
            }
            Frame::AskBundle(ask) => self.asked.push((session, ask.bundle)),
            Frame::Checkpoint(signed) => {
                let found = signed.peek().expect("our own");
                let stored = self.store.head(&AgentId::hub(), found.head.epoch);
                assert!(found.head.seq <= stored.seq, "an end that is not stored was signed");
            }
            Frame::Goodbye(_) | Frame::FleetFacts(_) | Frame::HubTime(_) => {}
            other => panic!("a hub does not send {other:?}"),
        }
    }

    fn ring(&self) -> KeyRing {
        let key = self.settings.policy_key.as_ref().expect("this hub signs");
        KeyRing::single(key.verifying_key().to_bytes())
    }

    /// The store answers its batch.
    pub fn commit(&mut self) {
        if let Some(batch) = self.batch.take() {
            let token = batch.token;
            self.store.commit(batch, &self.holes);
            self.tell(Input::Stored { token });
        }
    }

    pub fn fail(&mut self) {
        if let Some(batch) = self.batch.take() {
            let (token, reason) = (batch.token, "disk full".to_owned());
            self.tell(Input::StoreFailed { token, reason });
        }
    }

    /// The store does not know what became of its batch; [`World::commit`] or [`World::fail`] says so later.
    pub fn doubt(&mut self) {
        if let Some(batch) = &self.batch {
            let (token, reason) = (batch.token, "the answer is lost".to_owned());
            self.tell(Input::StoreUnknown { token, reason });
        }
    }

    /// Lets everything become durable.
    pub fn settle(&mut self) {
        while self.batch.is_some() {
            self.commit();
        }
    }

    pub fn advance(&mut self, milliseconds: u64) {
        self.now.mono.0 += milliseconds;
        self.now.wall.0 += milliseconds as i64;
        while self.hub.poll_timeout(self.now) == Some(Duration::ZERO) && self.batch.is_none() {
            self.tell(Input::Tick);
            if self.hub.poll_timeout(self.now) == Some(Duration::ZERO) {
                break;
            }
        }
        self.tell(Input::Tick);
    }

    /// The hub's process dies and starts again; what was in flight is written, or not.
    pub fn restart(&mut self, written: bool) {
        if let Some(batch) = self.batch.take().filter(|_| written) {
            self.store.commit(batch, &self.holes);
        }
        self.reopen();
    }

    /// The hub is restored from this copy.
    pub fn restore(&mut self, copy: Store) {
        self.batch = None;
        self.store = copy;
        self.restores += 1;
        self.reopen();
    }

    fn reopen(&mut self) {
        for heard in self.heard.values_mut() {
            heard.closed = true;
        }
        for agent in &mut self.agents {
            agent.session = None;
        }
        self.hub = Hub::new(self.settings.clone(), self.store.recover(), self.now).expect("our own documents");
        self.drain();
    }

    pub fn open(&mut self, index: usize) -> SessionId {
        self.last_session += 1;
        let session = SessionId(self.last_session);
        self.heard.insert(session, Heard::default());
        self.of_session.insert(session, index);
        self.agents[index].session = Some(session);
        let agent = self.agents[index].id.clone();
        self.tell(Input::SessionOpened { session, agent });
        session
    }

    pub fn frame(&mut self, session: SessionId, frame: Frame) {
        self.tell(Input::Frame { session, frame });
    }

    pub fn greet(&mut self, index: usize) -> SessionId {
        let session = self.open(index);
        let hello = self.agents[index].hello();
        let agent = &self.agents[index];
        for (epoch, oldest) in &agent.oldest {
            self.holes.push((agent.id.clone(), *epoch, *oldest));
        }
        self.frame(session, Frame::Hello(hello));
        session
    }

    /// Greets, lets the store work, and takes in the welcome. `None`: it was turned away.
    pub fn join(&mut self, index: usize) -> Option<SessionId> {
        let session = self.greet(index);
        self.settle();
        let welcome = self.heard[&session].welcome()?.clone();
        self.agents[index].welcomed(&welcome);
        self.frame(session, Frame::Status(self.agents[index].status()));
        Some(session)
    }

    pub fn close(&mut self, index: usize, reason: &str) {
        if let Some(session) = self.agents[index].session.take() {
            self.heard.get_mut(&session).unwrap().closed = true;
            let reason = reason.to_owned();
            self.tell(Input::SessionClosed { session, reason });
        }
    }

    /// Sends the next entries of an agent, oldest epoch first. False: there is nothing to send.
    pub fn send_next(&mut self, index: usize, count: usize) -> bool {
        let agent = &self.agents[index];
        let Some(session) = agent.session else {
            return false;
        };
        for (epoch, next) in agent.next.clone() {
            if let Some(frame) = self.agents[index].frame(epoch, next, count) {
                let Frame::Entries(entries) = &frame else {
                    return false;
                };
                let sent = entries.raw.len() as u64;
                self.agents[index].next.insert(epoch, Seq(next.0 + sent));
                self.frame(session, frame);
                return true;
            }
        }
        false
    }

    pub fn request(&mut self, what: Request) -> u64 {
        self.last_request += 1;
        let request = self.last_request;
        self.replies.entry(request).or_default();
        self.tell(Input::Request { request, what });
        request
    }

    pub fn publish(&mut self, text: &str) -> u64 {
        self.request(Request::Publish {
            caller: wire::change::Caller::new("ann", wire::change::Via::Api),
            text: text.as_bytes().to_vec(),
        })
    }

    pub fn order(&mut self, index: usize, what: Order, valid_ms: u64, wait_ms: u64) -> u64 {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(self.last_request + 1).to_le_bytes());
        self.request(Request::Order {
            id: CommandId(id),
            agent: self.agents[index].id.clone(),
            caller: wire::change::Caller::new("ann", wire::change::Via::Api),
            reason: "test".to_owned(),
            what,
            valid_for: Duration::from_millis(valid_ms),
            wait: Duration::from_millis(wait_ms),
        })
    }
}
