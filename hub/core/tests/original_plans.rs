//! The original's plans: every case of its plan executor, its pipeline controller and its adapter, on this hub, and a table of those that
//! come out otherwise here, each with its reason.
//!
//! A cluster is played that does what it is asked for, or refuses. The cases of `inframind.*` are in `wire/inframind/src/sizing/tests.rs`.
#![allow(clippy::unwrap_used)]

mod world;

use std::collections::BTreeMap;

use hub_core::plans::{PlanAsk, PlanRecord};
use hub_core::{
    Answer, Cluster, ClusterChange, ClusterRequest, DeploymentStanding, Input, KubeEffect, KubeInput, NodeStanding,
    Request, Standing, decode_document,
};
use serde_json::Value;
use wire::PlanId;
use wire::change::{Caller, Via};
use wire::entry::EntryBody;
use wire::kube::{ChangeOutcome, DeploymentChange};
use wire::plan::{Draft, DraftStep, PlanState, Source, Step, read_step};

use world::World;

/// What comes out otherwise, and why. A case that is listed here and comes out as demanded fails the test.
const DIFFERENT: [(&str, &str); 8] = [
    (
        "restart and drain are executable verbs",
        "a deployment is restarted; drained is a node, and a plan that drains a deployment is refused with what it wants",
    ),
    (
        "reschedule result names the node",
        "where a pod runs is the scheduler's to say: the step is refused, and cordon and drain are what moves work",
    ),
    (
        "reschedule is simulated and names the node",
        "a plan that no cluster can carry out is refused when it is sent, so there is nothing to simulate",
    ),
    (
        "rollback result names the revision",
        "a revision is the number that the cluster counts: `v1.2.3` is refused, and no revision means the one before",
    ),
    (
        "rollback is simulated and names the revision",
        "as before: `v1.2.3` is no revision",
    ),
    (
        "scale, update and rollback are all simulated",
        "as before: `previous` is said by leaving the revision out",
    ),
    (
        "update is simulated and echoes params",
        "a parameter that a verb does not know is refused: a number of replicas beside an image would be lost silently",
    ),
    (
        "an unimplemented verb is reported failed",
        "there is none left: drain works, and a node that no registered cluster has is refused when the plan is sent",
    ),
];

/// Proven where it happens.
const ELSEWHERE: [(&str, &str); 18] = [
    (
        "status of an unknown plan is empty",
        "hub/src/http/plans.rs: 404, with what lists the plans that there are",
    ),
    (
        "rollback without an earlier revision is reported as such",
        "hub/kube/src/revisions.rs: a revision that is not there is an error that names those that are",
    ),
    (
        "deployed image is the image of the workload",
        "hub/kube/src/workloads.rs: an image is part of what is asked for, and none is made up",
    ),
    (
        "the same event delivered twice changes nothing the second time",
        "hub/core/tests/clusters.rs: a change is never made twice",
    ),
    (
        "deployment.created leads to status running",
        "hub/src/http/tests/kube.rs: what is seen at the cluster is shown",
    ),
    (
        "deployment.created with no cluster",
        "hub/core/tests/clusters.rs: a cluster that nobody knows is refused",
    ),
    (
        "a plan whose decision cannot be executed is reported failed",
        "hub/core/tests/at_cluster: the cluster is not registered",
    ),
    (
        "the plan it submits is accepted by the hub",
        "wire/inframind/tests/reference.rs: a brain needs no word in an enum",
    ),
    (
        "the outcome reported is the result of the execution",
        "testbed/e2e/tests/loop_closed.rs: the label follows from the readings",
    ),
    (
        "the kept batch is bounded",
        "hub/src/inframind/remote.rs: a cursor in the store instead of a buffer",
    ),
    (
        "connect to a dead endpoint gives up in bounded time and the adapter still starts",
        "wire/inframind/tests/link.rs: ten seconds, beside everything else",
    ),
    (
        "a brain decision becomes a plan decision: action->verb (default scale), target, params, ttl default 3600, safety",
        "wire/inframind/src/convert/tests.rs: the contract has verbs, and a step without one is refused instead of scaled",
    ),
    (
        "timestamps are sent as Unix milliseconds",
        "wire/inframind/src/convert.rs: a time is milliseconds everywhere",
    ),
    (
        "batch is sent at 1000 points or 30 s, whichever first",
        "hub/src/inframind/remote.rs: 1,000 points or five seconds",
    ),
    (
        "streaming plans while not connected is an error",
        "wire/inframind/src/client.rs: there is no client without a connection",
    ),
    (
        "connect failure leaves it disconnected and raises",
        "wire/inframind/tests/link.rs",
    ),
    (
        "empty batch is a success and sends nothing",
        "wire/inframind/tests/link.rs",
    ),
    (
        "a failed send keeps the batch for the next try",
        "wire/inframind/tests/link.rs: under the same ids, until acknowledged",
    ),
];
/// Two more of the adapter's, of one kind with the ones above.
const BATCHES: [&str; 1] = ["batch of two points is acknowledged with its count"];

