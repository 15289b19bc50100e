//! Policy by hand: exported from a hub, carried in a file, in force on a machine that has never seen a network; and keys that are
//! replaced while agents run.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use testbed_e2e::{Cluster, Said, check, offline, program};

/// An agent that has joined no hub.
struct Alone {
    agent: Child,
    state: PathBuf,
}

impl Alone {
    /// Starts it and waits until it answers on its socket.
    fn start(state: &Path) -> Self {
        let mut agent = Command::new(program("sentinel-agent"))
            .args(["run", "--state"])
            .arg(state)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let stdout = agent.stdout.take().expect("it was asked for a pipe");
        let mut ready = String::new();
        BufReader::new(stdout).read_line(&mut ready).expect("a line");
        assert!(ready.starts_with("ready "), "{ready}");
        Self {
            agent,
            state: state.to_owned(),
        }
    }

    fn socket(&self) -> String {
        self.state.join("agent.sock").display().to_string()
    }

    fn import(&self, parcel: &str) -> Said {
        offline(
            Path::new("."),
            &["policy", "import", parcel, "--socket", &self.socket()],
        )
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nobody left to end.
        drop(self.agent.kill());
        drop(self.agent.wait());
    }
}

fn carry(parcel: &str, state: &Path, pin: Option<&str>) -> Said {
    let mut command = Command::new(program("sentinel-agent"));
    command.args(["import", parcel, "--state"]).arg(state);
    command.args(pin.map(|pin| format!("--root-pin={pin}")));
    command.output().expect("it starts").into()
}

#[test]
fn policy_is_carried_to_a_machine_that_has_never_seen_a_network() {
    let mut cluster = Cluster::start(1, &[]);
    let path = |name: &str| cluster.folder().join(name).display().to_string();
    let (first, second, strict) = (path("first.parcel"), path("second.parcel"), path("strict.yaml"));
    check(
        &cluster.must(&["policy", "export", "--out", &first]),
        0,
        &["first.parcel: ok", "beacon"],
    );
    let view = offline(Path::new("."), &["policy", "verify", &first, "-o", "json"]).json();
    let pin = view["root_pin"].as_str().expect("a pin").to_owned();
    assert_eq!(view["generation"], 1);

    let state = cluster.folder().join("island");
    check(&carry(&first, &state, None), 1, &["--root-pin"]);
    check(&carry(&first, &state, Some(&"0".repeat(64))), 1, &["not trusted here"]);
    check(
        &carry(&first, &state, Some(&pin)),
        0,
        &["generation 1, role document 1"],
    );
    let island = Alone::start(&state);
    cluster.until("the carried bundle is in force", |_| {
        island.state.join("policy.taken").exists()
    });
    check(&carry(&first, &state, None), 1, &["an agent runs on this state folder"]);

    // A newer one through its socket; then the older one is refused, also after a restart.
    std::fs::write(&strict, "bundle: newer\npermits: [{ kinds: [notify] }]\n").expect("a file");
    cluster.must(&["policy", "publish", &strict]);
    cluster.must(&["policy", "export", "--out", &second]);
    check(&island.import(&second), 0, &["generation 2 is active"]);
    check(&island.import(&first), 5, &["older bundle"]);
    drop(island);
    let island = Alone::start(&state);
    check(&island.import(&first), 5, &["older bundle"]);
    check(&island.import(&second), 0, &["generation 2 is active"]);
    let mut torn = std::fs::read(&second).expect("the parcel");
    let middle = torn.len() / 2;
    torn[middle] ^= 1;
    std::fs::write(&second, torn).expect("written");
    check(&island.import(&second), 2, &["checksum"]);

    // Nothing pretends that it had a certificate.
    let name = Command::new(program("sentinel-agent"))
        .args(["check", "--state"])
        .arg(&state)
        .output();
    check(&name.expect("it starts").into(), 0, &["this node has not joined a hub"]);
}

#[test]
fn keys_are_replaced_while_agents_run_and_a_hub_without_a_policy_key_takes_signed_bundles() {
    let mut cluster = Cluster::start(2, &[]);
    let path = |name: &str| cluster.folder().join(name).display().to_string();
    let (roles, keys, bundle) = (path("roles.parcel"), path("keys"), path("signed.yaml"));
    let root = cluster.state("hub").join("pki/root.key").display().to_string();
    cluster.must(&["policy", "export", "--out", &roles]);
    // The hub's own root key, as if it had been taken to a safe, names a policy key that the hub does not have.
    let rotate = [
        "policy",
        "keys",
        "rotate",
        "policy",
        "--roles",
        &roles,
        "--root-key",
        &root,
        "--keys",
        &keys,
    ];
    check(&offline(Path::new("."), &rotate), 0, &["made ", "policy-v2-1.key"]);
    let only_roles = path("only-roles.parcel");
    std::fs::write(&bundle, "bundle: signed elsewhere\npermits: [{ kinds: [notify] }]\n").expect("a file");
    let key = format!("{keys}/policy-v2-1.key");
    let sign = [
        "policy",
        "sign",
        &bundle,
        "--roles",
        &roles,
        "--key",
        &key,
        "--generation",
        "9",
        "--out",
        &only_roles,
    ];
    check(
        &offline(Path::new("."), &sign),
        0,
        &["only-roles.parcel: ok", "document 2"],
    );
    check(
        &cluster.must(&["policy", "publish", &only_roles, "--wait", "connected"]),
        0,
        &[
            "the hub trusts role document 2",
            "published as generation 9",
            "2 of 2 nodes",
        ],
    );
    check(
        &cluster.sentinel(&["policy", "publish", &bundle]),
        5,
        &["sentinel policy sign"],
    );

    // All of it survives: the hub's roles, the agents' roles and bundle, and beacons go on.
    cluster.demo("kill", "hub");
    cluster.demo("kill", "edge-01");
    let has_it = |row: &Value| row["policy_generation"] == 9 && row["state"] == "connected";
    cluster.until("both are back with what was signed elsewhere", |cluster| {
        ["edge-01", "edge-02"]
            .iter()
            .all(|node| cluster.node(node).is_some_and(|row| has_it(&row)))
    });
    cluster.must_be_whole();
}
