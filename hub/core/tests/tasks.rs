//! Tasks over a whole hub: one for each failing check, leased once at a time, published once it is stored, and never lost.

use std::time::Duration;

use hub_core::tasks::{
    ChangedFile, Ended, Label, OtherTask, Priority, Proposal, Report, Reported, agents, forge, queue,
    review::{Checks, Seen},
    wishes::Pause,
};
use hub_core::{
    Answer, Effect, Hub, Input, NewTask, Recovered, Request, Right, Row, Settings, StoredDocument, Task, TaskRequest,
    TaskState,
};
use wire::{HubEpoch, Mono, Now, Wall};

/// A hub, its store, and what it wants published.
struct Desk {
    hub: Hub,
    now: Now,
    last: u64,
    documents: Vec<StoredDocument>,
    keys: Vec<(String, String, String)>,
    published: Vec<Task>,
    /// Open pull requests that it wants looked at or brought to their end.
    followed: Vec<Task>,
    /// The store answers nothing, as in a crash before it is durable.
    is_dead: bool,
    /// The lowest chance that the repository's owner wants.
    least_bp: u16,
    commits: usize,
    /// The hub dies with this commit: before it is durable, or right after.
    crash: Option<(usize, Moment)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Before,
    After,
}

fn hub(recovered: Recovered, now: Now) -> Hub {
    let settings = Settings {
        trust_domain: "test".to_owned(),
        policy_key: None,
        beacon_key: None,
        roles: None,
        seed: 1,
        first_hub_epoch: HubEpoch(1),
        max_handshakes: 4,
        beacon_every: Duration::from_secs(3_600),
        checkpoints: hub_core::Checkpointing::default(),
        certificates: hub_core::Certificates::default(),
    };
    Hub::new(settings, recovered, now).expect("documents of this program")
}

impl Desk {
    fn new() -> Self {
        let now = Now {
            mono: Mono(1_000),
            wall: Wall(1_790_000_000_000),
        };
        let mut desk = Self {
            hub: hub(Recovered::default(), now),
            now,
            last: 0,
            documents: Vec::new(),
            keys: Vec::new(),
            published: Vec::new(),
            followed: Vec::new(),
            is_dead: false,
            least_bp: 0,
            commits: 0,
            crash: None,
        };
        desk.effects();
        desk
    }

    /// The hub is killed and starts from what was stored.
    fn restart(&mut self) {
        self.is_dead = false;
        let recovered = Recovered {
            documents: self.documents.clone(),
            document_keys: self.keys.clone(),
            ..Recovered::default()
        };
        self.hub = hub(recovered, self.now);
        self.effects();
    }

    fn ask(&mut self, what: TaskRequest) -> Answer {
        self.last += 1;
        let what = Request::Tasks {
            caller: forge("gitea"),
            what,
        };
        self.hub.handle(
            Input::Request {
                request: self.last,
                what,
            },
            self.now,
        );
        let mut answers = self.effects();
        answers.pop().unwrap_or(Answer::NoTask)
    }

    fn effects(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        while let Some(effect) = self.hub.poll_effect() {
            let crash = matches!(effect, Effect::Store(_)).then(|| self.crash_now()).flatten();
            match effect {
                Effect::Store(batch) if crash.is_some() => {
                    if crash == Some(Moment::After) {
                        batch.rows.iter().for_each(|row| self.store(row));
                    }
                    self.is_dead = true;
                }
                // Nobody hears what a dead hub would have said.
                _ if self.is_dead => {}
                Effect::Store(batch) if !self.is_dead => {
                    batch.rows.iter().for_each(|row| self.store(row));
                    self.hub.handle(Input::Stored { token: batch.token }, self.now);
                }
                Effect::Reply { answer, .. } => answers.push(answer),
                Effect::Publish(task) if task.state == TaskState::Publishing => self.published.push(*task),
                Effect::Publish(task) => self.followed.push(*task),
                _ => {}
            }
        }
        answers
    }

    fn crash_now(&mut self) -> Option<Moment> {
        self.commits += 1;
        let (at, moment) = self.crash?;
        (at == self.commits).then(|| {
            self.crash = None;
            moment
        })
    }

    fn store(&mut self, row: &Row) {
        if let Row::Put(put) = row {
            self.documents.retain(|document| document.id != put.id);
            self.keys.retain(|(_, _, id)| *id != put.id);
            if let Some(record) = &put.record {
                let (kind, id, record) = (put.kind.to_owned(), put.id.clone(), record.clone());
                self.keys
                    .extend(put.unique.iter().map(|key| (kind.clone(), key.clone(), id.clone())));
                self.documents.push(StoredDocument {
                    kind,
                    id,
                    revision: put.revision,
                    record,
                });
            }
        }
    }

