//! What goes wrong, and what goes on: faults, orders of people, heat, leaks, new bundles.

use std::collections::BTreeSet;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use hub_core::{AgentRequest, Input, Request};
use wire::bundle::{BundlePayload, SignedBundle};
use wire::frame::{Frame, Order};
use wire::ids::{CommandId, Epoch, Generation, Seq};
use wire::reading::DeviceId;
use wire::time::Wall;
use wire::{Action, ActionKind};

use crate::agents::Mood;
use crate::bundles::{Draft, Pool};
use crate::net::Way;
use crate::swarm::Fault;
use crate::world::{Event, TRUST_DOMAIN, World};

const BUNDLES: [&str; 2] = [
    include_str!("../../../policy/bundles/demo.yaml"),
    include_str!("../../../policy/bundles/demo-strict.yaml"),
];

/// Authority that ends within minutes, so that worlds of minutes see it end.
const SHORT_LADDER: &str = "authority: { full_for: 20 s, reversible_for: 45 s, protective_for: 2 min }\n";

/// What a process can be in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Busy {
    /// A batch of entries is on its way to the disk.
    Batch,
    /// An actuator has an action.
    Action,
    /// Rows are on their way to the hub's store.
    Rows,
}

impl World {
    /// The next single fault, and the one after it.
    pub(crate) fn fault(&mut self) {
        if self.healed_at.is_some() || self.swarm.fault_every_ms == 0 {
            return;
        }
        let next = 1 + self.random.below(2 * self.swarm.fault_every_ms);
        self.after(next, Event::Fault);
        let n = usize::try_from(self.random.below(self.nodes.len() as u64)).unwrap_or(0);
        let Some(fault) = self.random.pick(Fault::COMING).copied() else {
            return;
        };
        if self.swarm.has(fault) {
            self.inflict(fault, n);
        }
    }

    fn inflict(&mut self, fault: Fault, n: usize) {
        self.say(n, || format!("fault: {}", fault.name()));
        match fault {
            Fault::AgentCrash => self.kill(n),
            // At the moment that hurts: while a batch, or an action, is on its way.
            Fault::BatchLost | Fault::BatchKept | Fault::BatchTorn => {
                let what = Busy::Batch;
                self.after(0, Event::CrashIfBusy { what, tries: 400 });
            }
            Fault::ActionLost => {
                let what = Busy::Action;
                self.after(0, Event::CrashIfBusy { what, tries: 400 });
            }
            Fault::HubCrash => self.kill_hub(),
            Fault::RowsLost => {
                let what = Busy::Rows;
                self.after(0, Event::CrashIfBusy { what, tries: 400 });
            }
            Fault::DiskFails => self.change_mood(n, Mood::Fails),
            Fault::DiskFull => self.change_mood(n, Mood::Full),
            Fault::JournalFull => self.change_mood(n, Mood::Bound),
            Fault::DiskSlow => self.change_mood(n, Mood::Slow),
            Fault::StoreFails => self.change_store(true, false),
            Fault::StoreSlow => self.change_store(false, true),
            Fault::JournalCorrupt => self.lose_journal(n, Some("corrupt")),
            Fault::JournalEmptied => self.lose_journal(n, None),
            Fault::AgentRestored => self.restore_agent(n),
            Fault::HubRestored => self.restore_hub(),
            Fault::Partition => self.block(n, true, true, Fault::Partition),
            Fault::OneWayUp => self.block(n, true, false, Fault::OneWayUp),
            Fault::OneWayDown => self.block(n, false, true, Fault::OneWayDown),
            Fault::Break | Fault::Zombie => {
                if let Some(id) = self.nodes[n].session {
                    self.break_session(id, "broken");
                }
            }
            Fault::ClockStep => {
                self.faults.add(Fault::ClockStep);
                let mut clock = self.nodes[n].clock;
                clock.step(&mut self.random);
                self.nodes[n].clock = clock;
                if self.random.chance(200) {
                    let mut clock = self.hub_clock;
                    clock.step(&mut self.random);
                    self.hub_clock = clock;
                }
            }
            Fault::OldBundle => {
                if let Some(signed) = self.random.pick(&self.published).cloned() {
                    self.offer(n, signed, Fault::OldBundle);
                }
            }
            Fault::ForgedBundle => {
                let forged = forge(self.random.next());
                self.offer(n, forged, Fault::ForgedBundle);
            }
            // These arise from the others, or are drawn where they happen.
            Fault::Shed
            | Fault::Loss
            | Fault::Delay
            | Fault::Reorder
            | Fault::Duplicate
            | Fault::ActionFails
            | Fault::ProbeUnknown
            | Fault::HotGpu
            | Fault::Leak
            | Fault::StoreUnknown => {}
        }
    }

