//! Subscriptions and their deliveries as documents: codec version 1.

use serde::{Deserialize, Serialize};
use wire::time::Wall;

use super::{MOST_DEAD, MOST_PENDING, MOST_RECENT, next_try};
use crate::documents::Document;

/// Longest text of an error that is kept, in bytes.
const ERROR_BYTES: usize = 120;
/// Most patterns of one subscription.
const MOST_TYPES: usize = 32;

/// Who is sent events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Id, a UUIDv7.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Where events go.
    pub url: String,
    /// Which types of events: `dev.sentinel.hub.*` for all that begin so; empty for every one.
    pub types: Vec<String>,
    /// Which secret signs: the shell derives it, so that none is stored.
    pub secret_version: u32,
    /// When it was made; events from then on are sent.
    pub created_at: Wall,
    /// Where the order of arrival stood then.
    pub from: Option<Place>,
}

/// A place in the order of arrival, and its number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Number of the segment.
    pub arrival: u64,
    /// Which entry of it.
    pub index: u32,
    /// Number of the entry among all.
    pub number: u64,
}

/// How the deliveries of one subscription stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryLog {
    /// Id of the subscription.
    pub id: String,
    /// Everything up to here was delivered or is listed here.
    pub reached: Option<Place>,
    /// Deliveries that wait for another try, oldest first.
    pub pending: Vec<Delivery>,
    /// Deliveries that were given up, oldest first.
    pub dead: Vec<Delivery>,
    /// Deliveries that came through, oldest first.
    pub recent: Vec<Delivery>,
    /// Deliveries that came through, ever.
    pub delivered: u64,
    /// Dead letters that had to give way to newer ones, ever.
    pub dropped: u64,
}

/// One event on its way to one subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Id of the event.
    pub event: String,
    /// The place of its entry.
    pub place: Place,
    /// Its type.
    pub kind: String,
    /// Tries so far.
    pub attempts: u32,
    /// When it was last tried.
    pub at: Wall,
    /// Status of the last answer; `None` if there was none.
    pub status: Option<u16>,
    /// Why it failed.
    pub error: String,
    /// When it is tried again.
    pub next: Option<Wall>,
}

/// What became of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempted {
    /// Id of the event.
    pub event: String,
    /// The place of its entry.
    pub place: Place,
    /// Its type.
    pub kind: String,
    /// Status of the answer, if there was one.
    pub status: Option<u16>,
    /// Why it failed; `None` if it came through.
    pub error: Option<String>,
    /// Trying again would not help: the receiver is gone for good.
    pub is_final: bool,
}

/// Unique key of a name.
pub(super) fn name_key(name: &str) -> String {
    format!("name:{}", name.to_lowercase())
}

impl Webhook {
    /// Whether it can be one; the error is for people.
    pub(super) fn check(&self) -> Result<(), String> {
        let is_word = |text: &str| {
            (1..=63).contains(&text.len())
                && text
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !is_word(&self.name) {
            return Err(format!(
                "name: `{}` is no name of a webhook: 1 to 63 lower-case letters, digits or `-`",
                self.name
            ));
        }
        if self.types.len() > MOST_TYPES {
            return Err(format!(
                "types: {} patterns, the most is {MOST_TYPES}",
                self.types.len()
            ));
        }
        let is_type = |text: &String| {
            (1..=120).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_graphic())
                && !text.strip_suffix('*').unwrap_or(text).contains('*')
        };
        match self.types.iter().find(|pattern| !is_type(pattern)) {
            Some(wrong) => Err(format!(
                "types: `{wrong}` is no type of events: write `dev.sentinel.decision.made.v1`, or `dev.sentinel.hub.*` for all that begin so"
            )),
            None => Ok(()),
        }
    }

    /// Whether it is sent events of this type.
    pub fn wants(&self, kind: &str) -> bool {
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(begin) => kind.starts_with(begin),
            None => kind == pattern,
        };
        self.types.is_empty() || self.types.iter().any(matches)
    }
}

