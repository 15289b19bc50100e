//! Finding the context, trusting the hub, and what a person reads when either fails.

use std::process::Command;

use crate::rows;
use crate::support::{Fake, items, ok, run};

fn sentinel() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sentinel"))
}

fn nodes() -> Fake {
    Fake::hub(&[("GET /nodes", items([rows::node("edge-01")]))])
}

#[test]
fn a_context_that_others_can_read_is_refused_with_its_cure() {
    let fake = nodes();
    let path = fake.context_file(0o644);
    let said = run(sentinel().args(["get", "nodes", "--context"]).arg(&path));
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    let path = path.display();
    assert_eq!(
        said.err,
        format!(
            "error: context file `{path}` can be used by others (mode 0644), and its token can act on every node\n  \
             to do: chmod 600 {path}\n"
        )
    );
    assert_eq!(fake.asked(), [""; 0], "nothing was sent");
}

#[test]
fn the_context_is_found_in_the_documented_order() {
    // Nowhere.
    let said = run(sentinel().args(["get", "nodes"]).env_remove("SENTINEL_CONTEXT"));
    assert_eq!(said.code, 2);
    assert!(
        said.err
            .contains("no demo runs, and `/nonexistent/.config/sentinel/context.json` does not exist"),
        "{}",
        said.err
    );
    // Named.
    let fake = nodes();
    let path = fake.context_file(0o600);
    let said = run(sentinel()
        .args(["get", "nodes", "-o", "name", "--context"])
        .arg(&path)
        .env("SENTINEL_CONTEXT", "/nonexistent"));
    assert_eq!(said.out, "edge-01\n", "{}", said.err);
    // The user's own.
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join("sentinel")).unwrap();
    std::fs::copy(&path, home.path().join("sentinel/context.json")).unwrap();
    let mut command = sentinel();
    command
        .args(["get", "nodes", "-o", "name"])
        .env_remove("SENTINEL_CONTEXT");
    command
        .env("HOME", "/nonexistent")
        .env("XDG_RUNTIME_DIR", "/nonexistent")
        .env("XDG_CONFIG_HOME", home.path());
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "edge-01\n");
    // The running demo's, which goes before the user's own, but only while it answers.
    let demo = Fake::hub(&[("GET /nodes", items([rows::node("edge-02")]))]).with_demo("");
    let runtime = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(runtime.path().join("sentinel-demo")).unwrap();
    std::os::unix::fs::symlink(
        demo.context_file(0o600),
        runtime.path().join("sentinel-demo/context.json"),
    )
    .unwrap();
    command.env("XDG_RUNTIME_DIR", runtime.path());
    assert_eq!(
        String::from_utf8(command.output().unwrap().stdout).unwrap(),
        "edge-02\n"
    );
    std::fs::remove_file(format!("{}/demo.sock", demo.folder())).unwrap();
    assert_eq!(
        String::from_utf8(command.output().unwrap().stdout).unwrap(),
        "edge-01\n"
    );
}

