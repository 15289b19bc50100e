//! The shell of a simulated agent: disk, devices and sessions behind the effects of its core.

use edge_agent_core::{ActionResult, Agent, AppendError, Batch, Effect, Input, ProbeResult, Run, Settings};
use std::time::Duration;
use wire::ActionKind;
use wire::bundle::KeyRing;
use wire::entry::EntryBody;
use wire::frame::DeviceInfo;
use wire::ids::AgentId;
use wire::reading::Reading;
use wire::time::Wall;

use crate::bundles::OF_ALL;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::gpu::{Gpu, RANGE_MW, Workload};
use crate::net::{Session, Way};
use crate::swarm::Fault;
use crate::world::{Event, Planted, TRUST_DOMAIN, World};

/// How a disk behaves at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Works,
    Slow,
    Fails,
    Full,
    /// The journal is at its bound: entries still fit into its reserve, blocks and bundles do not.
    Bound,
}

/// One agent with all that is around it.
pub(crate) struct Node {
    pub(crate) id: AgentId,
    pub(crate) core: Option<Agent>,
    /// Counts the processes, so that what was meant for a dead one is not given to the next.
    pub(crate) life: u64,
    pub(crate) disk: Disk,
    pub(crate) copy: Option<Disk>,
    pub(crate) mood: Mood,
    pub(crate) flying: Option<Box<Batch>>,
    pub(crate) acting: Vec<(Run, u64)>,
    pub(crate) restarted_for: Vec<wire::DecisionId>,
    pub(crate) clock: Clock,
    pub(crate) gpus: Vec<Gpu>,
    pub(crate) workload: Workload,
    pub(crate) session: Option<u64>,
    pub(crate) blocked_up: bool,
    pub(crate) blocked_down: bool,
    timer_ms: u64,
}

impl Node {
    pub(crate) fn new(index: usize, clock: Clock, tells_cap: bool) -> Self {
        Self {
            id: AgentId::new(format!("edge-{index:04}")).expect("a valid name"),
            core: None,
            life: 0,
            disk: Disk::default(),
            copy: None,
            mood: Mood::Works,
            flying: None,
            acting: Vec::new(),
            restarted_for: Vec::new(),
            clock,
            gpus: vec![Gpu::new(0, tells_cap), Gpu::new(1, tells_cap)],
            workload: Workload::new(),
            session: None,
            blocked_up: false,
            blocked_down: false,
            timer_ms: u64::MAX,
        }
    }

    fn devices(&self) -> Vec<DeviceInfo> {
        let gpus = self.gpus.iter().map(|gpu| DeviceInfo {
            id: gpu.id().clone(),
            model: "Sim L40S".to_owned(),
            simulated: true,
            power_cap_range_mw: Some(RANGE_MW),
        });
        gpus.collect()
    }

    fn apply(&mut self, run: &Run) {
        match run.action.kind {
            ActionKind::PowerCap { milliwatts } => self.set_cap(run, milliwatts),
            ActionKind::ReleasePowerCap => self.set_cap(run, RANGE_MW.1),
            ActionKind::Restart if run.action.target == *self.workload.id() => {
                self.workload.restart();
                if self.restarted_for.len() == 64 {
                    self.restarted_for.remove(0);
                }
                self.restarted_for.push(run.decision.clone());
            }
            // Nothing of the simulated machine changes.
            _ => {}
        }
    }

    fn set_cap(&mut self, run: &Run, milliwatts: u32) {
        if let Some(gpu) = self.gpus.iter_mut().find(|g| *g.id() == run.action.target) {
            gpu.cap_mw = milliwatts;
        }
    }

