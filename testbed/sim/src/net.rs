//! The network between agents and hub, at the level of frames.
//!
//! A session either delivers each of its streams in order or breaks, as QUIC does; streams overtake each other. The two ends may
//! disagree for a while about whether a session is up. Frames that may be said twice sometimes are.

use std::collections::VecDeque;

use wire::Frame;

use crate::swarm::Fault;
use crate::world::{Event, World};

/// A lost packet costs about this much, in milliseconds.
const RETRANSMIT_MS: u64 = 200;
/// Both directions dead: the transport gives up within this range, in milliseconds.
const IDLE_MS: (u64, u64) = (8_000, 20_000);
/// One direction dead: the transport may believe in the session for this long.
const ONE_WAY_MS: (u64, u64) = (60_000, 120_000);

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the hub.
    Up,
    /// To the agent.
    Down,
}

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) node: usize,
    pub(crate) agent_open: bool,
    pub(crate) hub_open: bool,
    /// The neighbours that carry it, from the node to the hub.
    pub(crate) via: Vec<usize>,
    /// Since when it goes that way.
    pub(crate) since_ms: u64,
    /// A carrier has carried its share: nothing passes any more.
    starved: bool,
    /// A carrier in the wrong hands lets nothing more of that way pass.
    pub(crate) stuck: [bool; 2],
    /// When the last frame of each stream arrives, by way and class.
    last_ms: [[u64; 4]; 2],
    /// Frames that arrived while nothing passed.
    held: [VecDeque<Frame>; 2],
}

impl Session {
    pub(crate) fn new(node: usize) -> Self {
        Self {
            node,
            agent_open: true,
            hub_open: true,
            via: Vec::new(),
            since_ms: 0,
            starved: false,
            stuck: [false; 2],
            last_ms: [[0; 4]; 2],
            held: [VecDeque::new(), VecDeque::new()],
        }
    }
}

/// A frame in a line, for whoever watches a node.
fn short(frame: &Frame) -> String {
    match frame {
        Frame::Entries(entries) => {
            let count = entries.raw.len();
            format!("entries {}.{} and {} more", entries.epoch, entries.first, count - 1)
        }
        Frame::Telemetry(block) => format!("block {}.{}", block.epoch, block.seq),
        Frame::Status(status) => format!("status, bundle {}", status.bundle.generation),
        Frame::Bundle(signed) => format!("bundle {}", signed.digest().short()),
        Frame::Beacon(_) => "beacon".to_owned(),
        Frame::Roles(roles) => format!("{} role documents", roles.documents.len()),
        other => format!("{other:?}"),
    }
}

/// How often a frame comes twice: only those that a correct peer may say twice, and must mean the same the second time.
fn repeats_per_mille(frame: &Frame) -> u64 {
    match frame {
        // Rare, and the ones that hurt.
        Frame::Command(_) | Frame::PlanCommand(_) | Frame::Roles(_) => 300,
        Frame::Entries(_)
        | Frame::Telemetry(_)
        | Frame::Ack(_)
        | Frame::Beacon(_)
        | Frame::Status(_)
        | Frame::NodeFacts(_)
        | Frame::Findings(_)
        | Frame::NodePath(_)
        | Frame::PeerState(_)
        | Frame::PeerPath(_)
        | Frame::AskTime(_)
        | Frame::HubTime(_)
        | Frame::Checkpoint(_)
        | Frame::FleetFacts(_) => 30,
        Frame::Hello(_)
        | Frame::Welcome(_)
        | Frame::Goodbye(_)
        | Frame::AskBundle(_)
        | Frame::Bundle(_)
        | Frame::PeerKey(_) => 0,
    }
}

impl World {
    pub(crate) fn is_blocked(&self, node: usize, way: Way) -> bool {
        let session = self.nodes[node].session.and_then(|id| self.sessions.get(&id));
        if let Some(session) = session.filter(|session| !session.via.is_empty()) {
            let is_stuck = session.stuck[way as usize] && self.healed_at.is_none();
            return session.starved || is_stuck || self.is_way_blocked(node, &session.via, way);
        }
        let node = &self.nodes[node];
        match way {
            Way::Up => node.blocked_up,
            Way::Down => node.blocked_down,
        }
    }