#[test]
fn a_node_is_asked_at_its_socket_without_any_context() {
    let fake = Fake::nobody().with_node(
        "agent",
        &[
            ("GET /nodes", items([rows::node("edge-03")])),
            ("GET /nodes/edge-03", ok(rows::node("edge-03"))),
            (
                "GET /entries?limit=100&node=edge-03&order=desc",
                items([rows::entry("edge-03", 1)]),
            ),
        ],
    );
    let socket = format!("{}/agent.sock", fake.folder());
    let bare = |words: &[&str]| run(sentinel().args(words).env_remove("SENTINEL_CONTEXT"));
    for words in [
        ["get", "nodes", "-o", "name"].as_slice(),
        &["describe", "node", "edge-03", "-o", "name"],
    ] {
        let said = bare(&[words, &["--socket", &socket]].concat());
        assert_eq!((said.code, said.out.as_str()), (0, "edge-03\n"), "{}", said.err);
        // Where the agent of this machine has its socket, it need not be named.
        let said = run(sentinel()
            .args(words)
            .arg("--local")
            .env_remove("SENTINEL_CONTEXT")
            .env("SENTINEL_STATE", fake.folder()));
        assert_eq!((said.code, said.out.as_str()), (0, "edge-03\n"), "{}", said.err);
    }
    let said = run(sentinel()
        .args(["get", "nodes", "--local"])
        .env_remove("SENTINEL_CONTEXT")
        .env("SENTINEL_STATE", "/nonexistent"));
    assert_eq!(said.code, 6);
    assert!(
        said.err.contains("`/nonexistent/agent.sock`") && said.err.contains("--socket PATH"),
        "{}",
        said.err
    );
    // What only a hub knows is not asked of a node.
    let said = bare(&["get", "users", "--socket", &socket]);
    assert_eq!(said.code, 2, "{}", said.err);
}

#[test]
fn the_hub_of_this_machine_needs_no_context() {
    let fake = nodes();
    std::fs::copy(fake.context_file(0o600), format!("{}/admin.json", fake.folder())).unwrap();
    let said = run(sentinel()
        .args(["get", "nodes", "-o", "name"])
        .env_remove("SENTINEL_CONTEXT")
        .env("SENTINEL_HUB_STATE", fake.folder()));
    assert_eq!((said.code, said.out.as_str()), (0, "edge-01\n"), "{}", said.err);
}

#[test]
fn a_hub_that_is_away_is_told_with_what_still_works() {
    let fake = Fake::nobody().with_node("edge-01", &[("GET /nodes", items([rows::node("edge-01")]))]);
    let said = fake.line("get nodes -o name");
    assert_eq!((said.code, said.out.as_str()), (6, ""));
    assert!(
        said.err
            .starts_with("error: hub https://127.0.0.1:1 cannot be reached: "),
        "{}",
        said.err
    );
    assert!(
        said.err.contains("still works: the nodes go on by themselves"),
        "{}",
        said.err
    );
    assert!(
        said.err.contains("to do: sentinel get nodes -o name --local\n"),
        "{}",
        said.err
    );
    assert_eq!(fake.line("get nodes -o name --local").out, "edge-01\n");
}

#[test]
fn a_hub_with_another_ca_is_not_told_the_token() {
    let other = Fake::nobody();
    let mut ca = String::new();
    let other = other.with_context(|context| ca = context.ca_pem.clone());
    drop(other);
    let fake = nodes().with_context(|context| context.ca_pem = ca);
    let said = fake.line("get nodes");
    assert_eq!(said.code, 6);
    assert!(
        said.err.contains("does not prove that it is the hub of this context"),
        "{}",
        said.err
    );
    assert_eq!(fake.asked(), [""; 0]);
}

#[test]
fn a_wrong_token_and_a_broken_context_are_told() {
    let said = nodes()
        .with_context(|context| context.token = "old".to_owned())
        .line("get nodes");
    assert_eq!(said.code, 1);
    assert!(
        said.err.contains("this token is not known here") && said.err.contains("admin.json"),
        "{}",
        said.err
    );
    let fake = nodes();
    let broken = fake.file("broken.json", "{\"hub\": 7}");
    let mut command = sentinel();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&broken, mode).unwrap();
    let said = run(command.args(["get", "nodes", "--context", &broken]));
    assert_eq!(said.code, 2);
    assert!(said.err.contains("is not a context file: "), "{}", said.err);
}

#[test]
fn a_hub_that_does_not_answer_in_time_ends_the_wait() {
    // It accepts, and says nothing.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let fake = nodes().with_context(|context| context.hub = format!("https://{address}"));
    let said = fake.line("get nodes --timeout 200ms");
    assert_eq!(said.code, 7);
    assert!(said.err.contains("did not answer within 200 ms"), "{}", said.err);
}
