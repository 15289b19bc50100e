//! The four entries. Each says what must hold of any answer, besides that there is one.

use std::sync::{Arc, OnceLock};

use policy::canary::{Canary, Next, Outcome, Report, Verdict, judge_canary};
use policy::{Bundle, Decider, MAX_RULES, explain_kind};

/// Most problems that are told of one bundle.
const MAX_PROBLEMS: usize = 50;
/// Most lines that one input's decisions take.
const MAX_LINES: usize = 64;

/// Rules of every kind that keeps something between two questions.
const STATEFUL: &str = "bundle: fuzz
permits: [{ kinds: [scale, reboot, restart, drain, wipe, power_cap, rollback, driver_change] }]
rules:
  - { id: rate, kind: rate_limit, limit: 2, window: 1 h, key: target }
  - { id: cool, kind: cooldown, after_success: 1 m }
  - { id: budget, kind: budget, limit: 3, window: 1 d, key: node }
  - { id: one, kind: mutex, selector: { kinds: [reboot, driver_change] } }
  - { id: range, kind: envelope, selector: { kinds: [power_cap] }, min: 100 W, max: 350 W }
  - { id: step, kind: step_size, selector: { kinds: [scale] }, max_change: 50 % }
  - { id: rack, kind: blast_radius, domain: rack, max_concurrent: { bp: 2000 }, min_healthy: { bp: 7500 } }
  - { id: quota, kind: quota, scope: team, nominal: { replicas: 10 } }
  - { id: cost, kind: cost_ceiling, scope: shop, ceiling_micros: 100000000, window: month }
  - { id: burn, kind: slo_burn, sli: web }
  - { id: sla, kind: sla, service: web, target: 99.9 %, period: 30 d }
  - { id: sure, kind: confidence, selector: { sources: [brain] } }
  - { id: sale, kind: change_freeze, tz: America/New_York, rrule: 'FREQ=WEEKLY;BYDAY=SA', mode: shadow }
  - { id: own, kind: cel, require: 'facts.members > 3 || action.amount < 5', mode: shadow }
";

/// Questions that any bundle can be asked.
const QUESTIONS: [&str; 3] = [
    r#"{"at":"2026-12-02T12:00:00Z","facts":{"rack.members":50,"rack.unhealthy":1},"action":{"kind":"scale","targets":["a","b"],"params":{"replicas":3}}}"#,
    r#"{"at":"2026-12-02T12:00:01Z","action":{"kind":"power_cap","targets":["gpu0"],"params":{"to":"220 W"},"source":"reflex"}}"#,
    r#"{"at":"2027-02-28T23:59:59Z","policy_age_ms":90000000,"action":{"kind":"reboot","p95_ms":1000000}}"#,
];

/// A bundle's text: read, or refused with places; what is read answers questions.
pub fn bundle(data: &[u8]) {
    match Bundle::parse(data) {
        Ok(bundle) => {
            assert!(bundle.rules().len() <= MAX_RULES);
            for rule in bundle.rules() {
                assert!(
                    explain_kind(&rule.kind).is_ok(),
                    "rule kind `{}` is not explained",
                    rule.kind
                );
            }
            ask(&mut Decider::new(Arc::new(bundle)));
        }
        Err(problems) => {
            assert!(
                !problems.is_empty() && problems.len() <= MAX_PROBLEMS,
                "{} problems",
                problems.len()
            );
            assert!(problems.iter().all(|problem| !problem.message.is_empty()));
        }
    }
}

fn ask(decider: &mut Decider) {
    for question in QUESTIONS {
        match decider.decide_line(question) {
            Ok(answer) => assert!(answer.contains("\"verdict\""), "{answer}"),
            // The lines before it may have been of any time.
            Err(why) => assert!(why.contains("in order of time"), "{why}"),
        }
    }
}

/// A condition in CEL: compiled into a rule, or refused with its place; a compiled one answers questions.
pub fn cel(data: &[u8]) {
    let condition = serde_json::to_string(&String::from_utf8_lossy(data)).expect("text is JSON");
    bundle(format!("bundle: fuzz\nrules:\n  - {{ id: own, kind: cel, require: {condition} }}\n").as_bytes());
}

/// Lines of decisions: each one is answered, or refused with what is wrong.
pub fn decide(data: &[u8]) {
    static RULES: OnceLock<Arc<Bundle>> = OnceLock::new();
    let rules = RULES.get_or_init(|| Arc::new(Bundle::parse(STATEFUL.as_bytes()).expect("the bundle is in order")));
    let mut decider = Decider::new(rules.clone());
    for line in String::from_utf8_lossy(data).lines().take(MAX_LINES) {
        match decider.decide_line(line) {
            Ok(answer) => {
                let read: serde_json::Value = serde_json::from_str(&answer).expect("an answer is JSON");
                assert!(read["verdict"].is_string() || read["ended"].is_string(), "{answer}");
            }
            Err(why) => assert!(!why.is_empty()),
        }
    }
    ask(&mut decider);
}

/// A canary's question: analysed, or refused with its field. What is not known never passes.
pub fn canary(data: &[u8]) {
    let Ok(question) = Canary::parse(data) else {
        return;
    };
    let report = judge_canary(&question).expect("it was checked when it was read");
    let unknown = report.metrics.iter().any(|metric| metric.outcome == Outcome::NoData);
    let passes = report.verdict == Verdict::Pass || report.next == Next::Advance;
    assert!(!(unknown && passes), "{report}");
    assert!(report.guards.is_empty() || report.verdict == Verdict::Abort, "{report}");
    assert_eq!(
        report.verdict == Verdict::Abort,
        report.next == Next::RollBack && !waited_too_long(&question, &report)
    );
    let text = serde_json::to_string(&report).expect("a report is plain data");
    let again = judge_canary(&question).map(|again| serde_json::to_string(&again).expect("plain data"));
    assert_eq!(again.as_deref(), Ok(text.as_str()));
}

/// Missing data of a critical metric takes the change back without calling it worse.
fn waited_too_long(question: &Canary, report: &Report) -> bool {
    let deadline = question
        .no_data_deadline_ms
        .unwrap_or(question.step_ms.saturating_mul(2));
    report.verdict == Verdict::Inconclusive && question.elapsed_ms >= deadline
}
