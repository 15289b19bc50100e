//! Plans whose steps clusters carry out: done when it is seen there, taken back when it is not, and never made twice.

mod drift;

use hub_core::plans::PlanAsk;
use hub_core::{ClusterChange, DeploymentStanding, NodeStanding, Standing};
use wire::PlanId;
use wire::kube::NodeChange;
use wire::plan::{Draft, Source, Step, Target, Verb};

use super::*;

const RULES: &str = "bundle: x\npermits: [{ kinds: [scale, restart, update, rollback, cordon, uncordon, drain] }]\nrules:\n  - { id: most, kind: envelope, selector: { kinds: [scale] }, max: 9 }\n";

fn draft(verb: Verb, target: Target) -> Draft {
    Draft {
        source: Source::Person { name: "ann".to_owned() },
        tenant: String::new(),
        reason: "more people".to_owned(),
        key: String::new(),
        correlation: String::new(),
        claim: None,
        steps: vec![Step {
            verb,
            target,
            expected: None,
            safety: None,
            valid_for_ms: 600_000,
        }],
        not_after: None,
    }
}

fn deployment(cluster: &str) -> Target {
    Target::Deployment {
        cluster: cluster.to_owned(),
        namespace: "default".to_owned(),
        name: "web".to_owned(),
    }
}

fn submit(world: &mut World, draft: Draft) -> u64 {
    submit_as(world, 1, draft)
}

fn submit_as(world: &mut World, id: u8, draft: Draft) -> u64 {
    let (id, draft) = (PlanId([id; 16]), Box::new(draft));
    let what = PlanAsk::Submit { id, draft };
    let caller = Caller::new("ann", Via::Api);
    let request = world.request(Request::Plan { caller, what });
    world.settle();
    request
}

/// A hub with rules, and a plan for `web` that was just sent.
fn planned(verb: Verb) -> World {
    let mut world = begun();
    world.publish(RULES);
    world.settle();
    world.kube.clear();
    submit(&mut world, draft(verb, deployment("edge")));
    world
}

fn web_with(image: &str, wanted: u32, ready: u32, mark: &str) -> Standing {
    Standing::Deployment(DeploymentStanding {
        image: image.to_owned(),
        wanted,
        ready,
        revision: Some(1),
        is_settled: wanted == ready,
        has_failed: false,
        mark: mark.to_owned(),
    })
}

fn looked(world: &mut World, standing: Standing) {
    world.kube.clear();
    world.tell(Input::Kube(KubeInput::Looked {
        plan: PlanId([1; 16]),
        step: 0,
        standing,
    }));
    world.settle();
}

/// Whether the cluster is asked how the target is.
fn is_looked_at(world: &World) -> bool {
    world
        .kube
        .iter()
        .any(|effect| matches!(effect, KubeEffect::Look { .. }))
}

/// The change that the cluster is asked for, with its id.
fn asked(world: &World) -> Option<(String, ClusterChange)> {
    world.kube.iter().find_map(|effect| match effect {
        KubeEffect::Change { id, what, .. } => Some((id.clone(), what.clone())),
        _ => None,
    })
}

fn answered(world: &mut World, id: &str, outcome: ChangeOutcome) {
    world.kube.clear();
    let id = id.to_owned();
    world.tell(Input::Kube(KubeInput::Changed { id, outcome }));
    world.settle();
}

fn accepted() -> ChangeOutcome {
    ChangeOutcome::Accepted {
        detail: "7 replicas are wanted".to_owned(),
    }
}

fn last(world: &World) -> String {
    let mut plans = verbs(world).into_iter().filter(|verb| verb.starts_with("plan."));
    plans.next_back().unwrap_or_default()
}

fn scale_to(replicas: u32) -> ClusterChange {
    let change = DeploymentChange::Scale { replicas };
    ClusterChange::Deployment { target: web(), change }
}

#[test]
fn a_scale_is_completed_when_its_pods_are_ready_and_not_when_it_is_accepted() {
    let mut world = planned(Verb::Scale { replicas: 7 });
    assert!(
        is_looked_at(&world) && asked(&world).is_none(),
        "how it is now is read first"
    );
    looked(&mut world, web_with("web:1", 4, 4, ""));
    let (id, what) = asked(&world).unwrap();
    assert_eq!(what, scale_to(7));
    answered(&mut world, &id, accepted());
    assert_eq!(last(&world), "plan.verifying");
    assert!(is_looked_at(&world));
    for ready in [4, 5, 6] {
        looked(&mut world, web_with("web:1", 7, ready, &id));
        assert_eq!(last(&world), "plan.verifying");
        world.advance(1_000);
        assert!(is_looked_at(&world), "{ready} are ready, and the rest is waited for");
    }
    looked(&mut world, web_with("web:1", 7, 7, &id));
    assert_eq!(last(&world), "plan.completed");
    world.advance(60_000);
    assert!(!is_looked_at(&world), "nobody looks any more");
}

