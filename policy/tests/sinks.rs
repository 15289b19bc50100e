//! One evaluation: an agent's decision and an answer in a stream come to the same, comparison by comparison, by rules of all kinds.
//!
//! The agent keeps its own ledger and writes an explanation; the stream keeps its own counts and a tally. Both live through the same
//! timeline: questions, ends, failures, observed numbers that come and go.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use policy::{Bundle, Decider, Judge, Question, Situation, Want, judge};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use wire::decision::{Judgement, Verdict};
use wire::reading::Unit;
use wire::time::ClockState;
use wire::{
    Action, ActionKind, BundleRef, CommandId, DecisionId, DeviceId, HubEpoch, Mono, Now, Origin, OutcomeState,
    Quantity, Reading, Series, Wall,
};

/// 2026-02-02, a Monday.
const BEGIN_MS: i64 = 1_769_990_400_000;

/// A rule of each kind that bounds what runs, several of some; `N` is a small number.
const RULES: [&str; 23] = [
    "kind: cooldown, after_success: N s, after_failure: 1 min",
    "kind: cooldown, after_success: N min, selector: { labels: { tier: gold } }",
    "kind: rate_limit, limit: N, window: 2 min",
    "kind: rate_limit, limit: N, window: 1 min, key: node",
    "kind: rate_limit, limit: N0, window: 1 h, key: kind, algorithm: gcra, burst: N",
    "kind: rate_limit, limit: N, window: 5 min, key: label, label: tier",
    "kind: budget, limit: N, window: 3 min, key: target_kind",
    "kind: envelope, selector: { kinds: [power_cap] }, min: N0 W, max: N00 W",
    "kind: envelope, selector: { kinds: [throttle] }, max: N0 %",
    "kind: step_size, selector: { kinds: [power_cap] }, max_change: N %",
    "kind: change_freeze, spans: { local_start: '2026-02-02T00:0N', local_end: '2026-02-02T00:1N' }",
    "kind: maintenance_window, rrule: FREQ=DAILY, from: '00:00', to: '00:1N'",
    "kind: maintenance_window, spans: { local_start: '2026-02-02T00:1N', local_end: '2026-02-02T00:20' }",
    "kind: cost_ceiling, scope: shop, ceiling_micros: N000, window: day",
    "kind: quota, scope: shop, nominal: { gpu: N }",
    "kind: sla, service: web, target: 99.N %, lasts: N s",
    "kind: slo_burn, sli: web, from: low",
    "kind: blast_radius, domain: rack, max_concurrent: { n: N, bp: 5000 }, min_healthy: { bp: N000 }, max_per_window: { n: N, window: 1 min }",
    "kind: blast_radius, domain: rack, max_concurrent: { n: 9 }, max_per_window: { n: 1, window: N min }, on_missing: allow",
    "kind: confidence, min_n: N, on_missing: hold",
    "kind: mutex, selector: { kinds: [restart, unthrottle] }",
    "kind: cel, require: 'facts[\"rack.members\"] > N || action.kind == \"restart\"'",
    "kind: cel, require: 'labels.tier != \"gold\" && action.target.endsWith(\"N\")'",
];
const VIOLATIONS: [&str; 6] = [
    "",
    "",
    ", on_violation: deny",
    ", on_violation: hold",
    ", on_violation: warn",
    ", mode: shadow",
];
const FACTS: [&str; 12] = [
    "rack.members",
    "rack.unhealthy",
    "rack.newly_faulty",
    "web.outage_ms",
    "web.burn_5m",
    "web.burn_1h",
    "web.burn_30m",
    "web.burn_6h",
    "prediction.p_lo_bp",
    "prediction.n",
    "shop.cost_spent_micros",
    "shop.cost_rate_micros_per_h",
];
const KINDS: [&str; 5] = ["restart", "unthrottle", "throttle", "power_cap", "release_power_cap"];

/// What happens: which kind, on which target, with which number, how many milliseconds later, whether it fails, and a number that is
/// observed or forgotten before.
type Step = (usize, u8, u32, u64, bool, usize, Option<i64>);

fn step() -> impl Strategy<Value = Step> {
    let number = proptest::option::of(prop_oneof![0i64..12, 0i64..20_000]);
    (
        0..KINDS.len(),
        0u8..2,
        1u32..100,
        0u64..40_000,
        any::<bool>(),
        0..FACTS.len(),
        number,
    )
}

fn text(rules: &[(usize, u8, usize)]) -> String {
    let rules = rules.iter().enumerate().map(|(index, (rule, number, violation))| {
        let rule = RULES[*rule].replace('N', &number.to_string());
        format!("  - {{ id: r{index}, {rule}{} }}\n", VIOLATIONS[*violation])
    });
    format!("bundle: both\npermits: [{{}}]\nrules:\n{}", rules.collect::<String>())
}

