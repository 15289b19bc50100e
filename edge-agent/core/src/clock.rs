//! Watches the wall clock against the monotonic one, and against the hub's.
//!
//! Decides only what to call it, and by how much it may differ from the hub's. Nothing is ordered, budgeted or expired by the wall
//! clock, here or elsewhere; calendars of rules look at it, and how wide is theirs to decide (`policy/src/kind/freeze.rs`).
//!
//! The hub's clock is read at some moment between a question and its answer. From then on the monotonic clock tells where it must
//! stand, so that a step of our own clock shows at once, also offline. Of several comparisons the best one counts, as long as the
//! newest one does not contradict it: then the hub's clock was moved, and the newest counts alone. Who of the two is right nobody
//! here can know: a hub whose clock is wrong makes the error as large as the difference, and so every freeze longer and every
//! maintenance window shorter, never the other way round. A comparison of before the start of this process does not count.
//!
//! Invariants: a step is reported if and only if the two clocks moved apart by more than [`STEP_MS`] between two looks; a hub's
//! clock that is not moved, and drifts by no more than [`DRIFT_PPM`] against our monotonic one, is within [`Clock::error_ms`] of
//! our wall clock, however slow the network.

use wire::time::{ClockState, Mono, Now, Wall};

/// Apart by more than this between two looks is a step; less is what NTP slews and what a busy machine delays.
pub(crate) const STEP_MS: i64 = 2_000;
/// By how much two machines' clocks drift apart: 8.6 s a day. Source: D. L. Mills, Computer Network Time Synchronization, 16:
/// among some 20,000 hosts the median error of an uncorrected quartz was 78 ppm.
const DRIFT_PPM: u64 = 100;
/// Clocks that are less apart are not told apart by a floor, but by [`Clock::error_ms`].
const FLOOR_SLACK_MS: i64 = 3_600_000;
/// All times are cut off to whole milliseconds: two of ours on the way to a bound, and the wall clock's own.
const ROUNDING_MS: i64 = 2;

/// What an answer said of the hub's clock.
#[derive(Debug, Clone, Copy)]
struct Comparison {
    /// When the question began its way.
    asked: Mono,
    /// When the answer was there.
    heard: Mono,
    /// Where the hub's clock stood at some moment between.
    hub: Wall,
}

impl Comparison {
    /// Between which times the hub's clock stands now.
    fn bounds(&self, now: Mono) -> (i64, i64) {
        let since = |then: Mono| {
            let elapsed_ms = now.0.saturating_sub(then.0);
            (
                as_number(elapsed_ms),
                as_number(elapsed_ms / 1_000_000 * DRIFT_PPM + elapsed_ms % 1_000_000 * DRIFT_PPM / 1_000_000 + 1),
            )
        };
        let ((least, slow), (most, fast)) = (since(self.heard), since(self.asked));
        (
            self.hub.0.saturating_add(least).saturating_sub(slow + ROUNDING_MS),
            self.hub.0.saturating_add(most).saturating_add(fast + ROUNDING_MS),
        )
    }
}

#[derive(Debug)]
pub(crate) struct Clock {
    /// Wall minus mono, at the last look.
    offset_ms: i64,
    floor: Wall,
    stepped: bool,
    behind: bool,
    /// The best comparison with a hub since the start.
    best: Option<Comparison>,
}

impl Clock {
    pub(crate) fn new(now: Now, floor: Wall) -> Self {
        Self {
            offset_ms: offset(now),
            floor,
            stepped: false,
            behind: now.wall < floor,
            best: None,
        }
    }

    /// Looks at the clocks. Returns by how much the wall clock stepped since the last look, if it did.
    pub(crate) fn look(&mut self, now: Now) -> Option<i64> {
        let offset_ms = offset(now);
        let by_ms = offset_ms.saturating_sub(self.offset_ms);
        self.offset_ms = offset_ms;
        self.behind = now.wall < self.floor;
        if by_ms.unsigned_abs() <= STEP_MS.unsigned_abs() {
            return None;
        }
        self.stepped = true;
        Some(by_ms)
    }

