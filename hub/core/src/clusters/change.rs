//! One change of something in a cluster, and what a look at that thing says of it.
//!
//! Decides whether a change was made, whether what it wanted is there, and what would take it back; never how a cluster does it. An API
//! server that accepts a change has promised nothing: a deployment is as wanted when its pods are ready, a node is drained when they
//! are gone.
//!
//! Read next: `plans/at_cluster.rs` (who asks), `hub/src/kube/looks.rs` (who looks).

use std::fmt;

use serde::{Deserialize, Serialize};
use wire::kube::{DeploymentChange, DeploymentRef, NodeChange, NodeRef};
use wire::plan::PlanProblem;

/// A change, with what is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClusterChange {
    /// Of a deployment.
    Deployment {
        /// Which.
        target: DeploymentRef,
        /// What.
        change: DeploymentChange,
    },
    /// Of a node.
    Node {
        /// Which.
        target: NodeRef,
        /// What.
        change: NodeChange,
    },
}

/// How the target of a change is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// A deployment.
    Deployment(DeploymentStanding),
    /// A node.
    Node(NodeStanding),
    /// There is none of that name.
    Missing,
    /// It could not be read. That says nothing of it.
    Unread {
        /// Why not.
        why: String,
    },
}

/// How a deployment is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentStanding {
    /// Image of its first container.
    pub image: String,
    /// Replicas that are wanted.
    pub wanted: u32,
    /// Replicas that are ready.
    pub ready: u32,
    /// Its revision.
    pub revision: Option<u64>,
    /// Its controller has seen what is wanted, and all of it is there.
    pub is_settled: bool,
    /// Its controller has given up: it made no progress until the cluster's own deadline.
    pub has_failed: bool,
    /// Id of the last of our changes that reached it; empty without.
    pub mark: String,
}

/// How a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStanding {
    /// It is closed for new pods.
    pub is_cordoned: bool,
    /// Pods that should go and are still there, with what holds them.
    pub left: Vec<String>,
}

/// How a target was before a plan, as far as that is needed to go back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Was {
    /// It was not there.
    Missing,
    /// A deployment.
    Deployment {
        /// Its image.
        image: String,
        /// Its replicas.
        replicas: u32,
        /// Its revision.
        revision: Option<u64>,
    },
    /// A node.
    Node {
        /// It was closed for new pods already.
        is_cordoned: bool,
    },
}

/// Whether what a change wanted is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// It is, in these words.
    Reached(String),
    /// Not yet; it stands like this.
    Coming(String),
    /// It is not, and will not be by itself.
    Failed(String),
}

impl ClusterChange {
    /// The cluster.
    pub fn cluster(&self) -> &str {
        match self {
            Self::Deployment { target, .. } => &target.cluster,
            Self::Node { target, .. } => &target.cluster,
        }
    }

    /// The verb in the journal.
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Deployment { change, .. } => change.verb(),
            Self::Node { change, .. } => change.verb(),
        }
    }

    /// Holds its names against their lengths and grammar.
    pub(crate) fn check(&self) -> Result<(), PlanProblem> {
        match self {
            Self::Deployment { target, .. } => target.check(),
            Self::Node { target, .. } => target.check(),
        }
    }

    /// Nothing is there when it is done.
    const fn removes(&self) -> bool {
        matches!(
            self,
            Self::Deployment {
                change: DeploymentChange::Delete,
                ..
            }
        )
    }

    /// What takes it back; `None` if nothing does or nothing has to.
    pub(crate) fn undo(&self, was: &Was) -> Option<Self> {
        match (self, was) {
            (
                Self::Deployment { target, change },
                Was::Deployment {
                    image,
                    replicas,
                    revision,
                },
            ) => {
                let change = match change {
                    DeploymentChange::Scale { .. } => DeploymentChange::Scale { replicas: *replicas },
                    DeploymentChange::SetImage { .. } => DeploymentChange::SetImage { image: image.clone() },
                    // Where pods may run stands in the revision.
                    DeploymentChange::RollBack { .. } | DeploymentChange::Pin { .. } => {
                        DeploymentChange::RollBack { revision: (*revision)? }
                    }
                    DeploymentChange::Create { .. }
                    | DeploymentChange::Deploy { .. }
                    | DeploymentChange::Restart { .. }
                    | DeploymentChange::Delete => return None,
                };
                let target = target.clone();
                Some(Self::Deployment { target, change })
            }
            (
                Self::Deployment {
                    target,
                    change: DeploymentChange::Deploy { .. },
                },
                Was::Missing,
            ) => Some(Self::Deployment {
                target: target.clone(),
                change: DeploymentChange::Delete,
            }),
            (
                Self::Node {
                    target,
                    change: NodeChange::Cordon | NodeChange::Drain,
                },
                Was::Node { is_cordoned: false },
            ) => Some(Self::Node {
                target: target.clone(),
                change: NodeChange::Uncordon,
            }),
            _ => None,
        }
    }
}

