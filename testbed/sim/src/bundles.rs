//! Random bundles: any kind of rule, any mode, limits from the loose to the absurd. The same seed writes the same texts.
//!
//! A world draws a pool of rules once and each bundle is a handful of them, so that a rule leaves and comes back with the same name
//! and the same limits, and what it counts must have survived that.
//!
//! Writes text as people do and remembers in plain numbers what it wrote; what those numbers demand is in `rules.rs`, which never
//! asks the engine.

use wire::Digest;

use crate::random::Random;

/// The actions that an agent carries out itself.
pub(crate) const ACTIONS: [&str; 6] = [
    "power_cap",
    "release_power_cap",
    "restart",
    "throttle",
    "unthrottle",
    "notify",
];
/// What an agent observes by itself.
const SEEN: &str = "indicators:\n  - { id: seen, quantity: gpu.temperature, good: { below: 80 °C }, target: 90 %, stale_after: 5 s }\n";
/// What it meters.
const ENERGY: &str =
    "meters:\n  - { id: energy, quantity: gpu.power, price_micros_per_kwh: 3600000, stale_after: 5 s }\n";
const MODES: [&str; 4] = ["enforce", "enforce", "shadow", "off"];
/// The rate over all nodes that worlds with turns have in every bundle: so many restarts in so many milliseconds.
pub(crate) const OF_ALL: (usize, u64) = (3, 60_000);
/// Its rule.
pub(crate) const OF_ALL_ID: &str = "turns-of-all";
/// Rules of a kind in a pool.
const OF_EACH: u64 = 2;

/// What a rate counts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Target,
    Kind,
    TargetKind,
    Node,
}

/// What a rule demands, in plain numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Nothing that is looked at here: conditions, and what has nothing to say about an agent's own actions.
    None,
    /// A cap lies within, in milliwatts.
    Range(i64, i64),
    /// A cap differs from the present one by this at most, in milliwatts.
    Step(i64),
    /// So much was asked for, in milliwatts; what it was clamped to is another question.
    Asked(i64),
    /// Fewer than `limit` before it in a window; `all` says that safety reflexes and ways back count too.
    Rate {
        limit: u64,
        window_ms: u64,
        by: By,
        all: bool,
    },
    /// So long after the same one of the same target ended, in milliseconds.
    Rest(u64),
    /// Not within these hours of a UTC day.
    Closed(u64, u64),
    /// Only within these hours of a UTC day.
    Open(u64, u64),
    /// Not before the hub has counted; what stops work only in its turn, and while at most so many are touched with it.
    Radius(i64),
    /// Not while the facts of its decision say that a release, or any other action that is no reflex, costs more than this in an hour, or
    /// do not say what it costs.
    Paid(i64),
    /// What raises a limit of power stays within this in milliwatts, with what all limits add up to; a release knows both.
    Powered(i64),
    /// Not at all, because nobody observed what the rule asks for; `disruptive` says that it asks only for what stops work.
    Unobserved { disruptive: bool },
    /// Not while another of the selected actions is under way, on the whole node or on the same target.
    Alone { node: bool },
}

/// One rule as it was written.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) id: String,
    pub(crate) kind: &'static str,
    pub(crate) mode: &'static str,
    /// Actions that it selects.
    pub(crate) actions: Vec<&'static str>,
    pub(crate) demand: Demand,
    text: String,
}

impl Written {
    pub(crate) fn counts(&self) -> bool {
        self.mode == "enforce"
    }
}

/// A bundle as it was written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Draft {
    pub(crate) rules: Vec<Written>,
    pub(crate) text: String,
}

impl Draft {
    /// A text that a person wrote: nothing is known of its rules.
    pub(crate) fn given(text: &str) -> Self {
        Self {
            rules: Vec::new(),
            text: text.to_owned(),
        }
    }

