//! Opens a break-glass token that a person brought to the node, shows what is open, and closes it before its time.
//!
//! Decides whether it is signed by two distinct people whom the policy keys name, for this node, and not over. What it lifts is
//! decided by `policy`. It is kept in the ledger, so it survives a restart and counts down by running time. Whoever may act at the
//! node's socket may close it: that only takes away.
//!
//! Read next: `policy/src/glass.rs`.

use std::error::Error;

use wire::api::GlassView;
use wire::entry::Event;
use wire::time::{ClockState, Now, Wall};
use wire::{BreakGlass, EntryBody, RoleName, Seq};

use crate::agent::Agent;

impl Agent {
    /// Opens a token. Returns the entry that tells of it, and what is open; an error says why nothing was opened.
    pub(crate) fn open_glass(&mut self, token: &BreakGlass, now: Now) -> Result<(Seq, GlassView), String> {
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
        let mut view = self.glass(now).ok_or("the token is over")?;
        view.reason = Some(payload.reason.clone());
        let event = Event::BreakGlassOpened {
            number: payload.number,
            approvers: view.approvers.clone(),
            kinds: view.kinds.clone(),
            targets: view.targets.clone(),
            left_ms: view.left_ms,
            reason: payload.reason,
        };
        Ok((self.push(EntryBody::Event(event), now), view))
    }

    /// Closes the open token. Returns the entry that tells of it, and what was open; `None` if nothing is.
    pub(crate) fn close_glass(&mut self, who: String, reason: String, now: Now) -> Option<(Seq, GlassView)> {
        let view = self.glass(now)?;
        self.judge.as_mut()?.close_glass(now.mono)?;
        let number = view.number;
        let event = Event::BreakGlassClosed { number, who, reason };
        Some((self.push(EntryBody::Event(event), now), view))
    }

    /// The break-glass token that is open now, for people.
    pub fn glass(&self, now: Now) -> Option<GlassView> {
        let open = self.judge.as_ref()?.open_glass(now.mono)?;
        let left_ms = u64::try_from(open.left.as_millis()).unwrap_or(u64::MAX);
        Some(GlassView {
            node: self.settings.agent.clone(),
            number: open.number,
            kinds: open.kinds,
            targets: open.targets,
            until: Wall(now.wall.0.saturating_add_unsigned(left_ms)),
            left_ms,
            approvers: open.approvers,
            reason: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use wire::bundle::KeyRing;
    use wire::frame::{Command, Order};
    use wire::time::Wall;
    use wire::{BreakGlass, BreakGlassPayload, CommandId, HubEpoch};

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

    /// From here on the node trusts both people.
    fn trust(rig: &mut Rig) {
        let both = [key(), second()];
        rig.agent.settings.policy_keys = KeyRing {
            keys: both.iter().map(|key| key.verifying_key().to_bytes()).collect(),
            threshold: 1,
        };
    }

    #[test]
    fn what_is_open_is_shown_and_ends_when_somebody_closes_it() {
        let mut rig = Rig::new();
        trust(&mut rig);
        let now = rig.now;
        assert_eq!(rig.agent.glass(now), None);
        let close = |rig: &mut Rig| {
            rig.log.clear();
            rig.handle(Input::Local {
                request: 6,
                what: LocalRequest::CloseGlass {
                    who: "ana".to_owned(),
                    reason: "out".to_owned(),
                },
            });
            rig.log.join(" | ")
        };
        assert_eq!(close(&mut rig), "refused", "nothing is open");
        let good = token(2, now.wall, &[key(), second()]);
        rig.handle(Input::Local {
            request: 5,
            what: LocalRequest::BreakGlass { token: good.clone() },
        });
        rig.crash();
        trust(&mut rig);
        let open = rig.agent.glass(now).expect("open");
        assert_eq!((open.number, open.left_ms), (2, 60_000));
        assert_eq!(open.until, Wall(now.wall.0 + 60_000));
        assert_eq!((open.kinds.join(","), open.approvers.len()), ("restart".to_owned(), 2));
        assert_eq!(close(&mut rig), "glass closed | glass done");
        assert_eq!(rig.agent.glass(rig.now), None);
        assert!(
            refusal(&mut rig, &good).contains("is not newer than 2"),
            "closed is used up"
        );
        assert_eq!(close(&mut rig), "refused");
    }

    #[test]
    fn a_token_that_the_hub_brings_is_judged_like_one_that_a_person_brings() {
        let mut rig = Rig::new();
        trust(&mut rig);
        let now = rig.now.wall;
        let mut order = |id: u8, token: BreakGlass| {
            rig.log.clear();
            let command = Command {
                id: CommandId([id; 16]),
                hub_epoch: HubEpoch(1),
                valid_for_ms: 30_000,
                who: "ana".to_owned(),
                reason: "fire".to_owned(),
                what: Order::BreakGlass(token),
            };
            let now = rig.now;
            rig.agent.on_command(command, None, now);
            rig.handle(Input::Tick);
            let number = rig.agent.glass(rig.now).map(|open| open.number);
            (rig.log.join(" | "), number)
        };
        let one = token(1, now, &[key()]);
        let (log, number) = order(1, one);
        assert!(log.contains("1 of 2 needed signatures") && number.is_none(), "{log}");
        let both = token(2, now, &[key(), second()]);
        assert_eq!(order(2, both.clone()), ("glass opened".to_owned(), Some(2)));
        assert_eq!(
            order(2, both.clone()),
            (String::new(), Some(2)),
            "a command is applied once"
        );
        assert!(order(3, both).0.contains("is not newer than 2"));
    }

    #[test]
    fn a_token_of_two_people_opens_once_and_survives_with_the_ledger() {
        let mut rig = Rig::new();
        let now = rig.now.wall;
        let both = [key(), second()];
        let good = token(2, now, &both);
        assert!(refusal(&mut rig, &good).contains("1 of 2 needed signatures"));

        trust(&mut rig);
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
        rig.crash();
        assert_eq!(rig.agent.glass(rig.now).map(|open| open.number), Some(2));
    }
}