/// What came of a plan.
#[derive(Debug, Default)]
struct Found {
    /// The nearest of the original's words.
    status: String,
    /// Why it was not taken, or why it is where it is.
    text: String,
    /// Changes that the cluster was asked for.
    changes: Vec<ClusterChange>,
    /// Verbs of the hub's entries of plans.
    told: Vec<String>,
    /// Steps that are done.
    done: usize,
    /// How it was before.
    replicas_before: u32,
    /// Whether a look without doing said that each step would run.
    would_run: Option<bool>,
}

/// A hub, and a cluster named `default` that does as it is told.
struct Rig {
    world: World,
    refuses: bool,
    replicas: u32,
    image: String,
    changes: Vec<ClusterChange>,
    mark: String,
}

impl Rig {
    fn new(given: &Value) -> Self {
        let mut world = World::new(0);
        world.tell(Input::Tick);
        let caller = Caller::new("admin", Via::Api);
        if given["k8s"] != Value::Null || given.get("k8s").is_none() {
            let what = ClusterRequest::Register(Cluster::new("default", None));
            world.request(Request::Clusters { caller, what });
        }
        world.settle();
        // Without an engine there is nobody who could judge.
        if given.get("policy_engine").is_none() {
            let most = given["policies"][0]["constraint"]["max_replicas"].as_u64();
            let rule = most.map_or_else(String::new, |most| {
                format!("rules:\n  - {{ id: most, kind: envelope, selector: {{ kinds: [scale] }}, max: {most} }}\n")
            });
            let kinds = "[scale, restart, update, rollback, cordon, uncordon, drain]";
            world.publish(&format!("bundle: o\npermits: [{{ kinds: {kinds} }}]\n{rule}"));
            world.settle();
        }
        world.kube.clear();
        Self {
            world,
            refuses: given["k8s"] == "raises",
            replicas: given["previous_replicas"].as_u64().map_or(2, |count| count as u32),
            image: "app:v1".to_owned(),
            changes: Vec::new(),
            mark: String::new(),
        }
    }

    fn submit(&mut self, steps: Vec<Step>) -> Result<(), String> {
        let draft = Draft {
            source: Source::Person {
                name: "admin".to_owned(),
            },
            tenant: String::new(),
            reason: "a case of the original".to_owned(),
            key: String::new(),
            correlation: String::new(),
            claim: None,
            steps,
            not_after: None,
        };
        let what = PlanAsk::Submit {
            id: PlanId([1; 16]),
            draft: Box::new(draft),
        };
        let caller = Caller::new("admin", Via::Api);
        let request = self.world.request(Request::Plan { caller, what });
        self.world.settle();
        match self.world.replies.get(&request).map(Vec::as_slice) {
            Some([Answer::Rejected { reason }]) => Err(reason.clone()),
            Some([Answer::Plan(_)]) => Ok(()),
            other => panic!("{other:?}"),
        }
    }

    fn record(&self) -> PlanRecord {
        let put = &self.world.store.documents[&("plan", PlanId([1; 16]).to_string())];
        decode_document(&put.id, put.record.as_deref().unwrap()).unwrap()
    }

