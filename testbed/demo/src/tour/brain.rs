//! The steps in which the loop closes: a brain foresees, policy judges, a node acts, and what came of it goes back to the brain.
//!
//! Nothing here foresees or decides. The load of a GPU grows while the rest of the tour is played; the plan, its effect and its
//! outcome are read from the hub.

use serde_json::Value;

use super::{Tour, text, thousandths, with_unit};
use crate::control::{Order, Verb};

const REASON: &str = "the demo shows what it does with a free hand";
/// The brain, and what it is trusted with.
const TRUST: [&str; 2] = ["embedded", "power_cap"];

/// A person trusts the embedded brain with capping power, and the load of a GPU begins to grow.
pub(super) fn grow(tour: &mut Tour<'_>) -> Result<(), String> {
    let brains = tour.sentinel().items("get brains")?;
    let is_trusted = brains
        .iter()
        .any(|row| [text(&row["brain"]), text(&row["verb"])] == TRUST && matches!(text(&row["tier"]), "T2" | "T3"));
    if !is_trusted {
        let words = ["brain", "grant", TRUST[0], TRUST[1], "T2", "--reason", REASON];
        let said = tour.sentinel().run(words)?;
        if said.code != 0 {
            return Err(format!("the grant ended with {}: {}", said.code, said.err.trim()));
        }
    }
    tour.screen.happened(
        "trust",
        "a person lets the embedded brain cap power by itself: tier T2, within one site (sentinel get brains)",
    );
    tour.plans = plans(tour)?.iter().map(|row| text(&row["id"]).to_owned()).collect();
    tour.cluster.obey(&Order::new(Verb::Grow, &tour.warm, Some(0)))?;
    tour.screen.happened(
        "load",
        &format!("the load of gpu0 (sim) of {} grows from now on", tour.warm),
    );
    Ok(())
}

/// Waits for the brain's plan.
pub(super) fn foreseen(tour: &mut Tour<'_>) -> Result<(), String> {
    let target = format!("{}/gpu0", tour.warm);
    let plan = tour.until(|| {
        let is_it = |row: &&Value| {
            row["by_brain"] == true
                && text(&row["steps"][0]["target"]) == target
                && !tour.plans.contains(text(&row["id"]))
        };
        let found = plans(tour)?.iter().find(is_it).cloned();
        found.ok_or_else(|| format!("no brain has sent a plan for {target}"))
    })?;
    tour.plan = text(&plan["id"]).to_owned();
    tour.show_at(&plan["created"], "foreseen", text(&plan["reason"]));
    let sure = (plan["claim"]["confidence"].as_f64().unwrap_or(0.0) * 100.0).floor();
    tour.screen.more(&format!(
        "plan {} of {}: {}, {sure} % sure",
        tour.plan,
        text(&plan["source"]),
        text(&plan["steps"][0]["summary"])
    ));
    Ok(())
}

/// Waits until the plan's effect was seen and told to the brain's record.
pub(super) fn fulfilled(tour: &mut Tour<'_>) -> Result<(), String> {
    let line = format!("plan show {}", tour.plan);
    let plan = tour.until(|| {
        let plan = tour.sentinel().json(&line)?;
        match text(&plan["state"]) {
            "completed" => Ok(plan),
            other => Err(format!("plan {} is {other}: {}", tour.plan, text(&plan["detail"]))),
        }
    })?;
    let step = &plan["steps"][0];
    let unit = match text(&step["expected"]["metric"]) {
        "gpu.power" => "W",
        _ => "°C",
    };
    tour.show_at(
        &plan["since"],
        "completed",
        &format!(
            "{} of {} went from {} to {} ({} expected); prediction {}: {}",
            text(&step["expected"]["metric"]),
            text(&step["target"]),
            thousandths(&step["observed"]["before"], unit),
            thousandths(&step["observed"]["after"], unit),
            thousandths(&step["expected"]["delta"], unit),
            text(&plan["claim"]["prediction"]),
            text(&plan["came_true"]),
        ),
    );
    let graded = tour.sentinel().items("get brains")?;
    let row = graded
        .iter()
        .find(|row| [text(&row["brain"]), text(&row["verb"])] == TRUST)
        .ok_or("the hub keeps no record of the embedded brain")?;
    tour.screen.more(&format!(
        "its record has {} outcomes; next tier: {}",
        row["predictions"],
        text(&row["next_tier_lacks"])
    ));
    match text(&plan["came_true"]) {
        "true" => Ok(()),
        other => Err(format!("the prediction came out as `{other}`")),
    }
}

