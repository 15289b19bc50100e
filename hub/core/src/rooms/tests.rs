use std::collections::{BTreeMap, BTreeSet};

use wire::Demand;
use wire::ids::AgentId;
use wire::kube::NodeRef;
use wire::plan::{Step, Target, Verb};
use wire::time::Mono;

use super::*;
use crate::fleet::Fleet;

const NOW: Mono = Mono(0);

fn node(name: &str, model: &str, gpus: u64, used: u64) -> KubeNode {
    KubeNode {
        name: name.to_owned(),
        agent: AgentId::new(name).expect("a name"),
        labels: BTreeMap::from([("rack".to_owned(), name[..2].to_owned())]),
        is_ready: true,
        is_pressed: false,
        is_cordoned: false,
        taints: Vec::new(),
        has: Amount {
            cpu_milli: 64_000,
            memory_mib: 512_000,
            gpus,
            shared: 0,
        },
        used: Amount {
            gpus: used,
            ..Amount::default()
        },
        model: model.to_owned(),
        gpu_resource: if gpus > 0 {
            "nvidia.com/gpu".to_owned()
        } else {
            String::new()
        },
        parts: 0,
    }
}

fn web(replicas: u64, gpus: u64) -> KubeDeployment {
    KubeDeployment {
        namespace: "default".to_owned(),
        name: "web".to_owned(),
        replicas,
        each: Amount {
            gpus,
            cpu_milli: 1_000,
            ..Amount::default()
        },
        ..KubeDeployment::default()
    }
}

fn told(rooms: &mut Rooms, name: &str, nodes: Vec<KubeNode>, prices: &[(&str, u64)]) {
    let cluster = Cluster {
        prices: prices.iter().map(|(key, price)| ((*key).to_owned(), *price)).collect(),
        ..Cluster::new(name, None)
    };
    let facts = KubeFacts {
        nodes,
        deployments: vec![web(4, 1)],
        used: vec![KubeUse {
            namespace: "default".to_owned(),
            model: "A100".to_owned(),
            used: Amount {
                gpus: 4,
                cpu_milli: 4_000,
                ..Amount::default()
            },
        }],
    };
    drop(rooms.told(&cluster, facts, NOW));
}

fn gpus(count: u32) -> Demand {
    Demand {
        gpus: count,
        ..Demand::default()
    }
}

fn ask(demand: Demand, replicas: u32) -> PlacementAsk {
    PlacementAsk {
        demand,
        replicas,
        ..PlacementAsk::default()
    }
}

/// Where it goes: `CLUSTER: NODE, NODE`.
fn place(rooms: &Rooms, ask: &PlacementAsk, promises: &[Promise]) -> Result<String, String> {
    let placed = rooms.place(ask, promises, &Fleet::default(), NOW)?;
    Ok(format!("{}: {}", placed.cluster, placed.nodes.join(", ")))
}

#[test]
fn the_cluster_comes_first_and_the_cheaper_one_before_the_roomier_one() {
    let mut rooms = Rooms::default();
    told(
        &mut rooms,
        "big",
        vec![node("b1", "A100", 8, 0)],
        &[("A100", 3_000_000)],
    );
    told(
        &mut rooms,
        "cheap",
        vec![node("c1", "A100", 2, 0)],
        &[("A100", 1_000_000)],
    );
    assert_eq!(place(&rooms, &ask(gpus(1), 2), &[]), Ok("cheap: c1".to_owned()));
    // One replica would fit there, all of them do not.
    assert_eq!(place(&rooms, &ask(gpus(1), 3), &[]), Ok("big: b1".to_owned()));
    let why = place(&rooms, &ask(gpus(1), 9), &[]).expect_err("too many");
    assert!(why.contains("big: ") && why.contains("cheap: "), "{why}");
    let view = rooms
        .explain(&ask(gpus(1), 2), &[], &Fleet::default(), NOW)
        .expect("it is well formed");
    assert_eq!(view.price_micros_per_h, Some(2_000_000));
}

