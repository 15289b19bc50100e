//! Leaves a supervised process only a share of a core: by a cgroup of its own where one can be made, else by a lower priority.
//!
//! Every workload gets its cgroup (v2 or v1) when it starts, without a limit, so that its children are in it too and a restart keeps the
//! limit. Source: `Documentation/admin-guide/cgroup-v2.rst` (`cpu.max`: quota and period in microseconds) and `cgroup-v1`.
//!
//! Invariant: a share reads back as it was set, or the action has failed.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use edge_agent_core::{ActionResult, ProbeResult, Run};
use rustix::process::{Pid, getpriority_pgrp, setpriority_pgrp};
use wire::{Action, ActionKind, AgentId};

use super::Actuator;

/// The kernel's usual period.
const PERIOD_US: i64 = 100_000;
/// The lowest priority there is.
const LOWEST_NICE: i32 = 19;

/// How a workload's share is set.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Means {
    /// A cgroup v2 folder with `cpu.max`.
    Two(PathBuf),
    /// A cgroup v1 folder with `cpu.cfs_quota_us`.
    One(PathBuf),
    /// No cgroup can be made: the process group's priority.
    Priority,
}

/// The means of all workloads.
#[derive(Debug, Default)]
pub struct Shares {
    means: BTreeMap<String, Means>,
    /// The process that joined last: its group is what a priority applies to.
    pids: Mutex<BTreeMap<String, u32>>,
}

