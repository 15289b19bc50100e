//! Policy tests as data: a timeline in, expected decisions out. The same for us (`tests/cases`) and for people's own bundles.
//!
//! A file is YAML: `bundle` (its text, or nothing for the bundle that is tested) and `cases`, each a `name` and `steps`. A step says
//! when (`at`, and `until` with `every` to repeat it), what sensors `read`, what somebody `ask`s, how the node stands (`hold`,
//! `journal`, `policy_age`, `connected`), how actions end from here on (`outcome`), and the decisions that it `expect`s, each as
//! `VERDICT RULE: ACTION` or the beginning of that. A step without `expect` expects none.
//!
//! What agents carry out themselves is judged as on an agent. Other kinds of action (drain, scale, …), and questions of others than
//! people, are judged as `sentinel policy decide` judges them, with counts of their own.
//!
//! Pure: nothing is carried out.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::api::BundleProblem;
use wire::decision::{Inputs, Judgement};
use wire::frame::DeviceInfo;
use wire::time::ClockState;
use wire::{
    AgentId, BreakGlassPayload, BundleRef, CommandId, DecisionId, DeviceId, Digest, Epoch, Generation, HubEpoch, Mono,
    Now, Origin, OutcomeState, Quantity, Reading, Seq, Series, Wall, codec,
};

use serde_json::{Value, json};

use crate::actions::{KINDS, parse_action};
use crate::bundle::Bundle;
use crate::decide::Decider;
use crate::engine::{Judge, Situation, Want};
use crate::judge::judge;
use crate::text::fields::{Fields, Problems};
use crate::text::tree;
use crate::text::units;

/// Most rounds of one case: a day of one-second rounds.
const MAX_ROUNDS: u64 = 86_400;
/// 2026-02-02, a Monday: where the calendar begins unless a case says otherwise.
const WALL_AT_ZERO_MS: i64 = 1_769_990_400_000;

/// How one case went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseResult {
    /// Its name.
    pub name: String,
    /// The line that it begins in.
    pub line: u32,
    /// What was not as expected, for people; empty if it passed.
    pub failures: Vec<String>,
}

/// Runs every case of a file. `tested` is the bundle for files that bring none of their own.
///
/// An error means that the file cannot be read; failed cases are in the results.
pub fn run_cases(text: &[u8], tested: Option<&[u8]>) -> Result<Vec<CaseResult>, Vec<BundleProblem>> {
    let problems = Problems::default();
    let file = std::str::from_utf8(text).ok().map(tree::yaml);
    let read = match &file {
        Some(Ok(root)) => {
            let mut fields = Fields::new(root, "", &problems);
            let read = read_file(&mut fields);
            fields.finish();
            Some(read)
        }
        Some(Err(error)) => {
            problems.add(error.place, "", error.message.clone());
            None
        }
        None => {
            problems.add(tree::Place::default(), "", "this is not UTF-8 text");
            None
        }
    };
    if !problems.is_empty() {
        return Err(problems.into_vec());
    }
    let Some((own, cases)) = read else {
        return Ok(Vec::new());
    };
    let bundle_text = own
        .as_ref()
        .map(String::as_bytes)
        .or(tested)
        .unwrap_or(b"bundle: empty");
    let bundle = Arc::new(Bundle::parse(bundle_text)?);
    Ok(cases.iter().map(|case| case.run(&bundle, bundle_text)).collect())
}

struct Case {
    name: String,
    line: u32,
    starts: Option<Wall>,
    steps: Vec<Step>,
}

#[derive(Default)]
struct Step {
    line: u32,
    at: u64,
    until: u64,
    every: u64,
    read: Vec<Reading>,
    ask: Vec<Asks>,
    outcome: Option<usize>,
    hold: Option<String>,
    journal_ok: Option<bool>,
    connected: Option<bool>,
    policy_age: Option<u64>,
    range: Option<DeviceInfo>,
    publish: Option<String>,
    restart: bool,
    facts: Vec<(String, i64)>,
    labels: Vec<(String, String)>,
    glass: Option<Token>,
    expect: Vec<String>,
}