#[test]
fn each_node_says_why_not() {
    let mut rooms = Rooms::default();
    let mut cordoned = node("n2", "A100", 8, 0);
    cordoned.is_cordoned = true;
    let mut faulty = node("n3", "A100", 8, 0);
    faulty.taints = vec!["sentinel.dev/fault".to_owned()];
    let mut tainted = node("n4", "A100", 8, 0);
    tainted.taints = vec!["dedicated".to_owned()];
    let nodes = vec![
        node("n1", "T4", 8, 0),
        cordoned,
        faulty,
        tainted,
        node("n5", "A100", 8, 7),
        node("n6", "A100", 8, 0),
    ];
    told(&mut rooms, "edge", nodes, &[]);
    let demand = Demand {
        models: vec!["A100".to_owned()],
        ..gpus(2)
    };
    let view = rooms
        .explain(&ask(demand, 1), &[], &Fleet::default(), NOW)
        .expect("it is well formed");
    assert_eq!(
        (view.cluster.as_deref(), view.nodes),
        (Some("edge"), vec!["n6".to_owned()])
    );
    let said: BTreeMap<&str, String> = view.clusters[0]
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), node.why_not.join("; ")))
        .collect();
    for (name, why) in [
        ("n1", "GPU model: it has T4"),
        ("n2", "it is cordoned"),
        ("n3", "it is quarantined"),
        ("n4", "taint: dedicated"),
        ("n5", "whole GPUs: 2 asked, 1 free"),
        ("n6", ""),
    ] {
        assert_eq!(said[name], why, "{name}");
    }
}

#[test]
fn what_a_live_plan_was_promised_is_not_given_again() {
    let mut rooms = Rooms::default();
    told(
        &mut rooms,
        "edge",
        vec![node("n1", "A100", 4, 0), node("n2", "A100", 8, 8)],
        &[],
    );
    let promise = Promise {
        cluster: "edge".to_owned(),
        nodes: vec!["n1".to_owned()],
        replicas: 3,
        demand: gpus(1),
    };
    assert_eq!(place(&rooms, &ask(gpus(1), 4), &[]), Ok("edge: n1".to_owned()));
    assert!(place(&rooms, &ask(gpus(1), 2), std::slice::from_ref(&promise)).is_err());
    assert_eq!(place(&rooms, &ask(gpus(1), 1), &[promise]), Ok("edge: n1".to_owned()));
}

#[test]
fn a_gang_stays_in_one_domain() {
    let mut rooms = Rooms::default();
    let in_rack = |name: &str, free: u64| {
        let mut one = node(name, "A100", 8, 8 - free);
        let domain = name[..2].to_owned();
        one.labels.insert("sentinel.dev/domain".to_owned(), domain);
        one
    };
    told(
        &mut rooms,
        "edge",
        vec![
            in_rack("r1-a", 3),
            in_rack("r1-b", 1),
            in_rack("r2-a", 2),
            in_rack("r2-b", 2),
        ],
        &[],
    );
    let gang = Demand { gang: true, ..gpus(2) };
    assert_eq!(place(&rooms, &ask(gang, 2), &[]), Ok("edge: r2-a, r2-b".to_owned()));
}

#[test]
fn parts_of_a_shared_gpu_are_for_shares_and_whole_ones_for_the_rest() {
    let mut rooms = Rooms::default();
    let mut shared = node("s1", "L4", 0, 0);
    shared.has.shared = 4;
    shared.used.shared = 3;
    shared.parts = 4;
    shared.gpu_resource = "nvidia.com/gpu".to_owned();
    told(&mut rooms, "edge", vec![shared, node("w1", "L4", 1, 0)], &[]);
    let share = |milli: u32| Demand {
        gpu_share: milli,
        ..Demand::default()
    };
    assert_eq!(place(&rooms, &ask(share(100), 1), &[]), Ok("edge: s1".to_owned()));
    assert!(
        place(&rooms, &ask(share(100), 2), &[]).is_err(),
        "one part is left, however little is asked"
    );
    assert!(place(&rooms, &ask(share(500), 1), &[]).is_err(), "a part is a quarter");
    assert_eq!(place(&rooms, &ask(gpus(1), 1), &[]), Ok("edge: w1".to_owned()));
    assert_eq!(
        rooms.gpu_resource("edge", &["s1".to_owned()], true).as_deref(),
        Some("nvidia.com/gpu.shared")
    );
}

