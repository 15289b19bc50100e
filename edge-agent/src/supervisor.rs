//! Keeps supervised processes running: starts them, adopts them again after the agent itself died, restarts them.
//!
//! One thread waits in `poll` on the processes' pidfds. A workload has a process group of its own and outlives the agent, whether that
//! crashes or stops (unless its settings say that it ends with the agent); the next agent knows it by process id and start time.
//! Never decides whether a restart is due: that is a rule's or a person's wish, judged by the core.
//!
//! Invariant: of each workload at most one process runs that this agent or a former one has started.
//! Read next: `supervisor/keeper.rs` (the thread), `supervisor/record.rs` (what is remembered), `actuators/restart.rs` (who asks).

mod keeper;
mod record;

use std::fs;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use edge_agent_core::{Input, ProbeResult};
use tokio::sync::mpsc;
use wire::{DecisionId, DeviceId};

use crate::actuators::throttle::Shares;
use crate::sensors::process::WatchList;
use crate::watch::Watch;
use keeper::Keeper;

/// Orders that may wait: one for each workload is already more than the core gives.
const WAITING: usize = 64;
/// Whoever asks for a restart waits for the grace and for a new process.
const PATIENCE: Duration = Duration::from_secs(15);

/// One supervised process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadSettings {
    /// `workload:NAME`.
    pub device: DeviceId,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Added to the agent's environment.
    pub env: Vec<(String, String)>,
    /// It ends when the agent stops in an orderly way.
    pub stop_with_agent: bool,
}

/// Where the process ids before and after a restart go.
type Restarted = SyncSender<Result<(Option<u32>, u32), String>>;

enum Order {
    Restart {
        name: String,
        decision: DecisionId,
        answer: Restarted,
    },
    Probe {
        name: String,
        decision: DecisionId,
        answer: SyncSender<ProbeResult>,
    },
    Stop,
}

/// Gives orders to the supervisor's thread.
#[derive(Clone)]
pub struct Orders {
    orders: SyncSender<Order>,
    wake: Arc<UnixStream>,
}

/// The supervisor's thread.
pub struct Supervisor {
    orders: Orders,
    thread: JoinHandle<()>,
}

impl Supervisor {
    /// Adopts or starts every workload, and lists them. `folder` holds records and logs.
    pub fn start(
        folder: &Path,
        workloads: Vec<WorkloadSettings>,
        (shares, watched): (Arc<Shares>, WatchList),
        inputs: mpsc::Sender<Input>,
        watch: &Watch,
    ) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let (orders, waiting) = sync_channel(WAITING);
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let mut keeper = Keeper::new(folder, workloads, shares, watched, inputs);
        let thread = watch.thread("supervisor", move || keeper.work(&waiting, &woken))?;
        Ok(Self {
            orders: Orders {
                orders,
                wake: Arc::new(wake),
            },
            thread,
        })
    }

    /// For the actuators.
    pub fn orders(&self) -> Orders {
        self.orders.clone()
    }

    /// Ends the thread, and those workloads that end with the agent. Blocks for the grace at most.
    pub fn stop(self) {
        self.orders.give(Order::Stop);
        let _ = self.thread.join();
    }
}