/// What somebody asks for.
enum Asks {
    /// An agent.
    Agent(Box<(Origin, wire::Action)>),
    /// A stream of questions: the action as `decide` reads it.
    Stream(Box<Value>),
}

/// A break-glass token that is opened.
struct Token {
    payload: BreakGlassPayload,
    approvers: Vec<String>,
}

const OUTCOMES: &[&str] = &[
    "applied",
    "verified",
    "not_verified",
    "failed",
    "unknown",
    "dropped",
    "none",
];

fn read_file(fields: &mut Fields<'_>) -> (Option<String>, Vec<Case>) {
    let bundle = fields.text("bundle", "the bundle's text; without it the bundle that is tested");
    let cases = fields.maps("cases", true, "the cases", |f| {
        let case = Case {
            name: f.need_text("name", "the sentence that it proves"),
            line: f.place().line,
            starts: read_start(f),
            steps: f.maps("steps", true, "what happens, in order", |f| read_step(f)),
        };
        if f.has("steps") && case.steps.is_empty() {
            f.problem("steps", "the list is empty: a case without a step proves nothing");
        }
        case
    });
    if fields.has("cases") && cases.is_empty() {
        fields.problem("cases", "the list is empty: a file without a case proves nothing");
    }
    (bundle, cases)
}

fn read_start(fields: &mut Fields<'_>) -> Option<Wall> {
    let text = fields.text("starts", "the wall clock at 0 s, RFC 3339; 2026-02-02T00:00:00Z")?;
    let read = text.parse::<Wall>();
    if let Err(error) = &read {
        fields.problem("starts", error.to_string());
    }
    read.ok()
}

fn read_step(fields: &mut Fields<'_>) -> Step {
    let at = fields.duration("at", "when, from the start of the case").unwrap_or(0);
    let until = fields.duration("until", "repeat it until this time");
    let every = fields.duration("every", "how often to repeat it; 1 s");
    let read = fields.pairs("read", "readings, for example gpu0/gpu.temperature: 91 °C, or missing");
    let read = read
        .iter()
        .filter_map(|(series, value)| read_reading(fields, series, value))
        .collect();
    let facts = fields.pairs("facts", "observed numbers by name, for example rack.members: 12");
    let facts = facts.into_iter().filter_map(|(name, text)| match text.parse::<i64>() {
        Ok(number) => Some((name, number)),
        Err(_) => {
            fields.problem("facts", format!("`{text}` of {name} is no whole number"));
            None
        }
    });
    let facts = facts.collect();
    let ask = fields.maps("ask", false, "what somebody asks for", |f| read_ask(f));
    let journal = fields.choice("journal", &["ok", "failed"], "whether the journal accepts entries");
    let range = fields.map("range", false, "the range of power caps that a device accepts", |f| {
        let device = f.need_text("device", "which device");
        let low = f.need_amount("min", Some(wire::Unit::Milliwatt), "");
        let high = f.need_amount("max", Some(wire::Unit::Milliwatt), "");
        Some(DeviceInfo {
            id: DeviceId::new(device).ok()?,
            model: "case".to_owned(),
            simulated: true,
            power_cap_range_mw: Some((u32::try_from(low).ok()?, u32::try_from(high).ok()?)),
        })
    });
    let glass = fields.map("break_glass", false, "a break-glass token is opened", |f| Token {
        approvers: f.words("approvers", "who signed it").unwrap_or_default(),
        payload: BreakGlassPayload {
            number: f
                .number("number", 0, i64::MAX, "its number; 1")
                .unwrap_or(1)
                .unsigned_abs(),
            trust_domain: String::new(),
            nodes: Vec::new(),
            targets: f.words("targets", "devices that it is for; all").unwrap_or_default(),
            kinds: f.words("kinds", "kinds of action that it is for").unwrap_or_default(),
            open_for_ms: f.need_duration("open_for", "how long it is open"),
            issued_at: Wall(0),
            reason: String::new(),
        },
    });
    let expect = fields
        .words("expect", "the decisions of this step, in order")
        .unwrap_or_default();
    if expect.iter().any(|expected| expected.trim().is_empty()) {
        fields.problem(
            "expect",
            "an empty text would pass whatever is decided; write the verdict at least, for example allow",
        );
    }
    Step {
        line: fields.place().line,
        glass,
        at,
        until: until.unwrap_or(at).max(at),
        every: every.unwrap_or(1_000).max(1),
        read,
        ask: ask.into_iter().flatten().collect(),
        outcome: fields.choice("outcome", OUTCOMES, "how granted actions end from here on; applied"),
        hold: fields.text("hold", "who holds the node from here on; nobody to release"),
        facts,
        labels: fields.pairs(
            "labels",
            "labels of the node (team: ml) or of a device (gpu0/slot: upper)",
        ),
        journal_ok: journal.map(|index| index == 0),
        connected: fields
            .choice("connected", &["yes", "no"], "whether a hub is there")
            .map(|index| index == 0),
        policy_age: fields.duration("policy_age", "how old the policy is at this step; it grows on"),
        range: range.flatten(),
        publish: fields.text("publish", "another bundle's text, active from here on"),
        restart: fields.flag("restart", "the agent starts anew with the ledger it stored"),
        expect,
    }
}

