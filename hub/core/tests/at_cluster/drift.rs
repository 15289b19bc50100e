//! Drift: said when it comes, mended where it is asked for and policy lets it, and left otherwise.

use std::time::Duration;

use hub_core::{KubeDeployment, KubeFacts, Mend};

use super::*;

/// The cluster tells that `web` has nine replicas where seven are wanted; with an id, it asks to be mended by that plan.
fn tell_drift(world: &mut World, mend: Option<u8>) {
    let deployment = KubeDeployment {
        namespace: "default".to_owned(),
        name: "web".to_owned(),
        replicas: 9,
        drift: vec!["replicas: 7 wanted, 9 by kubectl".to_owned()],
        mend: mend.map(|id| Mend {
            plan: PlanId([id; 16]),
            replicas: Some(7),
            image: None,
        }),
        ..KubeDeployment::default()
    };
    let facts = KubeFacts {
        deployments: vec![deployment],
        ..KubeFacts::default()
    };
    let (cluster, facts) = ("edge".to_owned(), Box::new(facts));
    world.tell(Input::Kube(KubeInput::Nodes { cluster, facts }));
    world.settle();
    world.advance(u64::try_from(Duration::from_secs(30).as_millis()).unwrap());
}

fn with_rules(rules: &str) -> World {
    let mut world = begun();
    world.publish(rules);
    world.settle();
    world.kube.clear();
    world
}

/// Why the last entry of this verb was made.
fn why(world: &World, verb: &str) -> String {
    let entries = world.store.entries.iter().filter(|((of, _), _)| of.is_hub());
    let mut whys =
        entries
            .flat_map(|(_, entries)| entries.values())
            .filter_map(|bytes| match wire::codec::decode::<wire::Entry>(bytes).unwrap().body {
                EntryBody::Changed(change) if change.verb == verb => Some(change.reason),
                _ => None,
            });
    whys.next_back().unwrap_or_default()
}

#[test]
fn drift_that_stays_is_mended_by_a_plan_of_the_hubs_own() {
    let mut world = with_rules(RULES);
    tell_drift(&mut world, Some(5));
    assert!(
        why(&world, "deployment.drift").contains("a plan is to mend it"),
        "it is said at once"
    );
    assert!(
        !verbs(&world).contains(&"plan.received".to_owned()),
        "and may be over soon"
    );
    tell_drift(&mut world, Some(6));
    assert!(is_looked_at(&world), "{:?}", verbs(&world));
    world.kube.clear();
    world.tell(Input::Kube(KubeInput::Looked {
        plan: PlanId([6; 16]),
        step: 0,
        standing: web_with("web:1", 9, 9, ""),
    }));
    world.settle();
    assert_eq!(asked(&world).map(|(_, what)| what), Some(scale_to(7)));
}

#[test]
fn drift_is_left_where_nobody_asks_and_where_policy_refuses() {
    let mut world = with_rules(RULES);
    for _ in 0..3 {
        tell_drift(&mut world, None);
    }
    assert!(why(&world, "deployment.drift").ends_with("it is left as it is"));
    assert!(!is_looked_at(&world) && last(&world).is_empty());

    let frozen = "bundle: x\npermits: [{ kinds: [restart] }]\n";
    let mut world = with_rules(frozen);
    for id in 0..3 {
        tell_drift(&mut world, Some(id));
    }
    assert_eq!(last(&world), "plan.rejected", "{:?}", verbs(&world));
    assert!(asked(&world).is_none());
}