    /// The same with a rule that lets so many nodes of a rack restart something at once, and not more, and one that lets all nodes
    /// together restart so many things in a while.
    pub(crate) fn with_turns(mut self, n: usize) -> Self {
        if !self.text.contains("\nrules:") {
            self.text.push_str("rules:\n");
        }
        let body = format!("    domain: rack\n    max_concurrent: {{ n: {n} }}\n");
        let written = Written {
            id: "turns-of-a-rack".to_owned(),
            kind: "blast_radius",
            mode: "enforce",
            actions: vec!["restart"],
            demand: Demand::Radius(i64::try_from(n).unwrap_or(0)),
            text: format!(
                "  - id: turns-of-a-rack\n    kind: blast_radius\n    selector: {{ kinds: [restart] }}\n{body}"
            ),
        };
        let (limit, window_ms) = OF_ALL;
        let body = format!("    key: global\n    limit: {limit}\n    window: {window_ms} ms\n");
        let rate = Written {
            id: OF_ALL_ID.to_owned(),
            kind: "rate_limit",
            mode: "enforce",
            actions: vec!["restart"],
            demand: Demand::Rate {
                limit: limit as u64,
                window_ms,
                by: By::Node,
                all: false,
            },
            text: format!("  - id: {OF_ALL_ID}\n    kind: rate_limit\n    selector: {{ kinds: [restart] }}\n{body}"),
        };
        for written in [written, rate] {
            self.text = format!("{}\n{}", self.text.trim_end(), written.text);
            self.rules.push(written);
        }
        self
    }
}

/// What a world draws its bundles from.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    random: Random,
    rules: Vec<Written>,
}

impl Pool {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0xB0BD_1E5E);
        let kinds = (0..OF_EACH).flat_map(|_| KINDS.iter());
        let rules = kinds.map(|(kind, write)| finish(kind, write(&mut random), &mut random));
        Self {
            rules: rules.collect(),
            random,
        }
    }

    /// The next bundle: rules that make the agent act, and some that object.
    pub(crate) fn next(&mut self) -> Draft {
        let mut rules: Vec<Written> = Vec::new();
        for rule in &self.rules {
            let per_mille = match rule.demand {
                // What always objects would leave nothing to look at.
                Demand::Unobserved { disruptive: false } | Demand::Open(..) | Demand::Closed(..) => 120,
                _ if rule.kind == "threshold" => 800,
                _ => 350,
            };
            if self.random.chance(per_mille) {
                rules.push(rule.clone());
            }
        }
        // A bundle without permits allows what is not dangerous; one with them names what may run.
        let permits = match self.random.below(4) {
            0 => "",
            1 => "permits:\n  - kinds: [power_cap, release_power_cap, notify]\n",
            _ => "permits:\n  - kinds: [power_cap, release_power_cap, restart, throttle, unthrottle, notify]\n",
        };
        // What the agent observes itself, or has forgotten, or has never known.
        let indicators = match self.random.below(2) {
            0 => "",
            _ => SEEN,
        };
        let meters = match self.random.below(3) {
            0 => "",
            1 => ENERGY,
            // The same energy at another price.
            _ => "meters:\n  - { id: energy, quantity: gpu.power, price_micros_per_kwh: 7200000, stale_after: 5 s }\n",
        };
        let lines: String = rules.iter().map(|rule| rule.text.as_str()).collect();
        let head = if rules.is_empty() { "" } else { "rules:\n" };
        Draft {
            text: format!(
                "bundle: random-{}\n{permits}{indicators}{meters}{head}{lines}",
                self.random.below(1 << 32)
            ),
            rules,
        }
    }
}

