//! A fleet whose hub keeps its store in a PostgreSQL, with real processes: the server is killed in the middle of writes, and so is the hub.

use std::process::Command;

use testbed_e2e::{Cluster, check, program};
use testbed_services::Postgres;

#[test]
fn a_fleet_loses_nothing_and_doubles_nothing_when_postgres_and_the_hub_are_killed() {
    let mut server = Postgres::start("e2e-postgres", None).expect("postgresql is installed");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let secret = folder.path().join("password");
    std::fs::write(&secret, server.password()).expect("room");
    let reference = format!("file:{}", secret.display());
    let environment = [
        ("SENTINEL_HUB_STORE", server.address()),
        ("SENTINEL_HUB_STORE_PASSWORD", reference),
    ];
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut cluster = Cluster::start_with(2, &[], &environment);
    assert!(
        !cluster.state("hub").join("store/hub.redb").exists(),
        "it is not in the state folder"
    );

    for round in 1..=3 {
        let name = format!("bob-{round}");
        let create = ["user", "create", &name, "--role", "viewer"];
        server.kill();
        let refused = cluster.sentinel(&create);
        assert_ne!(
            refused.code, 0,
            "nothing is acknowledged that is not stored: {refused:?}"
        );
        server.restart().expect("it comes back");
        // It may have been stored after all, and is there once then.
        cluster.until("changes are stored again", |cluster| {
            let said = cluster.sentinel(&create);
            said.code == 0
                || cluster
                    .must(&["get", "users", "-o", "json"])
                    .items()
                    .iter()
                    .any(|user| user["name"] == name.as_str())
        });
        cluster.demo("kill", "hub");
        cluster.until("the fleet is back", |cluster| cluster.connected() == 2);
    }
    let users = cluster.must(&["get", "users", "-o", "json"]).items();
    for round in 1..=3 {
        let name = format!("bob-{round}");
        let times = users.iter().filter(|user| user["name"] == name.as_str()).count();
        assert_eq!(times, 1, "{name}: {users:?}");
    }
    cluster.must_be_whole();
    let audit = cluster.must(&["audit", "verify", "-o", "json"]).json();
    assert_eq!(audit["ok"], true, "{audit}");

    // The lock keeps a second one out, and the store is whole when nobody has it.
    let state = cluster.state("hub");
    let look = || {
        let mut command = Command::new(program("sentinel-hub"));
        command
            .args(["store", "check", "-o", "json", "--state"])
            .arg(&state)
            .envs(environment);
        testbed_e2e::Said::from(command.output().expect("it starts"))
    };
    check(&look(), 5, &["in use by another hub"]);
    cluster.demo("stop", "hub");
    let said = look();
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(said.json()["ok"], true, "{said:?}");
    assert!(
        said.json()["journals"]
            .as_array()
            .is_some_and(|journals| journals.len() == 3),
        "{said:?}"
    );
}
