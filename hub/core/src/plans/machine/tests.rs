//! Lives of plans as stories: each word is an event, each line what it led to.

use policy_execution::Event as StepEvent;
use wire::time::Wall;

use super::model::two_steps;
use super::*;

/// Runs a story over a plan that caps a GPU, then restarts a process; every change is stored at once.
#[track_caller]
fn check(story: &str, expected: &str) {
    let mut told = Told::new();
    for word in story.split(" | ") {
        told.word(word);
    }
    assert_eq!(told.log.join(" > "), expected);
}

struct Told {
    record: PlanRecord,
    now: Now,
    log: Vec<String>,
}

impl Told {
    fn new() -> Self {
        let now = Now {
            mono: Mono(1_000_000),
            wall: Wall(1_795_521_667_250),
        };
        let record = PlanRecord::new(two_steps(true), None, now);
        let mut told = Self {
            record,
            now,
            log: Vec::new(),
        };
        told.follow(Reaction::store());
        told
    }

    fn word(&mut self, word: &str) {
        let judged = |verdict, until| Judged {
            verdict,
            rule: "freeze".to_owned(),
            because: "said so".to_owned(),
            until,
            approvals: 1,
            roll_back: word.ends_with("rollback"),
        };
        let judge = |verdict, until| match self.record.state {
            PlanState::Leased => Event::StepJudged(judged(verdict, until)),
            _ => Event::Judged(judged(verdict, until)),
        };
        let who = || "ann".to_owned();
        let step = |event| Event::Step(event);
        let event = match word {
            "allow" => judge(Verdict::Allow, None),
            "hold" | "hold rollback" => judge(Verdict::Hold, Some(self.now.mono + Duration::from_secs(30))),
            "ask a person" => judge(Verdict::RequireApproval, None),
            "deny" => judge(Verdict::Deny, None),
            "reach" => Event::Reachable,
            "done" => step(StepEvent::Answered(Answer::Done)),
            "not done" => step(StepEvent::Answered(Answer::NotDone)),
            "seen" => step(StepEvent::Seen(true)),
            "not seen" => step(StepEvent::Seen(false)),
            "undone" => step(StepEvent::UndoAnswered(Answer::Done)),
            "approve" => Event::Approved { who: who() },
            "cancel" => Event::Cancel {
                who: who(),
                reason: "wrong GPU".to_owned(),
            },
            "crash" => Event::Recovered,
            "due" => {
                self.now.mono = self.record.next_due().expect("it is not over");
                Event::Due
            }
            other => panic!("no word `{other}`"),
        };
        let reaction = self.record.handle(event, self.now);
        self.follow(reaction);
    }

    fn follow(&mut self, reaction: Reaction) {
        self.log.extend(reaction.entered.map(|state| state.name().to_owned()));
        for want in &reaction.wants {
            self.log.push(match want {
                Want::Judge => "judge?".to_owned(),
                Want::JudgeStep(index) => format!("judge step {index}?"),
                Want::Reach => "reach?".to_owned(),
                Want::Task(index, Task::Act { .. }) => format!("act {index}"),
                Want::Task(index, Task::Undo { .. }) => format!("undo {index}"),
                Want::Task(index, Task::Probe) => format!("probe {index}"),
                Want::Task(index, Task::ProbeUndo) => format!("probe undo {index}"),
                Want::Task(index, Task::Look) => format!("look {index}"),
            });
        }
        if reaction.store {
            let reaction = self.record.stored(self.record.revision(), self.now);
            self.follow(reaction);
        }
    }
}

#[test]
fn a_plan_runs_step_by_step_and_each_step_is_judged_anew() {
    check(
        "allow | reach | allow | done | seen | allow | done",
        "judge? > decided > scheduled > reach? > leased > judge step 0? > executing > act 0 > verifying > look 0 > \
         leased > judge step 1? > executing > act 1 > completed",
    );
}

#[test]
fn an_effect_that_is_not_seen_takes_the_plan_back() {
    check(
        "allow | reach | allow | done | not seen | undone",
        "judge? > decided > scheduled > reach? > leased > judge step 0? > executing > act 0 > verifying > look 0 > \
         rolling_back > undo 0 > rolled_back",
    );
}

#[test]
fn a_freeze_that_begins_between_two_steps_pauses_or_takes_back_as_it_says() {
    let first = "judge? > decided > scheduled > reach? > leased > judge step 0? > executing > act 0 > verifying > look 0 > \
                 leased > judge step 1?";
    check(
        "allow | reach | allow | done | seen | hold | due | allow | reach | allow | done",
        &format!(
            "{first} > held > judge? > scheduled > reach? > leased > judge step 1? > executing > act 1 > completed"
        ),
    );
    check(
        "allow | reach | allow | done | seen | hold rollback | undone",
        &format!("{first} > rolling_back > undo 0 > rolled_back"),
    );
}

#[test]
fn an_intent_without_an_answer_is_probed_after_a_restart() {
    check(
        "allow | reach | allow | crash | done | seen | allow | crash | due",
        "judge? > decided > scheduled > reach? > leased > judge step 0? > executing > act 0 > probe 0 > verifying > look 0 > \
         leased > judge step 1? > executing > act 1 > probe 1 > rolling_back > undo 0",
    );
}

#[test]
fn a_person_approves_once_and_the_plan_runs_in_their_name() {
    let mut told = Told::new();
    for word in ["ask a person", "approve", "approve"] {
        told.word(word);
    }
    assert_eq!(
        told.log.join(" > "),
        "judge? > decided > awaiting_approval > scheduled > reach?"
    );
    assert_eq!(told.record.runs_as(), (false, "ann".to_owned()));
}

#[test]
fn a_plan_that_nobody_approves_or_reaches_expires() {
    check("ask a person | due", "judge? > decided > awaiting_approval > expired");
    check("allow | due", "judge? > decided > scheduled > reach? > expired");
    check("deny", "judge? > decided > rejected");
    check("due", "judge? > rejected");
}

#[test]
fn what_is_under_way_is_taken_back_when_it_is_cancelled() {
    check(
        "allow | reach | allow | cancel | done | undone",
        "judge? > decided > scheduled > reach? > leased > judge step 0? > executing > act 0 > rolling_back > undo 0 > \
         rolled_back",
    );
    check("allow | cancel", "judge? > decided > scheduled > reach? > cancelled");
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let told = Told::new();
    let bytes = wire::codec::encode(&told.record);
    assert_eq!(wire::codec::decode::<PlanRecord>(&bytes).as_ref(), Ok(&told.record));
}
