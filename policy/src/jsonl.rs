//! `sentinel policy decide`: one JSON object in, one out, the state carried forward.
//!
//! In, every field but `at` and `action.kind` may be left out:
//!
//! | field | meaning |
//! |---|---|
//! | `at` | RFC 3339; lines are in order of time |
//! | `action.kind` | a kind of [`crate::KINDS`] |
//! | `action.targets` | devices or resources, one or several; all run or none |
//! | `action.params` | `to` (`220 W`, or a number in the unit that is stored) or `replicas` |
//! | `action.source` | `reflex`, `brain` (default), `human`, `hub`, `autoscaler`, `local` |
//! | `action.labels` | of the targets |
//! | `action.cost_delta_micros_per_h`, `.p95_ms`, `.rollback_ms`, `.resources` | what the change costs, how long it takes, what it uses (`null`: nobody knows) |
//! | `action.reversible`, `.disruptive`, `.class` | accepted and not believed: they follow from the kind |
//! | `facts` | observed numbers by name (`rack.members`), kept for later lines; `null` forgets one; `present` is the value before |
//! | `policy_age_ms`, `clock_wrong`, `clock_unknown`, `clock_error_ms` | age of the policy; the clock is wrong; nothing is known of it; by how much it may be off: kept for later lines |
//! | `dry_run`, `under_way` | count nothing; the action stays under way |
//! | `break_glass` | a verified token, open from here on: `{approvers, kinds, until}`; two distinct approvers, at most 4 h; `null` closes it |
//! | `end` | instead of `action`: `{kind, target, failed}` ends one that was under way |
//!
//! Out: `verdict`; `determining` and `shadow`, each `{rule, kind, verdict, observed, limit, unit, window, what}` for every comparison that
//! did not pass; `hold_until`, `clamp` (`{value, unit}`), `valid_until`, or null.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};
use wire::{Mono, Now, Wall};

use crate::actions::{KINDS, amount_unit, kind_index};
use crate::decide::Decider;
use crate::glass::{BREAK_GLASS, Glass};
use crate::kind::freeze::{VALID_FOR_MS, until_held};
use crate::kind::threshold::as_number;
use crate::rule::{Asked, Details, Finding, Source};
use crate::text::units;
use crate::text::{did_you_mean, without_mark};
use crate::walk::{AUTHORITY, PERMITS, Tally, Who};

/// Longest line that is read.
const MAX_LINE_BYTES: usize = 256 * 1024;
/// Most targets of one action.
const MAX_TARGETS: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    at: Wall,
    action: Option<Action>,
    end: Option<End>,
    #[serde(default)]
    facts: Map<String, Value>,
    policy_age_ms: Option<u64>,
    clock_wrong: Option<bool>,
    clock_unknown: Option<bool>,
    clock_error_ms: Option<u32>,
    #[serde(default, deserialize_with = "told")]
    break_glass: Option<Option<Token>>,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    under_way: bool,
}

/// A break-glass token that the operator has verified.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    approvers: Vec<String>,
    kinds: Vec<String>,
    until: Wall,
}

/// A field that is there, be it null.
fn told<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Token>>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Action {
    kind: String,
    #[serde(default)]
    targets: Vec<String>,
    #[serde(default)]
    params: Map<String, Value>,
    source: Option<String>,
    #[serde(default)]
    labels: Map<String, Value>,
    cost_delta_micros_per_h: Option<i64>,
    p95_ms: Option<i64>,
    #[serde(default)]
    rollback_ms: i64,
    #[serde(default)]
    resources: Map<String, Value>,
    #[serde(default, rename = "reversible")]
    _reversible: IgnoredAny,
    #[serde(default, rename = "disruptive")]
    _disruptive: IgnoredAny,
    #[serde(default, rename = "class")]
    _class: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    kind: String,
    #[serde(default)]
    target: String,
    #[serde(default)]
    failed: bool,
}

