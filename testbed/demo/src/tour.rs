//! The tour: one node is cut off, acts alone, and comes back with the same decisions byte for byte.
//!
//! A list of steps, each with the time that it may take. A step does one thing and then waits until a node or the hub says that
//! it happened; the times shown are those at which it did. Nothing here waits for effect.
//!
//! Invariant: every line that is shown was read back from a node, from the hub, or from the kernel; a step that does not see what
//! it waits for fails, with what it saw last.
//! Read next: `tour/steps.rs`, `tour/person.rs` for what a person asks, and `tour/carried.rs` for what neighbours do.

mod brain;
mod carried;
mod freeze;
mod kube;
mod person;
mod steps;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::control::{Order, Verb};
use crate::screen::Screen;
use crate::sentinel::Sentinel;
use crate::signals::Stop;

/// What the nodes start with.
pub const DEMO_BUNDLE: &[u8] = include_bytes!("../../../policy/bundles/demo.yaml");
/// What is published while one of them is away.
const STRICT_BUNDLE: &[u8] = include_bytes!("../../../policy/bundles/demo-strict.yaml");

/// One step: its name, how long it may take, and what it does.
pub struct Step {
    name: &'static str,
    within: Duration,
    play: fn(&mut Tour<'_>) -> Result<(), String>,
    /// It needs a node that is not cut off meanwhile.
    needs_two: bool,
    /// It needs a Kubernetes cluster beside the demo.
    needs_kube: bool,
}

impl Step {
    const fn new(name: &'static str, within_seconds: u64, play: fn(&mut Tour<'_>) -> Result<(), String>) -> Self {
        Self {
            name,
            within: Duration::from_secs(within_seconds),
            play,
            needs_two: false,
            needs_kube: false,
        }
    }

    /// Left out where no cluster runs beside the demo.
    const fn in_cluster(self) -> Self {
        Self {
            needs_kube: true,
            ..self
        }
    }

    /// Left out where the demo has one node.
    const fn beside(self) -> Self {
        Self {
            needs_two: true,
            ..self
        }
    }
}

/// What the steps know from each other.
pub struct Tour<'a> {
    cluster: &'a Cluster,
    screen: &'a Screen,
    stop: &'a Stop,
    /// The node that is played with.
    node: String,
    /// How long the present step may take.
    within: Duration,
    /// Decisions that were there before.
    before: BTreeSet<String>,
    /// The decision that capped the GPU.
    cap: String,
    /// The workload's process before that.
    old_pid: i64,
    /// The decision that restarted the workload.
    restart: String,
    /// Generation of the stricter bundle.
    generation: u64,
    /// The node whose load grows beside all that.
    warm: String,
    /// Plans that were there before.
    plans: BTreeSet<String>,
    /// The plan of the embedded brain.
    plan: String,
}

/// Plays every step. Fails with the step's name at the first that does not see what it waits for.
pub fn play(cluster: &Cluster, screen: &Screen, stop: &Stop) -> Result<(), String> {
    let names = cluster.names();
    let node = names.get(2).or(names.last()).copied().unwrap_or_default();
    let mut tour = Tour {
        cluster,
        screen,
        stop,
        node: node.to_owned(),
        within: Duration::ZERO,
        before: BTreeSet::new(),
        cap: String::new(),
        old_pid: 0,
        restart: String::new(),
        generation: 0,
        warm: names.first().copied().unwrap_or_default().to_owned(),
        plans: BTreeSet::new(),
        plan: String::new(),
    };
    screen.note("");
    for step in steps::STEPS {
        if step.needs_two && tour.warm == tour.node || step.needs_kube && !cluster.has_kube() {
            continue;
        }
        tour.within = step.within;
        (step.play)(&mut tour).map_err(|reason| {
            format!(
                "the tour stops at step `{}`: {reason}\n  logs: {}",
                step.name,
                cluster.folder().path().join("logs").display()
            )
        })?;
    }
    Ok(())
}

