//! Stories about one GPU, and the promise that no story breaks a bound.

use proptest::prelude::*;
use wire::codec;

use super::*;

fn at(seconds: u64) -> Mono {
    Mono(seconds * 1_000)
}

/// Tells a story about one GPU, and returns the steps that were asked for.
///
/// `see RESET` a fault that demands it, `works`/`fails` the step, `well`, `wait N` seconds, `hold`/`release`, `use`/`idle`, `crash`,
/// `clear`.
fn story(text: &str) -> String {
    let (mut ladder, mut now, mut held, mut idle) = (Ladder::default(), at(1_000), false, true);
    let device = DeviceId::gpu(0);
    let mut steps = Vec::new();
    for word in text.split(" | ") {
        match word.split_once(' ').unwrap_or((word, "")) {
            ("see", what) => {
                let (code, next) = what.split_once(' ').expect("a code and a demand");
                ladder.saw(&device, code, demand(step(next), None), now);
            }
            ("driver", what) => {
                ladder.saw(&device, "d", demand(NextStep::Inspect, Some(step(what))), now);
            }
            ("refuse", _) => ladder.refused(&device, now + Duration::from_secs(900)),
            ("works", _) => ladder.done(&device, true, now),
            ("fails", _) => ladder.done(&device, false, now),
            ("well", _) => ladder.well(&device, now),
            ("wait", seconds) => now = now + Duration::from_secs(seconds.parse().expect("a number")),
            ("hold", _) => held = true,
            ("release", _) => held = false,
            ("use", _) => idle = false,
            ("idle", _) => idle = true,
            ("clear", _) => ladder.clear(),
            ("crash", _) => {
                ladder = codec::decode(&codec::encode(&ladder)).expect("what was written");
                ladder.resumed(now);
            }
            (other, _) => panic!("{other}"),
        }
        ladder.look(now);
        while let Some(step) = ladder.next(held, |_| idle, now) {
            steps.push(step.rung.name());
        }
    }
    let end = ladder.phase(&device).map(|(_, phase)| match phase {
        Phase::Wanted => "wanted",
        Phase::Refused(_) => "refused",
        Phase::Asked => "asked",
        Phase::Verifying(_) => "verifying",
        Phase::Watched(_) => "watched",
        Phase::Probation(_) => "probation",
        Phase::Quarantined => "quarantined",
    });
    format!("{}; {}", steps.join(", "), end.unwrap_or("good"))
}

fn step(name: &str) -> NextStep {
    match name {
        "reset" => NextStep::DrainAndReset,
        "reboot" => NextStep::DrainAndReboot,
        "restart" => NextStep::RestartWork,
        "idle" => NextStep::ResetWhenIdle,
        "ask" => NextStep::AskPerson,
        "inspect" => NextStep::Inspect,
        "record" => NextStep::Record,
        other => panic!("{other}"),
    }
}

fn check(text: &str, expected: &str) {
    assert_eq!(story(text), expected, "{text}");
}

#[test]
fn a_step_that_helps_ends_after_probation() {
    check("see 95 reset | works | well | wait 601", "drain and reset; good");
    check("see 95 reset | works | well | wait 599", "drain and reset; probation");
    check("see 16 record", "; good");
    check("see 999 ask | works | wait 901", "keep work away; good");
}

#[test]
fn what_does_not_help_goes_one_rung_higher() {
    check(
        "see 95 reset | fails",
        "drain and reset, drain and restart the machine; asked",
    );
    check(
        "see 95 reset | works | wait 901",
        "drain and reset, drain and restart the machine; asked",
    );
    check(
        "see 95 reset | works | well | see 95 reset",
        "drain and reset, drain and restart the machine; asked",
    );
    check(
        "see 79 reboot | fails",
        "drain and restart the machine, quarantine; quarantined",
    );
}

#[test]
fn the_same_fault_within_a_day_is_answered_one_rung_higher() {
    let cured = "see 13 restart | works | well | wait 700";
    check(
        &format!("{cured} | see 13 restart"),
        "restart its work, drain and reset; asked",
    );
    check(
        &format!("{cured} | see 31 restart"),
        "restart its work, restart its work; asked",
    );
    check(
        &format!("{cured} | wait 86400 | see 13 restart"),
        "restart its work, restart its work; asked",
    );
}

