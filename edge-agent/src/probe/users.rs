//! Which of this node's workloads works on which GPU: the driver names processes, and here they become workloads.
//!
//! A process belongs to a workload that this agent keeps when it is in its process group or descends from it, and to one that systemd keeps
//! when it is in its unit's control group or descends from its main process. Decides nothing.
//!
//! Invariant: of a GPU that does not answer the last picture stays: who worked on it when it hung is what one wants to know then.
//! Source: proc_pid_stat(5), fields 4 (parent) and 5 (process group); cgroups(7), `/proc/PID/cgroup`.

use std::fs;

use edge_agent_core::Input;
use edge_agent_core::faults::users::Picture;
use tokio::sync::mpsc;
use wire::DeviceId;
use wire::probe::GpuClients;

use crate::sensors::process::{WatchList, Watched, listed};

/// Parents that are followed upwards: a launcher, its shell, and what they start.
const MOST_PARENTS: usize = 32;

/// What was told last.
pub(super) struct Users {
    watched: WatchList,
    inputs: mpsc::Sender<Input>,
    told: Picture,
}

impl Users {
    /// Nobody is known to use anything.
    pub(super) fn new(watched: WatchList, inputs: mpsc::Sender<Input>) -> Self {
        Self {
            watched,
            inputs,
            told: Picture::new(),
        }
    }

    /// Whether there is anything that could use a GPU.
    pub(super) fn has_workloads(&self) -> bool {
        !listed(&self.watched).is_empty()
    }

    /// Takes what the driver says, and tells the core when that is another picture than before.
    pub(super) fn look(&mut self, clients: &[GpuClients], device: impl Fn(&str) -> Option<DeviceId>) {
        let watched = listed(&self.watched).clone();
        let mut picture = self.told.clone();
        for gpu in clients {
            let Some(device) = device(&gpu.uuid) else { continue };
            let owners = gpu.pids.iter().filter_map(|pid| owner(*pid, &watched, &Proc));
            picture.insert(device, owners.cloned().collect());
        }
        picture.retain(|_, workloads| !workloads.is_empty());
        if picture != self.told {
            self.told = picture.clone();
            // Fails only when the loop has ended.
            let _ = self.inputs.blocking_send(Input::Users(picture));
        }
    }
}

/// What is asked of the process table.
trait Processes {
    /// Parent and process group.
    fn kin(&self, pid: u32) -> Option<(u32, u32)>;
    /// Control groups, one on each line.
    fn groups(&self, pid: u32) -> String;
}

struct Proc;

impl Processes for Proc {
    fn kin(&self, pid: u32) -> Option<(u32, u32)> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    }

    fn groups(&self, pid: u32) -> String {
        fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default()
    }
}

/// The workload that a process belongs to.
fn owner<'a>(pid: u32, watched: &'a [Watched], processes: &impl Processes) -> Option<&'a DeviceId> {
    let units = watched.iter().any(|one| one.unit.is_some());
    let groups = if units { processes.groups(pid) } else { String::new() };
    let in_unit = |one: &&Watched| {
        let unit = one.unit.as_deref();
        unit.is_some_and(|unit| groups.lines().any(|line| line.split('/').any(|part| part == unit)))
    };
    if let Some(found) = watched.iter().find(in_unit) {
        return Some(&found.device);
    }
    let mut pid = pid;
    for _ in 0..MOST_PARENTS {
        let (parent, group) = processes.kin(pid)?;
        let is_it = |one: &&Watched| one.pid == Some(pid) || one.pid == Some(group);
        if let Some(found) = watched.iter().find(is_it) {
            return Some(&found.device);
        }
        if parent <= 1 {
            return None;
        }
        pid = parent;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Process, parent, process group, control group.
    struct Table(BTreeMap<u32, (u32, u32, &'static str)>);

    impl Processes for Table {
        fn kin(&self, pid: u32) -> Option<(u32, u32)> {
            self.0.get(&pid).map(|(parent, group, _)| (*parent, *group))
        }

        fn groups(&self, pid: u32) -> String {
            self.0
                .get(&pid)
                .map_or_else(String::new, |(.., group)| (*group).to_owned())
        }
    }

    fn watched(name: &str, pid: Option<u32>, unit: Option<&str>) -> Watched {
        Watched {
            device: DeviceId::workload(name).expect("a name"),
            pid,
            restarts: 0,
            unit: unit.map(str::to_owned),
        }
    }

    #[test]
    fn a_process_is_found_by_its_group_by_its_parents_and_by_its_unit() {
        let own = "0::/system.slice/sentinel-agent.service";
        let table = Table(BTreeMap::from([
            (100, (1, 100, own)),
            (101, (100, 100, own)),
            // It has made itself a session of its own.
            (102, (101, 102, own)),
            (200, (1, 200, "0::/system.slice/serve.service")),
            (
                201,
                (200, 201, "1:name=systemd:/system.slice/serve.service/worker\n0::/"),
            ),
            (300, (1, 300, "0::/user.slice/not-serve.service")),
            // Where control groups are not to be seen.
            (202, (200, 202, "0::/")),
        ]));
        let all = [
            watched("train", Some(100), None),
            watched("serve", Some(200), Some("serve.service")),
        ];
        let check = |pid, expected: Option<&str>| {
            let found = owner(pid, &all, &table).map(|device| device.name().to_owned());
            assert_eq!(found.as_deref(), expected, "{pid}");
        };
        check(100, Some("train"));
        check(101, Some("train"));
        check(102, Some("train"));
        check(200, Some("serve"));
        check(201, Some("serve"));
        check(202, Some("serve"));
        check(300, None);
        check(999, None);
    }

    #[test]
    fn a_picture_is_told_when_it_changes_and_a_silent_gpu_keeps_its_own() {
        let (sender, mut inputs) = mpsc::channel(8);
        let me = std::process::id();
        let list = WatchList::default();
        *list.lock().expect("whole") = vec![watched("test", Some(me), None)];
        let mut users = Users::new(list, sender);
        let device = |uuid: &str| (uuid == "GPU-a").then(|| DeviceId::gpu(0));
        let used = |pids: &[u32]| GpuClients {
            uuid: "GPU-a".to_owned(),
            pids: pids.to_vec(),
        };
        users.look(&[used(&[me])], device);
        users.look(&[used(&[me])], device);
        users.look(&[], device);
        users.look(&[used(&[])], device);
        let mut told = Vec::new();
        while let Ok(Input::Users(picture)) = inputs.try_recv() {
            told.push(picture.len());
        }
        assert_eq!(told, [1, 0]);
    }
}
