//! What people see: the fleet's rows, the policy, and what verification needs. Read-only.

use std::time::Duration;

use wire::api::{GpuView, NodeView, PolicyView, WorkloadView};
use wire::decision::Authority;
use wire::entry::ChainHead;
use wire::frame::DeviceInfo;
use wire::ids::{AgentId, Epoch, HubEpoch, Seq};
use wire::reading::{DeviceId, Quantity, Series};
use wire::time::{ClockError, Mono, Now, Wall};

use crate::agents::{How, Shut};
use crate::chain::Hole;
use crate::fleet::Node;
use crate::hub::Hub;
use crate::pace::Pace;

/// What an agent last said of its journal, to be compared with what is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// When it said so, by the hub's clocks.
    pub as_of: Now,
    /// The end of its present epoch.
    pub head: ChainHead,
    /// The first entry of the present epoch that it still had when its session began.
    pub oldest: Seq,
    /// Older epochs that it still had entries of when its session began: (epoch, first, last), oldest first.
    pub older: Vec<(Epoch, Seq, Seq)>,
    /// Entries that it once had, and that neither it nor the hub has any more. At most 64 ranges, the newest.
    pub holes: Vec<Hole>,
}

/// The latest value of everything that an agent measures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latest {
    /// When, by the agent's wall clock.
    pub at: Wall,
    /// The values, in the agent's own order.
    pub values: Vec<(Series, Option<i64>)>,
}

impl Hub {
    /// All nodes, by name.
    pub fn nodes(&self, now: Now) -> Vec<NodeView> {
        self.fleet.by_name().map(|node| self.view(node, now)).collect()
    }

    /// One node. `last_decisions` and `faults` are left empty: the store knows them.
    pub fn node(&self, agent: &AgentId, now: Now) -> Option<NodeView> {
        self.fleet.find(agent).map(|node| self.view(node, now))
    }

    /// The newest bundle and the nodes that have it; `None` before the first.
    pub fn policy(&self, _now: Now) -> Option<PolicyView> {
        let newest = self.bundles.newest()?;
        let reference = newest.reference;
        let has = |node: &&Node| !self.agents.is_denied(node.id()) && node.bundle() == reference;
        let parsed = newest.parsed.as_ref();
        Some(PolicyView {
            generation: reference.generation,
            digest: reference.digest,
            name: parsed.map(|parsed| parsed.name().to_owned()).unwrap_or_default(),
            issued_at: newest.payload.issued_at,
            active: true,
            nodes: self.fleet.by_name().filter(has).count() as u64,
            nodes_total: self.nodes_total(),
            rules: parsed.map(|parsed| parsed.rules()).unwrap_or_default(),
            text: String::from_utf8_lossy(&newest.payload.text).into_owned(),
        })
    }

    /// Nodes that should get a bundle: all that are not denied.
    pub(crate) fn nodes_total(&self) -> u64 {
        let denied = |node: &&Node| !self.agents.is_denied(node.id());
        self.fleet.by_name().filter(denied).count() as u64
    }

    /// What an agent last said of its journal; `None` for an agent that never connected.
    pub fn reported(&self, agent: &AgentId) -> Option<Reported> {
        let node = self.fleet.find(agent)?;
        let told = node.record.told.as_ref()?;
        Some(Reported {
            as_of: told.at,
            head: told.head,
            oldest: told.oldest,
            older: told.older.clone(),
            holes: node.record.holes.clone(),
        })
    }

    /// The latest value of everything that an agent measures; `None` before its first readable block.
    pub fn latest_telemetry(&self, agent: &AgentId) -> Option<Latest> {
        let feed = &self.fleet.find(agent)?.feed;
        let values = feed.latest().map(|(series, value)| (series.clone(), value));
        Some(Latest {
            at: feed.latest_at?,
            values: values.collect(),
        })
    }

    /// This hub's incarnation, as it is stored.
    pub fn hub_epoch(&self) -> HubEpoch {
        self.meta.hub_epoch
    }

    /// Sessions that are welcomed.
    pub fn connected(&self) -> usize {
        self.fleet.by_name().filter(|node| node.session.is_some()).count()
    }

    fn authority(&self, node: &Node, now: Mono) -> Option<(Authority, Option<u64>)> {
        let ours = self.bundles.newest_reference() == node.bundle();
        let rules = self.bundles.rules().filter(|_| ours);
        node.authority(now, |age_ms| rules.map(|rules| rules.authority(age_ms)))
    }

    /// What the hub itself finds, then what the node says.
    fn all_findings(&self, node: &Node, now: Mono) -> Vec<String> {
        let forked = self.agents.forked(node.id()).map(|fork| fork.detail.clone());
        let floods = node.pace.is_slowed(now).then(Pace::finding);
        let cut = node.cut_lately(now).map(|entries| {
            format!(
                "its history here is cut: {entries} of its oldest entries had to go, because all entries together take more room than they                  may and it has more of them than others. `sentinel verify` says from where on they are kept; --entry-bytes of the hub                  gives more room"
            )
        });
        let own = [forked, floods, cut].into_iter().flatten();
        own.chain(self.findings(node)).collect()
    }

