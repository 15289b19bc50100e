//! One seeded world: agents, a hub, a network, and a heap of what happens next.
//!
//! Everything that happens is an [`Event`] at a moment; ties are broken by the order in which they were planned. The real cores run inside;
//! time, disks, devices and sessions are models.
//!
//! Invariant: a world's whole course follows from its seed and its swarm; two runs have the same trace.
//!
//! Read next: `agents.rs` and `hubs.rs` (the shells), `trouble.rs` (what goes wrong), `invariants.rs` (what must hold).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use ed25519_dalek::SigningKey;
use edge_agent_core::{AppendError, LinkState, Loaded, Run, Token};
use wire::bundle::SignedBundle;
use wire::ids::Seq;
use wire::{BundleRef, Frame};

use crate::agents::Node;
use crate::bundles::{Draft, Pool};
use crate::clock::Clock;
use crate::flood::Flood;
use crate::hostile::Hostile;
use crate::invariants::Invariants;
use crate::neighbours::Neighbours;
use crate::net::{Session, Way};
use crate::plans::Planning;
use crate::random::Random;
use crate::relay::Site;
use crate::store::Store;
use crate::swarm::{FaultCounts, Swarm};
use crate::trouble::Busy;

pub(crate) const TRUST_DOMAIN: &str = "sim";
/// After healing all must have come together within this time: the longest backoff with its jitter, and then some.
const HEALED_MS: u64 = 12 * 60_000;
/// How often it is looked whether they have.
const LOOK_EVERY_MS: u64 = 5_000;

/// A bug that is switched on for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// None.
    Nothing,
    /// The hub's shell says that rows are stored before they are.
    AckBeforeCommit,
    /// The hub's shell says of a commit that nobody knows of that it failed.
    UnknownIsFailed,
    /// A carrier's share begins anew with each session.
    ShareBySession,
    /// A carrier's share begins anew with each process.
    ShareByProcess,
    /// A node does not remember that sessions by way of a neighbour did not hold.
    TrustAgain,
    /// What a neighbour passes on is not bounded.
    EndlessGifts,
    /// A bug in the agent's core.
    Core(edge_agent_core::Planted),
    /// A bug in the hub's core.
    Hub(hub_core::Planted),
}

