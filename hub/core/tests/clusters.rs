//! Clusters and rollouts in the hub: recorded before anything is done, and never done twice.
#![allow(clippy::unwrap_used)]

mod at_cluster;
mod world;

use hub_core::rollouts::{Change, Command, Facts, Measured, RoleFacts, RolloutRequest, RolloutSpec, Seen};
use hub_core::{Answer, Cluster, ClusterRequest, Input, KubeEffect, KubeInput, Request};
use wire::change::{Caller, Via};
use wire::domains::NodeFacts;
use wire::entry::EntryBody;
use wire::frame::Frame;
use wire::kube::{ChangeOutcome, DeploymentChange, DeploymentRef};

use world::World;

fn web() -> DeploymentRef {
    DeploymentRef {
        cluster: "edge".to_owned(),
        namespace: "default".to_owned(),
        name: "web".to_owned(),
    }
}

fn clusters(world: &mut World, what: ClusterRequest) -> u64 {
    let caller = Caller::new("ann", Via::Api);
    world.request(Request::Clusters { caller, what })
}

fn rollouts(world: &mut World, what: RolloutRequest) -> u64 {
    let caller = Caller::new("ann", Via::Api);
    world.request(Request::Rollouts { caller, what })
}

/// A hub that knows cluster `edge`.
fn begun() -> World {
    let mut world = World::new(0);
    world.tell(Input::Tick);
    world.settle();
    let kubeconfig = Some("/etc/kube/edge.yaml".to_owned());
    clusters(&mut world, ClusterRequest::Register(Cluster::new("edge", kubeconfig)));
    world.settle();
    world.kube.clear();
    world
}

fn scale(world: &mut World, replicas: u32) -> u64 {
    let (id, reason) = (format!("change-{replicas}"), "more people".to_owned());
    let change = DeploymentChange::Scale { replicas };
    clusters(
        world,
        ClusterRequest::Change {
            id,
            target: web(),
            change,
            reason,
        },
    )
}

/// The word of an answer.
fn answer(world: &World, request: u64) -> String {
    match world.replies.get(&request).map(Vec::as_slice) {
        Some([Answer::Changed(outcome)]) => format!("{outcome:?}"),
        Some([Answer::Rollout(view)]) => view.phase.clone(),
        Some([Answer::Accepted]) => "accepted".to_owned(),
        Some([Answer::Rejected { reason } | Answer::Unavailable { reason }]) => reason.clone(),
        Some([]) | None => "no answer".to_owned(),
        other => panic!("{other:?}"),
    }
}

/// The verbs of the hub's own entries.
fn verbs(world: &World) -> Vec<String> {
    let entries = world.store.entries.iter().filter(|((of, _), _)| of.is_hub());
    let bytes = entries.flat_map(|(_, entries)| entries.values());
    let body = |bytes: &Vec<u8>| match wire::codec::decode::<wire::Entry>(bytes).unwrap().body {
        EntryBody::Changed(change) => change.verb,
        other => other.kind().to_owned(),
    };
    bytes.map(body).collect()
}

#[test]
fn a_cluster_hears_of_a_change_only_after_its_entry_is_stored() {
    let mut world = begun();
    let request = scale(&mut world, 7);
    assert!(world.kube.is_empty(), "not stored yet");
    world.commit();
    let [KubeEffect::Change { id, .. }] = &world.kube[..] else {
        panic!("{:?}", world.kube)
    };
    let id = id.clone();
    assert_eq!(answer(&world, request), "no answer", "the cluster has not answered");
    let outcome = ChangeOutcome::Accepted {
        detail: "7 replicas are wanted".to_owned(),
    };
    world.tell(Input::Kube(KubeInput::Changed {
        id: id.clone(),
        outcome: outcome.clone(),
    }));
    world.settle();
    assert_eq!(answer(&world, request), format!("{outcome:?}"));
    assert_eq!(
        verbs(&world),
        ["cluster.register", "deployment.scale", "deployment.scale"]
    );
    // An answer that comes twice says nothing new.
    world.tell(Input::Kube(KubeInput::Changed { id, outcome }));
    world.settle();
    assert_eq!(verbs(&world).len(), 3);
}

#[test]
fn a_change_that_was_not_stored_is_not_made() {
    let mut world = begun();
    let request = scale(&mut world, 7);
    world.fail();
    assert_eq!(answer(&world, request), "disk full");
    assert!(world.kube.is_empty());
}