impl Tour<'_> {
    fn sentinel(&self) -> &Sentinel {
        self.cluster.sentinel()
    }

    fn obey(&self, verb: Verb, gpu: Option<u32>) -> Result<String, String> {
        self.cluster.obey(&Order::new(verb, &self.node, gpu))
    }

    /// Waits until `look` finds what the step is about.
    fn until<T>(&self, look: impl FnMut() -> Result<T, String>) -> Result<T, String> {
        self.stop.until(self.within, look)
    }

    /// The node's row as it tells it itself.
    fn own(&self) -> Result<Value, String> {
        self.sentinel().json(&format!("describe node {} --local", self.node))
    }

    /// The node's row as the hub tells it.
    fn at_hub(&self) -> Result<Value, String> {
        self.sentinel().json(&format!("describe node {}", self.node))
    }

    /// Its decisions, newest first, from its own socket.
    fn decisions(&self, local: bool) -> Result<Vec<Value>, String> {
        let local = if local { " --local" } else { "" };
        self.sentinel()
            .items(&format!("get decisions --limit 500 --node {}{local}", self.node))
    }

    /// Everything about one decision, from the node's own socket.
    fn detail(&self, id: &str) -> Result<Value, String> {
        self.sentinel().json(&format!("why {id} --local"))
    }

    /// A new decision of the node for this action, by its own word.
    fn decided(&self, action: &str) -> Result<Value, String> {
        let rows = self.decisions(true)?;
        rows.into_iter()
            .rev()
            .find(|row| {
                row["action"] == action
                    && !self.before.contains(text(&row["id"]))
                    && matches!(text(&row["verdict"]), "allow" | "clamp")
            })
            .ok_or_else(|| format!("{} has decided no {action}", self.node))
    }

    /// The outcome of a decision with this word, by the node's own word.
    fn outcome(&self, id: &str, state: &str) -> Result<Value, String> {
        let detail = self.detail(id)?;
        let outcomes = detail["outcomes"].as_array().cloned().unwrap_or_default();
        let seen: Vec<&str> = outcomes.iter().map(|row| text(&row["state"])).collect();
        if let Some(bad) = seen
            .iter()
            .find(|word| matches!(**word, "failed" | "not_verified" | "dropped"))
        {
            return Err(format!("the outcome of {id} is {bad}, not {state}"));
        }
        outcomes
            .iter()
            .find(|row| row["state"] == state)
            .cloned()
            .ok_or_else(|| format!("outcomes of {id} so far: [{}]", seen.join(", ")))
    }

    /// Shows something at the time that was journaled with it.
    fn show_at(&self, at: &Value, word: &str, what: &str) {
        let journaled = self.screen.started().at(text(at));
        match journaled {
            Some(at) => self.screen.happened_at(&at, word, what),
            None => self.screen.happened(word, what),
        }
    }
}

/// A JSON string, or nothing.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// `91.2 °C` of thousandths.
fn thousandths(value: &Value, unit: &str) -> String {
    match value.as_i64() {
        Some(value) if value % 1_000 == 0 => format!("{} {unit}", value / 1_000),
        Some(value) => format!("{}.{} {unit}", value / 1_000, (value % 1_000).abs() / 100),
        None => format!("— {unit}"),
    }
}

/// `91.2 °C` of a number of degrees.
fn with_unit(value: &Value, unit: &str) -> String {
    match value.as_f64() {
        Some(value) if value.fract() == 0.0 => format!("{value} {unit}"),
        Some(value) => format!("{value:.1} {unit}"),
        None => format!("— {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_have_their_units() {
        assert_eq!(thousandths(&json!(220_000), "W"), "220 W");
        assert_eq!(thousandths(&json!(91_250), "°C"), "91.2 °C");
        assert_eq!(thousandths(&Value::Null, "W"), "— W");
        assert_eq!(with_unit(&json!(45.0), "°C"), "45 °C");
        assert_eq!(with_unit(&json!(91.25), "°C"), "91.2 °C");
    }

    #[test]
    fn every_step_has_a_name_of_its_own_and_time() {
        let names: BTreeSet<&str> = steps::STEPS.iter().map(|step| step.name).collect();
        assert_eq!(names.len(), steps::STEPS.len());
        assert!(steps::STEPS.iter().all(|step| !step.within.is_zero()));
    }

    #[test]
    fn the_two_bundles_differ() {
        assert_ne!(DEMO_BUNDLE, STRICT_BUNDLE);
    }
}
