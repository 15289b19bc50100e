//! Looks at a GPU's driver: whether there is one, whether it answers, and whether the agent may set what it decides.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::Access;
use tokio::sync::mpsc;
use wire::probe::{Ask, Reply};

use super::{Found, Verdict};
use crate::config::Config;
use crate::faults::Faults;
use crate::probe::{self, Probe};
use crate::sensors::process::WatchList;
use crate::socket;
use crate::watch::Watch;

/// Where the kernel module tells its version.
const MODULE: &str = "/proc/driver/nvidia/version";
const DEVICE: &str = "/dev/nvidiactl";
/// The bit of `CapEff` that setting power and clocks needs.
const SYS_ADMIN: u32 = 21;

/// Everything about GPUs: one line where there is none.
pub fn examine(config: &Config) -> Vec<Found> {
    const PART: &str = "GPU driver";
    if config.gpu_probe.as_ref().is_some_and(|probe| !probe.enabled) {
        return vec![Found::good(
            PART,
            "the settings say that no GPU is read (`gpu_probe.enabled = false`)",
        )];
    }
    let module = fs::read_to_string(MODULE).ok();
    let settings = match config.probe() {
        Ok(Some(settings)) => settings,
        Ok(None) if module.is_some() => {
            let next = "install the driver's userspace library, or name it with `gpu_probe.library`";
            let evidence = "the kernel module is loaded, and no libnvidia-ml.so.1 is found where drivers put it";
            return vec![Found::of(PART, Verdict::Wrong, evidence, next)];
        }
        Ok(None) => {
            return vec![Found::good(
                PART,
                "none: this machine has neither a GPU driver's library nor its module",
            )];
        }
        Err(error) => {
            let evidence = format!("a driver is there, and the probe that reads it cannot be started: {error}");
            return vec![Found::of(
                PART,
                Verdict::Wrong,
                evidence,
                "use the agent that `cargo xtask dist` or a release made",
            )];
        }
    };
    let library = probe::find_library().map_or_else(|| "as set".to_owned(), |path| path.display().to_string());
    let mut found = vec![driver(config, &library, module.as_deref())];
    drop(settings);
    if found[0].verdict == Verdict::Good {
        found.push(may_set(&config.socket()));
    }
    found
}

/// Whether the driver answers, through the agent's own probe.
fn driver(config: &Config, library: &str, module: Option<&str>) -> Found {
    const PART: &str = "GPU driver";
    match greet(config) {
        Ok((driver, gpus)) => Found::good(PART, format!("{driver} with {gpus} GPUs, library {library}")),
        Err(reason) => {
            let next = match (module, rustix::fs::access(DEVICE, Access::READ_OK | Access::WRITE_OK)) {
                (None, _) if reason.contains("ersion") => {
                    "reboot, or load the module of the library's version: the driver was updated under it"
                }
                (None, _) => "load the kernel module (modprobe nvidia), or look with dmesg why it is not",
                (Some(_), Err(rustix::io::Errno::ACCESS)) => {
                    "give the service's user the device nodes: group video or render, and DeviceAllow"
                }
                (Some(_), Err(_)) => "make the device nodes (nvidia-modprobe), or pass them into the container",
                (Some(_), Ok(())) => {
                    "run nvidia-smi: if it hangs as well, the driver is stuck, and a restart of the machine helps"
                }
            };
            Found::of(PART, Verdict::Wrong, format!("library {library}: {reason}"), next)
        }
    }
}

/// The driver's name and how many GPUs it has.
fn greet(config: &Config) -> Result<(String, usize), String> {
    let mut settings = config
        .probe()
        .map_err(|error| error.to_string())?
        .ok_or("there is no driver")?;
    // A look leaves no trace.
    settings.names = None;
    // Nobody listens to what it tells; the room is enough for what it may say until it is dropped.
    let (inputs, _heard) = mpsc::channel(64);
    let faults = Faults::new(inputs.clone());
    let (watch, _died) = Watch::new();
    let probe = Probe::start(settings, Vec::new(), inputs, (faults, WatchList::default(), &watch))
        .map_err(|error| error.to_string())?;
    match probe.call(Ask::Hello) {
        Ok(Reply::Hello { driver, gpus, .. }) => Ok((driver, gpus.len())),
        Ok(_) => Err("the probe does not answer a greeting with one".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether power and clocks may be set: by the agent that runs, else by whoever asks now.
fn may_set(socket: &Path) -> Found {
    const PART: &str = "GPU settings";
    let (who, pid) = match socket::server(socket) {
        Ok(pid) => (format!("the agent, process {pid},"), pid.to_string()),
        Err(_) => ("whoever runs this".to_owned(), "self".to_owned()),
    };
    match capabilities(&pid) {
        Ok(set) if set >> SYS_ADMIN & 1 == 1 => {
            Found::good(PART, format!("{who} has CAP_SYS_ADMIN: power and clocks can be set"))
        }
        Ok(_) => {
            let evidence = format!("{who} lacks CAP_SYS_ADMIN: GPUs are read, and no power limit or clock can be set");
            Found::of(
                PART,
                Verdict::Reduced,
                evidence,
                "add it in a drop-in of the unit: handbook, \"Let an agent cap power\"",
            )
        }
        Err(error) => Found::of(PART, Verdict::Unknown, format!("/proc/{pid}/status: {error}"), ""),
    }
}

fn capabilities(pid: &str) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let line = line.ok_or_else(|| io::Error::other("there is no line CapEff"))?;
    u64::from_str_radix(line.trim(), 16).map_err(io::Error::other)
}