    fn kill(&mut self, n: usize) {
        self.crash_agent(n);
        let down = self.random.between(100, 20_000);
        self.after(down, Event::StartAgent { n });
    }

    pub(crate) fn kill_hub(&mut self) {
        self.crash_hub();
        let down = self.random.between(100, 30_000);
        self.after(down, Event::StartHub);
    }

    /// Waits for a process to be in the middle of something, and kills it then.
    pub(crate) fn crash_if_busy(&mut self, what: Busy, tries: u32) {
        if self.healed_at.is_some() {
            return;
        }
        let busy = match what {
            Busy::Batch => self.nodes.iter().position(|node| node.flying.is_some()),
            Busy::Action => self.nodes.iter().position(|node| !node.acting.is_empty()),
            Busy::Rows if self.flying_rows.is_some() && self.hub.is_some() => {
                self.faults.add(Fault::RowsLost);
                return self.kill_hub();
            }
            Busy::Rows => None,
        };
        match busy {
            Some(n) => self.kill(n),
            None if tries > 0 => {
                let tries = tries - 1;
                self.after(7, Event::CrashIfBusy { what, tries });
            }
            None => {}
        }
    }

    fn change_mood(&mut self, n: usize, mood: Mood) {
        self.nodes[n].mood = mood;
        let lasts = self.random.between(1_000, 90_000);
        self.after(lasts, Event::DiskWorks { n });
    }

    fn change_store(&mut self, fails: bool, slow: bool) {
        self.store_fails = fails;
        self.store_slow = slow;
        let lasts = self.random.between(500, 20_000);
        self.after(lasts, Event::StoreWorks);
    }

    fn lose_journal(&mut self, n: usize, damage: Option<&'static str>) {
        self.kill(n);
        let fault = match damage {
            Some(_) => Fault::JournalCorrupt,
            None => Fault::JournalEmptied,
        };
        self.faults.add(fault);
        let epoch = self.newest_epoch(n);
        self.invariants.lives[n].lose_journal(epoch);
        self.planning.rules.forget(n);
        let node = &mut self.nodes[n];
        node.disk.lose_journal(damage);
        // An old copy knows nothing of the loss; restoring it later is another story.
        node.copy = None;
    }

    /// The newest epoch that this node's disk knows of.
    fn newest_epoch(&self, n: usize) -> Epoch {
        let disk = &self.nodes[n].disk;
        let last = disk.entries.last_key_value().map(|(at, _)| at.0);
        let floor = disk.floor.map(|floor| floor.epoch);
        last.max(floor).unwrap_or(Epoch(1))
    }

    /// First makes a copy of the state folder; the next time brings it back.
    fn restore_agent(&mut self, n: usize) {
        let Some(copy) = self.nodes[n].copy.take() else {
            self.nodes[n].copy = Some(self.nodes[n].disk.clone());
            return;
        };
        self.kill(n);
        self.faults.add(Fault::AgentRestored);
        self.nodes[n].disk = copy;
        let kept: BTreeSet<(Epoch, Seq)> = self.nodes[n].disk.entries.keys().copied().collect();
        let epoch = self.newest_epoch(n);
        self.invariants.lives[n].restore(&kept, epoch);
        self.planning.rules.forget(n);
    }

    fn restore_hub(&mut self) {
        let Some(copy) = self.store_copy.take() else {
            self.store_copy = Some(Box::new(self.store.clone()));
            return;
        };
        self.kill_hub();
        self.faults.add(Fault::HubRestored);
        self.hub_restored = true;
        self.store = *copy;
        self.planning.rules.restored(&self.store);
    }

    fn block(&mut self, n: usize, up: bool, down: bool, fault: Fault) {
        self.faults.add(fault);
        self.nodes[n].blocked_up |= up;
        self.nodes[n].blocked_down |= down;
        let most = if self.random.chance(300) { 500_000 } else { 90_000 };
        let lasts = self.random.between(500, most);
        self.after(lasts, Event::Unblock { n });
    }

    /// Somebody who sits on the path, or a confused hub, offers a bundle.
    fn offer(&mut self, n: usize, signed: SignedBundle, fault: Fault) {
        if let Some(id) = self.nodes[n].session {
            self.faults.add(fault);
            self.send(id, Way::Down, Frame::Bundle(signed));
        }
    }