fn read_reading(fields: &Fields<'_>, series: &str, value: &str) -> Option<Reading> {
    let (device, quantity) = series.rsplit_once('/').unwrap_or((series, ""));
    let parsed = DeviceId::new(device).ok().zip(quantity.parse::<Quantity>().ok());
    let Some((device, quantity)) = parsed else {
        fields.problem(
            "read",
            format!("`{series}` is no series, for example gpu0/gpu.temperature"),
        );
        return None;
    };
    let value = match value {
        "missing" => None,
        text => match units::amount(text, quantity.unit()) {
            Ok(value) => Some(value),
            Err(message) => {
                fields.problem("read", message);
                return None;
            }
        },
    };
    Some(Reading {
        series: Series::new(device, quantity),
        value,
    })
}

fn read_ask(fields: &mut Fields<'_>) -> Option<Asks> {
    let kinds: Vec<&'static str> = KINDS.iter().map(|kind| kind.name).collect();
    let kind = fields.need_choice("action", &kinds, "which action");
    let targets = fields
        .words("target", "on which device or resource, or several")
        .unwrap_or_default();
    let by = fields.choice(
        "by",
        &["command", "local", "reflex", "brain", "human", "hub", "autoscaler"],
        "a person through the hub (default) or at the node; or who else asks",
    );
    let mut params = BTreeMap::new();
    for name in ["to", "message", "replicas"] {
        params.extend(
            fields
                .text(name, "the action's parameter")
                .map(|value| (name.to_owned(), value)),
        );
    }
    let lasts_ms = fields.duration("p95", "how long it takes in 19 of 20 cases");
    let rollback_ms = fields.duration("rollback", "how long its way back takes");
    let cost = fields.number(
        "cost_delta_micros_per_h",
        i64::MIN,
        i64::MAX,
        "by how much it changes the cost of an hour",
    );
    let resources = fields.pairs("resources", "by how much it changes the use of each resource");
    let kind = *kinds.get(kind?)?;
    let is_stated = lasts_ms.is_some() || rollback_ms.is_some() || cost.is_some() || !resources.is_empty();
    let is_for_agents =
        wire::ActionKind::NAMES.contains(&kind) && by.is_none_or(|by| by < 2) && targets.len() < 2 && !is_stated;
    if is_for_agents {
        return read_order(fields, kind, &targets, by, &params);
    }
    let source = match by {
        Some(1) => "local",
        Some(2) => "reflex",
        Some(3) => "brain",
        Some(5) => "hub",
        Some(6) => "autoscaler",
        _ => "human",
    };
    let mut action = json!({ "kind": kind, "targets": targets, "source": source, "params": params });
    let numbers = [
        ("p95_ms", lasts_ms.map(|ms| json!(ms))),
        ("rollback_ms", rollback_ms.map(|ms| json!(ms))),
        ("cost_delta_micros_per_h", cost.map(|cost| json!(cost))),
    ];
    for (name, value) in numbers {
        if let Some(value) = value {
            action[name] = value;
        }
    }
    let unknown = |text: String| if text == "unknown" { Value::Null } else { json!(text) };
    action["resources"] = resources
        .into_iter()
        .map(|(name, text)| (name, unknown(text)))
        .collect();
    Some(Asks::Stream(Box::new(action)))
}

