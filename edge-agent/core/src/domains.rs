//! Domains that this node shares with others: what the hub counted of them, and the turn that this node asks for.
//!
//! Decides when to ask, what a turn may be used for, and when it is given back. Whether an action may run is `policy`'s judgement; here
//! the hub's counts become facts of it. They are known only while a session is up: without one the rules say what not knowing means.
//!
//! Invariants: at most one wish of this node waits for a turn; a turn is used for one action at most, and only while the hub that gave
//! it is connected; once an ask is withdrawn its turn is worth nothing.
//!
//! Read next: `hub/core/src/domains.rs` (who gives turns), `policy/src/kind/blast.rs` (who needs them).

use std::collections::BTreeMap;
use std::time::Duration;

use policy::Want;
use wire::action::RiskClass;
use wire::decision::{Judgement, Verdict};
use wire::domains::{Ask, FleetFacts, NodeFacts, Opened};
use wire::frame::Frame;
use wire::ids::{DecisionId, Epoch, Seq};
use wire::time::{Mono, Now};

use crate::agent::Agent;
use crate::planted::Planted;

/// A turn that is not used within this time is given back, so that the next node need not wait for a wish that has passed.
const TURN_FOR: Duration = Duration::from_secs(30);
/// A wish that is not renewed within this time is withdrawn: longer than the longest wait after a refusal.
const ASK_FOR: Duration = Duration::from_secs(15 * 60);
/// The kind of rule that needs turns.
const BLAST_RADIUS: &str = "blast_radius";

/// What this node knows of its domains.
#[derive(Debug, Default)]
pub(crate) struct Domains {
    /// What the hub counted, in this session.
    counted: Option<FleetFacts>,
    /// Names of the facts that the judge knows from here.
    known: Vec<String>,
    wish: Option<Wish>,
    /// What the hub heard in this session.
    told: Option<NodeFacts>,
    /// Parts of the node that are not as they should be, and why.
    trouble: BTreeMap<String, String>,
}

/// A decision that waits for its turn, or may be made again with it.
#[derive(Debug)]
struct Wish {
    ask: Ask,
    has_turn: bool,
    until: Mono,
}

impl Domains {
    /// When the wish has passed.
    pub(crate) fn due(&self) -> Option<Mono> {
        self.wish.as_ref().map(|wish| wish.until)
    }
}

