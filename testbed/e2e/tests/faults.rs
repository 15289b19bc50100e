//! Real faults on real processes: what was decided survives, is told once, and nothing protective stops.

use std::fs;
use std::path::Path;
use std::process::Command;

use testbed_e2e::{Cluster, program};

/// Copies a folder as a backup program would: files only, no sockets.
fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a new folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let (kind, target) = (entry.file_type().expect("a type"), to.join(entry.file_name()));
        if kind.is_dir() {
            copy_folder(&entry.path(), &target);
        } else if kind.is_file() {
            fs::copy(entry.path(), &target).expect("a copy");
        }
    }
}

/// Heats a GPU and waits until the node has capped it, by its own word.
fn heat_until_capped(cluster: &mut Cluster, node: &str, gpu: &str) {
    let before = caps(cluster, node);
    cluster.demo("heat", &format!("{node}/{gpu}"));
    cluster.until(&format!("{node} caps {gpu}"), |cluster| caps(cluster, node) > before);
    cluster.demo("cool", &format!("{node}/{gpu}"));
}

fn caps(cluster: &Cluster, node: &str) -> usize {
    let capped = |row: &serde_json::Value| row["action"] == "power_cap" && row["outcome"] != "pending";
    cluster.decisions(node, true).iter().filter(|row| capped(row)).count()
}

#[test]
fn killing_hub_and_agents_while_decisions_flow_loses_nothing_and_doubles_nothing() {
    let mut cluster = Cluster::start(3, &[]);
    // A simple generator, so that a failure can be played again: the same kills in the same order.
    let mut dice = 0x5eed_u64;
    let mut roll = |sides: u64| {
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % sides
    };
    for round in 0..8 {
        let node = format!("edge-0{}", 1 + roll(3));
        cluster.demo("heat", &format!("{node}/gpu{}", round % 2));
        let victim = if roll(2) == 0 { "hub".to_owned() } else { node.clone() };
        cluster.demo("kill", &victim);
        cluster.until(&format!("{victim} is back"), |cluster| cluster.connected() == 3);
        cluster.demo("cool", &format!("{node}/gpu{}", round % 2));
    }
    for node in ["edge-01", "edge-02", "edge-03"] {
        heat_until_capped(&mut cluster, node, "gpu0");
    }
    cluster.must_be_whole();
}

#[test]
fn a_cut_node_decides_alone_and_the_hub_gets_the_same_bytes_later() {
    let mut cluster = Cluster::start(2, &[]);
    cluster.demo("cut", "edge-01");
    cluster.until("the hub sees that edge-01 works alone", |cluster| {
        cluster
            .node("edge-01")
            .is_some_and(|row| row["state"] == "working_alone")
    });
    heat_until_capped(&mut cluster, "edge-01", "gpu0");
    let why = cluster.must(&["why", "--last", "--node", "edge-01", "--local"]).out;
    assert!(why.contains("disconnected"), "{why}");
    cluster.demo("heal", "edge-01");
    cluster.must_be_whole();
    let (here, there) = (cluster.decisions("edge-01", true), cluster.decisions("edge-01", false));
    assert_eq!(here, there, "the node and the hub list the same decisions");
    let id = here[0]["id"].as_str().expect("a decision has an id").to_owned();
    assert_eq!(
        cluster.must(&["why", &id]).out,
        cluster.must(&["why", &id, "--node", "edge-01", "--local"]).out
    );
    assert!(cluster.must(&["replay", &id]).out.contains("identical"));
}

#[test]
fn a_hub_restored_from_yesterdays_copy_gets_everything_again() {
    let mut cluster = Cluster::start(2, &[]);
    heat_until_capped(&mut cluster, "edge-01", "gpu0");
    cluster.must_be_whole();
    cluster.demo("stop", "hub");
    let copy = cluster.folder().join("yesterday");
    copy_folder(&cluster.state("hub"), &copy);
    cluster.demo("start", "hub");
    cluster.until("all are back", |cluster| cluster.connected() == 2);
    heat_until_capped(&mut cluster, "edge-02", "gpu1");
    cluster.must_be_whole();
    cluster.demo("stop", "hub");
    fs::remove_dir_all(cluster.state("hub")).expect("today's store");
    copy_folder(&copy, &cluster.state("hub"));
    cluster.demo("start", "hub");
    cluster.until("all are back", |cluster| cluster.connected() == 2);
    cluster.must_be_whole();
    let told = cluster
        .must(&["get", "entries", "--node", "edge-02", "-o", "json", "--limit", "1000"])
        .out;
    assert!(
        told.contains("restored"),
        "the node says that the hub was restored: {told}"
    );
    // A new bundle must still win over the ones that the restored hub has forgotten.
    heat_until_capped(&mut cluster, "edge-01", "gpu1");
    cluster.must_be_whole();
}

