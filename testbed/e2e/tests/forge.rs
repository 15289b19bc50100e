//! From a red check to a pull request, with a real forge on one side and a real runner of workflows as the judge on the other.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};

use serde_json::Value;
use testbed_e2e::check;
use testbed_e2e::forge::{Forge, PATIENCE, SECRET};
use testbed_services::{Account, PushedRepository};

/// How often a delivery is sent again.
const AGAIN: usize = 10;

#[test]
fn a_red_workflow_becomes_one_proven_pull_request_that_turns_it_green() {
    let mut forge = Forge::start("first-light");
    let (recorder, deliveries) = record();
    let pushed =
        PushedRepository::push(forge.account(), "hello", &forge.webhook(), SECRET).expect("a repository that is red");
    forge
        .account()
        .add_webhook(&pushed.repository, &recorder, SECRET)
        .expect("a second webhook");

    let red = forge
        .ci()
        .check(forge.account(), &pushed.repository, "main", &pushed.commit)
        .expect("the workflow runs");
    assert!(!red.passed && red.log.contains("F401"), "{}", red.log);

    let pull = forge.until("one pull request", |forge| {
        let open = forge
            .account()
            .open_pulls(&pushed.repository)
            .map_err(|error| error.to_string())?;
        let tasks = forge.tasks();
        let failed = |task: &&Value| {
            ["no_fix", "refused", "dead", "held"]
                .iter()
                .any(|state| task["state"] == *state)
        };
        if let Some(failed) = tasks.iter().find(failed) {
            panic!("no pull request: {failed}");
        }
        open.into_iter().next().ok_or_else(|| format!("{tasks:?}"))
    });
    let url = pull["html_url"].as_str().expect("a pull request has a page").to_owned();
    let task = forge.until("the task knows its pull request", |forge| {
        let tasks = forge.tasks();
        match &tasks[..] {
            [one] if one["state"] == "proposed" => Ok(one.clone()),
            other => Err(format!("{other:?}")),
        }
    });
    assert_eq!(task["pull_request"], url.as_str());
    let id = task["id"].as_str().expect("a task has an id").to_owned();

    pull_request_tells_what_was_run(&pull, &task);
    command_line_tells_the_story(&forge, &id, &url);
    certificate_holds_for_anybody(&forge, &pushed, &id);
    equal_deliveries_are_one(&forge, &pushed, &deliveries, &id);
    forge_judges_the_repair(&mut forge, &pushed, &pull, &id);
}

/// The event is on the disk before the forge hears that it was taken, and the patch before it is published.
#[test]
fn a_hub_that_is_killed_loses_no_event_and_opens_nothing_twice() {
    let mut forge = Forge::start("killed");
    forge.kill_agent();
    let pushed =
        PushedRepository::push(forge.account(), "hello", &forge.webhook(), SECRET).expect("a repository that is red");
    let red = forge
        .ci()
        .check(forge.account(), &pushed.repository, "main", &pushed.commit);
    assert!(!red.expect("the workflow runs").passed);
    forge.until("a task", |forge| forge.tasks().pop().map(drop).ok_or("none".to_owned()));
    forge.kill_hub();
    assert_eq!(forge.tasks().len(), 1, "the event was lost");

    forge.start_agent();
    forge.until("an agent has it", |forge| match forge.tasks()[0]["state"].as_str() {
        Some("queued") => Err("queued".to_owned()),
        _ => Ok(()),
    });
    forge.kill_hub();
    let proposed = |forge: &Forge| match &forge.tasks()[..] {
        [task] if task["state"] == "proposed" => Ok(()),
        other => Err(format!("{other:?}")),
    };
    forge.until("the pull request", proposed);
    forge.kill_hub();
    forge.until("the pull request is still known", proposed);
    let open = forge
        .account()
        .open_pulls(&pushed.repository)
        .expect("the forge answers");
    assert_eq!(open.len(), 1, "{open:?}");
}

