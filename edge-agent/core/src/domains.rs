//! Domains that this node shares with others: what the hub counted of them, and the turns that this node asks for.
//!
//! Decides when to ask, what a turn may be used for, and when it is given back. Whether an action may run is `policy`'s judgement; here
//! the hub's counts become facts of it. They are known only while a session is up: without one the rules say what not knowing means.
//!
//! Wishes that need turns of different rules wait beside each other, so that one which waits for long holds up none; the hub gives one
//! turn at a time.
//!
//! Invariants: a turn is good only for what the rules that it was asked for select; it is used for one action at most, and only while
//! the hub that gave it is connected; once an ask is withdrawn its turn is worth nothing; no two wishes have one name.
//!
//! Read next: `hub/core/src/domains.rs` (who gives turns), `policy/src/kind/{blast,rate}.rs` (who needs them).

use std::collections::BTreeMap;
use std::time::Duration;

use policy::{Turn, Turns, Want, free_in_name, given_name};
use wire::action::RiskClass;
use wire::decision::Judgement;
use wire::domains::{Ask, FleetFacts, MAX_ASKS, NodeFacts, Opened};
use wire::frame::Frame;
use wire::ids::{DecisionId, Epoch, Seq};
use wire::time::{Mono, Now};

use crate::agent::Agent;
use crate::planted::Planted;

/// A turn that is not used within this time is given back, so that the next node need not wait for a wish that has passed.
const TURN_FOR: Duration = Duration::from_secs(30);
/// A wish that is not renewed within this time is withdrawn: longer than the longest wait after a refusal.
const ASK_FOR: Duration = Duration::from_secs(15 * 60);

/// What this node knows of its domains.
#[derive(Debug, Default)]
pub(crate) struct Domains {
    /// What the hub counted, in this session, and when this node heard of it.
    counted: Option<(FleetFacts, Mono)>,
    /// Names of the facts that the judge knows from here.
    known: Vec<String>,
    /// What waits, in the order of asking; at most one has its turn.
    wishes: Vec<Wish>,
    /// The name of the last wish.
    named: (Epoch, Seq),
    /// What the hub heard in this session.
    told: Option<NodeFacts>,
    /// Parts of the node that are not as they should be, and why.
    pub(crate) trouble: BTreeMap<String, String>,
}

/// A decision that waits for its turn, or may be made again with it.
#[derive(Debug)]
struct Wish {
    ask: Ask,
    has_turn: bool,
    until: Mono,
}

impl Domains {
    /// When the next wish has passed.
    pub(crate) fn due(&self) -> Option<Mono> {
        self.wishes.iter().map(|wish| wish.until).min()
    }

    /// The wish that has its turn.
    fn turn(&self) -> Option<&Wish> {
        self.wishes.iter().find(|wish| wish.has_turn)
    }

    /// A name for a wish of this decision, or of the next one that has none yet.
    fn name(&mut self, decision: (Epoch, Seq)) -> (Epoch, Seq) {
        let (epoch, seq) = self.named;
        self.named = match epoch == decision.0 {
            true => (epoch, decision.1.max(seq.next())),
            false => decision,
        };
        self.named
    }
}

impl Agent {
    /// The hub counted.
    pub(crate) fn on_fleet_facts(&mut self, facts: FleetFacts, now: Now) {
        if facts.hub_epoch < self.marks.floor.hub_epoch {
            return;
        }
        let turn = facts.turn;
        self.domains.counted = Some((facts, now.mono));
        let has_turn = self.domains.turn().is_some();
        let mut waiting = self.domains.wishes.iter_mut().filter(|_| !has_turn);
        if let Some(wish) = waiting.find(|wish| turn == Some(wish.ask.decision)) {
            (wish.has_turn, wish.until) = (true, now.mono + TURN_FOR);
            self.apply_counts();
            self.reconsider();
            self.use_turn(now);
        } else {
            self.apply_counts();
        }
    }

    /// The session is over: nothing of it is known any more, and no turn of it counts.
    pub(crate) fn forget_domains(&mut self, now: Now) {
        self.findings.forget_told();
        let domains = &mut self.domains;
        (domains.counted, domains.told) = (None, None);
        domains.wishes.clear();
        self.apply_counts();
        self.end_waits(true, now);
    }

