//! Rollouts as version 1 of their documents had them: before routes, queries and kept analyses.

use serde::{Deserialize, Serialize};
use wire::kube::DeploymentRef;
use wire::time::Wall;

use super::facts::Change;
use super::machine::{Rollout, Start};
use super::phase::Phase;
use super::record::RolloutRecord;
use super::spec::{Analysis, Deadlines, RolloutSpec, Step, Traffic};

#[derive(Serialize, Deserialize)]
struct Analysis1 {
    fresh_baseline: bool,
    check_every_ms: u64,
    min_health_bp: u32,
    max_failures: u32,
    no_data_deadline_ms: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Spec1 {
    image: String,
    traffic: Traffic,
    steps: Vec<Step>,
    analysis: Analysis1,
    deadlines: Deadlines,
}

#[derive(Serialize, Deserialize)]
struct Rollout1 {
    spec: Spec1,
    start: Start,
    phase: Phase,
    step: usize,
    since_ms: i64,
    deadline_ms: i64,
    why: String,
    failures: u32,
    extended: bool,
    next_check_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct Record1 {
    id: String,
    target: DeploymentRef,
    rollout: Rollout1,
    asked: Vec<Change>,
    ready: u32,
    started_by: String,
    started_at: Wall,
}

/// Reads one; `None` for bytes that are none.
pub(super) fn read(bytes: &[u8]) -> Option<RolloutRecord> {
    let record: Record1 = wire::codec::decode(bytes).ok()?;
    let Record1 {
        id,
        target,
        rollout,
        asked,
        ready,
        started_by,
        started_at,
    } = record;
    let Spec1 {
        image,
        traffic,
        steps,
        analysis,
        deadlines,
    } = rollout.spec;
    let analysis = Analysis {
        fresh_baseline: analysis.fresh_baseline,
        check_every_ms: analysis.check_every_ms,
        min_health_bp: analysis.min_health_bp,
        max_failures: analysis.max_failures,
        no_data_deadline_ms: analysis.no_data_deadline_ms,
        ..Analysis::default()
    };
    let spec = RolloutSpec {
        image,
        traffic,
        route: None,
        steps,
        analysis,
        deadlines,
    };
    let rollout = Rollout {
        spec,
        start: rollout.start,
        phase: rollout.phase,
        step: rollout.step,
        since_ms: rollout.since_ms,
        deadline_ms: rollout.deadline_ms,
        why: rollout.why,
        failures: rollout.failures,
        extended: rollout.extended,
        next_check_ms: rollout.next_check_ms,
    };
    Some(RolloutRecord {
        id,
        target,
        rollout,
        asked,
        ready,
        started_by,
        started_at,
        analysis: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rollouts_of_version_1_are_read() {
        let spec = Spec1 {
            image: "web:2".to_owned(),
            traffic: Traffic::Replicas,
            steps: RolloutSpec::canary("web:2", 10, 45, 60_000).steps,
            analysis: Analysis1 {
                fresh_baseline: true,
                check_every_ms: 30_000,
                min_health_bp: 8_000,
                max_failures: 2,
                no_data_deadline_ms: None,
            },
            deadlines: Deadlines::default(),
        };
        let rollout = Rollout1 {
            spec,
            start: Start {
                image: "web:1".to_owned(),
                replicas: 7,
            },
            phase: Phase::Analysing,
            step: 1,
            since_ms: 5,
            deadline_ms: 9,
            why: "the step is there".to_owned(),
            failures: 1,
            extended: false,
            next_check_ms: 6,
        };
        let record = Record1 {
            id: "r1".to_owned(),
            target: "demo/default/web".parse().expect("three names"),
            rollout,
            asked: Vec::new(),
            ready: 7,
            started_by: "ann".to_owned(),
            started_at: Wall(1),
        };
        let read = read(&wire::codec::encode(&record)).expect("it is of version 1");
        assert_eq!(read.rollout.spec, RolloutSpec::canary("web:2", 10, 45, 60_000));
        assert_eq!((read.rollout.step(), read.rollout.phase()), (1, &Phase::Analysing));
    }
}
