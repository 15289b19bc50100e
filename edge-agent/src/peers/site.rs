//! What is known of the members of the site: their sessions, what they said last, and what was carried for them.
//!
//! Keeps; never decides. Invariant: there is one line for each member, and for nobody else.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use edge_agent_core::Doubts;
use policy::Members;
use wire::AgentId;
use wire::api::NeighbourView;
use wire::frame::{PeerPath, PeerState, Reach};
use wire::time::Mono;
use wire_transport::{Met, PeerHandle};

use crate::clock::boot_ms;

/// A session, whether anything was said in it or not.
#[derive(Debug)]
pub struct Session {
    pub handle: PeerHandle,
    pub dialled: bool,
    pub since: Instant,
    /// Tells it from an earlier one of the same neighbour.
    pub number: u64,
}

/// A neighbour that has said how it stands.
#[derive(Debug)]
pub struct Live {
    pub handle: PeerHandle,
    pub state: PeerState,
    pub path: PeerPath,
    pub said_at: Instant,
    /// Packets that had come from it when somebody last looked, and when the last of them was new.
    pub heard: (u64, Instant),
}

/// The members, by name.
#[derive(Debug, Default)]
pub struct Known {
    members: Vec<AgentId>,
    pub sessions: BTreeMap<AgentId, Session>,
    pub live: BTreeMap<AgentId, Live>,
    /// Carriers by way of which sessions did not hold.
    pub doubts: Doubts,
    /// Those out of touch: what they said last, and when something came from them.
    pub gone: BTreeMap<AgentId, (NeighbourView, Instant)>,
}

impl Known {
    /// The members are these now. Returns the sessions of those that are none any more.
    pub fn follow(&mut self, members: &Members) -> Vec<PeerHandle> {
        self.members = members.keys().cloned().collect();
        self.gone.retain(|name, _| members.contains_key(name));
        self.live.retain(|name, _| members.contains_key(name));
        let left = self.sessions.iter().filter(|(name, _)| !members.contains_key(*name));
        left.map(|(_, session)| session.handle.clone()).collect()
    }

    /// There is a session, in place of an earlier one.
    pub fn begin(&mut self, met: &Met, number: u64) {
        let session = Session {
            handle: met.handle.clone(),
            dialled: met.dialled,
            since: Instant::now(),
            number,
        };
        self.sessions.insert(met.agent.clone(), session);
    }

    /// A session has ended; false: another one has taken its place already.
    pub fn end(&mut self, peer: &AgentId, number: u64, now: Instant) -> bool {
        if self.sessions.get(peer).is_none_or(|session| session.number != number) {
            return false;
        }
        self.sessions.remove(peer);
        if let Some(mut live) = self.live.remove(peer) {
            let view = NeighbourView {
                in_touch: false,
                ..live.view(peer, now)
            };
            self.gone.insert(peer.clone(), (view, live.heard.1));
        }
        true
    }

    /// A line for each member.
    pub fn views(&mut self, now: Instant) -> Vec<NeighbourView> {
        let Self {
            members,
            live,
            gone,
            doubts,
            ..
        } = self;
        let at = Mono(boot_ms());
        let one = |name: &AgentId| match (live.get_mut(name), gone.get(name)) {
            (Some(live), _) => NeighbourView {
                doubted: doubts.of(name, at),
                ..live.view(name, now)
            },
            (None, Some((view, heard))) => NeighbourView {
                age_ms: Some(millis(now.saturating_duration_since(*heard))),
                ..view.clone()
            },
            (None, None) => NeighbourView::unheard(name.clone()),
        };
        members.iter().map(one).collect()
    }
}

impl Live {
    fn view(&mut self, name: &AgentId, now: Instant) -> NeighbourView {
        let packets = self.handle.heard_packets();
        if packets != self.heard.0 {
            self.heard = (packets, now);
        }
        let since_said = millis(now.saturating_duration_since(self.said_at));
        let carried = self.handle.carried();
        // One with a session gets beacons of its own, and does not say so each time.
        let is_alone = self.state.reach == Reach::Alone;
        NeighbourView {
            site: self.state.site.clone(),
            in_touch: true,
            age_ms: Some(millis(now.saturating_duration_since(self.heard.1))),
            reach: self.state.reach,
            rtt_us: u64::try_from(self.handle.rtt().as_micros()).unwrap_or(u64::MAX),
            lost_per_mille: self.handle.lost_per_mille(),
            generation: self.state.held.bundle.generation.0,
            via: self.path.via.clone(),
            hops: self.path.hops,
            uplink: self.path.uplink,
            hub_rtt_us: self.path.hub_rtt_us,
            hub_away: self.path.hub_away,
            // A policy that nothing proves to be fresh has no age.
            policy_age_ms: Some(self.path.policy_age_ms)
                .filter(|age| is_alone && *age < u64::MAX)
                .map(|age| age.saturating_add(since_said)),
            authority: Some(self.path.authority),
            too_narrow: self.handle.has_room() == Some(false),
            carried_packets: carried.packets,
            carried_bytes: carried.bytes,
            dropped_packets: carried.over,
            ..NeighbourView::unheard(name.clone())
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