    fn pass(&mut self, span: Duration) {
        let span_ms = i64::try_from(span.as_millis()).expect("a short time");
        self.now = Now {
            mono: self.now.mono + span,
            wall: Wall(self.now.wall.0 + span_ms),
        };
        self.hub.handle(Input::Tick, self.now);
        self.effects();
    }

    fn received(&mut self, id: &str, delivery: &str, check: &str) -> Answer {
        self.tell_of(("a/b", "c0ffee"), id, delivery, check)
    }

    fn received_at(&mut self, commit: &str, delivery: &str, check: &str) -> Answer {
        self.tell_of(("a/b", commit), delivery, delivery, check)
    }

    fn received_in(&mut self, repository: &str, id: &str) -> Answer {
        self.tell_of((repository, "c0ffee"), id, id, "lint")
    }

    fn tell_of(&mut self, (repository, commit): (&str, &str), id: &str, delivery: &str, check: &str) -> Answer {
        self.ask(TaskRequest::Received(Box::new(NewTask {
            id: id.to_owned(),
            source: "gitea".to_owned(),
            repository: repository.to_owned(),
            commit: commit.to_owned(),
            check: check.to_owned(),
            branch: "main".to_owned(),
            log_url: String::new(),
            delivery: delivery.to_owned(),
            correlation_id: None,
            from_fork: false,
            priority: Priority::High,
        })))
    }

    fn lease(&mut self, lease: &str) -> Option<Right> {
        match self.ask(TaskRequest::Lease {
            agent: "agent".to_owned(),
            lease: lease.to_owned(),
        }) {
            Answer::Task(task) => Some(Right {
                task: task.id,
                lease: lease.to_owned(),
                epoch: task.epoch,
            }),
            _ => None,
        }
    }

    fn state(&self, id: &str) -> TaskState {
        self.hub.task(id).expect("a stored task").state
    }

    fn propose(&mut self, right: &Right, refusals: &[&str]) -> Answer {
        let proposal = Proposal {
            certificate: "cert".to_owned(),
            fixer: "ruff-check 0.1".to_owned(),
            files: vec![ChangedFile {
                path: "a.py".to_owned(),
                added: 0,
                removed: 1,
            }],
            category: "lint".to_owned(),
            tool: "ruff".to_owned(),
            fingerprint: "f".to_owned(),
            branch: "patchbot/lint/f".to_owned(),
        };
        let refusals = refusals.iter().map(|code| (*code).to_owned()).collect();
        self.ask(TaskRequest::Propose {
            right: right.clone(),
            proposal: Box::new(proposal),
            message: "`os` imported but unused".to_owned(),
            refusals,
            least_bp: self.least_bp,
        })
    }
}

#[test]
fn the_same_delivery_and_the_same_check_of_a_commit_are_one_task() {
    let mut desk = Desk::new();
    assert!(matches!(desk.received("t1", "d1", "lint"), Answer::Task(_)));
    for delivery in ["d1", "d2"] {
        assert!(
            matches!(desk.received("t2", delivery, "lint"), Answer::KnownTask { id } if id == "t1"),
            "{delivery}"
        );
    }
    desk.restart();
    assert!(matches!(desk.received("t3", "d1", "lint"), Answer::KnownTask { id } if id == "t1"));
    assert!(matches!(desk.received("t4", "d4", "test"), Answer::Task(_)));
    assert_eq!(desk.hub.tasks().len(), 2);
}

#[test]
fn only_the_newest_lease_may_write() {
    let mut desk = Desk::new();
    desk.received("t1", "d1", "lint");
    let first = desk.lease("l1").expect("a task");
    assert!(desk.lease("l2").is_none(), "leased twice");
    desk.pass(Duration::from_millis(queue::LEASE_MS.unsigned_abs()) + Duration::from_secs(6));
    assert_eq!(desk.state("t1"), TaskState::Queued);
    assert!(matches!(desk.propose(&first, &[]), Answer::Fenced));
    assert!(desk.lease("l3").is_none(), "before its time");
    desk.pass(Duration::from_secs(61));
    let second = desk.lease("l4").expect("a task");
    assert!(second.epoch > first.epoch);
    assert!(matches!(desk.propose(&first, &[]), Answer::Fenced));
    assert!(matches!(desk.propose(&second, &[]), Answer::Task(_)));
    assert_eq!(desk.published.len(), 1);
}