    fn probe(&self, run: &Run) -> ProbeResult {
        let cap = |wanted: u32| {
            let gpu = self.gpus.iter().find(|g| *g.id() == run.action.target);
            let value = gpu.map(|gpu| i64::from(gpu.cap_mw));
            if value == Some(i64::from(wanted)) {
                ProbeResult::Done { value }
            } else {
                ProbeResult::NotDone { value }
            }
        };
        match run.action.kind {
            ActionKind::PowerCap { milliwatts } => cap(milliwatts),
            ActionKind::ReleasePowerCap => cap(RANGE_MW.1),
            ActionKind::Restart if self.restarted_for.contains(&run.decision) => ProbeResult::Done { value: None },
            ActionKind::Restart => ProbeResult::NotDone { value: None },
            _ => ProbeResult::Unknown {
                reason: "it leaves no trace".to_owned(),
            },
        }
    }
}

impl World {
    /// Starts an agent's process on what its disk holds.
    pub(crate) fn start_agent(&mut self, n: usize) {
        let process = self.random.next();
        let now = self.nodes[n].clock.at(self.now_ms);
        let node = &mut self.nodes[n];
        if node.core.is_some() {
            return;
        }
        node.life += 1;
        let settings = Settings {
            agent: node.id.clone(),
            site: "site-a".to_owned(),
            trust_domain: TRUST_DOMAIN.to_owned(),
            labels: vec![("rack".to_owned(), format!("r{}", n % 2))],
            policy_keys: KeyRing::single(self.root_key.verifying_key().to_bytes()),
            root_pin: None,
            version: "sim".to_owned(),
            process,
            seed: process ^ 1,
            journal_limit_bytes: self.swarm.journal_limit_bytes,
            block_every: Duration::from_secs(10),
            append_deadline: Duration::from_secs(2),
            climbs: false,
            profiles: Default::default(),
            certificate_ends: Wall(0),
            rejoins: 0,
            wall_floor: Wall(0),
        };
        let bug = match self.planted {
            Planted::Core(bug) => bug,
            // A bug of a shell.
            _ => edge_agent_core::Planted::Nothing,
        };
        let recovered = node.disk.recover();
        let core = Agent::new_planted(settings, recovered, now, bug);
        self.invariants.on_start(n, &node.id, &core, now);
        node.core = Some(core);
        node.timer_ms = u64::MAX;
        let devices = node.devices();
        self.tell(n, Input::Devices(devices));
        let first = 1 + self.random.below(1_000);
        let life = self.nodes[n].life;
        self.after(first, Event::Sample { n, life });
    }

