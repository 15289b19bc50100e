//! What the tour shows of a cluster (`--with-kube`): a plan that scales it, where GPU work would go, a quota that says no, and a bad image
//! that is taken back.
//!
//! All of it is asked through `sentinel` and read back from the hub, which reads it from the API server.

use serde_json::Value;

use super::steps::publish_text;
use super::{STRICT_BUNDLE, Tour, text};
use crate::cluster::DEPLOYMENT;

/// Most replicas of a namespace while the tour is played.
const MOST: u32 = 12;
const MORE: u64 = 7;
const TOO_MANY: u64 = 20;
const REASON: &str = "more people";

/// The rules get a permit for clusters, and a quota.
pub(super) fn permitted(tour: &mut Tour<'_>) -> Result<(), String> {
    let bundle = with_clusters(STRICT_BUNDLE).ok_or("the demo's bundle has no permits")?;
    let generation = publish_text(tour, "demo-clusters.yaml", &bundle)?;
    tour.screen.happened(
        "permit",
        &format!("generation {generation} lets plans change clusters, up to {MOST} replicas in a namespace"),
    );
    Ok(())
}

/// A plan scales the deployment, and is done when its pods are ready.
pub(super) fn scaled(tour: &mut Tour<'_>) -> Result<(), String> {
    let plan = finished(tour, MORE)?;
    let detail = text(&plan["steps"][0]["detail"]);
    tour.show_at(
        &plan["since"],
        "scaled",
        &format!("{DEPLOYMENT}, by a plan under policy: {detail}"),
    );
    match text(&plan["state"]) {
        "completed" => Ok(()),
        other => Err(format!("the plan is {other}: {}", text(&plan["detail"]))),
    }
}

/// Where work for GPUs would go, and why not elsewhere.
pub(super) fn placed(tour: &mut Tour<'_>) -> Result<(), String> {
    let view = tour.until(|| {
        let view = tour.sentinel().json("placement explain --gpus 4 --replicas 2")?;
        match view["cluster"].is_string() {
            true => Ok(view),
            false => Err(format!("it would go nowhere: {}", text(&view["why"]))),
        }
    })?;
    let nodes: Vec<&str> = view["nodes"].as_array().into_iter().flatten().map(text).collect();
    tour.screen.happened(
        "placed",
        &format!(
            "2 × 4 GPUs would go to cluster {}, on {}",
            text(&view["cluster"]),
            nodes.join(", ")
        ),
    );
    tour.screen
        .more("sentinel placement explain --gpus 4 --replicas 2   (says for every node why not)");
    Ok(())
}

/// A plan for too much is refused, with its numbers.
pub(super) fn refused(tour: &mut Tour<'_>) -> Result<(), String> {
    let plan = finished(tour, TOO_MANY)?;
    let detail = text(&plan["detail"]).to_owned();
    tour.show_at(
        &plan["since"],
        "quota",
        &format!("{TOO_MANY} replicas are not allowed: {detail}"),
    );
    match (
        text(&plan["state"]),
        detail.contains(&format!("{TOO_MANY} against a limit of {MOST}")),
    ) {
        ("rejected", true) => Ok(()),
        (state, _) => Err(format!("the plan is {state}: {detail}")),
    }
}