    /// A hub answered what time it is: its clock stood at `hub` at some moment between the question and now. Returns whether the floor
    /// was found wrong: an earlier word of a hub whose clock ran ahead.
    pub(crate) fn compare(&mut self, asked: Mono, hub: Wall, now: Now) -> bool {
        let floor = Wall(hub.0.saturating_sub(FLOOR_SLACK_MS));
        let was_wrong = floor < self.floor;
        self.floor = self.floor.min(floor);
        self.behind = now.wall < self.floor;
        let heard = now.mono;
        let newest = Comparison { asked, heard, hub };
        let (low, high) = newest.bounds(heard);
        let is_better = |known: &Comparison| {
            let (known_low, known_high) = known.bounds(heard);
            let agrees = known_low <= high && low <= known_high;
            agrees && known_high.saturating_sub(known_low) <= high.saturating_sub(low)
        };
        if !self.best.as_ref().is_some_and(is_better) {
            self.best = Some(newest);
        }
        was_wrong
    }

    /// By how much the wall clock may differ from the hub's; `None`: it was compared with none since the start.
    pub(crate) fn error_ms(&self, now: Now) -> Option<u64> {
        let (low, high) = self.best?.bounds(now.mono);
        let ahead = now.wall.0.saturating_sub(low);
        let behind = high.saturating_sub(now.wall.0);
        Some(ahead.max(behind).unsigned_abs())
    }

    /// The wall clock, or the floor where it stands below.
    pub(crate) fn best(&self, now: Now) -> Wall {
        now.wall.max(self.floor)
    }

    pub(crate) fn state(&self) -> ClockState {
        match (self.behind, self.stepped) {
            (true, _) => ClockState::BehindFloor,
            (false, true) => ClockState::Stepped,
            (false, false) => ClockState::Steady,
        }
    }
}

fn offset(now: Now) -> i64 {
    now.wall.0.saturating_sub(as_number(now.mono.0))
}