impl Decider {
    /// Decides one line. An error says what is wrong with the line; the state is then as it was.
    pub fn decide_line(&mut self, line: &str) -> Result<String, String> {
        if line.len() > MAX_LINE_BYTES {
            return Err(format!("{} bytes; a line has at most {MAX_LINE_BYTES}", line.len()));
        }
        let line = without_mark(line);
        let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
        if let Some(latest) = self.latest.filter(|latest| line.at < *latest) {
            return Err(format!(
                "`at` is {}, before {latest} of an earlier line; lines are in order of time: sort them by `at`",
                line.at
            ));
        }
        let facts = line
            .facts
            .iter()
            .map(|(name, value)| read_fact(name, value))
            .collect::<Result<Vec<_>, _>>()?;
        let now = Now {
            // A stream has one clock; times before 1970 are the beginning.
            mono: Mono(u64::try_from(line.at.0).unwrap_or(0)),
            wall: line.at,
        };
        let glass = match &line.break_glass {
            Some(Some(token)) => {
                let left_ms = u64::try_from(token.until.0.saturating_sub(line.at.0)).unwrap_or(0);
                Some(Some(Glass::told(&token.approvers, &token.kinds, now.mono, left_ms)?))
            }
            Some(None) => Some(None),
            None => None,
        };
        let answer = match (&line.action, &line.end) {
            (Some(action), None) => {
                let request = Request::read(action)?;
                self.take_state(&line, &facts, glass);
                self.decide_request(&request, now, &line)
            }
            (None, Some(end)) => {
                let kind = find_kind(&end.kind)?;
                self.take_state(&line, &facts, glass);
                let asked = plain(kind, &end.target, now);
                self.end(&asked, end.failed);
                json!({ "ended": end.kind })
            }
            _ => return Err("a line has either `action` or `end`".to_owned()),
        };
        Ok(answer.to_string())
    }

    fn take_state(&mut self, line: &Line, facts: &[(&str, Option<i64>)], glass: Option<Option<Glass>>) {
        self.latest = Some(line.at);
        self.glass = glass.unwrap_or_else(|| self.glass.take());
        self.set_facts(facts);
        self.policy_age_ms = line.policy_age_ms.unwrap_or(self.policy_age_ms);
        self.clock_wrong = line.clock_wrong.unwrap_or(self.clock_wrong);
        self.clock_unknown = line.clock_unknown.unwrap_or(self.clock_unknown);
        self.clock_error_ms = line.clock_error_ms.map_or(self.clock_error_ms, i64::from);
    }

