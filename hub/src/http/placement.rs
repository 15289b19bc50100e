//! Where work goes, over HTTP: what every node says to a demand, and a workload that is placed and made by a plan.
//!
//! Read next: `hub/core/src/rooms/place.rs` (how it is decided), `hub/src/http/plans.rs` (what becomes of the plan).

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Extension, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hub_core::PlacementAsk;
use hub_core::plans::PlanAsk;
use serde::Serialize;
use wire::Demand;
use wire::api::{NewWorkload, PlacementView, PlanRequest, PlanStepRequest, PlanView, ResourcesRequest};
use wire::ids::PlanId;
use wire::kube::DeploymentRef;
use wire::plan::{PlanProblem, Source, Target};

use super::answer::{query, read_json};
use super::identity::Identity;
use super::{App, Failure, plans, tenants};
use crate::kube::deployment;

/// The namespace of a workload that names none.
const NAMESPACE: &str = "default";

/// Where a demand, or a deployment as it is, would go now. Nothing is reserved by asking.
pub async fn explain(
    State(app): State<App>,
    asked: Result<Query<BTreeMap<String, String>>, QueryRejection>,
) -> Result<Json<PlacementView>, Failure> {
    let ask = placement_ask(query(asked)?).map_err(|problem| plans::at(&problem))?;
    let view = app.hub.placement(ask).await?;
    view.map(Json).map_err(Failure::conflict)
}

fn placement_ask(mut asked: BTreeMap<String, String>) -> Result<PlacementAsk, PlanProblem> {
    let mut ask = PlacementAsk {
        replicas: 1,
        cluster: asked.remove("cluster").filter(|name| name != Target::ANY_CLUSTER),
        ..PlacementAsk::default()
    };
    if let Some(text) = asked.remove("replicas") {
        let wrong = |_| PlanProblem::new("replicas", format!("`{text}` is not a whole number"));
        ask.replicas = text.parse().map_err(wrong)?;
    }
    if let Some(text) = asked.remove("deployment") {
        ask.of = Some(text.parse::<DeploymentRef>()?);
    }
    for label in asked.remove("cluster_labels").iter().flat_map(|text| text.split(',')) {
        let pair = label.split_once('=');
        let pair = pair.ok_or_else(|| PlanProblem::new("cluster_labels", format!("`{label}` is not NAME=VALUE")))?;
        ask.cluster_labels.push((pair.0.to_owned(), pair.1.to_owned()));
    }
    if let Some(other) = asked.keys().find(|key| !Demand::KEYS.contains(&key.as_str())) {
        let problem = format!(
            "is none of deployment, cluster, cluster_labels, replicas, {}",
            Demand::KEYS.join(", ")
        );
        return Err(PlanProblem::new(other.clone(), problem));
    }
    ask.demand = Demand::read(&asked)?;
    Ok(ask)
}

/// A workload that was asked for, and the plan that makes it.
#[derive(Debug, Serialize)]
struct Created {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    image: String,
    resources: ResourcesRequest,
    env: Option<BTreeMap<String, String>>,
    config_ref: Option<String>,
    plan: PlanView,
}

/// Takes a workload in: placed at once, made by a plan when policy allows it. 201 with the plan; a name that is taken is a conflict.
pub async fn create(
    State(app): State<App>,
    Extension(who): Extension<Identity>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Failure> {
    let asked: NewWorkload = read_json(body)?;
    if let Some(cluster) = &asked.cluster {
        tenants::cluster_is_seen(&app, &who, cluster).await?;
    }
    let tenant = who.tenant_for(String::new())?;
    let who = who.caller;
    let params = asked.params().map_err(|problem| plans::at(&problem))?;
    let namespace = asked.namespace.clone().unwrap_or_else(|| NAMESPACE.to_owned());
    is_free(&app, asked.cluster.as_deref(), &namespace, &asked.name).await?;
    let target = [
        (
            "cluster",
            asked.cluster.clone().unwrap_or_else(|| Target::ANY_CLUSTER.to_owned()),
        ),
        ("namespace", namespace),
        ("deployment", asked.name.clone()),
    ];
    let reason = match asked.reason.trim() {
        "" => format!("workload {} was asked for", asked.name),
        reason => reason.to_owned(),
    };
    let step: PlanStepRequest = serde_json::from_value(serde_json::json!({
        "verb": "deploy",
        "target": target.into_iter().collect::<BTreeMap<_, _>>(),
        "params": params,
    }))
    .map_err(|error| Failure::internal(error.to_string()))?;
    let request: PlanRequest =
        serde_json::from_value(serde_json::json!({ "decisions": [step], "reason": reason, "tenant": tenant }))
            .map_err(|error| Failure::internal(error.to_string()))?;
    let source = Source::Person { name: who.name.clone() };
    let draft = request.draft(source).map_err(|problem| plans::at(&problem))?;
    let id = PlanId(*uuid::Uuid::now_v7().as_bytes());
    let draft = Box::new(draft);
    let Json(plan) = plans::ask(&app, who, PlanAsk::Submit { id, draft }).await?;
    let created = Created {
        name: asked.name,
        kind: asked.kind,
        image: asked.image,
        resources: asked.resources,
        env: None,
        config_ref: None,
        plan,
    };
    Ok((StatusCode::CREATED, Json(created)).into_response())
}

/// No cluster that it may go to has a deployment of this name. One that cannot be read now says so when it is made there.
async fn is_free(app: &App, cluster: Option<&str>, namespace: &str, name: &str) -> Result<(), Failure> {
    for (known, client) in app.clusters.all() {
        if cluster.is_some_and(|only| only != known) {
            continue;
        }
        let target = DeploymentRef {
            cluster: known,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        target.check().map_err(|problem| plans::at(&problem))?;
        if let Ok(client) = client
            && let Ok(Some(_)) = client.workload(&deployment(&target)).await
        {
            let detail = format!("{target} exists already: update it, or choose another name");
            return Err(Failure::conflict(detail));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(pairs: &[(&str, &str)]) -> Result<PlacementAsk, String> {
        let asked = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        placement_ask(asked.collect()).map_err(|problem| problem.to_string())
    }

    #[test]
    fn a_query_names_a_demand_or_a_deployment() {
        let found = ask(&[
            ("gpus", "2"),
            ("replicas", "4"),
            ("cluster", "any"),
            ("cluster_labels", "site=berlin"),
        ]);
        let found = found.expect("well formed");
        assert_eq!((found.demand.gpus, found.replicas, found.cluster), (2, 4, None));
        assert_eq!(found.cluster_labels, [("site".to_owned(), "berlin".to_owned())]);
        let of = ask(&[("deployment", "edge/default/web")]).expect("well formed").of;
        assert_eq!(of.map(|of| of.name), Some("web".to_owned()));
        for wrong in [
            ("gpu", "2"),
            ("replicas", "many"),
            ("deployment", "web"),
            ("cluster_labels", "site"),
        ] {
            assert!(ask(&[wrong]).expect_err("refused").contains(wrong.0), "{wrong:?}");
        }
    }
}