    /// A part of the node works or does not.
    pub(crate) fn note_trouble(&mut self, part: &str, why: Option<String>) {
        let trouble = &mut self.domains.trouble;
        match why {
            Some(why) => drop(trouble.insert(part.to_owned(), why)),
            None => drop(trouble.remove(part)),
        }
    }

    /// What was noted of a part, if it does not work.
    pub(crate) fn trouble_of(&self, part: &str) -> Option<&str> {
        self.domains.trouble.get(part).map(String::as_str)
    }

    /// Gives the judge what is known of the domains. Call it too when the judge or its bundle is new.
    pub(crate) fn apply_counts(&mut self) {
        let takes_turn = self.has_planted(Planted::TakeTurn);
        let Some(judge) = &mut self.judge else { return };
        let domains = &mut self.domains;
        let mut known: Vec<(String, i64)> = Vec::new();
        let mut turns = Turns::Unheard;
        if let Some((facts, heard_at)) = &domains.counted {
            known.clone_from(&facts.values);
            let mut take = |name: &str| {
                let index = known.iter().position(|(known, _)| known == name)?;
                Some(known.swap_remove(index).1)
            };
            let asked_by = domains.turn().map_or(&[][..], |wish| &wish.ask.rules);
            let bundle = judge.bundle();
            let rules = bundle.turn_rules().map(|rule| Turn {
                rule: rule.to_owned(),
                mine: takes_turn || asked_by.iter().any(|asked| asked == rule),
                given: take(&given_name(rule)),
                free_at: take(&free_in_name(rule)).map(|ms| Mono(heard_at.0.saturating_add_signed(ms))),
            });
            turns = Turns::Heard(rules.collect());
        }
        judge.set_turns(turns);
        for name in std::mem::take(&mut domains.known) {
            if !known.iter().any(|(kept, _)| *kept == name) {
                judge.set_fact(&name, None);
            }
        }
        for (name, value) in known {
            judge.set_fact(&name, Some(value));
            domains.known.push(name);
        }
    }

    /// A decision was made: it may need a turn, or have used one. What is not recorded has no place to ask for.
    pub(crate) fn note_turn(
        &mut self,
        decision: &DecisionId,
        judgement: &Judgement,
        class: RiskClass,
        recorded: bool,
        now: Now,
    ) {
        let Some(judge) = &self.judge else { return };
        if judgement.granted.is_some() {
            let used = judge.bundle().turns_in(judgement);
            let is_used = |wish: &Wish| used.iter().any(|rule| wish.ask.rules.contains(rule));
            // Of several wishes that it could have been, the one that has its turn.
            let index = self
                .domains
                .wishes
                .iter()
                .position(|wish| wish.has_turn && is_used(wish));
            let index = index.or_else(|| self.domains.wishes.iter().position(is_used));
            if let Some(index) = index {
                self.domains.wishes.remove(index);
                self.apply_counts();
            }
            return;
        }
        let rules = judge.bundle().waits_for(judgement);
        if recorded && !rules.is_empty() {
            self.ask(rules, (decision.epoch, decision.seq), class, now);
        }
    }

    /// Whether an order should wait for its turn before it is decided; asks for the turn if so. Nothing is recorded.
    pub(crate) fn waits_first(&mut self, want: &Want, now: Now) -> bool {
        let needs_turns = |judge: &policy::Judge| judge.bundle().turn_rules().next().is_some();
        if self.domains.counted.is_none() || !self.judge.as_ref().is_some_and(needs_turns) {
            return false;
        }
        let judgement = self.foresee(want, now);
        let judge = self.judge.as_ref();
        let rules = judge
            .zip(judgement)
            .map(|(judge, judgement)| judge.bundle().waits_for(&judgement));
        let Some(rules) = rules.filter(|rules| !rules.is_empty()) else {
            return false;
        };
        // No entry tells of it yet: the place of the next one tells this wish from those before it.
        let made = self.record.made();
        self.ask(rules, (made.epoch, made.seq.next()), want.action.kind.risk(), now)
    }