impl fmt::Display for ClusterChange {
    /// The target as entries name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deployment { target, .. } => write!(f, "deployment/{target}"),
            Self::Node { target, .. } => write!(f, "node/{}", target.name),
        }
    }
}

impl Standing {
    /// What of it is needed to go back to it; `None` while it could not be read.
    pub(crate) fn was(&self) -> Option<Was> {
        match self {
            Self::Deployment(now) => Some(Was::Deployment {
                image: now.image.clone(),
                replicas: now.wanted,
                revision: now.revision,
            }),
            Self::Node(now) => Some(Was::Node {
                is_cordoned: now.is_cordoned,
            }),
            Self::Missing => Some(Was::Missing),
            Self::Unread { .. } => None,
        }
    }

    /// Whether this change, with this id, reached its target; `None` if that cannot be told.
    pub(crate) fn is_made(&self, change: &ClusterChange, id: &str) -> Option<bool> {
        match (self, change) {
            (Self::Deployment(now), ClusterChange::Deployment { .. }) => Some(now.mark == id),
            (Self::Node(now), ClusterChange::Node { change, .. }) => {
                Some(now.is_cordoned == (*change != NodeChange::Uncordon))
            }
            (Self::Missing, change) => Some(change.removes()),
            _ => None,
        }
    }

    /// Whether nobody has changed what this change has set.
    pub fn holds(&self, change: &ClusterChange) -> bool {
        match (self, change) {
            (Self::Deployment(now), ClusterChange::Deployment { change, .. }) => match change {
                DeploymentChange::Scale { replicas } => now.wanted == *replicas,
                DeploymentChange::SetImage { image } => now.image == *image,
                DeploymentChange::Deploy { image, replicas, .. } => now.image == *image && now.wanted == *replicas,
                DeploymentChange::Create { .. }
                | DeploymentChange::Restart { .. }
                | DeploymentChange::RollBack { .. }
                | DeploymentChange::Pin { .. }
                | DeploymentChange::Delete => true,
            },
            (Self::Node(now), ClusterChange::Node { change, .. }) => {
                now.is_cordoned == (*change != NodeChange::Uncordon)
            }
            _ => false,
        }
    }

