//! Tasks over a whole hub: one for each failing check, leased once at a time, published once it is stored, and never lost.

use std::time::Duration;

use hub_core::tasks::{ChangedFile, Priority, Proposal, forge, queue};
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
    /// The store answers nothing, as in a crash before it is durable.
    is_dead: bool,
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
            is_dead: false,
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
            match effect {
                Effect::Store(batch) if !self.is_dead => {
                    batch.rows.iter().for_each(|row| self.store(row));
                    self.hub.handle(Input::Stored { token: batch.token }, self.now);
                }
                Effect::Reply { answer, .. } => answers.push(answer),
                Effect::Publish(task) => self.published.push(*task),
                _ => {}
            }
        }
        answers
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
        self.ask(TaskRequest::Received(Box::new(NewTask {
            id: id.to_owned(),
            source: "gitea".to_owned(),
            repository: "a/b".to_owned(),
            commit: "c0ffee".to_owned(),
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
        desk.ask(TaskRequest::Retry { id: "t1".to_owned() }),
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
    });
    let ended = |number| TaskRequest::PullRequestEnded {
        source: "gitea".to_owned(),
        repository: "a/b".to_owned(),
        number,
        merged: true,
    };
    assert!(matches!(desk.ask(ended(8)), Answer::NoTask));
    assert!(matches!(desk.ask(ended(7)), Answer::Task(task) if task.state == TaskState::Merged));
}