#[test]
fn a_change_without_an_answer_is_unknown_after_a_restart_and_not_made_again() {
    let mut world = begun();
    scale(&mut world, 7);
    world.commit();
    world.kube.clear();
    world.restart(true);
    world.tell(Input::Tick);
    world.settle();
    assert!(
        world
            .kube
            .iter()
            .all(|effect| matches!(effect, KubeEffect::Open(_) | KubeEffect::Nodes { .. })),
        "{:?}",
        world.kube
    );
    assert!(!world.kube.is_empty(), "the cluster is reached again");
    assert_eq!(
        verbs(&world).iter().filter(|verb| *verb == "deployment.scale").count(),
        2,
        "asked, and unknown"
    );
}

#[test]
fn what_names_no_cluster_is_refused() {
    let mut world = World::new(0);
    world.tell(Input::Tick);
    world.settle();
    let request = scale(&mut world, 1);
    assert!(answer(&world, request).contains("`edge` is not registered"));
    let request = clusters(
        &mut world,
        ClusterRequest::Register(Cluster::new("edge", Some("kube.yaml".to_owned()))),
    );
    assert!(
        answer(&world, request).contains("absolute path"),
        "{}",
        answer(&world, request)
    );
    let request = clusters(&mut world, ClusterRequest::Register(Cluster::new("Edge", None)));
    assert!(
        answer(&world, request).contains("`Edge` is not a name"),
        "{}",
        answer(&world, request)
    );
}

fn there(image: &str, replicas: u32, ready: u32) -> Seen {
    Seen::There(RoleFacts {
        image: image.to_owned(),
        wanted: replicas,
        ready,
        updated: replicas,
        existing: replicas,
        seen_by_controller: true,
    })
}

fn facts(canary: Seen, baseline: Seen) -> Facts {
    Facts {
        stable: there("web:1", 10, 10),
        canary,
        baseline,
        weight: Some(0),
        autoscaler: None,
    }
}

fn start(world: &mut World, id: &str) -> u64 {
    let spec = Box::new(RolloutSpec::canary("web:2", 10, 45, 60_000));
    let facts = Box::new(facts(Seen::Missing, Seen::Missing));
    let (id, reason) = (id.to_owned(), "newer".to_owned());
    rollouts(
        world,
        RolloutRequest::Start {
            id,
            target: web(),
            spec,
            facts,
            reason,
        },
    )
}

fn observe(world: &mut World, facts: Facts, measured: Option<Measured>) {
    let rollout = "r1".to_owned();
    world.tell(Input::Kube(KubeInput::Observed {
        rollout,
        facts: Box::new(facts),
        measured,
    }));
}

fn carried(world: &mut World) -> Vec<Change> {
    let effects = std::mem::take(&mut world.kube);
    effects
        .into_iter()
        .filter_map(|effect| {
            if let KubeEffect::Carry { changes, .. } = effect {
                Some(changes)
            } else {
                None
            }
        })
        .flatten()
        .collect()
}

#[test]
fn a_rollout_is_looked_at_and_changes_follow_their_entry() {
    let mut world = begun();
    let request = start(&mut world, "r1");
    world.settle();
    assert_eq!(answer(&world, request), "setting");
    let second = start(&mut world, "r2");
    assert!(answer(&world, second).contains("rollout r1 of edge:default/deployment/web is under way"));
    world.advance(2_000);
    assert!(
        matches!(&world.kube[..], [KubeEffect::Observe { look, .. }] if look.measure.is_none()),
        "{:?}",
        world.kube
    );
    world.kube.clear();
    observe(&mut world, facts(Seen::Missing, Seen::Missing), None);
    assert!(world.kube.is_empty(), "not stored yet");
    world.settle();
    assert_eq!(carried(&mut world).len(), 2, "a canary and its baseline");
    let entries = verbs(&world).len();
    // The cluster has not followed yet: the same again, explained by the same entry.
    observe(&mut world, facts(Seen::Missing, Seen::Missing), None);
    assert_eq!((carried(&mut world).len(), verbs(&world).len()), (2, entries));
    // It has: the step is there, and the canary is measured from here on.
    observe(&mut world, facts(there("web:2", 1, 1), there("web:1", 1, 1)), None);
    world.settle();
    assert_eq!(world.hub.rollouts()[0].phase, "analysing");
    world.advance(2_000);
    assert!(
        matches!(&world.kube[..], [KubeEffect::Observe { look, .. }] if look.measure.is_some()),
        "{:?}",
        world.kube
    );
}

