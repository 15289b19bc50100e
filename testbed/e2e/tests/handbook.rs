//! What README and handbook tell a person to type is typed here, in their order, with real processes.
//!
//! A command that needs a moment (a GPU has to get hot, a node has to come back) is typed again until it succeeds, as a person would. What is
//! not typed stands in a table, each row with its reason and with what shows the same; of all of them the words are held against the programs'
//! help.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use testbed_e2e::{Cluster, PATIENCE, Said, check, program};

/// Typed already: the first has started the cluster of this test, the second is running this test.
const TYPED_ALREADY: [&str; 2] = ["cargo run --release", "cargo xtask test"];

/// How-to pages of which every line is typed, but for those in [`NOT_TYPED`].
const TYPED: [&str; 9] = [
    "brains.md",
    "break-glass.md",
    "carry-policy.md",
    "device-limits.md",
    "let-people-in.md",
    "neighbours.md",
    "sign-policy.md",
    "take-turns.md",
    "write-policy.md",
];

/// Page, how a line begins (nothing: every line), and why this test does not type it.
const NOT_TYPED: &[(&str, &str, &str)] = &[
    (
        "brains.md",
        "sentinel plan approve",
        "asks for a plan that policy holds: hub/core/tests/plans.rs",
    ),
    (
        "brains.md",
        "sentinel-hub run",
        "asks for an InfraMind of the reader's: wire/inframind/tests",
    ),
    ("brains.md", "sentinel brain size", "asks for the same InfraMind"),
    ("brains.md", "sentinel brain ran", "asks the same InfraMind"),
    (
        "let-people-in.md",
        "sentinel audit accept",
        "asks for a hub that was restored: testbed/e2e/tests/audit.rs",
    ),
    (
        "clusters.md",
        "",
        "asks for a Kubernetes cluster: testbed/e2e/tests/chaos.rs, hub/kube/tests",
    ),
    (
        "events-out.md",
        "",
        "asks for a Kafka or a collector: hub/kafka, hub/tests/leaves_the_hub.rs",
    ),
    ("repair-ci.md", "", "asks for a forge: testbed/e2e/tests/forge.rs"),
    ("secrets.md", "", "asks for a Vault: hub/tests/vault.rs"),
    ("store.md", "", "asks for a PostgreSQL: hub/src/store/suite_postgres.rs"),
    (
        "faults.md",
        "",
        "asks for a machine with a GPU that fails: testbed/e2e/tests/faults.rs",
    ),
    (
        "install.md",
        "",
        "asks for an installed package and for systemd: `cargo xtask package-test`",
    ),
    (
        "one-box.md",
        "",
        "asks for an installed package and for systemd: `cargo xtask package-test`, testbed/e2e/tests/gpu_box.rs",
    ),
    (
        "device-limits.md",
        "sentinel profile check",
        "asks for a profile of the reader's: firmware-profiles/src",
    ),
    (
        "device-limits.md",
        "sentinel-agent config check",
        "asks for an installed package: `cargo xtask package-test`",
    ),
];

/// The row that says why a line of a page is not typed.
fn why_not_typed(page: &str, line: &str) -> Option<usize> {
    NOT_TYPED
        .iter()
        .position(|row| row.0 == page && line.starts_with(row.1))
}

/// The lines of a how-to page that are typed.
fn typed_of(page: &str) -> Vec<Typed> {
    let mut all = commands(&read(&format!("hub/handbook/src/how-to/{page}")));
    all.retain(|typed| why_not_typed(page, &typed.line).is_none());
    all
}

#[test]
fn every_line_of_the_handbook_is_typed_or_says_why_not() {
    let mut used = Vec::new();
    for entry in fs::read_dir(repository().join("hub/handbook/src/how-to")).expect("how-to pages") {
        let path = entry.expect("readable").path();
        let page = path.file_name().expect("a file").to_string_lossy().into_owned();
        for Typed { line, .. } in commands(&fs::read_to_string(&path).expect("text")) {
            match why_not_typed(&page, &line) {
                Some(row) => used.push(row),
                None => assert!(
                    TYPED.contains(&page.as_str()),
                    "{page}: nothing types `{line}`: type the page here, or say in NOT_TYPED why not"
                ),
            }
        }
    }
    for (row, (page, start, _)) in NOT_TYPED.iter().enumerate() {
        assert!(
            used.contains(&row),
            "NOT_TYPED has `{start}` of {page}, which has no such line"
        );
    }
}