#[test]
fn bounds_hold_over_crashes_and_a_person_alone_ends_a_quarantine() {
    let reset = "see 1 reset | works | well | wait 700 | crash";
    let other = "see 2 reset | works | well | wait 700 | crash";
    let third = "see 3 reset | works | well | wait 700 | crash";
    let fourth = "see 4 reset | works | well | wait 700 | crash";
    let four = format!("{reset} | {other} | {third} | {fourth}");
    let steps = "drain and reset, drain and reset, drain and restart the machine, drain and restart the machine";
    check(&four, &format!("{steps}; good"));
    check(
        &format!("{four} | see 5 reset | well | wait 90000"),
        &format!("{steps}, quarantine; quarantined"),
    );
    check(
        &format!("{four} | see 5 reset | clear | see 6 reset"),
        &format!("{steps}, quarantine, drain and reset; asked"),
    );
}

#[test]
fn nothing_that_stops_work_happens_while_a_person_holds_the_node() {
    check("hold | see 95 reset", "; wanted");
    check("hold | see 95 reset | release", "drain and reset; asked");
    check("hold | see 999 ask", "keep work away; asked");
    check("hold | see 95 reset | well", "; good");
}

#[test]
fn what_policy_refuses_is_not_counted_and_asked_for_again() {
    let refused = "see 95 reset | refuse | wait 901 | refuse | wait 901 | refuse";
    check(refused, "drain and reset, drain and reset, drain and reset; refused");
    check("see 95 reset | refuse | well", "drain and reset; good");
}

#[test]
fn a_reset_that_can_wait_waits_until_nobody_uses_the_device() {
    check("use | see 63 idle | wait 500", "; wanted");
    check("use | see 63 idle | idle", "drain and reset; asked");
    check("use | see 63 idle | see 95 reset", "drain and reset; asked");
}

#[test]
fn the_driver_says_which_step_and_the_catalogue_whether_to_trust_it_afterwards() {
    check(
        "driver reset | works | well",
        "drain and reset, quarantine; quarantined",
    );
    let said = |catalogue, driver| demand(step(catalogue), driver);
    assert_eq!(said("reset", Some(NextStep::DrainAndReboot)).rung, Some(Rung::Reboot));
    assert!(said("reset", Some(NextStep::DrainAndReboot)).disagree);
    assert!(!said("reset", Some(NextStep::DrainAndReset)).disagree);
    assert_eq!(demand(NextStep::FollowDriver, None).rung, Some(Rung::KeepAway));
    assert!(!demand(NextStep::FollowDriver, Some(NextStep::DrainAndReset)).disagree);
}

#[test]
fn a_crash_in_the_middle_repeats_nothing() {
    check("see 95 reset | crash", "drain and reset; verifying");
    check("see 95 reset | crash | well | wait 700", "drain and reset; good");
}

#[test]
fn what_is_left_and_where_it_stands_is_told_in_numbers() {
    let (mut ladder, gpu) = (Ladder::default(), DeviceId::gpu(0));
    assert_eq!(ladder.left(&gpu, at(0)), Left::ALL);
    assert_eq!(ladder.standing(at(0)), []);
    let told = |ladder: &Ladder, seconds| {
        let standing = ladder.standing(at(seconds));
        let case = standing[0].case.as_ref();
        let case = case.map_or("none".to_owned(), |(code, rung, phase)| {
            let until = phase.until().map_or(0, |until| until.since(at(seconds)).as_secs());
            format!("{code} {} {} {until}", rung.name(), phase.name())
        });
        let left = standing[0].left;
        format!("{case}; {} {} {}", left.resets, left.reboots, left.steps)
    };
    ladder.saw(&gpu, "xid 95", demand(NextStep::DrainAndReset, None), at(0));
    assert_eq!(told(&ladder, 0), "xid 95 drain and reset wanted 0; 2 2 5");
    assert!(ladder.next(false, |_| true, at(0)).is_some());
    ladder.done(&gpu, true, at(10));
    assert_eq!(told(&ladder, 10), "xid 95 drain and reset verifying 900; 1 2 4");
    ladder.well(&gpu, at(70));
    assert_eq!(told(&ladder, 170), "xid 95 drain and reset probation 500; 1 2 4");
    drop(ladder.look(at(700)));
    assert_eq!(told(&ladder, 700), "none; 1 2 4");
    assert_eq!(told(&ladder, 90_000), "none; 2 2 4", "a day later");
    assert_eq!(
        ladder.standing(at(90_000))[0].taken,
        [(Rung::Restart, 0), (Rung::Reset, 1), (Rung::Reboot, 0)]
    );
}

