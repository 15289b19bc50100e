//! Who gets the traffic of a workload: weights of a Gateway API route, or the selector of a service.

use std::collections::BTreeMap;

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
    /// The service of the baseline: it gets as much as the canary, as far as the workload keeps as much.
    pub baseline: Option<String>,
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

    /// Lets a service select the pods of one variant that stands apart ([`Cluster::ensure_variant`]); without, those of the workload.
    pub async fn select_variant(&self, namespace: &str, service: &str, variant: Option<&str>) -> Result<(), KubeError> {
        let what = format!("service {namespace}/{service}");
        self.change_value(&service_resource(), Some(namespace), service, &what, |live, ours| {
            let own = own_selector(&live["spec"]["selector"]);
            let wanted = variant.map_or(own.clone(), |variant| apart(&own, variant));
            // The map has one owner as a whole (`mapType=atomic`): what is not in it is gone.
            ours["spec"]["selector"] = json!(wanted);
        })
        .await
        .map(drop)
    }

    /// What a service selects of the workload itself, whichever variant it selects now.
    pub(crate) async fn own_selector(&self, namespace: &str, service: &str) -> Result<Labels, KubeError> {
        Ok(own_selector(
            &self.service(namespace, service).await?["spec"]["selector"],
        ))
    }

    /// The variant that a service selects; `None` for the workload.
    pub async fn selected_variant(&self, namespace: &str, service: &str) -> Result<Option<String>, KubeError> {
        let live = self.service(namespace, service).await?;
        Ok(live["spec"]["selector"][TRACK].as_str().map(str::to_owned))
    }

    async fn service(&self, namespace: &str, service: &str) -> Result<Value, KubeError> {
        let what = format!("service {namespace}/{service}");
        let live = self.live(&service_resource(), Some(namespace), service, &what).await?;
        live.ok_or_else(|| KubeError::NotFound {
            cluster: self.name().to_owned(),
            what,
        })
    }
}

/// Labels, by name.
pub(crate) type Labels = BTreeMap<String, String>;

/// The labels that keep a variant's pods away from the workload's service: each of its values with the variant behind it.
pub(crate) fn apart(selector: &Labels, variant: &str) -> Labels {
    let values = selector
        .iter()
        .map(|(key, value)| (key.clone(), format!("{value}-{variant}")));
    values.chain([(TRACK.to_owned(), variant.to_owned())]).collect()
}

/// A selector as it is while it selects the workload.
fn own_selector(selector: &Value) -> Labels {
    let ending = selector[TRACK].as_str().map(|variant| format!("-{variant}"));
    let own = |text: &str| {
        ending
            .as_deref()
            .and_then(|ending| text.strip_suffix(ending))
            .unwrap_or(text)
            .to_owned()
    };
    let all = selector.as_object().into_iter().flatten();
    all.filter(|(key, _)| *key != TRACK)
        .filter_map(|(key, value)| Some((key.clone(), own(value.as_str()?))))
        .collect()
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

/// The largest part of the canary in any rule that names both services.
fn weight_of(rules: &Value, route: &RouteRef) -> Option<u8> {
    let rules = rules.as_array().into_iter().flatten();
    let part = |rule: &Value| {
        let (_, canary) = weights(rule, route)?;
        let backends = rule["backendRefs"].as_array()?;
        let all: u64 = backends
            .iter()
            .map(|backend| backend["weight"].as_u64().unwrap_or(1))
            .sum();
        (canary * 100)
            .checked_div(all)
            .map(|part| u8::try_from(part).unwrap_or(100))
    };
    rules.filter_map(part).max()
}

fn set_weight(rules: &mut Value, route: &RouteRef, percent: u8) {
    // As much as the canary, but never more than is left to the workload.
    let compared = percent.min((100 - percent) / 2);
    for rule in rules.as_array_mut().into_iter().flatten() {
        if weights(rule, route).is_none() {
            continue;
        }
        let backends = rule["backendRefs"].as_array_mut().into_iter().flatten();
        let is_baseline = |backend: &Value| route.baseline.as_deref().is_some_and(|name| backend["name"] == name);
        let mut backends: Vec<&mut Value> = backends.collect();
        let compared = if backends.iter().any(|backend| is_baseline(backend)) {
            compared
        } else {
            0
        };
        for backend in &mut backends {
            if backend["name"] == route.canary {
                backend["weight"] = json!(percent);
            } else if is_baseline(backend) {
                backend["weight"] = json!(compared);
            } else if backend["name"] == route.stable {
                backend["weight"] = json!(100 - percent - compared);
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
            baseline: None,
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

    #[test]
    fn a_baseline_gets_as_much_as_the_canary_while_there_is_enough() {
        let route = RouteRef {
            namespace: "d".into(),
            name: "r".into(),
            stable: "web".into(),
            canary: "web-canary".into(),
            baseline: Some("web-baseline".into()),
        };
        let mut rules =
            json!([{ "backendRefs": [{ "name": "web" }, { "name": "web-canary" }, { "name": "web-baseline" }] }]);
        for (percent, expected) in [
            (0, [100, 0, 0]),
            (20, [60, 20, 20]),
            (50, [25, 50, 25]),
            (100, [0, 100, 0]),
        ] {
            set_weight(&mut rules, &route, percent);
            let weights = [0, 1, 2].map(|at| rules[0]["backendRefs"][at]["weight"].as_u64());
            assert_eq!(weights, expected.map(Some), "{percent} %");
            assert_eq!(weight_of(&rules, &route), Some(percent));
        }
    }

    #[test]
    fn a_variant_stands_apart_from_the_workloads_service_and_the_way_back_is_known() {
        let own: Labels = [("app".to_owned(), "shop".to_owned())].into();
        let canary = apart(&own, "canary");
        let labels = json!(canary);
        assert_eq!(labels, json!({ "app": "shop-canary", TRACK: "canary" }));
        assert_eq!(own_selector(&labels), own);
        assert_eq!(own_selector(&json!(own)), own);
    }
}