/// What a person orders of an agent.
fn read_order(
    fields: &Fields<'_>,
    kind: &str,
    targets: &[String],
    by: Option<usize>,
    params: &BTreeMap<String, String>,
) -> Option<Asks> {
    let who = "tester".to_owned();
    let reason = "case".to_owned();
    let origin = match by {
        Some(1) => Origin::Local { who, reason },
        _ => Origin::Command {
            id: CommandId([0; 16]),
            who,
            reason,
        },
    };
    let [target] = targets else {
        fields.problem(
            "target",
            format!("`{kind}` is done to one device: give its name as `target`"),
        );
        return None;
    };
    let asked = DeviceId::new(target.clone()).map_err(|e| e.to_string());
    match asked.and_then(|target| parse_action(&target, kind, params)) {
        Ok(action) => Some(Asks::Agent(Box::new((origin, action)))),
        Err(message) => {
            fields.problem("action", message);
            None
        }
    }
}

/// One case while it runs.
struct Run {
    judge: Judge,
    /// Judges what agents do not carry out themselves.
    stream: Decider,
    /// Labels of the node, and of each target by `target/name`.
    labels: Vec<(String, String)>,
    wall_at_zero: i64,
    bundle_text: Vec<u8>,
    generation: u64,
    held_by: Option<String>,
    journal_ok: bool,
    connected: bool,
    policy_age_from: (u64, u64),
    outcome: usize,
    decisions: u64,
    failures: Vec<String>,
}

impl Case {
    fn run(&self, bundle: &Arc<Bundle>, text: &[u8]) -> CaseResult {
        let reference = reference(1, text);
        let mut run = Run {
            judge: Judge::new(bundle.clone(), reference),
            stream: Decider::new(bundle.clone()),
            labels: Vec::new(),
            wall_at_zero: self.starts.map_or(WALL_AT_ZERO_MS, |wall| wall.0),
            bundle_text: text.to_vec(),
            generation: 1,
            held_by: None,
            journal_ok: true,
            connected: true,
            policy_age_from: (0, 0),
            outcome: 0,
            decisions: 0,
            failures: Vec::new(),
        };
        let mut rounds = 0;
        let mut clock = 0;
        for step in &self.steps {
            let mut at = step.at.max(clock);
            run.begin(step, at);
            let mut found = Vec::new();
            loop {
                run.round(step, at, &mut found);
                rounds += 1;
                clock = at;
                at += step.every;
                if at > step.until || rounds >= MAX_ROUNDS {
                    break;
                }
            }
            run.compare(step, &found);
        }
        CaseResult {
            name: self.name.clone(),
            line: self.line,
            failures: run.failures,
        }
    }
}

