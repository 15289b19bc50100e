//! What a step does, with its parameters typed.
//!
//! The first eight are done to nodes of the mesh, the last five to deployments of clusters; `cordon`, `uncordon` and `drain` to nodes of both.
//! Parameters come as texts (gRPC) or numbers (JSON); none has a silent default, and zero is a value like any other.
//!
//! Invariant: `Verb::read(verb.name(), &verb.params()) == Ok(verb)`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::draft::CLAIMED_PARAMS;
use super::{MAX_NAME, MAX_TEXT, PlanProblem, Target, check_text};
use crate::action::ActionKind;
use crate::demand::{Demand, MOST_NODE_BYTES, check_names, names};
use crate::reading::{Unit, human};

/// Most replicas that a plan may ask for; a quota is what really bounds them.
const MAX_REPLICAS: u32 = 10_000;

/// Kinds of work that a deployment may be.
pub const WORKLOAD_TYPES: [&str; 3] = ["training", "inference", "batch"];

/// Parameters of `deploy`: its own, and those of a demand.
const DEPLOY_KEYS: &[&str] = &[
    "image",
    "replicas",
    "nodes",
    "type",
    "cpu_milli",
    "memory_mib",
    "gpus",
    "gpu_share",
    "models",
    "labels",
    "gang",
];

/// What to do. The order is part of the stored format: add at the end only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Limit a GPU's power.
    PowerCap {
        /// The limit, in thousandths of a watt.
        milliwatts: u32,
    },
    /// Give a GPU its default limit back.
    ReleasePowerCap,
    /// Leave a process only this share of one core.
    Throttle {
        /// Hundredths of a percent, 100..=10,000.
        share_bp: u16,
    },
    /// Give a throttled process its share back.
    Unthrottle,
    /// Stop a process or the pods of a deployment, and start them again.
    Restart,
    /// Tell people.
    Notify {
        /// What.
        message: String,
    },
    /// Let no new work onto a node.
    Cordon,
    /// Let work onto it again.
    Uncordon,
    /// Move the work off a node.
    Drain,
    /// Give a deployment this many replicas.
    Scale {
        /// How many; 0 stops it.
        replicas: u32,
    },
    /// Give a deployment an earlier revision back.
    Rollback {
        /// Which; empty for the one before.
        revision: String,
    },
    /// Give a deployment another image.
    Update {
        /// Its full name.
        image: String,
    },
    /// Move a deployment's pods to a node.
    Reschedule {
        /// Its name in the cluster, or several with commas; empty: the hub places them when the plan is sent.
        node: String,
    },
    /// Make a deployment.
    Deploy {
        /// Its image.
        image: String,
        /// How many replicas; 0 is a number.
        replicas: u32,
        /// What each takes and demands of its node.
        demand: Demand,
        /// The only nodes that will do, with commas; empty: the hub places it when the plan is sent, if it demands anything.
        nodes: String,
        /// What kind of work it is, for people: `training`, `inference`, `batch`; empty: not said.
        kind: String,
    },
}

/// The nodes that a step names.
pub fn node_names(text: &str) -> Vec<String> {
    names(Some(&text.to_owned()))
}

