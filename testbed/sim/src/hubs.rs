//! The shell of the simulated hub: its store and its ends of the sessions.

use std::time::Duration;

use ed25519_dalek::SigningKey;
use hub_core::{Batch, Effect, Hub, Input, Quota, Row, Settings, Token};
use wire::bundle::{BundlePayload, SignedBundle};
use wire::ids::HubEpoch;
use wire::roles::{Pin, Role, Roles};
use wire::{BundleRef, Frame, RoleChain, SignedRoles, Wall, codec};

use crate::enrol::enrolment;
use crate::flood::flooder;
use crate::net::Way;
use crate::swarm::Fault;
use crate::world::{Event, Planted, TRUST_DOMAIN, World};

impl World {
    /// The root key names the hub's key for bundles and beacons; agents were given the root key when they joined.
    fn roles(&self) -> RoleChain {
        let single = |key: &SigningKey| Role::single(key.verifying_key().to_bytes());
        let roles = Roles {
            version: 1,
            trust_domain: TRUST_DOMAIN.to_owned(),
            issued_at: Wall(0),
            root: single(&self.root_key),
            policy: single(&self.policy_key),
            beacon: single(&self.policy_key),
        };
        let document = SignedRoles::unsigned(&roles).signed_by(&self.root_key);
        RoleChain::open(&Pin::Document(document.pin()), &[document], TRUST_DOMAIN)
            .expect("one document, signed by its own root key")
    }

    pub(crate) fn start_hub(&mut self) {
        if self.hub.is_some() {
            return;
        }
        self.hub_life += 1;
        self.hub_timer_ms = u64::MAX;
        let settings = Settings {
            trust_domain: TRUST_DOMAIN.to_owned(),
            policy_key: Some(self.policy_key.clone()),
            beacon_key: Some(self.policy_key.clone()),
            roles: Some(self.roles()),
            seed: self.random.next(),
            first_hub_epoch: HubEpoch(self.random.between(1, 1 << 20)),
            max_handshakes: 256,
            beacon_every: Duration::from_millis(self.swarm.beacon_every_ms),
            certificates: hub_core::Certificates::default(),
            checkpoints: hub_core::Checkpointing::default(),
        };
        let now = self.hub_clock.at(self.now_ms);
        let bug = match self.planted {
            Planted::Hub(bug) => bug,
            _ => hub_core::Planted::Nothing,
        };
        let hub = Hub::new_planted(settings, self.store.recover(), now, bug);
        self.hub = Some(hub.expect("the store holds what this program wrote"));
        for n in 0..self.nodes.len() {
            self.enrol(n);
        }
    }

    /// A person makes a token for a node and the node joins with it, unless the hub knows it.
    fn enrol(&mut self, n: usize) {
        let agent = self.nodes[n].id.clone();
        let hub = self.hub.as_ref();
        if hub.is_some_and(|hub| hub.agents().identity(&agent).is_some()) {
            return;
        }
        for what in enrolment(&agent, "site-a") {
            self.tell_hub(Input::Request { request: 0, what });
        }
    }

    pub(crate) fn crash_hub(&mut self) {
        if self.hub.take().is_none() {
            return;
        }
        self.faults.add(Fault::HubCrash);
        self.hub_life += 1;
        self.flying_rows = None;
        self.plans_die();
        let ids: Vec<u64> = self.sessions.keys().copied().collect();
        for id in ids {
            let late = self.random.between(0, 20_000);
            self.after(late, Event::AgentEnd { id, reason: "hub died" });
            if let Some(session) = self.sessions.get_mut(&id) {
                session.hub_open = false;
            }
        }
    }

    /// Gives the hub one input and carries out what it asks for.
    pub(crate) fn tell_hub(&mut self, input: Input) {
        let now = self.hub_clock.at(self.now_ms);
        let Some(hub) = &mut self.hub else { return };
        hub.handle(input, now);
        while let Some(effect) = self.hub.as_mut().and_then(Hub::poll_effect) {
            self.carry_out_hub(effect);
        }
        let Some(due) = self.hub.as_ref().and_then(|hub| hub.poll_timeout(now)) else {
            return;
        };
        let due_ms = self.now_ms + u64::try_from(due.as_millis()).unwrap_or(u64::MAX >> 1).max(1);
        if due_ms < self.hub_timer_ms {
            self.hub_timer_ms = due_ms;
            let life = self.hub_life;
            self.at(due_ms, Event::HubTick { life });
        }
    }

    pub(crate) fn hub_tick(&mut self, life: u64) {
        if self.hub_life == life {
            self.hub_timer_ms = u64::MAX;
            self.tell_hub(Input::Tick);
        }
    }

    pub(crate) fn stored(&mut self, life: u64, failed: bool) {
        if self.hub_life != life {
            return;
        }
        let Some(batch) = self.flying_rows.take() else {
            return;
        };
        let token = batch.token;
        let reason = || "disk".to_owned();
        if failed && self.swarm.has(Fault::StoreUnknown) && self.doubts.chance(500) {
            return self.lose_answer(*batch);
        }
        if failed {
            return self.tell_hub(Input::StoreFailed {
                token,
                reason: reason(),
            });
        }
        self.commit_rows(*batch);
        if self.is_plan_passing() {
            return self.kill_hub();
        }
        if self.planted != Planted::AckBeforeCommit {
            self.tell_hub(Input::Stored { token });
        }
        self.make_room();
    }

