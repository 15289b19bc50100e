//! When to stop: the first signal asks, the second does not wait.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How often the demo was asked to stop.
#[derive(Debug, Default)]
pub struct Stop {
    asked: Mutex<u32>,
    changed: Condvar,
}

impl Stop {
    /// Counts Ctrl-C, `SIGTERM` and a closed terminal from now on, in a thread that lives as long as the program.
    pub fn on_signals() -> io::Result<Arc<Self>> {
        let stop = Arc::new(Self::default());
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let counted = Arc::clone(&stop);
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for _signal in signals.forever() {
                counted.ask();
            }
        })?;
        Ok(stop)
    }

    /// Asks once.
    pub fn ask(&self) {
        *self.lock() += 1;
        self.changed.notify_all();
    }

    /// Whether to stop.
    pub fn wanted(&self) -> bool {
        *self.lock() > 0
    }

    /// Whether to stop without waiting for anybody.
    pub fn hurry(&self) -> bool {
        *self.lock() > 1
    }

    /// Waits until it is asked to stop.
    pub fn wait(&self) {
        let mut asked = self.lock();
        while *asked == 0 {
            asked = self.changed.wait(asked).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for this long at most; true as soon as it is asked to stop.
    pub fn within(&self, span: Duration) -> bool {
        let deadline = Instant::now() + span;
        let mut asked = self.lock();
        while *asked == 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            asked = self
                .changed
                .wait_timeout(asked, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    /// Looks again and again until there is something. Fails after `patience`, with what was seen last, and when it is asked to stop.
    pub fn until<T>(&self, patience: Duration, mut look: impl FnMut() -> Result<T, String>) -> Result<T, String> {
        let deadline = Instant::now() + patience;
        loop {
            let seen = match look() {
                Ok(found) => return Ok(found),
                Err(seen) => seen,
            };
            if Instant::now() >= deadline {
                return Err(format!("not within {} s: {seen}", patience.as_secs()));
            }
            // A tenth of a second: finer than people see, coarse enough to leave the cores to the nodes.
            if self.within(Duration::from_millis(100)) {
                return Err("stopped".to_owned());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, u32> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_ends_with_the_thing_the_time_or_the_person() {
        let stop = Stop::default();
        let mut looks = 0;
        let found = stop.until(Duration::from_secs(60), || {
            looks += 1;
            if looks == 2 { Ok(7) } else { Err("nothing".to_owned()) }
        });
        assert_eq!(found, Ok(7));
        let late = stop.until(Duration::ZERO, || Err::<(), _>("5 of 6".to_owned()));
        assert_eq!(late, Err("not within 0 s: 5 of 6".to_owned()));
        stop.ask();
        let stopped = stop.until(Duration::from_secs(60), || Err::<(), _>(String::new()));
        assert_eq!(stopped, Err("stopped".to_owned()));
        assert!(stop.wanted() && !stop.hurry());
        stop.ask();
        assert!(stop.hurry());
    }
}