impl Verb {
    /// Every name.
    pub const NAMES: &'static [&'static str] = &[
        "power_cap",
        "release_power_cap",
        "throttle",
        "unthrottle",
        "restart",
        "notify",
        "cordon",
        "uncordon",
        "drain",
        "scale",
        "rollback",
        "update",
        "reschedule",
        "deploy",
    ];

    /// The word in JSON, in the contract, and the name of its kind in bundles.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PowerCap { .. } => "power_cap",
            Self::ReleasePowerCap => "release_power_cap",
            Self::Throttle { .. } => "throttle",
            Self::Unthrottle => "unthrottle",
            Self::Restart => "restart",
            Self::Notify { .. } => "notify",
            Self::Cordon => "cordon",
            Self::Uncordon => "uncordon",
            Self::Drain => "drain",
            Self::Scale { .. } => "scale",
            Self::Rollback { .. } => "rollback",
            Self::Update { .. } => "update",
            Self::Reschedule { .. } => "reschedule",
            Self::Deploy { .. } => "deploy",
        }
    }

    /// The action of an agent that carries it out on a node of the mesh, if agents do that.
    pub fn action(&self) -> Option<ActionKind> {
        match self {
            Self::PowerCap { milliwatts } => Some(ActionKind::PowerCap {
                milliwatts: *milliwatts,
            }),
            Self::ReleasePowerCap => Some(ActionKind::ReleasePowerCap),
            Self::Throttle { share_bp } => Some(ActionKind::Throttle { share_bp: *share_bp }),
            Self::Unthrottle => Some(ActionKind::Unthrottle),
            Self::Restart => Some(ActionKind::Restart),
            Self::Notify { message } => Some(ActionKind::Notify {
                message: message.clone(),
            }),
            Self::Cordon => Some(ActionKind::Cordon),
            Self::Uncordon => Some(ActionKind::Uncordon),
            Self::Drain => Some(ActionKind::Drain),
            Self::Scale { .. }
            | Self::Rollback { .. }
            | Self::Update { .. }
            | Self::Reschedule { .. }
            | Self::Deploy { .. } => None,
        }
    }

    /// What takes it back, where that is known without looking at what was before.
    pub const fn undo(&self) -> Option<Self> {
        match self {
            Self::PowerCap { .. } => Some(Self::ReleasePowerCap),
            Self::Throttle { .. } => Some(Self::Unthrottle),
            Self::Cordon | Self::Drain => Some(Self::Uncordon),
            Self::ReleasePowerCap
            | Self::Unthrottle
            | Self::Restart
            | Self::Notify { .. }
            | Self::Uncordon
            | Self::Scale { .. }
            | Self::Rollback { .. }
            | Self::Update { .. }
            | Self::Reschedule { .. }
            | Self::Deploy { .. } => None,
        }
    }

    /// Reads a verb by its name and parameters, as texts.
    ///
    /// `migrate`, a word of the original's comments, is `reschedule`. Statements of the caller about the world
    /// ([`CLAIMED_PARAMS`]) may stand beside the parameters and are not used.
    pub fn read(name: &str, params: &BTreeMap<String, String>) -> Result<Self, PlanProblem> {
        let read = Params { verb: name, params };
        let verb = match name {
            "power_cap" => Self::PowerCap {
                milliwatts: read.power()?,
            },
            "release_power_cap" => Self::ReleasePowerCap,
            "throttle" => Self::Throttle {
                share_bp: read.share()?,
            },
            "unthrottle" => Self::Unthrottle,
            "restart" => Self::Restart,
            "notify" => Self::Notify {
                message: read.text("message")?,
            },
            "cordon" => Self::Cordon,
            "uncordon" => Self::Uncordon,
            "drain" => Self::Drain,
            "scale" => Self::Scale {
                replicas: read.number("replicas")?,
            },
            "rollback" => Self::Rollback {
                revision: params.get("revision").cloned().unwrap_or_default(),
            },
            "update" => Self::Update {
                image: read.text("image")?,
            },
            "reschedule" | "migrate" => Self::Reschedule {
                node: params.get("node").cloned().unwrap_or_default(),
            },
            "deploy" => Self::Deploy {
                image: read.text("image")?,
                replicas: read.number("replicas")?,
                demand: Demand::read(params)?,
                nodes: params.get("nodes").cloned().unwrap_or_default(),
                kind: params.get("type").cloned().unwrap_or_default(),
            },
            other => {
                let problem = format!("`{other}` is no verb; these are: {}", Self::NAMES.join(", "));
                return Err(PlanProblem::new("verb", problem));
            }
        };
        read.no_others(verb.keys())?;
        verb.check()?;
        Ok(verb)
    }

    /// Parameters that [`Verb::read`] reads as this verb.
    pub fn params(&self) -> BTreeMap<String, String> {
        let pair = |key: &str, value: String| BTreeMap::from([(key.to_owned(), value)]);
        match self {
            Self::PowerCap { milliwatts } => pair("milliwatts", milliwatts.to_string()),
            Self::Throttle { share_bp } => pair("share_bp", share_bp.to_string()),
            Self::Notify { message } => pair("message", message.clone()),
            Self::Scale { replicas } => pair("replicas", replicas.to_string()),
            Self::Rollback { revision } if !revision.is_empty() => pair("revision", revision.clone()),
            Self::Update { image } => pair("image", image.clone()),
            Self::Reschedule { node } if !node.is_empty() => pair("node", node.clone()),
            Self::Deploy {
                image,
                replicas,
                demand,
                nodes,
                kind,
            } => {
                let mut params = demand.params();
                params.insert("image".to_owned(), image.clone());
                params.insert("replicas".to_owned(), replicas.to_string());
                for (key, value) in [("nodes", nodes), ("type", kind)] {
                    if !value.is_empty() {
                        params.insert(key.to_owned(), value.clone());
                    }
                }
                params
            }
            Self::ReleasePowerCap
            | Self::Unthrottle
            | Self::Restart
            | Self::Cordon
            | Self::Uncordon
            | Self::Drain
            | Self::Reschedule { .. }
            | Self::Rollback { .. } => BTreeMap::new(),
        }
    }

    const fn keys(&self) -> &'static [&'static str] {
        match self {
            Self::PowerCap { .. } => &["milliwatts", "watts", "to"],
            Self::Throttle { .. } => &["share_bp", "to"],
            Self::Notify { .. } => &["message"],
            Self::Scale { .. } => &["replicas"],
            Self::Rollback { .. } => &["revision"],
            Self::Update { .. } => &["image"],
            Self::Reschedule { .. } => &["node"],
            Self::Deploy { .. } => DEPLOY_KEYS,
            Self::ReleasePowerCap | Self::Unthrottle | Self::Restart | Self::Cordon | Self::Uncordon | Self::Drain => {
                &[]
            }
        }
    }

    /// Holds its parameters against their bounds.
    pub fn check(&self) -> Result<(), PlanProblem> {
        match self {
            Self::PowerCap { milliwatts: 0 } => Err(PlanProblem::new("params.milliwatts", "0 is no power limit")),
            Self::Throttle { share_bp } if !(100..=10_000).contains(share_bp) => {
                let problem = format!("{share_bp} hundredths of a percent of a core is out of 100..=10000");
                Err(PlanProblem::new("params.share_bp", problem))
            }
            Self::Scale { replicas } if *replicas > MAX_REPLICAS => {
                let problem = format!("{replicas} is more than {MAX_REPLICAS}");
                Err(PlanProblem::new("params.replicas", problem))
            }
            Self::Notify { message } => check_text("params.message", message, 1, MAX_TEXT),
            Self::Rollback { revision } => check_text("params.revision", revision, 0, MAX_NAME),
            Self::Update { image } => check_text("params.image", image, 1, MAX_TEXT),
            Self::Reschedule { node } => check_nodes("params.node", node),
            Self::Deploy { replicas, .. } if *replicas > MAX_REPLICAS => {
                let problem = format!("{replicas} is more than {MAX_REPLICAS}");
                Err(PlanProblem::new("params.replicas", problem))
            }
            Self::Deploy { kind, .. } if !kind.is_empty() && !WORKLOAD_TYPES.contains(&kind.as_str()) => {
                let problem = format!("`{kind}` is none of {}", WORKLOAD_TYPES.join(", "));
                Err(PlanProblem::new("params.type", problem))
            }
            Self::Deploy {
                image, demand, nodes, ..
            } => {
                check_text("params.image", image, 1, MAX_TEXT)?;
                check_nodes("params.nodes", nodes)?;
                demand.check()
            }
            _ => Ok(()),
        }
    }

    /// Holds it against what it is done to.
    pub fn check_target(&self, target: &Target) -> Result<(), PlanProblem> {
        let class = target.device().map(|device| device.class());
        let wanted = match (self, target) {
            (Self::PowerCap { .. } | Self::ReleasePowerCap, _) if class == Some("gpu") => None,
            (Self::PowerCap { .. } | Self::ReleasePowerCap, _) => Some("a GPU of a node: give `node` and `device`"),
            (Self::Throttle { .. } | Self::Unthrottle, _) if class == Some("workload") => None,
            (Self::Throttle { .. } | Self::Unthrottle, _) => {
                Some("a supervised process of a node: give `node` and `workload`")
            }
            (Self::Restart, Target::Deployment { .. }) => None,
            (Self::Restart, _) if class == Some("workload") => None,
            (Self::Restart, _) => Some("a supervised process of a node or a deployment of a cluster"),
            (Self::Notify { .. }, Target::Device { .. }) => None,
            (Self::Notify { .. }, _) => Some("a node of the mesh, or a part of it"),
            (Self::Cordon | Self::Uncordon | Self::Drain, Target::ClusterNode { .. }) => None,
            (Self::Cordon | Self::Uncordon | Self::Drain, _) if class == Some("node") => None,
            (Self::Cordon | Self::Uncordon | Self::Drain, _) => Some("a whole node"),
            (
                Self::Scale { .. }
                | Self::Rollback { .. }
                | Self::Update { .. }
                | Self::Reschedule { .. }
                | Self::Deploy { .. },
                Target::Deployment { .. },
            ) => None,
            (
                Self::Scale { .. }
                | Self::Rollback { .. }
                | Self::Update { .. }
                | Self::Reschedule { .. }
                | Self::Deploy { .. },
                _,
            ) => Some("a deployment of a cluster"),
        };
        match wanted {
            None => Ok(()),
            Some(wanted) => {
                let problem = format!("`{}` is done to {wanted}, and `{target}` is not that", self.name());
                Err(PlanProblem::new("target", problem))
            }
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PowerCap { milliwatts } => {
                write!(f, "power_cap to {}", human(i64::from(*milliwatts), Unit::Milliwatt))
            }
            Self::Throttle { share_bp } => write!(
                f,
                "throttle to {} of a core",
                human(i64::from(*share_bp), Unit::BasisPoints)
            ),
            Self::Notify { message } => write!(f, "notify \"{message}\""),
            Self::Scale { replicas } => write!(f, "scale to {replicas}"),
            Self::Rollback { revision } if !revision.is_empty() => write!(f, "rollback to {revision}"),
            Self::Update { image } => write!(f, "update to {image}"),
            Self::Reschedule { node } if !node.is_empty() => write!(f, "reschedule to {node}"),
            Self::Deploy {
                image,
                replicas,
                demand,
                nodes,
                kind: _,
            } => {
                write!(f, "deploy {replicas} of {image}, each with {demand}")?;
                match nodes.is_empty() {
                    true => Ok(()),
                    false => write!(f, ", on {nodes}"),
                }
            }
            Self::ReleasePowerCap
            | Self::Unthrottle
            | Self::Restart
            | Self::Cordon
            | Self::Uncordon
            | Self::Drain
            | Self::Reschedule { .. }
            | Self::Rollback { .. } => f.write_str(self.name()),
        }
    }
}

