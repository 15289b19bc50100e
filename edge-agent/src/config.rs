//! Settings, read once from a TOML file and turned into types; unknown keys are refused with their line.
//!
//! Every setting has a default, so an empty file (or none, with `--state`) is a valid one. What a node *is* (name, hub, keys) comes from
//! the identity that `join` stored; the keys for it here are for a node that has never joined a hub.
//!
//! Read next: `main.rs` (who reads them).

mod changes;
mod layers;
mod profiles;

pub use changes::{Changes, changes};
pub use layers::{Layers, SYSTEM_FILE};

#[cfg(test)]
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use wire::bundle::KeyRing;
use wire::domains::{MAX_LABEL_BYTES, MAX_LABELS};
use wire::frame::Uplink;
use wire::{AgentId, DeviceId, Digest};

use crate::probe::{self, ProbeSettings};
use crate::supervisor::WorkloadSettings;
use crate::telemetry::samples::Compat;
use crate::units::UnitSettings;

/// Where a service's state belongs (Filesystem Hierarchy Standard 5.8).
pub const DEFAULT_STATE: &str = "/var/lib/sentinel-agent";

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read settings `{path}`")]
    Read {
        /// Which.
        path: PathBuf,
        /// How it fails.
        #[source]
        cause: io::Error,
    },
    /// The file is not what it should be.
    #[error("settings `{path}` are not valid")]
    Parse {
        /// Which.
        path: PathBuf,
        /// Where and why.
        #[source]
        cause: Box<toml::de::Error>,
    },
    /// A firmware profile of one's own is not one.
    #[error("firmware profile `{}`: {}", path.display(), problem.trim_end())]
    Profile {
        /// Which file, or the folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A value is out of its range.
    #[error("settings: `{field}` is {value}: {rule}")]
    Value {
        /// Which.
        field: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
}

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Journal, identity, records and the socket.
    pub state_dir: PathBuf,
    /// The local API's Unix socket; `STATE/agent.sock` if absent. Its path may have 107 bytes.
    pub socket: Option<PathBuf>,
    /// Address of the node's own page; loopback only, because it asks nobody who they are. Absent: no page.
    pub page: Option<SocketAddr>,
    /// `HOST:PORT` of the hub instead of the one in the identity, for a path that changed.
    pub hub: Option<String>,
    /// Bytes that the journal may occupy. 64 MiB hold about six days of telemetry and months of decisions.
    #[serde(deserialize_with = "bytes")]
    pub journal_limit: u64,
    /// Time between two rounds of readings. One second is what thresholds with hold times need.
    #[serde(deserialize_with = "span")]
    pub sample_every: Duration,
    /// Time between two telemetry blocks: the cost of a fleet is packets, and ten seconds make a tenth of them.
    #[serde(deserialize_with = "span")]
    pub block_every: Duration,
    /// How long the disk may take before protective actions go on without it.
    #[serde(deserialize_with = "span")]
    pub append_deadline: Duration,
    /// A session in which nothing arrives for this long is over, at both ends: the shorter wish of the two counts. A third of it
    /// is how often a silent link is tried. Shorter tells a cut sooner, and costs 100 bytes for each try.
    #[serde(deserialize_with = "span")]
    pub silence: Duration,
    /// What this node has in common with others, for rules that select by it (`labels: { rack: r7 }`) and that count a domain by it
    /// (`domain: rack`). `node`, `site` and `fleet` are known already.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Reads and sets GPUs. Absent: the probe that comes with the agent, where a driver's library is found.
    pub gpu_probe: Option<GpuProbe>,
    /// What the agent itself may take of its machine.
    pub ceilings: Ceilings,
    /// What is done about faults.
    pub faults: FaultSettings,
    /// Commands for what a node cannot do alone.
    pub hooks: Hooks,
    /// The folder of people's own firmware profiles, each a `.toml` file.
    pub profiles: PathBuf,
    /// The kernel's log, or a recording of it.
    pub kernel_log: PathBuf,
    /// Where `/metrics` is served for who scrapes: an address, or `off`. The port is the one that OpenTelemetry gives Prometheus exporters.
    #[serde(deserialize_with = "address_or_off")]
    pub metrics: Option<SocketAddr>,
    /// Names of other systems that `/metrics` tells too: `dcgm`, `v1`.
    pub metrics_compat: Vec<Compat>,
    /// The agents of the site that help each other. Absent: this node keeps to itself.
    pub mesh: Option<Mesh>,
    /// Processes to keep running.
    pub workload: Vec<Workload>,
    /// The node's name while it has not joined a hub; the machine's name if absent.
    pub name: Option<AgentId>,
    /// The trust domain of bundles while it has not joined a hub.
    pub trust_domain: String,
    /// Ed25519 keys that may sign bundles while it has not joined a hub, 64 hex digits each.
    pub policy_keys: Vec<Digest>,
    /// Digest of the first role document, 64 hex digits: whom to trust while the node has not joined a hub. It comes before
    /// `policy_keys`, and `sentinel-agent import --root-pin` sets it too.
    pub root_pin: Option<Digest>,
    /// A parcel or a signed bundle that is imported at start, if it is newer than what is active.
    pub bundle: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: DEFAULT_STATE.into(),
            socket: None,
            page: None,
            hub: None,
            journal_limit: 64 << 20,
            sample_every: Duration::from_secs(1),
            block_every: Duration::from_secs(10),
            // Thirty times what a busy disk takes, and a third of what a GPU has between too hot and damage.
            append_deadline: Duration::from_secs(2),
            silence: wire_transport::Timing::default().idle,
            labels: std::collections::BTreeMap::new(),
            gpu_probe: None,
            ceilings: Ceilings::default(),
            faults: FaultSettings::default(),
            hooks: Hooks::default(),
            profiles: "/etc/sentinel/profiles.d".into(),
            kernel_log: "/dev/kmsg".into(),
            metrics: Some(SocketAddr::from(([127, 0, 0, 1], 9464))),
            metrics_compat: Vec::new(),
            mesh: None,
            workload: Vec::new(),
            name: None,
            trust_domain: "sentinel".to_owned(),
            policy_keys: Vec::new(),
            root_pin: None,
            bundle: None,
        }
    }
}

