//! What kind of world a seed makes: how many agents, which faults, how often. And the count of what really happened.
//!
//! A world with every fault at once hides plain bugs behind the noise, so each seed switches its own subset on (swarm testing),
//! and one seed in five has no fault at all.

use std::collections::BTreeMap;

use crate::random::Random;

macro_rules! faults {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// One class of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($(#[$doc])* $variant,)* }

        impl Fault {
            /// All classes.
            pub const ALL: &'static [Fault] = &[$(Fault::$variant,)*];

            /// Its name in tables.
            pub const fn name(self) -> &'static str {
                match self { $(Fault::$variant => $name,)* }
            }
        }
    };
}

faults! {
    /// An agent's process dies between two effects.
    AgentCrash = "agent crash";
    /// The hub's process dies.
    HubCrash = "hub crash";
    /// A batch was on its way when the process died, and is gone.
    BatchLost = "batch lost in a crash";
    /// A batch was on its way when the process died, and is there after all.
    BatchKept = "batch kept in a crash";
    /// Only the floor of a batch reached the disk.
    BatchTorn = "batch torn in a crash";
    /// Rows of the hub were on their way when it died, and are gone.
    RowsLost = "hub rows lost in a crash";
    /// The agent's disk fails.
    DiskFails = "append fails";
    /// The agent's disk is full.
    DiskFull = "disk full";
    /// The agent's disk takes seconds.
    DiskSlow = "disk slow";
    /// The hub's disk fails.
    StoreFails = "store fails";
    /// The hub's disk takes seconds.
    StoreSlow = "store slow";
    /// The journal's bound was reached.
    JournalFull = "journal at its bound";
    /// Telemetry was shed.
    Shed = "telemetry shed";
    /// The journal is damaged and put aside.
    JournalCorrupt = "journal corrupt";
    /// The journal is found empty.
    JournalEmptied = "journal emptied";
    /// The state folder is an older copy of itself.
    AgentRestored = "agent restored from a copy";
    /// The hub's store is an older copy of itself.
    HubRestored = "hub restored from a copy";
    /// Nothing passes between an agent and the hub.
    Partition = "partition";
    /// Only what the agent sends is lost.
    OneWayUp = "one-way loss, up";
    /// Only what the hub sends is lost.
    OneWayDown = "one-way loss, down";
    /// A frame was lost and sent again by the transport.
    Loss = "frame lost and repeated";
    /// A frame was held back for long.
    Delay = "frame delayed";
    /// A frame overtook one of another stream.
    Reorder = "streams reordered";
    /// A frame came twice.
    Duplicate = "frame duplicated";
    /// A session broke.
    Break = "session broken";
    /// One end believed in a session that the other had given up.
    Zombie = "zombie session";
    /// The wall clock jumped, up to years.
    ClockStep = "clock step";
    /// An older, validly signed bundle was offered.
    OldBundle = "old bundle replayed";
    /// A bundle with a wrong signature was offered.
    ForgedBundle = "forged bundle";
    /// A device refused an action.
    ActionFails = "action fails";
    /// A process died while an actuator had an action.
    ActionLost = "action lost in a crash";
    /// A probe could not tell.
    ProbeUnknown = "probe cannot tell";
    /// A GPU was driven hot.
    HotGpu = "hot GPU";
    /// A workload leaked.
    Leak = "leaking workload";
    /// A commit of the hub failed, and nobody knew whether it was there.
    StoreUnknown = "store does not know";
}

impl Fault {
    /// Those that come one by one. What came later arises from the others, so that what a seed plays does not depend on it.
    pub(crate) const COMING: &'static [Fault] = Fault::ALL.split_at(Fault::ALL.len() - 1).0;
}

/// How often each class happened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FaultCounts(BTreeMap<Fault, u64>);

impl FaultCounts {
    /// Counts one.
    pub(crate) fn add(&mut self, fault: Fault) {
        *self.0.entry(fault).or_default() += 1;
    }

    /// How often this class happened.
    pub fn of(&self, fault: Fault) -> u64 {
        self.0.get(&fault).copied().unwrap_or(0)
    }

    /// Adds another count to this one.
    pub fn merge(&mut self, other: &Self) {
        for (fault, count) in &other.0 {
            *self.0.entry(*fault).or_default() += count;
        }
    }

    /// The classes that never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        let never = Fault::ALL.iter().filter(|fault| self.of(**fault) == 0);
        never.map(|fault| fault.name()).collect()
    }
}