    /// The next order of a person.
    pub(crate) fn order(&mut self) {
        if self.healed_at.is_some() || self.swarm.order_every_ms == 0 {
            return;
        }
        let next = 1 + self.random.below(2 * self.swarm.order_every_ms);
        self.after(next, Event::Order);
        let n = usize::try_from(self.random.below(self.nodes.len() as u64)).unwrap_or(0);
        let act = |target, kind| Order::Act(Action { target, kind });
        let watts = self.random.between(50, 400);
        let milliwatts = u32::try_from(watts * 1_000).unwrap_or(u32::MAX);
        let what = match self.random.below(8) {
            0 => Order::Hold,
            1 => Order::Release,
            2 => act(DeviceId::gpu(0), ActionKind::ReleasePowerCap),
            3 | 4 => act(DeviceId::gpu(0), ActionKind::PowerCap { milliwatts }),
            _ => act(self.nodes[n].workload.id().clone(), ActionKind::Restart),
        };
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.random.next().to_le_bytes());
        self.requests += 1;
        self.tell_hub(Input::Request {
            request: self.requests,
            what: Request::Order {
                id: CommandId(id),
                agent: self.nodes[n].id.clone(),
                caller: wire::change::Caller::new("ana", wire::change::Via::Api),
                reason: "sim".to_owned(),
                what,
                valid_for: Duration::from_secs(60),
                wait: Duration::from_secs(10),
            },
        });
    }

    /// Heat and leaks come and go.
    pub(crate) fn weather(&mut self) {
        if self.healed_at.is_some() {
            return;
        }
        let next = self.random.between(5_000, 40_000);
        self.after(next, Event::Weather);
        let n = usize::try_from(self.random.below(self.nodes.len() as u64)).unwrap_or(0);
        if self.random.chance(600) {
            let gpu = usize::from(self.random.chance(500));
            self.nodes[n].gpus[gpu].busy ^= true;
            if self.nodes[n].gpus[gpu].busy {
                self.faults.add(Fault::HotGpu);
            }
        } else {
            self.faults.add(Fault::Leak);
            self.nodes[n].workload.leaking = true;
            // Where turns are to be taken, a whole rack wants one at once.
            if self.swarm.turns.is_some() {
                for node in self.nodes.iter_mut().skip(n % 2).step_by(2) {
                    node.workload.leaking = true;
                }
            }
        }
    }

    pub(crate) fn publish(&mut self) {
        if self.healed_at.is_some() {
            return;
        }
        if self.swarm.eventful {
            let next = self.random.between(30_000, 240_000);
            self.after(next, Event::Publish);
        }
        let given = BUNDLES[usize::from(self.random.chance(500))];
        let draft = self.pool.as_mut().map_or_else(|| Draft::given(given), Pool::next);
        let draft = match self.swarm.turns {
            Some(n) => draft.with_turns(n),
            None => draft,
        };
        let is_short = self.swarm.neighbours && !draft.text.contains("authority:");
        let ladder = if is_short { SHORT_LADDER } else { "" };
        let text = format!("{}\n{ladder}# {}\n", draft.text, self.random.next());
        self.drafts.insert(text.clone().into_bytes(), draft);
        self.requests += 1;
        self.tell_hub(Input::Request {
            request: self.requests,
            what: Request::Publish {
                caller: wire::change::Caller::new("ana", wire::change::Via::Api),
                text: text.into_bytes(),
            },
        });
    }

    /// Everything works again and nothing new happens: now all must come together.
    pub(crate) fn heal(&mut self) {
        self.healed_at = Some(self.now_ms);
        self.store_fails = false;
        self.store_slow = false;
        self.start_hub();
        for n in 0..self.nodes.len() {
            let node = &mut self.nodes[n];
            node.mood = Mood::Works;
            node.blocked_up = false;
            node.blocked_down = false;
            node.workload.leaking = false;
            for gpu in &mut node.gpus {
                gpu.busy = false;
            }
            self.unblock(n);
            self.start_agent(n);
            // A person looks at identities that were quarantined.
            let agent = self.nodes[n].id.clone();
            let (caller, reason) = (wire::change::Caller::hub(), "it is looked at".to_owned());
            let what = Request::Agents {
                caller,
                what: AgentRequest::Allow { agent, reason },
            };
            self.tell_hub(Input::Request { request: 0, what });
        }
    }
}

/// A bundle with a high number, signed by a key that nobody trusts.
pub(crate) fn forge(seed: u64) -> SignedBundle {
    let mut key = [7; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let payload = BundlePayload {
        generation: Generation(1_000_000),
        trust_domain: TRUST_DOMAIN.to_owned(),
        issued_at: Wall(0),
        text: BUNDLES[0].as_bytes().to_vec(),
    };
    SignedBundle::sign(&payload, &SigningKey::from_bytes(&key))
}
