//! Drift: what a workload should be by our last change of it, what it is now, and which field managers made the difference.
//!
//! Each of our changes leaves what it wanted in an annotation: when somebody else writes a field, the field and its ownership are theirs,
//! and nothing else would tell what it was. Nothing is mended here: whoever put `sentinel.dev/mend: "true"` on a deployment asks the hub for that.

use serde_json::{Value, json};

use crate::owned::{others_owning, others_owning_item};

/// The annotation that keeps what our last change wanted.
pub(crate) const WANTED: &str = "sentinel.dev/wanted";

/// The annotation that asks the hub to mend the drift of what carries it.
const MEND: &str = "sentinel.dev/mend";
/// What scales for an autoscaler of the cluster: its numbers are left to it.
const AUTOSCALER: &str = "kube-controller-manager";

/// One field that is not as our last change left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// `replicas` or `image`.
    pub field: &'static str,
    /// What we wanted.
    pub wanted: String,
    /// What it is now.
    pub now: String,
    /// Field managers that own it now; empty where the server names none.
    pub by: Vec<String>,
}

/// What an intent wants, for its annotation: only what is in it. `None`: nothing that could drift.
pub(crate) fn wanted(intent: &Value) -> Option<String> {
    let spec = &intent["spec"];
    let image = &spec["template"]["spec"]["containers"][0]["image"];
    let mut wanted = json!({});
    for (field, value) in [("replicas", &spec["replicas"]), ("image", image)] {
        if !value.is_null() {
            wanted[field] = value.clone();
        }
    }
    (wanted != json!({})).then(|| wanted.to_string())
}

impl Drift {
    /// Whether an autoscaler of the cluster made it.
    pub fn is_autoscaled(&self) -> bool {
        self.field == "replicas" && self.by.iter().any(|by| by == AUTOSCALER)
    }
}

/// Whether an object asks for its drift to be mended.
pub(crate) fn asks_to_be_mended(live: &Value) -> bool {
    live["metadata"]["annotations"][MEND] == "true"
}

/// What is not as our last change left it.
pub(crate) fn drift(live: &Value) -> Vec<Drift> {
    let text = live["metadata"]["annotations"][WANTED].as_str().unwrap_or_default();
    let wanted: Value = serde_json::from_str(text).unwrap_or_default();
    let container = &live["spec"]["template"]["spec"]["containers"][0];
    let name = container["name"].as_str().unwrap_or_default();
    let path = ["spec", "template", "spec", "containers"];
    [
        (
            "replicas",
            &live["spec"]["replicas"],
            others_owning(live, &["spec", "replicas"]),
        ),
        (
            "image",
            &container["image"],
            others_owning_item(live, &path, name, "image"),
        ),
    ]
    .into_iter()
    .filter(|(field, now, _)| !wanted[field].is_null() && wanted[field] != **now)
    .map(|(field, now, by)| Drift {
        field,
        wanted: plain(&wanted[field]),
        now: plain(now),
        by,
    })
    .collect()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_named_with_the_manager_that_made_it() {
        let intent = json!({ "spec": { "replicas": 7, "template": { "spec": { "containers": [{ "name": "main", "image": "web:1" }] } } } });
        let live = json!({
            "metadata": {
                "annotations": { WANTED: wanted(&intent) },
                "managedFields": [
                    { "manager": "kubectl", "operation": "Update", "subresource": "scale", "fieldsV1": { "f:spec": { "f:replicas": {} } } },
                    { "manager": "argocd", "operation": "Update", "fieldsV1": { "f:spec": { "f:template": { "f:spec": {
                        "f:containers": { "k:{\"name\":\"main\"}": { "f:image": {} } } } } } } },
                ],
            },
            "spec": { "replicas": 3, "template": { "spec": { "containers": [{ "name": "main", "image": "web:9" }] } } },
        });
        let found = drift(&live);
        let said: Vec<String> = found
            .iter()
            .map(|one| format!("{} {} {} {}", one.field, one.wanted, one.now, one.by.join(",")))
            .collect();
        assert_eq!(said, ["replicas 7 3 kubectl", "image web:1 web:9 argocd"]);
    }

    #[test]
    fn an_object_asks_to_be_mended_by_its_annotation_and_an_autoscaler_is_known() {
        let live = |value: &str| json!({ "metadata": { "annotations": { "sentinel.dev/mend": value } } });
        assert!(asks_to_be_mended(&live("true")));
        assert!(!asks_to_be_mended(&live("false")) && !asks_to_be_mended(&json!({})));
        let by = |field: &'static str, by: &str| Drift {
            field,
            wanted: "4".to_owned(),
            now: "9".to_owned(),
            by: vec![by.to_owned()],
        };
        assert!(by("replicas", "kube-controller-manager").is_autoscaled());
        assert!(!by("replicas", "kubectl").is_autoscaled());
        assert!(!by("image", "kube-controller-manager").is_autoscaled());
    }

    #[test]
    fn what_was_left_as_it_was_and_what_we_never_wanted_is_no_drift() {
        let spec =
            json!({ "replicas": 3, "template": { "spec": { "containers": [{ "name": "main", "image": "web:1" }] } } });
        let live = |wanted: Option<String>| json!({ "metadata": { "annotations": { WANTED: wanted } }, "spec": spec });
        assert!(drift(&live(wanted(&json!({ "spec": spec })))).is_empty());
        assert!(drift(&live(None)).is_empty());
        assert!(drift(&live(Some("no json".to_owned()))).is_empty());
        assert_eq!(wanted(&json!({ "spec": { "paused": true } })), None);
    }
}