/// What reads and sets GPUs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuProbe {
    /// `false`: nothing does, also where a driver is found.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// A program that speaks the probe's protocol, and its arguments; the agent's own if absent.
    pub command: Option<Vec<String>>,
    /// The driver's library; looked for where drivers put it if absent.
    pub library: Option<PathBuf>,
    /// For each call. A healthy driver answers within 50 ms.
    #[serde(deserialize_with = "span", default = "second")]
    pub deadline: Duration,
}

/// What the agent itself may take of its machine, besides the disk, which `journal_limit` bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ceilings {
    /// Resident memory. An agent that needs more for a minute ends, and whoever started it starts it anew.
    #[serde(deserialize_with = "bytes")]
    pub memory: u64,
    /// Open files; close to it is told.
    pub descriptors: u32,
}

impl Default for Ceilings {
    fn default() -> Self {
        Self {
            // Six times what an agent with eight GPUs has.
            memory: 64 << 20,
            // Every door is full, every sensor is open, and some room.
            descriptors: 512,
        }
    }
}

/// What is done about faults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultSettings {
    /// The agent climbs the ladder by itself, as far as policy permits each step: keep work away, drain and reset, drain and restart the
    /// machine, quarantine. Else it tells the next step, and a person takes it.
    pub act: bool,
}

/// Commands for what a node cannot do alone: a program and its arguments, without a shell. `{uuid}` and `{target}` are filled in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hooks {
    /// Let no new work onto this node.
    pub cordon: Vec<String>,
    /// Let work onto it again.
    pub uncordon: Vec<String>,
    /// Move the work off it.
    pub drain: Vec<String>,
    /// Reset a GPU: `["nvidia-smi", "--gpu-reset", "-i", "{uuid}"]`.
    pub reset_gpu: Vec<String>,
    /// Restart the machine: `["systemctl", "reboot"]`.
    pub reboot: Vec<String>,
    /// For each run. A drain that lets pods finish takes minutes.
    #[serde(deserialize_with = "span")]
    pub deadline: Duration,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            cordon: Vec::new(),
            uncordon: Vec::new(),
            drain: Vec::new(),
            reset_gpu: Vec::new(),
            reboot: Vec::new(),
            deadline: Duration::from_secs(600),
        }
    }
}

