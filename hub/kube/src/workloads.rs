//! Deployments, stateful sets and jobs: read, apply, scale, restart, delete.

use std::collections::BTreeMap;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::core::ApiResource;
use serde_json::{Value, json};

use crate::FIELD_MANAGER;
use crate::cluster::Cluster;
use crate::drift::{WANTED, wanted};
use crate::error::KubeError;
use crate::manifest::{WorkloadKind, WorkloadRef, WorkloadSpec};
use crate::owned::owned;
use crate::status::Workload;

/// Objects of one page of a list. Source: the API server's own clients use 500.
const PAGE: u32 = 500;
/// How often a change is made anew because somebody else changed the object in between.
const RACES: usize = 5;
/// The annotation that names the last of our changes that reached a workload.
pub(crate) const MARK: &str = "sentinel.dev/change";
/// The annotation that makes a controller replace all pods, as kubectl sets it.
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";

/// What to do about fields that another field manager owns and that should be different.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Leave everything as it is, with [`KubeError::Conflict`] naming the other one.
    Yield,
    /// Take the fields over.
    Take,
}

/// An autoscaler that scales a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Autoscaler {
    /// Its name.
    pub name: String,
    /// Fewest replicas that it sets.
    pub min: u32,
    /// Most replicas that it sets.
    pub max: u32,
}

impl Cluster {
    /// The workload as it is now; `None` if there is none.
    pub async fn workload(&self, id: &WorkloadRef) -> Result<Option<Workload>, KubeError> {
        let live = self
            .live(&id.kind.resource(), Some(&id.namespace), &id.name, &id.to_string())
            .await?;
        live.map(|live| self.workload_of(id.kind, &live)).transpose()
    }

    /// All workloads of a kind: of one namespace or of all, with these labels. Either the whole list or an error, never a part of it.
    pub async fn workloads(
        &self,
        kind: WorkloadKind,
        namespace: Option<&str>,
        labels: &BTreeMap<String, String>,
    ) -> Result<Vec<Workload>, KubeError> {
        let api = self.dynamic(&kind.resource(), namespace);
        let objects = self
            .list_all(&api, &format!("the list of {}s", kind.name()), &selector(labels), "")
            .await?;
        objects
            .iter()
            .map(|object| self.workload_of(kind, &value(object)))
            .collect()
    }

    /// Creates the workload, or makes it as the intent says. A workload whose intent names no number of replicas keeps the number that
    /// it has.
    pub async fn apply(&self, spec: &WorkloadSpec, owner: Owner) -> Result<Workload, KubeError> {
        let id = &spec.id;
        let mut intent = spec.manifest();
        let live = self
            .live(&id.kind.resource(), Some(&id.namespace), &id.name, &id.to_string())
            .await?;
        let ours = live.as_ref().map(|live| owned(live, None));
        if let (None, Some(replicas)) = (
            spec.replicas,
            ours.as_ref().and_then(|ours| ours["spec"].get("replicas")),
        ) {
            // An owned field that is left out goes back to its default, and that is 1.
            intent["spec"]["replicas"] = replicas.clone();
        }
        self.put_mark(&id.kind.resource(), &mut intent);
        let applied = self
            .apply_value(&id.kind.resource(), &intent, owner, &id.to_string())
            .await?;
        self.workload_of(id.kind, &applied)
    }

    /// Creates the workload; a [`KubeError::Conflict`] if there is one already.
    pub async fn create(&self, spec: &WorkloadSpec) -> Result<Workload, KubeError> {
        if self.workload(&spec.id).await?.is_some() {
            let message = "it exists already; update it, or choose another name".to_owned();
            return Err(KubeError::Conflict {
                cluster: self.name().to_owned(),
                what: spec.id.to_string(),
                message,
            });
        }
        self.apply(spec, Owner::Yield).await
    }

    /// Sets the number of replicas; 0 is a number. A [`KubeError::Conflict`] if an autoscaler scales it.
    pub async fn scale(&self, id: &WorkloadRef, replicas: u32) -> Result<Workload, KubeError> {
        if id.kind == WorkloadKind::Job {
            return Err(self.not_of_a_job("scaled", id));
        }
        if let Some(autoscaler) = self.autoscaler(id).await? {
            let message = format!(
                "autoscaler {} scales it between {} and {} replicas; change that one, or remove it",
                autoscaler.name, autoscaler.min, autoscaler.max
            );
            return Err(KubeError::Conflict {
                cluster: self.name().to_owned(),
                what: id.to_string(),
                message,
            });
        }
        self.change(id, |_, ours| ours["spec"]["replicas"] = json!(replicas))
            .await
    }