    /// Asks for a turn, or goes on asking. Returns whether it does: a node asks for few at a time.
    fn ask(&mut self, rules: Vec<String>, decision: (Epoch, Seq), class: RiskClass, now: Now) -> bool {
        let domains = &mut self.domains;
        let is_same = |wish: &&mut Wish| wish.ask.rules == rules && wish.ask.class == class;
        let until = now.mono + ASK_FOR;
        if let Some(wish) = domains.wishes.iter_mut().find(is_same) {
            if !wish.has_turn {
                wish.until = until;
            }
            return true;
        }
        if domains.wishes.len() >= MAX_ASKS {
            return false;
        }
        let decision = domains.name(decision);
        domains.wishes.push(Wish {
            ask: Ask { decision, rules, class },
            has_turn: false,
            until,
        });
        true
    }

    /// Withdraws wishes that have passed, and decides orders that have waited for long enough.
    pub(crate) fn expire_wishes(&mut self, now: Now) {
        if self.domains.due().is_some_and(|until| now.mono >= until) {
            self.domains.wishes.retain(|wish| now.mono < wish.until);
            self.apply_counts();
        }
        self.end_waits(false, now);
    }

    /// What every turn ends with: the hub hears what has changed.
    pub(crate) fn turn_domains(&mut self, now: Now) {
        if !self.link.is_welcomed() {
            return;
        }
        let acting = self
            .marks
            .open
            .iter()
            .filter(|open| open.action.kind.disruptive())
            .count();
        let acting = u32::try_from(acting).unwrap_or(u32::MAX);
        let unhealthy = self.unhealthy();
        let asks = || self.domains.wishes.iter().map(|wish| &wish.ask);
        let opened = self.judge.as_ref().and_then(|judge| judge.open_glass(now.mono));
        let is_told = match &self.domains.told {
            Some(told) => {
                let number = |opened: &Opened| opened.number;
                told.acting == acting
                    && told.unhealthy.as_deref() == unhealthy
                    && told.all_asks().eq(asks())
                    && told.opened.as_ref().map(number) == opened.as_ref().map(|open| open.number)
            }
            // A node of no domain is counted nowhere.
            None => {
                let counts = self.judge.as_ref().is_some_and(|judge| judge.bundle().counts_nodes());
                !counts && self.settings.labels.is_empty() && opened.is_none()
            }
        };
        if is_told {
            return;
        }
        let facts = NodeFacts {
            labels: self.settings.labels.clone(),
            unhealthy: unhealthy.map(str::to_owned),
            asks: asks().next().cloned(),
            more: asks().skip(1).cloned().collect(),
            acting,
            opened: opened.map(|open| Opened {
                number: open.number,
                kinds: open.kinds,
                targets: open.targets,
                left_ms: u64::try_from(open.left.as_millis()).unwrap_or(u64::MAX),
                approvers: open.approvers,
            }),
        };
        self.domains.told = Some(facts.clone());
        self.send(Frame::NodeFacts(facts));
    }

    /// Why this node does not count itself as healthy; `None` if it does.
    pub fn unhealthy(&self) -> Option<&str> {
        match self.domains.trouble.first_key_value() {
            Some((_, why)) => Some(why),
            None if !self.record.takes_entries() => Some("the journal takes no entries"),
            None => None,
        }
    }

    /// Whether an action waits until it is this node's turn in a domain.
    pub fn waits_for_turn(&self) -> bool {
        self.domains.wishes.iter().any(|wish| !wish.has_turn)
    }
}

#[cfg(test)]
mod tests {
    use wire::domains::{FleetFacts, NodeFacts};
    use wire::frame::{Ack, Command, Frame, Order};
    use wire::{Action, ActionKind, CommandId, DeviceId, HubEpoch, Seq};

    use crate::Input;
    use crate::testing::{BUNDLE, Rig};

    const ONE_OF_A_RACK: &str = "
  - id: one-of-a-rack
    kind: blast_radius
    domain: rack
    max_concurrent: { n: 1 }
    selector: { kinds: [restart] }
";

    const TWO_AN_HOUR: &str = "
  - id: two-an-hour
    kind: rate_limit
    key: global
    limit: 2
    window: 1 h
    selector: { kinds: [release_power_cap] }
";

    fn connect(rig: &mut Rig) {
        rig.connect();
    }