impl Planted {
    /// All bugs with their names on the command line.
    pub const ALL: [(&'static str, Self); 24] = {
        use edge_agent_core::Planted as Bug;
        [
            ("ack-before-commit", Self::AckBeforeCommit),
            ("unknown-is-failed", Self::UnknownIsFailed),
            ("act-before-append", Self::Core(Bug::ActBeforeAppend)),
            ("skip-floor", Self::Core(Bug::SkipFloor)),
            ("reuse-epoch", Self::Core(Bug::ReuseEpoch)),
            ("command-twice", Self::Core(Bug::CommandTwice)),
            ("repeat-blindly", Self::Core(Bug::RepeatBlindly)),
            ("shed-silently", Self::Core(Bug::ShedSilently)),
            ("forget-budgets", Self::Core(Bug::ForgetBudgets)),
            ("take-turn", Self::Core(Bug::TakeTurn)),
            ("old-beacon", Self::Core(Bug::OldBeacon)),
            ("equal-generation", Self::Core(Bug::EqualGeneration)),
            ("forget-hold", Self::Core(Bug::ForgetHold)),
            ("keep-authority", Self::Core(Bug::KeepAuthority)),
            ("share-by-session", Self::ShareBySession),
            ("share-by-process", Self::ShareByProcess),
            ("trust-again", Self::TrustAgain),
            ("endless-gifts", Self::EndlessGifts),
            ("skip-on-move", Self::Core(Bug::SkipOnMove)),
            ("fresh-by-peers", Self::Core(Bug::FreshByPeers)),
            ("note-strangers", Self::Core(Bug::NoteStrangers)),
            ("repeat-steps", Self::Hub(hub_core::Planted::RepeatSteps)),
            ("leave-plans", Self::Hub(hub_core::Planted::LeavePlans)),
            ("count-twice", Self::Hub(hub_core::Planted::CountTwice)),
        ]
    };
}

/// What happens.
pub(crate) enum Event {
    Sample {
        n: usize,
        life: u64,
    },
    Tick {
        n: usize,
        life: u64,
    },
    Appended {
        n: usize,
        life: u64,
        failure: Option<AppendError>,
    },
    ActionDone {
        n: usize,
        life: u64,
        run: Run,
    },
    Probed {
        n: usize,
        life: u64,
        run: Run,
    },
    Loaded {
        n: usize,
        life: u64,
        token: Token,
        found: Box<Loaded>,
    },
    Connect {
        n: usize,
        life: u64,
    },
    StartAgent {
        n: usize,
    },
    DiskWorks {
        n: usize,
    },
    Unblock {
        n: usize,
    },
    Deliver {
        id: u64,
        way: Way,
        frame: Box<Frame>,
    },
    Idle {
        id: u64,
        way: Way,
    },
    AgentEnd {
        id: u64,
        reason: &'static str,
    },
    HubEnd {
        id: u64,
        reason: &'static str,
    },
    HubTick {
        life: u64,
    },
    Stored {
        life: u64,
        failed: bool,
    },
    StoredTooEarly {
        life: u64,
        token: hub_core::Token,
    },
    Resolved {
        life: u64,
        token: hub_core::Token,
        is_there: bool,
    },
    Prune {
        life: u64,
    },
    Flood,
    StartHub,
    StoreWorks,
    CrashIfBusy {
        what: Busy,
        tries: u32,
    },
    Passed {
        n: usize,
        life: u64,
        frame: Box<Frame>,
    },
    Whisper,
    Meet,
    Fault,
    Harm,
    Order,
    Weather,
    Publish,
    Plan,
    Heal,
    Look,
}

struct Planned {
    at_ms: u64,
    order: u64,
    event: Event,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Planned {}
impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ms, self.order).cmp(&(other.at_ms, other.order))
    }
}

/// The world.
pub(crate) struct World {
    pub(crate) swarm: Swarm,
    pub(crate) planted: Planted,
    pub(crate) random: Random,
    pub(crate) now_ms: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) sessions: BTreeMap<u64, Session>,
    pub(crate) next_session: u64,
    pub(crate) hub: Option<hub_core::Hub>,
    pub(crate) hub_life: u64,
    pub(crate) hub_clock: Clock,
    pub(crate) hub_timer_ms: u64,
    pub(crate) hub_restored: bool,
    pub(crate) store: Store,
    pub(crate) store_copy: Option<Box<Store>>,
    pub(crate) flying_rows: Option<Box<hub_core::Batch>>,
    pub(crate) store_fails: bool,
    pub(crate) store_slow: bool,
    /// Drives what commits nobody knows of, apart from all other chance.
    pub(crate) doubts: Random,
    /// Room is being made in the store.
    pub(crate) pruning: bool,
    pub(crate) pruned_entries: u64,
    pub(crate) flooding: Flood,
    pub(crate) policy_key: SigningKey,
    pub(crate) root_key: SigningKey,
    pub(crate) published: Vec<SignedBundle>,
    /// What random bundles are drawn from, and every text that was ever asked to be published.
    pub(crate) pool: Option<Pool>,
    pub(crate) drafts: BTreeMap<Vec<u8>, Draft>,
    pub(crate) invariants: Invariants,
    pub(crate) faults: FaultCounts,
    pub(crate) trace: u64,
    pub(crate) requests: u64,
    pub(crate) replies: u64,
    pub(crate) healed_at: Option<u64>,
    pub(crate) converged_at: Option<u64>,
    pub(crate) events: u64,
    /// The node whose course is told on stderr.
    pub(crate) watched: Option<usize>,
    pub(crate) hostile: Hostile,
    pub(crate) neighbours: Neighbours,
    pub(crate) site: Site,
    pub(crate) planning: Planning,
    heap: BinaryHeap<Reverse<Planned>>,
    order: u64,
}

