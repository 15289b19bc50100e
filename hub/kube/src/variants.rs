//! A second deployment beside a workload: the canary or the baseline of a rollout.
//!
//! It is made from the workload as it is, with another name, image and number of replicas, and one more label ([`TRACK`]) by which its
//! pods differ. A service that selects the workload's pods selects these, too; the workload's own controller leaves them alone, because
//! each pod names the controller that owns it.

use serde_json::{Value, json};

use crate::FIELD_MANAGER;
use crate::cluster::Cluster;
use crate::error::KubeError;
use crate::manifest::{WorkloadKind, WorkloadRef};
use crate::status::Workload;
use crate::traffic::{Labels, apart};
use crate::workloads::Owner;

/// The label that tells pods of a variant from those of the workload.
pub const TRACK: &str = "sentinel.dev/track";
/// The label that names the workload that a variant belongs to.
const VARIANT_OF: &str = "sentinel.dev/variant-of";

impl WorkloadRef {
    /// The variant of this workload with this name, such as `canary`.
    pub fn variant(&self, variant: &str) -> Self {
        Self {
            name: format!("{}-{variant}", self.name),
            ..self.clone()
        }
    }
}

impl Cluster {
    /// Makes a variant of a deployment as it should be: this image, this many replicas.
    ///
    /// With `apart_from`, a service, its pods have other labels than that service selects: they get traffic only where somebody gives
    /// it to them. Without, every service of the workload reaches them, too.
    ///
    /// A deployment of that name that is no variant of this workload is left alone, with a [`KubeError::Conflict`].
    pub async fn ensure_variant(
        &self,
        of: &WorkloadRef,
        variant: &str,
        (image, replicas): (&str, u32),
        apart_from: Option<&str>,
    ) -> Result<Workload, KubeError> {
        self.check_variant(of, variant).await?;
        let live = self
            .live(&of.kind.resource(), Some(&of.namespace), &of.name, &of.to_string())
            .await?;
        let Some(live) = live else {
            return Err(KubeError::NotFound {
                cluster: self.name().to_owned(),
                what: of.to_string(),
            });
        };
        let id = of.variant(variant);
        let labels = match apart_from {
            Some(service) => apart(&self.own_selector(&of.namespace, service).await?, variant),
            None => [(TRACK.to_owned(), variant.to_owned())].into(),
        };
        let intent = manifest(&live, &id, &labels, image, replicas);
        let applied = self
            .apply_value(&id.kind.resource(), &intent, Owner::Take, &id.to_string())
            .await?;
        self.workload_of(id.kind, &applied)
    }

    /// Removes a variant. False if there is none.
    pub async fn remove_variant(&self, of: &WorkloadRef, variant: &str) -> Result<bool, KubeError> {
        self.check_variant(of, variant).await?;
        self.delete(&of.variant(variant)).await
    }

    /// Lets a deployment run another image, replica by replica, with none of them unavailable meanwhile.
    pub async fn set_image_without_loss(&self, id: &WorkloadRef, image: &str) -> Result<Workload, KubeError> {
        if id.kind != WorkloadKind::Deployment {
            return Err(self.only_deployments(id));
        }
        self.change(id, |live, ours| {
            // With none unavailable at least one must be allowed beyond the number.
            let surge = &live["spec"]["strategy"]["rollingUpdate"]["maxSurge"];
            let none = surge.is_null() || *surge == json!(0) || *surge == json!("0%");
            let surge = if none { json!("25%") } else { surge.clone() };
            ours["spec"]["strategy"] =
                json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": surge } });
            crate::workloads::put_image(live, ours, image);
        })
        .await
    }

    async fn check_variant(&self, of: &WorkloadRef, variant: &str) -> Result<(), KubeError> {
        if of.kind != WorkloadKind::Deployment {
            return Err(self.only_deployments(of));
        }
        let id = of.variant(variant);
        let found = self.workload(&id).await?;
        let foreign = found.is_some_and(|found| found.labels.get(VARIANT_OF) != Some(&of.name));
        if foreign {
            let message = format!("it is not a {variant} of {}; rename one of them", of.name);
            return Err(KubeError::Conflict {
                cluster: self.name().to_owned(),
                what: id.to_string(),
                message,
            });
        }
        Ok(())
    }

    fn only_deployments(&self, id: &WorkloadRef) -> KubeError {
        let message = "only deployments can be rolled out in steps".to_owned();
        KubeError::Invalid {
            cluster: self.name().to_owned(),
            what: id.to_string(),
            message,
        }
    }
}

/// `differing` are the labels in which its pods differ from those of the workload.
fn manifest(live: &Value, id: &WorkloadRef, differing: &Labels, image: &str, replicas: u32) -> Value {
    let mut template = live["spec"]["template"].clone();
    let mut selector = live["spec"]["selector"].clone();
    for (key, value) in differing {
        template["metadata"]["labels"][key] = json!(value);
        selector["matchLabels"][key] = json!(value);
    }
    if let Some(metadata) = template["metadata"].as_object_mut() {
        metadata.remove("creationTimestamp");
    }
    template["spec"]["containers"][0]["image"] = json!(image);
    let mut labels = live["metadata"]["labels"].clone();
    labels[TRACK] = json!(differing.get(TRACK));
    labels[VARIANT_OF] = live["metadata"]["name"].clone();
    labels["app.kubernetes.io/managed-by"] = json!(FIELD_MANAGER);
    json!({
        "apiVersion": id.kind.api_version(),
        "kind": id.kind.name(),
        "metadata": { "name": id.name, "namespace": id.namespace, "labels": labels },
        "spec": { "replicas": replicas, "selector": selector, "template": template },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variant_differs_by_one_label_and_is_served_by_the_same_service() {
        let live = json!({
            "metadata": { "name": "web", "labels": { "app": "shop" } },
            "spec": {
                "replicas": 7,
                "selector": { "matchLabels": { "app": "shop" } },
                "template": { "metadata": { "labels": { "app": "shop" }, "creationTimestamp": null },
                    "spec": { "containers": [{ "name": "main", "image": "web:1" }, { "name": "mesh", "image": "mesh:1" }] } },
            },
        });
        let of = WorkloadRef::new(WorkloadKind::Deployment, "d", "web");
        let track: Labels = [(TRACK.to_owned(), "canary".to_owned())].into();
        let made = manifest(&live, &of.variant("canary"), &track, "web:2", 1);
        assert_eq!(made["metadata"]["name"], json!("web-canary"));
        let pod = &made["spec"]["template"];
        assert_eq!(pod["metadata"]["labels"], json!({ "app": "shop", TRACK: "canary" }));
        assert_eq!(made["spec"]["selector"]["matchLabels"], pod["metadata"]["labels"]);
        assert_eq!(
            (
                &pod["spec"]["containers"][0]["image"],
                &pod["spec"]["containers"][1]["image"]
            ),
            (&json!("web:2"), &json!("mesh:1"))
        );
    }
}
