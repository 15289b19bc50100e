//! Outgoing webhooks as they are stored, for those who send to them: brought up to date after each stored change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hub_core::webhooks::{DeliveryLog, Webhook, Webhooks};
use tokio::sync::watch;

/// A webhook with its deliveries.
pub type State = (Webhook, DeliveryLog);

/// Every webhook.
#[derive(Debug)]
pub struct Hooks {
    all: Mutex<BTreeMap<String, Arc<State>>>,
    changes: watch::Sender<u64>,
}

impl Hooks {
    /// All that the core holds.
    pub fn of(webhooks: &Webhooks) -> Self {
        let state = |(hook, log): (&Webhook, &DeliveryLog)| (hook.id.clone(), Arc::new((hook.clone(), log.clone())));
        Self {
            all: Mutex::new(webhooks.all().map(state).collect()),
            changes: watch::Sender::new(0),
        }
    }

    /// One is stored, or gone.
    pub fn changed(&self, webhooks: &Webhooks, id: &str) {
        let stored = webhooks.all().find(|(hook, _)| hook.id == id);
        let stored = stored.map(|(hook, log)| Arc::new((hook.clone(), log.clone())));
        match stored {
            Some(state) => drop(self.lock().insert(id.to_owned(), state)),
            None => drop(self.lock().remove(id)),
        }
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    /// Changes whenever one has changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Their ids.
    pub fn ids(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// One by id.
    pub fn get(&self, id: &str) -> Option<Arc<State>> {
        self.lock().get(id).cloned()
    }

    /// The first place in the order of arrival that one of them may still need; `None` where there is none.
    pub fn unread(&self) -> Option<u64> {
        let all = self.lock();
        let logs = all.values().map(|state| &state.1);
        logs.map(|log| {
            let reached = log.reached.map_or(0, |place| place.arrival);
            let pending = log.pending.iter().map(|delivery| delivery.place.arrival);
            pending.fold(reached, u64::min)
        })
        .min()
    }

    /// One by name.
    pub fn named(&self, name: &str) -> Option<Arc<State>> {
        self.lock().values().find(|state| state.0.name == name).cloned()
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> Vec<Arc<State>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<State>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