#[test]
fn a_task_whose_every_lease_was_lost_is_dead_and_can_be_tried_again() {
    let mut desk = Desk::new();
    desk.received("t1", "d1", "lint");
    for attempt in 0..queue::ATTEMPTS {
        assert!(desk.lease(&format!("l{attempt}")).is_some());
        desk.pass(Duration::from_secs(66));
        desk.pass(Duration::from_secs(20 * 60));
    }
    assert_eq!(desk.state("t1"), TaskState::Dead);
    assert!(matches!(
        desk.ask(TaskRequest::Retry {
            id: "t1".to_owned(),
            reason: "the tool is there now".to_owned()
        }),
        Answer::Task(_)
    ));
    assert!(desk.lease("again").is_some());
}

#[test]
fn an_extended_lease_is_kept_until_its_deadline() {
    let mut desk = Desk::new();
    desk.received("t1", "d1", "lint");
    let right = desk.lease("l1").expect("a task");
    for _ in 0..10 {
        desk.pass(Duration::from_secs(40));
        let what = TaskRequest::Extend {
            right: right.clone(),
            phase: "fixing".to_owned(),
            progress: 500,
        };
        assert!(matches!(desk.ask(what), Answer::Task(_)));
    }
    assert_eq!(desk.state("t1"), TaskState::Leased);
}

#[test]
fn a_patch_is_published_only_after_it_is_stored_and_again_after_a_crash() {
    let mut desk = Desk::new();
    desk.received("t1", "d1", "lint");
    let right = desk.lease("l1").expect("a task");
    desk.is_dead = true;
    desk.propose(&right, &[]);
    assert!(desk.published.is_empty(), "published before it was stored");
    desk.restart();
    assert_eq!(desk.state("t1"), TaskState::Leased, "nothing of it was written");
    assert!(matches!(desk.propose(&right, &[]), Answer::Task(_)));
    assert_eq!(desk.published.len(), 1);
    desk.restart();
    assert_eq!(desk.published.len(), 2, "the crash came before the forge's answer");
    let what = TaskRequest::Published {
        id: "t1".to_owned(),
        url: "http://forge/1".to_owned(),
        number: 1,
        head: Some("0a1b2c".to_owned()),
    };
    assert!(matches!(desk.ask(what.clone()), Answer::Task(_)));
    assert!(matches!(desk.ask(what), Answer::Task(task) if task.state == TaskState::Proposed));
    desk.restart();
    assert_eq!(desk.published.len(), 2, "it is open already");
}

#[test]
fn what_a_gate_refuses_is_never_published() {
    let mut desk = Desk::new();
    desk.received("t1", "d1", "lint");
    let right = desk.lease("l1").expect("a task");
    assert!(
        matches!(desk.propose(&right, &["weakening(skip)"]), Answer::Task(task) if task.codes == ["weakening(skip)"])
    );
    assert_eq!((desk.state("t1"), desk.published.len()), (TaskState::Refused, 0));
}

#[test]
fn a_cancelled_task_takes_the_right_from_its_agent() {
    let mut desk = Desk::new();
    desk.received("t1", "d1", "lint");
    let right = desk.lease("l1").expect("a task");
    let cancel = TaskRequest::Cancel {
        id: "t1".to_owned(),
        reason: "not now".to_owned(),
    };
    assert!(matches!(desk.ask(cancel.clone()), Answer::Task(_)));
    assert!(matches!(desk.propose(&right, &[]), Answer::Fenced));
    assert!(matches!(desk.ask(cancel), Answer::Rejected { .. }));
}

#[test]
fn the_end_of_its_pull_request_is_the_outcome_of_a_task() {
    let mut desk = Desk::new();
    desk.received("t1", "d1", "lint");
    let right = desk.lease("l1").expect("a task");
    desk.propose(&right, &[]);
    desk.ask(TaskRequest::Published {
        id: "t1".to_owned(),
        url: "http://forge/7".to_owned(),
        number: 7,
        head: Some("0a1b2c".to_owned()),
    });
    let ended = |number| {
        TaskRequest::Ended(Box::new(Ended::PullRequest {
            source: "gitea".to_owned(),
            repository: "a/b".to_owned(),
            number,
            merged: true,
            merged_as: Some("3d4e5f".to_owned()),
            rejected: false,
        }))
    };
    assert!(matches!(desk.ask(ended(8)), Answer::NoTask));
    assert!(matches!(desk.ask(ended(7)), Answer::Task(task) if task.state == TaskState::Merged));
}