impl Shares {
    /// Makes a cgroup for each workload, where it can.
    pub fn prepare<'n>(agent: &AgentId, workloads: impl IntoIterator<Item = &'n str>) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let bases = bases(&mounts, &own);
        let means = workloads.into_iter().map(|name| {
            let folder = format!("sentinel.{agent}.{name}");
            let found = bases.iter().find_map(|base| base.make(&folder));
            let means = found.unwrap_or(Means::Priority);
            tracing::debug!(workload = name, ?means, "share of a core is set by this");
            (name.to_owned(), means)
        });
        Self {
            means: means.collect(),
            pids: Mutex::default(),
        }
    }

    /// No workload can be throttled but by priority.
    #[cfg(test)]
    pub fn none() -> Self {
        Self::default()
    }

    /// Puts a process that has just started into its workload's cgroup.
    pub fn join(&self, name: &str, pid: u32) {
        self.pids().insert(name.to_owned(), pid);
        let result = match self.means.get(name) {
            Some(Means::Two(folder) | Means::One(folder)) => fs::write(folder.join("cgroup.procs"), pid.to_string()),
            Some(Means::Priority) | None => Ok(()),
        };
        if let Err(error) = result {
            tracing::warn!(workload = name, pid, %error, "not in its cgroup: throttling it will fail");
        }
    }

    /// Takes a workload's cgroup away, once nothing runs in it any more.
    pub fn leave(&self, name: &str) {
        if let Some(Means::Two(folder) | Means::One(folder)) = self.means.get(name) {
            // Refused while something is still in it: then it is found again by the next agent.
            let _ = fs::remove_dir(folder);
        }
    }

    fn pids(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, u32>> {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The share in force in basis points of a core; `None` is all of it.
    fn read(&self, name: &str) -> io::Result<Option<i64>> {
        match self.means(name)? {
            Means::Two(folder) => {
                let text = fs::read_to_string(folder.join("cpu.max"))?;
                let mut words = text.split_whitespace();
                let quota = words.next().and_then(|word| word.parse().ok());
                let period = words.next().and_then(|word| word.parse().ok());
                Ok(quota.map(|quota: i64| share(quota, period.unwrap_or(PERIOD_US))))
            }
            Means::One(folder) => {
                let number = |file: &str| -> io::Result<i64> {
                    let text = fs::read_to_string(folder.join(file))?;
                    text.trim().parse().map_err(io::Error::other)
                };
                let quota = number("cpu.cfs_quota_us")?;
                let period = number("cpu.cfs_period_us")?;
                Ok((quota >= 0).then(|| share(quota, period)))
            }
            Means::Priority => {
                let lowered = getpriority_pgrp(self.group(name)?)? == LOWEST_NICE;
                // A priority is no share: it counts as the least one that can be asked for.
                Ok(lowered.then_some(100))
            }
        }
    }

    fn write(&self, name: &str, share_bp: Option<u16>) -> io::Result<()> {
        let quota = share_bp.map(|share| i64::from(share) * PERIOD_US / 10_000);
        match self.means(name)? {
            Means::Two(folder) => {
                let quota = quota.map_or("max".to_owned(), |quota| quota.to_string());
                fs::write(folder.join("cpu.max"), format!("{quota} {PERIOD_US}"))
            }
            Means::One(folder) => {
                fs::write(folder.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
                fs::write(folder.join("cpu.cfs_quota_us"), quota.unwrap_or(-1).to_string())
            }
            Means::Priority => {
                let nice = if quota.is_some() { LOWEST_NICE } else { 0 };
                Ok(setpriority_pgrp(self.group(name)?, nice)?)
            }
        }
    }

    fn means(&self, name: &str) -> io::Result<&Means> {
        self.means
            .get(name)
            .ok_or_else(|| io::Error::other(format!("there is no workload `{name}`")))
    }

    fn group(&self, name: &str) -> io::Result<Option<Pid>> {
        let pid = self.pids().get(name).copied().and_then(|pid| Pid::from_raw(pid as i32));
        pid.map(Some)
            .ok_or_else(|| io::Error::other(format!("workload `{name}` does not run")))
    }
}

fn share(quota: i64, period: i64) -> i64 {
    quota.saturating_mul(10_000) / period.max(1)
}

/// Where cgroups may be made.
#[derive(Debug, PartialEq, Eq)]
enum Base {
    Two(PathBuf),
    One(PathBuf),
}

impl Base {
    fn make(&self, name: &str) -> Option<Means> {
        let (folder, file, means): (_, _, fn(PathBuf) -> Means) = match self {
            Self::Two(base) => (base.join(name), "cpu.max", Means::Two),
            Self::One(base) => (base.join(name), "cpu.cfs_quota_us", Means::One),
        };
        let there = folder.is_dir();
        if !there {
            fs::create_dir(&folder).ok()?;
        }
        if let Self::Two(base) = self
            && !folder.join(file).exists()
        {
            // Refused where processes live beside the new folder; then there is nothing to be had here.
            let _ = fs::write(base.join("cgroup.subtree_control"), "+cpu");
        }
        if writable(&folder.join(file)) && writable(&folder.join("cgroup.procs")) {
            return Some(means(folder));
        }
        if !there {
            let _ = fs::remove_dir(&folder);
        }
        None
    }
}

fn writable(path: &Path) -> bool {
    fs::OpenOptions::new().write(true).open(path).is_ok()
}

/// The agent's own cgroup in each hierarchy that can limit CPU.
fn bases(mounts: &str, own: &str) -> Vec<Base> {
    let path_of = |wanted: fn(&str) -> bool| {
        own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            wanted(controllers).then(|| path.trim_start_matches('/').to_owned())
        })
    };
    let mut found = Vec::new();
    for line in mounts.lines() {
        let columns: Vec<&str> = line.split(' ').collect();
        let &[_, mount, kind, options, ..] = columns.as_slice() else {
            continue;
        };
        if kind == "cgroup2" {
            let path = path_of(str::is_empty).unwrap_or_default();
            found.push(Base::Two(Path::new(mount).join(path)));
        } else if kind == "cgroup" && options.split(',').any(|option| option == "cpu") {
            let path = path_of(|controllers| controllers.split(',').any(|one| one == "cpu"));
            found.push(Base::One(Path::new(mount).join(path.unwrap_or_default())));
        }
    }
    found
}

/// Sets shares.
pub struct Throttle {
    shares: std::sync::Arc<Shares>,
}

impl Throttle {
    /// Sets these.
    pub fn new(shares: std::sync::Arc<Shares>) -> Self {
        Self { shares }
    }

    fn wanted(kind: &ActionKind) -> Option<u16> {
        match kind {
            ActionKind::Throttle { share_bp } => Some(*share_bp),
            _ => None,
        }
    }

    /// Whether what is in force is what the action wants.
    fn holds(&self, name: &str, wanted: Option<u16>, found: Option<i64>) -> bool {
        match self.shares.means.get(name) {
            Some(Means::Priority) => wanted.is_some() == found.is_some(),
            _ => wanted.map(i64::from) == found,
        }
    }

