//! Opens a break-glass token that a person brought to the node.
//!
//! Decides whether it is signed by two distinct people whom the policy keys name, for this node, and not over. What it lifts is
//! decided by `policy`. It is kept in the ledger, so it survives a restart and counts down by running time.
//!
//! Read next: `policy/src/glass.rs`.

use std::error::Error;

use wire::entry::Event;
use wire::time::{ClockState, Now};
use wire::{BreakGlass, EntryBody, RoleName, Seq};

use crate::agent::Agent;

impl Agent {
    /// Opens a token. Returns the entry that tells of it; an error says why nothing was opened.
    pub(crate) fn open_glass(&mut self, token: &BreakGlass, now: Now) -> Result<Seq, String> {
        if let Some(until) = self.ended(RoleName::Policy, now) {
            return Err(format!(
                "the policy role ended at {until}: its keys open nothing any more"
            ));
        }
        let settings = &self.settings;
        let ring = self.ring(RoleName::Policy)?;
        let opened = token.open(ring, &settings.trust_domain, settings.agent.as_str());
        let (payload, keys) = opened.map_err(|error| match error.source() {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        })?;
        let approvers: Vec<_> = keys.iter().map(|key| format!("key {key}")).collect();
        let clock_wrong = self.clock.state() == ClockState::BehindFloor;
        let judge = self
            .judge
            .as_mut()
            .ok_or("no bundle is active, so there is nothing to lift")?;
        judge.break_glass(&payload, &approvers, now, clock_wrong)?;
        let message = format!(
            "break-glass token {} opened by {} for {}: {}",
            payload.number,
            approvers.join(" and "),
            payload.kinds.join(", "),
            payload.reason
        );
        Ok(self.push(EntryBody::Event(Event::Notified { message }), now))
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use wire::bundle::KeyRing;
    use wire::time::Wall;
    use wire::{BreakGlass, BreakGlassPayload};

    use crate::testing::{Rig, key};
    use crate::{Input, LocalRequest};

    fn second() -> SigningKey {
        SigningKey::from_bytes(&[8; 32])
    }

    fn token(number: u64, issued_at: Wall, keys: &[SigningKey]) -> BreakGlass {
        let payload = BreakGlassPayload {
            number,
            trust_domain: "test".to_owned(),
            nodes: vec!["edge-01".to_owned()],
            targets: Vec::new(),
            kinds: vec!["restart".to_owned()],
            open_for_ms: 60_000,
            issued_at,
            reason: "fire".to_owned(),
        };
        let mut token = BreakGlass::sign(&payload, &keys[0]);
        for key in &keys[1..] {
            token.countersign(key);
        }
        token
    }

    /// Why a token opens nothing; empty if it does.
    fn refusal(rig: &mut Rig, token: &BreakGlass) -> String {
        let now = rig.now;
        rig.agent.open_glass(token, now).err().unwrap_or_default()
    }

    #[test]
    fn a_token_of_two_people_opens_once_and_survives_with_the_ledger() {
        let mut rig = Rig::new();
        let now = rig.now.wall;
        let both = [key(), second()];
        let good = token(2, now, &both);
        assert!(refusal(&mut rig, &good).contains("1 of 2 needed signatures"));

        rig.agent.settings.policy_keys = KeyRing {
            keys: both.iter().map(|key| key.verifying_key().to_bytes()).collect(),
            threshold: 1,
        };
        assert!(refusal(&mut rig, &token(1, now, &both[..1])).contains("1 of 2 needed signatures"));
        assert!(refusal(&mut rig, &token(1, Wall(now.0 - 60_000), &both)).contains("is over"));
        rig.handle(Input::Local {
            request: 5,
            what: LocalRequest::BreakGlass { token: good.clone() },
        });
        assert!(
            !rig.log.is_empty() && rig.log.iter().all(|line| !line.contains("refused")),
            "{:?}",
            rig.log
        );
        assert!(refusal(&mut rig, &good).contains("is not newer than 2"));

        // It lives in the ledger, which comes back with the marks.
        let ledger = rig.agent.judge.as_ref().map(policy::Judge::ledger);
        assert!(ledger.is_some_and(|ledger| !ledger.is_empty()));
    }
}
