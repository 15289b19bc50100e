//! An open break-glass token: which actions it is for, until when, and what it lifts.
//!
//! It lifts a hold, a need for approval, and a change freeze; of a rule or of a person who holds the node. It never lifts another
//! denial, the authority ladder, permits, what a device accepts, one action at a time on a device, or the limit on safety reflexes.
//! What it lifted stays in the trace as not passed, with the people who opened it.
//!
//! Invariants: no token is taken twice or after a newer one, also after a restart; it counts down by running time, so no step of
//! the wall clock makes it last longer.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::breakglass::{APPROVERS, BreakGlassPayload, MAX_OPEN_MS};
use wire::decision::Verdict;
use wire::{Mono, Now};

use crate::actions::{KINDS, kind_index};
use crate::rule::{Asked, Finding, names_device};
use crate::text::did_you_mean;

/// Under this name a decision keeps the token that it was made under: the fact is called after the people, its value is how many
/// milliseconds are left.
pub(crate) const BREAK_GLASS: &str = "break_glass";

/// A token that is open on this node, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenGlass {
    /// Its number.
    pub number: u64,
    /// Who signed it.
    pub approvers: Vec<String>,
    /// The kinds of action that it is for, by name.
    pub kinds: Vec<String>,
    /// Devices or classes of devices that it is for; all if empty.
    pub targets: Vec<String>,
    /// For how much longer.
    pub left: Duration,
}

/// What every node refuses about a token besides its signatures, and the way out; for whoever is about to sign it.
pub fn glass_problem(payload: &BreakGlassPayload) -> Option<String> {
    payload.problem().or_else(|| kind_bits(&payload.kinds).err())
}

/// A token that was opened on this node. Kept when it is over: its number is the floor for the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Glass {
    number: u64,
    /// For people.
    who: String,
    /// By index of [`KINDS`].
    kinds: u64,
    targets: Vec<String>,
    until: Mono,
}

impl Glass {
    /// Takes a token whose signatures were verified. `approvers` are those who signed it.
    ///
    /// `floor` is the one before. `clock_wrong` says that the wall clock cannot tell whether it is over.
    pub fn take(
        payload: &BreakGlassPayload,
        approvers: &[String],
        floor: Option<&Self>,
        now: Now,
        clock_wrong: bool,
    ) -> Result<Self, String> {
        if let Some(before) = floor.filter(|before| payload.number <= before.number) {
            return Err(format!(
                "token {} is not newer than {}, which was opened here",
                payload.number, before.number
            ));
        }
        let full_ms = payload.open_for_ms.min(MAX_OPEN_MS);
        let gone_ms = now.wall.0.saturating_sub(payload.issued_at.0).max(0).unsigned_abs();
        let left_ms = if clock_wrong {
            full_ms
        } else {
            full_ms.saturating_sub(gone_ms)
        };
        if left_ms == 0 {
            let issued = payload.issued_at;
            return Err(format!("token {} of {issued} is over; sign a new one", payload.number));
        }
        Ok(Self {
            number: payload.number,
            who: people(approvers)?,
            kinds: kind_bits(&payload.kinds)?,
            targets: payload.targets.clone(),
            until: now.mono + Duration::from_millis(left_ms),
        })
    }

    /// A token that was verified elsewhere, for a decider.
    pub fn told(approvers: &[String], kinds: &[String], now: Mono, left_ms: u64) -> Result<Self, String> {
        if left_ms > MAX_OPEN_MS {
            return Err(format!(
                "break_glass.until is {left_ms} ms away; a token is open for at most {MAX_OPEN_MS} ms"
            ));
        }
        Ok(Self {
            number: 0,
            who: people(approvers)?,
            kinds: kind_bits(kinds)?,
            targets: Vec::new(),
            until: now + Duration::from_millis(left_ms),
        })
    }

    /// What is open now; `None` when it is over.
    pub fn shown(&self, now: Mono) -> Option<OpenGlass> {
        let left = self.until.0.checked_sub(now.0).filter(|left| *left > 0)?;
        let kinds = KINDS.iter().enumerate();
        let kinds = kinds.filter(|(index, _)| self.kinds & (1 << index) != 0);
        Some(OpenGlass {
            number: self.number,
            approvers: self.who.split(AND).map(str::to_owned).collect(),
            kinds: kinds.map(|(_, kind)| kind.name.to_owned()).collect(),
            targets: self.targets.clone(),
            left: Duration::from_millis(left),
        })
    }

    /// Ends it now. Its number stays the floor for the next.
    pub fn close(&mut self, now: Mono) {
        self.until = self.until.min(now);
    }

    /// How much longer it is open for this action, in milliseconds, and whose it is.
    pub fn covers(&self, asked: &Asked<'_>) -> Option<(&str, i64)> {
        let left = self.until.0.checked_sub(asked.now.mono.0).filter(|left| *left > 0)?;
        let is_for = self.kinds & (1 << asked.kind) != 0
            && (self.targets.is_empty() || self.targets.iter().any(|target| names_device(target, asked.target)));
        is_for.then_some((self.who.as_str(), i64::try_from(left).unwrap_or(i64::MAX)))
    }

    /// Whether it could have been written by this program.
    pub fn is_sound(&self) -> bool {
        self.who.len() <= MAX_WHO_BYTES
    }
}