    fn try_apply(&self, run: &Run) -> io::Result<ActionResult> {
        let name = run.action.target.name();
        let wanted = Self::wanted(&run.action.kind);
        let before = self.shares.read(name)?;
        self.shares.write(name, wanted)?;
        let after = self.shares.read(name)?;
        if !self.holds(name, wanted, after) {
            return Err(io::Error::other(format!(
                "the share reads back as {after:?} basis points"
            )));
        }
        let detail = match self.shares.means(name)? {
            Means::Priority => "by priority: there is no cgroup that this agent may write",
            Means::One(_) | Means::Two(_) => "by its cgroup",
        };
        Ok(ActionResult::Applied {
            before,
            after,
            detail: detail.to_owned(),
        })
    }
}

impl Actuator for Throttle {
    fn handles(&self, action: &Action) -> bool {
        matches!(action.kind, ActionKind::Throttle { .. } | ActionKind::Unthrottle)
    }

    fn apply(&self, run: &Run) -> ActionResult {
        self.try_apply(run).unwrap_or_else(|error| ActionResult::Failed {
            reason: error.to_string(),
        })
    }

    fn probe(&self, run: &Run) -> ProbeResult {
        let name = run.action.target.name();
        match self.shares.read(name) {
            Ok(value) if self.holds(name, Self::wanted(&run.action.kind), value) => ProbeResult::Done { value },
            Ok(value) => ProbeResult::NotDone { value },
            Err(error) => ProbeResult::Unknown {
                reason: error.to_string(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wire::{Action, DecisionId, DeviceId, Epoch, Seq};

    use super::*;

    fn run(kind: ActionKind) -> Run {
        Run {
            decision: DecisionId {
                agent: AgentId::new("a").expect("valid"),
                epoch: Epoch(1),
                seq: Seq(1),
            },
            action: Action {
                target: DeviceId::workload("w").expect("valid"),
                kind,
            },
        }
    }

    fn check(means: Means) {
        let shares = Shares {
            means: BTreeMap::from([("w".to_owned(), means)]),
            pids: Mutex::default(),
        };
        let throttle = Throttle::new(Arc::new(shares));
        let quarter = run(ActionKind::Throttle { share_bp: 2_500 });
        assert_eq!(throttle.probe(&quarter), ProbeResult::NotDone { value: None });
        for before in [None, Some(2_500)] {
            match throttle.apply(&quarter) {
                ActionResult::Applied {
                    before: found, after, ..
                } => {
                    assert_eq!((found, after), (before, Some(2_500)));
                }
                failed => panic!("{failed:?}"),
            }
        }
        assert_eq!(throttle.probe(&quarter), ProbeResult::Done { value: Some(2_500) });
        let free = run(ActionKind::Unthrottle);
        assert!(matches!(
            throttle.apply(&free),
            ActionResult::Applied { after: None, .. }
        ));
        assert_eq!(throttle.probe(&free), ProbeResult::Done { value: None });
    }

    #[test]
    fn a_share_is_set_read_back_and_undone_in_both_kinds_of_cgroup() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("cpu.max"), "max 100000\n").expect("written");
        check(Means::Two(folder.path().to_owned()));
        fs::write(folder.path().join("cpu.cfs_quota_us"), "-1\n").expect("written");
        fs::write(folder.path().join("cpu.cfs_period_us"), "100000\n").expect("written");
        check(Means::One(folder.path().to_owned()));
    }

    #[test]
    fn an_unknown_workload_is_a_failure() {
        let throttle = Throttle::new(Arc::new(Shares::none()));
        let run = run(ActionKind::Throttle { share_bp: 100 });
        assert!(matches!(throttle.apply(&run), ActionResult::Failed { .. }));
        assert!(matches!(throttle.probe(&run), ProbeResult::Unknown { .. }));
    }

    #[test]
    fn hierarchies_are_found_whatever_their_place() {
        let mounts = "cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu,cpuacct 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\ncgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n";
        let own = "4:cpu,cpuacct:/a/b\n0::/system.slice/x\n";
        assert_eq!(
            bases(mounts, own),
            [
                Base::One("/sys/fs/cgroup/cpu/a/b".into()),
                Base::Two("/sys/fs/cgroup/unified/system.slice/x".into()),
            ]
        );
    }
}
