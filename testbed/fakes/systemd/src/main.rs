//! `sentinel-fake-systemd ADDRESS UNIT=COMMAND…`: a stand-in for systemd's manager on a message bus, for machines on which no systemd runs.
//!
//! Speaks the published interface org.freedesktop.systemd1(5) as far as a client needs it that restarts services and sets their share of a
//! core: `LoadUnit`, `Subscribe`, `RestartUnit`, `SetUnitProperties`, the signal `JobRemoved`, and the properties of units and services. A unit's
//! command is a real process; a share of a core is remembered and not enforced. Written with another D-Bus implementation than the agent's,
//! so that each finds the other's mistakes.
//!
//! Invariant: it never says that it is systemd beyond the name on the bus that it must have.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::process::{Child, Command};
use zbus::object_server::SignalEmitter;
use zbus::{ObjectPath, OwnedObjectPath, OwnedVariant, connection, fdo, interface};

/// systemd's word for "no limit".
const NO_LIMIT: u64 = u64::MAX;
const MANAGER: &str = "/org/freedesktop/systemd1";

/// One unit, and its process while it runs.
struct Unit {
    command: Vec<String>,
    child: Option<Child>,
    active: &'static str,
    invocation: u64,
    quota_us: u64,
}

impl Unit {
    fn new(command: &str) -> Self {
        Self {
            command: command.split_whitespace().map(str::to_owned).collect(),
            child: None,
            active: "inactive",
            invocation: 0,
            quota_us: NO_LIMIT,
        }
    }

    /// Ends what runs, and starts it anew; the job's result.
    async fn restart(mut self) -> (Self, &'static str) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            drop(child.kill().await);
        }
        let Some((program, arguments)) = self.command.split_first() else {
            return (self, "failed");
        };
        self.invocation += 1;
        let started = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let result = match started {
            Ok(child) => {
                (self.child, self.active) = (Some(child), "active");
                "done"
            }
            Err(_) => {
                self.active = "failed";
                "failed"
            }
        };
        (self, result)
    }
}

/// All units by their names.
#[derive(Clone, Default)]
struct Units(Arc<Mutex<BTreeMap<String, Unit>>>);

impl Units {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Unit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of<T>(&self, name: &str, read: impl FnOnce(&mut Unit) -> T) -> fdo::Result<T> {
        match self.all().get_mut(name) {
            Some(unit) => Ok(read(unit)),
            None => Err(fdo::Error::Failed(format!("Unit {name} not found."))),
        }
    }
}

/// A unit's object path: bytes that may not stand there are written as `_2e`.
fn path(name: &str) -> String {
    let escaped: String = name
        .bytes()
        .map(|byte| match byte.is_ascii_alphanumeric() {
            true => char::from(byte).to_string(),
            false => format!("_{byte:02x}"),
        })
        .collect();
    format!("{MANAGER}/unit/{escaped}")
}

struct Manager {
    units: Units,
    jobs: u32,
}

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    async fn load_unit(
        &self,
        name: String,
        #[zbus(object_server)] server: &zbus::ObjectServer,
    ) -> fdo::Result<OwnedObjectPath> {
        let path = path(&name);
        let units = self.units.clone();
        let unit = OfUnit {
            units: units.clone(),
            name: name.clone(),
        };
        // Both are there already from the second call on.
        server.at(path.as_str(), unit).await?;
        server.at(path.as_str(), OfService { units, name }).await?;
        OwnedObjectPath::try_from(path).map_err(|error| fdo::Error::Failed(error.to_string()))
    }

    fn subscribe(&self) {}

    async fn restart_unit(
        &mut self,
        name: String,
        mode: String,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> fdo::Result<OwnedObjectPath> {
        if mode != "replace" {
            return Err(fdo::Error::InvalidArgs(format!("Job mode {mode} invalid")));
        }
        let Some(unit) = self.units.all().remove(&name) else {
            return Err(fdo::Error::Failed(format!("Unit {name} not found.")));
        };
        let (unit, result) = unit.restart().await;
        self.units.all().insert(name.clone(), unit);
        self.jobs += 1;
        let job = ObjectPath::try_from(format!("{MANAGER}/job/{}", self.jobs))
            .map_err(|error| fdo::Error::Failed(error.to_string()))?;
        emitter.job_removed(self.jobs, job.clone(), &name, result).await?;
        Ok(job.into())
    }

    fn set_unit_properties(
        &self,
        name: String,
        runtime: bool,
        properties: Vec<(String, OwnedVariant)>,
    ) -> fdo::Result<()> {
        if !runtime {
            return Err(fdo::Error::AccessDenied("only until the machine restarts".to_owned()));
        }
        for (property, value) in properties {
            let quota = match (property.as_str(), u64::try_from(&value)) {
                ("CPUQuotaPerSecUSec", Ok(quota)) if quota > 0 => quota,
                _ => return Err(fdo::Error::InvalidArgs(format!("Cannot set property {property}"))),
            };
            self.units.of(&name, |unit| unit.quota_us = quota)?;
        }
        Ok(())
    }

    #[zbus(signal)]
    async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: ObjectPath<'_>,
        unit: &str,
        result: &str,
    ) -> zbus::Result<()>;
}

struct OfUnit {
    units: Units,
    name: String,
}

#[interface(name = "org.freedesktop.systemd1.Unit")]
impl OfUnit {
    #[zbus(property)]
    fn load_state(&self) -> &'static str {
        match self.units.all().contains_key(&self.name) {
            true => "loaded",
            false => "not-found",
        }
    }

    #[zbus(property)]
    fn active_state(&self) -> &'static str {
        self.units.of(&self.name, |unit| unit.active).unwrap_or("inactive")
    }

    #[zbus(property, name = "InvocationID")]
    fn invocation_id(&self) -> Vec<u8> {
        let number = self.units.of(&self.name, |unit| unit.invocation).unwrap_or_default();
        u128::from(number).to_be_bytes().to_vec()
    }
}

struct OfService {
    units: Units,
    name: String,
}

#[interface(name = "org.freedesktop.systemd1.Service")]
impl OfService {
    #[zbus(property, name = "MainPID")]
    fn main_pid(&self) -> u32 {
        let pid = |unit: &mut Unit| unit.child.as_ref().and_then(Child::id).unwrap_or_default();
        self.units.of(&self.name, pid).unwrap_or_default()
    }

    #[zbus(property, name = "NRestarts")]
    fn n_restarts(&self) -> u32 {
        0
    }

    #[zbus(property, name = "CPUQuotaPerSecUSec")]
    fn cpu_quota(&self) -> u64 {
        self.units.of(&self.name, |unit| unit.quota_us).unwrap_or(NO_LIMIT)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let usage = "usage: sentinel-fake-systemd ADDRESS UNIT=COMMAND…";
    let address = words.next().ok_or(usage)?;
    let units = Units::default();
    for word in words {
        let (name, command) = word.split_once('=').ok_or(usage)?;
        let (unit, _) = Unit::new(command).restart().await;
        units.all().insert(name.to_owned(), unit);
    }
    let manager = Manager { units, jobs: 0 };
    let _connection = connection::Builder::address(address.as_str())
        .serve_at(MANAGER, manager)
        .name("org.freedesktop.systemd1")
        .build()
        .await?;
    println!("ready");
    tokio::signal::ctrl_c().await?;
    Ok(())
}