fn action(kind: usize, target: u8, number: u32) -> Action {
    let workload = || DeviceId::workload(&format!("w{target}")).unwrap();
    let gpu = || DeviceId::gpu(target.into());
    let (target, kind) = match KINDS[kind] {
        "restart" => (workload(), ActionKind::Restart),
        "unthrottle" => (workload(), ActionKind::Unthrottle),
        "throttle" => {
            let share_bp = u16::try_from(number * 100).unwrap();
            (workload(), ActionKind::Throttle { share_bp })
        }
        "power_cap" => {
            let milliwatts = number * 10_000;
            (gpu(), ActionKind::PowerCap { milliwatts })
        }
        _ => (gpu(), ActionKind::ReleasePowerCap),
    };
    Action { target, kind }
}

fn number_of(kind: &ActionKind) -> Value {
    match kind {
        ActionKind::PowerCap { milliwatts } => json!({ "to": milliwatts }),
        ActionKind::Throttle { share_bp } => json!({ "to": share_bp }),
        _ => json!({}),
    }
}

/// Both, and the time.
struct Both {
    agent: Judge,
    stream: Decider,
    at: u64,
}

impl Both {
    fn new(text: &str) -> Self {
        let bundle = Bundle::parse(text.as_bytes()).unwrap_or_else(|problems| panic!("{text}\n{problems:#?}"));
        let bundle = Arc::new(bundle);
        let mut agent = Judge::new(bundle.clone(), BundleRef::NONE);
        let mut stream = Decider::new(bundle);
        for (device, tier) in [("workload:w0", "gold"), ("workload:w1", "bronze"), ("gpu1", "gold")] {
            agent.set_label(Some(&DeviceId::new(device).unwrap()), "tier", Some(tier));
        }
        let caps = [0, 1].map(|gpu| Reading {
            series: Series::new(DeviceId::gpu(gpu), Quantity::GpuPowerCap),
            value: Some(350_000),
        });
        agent.observe(&caps, Mono(0), &mut Vec::new());
        stream.set_fact("present", Some(350_000));
        let mut both = Self { agent, stream, at: 0 };
        // Everything is known and well at first, so that rules come to count.
        let values = [9, 0, 0, 0, 0, 0, 0, 0, 9_900, 50, 0, 0];
        for (name, value) in FACTS.iter().zip(values) {
            both.observe(name, Some(value));
        }
        both
    }

    fn wall(&self) -> Wall {
        Wall(BEGIN_MS.saturating_add_unsigned(self.at))
    }

    fn observe(&mut self, name: &str, value: Option<i64>) {
        self.agent.set_fact(name, value);
        self.stream.set_fact(name, value);
        // Time passes for breakers and alarms.
        self.agent.observe(&[], Mono(self.at), &mut Vec::new());
    }

    fn ask_agent(&mut self, action: &Action, fails: bool) -> Judgement {
        let origin = Origin::Command {
            id: CommandId([1; 16]),
            who: "p".into(),
            reason: "r".into(),
        };
        let want = Want {
            origin: origin.clone(),
            action: action.clone(),
            readings: Vec::new(),
            rejected: Vec::new(),
            verify: None,
        };
        let situation = Situation {
            now: Now {
                mono: Mono(self.at),
                wall: self.wall(),
            },
            policy_age_ms: 0,
            connected: true,
            clock: ClockState::Steady,
            clock_error_ms: Some(0),
            journal_ok: true,
            held_by: None,
            hub_epoch: HubEpoch(0),
        };
        let inputs = self.agent.inputs(&want, &situation);
        let judgement = judge(self.agent.bundle(), &inputs);
        let id: DecisionId = "n.1.1".parse().unwrap();
        match &judgement.granted {
            Some(granted) => {
                self.agent.granted(&inputs, &judgement, &id);
                let state = if fails {
                    OutcomeState::Failed
                } else {
                    OutcomeState::Applied
                };
                self.agent.finished(granted, &origin, state, Mono(self.at));
            }
            None => self.agent.denied(&inputs, &judgement),
        }
        judgement
    }