/// The limit was never reached: the rule at the node had nothing to do. The plan's life is told by the hub alone.
pub(super) fn why(tour: &mut Tour<'_>) -> Result<(), String> {
    let node = tour.sentinel().json(&format!("describe node {}", tour.warm))?;
    let now = &node["gpus"][0]["temperature_celsius"];
    let decisions = tour
        .sentinel()
        .items(&format!("get decisions --limit 500 --node {}", tour.warm))?;
    let reflexes = decisions
        .iter()
        .filter(|row| row["rule"] == "hot-gpu" && row["action"] == "power_cap" && row["target"] == "gpu0")
        .count();
    if reflexes > 0 {
        return Err(format!(
            "{} capped gpu0 at its own limit, so the brain came too late",
            tour.warm
        ));
    }
    tour.screen.happened(
        "cool",
        &format!(
            "gpu0 (sim) of {} is at {} under the same load; rule hot-gpu never had to act there",
            tour.warm,
            with_unit(now, "°C")
        ),
    );
    let line = format!("why {}", tour.plan);
    let explanation = tour.sentinel().text(&line)?;
    tour.screen.happened("why", &format!("sentinel {line}"));
    for line in String::from_utf8_lossy(&explanation).lines() {
        tour.screen.more(line);
    }
    tour.cluster
        .obey(&Order::new(Verb::Cool, &tour.warm, Some(0)))
        .map(drop)
}

/// A plan of a person meets the freeze that was published, and waits for its end.
pub(super) fn held(tour: &mut Tour<'_>) -> Result<(), String> {
    let node = tour.sentinel().json(&format!("describe node {}", tour.warm))?;
    let target = format!("{}/{}", tour.warm, text(&node["workloads"][0]["id"]));
    let words = ["plan", "submit", &target, "restart", "--reason", REASON, "-o", "json"];
    let said = tour.sentinel().run(words)?;
    let sent: Value = serde_json::from_slice(&said.out)
        .map_err(|cause| format!("`sentinel plan submit` prints no JSON: {cause}; {}", said.err.trim()))?;
    let id = text(&sent["id"]).to_owned();
    let plan = tour.until(|| {
        let plan = tour.sentinel().json(&format!("plan show {id}"))?;
        match text(&plan["state"]) {
            "held" => Ok(plan),
            other => Err(format!("plan {id} is {other}: {}", text(&plan["detail"]))),
        }
    })?;
    tour.show_at(&plan["since"], "held", &format!("plan {id}: {}", text(&plan["detail"])));
    let said = tour
        .sentinel()
        .run(["plan", "cancel", &id, "--reason", "the tour goes on"])?;
    match (said.code, text(&plan["detail"])) {
        (0, detail) if detail.contains("by rule launch-freeze") && detail.contains("; until ") => Ok(()),
        (0, detail) => Err(format!(
            "it is not held by the freeze, or does not say until when: {detail}"
        )),
        (code, _) => Err(format!("`sentinel plan cancel` ended with {code}: {}", said.err.trim())),
    }
}

/// Every plan, newest first.
fn plans(tour: &Tour<'_>) -> Result<Vec<Value>, String> {
    tour.sentinel().items("plan list --limit 500")
}