#[test]
fn people_are_let_in_as_the_page_says() {
    let cluster = Cluster::start(1, &[]);
    let mut desk = Desk::new();
    desk.context = Some(cluster.context());
    desk.follow(&typed_of("let-people-in.md"));
    assert!(
        desk.say(&reader(), "sentinel get users -o json").items().is_empty(),
        "bob was removed"
    );
}

#[test]
fn policy_is_written_as_the_page_says() {
    let cluster = Cluster::start(1, &[]);
    let mut desk = Desk::new();
    desk.context = Some(cluster.context());
    let typed = typed_of("write-policy.md");
    desk.follow(&typed[..1]);
    // The reader's own: a policy before and after, and what they want to know of it.
    let file = |name: &str| desk.folder.path().join(name);
    for name in ["old.yaml", "new.yaml"] {
        fs::copy(file("policy.yaml"), file(name)).expect("`policy init` has written it");
    }
    let question =
        r#"{"at":"2026-03-01T12:00:00Z","action":{"kind":"power_cap","targets":["gpu0"],"params":{"to":"220 W"}}}"#;
    fs::write(file("questions.jsonl"), question).expect("written");
    desk.follow(&typed[1..]);
    let policies = desk.say(&reader(), "sentinel get policies -o json").items();
    assert_eq!(
        (&policies[0]["name"], &policies[0]["active"]),
        (&"starter".into(), &true.into())
    );
}

#[test]
fn nodes_plans_and_brains_answer_as_the_pages_say() {
    let cluster = Cluster::start(6, &[]);
    let mut desk = Desk::new();
    desk.context = Some(cluster.context());
    for page in ["device-limits.md", "take-turns.md", "neighbours.md"] {
        desk.follow(&typed_of(page));
    }
    let (submit, rest): (Vec<_>, Vec<_>) = typed_of("brains.md")
        .into_iter()
        .partition(|typed| typed.line.starts_with("sentinel plan submit"));
    desk.follow(&submit);
    desk.follow(&rest);
}

/// As if typed by somebody with a context.
fn reader() -> Typed {
    Typed {
        prompt: "$".to_owned(),
        line: String::new(),
    }
}

#[test]
fn the_readme_does_what_it_says() {
    let mut cluster = Cluster::start(6, &[]);
    let readme = read("README.md");
    let (demo, machine): (Vec<_>, Vec<_>) = commands(&readme).into_iter().partition(|typed| typed.prompt == "$");
    follow(&mut cluster, &demo);
    assert_eq!(machine.len(), 7, "{machine:?}");
    let mut desk = Desk::new();
    desk.follow(&machine);
    let nodes = desk.say(&machine[6], "sentinel get nodes -o json").items();
    let host = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let host = host.split('.').next().unwrap_or_default().to_owned();
    if host != "localhost" {
        assert_eq!(nodes[0]["name"], host.as_str(), "it is called as its host");
    }
    let policed = || {
        let said = desk.say(&machine[6], "sentinel get nodes -o json");
        let row = said.items().into_iter().next()?;
        (row["state"] == "connected" && row["policy_generation"] == 1 && row["authority"] == "full").then_some(())
    };
    until(policed, "the new machine is connected, and does more than observe");
    assert!(readme.lines().count() <= 150, "a README is read in one go");
    assert!(
        !readme.contains("```text") && !readme.contains("```sh") && !readme.contains("```bash"),
        "every block is one that this test types"
    );
}

#[test]
fn policy_is_signed_by_several_people_as_the_page_says() {
    let mut desk = Desk::new();
    desk.follow(&commands(&read("hub/handbook/src/how-to/sign-policy.md")));
    let policies = desk.say(&hub_prompt(), "sentinel get policies -o json").items();
    assert_eq!(policies[0]["name"], "starter");
    let listed = desk
        .say(&hub_prompt(), "sentinel policy keys list keys/roles.parcel -o json")
        .items();
    assert_eq!(
        (&listed[1]["threshold"], listed[1]["version"].as_u64()),
        (&listed[0]["threshold"], Some(2))
    );
}