/// An image that crashes is found by its canary, and no replica is lost.
pub(super) fn taken_back(tour: &mut Tour<'_>) -> Result<(), String> {
    let words = [
        "rollout",
        "start",
        DEPLOYMENT,
        "--image",
        "web:bad",
        "--first",
        "30",
        "--step",
        "70",
        "--analyse",
        "20s",
        "--reason",
        "a newer image",
        "-o",
        "json",
    ];
    let said = tour.sentinel().run(words)?;
    let started: Value = serde_json::from_slice(&said.out)
        .map_err(|cause| format!("`sentinel rollout start` prints no JSON: {cause}; {}", said.err.trim()))?;
    let id = text(&started["id"]).to_owned();
    tour.screen.happened(
        "rollout",
        &format!("image web:bad to {DEPLOYMENT}, 30 % first; its pods crash"),
    );
    let view = tour.until(|| {
        let view = tour.sentinel().json(&format!("rollout status {id}"));
        // Its exit status says that it was taken back, which is what is waited for.
        let view = match view {
            Ok(view) => view,
            Err(_) => listed(tour, &id)?,
        };
        match view["finished"] == true {
            true => Ok(view),
            false => Err(format!(
                "the rollout is {}: {}",
                text(&view["phase"]),
                text(&view["why"])
            )),
        }
    })?;
    let least = view["start_replicas"].as_u64().unwrap_or_default();
    tour.screen.happened(
        "back",
        &format!(
            "{}: {}; {} of {least} replicas are ready",
            text(&view["phase"]),
            text(&view["why"]),
            view["ready"]
        ),
    );
    match (text(&view["phase"]), view["ready"].as_u64() >= Some(least)) {
        ("rolled_back", true) => Ok(()),
        (phase, _) => Err(format!("the rollout is {phase} with {} ready", view["ready"])),
    }
}

fn listed(tour: &Tour<'_>, id: &str) -> Result<Value, String> {
    let all = tour.sentinel().items("get rollouts")?;
    let found = all.into_iter().find(|one| text(&one["id"]) == id);
    found.ok_or_else(|| format!("rollout {id} is not listed"))
}

/// Sends a plan that scales the deployment, and waits for its end.
fn finished(tour: &Tour<'_>, replicas: u64) -> Result<Value, String> {
    let [cluster, namespace, name] = parts(DEPLOYMENT);
    let target = serde_json::json!({ "cluster": cluster, "namespace": namespace, "deployment": name });
    let step = serde_json::json!({ "verb": "scale", "target": target, "params": { "replicas": replicas } });
    let plan = serde_json::json!({ "reason": REASON, "decisions": [step] });
    let path = tour.cluster.folder().path().join("config").join("scale.json");
    std::fs::write(&path, plan.to_string()).map_err(|cause| format!("cannot write {}: {cause}", path.display()))?;
    let path = path.display().to_string();
    let said = tour.sentinel().run(["plan", "submit", "--file", &path, "-o", "json"])?;
    let sent: Value = serde_json::from_slice(&said.out)
        .map_err(|cause| format!("`sentinel plan submit` prints no JSON: {cause}; {}", said.err.trim()))?;
    let id = text(&sent["id"]).to_owned();
    tour.until(|| {
        let plan = tour.sentinel().json(&format!("plan show {id}"))?;
        match text(&plan["state"]) {
            "completed" | "rejected" | "failed" | "rolled_back" | "rollback_failed" | "expired" => Ok(plan),
            other => Err(format!("plan {id} is {other}: {}", text(&plan["detail"]))),
        }
    })
}

fn parts(deployment: &str) -> [&str; 3] {
    let mut parts = deployment.split('/');
    [(); 3].map(|()| parts.next().unwrap_or_default())
}

/// The bundle with a permit for clusters and a quota for each of their namespaces.
fn with_clusters(bundle: &[u8]) -> Option<Vec<u8>> {
    let bundle = std::str::from_utf8(bundle).ok()?;
    let (before, after) = bundle.split_once("\npermits:\n")?;
    let permit = "  - kinds: [scale, deploy, reschedule, update, cordon, uncordon, drain]";
    let quota = format!(
        "\n  - id: namespace-quota\n    kind: quota\n    scope: namespace\n    nominal: {{ replicas: {MOST} }}\n    selector: {{ kinds: [scale, deploy] }}\n"
    );
    Some(format!("{before}\npermits:\n{permit}\n{after}{quota}").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundle_with_a_permit_for_clusters_is_a_bundle() {
        let bundle = with_clusters(STRICT_BUNDLE).expect("it has permits");
        let read = policy::Bundle::parse(&bundle);
        assert!(read.is_ok_and(|read| read.rules().iter().any(|rule| rule.id == "namespace-quota")));
    }

    #[test]
    fn a_deployment_has_three_names() {
        assert_eq!(parts(DEPLOYMENT), ["demo", "default", "web"]);
    }
}