#[test]
fn a_torn_journal_is_put_aside_and_the_agent_starts_anyway() {
    let mut cluster = Cluster::start(2, &[]);
    heat_until_capped(&mut cluster, "edge-01", "gpu0");
    cluster.must_be_whole();
    cluster.demo("stop", "edge-01");
    let journal = cluster.state("edge-01").join("journal.redb");
    let mut bytes = fs::read(&journal).expect("the journal");
    let middle = bytes.len() / 2;
    bytes.truncate(middle);
    fs::write(&journal, bytes).expect("a torn journal");
    cluster.demo("start", "edge-01");
    cluster.until("edge-01 is back in a new epoch", |cluster| {
        cluster
            .node("edge-01")
            .is_some_and(|row| row["state"] == "connected" && row["epoch"].as_u64() >= Some(2))
    });
    let entries = cluster.must(&["get", "entries", "--node", "edge-01", "-o", "json", "--limit", "1000"]);
    assert!(
        entries.items().iter().any(|row| row["kind"] == "gap"),
        "the gap is told: {entries:?}"
    );
    // The other GPU: what capped the first one was forgotten with the journal, and its cap stays until a person releases it.
    heat_until_capped(&mut cluster, "edge-01", "gpu1");
    assert!(
        fs::read_dir(cluster.state("edge-01"))
            .expect("its folder")
            .any(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .contains("corrupt")
            })
    );
}

#[test]
fn a_copied_state_folder_is_found_out_and_quarantined() {
    let mut cluster = Cluster::start(2, &[]);
    cluster.demo("stop", "edge-01");
    let twin = cluster.folder().join("twin");
    copy_folder(&cluster.state("edge-01"), &twin);
    cluster.demo("start", "edge-01");
    cluster.until("edge-01 is back", |cluster| cluster.connected() == 2);
    let mut clone = Command::new(program("sentinel-agent"))
        .args(["run", "--state"])
        .arg(&twin)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("the copy starts");
    cluster.until("the identity is quarantined", |cluster| {
        cluster.node("edge-01").is_some_and(|row| !row["quarantined"].is_null())
    });
    clone.kill().expect("our own child");
    clone.wait().expect("our own child");
    // The copy's simulated GPUs had taken the control socket over; a restart brings the node's own back.
    cluster.demo("kill", "edge-01");
    cluster.until("edge-01 answers again", |cluster| {
        cluster.sentinel(&["demo", "cool", "edge-01/gpu0"]).code == 0
    });
    // Quarantine takes the link away, never protection.
    heat_until_capped(&mut cluster, "edge-01", "gpu0");
}

#[test]
fn an_expired_certificate_stops_nothing_and_the_node_key_brings_the_node_back() {
    let mut cluster = Cluster::start(2, &["--certificate-life", "8s"]);
    cluster.demo("cut", "edge-01");
    cluster.until("the certificate of edge-01 is over", |cluster| {
        let said = cluster.sentinel(&["get", "nodes", "--local", "--node", "edge-01", "-o", "json"]);
        said.code == 0
            && said.items()[0]["certificate_ends"]
                .as_str()
                .and_then(|text| text.parse::<wire::Wall>().ok())
                .is_some_and(|ends| ends.0 < now_ms())
    });
    heat_until_capped(&mut cluster, "edge-01", "gpu0");
    cluster.demo("heal", "edge-01");
    cluster.until("edge-01 has rejoined by its node key", |cluster| {
        cluster
            .node("edge-01")
            .is_some_and(|row| row["state"] == "connected" && row["rejoins"].as_u64() >= Some(1))
    });
    cluster.must_be_whole();
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 292 million")
}

#[test]
fn a_full_disk_keeps_protective_action_and_loses_no_decision_made_before() {
    let mut cluster = Cluster::start(2, &[]);
    cluster.demo("stop", "edge-01");
    let state = cluster.state("edge-01");
    let aside = cluster.folder().join("aside");
    fs::rename(&state, &aside).expect("the state folder moves");
    fs::create_dir(&state).expect("a mount point");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
        .arg(&state)
        .status();
    assert!(
        mounted.is_ok_and(|status| status.success()),
        "a small tmpfs can be mounted (needs root)"
    );
    let _unmount = Unmount(state.clone());
    copy_folder(&aside, &state);
    cluster.demo("start", "edge-01");
    cluster.until("edge-01 is back on the small disk", |cluster| cluster.connected() == 2);
    // Fill it to the last byte.
    let mut filler = fs::File::create(state.join("filler")).expect("a file");
    let block = vec![7u8; 64 * 1024];
    while std::io::Write::write_all(&mut filler, &block).is_ok() {}
    cluster.demo("heat", "edge-01/gpu0");
    cluster.until("the GPU is capped although nothing can be written", |cluster| {
        cluster.node("edge-01").is_some_and(|row| {
            row["gpus"][0]["power_cap_watts"]
                .as_f64()
                .is_some_and(|cap| cap <= 220.0)
        })
    });
    fs::remove_file(state.join("filler")).expect("room again");
    cluster.demo("cool", "edge-01/gpu0");
    cluster.until("the journal works again", |cluster| {
        cluster
            .node("edge-01")
            .is_some_and(|row| row["journal_ok"] == true && row["unrecorded_actions"] == 0)
    });
    cluster.must_be_whole();
}

/// Takes a mount away again, also when a test fails.
struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        // Lazy: the agent may still hold files there; they go with it.
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}