impl Desk {
    fn register(&mut self, name: &str, tasks: &[&str]) -> String {
        let registration = agents::Registration {
            id: format!("agent-{name}"),
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            description: String::new(),
            capabilities: agents::Capabilities {
                supported_tasks: tasks.iter().map(|kind| (*kind).to_owned()).collect(),
                max_concurrent_tasks: 5,
                supported_failure_types: None,
                timeout_seconds: 600,
            },
            configuration: String::new(),
            key: None,
            sandbox: String::new(),
        };
        match self.ask(TaskRequest::Register(Box::new(registration))) {
            Answer::Remediator(agent) => agent.id,
            other => panic!("{other:?}"),
        }
    }

    fn create(&mut self, id: &str, timeout_s: i64) -> Answer {
        self.ask(TaskRequest::Create(Box::new(OtherTask {
            id: id.to_owned(),
            kind: "docs".to_owned(),
            context: String::new(),
            timeout_ms: timeout_s * 1_000,
            correlation_id: None,
        })))
    }

    fn dequeue(&mut self, agent: &str) -> Option<String> {
        let (agent, lease) = (agent.to_owned(), "lease".to_owned());
        match self.ask(TaskRequest::Dequeue { agent, lease }) {
            Answer::Task(task) => Some(task.id),
            _ => None,
        }
    }

    fn report(&mut self, id: &str, status: Reported) -> Task {
        let report = Report {
            status: Some(status),
            error: Some("boom".to_owned()),
            ..Report::default()
        };
        match self.ask(TaskRequest::Report {
            id: id.to_owned(),
            report: Box::new(report),
        }) {
            Answer::Task(task) => *task,
            other => panic!("{other:?}"),
        }
    }

    fn task(&self, id: &str) -> Task {
        self.hub.task(id).expect("a stored task").clone()
    }
}

#[test]
fn a_silent_agent_is_offline_after_three_heartbeats_and_its_tasks_go_back() {
    let mut desk = Desk::new();
    let agent = desk.register("a", &["docs"]);
    desk.create("t1", 600);
    assert_eq!(desk.dequeue(&agent).as_deref(), Some("t1"));
    desk.pass(Duration::from_secs(85));
    assert_eq!(desk.state("t1"), TaskState::Leased);
    desk.pass(Duration::from_secs(11));
    assert_eq!(desk.hub.remediation_agents()[0].status, agents::AgentStatus::Offline);
    assert_eq!(desk.state("t1"), TaskState::Queued);
}

#[test]
fn a_task_that_takes_longer_than_it_may_has_failed_on_time() {
    let mut desk = Desk::new();
    let agent = desk.register("a", &["docs"]);
    desk.create("t1", 60);
    desk.dequeue(&agent);
    let beat = |desk: &mut Desk| {
        desk.ask(TaskRequest::Heartbeat {
            id: agent.clone(),
            health: 1_000,
        })
    };
    desk.pass(Duration::from_secs(55));
    beat(&mut desk);
    assert_eq!(desk.state("t1"), TaskState::Leased);
    desk.pass(Duration::from_secs(15));
    let task = desk.task("t1");
    assert_eq!(task.state, TaskState::Dead);
    assert!(task.reason.contains("timed out"), "{}", task.reason);
}

#[test]
fn a_failed_task_waits_60_seconds_and_is_given_up_after_its_retries() {
    let mut desk = Desk::new();
    let agent = desk.register("a", &["docs"]);
    desk.create("t1", 600);
    for retry in 1..=queue::ATTEMPTS {
        assert_eq!(desk.dequeue(&agent).as_deref(), Some("t1"));
        let task = desk.report("t1", Reported::Failed);
        assert_eq!(
            (task.state, task.retries, task.started_at),
            (TaskState::Queued, retry, None)
        );
        let wait = task.not_before.0 - desk.now.wall.0;
        assert_eq!(wait, 60_000 * 4_i64.pow(retry - 1));
        assert_eq!(desk.dequeue(&agent), None, "before its time");
        let mut left = u64::try_from(wait).expect("a wait") / 1_000 + 1;
        while left > 0 {
            let step = left.min(80);
            desk.pass(Duration::from_secs(step));
            desk.ask(TaskRequest::Heartbeat {
                id: agent.clone(),
                health: 1_000,
            });
            left -= step;
        }
    }
    assert_eq!(desk.dequeue(&agent).as_deref(), Some("t1"));
    let task = desk.report("t1", Reported::Failed);
    assert_eq!((task.state, task.retries), (TaskState::Dead, queue::ATTEMPTS));
    assert_eq!(desk.hub.remediation_agents()[0].failed, u64::from(queue::ATTEMPTS) + 1);
}