/// Uses of the sandbox at which an agent dies: the first is its self-test; then it unpacks, asks a version, checks, repairs twice with a
/// look at the form each time, checks again, and puts files back.
const USES: std::ops::RangeInclusive<usize> = 2..=9;

/// What an agent does is lost with it, and never the task: the next start gives it back, and another attempt ends as the first would have.
#[test]
fn an_agent_that_is_killed_at_any_use_of_its_sandbox_loses_no_task() {
    let mut forge = Forge::start("dying");
    forge.kill_agent();
    let account = forge.account().clone();
    let push = |number: usize| {
        PushedRepository::push(&account, &format!("hello-{number}"), &forge.webhook(), SECRET)
            .expect("a repository that is red")
    };
    let pushed: Vec<PushedRepository> = USES.map(push).collect();
    let first = &pushed[0];
    let red = forge
        .ci()
        .check(&account, &first.repository, "main", &first.commit)
        .expect("the workflow runs");
    assert!(!red.passed, "{}", red.log);
    // The others are the same, so what the runner wrote about the first is what it would write about them.
    for other in &pushed[1..] {
        account
            .report(&other.repository, &other.commit, "lint", "failure", &red.log_url)
            .expect("reported");
    }
    let count = pushed.len();
    forge.until("all tasks", |forge| match forge.tasks().len() {
        all if all == count => Ok(()),
        some => Err(some.to_string()),
    });
    for call in USES {
        forge.let_agent_die_at(call, call % 2 == 1);
    }
    let tried = |task: &Value| task["attempts"].as_u64().unwrap_or_default();
    let attempts: u64 = forge.tasks().iter().map(tried).sum();
    assert_eq!(
        attempts,
        count as u64,
        "each agent died with a task of its own: {:?}",
        forge.tasks()
    );

    forge.start_agent();
    forge.until("a pull request for each", |forge| {
        let tasks = forge.tasks();
        let ended = |task: &&Value| {
            ["no_fix", "refused", "dead", "held"]
                .iter()
                .any(|state| task["state"] == *state)
        };
        if let Some(ended) = tasks.iter().find(ended) {
            panic!("a task was lost: {ended}");
        }
        match tasks.iter().filter(|task| task["state"] == "proposed").count() {
            all if all == count => Ok(()),
            _ => Err(format!(
                "{:?}",
                tasks.iter().map(|task| &task["state"]).collect::<Vec<_>>()
            )),
        }
    });
    assert_eq!(forge.tasks().len(), count);
    for one in &pushed {
        let open = account.open_pulls(&one.repository).expect("the forge answers");
        assert_eq!(open.len(), 1, "{}: {open:?}", one.repository);
    }
    // Each was given back by the next start, and nobody had to wait until a lease ran out.
    for task in forge.tasks() {
        let why = forge.sentinel(&["why", task["id"].as_str().expect("a task has an id")]);
        assert!(!why.out.contains("task.lease-lost"), "{}", why.out);
    }
    // Nothing of the dead is left on the disk.
    let parts = std::fs::read_dir(forge.folder().join("patchbot.key.work")).expect("the agent's folder");
    let parts = parts.flatten().filter(|part| part.path().is_dir()).count();
    assert_eq!(parts, 1, "only the living one's");
}

