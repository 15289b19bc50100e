//! How the hub and a node come to life: what a person would type, and what they would write into a configuration.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use super::{Cluster, GPUS, READY};
use crate::builder::Programs;
use crate::folder::{self, Folder};
use crate::keeper::{Keeper, Recipe};
use crate::options::Options;
use crate::signals::Stop;

/// Starts the hub on a free port, which it keeps from then on.
pub(super) fn start_hub(
    options: &Options,
    programs: &Programs,
    folder: &Folder,
    forges: Option<&Path>,
    stop: &Stop,
) -> Result<(Keeper, SocketAddr), String> {
    let bundle = folder.path().join("config/demo.yaml");
    std::fs::write(&bundle, crate::tour::DEMO_BUNDLE)
        .map_err(|cause| format!("cannot write {}: {cause}", bundle.display()))?;
    let arguments = |listen: &str| {
        let mut words = vec![
            "run".to_owned(),
            "--state".to_owned(),
            shown(&folder.path().join("hub")),
            "--listen".to_owned(),
            listen.to_owned(),
            "--bundle".to_owned(),
            shown(&bundle),
            "--beacon-every".to_owned(),
            options.beacon_every.clone(),
            "--checkpoint-every".to_owned(),
            options.beacon_every.clone(),
        ];
        if let Some(url) = &options.inframind {
            words.extend(["--inframind".to_owned(), url.clone()]);
        }
        if let Some(life) = &options.certificate_life {
            words.extend(["--certificate-life".to_owned(), life.clone()]);
        }
        if let Some(forges) = forges {
            words.extend(["--forges".to_owned(), shown(forges)]);
        }
        words
    };
    let recipe = Recipe {
        name: "hub".to_owned(),
        program: programs.hub.clone(),
        arguments: arguments("127.0.0.1:0"),
        environment: Vec::new(),
        log: folder.path().join("logs/hub.log"),
    };
    let keeper = Keeper::start(recipe, Box::new(|_| ()))?;
    let address = keeper.ready(stop, READY).and_then(|line| {
        line.trim_start_matches("https://")
            .parse::<SocketAddr>()
            .map_err(|_| format!("the hub says `ready {line}`, which is no address"))
    });
    let address = address.inspect_err(|_| drop(keeper.end(|| true)))?;
    // After a crash it comes back where the agents look for it.
    keeper.set_arguments(arguments(&address.to_string()));
    Ok((keeper, address))
}

impl Cluster {
    /// Joins a node, unless its folder has an identity already, and starts its agent.
    pub(super) fn enrol(&self, name: &str, site: &str, index: usize) -> Result<Keeper, String> {
        let state = self.folder.path().join(name);
        let address = self.proxy.lanes[index].address;
        if !state.join("identity").is_dir() {
            self.join(name, site, &state, address)?;
        }
        let config = state.join("agent.toml");
        let text = self.config(name, &state, address, index);
        std::fs::write(&config, text).map_err(|cause| format!("cannot write {}: {cause}", config.display()))?;
        let recipe = Recipe {
            name: name.to_owned(),
            program: self.programs.agent.clone(),
            arguments: vec!["run".to_owned(), "--config".to_owned(), shown(&config)],
            environment: Vec::new(),
            log: self.log(name),
        };
        Keeper::start(recipe, self.on_ready(name))
    }

    fn join(&self, name: &str, site: &str, state: &Path, address: SocketAddr) -> Result<(), String> {
        folder::make(state)?;
        let token = self
            .sentinel
            .json(&format!("token create --name {name} --site {site}"))?;
        let text = |field: &str| token[field].as_str().unwrap_or_default().to_owned();
        let output = Command::new(&self.programs.agent)
            .arg("join")
            .arg(address.to_string())
            .args(["--token", &text("token"), "--ca-pin", &text("ca_pin")])
            .arg("--state")
            .arg(state)
            .stdin(Stdio::null())
            .output()
            .map_err(|cause| format!("cannot start sentinel-agent: {cause}"))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(format!(
                "{name} could not join ({}): {}",
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            )),
        }
    }

    /// The agent's configuration. A JSON string is a TOML string too.
    fn config(&self, name: &str, state: &Path, hub: SocketAddr, index: usize) -> String {
        let quoted = |text: &str| json!(text).to_string();
        let gpus = json!([
            self.programs.gpu,
            "--gpus",
            GPUS.to_string(),
            "--control",
            self.fake_socket(name, "gpu")
        ]);
        let workload = json!([self.programs.workload, "--control", self.fake_socket(name, "workload")]);
        format!(
            "# Written by sentinel-demo at each start.\n\
             state_dir = {}\n\
             # The node's own page, on loopback.\n\
             page = \"127.0.0.1:0\"\n\
             # The node's path to the hub, which the demo can cut.\n\
             hub = {}\n\
             # Telemetry travels often enough for people who watch.\n\
             block_every = \"5s\"\n\
             # And a cut is noticed within seconds, here and at the hub.\n\
             silence = \"6s\"\n\
             \n\
             # What it has in common with others, for rules that select or count by it.\n\
             labels = {{ rack = \"rack-{}\" }}\n\
             \n\
             # The faults of the machine under the demo are not this node's: it has a kernel log of its own, empty until somebody writes to it.\n\
             kernel_log = \"kernel.log\"\n\
             # Metrics are on the node's own page.\n\
             metrics = \"off\"\n\
             \n\
             # Simulated GPUs: another program that speaks the probe's protocol.\n\
             [gpu_probe]\n\
             command = {gpus}\n\
             deadline = \"1s\"\n\
             \n\
             # A real process. It outlives an agent that crashes, and ends with one that is stopped.\n\
             [[workload]]\n\
             name = \"train\"\n\
             command = {workload}\n\
             stop_with_agent = true\n{}",
            quoted(&shown(state)),
            quoted(&hub.to_string()),
            index % 2 + 1,
            self.mesh(name),
        )
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