#[test]
fn glass_is_broken_as_the_page_says() {
    let cluster = Cluster::start(3, &[]);
    let mut desk = Desk::new();
    let keys = desk.folder.path().join("keys");
    let path = |name: &str| keys.join(name).display().to_string();
    // The reader has policy keys of three people; here they are those of a rotation.
    fs::create_dir(&keys).expect("a folder");
    let roles = path("roles.parcel");
    cluster.must(&["policy", "export", "--out", &roles]);
    let root = cluster.state("hub").join("pki/root.key").display().to_string();
    let three = [
        "--signers",
        "3",
        "--threshold",
        "1",
        "--keys",
        &keys.display().to_string(),
    ]
    .map(str::to_owned);
    let mut rotate = vec![
        "policy",
        "keys",
        "rotate",
        "policy",
        "--roles",
        &roles,
        "--root-key",
        &root,
    ];
    rotate.extend(three.iter().map(String::as_str));
    cluster.must(&rotate);
    for number in 1..=3 {
        fs::rename(
            path(&format!("policy-v2-{number}.key")),
            path(&format!("policy-{number}.key")),
        )
        .expect("renamed");
    }
    // A bundle of theirs, because one of the former key is nobody's any more.
    let bundle = keys.join("bundle.yaml").display().to_string();
    fs::write(
        &bundle,
        "bundle: theirs\npermits: [{ kinds: [notify] }, { kinds: [restart], targets: [workload] }]\n",
    )
    .expect("written");
    let (signer, signed) = (path("policy-1.key"), path("bundle.parcel"));
    let sign = [
        "policy",
        "sign",
        &bundle,
        "--roles",
        &roles,
        "--key",
        &signer,
        "--generation",
        "9",
        "--out",
        &signed,
    ];
    cluster.must(&sign);
    cluster.must(&["policy", "publish", &signed, "--wait", "connected"]);
    desk.context = Some(cluster.context());
    desk.agent = cluster.state("edge-03");
    desk.follow(&commands(&read("hub/handbook/src/how-to/break-glass.md")));
    let said = cluster.must(&["get", "entries", "--node", "edge-03", "--local"]);
    check(&said, 0, &["opened by key", "closed by", "restarted"]);
}

#[test]
fn policy_is_carried_as_the_page_says() {
    let cluster = Cluster::start(1, &[]);
    let mut desk = Desk::new();
    desk.context = Some(cluster.context());
    desk.follow(&commands(&read("hub/handbook/src/how-to/carry-policy.md")));
    let row = desk.say(&hub_prompt(), "sentinel get nodes -o json --local");
    assert_eq!(row.items()[0]["policy_generation"], 1);
}

/// As if typed at the hub.
fn hub_prompt() -> Typed {
    Typed {
        prompt: "hub$".to_owned(),
        line: String::new(),
    }
}

#[test]
fn the_tutorial_does_what_it_says() {
    let mut cluster = Cluster::start(6, &[]);
    let tutorial = read("hub/handbook/src/tutorial/first-fleet.md");
    let typed = commands(&tutorial);
    assert!(typed.len() > 10, "{typed:?}");
    follow(&mut cluster, &typed);
    cluster.must_be_whole();
}