/// What `.patchbot.toml` of the default branch says holds, whatever stands in the failing commit; and only who may write is obeyed.
#[test]
fn an_owner_s_file_and_a_collaborator_s_word_are_followed_and_a_stranger_s_is_not() {
    let mut forge = Forge::start("owner");
    let account = forge.account().clone();
    let pushed = PushedRepository::push(&account, "hello", &forge.webhook(), SECRET).expect("a repository that is red");
    let file = [(
        ".patchbot.toml",
        "labels = [\"bot\"]\nbudgets = { open = 2 }\n[categories.lint]\nmode = \"annotate\"\n",
    )];
    let commit = account
        .commit(&pushed.repository, "chore: only tell", &file)
        .expect("committed");
    let red = forge.ci().check(&account, &pushed.repository, "main", &commit);
    assert!(!red.expect("the workflow runs").passed);
    forge.until("the task ends as the owner wants", |forge| match &forge.tasks()[..] {
        [task] if task["codes"] == serde_json::json!(["category_disabled(lint)"]) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(
        account
            .open_pulls(&pushed.repository)
            .expect("the forge answers")
            .is_empty()
    );

    let told = forge.sentinel(&["patchbot", "explain", &pushed.repository]);
    check(
        &told,
        0,
        &[
            "lint         annotate",
            "labels       bot",
            "2 pull requests open at once",
        ],
    );

    // The owner changes their mind, and asks for another try at somebody's pull request with the same commit.
    let topic = serde_json::json!({"new_branch_name": "topic", "old_ref_name": "main"});
    let path = |rest: &str| format!("/repos/{}{rest}", pushed.repository);
    account.api("POST", &path("/branches"), Some(&topic)).expect("a branch");
    let change = serde_json::json!({"branch": "main", "message": "chore: let it", "files": [
        {"operation": "delete", "path": ".patchbot.toml", "sha": sha_of(&account, &pushed.repository, ".patchbot.toml")}]});
    account
        .api("POST", &path("/contents"), Some(&change))
        .expect("committed");
    let pull = serde_json::json!({"title": "topic", "head": "topic", "base": "main"});
    let pull = account
        .api("POST", &path("/pulls"), Some(&pull))
        .expect("a pull request");
    let comments = path(&format!("/issues/{}/comments", pull["number"]));

    let stranger = stranger(&account);
    stranger
        .api("POST", &comments, Some(&serde_json::json!({"body": "/patchbot retry"})))
        .expect("anybody may comment");
    account
        .api(
            "POST",
            &comments,
            Some(&serde_json::json!({"body": "/patchbot why-not"})),
        )
        .expect("written");
    let answers = forge.until("an answer", |forge| {
        let all = forge
            .account()
            .api("GET", &comments, None)
            .map_err(|error| error.to_string())?;
        let all = all.as_array().cloned().unwrap_or_default();
        let bodies: Vec<String> = all.iter().map(|one| one["body"].to_string()).collect();
        if bodies.iter().any(|body| body.contains("category_disabled")) {
            Ok(bodies)
        } else {
            Err(format!("{bodies:?}"))
        }
    });
    assert_eq!(answers.len(), 3, "the stranger was answered: {answers:?}");
    assert_eq!(forge.tasks()[0]["retry_count"], 0, "the stranger was obeyed");
    account
        .api("POST", &comments, Some(&serde_json::json!({"body": "/patchbot retry"})))
        .expect("written");
    forge.until("it is tried again", |forge| match &forge.tasks()[0] {
        task if task["retry_count"] == 1 => Ok(()),
        task => Err(task.to_string()),
    });
}

fn sha_of(account: &Account, repository: &str, path: &str) -> Value {
    let file = account.api("GET", &format!("/repos/{repository}/contents/{path}"), None);
    file.expect("the file is there")["sha"].clone()
}

/// Somebody with an account at the forge and no right to write.
fn stranger(account: &Account) -> Account {
    let user = serde_json::json!({"username": "eve", "password": "a-long-password-1", "email": "eve@example.org", "must_change_password": false});
    account.api("POST", "/admin/users", Some(&user)).expect("a user");
    let token = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--fail",
            "--user",
            "eve:a-long-password-1",
            "--header",
            "content-type: application/json",
        ])
        .args(["--data", r#"{"name": "t", "scopes": ["write:issue"]}"#])
        .arg(format!("{}/api/v1/users/eve/tokens", account.url()))
        .output()
        .expect("curl starts");
    let token: Value = serde_json::from_slice(&token.stdout).expect("a token");
    Account::new(account.url(), "eve", token["sha1"].as_str().expect("its text"))
}

fn pull_request_tells_what_was_run(pull: &Value, task: &Value) {
    // Nobody is asked to look at it before the forge's own checks are green.
    assert_eq!(pull["title"], "WIP: fix(lint): ruff in app.py");
    let body = pull["body"].as_str().expect("a body");
    let certificate = task["proposal"]["certificate"].as_str().expect("a certificate");
    for part in [
        "before: `ruff check",
        "| fails (1) |",
        "after: `ruff check",
        "| passes (0) |",
        "The check was seen to look at: `app.py`",
        "Sandbox level L3, network none",
        certificate,
    ] {
        assert!(body.contains(part), "`{part}` is not in:\n{body}");
    }
}

fn command_line_tells_the_story(forge: &Forge, id: &str, url: &str) {
    check(&forge.sentinel(&["get", "tasks"]), 0, &[id, "✓ proposed", "lint", url]);
    check(
        &forge.sentinel(&["why", id]),
        0,
        &[
            "proposed",
            "task.create",
            "task.lease",
            "task.propose",
            "task.publish",
            "`os` imported but unused",
            "app.py +0 -2",
            url,
        ],
    );
}

/// A stranger with the repository and the certificate runs the proof again.
fn certificate_holds_for_anybody(forge: &Forge, pushed: &PushedRepository, id: &str) {
    let said = forge.sentinel(&["task", "certificate", id]);
    assert_eq!(said.code, 0, "{said:?}");
    let file = forge.folder().join("certificate.json");
    std::fs::write(&file, &said.out).expect("written");
    let clone = forge.folder().join("anybody");
    forge
        .account()
        .clone_branch(&pushed.repository, "main", &clone)
        .expect("a clone");
    let verify = |file: &std::path::Path| {
        forge.patchbot(&[
            "verify-cert",
            &file.display().to_string(),
            "--repo",
            &clone.display().to_string(),
        ])
    };
    check(&verify(&file), 0, &["holds: ruff-check"]);
    let forged = forge.folder().join("forged.json");
    std::fs::write(&forged, said.out.replace("print(", "exit(")).expect("written");
    check(&verify(&forged), 2, &["does not hold"]);
}

/// What the forge sent, byte for byte and signed by the forge, sent again; and ten more reports of the same check.
fn equal_deliveries_are_one(forge: &Forge, pushed: &PushedRepository, deliveries: &Receiver<Delivery>, id: &str) {
    let failed = |delivery: &Delivery| delivery.json()["state"] == "failure";
    let next_failed = || loop {
        let next = deliveries
            .recv_timeout(PATIENCE)
            .expect("the forge tells the recorder, too");
        if failed(&next) {
            return next;
        }
    };
    let delivery = next_failed();
    std::thread::scope(|scope| {
        let sending: Vec<_> = (0..AGAIN).map(|_| scope.spawn(|| delivery.send(forge))).collect();
        for sent in sending {
            let answer = sent.join().expect("it was sent");
            assert_eq!(
                (answer["status"].as_str(), answer["task_id"].as_str()),
                (Some("duplicate"), Some(id)),
                "{answer}"
            );
        }
    });
    for _ in 0..AGAIN {
        forge
            .account()
            .report(
                &pushed.repository,
                &pushed.commit,
                "lint",
                "failure",
                "http://127.0.0.1/other.log",
            )
            .expect("reported");
    }
    // The recorder hears each report after the hub's own webhook was queued; what it hears is sent on, so the hub has heard it.
    for _ in 0..AGAIN {
        let answer = next_failed().send(forge);
        assert_eq!(answer["status"], "duplicate", "{answer}");
    }
    assert_eq!(forge.tasks().len(), 1);
    assert_eq!(
        forge
            .account()
            .open_pulls(&pushed.repository)
            .expect("the forge answers")
            .len(),
        1
    );
}

/// The workflow is green on the pull request's branch; merged, that is the task's outcome.
fn forge_judges_the_repair(forge: &mut Forge, pushed: &PushedRepository, pull: &Value, id: &str) {
    let word = |value: &Value| value.as_str().expect("text").to_owned();
    let (branch, head) = (word(&pull["head"]["ref"]), word(&pull["head"]["sha"]));
    let green = forge
        .ci()
        .check(forge.account(), &pushed.repository, &branch, &head)
        .expect("the workflow runs");
    assert!(green.passed, "{}", green.log);
    forge.until("it is no draft any more", |forge| {
        let open = forge
            .account()
            .open_pulls(&pushed.repository)
            .map_err(|error| error.to_string())?;
        match open.first().map(|pull| pull["title"] == "fix(lint): ruff in app.py") {
            Some(true) => Ok(()),
            _ => Err(format!("{open:?}")),
        }
    });
    forge.until("the task knows that its checks are green", |forge| {
        match &forge.tasks()[0]["review"] {
            review if review["checks"] == "green" && review["is_draft"] == false => Ok(()),
            review => Err(review.to_string()),
        }
    });
    let path = format!("/repos/{}/pulls/{}", pushed.repository, pull["number"]);
    let merge = serde_json::json!({"Do": "merge"});
    forge.until("the forge merges it", |forge| {
        // What it says to the wish is one thing and what became of it another: it may have merged and been late with its answer.
        let wished = forge.account().api("POST", &format!("{path}/merge"), Some(&merge));
        let stands = forge
            .account()
            .api("GET", &path, None)
            .map_err(|error| error.to_string())?;
        match stands["merged"] == true {
            true => Ok(()),
            false => Err(format!("{wished:?}")),
        }
    });
    forge.until("the task knows its outcome", |forge| match &forge.tasks()[0] {
        task if task["state"] == "merged" => Ok(()),
        task => Err(task.to_string()),
    });
    check(&forge.sentinel(&["why", id]), 0, &["merged", "task.outcome"]);
}

/// One delivery of the forge.
struct Delivery {
    headers: Vec<String>,
    body: Vec<u8>,
}

impl Delivery {
    /// What it says.
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("forges send JSON")
    }

    /// Sends it to the hub as it came, and gives the answer.
    fn send(&self, forge: &Forge) -> Value {
        let mut curl = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--data-binary", "@-", "--cacert"])
            .arg(forge.folder().join("ca.pem"))
            .args(
                self.headers
                    .iter()
                    .flat_map(|header| ["--header".to_owned(), header.clone()]),
            )
            .arg(forge.webhook())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("curl starts");
        let mut stdin = curl.stdin.take().expect("it was asked for a pipe");
        stdin.write_all(&self.body).expect("it reads");
        drop(stdin);
        let output = curl.wait_with_output().expect("it ends");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|cause| panic!("{cause}: {output:?}"))
    }
}