#[test]
fn a_cluster_that_was_not_heard_of_lately_gets_nothing() {
    let mut rooms = Rooms::default();
    told(&mut rooms, "edge", vec![node("n1", "A100", 8, 0)], &[]);
    let late = NOW + Duration::from_secs(91);
    let why = rooms
        .place(&ask(gpus(1), 1), &[], &Fleet::default(), late)
        .expect_err("too old");
    assert!(why.contains("cannot be read now"), "{why}");
    assert!(place(&Rooms::default(), &ask(gpus(1), 1), &[]).is_err());
}

fn step(verb: Verb, target: Target) -> Step {
    Step {
        verb,
        target,
        expected: None,
        safety: None,
        valid_for_ms: 1_000,
    }
}

fn of_web() -> Target {
    Target::Deployment {
        cluster: "edge".to_owned(),
        namespace: "default".to_owned(),
        name: "web".to_owned(),
    }
}

fn facts_of(rooms: &Rooms, step: &Step, busy: &[&str], now: Mono) -> StepFacts {
    let busy: BTreeSet<NodeRef> = busy
        .iter()
        .map(|name| NodeRef {
            cluster: "edge".to_owned(),
            name: (*name).to_owned(),
        })
        .collect();
    rooms.step_facts(step, &busy, &Fleet::default(), now)
}

fn number(facts: &StepFacts, name: &str) -> Option<i64> {
    facts
        .facts
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| *value)
}

#[test]
fn policy_is_told_what_a_scale_changes_and_what_its_scope_uses() {
    let mut rooms = Rooms::default();
    told(
        &mut rooms,
        "edge",
        vec![node("n1", "A100", 8, 4)],
        &[("A100", 2_000_000), ("cpu", 50_000)],
    );
    let facts = facts_of(&rooms, &step(Verb::Scale { replicas: 7 }, of_web()), &[], NOW);
    let by = |name: &str| {
        facts
            .resources
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, by)| *by)
    };
    assert_eq!(by("replicas"), Some(Some(3)));
    assert_eq!((by("gpu"), by("gpu_A100")), (Some(Some(3)), Some(Some(3))));
    assert_eq!(facts.cost_micros_per_h, Some(3 * 2_050_000));
    for scope in ["namespace", "cluster", "edge", "edge:default"] {
        assert_eq!(number(&facts, &format!("{scope}.used_replicas")), Some(4), "{scope}");
        assert_eq!(number(&facts, &format!("{scope}.used_gpu_A100")), Some(4), "{scope}");
        assert_eq!(
            number(&facts, &format!("{scope}.cost_rate_micros_per_h")),
            Some(8_200_000),
            "{scope}"
        );
    }
    // Fewer replicas give back.
    let less = facts_of(&rooms, &step(Verb::Scale { replicas: 1 }, of_web()), &[], NOW);
    assert_eq!(less.cost_micros_per_h, Some(-3 * 2_050_000));
}

#[test]
fn what_is_not_known_is_said_to_be_unknown_and_never_nothing() {
    let mut rooms = Rooms::default();
    told(&mut rooms, "edge", vec![node("n1", "A100", 8, 4)], &[]);
    let late = NOW + Duration::from_secs(91);
    let scale = step(Verb::Scale { replicas: 7 }, of_web());
    let facts = facts_of(&rooms, &scale, &[], late);
    assert_eq!(facts.cost_micros_per_h, None);
    assert!(facts.resources.iter().any(|(name, by)| name == "gpu" && by.is_none()));
    assert_eq!(number(&facts, "namespace.used_gpu"), None);
    // Known, but nobody has said what it costs.
    let facts = facts_of(&rooms, &scale, &[], NOW);
    assert_eq!(
        (
            facts.cost_micros_per_h,
            number(&facts, "cluster.cost_rate_micros_per_h")
        ),
        (None, None)
    );
}

