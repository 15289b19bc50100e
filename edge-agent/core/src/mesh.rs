//! The agents of a site among themselves: who could carry whom, by which way the hub is reached, and how far a cut goes.
//!
//! Decides by what neighbours say of themselves and by which way the present session goes; it carries nothing and trusts no
//! neighbour with more than packets, which are sealed end to end.
//!
//! Invariant: only a neighbour with a path of its own carries, or one that such a neighbour carries; so two stand between a node and
//! the hub at most, and never the node itself.
//! Read next: `homing.rs` (when a node goes back to its own path), `doubts.rs` (carriers that did not hold), `shared.rs` (what is passed
//! on), `edge-agent/src/peers.rs` (who carries).

mod bound;
mod doubts;
mod homing;
mod shared;

pub use bound::{Bound, GIFTS_A_MINUTE};
pub use doubts::Doubts;
pub use homing::Homing;
pub use shared::Shared;

use policy::Isolated;
use wire::api::{Isolation, NeighbourView};
use wire::frame::{Frame, NodePath, Reach};
use wire::time::Now;
use wire::{AgentId, Beacon, Digest};

use crate::agent::Agent;
use crate::planted::Planted;

/// A carried packet of full size, 1,230 bytes, with IPv6's and UDP's headers around it.
const NEEDED_MTU: u32 = 1_278;
/// A packet of a thousand that is lost costs as much as this much more round trip, in microseconds: a twentieth of the packets lost
/// is as bad as fifty milliseconds.
const LOST_US: u64 = 1_000;

/// The part of the node that has a finding while neighbours are in touch that cannot be carried by it, nor carry it.
pub(crate) const PART: &str = "mesh";
/// Names in that finding; the others are counted.
const NAMED: usize = 3;

/// What is known of the site.
#[derive(Debug)]
pub(crate) struct Mesh {
    /// The other members, by name.
    neighbours: Vec<NeighbourView>,
    /// Who carries the session that is up.
    via: Option<AgentId>,
    /// Each byte costs at the end of that way.
    metered: bool,
    /// What the hub has heard in this session; that nobody carries it goes without saying.
    told: Option<AgentId>,
    /// The beacon that was heard last, as it travels.
    pub(crate) beacon: Option<Beacon>,
    /// What the shell last got to pass on.
    shared: shared::Said,
    /// What a neighbour passed on last: a bundle, a beacon.
    given: (Option<Digest>, u64),
    /// The hub took its leave, or its machine said that nobody listens there, and nothing was heard of it since.
    hub_away: bool,
    /// What the judge was told.
    judged: Option<Isolated>,
}

impl Default for Mesh {
    fn default() -> Self {
        Self {
            neighbours: Vec::new(),
            via: None,
            metered: false,
            told: None,
            beacon: None,
            shared: shared::Said::NOTHING,
            given: (None, 0),
            hub_away: false,
            judged: None,
        }
    }
}

/// The neighbours that could carry this node, the best first: one whose sessions hold, then the cheaper uplink, then fewer carriers, then
/// the quicker way with less loss.
pub fn carriers<'a>(me: &AgentId, neighbours: &'a [NeighbourView]) -> Vec<&'a NeighbourView> {
    let carries = neighbours.iter().filter(|neighbour| could_carry(me, neighbour));
    let mut carriers: Vec<&NeighbourView> = carries.collect();
    carriers.sort_by_key(|neighbour| (kind(neighbour), cost_us(neighbour), &neighbour.name));
    carriers
}

/// The best of them.
pub fn carrier<'a>(me: &AgentId, neighbours: &'a [NeighbourView]) -> Option<&'a NeighbourView> {
    carriers(me, neighbours).first().copied()
}

/// Whether a neighbour could carry this node: it has a path of its own, or somebody else carries it who has one.
pub fn could_carry(me: &AgentId, neighbour: &NeighbourView) -> bool {
    neighbour.in_touch
        && !neighbour.too_narrow
        && match neighbour.reach {
            Reach::Direct => true,
            Reach::Carried => neighbour.hops == 1 && neighbour.via.as_ref().is_some_and(|via| via != me),
            Reach::Alone => false,
        }
}

