//! Empties a node: closes it, then asks the API server to evict its pods, which keeps to disruption budgets.
//!
//! Never deletes a pod by force: one that its budget holds stays, and the report names it.

use std::time::Duration;

use kube::api::{DeleteParams, EvictParams, Preconditions};
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::Cluster;
use crate::error::KubeError;
use crate::pods::PodView;

/// How long one eviction may take.
const EVICTION: Duration = Duration::from_secs(10);
/// Pause before pods that are held, or on their way, are looked at again.
const LOOK: Duration = Duration::from_millis(500);

/// What the API server says to an eviction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Eviction {
    /// The pod goes.
    Going,
    /// It is gone already, or another pod has its name.
    Gone,
    /// A disruption budget holds it.
    Held {
        /// The server's words; they name the budget.
        why: String,
        /// When the server wants to be asked again.
        retry_after: Option<Duration>,
    },
}

/// What came of emptying a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// Pods that went, as `namespace/name`.
    pub evicted: Vec<String>,
    /// Pods that are still there, with the reason.
    pub left: Vec<(String, String)>,
}

impl DrainReport {
    /// Whether nothing is left that should go.
    pub fn is_empty_now(&self) -> bool {
        self.left.is_empty()
    }
}

impl Cluster {
    /// Asks for the eviction of this very pod. The answer is the server's; it is not asked again here.
    pub async fn evict(&self, pod: &PodView) -> Result<Eviction, KubeError> {
        let what = format!("eviction of pod {}/{}", pod.namespace, pod.name);
        let only_this = Preconditions {
            uid: Some(pod.uid.clone()),
            ..Preconditions::default()
        };
        let parameters = EvictParams {
            delete_options: Some(DeleteParams {
                preconditions: Some(only_this),
                ..DeleteParams::default()
            }),
            ..EvictParams::default()
        };
        let api = self.pods_api(Some(&pod.namespace));
        let answer = timeout(EVICTION, api.evict(&pod.name, &parameters)).await;
        let Ok(answer) = answer else {
            return Err(KubeError::TimedOut {
                cluster: self.name().to_owned(),
                what,
                within: EVICTION,
            });
        };
        match answer.map_err(|error| KubeError::sort(self.name(), &what, error)) {
            Ok(_) => Ok(Eviction::Going),
            Err(KubeError::NotFound { .. } | KubeError::Conflict { .. }) => Ok(Eviction::Gone),
            Err(KubeError::Busy {
                message, retry_after, ..
            }) => Ok(Eviction::Held {
                why: message,
                retry_after,
            }),
            Err(error) => Err(error),
        }
    }

    /// Closes a node and evicts its pods until none is left that should go, or `within` is over.
    ///
    /// Pods of daemon sets, mirror pods and pods that have ended stay. Fails only if the node cannot be closed or its pods cannot be
    /// read at first; what goes wrong later is in the report, and a node that could not be read last is never called empty.
    pub async fn drain(&self, node: &str, within: Duration) -> Result<DrainReport, KubeError> {
        self.cordon(node).await?;
        let deadline = Instant::now() + within;
        let mut report = DrainReport::default();
        let mut pods = self.to_evict(node).await?;
        let mut asked: Vec<PodView> = Vec::new();
        loop {
            let mut reasons = Vec::new();
            for pod in &pods {
                let name = format!("{}/{}", pod.namespace, pod.name);
                if pod.deleting {
                    reasons.push((name, "it is going".to_owned()));
                    continue;
                }
                match self.evict(pod).await {
                    Ok(Eviction::Going) => {
                        asked.push(pod.clone());
                        reasons.push((name, "it is going".to_owned()));
                    }
                    Ok(Eviction::Gone) => {}
                    Ok(Eviction::Held { why, .. }) => reasons.push((name, why)),
                    Err(error) => reasons.push((name, error.to_string())),
                }
            }
            let over = Instant::now() >= deadline;
            if !reasons.is_empty() && !over {
                sleep(LOOK).await;
            }
            match self.to_evict(node).await {
                Ok(now) => {
                    report.left = reasons.into_iter().filter(|(name, _)| is_among(&now, name)).collect();
                    let fresh = now.iter().map(|pod| format!("{}/{}", pod.namespace, pod.name));
                    let fresh: Vec<String> = fresh
                        .filter(|name| !report.left.iter().any(|(left, _)| left == name))
                        .collect();
                    report.left.extend(
                        fresh
                            .into_iter()
                            .map(|name| (name, "it came while others went".to_owned())),
                    );
                    pods = now;
                }
                Err(error) => report.left = vec![("all pods".to_owned(), error.to_string())],
            }
            if report.left.is_empty() || Instant::now() >= deadline {
                let gone = asked.iter().map(|pod| format!("{}/{}", pod.namespace, pod.name));
                report.evicted = gone
                    .filter(|name| !report.left.iter().any(|(left, _)| left == name))
                    .collect();
                report.evicted.sort();
                report.evicted.dedup();
                return Ok(report);
            }
        }
    }

    /// Asks once for the eviction of every pod that should go from a node. What is left, as `namespace/name` with the reason.
    ///
    /// For whoever comes again: a budget that holds a pod now may let it go in a moment. The node itself is not touched.
    pub async fn evict_from(&self, node: &str) -> Result<Vec<(String, String)>, KubeError> {
        let mut left = Vec::new();
        for pod in self.to_evict(node).await? {
            let name = format!("{}/{}", pod.namespace, pod.name);
            let going = "it is going".to_owned();
            if pod.deleting {
                left.push((name, going));
                continue;
            }
            match self.evict(&pod).await {
                Ok(Eviction::Going) => left.push((name, going)),
                Ok(Eviction::Gone) => {}
                Ok(Eviction::Held { why, .. }) => left.push((name, why)),
                Err(error) => left.push((name, error.to_string())),
            }
        }
        Ok(left)
    }

    async fn to_evict(&self, node: &str) -> Result<Vec<PodView>, KubeError> {
        let pods = self.pods_on(node).await?;
        Ok(pods
            .into_iter()
            .filter(|pod| !(pod.of_daemon_set || pod.is_mirror || pod.has_ended()))
            .collect())
    }
}

fn is_among(pods: &[PodView], name: &str) -> bool {
    pods.iter().any(|pod| name == format!("{}/{}", pod.namespace, pod.name))
}
