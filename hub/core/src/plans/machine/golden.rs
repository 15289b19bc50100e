//! The bytes of every layout of the documents of plans, as they were first written: a store that holds them is read for ever.
//!
//! Each file in `golden/` is a document of the kind and version that its name says, in hex. A change here is a new version with a
//! migration, never a new golden file.

use policy_trust::{Censored, Seen, Tier};
use wire::ids::CommandId;
use wire::plan::{Observation, Plan, Safety};
use wire::time::Wall;
use wire::{AgentId, Epoch, Seq};

use super::model::two_steps;
use super::*;
use crate::clusters::Was;
use crate::documents::{Document, decode, encode};
use crate::plans::{BrainRecord, PaceRecord};

macro_rules! golden {
    ($name:literal) => {
        ($name, include_str!(concat!("golden/", $name, ".hex")))
    };
}

type File = (&'static str, &'static str);

fn bytes_of((name, text): File) -> Vec<u8> {
    let digits: Vec<u8> = text.lines().flat_map(|line| line.trim().bytes()).collect();
    let pair = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(text, 16).ok()
    };
    let bytes = digits
        .chunks(2)
        .map(|digits| pair(digits).unwrap_or_else(|| panic!("{name}: {digits:?}")));
    bytes.collect()
}

fn hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    bytes.chunks(48).map(line).collect()
}

/// A document of the present version reads from its golden bytes, and writes them again.
fn check<D: Document + PartialEq + std::fmt::Debug>(file: File, document: &D) {
    let bytes = encode(document);
    assert!(bytes == bytes_of(file), "golden/{}.hex is not\n{}", file.0, hex(&bytes));
    assert_eq!(decode::<D>(&document.id(), &bytes_of(file)).as_ref(), Ok(document));
}

const NOW: Now = Now {
    mono: Mono(1_000_000),
    wall: Wall(1_795_521_667_250),
};

/// A plan with a value in every field, taken back by a person while its effect was looked for.
fn plan() -> PlanRecord {
    let mut plan = Plan {
        tenant: "lab".to_owned(),
        correlation: "c-1".to_owned(),
        ..two_steps(true)
    };
    plan.steps[1].safety = Some(Safety {
        limit: 2,
        window_ms: 60_000,
    });
    let decision = |seq| DecisionId {
        agent: AgentId::new("edge-03").expect("a name"),
        epoch: Epoch(4),
        seq: Seq(seq),
    };
    let mut record = PlanRecord::new(plan, Some(PlanId([7; 16])), NOW);
    let step = &mut record.steps[0];
    for event in [
        StepEvent::Begin,
        StepEvent::Stored { revision: 1 },
        StepEvent::Answered(Answer::Done),
        StepEvent::Undo,
    ] {
        let _ = step.execution.handle(event, NOW.mono);
    }
    (step.command, step.undo_command) = (Some(CommandId([1; 16])), Some(CommandId([2; 16])));
    (step.decision, step.before) = (Some(decision(18)), Some(91_000));
    step.observed = Some(Observation {
        before: 91_000,
        after: 90_500,
        is_met: false,
    });
    "applied".clone_into(&mut step.detail);
    step.was = Some(Was::Deployment {
        image: "train:1".to_owned(),
        replicas: 3,
        revision: Some(12),
    });
    record.state = PlanState::RollingBack;
    "cancelled by ana: too late".clone_into(&mut record.detail);
    record.approved_by = vec!["ana".to_owned(), "bo".to_owned()];
    record.approvals_needed = 2;
    record.deadline = record.step_deadline();
    record.wake = Some(Mono(1_060_000));
    record.judged = Some(Judged {
        verdict: Verdict::RequireApproval,
        rule: "two-persons".to_owned(),
        because: "step 1: two persons".to_owned(),
        until: Some(Mono(2_000_000)),
        approvals: 2,
        roll_back: true,
    });
    (record.leases, record.revision) = (1, 9);
    record.called_off = true;
    record.interfered = Some(decision(21));
    record
}

#[test]
fn a_plan_reads_and_writes_as_ever() {
    check(golden!("plan-2"), &plan());
}

#[test]
fn a_plan_of_version_1_is_read() {
    let mut known = PlanRecord {
        called_off: false,
        interfered: None,
        ..plan()
    };
    known.steps[0].was = None;
    assert_eq!(
        decode(&known.plan.id.to_string(), &bytes_of(golden!("plan-1"))),
        Ok(known)
    );
}

#[test]
fn a_plan_of_no_known_version_is_refused() {
    let mut bytes = bytes_of(golden!("plan-2"));
    for version in [0, 3, u8::MAX] {
        bytes[0] = version;
        assert!(decode::<PlanRecord>("p", &bytes).is_err(), "{version}");
    }
}

#[test]
fn what_is_known_of_a_brain_reads_and_writes_as_ever() {
    let now_ms = u64::try_from(NOW.wall.0).expect("after 1970");
    let mut record = policy_trust::Record::new("3", now_ms);
    let _ = record.grant(Tier::T2, "ana", now_ms + 1);
    for (claim_bp, seen, harmful) in [
        (9_000, Seen::CameTrue, false),
        (6_500, Seen::Failed, true),
        (7_000, Seen::Censored(Censored::NotRun), false),
    ] {
        let _ = record.outcome(claim_bp, seen, harmful, now_ms + 2);
    }
    let document = BrainRecord {
        brain: "embedded".to_owned(),
        verb: "power_cap".to_owned(),
        record,
    };
    check(golden!("brain-1"), &document);
}

#[test]
fn how_often_steps_began_reads_and_writes_as_ever() {
    check(
        golden!("pace-1"),
        &PaceRecord::of("power_cap:edge-03/gpu0", &[Mono(5), Mono(70_000)], 60_000),
    );
}