    /// A commit failed, and it is there or it is not. Some time later it can be read.
    fn lose_answer(&mut self, batch: Batch) {
        self.faults.add(Fault::StoreUnknown);
        let token = batch.token;
        let is_there = self.doubts.chance(500);
        if is_there {
            self.commit_rows(batch);
        }
        let reason = || "disk".to_owned();
        if self.planted == Planted::UnknownIsFailed {
            return self.tell_hub(Input::StoreFailed {
                token,
                reason: reason(),
            });
        }
        let life = self.hub_life;
        self.tell_hub(Input::StoreUnknown {
            token,
            reason: reason(),
        });
        let takes = self.doubts.between(1, 20_000);
        self.after(takes, Event::Resolved { life, token, is_there });
    }

    /// What became of a commit that failed was read.
    pub(crate) fn resolved(&mut self, life: u64, token: Token, is_there: bool) {
        if self.hub_life != life {
            return;
        }
        self.tell_hub(match is_there {
            true => Input::Stored { token },
            false => Input::StoreFailed {
                token,
                reason: "disk".to_owned(),
            },
        });
    }

    /// Has what is too much removed in a moment, unless the hub dies before.
    fn make_room(&mut self) {
        let Some(quota) = self.quota() else { return };
        if !self.pruning && quota.is_exceeded(self.store.held.values().sum()) {
            self.pruning = true;
            let takes = self.doubts.between(1, 50);
            let life = self.hub_life;
            self.after(takes, Event::Prune { life });
        }
    }

    fn quota(&self) -> Option<Quota> {
        let bytes = self.swarm.flood?;
        Some(Quota {
            bytes,
            age_ms: u64::MAX,
        })
    }

    pub(crate) fn prune(&mut self, life: u64) {
        self.pruning = false;
        let (Some(quota), Some(hub)) = (self.quota(), &self.hub) else {
            return;
        };
        if self.hub_life != life {
            return;
        }
        let spared = hub.spared();
        match self.store.prune(quota, &spared) {
            Ok(owners) => {
                for (owner, entries, _) in &owners {
                    let is_flood = *owner == flooder();
                    self.pruned_entries += entries;
                    self.invariants.require(is_flood, || {
                        format!("R1: {owner} loses {entries} entries because another one floods")
                    });
                }
                self.tell_hub(Input::Pruned { owners });
            }
            Err(wrong) => self.invariants.require(false, || wrong),
        }
    }

    fn commit_rows(&mut self, batch: Batch) {
        for row in batch.rows {
            let stored = match &row {
                Row::Entries { agent, epoch, raw, .. } => raw.last().map(|raw| (agent.clone(), *epoch, raw.seq)),
                _ => None,
            };
            if let Row::Bundle { bundle, signed, .. } = &row {
                self.register(*bundle, signed);
                self.published.push(signed.clone());
            }
            if let Row::Put(put) = &row {
                self.on_document(put);
            }
            if let Err(wrong) = self.store.commit(row) {
                self.invariants.require(false, || wrong);
            }
            if let Some((agent, epoch, through)) = stored {
                self.invariants.on_stored(&agent, epoch, through);
                self.trace = self.trace.rotate_left(7) ^ epoch.0 ^ (through.0 << 8);
            }
        }
    }

    /// Takes note of what a stored bundle says.
    fn register(&mut self, bundle: BundleRef, signed: &SignedBundle) {
        let payload: Result<BundlePayload, _> = codec::decode(&signed.payload);
        let published = payload.map_err(|error| error.to_string()).and_then(|payload| {
            let draft = self.drafts.get(&payload.text).cloned().unwrap_or_default();
            self.invariants.register.publish(bundle, &draft, &payload.text)
        });
        self.invariants.require(published.is_ok(), || {
            format!("T1: {}", published.err().unwrap_or_default())
        });
    }

    fn carry_out_hub(&mut self, effect: Effect) {
        match effect {
            Effect::Store(batch) => self.store_rows(batch),
            Effect::Send { session, frame } => {
                let Some(node) = self.sessions.get(&session.0).map(|session| session.node) else {
                    return;
                };
                if let Frame::Ack(ack) = &frame {
                    let id = self.nodes[node].id.clone();
                    self.invariants.on_ack(&id, ack, &self.store);
                }
                self.invariants.on_sent(&frame, &self.store);
                self.send(session.0, Way::Down, frame);
            }
            Effect::Close { session, .. } => {
                let id = session.0;
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.hub_open = false;
                    let at_ms = self.drained_ms(id, Way::Down);
                    self.at(
                        at_ms,
                        Event::AgentEnd {
                            id,
                            reason: "hub closed it",
                        },
                    );
                }
            }
            Effect::Reply { request, answer } => self.replied(request, &answer),
            // No forge and no cluster takes part here, and no checkpoint is signed.
            Effect::Kube(_) | Effect::Compare { .. } | Effect::Changed(_) | Effect::Publish(_) => {}
        }
    }

    fn store_rows(&mut self, batch: Batch) {
        let fails = self.store_fails;
        let takes = if self.store_slow {
            self.faults.add(Fault::StoreSlow);
            self.random.between(500, 5_000)
        } else {
            self.random.between(1, 10)
        };
        if fails {
            self.faults.add(Fault::StoreFails);
        }
        let token = batch.token;
        self.flying_rows = Some(Box::new(batch));
        let life = self.hub_life;
        self.after(takes, Event::Stored { life, failed: fails });
        if self.planted == Planted::AckBeforeCommit && !fails {
            self.at(self.now_ms, Event::StoredTooEarly { life, token });
        }
    }
}