#[test]
fn every_command_in_the_handbook_exists_with_its_flags() {
    let pages = fs::read_dir(repository().join("hub/handbook/src/how-to")).expect("how-to pages");
    let mut seen = 0;
    for page in pages {
        let path = page.expect("readable").path();
        let text = fs::read_to_string(&path).expect("text");
        for typed in commands(&text).iter().flat_map(|typed| typed.line.split([';', '&'])) {
            let line = typed
                .trim()
                .trim_start_matches("sudo ")
                .trim_start_matches("-u sentinel-agent ");
            let words: Vec<&str> = line.split_whitespace().collect();
            let Some((name, rest)) = words.split_first().filter(|(name, _)| name.starts_with("sentinel")) else {
                continue;
            };
            exists(&path, name, rest);
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} commands were found");
}

/// Finds the longest run of words that are verbs, and the flags in its help.
fn exists(page: &Path, name: &str, words: &[&str]) {
    let plain = words.iter().take_while(|word| !word.starts_with('-')).count();
    let help = |verbs: &[&str]| -> Said {
        let mut command = Command::new(program(name));
        command
            .args(verbs)
            .arg("--help")
            .env("COLUMNS", "100")
            .output()
            .expect("it starts")
            .into()
    };
    // What follows the last verb is a value, of which `--help` says nothing.
    let found = (0..=plain)
        .rev()
        .map(|count| help(&words[..count]))
        .find(|said| said.code == 0);
    let found = found.unwrap_or_else(|| panic!("{}: {name} {words:?} is not known", page.display()));
    let least = words.first().filter(|word| !word.starts_with('-'));
    assert!(
        least.is_none_or(|verb| found.out.contains(verb)),
        "{}: {words:?}: {found:?}",
        page.display()
    );
    for flag in words.iter().filter(|word| word.starts_with("--")) {
        let flag = flag.split('=').next().unwrap_or_default();
        assert!(
            found.out.contains(flag),
            "{}: {name} {words:?}: no {flag} in {found:?}",
            page.display()
        );
    }
}

/// A command and the prompt before it.
#[derive(Debug, Clone)]
struct Typed {
    prompt: String,
    line: String,
}

/// Every command of every `console` block, without comments.
fn commands(text: &str) -> Vec<Typed> {
    let mut all = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("```") {
            inside = kind == "console";
        } else if let Some((prompt, command)) = line
            .split_once("$ ")
            .filter(|(prompt, _)| inside && !prompt.contains(' '))
        {
            let line = command.split("  #").next().unwrap_or(command).trim().to_owned();
            let prompt = format!("{prompt}$");
            all.push(Typed { prompt, line });
        }
    }
    all
}

