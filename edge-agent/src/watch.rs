//! Watches the agent's own threads and tasks: one that panics ends the process, with the reason, so that whoever started it starts it again.
//!
//! Never restarts anything by itself: a shell does not go on without its sampler, its journal or its link (a single sensor that panics is
//! the sampler's to handle). Invariant: a panic of a watched thread reaches the turn loop.
//!
//! Read next: `agent.rs` (who listens), `sampler.rs` (lateness, and sensors that fail).

use std::future::Future;
use std::io;

use tokio::sync::mpsc;

/// Deaths that may wait: the first one ends the process.
const WAITING: usize = 4;

/// Starts threads and tasks, and tells when one of them panics.
#[derive(Debug, Clone)]
pub struct Watch {
    deaths: mpsc::Sender<&'static str>,
}

impl Watch {
    /// A watch, and where the names of what has died come.
    pub fn new() -> (Self, mpsc::Receiver<&'static str>) {
        let (deaths, died) = mpsc::channel(WAITING);
        (Self { deaths }, died)
    }

    /// Starts a thread of this name.
    pub fn thread(
        &self,
        name: &'static str,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<std::thread::JoinHandle<()>> {
        let alarm = self.alarm(name);
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _alarm = alarm;
            work();
        })
    }

    /// Watches a future: to be spawned.
    pub fn task<T, F: Future<Output = T>>(&self, name: &'static str, work: F) -> impl Future<Output = T> + use<T, F> {
        let alarm = self.alarm(name);
        async move {
            let _alarm = alarm;
            work.await
        }
    }

    fn alarm(&self, name: &'static str) -> Alarm {
        Alarm {
            name,
            deaths: self.deaths.clone(),
        }
    }
}

/// Dropped while its thread or task panics, it tells so.
struct Alarm {
    name: &'static str,
    deaths: mpsc::Sender<&'static str>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Full: others have told already, and the process ends.
            let _ = self.deaths.try_send(self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panics_is_told_and_one_that_ends_is_not() {
        let (watch, mut died) = Watch::new();
        watch.thread("good", || {}).expect("a thread").join().expect("it ends");
        let bad = watch.thread("bad", || panic!("on purpose")).expect("a thread");
        assert!(bad.join().is_err());
        assert_eq!(died.try_recv(), Ok("bad"));
        assert!(died.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_task_that_panics_is_told_and_one_that_is_aborted_is_not() {
        let (watch, mut died) = Watch::new();
        let waits = tokio::spawn(watch.task("waits", std::future::pending::<()>()));
        waits.abort();
        assert!(waits.await.is_err());
        let bad = tokio::spawn(watch.task("bad", async { panic!("on purpose") }));
        let ended: Result<(), _> = bad.await;
        assert!(ended.is_err());
        assert_eq!(died.try_recv(), Ok("bad"));
        assert!(died.try_recv().is_err());
    }
}