/// The neighbours: who carries this node's packets when its own path to the hub is cut, and for whom it does the same.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mesh {
    /// The UDP address at which neighbours find this node.
    pub listen: SocketAddr,
    /// The neighbours, by name, and the address of each, until the policy names the members of this node's site. Nobody else is talked
    /// with, and nobody else is carried. `mdns` in place of an address: it is looked for on the local network.
    #[serde(default, deserialize_with = "members")]
    pub peers: policy::Members,
    /// What traffic to the hub costs from here: `unmetered` or `metered`. Over a metered one neighbours are carried only where no other
    /// way is left, and their telemetry waits.
    #[serde(default)]
    pub uplink: Uplink,
    /// Bytes that are carried for each neighbour in 24 hours; 2 GiB, and 64 MiB over a metered uplink.
    #[serde(deserialize_with = "maybe_bytes", default)]
    pub carry_per_day: Option<u64>,
    /// Packets that are carried for each neighbour in the same 24 hours: each costs this node the same work, however small.
    #[serde(default = "four_million")]
    pub carry_packets_per_day: u64,
    /// Tells the local network where this node listens, and looks there for members whose address is not known or has changed. Who is a
    /// member is never taken from there.
    #[serde(default)]
    pub mdns: bool,
}

impl Mesh {
    /// Bytes that are carried for each neighbour in 24 hours.
    pub fn carry_per_day(&self) -> u64 {
        let usual = match self.uplink {
            Uplink::Unmetered => 2 << 30,
            // A node's decisions are kilobytes a minute: a day of them, and a policy or two.
            Uplink::Metered => 64 << 20,
        };
        self.carry_per_day.unwrap_or(usual)
    }
}

const fn four_million() -> u64 {
    4 << 20
}

/// Most neighbours of one node: each is a session.
const MAX_PEERS: usize = 64;

/// A process to keep running.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Its name: `workload:NAME` in bundles.
    pub name: String,
    /// Program and arguments.
    #[serde(default)]
    pub command: Vec<String>,
    /// Instead of a command: the systemd service that keeps it running, `train.service`. This agent watches it, and acts on it through
    /// systemd.
    pub unit: Option<String>,
    /// Added to the agent's environment.
    #[serde(default)]
    pub env: std::collections::BTreeMap<String, String>,
    /// It ends when the agent is stopped; else it lives on and the next agent takes it over.
    #[serde(default)]
    pub stop_with_agent: bool,
}

const fn yes() -> bool {
    true
}

const fn second() -> Duration {
    Duration::from_secs(1)
}

/// The settings that have a value without any file, as a file would write them.
fn defaults() -> Vec<(&'static str, String)> {
    let config = Config::default();
    let text = |text: String| toml::Value::String(text).to_string();
    let path = |path: &Path| text(path.display().to_string());
    let span = |span: Duration| match span.as_millis() {
        ms if ms % 1_000 == 0 => text(format!("{}s", ms / 1_000)),
        ms => text(format!("{ms}ms")),
    };
    vec![
        ("state_dir", path(&config.state_dir)),
        ("journal_limit", text(format!("{} MiB", config.journal_limit >> 20))),
        ("sample_every", span(config.sample_every)),
        ("block_every", span(config.block_every)),
        ("append_deadline", span(config.append_deadline)),
        ("silence", span(config.silence)),
        ("profiles", path(&config.profiles)),
        ("kernel_log", path(&config.kernel_log)),
        ("ceilings.memory", text(format!("{} MiB", config.ceilings.memory >> 20))),
        ("ceilings.descriptors", config.ceilings.descriptors.to_string()),
        (
            "metrics",
            text(
                config
                    .metrics
                    .map_or_else(|| "off".to_owned(), |address| address.to_string()),
            ),
        ),
        ("metrics_compat", "[]".to_owned()),
        ("trust_domain", text(config.trust_domain)),
        ("policy_keys", "[]".to_owned()),
    ]
}