impl World {
    pub(crate) fn new(seed: u64, swarm: Swarm, planted: Planted) -> Self {
        let mut random = Random::new(seed);
        let hub_clock = Clock::new(&mut random);
        let nodes = (0..swarm.agents).map(|n| Node::new(n, Clock::new(&mut random), swarm.random_bundles));
        let nodes: Vec<Node> = nodes.collect();
        let mut key = [1; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut world = Self {
            planted,
            now_ms: 0,
            sessions: BTreeMap::new(),
            next_session: 0,
            hub: None,
            hub_life: 0,
            hub_clock,
            hub_timer_ms: u64::MAX,
            hub_restored: false,
            store: Store::default(),
            store_copy: None,
            flying_rows: None,
            store_fails: false,
            store_slow: false,
            doubts: Random::new(seed ^ 0xD0B7),
            pruning: false,
            pruned_entries: 0,
            flooding: Flood::default(),
            policy_key: SigningKey::from_bytes(&key),
            root_key: SigningKey::from_bytes(&key.map(|byte| !byte)),
            published: Vec::new(),
            pool: swarm.random_bundles.then(|| Pool::new(seed)),
            drafts: BTreeMap::new(),
            invariants: Invariants::new(swarm.agents),
            faults: FaultCounts::default(),
            trace: seed,
            requests: 0,
            replies: 0,
            healed_at: None,
            converged_at: None,
            events: 0,
            watched: None,
            heap: BinaryHeap::new(),
            order: 0,
            hostile: Hostile::new(seed),
            neighbours: Neighbours::new(seed, swarm.agents),
            site: Site::new(seed, swarm.agents),
            planning: Planning::new(seed),
            nodes,
            random,
            swarm,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.start_hub();
        self.at(50, Event::Publish);
        for n in 0..self.nodes.len() {
            let at_ms = self.random.below(3_000);
            self.at(at_ms, Event::StartAgent { n });
        }
        self.at(10_000, Event::Fault);
        self.at(15_000, Event::Order);
        if self.swarm.eventful {
            self.at(8_000, Event::Weather);
        }
        if self.swarm.neighbours {
            self.at(7_000, Event::Whisper);
            self.at(4_000, Event::Meet);
        }
        if self.swarm.flood.is_some() {
            self.at(6_000, Event::Flood);
        }
        if self.swarm.plan_every_ms > 0 {
            self.at(12_000, Event::Plan);
        }
        if self.swarm.hostile {
            self.at(5_000, Event::Harm);
        }
        self.at(self.swarm.safety_ms, Event::Heal);
        self.at(self.swarm.safety_ms + LOOK_EVERY_MS, Event::Look);
    }

    /// Lets it run to its end. The error says what was violated, and when.
    pub(crate) fn run(&mut self) -> Result<(), String> {
        while self.converged_at.is_none() {
            let Some(Reverse(planned)) = self.heap.pop() else {
                return Err("V1: nothing happens any more".to_owned());
            };
            self.now_ms = planned.at_ms;
            self.events += 1;
            self.trace = self
                .trace
                .wrapping_mul(0x100_0000_01B3)
                .wrapping_add(planned.at_ms ^ (planned.order << 20));
            self.happen(planned.event)?;
            if let Some(violation) = self.invariants.violation.take() {
                return Err(format!("at {} ms: {violation}", self.now_ms));
            }
        }
        Ok(())
    }

    pub(crate) fn at(&mut self, at_ms: u64, event: Event) {
        self.order += 1;
        self.heap.push(Reverse(Planned {
            at_ms: at_ms.max(self.now_ms),
            order: self.order,
            event,
        }));
    }

    pub(crate) fn after(&mut self, ms: u64, event: Event) {
        self.at(self.now_ms + ms, event);
    }

    /// Tells what happens to a node, if it is watched.
    pub(crate) fn say(&self, n: usize, what: impl FnOnce() -> String) {
        if self.watched == Some(n) {
            eprintln!("{:>9} ms  {}", self.now_ms, what());
        }
    }

    /// Whether this class of fault may happen now.
    pub(crate) fn faulty(&self, fault: crate::Fault) -> bool {
        self.healed_at.is_none() && self.swarm.has(fault)
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Sample { n, life } => self.sample(n, life),
            Event::Tick { n, life } => self.tick(n, life),
            Event::Appended { n, life, failure } => self.appended(n, life, failure),
            Event::ActionDone { n, life, run } => self.action_done(n, life, &run),
            Event::Probed { n, life, run } => self.probed(n, life, &run),
            Event::Loaded { n, life, token, found } => {
                if self.nodes[n].life == life {
                    let found = *found;
                    self.tell(n, edge_agent_core::Input::Loaded { token, found });
                }
            }
            Event::Connect { n, life } => self.connect(n, life),
            Event::StartAgent { n } => self.start_agent(n),
            Event::DiskWorks { n } => self.nodes[n].mood = crate::agents::Mood::Works,
            Event::Unblock { n } => {
                self.nodes[n].blocked_up = false;
                self.nodes[n].blocked_down = false;
                self.unblock(n);
            }
            Event::Deliver { id, way, frame } => self.deliver(id, way, *frame),
            Event::Idle { id, way } => self.idle(id, way),
            Event::AgentEnd { id, reason } => self.agent_end(id, reason),
            Event::HubEnd { id, reason } => self.hub_end(id, reason),
            Event::HubTick { life } => self.hub_tick(life),
            Event::Stored { life, failed } => self.stored(life, failed),
            Event::StoredTooEarly { life, token } => {
                if self.hub_life == life {
                    self.tell_hub(hub_core::Input::Stored { token });
                }
            }
            Event::Resolved { life, token, is_there } => self.resolved(life, token, is_there),
            Event::Prune { life } => self.prune(life),
            Event::Flood => self.flood(),
            Event::StartHub => self.start_hub(),
            Event::StoreWorks => {
                self.store_fails = false;
                self.store_slow = false;
            }
            Event::CrashIfBusy { what, tries } => self.crash_if_busy(what, tries),
            Event::Passed { n, life, frame } => self.passed(n, life, *frame),
            Event::Whisper => self.whisper(),
            Event::Meet => self.meet(),
            Event::Fault => self.fault(),
            Event::Harm => self.harm(),
            Event::Order => self.order(),
            Event::Weather => self.weather(),
            Event::Publish => self.publish(),
            Event::Plan => self.plan(),
            Event::Heal => self.heal(),
            Event::Look => return self.look(),
        }
        Ok(())
    }

    fn look(&mut self) -> Result<(), String> {
        let apart = (0..self.nodes.len()).find_map(|n| self.apart(n).map(|why| (n, why)));
        let live = self.plans_apart();
        let is_late = self.now_ms >= self.healed_at.unwrap_or(0) + HEALED_MS;
        match apart {
            None if live.is_none() => {
                self.converged_at = Some(self.now_ms);
                self.account_plans()?;
                (0..self.nodes.len()).try_for_each(|n| self.account(n))
            }
            None if is_late => Err(live.unwrap_or_default()),
            Some((n, why)) if is_late => {
                let last = self.last_words(n);
                Err(format!("V1: {} has not come back: {why}{last}", self.nodes[n].id))
            }
            None | Some(_) => {
                self.after(LOOK_EVERY_MS, Event::Look);
                Ok(())
            }
        }
    }

    /// The last entries of a node, for whoever looks into a failed seed.
    fn last_words(&self, n: usize) -> String {
        let entries = self.nodes[n].disk.entries.iter().rev().take(8);
        let words = entries.map(|(at, raw)| {
            let body = raw.decode().map(|entry| entry.body);
            let text = body.map_or_else(|error| error.to_string(), |body| wire::view::text(&body));
            format!("\n    {}.{}: {text}", at.0, at.1)
        });
        words.collect()
    }

    /// What a node still lacks to be one with the hub.
    fn apart(&self, n: usize) -> Option<String> {
        let node = &self.nodes[n];
        let Some(core) = &node.core else {
            return Some("no process".to_owned());
        };
        let now = node.clock.at(self.now_ms);
        let link = core.link_state(now);
        if !matches!(link, LinkState::Up { .. }) {
            return Some(format!("{link:?}"));
        }
        let head = core.head();
        if core.backlog_entries() > 0 || core.acked() != head.seq {
            return Some(format!(
                "backlog {} entries, acked {} of {head:?}",
                core.backlog_entries(),
                core.acked()
            ));
        }
        if self.store.head(&node.id, head.epoch) != head {
            let held = self.store.head(&node.id, head.epoch);
            return Some(format!("hub holds {held:?}, agent {head:?}"));
        }
        let newest = self.store.newest_bundle().map(|bundle| bundle.digest);
        let active = core.bundle().map(|(_, reference): (_, BundleRef)| reference);
        if active.map(|active| active.digest) != newest {
            return Some(format!("bundle {active:?}, newest is {newest:?}"));
        }
        let open = core.open_actions();
        if !open.is_empty() {
            return Some(format!("open: {open:?}"));
        }
        None
    }

    /// D2 at the end: whatever was ever made is at the hub, or a gap at the hub names it.
    fn account(&mut self, n: usize) -> Result<(), String> {
        let node = &self.nodes[n];
        let life = &self.invariants.lives[n];
        for (&(epoch, seq), digest) in &life.made {
            if life.forked.contains(&epoch) {
                continue;
            }
            let chain = self.store.chains.get(&(node.id.clone(), epoch));
            let held = chain.and_then(|chain| chain.entries.get(&seq));
            let trimmed = self.hub_restored && !node.disk.entries.contains_key(&(epoch, seq));
            match held {
                Some(held) if held.digest == *digest => {}
                Some(_) => {
                    return Err(format!("D4: {}.{epoch}.{seq} differs at the hub", node.id));
                }
                None if life.lost.contains(&epoch) && life.ended.contains(&epoch) => {}
                None if trimmed => {}
                None => {
                    return Err(format!("D2: {}.{epoch}.{seq} is nowhere", node.id));
                }
            }
        }
        let epoch = node.core.as_ref().map_or(wire::Epoch(0), |core| core.head().epoch);
        let last = life.blocks.iter().filter(|at| at.0 == epoch).map(|at| at.1).max();
        let held = self.store.blocks.get(&(node.id.clone(), epoch));
        let trimmed = node.disk.trimmed_blocks.get(&epoch).copied().unwrap_or(Seq(0));
        // The newest blocks may be on their way.
        let unsent = held
            .and_then(|held| held.last_key_value())
            .map_or(Seq(0), |(seq, _)| *seq);
        for seq in (1..=last.unwrap_or(Seq(0)).min(unsent).0).map(Seq) {
            let stored = held.is_some_and(|held| held.contains_key(&seq));
            let excused = self.hub_restored && seq <= trimmed;
            if !stored && !life.names_block(epoch, seq) && !excused && !life.forked.contains(&epoch) {
                return Err(format!("D2: block {}.{epoch}.{seq} is nowhere", node.id));
            }
        }
        if let Some(decision) = life
            .unfinished
            .iter()
            .find(|decision| !life.forked.contains(&decision.epoch))
        {
            return Err(format!("A: {decision} ran and has no outcome"));
        }
        Ok(())
    }
}