    /// Kills an agent's process.
    pub(crate) fn crash_agent(&mut self, n: usize) {
        let now_ms = self.now_ms;
        let limit = self.swarm.journal_limit_bytes;
        let node = &mut self.nodes[n];
        if node.core.take().is_none() {
            return;
        }
        node.life += 1;
        self.faults.add(Fault::AgentCrash);
        self.forget_shares(n);
        for (run, applied_ms) in std::mem::take(&mut self.nodes[n].acting) {
            self.faults.add(Fault::ActionLost);
            if applied_ms <= now_ms {
                self.nodes[n].apply(&run);
            }
        }
        if let Some(batch) = self.nodes[n].flying.take() {
            match self.random.below(3) {
                0 if self.nodes[n].mood == Mood::Works => {
                    self.faults.add(Fault::BatchKept);
                    let node = &mut self.nodes[n];
                    self.invariants.on_append(n, &node.id, &batch, &node.disk);
                    node.disk.commit(&batch, limit);
                }
                1 => {
                    self.faults.add(Fault::BatchTorn);
                    self.nodes[n].disk.write_floor(&batch);
                }
                _ => self.faults.add(Fault::BatchLost),
            }
        }
        if let Some(id) = self.nodes[n].session.take() {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.agent_open = false;
            }
            let late = self.random.between(0, 20_000);
            self.after(late, Event::HubEnd { id, reason: "died" });
        }
    }

    /// Gives an agent one input and carries out what it asks for.
    pub(crate) fn tell(&mut self, n: usize, input: Input) {
        let node = &mut self.nodes[n];
        let now = node.clock.at(self.now_ms);
        let Some(core) = &mut node.core else { return };
        core.handle(input, now);
        self.invariants.after_step(n, &node.id, core, now);
        while let Some(effect) = self.nodes[n].core.as_mut().and_then(Agent::poll_effect) {
            self.carry_out(n, effect);
        }
        self.set_timer(n);
    }

    pub(crate) fn sample(&mut self, n: usize, life: u64) {
        let node = &mut self.nodes[n];
        if node.life != life || node.core.is_none() {
            return;
        }
        let mut readings: Vec<Reading> = Vec::with_capacity(5);
        for gpu in &mut node.gpus {
            gpu.step(&mut self.random, &mut readings);
        }
        node.workload.step(&mut readings);
        self.after(1_000, Event::Sample { n, life });
        self.tell(n, Input::Readings(readings));
    }

    pub(crate) fn tick(&mut self, n: usize, life: u64) {
        let node = &mut self.nodes[n];
        if node.life != life {
            return;
        }
        node.timer_ms = u64::MAX;
        self.tell(n, Input::Tick);
    }

    pub(crate) fn appended(&mut self, n: usize, life: u64, failure: Option<AppendError>) {
        if self.nodes[n].life != life {
            return;
        }
        let Some(batch) = self.nodes[n].flying.take() else {
            return;
        };
        let token = batch.token;
        if let Some(reason) = failure {
            return self.tell(n, Input::AppendFailed { token, reason });
        }
        let limit = self.swarm.journal_limit_bytes;
        let node = &mut self.nodes[n];
        self.invariants.on_append(n, &node.id, &batch, &node.disk);
        let trimmed = node.disk.commit(&batch, limit);
        let used_bytes = node.disk.used_bytes();
        for raw in &batch.entries {
            self.say(n, || {
                let text = raw.decode().map(|entry| wire::view::text(&entry.body));
                format!("durable {}.{} {}", batch.epoch, raw.seq, text.unwrap_or_default())
            });
            self.trace = self.trace.rotate_left(5) ^ u64::from(raw.digest.0[0]) ^ raw.seq.0;
        }
        self.tell(n, Input::Appended { token, used_bytes });
        for gone in trimmed {
            self.tell(
                n,
                Input::Trimmed {
                    log: gone.log,
                    epoch: gone.epoch,
                    oldest: gone.oldest,
                },
            );
        }
    }

    pub(crate) fn action_done(&mut self, n: usize, life: u64, run: &Run) {
        if self.nodes[n].life != life {
            return;
        }
        let acting = &mut self.nodes[n].acting;
        let Some(index) = acting.iter().position(|(other, _)| other.decision == run.decision) else {
            return;
        };
        acting.remove(index);
        let result = if self.faulty(Fault::ActionFails) && self.random.chance(100) {
            self.faults.add(Fault::ActionFails);
            ActionResult::Failed {
                reason: "the device refused".to_owned(),
            }
        } else {
            self.nodes[n].apply(run);
            ActionResult::Applied {
                before: None,
                after: None,
                detail: String::new(),
            }
        };
        let decision = run.decision.clone();
        self.tell(n, Input::ActionDone { decision, result });
    }

    pub(crate) fn probed(&mut self, n: usize, life: u64, run: &Run) {
        if self.nodes[n].life != life {
            return;
        }
        let mut result = self.nodes[n].probe(run);
        if self.faulty(Fault::ProbeUnknown) && self.random.chance(200) {
            result = ProbeResult::Unknown {
                reason: "no answer".to_owned(),
            };
        }
        if matches!(result, ProbeResult::Unknown { .. }) {
            self.faults.add(Fault::ProbeUnknown);
        }
        let decision = run.decision.clone();
        self.tell(n, Input::Probed { decision, result });
    }

    /// The agent's try to connect ends.
    pub(crate) fn connect(&mut self, n: usize, life: u64) {
        if self.nodes[n].life != life {
            return;
        }
        let blocked = self.nodes[n].blocked_up || self.nodes[n].blocked_down;
        let via = match blocked && self.hub.is_some() {
            true => self.carriers_of(n),
            false => None,
        };
        if (blocked && via.is_none()) || self.hub.is_none() {
            let reason = "no answer".to_owned();
            return self.tell(n, Input::LinkDown { reason });
        }
        self.next_session += 1;
        let id = self.next_session;
        self.sessions.insert(id, Session::new(n));
        self.nodes[n].session = Some(id);
        let agent = self.nodes[n].id.clone();
        self.tell_hub(hub_core::Input::SessionOpened {
            session: hub_core::SessionId(id),
            agent,
        });
        if let Some(via) = via {
            self.goes(n, id, via);
        }
        self.tell(n, Input::LinkUp);
    }

    /// Never more nodes of a rack are touched at once than every bundle allows. A hub that was restored from a copy may not know all
    /// of them.
    fn look_at_turns(&mut self, n: usize, run: &Run) {
        let Some(most) = self.swarm.turns.filter(|_| !self.hub_restored) else {
            return;
        };
        if !run.action.kind.disruptive() {
            return;
        }
        let touches = |node: &Node| node.acting.iter().any(|(run, _)| run.action.kind.disruptive());
        let rack = self.nodes.iter().enumerate().filter(|(other, _)| other % 2 == n % 2);
        let touched: Vec<usize> = rack.filter(|(_, node)| touches(node)).map(|(other, _)| other).collect();
        self.invariants.turns += 1;
        self.invariants.require(touched.len() <= most, || {
            format!("A5: nodes {touched:?} of one rack are touched at once, and {most} may be")
        });
        self.look_at_rate(n, run);
    }

    /// No window holds more restarts of all nodes together than every bundle allows, by the times of their decisions.
    fn look_at_rate(&mut self, n: usize, run: &Run) {
        let node = &self.nodes[n];
        let place = (run.decision.epoch, run.decision.seq);
        let entry = node.disk.entries.get(&place).and_then(|raw| raw.decode().ok());
        let Some(EntryBody::Decided(decision)) = entry.map(|entry| entry.body) else {
            return;
        };
        let age_ms = node
            .clock
            .at(self.now_ms)
            .mono
            .since(decision.inputs.at.mono)
            .as_millis();
        let at_ms = self.now_ms.saturating_sub(u64::try_from(age_ms).unwrap_or(u64::MAX));
        self.invariants.restarts.push(at_ms);
        self.invariants.restarts.sort_unstable();
        let (limit, window_ms) = OF_ALL;
        let mut stretches = self.invariants.restarts.windows(limit + 1);
        let crowded = stretches
            .find(|times| times[limit] - times[0] < window_ms)
            .map(<[u64]>::to_vec);
        self.invariants.require(crowded.is_none(), || {
            format!("A6: restarts were decided at {crowded:?} ms, and {limit} may be in {window_ms} ms")
        });
    }

    fn carry_out(&mut self, n: usize, effect: Effect) {
        let life = self.nodes[n].life;
        match effect {
            Effect::Append(batch) => self.append(n, batch),
            Effect::Act(run) => {
                let node = &mut self.nodes[n];
                let now = node.clock.at(self.now_ms);
                let journal_ok = node.core.as_ref().is_none_or(|core| core.status(now).journal_ok);
                if let Some(origin) = self.invariants.on_act(n, &run, &node.disk, journal_ok) {
                    let found = self.planning.rules.on_act(n, &origin, self.hub_restored);
                    self.invariants
                        .require(found.is_ok(), || found.err().unwrap_or_default());
                }
                let takes = self.random.between(5, 800);
                let applied_ms = self.now_ms + self.random.below(takes);
                self.nodes[n].acting.push((run.clone(), applied_ms));
                self.look_at_turns(n, &run);
                self.after(takes, Event::ActionDone { n, life, run });
            }
            Effect::ProbeAction(run) => {
                self.after(10, Event::Probed { n, life, run });
            }
            Effect::Load {
                token,
                log,
                epoch,
                from,
                max_bytes,
            } => {
                let found = self.nodes[n].disk.load(log, epoch, from, max_bytes);
                let found = Box::new(found);
                self.after(1, Event::Loaded { n, life, token, found });
            }
            Effect::Release { log, epoch, through } => self.nodes[n].disk.release(log, epoch, through),
            Effect::Shed { epoch, through } => {
                self.faults.add(Fault::Shed);
                let node = &mut self.nodes[n];
                self.invariants.on_shed(n, epoch, through, &node.disk);
                node.disk.shed(epoch, through);
            }
            Effect::Send(frame) => {
                if let Some(id) = self.nodes[n].session {
                    self.send(id, Way::Up, frame);
                }
            }
            Effect::Connect => {
                let blocked = self.nodes[n].blocked_up || self.nodes[n].blocked_down;
                let takes = if blocked || self.hub.is_none() {
                    self.random.between(500, 3_000)
                } else {
                    2 * self.latency()
                };
                self.after(takes, Event::Connect { n, life });
            }
            Effect::Disconnect { reason } => {
                if let Some(id) = self.nodes[n].session {
                    self.after(0, Event::AgentEnd { id, reason: "closed" });
                    let clean = reason == hub_core::STOPPED;
                    let reason = if clean { hub_core::STOPPED } else { "closed" };
                    if self.is_blocked(n, Way::Up) {
                        self.faults.add(Fault::Zombie);
                        let late = self.random.between(8_000, 30_000);
                        self.after(late, Event::HubEnd { id, reason });
                    } else {
                        let at_ms = self.drained_ms(id, Way::Up);
                        self.at(at_ms, Event::HubEnd { id, reason });
                    }
                }
            }
            Effect::Share(shared) => self.share(n, *shared),
            Effect::Reply { .. } | Effect::Stopped => {}
        }
    }

    fn append(&mut self, n: usize, batch: Batch) {
        let limit = self.swarm.journal_limit_bytes;
        let life = self.nodes[n].life;
        let room = self.nodes[n].disk.check_room(&batch, limit);
        let large = batch.telemetry.is_some() || batch.bundle.is_some();
        self.nodes[n].flying = Some(Box::new(batch));
        let failure = match self.nodes[n].mood {
            Mood::Fails => {
                self.faults.add(Fault::DiskFails);
                Some(AppendError::Io("failed".to_owned()))
            }
            Mood::Full => {
                self.faults.add(Fault::DiskFull);
                Some(AppendError::Full)
            }
            Mood::Bound if large => {
                self.faults.add(Fault::JournalFull);
                Some(AppendError::Full)
            }
            Mood::Works | Mood::Slow | Mood::Bound => room.err().inspect(|_| {
                self.faults.add(Fault::JournalFull);
            }),
        };
        let takes = if self.nodes[n].mood == Mood::Slow {
            self.faults.add(Fault::DiskSlow);
            self.random.between(1_000, 9_000)
        } else {
            self.random.between(1, 12)
        };
        self.after(takes, Event::Appended { n, life, failure });
    }

    fn set_timer(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        let now = node.clock.at(self.now_ms);
        let Some(due) = node.core.as_ref().and_then(|core| core.poll_timeout(now)) else {
            return;
        };
        let due_ms = self.now_ms + u64::try_from(due.as_millis()).unwrap_or(u64::MAX >> 1).max(1);
        // A tick that comes too early does no harm, so only an earlier one than the pending one is set.
        if due_ms < node.timer_ms {
            node.timer_ms = due_ms;
            let life = node.life;
            self.at(due_ms, Event::Tick { n, life });
        }
    }
}