#[test]
fn a_lease_of_the_original_s_api_lasts_as_long_as_its_task_may_take() {
    let mut desk = Desk::new();
    let agent = desk.register("a", &["docs"]);
    desk.create("t1", 1_800);
    desk.dequeue(&agent);
    let lease = desk.task("t1").lease.expect("it is leased");
    assert!(lease.until.0 - desk.now.wall.0 >= 1_800_000);
}

/// What was proposed, closed or red tells how likely the next is; below the threshold a person must agree.
#[test]
fn a_repair_that_keeps_failing_waits_for_a_person() {
    let mut desk = Desk::new();
    let mut last = None;
    for number in 1..=12_u64 {
        let id = format!("t{number}");
        desk.received(&id, &format!("d{number}"), &format!("lint {number}"));
        let right = desk.lease(&format!("l{number}")).expect("a task");
        desk.propose(&right, &[]);
        if desk.state(&id) == TaskState::Held {
            last = Some(id);
            break;
        }
        desk.ask(TaskRequest::Published {
            id: id.clone(),
            url: format!("http://forge/{number}"),
            number,
            head: Some(format!("c{number}")),
        });
        // The forge's own checks are red at our commit: no task of its own, but the outcome of this one.
        let red = desk.received_at(&format!("c{number}"), &format!("e{number}"), "lint");
        assert!(matches!(red, Answer::Task(task) if task.id == id && task.label == Some(Label::Red)));
    }
    let held = last.expect("twelve red repairs are enough to doubt");
    assert_eq!(desk.task(&held).codes, ["low_confidence"]);
    let published = desk.published.len();
    desk.pass(Duration::from_secs(60));
    assert_eq!(desk.published.len(), published, "nobody agreed");
    let reason = "I read it".to_owned();
    desk.ask(TaskRequest::Approve {
        id: held.clone(),
        reason,
    });
    assert_eq!(
        (desk.state(&held), desk.published.len()),
        (TaskState::Publishing, published + 1)
    );
}

#[test]
fn a_merge_that_is_taken_back_is_a_failure() {
    let mut desk = Desk::new();
    desk.received("t1", "d1", "lint");
    let right = desk.lease("l1").expect("a task");
    desk.propose(&right, &[]);
    desk.ask(TaskRequest::Published {
        id: "t1".to_owned(),
        url: "http://forge/7".to_owned(),
        number: 7,
        head: None,
    });
    let (source, repository) = ("gitea".to_owned(), "a/b".to_owned());
    desk.ask(TaskRequest::Ended(Box::new(Ended::PullRequest {
        source: source.clone(),
        repository: repository.clone(),
        number: 7,
        merged: true,
        merged_as: Some("3d4e5f6a7b".to_owned()),
        rejected: false,
    })));
    assert_eq!(desk.task("t1").label, Some(Label::Merged));
    desk.ask(TaskRequest::Ended(Box::new(Ended::Reverted {
        source,
        repository,
        commit: "3d4e5f6".to_owned(),
    })));
    assert_eq!(
        (desk.state("t1"), desk.task("t1").label),
        (TaskState::Merged, Some(Label::Reverted))
    );
}

#[test]
fn a_fourth_repair_waits_until_one_of_three_has_ended() {
    let mut desk = Desk::new();
    for number in 1..=4 {
        desk.received_in(&format!("r/{number}"), &format!("t{number}"));
    }
    let rights: Vec<Right> = (1..=3)
        .map(|at| desk.lease(&format!("l{at}")).expect("a task"))
        .collect();
    assert!(desk.lease("l4").is_none(), "a fourth at once");
    desk.ask(TaskRequest::Finish {
        right: rights[0].clone(),
        code: "no_fixer".to_owned(),
        reason: String::new(),
        retry: false,
    });
    assert!(desk.lease("l5").is_some());
}

/// The world around a hub that may die: a forge that tells of a red check again until it is heard, and opens what it is asked to.
#[derive(Default)]
struct World {
    pull_requests: Vec<String>,
    crashes: usize,
}

impl World {
    /// Opens a pull request; one that is open already is the same.
    fn open(&mut self, branch: &str) -> u64 {
        let known = self.pull_requests.iter().position(|known| known == branch);
        let place = known.unwrap_or_else(|| {
            self.pull_requests.push(branch.to_owned());
            self.pull_requests.len() - 1
        });
        u64::try_from(place).expect("a few") + 1
    }

