//! Thousands of cores in one seeded process, with every fault that one machine can imagine.
//!
//! The same `edge-agent-core` and `hub-core` that ship run here against models of disks, devices, clocks and a network. A run has a
//! safety phase in which anything goes wrong and the invariants are looked at after every step, and a healed phase in which all must come
//! together. Each seed runs twice and must take the same course.
//!
//! Never ships, and nothing that ships depends on it.
//!
//! Read next: `world.rs` (what happens), `invariants.rs` and `rules.rs` (what must hold), `swarm.rs` (which faults there are),
//! `bundles.rs` (what agents decide by).

mod agents;
mod bundles;
mod clock;
mod disk;
mod duties;
mod enrol;
mod flood;
mod gpu;
mod hostile;
mod hubs;
mod invariants;
mod neighbours;
mod net;
mod plan_rules;
mod plans;
mod random;
mod reference;
mod relay;
mod rules;
mod store;
mod swarm;
mod trouble;
mod world;

pub use enrol::enrolment;
pub use plans::PlanCounts;
pub use relay::MeshCounts;
pub use rules::KindCounts;
pub use swarm::{Fault, FaultCounts, Swarm};
pub use world::Planted;

use world::World;

/// What a run was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Course {
    /// Follows from everything that happened, in order.
    pub trace: u64,
    /// Events that happened.
    pub events: u64,
    /// Comparisons that were made.
    pub checks: u64,
    /// Actions that ran in their node's turn.
    pub turns: u64,
    /// Bundles and beacons that a neighbour passed on and a node took.
    pub passed_on: (u64, u64),
    /// What happened among neighbours.
    pub mesh: MeshCounts,
    /// Faults by class.
    pub faults: FaultCounts,
    /// Kinds of rule that decisions were made under.
    pub kinds: KindCounts,
    /// What plans came to.
    pub plans: PlanCounts,
    /// Entries that had to make room at the hub.
    pub pruned: u64,
    /// Simulated time of all agents together, in milliseconds.
    pub agent_ms: u64,
    /// From healing until all were one again, in milliseconds.
    pub healed_ms: u64,
}

/// Runs one world once.
///
/// Fails with the invariant that was violated, when and where.
pub fn run(seed: u64, swarm: Swarm, planted: Planted) -> Result<Course, String> {
    watch(seed, swarm, planted, None)
}

/// As [`run`]; tells on stderr what happens to one node.
pub fn watch(seed: u64, swarm: Swarm, planted: Planted, node: Option<usize>) -> Result<Course, String> {
    let mut world = World::new(seed, swarm, planted);
    world.watched = node;
    world.run()?;
    Ok(Course {
        trace: world.trace,
        events: world.events,
        checks: world.invariants.checks,
        turns: world.invariants.turns,
        passed_on: world.neighbours.taken,
        mesh: world.site.counts,
        faults: world.faults,
        kinds: world.invariants.register.kinds,
        plans: world.planning.counts,
        pruned: world.pruned_entries,
        agent_ms: world.now_ms * world.swarm.agents as u64,
        healed_ms: world.now_ms - world.healed_at.unwrap_or(world.now_ms),
    })
}

/// Runs one world twice; both runs must take the same course.
pub fn run_twice(seed: u64, swarm: &Swarm) -> Result<Course, String> {
    let first = run(seed, swarm.clone(), Planted::Nothing)?;
    let second = run(seed, swarm.clone(), Planted::Nothing)?;
    if first == second {
        Ok(first)
    } else {
        Err(format!("two runs differ: {:x} and {:x}", first.trace, second.trace))
    }
}

/// Many seeds, one after the other.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Seeds that ran.
    pub seeds: u64,
    /// Failed seeds, with what went wrong.
    pub failures: Vec<(u64, String)>,
    /// Events of all runs, second ones not counted.
    pub events: u64,
    /// Comparisons of all runs.
    pub checks: u64,
    /// Actions that ran in their node's turn.
    pub turns: u64,
    /// Bundles and beacons that a neighbour passed on and a node took.
    pub passed_on: (u64, u64),
    /// What happened among neighbours.
    pub mesh: MeshCounts,
    /// Faults of all runs, by class.
    pub faults: FaultCounts,
    /// Kinds of rule of all runs.
    pub kinds: KindCounts,
    /// What plans of all runs came to.
    pub plans: PlanCounts,
    /// Entries that had to make room at the hub.
    pub pruned: u64,
    /// Simulated time of all agents together, in milliseconds.
    pub agent_ms: u64,
    /// Longest time from healing until all were one again, in milliseconds.
    pub healed_ms: u64,
}

impl Tally {
    /// Runs one more seed, twice.
    pub fn add(&mut self, seed: u64, swarm: &Swarm) {
        self.seeds += 1;
        match run_twice(seed, swarm) {
            Ok(course) => {
                self.events += course.events;
                self.checks += course.checks;
                self.turns += course.turns;
                self.passed_on.0 += course.passed_on.0;
                self.passed_on.1 += course.passed_on.1;
                self.mesh.merge(&course.mesh);
                self.agent_ms += course.agent_ms;
                self.healed_ms = self.healed_ms.max(course.healed_ms);
                self.faults.merge(&course.faults);
                self.kinds.merge(&course.kinds);
                self.plans.merge(&course.plans);
                self.pruned += course.pruned;
            }
            Err(wrong) => self.failures.push((seed, wrong)),
        }
    }
}

/// Agents and minutes of the worlds that CI runs.
pub const CI_WORLD: (usize, u64) = (8, 10);
/// Seeds that CI runs: 0 up to here.
pub const CI_SEEDS: u64 = 200;

/// Seeds that failed once. They run for ever.
pub fn kept_seeds() -> Vec<u64> {
    let lines = include_str!("../seeds.txt").lines();
    let numbers = lines.filter_map(|line| line.split_whitespace().next()?.parse().ok());
    numbers.collect()
}
