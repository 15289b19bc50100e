//! The seeds that CI runs, and all that ever failed: every one must hold, twice, every class of fault must have happened, and every
//! kind of rule must have been in force and must have said something, and plans must have come to every state, also with the hub dying in it.

use testbed_sim::{CI_SEEDS, CI_WORLD, Fault, Planted, Swarm, Tally, kept_seeds, run};

fn world(seed: u64) -> Swarm {
    Swarm::of_seed(seed, CI_WORLD.0, CI_WORLD.1)
}

#[test]
fn every_seed_holds_and_every_class_of_fault_happens() {
    let mut tally = Tally::default();
    for seed in (0..CI_SEEDS).chain(kept_seeds()) {
        tally.add(seed, &world(seed));
    }
    for fault in Fault::ALL {
        println!("{:>9}  {}", tally.faults.of(*fault), fault.name());
    }
    println!(
        "{} seeds, each twice; {} events, {} checks, {} agent-hours",
        tally.seeds,
        tally.events,
        tally.checks,
        tally.agent_ms / 3_600_000
    );
    assert_eq!(
        tally.failures,
        [],
        "run `sentinel-sim --seeds N..N+1 --watch NODE`, and keep the seed in seeds.txt"
    );
    assert_eq!(tally.faults.missing(), Vec::<&str>::new());
    assert_eq!(tally.kinds.missing(), Vec::<&str>::new());
    for (what, count) in tally.plans.all() {
        println!("{count:>9}  {what}");
    }
    assert_eq!(tally.plans.missing(), Vec::<String>::new());
    assert!(tally.turns > 100, "{} actions ran in their turn", tally.turns);
}

#[test]
fn neighbours_pass_on_what_is_signed_and_nothing_else() {
    let mut tally = Tally::default();
    for seed in 0..CI_SEEDS / 2 {
        tally.add(seed, &world(seed).with_neighbours());
    }
    println!("{:?} bundles and beacons passed on", tally.passed_on);
    assert_eq!(
        tally.failures,
        [],
        "run `sentinel-sim --neighbours --seeds N..N+1 --watch NODE`"
    );
    let (bundles, beacons) = tally.passed_on;
    assert!(bundles > 20 && beacons > 100, "{bundles} bundles and {beacons} beacons");
    println!("{:?}", tally.mesh);
    assert_eq!(tally.mesh.missing(), Vec::<&str>::new());
}

#[test]
fn an_agent_that_floods_the_hub_costs_the_others_nothing() {
    let mut tally = Tally::default();
    for seed in 0..CI_SEEDS / 20 {
        tally.add(seed, &world(seed).with_flood());
    }
    assert_eq!(
        tally.failures,
        [],
        "run `sentinel-sim --flood --seeds N..N+1 --watch NODE`"
    );
    assert!(tally.pruned > 10_000, "{} entries had to make room", tally.pruned);
}

#[test]
fn a_fleet_of_a_thousand_lives_ten_minutes() {
    let course = run(1, Swarm::fleet(1_000, 10), Planted::Nothing).expect("nothing goes wrong");
    assert!(course.agent_ms >= 1_000 * 10 * 60_000);
}