    /// Everybody does their part once: the forge, an agent, the publisher. Then time passes, so that a lost lease comes back.
    fn round(&mut self, desk: &mut Desk, number: usize) {
        desk.received("t1", "d1", "lint");
        if let Some(right) = desk.lease(&format!("l{number}")) {
            desk.propose(&right, &[]);
        }
        for task in std::mem::take(&mut desk.published) {
            let branch = task.proposal.expect("what is published has a patch").branch;
            let number = self.open(&branch);
            let (id, url) = (task.id, format!("http://forge/{number}"));
            desk.ask(TaskRequest::Published {
                id,
                url,
                number,
                head: None,
            });
        }
        if desk.is_dead {
            self.crashes += 1;
            desk.restart();
        }
        desk.pass(Duration::from_secs(130));
    }
}

#[test]
fn a_hub_that_dies_with_any_commit_ends_with_one_pull_request_and_loses_nothing() {
    for moment in [Moment::Before, Moment::After] {
        let mut died = 0;
        for commit in 1..=12 {
            let (mut desk, mut world) = (Desk::new(), World::default());
            desk.commits = 0;
            desk.crash = Some((commit, moment));
            for number in 0..8 {
                world.round(&mut desk, number);
            }
            died += world.crashes;
            let tasks = desk.hub.tasks();
            assert_eq!(
                (tasks.len(), tasks[0].state, world.pull_requests.len()),
                (1, TaskState::Proposed, 1),
                "died with commit {commit}, {moment:?}"
            );
            assert!(tasks[0].attempts <= queue::ATTEMPTS, "{} attempts", tasks[0].attempts);
        }
        assert!(
            died >= 4,
            "only {died} commits were there to die with: received, leased, proposed, published"
        );
    }
}

/// An agent may die twice while it works, at any moment: what counts is that it took the task, and the third one ends it.
#[test]
fn an_agent_that_dies_with_a_task_loses_an_attempt_and_not_the_task() {
    for given_back in [false, true] {
        let mut desk = Desk::new();
        desk.received("t1", "d1", "lint");
        for attempt in 1..queue::ATTEMPTS {
            let right = desk.lease(&format!("l{attempt}")).expect("a task");
            if given_back {
                // Its next start finds what it held.
                desk.ask(TaskRequest::Finish {
                    right: right.clone(),
                    code: "lease_lost".to_owned(),
                    reason: String::new(),
                    retry: true,
                });
            } else {
                desk.pass(Duration::from_secs(66));
            }
            assert_eq!(desk.state("t1"), TaskState::Queued, "attempt {attempt}");
            // What the dead one would have said is said by nobody.
            assert!(matches!(desk.propose(&right, &[]), Answer::Fenced));
            desk.restart();
            desk.pass(Duration::from_secs(5 * 60));
        }
        let right = desk.lease("last").expect("a task");
        assert!(matches!(desk.propose(&right, &[]), Answer::Task(_)));
        assert_eq!((desk.state("t1"), desk.published.len()), (TaskState::Publishing, 1));
    }
}

#[test]
fn what_is_put_off_waits_for_its_time_and_was_no_attempt() {
    let mut desk = Desk::new();
    desk.received("t1", "d1", "lint");
    for round in 0..2 * queue::ATTEMPTS {
        let right = desk.lease(&format!("l{round}")).expect("a task");
        let until = Wall(desk.now.wall.0 + 3_600_000);
        let pause = Pause {
            code: "frozen".to_owned(),
            reason: "weekend".to_owned(),
            until,
        };
        let put_off = TaskRequest::PutOff {
            right: right.clone(),
            pause: Box::new(pause),
        };
        assert!(matches!(desk.ask(put_off.clone()), Answer::Task(_)));
        assert!(matches!(desk.ask(put_off), Answer::Fenced), "twice by one lease");
        desk.restart();
        let task = desk.task("t1");
        assert_eq!(
            (task.state, task.attempts, task.not_before),
            (TaskState::Queued, 0, until)
        );
        assert_eq!(
            (task.codes.join(" "), task.reason.as_str()),
            ("frozen".to_owned(), "weekend")
        );
        assert!(desk.lease("early").is_none(), "before its time");
        desk.pass(Duration::from_secs(3_600));
    }
    let right = desk.lease("at last").expect("a task");
    let task = desk.task("t1");
    assert!(task.codes.is_empty() && task.reason.is_empty() && task.attempts == 1);
    assert!(matches!(desk.propose(&right, &[]), Answer::Task(_)));
}

#[test]
fn a_red_check_of_our_own_branch_makes_no_task() {
    let mut desk = Desk::new();
    let answer = desk.ask(TaskRequest::Received(Box::new(NewTask {
        id: "t1".to_owned(),
        source: "gitea".to_owned(),
        repository: "a/b".to_owned(),
        commit: "c0ffee".to_owned(),
        check: "lint".to_owned(),
        branch: "patchbot/lint/1".to_owned(),
        log_url: String::new(),
        delivery: "d1".to_owned(),
        correlation_id: None,
        from_fork: false,
        priority: Priority::Normal,
    })));
    assert!(matches!(answer, Answer::NoTask));
    assert!(desk.hub.tasks().is_empty());
}