impl Orders {
    /// Restarts a workload: returns the process ids before and after. Blocks for the grace at most, so not for the turn loop.
    pub fn restart(&self, name: &str, decision: &DecisionId) -> Result<(Option<u32>, u32), String> {
        let (answer, answered) = sync_channel(1);
        let order = Order::Restart {
            name: name.to_owned(),
            decision: decision.clone(),
            answer,
        };
        self.give(order);
        answered
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| Err("the supervisor did not answer in time".to_owned()))
    }

    /// Whether a restart was carried out for this decision.
    pub fn probe(&self, name: &str, decision: &DecisionId) -> ProbeResult {
        let (answer, answered) = sync_channel(1);
        self.give(Order::Probe {
            name: name.to_owned(),
            decision: decision.clone(),
            answer,
        });
        answered
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| ProbeResult::Unknown {
                reason: "the supervisor did not answer in time".to_owned(),
            })
    }

    fn give(&self, order: Order) {
        // A full channel means that the thread is stuck: whoever asked sees it by the missing answer.
        if self.orders.try_send(order).is_ok() {
            let _ = (&*self.wake).write(&[1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::{AgentId, Epoch, Seq};

    use super::record::Record;
    use super::*;

    fn decision(seq: u64) -> DecisionId {
        DecisionId {
            agent: AgentId::new("a").expect("valid"),
            epoch: Epoch(1),
            seq: Seq(seq),
        }
    }

    fn start(folder: &Path, script: &str, stop_with_agent: bool) -> (Supervisor, mpsc::Receiver<Input>) {
        let (sender, inputs) = mpsc::channel(64);
        let workload = WorkloadSettings {
            device: DeviceId::workload("w").expect("valid"),
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            env: Vec::new(),
            stop_with_agent,
        };
        let list = (Arc::new(Shares::none()), WatchList::default());
        let supervisor = Supervisor::start(folder, vec![workload], list, sender, &Watch::new().0).expect("a thread");
        (supervisor, inputs)
    }

    fn next(inputs: &mut mpsc::Receiver<Input>) -> (Option<u32>, String) {
        match inputs.blocking_recv() {
            Some(Input::Workload { pid, detail, .. }) => (pid, detail),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_workload_outlives_the_agent_and_is_adopted_by_the_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, mut inputs) = start(folder.path(), "exec sleep 100", false);
        let (pid, detail) = next(&mut inputs);
        assert_eq!(detail, "for the first time");
        first.stop();
        let (second, mut inputs) = start(folder.path(), "exec sleep 100", true);
        let (adopted, detail) = next(&mut inputs);
        assert_eq!(adopted, pid);
        assert!(detail.contains("taken over"), "{detail}");
        second.stop();
        assert_eq!(
            record::start_ticks(pid.expect("it ran")),
            None,
            "it ended with the second"
        );
    }

    #[test]
    fn a_restart_ends_the_whole_group_and_is_known_afterwards() {
        let folder = tempfile::tempdir().expect("a folder");
        let (supervisor, mut inputs) = start(folder.path(), "sleep 101 & wait", true);
        let before = next(&mut inputs).0;
        let orders = supervisor.orders();
        assert!(matches!(orders.probe("w", &decision(7)), ProbeResult::NotDone { .. }));
        let (found, after) = orders.restart("w", &decision(7)).expect("restarted");
        assert_eq!(found, before);
        assert_ne!(Some(after), before);
        let done = ProbeResult::Done {
            value: Some(i64::from(after)),
        };
        assert_eq!(orders.probe("w", &decision(7)), done);
        assert!(matches!(orders.probe("w", &decision(8)), ProbeResult::NotDone { .. }));
        assert_eq!(next(&mut inputs).0, None);
        assert_eq!(next(&mut inputs), (Some(after), "by a restart".to_owned()));
        assert!(
            orders
                .restart("x", &decision(9))
                .expect_err("unknown")
                .contains("no workload")
        );
        assert_eq!(Record::read(folder.path(), "w").restarts, 1);
        supervisor.stop();
    }

    #[test]
    fn a_restart_that_a_crash_interrupted_is_carried_on_and_counts_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, mut inputs) = start(folder.path(), "exec sleep 100", false);
        let before = next(&mut inputs).0.expect("it runs");
        first.stop();
        // As written before the signal that was never sent.
        let mut record = Record::read(folder.path(), "w");
        record.restarting = Some(decision(3));
        record.write(folder.path(), "w").expect("written");
        let (second, mut inputs) = start(folder.path(), "exec sleep 100", true);
        assert!(matches!(
            second.orders().probe("w", &decision(3)),
            ProbeResult::Done { .. }
        ));
        assert_eq!(next(&mut inputs).0, Some(before));
        assert_eq!(next(&mut inputs).0, None);
        let (after, detail) = next(&mut inputs);
        assert!(after.is_some_and(|after| after != before), "{detail}");
        assert_eq!(Record::read(folder.path(), "w").restarts, 1);
        second.stop();
    }

    #[test]
    fn a_process_that_ends_is_started_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (supervisor, mut inputs) = start(folder.path(), "exit 3", true);
        assert!(next(&mut inputs).0.is_some());
        let (pid, detail) = next(&mut inputs);
        assert_eq!(pid, None);
        assert!(detail.contains('3'), "{detail}");
        assert!(next(&mut inputs).0.is_some());
        supervisor.stop();
    }
}
