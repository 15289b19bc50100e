//! Measures on a thread of its own what may block: drivers and file systems that hang never hold a round up.
//!
//! Decides when an answer is too late; never what a value means. A hung call keeps its thread until it returns, and is asked nothing
//! more; what else is to be measured goes on with a new thread.
//!
//! Invariants: [`Background::look`] never waits; of one thing at most one call is under way; at most [`MOST_STUCK`] calls hang.
//! Read next: `filesystem.rs` and `temperature.rs` (who measures so).

use std::collections::BTreeMap;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A call that takes longer is not waited for: a local file system and a sensor answer in milliseconds.
const DEADLINE: Duration = Duration::from_secs(5);
/// Calls that may hang at once; each keeps a thread.
const MOST_STUCK: usize = 32;

/// Asks for one thing. Blocks for as long as it likes.
pub type Ask<K, V> = Arc<dyn Fn(&K) -> V + Send + Sync>;

/// Things that are measured by one thread, as long as none of them hangs.
pub struct Background<K, V> {
    name: &'static str,
    ask: Ask<K, V>,
    worker: Option<Worker<K>>,
    answers: Arc<Mutex<BTreeMap<K, V>>>,
    /// What hangs, since when.
    stuck: Vec<Stuck<K>>,
}

/// What hangs, since when, and where its worker says how far it is.
type Stuck<K> = (K, Instant, Arc<Mutex<Progress<K>>>);

struct Worker<K> {
    jobs: SyncSender<Vec<K>>,
    progress: Arc<Mutex<Progress<K>>>,
}

struct Progress<K> {
    /// What is being asked, since when.
    at: Option<(K, Instant)>,
    /// Nobody waits for it any more: it ends when its call returns.
    is_given_up: bool,
}

impl<K, V> Background<K, V>
where
    K: Ord + Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Measures by `ask`; the first thread starts with the first round.
    pub fn new(name: &'static str, ask: Ask<K, V>) -> Self {
        Self {
            name,
            ask,
            worker: None,
            answers: Arc::default(),
            stuck: Vec::new(),
        }
    }

    /// Has these measured, those that hang left out. Does nothing while the round before is still under way.
    pub fn begin(&mut self, keys: impl IntoIterator<Item = K>) {
        let keys: Vec<K> = keys.into_iter().filter(|key| self.stuck_for(key).is_none()).collect();
        lock(&self.answers).retain(|known, _| keys.contains(known));
        if keys.is_empty() || self.stuck.len() >= MOST_STUCK {
            return;
        }
        let Some(worker) = self
            .worker
            .get_or_insert_with_some(|| Worker::start(self.name, &self.ask, &self.answers))
        else {
            return;
        };
        if let Err(TrySendError::Disconnected(_)) = worker.jobs.try_send(keys) {
            self.worker = None;
        }
    }

    /// Looks whether a call is too late, or one that was has returned. Call it each round.
    pub fn look(&mut self, now: Instant) {
        self.stuck.retain(|(_, _, progress)| lock(progress).at.is_some());
        let Some(worker) = &self.worker else { return };
        let late = {
            let mut progress = lock(&worker.progress);
            let late = progress
                .at
                .clone()
                .filter(|(_, since)| now.saturating_duration_since(*since) >= DEADLINE);
            progress.is_given_up |= late.is_some();
            late
        };
        if let Some((key, since)) = late {
            lock(&self.answers).remove(&key);
            self.stuck.push((key, since, worker.progress.clone()));
            self.worker = None;
        }
    }

    /// The last answer; `None` while it hangs, or before the first.
    pub fn value(&self, key: &K) -> Option<V> {
        lock(&self.answers).get(key).cloned()
    }

    /// Since when it hangs.
    pub fn stuck_for(&self, key: &K) -> Option<Instant> {
        self.stuck
            .iter()
            .find(|(known, ..)| known == key)
            .map(|(_, since, _)| *since)
    }
}

impl<K: Ord + Clone + Send + 'static> Worker<K> {
    /// `None`: this process can start no thread now; the next round tries again.
    fn start<V: Send + 'static>(
        name: &'static str,
        ask: &Ask<K, V>,
        answers: &Arc<Mutex<BTreeMap<K, V>>>,
    ) -> Option<Self> {
        // One list at a time: a round that is not done is not asked for twice.
        let (jobs, waiting) = sync_channel::<Vec<K>>(1);
        let progress = Arc::new(Mutex::new(Progress {
            at: None,
            is_given_up: false,
        }));
        let (ask, answers, seen) = (ask.clone(), answers.clone(), progress.clone());
        let work = move || {
            for key in waiting.into_iter().flatten() {
                lock(&seen).at = Some((key.clone(), Instant::now()));
                let value = ask(&key);
                let mut progress = lock(&seen);
                progress.at = None;
                if progress.is_given_up {
                    return;
                }
                lock(&answers).insert(key, value);
            }
        };
        // A panic inside is the end of this thread only: what it measured is missing, and the next round starts another.
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(128 * 1024)
            .spawn(work);
        thread.ok().map(|_| Self { jobs, progress })
    }
}

/// `get_or_insert_with` for what may not come.
trait OrSome<T> {
    fn get_or_insert_with_some(&mut self, make: impl FnOnce() -> Option<T>) -> Option<&mut T>;
}

impl<T> OrSome<T> for Option<T> {
    fn get_or_insert_with_some(&mut self, make: impl FnOnce() -> Option<T>) -> Option<&mut T> {
        if self.is_none() {
            *self = make();
        }
        self.as_mut()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits for a condition, with a deadline.
    fn until(mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < end, "it did not come about");
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_hangs_is_missing_and_holds_nothing_up_until_it_answers_again() {
        let (free, hung) = sync_channel::<()>(0);
        let hung = Mutex::new(hung);
        let ask: Ask<u8, u8> = Arc::new(move |key| {
            if *key == 1 {
                let _ = lock(&hung).recv();
            }
            *key
        });
        let mut background = Background::new("test", ask);
        background.begin([0, 1, 2]);
        until(|| background.value(&0) == Some(0));
        until(|| {
            lock(&background.worker.as_ref().expect("it works").progress)
                .at
                .is_some()
        });
        let late = Instant::now() + DEADLINE;
        background.look(late);
        assert!(background.stuck_for(&1).is_some());
        background.begin([0, 1, 2]);
        until(|| background.value(&2) == Some(2));
        assert_eq!(background.value(&1), None, "it is missing, and nothing waited for it");
        free.send(()).expect("it waits");
        until(|| {
            background.look(Instant::now());
            background.stuck_for(&1).is_none()
        });
        drop(free);
        background.begin([1]);
        until(|| background.value(&1) == Some(1));
    }
}
