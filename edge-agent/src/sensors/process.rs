//! The agent itself, and supervised processes with their children: memory, CPU, threads.
//!
//! Source: proc_pid_stat(5), fields counted from after the name in parentheses, which may itself hold anything;
//! `/proc/PID/task/TID/children` lists direct children.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wire::{DeviceId, Quantity};

use super::{ProcFile, Round, Sensor, number, rate, words};

/// Processes of one workload that are looked at: a fork bomb must not make the sampler one too.
const MOST_PROCESSES: usize = 64;

/// A supervised process as the supervisor knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// `workload:NAME`.
    pub device: DeviceId,
    /// Its process id, while it runs.
    pub pid: Option<u32>,
    /// Restarts since it was first started.
    pub restarts: u64,
    /// The systemd unit that keeps it; `None`: this agent does.
    pub unit: Option<String>,
}

/// The supervisor writes it, the sampler reads it.
pub type WatchList = Arc<Mutex<Vec<Watched>>>;

/// What is on it now.
pub fn listed(watched: &WatchList) -> MutexGuard<'_, Vec<Watched>> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one process uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Use {
    ticks: u64,
    threads: i64,
    pages: i64,
}

fn parse(stat: &[u8]) -> Option<Use> {
    let after = &stat[stat.iter().rposition(|byte| *byte == b')')? + 1..];
    let mut found = words(after);
    // state is field 3; utime 14, stime 15, num_threads 20, rss 24.
    let ticks = number(found.nth(11)?)?.checked_add(number(found.next()?)?)?;
    let threads = i64::try_from(number(found.nth(4)?)?).ok()?;
    let pages = i64::try_from(number(found.nth(3)?)?).ok()?;
    Some(Use { ticks, threads, pages })
}

/// Ticks of CPU in a second as hundredths of a percent of one core.
fn cpu_share(last: &mut Option<u64>, ticks: u64, elapsed_ms: Option<u64>) -> Option<i64> {
    let hertz = rustix::param::clock_ticks_per_second().max(1);
    rate(last, ticks, i64::try_from(10_000 / hertz).ok()?, elapsed_ms)
}

/// This process.
pub struct Own {
    node: DeviceId,
    stat: ProcFile,
    ticks: Option<u64>,
    files: Option<i64>,
}

impl Own {
    /// Opens its own files.
    pub fn open() -> Option<Self> {
        Some(Self {
            node: DeviceId::node(),
            stat: ProcFile::open("/proc/self/stat")?,
            ticks: None,
            files: None,
        })
    }
}

impl Sensor for Own {
    fn sample(&mut self, round: &mut Round) {
        if round.number.is_multiple_of(10) {
            self.files = fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as i64);
        }
        let mut found = None;
        round.read(&self.stat, |_, bytes| found = parse(bytes));
        let page = rustix::param::page_size() as i64;
        let cpu = found.and_then(|found| cpu_share(&mut self.ticks, found.ticks, round.elapsed_ms));
        round.note(
            &self.node,
            Quantity::AgentMemory,
            found.and_then(|found| found.pages.checked_mul(page)),
        );
        round.note(&self.node, Quantity::AgentCpu, cpu);
        round.note(&self.node, Quantity::AgentThreads, found.map(|found| found.threads));
        round.note(&self.node, Quantity::AgentFiles, self.files);
    }
}

/// Supervised processes.
pub struct Workloads {
    watched: WatchList,
    /// Ticks at the round before, of the processes that were there then.
    ticks: BTreeMap<u32, u64>,
    buffer: Vec<u8>,
    /// A workload has more processes than are looked at.
    is_cut: bool,
}

impl Workloads {
    /// Reads what the supervisor lists.
    pub fn new(watched: WatchList) -> Self {
        Self {
            watched,
            ticks: BTreeMap::new(),
            buffer: Vec::new(),
            is_cut: false,
        }
    }