impl DeliveryLog {
    pub(super) fn new(hook: &Webhook) -> Self {
        Self {
            id: hook.id.clone(),
            reached: hook.from,
            pending: Vec::new(),
            dead: Vec::new(),
            recent: Vec::new(),
            delivered: 0,
            dropped: 0,
        }
    }

    /// Whether it takes more events.
    pub fn has_room(&self) -> bool {
        self.pending.len() < MOST_PENDING
    }

    /// When the next delivery is to be tried again.
    pub fn next_try(&self) -> Option<Wall> {
        self.pending.iter().filter_map(|delivery| delivery.next).min()
    }

    /// Takes in what became of a try.
    pub(super) fn attempted(&mut self, attempt: Attempted, now: Wall) {
        let known = self.pending.iter().position(|known| known.event == attempt.event);
        let attempts = known.map_or(0, |place| self.pending.remove(place).attempts) + 1;
        let mut error = attempt.error.clone().unwrap_or_default();
        while error.len() > ERROR_BYTES {
            error.pop();
        }
        let mut delivery = Delivery {
            event: attempt.event,
            place: attempt.place,
            kind: attempt.kind,
            attempts,
            at: now,
            status: attempt.status,
            error,
            next: None,
        };
        if attempt.error.is_none() {
            self.delivered += 1;
            self.recent.push(delivery);
            let surplus = self.recent.len().saturating_sub(MOST_RECENT);
            self.recent.drain(..surplus);
            // The receiver is back: what waits for it need not wait for its own hour.
            self.pending.iter_mut().for_each(|waiting| waiting.next = Some(now));
            return;
        }
        delivery.next = next_try(attempts, now).filter(|_| !attempt.is_final);
        if delivery.next.is_some() {
            self.pending.push(delivery);
            return;
        }
        self.dead.push(delivery);
        let surplus = self.dead.len().saturating_sub(MOST_DEAD);
        self.dead.drain(..surplus);
        self.dropped += surplus as u64;
    }

    /// Puts dead letters on their way again, as if they were new; the error is for people.
    pub(super) fn resend(&mut self, event: Option<&str>, now: Wall) -> Result<usize, String> {
        let is_meant = |delivery: &Delivery| event.is_none_or(|event| delivery.event == event);
        let meant = self.dead.iter().filter(|delivery| is_meant(delivery)).count();
        if meant == 0 {
            return Err(match event {
                Some(event) => {
                    format!("`{event}` is no dead letter of this webhook: `sentinel webhook deliveries` lists them")
                }
                None => "this webhook has no dead letters".to_owned(),
            });
        }
        let room = MOST_PENDING.saturating_sub(self.pending.len());
        if meant > room {
            return Err(format!(
                "{meant} dead letters are meant and {room} have room beside what waits: name one event, or wait"
            ));
        }
        let (again, rest): (Vec<Delivery>, Vec<Delivery>) = self.dead.drain(..).partition(is_meant);
        self.dead = rest;
        self.pending.extend(again.into_iter().map(|delivery| Delivery {
            attempts: 0,
            next: Some(now),
            ..delivery
        }));
        Ok(meant)
    }
}

impl Document for Webhook {
    const KIND: &'static str = "webhook";
    const VERSION: u8 = 1;
    /// Each has a task of its own that follows everything; an organisation has some systems, not hundreds.
    const MOST_LIVE: usize = 64;

    fn id(&self) -> String {
        self.id.clone()
    }

    fn is_live(&self) -> bool {
        true
    }

    fn unique(&self) -> Vec<String> {
        vec![name_key(&self.name)]
    }
}

impl Document for DeliveryLog {
    const KIND: &'static str = "webhook_deliveries";
    const VERSION: u8 = 1;
    const MOST_LIVE: usize = Webhook::MOST_LIVE;

    fn id(&self) -> String {
        self.id.clone()
    }

    fn is_live(&self) -> bool {
        true
    }
}