    /// Sets the image of the first container.
    pub async fn set_image(&self, id: &WorkloadRef, image: &str) -> Result<Workload, KubeError> {
        self.change(id, |live, ours| put_image(live, ours, image)).await
    }

    /// Replaces all pods, one after the other. `at` marks this restart: the same mark again does nothing.
    pub async fn restart(&self, id: &WorkloadRef, at: &str) -> Result<Workload, KubeError> {
        if id.kind == WorkloadKind::Job {
            return Err(self.not_of_a_job("restarted", id));
        }
        self.change(id, |_, ours| {
            ours["spec"]["template"]["metadata"]["annotations"][RESTARTED] = json!(at)
        })
        .await
    }

    /// Deletes the workload with its pods, which go in the background. False if there is none, or another one of that name by now.
    pub async fn delete(&self, id: &WorkloadRef) -> Result<bool, KubeError> {
        let Some(workload) = self.workload(id).await? else {
            return Ok(false);
        };
        let only_this = Preconditions {
            uid: Some(workload.uid),
            ..Preconditions::default()
        };
        let parameters = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(only_this),
            ..DeleteParams::default()
        };
        let api = self.dynamic(&id.kind.resource(), Some(&id.namespace));
        // With its identity, twice is the same as once.
        match self
            .call(&format!("deletion of {id}"), || api.delete(&id.name, &parameters))
            .await
        {
            Ok(_) => Ok(true),
            Err(KubeError::NotFound { .. }) => Ok(true),
            Err(KubeError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The autoscaler that scales this workload, if one does.
    pub async fn autoscaler(&self, id: &WorkloadRef) -> Result<Option<Autoscaler>, KubeError> {
        let api: Api<HorizontalPodAutoscaler> = Api::namespaced(self.client.clone(), &id.namespace);
        let all = self.list_all(&api, "the list of autoscalers", "", "").await?;
        let count = |replicas: i32| u32::try_from(replicas).unwrap_or(0);
        let ours = all.into_iter().find_map(|one| {
            let spec = one.spec?;
            let target = &spec.scale_target_ref;
            let same = target.kind == id.kind.name() && target.name == id.name;
            same.then(|| Autoscaler {
                name: one.metadata.name.unwrap_or_default(),
                min: spec.min_replicas.map_or(1, count),
                max: count(spec.max_replicas),
            })
        });
        Ok(ours)
    }

    /// Changes what is ours of a workload and applies it, as often as somebody else is faster.
    pub(crate) async fn change(
        &self,
        id: &WorkloadRef,
        change: impl Fn(&Value, &mut Value),
    ) -> Result<Workload, KubeError> {
        let changed = self
            .change_value(
                &id.kind.resource(),
                Some(&id.namespace),
                &id.name,
                &id.to_string(),
                change,
            )
            .await?;
        self.workload_of(id.kind, &changed)
    }

    /// The same for any object.
    pub(crate) async fn change_value(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        name: &str,
        what: &str,
        change: impl Fn(&Value, &mut Value),
    ) -> Result<Value, KubeError> {
        let mut races = 0;
        loop {
            let Some(live) = self.live(resource, namespace, name, what).await? else {
                return Err(KubeError::NotFound {
                    cluster: self.name().to_owned(),
                    what: what.to_owned(),
                });
            };
            let mut intent = owned(&live, None);
            change(&live, &mut intent);
            self.put_mark(resource, &mut intent);
            match self.apply_value(resource, &intent, Owner::Take, what).await {
                // Somebody else changed it since it was read, or our own first try did and its answer was lost.
                Err(KubeError::Conflict { .. }) if races < RACES => races += 1,
                result => return result,
            }
        }
    }

    /// Nodes show what is done to them by themselves; workloads carry the mark of the change.
    fn put_mark(&self, resource: &ApiResource, intent: &mut Value) {
        if let Some(mark) = self.mark.as_deref().filter(|_| resource.kind != "Node") {
            intent["metadata"]["annotations"][MARK] = json!(mark);
            if let Some(wanted) = wanted(intent) {
                intent["metadata"]["annotations"][WANTED] = json!(wanted);
            }
        }
    }

    /// Applies a whole intent.
    pub(crate) async fn apply_value(
        &self,
        resource: &ApiResource,
        intent: &Value,
        owner: Owner,
        what: &str,
    ) -> Result<Value, KubeError> {
        let api = self.dynamic(resource, intent["metadata"]["namespace"].as_str());
        let name = intent["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let parameters = PatchParams {
            force: owner == Owner::Take,
            ..PatchParams::apply(FIELD_MANAGER)
        };
        let patch = Patch::Apply(intent);
        let applied = self.call(what, || api.patch(&name, &parameters, &patch)).await?;
        Ok(value(&applied))
    }

    /// An object as it is; `None` if there is none.
    pub(crate) async fn live(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        name: &str,
        what: &str,
    ) -> Result<Option<Value>, KubeError> {
        let api = self.dynamic(resource, namespace);
        let found = self.call(what, || api.get_opt(name)).await?;
        Ok(found.map(|object| value(&object)))
    }

    /// Every object of a list, page by page. A page that is lost loses the list.
    pub(crate) async fn list_all<K>(
        &self,
        api: &Api<K>,
        what: &str,
        labels: &str,
        fields: &str,
    ) -> Result<Vec<K>, KubeError>
    where
        K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    {
        let mut all = Vec::new();
        let parameters = ListParams::default().limit(PAGE).labels(labels).fields(fields);
        self.pages(api, what, parameters, |page| all.extend(page)).await?;
        Ok(all)
    }

    /// Every object of a list, one after the other; no more than a page of them is held. An error: some were not told.
    pub(crate) async fn list_each<K>(&self, api: &Api<K>, what: &str, mut each: impl FnMut(&K)) -> Result<(), KubeError>
    where
        K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    {
        let parameters = ListParams::default().limit(PAGE);
        self.pages(api, what, parameters, |page| page.iter().for_each(&mut each))
            .await
    }

    async fn pages<K>(
        &self,
        api: &Api<K>,
        what: &str,
        mut parameters: ListParams,
        mut page_of: impl FnMut(Vec<K>),
    ) -> Result<(), KubeError>
    where
        K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    {
        loop {
            let page = self.call(what, || api.list(&parameters)).await?;
            page_of(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters.continue_token = Some(token),
                None => return Ok(()),
            }
        }
    }

    pub(crate) fn workload_of(&self, kind: WorkloadKind, live: &Value) -> Result<Workload, KubeError> {
        Workload::read(kind, live).ok_or_else(|| self.unreadable(kind.name(), "an object without a name".to_owned()))
    }

    fn not_of_a_job(&self, verb: &str, id: &WorkloadRef) -> KubeError {
        let message = format!("a job cannot be {verb}; create another one");
        KubeError::Invalid {
            cluster: self.name().to_owned(),
            what: id.to_string(),
            message,
        }
    }
}

/// Puts the image of the first container into our intent.
pub(crate) fn put_image(live: &Value, ours: &mut Value, image: &str) {
    let container = &live["spec"]["template"]["spec"]["containers"][0]["name"];
    let containers = &mut ours["spec"]["template"]["spec"]["containers"];
    let put = json!({ "name": container, "image": image });
    match containers.as_array_mut() {
        Some(all) => match all.iter_mut().find(|one| one["name"] == *container) {
            Some(mine) => mine["image"] = json!(image),
            None => all.push(put),
        },
        None => *containers = json!([put]),
    }
}

/// An object as plain JSON.
pub(crate) fn value(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or(Value::Null)
}

/// A label map as a selector, such as `app=web,team=ml`.
pub(crate) fn selector(labels: &BTreeMap<String, String>) -> String {
    labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_map_becomes_a_selector() {
        let labels = BTreeMap::from([
            ("app".to_owned(), "sentinel".to_owned()),
            ("tier".to_owned(), "1".to_owned()),
        ]);
        assert_eq!(selector(&labels), "app=sentinel,tier=1");
    }
}
