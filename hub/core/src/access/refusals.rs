//! Refusals of somebody known: the first is recorded at once, the same again within a minute is counted, and recorded as one.
//!
//! Invariant: however often a program tries, it causes at most one entry a minute for each thing that it may not do, and at most
//! [`MOST_KINDS`] of those are told apart.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::change::{ChangeRecord, Via};
use wire::time::Mono;

use crate::cx::Cx;

/// Within this time the same refusal is one.
const SAME: Duration = Duration::from_secs(60);
/// Kinds of refusals within that time; more are counted together, by person.
const MOST_KINDS: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<Kind, Told>);

/// Who was refused what.
type Kind = (String, Via, String, String);

#[derive(Debug)]
struct Told {
    until: Mono,
    again: u64,
    change: ChangeRecord,
}

impl Refusals {
    pub(super) fn told(&mut self, change: ChangeRecord, cx: &mut Cx<'_>) {
        let mut kind = kind(&change);
        if !self.0.contains_key(&kind) && self.0.len() >= MOST_KINDS {
            kind.2.clear();
            kind.3.clear();
        }
        if let Some(told) = self.0.get_mut(&kind) {
            told.again += 1;
            return;
        }
        cx.record(change.clone());
        let until = cx.now.mono + SAME;
        let again = 0;
        // A person beyond the bound is recorded, and not remembered: there are far fewer people than that.
        if self.0.len() < 2 * MOST_KINDS {
            self.0.insert(kind, Told { until, again, change });
        }
    }

    pub(super) fn time(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        self.0.retain(|_, told| {
            if told.until > now {
                return true;
            }
            if told.again == 0 {
                return false;
            }
            cx.record(told.change.clone().with("times", told.again));
            told.again = 0;
            told.until = now + SAME;
            true
        });
    }
}

fn kind(change: &ChangeRecord) -> Kind {
    (
        change.caller.name.clone(),
        change.caller.via,
        change.verb.clone(),
        change.target.clone(),
    )
}