impl Run {
    fn begin(&mut self, step: &Step, at: u64) {
        if let Some(who) = &step.hold {
            self.held_by = (who != "nobody").then(|| who.clone());
            self.judge.reconsider();
        }
        self.journal_ok = step.journal_ok.unwrap_or(self.journal_ok);
        self.connected = step.connected.unwrap_or(self.connected);
        self.outcome = step.outcome.unwrap_or(self.outcome);
        if let Some(age) = step.policy_age {
            self.policy_age_from = (at, age);
        }
        for (name, value) in &step.facts {
            self.judge.set_fact(name, Some(*value));
            self.stream.set_fact(name, Some(*value));
        }
        for (name, value) in &step.labels {
            self.labels.retain(|(known, _)| known != name);
            self.labels.push((name.clone(), value.clone()));
            match name.split_once('/').map(|(device, name)| (DeviceId::new(device), name)) {
                Some((Ok(device), name)) => self.judge.set_label(Some(&device), name, Some(value)),
                Some((Err(error), _)) => self.failures.push(format!("line {}: {error}", step.line)),
                None => self.judge.set_label(None, name, Some(value)),
            }
        }
        if let Some(Token { payload, approvers }) = &step.glass {
            let now = Now {
                mono: Mono(at),
                wall: Wall(0),
            };
            if let Err(problem) = self.judge.break_glass(payload, approvers, now, false) {
                self.failures.push(format!("line {}: {problem}", step.line));
            }
        }
        if let Some(info) = &step.range {
            self.judge.set_device(info);
        }
        if let Some(text) = &step.publish {
            match Bundle::parse(text.as_bytes()) {
                Ok(bundle) => {
                    self.generation += 1;
                    self.bundle_text = text.clone().into_bytes();
                    let reference = reference(self.generation, &self.bundle_text);
                    let bundle = Arc::new(bundle);
                    self.stream = Decider::new(bundle.clone());
                    self.judge.replace_bundle(bundle, reference);
                }
                Err(problems) => self.failures.push(format!("line {}: {problems:?}", step.line)),
            }
        }
        if step.restart {
            let bytes = codec::encode(&self.judge.ledger());
            let bundle = self.judge.bundle().clone();
            self.judge = Judge::new(bundle, self.judge.reference());
            match codec::decode(&bytes) {
                Ok(ledger) => self.judge.restore(ledger),
                Err(error) => self.failures.push(format!("the ledger does not read back: {error}")),
            }
        }
    }

    fn round(&mut self, step: &Step, at: u64, found: &mut Vec<String>) {
        let mut wants = Vec::new();
        self.judge.observe(&step.read, Mono(at), &mut wants);
        for want in wants {
            found.push(self.decide(&want, at));
        }
        for ask in &step.ask {
            found.push(match ask {
                Asks::Stream(action) => self.decide_in_stream(action, at),
                Asks::Agent(order) => {
                    let (origin, action) = order.as_ref().clone();
                    let want = Want {
                        origin,
                        action,
                        readings: Vec::new(),
                        rejected: Vec::new(),
                        verify: None,
                    };
                    self.decide(&want, at)
                }
            });
        }
    }

    /// Asks as `decide` would be asked; what runs ends as the case says.
    fn decide_in_stream(&mut self, action: &Value, at: u64) -> String {
        let wall = Wall(self.wall_at_zero.saturating_add_unsigned(at));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let targets: Vec<String> = action["targets"].as_array().into_iter().flatten().map(text).collect();
        let outcome = OUTCOMES[self.outcome];
        let is_over = matches!(outcome, "applied" | "verified");
        let (from, age) = self.policy_age_from;
        let mut action = action.clone();
        action["labels"] = self.labels_of(&targets);
        let line = json!({
            "at": wall.to_string(), "policy_age_ms": age + (at - from), "under_way": !is_over, "action": action,
        });
        let answer = match self.stream.decide_line(&line.to_string()) {
            Ok(answer) => serde_json::from_str::<Value>(&answer).unwrap_or_default(),
            Err(problem) => return format!("refused: {problem}"),
        };
        let verdict = text(&answer["verdict"]);
        let runs = answer["valid_until"].is_string();
        if runs && matches!(outcome, "not_verified" | "failed" | "unknown") {
            for target in &targets {
                let end = json!({ "kind": action["kind"], "target": target, "failed": true });
                let line = json!({ "at": wall.to_string(), "end": end });
                if let Err(problem) = self.stream.decide_line(&line.to_string()) {
                    self.failures.push(problem);
                }
            }
        }
        let determining = answer["determining"].as_array().into_iter().flatten();
        let named = determining.filter(|one| one["verdict"] == answer["verdict"] && verdict != "allow");
        let rule = named.map(|one| text(&one["rule"])).min();
        let rule = rule.unwrap_or_else(|| text(&action["source"]));
        let clamp = answer["clamp"]["value"].as_i64();
        let clamp = clamp.map_or(String::new(), |value| format!(" to {value}"));
        format!(
            "{verdict} {rule}: {} {}{clamp}",
            targets.join(", "),
            text(&action["kind"])
        )
        .replace(":  ", ": ")
    }

