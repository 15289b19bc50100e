//! The agents of a site among themselves: who could carry whom, by which way the hub is reached, and how far a cut goes.
//!
//! Decides by what neighbours say of themselves and by which way the present session goes; it carries nothing and trusts no
//! neighbour with more than packets, which are sealed end to end.
//!
//! Invariant: only a neighbour with a path of its own carries, so that a packet is carried once and never in a circle.
//! Read next: `homing.rs` (when a node goes back to its own path), `shared.rs` (what is passed on), `edge-agent/src/peers.rs` (who carries).

mod homing;
mod shared;

pub use homing::Homing;
pub use shared::Shared;

use wire::api::{Isolation, NeighbourView};
use wire::frame::{Frame, Held, NodePath, Reach};
use wire::time::Now;
use wire::{AgentId, Beacon};

use crate::agent::Agent;

/// What is known of the site.
#[derive(Debug)]
pub(crate) struct Mesh {
    /// Those in touch, by name.
    neighbours: Vec<NeighbourView>,
    /// Who carries the session that is up.
    via: Option<AgentId>,
    /// What the hub has heard in this session; that nobody carries it goes without saying.
    told: Option<AgentId>,
    /// The beacon that was heard last, as it travels.
    pub(crate) beacon: Option<Beacon>,
    /// What the shell last got to pass on.
    shared: Held,
}

impl Default for Mesh {
    fn default() -> Self {
        Self {
            neighbours: Vec::new(),
            via: None,
            told: None,
            beacon: None,
            shared: Held::NOTHING,
        }
    }
}

/// The neighbour that should carry this node: one with a path of its own, the nearest first.
pub fn carrier(neighbours: &[NeighbourView]) -> Option<&NeighbourView> {
    let carries = neighbours.iter().filter(|neighbour| neighbour.reach == Reach::Direct);
    carries.min_by_key(|neighbour| (neighbour.rtt_us, &neighbour.name))
}

/// How far a cut goes; `None`: the node's own path works.
fn isolation(connected: bool, carried: bool, neighbours: &[NeighbourView]) -> Option<Isolation> {
    if connected && !carried {
        return None;
    }
    let hub_is_reached = carried || neighbours.iter().any(|neighbour| neighbour.reach != Reach::Alone);
    Some(match (hub_is_reached, neighbours.is_empty()) {
        (true, _) => Isolation::Node,
        (false, false) => Isolation::Site,
        (false, true) => Isolation::Unknown,
    })
}

impl Agent {
    /// Who is in touch, and how each of them stands with the hub. A first one that could carry is worth a try at once.
    pub(crate) fn on_neighbours(&mut self, neighbours: Vec<NeighbourView>, now: Now) {
        let had_one = carrier(&self.mesh.neighbours).is_some();
        let has_one = carrier(&neighbours).is_some();
        self.mesh.neighbours = neighbours;
        if has_one && !had_one {
            self.link.hasten(now.mono);
        }
    }

    /// The session that is up, or comes up next, goes this way.
    pub(crate) fn on_path(&mut self, via: Option<AgentId>) {
        self.mesh.via = via;
    }

    /// The session is over.
    pub(crate) fn forget_path(&mut self) {
        (self.mesh.via, self.mesh.told) = (None, None);
    }

    /// What every turn ends with: the hub hears by which way this node reaches it, and neighbours get what is new.
    pub(crate) fn turn_mesh(&mut self) {
        self.share();
        if self.link.is_welcomed() && self.mesh.told != self.mesh.via {
            self.mesh.told.clone_from(&self.mesh.via);
            let via = self.mesh.via.clone();
            self.send(Frame::NodePath(NodePath { via }));
        }
    }

    /// The neighbour that carries the session with the hub.
    pub fn via(&self) -> Option<&AgentId> {
        self.mesh.via.as_ref().filter(|_| self.link.is_welcomed())
    }

    /// Those of the site that are in touch.
    pub fn neighbours(&self) -> &[NeighbourView] {
        &self.mesh.neighbours
    }

    /// How far a cut goes, as far as this node can see; `None`: its own path works.
    pub fn isolation(&self) -> Option<Isolation> {
        isolation(self.link.is_welcomed(), self.mesh.via.is_some(), &self.mesh.neighbours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Input;
    use crate::testing::Rig;

    fn site(text: &str) -> Vec<NeighbourView> {
        let one = |word: &str| {
            let mut parts = word.split(':');
            let mut next = || parts.next().expect("NAME:REACH:RTT");
            NeighbourView {
                name: AgentId::new(next()).expect("a name"),
                reach: match next() {
                    "direct" => Reach::Direct,
                    "carried" => Reach::Carried,
                    _ => Reach::Alone,
                },
                rtt_us: next().parse().expect("microseconds"),
                generation: 0,
            }
        };
        text.split_whitespace().map(one).collect()
    }

    #[test]
    fn the_hub_hears_once_of_each_path_of_a_session_and_nothing_of_an_own_one() {
        let mut rig = Rig::new();
        let told = |rig: &mut Rig| -> Vec<Option<AgentId>> {
            let frames = std::mem::take(&mut rig.frames).into_iter();
            let paths = frames.filter_map(|frame| match frame {
                Frame::NodePath(path) => Some(path.via),
                _ => None,
            });
            paths.collect()
        };
        rig.connect();
        rig.handle(Input::Path { via: None });
        assert_eq!(told(&mut rig), []);
        let via = Some(AgentId::new("edge-04").expect("a name"));
        rig.handle(Input::Path { via: via.clone() });
        rig.handle(Input::Path { via: via.clone() });
        assert_eq!((told(&mut rig), rig.agent.via()), (vec![via.clone()], via.as_ref()));
        rig.handle(Input::Path { via: None });
        assert_eq!((told(&mut rig), rig.agent.via()), (vec![None], None));
    }

    #[test]
    fn the_nearest_with_a_path_of_its_own_carries() {
        for (neighbours, expected) in [
            ("", None),
            ("a:alone:1 b:carried:1", None),
            ("a:direct:900 b:direct:300 c:carried:1", Some("b")),
            ("b:direct:300 a:direct:300", Some("a")),
        ] {
            let neighbours = site(neighbours);
            let found = carrier(&neighbours).map(|neighbour| neighbour.name.as_str());
            assert_eq!(found, expected, "{neighbours:?}");
        }
    }

    #[test]
    fn how_far_a_cut_goes_is_told_apart() {
        for (connected, carried, neighbours, expected) in [
            (true, false, "", None),
            (true, false, "a:alone:1", None),
            (true, true, "a:direct:1", Some(Isolation::Node)),
            (false, false, "a:direct:1 b:alone:1", Some(Isolation::Node)),
            (false, false, "a:carried:1", Some(Isolation::Node)),
            (false, false, "a:alone:1 b:alone:1", Some(Isolation::Site)),
            (false, false, "", Some(Isolation::Unknown)),
        ] {
            let found = isolation(connected, carried, &site(neighbours));
            assert_eq!(found, expected, "{connected} {carried} {neighbours}");
        }
    }
}
