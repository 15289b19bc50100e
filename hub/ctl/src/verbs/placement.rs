//! `placement explain`, and `deploy` of what has to be placed: where work goes, and why not elsewhere.

use std::collections::BTreeMap;

use serde::Serialize;
use wire::api::{ClusterPlacementView, NodePlacementView, Param, PlacementView, PlanRequest, PlanStepRequest};
use wire::kube::DeploymentRef;

use super::plan;
use crate::args::{Demanded, ExplainPlacement, PlacementVerb};
use crate::client::escaped;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Row, say};
use crate::rows::{BAD, GOOD, UNKNOWN};
use crate::session::Session;
use crate::table::Cell;

/// `sentinel placement …`.
pub async fn run(session: &Session, what: &PlacementVerb, output: &mut Output) -> Result<Exit, Failure> {
    let PlacementVerb::Explain(asked) = what;
    let view: PlacementView = session.hub()?.get(&path(asked)).await?;
    if output.for_people() {
        say(&headline(&view));
        let rows: Vec<Line> = view.clusters.iter().flat_map(lines).collect();
        output.list(&rows)?;
    } else {
        output.one(&view, view.cluster.as_deref().unwrap_or_default(), String::new)?;
    }
    // For scripts: it would go nowhere.
    Ok(if view.cluster.is_some() {
        Exit::Ok
    } else {
        Exit::NotFound
    })
}

/// Makes a deployment by a plan that places it.
pub async fn deploy(
    session: &Session,
    deployment: &DeploymentRef,
    (image, replicas): (&str, u32),
    demanded: &Demanded,
    reason: &str,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let mut params: BTreeMap<String, Param> = demanded
        .params()
        .into_iter()
        .map(|(key, value)| (key, Param(value)))
        .collect();
    params.insert("image".to_owned(), Param(image.to_owned()));
    params.insert("replicas".to_owned(), Param(replicas.to_string()));
    let target = [
        ("cluster", &deployment.cluster),
        ("namespace", &deployment.namespace),
        ("deployment", &deployment.name),
    ];
    let step = PlanStepRequest {
        verb: "deploy".to_owned(),
        target: target
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .collect(),
        params,
        ttl: None,
        safety: None,
        expected: None,
    };
    plan::send(session, &PlanRequest::of_step(step, reason), output).await
}

fn path(asked: &ExplainPlacement) -> String {
    let mut words = asked.demand.params();
    if let Some(deployment) = &asked.deployment {
        words.insert("deployment".to_owned(), deployment.to_string());
    }
    if let Some(cluster) = &asked.cluster {
        words.insert("cluster".to_owned(), cluster.clone());
    }
    if !asked.cluster_labels.is_empty() {
        words.insert("cluster_labels".to_owned(), asked.cluster_labels.join(","));
    }
    words.insert("replicas".to_owned(), asked.replicas.to_string());
    let words: Vec<String> = words
        .iter()
        .map(|(key, value)| format!("{key}={}", escaped(value)))
        .collect();
    format!("/placement?{}", words.join("&"))
}

fn headline(view: &PlacementView) -> String {
    let what = format!("{} × {}", view.replicas, view.demand);
    let Some(cluster) = &view.cluster else {
        return format!("{what}: nowhere: {}", view.why);
    };
    let price = view.price_micros_per_h.map_or_else(String::new, |micros| {
        format!(", {}.{:02} an hour", micros / 1_000_000, micros % 1_000_000 / 10_000)
    });
    format!("{what}: to {cluster}, on {}{price}", view.nodes.join(", "))
}

/// One line for each node, or one for a cluster without any.
#[derive(Debug, Serialize)]
struct Line {
    cluster: String,
    cluster_why_not: String,
    node: Option<NodePlacementView>,
}

fn lines(cluster: &ClusterPlacementView) -> Vec<Line> {
    let line = |node: Option<&NodePlacementView>| Line {
        cluster: cluster.name.clone(),
        cluster_why_not: cluster.why_not.clone(),
        node: node.cloned(),
    };
    match cluster.nodes.is_empty() {
        true => vec![line(None)],
        false => cluster.nodes.iter().map(|node| line(Some(node))).collect(),
    }
}

impl Row for Line {
    fn header(_wide: bool) -> Vec<&'static str> {
        vec!["CLUSTER", "NODE", "HERE", "FREE GPUS", "MODEL", "WHY NOT"]
    }

    fn cells(&self, _wide: bool) -> Vec<Cell> {
        let Some(node) = &self.node else {
            return vec![
                self.cluster.clone().into(),
                UNKNOWN.into(),
                Cell::styled("✕", BAD),
                UNKNOWN.into(),
                UNKNOWN.into(),
                self.cluster_why_not.clone().into(),
            ];
        };
        let here = match (node.is_chosen, node.why_not.is_empty()) {
            (true, _) => Cell::styled("● here", GOOD),
            (false, true) => Cell::from("could"),
            (false, false) => Cell::styled("✕ cannot", BAD),
        };
        let why = match (node.is_chosen, node.why_not.is_empty()) {
            (true, _) => String::new(),
            // It could, and its cluster or another node suits better.
            (false, true) => self.cluster_why_not.clone(),
            (false, false) => node.why_not.join("; "),
        };
        vec![
            self.cluster.clone().into(),
            node.name.clone().into(),
            here,
            format!("{}.{:03}", node.free_gpu_milli / 1_000, node.free_gpu_milli % 1_000).into(),
            node.model.clone().into(),
            why.into(),
        ]
    }

    fn name(&self) -> String {
        self.node
            .as_ref()
            .map_or_else(|| self.cluster.clone(), |node| node.name.clone())
    }
}