fn as_number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use wire::entry::EntryBody;
    use wire::frame::{Frame, HubTime, Welcome};
    use wire::ids::{HubEpoch, Seq};
    use wire::{BundleRef, Decision};

    use super::*;
    use crate::Input;
    use crate::testing::{BUNDLE, Rig};

    fn check(looks: &[(u64, i64)], expected: &[Option<i64>], state: ClockState) {
        let at = |&(mono, wall): &(u64, i64)| Now {
            mono: Mono(mono),
            wall: Wall(wall),
        };
        let mut clock = Clock::new(at(&looks[0]), Wall(500));
        let found: Vec<_> = looks[1..].iter().map(|look| clock.look(at(look))).collect();
        assert_eq!(found, expected);
        assert_eq!(clock.state(), state);
    }

    #[test]
    fn a_clock_that_keeps_pace_is_steady() {
        check(
            &[(0, 1_000), (1_000, 2_000), (2_000, 5_000)],
            &[None, None],
            ClockState::Steady,
        );
    }

    #[test]
    fn a_jump_of_years_is_one_step_either_way() {
        let year = 31_536_000_000;
        check(
            &[(0, 1_000), (1_000, year), (2_000, year + 1_000)],
            &[Some(year - 2_000), None],
            ClockState::Stepped,
        );
        check(&[(0, 100_000), (1_000, 50_000)], &[Some(-51_000)], ClockState::Stepped);
    }

    #[test]
    fn before_the_floor_it_is_certainly_wrong_until_it_is_not() {
        check(&[(0, 0), (100, 100)], &[None], ClockState::BehindFloor);
        check(&[(0, 0), (600, 600)], &[None], ClockState::Steady);
    }

    #[test]
    fn clocks_at_the_end_of_their_range_do_not_overflow() {
        check(
            &[(u64::MAX, i64::MIN), (u64::MAX, i64::MAX)],
            &[Some(i64::MAX)],
            ClockState::Stepped,
        );
    }

    #[test]
    fn a_floor_of_a_hub_that_ran_ahead_yields_to_the_hub_that_is_there() {
        let (year, day) = (31_536_000_000, 86_400_000);
        let at = |wall| Now {
            mono: Mono(0),
            wall: Wall(wall),
        };
        let mut clock = Clock::new(at(day), Wall(year));
        assert_eq!(
            (clock.state(), clock.best(at(day))),
            (ClockState::BehindFloor, Wall(year))
        );
        assert!(clock.compare(Mono(0), Wall(day), at(day)));
        assert_eq!((clock.state(), clock.best(at(day))), (ClockState::Steady, Wall(day)));
        // A hub that is later, or about there, changes nothing.
        assert!(!clock.compare(Mono(0), Wall(day + 1_000), at(day)));
        assert!(!clock.compare(Mono(0), Wall(year), at(day)));
        assert_eq!(clock.state(), ClockState::Steady);
    }

    /// Comparisons as (asked, heard, the hub's clock); our own wall clock is mono + 1,000 then. The error at (mono, wall).
    fn check_error(comparisons: &[(u64, u64, i64)], (mono, wall): (u64, i64), expected: Option<u64>) {
        let now = |mono: u64| Now {
            mono: Mono(mono),
            wall: Wall(1_000 + mono as i64),
        };
        let mut clock = Clock::new(now(0), Wall(0));
        for (asked, heard, hub) in comparisons {
            clock.compare(Mono(*asked), Wall(*hub), now(*heard));
        }
        let at = Now {
            mono: Mono(mono),
            wall: Wall(wall),
        };
        assert_eq!(clock.error_ms(at), expected, "{comparisons:?} at {at:?}");
    }

    #[test]
    fn an_error_is_known_from_the_first_answer_on() {
        check_error(&[], (100, 1_100), None);
        // Two of rounding, one of drift, and what the way took.
        check_error(&[(100, 100, 1_100)], (100, 1_100), Some(3));
        check_error(&[(100, 140, 1_140)], (140, 1_140), Some(43));
        // The hub's clock may have stood so at the beginning or at the end of the way.
        check_error(&[(100, 140, 1_120)], (140, 1_140), Some(23));
        check_error(&[(100, 140, 301_120)], (140, 1_140), Some(300_023));
    }

    #[test]
    fn a_step_of_the_own_clock_is_error_at_once_and_time_alone_makes_it_grow() {
        let hour = 3_600_000;
        check_error(&[(0, 0, 1_000)], (1_000, 2_000), Some(3));
        check_error(&[(0, 0, 1_000)], (1_000, 302_000), Some(300_003));
        check_error(&[(0, 0, 1_000)], (1_000, -298_000), Some(300_003));
        check_error(&[(0, 0, 1_000)], (hour, 1_000 + hour as i64), Some(363));
        check_error(&[(0, 0, 1_000)], (1_000, i64::MIN), Some(i64::MAX as u64));
        check_error(&[(0, 0, i64::MIN)], (u64::MAX, i64::MAX), Some(i64::MAX as u64));
    }

    #[test]
    fn the_best_comparison_counts_until_the_newest_contradicts_it() {
        let good = (0, 10, 1_005);
        check_error(&[good, (1_000, 1_500, 2_200)], (2_000, 3_000), Some(8));
        check_error(&[(0, 500, 1_200), (1_000, 1_010, 2_005)], (2_000, 3_000), Some(8));
        // The hub's clock was set: what was known of it before is worth nothing.
        check_error(&[good, (1_000, 1_500, 302_200)], (2_000, 3_000), Some(300_203));
        // An old good one is worse than a new fair one.
        let day = 86_400_000;
        check_error(
            &[good, (day, day + 400, 1_200 + day as i64)],
            (day + 400, 1_400 + day as i64),
            Some(203),
        );
    }

    proptest! {
        #[test]
        fn the_hubs_clock_is_never_further_away_than_the_error(
            ppm in -100i64..=100,
            first in -1_000_000_000i64..1_000_000_000,
            steps in proptest::collection::vec((0u64..100_000_000, 0u64..20_000, 0u64..20_000, any::<bool>(), -400_000i64..400_000), 1..20),
        ) {
            // Microseconds of the monotonic clock; the hub's clock drifts against it.
            let mut mono = 5_000_000i128;
            let mut offset = 0i64;
            let hub = |mono: i128| i128::from(first) * 1_000 + mono + (mono * i128::from(ppm)).div_euclid(1_000_000);
            let now = |mono: i128, offset: i64| Now {
                mono: Mono((mono / 1_000) as u64),
                wall: Wall((mono + i128::from(offset) * 1_000).div_euclid(1_000) as i64),
            };
            let mut clock = Clock::new(now(mono, offset), Wall(i64::MIN));
            let mut compared = false;
            for (pause_ms, up_us, down_us, answered, step_ms) in steps {
                mono += i128::from(pause_ms) * 997;
                offset += step_ms;
                let asked = now(mono, offset).mono;
                let read = hub(mono + i128::from(up_us) * 313).div_euclid(1_000) as i64;
                mono += i128::from(up_us) * 313 + i128::from(down_us) * 131;
                if answered {
                    clock.compare(asked, Wall(read), now(mono, offset));
                    compared = true;
                }
                let error = clock.error_ms(now(mono, offset));
                prop_assert_eq!(error.is_some(), compared);
                if let Some(error) = error {
                    let apart_us = (hub(mono) - (mono + i128::from(offset) * 1_000)).abs();
                    prop_assert!(apart_us <= i128::from(error) * 1_000, "{} us apart, error {} ms", apart_us, error);
                }
            }
        }
    }

    /// A node under a freeze, from and until so many seconds from now on, as the node's clock shows it.
    fn node(from: i64, until: i64) -> Rig {
        let local = |seconds: i64| {
            let text = Wall(1_700_000_000_000 + seconds * 1_000).to_string();
            text.trim_end_matches(".000Z").to_owned()
        };
        let freeze = format!(
            "  - {{ id: sale, kind: change_freeze, spans: [{{ local_start: '{}', local_end: '{}' }}] }}\n",
            local(from),
            local(until)
        );
        Rig::under(&format!("{BUNDLE}{freeze}"))
    }

    /// The hub welcomes, `ahead_s` before the node's clock; its answers take 20 ms.
    fn welcome(rig: &mut Rig, ahead_s: i64) {
        rig.handle(Input::LinkUp);
        rig.pass(20);
        let wall = Wall(rig.now.wall.0 + ahead_s * 1_000);
        rig.handle(Input::Frame(Frame::Welcome(Welcome {
            version: 1,
            hub_epoch: HubEpoch(1),
            holds: Vec::new(),
            telemetry: Seq(0),
            bundle: BundleRef::NONE,
            session: 1,
            now: Now { mono: Mono(1), wall },
        })));
    }

    /// The node wants a restart within two seconds: what was decided, which must be what its record says of itself.
    fn decided(rig: &mut Rig) -> (String, Decision) {
        rig.log.clear();
        rig.step("leak 2");
        let entries = rig
            .journal
            .entries
            .values()
            .filter_map(|raw| match raw.decode().expect("ours").body {
                EntryBody::Decided(decision) => Some(*decision),
                _ => None,
            });
        let decision = entries.collect::<Vec<_>>().pop().expect("a decision");
        let again = policy::judge(rig.agent.policy().expect("a bundle"), &decision.inputs);
        assert_eq!(again, decision.judgement, "what it saw is in the record");
        let verdict = decision.judgement.verdict.name();
        (format!("{verdict} by {}", decision.judgement.rule), decision)
    }

    fn check_freeze((from, until): (i64, i64), ahead_s: Option<i64>, expected: &str) {
        let mut rig = node(from, until);
        if let Some(ahead_s) = ahead_s {
            welcome(&mut rig, ahead_s);
        }
        assert_eq!(
            decided(&mut rig).0,
            expected,
            "{from}..{until}, hub ahead by {ahead_s:?}"
        );
    }

    #[test]
    fn a_node_whose_clock_is_ahead_of_its_hub_is_held_until_the_freeze_is_over_for_both() {
        let is_over = (-600, -240);
        check_freeze(is_over, None, "allow by leak");
        check_freeze(is_over, Some(0), "allow by leak");
        check_freeze(is_over, Some(-300), "hold by sale");
        check_freeze((-600, -310), Some(-300), "allow by leak");
        // The node cannot know who is right: a hub ahead of it makes the freeze as much longer.
        check_freeze(is_over, Some(300), "hold by sale");
    }

    #[test]
    fn a_node_whose_clock_is_behind_its_hub_is_held_before_the_freeze_begins() {
        let comes = (240, 600);
        check_freeze(comes, None, "allow by leak");
        check_freeze(comes, Some(0), "allow by leak");
        check_freeze(comes, Some(300), "hold by sale");
        check_freeze(comes, Some(200), "allow by leak");
    }

    #[test]
    fn a_clock_that_is_set_while_offline_is_noticed_by_what_was_heard_before() {
        let mut rig = node(-600, 240);
        welcome(&mut rig, 0);
        let reason = "test".to_owned();
        rig.handle(Input::LinkDown { reason });
        rig.now.wall.0 += 300_000;
        let (found, decision) = decided(&mut rig);
        assert_eq!(found, "hold by sale");
        let facts: Vec<_> = decision
            .inputs
            .facts
            .iter()
            .filter(|fact| fact.rule == "clock")
            .collect();
        assert_eq!(facts.len(), 1, "{facts:?}");
        assert_eq!(facts[0].name, "error_ms");
        assert!((300_000..300_100).contains(&facts[0].value), "{facts:?}");
        // A restart forgets it: then nothing is known.
        rig.crash();
        assert_eq!(rig.agent.clock_error(rig.now), wire::time::ClockError::NotCompared);
    }

    #[test]
    fn the_clocks_error_is_kept_only_by_decisions_that_look_at_a_calendar() {
        let mut rig = Rig::new();
        welcome(&mut rig, -300);
        let (found, decision) = decided(&mut rig);
        assert_eq!(found, "allow by leak");
        assert!(decision.inputs.facts.iter().all(|fact| fact.rule != "clock"));
    }

    #[test]
    fn what_is_allowed_before_a_freeze_is_not_valid_into_it() {
        let mut rig = node(32, 600);
        welcome(&mut rig, 0);
        rig.auto_act = false;
        let (found, decision) = decided(&mut rig);
        assert_eq!(found, "allow by leak");
        // 30 s are left, less what the clock may be off.
        let valid = decision.judgement.valid_for_ms;
        assert!((29_900..30_000).contains(&valid), "{valid}");
    }

    #[test]
    fn the_hub_is_asked_for_its_time_with_every_status() {
        let mut rig = Rig::new();
        welcome(&mut rig, 0);
        let asks = |rig: &Rig| {
            let asks = rig.frames.iter().filter_map(|frame| match frame {
                Frame::AskTime(ask) => Some((ask.asked, ask.error_ms)),
                _ => None,
            });
            asks.collect::<Vec<_>>()
        };
        let first = asks(&rig);
        assert_eq!(
            first,
            [(rig.now.mono, 23)],
            "the way of the welcome, rounding and drift"
        );
        rig.pass(2);
        let answer = |asked| {
            Input::Frame(Frame::HubTime(HubTime {
                asked,
                now: Now {
                    mono: Mono(1),
                    wall: Wall(1_700_000_000_021),
                },
            }))
        };
        rig.handle(answer(Mono(7)));
        assert_eq!(rig.agent.clock.error_ms(rig.now), Some(23), "nobody asked that");
        rig.handle(answer(first[0].0));
        assert_eq!(rig.agent.clock.error_ms(rig.now), Some(4));
        // A status is due half a second after something changes.
        rig.handle(Input::Devices(Vec::new()));
        rig.pass(500);
        rig.handle(answer(first[0].0));
        rig.handle(Input::Tick);
        assert_eq!(asks(&rig).len(), 2);
        assert_eq!(rig.agent.clock.error_ms(rig.now), Some(4), "an answer counts once");
    }
}
