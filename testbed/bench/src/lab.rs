//! A real hub and real agents for one benchmark: the shipping programs, each in a state folder of its own.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// Where the programs are and where a benchmark may write.
#[derive(Debug, Clone)]
pub struct Place {
    /// Folder of `sentinel-agent`, `sentinel-hub`, `sentinel` and the fakes.
    pub programs: PathBuf,
    /// Folder for state; emptied by each benchmark.
    pub work: PathBuf,
}

/// A process that ends with its handle.
pub struct Running {
    child: Child,
    /// The line with which it said that it is ready.
    pub ready: String,
}

impl Running {
    /// Starts it and waits for its `ready …` line.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self, String> {
        let name = format!("{:?}", command.get_program());
        let log = fs::File::create(log).map_err(|cause| format!("cannot write `{}`: {cause}", log.display()))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|cause| format!("cannot start {name}: {cause}"))?;
        let stdout = child.stdout.take().expect("it was asked for a pipe");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        match lines.find(|line| line.starts_with("ready")) {
            Some(ready) => {
                // Keep reading: a full pipe would stop the process.
                std::thread::spawn(move || lines.for_each(drop));
                Ok(Self { child, ready })
            }
            None => Err(format!("{name} ended before it was ready: {:?}", child.wait())),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        if rustix::process::kill_process(pid, rustix::process::Signal::TERM).is_ok() {
            drop(self.child.wait());
        }
    }
}

fn start_hub(place: &Place, folder: &Path, listen: SocketAddr, more: &[&OsStr]) -> Result<Running, String> {
    let mut command = Command::new(place.programs.join("sentinel-hub"));
    command
        .args(["run", "--listen", &listen.to_string(), "--state"])
        .arg(folder.join("hub"))
        .args(more);
    Running::start(&mut command, &folder.join("hub.log"))
}

/// A hub with nobody connected yet.
pub struct Lab {
    place: Place,
    folder: PathBuf,
    /// The hub.
    pub hub: Running,
    /// Its UDP address.
    pub address: SocketAddr,
}

impl Lab {
    /// Starts a hub in an empty folder named after the benchmark.
    pub fn new(place: &Place, name: &str, bundle: &Path) -> Result<Self, String> {
        Self::with(place, name, bundle, &[])
    }

