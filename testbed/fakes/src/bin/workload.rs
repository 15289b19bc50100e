//! `sentinel-fake-workload [--control SOCKET] [--bound-mib N]`: a real process that burns a little CPU and, when told, really leaks memory.
//!
//! Orders: `leak` (about 60 MiB a second of touched pages, up to the bound), `stop` (keeps what it holds), `free`, `burn`, `calm`,
//! `crash`, `status`. A new process starts well: nothing of a fault outlives it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use testbed_fakes::control;

/// One step of a leak: 12 MiB, five times a second.
const STEP_BYTES: usize = 12 << 20;
const PAGE_BYTES: usize = 4096;

#[derive(Default)]
struct Workload {
    leaking: AtomicBool,
    burning: AtomicBool,
    rounds: AtomicU64,
    held: Mutex<Vec<Vec<u8>>>,
}

fn main() {
    let (socket, bound_mib) = match arguments() {
        Ok(arguments) => arguments,
        Err(reason) => {
            eprintln!("{reason}; usage: sentinel-fake-workload [--control SOCKET] [--bound-mib N]");
            std::process::exit(2);
        }
    };
    let workload = Arc::new(Workload::default());
    if let Some(socket) = socket {
        let obeyed = workload.clone();
        std::thread::spawn(move || {
            if let Err(error) = control::serve(&socket, |order| obeyed.obey(&order.verb)) {
                eprintln!("no control socket at {}: {error}", socket.display());
            }
        });
    }
    println!("working as process {}", std::process::id());
    loop {
        workload.round(bound_mib << 20);
    }
}

fn arguments() -> Result<(Option<PathBuf>, usize), String> {
    let (mut socket, mut bound_mib) = (None, 480);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--control" => socket = Some(PathBuf::from(value)),
            "--bound-mib" => {
                bound_mib = value
                    .parse()
                    .ok()
                    .filter(|bound| *bound <= 16_384)
                    .ok_or_else(|| format!("--bound-mib {value} is not a number up to 16384"))?;
            }
            _ => return Err(format!("{word} is unknown")),
        }
    }
    Ok((socket, bound_mib))
}

impl Workload {
    /// A fifth of a second: some work, a step of the leak, rest.
    fn round(&self, bound: usize) {
        let start = Instant::now();
        let work = if self.burning.load(Ordering::Relaxed) { 200 } else { 2 };
        let mut sum = 0u64;
        while start.elapsed() < Duration::from_millis(work) {
            sum = (0..4_096u64).fold(sum, |sum, n| sum.rotate_left(5) ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
        std::hint::black_box(sum);
        self.rounds.fetch_add(1, Ordering::Relaxed);
        if self.leaking.load(Ordering::Relaxed) {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            if (held.len() + 1) * STEP_BYTES <= bound {
                let mut step = vec![0u8; STEP_BYTES];
                // A page costs memory only once it is written to.
                step.iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = 1);
                held.push(step);
            }
        }
        std::thread::sleep(Duration::from_millis(200).saturating_sub(start.elapsed()));
    }

    fn obey(&self, verb: &str) -> Result<String, String> {
        match verb {
            "leak" => self.leaking.store(true, Ordering::Relaxed),
            "stop" => self.leaking.store(false, Ordering::Relaxed),
            "free" => {
                self.leaking.store(false, Ordering::Relaxed);
                self.held.lock().unwrap_or_else(PoisonError::into_inner).clear();
            }
            "burn" => self.burning.store(true, Ordering::Relaxed),
            "calm" => self.burning.store(false, Ordering::Relaxed),
            "crash" => std::process::abort(),
            "status" => {}
            other => {
                return Err(format!(
                    "`{other}` is unknown: leak, stop, free, burn, calm, crash or status"
                ));
            }
        }
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner).len() * STEP_BYTES;
        Ok(format!(
            "{verb} done; process {} holds {} MiB after {} rounds",
            std::process::id(),
            held >> 20,
            self.rounds.load(Ordering::Relaxed)
        ))
    }
}
