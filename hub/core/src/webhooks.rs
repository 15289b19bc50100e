//! Outgoing webhooks: who is sent which events, how far each is, and what becomes of a delivery that fails.
//!
//! Decides when a delivery is tried again and when it is given up; who signs and sends is the shell's affair. The shell reports what
//! became of deliveries together with how far it has read, and both are stored in one change: nothing is skipped, and after a crash at
//! most the last deliveries are made again under the same ids.
//!
//! Invariants: a subscription has at most [`MOST_PENDING`] deliveries that wait for another try, and takes no more events while it has;
//! a delivery ends delivered or as a dead letter, which stays until it is sent again or [`MOST_DEAD`] newer ones came.
//!
//! Read next: `webhooks/record.rs` (the documents), `hub/src/deliveries.rs` (who sends).

mod record;
#[cfg(test)]
mod tests;

use wire::change::{Caller, ChangeRecord};
use wire::time::Wall;

pub use record::{Attempted, Delivery, DeliveryLog, Place, Webhook};

use crate::cx::Cx;
use crate::documents::{Document, Documents, Unreadable};
use crate::effect::{Answer, Change, Effect};
use crate::hub::recover;
use crate::input::Recovered;

/// Deliveries of one subscription that may wait for another try.
pub const MOST_PENDING: usize = 64;
/// Dead letters of one subscription that are kept.
pub const MOST_DEAD: usize = 64;
/// Deliveries that came through and are still listed.
pub const MOST_RECENT: usize = 64;
/// Pauses before the second try and each later one, in seconds. Source: Standard Webhooks 1.0, recommended schedule.
const PAUSES_S: [i64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// What somebody wants of outgoing webhooks.
#[derive(Debug, Clone)]
pub enum WebhookRequest {
    /// Send events there from now on.
    Add(Webhook),
    /// Send it nothing any more.
    Remove {
        /// Its name.
        name: String,
    },
    /// Sign with another secret from now on.
    Rotate {
        /// Its name.
        name: String,
    },
    /// Send dead letters again: one, or all of a subscription.
    Resend {
        /// The subscription's name.
        name: String,
        /// Id of the event; all dead letters if there is none.
        event: Option<String>,
    },
    /// The shell has tried deliveries, and has read so far.
    Report {
        /// Id of the subscription.
        id: String,
        /// How far the order of arrival was read for it; `None` leaves what there is.
        reached: Option<Place>,
        /// What became of deliveries.
        attempts: Vec<Attempted>,
    },
}

/// Every subscription.
#[derive(Debug, Default)]
pub struct Webhooks {
    hooks: Documents<Webhook>,
    logs: Documents<DeliveryLog>,
}

impl Webhooks {
    pub(crate) fn recovered(recovered: &mut Recovered) -> Result<Self, Unreadable> {
        Ok(Self {
            hooks: recover::<Webhook, _>(recovered, Documents::recovered)?,
            logs: recover::<DeliveryLog, _>(recovered, Documents::recovered)?,
        })
    }

    /// Every stored subscription with how it stands.
    pub fn all(&self) -> impl Iterator<Item = (&Webhook, &DeliveryLog)> {
        let log = |hook: &Webhook| self.logs.stored(&hook.id);
        self.hooks
            .iter_stored()
            .filter_map(move |hook| Some((hook, log(hook)?)))
    }

    /// A stored subscription by name.
    pub fn named(&self, name: &str) -> Option<(&Webhook, &DeliveryLog)> {
        let id = self.hooks.holder(&record::name_key(name))?;
        Some((self.hooks.stored(id)?, self.logs.stored(id)?))
    }

    pub(crate) fn settle(&mut self, kind: &str, id: &str, revision: u64, is_stored: bool) {
        match kind {
            Webhook::KIND => self.hooks.settle(id, revision, is_stored),
            _ => self.logs.settle(id, revision, is_stored),
        }
    }

    /// Carries a request out, or says why not.
    pub(crate) fn handle(&mut self, request: u64, caller: Caller, what: WebhookRequest, cx: &mut Cx<'_>) {
        match self.carried_out(caller, what, cx) {
            Ok(answer) => cx.reply_when_stored(request, answer),
            Err(reason) => cx.reply(request, Answer::Rejected { reason }),
        }
    }

    fn carried_out(&mut self, caller: Caller, what: WebhookRequest, cx: &mut Cx<'_>) -> Result<Answer, String> {
        match what {
            WebhookRequest::Add(hook) => self.add(caller, hook, cx),
            WebhookRequest::Remove { name } => self.remove(caller, &name, cx),
            WebhookRequest::Rotate { name } => self.rotate(caller, &name, cx),
            WebhookRequest::Resend { name, event } => self.resend(caller, &name, event.as_deref(), cx),
            WebhookRequest::Report { id, reached, attempts } => self.report(&id, reached, attempts, cx),
        }
    }

    fn add(&mut self, caller: Caller, hook: Webhook, cx: &mut Cx<'_>) -> Result<Answer, String> {
        hook.check()?;
        if self.hooks.holder(&record::name_key(&hook.name)).is_some() {
            return Err(format!(
                "there is a webhook `{}` already: remove it first, or take another name",
                hook.name
            ));
        }
        let change = ChangeRecord::new(caller, "webhook.add", target(&hook.name)).with("url", &hook.url);
        let log = DeliveryLog::new(&hook);
        self.put_hook(hook.clone(), change, cx)?;
        self.put_log(log, cx)?;
        Ok(Answer::Webhook(Box::new(hook)))
    }

    fn remove(&mut self, caller: Caller, name: &str, cx: &mut Cx<'_>) -> Result<Answer, String> {
        let hook = self.newest(name)?.clone();
        cx.record(ChangeRecord::new(caller, "webhook.remove", target(name)));
        for put in [self.hooks.remove(&hook.id), self.logs.remove(&hook.id)]
            .into_iter()
            .flatten()
        {
            cx.put(put);
        }
        Ok(Answer::Webhook(Box::new(hook)))
    }

    fn rotate(&mut self, caller: Caller, name: &str, cx: &mut Cx<'_>) -> Result<Answer, String> {
        let mut hook = self.newest(name)?.clone();
        hook.secret_version += 1;
        let change = ChangeRecord::new(caller, "webhook.rotate", target(name));
        self.put_hook(hook.clone(), change, cx)?;
        Ok(Answer::Webhook(Box::new(hook)))
    }

    fn resend(&mut self, caller: Caller, name: &str, event: Option<&str>, cx: &mut Cx<'_>) -> Result<Answer, String> {
        let hook = self.newest(name)?.clone();
        let mut log = self.log(&hook.id)?;
        let count = log.resend(event, cx.now.wall)?;
        let change = ChangeRecord::new(caller, "webhook.resend", target(name)).with("deliveries", count);
        cx.record(change);
        self.put_log(log, cx)?;
        Ok(Answer::Webhook(Box::new(hook)))
    }

    /// Kept, not recorded: a delivery is no change of anything but itself.
    fn report(
        &mut self,
        id: &str,
        reached: Option<Place>,
        attempts: Vec<Attempted>,
        cx: &mut Cx<'_>,
    ) -> Result<Answer, String> {
        let mut log = self.log(id)?;
        if let Some(reached) = reached {
            log.reached = log.reached.max(Some(reached));
        }
        for attempt in attempts {
            log.attempted(attempt, cx.now.wall);
        }
        self.put_log(log, cx)?;
        Ok(Answer::Noted)
    }

    fn put_hook(&mut self, hook: Webhook, change: ChangeRecord, cx: &mut Cx<'_>) -> Result<(), String> {
        let put = self.hooks.put(hook, 0).map_err(|error| error.to_string())?;
        cx.record(change);
        cx.put(put);
        Ok(())
    }

    fn put_log(&mut self, log: DeliveryLog, cx: &mut Cx<'_>) -> Result<(), String> {
        let put = self.logs.put(log, 0).map_err(|error| error.to_string())?;
        cx.put(put);
        Ok(())
    }

    fn newest(&self, name: &str) -> Result<&Webhook, String> {
        let id = self.hooks.holder(&record::name_key(name));
        id.and_then(|id| self.hooks.get(id))
            .ok_or_else(|| format!("there is no webhook `{name}`: `sentinel webhook list` shows all"))
    }

    fn log(&self, id: &str) -> Result<DeliveryLog, String> {
        let log = self.logs.get(id).cloned();
        log.ok_or_else(|| "this webhook was removed".to_owned())
    }

    /// What the shell is told when a subscription or its deliveries have changed.
    pub(crate) fn changed(id: &str) -> Effect {
        Effect::Changed(Change::Webhook { id: id.to_owned() })
    }
}

fn target(name: &str) -> String {
    format!("{}/{name}", Webhook::KIND)
}

/// When a delivery that has failed so often is tried again; `None`: it is given up.
pub fn next_try(attempts: u32, now: Wall) -> Option<Wall> {
    let place = usize::try_from(attempts).ok()?.checked_sub(1)?;
    let pause_s = PAUSES_S.get(place)?;
    Some(Wall(now.0.saturating_add(pause_s * 1_000)))
}