    /// Puts a frame on its way.
    pub(crate) fn send(&mut self, id: u64, way: Way, frame: Frame) {
        let mut delay = self.latency();
        let now_ms = self.now_ms;
        let carried = self.sessions.get(&id).filter(|session| !session.via.is_empty());
        if let Some((n, via)) = carried.map(|session| (session.node, session.via.clone())) {
            delay += self.carried_delay(n, &via);
            let length = frame.encode().len();
            let takes = self.charge(n, &via, length);
            let is_dropped = self.is_dropped(&via, way, length);
            if let Some(session) = self.sessions.get_mut(&id) {
                session.starved |= !takes;
                session.stuck[way as usize] |= is_dropped;
            }
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let class = frame.class() as usize;
        let lasts = &mut session.last_ms[way as usize];
        let at_ms = lasts[class].max(now_ms + delay);
        lasts[class] = at_ms;
        if lasts.iter().any(|last| *last > at_ms) {
            self.faults.add(Fault::Reorder);
        }
        let repeated = self.faulty(Fault::Duplicate) && self.random.chance(repeats_per_mille(&frame));
        let again = repeated.then(|| Box::new(frame.clone()));
        let frame = Box::new(frame);
        self.at(at_ms, Event::Deliver { id, way, frame });
        if let Some(frame) = again {
            self.faults.add(Fault::Duplicate);
            self.at(at_ms, Event::Deliver { id, way, frame });
        }
    }

    /// One way, retransmissions included.
    pub(crate) fn latency(&mut self) -> u64 {
        let mut delay = self.random.between(1, self.swarm.latency_ms);
        while self.swarm.has(Fault::Loss) && self.healed_at.is_none() && self.random.chance(self.swarm.loss_per_mille) {
            self.faults.add(Fault::Loss);
            delay += RETRANSMIT_MS;
        }
        if self.faulty(Fault::Delay) && self.random.chance(5) {
            self.faults.add(Fault::Delay);
            delay += self.random.between(1_000, 5_000);
        }
        delay
    }

    pub(crate) fn deliver(&mut self, id: u64, way: Way, frame: Frame) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let blocked = self.is_blocked(session.node, way);
        let one_way = blocked && {
            let other = match way {
                Way::Up => Way::Down,
                Way::Down => Way::Up,
            };
            !self.is_blocked(session.node, other)
        };
        let held = &session.held[way as usize];
        if !blocked && held.is_empty() {
            return self.hand_over(id, way, frame);
        }
        if held.is_empty() {
            let (least, most) = if one_way { ONE_WAY_MS } else { IDLE_MS };
            let after = self.random.between(least, most);
            self.after(after, Event::Idle { id, way });
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.held[way as usize].push_back(frame);
        }
    }

    fn hand_over(&mut self, id: u64, way: Way, frame: Frame) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        self.say(session.node, || {
            let arrow = match way {
                Way::Up => "->",
                Way::Down => "<-",
            };
            format!("{arrow} {}", short(&frame))
        });
        match way {
            Way::Up if session.hub_open => {
                let session = hub_core::SessionId(id);
                self.tell_hub(hub_core::Input::Frame { session, frame });
            }
            Way::Down if session.agent_open => {
                let node = session.node;
                self.tell(node, edge_agent_core::Input::Frame(frame));
            }
            Way::Up | Way::Down => {}
        }
    }

    /// What waited in a session passes again.
    pub(crate) fn unblock(&mut self, node: usize) {
        let Some(id) = self.nodes[node].session else {
            return;
        };
        for way in [Way::Up, Way::Down] {
            while !self.is_blocked(node, way) {
                let session = self.sessions.get_mut(&id);
                let Some(frame) = session.and_then(|s| s.held[way as usize].pop_front()) else {
                    break;
                };
                self.hand_over(id, way, frame);
            }
        }
    }

    /// The transport has waited long enough for a dead path.
    pub(crate) fn idle(&mut self, id: u64, way: Way) {
        let session = self.sessions.get(&id);
        if session.is_some_and(|session| !session.held[way as usize].is_empty()) {
            self.break_session(id, "idle");
        }
    }

    /// Both ends lose a session, not at the same moment.
    pub(crate) fn break_session(&mut self, id: u64, reason: &'static str) {
        self.faults.add(Fault::Break);
        let zombie = self.faulty(Fault::Zombie) && self.random.chance(500);
        let late = if zombie {
            self.faults.add(Fault::Zombie);
            self.random.between(2_000, 30_000)
        } else {
            self.random.between(0, 500)
        };
        let (agent, hub) = if self.random.chance(500) { (0, late) } else { (late, 0) };
        self.after(agent, Event::AgentEnd { id, reason });
        self.after(hub, Event::HubEnd { id, reason });
    }

    /// The agent's end of a session closes.
    pub(crate) fn agent_end(&mut self, id: u64, reason: &str) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if !std::mem::take(&mut session.agent_open) {
            return;
        }
        let (node, via, since_ms) = (session.node, session.via.first().copied(), session.since_ms);
        self.forget_session(id);
        if let Some(carrier) = via.filter(|_| ["idle", "closed", "broken"].contains(&reason)) {
            self.doubt(node, carrier, since_ms);
        }
        if self.nodes[node].session == Some(id) {
            self.nodes[node].session = None;
            let reason = reason.to_owned();
            self.tell(node, edge_agent_core::Input::LinkDown { reason });
        }
    }

    /// The hub's end of a session closes.
    pub(crate) fn hub_end(&mut self, id: u64, reason: &str) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if !std::mem::take(&mut session.hub_open) {
            return;
        }
        self.forget_session(id);
        let session = hub_core::SessionId(id);
        let reason = reason.to_owned();
        self.tell_hub(hub_core::Input::SessionClosed { session, reason });
    }

    /// When the last frame that was sent this way has arrived.
    pub(crate) fn drained_ms(&self, id: u64, way: Way) -> u64 {
        let session = self.sessions.get(&id);
        let lasts = session.map_or([0; 4], |session| session.last_ms[way as usize]);
        lasts.into_iter().max().unwrap_or(0).max(self.now_ms) + 1
    }

    fn forget_session(&mut self, id: u64) {
        let session = self.sessions.get(&id);
        if session.is_some_and(|session| !session.agent_open && !session.hub_open) {
            self.sessions.remove(&id);
        }
    }
}