#[test]
fn a_scale_that_policy_denies_or_whose_cluster_nobody_knows_never_gets_there() {
    let world = planned(Verb::Scale { replicas: 70 });
    assert_eq!((last(&world).as_str(), asked(&world)), ("plan.rejected", None));
    let mut world = begun();
    let request = submit(&mut world, draft(Verb::Scale { replicas: 1 }, deployment("nowhere")));
    assert!(answer(&world, request).contains("cluster `nowhere` is not registered"));
}

#[test]
fn pods_that_do_not_come_in_time_are_scaled_back() {
    let mut world = planned(Verb::Scale { replicas: 7 });
    looked(&mut world, web_with("web:1", 4, 4, ""));
    let (id, _) = asked(&world).unwrap();
    answered(&mut world, &id, accepted());
    looked(&mut world, web_with("web:1", 7, 5, &id));
    world.kube.clear();
    world.advance(15 * 60_000);
    world.settle();
    assert_eq!(last(&world), "plan.rolling_back");
    let (undo, what) = asked(&world).unwrap();
    assert_eq!(what, scale_to(4));
    assert_ne!(undo, id);
    answered(&mut world, &undo, accepted());
    assert_eq!(last(&world), "plan.rolling_back", "accepted is not back");
    looked(&mut world, web_with("web:1", 4, 5, &undo));
    assert_eq!(last(&world), "plan.rolling_back");
    looked(&mut world, web_with("web:1", 4, 4, &undo));
    assert_eq!(last(&world), "plan.rolled_back");
}

#[test]
fn an_update_that_the_cluster_gives_up_is_taken_back_at_once() {
    let mut world = planned(Verb::Update {
        image: "web:2".to_owned(),
    });
    looked(&mut world, web_with("web:1", 4, 4, ""));
    let (id, _) = asked(&world).unwrap();
    answered(&mut world, &id, accepted());
    let mut failed = web_with("web:2", 4, 3, &id);
    if let Standing::Deployment(standing) = &mut failed {
        standing.has_failed = true;
    }
    looked(&mut world, failed);
    let (_, what) = asked(&world).unwrap();
    let change = DeploymentChange::SetImage {
        image: "web:1".to_owned(),
    };
    assert_eq!(what, ClusterChange::Deployment { target: web(), change });
}

#[test]
fn after_a_restart_the_mark_tells_whether_the_change_arrived() {
    for (arrived, expected) in [(true, "plan.completed"), (false, "plan.failed")] {
        let mut world = planned(Verb::Scale { replicas: 7 });
        looked(&mut world, web_with("web:1", 4, 4, ""));
        let (id, _) = asked(&world).unwrap();
        world.kube.clear();
        world.restart(true);
        world.tell(Input::Tick);
        world.settle();
        assert!(is_looked_at(&world) && asked(&world).is_none(), "it is not made again");
        let mark = if arrived { id.as_str() } else { "" };
        let now = |ready| web_with("web:1", if arrived { 7 } else { 4 }, ready, mark);
        looked(&mut world, now(4));
        for _ in 0..25 {
            world.advance(1_000);
            looked(&mut world, now(if arrived { 7 } else { 4 }));
        }
        assert_eq!(last(&world), expected);
        assert_eq!(asked(&world), None);
    }
}

#[test]
fn a_lost_answer_is_looked_for_and_a_cluster_that_is_down_says_nothing() {
    let mut world = planned(Verb::Scale { replicas: 7 });
    looked(&mut world, web_with("web:1", 4, 4, ""));
    let (id, _) = asked(&world).unwrap();
    let reason = "connection reset".to_owned();
    answered(&mut world, &id, ChangeOutcome::Unknown { reason });
    assert!(is_looked_at(&world));
    for _ in 0..60 {
        let why = "connection refused".to_owned();
        looked(&mut world, Standing::Unread { why });
        world.advance(1_000);
    }
    assert_eq!(last(&world), "plan.executing", "an outage is neither done nor not done");
    looked(&mut world, web_with("web:1", 7, 7, &id));
    looked(&mut world, web_with("web:1", 7, 7, &id));
    assert_eq!(last(&world), "plan.completed");
}

#[test]
fn a_node_of_the_mesh_is_drained_by_the_cluster_that_has_it() {
    let mut world = World::new(1);
    world.publish(RULES);
    world.settle();
    clusters(&mut world, ClusterRequest::Register(Cluster::new("edge", None)));
    world.settle();
    let agent = world.agents[0].id.clone();
    let whole = Target::Device {
        node: agent.clone(),
        device: wire::reading::DeviceId::node(),
    };
    let request = submit(&mut world, draft(Verb::Drain, whole.clone()));
    assert!(answer(&world, request).contains("no registered cluster has node `edge-0`"));
    tell_nodes(&mut world, vec![machine("machine-7", agent)]);
    world.kube.clear();
    submit(&mut world, draft(Verb::Drain, whole));
    let node = |is_cordoned, left: &[&str]| {
        let left = left.iter().map(|pod| (*pod).to_owned()).collect();
        Standing::Node(NodeStanding { is_cordoned, left })
    };
    looked(&mut world, node(false, &[]));
    let (id, what) = asked(&world).unwrap();
    let ClusterChange::Node { target, change } = what else {
        panic!("{what:?}")
    };
    assert_eq!(
        (target.to_string().as_str(), change),
        ("edge:node/machine-7", NodeChange::Drain)
    );
    answered(&mut world, &id, accepted());
    looked(&mut world, node(true, &["default/web-1: held by budget web"]));
    assert_eq!(last(&world), "plan.verifying");
    looked(&mut world, node(true, &[]));
    assert_eq!(last(&world), "plan.completed");
}