/// The parameters of one world.
#[derive(Debug, Clone)]
pub struct Swarm {
    /// Agents of the one hub.
    pub agents: usize,
    /// Length of the phase with faults, in milliseconds.
    pub safety_ms: u64,
    /// Mean time between two of the faults that come one by one, in milliseconds; 0 for none.
    pub fault_every_ms: u64,
    /// Mean time between two orders of people, in milliseconds; 0 for none.
    pub order_every_ms: u64,
    /// Which classes are on.
    pub on: Vec<Fault>,
    /// Frames of a thousand that are lost and repeated.
    pub loss_per_mille: u64,
    /// Longest ordinary delay of a frame, in milliseconds.
    pub latency_ms: u64,
    /// Bytes that a journal may occupy.
    pub journal_limit_bytes: u64,
    /// Time between two beacons, in milliseconds.
    pub beacon_every_ms: u64,
    /// Whether one agent more is in the wrong hands.
    pub hostile: bool,
    /// Whether the world's own events (heat, leaks, new bundles) happen.
    pub eventful: bool,
    /// Whether bundles are random ones; else the demo's.
    pub random_bundles: bool,
    /// So many nodes of a rack may restart something at once, by every bundle.
    pub turns: Option<usize>,
    /// Whether agents pass on what a hub has signed, and one of them is in the wrong hands.
    pub neighbours: bool,
    /// Bytes of entries that the hub keeps while one agent more floods it; without it nobody does.
    pub flood: Option<u64>,
    /// Mean time between two things that somebody wants of plans, in milliseconds; 0 for none.
    pub plan_every_ms: u64,
}

impl Swarm {
    /// The world of a seed, within these bounds.
    pub fn of_seed(seed: u64, max_agents: usize, minutes: u64) -> Self {
        let mut random = Random::new(seed.wrapping_mul(0x9E37_79B9));
        let quiet = seed % 5 == 4;
        let slow_path = random.chance(300);
        let on = if quiet {
            Vec::new()
        } else {
            let all = Fault::COMING.iter().copied();
            let mut on: Vec<Fault> = all.filter(|_| random.chance(600)).collect();
            if on.contains(&Fault::StoreFails) && Random::new(seed ^ 0xD0B7).chance(700) {
                on.push(Fault::StoreUnknown);
            }
            on
        };
        Self {
            agents: usize::try_from(random.between(1, max_agents as u64)).unwrap_or(1),
            safety_ms: minutes * random.between(30_000, 60_000),
            fault_every_ms: if quiet { 0 } else { random.between(2_000, 20_000) },
            order_every_ms: random.between(5_000, 60_000),
            on,
            loss_per_mille: if quiet { 0 } else { random.below(300) },
            latency_ms: random.between(1, if slow_path { 600 } else { 50 }),
            journal_limit_bytes: if !quiet && random.chance(500) {
                random.between(3, 10) * 1024
            } else {
                4 << 20
            },
            beacon_every_ms: random.between(15, 60) * 1_000,
            hostile: !quiet && seed.is_multiple_of(3),
            eventful: true,
            // Drawn apart, so that what else a seed plays does not depend on it.
            random_bundles: Random::new(seed ^ 0xB0B).chance(700),
            turns: [None, None, Some(1), Some(2)][(seed / 5 % 4) as usize],
            neighbours: false,
            flood: None,
            plan_every_ms: plan_every_ms(seed),
        }
    }

    /// Many agents, no faults, nothing happening: what it costs to simulate a fleet.
    pub fn fleet(agents: usize, minutes: u64) -> Self {
        Self {
            agents,
            safety_ms: minutes * 60_000,
            fault_every_ms: 0,
            order_every_ms: 0,
            on: Vec::new(),
            loss_per_mille: 0,
            latency_ms: 20,
            journal_limit_bytes: 4 << 20,
            beacon_every_ms: 60_000,
            hostile: false,
            eventful: false,
            random_bundles: false,
            turns: None,
            neighbours: false,
            flood: None,
            plan_every_ms: 0,
        }
    }

    /// The same world, with neighbours that are in touch and policy that ages within minutes.
    #[must_use]
    pub fn with_neighbours(self) -> Self {
        Self {
            neighbours: true,
            ..self
        }
    }

    /// The same world, with one agent more that fills the hub's disk.
    #[must_use]
    pub fn with_flood(self) -> Self {
        Self {
            flood: Some(self.agents as u64 * 1_000_000 + 400_000),
            ..self
        }
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.on.contains(&fault)
    }
}

/// Plans are sent in two worlds of five. Drawn apart, so that what else a seed plays does not depend on it.
fn plan_every_ms(seed: u64) -> u64 {
    let mut random = Random::new(seed ^ 0x91A5_91A5);
    let plans = random.chance(400);
    let every = random.between(2_000, 15_000);
    if plans { every } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_in_five_is_without_faults() {
        let quiet = (0..100).filter(|seed| Swarm::of_seed(*seed, 10, 10).on.is_empty());
        assert_eq!(quiet.count(), 20);
    }

    #[test]
    fn a_class_that_never_happened_is_named() {
        let mut counts = FaultCounts::default();
        for fault in Fault::ALL {
            assert!(counts.missing().contains(&fault.name()));
            counts.add(*fault);
        }
        assert!(counts.missing().is_empty());
    }
}