    /// A connected node of a rack of three.
    fn member() -> Rig {
        let mut rig = Rig::under(&format!("{BUNDLE}{ONE_OF_A_RACK}"));
        connect(&mut rig);
        count(&mut rig, 0, None);
        rig.log.clear();
        rig
    }

    /// The hub counts: so many of the others are unhealthy; and whose turn it is.
    fn count(rig: &mut Rig, unhealthy: i64, turn: Option<u64>) {
        let values = [
            ("members", 3),
            ("unhealthy", unhealthy),
            ("in_flight", 0),
            ("newly_faulty", 0),
        ];
        let values = values.map(|(name, value)| (format!("rack.{name}"), value));
        tell(rig, values.to_vec(), turn);
    }

    /// The hub tells what it counted, and that a rate over nodes has given one turn.
    fn tell(rig: &mut Rig, mut values: Vec<(String, i64)>, turn: Option<u64>) {
        let epoch = rig.agent.head().epoch;
        values.push(("rate:two-an-hour.given".to_owned(), 1));
        rig.handle(Input::Frame(Frame::FleetFacts(FleetFacts {
            hub_epoch: HubEpoch(3),
            values,
            turn: turn.map(|seq| (epoch, Seq(seq))),
        })));
    }

    /// An order that stops nobody's work, each for a GPU of its own.
    fn release(request: u8) -> Input {
        let action = Action {
            target: DeviceId::gpu(request.into()),
            kind: ActionKind::ReleasePowerCap,
        };
        order(Some(request.into()), action)
    }

    fn acknowledge(rig: &mut Rig) {
        let head = rig.agent.head();
        rig.handle(Input::Frame(Frame::Ack(Ack {
            epoch: head.epoch,
            entries: Some(head.seq),
            telemetry: None,
        })));
    }

    fn told(rig: &Rig) -> &NodeFacts {
        let told = rig.frames.iter().rev().find_map(|frame| match frame {
            Frame::NodeFacts(facts) => Some(facts),
            _ => None,
        });
        told.expect("it tells of itself")
    }

    fn asked(rig: &Rig) -> Option<u64> {
        told(rig).asks.as_ref().map(|ask| ask.decision.1.0)
    }

    #[test]
    fn a_restart_waits_for_its_turn_and_gives_it_back() {
        let mut rig = member();
        assert_eq!(told(&rig).labels, [("rack".to_owned(), "r7".to_owned())]);
        rig.auto_act = false;
        rig.live(3, 60, 300);
        assert_eq!(rig.log, ["decided hold restart"]);
        let ask = asked(&rig).expect("it asks");
        assert_eq!(
            told(&rig).asks.as_ref().map(|ask| &ask.rules[..]),
            Some(&["one-of-a-rack".to_owned()][..])
        );

        count(&mut rig, 0, Some(ask + 1));
        rig.live(1, 60, 300);
        assert_eq!(rig.log.len(), 1, "that was another wish");
        count(&mut rig, 0, Some(ask));
        rig.live(1, 60, 300);
        assert_eq!(rig.log[1..], ["decided allow restart", "act restart"]);
        assert_eq!((told(&rig).acting, asked(&rig)), (1, None));
        rig.finish_action(true);
        rig.settle();
        assert_eq!(told(&rig).acting, 0);
        // The same turn twice is no second one.
        count(&mut rig, 0, Some(ask));
        rig.live(20, 60, 300);
        assert_eq!(rig.acts.len(), 1);
    }

    #[test]
    fn a_turn_that_is_not_used_is_given_back() {
        let mut rig = member();
        rig.live(3, 60, 300);
        let ask = asked(&rig).expect("it asks");
        count(&mut rig, 0, Some(ask));
        // The memory is fine again: nothing is wanted any more.
        for _ in 0..29 {
            rig.live(1, 60, 100);
            acknowledge(&mut rig);
        }
        assert_eq!(asked(&rig), Some(ask));
        rig.live(1, 60, 100);
        assert_eq!(asked(&rig), None);
        rig.live(3, 60, 300);
        assert!(rig.acts.is_empty(), "it has to ask again: {:?}", rig.log);
    }

