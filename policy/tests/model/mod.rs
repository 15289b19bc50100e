//! A slow and obvious second evaluator, and random timelines for it and the first.
//!
//! It shares no code with the first: rules are plain numbers, the history is a list of everything that ever ran, and each rule looks
//! through all of it every time.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use policy::{Bundle, Decider, KINDS, Question};
use proptest::collection::vec;
use proptest::prelude::*;
use wire::decision::Verdict;
use wire::reading::Unit;
use wire::{Mono, Now, Wall};

#[derive(Debug, Clone)]
enum Spec {
    Rate {
        limit: u64,
        window: u64,
        key: u8,
        hard: bool,
    },
    Cooldown {
        wait: u64,
    },
    Range {
        min: i64,
        max: i64,
    },
    Freeze {
        start: u64,
        end: u64,
    },
    /// A condition of one of six shapes.
    Cel {
        shape: u8,
        watts: i64,
        target: u8,
        verb: usize,
    },
}

/// One rule, as plain numbers.
#[derive(Debug, Clone)]
pub struct Rule {
    spec: Spec,
    kinds: Vec<usize>,
    target: Option<u8>,
    source: Option<usize>,
    shadow: bool,
    violation: u8,
}

const VERBS: [&str; 5] = ["power_cap", "restart", "scale", "drain", "reboot"];
const KEYS: [&str; 4] = ["target", "kind", "target_kind", "node"];
const VIOLATIONS: [Option<&str>; 5] = [None, Some("deny"), Some("require_approval"), Some("hold"), Some("warn")];
const SOURCES: [&str; 6] = ["reflex", "brain", "human", "hub", "autoscaler", "local"];

/// Any rule.
pub fn rule() -> impl Strategy<Value = Rule> {
    let spec = prop_oneof![
        (0u64..4, 1u64..50, 0u8..4, any::<bool>()).prop_map(|(limit, window, key, hard)| {
            Spec::Rate {
                limit,
                window,
                key,
                hard,
            }
        }),
        (1u64..40).prop_map(|wait| Spec::Cooldown { wait }),
        (1i64..200, 0i64..200).prop_map(|(min, more)| Spec::Range { min, max: min + more }),
        (0u64..1_000, 1u64..200).prop_map(|(start, length)| Spec::Freeze {
            start,
            end: start + length
        }),
        (0u8..6, 48i64..52, 0u8..3, 0usize..VERBS.len()).prop_map(|(shape, watts, target, verb)| Spec::Cel {
            shape,
            watts,
            target,
            verb
        }),
    ];
    (
        spec,
        vec(0usize..VERBS.len(), 0..3),
        proptest::option::of(0u8..3),
        proptest::option::weighted(0.2, 0usize..6),
        any::<bool>(),
        0u8..5,
    )
        .prop_map(|(spec, mut kinds, target, source, shadow, violation)| {
            if let Spec::Range { .. } = spec {
                kinds = vec![0];
            }
            if matches!(spec, Spec::Rate { hard: false, .. } | Spec::Freeze { .. })
                && kinds.iter().all(|kind| *kind == 0)
            {
                // A rule that never objects to what it selects is none.
                kinds.extend((!kinds.is_empty()).then_some(1));
            }
            Rule {
                spec,
                kinds,
                target,
                source,
                shadow: shadow && violation == 0,
                violation,
            }
        })
}