impl Config {
    /// Reads a file and the `conf.d` beside it; relative paths count from its folder.
    #[cfg(test)]
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Layers::read(path).map(|layers| layers.config)
    }

    /// What types alone cannot say.
    fn check(&self) -> Result<(), ConfigError> {
        let value = |field, value: String, rule| Err(ConfigError::Value { field, value, rule });
        if let Some(page) = self.page.filter(|page| !page.ip().is_loopback()) {
            return value(
                "page",
                page.to_string(),
                "only loopback, for example 127.0.0.1:0, because the page asks nobody who they are",
            );
        }
        if self.ceilings.memory < 16 << 20 {
            let memory = self.ceilings.memory.to_string();
            return value(
                "ceilings.memory",
                memory,
                "at least 16 MiB, which draining a backlog takes",
            );
        }
        if self.ceilings.descriptors < 64 {
            let descriptors = self.ceilings.descriptors.to_string();
            return value("ceilings.descriptors", descriptors, "at least 64");
        }
        if self.journal_limit < 1 << 20 {
            return value("journal_limit", self.journal_limit.to_string(), "at least 1 MiB");
        }
        for (field, span, least, most) in [
            ("sample_every", self.sample_every, 100, 60_000),
            ("block_every", self.block_every, 1_000, 60_000),
            ("append_deadline", self.append_deadline, 100, 60_000),
            ("silence", self.silence, 3_000, 60_000),
            (
                "hooks.deadline",
                self.hooks.deadline.min(Duration::from_secs(60)),
                100,
                60_000,
            ),
        ] {
            if !(least..=most).contains(&span.as_millis()) {
                return value(
                    field,
                    format!("{span:?}"),
                    "between 100 ms (1 s for block_every, 3 s for silence) and 60 s",
                );
            }
        }
        if let Some(probe) = &self.gpu_probe
            && (probe.command.as_ref().is_some_and(Vec::is_empty) || probe.deadline.is_zero())
        {
            return value(
                "gpu_probe",
                format!("{:?} {:?}", probe.command, probe.deadline),
                "a program, and a deadline above zero",
            );
        }
        if let Some(rule) = self.labels.iter().find_map(|(name, value)| wrong_label(name, value)) {
            return value("labels", format!("{:?}", self.labels), rule);
        }
        if self.labels.len() > MAX_LABELS {
            return value("labels", format!("{} labels", self.labels.len()), "at most 32");
        }
        if let Some(mesh) = self.mesh.as_ref().filter(|mesh| mesh.peers.len() > MAX_PEERS) {
            return value("mesh.peers", format!("{} neighbours", mesh.peers.len()), "at most 64");
        }
        let mut names: Vec<&str> = Vec::new();
        for workload in &self.workload {
            let simple = !workload.name.is_empty()
                && workload.name.len() <= 64
                && workload
                    .name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
                && !workload.name.starts_with('.');
            if !simple || names.contains(&workload.name.as_str()) {
                return value(
                    "workload.name",
                    format!("`{}`", workload.name),
                    "1 to 64 of a-z, A-Z, 0-9, -, _ and ., each name once",
                );
            }
            match &workload.unit {
                None if workload.command.is_empty() => {
                    return value(
                        "workload.command",
                        "[]".to_owned(),
                        "a program and its arguments, or a `unit`",
                    );
                }
                Some(unit) if !workload.command.is_empty() || !is_unit(unit) => {
                    let rule = "the name of another service, such as train.service, and no `command` beside it";
                    return value("workload.unit", format!("`{unit}`"), rule);
                }
                None | Some(_) => {}
            }
            names.push(&workload.name);
        }
        Ok(())
    }

    /// The firmware profiles that count here. Blocks on the disk.
    pub fn catalogue(&self) -> Result<firmware_profiles::Catalogue, ConfigError> {
        profiles::read(&self.profiles)
    }

    /// Where the local API listens.
    pub fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| self.state_dir.join("agent.sock"))
    }

    /// Who may sign bundles while the node has not joined a hub.
    pub fn key_ring(&self) -> KeyRing {
        KeyRing {
            keys: self.policy_keys.iter().map(|key| key.0).collect(),
            threshold: 1,
        }
    }

    /// How to start the GPU probe. None where settings say so, and where neither they nor this machine have a driver's library.
    pub fn probe(&self) -> std::io::Result<Option<ProbeSettings>> {
        let set = self.gpu_probe.as_ref();
        if set.is_some_and(|probe| !probe.enabled) {
            return Ok(None);
        }
        let names = Some(self.state_dir.join("gpus"));
        let deadline = set.map_or_else(second, |probe| probe.deadline);
        if let Some(command) = set.and_then(|probe| probe.command.clone()) {
            return Ok(Some(ProbeSettings {
                command,
                builtin: None,
                deadline,
                names,
            }));
        }
        let library = set.and_then(|probe| probe.library.clone()).or_else(probe::find_library);
        let Some(library) = library else {
            return Ok(None);
        };
        let (command, builtin) = probe::builtin_command(&library)?;
        Ok(Some(ProbeSettings {
            command,
            builtin,
            deadline,
            names,
        }))
    }

    /// What systemd keeps running.
    pub fn units(&self) -> Vec<UnitSettings> {
        let unit = |workload: &Workload| {
            Some(UnitSettings {
                device: DeviceId::workload(&workload.name).ok()?,
                unit: workload.unit.clone()?,
            })
        };
        self.workload.iter().filter_map(unit).collect()
    }

    /// What to keep running.
    pub fn workloads(&self) -> Vec<WorkloadSettings> {
        self.workload
            .iter()
            .filter(|workload| workload.unit.is_none())
            .filter_map(|workload| {
                Some(WorkloadSettings {
                    device: DeviceId::workload(&workload.name).ok()?,
                    command: workload.command.clone(),
                    env: workload.env.clone().into_iter().collect(),
                    stop_with_agent: workload.stop_with_agent,
                })
            })
            .collect()
    }
}