    /// Whether what the change wanted is there.
    pub(crate) fn effect(&self, change: &ClusterChange) -> Effect {
        match self {
            Self::Unread { why } => Effect::Coming(format!("it cannot be read: {why}")),
            Self::Missing if change.removes() => Effect::Reached("it is gone".to_owned()),
            Self::Missing => Effect::Failed("it is not there any more".to_owned()),
            Self::Deployment(now) if change.removes() => {
                Effect::Coming(format!("{} replicas are still there", now.ready))
            }
            Self::Deployment(now) if !self.holds(change) => Effect::Failed(format!(
                "somebody else changed it: {} replicas of {} are wanted",
                now.wanted, now.image
            )),
            Self::Deployment(now) => {
                let ready = format!("{} of {} replicas are ready", now.ready, now.wanted);
                match (now.is_settled, now.has_failed) {
                    (true, _) => Effect::Reached(ready),
                    (false, true) => Effect::Failed(format!("{ready}, and the cluster sees no progress")),
                    (false, false) => Effect::Coming(ready),
                }
            }
            Self::Node(_) if !self.holds(change) => Effect::Failed("somebody else changed it".to_owned()),
            Self::Node(now) => match (change, now.left.first()) {
                (
                    ClusterChange::Node {
                        change: NodeChange::Drain,
                        ..
                    },
                    Some(first),
                ) => Effect::Coming(format!("{} pods are still there: {first}", now.left.len())),
                (
                    ClusterChange::Node {
                        change: NodeChange::Drain,
                        ..
                    },
                    None,
                ) => Effect::Reached("no pod is left that should go".to_owned()),
                _ if now.is_cordoned => Effect::Reached("it takes no new pods".to_owned()),
                _ => Effect::Reached("it takes pods".to_owned()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(replicas: u32) -> ClusterChange {
        ClusterChange::Deployment {
            target: "demo/default/web".parse().expect("three names"),
            change: DeploymentChange::Scale { replicas },
        }
    }

    fn node(change: NodeChange) -> ClusterChange {
        let (cluster, name) = ("demo".to_owned(), "node-1".to_owned());
        let target = NodeRef { cluster, name };
        ClusterChange::Node { target, change }
    }

    fn web(wanted: u32, ready: u32, is_settled: bool, has_failed: bool) -> Standing {
        Standing::Deployment(DeploymentStanding {
            image: "web:1".to_owned(),
            wanted,
            ready,
            revision: Some(3),
            is_settled,
            has_failed,
            mark: "c1".to_owned(),
        })
    }

    #[test]
    fn a_scale_is_there_when_its_pods_are_ready_and_not_before() {
        let effect = |standing: Standing| standing.effect(&scale(7));
        assert_eq!(
            effect(web(7, 7, true, false)),
            Effect::Reached("7 of 7 replicas are ready".to_owned())
        );
        assert_eq!(
            effect(web(7, 4, false, false)),
            Effect::Coming("4 of 7 replicas are ready".to_owned())
        );
        assert!(matches!(effect(web(7, 4, false, true)), Effect::Failed(why) if why.contains("no progress")));
        assert!(matches!(effect(web(9, 9, true, false)), Effect::Failed(why) if why.contains("somebody else")));
        let why = "it is down".to_owned();
        assert!(
            matches!(effect(Standing::Unread { why }), Effect::Coming(_)),
            "what cannot be read is not gone"
        );
    }

    #[test]
    fn whether_a_change_was_made_is_told_by_its_mark() {
        assert_eq!(web(7, 7, true, false).is_made(&scale(7), "c1"), Some(true));
        assert_eq!(
            web(7, 7, true, false).is_made(&scale(7), "c2"),
            Some(false),
            "another change made it so"
        );
        assert_eq!(Standing::Unread { why: String::new() }.is_made(&scale(7), "c1"), None);
    }

    #[test]
    fn going_back_needs_what_was_before() {
        let was = web(4, 4, true, false).was().expect("it was read");
        assert_eq!(scale(7).undo(&was), Some(scale(4)));
        assert_eq!(scale(7).undo(&Was::Missing), None);
        let open = Was::Node { is_cordoned: false };
        assert_eq!(node(NodeChange::Drain).undo(&open), Some(node(NodeChange::Uncordon)));
        let closed = Was::Node { is_cordoned: true };
        assert_eq!(
            node(NodeChange::Drain).undo(&closed),
            None,
            "somebody else had closed it"
        );
    }

    #[test]
    fn a_node_is_drained_when_its_pods_are_gone() {
        let with = |left: &[&str]| {
            Standing::Node(NodeStanding {
                is_cordoned: true,
                left: left.iter().map(|pod| (*pod).to_owned()).collect(),
            })
        };
        let held = with(&["default/web-1: held by budget web"]).effect(&node(NodeChange::Drain));
        assert_eq!(
            held,
            Effect::Coming("1 pods are still there: default/web-1: held by budget web".to_owned())
        );
        assert!(matches!(with(&[]).effect(&node(NodeChange::Drain)), Effect::Reached(_)));
        assert!(matches!(
            with(&["default/web-1: it stays"]).effect(&node(NodeChange::Cordon)),
            Effect::Reached(_)
        ));
    }
}