fn text(rules: &[Rule]) -> String {
    let mut text = "bundle: r\npermits: [{ kinds: [power_cap, restart, scale, drain] }]\nrules:\n".to_owned();
    for (index, rule) in rules.iter().enumerate() {
        let kinds: Vec<_> = rule.kinds.iter().map(|k| VERBS[*k]).collect();
        let mut selector = Vec::new();
        if !kinds.is_empty() {
            selector.push(format!("kinds: [{}]", kinds.join(", ")));
        }
        if let Some(target) = rule.target {
            selector.push(format!("targets: [gpu{target}]"));
        }
        if let Some(source) = rule.source {
            selector.push(format!("sources: [{}]", SOURCES[source]));
        }
        let spec = match &rule.spec {
            Spec::Rate {
                limit,
                window,
                key,
                hard,
            } => {
                let kind = if *hard { "budget" } else { "rate_limit" };
                format!(
                    "kind: {kind}, limit: {limit}, window: {window} s, key: {}",
                    KEYS[usize::from(*key)]
                )
            }
            Spec::Cooldown { wait } => format!("kind: cooldown, after_success: {wait} s"),
            Spec::Range { min, max } => format!("kind: envelope, min: {min} W, max: {max} W"),
            Spec::Freeze { start, end } => format!(
                "kind: change_freeze, spans: [{{ local_start: {}, local_end: {} }}]",
                local(*start),
                local(*end)
            ),
            Spec::Cel {
                shape,
                watts,
                target,
                verb,
            } => {
                let condition = match shape {
                    0 => format!("action.target != \"gpu{target}\""),
                    1 => format!(
                        "action.kind == \"{}\" || action.target.endsWith(\"{target}\")",
                        VERBS[*verb]
                    ),
                    2 => "!(action.source in [\"human\", \"hub\"]) && has(action.amount)".to_owned(),
                    3 => format!("action.amount < value(\"{watts} W\")"),
                    4 => format!("action.amount / ({watts} - 50) > 0"),
                    _ => "now.getMinutes() % 2 == 0".to_owned(),
                };
                format!("kind: cel, require: '{condition}'")
            }
        };
        let mode = if rule.shadow { ", mode: shadow" } else { "" };
        let violation =
            VIOLATIONS[usize::from(rule.violation)].map_or(String::new(), |v| format!(", on_violation: {v}"));
        text.push_str(&format!(
            "  - {{ id: r{index}, {spec}, selector: {{ {} }}{mode}{violation} }}\n",
            selector.join(", ")
        ));
    }
    text
}