    /// The short answer: the verdict, and the rule that is named. A question without labels, as only the first GPU has none.
    fn short(&self, action: &Action) -> Option<(Verdict, Option<String>)> {
        let wall = self.wall();
        let amount = match action.kind {
            ActionKind::PowerCap { milliwatts } => Some((i64::from(milliwatts), Unit::Milliwatt)),
            _ => None,
        };
        let question = Question {
            kind: policy::KINDS
                .iter()
                .position(|kind| kind.name == action.kind.name())
                .unwrap(),
            // `reflex`, `brain`, `human`: the order of the question.
            source: 2,
            target: action.target.as_str(),
            amount,
            now: Now {
                mono: Mono(wall.0.unsigned_abs()),
                wall,
            },
        };
        let answer = self.stream.clone().run(&question);
        let rules = self.agent.bundle().rules();
        let rule = answer.rule.map(|place| rules[usize::from(place)].id.clone());
        (action.target == DeviceId::gpu(0)).then_some((answer.verdict, rule))
    }

    fn ask_stream(&mut self, action: &Action, fails: bool) -> Value {
        let labels = match action.target.as_str() {
            "workload:w0" | "gpu1" => json!({ "tier": "gold" }),
            "workload:w1" => json!({ "tier": "bronze" }),
            _ => json!({}),
        };
        let line = json!({ "at": self.wall().to_string(), "under_way": true, "action": {
            "kind": action.kind.name(), "targets": [action.target.as_str()], "source": "human", "labels": labels,
            "params": number_of(&action.kind), "cost_delta_micros_per_h": 0,
        } });
        let answer: Value = serde_json::from_str(&self.stream.decide_line(&line.to_string()).unwrap()).unwrap();
        if answer["valid_until"].is_string() {
            let end = json!({ "kind": action.kind.name(), "target": action.target.as_str(), "failed": fails });
            let line = json!({ "at": self.wall().to_string(), "end": end });
            self.stream.decide_line(&line.to_string()).unwrap();
        }
        answer
    }
}

/// Every comparison that did not pass, as both write it.
type Objection = (bool, String, String, String, Option<i64>, Option<i64>);

fn of_agent(judgement: &Judgement) -> Vec<Objection> {
    let objections = judgement.clauses.iter().filter(|clause| !clause.holds);
    // Rules that leave no common value are a comparison of their own only in an explanation.
    let objections = objections.filter(|clause| !clause.what.starts_with("smallest value"));
    let mut all: Vec<_> = objections
        .map(|one| {
            let verdict = one.verdict.name().to_owned();
            (
                one.shadow,
                one.rule.clone(),
                one.what.clone(),
                verdict,
                one.observed,
                one.limit,
            )
        })
        .collect();
    all.sort();
    all
}

fn of_stream(answer: &Value) -> Vec<Objection> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut all = Vec::new();
    for (list, shadow) in [("determining", false), ("shadow", true)] {
        for one in answer[list].as_array().unwrap() {
            let (observed, limit) = (one["observed"].as_i64(), one["limit"].as_i64());
            all.push((
                shadow,
                text(&one["rule"]),
                text(&one["what"]),
                text(&one["verdict"]),
                observed,
                limit,
            ));
        }
    }
    all.sort();
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_explanation_and_a_tally_come_to_the_same(
        rules in vec((0..RULES.len(), 2u8..9, 0..VIOLATIONS.len()), 1..8),
        steps in vec(step(), 1..40)
    ) {
        let text = text(&rules);
        let mut both = Both::new(&text);
        for (kind, target, number, after, fails, name, value) in steps {
            both.at += after;
            both.observe(FACTS[name], value);
            let action = action(kind, target, number);
            let judgement = both.ask_agent(&action, fails);
            let short = both.short(&action);
            let answer = both.ask_stream(&action, fails);
            let context = format!("{text}\n{action} at {} ms\n{judgement:#?}\n{answer:#}", both.at);
            prop_assert_eq!(answer["verdict"].as_str(), Some(judgement.verdict.name()), "{}", &context);
            if let Some((verdict, rule)) = short {
                let named = (verdict > Verdict::Allow).then(|| judgement.rule.clone());
                prop_assert_eq!((verdict, rule), (judgement.verdict, named), "{}", &context);
            }
            prop_assert_eq!(of_agent(&judgement), of_stream(&answer), "{}", &context);
            let after = |ms: u64| Wall(both.wall().0.saturating_add_unsigned(ms)).to_string();
            let hold = judgement.retry_after_ms.filter(|_| !judgement.verdict.runs()).map(after);
            prop_assert_eq!(answer["hold_until"].as_str(), hold.as_deref(), "{}", &context);
            let valid = judgement.verdict.runs().then(|| after(judgement.valid_for_ms));
            prop_assert_eq!(answer["valid_until"].as_str(), valid.as_deref(), "{}", &context);
            let clamp = judgement.granted.filter(|granted| *granted != action);
            let clamp = clamp.map(|granted| number_of(&granted.kind)["to"].clone()).unwrap_or_default();
            prop_assert_eq!(&answer["clamp"]["value"], &clamp, "{}", &context);
        }
    }
}