    fn restart(request: Option<u64>) -> Input {
        let action = Action {
            target: DeviceId::workload("job").expect("a name"),
            kind: ActionKind::Restart,
        };
        order(request, action)
    }

    fn order(request: Option<u64>, action: Action) -> Input {
        let what = Order::Act(action);
        let (who, reason) = ("ana".to_owned(), "test".to_owned());
        match request {
            Some(request) => Input::Local {
                request,
                what: crate::LocalRequest::Order { who, reason, what },
            },
            None => Input::Frame(Frame::Command(Command {
                id: CommandId([7; 16]),
                hub_epoch: HubEpoch(3),
                valid_for_ms: 30_000,
                who,
                reason,
                what,
            })),
        }
    }

    #[test]
    fn an_order_waits_for_its_turn_and_is_answered_once() {
        let mut rig = member();
        rig.handle(restart(Some(7)));
        assert!(rig.log.is_empty(), "not decided yet: {:?}", rig.log);
        let ask = asked(&rig).expect("it asks");
        rig.pass(3_000);
        count(&mut rig, 0, Some(ask));
        assert_eq!(rig.log, ["decided allow restart", "answered", "act restart", "applied"]);
        assert_eq!(asked(&rig), None);
    }

    #[test]
    fn an_order_whose_turn_does_not_come_is_decided_all_the_same() {
        let mut rig = member();
        rig.handle(restart(Some(7)));
        rig.handle(restart(Some(8)));
        rig.pass(9_999);
        rig.handle(Input::Tick);
        assert!(rig.log.is_empty());
        rig.pass(1);
        rig.handle(Input::Tick);
        assert_eq!(
            rig.log,
            ["decided hold restart", "decided hold restart", "answered", "answered"]
        );

        // A hub that is gone gives no turns.
        let mut rig = member();
        rig.handle(restart(Some(7)));
        rig.handle(Input::LinkDown {
            reason: "test".to_owned(),
        });
        assert_eq!(rig.log, ["decided hold restart", "answered"]);
    }

    #[test]
    fn a_command_that_waits_is_taken_once_also_over_a_crash() {
        let mut rig = member();
        rig.handle(restart(None));
        rig.handle(restart(None));
        rig.crash();
        connect(&mut rig);
        count(&mut rig, 0, None);
        rig.log.clear();
        rig.handle(restart(None));
        let ask = asked(&rig).expect("it asks");
        count(&mut rig, 0, Some(ask));
        rig.handle(restart(None));
        assert_eq!(rig.log, ["decided allow restart", "act restart", "applied"]);
    }

    #[test]
    fn no_turn_is_asked_for_where_it_would_not_help() {
        let mut rig = member();
        rig.handle(Input::Local {
            request: 3,
            what: crate::LocalRequest::Order {
                who: "ana".to_owned(),
                reason: "test".to_owned(),
                what: wire::frame::Order::Hold,
            },
        });
        rig.live(3, 60, 300);
        assert_eq!(asked(&rig), None, "a person holds the node");
    }

    #[test]
    fn nothing_of_a_session_outlives_it() {
        let mut rig = member();
        rig.live(3, 60, 300);
        let ask = asked(&rig).expect("it asks");
        rig.handle(Input::LinkDown {
            reason: "test".to_owned(),
        });
        assert!(rig.agent.domains.known.is_empty(), "forgotten");
        connect(&mut rig);
        assert_eq!(asked(&rig), None);
        count(&mut rig, 0, Some(ask));
        rig.live(1, 60, 300);
        assert!(rig.acts.is_empty(), "its ask was withdrawn: {:?}", rig.log);
    }

