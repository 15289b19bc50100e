//! Who gets the traffic of a workload: weights of a Gateway API route, or the selector of a service.

use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::error::KubeError;
use crate::variants::TRACK;

/// A route that divides traffic between two services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRef {
    /// Its namespace.
    pub namespace: String,
    /// Name of the HTTPRoute.
    pub name: String,
    /// The service of the workload.
    pub stable: String,
    /// The service of the canary.
    pub canary: String,
}

impl Cluster {
    /// Traffic of the canary, in percent, as the route says. `None` if the two services have no weight at all.
    pub async fn route_weight(&self, route: &RouteRef) -> Result<Option<u8>, KubeError> {
        let live = self
            .live(&http_route(), Some(&route.namespace), &route.name, &route.to_string())
            .await?;
        let Some(live) = live else {
            return Err(KubeError::NotFound {
                cluster: self.name().to_owned(),
                what: route.to_string(),
            });
        };
        Ok(weight_of(&live["spec"]["rules"], route))
    }

    /// Gives the canary so much of the traffic, in every rule that names both services.
    pub async fn set_route_weight(&self, route: &RouteRef, percent: u8) -> Result<(), KubeError> {
        let percent = percent.min(100);
        let what = route.to_string();
        let changed = self
            .change_value(
                &http_route(),
                Some(&route.namespace),
                &route.name,
                &what,
                |live, ours| {
                    // The list of rules has one owner as a whole, so all of it is carried on.
                    let mut rules = live["spec"]["rules"].clone();
                    set_weight(&mut rules, route, percent);
                    ours["spec"]["rules"] = rules;
                },
            )
            .await?;
        if weight_of(&changed["spec"]["rules"], route) == Some(percent) {
            return Ok(());
        }
        let message = format!(
            "no rule names both service {} and service {}; add them",
            route.stable, route.canary
        );
        Err(KubeError::Invalid {
            cluster: self.name().to_owned(),
            what,
            message,
        })
    }

    /// Lets a service select the pods of one variant only; without, those of the workload and all variants.
    pub async fn select_variant(&self, namespace: &str, service: &str, variant: Option<&str>) -> Result<(), KubeError> {
        let what = format!("service {namespace}/{service}");
        self.change_value(
            &service_resource(),
            Some(namespace),
            service,
            &what,
            |_, ours| match variant {
                Some(variant) => ours["spec"]["selector"][TRACK] = json!(variant),
                None => {
                    if let Some(selector) = ours["spec"]["selector"].as_object_mut() {
                        selector.remove(TRACK);
                    }
                }
            },
        )
        .await
        .map(drop)
    }

    /// The variant that a service selects; `None` for all.
    pub async fn selected_variant(&self, namespace: &str, service: &str) -> Result<Option<String>, KubeError> {
        let what = format!("service {namespace}/{service}");
        let live = self.live(&service_resource(), Some(namespace), service, &what).await?;
        let Some(live) = live else {
            return Err(KubeError::NotFound {
                cluster: self.name().to_owned(),
                what,
            });
        };
        Ok(live["spec"]["selector"][TRACK].as_str().map(str::to_owned))
    }
}

impl std::fmt::Display for RouteRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HTTPRoute {}/{}", self.namespace, self.name)
    }
}

fn http_route() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute"))
}

fn service_resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Service"))
}

/// Weights of (stable, canary) in one rule, if it names both. Source: a weight that is not said is 1.
fn weights(rule: &Value, route: &RouteRef) -> Option<(u64, u64)> {
    let of = |service: &str| {
        let backend = rule["backendRefs"]
            .as_array()?
            .iter()
            .find(|backend| backend["name"] == service)?;
        Some(backend["weight"].as_u64().unwrap_or(1))
    };
    Some((of(&route.stable)?, of(&route.canary)?))
}

/// The largest part of the canary in any rule.
fn weight_of(rules: &Value, route: &RouteRef) -> Option<u8> {
    let rules = rules.as_array().into_iter().flatten();
    let parts = rules
        .filter_map(|rule| weights(rule, route))
        .filter(|(stable, canary)| stable + canary > 0);
    parts
        .map(|(stable, canary)| u8::try_from(canary * 100 / (stable + canary)).unwrap_or(100))
        .max()
}

fn set_weight(rules: &mut Value, route: &RouteRef, percent: u8) {
    for rule in rules.as_array_mut().into_iter().flatten() {
        if weights(rule, route).is_none() {
            continue;
        }
        for backend in rule["backendRefs"].as_array_mut().into_iter().flatten() {
            if backend["name"] == route.canary {
                backend["weight"] = json!(percent);
            } else if backend["name"] == route.stable {
                backend["weight"] = json!(100 - percent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_change_only_where_both_services_stand() {
        let route = RouteRef {
            namespace: "d".into(),
            name: "r".into(),
            stable: "web".into(),
            canary: "web-canary".into(),
        };
        let mut rules = json!([
            { "backendRefs": [{ "name": "web", "port": 80 }, { "name": "web-canary", "port": 80, "weight": 0 }] },
            { "backendRefs": [{ "name": "other", "weight": 5 }] },
        ]);
        assert_eq!(weight_of(&rules, &route), Some(0));
        set_weight(&mut rules, &route, 30);
        assert_eq!(weight_of(&rules, &route), Some(30));
        assert_eq!(
            rules[0]["backendRefs"][0],
            json!({ "name": "web", "port": 80, "weight": 70 })
        );
        assert_eq!(rules[1], json!({ "backendRefs": [{ "name": "other", "weight": 5 }] }));
        assert_eq!(weight_of(&json!([]), &route), None);
    }
}