impl Desk {
    /// A task whose pull request `number` is open, our commit `c<number>`.
    fn proposed(&mut self, number: u64) -> String {
        let id = format!("t{number}");
        self.received(&id, &format!("d{number}"), &format!("lint {number}"));
        let right = self.lease(&format!("l{number}")).expect("a task");
        self.propose(&right, &[]);
        self.ask(TaskRequest::Published {
            id: id.clone(),
            url: format!("http://forge/{number}"),
            number,
            head: Some(format!("c{number}")),
        });
        id
    }

    fn seen(&mut self, id: &str, checks: Checks, merge_wanted: bool) -> Task {
        self.followed.clear();
        self.ask(TaskRequest::Seen(Box::new(Seen {
            id: id.to_owned(),
            checks,
            is_ours: true,
            merge_wanted,
        })));
        self.task(id)
    }

    fn passed(&mut self, commit: &str, check: &str) -> Answer {
        self.ask(TaskRequest::Passed {
            source: "gitea".to_owned(),
            repository: "a/b".to_owned(),
            commit: commit.to_owned(),
            check: check.to_owned(),
        })
    }

    fn settled(&mut self, id: &str, merged_as: Option<&str>, refused: &str) -> Task {
        self.ask(TaskRequest::Settled {
            id: id.to_owned(),
            merged_as: merged_as.map(str::to_owned),
            refused: refused.to_owned(),
        });
        self.task(id)
    }
}

#[test]
fn a_pull_request_is_looked_at_when_it_opens_and_when_a_check_passes_and_ready_when_all_are_green() {
    let mut desk = Desk::new();
    let id = desk.proposed(1);
    assert_eq!(desk.followed.len(), 1, "its checks may have ended already");
    desk.seen(&id, Checks::Pending, false);
    assert!(desk.followed.is_empty());
    assert!(matches!(desk.passed("c1", "lint 1"), Answer::Task(task) if task.id == id));
    assert_eq!(desk.followed.len(), 1);
    let task = desk.seen(&id, Checks::Green, false);
    assert_eq!((task.review.checks, task.review.merge), (Checks::Green, false));
    assert_eq!(desk.followed.len(), 1, "it is to be made ready");
    desk.followed.clear();
    desk.restart();
    assert_eq!(desk.followed.len(), 1, "the crash came before the forge's answer");
    assert!(desk.settled(&id, None, "").review.is_ready);
    desk.followed.clear();
    desk.restart();
    desk.ask(TaskRequest::Look {
        source: "gitea".to_owned(),
    });
    assert!(desk.followed.is_empty(), "nothing is left to do");
    assert_eq!(desk.state(&id), TaskState::Proposed);
}

#[test]
fn it_is_merged_only_where_the_owner_asks_and_the_lower_bound_is_90_percent() {
    let mut desk = Desk::new();
    let first = desk.proposed(1);
    let task = desk.seen(&first, Checks::Green, true);
    assert!(!task.review.merge, "no outcome yet: 70 % are no 90 %");
    desk.settled(&first, None, "");
    // What people merge tells how sure the next one is.
    let mut number = 1;
    let sure = loop {
        number += 1;
        assert!(number < 100, "a hundred merges are enough to be sure");
        desk.pass(Duration::from_secs(3_700));
        let id = desk.proposed(number);
        if desk.seen(&id, Checks::Green, true).review.merge {
            break id;
        }
        desk.settled(&id, None, "");
        desk.ask(TaskRequest::Ended(Box::new(Ended::PullRequest {
            source: "gitea".to_owned(),
            repository: "a/b".to_owned(),
            number,
            merged_as: Some(format!("m{number}")),
            merged: true,
            rejected: false,
        })));
    };
    assert!(number > 10, "sure after {number} outcomes");
    assert_eq!(desk.followed.last().map(|task| task.review.merge), Some(true));
    let task = desk.settled(&sure, Some("m"), "");
    assert_eq!((task.state, task.label), (TaskState::Merged, Some(Label::Merged)));

    desk.pass(Duration::from_secs(3_700));
    let unasked = desk.proposed(number + 1);
    assert!(!desk.seen(&unasked, Checks::Green, false).review.merge, "nobody asked");
    desk.settled(&unasked, None, "");
    // Its owner asks later; the forge then does not want it.
    assert!(!desk.task(&unasked).review.merge_wanted);
    desk.pass(Duration::from_secs(3_700));
    let refused = desk.proposed(number + 2);
    assert!(desk.seen(&refused, Checks::Green, true).review.merge);
    let task = desk.settled(&refused, None, "the branch is protected");
    assert_eq!((task.state, task.review.merge), (TaskState::Proposed, false));
    desk.followed.clear();
    desk.ask(TaskRequest::Look {
        source: "gitea".to_owned(),
    });
    assert!(
        !desk.followed.iter().any(|task| task.id == refused),
        "asked again and again"
    );
}