/// Types each command in a folder of its own until it succeeds.
fn follow(cluster: &mut Cluster, typed: &[Typed]) {
    let folder = tempfile::tempdir().expect("a folder");
    for Typed { line, .. } in typed {
        if TYPED_ALREADY.contains(&line.as_str()) {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let (first, rest) = words.split_first().expect("a command");
        assert_eq!(
            *first, "target/release/sentinel",
            "only `sentinel` is typed beside the demo: {line}"
        );
        let context = cluster.context();
        let folder = folder.path();
        cluster.until(line, |_| {
            let mut command = Command::new(program("sentinel"));
            command
                .arg("--context")
                .arg(&context)
                .args(rest)
                .current_dir(folder)
                .stdin(Stdio::null());
            command.output().expect("it starts").status.success()
        });
    }
}

/// A machine of its own for what a page tells to type: the programs are on the path, and the usual folders are in a folder of the test.
struct Desk {
    folder: tempfile::TempDir,
    /// Hubs and agents that were started, in order.
    running: Vec<Running>,
    /// The newest line that enrols a node.
    join_line: Option<String>,
    /// The pin of the newest parcel that was looked at.
    root_pin: Option<String>,
    /// Ids of what was made last, by the word that a page has for them.
    ids: Vec<(&'static str, String)>,
    /// The state folder of the agent of this machine.
    agent: PathBuf,
    /// How `$` finds its hub, where it is not the one of this machine.
    context: Option<PathBuf>,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self {
            agent: folder.path().join("agent"),
            folder,
            running: Vec::new(),
            join_line: None,
            root_pin: None,
            ids: Vec::new(),
            context: None,
        }
    }

    /// Types one line after the other, each until it succeeds.
    fn follow(&mut self, typed: &[Typed]) {
        assert!(!typed.is_empty(), "the page tells nothing to type");
        for typed in typed {
            let line = self.here(&typed.line);
            if line.starts_with("sentinel-hub run") || line.starts_with("sentinel-agent run") {
                self.start(&line);
                continue;
            }
            let said = until(|| Some(self.say(typed, &line)).filter(|said| said.code == 0), &line);
            self.remember(&line, &said);
        }
    }

    /// The line with the places of this test: a page names those of the reader.
    fn here(&self, line: &str) -> String {
        let hub = self.folder.path().join("hub").display().to_string();
        let mut line = line
            .replace("/var/lib/sentinel-hub", &hub)
            .replace("0.0.0.0:7443", "127.0.0.1:0")
            .replace("--public hub.example.net:7443", "--public 127.0.0.1:0")
            .replace("PIN", self.root_pin.as_deref().unwrap_or("PIN"));
        for (word, id) in &self.ids {
            line = line.replace(word, id);
        }
        if line.starts_with("sentinel-hub run") && !line.contains("--listen") {
            line.push_str(" --listen 127.0.0.1:0");
        }
        match (&self.join_line, line.starts_with("sentinel-agent join")) {
            (Some(printed), true) => {
                let flags = |line: &str| -> Vec<String> {
                    let words = line.split_whitespace().filter(|word| word.starts_with("--"));
                    words.map(str::to_owned).collect()
                };
                assert_eq!(
                    flags(&line),
                    flags(printed),
                    "the page's line is the printed one: {printed}"
                );
                printed.clone()
            }
            _ => line,
        }
    }

    fn remember(&mut self, line: &str, said: &Said) {
        let printed = said
            .out
            .lines()
            .find(|line| line.trim().starts_with("sentinel-agent join "));
        if let Some(printed) = printed {
            self.join_line = Some(printed.trim().to_owned());
        }
        let made = [
            ("sentinel api-token create ", " ID", "sentinel get tokens -o json"),
            ("sentinel plan submit ", " 0198f…", "sentinel plan list -o json"),
        ];
        for (start, word, list) in made {
            if line.starts_with(start) {
                let newest = self.say(&reader(), list).items().swap_remove(0);
                self.ids
                    .push((word, format!(" {}", newest["id"].as_str().expect("an id"))));
            }
        }
        if let Some(rest) = line.strip_prefix("sentinel policy verify ") {
            let mut lines = said.out.lines().filter_map(|line| line.trim().strip_prefix("root pin"));
            let pin = lines.find_map(|rest| rest.split_whitespace().next());
            self.root_pin = pin.map(str::to_owned);
            assert!(self.root_pin.is_some(), "`verify {rest}` prints no root pin: {said:?}");
        }
    }

    fn shell(&self, line: &str) -> Command {
        let programs = program("sentinel")
            .parent()
            .expect("it lies in a folder")
            .display()
            .to_string();
        let mut command = Command::new("bash");
        command
            .args(["-ec", line])
            .current_dir(self.folder.path())
            .env("PATH", format!("{programs}:/usr/bin:/bin"))
            .env("SENTINEL_HUB_STATE", self.folder.path().join("hub"))
            .env("SENTINEL_STATE", &self.agent)
            .env_remove("SENTINEL_CONTEXT")
            .env("HOME", "/nonexistent")
            .env("XDG_RUNTIME_DIR", "/nonexistent")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    fn say(&self, typed: &Typed, line: &str) -> Said {
        let mut command = self.shell(line);
        if let Some(context) = self.context.as_ref().filter(|_| typed.prompt == "$") {
            command.env("SENTINEL_CONTEXT", context);
        }
        command.output().expect("a shell").into()
    }

    /// Starts a hub or an agent, and waits until it says that it is ready.
    fn start(&mut self, line: &str) {
        // The process that is asked to stop at the end is the program and not its shell.
        let mut child = self
            .shell(&format!("exec {line}"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let stdout = child.stdout.take().expect("it was asked for a pipe");
        self.running.push(Running(child));
        let mut lines = BufReader::new(stdout).lines();
        let ready = lines.next().and_then(Result::ok).unwrap_or_default();
        assert!(ready.starts_with("ready "), "`{line}` says `{ready}`");
        // What follows is read, so that the writer never waits.
        std::thread::spawn(move || lines.for_each(drop));
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // Agents before their hub.
        while let Some(last) = self.running.pop() {
            drop(last);
        }
    }
}

/// A process that is asked to stop at the end.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        // One that ended by itself needs no asking.
        if rustix::process::kill_process(pid, rustix::process::Signal::TERM).is_ok() {
            drop(self.0.wait());
        }
    }
}

fn until<T>(mut check: impl FnMut() -> Option<T>, what: &str) -> T {
    let begun = Instant::now();
    loop {
        // Each look starts a program, which is pause enough.
        if let Some(found) = check() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).expect("it is in the repository")
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