/// Whether this may be a service of systemd that is not the agent itself (systemd.unit(5), "Description").
fn is_unit(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let stem = name.strip_suffix(".service");
    stem.is_some_and(|stem| !stem.is_empty() && stem.bytes().all(is_part) && stem != "sentinel-agent")
}

/// What is wrong with a label, if something is.
fn wrong_label(name: &str, value: &str) -> Option<&'static str> {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    if matches!(name, "node" | "site" | "fleet") {
        return Some("`node`, `site` and `fleet` come from the node's identity; choose another name");
    }
    if name.is_empty() || name.len() > MAX_LABEL_BYTES || !name.bytes().all(is_name) {
        return Some("a label's name is 1 to 128 of a-z, A-Z, 0-9, -, _, . and /");
    }
    let is_value = |character: char| !character.is_control();
    if value.is_empty() || value.len() > MAX_LABEL_BYTES || !value.chars().all(is_value) {
        return Some("a label's value is 1 to 128 bytes of text on one line");
    }
    None
}

/// `127.0.0.1:9464`, or `off`.
fn address_or_off<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.as_str() {
        "off" => Ok(None),
        address => address
            .parse()
            .map(Some)
            .map_err(|_| D::Error::custom(format!("`{text}` is neither an address such as 127.0.0.1:9464 nor off"))),
    }
}

/// `250ms`, `10s`, `2m`.
fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    scaled(&text, &[("ms", 1), ("s", 1_000), ("m", 60_000)])
        .map(Duration::from_millis)
        .ok_or_else(|| D::Error::custom(format!("`{text}` is not a span: write 250ms, 10s or 2m")))
}