#[test]
fn drift_is_told_once_and_when_it_is_over() {
    let mut rooms = Rooms::default();
    let mut tell = |drift: &[&str]| {
        let deployment = KubeDeployment {
            drift: drift.iter().map(|text| (*text).to_owned()).collect(),
            ..web(4, 1)
        };
        let facts = KubeFacts {
            deployments: vec![deployment],
            ..KubeFacts::default()
        };
        let told = rooms.told(&Cluster::new("edge", None), facts, NOW);
        assert!(told.mends.is_empty(), "nobody asked for that");
        told.drifted
            .into_iter()
            .map(|(target, drift, _)| format!("{} {}", target.name, drift.join("; ")))
            .collect::<Vec<_>>()
    };
    assert!(tell(&[]).is_empty());
    assert_eq!(
        tell(&["replicas: 4 wanted, 9 by kubectl"]),
        ["web replicas: 4 wanted, 9 by kubectl"]
    );
    assert!(tell(&["replicas: 4 wanted, 9 by kubectl"]).is_empty());
    assert_eq!(tell(&[]), ["web "]);
}

#[test]
fn a_drained_node_is_a_member_of_its_cluster_and_of_what_its_labels_name() {
    let mut rooms = Rooms::default();
    let mut sick = node("r1-b", "A100", 8, 0);
    sick.is_ready = false;
    told(
        &mut rooms,
        "edge",
        vec![node("r1-a", "A100", 8, 0), sick, node("r2-a", "A100", 8, 0)],
        &[],
    );
    let drained = |name: &str| Target::ClusterNode {
        cluster: "edge".to_owned(),
        name: name.to_owned(),
    };
    let facts = facts_of(&rooms, &step(Verb::Drain, drained("r1-a")), &["r2-a", "r1-a"], NOW);
    for (name, value) in [
        ("cluster.members", 3),
        ("cluster.unhealthy", 1),
        ("cluster.in_flight", 1),
        ("rack.members", 2),
        ("rack.unhealthy", 1),
        ("rack.in_flight", 0),
        ("fleet.members", 3),
    ] {
        assert_eq!(number(&facts, name), Some(value), "{name}");
    }
    // What is sick already does not count against its own repair.
    let own = facts_of(&rooms, &step(Verb::Drain, drained("r1-b")), &[], NOW);
    assert_eq!(number(&own, "cluster.unhealthy"), Some(0));
    assert!(facts.labels.contains(&("rack".to_owned(), "r1".to_owned())));
}

#[test]
fn drift_that_stays_is_mended_once_where_the_deployment_asks_for_it() {
    let mut rooms = Rooms::default();
    let mut tell = |drift: &[&str], replicas: Option<u32>, at: u64| {
        let deployment = KubeDeployment {
            drift: drift.iter().map(|text| (*text).to_owned()).collect(),
            mend: Some(Mend {
                plan: PlanId([7; 16]),
                replicas,
                image: None,
            }),
            ..web(4, 1)
        };
        let facts = KubeFacts {
            deployments: vec![deployment],
            ..KubeFacts::default()
        };
        let now = NOW + Duration::from_secs(at);
        let told = rooms.told(&Cluster::new("edge", None), facts, now);
        told.mends
            .into_iter()
            .map(|(_, draft)| {
                let steps: Vec<String> = draft.steps.iter().map(|step| format!("{:?}", step.verb)).collect();
                format!("{} {}: {}", draft.source, steps.join(", "), draft.reason)
            })
            .collect::<Vec<_>>()
    };
    let (nine, three) = (
        ["replicas: 4 wanted, 9 by kubectl"],
        ["replicas: 4 wanted, 3 by kubectl"],
    );
    assert!(tell(&nine, Some(4), 0).is_empty(), "it may be over soon");
    assert_eq!(
        tell(&nine, Some(4), 30),
        ["drift at edge Scale { replicas: 4 }: it drifted, and asks to be mended: replicas: 4 wanted, 9 by kubectl"]
    );
    assert!(
        tell(&nine, Some(4), 60).is_empty(),
        "its plan is under way, or somebody insists"
    );
    assert!(tell(&three, Some(4), 90).is_empty(), "another drift has to stay, too");
    assert_eq!(tell(&three, Some(4), 120).len(), 1);
    assert!(tell(&[], Some(4), 150).is_empty());
    assert!(
        tell(&nine, None, 180).is_empty() && tell(&nine, None, 210).is_empty(),
        "an autoscaler has them"
    );
    let late = 120 + 600;
    assert!(tell(&three, Some(4), late).is_empty());
    assert_eq!(
        tell(&three, Some(4), late + 30).len(),
        1,
        "after ten minutes it is tried again"
    );
}
