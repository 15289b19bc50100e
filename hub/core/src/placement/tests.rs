use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::placement::*;

fn node(name: &str, model: &str, devices: usize) -> NodeRoom {
    NodeRoom {
        name: name.to_owned(),
        cpu_milli: 64_000,
        memory_mib: 262_144,
        devices: vec![DEVICE; devices],
        model: model.to_owned(),
        labels: BTreeMap::new(),
        domain: String::new(),
        health: Health::Known(10_000),
        taints: Vec::new(),
    }
}

fn work(gpus: Gpus) -> Work {
    Work {
        cpu_milli: 4_000,
        memory_mib: 1_024,
        gpus,
        ..Work::default()
    }
}

fn placed(placer: &mut Placer, gpus: Gpus) -> String {
    placer
        .place(&work(gpus))
        .map_or_else(|error| error.to_string(), |placement| placement.node)
}

#[test]
fn a_share_goes_to_a_device_that_is_begun_already() {
    let usual = [work(Gpus::Whole(1)), work(Gpus::Share(500))];
    let mut placer = Placer::new(vec![node("a", "T4", 2), node("b", "T4", 2)], Demand::of(&usual));
    let first = placer.place(&work(Gpus::Share(500))).expect("room");
    let second = placer.place(&work(Gpus::Share(500))).expect("room");
    assert_eq!((first.node, first.devices), (second.node, second.devices));
}

#[test]
fn work_that_runs_anywhere_leaves_the_model_that_others_insist_on() {
    let insists = Work {
        models: vec!["H100".to_owned()],
        ..work(Gpus::Whole(1))
    };
    let usual = [insists.clone(), insists.clone(), work(Gpus::Whole(1))];
    let mut placer = Placer::new(vec![node("fast", "H100", 2), node("slow", "T4", 2)], Demand::of(&usual));
    assert_eq!(placed(&mut placer, Gpus::Whole(1)), "slow");
    assert_eq!(placer.place(&insists).expect("room").node, "fast");
}

#[test]
fn each_node_says_why_not() {
    let mut cordoned = node("c", "T4", 2);
    cordoned.health = Health::Cordoned;
    let mut small = node("s", "T4", 1);
    small.cpu_milli = 1_000;
    let placer = Placer::new(vec![cordoned, small, node("other", "P100", 8)], Demand::default());
    let asked = Work {
        models: vec!["T4".to_owned()],
        ..work(Gpus::Whole(2))
    };
    let told: Vec<String> = placer
        .explain(&asked)
        .into_iter()
        .map(|one| {
            let reasons: Vec<String> = one.refusals.iter().map(ToString::to_string).collect();
            format!("{}: {}", one.node, reasons.join(", "))
        })
        .collect();
    assert_eq!(
        told,
        [
            "c: it is cordoned",
            "s: CPU: 4000 m asked, 1000 m free, whole GPUs: 2 asked, 1 free",
            "other: GPU model: it has P100",
        ]
    );
}

#[test]
fn what_can_never_run_is_refused_before_any_node_is_asked() {
    let mut placer = Placer::new(vec![node("a", "T4", 2)], Demand::default());
    assert!(placed(&mut placer, Gpus::Share(0)).contains("not within 1..=999"));
    assert!(placed(&mut placer, Gpus::Share(1_000)).contains("not within 1..=999"));
    assert!(placed(&mut placer, Gpus::Whole(0)).contains("leave the GPUs out"));
    assert!(placed(&mut placer, Gpus::Whole(3)).contains("whole GPUs: 3 asked, 2 free"));
}

#[test]
fn a_gang_runs_whole_or_not_at_all() {
    let rack = |name: &str, domain: &str| NodeRoom {
        domain: domain.to_owned(),
        ..node(name, "H100", 4)
    };
    let mut placer = Placer::new(
        vec![rack("a1", "a"), rack("b1", "b"), rack("b2", "b")],
        Demand::default(),
    );
    let before = placer.nodes().to_vec();
    let gang = vec![work(Gpus::Whole(4)); 3];
    let refused = placer.place_gang(&gang, true).expect_err("no domain has three nodes");
    assert_eq!(refused.to_string(), "only 2 of a gang of 3 fit in one domain");
    assert_eq!(placer.nodes(), before, "nothing is taken");
    let placements = placer.place_gang(&gang[..2], true).expect("domain b");
    assert_eq!(
        placements.iter().map(|one| one.node.as_str()).collect::<Vec<_>>(),
        ["b1", "b2"]
    );
}

#[test]
fn a_gang_avoids_nodes_of_which_little_is_known() {
    let unknown = NodeRoom {
        health: Health::Unknown,
        ..node("dark", "T4", 4)
    };
    let mut placer = Placer::new(vec![unknown], Demand::default());
    assert!(placer.place_gang(&[work(Gpus::Whole(1))], false).is_err());
    assert_eq!(placed(&mut placer, Gpus::Whole(1)), "dark");
}