#[test]
fn a_device_that_joins_a_step_counts_it_too() {
    let (mut ladder, gpus) = (Ladder::default(), [DeviceId::gpu(0), DeviceId::gpu(1)]);
    for gpu in &gpus {
        ladder.saw(gpu, "xid 13", demand(NextStep::RestartWork, None), at(0));
    }
    assert_eq!(
        ladder.next(false, |_| true, at(0)).map(|step| step.device),
        Some(gpus[0].clone())
    );
    assert_eq!(ladder.wanted(Rung::Restart), gpus[1..]);
    ladder.join(&gpus[1], at(0));
    gpus.iter().for_each(|gpu| ladder.done(gpu, true, at(5)));
    assert!(ladder.next(false, |_| true, at(5)).is_none());
    assert_eq!(ladder.left(&gpus[1], at(5)).steps, STEPS_A_WEEK - 1);
}

#[derive(Debug, Clone)]
enum Told {
    Saw(u32, u8, u8),
    Done(u32, bool),
    Well(u32),
    Wait(u64),
    Hold(bool),
    Idle(bool),
    Crash,
}

fn told() -> impl Strategy<Value = Told> {
    prop_oneof![
        4 => (0..3u32, 0..4u8, 0..7u8).prop_map(|(device, code, next)| Told::Saw(device, code, next)),
        4 => (0..3u32, any::<bool>()).prop_map(|(device, worked)| Told::Done(device, worked)),
        3 => (0..3u32).prop_map(Told::Well),
        3 => prop_oneof![1..1_000u64, 10_000..90_000u64, 500_000..700_000u64].prop_map(Told::Wait),
        1 => any::<bool>().prop_map(Told::Hold),
        1 => any::<bool>().prop_map(Told::Idle),
        1 => Just(Told::Crash),
    ]
}

const NEXT: [&str; 7] = ["reset", "reboot", "restart", "idle", "ask", "inspect", "record"];

proptest! {
    #[test]
    fn no_story_breaks_a_bound(story in proptest::collection::vec(told(), 0..300)) {
        let (mut ladder, mut now, mut held, mut idle) = (Ladder::default(), at(0), false, true);
        let mut steps: Vec<(DeviceId, Rung, Mono)> = Vec::new();
        for told in story {
            match told {
                Told::Saw(device, code, next) => {
                    let demand = demand(step(NEXT[usize::from(next)]), None);
                    ladder.saw(&DeviceId::gpu(device), &code.to_string(), demand, now);
                }
                Told::Done(device, worked) => ladder.done(&DeviceId::gpu(device), worked, now),
                Told::Well(device) => ladder.well(&DeviceId::gpu(device), now),
                Told::Wait(seconds) => now = now + Duration::from_secs(seconds),
                Told::Hold(is) => held = is,
                Told::Idle(is) => idle = is,
                Told::Crash => {
                    ladder = codec::decode(&codec::encode(&ladder)).expect("what was written");
                    ladder.resumed(now);
                }
            }
            drop(ladder.look(now));
            while let Some(step) = ladder.next(held, |_| idle, now) {
                prop_assert!(!(held && step.rung.stops_work()), "{step:?} while held");
                steps.push((step.device, step.rung, now));
            }
            let under_way = (0..3).filter(|gpu| matches!(
                ladder.phase(&DeviceId::gpu(*gpu)),
                Some((rung, Phase::Asked)) if rung.stops_work()
            ));
            prop_assert!(under_way.count() <= 1);
        }
        for (device, _, end) in &steps {
            let within = |span: Duration, is: &dyn Fn(Rung) -> bool| steps
                .iter()
                .filter(|(of, rung, at)| of == device && is(*rung) && at <= end && end.since(*at) < span)
                .count();
            prop_assert!(within(AGAIN, &|rung| rung == Rung::Reset) <= RESETS_A_DAY);
            prop_assert!(within(AGAIN, &|rung| rung == Rung::Reboot) <= REBOOTS_A_DAY);
            prop_assert!(within(WEEK, &Rung::stops_work) <= STEPS_A_WEEK);
        }
        for gpu in 0..3 {
            let device = DeviceId::gpu(gpu);
            let quarantined = steps.iter().position(|(of, rung, _)| *of == device && *rung == Rung::Quarantine);
            let after = quarantined.map_or(0, |at| steps[at + 1..].iter().filter(|(of, ..)| *of == device).count());
            prop_assert_eq!(after, 0, "a step after a quarantine");
        }
    }
}