/// The body of a rule: its own lines, the actions that it selects (none for those that cause actions), and what it demands.
type Body = (String, Vec<&'static str>, Demand);
type Write = fn(&mut Random) -> Body;

/// Every kind of rule.
pub(crate) const KINDS: &[(&str, Write)] = &[
    ("threshold", heat),
    ("threshold", leak),
    ("stale", stale),
    ("cooldown", cooldown),
    ("rate_limit", rate_limit),
    ("budget", budget),
    ("envelope", envelope),
    ("step_size", step),
    ("change_freeze", freeze),
    ("maintenance_window", maintenance),
    ("cost_ceiling", cost),
    ("quota", quota),
    ("sla", sla),
    ("slo_burn", slo),
    ("blast_radius", blast),
    ("confidence", confidence),
    ("mutex", mutex),
    ("cel", cel),
];

/// What of the chosen actions a rule can object to at all; a bundle may select nothing else. If it is none of them, one that it can.
fn objected(kind: &str, body: &str, chosen: Vec<&'static str>) -> Vec<&'static str> {
    let objects = |action: &str| {
        let rule = format!("  - id: probe\n    kind: {kind}\n    selector: {{ kinds: [{action}] }}\n{body}");
        policy::Bundle::parse(format!("bundle: probe\n{SEEN}{ENERGY}rules:\n{rule}").as_bytes()).is_ok()
    };
    let kept: Vec<_> = chosen.iter().copied().filter(|action| objects(action)).collect();
    match kept.is_empty() {
        true => ACTIONS
            .iter()
            .copied()
            .find(|action| objects(action))
            .into_iter()
            .collect(),
        false => kept,
    }
}

fn finish(kind: &'static str, (body, actions, demand): Body, random: &mut Random) -> Written {
    let actions = match actions.is_empty() {
        true => actions,
        false => objected(kind, &body, actions),
    };
    let mode = random.pick(&MODES).copied().unwrap_or("enforce");
    let id = format!(
        "{}-{:x}",
        kind.replace('_', "-"),
        Digest::of(format!("{mode} {body} {actions:?}").as_bytes()).0[0]
    ) + &random.below(1 << 20).to_string();
    let selector = match actions.as_slice() {
        [] => String::new(),
        names => format!("    selector: {{ kinds: [{}] }}\n", names.join(", ")),
    };
    Written {
        text: format!("  - id: {id}\n    kind: {kind}\n    mode: {mode}\n{selector}{body}"),
        id,
        kind,
        mode,
        actions,
        demand,
    }
}

fn heat(random: &mut Random) -> Body {
    // A busy GPU settles at 99 °C, an idle one at 46 °C: above that no condition lasts for ever.
    let above = random.between(75, 93);
    let undo = random.chance(700);
    let body = format!(
        "    quantity: gpu.temperature\n    above: {above} °C\n    for: {} s\n    clear_below: {} °C\n    then: {{ action: power_cap, to: {} W }}\n{}    undo_on_clear: {undo}\n    never_expires: {}\n",
        random.between(1, 6),
        above - random.between(3, 12),
        random.between(60, 400),
        if random.chance(500) {
            "    verify: { falls_below: 80 °C, within: 60 s }\n"
        } else {
            ""
        },
        random.chance(500),
    );
    (body, Vec::new(), Demand::None)
}

fn leak(random: &mut Random) -> Body {
    let body = format!(
        "    quantity: workload.memory\n    above: {} MiB\n    for: {} s\n    then: {{ action: restart }}\n",
        random.between(150, 500),
        random.between(1, 5)
    );
    (body, Vec::new(), Demand::None)
}

fn stale(random: &mut Random) -> Body {
    // A device that no node has is silent from the start.
    let device = if random.chance(500) { "gpu7" } else { "gpu0" };
    let body = format!(
        "    quantity: gpu.temperature\n    device: {device}\n    after: {} s\n    then: {{ action: notify, message: silent }}\n",
        random.between(10, 120)
    );
    (body, Vec::new(), Demand::None)
}

/// Some of the actions, at least one.
fn some(random: &mut Random) -> Vec<&'static str> {
    let mut chosen: Vec<_> = ACTIONS.iter().copied().filter(|_| random.chance(400)).collect();
    if chosen.is_empty() {
        chosen.extend(random.pick(&ACTIONS).copied());
    }
    chosen
}

fn cooldown(random: &mut Random) -> Body {
    let (success, failure) = (random.between(1, 90), random.between(1, 90));
    let body = format!("    after_success: {success} s\n    after_failure: {failure} s\n    cap: 5 min\n");
    (body, some(random), Demand::Rest(success.min(failure) * 1_000))
}

fn rate(random: &mut Random, all: bool) -> Body {
    let (limit, window) = (random.between(0, 5), random.between(30, 600));
    let keys = [
        ("target", By::Target),
        ("kind", By::Kind),
        ("target_kind", By::TargetKind),
        ("node", By::Node),
        // Whatever the hub counts besides: no node does more than the limit by itself.
        ("global", By::Node),
        ("cluster", By::Node),
    ];
    let (key, by) = random.pick(&keys).copied().unwrap_or(keys[0]);
    let body = format!("    limit: {limit}\n    window: {window} s\n    key: {key}\n");
    let window_ms = window * 1_000;
    (
        body,
        some(random),
        Demand::Rate {
            limit,
            window_ms,
            by,
            all,
        },
    )
}

fn rate_limit(random: &mut Random) -> Body {
    rate(random, false)
}

fn budget(random: &mut Random) -> Body {
    rate(random, true)
}

fn envelope(random: &mut Random) -> Body {
    let (min, max) = (random.between(50, 240), random.between(240, 400));
    let body = format!("    min: {min} W\n    max: {max} W\n");
    (body, vec!["power_cap"], Demand::Range(milli(min), milli(max)))
}

fn step(random: &mut Random) -> Body {
    let max = random.between(5, 250);
    (
        format!("    max: {max} W\n"),
        vec!["power_cap"],
        Demand::Step(milli(max)),
    )
}

fn milli(whole: u64) -> i64 {
    i64::try_from(whole * 1_000).unwrap_or(i64::MAX)
}

/// Hours of a day; every world begins at midnight, so about half of them cover its beginning.
fn hours(random: &mut Random) -> (u64, u64, String) {
    let from = if random.chance(500) { 23 } else { random.below(24) };
    let to = (from + random.between(1, 12)) % 24;
    let body = format!("    tz: UTC\n    rrule: FREQ=DAILY\n    from: \"{from:02}:00\"\n    to: \"{to:02}:00\"\n");
    (from, to, body)
}

fn freeze(random: &mut Random) -> Body {
    let (from, to, body) = hours(random);
    (body, some(random), Demand::Closed(from, to))
}

fn maintenance(random: &mut Random) -> Body {
    let (from, to, body) = hours(random);
    (body, some(random), Demand::Open(from, to))
}

fn cost(random: &mut Random) -> Body {
    if random.chance(600) {
        // Of a joule for a millionth: from a GPU at rest to two that are busy.
        let ceiling = random.between(100_000, 4_000_000);
        let body = format!("    scope: energy\n    ceiling_micros: {ceiling}\n    window: 1 h\n");
        let ceiling = i64::try_from(ceiling).unwrap_or(i64::MAX);
        return (body, some(random), Demand::Paid(ceiling));
    }
    let body = format!(
        "    scope: tenant\n    ceiling_micros: {}\n    window: day\n",
        random.between(1, 1 << 40)
    );
    (body, some(random), Demand::None)
}

fn quota(random: &mut Random) -> Body {
    if random.chance(600) {
        let watts = random.between(100, 800);
        let body = format!("    scope: node\n    nominal: {{ power_mw: {} }}\n", watts * 1_000);
        return (
            body,
            vec!["power_cap", "release_power_cap"],
            Demand::Powered(milli(watts)),
        );
    }
    (
        format!("    scope: tenant\n    nominal: {{ gpu: {} }}\n", random.below(9)),
        some(random),
        Demand::None,
    )
}

fn sla(random: &mut Random) -> Body {
    let target = random.below(10);
    if random.chance(500) {
        let lasts = random.between(1, 600);
        let body = format!("    service: seen\n    target: 9{target} %\n    period: 1 h\n    lasts: {lasts} s\n");
        return (body, some(random), Demand::None);
    }
    let body = format!("    service: web\n    target: 99.{target} %\n");
    (body, some(random), Demand::Unobserved { disruptive: true })
}

fn slo(random: &mut Random) -> Body {
    let sli = *random.pick(&["web", "seen"]).unwrap_or(&"seen");
    (format!("    sli: {sli}\n    from: low\n"), some(random), Demand::None)
}

fn blast(random: &mut Random) -> Body {
    let n = random.below(5);
    let body = format!("    domain: rack\n    max_concurrent: {{ n: {n} }}\n");
    (body, some(random), Demand::Radius(i64::try_from(n).unwrap_or(0)))
}

fn confidence(random: &mut Random) -> Body {
    let body = format!("    low: {} %\n", random.between(1, 99));
    (body, some(random), Demand::Unobserved { disruptive: false })
}

fn mutex(random: &mut Random) -> Body {
    let node = random.chance(500);
    let key = if node { "node" } else { "target" };
    (format!("    key: {key}\n"), some(random), Demand::Alone { node })
}

fn cel(random: &mut Random) -> Body {
    let least = random.between(60, 260);
    let body = format!("    require: 'action.amount >= value(\"{least} W\")'\n");
    (body, vec!["power_cap"], Demand::Asked(milli(least)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_seed_writes_is_a_bundle_and_the_same_one_again() {
        for seed in 0..200 {
            let (mut pool, mut again) = (Pool::new(seed), Pool::new(seed));
            for _ in 0..5 {
                let draft = pool.next();
                assert_eq!(draft.text, again.next().text);
                let bundle = policy::Bundle::parse(draft.text.as_bytes());
                let bundle = bundle.unwrap_or_else(|problems| panic!("seed {seed}: {problems:#?}\n{}", draft.text));
                assert_eq!(bundle.rules().len(), draft.rules.len());
            }
        }
    }
}