    #[test]
    fn a_rate_over_nodes_waits_for_its_turn_also_where_no_work_stops() {
        let mut rig = Rig::under(&format!("{BUNDLE}{TWO_AN_HOUR}"));
        connect(&mut rig);
        tell(&mut rig, Vec::new(), None);
        rig.log.clear();
        rig.handle(release(7));
        rig.handle(release(8));
        assert!(rig.log.is_empty(), "not decided yet: {:?}", rig.log);
        let ask = asked(&rig).expect("it asks");
        assert_eq!(told(&rig).all_asks().count(), 1, "one turn after the other");
        rig.pass(3_000);
        tell(&mut rig, Vec::new(), Some(ask));
        let first = [
            "decided allow release_power_cap",
            "answered",
            "act release_power_cap",
            "applied",
        ];
        assert_eq!(rig.log, first);
        let next = asked(&rig).expect("the other order needs a turn of its own");
        assert_ne!(next, ask);
        tell(&mut rig, Vec::new(), Some(ask));
        assert_eq!(rig.log.len(), 4, "the same turn twice is no second one");
        tell(&mut rig, Vec::new(), Some(next));
        assert_eq!(rig.log[4..], first);
        assert_eq!((asked(&rig), told(&rig).acting), (None, 0));

        // Its own count is full now: no turn would help, so it asks for none.
        rig.handle(release(9));
        assert_eq!(rig.log[8..], ["decided hold release_power_cap", "answered"]);
        assert_eq!(asked(&rig), None);
        rig.live(3, 95, 100);
        assert!(
            rig.log[10..].contains(&"act power_cap".to_owned()),
            "a reflex needs no turn: {:?}",
            rig.log
        );
    }

    #[test]
    fn without_a_hub_a_rate_over_nodes_does_what_it_says_and_counts_the_node() {
        let mut rig = Rig::under(&format!("{BUNDLE}{TWO_AN_HOUR}"));
        rig.handle(release(7));
        assert_eq!(rig.log, ["decided hold release_power_cap", "answered"]);

        let mut rig = Rig::under(&format!("{BUNDLE}{TWO_AN_HOUR}    on_missing: allow\n"));
        for request in 0..3 {
            rig.handle(release(request));
        }
        let decided: Vec<_> = rig.log.iter().filter(|line| line.starts_with("decided")).collect();
        let allow = "decided allow release_power_cap";
        assert_eq!(decided, [allow, allow, "decided hold release_power_cap"]);
    }

    #[test]
    fn a_wish_that_waits_for_long_holds_up_no_other_and_lends_it_no_turn() {
        let mut rig = Rig::under(&format!("{BUNDLE}{ONE_OF_A_RACK}{TWO_AN_HOUR}"));
        connect(&mut rig);
        count(&mut rig, 1, None);
        rig.log.clear();
        rig.live(3, 60, 300);
        rig.handle(release(7));
        let asks: Vec<_> = told(&rig)
            .all_asks()
            .map(|ask| (ask.decision.1.0, ask.rules.join(",")))
            .collect();
        let [(restart, rack), (release, rate)] = &asks[..] else {
            panic!("{asks:?}")
        };
        assert_eq!((rack.as_str(), rate.as_str()), ("one-of-a-rack", "two-an-hour"));
        count(&mut rig, 0, Some(*release));
        rig.live(2, 60, 300);
        assert!(rig.log.contains(&"act release_power_cap".to_owned()), "{:?}", rig.log);
        assert!(
            !rig.log.contains(&"act restart".to_owned()),
            "that was another turn: {:?}",
            rig.log
        );
        assert_eq!(asked(&rig), Some(*restart));
        count(&mut rig, 0, Some(*restart));
        rig.live(1, 60, 300);
        assert!(rig.log.contains(&"act restart".to_owned()), "{:?}", rig.log);
    }

    #[test]
    fn a_node_tells_why_it_is_not_healthy() {
        let mut rig = member();
        let probe = |answering| Input::Probe {
            answering,
            detail: "no answer for 2 s".to_owned(),
        };
        rig.handle(probe(false));
        assert_eq!(
            told(&rig).unhealthy.as_deref(),
            Some("the GPU probe does not answer: no answer for 2 s")
        );
        rig.handle(probe(true));
        assert_eq!(told(&rig).unhealthy, None);
    }

    #[test]
    fn an_older_hub_gives_no_turns() {
        let mut rig = member();
        rig.live(3, 60, 300);
        let ask = asked(&rig).expect("it asks");
        let epoch = rig.agent.head().epoch;
        rig.handle(Input::Frame(Frame::FleetFacts(FleetFacts {
            hub_epoch: HubEpoch(2),
            values: Vec::new(),
            turn: Some((epoch, Seq(ask))),
        })));
        rig.live(2, 60, 300);
        assert!(rig.acts.is_empty());
    }
}