/// `512 KiB`, `64 MiB`, `1 GiB`.
fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    scaled(&text, &[("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)])
        .ok_or_else(|| D::Error::custom(format!("`{text}` is not a size: write 512 KiB, 64 MiB or 1 GiB")))
}

fn maybe_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    bytes(deserializer).map(Some)
}

/// Addresses with a port, or `mdns`.
fn members<'de, D: Deserializer<'de>>(deserializer: D) -> Result<policy::Members, D::Error> {
    let pairs = std::collections::BTreeMap::<AgentId, String>::deserialize(deserializer)?;
    let read = |(name, place): (AgentId, String)| match place.as_str() {
        "mdns" => Ok((name, None)),
        place => match place.parse() {
            Ok(address) => Ok((name, Some(address))),
            Err(_) => Err(D::Error::custom(format!(
                "`{place}` of {name} is no address with a port, for example 192.0.2.4:7844, and not `mdns`"
            ))),
        },
    };
    pairs.into_iter().map(read).collect()
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    fn check(text: &str, expected: Result<(), &str>) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("agent.toml");
        fs::write(&path, text).expect("written");
        match (Config::read(&path), expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(part)) => {
                let cause = error.source().map(ToString::to_string).unwrap_or_default();
                let said = format!("{error}: {cause}");
                assert!(said.contains(part), "{said}");
            }
            (found, expected) => panic!("{text}: {found:?} is not {expected:?}"),
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        check("", Ok(()));
        check(
            "journal_limit = \"8 MiB\"\nsample_every = \"250ms\"\npage = \"127.0.0.1:0\"\n",
            Ok(()),
        );
        check("state_dir = \"x\"\njournal_limits = \"8 MiB\"\n", Err("line 2"));
        check("sample_every = \"fast\"\n", Err("250ms, 10s or 2m"));
        check("sample_every = \"1ms\"\n", Err("sample_every"));
        check("journal_limit = \"8 MB\"\n", Err("64 MiB"));
        check("[ceilings]\nmemory = \"32 MiB\"\ndescriptors = 256\n", Ok(()));
        check("[ceilings]\nmemory = \"8 MiB\"\n", Err("ceilings.memory"));
        check("[ceilings]\nfiles = 3\n", Err("line 2"));
        check("page = \"0.0.0.0:80\"\n", Err("loopback"));
        check(
            "[[workload]]\nname = \"a/b\"\ncommand = [\"x\"]\n",
            Err("workload.name"),
        );
        check("[[workload]]\nname = \"a\"\ncommand = []\n", Err("workload.command"));
        check("[[workload]]\nname = \"a\"\nunit = \"a.service\"\n", Ok(()));
        check("[[workload]]\nname = \"a\"\nunit = \"a.timer\"\n", Err("workload.unit"));
        check(
            "[[workload]]\nname = \"a\"\nunit = \"sentinel-agent.service\"\n",
            Err("workload.unit"),
        );
        check(
            "[[workload]]\nname = \"a\"\nunit = \"a.service\"\ncommand = [\"x\"]\n",
            Err("workload.unit"),
        );
        check("[gpu_probe]\ncommand = []\n", Err("gpu_probe"));
        check("[labels]\nrack = \"r7\"\n", Ok(()));
        check("metrics = \"off\"\nmetrics_compat = [\"dcgm\", \"v1\"]\n", Ok(()));
        check("metrics = \"here\"\n", Err("127.0.0.1:9464 nor off"));
        check("metrics_compat = [\"collectd\"]\n", Err("collectd"));
        check("[gpu_probe]\nenabled = false\n", Ok(()));
        check(
            "[mesh]\nlisten = \"0.0.0.0:7844\"\npeers = { edge-04 = \"192.0.2.4:7844\", edge-05 = \"mdns\" }\nuplink = \"metered\"\n\
             carry_per_day = \"1 GiB\"\nmdns = true\n",
            Ok(()),
        );
        check("[mesh]\nlisten = \"0.0.0.0\"\npeers = {}\n", Err("line 2"));
        check(
            "[mesh]\nlisten = \"0.0.0.0:1\"\npeers = { E = \"192.0.2.4:1\" }\n",
            Err("line 3"),
        );
        check("[labels]\nsite = \"plant-a\"\n", Err("choose another name"));
        check("[labels]\n\"a b\" = \"c\"\n", Err("a label's name"));
        check("[labels]\nrack = \"\"\n", Err("a label's value"));
    }

    #[test]
    fn relative_paths_count_from_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("agent.toml");
        fs::write(&path, "state_dir = \"state\"\n").expect("written");
        let config = Config::read(&path).expect("valid");
        assert_eq!(config.state_dir, folder.path().join("state"));
        assert_eq!(config.socket(), folder.path().join("state/agent.sock"));
    }
}
