//! What the credentials of a cluster allow, and which verbs are missing for what the hub does.

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::api::{Api, PostParams};

use crate::cluster::Cluster;
use crate::error::KubeError;

/// How many reviews are asked for at a time; the server's own limit for one user is far above.
const AT_ONCE: usize = 8;

/// A verb on a resource that the hub needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// API group; empty for the core.
    pub group: &'static str,
    /// Resource, such as `deployments`.
    pub resource: &'static str,
    /// Subresource, such as `eviction`; empty for the object itself.
    pub subresource: &'static str,
    /// The verb.
    pub verb: &'static str,
}

impl std::fmt::Display for Permission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if !self.subresource.is_empty() {
            write!(f, "/{}", self.subresource)?;
        }
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

const fn may(verb: &'static str, group: &'static str, resource: &'static str, subresource: &'static str) -> Permission {
    Permission {
        group,
        resource,
        subresource,
        verb,
    }
}

/// Everything that the hub needs to read, change, watch and drain.
pub const NEEDED: &[Permission] = &[
    may("get", "apps", "deployments", ""),
    may("list", "apps", "deployments", ""),
    may("watch", "apps", "deployments", ""),
    may("create", "apps", "deployments", ""),
    may("patch", "apps", "deployments", ""),
    may("delete", "apps", "deployments", ""),
    may("get", "apps", "statefulsets", ""),
    may("list", "apps", "statefulsets", ""),
    may("watch", "apps", "statefulsets", ""),
    may("create", "apps", "statefulsets", ""),
    may("patch", "apps", "statefulsets", ""),
    may("delete", "apps", "statefulsets", ""),
    may("get", "batch", "jobs", ""),
    may("list", "batch", "jobs", ""),
    may("watch", "batch", "jobs", ""),
    may("create", "batch", "jobs", ""),
    may("patch", "batch", "jobs", ""),
    may("delete", "batch", "jobs", ""),
    may("list", "apps", "replicasets", ""),
    may("list", "apps", "controllerrevisions", ""),
    may("list", "autoscaling", "horizontalpodautoscalers", ""),
    may("list", "", "pods", ""),
    may("watch", "", "pods", ""),
    may("get", "", "pods", "log"),
    may("create", "", "pods", "eviction"),
    may("list", "", "events", ""),
    may("get", "", "nodes", ""),
    may("list", "", "nodes", ""),
    may("watch", "", "nodes", ""),
    may("patch", "", "nodes", ""),
    may("patch", "", "nodes", "status"),
    may("get", "", "services", ""),
    may("patch", "", "services", ""),
    may("get", "gateway.networking.k8s.io", "httproutes", ""),
    may("patch", "gateway.networking.k8s.io", "httproutes", ""),
];

impl Cluster {
    /// Which of [`NEEDED`] the credentials do not allow, in all namespaces; empty: everything is allowed.
    pub async fn missing_permissions(&self) -> Result<Vec<Permission>, KubeError> {
        let asked = stream::iter(NEEDED.iter().copied()).map(|needed| self.allows(needed));
        let allowed: Vec<bool> = asked.buffered(AT_ONCE).try_collect().await?;
        let answers = NEEDED.iter().copied().zip(allowed);
        Ok(answers
            .filter(|(_, allowed)| !allowed)
            .map(|(needed, _)| needed)
            .collect())
    }

    async fn allows(&self, needed: Permission) -> Result<bool, KubeError> {
        let text = |word: &str| (!word.is_empty()).then(|| word.to_owned());
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    group: text(needed.group),
                    resource: text(needed.resource),
                    subresource: text(needed.subresource),
                    verb: text(needed.verb),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let reviews: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        // Reviews are not stored: asking twice is asking once.
        let answer = self
            .call("what it allows", || async {
                reviews.create(&PostParams::default(), &review).await
            })
            .await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }
}