    fn decide_request(&mut self, request: &Request, now: Now, line: &Line) -> Value {
        self.catch_up(now);
        let asked: Vec<_> = (0i64..)
            .zip(&request.targets)
            .map(|(earlier, target)| Asked {
                earlier,
                clock_wrong: self.clock_wrong,
                clock_unknown: self.clock_unknown,
                clock_error_ms: self.clock_error_ms,
                ..request.asked(target, now)
            })
            .collect();
        let bundle = self.bundle.clone();
        let mut tally = Tally::default();
        let (mut determining, mut shadow) = (Vec::new(), Vec::new());
        // Alone it is judged before anything is counted; several are judged each as if those before it ran.
        let is_trial = asked.len() > 1;
        if is_trial {
            self.try_out();
        }
        for (index, one) in asked.iter().enumerate() {
            self.list_glass(one, &mut determining);
            self.hear(&bundle, one, |who, asked, finding| {
                tally.count(who, &finding);
                if !finding.holds {
                    let list = if who.is_shadow() { &mut shadow } else { &mut determining };
                    list.push(written(who, asked, &finding));
                }
            });
            if index + 1 < asked.len() {
                self.settle(one, !line.under_way);
            }
        }
        let answer = tally.answer(request.amount);
        let stays = answer.verdict.runs() && !line.dry_run;
        if let Some(last) = asked.last().filter(|_| stays) {
            self.settle(last, !line.under_way);
        }
        if is_trial {
            self.end_trial(stays);
        }
        let open_for = |one: &Asked<'_>| self.glass.as_ref()?.covers(one).map(|(_, left_ms)| left_ms);
        let until_end = |one: &Asked<'_>| {
            // An open break-glass token lifts freezes and maintenance windows.
            open_for(one).or_else(|| until_held(&self.bundle.rules, one).map(as_number))
        };
        let valid_ms = asked.iter().filter_map(until_end).fold(VALID_FOR_MS, i64::min);
        let at = |ms: i64| Wall(now.wall.0.saturating_add(ms)).to_string();
        let held = answer.retry_after_ms.filter(|_| !answer.verdict.runs());
        json!({
            "verdict": answer.verdict.name(),
            "determining": determining,
            "shadow": shadow,
            "hold_until": held.map(|ms| at(i64::try_from(ms).unwrap_or(i64::MAX))),
            "clamp": answer.clamp.zip(request.amount).map(|(value, (_, unit))| json!({ "value": value, "unit": unit })),
            "valid_until": answer.verdict.runs().then(|| at(valid_ms)),
        })
    }

    /// An open break-glass token, and who opened it.
    fn list_glass(&self, asked: &Asked<'_>, determining: &mut Vec<Value>) {
        if let Some((who, left_ms)) = self.glass.as_ref().and_then(|glass| glass.covers(asked)) {
            let finding = Finding::pass(0, ">", Some(left_ms), Some(0), wire::Unit::Milliseconds);
            let what = format!("break-glass of {who}");
            determining.push(entry(BREAK_GLASS, BREAK_GLASS, &what, &finding));
        }
    }
}

/// A comparison that did not pass.
fn written(who: Who<'_>, asked: &Asked<'_>, finding: &Finding) -> Value {
    match who {
        Who::Rule(_, rule) => {
            let what = rule.kind.what(finding.part, asked);
            entry(&rule.id, rule.kind.name(), &what, finding)
        }
        Who::Named(id) => {
            let what = match id {
                PERMITS => "permit for this kind",
                AUTHORITY => "age of the policy",
                _ => "safety reflexes of this node in 1 h",
            };
            entry(id, id, what, finding)
        }
    }
}

fn entry(rule: &str, kind: &str, what: &str, finding: &Finding) -> Value {
    json!({
        "rule": rule,
        "kind": kind,
        "verdict": finding.verdict.name(),
        "observed": finding.observed,
        "limit": finding.limit,
        "unit": finding.unit,
        "window": what.rsplit_once(" in ").map(|(_, window)| window),
        "what": what,
        "counterfactual": finding.counterfactual(what),
    })
}

/// An action of a line, checked.
struct Request {
    kind: usize,
    source: Source,
    targets: Vec<String>,
    labels: Vec<(String, String)>,
    amount: Option<(i64, wire::Unit)>,
    details: Details,
}