#[test]
fn a_healthy_node_goes_before_a_degraded_one() {
    let degraded = NodeRoom {
        health: Health::Known(7_000),
        ..node("weak", "T4", 1)
    };
    let failing = NodeRoom {
        health: Health::Known(5_999),
        ..node("failing", "T4", 1)
    };
    let mut placer = Placer::new(vec![failing, degraded, node("well", "T4", 8)], Demand::default());
    assert_eq!(placed(&mut placer, Gpus::Whole(8)), "well");
    assert_eq!(placed(&mut placer, Gpus::Whole(1)), "weak");
    assert!(placed(&mut placer, Gpus::Whole(1)).contains("none of 3 nodes"));
}

#[test]
fn an_owner_gets_no_more_than_its_quota_and_gets_it_back() {
    let mut placer = Placer::new(vec![node("a", "T4", 4)], Demand::default());
    placer.limit(
        "team",
        Quota {
            gpu_milli_of: BTreeMap::from([("T4".to_owned(), 2_000)]),
            ..Quota::default()
        },
    );
    let asked = Work {
        owner: "team".to_owned(),
        ..work(Gpus::Whole(2))
    };
    let first = placer.place(&asked).expect("within");
    let refused = placer.place(&asked).expect_err("beyond").to_string();
    assert_eq!(
        refused,
        "quota of team: GPU thousandths of T4, 2000 of 2000 used and 2000 asked"
    );
    assert!(placer.give_back(&asked, &first));
    placer.place(&asked).expect("within again");
}

#[test]
fn the_cheapest_cluster_with_room_is_chosen_and_an_unreadable_one_is_not() {
    let cluster = |name: &str, price: Option<u64>, reachable: bool| ClusterRoom {
        name: name.to_owned(),
        labels: BTreeMap::new(),
        price_micros: price.map(|price| ("T4".to_owned(), price)).into_iter().collect(),
        reachable,
        placer: Placer::new(vec![node("n", "T4", 2)], Demand::default()),
    };
    let clusters = [
        cluster("dear", Some(9), true),
        cluster("cheap", Some(3), true),
        cluster("gone", Some(1), false),
        cluster("unknown", None, true),
    ];
    let none = BTreeMap::new();
    assert_eq!(choose_cluster(&clusters, &work(Gpus::Whole(1)), &none), Ok(1));
    let refused = choose_cluster(&clusters, &work(Gpus::Whole(4)), &none)
        .expect_err("too large")
        .to_string();
    assert!(
        refused.contains("gone: it cannot be read now") && refused.contains("cheap: none of 1 nodes"),
        "{refused}"
    );
    let labels = BTreeMap::from([("site".to_owned(), "b".to_owned())]);
    assert!(choose_cluster(&clusters, &work(Gpus::None), &labels).is_err());
}

fn any_work() -> impl Strategy<Value = Work> {
    let gpus = prop_oneof![
        Just(Gpus::None),
        (1..1_000_u32).prop_map(Gpus::Share),
        (1..5_u32).prop_map(Gpus::Whole)
    ];
    (0..20_000_u64, 0..60_000_u64, gpus).prop_map(|(cpu_milli, memory_mib, gpus)| Work {
        cpu_milli,
        memory_mib,
        gpus,
        ..Work::default()
    })
}

proptest! {
    #[test]
    fn nothing_is_promised_twice_and_everything_comes_back(works in vec(any_work(), 1..60)) {
        let nodes = vec![node("a", "T4", 2), node("b", "T4", 4), node("c", "P100", 1), node("d", "", 0)];
        let mut placer = Placer::new(nodes.clone(), Demand::of(&works));
        let mut running = Vec::new();
        for work in &works {
            let fits = placer.nodes().iter().any(|node| node.refusals(work).is_empty());
            match placer.place(work) {
                Ok(placement) => running.push((work, placement)),
                Err(_) => prop_assert!(!fits, "a node could have run it"),
            }
        }
        for (full, left) in nodes.iter().zip(placer.nodes()) {
            let here: Vec<_> = running.iter().filter(|(_, placement)| placement.node == full.name).collect();
            prop_assert_eq!(left.cpu_milli + here.iter().map(|(work, _)| work.cpu_milli).sum::<u64>(), full.cpu_milli);
            prop_assert_eq!(left.memory_mib + here.iter().map(|(work, _)| work.memory_mib).sum::<u64>(), full.memory_mib);
            prop_assert_eq!(left.idle_milli() + here.iter().map(|(work, _)| work.gpus.milli()).sum::<u64>(), full.idle_milli());
        }
        for (work, placement) in &running {
            prop_assert!(placer.give_back(work, placement));
        }
        prop_assert_eq!(placer.nodes(), nodes);
    }
}