    /// Sums up a process and its descendants. `None` when it is gone.
    fn tree(&mut self, root: u32, seen: &mut BTreeMap<u32, u64>) -> Option<(Use, i64, u64)> {
        let (mut sum, mut count, mut grown) = (Use::default(), 0, 0);
        let mut waiting = vec![root];
        while let Some(pid) = waiting.pop() {
            if count as usize == MOST_PROCESSES {
                self.is_cut = true;
                break;
            }
            let Some(found) = self.read(&format!("/proc/{pid}/stat")).and_then(parse) else {
                if pid == root {
                    return None;
                }
                continue;
            };
            let growth = found
                .ticks
                .saturating_sub(self.ticks.get(&pid).copied().unwrap_or(found.ticks));
            grown = u64::saturating_add(grown, growth);
            seen.insert(pid, found.ticks);
            sum.threads = sum.threads.saturating_add(found.threads);
            sum.pages = sum.pages.saturating_add(found.pages);
            count += 1;
            if let Some(children) = self.read(&format!("/proc/{pid}/task/{pid}/children")) {
                waiting.extend(
                    words(children)
                        .filter_map(number)
                        .filter_map(|pid| u32::try_from(pid).ok()),
                );
            }
        }
        Some((sum, count, grown))
    }

    fn read(&mut self, path: &str) -> Option<&[u8]> {
        let file = ProcFile::open(path)?;
        let length = file.read(&mut self.buffer)?;
        Some(&self.buffer[..length])
    }
}

impl Sensor for Workloads {
    fn sample(&mut self, round: &mut Round) {
        let watched = listed(&self.watched).clone();
        let mut seen = BTreeMap::new();
        let page = rustix::param::page_size() as i64;
        for workload in watched {
            self.is_cut = false;
            let used = workload.pid.and_then(|pid| self.tree(pid, &mut seen));
            if self.is_cut {
                let device = &workload.device;
                round.limit(format!(
                    "{device} has more than {MOST_PROCESSES} processes: the rest is not looked at"
                ));
            }
            let cpu = used.and_then(|(_, _, grown)| cpu_share(&mut Some(0), grown, round.elapsed_ms));
            for (quantity, value) in [
                (
                    Quantity::WorkloadMemory,
                    used.and_then(|(sum, _, _)| sum.pages.checked_mul(page)),
                ),
                (Quantity::WorkloadCpu, cpu),
                (Quantity::WorkloadPid, workload.pid.map(i64::from)),
                (Quantity::WorkloadRestarts, i64::try_from(workload.restarts).ok()),
                (Quantity::WorkloadThreads, used.map(|(sum, _, _)| sum.threads)),
                (Quantity::WorkloadProcesses, used.map(|(_, count, _)| count)),
            ] {
                round.note(&workload.device, quantity, value);
            }
        }
        self.ticks = seen;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{second_round, told, value};
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name() {
        let line = b"1234 (a) b (c)) S 1 1234 1234 0 -1 4194560 100 0 0 0 70 30 0 0 20 0 5 0 100 1000000 2500 18446744073709551615 1 1\n";
        let expected = Use {
            ticks: 100,
            threads: 5,
            pages: 2_500,
        };
        assert_eq!(parse(line), Some(expected));
        for length in 0..line.len() - 40 {
            let _ = parse(&line[..length]);
        }
    }

    #[test]
    fn a_process_that_is_gone_is_missing_and_not_zero() {
        let device = DeviceId::workload("train").expect("valid");
        let list = vec![
            Watched {
                device: device.clone(),
                pid: None,
                restarts: 2,
                unit: None,
            },
            Watched {
                device: DeviceId::workload("me").expect("valid"),
                pid: Some(std::process::id()),
                restarts: 0,
                unit: None,
            },
        ];
        let mut sensor = Workloads::new(Arc::new(Mutex::new(list)));
        sensor.sample(&mut Round::default());
        let mut round = second_round();
        sensor.sample(&mut round);
        let told = told(&mut round);
        assert_eq!(value(&told, "workload:train/workload.memory"), "-");
        assert_eq!(value(&told, "workload:train/workload.restarts"), "2");
        let memory: i64 = value(&told, "workload:me/workload.memory").parse().expect("a number");
        assert!(memory > 100_000, "{memory}");
    }
}