/// A node with eight GPUs of which nothing is taken.
fn machine(name: &str, agent: wire::AgentId) -> hub_core::KubeNode {
    hub_core::KubeNode {
        name: name.to_owned(),
        agent,
        labels: std::collections::BTreeMap::new(),
        is_ready: true,
        is_pressed: false,
        is_cordoned: false,
        taints: Vec::new(),
        has: hub_core::Amount {
            cpu_milli: 64_000,
            memory_mib: 65_536,
            gpus: 8,
            shared: 0,
        },
        used: hub_core::Amount::default(),
        model: "A100".to_owned(),
        gpu_resource: "nvidia.com/gpu".to_owned(),
        parts: 0,
    }
}

fn tell_nodes(world: &mut World, nodes: Vec<hub_core::KubeNode>) {
    let facts = hub_core::KubeFacts {
        nodes,
        ..hub_core::KubeFacts::default()
    };
    let (cluster, facts) = ("edge".to_owned(), Box::new(facts));
    world.tell(Input::Kube(KubeInput::Nodes { cluster, facts }));
    world.settle();
}

/// A deployment of the cluster that the hub chooses.
fn anywhere(replicas: u32, gpus: u32) -> Draft {
    let demand = wire::Demand {
        gpus,
        ..wire::Demand::default()
    };
    let verb = Verb::Deploy {
        image: "train:1".to_owned(),
        replicas,
        demand,
        nodes: String::new(),
        kind: String::new(),
    };
    let target = Target::Deployment {
        cluster: Target::ANY_CLUSTER.to_owned(),
        namespace: "default".to_owned(),
        name: "train".to_owned(),
    };
    draft(verb, target)
}

#[test]
fn work_is_placed_when_its_plan_is_sent_and_taken_away_when_its_pods_do_not_come() {
    let mut world = World::new(1);
    world.publish("bundle: t\npermits: [{ kinds: [deploy] }]\nrules:\n  - { id: gpus, kind: quota, scope: namespace, nominal: { gpu: 12 } }\n");
    world.settle();
    clusters(&mut world, ClusterRequest::Register(Cluster::new("edge", None)));
    world.settle();
    let request = submit(&mut world, anywhere(2, 4));
    assert!(answer(&world, request).contains("no cluster has told its nodes yet"));
    let agent = world.agents[0].id.clone();
    tell_nodes(&mut world, vec![machine("machine-7", agent)]);
    let request = submit(&mut world, anywhere(2, 5));
    assert!(
        answer(&world, request).contains("whole GPUs"),
        "{}",
        answer(&world, request)
    );

    world.kube.clear();
    submit(&mut world, anywhere(2, 4));
    looked(&mut world, Standing::Missing);
    let (id, what) = asked(&world).expect("it goes to the cluster");
    let ClusterChange::Deployment {
        change: DeploymentChange::Deploy {
            nodes, gpu_resource, ..
        },
        target,
    } = what
    else {
        panic!("{what:?}")
    };
    assert_eq!((target.cluster.as_str(), nodes), ("edge", vec!["machine-7".to_owned()]));
    assert_eq!(gpu_resource, "nvidia.com/gpu");
    // All of its GPUs are promised.
    let mut other = anywhere(1, 1);
    if let Target::Deployment { name, .. } = &mut other.steps[0].target {
        *name = "other".to_owned();
    }
    let request = submit_as(&mut world, 2, other);
    assert!(
        answer(&world, request).contains("no cluster can run it"),
        "{}",
        answer(&world, request)
    );

    // Its pods never come, so it is removed again.
    answered(&mut world, &id, accepted());
    looked(
        &mut world,
        Standing::Deployment(DeploymentStanding {
            image: "train:1".to_owned(),
            wanted: 2,
            ready: 0,
            revision: Some(1),
            is_settled: false,
            has_failed: true,
            mark: id,
        }),
    );
    let (id, what) = asked(&world).expect("it is taken back");
    assert!(
        matches!(
            what,
            ClusterChange::Deployment {
                change: DeploymentChange::Delete,
                ..
            }
        ),
        "{what:?}"
    );
    answered(&mut world, &id, accepted());
    looked(&mut world, Standing::Missing);
    assert_eq!(last(&world), "plan.rolled_back");

    // More than the namespace may have is refused, whatever room there is.
    let agent = world.agents[0].id.clone();
    tell_nodes(
        &mut world,
        vec![machine("machine-7", agent.clone()), machine("machine-8", agent)],
    );
    submit_as(&mut world, 3, anywhere(2, 7));
    assert_eq!(last(&world), "plan.rejected");
}