    /// Labels of the node, and those of all these targets.
    fn labels_of(&self, targets: &[String]) -> Value {
        let labels = self
            .labels
            .iter()
            .filter_map(|(name, value)| match name.rsplit_once('/') {
                Some((device, name)) => targets.iter().all(|target| target == device).then_some((name, value)),
                None => Some((name.as_str(), value)),
            });
        labels.map(|(name, value)| (name.to_owned(), json!(value))).collect()
    }

    fn decide(&mut self, want: &Want, at: u64) -> String {
        let held_by = self.held_by.clone();
        let (from, age) = self.policy_age_from;
        let inputs = self.judge.inputs(
            want,
            &Situation {
                now: Now {
                    mono: Mono(at),
                    wall: Wall(self.wall_at_zero.saturating_add_unsigned(at)),
                },
                policy_age_ms: age + (at - from),
                connected: self.connected,
                clock: ClockState::Steady,
                clock_error_ms: Some(0),
                journal_ok: self.journal_ok,
                held_by: held_by.as_deref(),
                hub_epoch: HubEpoch(1),
            },
        );
        let judgement = judge(self.judge.bundle(), &inputs);
        self.check_replay(&inputs, &judgement);
        self.decisions += 1;
        if judgement.granted.is_some() {
            self.judge.granted(&inputs, &judgement, &decision_id(self.decisions));
            self.end(want, &judgement, at);
        } else {
            self.judge.denied(&inputs, &judgement);
        }
        let action = judgement.granted.as_ref().unwrap_or(&inputs.wanted);
        format!("{} {}: {action}", judgement.verdict.name(), judgement.rule)
    }

    fn end(&mut self, want: &Want, judgement: &Judgement, at: u64) {
        let Some(action) = &judgement.granted else {
            return;
        };
        let mut ends = |state| self.judge.finished(action, &want.origin, state, Mono(at));
        match OUTCOMES[self.outcome] {
            "applied" => {
                ends(OutcomeState::Applied);
                if want.verify.is_some() {
                    ends(OutcomeState::Verified);
                }
            }
            "verified" => ends(OutcomeState::Verified),
            "not_verified" => {
                ends(OutcomeState::Applied);
                ends(OutcomeState::NotVerified);
            }
            "failed" => ends(OutcomeState::Failed),
            "unknown" => ends(OutcomeState::Unknown),
            "dropped" => ends(OutcomeState::Dropped),
            _ => {}
        }
    }

    /// Every decision of every case must come out the same from the text alone.
    fn check_replay(&mut self, inputs: &Inputs, judgement: &Judgement) {
        let decision = wire::Decision {
            inputs: inputs.clone(),
            judgement: judgement.clone(),
        };
        match crate::replay(&self.bundle_text, &decision_id(1), &decision) {
            Ok(view) if view.identical => {}
            Ok(view) => self.failures.push(format!("does not replay: {:?}", view.differences)),
            Err(problems) => self.failures.push(format!("does not replay: {problems:?}")),
        }
    }

    fn compare(&mut self, step: &Step, found: &[String]) {
        let same = found.len() == step.expect.len()
            && found
                .iter()
                .zip(&step.expect)
                .all(|(found, expected)| found.starts_with(expected.as_str()));
        if !same {
            self.failures.push(format!(
                "line {}: expected {:?}, found {found:?}",
                step.line, step.expect
            ));
        }
    }
}

fn reference(generation: u64, text: &[u8]) -> BundleRef {
    BundleRef {
        generation: Generation(generation),
        digest: Digest::of(text),
    }
}

fn decision_id(seq: u64) -> DecisionId {
    DecisionId {
        agent: AgentId::new("case").expect("a valid name"),
        epoch: Epoch(1),
        seq: Seq(seq),
    }
}
