//! The hub's own record, with real processes: a hub that was put back from an older copy is found out by its own fleet.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use testbed_e2e::{Cluster, check};

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.expect("cp starts").success());
}

/// How the record stands, whatever the exit status; `None` while there is no hub.
fn stands(cluster: &Cluster) -> Option<(i32, Value)> {
    let said = cluster.sentinel(&["audit", "verify", "-o", "json"]);
    matches!(said.code, 0 | 8).then(|| (said.code, said.json()))
}

/// The place of an entry of the hub's own chain: `@hub.EPOCH.SEQ`.
fn seq(entry: &Value) -> u64 {
    let last = entry.as_str().and_then(|text| text.rsplit('.').next());
    last.and_then(|text| text.parse().ok()).unwrap_or_default()
}

#[test]
fn a_hub_that_was_put_back_from_an_older_copy_is_found_out_by_its_fleet() {
    let mut cluster = Cluster::start(2, &["--beacon-every", "1s"]);
    let (own, copied) = (cluster.state("hub"), cluster.folder().join("copied"));
    cluster.demo("stop", "hub");
    copy(&own, &copied);
    cluster.demo("start", "hub");
    cluster.until("the fleet is back", |cluster| cluster.connected() == 2);

    // What the copy does not know: somebody is let in, and the end of the record is signed.
    cluster.must(&["user", "create", "bob", "--role", "operator"]);
    let added = cluster
        .must(&["audit", "list", "--verb", "user.create", "-o", "json"])
        .items();
    let added = seq(&added[0]["id"]);
    assert!(added > 0);
    cluster.until("it is signed", |cluster| {
        stands(cluster).is_some_and(|(code, found)| code == 0 && seq(&found["checkpoint"]["entry"]) >= added)
    });

    cluster.demo("stop", "hub");
    std::fs::rename(&own, cluster.folder().join("aside")).expect("the same disk");
    copy(&copied, &own);
    cluster.demo("start", "hub");
    let found = cluster.until_some("the fleet says so", |cluster| {
        stands(cluster).filter(|(code, _)| *code == 8).map(|(_, found)| found)
    });
    let broken = &found["breaks"][0];
    assert_eq!(found["ok"], false, "{found}");
    assert_eq!(found["first_bad"], broken["first_bad"], "{found}");
    assert!(
        seq(&broken["first_bad"]) <= added && seq(&broken["signed"]) >= added,
        "{found}"
    );
    assert!(
        broken["witness"].as_str().is_some_and(|name| name.starts_with("edge-")),
        "{found}"
    );
    check(
        &cluster.sentinel(&["audit", "verify"]),
        8,
        &["restored from an older copy", "audit accept"],
    );
    let told = cluster
        .must(&["audit", "list", "--verb", "audit.contradict", "-o", "json"])
        .items();
    assert_eq!(told.len(), 1, "two nodes, one finding: {told:?}");

    // A person knows why: the record is good from here on, and the break stays in it.
    cluster.must(&["audit", "accept", "--reason", "restored after a disk died"]);
    let (code, after) = stands(&cluster).expect("the hub runs");
    assert_eq!((code, &after["ok"]), (0, &Value::Bool(true)), "{after}");
    assert_eq!(after["breaks"][0]["accepted_because"], "restored after a disk died");
    check(
        &cluster.sentinel(&["audit", "accept", "--reason", "again"]),
        5,
        &["no break"],
    );
    cluster.until("the fleet is whole under it", |cluster| cluster.connected() == 2);
}
