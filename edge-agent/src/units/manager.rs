//! systemd's manager, as far as a workload that it keeps needs it: how a unit stands, starting it again, and its share of a core.
//!
//! Decides nothing. Read next: `bus.rs` (the connection), `actuators/units.rs` (who acts).
//!
//! Source: org.freedesktop.systemd1(5), interfaces Manager, Unit and Service.

use std::time::Instant;

use super::bus::{Bus, BusError};
use super::message::{Target, Value};

const DESTINATION: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "/org/freedesktop/systemd1";
const NO_LIMIT: u64 = u64::MAX;

/// How a unit stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// `active`, `inactive`, `failed`, `activating`, …
    pub active: String,
    /// `loaded`, `not-found`, `masked`, …
    pub load: String,
    /// Its main process, while it runs.
    pub pid: Option<u32>,
    /// Names this run of it: another one after each start.
    pub invocation: Vec<u8>,
    /// How often systemd has started it again by itself.
    pub restarts: u64,
    /// Microseconds of CPU in a second that it may have; `None`: all that there are.
    pub quota_us: Option<u64>,
}

/// A connection to the manager.
pub struct Manager {
    bus: Bus,
    is_subscribed: bool,
}

impl Manager {
    /// Connects to the one of this machine.
    pub fn connect(deadline: Instant) -> Result<Self, BusError> {
        Ok(Self {
            bus: Bus::system(deadline)?,
            is_subscribed: false,
        })
    }

    /// How a unit stands; a unit that nobody knows is `not-found`.
    pub fn state(&mut self, unit: &str, deadline: Instant) -> Result<State, BusError> {
        let found = self.manager("LoadUnit", &[Value::text(unit)], deadline)?;
        let path = text(&found, "LoadUnit")?.to_owned();
        let mut of = |interface: &str, name: &'static str| {
            let target = Target {
                destination: DESTINATION,
                path: &path,
                interface: "org.freedesktop.DBus.Properties",
                member: "Get",
            };
            let asked = [Value::text(&format!("{DESTINATION}.{interface}")), Value::text(name)];
            let mut values = self.bus.call(&target, &asked, deadline)?;
            match values.len() {
                1 => Ok((name, values.remove(0))),
                _ => Err(BusError::Strange(name)),
            }
        };
        let word =
            |(name, value): (&'static str, Value)| value.as_text().map(str::to_owned).ok_or(BusError::Strange(name));
        let number = |(name, value): (&'static str, Value)| value.number().ok_or(BusError::Strange(name));
        let load = word(of("Unit", "LoadState")?)?;
        let active = word(of("Unit", "ActiveState")?)?;
        if load != "loaded" {
            // Who is not loaded has none of the rest.
            return Ok(State {
                active,
                load,
                pid: None,
                invocation: Vec::new(),
                restarts: 0,
                quota_us: None,
            });
        }
        let pid = number(of("Service", "MainPID")?)?;
        let quota = number(of("Service", "CPUQuotaPerSecUSec")?)?;
        let (name, invocation) = of("Unit", "InvocationID")?;
        Ok(State {
            active,
            load,
            pid: u32::try_from(pid).ok().filter(|pid| *pid != 0),
            invocation: invocation.bytes().ok_or(BusError::Strange(name))?,
            restarts: number(of("Service", "NRestarts")?)?,
            quota_us: (quota != NO_LIMIT).then_some(quota),
        })
    }

    /// Starts a unit again, and waits until that is done: `Err` with the manager's word (`failed`, `timeout`, …) if it was not.
    pub fn restart(&mut self, unit: &str, deadline: Instant) -> Result<Result<(), String>, BusError> {
        if !self.is_subscribed {
            let rule = "type='signal',sender='org.freedesktop.systemd1',interface='org.freedesktop.systemd1.Manager',\
                        member='JobRemoved'";
            self.bus.listen(rule, deadline)?;
            self.manager("Subscribe", &[], deadline)?;
            self.is_subscribed = true;
        }
        // Whatever else is queued for it gives way, as with `systemctl restart`.
        let found = self.manager("RestartUnit", &[Value::text(unit), Value::text("replace")], deadline)?;
        let job = text(&found, "RestartUnit")?.to_owned();
        let ended = |body: &[Value]| match body {
            [_, path, _, result] if path.as_text() == Some(&job) => result.as_text().map(str::to_owned),
            _ => None,
        };
        let result = self.bus.signal("JobRemoved", ended, deadline)?;
        Ok(if result == "done" { Ok(()) } else { Err(result) })
    }

    /// Leaves a unit this much CPU in a second, until the machine restarts; `None`: all there is.
    pub fn set_quota(&mut self, unit: &str, quota_us: Option<u64>, deadline: Instant) -> Result<(), BusError> {
        let property = Value::Group(vec![
            Value::text("CPUQuotaPerSecUSec"),
            Value::Variant(Box::new(Value::u64(quota_us.unwrap_or(NO_LIMIT)))),
        ]);
        let runtime = Value::Flag(true);
        let body = [
            Value::text(unit),
            runtime,
            Value::Array("(sv)".to_owned(), vec![property]),
        ];
        self.manager("SetUnitProperties", &body, deadline).map(drop)
    }

    fn manager(&mut self, member: &str, body: &[Value], deadline: Instant) -> Result<Vec<Value>, BusError> {
        let target = Target {
            destination: DESTINATION,
            path: MANAGER,
            interface: "org.freedesktop.systemd1.Manager",
            member,
        };
        self.bus.call(&target, body, deadline)
    }
}

fn text<'a>(values: &'a [Value], what: &'static str) -> Result<&'a str, BusError> {
    values.first().and_then(Value::as_text).ok_or(BusError::Strange(what))
}