    /// Until the plan is over, or until its first change was asked for.
    fn run(&mut self, to_first_change: bool) {
        for _ in 0..200 {
            if self.record().state.is_final() || to_first_change && !self.changes.is_empty() {
                return;
            }
            let effects = std::mem::take(&mut self.world.kube);
            if effects.is_empty() {
                self.world.advance(1_000);
            }
            for effect in effects {
                let told = match effect {
                    KubeEffect::Look { plan, step, what, .. } => KubeInput::Looked {
                        plan,
                        step,
                        standing: self.standing(&what),
                    },
                    KubeEffect::Change { id, what, .. } => {
                        let outcome = self.change(&id, &what);
                        KubeInput::Changed { id, outcome }
                    }
                    _ => continue,
                };
                self.world.tell(Input::Kube(told));
                self.world.settle();
            }
        }
        panic!("it does not end: {:?}", self.record());
    }

    fn standing(&self, what: &ClusterChange) -> Standing {
        match what {
            ClusterChange::Deployment { .. } => Standing::Deployment(DeploymentStanding {
                image: self.image.clone(),
                wanted: self.replicas,
                ready: self.replicas,
                revision: Some(1),
                is_settled: true,
                has_failed: false,
                mark: self.mark.clone(),
            }),
            ClusterChange::Node { .. } => Standing::Node(NodeStanding {
                is_cordoned: true,
                left: Vec::new(),
            }),
        }
    }

    fn change(&mut self, id: &str, what: &ClusterChange) -> ChangeOutcome {
        self.changes.push(what.clone());
        if self.refuses {
            return ChangeOutcome::Refused {
                reason: "the cluster failed".to_owned(),
            };
        }
        self.mark = id.to_owned();
        if let ClusterChange::Deployment { change, .. } = what {
            match change {
                DeploymentChange::Scale { replicas } => self.replicas = *replicas,
                DeploymentChange::SetImage { image } => self.image = image.clone(),
                _ => {}
            }
        }
        ChangeOutcome::Accepted {
            detail: "it is wanted".to_owned(),
        }
    }

    fn found(self) -> Found {
        let record = self.record();
        let entries = self.world.store.entries.iter().filter(|((of, _), _)| of.is_hub());
        let told = entries.flat_map(|(_, entries)| entries.values()).filter_map(|bytes| {
            match wire::codec::decode::<wire::Entry>(bytes).unwrap().body {
                EntryBody::Changed(change) => Some(change.verb),
                _ => None,
            }
        });
        let before = record.steps.iter().find_map(|step| match &step.was {
            Some(hub_core::Was::Deployment { replicas, .. }) => Some(*replicas),
            _ => None,
        });
        let done = record
            .steps
            .iter()
            .filter(|step| step.execution.state() == wire::StepState::Done);
        Found {
            status: if record.state == PlanState::Expired {
                "expired"
            } else {
                record.state.original_name()
            }
            .to_owned(),
            text: record.detail.clone(),
            done: done.count(),
            told: told.filter(|verb| verb.starts_with("plan.")).collect(),
            changes: self.changes,
            replicas_before: before.unwrap_or(0),
            would_run: None,
        }
    }
}

/// The steps of a case, as the HTTP API reads them.
fn steps(decisions: &Value) -> Result<Vec<Step>, String> {
    let texts = |fields: &Value| -> BTreeMap<String, String> {
        let all = fields.as_object().into_iter().flatten();
        all.map(|(key, value)| {
            (
                key.clone(),
                value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            )
        })
        .collect()
    };
    let read = |decision: &Value| {
        read_step(&DraftStep {
            verb: decision["verb"].as_str().unwrap().to_owned(),
            target: texts(&decision["target"]),
            params: texts(&decision["params"]),
            valid_for_ms: decision["ttl"].as_u64().unwrap_or(0) * 1_000,
            ..DraftStep::default()
        })
        .map_err(|problem| problem.to_string())
    };
    decisions.as_array().unwrap().iter().map(read).collect()
}