#[test]
fn a_rollout_goes_on_after_a_restart_and_is_aborted_by_a_person() {
    let mut world = begun();
    start(&mut world, "r1");
    world.settle();
    world.restart(true);
    world.kube.clear();
    world.advance(2_000);
    assert!(
        world
            .kube
            .iter()
            .any(|effect| matches!(effect, KubeEffect::Observe { .. })),
        "{:?}",
        world.kube
    );
    let (id, command, reason) = (
        "r1".to_owned(),
        Command::Abort { why: "no".to_owned() },
        "no".to_owned(),
    );
    let request = rollouts(&mut world, RolloutRequest::Command { id, command, reason });
    world.settle();
    assert_eq!(answer(&world, request), "rolling_back");
    observe(&mut world, facts(Seen::Missing, Seen::Missing), None);
    world.settle();
    assert!(world.hub.rollouts().is_empty(), "it is finished");
    let again = start(&mut world, "r3");
    world.settle();
    assert_eq!(answer(&world, again), "setting", "its deployment is free");
}

fn says(world: &mut World, unhealthy: Option<&str>) {
    let session = world.agents[0].session.unwrap();
    let facts = NodeFacts {
        labels: Vec::new(),
        unhealthy: unhealthy.map(str::to_owned),
        asks: None,
        acting: 0,
        opened: None,
        more: Vec::new(),
    };
    world.frame(session, Frame::NodeFacts(facts));
}

/// The marks that clusters were asked for.
fn marks(world: &mut World) -> Vec<Option<String>> {
    let effects = std::mem::take(&mut world.kube);
    let mark = |effect| {
        if let KubeEffect::Mark { fault, .. } = effect {
            Some(fault)
        } else {
            None
        }
    };
    effects.into_iter().filter_map(mark).collect()
}

#[test]
fn a_nodes_fault_becomes_a_mark_until_it_is_well_and_silence_changes_nothing() {
    let mut world = World::new(1);
    world.tell(Input::Tick);
    world.settle();
    clusters(&mut world, ClusterRequest::Register(Cluster::new("edge", None)));
    world.settle();
    world.join(0).unwrap();
    world.settle();
    says(&mut world, Some("gpu0 fell off the bus"));
    assert_eq!(marks(&mut world), [], "not stored yet");
    world.settle();
    let fault = Some("gpu0 fell off the bus".to_owned());
    assert_eq!(marks(&mut world), std::slice::from_ref(&fault));
    // It does not come through: made again until it does.
    let node = world.agents[0].id.clone();
    let marked = |failed: Option<&str>, changed: &[&str]| {
        Input::Kube(KubeInput::Marked {
            node: node.clone(),
            fault: fault.clone(),
            changed: changed.iter().map(|name| (*name).to_owned()).collect(),
            failed: failed.map(str::to_owned),
        })
    };
    world.tell(marked(Some("edge: it is down"), &[]));
    world.advance(15_000);
    assert_eq!(marks(&mut world), std::slice::from_ref(&fault));
    world.tell(marked(None, &["edge"]));
    world.settle();
    world.advance(60_000);
    assert_eq!(marks(&mut world), []);
    world.close(0, "a cut");
    world.settle();
    assert_eq!(marks(&mut world), [], "a node that is not heard keeps its mark");
    world.join(0).unwrap();
    says(&mut world, None);
    world.settle();
    assert_eq!(marks(&mut world), [None]);
    let verbs = verbs(&world);
    let told: Vec<&str> = verbs
        .iter()
        .map(String::as_str)
        .filter(|verb| verb.starts_with("node."))
        .collect();
    assert_eq!(told, ["node.enrol", "node.fault", "node.taint", "node.well"]);
}

#[test]
fn a_cluster_that_comes_later_shows_what_nodes_said_before() {
    let mut world = World::new(1);
    world.tell(Input::Tick);
    world.settle();
    world.join(0).unwrap();
    says(&mut world, Some("the GPU probe does not answer"));
    world.settle();
    assert_eq!(marks(&mut world), []);
    clusters(&mut world, ClusterRequest::Register(Cluster::new("edge", None)));
    world.settle();
    assert_eq!(marks(&mut world), [Some("the GPU probe does not answer".to_owned())]);
}
