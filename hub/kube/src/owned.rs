//! What is ours of an object: the fields that stand under our name in `metadata.managedFields`.
//!
//! Server-side apply takes a whole intent: a field that we own and leave out is removed. So a change starts from what is ours, changes
//! that, and applies all of it, guarded by the resource version that it was read at. Fields of others are never in it.
//!
//! Source: the format FieldsV1 of structured-merge-diff: `f:NAME` a field, `k:{…}` an item of a list by its keys, `v:VALUE` an item of
//! a set, `i:INDEX` an item by its place, `.` the item itself.

use serde_json::{Map, Value, json};

use crate::FIELD_MANAGER;

/// The part of `live` that we own, with its names and resource version; of a subresource, such as `status`, or of the object itself.
pub fn owned(live: &Value, subresource: Option<&str>) -> Value {
    let mut ours = json!({});
    for entry in live["metadata"]["managedFields"].as_array().into_iter().flatten() {
        let mine = entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply";
        if mine && entry["subresource"].as_str() == subresource {
            ours = pick(live, &entry["fieldsV1"]).unwrap_or(ours);
        }
    }
    for field in ["apiVersion", "kind"] {
        ours[field] = live[field].clone();
    }
    for field in ["name", "namespace", "resourceVersion"] {
        if let Some(value) = live["metadata"].get(field) {
            ours["metadata"][field] = value.clone();
        }
    }
    ours
}

/// Who owns one field, given as a path of names such as `["spec", "replicas"]`; without us.
pub fn others_owning(live: &Value, path: &[&str]) -> Vec<String> {
    let owns = |entry: &&Value| {
        let found = path
            .iter()
            .try_fold(&entry["fieldsV1"], |at, name| at.get(format!("f:{name}")));
        found.is_some() && entry["manager"] != FIELD_MANAGER
    };
    let entries = live["metadata"]["managedFields"].as_array().into_iter().flatten();
    let mut names: Vec<String> = entries
        .filter(owns)
        .filter_map(|entry| entry["manager"].as_str())
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Who owns a field of the item with this name of a list at this path; without us.
pub fn others_owning_item(live: &Value, path: &[&str], name: &str, field: &str) -> Vec<String> {
    let item = format!("k:{}", json!({ "name": name }));
    let owns = |entry: &&Value| {
        let list = path
            .iter()
            .try_fold(&entry["fieldsV1"], |at, name| at.get(format!("f:{name}")));
        let found = list.and_then(|list| list.get(&item)?.get(format!("f:{field}")));
        found.is_some() && entry["manager"] != FIELD_MANAGER
    };
    let entries = live["metadata"]["managedFields"].as_array().into_iter().flatten();
    let mut names: Vec<String> = entries
        .filter(owns)
        .filter_map(|entry| entry["manager"].as_str())
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

/// What `fields` names of `value`.
fn pick(value: &Value, fields: &Value) -> Option<Value> {
    let fields = fields.as_object()?;
    if fields.keys().all(|key| key == ".") {
        return Some(value.clone());
    }
    match value {
        Value::Object(object) => {
            let mut picked = Map::new();
            for (key, inner) in fields {
                let Some(name) = key.strip_prefix("f:") else { continue };
                if let Some(found) = object.get(name).and_then(|value| pick(value, inner)) {
                    picked.insert(name.to_owned(), found);
                }
            }
            Some(Value::Object(picked))
        }
        Value::Array(items) => Some(Value::Array(pick_items(items, fields))),
        other => Some(other.clone()),
    }
}

fn pick_items(items: &[Value], fields: &Map<String, Value>) -> Vec<Value> {
    let mut picked = Vec::new();
    for (index, item) in items.iter().enumerate() {
        for (key, inner) in fields {
            let named = match key.split_once(':') {
                Some(("k", keys)) => has_keys(item, keys),
                Some(("v", value)) => serde_json::from_str::<Value>(value).is_ok_and(|value| value == *item),
                Some(("i", place)) => place.parse() == Ok(index),
                _ => false,
            };
            if !named {
                continue;
            }
            let mut found = pick(item, inner).unwrap_or(Value::Null);
            // The keys of an item belong to it, whoever owns them.
            if let Some(keys) = key
                .strip_prefix("k:")
                .and_then(|keys| serde_json::from_str::<Map<String, Value>>(keys).ok())
            {
                for (name, value) in keys {
                    found[name] = value;
                }
            }
            picked.push(found);
        }
    }
    picked
}

fn has_keys(item: &Value, keys: &str) -> bool {
    let keys: Option<Map<String, Value>> = serde_json::from_str(keys).ok();
    keys.is_some_and(|keys| keys.iter().all(|(name, value)| item.get(name) == Some(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live() -> Value {
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": "web", "namespace": "default", "resourceVersion": "7", "uid": "u",
                "labels": { "ours": "1", "theirs": "2" },
                "managedFields": [
                    { "manager": "kubectl", "operation": "Update", "fieldsV1": {
                        "f:metadata": { "f:labels": { "f:theirs": {} } }, "f:spec": { "f:replicas": {} } } },
                    { "manager": "sentinel-hub", "operation": "Apply", "subresource": "status", "fieldsV1": {
                        "f:status": { "f:conditions": {} } } },
                    { "manager": "sentinel-hub", "operation": "Apply", "fieldsV1": {
                        "f:metadata": { "f:labels": { "f:ours": {} } },
                        "f:spec": { "f:template": { "f:spec": { "f:containers": {
                            "k:{\"name\":\"main\"}": { ".": {}, "f:image": {}, "f:name": {},
                                "f:ports": { "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": { ".": {}, "f:containerPort": {} } },
                                "f:args": {} } } } } } } },
                ],
            },
            "spec": { "replicas": 3, "template": { "spec": { "containers": [
                { "name": "main", "image": "web:1", "imagePullPolicy": "Always", "args": ["a", "b"],
                  "ports": [{ "containerPort": 80, "protocol": "TCP", "hostPort": 1 }] },
                { "name": "injected", "image": "mesh:1" },
            ] } } },
        })
    }

    #[test]
    fn only_what_is_ours_is_picked() {
        let expected = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": { "name": "web", "namespace": "default", "resourceVersion": "7", "labels": { "ours": "1" } },
            "spec": { "template": { "spec": { "containers": [
                { "name": "main", "image": "web:1", "args": ["a", "b"], "ports": [{ "containerPort": 80, "protocol": "TCP" }] },
            ] } } },
        });
        assert_eq!(owned(&live(), None), expected);
    }

    #[test]
    fn an_object_of_others_gives_its_names_only() {
        let mut live = live();
        live["metadata"]["managedFields"] = json!([]);
        let names = json!({ "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": "web", "namespace": "default", "resourceVersion": "7" } });
        assert_eq!(owned(&live, None), names);
    }

    #[test]
    fn a_field_of_others_is_named_with_its_owner() {
        assert_eq!(others_owning(&live(), &["spec", "replicas"]), ["kubectl"]);
        assert!(others_owning(&live(), &["spec", "template"]).is_empty());
    }
}
