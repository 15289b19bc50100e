//! What belongs to a tenant, and who sees it.
//!
//! People of the roles system and admin see everything; everybody else sees what belongs to their tenant and what belongs to none. What
//! belongs to another is not there for them: 404, in the same words as for what never was. A plan has its tenant in itself; a cluster
//! in its label `tenant`, and deployments and rollouts are their cluster's.
//!
//! Read next: `guard.rs` (who asks here before every handler), `identity.rs`.

use axum::extract::{FromRequestParts as _, RawPathParams, Request};
use hub_core::Cluster;
use wire::Role;

use super::identity::Identity;
use super::{App, Failure, clusters, plans, rollouts};

/// The label of a cluster that names its tenant.
const LABEL: &str = "tenant";

/// What the parameters of a path name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owned {
    /// `{id}` is a plan.
    Plan,
    /// `{name}` is a cluster.
    Cluster,
    /// `{cluster}` is the cluster of a deployment.
    Deployment,
    /// `{id}` is a rollout.
    Rollout,
}

impl Owned {
    /// What a route is about, if that may be somebody's.
    pub fn of(path: &str) -> Option<Self> {
        let below = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('{'));
        match () {
            () if below("/api/v1/action-plans/") => Some(Self::Plan),
            () if below("/api/v1/clusters/") => Some(Self::Cluster),
            () if ["deployments", "workloads", "scaling"]
                .iter()
                .any(|kind| below(&format!("/api/v1/{kind}/"))) =>
            {
                Some(Self::Deployment)
            }
            () if below("/api/v1/rollouts/") => Some(Self::Rollout),
            () => None,
        }
    }

    const fn parameter(self) -> &'static str {
        match self {
            Self::Plan | Self::Rollout => "id",
            Self::Cluster => "name",
            Self::Deployment => "cluster",
        }
    }
}

impl Identity {
    /// Whether they see what belongs to this tenant; nobody's is everybody's.
    pub fn sees(&self, tenant: &str) -> bool {
        tenant.is_empty() || self.role >= Role::Admin || self.tenant.as_deref() == Some(tenant)
    }

    /// The tenant of what they make: their own, unless they see all.
    pub fn tenant_for(&self, wanted: String) -> Result<String, Failure> {
        match (&self.tenant, wanted.as_str()) {
            _ if self.role >= Role::Admin => Ok(wanted),
            (Some(own), "") => Ok(own.clone()),
            (_, tenant) if self.sees(tenant) => Ok(wanted),
            (..) => Err(Failure::forbidden(format!(
                "`{wanted}` is not your tenant: leave it out, or name your own"
            ))),
        }
    }
}

/// The tenant of a cluster; empty for one of nobody.
pub fn of_cluster(cluster: &Cluster) -> &str {
    let label = cluster.labels.iter().find(|(name, _)| name == LABEL);
    label.map_or("", |(_, tenant)| tenant)
}

/// Refuses a cluster of another tenant as one that is not there.
pub async fn cluster_is_seen(app: &App, who: &Identity, name: &str) -> Result<(), Failure> {
    let all = app.hub.clusters().await?;
    let hidden = all
        .iter()
        .any(|cluster| cluster.name == name && !who.sees(of_cluster(cluster)));
    if hidden { Err(clusters::unknown(name)) } else { Ok(()) }
}

/// Names of the clusters that somebody does not see.
pub async fn hidden_clusters(app: &App, who: &Identity) -> Result<Vec<String>, Failure> {
    let all = app.hub.clusters().await?;
    let hidden = all.into_iter().filter(|cluster| !who.sees(of_cluster(cluster)));
    Ok(hidden.map(|cluster| cluster.name).collect())
}

/// Refuses what the path of a request names and another tenant owns. What is not there at all is for the handler to say.
pub async fn check(app: &App, who: &Identity, owned: Owned, request: Request) -> Result<Request, Failure> {
    if who.role >= Role::Admin {
        return Ok(request);
    }
    let (mut parts, body) = request.into_parts();
    let named = RawPathParams::from_request_parts(&mut parts, app).await;
    let request = Request::from_parts(parts, body);
    let Ok(named) = named else { return Ok(request) };
    let Some((_, name)) = named.iter().find(|(name, _)| *name == owned.parameter()) else {
        return Ok(request);
    };
    match owned {
        Owned::Plan => plans::is_seen(app, who, name).await?,
        Owned::Cluster | Owned::Deployment => cluster_is_seen(app, who, name).await?,
        Owned::Rollout => rollouts::is_seen(app, who, name).await?,
    }
    Ok(request)
}