fn local(second: u64) -> String {
    format!(
        "1970-01-01T{:02}:{:02}:{:02}",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[derive(Debug, Clone)]
struct Ran {
    at: u64,
    verb: usize,
    target: u8,
    /// Rules that counted it, by index.
    seen_by: Vec<bool>,
}

struct Asked {
    at: u64,
    verb: usize,
    target: u8,
    source: usize,
    watts: i64,
}

/// The obvious way: the verdict, the clamped number, and which rules count it.
fn reference(rules: &[Rule], history: &[Ran], asked: &Asked) -> (Verdict, Option<i64>, Vec<bool>) {
    let safety = VERBS[asked.verb] == "power_cap";
    let mut verdicts = vec![if VERBS[asked.verb] == "reboot" {
        Verdict::Deny
    } else {
        Verdict::Allow
    }];
    let (mut low, mut high) = (i64::MIN, i64::MAX);
    let mut passes = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let selected = (rule.kinds.is_empty() || rule.kinds.contains(&asked.verb))
            && rule.target.is_none_or(|target| target == asked.target)
            && rule.source.is_none_or(|source| source == asked.source);
        let exempt = safety && matches!(rule.spec, Spec::Rate { hard: false, .. } | Spec::Freeze { .. });
        if !selected || exempt {
            passes.push(false);
            continue;
        }
        let of_rule = history.iter().filter(|ran| ran.seen_by[index]);
        let mut unknown = false;
        let mut verdict = match rule.spec {
            Spec::Rate {
                limit,
                window,
                key,
                hard,
            } => {
                let count = of_rule
                    .filter(|ran| asked.at - ran.at < window * 1_000)
                    .filter(|ran| key == 1 || key == 3 || ran.target == asked.target)
                    .filter(|ran| key == 0 || key == 3 || ran.verb == asked.verb)
                    .count();
                match (count as u64 >= limit, hard) {
                    (false, _) => Verdict::Allow,
                    (true, true) => Verdict::Deny,
                    (true, false) => Verdict::Hold,
                }
            }
            Spec::Cooldown { wait } => {
                // A rule that is tried out counts the end of what it would have let run.
                let counted = history.iter().filter(|ran| ran.seen_by[index]);
                let last = counted
                    .filter(|r| r.verb == asked.verb && r.target == asked.target)
                    .map(|r| r.at)
                    .max();
                if last.is_some_and(|last| asked.at - last < wait * 1_000) {
                    Verdict::Hold
                } else {
                    Verdict::Allow
                }
            }
            Spec::Range { min, max } => {
                let watts = asked.watts * 1_000;
                let outside = watts < min * 1_000 || watts > max * 1_000;
                if !(rule.shadow || outside && rule.violation == 4) {
                    low = low.max(min * 1_000);
                    high = high.min(max * 1_000);
                }
                if outside { Verdict::Clamp } else { Verdict::Allow }
            }
            Spec::Freeze { start, end } => {
                if (start * 1_000..end * 1_000).contains(&asked.at) {
                    Verdict::Hold
                } else {
                    Verdict::Allow
                }
            }
            Spec::Cel {
                shape,
                watts,
                target,
                verb,
            } => {
                let amount = (asked.verb == 0).then_some(asked.watts * 1_000);
                let outcome = match (shape, amount) {
                    (0, _) => Some(asked.target != target),
                    (1, _) => Some(asked.verb == verb || asked.target == target),
                    (2, _) => Some(!matches!(SOURCES[asked.source], "human" | "hub") && amount.is_some()),
                    (3, Some(amount)) => Some(amount < watts * 1_000),
                    (4, Some(amount)) if watts != 50 => Some(amount / (watts - 50) > 0),
                    (3 | 4, _) => None,
                    _ => Some((asked.at / 60_000).is_multiple_of(2)),
                };
                unknown = outcome.is_none();
                match (outcome, VERBS[asked.verb]) {
                    (Some(true), _) | (None, "power_cap") => Verdict::Allow,
                    (Some(false), _) | (None, "reboot") => Verdict::Deny,
                    (None, _) => Verdict::Hold,
                }
            }
        };
        let is_reflex = safety && SOURCES[asked.source] == "reflex";
        if is_reflex && matches!(rule.spec, Spec::Rate { .. }) {
            // A budget counts a reflex and never stops it.
            verdict = Verdict::Allow;
        }
        if verdict != Verdict::Allow {
            verdict = match VIOLATIONS[usize::from(rule.violation)] {
                Some("warn") => Verdict::Allow,
                _ if unknown => verdict,
                Some("deny") => Verdict::Deny,
                Some("require_approval") => Verdict::RequireApproval,
                Some("hold") => Verdict::Hold,
                Some(_) | None => verdict,
            };
        }
        passes.push(!rule.shadow || verdict <= Verdict::Clamp);
        if !rule.shadow {
            verdicts.push(verdict);
        }
    }
    let mut worst = verdicts.into_iter().max().unwrap();
    let mut clamp = None;
    if worst == Verdict::Clamp {
        if low <= high {
            clamp = Some((asked.watts * 1_000).clamp(low, high));
        } else {
            worst = Verdict::Deny;
        }
    }
    (worst, clamp, passes)
}

/// What is asked: verb, target, source, watts, milliseconds after the one before.
pub type Ask = (usize, u8, usize, i64, u64);

/// Any question.
pub fn ask() -> impl Strategy<Value = Ask> {
    (0usize..VERBS.len(), 0u8..3, 0usize..6, 1i64..400, 0u64..30_000)
}

/// Plays one timeline through both; an error shows where they differ.
pub fn compare(rules: &[Rule], asks: &[Ask]) -> Result<(), String> {
    let text = text(rules);
    let bundle = Bundle::parse(text.as_bytes()).map_err(|problems| format!("{text}\n{problems:#?}"))?;
    let mut decider = Decider::new(Arc::new(bundle));
    let mut history = Vec::new();
    let mut at = 0;
    for (verb, target, source, watts, after) in asks.iter().copied() {
        at += after;
        let asked = Asked {
            at,
            verb,
            target,
            source,
            watts,
        };
        let (verdict, clamp, seen_by) = reference(rules, &history, &asked);
        let name = format!("gpu{target}");
        let question = Question {
            kind: KINDS.iter().position(|kind| kind.name == VERBS[verb]).unwrap(),
            source,
            target: &name,
            amount: (verb == 0).then_some((watts * 1_000, Unit::Milliwatt)),
            now: Now {
                mono: Mono(at),
                wall: Wall(i64::try_from(at).unwrap()),
            },
        };
        let answer = decider.run(&question);
        if (answer.verdict, answer.clamp) != (verdict, clamp) {
            return Err(format!(
                "{text}\n{question:?}\nthe engine says {:?} {:?}, the reference {verdict:?} {clamp:?}",
                answer.verdict, answer.clamp
            ));
        }
        if verdict <= Verdict::Clamp {
            history.push(Ran {
                at,
                verb,
                target,
                seen_by,
            });
        }
    }
    Ok(())
}