fn check_nodes(field: &str, text: &str) -> Result<(), PlanProblem> {
    check_names(field, text, node_names(text).len(), MOST_NODE_BYTES)
}

/// The parameters of one verb, read one by one.
struct Params<'a> {
    verb: &'a str,
    params: &'a BTreeMap<String, String>,
}

impl Params<'_> {
    fn text(&self, key: &str) -> Result<String, PlanProblem> {
        match self.params.get(key) {
            Some(text) => Ok(text.clone()),
            None => Err(self.missing(&[key])),
        }
    }

    fn number(&self, key: &str) -> Result<u32, PlanProblem> {
        let text = self.text(key)?;
        let wrong = |_| {
            PlanProblem::new(
                format!("params.{key}"),
                format!("`{text}` is not a whole number of 0 or more"),
            )
        };
        text.trim().parse().map_err(wrong)
    }

    /// `milliwatts=280000`, `watts=280`, `to=280 W`.
    fn power(&self) -> Result<u32, PlanProblem> {
        let (key, text, thousandths) = match ["milliwatts", "watts", "to"].map(|key| (key, self.params.get(key))) {
            [(key, Some(text)), (_, None), (_, None)] => (key, text.as_str(), 0),
            [(_, None), (key, Some(text)), (_, None)] => (key, text.as_str(), 3),
            [(_, None), (_, None), (key, Some(text))] => match text.trim().strip_suffix("mW") {
                Some(number) => (key, number, 0),
                None => (key, text.trim().strip_suffix('W').unwrap_or("no unit"), 3),
            },
            _ => return Err(self.missing(&["milliwatts", "watts", "to"])),
        };
        decimal(text, thousandths).ok_or_else(|| {
            let given = &self.params[key];
            let problem = format!("`{given}` is no power; give milliwatts=280000, watts=280 or to=\"280 W\"");
            PlanProblem::new(format!("params.{key}"), problem)
        })
    }

    /// `share_bp=5000`, `to=50 %`.
    fn share(&self) -> Result<u16, PlanProblem> {
        let (key, text, hundredths) = match ["share_bp", "to"].map(|key| (key, self.params.get(key))) {
            [(key, Some(text)), (_, None)] => (key, text.as_str(), 0),
            [(_, None), (key, Some(text))] => (key, text.trim().strip_suffix('%').unwrap_or("no unit"), 2),
            _ => return Err(self.missing(&["share_bp", "to"])),
        };
        let share = decimal(text, hundredths).and_then(|share| u16::try_from(share).ok());
        share.ok_or_else(|| {
            let given = &self.params[key];
            let problem = format!("`{given}` is no share of a core; give share_bp=5000 or to=\"50 %\"");
            PlanProblem::new(format!("params.{key}"), problem)
        })
    }

    fn missing(&self, keys: &[&str]) -> PlanProblem {
        let keys = keys.join("`, `");
        PlanProblem::new("params", format!("`{}` needs exactly one of `{keys}`", self.verb))
    }

    fn no_others(&self, keys: &[&str]) -> Result<(), PlanProblem> {
        let mut names = self.params.keys().map(String::as_str);
        let other = names.find(|name| !keys.contains(name) && !CLAIMED_PARAMS.contains(name));
        match other {
            None => Ok(()),
            Some(other) => {
                let takes = match keys {
                    [] => "takes none".to_owned(),
                    keys => format!("takes {}", keys.join(", ")),
                };
                let problem = format!("is no parameter of `{}`, which {takes}", self.verb);
                Err(PlanProblem::new(format!("params.{other}"), problem))
            }
        }
    }
}

/// A whole number from a decimal one times ten to the `places`; `None` if it is none, negative, too large, or has more places.
fn decimal(text: &str, places: u32) -> Option<u32> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let fraction = fraction.trim_end_matches('0');
    let missing = places.checked_sub(u32::try_from(fraction.len()).ok()?)?;
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let all: u32 = format!("{whole}{fraction}").parse().ok()?;
    all.checked_mul(10_u32.checked_pow(missing)?)
}
