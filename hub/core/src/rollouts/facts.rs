//! What is observed of a rollout, and what it asks to be changed.

use serde::{Deserialize, Serialize};

use super::spec::{Analysis, Route};

/// The parts of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The workload itself.
    Stable,
    /// Replicas of the new image beside it.
    Canary,
    /// Fresh replicas of the old image, to compare the canary with.
    Baseline,
}

/// One part as it was observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It could not be read; nothing follows from that.
    Unread(String),
    /// It was read, and it is not there.
    Missing,
    /// It is there.
    There(RoleFacts),
}

/// What was observed of a part that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleFacts {
    /// The image that it is meant to run.
    pub image: String,
    /// Replicas that it is meant to have.
    pub wanted: u32,
    /// Replicas that are ready.
    pub ready: u32,
    /// Replicas of the image that it is meant to run.
    pub updated: u32,
    /// Replicas that there are, of any image.
    pub existing: u32,
    /// Its controller has seen what it is meant to be.
    pub seen_by_controller: bool,
}

/// Everything that was observed, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The workload.
    pub stable: Seen,
    /// The canary.
    pub canary: Seen,
    /// The baseline.
    pub baseline: Seen,
    /// Traffic of the canary, in percent; `None` if it could not be read. Not looked at where traffic follows replicas.
    pub weight: Option<u8>,
    /// Name of an autoscaler that scales the workload.
    pub autoscaler: Option<String>,
}

/// What is looked at, besides the parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// Where traffic is divided.
    pub route: Option<Route>,
    /// What is measured, if the canary is judged now.
    pub measure: Option<Measure>,
}

/// What is measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    /// From when, wall time in milliseconds.
    pub since_ms: i64,
    /// Until when.
    pub until_ms: i64,
    /// What.
    pub analysis: Analysis,
}

/// One change to make. Each says how things should be, so that doing it twice is doing it once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Make a canary or baseline: the workload with this image and number of replicas.
    Ensure {
        /// Which.
        role: Role,
        /// Its image.
        image: String,
        /// Its replicas.
        replicas: u32,
    },
    /// Set a number of replicas.
    Scale {
        /// Which.
        role: Role,
        /// To how many.
        replicas: u32,
    },
    /// Let the workload itself run another image, replica by replica, with none unavailable meanwhile.
    SetImage {
        /// The image.
        image: String,
    },
    /// Set the canary's traffic, in percent.
    Weight {
        /// How much.
        percent: u8,
    },
    /// Remove a canary or baseline.
    Remove {
        /// Which.
        role: Role,
    },
}

impl Role {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Canary => "canary",
            Self::Baseline => "baseline",
        }
    }
}

impl RoleFacts {
    /// Whether it is just so: this image on this many ready replicas and no others.
    pub fn is(&self, image: &str, replicas: u32) -> bool {
        let all = [self.wanted, self.ready, self.updated, self.existing];
        self.image == image && self.seen_by_controller && all.iter().all(|count| *count == replicas)
    }
}

impl Facts {
    /// What was observed of a part.
    pub fn of(&self, role: Role) -> &Seen {
        match role {
            Role::Stable => &self.stable,
            Role::Canary => &self.canary,
            Role::Baseline => &self.baseline,
        }
    }

    /// The first part that could not be read, and why.
    pub fn unread(&self) -> Option<(Role, &str)> {
        [Role::Stable, Role::Canary, Role::Baseline]
            .into_iter()
            .find_map(|role| match self.of(role) {
                Seen::Unread(why) => Some((role, why.as_str())),
                Seen::Missing | Seen::There(_) => None,
            })
    }

    /// Ready replicas of all parts together.
    pub fn ready(&self) -> u32 {
        self.ready_with(Role::Stable, u32::MAX)
    }

    /// Ready replicas of all parts together, if one of them had at most `capped` of its own.
    pub(super) fn ready_with(&self, role: Role, capped: u32) -> u32 {
        let ready = |of: Role| match self.of(of) {
            Seen::There(facts) if of == role => facts.ready.min(capped),
            Seen::There(facts) => facts.ready,
            Seen::Missing | Seen::Unread(_) => 0,
        };
        ready(Role::Stable) + ready(Role::Canary) + ready(Role::Baseline)
    }
}

impl Seen {
    /// The facts, if it is there.
    pub fn there(&self) -> Option<&RoleFacts> {
        match self {
            Self::There(facts) => Some(facts),
            Self::Missing | Self::Unread(_) => None,
        }
    }
}