#[test]
fn what_somebody_stopped_or_pushed_to_is_left_alone() {
    let mut desk = Desk::new();
    let id = desk.proposed(1);
    let who = "ada".to_owned();
    desk.ask(TaskRequest::Stop {
        id: id.clone(),
        who: who.clone(),
    });
    assert_eq!(desk.seen(&id, Checks::Green, true).review.checks, Checks::Unknown);
    assert!(desk.followed.is_empty());
    desk.ask(TaskRequest::Resume { id: id.clone(), who });
    assert_eq!(desk.followed.len(), 1);
    desk.ask(TaskRequest::Seen(Box::new(Seen {
        id: id.clone(),
        checks: Checks::Green,
        is_ours: false,
        merge_wanted: true,
    })));
    assert_eq!(desk.task(&id).codes, ["branch_taken_over"]);
    assert_eq!(desk.seen(&id, Checks::Green, true).review.checks, Checks::Unknown);
}

#[test]
fn a_check_that_is_red_and_then_green_on_one_commit_is_flaky_and_nothing_is_changed() {
    let mut desk = Desk::new();
    desk.received("t1", "d1", "test");
    let right = desk.lease("l1").expect("a task");
    assert!(matches!(desk.passed("c0ffee", "lint"), Answer::NoTask), "another check");
    assert!(matches!(desk.passed("beef", "test"), Answer::NoTask), "another commit");
    assert!(matches!(desk.passed("c0ffee", "test"), Answer::Task(_)));
    let task = desk.task("t1");
    assert_eq!(
        (task.state, task.codes.as_slice()),
        (TaskState::NoFix, &["flaky_suspected".to_owned()][..])
    );
    assert!(
        task.reason.contains("failed and passed on the same commit c0ffee"),
        "{}",
        task.reason
    );
    assert!(matches!(desk.propose(&right, &[]), Answer::Fenced));
}

#[test]
fn an_owner_who_wants_to_be_surer_is_asked() {
    let mut desk = Desk::new();
    desk.least_bp = 9_900;
    desk.received("t1", "d1", "lint");
    let right = desk.lease("l1").expect("a task");
    desk.propose(&right, &[]);
    assert_eq!(
        (desk.state("t1"), desk.task("t1").codes),
        (TaskState::Held, vec!["low_confidence".to_owned()])
    );
    let reason = "I read it".to_owned();
    desk.ask(TaskRequest::Approve {
        id: "t1".to_owned(),
        reason,
    });
    assert_eq!(desk.state("t1"), TaskState::Publishing);
}

#[test]
fn what_the_machinery_broke_runs_once_more_and_never_twice() {
    let mut desk = Desk::new();
    desk.received("t1", "d1", "test");
    let finish = |desk: &mut Desk, lease: &str| {
        let right = desk.lease(lease).expect("a task");
        desk.ask(TaskRequest::Finish {
            right,
            code: "infra".to_owned(),
            reason: "no space left on device".to_owned(),
            retry: false,
        });
    };
    finish(&mut desk, "l1");
    assert_eq!(desk.followed.len(), 1, "the failed jobs are to run again");
    desk.restart();
    assert_eq!(desk.followed.len(), 2, "the crash came before the forge's answer");
    let what = "the failed jobs run once more".to_owned();
    desk.ask(TaskRequest::Rerun {
        id: "t1".to_owned(),
        what,
    });
    assert_eq!(desk.task("t1").review.rerun, Some(true));
    desk.restart();
    desk.ask(TaskRequest::Retry {
        id: "t1".to_owned(),
        reason: String::new(),
    });
    finish(&mut desk, "l2");
    assert_eq!((desk.state("t1"), desk.followed.len()), (TaskState::NoFix, 2));
    // Green this time, on the same commit: it was not the change.
    assert!(matches!(desk.passed("c0ffee", "test"), Answer::Task(_)));
    assert_eq!(desk.task("t1").codes, ["infra", "flaky_suspected"]);
}