/// The one to move to from `present`, while it carries and a better one is there: another kind of way, or one that costs less than
/// half as much. `None`: `present` is good enough.
pub fn better_than<'a>(me: &AgentId, present: &AgentId, neighbours: &'a [NeighbourView]) -> Option<&'a NeighbourView> {
    let best = carrier(me, neighbours)?;
    let present = neighbours
        .iter()
        .find(|known| known.name == *present && could_carry(me, known));
    let is_better = present.is_none_or(|present| {
        let is_much_quicker = cost_us(best).saturating_mul(2) < cost_us(present);
        kind(best) < kind(present) || (kind(best) == kind(present) && is_much_quicker)
    });
    is_better.then_some(best)
}

/// Whether a neighbour could carry this node now that could not before.
pub fn is_there_another(me: &AgentId, before: &[NeighbourView], now: &[NeighbourView]) -> bool {
    let could = |name: &AgentId| before.iter().any(|known| known.name == *name && could_carry(me, known));
    now.iter().any(|one| could_carry(me, one) && !could(&one.name))
}

/// What counts before how quick a way is; less is better.
fn kind(neighbour: &NeighbourView) -> (bool, wire::frame::Uplink, u8) {
    (neighbour.doubted, neighbour.uplink, neighbour.hops)
}

/// What people hear of neighbours behind a path that is too small.
fn narrow(neighbours: &[NeighbourView]) -> Option<String> {
    let narrow = neighbours.iter().filter(|one| one.in_touch && one.too_narrow);
    let mut names: Vec<String> = narrow.map(|one| one.name.to_string()).collect();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    let last = names.pop()?;
    let all = match names.is_empty() {
        true => last,
        false => format!("{} and {last}", names.join(", ")),
    };
    Some(format!(
        "the local path to {all} has no room for carried packets, so neither end can help the other: raise the MTU of that network to \
         {NEEDED_MTU} bytes or more (a tunnel or VPN between the two is the usual cause)"
    ))
}

/// How long a packet takes by way of a neighbour, and what its loss costs.
fn cost_us(neighbour: &NeighbourView) -> u64 {
    let way = neighbour.rtt_us.saturating_add(neighbour.hub_rtt_us);
    way.saturating_add(LOST_US * u64::from(neighbour.lost_per_mille))
}

/// What a node goes by that has to say how far a cut goes.
struct Seen<'a> {
    connected: bool,
    via: Option<&'a AgentId>,
    hub_away: bool,
    site: &'a str,
    neighbours: &'a [NeighbourView],
}

/// How far a cut goes; `None`: the node's own path works.
fn isolation(seen: &Seen<'_>) -> Option<Isolation> {
    if seen.connected && seen.via.is_none() {
        return None;
    }
    let in_touch = || seen.neighbours.iter().filter(|neighbour| neighbour.in_touch);
    // Neighbours from before there was more than one site have said nothing of theirs.
    let is_ours = |neighbour: &&NeighbourView| neighbour.site.is_empty() || neighbour.site == seen.site;
    let reaches = |neighbour: &NeighbourView| neighbour.reach != Reach::Alone;
    Some(if in_touch().filter(is_ours).any(|ours| ours.reach == Reach::Direct) {
        Isolation::Node
    } else if seen.connected || in_touch().any(reaches) {
        // Another site reaches it, and nobody here; or one of ours is carried by a member that is not in touch with this node.
        let by_others = in_touch().any(|neighbour| !is_ours(&neighbour) && reaches(neighbour));
        if by_others { Isolation::Site } else { Isolation::Node }
    } else if seen.hub_away || in_touch().any(|neighbour| neighbour.hub_away || !is_ours(&neighbour)) {
        Isolation::Hub
    } else if in_touch().next().is_some() {
        Isolation::Site
    } else {
        Isolation::Unknown
    })
}

