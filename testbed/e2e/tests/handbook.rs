//! What README and handbook tell a person to type is typed here, in their order, with real processes.
//!
//! A command that needs a moment (a GPU has to get hot, a node has to come back) is typed again until it succeeds, as a person would. The
//! how-to pages name files and keys of the reader's own; of those the words are held against the programs' help.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use testbed_e2e::{Cluster, PATIENCE, Said, offline, program};

/// Typed already: the first has started the cluster of this test, the second is running this test.
const TYPED_ALREADY: [&str; 2] = ["cargo run --release", "cargo xtask test"];

#[test]
fn the_readme_does_what_it_says() {
    let mut cluster = Cluster::start(6, &[]);
    let readme = read("README.md");
    let (demo, machine): (Vec<_>, Vec<_>) = commands(&readme).into_iter().partition(|typed| typed.prompt == "$");
    follow(&mut cluster, &demo);
    add_a_machine(&machine);
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
            let words: Vec<&str> = typed.split_whitespace().collect();
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

/// The four lines that add a machine: a hub, a token, a join, a run.
fn add_a_machine(typed: &[Typed]) {
    let lines: Vec<&str> = typed.iter().map(|typed| typed.line.as_str()).collect();
    let [run_hub, create, join, run] = lines[..] else {
        panic!("expected four lines, not {lines:?}");
    };
    let folder = tempfile::tempdir().expect("a folder");
    let here = |line: &str| -> Vec<String> {
        line.replace(
            "/var/lib/sentinel-hub",
            &folder.path().join("hub").display().to_string(),
        )
        .replace("0.0.0.0:7443", "127.0.0.1:0")
        .replace("hub.example.net:7443", "127.0.0.1:0")
        .split_whitespace()
        .map(str::to_owned)
        .collect()
    };
    let hub = here(run_hub);
    let _hub = Running(
        Command::new(program(&hub[0]))
            .args(&hub[1..])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the hub starts"),
    );
    let create = here(create);
    let words: Vec<&str> = create[1..].iter().map(String::as_str).collect();
    let said = until(
        || Some(offline(folder.path(), &words)).filter(|said| said.code == 0),
        "a token",
    );
    let printed = said
        .out
        .lines()
        .find_map(|line| line.trim().strip_prefix("sentinel-agent join "))
        .expect("the join line");
    // Hub and agent are on one machine here, so the agent's state needs a folder of its own.
    let state = folder.path().join("agent").display().to_string();
    let shape = |line: &str| {
        line.split_whitespace()
            .filter(|word| word.starts_with("--"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        shape(join),
        shape(printed),
        "the README's line is the printed one: {printed}"
    );
    let joined = Command::new(program("sentinel-agent"))
        .arg("join")
        .args(printed.split_whitespace())
        .args(["--state", &state])
        .output()
        .expect("it starts");
    assert!(joined.status.success(), "{joined:?}");
    assert_eq!(run, "sentinel-agent run");
    let _agent = Running(
        Command::new(program("sentinel-agent"))
            .args(["run", "--state", &state])
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts"),
    );
    let context = folder.path().join("hub/admin.json").display().to_string();
    let connected = || {
        let said = offline(folder.path(), &["--context", &context, "get", "nodes"]);
        said.out.contains("connected").then_some(())
    };
    until(connected, "the new machine is connected");
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