/// Plays a case.
fn play(case: &Value) -> Found {
    let (given, when) = (&case["given"], &case["when"]);
    let first = if when.is_array() { &when[0] } else { when };
    let mut decisions = ["execute", "shadow", "decisions"].iter().map(|key| &first[*key]);
    let scaled = serde_json::json!([{ "verb": "scale", "target": { "workload": "w" }, "params": { "replicas": 5 } }]);
    let decisions = decisions.find(|found| found.is_array()).unwrap_or(&scaled);
    let refused = |text: String| Found {
        status: "rejected".to_owned(),
        text,
        ..Found::default()
    };
    let steps = match steps(decisions) {
        Ok(steps) => steps,
        Err(text) => return refused(text),
    };
    let mut rig = Rig::new(given);
    if let Err(text) = rig.submit(steps) {
        return refused(text);
    }
    let mut would_run = None;
    if first.get("shadow").is_some() || case["area"] == "plan_executor.shadow" {
        let before = rig.record();
        let shadow = rig.world.hub.shadow_plan(&before, rig.world.now).unwrap();
        would_run = Some(shadow.runs);
        assert!(
            rig.changes.is_empty() && rig.record() == before,
            "looking changes nothing"
        );
        if !shadow.runs || !when.is_array() {
            return Found {
                would_run,
                ..rig.found()
            };
        }
    }
    if let Some(age) = given["plan_age_seconds"].as_u64() {
        rig.world.advance(age * 1_000);
        rig.world.settle();
    }
    rig.run(given["in_flight"] == true);
    Found {
        would_run,
        ..rig.found()
    }
}

/// Whether that is what is demanded; what differs otherwise.
fn compare(case: &Value, found: &Found) -> Result<(), String> {
    let expected = &case["expect"];
    let wrong = |what: &str| Err(format!("{what}: expected {expected}, found {found:?}"));
    let status = expected["publishes"]["status"].as_str().or(expected["status"].as_str());
    // What is simulated is not done, whatever the original's word for that.
    if let Some(status) = status.filter(|_| found.would_run.is_none() || case["when"].is_array())
        && status != found.status
    {
        return wrong("status");
    }
    if found.would_run == Some(true) && case["when"].is_array() && found.status != "completed" {
        return wrong("a plan that was looked at runs as before");
    }
    if let Some(calls) = expected["driver_calls"].as_u64()
        && calls != found.changes.len() as u64
    {
        return wrong("driver_calls");
    }
    if let Some(count) = expected["decisions_executed"].as_u64()
        && count != found.done as u64
    {
        return wrong("decisions_executed");
    }
    if let Some(would) = expected["results"][0]["would_execute"].as_bool()
        && Some(would) != found.would_run
    {
        return wrong("would_execute");
    }
    if let Some(before) = expected["results"][0]["previous_replicas"].as_u64()
        && before != u64::from(found.replicas_before)
    {
        return wrong("previous_replicas");
    }
    if let Some(events) = expected["plan_events"].as_array() {
        let failed = events.iter().any(|event| event == "action_plan.failed");
        let end = if failed { "plan.failed" } else { "plan.completed" };
        if found.told.last().map(String::as_str) != Some(end)
            || found.told.first().map(String::as_str) != Some("plan.submit")
        {
            return wrong("events");
        }
    }
    if let Some(part) = expected["error_contains"].as_str() {
        // Ours say which step, by number, and what in their own words.
        let part = match part {
            "Decision 1" => "step 1",
            "Unknown verb" => "is no verb",
            "policy" => "no bundle was published",
            "driver" => "not registered",
            other => other,
        };
        if !found.text.contains(part) {
            return wrong("error");
        }
    }
    Ok(())
}

#[test]
fn the_original_cases_of_plans_come_out_as_demanded_or_are_listed() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("data/original-plans.json")).unwrap();
    assert_eq!(cases.len(), 46);
    let mut played = 0;
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        if ELSEWHERE.iter().any(|(elsewhere, _)| *elsewhere == name) || BATCHES.contains(&name) {
            continue;
        }
        played += 1;
        let result = compare(case, &play(case));
        let listed = DIFFERENT.iter().find(|(different, _)| *different == name);
        match (result, listed) {
            (Ok(()), None) | (Err(_), Some(_)) => {}
            (Ok(()), Some((_, reason))) => panic!("{name} comes out as demanded, and is listed: {reason}"),
            (Err(text), None) => panic!("{}: {name}: {text}", case["area"]),
        }
    }
    assert_eq!(played, 27);
    let listed = DIFFERENT.iter().chain(&ELSEWHERE).map(|(name, _)| *name).chain(BATCHES);
    for name in listed {
        assert!(cases.iter().any(|case| case["name"] == name), "{name}");
    }
}