impl Agent {
    /// The hub counted.
    pub(crate) fn on_fleet_facts(&mut self, facts: FleetFacts, now: Now) {
        if facts.hub_epoch < self.marks.floor.hub_epoch {
            return;
        }
        let turn = facts.turn;
        self.domains.counted = Some(facts);
        let given = self.domains.wish.as_mut().filter(|wish| !wish.has_turn);
        if let Some(wish) = given.filter(|wish| turn == Some(wish.ask.decision)) {
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
        let domains = &mut self.domains;
        (domains.counted, domains.wish, domains.told) = (None, None, None);
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

    /// Gives the judge what is known of the domains. Call it too when the judge or its bundle is new.
    pub(crate) fn apply_counts(&mut self) {
        let takes_turn = self.has_planted(Planted::TakeTurn);
        let Some(judge) = &mut self.judge else { return };
        let domains = &mut self.domains;
        let values = domains.counted.iter().flat_map(|facts| &facts.values);
        let mut known: Vec<(String, i64)> = values.cloned().collect();
        if domains.counted.is_some() {
            let has_turn = takes_turn || domains.wish.as_ref().is_some_and(|wish| wish.has_turn);
            let bundle = judge.bundle();
            let named = bundle.domains().into_iter().filter(|domain| bundle.gives_turns(domain));
            known.extend(named.map(|domain| (format!("{domain}.turn"), i64::from(has_turn))));
        }
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

    /// A decision was made: it may need a turn, or have used one.
    pub(crate) fn note_turn(&mut self, decision: &DecisionId, judgement: &Judgement, class: RiskClass, now: Now) {
        if let Some(action) = &judgement.granted {
            if action.kind.disruptive() && self.domains.wish.take().is_some() {
                self.apply_counts();
            }
            return;
        }
        let rules = self.held_for_turn(judgement);
        if !rules.is_empty() {
            self.ask(rules, (decision.epoch, decision.seq), class, now);
        }
    }

    /// Whether an order should wait for its turn before it is decided; asks for the turn if so. Nothing is recorded.
    pub(crate) fn waits_first(&mut self, want: &Want, now: Now) -> bool {
        if !want.action.kind.disruptive() || self.domains.counted.is_none() {
            return false;
        }
        let Some(judgement) = self.foresee(want, now) else {
            return false;
        };
        let rules = self.held_for_turn(&judgement);
        if rules.is_empty() {
            return false;
        }
        // No entry tells of it yet: the place of the next one tells this wish from those before it.
        let made = self.record.made();
        self.ask(rules, (made.epoch, made.seq.next()), want.action.kind.risk(), now);
        true
    }

    /// The rules that hold an action for want of a turn; none if a turn would not help.
    fn held_for_turn(&self, judgement: &Judgement) -> Vec<String> {
        let mut rules: Vec<String> = Vec::new();
        if judgement.verdict != Verdict::Hold || self.domains.counted.is_none() {
            return rules;
        }
        for clause in judgement.clauses.iter().filter(|clause| !clause.shadow) {
            let objects = !clause.holds && clause.verdict >= Verdict::Hold;
            if objects && clause.kind != BLAST_RADIUS {
                return Vec::new();
            }
            // A rule that had no room when this was judged may have some when it is this node's turn.
            if clause.kind == BLAST_RADIUS && rules.last() != Some(&clause.rule) {
                rules.push(clause.rule.clone());
            }
        }
        rules
    }

    fn ask(&mut self, rules: Vec<String>, decision: (Epoch, Seq), class: RiskClass, now: Now) {
        match &mut self.domains.wish {
            Some(wish) if wish.has_turn => {}
            Some(wish) => wish.until = now.mono + ASK_FOR,
            None => {
                self.domains.wish = Some(Wish {
                    ask: Ask { decision, rules, class },
                    has_turn: false,
                    until: now.mono + ASK_FOR,
                });
            }
        }
    }

    /// Withdraws a wish that has passed, and decides orders that have waited for long enough.
    pub(crate) fn expire_wishes(&mut self, now: Now) {
        if self.domains.due().is_some_and(|until| now.mono >= until) {
            self.domains.wish = None;
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
        let asks = self.domains.wish.as_ref().map(|wish| &wish.ask);
        let opened = self.judge.as_ref().and_then(|judge| judge.open_glass(now.mono));
        let is_told = match &self.domains.told {
            Some(told) => {
                let number = |opened: &Opened| opened.number;
                told.acting == acting
                    && told.unhealthy.as_deref() == unhealthy
                    && told.asks.as_ref() == asks
                    && told.opened.as_ref().map(number) == opened.as_ref().map(|open| open.number)
            }
            // A node of no domain is counted nowhere.
            None => {
                let counts = self
                    .judge
                    .as_ref()
                    .is_some_and(|judge| !judge.bundle().domains().is_empty());
                !counts && self.settings.labels.is_empty() && opened.is_none()
            }
        };
        if is_told {
            return;
        }
        let facts = NodeFacts {
            labels: self.settings.labels.clone(),
            unhealthy: unhealthy.map(str::to_owned),
            asks: asks.cloned(),
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
        self.domains.wish.as_ref().is_some_and(|wish| !wish.has_turn)
    }
}

#[cfg(test)]
mod tests {
    use wire::domains::{FleetFacts, NodeFacts};
    use wire::frame::{Ack, Command, Frame, Order, Welcome};
    use wire::{Action, ActionKind, BundleRef, CommandId, DeviceId, HubEpoch, Now, Seq};

    use crate::Input;
    use crate::testing::{BUNDLE, Rig};

    const ONE_OF_A_RACK: &str = "
  - id: one-of-a-rack
    kind: blast_radius
    domain: rack
    max_concurrent: { n: 1 }
    selector: { kinds: [restart] }
";

    fn connect(rig: &mut Rig) {
        rig.pass(400_000);
        rig.handle(Input::Tick);
        rig.handle(Input::LinkUp);
        rig.handle(Input::Frame(Frame::Welcome(Welcome {
            version: 1,
            hub_epoch: HubEpoch(3),
            holds: Vec::new(),
            telemetry: Seq(0),
            bundle: BundleRef::NONE,
            session: 5,
            now: Now::default(),
        })));
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
        let epoch = rig.agent.head().epoch;
        rig.handle(Input::Frame(Frame::FleetFacts(FleetFacts {
            hub_epoch: HubEpoch(3),
            values: values.map(|(name, value)| (format!("rack.{name}"), value)).to_vec(),
            turn: turn.map(|seq| (epoch, Seq(seq))),
        })));
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
        let what = Order::Act(Action {
            target: DeviceId::workload("job").expect("a name"),
            kind: ActionKind::Restart,
        });
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