/// Listens for deliveries on loopback and keeps them; gives the address and what arrives. Ends with the test program.
fn record() -> (String, Receiver<Delivery>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("it is bound");
    // A test has some dozens of deliveries.
    let (sender, deliveries) = sync_channel(1_000);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let delivery = read(&mut stream);
            let answered = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            if let (Some(delivery), Ok(())) = (delivery, answered)
                && sender.send(delivery).is_err()
            {
                return;
            }
        }
    });
    (format!("http://{address}/"), deliveries)
}

/// One request: headers up to the empty line, then as many bytes as they say.
fn read(stream: &mut std::net::TcpStream) -> Option<Delivery> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16_384];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        let length = stream.read(&mut chunk).ok().filter(|length| *length > 0)?;
        bytes.extend_from_slice(&chunk[..length]);
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let named = |line: &&str, name: &str| line.to_ascii_lowercase().starts_with(name);
    let length = head.lines().find(|line| named(line, "content-length:"))?;
    let length: usize = length.split_once(':')?.1.trim().parse().ok()?;
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        let read = stream.read(&mut chunk).ok().filter(|length| *length > 0)?;
        body.extend_from_slice(&chunk[..read]);
    }
    let kept = |line: &&str| named(line, "x-") || named(line, "content-type:");
    Some(Delivery {
        headers: head.lines().filter(kept).map(str::to_owned).collect(),
        body,
    })
}