impl Agent {
    /// Who is there, and how each of them stands with the hub. One that could carry now and could not before is worth a try at once.
    pub(crate) fn on_neighbours(&mut self, neighbours: Vec<NeighbourView>, now: Now) {
        let me = &self.settings.agent;
        let has_one = is_there_another(me, &self.mesh.neighbours, &neighbours);
        if self.has_planted(Planted::FreshByPeers) && has_one {
            self.marks.fresh_at = Some(now.mono);
        }
        self.mesh.neighbours = neighbours;
        self.on_finding(PART.to_owned(), narrow(&self.mesh.neighbours), now);
        if has_one {
            self.link.hasten(now.mono);
        }
    }

    /// The session that is up, or comes up next, goes this way.
    pub(crate) fn on_path(&mut self, via: Option<AgentId>, metered: bool) {
        if self.has_planted(Planted::SkipOnMove) && self.mesh.via != via {
            self.skip_flying();
        }
        (self.mesh.via, self.mesh.metered) = (via, metered);
    }

    /// The hub's machine was asked, and said that nobody listens there, or said nothing.
    pub(crate) fn on_hub_asked(&mut self, refused: bool) {
        self.mesh.hub_away |= refused;
    }

    /// The hub took its leave.
    pub(crate) fn hub_stops(&mut self) {
        self.mesh.hub_away = true;
    }

    /// The hub is heard.
    pub(crate) fn hub_is_there(&mut self) {
        self.mesh.hub_away = false;
    }

    /// The session is over.
    pub(crate) fn forget_path(&mut self) {
        (self.mesh.via, self.mesh.told, self.mesh.metered) = (None, None, false);
    }

    /// Whether telemetry waits: each byte costs, and a neighbour pays.
    pub(crate) fn is_metered(&self) -> bool {
        self.mesh.metered && self.mesh.via.is_some()
    }

    /// What every turn ends with: the hub hears by which way this node reaches it, neighbours get what is new, and rules know it.
    pub(crate) fn turn_mesh(&mut self) {
        self.share();
        if self.link.is_welcomed() && self.mesh.told != self.mesh.via {
            self.mesh.told.clone_from(&self.mesh.via);
            let via = self.mesh.via.clone();
            self.send(Frame::NodePath(NodePath { via }));
        }
        let isolated = self.isolated();
        if let Some(judge) = &mut self.judge
            && self.mesh.judged != Some(isolated)
        {
            self.mesh.judged = Some(isolated);
            isolated
                .facts()
                .for_each(|(name, value)| judge.set_fact(&name, Some(value)));
        }
    }

    /// Another judge knows nothing yet.
    pub(crate) fn judge_is_new(&mut self) {
        self.mesh.judged = None;
    }

    /// The neighbour that carries the session with the hub.
    pub fn via(&self) -> Option<&AgentId> {
        self.mesh.via.as_ref().filter(|_| self.link.is_welcomed())
    }

    /// The neighbours that carry it, from this node to the hub.
    pub fn path(&self) -> Vec<AgentId> {
        let Some(via) = self.via() else { return Vec::new() };
        let known = self.mesh.neighbours.iter().find(|neighbour| neighbour.name == *via);
        let next = known.and_then(|neighbour| neighbour.via.clone());
        [via.clone()].into_iter().chain(next).collect()
    }

    /// The other members of the site.
    pub fn neighbours(&self) -> &[NeighbourView] {
        &self.mesh.neighbours
    }

    /// How far a cut goes, as far as this node can see; `None`: its own path works.
    pub fn isolation(&self) -> Option<Isolation> {
        isolation(&Seen {
            connected: self.link.is_welcomed(),
            via: self.mesh.via.as_ref(),
            hub_away: self.mesh.hub_away,
            site: &self.settings.site,
            neighbours: &self.mesh.neighbours,
        })
    }

    /// The same for rules.
    fn isolated(&self) -> Isolated {
        let in_touch = || self.mesh.neighbours.iter().filter(|neighbour| neighbour.in_touch);
        Isolated {
            scope: self.isolation(),
            carried: self.via().is_some(),
            in_touch: in_touch().count(),
            reaching: in_touch().filter(|neighbour| neighbour.reach == Reach::Direct).count(),
        }
    }
}

#[cfg(test)]
mod tests;