    /// The same with more arguments for the hub.
    pub fn with(place: &Place, name: &str, bundle: &Path, more: &[&str]) -> Result<Self, String> {
        let folder = place.work.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|cause| format!("cannot empty `{}`: {cause}", folder.display()))?;
        }
        fs::create_dir_all(&folder).map_err(|cause| format!("cannot make `{}`: {cause}", folder.display()))?;
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut arguments: Vec<&OsStr> = vec!["--bundle".as_ref(), bundle.as_os_str()];
        arguments.extend(more.iter().map(OsStr::new));
        let hub = start_hub(place, &folder, any, &arguments)?;
        let address = hub
            .ready
            .split_whitespace()
            .find_map(|word| word.strip_prefix("https://"))
            .and_then(|address| address.parse().ok())
            .ok_or_else(|| format!("the hub's ready line has no address: `{}`", hub.ready))?;
        Ok(Self {
            place: place.clone(),
            folder,
            hub,
            address,
        })
    }

    /// The same hub as a new process at the same address: it knows its agents, and holds nothing that it needed to enrol them.
    pub fn restart_hub(mut self) -> Result<Self, String> {
        drop(self.hub);
        self.hub = start_hub(&self.place, &self.folder, self.address, &[])?;
        Ok(self)
    }

    /// The benchmark's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The administrator's context file.
    pub fn context<T: serde::de::DeserializeOwned>(&self) -> Result<T, String> {
        let path = self.folder.join("hub/admin.json");
        let text = fs::read(&path).map_err(|cause| format!("cannot read `{}`: {cause}", path.display()))?;
        serde_json::from_slice(&text).map_err(|cause| format!("`{}`: {cause}", path.display()))
    }

    /// Runs `sentinel` and returns what it printed.
    pub fn sentinel(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new(self.place.programs.join("sentinel"))
            .arg("--context")
            .arg(self.folder.join("hub/admin.json"))
            .args(arguments)
            .output()
            .map_err(|cause| format!("cannot start sentinel: {cause}"))?;
        if !output.status.success() {
            return Err(format!(
                "sentinel {}: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A join token and the CA pin.
    pub fn token(&self, name: &str) -> Result<(String, String), String> {
        let text = self.sentinel(&["token", "create", "--name", name, "--site", "bench", "-o", "json"])?;
        let view: Value =
            serde_json::from_str(&text).map_err(|cause| format!("token create printed no JSON: {cause}"))?;
        let part = |field: &str| {
            view[field]
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| format!("no `{field}` in {view}"))
        };
        Ok((part("token")?, part("ca_pin")?))
    }

    /// Joins and starts an agent that finds the hub at `hub`; two simulated GPUs, one workload.
    pub fn agent(&self, name: &str, hub: SocketAddr) -> Result<Node, String> {
        self.agent_with(name, hub, "")
    }

    /// The same, with more lines at the beginning and the end of its settings, apart by a line `---`.
    pub fn agent_with(&self, name: &str, hub: SocketAddr, more: &str) -> Result<Node, String> {
        let state = self.folder.join(name);
        let control = state.join("gpu.sock");
        let (gpu, workload) = (
            self.place.programs.join("sentinel-fake-gpu"),
            self.place.programs.join("sentinel-fake-workload"),
        );
        let equipment = format!(
            "[gpu_probe]\ncommand = [{gpu:?}, \"--gpus\", \"2\", \"--control\", {control:?}]\n\
             [[workload]]\nname = \"train\"\nstop_with_agent = true\ncommand = [{workload:?}, \"--control\", {:?}]\n",
            state.join("workload.sock"),
        );
        self.equipped(name, hub, more, &equipment)
    }

    /// Joins and starts an agent that has neither GPU nor workload, so that a site of fifty is fifty processes.
    pub fn plain_agent(&self, name: &str, hub: SocketAddr, more: &str) -> Result<Node, String> {
        self.equipped(name, hub, more, "[gpu_probe]\nenabled = false\n")
    }

    fn equipped(&self, name: &str, hub: SocketAddr, more: &str, equipment: &str) -> Result<Node, String> {
        let (first, last) = more.split_once("---\n").unwrap_or(("", more));
        let state = self.folder.join(name);
        let (token, pin) = self.token(name)?;
        let joined = Command::new(self.place.programs.join("sentinel-agent"))
            .args(["join", &hub.to_string(), "--token", &token, "--ca-pin", &pin, "--state"])
            .arg(&state)
            .output()
            .map_err(|cause| format!("cannot start sentinel-agent: {cause}"))?;
        if !joined.status.success() {
            return Err(format!("join of {name}: {}", String::from_utf8_lossy(&joined.stderr)));
        }
        let config =
            format!("state_dir = {state:?}\nkernel_log = \"kernel.log\"\nmetrics = \"off\"\n{first}{equipment}{last}");
        fs::write(state.join("agent.toml"), config).map_err(|cause| format!("cannot write its settings: {cause}"))?;
        let mut command = Command::new(self.place.programs.join("sentinel-agent"));
        command.args(["run", "--state"]).arg(&state);
        let running = Running::start(&mut command, &self.folder.join(format!("{name}.log")))?;
        let control = state.join("gpu.sock");
        Ok(Node { running, control })
    }

    /// The rows of a list of the API.
    pub fn items(&self, arguments: &[&str]) -> Result<Vec<Value>, String> {
        let mut all = arguments.to_vec();
        all.extend_from_slice(&["-o", "json"]);
        let text = self.sentinel(&all)?;
        let list: Value = serde_json::from_str(&text).map_err(|cause| format!("not JSON: {cause}"))?;
        list["items"]
            .as_array()
            .cloned()
            .ok_or_else(|| format!("no items in {list}"))
    }
}

/// A running agent.
pub struct Node {
    /// The agent.
    pub running: Running,
    /// Control socket of its simulated GPUs.
    pub control: PathBuf,
}