    fn view(&self, node: &Node, now: Now) -> NodeView {
        let authority = self.authority(node, now.mono);
        let (step, next_step_ms) = authority.unwrap_or((Authority::Observe, None));
        let silence = node.silence(now.mono);
        let record = &node.record;
        let status = record.status.as_ref();
        let produced = node.produced().unwrap_or(ChainHead::empty(Epoch(0)));
        let bundle = node.bundle();
        let stored = node.durable(produced.epoch);
        let node_device = DeviceId::node();
        let shut = self.agents.shut(node.id());
        NodeView {
            name: record.agent.clone(),
            site: record.site.clone(),
            state: node.state(authority.map(|(step, _)| step), shut.map(|shut| &shut.how)),
            state_since: record.since,
            last_seen: record.seen.map(|seen| seen.wall),
            age_ms: silence.map(milliseconds),
            policy_generation: bundle.generation,
            policy_digest: bundle.digest,
            policy_age_ms: status.map_or(0, |status| {
                let silence_ms = silence.map_or(0, milliseconds);
                status.policy_age_ms.saturating_add(silence_ms)
            }),
            backlog_entries: node.backlog(),
            labels: record.labels.iter().cloned().collect(),
            unhealthy: self.unhealthy(node).map(str::to_owned),
            findings: self.all_findings(node, now.mono),
            told_by: None,
            via: self.via(node),
            path: self.path(node),
            // Only the node knows.
            isolation: None,
            neighbours: Vec::new(),
            waits_for_turn: self.waits_for_turn(node),
            authority: step,
            next_authority_in_ms: next_step_ms,
            certificate_ends: status.map(|status| status.certificate_ends),
            rejoins: status.map_or(0, |status| status.rejoins),
            clock: node.clock(),
            clock_error: node.clock_error_ms.map(ClockError::WithinMs),
            held_by: status.and_then(|status| status.held_by.clone()),
            // Only the node knows.
            break_glass: self.open_glass(node, now),
            quarantined: shut
                .filter(|shut| shut.how == How::Quarantined)
                .map(|shut| shut.reason.clone()),
            shut_out: shut.and_then(said),
            epoch: produced.epoch,
            // What is stored was made, even if the node has not told of it yet.
            produced: produced.seq.max(stored),
            stored,
            journal_bytes: status.map_or(0, |status| status.journal_bytes.0),
            journal_limit_bytes: status.map_or(0, |status| status.journal_bytes.1),
            journal_ok: status.is_none_or(|status| status.journal_ok),
            unrecorded_actions: status.map_or(0, |status| status.unrecorded_actions),
            telemetry_interval_ms: status.map_or(0, |status| status.telemetry_interval_ms),
            version: record.program.clone(),
            gpus: gpus(node),
            workloads: workloads(node),
            cpu_used_bp: node.feed.value(&node_device, Quantity::CpuUsed),
            memory_used_bp: node.feed.value(&node_device, Quantity::MemoryUsedShare),
            last_decision: node.last_decision.as_deref().cloned(),
            last_decisions: Vec::new(),
            faults: Vec::new(),
        }
    }
}

/// Why a person has shut a node out, in words; `None`: the hub has quarantined it.
fn said(shut: &Shut) -> Option<String> {
    match &shut.how {
        How::Denied => Some(format!("denied: {}", shut.reason)),
        How::Quarantined => None,
        How::Removed => Some(format!("removed: {}", shut.reason)),
        How::Renamed { to } => Some(format!("renamed to {to}: {}", shut.reason)),
    }
}

impl Node {
    pub(crate) fn devices(&self) -> &[DeviceInfo] {
        self.record.status.as_ref().map_or(&[], |status| &status.devices)
    }

    /// Entries that it has made, as far as it has said, and that are not durable here.
    fn backlog(&self) -> u64 {
        let Some(told) = &self.record.told else {
            return 0;
        };
        let lacks = |epoch: Epoch, last: Seq| last.0.saturating_sub(self.durable(epoch).0);
        let older = told.older.iter().map(|(epoch, _, last)| lacks(*epoch, *last));
        // A record of an earlier version may hold any numbers.
        older.fold(lacks(told.head.epoch, told.head.seq), u64::saturating_add)
    }
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn gpus(node: &Node) -> Vec<GpuView> {
    let gpus = node.devices().iter().filter(|info| info.id.class() == "gpu");
    gpus.map(|info| {
        let profile = firmware_profiles::of(&info.model).map(|profile| profile.id.as_str());
        GpuView::of(info, profile, |quantity| node.feed.value(&info.id, quantity))
    })
    .collect()
}

fn workloads(node: &Node) -> Vec<WorkloadView> {
    let workloads = node.feed.devices().filter(|device| device.class() == "workload");
    workloads
        .map(|device| {
            let value = |quantity| node.feed.value(device, quantity);
            WorkloadView {
                id: device.clone(),
                pid: value(Quantity::WorkloadPid),
                memory_bytes: value(Quantity::WorkloadMemory),
                cpu_bp: value(Quantity::WorkloadCpu),
                restarts: value(Quantity::WorkloadRestarts),
            }
        })
        .collect()
}