/// The same comparison with an open token: what may be lifted is, and says so.
pub(crate) fn lift(mut finding: Finding, is_freeze: bool) -> Finding {
    let may_be = matches!(finding.verdict, Verdict::Hold | Verdict::RequireApproval)
        || is_freeze && finding.verdict == Verdict::Deny;
    if !finding.holds && may_be {
        finding.verdict = Verdict::Allow;
        finding.retry_after_ms = None;
        finding.lifted = true;
    }
    finding
}

/// Between the names of those who approved.
const AND: &str = " and ";
/// Most bytes of the names of those who approved.
const MAX_WHO_BYTES: usize = 512;

/// Distinct approvers, for people.
fn people(approvers: &[String]) -> Result<String, String> {
    let mut distinct: Vec<&str> = approvers
        .iter()
        .map(String::as_str)
        .filter(|name| !name.is_empty())
        .collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() < APPROVERS {
        return Err(format!(
            "{} distinct approver; a break-glass token needs {APPROVERS}",
            distinct.len()
        ));
    }
    let who = distinct.join(AND);
    if who.len() > MAX_WHO_BYTES {
        return Err(format!("the approvers' names have more than {MAX_WHO_BYTES} bytes"));
    }
    Ok(who)
}

fn kind_bits(names: &[String]) -> Result<u64, String> {
    if names.is_empty() {
        return Err("a break-glass token names each kind of action that it is for".to_owned());
    }
    names.iter().try_fold(0, |bits, name| match kind_index(name) {
        Some(index) => Ok(bits | 1 << index),
        None => {
            let near = did_you_mean(name, KINDS.iter().map(|kind| kind.name));
            let hint = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            Err(format!("unknown kind of action `{name}`{hint}"))
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use wire::Wall;

    fn token(number: u64, issued_at: i64) -> BreakGlassPayload {
        BreakGlassPayload {
            number,
            trust_domain: "example".to_owned(),
            nodes: Vec::new(),
            targets: Vec::new(),
            kinds: vec!["restart".to_owned()],
            open_for_ms: 3_600_000,
            issued_at: Wall(issued_at),
            reason: "fire".to_owned(),
        }
    }

    fn at(wall: i64) -> Now {
        Now {
            mono: Mono(5_000),
            wall: Wall(wall),
        }
    }

    #[test]
    fn a_token_is_taken_once_and_never_after_it_is_over() {
        let who = ["ana".to_owned(), "ben".to_owned()];
        let first = Glass::take(&token(7, 0), &who, None, at(600_000), false).unwrap();
        assert_eq!(first.until, Mono(5_000 + 3_000_000));
        for (number, issued_at, clock_wrong, expected) in [
            (7, 0, false, "token 7 is not newer than 7"),
            (6, 600_000, false, "token 6 is not newer than 7"),
            (8, -3_000_000, false, "token 8 of 1969-12-31T23:10:00.000Z is over"),
            (8, -3_000_000, true, "ok 3605000"),
            // Signed ahead of our clock: not longer than it says.
            (8, 900_000, false, "ok 3605000"),
        ] {
            let token = token(number, issued_at);
            let found = match Glass::take(&token, &who, Some(&first), at(600_000), clock_wrong) {
                Ok(glass) => format!("ok {}", glass.until.0),
                Err(text) => text,
            };
            assert!(found.contains(expected), "{found}");
        }
        let one = ["ana".to_owned(), "ana".to_owned()];
        assert!(Glass::take(&token(9, 0), &one, None, at(0), false).is_err());
    }

    #[test]
    fn what_is_open_is_shown_until_it_is_over_or_closed() {
        let who = ["ben".to_owned(), "ana".to_owned()];
        let mut token = token(7, 0);
        token.kinds.push("scale".to_owned());
        token.targets.push("workload".to_owned());
        let mut glass = Glass::take(&token, &who, None, at(0), false).unwrap();
        let shown = glass.shown(Mono(6_000)).unwrap();
        assert_eq!((shown.number, shown.left), (7, Duration::from_secs(3_599)));
        assert_eq!(
            (shown.approvers.join(","), shown.kinds.join(",")),
            ("ana,ben".to_owned(), "restart,scale".to_owned())
        );
        assert_eq!(shown.targets, ["workload"]);
        assert_eq!(glass.shown(Mono(5_000 + 3_600_000)), None, "over");
        glass.close(Mono(7_000));
        assert_eq!(glass.shown(Mono(7_000)), None, "closed");
        assert!(
            Glass::take(&token, &who, Some(&glass), at(0), false).is_err(),
            "its number stays the floor"
        );
    }

    #[test]
    fn whoever_signs_is_told_what_every_node_would_refuse() {
        type Change = fn(&mut BreakGlassPayload);
        let cases: [(Change, &str); 4] = [
            (|_| (), ""),
            (|p| p.open_for_ms = MAX_OPEN_MS + 1, "open_for_ms is 14400001"),
            (|p| p.kinds.clear(), "kinds is empty"),
            (|p| p.kinds = vec!["restrat".to_owned()], "did you mean `restart`"),
        ];
        for (change, expected) in cases {
            let mut token = token(1, 0);
            change(&mut token);
            let found = glass_problem(&token).unwrap_or_default();
            assert!(
                found.contains(expected) && found.is_empty() == expected.is_empty(),
                "{found}"
            );
        }
    }
}