impl Request {
    fn read(action: &Action) -> Result<Self, String> {
        let kind = find_kind(&action.kind)?;
        let name = action.source.as_deref().unwrap_or("brain");
        let source = Source::NAMES.iter().position(|known| *known == name);
        let source = source.ok_or_else(|| format!("unknown source `{name}`; one of {}", Source::NAMES.join(", ")))?;
        if action.targets.len() > MAX_TARGETS {
            return Err(format!("{} targets; at most {MAX_TARGETS}", action.targets.len()));
        }
        for (name, ms) in [
            ("p95_ms", action.p95_ms.unwrap_or(0)),
            ("rollback_ms", action.rollback_ms),
        ] {
            if ms < 0 {
                return Err(format!(
                    "`action.{name}` is {ms}; it is a time in milliseconds, 0 or more"
                ));
            }
        }
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        // Text maps of other systems carry numbers as text.
        let read = |value: &Value| match value {
            Value::String(text) => text.parse::<i64>().ok(),
            other => other.as_i64(),
        };
        let number = |(name, value): (&String, &Value)| match read(value) {
            None if value.is_null() => Ok((name.clone(), None)),
            Some(number) => Ok((name.clone(), Some(number))),
            None => Err(format!("`resources.{name}` is no whole number: {value}")),
        };
        Ok(Self {
            kind,
            source: Source::ALL[source],
            targets: if action.targets.is_empty() {
                vec![String::new()]
            } else {
                action.targets.clone()
            },
            labels: action
                .labels
                .iter()
                .map(|(name, value)| (name.clone(), text(value)))
                .collect(),
            amount: read_amount(kind, &action.params)?,
            details: Details {
                cost_delta_micros_per_h: action.cost_delta_micros_per_h,
                lasts_ms: action.p95_ms,
                rollback_ms: action.rollback_ms,
                resources: action.resources.iter().map(number).collect::<Result<_, _>>()?,
            },
        })
    }

    fn asked<'a>(&'a self, target: &'a str, now: Now) -> Asked<'a> {
        Asked {
            source: self.source,
            labels: &self.labels,
            amount: self.amount,
            details: &self.details,
            ..plain(self.kind, target, now)
        }
    }
}

fn plain(kind: usize, target: &str, now: Now) -> Asked<'_> {
    Asked {
        kind,
        source: Source::Brain,
        target,
        labels: &[],
        amount: None,
        details: Details::NONE,
        earlier: 0,
        is_undo: false,
        clock_wrong: false,
        clock_unknown: false,
        clock_error_ms: 0,
        now,
    }
}

fn find_kind(name: &str) -> Result<usize, String> {
    kind_index(name).ok_or_else(|| {
        let hint = did_you_mean(name, KINDS.iter().map(|kind| kind.name));
        let hint = hint.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        format!("unknown kind of action `{name}`{hint}")
    })
}

fn read_amount(kind: usize, params: &Map<String, Value>) -> Result<Option<(i64, wire::Unit)>, String> {
    let Some(unit) = amount_unit(kind) else {
        return Ok(None);
    };
    let known = ["to", "replicas"];
    let misspelt = |name: &&String| !known.contains(&name.as_str()) && did_you_mean(name, known).is_some();
    if let Some(name) = params.keys().find(misspelt) {
        let near = did_you_mean(name, known).unwrap_or("to");
        return Err(format!(
            "unknown parameter `{name}` of {}; did you mean `{near}`?",
            KINDS[kind].name
        ));
    }
    let Some(value) = params.get("to").or_else(|| params.get("replicas")) else {
        return Ok(None);
    };
    let amount = match value {
        Value::Number(number) => number
            .as_i64()
            .ok_or_else(|| format!("`{number}` is no whole number"))?,
        Value::String(text) => units::amount(text, unit)?,
        other => {
            return Err(format!(
                "`{other}` is neither a number nor a text such as `{}`",
                units::example(unit)
            ));
        }
    };
    let problem = match KINDS[kind].name {
        "throttle" if !(100..=10_000).contains(&amount) => Some("it is a share of a core, 1 %..=100 %".to_owned()),
        "power_cap" if amount == 0 => Some("it is no power limit, such as `220 W`".to_owned()),
        _ => units::implausible(amount, unit),
    };
    match problem {
        Some(why) => Err(format!("the number of `{}` is {value}: {why}", KINDS[kind].name)),
        None => Ok(Some((amount, unit))),
    }
}

fn read_fact<'a>(name: &'a str, value: &Value) -> Result<(&'a str, Option<i64>), String> {
    match value {
        Value::Null => Ok((name, None)),
        Value::Bool(flag) => Ok((name, Some(i64::from(*flag)))),
        value => match value.as_i64() {
            Some(number) => Ok((name, Some(number))),
            None => Err(format!("fact `{name}` is no whole number: {value}")),
        },
    }
}
