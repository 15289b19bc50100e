//! Takes one round of all readings each period, on a thread of its own, and gives it to the core as one input.
//!
//! The period is kept by the monotonic clock: a late round does not move the later ones, missed ones are skipped. Never judges.
//!
//! Invariant: one `Input::Readings` for each period at most; a GPU probe that is slow delays a round by [`GPU_PATIENCE`] at most.
//! Read next: `sensors.rs` (the list).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use edge_agent_core::Input;
use tokio::sync::mpsc;

use crate::probe::Probe;
use crate::sensors::process::{Own, WatchList, Workloads};
use crate::sensors::{self, Round, Sensor};

/// A quarter of the usual period: a healthy driver answers in a few milliseconds.
const GPU_PATIENCE: Duration = Duration::from_millis(250);

/// The thread, until it is dropped.
pub struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Sampler {
    /// Starts sampling.
    pub fn start(
        every: Duration,
        probe: Option<Probe>,
        watched: WatchList,
        inputs: mpsc::Sender<Input>,
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("sampler".to_owned()).spawn(move || {
            let mut sensors = sensors::host();
            sensors.extend(Own::open().map(|own| Box::new(own) as Box<dyn Sensor>));
            sensors.push(Box::new(Workloads::new(watched)));
            work(every, sensors, probe.as_ref(), &inputs, &stopped);
        })?;
        Ok(Self { stop, thread })
    }

    /// Asks the thread to end; it does so at its next round.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
    }
}

fn work(
    every: Duration,
    mut sensors: Vec<Box<dyn Sensor>>,
    probe: Option<&Probe>,
    inputs: &mpsc::Sender<Input>,
    stop: &AtomicBool,
) {
    let mut round = Round::default();
    let mut last: Option<Instant> = None;
    let mut next = Instant::now();
    let mut expected = 0;
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        if now < next {
            std::thread::park_timeout(next - now);
            continue;
        }
        round.elapsed_ms = last.map(|last| (now - last).as_millis() as u64);
        last = Some(now);
        round.readings = Vec::with_capacity(expected);
        for sensor in &mut sensors {
            sensor.sample(&mut round);
        }
        if let Some(probe) = probe {
            probe.sample(&mut round, GPU_PATIENCE.min(every));
        }
        round.number += 1;
        expected = round.readings.len();
        if inputs
            .blocking_send(Input::Readings(std::mem::take(&mut round.readings)))
            .is_err()
        {
            return;
        }
        next += every;
        if next < Instant::now() {
            next = Instant::now() + every;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_come_one_by_one_with_hundreds_of_series() {
        let (sender, mut inputs) = mpsc::channel(4);
        let every = Duration::from_millis(20);
        let sampler = Sampler::start(every, None, WatchList::default(), sender).expect("a thread");
        for _ in 0..3 {
            match inputs.blocking_recv() {
                Some(Input::Readings(readings)) => {
                    assert!(readings.len() > 100, "{}", readings.len())
                }
                other => panic!("{other:?}"),
            }
        }
        sampler.stop();
        while inputs.blocking_recv().is_some() {}
    }
}
